"""Tests of 07_mixture_of_experts: the k largest of each row, and the gate that chooses by scores with noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from course_utils.exercises.diagnose import attempt, sum_note
from course_utils.exercises.engine import Mistake, close
from course_utils.exercises.engine.calls import StudentError
from course_utils.exercises.mistakes import alike, draw, recognise
from course_utils.moe import keep_top_k


def noisy_gate(x: Tensor, w_gate: Tensor, w_noise: Tensor, k: int, noise: Tensor) -> Tensor:
    """softmax(keep_top_k(x W_gate + noise softplus(x W_noise), k)), each row over its experts: the gates alone, without logits.

    x (N, d), w_gate and w_noise (d, E), noise (N, E) -> (N, E); rows sum to 1, and all but k gates of a row are exactly 0.
    Raises ValueError: k outside 1..E. Source: Shazeer et al. (2017), section 2.1, equations 3 to 5.
    """
    noisy = x @ w_gate + noise * softplus(x @ w_noise)
    return keep_top_k(noisy, k).softmax(dim=-1)


# --- keep_top_k ------------------------------------------------------------------------------------------------------

CHOOSE = (
    "values, index = v.topk(k, dim=-1) are the k largest of each row and their places: scatter the values into a tensor"
    " full of -inf."
)
ZERO = (
    "The others are 0: a softmax would give each of them exp(0) = 1, so every expert keeps a share. Only exp(-inf) is 0:"
    " fill with -math.inf."
)
FINITE = (
    "The others hold a large negative number and not -inf. As long as the scores are ordinary, a softmax gives 0 for it"
    " as well, but it is a score like any other: lower ones would lose to it, and half precision cannot hold -1e9. Write"
    " -math.inf."
)
ABSOLUTE = "You keep the largest MAGNITUDES (abs): a score of -3 is a low one. Take the largest values."
SMALLEST = "You keep the k SMALLEST of each row: keep the largest ones (largest=True, descending=True)."
WRONG_WAY = "The k largest became -inf and the others stay: the mask is the wrong way round."
OVER_TOKENS = "You choose over the tokens (dim 0): each token, a row, chooses k experts. Take dim=-1."
FLAT = "You choose among all scores of the matrix at once: each ROW keeps its own k largest, so that each token has k experts."
ONE_MORE = (
    "You keep k + 1 in each row, one too many: is it a comparison with the next value, or an index that is off by one?"
)
ONE_LESS = "You keep k - 1 in each row, one too few. Of sorted values the k-th has the index k - 1; and > drops it, >= does not."
SOFTMAXED = (
    "The softmax is taken already. Here the scores themselves are asked for, and -inf: the softmax comes in exercise 2."
)
SOFTMAX_FIRST = (
    "You took a softmax first: the scores that stay must be those of v, unchanged. The softmax comes afterwards."
)
MASK = "This is the mask: return the scores themselves where it is true, and -inf elsewhere."
ADDITIVE = "The k largest became 0: this is a mask to be ADDED. Return v + mask."
NAN = "0 * -inf is nan, so -inf cannot be masked by a product. Use torch.where(mask, v, -math.inf) or masked_fill."
RANK = "argsort gives the PLACES in sorted order, not the rank of each score. Sort twice (argsort().argsort()), or use topk(k).indices."
SORTED = "Your scores are in sorted order: each must stay at the place of its expert. Scatter them back by their index."
FIXED = "You keep k fixed places of each row: which experts stay is decided by their scores, anew for each token."
NOTHING = "Nothing was taken out: of each row k scores stay, and the others become -inf."
PLUS = "The others became +inf, the largest of all scores: it is MINUS inf, whose exponential is 0."
AVERAGE = (
    "You keep what lies above the average: some rows keep more than k and some fewer. Choose k by their order, topk(k)."
)
PACKED = "This has k columns: the k chosen alone. Asked is one column for each expert, (tokens, experts), with -inf where not chosen."
INDEX = "These are the places of the k largest, (tokens, k). Asked are the scores, (tokens, experts), with -inf where not chosen."
PAIR = "You return the pair that topk gives, values and places: put the values back in their places, (tokens, experts)."
TIES = (
    "Several scores are equal here, and a row keeps more than k. A comparison with the k-th value cannot decide between"
    " equals: choose by index, topk(k).indices, which gives exactly k."
)
TIES_FEW = (
    "Several scores are equal here, and a row keeps fewer than k. A strict comparison (>) drops all of the equals: choose"
    " by index, topk(k).indices, which gives exactly k."
)
ZERO_SCORE = "A score of exactly 0 is among the k largest here, and was taken out. Do not ask which scores are 0: use the mask itself."
ALL = "Here k is the number of experts: all stay, and there is no next score to compare with."
KEEP_CLASH = "The shapes do not line up: v is (tokens, experts), topk(k, dim=-1) gives (tokens, k), a threshold must be (tokens, 1)."


def _keep(v: Tensor, k: int, score: Tensor | None = None, dim: int = -1, fill: float = -math.inf) -> Tensor:
    """v where its score (v itself if not given) is among the k largest along dim, `fill` elsewhere."""
    index = (v if score is None else score).topk(k, dim=dim).indices
    return v.masked_fill(~torch.zeros_like(v, dtype=torch.bool).scatter(dim, index, True), fill)


def _kept(v: Tensor, k: int) -> Tensor:
    return _keep(v, k).isfinite()


KEEP_MISTAKES = [
    (ZERO, lambda v, k: _keep(v, k, fill=0.0)),
    (ABSOLUTE, lambda v, k: _keep(v, k, v.abs())),
    (SMALLEST, lambda v, k: _keep(v, k, -v)),
    (WRONG_WAY, lambda v, k: _keep(v, v.shape[1] - k, -v)),
    (OVER_TOKENS, lambda v, k: _keep(v, k, dim=0)),
    (FLAT, lambda v, k: _keep(v.reshape(1, -1), k).reshape(v.shape)),
    (FLAT, lambda v, k: _keep(v.reshape(1, -1), k * len(v)).reshape(v.shape)),
    (ONE_MORE, lambda v, k: _keep(v, k + 1)),
    (ONE_LESS, lambda v, k: _keep(v, k - 1)),
    (SOFTMAXED, lambda v, k: _keep(v, k).softmax(-1)),
    (SOFTMAX_FIRST, lambda v, k: _keep(v.softmax(-1), k)),
    (SOFTMAX_FIRST, lambda v, k: _keep(v.softmax(-1), k, fill=0.0)),
    (SOFTMAX_FIRST, lambda v, k: _keep(v.log_softmax(-1), k)),
    (MASK, _kept),
    (MASK, lambda v, k: _kept(v, k).float()),
    (ADDITIVE, lambda v, k: _kept(v, k).float().log()),
    (NAN, lambda v, k: torch.where(_kept(v, k), math.nan, -math.inf)),
    (RANK, lambda v, k: v.masked_fill(v.argsort(-1, descending=True) >= k, -math.inf)),
    (RANK, lambda v, k: v.masked_fill(v.argsort(-1) < v.shape[1] - k, -math.inf)),
    (SORTED, lambda v, k: _keep(v.sort(-1, descending=True).values, k)),
    (SORTED, lambda v, k: _keep(v.sort(-1).values, k)),
    (FIXED, lambda v, k: v.masked_fill(torch.arange(v.shape[1]) >= k, -math.inf)),
    (FIXED, lambda v, k: v.masked_fill(torch.arange(v.shape[1]) < v.shape[1] - k, -math.inf)),
    (NOTHING, lambda v, k: v),
    (PLUS, lambda v, k: _keep(v, k, fill=math.inf)),
    (AVERAGE, lambda v, k: v.masked_fill(v < v.mean(-1, keepdim=True), -math.inf)),
]
KEEP_CASES = [(draw(5, 7, seed=711), 3), (draw(4, 4, seed=712), 2)]


def _check_keep(answer: Callable, v: Tensor, k: int) -> None:
    expected, got = keep_top_k(v, k), attempt(answer, v, k, clash=KEEP_CLASH)
    if isinstance(got, tuple):
        raise Mistake(PAIR)
    if isinstance(got, Tensor) and got.shape == (len(v), k) != v.shape:
        raise Mistake(PACKED if got.is_floating_point() else INDEX)
    try:
        close(got, expected, what="your result")
    except Mistake as mistake:
        recognise(answer, KEEP_CASES, KEEP_MISTAKES)
        out = expected.isneginf()
        fits = isinstance(got, Tensor) and got.shape == v.shape
        if fits and alike(got, torch.where(out, got.detach(), expected)) and (got[out] < -100).all():
            raise Mistake(FINITE) from None
        raise Mistake(f"{mistake} {CHOOSE}") from None


def keep_random(answer: Callable) -> None:
    """random scores of both signs: 5 tokens choose 3 of 7 experts, 4 tokens choose 2 of 4"""
    for case in KEEP_CASES:
        _check_keep(answer, *case)


def keep_ends(answer: Callable) -> None:
    """k = 1, only the largest stays; k = the number of experts, all stay; and a single token"""
    _check_keep(answer, draw(3, 5, seed=713), 1)
    try:
        answer(draw(3, 5, seed=714), 5)
    except StudentError as wrapped:
        raise Mistake(f"{ALL} (Your function raised {type(wrapped.error).__name__}.)") from None
    _check_keep(answer, draw(3, 5, seed=714), 5)
    _check_keep(answer, draw(1, 6, seed=715), 2)


def keep_ties(answer: Callable) -> None:
    """equal scores: exactly k of each row stay, whichever of the equals"""
    v = torch.tensor([[2.0, 2, 2, 1, 0.5], [3, 1, 1, 1, 1], [-1, -1, -1, -1, -1], [0.5, 4, 4, 4, 5]])
    for k in (1, 2, 3):
        got = attempt(answer, v, k, clash=KEEP_CLASH)
        if not isinstance(got, Tensor) or got.shape != v.shape:
            close(got, v, what="your result")
        count = (got.detach() > -math.inf).sum(-1)
        if (count != k).any():
            raise Mistake(TIES if (count > k).any() else TIES_FEW)
        close(torch.where(got > -math.inf, v, -math.inf), got, what="a score that stays")
        close(got.sort(-1).values, keep_top_k(v, k).sort(-1).values, what="your result, each row sorted,")


def keep_zero(answer: Callable) -> None:
    """a score of exactly 0 is one of the k largest, and a row has only negative scores"""
    v = torch.tensor([[0.0, -1, -2, -3], [-2, 0.5, 0, -1], [-3, -1, -4, -2]])
    got = attempt(answer, v, 2, clash=KEEP_CLASH)
    if isinstance(got, Tensor) and got.shape == v.shape and got[v == 0].isneginf().any():
        raise Mistake(ZERO_SCORE)
    _check_keep(answer, v, 2)


# --- noisy_gate ------------------------------------------------------------------------------------------------------

ORDER = "The order: H = x @ w_gate + noise * softplus(x @ w_noise), then the k largest of H (the others -inf), then the softmax."
UNNORMALISED = "The softmax was taken over ALL experts, and the rest cut off: rows do not sum to 1. Take the softmax of the k that stay."
TWICE = (
    "You take a softmax before the choice and another after it: the second flattens the weights. Take the one after it."
)
NO_SOFTMAX = "The softmax is missing: these are the scores. Gates are softmax weights, positive and with the sum 1."
SHARES = "You divided the chosen scores by their sum: scores may be negative. Gates are their softmax."
NO_CHOICE = "No choice was made: every expert has a share. Only the k largest of H may have one."
ZEROS = (
    "The experts that were not chosen have the score 0 and so the share exp(0): set them to -inf before the softmax."
)
NO_SOFTPLUS = "softplus is missing: x @ w_noise may be negative, and a standard deviation may not. Multiply by softplus(x @ w_noise)."
OTHER_FUNCTION = (
    "You took {} in place of softplus. softplus(z) = log(1 + exp(z)): positive, smooth, and nearly z for large z."
)
ROOT = "softplus(x @ w_noise) is the standard deviation itself: no root, and no square."
UNSCALED = "The noise is not scaled: multiply it by softplus(x @ w_noise), so that the model learns how much noise each expert gets."
ON_PRODUCT = (
    "softplus is taken of the product with the noise, which is then never negative: noise * softplus(x @ w_noise)."
)
ON_GATE = "softplus belongs to x @ w_noise alone: x @ w_gate and the sum stay as they are."
IGNORED = "The noise has no effect: these are the gates of x @ w_gate alone. Add noise * softplus(x @ w_noise)."
SPREAD_ONLY = "softplus(x @ w_noise) is added without the noise: multiply it by `noise`, which has both signs."
AFTER = "The choice was made without noise, which was added afterwards. The noise is there to change who is CHOSEN: add it before."
CLEAN_WEIGHTS = "The noise decides here who is chosen, but the weights come from x @ w_gate: take the softmax of the noisy scores H."
MINUS = (
    "The noise is subtracted: ADD noise * softplus(x @ w_noise). (Noise is as likely either way, but here it is given.)"
)
FACTOR = "The noise multiplies x @ w_gate: it is ADDED to it, scaled by softplus(x @ w_noise)."
OUTSIDE = "softplus(x @ w_noise) multiplies x @ w_gate too: it scales the noise alone."
SOFTMAX_TOKENS = "The softmax runs over the tokens (dim 0): the gates of each token, a row, sum to 1. Take dim=-1."
CHOICE_TOKENS = "The choice runs over the tokens (dim 0): each token, a row, chooses its k experts. Take dim=-1."
SWAPPED = "w_gate and w_noise are swapped: w_gate gives the scores, w_noise the size of the noise."
TRANSPOSED = (
    "You multiplied by the transpose: w_gate and w_noise are (d, experts), so it is x @ w_gate and x @ w_noise."
)
EQUAL = "The k chosen have equal gates: their weights are the softmax of their scores."
SIGMOID = "You took a sigmoid of each score: the gates of a row compete, and sum to 1. Take the softmax."
LOGS = "These are the logarithms of the gates (log_softmax): take softmax."
LEAST = "You keep the k SMALLEST scores: keep the largest."
OFF_BY_ONE = "The number of experts that stay is k {}: exactly k stay."
OWN = "You draw noise of your own: your result is another one at each call. Use the argument `noise`, which is drawn already."
UNUSED = "Your result does not depend on the argument `noise`. Use it, and draw no noise of your own."
TUPLE = "You return several things: return the gates alone, (tokens, experts)."
GATE_PACKED = (
    "This has k columns: the chosen ones alone. Asked is one column for each expert, with 0 where it was not chosen."
)
GATE_CLASH = "The shapes do not line up: x is (tokens, d), w_gate and w_noise (d, experts) and not transposed, noise (tokens, experts)."


@cache  # a tensor is its own key: the cases are the only ones that it is called with
def _mistaken_gates(x: Tensor, w_gate: Tensor, w_noise: Tensor, k: int, noise: Tensor) -> list[tuple[str, Tensor]]:
    """[(hint, the gates that this misconception gives)], for as many experts as x has columns."""
    clean, z, n = x @ w_gate, x @ w_noise, noise
    std, turned = softplus(z), softplus(x @ w_noise.T)
    h = clean + n * std
    zeroed, chosen = _keep(h, k, fill=0.0), _kept(h, k)
    functions = {
        "relu": z.relu(),
        "exp": z.exp(),
        "sigmoid": z.sigmoid(),
        "abs": z.abs(),
        "tanh": z.tanh(),
        "softmax": z.softmax(-1),
    }
    scores = [
        (IGNORED, clean),
        (NO_SOFTPLUS, clean + n * z),
        (UNSCALED, clean + n),
        (MINUS, clean - n * std),
        (ROOT, clean + n * std.sqrt()),
        (ROOT, clean + n * std.square()),
        (ON_PRODUCT, clean + softplus(n * z)),
        (ON_GATE, softplus(clean) + n * std),
        (ON_GATE, softplus(h)),
        (ON_GATE, softplus(clean + n * z)),
        (SPREAD_ONLY, clean + std),
        (SPREAD_ONLY, clean + z),
        (FACTOR, clean * n * std),
        (FACTOR, clean * (1 + n * std)),
        (FACTOR, clean * n),
        (OUTSIDE, (clean + n) * std),
        (SWAPPED, z + n * softplus(clean)),
        (TWICE, h.softmax(-1)),
        (TRANSPOSED, x @ w_gate.T + n * turned),
        (TRANSPOSED, x @ w_gate.T + n * std),
        (TRANSPOSED, clean + n * turned),
        *((OTHER_FUNCTION.format(name), clean + n * value) for name, value in functions.items()),
    ]
    return [(hint, _keep(wrong, k).softmax(-1)) for hint, wrong in scores] + [
        (UNNORMALISED, h.softmax(-1) * chosen),
        (NO_SOFTMAX, _keep(h, k)),
        (NO_SOFTMAX, zeroed),
        (NO_SOFTMAX, h),
        (SHARES, zeroed / zeroed.sum(-1, keepdim=True)),
        (NO_CHOICE, h.softmax(-1)),
        (NO_CHOICE, clean.softmax(-1)),
        (ZEROS, zeroed.softmax(-1)),
        (AFTER, (_keep(clean, k) + n * std).softmax(-1)),
        (AFTER, (_keep(clean, k) + n).softmax(-1)),
        (AFTER, _keep(clean, k).softmax(-1) + n * std),
        (CLEAN_WEIGHTS, _keep(clean, k, h).softmax(-1)),
        (SOFTMAX_TOKENS, _keep(h, k).softmax(0)),
        (CHOICE_TOKENS, _keep(h, k, dim=0).softmax(-1)),
        (CHOICE_TOKENS, _keep(h, k, dim=0).softmax(0)),
        (EQUAL, chosen / k),
        (EQUAL, chosen.float()),
        (EQUAL, chosen),
        (SIGMOID, _keep(h, k).sigmoid()),
        (LOGS, _keep(h, k).log_softmax(-1)),
        (LEAST, _keep(h, k, -h).softmax(-1)),
        (OFF_BY_ONE.format("+ 1"), _keep(h, k + 1).softmax(-1)),
        (OFF_BY_ONE.format("- 1"), _keep(h, k - 1).softmax(-1)),
    ]


def _inputs(tokens: int, d: int, experts: int, k: int, seed: int, spread: float = 1.0) -> tuple:
    """x, w_gate, w_noise, k, noise; `spread` is about the standard deviation of x W_noise."""
    x, w_gate, w_noise = draw(tokens, d, seed=seed), draw(d, experts, seed=seed + 1), draw(d, experts, seed=seed + 2)
    return x, w_gate, w_noise * spread / d**0.5, k, draw(tokens, experts, seed=seed + 3)


GATE_CASES = [
    _inputs(6, 5, 5, 2, seed=721),
    _inputs(7, 4, 4, 2, seed=731),
]  # as many columns as experts: a transpose fits
GATE_MISTAKES = [
    (hint, lambda *case, place=place: _mistaken_gates(*case)[place][1])
    for place, (hint, _) in enumerate(_mistaken_gates(*GATE_CASES[0]))
]


def _check_gate(answer: Callable, *case: Any) -> None:
    expected, got = noisy_gate(*case), attempt(answer, *case, clash=GATE_CLASH)
    if isinstance(got, tuple):
        raise Mistake(TUPLE)
    if isinstance(got, Tensor) and got.shape == (len(expected), case[3]) != expected.shape:
        raise Mistake(GATE_PACKED)
    try:
        close(got, expected, what="your result")
    except Mistake as mistake:
        recognise(answer, GATE_CASES, GATE_MISTAKES)
        if isinstance(got, Tensor) and got.shape == expected.shape and got.is_floating_point() and got.isfinite().all():
            if not alike(got, answer(*case)):
                raise Mistake(OWN) from None
            if case[4].any() and alike(got, answer(*case[:4], -case[4])):
                raise Mistake(UNUSED) from None
            raise Mistake(f"{mistake} {sum_note(got, log=False, dim=-1)} {ORDER}") from None
        raise Mistake(f"{mistake} {ORDER}") from None


def gate_random(answer: Callable) -> None:
    """6 tokens choose 2 of 5 experts, 7 tokens 2 of 4, with noise; then x with fewer columns than experts, and with more"""
    for case in [*GATE_CASES, _inputs(6, 3, 5, 2, seed=741), _inputs(3, 8, 4, 3, seed=751)]:
        _check_gate(answer, *case)


def gate_ends(answer: Callable) -> None:
    """k = 1, the gate of the only expert is 1; k = the number of experts, a plain softmax of the noisy scores"""
    _check_gate(answer, *_inputs(5, 3, 4, 1, seed=761))
    _check_gate(answer, *_inputs(5, 3, 4, 4, seed=771))


def gate_quiet(answer: Callable) -> None:
    """the noise is 0, as it is after the training: only x @ w_gate counts"""
    *case, noise = _inputs(5, 3, 6, 2, seed=781)
    _check_gate(answer, *case, torch.zeros_like(noise))


def gate_loud(answer: Callable) -> None:
    """x @ w_noise from about -20 to 20: for some experts hardly any noise, for others so much that it decides the choice"""
    _check_gate(answer, *_inputs(6, 3, 5, 2, seed=791, spread=10.0))
