"""A Triton kernel for vectors whose length is no multiple of the block: its mask."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, case, draw
from course_utils.exercises.sparsity_and_kernels import interpreted, tl

PARAMETERS = "x, y, out, a, n, BLOCK"
PLACES = "Program p works on the places i = p * BLOCK, ..., p * BLOCK + BLOCK - 1."
MASK = "Give tl.load and tl.store the mask i < n: where it is False, no memory is touched."
ARANGE = "tl.program_id(0) * BLOCK + tl.arange(0, BLOCK) are the places of a program."


def masked_kernel(x, y, out, a, n, BLOCK: tl.constexpr):
    """out[i] = a * x[i] + y[i] for i = 0, ..., n - 1; x, y and out are pointers to their first entries."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)  # (BLOCK,): the places of this program
    inside = i < n
    total = a * tl.load(x + i, mask=inside) + tl.load(y + i, mask=inside)
    tl.store(out + i, total, mask=inside)


def launch(kernel: Callable, x: Tensor, y: Tensor, a: float, BLOCK: int) -> Tensor:
    """out (n,) of the kernel, started as -(-n // BLOCK) programs; nan where nothing was written."""
    out, n = torch.full_like(x, torch.nan), len(x)
    interpreted(kernel, PARAMETERS)[(-(-n // BLOCK),)](x, y, out, a, n, BLOCK=BLOCK)
    return out


def _changed(x: Tensor, y: Tensor, a: float, keep: Callable[[Tensor], Tensor]) -> Tensor:
    """The right result where `keep` of the places is true, nan elsewhere."""
    return torch.where(keep(torch.arange(len(x))), a * x + y, torch.nan)


def _vectors(n: int, seed: int) -> tuple[Tensor, Tensor]:
    return draw(n, seed=seed), draw(n, seed=seed + 1)


EXERCISE = Exercise(
    "sparsity_and_kernels.masked_kernel",
    reference=masked_kernel,
    run=launch,
    what="out",
    right="out[i] = a * x[i] + y[i] for every i below n.",
    explain=lambda out, expected, *args: f"Some places of out were never written.\n{PLACES}" * bool(out.isnan().any()),
    float64=False,
    errors={
        r"IndexError: a program reads at": "A program reads behind the end of a vector: n is no multiple of BLOCK, so "
        f"the last program has fewer than BLOCK entries to do.\n{MASK}",
        r"IndexError: a program writes at": "A program writes behind the end of out, where other data may lie.\n"
        "tl.store needs the same mask as the loads.",
    },
    cases=[
        case("21 entries in blocks of 8: the last program has 5", *_vectors(21, 641), a=2.5, BLOCK=8),
        case("a multiple of the block", *_vectors(32, 643), a=-1.5, BLOCK=16),
        case("fewer entries than one block", *_vectors(3, 645), a=0.5, BLOCK=64),
        case("one entry more than three blocks", *_vectors(49, 647), a=3.0, BLOCK=16),
        case("a single entry", *_vectors(1, 649), a=-2.0, BLOCK=4),
    ],
    mistakes={
        f"Only the first block is written: every program works on the same places.\n{ARANGE}": (
            lambda x, y, a, BLOCK: _changed(x, y, a, lambda i: i < BLOCK)
        ),
        f"The last block is not written when it is only part full.\n{MASK}": [
            lambda x, y, a, BLOCK: _changed(x, y, a, lambda i: i < len(x) // BLOCK * BLOCK)
        ],
        "The last entry is not written: the places that count are those below n, i < n.": [
            lambda x, y, a, BLOCK: _changed(x, y, a, lambda i: i < len(x) - 1)
        ],
        f"Program p starts at place p, not at p * BLOCK.\n{ARANGE}": [
            lambda x, y, a, BLOCK: _changed(x, y, a, lambda i: i < -(-len(x) // BLOCK) + BLOCK - 1)
        ],
        "a multiplies y here: it belongs to x.": lambda x, y, a, BLOCK: x + a * y,
        "a multiplies the whole sum: it belongs to x alone.": lambda x, y, a, BLOCK: a * (x + y),
        "a is not used: out is a * x + y.": lambda x, y, a, BLOCK: x + y,
        "y is missing: out is a * x + y.": lambda x, y, a, BLOCK: a * x,
        "y is subtracted: out is a * x + y.": lambda x, y, a, BLOCK: a * x - y,
        "y is read in the place of x, or x in the place of y: they are two pointers.": [
            *(lambda x, y, a, BLOCK: a * x + x, lambda x, y, a, BLOCK: a * y + y),
        ],
    },
    hints=[
        "Which places does program number p work on, and which of them exist?",
        "The places are p * BLOCK + (0, 1, ..., BLOCK - 1) with p = tl.program_id(0). Those below n exist; loads and "
        "the store take that condition as mask=.",
        "i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK); tl.store(out + i, a * tl.load(x + i, mask=i < n) + ..., "
        "mask=i < n)",
    ],
)
