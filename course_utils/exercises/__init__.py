"""`check`, `hint`, `solution`, `progress` for the exercises, and `quiz` for the questions.

>>> from course_utils.exercises import check, hint, solution, progress, quiz
"""

from course_utils.exercises.engine import check, hint, progress, solution
from course_utils.exercises.quizzes import quiz

__all__ = ["check", "hint", "progress", "quiz", "solution"]
