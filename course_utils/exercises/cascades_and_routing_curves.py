"""Tests of 08_cascades_and_routing: APGR, the area under a router's curve."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from course_utils.exercises.arrays import judge
from course_utils.exercises.engine.calls import Mistake, StudentError

Array = np.ndarray


def apgr(win: Array, weak: Array, strong: Array) -> float:
    """Average PGR, the trapezoidal rule over the N + 1 shares of calls of the strong model; win, weak, strong (N,).

    Source: Ong et al. (2024), RouteLLM, metrics.
    """
    gain = (strong - weak)[np.argsort(-win)]  # what each further item brings, the highest score first
    quality = weak.mean() + np.append(0, np.cumsum(gain)) / len(win)  # (N + 1,): j = 0..N items go to the strong model
    pgr = (quality - quality[0]) / (quality[-1] - quality[0])
    return float(np.trapezoid(pgr, np.linspace(0, 1, len(win) + 1)))


STEPS = (
    "Sort strong - weak by falling win; quality_j = mean(weak) + the sum of its first j entries / N, for j = 0..N; PGR_j from"
    " these, and np.trapezoid(PGR, np.arange(N + 1) / N)."
)
CLIPPED = (
    "PGR is cut off at 1 or at 0. It may lie outside: a router that knows where the weak model is right beats the strong"
    " model, and a bad one falls below the weak. Do not clip."
)
ASCENDING = (
    "The items with the LOWEST win go to the strong model first, or the two models are swapped. win is how sure the router is"
    " that the strong one is the better: sort by -win, and the first j get strong."
)
UNSORTED = (
    "The items go to the strong model in the order in which they are given: sort by falling win, np.argsort(-win)."
)
SORTED_ONLY = (
    "You sorted one of the arrays by itself, not by win. Both models' outcomes belong to the same item: order ="
    " np.argsort(-win), then weak[order] and strong[order]."
)
RANKS = (
    "np.argsort was applied twice, or the ranks taken for the order: order[0] is the index of the item with the highest win,"
    " so strong[order] is already sorted."
)
ABSOLUTE = "This is the area under the quality itself. PGR is relative to the gap: (quality - mean(weak)) / (mean(strong) - mean(weak))."
NOT_DIVIDED = "This is the area under quality - mean(weak). Divide by the gap, mean(strong) - mean(weak), so that the strong model has 1."
BY_STRONG = "You divide by the quality of the strong model. PGR divides by the GAP, mean(strong) - mean(weak)."
BY_ORACLE = (
    "You divide by the gap to the oracle, which takes the better model for each item. PGR's gap is the one between the two"
    " models alone, mean(strong) - mean(weak), and the oracle has more than 1."
)
MEAN = (
    "This is the plain mean of PGR over the points. With the trapezoidal rule the two ends count half:"
    " np.trapezoid(pgr, share)."
)
RIGHT_SUM = "You left j = 0 out, all items for the weak model (PGR 0): there are N + 1 points, and the trapezoidal rule over them."
LEFT_SUM = "You left j = N out, all items for the strong model (PGR 1): there are N + 1 points, and the trapezoidal rule over them."
NO_ENDS = "You left both ends out: j = 0 (PGR 0) and j = N (PGR 1) belong to the curve, so N + 1 points from share 0 to share 1."
NO_SHARE = "The points are a distance of 1 / N apart, not 1: give np.trapezoid the shares too, np.trapezoid(pgr, share), or divide by N."
SUMMED = "This is the sum of PGR over the points, not an area between shares 0 and 1: np.trapezoid(pgr, share)."
MIDDLE = "This is PGR at one setting only, a threshold of .5, 0 or the middle. APGR is the area over ALL shares of strong calls."
NEGATIVE = (
    "The area has the wrong sign. Either the gap is the wrong way round (it is mean(strong) - mean(weak)), or the shares fall"
    " from 1 to 0: let j, and with it the share, rise from 0."
)
RANDOM = "You get exactly .5, which is a router that knows nothing: a straight line from 0 to 1. Does win play a part in your result?"
ORACLE = (
    "You sort by strong - weak, the true gain. That is the oracle, which knows the outcomes: a router sorts by win."
)
ROUTED = (
    "You average over the j items of the strong model only. quality_j is the mean over ALL N items: the other N - j are"
    " answered by the weak model."
)
NO_WEAK = (
    "The items that stay with the weak model count 0 in your result. It answers them, and gets its weak[i]: add these."
)
ADDED = "The items of the strong model still count the weak model's outcome as well: each further item brings strong - weak."
ABS_GAIN = "You took abs(strong - weak). Where the weak model is better, sending the item to the strong one LOSES quality: keep the sign."
POSITIVE = "You dropped the items on which the weak model is better. Their gain is negative and counts: routing them up loses quality."
PERCENT = "This is in percent: PGR of the strong model is 1, not 100."
AUC = "This is the area under a ROC curve, how well win separates the items. APGR weighs them by what they gain: the area under PGR."
MEDIAN = "This is the median of PGR. Asked is the area under it, over the share."
WEIGHTED = "win is used as a weight or a probability. Only its ORDER counts: the j items with the highest win go to the strong model."
GRID = (
    "You average over a few thresholds or shares. RouteLLM does so too, with ten; here the area is asked over all N + 1 points"
    " j = 0..N, one for each number of items that the strong model gets."
)
CURVE = "This is the curve itself, of shape {}: return its area, one number. np.trapezoid(pgr, share)."
TRAPZ = "NumPy 2 has no np.trapz any more: it is called np.trapezoid, with the same arguments (pgr, share)."


def _gain(w: Array, a: Array, b: Array) -> Array:
    return (b - a)[np.argsort(-w)]


def _pgr(gain: Array) -> Array:
    """(N + 1,), from what each item brings, in the order in which they are routed."""
    return np.append(0, np.cumsum(gain)) / gain.sum()


def _area(values: Array) -> float:
    return np.trapezoid(values, dx=1 / (len(values) - 1))


def _quality(w: Array, a: Array, b: Array) -> Array:
    return a.mean() + np.append(0, np.cumsum(_gain(w, a, b))) / len(w)


def _routed(w: Array, a: Array, b: Array) -> Array:
    """Mean of the strong model over the first j, weak's mean at j = 0."""
    return np.append(a.mean(), np.cumsum(b[np.argsort(-w)]) / np.arange(1, len(w) + 1))


def _no_weak(w: Array, a: Array, b: Array) -> Array:
    return np.append(0, np.cumsum(b[np.argsort(-w)])) / len(w)


def _relative(quality: Array, a: Array, b: Array) -> Array:
    return (quality - a.mean()) / (b.mean() - a.mean())


def _at(chosen: Array, a: Array, b: Array) -> float:
    return _relative(np.where(chosen, b, a).mean(), a, b)


def _half_sorted(w: Array, a: Array, b: Array) -> float:
    """strong in the order of win, weak in the order of the items."""
    up = b[np.argsort(-w)]
    return _area(_relative(np.array([np.append(up[:j], a[j:]).mean() for j in range(len(w) + 1)]), a, b))


def _auc(w: Array, better: Array) -> float:
    return (w[better][:, None] > w[~better]).mean()


MISTAKES = [
    (CLIPPED, lambda w, a, b: _area(_pgr(_gain(w, a, b)).clip(0, 1))),
    (CLIPPED, lambda w, a, b: _area(_pgr(_gain(w, a, b)).clip(max=1))),
    (CLIPPED, lambda w, a, b: _area(_pgr(_gain(w, a, b)).clip(min=0))),
    (CLIPPED, lambda w, a, b: _area(_pgr(_gain(w, a, b))).clip(0, 1)),
    (ASCENDING, lambda w, a, b: _area(_pgr((b - a)[np.argsort(w)]))),
    (UNSORTED, lambda w, a, b: _area(_pgr(b - a))),
    (SORTED_ONLY, _half_sorted),
    (SORTED_ONLY, lambda w, a, b: _area(_pgr(b[np.argsort(-w)] - a))),
    (SORTED_ONLY, lambda w, a, b: _area(_pgr(b - a[np.argsort(-w)]))),
    (RANKS, lambda w, a, b: _area(_pgr((b - a)[np.argsort(np.argsort(-w))]))),
    (ABSOLUTE, lambda w, a, b: _area(_quality(w, a, b))),
    (ABSOLUTE, lambda w, a, b: _quality(w, a, b).mean()),
    (NOT_DIVIDED, lambda w, a, b: _area(_quality(w, a, b) - a.mean())),
    (BY_STRONG, lambda w, a, b: _area(_quality(w, a, b) - a.mean()) / b.mean()),
    (BY_STRONG, lambda w, a, b: _area(_quality(w, a, b)) / b.mean()),
    (BY_ORACLE, lambda w, a, b: _area(_quality(w, a, b) - a.mean()) / (np.maximum(a, b).mean() - a.mean())),
    (BY_ORACLE, lambda w, a, b: _area(_quality(w, a, b) - a.mean()) / (_quality(w, a, b).max() - a.mean())),
    (MEAN, lambda w, a, b: _pgr(_gain(w, a, b)).mean()),
    (RIGHT_SUM, lambda w, a, b: _pgr(_gain(w, a, b))[1:].mean()),
    (RIGHT_SUM, lambda w, a, b: np.trapezoid(_pgr(_gain(w, a, b))[1:], dx=1 / len(w))),
    (RIGHT_SUM, lambda w, a, b: _area(_pgr(_gain(w, a, b))[1:])),
    (LEFT_SUM, lambda w, a, b: _pgr(_gain(w, a, b))[:-1].mean()),
    (LEFT_SUM, lambda w, a, b: np.trapezoid(_pgr(_gain(w, a, b))[:-1], dx=1 / len(w))),
    (LEFT_SUM, lambda w, a, b: _area(_pgr(_gain(w, a, b))[:-1])),
    (NO_ENDS, lambda w, a, b: np.trapezoid(_pgr(_gain(w, a, b))[1:-1], dx=1 / len(w))),
    (NO_ENDS, lambda w, a, b: _area(_pgr(_gain(w, a, b))[1:-1])),
    (NO_ENDS, lambda w, a, b: _pgr(_gain(w, a, b))[1:-1].mean()),
    (NO_SHARE, lambda w, a, b: np.trapezoid(_pgr(_gain(w, a, b)))),
    (NO_SHARE, lambda w, a, b: _area(_pgr(_gain(w, a, b))) * len(w) / (len(w) + 1)),
    (SUMMED, lambda w, a, b: _pgr(_gain(w, a, b)).sum()),
    (MIDDLE, lambda w, a, b: _at(w > 0.5, a, b)),
    (MIDDLE, lambda w, a, b: _at(w > 0, a, b)),
    (MIDDLE, lambda w, a, b: _at(w > np.median(w), a, b)),
    (GRID, lambda w, a, b: np.mean([_at(w >= tau, a, b) for tau in np.linspace(0, 1, 11)])),
    (GRID, lambda w, a, b: np.mean([_at(w > tau, a, b) for tau in np.linspace(0, 1, 11)])),
    (GRID, lambda w, a, b: np.mean([_at(w >= tau, a, b) for tau in np.linspace(0, 1, 10)])),
    (GRID, lambda w, a, b: np.trapezoid([_at(w >= tau, a, b) for tau in np.linspace(0, 1, 11)], dx=0.1)),
    (GRID, lambda w, a, b: np.mean(_pgr(_gain(w, a, b))[(np.linspace(0, 1, 11) * len(w)).astype(int)])),
    (GRID, lambda w, a, b: np.mean(_pgr(_gain(w, a, b))[(np.linspace(0.1, 1, 10) * len(w)).astype(int)])),
    (NEGATIVE, lambda w, a, b: -_area(_pgr(_gain(w, a, b)))),
    (RANDOM, lambda w, a, b: 0.5),
    (ORACLE, lambda w, a, b: _area(_pgr(np.sort(b - a)[::-1]))),
    (ROUTED, lambda w, a, b: _area(_relative(_routed(w, a, b), a, b))),
    (NO_WEAK, lambda w, a, b: _area(_relative(_no_weak(w, a, b), a, b))),
    (ADDED, lambda w, a, b: _area(_no_weak(w, a, b)) / (b.mean() - a.mean())),
    (ABS_GAIN, lambda w, a, b: _area(_pgr(np.abs(_gain(w, a, b))))),
    (POSITIVE, lambda w, a, b: _area(_pgr(_gain(w, a, b).clip(min=0)))),
    (PERCENT, lambda w, a, b: 100 * _area(_pgr(_gain(w, a, b)))),
    (AUC, lambda w, a, b: _auc(w, b > a)),
    (MEDIAN, lambda w, a, b: np.median(_pgr(_gain(w, a, b)))),
    (WEIGHTED, lambda w, a, b: (w * (b - a)).mean() / (b - a).mean()),
    (WEIGHTED, lambda w, a, b: np.trapezoid(_pgr(_gain(w, a, b)), np.append(0, np.sort(w)))),
]


def inputs(seed: int, items: int, graded: bool = False) -> tuple[Array, Array, Array]:
    """win (graded: a logit, else a probability), weak, strong: right or wrong (graded: any quality); win tells a little."""
    random = np.random.default_rng(seed)
    weak, strong = (
        (random.random((2, items)) + [[0], [0.3]]).round(3) if graded else random.random((2, items)) < [[0.5], [0.75]]
    )
    weak, strong = weak.astype(float), strong.astype(float)
    logit = (strong - weak) + random.standard_normal(items)
    return logit if graded else 1 / (1 + np.exp(-logit)), weak, strong


def _knowing(seed: int, sign: float) -> tuple[Array, Array, Array]:
    """The order of the true gain, or its reverse, without ties."""
    _, weak, strong = inputs(seed, 16)
    return 0.4 * sign * (strong - weak) + 0.5 + np.random.default_rng(seed).permutation(16) / 1000, weak, strong


CASES = [inputs(832, 20), inputs(837, 15, graded=True), _knowing(844, 1), _knowing(838, -1)]


def _look(got: Tensor, case: tuple) -> None:
    if got.numel() in (len(case[0]), len(case[0]) + 1) and got.numel() > 1:
        raise Mistake(CURVE.format(tuple(got.shape)))


def _check(answer: Callable, case: tuple) -> None:
    try:
        judge(answer, case, apgr, CASES, MISTAKES, STEPS, _look)
    except StudentError as wrapped:
        if isinstance(wrapped.error, AttributeError) and "'trapz'" in str(wrapped.error):
            raise Mistake(TRAPZ) from None
        raise


def apgr_random(answer: Callable) -> None:
    """outcomes 0 and 1 with a probability as win; then any qualities, with a win that is negative for some"""
    for case in CASES[:2]:
        _check(answer, case)


def apgr_knowing(answer: Callable) -> None:
    """a win that knows the gains: above the strong model, an area of more than 1; and one that has them upside down"""
    for case in CASES[2:]:
        _check(answer, case)


def apgr_straight(answer: Callable) -> None:
    """the same gain on every item: any order gives a straight line, and .5; one item alone; two items by hand"""
    random = np.random.default_rng(835)
    weak = random.random(9).round(3)
    _check(answer, (random.permutation(9) / 10, weak, weak + 0.25))
    _check(answer, (np.array([0.7]), np.array([0.0]), np.array([1.0])))
    _check(answer, (np.array([0.2, 0.9]), np.array([1.0, 0.0]), np.array([0.5, 1.0])))  # PGR 0, 2, 1: an area of 1.25
