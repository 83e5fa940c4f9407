"""Classifier-free guidance with scale = 1 for the plain conditional model, as many programs write it."""

from torch import Tensor

from course_utils.exercises.engine import Exercise, anywhere, case, one_row
from course_utils.exercises.negative_evidence import ERRORS, experts, sizes


def guided(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance as most code writes it: softmax(log P(y) + scale (log P(y|c) - log P(y))).

    conditional, unconditional (B, V): log-probabilities of one model with and without the prompt; scale: 1 is off (the
    conditional model), 0 is the unconditional model, above 1 extrapolates. Returns (B, V) log-probabilities.
    The paper's own weight w has its zero elsewhere: (1 + w) log P(y|c) - w log P(y), so scale = 1 + w.
    Source: Ho & Salimans (2022), section 3.2; Sanchez et al. (2023) for language models.
    """
    return (unconditional + scale * (conditional - unconditional)).log_softmax(dim=-1)


def strength(got: Tensor, base: Tensor, difference: Tensor) -> float | None:
    """The k with which got = base + k * difference + a constant a row, where got is finite; None if there is none."""
    finite = got.isfinite()
    count = finite.sum(-1, keepdim=True).clamp(min=1)
    x, y = (v.where(finite, 0.0) for v in (difference.double(), got.double() - base))
    x, y = ((v - v.sum(-1, keepdim=True) / count).where(finite, 0.0) for v in (x, y))
    if not x.square().sum() > 1e-3:
        return None
    k = (x * y).sum() / x.square().sum()
    return k.item() if (y - k * x).abs().max() < 1e-2 else None


def _explained(got: Tensor, expected: Tensor, conditional: Tensor, unconditional: Tensor, scale: float) -> str:
    if not isinstance(got, Tensor) or got.shape != expected.shape or not got.is_floating_point():
        return ""
    k = strength(got.detach(), unconditional, conditional - unconditional)
    return "" if k is None else f"This is what scale = {k:.3g} gives, and scale is {scale:g}."


def _probs(p: Tensor, q: Tensor, scale: float) -> Tensor:
    """What becomes of the probabilities, in probabilities."""
    return q.exp() + scale * (p.exp() - q.exp())


# In the lambdas p is the conditional model, q the unconditional one, s the scale.
EXERCISE = Exercise(
    "negative_evidence.guidance",
    reference=guided,
    returns="log-probabilities",
    what="the distribution",
    seconds=15.0,
    cases=[
        case("between the two models; exp() of the result sums to 1", *experts(4, 6, seed=70)[:2], 0.6),
        case("beyond the conditional model; as many contexts as tokens", *experts(5, 5, seed=71)[:2], 3.0),
        case("scale = 1 gives the conditional model back", *experts(3, 6, seed=72)[:2], 1.0),
        case("scale = 0 gives the unconditional model", *experts(3, 6, seed=72)[:2], 0.0),
        case("below 0 it moves away from the prompt", *experts(3, 6, seed=73)[:2], -0.5),
    ],
    corners=[one_row("conditional", "unconditional")],
    sizes=sizes,
    errors=ERRORS,
    nan="The logarithm of a negative number? You mixed probabilities: past scale = 1 they fall below 0. Guidance moves"
    " log-probabilities.",
    unnormalised="Guidance changes the total: normalise at the end, over the vocabulary.",
    explain=_explained,
    mistakes={
        "This is the other convention, where scale = 0 is off.\n"
        "Here scale = 1 is off: start from the unconditional model.": lambda p, q, s: guided(p, q, 1 + s),
        "The roles are swapped.\nscale = 1 must give the conditional model back, scale = 0 the unconditional one.": [
            lambda p, q, s: guided(q, p, s),
            lambda p, q, s: guided(p, q, -s),
        ],
        "You mixed probabilities.\nGuidance moves log-probabilities: in probabilities a scale above 1 goes below 0.": [
            lambda p, q, s: _probs(p, q, s).clamp(min=0).log().log_softmax(-1),
            lambda p, q, s: _probs(p, q, s).log_softmax(-1),
            lambda p, q, s: (q + s * (p.exp() - q.exp())).log_softmax(-1),
        ],
        "You added the conditional model, not its difference to the unconditional one.": lambda p, q, s: (
            q + s * p
        ).log_softmax(-1),
        "You forgot the unconditional model, to which the difference is added: it must be left at scale = 0.": [
            lambda p, q, s: (s * (p - q)).log_softmax(-1),
            lambda p, q, s: (s * p).log_softmax(-1),
        ],
        "scale belongs to the whole difference, to both its parts.": [
            lambda p, q, s: (s * p - q).log_softmax(-1),
            lambda p, q, s: (p - s * q).log_softmax(-1),
        ],
        "A scale below 0 is cut off or made positive: it moves away from the prompt.": [
            lambda p, q, s: guided(p, q, max(s, 0)),
            lambda p, q, s: guided(p, q, abs(s)),
        ],
        "scale was cut off at 1: above 1 it extrapolates, that is what guidance is for.": [
            lambda p, q, s: guided(p, q, min(s, 1)),
            lambda p, q, s: guided(p, q, min(max(s, 0), 1)),
        ],
        "A scale below 1 was raised to 1: between 0 and 1 the result lies between the two models.": lambda p, q, s: (
            guided(p, q, max(s, 1))
        ),
        "The unconditional model is added, not subtracted.": [
            lambda p, q, s: (q + s * (p + q)).log_softmax(-1),
            lambda p, q, s: (p + s * q).log_softmax(-1),
        ],
        "scale = 0 gives the conditional model in your function, and it should forget the prompt.\n"
        "`if not scale` is true for 0. Here scale = 1 is off, not 0.": anywhere(lambda p, q, s: guided(p, q, s or 1.0)),
        "scale is ignored: this is one of the two models, or their average, whatever scale is.": [
            lambda p, q, s: p,
            lambda p, q, s: q,
            lambda p, q, s: guided(p, q, 0.5),
        ],
        "scale divides the difference, or is squared: it multiplies it.": [
            lambda p, q, s: guided(p, q, 1 / s if s else 1.0),
            lambda p, q, s: guided(p, q, s * s),
        ],
        "You normalised over the contexts (dim 0).\n"
        "Each context must sum to 1 over the vocabulary, the last dimension.": lambda p, q, s: (
            q + s * (p - q)
        ).log_softmax(0),
        "scale counts one too little: scale = 1 must give the conditional model.": lambda p, q, s: guided(p, q, s - 1),
    },
    hints=[
        "You walk from the unconditional model towards the conditional one. Where must scale = 1 arrive?",
        "The step is the difference conditional - unconditional, in logarithms. With scale = 0 nothing is added. Does"
        " exp() of the result sum to 1?",
        "(unconditional + scale * (conditional - unconditional)).log_softmax(dim=-1)",
    ],
)
