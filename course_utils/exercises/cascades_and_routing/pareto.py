"""The points of an accuracy-cost plane that no other point dominates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from course_utils.exercises.cascades_and_routing import Array
from course_utils.exercises.engine import Exercise, alike, case, numbers
from course_utils.selection.cascades import pareto


def _drop(dominates: Callable) -> Callable:
    """The points i that no j dominates."""
    beaten = lambda c, q, i: any(dominates(c, q, i, j) for j in range(len(c)) if j != i)  # noqa: E731
    return lambda c, q: np.array([i for i in range(len(c)) if not beaten(c, q, i)], dtype=int)


def _worse(c: Array, q: Array, i: int, j: int) -> bool:
    return c[j] <= c[i] and q[j] >= q[i]


def _really(c: Array, q: Array, i: int, j: int) -> bool:
    return _worse(c, q, i, j) and (c[j], q[j]) != (c[i], q[i])


def _scan(c: Array, q: Array, order: Array, best: float = -np.inf, equal: bool = False) -> Array:
    kept = []
    for i in order:
        if q[i] > best or (equal and q[i] >= best):
            kept.append(i)
            best = q[i]
    return np.array(kept, dtype=int)


def _by_cost(c: Array, q: Array) -> Array:
    return np.lexsort((-q, c))


def _hull(c: Array, q: Array) -> Array:
    kept: list[int] = []
    for i in pareto(c, q):
        while len(kept) > 1 and (q[kept[-1]] - q[kept[-2]]) * (c[i] - c[kept[-2]]) <= (q[i] - q[kept[-2]]) * (
            c[kept[-1]] - c[kept[-2]]
        ):
            kept.pop()
        kept.append(i)
    return np.array(kept)


def _mask(c: Array, q: Array) -> Array:
    return np.isin(np.arange(len(c)), pareto(c, q))


def _neighbour(c: Array, q: Array) -> Array:
    order = _by_cost(c, q)
    return order[np.append(True, np.diff(q[order]) > 0)]


def _chosen(of: Callable) -> Callable:
    """What is made of the right indices p: of(p, cost, quality)."""
    return lambda c, q: of(pareto(c, q), c, q)


def inputs(seed: int, points: int) -> tuple[Array, Array]:
    """Points without ties whose quality grows with the cost, but with noise, in random order."""
    random = np.random.default_rng(seed)
    cost = random.permutation(np.arange(1, points + 1)) + random.random(points) / 2
    return cost, np.round(0.9 - 0.5 * np.exp(-cost / 4) + 0.08 * random.standard_normal(points), 4)


TIES = (
    np.array([3.0, 1.0, 2.0, 3.0, 2.0, 1.0, 4.0, 6.0, 3.0, 5.0]),
    np.array([0.75, 0.25, 0.5, 0.75, 0.625, 0.5, 0.75, 0.875, 0.75, 0.8125]),
)
NEGATIVE = (np.array([5.0, 4.0, 2.0, 3.0, 8.0, 1.0, 6.0]), np.array([-1.0, -1.5, -2.5, -3.0, 0.5, -3.5, -2.0]))


def _sorted(result: Any) -> Any:
    """A set of points in one order: a wrong set has many."""
    found = numbers(result)
    return found.sort().values if found.dim() == 1 and found.dtype != torch.bool else found


def _equal(got: Any, cost: Array, quality: Array) -> bool:
    """The indices are of an integer type too: NumPy takes no others, even if the values are whole."""
    return alike(got, pareto(cost, quality)) and not torch.as_tensor(got).is_floating_point()


def _what_is_wrong(got: Any, right: Array, cost: Array, quality: Array) -> str:
    """What the result tells by itself, if no known mistake gives it."""
    got = numbers(got, "your result")
    if got.dim() == 2 and 1 in got.shape:
        return (
            f"The result has shape {tuple(got.shape)}: np.where gives a tuple, np.argwhere a column, (n,) is asked for."
        )
    if got.dim() != 1:
        return ""
    strange = (got.double() % 1 != 0) | (got.double() < 0) | (got.double() >= len(cost))
    if strange.any():
        return f"Indices are integers from 0 to {len(cost) - 1} here: your result holds {got[strange][0].item():g}."
    mine = got.long().tolist()
    if mine == right.tolist():
        return FLOATS
    if sorted(mine) == sorted(right.tolist()):
        return FALLING if mine[::-1] == right.tolist() else UNSORTED
    point = [f"point {i} (cost {cost[i]:g}, quality {quality[i]:g})" for i in range(len(cost))]
    for i in mine:
        rivals = [j for j in right.tolist() if _worse(cost, quality, i, j)]
        if i not in right and rivals:
            why = "dominates it" if _really(cost, quality, i, rivals[0]) else "is equal and comes first"
            return f"Your result holds {point[i]}, but {point[rivals[0]]} {why}."
    lost = next((i for i in right.tolist() if i not in mine), None)
    return "" if lost is None else f"In your result {point[lost]} is missing, and no other point dominates it."


UNSORTED = "These are the right points in another order, by index perhaps: the stub asks for them by rising cost."
FALLING = "These are the right points by falling cost: the stub asks for rising cost."
FLOATS = "The indices are right, but of a floating-point type: NumPy does not accept these as indices."
ONE = lambda c, q: q.argmax(), lambda c, q: c.argmin(), lambda c, q: (q / c).argmax()
ALL = np.array([4.0, 3.0, 2.0, 1.0]), np.array([0.875, 0.75, 0.5, 0.25])
EXERCISE = Exercise(
    "cascades_and_routing.pareto",
    reference=pareto,
    what="your result",
    equal=_equal,
    form=_sorted,
    explain=_what_is_wrong,
    cases=[
        case("random points without ties, in no order", *inputs(822, 14)),
        case("equal costs, equal qualities, and three equal points", *TIES),
        case("negative qualities (a loss with its sign turned round)", *NEGATIVE),
        case("a single point", np.array([2.0]), np.array([0.5])),
        case("one point that dominates all others", np.array([2.0, 1.0, 3.0]), np.array([0.5, 0.75, 0.625])),
        case("all points belong to the set, the most expensive first", *ALL),
    ],
    mistakes={
        "This is a mask over the points; return their indices, by rising cost.": [
            _mask,
            lambda c, q: _mask(c, q) * 1.0,
        ],
        "These are positions in the sorted points.\nTranslate them back into indices of the given ones.": lambda c, q: (
            np.flatnonzero(_mask(c, q)[_by_cost(c, q)])
        ),
        "Your points are dropped only if another is cheaper and better.\n"
        "One that costs the same and is better, or is as good and cheaper, dominates it too.": _drop(
            lambda c, q, i, j: c[j] < c[i] and q[j] > q[i]
        ),
        "Equal points drop each other in your result, so that none of them is left.\n"
        "Neither is better in anything: keep the first.": _drop(_worse),
        "Equal points are all kept.\nThe stub asks for the first of them only.": _drop(_really),
        "Of equal points you keep the last, and the stub asks for the first.": _drop(
            lambda c, q, i, j: _worse(c, q, i, j) and (_really(c, q, i, j) or j > i)
        ),
        "You keep a more expensive point that is only as good as a cheaper one: it is dominated.": [
            lambda c, q: _scan(c, q, _by_cost(c, q), equal=True),
            _drop(lambda c, q, i, j: c[j] <= c[i] and q[j] > q[i]),
        ],
        "Of points with equal cost you keep more than one.\nOnly the best of them can stay: let it come first.": [
            lambda c, q: _scan(c, q, np.argsort(c, kind="stable")),
            lambda c, q: _scan(c, q, np.lexsort((q, c))),
        ],
        "These are the costs or the qualities of the points: the stub asks for their indices.": [
            _chosen(lambda p, c, q: c[p]),
            _chosen(lambda p, c, q: q[p]),
            _chosen(lambda p, c, q: np.array([c[p], q[p]]).T),
        ],
        "You keep only the corners of the convex hull.\n"
        "A point below a line between two others is not dominated by either of them.": _hull,
        "You keep only the cheapest and the best point: those between them may belong to the set too.": lambda c, q: (
            np.array([c.argmin(), q.argmax()])
        ),
        "This is one point only, the best, the cheapest, or that with the best ratio of the two.\n"
        "The set holds for every price the best point that it buys.": [
            *ONE,
            *(lambda c, q, of=of: of(c, q)[None] for of in ONE),
        ],
        "Your points have low quality: the more quality the better.": lambda c, q: pareto(c, -q),
        "Your points are the expensive ones: the less cost the better.": lambda c, q: pareto(-c, q),
        "These are the dominated points, all that should go.": lambda c, q: np.flatnonzero(~_mask(c, q)),
        "You compare each point only with the one before it in the order of cost.\n"
        "It must be better than all cheaper ones: keep the best quality so far.": _neighbour,
        "All points are returned.\nLeave those out that another point dominates.": lambda c, q: np.arange(len(c)),
        "The cheapest point is missing: nothing costs less, so nothing dominates it.": _chosen(lambda p, c, q: p[1:]),
        "The last point of the set, the one with the best quality, is missing.": _chosen(lambda p, c, q: p[:-1]),
        "Points with a negative quality are lost.\n"
        "Qualities can be any numbers: start the best so far below all.": lambda c, q: _scan(c, q, _by_cost(c, q), 0),
    },
    hints=[
        "If you go through the points from the cheapest to the most expensive: when is the next one worth its price?",
        "Sort by cost, of equal costs the best quality first, and keep a point if its quality is above the best "
        "so far. Then equal points and ties take care of themselves, if the sort is stable.",
        "order = np.lexsort((-quality, cost)); best = -np.inf; for i in order: if quality[i] > best: keep i, and "
        "best = quality[i]",
    ],
)
