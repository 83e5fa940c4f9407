"""A device that is not the CPU, on a machine that has none: its tensors do not meet those of the CPU.

Within `with PretendedDevice():` a tensor that is made on DEVICE or moved there keeps its numbers on the CPU. But an
operation on tensors of both raises RuntimeError, as on a real device, but for torch's own exceptions: a number (a
tensor without axes), an index, `copy_` and `to`. float64 does not exist there, as on MPS. The device is called "meta",
as the only one besides the CPU that every build of torch knows; what has no numbers there, as torch's own meta tensors,
is refused.
"""

from __future__ import annotations

import contextlib
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE, TENSOR = torch.device("meta"), torch.tensor
aten = torch.ops.aten
MOVES = {aten._to_copy, aten.copy_, aten.to}
INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
PRODUCTS = {aten.mm, aten.addmm, aten.bmm, aten.linear, aten.matmul}
TO_PYTHON = {aten._local_scalar_dense.default, aten.equal.default}


class There(Tensor):
    """A tensor that says that it is on DEVICE; `numbers`: what it holds."""

    @staticmethod
    def __new__(cls, numbers: Tensor) -> There:
        if numbers.dtype == torch.float64:
            raise TypeError("there is no float64 on this device")
        layout = {"strides": numbers.stride(), "storage_offset": numbers.storage_offset(), "dtype": numbers.dtype}
        return Tensor._make_wrapper_subclass(cls, numbers.size(), device=DEVICE, **layout)

    def __init__(self, numbers: Tensor) -> None:
        self.numbers, self._is_param = numbers, False

    def __repr__(self) -> str:
        return f"There({self.numbers})"

    def tolist(self) -> list:
        return self.numbers.tolist()

    def __getitem__(self, index: Any) -> Tensor:
        return super().__getitem__(TENSOR(index) if isinstance(index, list) else index)

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(TENSOR(index) if isinstance(index, list) else index, value)

    def __deepcopy__(self, memo: dict) -> Tensor:
        copied = There(self.numbers.clone())
        memo[id(self)] = torch.nn.Parameter(copied, self.requires_grad) if self._is_param else copied
        return memo[id(self)]

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


class PretendedDevice(TorchDispatchMode):
    """`products`: how many matrix products were done there; `looked_up_here`: embeddings read by models on the CPU."""

    def __enter__(self) -> PretendedDevice:
        self.products = self.looked_up_here = 0
        self.undo = contextlib.ExitStack()
        self.undo.callback(torch.__future__.set_overwrite_module_params_on_conversion, False)
        torch.__future__.set_overwrite_module_params_on_conversion(True)  # not `parameter.data = There(...)`
        self.undo.enter_context(mock.patch.object(torch, "tensor", _tensor))  # else torch makes a real meta tensor
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.undo.close()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = _run(function, args, kwargs or {})
        self.products += function.overloadpacket in PRODUCTS and isinstance(out, There)
        self.looked_up_here += function is aten.embedding.default and not isinstance(out, There)
        return out


def _run(function: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
    there = any(isinstance(tensor, There) for tensor in tensors)
    if any(tensor.is_meta and not isinstance(tensor, There) for tensor in tensors):
        raise RuntimeError(f"{function}: a meta tensor without numbers")
    if there and function.overloadpacket not in MOVES:
        indices = {id(index) for index in args[1]} if function in INDEXED else ()
        if any(not isinstance(tensor, There) and tensor.dim() and id(tensor) not in indices for tensor in tensors):
            raise RuntimeError(f"{function}: tensors of the pretended device and of the CPU meet")
    if function is aten.copy_.default:
        there = isinstance(args[0], There)
    for asked in tree_leaves((args, kwargs)):
        if isinstance(asked, torch.device):
            there = asked.type == DEVICE.type
    plain_args, plain_kwargs = tree_map(_numbers, (args, kwargs))
    if function is aten.histc.default and not plain_args[0].is_floating_point():  # the CPU has none of whole numbers
        out = function(plain_args[0].float(), *plain_args[1:], **plain_kwargs).to(plain_args[0].dtype)
    else:
        out = function(*plain_args, **plain_kwargs)
    if not there or function in TO_PYTHON:
        return out
    given = {id(_numbers(tensor)): tensor for tensor in tensors}  # what is changed in place is returned as it was given
    return tree_map(lambda value: _wrapped(value, given), out)


def _tensor(data: Any, *, device: Any = None, **settings: Any) -> Tensor:
    made = TENSOR(data, **settings)
    return made if device is None else made.to(device)


def _numbers(value: Any) -> Any:
    """What the CPU computes with instead."""
    if isinstance(value, torch.device):
        return torch.device("cpu")
    return value.numbers if isinstance(value, There) else value


def _wrapped(value: Any, given: dict[int, Tensor]) -> Any:
    if not isinstance(value, Tensor):
        return value
    same = given.get(id(value))
    if same is None:
        return There(value)
    return same if isinstance(same, There) else There(value.clone())  # `to` the device, for the CPU no step at all
