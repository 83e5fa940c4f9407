"""Tests of 04_task_vectors_and_merging: slerp, the way along the arc between two vectors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises import task_vectors_slerp_mistakes as wrong
from course_utils.exercises.engine import Mistake, close
from course_utils.exercises.mistakes import near
from course_utils.exercises.task_vectors_checks import shaped, tried, vectors
from course_utils.merging.task_vectors import slerp_tensors


def _check(answer: Callable, a: Tensor, b: Tensor, t: float) -> None:
    got, right = _tried(answer, a, b, t), slerp_tensors(a, b, t).double()
    if near(got, right):
        return
    x, y = a.double(), b.double()
    if not got.isfinite().all():
        raise Mistake(wrong.NAN)
    for hint, value in wrong.elsewhere(x, y, t):
        if value.shape == right.shape and near(got, value) and not near(value, right):
            raise Mistake(hint)
    mine, asked = _coefficients(got, x, y), wrong.arc(wrong.angle(x, y), t)
    if mine is None:
        raise Mistake(f"{wrong.NO_MIXTURE} It is {_first(got)} first, expected {_first(right)}.")
    said = f" (Yours is {_shown(mine)}, it should be {_shown(asked)}; W is {wrong.angle(x, y):.4g}.)"
    for hint, known in wrong.coefficients(x, y, t):
        if _same(mine, known) and not _same(known, asked):
            raise Mistake(hint + said)
    for hint, known in wrong.coefficients(x, y, t):  # right in the one, wrong in the other
        one, other = (math.isclose(mine[i], known[i], rel_tol=1e-3, abs_tol=1e-4) for i in (0, 1))
        if (one and _close(mine[1], asked[1]) and not _close(known[0], asked[0])) or (
            other and _close(mine[0], asked[0]) and not _close(known[1], asked[1])
        ):
            raise Mistake(f"One of the two is right. The other: {hint}{said}")
    raise Mistake(f"{wrong.FORMULA}{said}")


def _tried(answer: Callable, a: Tensor, b: Tensor, t: float) -> Tensor:
    got: Any = tried(answer, a, b, t, clash=wrong.CLASH, complaints=wrong.COMPLAINTS)
    if isinstance(got, (int, float)) or (isinstance(got, Tensor) and got.dim() == 0):
        raise Mistake(wrong.ONE)
    return shaped(got, a, {(a.numel(),): wrong.FLAT}, wrong.CLASH, "the result")


def _coefficients(got: Tensor, a: Tensor, b: Tensor) -> tuple[float, float] | None:
    """x, y with got = x a + y b; None if it is no such sum. a and b are not parallel."""
    basis = torch.stack([a.reshape(-1), b.reshape(-1)], dim=1)
    found = torch.linalg.lstsq(basis, got.reshape(-1, 1)).solution
    off = (basis @ found - got.reshape(-1, 1)).abs().max()
    return tuple(found[:, 0].tolist()) if off < 1e-4 * max(1.0, got.abs().max()) else None


def _close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-4)


def _same(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return _close(a[0], b[0]) and _close(a[1], b[1])


def _shown(pair: tuple[float, float]) -> str:
    return f"{pair[0]:.4g} a + {pair[1]:.4g} b".replace("+ -", "- ")


def _first(values: Tensor) -> str:
    return f"{values.reshape(-1)[0].item():.4g}"


def between(angle: float, length_a: float, length_b: float, *shape: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two tensors with this angle (in radians) and these lengths."""
    x, y = vectors(2, math.prod(shape), seed).double()
    x = x / x.norm()
    y = y - (x @ y) * x
    b = math.cos(angle) * x + math.sin(angle) * y / y.norm()
    return (length_a * x).float().reshape(shape), (length_b * b).float().reshape(shape)


def slerp_vectors(answer: Callable) -> None:
    """two vectors of different lengths, 65 degrees apart, t = 0.3"""
    _check(answer, *between(1.134, 1.6, 0.7, 7, seed=481), 0.3)


def slerp_obtuse(answer: Callable) -> None:
    """two long vectors more than 90 degrees apart, t = 0.8"""
    _check(answer, *between(2.1, 5.0, 8.0, 9, seed=482), 0.8)


def slerp_matrices(answer: Callable) -> None:
    """two matrices, each taken as one long vector; and square ones"""
    a, b = between(1.2, 3.0, 2.5, 3, 5, seed=483)
    _check(answer, a, b, 0.4)
    a, b = between(0.9, 3.0, 4.0, 4, 4, seed=484)
    _check(answer, a, b, 0.4)


def slerp_ends(answer: Callable) -> None:
    """t = 0 gives a, t = 1 gives b; half-way between vectors of one length the length is the same"""
    a, b = between(1.4, 2.0, 2.0, 8, seed=485)
    for t, end, name in ((0.0, a, "a"), (1.0, b, "b")):
        close(_tried(answer, a, b, t), end.double(), what=f"with t = {t:g} the result, which is {name} itself,")
    length = _tried(answer, a, b, 0.5).norm().item()
    if not math.isclose(length, 2.0, rel_tol=1e-3):
        raise Mistake(
            f"a and b have the length 2, and the result half-way has the length {length:.4g}. {wrong.FORMULA}"
        )


def slerp_parallel(answer: Callable) -> None:
    """directions that agree, or nearly, or are opposite: the straight line, and no division by sin W = 0"""
    a, b = between(0.004, 1.5, 2.5, 6, seed=486)
    for x, y in ((a, a.clone()), (a, 2 * a), (a, b), (a, -a), (a, -b)):
        _straight(_tried(answer, x, y, 0.3), x.double(), y.double(), 0.3)


def _straight(got: Tensor, a: Tensor, b: Tensor, t: float) -> None:
    right = (1 - t) * a + t * b
    if torch.allclose(got, right, atol=1e-3 * right.norm().item()):
        return
    opposite = (a * b).sum() < 0
    if not got.isfinite().all():
        raise Mistake(wrong.NO_ABS if opposite else wrong.PARALLEL)
    known = [(wrong.LINE_SWAPPED, t * a + (1 - t) * b), (wrong.ONE_END, a), (wrong.ONE_END, b)]
    known += [(wrong.LINE_LENGTH, right / right.norm())]
    known += [] if opposite else [(wrong.ONE_END, (a + b) / 2), (wrong.ONE_END, 0 * a)]
    for hint, value in known:
        if torch.allclose(got, value, atol=1e-3 * right.norm().item()):
            raise Mistake(hint)
    if opposite:
        raise Mistake(wrong.NO_ABS)
    raise Mistake(f"{wrong.PARALLEL} Yours is {_first(got)} first, expected {_first(right)}.")
