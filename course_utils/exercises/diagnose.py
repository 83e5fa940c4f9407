"""Name the misconception behind a wrong distribution: for exercises whose answer is made of probabilities.

Order: shapes that cannot fit, the right answer in disguise (probabilities for logarithms, or not normalised), the
results of known wrong computations (in any of these disguises), and then what can be said without knowing the
computation: nan, zeros, sums, the first difference.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine.calls import Mistake, StudentError
from course_utils.exercises.engine.compare import close

__all__ = ["Known", "attempt", "judge", "sum_note"]

Known = Sequence[tuple[str, Tensor]]  # (hint, what this misconception computes)
_SHAPES_CLASH = (
    r"must match|Expected size|not broadcastable|shape mismatch|inconsistent tensor size|cannot be"
    r" multiplied|subscript|size mismatch"
)
AS_PROBS = "You return probabilities, and the exercise asks for their natural logarithm: take .log() at the end."
AS_LOGS = "You return logarithms, and the exercise asks for the probabilities themselves: take .exp() at the end."


def attempt(answer: Callable, *args: Any, clash: str) -> Any:
    """answer(*args); if torch cannot line up the shapes, a Mistake that says how they should meet (`clash`)."""
    try:
        return answer(*args)
    except StudentError as wrapped:
        said = str(wrapped.error).split("\n")[0]
        if isinstance(wrapped.error, (RuntimeError, IndexError, ValueError)) and re.search(_SHAPES_CLASH, said):
            raise Mistake(f"{clash} (torch said: {said})") from None
        raise


def judge(
    got: Any,
    expected: Tensor,
    *,
    log: bool,
    dim: int,
    sizes: Mapping[int, str],
    known: Known = (),
    nan: str = "",
    unnormalised: str = "",
    what: str = "the result",
    atol: float = 1e-3,
) -> None:
    """Raise the Mistake that explains why `got` is not `expected`; return None if it is.

    expected: log-probabilities (log=True) or probabilities that sum to 1 over `dim`. sizes: {6: "V tokens"} names the
    dimensions by their size. known: what misconceptions compute.
    nan, unnormalised: what to say if the result holds nan, or is right up to its normalisation.
    """
    if not isinstance(got, Tensor):
        return close(got, expected, atol=atol, what=what)
    _shape(got, expected, sizes, what)
    original = got
    if got.dtype == torch.bool or got.is_complex():
        return close(got, expected, atol=atol, what=what)
    got = got.detach().double()
    if log:  # a student's -1e9 or torch.finfo(...).min is a zero probability too
        got = torch.where(got < -1e4, -torch.inf, got)
    if _near(got, expected, atol):
        return close(original, expected, atol=atol, what=what) if not original.is_floating_point() else None
    if got.isnan().any() and not expected.isnan().any():
        raise Mistake(
            f"{_upper(what)} holds nan at {_index(got.isnan())}. "
            + (nan or "Look for 0/0, 0 * -inf and -inf - (-inf).")
        )
    total = sum_note(got, log, dim)
    for note, form in _disguises(got, log):
        if _near(form, _log(expected, log), atol, log):
            raise Mistake(note)
        if _near(_normalised(form, dim), _log(expected, log), atol, log):
            raise Mistake(" ".join(filter(None, [unnormalised or "Right up to the normalisation.", total, note])))
    known = [(hint, wrong.double()) for hint, wrong in known if wrong.shape == got.shape and not wrong.isnan().any()]
    for hint, wrong in known:  # as it is, whatever its scale
        if _near(got, wrong, atol):
            raise Mistake(" ".join(filter(None, [hint, total])))
    for hint, wrong in known:
        if not log and (wrong < 0).any():
            continue
        plain, scaled = _log(wrong, log), _normalised(_log(wrong, log), dim)
        if _near(scaled, _log(expected, log), atol, log):
            continue
        for note, form in _disguises(got, log):
            if note == AS_LOGS and sum_note(got, True, dim):
                continue  # not even a distribution's logarithms
            if _near(form, plain, atol, log) or _near(_normalised(form, dim), scaled, atol, log):
                raise Mistake(" ".join(filter(None, [hint, note or total])))
    _in_general(got, expected, log, dim, total, what, atol)


def sum_note(got: Tensor, log: bool, dim: int) -> str:
    """A sentence with the actual sum over `dim`, or "" if every sum is 1."""
    sums = (got.detach().double().exp() if log else got.detach().double()).sum(dim)
    off = (sums - 1).abs().flatten()
    if not off.numel() or not (off > 2e-3).any():
        return ""
    return (
        f"{'exp() of your result' if log else 'Your result'} sums to {sums.flatten()[off.argmax()].item():.3g} instead"
        " of 1."
    )


def _in_general(got: Tensor, expected: Tensor, log: bool, dim: int, total: str, what: str, atol: float) -> None:
    """What can be said of a wrong result without knowing how it was computed."""
    zero = expected.isneginf() if log else expected == 0
    mine = got.isneginf() if log else got == 0
    if (zero & ~mine).any() and _near(got.where(~zero, 0.0), expected.double().where(~zero, 0.0), max(atol, 1e-2)):
        raise Mistake(
            f"{_upper(what)} is {got[zero & ~mine][0].item():.3g} at {_index(zero & ~mine)}, where the probability is"
            " exactly 0"
            + (" and its logarithm -inf. Leave out the small constant: torch knows that log 0 is -inf." if log else ".")
        )
    if (zero & ~mine).any() and not total:
        raise Mistake(
            f"{_upper(what)} is {got[zero & ~mine][0].item():.3g} at {_index(zero & ~mine)}, where the probability is"
            " exactly 0" + (": its logarithm is -inf." if log else ".")
        )
    if (mine & ~zero).any() and not total:
        raise Mistake(
            f"{_upper(what)} gives probability 0 at {_index(mine & ~zero)}, where it should be "
            f"{(expected.exp() if log else expected)[mine & ~zero][0].item():.3g}."
        )
    if not log and (got <= 0).all() and not sum_note(got, True, dim):
        raise Mistake(f"{AS_LOGS} Then: they sum to 1, and still differ from the right ones.")
    if not log and (got < 0).any():
        raise Mistake(
            f"{_upper(what)} holds the negative number {got.min().item():.3g} at {_index(got < 0)}: "
            "probabilities and weights lie between 0 and 1."
        )
    if log and (got > 1e-3).any() and not (got >= 0).all():
        raise Mistake(
            f"{_upper(what)} is {got.max().item():.3g} at {_index(got > 1e-3)}: a log-probability is never above 0."
            f" {total}"
        )
    try:
        close(got, expected, atol=atol, what=what)
    except Mistake as difference:
        also = (
            f" The sum gives it away: {total}" if total else " It does sum to 1: the normalisation is not the trouble."
        )
        raise Mistake(f"{difference}{also}") from None


def _shape(got: Tensor, expected: Tensor, sizes: Mapping[int, str], what: str) -> None:
    if got.shape == expected.shape:
        return

    def named(shape: Sequence[int]) -> str:
        return "(" + ", ".join(sizes.get(n, str(n)) for n in shape) + ("," if len(shape) == 1 else "") + ")"

    text = (
        f"{_upper(what)} has shape {tuple(got.shape)}, that is {named(got.shape)}, "
        f"expected {tuple(expected.shape)}, {named(expected.shape)}."
    )
    extra = [sizes[n] for n in got.shape if n not in expected.shape and n in sizes]
    lost = [sizes[n] for n in expected.shape if n not in got.shape and n in sizes]
    if sorted(got.shape) == sorted(expected.shape):
        text += " The dimensions are in another order: transpose."
    elif lost and extra:
        text += f" {lost[0]}: missing. {extra[0]}: still there. Sum over the {extra[0]}, and over nothing else."
    elif lost and got.dim() < expected.dim():
        text += f" You summed or averaged over the {lost[0]}: keep them."
    elif extra and got.dim() > expected.dim():
        text += f" Sum over the {extra[0]}."
    elif got.dim() == expected.dim():
        place = next(i for i, (n, m) in enumerate(zip(got.shape, expected.shape, strict=True)) if n != m)
        text += f" Dimension {place} has {got.shape[place]} entries and should have {expected.shape[place]}."
    raise Mistake(text)


def _disguises(got: Tensor, log: bool) -> list[tuple[str, Tensor]]:
    """The logarithm of the result, read as it should be and as the other kind: [(what is wrong then, logarithm)]."""
    logs, probs = (AS_LOGS if not log else "", got), (AS_PROBS if log else "", got.log())
    readings = [logs, probs] if log else [probs, logs]
    return [(note, form) for note, form in readings if not form.isnan().any() and not form.isposinf().any()]


def _log(values: Tensor, log: bool) -> Tensor:
    return values.double() if log else values.double().log()


def _normalised(logs: Tensor, dim: int) -> Tensor:
    return logs.log_softmax(dim)


def _near(a: Tensor, b: Tensor, atol: float, log: bool = True) -> bool:
    """Equal within `atol`; with log=False two logarithms whose exp() are equal."""
    a, b = (a.double(), b.double()) if log else (a.double().exp(), b.double().exp())
    return bool(torch.isclose(a, b, atol=atol, rtol=1e-4).all())


def _index(mask: Tensor) -> str:
    return f"index {mask.nonzero()[0].tolist()}"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
