"""DELLA: the probability to stay, by the rank of the magnitude in its row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, case, draw, one_row
from course_utils.merging.task_vectors import keep_probabilities


def _ranks(score: Tensor, dim: int = -1) -> Tensor:
    """0 for the smallest."""
    return score.argsort(dim=dim).argsort(dim=dim)


def _by(place: Callable[[Tensor], Tensor]) -> Callable:
    """The right window with another place in it, from 0 to 1."""
    return lambda tau, density, epsilon: density - epsilon + 2 * epsilon * place(tau)


def _even(score: Callable[[Tensor], Tensor]) -> Callable:
    """The right formula with the ranks of something else."""
    return _by(lambda tau: _ranks(score(tau)) / (tau.shape[-1] - 1))


def _spread(tau: Tensor) -> Tensor:
    """The magnitude between the smallest and the largest of its row."""
    size = tau.abs()
    low, high = size.amin(-1, keepdim=True), size.amax(-1, keepdim=True)
    return (size - low) / (high - low)


def _explain(got: Any, expected: Tensor, tau: Tensor, density: float, epsilon: float) -> str:
    """The first entry that is wrong, with its rank."""
    if not isinstance(got, Tensor) or got.shape != expected.shape:
        return ""
    row, column = (~torch.isclose(got.double(), expected.double(), atol=1e-4)).nonzero()[0].tolist()
    rank, d = int(_ranks(tau.abs())[row, column]) + 1, tau.shape[1]
    said = f"In row {row} the entry {tau[row, column]:.3g} has the rank {rank} of {d} (1: the smallest magnitude)"
    return f"{said}: it stays with probability {expected[row, column]:.4g}. Yours is {got[row, column]:.4g}."


EXERCISE = Exercise(
    "task_vectors_and_merging.magprune",
    reference=keep_probabilities,
    what="the probability",
    cases=[
        case(
            "four task vectors of different sizes",
            draw(4, 9, seed=491) * torch.tensor([[0.1], [1], [3], [9]]),
            0.5,
            0.2,
        ),
        case("most entries go", draw(3, 14, seed=492), 0.2, 0.1),
        case("as many rows as entries", draw(6, 6, seed=493), 0.6, 0.3),
        case("two entries: one end of the window each", torch.tensor([[3.0, -0.1], [0.2, -5.0]]), 0.7, 0.25),
        case("epsilon = 0: the same coin for all, as in DARE", draw(2, 5, seed=494), 0.4, 0.0, names=False),
    ],
    corners=[one_row("tau")],
    mistakes={
        "These are the probabilities to drop: return those to stay, the largest for the largest entry.": (
            lambda tau, p, e: 1 - keep_probabilities(tau, p, e)
        ),
        "The smallest entries stay most often here.\nThe largest magnitude has the highest rank.": [
            _even(lambda tau: -tau.abs()),
            _by(lambda tau: 1 - _ranks(tau.abs()) / (tau.shape[-1] - 1)),
        ],
        "The numbers are ranked with their signs, so large negative entries count as small.": _even(lambda tau: tau),
        "All rows are ranked together: a task vector that moved little loses nearly everything.\n"
        "Each row has the ranks 1 to d.": _by(lambda tau: _ranks(tau.abs().flatten()).view_as(tau) / (tau.numel() - 1)),
        "The ranks run down the columns: a row is one task vector.": [
            _by(lambda tau: _ranks(tau.abs(), 0) / max(1, len(tau) - 1)),
            _by(lambda tau: _ranks(tau.abs(), 0) / (tau.shape[-1] - 1)),
        ],
        "argsort gives the places of the sorted entries, not their ranks.\nThe argsort of that argsort is the rank.": [
            _by(lambda tau: tau.abs().argsort(dim=-1) / (tau.shape[-1] - 1)),
            _by(lambda tau: tau.abs().argsort(dim=-1, descending=True) / (tau.shape[-1] - 1)),
        ],
        "The magnitude itself decides here: one large entry pushes all others to the lower end.\nAsk for its rank.": [
            _by(_spread),
            _by(lambda tau: tau.abs() / tau.abs().amax(-1, keepdim=True)),
            _by(lambda tau: tau.abs() / tau.abs().sum(-1, keepdim=True)),
        ],
        "The window is not divided into d - 1 steps: the smallest entry has exactly density - epsilon, the largest "
        "density + epsilon.": [
            _by(lambda tau: _ranks(tau.abs()) / tau.shape[-1]),
            _by(lambda tau: (_ranks(tau.abs()) + 1) / tau.shape[-1]),
            _by(lambda tau: (_ranks(tau.abs()) + 1) / (tau.shape[-1] - 1)),
        ],
        "The window is half as wide: it reaches from density - epsilon to density + epsilon.": [
            lambda tau, p, e: keep_probabilities(tau, p, e / 2),
            lambda tau, p, e: p - e + e * _ranks(tau.abs()) / (tau.shape[-1] - 1),
        ],
        "The window begins at the density: its middle belongs there, so that the mean is the density.": [
            lambda tau, p, e: keep_probabilities(tau, p, e) + e,
            lambda tau, p, e: p + e * _ranks(tau.abs()) / (tau.shape[-1] - 1),
        ],
        "These are the ranks: they become probabilities between density - epsilon and density + epsilon.": [
            lambda tau, p, e: _ranks(tau.abs()),
            lambda tau, p, e: _ranks(tau.abs()) + 1,
        ],
        "Every entry has the same probability: that is DARE.": lambda tau, p, e: torch.full_like(tau, p),
    },
    explain=_explain,
    hints=[
        "Which entry of a row should be nearly safe, and which should go most often? The mean over the row is to "
        "be the density.",
        "The rank of each magnitude in its row, from 0 to d - 1, divided by d - 1, is a place between 0 and 1. The "
        "window is 2 epsilon wide and begins at density - epsilon.",
        "ranks = tau.abs().argsort(dim=1).argsort(dim=1); density - epsilon + 2 * epsilon * ranks / (d - 1)",
    ],
)
