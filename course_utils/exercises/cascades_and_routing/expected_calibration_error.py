"""The expected calibration error of confidences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from course_utils.exercises.cascades_and_routing import Array
from course_utils.exercises.engine import Exercise, case, in_integers


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


def _between(edges: Array, c: Array) -> Array:
    """The bin of each item; the upper edge belongs to it."""
    return np.searchsorted(edges[1:-1], c, side="left")


def _upper(c: Array, n: int) -> Array:
    return _between(np.linspace(0, 1, n + 1), c)


def _lower(c: Array, n: int) -> Array:
    return np.minimum(np.floor(c * n), n - 1).astype(int)


def _parts(c: Array, y: Array, bins: Array) -> tuple[Array, Array]:
    """The share of the items and the gap, accuracy - mean confidence, of each bin that holds an item."""
    masks = [bins == b for b in np.unique(bins)]
    return np.array([inside.mean() for inside in masks]), np.array([(y - c)[inside].mean() for inside in masks])


def _ece(c: Array, y: Array, bins: Array) -> float:
    share, gap = _parts(c, y, bins)
    return share @ np.abs(gap)


def _binned(of: Callable) -> Callable:
    """A mistake in the bins, of(confidence, n_bins)."""
    return lambda c, y, n: _ece(c, y, of(c, n))


def _from_parts(of: Callable) -> Callable:
    """A mistake in what is made of the bins, of(share, gap, n_bins)."""
    return lambda c, y, n: of(*_parts(c, y, _upper(c, n)), n)


def _only(keep: Array, c: Array, y: Array, bins: Array) -> float:
    """Of some items alone, divided by their number."""
    return _ece(c[keep], y[keep], bins[keep])


def inputs(seed: int, items: int) -> tuple[Array, Array]:
    """Confidences in 64ths, exact in binary, with several at 0, 1/4, 1/2, 3/4 and 1; too sure below, not sure enough
    above."""
    random = np.random.default_rng(seed)
    confidence = random.integers(1, 64, items) / 64
    confidence[:10] = [0, 0.25, 0.5, 0.75, 1, 0, 0.25, 0.5, 0.75, 1]
    correct = random.random(items) < np.where(confidence < 0.5, 0.3 * confidence, 0.5 + 0.5 * confidence)
    correct[:5], correct[5:10] = [True, False, True, False, False], [True, False, True, False, True]
    return confidence, correct.astype(float)


def _nan_or_table(got: Any, *rest: Any) -> str:
    if np.size(got) > 1:
        return f"Your result has shape {np.shape(got)}, a number for each bin or item: return one number, the mean."
    return NAN if np.isnan(got).any() else ""


NAN = "The result is nan: the mean over an empty bin is 0/0.\nA bin without items has the weight 0: leave it out."
SPARSE = (np.array([0.375, 0.40625, 0.4375, 0.875, 0.9375, 0.84375]), np.array([1.0, 0.0, 1.0, 1.0, 1.0, 0.0]), 8)
WEIGHT = "Each bin counts with the share of the items that lie in it, count / N."
BINS = {  # of the confidence and n_bins
    "An item on an edge goes to the bin above it.\n"
    "The bins are (b/B, (b+1)/B]: the upper edge belongs to them, and only 0 itself lies in the first.": [
        _lower,
        lambda c, n: np.floor(c * n),
    ],
    "An item with confidence 0 lies in your last bin: bin -1 is the last one.\n"
    "It belongs to the first, so the bin is at least 0.": [lambda c, n: (np.ceil(c * n) - 1) % n],
    "Your bins hold equal numbers of items (quantiles); take bins of equal width.": [
        lambda c, n: _between(np.quantile(c, np.linspace(0, 1, n + 1)), c),
        lambda c, n: np.argsort(np.argsort(c, kind="stable")) * n // len(c),
    ],
    "Your bins run from the smallest to the largest confidence.\nThey run from 0 to 1.": [
        lambda c, n: _between(np.linspace(c.min(), c.max(), n + 1), c),
        lambda c, n: _between(np.linspace(0, c.max(), n + 1), c),
    ],
    "Your bins run from .5 to 1.\nThey run from 0 to 1, whatever the number of classes.": [
        lambda c, n: _between(np.linspace(0.5, 1, n + 1), c)
    ],
    "You have one bin too few or too many: n_bins bins have n_bins + 1 edges.": [
        *(lambda c, n, of=of, more=more: of(c, n + more) for of in (_upper, _lower) for more in (-1, 1))
    ],
    "The number of bins is fixed in your function.\nUse n_bins.": [
        *(lambda c, n, of=of, b=b: of(c, b) for of in (_upper, _lower) for b in (10, 15))
    ],
    "You round to bins, which makes those at the ends half as wide.": [lambda c, n: np.round(c * n)],
}
GAPS = {  # of the share and the gap of each bin that holds an item, and n_bins
    f"All bins count the same in your result, with one item or a hundred.\n{WEIGHT}": [
        lambda share, gap, n: np.abs(gap).mean(),
        lambda share, gap, n: np.abs(gap).sum() / n,
    ],
    "The sum is divided by the number of bins as well.": [lambda share, gap, n: share @ np.abs(gap) / n],
    f"You add the gaps up without a weight.\n{WEIGHT}": [lambda share, gap, n: np.abs(gap).sum()],
    "This is the largest gap, the maximum calibration error (MCE).\nECE is their mean, weighted by the items.": [
        lambda share, gap, n: np.abs(gap).max()
    ],
    "Gaps of bins that are too sure and of bins that are not sure enough cancel in your result.\n"
    "Take the absolute value in each bin, before the mean.": [
        lambda share, gap, n: abs(share @ gap),
        lambda share, gap, n: share @ gap,
        lambda share, gap, n: gap.mean(),
    ],
    "Your gaps are squared: ECE takes their absolute value.": [
        lambda share, gap, n: share @ gap**2,
        lambda share, gap, n: np.sqrt(share @ gap**2),
    ],
    "This is in percent: the stub asks for a number from 0 to 1.": [lambda share, gap, n: 100 * share @ np.abs(gap)],
    "This is 1 less the error: 0 means true confidences.": [lambda share, gap, n: 1 - share @ np.abs(gap)],
    "You count only the bins that are too sure, or only those that are not sure enough: take the absolute value.": [
        *(lambda share, gap, n, sign=sign: share @ (sign * gap).clip(min=0) for sign in (-1, 1))
    ],
}
EXERCISE = Exercise(
    "cascades_and_routing.expected_calibration_error",
    reference=calibration_error,
    what="your result",
    right="Print for each bin its items, their accuracy and their mean confidence.",
    errors={
        "ZeroDivisionError": NAN,
        "IndexError.*out of bounds": "An index is too large.\nWhich bin does a confidence of exactly 1 get? The last.",
    },
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
        **{says: [*map(_from_parts, of)] for says, of in GAPS.items()},
        **{says: [*map(_binned, of)] for says, of in BINS.items()},
        "An item with confidence 0 lies in no bin of yours, or in one of its own.\nIt belongs to the first.": [
            lambda c, y, n: _only(c > 0, c, y, _upper(c, n)),
            lambda c, y, n: _only(c > 0, c, y, _upper(c, n)) * (c > 0).mean(),
            lambda c, y, n: _ece(c, y, np.ceil(c * n)),
        ],
        "An item with confidence 1 lies in no bin of yours.\nThe upper edges are included.": [
            lambda c, y, n: _only(c < 1, c, y, _lower(c, n)),
            lambda c, y, n: _only(c < 1, c, y, _lower(c, n)) * (c < 1).mean(),
        ],
        "This compares each item's confidence with 0 or 1.\n"
        "No single answer can be 70% right: compare the means of a bin.": lambda c, y, n: np.abs(y - c).mean(),
        "This is the Brier score, the mean of (confidence - correct) squared for each item.\n"
        "ECE compares the means of each bin.": lambda c, y, n: ((y - c) ** 2).mean(),
        "You compare the accuracy with the middle or an edge of the bin.\n"
        "Take the mean confidence of the items that lie in it.": [
            *(lambda c, y, n, at=at: _ece((_upper(c, n) + at) / n, y, _upper(c, n)) for at in (0, 0.5, 1))
        ],
        "This is the accuracy or the mean confidence itself; return how far the two are apart, bin by bin.": [
            lambda c, y, n: y.mean(),
            lambda c, y, n: c.mean(),
        ],
        "An item on an edge lies in two of your bins.": lambda c, y, n: sum(
            m.mean() * abs((y - c)[m].mean()) for b in range(n) if (m := (c >= b / n) & (c <= (b + 1) / n)).any()
        ),
        "You look at the right answers only.": lambda c, y, n: _only(y == 1, c, y, _upper(c, n)),
        "Your gaps are whole numbers: made with the dtype of correct, they lose their decimals.": lambda c, y, n: (
            _parts(c, y, _upper(c, n))[0] @ np.abs(_parts(c, y, _upper(c, n))[1]).astype(y.dtype)
        ),
        "The sum of count * gap is not divided by the N items.": lambda c, y, n: _ece(c, y, _upper(c, n)) * len(c),
    },
    hints=[
        "Which bin does each item lie in? What does an edge belong to, and what does a bin without items count?",
        "For each bin a mask over the items, lower < confidence <= upper, the first with 0. If it holds an item: "
        "|mean of correct - mean of confidence|, times the number of items in the bin. The sum, divided by N.",
        "bins = np.maximum(np.ceil(confidence * n_bins) - 1, 0); for each b: inside = bins == b; if inside.any(): "
        "total += inside.sum() * abs(correct[inside].mean() - confidence[inside].mean()); total / len(confidence)",
    ],
)
