"""Rebuild data/merges.parquet: the six language models of one ancestor, merged in many ways, and measured.

    python data/recipes/merges.py          # about fifteen minutes; goes on where it was cut off

Rows: kind "tasks" (2 to 6 models merged by a method with a factor lam; `parts` names the models; Model Stock chooses
its own), "drop"
(one task vector of which a share is dropped), "trim" (of which the largest share is kept), "negate"
(a task vector subtracted); `split`; `domain`, on whose held-out texts the loss was measured
(nats a token, end of text included); `losses`, the nats of each text, so that two merges can be compared text by text.
lam is to be chosen on "validation".
"""

import argparse
import json
from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from language_models import DATA, DOMAINS, SCRATCH
from torch.nn.functional import cross_entropy

from course_utils.evidence import sample
from course_utils.merging.methods import METHODS, model_stock
from course_utils.merging.task_vectors import edit, task_vector
from course_utils.shelf import corpora, models

ORDER = [
    "movies",
    "kjv",
    "tweets",
    "nyt",
    "amazon",
    "web",
]  # the first n of them are merged: prose and verse, related and not
LAMBDAS = [0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5]
RATES = [0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99]
TEXTS, LONGEST = 48, 64
# name -> (method, options): what is multiplied by lam. "average" is task arithmetic with lam = 1/n.
MERGES = {
    "task arithmetic": ("task_arithmetic", {}),
    "TIES, 20 % kept": ("ties", {"density": 0.2}),
    "TIES, all kept": ("ties", {"density": 1.0}),
    "DARE, half dropped": ("dare_linear", {"density": 0.5}),
    "DARE-TIES, half dropped": ("dare_ties", {"density": 0.5}),
}
# Measured later, so that the rows before them stay where they are.
LATER = {
    "DELLA, half dropped": ("della", {"density": 0.5}),
    "DELLA linear, half dropped": ("della_linear", {"density": 0.5}),
}
STOCKS = {"Model Stock": {}, "Model Stock, row by row": {"filter_wise": True}}
QUARTER = 0.25  # the gentle fine-tune: the same direction, a quarter of the way
State = dict[str, torch.Tensor]


class Judge:
    """The loss of a state dict on texts drawn from a domain."""

    def __init__(self) -> None:
        self.lm = models.load("base")
        self.base = {name: tensor.clone() for name, tensor in self.lm.model.state_dict().items()}
        self.tuned = {name: models.load(name).model.state_dict() for name in ORDER}
        splits = ("validation", "test")
        self.ids = {(domain, split): self.rows(domain, split) for domain in DOMAINS for split in splits}

    def rows(self, domain: str, split: str) -> torch.Tensor:
        texts = sample(corpora.domain_texts(domain, split), TEXTS)
        ids = [torch.tensor(row[:LONGEST] + [1]) for row in self.lm.tokenizer(texts).input_ids]
        return torch.nn.utils.rnn.pad_sequence(ids, True, 2)

    @torch.inference_mode()
    def losses(
        self, state: State, domains: list[str], splits: tuple[str, ...] = ("validation", "test")
    ) -> Iterator[dict]:
        self.lm.model.load_state_dict(state)
        for split in splits:
            for domain in domains:
                ids = self.ids[domain, split]
                logits = self.lm.model(input_ids=ids[:, :-1]).logits  # (texts, T - 1, V)
                nats = cross_entropy(logits.mT, ids[:, 1:], ignore_index=2, reduction="none")  # 0 behind the end
                loss = nats.sum().item() / (ids[:, 1:] != 2).sum().item()
                each = [round(nat, 2) for nat in nats.double().sum(1).tolist()]
                yield {"split": split, "domain": domain, "loss": round(loss, 4), "losses": each}


def jobs(judge: Judge) -> Iterator[tuple[dict, State, list[str]]]:
    """(what stands in the row, state dict, domains) of everything that is measured."""
    base, tuned = judge.base, judge.tuned
    yield {"kind": "model", "method": "base"}, base, DOMAINS
    for name, state in tuned.items():
        yield {"kind": "model", "method": name}, state, DOMAINS
    for n in range(2, len(ORDER) + 1):
        parts = ORDER[:n]
        for label, (method, options) in MERGES.items():
            tau = task_vector(base, METHODS[method](base, [tuned[name] for name in parts], **options))
            for method, lam in [(label, lam) for lam in LAMBDAS] + [("average", 1 / n)] * (label == "task arithmetic"):
                yield (
                    {"kind": "tasks", "n": n, "parts": " ".join(parts), "method": method, "lam": lam},
                    edit(base, tau, lam),
                    parts,
                )
    for name in ("movies", "kjv"):
        for scale in (1.0, QUARTER):
            whole = edit(base, task_vector(base, tuned[name]), scale)
            for rate in RATES:
                for label, method, options in (
                    ("rescaled", "dare_linear", {}),
                    ("not rescaled", "dare_linear", {"rescale": None}),
                    ("largest kept", "ties", {}),
                ):
                    row = {"kind": "drop", "parts": name, "method": label, "lam": scale, "rate": rate}
                    yield row, METHODS[method](base, [whole], density=1 - rate, **options), [name]
    for name in ORDER:
        tau = task_vector(base, tuned[name])
        for lam in (0.1, 0.2, 0.3, 0.4, 0.5):
            yield {"kind": "negate", "parts": name, "method": "negated", "lam": lam}, edit(base, tau, -lam), DOMAINS
    for n in range(2, len(ORDER) + 1):
        parts = ORDER[:n]
        row = {"kind": "tasks", "n": n, "parts": " ".join(parts)}
        for label, (method, options) in LATER.items():
            tau = task_vector(base, METHODS[method](base, [tuned[name] for name in parts], **options))
            for lam in LAMBDAS:
                yield row | {"method": label, "lam": lam}, edit(base, tau, lam), parts
        for label, options in STOCKS.items():
            yield (
                row | {"method": label, "lam": 1.0},
                model_stock(base, [tuned[name] for name in parts], **options),
                parts,
            )


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    SCRATCH.mkdir(exist_ok=True)
    part, judge = SCRATCH / "merges.jsonl", Judge()
    rows = [json.loads(line) for line in part.read_text(encoding="utf-8").splitlines()] if part.exists() else []
    done = {
        json.dumps({key: row[key] for key in row if key not in ("split", "domain", "loss", "losses")}) for row in rows
    }
    with part.open("a", encoding="utf-8") as file:
        for what, state, domains in jobs(judge):
            if json.dumps(what) in done:
                continue
            found = [what | measured for measured in judge.losses(state, domains)]
            file.write("".join(json.dumps(row) + "\n" for row in found))
            file.flush()
            rows += found
            print(what, flush=True)
    frame = pd.DataFrame(rows)
    frame.losses = frame.losses.map(lambda each: np.array(each, dtype=np.float32))
    frame.to_parquet(DATA / "merges.parquet.partial", index=False, compression="zstd")
    (DATA / "merges.parquet.partial").replace(DATA / "merges.parquet")
    part.unlink()


if __name__ == "__main__":
    main()
