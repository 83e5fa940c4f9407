"""Values as bytes, for the pipes between the judge and a student's process: numbers, texts, tensors, and lists of them.

Not pickle, which runs code of the sender's choice when it is read. A frame that is not of this form raises ValueError:

    length of the rest (8 bytes) | length of the head (4 bytes) | head: JSON | the bytes of the tensors and arrays

Functions stay where they are: the other side gets a stand-in that asks for each call. What cannot be sent is refused on
the judge's side (Unsendable) and arrives as an empty object with the name of its type from the student's.
"""

from __future__ import annotations

import builtins
import json
import math
import os
import random
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

__all__ = ["Codec", "TooLarge", "Unsendable", "as_error", "random_states", "receive", "send", "set_random_states"]

LARGEST = 256 << 20  # bytes of one frame
KINDS = "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64 complex64 complex128"
DTYPES = {name: getattr(torch, name) for name in KINDS.split()}
SEQUENCES = {"tuple": tuple, "frozenset": frozenset, "Size": torch.Size}


class Unsendable(TypeError):
    """The judge's value is of a kind that the wire does not carry."""


class TooLarge(ValueError):
    """The value is larger than the largest frame."""

    def __init__(self, size: int) -> None:
        super().__init__(f"The result takes {size >> 20} MB: more than {LARGEST >> 20} MB cannot be checked.")


class Codec:
    """One direction of one call.

    strict: raise Unsendable instead of sending an empty object. functions: the judge's functions that were sent, by
    number; `remote(i)` makes the stand-in on the other side. generators: torch.Generator objects sent or received, in
    order, so that their states can follow; leaves: likewise the tensors that require a gradient, which a strict codec
    sends only with follow=True. objects: what can be changed in place, numbered alike on both sides; given to the codec
    of the reply, a result that *is* an argument, or a view of one, arrives as such. writable: a tensor with a gradient
    arrives as a copy of its leaf, because a function may write into what it gets, and nobody into a leaf.
    """

    def __init__(
        self,
        strict: bool,
        remote: Callable[[int], Callable] | None = None,
        follow: bool = False,
        objects: list | None = None,
        writable: bool = False,
    ) -> None:
        self.strict, self.remote, self.follow, self.writable = strict, remote, follow, writable
        self.objects = list(objects or [])
        self.numbers = {id(thing): number for number, thing in enumerate(self.objects)}
        dense = ((number, thing) for number, thing in enumerate(self.objects) if _dense(thing))
        self.storages = {thing.untyped_storage().data_ptr(): number for number, thing in dense}
        self.leaves: list[torch.Tensor] = []
        self.functions: list[Callable] = []
        self.generators: list[torch.Generator] = []
        self.blobs: list[bytes] = []

    def pack(self, value: Any) -> bytes:
        self.blobs, self.size = [], 0
        tree = self._tree(value)
        text = json.dumps({"value": tree, "sizes": [len(blob) for blob in self.blobs]}).encode()
        return b"".join([len(text).to_bytes(4, "little"), text, *self.blobs])

    def unpack(self, data: bytes) -> Any:
        """Raises ValueError for anything that `pack` does not write, MemoryError where there is not enough for it."""
        try:
            start = 4 + int.from_bytes(data[:4], "little")
            head, self.blobs = json.loads(data[4:start]), []
            for size in head["sizes"]:
                self.blobs.append(data[start : start + int(size)])
                start += int(size)
            return self._value(head["value"])
        except (LookupError, TypeError, AttributeError, OverflowError, RuntimeError) as error:
            raise ValueError(f"not a frame of the wire: {type(error).__name__}") from None

    def _room_for(self, size: int) -> None:
        """Before anything is copied: there may be no memory for that."""
        self.size += size
        if self.size > LARGEST - (1 << 20):
            raise TooLarge(self.size)

    def _blob(self, data: bytes) -> int:
        self.blobs.append(data)
        return len(self.blobs) - 1

    def _tree(self, value: Any) -> Any:
        kind = type(value)
        if value is None or kind in (bool, float, str):
            return value
        if kind is int:
            return value if abs(value) < 1 << 63 else ["int", hex(value)]
        if kind is complex:
            return ["complex", value.real, value.imag]
        if kind is bytes:
            self._room_for(len(value))
            return ["bytes", self._blob(value)]
        if id(value) in self.numbers:
            return ["same", self.numbers[id(value)]]
        if isinstance(value, (list, dict, set, torch.Tensor, np.ndarray)):
            self._register(value)
        if kind in (list, tuple, set, frozenset, torch.Size):
            return [kind.__name__, *map(self._tree, value)]
        if kind is range:
            return ["range", value.start, value.stop, value.step]
        if kind in (dict, OrderedDict) or (isinstance(value, dict) and not self.strict):
            name = "OrderedDict" if kind is OrderedDict else "dict"
            return [name, *([self._tree(key), self._tree(value[key])] for key in value)]
        if isinstance(value, torch.Tensor):
            return self._tensor(value)
        if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufcUS":
            self._room_for(value.nbytes)
            name, data = "array" if isinstance(value, np.ndarray) else "scalar", np.ascontiguousarray(value)
            return [name, value.dtype.str, list(value.shape), self._blob(data.tobytes())]
        if kind is torch.dtype and _name(value) in DTYPES:
            return ["dtype", _name(value)]
        if kind is torch.Generator:
            self.generators.append(value)
            return ["Generator", self._blob(value.get_state().numpy().tobytes())]
        if self.strict and callable(value) and not isinstance(value, (type, torch.nn.Module)):
            self.functions.append(value)
            return ["function", len(self.functions) - 1, str(getattr(value, "__name__", "function"))]
        if self.strict:
            raise Unsendable(f"a {kind.__name__} stays in its own process")
        if isinstance(value, tuple):  # a namedtuple, what torch.max returns
            return ["tuple", *map(self._tree, value)]
        return ["other", kind.__name__]

    def _register(self, value: Any) -> Any:
        self.numbers[id(value)] = len(self.objects)
        self.objects.append(value)
        return value

    def _tensor(self, value: torch.Tensor) -> list:
        name = _name(value.dtype)
        if name not in DTYPES or value.layout != torch.strided or value.device.type != "cpu":
            if self.strict:
                raise Unsendable(f"a {value.layout} tensor of {value.dtype} on {value.device} stays in its own process")
            return ["other", "Tensor"]
        if value.requires_grad:
            if self.strict and not self.follow:
                raise Unsendable("a result with a gradient stays in its own process")
            self.leaves.append(value)
        self._room_for(value.nbytes)
        data = value.detach().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        tree = ["Tensor", name, list(value.shape), self._blob(data), bool(value.requires_grad)]
        whole = self.storages.get(value.untyped_storage().data_ptr()) if data and not value.requires_grad else None
        if whole is None or self.objects[whole].dtype != value.dtype:
            return tree
        return ["view", whole, list(value.stride()), value.storage_offset(), tree]

    def _view(self, whole: torch.Tensor, steps: list[int], offset: int, tree: list) -> torch.Tensor:
        """A view of an argument where it lies in memory as on the other side; else its values."""
        known = len(self.objects)
        tensor = self._value(tree)
        if _dense(whole) and whole.is_contiguous() and whole.storage_offset() == 0 and whole.dtype == tensor.dtype:
            tensor = self.objects[known] = whole.as_strided(tensor.shape, steps, offset)
        return tensor

    def _value(self, tree: Any) -> Any:
        if not isinstance(tree, list):
            if isinstance(tree, dict):
                raise ValueError("not a frame of the wire")
            return tree
        kind, *rest = tree
        if kind == "same":
            return self.objects[int(rest[0])]
        if kind == "view":
            return self._view(self.objects[int(rest[0])], [int(step) for step in rest[1]], int(rest[2]), rest[3])
        if kind in ("list", "set"):  # registered before what is in them, as in pack
            made = self._register([] if kind == "list" else set())
            for item in rest:
                (made.append if kind == "list" else made.add)(self._value(item))
            return made
        if kind in SEQUENCES:
            return SEQUENCES[kind](map(self._value, rest))
        if kind in ("dict", "OrderedDict"):
            made = self._register(OrderedDict() if kind == "OrderedDict" else {})
            for key, item in rest:
                key = self._value(key)
                made[key] = self._value(item)
            return made
        if kind == "int":
            return int(rest[0][:10_000], 16)
        if kind == "complex":
            return complex(float(rest[0]), float(rest[1]))
        if kind == "range":
            return range(*map(int, rest))
        if kind == "bytes":
            return self.blobs[int(rest[0])]
        if kind == "Tensor":
            dtype, shape, blob = DTYPES[rest[0]], [int(size) for size in rest[1]], self.blobs[int(rest[2])]
            if min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize != len(blob):
                raise ValueError("not a frame of the wire: the bytes of a tensor do not fit its shape")
            flat = torch.frombuffer(bytearray(blob), dtype=dtype) if blob else torch.empty(0, dtype=dtype)
            tensor = flat.reshape(shape)
            if rest[3]:
                self.leaves.append(tensor.requires_grad_())
                tensor = tensor.clone() if self.writable else tensor
            return self._register(tensor)
        if kind in ("array", "scalar"):
            dtype = np.dtype(str(rest[0])[:20])
            if dtype.kind not in "biufcUS":
                raise ValueError("not a frame of the wire: an array of objects")
            array = np.frombuffer(self.blobs[int(rest[2])], dtype=dtype).reshape([int(size) for size in rest[1]]).copy()
            return self._register(array) if kind == "array" else array[()]
        if kind == "dtype":
            return DTYPES[rest[0]]
        if kind == "Generator":
            generator = torch.Generator()
            generator.set_state(torch.frombuffer(bytearray(self.blobs[int(rest[0])]), dtype=torch.uint8))
            self.generators.append(generator)
            return generator
        if kind == "function" and self.remote:
            stand_in = self.remote(int(rest[0]))
            stand_in.__name__ = stand_in.__qualname__ = str(rest[1])
            return stand_in
        if kind == "other":
            if rest[0] == "generator":
                return (nothing for nothing in ())
            return type(re.sub(r"\W", "_", str(rest[0]))[:40] or "object", (), {})()
        raise ValueError(f"not a frame of the wire: {str(kind)[:20]!r}")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _dense(thing: Any) -> bool:
    return isinstance(thing, torch.Tensor) and thing.layout == torch.strided and thing.numel() > 0


def as_error(name: str, text: str) -> BaseException:
    """An exception of that name: Python's own, or an empty class."""
    kind = getattr(builtins, name, None)
    kind = kind if isinstance(kind, type) and issubclass(kind, BaseException) else Exception
    try:
        return type(name[:60], (kind,), {"__str__": lambda self: text})(text)  # KeyError would put the text in quotes
    except Exception:  # UnicodeDecodeError wants five arguments
        return type(name[:60], (Exception,), {})(text)


def random_states() -> list:
    """Where the generators of Python, torch and NumPy stand: each side goes on drawing where the other stopped."""
    return [random.getstate(), torch.get_rng_state(), list(np.random.get_state())]


def set_random_states(python: tuple, pytorch: torch.Tensor, numpy: list) -> None:
    random.setstate(python)
    torch.set_rng_state(pytorch)
    np.random.set_state(tuple(numpy))


def send(fd: int, data: bytes) -> None:
    """One frame. Raises BrokenPipeError when the other side is gone."""
    view = memoryview(len(data).to_bytes(8, "little") + data)
    while view:
        view = view[os.write(fd, view[: 1 << 20]) :]


def receive(fd: int) -> bytes:
    """One frame. Raises EOFError when the other side is gone, ValueError when the frame is too large."""
    size = int.from_bytes(_read(fd, 8), "little")
    if size > LARGEST:
        raise ValueError(f"a frame of {size} bytes is too large: at most {LARGEST}")
    return _read(fd, size)


def _read(fd: int, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        part = os.read(fd, min(size - len(found), 1 << 20))
        if not part:
            raise EOFError("the other side has ended")
        found += part
    return bytes(found)
