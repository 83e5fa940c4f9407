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
    "For each j: the chance that j becomes x_t, Q[j, x_t], times the chance that x0 has become j, "
    "Qbar_before[x0, j]; then divide by their sum over j."
)
NAN = (
    "Is there 0/0? The sum is over the K tokens of one text, and positive; add no logarithms of 0 that meet "
    "as -inf - (-inf)."
)
CLASH = (
    "The shapes do not line up: x_t and x0 are ids (B,), so Q[:, x_t] is (K, B), its transpose Q.T[x_t] is "
    "(B, K), and so is Qbar_before[x0]."
)
PICKED = "This is one token for each text: return the chances of all K, (B, K)."
MATRIX = (
    "This is a matrix for each text: x_t is known, so only its column of Q is needed, and only the row x0 of "
    "Qbar_before, (B, K)."
)


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
    if shape == tuple(expected.shape) or shape not in ((B,), (B, K, K), (K, K), (B, B)):
        return ""
    return f"{PICKED if len(shape) == 1 else MATRIX} (Yours has shape {shape}, it should be {(B, K)}.)"


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
    nan=NAN,
    unnormalised="The product is right, and its sum over the K tokens is q(x_t | x0): divide by it, with keepdim=True.",
    sizes=lambda x_t, x0, Q, before: {len(x_t): "B texts", len(Q): "K tokens"},
    explain=_shape,
    errors={
        r"same dtype|expected scalar type|dtype": "x_t and x0 are ids, not one-hot rows: x @ Q needs F.one_hot(x, K).float(), and Q[x], a row, is the same and shorter.",
        r"1D tensors expected|size mismatch|mat1 and mat2|dot": "x_t and x0 are ids, not one-hot rows: choose rows with Q[x], columns with Q.T[x].",
        r"out of bounds|out of range": "An index is too large: ids x_t and x0 select among the K rows or columns of a matrix, and B is another size.",
        "shapes": CLASH,
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
        "You read the row Q[x_t]: where x_t would go in a further step.\n"
        "Asked is which x_{t-1} "
        "led to x_t, the column Q[:, x_t] (in the paper x_t Q_t^T).": lambda x_t, x0, Q, before: Q[x_t] * before[x0],
        "You read the column of Qbar_before: its row x0 tells "
        "where x0 has gone in t - 1 steps, Qbar_before[x0].": lambda x_t, x0, Q, before: Q.T[x_t] * before.T[x0],
        "Both matrices are read in the wrong direction: "
        "the column Q[:, x_t] and the row Qbar_before[x0].": lambda x_t, x0, Q, before: Q[x_t] * before.T[x0],
        "x_t and x0 are swapped: Q, the last step, leads to x_t, and Qbar_before, the steps before, leave from x0.": [
            lambda x_t, x0, Q, before: Q.T[x0] * before[x_t],
            lambda x_t, x0, Q, before: Q[x0] * before.T[x_t],
            lambda x_t, x0, Q, before: Q[x0] * before[x_t],
            lambda x_t, x0, Q, before: Q.T[x0] * before.T[x_t],
        ],
        "You use Qbar_t = Qbar_{t-1} Q_t, which leads to x_t.\n"
        "The row that is asked for ends at x_{t-1}: Qbar_before[x0] as it is.": [
            lambda x_t, x0, Q, before: Q.T[x_t] * (before @ Q)[x0],
            lambda x_t, x0, Q, before: Q[x_t] * (before @ Q)[x0],
            lambda x_t, x0, Q, before: Q.T[x_t] * (Q @ before)[x0],
        ],
        "You add the two chances (or average them): both must happen, so they are multiplied.": [
            lambda x_t, x0, Q, before: Q.T[x_t] + before[x0],
            lambda x_t, x0, Q, before: Q[x_t] + before[x0],
            lambda x_t, x0, Q, before: _rows(Q.T[x_t]) + before[x0],
        ],
        "x0 is not used: this is what x_t alone says about x_{t-1}. Multiply by the chance that x0 becomes j, "
        "Qbar_before[x0].": [lambda x_t, x0, Q, before: Q.T[x_t], lambda x_t, x0, Q, before: Q[x_t]],
        "x_t is not used: this is q(x_{t-1} | x0).\n"
        "Multiply by the chance that j becomes x_t, Q[:, x_t].": lambda x_t, x0, Q, before: before[x0],
        "This is q(x_t | x0), the way forward: asked is the distribution of x_{t-1}.": [
            lambda x_t, x0, Q, before: (before @ Q)[x0],
            lambda x_t, x0, Q, before: (before @ Q)[x0] * Q.T[x_t].sum(-1, keepdim=True),
        ],
        "You take the softmax of a product of probabilities: it is a weight already, divide it by its sum.\n"
        "(Of its logarithm a softmax would be right.)": [
            lambda x_t, x0, Q, before: _joint(x_t, x0, Q, before).softmax(-1),
            lambda x_t, x0, Q, before: _rows(_joint(x_t, x0, Q, before)).softmax(-1),
        ],
        "You use the same matrix twice: Q is the last step, Qbar_before the t - 1 steps before it.": [
            lambda x_t, x0, Q, before: Q.T[x_t] * Q[x0],
            lambda x_t, x0, Q, before: Q[x_t] * Q[x0],
            lambda x_t, x0, Q, before: before.T[x_t] * before[x0],
        ],
        "You divide by the sum over the batch (dim 0): each text has a distribution of its own, the sum runs over "
        "the K "
        "tokens, dim=-1.": lambda x_t, x0, Q, before: _joint(x_t, x0, Q, before) / _joint(x_t, x0, Q, before).sum(0),
        "You divide by the sum of the whole tensor: each text has a distribution of its own, the sum runs over the"
        " K tokens, dim=-1, "
        "keepdim=True.": lambda x_t, x0, Q, before: _joint(x_t, x0, Q, before) / _joint(x_t, x0, Q, before).sum(),
        "This is a certain x_{t-1}: asked are the chances of all K tokens.": lambda x_t, x0, Q, before: (
            torch.nn.functional.one_hot(_joint(x_t, x0, Q, before).argmax(-1), len(Q)).double()
        ),
        "You give all tokens the same chance.": lambda x_t, x0, Q, before: torch.full_like(
            _joint(x_t, x0, Q, before), 1 / len(Q)
        ),
        "You invert the matrix Q: a step back is no inverse (which has negative entries) but Bayes' rule, with the"
        " column Q[:, x_t].": [
            _inverse(lambda back, x_t, x0, before: back[x_t]),
            _inverse(lambda back, x_t, x0, before: back.T[x_t]),
            _inverse(lambda back, x_t, x0, before: back.T[x_t] * before[x0]),
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
