"""The kernels on a GPU: right against float64, then timed against the floors of that card. Under 4 minutes on an H100.

    python tests/bench/gpu.py                 check, time, and write data/gpu_times.parquet
    python tests/bench/gpu.py --check         check only; without a GPU by Triton's interpreter

Checks: every kernel in every dtype on sizes that are no multiple of a block, with nan in the rows that nobody needs;
and every place where a model computes, with MANY_MODELS_DEVICE=auto against the CPU (CUDA, MPS, or the CPU once more).
Times: medians of `triton.testing.do_bench` (its cache is emptied between calls). Two ceilings are measured in the same
run, reading (a copy of 1 GB) and products (bf16, 8192 x 8192): `of_floor` is the time that a method's bytes and
operations need at these ceilings, divided by its own. One row: dense, skip (no list), gather (a list), CSR (cuSPARSE),
2:4 (cuSPARSELt). The MoE layer: ours, transformers' eager and grouped_mm with the same weights, and one dense SwiGLU
layer of equal work.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import torch
import triton
from torch import Tensor
from torch.nn.functional import linear

sys.path.insert(0, str(Path(__file__).parents[2]))
from course_utils import sparsity  # noqa: E402
from course_utils.sparsity import (  # noqa: E402
    pack_2_4,
    prune_2_4,
    sparse_matvec,
    triton_matvec_2_4,
    triton_skip_matvec,
    triton_sparse_matvec,
)

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-3  # relative to 1 + the size of a number: 30 layers in float32, whose sums run in another order
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
SHAPES = ((2048, 768), (8192, 2048), (11008, 4096))  # W^T: (in, out)
DENSITIES, BATCHES = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0), (1, 8, 32)
EXPERTS, CHOSEN, TOKENS, D_MODEL, D_FF = (8, 64), (1, 2, 8), (1, 64, 1024, 8192), 2048, 1408


def close(y: Tensor, exact: Tensor, size: Tensor) -> bool:
    """Whether y rounds `exact` (float64), a sum whose magnitudes sum to `size`."""
    info = torch.finfo(y.dtype)
    return bool(((y.double() - exact).abs() <= 8 * info.eps * size.clamp(min=info.smallest_normal)).all())


def checks(device: str) -> None:
    """Raises AssertionError for a kernel that is not right."""
    torch.manual_seed(0)
    for dtype, (d_in, d_out), density in itertools.product(DTYPES, ((300, 100), (1, 65), (129, 1)), (0, 0.1, 1)):
        h = torch.randn(d_in, device=device, dtype=dtype) * (torch.rand(d_in, device=device) < density)
        weight_t = torch.randn(d_in, d_out, device=device, dtype=dtype)
        live = h != 0
        exact, size = (f(h[live].double()) @ f(weight_t[live].double()) for f in (lambda x: x, torch.abs))
        weight_t[~live] = torch.nan
        for matvec in (triton_skip_matvec, triton_sparse_matvec):
            assert close(matvec(weight_t, h), exact, size), (matvec.__name__, dtype, d_in, d_out, density)
    for dtype, rows, fours in itertools.product(DTYPES, (1, 70), (1, 33)):
        weight = prune_2_4(torch.randn(rows, 4 * fours, device=device, dtype=dtype))
        x = torch.randn(4 * fours, device=device, dtype=dtype)
        y = triton_matvec_2_4(*pack_2_4(weight), x)
        assert close(y, weight.double() @ x.double(), weight.double().abs() @ x.double().abs()), ("2:4", dtype, rows)
    for dtype, counts in itertools.product(DTYPES, ([0, 1, 5, 16, 19], [200], [0, 0, 3], [70, 1, 300])):
        x = torch.randn(sum(counts), 40, device=device, dtype=dtype)
        weight = torch.randn(len(counts), 33, 40, device=device, dtype=dtype).transpose(1, 2)
        of = torch.repeat_interleave(torch.tensor(counts)).to(device)
        y = sparsity.triton_grouped_matmul(x, weight, torch.tensor([0, *counts], device=device).cumsum(0))
        exact, size = (torch.einsum("ti,tio->to", f(x.double()), f(weight.double())[of]) for f in (lambda x: x, abs))
        assert close(y, exact, size), ("grouped", dtype, counts)
    print(f"the kernels are right on {device}: {sparsity.backend(device)}")


def models_agree() -> None:
    """Raises AssertionError for a place whose results on the device are not the CPU's within TOLERANCE."""
    sys.path.insert(0, str(ROOT / "tests" / "shelf"))
    from forward_places import PLACES, forget

    from course_utils.shelf.device import SETTING, device

    found = {}
    for setting in ("cpu", "auto"):
        os.environ[SETTING] = setting
        forget()
        found[setting] = {name: place() for name, place in PLACES.items()}
    for name, here in found["cpu"].items():
        there = found["auto"][name]
        apart = ((here - there).abs() / (1 + here.abs())).max().item()
        print(f"{name:50} {device()} and cpu differ by {apart:.1e}")
        assert here.shape == there.shape and apart <= TOLERANCE, name


def milliseconds(function: Callable, *args: object) -> float:
    return triton.testing.do_bench(partial(function, *args), warmup=5, rep=40, return_mode="median")


def ceilings() -> tuple[float, float]:
    """Bytes and operations (bf16) for each millisecond."""
    source = torch.empty(2**28, device="cuda")
    target, square = torch.empty_like(source), torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    return 2 * 2**30 / milliseconds(target.copy_, source), 2 * 8192**3 / milliseconds(torch.mm, square, square)


def row(what: str, method: str, ms: float, floor: float, **settings: object) -> dict:
    found = {"what": what, "method": method, **settings, "ms": ms, "of_floor": floor / ms}
    print(found, flush=True)
    return found


def vectors(reading: float, computing: float) -> Iterator[dict]:
    """W h for one row and for batches, zeros in h at random."""
    for (d_in, d_out), density, B in itertools.product(SHAPES, DENSITIES, BATCHES):
        h = torch.randn(B, d_in, device="cuda", dtype=torch.float16) * (torch.rand(B, d_in, device="cuda") < density)
        weight_t = torch.randn(d_in, d_out, device="cuda", dtype=torch.float16)
        needed = int((h != 0).any(0).sum())
        settings = {"d_in": d_in, "d_out": d_out, "density": density, "batch": B}
        ways = {"dense": (_dense, h, d_in), "CSR": (_csr, h, needed), "gather, torch": (sparse_matvec, h, needed)}
        if B == 1:
            ways["skip"] = (triton_skip_matvec, h[0], needed)
            ways["gather"] = (triton_sparse_matvec, h[0], needed)
        for name, (function, rows, read) in ways.items():
            floor = max(2 * read * d_out / reading, 2 * B * read * d_out / computing)
            yield row("product", name, milliseconds(function, weight_t, rows), floor, **settings)
    for (d_in, d_out), B in itertools.product(SHAPES, (*BATCHES, 512)):
        weight = prune_2_4(torch.randn(d_out, d_in, device="cuda", dtype=torch.float16))
        h = torch.randn(B, d_in, device="cuda", dtype=torch.float16)
        ways = {"dense": (linear, h, weight)}
        try:
            ways["2:4, torch"] = (linear, h, torch.sparse.to_sparse_semi_structured(weight))
        except RuntimeError as error:  # not on every card, not in every build
            print("2:4:", str(error).splitlines()[0])
        if B == 1:
            ways["2:4, packed"] = (triton_matvec_2_4, *pack_2_4(weight), h[0])
        for name, (function, *args) in ways.items():
            share = 1 if name == "dense" else 9 / 16
            floor = max(2 * share * weight.numel() / reading, 2 * B * weight.numel() / computing)
            yield row("2:4", name, milliseconds(function, *args), floor, d_in=d_in, d_out=d_out, batch=B)


def _dense(weight_t: Tensor, h: Tensor) -> Tensor:
    return h @ weight_t


def _csr(weight_t: Tensor, h: Tensor) -> Tensor:
    """cuSPARSE: the conversion of h is part of the time. float32, as torch's CSR product on a GPU has it."""
    return sparsity.to_csr_matvec(weight_t.float(), h.float())


def mixtures(reading: float, computing: float) -> Iterator[dict]:
    """The MoE layer, forward and forward + backward, against transformers' with the same weights and a dense layer."""
    import moe

    moe.D_MODEL, moe.D_FF, moe.PEERS = D_MODEL, D_FF, ("eager", "grouped_mm")
    for n_experts, k, tokens in itertools.product(EXPERTS, CHOSEN, TOKENS):
        with torch.device("cuda"):
            torch.set_default_dtype(torch.bfloat16)
            layers = moe.layers(n_experts, k, tokens, copies=0)
            x, grad = torch.randn(2, 1, tokens, D_MODEL)
            torch.set_default_dtype(torch.float32)
        x.requires_grad_()
        weights = 3 * D_MODEL * D_FF * 2  # bytes of one expert
        floor = max(min(n_experts, k * tokens) * weights / reading, 3 * 2 * tokens * k * D_MODEL * D_FF / computing)
        for run, times in ((moe.forward, 1), (moe.both, 3)):
            for name, layer in layers.items():
                ms = milliseconds(run, layer, x, grad)
                what = {"experts": n_experts, "k": k, "tokens": tokens}
                yield row(f"MoE {run.__name__}", "dense" if name == "floor" else name, ms, times * floor, **what)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="check only")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    checks(device)
    models_agree()
    if options.check:
        return 0
    if device == "cpu":
        print("there is no CUDA GPU here, so nothing was timed", file=sys.stderr)
        return 1
    sys.path.insert(0, str(Path(__file__).parent))
    reading, computing = ceilings()
    print(f"ceilings: {reading / 1e9:.2f} TB/s, {computing / 1e9:.0f} TFLOP/s")
    table = pd.DataFrame([*vectors(reading, computing), *mixtures(reading, computing)])
    table["card"] = torch.cuda.get_device_name()
    table["versions"] = f"torch {torch.__version__}, CUDA {torch.version.cuda}, triton {triton.__version__}"
    table["reading_tb_s"], table["computing_tflop_s"] = reading / 1e9, computing / 1e9
    table.to_parquet(ROOT / "data" / "gpu_times.parquet", index=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
