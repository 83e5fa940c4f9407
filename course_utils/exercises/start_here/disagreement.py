"""Why a mixture is never worse than its average member: the disagreement."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, case, draw, long_input

WEIGHTS = torch.tensor([0.5, 0.2, 0.3])


def disagreement(token_log_probs: Tensor, weights: Tensor) -> Tensor:
    """The mean loss of the members minus the loss of their mixture, averaged over the tokens. One number, never < 0.

        1/N sum_n [log sum_m w_m P_m(y_n) - sum_m w_m log P_m(y_n)]

    token_log_probs (M, N): log P_m(y_n) of the observed tokens; weights (M,): not negative, they sum to 1.
    Source: Jensen's inequality; for squared errors Krogh & Vedelsby (1995).
    """
    mixture = torch.logsumexp(token_log_probs + weights.log()[:, None], dim=0)  # (N,)
    return (mixture - weights @ token_log_probs).mean()


def _mixture(x: Tensor, w: Tensor) -> Tensor:
    return torch.logsumexp(x + w.log()[:, None], dim=0)


def _members(seed: int, members: int = 3, tokens: int = 7) -> Tensor:
    return 2 * draw(members, tokens, seed=seed) - 4


EXERCISE = Exercise(
    "start_here.disagreement",
    reference=disagreement,
    what="the disagreement",
    cases=[
        case("three members with weights of their own", _members(501), WEIGHTS),
        case("two members, half and half", _members(502, 2, 5), torch.tensor([0.5, 0.5])),
        case("members that are all the same do not disagree", _members(503, 1).repeat(3, 1), WEIGHTS),
        case("one member alone", _members(504, 1), torch.ones(1)),
        case("very small probabilities", 40 * _members(505), WEIGHTS),
    ],
    corners=[long_input("token_log_probs")],
    mistakes={
        "The sign is the wrong way round: the mixture's loss is the smaller one, so it is subtracted from "
        "the members'.": lambda x, w: -disagreement(x, w),
        "This is the loss of the mixture alone.\nSubtract it from the mean loss of its members.": lambda x, w: (
            -_mixture(x, w).mean()
        ),
        "This is the mean loss of the members alone.\nThe loss of their mixture goes off.": lambda x, w: (
            -(w @ x).mean()
        ),
        "The members count the same in your result: weight their losses, and their probabilities.": [
            lambda x, w: disagreement(x, torch.full_like(w, 1 / len(w))),
            lambda x, w: _mixture(x, w).mean() - x.mean(),
            lambda x, w: (torch.logsumexp(x, 0) - torch.tensor(float(len(w))).log() - w @ x).mean(),
        ],
        "Your mixture has no weights: its probabilities are added up.\n"
        "Weight each member's probability before the sum.": lambda x, w: (torch.logsumexp(x, 0) - w @ x).mean(),
        "You summed over the tokens: the mean is asked for.": lambda x, w: disagreement(x, w) * x.shape[1],
        "There is one number for each token in your result: take their mean.": lambda x, w: _mixture(x, w) - w @ x,
        "The best member is compared with the mixture: the comparison is with the members' mean loss.": lambda x, w: (
            _mixture(x, w).mean() - x.mean(1).max()
        ),
        "You mixed whole texts: the mean over the tokens comes after the logarithm of the mixture.": lambda x, w: (
            torch.logsumexp(x.mean(1) + w.log(), 0) - w @ x.mean(1)
        ),
        "exp() of so small a log-probability is 0 in the computer, and its logarithm -inf.\n"
        "torch.logsumexp adds probabilities without leaving the logarithm.": lambda x, w: (
            (w @ x.exp()).log() - w @ x
        ).mean(),
    },
    hints=[
        "Write down two losses, each a mean over the tokens: of the mixture, and the weighted mean of the members'.",
        "The mixture's log-probability is log sum_m w_m P_m = logsumexp of (log P_m + log w_m) over the members.",
        "mixture = torch.logsumexp(token_log_probs + weights.log()[:, None], dim=0); "
        "(mixture - weights @ token_log_probs).mean()",
    ],
)
