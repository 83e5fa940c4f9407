"""Call a student's function on copies of the arguments, and say in words what commonly goes wrong with the call."""

from __future__ import annotations

import dis
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

__all__ = ["Mistake", "NotAttempted", "StudentError", "call", "clone", "fits", "guard", "is_stub", "same"]


class Mistake(Exception):
    """A wrong answer, with the sentence that tells the student why. Raised by checks, shown by `check`.

    pointer: a second sentence, which says what to do. It is shown from the second failed `check` on.
    known: the key of the KnownMistake, if it was recognised as one.
    """

    known = ""

    def __init__(self, says: str, pointer: str = "") -> None:
        super().__init__(says)
        self.pointer = pointer


def in_two(text: str) -> tuple[str, str]:
    """A text as (what is said at once, what from the second failure on): its first line, the lines after it."""
    says, _, pointer = text.partition("\n")
    return says, pointer.replace("\n", " ")


class NotAttempted(Exception):
    """The stub is still there."""


class StudentError(Exception):
    """The student's function raised `error` (which may be a SystemExit, a RecursionError, ...)."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error
        self.advice = ""  # what a corner case has to say of it


def clone(value: Any) -> Any:
    """A deep copy of tensors, arrays, and lists, tuples and dicts of them; anything else is handed over as it is.

    A tensor that requires a gradient is copied with `clone()`, so the gradient still reaches the original.
    """
    if isinstance(value, torch.nn.Module):
        return value
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, tuple):
        items = [clone(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if type(value) in (list, set):
        return type(value)(clone(item) for item in value)
    if isinstance(value, dict):
        copy = value.copy()
        copy.update((key, clone(item)) for key, item in value.items())
        return copy
    return value


def same(a: Any, b: Any) -> bool:
    """True if nothing was changed between two copies: type, shape, dtype and every number (nan equals nan)."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        return torch.equal(a, b) or bool(torch.isclose(a.detach(), b.detach(), rtol=0, atol=0, equal_nan=True).all())
    if isinstance(a, np.ndarray):
        return a.shape == b.shape and a.dtype == b.dtype and bool(((a == b) | ((a != a) & (b != b))).all())
    if isinstance(a, Mapping):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b or (a != a and b != b))


def call(answer: Callable, *args: Any, **kwargs: Any) -> Any:
    """`answer(*args, **kwargs)` on copies of the arguments, with what commonly goes wrong said in words.

    Raises Mistake if the arguments do not fit, if nothing is returned, or if the function changed its input;
    NotAttempted if the stub is still there; StudentError around anything else that the function raises. `check` hands
    every test an answer that already does this, so a test may simply write `answer(x)`."""
    answer = getattr(answer, "_unguarded", answer)
    fits(answer, args, kwargs)
    given, given_named = clone(args), clone(kwargs)
    try:
        result = answer(*given, **given_named)
    except (NotAttempted, Mistake, StudentError):
        raise
    except BaseException as error:
        if is_stub(error):
            raise NotAttempted from error
        if getattr(error, "time_is_up", False):
            raise
        raise StudentError(error) from error
    if result is Ellipsis or result is NotImplemented:
        raise NotAttempted
    places = [(f"argument {i}", *pair) for i, pair in enumerate(zip(args, given, strict=True), start=1)]
    for place, before, after in [*places, *((name, kwargs[name], given_named[name]) for name in kwargs)]:
        if not same(before, after):
            where, what = _first_change(before, after)
            raise Mistake(
                f"Your function changed its input ({place}{where and f', its {where}'}). The caller still needs it:"
                f" {_instead(before, what)}"
            )
    if result is None:
        raise Mistake("Your function returns nothing (None): did you forget `return`?")
    return result


def _first_change(before: Any, after: Any, path: str = "") -> tuple[str, Any]:
    """The way to what was changed first, such as [0]['weight'], and what it was."""
    if type(before) is type(after) and isinstance(before, (list, tuple)) and len(before) == len(after):
        items = [(f"[{i}]", *pair) for i, pair in enumerate(zip(before, after, strict=True))]
    elif isinstance(before, Mapping) and isinstance(after, Mapping) and list(before) == list(after):
        items = [(f"[{key!r}]", before[key], after[key]) for key in before]
    else:
        return path, before
    for step, old, new in items:
        if not same(old, new):
            return _first_change(old, new, path + step)
    return path, before


def _instead(argument: Any, changed: Any) -> str:
    """What to do instead of changing `changed`, which is the argument or a part of it."""
    if isinstance(changed, torch.Tensor):
        advice = "make a new tensor, for example x + y instead of x += y, or start from x.clone()."
        return advice if changed is argument else f"{advice} dict(x) and list(x) copy no tensors."
    if isinstance(changed, np.ndarray):
        return (
            "make a new array, for example x + y instead of x += y, np.sort(x) instead of x.sort(), or start from"
            " x.copy()."
        )
    return "start from a copy, for example list(x), sorted(x) or dict(x)."


def is_stub(error: BaseException) -> bool:
    """True for `raise NotImplementedError` in Python, not for an operation that torch says it has not implemented."""
    step = error.__traceback__
    if type(error) is not NotImplementedError or step is None:
        return False
    while step.tb_next is not None:
        step = step.tb_next
    return step.tb_frame.f_code.co_code[step.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def fits(answer: Callable, args: tuple, kwargs: dict) -> None:
    """Raises Mistake if `answer` does not take these arguments."""
    try:
        signature = inspect.signature(answer)
    except (TypeError, ValueError):  # some built-in functions do not tell
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        name = getattr(answer, "__name__", "answer")
        raise Mistake(
            f"Your function does not take the arguments of the stub: {error}. "
            f"Yours is {name}({', '.join(signature.parameters)})."
        ) from None


def guard(answer: Any) -> Any:
    """The answer as the tests get it: a function wrapped in `call`, a value copied, a class or a module left alone."""
    if inspect.isroutine(answer) or isinstance(answer, functools.partial):

        def guarded(*args: Any, **kwargs: Any) -> Any:
            return call(answer, *args, **kwargs)

        functools.update_wrapper(guarded, answer)
        guarded._unguarded = answer
        return guarded
    return answer if isinstance(answer, type) else clone(answer)
