"""The expected calibration error of confidences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from course_utils.exercises.engine import Exercise, case, in_integers

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


def inputs(seed: int, items: int) -> tuple[Array, Array]:
    """Confidences in 64ths, exact in binary, with several at 0, 1/4, 1/2, 3/4 and 1; too sure below, not sure enough
    above."""
    random = np.random.default_rng(seed)
    confidence = random.integers(1, 64, items) / 64
    confidence[:10] = [0, 0.25, 0.5, 0.75, 1, 0, 0.25, 0.5, 0.75, 1]
    correct = random.random(items) < np.where(confidence < 0.5, 0.3 * confidence, 0.5 + 0.5 * confidence)
    correct[:5], correct[5:10] = [True, False, True, False, False], [True, False, True, False, True]
    return confidence, correct.astype(float)


STEPS = "ECE = sum over the bins with an item of (items in it / N) * |mean of correct - mean of confidence|."
NAN = (
    "The result is nan: the mean over an empty bin is 0/0. A bin without items has the weight 0: leave it out, for"
    " instance with `if inside.any()`."
)
CLASH = (
    "An index is too large. Which bin does a confidence of exactly 1 get? np.ceil(confidence * B) - 1 gives B - 1, the"
    " last; floor gives B."
)
SPARSE = (np.array([0.375, 0.40625, 0.4375, 0.875, 0.9375, 0.84375]), np.array([1.0, 0.0, 1.0, 1.0, 1.0, 0.0]), 8)


def _nan_or_table(got: Any, *rest: Any) -> str:
    if np.size(got) > 1:
        return f"Your result has shape {np.shape(got)}, a number for each bin or item: return one number, the mean."
    return NAN if np.isnan(got).any() else ""


EXERCISE = Exercise(
    "cascades_and_routing.expected_calibration_error",
    reference=calibration_error,
    what="your result",
    right=STEPS,
    errors={"ZeroDivisionError": NAN, "IndexError.*out of bounds": CLASH},
    explain=_nan_or_table,
    cases=[
        case("four bins; some confidences lie on an edge, some are 0 or 1", *inputs(851, 40), 4),
        case("eight bins", *inputs(852, 33), 8),
        case("six items in eight bins: most bins are empty", *SPARSE),
        case("by hand: one item on each edge of two bins", np.array([0.0, 0.5, 1.0]), np.array([1.0, 0.0, 1.0]), 2),
        case("one bin for all", *inputs(853, 20), 1),
    ],
    corners=[in_integers("correct")],
    mistakes={
        "All bins that hold an item count the same in your result.\n"
        "A bin with one item must not weigh as much as one with a hundred: weight each gap by its items, count / "
        "N.": lambda c, y, n: np.abs(_gaps(c, y, n)[1]).mean(),
        "You divide the sum of the gaps by the number of all bins, the empty ones too.\n"
        "Weight each gap by its items, count / N.": [
            lambda c, y, n: np.abs(_gaps(c, y, n)[1]).sum() / n,
            lambda c, y, n: _ece(c, y, _upper(c, n)) / n,
        ],
        "You add the gaps up without a weight.\n"
        "Each bin counts with the share of the items that lie in it, count / N.": [
            lambda c, y, n: np.abs(_gaps(c, y, n)[1]).sum(),
            lambda c, y, n: np.abs(_gaps(c, y, n)[1]).sum() / len(c),
        ],
        "This is the largest gap, the maximum calibration error (MCE).\n"
        "ECE is their mean, weighted by the items of each bin.": lambda c, y, n: np.abs(_gaps(c, y, n)[1]).max(),
        "This is |accuracy - mean confidence| over all items, in which a bin that is too sure and one that is not "
        "sure enough cancel.\n"
        "Take the absolute value in each bin, before the mean.": lambda c, y, n: abs(y.mean() - c.mean()),
        "Your gaps keep their sign and cancel each other.\nTake the absolute value in each bin.": [
            lambda c, y, n: y.mean() - c.mean(),
            lambda c, y, n: c.mean() - y.mean(),
            lambda c, y, n: _gaps(c, y, n)[1].mean(),
        ],
        "Your gaps are squared.\nECE takes their absolute value.": [
            lambda c, y, n: (_gaps(c, y, n)[0] * _gaps(c, y, n)[1] ** 2).sum() / len(c),
            lambda c, y, n: np.sqrt((_gaps(c, y, n)[0] * _gaps(c, y, n)[1] ** 2).sum() / len(c)),
            lambda c, y, n: (_gaps(c, y, n)[1] ** 2).mean(),
        ],
        "An item on an edge goes to the bin above it.\n"
        "The bins are (b/B, (b+1)/B]: the upper edge belongs to them, the lower does not, and only 0 itself lies "
        "in the first. np.ceil(confidence * B) "
        "- 1, at least 0.": [lambda c, y, n: _ece(c, y, _lower(c, n)), lambda c, y, n: _ece(c, y, np.floor(c * n))],
        "An item with confidence 0 lies in no bin of yours.\n"
        "It belongs to the first: [0, 1/B], then (1/B, 2/B], and so on.": [
            lambda c, y, n: _only(c, y, n, c > 0, len(c)),
            lambda c, y, n: _only(c, y, n, c > 0, (c > 0).sum()),
            lambda c, y, n: _ece(c, y, np.ceil(c * n)),
            lambda c, y, n: _or_nan(c, y, n, True),
        ],
        "An item with confidence 0 lies in your last bin: bin -1 is the last one.\n"
        "It belongs to the first, so the bin is at least 0.": lambda c, y, n: _ece(c, y, (np.ceil(c * n) - 1) % n),
        "An item with confidence 1 lies in no bin of yours.\n"
        "It belongs to the last, ((B-1)/B, 1]: the upper edges are included.": [
            lambda c, y, n: _or_nan(c, y, n, False),
            lambda c, y, n: _ece(c[c < 1], y[c < 1], _lower(c[c < 1], n)) * (c < 1).mean(),
            lambda c, y, n: _ece(c[c < 1], y[c < 1], _lower(c[c < 1], n)),
        ],
        "Your bins hold equal numbers of items (quantiles).\n"
        "Asked are bins of equal width: np.linspace(0, 1, n_bins + 1).": [
            _quantiles,
            lambda c, y, n: _ece(c, y, np.argsort(np.argsort(c, kind="stable")) * n // len(c)),
        ],
        "Your bins run from the smallest to the largest confidence, as np.histogram does by itself.\n"
        "They run from 0 to 1: range=(0, 1).": [
            lambda c, y, n: _between(c, y, c.min(), c.max(), n),
            lambda c, y, n: _between(c, y, 0, c.max(), n),
        ],
        "Your bins run from .5 to 1.\nThey run from 0 to 1, whatever the number of classes.": lambda c, y, n: _between(
            c, y, 0.5, 1, n
        ),
        "You have one bin too few: n_bins bins have n_bins + 1 edges, np.linspace(0, 1, n_bins + 1).": [
            lambda c, y, n: _ece(c, y, _upper(c, n - 1)),
            lambda c, y, n: _ece(c, y, _lower(c, n - 1)),
        ],
        "You have one bin too many: n_bins bins have n_bins + 1 edges, np.linspace(0, 1, n_bins + 1).": [
            lambda c, y, n: _ece(c, y, _upper(c, n + 1)),
            lambda c, y, n: _ece(c, y, _lower(c, n + 1)),
        ],
        "The number of bins is fixed in your function.\nUse the argument n_bins.": [
            lambda c, y, n: _ece(c, y, _upper(c, 10)),
            lambda c, y, n: _ece(c, y, _upper(c, 15)),
            lambda c, y, n: _ece(c, y, _lower(c, 10)),
        ],
        "This compares each item's confidence with 0 or 1.\n"
        "No single answer can be 70% right: average confidence and correct over the items of a bin, and take the "
        "gap between the two means.": lambda c, y, n: np.abs(y - c).mean(),
        "This is the Brier score, the mean of (confidence - correct) squared for each item.\n"
        "ECE compares the means of each bin.": lambda c, y, n: ((y - c) ** 2).mean(),
        "You compare the accuracy with the middle (or an edge) of the bin.\n"
        "Take the mean confidence of the items that lie in it.": [
            lambda c, y, n: _to_point(c, y, n, 0.5),
            lambda c, y, n: _to_point(c, y, n, 0),
            lambda c, y, n: _to_point(c, y, n, 1),
        ],
        "The sum of count * gap is not divided yet.\nDivide by N, the number of items.": lambda c, y, n: (
            _ece(c, y, _upper(c, n)) * len(c)
        ),
        "This is in percent: the stub asks for a number from 0 to 1.": lambda c, y, n: _ece(c, y, _upper(c, n)) * 100,
        "This is 1 less the error: an ECE of 0 says that the confidences are true.": lambda c, y, n: (
            1 - _ece(c, y, _upper(c, n))
        ),
        "You count only the bins that are too sure.\n"
        "One that is not sure enough is badly calibrated too: take "
        "the absolute value.": lambda c, y, n: (_gaps(c, y, n)[0] * (-_gaps(c, y, n)[1]).clip(min=0)).sum() / len(c),
        "You count only the bins that are not sure enough.\n"
        "One that is too sure is badly calibrated too: take "
        "the absolute value.": lambda c, y, n: (_gaps(c, y, n)[0] * _gaps(c, y, n)[1].clip(min=0)).sum() / len(c),
        "This is the accuracy or the mean confidence itself: asked is how far the two are apart, bin by bin.": [
            lambda c, y, n: y.mean(),
            lambda c, y, n: c.mean(),
        ],
        "You put the items into bins by rounding, so that the bins at the ends are half as wide. "
        "np.ceil(confidence * B) - 1 does not.": [
            lambda c, y, n: _ece(c, y, np.round(c * n)),
            lambda c, y, n: _ece(c, y, np.round(c * (n - 1))),
        ],
        "You weight the bins by their confidence: the "
        "weight of a bin is the share of the items in it, count / N.": _weighted(lambda count, accuracy, mean: mean),
        "You weight the bins by their right answers: all items of the bin count, count / N.": [
            _weighted(lambda count, accuracy, mean: count * accuracy),
            lambda c, y, n: _ece(c[y == 1], y[y == 1], _upper(c[y == 1], n)),
        ],
    },
    hints=[
        "Which bin does each item lie in? What does an edge belong to, and what does a bin without items count?",
        "For each bin a mask over the items, lower < confidence <= upper, the first with 0. If it holds an item: "
        "|mean of correct - mean of confidence|, times the number of items in the bin. The sum, divided by N.",
        "bins = np.maximum(np.ceil(confidence * n_bins) - 1, 0); for each b: inside = bins == b; if inside.any(): "
        "total += inside.sum() * abs(correct[inside].mean() - confidence[inside].mean()); total / len(confidence)",
    ],
)
