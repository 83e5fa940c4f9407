"""Tests of 10_refinement_and_diffusion: the loss of masked diffusion, which bounds -log p(x0) where BERT's bounds nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import Mistake
from course_utils.exercises.engine.calls import StudentError
from course_utils.exercises.mistakes import draw, near
from course_utils.exercises.refinement_and_diffusion_checks import compare, ids, uniform
from course_utils.exercises.task_vectors_checks import tried


def masked_loss(log_probs: Tensor, x0: Tensor, x_t: Tensor, share: Tensor, mask: int) -> Tensor:
    """mean over ALL tokens of [x_t = mask] (-log p(x0 | x_t)) / share, in nats a token, a scalar.

    log_probs (B, N, K); ids x0, x_t (B, N); share (B,) in (0, 1], the chance with which each text's tokens were masked. Its mean
    over an even share and the masks is at least -log p(x0) / N. Source: Sahoo et al. (2024), MDLM, section 3.
    """
    nats = -log_probs.gather(-1, x0[..., None])[..., 0]
    return torch.where(x_t == mask, nats / share[:, None], 0).mean()


STEPS = (
    "nats = -log_probs.gather(-1, x0[..., None])[..., 0], (B, N); 0 where x_t is not the mask; divided by share[:, None]; mean over"
    " all B N tokens."
)
BERT = (
    "You average over the MASKED tokens only: this is BERT's loss, which bounds nothing. Divide by all B N tokens: the weight 1/share makes"
    " up for those that were not masked."
)
OBSERVED = (
    "You divide by the number of masks that a text happens to have: the weight is 1/share, with the CHANCE that its tokens had. (With the"
    " count, the mean over the random masks is no bound.)"
)
ALL_TOKENS = "Tokens that are not masked count in yours: they can be read in x_t, so only masked ones are predicted, x_t == mask."
NO_WEIGHT = "The weight 1/share is missing: a text that lost few tokens has few terms, each of them counts the more."
TIMES = "You multiply by share: a text that lost few tokens has few terms, each of them must count MORE. Divide."
LEFT = "The weight is 1/share, with the chance to be masked, not 1 / (1 - share) or 1 - share."
OTHER_POWER = "The weight is 1/share itself: no root, no square, no logarithm."
BATCH_WEIGHT = "The weight is applied to the mean of the batch: each text has its own share, so weight its terms before you average."
NEGATIVE = "The sign is wrong: -log p is positive, and the loss is a mean of it."
SUMMED = "This is a sum: divide by the number of all tokens, B N (a sum over the tokens of a text, nats a text, grows with its length)."
TARGET = "You look up the probability of x_t, which is the mask at the places that count: asked is that of the true token, x0."
OTHER_SIDE = "Your terms are those of the tokens that were NOT masked: it is x_t == mask that counts."
PROBABILITY = "You use probabilities in place of log-probabilities: log_probs are logarithms already, and the loss is their negative."
SOFTMAX = "You take the softmax's logarithm of probabilities: log_probs are log-probabilities already, no .exp() and no softmax is needed."
BITS = "These are bits: nats are asked for, so there is no log 2."
ALL_KINDS = (
    "Your mean runs over the K kinds of token too: of each place only the log-probability of the true token x0 counts."
)
ARGMAX = "You use the model's most probable token: asked is the probability of the TRUE token x0, likely or not."
ROWS = "share belongs to the texts, and yours lines up with the positions (here B = N, so torch does not complain): share[:, None]."
PER_TOKEN = "These are the terms of each token: return their mean, ONE number."
PER_TEXT = "This is one number for each text: return the mean over all tokens of the batch, ONE number."
NO_MASKS = "Here no token is masked at all, which happens if the share is small: nothing is to be predicted, and the loss is 0, not 0/0."
NAN = (
    "At a token that was not masked the model may say anything, here that the true token has probability 0, and 0 * inf is nan (or the sum"
    " is inf). Select in place of multiplying: torch.where(x_t == mask, ..., 0), or index with the mask."
)
DETACHED = "The number is right, but no gradient reaches log_probs: a model cannot learn from it. No .item(), .detach() or float()."
OTHER_GRADIENT = "The number is right, but the gradient for log_probs is not: part of its way is cut off."
CLASH = "The shapes do not line up: log_probs is (B, N, K), x0 and x_t are (B, N), share is (B,) and needs a second axis, share[:, None]."
COMPLAINTS = [
    (
        r"Index tensor must have the same number of dimensions|gather\(\)",
        "gather wants an index of three axes as log_probs has: log_probs.gather(-1, x0[..., None])[..., 0].",
    ),
    (
        r"expected.*Long|must be.*int64|tensors used as indices",
        "x0 are the indices, whole numbers: log_probs comes first and x0 second.",
    ),
    (
        r"log_softmax_lastdim|nll_loss|Expected target size|batch_size",
        "F.nll_loss wants the K kinds on axis 1: log_probs.transpose(1, 2), or flatten both: log_probs.flatten(0, 1) and"
        " x0.flatten().",
    ),
]


def _nats(log_probs: Tensor, tokens: Tensor) -> Tensor:
    return -log_probs.gather(-1, tokens[..., None])[..., 0]


def _parts(L: Tensor, x0: Tensor, x_t: Tensor, share: Tensor, mask: int) -> tuple[Tensor, Tensor, Tensor]:
    """-log p(x0), whether masked, and the share, all (B, N)."""
    return _nats(L, x0), (x_t == mask).to(L.dtype), share[:, None].expand(x0.shape)


def _of(formula: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda *case: formula(*_parts(*case))


def _finite_mean(L: Tensor) -> Tensor:
    """Without the mask, whose logarithm is -inf."""
    return -L.masked_fill(L.isinf(), 0).mean()


MISTAKES = [
    (BERT, _of(lambda n, m, s: (n * m).sum() / m.sum())),
    (BERT, _of(lambda n, m, s: (n * m / s).sum() / m.sum())),
    (BERT, _of(lambda n, m, s: (n * m).sum() / m.sum() / s.mean())),
    (OBSERVED, _of(lambda n, m, s: ((n * m).sum(1) / m.sum(1)).mean())),
    (OBSERVED, _of(lambda n, m, s: ((n * m / s).sum(1) / m.sum(1)).mean())),
    (ALL_TOKENS, _of(lambda n, m, s: (n / s).mean())),
    (ALL_TOKENS, _of(lambda n, m, s: n.mean())),
    (NO_WEIGHT, _of(lambda n, m, s: (n * m).mean())),
    (NO_WEIGHT, _of(lambda n, m, s: (n * m).sum(1).mean())),
    (TIMES, _of(lambda n, m, s: (n * m * s).mean())),
    (TIMES, _of(lambda n, m, s: (n * m * s).sum() / m.sum())),
    (LEFT, _of(lambda n, m, s: (n * m / (1 - s)).mean())),
    (LEFT, _of(lambda n, m, s: (n * m * (1 - s)).mean())),
    (OTHER_POWER, _of(lambda n, m, s: (n * m / s.sqrt()).mean())),
    (OTHER_POWER, _of(lambda n, m, s: (n * m / s.square()).mean())),
    (OTHER_POWER, _of(lambda n, m, s: -(n * m * s.log()).mean())),
    (BATCH_WEIGHT, _of(lambda n, m, s: (n * m).mean() / s.mean())),
    (BATCH_WEIGHT, _of(lambda n, m, s: (n * m).mean() * (1 / s).mean())),
    (BATCH_WEIGHT, _of(lambda n, m, s: (n * m).sum() / m.sum() * (1 / s).mean())),
    (BATCH_WEIGHT, _of(lambda n, m, s: (n * m).sum() / s.sum() / n.numel())),
    (NEGATIVE, _of(lambda n, m, s: -(n * m / s).mean())),
    (SUMMED, _of(lambda n, m, s: (n * m / s).sum())),
    (SUMMED, _of(lambda n, m, s: (n * m / s).sum(1).mean())),
    (TARGET, lambda L, x0, x_t, s, m: torch.tensor(math.inf)),
    (OTHER_SIDE, _of(lambda n, m, s: (n * (1 - m) / s).mean())),
    (OTHER_SIDE, _of(lambda n, m, s: (n * (1 - m)).mean())),
    (OTHER_SIDE, _of(lambda n, m, s: (n * (1 - m)).sum() / (1 - m).sum())),
    (PROBABILITY, _of(lambda n, m, s: ((-n).exp() * m / s).mean())),
    (PROBABILITY, _of(lambda n, m, s: -((-n).exp() * m / s).mean())),
    (PROBABILITY, _of(lambda n, m, s: ((1 - (-n).exp()) * m / s).mean())),
    (SOFTMAX, lambda L, x0, x_t, s, m: masked_loss(L.exp().log_softmax(-1), x0, x_t, s, m)),
    (BITS, _of(lambda n, m, s: (n * m / s).mean() / math.log(2))),
    (ALL_KINDS, lambda L, x0, x_t, s, m: _finite_mean(L)),
    (ALL_KINDS, lambda L, x0, x_t, s, m: _finite_mean(L / s[:, None, None] * (x_t == m)[..., None])),
    (ARGMAX, lambda L, x0, x_t, s, m: masked_loss(L, L.argmax(-1), x_t, s, m)),
]


def _rows(L: Tensor, x0: Tensor, x_t: Tensor, share: Tensor, mask: int) -> Tensor:
    n, m, _ = _parts(L, x0, x_t, share, mask)
    return (n * m / share).mean() if len(x0) == x0.shape[1] else torch.tensor(math.nan)


MISTAKES.append((ROWS, _rows))


def inputs(B: int, N: int, K: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
    """log_probs (B, N, K), -inf for the mask K - 1; x0; x_t with about `share` of each text masked; share; the mask."""
    x0, share = ids(K - 1, B, N, seed=seed), 0.2 + 0.7 * uniform(B, seed=seed + 1)
    logits = draw(B, N, K, seed=seed + 2)
    logits[..., K - 1] = -math.inf
    x_t = x0.masked_fill(uniform(B, N, seed=seed + 3) < share[:, None], K - 1)
    x_t[:, 0], x_t[:, -1] = K - 1, x0[:, -1]  # at least one is masked in each text, and one is not
    return logits.log_softmax(-1), x0, x_t, share, K - 1


CASES = [
    inputs(4, 4, 6, seed=1071),
    inputs(5, 5, 4, seed=1081),
]  # as many texts as positions: a share on the wrong axis fits


def _check(answer: Callable, *case: Any) -> None:
    x0, got = case[1], tried(answer, *case, clash=CLASH, complaints=COMPLAINTS)

    def look(got: Any, expected: Tensor) -> None:
        if (
            isinstance(got, Tensor)
            and got.numel() != 1
            and got.shape in (x0.shape, x0.flatten().shape, x0[case[2] == case[4]].shape)
        ):
            raise Mistake(f"{PER_TOKEN} (Yours has shape {tuple(got.shape)}.)")

    if isinstance(got, (int, float)) and not isinstance(got, bool):
        compare(lambda *args: torch.tensor(float(answer(*args))), case, masked_loss, CASES, MISTAKES, STEPS, CLASH)
        raise Mistake(DETACHED)
    told = {
        (len(x0),): PER_TEXT,
        (x0.shape[1],): PER_TEXT,
        (1,): "Return a scalar, without any axis: .mean() gives one.",
    }
    compare(answer, case, masked_loss, CASES, MISTAKES, STEPS, CLASH, COMPLAINTS, told, look)


def loss_random(answer: Callable) -> None:
    """random texts, shares from 0.2 to 0.9: 4 texts of 4 tokens and 5 of 5, then 3 of 8 and a single one"""
    for case in (*CASES, inputs(3, 8, 5, seed=1091), inputs(1, 6, 4, seed=1101)):
        _check(answer, *case)


def loss_none(answer: Callable) -> None:
    """a text without any mask, then a batch without any: 0"""
    L, x0, x_t, share, mask = inputs(3, 5, 6, seed=1111)
    x_t[1] = x0[1]
    _check(answer, L, x0, x_t, share, mask)
    got = answer(L, x0, x0, share, mask)
    if isinstance(got, (Tensor, float)) and math.isnan(torch.as_tensor(got).detach().double().mean()):
        raise Mistake(NO_MASKS)
    _check(answer, L, x0, x0, share, mask)


def loss_visible(answer: Callable) -> None:
    """a token that was not masked, which the model holds impossible; and a mask that is token 0"""
    L, x0, x_t, share, mask = inputs(3, 4, 5, seed=1121)
    L[1, -1, x0[1, -1]] = -math.inf
    got = answer(L, x0, x_t, share, mask)
    if isinstance(got, (Tensor, float)) and not torch.as_tensor(got).detach().double().isfinite().all():
        raise Mistake(NAN)
    _check(answer, L, x0, x_t, share, mask)
    L, x0, x_t, share, mask = inputs(3, 4, 5, seed=1131)
    _check(answer, L.roll(1, -1), (x0 + 1) % 5, (x_t + 1) % 5, share, 0)


def loss_gradient(answer: Callable) -> None:
    """the gradient for log_probs: -1 / (share B N) at the true tokens of masked positions, 0 elsewhere"""
    L, *rest = inputs(3, 4, 5, seed=1141)
    leaf = L.clone().requires_grad_()
    try:
        got = answer(leaf, *rest)
    except StudentError as wrapped:
        if "numpy()" in str(wrapped.error):
            raise Mistake(DETACHED) from None
        raise
    _check(answer, L, *rest)
    if not isinstance(got, Tensor) or not got.requires_grad:
        raise Mistake(DETACHED)
    (wanted,) = torch.autograd.grad(masked_loss(other := L.clone().requires_grad_(), *rest), other)
    (mine,) = torch.autograd.grad(got.sum(), leaf, allow_unused=True)
    if mine is None:
        raise Mistake(DETACHED)
    if not near(mine, wanted):
        raise Mistake(OTHER_GRADIENT)
