"""The world in which the loop of Self-Refine is tried: it writes down each call."""

from __future__ import annotations

from typing import Any

from course_utils.exercises.engine import ANYTHING, Mistake, alike, case
from course_utils.exercises.engine.exercise import Case

ROUND = "A round is: feedback on the newest answer, stop, refine with all pairs so far; max_rounds rewrites at most."


class World:
    """Four functions that write down how they are called; stop says yes to "Done.". clears: refine empties its list."""

    def __init__(self, answers: str, feedbacks: str, clears: bool = False) -> None:
        self.texts = {"answer": answers.split("|"), "feedback": feedbacks.split("|")}
        self.x, self.calls, self.kept, self.clears = None, [], [], clears

    def _record(self, name: str, *given: Any) -> None:
        if len(self.calls) == 60:
            raise Mistake(f"Your loop has made 60 calls and goes on. {ROUND}")
        self.calls.append((name, *("x" if alike(value, self.x) else _plain(value) for value in given)))

    def _next(self, kind: str, *names: str) -> str:
        number, texts = sum(name in names for name, *_ in self.calls), self.texts[kind]
        return texts[number - 1] if number <= len(texts) else f"{kind} {number}"

    def generate(self, x: Any) -> str:
        if isinstance(x, list) and x is not self.x:  # a new run: each gets a copy of the task
            self.x, self.calls, self.kept = x, [], []
        self._record("generate", x)
        return self._next("answer", "generate", "refine")

    def feedback(self, x: Any, y: Any) -> str:
        self._record("feedback", x, y)
        return self._next("feedback", "feedback")

    def stop(self, fb: Any, t: Any) -> bool:
        self._record("stop", fb, t)
        return alike(fb, "Done.")

    def refine(self, x: Any, history: Any) -> str:
        if alike(history, self.x):
            raise Mistake("refine gets its arguments in the other order.", "refine(x, history), first the task.")
        if not isinstance(history, (list, tuple)):
            raise Mistake(
                f"The history that refine gets is a {type(history).__name__}.", "Make a list of it: list(...)."
            )
        self._record("refine", x, history)
        self.kept.append((history, _plain(history)))
        if self.clears and isinstance(history, list):
            history.clear()
        return self._next("answer", "generate", "refine")

    def case(self, says: str, max_rounds: int) -> Case:
        four = self.generate, self.feedback, self.refine, self.stop
        return case(says, ["3", "1", "2"], *four, max_rounds, view=self._seen, names=not self.clears)

    def _seen(self, result: Any, *args: Any) -> dict:
        changed = not self.clears and any(_plain(history) != before for history, before in self.kept)
        self.x = None
        return {"calls": self.calls, "changed": ANYTHING if result is ANYTHING else changed, "result": result}


def _plain(value: Any) -> Any:
    """Lists and tuples as tuples, copied."""
    return tuple(map(_plain, value)) if isinstance(value, (list, tuple)) else value
