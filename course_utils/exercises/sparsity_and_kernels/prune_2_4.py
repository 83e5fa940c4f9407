"""Two of every four neighbouring weights stay."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, case, draw, one_row
from course_utils.sparsity import prune_2_4

FOURS = "Give the fours an axis of their own, choose two in each by their magnitude, and reshape back."
NEIGHBOURS = "A four is four consecutive weights of a row: (out, in/4, 4), with the 4 last."
BY_INDEX = "A comparison with a threshold cannot decide between equals: choose by index, as topk(2) and argsort do."

TIES = torch.tensor([[1.0, -1, 1, 1, 3, 2, -2, 2], [2, 2, -2, -1, -1, 4, 1, 0.5]])
PRUNED = prune_2_4(draw(4, 8, seed=633))
PRUNED[0, :4], PRUNED[1, 4:] = 0, torch.tensor([0, 0, -0.5, 0])


def _magnitudes(result: Any, weight: Tensor) -> Any:
    """A view for equal magnitudes: which of the equals stays does not matter."""
    if not isinstance(result, Tensor) or result.shape != weight.shape:
        return result
    return result.reshape(-1, 4).float().abs().sort(-1).values


def _kept(weight: Tensor, score: Tensor, k: int, group: int = 4) -> Tensor:
    """weight with the k highest scores of each group kept."""
    groups = score.reshape(-1, group)
    mask = torch.zeros_like(groups).scatter(-1, groups.topk(k, dim=-1).indices, 1.0)
    return weight * mask.reshape(weight.shape)


def _strided(weight: Tensor) -> Tensor:
    order = torch.arange(weight.shape[1]).reshape(4, -1).T.flatten()
    return prune_2_4(weight[:, order])[:, order.argsort()]


def _threshold(weight: Tensor, rank: int, or_equal: bool) -> Tensor:
    """Compare with the magnitude of this rank in each four."""
    fours = weight.reshape(-1, 4)
    limit = fours.abs().sort(-1, descending=True).values[:, rank : rank + 1]
    return (fours * (fours.abs() >= limit if or_equal else fours.abs() > limit)).reshape(weight.shape)


def _places(weight: Tensor, *places: int) -> Tensor:
    return weight * torch.tensor([float(i in places) for i in range(4)]).repeat(weight.shape[1] // 4)


def _explain(got: Any, expected: Any, weight: Tensor) -> str:
    if not isinstance(got, Tensor) or got.shape == expected.shape:
        return ""
    shapes = f"Your result has shape {tuple(got.shape)}, expected {tuple(weight.shape)}"
    if got.numel() == weight.numel() // 2:
        return f"{shapes}: this is the packed form, where zeros should stand at the pruned places."
    return f"{shapes}: is it still in fours?" if got.numel() == weight.numel() else ""


EXERCISE = Exercise(
    "sparsity_and_kernels.prune_2_4",
    reference=prune_2_4,
    what="your result",
    right="Each four decides for itself, by its magnitudes.",
    explain=_explain,
    cases=[
        case("weights of both signs", draw(4, 12, seed=631)),
        case("a larger weight", draw(8, 16, seed=632)),
        case("equal magnitudes: exactly two of each four stay, whichever of the equals", TIES, view=_magnitudes),
        case("a weight that is 2:4 already, with fours of one non-zero or none", PRUNED),
    ],
    corners=[one_row("weight")],
    mistakes={
        "The largest values are kept, so that a weight of -3 goes and one of 0.1 stays.\n"
        "It is the magnitude that counts: abs().": lambda w: _kept(w, w, 2),
        "The smallest values are kept, so that a weight of 3 goes and one of -0.1 stays.\n"
        "It is the magnitude that counts: abs().": lambda w: _kept(w, -w, 2),
        f"The fours run down the columns (axis 0).\n{NEIGHBOURS}": [
            lambda w: prune_2_4(w.T.contiguous()).T if len(w) % 4 == 0 else w,
            lambda w: prune_2_4(w.T.contiguous()).T,
        ],
        f"These fours are not neighbours, but i, i + in/4, i + 2 in/4, ...\n{NEIGHBOURS}": _strided,
        "This is one threshold for the whole weight: not two of every four stay, and the hardware needs that.\n"
        f"{FOURS}": [
            lambda w: _kept(w, w.abs(), w.numel() // 2, w.numel()),
            lambda w: w * (w.abs() > w.abs().median()),
            lambda w: w * (w.abs() >= w.abs().mean()),
        ],
        f"This is the larger half of each row: some fours keep three or four weights, others none.\n{FOURS}": [
            lambda w: _kept(w, w.abs(), w.shape[1] // 2, w.shape[1]),
            lambda w: w * (w.abs() > w.abs().median(-1, keepdim=True).values),
        ],
        "The larger of every two is kept: the two largest of four may lie side by side.\n"
        "Choose two out of each four.": lambda w: _kept(w, w.abs(), 1, 2),
        "The two smallest magnitudes of each four are kept.": lambda w: _kept(w, -w.abs(), 2),
        "One weight of each four is kept (1:4): 2:4 keeps two.": lambda w: _kept(w, w.abs(), 1),
        "Three weights of each four are kept: 2:4 keeps two.": lambda w: _kept(w, w.abs(), 3),
        f"A four keeps more than two weights here, because several magnitudes are equal.\n{BY_INDEX}": lambda w: (
            _threshold(w, 1, or_equal=True)
        ),
        f"A four keeps fewer than two weights here, because several magnitudes are equal.\n{BY_INDEX}": lambda w: (
            _threshold(w, 2, or_equal=False)
        ),
        "This is the mask.\nReturn the weights themselves, weight * mask.": [
            lambda w: (prune_2_4(w) != 0).float(),
            lambda w: prune_2_4(w) != 0,
        ],
        "The signs are lost.\nabs() is for choosing only, what stays is the weight itself.": lambda w: prune_2_4(
            w
        ).abs(),
        "Nothing was pruned.\nOf every four the two smallest magnitudes become 0.": lambda w: w,
        "The same two places of each four are kept.\nWhich two stay is decided by their magnitudes.": [
            lambda w: _places(w, 0, 1),
            lambda w: _places(w, 2, 3),
            lambda w: _places(w, 0, 2),
        ],
    },
    hints=[
        "Each four decides for itself. Give the fours an axis of their own, and choose along it.",
        "Reshape to (out, in/4, 4). The places of the two largest magnitudes: topk(2) of abs(). Make a mask from them "
        "by scatter: by index, so that of equals exactly two stay.",
        "fours = weight.reshape(len(weight), -1, 4); best = fours.abs().topk(2, dim=-1).indices; mask = "
        "torch.zeros_like(fours).scatter(-1, best, 1); (fours * mask).reshape(weight.shape)",
    ],
)
