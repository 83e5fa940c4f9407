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


def masked_loss(log_probs: Tensor, x0: Tensor, x_t: Tensor, share: Tensor, mask: int) -> Tensor:
    """mean over ALL tokens of [x_t = mask] (-log p(x0 | x_t)) / share, in nats a token, a scalar.

    log_probs (B, N, K); ids x0, x_t (B, N); share (B,) in (0, 1], the chance with which each text's tokens were masked.
    Its mean over an even share and the masks is at least -log p(x0) / N. Source: Sahoo et al. (2024), MDLM, section 3.
    """
    nats = -log_probs.gather(-1, x0[..., None])[..., 0]
    return torch.where(x_t == mask, nats / share[:, None], 0).mean()


def _of(formula: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """formula(n, m, s): -log p(x0), 1 where masked, and the share, all (B, N)."""

    def wrong(L: Tensor, x0: Tensor, x_t: Tensor, share: Tensor, mask: int) -> Tensor:
        nats = -L.gather(-1, x0[..., None])[..., 0]
        return formula(nats, (x_t == mask).to(L.dtype), share[:, None].expand(x0.shape))

    return wrong


def _share_by_position(L: Tensor, x0: Tensor, x_t: Tensor, share: Tensor, mask: int) -> Tensor:
    square = len(x0) == x0.shape[1]
    return _of(lambda n, m, s: (n * m / share).mean() if square else torch.tensor(math.nan))(L, x0, x_t, share, mask)


def _normalised_twice(L: Tensor, x0: Tensor, x_t: Tensor, share: Tensor, mask: int) -> Tensor:
    nats = F.cross_entropy(L.transpose(1, 2), x0, reduction="none")
    return torch.where(x_t == mask, nats / share[:, None], 0).mean()


def _what_is_wrong(got: Any, expected: Tensor, L: Tensor, x0: Tensor, x_t: Tensor, *rest: Any) -> str:
    """What the result tells by itself: nan, or its shape."""
    if not isinstance(got, (Tensor, float)):
        return ""
    got = torch.as_tensor(got)
    if expected.dim():
        return GRADIENT
    if x0.shape[1] == 1:
        return ONE_TOKEN
    if got.isnan().any() and not (x_t != x0).any():
        return NO_MASKS
    if not got.isfinite().all() and expected.isfinite():
        return UNMASKED if L.gather(-1, x0[..., None]).isinf().any() else ALL_KINDS
    said = {
        x0.shape: "These are the terms of each token: return their mean, one number.",
        x0[x_t != x0].shape: "These are the terms of each masked token: return one number.",
        x0.shape[:1]: "This is one number for each text: return the mean over all tokens of the batch.",
        (1,): "Return a scalar, without any axis: .mean() gives one.",
    }.get(got.shape)
    return f"{said} (Yours has shape {tuple(got.shape)}.)" if said else ""


def inputs(B: int, N: int, K: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
    """log_probs (B, N, K), -inf for the mask K - 1; x0; x_t with about `share` of each text masked; share; the mask."""
    x0, share = ids(K - 1, B, N, seed=seed), 0.2 + 0.7 * uniform(B, seed=seed + 1)
    logits = draw(B, N, K, seed=seed + 2)
    logits[..., K - 1] = -math.inf
    x_t = x0.masked_fill(uniform(B, N, seed=seed + 3) < share[:, None], K - 1)
    x_t[:, -1], x_t[:, 0] = x0[:, -1], K - 1  # at least one is masked in each text, and one is not, if there are two
    return logits.log_softmax(-1), x0, x_t, share, K - 1


def _impossible() -> tuple:
    """The model gives probability 0 to a token that was not masked."""
    L, x0, *rest = inputs(3, 4, 5, seed=1121)
    L[1, -1, x0[1, -1]] = -math.inf
    return L, x0, *rest


def _first_is_mask() -> tuple:
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


GRADIENT = "The loss is right, its gradient for log_probs is not.\nIt is -1 / (share B N) at the masked true tokens."
NO_MASKS = "Your loss is nan where no token is masked, which happens if the share is small.\nIt is 0 there, not 0/0."
UNMASKED = "A token that was not masked has probability 0 here, and your loss is nan or inf.\nSelect; 0 * inf is nan."
ALL_KINDS = "Your loss is nan or inf: log_probs is -inf for the mask.\nSelect the entry of x0; 0 * -inf is nan."
DETACHED = "The number is right, but no gradient reaches log_probs: stay with tensors, without .item() or .detach()."
ONE_TOKEN = "Here N = 1: is its axis gone, as squeeze() takes it?\nsqueeze(-1) takes the last one alone."
FORMULAS = {
    "This is a mean over the masked tokens only, as in BERT's loss, which bounds nothing.\n"
    "Divide by all B N tokens: the weight 1/share makes up for those that were not masked.": [
        lambda n, m, s: (n * m).sum() / m.sum(),
        lambda n, m, s: (n * m / s).sum() / m.sum(),
    ],
    "Each text is divided by the number of masks that it happens to have.\n"
    "The weight is 1/share, with the chance that its tokens had: with the count the loss is no bound.": [
        lambda n, m, s: ((n * m).sum(1) / m.sum(1)).mean(),
        lambda n, m, s: ((n * m / s).sum(1) / m.sum(1)).mean(),
    ],
    "Tokens that are not masked count in yours.\nThey can be read in x_t: only masked ones are predicted.": [
        lambda n, m, s: (n / s).mean()
    ],
    "The weight 1/share is missing.\nA text that lost few tokens has few terms, which count more.": [
        lambda n, m, s: (n * m).mean()
    ],
    "The terms are multiplied by share.\nDivide: a text that lost few tokens has few terms, which count more.": [
        lambda n, m, s: (n * m * s).mean()
    ],
    "The weight is made of 1 - share, the chance to stay.\nIt is 1/share, with the chance to be masked.": [
        lambda n, m, s: (n * m / (1 - s)).mean(),
        lambda n, m, s: (n * m * (1 - s)).mean(),
    ],
    "The weight is applied to the mean of the batch.\nEach text has its own share: weight first, then average.": [
        lambda n, m, s: (n * m).mean() / s.mean()
    ],
    "The sign is wrong: -log p is positive, and the loss is a mean of it.": [lambda n, m, s: -(n * m / s).mean()],
    "This is a sum over the batch, or over each text.\nDivide by the number of all tokens, B N.": [
        lambda n, m, s: (n * m / s).sum(),
        lambda n, m, s: (n * m / s).sum(1).mean(),
    ],
    "Your terms are those of the tokens that were not masked.\nIt is x_t == mask that counts.": [
        lambda n, m, s: (n * (1 - m) / s).mean()
    ],
    "This is made of probabilities.\nlog_probs are logarithms already: the terms are their negative.": [
        lambda n, m, s: ((-n).exp() * m / s).mean()
    ],
    "These are bits: nats are asked for, so there is no log 2.": [lambda n, m, s: (n * m / s).mean() / math.log(2)],
}
EXERCISE = Exercise(
    "refinement_and_diffusion.masked_loss",
    reference=masked_loss,
    what="your loss",
    right="It is -log p(x0) where x_t is the mask and 0 elsewhere, divided by the text's share; the mean over all B N.",
    errors={
        r"Index tensor must have the same number|gather\(\)": "gather wants an index of three axes: x0[..., None].",
        "expected.*Long|must be.*int64|tensors used as indices": "x0 are the indices: first log_probs, then x0.",
        "log_softmax_lastdim|nll_loss|Expected target size|batch_size": "F.nll_loss wants the K kinds on axis 1.",
        r"numpy\(\)": DETACHED,
        "shapes": "The shapes do not line up: log_probs is (B, N, K), x0 and x_t are (B, N), share is (B,).\n"
        "share needs a second axis, share[:, None].",
    },
    explain=_what_is_wrong,
    cases=[
        case("random texts, shares from 0.2 to 0.9: 4 texts of 4 tokens", *inputs(4, 4, 6, seed=1071)),
        case("5 texts of 5 tokens", *inputs(5, 5, 4, seed=1081)),
        case("3 texts of 8 tokens", *inputs(3, 8, 5, seed=1091)),
        case("a single text", *inputs(1, 6, 4, seed=1101)),
        case("texts of a single token", *inputs(3, 1, 5, seed=1105), names=False),
        case("a text without any mask", *_unmasked(slice(1, 2))),
        case("a batch without any mask: 0", *_unmasked(slice(None))),
        case("a token that was not masked, which the model holds impossible", *_impossible()),
        case("a mask that is token 0", *_first_is_mask()),
        case("the gradient for log_probs", *_leaf(), view=gradient_for(0, DETACHED)),
    ],
    atol=1e-5,
    mistakes={
        **{says: [_of(formula) for formula in formulas] for says, formulas in FORMULAS.items()},
        "This looks up the probability of x_t, which is the mask at the places that count.\nLook up that of x0.": (
            lambda L, x0, x_t, s, m: masked_loss(L, x_t, x_t, s, m)
        ),
        "This is the loss of the model's most probable tokens.\nWhat counts is the true token x0, likely or not.": (
            lambda L, x0, x_t, s, m: masked_loss(L, L.argmax(-1), x_t, s, m)
        ),
        "This is what log_softmax makes of probabilities.\nlog_probs are log-probabilities already: take them as they "
        "are.": lambda L, x0, x_t, s, m: masked_loss(L.exp().log_softmax(-1), x0, x_t, s, m),
        "share belongs to the texts, and yours lines up with the positions (here B = N, so torch does not complain).\n"
        "Give it a second axis: share[:, None].": _share_by_position,
        "F.cross_entropy takes a log_softmax once more: the loss is the same, but its gradient for log_probs is not.\n"
        "F.nll_loss takes log-probabilities as they are; gather does too.": _normalised_twice,
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
