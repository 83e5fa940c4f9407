"""The layer, in which each expert reads only the rows that asked for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, Mistake, case, draw, gradient_for, one_row
from course_utils.exercises.engine.exercise import Corner, in_float64
from course_utils.exercises.mixture_of_experts.keep_top_k import keep


def moe_forward(x: Tensor, gates: Tensor, experts: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
    """y = sum_i gates[:, i] E_i(x), with E_i evaluated only on the rows whose gate for it is not 0.

    x (N, d), gates (N, E), experts: E functions (n, d) -> (n, d_out). Returns (N, d_out), 0 for a row without any gate.
    Raises ValueError: shapes that do not fit, no gate at all. Source: Shazeer et al. (2017), section 2, equation 1.
    """
    if x.dim() != 2 or gates.shape != (len(x), len(experts)):
        raise ValueError(f"x must be (N, d) and gates (N, {len(experts)}), got {[*x.shape]} and {[*gates.shape]}")
    if not gates.any():
        raise ValueError("every gate is 0, so no expert tells how wide the result is: give at least one other gate")
    y = None
    for gate, expert in zip(gates.unbind(1), experts):
        row = gate.nonzero().squeeze(1)  # (n,)
        if len(row):
            part = gate[row, None] * expert(x[row])  # (n, d_out)
            y = part.new_zeros(len(x), part.shape[1]) if y is None else y
            y = y.index_add(0, row, part)
    return y


def drawn_expert(d: int, d_out: int, seed: int, one_row: str) -> Callable[[Tensor], Tensor]:
    """An expert that takes rows alone, (n, d) -> (n, d_out); one_row: the advice for who gives it something else."""
    weight, bias = draw(d, d_out, seed=seed), draw(d_out, seed=seed + 1)

    def expert(rows: Tensor) -> Tensor:
        if rows.dim() != 2:
            raise Mistake(f"An expert takes rows, (n, d), and was given the shape {tuple(rows.shape)}.", one_row)
        return torch.tanh(rows @ weight.to(rows.dtype) + bias.to(rows.dtype))

    return expert


ONE_ROW = "A single row is (1, d): x[[i]] and x[i : i + 1] are, x[i] is not; nonzero().squeeze(1) keeps the index (n,)."


def _inputs(seed: int, n: int = 7, n_experts: int = 4, k: int = 2) -> tuple[Tensor, Tensor, list[Callable]]:
    """x (n, 5), gates (n, n_experts) with k a row, whose sums are 1 only by chance, and the experts."""
    gates = keep(draw(n, n_experts, seed=seed + 1).sigmoid(), k).nan_to_num(neginf=0.0)
    return draw(n, 5, seed=seed), gates, [drawn_expert(5, 5, seed + 10 * i, ONE_ROW) for i in range(1, n_experts + 1)]


def _dense(x: Tensor, gates: Tensor, experts: Sequence[Callable]) -> Tensor:
    """All experts on all rows, then the sum with these gates: (N, d_out)."""
    return torch.einsum("ne,ned->nd", gates.to(x.dtype), torch.stack([expert(x) for expert in experts], dim=1))


def _weights(*wrong: Callable) -> list[Callable]:
    """Answers with other weights of the outputs: wrong(gates)."""
    return [lambda x, g, e, make=make: _dense(x, make(g), e) for make in wrong]


def _rank(gates: Tensor) -> Tensor:
    """0, 1, ... down each column for the rows with a gate."""
    return ((gates != 0).cumsum(0) - 1).clamp(min=0)


def _explain(got: Any, expected: Tensor, x: Tensor, gates: Tensor, experts: Sequence[Callable]) -> str:
    without = ~gates.any(1)
    if not isinstance(got, Tensor) or got.dim() != 2 or not without.any():
        return ""
    return "" if got.shape == expected.shape and not got[without].any() else WITHOUT


READ = (
    ("an expert was given rows whose gate is 0: work for nothing.", "Select the rows first, and give it those alone."),
    ("an expert was given rows that are not of x, set to 0?", "A row of zeros costs as much as any: leave it out."),
    ("an expert was given the same row more than once.", "Call it once, and keep the result."),
    ("an expert without any row was called all the same.", "Skip it; d_out is the width of the first real output."),
)


def _reads_only_its_rows(answer: Callable) -> None:
    """the experts count the rows they read: only those with a gate, and an expert without rows is not called"""
    x, gates, experts = _inputs(711, k=1)
    gates[:, 1], gates[0] = 0, torch.tensor([0.25, 0, 0.5, 0])
    calls = [[] for _ in experts]
    answer(x, gates, [lambda rows, i=i: (experts[i](rows), calls[i].append(rows.reshape(-1, 5)))[0] for i in range(4)])
    for i, parts in enumerate(calls):
        given, wanted = torch.cat([x[:0], *parts]).to(x.dtype), gates[:, i].nonzero().squeeze(1).tolist()
        rows = [next((n for n, row in enumerate(x) if torch.allclose(row, one)), None) for one in given]
        others, twice = any(row not in (None, *wanted) for row in rows), len(set(rows)) < len(rows)
        for found, (said, advice) in zip((others, None in rows, twice, not all(map(len, parts))), READ):
            if found:
                told = f"(Expert {i} has {len(wanted)} rows, and was given {len(given)}.)"
                raise Mistake(f"The numbers are right, but {said} {told}", advice)


WIDTH = "Here the outputs are wider than x, d_out = 13 and d = 5: y must not be made like x, but like the first output."
WITHOUT = "Two tokens have no gate that is not 0 (no expert had room for them): their rows of the result are zeros."
NO_GRADIENT = "The numbers are right, but no gradient reaches {}: no detach(), .item(), numpy or no_grad() on the way."
NONE_AT_ALL = NO_GRADIENT.format("the gates and x")
TRAINED = [value.requires_grad_() if isinstance(value, Tensor) else value for value in _inputs(741, k=4)]
OUTER = (torch.sign, torch.ones_like, torch.clone)

EXERCISE = Exercise(
    "mixture_of_experts.moe_forward",
    reference=moe_forward,
    what="your result",
    right="For each expert: its rows of x, its outputs times the gates of the same rows, added to y at these rows.",
    explain=_explain,
    checks=[_reads_only_its_rows],
    cases=[
        case("random tokens, two of four experts each: the weighted sum of their outputs", *_inputs(701)),
        case("three of six experts each", *_inputs(751, 9, 6, 3)),
        case("the gradient for x", *TRAINED, view=gradient_for(0, NONE_AT_ALL)),
        case("the gradient for the gates", *TRAINED, view=gradient_for(1, NONE_AT_ALL)),
    ],
    corners=[
        Corner(
            "outputs wider than x",
            lambda named: {"experts": [drawn_expert(5, 13, 10 * i, ONE_ROW) for i in range(4)]},
            WIDTH,
        ),
        Corner("but two have none", lambda named: {"gates": named["gates"].index_fill(0, torch.tensor([0, 4]), 0.0)}),
        one_row("x", "gates"),
    ],
    errors={
        "dtype|scalar type": in_float64.advice,
        r"\b13\b": WIDTH,
        r"expected Tensor as element \d+ in argument 0, but got int": WITHOUT,
        r"0-d": "An expert may have exactly one row, and then squeeze() takes that dimension away too: name it, "
        "squeeze(1).",
        r"numpy\(\)": NONE_AT_ALL,
        "shapes": "The shapes do not line up: an expert takes rows of x, (n, d), and their gates need a second "
        "axis, (n, 1).",
    },
    mistakes={
        "The result is all zeros. y[row].add_(...), for example, changes a copy; y.index_add(...) changes nothing.\n"
        "Write y[row] += or y = y.index_add.": _weights(lambda g: 0 * g),
        "The outputs are added up without their gates.": _weights(lambda g: g != 0, torch.ones_like),
        "Of a token's experts only the last one is left: it replaces what was there.\n"
        "Add: y[row] += or index_add. (With all pairs in one go, y[token] += loses repeated tokens too.)": _weights(
            lambda g: g * ((g != 0).flip(1).cumsum(1).flip(1) == 1),
            lambda g: (g != 0) & ((g != 0).flip(1).cumsum(1).flip(1) == 1),
        ),
        "This is a mean over the experts: the gates are the weights already, and the rest is a sum.": _weights(
            *(lambda g: g / g.shape[1], lambda g: g / (g != 0).sum(1, keepdim=True)),
            lambda g: (g != 0) / (g != 0).sum(1, keepdim=True),
        ),
        "The outputs were added to the first n rows of y, not to the rows that the expert read.": lambda x, g, e: sum(
            (0 * x).index_add(0, _rank(g)[:, i], g[:, [i]] * e[i](x)) for i in range(len(e))
        ),
        "The expert read the first n rows of x, not those whose gate is not 0.": lambda x, g, e: sum(
            g[:, [i]] * e[i](x[_rank(g)[:, i]]) for i in range(len(e))
        ),
        "The first n gates are taken, not those of these rows.": _weights(lambda g: g.gather(0, _rank(g)) * (g != 0)),
        "Each output is multiplied by its gate twice.": _weights(torch.square),
        "Only the expert with the largest gate counts: a token may have several, all whose gate is not 0.": _weights(
            *(lambda g: g * (g == g.amax(1, keepdim=True)), lambda g: g == g.amax(1, keepdim=True))
        ),
        "The gate multiplies the expert's input: it weighs the output, because an expert is not linear.": [
            *(lambda x, g, e, f=f: sum(f(g)[:, [i]] * e[i](g[:, [i]] * x) for i in range(len(e))) for f in OUTER)
        ],
        "A softmax of the gates is taken: they are the weights already.": _weights(
            *(lambda g: g.softmax(1), lambda g: g.where(g != 0, -torch.inf).softmax(1))
        ),
        "A token's gates are scaled to the sum 1: use them as they are.": _weights(
            lambda g: g / g.sum(1, keepdim=True)
        ),
        "The result has x in it: start from zeros.": lambda x, g, e: x + _dense(x, g, e),
        "These are gates[i], the gates of token i, for expert i.": _weights(
            lambda g: torch.cat([g[: g.shape[1]].T, 0 * g[g.shape[1] :]])
        ),
        "An expert is missing: the loop runs over all columns of the gates.": _weights(
            *(lambda g, at=at: g.index_fill(1, torch.tensor([at]), 0.0) for at in (-1, 0)),
            lambda g: g * (torch.arange(g.shape[1]) == 0),
        ),
        "Your experts work for the tokens whose gate is 0.": _weights(lambda g: g == 0),
        "Small gates were dropped: only an exact 0 may be skipped.": _weights(lambda g: g * (g > 0.5)),
        "The columns of the gates and the experts do not belong together: column i is for experts[i].": _weights(
            *(lambda g: g.flip(1), lambda g: g.roll(1, 1), lambda g: g.roll(-1, 1))
        ),
        NO_GRADIENT.format("x"): lambda x, g, e: moe_forward(x.detach(), g, e),
        NO_GRADIENT.format("the gates"): lambda x, g, e: moe_forward(x, g.detach(), e),
    },
    hints=[
        "Go through the experts, not through the tokens. Which rows does expert i have to read, and where do its "
        "outputs go?",
        "The rows are gates[:, i].nonzero().squeeze(1). Give the expert x[row] alone, multiply its output by the gates "
        "of the same rows (they need a second axis), and add it to y at these rows. Skip an expert without rows.",
        "part = gates[row, i, None] * experts[i](x[row]); the first part tells d_out: y = part.new_zeros(len(x), "
        "part.shape[1]); then y = y.index_add(0, row, part)",
    ],
)
