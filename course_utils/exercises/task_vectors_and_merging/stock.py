"""Model Stock: how far to go from the base to the mean, from the angle between the task vectors alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, case, draw
from course_utils.exercises.engine.compare import numbers
from course_utils.merging.task_vectors import stock_ratio


def _related(n: int, d: int, shared: float, seed: int) -> Tensor:
    """Task vectors with a common part, of very different lengths."""
    return (shared * draw(1, d, seed=seed) + draw(n, d, seed=seed + 1)) * torch.logspace(-1, 1, n).unsqueeze(1)


def _cosines(tau: Tensor) -> Tensor:
    """(n, n), also of single numbers taken as vectors."""
    unit = tau / tau.norm(dim=1, keepdim=True)
    return unit @ unit.T


def _pairs(matrix: Tensor) -> Tensor:
    """The entries above the diagonal: one for each pair."""
    i, j = torch.triu_indices(len(matrix), len(matrix), 1)
    return matrix[i, j]


def _cosine(tau: Tensor) -> Tensor:
    return _pairs(_cosines(tau)).mean()


def _t(cosine: Tensor, n: int) -> Tensor:
    return n * cosine / (1 + (n - 1) * cosine)


def _from(cosine: Callable[[Tensor], Tensor]) -> Callable:
    """The right formula with another cosine."""
    return lambda tau: _t(cosine(tau), len(tau))


def _equal(got: Any, tau: Tensor) -> bool:
    """A number, or a tensor of one number."""
    found = numbers(got)
    return found.numel() == 1 and math.isclose(found.item(), stock_ratio(tau).item(), rel_tol=1e-4, abs_tol=1e-5)


def _explain(got: Any, expected: Tensor, tau: Tensor) -> str:
    found = numbers(got)
    if found.numel() != 1:
        return (
            f"One ratio is asked for, for all {tau.shape[1]} coordinates together. Yours has {found.numel()} numbers."
        )
    said = f"{len(tau)} task vectors with a mean cosine of {_cosine(tau):.3g} give t = {expected.item():.4g}"
    return f"{said}. Yours is {found.item():.4g}."


EXERCISE = Exercise(
    "task_vectors_and_merging.stock",
    reference=stock_ratio,
    what="the ratio t",
    cases=[
        case("three related task vectors of different lengths", _related(3, 20, 0.8, seed=481)),
        case("six task vectors, some of them hardly related", _related(6, 40, 0.5, seed=483)),
        case("two task vectors", _related(2, 12, 1.0, seed=485)),
        case("task vectors at right angles give 0", torch.diag(torch.tensor([2.0, -1.0, 0.5])), names=False),
        case("one direction gives 1, whatever the lengths", torch.tensor([[1.0, 2.0], [3.0, 6.0]]), names=False),
    ],
    mistakes={
        "This is the mean cosine itself.\nt is n cos / (1 + (n - 1) cos).": _cosine,
        "This is the share of the base, 1 - t.\nt is the share of the mean.": lambda tau: 1 - stock_ratio(tau),
        "This is the formula for two models, 2 cos / (1 + cos), whatever n is.": lambda tau: _t(_cosine(tau), 2),
        "The mean runs over all n x n cosines, also those of a vector with itself, which are 1.\n"
        "There are n (n - 1) / 2 pairs.": _from(lambda tau: _cosines(tau).mean()),
        "The inner products are not divided by the lengths: one long task vector decides alone.": [
            _from(lambda tau: _pairs(tau @ tau.T).mean()),
            lambda tau: _pairs(tau @ tau.T).mean(),
        ],
        "The inner products are divided by one length, not by both.": _from(
            lambda tau: _pairs(tau @ tau.T / tau.norm(dim=1) ** 2).mean()
        ),
        "Only one pair is compared, or each vector with the next: all pairs count.": [
            _from(lambda tau: _cosines(tau)[0, 1]),
            _from(lambda tau: _cosines(tau)[0, -1]),
            _from(lambda tau: _cosines(tau).diagonal(1).mean()),
            _from(lambda tau: _cosines(tau)[0, 1:].mean()),
        ],
        "The cosines are added up instead of averaged over the pairs.": [
            _from(lambda tau: _pairs(_cosines(tau)).sum()),
            _from(lambda tau: _cosines(tau).sum()),
        ],
        "The angles are averaged instead of their cosines.": _from(
            lambda tau: _pairs(_cosines(tau)).clamp(-1, 1).acos().mean().cos()
        ),
        "The cosines lost their signs: vectors that point apart shorten the way.": _from(
            lambda tau: _pairs(_cosines(tau)).abs().mean()
        ),
        "The n in front is missing.\nt is n cos / (1 + (n - 1) cos), which is 1 for one direction.": lambda tau: (
            _cosine(tau) / (1 + (len(tau) - 1) * _cosine(tau))
        ),
        "The divisor has n where it should have n - 1.": lambda tau: (
            len(tau) * _cosine(tau) / (1 + len(tau) * _cosine(tau))
        ),
        "n is the number of task vectors, dim 0, not of their entries.": lambda tau: _t(_cosine(tau), tau.shape[1]),
        "Each vector is compared with their mean: compare them with each other.": _from(
            lambda tau: torch.cosine_similarity(tau, tau.mean(0, keepdim=True)).mean()
        ),
    },
    equal=_equal,
    explain=_explain,
    hints=[
        "What does it mean for the mean of the task vectors if they all point the same way? And if they are at right "
        "angles, so that they share nothing?",
        "Divide each row by its length; then unit @ unit.T holds all cosines. Average those above the diagonal, and "
        "put the average into n cos / (1 + (n - 1) cos).",
        "unit = tau / tau.norm(dim=1, keepdim=True); cos = ((unit @ unit.T).sum() - n) / (n * (n - 1))",
    ],
)
