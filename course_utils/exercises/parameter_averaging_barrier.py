"""Tests of 03_parameter_averaging: how high the loss rises on the straight line between two models."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import Mistake, close
from course_utils.exercises.engine.calls import StudentError
from course_utils.merging.alignment import loss_barrier

LINE = "the straight line between the two ends, (1 - t) L(0) + t L(1)"
RAW = f"This is the highest loss itself. The barrier is how far it lies ABOVE {LINE}."
ONE_LEVEL = (
    "You subtract one and the same number from every loss: {}. The ends may be unequal, so subtract " + LINE + "."
)
MIDPOINT = (
    "You looked at the midpoint only: the barrier is the MAXIMUM over t, and an asymmetric path is highest elsewhere."
)
ABSOLUTE = (
    "You take absolute values: a loss BELOW the line is no barrier but a valley, and must not count. Without abs() the"
    " maximum is never below 0, for at t = 0 it is 0."
)
GRID = (
    "The grid of t is off by one: n points from 0 to 1 with both ends are t = i / (n - 1), torch.linspace(0, 1, n). The"
    " last loss is that at t = 1."
)
REVERSED = "The line runs the wrong way: at t = 0 it is L(0), so it is (1 - t) L(0) + t L(1)."
HIGHEST = (
    "You measured at the t where the LOSS is highest. Where the line slopes, the largest difference lies elsewhere:"
    " subtract first, then take the maximum."
)
INNER = (
    "You left out the ends: there the loss is on the line, and the difference is exactly 0. So a barrier is never below"
    " 0, also for a path that is a valley."
)


def _known(losses: Tensor) -> list[tuple[str, float]]:
    """What misconceptions compute of the losses (n,)."""
    n, (first, last), top = len(losses), (losses[0], losses[-1]), losses.max()
    t = torch.linspace(0, 1, n, dtype=torch.float64)
    above = losses - ((1 - t) * first + t * last)
    middle, places = losses[n // 2], (torch.arange(n) / n, torch.arange(1, n + 1) / n, torch.arange(1, n + 1) / (n + 1))
    mean, peak = (first + last) / 2, int(losses.argmax())
    low, high = ("lower", "higher") if first < last else ("higher", "lower")
    known = [
        (RAW, top),
        (ONE_LEVEL.format("the smallest one"), top - losses.min()),
        (ONE_LEVEL.format("the mean of the two ends"), top - mean),
        (ONE_LEVEL.format(f"the loss of the first model, the {low} of the two ends"), top - first),
        (ONE_LEVEL.format(f"the loss of the last model, the {high} of the two ends"), top - last),
        (ONE_LEVEL.format("the mean of all losses"), top - losses.mean()),
        (ABSOLUTE, above.abs().max()),
        (MIDPOINT, middle - mean),
        (MIDPOINT, above[n // 2]),
        (MIDPOINT, middle),
        (MIDPOINT, middle - max(first, last)),
        (MIDPOINT, abs(middle - mean)),
        *((GRID, (losses - ((1 - place) * first + place * last)).max()) for place in places),
        (REVERSED, (losses - (t * first + (1 - t) * last)).max()),
        (HIGHEST, above[peak]),
        (INNER, above[1:-1].max()),
        ("The sign is the wrong way round: the loss minus the line, not the line minus the loss.", (-above).max()),
        ("This is the deepest valley: take the maximum, not the minimum.", above.min()),
        ("This is the MEAN of the differences: take the maximum.", above.mean()),
        ("This is the mean of the differences: take the maximum.", above[1:-1].mean()),
        ("This is the SUM of the differences: take the maximum.", above.sum()),
        ("This is the sum of the differences above 0: take the maximum.", above.relu().sum()),
        ("This is the mean of the differences above 0: take the maximum.", above.relu().mean()),
        ("You divided by the loss of an end: the barrier is a difference of losses.", top / max(first, last)),
        ("You subtract the loss at the midpoint: subtract what the LINE has at each t.", top - middle),
        ("This is an area under the curve: take the maximum of the differences.", torch.trapezoid(above, t)),
        ("This is the t at which the barrier lies: its height is asked.", t[above.argmax()]),
        ("This is the position of the barrier in the list: its height is asked.", float(above.argmax())),
        ("This is the position of the highest loss in the list.", float(peak)),
        ("You add the line: subtract it.", (2 * losses - above).max()),
        ("Only the rising half of the line is subtracted, t L(1): (1 - t) L(0) is missing.", (losses - t * last).max()),
        ("Only (1 - t) L(0) is subtracted: t L(1) is missing.", (losses - (1 - t) * first).max()),
        ("The line is L(0) + t (L(1) - L(0)): you added t L(1) to the whole L(0).", (losses - first - t * last).max()),
        ("You divided by the loss of the ends: the barrier is a difference of losses.", above.max() / mean),
        ("You divided by the loss of the ends: the barrier is a difference of losses.", above.max() / first),
        ("You divided by the loss of the ends: the barrier is a difference of losses.", top / mean),
        ("You divided by the line: the barrier is a difference of losses.", (losses / (losses - above)).max()),
        ("This is the largest step from one loss to the next.", losses.diff().max()),
        ("This is the difference between the two ends.", abs(last - first)),
        ("This is the difference between the two ends.", last - first),
    ]
    return [(hint, float(value)) for hint, value in known]


def _check(answer: Callable, losses: Sequence[float]) -> None:
    right = loss_barrier(losses)
    got = _tried(answer, losses)
    if isinstance(got, (list, tuple)) or (isinstance(got, Tensor) and got.numel() > 1):
        raise Mistake(
            f"You return {len(got)} numbers: the barrier is ONE, the largest of the differences between losses and"
            " line."
        )
    value = float(got) if isinstance(got, (int, float, Tensor)) and not isinstance(got, bool) else None
    if value is not None and not math.isclose(value, right, abs_tol=1e-5):
        for hint, wrong in _known(torch.tensor(losses, dtype=torch.float64)):
            if math.isclose(value, wrong, abs_tol=1e-5, rel_tol=1e-5) and not math.isclose(wrong, right, abs_tol=1e-5):
                raise Mistake(f"{hint} (Yours is {value:.4g}, it should be {right:.4g}.)")
        if value < 0:
            raise Mistake(
                f"The barrier is {value:.4g}, and is never below 0: at t = 0 the loss is on the line. Expected"
                f" {right:.4g}."
            )
    if value == math.inf:
        raise Mistake("The barrier is inf: is there a division by 0? Only losses are subtracted.")
    try:
        close(got, right, atol=1e-5, what=f"the barrier of the losses {[round(loss, 2) for loss in losses]}")
    except Mistake as difference:
        t = [i / (len(losses) - 1) for i in range(len(losses))]
        above = [loss - ((1 - x) * losses[0] + x * losses[-1]) for x, loss in zip(t, losses, strict=True)]
        top = above.index(max(above))
        raise Mistake(
            f"{difference} It is at t = {t[top]:.3g}, where the loss is {losses[top]:.4g} and the line has"
            f" {losses[top] - above[top]:.4g}."
        ) from None


def _tried(answer: Callable, losses: Sequence[float]) -> Any:
    """losses come as a tensor; an answer that cannot use one gets the list, for both are right."""
    try:
        return answer(torch.tensor(losses))
    except StudentError as wrapped:
        if isinstance(wrapped.error, (TypeError, AttributeError, ValueError)):
            try:
                return answer(list(losses))
            except StudentError:
                pass
        said = str(wrapped.error).split("\n")[0]
        if isinstance(wrapped.error, RuntimeError) and "must match" in said:
            raise Mistake(
                f"The grid of t must have as many points as there are losses, torch.linspace(0, 1, len(losses))."
                f" (torch said: {said})"
            ) from None
        raise


PATH = [0.4, 0.25, 0.31, 0.6, 1.1, 1.56, 1.99, 2.03, 2.08, 1.6, 1.3]


def barrier_unequal(answer: Callable) -> None:
    """eleven losses, the second model is much worse than the first, the hump lies past the middle"""
    _check(answer, PATH)


def barrier_other_way(answer: Callable) -> None:
    """the same path from the other end; and five losses, highest near the first model"""
    _check(answer, PATH[::-1])
    _check(answer, [1.5, 2.0, 1.1, 0.9, 0.3])


def barrier_valley(answer: Callable) -> None:
    """a valley and a straight slope have no barrier: 0"""
    _check(answer, [1.0, 0.6, 0.3, 0.25, 0.3, 0.5, 0.8])
    _check(answer, [0.4, 0.5, 0.6, 0.7])


def barrier_three(answer: Callable) -> None:
    """three losses are enough; a wave with a valley deeper than its hump is high"""
    _check(answer, [0.3, 1.0, 0.5])
    _check(answer, [0.7, 0.2, 0.1, 0.4, 0.9, 0.8, 0.6])
