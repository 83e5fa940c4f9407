"""Compare a result with the right one, in words: tensors, arrays, numbers, texts, and lists and dicts of them."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Number
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_utils.exercises.engine.calls import Mistake

__all__ = ["ANYTHING", "alike", "capitalised", "close", "index_of", "kind", "numbers"]

ATOL = RTOL = 1e-4
ANYTHING = object()  # in the result of a mistake: a part that it does not determine


def numbers(got: Any, what: str = "the result") -> Tensor:
    """An array, a tensor, a number or (nested) lists of them as a tensor, double or bool. Raises Mistake for all
    else."""
    if isinstance(got, (str, bytes, dict, set)) or (hasattr(got, "__next__") and not isinstance(got, np.ndarray)):
        advice = " Put list(...) around it." if hasattr(got, "__next__") else ""
        raise Mistake(f"{capitalised(what)} should be made of numbers, and is {kind(got)}.{advice}")
    if isinstance(got, Tensor):
        found = got.detach()
    else:
        try:
            found = _array(got)
            found = torch.from_numpy(found if found.dtype == bool else found.astype(float, casting="same_kind"))
        except (TypeError, ValueError, RuntimeError):
            raise Mistake(
                f"{capitalised(what)} should be made of numbers, all rows of one length, and is {kind(got)}."
            ) from None
    if found.is_complex():
        raise Mistake(f"{capitalised(what)} is complex: real numbers are asked for.")
    return found if found.dtype == torch.bool else found.double()


def _array(got: Any) -> np.ndarray:
    if isinstance(got, (list, tuple)):
        return np.array([_array(part) for part in got]) if got else np.zeros(0)
    return np.array(got.detach() if isinstance(got, Tensor) else got, order="C")


def alike(got: Any, wrong: Any, atol: float = 1e-5, rtol: float = 1e-4) -> bool:
    """Whether two results are the same: numbers but for rounding (nan equals nan), in the same shape, whatever their
    dtype."""
    if wrong is ANYTHING:
        return True
    if isinstance(wrong, Mapping):
        return (
            isinstance(got, Mapping)
            and set(got) == set(wrong)
            and all(alike(got[key], wrong[key], atol, rtol) for key in wrong)
        )
    if isinstance(wrong, (str, bytes, type(None))) or isinstance(got, (str, bytes, type(None))):
        return type(got) is type(wrong) and got == wrong
    if isinstance(wrong, (list, tuple)) and isinstance(got, (list, tuple)):
        return len(got) == len(wrong) and all(alike(a, b, atol, rtol) for a, b in zip(got, wrong, strict=True))
    try:
        a, b = numbers(got), numbers(wrong)
    except Mistake:  # not made of numbers, or of complex ones
        return type(got) is type(wrong) and not isinstance(got, (Tensor, np.ndarray)) and bool(got == wrong)
    if a.shape != b.shape or (a.dtype == torch.bool) != (b.dtype == torch.bool):
        return False
    return bool(torch.isclose(a.double(), b.double(), atol=atol, rtol=rtol, equal_nan=True).all())


def close(
    got: Any,
    expected: Any,
    atol: float = ATOL,
    rtol: float = RTOL,
    what: str = "the result",
) -> None:
    """Raise a Mistake that says how `got` differs from `expected`: tensor, number, bool, text, list, dict of them.

    Order of the checks: nothing returned, wrong type, wrong shape, nan or inf, wrong values."""
    if got is None:
        raise Mistake(f"{capitalised(what)} is None: did you forget `return`?")
    if isinstance(expected, np.ndarray):  # NumPy exercises take any kind of numbers
        return _close_tensor(numbers(got, what), numbers(expected), atol, rtol, what)
    if isinstance(expected, Tensor):
        return _close_tensor(got, expected, atol, rtol, what)
    if isinstance(expected, (bool, str)):
        if type(got) is not type(expected):
            raise Mistake(f"{capitalised(what)} should be of type {type(expected).__name__}, and is {kind(got)}.")
        if got != expected:
            raise Mistake(f"{capitalised(what)} is {_short(got)}, expected {_short(expected)}.")
    elif isinstance(expected, Number):
        number = _number(got, what)
        if number != number:
            raise Mistake(
                f"{capitalised(what)} is nan: look for 0/0, inf - inf, 0 * inf or the logarithm of a negative number."
            )
        if number != expected and not abs(number - expected) <= atol + rtol * abs(expected) < np.inf:
            raise Mistake(f"{capitalised(what)} is {_figure(number)}, expected {_figure(expected)}.")
    elif isinstance(expected, Mapping):
        if not isinstance(got, Mapping):
            raise Mistake(f"{capitalised(what)} should be a dict, and is {kind(got)}.")
        if set(got) != set(expected):
            raise Mistake(
                f"{capitalised(what)} has the keys {sorted(map(str, got))}, expected {sorted(map(str, expected))}."
            )
        for key in expected:
            close(got[key], expected[key], atol, rtol, f"{what}[{key!r}]")
    elif isinstance(expected, (list, tuple)):
        if not isinstance(got, (list, tuple)):
            raise Mistake(f"{capitalised(what)} should be a {type(expected).__name__}, and is {kind(got)}.")
        if len(got) != len(expected):
            raise Mistake(f"{capitalised(what)} has {len(got)} items, expected {len(expected)}.")
        for index, (mine, theirs) in enumerate(zip(got, expected, strict=True)):
            close(mine, theirs, atol, rtol, f"{what}[{index}]")
    elif got != expected:
        raise Mistake(f"{capitalised(what)} is {_short(got)}, expected {_short(expected)}.")


def _close_tensor(got: Any, expected: Tensor, atol: float, rtol: float, what: str) -> None:
    if expected.dim() == 0 and isinstance(got, Number):
        got = torch.tensor(got)
    if not isinstance(got, Tensor):
        advice = (
            " Stay in torch: use torch functions instead of numpy's."
            if isinstance(got, (np.ndarray, np.generic))
            else ""
        )
        asked = f"a torch tensor of shape {tuple(expected.shape)}"
        raise Mistake(f"{capitalised(what)} should be {asked}, and is {kind(got)}.{advice}")
    if got.shape != expected.shape:
        raise Mistake(f"{capitalised(what)} has shape {tuple(got.shape)}, expected {tuple(expected.shape)}.")
    if (
        got.is_complex()
        or (got.dtype == torch.bool) != (expected.dtype == torch.bool)
        or (expected.is_floating_point() and not got.is_floating_point())
    ):
        raise Mistake(f"{capitalised(what)} has dtype {got.dtype}, expected {expected.dtype}.")
    whole = expected.dtype == torch.bool
    mine, theirs = got.detach().double().reshape(-1), expected.detach().double().reshape(-1)
    bad_nan = mine.isnan() & ~theirs.isnan()
    if bad_nan.any():
        where = f"holds nan at {index_of(bad_nan.reshape(got.shape))}" if got.dim() else "is nan"
        raise Mistake(
            f"{capitalised(what)} {where}: look for 0/0, -inf - (-inf), 0 * -inf or the logarithm of a negative number."
        )
    wrong = ~torch.isclose(mine, theirs, atol=atol, rtol=rtol, equal_nan=True)
    if wrong.any():
        first = int(wrong.nonzero()[0])
        if not got.dim():
            raise Mistake(f"{capitalised(what)} is {_figure(mine[0].item())}, expected {_figure(theirs[0].item())}.")
        mine, theirs = (_figure(side[first].item() > 0 if whole else side[first].item()) for side in (mine, theirs))
        count = f" ({int(wrong.sum())} of {wrong.numel()} numbers differ)" if wrong.numel() > 1 else ""
        raise Mistake(
            f"{capitalised(what)} is {mine} at {index_of(wrong.reshape(got.shape))}, expected {theirs}{count}."
        )


def _number(got: Any, what: str) -> float:
    if isinstance(got, (Tensor, np.ndarray)) and tuple(got.shape) not in ((), (1,)):
        raise Mistake(f"{capitalised(what)} should be one number, and has shape {tuple(got.shape)}.")
    if isinstance(got, (str, bool, complex)) or got is None:
        raise Mistake(f"{capitalised(what)} should be a number, and is {kind(got)}.")
    try:
        return float(got.item() if isinstance(got, (Tensor, np.ndarray)) else got)
    except (TypeError, ValueError):
        raise Mistake(f"{capitalised(what)} should be a number, and is {kind(got)}.") from None


def index_of(mask: Tensor) -> str:
    """Where a mask is first True, for a message: "index [0, 2]"."""
    return f"index {mask.nonzero()[0].tolist()}"


def kind(value: Any) -> str:
    """A value's type in words, for a message: "a numpy array"."""
    names = {
        "ndarray": "a numpy array",
        "list": "a list",
        "tuple": "a tuple",
        "NoneType": "None",
        "dict": "a dict",
        "int": "an int",
    }
    name = type(value).__name__
    return "a torch tensor" if isinstance(value, Tensor) else names.get(name, f"a {name}")


def _figure(number: Any) -> str:
    if isinstance(number, bool):
        return str(number)
    return f"{number:.4g}" if isinstance(number, Number) and not isinstance(number, complex) else _short(number)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def capitalised(text: str) -> str:
    """The text with a capital first letter, the others as they are."""
    return text[:1].upper() + text[1:]
