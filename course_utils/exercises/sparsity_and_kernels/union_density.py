"""The share of columns that a batch needs."""

from __future__ import annotations

import math

from course_utils.exercises.engine import Exercise, case
from course_utils.sparsity import union_density

OPPOSITE = "Go by the opposite: zero in all B rows has the chance s^B."

EXERCISE = Exercise(
    "sparsity_and_kernels.union_density",
    reference=union_density,
    what="the share",
    right="A column can be skipped only if it is 0 in all B rows, and all others must be read.",
    errors={
        r"for \^": "In Python ^ is not a power (it compares bits): write s**B.",
        "math domain": "s may be 0, which has no logarithm: a power needs none.",
    },
    cases=[
        case("three rows", 0.8, 3),
        case("six rows", 0.65, 6),
        case("few zeros", 0.2, 3),
        case("many zeros", 0.95, 4),
        case("one row needs what is not zero in it", 0.7, 1),
        case("no zeros: everything is read", 0.0, 4),
        case("zeros only: nothing is read", 1.0, 4),
        case("a large batch reads nearly all", 0.9, 256),
    ],
    mistakes={
        "s^B is the share that can be skipped, zero in all B rows.\n"
        "Asked is the share that must be read.": lambda s, B: s**B,
        "(1 - s)^B is the chance that all B rows are non-zero.\n"
        "A column is needed as soon as one row needs it: 1 - (zero in all of them).": lambda s, B: (1 - s) ** B,
        "1 - (1 - s)^B is the chance that at least one row has a zero: s and 1 - s are swapped.\n"
        "s is the share of zeros, so zero in all rows is s^B.": lambda s, B: 1 - (1 - s) ** B,
        f"B (1 - s) counts a column twice that two rows need, and grows above 1.\n{OPPOSITE}": lambda s, B: B * (1 - s),
        "min(1, B (1 - s)) only hides that the sum counts shared columns twice: the union is always smaller.\n"
        f"{OPPOSITE}": lambda s, B: min(1.0, B * (1 - s)),
        f"The chances of independent rows are multiplied, not added: s * B is no chance of anything.\n{OPPOSITE}": [
            lambda s, B: 1 - s * B,
            lambda s, B: max(0.0, 1 - s * B),
            lambda s, B: s * B,
        ],
        "The batch is ignored: 1 - s is what one row needs.\n"
        "With B rows, a column is free only if it is 0 in all of them.": lambda s, B: 1 - s,
        "This is s itself, the share of zeros of one row.\nAsked is what B rows together must read.": lambda s, B: s,
        f"A batch does not need fewer columns than one row: each row adds to the union.\n{OPPOSITE}": [
            lambda s, B: (1 - s) / B,
            lambda s, B: 1 - s / B,
            lambda s, B: s / B,
        ],
        "This is a root.\nThe power is B, and not 1 / B.": [lambda s, B: 1 - s ** (1 / B), lambda s, B: s ** (1 / B)],
        "Base and exponent are swapped.\nIt is s to the power of B.": lambda s, B: 1 - B**s,
        "exp(-B (1 - s)) is s^B only nearly, for s close to 1.\nTake the power itself.": lambda s, B: (
            1 - math.exp(-B * (1 - s))
        ),
        "The exponent is off by one.\nThere are B rows, so s is multiplied with itself B times.": [
            lambda s, B: 1 - s ** (B - 1),
            lambda s, B: 1 - s ** (B + 1),
        ],
        "The sign is the wrong way round: a share is not below 0.": lambda s, B: s**B - 1,
        "This is in percent: a share lies between 0 and 1.": lambda s, B: 100 * (1 - s**B),
        "A share is no whole number, and int() cuts off its decimals.": lambda s, B: int(1 - s**B),
    },
    hints=[
        "When can a column be skipped for the whole batch? Ask for the chance of that first.",
        "A column is free only if it is 0 in all B rows; independent chances are multiplied. Asked is the opposite.",
        "1 - s**B",
    ],
)
