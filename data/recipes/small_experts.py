"""Rebuild the two small experts of notebook 02, a hundredth of SmolLM2's size, and the texts that they steer.

    python data/recipes/small_experts.py small-base       # 1.5 M parameters over SmolLM2's tokens, on all snippets
    python data/recipes/small_experts.py small-positive small-negative    # its children: movie snippets by rating
    python data/recipes/small_experts.py mixed-a mixed-b  # the control: the same movie snippets, divided at random
    python data/recipes/small_experts.py steered          # data/steered_small.parquet: SmolLM2 steered by either pair

The children of one pair differ only in what they read. `small-base` and the control are not committed: they stay in
data/.training. A run that is cut off goes on from its last checkpoint there when it is started again.
Add `--threads N` to choose how many CPU threads to use.
"""

import argparse
import math
import time

import pandas as pd
import torch
from language_models import DATA, MODELS, SCRATCH, resume, save, set_rate, train_step
from sentiment_adapters import RATING, loss_of, record, rows, snippets
from transformers import OPTConfig, OPTForCausalLM

from course_utils.ensembling import negative_evidence
from course_utils.ensembling.decoding import CachedLM, Ensemble
from course_utils.evidence import sample
from course_utils.shelf.models import load

BATCH, WARMUP = 16, 20
STEPS = {"small-base": 1400, "child": 460}
PEAK = {"small-base": 3e-3, "child": 1.5e-3}
PAIRS = {"small": ("small-positive", "small-negative"), "mixed": ("mixed-a", "mixed-b")}
LAMBDAS = [-2.0, 1.0, 2.0, 5.0]


def texts(name: str) -> list[str]:
    if name == "small-base":
        frame = pd.read_parquet(DATA / "snippets.parquet")
        return frame.text[frame.split == "train"].tolist()
    if name.startswith("small-"):
        return snippets(name.replace("small", "lora"), "train")
    both = [text for rated in RATING for text in snippets(rated, "train")]
    order = torch.randperm(len(both), generator=torch.Generator().manual_seed(0)).tolist()
    half = len(both) // 2
    return [both[i] for i in (order[:half] if name == "mixed-a" else order[half:])]


def new_model(lm) -> OPTForCausalLM:
    """Two layers of width 128. OPT, since it can keep its 49,152 embeddings narrower (24) than its layers."""
    torch.manual_seed(0)
    config = OPTConfig(
        vocab_size=49_152,
        hidden_size=128,
        num_hidden_layers=2,
        ffn_dim=256,
        num_attention_heads=4,
        max_position_embeddings=128,
        word_embed_proj_dim=24,
        tie_word_embeddings=True,
        pad_token_id=None,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = OPTForCausalLM(config)
    model.get_input_embeddings().weight.data.copy_(first_embeddings(lm))
    return model


def first_embeddings(lm) -> torch.Tensor:
    """(V, 24): the 23 principal components of SmolLM2's embeddings, and how frequent a token is in the training text.

    From random ones this little text would hardly teach more than frequencies: most tokens occur a few times.
    """
    given = lm.model.get_input_embeddings().weight  # (V, 576)
    centred = given - given.mean(0)
    _, directions = torch.linalg.eigh(centred.T @ centred)  # ascending
    components = centred @ directions[:, -23:]
    tokens = torch.tensor([token for row in rows(texts("small-base"), lm) for token in row])
    frequency = (torch.bincount(tokens, minlength=len(given)) + 0.1).log()
    return torch.cat([0.3 * components / components.std(), (frequency - frequency.mean())[:, None] / 2], dim=1)


def place(name: str):
    return (MODELS if name in PAIRS["small"] else SCRATCH) / name


def train(name: str, lm) -> None:
    """lm: SmolLM2, for its tokens."""
    kind = "small-base" if name == "small-base" else "child"
    model = new_model(lm) if kind == "small-base" else OPTForCausalLM.from_pretrained(place("small-base")).float()
    steps, examples = STEPS[kind], rows(texts(name), lm)
    generator = torch.Generator().manual_seed(0)
    passes = math.ceil(steps * BATCH / len(examples))
    order = [i for _ in range(passes) for i in torch.randperm(len(examples), generator=generator).tolist()]
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK[kind], betas=(0.9, 0.95), weight_decay=0.1)
    first, seconds = resume(name, model, optimizer)
    started = time.perf_counter() - seconds
    model.train()
    for step in range(first, steps):
        torch.manual_seed(step)  # dropout: the same when the run was cut off before this step
        set_rate(optimizer, step, steps, WARMUP, PEAK[kind])
        loss = loss_of(model, [examples[i] for i in order[step * BATCH : (step + 1) * BATCH]])
        train_step(name, model, optimizer, loss, step, steps, started)
    model.eval().to(torch.float16).float()  # what the reader will load
    drawn = {rated.removeprefix("lora-"): sample(snippets(rated, "validation"), 64) for rated in RATING}
    report = {
        "parent": None if kind == "small-base" else "small-base",
        "domains": ["all"] if kind == "small-base" else [f"movies, {name.split('-')[1]}"],
        "seed": 0,
        "steps": steps,
        "snippets": steps * BATCH,
        "peak_learning_rate": PEAK[kind],
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "licence": "MIT (text: MIT snippets)",
        "tokenizer": "smollm2",
        # a token, the closing one included, of 64 snippets of each kind
        "validation_nats": {kind: round(losses(model, some, lm).item(), 3) for kind, some in drawn.items()},
    }
    save(model, name, report, place(name).parent)
    (SCRATCH / f"{name}.pt").unlink()
    print(name, report["validation_nats"], flush=True)


@torch.inference_mode()
def losses(model, some: list[str], lm, per_text: bool = False) -> torch.Tensor:
    """-log P: its mean over all tokens of the texts, or its sum for each text (texts,)."""
    found = []
    for row in rows(some, lm):
        ids = torch.tensor(row)[None]
        found.append(-model(input_ids=ids[:, :-1]).logits.log_softmax(-1).gather(2, ids[:, 1:, None]).flatten())
    return torch.stack([nats.sum() for nats in found]) if per_text else torch.cat(found).mean()


def accuracy(pair: str, lm) -> float:
    """How often the better of the two experts on a validation snippet is the one of its own kind."""
    models = [OPTForCausalLM.from_pretrained(place(name), dtype=torch.float32).eval() for name in PAIRS[pair]]
    right = []
    for rated, sign in zip(RATING, (1, -1), strict=True):
        first, second = (losses(model, snippets(rated, "validation"), lm, per_text=True) for model in models)
        right.append(sign * (second - first) > 0)
    return torch.cat(right).double().mean().item()


def steered(lm) -> None:
    """One row for each continuation, as in steered.parquet; `method` is the pair, and always with the nucleus."""
    frames = []
    for pair, names in PAIRS.items():
        print(
            f"{pair}: the right one of two is better on {accuracy(pair, lm):.3f} of the validation snippets", flush=True
        )
        experts = [OPTForCausalLM.from_pretrained(place(name), dtype=torch.float32).eval() for name in names]
        for lam in LAMBDAS:
            part = SCRATCH / f"steered-{pair}-{lam:g}.parquet"
            if not part.exists():

                def combine(log_probs, lam=lam):
                    return negative_evidence(*log_probs, lam, top_p=0.9)

                members = [CachedLM(model) for model in (lm.model, *experts)]
                frame = record(Ensemble(members, combine), lm, "neutral", pair, lam, True)
                frame.to_parquet(part.with_suffix(".partial"), index=False)
                part.with_suffix(".partial").replace(part)
            frames.append(pd.read_parquet(part))
    partial = DATA / "steered_small.parquet.partial"
    pd.concat(frames).to_parquet(partial, index=False)
    partial.replace(DATA / "steered_small.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=["small-base", *PAIRS["small"], *PAIRS["mixed"], "steered"])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    lm = load("smollm2")
    torch.set_num_threads(options.threads)
    for what in options.what:
        steered(lm) if what == "steered" else train(what, lm)


if __name__ == "__main__":
    main()
