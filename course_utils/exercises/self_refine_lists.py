"""Results made of texts, lists and numbers (calls that were recorded, missing words), compared as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import numpy as np

from course_utils.exercises.engine.calls import Mistake

__all__ = ["equal", "plain", "recognise_equal"]


def plain(value: Any) -> Any:
    """Lists and tuples, however deep, as tuples; all else as it is."""
    return tuple(plain(item) for item in value) if isinstance(value, (list, tuple)) else value


def equal(a: Any, b: Any) -> bool:
    """Whether two `plain` values are the same; numbers but for rounding, of whatever type."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b))
    if _is_number(a) and _is_number(b):
        return bool(abs(a - b) <= 1e-6)
    return type(a) is type(b) and not isinstance(a, np.ndarray) and bool(a == b)


def _is_number(value: Any) -> bool:
    return isinstance(value, (Real, np.number)) and not isinstance(value, (bool, np.bool_))


def recognise_equal(results: Sequence[Any], cases: Sequence[tuple], mistakes: Sequence[tuple[str, Callable]]) -> None:
    """Raise the Mistake whose function gives the results, on every one of the cases; else do nothing. As `mistakes.recognise`."""
    for hint, wrong in mistakes:
        if all(equal(plain(got), plain(wrong(*case))) for got, case in zip(results, cases, strict=True)):
            raise Mistake(hint)
