"""Mask-Predict: which positions are masked again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, alike, case, one_row
from course_utils.exercises.refinement_and_diffusion import uniform
from course_utils.refinement import remask

CHOOSE = "In each row the n = floor(N (T - t) / T) lowest are masked, at least one."
CLASH = "The shapes do not line up: probabilities is (B, N), a threshold for each row (B, 1), n one number for all."
TIES = (
    "Several probabilities are equal here, and a row masks {} positions instead of {}.\nComparing with a value cannot "
    "decide between equals: choose by place, with argsort."
)
NUMBERS = "Your mask is made of {}.\nReturn bool, the comparison itself (or .bool()), so that it can select positions."
PLACES = "These are the places of the n lowest.\nReturn (B, N), True there: scatter True into zeros of dtype bool."
VALUES = "These are the n lowest probabilities themselves.\nReturn where they are: (B, N), True at their places."
FILLED = "You return probabilities.\nThe result says where they are lowest: (B, N) bool, True where masked."
FIRST_ROW = "All rows get the same positions.\nEach text has probabilities of its own, and its own n lowest."


def _mask(p: Tensor, n: int, dim: int = 1) -> Tensor:
    """True at the n lowest along dim."""
    return p.argsort(dim=dim, stable=True).argsort(dim=dim) < n


def _n(p: Tensor, t: int, T: int) -> int:
    return max(1, p.shape[1] * (T - t) // T)


def _flat(p: Tensor, n: int) -> Tensor:
    return _mask(p.reshape(1, -1), n).reshape(p.shape)


def _equal(got: Any, p: Tensor, t: int, T: int) -> bool:
    """As many in each row, and the lowest: of equal probabilities any may be masked."""
    if not isinstance(got, Tensor) or got.shape != p.shape or got.dtype != torch.bool:
        return False
    mine, right = (p.masked_fill(~mask, 2.0).sort(1).values for mask in (got, remask(p, t, T)))
    return alike(mine, right)


def _what_is_wrong(got: Any, expected: Tensor, p: Tensor, t: int, T: int) -> str:
    """What the result tells by itself."""
    n = int(expected[0].sum())
    if not isinstance(got, Tensor) or got.is_complex():
        return ""
    if got.shape != p.shape:
        if got.shape == p.shape[1:]:
            return FIRST_ROW
        return (VALUES if got.is_floating_point() else PLACES) if got.shape == (len(p), n) else ""
    if got.dtype != torch.bool:
        if ((got == 0) | (got == 1)).all():
            return NUMBERS.format(f"numbers, {got.dtype}")
        return FILLED if ((got == p) | (got == 0) | (got == 1) | got.isinf()).all() else ""
    wrong = next((int(count) for count in got.sum(1) if count != n), None)
    ties = len(p[0].unique()) < p.shape[1]
    return TIES.format(wrong, n) if wrong is not None and ties else ""


TIED = torch.tensor(
    [[0.5, 0.5, 0.5, 0.5, 0.9], [0.2, 0.2, 0.2, 0.2, 0.2], [0.1, 0.3, 0.3, 0.3, 0.2], [0.9, 0.0, 1.0, 0.0, 0.0]]
)

EXERCISE = Exercise(
    "refinement_and_diffusion.remask",
    reference=remask,
    what="your result",
    right=CHOOSE,
    errors={
        r"must be int|slice indices|'float' object cannot be|out of range \(expected|selected index k": (
            "n must be a whole number from 1 to N: N * (T - t) // T, where / would give a float."
        ),
        "shapes": CLASH,
    },
    equal=_equal,
    explain=_what_is_wrong,
    cases=[
        case("7 of 12 positions", uniform(4, 12, seed=1012), 2, 5),
        case("2 of 10", uniform(3, 10, seed=1010), 8, 10),
        case("3 of 5, in as many texts", uniform(5, 5, seed=1005), 1, 4),
        case("2 of 12", uniform(2, 12, seed=1012), 4, 5),
        case("at least one of 3", uniform(2, 3, seed=1003), 9, 10),
        *[case("equal probabilities: exactly n of each row are masked", TIED, t, 5, names=False) for t in (2, 3, 4)],
        case("texts of a single token", uniform(3, 1, seed=1016), 2, 4),
    ],
    corners=[one_row("probabilities")],
    mistakes={
        "You mask the highest probabilities, the tokens that the model is sure of: it is the doubtful ones that "
        "are predicted again.": lambda p, t, T: _mask(-p, _n(p, t, T)),
        "Your True are the positions that are kept: True should stand where a token is masked again.": lambda p, t, T: (
            ~_mask(p, _n(p, t, T))
        ),
        "Your count is floor(N t / T), more and more with every iteration.\nIt is the rest, N (T - t) / T.": [
            *[lambda p, t, T: _mask(p, max(1, p.shape[1] * t // T)), lambda p, t, T: _mask(p, p.shape[1] * t // T)],
        ],
        "Your count is rounded up: n is the floor of N (T - t) / T.": lambda p, t, T: _mask(
            p, -(-p.shape[1] * (T - t) // T)
        ),
        "Your count is rounded to the nearest whole number: n is the floor of N (T - t) / T.": [
            lambda p, t, T: _mask(p, max(1, round(p.shape[1] * (T - t) / T)))
        ],
        "Where N (T - t) / T is below 1 you mask nothing: at least one position is masked, or this iteration would"
        " do nothing.": lambda p, t, T: _mask(p, p.shape[1] * (T - t) // T),
        "Your count is one too few where 1 - t/T is rounded: 10 * (1 - 8/10) is 1.9999999999999996 in floating "
        "point, and its floor is 1.\n"
        "Count in whole numbers: N * (T - t) // T.": [
            lambda p, t, T: _mask(p, max(1, int(p.shape[1] * (1 - t / T)))),
            lambda p, t, T: _mask(p, int(p.shape[1] * (1 - t / T))),
        ],
        "The lowest of the whole batch are masked, so that some rows lose more and some fewer.\n"
        "Each row masks its own n lowest.": [
            lambda p, t, T: _flat(p, len(p) * _n(p, t, T)),
            lambda p, t, T: _flat(p, max(1, p.numel() * (T - t) // T)),
            lambda p, t, T: _flat(p, _n(p, t, T)),
        ],
        "Every row is masked at the places of all rows.\nAn index mask[:, places] takes the places in each row.": (
            lambda p, t, T: _mask(p, _n(p, t, T)).any(0).expand_as(p)
        ),
        "The lowest of each column are masked (dim 0).\nEach row, a text, masks n of its N positions: dim=1.": [
            lambda p, t, T: _mask(p, _n(p, t, T), dim=0),
            lambda p, t, T: _mask(p, max(1, len(p) * (T - t) // T), dim=0),
        ],
        "Your count is not made of the length of a row: N is probabilities.shape[1], not the number of texts, nor "
        "that of all entries.": [
            lambda p, t, T: _mask(p, max(1, len(p) * (T - t) // T)),
            lambda p, t, T: _mask(p, max(1, p.numel() * (T - t) // T)),
        ],
        "A quantile is a number between two entries, and how many lie below it need not be n.\n"
        "Choose exactly n by their order, argsort.": [
            lambda p, t, T: p <= p.quantile((T - t) / T, dim=1, keepdim=True),
            lambda p, t, T: p < p.quantile((T - t) / T, dim=1, keepdim=True),
        ],
        "argsort gives the places in sorted order, not the rank of each position.\n"
        "Sort twice (argsort().argsort()), or scatter True at its first n.": [
            lambda p, t, T: p.argsort(1) < _n(p, t, T),
            lambda p, t, T: p.argsort(1, descending=True) < _n(p, t, T),
        ],
        "You mask n fixed places of each row: which ones is decided by their probabilities.": [
            lambda p, t, T: (torch.arange(p.shape[1]) < _n(p, t, T)).expand_as(p)
        ],
        "Your count is not a share of the length N as it should be, or is the same in every iteration.\n"
        "It is N (T - t) / T, and falls with t.": [
            *[lambda p, t, T: _mask(p, T - t), lambda p, t, T: _mask(p, max(1, p.shape[1] // T))],
        ],
        "Your count is that of the iteration before or after.\nWith t = 1, N (T - 1) / T positions are masked.": [
            lambda p, t, T: _mask(p, max(1, p.shape[1] * (T - t + 1) // T)),
            lambda p, t, T: _mask(p, max(1, p.shape[1] * (T - t - 1) // T)),
        ],
        "You mask only the single lowest position of each row: n of them, many at first.": lambda p, t, T: _mask(p, 1),
        "How many are masked is left to chance, as if the probabilities were compared with a fixed number.\n"
        "Choose exactly n by their order.": [
            *[lambda p, t, T: p < (T - t) / T, lambda p, t, T: p < t / T, lambda p, t, T: p < 0.5],
            lambda p, t, T: p < p.mean(1, keepdim=True),
        ],
        FIRST_ROW: [
            lambda p, t, T: _mask(p, _n(p, t, T))[:1].expand_as(p),
            lambda p, t, T: _mask(p.mean(0, keepdim=True), _n(p, t, T)).expand_as(p),
        ],
        "Everything is masked, and all that was found is thrown away.\nOnly n positions are masked.": lambda p, t, T: (
            p < 2
        ),
        "You mask n + 1 in each row, one too many.\nThe n-th lowest has the index n - 1 of the sorted row.": (
            lambda p, t, T: _mask(p, _n(p, t, T) + 1)
        ),
        "You mask n - 1 in each row, one too few: < drops the n-th lowest itself, <= does not.": lambda p, t, T: _mask(
            p, _n(p, t, T) - 1
        ),
    },
    hints=[
        "Two questions: how many positions (one number for all rows), and which ones (a choice in each row, by order)?",
        "n = max(1, N * (T - t) // T), in whole numbers. argsort(dim=1) gives the places of a row from the lowest"
        " to the highest: the first n of them are masked. Put True there, with scatter, into zeros of dtype bool.",
        "n = max(1, probabilities.shape[1] * (T - t) // T); places = probabilities.argsort(dim=1)[:, :n]; "
        "torch.zeros_like(probabilities, dtype=torch.bool).scatter(1, places, True)",
    ],
)
