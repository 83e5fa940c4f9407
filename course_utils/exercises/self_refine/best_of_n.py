"""pass@k: what as many calls buy without any feedback."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from course_utils.exercises.engine import Exercise, case, numbers


def pass_at_k(n: int, c: int, k: int) -> float:
    """1 - C(n - c, k) / C(n, k): the chance that k different ones of n samples, c of them right, hold a right one.

    Unbiased for the chance that k new samples do. 0 <= c <= n, 1 <= k <= n. Python's integers have no largest one, and
    the quotient of two is rounded once. Source: Chen et al. (2021), Evaluating Large Language Models Trained on Code,
    section 2.1.
    """
    return 1 - math.comb(n - c, k) / math.comb(n, k)


def _product(k: int, top: Callable, bottom: Callable) -> float:
    return math.prod(max(top(i), 0) / max(bottom(i), 1) for i in range(k))


def _few(otherwise: Callable) -> Callable:
    """Wrong only where there are fewer than k wrong samples."""
    return lambda n, c, k: otherwise(n, c, k) if n - c < k else pass_at_k(n, c, k)


def _chen(first: int, last: int) -> Callable:
    """The product of Chen et al. over range(n - c + first, n + last)."""
    return lambda n, c, k: 1 - math.prod(1 - k / i for i in range(max(n - c + first, 1), n + last))


def _explain(got: Any, expected: float, n: int, c: int, k: int) -> str:
    found = numbers(got, "your result")
    if found.numel() != 1:
        return f"Your result has shape {tuple(found.shape)}: one number is asked for."
    if n > 100 and not 0 <= float(found) <= 1:
        return f"n = {n} is too much for your numbers. {OVERFLOW}"
    if abs(float(found) - expected) < 6e-4 and 0 < expected < 1:
        return ROUNDED
    if n < 100 and abs(float(found) - expected) < 0.03:
        return "Your result is near, and not exact: no random drawing is needed, all choices can be counted."
    return ""


ROUNDED = "Your result is nearly right: return it as it is, without rounding. All choices are counted exactly."
OVERFLOW = (
    "C(n, k) has hundreds of digits, and a float ends at 1e308 (NumPy's integers at 9e18). A Python integer has any"
    " length, and / of two of those is exact; or multiply the k quotients (n - c - i) / (n - i) one by one."
)
FEW = "With fewer than k wrong samples, n - c < k, no choice of k can do without a right one: the result is 1."
EXERCISE = Exercise(
    "self_refine.best_of_n",
    reference=pass_at_k,
    what="your result",
    atol=1e-5,
    rtol=1e-5,
    right="C(n - c, k) of the C(n, k) choices hold wrong samples only.",
    explain=_explain,
    errors={
        "OverflowError|RecursionError": f"n = 10,000 is too much for your numbers. {OVERFLOW}",
        "ValueError|ZeroDivisionError": f"{FEW} n - c - k is negative then, which a factorial or a logarithm cannot "
        f"take.",
    },
    cases=[
        case("2 of 5 samples", 5, 2, 2),
        case("4 of 10 samples", 10, 3, 4),
        case("3 of 7 samples, one of them right", 7, 1, 3),
        case("5 of 20 samples", 20, 4, 5),
        case("2 of 12 samples, most of them right", 12, 9, 2),
        case("fewer than k wrong samples", 6, 4, 3),
        case("all samples are right", 8, 8, 1, names=False),
        case("all samples are drawn, one of them right", 4, 1, 4, names=False),
        case("all samples are drawn, none of them right", 9, 0, 9, names=False),
        case("no sample is right", 9, 0, 2, names=False),
        case("all are right, all are drawn", 5, 5, 5, names=False),
        case("k = 1", 30, 7, 1, names=False),
        case("10,000 samples, where C(n, k) does not fit into a float", 10_000, 30, 100, names=False),
        case("10,000 samples, k = 1", 10_000, 4_000, 1, names=False),
        case("half of 10,000 samples, one of them right", 10_000, 1, 5_000, names=False),
        case("900 of 2,000 samples, three of them right", 2_000, 3, 900, names=False),
    ],
    mistakes={
        "This is 1 - (1 - c/n)^k, drawing with replacement.\n"
        "The same sample may then be drawn again, which brings nothing new, so that the result is too low. Here k "
        "different samples are drawn.": lambda n, c, k: 1 - (1 - c / n) ** k,
        "This is c / n times k.\nThat counts a choice with two right samples twice, and can exceed 1.": [
            *[lambda n, c, k: k * c / n, lambda n, c, k: min(1.0, k * c / n)],
        ],
        "This is c / n, pass@1, whatever k is.": lambda n, c, k: c / n,
        "This is the chance that none of the k samples is right.\n1 minus it is asked for.": [
            lambda n, c, k: 1 - pass_at_k(n, c, k),
            lambda n, c, k: (1 - c / n) ** k,
        ],
        "This is the chance that all k samples are right, C(c, k) / C(n, k).\nOne right one is enough.": [
            lambda n, c, k: math.comb(c, k) / math.comb(n, k),
            lambda n, c, k: (c / n) ** k,
        ],
        "This is the chance that at least one is wrong, 1 - C(c, k) / C(n, k).\nThe wrong ones are n - c.": [
            lambda n, c, k: 1 - math.comb(c, k) / math.comb(n, k),
            lambda n, c, k: 1 - (c / n) ** k,
        ],
        "This is the chance of exactly one right sample.\nTwo or more are as good: 1 minus the share with none.": [
            lambda n, c, k: c * math.comb(n - c, k - 1) / math.comb(n, k),
            lambda n, c, k: k * (c / n) * (1 - c / n) ** (k - 1),
        ],
        "This is a number of choices.\nReturn a share from 0 to 1.": lambda n, c, k: float(
            math.comb(n, k) - math.comb(n - c, k)
        ),
        FEW: [_few(lambda n, c, k: 0.0), _few(lambda n, c, k: c / n), _few(lambda n, c, k: math.nan)],
        "The number of choices is not the one that yours is divided by.\nIt is C(n, k): k of all n samples.": [
            lambda n, c, k: 1 - math.comb(n - c, k) / math.comb(n, c),
            lambda n, c, k: 1 - math.comb(n - c + k - 1, k) / math.comb(n + k - 1, k),
        ],
        "A factor is one place off.\n"
        "Of the k factors the first is (n - c) / n, the last (n - c - k + 1) / (n - k + 1).": [
            lambda n, c, k: 1 - _product(k, lambda i: n - c - i - 1, lambda i: n - i - 1),
            lambda n, c, k: 1 - _product(k - 1, lambda i: n - c - i - 1, lambda i: n - i - 1),
            *[_chen(0, 0), _chen(0, 1), _chen(1, 0)],
        ],
        "Your result is that of another k.\nk samples are drawn, no more and no less.": [
            lambda n, c, k: 1 - math.comb(n - c, k - 1) / math.comb(n, k - 1),
            lambda n, c, k: 1 - math.comb(n - c, k + 1) / max(math.comb(n, k + 1), 1),
            lambda n, c, k: 1 - (1 - c / n) ** n,
        ],
        "n, c and k are mixed up.\nThere are n samples, c of them right, and k are drawn.": [
            lambda n, c, k: 1 - math.comb(n - k, k) / math.comb(n, k),
            lambda n, c, k: 1 - (1 - k / n) ** c,
            lambda n, c, k: c / k,
        ],
        "This is 1 as soon as any sample is right (// cuts off).\n"
        "How likely is a right one to be among the k that are drawn?": lambda n, c, k: float(c > 0),
        "Only one of the two numbers shrinks from draw to draw.\nWithout replacement both do: (n - c - i) / (n - i).": [
            lambda n, c, k: 1 - _product(k, lambda i: n - c - i, lambda i: n),
            lambda n, c, k: 1 - _product(k, lambda i: n - c, lambda i: n - i),
        ],
        "Your result is in percent.\nThe stub asks for a share from 0 to 1.": lambda n, c, k: 100 * pass_at_k(n, c, k),
        ROUNDED: [lambda n, c, k, digits=digits: round(pass_at_k(n, c, k), digits) for digits in (3, 2)],
    },
    hints=[
        "In how many ways can k of the n samples be chosen, and in how many of these is none of the c right ones among "
        "them?",
        "All choices: C(n, k). Choices from the n - c wrong ones only: C(n - c, k). Which Python function counts them "
        "exactly?",
        "1 - math.comb(n - c, k) / math.comb(n, k): integers of any length, and 0 if n - c < k",
    ],
)
