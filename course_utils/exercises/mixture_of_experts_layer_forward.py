"""Tests of 07_mixture_of_experts: the layer, in which each expert reads only the rows that asked for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.diagnose import attempt
from course_utils.exercises.engine import Mistake, close
from course_utils.exercises.engine.calls import StudentError
from course_utils.exercises.mistakes import draw, near, recognise


def moe_forward(x: Tensor, gates: Tensor, experts: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
    """y = sum_i gates[:, i] E_i(x), with E_i evaluated only on the rows whose gate for it is not 0.

    x (N, d), gates (N, E), experts: E functions (n, d) -> (n, d_out). Returns (N, d_out), 0 for a row without any gate.
    Raises ValueError: shapes that do not fit, no gate at all. Source: Shazeer et al. (2017), section 2, equation 1.
    """
    if x.dim() != 2 or gates.shape != (len(x), len(experts)):
        raise ValueError(
            f"x must be (N, d) and gates (N, {len(experts)}), got {tuple(x.shape)} and {tuple(gates.shape)}"
        )
    if not gates.any():
        raise ValueError(
            "every gate is 0, so no expert tells how wide the result is: give at least one gate that is not 0"
        )
    y = None
    for gate, expert in zip(gates.unbind(1), experts):
        row = gate.nonzero().squeeze(1)  # (n,)
        if len(row):
            part = gate[row, None] * expert(x[row])  # (n, d_out)
            y = part.new_zeros(len(x), part.shape[1]) if y is None else y
            y = y.index_add(0, row, part)
    return y


STEPS = (
    "For each expert i: row = gates[:, i].nonzero().squeeze(1), then add gates[row, i, None] * experts[i](x[row]) to y at"
    " these rows."
)
UNWEIGHTED = f"The outputs are added up without their gates: expert i counts gates[:, i] times, and not once. {STEPS}"
OVERWRITES = (
    "Of a token's experts only the last one is left: it replaces what was there. Add: y[row] += ... or y.index_add(0, row,"
    " ...), and not y[row] = ... . (With all pairs in one go, y[token] += ... loses repeated tokens too: index_add does not.)"
)
NOT_STORED = (
    "The result is all zeros. y[row] with a tensor of row numbers is a copy, so y[row].add_(...) changes only the copy; the"
    " same goes for a y.index_add(...) whose result is thrown away. Write y[row] += ... or y = y.index_add(0, row, ...)."
)
MEAN = "You took a mean over the experts: the gates are the weights already, so the weighted outputs are only added up."
FRONT_OUT = (
    "The outputs were added to the FIRST n rows of y: they belong to the rows that the expert read, y[row], not y[:n]."
)
FRONT_IN = "The expert read the FIRST n rows of x: it reads the rows whose gate is not 0, x[row], and not x[:n]."
FRONT_GATE = (
    "The outputs were multiplied with the FIRST n gates of the column: take those of the same rows, gates[row, i]."
)
SQUARED = "Each output is multiplied by its gate twice: once is enough."
ARGMAX = "Only the expert with the largest gate counts in yours: a token may have several, all whose gate is not 0."
TWO = "You take the two largest gates of each token: how many a token has may differ, and all that are not 0 count."
INPUT = "The gate multiplies the expert's INPUT: it weighs the output, gate * E(x). An expert is not linear."
SOFTMAX = "You took a softmax of the gates: they are the weights already, and the softmax makes a share out of every 0."
NORMALISED = (
    "You scale the gates of a token to the sum 1: use them as they are. (After a capacity limit they sum to less.)"
)
RESIDUAL = "Your result starts from x: start from zeros. The residual connection is added outside of the layer."
TRANSPOSED = "You read gates[i], the gates of TOKEN i: those of expert i are a column, gates[:, i]."
NOT_ALL = "An expert is missing: the loop runs over all E columns of the gates, the first and the last one included."
WRONG_WAY = "Your experts work for the tokens whose gate IS 0: take those whose gate is not 0, gates[:, i] != 0."
THRESHOLD = "Small gates were dropped: only an exact 0 may be skipped, gates[:, i] != 0."
SHIFTED = "The columns of the gates and the experts do not belong together: column i is for experts[i]."
SUMMED = "The sum runs over the features or the tokens: it runs over the experts only, and the result is (N, d_out)."
CLASH = (
    "The shapes do not line up. For one expert, x[row] is (n, d), its output (n, d_out), and the gates need a second axis,"
    " gates[row, i, None], (n, 1)."
)
ALL_ROWS = (
    "The numbers are right, but an expert was given rows whose gate is 0: all that work is multiplied by 0 afterwards."
    " Select the rows first, row = gates[:, i].nonzero().squeeze(1), and give it x[row] alone."
)
ZEROED = (
    "The numbers are right, but an expert was given rows that are not rows of x (set to 0, perhaps): a row of zeros costs as"
    " much as any other. Leave the rows out, x[row]."
)
TWICE = "The numbers are right, but an expert was given the same row more than once: call it once, and keep the result."
EMPTY = (
    "An expert without any row was called all the same: skip it, if len(row) > 0. (If it was for the width d_out: take that"
    " from the first output that you really need.)"
)
WIDTH = (
    "Here the experts' outputs are narrower than x, d_out = 3 and d = 5. The result is (N, d_out): y must not be made like x,"
    " make it when the first output is there, output.new_zeros(len(x), output.shape[1])."
)
DROPPED = "Two tokens have no gate that is not 0 (no expert had room for them): their rows of the result are zeros."
NO_GRADIENT = (
    "The numbers are right, but no gradient reaches {}, so that could not be trained: no detach(), .data, .item(), .numpy(),"
    " torch.tensor(...) or no_grad() on the way from there to the result."
)
OTHER_GRADIENT = (
    "The numbers are right, but the gradient with respect to {} is not: part of its way to the result is cut off."
)


class Expert:
    """tanh(rows W + b), and a record of the rows it was given: `calls`, a list of (n, d)."""

    def __init__(self, d: int, d_out: int, seed: int) -> None:
        self.weight, self.bias = draw(d, d_out, seed=seed), draw(d_out, seed=seed + 1)
        self.calls: list[Tensor] = []

    def __call__(self, rows: Tensor) -> Tensor:
        d = len(self.weight)
        if not isinstance(rows, Tensor) or not rows.dim() or rows.shape[-1] != d:
            found = f"shape {tuple(rows.shape)}" if isinstance(rows, Tensor) else f"a {type(rows).__name__}"
            raise Mistake(f"An expert takes rows of x, a tensor (n, {d}), and was given {found}. {STEPS}")
        self.calls.append(rows.detach().reshape(-1, d))
        return torch.tanh(rows @ self.weight.to(rows.dtype) + self.bias.to(rows.dtype))


def inputs(
    seed: int, n: int = 7, d: int = 5, d_out: int = 5, n_experts: int = 4, k: int = 2
) -> tuple[Tensor, Tensor, list[Expert]]:
    """x (n, d), gates (n, n_experts) with k a row, whose sums are 1 only by chance, and the experts."""
    weight = draw(n, n_experts, seed=seed + 1).sigmoid()
    gates = torch.zeros_like(weight).scatter(1, weight.topk(k).indices, weight.topk(k).values)
    return draw(n, d, seed=seed), gates, [Expert(d, d_out, seed + 10 * i) for i in range(1, n_experts + 1)]


CASES = [inputs(701), inputs(751, 9, 5, 5, 6, 3)]


def _each(x: Tensor, experts: Sequence[Expert]) -> Tensor:
    """All experts on all rows: (N, E, d_out)."""
    return torch.stack([expert(x) for expert in experts], dim=1)


def dense(x: Tensor, gates: Tensor, experts: Sequence[Expert]) -> Tensor:
    """All experts on all rows, then the sum with these gates: (N, d_out)."""
    return torch.einsum("ne,ned->nd", gates.to(x.dtype), _each(x, experts))


def _highest(gates: Tensor) -> Tensor:
    return gates * (gates == gates.amax(1, keepdim=True))


def _last(gates: Tensor) -> Tensor:
    """Of each row the last gate that is not 0."""
    return gates * ((gates != 0).flip(1).cumsum(1).flip(1) == 1)


def _front(x: Tensor, gates: Tensor, experts: Sequence[Expert], place: str) -> Tensor:
    """The first n rows in place of the n rows with a gate: of y ("out"), of x ("in"), of the gates ("gate")."""
    y = torch.zeros_like(x)
    for i, expert in enumerate(experts):
        row = gates[:, i].nonzero().squeeze(1)
        first = torch.arange(len(row))
        gate = gates[first if place == "gate" else row, i, None]
        y = y.index_add(0, first if place == "out" else row, gate * expert(x[first if place == "in" else row]))
    return y


def _transposed(x: Tensor, gates: Tensor, experts: Sequence[Expert]) -> Tensor:
    y = torch.zeros_like(x)
    for gate, expert in zip(gates, experts):
        row = gate.nonzero().squeeze(1)
        y = y.index_add(0, row, gate[row, None] * expert(x[row]))
    return y


def _by_input(x: Tensor, gates: Tensor, experts: Sequence[Expert], outer: Tensor) -> Tensor:
    return torch.stack([outer[:, i, None] * expert(gates[:, i, None] * x) for i, expert in enumerate(experts)]).sum(0)


MISTAKES = [
    (NOT_STORED, lambda x, g, e: torch.zeros_like(x)),
    (UNWEIGHTED, lambda x, g, e: dense(x, g != 0, e)),
    (UNWEIGHTED, lambda x, g, e: _each(x, e).sum(1)),
    (OVERWRITES, lambda x, g, e: dense(x, _last(g), e)),
    (OVERWRITES, lambda x, g, e: dense(x, _last(g) != 0, e)),
    (MEAN, lambda x, g, e: dense(x, g, e) / len(e)),
    (MEAN, lambda x, g, e: dense(x, g, e) / (g != 0).sum(1, keepdim=True)),
    (MEAN, lambda x, g, e: dense(x, g != 0, e) / (g != 0).sum(1, keepdim=True)),
    (MEAN, lambda x, g, e: _each(x, e).mean(1)),
    (FRONT_OUT, lambda x, g, e: _front(x, g, e, "out")),
    (FRONT_IN, lambda x, g, e: _front(x, g, e, "in")),
    (FRONT_GATE, lambda x, g, e: _front(x, g, e, "gate")),
    (SQUARED, lambda x, g, e: dense(x, g.square(), e)),
    (ARGMAX, lambda x, g, e: dense(x, _highest(g), e)),
    (ARGMAX, lambda x, g, e: dense(x, _highest(g) != 0, e)),
    (TWO, lambda x, g, e: dense(x, g * (g >= g.topk(2).values[:, 1:]), e)),
    (INPUT, lambda x, g, e: _by_input(x, g, e, (g != 0).float())),
    (INPUT, lambda x, g, e: _by_input(x, g, e, torch.ones_like(g))),
    (INPUT, lambda x, g, e: _by_input(x, g, e, g)),
    (SOFTMAX, lambda x, g, e: dense(x, g.softmax(1), e)),
    (SOFTMAX, lambda x, g, e: dense(x, g.where(g != 0, -torch.inf).softmax(1), e)),
    (NORMALISED, lambda x, g, e: dense(x, g / g.sum(1, keepdim=True), e)),
    (RESIDUAL, lambda x, g, e: x + dense(x, g, e)),
    (TRANSPOSED, _transposed),
    (NOT_ALL, lambda x, g, e: dense(x, g[:, :-1], e[:-1])),
    (NOT_ALL, lambda x, g, e: dense(x, g[:, 1:], e[1:])),
    (NOT_ALL, lambda x, g, e: dense(x, g[:, :1], e[:1])),
    (WRONG_WAY, lambda x, g, e: dense(x, g == 0, e)),
    (THRESHOLD, lambda x, g, e: dense(x, g * (g > 0.5), e)),
    (SHIFTED, lambda x, g, e: dense(x, g.flip(1), e)),
    (SHIFTED, lambda x, g, e: dense(x, g.roll(1, 1), e)),
    (SHIFTED, lambda x, g, e: dense(x, g.roll(-1, 1), e)),
    (SUMMED, lambda x, g, e: dense(x, g, e).sum(1)),
    (SUMMED, lambda x, g, e: dense(x, g, e).sum(0)),
    (SUMMED, lambda x, g, e: dense(x, g, e).sum()),
]


def _judge(got: Any, answer: Callable, case: tuple) -> None:
    try:
        close(got, dense(*case), what="your result")
    except Mistake as mistake:
        recognise(answer, CASES, MISTAKES)
        raise Mistake(f"{mistake} {STEPS}") from None


def _tried(answer: Callable, case: tuple, clash: str = CLASH) -> Any:
    for expert in case[2]:
        expert.calls.clear()
    return attempt(answer, *case, clash=clash)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def moe_values(answer: Callable) -> None:
    """random tokens, two of four experts each, then three of six: the weighted sum of their outputs"""
    for case in CASES:
        _judge(_tried(answer, case), answer, case)


def moe_rows(answer: Callable) -> None:
    """the experts count the rows they read: only those with a gate, and an expert without rows is not called"""
    x, gates, experts = inputs(711, k=1)
    gates[:, 2], gates[:, 1] = gates[:, 2] + gates[:, 1], 0
    gates[0] = torch.tensor([0.25, 0, 0.5, 0])
    got = _tried(answer, (x, gates, experts))
    calls = [list(expert.calls) for expert in experts]  # before the check itself calls them
    _judge(got, answer, (x, gates, experts))
    for i, parts in enumerate(calls):
        if not parts:
            continue
        given, wanted = torch.cat(parts), (gates[:, i] != 0).nonzero().squeeze(1).tolist()
        rows = [next((n for n, row in enumerate(x) if near(row, one)), None) for one in given]
        told = f" (Expert {i} has {len(wanted)} rows, and was given {len(given)}.)"
        if any(row is not None and row not in wanted for row in rows):
            raise Mistake(ALL_ROWS + told)
        if None in rows:
            raise Mistake(ZEROED + told)
        if len(set(rows)) < len(rows):
            raise Mistake(TWICE + told)
        if not all(len(part) for part in parts):
            raise Mistake(EMPTY + told)


def moe_wide(answer: Callable) -> None:
    """the experts' outputs are narrower than x: d_out = 3, d = 5"""
    case = inputs(721, d_out=3)
    try:
        got = _tried(answer, case, clash=WIDTH)
    except StudentError as wrapped:
        raise Mistake(f"{WIDTH} (Your function raised {_first_line(wrapped.error)})") from None
    if isinstance(got, Tensor) and got.shape == case[0].shape:
        raise Mistake(WIDTH)
    _judge(got, answer, case)


def moe_dropped(answer: Callable) -> None:
    """two tokens have no expert at all: zeros"""
    case = inputs(731)
    case[1][[0, 4]] = 0
    try:
        got = _tried(answer, case, clash=DROPPED)
    except StudentError as wrapped:
        raise Mistake(f"{DROPPED} (Your function raised {_first_line(wrapped.error)})") from None
    if isinstance(got, Tensor) and got.dim() == 2 and (len(got) == 5 or got.detach()[[0, 4]].ne(0).any()):
        raise Mistake(DROPPED)
    _judge(got, answer, case)


def moe_gradient(answer: Callable) -> None:
    """gradients for the gates, for x and for the experts' weights"""
    x, gates, experts = inputs(741)
    leaves = [gates.requires_grad_(), x.requires_grad_(), *(expert.weight.requires_grad_() for expert in experts)]
    names = ["the gates", "x", *["the experts' weights"] * len(experts)]
    factor = draw(*x.shape, seed=742)
    wanted = torch.autograd.grad((dense(x, gates, experts) * factor).sum(), leaves)
    try:
        got = answer(x, gates, experts)
    except StudentError as wrapped:
        if "numpy()" in str(wrapped.error):
            raise Mistake(NO_GRADIENT.format("the gates")) from None
        raise
    if not isinstance(got, Tensor) or got.shape != x.shape:
        return _judge(got, answer, (x, gates, experts))
    if not got.requires_grad:
        raise Mistake(NO_GRADIENT.format("the gates"))
    found = torch.autograd.grad((got * factor).sum(), leaves, allow_unused=True)
    for name, mine, right in zip(names, found, wanted):
        if mine is None:
            raise Mistake(NO_GRADIENT.format(name))
        here = gates != 0 if name == "the gates" else torch.ones_like(right, dtype=torch.bool)
        if not near(mine[here], right[here]):
            raise Mistake(OTHER_GRADIENT.format(name))
