"""What the checks of 04_task_vectors_and_merging share: calling an answer, its shape, a wrong result by its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from course_utils.exercises.diagnose import attempt
from course_utils.exercises.engine import Mistake, close
from course_utils.exercises.engine.calls import StudentError
from course_utils.exercises.mistakes import draw, near

Known = list[tuple[str, Tensor]]  # (hint, what this misconception computes)
Complaints = Sequence[tuple[str, str]]  # (what Python or torch says, what to do)


def tried(answer: Callable, *args: Any, clash: str, complaints: Complaints = ()) -> Any:
    """answer(*args); an error that matches one of the `complaints`, or shapes that clash, as a Mistake."""

    def named(*args: Any) -> Any:
        try:
            return answer(*args)
        except StudentError as wrapped:
            said = f"{type(wrapped.error).__name__}: {str(wrapped.error).split(chr(10))[0]}"
            for pattern, hint in complaints:
                if re.search(pattern, said):
                    raise Mistake(f"{hint} (Python said: {said})") from None
            raise

    return attempt(named, *args, clash=clash)


def shaped(got: Any, expected: Tensor, told: Mapping[tuple[int, ...], str], clash: str, what: str) -> Tensor:
    """`got` as float64, if it is a tensor of numbers in the expected shape. Raises Mistake: `told` by its shape."""
    if isinstance(got, Tensor) and got.shape != expected.shape:
        said = f" (Yours has shape {tuple(got.shape)}, it should be {tuple(expected.shape)}.)"
        raise Mistake(told.get(tuple(got.shape), clash) + said)
    if not isinstance(got, Tensor) or got.is_complex():
        close(got, expected, what=what)
    return got.detach().double()


def named(results: Sequence[Tensor], rights: Sequence[Tensor], known: Sequence[Known]) -> str:
    """The hint of the first misconception that gives all of `results`, one for each input; "" if there is none."""
    for by_input in zip(*known, strict=True):
        wrongs = [wrong for _, wrong in by_input]
        if all(map(near, results, wrongs)) and not all(map(near, rights, wrongs)):
            return by_input[0][0]
    return ""


def vectors(n: int, d: int, seed: int) -> Tensor:
    """n random task vectors of d numbers: (n, d)."""
    return draw(n, d, seed=seed)


def listed(values: Tensor) -> str:
    """For example "[3, -1, 0.25]"."""
    return "[" + ", ".join(f"{value + 0.0:.3g}" for value in values.tolist()) + "]"


def plus_minus(value: float) -> str:
    return "+" if value > 0 else "-" if value < 0 else "0"
