"""Self-Refine: a model criticises its answer and rewrites it; and when that can help at all (`two_rate`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np


class Refined(NamedTuple):
    """What `self_refine` did: all answers y_0 .. y_n, the feedback on each that was criticised, and whether `stop`
    ended it."""

    answers: list[Any]
    feedbacks: list[Any]
    stopped: bool

    @property
    def answer(self) -> Any:
        """The last one. Not the best: nobody here knows which that is."""
        return self.answers[-1]


def self_refine(
    x: Any,
    generate: Callable[[Any], Any],
    feedback: Callable[[Any, Any], Any],
    refine: Callable[[Any, list[tuple[Any, Any]]], Any],
    stop: Callable[[Any, int], bool],
    max_rounds: int = 4,
) -> Refined:
    """y_0 = generate(x); for t = 0, 1, ...: fb_t = feedback(x, y_t); if stop(fb_t, t): end;
    y_{t+1} = refine(x, history).

    history: [(y_0, fb_0), ..., (y_t, fb_t)], all of it, oldest first, so that a model need not repeat its old mistakes.
    After `max_rounds` rewrites it ends without another feedback; 0: only generate. What the callables raise is passed
    on.
    Raises ValueError: max_rounds < 0.
    Source: Madaan et al. (2023), "Self-Refine", algorithm 1.
    """
    if max_rounds < 0:
        raise ValueError(f"max_rounds must be at least 0, got {max_rounds}")
    answers, feedbacks = [generate(x)], []
    for t in range(max_rounds):
        feedbacks.append(feedback(x, answers[-1]))
        if stop(feedbacks[-1], t):
            return Refined(answers, feedbacks, True)
        answers.append(refine(x, list(zip(answers, feedbacks))))
    return Refined(answers, feedbacks, False)


def two_rate(a0: float | np.ndarray, fix: float | np.ndarray, breaks: float | np.ndarray, rounds: int) -> np.ndarray:
    """Accuracy after each round if every round repairs a wrong answer with probability f and breaks a right one with
    probability c.

    a_{t+1} = a_t (1 - c) + (1 - a_t) f, hence a_t = a* + (a_0 - a*) (1 - f - c)^t with a* = f / (f + c): one round
    helps if a_0 < a*. a0, fix = f and breaks = c in [0, 1], numbers or arrays of fitting shapes (...). Returns
    (..., rounds + 1), from a_0.
    Raises ValueError: a value outside [0, 1], rounds < 0.
    """
    a0, fix, breaks = _fractions(a0=a0, fix=fix, breaks=breaks)
    if rounds < 0:
        raise ValueError(f"rounds must be at least 0, got {rounds}")
    decay = (1 - fix - breaks)[..., None] ** np.arange(rounds + 1)
    total = fix + breaks
    target = np.divide(fix, total, out=np.zeros_like(total), where=total > 0)  # f = c = 0: decay is 1, nothing moves
    return a0[..., None] * decay + target[..., None] * (1 - decay)


def fixed_point(fix: float | np.ndarray, breaks: float | np.ndarray) -> np.ndarray:
    """a* = f / (f + c), the accuracy that rounds lead to from anywhere (except f = c = 1, which swings forever).

    Raises ValueError: a rate outside [0, 1]; both 0, where every accuracy stays as it is.
    """
    fix, breaks = _fractions(fix=fix, breaks=breaks)
    if ((fix + breaks) == 0).any():
        raise ValueError("with fix = breaks = 0 every accuracy stays where it is: there is no single fixed point")
    return fix / (fix + breaks)


class TwoRates(NamedTuple):
    """Fitted rates, and the largest error of the accuracies that they predict one round ahead."""

    fix: float
    breaks: float
    error: float


def fit_two_rates(accuracies: Sequence[float] | Sequence[Sequence[float]], breaks: float | None = None) -> TwoRates:
    """The rates f, c in [0, 1] that best explain accuracies by round: least squares on a_{t+1} = (1 - c) a_t + f
    (1 - a_t).

    accuracies: one trajectory [a_0, a_1, ...] or several that share the rates
    (one table row a model needs one fit a model); fractions.
    breaks: c if it is known, as 0 for an oracle that lets only wrong answers be changed; then one round is enough.
    Assumptions: f and c are the same in every round and for every item, and the published accuracies are exact. Neither
    is so: items are not equally hard (what was not repaired at first is harder to repair), and 200 items give an
    accuracy to within 2 or 3 points (one standard error). Two rounds are fitted perfectly whenever the rates come out
    inside [0, 1]: error = 0 is then no evidence.
    Raises ValueError: accuracies outside [0, 1] (percent: divide by 100); fewer rounds than unknown rates, or rounds
    that all start from one accuracy.
    """
    rows = [accuracies] if np.ndim(accuracies[0]) == 0 else accuracies
    rows = [_fractions(accuracies=row)[0] for row in rows]
    now, after = np.concatenate([row[:-1] for row in rows]), np.concatenate([row[1:] for row in rows])
    columns = np.column_stack([1 - now, -now])  # (transitions, 2): a' - a = f (1 - a) - c a
    change = after - now
    if breaks is not None:
        (known,) = _fractions(breaks=breaks)
        change, columns = change + known * now, columns[:, :1]
    if not len(now) or np.linalg.matrix_rank(columns, tol=1e-9) < columns.shape[1]:
        raise ValueError(
            "these accuracies do not determine the rates: give two rounds that start from different "
            "accuracies, or breaks="
        )
    from scipy.optimize import lsq_linear  # 0.4 s to import, and only this needs it

    rates = lsq_linear(columns, change, bounds=(0, 1), method="bvls").x
    fix, broken = float(rates[0]), float(rates[1]) if breaks is None else float(breaks)
    return TwoRates(fix, broken, float(np.abs(now * (1 - broken) + (1 - now) * fix - after).max()))


def _fractions(**values: Any) -> list[np.ndarray]:
    """Arrays of one broadcast shape, each value checked to be in [0, 1]."""
    arrays = [np.asarray(value, dtype=float) for value in values.values()]
    for name, array in zip(values, arrays):
        if not ((array >= 0) & (array <= 1)).all():
            raise ValueError(f"{name} must be in [0, 1] (percent: divide by 100), got {array.tolist()}")
    return [array.copy() for array in np.broadcast_arrays(*arrays)]
