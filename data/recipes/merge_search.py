"""Rebuild data/merge_search.parquet: the weights of six task vectors, searched on validation texts.

    python data/recipes/merge_search.py      # a quarter of an hour or more; goes on where it was cut off

The merge is theta_0 + sum_i w_i tau_i of the six specialists in merges.py; what is made small is the mean over the six
domains of the nats a token on `texts` validation texts of each, drawn anew for every seed. Both searches begin at equal
weights (1/6) and ask for as many merges: "random" draws around them with the standard deviation SIGMA, "CMA-ES" begins
with that distribution and adapts it. The control, "one weight", moves all six together over twelve values.
Rows: `method`, `texts`, `seed`, `evaluations` (merges measured so far), `weights` of the best of them, `validation`,
its loss on these texts, and `start`, that of the equal weights on the same; `losses`, the nats of each of the 48 test
texts of each domain as in merges.parquet, domain after domain. "equal" is the merge with equal weights.
"""

import argparse
import json

import cma
import numpy as np
import pandas as pd
import torch
from language_models import DATA, SCRATCH
from merges import LAMBDAS, LONGEST, ORDER, TEXTS
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from course_utils.evidence import sample
from course_utils.shelf import corpora, models

SIZES, SEEDS, SIGMA = (2, 16), range(1, 9), 0.1
EVALUATIONS, POPULATION, KEPT = 80, 8, (16, 80)
EQUAL = np.full(len(ORDER), 1 / len(ORDER))


class Merger:
    """The losses of theta_0 + sum_i w_i tau_i."""

    def __init__(self) -> None:
        self.lm = models.load("base")
        self.base = parameters_to_vector(self.lm.model.parameters()).detach().clone()  # (D,)
        tuned = [parameters_to_vector(models.load(name).model.parameters()).detach() for name in ORDER]
        self.tau = torch.stack(tuned) - self.base  # (6, D)

    def rows(self, domain: str, split: str, count: int, seed: int = 0) -> torch.Tensor:
        texts = sample(corpora.domain_texts(domain, split), count, seed)
        ids = [torch.tensor(row[:LONGEST] + [1]) for row in self.lm.tokenizer(texts).input_ids]
        return torch.nn.utils.rnn.pad_sequence(ids, True, 2)

    @torch.inference_mode()
    def nats(self, weights: np.ndarray, batches: list[torch.Tensor]) -> list[torch.Tensor]:
        """For each batch (one a domain) the nats of its texts."""
        merged = self.base + torch.tensor(weights, dtype=torch.float32) @ self.tau
        vector_to_parameters(merged, self.lm.model.parameters())
        found = []
        for ids in batches:
            logits = self.lm.model(input_ids=ids[:, :-1]).logits  # (texts, T - 1, V)
            found.append(cross_entropy(logits.mT, ids[:, 1:], ignore_index=2, reduction="none").double().sum(1))
        return found

    def loss(self, weights: np.ndarray, batches: list[torch.Tensor]) -> float:
        """Mean over the domains of the nats a token."""
        tokens = [(ids[:, 1:] != 2).sum() for ids in batches]
        return float(sum(nats.sum() / n for nats, n in zip(self.nats(weights, batches), tokens)) / len(batches))


def proposals(method: str, seed: int):
    """Generations of weights to be measured; each is answered with its losses."""
    if method == "one weight":
        yield [np.full(len(ORDER), lam) for lam in LAMBDAS]
    elif method == "random":
        draw = np.random.default_rng(seed)
        for _ in range(EVALUATIONS // POPULATION):
            yield EQUAL + SIGMA * draw.standard_normal((POPULATION, len(ORDER)))
    else:
        search = cma.CMAEvolutionStrategy(EQUAL, SIGMA, {"seed": seed, "popsize": POPULATION, "verbose": -9})
        for _ in range(EVALUATIONS // POPULATION):
            asked = search.ask()
            search.tell(asked, (yield asked))


def searched(merger: Merger, method: str, size: int, seed: int, test: list[torch.Tensor]) -> list[dict]:
    """The best of the merges so far, at the numbers of evaluations that are kept."""
    batches = [merger.rows(domain, "validation", size, seed) for domain in ORDER]
    start = merger.loss(EQUAL, batches)
    best, lowest, count, found = EQUAL, start, 0, []
    generations = proposals(method, seed)
    asked = next(generations)
    while asked is not None:
        losses = [merger.loss(weights, batches) for weights in asked]
        if min(losses) < lowest:
            best, lowest = asked[int(np.argmin(losses))], min(losses)
        count += len(asked)
        if count in KEPT or method == "one weight":
            losses_of = torch.cat(merger.nats(best, test)).tolist()
            row = {"method": method, "texts": size, "seed": seed, "evaluations": count}
            row |= {"weights": [round(float(w), 4) for w in best], "validation": lowest, "start": start}
            found.append(row | {"losses": [round(nat, 2) for nat in losses_of]})
        try:
            asked = generations.send(losses)
        except StopIteration:
            asked = None
    return found


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    merger = Merger()
    SCRATCH.mkdir(exist_ok=True)
    part, test = SCRATCH / "merge_search.jsonl", [merger.rows(domain, "test", TEXTS) for domain in ORDER]
    rows = [json.loads(line) for line in part.read_text(encoding="utf-8").splitlines()] if part.exists() else []
    done = {(row["method"], row["texts"], row["seed"]) for row in rows}
    jobs = [(method, size, seed) for size in SIZES for seed in SEEDS for method in ("random", "CMA-ES", "one weight")]
    with part.open("a", encoding="utf-8") as file:
        if ("equal", 0, 0) not in done:
            losses = [round(nat, 2) for nat in torch.cat(merger.nats(EQUAL, test)).tolist()]
            rows.append(
                {"method": "equal", "texts": 0, "seed": 0, "evaluations": 0, "weights": EQUAL.round(4).tolist()}
            )
            rows[-1] |= {"validation": None, "start": None, "losses": losses}
            file.write(json.dumps(rows[-1]) + "\n")
        for job in jobs:
            if job in done:
                continue
            found = searched(merger, *job, test)
            file.write("".join(json.dumps(row) + "\n" for row in found))
            file.flush()
            rows += found
            print(*job, f"{found[-1]['start']:.3f} -> {found[-1]['validation']:.3f}", flush=True)
    frame = pd.DataFrame(rows)
    for column in ("weights", "losses"):
        frame[column] = frame[column].map(lambda each: np.array(each, dtype=np.float32))
    frame.to_parquet(DATA / "merge_search.parquet.partial", index=False, compression="zstd")
    (DATA / "merge_search.parquet.partial").replace(DATA / "merge_search.parquet")
    part.unlink()


if __name__ == "__main__":
    main()
