"""APGR: the area under a router's curve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from course_utils.exercises.cascades_and_routing import Array
from course_utils.exercises.engine import Exercise, case, in_integers


def apgr(win: Array, weak: Array, strong: Array) -> float:
    """Average PGR, the trapezoidal rule over the N + 1 shares of calls of the strong model; win, weak, strong (N,).

    Source: Ong et al. (2024), RouteLLM, metrics.
    """
    gain = (strong - weak)[np.argsort(-win)]  # what each further item brings, the highest score first
    quality = weak.mean() + np.append(0, np.cumsum(gain)) / len(win)  # (N + 1,): j = 0..N items go to the strong model
    pgr = (quality - quality[0]) / (quality[-1] - quality[0])
    return float(np.trapezoid(pgr, np.linspace(0, 1, len(win) + 1)))


def _pgr(gain: Array) -> Array:
    """PGR at the N + 1 points, from what each further item brings."""
    return np.append(0, np.cumsum(gain)) / gain.sum()


def _area(values: Array) -> float:
    return np.trapezoid(values, dx=1 / (len(values) - 1))


def _quality(w: Array, a: Array, b: Array) -> Array:
    return a.mean() + np.append(0, np.cumsum((b - a)[np.argsort(-w)])) / len(w)


def _at(chosen: Array, a: Array, b: Array) -> float:
    """PGR at one setting."""
    return (np.where(chosen, b, a).mean() - a.mean()) / (b.mean() - a.mean())


def _without(part: slice) -> list[Callable]:
    """The mean and the area of some of the points of a curve."""
    return [
        lambda p: p[part].mean(),
        lambda p: _area(p[part]),
        lambda p: np.trapezoid(p[part], dx=1 / (len(p) - 1)),
    ]


def _of_gain(of: Callable) -> Callable:
    """A mistake in what each further item brings, of(win, weak, strong)."""
    return lambda *args: _area(_pgr(of(*args)))


def _of_quality(of: Callable) -> Callable:
    """A mistake in PGR as of(quality, weak, strong)."""
    return lambda w, a, b: _area(of(_quality(w, a, b), a, b))


def _of_curve(of: Callable) -> Callable:
    """A mistake in what is made of PGR, of(pgr)."""
    return lambda w, a, b: of(_pgr((b - a)[np.argsort(-w)]))


def inputs(seed: int, items: int, graded: bool = False) -> tuple[Array, Array, Array]:
    """win (a probability; graded: a logit), weak and strong (0 or 1; graded: any quality); win tells a little."""
    random = np.random.default_rng(seed)
    weak, strong = random.random((2, items)) < [[0.5], [0.75]]
    if graded:
        weak, strong = (random.random((2, items)) + [[0], [0.3]]).round(3)
    weak, strong = weak.astype(float), strong.astype(float)
    logit = (strong - weak) + random.standard_normal(items)
    return logit if graded else 1 / (1 + np.exp(-logit)), weak, strong


def _knowing(seed: int, sign: float) -> tuple[Array, Array, Array]:
    """The order of the true gain, or its reverse, without ties."""
    _, weak, strong = inputs(seed, 16)
    return 0.4 * sign * (strong - weak) + 0.5 + np.random.default_rng(seed).permutation(16) / 1000, weak, strong


def _curve(got: Any, expected: float, win: Array, *others: Array) -> str:
    shape = np.shape(got)
    whole = shape in ((len(win),), (len(win) + 1,)) and len(win) > 1
    return f"This is the curve itself, of shape {shape}: return its area, one number." if whole else ""


WORSE = inputs(836, 18)
POINTS = "There are N + 1 points, from share 0 to share 1."
GAP = "PGR divides by the gap between the two models, mean(strong) - mean(weak)."
GAINS = {
    "This is 1 less the area: the lowest win comes first, or the models or the axes of the curve are swapped.\n"
    "win is how sure the router is that the strong one is the better.": [lambda w, a, b: (b - a)[np.argsort(w)]],
    "The items go to the strong model in the order in which they are given: win decides.": [lambda w, a, b: b - a],
    "You sorted one of the arrays by itself, not by win.\n"
    "Both models' outcomes belong to the same item: sort both of them in the same order.": [
        lambda w, a, b: b[np.argsort(-w)] - a,
        lambda w, a, b: b - a[np.argsort(-w)],
    ],
    "np.argsort was applied twice, or the ranks were taken for the order.\n"
    "order[0] is the item with the highest win.": [lambda w, a, b: (b - a)[np.argsort(np.argsort(-w))]],
    "You sort by strong - weak, the true gain.\nThat is the oracle, which knows the outcomes.": [
        lambda w, a, b: np.sort(b - a)[::-1]
    ],
    "Where the weak model is better, sending the item to the strong one loses quality.\n"
    "Keep the sign of strong - weak.": [
        lambda w, a, b: np.abs(b - a)[np.argsort(-w)],
        lambda w, a, b: (b - a)[np.argsort(-w)].clip(min=0),
    ],
}
QUALITIES = {
    "This is the area under the quality itself.\nPGR is relative to the gap.": [lambda q, a, b: q],
    f"This is the area under quality - mean(weak).\n{GAP}": [lambda q, a, b: q - a.mean()],
    f"This is relative to the quality of the strong model.\n{GAP}": [lambda q, a, b: (q - a.mean()) / b.mean()],
    f"This is relative to the best quality of the curve or the oracle, which may be above the strong model's.\n{GAP}": [
        lambda q, a, b: (q - a.mean()) / (np.maximum(a, b).mean() - a.mean()),
        lambda q, a, b: (q - a.mean()) / (q.max() - a.mean()),
        lambda q, a, b: (q - q.min()) / (q.max() - q.min()),
    ],
    "Where the strong model is the worse one on these items, your result is that of another formula.\n"
    "The gap mean(strong) - mean(weak) is negative there: keep its sign.": [
        lambda q, a, b: (q - q[0]) / abs(q[-1] - q[0]),
        lambda q, a, b: (q - min(q[0], q[-1])) / abs(q[-1] - q[0]),
        lambda q, a, b: (q - q[0]) / (q[-1] - q[0]) * (q[-1] > q[0]),
    ],
    "Your qualities are whole numbers: made with the dtype of weak, they lose their decimals.": [
        lambda q, a, b: (q.astype(a.dtype) - q[0].astype(a.dtype)) / (q[-1].astype(a.dtype) - q[0].astype(a.dtype))
    ],
}
CURVES = {
    "PGR is cut off at 1 or at 0.\nA router that knows where the weak model is right is above 1: do not clip.": [
        lambda p: _area(p.clip(0, 1)),
        lambda p: _area(p.clip(min=0)),
        lambda p: _area(p).clip(0, 1),
    ],
    "This is the plain mean or median of PGR: in the trapezoidal rule the ends count half.": [np.mean, np.median],
    f"You left j = 0 out, all items for the weak model (PGR 0).\n{POINTS}": _without(np.s_[1:]),
    f"You left j = N out, all items for the strong model (PGR 1).\n{POINTS}": _without(np.s_[:-1]),
    f"You left both ends out, j = 0 (PGR 0) and j = N (PGR 1).\n{POINTS}": _without(np.s_[1:-1]),
    "Neighbouring points are 1 / N apart, and have another distance in your result.": [
        lambda p: np.trapezoid(p),
        lambda p: _area(p) * (1 - 1 / len(p)),
        lambda p: p.sum(),
    ],
    "The area has the wrong sign.\nIs the gap the wrong way round, or do the shares fall?": [lambda p: -_area(p)],
    "This is in percent: PGR of the strong model is 1, not 100.": [lambda p: 100 * _area(p)],
    f"You average over ten shares, as RouteLLM does: here it is the area over all of them.\n{POINTS}": [
        lambda p: np.mean(p[(np.linspace(0, 1, 11) * (len(p) - 1)).astype(int)])
    ],
}
EXERCISE = Exercise(
    "cascades_and_routing.apgr",
    reference=apgr,
    what="your area",
    right="Print your PGR at all N + 1 points: it is 0 at the first and 1 at the last.",
    errors={"'trapz'": "NumPy 2 has no np.trapz any more: it is called np.trapezoid, with the same arguments."},
    explain=_curve,
    cases=[
        case("outcomes 0 and 1, with a probability as win", *inputs(832, 20)),
        case("any qualities, with a win that is negative for some", *inputs(837, 15, graded=True)),
        case("a win that knows the gains: above the strong model, an area of more than 1", *_knowing(844, 1)),
        case("a win that has them upside down", *_knowing(838, -1)),
        case("one item", np.array([0.7]), np.array([0.0]), np.array([1.0])),
        case("a strong model that is the worse one on these items", WORSE[0], WORSE[2], WORSE[1]),
    ],
    corners=[in_integers("weak", "strong")],
    mistakes={
        **{says: [*map(_of_gain, of)] for says, of in GAINS.items()},
        **{says: [*map(_of_quality, of)] for says, of in QUALITIES.items()},
        **{says: [*map(_of_curve, of)] for says, of in CURVES.items()},
        "This is PGR at a threshold of .5.\nAPGR is the area over all shares.": lambda w, a, b: _at(w > 0.5, a, b),
        f"You average over a few thresholds: here it is the area over all shares.\n{POINTS}": lambda w, a, b: np.mean(
            [_at(w >= tau, a, b) for tau in np.linspace(0, 1, 11)]
        ),
        "You get exactly .5, which is a router that knows nothing: does win play a part?": lambda w, a, b: 0.5,
        "You average over the j items of the strong model only: the weak model answers the others.": lambda w, a, b: (
            _area(np.append(0, np.cumsum(b[np.argsort(-w)]) / np.arange(1, len(w) + 1) - a.mean()))
            / (b.mean() - a.mean())
        ),
        "The items that stay with the weak model count 0 in your result.\nIt answers them.": lambda w, a, b: (
            (_area(np.append(0, np.cumsum(b[np.argsort(-w)])) / len(w)) - a.mean()) / (b.mean() - a.mean())
        ),
        "The items of the strong model still count the weak model's outcome as well.": lambda w, a, b: (
            _area(np.append(0, np.cumsum(b[np.argsort(-w)])) / len(w)) / (b.mean() - a.mean())
        ),
        "This is the area under a ROC curve, how well win separates the items.\n"
        "APGR weighs them by what they gain.": lambda w, a, b: (w[b > a][:, None] > w[b <= a]).mean(),
        "win is used as a weight: only its order counts.": lambda w, a, b: (w * (b - a)).mean() / (b - a).mean(),
    },
    hints=[
        "What changes in the mean quality when one more item goes from the weak model to the strong one?",
        "Each further item brings strong - weak. Put these in the order of falling win; np.cumsum gives all N + 1 "
        "qualities, with a 0 in front. PGR is 0 at the first and 1 at the last; then np.trapezoid over the share.",
        "gain = (strong - weak)[np.argsort(-win)]; pgr = np.append(0, np.cumsum(gain)) / gain.sum(); "
        "np.trapezoid(pgr, np.arange(N + 1) / N)",
    ],
)
