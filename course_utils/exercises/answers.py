"""What a check does with an answer: call it on copies, compare the result, and say in words what is wrong."""

from __future__ import annotations

import dis
import functools
import inspect
from collections.abc import Callable, Mapping
from numbers import Number
from typing import Any

import numpy as np
import torch

__all__ = ["Mistake", "NotAttempted", "StudentError", "call", "clone", "close", "fits", "guard", "is_stub", "same"]


class Mistake(Exception):
    """A wrong answer, with the sentence that tells the student why. Raised by tests, shown by `check`."""


class NotAttempted(Exception):
    """The stub is still there."""


class StudentError(Exception):
    """The student's function raised `error` (which may be a SystemExit, a RecursionError, ...)."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


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
    return bool(a == b)


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
    for position, (before, after) in enumerate(zip(args, given, strict=True), start=1):
        if not same(before, after):
            raise Mistake(
                f"Your function changed its input (argument {position}). The caller still needs it: make a new tensor, "
                "for example x + y in place of x += y, or start from x.clone()."
            )
    for name, before in kwargs.items():
        if not same(before, given_named[name]):
            raise Mistake(
                f"Your function changed its input ({name}). The caller still needs it: start from {name}.clone()."
            )
    if result is None:
        raise Mistake("Your function returns nothing (None): did you forget `return`?")
    return result


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


def close(
    got: Any,
    expected: Any,
    atol: float = 1e-4,
    rtol: float = 1e-4,
    what: str = "the result",
    known: Mapping[str, Any] | None = None,
) -> None:
    """Raise a Mistake that says how `got` differs from `expected`: tensor, number, bool, text, list, dict of them.

    known: {hint: the wrong value that this misconception produces}. If `got` is one of them, its hint is what the
    student reads. Order of the checks: nothing returned, a known mistake, wrong type, wrong shape, nan or inf, wrong
    values."""
    for hint, wrong in (known or {}).items():
        if _matches(got, wrong, atol, rtol) and not _matches(got, expected, atol, rtol):
            raise Mistake(hint)
    if got is None:
        raise Mistake(f"{_first_upper(what)} is None: did you forget `return`?")
    if isinstance(expected, torch.Tensor):
        return _close_tensor(got, expected, atol, rtol, what)
    if isinstance(expected, (bool, str)):
        if type(got) is not type(expected):
            raise Mistake(f"{_first_upper(what)} should be of type {type(expected).__name__}, and is {_kind(got)}.")
        if got != expected:
            raise Mistake(f"{_first_upper(what)} is {_short(got)}, expected {_short(expected)}.")
    elif isinstance(expected, Number):
        number = _number(got, what)
        if number != number:
            raise Mistake(
                f"{_first_upper(what)} is nan: look for 0/0, inf - inf, 0 * inf or the logarithm of a negative number."
            )
        if number != expected and not abs(number - expected) <= atol + rtol * abs(expected):
            raise Mistake(f"{_first_upper(what)} is {_figure(number)}, expected {_figure(expected)}.")
    elif isinstance(expected, Mapping):
        if not isinstance(got, Mapping):
            raise Mistake(f"{_first_upper(what)} should be a dict, and is {_kind(got)}.")
        if set(got) != set(expected):
            raise Mistake(
                f"{_first_upper(what)} has the keys {sorted(map(str, got))}, expected {sorted(map(str, expected))}."
            )
        for key in expected:
            close(got[key], expected[key], atol, rtol, f"{what}[{key!r}]")
    elif isinstance(expected, (list, tuple)):
        if not isinstance(got, (list, tuple)):
            raise Mistake(f"{_first_upper(what)} should be a {type(expected).__name__}, and is {_kind(got)}.")
        if len(got) != len(expected):
            raise Mistake(f"{_first_upper(what)} has {len(got)} items, expected {len(expected)}.")
        for index, (mine, theirs) in enumerate(zip(got, expected, strict=True)):
            close(mine, theirs, atol, rtol, f"{what}[{index}]")
    elif got != expected:
        raise Mistake(f"{_first_upper(what)} is {_short(got)}, expected {_short(expected)}.")


def _close_tensor(got: Any, expected: torch.Tensor, atol: float, rtol: float, what: str) -> None:
    if expected.dim() == 0 and isinstance(got, Number):
        got = torch.tensor(got)
    if not isinstance(got, torch.Tensor):
        advice = (
            " Stay in torch: use torch functions in place of numpy's."
            if isinstance(got, (np.ndarray, np.generic))
            else ""
        )
        raise Mistake(
            f"{_first_upper(what)} should be a torch tensor of shape {tuple(expected.shape)}, "
            f"and is {_kind(got)}.{advice}"
        )
    if got.shape != expected.shape:
        raise Mistake(f"{_first_upper(what)} has shape {tuple(got.shape)}, expected {tuple(expected.shape)}.")
    if (
        got.is_complex()
        or (got.dtype == torch.bool) != (expected.dtype == torch.bool)
        or (expected.is_floating_point() and not got.is_floating_point())
    ):
        raise Mistake(f"{_first_upper(what)} has dtype {got.dtype}, expected {expected.dtype}.")
    mine, theirs = got.detach().double().reshape(-1), expected.detach().double().reshape(-1)
    bad_nan = mine.isnan() & ~theirs.isnan()
    if bad_nan.any():
        raise Mistake(
            f"{_first_upper(what)} holds nan at {_place(bad_nan, got.shape)}: look for 0/0, -inf - (-inf), 0 * -inf "
            "or the logarithm of a negative number."
        )
    wrong = ~torch.isclose(mine, theirs, atol=atol, rtol=rtol, equal_nan=True)
    if wrong.any():
        first = int(wrong.nonzero()[0])
        raise Mistake(
            f"{_first_upper(what)} is {_figure(mine[first].item())} at {_place(wrong, got.shape)}, "
            f"expected {_figure(theirs[first].item())} ({int(wrong.sum())} of {wrong.numel()} numbers differ)."
        )


def _matches(got: Any, wrong: Any, atol: float, rtol: float) -> bool:
    try:
        close(got, wrong, atol, rtol)
    except Mistake:
        return False
    return True


def _number(got: Any, what: str) -> float:
    if isinstance(got, (torch.Tensor, np.ndarray)) and tuple(got.shape) not in ((), (1,)):
        raise Mistake(f"{_first_upper(what)} should be one number, and has shape {tuple(got.shape)}.")
    if isinstance(got, (str, bool, complex)) or got is None:
        raise Mistake(f"{_first_upper(what)} should be a number, and is {_kind(got)}.")
    try:
        return float(got)
    except (TypeError, ValueError):
        raise Mistake(f"{_first_upper(what)} should be a number, and is {_kind(got)}.") from None


def _place(mask: torch.Tensor, shape: torch.Size) -> str:
    if not shape:
        return "its only entry"
    index = [int(i) for i in np.unravel_index(int(mask.nonzero()[0]), tuple(shape))]
    return f"index {index}"


def _kind(value: Any) -> str:
    names = {
        "ndarray": "a numpy array",
        "list": "a list",
        "tuple": "a tuple",
        "NoneType": "None",
        "dict": "a dict",
        "int": "an int",
    }
    name = type(value).__name__
    return "a torch tensor" if isinstance(value, torch.Tensor) else names.get(name, f"a {name}")


def _figure(number: Any) -> str:
    return f"{number:.4g}" if isinstance(number, Number) and not isinstance(number, complex) else _short(number)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]
