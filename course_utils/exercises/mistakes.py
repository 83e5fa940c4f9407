"""How a misconception is recognised: by what it computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import Mistake, NotAttempted
from course_utils.exercises.engine.calls import StudentError

Mistakes = Sequence[tuple[str, Callable[..., Any]]]  # (hint, a function that makes this mistake)


def draw(*shape: int, seed: int) -> Tensor:
    """Random normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def near(a: Tensor, b: Tensor) -> bool:
    """Equal but for rounding; nan equals nan."""
    if a.shape != b.shape:
        return False
    return bool(torch.isclose(a.double(), b.double(), atol=1e-5, rtol=1e-4, equal_nan=True).all())


def alike(got: Any, wrong: Any) -> bool:
    """Whether two results are the same numbers, in the same shape, whatever their dtype."""
    if not isinstance(got, (Tensor, int, float)):
        return False
    a, b = torch.as_tensor(got).detach(), torch.as_tensor(wrong)
    return not a.is_complex() and (a.dtype == torch.bool) == (b.dtype == torch.bool) and near(a, b)


def recognise(answer: Callable, cases: Sequence[tuple], mistakes: Mistakes) -> None:
    """Raise the Mistake whose function gives what the answer gives, on every one of the cases; else do nothing.

    One case alone is not enough: two misconceptions may agree on it by chance.
    """
    try:
        results = [answer(*case) for case in cases]
    except (StudentError, Mistake, NotAttempted):  # the caller has seen the answer fail on its own input, and says so
        return
    for hint, wrong in mistakes:
        if all(alike(got, wrong(*case)) for got, case in zip(results, cases, strict=True)):
            raise Mistake(hint)
