"""Tests of 04_task_vectors_and_merging: one sign for each coordinate, elected by total magnitude."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.exercises.engine import Mistake
from course_utils.exercises.mistakes import near
from course_utils.exercises.task_vectors_checks import Known, listed, named, plus_minus, shaped, tried, vectors
from course_utils.merging.task_vectors import elect_sign

COUNT = (
    "You counted heads, one vote for each task (the median does so, too): of [3, -1, -1] that makes a minus. Votes count"
    " by how far they go: tau.sum(dim=0).sign(), here 3 - 1 - 1 = +1, a plus."
)
LARGEST = (
    "The entry of largest magnitude decides alone: [3, -2, -2] has the sum -1, so a minus. Sum over the tasks first,"
    " tau.sum(dim=0), then take the sign. (There is no max in TIES, whatever the lecture's picture says.)"
)
MAXIMUM = (
    "This is the sign of the largest or smallest value, max or min: one positive entry is enough for it. Take the sign"
    " of the SUM over the tasks."
)
PRODUCT = (
    "This is the product of the signs: two minuses make a plus there. An election adds up the votes:"
    " tau.sum(dim=0).sign()."
)
FIRST = "This is the sign of the first task: all tasks vote, tau.sum(dim=0).sign()."
LAST = "This is the sign of the last task: all tasks vote, tau.sum(dim=0).sign()."
SQUARES = "You weigh the votes by their squares: add up tau itself, and take the sign of that."
MEANS = (
    "You compare the MEAN of the positive entries with that of the negative ones. The totals decide: [2, -1.5, -1.5] is"
    " a minus, for 3 is more than 2. That is the sign of the plain sum."
)
NORMED = (
    "You brought the task vectors to one length first: they vote as they are, so a model that moved further has more to"
    " say. Take tau.sum(dim=0).sign()."
)
NEGATED = "All signs are the wrong way round: a positive sum gives +1."
ABSOLUTE = (
    "You added up magnitudes without their signs, so every coordinate gets a plus. Sum tau itself over the tasks: the"
    " side with the larger total magnitude wins."
)
NO_SIGN = "You return the total itself: its sign is asked, +1 or -1, .sign()."
MEAN = "You return the mean itself: its sign is asked, +1 or -1, .sign()."
ZERO_ONE = "You return 1 and 0 (a comparison, as a number): a minus is -1. torch.where(tau.sum(dim=0) > 0, 1.0, -1.0)."
BOOL = "You return True and False: signs are +1.0 and -1.0, for they are multiplied and compared with .sign() later on."
LEFT = (
    "Where the sum is exactly 0, .sign() leaves a 0, and then no entry of that coordinate agrees with it. Give it the"
    " sign that most coordinates have: signs.sum().sign()."
)
PLUS = (
    "Where the sum is exactly 0 you always say +1 (that is what mergekit does, >= 0). Asked is the sign that most"
    " coordinates have: signs.sum().sign()."
)
MINUS = (
    "Where the sum is exactly 0 you always say -1 (sum > 0 is False for a 0). Asked is the sign that most coordinates"
    " have: signs.sum().sign()."
)
OWN_COLUMN = (
    "Where the sum is exactly 0 you let the tasks vote by heads at that coordinate: of [2, -1, -1] that makes a minus."
    " Asked is the sign that most of the OTHER COORDINATES were given: signs.sum().sign()."
)
ENTRIES = (
    "Where the sum is exactly 0 you take the sign that most ENTRIES of tau have. Asked is the sign that most"
    " COORDINATES have after the election: signs.sum().sign(), signs = tau.sum(dim=0).sign()."
)
MASS = (
    "Where the sum is exactly 0 you take the sign of the total of everything, tau.sum().sign(). Asked is the sign that"
    " most COORDINATES have after the election, each with one vote: signs.sum().sign()."
)
FIRST_TASK = (
    "Where the sum is exactly 0 you take the sign of one task. Asked is the sign that most coordinates have:"
    " signs.sum().sign()."
)
TASKS = (
    "You summed over the entries of each task: there is one sign for each COORDINATE. The tasks are dim 0, so"
    " tau.sum(dim=0)."
)
ROWS = "tau[indices] takes whole rows. But no entry needs to be picked: the sign of the sum is asked, tau.sum(dim=0)."
NOT_SUMMED = "Each task still has its own sign: sum over the tasks, tau.sum(dim=0), before you take the sign."
ONE = "This is one number: each coordinate has its own election. Sum over the tasks alone, tau.sum(dim=0)."
KEEPDIM = "A dimension of size 1 is left over: sum(dim=0) without keepdim."
CLASH = "The shapes do not line up: tau is (n, d), a row for each task, and the result has one sign a coordinate, (d,)."
COMPLAINTS = [
    (
        r"ambiguous",
        "`if` needs one truth value, and there are d of them: use .sign() and torch.where, which decide for each entry.",
    ),
    (r"must be Tensor|not callable", "Stay with tensors: tau.sum(dim=0).sign()."),
]


def totals(tau: Tensor) -> Known:
    """What stands in the place of the sum over the tasks; only its sign counts."""
    positive, negative = tau > 0, tau < 0
    means = [(tau * side).sum(0) / side.sum(0).clamp(min=1) for side in (positive, negative)]
    return [
        ("", tau.sum(0)),
        (COUNT, tau.sign().sum(0)),
        (LARGEST, tau.gather(0, tau.abs().argmax(0, keepdim=True))[0]),
        (MAXIMUM, tau.amax(0)),
        (MAXIMUM, tau.amin(0)),
        (PRODUCT, tau.sign().prod(0)),
        (FIRST, tau[0]),
        (LAST, tau[-1]),
        (COUNT, tau.median(0).values),
        (COUNT, tau.quantile(0.5, dim=0)),
        (SQUARES, (tau * tau.abs()).sum(0)),
        (MEANS, means[0] + means[1]),
        (NORMED, torch.nn.functional.normalize(tau, dim=-1).sum(0)),
        (NORMED, torch.nn.functional.normalize(tau, dim=-1, p=1).sum(0)),
        (NEGATED, -tau.sum(0)),
        (ABSOLUTE, tau.abs().sum(0)),
    ]


def undecided(sign: Tensor, tau: Tensor) -> Known:
    """What a coordinate gets whose total is exactly 0; sign (d,) holds 0 there."""
    largest = tau.gather(0, tau.abs().argmax(0, keepdim=True))[0]
    return [
        ("", sign.sum().sign()),
        (LEFT, torch.zeros(())),
        (PLUS, torch.ones(())),
        (MINUS, -torch.ones(())),
        (OWN_COLUMN, tau.sign().sum(0).sign()),
        (ENTRIES, tau.sign().sum().sign()),
        (MASS, tau.sum().sign()),
        (FIRST_TASK, tau[0].sign()),
        (FIRST_TASK, tau[-1].sign()),
        (LARGEST, largest.sign()),
    ]


def known(tau: Tensor) -> Known:
    """What misconceptions compute of tau (n, d): a wrong way out of a draw, or a wrong total with any way out."""
    found = []
    for wrong, total in totals(tau):
        sign = total.sign()
        for draw, filling in undecided(sign, tau):
            if hint := wrong or draw:
                found.append((hint, torch.where(sign == 0, filling, sign)))
    total, sign = tau.sum(0), elect_sign(tau)
    values = [(f"{COUNT} And: {NO_SIGN}", tau.sign().sum(0)), (NO_SIGN, total), (MEAN, tau.mean(0))]
    bits = [(ZERO_ONE, bit.double()) for bit in (total > 0, total >= 0, sign > 0)]
    square = [(TASKS, elect_sign(tau.T)), (TASKS, tau.sum(1).sign())] if len(tau) == tau.shape[1] else []
    return [*found, *values, *bits, *square]


def _check(answer: Callable, *inputs: Tensor) -> None:
    results, rights = [_elected(answer, tau) for tau in inputs], [elect_sign(tau) for tau in inputs]
    if all(map(near, results, rights)):
        return
    if hint := named(results, rights, [known(tau) for tau in inputs]):
        raise Mistake(hint)
    for got, right, tau in zip(results, rights, inputs):
        if not near(got, right):
            raise Mistake(_where(got, right, tau))


def _elected(answer: Callable, tau: Tensor) -> Tensor:
    got = tried(answer, tau, clash=CLASH, complaints=COMPLAINTS)
    n, d = tau.shape
    if isinstance(got, Tensor) and got.dtype == torch.bool:
        raise Mistake(BOOL)
    if isinstance(got, (int, float)):
        raise Mistake(ONE)
    told = {(n,): TASKS, (n, 1): TASKS, (d, d): ROWS, (n, d): NOT_SUMMED, (): ONE, (1,): ONE, (1, d): KEEPDIM}
    return shaped(got, tau[0], told, CLASH, "the elected sign")


def _where(got: Tensor, right: Tensor, tau: Tensor) -> str:
    """The first coordinate that is wrong, with its entries."""
    place = int((~torch.isclose(got, right.double())).nonzero()[0])
    total, mine = tau[:, place].sum().item(), got[place].item()
    why = f"their sum is {total:.3g}" if total else "their sum is 0, so it takes the sign that most coordinates have"
    said = "" if mine in (-1.0, 1.0) else " Signs are +1 or -1."
    return (
        f"At coordinate {place} the tasks have {listed(tau[:, place])}: {why}, the elected sign is"
        f" {plus_minus(right[place].item())}. Yours is {mine:.3g}.{said}"
    )


def columns(*entries: list[float]) -> Tensor:
    """(n, d) from the n entries of each coordinate."""
    return torch.tensor(entries, dtype=torch.float32).T.contiguous()


MOSTLY_MINUS = columns([2, -1, -1], [-3, 1, 1], [-3, 1, 1], [1, 1, -2], [-4, 2, 1], [9, 1, 1], [0, 0, 0], [0, 2, -2])
MOSTLY_PLUS = -MOSTLY_MINUS
MANY_SMALL = columns([-1, -1, 2], [-1, -1, 0], [-1, 0, 0], [0, -1, -1], [9, -1, -1], [1, 1, -2], [0, 0, 0])


def elect_mass(answer: Callable) -> None:
    """four tasks: the larger total magnitude wins, so [3, -1, -1, 0] is a plus and [3, -2, -2, 0] a minus"""
    designed = columns([3, -1, -1, 0], [3, -2, -2, 0], [-5, 1, 3, 0], [2, -1.5, -1.5, 0])
    _check(answer, torch.cat([designed, vectors(4, 26, seed=411)], dim=1))


def elect_trimmed(answer: Callable) -> None:
    """five trimmed tasks of very different sizes, with many entries of 0"""
    tau = vectors(5, 24, seed=412) * torch.tensor([[0.3], [1.0], [3.0], [1.0], [0.5]])
    _check(answer, tau * (vectors(5, 24, seed=413) > -0.3))


def elect_square(answer: Callable) -> None:
    """as many tasks as coordinates; one task alone"""
    _check(answer, vectors(7, 7, seed=414))
    _check(answer, vectors(1, 9, seed=415))


def elect_draw(answer: Callable) -> None:
    """where the sum is exactly 0 (also where all entries are 0): the sign that most coordinates have"""
    _check(answer, MOSTLY_MINUS, MOSTLY_PLUS, MANY_SMALL)
