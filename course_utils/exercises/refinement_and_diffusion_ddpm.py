"""Tests of 10_refinement_and_diffusion: one step of DDPM's sampler."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_utils.diffusion import cosine_schedule, linear_schedule
from course_utils.exercises.engine import Mistake
from course_utils.exercises.mistakes import draw
from course_utils.exercises.refinement_and_diffusion_checks import compare


def ddpm_step(x_t: Tensor, eps: Tensor, t: int, betas: Tensor, noise: Tensor) -> Tensor:
    """x_{t-1} = (x_t - beta_t / sqrt(1 - alphas_bar_t) eps) / sqrt(alpha_t) + sqrt(beta_t) noise, without noise at t = 1.

    x_t, eps, noise: any one shape; t from 1 to T, betas (T,) with beta_1 first; alpha_t = 1 - beta_t, alphas_bar_t their product
    up to t. Source: Ho et al. (2020), section 3.2 and algorithm 2.
    """
    beta, alpha_bar = betas[t - 1], (1 - betas[:t]).prod()
    mean = (x_t - beta / (1 - alpha_bar).sqrt() * eps) / (1 - beta).sqrt()
    return mean if t == 1 else mean + beta.sqrt() * noise


FORMULA = "mean = (x_t - beta_t / sqrt(1 - alpha_bar_t) * eps) / sqrt(alpha_t), then + sqrt(beta_t) * noise, but not at t = 1."
LAST_NOISE = "At t = 1 the result is the data itself, x_0: no noise is added, it would stay in it."
NO_NOISE = "No noise is added, at no t: it is missing at t = 1 only. Without it the samples collapse towards the middle of the data."
WRONG_LAST = "The noise is left out at t = T, the first step that the sampler takes: the last one is t = 1."
ALPHA_FOR_BAR = (
    "You use alpha_t for alpha_bar_t under eps: alpha_bar_t is the PRODUCT of alpha_1 to alpha_t, what is left of x_0 after all t"
    " steps."
)
BAR_FOR_ALPHA = "You divide by sqrt(alpha_bar_t): one step back is divided by the factor of one step, sqrt(alpha_t)."
INDEX = (
    "Your index is off by one: t counts from 1 and Python from 0, so beta_t is betas[t - 1], and alpha_bar_t the product over"
    " betas[:t]."
)
BAR_INDEX = "Your alpha_bar is off by one: alpha_bar_t is the product of the first t factors, up to alpha_t itself, (1 - betas[:t]).prod()."
ROOT_BAR = "The root is missing in beta_t / sqrt(1 - alpha_bar_t): the standard deviation of the noise in x_t, not its variance."
ROOT_ALPHA = "The root of alpha_t is missing: a step multiplied x by sqrt(alpha_t), so divide by it."
TIMES_ALPHA = "You multiply by sqrt(alpha_t), which is the way forward: the step back divides by it."
SIGN = "You add the predicted noise: it is what has to be taken OUT, x_t - ... eps."
VARIANCE = "sigma_t is beta_t in yours: beta_t is the VARIANCE sigma_t^2, so the noise is multiplied by sqrt(beta_t)."
UNSCALED = "The noise is not scaled (sigma = 1): multiply it by sqrt(beta_t)."
OTHER_SIGMA = "Your sigma_t is {}: here sigma_t^2 = beta_t."
INSIDE = "The noise stands inside the bracket, so it is divided by sqrt(alpha_t) too: it is added afterwards."
MINUS = "You subtract the noise: ADD it. (It is as likely either way, but here it is given.)"
WEIGHT = "The factor of eps is not right, it is beta_t / sqrt(1 - alpha_bar_t): {}."
X0 = "This is the estimate of x_0, all t steps at once: asked is one step, x_{t-1}."
FORWARD = "This is the way forward, from x_{t-1} to x_t: asked is the step back."
DDIM = "This is the step of another sampler, DDIM. Here: the formula of DDPM."
BRACKET = "Only x_t is divided by sqrt(alpha_t): the whole bracket is, the part with eps too."
NO_DIVISION = "The division by sqrt(alpha_t) is missing: the step forward made x smaller by that factor."
PRODUCT = "Your alpha_bar_t is {}: it is the product (1 - beta_1)(1 - beta_2) ... (1 - beta_t)."
SWAPPED = "eps and noise are swapped: eps is the model's prediction, which is taken out, noise is new."
TOO_FAR = (
    "Your index is too large at t = T: t counts from 1 and Python from 0, so beta_t is betas[t - 1], and alpha_bar_t the product over"
    " betas[:t]."
)
WHOLE = "Your result uses all T betas at once, and not those of step t: beta_t is betas[t - 1], one number."
CLASH = f"The shapes do not line up: x_t, eps and noise have one shape, and beta_t = betas[t - 1] is one number, not all (T,). {FORMULA}"
COMPLAINTS = [
    (r"index \d+ is out of bounds|index out of range", TOO_FAR),
    (
        r"must be Tensor, not float|'float' object has no attribute",
        "math.sqrt is for plain numbers and torch.sqrt for tensors: betas[t - 1] is a tensor, so (...).sqrt().",
    ),
    (
        r"truth value of a Tensor|Boolean value of Tensor",
        "`if` needs one truth value: t is a plain number, t == 1 is one.",
    ),
]


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


MISTAKES = [
    (NO_NOISE, _wrong(sigma=lambda beta, bar, old: 0.0)),
    (WRONG_LAST, lambda x, e, t, b, z: _step(x, e, t, b, z, last=len(b))),
    (ALPHA_FOR_BAR, _wrong(weight=lambda beta, bar, old: beta**0.5)),
    (BAR_FOR_ALPHA, _wrong(scale=lambda beta, bar, old: bar**-0.5)),
    (INDEX, _shifted(1)),
    (INDEX, _shifted(-1)),
    (INDEX, _shifted(1, bar=False)),
    (INDEX, _shifted(-1, bar=False)),
    (BAR_INDEX, _shifted(1, beta=False)),
    (BAR_INDEX, _shifted(-1, beta=False)),
    (ROOT_BAR, _wrong(weight=lambda beta, bar, old: beta / (1 - bar))),
    (ROOT_ALPHA, _wrong(scale=lambda beta, bar, old: 1 / (1 - beta))),
    (TIMES_ALPHA, _wrong(scale=lambda beta, bar, old: (1 - beta) ** 0.5)),
    (SIGN, _wrong(weight=lambda beta, bar, old: -beta / (1 - bar) ** 0.5)),
    (VARIANCE, _wrong(sigma=lambda beta, bar, old: beta)),
    (UNSCALED, _wrong(sigma=lambda beta, bar, old: 1.0)),
    (
        OTHER_SIGMA.format("that of the posterior, beta_t (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t)"),
        _wrong(sigma=lambda beta, bar, old: (beta * (1 - old) / (1 - bar)) ** 0.5),
    ),
    (
        OTHER_SIGMA.format("sqrt(1 - alpha_bar_t), all the noise of t steps"),
        _wrong(sigma=lambda beta, bar, old: (1 - bar) ** 0.5),
    ),
    (OTHER_SIGMA.format("sqrt(alpha_t), what is kept"), _wrong(sigma=lambda beta, bar, old: (1 - beta) ** 0.5)),
    (INSIDE, _wrong(sigma=lambda beta, bar, old: (beta / (1 - beta)) ** 0.5)),
    (MINUS, _wrong(sigma=lambda beta, bar, old: -(beta**0.5))),
    (WEIGHT.format("beta_t is missing"), _wrong(weight=lambda beta, bar, old: (1 - bar) ** -0.5)),
    (
        WEIGHT.format("sqrt(1 - alpha_bar_t) would take all noise out at once"),
        _wrong(weight=lambda beta, bar, old: (1 - bar) ** 0.5),
    ),
    (WEIGHT.format("the division is missing"), _wrong(weight=lambda beta, bar, old: beta)),
    (WEIGHT.format("no root of beta_t"), _wrong(weight=lambda beta, bar, old: (beta / (1 - bar)) ** 0.5)),
    (
        WEIGHT.format("1 - alpha_bar_t stands under the root, not alpha_bar_t"),
        _wrong(weight=lambda beta, bar, old: beta / bar**0.5),
    ),
    (
        WEIGHT.format("it is 1 - alpha_t = beta_t on top, not alpha_t"),
        _wrong(weight=lambda beta, bar, old: (1 - beta) / (1 - bar) ** 0.5),
    ),
    (WEIGHT.format("you subtract all of eps"), _wrong(weight=lambda beta, bar, old: 1.0)),
    (X0, _x0),
    (FORWARD, lambda x, e, t, b, z: (1 - _beta(b, t)) ** 0.5 * x + _beta(b, t) ** 0.5 * z),
    (FORWARD, lambda x, e, t, b, z: _bar(b, t) ** 0.5 * x + (1 - _bar(b, t)) ** 0.5 * z),
    (DDIM, _ddim),
    (BRACKET, lambda x, e, t, b, z: _step(x, 0 * e, t, b, z) - _beta(b, t) / (1 - _bar(b, t)) ** 0.5 * e),
    (NO_DIVISION, _wrong(scale=lambda beta, bar, old: 1.0)),
    (PRODUCT.format("a power of alpha_t"), _weighted(lambda b, t: (1 - _beta(b, t)) ** t)),
    (PRODUCT.format("the product of the betas"), _weighted(lambda b, t: math.prod(b[:t].tolist()))),
    (PRODUCT.format("1 - the product of the betas"), _weighted(lambda b, t: 1 - math.prod(b[:t].tolist()))),
    (PRODUCT.format("1 minus the sum of the betas"), _weighted(lambda b, t: 1 - sum(b[:t].tolist()))),
    (PRODUCT.format("the mean of the alphas"), _weighted(lambda b, t: 1 - b[:t].mean().item())),
    (PRODUCT.format("the product over all T steps"), _weighted(lambda b, t: _bar(b, len(b)))),
    (PRODUCT.format("the product from t to T"), _weighted(lambda b, t: math.prod((1 - b[t - 1 :]).tolist()))),
    (SWAPPED, lambda x, e, t, b, z: _step(x, z, t, b, e)),
]


def inputs(*shape: int, t: int, betas: Tensor, seed: int) -> tuple[Tensor, Tensor, int, Tensor, Tensor]:
    return draw(*shape, seed=seed), draw(*shape, seed=seed + 1), t, betas, draw(*shape, seed=seed + 2)


STEEP = torch.tensor([0.05, 0.3, 0.12, 0.4, 0.22, 0.35])
CASES = [
    inputs(3, 2, t=6, betas=STEEP, seed=1157),  # t = T first: an index that is too large is told by its error
    inputs(4, 2, t=3, betas=STEEP, seed=1151),
    inputs(5, 3, t=2, betas=STEEP[1:], seed=1154),
]


def _seen(got: Any, case: tuple) -> str:
    """What a result is made of: its factors of x_t, eps and noise, and those that are right; "" if it is no such sum."""
    x, eps, _, _, noise = case
    if (
        not isinstance(got, Tensor)
        or got.shape != x.shape
        or not got.is_floating_point()
        or not got.isfinite().all()
        or x.numel() < 4
    ):
        return ""
    basis, results = (
        torch.stack([x, eps, noise]).double().flatten(1).T,
        torch.stack([got.detach(), ddpm_step(*case)]).double().flatten(1).T,
    )
    factors = torch.linalg.lstsq(basis, results).solution  # (3, 2)
    if (basis @ factors - results).abs().max() > 1e-4:
        return ""
    mine, right = (
        "{:.3g} x_t + {:.3g} eps + {:.3g} noise".format(*column) for column in factors.T.round(decimals=5).tolist()
    )
    return f"Yours is {mine}, it should be {right}. ".replace("+ -", "- ")


def _check(answer: Callable, *case: Any) -> None:
    x, _, t, betas, _ = case

    def look(got: Any, expected: Tensor) -> None:
        if (
            isinstance(got, Tensor)
            and got.shape != x.shape
            and got.dim()
            and got.shape[-1] == len(betas) != x.shape[-1]
        ):
            raise Mistake(f"{WHOLE} (Yours has shape {tuple(got.shape)}, it should be {tuple(x.shape)}.)")

    try:
        compare(answer, case, ddpm_step, CASES, MISTAKES, FORMULA, CLASH, COMPLAINTS, look=look)
    except Mistake as mistake:
        if not str(mistake).endswith(FORMULA):
            raise
        raise Mistake(str(mistake).replace(FORMULA, _seen(answer(*case), case) + FORMULA)) from None


def step_middle(answer: Callable) -> None:
    """six uneven betas: the first step that a sampler takes, t = T = 6, then t = 3 of 6, and t = 2 of 5"""
    for case in CASES:
        _check(answer, *case)


def step_last(answer: Callable) -> None:
    """t = 1: the noise that is given is not added"""
    case = inputs(4, 2, t=1, betas=STEEP, seed=1161)
    got = answer(*case)
    *others, noise = case
    if isinstance(got, Tensor) and got.shape == noise.shape:
        still = ddpm_step(*others, noise)
        extra = (got.detach() - still) / noise
        if extra.std() < 1e-3 < extra.mean().abs():
            raise Mistake(LAST_NOISE)
    _check(answer, *case)


def step_schedules(answer: Callable) -> None:
    """the linear schedule of the paper, T = 1000, and a cosine schedule, T = 50, both in float64; images (B, 1, 4, 4)"""
    for betas in (linear_schedule(1000), cosine_schedule(50)):
        for t in (len(betas), len(betas) // 2, 2, 1):
            _check(answer, *inputs(2, 1, 4, 4, t=t, betas=betas, seed=1170 + t))


def step_as_many(answer: Callable) -> None:
    """as many betas as coordinates, so that all of them at once would fit; and a single number"""
    _check(answer, *inputs(3, 6, t=4, betas=STEEP, seed=1181))
    _check(answer, *inputs(1, t=3, betas=STEEP, seed=1184))
