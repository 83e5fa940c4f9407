"""Times of our mixture of experts beside transformers' and beside the floor, interleaved, medians of one run.

    python tests/bench/moe.py                  E in {8, 32}, k in {1, 2}, T in {512, 2048}, forward and forward+backward
    python tests/bench/moe.py --rounds 21 --threads 1

Peers: `MixtralSparseMoeBlock` with the same weights and each `experts_implementation` that runs on a CPU: eager
(a loop), grouped_mm, batched_mm. The last one copies an expert for every token: it is left out (-) where the copies
exceed --copies GB, as they do at 2 on every line here (T = 512, k = 1 takes 3.2 GB, its gradient several times that).
The floor is one dense SwiGLU layer with d_ff k times as wide: the floating point operations of the experts that are
used, without router, sorting and, for E experts, E / k times as many weights to read and gradients to write.
Gradients are dropped before each backward pass, as an optimizer's zero_grad does.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
import torch  # noqa: E402
from torch import nn  # noqa: E402
from transformers import MixtralConfig  # noqa: E402
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock  # noqa: E402

from course_utils.moe import MixtureOfExperts  # noqa: E402
from course_utils.moe.dispatch import swiglu  # noqa: E402

D_MODEL, D_FF = 512, 1024
PEERS = ("eager", "grouped_mm", "batched_mm")


class Dense(nn.Module):
    def __init__(self, d_model: int, d_ff: int):
        super().__init__()
        self.gate_up = nn.Parameter(torch.randn(2 * d_ff, d_model) * d_model**-0.5)
        self.down = nn.Parameter(torch.randn(d_model, d_ff) * d_ff**-0.5)

    def forward(self, x):
        return swiglu(x[0], self.gate_up, self.down)[None]


def layers(n_experts: int, k: int, tokens: int, copies: float) -> dict[str, nn.Module]:
    """Our layer, the peers with its weights (the parameters themselves, not copies), and the floor."""
    ours = MixtureOfExperts(D_MODEL, D_FF, n_experts, k)
    result = {"ours": ours}
    for name in PEERS:
        if name == "batched_mm" and tokens * k * 3 * D_MODEL * D_FF * 4 > copies * 1e9:
            continue
        sizes = {"hidden_size": D_MODEL, "intermediate_size": D_FF, "num_local_experts": n_experts}
        config = MixtralConfig(**sizes, num_experts_per_tok=k)
        config._experts_implementation = name
        with torch.device("meta"):
            block = MixtralSparseMoeBlock(config)
        block.load_state_dict(ours.state_dict(keep_vars=True), assign=True)
        result[name] = block
    return result | {"floor": Dense(D_MODEL, D_FF * k)}


def forward(layer: nn.Module, x: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return layer(x)


def both(layer: nn.Module, x: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
    layer.zero_grad(set_to_none=True)
    x.grad = None
    y = layer(x)
    y.backward(grad)
    return y.detach()


def medians(run, modules: dict[str, nn.Module], x, grad, rounds: int, budget: float) -> dict[str, float]:
    """Milliseconds; the order turns by one in each round, so that nobody always follows the same neighbour."""
    outputs = {name: run(layer, x, grad) for name, layer in modules.items()}  # warm up
    for name in modules.keys() - {"floor"}:
        assert torch.allclose(outputs[name], outputs["ours"], atol=1e-4), name
    names, times, begin = list(modules), {name: [] for name in modules}, time.perf_counter()
    for turn in range(rounds):
        if turn >= 3 and time.perf_counter() - begin > budget:
            break
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            run(modules[name], x, grad)
            times[name].append(time.perf_counter() - start)
    return {name: 1e3 * statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--budget", type=float, default=9, help="seconds for one line of the table, at most about")
    parser.add_argument("--copies", type=float, default=2, help="GB that batched_mm may copy")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    layer, build = f"d_model {D_MODEL}, d_ff {D_FF}", f"{options.threads} threads, torch {torch.__version__}"
    print(f"{layer}, {build}; ratios: below 1 we are faster")
    others = (*PEERS, "best peer", "floor")
    print(f"{'':26}{'ours ms':>9}{'floor ms':>9}" + "".join(f"{'/ ' + name:>13}" for name in others))
    for run, title in ((forward, "forward"), (both, "forward+backward")):
        for n_experts, k, tokens in ((e, k, t) for e in (8, 32) for k in (1, 2) for t in (512, 2048)):
            torch.manual_seed(0)
            x, grad = torch.randn(2, 1, tokens, D_MODEL)
            x.requires_grad_(run is both)
            ms = medians(run, layers(n_experts, k, tokens, options.copies), x, grad, options.rounds, options.budget)
            ms["best peer"] = min(ms[name] for name in PEERS if name in ms)
            ratios = (f"{ms['ours'] / ms[name]:13.2f}" if name in ms else f"{'-':>13}" for name in others)
            line = f"{title:17}{n_experts:3} {k} {tokens:4}{ms['ours']:9.1f}{ms['floor']:9.1f}"
            print(line + "".join(ratios), flush=True)


if __name__ == "__main__":
    main()
