"""Tests of 11_self_refine: pass@k, what as many calls buy without any feedback."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from course_utils.exercises.arrays import judge
from course_utils.exercises.engine.calls import Mistake, StudentError


def pass_at_k(n: int, c: int, k: int) -> float:
    """1 - C(n - c, k) / C(n, k): the chance that k different ones of n samples, c of them right, hold a right one.

    Unbiased for the chance that k new samples do. 0 <= c <= n, 1 <= k <= n. Python's integers have no largest one, and the
    quotient of two is rounded once. Source: Chen et al. (2021), Evaluating Large Language Models Trained on Code, section 2.1.
    """
    return 1 - math.comb(n - c, k) / math.comb(n, k)


STEPS = "C(n - c, k) of the C(n, k) choices hold wrong samples only: 1 - math.comb(n - c, k) / math.comb(n, k)."
PLUG_IN = (
    "This is 1 - (1 - c/n)^k, drawing WITH replacement: the same sample may be drawn again, which brings nothing new, so that the"
    " result is too low. Drawn are k DIFFERENT samples: C(n - c, k) of the C(n, k) choices hold wrong ones only."
)
LINEAR = "You multiply c / n by k. That counts a choice with two right samples twice (and can exceed 1): 1 minus the share with NONE."
ONE_SAMPLE = "This is c / n, pass@1, whatever k is."
NONE_RIGHT = "This is the chance that NONE of the k samples is right: 1 minus it is asked for."
ALL_RIGHT = "This is the chance that ALL k samples are right, C(c, k) / C(n, k). One right one is enough: 1 - C(n - c, k) / C(n, k)."
NOT_ALL = "You use c in place of n - c: 1 - C(c, k) / C(n, k) is the chance that at least one is WRONG."
EXACTLY = "This is the chance of EXACTLY one right sample: two or more are as good. 1 minus the share with none."
EXPECTED = "This is a number of choices, or of samples: asked is a share from 0 to 1."
FEW = "With fewer than k wrong samples, n - c < k, no choice of k can do without a right one: the result is 1 (C(n - c, k) = 0)."
WRONG_N = "The number of choices is C(n, k): k of all n samples."
LESS_ONE = (
    "A factor is one place off. Of the k factors the first is (n - c) / n, the last (n - c - k + 1) / (n - k + 1)."
)
BUDGET = "Your result depends on k as if k were another number: k samples are drawn, no more and no less."
MIXED = "n, c and k are mixed up: n samples, c of them right, k are drawn."
CERTAIN = "This is 1 as soon as any sample is right (// cuts off): how likely is a right one to be among the k that are drawn?"
HALF_REPLACED = (
    "Only one of the two numbers shrinks from draw to draw. Without replacement both do: (n - c - i) / (n - i)."
)
PERCENT = "Your result is in percent: the stub asks for a share from 0 to 1."
ROUNDED = (
    "Your result is nearly right: return it as it is, without rounding. All choices are counted exactly, none is drawn."
)
SIMULATED = "Your result is near, and not exact: no random drawing is needed, all choices can be counted."
OVERFLOW = (
    "n = {} is too much for your numbers: C(n, k) has hundreds of digits, and a float ends at 1e308 (NumPy's integers at 9e18)."
    " math.comb gives a Python integer of any length, and / of two of those is exact; or multiply the k quotients"
    " (n - c - i) / (n - i) one by one."
)
NEGATIVE = "n - c - k is negative here (fewer than k wrong samples), which a factorial or a logarithm cannot take. {}"
ARRAY = "Your result has shape {}: one number is asked for."


def _product(n: int, c: int, k: int, first: int = 0, top: int = 1, bottom: int = 1) -> float:
    """prod over i of (n - c - i) / (n - i); top or bottom = 0: that one does not shrink."""
    return math.prod(max(n - c - top * i, 0) / max(n - bottom * i, 1) for i in range(first, first + k))


def _few(n: int, c: int, k: int, otherwise: float) -> float:
    return otherwise if n - c < k else pass_at_k(n, c, k)


def _counted(n: int, c: int, k: int) -> float:
    return math.comb(n, k) - math.comb(n - c, k)


MISTAKES = [
    (PLUG_IN, lambda n, c, k: 1 - (1 - c / n) ** k),
    (LINEAR, lambda n, c, k: k * c / n),
    (LINEAR, lambda n, c, k: min(1.0, k * c / n)),
    (ONE_SAMPLE, lambda n, c, k: c / n),
    (NONE_RIGHT, lambda n, c, k: 1 - pass_at_k(n, c, k)),
    (NONE_RIGHT, lambda n, c, k: (1 - c / n) ** k),
    (ALL_RIGHT, lambda n, c, k: math.comb(c, k) / math.comb(n, k)),
    (ALL_RIGHT, lambda n, c, k: (c / n) ** k),
    (NOT_ALL, lambda n, c, k: 1 - math.comb(c, k) / math.comb(n, k)),
    (NOT_ALL, lambda n, c, k: 1 - (c / n) ** k),
    (EXACTLY, lambda n, c, k: c * math.comb(n - c, k - 1) / math.comb(n, k)),
    (EXACTLY, lambda n, c, k: k * (c / n) * (1 - c / n) ** (k - 1)),
    (EXPECTED, lambda n, c, k: float(_counted(n, c, k))),
    (FEW, lambda n, c, k: _few(n, c, k, 0.0)),
    (FEW, lambda n, c, k: _few(n, c, k, c / n)),
    (FEW, lambda n, c, k: _few(n, c, k, math.nan)),
    (WRONG_N, lambda n, c, k: 1 - math.comb(n - c, k) / math.comb(n, c)),
    (WRONG_N, lambda n, c, k: 1 - math.comb(n - c, k) / math.comb(n + k - 1, k)),
    (WRONG_N, lambda n, c, k: 1 - math.comb(n - c + k - 1, k) / math.comb(n + k - 1, k)),
    (LESS_ONE, lambda n, c, k: 1 - _product(n, c, k, 1)),
    (LESS_ONE, lambda n, c, k: 1 - _product(n, c, k - 1, 1)),
    (LESS_ONE, lambda n, c, k: 1 - math.prod(1 - k / i for i in range(max(n - c, 1), n))),
    (LESS_ONE, lambda n, c, k: 1 - math.prod(1 - k / i for i in range(max(n - c, 1), n + 1))),
    (LESS_ONE, lambda n, c, k: 1 - math.prod(1 - k / i for i in range(n - c + 1, n))),
    (BUDGET, lambda n, c, k: 1 - math.comb(n - c, k - 1) / math.comb(n, k - 1)),
    (BUDGET, lambda n, c, k: 1 - math.comb(n - c, k + 1) / max(math.comb(n, k + 1), 1)),
    (BUDGET, lambda n, c, k: 1 - (1 - c / n) ** n),
    (BUDGET, lambda n, c, k: c / k),
    (BUDGET, lambda n, c, k: min(c / k, 1.0)),
    (MIXED, lambda n, c, k: 1 - math.comb(n - c, k) / math.comb(n, n - c - k if n - c > k else k)),
    (MIXED, lambda n, c, k: 1 - math.comb(n - k, k) / math.comb(n, k)),
    (MIXED, lambda n, c, k: 1 - (1 - k / n) ** c),
    (MIXED, lambda n, c, k: 1 - math.comb(n - k, c) / math.comb(n, k)),
    (CERTAIN, lambda n, c, k: float(c > 0)),
    (HALF_REPLACED, lambda n, c, k: 1 - _product(n, c, k, bottom=0)),
    (HALF_REPLACED, lambda n, c, k: max(0.0, 1 - _product(n, c, k, top=0))),
    (HALF_REPLACED, lambda n, c, k: 1 - _product(n, c, k, top=0)),
    (PERCENT, lambda n, c, k: 100 * pass_at_k(n, c, k)),
    *((ROUNDED, lambda n, c, k, digits=digits: round(pass_at_k(n, c, k), digits)) for digits in (3, 2, 1)),
]
SMALL = [(5, 2, 2), (10, 3, 4), (7, 1, 3), (20, 4, 5), (12, 9, 2)]
ENDS = [(6, 4, 3), (8, 8, 1), (4, 1, 4), (9, 0, 9), (9, 0, 2), (5, 5, 5), (30, 7, 1)]
BIG = [(10_000, 30, 100), (10_000, 4_000, 1), (10_000, 1, 5_000), (2_000, 3, 900)]
CASES = [*SMALL, (6, 4, 3)]


def _look(got: Tensor, case: tuple) -> None:
    if got.numel() != 1:
        raise Mistake(ARRAY.format(tuple(got.shape)))
    if case[0] > 100 and not case[0] - case[1] < case[2]:
        if not got.isfinite().all() or not 0 <= float(got) <= 1:
            raise Mistake(OVERFLOW.format(case[0]))
    off = abs(float(got) - pass_at_k(*case))
    if off < 6e-4 and 0 < pass_at_k(*case) < 1:
        raise Mistake(ROUNDED)
    if case[0] < 100 and off < 0.03:
        raise Mistake(SIMULATED)


def _check(answer: Callable, case: tuple) -> None:
    n, c, k = case
    try:
        judge(answer, case, pass_at_k, CASES, MISTAKES, STEPS, _look)
    except StudentError as wrapped:
        said = str(wrapped.error).split("\n")[0]
        if isinstance(wrapped.error, (OverflowError, RecursionError)) and n > 100:
            raise Mistake(f"{OVERFLOW.format(n)} (Python said: {said})") from None
        if isinstance(wrapped.error, (ValueError, ZeroDivisionError)) and n - c < k:
            raise Mistake(NEGATIVE.format(f"{FEW} (Python said: {said})")) from None
        raise


def best_small(answer: Callable) -> None:
    """5 to 20 samples, of which 1 to 5 are drawn"""
    for case in SMALL:
        _check(answer, case)


def best_ends(answer: Callable) -> None:
    """fewer than k wrong samples, no right one, all right, all drawn, k = 1"""
    for case in ENDS:
        _check(answer, case)


def best_big(answer: Callable) -> None:
    """up to 10,000 samples, where C(n, k) does not fit into a float"""
    for case in BIG:
        _check(answer, case)
