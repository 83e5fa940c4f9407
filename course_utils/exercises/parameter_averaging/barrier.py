"""How high the loss rises on the straight line between two models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, case
from course_utils.merging.alignment import loss_barrier

LINE = "Subtract what the straight line between the two ends, (1 - t) L(0) + t L(1), has at each t."
MAXIMUM = "Take the maximum of the differences."
PATH = torch.tensor([0.4, 0.25, 0.31, 0.6, 1.1, 1.56, 1.99, 2.03, 2.08, 1.6, 1.3])
LEVELS: dict[str, Callable[[Tensor], Any]] = {
    "the smallest one": lambda losses: losses.min(),
    "the mean of the two ends": lambda losses: (losses[0] + losses[-1]) / 2,
    "the loss of the first model": lambda losses: losses[0],
    "the loss of the last model": lambda losses: losses[-1],
    "the higher of the two ends": lambda losses: max(losses[0], losses[-1]),
    "the lower of the two ends": lambda losses: min(losses[0], losses[-1]),
    "the mean of all losses": lambda losses: losses.mean(),
}


def _grid(losses: Tensor) -> Tensor:
    return torch.linspace(0, 1, len(losses), dtype=losses.dtype)


def _above(losses: Tensor, t: Tensor | None = None) -> Tensor:
    """How far each loss lies above the line, with the right t or another one."""
    t = _grid(losses) if t is None else t
    return losses - ((1 - t) * losses[0] + t * losses[-1])


def _middle(losses: Tensor) -> Tensor:
    return losses[len(losses) // 2]


def _explain(got: Any, expected: float, losses: Tensor) -> str:
    if isinstance(got, (float, Tensor)) and Tensor.numel(torch.as_tensor(got)) == 1 and float(got) < 0:
        return f"The barrier is {float(got):.4g}, and is never below 0: at t = 0 the loss is on the line."
    return ""


EXERCISE = Exercise(
    "parameter_averaging.barrier",
    reference=loss_barrier,
    what="the barrier",
    float64=False,  # losses[0].lerp(losses[-1], torch.linspace(0, 1, n)) is a right answer, and wants one dtype
    atol=1e-5,
    cases=[
        case("eleven losses, the second model is worse than the first, the hump lies past the middle", PATH),
        case("five losses, highest near the first model, the worse one", torch.tensor([1.5, 2.0, 1.1, 0.9, 0.3])),
        case("a valley has no barrier: 0", torch.tensor([1.0, 0.6, 0.3, 0.25, 0.3, 0.5, 0.8])),
        case("a straight slope has no barrier: 0", torch.tensor([0.4, 0.5, 0.6, 0.7])),
        case("a wave with a valley deeper than its hump is high", torch.tensor([0.7, 0.2, 0.1, 0.4, 0.9, 0.8, 0.6])),
        case("three losses are enough", torch.tensor([0.3, 1.0, 0.5])),
    ],
    explain=_explain,
    errors={"shapes": "The grid of t must have as many points as there are losses, from 0 to 1."},
    mistakes={
        f"This is the highest loss itself.\n{LINE}": lambda L: L.max(),
        **{
            f"This is the highest loss minus one number: {level}.\nThe ends may be unequal. {LINE}": (
                lambda L, of=of: L.max() - of(L)
            )
            for level, of in LEVELS.items()
        },
        "This is the midpoint only: an asymmetric path is highest elsewhere.\nThe barrier is the maximum over t.": [
            lambda L: _middle(L) - (L[0] + L[-1]) / 2,
            lambda L: abs(_middle(L) - (L[0] + L[-1]) / 2),
            lambda L: _above(L)[len(L) // 2],
            lambda L: _middle(L) - max(L[0], L[-1]),
            _middle,
        ],
        "A loss below the line counts here, with its absolute value: it is no barrier but a valley.\n"
        "Without abs() the maximum is never below 0, because at t = 0 it is 0.": lambda L: _above(L).abs().max(),
        "The grid of t is off by one: the last loss is that at t = 1, the first one that at t = 0.\n"
        "n points from 0 to 1 with both ends are t = i / (n - 1).": [
            lambda L: _above(L, torch.arange(len(L)) / len(L)).max(),
            lambda L: _above(L, torch.arange(1, len(L) + 1) / len(L)).max(),
            lambda L: _above(L, torch.arange(1, len(L) + 1) / (len(L) + 1)).max(),
        ],
        f"The line runs the wrong way: at t = 0 it is L(0).\n{LINE}": lambda L: _above(L, 1 - _grid(L)).max(),
        "This line joins the smallest and the largest loss: it should join the two ends.": lambda L: (
            L - L.min() - _grid(L) * (L.max() - L.min())
        ).max(),
        "This is measured where the loss is highest: where the line slopes, the largest difference lies elsewhere.\n"
        "Subtract first, then take the maximum.": lambda L: _above(L)[L.argmax()],
        "The ends are left out: there the difference is exactly 0, so that a barrier is never below 0.\n"
        "The maximum is over all t, also for a path that is a valley.": lambda L: _above(L)[1:-1].max(),
        "The sign is the wrong way round: it is the loss minus the line.": lambda L: (-_above(L)).max(),
        "This is the deepest valley: take the maximum, not the minimum.": lambda L: _above(L).min(),
        f"This is the mean of the differences.\n{MAXIMUM}": [
            lambda L: _above(L).mean(),
            lambda L: _above(L)[1:-1].mean(),
            lambda L: _above(L).relu().mean(),
        ],
        f"This is the sum of the differences, or an area under the curve.\n{MAXIMUM}": [
            lambda L: _above(L).sum(),
            lambda L: _above(L).relu().sum(),
            lambda L: torch.trapezoid(_above(L), _grid(L)),
        ],
        "These are several numbers: the barrier is one, the largest of the differences.": [
            lambda L: _above(L),
            lambda L: _above(L).max(0),
        ],
        "This is a place: the height of the barrier is asked.\nargmax says where, max how high.": [
            lambda L: _grid(L)[_above(L).argmax()],
            lambda L: _above(L).argmax(),
            lambda L: L.argmax(),
        ],
        "The line is added: subtract it.": lambda L: (2 * L - _above(L)).max(),
        "Only one part of the line is subtracted, (1 - t) L(0) or t L(1).": [
            lambda L: (L - _grid(L) * L[-1]).max(),
            lambda L: (L - (1 - _grid(L)) * L[0]).max(),
        ],
        "The line is L(0) + t (L(1) - L(0)): you have t L(1) besides the whole L(0).": lambda L: (
            L - L[0] - _grid(L) * L[-1]
        ).max(),
        "This is divided by a loss or by the line.\nThe barrier is a difference of losses.": [
            lambda L: L.max() / max(L[0], L[-1]),
            lambda L: L.max() / ((L[0] + L[-1]) / 2),
            lambda L: _above(L).max() / ((L[0] + L[-1]) / 2),
            lambda L: _above(L).max() / L[0],
            lambda L: (L / (L - _above(L))).max(),
        ],
        f"This is the largest step from one loss to the next, or from end to end.\n{LINE}": [
            lambda L: L.diff().max(),
            lambda L: L[-1] - L[0],
            lambda L: abs(L[-1] - L[0]),
        ],
    },
    hints=[
        "If the two models have the losses 0.4 and 1.3, which loss would you expect half-way without any barrier? "
        "And at t = 0.6?",
        "n losses lie at t = 0, 1/(n-1), ..., 1. At each t take the loss minus (1 - t) L(0) + t L(1); of these"
        " differences the largest. No absolute values.",
        "t = torch.linspace(0, 1, len(losses)); (losses - ((1 - t) * losses[0] + t * losses[-1])).max().item()",
    ],
)
