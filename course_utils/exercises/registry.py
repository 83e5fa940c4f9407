"""The exercises of the course by name. A topic's module registers them; nobody has to import it first."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Exercise", "all_exercises", "find", "register", "registered"]


@dataclass(frozen=True)
class Exercise:
    """One exercise. `reference` is the right function (the library's, where it has one) or the right value.

    Each test takes the answer and raises Mistake("the hint for this misconception") or AssertionError; the first line
    of its docstring says what it tests. `hints` are given one per call of `hint`. `seconds` limits the whole check.
    """

    name: str
    reference: Any
    tests: Sequence[Callable[[Any], None]]
    hints: Sequence[str] = ()
    seconds: float = 5.0

    @property
    def is_function(self) -> bool:
        return callable(self.reference)

    @property
    def topic(self) -> str:
        return self.name.split(".")[0]


_EXERCISES: dict[str, Exercise] = {}


def register(exercise: Exercise) -> Exercise:
    """Make an exercise known by its name. Raises ValueError if it has no test or a test has no description."""
    if not exercise.tests:
        raise ValueError(f"the exercise {exercise.name!r} has no test: give it at least one")
    for test in exercise.tests:
        if not (test.__doc__ or "").strip():
            raise ValueError(
                f"the test {test.__name__!r} of {exercise.name!r} has no docstring: say in one line what it tests"
            )
    _EXERCISES[exercise.name] = exercise
    return exercise


def registered() -> dict[str, Exercise]:
    """The exercises of the topics that have been imported so far, in the order of their registration."""
    return dict(_EXERCISES)


def all_exercises() -> dict[str, Exercise]:
    """Every exercise of the course by name: imports all modules of this package."""
    package = importlib.import_module("course_utils.exercises")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return registered()


def find(name: str) -> Exercise:
    """The exercise of that name. Raises ValueError, with the closest names, if there is none."""
    if not isinstance(name, str):
        raise ValueError(
            f'the name of an exercise is a text such as "start_here.mix", not {type(name).__name__}: '
            "write check(name, answer) in this order"
        )
    if name not in _EXERCISES and re.fullmatch(r"[a-z_]\w*\.\w+", name):
        try:  # only the topic's own module, so that another topic's trouble stays its own
            importlib.import_module(f"course_utils.exercises.{name.split('.')[0]}")
        except ModuleNotFoundError as error:
            if error.name != f"course_utils.exercises.{name.split('.')[0]}":
                raise
    if name not in _EXERCISES:
        try:
            names = list(all_exercises())
        except Exception:  # another topic's module is broken: its names are not worth an error here
            names = list(_EXERCISES)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        near = near or [other for other in names if name.split(".")[-1] in other][:3]
        advice = (
            f"did you mean {', '.join(near)}?"
            if near
            else f"the topics are {', '.join(sorted({n.split('.')[0] for n in names}))}"
        )
        raise ValueError(f'there is no exercise "{name}": {advice}')
    return _EXERCISES[name]
