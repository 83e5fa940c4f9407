"""The linear rule: a weighted average of the members' probabilities, an OR."""

import torch
from torch import Tensor

from course_utils.ensembling import linear_interpolation
from course_utils.exercises.engine import Exercise, case, one_row
from course_utils.exercises.interpolation import WITH_ZEROS, dimensions, random_log_probs, zero_times


def _weighted(lp: Tensor, w: Tensor) -> Tensor:
    """w_m P_m, (M, B, V)."""
    return w[:, None, None] * lp.exp()


def _mixture(lp: Tensor, w: Tensor) -> Tensor:
    return _weighted(lp, w).sum(0)


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
        "shapes": "The shapes do not line up: torch aligns them from the last dimension, and log_probs is (M, B, V)."
        " Does weight m meet member m, the first dimension? Does a sum over the tokens keep its dimension?"
    },
    cases=[
        case(
            "the weighted average of the probabilities",
            random_log_probs(3, 4, 6, seed=1),
            torch.tensor([0.6, 0.3, 0.1]),
        ),
        case(
            "as many contexts and tokens as members", random_log_probs(3, 3, 3, seed=2), torch.tensor([0.2, 0.7, 0.1])
        ),
        case("zero probabilities (-inf): one member's, everybody's", WITH_ZEROS, torch.tensor([0.75, 0.25])),
        case("a weight of 0 switches a member off, also its zeros", WITH_ZEROS, torch.tensor([1.0, 0.0])),
    ],
    corners=[one_row("log_probs", dim=1)],
    mistakes={
        "You averaged the log-probabilities: this is log-linear (an AND). Does exp() of it sum to 1?\n"
        "The linear rule averages the probabilities and takes the logarithm afterwards.": [
            lambda lp, w: zero_times(w, lp).sum(0),
            lambda lp, w: lp.mean(0),
        ],
        "The weights are ignored: all members count the same.": lambda lp, w: lp.exp().mean(0).log(),
        "You take the softmax again: it flattens a distribution.\n"
        "The weighted average of distributions already sums to 1: take only its log.": (
            lambda lp, w: _mixture(lp, w).log_softmax(-1)
        ),
        "The weights went through a softmax.\nThey already sum to 1: use them as they are.": (
            lambda lp, w: _mixture(lp, w.softmax(0)).log()
        ),
        "You took the largest term where the rule takes the sum over the members.": [
            lambda lp, w: _weighted(lp, w).amax(0).log(),
            lambda lp, w: lp.amax(0),
            lambda lp, w: lp[w.argmax()],
        ],
        "The weights are added to the log-probabilities.\nIn logarithms a factor w_m is + log w_m.": (
            lambda lp, w: (w[:, None, None] + lp).logsumexp(0)
        ),
        "This adds the powers P_m^w_m: the weights are factors of log P_m here.\n"
        "The linear rule multiplies P_m by w_m.": lambda lp, w: zero_times(w, lp).logsumexp(0),
        "A softmax or a division is applied to the members first.\n"
        "Each member sums to 1 over the tokens already, and so does the mixture.": [
            lambda lp, w: (w[:, None, None] * lp.softmax(0)).sum(0).log(),
            lambda lp, w: (w[:, None, None] * lp.exp().softmax(-1)).sum(0).log(),
        ],
        "A token that one member rules out is ruled out altogether here. In a sum one term above 0 is enough (OR).": (
            lambda lp, w: _mixture(lp, w).log().masked_fill(lp.isneginf().any(0), -torch.inf)
        ),
        "The sign is wrong: a log-probability is never above 0.": lambda lp, w: -_mixture(lp, w).log(),
        "This is not the natural logarithm.": [
            lambda lp, w: _mixture(lp, w).log2(),
            lambda lp, w: _mixture(lp, w).log10(),
        ],
        "Only the first two members are used: there may be any number.": lambda lp, w: _mixture(lp[:2], w[:2]).log(),
        "This is the product of the w_m * P_m over the members: an OR adds them.": (
            lambda lp, w: _weighted(lp, w).prod(0).log()
        ),
    },
    hints=[
        "The formula averages probabilities, and you are given their logarithms. What must you undo first?",
        "Three steps: log_probs.exp(), times the weights in the shape (M, 1, 1), summed over dimension 0; then .log().",
        "In one stable step: torch.logsumexp(weights.log()[:, None, None] + log_probs, dim=0). log 0 is -inf, and "
        "that is right here.",
    ],
)
