"""The share of columns that a batch needs."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, case


def union_density(s: Tensor) -> float:
    """1 - s_1 s_2 ... s_B: the share of columns that at least one of B rows needs, if zeros fall independently.

    s (B,): the share of zeros of each row, 0 to 1. For equal shares this is 1 - s^B, `sparsity.union_density`.
    """
    return 1 - s.prod().item()


OPPOSITE = "Go by the opposite: the chance to be zero in all rows is a product."
ONE_NUMBER = "Return one number for all rows together."
OWN = "Each row has its own share: multiply these."

EXERCISE = Exercise(
    "sparsity_and_kernels.union_density",
    reference=union_density,
    what="the share",
    right="A column can be skipped only if it is 0 in all rows, and all others must be read.",
    errors={
        r"for \^": "In Python ^ is not a power (it compares bits): write **.",
        "math domain": "A share may be 0, which has no logarithm: a product needs none.",
        "element": ONE_NUMBER,
    },
    cases=[
        case("three rows", torch.tensor([0.8, 0.5, 0.9])),
        case("six rows", torch.tensor([0.95, 0.6, 0.9, 0.85, 0.99, 0.7])),
        case("few zeros", torch.tensor([0.3, 0.1, 0.2])),
        case("four rows of the same share", torch.full((4,), 0.95)),
        case("one row needs what is not zero in it", torch.tensor([0.7])),
        case("one row has no zeros: everything is read", torch.tensor([0.9, 0.0, 0.8])),
        case("zeros only: nothing is read", torch.ones(4)),
        case("a large batch reads nearly all", torch.full((256,), 0.9)),
    ],
    mistakes={
        "This is the share that can be skipped, zero in all rows.\nReturn the share that must be read.": torch.prod,
        "This is the chance that all rows are non-zero.\n"
        "A column is needed as soon as one row needs it: 1 - (zero in all of them).": lambda s: (1 - s).prod(),
        "This is the chance that at least one row has a zero: s and 1 - s are swapped.\n"
        "s is the share of zeros, so zero in all rows is the product of the s.": lambda s: 1 - (1 - s).prod(),
        f"This sum of the 1 - s counts a column twice that two rows need, and grows above 1.\n{OPPOSITE}": [
            lambda s: (1 - s).sum(),
            lambda s: (1 - s).mean() * len(s),
        ],
        "A sum that is cut off at 1 still counts shared columns twice: the union is always smaller.\n"
        f"{OPPOSITE}": lambda s: (1 - s).sum().clamp(max=1),
        f"The chances of independent rows are multiplied, not added.\n{OPPOSITE}": [
            lambda s: 1 - s.sum(),
            lambda s: (1 - s.sum()).clamp(min=0),
            torch.sum,
        ],
        f"This is the mean share to the power of B, right for rows of the same share only.\n{OWN}": lambda s: (
            1 - s.mean() ** len(s)
        ),
        f"This is the formula with one row's share, as if all rows had it.\n{OWN}": [
            *(lambda s, i=i: 1 - s[i] ** len(s) for i in (0, -1)),
            *(lambda s, f=f: 1 - f(s) ** len(s) for f in (torch.amin, torch.amax)),
        ],
        "This is what one row needs, on average or the first, the last, the fullest or the emptiest.\n"
        "With several rows, a column is free only if it is 0 in all of them.": [
            *(lambda s, f=f: 1 - f(s) for f in (torch.mean, torch.amin, torch.amax)),
            *(lambda s, i=i: 1 - s[i] for i in (0, -1)),
        ],
        f"This is one number for each row.\n{ONE_NUMBER}": [
            *(lambda s: 1 - s, lambda s: 1 - s ** len(s), lambda s: s ** len(s), lambda s: 1 - s.cumprod(0)),
        ],
        "This is a root, the geometric mean of the shares.\nTake the product itself.": [
            lambda s: 1 - s.prod() ** (1 / len(s)),
            lambda s: s.prod() ** (1 / len(s)),
        ],
        "exp of minus the sum of the 1 - s is the product of the s only nearly, for s close to 1.\n"
        "Take the product itself.": lambda s: 1 - torch.exp(-(1 - s).sum()),
        "One row is left out, the first or the last.": [lambda s: 1 - s[1:].prod(), lambda s: 1 - s[:-1].prod()],
        "This is in percent: a share lies between 0 and 1.": lambda s: 100 * (1 - s.prod()),
        "A share is no whole number, and int() cuts off its decimals.": lambda s: int(1 - s.prod()),
    },
    hints=[
        "When can a column be skipped for the whole batch? Ask for the chance of that first.",
        "A column is free only if it is 0 in all rows; independent chances are multiplied. Return the opposite.",
        "1 - s.prod()",
    ],
)
