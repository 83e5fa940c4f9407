"""Gaussian diffusion: data turned into noise step by step, and a model that predicts the noise to walk back.

Notation (Ho et al. 2020): x0 (B, ...) are B data points of any shape; steps t = 1..T as in the paper, a number or one
for each point (B,), and the schedule's arrays (T,) hold step t at index t - 1; alpha_t = 1 - beta_t, alphas_bar_t is
the product of alpha_1..alpha_t, and 1 at t = 0. Data should have about unit scale, because x_T should be standard
normal whatever x0 was. A model is any function of (x_t, t (B,)) that returns its prediction of the noise, in the shape
of x_t.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Model = Callable[[Tensor, Tensor], Tensor]
SIGMAS = ("beta", "posterior")


class Schedule(NamedTuple):
    """How much noise each of the T steps adds, all (T,) in float64: built from the betas by `schedule_of`."""

    betas: Tensor
    alphas: Tensor  # 1 - beta_t
    alphas_bar: Tensor  # the share of x0's variance that is left after step t


def linear_schedule(T: int, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """betas (T,), evenly spaced from `first` to `last`; the defaults are those of the paper, for T = 1000.

    With fewer steps each must add more, or x_T is not yet noise: first = 0.1 / T and last = 20 / T keep alphas_bar_T
    near the paper's 4e-5 for T from about 100. Raises ValueError: T < 1, not 0 < first <= last < 1.
    Source: Ho et al. (2020), section 4.
    """
    if T < 1 or not 0 < first <= last < 1:
        raise ValueError(f"a schedule needs T >= 1 and 0 < first <= last < 1, got T = {T}, {first} and {last}")
    return torch.linspace(first, last, T, dtype=torch.float64)


def cosine_schedule(T: int, offset: float = 0.008, largest: float = 0.999) -> Tensor:
    """betas (T,) with alphas_bar_t = f(t) / f(0), f(t) = cos^2(pi/2 (t/T + s) / (1 + s)): the data fade more slowly.

    s is `offset`; betas are cut at `largest`, where alphas_bar would reach 0. Raises ValueError: T < 1, offset < 0,
    largest outside (0, 1). Source: Nichol & Dhariwal (2021), section 3.2.
    """
    if T < 1 or offset < 0 or not 0 < largest < 1:
        raise ValueError(
            f"a cosine schedule needs T >= 1, offset >= 0 and 0 < largest < 1, got {T}, {offset} and {largest}"
        )
    steps = torch.arange(T + 1, dtype=torch.float64) / T
    f = ((steps + offset) / (1 + offset) * math.pi / 2).cos().square()
    return (1 - f[1:] / f[:-1]).clamp(max=largest)


def schedule_of(betas: Tensor | Sequence[float]) -> Schedule:
    """betas (T,) -> betas, alphas = 1 - betas and alphas_bar, their running product.

    Raises ValueError: betas are not (T,), a beta outside (0, 1). Source: Ho et al. (2020), section 2.
    """
    betas = torch.as_tensor(betas, dtype=torch.float64)  # a product of 1000 factors near 1 loses digits in float32
    if betas.dim() != 1 or not betas.numel() or not ((betas > 0) & (betas < 1)).all():
        raise ValueError(f"betas must be (T,) numbers between 0 and 1, both excluded, got shape {tuple(betas.shape)}")
    return Schedule(betas, 1 - betas, (1 - betas).cumprod(dim=0))


def q_sample(x0: Tensor, t: int | Tensor, noise: Tensor, schedule: Schedule) -> Tensor:
    """x_t = sqrt(alphas_bar_t) x0 + sqrt(1 - alphas_bar_t) noise: t steps at once; x0, noise (B, ...) -> (B, ...).

    The two factors' squares sum to 1: data of unit variance keep it. Raises ValueError: t outside 1..T, shapes that
    differ.
    Source: Ho et al. (2020), section 2, equation 4.
    """
    _same_shape("noise", noise, x0)
    kept = _at(schedule.alphas_bar, t, x0)
    return kept.sqrt() * x0 + (1 - kept).sqrt() * noise


def q_step(x: Tensor, t: int | Tensor, noise: Tensor, schedule: Schedule) -> Tensor:
    """x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) noise: one step of the chain that `q_sample` jumps over.

    x = x_{t-1}, noise (B, ...) -> (B, ...). Raises ValueError: t outside 1..T, shapes that differ.
    Source: Ho et al. (2020), section 2, equation 2.
    """
    _same_shape("noise", noise, x)
    beta = _at(schedule.betas, t, x)
    return (1 - beta).sqrt() * x + beta.sqrt() * noise


def epsilon_loss(model: Model, x0: Tensor, t: int | Tensor, noise: Tensor, schedule: Schedule) -> Tensor:
    """L_simple = mean (noise - model(x_t, t))^2, a scalar, with x_t = q_sample(x0, t, noise): the same noise in both
    places.

    The mean runs over points and coordinates; the paper's squared norm is that times the number of coordinates. A model
    that always says 0 has loss 1. Draw t anew for each point and step. Raises ValueError: as `q_sample`, a prediction
    of another shape. Source: Ho et al. (2020), section 3.4, equation 14, and algorithm 1.
    """
    predicted = model(q_sample(x0, t, noise, schedule), _each(t, x0))
    _same_shape("the model's prediction", predicted, x0)
    return (noise - predicted).square().mean()


def predict_x0(x_t: Tensor, eps: Tensor, t: int | Tensor, schedule: Schedule) -> Tensor:
    """x0 = (x_t - sqrt(1 - alphas_bar_t) eps) / sqrt(alphas_bar_t), `q_sample` solved for x0: what the model now
    believes.

    x_t, eps (B, ...) -> (B, ...). Raises ValueError: t outside 1..T, shapes that differ. Source: Ho et al. (2020),
    section 3.2.
    """
    _same_shape("eps", eps, x_t)
    kept = _at(schedule.alphas_bar, t, x_t)
    return (x_t - (1 - kept).sqrt() * eps) / kept.sqrt()


def posterior(x_t: Tensor, x0: Tensor, t: int | Tensor, schedule: Schedule) -> tuple[Tensor, Tensor]:
    """q(x_{t-1} | x_t, x0) = N(mean, variance I): mean (B, ...), variance (B, 1, ...).

    mean = (sqrt(abar_{t-1}) beta_t x0 + sqrt(alpha_t) (1 - abar_{t-1}) x_t) / (1 - abar_t) with abar = alphas_bar,
    variance = beta_t (1 - abar_{t-1}) / (1 - abar_t), smaller than beta_t. At t = 1 they are x0 and 0.
    Raises ValueError: t outside 1..T, shapes that differ. Source: Ho et al. (2020), section 2, equations 6 and 7.
    """
    _same_shape("x0", x0, x_t)
    before = torch.cat([schedule.alphas_bar.new_ones(1), schedule.alphas_bar[:-1]])  # alphas_bar_{t-1}
    scale = 1 - schedule.alphas_bar
    mean = (
        _at(before.sqrt() * schedule.betas / scale, t, x_t) * x0
        + _at(schedule.alphas.sqrt() * (1 - before) / scale, t, x_t) * x_t
    )
    return mean, _at(schedule.betas * (1 - before) / scale, t, x_t)


def ddpm_step(
    x_t: Tensor, eps: Tensor, t: int | Tensor, schedule: Schedule, noise: Tensor, sigma: str = "beta"
) -> Tensor:
    """x_{t-1} = (x_t - beta_t / sqrt(1 - alphas_bar_t) eps) / sqrt(alpha_t) + sigma_t noise, WITHOUT noise at t = 1.

    x_t, noise and eps, the model's prediction, (B, ...) -> (B, ...). sigma_t^2 is beta_t with sigma = "beta", right for
    data that are standard normal, or the variance of `posterior` with "posterior", right for data that are a single
    point.
    Raises ValueError: t outside 1..T, shapes that differ, another sigma. Source: Ho et al. (2020), section 3.2 and
    algorithm 2.
    """
    _same_shape("eps", eps, x_t)
    _same_shape("noise", noise, x_t)
    if sigma not in SIGMAS:
        raise ValueError(f'sigma must be "beta" or "posterior", got {sigma!r}')
    weight = _at(schedule.betas / (1 - schedule.alphas_bar).sqrt(), t, x_t)
    mean = (x_t - weight * eps) / _at(schedule.alphas, t, x_t).sqrt()
    variance = _at(schedule.betas, t, x_t) if sigma == "beta" else posterior(x_t, x_t, t, schedule)[1]
    last = _each(t, x_t).view(-1, *[1] * (x_t.dim() - 1)) == 1  # the result is data: noise would stay in it
    return torch.where(last, mean, mean + variance.sqrt() * noise)


@torch.no_grad()
def ddpm_sample(
    model: Model,
    shape: Sequence[int],
    schedule: Schedule,
    generator: torch.Generator | None = None,
    sigma: str = "beta",
    return_history: bool = False,
) -> Tensor:
    """x_T ~ N(0, I), then `ddpm_step` for t = T..1 with the model's predictions: new data of `shape` (B, ...).

    One call of the model a step. With `return_history` all of x_T, ..., x_0, (T + 1, B, ...). The generator's device is
    used.
    Raises ValueError: as `ddpm_step`, a prediction of another shape. Source: Ho et al. (2020), algorithm 2.
    """
    device = generator.device if generator is not None else None
    x = torch.randn(*shape, generator=generator, device=device)
    history = [x]
    for t in range(len(schedule.betas), 0, -1):
        eps = model(x, _each(t, x))
        x = ddpm_step(x, eps, t, schedule, torch.randn(*shape, generator=generator, device=device), sigma)
        if return_history:
            history.append(x)
    return torch.stack(history) if return_history else x


def ddim_step(x_t: Tensor, eps: Tensor, t: int, s: int, schedule: Schedule, noise: Tensor, eta: float = 0.0) -> Tensor:
    """x_s = sqrt(abar_s) x0 + sqrt(1 - abar_s - sigma^2) eps + sigma noise, from step t to any earlier step s >= 0.

    x0 is `predict_x0`, abar = alphas_bar, and sigma^2 = eta^2 (1 - abar_s) / (1 - abar_t) (1 - abar_t / abar_s).
    x_t, noise and eps, the model's prediction, (B, ...) -> (B, ...). With eta = 0 nothing is random; with eta = 1 and
    s = t - 1 it is `ddpm_step` with sigma = "posterior".
    Raises ValueError: not 0 <= s < t <= T, eta outside [0, 1], shapes that differ. Source: Song et al. (2021), DDIM,
    section 4.1, equations 12 and 16.
    """
    _same_shape("noise", noise, x_t)
    if not 0 <= s < t or not 0 <= eta <= 1:
        raise ValueError(f"a step needs 0 <= s < t and eta from 0 to 1, got s = {s}, t = {t} and eta = {eta}")
    x0 = predict_x0(x_t, eps, t, schedule)
    abar_t, abar_s = schedule.alphas_bar[t - 1].item(), schedule.alphas_bar[s - 1].item() if s else 1.0
    variance = eta**2 * (1 - abar_s) / (1 - abar_t) * (1 - abar_t / abar_s)
    return abar_s**0.5 * x0 + (1 - abar_s - variance) ** 0.5 * eps + variance**0.5 * noise


def even_steps(T: int, steps: int) -> list[int]:
    """The times of `steps` even jumps from T to 0: [T, ..., 0], steps + 1 whole numbers.

    Raises ValueError: steps outside 1..T.
    """
    if not 1 <= steps <= T:
        raise ValueError(f"steps must be from 1 to T = {T}, got {steps}")
    return [round(T * (1 - i / steps)) for i in range(steps + 1)]


@torch.no_grad()
def ddim_sample(
    model: Model,
    shape: Sequence[int],
    schedule: Schedule,
    steps: int,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """x_T ~ N(0, I), then `ddim_step` along `even_steps`: new data of `shape` (B, ...), one call of the model a step.

    Random numbers are drawn in the order of `ddpm_sample`, used or not, so that one seed means one x_T whatever eta is.
    Raises ValueError: as `ddim_step` and `even_steps`. Source: Song et al. (2021), DDIM, section 4.2.
    """
    device = generator.device if generator is not None else None
    x = torch.randn(*shape, generator=generator, device=device)
    times = even_steps(len(schedule.betas), steps)
    for t, s in zip(times, times[1:]):
        noise = torch.randn(*shape, generator=generator, device=device)
        x = ddim_step(x, model(x, _each(t, x)), t, s, schedule, noise, eta)
    return x


def respaced(schedule: Schedule, steps: int) -> tuple[Schedule, list[int]]:
    """The schedule that makes `even_steps` in single steps, and the time t of each of them, the first one at index 0.

    beta of the jump from s to t is 1 - abar_t / abar_s, so that alphas_bar is the same at both ends: the sampler of
    `ddpm_sample` with fewer steps, for a model that is told the old times. Raises ValueError: as `even_steps`.
    Source: Nichol & Dhariwal (2021), section 4.
    """
    times = even_steps(len(schedule.betas), steps)[-2::-1]  # ascending, without 0
    kept = schedule.alphas_bar[torch.tensor(times) - 1]
    return schedule_of(1 - kept / torch.cat([kept.new_ones(1), kept[:-1]])), times


def energy_distance(a: Tensor, b: Tensor, unbiased: bool = True) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| between two samples, a (N, ...) and b (M, ...): 0 only for the same
    distribution.

    |.| is the Euclidean norm of all coordinates. By default it is unbiased: pairs of a point with itself are left out,
    so two samples of one distribution give 0 on average, sometimes a little less. unbiased=False counts them
    (V-statistic): never below 0, but above 0 for two samples of one distribution, the more the smaller they are.
    Raises ValueError: points of different shapes, fewer than two points. Source: Szekely & Rizzo (2013), Energy
    statistics.
    """
    if a.dim() < 2 or a.shape[1:] != b.shape[1:] or min(len(a), len(b)) < 2:
        raise ValueError(
            f"a and b must be at least two points of one shape each, got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    a, b = a.detach().double().flatten(1), b.detach().double().flatten(1)
    within = sum(_distances(x, x).sum().item() / (len(x) * (len(x) - unbiased)) for x in (a, b))
    return 2 * _distances(a, b).mean().item() - within


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """(N, M); not through a matrix product, which gives a point a distance from itself."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _each(t: int | Tensor, x: Tensor) -> Tensor:
    """t as (B,) integers, one for each point of x (B, ...)."""
    t = torch.as_tensor(t, device=x.device)
    if t.is_floating_point() or t.shape not in ((), x.shape[:1]):
        raise ValueError(
            f"t must be an integer or ({len(x)},) integers, one for each point, got {t.dtype} {tuple(t.shape)}"
        )
    return t.expand(len(x))


def _at(values: Tensor, t: int | Tensor, x: Tensor) -> Tensor:
    """values_t, (B, 1, ...) so that it multiplies x (B, ...), in its precision."""
    t = _each(t, x)
    if t.numel() and not 1 <= t.min() <= t.max() <= len(values):
        raise ValueError(f"t must be from 1 to T = {len(values)}, got {t.min().item()} to {t.max().item()}")
    return values.to(x.device)[t - 1].to(x.dtype).view(-1, *[1] * (x.dim() - 1))


def _same_shape(name: str, tensor: Tensor, x: Tensor) -> None:
    if tensor.shape != x.shape:
        raise ValueError(f"{name} must have the shape of the data, {tuple(x.shape)}, got {tuple(tensor.shape)}")
