"""Tests of 11_self_refine: the two rates that explain three accuracies, and where they lead."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from course_utils.exercises.arrays import CLOSE, numbers, tried
from course_utils.exercises.engine.calls import Mistake, StudentError
from course_utils.exercises.engine.compare import close
from course_utils.exercises.mistakes import recognise

Array = np.ndarray


def rates(a0: float, a1: float, a2: float) -> tuple[float, float, float]:
    """(f, c, a*) of the two-rate model that goes from a0 to a1 to a2: a' = a (1 - c) + (1 - a) f, a* = f / (f + c).

    A difference of accuracies shrinks by s = 1 - f - c a round, and a1 = f + s a0. Needs a1 != a0 and s != 1.
    """
    s = (a2 - a1) / (a1 - a0)
    f = a1 - s * a0
    c = 1 - s - f
    return f, c, f / (f + c)


STEPS = (
    "Subtract the two equations: a2 - a1 = (1 - f - c)(a1 - a0), which gives f + c; and a1 = f + (1 - f - c) a0 gives f. Or solve"
    " f (1 - a) - c a = a' - a for the two rounds with np.linalg.solve."
)
SWAPPED = "f and c are swapped: the stub asks for (f, c, a*). f belongs to the WRONG answers, 1 - a, and c to the right ones, a."
ONE_ONLY = (
    "You explain each change by one rate alone, as if a round only repaired or only broke. Both happen at once, and you see only"
    " their sum: it takes two rounds to tell them apart."
)
TOGETHER = (
    "One of your numbers is f + c, or 1 - f - c, which the ratio of the two changes gives. A second equation parts them:"
    " a1 = f + (1 - f - c) a0."
)
HALVED = "f + c is right, but it is not shared equally by f and c: a1 = f + (1 - f - c) a0 gives f."
RATIO = "Your ratio is (a1 - a0) / (a2 - a1). From round to round the change is MULTIPLIED by 1 - f - c: (a2 - a1) / (a1 - a0)."
LEVELS = (
    "You take the ratio of the accuracies, a2 / a1. It is the CHANGES that shrink by 1 - f - c: (a2 - a1) / (a1 - a0)."
)
PLUS = (
    "f + c is taken for the ratio of the changes. That ratio is what REMAINS of a difference after a round, 1 - f - c."
)
SIGN = "Your c has the wrong sign: broken answers are taken away, a' - a = f (1 - a) - c a."
LEVEL_SIDE = "The right side of your equations is a', not the change: f (1 - a) - c a = a' - a."
SHIFTED = "Your equations hold the accuracy AFTER each round: a round repairs and breaks what was wrong and right BEFORE it, a0 and a1."
START = "f is computed from another accuracy than the one before the round: a1 = f + (1 - f - c) a0, or a2 = f + (1 - f - c) a1."
SUM_ONE = "You take c = 1 - f. The two rates belong to different answers and need not add up to 1."
CLIPPED = "Your rates are clipped to [0, 1]. The stub asks for the numbers as they are: a rate outside shows that the model does not fit."
ABSOLUTE = "You take the absolute value of the changes: whether they go up or down is in the sign, and so is a swing."
ROUNDED = "Your numbers are nearly right: return them as they are, without rounding."
PERCENT = "Your rates are in percent: the stub asks for shares."
COMPLEMENT = "These are the shares that are NOT repaired and not broken, 1 - f and 1 - c: asked are f and c."

OTHER_STAR = "The rates are right; your fixed point is c / (f + c), the share that stays WRONG. a* = f / (f + c)."
QUOTIENT = (
    "The rates are right; your fixed point is the quotient of the rates. a* = a*(1 - c) + (1 - a*) f gives f / (f + c)."
)
LAST_STAR = "The rates are right; the third number should be where further rounds would lead, f / (f + c), not an accuracy that was given."
NEXT = (
    "The rates are right; the third number is the accuracy of the next round. Rounds without end lead to f / (f + c)."
)
RATE_STAR = "The rates are right; the third number should be f / (f + c), not another combination of the two."
PERCENT_STAR = "The rates are right; your fixed point is in percent: a share is asked for."
ROUNDED_STAR = "The rates are right; your fixed point is rounded or clipped: return it as it is."
SIMULATED = (
    "The rates are right; you have gone some rounds towards the fixed point, and are not there yet: f / (f + c)."
)
COUNT = "Your function returns {}: the stub asks for three numbers, (f, c, a*)."
DIVIDED = (
    "Your function divides by 0 here. a1 = a2 is no harm: it says 1 - f - c = 0, so one round leads to the fixed point. Only"
    " a1 - a0 may stand below the line."
)
SINGULAR = f"Your equations do not determine the rates (they are one equation twice). {STEPS}"


def _solve(rows: list, sides: list) -> Array:
    return np.linalg.solve(np.array(rows, dtype=float), np.array(sides, dtype=float))


def _from_sum(total: Callable, first: Callable = lambda s, a, b, d: b - s * a) -> Callable:
    """(f, c) from 1 - f - c = total(a0, a1, a2) and f = first(that, a0, a1, a2)."""

    def wrong(a: float, b: float, d: float) -> Array:
        s = total(a, b, d)
        f = first(s, a, b, d)
        return np.array([f, 1 - s - f])

    return wrong


def _s(a: float, b: float, d: float) -> float:
    return (d - b) / (b - a)


def _two(a: float, b: float, d: float) -> Array:
    return np.array(rates(a, b, d)[:2])


def _alone(a: float, b: float, up: bool) -> float:
    return (b - a) / (1 - a) if up else (a - b) / a


RATES = [
    (SWAPPED, lambda a, b, d: _two(a, b, d)[[1, 0]]),
    (ONE_ONLY, lambda a, b, d: np.array([_alone(a, b, True), _alone(a, b, False)])),
    (ONE_ONLY, lambda a, b, d: np.array([_alone(a, b, True), _alone(b, d, False)])),
    (ONE_ONLY, lambda a, b, d: np.array([_alone(b, d, True), _alone(a, b, False)])),
    (ONE_ONLY, lambda a, b, d: np.array([_alone(b, d, True), _alone(b, d, False)])),
    (ONE_ONLY, lambda a, b, d: np.array([_alone(a, d, True), _alone(a, d, False)])),
    (ONE_ONLY, lambda a, b, d: np.array([max(_alone(a, b, True), 0), max(_alone(a, b, False), 0)])),
    (ONE_ONLY, lambda a, b, d: np.array([b - a, a - b])),
    (ONE_ONLY, lambda a, b, d: np.array([(d - b) / (1 - b), (a - b) / a])),
    (TOGETHER, lambda a, b, d: np.array([1 - _s(a, b, d), _s(a, b, d)])),
    (TOGETHER, lambda a, b, d: np.array([_s(a, b, d), 1 - _s(a, b, d)])),
    (HALVED, lambda a, b, d: np.full(2, (1 - _s(a, b, d)) / 2)),
    (RATIO, _from_sum(lambda a, b, d: (b - a) / (d - b))),
    (LEVELS, _from_sum(lambda a, b, d: d / b)),
    (LEVELS, _from_sum(lambda a, b, d: b / a)),
    (PLUS, _from_sum(lambda a, b, d: 1 - _s(a, b, d))),
    (PLUS, lambda a, b, d: np.array([b - _s(a, b, d) * a, _s(a, b, d) - b + _s(a, b, d) * a])),
    (SIGN, lambda a, b, d: _two(a, b, d) * [1, -1]),
    (LEVEL_SIDE, lambda a, b, d: _solve([[1 - a, -a], [1 - b, -b]], [b, d])),
    (LEVEL_SIDE, lambda a, b, d: _solve([[1 - a, a], [1 - b, b]], [b, d])),
    (SHIFTED, lambda a, b, d: _solve([[1 - b, -b], [1 - d, -d]], [b - a, d - b])),
    (START, _from_sum(_s, lambda s, a, b, d: b - s * b)),
    (START, _from_sum(_s, lambda s, a, b, d: d - s * a)),
    (START, _from_sum(_s, lambda s, a, b, d: d - s * d)),
    (START, _from_sum(_s, lambda s, a, b, d: a - s * b)),
    (START, _from_sum(_s, lambda s, a, b, d: a - s * a)),
    (SUM_ONE, lambda a, b, d: np.array([_two(a, b, d)[0], 1 - _two(a, b, d)[0]])),
    (SUM_ONE, lambda a, b, d: np.array([1 - _two(a, b, d)[1], _two(a, b, d)[1]])),
    (CLIPPED, lambda a, b, d: _two(a, b, d).clip(0, 1)),
    (ABSOLUTE, _from_sum(lambda a, b, d: abs(_s(a, b, d)))),
    (ABSOLUTE, lambda a, b, d: np.abs(_two(a, b, d))),
    *((ROUNDED, lambda a, b, d, digits=digits: _two(a, b, d).round(digits)) for digits in (3, 2, 1)),
    (PERCENT, lambda a, b, d: 100 * _two(a, b, d)),
    (COMPLEMENT, lambda a, b, d: 1 - _two(a, b, d)),
]


def _far(rounds: int) -> Callable:
    """The accuracy that many rounds after a2."""

    def wrong(a: float, b: float, d: float) -> float:
        f, c, star = rates(a, b, d)
        return star + (d - star) * (1 - f - c) ** rounds

    return wrong


def _star(of: Callable) -> Callable:
    return lambda a, b, d: of(*rates(a, b, d))


STAR = [
    (OTHER_STAR, _star(lambda f, c, star: 1 - star)),
    (QUOTIENT, _star(lambda f, c, star: f / c)),
    (QUOTIENT, _star(lambda f, c, star: c / f)),
    (LAST_STAR, lambda a, b, d: d),
    (LAST_STAR, lambda a, b, d: b),
    (LAST_STAR, lambda a, b, d: a),
    (LAST_STAR, lambda a, b, d: (a + b + d) / 3),
    (NEXT, _far(1)),
    *((SIMULATED, _far(rounds)) for rounds in (2, 3, 5, 8, 10)),
    (RATE_STAR, _star(lambda f, c, star: f / (1 - f - c))),
    (RATE_STAR, _star(lambda f, c, star: f + c)),
    (RATE_STAR, _star(lambda f, c, star: 1 - f - c)),
    (RATE_STAR, _star(lambda f, c, star: f / (f - c))),
    (RATE_STAR, _star(lambda f, c, star: f / (1 + c))),
    (RATE_STAR, _star(lambda f, c, star: f / (1 - c))),
    (RATE_STAR, _star(lambda f, c, star: f - c)),
    (PERCENT_STAR, _star(lambda f, c, star: 100 * star)),
    *((ROUNDED_STAR, _star(lambda f, c, star, digits=digits: round(star, digits))) for digits in (3, 2)),
    (ROUNDED_STAR, _star(lambda f, c, star: min(max(star, 0), 1))),
]
GPT4, GPT35, LLAMA = (
    (0.955, 0.915, 0.89),
    (0.759, 0.751, 0.747),
    (0.62, 0.435, 0.365),
)  # GSM8K, Huang et al. (2024), tables 3 and 4
RISING, SWINGING, OUTSIDE = (0.3, 0.47, 0.55), (0.758, 0.381, 0.418), (0.06, 0.16, 0.34)
CASES = [GPT4, LLAMA, RISING, SWINGING, OUTSIDE]


def _triple(answer: Callable, case: tuple) -> Tensor:
    try:
        found = numbers(tried(answer, *case)).double()
    except StudentError as wrapped:
        if isinstance(wrapped.error, ZeroDivisionError):
            raise Mistake(DIVIDED if case[1] == case[2] else SINGULAR) from None
        if isinstance(wrapped.error, np.linalg.LinAlgError):
            raise Mistake(SINGULAR) from None
        raise
    if found.numel() != 3:
        raise Mistake(
            COUNT.format(
                "one number" if found.numel() == 1 else f"{found.numel()} numbers, in the shape {tuple(found.shape)}"
            )
        )
    return found.reshape(3)


def _check(answer: Callable, case: tuple) -> None:
    got, expected = _triple(answer, case), torch.tensor(rates(*case)).double()
    for place, name in enumerate(["f", "c", "the fixed point"]):
        try:
            close(got[place].item(), expected[place].item(), what=name, **CLOSE)
        except Mistake as mistake:
            recognise(lambda *args: _triple(answer, args)[:2], CASES, RATES)
            if place == 2 and torch.allclose(got[:2], expected[:2], **CLOSE):
                recognise(lambda *args: _triple(answer, args)[2], CASES, STAR)
            if torch.allclose(got, expected, rtol=0, atol=6e-4):
                raise Mistake(ROUNDED) from None
            if case[1] == case[2] and not got.isfinite().all():
                raise Mistake(DIVIDED) from None
            raise Mistake(f"{mistake} {STEPS if place < 2 else 'a* = f / (f + c).'}") from None


def fixed_gpt4(answer: Callable) -> None:
    """GPT-4, GPT-3.5 and Llama-2 on GSM8K, after 0, 1 and 2 rounds of intrinsic self-correction"""
    for case in (GPT4, GPT35, LLAMA):
        _check(answer, case)


def fixed_rising(answer: Callable) -> None:
    """accuracies that rise"""
    _check(answer, RISING)


def fixed_swinging(answer: Callable) -> None:
    """accuracies that fall and rise again (f + c > 1); a second round that changes nothing"""
    _check(answer, SWINGING)
    _check(answer, (0.26, 0.25, 0.25))


def fixed_outside(answer: Callable) -> None:
    """accuracies that rise faster and faster: no rates from 0 to 1 do that, and the ones outside say so"""
    _check(answer, OUTSIDE)
