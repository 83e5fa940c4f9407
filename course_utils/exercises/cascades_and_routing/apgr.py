"""APGR: the area under a router's curve."""

from __future__ import annotations

from typing import Any

import numpy as np

from course_utils.exercises.engine import Exercise, anywhere, case, in_integers

Array = np.ndarray


def apgr(win: Array, weak: Array, strong: Array) -> float:
    """Average PGR, the trapezoidal rule over the N + 1 shares of calls of the strong model; win, weak, strong (N,).

    Source: Ong et al. (2024), RouteLLM, metrics.
    """
    gain = (strong - weak)[np.argsort(-win)]  # what each further item brings, the highest score first
    quality = weak.mean() + np.append(0, np.cumsum(gain)) / len(win)  # (N + 1,): j = 0..N items go to the strong model
    pgr = (quality - quality[0]) / (quality[-1] - quality[0])
    return float(np.trapezoid(pgr, np.linspace(0, 1, len(win) + 1)))


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


def inputs(seed: int, items: int, graded: bool = False) -> tuple[Array, Array, Array]:
    """win (a probability; graded: a logit), weak and strong (0 or 1; graded: any quality); win tells a little."""
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


STEPS = (
    "Sort strong - weak by falling win; quality_j = mean(weak) + the sum of its first j entries / N, for j = 0..N; "
    "PGR_j from these, and np.trapezoid(PGR, np.arange(N + 1) / N)."
)


def _worse_strong() -> tuple[Array, Array, Array]:
    win, weak, strong = inputs(836, 18)
    return win, strong, weak


def _curve(got: Any, expected: float, win: Array, *others: Array) -> str:
    shape = np.shape(got)
    whole = shape in ((len(win),), (len(win) + 1,)) and len(win) > 1
    return f"This is the curve itself, of shape {shape}: return its area, one number." if whole else ""


EXERCISE = Exercise(
    "cascades_and_routing.apgr",
    reference=apgr,
    what="your area",
    right=STEPS,
    errors={
        "'trapz'": "NumPy 2 has no np.trapz any more: it is called np.trapezoid, with the same arguments (pgr, share)."
    },
    explain=_curve,
    cases=[
        case("outcomes 0 and 1, with a probability as win", *inputs(832, 20)),
        case("any qualities, with a win that is negative for some", *inputs(837, 15, graded=True)),
        case("a win that knows the gains: above the strong model, an area of more than 1", *_knowing(844, 1)),
        case("a win that has them upside down", *_knowing(838, -1)),
        case(
            "the same gain on every item: a straight line",
            np.array([0.3, 0.1, 0.2]),
            np.array([0.1, 0.4, 0.2]),
            np.array([0.35, 0.65, 0.45]),
        ),
        case("two items by hand", np.array([0.2, 0.9]), np.array([1.0, 0.0]), np.array([0.5, 1.0])),
        case("one item", np.array([0.7]), np.array([0.0]), np.array([1.0])),
        case("a strong model that is the worse one on these items", *_worse_strong()),
    ],
    corners=[in_integers("weak", "strong")],
    mistakes={
        "PGR is cut off at 1 or at 0.\n"
        "It may lie outside: a router that knows where the weak model is right beats the strong model, and a bad "
        "one falls below the weak. Do not clip.": [
            lambda w, a, b: _area(_pgr(_gain(w, a, b)).clip(0, 1)),
            lambda w, a, b: _area(_pgr(_gain(w, a, b)).clip(max=1)),
            lambda w, a, b: _area(_pgr(_gain(w, a, b)).clip(min=0)),
            lambda w, a, b: _area(_pgr(_gain(w, a, b))).clip(0, 1),
        ],
        "The items with the lowest win go to the strong model first, or the two models are swapped. win is how "
        "sure the router is that the strong one is the better.\n"
        "Sort by -win, and the first j get strong.": lambda w, a, b: _area(_pgr((b - a)[np.argsort(w)])),
        "The items go to the strong model in the order in which they are given.\n"
        "Sort by falling win, np.argsort(-win).": lambda w, a, b: _area(_pgr(b - a)),
        "You sorted one of the arrays by itself, not by win.\n"
        "Both models' outcomes belong to the same item: order = np.argsort(-win), then weak[order] and "
        "strong[order].": [
            _half_sorted,
            lambda w, a, b: _area(_pgr(b[np.argsort(-w)] - a)),
            lambda w, a, b: _area(_pgr(b - a[np.argsort(-w)])),
        ],
        "np.argsort was applied twice, or the ranks taken for the order: order[0] is the index of the item with "
        "the highest "
        "win, so strong[order] is already sorted.": lambda w, a, b: _area(_pgr((b - a)[np.argsort(np.argsort(-w))])),
        "This is the area under the quality itself.\n"
        "PGR is relative to the gap: (quality - mean(weak)) / (mean(strong) "
        "- mean(weak)).": [lambda w, a, b: _area(_quality(w, a, b)), lambda w, a, b: _quality(w, a, b).mean()],
        "This is the area under quality - mean(weak).\n"
        "Divide by the gap, mean(strong) "
        "- mean(weak), so that the strong model has 1.": lambda w, a, b: _area(_quality(w, a, b) - a.mean()),
        "You divide by the quality of the strong model.\nPGR divides by the gap, mean(strong) - mean(weak).": [
            lambda w, a, b: _area(_quality(w, a, b) - a.mean()) / b.mean(),
            lambda w, a, b: _area(_quality(w, a, b)) / b.mean(),
        ],
        "You divide by the gap to the oracle, which takes the better model for each item.\n"
        "PGR's gap is the one between the two models alone, mean(strong) - mean(weak), and the oracle has more "
        "than 1.": [
            lambda w, a, b: _area(_quality(w, a, b) - a.mean()) / (np.maximum(a, b).mean() - a.mean()),
            lambda w, a, b: _area(_quality(w, a, b) - a.mean()) / (_quality(w, a, b).max() - a.mean()),
        ],
        "This is the plain mean of PGR over the points.\n"
        "With the trapezoidal "
        "rule the two ends count half: np.trapezoid(pgr, share).": lambda w, a, b: _pgr(_gain(w, a, b)).mean(),
        "You left j = 0 out, all items for the weak model (PGR 0): there are N + 1 points, and the trapezoidal "
        "rule over them.": [
            lambda w, a, b: _pgr(_gain(w, a, b))[1:].mean(),
            lambda w, a, b: np.trapezoid(_pgr(_gain(w, a, b))[1:], dx=1 / len(w)),
            lambda w, a, b: _area(_pgr(_gain(w, a, b))[1:]),
        ],
        "You left j = N out, all items for the strong model (PGR 1): there are N + 1 points, and the trapezoidal "
        "rule over them.": [
            lambda w, a, b: _pgr(_gain(w, a, b))[:-1].mean(),
            lambda w, a, b: np.trapezoid(_pgr(_gain(w, a, b))[:-1], dx=1 / len(w)),
            lambda w, a, b: _area(_pgr(_gain(w, a, b))[:-1]),
        ],
        "You left both ends out: j = 0 (PGR 0) and j = N (PGR 1) belong to the curve, so N + 1 points from share 0"
        " to share 1.": [
            lambda w, a, b: np.trapezoid(_pgr(_gain(w, a, b))[1:-1], dx=1 / len(w)),
            lambda w, a, b: _area(_pgr(_gain(w, a, b))[1:-1]),
            lambda w, a, b: _pgr(_gain(w, a, b))[1:-1].mean(),
        ],
        "The points are a distance of 1 / N apart, not 1.\n"
        "Give np.trapezoid the shares too, np.trapezoid(pgr, share), or divide by N.": [
            lambda w, a, b: np.trapezoid(_pgr(_gain(w, a, b))),
            lambda w, a, b: _area(_pgr(_gain(w, a, b))) * len(w) / (len(w) + 1),
        ],
        "This is the sum of PGR over the points, "
        "not an area between shares 0 and 1: np.trapezoid(pgr, share).": lambda w, a, b: _pgr(_gain(w, a, b)).sum(),
        "This is PGR at one setting only, a threshold of .5, 0 or the middle.\n"
        "APGR is the area over all shares of strong calls.": [
            lambda w, a, b: _at(w > 0.5, a, b),
            lambda w, a, b: _at(w > 0, a, b),
            lambda w, a, b: _at(w > np.median(w), a, b),
        ],
        "You average over a few thresholds or shares.\n"
        "RouteLLM does so too, with ten; here the area is asked over all N + 1 points j = 0..N, one for each "
        "number of items that the strong model gets.": [
            lambda w, a, b: np.mean([_at(w >= tau, a, b) for tau in np.linspace(0, 1, 11)]),
            lambda w, a, b: np.mean([_at(w > tau, a, b) for tau in np.linspace(0, 1, 11)]),
            lambda w, a, b: np.mean([_at(w >= tau, a, b) for tau in np.linspace(0, 1, 10)]),
            lambda w, a, b: np.trapezoid([_at(w >= tau, a, b) for tau in np.linspace(0, 1, 11)], dx=0.1),
            lambda w, a, b: np.mean(_pgr(_gain(w, a, b))[(np.linspace(0, 1, 11) * len(w)).astype(int)]),
            lambda w, a, b: np.mean(_pgr(_gain(w, a, b))[(np.linspace(0.1, 1, 10) * len(w)).astype(int)]),
        ],
        "The area has the wrong sign.\n"
        "Either the gap is the wrong way round (it is mean(strong) - mean(weak)), or the shares fall from 1 to 0: "
        "let j, and with it the share, rise from 0.": lambda w, a, b: -_area(_pgr(_gain(w, a, b))),
        "You get exactly .5, which is a router that knows nothing: a straight line from 0 to 1.\n"
        "Does win play a part in your result?": lambda w, a, b: 0.5,
        "You sort by strong - weak, the true gain.\n"
        "That is the oracle, "
        "which knows the outcomes: a router sorts by win.": lambda w, a, b: _area(_pgr(np.sort(b - a)[::-1])),
        "You average over the j items of the strong model only. quality_j is the mean over all N items: the other "
        "N - j are answered by the weak model.": lambda w, a, b: _area(_relative(_routed(w, a, b), a, b)),
        "The items that stay with the weak model count 0 in your result.\n"
        "It answers them, and gets its weak[i]: add these.": lambda w, a, b: _area(_relative(_no_weak(w, a, b), a, b)),
        "The items of the strong model still count the weak model's outcome as well: each further item brings "
        "strong - weak.": lambda w, a, b: _area(_no_weak(w, a, b)) / (b.mean() - a.mean()),
        "You divide by the size of the gap, abs(mean(strong) - mean(weak)).\n"
        "Where the strong model is the worse one, the gap is negative: "
        "keep the sign.": anywhere(lambda w, a, b: _area(_quality(w, a, b) - a.mean()) / abs(b.mean() - a.mean())),
        "You took abs(strong - weak).\n"
        "Where the weak model is better, sending the "
        "item to the strong one loses quality: keep the sign.": lambda w, a, b: _area(_pgr(np.abs(_gain(w, a, b)))),
        "You dropped the items on which the weak model is better.\n"
        "Their gain is negative "
        "and counts: routing them up loses quality.": lambda w, a, b: _area(_pgr(_gain(w, a, b).clip(min=0))),
        "This is in percent: PGR of the strong model is 1, not 100.": lambda w, a, b: 100 * _area(_pgr(_gain(w, a, b))),
        "This is the area under a ROC curve, how well win separates the items.\n"
        "APGR weighs them by what they gain: the area under PGR.": lambda w, a, b: _auc(w, b > a),
        "This is the median of PGR. Asked is the area under it, over the share.": lambda w, a, b: np.median(
            _pgr(_gain(w, a, b))
        ),
        "win is used as a weight or a probability.\n"
        "Only its order counts: the j items with the highest win go to the strong model.": [
            lambda w, a, b: (w * (b - a)).mean() / (b - a).mean(),
            lambda w, a, b: np.trapezoid(_pgr(_gain(w, a, b)), np.append(0, np.sort(w))),
        ],
    },
    hints=[
        "What changes in the mean quality when one more item goes from the weak model to the strong one?",
        "Each further item brings strong - weak. Put these in the order of falling win; np.cumsum gives all N + 1 "
        "qualities, with a 0 in front. PGR is 0 at the first and 1 at the last; then np.trapezoid over the share.",
        "gain = (strong - weak)[np.argsort(-win)]; pgr = np.append(0, np.cumsum(gain)) / gain.sum(); "
        "np.trapezoid(pgr, np.arange(N + 1) / N)",
    ],
)
