"""One step of DDPM's sampler."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_utils.diffusion import cosine_schedule, linear_schedule
from course_utils.exercises.engine import Exercise, case, draw

FORMULA = (
    "mean = (x_t - beta_t / sqrt(1 - alpha_bar_t) * eps) / sqrt(alpha_t), then + sqrt(beta_t) * noise, but "
    "not at t = 1."
)
TOO_FAR = (
    "Your index is too large at t = T: t counts from 1 and Python from 0, so beta_t is betas[t - 1], and "
    "alpha_bar_t the product over betas[:t]."
)
WHOLE = "Your result uses all T betas at once, and not those of step t: beta_t is betas[t - 1], one number."
CLASH = (
    "The shapes do not line up: x_t, eps and noise have one shape, and beta_t = betas[t - 1] is one number, "
    "not all (T,). mean = (x_t - beta_t / sqrt(1 - alpha_bar_t) * eps) / sqrt(alpha_t), then + sqrt(beta_t) *"
    " noise, but not at t = 1."
)
STEEP = torch.tensor([0.05, 0.3, 0.12, 0.4, 0.22, 0.35])


def ddpm_step(x_t: Tensor, eps: Tensor, t: int, betas: Tensor, noise: Tensor) -> Tensor:
    """x_{t-1} = (x_t - beta_t / sqrt(1 - alphas_bar_t) eps) / sqrt(alpha_t) + sqrt(beta_t) noise, without noise at t = 1.

    x_t, eps, noise: any one shape; t from 1 to T, betas (T,) with beta_1 first; alpha_t = 1 - beta_t, alphas_bar_t their product
    up to t. Source: Ho et al. (2020), section 3.2 and algorithm 2.
    """
    beta, alpha_bar = betas[t - 1], (1 - betas[:t]).prod()
    mean = (x_t - beta / (1 - alpha_bar).sqrt() * eps) / (1 - beta).sqrt()
    return mean if t == 1 else mean + beta.sqrt() * noise


def _step(x: Tensor, e: Tensor, t: int, b: Tensor, z: Tensor, **other: Any) -> Tensor:
    """scale (x - weight eps) + sigma z, with any of the three replaced."""
    beta, bar = _beta(b, t), _bar(b, t)
    weight = other.get("weight", beta / (1 - bar) ** 0.5)
    mean = other.get("scale", (1 - beta) ** -0.5) * (x - weight * e)
    return mean if t == other.get("last", 1) else mean + other.get("sigma", beta**0.5) * z


def _beta(b: Tensor, t: int) -> float:
    return b.tolist()[min(max(t, 1), len(b)) - 1]


def _bar(b: Tensor, t: int) -> float:
    return math.prod(1 - beta for beta in b.tolist()[: max(t, 0)])


def _wrong(**parts: Callable[[float, float, float], float]) -> Callable[..., Tensor]:
    """`_step` with parts computed from beta_t, alpha_bar_t and alpha_bar_{t-1}."""

    def step(x: Tensor, e: Tensor, t: int, b: Tensor, z: Tensor) -> Tensor:
        known = _beta(b, t), _bar(b, t), _bar(b, t - 1)
        return _step(x, e, t, b, z, **{name: part(*known) for name, part in parts.items()})

    return step


def _shifted(by: int, beta: bool = True, bar: bool = True) -> Callable[..., Tensor]:
    def step(x: Tensor, e: Tensor, t: int, b: Tensor, z: Tensor) -> Tensor:
        one, all_of_them = _beta(b, t + by * beta), _bar(b, t + by * bar)
        return _step(
            x, e, t, b, z, weight=one / max(1 - all_of_them, 1e-12) ** 0.5, scale=(1 - one) ** -0.5, sigma=one**0.5
        )

    return step


def _x0(x: Tensor, e: Tensor, t: int, b: Tensor, z: Tensor) -> Tensor:
    return (x - (1 - _bar(b, t)) ** 0.5 * e) / _bar(b, t) ** 0.5


def _ddim(x: Tensor, e: Tensor, t: int, b: Tensor, z: Tensor) -> Tensor:
    return _bar(b, t - 1) ** 0.5 * _x0(x, e, t, b, z) + (1 - _bar(b, t - 1)) ** 0.5 * e


def _weighted(bar: Callable[[Tensor, int], float]) -> Callable[..., Tensor]:
    """With another alpha_bar."""
    return lambda x, e, t, b, z: _step(x, e, t, b, z, weight=_beta(b, t) / (1 - bar(b, t)) ** 0.5)


def inputs(*shape: int, t: int, betas: Tensor, seed: int) -> tuple[Tensor, Tensor, int, Tensor, Tensor]:
    return draw(*shape, seed=seed), draw(*shape, seed=seed + 1), t, betas, draw(*shape, seed=seed + 2)


def _what_is_wrong(got: Any, expected: Tensor, *case: Any) -> str:
    """The factors of x_t, eps and noise in the result, beside the right ones."""
    x, eps, _, betas, noise = case
    if not isinstance(got, Tensor) or not got.is_floating_point() or not got.isfinite().all():
        return ""
    if got.shape != x.shape:
        whole = got.dim() and got.shape[-1] == len(betas) != x.shape[-1]
        return f"{WHOLE} (Yours has shape {tuple(got.shape)}, it should be {tuple(x.shape)}.)" if whole else ""
    basis = torch.stack([x, eps, noise]).double().flatten(1).T
    results = torch.stack([got.detach(), expected]).double().flatten(1).T
    factors = torch.linalg.lstsq(basis, results).solution  # (3, 2)
    if x.numel() < 4 or (basis @ factors - results).abs().max() > 1e-4:
        return ""
    mine, right = (
        "{:.3g} x_t + {:.3g} eps + {:.3g} noise".format(*column) for column in factors.T.round(decimals=5).tolist()
    )
    return f"Yours is {mine}, it should be {right}. {FORMULA}".replace("+ -", "- ")


EXERCISE = Exercise(
    "refinement_and_diffusion.ddpm_step",
    reference=ddpm_step,
    what="your result",
    right=FORMULA,
    errors={
        r"index \d+ is out of bounds|index out of range": TOO_FAR,
        r"must be Tensor, not float|'float' object has no attribute": "math.sqrt is for plain numbers and torch.sqrt for tensors: betas[t - 1] is a tensor, so (...).sqrt().",
        r"truth value of a Tensor|Boolean value of Tensor": "`if` needs one truth value: t is a plain number, t == 1 is one.",
        "shapes": CLASH,
    },
    explain=_what_is_wrong,
    cases=[
        case("the first step of the sampler, t = T", *inputs(3, 2, t=6, betas=STEEP, seed=1157)),
        case("a step in the middle", *inputs(4, 2, t=3, betas=STEEP, seed=1151)),
        case("another schedule", *inputs(5, 3, t=2, betas=STEEP[1:], seed=1154)),
        case("the last step, t = 1: no noise", *inputs(4, 3, t=1, betas=STEEP, seed=1160), names=False),
        *[
            case(
                f"the {name} schedule in float64, images, t = {t}", *inputs(2, 1, 4, 4, t=t, betas=betas, seed=1170 + t)
            )
            for name, betas in (("paper's linear", linear_schedule(1000)), ("cosine", cosine_schedule(50)))
            for t in (len(betas), 2)
        ],
        case("as many betas as coordinates", *inputs(3, 6, t=4, betas=STEEP, seed=1181)),
        case("a single number", *inputs(1, t=3, betas=STEEP, seed=1184)),
    ],
    atol=1e-5,
    mistakes={
        "No noise is added, at no t: it is missing at t = 1 only.\n"
        "Without it the samples collapse towards the middle of the data.": _wrong(sigma=lambda beta, bar, old: 0.0),
        "The noise is left out at t = T, the first step "
        "that the sampler takes: the last one is t = 1.": lambda x, e, t, b, z: _step(x, e, t, b, z, last=len(b)),
        "You use alpha_t for alpha_bar_t under eps: alpha_bar_t is the product of alpha_1 to alpha_t, what is left"
        " of x_0 after all t steps.": _wrong(weight=lambda beta, bar, old: beta**0.5),
        "You divide by sqrt(alpha_bar_t): one step back is divided by the factor of one step, sqrt(alpha_t).": _wrong(
            scale=lambda beta, bar, old: bar ** (-0.5)
        ),
        "Your index is off by one: t counts from 1 and Python from 0, so beta_t is betas[t - 1], and alpha_bar_t "
        "the product over betas[:t].": [_shifted(1), _shifted(-1), _shifted(1, bar=False), _shifted(-1, bar=False)],
        "Your alpha_bar is off by one: alpha_bar_t is the product of the first t factors, up to alpha_t itself, (1"
        " - betas[:t]).prod().": [_shifted(1, beta=False), _shifted(-1, beta=False)],
        "The root is missing in beta_t / sqrt(1 - alpha_bar_t): the standard deviation of the noise in x_t, not "
        "its variance.": _wrong(weight=lambda beta, bar, old: beta / (1 - bar)),
        "The root of alpha_t is missing: a step multiplied x by sqrt(alpha_t), so divide by it.": _wrong(
            scale=lambda beta, bar, old: 1 / (1 - beta)
        ),
        "You multiply by sqrt(alpha_t), which is the way forward: the step back divides by it.": _wrong(
            scale=lambda beta, bar, old: (1 - beta) ** 0.5
        ),
        "You add the predicted noise: it is what has to be taken out, x_t - ... eps.": _wrong(
            weight=lambda beta, bar, old: -beta / (1 - bar) ** 0.5
        ),
        "sigma_t is beta_t in yours: beta_t is the "
        "variance sigma_t^2, so the noise is multiplied by sqrt(beta_t).": _wrong(sigma=lambda beta, bar, old: beta),
        "The noise is not scaled (sigma = 1).\nMultiply it by sqrt(beta_t).": _wrong(sigma=lambda beta, bar, old: 1.0),
        "Your sigma_t is that of the posterior, beta_t (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t): here sigma_t^2 ="
        " beta_t.": _wrong(sigma=lambda beta, bar, old: (beta * (1 - old) / (1 - bar)) ** 0.5),
        "Your sigma_t is sqrt(1 - alpha_bar_t), all the noise of t steps: here sigma_t^2 = beta_t.": _wrong(
            sigma=lambda beta, bar, old: (1 - bar) ** 0.5
        ),
        "Your sigma_t is sqrt(alpha_t), what is kept: here sigma_t^2 = beta_t.": _wrong(
            sigma=lambda beta, bar, old: (1 - beta) ** 0.5
        ),
        "The noise stands inside the bracket, so it is divided by sqrt(alpha_t) too: it is added afterwards.": _wrong(
            sigma=lambda beta, bar, old: (beta / (1 - beta)) ** 0.5
        ),
        "You subtract the noise: add it.\n(It is as likely either way, but here it is given.)": _wrong(
            sigma=lambda beta, bar, old: -(beta**0.5)
        ),
        "The factor of eps is not right, it is beta_t / sqrt(1 - alpha_bar_t): beta_t is missing.": _wrong(
            weight=lambda beta, bar, old: (1 - bar) ** (-0.5)
        ),
        "The factor of eps is not right, it is beta_t / sqrt(1 - alpha_bar_t): sqrt(1 - alpha_bar_t) would take "
        "all noise out at once.": _wrong(weight=lambda beta, bar, old: (1 - bar) ** 0.5),
        "The factor of eps is not right, it is beta_t / sqrt(1 - alpha_bar_t): the division is missing.": _wrong(
            weight=lambda beta, bar, old: beta
        ),
        "The factor of eps is not right, it is beta_t / sqrt(1 - alpha_bar_t): no root of beta_t.": _wrong(
            weight=lambda beta, bar, old: (beta / (1 - bar)) ** 0.5
        ),
        "The factor of eps is not right, it is beta_t / sqrt(1 - alpha_bar_t): 1 - alpha_bar_t stands under the "
        "root, not alpha_bar_t.": _wrong(weight=lambda beta, bar, old: beta / bar**0.5),
        "The factor of eps is not right, it is beta_t / sqrt(1 - alpha_bar_t): it is 1 - alpha_t = beta_t on top, "
        "not alpha_t.": _wrong(weight=lambda beta, bar, old: (1 - beta) / (1 - bar) ** 0.5),
        "The factor of eps is not right, it is beta_t / sqrt(1 - alpha_bar_t): you subtract all of eps.": _wrong(
            weight=lambda beta, bar, old: 1.0
        ),
        "This is the estimate of x_0, all t steps at once: asked is one step, x_{t-1}.": _x0,
        "This is the way forward, from x_{t-1} to x_t: asked is the step back.": [
            lambda x, e, t, b, z: (1 - _beta(b, t)) ** 0.5 * x + _beta(b, t) ** 0.5 * z,
            lambda x, e, t, b, z: _bar(b, t) ** 0.5 * x + (1 - _bar(b, t)) ** 0.5 * z,
        ],
        "This is the step of another sampler, ddim.\nHere: the formula of ddpm.": _ddim,
        "Only x_t is divided by sqrt(alpha_t): the whole bracket is, the part with eps too.": lambda x, e, t, b, z: (
            _step(x, 0 * e, t, b, z) - _beta(b, t) / (1 - _bar(b, t)) ** 0.5 * e
        ),
        "The division by sqrt(alpha_t) is missing: the step forward made x smaller by that factor.": _wrong(
            scale=lambda beta, bar, old: 1.0
        ),
        "Your alpha_bar_t is a power of alpha_t: it is the product (1 - beta_1)(1 - beta_2) ...\n"
        "(1 - beta_t).": _weighted(lambda b, t: (1 - _beta(b, t)) ** t),
        "Your alpha_bar_t is the product of the betas: it is the product (1 - beta_1)(1 - beta_2) ...\n"
        "(1 - beta_t).": _weighted(lambda b, t: math.prod(b[:t].tolist())),
        "Your alpha_bar_t is 1 - the product of the betas: it is the product (1 - beta_1)(1 - beta_2) ...\n"
        "(1 - beta_t).": _weighted(lambda b, t: 1 - math.prod(b[:t].tolist())),
        "Your alpha_bar_t is 1 minus the sum of the betas: it is the product (1 - beta_1)(1 - beta_2) ...\n"
        "(1 - beta_t).": _weighted(lambda b, t: 1 - sum(b[:t].tolist())),
        "Your alpha_bar_t is the mean of the alphas: it is the product (1 - beta_1)(1 - beta_2) ...\n"
        "(1 - beta_t).": _weighted(lambda b, t: 1 - b[:t].mean().item()),
        "Your alpha_bar_t is the product over all T steps: it is the product (1 - beta_1)(1 - beta_2) ...\n"
        "(1 - beta_t).": _weighted(lambda b, t: _bar(b, len(b))),
        "Your alpha_bar_t is the product from t to T: it is the product (1 - beta_1)(1 - beta_2) ...\n"
        "(1 - beta_t).": _weighted(lambda b, t: math.prod((1 - b[t - 1 :]).tolist())),
        "eps and noise are swapped: eps "
        "is the model's prediction, which is taken out, noise is new.": lambda x, e, t, b, z: _step(x, z, t, b, e),
        "At t = 1 the result is the data itself, x_0.\n"
        "No noise is added there: it would stay in it.": lambda x, e, t, b, z: _step(x, e, t, b, z, last=0),
    },
    hints=[
        "Three numbers are needed: beta_t, alpha_t and alpha_bar_t. t counts from 1: which entries of betas are "
        "they made of?",
        "beta_t is betas[t - 1], alpha_t = 1 - beta_t, and alpha_bar_t = (1 - betas[:t]).prod(). First the mean, "
        "the bracket divided by sqrt(alpha_t); then sqrt(beta_t) times the noise, unless t is 1.",
        "beta, bar = betas[t - 1], (1 - betas[:t]).prod(); mean = (x_t - beta / (1 - bar).sqrt() * eps) / (1 - "
        "beta).sqrt(); mean + (t > 1) * beta.sqrt() * noise",
    ],
)
