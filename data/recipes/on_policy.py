"""On-policy distillation of a translator, beside word and sequence level: data/on_policy.parquet.

    python data/recipes/on_policy.py pilot     # seconds of an update of each kind
    python data/recipes/on_policy.py all       # the start, every arm with every seed, the table

The teacher is the ensemble nmt-0, nmt-1, nmt-2 (mean of the probabilities). The student keeps the embeddings of nmt-0
and the first layer of its encoder and of its decoder, and is trained on the references: the common start, as in Agarwal
et al. (2024), who start from a supervised student. From there every arm makes the same number of updates on the same
source verses in the same order, with the same learning rate; the arms differ in whose Spanish the loss is taken on
(references, the ensemble's beam translations, what the student itself samples at temperature 1) and in the divergence.
"word level, longer" is the control for the time: word level, with the forward or the reverse KL, for as many updates as
fit into the CPU time of the arm that samples all its texts. Seeds: the order of the verses, and the sampling.
Everything goes on where it was cut off.
"""

import argparse
import itertools
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import sacrebleu
import torch
from language_models import descend, resume, set_rate, train_step
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import MarianConfig, MarianMTModel
from translation import (
    BOS,
    DATA,
    EOS,
    HELD_OUT,
    LONGEST,
    PAD,
    SCRATCH,
    epoch_batches,
    load_tokenizer,
    pad,
    pairs,
    verses,
)

from course_utils.distillation import divergence
from course_utils.ensembling.decoding import generate
from course_utils.evidence import sample
from course_utils.pipelines import load_translator
from course_utils.pipelines.translation import CachedTranslator

TEACHERS = ["nmt-0", "nmt-1", "nmt-2"]
START_STEPS, START_PEAK = 2000, 1e-3
UPDATES, PEAK, WARMUP, SEEDS = 100, 5e-4, 10, (0, 1, 2)
MOST = 40  # tokens of a sampled translation
LONGER = 1.8  # CPU time of an update on sampled texts, in updates at word level: 1.7 to 2.0 in the runs
SHARES = BETAS = (0.0, 0.5, 1.0)
GRID = {f"share {share:g}, beta {beta:g}": (share, beta, 1.0) for share in SHARES for beta in BETAS}
# arm -> (share of the batches that the student writes, beta, updates in units of UPDATES), or the texts' labels alone
ARMS = GRID | {"labels": "es", "teacher's texts": "ensemble"}
ARMS |= {"word level, longer": (0.0, 0.0, LONGER), "word level, longer, beta 1": (0.0, 1.0, LONGER)}
SAMPLED, BATCH = 255, 64  # verses whose KL is measured; verses measured together
KINDS = ("reference", "teacher", "own", "given")  # of nats that `measure` counts

Rows = list[tuple[list[int], list[int]]]


def new_student() -> MarianMTModel:
    """One layer of nmt-0's encoder, one of its decoder, and its embeddings; no dropout, because no verse is seen
    often."""
    teacher = load_translator("nmt-0").model
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "dropout": 0.0}
    student = MarianMTModel(MarianConfig(**{**teacher.config.to_dict(), **sizes}))
    student.load_state_dict({k: v for k, v in teacher.state_dict().items() if k in student.state_dict()})
    return student


def logits_at(model: MarianMTModel, source: Tensor, target: Tensor) -> Tensor:
    """(tokens, V): what the model says where a token of the target follows; padding is left out."""
    hidden = model.model(
        input_ids=source, attention_mask=(source != PAD).long(), decoder_input_ids=target[:, :-1], use_cache=False
    ).last_hidden_state
    return model.lm_head(hidden[target[:, 1:] != PAD]) + model.final_logits_bias


def tokens_of(target: Tensor) -> Tensor:
    """(tokens,): the tokens that these logits are about."""
    return target[:, 1:][target[:, 1:] != PAD]


@torch.no_grad()
def teacher_probs(source: Tensor, target: Tensor) -> Tensor:
    """(tokens, V): the mean of the teachers' probabilities there."""
    models = [load_translator(name).model for name in TEACHERS]
    return sum(logits_at(model, source, target).softmax(-1) for model in models) / len(models)


def write(
    student: MarianMTModel, source: Tensor, strategy: str, most: int, generator: torch.Generator | None = None
) -> Tensor:
    """What the student writes: <s>, tokens, </s>, padded; no gradient."""
    step = CachedTranslator(student, source, (source != PAD).long())
    first = torch.full((len(source), 1), BOS)
    ids = generate(step, first, most, strategy=strategy, eos_token_id=EOS, generator=generator)
    ended = (ids == EOS).cumsum(1)
    return ids.masked_fill((ended > 1) | (ended == 1) & (ids != EOS), PAD)


def optimizer_of(student: MarianMTModel) -> torch.optim.Optimizer:
    return torch.optim.AdamW(student.parameters(), betas=(0.9, 0.98), weight_decay=0.01, fused=True)


def batches_of(examples: Rows, seed: int, steps: int) -> list[list[int]]:
    lengths = [len(s) + len(t) for s, t in examples]
    epochs = (epoch_batches(lengths, seed, epoch) for epoch in itertools.count())
    return list(itertools.islice(itertools.chain.from_iterable(epochs), steps))


def tensors(examples: Rows, batch: Sequence[int]) -> tuple[Tensor, Tensor]:
    return tuple(pad([examples[i][side] for i in batch]) for side in (0, 1))


def train_start(steps: int = START_STEPS) -> None:
    """The common start: trained on the references' labels (smoothing .1, as nmt-0)."""
    path = SCRATCH / "on-policy-start.pt"
    student, examples = new_student().train(), pairs(verses(prose=True, longest=LONGEST), load_tokenizer())
    optimizer = optimizer_of(student)
    done, seconds = resume(path.stem, student, optimizer)
    started = time.perf_counter() - seconds
    for step, batch in enumerate(batches_of(examples, 100, steps)[done:], done):
        source, target = tensors(examples, batch)
        loss = cross_entropy(logits_at(student, source, target), tokens_of(target), label_smoothing=0.1)
        set_rate(optimizer, step, steps, WARMUP, START_PEAK)
        train_step(path.stem, student, optimizer, loss, step, steps, started)


def start_student() -> MarianMTModel:
    student = new_student()
    student.load_state_dict(torch.load(SCRATCH / "on-policy-start.pt", weights_only=True)["model"])
    return student


def train_arm(arm: str, seed: int, updates: int = UPDATES) -> tuple[MarianMTModel, float]:
    """The student of this arm, and the CPU seconds of an update."""
    frame, tokenizer = verses(prose=True, longest=LONGEST), load_tokenizer()
    examples, texts = pairs(frame, tokenizer), ARMS[arm]
    if texts == "ensemble":
        taught = pd.read_parquet(DATA / "distilled.parquet").set_index("ref").ensemble
        taught = pairs(frame.assign(es=taught.loc[frame.ref].to_numpy()), tokenizer)
    student, generator = start_student(), torch.Generator().manual_seed(seed)
    share, beta, longer = texts if isinstance(texts, tuple) else (0.0, 0.0, 1.0)
    steps = round(updates * longer)
    optimizer, started = optimizer_of(student), time.process_time()
    for step, batch in enumerate(batches_of(examples, seed, steps)):
        source, target = tensors(taught if texts == "ensemble" else examples, batch)
        if int((step + 1) * share) > int(step * share):  # of so many batches the student writes the Spanish
            target = write(student, source, "sample", MOST, generator)
        logits = logits_at(student.train(), source, target)
        if isinstance(texts, tuple):
            loss = divergence(logits, teacher_probs(source, target), beta)
        else:
            loss = cross_entropy(logits, tokens_of(target))
        set_rate(optimizer, step, steps, WARMUP, PEAK)
        descend(optimizer, loss)
    return student.eval(), (time.process_time() - started) / steps


@torch.inference_mode()
def measure(student: MarianMTModel) -> pd.DataFrame:
    """A row a test verse: the greedy translation, a sampled one, and sums of nats over tokens with the number of these.

    reference: -log of the student's probabilities on the reference; teacher: of the ensemble's on the student's greedy
    text; own: KL(student || ensemble) on the sampled text, given: on the reference. The last two, and the sampled text
    itself, for a sample of the verses (0 tokens for the others).
    """
    tokenizer, frame = load_tokenizer(), verses(HELD_OUT["prose"]["test"], longest=32)
    examples, generator = pairs(frame, tokenizer), torch.Generator().manual_seed(0)
    asked = set(sample(frame, SAMPLED).ref)
    rows, order = {}, sorted(range(len(examples)), key=lambda i: len(examples[i][0]))
    for first in range(0, len(order), BATCH):
        batch = order[first : first + BATCH]
        source, target = tensors(examples, batch)
        greedy = write(student, source, "greedy", min(2 * source.shape[1] + 10, 120))
        reference = nats(logits_at(student, source, target).softmax(-1), target)
        teacher = nats(teacher_probs(source, greedy), greedy)
        some = [k for k, i in enumerate(batch) if frame.ref.iloc[i] in asked]
        own = write(student, source[some], "sample", MOST, generator)
        apart = {"own": dict(zip(some, reverse_kl(student, source[some], own)))}
        apart["given"] = dict(zip(some, reverse_kl(student, source[some], target[some])))
        said, drawn = (tokenizer.batch_decode(ids, skip_special_tokens=True) for ids in (greedy, own))
        drawn = dict(zip(some, drawn))
        for k, i in enumerate(batch):
            found = {"reference": reference[k], "teacher": teacher[k]}
            found |= {name: of_verses.get(k, (0.0, 0)) for name, of_verses in apart.items()}
            rows[i] = {"ref": frame.ref.iloc[i], "greedy": said[k], "sampled": drawn.get(k, "")}
            for name, (total, tokens) in found.items():
                rows[i] |= {f"{name} nats": total, f"{name} tokens": tokens}
    return pd.DataFrame([rows[i] for i in range(len(examples))])


def reverse_kl(student: MarianMTModel, source: Tensor, target: Tensor) -> list[tuple[float, int]]:
    q, p = logits_at(student, source, target).log_softmax(-1), teacher_probs(source, target)
    return of_rows((q.exp() * (q - p.log())).sum(-1), target)


def nats(probs: Tensor, target: Tensor) -> list[tuple[float, int]]:
    return of_rows(-probs.gather(-1, tokens_of(target)[:, None])[:, 0].log(), target)


def of_rows(values: Tensor, target: Tensor) -> list[tuple[float, int]]:
    """Values at the real tokens -> for each row their sum and their number."""
    sizes = (target[:, 1:] != PAD).sum(1).tolist()
    return [(round(part.sum().item(), 2), len(part)) for part in values.split(sizes)]


def jobs() -> list[tuple[str, int]]:
    """Every arm with every seed, after the common start."""
    return [("start", 0), *itertools.product(ARMS, SEEDS)]


def file_of(arm: str, seed: int) -> Path:
    return SCRATCH / f"on-policy-{arm}-{seed}.parquet".replace(" ", "-")


def all_arms() -> None:
    train_start()
    for arm, seed in jobs():
        if (path := file_of(arm, seed)).exists():
            continue
        student, seconds = (start_student().eval(), 0.0) if arm == "start" else train_arm(arm, seed)
        found = measure(student).assign(arm=arm, seed=seed, seconds=round(seconds, 3))
        found.to_parquet(path.with_suffix(".partial"))
        path.with_suffix(".partial").replace(path)
        of = {n: round(found[f"{n} nats"].sum() / found[f"{n} tokens"].sum(), 3) for n in KINDS}
        bleu = sacrebleu.corpus_bleu(found.greedy.tolist(), [verses().set_index("ref").es[found.ref].tolist()]).score
        print(f"{arm}, seed {seed}: {seconds:.2f} CPU seconds an update, BLEU {bleu:.2f}, nats {of}", flush=True)
    table()


def table() -> None:
    """All that was measured, the arms of a verse side by side, which packs best; the first seed without its sampled
    texts."""
    found = pd.concat([pd.read_parquet(file_of(*job)) for job in jobs()], ignore_index=True)
    kept = (found.seed != SEEDS[0]) | (found.arm == "start")
    found["sampled"] = found.sampled.where(kept, "")
    found = found.sort_values(["ref", "arm", "seed"], ignore_index=True)
    sizes = {f"{kind} tokens": "int16" for kind in KINDS} | {f"{kind} nats": "float32" for kind in KINDS}
    found = found.astype(sizes | {"seed": "int8", "seconds": "float32"})
    path = DATA / "on_policy.parquet"
    found.to_parquet(path.with_suffix(".partial"), index=False, compression="zstd", compression_level=19)
    path.with_suffix(".partial").replace(path)


def pilot(updates: int = 20) -> None:
    for arm in ("labels", "share 0, beta 0", "share 1, beta 1"):
        print(arm, f"{train_arm(arm, 0, updates)[1]:.3f} CPU seconds an update", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["start", "pilot", "all", "table"])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    os.environ["MANY_MODELS_THREADS"] = str(options.threads)  # what load_translator obeys
    torch.set_num_threads(options.threads)
    SCRATCH.mkdir(exist_ok=True)
    {"start": train_start, "pilot": pilot, "all": all_arms, "table": table}[options.what]()


if __name__ == "__main__":
    main()
