"""How high the loss rises on the straight line between two models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, case, mistake
from course_utils.merging.alignment import loss_barrier

LINE = "Subtract what the straight line between the two ends, (1 - t) L(0) + t L(1), has at each t."
DIFFERENCE = "The barrier is a difference of losses."
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
        case(
            "five losses, highest near the first model, which is the worse one", torch.tensor([1.5, 2.0, 1.1, 0.9, 0.3])
        ),
        case("a valley has no barrier: 0", torch.tensor([1.0, 0.6, 0.3, 0.25, 0.3, 0.5, 0.8])),
        case("a straight slope has no barrier: 0", torch.tensor([0.4, 0.5, 0.6, 0.7])),
        case("a wave with a valley deeper than its hump is high", torch.tensor([0.7, 0.2, 0.1, 0.4, 0.9, 0.8, 0.6])),
        case("three losses are enough", torch.tensor([0.3, 1.0, 0.5])),
    ],
    explain=_explain,
    errors={"shapes": "The grid of t must have as many points as there are losses, from 0 to 1."},
    mistakes=[
        mistake("This is the highest loss itself.", lambda L: L.max(), pointer=LINE),
        *(
            mistake(
                f"You subtract one and the same number from every loss: {level}.",
                lambda L, level=level: L.max() - LEVELS[level](L),
                pointer=f"The ends may be unequal. {LINE}",
            )
            for level in LEVELS
        ),
        mistake(
            "You looked at the midpoint only: an asymmetric path is highest elsewhere.",
            lambda L: _middle(L) - (L[0] + L[-1]) / 2,
            lambda L: abs(_middle(L) - (L[0] + L[-1]) / 2),
            lambda L: _above(L)[len(L) // 2],
            lambda L: _middle(L) - max(L[0], L[-1]),
            _middle,
            pointer="The barrier is the maximum over t.",
        ),
        mistake(
            "You take absolute values: a loss below the line is no barrier but a valley, and must not count.",
            lambda L: _above(L).abs().max(),
            pointer="Without abs() the maximum is never below 0, because at t = 0 it is 0.",
        ),
        mistake(
            "The grid of t is off by one: the last loss is that at t = 1, the first one that at t = 0.",
            lambda L: _above(L, torch.arange(len(L)) / len(L)).max(),
            lambda L: _above(L, torch.arange(1, len(L) + 1) / len(L)).max(),
            lambda L: _above(L, torch.arange(1, len(L) + 1) / (len(L) + 1)).max(),
            pointer="n points from 0 to 1 with both ends are t = i / (n - 1).",
        ),
        mistake(
            "The line runs the wrong way: at t = 0 it is L(0).", lambda L: _above(L, 1 - _grid(L)).max(), pointer=LINE
        ),
        mistake(
            "You measured at the t where the loss is highest: where the line slopes, the largest difference lies "
            "elsewhere.",
            lambda L: _above(L)[L.argmax()],
            pointer="Subtract first, then take the maximum.",
        ),
        mistake(
            "You left out the ends: there the difference is exactly 0, so that a barrier is never below 0.",
            lambda L: _above(L)[1:-1].max(),
            pointer="The maximum is over all t, also for a path that is a valley.",
        ),
        mistake(
            "The sign is the wrong way round.",
            lambda L: (-_above(L)).max(),
            pointer="It is the loss minus the line, not the line minus the loss.",
        ),
        mistake("This is the deepest valley: take the maximum, not the minimum.", lambda L: _above(L).min()),
        mistake(
            "This is the mean of the differences.",
            lambda L: _above(L).mean(),
            lambda L: _above(L)[1:-1].mean(),
            lambda L: _above(L).relu().mean(),
            pointer=MAXIMUM,
        ),
        mistake(
            "This is the sum of the differences.",
            lambda L: _above(L).sum(),
            lambda L: _above(L).relu().sum(),
            pointer=MAXIMUM,
        ),
        mistake("This is an area under the curve.", lambda L: torch.trapezoid(_above(L), _grid(L)), pointer=MAXIMUM),
        mistake(
            "You return several numbers: the barrier is one, the largest of the differences.",
            lambda L: _above(L),
            lambda L: _above(L).max(0),
        ),
        mistake("You subtract the loss at the midpoint.", lambda L: L.max() - _middle(L), pointer=LINE),
        mistake(
            "This is the place of the barrier: its height is asked.",
            lambda L: _grid(L)[_above(L).argmax()],
            lambda L: _above(L).argmax(),
            pointer="argmax says where, max how high.",
        ),
        mistake("This is the position of the highest loss in the list.", lambda L: L.argmax(), pointer=LINE),
        mistake("You add the line: subtract it.", lambda L: (2 * L - _above(L)).max()),
        mistake("Only t L(1) is subtracted: (1 - t) L(0) is missing.", lambda L: (L - _grid(L) * L[-1]).max()),
        mistake("Only (1 - t) L(0) is subtracted: t L(1) is missing.", lambda L: (L - (1 - _grid(L)) * L[0]).max()),
        mistake(
            "The line is L(0) + t (L(1) - L(0)): you added t L(1) to the whole L(0).",
            lambda L: (L - L[0] - _grid(L) * L[-1]).max(),
        ),
        mistake(
            "You divided by the loss of an end.",
            lambda L: L.max() / max(L[0], L[-1]),
            lambda L: L.max() / ((L[0] + L[-1]) / 2),
            lambda L: _above(L).max() / ((L[0] + L[-1]) / 2),
            lambda L: _above(L).max() / L[0],
            pointer=DIFFERENCE,
        ),
        mistake("You divided by the line.", lambda L: (L / (L - _above(L))).max(), pointer=DIFFERENCE),
        mistake("This is the largest step from one loss to the next.", lambda L: L.diff().max(), pointer=LINE),
        mistake("This is the difference between the two ends.", lambda L: L[-1] - L[0], lambda L: abs(L[-1] - L[0])),
    ],
    hints=[
        "If the two models have the losses 0.4 and 1.3, which loss would you expect half-way without any barrier? "
        "And at t = 0.6?",
        "n losses lie at t = 0, 1/(n-1), ..., 1. At each t take the loss minus (1 - t) L(0) + t L(1); of these"
        " differences the largest. No absolute values.",
        "t = torch.linspace(0, 1, len(losses)); (losses - ((1 - t) * losses[0] + t * losses[-1])).max().item()",
    ],
)
