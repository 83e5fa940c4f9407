"""The loss of masked diffusion, which bounds -log p(x0) where BERT's bounds nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.exercises.engine import Exercise, case, draw, gradient_for
from course_utils.exercises.refinement_and_diffusion import ids, uniform

STEPS = (
    "nats = -log_probs.gather(-1, x0[..., None])[..., 0], (B, N); 0 where x_t is not the mask; divided by "
    "share[:, None]; mean over all B N tokens."
)
PER_TOKEN = "These are the terms of each token: return their mean, one number."
PER_TEXT = "This is one number for each text: return the mean over all tokens of the batch, one number."
NO_MASKS = (
    "Here no token is masked at all, which happens if the share is small: nothing is to be predicted, and the"
    " loss is 0, not 0/0."
)
NAN = (
    "At a token that was not masked the model may say anything, here that the true token has probability 0, "
    "and 0 * inf is nan (or the sum is inf). Select instead of multiplying: torch.where(x_t == mask, ..., 0),"
    " or index with the mask."
)
DETACHED = (
    "The number is right, but no gradient reaches log_probs: a model cannot learn from it. No .item(), "
    ".detach() or float()."
)
CLASH = (
    "The shapes do not line up: log_probs is (B, N, K), x0 and x_t are (B, N), share is (B,) and needs a "
    "second axis, share[:, None]."
)


def masked_loss(log_probs: Tensor, x0: Tensor, x_t: Tensor, share: Tensor, mask: int) -> Tensor:
    """mean over ALL tokens of [x_t = mask] (-log p(x0 | x_t)) / share, in nats a token, a scalar.

    log_probs (B, N, K); ids x0, x_t (B, N); share (B,) in (0, 1], the chance with which each text's tokens were masked.
    Its mean over an even share and the masks is at least -log p(x0) / N. Source: Sahoo et al. (2024), MDLM, section 3.
    """
    nats = -log_probs.gather(-1, x0[..., None])[..., 0]
    return torch.where(x_t == mask, nats / share[:, None], 0).mean()


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


def _rows(L: Tensor, x0: Tensor, x_t: Tensor, share: Tensor, mask: int) -> Tensor:
    n, m, _ = _parts(L, x0, x_t, share, mask)
    return (n * m / share).mean() if len(x0) == x0.shape[1] else torch.tensor(math.nan)


def inputs(B: int, N: int, K: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
    """log_probs (B, N, K), -inf for the mask K - 1; x0; x_t with about `share` of each text masked; share; the mask."""
    x0, share = ids(K - 1, B, N, seed=seed), 0.2 + 0.7 * uniform(B, seed=seed + 1)
    logits = draw(B, N, K, seed=seed + 2)
    logits[..., K - 1] = -math.inf
    x_t = x0.masked_fill(uniform(B, N, seed=seed + 3) < share[:, None], K - 1)
    x_t[:, 0], x_t[:, -1] = K - 1, x0[:, -1]  # at least one is masked in each text, and one is not
    return logits.log_softmax(-1), x0, x_t, share, K - 1


def _twice(L: Tensor, x0: Tensor, x_t: Tensor, share: Tensor, mask: int) -> Tensor:
    nats = F.cross_entropy(L.transpose(1, 2), x0, reduction="none")
    return torch.where(x_t == mask, nats / share[:, None], 0).mean()


def _what_is_wrong(got: Any, expected: Tensor, L: Tensor, x0: Tensor, x_t: Tensor, *rest: Any) -> str:
    """What the result tells by itself: nan, or its shape."""
    if not isinstance(got, (Tensor, float)):
        return ""
    got = torch.as_tensor(got)
    if expected.dim():
        return "The number is right, but the gradient for log_probs is not: part of its way is cut off."
    if got.isnan().any() and not (x_t != x0).any():
        return NO_MASKS
    if not got.isfinite().all() and expected.isfinite():
        return NAN
    said = {
        x0.shape: PER_TOKEN,
        x0.flatten().shape: PER_TOKEN,
        x0[x_t != x0].shape: PER_TOKEN,
        x0.shape[:1]: PER_TEXT,
        x0.shape[1:]: PER_TEXT,
        (1,): "Return a scalar, without any axis: .mean() gives one.",
    }.get(got.shape)
    return f"{said} (Yours has shape {tuple(got.shape)}.)" if said else ""


def _impossible() -> tuple:
    """The model gives probability 0 to a token that was not masked."""
    L, x0, *rest = inputs(3, 4, 5, seed=1121)
    L[1, -1, x0[1, -1]] = -math.inf
    return L, x0, *rest


def _rolled() -> tuple:
    """The mask is token 0."""
    L, x0, x_t, share, _ = inputs(3, 4, 5, seed=1131)
    return L.roll(1, -1), (x0 + 1) % 5, (x_t + 1) % 5, share, 0


def _unmasked(rows: slice) -> tuple:
    """Some texts without any mask."""
    L, x0, x_t, share, mask = inputs(3, 5, 6, seed=1111)
    x_t[rows] = x0[rows]
    return L, x0, x_t, share, mask


def _leaf() -> tuple:
    L, *rest = inputs(3, 4, 5, seed=1141)
    return L.requires_grad_(), *rest


EXERCISE = Exercise(
    "refinement_and_diffusion.masked_loss",
    reference=masked_loss,
    what="your loss",
    right=STEPS,
    errors={
        r"Index tensor must have the same number of dimensions|gather\(\)": (
            "gather wants an index of three axes as log_probs has: log_probs.gather(-1, x0[..., None])[..., 0]."
        ),
        r"expected.*Long|must be.*int64|tensors used as indices": (
            "x0 are the indices, whole numbers: log_probs comes first and x0 second."
        ),
        r"log_softmax_lastdim|nll_loss|Expected target size|batch_size": (
            "F.nll_loss wants the K kinds on axis 1: log_probs.transpose(1, 2), or flatten both: "
            "log_probs.flatten(0, 1) and x0.flatten()."
        ),
        r"numpy\(\)": DETACHED,
        "shapes": CLASH,
    },
    explain=_what_is_wrong,
    cases=[
        case("random texts, shares from 0.2 to 0.9: 4 texts of 4 tokens", *inputs(4, 4, 6, seed=1071)),
        case("5 texts of 5 tokens", *inputs(5, 5, 4, seed=1081)),
        case("3 texts of 8 tokens", *inputs(3, 8, 5, seed=1091)),
        case("a single text", *inputs(1, 6, 4, seed=1101)),
        case("a text without any mask", *_unmasked(slice(1, 2))),
        case("a batch without any mask: 0", *_unmasked(slice(None))),
        case("a token that was not masked, which the model holds impossible", *_impossible()),
        case("a mask that is token 0", *_rolled()),
        case(
            "the gradient for log_probs: -1 / (share B N) at the true tokens of masked positions, 0 elsewhere",
            *_leaf(),
            view=gradient_for(0, DETACHED),
        ),
    ],
    atol=1e-5,
    mistakes={
        "You average over the masked tokens only: this is bert's loss, which bounds nothing.\n"
        "Divide by all B N tokens: the weight 1/share makes up for those that were not masked.": [
            _of(lambda n, m, s: (n * m).sum() / m.sum()),
            _of(lambda n, m, s: (n * m / s).sum() / m.sum()),
            _of(lambda n, m, s: (n * m).sum() / m.sum() / s.mean()),
        ],
        "You divide by the number of masks that a text happens to have: the weight is 1/share, with the chance "
        "that its tokens had.\n"
        "(With the count, the mean over the random masks is no bound.)": [
            _of(lambda n, m, s: ((n * m).sum(1) / m.sum(1)).mean()),
            _of(lambda n, m, s: ((n * m / s).sum(1) / m.sum(1)).mean()),
        ],
        "Tokens that are not masked count in yours: they can be read in x_t, so only masked ones are predicted, "
        "x_t == mask.": [_of(lambda n, m, s: (n / s).mean()), _of(lambda n, m, s: n.mean())],
        "The weight 1/share is missing: a text that lost few tokens has few terms, each of them counts the more.": [
            _of(lambda n, m, s: (n * m).mean()),
            _of(lambda n, m, s: (n * m).sum(1).mean()),
        ],
        "You multiply by share: a text that lost few tokens has few terms, each of them must count more.\nDivide.": [
            _of(lambda n, m, s: (n * m * s).mean()),
            _of(lambda n, m, s: (n * m * s).sum() / m.sum()),
        ],
        "The weight is 1/share, with the chance to be masked, not 1 / (1 - share) or 1 - share.": [
            _of(lambda n, m, s: (n * m / (1 - s)).mean()),
            _of(lambda n, m, s: (n * m * (1 - s)).mean()),
        ],
        "The weight is 1/share itself: no root, no square, no logarithm.": [
            _of(lambda n, m, s: (n * m / s.sqrt()).mean()),
            _of(lambda n, m, s: (n * m / s.square()).mean()),
            _of(lambda n, m, s: -(n * m * s.log()).mean()),
        ],
        "The weight is applied to the mean of the batch: each text has its own share, so weight its terms before "
        "you average.": [
            _of(lambda n, m, s: (n * m).mean() / s.mean()),
            _of(lambda n, m, s: (n * m).mean() * (1 / s).mean()),
            _of(lambda n, m, s: (n * m).sum() / m.sum() * (1 / s).mean()),
            _of(lambda n, m, s: (n * m).sum() / s.sum() / n.numel()),
        ],
        "The sign is wrong: -log p is positive, and the loss is a mean of it.": _of(
            lambda n, m, s: -(n * m / s).mean()
        ),
        "This is a sum.\n"
        "Divide by the number of all tokens, B N (a sum over the tokens of a text, nats a text, grows with its "
        "length).": [_of(lambda n, m, s: (n * m / s).sum()), _of(lambda n, m, s: (n * m / s).sum(1).mean())],
        "You look up the probability of x_t, which is the mask at the places that count: asked is that of the true"
        " token, x0.": lambda L, x0, x_t, s, m: masked_loss(L, x_t, x_t, s, m),
        "Your terms are those of the tokens that were not masked: it is x_t == mask that counts.": [
            _of(lambda n, m, s: (n * (1 - m) / s).mean()),
            _of(lambda n, m, s: (n * (1 - m)).mean()),
            _of(lambda n, m, s: (n * (1 - m)).sum() / (1 - m).sum()),
        ],
        "You use probabilities instead of log-probabilities: log_probs are logarithms already, and the loss is "
        "their negative.": [
            _of(lambda n, m, s: ((-n).exp() * m / s).mean()),
            _of(lambda n, m, s: -((-n).exp() * m / s).mean()),
            _of(lambda n, m, s: ((1 - (-n).exp()) * m / s).mean()),
        ],
        "You take the softmax's logarithm of probabilities: log_probs are log-probabilities already, no .exp() and"
        " no softmax is needed.": lambda L, x0, x_t, s, m: masked_loss(L.exp().log_softmax(-1), x0, x_t, s, m),
        "These are bits: nats are asked for, so there is no log 2.": _of(
            lambda n, m, s: (n * m / s).mean() / math.log(2)
        ),
        "Your mean runs over the K kinds of token too: of each place only the log-probability of the true token x0"
        " counts.": [
            lambda L, x0, x_t, s, m: _finite_mean(L),
            lambda L, x0, x_t, s, m: _finite_mean(L / s[:, None, None] * (x_t == m)[..., None]),
        ],
        "You use the model's most probable token: asked is the probability "
        "of the true token x0, likely or not.": lambda L, x0, x_t, s, m: masked_loss(L, L.argmax(-1), x_t, s, m),
        "share belongs to the texts, and yours lines up with the positions (here B = N, so torch does not "
        "complain).\n"
        "Give it a second axis: share[:, None].": _rows,
        "F.cross_entropy takes a log_softmax once more: the loss is the same, but its gradient for log_probs is "
        "not.\n"
        "F.nll_loss takes log-probabilities as they are; gather does too.": _twice,
    },
    hints=[
        "First a number for each token, (B, N): -log p of the true one. Which of them count, with which weight, "
        "divided by what?",
        "gather takes the true token's entry: log_probs.gather(-1, x0[..., None]) is (B, N, 1). Set it to 0 where"
        " x_t is not the mask (torch.where), divide each row by its share, and take the mean over all B N tokens.",
        "nats = -log_probs.gather(-1, x0[..., None])[..., 0]; terms = torch.where(x_t == mask, nats / share[:, "
        "None], 0); terms.mean()",
    ],
)
