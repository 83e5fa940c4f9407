"""How tokens reach their experts: the same layer written in four ways, each faster than the one before.

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

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding_bag, grouped_mm, linear, silu


def swiglu(x: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """One expert, W_down (silu(W_gate x) * W_up x): x (n, d), gate_up (2h, d), down (d, h) -> (n, d).

    Source: Shazeer (2020), GLU Variants Improve Transformer, equation 6.
    """
    gate, up = linear(x, gate_up).chunk(2, dim=-1)  # (n, h) each
    return linear(silu(gate) * up, down)


def check_shapes(x: Tensor, gates: Tensor, gate_up: Tensor, down: Tensor) -> None:
    """Raises ValueError, in one line, unless x (N, d), gates (N, E), gate_up (E, 2h, d) and down (E, d, h) fit
    together."""
    if (x.dim(), gates.dim(), gate_up.dim(), down.dim()) != (2, 2, 3, 3):
        raise ValueError(
            "x and gates need two axes, gate_up and down three, got "
            f"{x.dim()}, {gates.dim()}, {gate_up.dim()} and {down.dim()}"
        )
    (tokens, d), (experts, h) = x.shape, (gates.shape[1], down.shape[2])
    wanted = (tokens, experts), (experts, 2 * h, d), (experts, d, h)
    for name, tensor, shape in zip(("gates", "gate_up", "down"), (gates, gate_up, down), wanted):
        if tensor.shape != shape:
            raise ValueError(
                f"{name} must be {shape} for x {tuple(x.shape)}, {experts} experts and h = {h}, "
                f"got {tuple(tensor.shape)}"
            )
        if tensor.dtype != x.dtype:
            raise ValueError(f"{name} is {tensor.dtype} and x is {x.dtype}: all must have one dtype")


def masked_experts(x: Tensor, gates: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """Every expert on every token, then the sum with the gates as weights: N E evaluations, (N, d) -> (N, d)."""
    check_shapes(x, gates, gate_up, down)
    outputs = torch.stack(
        [swiglu(x, *weights) for weights in zip(gate_up.unbind(0), down.unbind(0))], dim=1
    )  # (N, E, d)
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
    """Sort and group: gather the S rows sorted by expert, one contiguous slice an expert, add them back, (N, d)
    -> (N, d)."""
    check_shapes(x, gates, gate_up, down)
    plan = plan_dispatch(gates)
    rows = x.index_select(0, plan.token).split(plan.counts)  # E slices, (counts[i], d) each
    outputs = torch.cat(
        [swiglu(*one) for one in zip(rows, gate_up.unbind(0), down.unbind(0)) if len(one[0])] or [x[:0]]
    )  # (S, d)
    return combine(outputs, plan, gates)


def fused_experts(x: Tensor, gates: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """`grouped_experts` with a gradient written by hand, (N, d) -> (N, d); it cannot be differentiated twice.

    A grouped product (torch's `grouped_mm`, a loop over the experts in C++) does the slices of all experts, forward and
    backward, and what lies between two products is one operation on all their rows; each token's rows are gathered,
    weighted and added in one pass. The activation is computed again in the backward pass instead of being kept.
    """
    check_shapes(x, gates, gate_up, down)
    return _FusedExperts.apply(x, gates, gate_up, down)


def grouped_product(a: Tensor, b: Tensor, counts: list[int]) -> Tensor:
    """E products in one call, the i-th on the i-th slice, counts[i] of the S = sum(counts) rows; an empty slice gives
    zeros.

    a (S, p), b (E, p, q) -> (S, q): each slice of rows times its expert's matrix. a (q, S), b (S, p) -> (E, q, p): the
    i-th columns of a times the i-th rows of b, the gradient of the matrices.
    """
    if _fits(a) and _fits(b):
        return grouped_mm(a, b, offs=torch.tensor(counts, device=a.device).cumsum(0, dtype=torch.int32))
    if b.dim() == 3:
        out = a.new_empty(len(a), b.shape[2])
        slices = zip(a.split(counts), b.unbind(0), out.split(counts))
    else:
        out = a.new_empty(len(counts), len(a), b.shape[1])
        slices = zip(a.split(counts, dim=1), b.split(counts), out.unbind(0))
    for one, two, product in slices:
        torch.mm(one, two, out=product)
    return out


def _fits(matrix: Tensor) -> bool:
    """Whether torch's `grouped_mm` takes it: no float64, and rows (or columns) that lie multiples of 16 bytes apart."""
    small, large = sorted(matrix.stride()[-2:])
    return (
        matrix.dtype in (torch.float32, torch.bfloat16, torch.float16)
        and small == 1
        and not large * matrix.element_size() % 16
    )


def _gather_sum(rows: Tensor, order: Tensor, starts: Tensor, weights: Tensor | None = None) -> Tensor:
    """For each token the (weighted) sum of its rows: rows (S, d), order (S,) their numbers token by token -> (N, d)."""
    return embedding_bag(order, rows, starts, mode="sum", per_sample_weights=weights)


BLOCK = (
    1024  # rows: buffers of more than 32 MB are new pages from the system at every call, a tenth of the time on a CPU
)


def _blocks(counts: list[int]) -> Iterator[tuple[int, int, int, int]]:
    """Experts first ... last - 1 with rows start ... stop - 1: at most BLOCK rows together, or one expert that has
    more."""
    first = start = stop = 0
    for i, count in enumerate(counts):
        if first < i and stop + count - start > BLOCK:
            yield first, i, start, stop
            first, start = i, stop
        stop += count
    yield first, len(counts), start, stop


def _evaluate(
    rows: Tensor, gate_up: Tensor, down: Tensor, counts: list[int], keep: bool = False
) -> tuple[Tensor, Tensor]:
    """swiglu of each expert on its slice of rows (S, d) -> outputs (S, d), inner (S, 2h), overwritten unless it is to
    be kept."""
    inner = grouped_product(rows, gate_up.mT, counts)
    gate, up = inner.chunk(2, dim=1)  # (S, h) each
    return grouped_product(silu(gate, inplace=not keep).mul_(up), down.mT, counts), inner


class _FusedExperts(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, gates: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
        token, expert, counts = plan_dispatch(gates)
        order = token.argsort(stable=True)  # (S,): the rows of token 0, then of token 1 ...
        per_token = torch.bincount(token, minlength=len(x))
        starts = per_token.cumsum(0) - per_token  # (N,)
        weight = gates[token, expert]  # (S,)
        training = any(ctx.needs_input_grad)
        rows = x.index_select(0, token)  # (S, d)
        if training:
            outputs, inner = _evaluate(rows, gate_up, down, counts, keep=True)
        else:
            outputs = torch.cat(
                [
                    _evaluate(rows[start:stop], gate_up[first:last], down[first:last], counts[first:last])[0]
                    for first, last, start, stop in _blocks(counts)
                ]
            )
        if training:
            ctx.counts = counts
            ctx.save_for_backward(gates, gate_up, down, token, expert, order, starts, weight, rows, inner, outputs)
        return _gather_sum(outputs, order, starts, weight[order])

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        gates, gate_up, down, token, expert, order, starts, weight, rows, inner, outputs = ctx.saved_tensors
        want_x, want_gates, want_gate_up, want_down = ctx.needs_input_grad
        grad_x = grad_gates = grad_gate_up = grad_down = None
        grad_rows = grad.index_select(0, token)  # (S, d)
        if want_gates:
            grad_gates = torch.zeros_like(gates)
            grad_gates[token, expert] = (grad_rows * outputs).sum(-1)
        grad_rows.mul_(weight[:, None])
        gate, up = inner.chunk(2, dim=1)  # (S, h) each
        grad_inner = torch.empty_like(inner)
        grad_gate, grad_up = grad_inner.chunk(2, dim=1)
        active = torch.ops.aten.silu.out(gate, out=grad_up)
        if want_down:
            grad_down = grouped_product(grad_rows.T, active * up, ctx.counts)
        if want_x or want_gate_up:
            grad_hidden = grouped_product(grad_rows, down, ctx.counts)  # (S, h)
            grad_up.mul_(grad_hidden)
            torch.ops.aten.silu_backward.grad_input(grad_hidden.mul_(up), gate, grad_input=grad_gate)
        if want_gate_up:
            grad_gate_up = grouped_product(grad_inner.T, rows, ctx.counts)
        if want_x:
            grad_x = _gather_sum(grouped_product(grad_inner, gate_up, ctx.counts), order, starts)
        return grad_x, grad_gates, grad_gate_up, grad_down
