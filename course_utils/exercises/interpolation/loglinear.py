"""The log-linear rule: a product of powers of the members' probabilities, an AND."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.ensembling import loglinear_interpolation
from course_utils.exercises.engine import Exercise, case, mistake
from course_utils.exercises.interpolation import WITH_ZEROS, along, dimensions, random_log_probs, zero_times


def _product(log_probs: Tensor, lam: Tensor) -> Tensor:
    """The rule without its veto: lam (M,), or in a shape that meets log_probs (M, B, V)."""
    return zero_times(lam.reshape(-1, 1, 1) if lam.dim() == 1 else lam, log_probs).sum(0).log_softmax(-1)


def _without_veto(log_probs: Tensor, lam: Tensor) -> Tensor:
    zero = log_probs.isneginf()
    product = _product(log_probs.masked_fill(zero, 0.0), lam)
    return product.masked_fill(zero.all(0), -torch.inf).log_softmax(-1)


def _vetoed_by_any(log_probs: Tensor, lam: Tensor) -> Tensor:
    return _product(log_probs, lam).masked_fill(log_probs.isneginf().any(0), -torch.inf).log_softmax(-1)


def _average(log_probs: Tensor, lam: Tensor) -> Tensor:
    return (lam[:, None, None] * log_probs.exp()).sum(0)


EXERCISE = Exercise(
    "interpolation.loglinear",
    reference=loglinear_interpolation,
    returns="log-probabilities",
    what="the product",
    sizes=lambda log_probs, lam: dimensions("MBV", *log_probs.shape),
    nan="0 * -inf is nan. A member with lam 0 has no say, so its term counts as 0.",
    unnormalised="You did not divide by Z(c), each context's own sum over the vocabulary: a product of "
    "probabilities is no distribution yet.",
    errors={
        "shapes": "The lam do not line up: torch aligns shapes from the last dimension, and log_probs is (M, B, V). "
        "lam[m] belongs to member m, the first dimension: which shape does lam need?"
    },
    cases=[
        case(
            "three members, lam that do not sum to 1: exp() of the result does, for each context",
            random_log_probs(3, 4, 6, seed=3),
            torch.tensor([0.9, 0.6, 0.2]),
        ),
        case(
            "a negative lam repels; as many contexts and tokens as members",
            random_log_probs(3, 3, 3, seed=4),
            torch.tensor([1.0, 0.7, -0.5]),
        ),
        case(
            "one model taken twice with lam (1, 1) is the model at temperature 1/2",
            random_log_probs(1, 4, 6, seed=5).repeat(2, 1, 1),
            torch.tensor([1.0, 1.0]),
        ),
        case("one zero probability vetoes a token (-inf)", WITH_ZEROS, torch.tensor([0.5, 0.5])),
        case("the zeros of a member with lam 0 veto nothing", WITH_ZEROS, torch.tensor([1.0, 0.0])),
        case("one context is a batch too", random_log_probs(2, 1, 5, seed=6), torch.tensor([0.4, 0.9])),
    ],
    mistakes=[
        mistake(
            "You averaged the probabilities: this is linear (an OR).",
            lambda log_probs, lam: _average(log_probs, lam).log(),
            lambda log_probs, lam: (_average(log_probs, lam) / _average(log_probs, lam).sum(-1, keepdim=True)).log(),
            lambda log_probs, lam: _average(log_probs, lam.softmax(0)).log(),
            lambda log_probs, lam: log_probs.exp().mean(0).log(),
            pointer="The log-linear rule multiplies powers of them, that is, it adds lam_m * log P_m.",
        ),
        mistake(
            "You divided by the sum over the wrong dimension.",
            lambda log_probs, lam: (lam[:, None, None] * log_probs).sum(0).log_softmax(0),
            lambda log_probs, lam: zero_times(lam[:, None, None], log_probs).sum(0).log_softmax(0),
            pointer="Each context must sum to 1 over the vocabulary, the last dimension.",
        ),
        mistake(
            "A member with lam 0 has no say, also where its probability is 0: here its zeros veto.",
            _vetoed_by_any,
            pointer="0 * -inf counts as 0.",
        ),
        mistake(
            "A probability of 0 is skipped here. In a product one factor of 0 is enough: each member has a veto (AND).",
            _without_veto,
            pointer="Only the zeros of members with lam 0 count for nothing.",
        ),
        *[
            mistake(
                f"lam was applied to the wrong axis (the {axis}): lam[m] belongs to member m, dimension 0.",
                lambda log_probs, lam, dim=dim: _product(log_probs, along(dim, lam, log_probs)),
            )
            for dim, axis in ((1, "contexts"), (2, "tokens"))
        ],
        mistake(
            "You forced lam to sum to 1. Log-linear weights need not: a sum above 1 sharpens, a negative lam repels.",
            lambda log_probs, lam: _product(log_probs, lam / lam.sum()),
            pointer="Use them as given.",
        ),
        mistake(
            "You put lam through a softmax. Log-linear weights need not sum to 1, and may be negative.",
            lambda log_probs, lam: _product(log_probs, lam.softmax(0)),
            pointer="Use them as given.",
        ),
        mistake(
            "You made lam positive. A negative lam is allowed: it repels from that member.",
            lambda log_probs, lam: _product(log_probs, lam.clamp(min=0)),
            lambda log_probs, lam: _product(log_probs, lam.abs()),
            lambda log_probs, lam: _product(log_probs, lam.exp()),
        ),
        mistake(
            "lam is ignored: this is the plain product (or geometric mean) of the members.",
            lambda log_probs, lam: log_probs.sum(0).log_softmax(-1),
            lambda log_probs, lam: log_probs.mean(0).log_softmax(-1),
        ),
        mistake(
            "You divided by the number of members: lam may have any sum.",
            lambda log_probs, lam: _product(log_probs, lam / len(lam)),
            pointer="Use lam as given.",
        ),
        mistake(
            "You put probabilities into the softmax.",
            lambda log_probs, lam: _average(log_probs, lam).log_softmax(-1),
            pointer="Its input is the sum of lam_m * log P_m.",
        ),
        mistake(
            "You add the powers P_m^lam_m: an AND multiplies them.",
            lambda log_probs, lam: zero_times(lam[:, None, None], log_probs).logsumexp(0).log_softmax(-1),
            pointer="In logarithms, that is adding lam_m * log P_m.",
        ),
        mistake(
            "The sign of lam is wrong: lam_m multiplies + log P_m.", lambda log_probs, lam: _product(log_probs, -lam)
        ),
        mistake("lam is squared: use it as it is.", lambda log_probs, lam: _product(log_probs, lam**2)),
        mistake("lam is in the reverse order.", lambda log_probs, lam: _product(log_probs, lam.flip(0))),
        mistake("lam divides where it should multiply.", lambda log_probs, lam: _product(log_probs, 1 / lam)),
        mistake(
            "You multiply lam_m * P_m: lam is an exponent.",
            lambda log_probs, lam: (lam.abs().log()[:, None, None] + log_probs).sum(0),
            pointer="In logarithms an exponent is a factor: lam_m * log P_m.",
        ),
        mistake(
            "lam is added to the log-probabilities: it must multiply them.",
            lambda log_probs, lam: (lam[:, None, None] + log_probs).logsumexp(0),
        ),
        mistake(
            "squeeze() takes away every dimension of size 1, also the batch when there is one context.",
            lambda log_probs, lam: loglinear_interpolation(log_probs, lam).squeeze(),
        ),
    ],
    hints=[
        "A product of powers is a sum in logarithms: what is log of P_1^lam_1 * P_2^lam_2?",
        "scores = (lam[:, None, None] * log_probs).sum(0). That is no distribution yet: which function divides by "
        "Z(c)?",
        "scores.log_softmax(dim=-1), after every term with lam 0 was set to 0: torch.where(lam[:, None, None] == 0,"
        " 0.0, ...).",
    ],
)
