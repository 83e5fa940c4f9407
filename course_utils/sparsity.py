"""Zero times a vector is nothing to do: matrix-vector products that skip zeros, and when they pay.

    y = W h,  W (out, in),  h = relu(...) mostly zeros:     y = sum over the k with h[k] != 0 of h[k] W[:, k]

A zero in h switches off a *column* of W. Memory holds rows, so the functions take ``weight_t`` = W^T, (in, out), contiguous:
then a column of W is one row of ``weight_t``, read in one go or not at all. For an ``nn.Linear`` that is
``layer.weight.t().contiguous()``. Skipping differs from multiplying in one case: 0 times infinity is skipped, not NaN.

Functions named ``triton_...`` run the kernels of ``triton_kernels``; ``backend()`` says how. Without the package triton, or
for CPU tensors on a machine whose kernels are compiled for a GPU, they give what their twin in plain torch gives.
"""
from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, pad

try:
    from course_utils import triton_kernels as kernels
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
    """Shares of zeros, from 0 to 1: in each row (B,), over all entries, and of the columns that are zero in every row."""

    per_row: Tensor
    mean: float
    shared: float


def activation_sparsity(h: Tensor, threshold: float = 0.0) -> ActivationSparsity:
    """How many activations are zero (or, with a threshold, |h| <= threshold); h (in,) or (..., in), rows flattened to B.

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

    Real activations agree more than that: the rows of one text share their zeros, so this is the pessimist's bound.
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

    weight_t (in, out), h (in,) -> (out,). A batch h (B, in) -> (B, out) takes the *union* of its rows' non-zeros, the share
    ``union_density``: with a large batch little is left to skip. The gathered rows are copied first (read, write, read).
    Raises ValueError: shapes, dtypes or devices that do not fit.
    Source: Liu et al. (2023), "Deja Vu: Contextual Sparsity for Efficient LLMs at Inference Time", section 4.
    """
    _check(weight_t, h)
    index = (torch.atleast_2d(h) != 0).any(0).nonzero().squeeze(1)
    return h.index_select(-1, index) @ weight_t.index_select(0, index)  # index_select copies whole rows: faster than [index]


def bag_matvec(weight_t: Tensor, h: Tensor) -> Tensor:
    """The same without the copy: y[b] = sum_j h[b, k_j] weight_t[k_j], a weighted sum of rows, which torch calls a bag.

    Each row of h (B, in) has its own list of non-zeros, so no union is taken, but a row of W^T that several need is read
    several times. weight_t (in, out), h (in,) or (B, in). Raises ValueError: as ``sparse_matvec``.
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


def prune_2_4(weight: Tensor) -> Tensor:
    """Keep the 2 largest magnitudes of every 4 neighbours along the last dimension, set the others to 0; same shape.

    Of equals the first stay, so exactly two are kept. Raises ValueError: last dimension no multiple of 4.
    Source: Mishra et al. (2021), "Accelerating Sparse Deep Neural Networks".
    """
    if not weight.dim() or weight.shape[-1] % 4:
        raise ValueError(f"2:4 needs a last dimension that is a multiple of 4, got {tuple(weight.shape)}")
    fours = weight.reshape(*weight.shape[:-1], weight.shape[-1] // 4, 4)
    best = fours.abs().argsort(dim=-1, descending=True, stable=True)[..., :2]
    return torch.zeros_like(fours).scatter(-1, best, fours.gather(-1, best)).reshape(weight.shape)


def pack_2_4(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A 2:4 sparse weight (out, in) as (values (out, in/2), indices (out, ceil(in/8)) uint8).

    Each value has a 2-bit number, its place 0..3 in its four, ascending within a four; four such numbers make a byte, the
    first in the lowest bits. In half precision 4 x 16 bits become 2 x 16 + 2 x 2: 9/16 of the memory.
    Raises ValueError: not 2-D, in no multiple of 4, a four with more than two non-zeros.
    Source: Mishra et al. (2021); a GPU's own format has the same bits in another order.
    """
    if weight.dim() != 2 or weight.shape[1] % 4:
        raise ValueError(f"pack_2_4 needs a weight (out, in) with in a multiple of 4, got {tuple(weight.shape)}")
    fours = weight.reshape(len(weight), weight.shape[1] // 4, 4)
    if ((fours != 0).sum(-1) > 2).any():
        raise ValueError("this weight is not 2:4 sparse: a group of four has more than two non-zeros; call prune_2_4 first")
    place = (fours == 0).to(torch.uint8).argsort(dim=-1, stable=True)[..., :2].sort(dim=-1).values  # (out, in/4, 2)
    values = fours.gather(-1, place).flatten(1)
    codes = pad(place.flatten(1), (0, -values.shape[1] % 4)).unflatten(1, (-1, 4))  # (out, ceil(in/8), 4)
    return values, (codes << torch.tensor([0, 2, 4, 6], device=weight.device)).sum(-1).to(torch.uint8)


def _check_packed(values: Tensor, indices: Tensor, x: Tensor | None = None) -> None:
    """ValueError unless values and indices are what ``pack_2_4`` makes, and x (in,) fits them."""
    if (values.dim() != 2 or values.shape[1] % 2 or indices.dtype != torch.uint8
            or indices.shape != (len(values), -(-values.shape[1] // 4)) or indices.device != values.device):
        raise ValueError("the packed form is values (out, in/2) and uint8 indices (out, ceil(in/8)) on one device, got "
                         f"{tuple(values.shape)} and {indices.dtype} {tuple(indices.shape)}")
    if x is not None:
        if x.shape != (2 * values.shape[1],):
            raise ValueError(f"x must be ({2 * values.shape[1]},), twice as long as a row of values, got {tuple(x.shape)}")
        _check_alike(values=values, x=x)


def _columns(values: Tensor, indices: Tensor) -> Tensor:
    """The column of W (out, in) each value stands in: (out, in/2) int64."""
    codes = (indices[..., None].long() >> torch.tensor([0, 2, 4, 6], device=indices.device)) & 3
    first = torch.arange(values.shape[1], device=values.device) // 2 * 4
    return first + codes.reshape(len(values), 4 * indices.shape[1])[:, :values.shape[1]]


def unpack_2_4(values: Tensor, indices: Tensor) -> Tensor:
    """The weight (out, in) that ``pack_2_4`` packed. Raises ValueError: shapes or dtype that are not the packed form."""
    _check_packed(values, indices)
    columns = _columns(values, indices)
    return values.new_zeros(len(values), 2 * values.shape[1]).scatter(1, columns, values)


def matvec_2_4(values: Tensor, indices: Tensor, x: Tensor) -> Tensor:
    """y[m] = sum_j values[m, j] x[column(m, j)]: W x from the packed form, half of the products; x (in,) -> (out,).

    Half precision is summed in float32. Raises ValueError: not the packed form, x of another length, dtype or device.
    Source: Mishra et al. (2021): the indices choose which two of four inputs reach the tensor core.
    """
    _check_packed(values, indices, x)
    wide = torch.promote_types(x.dtype, torch.float32)
    return (values.to(wide) * x[_columns(values, indices)].to(wide)).sum(1).to(x.dtype)


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


def _bounds(x: Tensor, weight: Tensor, offsets: Tensor) -> list[int]:
    """The offsets as a list, after ValueError for what does not fit."""
    if x.dim() != 2 or weight.dim() != 3 or x.shape[1] != weight.shape[1]:
        raise ValueError(f"x must be (T, in) and weight (E, in, out), got {tuple(x.shape)} and {tuple(weight.shape)}")
    _check_alike(x=x, weight=weight)
    if offsets.shape != (len(weight) + 1,) or offsets.is_floating_point():
        raise ValueError(f"offsets must be {len(weight) + 1} whole numbers, one more than experts, got {offsets.dtype} "
                         f"{tuple(offsets.shape)}")
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
    """``sparse_matvec`` by a Triton kernel without a list: blocks of 32 zeros are stepped over, single ones masked out.

    weight_t (in, out), h (in,) -> (out,), summed in float32. Nothing has to come back from the GPU before it can start.
    Raises ValueError: as ``triton_sparse_matvec``. Source: Lee et al. (2024), "CATS: Contextually-Aware Thresholding for
    Sparsity in Large Language Models".
    """
    _check(weight_t, h, dims=(1,))
    if not _by_kernel(h, *weight_t.shape):
        return sparse_matvec(weight_t, h)
    return kernels.skip(weight_t.contiguous(), h.contiguous())


def triton_matvec_2_4(values: Tensor, indices: Tensor, x: Tensor) -> Tensor:
    """``matvec_2_4`` by a Triton kernel that unpacks the 2-bit indices in registers; same arguments, result and errors (and float64)."""
    _check_packed(values, indices, x)
    if not _by_kernel(x, *values.shape):
        return matvec_2_4(values, indices, x)
    return kernels.two_of_four(values.contiguous(), indices.contiguous(), x.contiguous())


def triton_grouped_matmul(x: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
    """``grouped_matmul`` by one Triton kernel for all experts; same arguments, result and errors (and float64)."""
    bounds = _bounds(x, weight, offsets)
    if not _by_kernel(x, *x.shape, *weight.shape):
        return grouped_matmul(x, weight, offsets)
    return kernels.grouped(x.contiguous(), weight, bounds)
