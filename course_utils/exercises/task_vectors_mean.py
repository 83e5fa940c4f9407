"""Tests of 04_task_vectors_and_merging: the disjoint mean, over those entries only that agree with the elected sign."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.exercises.engine import Mistake
from course_utils.exercises.mistakes import near
from course_utils.exercises.task_vectors_checks import Known, listed, named, plus_minus, shaped, tried, vectors
from course_utils.merging.task_vectors import disjoint_mean, elect_sign

ALL_TASKS = (
    "You divide by n, the number of tasks. The divisor is the number of CONTRIBUTORS at that coordinate: the mean of"
    " [2, 0, -1] with the sign + is 2 / 1, for the other two do not take part."
)
ZEROS = (
    "You count the entries that are 0 as contributors: of [2, 0, -1] that makes 1. A trimmed entry says nothing, so it"
    " does not take part: (tau.sign() == sign) & (tau != 0)."
)
NON_ZERO = (
    "You divide by the number of entries that are not 0, those of the other sign included: count only the entries that"
    " you added up."
)
WRONG_SIGNS = (
    "Entries with the other sign take part in the sum: of [2, 0, -1] that leaves 2 - 1. They lost the election, so they"
    " are left out: tau * (tau.sign() == sign)."
)
PLAIN = (
    "This is the plain mean over all tasks, what averaging would give. Only entries with the elected sign take part, and"
    " the divisor is their number."
)
SUM = "This is the sum of the entries that agree: divide it by how many they are, .sum(dim=0)."
ABSOLUTE = "The magnitudes are right, and the signs are lost: where the elected sign is -, the mean is negative."
FLIPPED = (
    "You turned the entries of the other sign round (sign * tau.abs()), so that they vote for what they were against."
    " Leave them out."
)
OPPOSITE = "You average the entries that LOST the election: those with the elected sign take part, tau.sign() == sign."
POSITIVE = "You average the positive entries (or the negative ones) everywhere: compare with `sign`, which differs by coordinate."
PLUS_ONE = "You add 1 to the count: only a count of 0 needs help, count.clamp(min=1)."
LARGEST = (
    "You take the largest of the entries that agree: TIES takes their mean (the maximum is an option in its code, called"
    " dis-max)."
)
SMALLEST = "You take the smallest of the entries that agree: take their mean."
MEDIAN = "You take the median of the entries that agree: take their mean."
RECOMPUTED = (
    "You elected the signs once more: use the argument `sign` as it is, which may come from another rule (or from tasks"
    " before they were trimmed)."
)
ONE_COUNT = "You divide by ONE number for all coordinates: count the contributors of each coordinate, .sum(dim=0)."
COORDINATES = "You divide by the number of coordinates: divide by the number of contributors, which are tasks."
ONLY_SIGN = "You return the elected sign itself, or the share of those who agree: the mean of the entries is asked."
WEIGHTED = "You weigh the entries by their magnitude: each contributor counts once, the sum divided by their number."
NAN = (
    "Nobody contributes at this coordinate, and 0 / 0 is nan. The result is 0 there: divide by count.clamp(min=1), or use"
    " torch.where."
)
NO_CONTRIBUTOR = (
    "Where no entry has the elected sign the result is 0: the merged model stays at the base there. Yours is {:.3g} at"
    " coordinate {}, where the tasks have {} and the sign is {}."
)
TASKS = "You averaged over the entries of each task: average over the TASKS, dim=0, so that (d,) is left."
NOT_SUMMED = "You did not average: sum over the tasks, dim=0, and divide by how many contribute, so that (d,) is left."
ONE = "This is one number: each coordinate has its own mean. Sum over the tasks alone, dim=0."
ONLY_SOME = (
    "tau[mask] is one long list, in which nobody knows the coordinates any more: multiply with the mask instead,"
    " (tau * mask).sum(dim=0)."
)
KEEPDIM = "A dimension of size 1 is left over: sum(dim=0) without keepdim."
CLASH = (
    "The shapes do not line up: tau is (n, d), sign is (d,), and they meet as they are, (tau.sign() == sign) is (n, d)."
    " Sums run over the tasks, dim=0."
)
COMPLAINTS = [
    (
        r"ambiguous",
        "`if` needs one truth value, and there are n times d of them: multiply with the mask, or use torch.where.",
    ),
    (r"must be Tensor", "Stay with tensors: (tau * mask).sum(dim=0)."),
    (r"ZeroDivision", NAN),
]


def known(tau: Tensor, sign: Tensor) -> Known:
    """What misconceptions compute: a wrong sum over a wrong number, or something else."""
    n, d = tau.shape
    agrees, against = tau * sign > 0, tau * sign < 0
    other = elect_sign(tau)
    count = agrees.sum(0)
    return [
        *_fractions(tau, sign),
        (RECOMPUTED, disjoint_mean(tau, other)),
        (RECOMPUTED, sign * disjoint_mean(tau, other).abs()),
        (LARGEST, sign * (tau.abs() * agrees).amax(0)),
        (LARGEST, (tau * agrees).amax(0)),
        (SMALLEST, sign * tau.abs().where(agrees, torch.inf).amin(0).nan_to_num(posinf=0)),
        (MEDIAN, tau.where(agrees, torch.nan).nanmedian(0).values.nan_to_num()),
        (MEDIAN, tau.where(agrees, torch.nan).nanquantile(0.5, dim=0).nan_to_num()),
        (ONE_COUNT, (tau * agrees).sum(0) / agrees.sum().clamp(min=1)),
        (COORDINATES, (tau * agrees).sum(0) / d),
        (ONLY_SIGN, sign),
        (ONLY_SIGN, count / n),
        (ONLY_SIGN, sign * count / n),
        (WEIGHTED, (tau * tau.abs() * agrees).sum(0) / (tau.abs() * agrees).sum(0).clamp(min=1e-9)),
        (OPPOSITE, disjoint_mean(tau, -sign).abs() * sign),
        *([(TASKS, _over_tasks(tau, agrees))] if n == d else []),
        (WRONG_SIGNS, tau.sum(0) / (agrees | against).sum(0).clamp(min=1) * (count > 0)),
    ]


def _fractions(tau: Tensor, sign: Tensor) -> Known:
    agrees, against, zero = tau * sign > 0, tau * sign < 0, tau == 0
    n, count, present = len(tau), agrees.sum(0), (tau != 0).sum(0)
    right, everything = (tau * agrees).sum(0), tau.sum(0)
    positive, negative = tau.clamp(min=0).sum(0), tau.clamp(max=0).sum(0)

    def over(total: Tensor, number: Tensor) -> Tensor:
        return total / number.clamp(min=1)

    return [
        (ALL_TASKS, right / n),
        (ZEROS, over(right, (agrees | zero).sum(0))),
        (NON_ZERO, over(right, present)),
        (SUM, right),
        (PLUS_ONE, right / (count + 1)),
        (PLAIN, everything / n),
        (WRONG_SIGNS, over(everything, present)),
        (WRONG_SIGNS, over(everything, count)),
        (f"{WRONG_SIGNS} And: {SUM}", everything),
        (ABSOLUTE, over(right.abs(), count)),
        (f"{ABSOLUTE} And: {ALL_TASKS}", right.abs() / n),
        (f"{ABSOLUTE} And: {SUM}", right.abs()),
        (FLIPPED, over(sign * tau.abs().sum(0), present)),
        (f"{FLIPPED} And: {ALL_TASKS}", sign * tau.abs().sum(0) / n),
        (FLIPPED, over(sign * tau.abs().sum(0), count)),
        (f"{WRONG_SIGNS} And: {ABSOLUTE}", over(sign * everything, present)),
        (f"{WRONG_SIGNS} And: {ABSOLUTE}", sign * everything / n),
        (OPPOSITE, over((tau * against).sum(0), against.sum(0))),
        (OPPOSITE, (tau * against).sum(0) / n),
        (POSITIVE, over(positive, (tau > 0).sum(0))),
        (POSITIVE, over(negative, (tau < 0).sum(0))),
        (POSITIVE, positive / n),
        (POSITIVE, negative / n),
        (f"{ABSOLUTE} And: {WRONG_SIGNS}", over(tau.abs().sum(0), present)),
        (f"{ABSOLUTE} And: {WRONG_SIGNS}", tau.abs().mean(0)),
    ]


def _over_tasks(tau: Tensor, agrees: Tensor) -> Tensor:
    return (tau * agrees).sum(1) / agrees.sum(1).clamp(min=1)


def _check(answer: Callable, *inputs: tuple[Tensor, Tensor]) -> None:
    rights = [disjoint_mean(tau, sign) for tau, sign in inputs]
    results = [_averaged(answer, tau, sign) for tau, sign in inputs]
    if all(map(near, results, rights)):
        return
    for got, right, (tau, sign) in zip(results, rights, inputs):
        _without_contributors(got, right, tau, sign)
    if hint := named(results, rights, [known(tau, sign) for tau, sign in inputs]):
        raise Mistake(hint)
    for got, right, (tau, sign) in zip(results, rights, inputs):
        if not near(got, right):
            raise Mistake(_where(got, right, tau, sign))


def _averaged(answer: Callable, tau: Tensor, sign: Tensor) -> Tensor:
    got = tried(answer, tau, sign, clash=CLASH, complaints=COMPLAINTS)
    n, d = tau.shape
    if isinstance(got, (int, float)):
        raise Mistake(ONE)
    told = {(n,): TASKS, (n, 1): TASKS, (n, d): NOT_SUMMED, (): ONE, (1, d): KEEPDIM}
    if isinstance(got, Tensor) and got.dim() == 1 and len(got) not in (n, d):
        told[tuple(got.shape)] = ONLY_SOME
    return shaped(got, tau[0], told, CLASH, "the merged tau")


def _without_contributors(got: Tensor, right: Tensor, tau: Tensor, sign: Tensor) -> None:
    """Everything is right but for the coordinates at which nobody contributes. Raises Mistake."""
    nobody = ~(tau * sign > 0).any(0)
    wrong = nobody & (got != 0)
    if not wrong.any() or not near(got.where(~nobody, 0.0), right):
        return
    place = int(wrong.nonzero()[0])
    if got[place].isnan():
        raise Mistake(f"{NAN} (Coordinate {place}: the tasks have {listed(tau[:, place])}.)")
    entries, elected = listed(tau[:, place]), plus_minus(sign[place].item())
    raise Mistake(NO_CONTRIBUTOR.format(got[place].item(), place, entries, elected))


def _where(got: Tensor, right: Tensor, tau: Tensor, sign: Tensor) -> str:
    """The first coordinate that is wrong, with its entries."""
    place = int((~torch.isclose(got, right.double(), atol=1e-5, rtol=1e-4)).nonzero()[0])
    entries = tau[:, place]
    agree = entries[entries * sign[place] > 0]
    mean = f"the mean of {listed(agree)}, {right[place].item():.3g}" if len(agree) else "0, for nobody contributes"
    return (
        f"At coordinate {place} the tasks have {listed(entries)} and the elected sign is {plus_minus(sign[place].item())}:"
        f" the result is {mean}. Yours is {got[place].item():.4g}."
    )


def trimmed(n: int, d: int, seed: int) -> tuple[Tensor, Tensor]:
    """Task vectors with many entries of 0, and signs that are not always those of the sum; someone always agrees."""
    tau = vectors(n, d, seed) * (vectors(n, d, seed + 1) > -0.3)
    sign = vectors(1, d, seed + 2)[0].sign()
    return tau, torch.where((tau * sign > 0).any(0), sign, torch.where((tau > 0).any(0), 1.0, -1.0))


def mean_columns(answer: Callable) -> None:
    """the column [2, 0, -1] with the sign + gives 2, with the sign - it gives -1; and ten others"""
    tau, sign = trimmed(3, 10, seed=421)
    column = torch.tensor([[2.0, 2.0], [0.0, 0.0], [-1.0, -1.0]])
    _check(answer, (torch.cat([column, tau], 1), torch.cat([torch.tensor([1.0, -1.0]), sign])))


def mean_many(answer: Callable) -> None:
    """six trimmed tasks, and signs that are not always those of the sum"""
    _check(answer, trimmed(6, 15, seed=431))


def mean_square(answer: Callable) -> None:
    """as many tasks as coordinates; one task alone"""
    _check(answer, trimmed(5, 5, seed=441))
    _check(answer, trimmed(1, 8, seed=451))


def mean_nobody(answer: Callable) -> None:
    """where all entries are 0, or none has the elected sign, the result is 0"""
    tau, sign = trimmed(3, 6, seed=461)
    tau[:, 2], tau[:, 4] = 0.0, -sign[4] * torch.tensor([1.0, 0.0, 2.0])
    _check(answer, (tau, sign))
