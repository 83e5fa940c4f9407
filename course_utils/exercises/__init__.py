"""`check`, `hint`, `solution`, `progress` for the exercises, `quiz` for the questions; `join` and `leave` for the board
of a lecture.

>>> from course_utils.exercises import check, hint, solution, progress, quiz, join, leave

engine/ does the work. Each notebook has a folder here, and in it one file an exercise.
"""

from course_utils.classroom.board.client import join, leave
from course_utils.exercises.engine import check, hint, progress, quiz, solution

__all__ = ["check", "hint", "join", "leave", "progress", "quiz", "solution"]
