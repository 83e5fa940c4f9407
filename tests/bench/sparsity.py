"""When do zeros pay on this CPU? Milliseconds of products that skip zeros beside the dense product, against the
density.

    python tests/bench/sparsity.py                     both matrices, batch 1 and 8, ten densities, 15 rounds
    python tests/bench/sparsity.py --rounds 31 --warm

y = W h with W^T (2048, 768) and (8192, 2048) in float32, the shapes of an inner layer's way out; `density` is the share
of non-zeros in h (for "CSR weights": in W, with h dense). Zeros fall at random, independently in each row of a batch:
the worst case for a method that needs the union of a batch's non-zeros. Everything a method has to do for a new h is in
its time: finding the non-zeros, copying rows, converting h to CSR; only W is converted beforehand.

Rounds are interleaved (each method once, again and again) and medians are printed; the crossover is where the median of
method / dense, taken within each round, passes 1. Each call meets a copy of W that was not used just before, out of 256
MB of copies, as in a model whose other layers come in between; --warm uses one copy. Results are compared with the
dense product first. Triton's interpreter is never timed: it would say nothing about a GPU.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))
from course_utils.sparsity import bag_matvec, sparse_matvec, to_csr_matvec  # noqa: E402

SHAPES = ((2048, 768), (8192, 2048))  # W^T: (in, out)
BATCHES = (1, 8)
DENSITIES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
CACHE = 256 << 20  # bytes of all copies of W together


def dense(weight: Tensor, h: Tensor) -> Tensor:
    return torch.nn.functional.linear(h, weight)


def csr_weights(weight: Tensor, h: Tensor) -> Tensor:
    return (weight @ h.T).T if h.dim() == 2 else weight @ h


# name -> (function, which of the prepared weights it takes)
METHODS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], str]] = {
    "dense": (dense, "weight"),
    "gather": (sparse_matvec, "weight_t"),
    "bag": (bag_matvec, "weight_t"),
    "CSR activations": (to_csr_matvec, "weight_t"),
    "CSR weights": (csr_weights, "pruned"),
}


def prune(weight: Tensor, density: float, copies: int) -> tuple[Tensor, list[Tensor]]:
    """W with a random share of its entries, and copies of it in CSR."""
    kept = torch.rand(weight.shape, generator=torch.Generator().manual_seed(1)) < density
    csr = (weight * kept).to_sparse_csr()
    return weight * kept, [csr, *(csr.clone() for _ in range(copies - 1))]


def measure(
    prepared: dict[str, list[Tensor]], pruned: Tensor, batch: int, density: float, rounds: int
) -> dict[str, tuple[float, float]]:
    """For each method the median milliseconds, and the median over the rounds of its time divided by dense's."""
    copies, weight = len(prepared["weight"]), prepared["weight"][0]
    draw = torch.Generator().manual_seed(2)
    size = (weight.shape[1],) if batch == 1 else (batch, weight.shape[1])
    draws = ((torch.randn(size, generator=draw), torch.rand(size, generator=draw)) for _ in range(rounds + 2))
    inputs = [h * (u < density) for h, u in draws]
    filled = torch.randn(size, generator=draw)
    for method, kind in METHODS.values():
        h, reference = (filled, pruned) if kind == "pruned" else (inputs[0], weight)
        torch.testing.assert_close(method(prepared[kind][0], h), dense(reference, h), rtol=1e-3, atol=1e-3)
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    for r, h in enumerate(inputs):
        for i, (name, (method, kind)) in enumerate(METHODS.items()):
            matrix, x = prepared[kind][(r + i * copies // len(METHODS)) % copies], filled if kind == "pruned" else h
            start = time.perf_counter()
            method(matrix, x)
            seconds[name].append(time.perf_counter() - start)
    timed = {name: times[2:] for name, times in seconds.items()}  # two rounds to warm up
    return {
        name: (1000 * statistics.median(times), statistics.median(t / d for t, d in zip(times, timed["dense"])))
        for name, times in timed.items()
    }


def crossover(ratios: list[float]) -> str:
    """The density up to which a method is faster than dense (ratio below 1), between grid points on a log-log line."""
    above = next((i for i, ratio in enumerate(ratios) if ratio >= 1), None)
    if above is None:
        return "always faster"
    if above == 0:
        return f"never (from {DENSITIES[0]})"
    (d0, d1), (r0, r1) = DENSITIES[above - 1 : above + 1], ratios[above - 1 : above + 1]
    return f"{d0 * (d1 / d0) ** (math.log(r0) / (math.log(r0) - math.log(r1))):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="timed calls of each method (default 15)")
    threads = min(2, os.cpu_count() or 1)
    parser.add_argument("--threads", type=int, default=threads, help="threads of torch (default: at most 2)")
    parser.add_argument("--warm", action="store_true", help="use one copy of W: it may stay in the cache")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    how = f"{options.rounds} rounds, float32, medians in milliseconds, load {os.getloadavg()[0]:.2f} before"
    print(f"torch {torch.__version__}, {options.threads} threads, {how}")
    columns, rule = " | ".join(METHODS), "---|" * (len(METHODS) + 1)
    table: list[str] = []
    for shape in SHAPES:
        copies = 1 if options.warm else max(2, CACHE // (4 * math.prod(shape)))
        weight_t = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        prepared = {
            "weight": [weight_t.T.contiguous() for _ in range(copies)],
            "weight_t": [weight_t.clone() for _ in range(copies)],
        }
        found: dict[int, list[dict[str, tuple[float, float]]]] = {batch: [] for batch in BATCHES}
        for density in DENSITIES:
            pruned, prepared["pruned"] = prune(prepared["weight"][0], density, copies)
            for batch, rows in found.items():
                rows.append(measure(prepared, pruned, batch, density, options.rounds))
        for batch, rows in found.items():
            print(f"\nW^T {shape}, batch {batch}, {copies} copies\n\n| density | {columns} |\n|{rule}")
            for density, row in zip(DENSITIES, rows):
                print(f"| {density} | {' | '.join(f'{row[name][0]:.3f}' for name in METHODS)} |")
            crossings = [crossover([row[name][1] for row in rows]) for name in list(METHODS)[1:]]
            table.append(f"| {shape} | {batch} | {' | '.join(crossings)} |")
        sys.stdout.flush()
    print(f"\nFaster than dense up to this density\n\n| W^T | batch | {' | '.join(list(METHODS)[1:])} |\n|{rule}")
    print("\n".join(table))


if __name__ == "__main__":
    main()
