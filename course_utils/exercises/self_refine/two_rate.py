"""The two-rate model of refinement, forwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from course_utils.exercises.engine import Exercise, anywhere, case, numbers

Array = np.ndarray


def two_rate(a0: float, f: float, c: float, rounds: int) -> Array:
    """[a_0, ..., a_rounds] with a_{t+1} = a_t (1 - c) + (1 - a_t) f: rounds + 1 accuracies.

    f: a round repairs a wrong answer; c: it breaks a right one. All from 0 to 1.
    """
    accuracies = [a0]
    for _ in range(rounds):
        a = accuracies[-1]
        accuracies.append(a * (1 - c) + (1 - a) * f)
    return np.array(accuracies)


def _step(step: Callable) -> Callable:
    """step(a, f, c, a0) is the next accuracy."""

    def wrong(a0: float, f: float, c: float, n: int) -> Array:
        found = [a0]
        for _ in range(n):
            found.append(step(found[-1], f, c, a0))
        return np.array(found, dtype=float)

    return wrong


def _closed(decay: Callable, target: Callable = lambda f, c: f / (f + c)) -> Callable:
    """The distance from target(f, c) is multiplied by decay(f, c) in each round."""
    return lambda a, f, c, n: target(f, c) + (a - target(f, c)) * decay(f, c) ** np.arange(n + 1)


def _then(form: Callable, more: int = 0) -> Callable:
    """A mistake in what is made of the right accuracies."""
    return lambda a, f, c, n: form(two_rate(a, f, c, n + more))


def _explain(got: Any, expected: Array, a0: float, f: float, c: float, rounds: int) -> str:
    found = numbers(got, "your result").double()
    if tuple(found.shape) != expected.shape:
        return (
            f"Your result has shape {tuple(found.shape)}, and rounds = {rounds} asks for {rounds + 1} numbers in one "
            "list, a0 first."
        )
    if found.isnan().any() and f == c == 0:
        return NO_DIVISION
    off = np.abs(np.subtract(found, expected)).max()
    return ROUNDED if off < 6e-4 else NEAR if off < 0.02 else ""


NEAR = "Your accuracies are near, and not exact.\nReturn the expected ones: nothing has to be drawn at random."
ROUNDED = "Your accuracies are nearly right: return them as they are, without rounding."
NO_DIVISION = "With f = c = 0 your function divides by f + c = 0. Nothing changes then: all accuracies are a0."
BOTH = "Both happen to the answers as they were before the round: a are right and 1 - a wrong."
EXERCISE = Exercise(
    "self_refine.two_rate",
    reference=two_rate,
    what="your result",
    atol=1e-5,
    rtol=1e-5,
    right="Add what was right and stays so, and what was wrong and is repaired.",
    explain=_explain,
    errors={"ZeroDivisionError": NO_DIVISION + " Step by step no division is needed."},
    cases=[
        case("a weak start: repairs outweigh what is broken, and the accuracy rises", 0.3125, 0.40625, 0.1, 3),
        case("GPT-4's: so much is right that a small c costs more than f brings", 0.955, 0.32, 0.057, 4),
        case("c > f: the accuracy falls", 0.8, 0.15, 0.3, 5),
        case("f + c > 1: the accuracy jumps over its fixed point and back", 0.45, 0.9, 0.7, 3),
        case("f = c = 1: all answers change sides in each round", 0.25, 1.0, 1.0, 4),
        case("no round at all", 0.6, 0.2, 0.1, 0, names=False),
        case("f = c = 0: nothing moves", 0.7, 0.0, 0.0, 3),
        case("c = 0, an oracle", 0.5, 0.25, 0.0, 4),
        case("everything is wrong at the start", 0.0, 0.3, 0.6, 2),
        case("everything is right at the start, a0 = 1 as an integer", 1, 0.3, 0.6, 2),
    ],
    mistakes={
        "Yours is a + f - c.\n"
        "The rates are shares of different answers: f of the wrong ones, 1 - a, and c of the right ones, a.": [
            _step(lambda a, f, c, a0: a + f - c),
            _step(lambda a, f, c, a0: min(max(a + f - c, 0), 1)),
        ],
        "f and c are swapped in your result.\nf repairs wrong answers (times 1 - a), c breaks right ones (times a).": (
            lambda a, f, c, n: two_rate(a, c, f, n)
        ),
        "f is applied to the right answers and c to the wrong ones.\n"
        "f repairs what is wrong, and c breaks what is right.": [
            _step(lambda a, f, c, a0: a + a * f - (1 - a) * c),
            _step(lambda a, f, c, a0: (1 - a) * (1 - c) + a * f),
        ],
        "Nothing is ever broken in your result.\nOf the right answers only a (1 - c) stay right.": _step(
            lambda a, f, c, a0: a + (1 - a) * f
        ),
        "Nothing is ever repaired in your result.\n(1 - a) f of the answers become right.": _step(
            lambda a, f, c, a0: a * (1 - c)
        ),
        "f is added in full.\nOnly wrong answers can be repaired: (1 - a) f.": [
            _step(lambda a, f, c, a0: a * (1 - c) + f),
            _step(lambda a, f, c, a0: min(a * (1 - c) + f, 1)),
        ],
        "c is subtracted in full.\nOnly right answers can be broken: a c.": _step(
            lambda a, f, c, a0: a - c + (1 - a) * f
        ),
        "The right answers that are broken are not taken away properly.\na (1 - c) of them stay right.": [
            _step(lambda a, f, c, a0: a * c + (1 - a) * f),
            _step(lambda a, f, c, a0: a + (1 - a) * f * (1 - c)),
            _step(lambda a, f, c, a0: a + (1 - a) * (f - c)),
        ],
        "The shares are those of a0 in every round.\nWhat can be repaired or broken in round t depends on a_t.": [
            _step(lambda a, f, c, a0: a - a0 * c + (1 - a0) * f),
            _step(lambda a, f, c, a0: a * (1 - c) + (1 - a0) * f),
            _step(lambda a, f, c, a0: a0 * (1 - c) + (1 - a0) * f),
        ],
        "An answer that was repaired is never broken in your result, nor a broken one repaired.\n"
        "Each round starts from what is right by then.": lambda a, f, c, n: (
            a * (1 - c) ** np.arange(n + 1) + (1 - a) * (1 - (1 - f) ** np.arange(n + 1))
        ),
        f"What was just repaired can be broken in the same round.\n{BOTH}": _step(
            lambda a, f, c, a0: (a + (1 - a) * f) * (1 - c)
        ),
        f"What was just broken can be repaired in the same round.\n{BOTH}": _step(
            lambda a, f, c, a0: a * (1 - c) + (1 - a * (1 - c)) * f
        ),
        "The distance from the fixed point f / (f + c) does not shrink as it should.\n"
        "It shrinks by the factor 1 - f - c a round.": [
            *[_closed(lambda f, c: f + c), _closed(lambda f, c: 1 - f), _closed(lambda f, c: 1 - c)],
            *[_closed(lambda f, c: (1 - f) * (1 - c)), _closed(lambda f, c: 1 - f + c)],
        ],
        "a0 falls to 0 in your result.\nWhat shrinks by 1 - f - c is the distance from the fixed point f / (f + c).": (
            _closed(lambda f, c: 1 - f - c, lambda f, c: 0)
        ),
        "Your accuracies are at the fixed point after one round.\nThey come nearer by the factor 1 - f - c a round.": (
            lambda a, f, c, n: np.append(a, np.full(n, f / (f + c)))
        ),
        "a0 is missing.\nThe list begins with the accuracy before the first round, and has rounds + 1 numbers.": [
            _then(lambda a: a[1:]),
            _then(lambda a: a[1:], 1),
        ],
        "The last accuracy is missing, or there is one too many.\n`rounds` rounds after a0 make rounds + 1 numbers.": [
            *[_then(lambda a: a[:-1]), _then(lambda a: a, 1)],
        ],
        "a0 comes twice.\nEach further number is that of one more round.": [
            *[_then(lambda a: np.append(a[0], a[:-1])), _then(lambda a: np.append(a[0], a))],
        ],
        "Your result is the last accuracy alone.\nReturn all of them, from a0 on.": [
            _then(lambda a: a[-1]),
            _then(lambda a: a[-1:]),
        ],
        "These are error rates, 1 - a.\nReturn accuracies.": _then(lambda a: 1 - a),
        "Your result is in percent.\nThe stub asks for numbers from 0 to 1.": _then(lambda a: 100 * a),
        "These are the changes from round to round.\nReturn the accuracies themselves.": [
            _then(np.diff),
            _then(lambda a: np.append(a[0], np.diff(a))),
        ],
        "Your accuracy never falls.\n"
        "A round that breaks more than it repairs makes it worse, and nobody sees that and takes it back.": _then(
            np.maximum.accumulate
        ),
        "Your accuracy stays at a0.\nEach round starts from the accuracy that the one before has left.": _step(
            lambda a, f, c, a0: a
        ),
        "Your list ends with a0.\nIt begins with it, and the last round comes last.": _then(lambda a: a[::-1]),
        ROUNDED: [_then(lambda a, d=d: a.round(d)) for d in (3, 2)],
        "Your accuracies are cut to whole numbers.\nAn array for them needs a floating-point type.": [
            anywhere(_then(np.floor)),
            lambda a, f, c, n: _step(lambda b, f, c, a0: np.floor(b * (1 - c) + (1 - b) * f))(np.floor(a), f, c, n),
        ],
    },
    hints=[
        "Of 100 answers a * 100 are right before a round. How many of these are still right after it, and how many "
        "others are new?",
        "a (1 - c) stay right, and (1 - a) f of the wrong ones become right. Each round starts from what the last one "
        "has left.",
        "accuracies = [a0]; rounds times: a = accuracies[-1]; accuracies.append(a * (1 - c) + (1 - a) * f)",
    ],
)
