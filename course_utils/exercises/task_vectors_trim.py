"""Tests of 04_task_vectors_and_merging: trimming, the largest entries of each task vector."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.exercises.engine import Mistake
from course_utils.exercises.mistakes import near
from course_utils.exercises.task_vectors_checks import Known, named, shaped, tried, vectors
from course_utils.merging.task_vectors import keep_count, trim

ALL_TASKS = (
    "You use one threshold for all tasks: then a model that moved far keeps nearly all its entries, and one that moved"
    " little loses nearly all. Each ROW has its own ceil(density * d) entries: topk(k, dim=-1)."
)
SMALLEST = "You keep the entries of SMALLEST magnitude: keep the largest, topk with largest=True, its default."
SIGNED = (
    "You compare signed values, so that a large negative entry counts as small. What counts is how far the weight"
    " moved, in either direction: choose by tau.abs(), and keep the values of tau."
)
SIGNED_LOW = (
    "You keep the most NEGATIVE entries: choose the largest magnitudes, tau.abs(), whatever the sign of the entry."
)
FEWER = (
    "You keep one entry too few where density * d is no whole number: ceil rounds UP, and int(), //, round() or"
    " torch.quantile do not. Use math.ceil(density * d): at least one entry of each task stays."
)
INVERTED = (
    "You return what trimming takes AWAY: the large entries became 0, and the small ones are left. Exchange the two."
)
DROP_RATE = (
    "You took density as the share to drop: density is the share that STAYS, so k = math.ceil(density * d) entries stay"
    " and d - k become 0."
)
PER_COLUMN = (
    "You choose within each column (dim 0), so that the TASKS compete at each coordinate. The entries of one task"
    " compete with each other: dim=-1."
)
ONE_MORE = (
    "You keep one entry too many in each row. A threshold with >= must be the k-th LARGEST magnitude:"
    " kthvalue(d - k) is the one below it, and sort(descending=True) has it at index k - 1."
)
STRICT = (
    "You keep one entry too few in each row: > leaves out the threshold itself, the k-th largest. Take the indices of"
    " topk(k) and no threshold."
)
TIES = (
    "You keep every entry that reaches the threshold, and here several are equal to it: that is more than"
    " ceil(density * d). Take the indices of topk(k), which are exactly k, and no threshold."
)
TIES_STRICT = (
    "You keep only what lies ABOVE the threshold, and here several entries are equal to it: that is fewer than"
    " ceil(density * d). Take the indices of topk(k), which are exactly k, and no threshold."
)
MASK = (
    "This is the mask, 1 where an entry stays. The entries themselves are asked: multiply the mask with tau, or use"
    " torch.where(mask, tau, 0)."
)
ABSOLUTE = "You return the magnitudes: they only decide WHICH entries stay, the signs of tau must come through."
SIGNS = "You return the signs of the kept entries: return the entries of tau themselves."
RESCALED = (
    "You scaled up what is left. Trimming leaves the kept entries as they are: it is DARE that divides by the share"
    " that stays."
)
UNION = (
    "An entry stays here if ANY task keeps that column: your indices of all rows were applied to every row (as"
    " result[:, indices] does). Each row has its own indices: scatter and gather along dim=-1."
)
SHARED = (
    "All tasks keep the same columns here, those of the largest total. Each row has its own largest entries:"
    " tau.abs().topk(k, dim=-1)."
)
SOFT = (
    "You subtracted the threshold from what is left (soft thresholding): the kept entries stay as they are, and only"
    " the others become 0."
)
FRONT = (
    "The kept values stand in the first k columns. Each must stay at its own place: zeros_like(tau).scatter(-1,"
    " indices, tau.gather(-1, indices))."
)
RELATIVE = (
    "You compare the magnitudes with density itself, or with that share of the largest one. density is a share of the"
    " NUMBER of entries: the ceil(density * d) largest stay, however large they are."
)
UNCHANGED = "Nothing was trimmed: all but the ceil(density * d) largest entries of each row become 0."
NOTHING = "Nothing is left: the ceil(density * d) largest entries of each row keep their values."
NOT_ZERO = "The other entries become 0, not inf or nan: nothing is exponentiated afterwards, only added."
VALUES = (
    "You return the k kept values alone: each must stay at its own coordinate, and the others become 0, so that the"
    " shape is still (n, d). scatter puts them back."
)
INDICES = (
    "You return the indices of the kept entries: the entries themselves are asked, at their own places, and 0 at all"
    " others. zeros_like(tau).scatter(-1, indices, tau.gather(-1, indices))."
)
NO_SHAPE = "The result has the shape of tau, (n, d): an entry stays as it is or becomes 0."
CLASH = (
    "The shapes do not line up: one threshold for each row needs the shape (n, 1), keepdim=True, to meet tau, (n, d)."
)
COMPLAINTS = [
    (r"must be int, not float|integer|'float' object", "k must be a whole number: math.ceil(density * d)."),
    (
        r"must be int, not Tensor|must be Tensor, not float",
        "density * d is a plain number: k = math.ceil(density * d).",
    ),
    (r"k(?: not|\) not| out)? ?(?:in|of) range|number k out", "k is at most d, the number of entries in ONE row."),
    (
        r"out of (?:bounds|range)",
        (
            "The indices of topk(k, dim=-1) count within each row: use them with gather and scatter along dim=-1, for"
            " tau[indices] would take whole rows."
        ),
    ),
]


def known(tau: Tensor, density: float) -> Known:
    """What misconceptions compute of tau (n, d)."""
    n, d = tau.shape
    k, size, right = keep_count(density, d), tau.abs(), trim(tau, density)
    stays = right != 0
    largest = size.topk(min(k + 1, d), -1).values  # (n, k + 1)
    shared = torch.zeros_like(tau).index_fill(-1, size.sum(0).topk(k).indices, 1.0)
    front = torch.cat([tau.gather(-1, size.topk(k, -1).indices), torch.zeros(n, d - k)], -1)
    total = size.sum(-1, keepdim=True) / right.abs().sum(-1, keepdim=True)
    return [
        (UNCHANGED, tau),
        (NOTHING, torch.zeros_like(tau)),
        (ALL_TASKS, tau * _top(size.reshape(1, -1), keep_count(density, n * d)).reshape(n, d)),
        (ALL_TASKS, tau * _top(size.reshape(1, -1), k).reshape(n, d)),
        (SMALLEST, tau * _top(-size, k)),
        (SIGNED, tau * _top(tau, k)),
        (SIGNED_LOW, tau * _top(-tau, k)),
        (FEWER, tau * _top(size, math.floor(density * d))),
        (FEWER, tau * _top(size, max(1, math.floor(density * d)))),
        (FEWER, tau * _top(size, 1 + math.floor(density * (d - 1)))),  # torch.quantile
        (INVERTED, tau - right),
        (DROP_RATE, tau * _top(size, keep_count(1 - density, d))),
        (DROP_RATE, tau * _top(size, d - k)),
        (PER_COLUMN, tau * _top(size.T, keep_count(density, n)).T),
        (PER_COLUMN, tau * _top(size.T, min(k, n)).T),
        (ONE_MORE, tau * _top(size, k + 1)),
        (STRICT, tau * _top(size, k - 1)),
        (MASK, stays.double()),
        (ABSOLUTE, right.abs()),
        (SIGNS, right.sign()),
        (RESCALED, right / density),
        (RESCALED, right * d / k),
        (RESCALED, right * total),
        (UNION, tau * stays.any(0)),
        (SHARED, tau * shared),
        (SOFT, right.sign() * (right.abs() - largest[:, k - 1 : k]).clamp(min=0)),
        (SOFT, right.sign() * (right.abs() - largest[:, -1:]).clamp(min=0)),
        (FRONT, front),
        (FRONT, front.abs()),
        (RELATIVE, tau * (size >= density * size.amax(-1, keepdim=True))),
        (RELATIVE, tau * (size >= density * size.amax())),
        (RELATIVE, tau * (size >= density)),
    ]


def _top(score: Tensor, k: int) -> Tensor:
    """A mask (n, d) of the k highest scores in each row."""
    k = min(max(k, 0), score.shape[-1])
    return torch.zeros_like(score).scatter(-1, score.topk(k, -1).indices, 1.0)


def _check(answer: Callable, *inputs: tuple[Tensor, float]) -> None:
    results = [_trimmed(answer, tau, density) for tau, density in inputs]
    if all(_right(got, tau, density) for got, (tau, density) in zip(results, inputs)):
        return
    rights = [trim(tau, density) for tau, density in inputs]
    for got in results:
        if not got.isfinite().all():
            raise Mistake(NOT_ZERO)
    if hint := named(results, rights, [known(tau, density) for tau, density in inputs]):
        raise Mistake(hint)
    for got, (tau, density) in zip(results, inputs):
        if not _right(got, tau, density):
            raise Mistake(_where(got, tau, density))


def _trimmed(answer: Callable, tau: Tensor, density: float) -> Tensor:
    got, d = tried(answer, tau, density, clash=CLASH, complaints=COMPLAINTS), tau.shape[-1]
    if isinstance(got, Tensor) and got.dtype == torch.bool:
        raise Mistake(MASK)
    whole = isinstance(got, Tensor) and not got.is_floating_point()
    told = {(len(tau), k): INDICES if whole else VALUES for k in range(d)}
    return shaped(got, tau, told, NO_SHAPE, "the trimmed tau")


def _right(got: Tensor, tau: Tensor, density: float) -> bool:
    """Entries of tau, as many and as large as they must be; of equal ones any may stay."""
    in_place = near(got, torch.where(got == 0, 0.0, tau.double()))
    return in_place and near(got.abs().sort(-1).values, trim(tau, density).abs().sort(-1).values)


def _where(got: Tensor, tau: Tensor, density: float) -> str:
    """The first row that is wrong, and why. Entries of 0 are never there by choice."""
    d, k = tau.shape[-1], keep_count(density, tau.shape[-1])
    row = next(i for i in range(len(tau)) if not _right(got[i : i + 1], tau[i : i + 1], density))
    mine, entries = got[row], tau[row].double()
    stays, expected = mine != 0, min(k, int((entries != 0).sum()))
    changed = stays & ~torch.isclose(mine, entries, atol=1e-5, rtol=1e-4)
    if changed.any():
        place = int(changed.nonzero()[0])
        return (
            f"Index [{row}, {place}] is {mine[place].item():.4g}, and tau has {entries[place].item():.4g} there: an"
            " entry stays as it is or becomes 0."
        )
    if stays.sum() != expected:
        rounded = f" {FEWER}" if stays.sum() == math.floor(density * d) < k else ""
        return (
            f"Row {row} keeps {int(stays.sum())} of its {d} entries, expected {expected}: with density = {density:g} it"
            f" is ceil({density:g} * {d}) = {k}, the same number in every row.{rounded}"
        )
    lost, kept = entries.abs().where(~stays, -1.0).argmax(), entries.abs().where(stays, torch.inf).argmin()
    return (
        f"Row {row} keeps {entries[kept].item():.4g} at index {int(kept)} and drops {entries[lost].item():.4g} at index"
        f" {int(lost)}: the larger magnitude stays."
    )


def scaled(n: int, d: int, seed: int) -> Tensor:
    """Task vectors of very different sizes: the last model moved sixteen times as far as the first one."""
    return vectors(n, d, seed) * torch.logspace(-1, 3, n, base=2.0).unsqueeze(-1)


TIED = torch.tensor(
    [
        [2.0, -2.0, 0.5, 2.0, 3.0, -2.0, 1.0, 2.0],
        [-1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0],
        [0.0, 0.0, 4.0, 0.0, 0.0, -4.0, 4.0, 0.0],
    ]
)


def trim_rows(answer: Callable) -> None:
    """five tasks of 12 entries, one of which moved much further than another; density 0.25 keeps 3 in each row"""
    _check(answer, (scaled(5, 12, seed=401), 0.25))


def trim_ceil(answer: Callable) -> None:
    """density * d is 2.25, 5.25 and 0.09, which keeps 3, 6 and 1 entries of each row"""
    _check(answer, (scaled(3, 9, seed=402), 0.25), (scaled(2, 7, seed=403), 0.75), (scaled(3, 9, seed=402), 0.01))


def trim_square(answer: Callable) -> None:
    """as many tasks as entries; one task alone; density 1 keeps all"""
    _check(answer, (scaled(6, 6, seed=404), 0.5))
    _check(answer, (vectors(1, 8, seed=405), 0.375))
    _check(answer, (scaled(2, 5, seed=406), 1.0))


def trim_ties(answer: Callable) -> None:
    """several entries of one magnitude: still exactly ceil(density * d) stay, any of the equal ones"""
    right, size = trim(TIED[:2], 0.25), TIED[:2].abs()
    got = _trimmed(answer, TIED[:2], 0.25)
    threshold = right.abs().where(right != 0, torch.inf).amin(-1, keepdim=True)
    if not _right(got, TIED[:2], 0.25):
        for hint, stays in ((TIES, size >= threshold), (TIES_STRICT, size > threshold)):
            if near(got, TIED[:2] * stays):
                raise Mistake(hint)
    _check(answer, (TIED[:2], 0.25))


def trim_zeros(answer: Callable) -> None:
    """a task that hardly moved: most of its entries are 0, or all of them"""
    _check(answer, (TIED, 0.5))
    _check(answer, (torch.stack([torch.zeros(6), vectors(1, 6, seed=407)[0]]), 0.5))
