"""Tests of 06_sparsity_and_kernels: a matrix-vector product that skips the zeros, and does not multiply by them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.diagnose import attempt
from course_utils.exercises.engine import Mistake, close
from course_utils.exercises.engine.calls import StudentError
from course_utils.exercises.mistakes import draw, recognise
from course_utils.sparsity import sparse_matvec

IN, OUT, LIVE = 8, 11, 5  # three different numbers: a shape then tells where it comes from

STEPS = "index = h.nonzero().squeeze(1), then h[index] @ weight_t[index]."
NOT_SKIPPED = (
    "A row of weight_t whose activation is 0 was multiplied and not skipped: 0 * nan and 0 * inf are nan. Neither a plain"
    f" product nor one with a mask saves any reading. Take only the rows that are needed: {STEPS}"
)
REPLACED = (
    "nan or inf was replaced by a number, in the weights or in the result. That reads every row all the same, and hides"
    f" an inf in a row that IS needed. Do not touch the others at all: {STEPS}"
)
POSITIVE = (
    "You keep only the activations above 0. Negative ones are not zero, and count as well: not every activation comes out"
    " of a ReLU. Ask h != 0."
)
MINUS = "The sign of the result is the wrong way round."
NEGATIVE = "You keep only the activations below 0: ask h != 0, which is true for both signs."
SMALL = (
    "Small activations were dropped: the check has an activation of 1e-6 that meets weights of 1e6. Only exact zeros may be"
    " skipped without changing the result: h != 0, not abs(h) > a threshold."
)
UNWEIGHTED = (
    "You add up the right rows, but do not multiply them with h: each row counts h[k] times, y = sum of h[k] *"
    " weight_t[k]."
)
AVERAGED = "You took the mean over the rows: add them up, for a matrix-vector product is a sum."
ABSOLUTE = "The sign of the activations is lost (abs): multiply by h[k] itself."
INDEX = "You multiplied the rows by their numbers, the index itself: multiply by the activations h[index]."
SQUARED = "Each row is multiplied by h[k] twice: once is enough."
WRONG_WAY = "The zeros were kept, and the others skipped: the condition is the wrong way round, take h != 0."
FIRST_ONLY = "Only the first non-zero activation was used: take all of them, h.nonzero().squeeze(1)."
FRONT = (
    "You paired the first rows of weight_t with the non-zeros of h: gather the rows by the same index, weight_t[index], and"
    " not weight_t[:len(index)]."
)
H_NOT_GATHERED = (
    "The rows of weight_t were gathered, but h was not: the product needs the same entries of both, h[index] (n,) with"
    " weight_t[index] (n, out)."
)
WEIGHT_NOT_GATHERED = (
    "h was gathered, but weight_t was not: take the rows that belong to the same index, weight_t[index], (n, out)."
)
COLUMNS = (
    "You gathered COLUMNS of weight_t: it is W^T, (in, out), so the activation h[k] belongs to its ROW k, weight_t[index]."
    " Columns would also lie scattered in memory."
)
TRANSPOSED = "The product is the wrong way round: weight_t is W^T, (in, out), so y = h @ weight_t and not weight_t @ h."
UNSUMMED = "These are the n rows themselves: add them up, so that (out,) is left. h[index] @ weight_t[index] does both."
SQUEEZE = (
    "The shape has a dimension of size 1, or one of n, too many: h.nonzero() is (n, 1), not (n,). Use"
    " h.nonzero().squeeze(1), and return (out,)."
)
INNER = (
    "This is one number: y has one for each of the out outputs, (out,). Sum over the rows only, not over the outputs."
)
ALL_ZERO = (
    "Here every activation is 0, so no row is left: the result is out zeros, and still a tensor of shape (out,). h[index] @"
    " weight_t[index] gives that by itself for an empty index; a loop should start from torch.zeros(out)."
)
CLASH = (
    "The shapes do not line up. weight_t[index] is (n, out) and h[index] is (n,): h[index] @ weight_t[index] is (out,)."
)

MISTAKES = [
    (POSITIVE, lambda w, h: h.clamp(min=0) @ w),
    (MINUS, lambda w, h: -(h @ w)),
    (NEGATIVE, lambda w, h: h.clamp(max=0) @ w),
    (UNWEIGHTED, lambda w, h: w[h != 0].sum(0)),
    (UNWEIGHTED, lambda w, h: w.sum(0)),
    (UNWEIGHTED, lambda w, h: w[h != 0].mean(0)),
    (AVERAGED, lambda w, h: h @ w / len(h)),
    (AVERAGED, lambda w, h: h @ w / (h != 0).sum()),
    (ABSOLUTE, lambda w, h: h.abs() @ w),
    (INDEX, lambda w, h: h.nonzero().squeeze(1).to(w.dtype) @ w[h != 0]),
    (SQUARED, lambda w, h: h.square() @ w),
    (WRONG_WAY, lambda w, h: h[h == 0] @ w[h == 0]),
    (WRONG_WAY, lambda w, h: w[h == 0].sum(0)),
    (FIRST_ONLY, lambda w, h: h[h != 0][0] * w[h != 0][0]),
    (FRONT, lambda w, h: h[h != 0] @ w[: (h != 0).sum()]),
    (FRONT, lambda w, h: h[: (h != 0).sum()] @ w[h != 0]),
]


def inputs(seed: int, rows: int = IN, out: int = OUT) -> tuple[Tensor, Tensor]:
    """weight_t (rows, out), and h (rows,) with both signs and three zeros, the first of them at the front."""
    weight_t, h = draw(rows, out, seed=seed), draw(rows, seed=seed + 1)
    h[1], h[2] = h[1].abs() + 0.5, -h[2].abs() - 0.5
    h[[0, 3, 6]] = 0
    return weight_t, h


CASES = [inputs(611), inputs(613, 9, 9)]


def _check(answer: Callable, weight_t: Tensor, h: Tensor) -> None:
    _judge(_tried(answer, weight_t, h), answer, weight_t, h)


def _judge(got: Any, answer: Callable, weight_t: Tensor, h: Tensor) -> None:
    """Raise the Mistake that explains `got`, which is answer(weight_t, h); return None if it is right."""
    expected = sparse_matvec(weight_t, h)
    if isinstance(got, Tensor) and got.shape != expected.shape:
        _shape(got, len(h), len(expected), int((h != 0).sum()))
    if isinstance(got, Tensor) and got.isnan().any():
        raise Mistake(NOT_SKIPPED)
    try:
        close(got, expected, what="your result")
    except Mistake as mistake:
        recognise(answer, CASES, MISTAKES)
        raise Mistake(f"{mistake} Right is the sum over the k with h[k] != 0 of h[k] * weight_t[k]: {STEPS}") from None


def _tried(answer: Callable, *args: Any) -> Any:
    try:
        return attempt(answer, *args, clash=CLASH)
    except StudentError as wrapped:
        if isinstance(wrapped.error, IndexError) and "out of" in str(wrapped.error):
            raise Mistake(f"An index is too large for its dimension. Did you gather columns? {COLUMNS}") from None
        raise
    except Mistake as mistake:
        raise Mistake(_clash(str(mistake), *args)) from None


def _clash(said: str, weight_t: Tensor, h: Tensor) -> str:
    """Which operand was not gathered, from the sizes in torch's message about (matrix, vector)."""
    rows, out, live = len(h), weight_t.shape[1], int((h != 0).sum())
    plain = re.search(r"mat \((\d+)x(\d+)\), vec \((\d+)\)", said)  # matrix @ vector
    turned = re.search(r"\(1x(\d+) and (\d+)x(\d+)\)", said)  # vector @ matrix
    if not (plain or turned) or len({rows, out, live}) < 3:
        return said
    length, *sizes = map(int, turned.groups() if turned else plain.group(3, 1, 2))
    sizes = set(sizes)
    cases = [
        ({live, out}, rows, H_NOT_GATHERED),
        ({rows, out}, live, WEIGHT_NOT_GATHERED),
        ({rows, out}, rows, TRANSPOSED),
        ({live, out}, live, TRANSPOSED),
    ]
    if sizes == {rows, live}:
        return COLUMNS
    if turned and sizes == {rows, out}:  # h was gathered by a condition of the student's own
        return WEIGHT_NOT_GATHERED
    return next((hint for wrong, n, hint in cases if sizes == wrong and length == n), said)


def _shape(got: Tensor, rows: int, out: int, live: int) -> None:
    """A result in another shape than (out,). Raises Mistake if the shape tells why."""
    shape = tuple(got.shape)
    said = f" (Your result has shape {shape}, it should be ({out},).)"
    if shape in ((rows,), (live,)):
        raise Mistake(COLUMNS + said)
    if shape in ((live, out), (rows, out)):
        raise Mistake(UNSUMMED + said)
    if not shape or shape == (1,):
        raise Mistake(INNER + said)
    if len(shape) > 1 and (1 in shape or shape[0] == live):
        raise Mistake(SQUEEZE + said)


def matvec_random(answer: Callable) -> None:
    """activations of both signs, some of them 0; more outputs than inputs, and a square weight"""
    for weight_t, h in CASES:
        _check(answer, weight_t, h)


def matvec_poisoned(answer: Callable) -> None:
    """the rows of weight_t that belong to zeros hold nan, then inf: they must not be multiplied"""
    for poison in (torch.nan, torch.inf):
        weight_t, h = inputs(615)
        weight_t[h == 0] = poison
        got = _tried(answer, weight_t, h)
        if isinstance(got, Tensor) and got.shape == (OUT,) and (got == 0).all():
            raise Mistake(REPLACED)
        _judge(got, answer, weight_t, h)


def matvec_infinite(answer: Callable) -> None:
    """a row that IS needed holds inf: it must arrive in the result"""
    weight_t, h = inputs(617)
    weight_t[1, 4] = torch.inf
    got = _tried(answer, weight_t, h)
    if isinstance(got, Tensor) and got.shape == (OUT,) and got[4].isfinite():
        raise Mistake(REPLACED)
    _judge(got, answer, weight_t, h)


def matvec_small(answer: Callable) -> None:
    """a tiny activation with large weights counts too; and an h without any zero"""
    weight_t, h = inputs(619)
    h[5], weight_t[5] = 1e-6, 1e6 * draw(OUT, seed=620)
    got = _tried(answer, weight_t, h)
    dropped = h.clone()
    dropped[5] = 0
    if isinstance(got, Tensor) and got.shape == (OUT,) and torch.allclose(got.float(), dropped @ weight_t, atol=1e-4):
        raise Mistake(SMALL)
    _judge(got, answer, weight_t, h)
    _check(answer, weight_t, h + (h == 0))


def matvec_all_zero(answer: Callable) -> None:
    """every activation is 0: nothing to read, and out zeros"""
    weight_t, h = torch.full((IN, OUT), torch.nan), torch.zeros(IN)
    try:
        got = answer(weight_t, h)
    except StudentError as wrapped:
        said = f"{type(wrapped.error).__name__}: {str(wrapped.error).splitlines()[0] if str(wrapped.error) else ''}"
        raise Mistake(f"{ALL_ZERO} (Your function raised {said})") from None
    if isinstance(got, (int, float)) or (isinstance(got, Tensor) and got.shape != (OUT,)):
        raise Mistake(ALL_ZERO)
    if isinstance(got, Tensor) and got.isnan().any():
        raise Mistake(NOT_SKIPPED)
    close(got, torch.zeros(OUT), what="your result")
