"""Tests of 08_cascades_and_routing: the expected calibration error of confidences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from course_utils.exercises.arrays import judge
from course_utils.exercises.engine.calls import Mistake, StudentError

Array = np.ndarray


def calibration_error(confidence: Array, correct: Array, n_bins: int) -> float:
    """ECE over n_bins bins of equal width, (b/B, (b+1)/B], the first with 0; confidence, correct (N,).

    Source: Guo et al. (2017), On Calibration of Modern Neural Networks, section 2, equation 3.
    """
    edges = np.linspace(0, 1, n_bins + 1)
    bins = np.searchsorted(edges[1:-1], confidence, side="left")  # an item on an edge belongs to the bin below it
    gap = 0.0
    for b in range(n_bins):
        inside = bins == b
        if inside.any():
            gap += inside.sum() * abs(correct[inside].mean() - confidence[inside].mean())
    return float(gap / len(confidence))


STEPS = "ECE = sum over the bins with an item of (items in the bin / N) * |mean of correct - mean of confidence|, in the bin."
UNWEIGHTED = (
    "All bins that hold an item count the same in your result. A bin with one item must not weigh as much as one with a"
    " hundred: weight each gap by its items, count / N."
)
ALL_BINS = "You divide the sum of the gaps by the number of ALL bins, the empty ones too. Weight each gap by its items, count / N."
ADDED = "You add the gaps up without a weight. Each bin counts with the share of the items that lie in it, count / N."
LARGEST = "This is the LARGEST gap, the maximum calibration error (MCE). ECE is their mean, weighted by the items of each bin."
OVERALL = (
    "This is |accuracy - mean confidence| over ALL items, in which a bin that is too sure and one that is not sure enough"
    " cancel. Take the absolute value in each bin, before the mean."
)
SIGNED = "Your gaps keep their sign and cancel each other: take the absolute value in each bin."
NAN = (
    "The result is nan: the mean over an empty bin is 0/0. A bin without items has the weight 0: leave it out, for instance"
    " with `if inside.any()`."
)
SQUARED = "Your gaps are squared. ECE takes their absolute value."
LEFT = (
    "An item on an edge goes to the bin ABOVE it. The bins are (b/B, (b+1)/B]: the upper edge belongs to them, the lower does"
    " not, and only 0 itself lies in the first. np.ceil(confidence * B) - 1, at least 0."
)
LOST_ZERO = (
    "An item with confidence 0 lies in no bin of yours. It belongs to the first: [0, 1/B], then (1/B, 2/B], and so on."
)
LOST_ONE = "An item with confidence 1 lies in no bin of yours. It belongs to the last, ((B-1)/B, 1]: the UPPER edges are included."
QUANTILES = (
    "Your bins hold equal numbers of items (quantiles). Asked are bins of equal WIDTH: np.linspace(0, 1, n_bins + 1)."
)
DATA_RANGE = (
    "Your bins run from the smallest to the largest confidence, as np.histogram does by itself. They run from 0 to 1:"
    " range=(0, 1)."
)
HALF = "Your bins run from .5 to 1. They run from 0 to 1, whatever the number of classes."
ONE_LESS = "You have one bin too few: n_bins bins have n_bins + 1 edges, np.linspace(0, 1, n_bins + 1)."
ONE_MORE = "You have one bin too many: n_bins bins have n_bins + 1 edges, np.linspace(0, 1, n_bins + 1)."
FIXED = "The number of bins is fixed in your function: use the argument n_bins."
ITEMWISE = (
    "This compares each item's confidence with 0 or 1. No single answer can be 70% right: average confidence and correct over"
    " the items of a bin, and take the gap between the two means."
)
BRIER = "This is the Brier score, the mean of (confidence - correct) squared for each item. ECE compares the MEANS of each bin."
MIDPOINT = "You compare the accuracy with the middle (or an edge) of the bin. Take the mean confidence of the items that lie in it."
TIMES_N = "The sum of count * gap is not divided yet: divide by N, the number of items."
PERCENT = "This is in percent: the stub asks for a number from 0 to 1."
ONE_MINUS = "This is 1 less the error: an ECE of 0 says that the confidences are true."
ONLY_OVER = "You count only the bins that are too sure. One that is not sure enough is badly calibrated too: take the absolute value."
ONLY_UNDER = "You count only the bins that are not sure enough. One that is too sure is badly calibrated too: take the absolute value."
ACCURACY = "This is the accuracy or the mean confidence itself: asked is how far the two are apart, bin by bin."
ROUNDED = "You put the items into bins by ROUNDING, so that the bins at the ends are half as wide. np.ceil(confidence * B) - 1 does not."
WEIGHT = "You weight the bins by their confidence: the weight of a bin is the share of the items in it, count / N."
RIGHT_ONLY = "You weight the bins by their RIGHT answers: all items of the bin count, count / N."
TABLE = "Your result has a number for each bin or item, shape {}: return one number, the weighted mean of the gaps."
CLASH = (
    "An index is too large. Which bin does a confidence of exactly 1 get? np.ceil(confidence * B) - 1 gives B - 1, the last;"
    " floor gives B."
)


def _upper(c: Array, n: int) -> Array:
    """The bin of each item; the upper edge belongs to it."""
    return np.searchsorted(np.linspace(0, 1, n + 1)[1:-1], c, side="left")


def _lower(c: Array, n: int) -> Array:
    return np.minimum(np.floor(c * n), n - 1).astype(int)


def _bins(c: Array, y: Array, bins: Array) -> tuple[Array, Array, Array]:
    """Items, accuracy and mean confidence of the bins that are not empty."""
    masks = [bins == b for b in np.unique(bins)]
    return tuple(np.array(column) for column in zip(*((m.sum(), y[m].mean(), c[m].mean()) for m in masks)))


def _gaps(c: Array, y: Array, n: int) -> tuple[Array, Array]:
    count, accuracy, mean = _bins(c, y, _upper(c, n))
    return count, accuracy - mean


def _ece(c: Array, y: Array, bins: Array) -> float:
    count, accuracy, mean = _bins(c, y, bins)
    return (count * np.abs(accuracy - mean)).sum() / len(c)


def _between(c: Array, y: Array, low: float, high: float, n: int) -> float:
    edges = np.linspace(low, high, n + 1)
    return _ece(c, y, np.searchsorted(edges[1:-1], c, side="left"))


def _only(c: Array, y: Array, n: int, keep: Array, total: int) -> float:
    return _ece(c[keep], y[keep], _upper(c[keep], n)) * keep.sum() / total


def _or_nan(c: Array, y: Array, n: int, low: bool) -> float:
    """The half-open bins without 0 (low) or without 1, nan as soon as one of them is empty."""
    keep = c > 0 if low else c < 1
    bins = _upper(c[keep], n) if low else _lower(c[keep], n)
    return _ece(c[keep], y[keep], bins) * keep.mean() if len(np.unique(bins)) == n else np.nan


def _to_point(c: Array, y: Array, n: int, shift: float) -> float:
    """The accuracy against a point of the bin, `shift` bins above its lower edge."""
    bins = _upper(c, n)
    count, accuracy, _ = _bins(c, y, bins)
    return (count * np.abs(accuracy - (np.unique(bins) + shift) / n)).sum() / len(c)


def _quantiles(c: Array, y: Array, n: int) -> float:
    edges = np.quantile(c, np.linspace(0, 1, n + 1))
    return _ece(c, y, np.searchsorted(edges[1:-1], c, side="left"))


def _weighted(weight: Callable) -> Callable:
    """gap averaged with other weights than the counts; weight(c, y, bins) for the bins that are not empty."""

    def wrong(c: Array, y: Array, n: int) -> float:
        count, accuracy, mean = _bins(c, y, _upper(c, n))
        w = weight(count, accuracy, mean)
        return (w * np.abs(accuracy - mean)).sum() / w.sum()

    return wrong


MISTAKES = [
    (UNWEIGHTED, lambda c, y, n: np.abs(_gaps(c, y, n)[1]).mean()),
    (ALL_BINS, lambda c, y, n: np.abs(_gaps(c, y, n)[1]).sum() / n),
    (ALL_BINS, lambda c, y, n: _ece(c, y, _upper(c, n)) / n),
    (ADDED, lambda c, y, n: np.abs(_gaps(c, y, n)[1]).sum()),
    (ADDED, lambda c, y, n: np.abs(_gaps(c, y, n)[1]).sum() / len(c)),
    (LARGEST, lambda c, y, n: np.abs(_gaps(c, y, n)[1]).max()),
    (OVERALL, lambda c, y, n: abs(y.mean() - c.mean())),
    (SIGNED, lambda c, y, n: y.mean() - c.mean()),
    (SIGNED, lambda c, y, n: c.mean() - y.mean()),
    (SIGNED, lambda c, y, n: _gaps(c, y, n)[1].mean()),
    (SQUARED, lambda c, y, n: (_gaps(c, y, n)[0] * _gaps(c, y, n)[1] ** 2).sum() / len(c)),
    (SQUARED, lambda c, y, n: np.sqrt((_gaps(c, y, n)[0] * _gaps(c, y, n)[1] ** 2).sum() / len(c))),
    (SQUARED, lambda c, y, n: (_gaps(c, y, n)[1] ** 2).mean()),
    (LEFT, lambda c, y, n: _ece(c, y, _lower(c, n))),
    (LEFT, lambda c, y, n: _ece(c, y, np.floor(c * n))),
    (LOST_ZERO, lambda c, y, n: _only(c, y, n, c > 0, len(c))),
    (LOST_ZERO, lambda c, y, n: _only(c, y, n, c > 0, (c > 0).sum())),
    (LOST_ZERO, lambda c, y, n: _ece(c, y, np.ceil(c * n))),
    (LOST_ZERO, lambda c, y, n: _or_nan(c, y, n, True)),
    (LOST_ONE, lambda c, y, n: _or_nan(c, y, n, False)),
    (LOST_ONE, lambda c, y, n: _ece(c[c < 1], y[c < 1], _lower(c[c < 1], n)) * (c < 1).mean()),
    (LOST_ONE, lambda c, y, n: _ece(c[c < 1], y[c < 1], _lower(c[c < 1], n))),
    (QUANTILES, _quantiles),
    (QUANTILES, lambda c, y, n: _ece(c, y, np.argsort(np.argsort(c, kind="stable")) * n // len(c))),
    (DATA_RANGE, lambda c, y, n: _between(c, y, c.min(), c.max(), n)),
    (DATA_RANGE, lambda c, y, n: _between(c, y, 0, c.max(), n)),
    (HALF, lambda c, y, n: _between(c, y, 0.5, 1, n)),
    (ONE_LESS, lambda c, y, n: _ece(c, y, _upper(c, n - 1))),
    (ONE_LESS, lambda c, y, n: _ece(c, y, _lower(c, n - 1))),
    (ONE_MORE, lambda c, y, n: _ece(c, y, _upper(c, n + 1))),
    (ONE_MORE, lambda c, y, n: _ece(c, y, _lower(c, n + 1))),
    (FIXED, lambda c, y, n: _ece(c, y, _upper(c, 10))),
    (FIXED, lambda c, y, n: _ece(c, y, _upper(c, 15))),
    (FIXED, lambda c, y, n: _ece(c, y, _lower(c, 10))),
    (ITEMWISE, lambda c, y, n: np.abs(y - c).mean()),
    (BRIER, lambda c, y, n: ((y - c) ** 2).mean()),
    (MIDPOINT, lambda c, y, n: _to_point(c, y, n, 0.5)),
    (MIDPOINT, lambda c, y, n: _to_point(c, y, n, 0)),
    (MIDPOINT, lambda c, y, n: _to_point(c, y, n, 1)),
    (TIMES_N, lambda c, y, n: _ece(c, y, _upper(c, n)) * len(c)),
    (PERCENT, lambda c, y, n: _ece(c, y, _upper(c, n)) * 100),
    (ONE_MINUS, lambda c, y, n: 1 - _ece(c, y, _upper(c, n))),
    (ONLY_OVER, lambda c, y, n: (_gaps(c, y, n)[0] * (-_gaps(c, y, n)[1]).clip(min=0)).sum() / len(c)),
    (ONLY_UNDER, lambda c, y, n: (_gaps(c, y, n)[0] * _gaps(c, y, n)[1].clip(min=0)).sum() / len(c)),
    (ACCURACY, lambda c, y, n: y.mean()),
    (ACCURACY, lambda c, y, n: c.mean()),
    (ROUNDED, lambda c, y, n: _ece(c, y, np.round(c * n))),
    (ROUNDED, lambda c, y, n: _ece(c, y, np.round(c * (n - 1)))),
    (WEIGHT, _weighted(lambda count, accuracy, mean: mean)),
    (RIGHT_ONLY, _weighted(lambda count, accuracy, mean: count * accuracy)),
    (RIGHT_ONLY, lambda c, y, n: _ece(c[y == 1], y[y == 1], _upper(c[y == 1], n))),
]


def inputs(seed: int, items: int) -> tuple[Array, Array]:
    """Confidences in 64ths, exact in binary, with several at 0, 1/4, 1/2, 3/4 and 1; too sure below, not sure enough above."""
    random = np.random.default_rng(seed)
    confidence = random.integers(1, 64, items) / 64
    confidence[:10] = [0, 0.25, 0.5, 0.75, 1, 0, 0.25, 0.5, 0.75, 1]
    correct = random.random(items) < np.where(confidence < 0.5, 0.3 * confidence, 0.5 + 0.5 * confidence)
    correct[:5], correct[5:10] = [True, False, True, False, False], [True, False, True, False, True]
    return confidence, correct.astype(float)


SPARSE = (np.array([0.375, 0.40625, 0.4375, 0.875, 0.9375, 0.84375]), np.array([1.0, 0.0, 1.0, 1.0, 1.0, 0.0]), 8)
CASES = [(*inputs(851, 40), 4), (*inputs(852, 33), 8), SPARSE]


def _look(got: Tensor, case: tuple) -> None:
    if got.isnan().any():
        raise Mistake(NAN)
    if got.numel() > 1:
        raise Mistake(TABLE.format(tuple(got.shape)))


def _check(answer: Callable, case: tuple) -> None:
    try:
        judge(answer, case, calibration_error, CASES, MISTAKES, STEPS, _look)
    except StudentError as wrapped:
        if isinstance(wrapped.error, ZeroDivisionError):
            raise Mistake(NAN.replace("The result is nan", "Your function divides by zero")) from None
        if isinstance(wrapped.error, IndexError) and "out of bounds" in str(wrapped.error):
            raise Mistake(CLASH) from None
        raise


def ece_random(answer: Callable) -> None:
    """four bins, then eight; some confidences lie on an edge, some are 0 or 1"""
    for case in CASES[:2]:
        _check(answer, case)


def ece_sparse(answer: Callable) -> None:
    """six items in eight bins: most bins are empty"""
    _check(answer, SPARSE)


def ece_edges(answer: Callable) -> None:
    """by hand: one item on each edge of two bins; and one bin for all"""
    _check(
        answer, (np.array([0.0, 0.5, 1.0]), np.array([1.0, 0.0, 1.0]), 2)
    )  # (0 and .5 -> .25 against .5), 1 is right: 1/6
    _check(answer, (*inputs(853, 20), 1))
