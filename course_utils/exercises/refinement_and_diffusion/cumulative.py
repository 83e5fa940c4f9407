"""The transition matrix of the first t steps together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from course_utils.diffusion.discrete import absorbing_transition, cumulative, even_schedule
from course_utils.exercises.engine import Exercise, case
from course_utils.exercises.refinement_and_diffusion import chain

PRODUCTS = "Qbar_t is the product Q_1 Q_2 ... Q_t, in this order."
LAST = "Only the product of all T steps is here: Qbar_t is asked for every t."
IDENTITY = "Yours begins with the identity, that is with t = 0: the first matrix is Qbar_1 = Q_1."
NO_FIRST = "The first step is missing: Qbar_1 = Q_1, and every later product contains Q_1."
LISTED = "You return a list of matrices: torch.stack(them) makes one tensor (T, K, K)."
CLASH = (
    "The shapes do not line up: Qs is (T, K, K), each step Q_t is Qs[t - 1], (K, K), and Qbar_{t-1} @ Q_t is "
    "(K, K) too."
)


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


def _what_is_wrong(got: Any, expected: Tensor, Qs: Tensor) -> str:
    if isinstance(got, (list, tuple)) and got and all(isinstance(part, Tensor) and part.dim() == 2 for part in got):
        return LISTED
    T, K = Qs.shape[:2]
    told = {
        (K, K): LAST,
        (T + 1, K, K): IDENTITY,
        (T - 1, K, K): NO_FIRST,
        (T, K): "The chances to go from every token to every other are (K, K) for each t.",
    }
    shape = tuple(getattr(got, "shape", ()))
    return f"{told[shape]} (Yours has shape {shape}, it should be {(T, K, K)}.)" if shape in told else ""


CERTAIN = torch.tensor([[[0.0, 1, 0], [0, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 0, 1], [0, 0, 1]]])

EXERCISE = Exercise(
    "refinement_and_diffusion.cumulative",
    reference=cumulative,
    what="your result",
    right=PRODUCTS,
    errors={
        r"index .* out of (bounds|range)|list index out of range": (
            "Qs has T matrices, Qs[0] is Q_1 and Qs[T - 1] is Q_T."
        ),
        r"has no attribute '(cummatmul|cummm|cumdot)'": (
            "There is no running matrix product in torch: use a loop over the T steps."
        ),
        "shapes": CLASH,
    },
    explain=_what_is_wrong,
    cases=[
        case("4 random matrices, 3 tokens", chain(4, 3, seed=1031)),
        case("3 steps, 3 tokens", chain(3, 3, seed=1032)),
        case("6 steps, 5 tokens", chain(6, 5, seed=1033)),
        case("a single step: Qbar_1 = Q_1", chain(1, 4, seed=1034)),
        case("steps that are certain: 0 becomes 1 in step 1, 1 becomes 2 in step 2, so 0 ends as 2", CERTAIN),
        case(
            "the absorbing process with beta_t = 1 / (T - t + 1), in float64",
            absorbing_transition(even_schedule(8), 4, 3),
        ),
    ],
    atol=1e-5,
    mistakes={
        "The last step stands first: these are products from the left.\n"
        "A distribution is a row here, x_0 Q_1 Q_2 ...: the first step stands next to x_0.": lambda Qs: _products(
            Qs, left=True
        ),
        "These are products entry by entry (cumprod, *).\nSteps follow each other by the matrix product, @.": [
            *[lambda Qs: Qs.cumprod(0), lambda Qs: _rows(Qs.cumprod(0))],
        ],
        "These are sums of the matrices, or means.\nSteps that follow each other are a product of matrices.": [
            *[lambda Qs: Qs.cumsum(0), lambda Qs: _rows(Qs.cumsum(0))],
        ],
        "These are powers of a single matrix.\nEvery step has its own Q_t: multiply all of them up to t.": [
            *[_powers, lambda Qs: _powers(Qs, last=True), lambda Qs: Qs[:1].expand_as(Qs)],
        ],
        "Your matrices are transposed: rows must sum to 1, [Qbar_t]_ij is the chance that i becomes j.": [
            lambda Qs: cumulative(Qs).mT,
            lambda Qs: _products(Qs, left=True).mT,
        ],
        "The steps are transposed before they are multiplied.\nUse them as they are.": [
            lambda Qs: torch.stack([Qs[0], *_products([Qs[0], *Qs[1:].mT])[1:]])
        ],
        IDENTITY: [lambda Qs: cumulative(_with_identity(Qs))[:-1], lambda Qs: cumulative(_with_identity(Qs))],
        NO_FIRST: lambda Qs: cumulative(_with_identity(Qs[1:])),
        "Q_1 is in your products twice: if you begin with Q_1, the loop goes over the others, Qs[1:].": [
            *[lambda Qs: _products([Qs[0], *Qs])[1:], lambda Qs: _products([Qs[0], *Qs])[:-1]],
        ],
        "Every t has the same matrix: Qbar_t is the product of the first t steps only.": [
            lambda Qs: cumulative(Qs)[-1:].expand_as(Qs)
        ],
        "These are the single steps Q_t, or products of two: Qbar_t takes all steps from 1 to t together.": [
            *[lambda Qs: Qs, _pairs],
        ],
        "These are squares: Qbar_t is the product of different matrices, Q_1 to Q_t.": lambda Qs: Qs @ Qs,
        "Your products run to the last step, Q_T.\nThey are to begin with Q_1 and end with Q_t.": [
            *[lambda Qs: _products(Qs.flip(0), left=True).flip(0), lambda Qs: _products(Qs.flip(0)).flip(0)],
            lambda Qs: _products(Qs.flip(0)),
        ],
        "Your matrices are in reversed order: Qbar_1 = Q_1 comes first.": lambda Qs: cumulative(Qs).flip(0),
        "These are products along an axis of the matrices.\nThe steps are dim 0, and the product is @.": [
            *[lambda Qs: Qs.cumprod(1), lambda Qs: Qs.cumprod(2)],
        ],
    },
    hints=[
        "A distribution is a row. After step 1 it is x_0 Q_1, after step 2 x_0 Q_1 Q_2: on which side does the "
        "next matrix stand?",
        "A loop over the steps: begin with Q_1, the next one is what you have @ Q_t. Keep all of them in a list "
        "and stack it.",
        "from itertools import accumulate; torch.stack(list(accumulate(Qs, torch.matmul)))",
    ],
)
