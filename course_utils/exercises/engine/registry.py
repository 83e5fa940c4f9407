"""The exercises of the course by name: "topic.name" is EXERCISE in course_utils/exercises/topic/name.py.

The topic's package says in which order they stand in the notebook: ORDER = ("first", "second"). Its quizzes.md holds
its quizzes.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import re
from pathlib import Path

from course_utils.exercises.engine.exercise import Exercise

__all__ = ["all_exercises", "find", "load_topic", "register", "registered"]

PACKAGE = "course_utils.exercises"
_EXERCISES: dict[str, Exercise] = {}


def register(exercise: Exercise) -> Exercise:
    """Make an exercise known by its name. Raises ValueError if it has no test or a test has no description."""
    if not exercise.tests:
        raise ValueError(f"the exercise {exercise.name!r} tests nothing: give it at least one case or check")
    for check in exercise.checks:
        if not (check.__doc__ or "").strip():
            raise ValueError(
                f"the check {check.__name__!r} of {exercise.name!r} has no docstring: say in one line what it tests"
            )
    _EXERCISES[exercise.name] = exercise
    return exercise


def registered() -> dict[str, Exercise]:
    """The exercises of the topics that have been imported so far, in the order of their registration."""
    return dict(_EXERCISES)


def load_topic(topic: str) -> None:
    """Register the exercises and quizzes of a topic, in its order. Raises ModuleNotFoundError if there is no such
    topic."""
    from course_utils.exercises.engine.quizzes import register_file

    package = importlib.import_module(f"{PACKAGE}.{topic}")
    if not hasattr(package, "ORDER"):  # the engine
        return
    for name in package.ORDER:
        exercise = importlib.import_module(f"{PACKAGE}.{topic}.{name}").EXERCISE
        if exercise.name not in _EXERCISES:
            register(exercise)
    register_file(Path(package.__path__[0]) / "quizzes.md")


def all_exercises() -> dict[str, Exercise]:
    """Every exercise of the course by name: loads all topics."""
    for module in pkgutil.iter_modules(importlib.import_module(PACKAGE).__path__):
        load_topic(module.name)
    return registered()


def find(name: str) -> Exercise:
    """The exercise of that name. Raises ValueError, with the closest names, if there is none."""
    if not isinstance(name, str):
        raise ValueError(
            f'the name of an exercise is a text such as "start_here.mix", not {type(name).__name__}: '
            "write check(name, answer) in this order"
        )
    if name not in _EXERCISES and re.fullmatch(r"[a-z_]\w*\.\w+", name):
        try:  # only its own topic, so that another topic's trouble stays its own
            load_topic(name.split(".")[0])
        except ModuleNotFoundError as error:
            if error.name != f"{PACKAGE}.{name.split('.')[0]}":
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
