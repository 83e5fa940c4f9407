"""Tests of 06_sparsity_and_kernels: which blocks of activations a kernel must load."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from course_utils.exercises.engine import Mistake, close
from course_utils.exercises.engine.calls import StudentError
from course_utils.exercises.mistakes import recognise


def live_blocks(h: Tensor, block: int) -> Tensor:
    """live[i] = any(h[i * block : (i + 1) * block] != 0): the blocks of activations that a kernel must load.

    h (in,), block >= 1 -> bool (ceil(in / block),); the last block is shorter if `in` is no multiple of `block`.
    Raises ValueError: h not (in,), block below 1. Source: Lee et al. (2024), "CATS".
    """
    if h.dim() != 1 or block < 1:
        raise ValueError(f"live_blocks needs h (in,) and a block of 1 or more, got {tuple(h.shape)} and {block}")
    return pad(h != 0, (0, -len(h) % block)).reshape(-1, block).any(1)  # False in the tail: nothing to load


ALL = "You ask whether ALL of a block is not 0 (.all): one activation is enough to make it necessary, .any(dim=1)."
TAIL = (
    "The shorter last block is missing, or cannot be formed: there are ceil(in / block) blocks. Fill up with"
    " -len(h) % block zeros before the reshape, or slice block by block."
)
STRIDED = (
    "Your blocks are not consecutive: they take every so many-th activation. A block is h[i * block : (i + 1) * block], so"
    " reshape(-1, block), with the block as the LAST axis."
)
CANCELS = "A sum can be 0 although its terms are not: +1 and -1 cancel. Ask each activation: (h != 0), then .any."
POSITIVE = "Only activations above 0 count in yours: negative ones must be loaded as well, h != 0."
ONES = "The tail was filled up with ones (or another non-zero), so that the last block is always live: fill with zeros."
DEAD = "This is the other way round: True is for the blocks that must be LOADED, that hold something not 0."
FIRST = "Only one activation of each block is looked at: any of them makes the block live."
WHOLE = "A block becomes live only by more than half of its activations: one is enough."
EACH = "There is one entry for each activation: asked is one for each block, (ceil(in / block),). Reshape, then .any(dim=1)."
NUMBERS = "You return the numbers of the live blocks: asked is a boolean for each block, True or False."
NOT_BOOL = (
    "The result should be of dtype bool, True or False for each block. Compare with 0: (... != 0), or .any(dim=1)."
)
FRONT = "The short block is the LAST one: fill up at the end, pad (0, -len(h) % block), not in front."
EXTRA = (
    "There is a block too many. Where `in` is a multiple of block nothing is to be filled up: -len(h) % block is 0 then,"
    " and block - len(h) % block is a whole block."
)
ONE = "This is one answer for all of h: asked is one for each block. Reshape to (-1, block), then .any(dim=1)."
FLIPPED = "The blocks come in reverse order: entry 0 belongs to h[:block]."


def _blocks(h: Tensor, block: int, fill: float = 0.0) -> Tensor:
    return pad(h, (0, -len(h) % block), value=fill).reshape(-1, block)


MISTAKES = [
    (ALL, lambda h, block: torch.stack([part.ne(0).all() for part in h.split(block)])),
    (ALL, lambda h, block: _blocks(h, block).ne(0).all(1)),
    (TAIL, lambda h, block: h[: len(h) // block * block].reshape(-1, block).ne(0).any(1)),
    (STRIDED, lambda h, block: _blocks(h, block).reshape(block, -1).ne(0).any(0)),
    (CANCELS, lambda h, block: _blocks(h, block).sum(1) != 0),
    (CANCELS, lambda h, block: _blocks(h, block).sum(1) > 0),
    (POSITIVE, lambda h, block: _blocks(h, block).gt(0).any(1)),
    (POSITIVE, lambda h, block: _blocks(h, block).amax(1) != 0),
    (
        POSITIVE.replace("above", "below").replace("negative", "positive"),
        lambda h, block: _blocks(h, block).lt(0).any(1),
    ),
    (ONES, lambda h, block: _blocks(h, block, 1.0).ne(0).any(1)),
    (DEAD, lambda h, block: ~live_blocks(h, block)),
    (FIRST, lambda h, block: _blocks(h, block)[:, 0] != 0),
    (FIRST, lambda h, block: _blocks(h, block)[:, -1] != 0),
    (WHOLE, lambda h, block: _blocks(h, block).ne(0).float().mean(1) > 0.5),
    (FRONT, lambda h, block: pad(h, (-len(h) % block, 0)).reshape(-1, block).ne(0).any(1)),
    (FLIPPED, lambda h, block: live_blocks(h, block).flip(0)),
]
# Blocks that are dead, nearly full, full, cancelling, negative, dead, positive; with and without a (dead or live) tail.
H = torch.tensor([0.0, 0, 0, 0, 2, 1, 3, 0, 1, 2, -1, 4, 1, -1, 0, 0, 0, -2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5])
CASES = [(H, 4), (torch.cat([H, torch.zeros(2)]), 4), (torch.cat([H, torch.tensor([0.0, 1])]), 4)]


def _check(answer: Callable, h: Tensor, block: int) -> None:
    expected = live_blocks(h, block)
    try:
        got = answer(h, block)
    except StudentError as wrapped:
        said = str(wrapped.error).split("\n")[0]
        if len(h) % block and "is invalid for input of size" in said:
            raise Mistake(f"{len(h)} activations are no multiple of {block}. {TAIL} (torch said: {said})") from None
        raise
    try:
        if isinstance(got, Tensor) and got.dim() == 1 and got.dtype != torch.bool:
            if not got.is_floating_point() and torch.equal(got, expected.nonzero().squeeze(1)):
                raise Mistake(NUMBERS)
            if got.shape == expected.shape:
                raise Mistake(NOT_BOOL)
        if isinstance(got, Tensor) and block > 1 and got.shape == h.shape:
            raise Mistake(EACH)
        close(got, expected, what="your result")
    except Mistake:
        recognise(answer, CASES, MISTAKES)
        if isinstance(got, Tensor) and got.shape == (len(h) // block,) != expected.shape:
            raise Mistake(TAIL) from None
        if isinstance(got, Tensor) and got.shape == (len(expected) + 1,):
            raise Mistake(EXTRA) from None
        if isinstance(got, bool) or (isinstance(got, Tensor) and got.dim() == 0):
            raise Mistake(ONE) from None
        raise


def blocks_whole(answer: Callable) -> None:
    """seven whole blocks of four: dead, nearly full, full, cancelling (+1, -1), negative"""
    _check(answer, *CASES[0])


def blocks_tail(answer: Callable) -> None:
    """a shorter last block, once with zeros only and once with a live activation"""
    _check(answer, *CASES[1])
    _check(answer, *CASES[2])


def blocks_sizes(answer: Callable) -> None:
    """blocks of one activation, and one block that is longer than h"""
    _check(answer, H, 1)
    _check(answer, H, 40)
    _check(answer, torch.zeros(5), 3)
