"""Tests of 10_refinement_and_diffusion: which positions Mask-Predict masks again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import Mistake, close
from course_utils.exercises.mistakes import alike
from course_utils.exercises.refinement_and_diffusion_checks import compare, uniform
from course_utils.exercises.task_vectors_checks import tried
from course_utils.refinement import remask

CHOOSE = "In each row the n = max(1, N * (T - t) // T) lowest are masked: their places are probabilities.argsort(dim=1)[:, :n]."
HIGHEST = "You mask the HIGHEST probabilities, the tokens that the model is sure of: it is the doubtful ones that are predicted again."
INVERTED = "Your True are the positions that are KEPT: True should stand where a token is masked again."
SHARE = "You mask floor(N t / T), more and more with every iteration. It is the rest, N (T - t) / T: many at first, few at the end."
CEIL = "Your count is rounded UP: n is the floor of N (T - t) / T."
ROUND = "Your count is rounded to the NEAREST whole number: n is the floor of N (T - t) / T."
NONE_LEFT = "Where N (T - t) / T is below 1 you mask nothing: at least one position is masked, or this iteration would do nothing."
FLOATS = (
    "Your count is one too few where 1 - t/T is rounded: 10 * (1 - 8/10) is 1.9999999999999996 in floating point, and its floor is"
    " 1. Count in whole numbers: N * (T - t) // T."
)
BATCH = "You choose among all positions of the batch at once, so that some rows lose more and some fewer: each ROW masks its own n lowest."
COLUMNS = "You choose among the rows (dim 0): each row, a text, masks n of its N positions. Take dim=1."
RANK = (
    "argsort gives the PLACES in sorted order, not the rank of each position. Sort twice (argsort().argsort()), or scatter True at"
    " its first n."
)
FIXED = "You mask n fixed places of each row: which ones is decided by their probabilities."
OTHER_N = "Your count is not made of the length of a row: N is probabilities.shape[1], not the number of texts, nor that of all entries."
QUANTILE = "A quantile is a number between two entries, and how many lie below it need not be n: choose exactly n by their order, argsort."
NO_LENGTH = "Your count does not depend on the length N as it should: it is a share (T - t) / T of the N positions."
STEADY = "Your count is the same in every iteration: it falls with t, N (T - t) / T."
SHIFTED = "Your count is that of the iteration {}: with t = 1 there are N (T - 1) / T positions masked."
LOWEST = "You mask only the single lowest position of each row: n of them, many at first."
THRESHOLD = "You compare the probabilities with a fixed number, so the count is left to chance: choose exactly n by their order."
FIRST_ROW = "All rows get the same positions: each text has probabilities of its own, and its own n lowest."
ALL = "You mask everything: then all that was found so far is thrown away. Only n positions are masked, the others keep their tokens."
ONE_MORE = "You mask n + 1 in each row, one too many: the n-th lowest has the index n - 1 of the sorted row."
ONE_LESS = "You mask n - 1 in each row, one too few: < drops the n-th lowest itself, <= does not."
TIES = (
    "Several probabilities are equal here, and a row masks {} positions instead of {}. A comparison with the n-th value cannot decide"
    " between equals: choose by place, argsort(dim=1)[:, :n], which gives exactly n."
)
NUMBERS = "Your mask is made of {}: return bool, the comparison itself (or .bool()), so that it can select positions."
PLACES = "These are the PLACES of the n lowest. Asked is (B, N), True at these places: zeros of dtype bool, then scatter(1, places, True)."
VALUES = "These are the n lowest probabilities themselves. Asked is where they are: (B, N), True at their places."
FILLED = "You return probabilities. Asked is where they are lowest: (B, N) bool, True where masked."
CLASH = "The shapes do not line up: probabilities is (B, N), a threshold for each row must be (B, 1), n is one number for all rows."
DTYPE_TROUBLE = [
    (
        r"slice indices must be|must be int|'float' object cannot be interpreted|out of range \(expected|selected index k",
        "n must be a whole number from 1 to N: N * (T - t) // T, where / would give a float.",
    ),
]


def _mask(p: Tensor, n: int, dim: int = 1) -> Tensor:
    """True at the n lowest along dim."""
    return p.argsort(dim=dim, stable=True).argsort(dim=dim) < n


def _n(p: Tensor, t: int, T: int) -> int:
    return max(1, p.shape[1] * (T - t) // T)


def _flat(p: Tensor, n: int) -> Tensor:
    return _mask(p.reshape(1, -1), n).reshape(p.shape)


MISTAKES = [
    (HIGHEST, lambda p, t, T: _mask(-p, _n(p, t, T))),
    (INVERTED, lambda p, t, T: ~_mask(p, _n(p, t, T))),
    (SHARE, lambda p, t, T: _mask(p, max(1, p.shape[1] * t // T))),
    (SHARE, lambda p, t, T: _mask(p, p.shape[1] * t // T)),
    (CEIL, lambda p, t, T: _mask(p, -(-p.shape[1] * (T - t) // T))),
    (ROUND, lambda p, t, T: _mask(p, max(1, round(p.shape[1] * (T - t) / T)))),
    (ROUND, lambda p, t, T: _mask(p, round(p.shape[1] * (T - t) / T))),
    (NONE_LEFT, lambda p, t, T: _mask(p, p.shape[1] * (T - t) // T)),
    (FLOATS, lambda p, t, T: _mask(p, max(1, int(p.shape[1] * (1 - t / T))))),
    (FLOATS, lambda p, t, T: _mask(p, int(p.shape[1] * (1 - t / T)))),
    (BATCH, lambda p, t, T: _flat(p, len(p) * _n(p, t, T))),
    (BATCH, lambda p, t, T: _flat(p, max(1, p.numel() * (T - t) // T))),
    (BATCH, lambda p, t, T: _flat(p, p.numel() * (T - t) // T)),
    (BATCH, lambda p, t, T: _flat(p, _n(p, t, T))),
    (BATCH, lambda p, t, T: p <= p.flatten().sort().values[_n(p, t, T) - 1]),
    (COLUMNS, lambda p, t, T: _mask(p, _n(p, t, T), dim=0)),
    (COLUMNS, lambda p, t, T: _mask(p, max(1, len(p) * (T - t) // T), dim=0)),
    (OTHER_N, lambda p, t, T: _mask(p, max(1, len(p) * (T - t) // T))),
    (OTHER_N, lambda p, t, T: _mask(p, max(1, p.numel() * (T - t) // T))),
    (QUANTILE, lambda p, t, T: p <= p.quantile((T - t) / T, dim=1, keepdim=True)),
    (QUANTILE, lambda p, t, T: p < p.quantile((T - t) / T, dim=1, keepdim=True)),
    (RANK, lambda p, t, T: p.argsort(1) < _n(p, t, T)),
    (RANK, lambda p, t, T: p.argsort(1, descending=True) < _n(p, t, T)),
    (FIXED, lambda p, t, T: (torch.arange(p.shape[1]) < _n(p, t, T)).expand_as(p)),
    (FIXED, lambda p, t, T: (torch.arange(p.shape[1]) >= p.shape[1] - _n(p, t, T)).expand_as(p)),
    (NO_LENGTH, lambda p, t, T: _mask(p, T - t)),
    (STEADY, lambda p, t, T: _mask(p, max(1, p.shape[1] // T))),
    (STEADY, lambda p, t, T: _mask(p, p.shape[1] // T)),
    (SHIFTED.format("before"), lambda p, t, T: _mask(p, max(1, p.shape[1] * (T - t + 1) // T))),
    (SHIFTED.format("after"), lambda p, t, T: _mask(p, max(1, p.shape[1] * (T - t - 1) // T))),
    (SHIFTED.format("after"), lambda p, t, T: _mask(p, p.shape[1] * (T - t - 1) // T)),
    (LOWEST, lambda p, t, T: _mask(p, 1)),
    (THRESHOLD, lambda p, t, T: p < (T - t) / T),
    (THRESHOLD, lambda p, t, T: p < t / T),
    (THRESHOLD, lambda p, t, T: p < 0.5),
    (THRESHOLD, lambda p, t, T: p < p.mean(1, keepdim=True)),
    (THRESHOLD, lambda p, t, T: p < p.mean()),
    (THRESHOLD, lambda p, t, T: p < 1 / p.shape[1]),
    (FIRST_ROW, lambda p, t, T: _mask(p, _n(p, t, T))[:1].expand_as(p)),
    (FIRST_ROW, lambda p, t, T: _mask(p.mean(0, keepdim=True), _n(p, t, T)).expand_as(p)),
    (ALL, lambda p, t, T: torch.ones_like(p, dtype=torch.bool)),
    (ONE_MORE, lambda p, t, T: _mask(p, _n(p, t, T) + 1)),
    (ONE_LESS, lambda p, t, T: _mask(p, _n(p, t, T) - 1)),
]
CASES = [
    (uniform(B, N, seed=1000 + N), t, T)
    for B, N, t, T in ((4, 12, 2, 5), (3, 10, 8, 10), (5, 5, 1, 4), (2, 12, 4, 5), (2, 3, 9, 10))
]


def _look(p: Tensor) -> Callable[[Any, Tensor], None]:
    def look(got: Any, expected: Tensor) -> None:
        if not isinstance(got, Tensor) or got.is_complex():
            return
        if got.shape != p.shape and got.shape == (len(p), expected[0].sum()):
            raise Mistake(VALUES if got.is_floating_point() else PLACES)
        if got.shape != p.shape or got.dtype == torch.bool:
            return
        if ((got == 0) | (got == 1)).all():
            raise Mistake(NUMBERS.format(f"numbers, {got.dtype}"))
        if ((got == p) | (got == 0) | (got == 1) | got.isinf()).all():
            raise Mistake(FILLED)

    return look


def _check(answer: Callable, p: Tensor, t: int, T: int) -> None:
    told = {(p.shape[1],): FIRST_ROW}
    compare(answer, (p, t, T), remask, CASES, MISTAKES, CHOOSE, CLASH, DTYPE_TROUBLE, told, _look(p))


def remask_random(answer: Callable) -> None:
    """random probabilities: 7 of 12 positions, 2 of 10, 3 of 5, 2 of 12, and at least one of 3"""
    for case in CASES:
        _check(answer, *case)


def remask_each_iteration(answer: Callable) -> None:
    """every iteration t = 1..T-1, for T = N = 10 and for T = 4, N = 9; a single text, and texts of a single token"""
    for rows, n, T in ((2, 10, 10), (3, 9, 4), (1, 6, 3), (3, 1, 4)):
        for t in range(1, T):
            _check(answer, uniform(rows, n, seed=1010 + t), t, T)


def remask_ties(answer: Callable) -> None:
    """equal probabilities: exactly n of each row are masked, whichever of the equals"""
    p = torch.tensor(
        [[0.5, 0.5, 0.5, 0.5, 0.9], [0.2, 0.2, 0.2, 0.2, 0.2], [0.1, 0.3, 0.3, 0.3, 0.2], [0.9, 0.0, 1.0, 0.0, 0.0]]
    )
    for t, T in ((2, 5), (3, 5), (4, 5)):
        expected, got = remask(p, t, T), tried(answer, p, t, T, clash=CLASH, complaints=DTYPE_TROUBLE)
        _look(p)(got, expected)
        if not isinstance(got, Tensor) or got.shape != p.shape or got.dtype != torch.bool:
            close(got, expected, what="your result")
        for mine, wanted in zip(got.sum(1).tolist(), expected.sum(1).tolist(), strict=True):
            if mine != wanted:
                raise Mistake(TIES.format(mine, wanted))
        if not alike(p.masked_fill(~got, 2.0).sort(1).values, p.masked_fill(~expected, 2.0).sort(1).values):
            _check(answer, p, t, T)
