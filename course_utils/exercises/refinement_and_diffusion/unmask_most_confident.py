"""Which masks become tokens first."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from course_utils.diffusion.orders import unmask_most_confident
from course_utils.exercises.engine import Exercise, case, one_row
from course_utils.exercises.refinement_and_diffusion import ids, uniform

CHOOSE = "In each row the n masked places of highest confidence get their drawn token; all other places stay."
MASKED_ONLY = (
    "Places that are written already use up your n.\nOnly masked places may be chosen: give all others the confidence "
    "-inf before you sort."
)


def _top(confidence: Tensor, n: int, dim: int = 1) -> Tensor:
    """True at the n highest along dim."""
    return confidence.argsort(dim=dim, descending=True, stable=True).argsort(dim=dim) < n


def _chosen(x: Tensor, c: Tensor, n: int, m: int) -> Tensor:
    return (x == m) & _top(c.masked_fill(x != m, -torch.inf), n)


def _flat(x: Tensor, c: Tensor, n: int, m: int) -> Tensor:
    """The n highest of the whole batch."""
    return _chosen(x.reshape(1, -1), c.reshape(1, -1), n, m).view(x.shape)


def inputs(B: int, N: int, share: float, n: int, mask: int, seed: int, log: bool = False) -> tuple:
    """Texts in which about `share` are masked, another number in each row; tokens 0..8 without the mask."""
    tokens, drawn = (1 + ids(7, B, N, seed=seed + i) for i in (0, 1))
    tokens = tokens.masked_fill(uniform(B, N, seed=seed + 2) < share, mask)
    confidence = uniform(B, N, seed=seed + 3)
    return tokens, drawn, confidence.log() if log else confidence, n, mask


def _what_is_wrong(got: Any, expected: Tensor, tokens: Tensor, drawn: Tensor, *rest: Any) -> str:
    if not isinstance(got, Tensor):
        return ""
    if got.dtype == torch.bool and got.shape == tokens.shape:
        return "You return which places are chosen.\nThe result is the texts, with the drawn tokens at these places."
    if got.is_floating_point():
        return "You return floating-point numbers.\nTokens are ids, of the type of `tokens`."
    if got.shape != tokens.shape:
        return "These are the chosen places or tokens alone.\nReturn the whole texts, (B, N)."
    return ""


EXERCISE = Exercise(
    "refinement_and_diffusion.unmask_most_confident",
    reference=unmask_most_confident,
    what="your result",
    right=CHOOSE,
    errors={
        "out of range|selected index k": (
            "A row may have fewer than n masked places, and even fewer than n places: then all of them are written."
        ),
    },
    explain=_what_is_wrong,
    cases=[
        case("four texts with different numbers of masks, two become tokens", *inputs(4, 9, 0.6, 2, 0, seed=1401)),
        case("three of many, and the mask is the last id", *inputs(3, 12, 0.8, 3, 9, seed=1405)),
        case("as many texts as places", *inputs(6, 6, 0.7, 2, 0, seed=1409)),
        case("fewer masks than n", *inputs(3, 5, 0.4, 4, 0, seed=1414)),
        case("confidences are log-probabilities", *inputs(4, 8, 0.5, 2, 9, seed=1418, log=True)),
        case("nothing may be written, n = 0", *inputs(2, 6, 0.6, 0, 0, seed=1422), names=False),
    ],
    corners=[one_row("tokens", "drawn", "confidence")],
    mistakes={
        MASKED_ONLY: [
            lambda x, d, c, n, m: d.where((x == m) & _top(c, n), x),
            lambda x, d, c, n, m: d.where((x == m) & _top(c * (x == m), n), x),
        ],
        "You write over tokens that are there already.\nOnly masked places may change.": [
            lambda x, d, c, n, m: d.where(_top(c, n), x),
            lambda x, d, c, n, m: d.where(_top(c.masked_fill(x != m, -torch.inf), n), x),
        ],
        "You write the places of lowest confidence.\nWhat the model is sure of comes first.": [
            lambda x, d, c, n, m: d.where(_chosen(x, -c, n, m), x),
            lambda x, d, c, n, m: d.where((x == m) & _top(-c, n), x),
        ],
        "You write all masks at once.\nOnly n in each row: the others stay masked.": lambda x, d, c, n, m: d.where(
            x == m, x
        ),
        "The n most confident masks are left out, and all others written.": lambda x, d, c, n, m: d.where(
            (x == m) & ~_chosen(x, c, n, m), x
        ),
        "The chosen places are right, but you return the drawn tokens everywhere else as well.": (
            lambda x, d, c, n, m: d.masked_fill((x == m) & ~_chosen(x, c, n, m), m)
        ),
        "Everything but the chosen places is masked now.\nTokens that were there stay.": lambda x, d, c, n, m: d.where(
            _chosen(x, c, n, m), torch.full_like(x, m)
        ),
        "You choose n places of the whole batch.\nEach row gets its own n.": [
            lambda x, d, c, n, m: d.where(_flat(x, c, n, m), x),
            lambda x, d, c, n, m: d.where(_flat(x, c, n * len(x), m), x),
        ],
        "You choose the n highest of each column (dim 0).\nA text is a row: dim=1.": lambda x, d, c, n, m: d.where(
            (x == m) & _top(c.masked_fill(x != m, -torch.inf), n, dim=0), x
        ),
        "argsort gives the places in sorted order, not the rank of each place.\n"
        "Sort twice (argsort().argsort()), or scatter at its first n.": [
            lambda x, d, c, n, m: d.where(
                (x == m) & (c.masked_fill(x != m, -torch.inf).argsort(1, descending=True) < n), x
            ),
        ],
        "You write the first n masks from the left.\nThe order is that of the confidence.": lambda x, d, c, n, m: (
            d.where((x == m) & ((x == m).cumsum(1) <= n), x)
        ),
        "You write n + 1 places in each row, one too many.": lambda x, d, c, n, m: d.where(_chosen(x, c, n + 1, m), x),
        "You write n - 1 places in each row, one too few.": lambda x, d, c, n, m: d.where(_chosen(x, c, n - 1, m), x),
        "You write what is surer than a fixed number, and how many these are is left to chance.\nChoose n by order.": [
            lambda x, d, c, n, m: d.where((x == m) & (c > 0.5), x),
            lambda x, d, c, n, m: d.where((x == m) & (c > c.mean(1, keepdim=True)), x),
        ],
        "Nothing is written: the texts come back as they were.": lambda x, d, c, n, m: x.clone(),
        "All rows are written at the places of the first row.\nEach text has confidences of its own.": (
            lambda x, d, c, n, m: d.where((x == m) & _chosen(x, c, n, m)[:1], x)
        ),
    },
    hints=[
        "Two conditions: the place is masked, and among the masked ones of its row it is one of the n surest.",
        "Give all places that are not masked the confidence -inf, and sort each row from the highest down. The rank of "
        "a place is argsort of argsort; where a row has fewer than n masks, the first condition still holds.",
        "masked = tokens == mask; rank = confidence.masked_fill(~masked, -torch.inf).argsort(1, descending=True)"
        ".argsort(1); torch.where(masked & (rank < n), drawn, tokens)",
    ],
)
