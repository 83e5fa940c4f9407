"""Tests of 06_sparsity_and_kernels: two of every four neighbouring weights stay."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.exercises.engine import Mistake, close
from course_utils.exercises.mistakes import draw, recognise
from course_utils.sparsity import prune_2_4

FOURS = "Reshape to (out, in/4, 4), choose two in each four by their magnitude, and reshape back."
VALUES = "You keep the largest VALUES, so that a weight of -3 goes and one of 0.1 stays. It is the magnitude that counts: abs()."
AXIS_0 = (
    "The fours run down the columns (axis 0). They are neighbours along the LAST axis, within a row: (out, in/4, 4)."
)
GLOBAL = (
    "This is one threshold for the whole weight: half of the weights stay, but not two of EVERY four, and the hardware"
    f" needs exactly that. {FOURS}"
)
ROW_WISE = f"This is the larger half of each ROW: some fours keep three or four weights, others none. {FOURS}"
SMALLEST = "You keep the two SMALLEST magnitudes of each four: keep the largest ones."
ONE = "You keep one weight of each four (1:4): 2:4 keeps two."
THREE = "You keep three weights of each four: 2:4 keeps two."
STRIDED = (
    "Your fours are not neighbours: they are i, i + in/4, i + 2 in/4, ... A four is four CONSECUTIVE weights of a row:"
    " reshape(out, in/4, 4), with the 4 last."
)
PAIRS = "You keep the larger of every TWO: the two largest of four may lie side by side. Choose two out of each four."
MASK = "This is the mask: return the weights themselves, weight * mask."
SIGNLESS = "The signs are lost: abs() is for choosing only, what stays is the weight itself."
EMPTY = "Every weight became 0: of every four, two must stay."
NOTHING = "Nothing was pruned: of every four weights the two smallest magnitudes become 0."
FIRST_TWO = "You keep two fixed places of each four: which two stay is decided by their magnitudes."
TIES = (
    "Several magnitudes are equal here, and a four keeps more than two weights. A comparison with a threshold cannot"
    " decide between equals: choose by index, topk(2) or argsort, which give exactly two."
)
TIES_FEW = (
    "Several magnitudes are equal here, and a four keeps fewer than two weights. A strict comparison (>) with a threshold"
    " drops all the equals: choose by index, topk(2) or argsort, which give exactly two."
)
PACKED = "This has half of the columns, the packed form. Asked is the same shape as the weight, with zeros where it was pruned."
UNFOLDED = "The result is still in fours: reshape it back to the shape of the weight."


def _kept(weight: Tensor, score: Tensor, k: int, fours: bool = True) -> Tensor:
    """weight with the k highest scores of each four (or of each row) kept."""
    if fours:
        score = score.reshape(-1, 4)
    mask = torch.zeros_like(score).scatter(-1, score.topk(k, dim=-1).indices, 1.0)
    return weight * mask.reshape(weight.shape)


def _strided(weight: Tensor) -> Tensor:
    order = torch.arange(weight.shape[1]).reshape(4, -1).T.flatten()
    return prune_2_4(weight[:, order])[:, order.argsort()]


def _global(weight: Tensor) -> Tensor:
    return _kept(weight.reshape(1, -1), weight.abs().reshape(1, -1), weight.numel() // 2, fours=False).reshape(
        weight.shape
    )


MISTAKES = [
    (VALUES, lambda w: _kept(w, w, 2)),
    (VALUES.replace("largest", "smallest"), lambda w: _kept(w, -w, 2)),
    (AXIS_0, lambda w: prune_2_4(w.T.contiguous()).T),
    (GLOBAL, _global),
    (GLOBAL, lambda w: w * (w.abs() > w.abs().median())),
    (GLOBAL, lambda w: w * (w.abs() >= w.abs().mean())),
    (ROW_WISE, lambda w: _kept(w, w.abs(), w.shape[1] // 2, fours=False)),
    (ROW_WISE, lambda w: w * (w.abs() > w.abs().median(-1, keepdim=True).values)),
    (SMALLEST, lambda w: _kept(w, -w.abs(), 2)),
    (ONE, lambda w: _kept(w, w.abs(), 1)),
    (THREE, lambda w: _kept(w, w.abs(), 3)),
    (STRIDED, _strided),
    (PAIRS, lambda w: w * (w.abs().reshape(-1, 2) >= w.abs().reshape(-1, 2).amax(-1, keepdim=True)).reshape(w.shape)),
    (MASK, lambda w: (prune_2_4(w) != 0).float()),
    (MASK, lambda w: prune_2_4(w) != 0),
    (SIGNLESS, lambda w: prune_2_4(w).abs()),
    (EMPTY, torch.zeros_like),
    (NOTHING, lambda w: w),
    (FIRST_TWO, lambda w: w * torch.tensor([1.0, 1, 0, 0]).repeat(w.shape[1] // 4)),
    (FIRST_TWO, lambda w: w * torch.tensor([0.0, 0, 1, 1]).repeat(w.shape[1] // 4)),
    (FIRST_TWO, lambda w: w * torch.tensor([1.0, 0]).repeat(w.shape[1] // 2)),
]
CASES = [(draw(4, 12, seed=631),), (draw(8, 16, seed=632),)]


def _result(answer: Callable, weight: Tensor) -> Tensor:
    got = answer(weight)
    if isinstance(got, Tensor) and got.shape != weight.shape:
        if got.numel() == weight.numel() // 2:
            raise Mistake(PACKED)
        if got.numel() == weight.numel():
            raise Mistake(f"{UNFOLDED} (It has shape {tuple(got.shape)}, and should have {tuple(weight.shape)}.)")
    return got


def prune_random(answer: Callable) -> None:
    """random weights of both signs: in every four the two largest magnitudes stay, the others are 0"""
    for (weight,) in CASES:
        try:
            close(_result(answer, weight), prune_2_4(weight), what="your result")
        except Mistake as mistake:
            recognise(answer, CASES, MISTAKES)
            raise Mistake(
                str(mistake) if str(mistake).startswith((PACKED, UNFOLDED)) else f"{mistake} {FOURS}"
            ) from None


def prune_ties(answer: Callable) -> None:
    """equal magnitudes: exactly two of each four stay, whichever of the equals"""
    weight = torch.tensor([[1.0, -1, 1, 1, 3, 2, -2, 2], [2, 2, -2, -1, -1, 4, 1, 0.5]])
    got = _result(answer, weight)
    close(got if not isinstance(got, Tensor) else got.sort(-1).values * 0, weight * 0, what="your result")
    fours, mine = weight.reshape(-1, 4), got.detach().float().reshape(-1, 4)
    count = (mine != 0).sum(-1)
    if (count > 2).any():
        raise Mistake(TIES)
    if (count < 2).any():
        raise Mistake(TIES_FEW)
    largest = fours.abs().sort(-1, descending=True).values[:, :2]
    right = ((mine == 0) | (mine == fours)).all() and torch.equal(
        mine.abs().sort(-1, descending=True).values[:, :2], largest
    )
    if not right:
        raise Mistake(f"With equal magnitudes, your result keeps others than the two largest of each four. {FOURS}")


def prune_pruned(answer: Callable) -> None:
    """a weight that is 2:4 already stays as it is; and fours with one weight, or none, that is not 0"""
    weight = prune_2_4(draw(4, 8, seed=633))
    weight[0, :4], weight[1, 4:] = 0, torch.tensor([0, 0, -0.5, 0])
    close(_result(answer, weight), weight, what="what remains of a weight that is 2:4 sparse already")
