"""2:4 sparsity: of every four neighbouring weights two are zero, which saves half of the products and almost half of
the memory.

``prune_2_4`` makes a weight of this form, ``pack_2_4`` stores its non-zeros with two bits for the place of each, and
``matvec_2_4`` multiplies from the packed form, as a GPU's sparse tensor cores do.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from course_utils.sparsity.matvec import (
    _by_kernel,
    _check_alike,
    kernels,
)


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

    Each value has a 2-bit number, its place 0..3 in its four, ascending within a four; four such numbers make a byte,
    the first in the lowest bits. In half precision 4 x 16 bits become 2 x 16 + 2 x 2: 9/16 of the memory.
    Raises ValueError: not 2-D, in no multiple of 4, a four with more than two non-zeros.
    Source: Mishra et al. (2021); a GPU's own format has the same bits in another order.
    """
    if weight.dim() != 2 or weight.shape[1] % 4:
        raise ValueError(f"pack_2_4 needs a weight (out, in) with in a multiple of 4, got {tuple(weight.shape)}")
    fours = weight.reshape(len(weight), weight.shape[1] // 4, 4)
    if ((fours != 0).sum(-1) > 2).any():
        raise ValueError(
            "this weight is not 2:4 sparse: a group of four has more than two non-zeros; call prune_2_4 first"
        )
    place = (fours == 0).to(torch.uint8).argsort(dim=-1, stable=True)[..., :2].sort(dim=-1).values  # (out, in/4, 2)
    values = fours.gather(-1, place).flatten(1)
    codes = pad(place.flatten(1), (0, -values.shape[1] % 4)).unflatten(1, (-1, 4))  # (out, ceil(in/8), 4)
    return values, (codes << torch.tensor([0, 2, 4, 6], device=weight.device)).sum(-1).to(torch.uint8)


def _check_packed(values: Tensor, indices: Tensor, x: Tensor | None = None) -> None:
    """ValueError unless values and indices are what ``pack_2_4`` makes, and x (in,) fits them."""
    if (
        values.dim() != 2
        or values.shape[1] % 2
        or indices.dtype != torch.uint8
        or indices.shape != (len(values), -(-values.shape[1] // 4))
        or indices.device != values.device
    ):
        raise ValueError(
            "the packed form is values (out, in/2) and uint8 indices (out, ceil(in/8)) on one device, got "
            f"{tuple(values.shape)} and {indices.dtype} {tuple(indices.shape)}"
        )
    if x is not None:
        if x.shape != (2 * values.shape[1],):
            raise ValueError(
                f"x must be ({2 * values.shape[1]},), twice as long as a row of values, got {tuple(x.shape)}"
            )
        _check_alike(values=values, x=x)


def _columns(values: Tensor, indices: Tensor) -> Tensor:
    """The column of W (out, in) each value stands in: (out, in/2) int64."""
    codes = (indices[..., None].long() >> torch.tensor([0, 2, 4, 6], device=indices.device)) & 3
    first = torch.arange(values.shape[1], device=values.device) // 2 * 4
    return first + codes.reshape(len(values), 4 * indices.shape[1])[:, : values.shape[1]]


def unpack_2_4(values: Tensor, indices: Tensor) -> Tensor:
    """The weight (out, in) that ``pack_2_4`` packed. Raises ValueError: shapes or dtype that are not the packed
    form."""
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


def triton_matvec_2_4(values: Tensor, indices: Tensor, x: Tensor) -> Tensor:
    """``matvec_2_4`` by a Triton kernel that unpacks the 2-bit indices in registers; same arguments, result and errors
    (and float64)."""
    _check_packed(values, indices, x)
    if not _by_kernel(x, *values.shape):
        return matvec_2_4(values, indices, x)
    return kernels.two_of_four(values.contiguous(), indices.contiguous(), x.contiguous())
