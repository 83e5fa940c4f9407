"""An expert takes no more than its capacity: first come, first served."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, Mistake, case, draw, one_row
from course_utils.exercises.engine.exercise import Corner, in_float64


def first_come(gates: Tensor, capacity: int) -> Tensor:
    """The gates with the overflow set to 0: each expert keeps its first `capacity` tokens, in the order of the rows.

    gates (N, E), at most one of each row not 0 (top-1). Returns (N, E); for more choices a token: `moe.apply_capacity`.
    Raises ValueError: capacity < 0, gates are not (N, E). Source: Fedus et al. (2022), section 2.2.
    """
    if gates.dim() != 2 or capacity < 0:
        raise ValueError(f"gates must be (N, E) and capacity 0 or more, got {tuple(gates.shape)} and {capacity}")
    place = (gates != 0).cumsum(dim=0)  # 1 for the first token in an expert's queue
    return gates * (place <= capacity)


def _inputs(seed: int, n: int, n_experts: int) -> Tensor:
    """gates (n, n_experts), the largest probability of each row; the first experts are asked more often."""
    p = (draw(n, n_experts, seed=seed) - 0.3 * torch.arange(n_experts)).softmax(1)
    return p * torch.zeros_like(p).scatter(1, p.argmax(1, keepdim=True), 1.0)


def _place(gates: Tensor) -> Tensor:
    return (gates != 0).cumsum(0)


def _first_rows(gates: Tensor, n: int) -> Tensor:
    return gates * (torch.arange(len(gates)) < n)[:, None]


def _kept(gates: Tensor, score: Tensor, capacity: int) -> Tensor:
    """The gates of each expert's `capacity` tokens with the highest scores (N, E), 0 elsewhere."""
    score = score.double().where(gates != 0, -torch.inf)
    return gates * torch.zeros_like(gates).scatter(0, score.topk(min(capacity, len(gates)), dim=0).indices, 1.0)


def _scaled(gates: Tensor, capacity: int, by: Tensor | float = 1.0, dim: int = 0) -> Tensor:
    left = first_come(gates, capacity)
    return left * by / left.sum(dim, keepdim=True)


def _explain(got: Any, expected: Tensor, gates: Tensor, capacity: int) -> str:
    if isinstance(got, (tuple, list)) and got and isinstance(got[0], Tensor):
        return f"You return a {type(got).__name__}: only the gates are asked for, one tensor (N, E)."
    if isinstance(got, Tensor) and got.dim() == 2 and got.shape[1] == gates.shape[1] and len(got) != len(gates):
        raise Mistake("Your result has other rows than the gates.", "Dropped tokens keep their row, with zeros in it.")
    return ""


OWN_QUEUE = "Each expert has a queue of its own, down its column, in which only gates that are not 0 count."
AS_THEY_ARE = "The gates of the served tokens stay as they are, and those of the others become exactly 0."
ORDER = "What decides is the order of the rows, first come, first served, whatever the gate."

EXERCISE = Exercise(
    "mixture_of_experts.apply_capacity",
    reference=first_come,
    what="your result",
    right="The tokens of each expert have the numbers 1, 2, ... in its queue; those up to the capacity stay.",
    explain=_explain,
    cases=[
        case("18 tokens for 4 experts with 3 places each: the later ones go away empty", _inputs(771, 18, 4), 3),
        case("20 tokens for 5 experts with 4 places each", _inputs(772, 20, 5), 4),
    ],
    corners=[
        Corner(
            "but some tokens and one expert have no gate at all",
            lambda named: {
                "gates": named["gates"].index_fill(0, torch.tensor([0, 1, 5]), 0).index_fill(1, torch.tensor(2), 0),
                "capacity": 2,
            },
            OWN_QUEUE,
        ),
        one_row("gates"),
        Corner("but a capacity of 0", lambda named: {"capacity": 0}, "(A slice [-0:] is everything, for example.)"),
        Corner("one token, a capacity of 0", lambda named: {"gates": named["gates"][:1], "capacity": 0}),
        Corner("but room for everybody", lambda named: {"capacity": 18}),
        Corner("but more places than tokens", lambda named: {"capacity": 50}, "Nothing is dropped, and nothing fails."),
    ],
    errors={
        "dtype": in_float64.advice,
        r"0-d": "An expert may have exactly one token, and then squeeze() takes that dimension away too: name it, "
        "squeeze(1).",
        r"out of range|out of bounds": "An expert may have fewer tokens than `capacity`, which may be larger than N: "
        "nothing is dropped then, and nothing fails. topk(capacity), for example, needs min(capacity, N).",
        "shapes": "The shapes do not line up: the mask has the shape of the gates, (N, E), with a queue down each "
        "column.",
    },
    mistakes={
        f"The tokens with the largest, or the smallest, gates are kept.\n{ORDER}": [
            *(lambda g, c, sign=sign: _kept(g, sign * g, c) for sign in (1, -1)),
        ],
        "Each expert serves one token too few.\n"
        "With cumsum the first in a queue has the number 1; `<` is for numbers from 0.": lambda g, c: (
            g * (_place(g) < c)
        ),
        "Each expert serves one token too many.\n"
        "For numbers from 0, `<` stays; `<=` is for a cumsum, which starts at 1.": lambda g, c: first_come(g, c + 1),
        f"The first `capacity` rows are kept, or E * capacity: all experts are counted together.\n{OWN_QUEUE}": [
            *(lambda g, c, more=more: _first_rows(g, c + more) for more in (-1, 0, 1)),
            lambda g, c: _first_rows(g, c * g.shape[1]),
        ],
        f"Nothing was dropped. (Along a row, dim 1, there is only one gate to count.)\n{OWN_QUEUE}": lambda g, c: g,
        f"The last tokens of each expert are kept.\n{ORDER}": lambda g, c: _kept(g, _place(g), c),
        "The gates themselves are added up: the capacity is a number of tokens, so count them.": [
            *(lambda g, c: g * (g.cumsum(0) <= c), lambda g, c: g * (g.cumsum(0) < c))
        ],
        "This is the overflow: return the gates of the tokens that are served.": [
            lambda g, c: g - first_come(g, c),
            *(lambda g, c: g * (_place(g) >= c), lambda g, c: g * (_place(g) == c)),
        ],
        f"This is the mask, or the places in the queue: return the gates themselves.\n{AS_THEY_ARE}": [
            *(lambda g, c: _place(g) <= c, lambda g, c: (_place(g) <= c) & (g != 0), lambda g, c: _place(g)),
            *(lambda g, c: (_place(g) <= c).float(), lambda g, c: _place(g) * (_place(g) <= c) * (g != 0)),
        ],
        f"The served tokens have the gate 1: they are not scaled to the sum 1 again.\n{AS_THEY_ARE}": [
            *(lambda g, c: (first_come(g, c) != 0).float(), lambda g, c: _scaled(g, c, dim=1))
        ],
        f"What is left of an expert is scaled up or down.\n{AS_THEY_ARE}": [
            *(lambda g, c: _scaled(g, c, g.sum(0)), lambda g, c: _scaled(g, c)),
            lambda g, c: g * (c / (g != 0).sum(0)).clamp(max=1),
        ],
        "An expert with too many tokens loses all of them here.\nIt keeps its first `capacity`, and drops the rest.": [
            *(lambda g, c: g * ((g != 0).sum(0) <= c), lambda g, c: g * ((g != 0).sum(0) < c)),
        ],
        "The overflow is -inf here: these are gates, after the softmax, so a token that is dropped gets 0.": [
            *(
                lambda g, c, empty=empty: g.where((_place(g) <= c) & (empty | (g != 0)), -torch.inf)
                for empty in (True, False)
            ),
        ],
        "Each expert serves one token here: it serves `capacity` of them.": lambda g, c: first_come(g, 1),
        "Only the first expert's queue is limited, or only one expert is served: do the same for every column.": [
            lambda g, c: torch.cat([first_come(g[:, :1], c), g[:, 1:]], dim=1),
            lambda g, c: first_come(g, c) * (torch.arange(g.shape[1]) == 0),
        ],
        "With a capacity of 0 nobody is served, and all gates become 0.\n"
        "It does not mean that there is no limit. (A slice [-0:] is everything, for example.)": lambda g, c: (
            first_come(g, c) if c else g
        ),
    },
    hints=[
        "Each expert has a queue. What number does a token have in the queue of its expert?",
        "A running count down each column: cumsum(dim=0) of gates != 0. The first token of an expert has the number 1.",
        "gates * ((gates != 0).cumsum(dim=0) <= capacity)",
    ],
)
