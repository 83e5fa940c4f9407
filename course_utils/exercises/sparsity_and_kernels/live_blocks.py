"""Which blocks of activations a kernel must load."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from course_utils.exercises.engine import Exercise, case


def live_blocks(h: Tensor, block: int) -> Tensor:
    """live[i] = any(h[i * block : (i + 1) * block] != 0): the blocks of activations that a kernel must load.

    h (in,), block >= 1 -> bool (ceil(in / block),); the last block is shorter if `in` is no multiple of `block`.
    Raises ValueError: h not (in,), block below 1. Source: Lee et al. (2024), "CATS".
    """
    if h.dim() != 1 or block < 1:
        raise ValueError(f"live_blocks needs h (in,) and a block of 1 or more, got {tuple(h.shape)} and {block}")
    return pad(h != 0, (0, -len(h) % block)).reshape(-1, block).any(1)  # False in the tail: nothing to load


ONE_IS_ENOUGH = "One activation that is not 0 is enough to make a block necessary."
TAIL = "There are ceil(in / block) blocks: fill up with zeros before the reshape, or slice block by block."
FOR_EACH_BLOCK = "Return one truth value for each block, (ceil(in / block),)."
SIGNS = "Both signs must be loaded: compare with != 0."

# Blocks of four: dead, nearly full, full, cancelling, one negative, one at the front, two, dead, a tiny one at the end.
H = torch.tensor([0.0, 0, 0, 0, 2, 1, 3, 0, 1, 2, -1, 4, 1, -1, 0, 0, 0, -2, 0, 0, 3, 0, 0, 0, 0, 1, 0, -4])
H = torch.cat([H, torch.tensor([0.0, 0, 0, 0, 0, 0, 0, 1e-6])])


def _blocks(h: Tensor, block: int, fill: float = 0.0) -> Tensor:
    return pad(h, (0, -len(h) % block), value=fill).reshape(-1, block)


EXERCISE = Exercise(
    "sparsity_and_kernels.live_blocks",
    reference=live_blocks,
    what="your result",
    errors={"is invalid for input of size": f"The activations are no multiple of the block. {TAIL}"},
    cases=[
        case("whole blocks: dead, nearly full, full, cancelling (+1, -1), with one activation", H, 4),
        case("a shorter last block of zeros", torch.cat([H, torch.zeros(2)]), 4),
        case("a shorter last block with a live activation", torch.cat([H, torch.tensor([0.0, 1])]), 4),
        case("blocks of one activation", H, 1),
        case("one block that is longer than h", H, 40, names=False),
        case("zeros only", torch.zeros(5), 3),
    ],
    mistakes={
        f"A block is live here if all of it is not 0.\n{ONE_IS_ENOUGH}": [
            lambda h, block: torch.stack([part.ne(0).all() for part in h.split(block)]),
            lambda h, block: _blocks(h, block).ne(0).all(1),
        ],
        f"The shorter last block is missing.\n{TAIL}": lambda h, block: (
            h[: len(h) // block * block].reshape(-1, block).ne(0).any(1)
        ),
        "These blocks are not consecutive: they take every so many-th activation.\n"
        "A block is h[i * block : (i + 1) * block]: the block is the last axis.": lambda h, block: (
            _blocks(h, block).reshape(block, -1).ne(0).any(0)
        ),
        "A sum can be 0 although its terms are not: +1 and -1 cancel.\nAsk each activation.": [
            lambda h, block: _blocks(h, block).sum(1) != 0,
            lambda h, block: _blocks(h, block).sum(1) > 0,
        ],
        f"Only activations above 0 count here.\n{SIGNS}": [
            lambda h, block: _blocks(h, block).gt(0).any(1),
            lambda h, block: _blocks(h, block).amax(1) != 0,
        ],
        f"Only activations below 0 count here.\n{SIGNS}": lambda h, block: _blocks(h, block).lt(0).any(1),
        "The tail was filled up with ones (or another non-zero), so that the last block is always live.\n"
        "Fill up with zeros.": lambda h, block: _blocks(h, block, 1.0).ne(0).any(1),
        "This is the other way round.\n"
        "True is for the blocks that must be loaded, which hold something not 0.": lambda h, block: (
            ~live_blocks(h, block)
        ),
        f"Only one activation of each block is looked at.\n{ONE_IS_ENOUGH}": [
            lambda h, block: _blocks(h, block)[:, 0] != 0,
            lambda h, block: _blocks(h, block)[:, -1] != 0,
        ],
        "The last activation of each block is not looked at: the end of a slice is not part of it.": lambda h, block: (
            _blocks(h, block)[:, :-1].ne(0).any(1)
        ),
        f"A block becomes live only by two activations, or by more than half of them.\n{ONE_IS_ENOUGH}": [
            lambda h, block: _blocks(h, block).ne(0).sum(1) > 1,
            lambda h, block: _blocks(h, block).ne(0).float().mean(1) > 0.5,
        ],
        "Small activations are taken for zeros: only exact zeros need not be loaded.": lambda h, block: (
            _blocks(h, block).abs().gt(1e-4).any(1)
        ),
        "These are `block` blocks, not blocks of `block` activations.\n"
        "h.chunk(n) makes n pieces, h.split(n) pieces of n.": lambda h, block: torch.stack(
            [part.ne(0).any() for part in h.chunk(block)]
        ),
        "The short block is at the front.\nIt is the last one: fill up at the end.": lambda h, block: (
            pad(h, (-len(h) % block, 0)).reshape(-1, block).ne(0).any(1)
        ),
        "There is a block too many where the activations are a multiple of the block.\n"
        "Nothing is to be filled up then: block - len(h) % block is a whole block, -len(h) % block is 0.": [
            lambda h, block: pad(h, (0, block - len(h) % block)).reshape(-1, block).ne(0).any(1),
            lambda h, block: torch.cat([h, torch.zeros(block - len(h) % block)]).reshape(-1, block).ne(0).all(1),
        ],
        f"This is one answer for all of h.\n{FOR_EACH_BLOCK}": lambda h, block: (h != 0).any(),
        f"There is one entry for each activation.\n{FOR_EACH_BLOCK}": lambda h, block: h != 0,
        f"You return the numbers of the live blocks.\n{FOR_EACH_BLOCK}": lambda h, block: (
            live_blocks(h, block).nonzero().squeeze(1)
        ),
        f"Each entry should be True or False, of dtype bool.\n{FOR_EACH_BLOCK}": [
            lambda h, block: live_blocks(h, block).float(),
            lambda h, block: _blocks(h, block).ne(0).sum(1),
        ],
    },
    hints=[
        "A block must be loaded as soon as one of its activations is not 0. What about a shorter block at the end?",
        "Fill h != 0 up with False to a multiple of block, give the blocks an axis of their own, and ask any along it.",
        "torch.nn.functional.pad(h != 0, (0, -len(h) % block)).reshape(-1, block).any(dim=1)",
    ],
)
