"""The engine of the exercises: how an answer is called, compared and explained. An author needs exercise.py."""

from course_utils.exercises.engine.calls import Mistake, NotAttempted, StudentError
from course_utils.exercises.engine.checker import (
    OPEN,
    PASSED,
    WRONG,
    Report,
    check,
    hint,
    progress,
    run_check,
    solution,
)
from course_utils.exercises.engine.compare import ANYTHING, alike, close, numbers
from course_utils.exercises.engine.exercise import (
    Exercise,
    anywhere,
    case,
    draw,
    gradient_for,
    in_integers,
    long_input,
    mistake,
    one_row,
    with_zeros,
)
from course_utils.exercises.engine.quizzes import quiz
from course_utils.exercises.engine.registry import all_exercises, find, register

__all__ = [
    "ANYTHING",
    "OPEN",
    "PASSED",
    "WRONG",
    "Exercise",
    "Mistake",
    "NotAttempted",
    "Report",
    "StudentError",
    "alike",
    "anywhere",
    "all_exercises",
    "case",
    "check",
    "close",
    "draw",
    "find",
    "gradient_for",
    "hint",
    "in_integers",
    "long_input",
    "mistake",
    "numbers",
    "one_row",
    "progress",
    "quiz",
    "register",
    "run_check",
    "solution",
    "with_zeros",
]
