"""A jump of DDIM's sampler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from course_utils.exercises.engine import Exercise, case, draw
from course_utils.exercises.refinement_and_diffusion import in_factors


def ddim_step(x_t: Tensor, eps: Tensor, abar_t: float, abar_s: float, noise: Tensor, eta: float) -> Tensor:
    """x_s = sqrt(abar_s) x0 + sqrt(1 - abar_s - sigma^2) eps + sigma noise with x0 = (x_t - sqrt(1 - abar_t) eps) /
    sqrt(abar_t) and sigma^2 = eta^2 (1 - abar_s) / (1 - abar_t) (1 - abar_t / abar_s).

    x_t, eps, noise: any one shape; 0 < abar_t < abar_s <= 1. Source: Song et al. (2021), DDIM, equations 12 and 16.
    """
    return _step(x_t, eps, abar_t, abar_s, noise, eta)


def _x0(x: Tensor, e: Tensor, a: float, b: float) -> Tensor:
    return (x - (1 - a) ** 0.5 * e) / a**0.5


def _variance(a: float, b: float, eta: float) -> float:
    return eta**2 * (1 - b) / (1 - a) * (1 - a / b)


def _step(
    x: Tensor,
    e: Tensor,
    a: float,
    b: float,
    z: Tensor,
    eta: float,
    x0: Callable = _x0,
    kept: Callable = lambda a, b: b**0.5,
    direction: Callable = lambda a, b, v: max(1 - b - v, 0.0) ** 0.5,
    variance: Callable = _variance,
    sigma: Callable = lambda v: v**0.5,
) -> Tensor:
    v = variance(a, b, eta)
    return kept(a, b) * x0(x, e, a, b) + direction(a, b, v) * e + sigma(v) * z


def _wrong(**parts: Callable) -> Callable[..., Tensor]:
    """The step with other parts."""
    return lambda x, e, a, b, z, eta: _step(x, e, a, b, z, eta, **parts)


VARIANCES = {
    "eta stands in it without a square": lambda a, b, eta: eta * _variance(a, b, 1),
    "eta is missing in it": lambda a, b, eta: _variance(a, b, 1),
    "it is eta, whatever the times are": lambda a, b, eta: eta**2,
    "(1 - abar_s) / (1 - abar_t) is missing": lambda a, b, eta: eta**2 * (1 - a / b),
    "(1 - abar_t / abar_s) is missing": lambda a, b, eta: eta**2 * (1 - b) / (1 - a),
    "1 - abar_t stands where 1 - abar_t / abar_s should": lambda a, b, eta: eta**2 * (1 - b) / (1 - a) * (1 - a),
}
NEGATIVE = "Your result has the root of a negative number in it (abar_t is below abar_s, and both are at most 1)"
SIGMA = "sigma^2 = eta^2 (1 - abar_s) / (1 - abar_t) (1 - abar_t / abar_s)."


def inputs(*shape: int, a: float, b: float, eta: float, seed: int) -> tuple:
    return draw(*shape, seed=seed), draw(*shape, seed=seed + 1), a, b, draw(*shape, seed=seed + 2), eta


def _what_is_wrong(got: Any, expected: Tensor, *case: Any) -> str:
    x, eps, _, _, noise, _ = case
    if isinstance(got, Tensor) and got.is_complex():
        return f"{NEGATIVE}, and so it is complex."
    return in_factors(got, expected, x, eps, noise)


EXERCISE = Exercise(
    "refinement_and_diffusion.ddim_step",
    reference=ddim_step,
    what="your result",
    right="It is x0 and eps, mixed as the noising process would mix them at s, and sigma times the noise.",
    errors={
        "must be Tensor, not float|'float' object has no": (
            "abar_t, abar_s and eta are plain numbers: math.sqrt or ** 0.5 is for them, torch.sqrt for tensors."
        ),
        "math domain error": f"{NEGATIVE}.",
    },
    explain=_what_is_wrong,
    cases=[
        case("a jump in the middle, eta = 0.5", *inputs(4, 2, a=0.2, b=0.6, eta=0.5, seed=1301)),
        case("eta = 0: nothing is random", *inputs(3, 3, a=0.1, b=0.7, eta=0.0, seed=1304), names=False),
        case("eta = 1: the ancestral sampler", *inputs(4, 3, a=0.3, b=0.4, eta=1.0, seed=1307)),
        case("the first jump: nearly pure noise", *inputs(5, 2, a=0.001, b=0.05, eta=0.8, seed=1310)),
        case("the last jump, abar_s = 1", *inputs(4, 2, a=0.9, b=1.0, eta=0.5, seed=1313), names=False),
        case("images", *inputs(2, 1, 4, 4, a=0.5, b=0.8, eta=0.3, seed=1316)),
        case("a single number", *inputs(1, a=0.5, b=0.55, eta=0.9, seed=1319)),
    ],
    atol=1e-5,
    mistakes={
        "You do not take the predicted noise out of x_t before you divide.\n"
        "x0 = (x_t - sqrt(1 - abar_t) eps) / sqrt(abar_t).": _wrong(x0=lambda x, e, a, b: x / a**0.5),
        "Your x0 is made with abar_s.\nx_t is at step t: abar_t says how much of x0 is left in it.": _wrong(
            x0=lambda x, e, a, b: _x0(x, e, b, a)
        ),
        "Your x0 is not divided by sqrt(abar_t).": _wrong(x0=lambda x, e, a, b: x - (1 - a) ** 0.5 * e),
        "Roots are missing in your x0.\nx0 = (x_t - sqrt(1 - abar_t) eps) / sqrt(abar_t).": [
            _wrong(x0=lambda x, e, a, b: (x - (1 - a) * e) / a**0.5),
            _wrong(x0=lambda x, e, a, b: (x - (1 - a) ** 0.5 * e) / a),
            _wrong(x0=lambda x, e, a, b: (x - (1 - a) * e) / a),
        ],
        "This is x0, the end of the walk.\nReturn x_s: noise belongs to it, as much as the process has at s.": (
            lambda x, e, a, b, z, eta: _x0(x, e, a, b)
        ),
        "Your factor of x0 is not sqrt(abar_s).": [
            _wrong(kept=lambda a, b: b),
            _wrong(kept=lambda a, b: a**0.5),
            _wrong(kept=lambda a, b: 1.0),
        ],
        "Fresh noise is added, but eps is not made smaller for it.\n"
        "Its factor is sqrt(1 - abar_s - sigma^2), so that both together have the variance 1 - abar_s.": _wrong(
            direction=lambda a, b, v: (1 - b) ** 0.5
        ),
        "From the factor of eps you subtract sigma, not its square.\nIt is sqrt(1 - abar_s - sigma^2).": _wrong(
            direction=lambda a, b, v: max(1 - b - v**0.5, 0) ** 0.5
        ),
        "The factor of eps is not right.\nIt is sqrt(1 - abar_s - sigma^2).": [
            _wrong(direction=lambda a, b, v: 1 - b - v),
            _wrong(direction=lambda a, b, v: max(1 - a - v, 0.0) ** 0.5),
            _wrong(direction=lambda a, b, v: (1 - b) ** 0.5 - v**0.5),
            _wrong(direction=lambda a, b, v: -((1 - b - v) ** 0.5)),
            _wrong(direction=lambda a, b, v: 1.0),
            _wrong(direction=lambda a, b, v: 0.0),
        ],
        "Nothing of your result is random, whatever eta is.\nThis is the step for eta = 0: the noise is missing.": (
            lambda x, e, a, b, z, eta: _step(x, e, a, b, z, 0.0)
        ),
        "eps is made smaller, but the fresh noise is missing.\nsigma noise is added in the end.": _wrong(
            sigma=lambda v: 0.0
        ),
        "The noise is multiplied by sigma^2.\nIts factor is sigma, the root.": _wrong(sigma=lambda v: v),
        "The noise is not multiplied by sigma.": _wrong(sigma=lambda v: 1.0),
        **{f"Your sigma is not right: {what}.\n{SIGMA}": _wrong(variance=of) for what, of in VARIANCES.items()},
        "eps and noise are swapped.\neps is the model's prediction, which points to x_s; noise is new.": (
            lambda x, e, a, b, z, eta: _step(x, z, a, b, e, eta)
        ),
    },
    hints=[
        "Three parts: what the picture would be, the noise that the model sees in it, and fresh noise. How much of "
        "each does a picture at step s have?",
        "First x0, the jump of the noising process solved for it; then sigma; then sqrt(abar_s) x0 + "
        "sqrt(1 - abar_s - sigma^2) eps + sigma noise.",
        "x0 = (x_t - (1 - abar_t) ** 0.5 * eps) / abar_t ** 0.5; "
        "v = eta**2 * (1 - abar_s) / (1 - abar_t) * (1 - abar_t / abar_s); "
        "abar_s ** 0.5 * x0 + (1 - abar_s - v) ** 0.5 * eps + v ** 0.5 * noise",
    ],
)
