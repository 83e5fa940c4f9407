"""What the tests of the NumPy exercises (08 and 09) share: arrays go in, and any kind of numbers may come out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_utils.exercises.engine.calls import Mistake, StudentError
from course_utils.exercises.engine.compare import close
from course_utils.exercises.mistakes import Mistakes, recognise

__all__ = ["are_floats", "judge", "numbers", "pair", "tried"]

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
CHANGED = (
    "Your function changed its input (argument {}). The caller still needs it: make a new array, for example x + y in"
    " place of x += y, np.sort(x) in place of x.sort(), or start from x.copy()."
)
NUMPY = (
    "The arguments are NumPy arrays: NumPy says axis= in place of dim=, np.argsort(-x)[:k] in place of topk and x.copy() in"
    " place of x.clone(). Or turn them into tensors first: torch.from_numpy(x)."
)
AMBIGUOUS = (
    "`if` needs one truth value, and this comparison has one for every entry: use np.where or a mask, or a loop over the"
    " single items."
)
NO_NUMBERS = (str, bytes, dict, set)


def tried(answer: Callable, *args: Any) -> Any:
    """answer(*args), with what NumPy commonly complains about said in words. Raises Mistake, StudentError."""
    try:
        return answer(*args)
    except Mistake as mistake:
        changed = re.search(r"changed its input \(argument (\d+)\)", str(mistake))
        raise (Mistake(CHANGED.format(changed[1])) if changed else mistake) from None
    except StudentError as wrapped:
        said = str(wrapped.error).split("\n")[0]
        if isinstance(wrapped.error, ValueError) and "ambiguous" in said:
            raise Mistake(f"{AMBIGUOUS} (NumPy said: {said})") from None
        if isinstance(wrapped.error, AttributeError) and "numpy." in said:
            raise Mistake(f"{NUMPY} (Python said: {said})") from None
        if isinstance(wrapped.error, TypeError) and ("'dim'" in said or "must be Tensor, not numpy" in said):
            raise Mistake(f"{NUMPY} (Python said: {said})") from None
        raise


def numbers(got: Any, what: str = "Your result") -> Tensor:
    """An array, a tensor, a number or (nested) lists of them -> a tensor, double or bool. Raises Mistake for all else."""
    if isinstance(got, NO_NUMBERS) or (hasattr(got, "__next__") and not isinstance(got, np.ndarray)):
        advice = " Put list(...) around it." if hasattr(got, "__next__") else ""
        raise Mistake(f"{what} should be made of numbers, and is a {type(got).__name__}.{advice}")
    if isinstance(got, Tensor):
        found = got.detach()
    else:
        try:
            found = _array(got)
            found = torch.from_numpy(found if found.dtype == bool else found.astype(float, casting="same_kind"))
        except (TypeError, ValueError, RuntimeError):
            raise Mistake(
                f"{what} should be made of numbers, all rows of one length, and is a {type(got).__name__}."
            ) from None
    if found.is_complex():
        raise Mistake(f"{what} is complex: real numbers are asked for.")
    return found if found.dtype == torch.bool else found.double()


def pair(got: Any, one: str, many: str, each: str) -> Tensor:
    """Two numbers, in a list, tuple, array or tensor, as a double tensor; an array of another length is returned as it is.

    Raises Mistake: `one` for a single number, `many` with their count for a list of more, `each` with the shapes of two
    entries that are no numbers.
    """
    if isinstance(got, (list, tuple)):
        parts = [numbers(part) for part in got]
        if len(parts) == 2 and any(part.numel() != 1 for part in parts):
            raise Mistake(each.format(" and ".join(str(tuple(part.shape)) for part in parts)))
        if len(parts) != 2:
            raise Mistake(one if len(parts) == 1 else many.format(len(parts)))
        return torch.stack([part.double().reshape(()) for part in parts])
    found = numbers(got).double()
    if found.numel() == 1:
        raise Mistake(one)
    return found


def are_floats(got: Any) -> bool:
    """Whether `got`, which `numbers` accepts, is of a floating-point type: no use as indices, even if the values are whole."""
    return (
        got.is_floating_point() if isinstance(got, Tensor) else _array(got).size > 0 and _array(got).dtype.kind == "f"
    )


def _array(got: Any) -> np.ndarray:
    if isinstance(got, (list, tuple)):
        return np.array([_array(part) for part in got]) if got else np.zeros(0)
    return np.array(got.detach() if isinstance(got, Tensor) else got, order="C")


def judge(
    answer: Callable,
    case: tuple,
    reference: Callable,
    cases: Sequence[tuple],
    mistakes: Mistakes,
    right: str,
    look: Callable[[Tensor, tuple], None] | None = None,
    form: Callable[[Tensor], Tensor] = lambda found: found,
) -> None:
    """Raise the Mistake that explains why answer(*case) is not reference(*case), in numbers; return None if it is.

    cases, mistakes: as in `recognise`. look: what is told from the result itself, when no known mistake gives it.
    right: the sentence that follows "... is 3, expected 4". form: applied to results before mistakes are looked for in them.
    """
    got, expected = numbers(tried(answer, *case)), torch.as_tensor(reference(*case)).double()
    try:
        return close(got, expected if expected.dim() else expected.item(), what="your result", **CLOSE)
    except Mistake as mistake:
        formed = [(hint, partial(_formed, wrong, form)) for hint, wrong in mistakes]
        recognise(lambda *args: form(_plain(numbers(tried(answer, *args)), expected.dim())), cases, formed)
        if look is not None:
            look(got, case)
        raise Mistake(f"{mistake} {right}") from None


def _formed(wrong: Callable, form: Callable, *args: Any) -> Tensor:
    return form(torch.from_numpy(np.array(wrong(*args), order="C")))


def _plain(found: Tensor, dims: int) -> Tensor:
    return found[0] if not dims and found.shape == (1,) else found
