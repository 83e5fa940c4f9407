"""The disjoint mean: over those entries only that agree with the elected sign."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, anywhere, case, draw, one_row
from course_utils.exercises.task_vectors_and_merging import listed
from course_utils.merging.task_vectors import disjoint_mean, elect_sign


def _trimmed(n: int, d: int, seed: int) -> tuple[Tensor, Tensor]:
    """Task vectors with many entries of 0, and signs that are not always those of the sum; someone always agrees."""
    tau = draw(n, d, seed=seed) * (draw(n, d, seed=seed + 1) > -0.3)
    sign = draw(1, d, seed=seed + 2)[0].sign()
    return tau, torch.where((tau * sign > 0).any(0), sign, torch.where((tau > 0).any(0), 1.0, -1.0))


COLUMN = torch.tensor([[2.0, 2.0], [0.0, 0.0], [-1.0, -1.0]])
TAU, SIGN = _trimmed(3, 10, seed=421)
NOBODY, ITS_SIGN = _trimmed(3, 6, seed=461)
NOBODY[:, 2], NOBODY[:, 4] = 0.0, -ITS_SIGN[4] * torch.tensor([1.0, 0.0, 2.0])


def _parts(tau: Tensor, sign: Tensor) -> dict[str, Tensor]:
    """Sums over the tasks, and numbers to divide them by."""
    agree, against = tau * sign > 0, tau * sign < 0
    return {
        "right": (tau * agree).sum(0),
        "all": tau.sum(0),
        "all times sign": sign * tau.sum(0),
        "lost": (tau * against).sum(0),
        "sizes": tau.abs().sum(0),
        "sizes times sign": sign * tau.abs().sum(0),
        "right sizes": (tau * agree).abs().sum(0),
        "positive": tau.clamp(min=0).sum(0),
        "negative": tau.clamp(max=0).sum(0),
        "sign": sign,
        "n": torch.tensor(len(tau)),
        "1": torch.tensor(1),
        "agreeing": agree.sum(0),
        "agreeing + 1": agree.sum(0) + 1,
        "not against": (~against).sum(0),
        "against": against.sum(0),
        "not 0": (tau != 0).sum(0),
        "> 0": (tau > 0).sum(0),
        "< 0": (tau < 0).sum(0),
    }


def _ratio(total: str, *counts: str) -> list[Callable]:
    """Mistakes: one of the parts, divided by another one (or by 1, where that is 0)."""
    return [lambda *args, count=count: (p := _parts(*args))[total] / p[count].clamp(min=1) for count in counts]


def _or_nan(tau: Tensor, sign: Tensor) -> Tensor:
    """The entries that agree, nan for all others."""
    return tau.where(tau * sign > 0, torch.nan)


def _explain(got: Any, expected: Tensor, tau: Tensor, sign: Tensor) -> str:
    """The first coordinate that is wrong, with its entries."""
    if not isinstance(got, Tensor) or got.shape != expected.shape:
        return ""
    place = int((~torch.isclose(got.double(), expected.double(), atol=1e-4, rtol=1e-4)).nonzero()[0])
    entries, elected = tau[:, place], "-0+"[int(sign[place].sign()) + 1]
    agree = entries[entries * sign[place] > 0]
    where = f"At coordinate {place} the tasks have {listed(entries)} and the elected sign is {elected}"
    if not len(agree):
        return f"{where}: where no entry has it the result is 0. Yours is {got[place]:.4g}."
    return f"{where}: the mean of {listed(agree)} is {expected[place]:.4g}. Yours is {got[place]:.4g}."


EXERCISE = Exercise(
    "task_vectors_and_merging.disjoint_mean",
    reference=disjoint_mean,
    what="the merged tau",
    cases=[
        case(
            "the column [2, 0, -1] with the sign + gives 2, with the sign - it gives -1; and ten others",
            torch.cat([COLUMN, TAU], 1),
            torch.cat([torch.tensor([1.0, -1.0]), SIGN]),
        ),
        case("six trimmed tasks, and signs that are not always those of the sum", *_trimmed(6, 15, seed=431)),
        case("as many tasks as coordinates", *_trimmed(5, 5, seed=441)),
        case("where all entries are 0, or none has the elected sign, the result is 0", NOBODY, ITS_SIGN),
    ],
    corners=[one_row("tau")],
    mistakes={
        "This is divided by n, the number of tasks.\n"
        "The divisor is the number of contributors: the mean of [2, 0, -1] with the sign + is 2 / 1.": _ratio(
            "right", "n"
        ),
        "Entries that are 0 count as contributors: of [2, 0, -1] with the sign + that makes 1.\n"
        "A trimmed entry says nothing, so it does not take part.": _ratio("right", "not against"),
        "This is divided by the number of entries that are not 0, of either sign.": _ratio("right", "not 0"),
        "Entries with the other sign take part in the sum: of [2, 0, -1] with the sign + that leaves 2 - 1.\n"
        "They lost the election, so they are left out.": [
            *_ratio("all", "not 0", "agreeing", "1"),
            *_ratio("all times sign", "not 0", "n"),
        ],
        "This is the plain mean: only the entries with the elected sign take part.": _ratio("all", "n"),
        "This is the sum of the entries that agree: divide it by how many they are.": _ratio("right", "1"),
        "The magnitudes are right, and the signs are lost: where the elected sign is -, the mean is negative.": _ratio(
            "right sizes", "agreeing", "n", "1"
        ),
        "All entries count with their magnitude, whatever their sign: those of the other sign should be left out.": [
            *_ratio("sizes", "not 0", "n"),
            *_ratio("sizes times sign", "not 0", "n", "agreeing"),
        ],
        "This is the mean of the entries that lost the election.": _ratio("lost", "against", "n"),
        "This is the mean of the positive entries (or of the negative ones) everywhere.\n"
        "Compare with `sign`, which differs by coordinate.": [
            *_ratio("positive", "> 0", "n"),
            *_ratio("negative", "< 0", "n"),
        ],
        "The count is one too high: only a count of 0 needs help.": _ratio("right", "agreeing + 1"),
        "This is the largest of the entries that agree (dis-max, an option in the code of TIES), not the mean.": [
            lambda tau, sign: sign * (tau.abs() * (tau * sign > 0)).amax(0),
            lambda tau, sign: (tau * (tau * sign > 0)).amax(0),
        ],
        "The signs were elected once more: the argument `sign` may come from another rule, or from untrimmed tasks.\n"
        "Use `sign` as it is.": [
            lambda tau, sign: disjoint_mean(tau, elect_sign(tau)),
            lambda tau, sign: disjoint_mean(tau, tau.sum(0).sign()),
        ],
        "This is divided by one number for all coordinates: each has its own contributors.": lambda tau, sign: (
            tau.where(tau * sign > 0, 0).sum(0) / (tau * sign > 0).sum()
        ),
        "This is the elected sign itself, or the share of those who agree, instead of the mean of the entries.": [
            *_ratio("sign", "1"),
            *_ratio("agreeing", "n"),
            lambda tau, sign: sign * (tau * sign > 0).sum(0) / len(tau),
        ],
        "Nobody contributes at this coordinate, and 0 / 0 is nan: the result is 0 there.\n"
        "Divide by a count that is at least 1.": lambda tau, sign: _or_nan(tau, sign).nanmean(0),
        "This is an average over the entries of each task: average over the tasks, dim 0.": anywhere(
            lambda tau, sign: _or_nan(tau, sign).nanmean(1)
        ),
        "Nothing was averaged: sum over the tasks, dim 0.": lambda tau, sign: tau * (tau * sign > 0),
        "This is one number: each coordinate has its own mean.": lambda tau, sign: tau[tau * sign > 0].mean(),
        "tau[mask] is one long list: multiply with the mask instead.": lambda tau, sign: tau[tau * sign > 0],
        "A dimension of size 1 is left over: no keepdim.": lambda tau, sign: disjoint_mean(tau, sign)[None],
    },
    explain=_explain,
    errors={
        "shapes": "The shapes do not line up: tau is (n, d), sign is (d,), and they meet as they are. Sum over dim 0.",
        "ambiguous": "`if` needs one truth value, and there is one for every entry: use the mask, or torch.where.",
        "ZeroDivision": "Nobody contributes at this coordinate, and the result is 0 there.",
    },
    hints=[
        "At one coordinate the tasks have 2, 0 and -1, and the elected sign is +. Who takes part in the mean, and "
        "by how many do you divide?",
        "A mask (n, d): entries with the sign `sign` that are not 0. The sum of tau times the mask over the tasks, "
        "divided by the number of entries in the mask. Where nobody takes part, make sure that it is not 0 / 0.",
        "agree = (tau.sign() == sign) & (tau != 0); (tau * agree).sum(dim=0) / agree.sum(dim=0).clamp(min=1)",
    ],
)
