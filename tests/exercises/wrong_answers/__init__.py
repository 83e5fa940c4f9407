"""Plausible wrong answers, one module a topic: every one must be rejected with the hint for its own misconception.

Each module holds `WRONG`, a list of WrongAnswer. The tests put `code` in place of the exercise's stub
(test_exercises.py)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WrongAnswer:
    """One wrong answer.

    exercise: the exercise's name. label: the misconception in a few words. code: defines the function (or the variable)
    that the exercise cell defines. says: what the check's output must contain."""

    exercise: str
    label: str
    code: str
    says: str


def function(signature: str, body: str, *imports: str) -> str:
    """The code of a function, led by the imports that it uses, as in a student's own cell."""
    return "\n".join([*imports, f"def {signature}:", *(f"    {line}" for line in body.strip().splitlines())]) + "\n"
