"""How many of the wrong answers a round repairs, and how many of the right ones it breaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from course_utils.exercises.engine import Exercise, case, numbers

Array = np.ndarray


def paired_rates(before: Array, after: Array) -> Array:
    """(f, c): of the answers wrong before, the share right after; of those right before, the share wrong after.

    before, after (N,): booleans. A share of no items is 0.0. mean(after) = mean(before) (1 - c) + (1 - mean(before)) f.
    """
    repaired, broken = after[~before], ~after[before]
    return np.array([share.mean() if len(share) else 0.0 for share in (repaired, broken)])


def _of(form: Callable) -> Callable:
    """A mistake in what the counts are made into: form(repaired, broken, wrong before, right before)."""
    return lambda b, a: np.array(form((~b & a).sum(), (b & ~a).sum(), (~b).sum(), b.sum()), dtype=float)


def _then(form: Callable) -> Callable:
    """A mistake in what is made of the right shares."""
    return lambda b, a: np.array(form(*paired_rates(b, a)))


def _gain(form: Callable) -> Callable:
    """A mistake that looks at the accuracies before and after alone."""
    return lambda b, a: np.array(form(b.mean(), a.mean()))


def inputs(seed: int, items: int, start: float, f: float, c: float) -> tuple[Array, Array]:
    """Booleans of a round with these rates."""
    random = np.random.default_rng(seed)
    before, draw = random.random(items) < start, random.random(items)
    return before, np.where(before, draw >= c, draw < f)


def _explain(got: Any, expected: Array, before: Array, after: Array) -> str:
    parts = [numbers(part) for part in got] if isinstance(got, (list, tuple)) else numbers(got)
    if not isinstance(parts, list) and parts.ndim == 0 or len(parts) == 1:
        return "Your function returns one number: the stub asks for two, (f, c), which are shares of different items."
    if len(parts) == 2 and any(part.numel() != 1 for part in parts):
        shapes = " and ".join(str(tuple(part.shape)) for part in parts)
        return f"Your result has numbers for each item, shapes {shapes}: a share is a mean over them."
    if len(parts) != 2:
        return f"Your function returns {len(parts)} values: the stub asks for two numbers, (f, c)."
    for share, group, name in zip(parts, (~before, before), ("wrong", "right")):
        if not group.any() and float(share) != 0:
            value = "nan" if share.isnan() else f"{float(share):g}"
            return f"Nothing was {name} before in this case, and your function returns {value}. {EMPTY}"
    return ROUNDED if np.allclose([float(part) for part in parts], expected, rtol=0, atol=6e-4) else ""


ROUNDED = "Your shares are nearly right: return them as they are, without rounding."
EMPTY = "The stub says 0.0 for a share of no items: ask for the number of items first."
OTHERS = "Divide the repairs by the number wrong before, the breaks by the number right before."
EXERCISE = Exercise(
    "self_refine.net_gain",
    reference=paired_rates,
    what="your result",
    atol=1e-5,
    rtol=1e-5,
    right="f is a share of the answers that were wrong before, c of those that were right.",
    explain=_explain,
    errors={"ZeroDivisionError": f"Nothing was wrong, or right, before, and your function divides by 0. {EMPTY}"},
    cases=[
        case(
            "eight of twenty items are right before and eight after: three were repaired and three broken",
            np.arange(20) < 8,
            np.isin(np.arange(20), [0, 1, 2, 3, 4, 9, 13, 17]),
        ),
        case("most answers are right before", *inputs(951, 47, 0.8, 0.4, 0.2)),
        case("most answers are wrong before, and half of them are repaired", *inputs(952, 61, 0.3, 0.5, 0.1)),
        case("more is broken than repaired", *inputs(953, 35, 0.6, 0.1, 0.4)),
        case("nothing was wrong before", np.ones(6, dtype=bool), np.arange(6) != 2, names=False),
        case("nothing was right before", np.zeros(5, dtype=bool), np.arange(5) % 2 == 1, names=False),
    ],
    mistakes={
        "The two shares are in the other order.\n(f, c), first what was repaired.": _then(lambda f, c: (c, f)),
        "These are shares of all N items.\n"
        "f is a share of the answers that were wrong before, c of those that were right: only these can be "
        "repaired, or broken.": [
            _of(lambda fixed, broken, wrong, right: (fixed / (wrong + right), broken / (wrong + right))),
            _of(lambda fixed, broken, wrong, right: (fixed / (wrong + right), broken / right)),
            _of(lambda fixed, broken, wrong, right: (fixed / wrong, broken / (wrong + right))),
        ],
        f"The counts are right, but divided by the wrong numbers.\n{OTHERS}": [
            _of(lambda fixed, broken, wrong, right: (fixed / right, broken / wrong)),
            _of(lambda fixed, broken, wrong, right: (fixed / right, broken / right)),
            _of(lambda fixed, broken, wrong, right: (fixed / wrong, broken / wrong)),
        ],
        "The repairs and breaks are divided by what is right or wrong after the round.\n"
        "The rates say what happens to an answer that is wrong, or right, before it.": [
            lambda b, a: np.array([(~b & a).sum() / a.sum(), (b & ~a).sum() / (~a).sum()]),
            lambda b, a: np.array([(~b & a).sum() / (~a).sum(), (b & ~a).sum() / a.sum()]),
        ],
        f"These are shares of the answers that changed.\n{OTHERS}": _of(
            lambda fixed, broken, wrong, right: (fixed / (fixed + broken), broken / (fixed + broken))
        ),
        f"These are counts.\n{OTHERS}": _of(lambda fixed, broken, wrong, right: (fixed, broken)),
        "These are the accuracies before and after.\nThe rates say what happens between them, item by item.": [
            *[_gain(lambda x, y: (x, y)), _gain(lambda x, y: (y, x)), _gain(lambda x, y: (y, 1 - y))],
        ],
        "Yours is made of the two accuracies alone.\n"
        "The gain is repairs minus breaks, and many of both can hide behind none: pair the items, before[i] with "
        "after[i].": [
            _gain(lambda x, y: ((y - x) / (1 - x), (x - y) / x)),
            _gain(lambda x, y: (max(y - x, 0) / (1 - x), max(x - y, 0) / x)),
            *[_gain(lambda x, y: (y - x, x - y)), _gain(lambda x, y: (y / (1 - x), (1 - y) / x))],
        ],
        "1 - before holds the whole numbers 0 and 1: as an index these are places.\nA choice is made by ~before.": (
            lambda b, a: np.array([a[1 - b].mean(), paired_rates(b, a)[1]])
        ),
        "One of the two, or both, is the share that did not change.\n"
        "f is repaired among the wrong, c is broken among the right.": [
            *[_then(lambda f, c: (1 - f, 1 - c)), _then(lambda f, c: (1 - c, 1 - f))],
            *[_then(lambda f, c: (f, 1 - c)), _then(lambda f, c: (1 - f, c))],
        ],
        "Your shares are in percent.\nReturn numbers from 0 to 1.": _then(lambda f, c: (100 * f, 100 * c)),
        "Your c is negative.\nIt is a share, and the minus sign comes when the gain is computed.": _then(
            lambda f, c: (f, -c)
        ),
        ROUNDED: [_then(lambda f, c, n=n: (round(f, n), round(c, n))) for n in (3, 2)],
    },
    hints=[
        "Take the items apart by what they were before the round. Of each of the two groups: which share has "
        "changed sides?",
        "after[~before] are the answers after the round to what was wrong before. Their mean is f. And c? And an empty "
        "group?",
        "f = after[~before].mean() if (~before).any() else 0.0; c = (~after)[before].mean() if before.any() else 0.0",
    ],
)
