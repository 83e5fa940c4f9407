"""What known misconceptions about the plausibility mask and about guidance compute, each with its hint."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_utils.ensembling import _nucleus

Known = list[tuple[str, Tensor]]

STRICT = (
    "`>` in place of `>=`: a token that reaches the bound is plausible, and with alpha = 1 the most probable tokens"
    " must stay."
)
TOO_HIGH = (
    "No token is left: your bound lies above the maximum. alpha multiplies the PROBABILITY: the logarithm of"
    " alpha * max P is max log P + log alpha, and log alpha is negative."
)


def plausible(log_probs: Tensor, alpha: float) -> Known:
    """log_probs (B, V); masks (B, V)."""
    probs, largest = log_probs.exp(), log_probs.amax(-1, keepdim=True)
    right = log_probs >= largest + math.log(alpha)
    order = log_probs.sort(dim=-1, descending=True).indices
    back, share = torch.zeros_like(right), alpha * log_probs.shape[1]
    relative = "The bound is alpha times the LARGEST probability of the row, {}."
    base = "The natural logarithm is meant: math.log(alpha), for log_probs are natural logarithms."
    known = [
        (STRICT if alpha == 1 else TOO_HIGH, torch.zeros_like(right)),
        (
            "Every token is plausible in your mask: did you compare a probability with a (negative) logarithm, or a"
            " bound that is no bound? log P >= max log P + log alpha.",
            torch.ones_like(right),
        ),
        ("The mask is the wrong way round: True is for the tokens that may be emitted.", ~right),
        (relative.format("not alpha itself: P >= alpha is no use where many tokens are good"), probs >= alpha),
        (relative.format("not less alpha (that is P >= max P - alpha)"), probs >= probs.amax(-1, keepdim=True) - alpha),
        (
            "alpha must go through a logarithm: alpha * max P is max log P + log alpha, not max log P - alpha.",
            log_probs >= largest - alpha,
        ),
        (base, log_probs >= largest + math.log10(alpha)),
        (base, log_probs >= largest + math.log2(alpha)),
        (
            "The maximum is that of the whole batch: each context has its own, amax(dim=-1, keepdim=True).",
            log_probs >= log_probs.max() + math.log(alpha),
        ),
        (
            "The maximum is that of each TOKEN over the contexts (dim 0): take it over the vocabulary, amax(dim=-1,"
            " keepdim=True).",
            log_probs >= log_probs.amax(0, keepdim=True) + math.log(alpha),
        ),
        (
            "This is a nucleus: alpha is no share of the mass, but of the largest probability.",
            _nucleus(log_probs, alpha),
        ),
        (
            "This is a nucleus: alpha is no share of the mass, but of the largest probability.",
            _nucleus(log_probs, 1 - alpha) if alpha < 1 else right,
        ),
        *(
            (
                "This is top-k: alpha is no share of the tokens, but of the largest probability.",
                back.scatter(-1, order[:, : max(1, k)], True),
            )
            for k in (int(share), round(share), math.ceil(share))
        ),
        ("Only the most probable token is left: those close enough to it stay as well.", log_probs >= largest),
        (relative.format("not the mean"), probs >= alpha * probs.mean(-1, keepdim=True)),
        (relative.format("not the median"), probs >= alpha * probs.median(-1, keepdim=True).values),
        (
            "The mask is in the order of the sorted tokens: column v belongs to token v, no sorting is needed.",
            right.gather(-1, order),
        ),
    ]
    if log_probs.shape[0] == log_probs.shape[1]:
        silent = (
            "The maximum of context i is compared with token i: keepdim=True is missing, and B = V lets that pass in"
            " silence."
        )
        known.append((silent, log_probs >= largest.T + math.log(alpha)))
    return known


def guidance(conditional: Tensor, unconditional: Tensor, scale: float) -> Known:
    """conditional, unconditional (B, V)."""
    difference = conditional - unconditional
    p, q = conditional.exp(), unconditional.exp()
    other = (
        "This is the other convention, (1 + scale) conditional - scale unconditional, where scale = 0 is off. Here"
        " scale = 1 is off: start from the UNconditional model."
    )
    swapped = "The roles are swapped: scale = 1 must give the conditional model back, scale = 0 the unconditional one."
    in_probs = (
        "You mixed probabilities: guidance moves LOG-probabilities, unconditional + scale * (conditional -"
        " unconditional). In probabilities a scale above 1 goes below 0."
    )
    base = "You forgot the unconditional model that the difference is added to."
    return [
        (other, conditional + scale * difference),
        (swapped, conditional - scale * difference),
        (swapped, unconditional - scale * difference),
        (swapped, (1 + scale) * unconditional - scale * conditional),
        (in_probs, (q + scale * (p - q)).clamp(min=0).log()),
        (in_probs, (q + scale * (p - q)).clamp(min=1e-9).log()),
        (in_probs, q + scale * (p - q)),
        (in_probs, unconditional + scale * (p - q)),
        (
            "You added the conditional model, not its difference to the unconditional one.",
            unconditional + scale * conditional,
        ),
        (base, scale * difference),
        (base.replace("the difference is added to", "must be left at scale = 0"), scale * conditional),
        ("scale belongs to the whole difference, also to its unconditional part.", scale * conditional - unconditional),
        ("scale belongs to the whole difference, also to its conditional part.", conditional - scale * unconditional),
        # Before what they are the same as, where they cut.
        (
            "scale was cut off at 0: below 0 it moves away from the prompt.",
            unconditional + max(scale, 0.0) * difference,
        ),
        (
            "scale was cut off at 1: above 1 it extrapolates, that is what guidance is for.",
            unconditional + min(max(scale, 0.0), 1.0) * difference,
        ),
        ("scale is ignored: this is the conditional model.", conditional),
        ("This is the unconditional model alone.", unconditional),
        (
            "You averaged the two models: scale says how far to go, and may lie above 1.",
            (conditional + unconditional) / 2,
        ),
        ("scale divides the difference: it multiplies it.", unconditional + difference / (scale or 1.0)),
        ("scale is squared: use it as it is.", unconditional + scale * scale * difference),
        (
            "You normalised over the contexts (dim 0): each context must sum to 1 over the vocabulary (dim=-1).",
            (unconditional + scale * difference).log_softmax(0),
        ),
        ("The unconditional model is added, not subtracted.", unconditional + scale * (conditional + unconditional)),
        (
            "scale counts one too little: scale = 1 must give the conditional model.",
            unconditional + (scale - 1) * difference,
        ),
    ]
