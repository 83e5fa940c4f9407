"""Tests of 11_self_refine: the loop of Self-Refine, who is called when and with what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from course_utils.exercises.answers import Mistake, NotAttempted, StudentError
from course_utils.exercises.self_refine_lists import equal, plain, recognise_equal
from course_utils.exercises.self_refine_loop_mistakes import (
    ALIAS,
    EVENTS,
    RESULTS,
    RETURNS,
    SPOILED,
    TWICE,
    self_refine_loop,
)
from course_utils.exercises.self_refine_loop_world import (
    CLEARED,
    NONE,
    PLAIN,
    REPEATED,
    ROUND,
    STOPPED,
    WORLDS,
    World,
    calls_of,
    trace,
)


def _check(answer: Callable, world: World) -> None:
    got, right = trace(answer, world), trace(self_refine_loop, world)
    mine, wanted = plain(got.events), plain(right.events)
    if not equal(mine, wanted):
        results = _everywhere(lambda world: calls_of(answer, world))
        if results:
            recognise_equal(results, [(world,) for world in WORLDS], EVENTS)
        if _asks_twice(mine):
            raise Mistake(TWICE)
        raise Mistake(SPOILED if world.clears else _first_difference(mine, wanted))
    if any(plain(history) != before for history, before in got.kept) and not world.clears:
        raise Mistake(ALIAS)
    if not equal(plain(got.result), plain(right.result)):
        results = _everywhere(lambda world: trace(answer, world).result)
        if results:
            recognise_equal(results, [(world,) for world in WORLDS], RESULTS)
        raise Mistake(SPOILED if world.clears else _other_result(plain(got.result), plain(right.result)))


def _everywhere(of: Callable) -> list:
    """What the answer does in all worlds, [] if it fails in one."""
    try:
        return [of(world) for world in WORLDS]
    except (StudentError, Mistake, NotAttempted):
        return []


def _asks_twice(calls: tuple) -> bool:
    """Whether there are two calls of feedback without a new answer between them."""
    names = [name for name, *_ in calls if name != "stop"]
    return ("feedback", "feedback") in zip(names, names[1:])


def _first_difference(mine: tuple, wanted: tuple) -> str:
    for number, (a, b) in enumerate(zip(mine, wanted), start=1):
        if not equal(a, b):
            return f"Call {number} of your function is {_shown(a)}, and should be {_shown(b)}. {ROUND}"
    if len(mine) < len(wanted):
        after = f"after {_shown(mine[-1])}" if mine else "before any call"
        return f"Your function ends {after}; next should be {_shown(wanted[len(mine)])}. {ROUND}"
    return f"Your function should end after {_shown(wanted[-1])}, and goes on with {_shown(mine[len(wanted)])}. {ROUND}"


def _shown(event: tuple) -> str:
    name, *values = event
    texts = [repr(list(value) if isinstance(value, tuple) else value) for value in values]
    return f"{name}({', '.join(text if len(text) <= 120 else text[:117] + '...' for text in texts)})"


def _other_result(mine: Any, wanted: tuple) -> str:
    if not isinstance(mine, tuple) or len(mine) != 2 or not all(isinstance(part, tuple) for part in mine):
        count = f", and yours are {len(mine)} values" if isinstance(mine, tuple) else f", and yours is a {type(mine).__name__}"
        return f"The calls are right. {RETURNS[:-1]}{count}."
    for part, right, name in zip(mine, wanted, ("answers", "feedbacks")):
        if not equal(part, right):
            return f"The calls are right; your list of {name} is {list(part)}, expected {list(right)}."
    raise AssertionError("the results are equal")


def loop_rounds(answer: Callable) -> None:
    """two rounds and one round, which stop does not end: each call with its arguments, the history, the result"""
    for world in PLAIN:
        _check(answer, world)


def loop_stops(answer: Callable) -> None:
    """stop ends it in the second round, at once, and in the last round"""
    for world in STOPPED:
        _check(answer, world)


def loop_none(answer: Callable) -> None:
    """max_rounds = 0: only generate is called"""
    _check(answer, NONE[0])


def loop_repeated(answer: Callable) -> None:
    """answers and feedbacks that repeat or are empty end nothing"""
    _check(answer, REPEATED[0])


def loop_cleared(answer: Callable) -> None:
    """a refine that empties the list which it is given spoils neither the next history nor the result"""
    _check(answer, CLEARED[0])
