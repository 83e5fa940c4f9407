"""`check`, `hint`, `solution`, `progress` for the exercises, and `quiz` for the questions.

>>> from course_utils.exercises import check, hint, solution, progress, quiz

engine/ does the work. Each notebook has a folder here, and in it one file an exercise.
"""

from course_utils.exercises.engine import check, hint, progress, quiz, solution

__all__ = ["check", "hint", "progress", "quiz", "solution"]
