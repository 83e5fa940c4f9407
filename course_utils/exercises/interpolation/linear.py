"""The linear rule: a weighted average of the members' probabilities, an OR."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.ensembling import linear_interpolation
from course_utils.exercises.engine import Exercise, case, mistake
from course_utils.exercises.interpolation import WITH_ZEROS, along, dimensions, random_log_probs, zero_times


def _weighted(log_probs: Tensor, weights: Tensor) -> Tensor:
    """w_m P_m, (M, B, V)."""
    return weights[:, None, None] * log_probs.exp()


def _vetoed(log_probs: Tensor, weights: Tensor) -> Tensor:
    return _weighted(log_probs, weights).sum(0).log().masked_fill(log_probs.isneginf().any(0), -torch.inf)


EXERCISE = Exercise(
    "interpolation.linear",
    reference=linear_interpolation,
    returns="log-probabilities",
    what="the mixture",
    sizes=lambda log_probs, weights: dimensions("MBV", *log_probs.shape),
    nan="A probability of 0 has the logarithm -inf, and 0 * -inf and -inf - (-inf) are nan. Multiply probabilities by "
    "weights (0.3 * 0 = 0), not log-probabilities.",
    unnormalised="Right up to a factor: weights that sum to 1 and members that sum to 1 give a sum of 1, nothing "
    "else is to be divided or added.",
    errors={
        "shapes": "The weights do not line up: torch aligns shapes from the last dimension, and log_probs is (M, B,"
        " V). Weight m belongs to member m, the first dimension: which shape do the weights need?"
    },
    cases=[
        case(
            "three members, four contexts: the weighted average of the probabilities",
            random_log_probs(3, 4, 6, seed=1),
            torch.tensor([0.6, 0.3, 0.1]),
        ),
        case(
            "as many contexts and tokens as members: the weights belong to the members",
            random_log_probs(3, 3, 3, seed=2),
            torch.tensor([0.2, 0.7, 0.1]),
        ),
        case("zero probabilities (-inf): one member's, everybody's", WITH_ZEROS, torch.tensor([0.75, 0.25])),
        case("a weight of 0 switches a member off, also its zeros", WITH_ZEROS, torch.tensor([1.0, 0.0])),
        case("one context is a batch too", random_log_probs(2, 1, 5, seed=3), torch.tensor([0.3, 0.7])),
    ],
    mistakes=[
        mistake(
            "You averaged the log-probabilities: this is log-linear (an AND). Does exp() of it sum to 1?",
            lambda log_probs, weights: zero_times(weights[:, None, None], log_probs).sum(0),
            pointer="The linear rule averages the probabilities and takes the logarithm afterwards.",
        ),
        mistake(
            "You averaged the log-probabilities, and without the weights.",
            lambda log_probs, weights: log_probs.mean(0),
            pointer="The linear rule weights and adds the probabilities and takes the logarithm afterwards.",
        ),
        *[
            mistake(
                f"The weights were applied to the wrong axis (the {axis}): weight m belongs to member m, dimension 0.",
                lambda log_probs, weights, dim=dim: (along(dim, weights, log_probs) * log_probs.exp()).sum(0).log(),
            )
            for dim, axis in ((1, "contexts"), (2, "tokens"))
        ],
        mistake(
            "The weights are ignored: all members count the same.",
            lambda log_probs, weights: log_probs.exp().mean(0).log(),
        ),
        mistake(
            "You take the softmax again: it flattens a distribution.",
            lambda log_probs, weights: _weighted(log_probs, weights).sum(0).log_softmax(-1),
            pointer="The weighted average of distributions already sums to 1: take only its log.",
        ),
        mistake(
            "The weights went through a softmax.",
            lambda log_probs, weights: _weighted(log_probs, weights.softmax(0)).sum(0).log(),
            pointer="They already sum to 1: use them as they are.",
        ),
        mistake(
            "You took the largest term where the rule takes the sum over the members.",
            lambda log_probs, weights: _weighted(log_probs, weights).amax(0).log(),
        ),
        mistake(
            "You took the largest probability where the rule takes the weighted sum over the members.",
            lambda log_probs, weights: log_probs.amax(0),
        ),
        mistake(
            "You added the weights to the log-probabilities.",
            lambda log_probs, weights: (weights[:, None, None] + log_probs).logsumexp(0),
            pointer="In logarithms a factor w_m is + log w_m.",
        ),
        mistake(
            "You raised P_m to the power w_m, by a factor before the logarithm was undone.",
            lambda log_probs, weights: zero_times(weights[:, None, None], log_probs).logsumexp(0),
            pointer="The linear rule multiplies P_m by w_m.",
        ),
        mistake(
            "You normalised over the members, by a softmax or a division over dimension 0.",
            lambda log_probs, weights: (weights[:, None, None] * log_probs.softmax(0)).sum(0).log(),
            pointer="Each member sums to 1 over the tokens already, and so does the mixture.",
        ),
        mistake(
            "You applied a softmax to the members' probabilities: they sum to 1 already.",
            lambda log_probs, weights: (weights[:, None, None] * log_probs.exp().softmax(-1)).sum(0).log(),
        ),
        mistake(
            "A token that one member rules out is ruled out altogether here. In a sum one term above 0 is enough (OR).",
            _vetoed,
        ),
        mistake(
            "The sign is wrong: a log-probability is never above 0.",
            lambda log_probs, weights: -_weighted(log_probs, weights).sum(0).log(),
        ),
        mistake(
            "This is not the natural logarithm.",
            lambda log_probs, weights: _weighted(log_probs, weights).sum(0).log2(),
            lambda log_probs, weights: _weighted(log_probs, weights).sum(0).log10(),
        ),
        mistake(
            "You used the first two members only: there may be any number.",
            lambda log_probs, weights: _weighted(log_probs, weights)[:2].sum(0).log(),
        ),
        mistake(
            "You used only the member with the largest weight.", lambda log_probs, weights: log_probs[weights.argmax()]
        ),
        mistake(
            "The weights are applied twice (squared).",
            lambda log_probs, weights: _weighted(log_probs, weights**2).sum(0).log(),
        ),
        mistake(
            "The weights divide where they should multiply.",
            lambda log_probs, weights: _weighted(log_probs, 1 / weights).sum(0).log(),
        ),
        mistake(
            "The weights are in the reverse order.",
            lambda log_probs, weights: _weighted(log_probs, weights.flip(0)).sum(0).log(),
        ),
        mistake(
            "You multiplied the w_m * P_m over the members: an OR adds them.",
            lambda log_probs, weights: _weighted(log_probs, weights).prod(0).log(),
        ),
        mistake(
            "squeeze() takes away every dimension of size 1, also the batch when there is one context.",
            lambda log_probs, weights: linear_interpolation(log_probs, weights).squeeze(),
        ),
    ],
    hints=[
        "The formula averages probabilities, and you are given their logarithms. What must you undo first?",
        "Three steps: log_probs.exp(), times the weights in the shape (M, 1, 1), summed over dimension 0; then .log().",
        "In one stable step: torch.logsumexp(weights.log()[:, None, None] + log_probs, dim=0). log 0 is -inf, and "
        "that is right here.",
    ],
)
