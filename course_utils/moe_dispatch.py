"""How tokens reach their experts: one layer written four times, each time equal to the time before and faster.

y = sum_i G(x)_i E_i(x), for N tokens x (N, d) and E experts with gates G (N, E); where the gate is 0 nothing has to be
computed. The experts are Mixtral's: E_i(x) = W_down (silu(W_gate x) * W_up x) without bias, kept for all experts in two
tensors, gate_up (E, 2h, d), the rows of W_gate above those of W_up, and down (E, d, h).

    masked_experts    every expert reads every token, most of it times 0
    looped_experts    expert after expert, each only on its own tokens
    grouped_experts   tokens sorted by expert once, then each expert reads one contiguous slice
    fused_experts     the same with its gradient written by hand: what `moe.MixtureOfExperts` runs

All four raise ValueError where the shapes do not fit, and give gradients for x, gates, gate_up and down.
Sources: Shazeer et al. (2017), equation 1; Jiang et al. (2024), Mixtral of Experts, section 2.1; Gale et al. (2023),
MegaBlocks, section 3 (sort and group).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding_bag, linear, silu


def swiglu(x: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """One expert, W_down (silu(W_gate x) * W_up x): x (n, d), gate_up (2h, d), down (d, h) -> (n, d).

    Source: Shazeer (2020), GLU Variants Improve Transformer, equation 6.
    """
    gate, up = linear(x, gate_up).chunk(2, dim=-1)  # (n, h) each
    return linear(silu(gate) * up, down)


def check_shapes(x: Tensor, gates: Tensor, gate_up: Tensor, down: Tensor) -> None:
    """Raises ValueError, in one line, unless x (N, d), gates (N, E), gate_up (E, 2h, d) and down (E, d, h) fit together."""
    if (x.dim(), gates.dim(), gate_up.dim(), down.dim()) != (2, 2, 3, 3):
        raise ValueError("x and gates need two axes, gate_up and down three, got "
                         f"{x.dim()}, {gates.dim()}, {gate_up.dim()} and {down.dim()}")
    (tokens, d), (experts, h) = x.shape, (gates.shape[1], down.shape[2])
    wanted = (tokens, experts), (experts, 2 * h, d), (experts, d, h)
    for name, tensor, shape in zip(("gates", "gate_up", "down"), (gates, gate_up, down), wanted):
        if tensor.shape != shape:
            raise ValueError(f"{name} must be {shape} for x {tuple(x.shape)}, {experts} experts and h = {h}, "
                             f"got {tuple(tensor.shape)}")
        if tensor.dtype != x.dtype:
            raise ValueError(f"{name} is {tensor.dtype} and x is {x.dtype}: all must have one dtype")


def masked_experts(x: Tensor, gates: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """Every expert on every token, then the sum with the gates as weights: N E evaluations, (N, d) -> (N, d)."""
    check_shapes(x, gates, gate_up, down)
    outputs = torch.stack([swiglu(x, *weights) for weights in zip(gate_up.unbind(0), down.unbind(0))], dim=1)  # (N, E, d)
    return torch.einsum("ne,ned->nd", gates, outputs)


def looped_experts(x: Tensor, gates: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """Expert after expert on the tokens that chose it, one evaluation for each gate that is not 0, (N, d) -> (N, d)."""
    check_shapes(x, gates, gate_up, down)
    y = torch.zeros_like(x)
    # unbind, not gate_up[i]: the gradient of each gate_up[i] would be a tensor of all experts
    for gate, *weights in zip(gates.unbind(1), gate_up.unbind(0), down.unbind(0)):
        token = gate.nonzero().squeeze(1)  # (n,)
        if len(token):
            y = y.index_add(0, token, gate[token, None] * swiglu(x[token], *weights))
    return y


class Plan(NamedTuple):
    """Who goes where. S pairs of a token and an expert with a gate that is not 0, sorted by expert, then by token."""

    token: Tensor  # (S,)
    expert: Tensor  # (S,)
    counts: list[int]  # E numbers: how many of the S rows each expert has


def plan_dispatch(gates: Tensor) -> Plan:
    """The pairs of `gates` (N, E) that are not 0, sorted by expert: reading the transpose row by row is the sorting."""
    expert, token = gates.detach().T.contiguous().nonzero(as_tuple=True)
    return Plan(token, expert, torch.bincount(expert, minlength=gates.shape[1]).tolist())


def combine(outputs: Tensor, plan: Plan, gates: Tensor) -> Tensor:
    """Each token's sum of its experts' outputs, weighted with their gates: outputs (S, d), gates (N, E) -> (N, d)."""
    weighted = gates[plan.token, plan.expert][:, None] * outputs
    return outputs.new_zeros(len(gates), outputs.shape[1]).index_add(0, plan.token, weighted)


def grouped_experts(x: Tensor, gates: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """Sort and group: gather the S rows sorted by expert, one contiguous slice an expert, add them back, (N, d) -> (N, d)."""
    check_shapes(x, gates, gate_up, down)
    plan = plan_dispatch(gates)
    rows = x.index_select(0, plan.token).split(plan.counts)  # E slices, (counts[i], d) each
    outputs = torch.cat([swiglu(*one) for one in zip(rows, gate_up.unbind(0), down.unbind(0)) if len(one[0])] or [x[:0]])  # (S, d)
    return combine(outputs, plan, gates)


def fused_experts(x: Tensor, gates: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """`grouped_experts` with a gradient written by hand, (N, d) -> (N, d); it cannot be differentiated twice.

    The products write straight into the slices of one buffer, forward and backward, and each token's rows are gathered,
    weighted and added in one pass. The activation is computed again in the backward pass instead of being kept.
    """
    check_shapes(x, gates, gate_up, down)
    return _FusedExperts.apply(x, gates, gate_up, down)


def _gather_sum(rows: Tensor, order: Tensor, starts: Tensor, weights: Tensor | None = None) -> Tensor:
    """For each token the (weighted) sum of its rows: rows (S, d), order (S,) their numbers token by token -> (N, d)."""
    return embedding_bag(order, rows, starts, mode="sum", per_sample_weights=weights)


FEW = 48  # rows: up to there weight times rows is 1.3 times as fast as rows times weight (MKL, two cores), from 64 on it is slower


def _linear_into(out: Tensor, rows: Tensor, weight: Tensor) -> None:
    """out = rows weight^T: out (n, q), rows (n, p), weight (q, p)."""
    if len(rows) <= FEW:
        out.copy_((weight @ rows.T).T)
    else:
        torch.mm(rows, weight.T, out=out)


class _FusedExperts(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, gates: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
        token, expert, counts = plan_dispatch(gates)
        order = token.argsort(stable=True)  # (S,): the rows of token 0, then of token 1 ...
        per_token = torch.bincount(token, minlength=len(x))
        starts = per_token.cumsum(0) - per_token  # (N,)
        weight = gates[token, expert]  # (S,)
        training, h = any(ctx.needs_input_grad), down.shape[2]
        rows = x.index_select(0, token)  # (S, d)
        outputs = torch.empty_like(rows)
        inner = rows.new_empty(len(rows) if training else max(counts, default=0), 2 * h)  # kept only for a gradient
        for i, start, stop in _slices(counts):
            both = inner[start:stop] if training else inner[: stop - start]
            _linear_into(both, rows[start:stop], gate_up[i])
            gate, up = both[:, :h], both[:, h:]
            _linear_into(outputs[start:stop], (silu(gate) if training else silu(gate, inplace=True)).mul_(up), down[i])
        if training:
            ctx.counts = counts
            ctx.save_for_backward(gates, gate_up, down, token, expert, order, starts, weight, rows, inner, outputs)
        return _gather_sum(outputs, order, starts, weight[order])

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        gates, gate_up, down, token, expert, order, starts, weight, rows, inner, outputs = ctx.saved_tensors
        want_x, want_gates, want_gate_up, want_down = ctx.needs_input_grad
        grad_rows = grad.index_select(0, token)  # (S, d)
        grad_gates = torch.zeros_like(gates) if want_gates else None
        if want_gates:
            grad_gates[token, expert] = (grad_rows * outputs).sum(-1)
        grad_rows.mul_(weight[:, None])
        grad_x = torch.empty_like(rows) if want_x else None
        grad_gate_up, grad_down = (torch.empty_like(w) if want else None for w, want in ((gate_up, want_gate_up), (down, want_down)))
        h = down.shape[2]
        for i, start, stop in _slices(ctx.counts):
            gate, up = inner[start:stop, :h], inner[start:stop, h:]  # (n, h)
            active = silu(gate)
            if want_down:
                torch.mm(grad_rows[start:stop].T, active * up, out=grad_down[i])
            if not (want_x or want_gate_up):
                continue
            grad_hidden = grad_rows[start:stop] @ down[i]  # (n, h)
            both = torch.empty_like(inner[start:stop])
            torch.mul(grad_hidden, active, out=both[:, h:])
            torch.ops.aten.silu_backward.grad_input(grad_hidden.mul_(up), gate, grad_input=both[:, :h])
            if want_gate_up:
                torch.mm(both.T, rows[start:stop], out=grad_gate_up[i])
            if want_x:
                torch.mm(both, gate_up[i], out=grad_x[start:stop])
        for tensor in filter(lambda tensor: tensor is not None, (grad_gate_up, grad_down)):
            for i, count in enumerate(ctx.counts):
                if not count:
                    tensor[i].zero_()
        return _gather_sum(grad_x, order, starts) if want_x else None, grad_gates, grad_gate_up, grad_down


def _slices(counts: list[int]):
    """(expert, start, stop) for the experts that have rows; the others are not touched."""
    start = 0
    for i, count in enumerate(counts):
        if count:
            yield i, start, start + count
        start += count
