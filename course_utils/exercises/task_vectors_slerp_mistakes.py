"""What known misconceptions about slerp compute: as coefficients of a and b, or as a whole result."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from course_utils.exercises.task_vectors_checks import Known

Pair = tuple[float, float]  # the coefficients of a and of b

FORMULA = (
    "The result is sin((1 - t) W) / sin W times a plus sin(t W) / sin W times b, where W = arccos(<a, b> / (|a| |b|)) is"
    " in radians."
)
LINE = (
    "This is the straight line, (1 - t) a + t b: half-way it is shorter than both ends. Take sin((1 - t) W) / sin W and"
    " sin(t W) / sin W in place of 1 - t and t. The line is for nearly parallel directions only."
)
SWAPPED = "t runs the wrong way: t = 0 is a, so a gets sin((1 - t) W) and b gets sin(t W)."
NORMALISED = (
    "You add up the normalised vectors, and their lengths get lost: a / |a| and b / |b| are for the ANGLE only. The"
    " coefficients multiply a and b as they are."
)
LENGTH = (
    "You normalised the vectors and gave the result a length afterwards: a / |a| and b / |b| are for the ANGLE only. The"
    " coefficients multiply a and b as they are."
)
NLERP = "You normalised the straight line: that meets the arc, but at another place. Take the sines, and a and b as they are."
DEGREES = "The angle is in degrees: math.sin and torch.sin take radians, which is what acos returns. No conversion."
COSINE = (
    "You use the COSINE in the place of the angle: W = arccos(<a, b> / (|a| |b|)), torch.arccos or math.acos of it."
)
NO_NORMS = (
    "You took the arccos of <a, b> without dividing by the lengths: the cosine is <a, b> / (|a| |b|), always between -1"
    " and 1."
)
ONE_NORM = (
    "<a, b> is not divided by both lengths, each once: the cosine is <a, b> / (|a| |b|). Are there brackets around the"
    " product of the lengths?"
)
COSINES = "You weigh with cosines: the coefficients are sines, sin((1 - t) W) / sin W and sin(t W) / sin W."
BY_ANGLE = "You divide by W: divide by sin W, so that the ends are a and b themselves."
NOT_DIVIDED = "The division is missing: divide both sines by sin W, else t = 0 would not give a."
MULTIPLIED = "You multiply by sin W: divide by it, else t = 0 would not give a."
BRACKETS = "sin(t) * W is not sin(t * W): the sine is of the PRODUCT, sin((1 - t) * W) and sin(t * W)."
INSIDE = "The division by sin W stands INSIDE the sine: sin((1 - t) * W) / sin(W), and not sin((1 - t) * W / sin(W))."
ONE_MINUS = "1 - t is in brackets, sin((1 - t) * W): sin(1 - t * W) is another angle."
REST = (
    "a gets 1 minus the coefficient of b: that is the rule of the straight line. On an arc a gets sin((1 - t) W) / sin W,"
    " and the two sum to more than 1."
)
MEAN_PRODUCT = "<a, b> is the SUM of the products, (a * b).sum(), and you take their mean."
DISTANCE = "arccos takes the cosine itself, <a, b> / (|a| |b|): 1 minus the cosine is a distance."
HALF = "You use half the angle (or twice the angle): W itself is the angle between a and b."
ARCSIN = "The angle comes from arcsin or arctan: W = arccos(<a, b> / (|a| |b|))."
SHORT_WAY = (
    "You took the absolute value of the cosine, or turned b round where it is negative (as for rotations, where q and -q"
    " are the same). Weights are not: -b is another model. Take the angle as it is, up to 180 degrees."
)
MINUS = "You subtract: the two terms are added."
NO_ONE_MINUS = "1 - t is missing or doubled: a gets sin((1 - t) W), b gets sin(t W)."
SUM_ONE = "You divided by the sum of the two sines, so that the coefficients sum to 1: divide by sin W. On an arc they sum to more."
START = "This is a, as if t were 0: nothing was mixed."
END = "This is b, as if t were 1: nothing was mixed."
MIDDLE = "This is the mean of a and b, whatever t is."
ROWS = (
    "You took one angle for each row (or column): both tensors are ONE long vector each, with one angle. Flatten for the"
    " angle: (a * b).sum() / (a.norm() * b.norm())."
)
ELEMENTS = "You took an angle for each ENTRY: there is one angle between a and b as whole vectors, with <a, b> = (a * b).sum()."
NO_MIXTURE = f"Your result is no sum x a + y b with two numbers x and y. {FORMULA}"
NAN = (
    "The result holds nan or inf: arccos takes a number between -1 and 1, <a, b> / (|a| |b|). Are both lengths in the"
    " denominator, in brackets?"
)
PARALLEL = (
    "a and b have (nearly) one direction here, so sin W is 0 or all digits of it are lost. If the cosine is above 0.9995,"
    " return the straight line (1 - t) a + t b, before arccos."
)
NO_ABS = (
    "a and b are opposite here: the cosine is near -1, and sin W is as good as 0 as well. Compare its absolute value,"
    " abs(cos) > 0.9995, and return the straight line (1 - t) a + t b."
)
LINE_SWAPPED = "On the straight line t runs the wrong way: (1 - t) a + t b."
ONE_END = "For parallel directions you return a, b, their mean or 0, whatever t is: return (1 - t) a + t b."
LINE_LENGTH = "For parallel directions the straight line stays as it is: (1 - t) a + t b, without normalising."
FLAT = "The result is still flat: flatten for the angle only, or .reshape(a.shape) at the end."
ONE = "This is one number: the result has the shape of a and b."
CLASH = "The shapes do not line up: the result has the shape of a and b, and the two coefficients are plain numbers."
COMPLAINTS = [
    (
        r"1D tensors expected|cannot be multiplied|inconsistent tensor size",
        "a and b may be matrices: take <a, b> as (a * b).sum(), or flatten both for the angle, .reshape(-1).",
    ),
    (
        r"math domain error|from -1 up to 1",
        f"Rounding gave a cosine above 1. {PARALLEL}",
    ),
    (r"division by zero", PARALLEL),
    (
        r"must be Tensor, not float|received an invalid combination of arguments - got \(float",
        "torch.sin and torch.arccos take tensors, math.sin and math.acos take numbers: stay with one of the two.",
    ),
    (
        r"one element tensors|Boolean value of Tensor",
        "There is one angle for the two WHOLE tensors, so the cosine is one number: (a * b).sum() / (a.norm() * b.norm()).",
    ),
    (
        r"Dimension out of range",
        "a and b may have one dimension or more: take the angle of the flattened tensors, .reshape(-1).",
    ),
]


def angle(a: Tensor, b: Tensor) -> float:
    return math.acos((a * b).sum().item() / (a.norm() * b.norm()).item())


def arc(w: float, t: float) -> Pair:
    """The coefficients of a and b on an arc of the angle w."""
    return math.sin((1 - t) * w) / math.sin(w), math.sin(t * w) / math.sin(w)


def coefficients(a: Tensor, b: Tensor, t: float) -> list[tuple[str, Pair]]:
    """What misconceptions multiply a and b with."""
    dot, p, q = (a * b).sum().item(), a.norm().item(), b.norm().item()
    w = angle(a, b)
    x, y = arc(w, t)
    s, sines = math.sin(w), (math.sin((1 - t) * w), math.sin(t * w))
    line = (1 - t) * p, t * q
    length, unit_line = ((1 - t) * a + t * b).norm().item(), ((1 - t) / p * a + t / q * b).norm().item()
    straight = (1 - t) * p + t * q
    found = [
        (LINE, (1 - t, t)),
        (f"{LINE} And: {SWAPPED}", (t, 1 - t)),
        (SWAPPED, (y, x)),
        (NORMALISED, (x / p, y / q)),
        (f"{NORMALISED} And: {SWAPPED}", (y / p, x / q)),
        *((LENGTH, (x / p * norm, y / q * norm)) for norm in (p, q, (p + q) / 2, straight, math.sqrt(p * q), length)),
        (LENGTH, (x / p * p ** (1 - t) * q**t, y / q * p ** (1 - t) * q**t)),
        *((NLERP, ((1 - t) / length * norm, t / length * norm)) for norm in (1.0, p, q, (p + q) / 2, straight)),
        *((NLERP, ((1 - t) / p / unit_line * n, t / q / unit_line * n)) for n in (1.0, p, q, (p + q) / 2, straight)),
        (DEGREES, arc(math.degrees(w), t)),
        (COSINE, arc(math.cos(w), t)),
        (NOT_DIVIDED, sines),
        (COSINES, (math.cos((1 - t) * w) / math.cos(w), math.cos(t * w) / math.cos(w))),
        (COSINES, (math.cos((1 - t) * w) / s, math.cos(t * w) / s)),
        (COSINES, (math.cos(t * w), math.sin(t * w))),
        (COSINES, (math.cos(t * math.pi / 2), math.sin(t * math.pi / 2))),
        (BY_ANGLE, (sines[0] / w, sines[1] / w)),
        (MULTIPLIED, (sines[0] * s, sines[1] * s)),
        (BRACKETS, (math.sin(1 - t) * w / s, math.sin(t) * w / s)),
        (BRACKETS, (math.sin(1 - t) * w / math.sin(1) / w, math.sin(t) * w / math.sin(1) / w)),
        (BRACKETS, (math.sin(1 - t) / s, math.sin(t) / s)),
        (BRACKETS, (math.sin(1 - t) * w, math.sin(t) * w)),
        (INSIDE, (math.sin((1 - t) * w / s), math.sin(t * w / s))),
        (ONE_MINUS, (math.sin(1 - t * w) / s, y)),
        (REST, (1 - y, y)),
        (HALF, arc(w / 2, t)),
        *([(HALF, arc(2 * w, t))] if abs(math.sin(2 * w)) > 1e-6 else []),
        (ARCSIN, arc(math.asin(math.cos(w)), t)),
        (ARCSIN, arc(math.atan(math.cos(w)), t)),
        (MINUS, (x, -y)),
        (NO_ONE_MINUS, (1.0, y)),
        (NO_ONE_MINUS, (y, y)),
        (NO_ONE_MINUS, (x, x)),
        (SUM_ONE, (x / (x + y), y / (x + y))),
        (START, (1.0, 0.0)),
        (END, (0.0, 1.0)),
        (MIDDLE, (0.5, 0.5)),
        (MIDDLE, arc(w, 0.5)),
        (LENGTH, (line[0] / p / straight, line[1] / q / straight)),
    ]
    if math.cos(w) < 0:
        found += [(SHORT_WAY, arc(math.pi - w, t)), (SHORT_WAY, _turned(w, t, -1.0)), (SHORT_WAY, _turned(w, t, 1.0))]
    if a.dim() > 1:
        rows = [torch.nn.functional.cosine_similarity(a, b, dim=dim).mean().item() for dim in (0, 1)]
        found += [(ROWS, arc(math.acos(cosine), t)) for cosine in rows]
    return [*found, *_wrong_cosines(dot, p, q, t, a.numel())]


def _turned(w: float, t: float, sign: float) -> Pair:
    x, y = arc(math.pi - w, t)
    return sign * x, -sign * y


def _wrong_cosines(dot: float, p: float, q: float, t: float, count: int) -> Iterator[tuple[str, Pair]]:
    known = [(NO_NORMS, dot), (ONE_NORM, dot / p), (ONE_NORM, dot / q), (ONE_NORM, dot / p**2), (ONE_NORM, dot / q**2)]
    known += [(ONE_NORM, dot / p * q), (ONE_NORM, dot / (p * q) ** 2), (ONE_NORM, dot / (p * p * q * q) ** 0.25)]
    known += [(MEAN_PRODUCT, dot / count / (p * q)), (DISTANCE, 1 - dot / (p * q))]
    for hint, cosine in known:
        if abs(cosine) < 1:
            yield hint, arc(math.acos(cosine), t)


def elsewhere(a: Tensor, b: Tensor, t: float) -> Known:
    """Results that are no mixture with two numbers: angles of rows, columns or entries."""

    def mixed(cosine: Tensor) -> Tensor:
        w = cosine.clamp(-1 + 1e-7, 1 - 1e-7).arccos()
        return (((1 - t) * w).sin() * a + (t * w).sin() * b) / w.sin()

    def by_dim(dim: int, keepdim: bool) -> Tensor:
        dot = (a * b).sum(dim, keepdim=keepdim)
        return dot / (a.norm(dim=dim, keepdim=keepdim) * b.norm(dim=dim, keepdim=keepdim))

    tries: list[tuple[str, Callable[[], Tensor]]] = [(ELEMENTS, lambda: mixed(a * b / (a.norm() * b.norm())))]
    if a.dim() > 1:
        tries += [(ROWS, lambda d=d: mixed(by_dim(d, True))) for d in range(a.dim())]
        tries += [(ROWS, lambda: mixed(by_dim(0, False)))]
        if a.shape[0] == a.shape[1]:
            tries += [(ROWS, lambda: mixed(by_dim(1, False))), (ELEMENTS, lambda: mixed(a @ b / (a.norm() * b.norm())))]
        if a.shape[0] == a.shape[1]:
            tries += [(ELEMENTS, lambda: mixed(a @ b.T / (a.norm() * b.norm())))]
    return [(hint, torch.as_tensor(value())) for hint, value in tries]
