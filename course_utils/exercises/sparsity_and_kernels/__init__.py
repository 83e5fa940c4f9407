"""The exercises of notebook 06, in its order: skipped zeros, what a batch leaves to skip, kernels, 2:4 weights, live
blocks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from course_utils.exercises.engine import Mistake

try:
    import triton.language as tl
except ImportError:  # no Triton for this machine
    tl = None

ORDER = ("sparse_matvec", "union_density", "masked_kernel", "split_kernel", "prune_2_4", "live_blocks")


class RowsRead(TorchDispatchMode):
    """Which rows of a weight are read: `ids` holds for each of its copies the number of the row at each place."""

    PICK = "aten::index aten::index_select aten::gather aten::take aten::embedding aten::masked_select".split()

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.rows: set[int] = set()
        self.ids = {self._place(weight): torch.arange(len(weight))[:, None].expand_as(weight).contiguous()}
        self.copies: list[Tensor] = []  # kept, so that no other tensor gets their place

    @staticmethod
    def _place(value: Any) -> int | None:
        strided = isinstance(value, Tensor) and value.layout == torch.strided
        return value.untyped_storage().data_ptr() if strided else None

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        out, name, given = func(*args, **kwargs or {}), func._schema.name, tree_leaves((args, kwargs))
        read = [each for each in given if self._place(each) in self.ids]
        sparse = any(isinstance(each, Tensor) and each.layout != torch.strided for each in given)
        if not read or sparse or any(self._place(each) in self.ids for each in tree_leaves(out)):
            return out  # the weight has no part in it, or in its sparse product, or this is a view
        ids = [
            self.ids[self._place(each)].as_strided(each.shape, each.stride(), each.storage_offset()) for each in read
        ]
        if name in ("aten::clone", "aten::_to_copy"):
            self.copies.append(out)
            self.ids[self._place(out)] = torch.empty_strided(out.shape, out.stride(), dtype=torch.long).copy_(ids[0])
        elif "embedding_bag" in name:
            self.rows.update(args[1].tolist())
        else:
            found = (
                func(ids[0], *args[1:], **kwargs or {}) if name in self.PICK else torch.cat([*map(torch.ravel, ids)])
            )
            self.rows.update(found.unique().tolist())
        return out


def interpreted(kernel: Callable, parameters: str) -> Any:
    """A student's kernel, ready to be launched by Triton's interpreter, which counts what it reads.

    kernel: as it is, or decorated with triton.jit. parameters: those of the stub, "x, y, n".
    Raises Mistake: Triton is not installed, other parameters, no kernel at all. What a stub raises goes through.
    """
    try:
        from course_utils.sparsity.triton_interpreter import Interpreted
    except (ImportError, OSError):
        raise Mistake(
            "This exercise needs Triton, which is not installed here. On Linux: %pip install triton==3.7.1 in a "
            "cell of its own, then restart the kernel. There is none for macOS and Windows."
        ) from None
    function = getattr(kernel, "fn", kernel)
    if not inspect.isfunction(function):
        raise Mistake("The answer is not a function: give the kernel itself.")
    names = ", ".join(inspect.signature(function).parameters)
    if "tl" not in function.__globals__ or names != parameters:
        function(*[None] * len(parameters.split(", ")))  # a stub says that it is one
        raise Mistake(
            f"A kernel with the parameters of the stub is asked for, ({parameters}), and yours has ({names})."
        )
    return Interpreted(function)
