"""DExperts: first the core's nucleus, then the difference of two experts, then one softmax."""

import math
from collections.abc import Callable, Iterable
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor

from course_utils.ensembling import negative_evidence
from course_utils.ensembling.negative_evidence import _nucleus
from course_utils.exercises.engine import Exercise, case, mistake, one_row, with_zeros
from course_utils.exercises.negative_evidence import ERRORS, experts, sizes
from course_utils.exercises.negative_evidence.guidance import strength


# Below, c, p, n are the core, the positive and the negative model, k is lam and t is top_p.
def _answer(scores: Callable, keep: Callable, c: Tensor, p: Tensor, n: Tensor, k: float, t: float) -> Tensor:
    """The answer with these scores and this filter."""
    return scores(c, p, n, k).masked_fill(~keep(t, c, p, n, k), -torch.inf).log_softmax(-1)


def _each(scores: Iterable[Callable], keep: Iterable[Callable]) -> list[Callable]:
    return [partial(_answer, *pair) for pair in product(scores, keep)]


def _right(c: Tensor, p: Tensor, n: Tensor, k: float) -> Tensor:
    return c + k * (p - n)


def _core(t: float, c: Tensor, *_: Any) -> Tensor:
    return _nucleus(c, t)


def _all(t: float, c: Tensor, *_: Any) -> Tensor:
    return torch.ones_like(c, dtype=torch.bool)


def _weighted(weights: Callable, i: int, c: Tensor, p: Tensor, n: Tensor, k: float) -> Tensor:
    w = weights(k)[i]
    return w[0] * c + w[1] * p + w[2] * n if isinstance(w, tuple) else c + w * (p - n)


def _sorted(c: Tensor, keep: Callable, descending: bool = True) -> Tensor:
    """keep(probs, cumsum) of the sorted tokens, in the order of the vocabulary."""
    probs, order = c.softmax(-1).sort(dim=-1, descending=descending)
    return torch.zeros_like(probs, dtype=torch.bool).scatter(-1, order, keep(probs, probs.cumsum(-1)))


def _explained(got: Any, expected: Tensor, c: Tensor, p: Tensor, n: Tensor, k: float, t: float) -> str:
    if not isinstance(got, Tensor) or got.shape != expected.shape or not got.is_floating_point():
        return ""
    logs, out = got.detach().double(), expected.isneginf()
    mine = strength(logs.masked_fill(logs < -18, -torch.inf), c, p - n)
    if mine is not None and abs(mine - k) > 1e-2:
        return f"This is what lam = {mine:.3g} gives, and lam is {k:g}."
    mass = logs.softmax(-1).masked_fill(~out, 0.0)
    if mass.max() > 1e-3:
        i, v = divmod(int(mass.argmax()), mass.shape[1])
        return f"Token {v} of context {i} is outside the core's nucleus and has mass {mass[i, v]:.2g} in your result."
    if logs[out].isfinite().any() and torch.isclose(logs, expected.double(), atol=1e-2).logical_or(out).all():
        return f"{logs[out].max():.3g} is not -inf, where the probability is exactly 0: mask with -torch.inf."
    if mine is not None:
        return "What is added to the core is right; the tokens that may be emitted are not."
    return "The tokens that may be emitted are right, their scores are not." if logs.isneginf().equal(out) else ""


# Wrong weights of (core, positive, negative), or one number, that of the difference, in each form of the mistake.
WEIGHTS = {
    "lam is cut off or made positive: it may have any size, and below 0 it swaps the roles.": lambda k: [
        *(abs(k), max(k, 0), min(k, 1), min(max(k, 0), 1))
    ],
    "The sign is swapped: what the positive model prefers must gain.": lambda k: [-k],
    "lam is ignored: the difference is multiplied by it.": lambda k: [1],
    "lam divides the difference, or is squared: it multiplies it.": lambda k: [1 / k, k * k],
    "The difference is ignored: this is the core alone.": lambda k: [0],
    "The negative is missing: this is shallow fusion, and fluency counts twice.": lambda k: [(1, k, 0), (1, 1, 0)],
    "The positive is missing.": lambda k: [(1, 0, -k), (1, 0, -1)],
    "lam multiplies one side only.": lambda k: [(1, k, -1), (1, 1, -k)],
    "You add the negative: it is subtracted.": lambda k: [(1, k, k), (1, 1, 1)],
    "The core is missing: this is contrastive decoding.": lambda k: [
        *((0, k, -k), (0, 1, -1), (0, 1, -k), (0, 1 + k, -k))
    ],
    "This is the positive model alone.": lambda k: [(0, 1, 0)],
    "lam weighs the core, whose weight is 1.": lambda k: [(k, 1, -1), (k, k, -k), (1 - k, k, -k)],
    "The core stands in the place of one of the experts.": lambda k: [(1 + k, 0, -k), (1 - k, k, 0)],
    "You averaged: nothing is divided by the number of models.": lambda k: [
        *((1 / a, k / a, -k / a) for a in (3, 1 + k, 1 + 2 * k))
    ],
}
SCORES = {
    "Probabilities are added or subtracted: the difference of logarithms asks how many times likelier a token is.": [
        lambda c, p, n, k: c + k * (p.exp() - n.exp()),
        lambda c, p, n, k: c.exp() + k * (p.exp() - n.exp()),
        lambda c, p, n, k: (c.exp() + k * (p.exp() - n.exp())).clamp(min=0).log(),
        lambda c, p, n, k: (c.exp() + k * p.exp()).clamp(min=0).log(),
    ],
    "You divide the log-probabilities: take their difference.": [lambda c, p, n, k: c + k * p / n],
    **{says: [partial(_weighted, f, i) for i in range(len(f(0.5)))] for says, f in WEIGHTS.items()},
}
SHARE = "top_p is a share of the mass, from the most probable tokens downwards, not "
OF_OTHERS = {
    "You took the nucleus of the result, after the difference was added.": [lambda t, *m: _nucleus(_right(*m), t)],
    "You took the nucleus of one of the experts, or of their difference.": [
        lambda t, c, p, *_: _nucleus(p, t),
        lambda t, c, p, n, k: _nucleus(n, t),
        lambda t, c, p, n, k: _nucleus(p - n, t),
    ],
    "You filter a second time, after the difference, which may push down a token but not out.": [
        lambda t, *m: _core(t, *m) & _nucleus(_right(*m).masked_fill(~_core(t, *m), -torch.inf), t)
    ],
    "No token is filtered out.": [_all],
}
OF_THE_CORE = {
    "The token that crosses top_p belongs to the nucleus, the smallest set whose mass is at least top_p.": [
        lambda t, c, *_: _sorted(c, lambda probs, mass: mass <= t),
        lambda t, c, *_: _sorted(c, lambda probs, mass: mass < t),
    ],
    "One token too many: the nucleus ends with the token that crosses top_p.": [
        lambda t, c, *_: _sorted(c, lambda probs, mass: (mass - probs)[:, [0, *range(c.shape[1] - 1)]] < t)
    ],
    "The filter is the wrong way round: you removed the nucleus.": [lambda t, c, *_: ~_nucleus(c, t)],
    "The mask is in the order of the sorted tokens, or not put back as it was sorted.": [
        lambda t, c, *_: _nucleus(c.sort(descending=True)[0], t),
        lambda t, c, *_: _nucleus(c.sort(descending=True)[0], t).gather(-1, c.argsort(descending=True)),
    ],
    "You summed from the least probable token upwards: sort with descending=True.": [
        lambda t, c, *_: _sorted(c, lambda probs, mass: mass <= t, descending=False),
        lambda t, c, *_: _sorted(c, lambda probs, mass: mass - probs < t, descending=False),
    ],
    "You did not sort: start from the most probable token.": [lambda t, c, *_: c.exp().cumsum(-1) - c.exp() < t],
    "You sorted over the contexts (dim 0): each has its own nucleus.": [lambda t, c, *_: _nucleus(c.T, t).T],
    "The nucleus of one context is used for all, or its size: each context has its own.": [
        lambda t, c, *_: _nucleus(c[:1], t).expand_as(c),
        lambda t, c, *_: c >= c.topk(int(_nucleus(c, t).sum(-1).max()))[0][:, -1:],
        lambda t, c, *_: c >= c.topk(int(_nucleus(c, t)[0].sum()))[0][:, -1:],
    ],
    f"{SHARE}of the maximum (the plausibility mask).": [lambda t, c, *_: c >= c.amax(-1, keepdim=True) + math.log(t)],
    f"{SHARE}a bound on each token's probability.": [lambda t, c, *_: c.exp() >= 1 - t],
    f"{SHARE}of the number of tokens (top-k).": [lambda t, c, *_: c >= c.topk(round(t * c.shape[1]))[0][:, -1:]],
    "You take a fixed nucleus of 0.9: use the argument top_p.": [lambda t, c, *_: _nucleus(c, 0.9)],
}

SCORED = "The scores are the core's log-probabilities and lam times the difference of the experts'."
FIRST = "Take the nucleus of the core, and before the difference is added."
DOWNWARDS = "From the top down, a token stays if the mass before it is below top_p."
EXERCISE = Exercise(
    "negative_evidence.dexperts",
    reference=negative_evidence,
    returns="log-probabilities",
    what="the distribution",
    seconds=15.0,
    cases=[
        # With this seed every token is in one context's nucleus and out of another's, and no known mistake is right.
        case("the core's nucleus of 0.8, then the difference; exp() sums to 1", *experts(4, 8, seed=363), 1.5, 0.8),
        case("one context's first token exceeds top_p by itself, and stays", *experts(3, 5, seed=138), 2.0, 0.6),
        # Whether a sum reaches 1 is a matter of rounding: no mistake in the filter shows itself twice in the same way.
        case("top_p = 1 keeps every token", *experts(6, 6, seed=40), 0.7, 1.0, names=False),
        case("lam = 0 gives the core, cut to its nucleus", *experts(3, 7, seed=50), 0.0, 0.9),
        case("lam = -1 swaps the two experts", *experts(3, 7, seed=50), -1.0, 0.9),
    ],
    corners=[one_row("core", "positive", "negative"), with_zeros("core")],
    sizes=sizes,
    errors=ERRORS,
    nan="Is it -inf - (-inf): did you mask the core (or the sum), not the experts? Is a row all -inf: the first token"
    " always stays. Or is it the logarithm of a negative number: did you subtract log-probabilities?",
    unnormalised="The filter and the difference change the total: normalise at the end, over what is left.",
    explain=_explained,
    mistakes=[
        *(mistake(says, *_each(of, (_core, _all)), pointer=SCORED) for says, of in SCORES.items()),
        *(mistake(says, *_each([_right], keep), pointer=FIRST) for says, keep in OF_OTHERS.items()),
        *(mistake(says, *_each([_right], keep), pointer=DOWNWARDS) for says, keep in OF_THE_CORE.items()),
        mistake(
            "You masked with 0: a score of 0 is exp(0) = 1 before normalising, more than any probability.",
            lambda c, p, n, k, t: (c.masked_fill(~_nucleus(c, t), 0) + k * (p - n)).log_softmax(-1),
            lambda c, p, n, k, t: _right(c, p, n, k).masked_fill(~_nucleus(c, t), 0).log_softmax(-1),
            lambda c, p, n, k, t: _right(c, p, n, k).log_softmax(-1).masked_fill(~_nucleus(c, t), 0),
            lambda c, p, n, k, t: negative_evidence(c, p, n, k, t).masked_fill(~_nucleus(c, t), 0),
            pointer="What must not be emitted needs the score -torch.inf, because exp(-inf) = 0.",
        ),
        mistake(
            "You normalised over the contexts (dim 0): each context must sum to 1.",
            lambda c, p, n, k, t: _right(c, p, n, k).masked_fill(~_nucleus(c, t), -torch.inf).log_softmax(0),
        ),
    ],
    hints=[
        "Two steps, and their order matters: which tokens may be emitted at all (only the core is asked), and how"
        " likely each of them is.",
        "Sort the core's probabilities from the largest down and keep a token while the mass before it (cumsum - probs)"
        " is below top_p; scatter puts that mask back in the order of the vocabulary. The rest becomes -inf.",
        "probs, order = core.softmax(-1).sort(dim=-1, descending=True); keep = probs.cumsum(-1) - probs < top_p; keep"
        " = torch.zeros_like(keep).scatter(-1, order, keep); then (core.masked_fill(~keep, -torch.inf) + lam *"
        " (positive - negative)).log_softmax(dim=-1).",
    ],
)
