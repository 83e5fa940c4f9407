"""Trimming: the largest entries of each task vector."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.exercises.engine import Exercise, anywhere, case, draw, one_row
from course_utils.merging.task_vectors import keep_count, trim


def _scaled(n: int, d: int, seed: int) -> Tensor:
    """Task vectors of very different sizes: the last model moved sixteen times as far as the first one."""
    return draw(n, d, seed=seed) * torch.logspace(-1, 3, n, base=2.0).unsqueeze(-1)


TIED = torch.tensor([[2, -2, 0.5, 2, 3, -2, 1, 2], [-1, 1] * 4, [0, 0, 4, 0, 0, -4, 4, 0]])


def _magnitudes(result: Any, *_: Any) -> Any:
    """Sorted: of entries that are equal at the threshold any may stay."""
    return result.double().abs().sort(-1).values if isinstance(result, Tensor) else result


def _k(x: Tensor, r: float) -> int:
    return keep_count(r, x.shape[-1])


def _top(score: Tensor, k: int) -> Tensor:
    """A mask (n, d) of the k highest scores in each row."""
    return torch.zeros_like(score).scatter(-1, score.topk(min(max(k, 0), score.shape[-1]), -1).indices, 1.0)


def _nth(x: Tensor, place: int) -> Tensor:
    """The magnitude at this place in each row, (n, 1): 1 is the largest, d + 1 is below all."""
    ordered = torch.cat([x.abs().sort(-1, descending=True).values, -torch.ones_like(x[:, :1])], -1)
    return ordered[:, place - 1, None]


def _count(k: Callable[[int, int, float], int]) -> list[Callable]:
    """Another number of entries, k(n, d, density), by indices and by a threshold."""
    by_threshold = lambda x, r: x * (x.abs() >= _nth(x, k(*x.shape, r)))  # noqa: E731
    return [lambda x, r: x * _top(x.abs(), k(*x.shape, r)), by_threshold]


def _explain(got: Any, expected: Tensor, tau: Tensor, density: float) -> str:
    """The first row that is wrong, and why."""
    if not isinstance(got, Tensor) or got.shape != tau.shape:
        return ""
    for row, (mine, entries, right) in enumerate(zip(got.double(), tau.double(), expected.double(), strict=True)):
        stays, n_right = mine != 0, int((right != 0).sum())
        changed = stays & ~torch.isclose(mine, entries, atol=1e-5, rtol=1e-4)
        if stays.sum() != n_right:
            said = f"Row {row} keeps {int(stays.sum())} of its {len(entries)} entries, expected {n_right}"
            return f"{said}: ceil({density:g} * {len(entries)}), the same number in every row."
        if torch.equal(right, entries.where(right != 0, 0.0)) and changed.any():  # in place: not sorted magnitudes
            found, was = mine[changed][0].item(), entries[changed][0].item()
            return f"Row {row} has {found:.4g} where tau has {was:.4g}: an entry stays as it is or becomes 0."
        if not torch.isclose(mine, right).all():
            return f"Row {row} drops an entry that is larger than one that stays: the larger magnitude stays."
    return ""


EXERCISE = Exercise(
    "task_vectors_and_merging.trim",
    reference=trim,
    what="the trimmed tau",
    cases=[
        case("five tasks, one of which moved much further than another", _scaled(5, 12, seed=401), 0.25),
        case("density * d is 5.25, which keeps 6 entries of each row", _scaled(3, 7, seed=403), 0.75),
        case("density * d is far below 1, which keeps 1 entry of each row", _scaled(3, 9, seed=402), 0.01),
        case("as many tasks as entries", _scaled(6, 6, seed=404), 0.5),
        case("density 1 keeps all", _scaled(2, 5, seed=406), 1.0),
        case("equal magnitudes, and many zeros: as many stay, any of the equal ones", TIED, 0.25, view=_magnitudes),
    ],
    corners=[one_row("tau")],
    mistakes={
        "There is one threshold for all tasks: one that moved far keeps nearly all, one that moved little nothing.\n"
        "Each row has its own ceil(density * d) entries.": [
            lambda x, r: trim(x.reshape(1, -1), r).reshape(x.shape),
            lambda x, r: x * _top(x.abs().reshape(1, -1), _k(x, r)).reshape(x.shape),
            lambda x, r: x * (x.abs() >= x.abs().flatten().topk(keep_count(r, x.numel())).values.min()),
            lambda x, r: x * (x.abs() >= x.abs().quantile(1 - r)),
        ],
        "These are the entries of smallest magnitude.": lambda x, r: x * _top(-x.abs(), _k(x, r)),
        "Signed values were compared: what counts is how far the weight moved, in either direction.\n"
        "Choose by magnitude.": [
            lambda x, r: x * _top(x, _k(x, r)),
            lambda x, r: x * (x >= x.topk(_k(x, r)).values[:, -1:]),
            lambda x, r: x * _top(-x, _k(x, r)),
        ],
        "One entry too few stays where density * d is no whole number: int(), round() and quantile are too low.\n"
        "ceil does, and leaves at least one.": [
            *_count(lambda n, d, r: math.floor(r * d)),
            *_count(lambda n, d, r: max(1, math.floor(r * d))),
            lambda x, r: x * (x.abs() >= x.abs().quantile(1 - r, dim=-1, keepdim=True)),
        ],
        "This is what trimming takes away: the small entries are left.": lambda x, r: x - trim(x, r),
        "density was taken as the share to drop: it is the share that stays.": [
            *_count(lambda n, d, r: math.ceil((1 - r) * d)),
            *_count(lambda n, d, r: d - keep_count(r, d)),
        ],
        "n, the number of tasks, was taken for d.": _count(lambda n, d, r: keep_count(r, n)),
        "The entries of one column (dim 0) compete: those of one task compete with each other.": [
            lambda x, r: x * _top(x.abs().T, keep_count(r, len(x))).T,
            lambda x, r: x * _top(x.abs().T, _k(x, r)).T,
        ],
        "One entry too many stays in each row, as with kthvalue(d - k) or index k of sorted magnitudes.\n"
        "A threshold with >= is the k-th largest magnitude.": [
            lambda x, r: x * (x.abs() >= _nth(x, min(x.shape[-1], int(r * x.shape[-1]) + 1))),
            lambda x, r: x * (x.abs() >= _nth(x, min(x.shape[-1], _k(x, r) + 1))),
        ],
        "One entry too few stays in each row, as if > left out the threshold itself, the k-th largest.\n"
        "Take the indices of topk and no threshold.": lambda x, r: x * (x.abs() > _nth(x, _k(x, r))),
        "Where several entries are equal to the threshold all of them stay or none: topk(k) gives exactly k.": [
            lambda x, r: x * (x.abs() >= _nth(x, _k(x, r))),
            lambda x, r: x * (x.abs() > _nth(x, _k(x, r) + 1)),
        ],
        "This is the mask, 1 where an entry stays.\nThe entries themselves are asked for: multiply it with tau.": [
            lambda x, r: trim(x, r) != 0,
            lambda x, r: (trim(x, r) != 0).double(),
        ],
        "These are the magnitudes, or the signs: the entries themselves stay.": [
            lambda x, r: trim(x, r).abs(),
            lambda x, r: trim(x, r).sign(),
        ],
        "What is left was scaled up: it is DARE that divides by the share that stays.": lambda x, r: trim(x, r) / r,
        "All tasks keep the same columns here: each row has its own largest entries, at its own indices.": [
            lambda x, r: x * _top(x.abs(), _k(x, r)).any(0),
            lambda x, r: x * _top(x.abs().sum(0, True), _k(x, r)),
        ],
        "The magnitudes were compared with density: it is a share of the number of entries, however large.": [
            lambda x, r: x * (x.abs() >= r * x.abs().amax(-1, keepdim=True)),
            lambda x, r: x * (x.abs() >= r * x.abs().amax()),
            lambda x, r: x * (x.abs() >= r),
        ],
        "Nothing was trimmed.": lambda x, r: x,
        "Nothing is left: the ceil(density * d) largest entries of each row stay.": lambda x, r: 0 * x,
        "The kept values are alone, or in the first columns: each must stay at its own place, among zeros.\n"
        "scatter puts values at their places.": [
            anywhere(lambda x, r: x.gather(-1, x.abs().topk(_k(x, r), -1).indices)),
            anywhere(lambda x, r: x.abs().topk(_k(x, r), -1).values),
            anywhere(lambda x, r: trim(x, r) * 0 + F.pad(x.abs().topk(_k(x, r)).values, (0, x.shape[-1] - _k(x, r)))),
        ],
        "These are the indices of the kept entries, instead of the entries.": anywhere(
            lambda x, r: x.abs().topk(_k(x, r)).indices
        ),
    },
    explain=_explain,
    errors={
        "shapes": "The shapes do not line up: one threshold for each row needs the shape (n, 1) to meet tau, (n, d).",
        r"must be int, not float|integer|'float' object": "k must be a whole number.",
        r"must be int, not Tensor|must be Tensor, not float": "density * d is a number, and torch.ceil takes tensors.",
        r"k(?: not|\) not| out)? ?(?:in|of) range|number k out": "k is at most d, the number of entries in one row.",
        r"out of (?:bounds|range)": "The indices of topk count within each row, and tau[indices] takes whole rows.",
    },
    hints=[
        "Which entries of a task vector matter most, and does their sign have a say in that? With whom does an entry "
        "compete: with all tasks, or with its own row?",
        "k = math.ceil(round(density * d, 6)). topk(k, dim=-1) of the magnitudes gives k indices for each row. The "
        "entries of tau at these indices go back to their own places, into zeros.",
        "kept = tau.abs().topk(k, dim=-1).indices; torch.zeros_like(tau).scatter(-1, kept, tau.gather(-1, kept))",
    ],
)
