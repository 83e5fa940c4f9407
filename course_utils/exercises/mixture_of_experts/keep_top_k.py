"""The k largest scores of each token stay, and the others become -inf."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from course_utils.exercises.engine import Exercise, Mistake, alike, case, draw, one_row
from course_utils.exercises.engine.exercise import Corner, in_float64
from course_utils.moe import keep_top_k

EQUALS = torch.tensor([[2.0, 2, 2, 1, 0.5], [3, 1, 1, 1, 1], [-1, -1, -1, -1, -1], [0.5, 4, 4, 4, 5]])
BY_INDEX = "Choose by the places that topk(k) gives, which are exactly k."
THEIR_PLACE = "Each score stays at the place of its expert: (tokens, experts), with -inf where not chosen."


def keep(v: Tensor, k: int, score: Tensor | None = None, dim: int = -1, fill: float = -math.inf) -> Tensor:
    """v where its score (v itself if not given) is among the k largest along dim, `fill` elsewhere."""
    index = (v if score is None else score).topk(k, dim=dim).indices
    return v.masked_fill(~torch.zeros_like(v, dtype=torch.bool).scatter(dim, index, True), fill)


def kept(v: Tensor, k: int) -> Tensor:
    """True for the k largest of each row."""
    return keep(v, k).isfinite()


def _is_right(got: Any, v: Tensor, k: int) -> bool:
    """The k largest are where v has them, and all else is -inf; of equal scores any may stay."""
    if not isinstance(got, Tensor) or got.shape != v.shape or not got.is_floating_point():
        return False
    same_place = alike(got, v.masked_fill(got.detach().isneginf(), -math.inf))
    return same_place and alike(got.sort(-1).values, keep_top_k(v, k).sort(-1).values)


def _explain(got: Any, expected: Tensor, v: Tensor, k: int) -> str:
    if isinstance(got, tuple):
        raise Mistake("You return the pair that topk gives, values and places.", THEIR_PLACE)
    if not isinstance(got, Tensor):
        return ""
    if got.shape == (len(v), k) != v.shape:
        what = "These are the k chosen alone" if got.is_floating_point() else "These are the places of the k largest"
        raise Mistake(f"{what}: there should be one column for each expert.", THEIR_PLACE)
    out = expected.isneginf()
    if got.shape == v.shape and alike(got.where(~out, -math.inf), expected) and (got[out] < -100).all():
        raise Mistake(
            "The others hold a large negative number and not -inf. It is a score like any other: lower ones would lose "
            "to it, and half precision cannot hold -1e9.",
            "Write -math.inf.",
        )
    count = (got > -math.inf).sum(-1) if got.shape == v.shape else torch.tensor([k])
    return f"A row keeps {count[count != k][0]} scores, and k is {k}." if (count != k).any() else ""


EXERCISE = Exercise(
    "mixture_of_experts.keep_top_k",
    reference=keep_top_k,
    what="your result",
    right="The k largest of each row stay, all others are -inf.",
    equal=_is_right,
    explain=_explain,
    cases=[
        case("random scores of both signs: 5 tokens choose 3 of 7 experts", draw(5, 7, seed=711), 3),
        case("4 tokens choose 2 of 4 experts", draw(4, 4, seed=712), 2),
        case("k = 1: only the largest of each row stays", draw(3, 5, seed=713), 1),
        case(
            "a score of exactly 0 is one of the k largest, and a row has only negative scores",
            torch.tensor([[0.0, -1, -2, -3], [-2.5, 0.5, 0.25, -1.5], [-3.5, -1.25, -4, -2.25]]),
            2,
        ),
    ],
    corners=[
        one_row("v"),
        Corner("k is the number of experts, so all stay", lambda named: {"k": named["v"].shape[1]}),
        Corner("some scores are equal: exactly k of each row stay", lambda named: {"v": EQUALS, "k": 2}),
    ],
    errors={
        "dtype": in_float64.advice,
        r"out of range|out of bounds|must match.*\(0\)": "If k is the number of experts, all stay, and there is no "
        "next score to compare with.",
        "shapes": "The shapes do not line up: v is (tokens, experts), topk(k, dim=-1) gives (tokens, k), a "
        "threshold must be (tokens, 1).",
    },
    mistakes={
        "The others are 0: a softmax would give each of them exp(0) = 1, so every expert keeps a share.\n"
        "Only exp(-inf) is 0.": lambda v, k: keep(v, k, fill=0.0),
        "The largest magnitudes (abs) are kept.\n-3 is a low score.": lambda v, k: keep(v, k, v.abs()),
        "The k smallest of each row are kept.\nKeep the largest ones.": lambda v, k: keep(v, k, -v),
        "The k largest became -inf and the others stay: the mask is the wrong way round.": lambda v, k: keep(
            v, v.shape[1] - k, -v
        ),
        "The choice runs over the tokens.\nA token is a row: dim=-1.": lambda v, k: keep(v, k, dim=0),
        "This is one choice for the whole matrix. Each row keeps its own k largest.\nThen each token has k experts.": [
            lambda v, k: keep(v.reshape(1, -1), k).reshape(v.shape),
            lambda v, k: keep(v.reshape(1, -1), k * len(v)).reshape(v.shape),
            lambda v, k: v.masked_fill(v < v.topk(k).values.min(), -math.inf),
        ],
        "k + 1 are kept in each row.\nIs an index off by one?": lambda v, k: keep(v, k + 1),
        "k - 1 are kept in each row, one too few.\n"
        "Of sorted values the k-th has the index k - 1; and > drops it, >= does not.": lambda v, k: keep(v, k - 1),
        "A softmax was taken. The scores that stay are those of v, unchanged.\n"
        "The softmax comes in the next exercise.": [
            *(lambda v, k: keep(v, k).softmax(-1), lambda v, k: keep(v.softmax(-1), k)),
            *(lambda v, k: keep(v.softmax(-1), k, fill=0.0), lambda v, k: keep(v.log_softmax(-1), k)),
        ],
        "This is the mask, true or 1 for the k largest.\n"
        "Return the scores themselves where it is true, and -inf elsewhere.": [kept, lambda v, k: kept(v, k).float()],
        "The k largest became 0: this is a mask to be added.\nReturn v + mask.": lambda v, k: kept(v, k).float().log(),
        "0 * -inf is nan, so -inf cannot be masked by a product.\nUse torch.where or masked_fill.": lambda v, k: (
            torch.where(kept(v, k), math.nan, -math.inf)
        ),
        "argsort gives the places in sorted order, not the rank of each score.\n"
        "Sort twice (argsort of argsort), or use the indices that topk gives.": [
            lambda v, k: v.masked_fill(v.argsort(-1, descending=True) >= k, -math.inf),
            lambda v, k: v.masked_fill(v.argsort(-1) < v.shape[1] - k, -math.inf),
        ],
        "The scores are in sorted order.\n"
        "Each must stay at the place of its expert: scatter them back by their index.": [
            lambda v, k: keep(v.sort(-1, descending=True).values, k),
            lambda v, k: keep(v.sort(-1).values, k),
        ],
        "The same k places of each row are kept.\nWhich experts stay is decided by their scores.": [
            lambda v, k: v.masked_fill(torch.arange(v.shape[1]) >= k, -math.inf),
            lambda v, k: v.masked_fill(torch.arange(v.shape[1]) < v.shape[1] - k, -math.inf),
        ],
        "Nothing was taken out.\nIn each row k scores stay, the others become -inf.": lambda v, k: v,
        "A score of exactly 0 is among the k largest here, and was taken out.\n"
        "Do not ask which scores are 0: use the mask itself.": lambda v, k: keep(v, k).masked_fill(v == 0, -math.inf),
        "Several scores are equal here, and a row keeps more than k: a comparison cannot decide between equals.\n"
        f"{BY_INDEX}": lambda v, k: v.masked_fill(v < v.topk(k).values[:, -1:], -math.inf),
        "Several scores are equal here, and a row keeps fewer than k: a strict comparison drops all of the equals.\n"
        f"{BY_INDEX}": lambda v, k: v.masked_fill(
            v <= pad(v, (0, 1), value=-math.inf).topk(k + 1).values[:, -1:], -math.inf
        ),
    },
    hints=[
        "Which number does a softmax turn into exactly 0? And how can exactly k stay, even if scores are equal?",
        "v.topk(k, dim=-1) gives the k largest of each row and their places, (tokens, k) each, and k of them even if "
        "scores are equal. Begin with a tensor like v that is full of -inf, and put the k scores in their places.",
        "values, index = v.topk(k, dim=-1); torch.full_like(v, -math.inf).scatter(-1, index, values)",
    ],
)
