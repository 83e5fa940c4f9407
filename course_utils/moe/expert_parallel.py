"""Expert parallelism: each process holds some of the experts, and tokens are sent to the process that has their expert.

With W processes and E experts, process r holds the experts r E/W ... (r + 1) E/W - 1 and its own part of the tokens.
Two all-to-all exchanges a layer: tokens to the experts, results back. Start with `torchrun --nproc_per_node W
script.py` and `torch.distributed.init_process_group("gloo")` on CPUs, "nccl" on GPUs: the code is the same.
Source: Lepikhin et al. (2020), GShard, section 3; Shazeer et al. (2017), section 3.1.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from course_utils.moe.dispatch import combine, fused_experts, plan_dispatch


class _Exchange(torch.autograd.Function):
    """Send sent[j] rows to process j, receive got[j] rows from it; the gradient goes the same way back."""

    @staticmethod
    def forward(ctx, rows: Tensor, sent: list[int], got: list[int], group: dist.ProcessGroup | None) -> Tensor:
        ctx.sent, ctx.got, ctx.group = sent, got, group
        received = rows.new_empty(sum(got), *rows.shape[1:])
        dist.all_to_all_single(received, rows.contiguous(), got, sent, group=group)
        return received

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return _Exchange.apply(grad, ctx.got, ctx.sent, ctx.group), None, None, None


def expert_parallel_forward(
    x: Tensor, gates: Tensor, gate_up: Tensor, down: Tensor, group: dist.ProcessGroup | None = None
) -> Tensor:
    """y = sum_i G(x)_i E_i(x) for this process's tokens, with the experts spread over the processes of `group`.

    x (N, d) and gates (N, E) are this process's tokens (N may differ between processes, and be 0) and their gates over
    all E experts; gate_up (E/W, 2h, d) and down (E/W, d, h) are this process's experts. -> (N, d). All processes must
    call it. Gradients flow back through both exchanges: those of gate_up and down are complete, sums over all
    processes' tokens; only what is copied on every process, like the router, still has to be summed with `all_reduce`.
    Raises ValueError: E experts that are not W times this process's, no process group.
    Source: Lepikhin et al. (2020), GShard, section 3.
    """
    if not dist.is_initialized():
        raise ValueError("no process group: start with torchrun and call torch.distributed.init_process_group first")
    world, mine = dist.get_world_size(group), len(gate_up)
    if x.dim() != 2 or gates.shape != (len(x), world * mine):
        raise ValueError(
            f"gates must be ({len(x)}, {world * mine}) for x {tuple(x.shape)}, {world} processes and {mine} experts"
            f" on this one, got {tuple(gates.shape)}"
        )
    plan = plan_dispatch(gates)  # sorted by expert, therefore by process too
    sent = torch.tensor(plan.counts, device=x.device).view(world, mine)  # rows for each expert of each process
    got = torch.empty_like(sent)  # rows from each process for each expert here
    dist.all_to_all_single(got, sent, group=group)
    n_sent, n_got = sent.sum(dim=1).tolist(), got.sum(dim=1).tolist()

    rows = _Exchange.apply(
        x.index_select(0, plan.token), n_sent, n_got, group
    )  # (R, d): sender by sender, each sorted by expert
    expert = torch.arange(mine, device=x.device).repeat(world).repeat_interleave(got.flatten())  # (R,)
    outputs = fused_experts(
        rows, torch.nn.functional.one_hot(expert, mine).to(x.dtype), gate_up, down
    )  # (R, d), not weighted yet
    outputs = _Exchange.apply(outputs, n_got, n_sent, group)  # (S, d), in the order in which they were sent
    return combine(outputs, plan, gates)
