"""Which entries of a task vector stay: the k largest, or a random share. For vectors that come piece by piece.

``trim`` and ``dare`` of ``task_vectors`` need the whole vector at once. A tensor of a real model is read in pieces, so that
memory stays small; then the k-th largest magnitude, or the norm before and after dropping, takes a first pass over the
pieces, and the second pass masks each piece as it comes by. Both passes have to see the same pieces in the same order.
"""
from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from course_utils.task_vectors import float_dtype

Pieces = Callable[[], Iterable[Tensor]]  # each call starts again at the beginning

_WHOLE = {2: torch.int16, 4: torch.int32, 8: torch.int64}
_DIGIT = 16  # bits; 2**16 counters fit into the cache


def magnitude_bits(x: Tensor) -> Tensor:
    """|x| as whole numbers in the same order: a float's bits without the sign, read as an integer (IEEE 754)."""
    whole = x.view(_WHOLE[x.element_size()])
    return whole & torch.iinfo(whole.dtype).max


class Mask:
    """Called with each piece of a task vector in order, gives it back in float32 with some entries 0 and the rest scaled."""
    scale = 1.0

    def kept(self, piece: Tensor) -> Tensor:
        """Which entries of the next piece stay."""
        raise NotImplementedError

    def restart(self) -> None:
        """Begin again with the first piece."""
        raise NotImplementedError

    def __call__(self, piece: Tensor) -> Tensor:
        masked = piece.to(float_dtype(piece)) * self.kept(piece)
        return masked if self.scale == 1 else masked.mul_(self.scale)

    def restore_l1(self, pieces: Pieces) -> None:
        """Scale what stays so that the sum of magnitudes is what it was; takes a pass over the pieces."""
        before = after = 0.0
        for piece in pieces():
            before += piece.abs().sum(dtype=torch.float64).item()
            after += self(piece).abs().sum(dtype=torch.float64).item()
        self.scale = before / after if min(before, after) >= 1e-7 else 1.0
        self.restart()


class Largest(Mask):
    """Keep exactly the k = how_many(d) largest of all d entries; of equals at the threshold those that come first.

    The threshold is found by counting, without sorting: first how many entries have each value of the highest 16 bits,
    then, inside the one value where the k-th falls, the next 16. bfloat16 and float16 need one pass, float32 two.
    """

    def __init__(self, pieces: Pieces, how_many: Callable[[int], int]) -> None:
        self.none, self.threshold, self.room = True, 0, 0  # room: how many of those that equal the threshold stay
        size = unknown = 8 * next((piece.element_size() for piece in pieces()), 0) - 1  # bits of the threshold
        while unknown > 0:
            width = min(_DIGIT, unknown)
            counts = torch.zeros(2 ** width, dtype=torch.int64)
            for piece in pieces():
                bits = magnitude_bits(piece)
                if unknown < size:
                    bits = bits[(bits >> unknown) == self.threshold] & (2 ** unknown - 1)
                counts += torch.bincount(bits >> (unknown - width), minlength=2 ** width)
            if unknown == size:
                self.room = how_many(int(counts.sum()))
                if not self.room:
                    break
                self.none = False
            at_least = counts.flip(0).cumsum(0).flip(0)  # entries with this digit or a larger one
            digit = int((at_least >= self.room).nonzero()[-1])
            self.room -= int(at_least[digit] - counts[digit])
            self.threshold, unknown = self.threshold << width | digit, unknown - width
        self.left = self.room

    def restart(self) -> None:
        self.left = self.room

    def kept(self, piece: Tensor) -> Tensor:
        if self.none:
            return torch.zeros_like(piece, dtype=torch.bool)
        bits = magnitude_bits(piece)
        kept = bits > self.threshold
        if self.left:
            equal = (bits == self.threshold).nonzero().squeeze(1)[:self.left]
            kept[equal] = True
            self.left -= len(equal)
        return kept


class RandomShare(Mask):
    """Keep each entry with probability density; with `inverse` divide what stays by the density."""

    def __init__(self, density: float, seed: int, inverse: bool = False) -> None:
        self.density, self.seed = density, seed
        self.generator = torch.Generator().manual_seed(seed)
        if inverse and density > 0:
            self.scale = 1 / density

    def restart(self) -> None:
        self.generator.manual_seed(self.seed)

    def kept(self, piece: Tensor) -> Tensor:
        return torch.rand(piece.shape, generator=self.generator) < self.density


def seed_for(seed: int, model: int, name: str) -> int:
    """A seed for each model and tensor, the same on every machine and in whatever order the tensors are read."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{model}/{name}".encode(), digest_size=7).digest(), "big")
