"""Discrete diffusion, the way back: what a model's guess of the first text makes of a step, its losses, and sampling.

A model is any function of (x_t, t (B,)) that returns logits (B, ..., K) of x0; x0, x_t (B, ...) are token ids, steps are
t = 1..T. Losses are in nats a token. The processes that lose tokens, and the rest of the notation, are in `discrete_processes`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from course_utils.discrete_processes import Process, check_ids, marginal, posterior, q_sample, reverse

Model = Callable[[Tensor, Tensor], Tensor]


def x0_log_probs(logits: Tensor, x_t: Tensor, mask: int | None) -> Tensor:
    """log p(x0 | x_t), (B, ..., K), from a model's logits; with a mask, x0 is never the mask, and a token that is left is x0.

    Raises ValueError: shapes that differ. Source: Sahoo et al. (2024), MDLM, section 3 (SUBS).
    """
    if logits.shape[:-1] != x_t.shape:
        raise ValueError(f"logits must be {tuple(x_t.shape)} + (K,), got {tuple(logits.shape)}")
    if mask is None:
        return logits.log_softmax(dim=-1)
    forbidden = torch.arange(logits.shape[-1], device=logits.device) == mask
    certain = one_hot(x_t, logits.shape[-1]).to(logits.dtype).log()  # 0 and -inf
    return torch.where((x_t == mask)[..., None], logits.masked_fill(forbidden, -math.inf).log_softmax(dim=-1), certain)


def vlb_terms(logits: Tensor, x_t: Tensor, x0: Tensor, t: int | Tensor, process: Process) -> Tensor:
    """L_{t-1} = KL(q(x_{t-1} | x_t, x0) || p(x_{t-1} | x_t)) in nats, (B, ...), a term for each token; ids x_t, x0 (B, ...).

    At t = 1 it is -log p(x0 | x_1). The sum over t = 1..T, each averaged over q(x_t | x0), plus `prior_term` is L_vb, which is
    at least -log p(x0). Raises ValueError: as `posterior`. Source: Austin et al. (2021), section 2, equation 1.
    """
    check_ids(x0, process)
    truth = posterior(x_t, one_hot(x0, logits.shape[-1]).to(logits.dtype), t, process)
    return _kl(truth, reverse(x_t, x0_log_probs(logits, x_t, process.mask).exp(), t, process))


def prior_term(x0: Tensor, process: Process) -> Tensor:
    """L_T = KL(q(x_T | x0) || rest) in nats, (B, ...): 0 when nothing is kept, infinite if the absorbing process keeps some.

    Raises ValueError: ids outside 0..K-1, a mask in x0. Source: Austin et al. (2021), section 2, equation 1.
    """
    check_ids(x0, process)
    end = marginal(one_hot(x0, len(process.rest)).double(), len(process.kept) - 1, process)
    return _kl(end, process.rest.to(x0.device).expand_as(end))


def vlb_loss(model: Model, x0: Tensor, t: int | Tensor, process: Process, lam: float = 0.0,
             generator: torch.Generator | None = None) -> Tensor:
    """L_vb + lam CE in nats a token, a scalar: T L_{t-1} + L_T - lam log p(x0 | x_t), the mean over tokens, x_t drawn once.

    With t uniform in 1..T, drawn for each text, and lam = 0 its mean is the bound L_vb. The paper has lam = 0.01 for text with
    masks. Raises ValueError: as `posterior`. Source: Austin et al. (2021), section 3.4, equation 5.
    """
    x_t = q_sample(x0, t, process, generator)
    logits = model(x_t, torch.as_tensor(t, device=x0.device).expand(len(x0)))
    bound = (len(process.kept) - 1) * vlb_terms(logits, x_t, x0, t, process) + prior_term(x0, process).to(logits.dtype)
    return (bound - lam * _picked(x0_log_probs(logits, x_t, process.mask), x0) if lam else bound).mean()


def even_shares(n: int, generator: torch.Generator | None = None) -> Tensor:
    """n shares in (0, 1], (n,), one in each of n equal parts: each is uniform, and their mean varies less than n draws' does.

    Source: Kingma et al. (2021), Variational diffusion models (low-discrepancy sampler); Sahoo et al. (2024) use it.
    """
    return (torch.arange(1, n + 1) - torch.rand(1, generator=generator)) / n


def masked_loss(logits: Tensor, x0: Tensor, x_t: Tensor, share: Tensor | float, mask: int) -> Tensor:
    """mean over ALL tokens of [x_t is masked] (-log p(x0 | x_t)) / share, a scalar: with share uniform, a bound in nats a token.

    share, a number or (B,) in (0, 1], is the chance with which `mask_tokens` masked (step t/T of `even_schedule`, for which
    this is T L_{t-1}, so its mean over t is L_vb). Without 1/share, or as a mean over the masked tokens, it is BERT's loss
    and bounds nothing. Raises ValueError: a share outside (0, 1], shapes that differ, a mask in x0.
    Source: Sahoo et al. (2024), MDLM, section 3: the weight -alpha'_t / (1 - alpha_t) with alpha_t = 1 - t.
    """
    share = torch.as_tensor(share, dtype=logits.dtype, device=logits.device).expand(len(x0)).view(-1, *[1] * (x0.dim() - 1))
    if not ((share > 0) & (share <= 1)).all():
        raise ValueError("share must be in (0, 1], the chance that a token is masked: divide the step t by T")
    if (x0 == mask).any():
        raise ValueError(f"x0 must not hold the mask, {mask}: it stands for what is lost")
    nats = -_picked(x0_log_probs(logits, x_t, mask), x0)
    return torch.where(x_t == mask, nats / share, 0).mean()


@torch.no_grad()
def sample(model: Model, shape: Sequence[int], process: Process, steps: int | None = None,
           generator: torch.Generator | None = None, return_history: bool = False) -> Tensor:
    """x_T ~ rest, then x_s ~ `reverse` for `steps` even jumps from T to 0 (all T if not given): ids of `shape` (B, ...).

    One call of the model a step. Tokens of one step are drawn apart from each other, so few steps mix texts up. In the
    absorbing process a decided token stays. With `return_history` all of x_T, ..., x_0, (steps + 1, B, ...).
    Raises ValueError: steps outside 1..T. Source: Austin et al. (2021), section 3.3 (jumps of k steps).
    """
    T = len(process.kept) - 1
    steps = T if steps is None else steps
    if not 1 <= steps <= T:
        raise ValueError(f"steps must be from 1 to T = {T}, got {steps}")
    rest = process.rest if generator is None else process.rest.to(generator.device)
    x = _draw(rest.expand(*shape, -1), generator)
    history, times = [x], [round(T * (1 - i / steps)) for i in range(steps + 1)]
    for t, s in zip(times, times[1:]):
        logits = model(x, torch.full((len(x),), t, device=x.device))
        x = _draw(reverse(x, x0_log_probs(logits, x, process.mask).exp(), t, process, s), generator)
        history.append(x)
    return torch.stack(history) if return_history else x


def bits_per_character(nats_per_token: float, tokens: int, characters: int) -> float:
    """nats_per_token tokens / (characters log 2): lets models with different tokens be compared on the same text.

    Raises ValueError: tokens or characters below 1.
    """
    if min(tokens, characters) < 1:
        raise ValueError(f"tokens and characters must be at least 1, got {tokens} and {characters}")
    return nats_per_token * tokens / (characters * math.log(2))


def _kl(q: Tensor, p: Tensor) -> Tensor:
    """sum_k q_k log(q_k / p_k), (..., K) -> (...); where q is 0 neither the value nor the gradient of a log is wanted."""
    q_log, p_log = (torch.where(q > 0, probs, 1).log() for probs in (q, p))
    return (q * (q_log - p_log)).sum(dim=-1)


def _picked(log_probs: Tensor, x0: Tensor) -> Tensor:
    return log_probs.gather(-1, x0[..., None])[..., 0]


def _draw(probs: Tensor, generator: torch.Generator | None) -> Tensor:
    """One id from each row: (..., K) -> (...)."""
    return torch.multinomial(probs.flatten(0, -2), 1, generator=generator).view(probs.shape[:-1])
