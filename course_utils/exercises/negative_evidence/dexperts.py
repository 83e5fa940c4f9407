"""What known misconceptions about DExperts compute, each with the hint that names it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_utils.ensembling import _nucleus

Known = list[tuple[str, Tensor]]

FIRST = "The nucleus is that of the CORE alone, and it is taken first: `core.masked_fill(~nucleus, -torch.inf)`."
IN_PROBS = (
    "You subtracted probabilities. The difference is one of logarithms: log P_pos - log P_neg asks how many TIMES"
    " likelier the expert finds the token, so that rare tokens count too."
)
SHALLOW = (
    "The negative is missing: core + lam * positive is shallow fusion. What the positive says of the language in"
    " general is then counted twice; only the difference positive - negative is the evidence."
)
NO_CORE = (
    "The core is missing. A difference of two experts alone is contrastive decoding; DExperts adds it to log P_core."
)
NO_FILTER = "No token is filtered out. (If you do filter: is the sort descending, and is its result put to use?)"
ZERO_MASK = (
    "You masked with 0. A score of 0 is exp(0) = 1 before normalising, more than any probability: what must not be"
    " emitted needs the score -torch.inf, for exp(-inf) = 0."
)


def as_logs(got: Tensor) -> Tensor:
    """A wrong result as logarithms, also if it holds probabilities."""
    got = got.detach().double()
    got = got.log() if (got >= 0).all() and (got <= 1).all() else got
    return got.masked_fill(got < -18, -torch.inf)  # a student's -1e9, or log(p + 1e-9)


def leak(got: Tensor, nucleus: Tensor) -> str:
    """Which token outside the core's nucleus gets the most mass in the (wrong) result; "" if none gets any."""
    mass = as_logs(got).softmax(-1).masked_fill(nucleus, 0.0)
    if not mass.max() > 1e-3:  # also where a row is nan
        return ""
    context, token = divmod(int(mass.argmax()), mass.shape[1])
    return (
        f" Token {token} of context {context} is outside the core's nucleus and has mass {mass.max().item():.2g} in"
        " your result."
    )


def strength(got: Tensor, base: Tensor, difference: Tensor) -> float | None:
    """The k with which got = base + k * difference + a constant a row, where got is finite; None if there is none."""
    logs = as_logs(got)
    finite = logs.isfinite()
    count = finite.sum(-1, keepdim=True).clamp(min=1)
    x, y = (v.where(finite, 0.0) for v in (difference.double(), logs - base))
    x, y = ((v - v.sum(-1, keepdim=True) / count).where(finite, 0.0) for v in (x, y))
    if not x.square().sum() > 1e-3:
        return None
    k = (x * y).sum() / x.square().sum()
    return k.item() if (y - k * x).abs().max() < 1e-2 else None


def dexperts(core: Tensor, positive: Tensor, negative: Tensor, lam: float, top_p: float) -> Known:
    """core, positive, negative (B, V). Every wrong score under the right filter, then every score under wrong ones."""
    nucleus = _nucleus(core, top_p)
    scores = _scores(core, positive, negative, lam)
    right = scores[0][1]
    known = [(hint, _keep(nucleus, score)) for hint, score in scores[1:]]
    known += [(ZERO_MASK, score) for score in _zero_masks(core, right, nucleus)]
    known += [(hint, _keep(mask, right)) for hint, mask in _filters(core, positive, negative, right, top_p)]
    over_contexts = _keep(nucleus, right).log_softmax(0)
    known.append(
        (
            "You normalised over the contexts (dim 0): each context must sum to 1 over the vocabulary (dim=-1).",
            over_contexts,
        )
    )
    # Two mistakes at once: the scores, and the filter too late or not at all. The student hears of both.
    wrong = [(hint, score) for hint, score in scores[1:] if not score.allclose(right)]
    of_results = _nucleus(torch.stack([score for _, score in wrong]).nan_to_num(neginf=-1e4), top_p)
    for (hint, score), of_result in zip(wrong, of_results, strict=True):
        if not of_result.equal(nucleus):
            known.append((f"{hint} And the filter comes too late: {FIRST}", _keep(of_result, score)))
        known.append((f"{hint} And no token is filtered out: {FIRST}", score))
    return known


def _scores(core: Tensor, positive: Tensor, negative: Tensor, lam: float) -> Known:
    """The right scores, and then those of each misconception, before any filter."""
    difference = positive - negative
    p_core, p_difference = core.exp(), positive.exp() - negative.exp()
    ignored = "lam is ignored, or cut off at 1: the difference is multiplied by lam, whatever its size."
    one_side = "lam multiplies one side only: it belongs to the whole difference, lam * (positive - negative)."
    lam_core = "lam weighs the core: its weight is 1, lam belongs to the difference."
    average = "You averaged: the three weights are 1, lam and -lam, nothing is divided by the number of models."
    linear = "You added probabilities: the core and the difference are added as logarithms, core + lam * (...)."
    return [
        ("", core + lam * difference),
        # Before the swapped sign, which is the same where lam = -1.
        ("You made lam positive: below 0 it swaps the roles.", core + abs(lam) * difference),
        ("You cut lam off at 0: below 0 it swaps the roles.", core + max(lam, 0.0) * difference),
        (
            "The sign is swapped: what the POSITIVE model prefers must gain, core + lam * (positive - negative).",
            core - lam * difference,
        ),
        (SHALLOW, core + lam * positive),
        (SHALLOW, core + positive),
        (SHALLOW, (core + lam * positive) / ((1 + lam) or 1.0)),
        ("The positive is missing: the difference is positive - negative.", core - lam * negative),
        ("The positive is missing: the difference is positive - negative.", core - negative),
        (IN_PROBS, core + lam * p_difference),
        (IN_PROBS, p_core + lam * p_difference),
        (IN_PROBS, (p_core + lam * p_difference).clamp(min=0).log()),
        ("You take the probability of the core in place of its logarithm.", p_core + lam * difference),
        (ignored, core + difference),
        (ignored, core + max(min(lam, 1.0), 0.0) * difference),
        (one_side, core + lam * positive - negative),
        (one_side, core + positive - lam * negative),
        ("You ADD the negative: it is subtracted.", core + lam * (positive + negative)),
        ("You ADD the negative: it is subtracted.", core + positive + negative),
        (NO_CORE, lam * difference),
        (NO_CORE, difference),
        (NO_CORE, positive - lam * negative),
        (NO_CORE, (1 + lam) * positive - lam * negative),
        (NO_CORE.replace("The core is missing", "The core and the negative are missing"), positive),
        ("The core comes twice.", 2 * core + lam * difference),
        (lam_core, lam * core + difference),
        (lam_core, lam * (core + difference)),
        (lam_core, (1 - lam) * core + lam * difference),
        (
            "The positive is replaced by the core: (1 + lam) core - lam negative is the method without an expert.",
            (1 + lam) * core - lam * negative,
        ),
        ("The negative is replaced by the core: use the negative model.", (1 - lam) * core + lam * positive),
        (average, (core + positive + negative) / 3),
        (average, (core + positive) / 2),
        (average, (core + lam * difference) / 3),
        (average, (core + lam * difference) / ((1 + lam) or 1.0)),
        (average, (core + lam * difference) / ((1 + 2 * lam) or 1.0)),
        (linear, ((p_core + positive.exp() + negative.exp()) / 3).log()),
        (linear, (p_core + lam * positive.exp()).clamp(min=0).log()),
        ("lam divides the difference: it multiplies it.", core + difference / (lam or 1.0)),
        ("lam is squared: use it as it is.", core + lam * lam * difference),
        (
            "You divide the log-probabilities: a ratio of probabilities is a DIFFERENCE of their logarithms.",
            core + lam * positive / negative,
        ),
        (
            "You multiply core and difference: a product of probabilities is a SUM of logarithms.",
            core * lam * difference,
        ),
        ("The difference is ignored: this is the core alone.", core),
    ]


def _filters(core: Tensor, positive: Tensor, negative: Tensor, right: Tensor, top_p: float) -> Known:
    """Masks (B, V) that misconceptions keep."""
    probs, order = core.softmax(-1).sort(dim=-1, descending=True)
    before = probs.cumsum(-1) - probs
    back = torch.zeros_like(core, dtype=torch.bool)
    k = max(1, round(top_p * core.shape[1]))
    difference = positive - negative
    of = torch.stack([core, right, positive, negative, difference, _keep(_nucleus(core, top_p), right)])
    nucleus, of_result, of_positive, of_negative, of_difference, twice = _nucleus(of, top_p)
    share = "top_p is a share of the MASS, taken from the most probable tokens downwards, {}."
    return [
        (
            f"You took the nucleus of the RESULT, after the difference was added. {FIRST} The difference can lift a"
            " token that the core holds impossible.",
            of_result,
        ),
        (f"{NO_FILTER} {FIRST}", torch.ones_like(back)),
        (f"You took the nucleus of the positive model. {FIRST}", of_positive),
        (f"You took the nucleus of the negative model. {FIRST}", of_negative),
        (f"You took the nucleus of the difference positive - negative. {FIRST}", of_difference),
        (
            "You keep the nuclei of the core AND of the positive model. " + FIRST,
            nucleus & of_positive,
        ),
        ("You keep the nuclei of the core OR of the positive model. " + FIRST, nucleus | of_positive),
        (
            "You filter a second time, after the difference: what the core's nucleus holds stays in, however the"
            " difference pushes it down.",
            nucleus & twice,
        ),
        (
            "The token that CROSSES top_p belongs to the nucleus: the smallest set whose mass is at least top_p. Keep a"
            " token if the mass BEFORE it (cumsum - probs) is below top_p.",
            back.scatter(-1, order, before + probs <= top_p),
        ),
        (
            "One token too many: the nucleus ends with the token that crosses top_p. Keep a token if the mass BEFORE it"
            " (cumsum - probs) is below top_p.",
            back.scatter(-1, order, torch.cat([back[:, :1] | True, (before < top_p)[:, :-1]], -1)),
        ),
        ("The filter is the wrong way round: you removed the nucleus and kept the rest.", ~nucleus),
        (
            "The mask is still in the order of the SORTED tokens: put it back with scatter(-1, order, keep).",
            before < top_p,
        ),
        (
            "The mask is put back the wrong way: keep[order] is no undoing. torch.zeros_like(keep).scatter(-1, order,"
            " keep) puts place i back to token order[i].",
            (before < top_p).gather(-1, order),
        ),
        (
            "You summed from the LEAST probable token upwards: sort with descending=True.",
            back.scatter(-1, order, probs.flip(-1).cumsum(-1).flip(-1) <= top_p),
        ),
        (
            "You did not sort: the mass is added up from the MOST probable token downwards.",
            core.exp().cumsum(-1) - core.exp() < top_p,
        ),
        (
            "You sorted over the contexts (dim 0): the nucleus is taken for each context, dim=-1.",
            _nucleus(core.T, top_p).T,
        ),
        (
            "Too few tokens are left. "
            + share.format("not a fraction of the largest probability (that would be the plausibility mask)"),
            core >= core.amax(-1, keepdim=True) + math.log(top_p),
        ),
        (share.format("not a bound on each token's probability"), core.exp() >= 1 - top_p),
        (share.format("not a bound on each token's probability"), core.exp() >= top_p),
        (share.format("not of the number of tokens (that would be top-k)"), back.scatter(-1, order[:, :k], True)),
        ("You take a fixed nucleus of 0.9: use the argument top_p.", _nucleus(core, 0.9)),
    ]


def _zero_masks(core: Tensor, right: Tensor, nucleus: Tensor) -> list[Tensor]:
    """The mask by 0 at every place where it may be put."""
    wrong = [core.masked_fill(~nucleus, 0.0) + (right - core), right.masked_fill(~nucleus, 0.0)]
    return wrong + [x.log_softmax(-1).masked_fill(~nucleus, 0.0) for x in (right, _keep(nucleus, right))]


def _keep(mask: Tensor, scores: Tensor) -> Tensor:
    return scores.masked_fill(~mask, -torch.inf)
