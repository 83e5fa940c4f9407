"""One step of DDPM's sampler."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_utils.diffusion import cosine_schedule, linear_schedule
from course_utils.exercises.engine import Exercise, case, draw
from course_utils.exercises.refinement_and_diffusion import in_factors

STEEP = torch.tensor([0.05, 0.3, 0.12, 0.4, 0.22, 0.35])


def ddpm_step(x_t: Tensor, eps: Tensor, t: int, betas: Tensor, noise: Tensor) -> Tensor:
    """x_{t-1} = (x_t - beta_t / sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_t) + sqrt(beta_t) noise, no noise at t = 1.

    x_t, eps, noise: any one shape; t from 1 to T, betas (T,) with beta_1 first; alpha_t = 1 - beta_t, alpha_bar_t their
    product up to t. Source: Ho et al. (2020), section 3.2 and algorithm 2.
    """
    beta, alpha_bar = betas[t - 1], (1 - betas[:t]).prod()
    mean = (x_t - beta / (1 - alpha_bar).sqrt() * eps) / (1 - beta).sqrt()
    return mean if t == 1 else mean + beta.sqrt() * noise


def _beta(b: Tensor, t: int) -> float:
    return b.tolist()[t - 1]


def _bar(b: Tensor, t: int) -> float:
    return math.prod(1 - beta for beta in b.tolist()[: max(t, 0)])


def _wrong(last: int = 1, beta: Callable = _beta, bar: Callable = _bar, **parts: Callable) -> Callable[..., Tensor]:
    """scale (x - weight eps) + sigma z: another last step, beta_t(betas, t), alpha_bar_t(betas, t), or parts, which are
    made of beta_t, alpha_bar_t and alpha_bar_{t-1}. last: -1 stands for T."""

    def step(x: Tensor, e: Tensor, t: int, b: Tensor, z: Tensor) -> Tensor:
        known = B, product, _ = beta(b, t), bar(b, t), _bar(b, t - 1)
        given = {"weight": B / (1 - product) ** 0.5, "scale": (1 - B) ** -0.5, "sigma": B**0.5}
        given |= {name: part(*known) for name, part in parts.items()}
        mean = given["scale"] * (x - given["weight"] * e)
        return mean if t == last % (len(b) + 1) else mean + given["sigma"] * z

    return step


def _x0(x: Tensor, e: Tensor, t: int, b: Tensor, z: Tensor) -> Tensor:
    return (x - (1 - _bar(b, t)) ** 0.5 * e) / _bar(b, t) ** 0.5


def _ddim(x: Tensor, e: Tensor, t: int, b: Tensor, z: Tensor) -> Tensor:
    return _bar(b, t - 1) ** 0.5 * _x0(x, e, t, b, z) + (1 - _bar(b, t - 1)) ** 0.5 * e


def inputs(*shape: int, t: int, betas: Tensor, seed: int) -> tuple[Tensor, Tensor, int, Tensor, Tensor]:
    return draw(*shape, seed=seed), draw(*shape, seed=seed + 1), t, betas, draw(*shape, seed=seed + 2)


def _what_is_wrong(got: Any, expected: Tensor, *case: Any) -> str:
    """The factors of x_t, eps and noise in the result, beside the right ones."""
    x, eps, _, betas, noise = case
    if isinstance(got, Tensor) and got.shape != x.shape:
        whole = got.dim() and got.shape[-1] == len(betas) != x.shape[-1]
        return f"Your result uses all T betas at once, and has shape {tuple(got.shape)}.\n{INDEX}" if whole else ""
    return in_factors(got, expected, x, eps, noise)


# Wrong parts, made of beta_t, alpha_bar_t and alpha_bar_{t-1}, and wrong alpha_bar_t, made of all betas and t.
WEIGHTS = {
    "alpha_t stands where alpha_bar_t should": lambda beta, bar, old: beta**0.5,
    "the root is missing": lambda beta, bar, old: beta / (1 - bar),
    "beta_t is missing": lambda beta, bar, old: (1 - bar) ** -0.5,
    "sqrt(1 - alpha_bar_t) would take all noise out at once": lambda beta, bar, old: (1 - bar) ** 0.5,
    "the division is missing": lambda beta, bar, old: beta,
    "there is no root of beta_t": lambda beta, bar, old: (beta / (1 - bar)) ** 0.5,
    "alpha_bar_t stands under the root where 1 - alpha_bar_t should": lambda beta, bar, old: beta / bar**0.5,
    "alpha_t stands on top where beta_t = 1 - alpha_t should": lambda beta, bar, old: (1 - beta) / (1 - bar) ** 0.5,
    "it is 1, so that all of eps is subtracted": lambda beta, bar, old: 1.0,
    "its sign is wrong, so that the predicted noise is added": lambda beta, bar, old: -beta / (1 - bar) ** 0.5,
}
SIGMAS = {
    "beta_t, which is the variance": lambda beta, bar, old: beta,
    "1, the noise is not scaled": lambda beta, bar, old: 1.0,
    "that of the posterior": lambda beta, bar, old: (beta * (1 - old) / (1 - bar)) ** 0.5,
    "sqrt(1 - alpha_bar_t), all the noise of t steps": lambda beta, bar, old: (1 - bar) ** 0.5,
    "negative": lambda beta, bar, old: -(beta**0.5),
    "divided by sqrt(alpha_t), in the bracket": lambda beta, bar, old: (beta / (1 - beta)) ** 0.5,
}
SCALES = {
    "sqrt(alpha_bar_t), all t steps at once": lambda beta, bar, old: bar**-0.5,
    "alpha_t, without the root": lambda beta, bar, old: 1 / (1 - beta),
    "1 / sqrt(alpha_t), which is the way forward": lambda beta, bar, old: (1 - beta) ** 0.5,
    "nothing": lambda beta, bar, old: 1.0,
}
BARS = {
    "a power of alpha_t": lambda b, t: (1 - _beta(b, t)) ** t,
    "the product of the betas": lambda b, t: math.prod(b[:t].tolist()),
    "1 - the product of the betas": lambda b, t: 1 - math.prod(b[:t].tolist()),
    "1 minus the sum of the betas": lambda b, t: 1 - sum(b[:t].tolist()),
    "the product over all T steps": lambda b, t: _bar(b, len(b)),
    "the product of one factor too few": lambda b, t: _bar(b, t - 1),
    "the product of one factor too many": lambda b, t: _bar(b, t + 1),
}
INDEX = "t counts from 1 and Python from 0: beta_t is betas[t - 1], and alpha_bar_t the product over betas[:t]."

EXERCISE = Exercise(
    "refinement_and_diffusion.ddpm_step",
    reference=ddpm_step,
    what="your result",
    right="It is the mean of the formula, and sqrt(beta_t) times the noise but for t = 1.",
    errors={
        r"index \d+ is out of bounds|index out of range": f"Your index is too large at t = T.\n{INDEX}",
        r"must be Tensor, not float|'float' object has no": "math.sqrt is for numbers, torch.sqrt for tensors.",
        "truth value of a Tensor|Boolean value": "`if` needs one truth value: t is a plain number, t == 1 is one.",
        "shapes": "The shapes do not line up: x_t, eps and noise have one shape, and beta_t is one number, not all.",
    },
    explain=_what_is_wrong,
    cases=[
        case("the first step of the sampler, t = T", *inputs(3, 2, t=6, betas=STEEP, seed=1157)),
        case("a step in the middle", *inputs(4, 2, t=3, betas=STEEP, seed=1151)),
        case("another schedule", *inputs(5, 3, t=2, betas=STEEP[1:], seed=1154)),
        case("the last step, t = 1: no noise", *inputs(4, 3, t=1, betas=STEEP, seed=1160), names=False),
        *[
            case(f"the {name} schedule, images, t = {t}", *inputs(2, 1, 4, 4, t=t, betas=betas, seed=1170 + t))
            for name, betas in (("paper's linear", linear_schedule(1000)), ("cosine", cosine_schedule(50)))
            for t in (len(betas), 2)
        ],
        case("as many betas as coordinates", *inputs(3, 6, t=4, betas=STEEP, seed=1181)),
        case("a single number", *inputs(1, t=3, betas=STEEP, seed=1184)),
        case(
            "a schedule of one step, t = T = 1: no noise", *inputs(2, 2, t=1, betas=STEEP[3:4], seed=1187), names=False
        ),
    ],
    atol=1e-5,
    mistakes={
        "No noise is added, at no t: it is missing at t = 1 only.\n"
        "Without it the samples collapse towards the middle of the data.": _wrong(sigma=lambda beta, bar, old: 0.0),
        "Noise is added at t = 1 too.\nThere the result is the data itself, and noise would stay in it.": _wrong(
            last=0
        ),
        "The noise is left out at t = T, the first step that the sampler takes.\nThe last one is t = 1.": _wrong(
            last=-1
        ),
        **{
            f"The factor of eps is not right: {what}.\nIt is beta_t / sqrt(1 - alpha_bar_t).": _wrong(weight=of)
            for what, of in WEIGHTS.items()
        },
        **{
            f"Your sigma_t is {what}.\nHere sigma_t^2 = beta_t: sqrt(beta_t) z is added in the end.": _wrong(sigma=of)
            for what, of in SIGMAS.items()
        },
        **{
            f"Your bracket is divided by {what}.\nOne step forward multiplied x by sqrt(alpha_t).": _wrong(scale=of)
            for what, of in SCALES.items()
        },
        **{
            f"Your alpha_bar_t is {what}.\nIt is the product (1 - beta_1)(1 - beta_2) ... (1 - beta_t).": _wrong(bar=of)
            for what, of in BARS.items()
        },
        f"Your index is off by one.\n{INDEX}": [
            _wrong(beta=lambda b, t: _beta(b, t - 1), bar=lambda b, t: _bar(b, t - 1)),
            _wrong(beta=lambda b, t: _beta(b, t - 1)),
            _wrong(beta=lambda b, t: _beta(b, min(t + 1, len(b))), bar=lambda b, t: _bar(b, t + 1)),
        ],
        "This is the estimate of x_0, all t steps at once.\nTake one step, to x_{t-1}.": _x0,
        "This is the way forward, from x_{t-1} to x_t.\nTake the step back.": [
            lambda x, e, t, b, z: (1 - _beta(b, t)) ** 0.5 * x + _beta(b, t) ** 0.5 * z,
            lambda x, e, t, b, z: _bar(b, t) ** 0.5 * x + (1 - _bar(b, t)) ** 0.5 * z,
        ],
        "This is the step of another sampler, DDIM.\nHere: the formula of DDPM.": _ddim,
        "Only x_t is divided by sqrt(alpha_t).\nThe whole bracket is, the part with eps too.": _wrong(
            weight=lambda beta, bar, old: beta * ((1 - beta) / (1 - bar)) ** 0.5
        ),
        "eps and noise are swapped.\neps is the model's prediction, which is taken out, noise is new.": (
            lambda x, e, t, b, z: ddpm_step(x, z, t, b, e)
        ),
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
