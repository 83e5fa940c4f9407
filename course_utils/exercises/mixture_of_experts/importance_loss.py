"""The importance loss: a penalty on experts whose total gates differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, Mistake, case, draw, gradient_for, one_row
from course_utils.exercises.engine.exercise import Corner
from course_utils.moe import cv_squared, importance_loss, keep_top_k


def routed(tokens: int, experts: int, k: int, seed: int) -> Tensor:
    """Gates (tokens, experts) of the k largest of random scores, which prefer the first experts."""
    return keep_top_k(draw(tokens, experts, seed=seed) - torch.arange(experts) / experts, k).softmax(dim=-1)


def _totals(*wrong: Callable) -> list[Callable]:
    """Answers with a mistake in what is made of the right totals (experts,)."""
    return [lambda g, formula=formula: formula(g.sum(0)) for formula in wrong]


def _cv(x: Tensor, correction: int = 0) -> Tensor:
    """Of each row."""
    return x.var(-1, correction=correction) / x.mean(-1).square()


def _for_scores(loss: Any, gates: Tensor) -> Tensor:
    """The gradient for the scores whose softmax the gates are: it is the same whether or not "rows sum to 1" is
    used."""
    found = gradient_for(0, NO_GRADIENT)(loss, gates)
    return gates * (found - (gates * found).sum(-1, keepdim=True))


def _explain(got: Any, expected: Tensor, gates: Tensor) -> str:
    if expected.dim():
        why = "it is nan: is there a root of 0?" if got.isnan().any() else "was a part of it detached?"
        return f"The number is right, but not its gradient: {why}"
    shape = tuple(np.shape(got)) if isinstance(got, (Tensor, np.ndarray)) else ()
    experts = shape in ((gates.shape[1],), (1, gates.shape[1]))
    if experts or shape in ((len(gates),), (len(gates), 1)):
        said = f"This is one number for each {'expert' if experts else 'token'} (your result has shape {shape})."
        raise Mistake(
            said, "The loss is one number for all experts together: add up over the tokens first, then take CV^2."
        )
    return ""


NO_GRADIENT = (
    "The number is right, but no gradient reaches the gates, so the gate could not learn from this loss: no .item(), "
    "float(), .detach(), no_grad, torch.tensor(...) or numpy on the way."
)
RIGHT = "CV^2 is the variance (of the population) of the E totals, divided by the square of their mean."
THEN = "Add up over the tokens first; then take the CV of the E totals."

EXERCISE = Exercise(
    "mixture_of_experts.importance_loss",
    reference=importance_loss,
    what="the loss",
    right=RIGHT,
    atol=1e-5,
    explain=_explain,
    cases=[
        case("9 tokens over 4 experts with k = 2, each row of gates with the sum 1", routed(9, 4, 2, seed=811)),
        case("16 tokens over 5 experts with k = 3", routed(16, 5, 3, seed=812)),
        case("all experts get the same in total: 0", torch.eye(4).repeat(3, 1)),
        case("one of 6 experts gets everything: 5", torch.eye(6)[[2]].repeat(7, 1)),
        case("the gradient for the gate's scores", routed(8, 5, 2, seed=813).requires_grad_(), view=_for_scores),
        case("their gradient at equal totals: 0", torch.eye(4).repeat(3, 1).requires_grad_(), view=_for_scores),
    ],
    corners=[
        one_row("gates"),
        Corner("all of it three times over: the loss stays", lambda named: {"gates": named["gates"].repeat(3, 1)}),
    ],
    errors={
        r"numpy\(\)": NO_GRADIENT,
        "shapes": "The shapes do not line up: gates are (tokens, experts), their totals (experts,).",
    },
    mistakes={
        "This is the variance of a sample, divided by E - 1, as torch's var() and std() take it unless told "
        "otherwise.\n"
        "These are all the experts, not a sample: correction=0.": _totals(lambda t: t.var() / t.mean() ** 2),
        "This is CV itself, standard deviation / mean: it is squared.": _totals(
            *(lambda t: t.std(correction=0) / t.mean(), lambda t: t.std() / t.mean())
        ),
        "This is CV^4: variance / mean^2 is CV^2 already.": _totals(lambda t: cv_squared(t) ** 2),
        "This is the standard deviation divided by the square of the mean: square both.": _totals(
            *(lambda t: t.std(correction=0) / t.mean() ** 2, lambda t: t.std() / t.mean() ** 2)
        ),
        "The division is missing: the variance alone grows with the number of tokens.\n"
        "Divide it by the mean, squared.": _totals(
            *(lambda t: t.var(correction=0), lambda t: t.std(correction=0), lambda t: t.var(), lambda t: t.std())
        ),
        "This is the variance of the totals divided by their mean, or a multiple of it.\n"
        "Divide by mean^2: then the number of tokens cancels.": [
            lambda g: g.sum(0).var(correction=0) / g.sum(0).mean(),
            lambda g: g.sum(0).var() / g.sum(0).mean(),
            lambda g: g.mean(0).var(correction=0) / g.mean(),
        ],
        "This is divided by the number of tokens, the sum of all gates, or by its square.\n"
        "Divide by the square of the mean of the E totals.": [
            *(lambda g, c=c: g.mean(0).var(correction=c) for c in (0, 1)),
            *(lambda g, c=c: g.mean(0).std(correction=c) for c in (0, 1)),
        ],
        "The squared deviations are added up: the variance is their mean over the experts.": _totals(
            lambda t: (t - t.mean()).square().sum() / t.mean() ** 2, lambda t: (t - t.mean()).square().sum()
        ),
        "This counts the tokens of each expert, its load, which has no gradient.\n"
        "Importance is the sum of the gates, so that 0.9 counts more than 0.1.": [
            lambda g, c=c: _cv((g > 0).float().sum(0), c) for c in (0, 1)
        ],
        "The sums run over the experts: each token's gates sum to 1, whatever the choice.\n"
        "Add up over the tokens.": lambda g: _cv(g.sum(1)),
        f"This is the CV of the single gates: it would push each token to use all experts alike.\n{THEN}": [
            *(lambda g: _cv(g).mean(), lambda g: _cv(g).sum(), lambda g: _cv(g, 1).mean()),
            *(lambda g, c=c: g.var(correction=c) / g.mean() ** 2 for c in (0, 1)),
        ],
        f"This is the CV of each expert's gates over the tokens: these may differ.\n{THEN}": [
            *(lambda g: _cv(g.T).mean(), lambda g: _cv(g.T).sum(), lambda g: _cv(g.T, 1).mean())
        ],
        "This is divided by the mean of the gates: variance and mean are both of the E totals.": [
            lambda g: g.sum(0).var(correction=0) / g.mean() ** 2,
            lambda g: g.sum(0).var() / g.mean() ** 2,
        ],
        "This is a tenth of it, as with the paper's weight: return CV^2 alone.": lambda g: importance_loss(g, 0.1),
        "The sign is wrong: the less even the experts, the larger the loss.": lambda g: -importance_loss(g),
        "This is 1 too much: even experts must give 0.\nSubtract the mean from each total before you square.": _totals(
            lambda t: t.square().mean() / t.mean() ** 2
        ),
        "The number is right, but in a tensor or list with dimensions: a loss is a scalar, of shape ().\n"
        "Leave out keepdim, or take squeeze().": _totals(
            *(lambda t: cv_squared(t).reshape(1), lambda t: cv_squared(t).reshape(1, 1))
        ),
        "The gradient is nan if all totals are equal: that of a root is infinite there, also if it is squared again.\n"
        "Leave out the root.": _totals(lambda t: ((t - t.mean()).square().mean().sqrt() / t.mean()) ** 2),
    },
    hints=[
        "What must be even, and over what? Make one number for each expert first. Then: how far apart are these "
        "numbers?",
        "The sum over the tokens, gates.sum(dim=0), is (experts,). CV^2 is its variance divided by the square of "
        "its mean; torch's var() divides by E - 1 unless you say correction=0. Stay with tensors, for the gradient.",
        "total = gates.sum(dim=0); total.var(correction=0) / total.mean() ** 2",
    ],
)
