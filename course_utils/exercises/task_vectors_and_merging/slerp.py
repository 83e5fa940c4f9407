"""Slerp: the way along the arc between two vectors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import acos, asin, atan, cos, degrees, pi, prod, sin
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.exercises.engine import Exercise, alike, case, draw
from course_utils.merging.task_vectors import slerp_tensors


def _between(angle: float, length_a: float, length_b: float, *shape: int, seed: int = 486) -> tuple[Tensor, Tensor]:
    x, y = draw(2, prod(shape), seed=seed).double()
    x = x / x.norm()
    y = y - (x @ y) * x
    b = cos(angle) * x + sin(angle) * y / y.norm()
    return (length_a * x).float().reshape(shape), (length_b * b).float().reshape(shape)


A = torch.tensor([3.0, 4.0, 0.0, 12.0])  # of the length 13: the cosine with 2 A is 1 exactly
LENGTHS = (lambda t, p, q: 1, lambda t, p, q: p, lambda t, p, q: (p + q) / 2, lambda t, p, q: (1 - t) * p + t * q)


def _cosine(a: Tensor, b: Tensor) -> float:
    return ((a * b).sum() / (a.norm() * b.norm())).item()


def _arc(w: float, t: float) -> tuple[float, float]:
    """What a and b are multiplied with, on an arc of the angle w."""
    return sin((1 - t) * w) / sin(w), sin(t * w) / sin(w)


def _w(a: Tensor, b: Tensor) -> float:
    """The angle. Mistakes on the arc raise here on the straight line: what is done there is left open."""
    if abs(_cosine(a, b)) > 0.9995:
        raise ValueError("left open")
    return acos(_cosine(a, b))


def _normal(wrong: Callable[[Tensor, Tensor, float], Tensor]) -> list[Callable]:
    """What has been normalised, with the lengths that people give to it."""
    return [lambda a, b, t, f=f: wrong(a, b, t) * f(t, a.norm(), b.norm()) + 0 * _w(a, b) for f in LENGTHS]


def _weights(*wrong: Callable) -> list[Callable]:
    return [lambda a, b, t, f=f: (c := f(w := _w(a, b), t, *_arc(w, t)))[0] * a + c[1] * b for f in wrong]


def _turn(*wrong: Callable[[float], float]) -> list[Callable]:
    return _weights(*[lambda w, t, x, y, f=f: _arc(f(w), t) for f in wrong])


def _angle(*wrong: Callable[[Tensor, Tensor], Tensor]) -> list[Callable]:
    """Another cosine, of a and b: a number, or one for each row or entry."""

    def mixed(f: Callable, a: Tensor, b: Tensor, t: float) -> Tensor:
        w = f(a.double(), b.double()).acos() + 0 * _w(a, b)
        return ((((1 - t) * w).sin() * a + (t * w).sin() * b) / w.sin()).float()

    return [partial(mixed, f) for f in wrong]


def _line(*wrong: Callable[[Tensor, Tensor, float], Tensor]) -> list[Callable]:
    return [lambda a, b, t, f=f: (f if abs(_cosine(a, b)) > 0.9995 else slerp_tensors)(a, b, t) for f in wrong]


def _limit(above: float, below: float, a: Tensor, b: Tensor, t: float) -> Tensor:
    w = acos(max(-1.0, min(1.0, _cosine(a, b))))
    x, y = _arc(w, t) if -below <= cos(w) <= above else (1 - t, t)
    return x * a + y * b


def _unit(x: Tensor) -> Tensor:
    return x / x.norm()


def _equal(got: Any, a: Tensor, b: Tensor, t: float) -> bool:
    """Near each other, but for nearly opposite directions: there sin W is small, and float32 has three digits."""
    rtol = 1e-3 if _cosine(a, b) < -0.99 else 3e-5
    return isinstance(got, Tensor) and alike(got, slerp_tensors(a, b, t), atol=1e-5, rtol=rtol)


def _explain(got: Any, expected: Tensor, a: Tensor, b: Tensor, t: float) -> str:
    if not isinstance(got, Tensor) or got.shape != a.shape:
        return ""
    cosine, y = _cosine(a, b), got.detach().double().reshape(-1, 1)
    if abs(cosine) > 0.9995:
        where = "are opposite" if cosine < 0 else "have (nearly) one direction"
        return f"a and b {where} here, and sin W is 0 or imprecise: if |cos W| > 0.9995, take the straight line."
    if not y.isfinite().all():
        return "The result holds nan or inf: arccos takes a number between -1 and 1, <a, b> / (|a| |b|)."
    basis = torch.stack([a.double().flatten(), b.double().flatten()], 1)
    found = torch.linalg.lstsq(basis, y).solution
    if (basis @ found - y).abs().max() > 1e-4 * max(1.0, y.abs().max().item()):
        return "Your result is no sum x a + y b with two numbers x and y."
    (u, v), (p, q) = found[:, 0].tolist(), _arc(acos(cosine), t)
    return f"Yours is ({u:.4g}) a + ({v:.4g}) b, it should be {p:.4g} a + {q:.4g} b; W is {acos(cosine):.4g}."


EXERCISE = Exercise(
    "task_vectors_and_merging.slerp",
    reference=slerp_tensors,
    cases=[
        case("two vectors of different lengths, 65 degrees apart", *_between(1.134, 1.6, 0.7, 7, seed=481), 0.3),
        case("two long vectors more than 90 degrees apart", *_between(2.1, 5.0, 8.0, 9, seed=482), 0.8),
        case("two matrices, each taken as one long vector", *_between(1.2, 3.0, 2.5, 3, 5, seed=483), 0.4),
        case("t = 1 gives b", *_between(1.4, 2.0, 3.0, 8, seed=485), 1.0),
        case("directions that agree: the straight line, and no division by sin W = 0", A, 2 * A, 0.3),
        case("opposite directions: the straight line", A, -1.5 * A, 0.3),
        case("cos W is 0.99944, which is still the arc", *_between(0.0335, 1.0, 20.0, 6), 0.3, names=False),
        case("cos W is 0.99952, which is the straight line", *_between(0.031, 1.0, 20.0, 6), 0.3),
        # names=False: near the limit float32 and float64 differ by more than two mistakes do elsewhere.
        case("cos W is -0.99944, which is still the arc", *_between(pi - 0.0335, 1.0, 2.0, 6), 0.3, names=False),
        case("cos W is -0.99952, which is the straight line", *_between(pi - 0.031, 1.0, 2.0, 6), 0.3),
    ],
    equal=_equal,
    mistakes={
        "This is the straight line, for nearly parallel directions only: half-way it is shorter than both ends.": (
            _weights(lambda w, t, x, y: (1 - t, t), lambda w, t, x, y: (t, 1 - t))
        ),
        "t runs the wrong way: t = 0 is a.": _weights(lambda w, t, x, y: (y, x)),
        "a and b were normalised: a / |a| and b / |b| are for the angle only.": _normal(
            lambda a, b, t: slerp_tensors(_unit(a), _unit(b), t)
        ),
        "This is a point of the straight line, normalised: that meets the arc, but at another place.": [
            *_normal(lambda a, b, t: _unit((1 - t) * a + t * b)),
            *_normal(lambda a, b, t: _unit((1 - t) * _unit(a) + t * _unit(b))),
        ],
        "The angle is in degrees: sin takes radians.": _turn(degrees),
        "The cosine is used as the angle: W is its arccos.": _turn(cos),
        "W is the arccos of the cosine, not its arcsin or arctan, nor half or twice the angle.": _turn(
            lambda w: asin(cos(w)), lambda w: atan(cos(w)), lambda w: w / 2, lambda w: 2 * w
        ),
        "<a, b> is not divided by both lengths, each once: are there brackets around their product?": [
            *_angle(lambda a, b: (a * b).sum(), lambda a, b: (a * b).sum() / a.norm() * b.norm()),
            *_angle(lambda a, b: (a * b).sum() / a.norm() ** 2, lambda a, b: (a * b).sum() / b.norm() ** 2),
        ],
        "The coefficients are cosines: they should be sines.": _weights(
            lambda w, t, *_: [cos(s * w) / cos(w) for s in (1 - t, t)], lambda w, t, *_: (cos(t * w), sin(t * w))
        ),
        "The division by sin W is missing, or is another one: then t = 0 would not give a.": _weights(
            lambda w, t, x, y: (x * sin(w), y * sin(w)),
            lambda w, t, x, y: (x * sin(w) / w, y * sin(w) / w),
            lambda w, t, x, y: (x, y * sin(w)),
            lambda w, t, x, y: (x * sin(w), y),
        ),
        "The brackets are wrong: the sines are of the products (1 - t) W and t W, and divided by sin W afterwards.": (
            _weights(
                lambda w, t, x, y: (sin(1 - t) * w / sin(w), sin(t) * w / sin(w)),
                lambda w, t, x, y: (sin((1 - t) * w / sin(w)), sin(t * w / sin(w))),
                lambda w, t, x, y: (sin(1 - t * w) / sin(w), y),
            )
        ),
        "The sign of the cosine is lost, or b turned round, as for rotations: -b is another model.": [
            *_turn(lambda w: min(w, pi - w)),
            *_weights(lambda w, t, x, y: (x, y) if w < 1.6 else (_arc(pi - w, t)[0], -_arc(pi - w, t)[1])),
        ],
        "The second term is subtracted: the two are added.": _weights(lambda w, t, x, y: (x, -y)),
        "1 - t is missing, or t stands in both terms.": _weights(lambda w, t, x, y: (1, y), lambda w, t, x, y: (y, y)),
        "This does not depend on t.": _weights(lambda *_: (1, 0), lambda *_: (0, 1), lambda *_: (0.5, 0.5)),
        "There is one angle for each row, column or entry: flatten both tensors for the angle, there is one.": [
            *_angle(*[lambda a, b, d=d: F.cosine_similarity(a, b, dim=d).unsqueeze(d) for d in (0, -1)]),
            *_angle(lambda a, b: F.cosine_similarity(a, b, dim=-1).mean(), lambda a, b: _unit(a) * _unit(b)),
        ],
        "On the straight line t runs the wrong way.": _line(lambda a, b, t: t * a + (1 - t) * b),
        "For parallel directions this is a, b, 0 or something of another length: take the straight line.": _line(
            *(lambda a, b, t: a, lambda a, b, t: b, lambda a, b, t: (a + b) / 2, lambda a, b, t: 0 * a),
            lambda a, b, t: _unit((1 - t) * a + t * b),
        ),
        "The limit is not 0.9995, or not on both sides.": [
            *[partial(_limit, limit, limit) for limit in (0.9, 0.999, 0.9999)],
            *[partial(_limit, 0.9995, below) for below in (0.9, 0.999, 0.9999)],
        ],
        "The result is flat: flatten for the angle only.": lambda a, b, t: slerp_tensors(a, b, t).flatten(),
    },
    explain=_explain,
    errors={
        "1D tensors|cannot be multiplied|inconsistent tensor|Dimension out": "a and b may be matrices: flatten.",
        "shapes": "The shapes do not line up: the result has the shape of a and b, the coefficients are numbers.",
        "math domain error|from -1 up to 1|division by zero": "sin W is 0 for one direction: the line comes first.",
        r"must be Tensor, not float|got \(float": "torch.sin takes tensors, math.sin takes numbers.",
        "one element tensors|Boolean value of Tensor": "There is one angle, so one cosine, for the whole tensors.",
    },
    hints=[
        "First the angle: what does the scalar product of two vectors tell, and what must it be divided by? And "
        "what happens to the formula when the angle is 0?",
        "cos = (a * b).sum() / (a.norm() * b.norm()), W = acos(cos). If abs(cos) > 0.9995 return the line. Else a and "
        "b, as they are, times sin((1 - t) W) / sin W and sin(t W) / sin W.",
        "cos = ((a * b).sum() / (a.norm() * b.norm())).item(); if abs(cos) > 0.9995: return (1 - t) * a + t * b; "
        "W = math.acos(cos); return (math.sin((1 - t) * W) * a + math.sin(t * W) * b) / math.sin(W)",
    ],
)
