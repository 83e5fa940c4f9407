"""The worlds in which the loop of Self-Refine is tested: four functions that write down how they are called."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from course_utils.exercises.engine.calls import Mistake
from course_utils.exercises.self_refine_lists import equal, plain

ROUND = "A round is: fb = feedback(x, the newest answer); if stop(fb, t): end; refine(x, all pairs (y, fb) so far)."
ENDLESS = f"Your loop has made 60 calls and goes on: at most max_rounds rewrites. {ROUND}"
KIND = "The history that refine gets is a {}: make a list of it, as in list(zip(answers, feedbacks))."
CALLS = {
    "generate": "generate takes the task alone: generate(x).",
    "feedback": "feedback takes the task and the newest answer: feedback(x, y).",
    "refine": "refine takes two arguments, the task and the history, one list of pairs: refine(x, [(y_0, fb_0), ..., (y_t, fb_t)]).",
    "stop": "stop takes the feedback and the number of the round: stop(fb, t), t = 0, 1, ...",
}


class World(NamedTuple):
    """What the four functions say, one after the other; stop says yes to `done`."""

    x: str
    answers: list[str]
    feedbacks: list[str]
    max_rounds: int
    done: str = "It is correct."
    clears: bool = False  # refine empties the list that it gets


class Trace(NamedTuple):
    events: list[tuple]
    result: Any
    kept: list[tuple]  # (the history as refine got it, what it was at that time)


def trace(answer: Callable, world: World) -> Trace:
    """Run `answer` in this world. Raises Mistake for calls that do not fit and for a loop without end."""
    events, kept = [], []

    def generate(x):
        return _said(world.answers, events, ("generate", "refine"))

    def feedback(x, y):
        return _said(world.feedbacks, events, ("feedback",))

    def stop(fb, t):
        return equal(plain(fb), world.done)

    def refine(x, history):
        if not isinstance(history, (list, tuple)):
            raise Mistake(KIND.format(type(history).__name__))
        kept.append((history, plain(history)))
        if world.clears and isinstance(history, list):
            history.clear()
        return _said(world.answers, events, ("generate", "refine"))

    four = [_recorded(function, events) for function in (generate, feedback, refine, stop)]
    result = answer(world.x, *four, world.max_rounds)
    return Trace(events, result, kept)


def _said(texts: list[str], events: list[tuple], names: tuple) -> str:
    number = sum(event[0] in names for event in events) - 1
    return texts[number] if number < len(texts) else f"text {number}"


def _recorded(function: Callable, events: list[tuple]) -> Callable:
    name, signature = function.__name__, inspect.signature(function)

    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            values = signature.bind(*args, **kwargs).args
        except TypeError as error:
            raise Mistake(f"{CALLS[name]} (Python said: {error})") from None
        if len(events) >= 60:
            raise Mistake(ENDLESS)
        events.append((name, *plain(values)))
        return function(*values)

    return called


PLAIN = [
    World("sort: 3 1 2", ["3 1 2", "1 3 2", "1 2 3"], ["3 is too early", "3 and 2 are out of order"], 2),
    World("sort: 9 8", ["9 8", "8 9"], ["turn it round"], 1),
]
STOPPED = [
    World("sort: 5 4 6", ["5 4 6", "4 5 6"], ["5 is too early", "It is correct."], 4),
    World("sort: 1 2", ["1 2"], ["Nothing to do."], 3, "Nothing to do."),
    World("sort: 7 6 5", ["7 6 5", "6 7 5", "5 6 7"], ["7 is too early", "5 is too late", "It is correct."], 3),
]
NONE = [World("sort: 2 1", ["2 1"], [], 0)]
REPEATED = [World("say nothing", ["", "b", "b", "", "c"], ["", "shorter", "shorter", ""], 4)]
CLEARED = [
    World(
        "sort: 4 2 3 1",
        ["4 2 3 1", "2 4 3 1", "2 3 4 1", "1 2 3 4"],
        ["4 first?", "4 again", "1 is last"],
        3,
        clears=True,
    )
]
WORLDS = [*PLAIN, *STOPPED, *NONE, *REPEATED]


def calls_of(answer: Callable, world: World) -> tuple:
    """All calls with their arguments, in order."""
    return plain(trace(answer, world).events)
