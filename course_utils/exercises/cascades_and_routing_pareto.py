"""Tests of 08_cascades_and_routing: the points of an accuracy-cost plane that no other point dominates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from course_utils.exercises.answers import Mistake
from course_utils.exercises.arrays import are_floats, judge, tried
from course_utils.selection.cascades import pareto

Array = np.ndarray

STEPS = (
    "Go through the points by rising cost, of equal costs the best first, and keep a point only if its quality is above all"
    " that came before."
)
BOTH = (
    "You drop a point only if another is cheaper AND better. One that costs the same and is better, or is as good and"
    " cheaper, dominates it too: no worse in both, better in at least one."
)
EQUAL_GONE = (
    "Equal points drop each other in your result, so that none of them is left. They do not dominate one another, for"
    " neither is better in anything: keep the first."
)
EQUAL_KEPT = "Equal points are all kept. Nothing distinguishes them: the stub asks for the first of them only."
LAST_EQUAL = "Of equal points you keep the last, and the stub asks for the first, the one with the lowest index."
SAME_QUALITY = (
    "You keep a dearer point that is only AS good as a cheaper one: it is dominated. Ask quality > best so far, not >=."
)
SAME_COST = (
    "Of points with equal cost you keep more than one. Only the best of them can stay: sort by cost, and within equal costs by"
    " falling quality: np.lexsort((-quality, cost))."
)
UNSORTED = "These are the right points in another order, that of their index perhaps. The stub asks for them by rising cost."
FALLING = "These are the right points by falling cost. The stub asks for rising cost: reverse them."
POSITIONS = "These are positions in the SORTED points. Translate them back into indices of the given ones: order[positions]."
MASK = "This is a mask over the points, in place of their indices. np.flatnonzero gives the indices; then sort them by cost."
VALUES = "These are the costs or the qualities of the points: the stub asks for their indices."
HULL = (
    "You keep only the corners of the convex hull. A point below a line between two others is not dominated by either of"
    " them: there is no single point that is as cheap and as good."
)
ENDS = "You keep only the cheapest and the best point: those between them that nothing dominates belong to the set too."
BEST = "This is one point only. The set holds for every price the best point that it buys."
RATIO = "You chose by quality / cost. Domination compares both numbers one by one: there is no exchange rate between them."
LOWER = "Your points have LOW quality: the more quality the better. Look at the direction of the comparison, or at the sign."
DEARER = "Your points are the DEAR ones: the less cost the better. Look at the direction of the comparison, or at the sign."
DOMINATED = "These are the dominated points, all that should go: take the others."
NEIGHBOUR = (
    "You compare each point only with the one before it in the order of cost. It must be better than ALL cheaper ones: keep"
    " the best quality so far, np.maximum.accumulate."
)
EVERY = "All points are returned: leave those out that another point dominates."
FIRST_MISSING = "The cheapest point is missing. Nothing costs less, so nothing dominates the best of the cheapest: start from -inf."
LAST_MISSING = "The last point of the set, the one with the best quality, is missing: does the loop end one step too early?"
ZERO = (
    "Points with a negative quality are lost. Qualities can be any numbers, a negative loss for example: start the best so"
    " far at -inf, not at 0."
)
BY_QUALITY = "You go through the points by rising quality, and keep each that costs more than all before. Go by rising COST."
WHERE = "The result has shape {}: np.where gives a tuple, and np.argwhere a column. Use np.flatnonzero, which gives (n,)."
INTEGERS = "Indices are integers from 0 to P - 1, here {}: your result holds {:g}."
FLOATS = (
    "The indices are right, but of a floating-point type: NumPy does not accept them as indices. Collect them in a list (an"
    " empty np.array([]) is made of floats), or end with .astype(int)."
)
KEPT = "Your result holds point {} (cost {:g}, quality {:g}), but point {} (cost {:g}, quality {:g}) {}."
LOST = "Point {} (cost {:g}, quality {:g}) is missing, and no other point dominates it."


def _drop(c: Array, q: Array, dominates: Callable) -> Array:
    """The points i that no j dominates."""
    keep = [i for i in range(len(c)) if not any(dominates(c, q, i, j) for j in range(len(c)) if j != i)]
    return np.array(keep, dtype=int)


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
        while len(kept) > 1 and (q[kept[-1]] - q[kept[-2]]) * (c[i] - c[kept[-2]]) <= (q[i] - q[kept[-2]]) * (c[kept[-1]] - c[kept[-2]]):
            kept.pop()
        kept.append(i)
    return np.array(kept)


def _neighbour(c: Array, q: Array) -> Array:
    order = _by_cost(c, q)
    return order[np.append(True, np.diff(q[order]) > 0)]


def _mask(c: Array, q: Array) -> Array:
    return np.isin(np.arange(len(c)), pareto(c, q))


def _reversed_scan(c: Array, q: Array) -> Array:
    order = np.lexsort((c, q))
    return order[c[order] > np.append(-np.inf, np.maximum.accumulate(c[order])[:-1])]


MISTAKES = [
    (MASK, _mask),
    (MASK, lambda c, q: _mask(c, q)[np.argsort(c, kind="stable")]),
    (MASK, lambda c, q: ~_mask(c, q)),
    (MASK, lambda c, q: _mask(c, q) * 1.0),
    (POSITIONS, lambda c, q: np.flatnonzero(np.isin(_by_cost(c, q), pareto(c, q)))),
    (BOTH, lambda c, q: _drop(c, q, lambda c, q, i, j: c[j] < c[i] and q[j] > q[i])),
    (EQUAL_GONE, lambda c, q: _drop(c, q, _worse)),
    (EQUAL_KEPT, lambda c, q: _drop(c, q, _really)),
    (LAST_EQUAL, lambda c, q: _drop(c, q, lambda c, q, i, j: _worse(c, q, i, j) and (_really(c, q, i, j) or j > i))),
    (SAME_QUALITY, lambda c, q: _scan(c, q, _by_cost(c, q), equal=True)),
    (SAME_QUALITY, lambda c, q: _drop(c, q, lambda c, q, i, j: c[j] <= c[i] and q[j] > q[i])),
    (SAME_COST, lambda c, q: _scan(c, q, np.argsort(c, kind="stable"))),
    (SAME_COST, lambda c, q: _drop(c, q, lambda c, q, i, j: c[j] < c[i] and q[j] >= q[i])),
    (SAME_COST, lambda c, q: _scan(c, q, np.lexsort((q, c)))),
    (VALUES, lambda c, q: c[pareto(c, q)]),
    (VALUES, lambda c, q: q[pareto(c, q)]),
    (VALUES, lambda c, q: np.array([c, q])[:, pareto(c, q)]),
    (VALUES, lambda c, q: np.array([c, q])[:, pareto(c, q)].T),
    (HULL, _hull),
    (ENDS, lambda c, q: pareto(c, q)[[0, -1]]),
    (ENDS, lambda c, q: np.array([c.argmin(), q.argmax()])),
    (BEST, lambda c, q: q.argmax()),
    (BEST, lambda c, q: q.argmax()[None]),
    (BEST, lambda c, q: c.argmin()),
    (BEST, lambda c, q: c.argmin()[None]),
    (RATIO, lambda c, q: (q / c).argmax()),
    (RATIO, lambda c, q: (q / c).argmax()[None]),
    (LOWER, lambda c, q: pareto(c, -q)),
    (DEARER, lambda c, q: pareto(-c, q)),
    (DOMINATED, lambda c, q: np.flatnonzero(~_mask(c, q))),
    (NEIGHBOUR, _neighbour),
    (EVERY, lambda c, q: np.arange(len(c))),
    (FIRST_MISSING, lambda c, q: pareto(c, q)[1:]),
    (FIRST_MISSING, lambda c, q: _scan(c, q, np.argsort(c, kind="stable"), q[c.argmin()])),
    (LAST_MISSING, lambda c, q: pareto(c, q)[:-1]),
    (ZERO, lambda c, q: _scan(c, q, _by_cost(c, q), 0)),
    (BY_QUALITY, _reversed_scan),
]
TIES = (
    np.array([3.0, 1.0, 2.0, 3.0, 2.0, 1.0, 4.0, 6.0, 3.0, 5.0]),
    np.array([0.75, 0.25, 0.5, 0.75, 0.625, 0.5, 0.75, 0.875, 0.75, 0.8125]),
)
NEGATIVE = (np.array([5.0, 4.0, 2.0, 3.0, 8.0, 1.0, 6.0]), np.array([-1.0, -1.5, -2.5, -3.0, 0.5, -3.5, -2.0]))


def inputs(seed: int, points: int) -> tuple[Array, Array]:
    """Points without ties whose quality grows with the cost, but with noise, in random order."""
    random = np.random.default_rng(seed)
    cost = random.permutation(np.arange(1, points + 1)) + random.random(points) / 2
    return cost, np.round(0.9 - 0.5 * np.exp(-cost / 4) + 0.08 * random.standard_normal(points), 4)


CASES = [inputs(822, 14), inputs(824, 17), TIES, NEGATIVE]


def _form(found: Tensor) -> Tensor:
    """A set of points in one order: a wrong set has many."""
    return found.sort().values if found.dim() == 1 and found.dtype != torch.bool else found


def _look(got: Tensor, case: tuple) -> None:
    """What a result that no known mistake gives tells by itself. Raises Mistake."""
    (cost, quality), right = case, pareto(*case)
    if got.dim() == 2 and 1 in got.shape:
        raise Mistake(WHERE.format(tuple(got.shape)))
    if got.dim() != 1:
        return
    strange = (got.double() % 1 != 0) | (got.double() < 0) | (got.double() >= len(cost))
    if strange.any():
        raise Mistake(INTEGERS.format(len(cost) - 1, got[strange][0].item()))
    mine = got.long().tolist()
    if sorted(mine) == sorted(right.tolist()):
        raise Mistake(FALLING if mine[::-1] == right.tolist() else UNSORTED)
    for i in mine:
        rivals = [j for j in right.tolist() if _worse(cost, quality, i, j)]
        if i not in right and rivals:
            j = rivals[0]
            why = "dominates it" if _really(cost, quality, i, j) else "is equal and comes first"
            raise Mistake(f"{KEPT.format(i, cost[i], quality[i], j, cost[j], quality[j], why)} {STEPS}")
    for i in right.tolist():
        if i not in mine:
            raise Mistake(f"{LOST.format(i, cost[i], quality[i])} {STEPS}")


def _check(answer: Callable, case: tuple) -> None:
    judge(answer, case, pareto, CASES, MISTAKES, STEPS, _look, _form)
    if are_floats(tried(answer, *case)):
        raise Mistake(FLOATS)


def pareto_random(answer: Callable) -> None:
    """random points without ties, in no order"""
    for case in CASES[:2]:
        _check(answer, case)


def pareto_ties(answer: Callable) -> None:
    """equal costs, equal qualities, and three equal points"""
    _check(answer, TIES)


def pareto_negative(answer: Callable) -> None:
    """negative qualities (a loss with its sign turned round): the more the better all the same"""
    _check(answer, NEGATIVE)


def pareto_small(answer: Callable) -> None:
    """a single point; one point that dominates all others; a set that all points belong to, the dearest first"""
    _check(answer, (np.array([2.0]), np.array([0.5])))
    _check(answer, (np.array([2.0, 1.0, 3.0]), np.array([0.5, 0.75, 0.625])))
    _check(answer, (np.array([4.0, 3.0, 2.0, 1.0]), np.array([0.875, 0.75, 0.5, 0.25])))
