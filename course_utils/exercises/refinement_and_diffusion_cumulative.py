"""Tests of 10_refinement_and_diffusion: the transition matrix of the first t steps together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from course_utils.diffusion.discrete import absorbing_transition, cumulative, even_schedule
from course_utils.exercises.engine import Mistake
from course_utils.exercises.mistakes import draw
from course_utils.exercises.refinement_and_diffusion_checks import compare

PRODUCTS = "Begin with Q_1 and multiply each next matrix from the RIGHT: Qbar_t = Qbar_{t-1} @ Q_t."
ORDER = (
    "You multiply from the left, Q_t ... Q_2 Q_1. A distribution is a row here, x_0 Q_1 Q_2 ...: the first step stands next to"
    " x_0, the leftmost: Qbar_t = Qbar_{t-1} @ Q_t."
)
ELEMENTS = (
    "You multiply the matrices entry by entry (cumprod, *): rows no longer sum to 1. Steps follow each other by the matrix product,"
    " @."
)
SUM = "You add the matrices up (or average them): steps that follow each other are a PRODUCT of matrices."
POWER = "You take powers of a single matrix: every step has its own Q_t, so multiply all of them up to t."
TRANSPOSED = "Your matrices are transposed: rows must sum to 1, [Qbar_t]_ij is the chance that i becomes j."
TRANSPOSED_STEP = "You transpose the steps before you multiply them: use them as they are, Qbar_{t-1} @ Q_t."
IDENTITY = "Yours begins with the identity, that is with t = 0: the first matrix is Qbar_1 = Q_1."
NO_FIRST = "The first step is missing: Qbar_1 = Q_1, and every later product contains Q_1."
FIRST_TWICE = "Q_1 is in your products twice: if you begin with Q_1, the loop goes over the others, Qs[1:]."
LAST = "Only the product of all T steps is here: keep Qbar_t for EVERY t, in a list, and torch.stack it."
LAST_ALL = "Every t has the same matrix: Qbar_t is the product of the first t steps only."
SINGLE = "These are the single steps Q_t, or products of two: Qbar_t takes ALL steps from 1 to t together."
SQUARED = "You multiply each matrix by itself: Qbar_t is the product of DIFFERENT matrices, Q_1 to Q_t."
FROM_THE_END = "Your products run to the last step, Q_t ... Q_T: they are to begin with Q_1 and end with Q_t."
BACKWARDS = "Your matrices are in reversed order: Qbar_1 = Q_1 comes first."
AXIS = "You multiply along an axis of the matrices: the steps are dim 0, and the product is the matrix product, @."
RESCALED = "You normalise the result: a product of matrices whose rows sum to 1 has such rows already. Look for the product itself."
LISTED = "You return a list of matrices: torch.stack(them) makes one tensor (T, K, K)."
CLASH = "The shapes do not line up: Qs is (T, K, K), each step Q_t is Qs[t - 1], (K, K), and Qbar_{t-1} @ Q_t is (K, K) too."
COMPLAINTS = [
    (
        r"index .* out of (bounds|range)|list index out of range",
        "Qs has T matrices, Qs[0] is Q_1 and Qs[T - 1] is Q_T.",
    ),
    (
        r"has no attribute '(cummatmul|cummm|cumdot)'",
        "There is no running matrix product in torch: use a loop over the T steps.",
    ),
]


def _products(matrices: Sequence[Tensor], left: bool = False) -> Tensor:
    """Running products, each next matrix from the right, or from the left."""
    found = [matrices[0]]
    for Q in matrices[1:]:
        found.append(Q @ found[-1] if left else found[-1] @ Q)
    return torch.stack(found)


def _with_identity(Qs: Tensor) -> Tensor:
    return torch.cat([torch.eye(Qs.shape[1])[None], Qs])


def _powers(Qs: Tensor, last: bool = False) -> Tensor:
    """Q_1^t, or Q_t^t."""
    return torch.stack([(Q if last else Qs[0]).matrix_power(t) for t, Q in enumerate(Qs, start=1)])


def _rows(values: Tensor) -> Tensor:
    return values / values.sum(-1, keepdim=True)


def _pairs(Qs: Tensor) -> Tensor:
    return torch.cat([Qs[:1], Qs[:-1] @ Qs[1:]])


MISTAKES = [
    (ORDER, lambda Qs: _products(Qs, left=True)),
    (ELEMENTS, lambda Qs: Qs.cumprod(0)),
    (RESCALED, lambda Qs: _rows(Qs.cumprod(0))),
    (RESCALED, lambda Qs: cumulative(Qs).softmax(-1)),
    (SUM, lambda Qs: Qs.cumsum(0)),
    (SUM, lambda Qs: _rows(Qs.cumsum(0))),
    (POWER, _powers),
    (POWER, lambda Qs: _powers(Qs, last=True)),
    (POWER, lambda Qs: Qs[:1].expand_as(Qs)),
    (TRANSPOSED, lambda Qs: cumulative(Qs).mT),
    (TRANSPOSED, lambda Qs: _products(Qs, left=True).mT),
    (TRANSPOSED_STEP, lambda Qs: torch.stack([Qs[0], *_products([Qs[0], *Qs[1:].mT])[1:]])),
    (TRANSPOSED_STEP, lambda Qs: _products([Qs[0], *Qs[1:].mT], left=True)),
    (IDENTITY, lambda Qs: cumulative(_with_identity(Qs))[:-1]),
    (IDENTITY, lambda Qs: cumulative(_with_identity(Qs))),
    (NO_FIRST, lambda Qs: cumulative(_with_identity(Qs[1:]))),
    (NO_FIRST, lambda Qs: _products([*Qs[1:], Qs[-1]])),
    (FIRST_TWICE, lambda Qs: _products([Qs[0], *Qs])[1:]),
    (FIRST_TWICE, lambda Qs: _products([Qs[0], *Qs])[:-1]),
    (LAST_ALL, lambda Qs: cumulative(Qs)[-1:].expand_as(Qs)),
    (LAST_ALL, lambda Qs: _products(Qs, left=True)[-1:].expand_as(Qs)),
    (SINGLE, lambda Qs: Qs),
    (SINGLE, _pairs),
    (SQUARED, lambda Qs: Qs @ Qs),
    (FROM_THE_END, lambda Qs: _products(Qs.flip(0), left=True).flip(0)),
    (FROM_THE_END, lambda Qs: _products(Qs.flip(0), left=True)),
    (FROM_THE_END, lambda Qs: _products(Qs.flip(0))),
    (FROM_THE_END, lambda Qs: _products(Qs.flip(0)).flip(0)),
    (BACKWARDS, lambda Qs: cumulative(Qs).flip(0)),
    (AXIS, lambda Qs: Qs.cumprod(1)),
    (AXIS, lambda Qs: Qs.cumprod(2)),
]


def chain(T: int, K: int, seed: int) -> Tensor:
    """T random transition matrices, far from symmetric and from each other: (T, K, K), rows sum to 1."""
    return (1.5 * draw(T, K, K, seed=seed)).softmax(-1)


CASES = [(chain(4, 3, seed=1031),), (chain(3, 3, seed=1032),)]


def _look(got: Any, expected: Tensor) -> None:
    if (
        isinstance(got, (list, tuple))
        and len(got)
        and all(isinstance(part, Tensor) and part.dim() == 2 for part in got)
    ):
        raise Mistake(LISTED)


def _check(answer: Callable, Qs: Tensor) -> None:
    T, K = len(Qs), Qs.shape[1]
    told = {
        (K, K): LAST,
        (T + 1, K, K): IDENTITY,
        (T, K): "The chances to go from every token to every other are (K, K) for each t.",
    }
    if T > 1:
        told[T - 1, K, K] = NO_FIRST
    compare(answer, (Qs,), cumulative, CASES, MISTAKES, PRODUCTS, CLASH, COMPLAINTS, told, _look)


def products_random(answer: Callable) -> None:
    """random matrices, 4 and 3 steps with 3 tokens, then 6 steps with 5 tokens"""
    for Qs in (*(case[0] for case in CASES), chain(6, 5, seed=1033)):
        _check(answer, Qs)


def products_ends(answer: Callable) -> None:
    """a single step: Qbar_1 = Q_1; two steps; 2 tokens"""
    _check(answer, chain(1, 4, seed=1034))
    _check(answer, chain(2, 3, seed=1035))
    _check(answer, chain(5, 2, seed=1036))


def products_certain(answer: Callable) -> None:
    """steps that are certain: 0 becomes 1 in step 1, 1 becomes 2 in step 2, so 0 ends as 2"""
    first, second = torch.eye(3), torch.eye(3)
    first[0], second[1] = torch.tensor([0.0, 1, 0]), torch.tensor([0.0, 0, 1])
    _check(answer, torch.stack([first, second]))


def products_absorbing(answer: Callable) -> None:
    """the absorbing process with beta_t = 1 / (T - t + 1), in float64: after t of 8 steps a token is masked with chance t/8"""
    _check(answer, absorbing_transition(even_schedule(8), 4, 3))
