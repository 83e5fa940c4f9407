"""The log-linear rule: a product of powers of the members' probabilities, an AND."""

import torch
from torch import Tensor

from course_utils.ensembling import loglinear_interpolation
from course_utils.exercises.engine import Exercise, case, one_row
from course_utils.exercises.interpolation import WITH_ZEROS, dimensions, random_log_probs, zero_times


def _scores(lp: Tensor, lam: Tensor) -> Tensor:
    return zero_times(lam, lp).sum(0)


def _product(lp: Tensor, lam: Tensor) -> Tensor:
    return _scores(lp, lam).log_softmax(-1)


def _average(lp: Tensor, lam: Tensor) -> Tensor:
    return (lam[:, None, None] * lp.exp()).sum(0)


def _without_veto(lp: Tensor, lam: Tensor) -> Tensor:
    zero = lp.isneginf()
    return _scores(lp.masked_fill(zero, 0.0), lam).masked_fill(zero.all(0), -torch.inf).log_softmax(-1)


def _vetoed_by_any(lp: Tensor, lam: Tensor) -> Tensor:
    return _scores(lp, lam).masked_fill(lp.isneginf().any(0), -torch.inf).log_softmax(-1)


AS_GIVEN = "Use them as given."
EXERCISE = Exercise(
    "interpolation.loglinear",
    reference=loglinear_interpolation,
    returns="log-probabilities",
    what="the product",
    sizes=lambda log_probs, lam: dimensions("MBV", *log_probs.shape),
    nan="0 * -inf is nan. A member with lam 0 has no say, so its term counts as 0.",
    unnormalised="Each context must be divided by its own Z(c), the sum over the vocabulary: a product of "
    "probabilities is no distribution yet.",
    errors={
        "shapes": "The shapes do not line up: torch aligns them from the last dimension, and log_probs is (M, B, V)."
        " Does lam[m] meet member m, the first dimension? Does a sum over the tokens keep its dimension?"
    },
    cases=[
        case(
            "lam that do not sum to 1: exp() of the result does, for each context",
            random_log_probs(3, 4, 6, seed=3),
            torch.tensor([0.9, 0.6, 0.2]),
        ),
        case(
            "a negative lam repels; as many contexts and tokens as members",
            random_log_probs(3, 3, 3, seed=4),
            torch.tensor([1.0, 0.7, -0.5]),
        ),
        case(
            "one model taken twice, with lam 1, is the model at temperature 1/2",
            random_log_probs(1, 4, 6, seed=5).repeat(2, 1, 1),
            torch.tensor([1.0, 1.0]),
        ),
        case("one zero probability vetoes a token (-inf)", WITH_ZEROS, torch.tensor([0.5, 0.5])),
        case("the zeros of a member with lam 0 veto nothing", WITH_ZEROS, torch.tensor([1.0, 0.0])),
    ],
    corners=[one_row("log_probs", dim=1)],
    mistakes={
        "You averaged the probabilities: this is linear (an OR).\n"
        "The log-linear rule multiplies powers of them, that is, it adds lam_m * log P_m.": [
            lambda lp, lam: _average(lp, lam).log(),
            lambda lp, lam: (_average(lp, lam) / _average(lp, lam).sum(-1, keepdim=True)).log(),
            lambda lp, lam: _average(lp, lam.softmax(0)).log(),
        ],
        "The sum that is divided by runs over the contexts (dim 0).\n"
        "Each context must sum to 1 over the vocabulary, the last dimension.": [
            lambda lp, lam: _scores(lp, lam).log_softmax(0)
        ],
        "All contexts together are divided by one Z: each has its own.\n"
        "Each context must sum to 1 over the vocabulary, the last dimension.": lambda lp, lam: (
            _scores(lp, lam) - _scores(lp, lam).flatten().logsumexp(0)
        ),
        "A member with lam 0 has no say, also where its probability is 0: here its zeros veto.\n"
        "0 * -inf counts as 0.": _vetoed_by_any,
        "A probability of 0 is skipped here. In a product one factor of 0 is enough: each member has a veto (AND).\n"
        "Only the zeros of members with lam 0 count for nothing.": _without_veto,
        f"The lam are scaled. They need not sum to 1: a sum above 1 sharpens, a negative lam repels.\n{AS_GIVEN}": [
            lambda lp, lam: _product(lp, lam / lam.sum()),
            lambda lp, lam: _product(lp, lam / lam.abs().sum()),
            lambda lp, lam: _product(lp, lam / len(lam)),
            lambda lp, lam: _product(lp, lam.softmax(0)),
        ],
        f"A negative lam is cut off or made positive: it is allowed, and repels from that member.\n{AS_GIVEN}": [
            lambda lp, lam: _product(lp, lam.clamp(min=0)),
            lambda lp, lam: _product(lp, lam.abs()),
            lambda lp, lam: _product(lp, lam.exp()),
        ],
        "lam is ignored: this is the plain product (or geometric mean) of the members.": [
            lambda lp, lam: lp.sum(0).log_softmax(-1),
            lambda lp, lam: lp.mean(0).log_softmax(-1),
        ],
        "This is a softmax of probabilities.\nIts input is the sum of lam_m * log P_m.": (
            lambda lp, lam: _average(lp, lam).log_softmax(-1)
        ),
        "This adds the powers P_m^lam_m: an AND multiplies them.\nIn logarithms, that is adding lam_m * log P_m.": (
            lambda lp, lam: zero_times(lam, lp).logsumexp(0).log_softmax(-1)
        ),
        "lam is a factor of P_m here, or is added to log P_m: it is an exponent.\n"
        "In logarithms an exponent is a factor: lam_m * log P_m.": [
            lambda lp, lam: (lam.abs().log()[:, None, None] + lp).sum(0),
            lambda lp, lam: (lam[:, None, None] + lp).logsumexp(0),
        ],
        "The sign of lam is wrong: lam_m multiplies + log P_m.": lambda lp, lam: _product(lp, -lam),
    },
    hints=[
        "A product of powers is a sum in logarithms: what is log of P_1^lam_1 * P_2^lam_2?",
        "scores = (lam[:, None, None] * log_probs).sum(0). That is no distribution yet: which function divides by "
        "Z(c)?",
        "scores.log_softmax(dim=-1), after every term with lam 0 was set to 0: torch.where(lam[:, None, None] == 0,"
        " 0.0, ...).",
    ],
)
