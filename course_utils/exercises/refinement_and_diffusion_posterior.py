"""Tests of 10_refinement_and_diffusion: one step back on a chain of tokens whose first token is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_utils.diffusion.discrete import absorbing_transition, cumulative, even_schedule
from course_utils.exercises.diagnose import Known, judge
from course_utils.exercises.engine import Mistake
from course_utils.exercises.engine.calls import same
from course_utils.exercises.mistakes import alike
from course_utils.exercises.refinement_and_diffusion_checks import OWN, ids
from course_utils.exercises.refinement_and_diffusion_cumulative import chain
from course_utils.exercises.task_vectors_checks import tried


def posterior(x_t: Tensor, x0: Tensor, Q: Tensor, Qbar_before: Tensor) -> Tensor:
    """q(x_{t-1} = j | x_t, x0) = Q[j, x_t] Qbar_before[x0, j] / their sum over j: ids x_t, x0 (B,) -> (B, K).

    Q, Qbar_before (K, K): rows sum to 1. The column of Q that leads to x_t, times the row of Qbar_{t-1} that leaves x0.
    Source: Austin et al. (2021), section 3, equation 3.
    """
    joint = Q.T[x_t] * Qbar_before[x0]
    return joint / joint.sum(dim=-1, keepdim=True)


BAYES = (
    "For each j: the chance that j becomes x_t, Q[j, x_t], times the chance that x0 has become j, Qbar_before[x0, j]; then divide by"
    " their sum over j."
)
ROW = (
    "You read the ROW Q[x_t]: where x_t would go in a further step. Asked is which x_{t-1} led to x_t, the COLUMN Q[:, x_t] (in the"
    " paper x_t Q_t^T)."
)
BEFORE_COLUMN = (
    "You read the column of Qbar_before: its ROW x0 tells where x0 has gone in t - 1 steps, Qbar_before[x0]."
)
BOTH = "Both matrices are read in the wrong direction: the column Q[:, x_t] and the row Qbar_before[x0]."
SWAPPED = "x_t and x0 are swapped: Q, the last step, leads to x_t, and Qbar_before, the steps before, leave from x0."
ONE_STEP_TOO_FAR = "You use Qbar_t = Qbar_{t-1} Q_t, which leads to x_t. The row that is asked for ends at x_{t-1}: Qbar_before[x0] as it is."
SUM = "You add the two chances (or average them): both must happen, so they are multiplied."
ONLY_LAST = "x0 is not used: this is what x_t alone says about x_{t-1}. Multiply by the chance that x0 becomes j, Qbar_before[x0]."
ONLY_BEFORE = "x_t is not used: this is q(x_{t-1} | x0). Multiply by the chance that j becomes x_t, Q[:, x_t]."
FORWARD = "This is q(x_t | x0), the way forward: asked is the distribution of x_{t-1}."
SOFTMAX = (
    "You take the softmax of a product of probabilities: it is a weight already, divide it by its sum. (Of its LOGARITHM a softmax"
    " would be right.)"
)
SAME = "You use the same matrix twice: Q is the last step, Qbar_before the t - 1 steps before it."
OVER_BATCH = "You divide by the sum over the batch (dim 0): each text has a distribution of its own, the sum runs over the K tokens, dim=-1."
TOTAL = (
    "You divide by the sum of the whole tensor: each text has a distribution of its own, the sum runs over the K tokens, dim=-1,"
    " keepdim=True."
)
CERTAIN = "This is a certain x_{t-1}: asked are the chances of all K tokens."
UNIFORM = "You give all tokens the same chance."
UNNORMALISED = "The product is right, and its sum over the K tokens is q(x_t | x0): divide by it, with keepdim=True."
INVERSE = "You invert the matrix Q: a step back is no inverse (which has negative entries) but Bayes' rule, with the column Q[:, x_t]."
PICKED = "This is one token for each text: return the chances of all K, (B, K)."
MATRIX = "This is a matrix for each text: x_t is known, so only its column of Q is needed, and only the row x0 of Qbar_before, (B, K)."
NAN = "Is there 0/0? The sum is over the K tokens of ONE text, and positive; add no logarithms of 0 that meet as -inf - (-inf)."
CLASH = (
    "The shapes do not line up: x_t and x0 are ids (B,), so Q[:, x_t] is (K, B), its transpose Q.T[x_t] is (B, K), and so is"
    " Qbar_before[x0]."
)
COMPLAINTS = [
    (
        r"same dtype|expected scalar type|dtype",
        "x_t and x0 are ids, not one-hot rows: x @ Q needs F.one_hot(x, K).float(), and Q[x], a row, is the same and shorter.",
    ),
    (
        r"1D tensors expected|size mismatch|mat1 and mat2|dot",
        "x_t and x0 are ids, not one-hot rows: choose rows with Q[x], columns with Q.T[x].",
    ),
    (
        r"out of bounds|out of range",
        "An index is too large: ids x_t and x0 select among the K rows or columns of a matrix, and B is another size.",
    ),
]


def known(x_t: Tensor, x0: Tensor, Q: Tensor, before: Tensor) -> Known:
    """(hint, what this misconception computes), in float64, not necessarily normalised."""
    Q, before = Q.double(), before.double()
    right, after = Q.T[x_t] * before[x0], before @ Q
    found = [
        (ROW, Q[x_t] * before[x0]),
        (BEFORE_COLUMN, Q.T[x_t] * before.T[x0]),
        (BOTH, Q[x_t] * before.T[x0]),
        (SWAPPED, Q.T[x0] * before[x_t]),
        (SWAPPED, Q[x0] * before.T[x_t]),
        (SWAPPED, Q[x0] * before[x_t]),
        (SWAPPED, Q.T[x0] * before.T[x_t]),
        (ONE_STEP_TOO_FAR, Q.T[x_t] * after[x0]),
        (ONE_STEP_TOO_FAR, Q[x_t] * after[x0]),
        (ONE_STEP_TOO_FAR, Q.T[x_t] * (Q @ before)[x0]),
        (SUM, Q.T[x_t] + before[x0]),
        (SUM, Q[x_t] + before[x0]),
        (SUM, _rows(Q.T[x_t]) + before[x0]),
        (ONLY_LAST, Q.T[x_t]),
        (ONLY_LAST, Q[x_t]),
        (ONLY_BEFORE, before[x0]),
        (FORWARD, after[x0]),
        (FORWARD, after[x0] * Q.T[x_t].sum(-1, keepdim=True)),
        (SOFTMAX, right.softmax(-1)),
        (SOFTMAX, _rows(right).softmax(-1)),
        (SAME, Q.T[x_t] * Q[x0]),
        (SAME, Q[x_t] * Q[x0]),
        (SAME, before.T[x_t] * before[x0]),
        (OVER_BATCH, right / right.sum(0)),
        (TOTAL, right / right.sum()),
        (CERTAIN, torch.nn.functional.one_hot(right.argmax(-1), len(Q)).double()),
        (UNIFORM, torch.full_like(right, 1 / len(Q))),
    ]
    if torch.linalg.det(Q).abs() > 1e-4:
        back = torch.linalg.inv(Q)
        found += [
            (INVERSE, wrong) for wrong in (back[x_t], back.T[x_t], back.T[x_t] * before[x0], back[x_t] * before[x0])
        ]
    return found


def _rows(values: Tensor) -> Tensor:
    return values / values.sum(-1, keepdim=True)


def _check(answer: Callable, *case: Any) -> None:
    x_t, x0, Q, before = case
    got, B, K = tried(answer, *case, clash=CLASH, complaints=COMPLAINTS), len(x_t), len(Q)
    expected = posterior(*case)
    if (
        isinstance(got, Tensor)
        and tuple(got.shape) in ((B,), (B, K, K), (K, K), (B, B))
        and got.shape != expected.shape
    ):
        raise Mistake(
            f"{PICKED if got.dim() == 1 else MATRIX} (Yours has shape {tuple(got.shape)}, it should be {(B, K)}.)"
        )
    mistakes = [(hint, wrong) for hint, wrong in known(*case) if not wrong.isinf().any()]
    for hint, wrong in mistakes:  # what `judge` would see otherwise: right up to a factor, or negative
        if hint in (OVER_BATCH, TOTAL, INVERSE) and any(
            alike(got, form) and not alike(form, expected) for form in (wrong, _rows(wrong))
        ):
            raise Mistake(hint)
    try:
        judge(
            got, expected, log=False, dim=-1, sizes={B: "B texts", K: "K tokens"}, known=mistakes, nan=NAN, unnormalised=UNNORMALISED,
            what="your result", atol=1e-4,
        )  # fmt: skip
    except Mistake as mistake:
        if not same(got, answer(*case)):
            raise Mistake(OWN) from None
        raise Mistake(
            str(mistake) if any(hint in str(mistake) for hint, _ in mistakes) else f"{mistake} {BAYES}"
        ) from None


def inputs(B: int, K: int, steps: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ids x_t, x0 (B,), Q_t and Qbar_{t-1} (K, K), for t = steps + 1 of a random chain."""
    Qs = chain(steps + 1, K, seed=seed)
    return ids(K, B, seed=seed + 1), ids(K, B, seed=seed + 2), Qs[-1], cumulative(Qs[:-1])[-1]


def posterior_small(answer: Callable) -> None:
    """three tokens, the third step of a chain that is not symmetric: all nine pairs of x_t and x0"""
    _, _, Q, before = inputs(9, 3, 2, seed=1041)
    pair = torch.arange(9)
    _check(answer, pair // 3, pair % 3, Q, before)


def posterior_random(answer: Callable) -> None:
    """random chains: 7 texts and 5 tokens, 4 texts and 4 tokens, 2 texts and 6 tokens, a single text"""
    for B, K, steps in ((7, 5, 2), (4, 4, 1), (2, 6, 3), (1, 3, 2)):
        _check(answer, *inputs(B, K, steps, seed=1050 + B))


def posterior_first(answer: Callable) -> None:
    """t = 1: no step before, Qbar_before is the identity, and x_0 is certain"""
    x_t, x0, Q, before = inputs(5, 4, 1, seed=1061)
    _check(answer, x_t, x0, Q, torch.eye(4))


def posterior_absorbing(answer: Callable) -> None:
    """the absorbing process in float64, half-way: a mask may come from x0 or from a mask, a token that is left from itself"""
    Qs = absorbing_transition(even_schedule(8), 5, 4)
    x0 = torch.tensor([0, 1, 2, 3, 2])
    _check(answer, torch.where(torch.tensor([True, False, True, False, False]), 4, x0), x0, Qs[3], cumulative(Qs)[2])
