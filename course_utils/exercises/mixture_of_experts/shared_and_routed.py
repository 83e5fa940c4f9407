"""The layer of DeepSeekMoE: shared experts for every token, and routed ones with gates that are not normalised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, case, draw, gradient_for, one_row
from course_utils.exercises.engine.exercise import Corner, in_float64
from course_utils.exercises.mixture_of_experts.keep_top_k import keep, kept
from course_utils.exercises.mixture_of_experts.moe_forward import drawn_expert
from course_utils.moe import softmax_then_top_k

Experts = Sequence[Callable[[Tensor], Tensor]]


def shared_and_routed(x: Tensor, logits: Tensor, shared: Experts, routed: Experts, k: int) -> Tensor:
    """y = sum_j shared_j(x) + sum_i g_i routed_i(x), g_i = softmax(logits)_i for the k largest of a row, else 0.

    x (N, d), logits (N, E), shared: any number of functions (n, d) -> (n, d), routed: E of them. Returns (N, d).
    Raises ValueError: logits that do not fit, k outside 1..E. Source: Dai et al. (2024), DeepSeekMoE,
    without the residual connection.
    """
    if logits.shape != (len(x), len(routed)):
        raise ValueError(f"logits must be ({len(x)}, {len(routed)}), got {tuple(logits.shape)}")
    gates = softmax_then_top_k(logits, k)  # (N, E)
    return _sum(shared, x) + sum(gates[:, [i]] * expert(x) for i, expert in enumerate(routed))


def _sum(experts: Experts, x: Tensor) -> Tensor:
    return sum((expert(x) for expert in experts), torch.zeros_like(x))


ONE_ROW = "A single row is (1, d): x[[i]] and x[i : i + 1] are, x[i] is not."


def _inputs(seed: int, n: int = 5, experts: int = 6, n_shared: int = 2, k: int = 3, d: int = 4) -> tuple:
    """x, logits, shared, routed, k."""
    made = [drawn_expert(d, d, seed + 10 * i, ONE_ROW) for i in range(1, experts + n_shared + 1)]
    return draw(n, d, seed=seed), draw(n, experts, seed=seed + 1), made[:n_shared], made[n_shared:], k


def _gates(*wrong: Callable) -> list[Callable]:
    """Answers with other gates for the routed experts: wrong gets z, the logits, p, their softmax, k, and s, the number
    of the shared experts, by name."""

    def answer(make: Callable) -> Callable:
        def layer(x: Tensor, logits: Tensor, shared: Experts, routed: Experts, k: int) -> Tensor:
            known = {"z": logits, "p": logits.softmax(-1), "k": k, "s": len(shared)}
            gates = make(*(known[name] for name in signature(make).parameters if name in known))
            return _sum(shared, x) + sum(gates[:, [i]] * expert(x) for i, expert in enumerate(routed))

        return layer

    return [answer(make) for make in wrong]


def _shared(find: Callable) -> Callable:
    """An answer with another sum of the shared experts: find(their outputs (S, N, d), x, logits)."""

    def layer(x: Tensor, logits: Tensor, shared: Experts, routed: Experts, k: int) -> Tensor:
        outputs = torch.stack([expert(x) for expert in shared]) if shared else x.new_zeros(0, *x.shape)
        return shared_and_routed(x, logits, [], routed, k) + find(outputs, x, logits)

    return layer


def _explain(got: Any, expected: Tensor, x: Tensor, logits: Tensor, shared: Experts, routed: Experts, k: int) -> str:
    if not shared and isinstance(got, Tensor) and got.shape != expected.shape:
        return NONE
    return ""


NONE = "There is no shared expert here: the sum over them is 0, of the shape of x."
ORDER = "The order: softmax over all routed experts, then the k largest of these probabilities, as they are."
UNGATED = "A shared expert reads every token and is added as it is: the router does not know of it."
NO_GRADIENT = "The numbers are right, but no gradient reaches the logits: no detach(), .item(), numpy or no_grad()."
TRAINED = [value.requires_grad_() if isinstance(value, Tensor) else value for value in _inputs(981)]

EXERCISE = Exercise(
    "mixture_of_experts.shared_and_routed",
    reference=shared_and_routed,
    what="your result",
    right="The outputs of all shared experts, plus for the k most probable routed ones their probability times their "
    "output.",
    explain=_explain,
    cases=[
        case("two shared experts, three of six routed ones", *_inputs(941)),
        case("one shared expert, two of four routed ones", *_inputs(961, 6, 4, 1, 2, d=3)),
        case("no shared expert", *_inputs(971, n_shared=0)),
        case("k = 1: the gate is a probability, and not 1", *_inputs(991, n_shared=1, k=1)),
        case("the gradient for the logits", *TRAINED, view=gradient_for(1, NO_GRADIENT)),
    ],
    corners=[
        one_row("x", "logits"),
        Corner("k is the number of routed experts: a plain softmax", lambda named: {"k": 6}),
    ],
    errors={
        "dtype": in_float64.advice,
        "non-empty|object has no attribute|NoneType": NONE,
        "shapes": "The shapes do not line up: outputs are (N, d), and a token's gate needs a second axis, (N, 1).",
    },
    mistakes={
        "The gates of the chosen experts sum to 1: here they are not normalised.\n"
        f"{ORDER} (The softmax after the choice gives the same as dividing by the sum.)": _gates(
            lambda z, k: keep(z, k).softmax(-1)
        ),
        "All routed experts count: only the k most probable of each token do.": _gates(lambda p: p),
        "The chosen experts have equal weights: each counts with its probability.": _gates(
            *(lambda z, k: kept(z, k) / k, lambda z, k: kept(z, k).to(z.dtype))
        ),
        "The logits are the weights: take their softmax.": _gates(lambda z, k: keep(z, k, fill=0.0)),
        "The softmax takes 0 for those who were not chosen, and exp(0) is 1.\n" + ORDER: _gates(
            lambda z, k: keep(z, k, fill=0.0).softmax(-1)
        ),
        "This is a sigmoid of each logit: the gates of DeepSeekMoE are a softmax.": _gates(
            lambda z, k: keep(z, k).sigmoid()
        ),
        f"There are two softmaxes, one before the choice and one after it.\n{ORDER}": _gates(
            lambda p, k: keep(p, k).softmax(-1)
        ),
        "k counts the shared experts too: here k is the number of the routed ones that are chosen.": _gates(
            lambda p, k, s: keep(p, max(k - s, 1), fill=0.0)
        ),
        "The k least probable experts are chosen.": _gates(lambda p, k: keep(p, k, -p, fill=0.0)),
        "The softmax runs over the tokens (dim 0): each token is a row, over its experts.": _gates(
            lambda z, k: keep(z.softmax(0), k, fill=0.0), lambda z, k: z.softmax(0) * kept(z, k)
        ),
        "The choice is the same for all tokens: each row chooses its own k.": _gates(
            lambda p, k: p * kept(p.mean(0, keepdim=True), k)
        ),
        "The shared experts are missing.": _shared(lambda outputs, x, z: 0 * x),
        f"The outputs of the shared experts are averaged.\n{UNGATED}": _shared(
            lambda outputs, x, z: outputs.sum(0) / max(len(outputs), 1)
        ),
        f"Only the first shared expert is used.\n{UNGATED}": _shared(
            lambda outputs, x, z: outputs[0] if len(outputs) else 0 * x
        ),
        f"The shared experts are weighted with gates of the routed ones.\n{UNGATED}": [
            _shared(
                lambda outputs, x, z: sum(
                    (z.softmax(-1)[:, [j]] * o for j, o in enumerate(outputs)), torch.zeros_like(x)
                )
            ),
            _shared(lambda outputs, x, z: outputs.sum(0) * z.softmax(-1).amax(-1, keepdim=True)),
        ],
        "The shared experts take what the routed ones leave, 1 minus their gates.\n" + UNGATED: lambda x, z, s, r, k: (
            shared_and_routed(x, z, [], r, k) + (1 - softmax_then_top_k(z, k).sum(-1, keepdim=True)) * _sum(s, x)
        ),
        "The result has x in it: the residual connection is outside of this layer.": _shared(
            lambda outputs, x, z: x + outputs.sum(0)
        ),
        "The shared experts come after the routed ones: both read x, and their outputs are added.": [
            lambda x, z, s, r, k: _sum(s, shared_and_routed(x, z, [], r, k)),
            lambda x, z, s, r, k: shared_and_routed(_sum(s, x) if s else x, z, [], r, k),
        ],
        "The gate multiplies the expert's input: it weighs the output, because an expert is not linear.": (
            lambda x, z, s, r, k: _sum(s, x) + sum(e(softmax_then_top_k(z, k)[:, [i]] * x) for i, e in enumerate(r))
        ),
        NO_GRADIENT: lambda x, z, s, r, k: shared_and_routed(x, z.detach(), s, r, k),
    },
    hints=[
        "Two sums: one over all shared experts, one over the routed ones. Which of them needs the router?",
        "p = logits.softmax(-1), then a matrix of gates that has p at the k largest of each row and 0 elsewhere. Add "
        "gates[:, i, None] times the output of routed expert i to the outputs of the shared ones.",
        "p = logits.softmax(-1); best = p.topk(k); gates = torch.zeros_like(p).scatter(-1, best.indices, best.values); "
        "y = sum(e(x) for e in shared) + sum(gates[:, [i]] * e(x) for i, e in enumerate(routed))",
    ],
)
