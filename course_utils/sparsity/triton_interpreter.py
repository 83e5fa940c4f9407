"""Triton's interpreter, made safe to learn with: it looks at every address before it reads or writes there.

Importing this module needs the package ``triton`` but no GPU.

    jit(kernel)[grid](x, y, out, n, BLOCK=128)        compiled where there is a CUDA GPU, else interpreted

Triton decides whether a kernel is compiled or interpreted when it is decorated, by TRITON_INTERPRET, which has to be in
the environment before triton is imported for the first time; but transformers imports triton early. So ``jit`` takes
the interpreter's own class where there is no GPU, and its functions (``tl.sum``, ``tl.zeros``, ...), which were
decorated at that first import, are interpreted too while a kernel runs. The order of imports does not matter and no
variable has to be set. Where TRITON_INTERPRET=1 is set, it is obeyed on a GPU too.

The interpreter reads memory at the addresses that the kernel computes: one that is wrong ends the process. Here it
raises IndexError, in words.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.runtime.errors import InterpreterError
from triton.runtime.interpreter import InterpretedFunction, _implicit_cvt, _patch_lang, interpreter_builder
from triton.runtime.jit import JITFunction

INTERPRETED = triton.knobs.runtime.interpret or not torch.cuda.is_available()
# The first argument makes Triton import more of itself, which must not happen while its functions are interpreted.
_implicit_cvt(torch.empty(1))


def jit(function: Callable) -> Any:
    """triton.jit, or the interpreter below where nothing can be compiled."""
    return Interpreted(function) if INTERPRETED else triton.jit(function)


class Interpreted(InterpretedFunction):
    """A kernel that is run line by line in Python, one program after the other.

    `read` and `written` hold, after a launch, for each tensor argument how often each of its entries was read and
    written (added to, too), by its place in memory: {name: int array}.
    Raises IndexError for an access outside of the tensors that were passed; what the kernel itself raises.
    """

    read: dict[str, np.ndarray]
    written: dict[str, np.ndarray]

    def rewrite(self) -> Callable:
        """The function that is run, once for each program."""
        function = super().rewrite()
        for name, kind in function.__annotations__.items():
            if isinstance(kind, str) and "constexpr" in kind:  # in a notebook that must open without Triton
                function.__annotations__[name] = tl.constexpr
        return function

    def run(self, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        """What ``kernel[grid](...)`` calls. Only tensors on the CPU are watched."""
        given = inspect.getcallargs(self.fn, *args, **{k: v for k, v in kwargs.items() if k in self.arg_names})
        tensors = {name: value for name, value in given.items() if isinstance(value, Tensor) and not value.is_cuda}
        self.read, self.written = ({name: np.zeros(_extent(x), int) for name, x in tensors.items()} for _ in range(2))
        if len(tensors) < sum(isinstance(value, Tensor) for value in given.values()):
            return super().run(*args, grid=grid, warmup=warmup, **kwargs)  # the interpreter copies from the GPU
        try:
            with _watched(tensors, self.read, self.written), _functions_interpreted():
                super().run(*args, grid=grid, warmup=warmup, **kwargs)
        except InterpreterError as error:
            raise (error.__cause__ or error) from None


def _extent(x: Tensor) -> int:
    """How many entries lie from the first to the last of a tensor."""
    return 1 + sum((size - 1) * step for size, step in zip(x.shape, x.stride())) if x.numel() else 0


@contextmanager
def _watched(tensors: dict[str, Tensor], read: dict, written: dict) -> Iterator[None]:
    """Triton's memory accesses go through a check while this is open."""

    def check(counts: dict[str, np.ndarray], verb: str, pointers: Any, mask: Any) -> None:
        addresses = np.broadcast_to(pointers.data, mask.data.shape)[mask.data.astype(bool)].astype(np.int64)
        inside = np.zeros(addresses.shape, bool)
        for name, x in tensors.items():
            place, rest = np.divmod(addresses - x.data_ptr(), x.element_size())
            here = (place >= 0) & (place < len(counts[name])) & (rest == 0)
            np.add.at(counts[name], place[here], 1)
            inside |= here
        if not inside.all():
            raise IndexError(_where(tensors, int(addresses[~inside][0]), verb))

    def loads(self_load: Callable) -> Callable:
        def load(pointers: Any, mask: Any, *rest: Any) -> Any:
            check(read, "reads", pointers, mask)
            return self_load(pointers, mask, *rest)

        return load

    def stores(self_store: Callable) -> Callable:
        def store(pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
            check(written, "writes", pointers, mask)
            return self_store(pointers, value, mask, *rest)

        return store

    def adds(self_add: Callable) -> Callable:
        def add(operation: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
            check(written, "writes", pointers, mask)
            return self_add(operation, pointers, value, mask, *rest)

        return add

    wrappers = {"create_masked_load": loads, "create_masked_store": stores, "create_atomic_rmw": adds}
    for name, wrapper in wrappers.items():
        setattr(interpreter_builder, name, wrapper(getattr(interpreter_builder, name)))
    try:
        yield
    finally:
        for name in wrappers:
            delattr(interpreter_builder, name)  # the class's own again


class _Called(InterpretedFunction):
    """A function that a kernel calls. Triton's own class would leave the language as the interpreter needs it, and
    nothing could be compiled afterwards."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        function, patched = self.rewrite(), _patch_lang(self.fn)
        try:
            return function(*args, **kwargs)
        finally:
            patched.restore()


@contextmanager
def _functions_interpreted() -> Iterator[None]:
    """Triton's own functions that were decorated for compiling are interpreted while this is open."""
    places = [(module, name) for module in (tl, tl.standard) for name in vars(module)]
    compiled = [(*place, value) for place in places if isinstance(value := getattr(*place), JITFunction)]
    for module, name, value in compiled:
        setattr(module, name, value if name.startswith("_") else _Called(value.fn))  # _sum_combine is told by identity
    try:
        yield
    finally:
        for place in compiled:
            setattr(*place)


def _where(tensors: dict[str, Tensor], address: int, verb: str) -> str:
    """What is wrong with an address: named after the tensor that begins last before it."""
    before = [name for name, x in tensors.items() if x.numel() and x.data_ptr() <= address]
    name = max(before or tensors, key=lambda each: tensors[each].data_ptr())
    x = tensors[name]
    place = (address - x.data_ptr()) // x.element_size()
    return (
        f"a program {verb} at {name} + {place}, and {name} has {x.numel():,} entries: "
        "is a mask missing, or a stride wrong?"
    )
