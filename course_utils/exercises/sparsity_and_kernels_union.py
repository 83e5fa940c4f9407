"""Tests of 06_sparsity_and_kernels: the share of columns that a batch needs."""

from __future__ import annotations

import math
from collections.abc import Callable

from course_utils.exercises.engine import Mistake, close
from course_utils.exercises.engine.calls import StudentError
from course_utils.exercises.mistakes import recognise
from course_utils.sparsity import union_density

RIGHT = (
    "A column can be skipped only if it is 0 in ALL B rows, which has the chance s^B; the others must be read, 1 - s^B."
)
SKIPPED = "s^B is the share that can be SKIPPED, zero in all B rows. Asked is the share that must be read: 1 - s^B."
ALL_LIVE = (
    "(1 - s)^B is the chance that all B rows are NON-zero. A column is needed as soon as ONE row needs it: 1 - (zero in all"
    " of them)."
)
SOME_ZERO = (
    "1 - (1 - s)^B is the chance that at least one row has a ZERO: s and 1 - s are swapped. s is the share of zeros, so"
    " zero in all rows is s^B."
)
ADDED = (
    "B (1 - s) counts a column twice that two rows need, and grows above 1: a union is smaller than the sum of its parts."
    " Go by the opposite: zero in all rows, s^B."
)
CLIPPED = (
    "min(1, B (1 - s)) only hides that the sum counts shared columns twice: the union is always smaller. Go by the"
    " opposite: zero in all rows, s^B."
)
LINEAR = "The chances of independent rows are multiplied, not added: zero in all B rows is s^B, and not s * B."
ONE_ROW = (
    "The batch is ignored: 1 - s is what ONE row needs. With B rows, a column is free only if it is 0 in all of them."
)
ZEROS = "This is s itself, the share of zeros of one row: asked is what B rows together must read."
DIVIDED = "A batch does not need fewer columns than one row: each row adds to the union. Zero in all B rows is s^B."
ROOT = "This is a root: the power is B, s**B, and not 1 / B."
SWAPPED = "Base and exponent are swapped: s to the power of B, s**B."
EXPONENTIAL = "exp(-B (1 - s)) is s^B only nearly, for s close to 1: take s**B itself."
ONE_OFF = "The exponent is off by one: there are B rows, so s is multiplied with itself B times, s**B."
NEGATIVE = "The sign is the wrong way round: 1 - s**B, and not s**B - 1."
PERCENT = "This is in percent: a share lies between 0 and 1."

MISTAKES = [
    (SKIPPED, lambda s, B: s**B),
    (ALL_LIVE, lambda s, B: (1 - s) ** B),
    (SOME_ZERO, lambda s, B: 1 - (1 - s) ** B),
    (ADDED, lambda s, B: B * (1 - s)),
    (CLIPPED, lambda s, B: min(1.0, B * (1 - s))),
    (LINEAR, lambda s, B: 1 - s * B),
    (LINEAR, lambda s, B: max(0.0, 1 - s * B)),
    (LINEAR, lambda s, B: s * B),
    (ONE_ROW, lambda s, B: 1 - s),
    (ZEROS, lambda s, B: s),
    (DIVIDED, lambda s, B: (1 - s) / B),
    (DIVIDED, lambda s, B: 1 - s / B),
    (DIVIDED, lambda s, B: s / B),
    (ROOT, lambda s, B: 1 - s ** (1 / B)),
    (ROOT, lambda s, B: s ** (1 / B)),
    (SWAPPED, lambda s, B: 1 - B**s),
    (EXPONENTIAL, lambda s, B: 1 - math.exp(-B * (1 - s))),
    (ONE_OFF, lambda s, B: 1 - s ** (B - 1)),
    (ONE_OFF, lambda s, B: 1 - s ** (B + 1)),
    (NEGATIVE, lambda s, B: s**B - 1),
    (PERCENT, lambda s, B: 100 * (1 - s**B)),
]
CASES = [(0.8, 3), (0.65, 6), (0.95, 4)]


def _check(answer: Callable, s: float, B: int) -> None:
    try:
        close(answer(s, B), union_density(s, B), what=f"the share for s = {s} and B = {B}")
    except StudentError as wrapped:
        if "for ^" in str(wrapped.error):
            raise Mistake("In Python ^ is not a power (it compares bits): write s**B.") from None
        raise
    except Mistake as mistake:
        recognise(answer, CASES, MISTAKES)
        raise Mistake(f"{mistake} {RIGHT}") from None


def union_values(answer: Callable) -> None:
    """several shares of zeros and batch sizes"""
    for s, B in CASES:
        _check(answer, s, B)


def union_one_row(answer: Callable) -> None:
    """a batch of one row needs what it does not have zero, 1 - s"""
    _check(answer, 0.7, 1)
    _check(answer, 0.25, 1)


def union_ends(answer: Callable) -> None:
    """without zeros everything is read, with zeros only nothing; and a large batch reads nearly all"""
    _check(answer, 0.0, 4)
    _check(answer, 1.0, 4)
    _check(answer, 0.9, 256)
