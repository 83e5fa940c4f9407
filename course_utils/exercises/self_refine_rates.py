"""Tests of 11_self_refine: the two-rate model of refinement, forwards."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from course_utils.exercises.arrays import judge
from course_utils.exercises.engine.calls import Mistake, StudentError

Array = np.ndarray


def two_rate(a0: float, f: float, c: float, rounds: int) -> list[float]:
    """[a_0, ..., a_rounds] with a_{t+1} = a_t (1 - c) + (1 - a_t) f: rounds + 1 accuracies.

    f: a round repairs a wrong answer; c: it breaks a right one. All from 0 to 1.
    """
    accuracies = [a0]
    for _ in range(rounds):
        a = accuracies[-1]
        accuracies.append(a * (1 - c) + (1 - a) * f)
    return accuracies


STEPS = "a' = a (1 - c) + (1 - a) f: what was right and stays so, and what was wrong and is repaired. Begin with a0."
DIFFERENCE = (
    "You compute a + f - c. The rates are shares of different answers: only the wrong ones, 1 - a, can be repaired, and only the"
    " right ones, a, can be broken."
)
SWAPPED = (
    "f and c are swapped in your result: f repairs wrong answers (times 1 - a), and c breaks right ones (times a). The fixed point is"
    " f / (f + c)."
)
CROSSED = "f is applied to the right answers and c to the wrong ones: f repairs what is WRONG, (1 - a) f, and c breaks what is RIGHT, a c."
NO_BREAKS = "Nothing is ever broken in your result: of the right answers only a (1 - c) stay right. With c = 0 you have an oracle."
NO_FIXES = "Nothing is ever repaired in your result: (1 - a) f of the answers become right."
FIX_ALL = "f is added in full. Only wrong answers can be repaired: (1 - a) f."
BREAK_ALL = "c is subtracted in full. Only right answers can be broken: a c."
KEEPS_ALL = "The right answers that are broken are not taken away properly: a (1 - c) of them stay right."
FROM_START = "You take the shares from a0 in every round: what can be repaired or broken in round t depends on the accuracy a_t by then."
FIX_FIRST = (
    "You repair first and then break, also what was just repaired. Both happen to the answers as they were before the round:"
    " a (1 - c) + (1 - a) f."
)
BREAK_FIRST = (
    "You break first and then repair, also what was just broken. Both happen to the answers as they were before the round:"
    " a (1 - c) + (1 - a) f."
)
DECAY = "The distance from the fixed point a* = f / (f + c) shrinks by the factor 1 - f - c a round: a* + (a0 - a*) (1 - f - c)^t."
NO_TARGET = "a0 falls to 0 in your result: it is the DISTANCE from the fixed point f / (f + c) that shrinks by 1 - f - c a round."
JUMP = "Your accuracies are at the fixed point after one round: they come nearer to it round by round, by the factor 1 - f - c."
NO_START = "a0 is missing: the list begins with the accuracy before the first round, and has rounds + 1 numbers."
SHORT = "The last accuracy is missing: `rounds` rounds after a0 make rounds + 1 numbers."
LONG = "There is one accuracy too many: `rounds` rounds after a0 make rounds + 1 numbers, so the step is made `rounds` times."
DOUBLE_START = "a0 comes twice: each further number is that of one more round."
LAST = "Your result is the last accuracy alone: asked are all of them, from a0 on."
ERRORS = "These are error rates, 1 - a: asked are accuracies."
PERCENT = "Your result is in percent: the stub asks for numbers from 0 to 1."
CHANGES = "These are the changes from round to round: asked are the accuracies themselves."
ONLY_UP = "Your accuracy never falls. A round that breaks more than it repairs makes it worse, and nobody sees that and takes it back."
ONLY_DOWN = "Your accuracy never rises: a round that repairs more than it breaks makes it better."
CONSTANT = "Your accuracy stays at a0: each round starts from the accuracy that the one before has left, and appends the new one."
REVERSED = "Your list ends with a0: it begins with it, and the last round comes last."
ROUNDED = "Your accuracies are nearly right: return them as they are, without rounding."
WHOLE = (
    "Your accuracies are cut to whole numbers: an array for them needs a floating-point type (np.zeros, not dtype=int)."
)
DIVIDED = (
    "With f = c = 0 your function divides by f + c = 0. Nothing is repaired and nothing broken, so all accuracies are a0. Step by"
    " step no division is needed."
)
LENGTH = "Your result has shape {}, and rounds = {} asks for {} numbers in one list, a0 first."


def _steps(step: Callable, a0: float, rounds: int) -> Array:
    """a0 and what `step` makes of it, again and again."""
    found = [a0]
    for _ in range(rounds):
        found.append(step(found[-1]))
    return np.array(found, dtype=float)


def _closed(a0: float, f: float, c: float, n: int, decay: float, target: float) -> Array:
    return target + (a0 - target) * decay ** np.arange(n + 1)


def _star(f: float, c: float) -> float:
    return f / (f + c) if f + c else 0.5


def _right(a: float, f: float, c: float, n: int) -> Array:
    return np.array(two_rate(a, f, c, n), dtype=float)


def _fix_first(a: float, f: float, c: float) -> float:
    return (a + (1 - a) * f) * (1 - c)


def _break_first(a: float, f: float, c: float) -> float:
    return a * (1 - c) + (1 - a * (1 - c)) * f


MISTAKES = [
    (DIFFERENCE, lambda a, f, c, n: _steps(lambda b: b + f - c, a, n)),
    (DIFFERENCE, lambda a, f, c, n: np.clip(_steps(lambda b: b + f - c, a, n), 0, 1)),
    (DIFFERENCE, lambda a, f, c, n: _steps(lambda b: min(max(b + f - c, 0), 1), a, n)),
    (SWAPPED, lambda a, f, c, n: _right(a, c, f, n)),
    (CROSSED, lambda a, f, c, n: _steps(lambda b: b + b * f - (1 - b) * c, a, n)),
    (CROSSED, lambda a, f, c, n: _steps(lambda b: (1 - b) * (1 - c) + b * f, a, n)),
    (NO_BREAKS, lambda a, f, c, n: _steps(lambda b: b + (1 - b) * f, a, n)),
    (NO_FIXES, lambda a, f, c, n: _steps(lambda b: b * (1 - c), a, n)),
    (FIX_ALL, lambda a, f, c, n: _steps(lambda b: b * (1 - c) + f, a, n)),
    (BREAK_ALL, lambda a, f, c, n: _steps(lambda b: b - c + (1 - b) * f, a, n)),
    (KEEPS_ALL, lambda a, f, c, n: _steps(lambda b: b * c + (1 - b) * f, a, n)),
    (KEEPS_ALL, lambda a, f, c, n: _steps(lambda b: b + (1 - b) * f + b * c, a, n)),
    (KEEPS_ALL, lambda a, f, c, n: _steps(lambda b: b + (1 - b) * f * (1 - c), a, n)),
    (KEEPS_ALL, lambda a, f, c, n: _steps(lambda b: b + (1 - b) * (f - c), a, n)),
    (KEEPS_ALL, lambda a, f, c, n: _steps(lambda b: b + b * (f - c), a, n)),
    (FROM_START, lambda a, f, c, n: _steps(lambda b: b - a * c + (1 - a) * f, a, n)),
    (FROM_START, lambda a, f, c, n: _steps(lambda b: b * (1 - c) + (1 - a) * f, a, n)),
    (FROM_START, lambda a, f, c, n: _steps(lambda b: a * (1 - c) + (1 - b) * f, a, n)),
    (FROM_START, lambda a, f, c, n: _steps(lambda b: a * (1 - c) + (1 - a) * f, a, n)),
    (FIX_FIRST, lambda a, f, c, n: _steps(lambda b: _fix_first(b, f, c), a, n)),
    (BREAK_FIRST, lambda a, f, c, n: _steps(lambda b: _break_first(b, f, c), a, n)),
    (DECAY, lambda a, f, c, n: _closed(a, f, c, n, f + c, _star(f, c))),
    (DECAY, lambda a, f, c, n: _closed(a, f, c, n, 1 - f, _star(f, c))),
    (DECAY, lambda a, f, c, n: _closed(a, f, c, n, 1 - c, _star(f, c))),
    (DECAY, lambda a, f, c, n: _closed(a, f, c, n, (1 - f) * (1 - c), _star(f, c))),
    (DECAY, lambda a, f, c, n: _closed(a, f, c, n, 1 - f + c, _star(f, c))),
    (NO_TARGET, lambda a, f, c, n: _closed(a, f, c, n, 1 - f - c, 0)),
    (JUMP, lambda a, f, c, n: np.append(a, np.full(n, _star(f, c)))),
    (NO_START, lambda a, f, c, n: _right(a, f, c, n)[1:]),
    (NO_START, lambda a, f, c, n: _right(a, f, c, n + 1)[1:]),
    (SHORT, lambda a, f, c, n: _right(a, f, c, n)[:-1]),
    (LONG, lambda a, f, c, n: _right(a, f, c, n + 1)),
    (DOUBLE_START, lambda a, f, c, n: np.append(a, _right(a, f, c, n)[:n])),
    (DOUBLE_START, lambda a, f, c, n: np.append(a, _right(a, f, c, n))),
    (LAST, lambda a, f, c, n: _right(a, f, c, n)[-1]),
    (LAST, lambda a, f, c, n: _right(a, f, c, n)[-1:]),
    (ERRORS, lambda a, f, c, n: 1 - _right(a, f, c, n)),
    (PERCENT, lambda a, f, c, n: 100 * _right(a, f, c, n)),
    (CHANGES, lambda a, f, c, n: np.diff(_right(a, f, c, n))),
    (CHANGES, lambda a, f, c, n: np.append(a, np.diff(_right(a, f, c, n)))),
    (ONLY_UP, lambda a, f, c, n: np.maximum.accumulate(_right(a, f, c, n))),
    (ONLY_DOWN, lambda a, f, c, n: np.minimum.accumulate(_right(a, f, c, n))),
    (CONSTANT, lambda a, f, c, n: np.full(n + 1, a)),
    (REVERSED, lambda a, f, c, n: _right(a, f, c, n)[::-1]),
    *((ROUNDED, lambda a, f, c, n, digits=digits: _right(a, f, c, n).round(digits)) for digits in (3, 2, 1)),
    *(
        (ROUNDED, lambda a, f, c, n, digits=digits: _steps(lambda b: round(b * (1 - c) + (1 - b) * f, digits), a, n))
        for digits in (3, 2)
    ),
    (WHOLE, lambda a, f, c, n: np.floor(_right(a, f, c, n))),
    (WHOLE, lambda a, f, c, n: np.append(a, np.zeros(n))),
    (WHOLE, lambda a, f, c, n: _steps(lambda b: np.floor(b * (1 - c) + (1 - b) * f), np.floor(a), n)),
]
RISES, FALLS = (0.3125, 0.40625, 0.1, 3), (0.955, 0.32, 0.057, 4)
CASES = [RISES, FALLS, (0.8, 0.15, 0.3, 5), (0.45, 0.9, 0.7, 3)]


def _look(got: Tensor, case: tuple) -> None:
    rounds = case[-1]
    if tuple(got.shape) != (rounds + 1,):
        raise Mistake(LENGTH.format(tuple(got.shape), rounds, rounds + 1))
    if torch.allclose(got.double(), torch.tensor(two_rate(*case)).double(), rtol=0, atol=6e-4):
        raise Mistake(ROUNDED)


def _check(answer: Callable, case: tuple) -> None:
    try:
        judge(answer, case, two_rate, CASES, MISTAKES, STEPS, _look)
    except StudentError as wrapped:
        if isinstance(wrapped.error, ZeroDivisionError) and case[1] == case[2] == 0:
            raise Mistake(DIVIDED) from None
        raise
    except Mistake as mistake:
        if "nan" in str(mistake) and case[1] == case[2] == 0:
            raise Mistake(DIVIDED) from None
        raise


def rates_rise(answer: Callable) -> None:
    """a weak start: repairs outweigh what is broken, and the accuracy rises"""
    _check(answer, RISES)


def rates_fall(answer: Callable) -> None:
    """GPT-4's start and rates: so much is right already that a small c costs more than f brings"""
    for case in CASES[1:3]:
        _check(answer, case)


def rates_swing(answer: Callable) -> None:
    """f + c > 1: the accuracy jumps over its fixed point and back; with f = c = 1 all answers change sides in each round"""
    _check(answer, CASES[3])
    _check(answer, (0.25, 1.0, 1.0, 4))


def rates_ends(answer: Callable) -> None:
    """no round at all; f = c = 0, where nothing moves; c = 0, an oracle; everything wrong, everything right at the start"""
    for case in [(0.6, 0.2, 0.1, 0), (0.7, 0.0, 0.0, 3), (0.5, 0.25, 0.0, 4), (0.0, 0.3, 0.6, 2), (1.0, 0.3, 0.6, 2)]:
        _check(answer, case)
