"""Results that are distributions: the same one in another form (logarithm or not, normalised or not), and what is wrong
with it.

`exercise.returns` says which form is asked for, "log-probabilities" or "probabilities", over the dimension
`exercise.dim`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from course_utils.exercises.engine.calls import Mistake, in_two
from course_utils.exercises.engine.compare import capitalised, close, index_of

if TYPE_CHECKING:
    from course_utils.exercises.engine.exercise import Exercise

__all__ = ["check_shape", "explain", "explain_form", "in_another_form", "is_right", "sum_note"]

AS_PROBS = "You return probabilities, and the exercise asks for their natural logarithm: take .log() at the end."
AS_LOGS = "You return logarithms, and the exercise asks for the probabilities themselves: take .exp() at the end."


def is_right(got: Any, expected: Tensor, returns: str, atol: float) -> bool:
    """Whether `got` is the expected tensor within `atol`; as a logarithm, -1e9 or finfo.min are -inf too."""
    if not isinstance(got, Tensor) or got.shape != expected.shape or not got.is_floating_point():
        return False
    return _near(_zeros(got.detach().double(), returns), expected, atol)


def explain_form(got: Any, expected: Tensor, exercise: Exercise) -> None:
    """Raise what can be said before any mistake is looked for: nan, and the right distribution in another form."""
    if not isinstance(got, Tensor) or got.shape != expected.shape or not got.is_floating_point():
        return
    got, log = _zeros(got.detach().double(), exercise.returns), _is_log(exercise)
    if got.isnan().any() and not expected.isnan().any():
        advice = exercise.nan or "Look for 0/0, 0 * -inf and -inf - (-inf)."
        raise Mistake(f"{capitalised(exercise.what)} holds nan at {index_of(got.isnan())}.", advice)
    logs = _log(expected, log)
    for note, form in _forms(got, log):
        if _near(form, logs, exercise.atol, log):
            raise Mistake(note)
        if _near(form.log_softmax(exercise.dim), logs, exercise.atol, log):
            says, pointer = in_two(exercise.unnormalised or "Right up to the normalisation.")
            raise Mistake(" ".join(filter(None, [says, sum_note(got, exercise), note])), pointer)


def in_another_form(triples: Iterable[tuple[Any, Any, Tensor]], exercise: Exercise) -> str | None:
    """(result, a mistake's result, the right one) of several cases: what to add if the first two are one distribution.

    None if they are not, or if the mistake, normalised, is the right one.
    """
    common, log, dim, first = None, _is_log(exercise), exercise.dim, None
    for mine, wrong, right in triples:
        first = mine if first is None else first
        if not isinstance(mine, Tensor) or not isinstance(wrong, Tensor) or mine.shape != wrong.shape:
            return None
        if (
            wrong.shape != right.shape
            or not mine.is_floating_point()
            or wrong.isnan().any()
            or (not log and (wrong < 0).any())
        ):
            return None
        mine = _zeros(mine.detach().double(), exercise.returns)
        plain = _log(wrong, log)
        scaled = plain.log_softmax(dim)
        if _near(scaled, _log(right, log), exercise.atol, log):  # the mistake is right here: so must the answer be
            if not any(_near(form.log_softmax(dim), scaled, exercise.atol, log) for _, form in _forms(mine, log)):
                return None
            continue
        here = set()
        for note, form in _forms(mine, log):
            if note == AS_LOGS and sum_note(mine, exercise, log=True):
                continue  # not even a distribution's logarithms
            same = _near(form, plain, exercise.atol, log) or _near(form.log_softmax(dim), scaled, exercise.atol, log)
            here |= {note} if same else set()
        common = here if common is None else common & here
        if not common:
            return None
    return (min(common) or sum_note(first, exercise)) if common else None


def sum_note(got: Any, exercise: Exercise, log: bool | None = None) -> str:
    """A sentence with the actual sum over the dimension, or "" if every sum is 1."""
    if not isinstance(got, Tensor) or not got.is_floating_point() or not got.dim():
        return ""
    log = _is_log(exercise) if log is None else log
    sums = (got.detach().double().exp() if log else got.detach().double()).sum(exercise.dim)
    off = (sums - 1).abs().flatten()
    if not off.numel() or not (off > 2e-3).any():
        return ""
    subject = "exp() of your result" if log else "Your result"
    return f"{subject} sums to {sums.flatten()[off.argmax()].item():.4g} instead of 1."


def explain(got: Any, expected: Tensor, exercise: Exercise, sizes: Mapping[int, str]) -> None:
    """Raise what can be said of a wrong result without knowing how it was computed."""
    what, log = capitalised(exercise.what), _is_log(exercise)
    check_shape(got, expected, sizes, exercise.what)
    if not isinstance(got, Tensor) or not got.is_floating_point() or got.shape != expected.shape:
        return
    total, atol = sum_note(got, exercise), exercise.atol
    got = got.detach().double()
    zero, mine = (expected.isneginf(), got.isneginf()) if log else (expected == 0, got == 0)
    if (zero & ~mine).any():
        value = f"{got[zero & ~mine][0].item():.3g} at {index_of(zero & ~mine)}"
        where = f"{what} is {value}, where the probability is exactly 0"
        if _near(got.where(~zero, 0.0), expected.double().where(~zero, 0.0), max(atol, 1e-2)):
            advice = "Leave out the small constant or limit: torch knows that log 0 is -inf."
            raise Mistake(f"{where} and its logarithm -inf. {advice}" if log else f"{where}.")
        if not total:
            raise Mistake(where + (": its logarithm is -inf." if log else "."))
    if (mine & ~zero).any() and not total:
        should = (expected.exp() if log else expected)[mine & ~zero][0].item()
        raise Mistake(f"{what} gives probability 0 at {index_of(mine & ~zero)}, where it should be {should:.3g}.")
    if not log and (got <= 0).all() and not sum_note(got, exercise, log=True):
        raise Mistake(f"{AS_LOGS} Then: they sum to 1, and still differ from the right ones.")
    if not log and (got < 0).any():
        where = f"the negative number {got.min().item():.3g} at {index_of(got < 0)}"
        raise Mistake(f"{what} holds {where}: probabilities and weights lie between 0 and 1.")
    if log and (got > 1e-3).any() and not (got >= 0).all():
        where = f"{got.max().item():.3g} at {index_of(got > 1e-3)}"
        raise Mistake(f"{what} is {where}: a log-probability is never above 0. {total}".strip())
    try:
        close(got, expected, atol=atol, what=exercise.what)
    except Mistake as found:
        also = f"The sum gives it away: {total}" if total else "It does sum to 1: the normalisation is not the trouble."
        raise Mistake(f"{found} {also}") from None


def check_shape(got: Any, expected: Any, sizes: Mapping[int, str], what: str) -> None:
    """Raise a Mistake if the shapes differ, in the words of `sizes`, {6: "V tokens"}: what is missing, what too
    much."""
    if not isinstance(got, Tensor) or not isinstance(expected, Tensor) or got.shape == expected.shape or not sizes:
        return

    def named(shape: Sequence[int]) -> str:
        return "(" + ", ".join(sizes.get(n, str(n)) for n in shape) + ("," if len(shape) == 1 else "") + ")"

    text = f"{capitalised(what)} has shape {tuple(got.shape)}, that is {named(got.shape)}, "
    text += f"expected {tuple(expected.shape)}, {named(expected.shape)}."
    extra = [sizes[n] for n in got.shape if n not in expected.shape and n in sizes]
    lost = [sizes[n] for n in expected.shape if n not in got.shape and n in sizes]
    if sorted(got.shape) == sorted(expected.shape):
        text += " The dimensions are in another order: transpose."
    elif lost and extra:
        text += f" {lost[0]}: missing. {extra[0]}: still there. Sum over the {extra[0]}, and over nothing else."
    elif tuple(got.shape) == tuple(n for n in expected.shape if n != 1):
        text += " A dimension of size 1 is gone: squeeze(), or an index without a colon, takes it away."
    elif lost and got.dim() < expected.dim():
        text += f" You summed or averaged over the {lost[0]}: keep them."
    elif extra and got.dim() > expected.dim():
        text += f" Sum over the {extra[0]}."
    elif got.dim() == expected.dim():
        place = next(i for i, (n, m) in enumerate(zip(got.shape, expected.shape, strict=True)) if n != m)
        text += f" Dimension {place} has {got.shape[place]} entries and should have {expected.shape[place]}."
    raise Mistake(text)


def _is_log(exercise: Exercise) -> bool:
    return exercise.returns == "log-probabilities"


def _zeros(got: Tensor, returns: str) -> Tensor:
    """A student's -1e9 or torch.finfo(...).min is a probability of zero too."""
    return torch.where(got < -1e4, -torch.inf, got) if returns == "log-probabilities" else got


def _forms(got: Tensor, log: bool) -> list[tuple[str, Tensor]]:
    """The logarithm of the result, read as it should be and as the other form: [(what is wrong then, logarithm)]."""
    logs, probs = (AS_LOGS if not log else "", got), (AS_PROBS if log else "", got.log())
    readings = [logs, probs] if log else [probs, logs]
    return [(note, form) for note, form in readings if not form.isnan().any() and not form.isposinf().any()]


def _log(values: Tensor, log: bool) -> Tensor:
    return values.double() if log else values.double().log()


def _near(a: Tensor, b: Tensor, atol: float, log: bool = True) -> bool:
    """Equal within `atol`; with log=False two logarithms whose exp() are equal."""
    a, b = (a.double(), b.double()) if log else (a.double().exp(), b.double().exp())
    return bool(torch.isclose(a, b, atol=atol, rtol=1e-4).all())
