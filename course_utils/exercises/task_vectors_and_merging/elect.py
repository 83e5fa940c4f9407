"""One sign for each coordinate, elected by total magnitude."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, alike, anywhere, case, draw, one_row
from course_utils.exercises.task_vectors_and_merging import listed
from course_utils.merging.task_vectors import elect_sign


def _columns(*entries: list[float]) -> Tensor:
    """(n, d) from the n entries of each coordinate."""
    return torch.tensor(entries, dtype=torch.float32).T.contiguous()


DESIGNED = _columns([3, -1, -1, 0], [3, -2, -2, 0], [-5, 1, 3, 0], [2, -1.5, -1.5, 0])
TRIMMED = draw(5, 24, seed=412) * torch.tensor([[0.3], [1.0], [3.0], [1.0], [0.5]]) * (draw(5, 24, seed=413) > -0.3)
# The sign of most coordinates is -, +, -, of most entries +, -, -, of the total +, +, -: all of them differ.
MINUS = _columns([2, -1, -1], [-3, 1, 1], [-3, 1, 1], [1, 1, -2], [-4, 2, 1], [9, 1, 1], [0, 0, 0], [0, 2, -2])
PLUS = -_columns([2, -1, -1], [-3, 1, 1], [-3, 1, 1], [1, 1, -2], [-4, 2, 1], [3, -1, -1], [0, 0, 0], [0, 2, -2])
MOST = "Give it the sign that most of the other coordinates got."
MANY_SMALL = _columns([-1, -1, 2], [-1, -1, 0], [-1, 0, 0], [0, -1, -1], [5, -1, -1], [1, 1, -2], [0, 0, 0])

DRAWS = (  # what a coordinate may get whose total is 0
    lambda sign, tau: sign.sum().sign(),
    lambda sign, tau: torch.zeros(()),
    lambda sign, tau: torch.ones(()),
    lambda sign, tau: -torch.ones(()),
)


def _draw(filling: Callable[[Tensor, Tensor], Tensor], total: Callable = lambda tau: tau.sum(0)) -> Callable:
    """The sign of total(tau), and of filling(signs, tau) where that is 0."""

    def wrong(tau: Tensor) -> Tensor:
        sign = total(tau).sign()
        return torch.where(sign == 0, filling(sign, tau), sign)

    return wrong


def _total(*totals: Callable[[Tensor], Tensor], ways: int = 2) -> list[Callable]:
    """The signs of other totals than the sum over the tasks, with several ways out of a draw."""
    return [_draw(filling, total) for total in totals for filling in DRAWS[:ways]]


def _means(tau: Tensor) -> Tensor:  # of the positive entries and of the negative ones
    return sum((tau * side).sum(0) / side.sum(0).clamp(min=1) for side in (tau > 0, tau < 0))


def _explain(got: Any, expected: Tensor, tau: Tensor) -> str:
    """The first coordinate that is wrong, with its entries."""
    if not isinstance(got, Tensor) or got.shape != expected.shape:
        return ""
    place = int((got.double() != expected.double()).nonzero()[0])
    total, mine, right = tau[:, place].sum().item(), got[place].item(), expected[place].item()
    why = f"their sum is {total:.3g}" if total else "their sum is 0, so it takes the sign that most coordinates have"
    said = "" if mine in (-1, 0, 1) else " Signs are +1 or -1."
    entries = f"At coordinate {place} the tasks have {listed(tau[:, place])}"
    return f"{entries}: {why}, the elected sign is {right:+.0f}. Yours is {mine:.3g}.{said}".replace("+0", "0")


EXERCISE = Exercise(
    "task_vectors_and_merging.elect",
    reference=elect_sign,
    what="the elected sign",
    cases=[
        case(
            "the larger total magnitude wins, so [3, -1, -1, 0] is a plus and [3, -2, -2, 0] a minus",
            torch.cat([DESIGNED, draw(4, 26, seed=411)], dim=1),
        ),
        case("five trimmed tasks of very different sizes, with many entries of 0", TRIMMED),
        case("as many tasks as coordinates", draw(7, 7, seed=414)),
        case("where the sum is exactly 0: the sign that most coordinates have, here a minus", MINUS),
        case("where the sum is exactly 0: the sign that most coordinates have, here a plus", PLUS),
        case("where the sum is exactly 0, with one coordinate of a large total", MANY_SMALL),
        case("tiny task vectors, whose sums are not 0", 1e-9 * DESIGNED, names=False),
    ],
    corners=[one_row("tau")],
    mistakes={
        "Heads were counted, one vote for each task (the median does so, too): of [3, -1, -1] that makes a minus.\n"
        "Votes count by how far they go: 3 - 1 - 1 is +1, a plus.": [
            *_total(lambda tau: tau.sign().sum(0), ways=4),
            *_total(lambda tau: tau.median(0).values, lambda tau: tau.quantile(0.5, dim=0)),
            lambda tau: tau.sign().mode(dim=0).values,
        ],
        "The entry of largest magnitude decides alone: [3, -2, -2] has the sum -1, so a minus.\n"
        "Sum over the tasks first, then take the sign.": _total(
            lambda tau: tau.gather(0, tau.abs().argmax(0, keepdim=True))[0], lambda tau: tau.amax(0) + tau.amin(0)
        ),
        "This is the sign of one task alone, the first or the last: all tasks vote.": _total(
            lambda tau: tau[0], lambda tau: tau[-1]
        ),
        "The mean of the positive entries is compared with that of the negative ones.\n"
        "The totals decide: [2, -1.5, -1.5] is a minus, because 3 is more than 2.": _total(_means),
        "All signs are the wrong way round: a positive sum gives +1.": _total(lambda tau: -tau.sum(0)),
        "This is a sum of magnitudes without their signs, so every coordinate gets a plus.": _total(
            lambda tau: tau.abs().sum(0)
        ),
        "This is the total or the mean itself: its sign is asked for, +1 or -1.": [
            lambda tau: tau.sum(0),
            lambda tau: tau.sign().sum(0),
            lambda tau: tau.mean(0),
        ],
        "This is a comparison, True and False or 1 and 0: signs are +1 and -1.": [
            lambda tau: tau.sum(0) > 0,
            lambda tau: tau.sum(0) >= 0,
            lambda tau: (tau.sum(0) > 0).float(),
            lambda tau: (tau.sum(0) >= 0).float(),
        ],
        f"Where the sum is exactly 0, .sign() leaves a 0, and then no entry agrees with it.\n{MOST}": (
            lambda tau: tau.sum(0).sign()
        ),
        f"Where the sum is exactly 0 the result is always the same, as in mergekit, whose >= 0 says +1.\n{MOST}": [
            _draw(lambda sign, tau: torch.ones(())),
            _draw(lambda sign, tau: -torch.ones(())),
        ],
        "A sum of 0 gets the sign that fewest coordinates have.": _draw(lambda s, tau: -s.sum().sign()),
        f"Where the sum is exactly 0 the tasks vote by heads at that coordinate.\n{MOST}": _draw(
            lambda sign, tau: tau.sign().sum(0).sign()
        ),
        "Where the sum is exactly 0 all entries of tau decide, by their signs or their total.\n"
        "Count the coordinates after the election, each with one vote.": [
            _draw(lambda sign, tau: tau.sign().sum().sign()),
            _draw(lambda sign, tau: tau.sum().sign()),
        ],
        f"Where the sum is exactly 0 the sign is that of one task.\n{MOST}": [
            _draw(lambda sign, tau: tau[0].sign()),
            _draw(lambda sign, tau: tau[-1].sign()),
            _draw(lambda sign, tau: tau.gather(0, tau.abs().argmax(0, keepdim=True))[0].sign()),
        ],
        "A small sum is taken for 0: task vectors may be tiny, and only a sum of exactly 0 is undecided.": _draw(
            lambda sign, tau: sign.sum().sign(), lambda tau: torch.where(tau.sum(0).abs() < 1e-6, 0.0, tau.sum(0))
        ),
        "The sum runs over the entries of each task: there is one sign for each coordinate.\nThe tasks are dim 0.": [
            anywhere(lambda tau: elect_sign(tau.T)),
            anywhere(lambda tau: tau.sum(1).sign()),
            anywhere(lambda tau: tau.sum(1, keepdim=True).sign()),
        ],
        "Each task still has its own sign: sum over the tasks first.": lambda tau: tau.sign(),
        "This is one number: each coordinate has its own election.": lambda tau: tau.sum().sign(),
        "A dimension of size 1 is left over: sum without keepdim.": anywhere(lambda tau: elect_sign(tau)[None]),
    },
    equal=lambda got, tau: isinstance(got, Tensor) and alike(got, elect_sign(tau)),  # whole numbers will do
    explain=_explain,
    errors={
        "shapes": "The shapes do not line up: tau is (n, d), a row a task, and the result has one sign a coordinate.",
        "ambiguous": "`if` needs one truth value, and there are d of them: decide for each entry, as torch.where does.",
    },
    hints=[
        "Three tasks want +3, -1 and -1. Two heads stand against one, but which side pulls harder? And what does the "
        "plain sum say?",
        "The sign of the sum over the tasks (dim 0). Where that sum is exactly 0, .sign() is 0 and needs an answer: "
        "add up the signs that all other coordinates got, and take the sign of that, be it 0.",
        "sign = tau.sum(dim=0).sign(); torch.where(sign == 0, sign.sum().sign(), sign)",
    ],
)
