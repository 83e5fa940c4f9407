"""Minimum Bayes risk: the guess that the others agree with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, case, draw, one_row
from course_utils.pipelines.minimum_bayes_risk import minimum_bayes_risk


def mbr(utility: Tensor, p: Tensor) -> Tensor:
    """argmax over h of sum over r of p[b, r] utility[b, h, r]: (B, K, K), (B, K) -> (B,).

    Source: Kumar and Byrne (2004), Minimum Bayes-risk decoding for statistical machine translation.
    """
    return minimum_bayes_risk(utility, p)


def _inputs(B: int, K: int, seed: int) -> tuple[Tensor, Tensor]:
    """Utilities from 0 to 1, not symmetric, 1 for a guess that is the truth; uneven probabilities."""
    utility = torch.rand(B, K, K, generator=torch.Generator().manual_seed(seed))
    utility.diagonal(dim1=1, dim2=2).fill_(1.0)
    return utility, (1.2 * draw(B, K, seed=seed + 1)).softmax(-1)


def _expected(u: Tensor, p: Tensor) -> Tensor:
    return (u * p[:, None]).sum(2)  # (B, K)


def _without_itself(u: Tensor) -> Tensor:
    return u * (1 - torch.eye(u.shape[1], dtype=u.dtype))


def _what_is_wrong(got: Any, expected: Tensor, utility: Tensor, p: Tensor) -> str:
    if not isinstance(got, Tensor):
        return ""
    if got.shape == p.shape and got.is_floating_point():
        return "You return a number for each guess.\nThe result says which guess has the highest one: (B,) indices."
    if got.shape == utility.shape:
        return "You return a number for each pair.\nSum over what may be true, the last axis, then choose."
    return ""


# One list of which the choices are told apart by eye: two guesses that are near each other beat the most probable one.
NEAR = torch.tensor([[[1.0, 0.0, 0.5], [0.1, 1.0, 0.6], [0.5, 0.7, 1.0]]])
SUM = "The expected utility of guess h is the sum over r of p[b, r] utility[b, h, r]."

EXERCISE = Exercise(
    "pipelines_and_stacking.mbr",
    reference=mbr,
    what="your result",
    right=f"{SUM} The highest one wins.",
    explain=_what_is_wrong,
    errors={
        "shapes|must match the size": "The shapes do not line up: p is (B, K), and meets the last axis of (B, K, K)."
    },
    cases=[
        case("twelve lists of six guesses", *_inputs(12, 6, seed=1501)),
        case("three guesses: the least probable one is near both others", NEAR, torch.tensor([[0.4, 0.35, 0.25]])),
        case("as many lists as guesses", *_inputs(5, 5, seed=1503)),
        case("twenty lists of three", *_inputs(20, 3, seed=1505)),
        case(
            "utilities that are negative: minus the number of errors",
            _inputs(9, 4, seed=1507)[0] * 5 - 5,
            _inputs(9, 4, seed=1509)[1],
        ),
    ],
    corners=[one_row("utility", "p")],
    mistakes={
        "You take the most probable guess.\nThat is the 1-best: take the one with the highest expected utility.": (
            lambda u, p: p.argmax(1)
        ),
        "You take the lowest expected utility: the guess with the highest risk.\nUtility is what is gained: argmax.": (
            lambda u, p: _expected(u, p).argmin(1)
        ),
        f"You sum over the guesses, not over what may be true.\nutility[b, h, r]: r is the last axis. {SUM}": (
            lambda u, p: (u * p[:, :, None]).sum(1).argmax(1)
        ),
        "All that may be true counts the same in your result.\nWeight it with p[b, r].": [
            lambda u, p: u.mean(2).argmax(1),
            lambda u, p: u.sum(1).argmax(1),
        ],
        "You leave the guess itself out.\nIt may be the truth like any other, with its own probability.": [
            lambda u, p: _expected(_without_itself(u), p).argmax(1),
        ],
        "You weight the guesses, not what may be true: p belongs to r, the last axis.": [
            lambda u, p: (u.mean(2) * p).argmax(1),
            lambda u, p: (u * p[:, :, None]).sum(2).argmax(1),
        ],
        "You multiply the expected utility with the guess's own probability.\nIt is counted in the sum already.": (
            lambda u, p: (_expected(u, p) * p).argmax(1)
        ),
        "You take the best case of each guess.\nThe expectation is a sum over all that may be true.": [
            lambda u, p: _without_itself(u).amax(2).argmax(1),
            lambda u, p: (u * p[:, None]).amax(2).argmax(1),
        ],
        "You take the worst case of each guess.\nThe expectation is a sum over all that may be true.": [
            lambda u, p: u.amin(2).argmax(1),
            lambda u, p: (u * p[:, None]).amin(2).argmax(1),
        ],
        "You weight with the logarithms of p.\nAn expectation weights with the probabilities themselves.": (
            lambda u, p: _expected(u, p.log()).argmax(1)
        ),
        "You take a softmax of p, which are probabilities already.": lambda u, p: _expected(u, p.softmax(1)).argmax(1),
        "All lists share one choice in your result.\nEach has its own.": [
            lambda u, p: _expected(u, p).mean(0).argmax().expand(len(p)),
            lambda u, p: _expected(u, p)[0].argmax().expand(len(p)),
        ],
        "This is the highest expected utility itself.\nReturn the guess that has it, its index.": lambda u, p: (
            _expected(u, p).amax(1)
        ),
    },
    hints=[
        "How good is guess h on average, if the truth is drawn from p[b]?",
        "Multiply utility (B, K, K) with p along its last axis, sum over that axis: (B, K). Then the index of the "
        "highest in each row.",
        "(utility * p[:, None]).sum(dim=2).argmax(dim=1)",
    ],
)
