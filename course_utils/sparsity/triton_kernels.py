"""The course's kernels in Triton: compiled on a CUDA GPU, run by Triton's interpreter on the CPU. The same source
either way.

Importing this module needs the package ``triton`` but no GPU. Triton decides whether a kernel is compiled or
interpreted when it is decorated, by TRITON_INTERPRET, which has to be in the environment before triton is imported for
the first time. But transformers imports triton early. ``jit`` therefore takes the interpreter's own class where there
is no GPU, and the kernels call nothing but Triton's builtins (``tl.sum`` and ``tl.zeros`` are themselves functions
decorated at that first import; ``tl.reduce`` and ``tl.full`` are not). So the order of imports does not matter and no
variable has to be set. Where TRITON_INTERPRET=1 is set, it is obeyed on a GPU too.

The launchers at the end expect contiguous tensors that fit; ``sparsity`` checks its arguments and calls them.
Source of the style: Triton's tutorials (Tillet, Kung & Cox 2019). Sums are made in float32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.runtime.interpreter import InterpretedFunction

INTERPRETED = triton.knobs.runtime.interpret or not torch.cuda.is_available()


def jit(function: Callable) -> Callable:
    """triton.jit, or Triton's interpreter where nothing can be compiled."""
    return InterpretedFunction(function) if INTERPRETED else triton.jit(function)


@jit
def _gather(weight_t, h, index, y, count, d_out, BLOCK_K: tl.constexpr, BLOCK_M: tl.constexpr):
    """y[m] = sum_j weight_t[index[j], m] h[index[j]]: only the rows on the list are read. One program a block of m."""
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    total = tl.full((BLOCK_M,), 0.0, tl.float32)
    for start in range(0, count, BLOCK_K):
        j = start + tl.arange(0, BLOCK_K)
        k = tl.load(index + j, mask=j < count, other=0)  # int64: k * d_out may be large
        a = tl.load(h + k, mask=j < count, other=0.0).to(tl.float32)
        inside = (j < count)[:, None] & (m < d_out)[None, :]
        w = tl.load(weight_t + k[:, None] * d_out + m[None, :], mask=inside, other=0.0).to(tl.float32)
        total += tl.reduce(a[:, None] * w, 0, tl.standard._sum_combine)
    tl.store(y + m, total, mask=m < d_out)


@jit
def _skip(weight_t, h, y, d_in, d_out, BLOCK_K: tl.constexpr, BLOCK_M: tl.constexpr):
    """y[m] = sum_k weight_t[k, m] h[k] without a list: a block of zeros is skipped, a lone zero's row masked out."""
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    total = tl.full((BLOCK_M,), 0.0, tl.float32)
    for start in range(0, d_in, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        a = tl.load(h + k, mask=k < d_in, other=0.0).to(tl.float32)
        active = a != 0
        if tl.reduce(active.to(tl.int32), 0, tl.standard._sum_combine) > 0:
            inside = active[:, None] & (m < d_out)[None, :]  # where the mask is false, nothing is read
            w = tl.load(weight_t + k.to(tl.int64)[:, None] * d_out + m[None, :], mask=inside, other=0.0).to(tl.float32)
            total += tl.reduce(a[:, None] * w, 0, tl.standard._sum_combine)
    tl.store(y + m, total, mask=m < d_out)


@jit
def _two_of_four(values, packed, x, y, d_out, kept, width, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr):
    """y[m] = sum_j values[m, j] x[4 (j // 2) + place(m, j)], where place is the 2-bit number j of row m of
    ``packed``."""
    m = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    total = tl.full((BLOCK_M,), 0.0, tl.float32)
    for start in range(0, kept, BLOCK_K):
        j = start + tl.arange(0, BLOCK_K)
        inside = (m < d_out)[:, None] & (j < kept)[None, :]
        byte = tl.load(packed + m[:, None] * width + (j // 4)[None, :], mask=inside, other=0).to(tl.int32)
        column = (j // 2 * 4)[None, :] + ((byte >> (j % 4 * 2)[None, :]) & 3)
        v = tl.load(values + m[:, None] * kept + j[None, :], mask=inside, other=0.0).to(tl.float32)
        total += tl.reduce(v * tl.load(x + column, mask=inside, other=0.0).to(tl.float32), 1, tl.standard._sum_combine)
    tl.store(y + m, total, mask=m < d_out)


@jit
def _grouped(
    x,
    weight,
    y,
    tiles,
    ends,
    d_in,
    d_out,
    per_expert,
    per_row,
    per_column,
    BLOCK_T: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """One program a tile of one expert's tokens and a block of outputs: y[t] = x[t] weight[e] for the tokens t of the
    tile."""
    expert = tl.load(tiles + tl.program_id(0) * 2)  # int64
    t = tl.load(tiles + tl.program_id(0) * 2 + 1) + tl.arange(0, BLOCK_T)
    mine = (t < tl.load(ends + expert))[:, None]  # the last tile of an expert may be part empty
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    total = tl.full((BLOCK_T, BLOCK_N), 0.0, tl.float32)
    for start in range(0, d_in, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        a = tl.load(x + t[:, None] * d_in + k[None, :], mask=mine & (k < d_in)[None, :], other=0.0)
        place = expert * per_expert + k[:, None] * per_row + n[None, :] * per_column
        b = tl.load(weight + place, mask=(k < d_in)[:, None] & (n < d_out)[None, :], other=0.0)
        total += tl.dot(a, b, input_precision="ieee")  # float32 stays float32, no TF32
    tl.store(y + t[:, None] * d_out + n[None, :], total, mask=mine & (n < d_out)[None, :])


def gather(weight_t: Tensor, h: Tensor, block_k: int = 32, block_m: int = 64) -> Tensor:
    """weight_t (in, out), h (in,) -> (out,). Making the list of the non-zero costs a wait for the GPU."""
    index = h.nonzero().squeeze(1)
    y = h.new_empty(weight_t.shape[1])
    _gather[(triton.cdiv(len(y), block_m),)](
        weight_t, h, index, y, len(index), len(y), BLOCK_K=block_k, BLOCK_M=block_m
    )
    return y


def skip(weight_t: Tensor, h: Tensor, block_k: int = 32, block_m: int = 64) -> Tensor:
    """weight_t (in, out), h (in,) -> (out,). No list and no wait."""
    y = h.new_empty(weight_t.shape[1])
    _skip[(triton.cdiv(len(y), block_m),)](weight_t, h, y, len(h), len(y), BLOCK_K=block_k, BLOCK_M=block_m)
    return y


def two_of_four(values: Tensor, packed: Tensor, x: Tensor, block_m: int = 32, block_k: int = 64) -> Tensor:
    """values (out, in/2), packed (out, ceil(in/8)), x (in,) -> (out,)."""
    (d_out, kept), width = values.shape, packed.shape[1]
    y = x.new_empty(d_out)
    _two_of_four[(triton.cdiv(d_out, block_m),)](
        values, packed, x, y, d_out, kept, width, BLOCK_M=block_m, BLOCK_K=block_k
    )
    return y


def grouped(
    x: Tensor, weight: Tensor, offsets: list[int], block_t: int = 16, block_n: int = 32, block_k: int = 32
) -> Tensor:
    """x (T, in), weight (E, in, out) with any strides, E + 1 offsets -> (T, out). An expert without tokens has no
    tile."""
    if (
        INTERPRETED and x.dtype == torch.bfloat16
    ):  # the interpreter's tl.dot multiplies bfloat16's bits as whole numbers
        return grouped(x.float(), weight.float(), offsets, block_t, block_n, block_k).bfloat16()
    y = x.new_empty(len(x), weight.shape[2])
    tiles = [(e, t) for e in range(len(weight)) for t in range(offsets[e], offsets[e + 1], block_t)]
    grid = (len(tiles), triton.cdiv(y.shape[1], block_n))
    table, ends = (torch.tensor(numbers, device=x.device) for numbers in (tiles, offsets[1:]))  # int64
    _grouped[grid](
        x,
        weight,
        y,
        table,
        ends,
        x.shape[1],
        y.shape[1],
        *weight.stride(),
        BLOCK_T=block_t,
        BLOCK_N=block_n,
        BLOCK_K=block_k,
    )
    return y
