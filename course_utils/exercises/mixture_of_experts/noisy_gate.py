"""The gate that chooses by scores with noise, whose size is learned."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from course_utils.exercises.engine import Exercise, Mistake, alike, case, draw, one_row
from course_utils.exercises.engine.exercise import Corner, in_float64
from course_utils.exercises.mixture_of_experts.keep_top_k import keep, kept
from course_utils.moe import keep_top_k


def noisy_gate(x: Tensor, w_gate: Tensor, w_noise: Tensor, k: int, noise: Tensor) -> Tensor:
    """softmax(keep_top_k(x W_gate + noise softplus(x W_noise), k)), each row over its experts: the gates alone, without
    logits.

    x (N, d), w_gate and w_noise (d, E), noise (N, E) -> (N, E); rows sum to 1, and all but k gates of a row are exactly
    0.
    Raises ValueError: k outside 1..E. Source: Shazeer et al. (2017), section 2.1, equations 3 to 5.
    """
    noisy = x @ w_gate + noise * softplus(x @ w_noise)
    return keep_top_k(noisy, k).softmax(dim=-1)


def _inputs(tokens: int, d: int, experts: int, k: int, seed: int, spread: float = 1.0) -> tuple:
    """x, w_gate, w_noise, k, noise; `spread` is about the standard deviation of x W_noise."""
    x, w_gate, w_noise = draw(tokens, d, seed=seed), draw(d, experts, seed=seed + 1), draw(d, experts, seed=seed + 2)
    return x, w_gate, w_noise * spread / d**0.5, k, draw(tokens, experts, seed=seed + 3)


FIRST = _inputs(6, 5, 5, 2, seed=721)  # as many columns as experts: a transpose fits


def gate(scores: Tensor, k: int) -> Tensor:
    return keep(scores, k).softmax(-1)


def _in(*wrong: Callable) -> list[Callable]:
    """Answers with a mistake in a step: wrong gets by name c = x W_gate, z = x W_noise, n the noise, k, and h the right
    scores."""

    def answer(make: Callable) -> Callable:
        def gates(x: Tensor, w_gate: Tensor, w_noise: Tensor, k: int, n: Tensor) -> Tensor:
            c, z = x @ w_gate, x @ w_noise
            steps = {"c": c, "z": z, "n": n, "k": k, "h": c + n * softplus(z)}
            return make(*(steps[name] for name in signature(make).parameters if name in steps))

        return gates

    return [answer(make) for make in wrong]


def _is_right(got: Any, x: Tensor, w_gate: Tensor, w_noise: Tensor, k: int, noise: Tensor) -> bool:
    """The softmax over the k largest scores, all other gates exactly 0; of equal scores any may be chosen."""
    scores = x @ w_gate + noise * softplus(x @ w_noise)
    if not isinstance(got, Tensor) or got.shape != scores.shape or not got.is_floating_point():
        return False
    mine = scores.masked_fill(got.detach() == 0, -torch.inf)
    the_largest = alike(mine.sort(-1).values, keep_top_k(scores, k).sort(-1).values)
    return the_largest and alike(got, mine.softmax(-1), atol=1e-4)


def _explain(got: Any, expected: Tensor, x: Tensor, w_gate: Tensor, w_noise: Tensor, k: int, noise: Tensor) -> str:
    if not isinstance(got, Tensor) or got.shape != expected.shape or not got.isfinite().all():
        return ""
    if alike(got, expected, atol=1e-4):
        largest = f"{got[expected == 0].abs().max():.2g}"
        raise Mistake(f"A gate that should be exactly 0 is {largest}: a layer would run that expert.", INF)
    sums = got.double().sum(-1)
    if not alike(sums, torch.ones(len(x)), atol=2e-3):
        return f"A row of your result sums to {sums[(sums - 1).abs().argmax()]:.3g} instead of 1. {ORDER}"
    if not noise.any():
        return "The argument `noise` is 0 here, and these are not the gates of x @ w_gate.\nIs there noise of your own?"
    return ""


ORDER = "The order: the scores with their noise, then the k largest, then the softmax of those."
INF = "Their score is -inf, whose exponential is exactly 0."
PER_TOKEN = "Each token is a row, which chooses its k experts and whose gates sum to 1: dim=-1."
NOT_SOFTPLUS = (torch.relu, torch.exp, torch.sigmoid, torch.abs, torch.tanh, lambda z: z.softmax(-1))

EXERCISE = Exercise(
    "mixture_of_experts.noisy_gate",
    reference=noisy_gate,
    what="your result",
    right=ORDER,
    equal=_is_right,
    explain=_explain,
    cases=[
        case("the noise is 0, as after the training: 6 tokens choose 2 of 5 experts", *FIRST[:4], 0 * FIRST[4]),
        case("the same tokens, with noise", *FIRST),
        case("x has fewer columns than there are experts", *_inputs(6, 3, 5, 2, seed=741)),
        case("x has more columns than there are experts, and k = 3", *_inputs(3, 8, 4, 3, seed=751)),
        case("x @ w_noise from about -20 to 20: little noise or much", *_inputs(6, 3, 5, 2, seed=791, spread=10.0)),
    ],
    corners=[
        one_row("x", "noise"),
        Corner("k = 1: the gate of the only expert is 1", lambda named: {"k": 1}),
        Corner("k is the number of experts: a plain softmax", lambda named: {"k": 5}),
        Corner("all scores are equal: still exactly k experts", lambda named: {"w_gate": 0 * named["w_gate"]}),
    ],
    errors={
        "dtype": in_float64.advice,
        "shapes": "The shapes do not line up: x is (tokens, d), w_gate and w_noise are (d, experts).",
    },
    mistakes={
        "The noise has no effect: these are the gates of x @ w_gate alone.": _in(lambda c, k: gate(c, k)),
        "softplus is missing: a standard deviation is not negative.": _in(lambda c, z, n, k: gate(c + n * z, k)),
        "The noise is not scaled by softplus(x @ w_noise).": _in(lambda c, n, k: gate(c + n, k)),
        "The noise is subtracted: it is added.": _in(lambda h, c, k: gate(2 * c - h, k)),
        "softplus(x @ w_noise) is the standard deviation itself: no root, and no square.": _in(
            *(lambda c, z, n, k, power=power: gate(c + n * softplus(z) ** power, k) for power in (0.5, 2))
        ),
        "softplus belongs to x @ w_noise alone, not to its product with the noise, to x @ w_gate or to the sum.": _in(
            *(lambda c, z, n, k: gate(c + softplus(n * z), k), lambda c, z, n, k: gate(softplus(c + n * z), k)),
            *(lambda c, z, n, k: gate(softplus(c) + n * softplus(z), k), lambda h, k: gate(softplus(h), k)),
        ),
        "softplus(x @ w_noise) is added without the noise: multiply it by `noise`, which has both signs.": _in(
            *(lambda c, z, k: gate(c + softplus(z), k), lambda c, z, k: gate(c + z, k))
        ),
        "The noise multiplies x @ w_gate.\nIt is added to it, scaled by softplus(x @ w_noise).": _in(
            *(lambda h, c, k: gate(c * (h - c), k), lambda h, c, k: gate(c * (1 + h - c), k))
        ),
        "softplus(x @ w_noise) scales x @ w_gate too.": _in(lambda c, z, n, k: gate((c + n) * softplus(z), k)),
        "w_gate and w_noise are swapped.": _in(lambda c, z, n, k: gate(z + n * softplus(c), k)),
        "A weight is transposed here: w_gate and w_noise are (d, experts).": [
            *(lambda x, w, v, k, n: noisy_gate(x, w.T, v.T, k, n), lambda x, w, v, k, n: noisy_gate(x, w.T, v, k, n)),
            lambda x, w, v, k, n: noisy_gate(x, w, v.T, k, n),
        ],
        "This has another function, as relu, exp, sigmoid, abs, tanh or softmax, instead of softplus.\n"
        "softplus(z) = log(1 + exp(z)): positive, smooth, and nearly z for large z.": _in(
            *(lambda c, z, n, k, other=other: gate(c + n * other(z), k) for other in NOT_SOFTPLUS)
        ),
        "There is a softmax before the choice and another after it. The first flattens the weights.": _in(
            lambda h, k: gate(h.softmax(-1), k)
        ),
        "The softmax was taken over all experts, and the rest cut off: the rows do not sum to 1.": _in(
            lambda h, k: h.softmax(-1) * kept(h, k)
        ),
        "The softmax is missing: these are the scores.": _in(
            *(lambda h: h, lambda h, k: keep(h, k), lambda h, k: keep(h, k, fill=0.0))
        ),
        "These are the chosen scores divided by their sum, and scores may be negative: gates are their softmax.": _in(
            lambda h, k: keep(h, k, fill=0.0) / keep(h, k, fill=0.0).sum(-1, keepdim=True)
        ),
        "No choice was made: every expert has a share.": _in(lambda h: h.softmax(-1), lambda c: c.softmax(-1)),
        f"The experts not chosen have a share, exp(0).\n{INF}": _in(lambda h, k: keep(h, k, fill=0.0).softmax(-1)),
        "The choice was made without noise, which was added afterwards. It is there to change who is chosen.": _in(
            *(lambda h, c, k: (keep(c, k) + h - c).softmax(-1), lambda h, c, k: gate(c, k) + h - c)
        ),
        "The noise chooses, but the weights are those of x @ w_gate.": _in(lambda h, c, k: keep(c, k, h).softmax(-1)),
        f"The softmax runs over the tokens (dim 0).\n{PER_TOKEN}": _in(lambda h, k: keep(h, k).softmax(0)),
        f"The choice runs over the tokens (dim 0).\n{PER_TOKEN}": _in(
            *(lambda h, k, dim=dim: keep(h, k, dim=0).softmax(dim) for dim in (0, 1))
        ),
        "The k chosen have equal gates: their weights are the softmax of their scores.": _in(
            *(lambda h, k: kept(h, k) / k, lambda h, k: kept(h, k), lambda h, k: kept(h, k).float())
        ),
        "This is a sigmoid of each score: a row sums to 1.": _in(lambda h, k: keep(h, k).sigmoid()),
        "These are the logarithms of the gates.": _in(lambda h, k: keep(h, k).log_softmax(-1)),
        "The k smallest scores are kept.": _in(lambda h, k: keep(h, k, -h).softmax(-1)),
        "k + 1 or k - 1 experts stay: it should be k.": _in(*(lambda h, k, by=by: gate(h, k + by) for by in (1, -1))),
        "These are the gates of the k chosen alone, without zeros.": _in(lambda h, k: h.topk(k)[0].softmax(-1)),
        "Several scores are equal here, and a row has more than k gates: a comparison cannot decide between equals.\n"
        "Choose by the places that topk(k) gives.": _in(
            lambda h, k: h.masked_fill(h < h.topk(k)[0][:, -1:], -torch.inf).softmax(-1)
        ),
    },
    hints=[
        "The noise is to change who is chosen, and the weights of the chosen are to sum to 1: what comes first, "
        "what last?",
        "Scores x @ w_gate, (tokens, experts). Add the noise, each number times a standard deviation, which must be "
        "positive: softplus(x @ w_noise). Then your function of exercise 1, then the softmax over the experts.",
        "h = x @ w_gate + noise * torch.nn.functional.softplus(x @ w_noise); my_keep_top_k(h, k).softmax(dim=-1)",
    ],
)
