"""The sparsely gated mixture of experts as a layer: a gate (`moe.gating`) and its experts
(`moe.dispatch` computes them)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from course_utils.moe.dispatch import fused_experts, swiglu
from course_utils.moe.gating import (
    _check_k,
    keep_top_k,
    softmax_then_top_k,
)


class Experts(nn.Module):
    """The weights of E SwiGLU experts: gate_up_proj (E, 2 d_ff, d_model) and down_proj (E, d_model, d_ff)."""

    def __init__(self, n_experts: int, d_model: int, d_ff: int):
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.empty(n_experts, 2 * d_ff, d_model).normal_(std=d_model**-0.5))
        self.down_proj = nn.Parameter(torch.empty(n_experts, d_model, d_ff).normal_(std=d_ff**-0.5))

    def forward(self, x: Tensor, gates: Tensor) -> Tensor:
        """sum_i gates_i E_i(x): x (N, d), gates (N, E) -> (N, d)."""
        return fused_experts(x, gates, self.gate_up_proj, self.down_proj)


class SharedExperts(nn.Module):
    """K experts that read every token, as one SwiGLU layer of K d_ff units: their sum, without gates."""

    def __init__(self, d_model: int, d_ff: int):
        super().__init__()
        self.gate_proj = nn.Linear(d_model, d_ff, bias=False)
        self.up_proj = nn.Linear(d_model, d_ff, bias=False)
        self.down_proj = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., d_model) -> (..., d_model)."""
        return swiglu(x, torch.cat([self.gate_proj.weight, self.up_proj.weight]), self.down_proj.weight)


class MixtureOfExperts(nn.Module):
    """y = sum_i G(x)_i E_i(x), G(x) = softmax(keep_top_k(x W_g)): a feed-forward layer of which each token uses k of E
    parts.

    x (..., d_model) -> (..., d_model). Parameters have the names and shapes of transformers' `MixtralSparseMoeBlock`,
    whose state dict can be loaded, and the results and gradients are the same. An expert without tokens is not
    evaluated. Balance it by adding `importance_loss(gates)` or `switch_balance_loss(logits)` of `route(x)` to the loss.

    DeepSeekMoE has m times as many experts of d_ff / m units, and two changes: n_shared experts read every token and
    are added without a gate, and with normalise=False G(x) is softmax(x W_g) where chosen, whose sum is below 1. Then
    the names and shapes are those of `DeepseekV2Moe`.

    Raises ValueError: a size below 1, top_k outside 1..n_experts, n_shared below 0, x without a last axis of d_model.
    Sources: Shazeer et al. (2017), section 2; Jiang et al. (2024), Mixtral of Experts, section 2.1; Dai et al. (2024),
    DeepSeekMoE.
    """

    def __init__(self, d_model: int, d_ff: int, n_experts: int, top_k: int, n_shared: int = 0, normalise: bool = True):
        super().__init__()
        if min(d_model, d_ff, n_experts) < 1:
            raise ValueError(f"d_model, d_ff and n_experts must be at least 1, got {d_model}, {d_ff} and {n_experts}")
        _check_k(top_k, n_experts)
        if n_shared < 0:
            raise ValueError(f"n_shared must be 0 or more, got {n_shared}")
        self.top_k, self.normalise = top_k, normalise
        self.gate = nn.Linear(d_model, n_experts, bias=False)
        self.experts = Experts(n_experts, d_model, d_ff)
        self.shared_experts = SharedExperts(d_model, n_shared * d_ff) if n_shared else None

    def route(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (N, d_model) -> (logits, gates), both (N, E)."""
        logits = self.gate(x)
        if self.normalise:
            return logits, keep_top_k(logits, self.top_k).softmax(dim=-1)
        return logits, softmax_then_top_k(logits, self.top_k)

    def forward(self, x: Tensor, gates: Tensor | None = None) -> Tensor:
        """The layer, with its own gates or with any others (N, E), N = all leading axes of x: noisy, capped, chosen by
        the experts."""
        if not x.dim() or x.shape[-1] != self.gate.in_features:
            raise ValueError(f"x must be (..., {self.gate.in_features}), got {tuple(x.shape)}")
        flat = x.reshape(-1, x.shape[-1])
        y = self.experts(flat, self.route(flat)[1] if gates is None else gates).view(x.shape)
        return y if self.shared_experts is None else y + self.shared_experts(x)
