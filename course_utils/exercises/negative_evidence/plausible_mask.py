"""The plausibility mask: a bound relative to the most probable token, kept in logarithms."""

import math

import torch
from torch import Tensor

from course_utils.ensembling import plausible_mask
from course_utils.ensembling.negative_evidence import _nucleus
from course_utils.exercises.engine import Exercise, case, draw, one_row
from course_utils.exercises.negative_evidence import ERRORS, sizes


def _above(log_probs: Tensor, more: float, largest: Tensor | None = None) -> Tensor:
    """True from the largest log-probability of the row (or another one) plus `more` upwards."""
    return log_probs >= (log_probs.amax(-1, keepdim=True) if largest is None else largest) + more


def _top(log_probs: Tensor, k: float) -> Tensor:
    order = log_probs.argsort(dim=-1, descending=True)
    return torch.zeros_like(log_probs, dtype=torch.bool).scatter(-1, order[:, : max(1, int(k))], True)


def _of_token(lp: Tensor, alpha: float) -> Tensor:
    """The maximum without keepdim, where that passes in silence."""
    largest = lp.amax(-1)
    return _above(lp, math.log(alpha), largest if len(largest) == lp.shape[1] else largest[:, None])


def _first_difference(got: Tensor, expected: Tensor, log_probs: Tensor, alpha: float) -> str:
    if not isinstance(got, Tensor) or got.shape != expected.shape or got.dtype != torch.bool:
        return ""
    context, token = (got != expected).nonzero()[0].tolist()
    largest = log_probs[context].max().exp().item()
    return (
        f"Token {token} of context {context} has the probability {log_probs[context, token].exp().item():.3g}; the"
        f" largest there is {largest:.3g}, and alpha = {alpha:g} times it is {alpha * largest:.3g}. So the mask should"
        f" be {bool(expected[context, token])}, and yours is {bool(got[context, token])}"
        f" ({int((got != expected).sum())} of {got.numel()} entries differ)."
    )


SHARPNESS = torch.tensor([[0.6], [1.5], [2.25], [3.75], [6.0]])
EXERCISE = Exercise(
    "negative_evidence.plausible_mask",
    reference=plausible_mask,
    what="the mask",
    cases=[
        case(
            "some contexts peaked, some flat: each has its own bound",
            (SHARPNESS * draw(5, 48, seed=68)).log_softmax(-1),
            0.1,
        ),
        case("as many contexts as tokens", (1.5 * draw(8, 8, seed=61)).log_softmax(-1), 0.3),
        case(
            "alpha = 1 keeps the most probable tokens, also if there are several",
            torch.tensor([[0.4, 0.4, 0.2, 0.0], [0.1, 0.6, 0.1, 0.2], [0.25, 0.25, 0.25, 0.25]]).log(),
            1.0,
        ),
        case(
            "tokens of probability 0 (-inf) are never plausible",
            torch.tensor([[0.9, 0.099, 0.001, 0.0], [0.0, 1.0, 0.0, 0.0], [0.3, 0.3, 0.0, 0.4]]).log(),
            0.01,
        ),
    ],
    corners=[one_row("log_probs")],
    sizes=sizes,
    errors=ERRORS,
    explain=_first_difference,
    mistakes={
        "`>` instead of `>=`: a token that reaches the bound is plausible.\n"
        "With alpha = "
        "1 the most probable tokens must stay.": lambda lp, alpha: lp > lp.amax(-1, keepdim=True) + math.log(alpha),
        "No token is left: your bound lies above the maximum.\n"
        "alpha multiplies the probability: the logarithm of alpha * max P is max log P + log alpha, and log alpha "
        "is negative.": [
            lambda lp, alpha: _above(lp, alpha),
            lambda lp, alpha: _above(lp, -math.log(alpha)),
            lambda lp, alpha: lp >= alpha * lp.amax(-1, keepdim=True),
            lambda lp, alpha: lp >= math.log(alpha) * lp.amax(-1, keepdim=True),
            lambda lp, alpha: torch.zeros_like(lp, dtype=torch.bool),
        ],
        "Every token is plausible in your mask.\nDid you compare a probability with a (negative) logarithm?": [
            lambda lp, alpha: torch.ones_like(lp, dtype=torch.bool),
            lambda lp, alpha: lp.exp() >= lp.amax(-1, keepdim=True) + math.log(alpha),
        ],
        "The mask is the wrong way round: True is for the tokens that may be emitted.": lambda lp, alpha: (
            ~plausible_mask(lp, alpha)
        ),
        "Your bound is alpha itself: P >= alpha is no use where many tokens are good.\n"
        "The bound is alpha times the largest probability of the row.": lambda lp, alpha: lp.exp() >= alpha,
        "You subtract alpha from the largest probability.\n"
        "The bound is alpha times "
        "the largest probability of the row.": lambda lp, alpha: lp.exp() >= lp.exp().amax(-1, keepdim=True) - alpha,
        "alpha must go through a logarithm: the bound is not max log P - alpha.\n"
        "The logarithm of a product is a sum of logarithms.": lambda lp, alpha: _above(lp, -alpha),
        "The natural logarithm is meant, because log_probs are natural logarithms.": [
            lambda lp, alpha: _above(lp, math.log10(alpha)),
            lambda lp, alpha: _above(lp, math.log2(alpha)),
        ],
        "The maximum is that of the whole batch: each context has its own.\n"
        "Take it over the last dimension, "
        "and keep that dimension (keepdim=True).": lambda lp, alpha: _above(lp, math.log(alpha), lp.max()),
        "The maximum is that of each token over the contexts (dim 0).\n"
        "Take it over the vocabulary, "
        "the last dimension, and keep that dimension.": lambda lp, alpha: _above(lp, math.log(alpha), lp.amax(0)),
        "The maximum of context i is compared with token i, and B = V lets that pass in silence.\n"
        "keepdim=True is missing.": _of_token,
        "This is a nucleus: alpha is no share of the mass, but of the largest probability.": [
            _nucleus,
            lambda lp, alpha: _nucleus(lp, 1 - alpha),
        ],
        "This is top-k: alpha is no share of the tokens, but of the largest probability.": [
            lambda lp, alpha: _top(lp, alpha * lp.shape[1]),
            lambda lp, alpha: _top(lp, math.ceil(alpha * lp.shape[1])),
        ],
        "Only the most probable token is left: those close enough to it stay as well.": [
            lambda lp, alpha: _above(lp, 0.0),
            lambda lp, alpha: _top(lp, 1),
        ],
        "Your bound is relative to the mean or the median, and it should be relative to the largest probability of the"
        " row.": [
            lambda lp, alpha: lp.exp() >= alpha * lp.exp().mean(-1, keepdim=True),
            lambda lp, alpha: lp.exp() >= alpha * lp.exp().median(-1, keepdim=True).values,
        ],
        "The mask is in the order of the sorted tokens: column v belongs to token v.\n"
        "No sorting is needed.": lambda lp, alpha: plausible_mask(lp.sort(dim=-1, descending=True).values, alpha),
        "You return the masked log-probabilities. The exercise asks for the mask alone, (B, V) booleans.\n"
        "Return the comparison itself: the caller masks with it.": [
            lambda lp, alpha: lp.masked_fill(~plausible_mask(lp, alpha), -torch.inf),
            lambda lp, alpha: lp.masked_fill(~plausible_mask(lp, alpha), 0.0),
        ],
        "You return numbers, not booleans.\nReturn the comparison itself, a tensor of booleans.": [
            lambda lp, alpha: plausible_mask(lp, alpha).float(),
            lambda lp, alpha: torch.zeros_like(lp).masked_fill(~plausible_mask(lp, alpha), -torch.inf),
        ],
    },
    hints=[
        "P(y) >= alpha * max P: what becomes of this product when you take the logarithm of both sides?",
        "The bound of a context is its largest log-probability plus log alpha. Which dimension is the vocabulary, and"
        " how do (B, 1) bounds meet (B, V)?",
        "log_probs >= log_probs.amax(dim=-1, keepdim=True) + math.log(alpha)",
    ],
)
