"""Discrete diffusion: tokens are replaced at random step by step, and a model learns to restore them.

Notation (Austin et al. 2021): K token kinds, steps t = 1..T, a number or one for each text (B,); x0, x_t (B, ...) are
token ids. A distribution has K as its last axis and is a ROW: after a step with Q (K, K), whose rows sum to 1, it is
row @ Q. Both processes here hit a token with chance beta_t and then draw it anew from `rest`, whatever it was: from all
tokens (uniform), or the mask and nothing else (absorbing). So no matrix is needed: with the chance
kept_t = (1 - beta_1) ... (1 - beta_t) of never having been hit

    Q_t = (1 - beta_t) I + beta_t 1 rest^T    and    Qbar_t = kept_t I + (1 - kept_t) 1 rest^T.

A model is any function of (x_t, t (B,)) that returns logits (B, ..., K) of x0. Losses are in nats a token. First the
processes, then what a model's guess of the first text makes of a step, its losses, and sampling.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot


class Process(NamedTuple):
    """How tokens are lost, made by `uniform_process` or `absorbing_process`."""

    kept: Tensor  # (T + 1,) in float64, kept[0] = 1
    rest: Tensor  # (K,) in float64, what a token that was hit is drawn from
    mask: int | None  # the id of the mask, None if there is no such token


def even_schedule(T: int) -> Tensor:
    """betas (T,), beta_t = 1 / (T - t + 1): then kept_t = 1 - t/T, so that every step hits as many tokens as any other.

    Raises ValueError: T < 1. Source: Sohl-Dickstein et al. (2015); Austin et al. (2021), section 3.2, for the absorbing
    state.
    """
    if T < 1:
        raise ValueError(f"T must be at least 1, got {T}")
    return 1 / torch.arange(T, 0, -1, dtype=torch.float64)


def uniform_process(betas: Tensor, K: int) -> Process:
    """A token that is hit becomes any of the K, itself included, with the same chance; betas (T,), each below 1 but the
    last.

    Raises ValueError: such betas, K < 2. Source: Austin et al. (2021), section 3.1; Hoogeboom et al. (2021).
    """
    return Process(_kept(betas), _uniform(K), None)


def absorbing_process(betas: Tensor, K: int, mask: int) -> Process:
    """A token that is hit becomes `mask` (one of the K ids, which texts do not use) and stays masked; betas (T,) as
    above.

    Raises ValueError: betas outside [0, 1], a 1 before the last, mask outside 0..K-1. Source: Austin et al. (2021),
    section 3.1.
    """
    return Process(_kept(betas), _only(K, mask), mask)


def uniform_transition(beta: float | Tensor, K: int) -> Tensor:
    """Q = (1 - beta) I + beta 11^T / K, (K, K), or (T, K, K) for betas (T,); Q_ij = q(x_t = j | x_{t-1} = i), rows sum
    to 1.

    Raises ValueError: beta outside [0, 1], K < 2. Source: Austin et al. (2021), section 3.1 and appendix A.2.
    """
    return _transition(beta, _uniform(K))


def absorbing_transition(beta: float | Tensor, K: int, mask: int) -> Tensor:
    """Q = (1 - beta) I + beta 1 e_mask^T, (K, K), or (T, K, K) for betas (T,): all of a row but what is kept is in one
    column.

    Raises ValueError: beta outside [0, 1], mask outside 0..K-1. Source: Austin et al. (2021), section 3.1 and appendix
    A.2.
    """
    return _transition(beta, _only(K, mask))


def cumulative(Qs: Tensor) -> Tensor:
    """Qbar_t = Q_1 Q_2 ... Q_t for every t: (T, K, K) -> (T, K, K). The first step is the leftmost: distributions are
    rows.

    Raises ValueError: Qs are not (T, K, K). Source: Austin et al. (2021), section 3, equation 3.
    """
    if Qs.dim() != 3 or Qs.shape[1] != Qs.shape[2] or not len(Qs):
        raise ValueError(f"Qs must be (T, K, K), a matrix for each step, got {tuple(Qs.shape)}")
    products = [Qs[0]]
    for Q in Qs[1:]:
        products.append(products[-1] @ Q)
    return torch.stack(products)


def matrix_posterior(x_t: Tensor, x0: Tensor, Q: Tensor, Qbar_before: Tensor) -> Tensor:
    """q(x_{t-1} | x_t, x0) in proportion to x_t Q_t^T * x0 Qbar_{t-1}, for any Q: ids x_t (...), x0 (..., K)
    -> (..., K).

    x_t Q^T is the COLUMN of Q that leads to x_t. Raises ValueError: shapes that differ, an x_t that x0 cannot lead to.
    Source: Austin et al. (2021), section 3, equation 3.
    """
    if x0.shape[:-1] != x_t.shape or not Q.shape == Qbar_before.shape == (x0.shape[-1],) * 2:
        raise ValueError(
            f"x0 must be {tuple(x_t.shape)} + (K,), Q and Qbar_before (K, K), got {tuple(x0.shape)},"
            f" {tuple(Q.shape)} and {tuple(Qbar_before.shape)}"
        )
    return _normalised(Q.T[x_t] * (x0 @ Qbar_before))


def marginal(x0: Tensor, t: int | Tensor, process: Process) -> Tensor:
    """q(x_t | x0) = x0 Qbar_t = kept_t x0 + (1 - kept_t) rest: distributions x0 (B, ..., K) -> (B, ..., K).

    Raises ValueError: t outside 0..T, another K. Source: Austin et al. (2021), section 3, equation 3.
    """
    if x0.dim() < 2 or x0.shape[-1] != len(process.rest):
        raise ValueError(f"x0 must be (B, ..., {len(process.rest)}) distributions, got {tuple(x0.shape)}")
    return _mix(x0, _at(t, process, x0), process.rest)


def q_sample(x0: Tensor, t: int | Tensor, process: Process, generator: torch.Generator | None = None) -> Tensor:
    """x_t drawn from q(x_t | x0), each token on its own: ids x0 (B, ...) -> ids (B, ...), t steps at once.

    Raises ValueError: t outside 0..T, ids outside 0..K-1, a mask in x0.
    """
    check_ids(x0, process)
    hit = torch.rand(x0.shape, generator=generator, device=x0.device) >= _at(t, process, x0)
    drawn = torch.multinomial(process.rest.to(x0.device), max(x0.numel(), 1), replacement=True, generator=generator)
    return torch.where(hit, drawn[: x0.numel()].view(x0.shape), x0)


def mask_tokens(x0: Tensor, share: Tensor | float, mask: int, generator: torch.Generator | None = None) -> Tensor:
    """Each token becomes `mask` with chance `share`, a number or (B,) in [0, 1]: the absorbing process in continuous
    time.

    ids x0 (B, ...) -> ids (B, ...). Raises ValueError: a share outside [0, 1]. Source: Sahoo et al. (2024), MDLM,
    section 3.
    """
    share = (
        torch.as_tensor(share, dtype=torch.float32, device=x0.device).expand(len(x0)).view(-1, *[1] * (x0.dim() - 1))
    )
    if not ((share >= 0) & (share <= 1)).all():
        raise ValueError("share must be in [0, 1], the chance that a token is masked: divide the step t by T")
    return x0.masked_fill(torch.rand(x0.shape, generator=generator, device=x0.device) < share, mask)


def posterior(x_t: Tensor, x0: Tensor, t: int | Tensor, process: Process, s: int | Tensor | None = None) -> Tensor:
    """q(x_s | x_t, x0) in proportion to x_t Q_{s+1..t}^T * x0 Qbar_s, with s = t - 1 if it is not given, else any
    s < t.

    ids x_t (B, ...), x0 (B, ..., K) -> (B, ..., K). For x0 that is one token (one-hot) this is Bayes' rule. For a
    model's distribution over x0 it is the paper's p(x_{t-1} | x_t), a sum over x0 of q(x_{t-1}, x_t | x0) p(x0 | x_t):
    see `reverse`.
    Raises ValueError: not 0 <= s < t <= T, shapes that differ, an x_t that x0 cannot lead to.
    Source: Austin et al. (2021), section 3, equations 3 and 4.
    """
    s = t - 1 if s is None else s
    if (torch.as_tensor(s) >= torch.as_tensor(t)).any():
        raise ValueError(f"s must be before t, got s = {s} and t = {t}")
    kept_t, kept_s = _at(t, process, x0, smallest=1), _at(s, process, x0)
    arrive = _arrive(x_t, kept_t / kept_s, process, x0)  # q(x_t | x_s) for each x_s
    return _normalised(arrive * _mix(x0, kept_s, x0.sum(dim=-1, keepdim=True) * process.rest.to(x0)))


def reverse(x_t: Tensor, x0_probs: Tensor, t: int | Tensor, process: Process, s: int | Tensor | None = None) -> Tensor:
    """p(x_s | x_t) = sum over x0 of q(x_s | x_t, x0) p(x0 | x_t): a step back for a model that is not sure of x0.

    ids x_t (B, ...), x0_probs (B, ..., K) -> (B, ..., K), s as in `posterior`. It is exact when x0_probs are exact. The
    paper's weights q(x_s, x_t | x0) lack the division by q(x_t | x0): the same for the absorbing process, where all x0
    lead to the mask alike; for the uniform one, what the model has to learn is then no longer P(x0 | x_t).
    Raises ValueError: as `posterior`. Source: Austin et al. (2021), section 3.3; Hoogeboom et al. (2021) put in the
    mean x0.
    """
    arrive = _arrive(x_t, _at(t, process, x0_probs, smallest=1), process, x0_probs)  # q(x_t | x0) for each x0
    possible = torch.where(arrive > 0, x0_probs / arrive.clamp_min(torch.finfo(arrive.dtype).tiny), 0)
    return posterior(x_t, possible, t, process, s)


def check_ids(x0: Tensor, process: Process) -> None:
    """Raises ValueError: x0 are not ids from 0 to K - 1, or the mask is among them."""
    K = len(process.rest)
    if x0.is_floating_point() or not x0.dim() or (x0.numel() and not 0 <= x0.min() <= x0.max() < K):
        raise ValueError(f"x0 must be (B, ...) token ids from 0 to K - 1 = {K - 1}, got {x0.dtype} {tuple(x0.shape)}")
    if process.mask is not None and (x0 == process.mask).any():
        raise ValueError(f"x0 must not hold the mask, {process.mask}: it stands for what is lost")


def _kept(betas: Tensor) -> Tensor:
    betas = torch.as_tensor(betas, dtype=torch.float64)
    if betas.dim() != 1 or not betas.numel() or not ((betas >= 0) & (betas <= 1)).all() or (betas[:-1] == 1).any():
        raise ValueError(
            f"betas must be (T,) numbers from 0 to 1, below 1 before the last step, got shape {tuple(betas.shape)}"
        )
    return torch.cat([betas.new_ones(1), (1 - betas).cumprod(dim=0)])


def _uniform(K: int) -> Tensor:
    if K < 2:
        raise ValueError(f"K must be at least 2, got {K}")
    return torch.full((K,), 1 / K, dtype=torch.float64)


def _only(K: int, mask: int) -> Tensor:
    if not 0 <= mask < K:
        raise ValueError(f"mask must be one of the K = {K} ids, from 0 to {K - 1}, got {mask}")
    return one_hot(torch.tensor(mask), K).double()


def _transition(beta: float | Tensor, rest: Tensor) -> Tensor:
    beta = torch.as_tensor(beta, dtype=torch.float64)[..., None, None]
    if not ((beta >= 0) & (beta <= 1)).all():
        raise ValueError("beta must be from 0 to 1, the chance that a token is hit")
    return (1 - beta) * torch.eye(len(rest), dtype=torch.float64) + beta * rest


def _at(t: int | Tensor, process: Process, x: Tensor, smallest: int = 0) -> Tensor:
    """kept_t, (B, 1, ...) in float64, so that it multiplies x (B, ...)."""
    t, T = torch.as_tensor(t, device=x.device), len(process.kept) - 1
    if t.is_floating_point() or t.shape not in ((), x.shape[:1]):
        raise ValueError(
            f"t must be an integer or ({len(x)},) integers, one for each text, got {t.dtype} {tuple(t.shape)}"
        )
    if t.numel() and not smallest <= t.min() <= t.max() <= T:
        raise ValueError(f"t must be from {smallest} to T = {T}, got {t.min().item()} to {t.max().item()}")
    return process.kept.to(x.device)[t].expand(len(x)).view(-1, *[1] * (x.dim() - 1))


def _mix(rows: Tensor, kept: Tensor, rest: Tensor) -> Tensor:
    """kept rows + (1 - kept) rest in the precision of the rows; 1 - kept is taken in float64, as kept may be near 1."""
    return kept.to(rows.dtype) * rows + (1 - kept).to(rows.dtype) * rest.to(rows)


def _arrive(x_t: Tensor, kept: Tensor, process: Process, like: Tensor) -> Tensor:
    """The column of kept I + (1 - kept) 1 rest^T that leads to x_t: (B, ...) -> (B, ..., K) in the precision of
    `like`."""
    if like.shape != (*x_t.shape, len(process.rest)):
        raise ValueError(
            f"a distribution over x0 must be {tuple(x_t.shape)} + ({len(process.rest)},), got {tuple(like.shape)}"
        )
    return _mix(one_hot(x_t, like.shape[-1]).to(like.dtype), kept, process.rest.to(x_t.device)[x_t][..., None])


def _normalised(p: Tensor) -> Tensor:
    total = p.sum(dim=-1, keepdim=True)
    if not (total > 0).all():
        raise ValueError("an x_t is impossible: no x0 that has a probability can lead to it in t steps")
    return p / total


Model = Callable[[Tensor, Tensor], Tensor]


def x0_log_probs(logits: Tensor, x_t: Tensor, mask: int | None) -> Tensor:
    """log p(x0 | x_t), (B, ..., K), from a model's logits; with a mask, x0 is never the mask, and a token that is left
    is x0.

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
    """L_{t-1} = KL(q(x_{t-1} | x_t, x0) || p(x_{t-1} | x_t)) in nats, (B, ...), a term for each token; ids x_t, x0
    (B, ...).

    At t = 1 it is -log p(x0 | x_1). The sum over t = 1..T, each averaged over q(x_t | x0), plus `prior_term` is L_vb,
    which is at least -log p(x0). Raises ValueError: as `posterior`. Source: Austin et al. (2021), section 2, equation
    1.
    """
    check_ids(x0, process)
    truth = posterior(x_t, one_hot(x0, logits.shape[-1]).to(logits.dtype), t, process)
    return _kl(truth, reverse(x_t, x0_log_probs(logits, x_t, process.mask).exp(), t, process))


def prior_term(x0: Tensor, process: Process) -> Tensor:
    """L_T = KL(q(x_T | x0) || rest) in nats, (B, ...): 0 when nothing is kept, infinite if the absorbing process keeps
    some.

    Raises ValueError: ids outside 0..K-1, a mask in x0. Source: Austin et al. (2021), section 2, equation 1.
    """
    check_ids(x0, process)
    end = marginal(one_hot(x0, len(process.rest)).double(), len(process.kept) - 1, process)
    return _kl(end, process.rest.to(x0.device).expand_as(end))


def vlb_loss(
    model: Model,
    x0: Tensor,
    t: int | Tensor,
    process: Process,
    lam: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """L_vb + lam CE in nats a token, a scalar: T L_{t-1} + L_T - lam log p(x0 | x_t), the mean over tokens, x_t drawn
    once.

    With t uniform in 1..T, drawn for each text, and lam = 0 its mean is the bound L_vb. The paper has lam = 0.01 for
    text with masks. Raises ValueError: as `posterior`. Source: Austin et al. (2021), section 3.4, equation 5.
    """
    x_t = q_sample(x0, t, process, generator)
    logits = model(x_t, torch.as_tensor(t, device=x0.device).expand(len(x0)))
    bound = (len(process.kept) - 1) * vlb_terms(logits, x_t, x0, t, process) + prior_term(x0, process).to(logits.dtype)
    return (bound - lam * _picked(x0_log_probs(logits, x_t, process.mask), x0) if lam else bound).mean()


def even_shares(n: int, generator: torch.Generator | None = None) -> Tensor:
    """n shares in (0, 1], (n,), one in each of n equal parts: each is uniform, and their mean varies less than n draws'
    does.

    Source: Kingma et al. (2021), Variational diffusion models (low-discrepancy sampler); Sahoo et al. (2024) use it.
    """
    return (torch.arange(1, n + 1) - torch.rand(1, generator=generator)) / n


def masked_loss(logits: Tensor, x0: Tensor, x_t: Tensor, share: Tensor | float, mask: int) -> Tensor:
    """mean over ALL tokens of [x_t is masked] (-log p(x0 | x_t)) / share, a scalar: with share uniform, a bound in nats
    a token.

    share, a number or (B,) in (0, 1], is the chance with which `mask_tokens` masked
    (step t/T of `even_schedule`, for which this is T L_{t-1}, so its mean over t is L_vb). Without 1/share, or as a
    mean over the masked tokens, it is BERT's loss and bounds nothing. Raises ValueError: a share outside (0, 1], shapes
    that differ, a mask in x0.
    Source: Sahoo et al. (2024), MDLM, section 3: the weight -alpha'_t / (1 - alpha_t) with alpha_t = 1 - t.
    """
    share = (
        torch.as_tensor(share, dtype=logits.dtype, device=logits.device).expand(len(x0)).view(-1, *[1] * (x0.dim() - 1))
    )
    if not ((share > 0) & (share <= 1)).all():
        raise ValueError("share must be in (0, 1], the chance that a token is masked: divide the step t by T")
    if (x0 == mask).any():
        raise ValueError(f"x0 must not hold the mask, {mask}: it stands for what is lost")
    nats = -_picked(x0_log_probs(logits, x_t, mask), x0)
    return torch.where(x_t == mask, nats / share, 0).mean()


@torch.no_grad()
def sample(
    model: Model,
    shape: Sequence[int],
    process: Process,
    steps: int | None = None,
    generator: torch.Generator | None = None,
    return_history: bool = False,
) -> Tensor:
    """x_T ~ rest, then x_s ~ `reverse` for `steps` even jumps from T to 0 (all T if not given): ids of `shape`
    (B, ...).

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
    """sum_k q_k log(q_k / p_k), (..., K) -> (...); where q is 0 neither the value nor the gradient of a log is
    wanted."""
    q_log, p_log = (torch.where(q > 0, probs, 1).log() for probs in (q, p))
    return (q * (q_log - p_log)).sum(dim=-1)


def _picked(log_probs: Tensor, x0: Tensor) -> Tensor:
    return log_probs.gather(-1, x0[..., None])[..., 0]


def _draw(probs: Tensor, generator: torch.Generator | None) -> Tensor:
    """One id from each row: (..., K) -> (...)."""
    return torch.multinomial(probs.flatten(0, -2), 1, generator=generator).view(probs.shape[:-1])
