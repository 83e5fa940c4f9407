"""The course's kernels in Triton: compiled on a CUDA GPU, run by Triton's interpreter on the CPU. The same source
either way.

Importing this module needs the package ``triton`` but no GPU; see ``triton_interpreter`` for how it is chosen.

A product with one vector is a matter of bytes: it is as fast as memory is read, if there are programs enough to keep
all of the GPU busy. So its kernels cut the matrix along both axes and have no loop: a program loads one block, all of
its loads are under way at once, and its share of y is added in float32 with an atomic. (The order of such additions is
not fixed: the last digits differ from run to run.) A product with many rows is a matter of tensor cores: its tiles are
large, and loads are pipelined. The sizes of blocks are tuned once for each shape on the GPU at hand. No launcher waits
for the GPU: nothing is read back from it.

The launchers at the end expect contiguous tensors that fit; ``sparsity`` checks its arguments and calls them.
Sources: Triton's tutorials (Tillet, Kung & Cox 2019); for the split and the atomic, Liu et al. (2024), "TEAL".
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import triton
import triton.language as tl
from torch import Tensor

from course_utils.sparsity.triton_interpreter import INTERPRETED, jit


def kernel(blocks: list[triton.Config], key: list[str], adds_to: tuple[str, ...] = ()) -> Callable:
    """Decorator: triton.jit with the fastest of `blocks` for each value of `key`; Triton's interpreter with the first
    of them where nothing can be compiled. adds_to: arguments that the kernel adds to, zeroed between trials."""

    def decorate(function: Callable) -> Callable:
        if INTERPRETED:
            return triton.autotune(blocks[:1], key=[])(jit(function))
        return triton.autotune(blocks, key=key, reset_to_zero=list(adds_to))(jit(function))

    return decorate


def _blocks(*sizes: tuple[int, int, int], names: str = "KM", stages: int = 1) -> list[triton.Config]:
    """Settings to try: (size, size, warps) for two axes of a block."""
    first, second = (f"BLOCK_{name}" for name in names)
    return [triton.Config({first: a, second: b}, num_warps=w, num_stages=stages) for a, b, w in sizes]


VECTOR = _blocks((64, 128, 4), (32, 128, 4), (16, 256, 4), (32, 256, 8), (128, 64, 8))


@kernel(VECTOR, key=["d_in", "d_out"], adds_to=("y",))
def _skip(weight_t, h, y, d_in, d_out, BLOCK_K: tl.constexpr, BLOCK_M: tl.constexpr):
    """y[m] += sum over a block of k of weight_t[k, m] h[k]; rows of weight_t whose h[k] is 0 are not read."""
    k = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    m = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    a = tl.load(h + k, mask=k < d_in, other=0.0).to(tl.float32)
    read = (a != 0)[:, None] & (m < d_out)[None, :]  # where this is false, memory is left alone
    w = tl.load(weight_t + k.to(tl.int64)[:, None] * d_out + m[None, :], mask=read, other=0.0).to(tl.float32)
    tl.atomic_add(y + m, tl.sum(a[:, None] * w, 0), mask=m < d_out)


@kernel(VECTOR, key=["d_in", "d_out"], adds_to=("y",))
def _gather(weight_t, h, index, y, d_in, d_out, BLOCK_K: tl.constexpr, BLOCK_M: tl.constexpr):
    """The same for a list of the k with h[k] != 0, filled up with d_in; behind its end nothing is read."""
    j = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    m = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    k = tl.load(index + j, mask=j < d_in, other=d_in)  # int64: k * d_out may be large
    a = tl.load(h + k, mask=k < d_in, other=0.0).to(tl.float32)
    read = (k < d_in)[:, None] & (m < d_out)[None, :]
    w = tl.load(weight_t + k[:, None] * d_out + m[None, :], mask=read, other=0.0).to(tl.float32)
    tl.atomic_add(y + m, tl.sum(a[:, None] * w, 0), mask=m < d_out)


@kernel(
    _blocks((64, 64, 4), (16, 128, 4), (32, 128, 4), (8, 256, 4), names="MK"), key=["kept", "d_out"], adds_to=("y",)
)
def _two_of_four(values, packed, x, y, d_out, kept, width, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr):
    """y[m] += sum over a block of j of values[m, j] x[4 (j // 2) + place(m, j)], where place is the 2-bit number j of
    row m of ``packed``. It halves the bytes, with ordinary arithmetic; the sparse tensor cores are used by cuSPARSELt
    (``torch.sparse.to_sparse_semi_structured``)."""
    m = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    j = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    inside = (m < d_out)[:, None] & (j < kept)[None, :]
    byte = tl.load(packed + m[:, None] * width + (j // 4)[None, :], mask=inside, other=0).to(tl.int32)
    column = (j // 2 * 4)[None, :] + ((byte >> (j % 4 * 2)[None, :]) & 3)
    v = tl.load(values + m[:, None] * kept + j[None, :], mask=inside, other=0.0).to(tl.float32)
    share = v * tl.load(x + column, mask=inside, other=0.0).to(tl.float32)
    tl.atomic_add(y + m, tl.sum(share, 1), mask=m < d_out)


@kernel(
    _blocks((64, 32, 4), (64, 64, 4), (128, 32, 4), (128, 64, 4), (128, 64, 8), (256, 64, 8), names="NK", stages=3),
    key=["d_in", "d_out", "BLOCK_T"],
)
def _grouped(
    x,
    weight,
    y,
    offsets,
    experts,
    d_in,
    d_out,
    per_expert,
    per_row,
    per_column,
    EXPERTS: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """y[t] = x[t] weight[e] for one tile of one expert's tokens and one block of outputs. Each program finds its expert
    in ``offsets`` (experts + 1,); EXPERTS is the next power of two. More programs are started than there are tiles."""
    e = tl.arange(0, EXPERTS)
    start = tl.load(offsets + e, mask=e < experts, other=0)  # int64
    tiles = (tl.load(offsets + e + 1, mask=e < experts, other=0) - start + BLOCK_T - 1) // BLOCK_T
    after = tl.cumsum(tiles, 0)  # tiles of the experts up to e
    tile = tl.program_id(0)
    expert = tl.sum((after <= tile).to(tl.int64), 0)  # as many are finished before this tile
    if expert < experts:
        mine = e == expert
        first = tl.sum(tl.where(mine, start + (tile - after + tiles) * BLOCK_T, 0), 0)
        end = tl.load(offsets + expert + 1)
        t = first + tl.arange(0, BLOCK_T)
        n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
        total = tl.zeros((BLOCK_T, BLOCK_N), tl.float32)
        for begin in range(0, d_in, BLOCK_K):
            k = begin + tl.arange(0, BLOCK_K)
            a_inside, b_inside = (t < end)[:, None] & (k < d_in)[None, :], (k < d_in)[:, None] & (n < d_out)[None, :]
            a = tl.load(x + t[:, None] * d_in + k[None, :], mask=a_inside, other=0.0)
            place = expert * per_expert + k[:, None] * per_row + n[None, :] * per_column
            b = tl.load(weight + place, mask=b_inside, other=0.0)
            total += tl.dot(a, b, input_precision="ieee")  # float32 stays float32, no TF32
        tl.store(y + t[:, None] * d_out + n[None, :], total, mask=(t < end)[:, None] & (n < d_out)[None, :])


def skip(weight_t: Tensor, h: Tensor) -> Tensor:
    """weight_t (in, out), h (in,) -> (out,). No list."""
    (d_in, d_out), y = weight_t.shape, h.new_zeros(weight_t.shape[1], dtype=torch.float32)
    _skip[_over(d_in, "K", d_out, "M")](weight_t, h, y, d_in, d_out)
    return y.to(h.dtype)


def gather(weight_t: Tensor, h: Tensor) -> Tensor:
    """weight_t (in, out), h (in,) -> (out,). The list has a fixed length, so the GPU need not say how long it is."""
    (d_in, d_out), y = weight_t.shape, h.new_zeros(weight_t.shape[1], dtype=torch.float32)
    index = torch.nonzero_static(h, size=d_in, fill_value=d_in).squeeze(1)
    _gather[_over(d_in, "K", d_out, "M")](weight_t, h, index, y, d_in, d_out)
    return y.to(h.dtype)


def two_of_four(values: Tensor, packed: Tensor, x: Tensor) -> Tensor:
    """values (out, in/2), packed (out, ceil(in/8)), x (in,) -> (out,)."""
    (d_out, kept), y = values.shape, x.new_zeros(len(values), dtype=torch.float32)
    _two_of_four[_over(d_out, "M", kept, "K")](values, packed, x, y, d_out, kept, packed.shape[1])
    return y.to(x.dtype)


def grouped(x: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
    """x (T, in), weight (E, in, out) with any strides, offsets (E + 1,) int64 -> (T, out). An expert without tokens has
    no tile. Tiles hold as many tokens as an expert has on average, 16 to 128: half precision uses the tensor cores, on
    Hopper from 64 tokens on by wgmma."""
    if INTERPRETED and x.dtype == torch.bfloat16:
        # The interpreter's tl.dot multiplies bfloat16's bits as whole numbers.
        return grouped(x.float(), weight.float(), offsets).bfloat16()
    (T, d_in), (E, _, d_out) = x.shape, weight.shape
    y = x.new_empty(T, d_out)
    tile = min(128, max(16, triton.next_power_of_2(T // E)))
    _grouped[lambda blocks: (T // tile + min(E, T), triton.cdiv(d_out, blocks["BLOCK_N"]))](
        x, weight, y, offsets, E, d_in, d_out, *weight.stride(), EXPERTS=triton.next_power_of_2(E), BLOCK_T=tile
    )
    return y


def _over(size: int, name: str, other_size: int, other: str) -> Callable[[dict], tuple[int, int]]:
    """The grid: a program for each block along both axes."""
    return lambda blocks: (
        triton.cdiv(size, blocks[f"BLOCK_{name}"]),
        triton.cdiv(other_size, blocks[f"BLOCK_{other}"]),
    )
