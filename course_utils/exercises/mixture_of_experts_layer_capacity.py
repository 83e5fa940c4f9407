"""Tests of 07_mixture_of_experts: an expert takes no more than its capacity, first come, first served."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.diagnose import attempt
from course_utils.exercises.engine import Mistake, close
from course_utils.exercises.engine.calls import StudentError
from course_utils.exercises.mistakes import draw, recognise


def first_come(gates: Tensor, capacity: int) -> Tensor:
    """The gates with the overflow set to 0: each expert keeps its first `capacity` tokens, in the order of the rows.

    gates (N, E), at most one of each row not 0 (top-1). Returns (N, E); for more choices a token: `moe.apply_capacity`.
    Raises ValueError: capacity < 0, gates are not (N, E). Source: Fedus et al. (2022), section 2.2.
    """
    if gates.dim() != 2 or capacity < 0:
        raise ValueError(f"gates must be (N, E) and capacity 0 or more, got {tuple(gates.shape)} and {capacity}")
    place = (gates != 0).cumsum(dim=0)  # 1 for the first token in an expert's queue
    return gates * (place <= capacity)


STEPS = "place = (gates != 0).cumsum(dim=0) numbers the tokens of each expert, 1 for its first; those with place <= capacity stay."
LARGEST = "You keep the tokens with the LARGEST gates: asked is the order of the rows, first come, first served, whatever the gate."
SMALLEST = "You keep the tokens with the smallest gates: asked is the order of the rows, whatever the gate."
LESS = (
    "Each expert serves one token too few. With cumsum the first token in a queue has the number 1, so place <= capacity"
    " stays; place < capacity is for numbers that start at 0."
)
MORE = (
    "Each expert serves one token too many. If your numbers start at 0, place < capacity stays, capacity tokens in all;"
    " place <= capacity is for a cumsum, which starts at 1."
)
TOGETHER = (
    "You keep the first `capacity` rows, of all experts together: each expert has a queue of its own. Count down each column,"
    f" and only gates that are not 0. {STEPS}"
)
TOTAL = "You count all experts together, with E * capacity places: each expert has a queue of its own, with `capacity` places."
NOTHING = (
    "Nothing was dropped. If you count along a row (dim 1), each row has only one gate: the limit is for an expert, so count"
    f" down its column, dim=0. {STEPS}"
)
LAST = "You keep the LAST tokens of each expert: the first ones in the order of the rows stay, the later ones overflow."
VALUES = (
    "You add up the gates themselves: the capacity is a number of tokens, so count them, (gates != 0).cumsum(dim=0)."
)
OVERFLOW = "This is the overflow: return the gates of the tokens that ARE served, and 0 for the overflow."
MASK = "This is the mask, or the places in the queue: return the gates themselves, gates * mask."
ONES = "Your served tokens have the gate 1: the gates stay as they are. They are not scaled to the sum 1 again."
COLUMNS = "You scaled what is left of an expert up, or down: the gates of the served tokens stay as they are."
ALL_OR_NOTHING = (
    "An expert with too many tokens loses all of them in yours: it keeps its first `capacity`, and drops only the rest."
)
SHRUNK = "You scale down the gates of a full expert: the tokens that it has no room for get exactly 0, the others stay as they are."
INFINITE = "The overflow is -inf in yours: these are gates, after the softmax, so a token that is dropped gets 0."
EMPTY = "Everything was dropped: each expert serves its first `capacity` tokens."
FIRST_ONLY = "Each expert serves one token in yours: it serves `capacity` of them."
SAME_ROWS = "Only the first expert's queue is limited (or only one expert is served): do the same for every column."
DELETED = "Your result has other rows than the gates: dropped tokens keep their row, with zeros in it. It is (N, E), as before."
TUPLE = "You return a {}: only the gates are asked, one tensor (N, E)."
ZERO = "With a capacity of 0 nobody is served, and all gates become 0. (A slice [-0:] is everything, for example.)"
LARGE = (
    "Here the capacity is larger than the number of tokens: nothing is dropped, and nothing fails. topk(capacity), for"
    " example, needs min(capacity, N)."
)
CLASH = "The shapes do not line up: the mask has the shape of the gates, (N, E), with a queue down each column."


def kept(gates: Tensor, score: Tensor, capacity: int) -> Tensor:
    """The gates of each expert's `capacity` tokens with the highest scores (N, E), 0 elsewhere."""
    score = score.double().where(gates != 0, -torch.inf)
    best = score.topk(min(capacity, len(gates)), dim=0).indices
    return gates * torch.zeros_like(gates).scatter(0, best, 1.0)


def _place(gates: Tensor) -> Tensor:
    return (gates != 0).cumsum(0)


def _column_sums_kept(gates: Tensor, capacity: int) -> Tensor:
    left = first_come(gates, capacity)
    return left * gates.sum(0) / left.sum(0)


def _one_column(gates: Tensor, capacity: int) -> Tensor:
    return torch.cat([first_come(gates[:, :1], capacity), gates[:, 1:]], dim=1)


MISTAKES = [
    (LARGEST, lambda g, c: kept(g, g, c)),
    (SMALLEST, lambda g, c: kept(g, -g, c)),
    (LESS, lambda g, c: first_come(g, c - 1)),
    (MORE, lambda g, c: first_come(g, c + 1)),
    (TOGETHER, lambda g, c: g * (torch.arange(len(g)) < c)[:, None]),
    (TOGETHER, lambda g, c: g * (torch.arange(len(g)) <= c)[:, None]),
    (TOGETHER, lambda g, c: g * (torch.arange(len(g)) < c - 1)[:, None]),
    (TOTAL, lambda g, c: g * (torch.arange(len(g)) < c * g.shape[1])[:, None]),
    (NOTHING, lambda g, c: g),
    (LAST, lambda g, c: kept(g, _place(g), c)),
    (VALUES, lambda g, c: g * (g.cumsum(0) <= c)),
    (VALUES, lambda g, c: g * (g.cumsum(0) < c)),
    (OVERFLOW, lambda g, c: g - first_come(g, c)),
    (OVERFLOW, lambda g, c: g * (_place(g) >= c)),
    (OVERFLOW, lambda g, c: g * (_place(g) == c)),
    (MASK, lambda g, c: _place(g) <= c),
    (MASK, lambda g, c: (_place(g) <= c) & (g != 0)),
    (MASK, lambda g, c: (_place(g) <= c).float()),
    (MASK, lambda g, c: _place(g)),
    (MASK, lambda g, c: g != 0),
    (MASK, lambda g, c: _place(g) * (_place(g) <= c) * (g != 0)),
    (MASK, lambda g, c: _place(g).clamp(max=c)),
    (ONES, lambda g, c: (first_come(g, c) != 0).float()),
    (ONES, lambda g, c: first_come(g, c).div(first_come(g, c).sum(1, keepdim=True))),
    (COLUMNS, _column_sums_kept),
    (COLUMNS, lambda g, c: first_come(g, c) / first_come(g, c).sum(0)),
    (COLUMNS, lambda g, c: first_come(g, c) / first_come(g, c).sum()),
    (COLUMNS, lambda g, c: first_come(g, c) * g.sum() / first_come(g, c).sum()),
    (ALL_OR_NOTHING, lambda g, c: g * ((g != 0).sum(0) <= c)),
    (ALL_OR_NOTHING, lambda g, c: g * ((g != 0).sum(0) < c)),
    (SHRUNK, lambda g, c: g * (c / (g != 0).sum(0)).clamp(max=1)),
    (INFINITE, lambda g, c: g.where(_place(g) <= c, -torch.inf)),
    (INFINITE, lambda g, c: g.where((_place(g) <= c) | (g == 0), -torch.inf)),
    (INFINITE, lambda g, c: g.where((_place(g) <= c) & (g != 0), -torch.inf)),
    (EMPTY, lambda g, c: torch.zeros_like(g)),
    (FIRST_ONLY, lambda g, c: first_come(g, 1)),
    (SAME_ROWS, _one_column),
    (SAME_ROWS, lambda g, c: first_come(g, c) * (torch.arange(g.shape[1]) == 0)),
]


def inputs(seed: int, n: int, n_experts: int) -> Tensor:
    """gates (n, n_experts), the largest probability of each row; the first experts are asked more often."""
    p = (draw(n, n_experts, seed=seed) - 0.3 * torch.arange(n_experts)).softmax(1)
    return p * torch.zeros_like(p).scatter(1, p.argmax(1, keepdim=True), 1.0)


CASES = [(inputs(771, 18, 4), 3), (inputs(772, 20, 5), 4)]


def _judge(got: Any, answer: Callable, gates: Tensor, capacity: int) -> None:
    if isinstance(got, (tuple, list)) and got and isinstance(got[0], Tensor):
        raise Mistake(TUPLE.format(type(got).__name__))
    if isinstance(got, Tensor) and got.dim() == 2 and got.shape[1] == gates.shape[1] and len(got) != len(gates):
        raise Mistake(DELETED)
    try:
        close(got, first_come(gates, capacity), what="your result")
    except Mistake as mistake:
        recognise(answer, CASES, MISTAKES)
        raise Mistake(f"{mistake} {STEPS}") from None


def _check(answer: Callable, gates: Tensor, capacity: int) -> None:
    _judge(attempt(answer, gates, capacity, clash=CLASH), answer, gates, capacity)


def _at_an_end(answer: Callable, gates: Tensor, capacity: int, hint: str) -> None:
    try:
        got = answer(gates, capacity)
    except StudentError as wrapped:
        said = str(wrapped.error).split("\n")[0]
        raise Mistake(f"{hint} (Your function raised {type(wrapped.error).__name__}: {said})") from None
    try:
        _judge(got, answer, gates, capacity)
    except Mistake as mistake:
        general = str(mistake).startswith("Your result is") or "nan" in str(mistake)
        raise Mistake(hint if general else str(mistake)) from None


def capacity_random(answer: Callable) -> None:
    """18 tokens for 4 experts with 3 places each, 20 tokens for 5 experts with 4 places: the later ones go away empty"""
    for case in CASES:
        _check(answer, *case)


def capacity_gaps(answer: Callable) -> None:
    """some tokens have no gate at all and take no place; an expert that nobody asks"""
    gates = inputs(773, 14, 4)
    gates[[0, 1, 5]] = 0
    gates[:, 2] = 0
    _check(answer, gates, 2)
    _check(answer, gates, 1)


def capacity_zero(answer: Callable) -> None:
    """a capacity of 0: nobody is served"""
    _at_an_end(answer, inputs(774, 6, 3), 0, ZERO)


def capacity_large(answer: Callable) -> None:
    """room for everybody, and more: nothing changes"""
    _at_an_end(answer, inputs(775, 5, 3), 5, LARGE)
    _at_an_end(answer, inputs(775, 5, 3), 50, LARGE)
