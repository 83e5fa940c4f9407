"""One step back on a chain of tokens whose first token is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_utils.diffusion.discrete import absorbing_transition, cumulative, even_schedule
from course_utils.exercises.engine import Exercise, case, one_row
from course_utils.exercises.refinement_and_diffusion import chain, ids

BAYES = (
    "It is, for each j, the chance that j becomes x_t times the chance that x0 has become j, divided by the sum of "
    "these products over j."
)
PICKED = "This is one token for each text: return the chances of all K, (B, K)."
MATRIX = "This is a matrix for each text.\nOf Q only the column x_t is needed, of Qbar_before the row x0."
ONE_TEXT = "There is one text here, and its axis is gone, as squeeze() takes it."


def posterior(x_t: Tensor, x0: Tensor, Q: Tensor, Qbar_before: Tensor) -> Tensor:
    """q(x_{t-1} = j | x_t, x0) = Q[j, x_t] Qbar_before[x0, j] / their sum over j: ids x_t, x0 (B,) -> (B, K).

    Q, Qbar_before (K, K): rows sum to 1. The column of Q that leads to x_t, times the row of Qbar_{t-1} that leaves x0.
    Source: Austin et al. (2021), section 3, equation 3.
    """
    joint = Q.T[x_t] * Qbar_before[x0]
    return joint / joint.sum(dim=-1, keepdim=True)


def inputs(B: int, K: int, steps: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ids x_t, x0 (B,), Q_t and Qbar_{t-1} (K, K), for t = steps + 1 of a random chain."""
    Qs = chain(steps + 1, K, seed=seed)
    return ids(K, B, seed=seed + 1), ids(K, B, seed=seed + 2), Qs[-1], cumulative(Qs[:-1])[-1]


def _joint(x_t: Tensor, x0: Tensor, Q: Tensor, before: Tensor) -> Tensor:
    """The right distribution, not yet normalised."""
    return Q.T[x_t] * before[x0]


def _rows(values: Tensor) -> Tensor:
    return values / values.sum(-1, keepdim=True)


def _inverse(of: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda x_t, x0, Q, before: of(torch.linalg.pinv(Q.double()), x_t, x0, before)


def _shape(got: Any, expected: Tensor, x_t: Tensor, x0: Tensor, Q: Tensor, before: Tensor) -> str:
    B, K, shape = len(x_t), len(Q), tuple(getattr(got, "shape", ()))
    said = {(K,): ONE_TEXT if B == 1 else "", (B,): PICKED, (B, K, K): MATRIX, (K, K): MATRIX, (B, B): MATRIX}.get(
        shape
    )
    return f"{said} (Yours has shape {shape}, it should be {(B, K)}.)" if said and shape != expected.shape else ""


_, _, Q, BEFORE = inputs(9, 3, 2, seed=1041)
ABSORBING = absorbing_transition(even_schedule(8), 5, 4)
X0 = torch.tensor([0, 1, 2, 3, 2])
HALF_MASKED = torch.where(torch.tensor([True, False, True, False, False]), 4, X0)

EXERCISE = Exercise(
    "refinement_and_diffusion.posterior",
    reference=posterior,
    returns="probabilities",
    what="your result",
    right=BAYES,
    nan="Is there a 0/0 or, with logarithms, a -inf - (-inf)?",
    unnormalised="The product is right, and its sum over the K tokens is q(x_t | x0): divide by it.",
    sizes=lambda x_t, x0, Q, before: {len(x_t): "B texts", len(Q): "K tokens"},
    explain=_shape,
    errors={
        "same dtype|scalar type|dtype|1D tensors expected|size mismatch|mat1 and mat2|dot": (
            "x_t and x0 are ids, not one-hot rows.\nA row for each text is an index, Q[x]; x @ Q needs one-hot floats."
        ),
        "out of bounds|out of range": "An index is too large: the ids select among the K rows or columns.",
        "shapes": "The shapes do not line up.\nx_t, x0 are ids (B,): Q[:, x_t] is (K, B), Qbar_before[x0] is (B, K).",
    },
    cases=[
        case("7 texts and 5 tokens", *inputs(7, 5, 2, seed=1057)),
        case("three tokens, all nine pairs of x_t and x0", torch.arange(9) // 3, torch.arange(9) % 3, Q, BEFORE),
        case("4 texts and 4 tokens", *inputs(4, 4, 1, seed=1054)),
        case(
            "t = 1: no step before, Qbar_before is the identity, and x_0 is certain",
            *inputs(5, 4, 1, seed=1061)[:3],
            torch.eye(4),
        ),
        case("the absorbing process in float64, half-way", HALF_MASKED, X0, ABSORBING[3], cumulative(ABSORBING)[2]),
    ],
    corners=[one_row("x_t", "x0")],
    atol=1e-4,
    mistakes={
        "The row of Q is read, where x_t would go in a further step.\n"
        "The question is which x_{t-1} led to x_t: the column Q[:, x_t] (in the paper x_t Q_t^T).": (
            lambda x_t, x0, Q, before: Q[x_t] * before[x0]
        ),
        "The column of Qbar_before is read.\nIts row x0 tells where x0 has gone in t - 1 steps.": (
            lambda x_t, x0, Q, before: Q.T[x_t] * before.T[x0]
        ),
        "Both matrices are read in the wrong direction.\nThe column x_t of Q, the row x0 of Qbar_before.": (
            lambda x_t, x0, Q, before: Q[x_t] * before.T[x0]
        ),
        "x_t and x0 are swapped: Q, the last step, leads to x_t, and Qbar_before, the steps before, leave from x0.": [
            lambda x_t, x0, Q, before: Q.T[x0] * before[x_t],
            lambda x_t, x0, Q, before: Q[x0] * before.T[x_t],
            lambda x_t, x0, Q, before: Q[x0] * before[x_t],
        ],
        "Qbar_t = Qbar_{t-1} Q_t is in yours, which leads to x_t.\nThe row that is asked for ends at x_{t-1}.": [
            lambda x_t, x0, Q, before: Q.T[x_t] * (before @ Q)[x0],
            lambda x_t, x0, Q, before: Q[x_t] * (before @ Q)[x0],
        ],
        "The two chances are added, or averaged.\nBoth must happen, so they are multiplied.": [
            lambda x_t, x0, Q, before: Q.T[x_t] + before[x0],
            lambda x_t, x0, Q, before: Q[x_t] + before[x0],
        ],
        "x0 is not used: this is what x_t alone says about x_{t-1}.\nMultiply by the chance that x0 becomes j.": [
            *[lambda x_t, x0, Q, before: Q.T[x_t], lambda x_t, x0, Q, before: Q[x_t]],
        ],
        "x_t is not used: this is q(x_{t-1} | x0).\n"
        "Multiply by the chance that j becomes x_t, Q[:, x_t].": lambda x_t, x0, Q, before: before[x0],
        "This is q(x_t | x0), the way forward: return the distribution of x_{t-1}.": (
            lambda x_t, x0, Q, before: (before @ Q)[x0]
        ),
        "This is a softmax of the product of probabilities, or of the result.\nDivide the product by its sum.": [
            lambda x_t, x0, Q, before: _joint(x_t, x0, Q, before).softmax(-1),
            lambda x_t, x0, Q, before: _rows(_joint(x_t, x0, Q, before)).softmax(-1),
        ],
        "The same matrix is used twice: Q is the last step, Qbar_before the t - 1 steps before it.": [
            lambda x_t, x0, Q, before: Q.T[x_t] * Q[x0],
            lambda x_t, x0, Q, before: before.T[x_t] * before[x0],
        ],
        "Your divisor is the sum over the batch, or over everything.\n"
        "Each text has a distribution of its own: the sum runs over the K tokens.": [
            lambda x_t, x0, Q, before: _joint(x_t, x0, Q, before) / _joint(x_t, x0, Q, before).sum(0),
            lambda x_t, x0, Q, before: _joint(x_t, x0, Q, before) / _joint(x_t, x0, Q, before).sum(),
        ],
        "This is a certain x_{t-1}: return the chances of all K tokens.": lambda x_t, x0, Q, before: (
            torch.nn.functional.one_hot(_joint(x_t, x0, Q, before).argmax(-1), len(Q)).double()
        ),
        "You give all tokens the same chance.": lambda x_t, x0, Q, before: torch.full_like(
            _joint(x_t, x0, Q, before), 1 / len(Q)
        ),
        "This is made of the inverse of Q, which has negative entries.\nA step back is Bayes' rule.": [
            _inverse(lambda back, x_t, x0, before: back[x_t]),
            _inverse(lambda back, x_t, x0, before: back[x_t] * before[x0]),
            _inverse(lambda back, x_t, x0, before: _rows(back.T[x_t] * before[x0])),
        ],
    },
    hints=[
        "Try one text and one j: how likely is it that x0 has become j, and that j then becomes x_t? Which "
        "entries are these?",
        "They are Qbar_before[x0, j] and Q[j, x_t]: for all j at once a row of the one and a column of the other."
        " Their product is right up to a factor, q(x_t | x0), which is its sum over j.",
        "joint = Q.T[x_t] * Qbar_before[x0]; joint / joint.sum(dim=-1, keepdim=True)",
    ],
)
