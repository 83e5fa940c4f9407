"""Matrix-vector products that skip the zeros of the input, and when that is worth it.

    y = W h,  W (out, in),  h = relu(...) mostly zeros:     y = sum over the k with h[k] != 0 of h[k] W[:, k]

A zero in h switches off a *column* of W. Memory holds rows, so the functions take ``weight_t`` = W^T, (in, out),
contiguous: then a column of W is one row of ``weight_t``, read in one go or not at all. For an ``nn.Linear`` that is
``layer.weight.t().contiguous()``. Skipping differs from multiplying in one case: 0 times infinity is skipped, not NaN.

Functions named ``triton_...`` run the kernels of ``triton_kernels``; ``backend()`` says how. Without the package
triton, or for CPU tensors on a machine whose kernels are compiled for a GPU, they give what their twin in plain torch
gives.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

try:
    from course_utils.sparsity import triton_kernels as kernels
except (ImportError, OSError):  # no Triton for this machine
    kernels = None
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
KERNEL_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def backend(device: str | torch.device | None = None) -> str:
    """How the ``triton_...`` functions run for tensors on `device` (default: the GPU if there is one, else the CPU).

    One of "triton, compiled for CUDA", "triton interpreter on the CPU", "torch". The interpreter shows that a kernel is
    right, never how fast it is.
    """
    kind = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")).type
    if kernels is not None and kernels.INTERPRETED:
        return "triton interpreter on the CPU"
    return "triton, compiled for CUDA" if kernels is not None and kind == "cuda" else "torch"


class ActivationSparsity(NamedTuple):
    """Shares of zeros, from 0 to 1: in each row (B,), over all entries, and of the columns that are zero in every
    row."""

    per_row: Tensor
    mean: float
    shared: float


def activation_sparsity(h: Tensor, threshold: float = 0.0) -> ActivationSparsity:
    """How many activations are zero (or, with a threshold, |h| <= threshold); h (in,) or (..., in), rows flattened to
    B.

    `shared` is what a batch can skip: 1 - shared is to be compared with ``union_density(mean, B)``.
    Raises ValueError: no entries, threshold below 0. Source: Li et al. (2023), "The Lazy Neuron Phenomenon", section 2.
    """
    if not h.dim() or not h.numel():
        raise ValueError(f"activations need a shape (..., in) with at least one entry, got {tuple(h.shape)}")
    if not threshold >= 0:
        raise ValueError(f"the threshold must be 0 or more, got {threshold}")
    zero = (h.abs() <= threshold).reshape(-1, h.shape[-1])
    return ActivationSparsity(zero.double().mean(1), zero.double().mean().item(), zero.all(0).double().mean().item())


def union_density(s: float | Tensor, B: int) -> float | Tensor:
    """1 - s^B: the share of columns that at least one of B rows needs, if zeros (share s) fall independently.

    Real activations agree more than that: the rows of one text share their zeros, so this is the pessimist's estimate.
    Raises ValueError: s outside [0, 1], B below 1.
    """
    share = torch.as_tensor(s)
    if not ((share >= 0) & (share <= 1)).all():
        raise ValueError(f"the share of zeros s must be from 0 to 1, got {s}")
    if B < 1:
        raise ValueError(f"the batch size B must be 1 or more, got {B}")
    return 1 - s**B


def _check(weight_t: Tensor, h: Tensor, dims: tuple[int, ...] = (1, 2)) -> None:
    """ValueError unless weight_t is (in, out) and h (in,) or (B, in), of one floating dtype, on one device."""
    if weight_t.dim() != 2 or h.dim() not in dims or h.shape[-1] != weight_t.shape[0]:
        wanted = " or ".join({1: "(in,)", 2: "(B, in)"}[d] for d in dims)
        raise ValueError(f"weight_t must be (in, out) and h {wanted}, got {tuple(weight_t.shape)} and {tuple(h.shape)}")
    _check_alike(weight_t=weight_t, h=h)


def _check_alike(**tensors: Tensor) -> None:
    names = " and ".join(tensors)
    if len({(x.dtype, x.device) for x in tensors.values()}) > 1 or not next(iter(tensors.values())).is_floating_point():
        found = " and ".join(f"{x.dtype} on {x.device}" for x in tensors.values())
        raise ValueError(f"{names} must have one floating dtype and one device, got {found}")


def sparse_matvec(weight_t: Tensor, h: Tensor) -> Tensor:
    """y = W h by gathering: take the rows of W^T that belong to the non-zeros of h, multiply only those.

    weight_t (in, out), h (in,) -> (out,). A batch h (B, in) -> (B, out) takes the *union* of its rows' non-zeros, the
    share ``union_density``: with a large batch little is left to skip. The gathered rows are copied first
    (read, write, read).
    Raises ValueError: shapes, dtypes or devices that do not fit.
    Source: Liu et al. (2023), "Deja Vu: Contextual Sparsity for Efficient LLMs at Inference Time", section 4.
    """
    _check(weight_t, h)
    index = (torch.atleast_2d(h) != 0).any(0).nonzero().squeeze(1)
    return h.index_select(-1, index) @ weight_t.index_select(
        0, index
    )  # index_select copies whole rows: faster than [index]


def bag_matvec(weight_t: Tensor, h: Tensor) -> Tensor:
    """The same without the copy: y[b] = sum_j h[b, k_j] weight_t[k_j], a weighted sum of rows, which torch calls a bag.

    Each row of h (B, in) has its own list of non-zeros, so no union is taken, but a row of W^T that several need is
    read several times. weight_t (in, out), h (in,) or (B, in). Raises ValueError: as ``sparse_matvec``.
    """
    _check(weight_t, h)
    rows = torch.atleast_2d(h)
    owner, index = rows.nonzero().unbind(1)  # in the order of the rows
    starts = torch.searchsorted(owner.contiguous(), torch.arange(len(rows), device=h.device))
    y = embedding_bag(index, weight_t, starts, mode="sum", per_sample_weights=rows[owner, index])
    return y.reshape(*h.shape[:-1], weight_t.shape[1])


def to_csr_matvec(weight_t: Tensor, h: Tensor) -> Tensor:
    """The same through torch's compressed sparse rows: h becomes a CSR matrix (B, in), and is multiplied with W^T.

    The conversion is part of the price: activations are new at each step. (Pruned *weights* are converted once:
    ``weight.to_sparse_csr() @ h``.) weight_t (in, out), h (in,) or (B, in); float32 or float64.
    Raises ValueError: as ``sparse_matvec``, and for half precision, which torch's CSR product on the CPU does not have.
    """
    _check(weight_t, h)
    if h.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"the CSR product needs float32 or float64, got {h.dtype}")
    return (torch.atleast_2d(h).to_sparse_csr() @ weight_t).reshape(*h.shape[:-1], weight_t.shape[1])


def grouped_matmul(x: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
    """y[t] = x[t] weight[e] for offsets[e] <= t < offsets[e + 1]: tokens sorted by expert, one product for each expert.

    x (T, in), weight (E, in, out) (``nn.Linear``'s (E, out, in): pass ``weight.transpose(1, 2)``, nothing is copied),
    offsets (E + 1,) whole numbers from 0 to T, not falling; -> (T, out). An expert without tokens costs nothing.
    Raises ValueError: shapes, dtypes or offsets that do not fit.
    Source: Gale et al. (2023), "MegaBlocks: Efficient Sparse Training with Mixture-of-Experts", section 5.
    """
    bounds = _bounds(x, weight, offsets)
    y = x.new_empty(len(x), weight.shape[2])
    for e, (start, end) in enumerate(zip(bounds, bounds[1:])):
        if start < end:
            y[start:end] = x[start:end] @ weight[e]
    return y


def _check_grouped(x: Tensor, weight: Tensor, offsets: Tensor) -> None:
    if x.dim() != 2 or weight.dim() != 3 or x.shape[1] != weight.shape[1]:
        raise ValueError(f"x must be (T, in) and weight (E, in, out), got {tuple(x.shape)} and {tuple(weight.shape)}")
    _check_alike(x=x, weight=weight)
    if offsets.shape != (len(weight) + 1,) or offsets.is_floating_point():
        raise ValueError(
            f"offsets must be {len(weight) + 1} whole numbers, one more than experts, got {offsets.dtype} "
            f"{tuple(offsets.shape)}"
        )


def _bounds(x: Tensor, weight: Tensor, offsets: Tensor) -> list[int]:
    """The offsets as a list, after ValueError for what does not fit."""
    _check_grouped(x, weight, offsets)
    bounds = offsets.tolist()
    if bounds[0] != 0 or bounds[-1] != len(x) or bounds != sorted(bounds):
        raise ValueError(f"offsets must rise from 0 to the number of tokens, {len(x)}, got {bounds}")
    return bounds


def _by_kernel(x: Tensor, *sizes: int) -> bool:
    """Whether a kernel runs for x; with an empty tensor there is nothing to run."""
    if backend(x.device) != "torch" and x.dtype not in KERNEL_DTYPES:
        raise ValueError(f"the kernels take float32, float16 and bfloat16, got {x.dtype}")
    return backend(x.device) != "torch" and 0 not in sizes


def triton_sparse_matvec(weight_t: Tensor, h: Tensor) -> Tensor:
    """``sparse_matvec`` by a Triton kernel: the list of non-zeros first, then each program reads only the rows on it.

    weight_t (in, out), h (in,) -> (out,), summed in float32. Raises ValueError: as ``sparse_matvec``, a batch, float64.
    """
    _check(weight_t, h, dims=(1,))
    if not _by_kernel(h, *weight_t.shape):
        return sparse_matvec(weight_t, h)
    return kernels.gather(weight_t.contiguous(), h.contiguous())


def triton_skip_matvec(weight_t: Tensor, h: Tensor) -> Tensor:
    """``sparse_matvec`` by a Triton kernel without a list: the rows that belong to zeros are masked out of its loads.

    weight_t (in, out), h (in,) -> (out,), summed in float32.
    Raises ValueError: as ``triton_sparse_matvec``. Source: Lee et al. (2024), "CATS: Contextually-Aware Thresholding
    for Sparsity in Large Language Models".
    """
    _check(weight_t, h, dims=(1,))
    if not _by_kernel(h, *weight_t.shape):
        return sparse_matvec(weight_t, h)
    return kernels.skip(weight_t.contiguous(), h.contiguous())


def triton_grouped_matmul(x: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
    """``grouped_matmul`` by one Triton kernel for all experts; same arguments, result and errors (and float64).

    On a GPU the offsets' values are not checked, because reading them would mean waiting for the GPU.
    """
    if not _by_kernel(x, *x.shape, *weight.shape):
        return grouped_matmul(x, weight, offsets)
    check = _check_grouped if x.is_cuda else _bounds  # on a GPU, to look at the offsets' values would be to wait for it
    check(x, weight, offsets)
    return kernels.grouped(x.contiguous(), weight, offsets.to(x.device, torch.int64))
