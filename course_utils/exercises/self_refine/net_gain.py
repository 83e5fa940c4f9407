"""Tests of 11_self_refine: how many of the wrong answers a round repairs, and how many of the right ones it breaks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from course_utils.exercises.arrays import CLOSE, pair, tried
from course_utils.exercises.engine.calls import Mistake, StudentError
from course_utils.exercises.engine.compare import close
from course_utils.exercises.mistakes import recognise


def paired_rates(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """(f, c): of the answers wrong before, the share right after; of those right before, the share wrong after.

    before, after (N,): booleans. A share of no items is 0.0. mean(after) = mean(before) (1 - c) + (1 - mean(before)) f.
    """
    repaired, broken = after[~before], ~after[before]
    return float(repaired.mean()) if len(repaired) else 0.0, float(broken.mean()) if len(broken) else 0.0


STEPS = "f = after[~before].mean(), c = (~after)[before].mean(), each 0.0 where there is no such item."
OF_ALL = (
    "You divide by all N items. f is a share of the answers that were WRONG before, c of those that were right: only these can be"
    " repaired, or broken."
)
SWAPPED = "The two shares are in the other order: (f, c), first what was repaired."
OTHER_DIVISORS = "The counts are right, and divided by others than asked: repairs by the number WRONG before, breaks by the number RIGHT."
OF_AFTER = "You divide by the state AFTER the round. The rates say what happens to an answer that is wrong, or right, BEFORE it."
CHANGED = "You divide by the number of answers that changed: the repairs by all that were wrong before, the breaks by all that were right."
COUNTS = "These are counts: divide the repairs by the number wrong before, the breaks by the number right before."
ACCURACIES = "These are the accuracies before and after. What is asked happens between them, item by item."
UNPAIRED = (
    "You compare the two accuracies alone. The gain is repairs minus breaks, and many of both can hide behind none: pair the"
    " items, before[i] with after[i]."
)
STAYED = "These are the shares that did NOT change: of the wrong answers those right after, of the right ones those wrong after."
ONE_STAYED = (
    "One of the two is the share that did not change: f = repaired among the wrong, c = BROKEN among the right."
)
PERCENT = "Your shares are in percent: asked are numbers from 0 to 1."
NEGATIVE = "Your c is negative: it is a share, and the minus sign comes when the gain is computed."
ROUNDED = "Your shares are nearly right: return them as they are, without rounding."
EMPTY = (
    "Nothing was {} before in this case, so there is no such share, and your function {}. The stub says 0.0 for a share of no"
    " items: ask for the number of items first."
)
EMPTY_ONE = "Nothing was {} before in this case. The stub says 0.0 for a share of no items, here {}."
ONE = "Your function returns one number: the stub asks for two, (f, c), which are shares of different items."
MANY = "Your function returns {} values: the stub asks for two numbers, (f, c)."
EACH = "Your result has numbers for each item, shapes {}: a share is a mean over them."


def _counts(b: np.ndarray, a: np.ndarray) -> tuple[int, int, int, int]:
    """Repaired, broken, wrong before, right before."""
    return (~b & a).sum(), (b & ~a).sum(), (~b).sum(), b.sum()


def _of(form: Callable) -> Callable:
    """A mistake in what the four counts are made into."""
    return lambda b, a: np.array(form(*_counts(b, a)), dtype=float)


def _share(b: np.ndarray, a: np.ndarray) -> np.ndarray:
    return np.array(paired_rates(b, a))


def _gain(b: np.ndarray, a: np.ndarray, f: Callable, c: Callable) -> np.ndarray:
    return np.array([f(b.mean(), a.mean()), c(b.mean(), a.mean())])


MISTAKES = [
    (SWAPPED, lambda b, a: _share(b, a)[[1, 0]]),
    (OF_ALL, _of(lambda fixed, broken, wrong, right: (fixed / (wrong + right), broken / (wrong + right)))),
    (OF_ALL, _of(lambda fixed, broken, wrong, right: (broken / (wrong + right), fixed / (wrong + right)))),
    (OF_ALL, _of(lambda fixed, broken, wrong, right: (fixed / (wrong + right), broken / right))),
    (OF_ALL, _of(lambda fixed, broken, wrong, right: (fixed / wrong, broken / (wrong + right)))),
    (OTHER_DIVISORS, _of(lambda fixed, broken, wrong, right: (fixed / right, broken / wrong))),
    (OTHER_DIVISORS, _of(lambda fixed, broken, wrong, right: (fixed / right, broken / right))),
    (OTHER_DIVISORS, _of(lambda fixed, broken, wrong, right: (fixed / wrong, broken / wrong))),
    (OTHER_DIVISORS, _of(lambda fixed, broken, wrong, right: (broken / wrong, fixed / right))),
    (OF_AFTER, lambda b, a: np.array([(~b & a).sum() / a.sum(), (b & ~a).sum() / (~a).sum()])),
    (OF_AFTER, lambda b, a: np.array([(~b & a).sum() / (~a).sum(), (b & ~a).sum() / a.sum()])),
    (OF_AFTER, lambda b, a: np.array([(b & ~a).sum() / (~a).sum(), (~b & a).sum() / a.sum()])),
    (CHANGED, _of(lambda fixed, broken, wrong, right: (fixed / (fixed + broken), broken / (fixed + broken)))),
    (COUNTS, _of(lambda fixed, broken, wrong, right: (fixed, broken))),
    (COUNTS, _of(lambda fixed, broken, wrong, right: (broken, fixed))),
    (ACCURACIES, lambda b, a: np.array([b.mean(), a.mean()])),
    (ACCURACIES, lambda b, a: np.array([a.mean(), b.mean()])),
    (ACCURACIES, lambda b, a: np.array([a.mean(), 1 - a.mean()])),
    (UNPAIRED, lambda b, a: _gain(b, a, lambda x, y: (y - x) / (1 - x), lambda x, y: (x - y) / x)),
    (UNPAIRED, lambda b, a: _gain(b, a, lambda x, y: max(y - x, 0) / (1 - x), lambda x, y: max(x - y, 0) / x)),
    (UNPAIRED, lambda b, a: _gain(b, a, lambda x, y: max(y - x, 0), lambda x, y: max(x - y, 0))),
    (UNPAIRED, lambda b, a: _gain(b, a, lambda x, y: y - x, lambda x, y: x - y)),
    (UNPAIRED, lambda b, a: _gain(b, a, lambda x, y: y / (1 - x), lambda x, y: (1 - y) / x)),
    (STAYED, lambda b, a: 1 - _share(b, a)),
    (STAYED, lambda b, a: 1 - _share(b, a)[[1, 0]]),
    (ONE_STAYED, lambda b, a: np.abs([0, 1] - _share(b, a))),
    (ONE_STAYED, lambda b, a: np.abs([1, 0] - _share(b, a))),
    (PERCENT, lambda b, a: 100 * _share(b, a)),
    (NEGATIVE, lambda b, a: _share(b, a) * [1, -1]),
    *((ROUNDED, lambda b, a, digits=digits: _share(b, a).round(digits)) for digits in (3, 2, 1)),
]


def inputs(seed: int, items: int, start: float, f: float, c: float) -> tuple[np.ndarray, np.ndarray]:
    """Booleans of a round with these rates."""
    random = np.random.default_rng(seed)
    before, draw = random.random(items) < start, random.random(items)
    return before, np.where(before, draw >= c, draw < f)


# Twenty items of which eight are right before and after: nothing seems to have happened
LEVEL = (np.arange(20) < 8, np.isin(np.arange(20), [0, 1, 2, 3, 4, 9, 13, 17]))
CASES = [LEVEL, inputs(951, 47, 0.8, 0.4, 0.2), inputs(952, 61, 0.3, 0.5, 0.1), inputs(953, 35, 0.6, 0.1, 0.4)]
NONE_WRONG = (np.ones(6, dtype=bool), np.array([True, True, False, True, True, True]))
NONE_RIGHT = (np.zeros(5, dtype=bool), np.array([False, True, False, True, False]))


def _pair(answer: Callable, case: tuple) -> Tensor:
    found = pair(tried(answer, *case), ONE, MANY, EACH)
    if found.shape != (2,):
        raise Mistake(EACH.format(tuple(found.shape)))
    return found


def _check(answer: Callable, case: tuple) -> None:
    got, expected = _pair(answer, case), torch.tensor(paired_rates(*case)).double()
    for place, name in enumerate(["f, the share of repaired answers,", "c, the share of broken answers,"]):
        try:
            close(got[place].item(), expected[place].item(), what=name, **CLOSE)
        except Mistake as mistake:
            recognise(lambda *args: _pair(answer, args), CASES, MISTAKES)
            if torch.allclose(got, expected, rtol=0, atol=6e-4):
                raise Mistake(ROUNDED) from None
            raise Mistake(f"{mistake} {STEPS}") from None


def _check_empty(answer: Callable, case: tuple, place: int, kind: str) -> None:
    try:
        got = _pair(answer, case)
    except StudentError as wrapped:
        if isinstance(wrapped.error, ZeroDivisionError):
            raise Mistake(EMPTY.format(kind, "divides by 0")) from None
        raise
    if got[place].isnan():
        raise Mistake(EMPTY.format(kind, "returns nan"))
    if got[place] != 0:
        raise Mistake(EMPTY_ONE.format(kind, "fc"[place]))
    _check(answer, case)


def paired_level(answer: Callable) -> None:
    """twenty items of which eight are right before and eight after: three were repaired and three broken"""
    _check(answer, LEVEL)


def paired_random(answer: Callable) -> None:
    """35 to 61 items, with different rates"""
    for case in CASES[1:]:
        _check(answer, case)


def paired_empty(answer: Callable) -> None:
    """nothing was wrong before; nothing was right before"""
    _check_empty(answer, NONE_WRONG, 0, "wrong")
    _check_empty(answer, NONE_RIGHT, 1, "right")
