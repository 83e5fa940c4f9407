"""The gate of a mixture of experts: which experts a token goes to, and how the load is kept even.

Shapes throughout: N tokens x (N, d), E experts, logits and gates (N, E); a gate is an expert's weight in a token's
output, 0 for every expert that was not chosen.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus


def _check_k(k: int, n_experts: int) -> None:
    if not 1 <= k <= n_experts:
        raise ValueError(f"k must be from 1 to the number of experts, {n_experts}, got {k}")


def _check_matrix(name: str, tensor: Tensor) -> None:
    if tensor.dim() != 2 or not tensor.numel():
        raise ValueError(f"{name} must be (tokens, experts) and not empty, got {tuple(tensor.shape)}")


def keep_top_k(v: Tensor, k: int) -> Tensor:
    """v_i where it is one of the k largest of its row, -inf elsewhere: (..., E) -> (..., E), exactly k kept even if
    values tie.

    -inf and not 0, because the softmax that follows turns -inf into exactly 0 and 0 into exp(0) = 1, a share.
    Raises ValueError: k outside 1..E. Source: Shazeer et al. (2017), equation 5.
    """
    _check_k(k, v.shape[-1] if v.dim() else 0)
    values, index = v.topk(k, dim=-1)  # (..., k)
    return torch.full_like(v, -math.inf).scatter(-1, index, values)


def softmax_then_top_k(logits: Tensor, k: int) -> Tensor:
    """softmax(logits)_i for the k largest of a row, 0 for the others: (..., E) -> (..., E); a row's sum is below 1.

    The other order, softmax after the choice, gives the same values divided by their sum. Here that sum says how much
    the token wants any of its experts, and with k = 1 the gate has a gradient.
    Raises ValueError: k outside 1..E. Source: Dai et al. (2024), DeepSeekMoE; for k = 1 Fedus et al. (2022),
    section 2.1.
    """
    _check_k(k, logits.shape[-1] if logits.dim() else 0)
    probability = logits.softmax(dim=-1)
    values, index = probability.topk(k, dim=-1)  # (..., k)
    return torch.zeros_like(probability).scatter(-1, index, values)


class Gating(NamedTuple):
    """What `noisy_top_k_gate` found, each (N, E); the last three are what `load_loss` needs."""

    gates: Tensor  # G(x): the weights, rows sum to 1
    clean: Tensor  # x W_g
    noisy: Tensor  # H(x): clean + noise * std
    std: Tensor  # softplus(x W_noise)


def noisy_top_k_gate(
    x: Tensor,
    w_gate: Tensor,
    w_noise: Tensor,
    k: int,
    noise: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Gating:
    """G(x) = softmax(keep_top_k(H(x), k)) with H(x)_i = (x W_g)_i + noise_i softplus((x W_noise)_i).

    x (N, d), w_gate and w_noise (d, E). `noise` (N, E) is standard normal, drawn with `generator` if it is not given;
    zeros give the gate without noise, for use after the training. With k = 1 the gate is always 1 and W_g gets no
    gradient.
    Raises ValueError: shapes that do not fit, k outside 1..E. Source: Shazeer et al. (2017), section 2.1, equations 3
    to 5.
    """
    if x.dim() != 2 or w_gate.dim() != 2 or x.shape[1] != w_gate.shape[0] or w_noise.shape != w_gate.shape:
        raise ValueError(
            f"x must be (N, d), w_gate and w_noise (d, E), got {tuple(x.shape)}, {tuple(w_gate.shape)}"
            f" and {tuple(w_noise.shape)}"
        )
    clean, std = x @ w_gate, softplus(x @ w_noise)  # (N, E)
    if noise is None:
        noise = torch.randn(clean.shape, generator=generator, dtype=clean.dtype, device=clean.device)
    if noise.shape != clean.shape:
        raise ValueError(
            f"noise must be {tuple(clean.shape)}, a number for each token and expert, got {tuple(noise.shape)}"
        )
    noisy = clean + noise * std
    return Gating(keep_top_k(noisy, k).softmax(dim=-1), clean, noisy, std)


def cv_squared(x: Tensor) -> Tensor:
    """(standard deviation / mean)^2 of the numbers in x, a scalar: 0 if all are equal, E - 1 if one of E has
    everything.

    The deviation is that of the population (divided by E, not E - 1).
    Raises ValueError: x is empty. Source: Shazeer et al. (2017), section 4.
    """
    if not x.numel():
        raise ValueError("cv_squared needs at least one number, got none")
    return x.var(correction=0) / x.mean().square().clamp_min(torch.finfo(x.dtype).tiny)


def importance_loss(gates: Tensor, weight: float = 1.0) -> Tensor:
    """weight CV(sum_x G(x))^2, a scalar: gates (N, E); 0 when all experts get the same total gate.

    Raises ValueError: gates are not (N, E). Source: Shazeer et al. (2017), section 4, equations 6 and 7
    (weight 0.1 there).
    """
    _check_matrix("gates", gates)
    return weight * cv_squared(gates.sum(dim=0))


def chosen_probability(gating: Gating, k: int) -> Tensor:
    """P(x, i), (N, E): the chance that expert i is among the k chosen if only its own noise were drawn again.

    P(x, i) = Phi(((x W_g)_i - kth_excluding(H(x), k, i)) / softplus((x W_noise)_i)), Phi the normal distribution
    function and kth_excluding(v, k, i) the k-th largest of v without v_i. With k = E every expert is chosen: P = 1.
    Raises ValueError: k outside 1..E. Source: Shazeer et al. (2017), appendix A, equations 8 and 9.
    """
    _, clean, noisy, std = gating
    _check_k(k, noisy.shape[-1])
    if k == noisy.shape[-1]:
        return torch.ones_like(noisy)
    values, index = noisy.topk(k + 1, dim=-1)  # (N, k + 1)
    inside = torch.zeros_like(noisy, dtype=torch.bool).scatter(-1, index[:, :k], True)
    kth_excluding = torch.where(inside, values[:, k:], values[:, k - 1 : k])  # without itself, the next one moves up
    return torch.special.ndtr((clean - kth_excluding) / std)


def load_loss(gating: Gating, k: int, weight: float = 1.0) -> Tensor:
    """weight CV(Load)^2, a scalar, with Load_i = sum_x P(x, i): a smooth estimate of how many tokens expert i gets.

    The true number of tokens has no gradient; P (see `chosen_probability`) has one. `gating` is what `noisy_top_k_gate`
    gave.
    Raises ValueError: k outside 1..E. Source: Shazeer et al. (2017), appendix A, equations 10 and 11
    (weight 0.1 there).
    """
    return weight * cv_squared(chosen_probability(gating, k).sum(dim=0))


def switch_balance_loss(logits: Tensor, k: int = 1, weight: float = 1.0) -> Tensor:
    """weight E sum_i f_i P_i, a scalar: logits (N, E); `weight` (the lecture's balance) when the experts are used
    evenly.

    f_i is the share of the choices (k for each token, the largest logits) that fell on expert i, without gradient; P_i
    the mean of softmax(logits)_i over the tokens. The paper has k = 1; transformers' function for Mixtral is k times
    ours.
    Raises ValueError: logits are not (N, E), k outside 1..E. Source: Fedus et al. (2022), section 2.2, equations 4 to 6
    (weight 0.01 there).
    """
    _check_matrix("logits", logits)
    _check_k(k, logits.shape[1])
    index = logits.detach().topk(k, dim=-1).indices
    f = torch.bincount(index.flatten(), minlength=logits.shape[1]) / index.numel()  # (E,), sums to 1
    return weight * logits.shape[1] * (f.to(logits.dtype) * logits.softmax(dim=-1).mean(dim=0)).sum()


def expert_capacity(n_tokens: int, n_experts: int, k: int = 1, factor: float = 1.25) -> int:
    """ceil(factor k N / E): how many tokens an expert takes at most; factor 1 has room only for a perfectly even load.

    Raises ValueError: a number that is not positive. Source: Fedus et al. (2022), section 2.2, equation 3 (k = 1).
    """
    if min(n_tokens, n_experts, k) < 1 or not factor > 0:
        raise ValueError(
            f"tokens, experts, k and factor must be positive, got {n_tokens}, {n_experts}, {k} and {factor}"
        )
    return math.ceil(factor * k * n_tokens / n_experts)


def apply_capacity(gates: Tensor, capacity: int) -> tuple[Tensor, Tensor]:
    """No expert takes more than `capacity` tokens: gates (N, E) -> (gates with the overflow set to 0, dropped (N,)).

    First all tokens' first choices (their largest gates) are served in the order of the tokens, then the second choices
    ... The weights of a token are not scaled up again. `dropped` marks the tokens that had an expert and have none
    left: the layer gives 0 for them, so they pass by on the residual connection. Raises ValueError: capacity < 0, gates
    are not (N, E).
    Sources: Fedus et al. (2022), section 2.2; Lepikhin et al. (2020), GShard, algorithm 1 (second choices after first).
    """
    _check_matrix("gates", gates)
    if capacity < 0:
        raise ValueError(f"capacity must not be negative, got {capacity}")
    chosen = gates != 0
    order = gates.detach().argsort(dim=-1, descending=True, stable=True)  # (N, E): first choice, second choice ...
    queue = torch.zeros_like(chosen)
    filled = torch.zeros(gates.shape[1], dtype=torch.long, device=gates.device)
    for choice in range(int(chosen.sum(dim=-1).max())):
        mine = torch.zeros_like(chosen).scatter(-1, order[:, choice : choice + 1], True) & chosen
        place = filled + mine.cumsum(dim=0)  # 1 for the first token in an expert's queue
        queue |= mine & (place <= capacity)
        filled = filled + mine.sum(dim=0)
    return gates * queue, chosen.any(dim=-1) & ~queue.any(dim=-1)


def expert_choice(logits: Tensor, capacity: int) -> Tensor:
    """The experts choose: each takes the `capacity` tokens that like it most; logits (N, E) -> gates (N, E).

    The gate is softmax(logits) over the experts where chosen, else 0. The load is even by construction; a token may
    have no expert or many. It looks at all tokens at once, later ones too: not for writing text word by word.
    Raises ValueError: capacity outside 1..N, logits are not (N, E). Source: Zhou et al. (2022), section 3.2.
    """
    _check_matrix("logits", logits)
    if not 1 <= capacity <= len(logits):
        raise ValueError(f"capacity must be from 1 to the number of tokens, {len(logits)}, got {capacity}")
    scores = logits.softmax(dim=-1)
    values, token = scores.topk(capacity, dim=0)  # (capacity, E)
    return torch.zeros_like(scores).scatter(0, token, values)


def biased_gates(logits: Tensor, bias: Tensor, k: int) -> Tensor:
    """The k experts with the largest s_i + b_i, weighted with s_i / (sum of the chosen s): logits (N, E), bias (E,)
    -> (N, E).

    s = sigmoid(logits). The bias decides who is chosen and never how much it weighs, so it costs the loss no gradient.
    Raises ValueError: shapes that do not fit, k outside 1..E. Source: DeepSeek-V3 (2024), section 2.1.2, equations 13
    to 16.
    """
    _check_matrix("logits", logits)
    _check_k(k, logits.shape[1])
    if bias.shape != logits.shape[1:]:
        raise ValueError(f"bias must be ({logits.shape[1]},), a number for each expert, got {tuple(bias.shape)}")
    scores = logits.sigmoid()
    index = (scores + bias).detach().topk(k, dim=-1).indices
    chosen = torch.zeros_like(scores).scatter(-1, index, scores.gather(-1, index))
    return chosen / chosen.sum(dim=-1, keepdim=True)


def balanced_bias(bias: Tensor, gates: Tensor, rate: float = 0.001) -> Tensor:
    """b_i + rate sign(mean load - load_i): bias (E,), gates (N, E) -> (E,). After each step, the crowded become less
    attractive.

    Raises ValueError: shapes that do not fit. Source: Wang et al. (2024), Auxiliary-Loss-Free Load Balancing, algorithm
    1.
    """
    _check_matrix("gates", gates)
    if bias.shape != gates.shape[1:]:
        raise ValueError(f"bias must be ({gates.shape[1]},), a number for each expert, got {tuple(bias.shape)}")
    load = (gates.detach() != 0).sum(dim=0).to(bias.dtype)
    return bias + rate * (load.mean() - load).sign()
