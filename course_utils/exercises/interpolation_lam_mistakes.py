"""Why fitted log-linear weights are not the best ones: each known misconception is fitted too, and compared."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.ensembling import em_weights
from course_utils.exercises.engine.calls import Mistake
from course_utils.exercises.engine.compare import close
from course_utils.exercises.interpolation_fit_mistakes import near


def lam(got: Any, expected: Tensor, log_probs: Tensor, targets: Tensor) -> None:
    """Raise a Mistake unless the moments match at `got` (M,): E_data[log P_m] = E_model[log P_m] for every member m."""
    if not isinstance(got, Tensor) or got.shape != expected.shape or not got.is_floating_point():
        return close(got, expected, what="the vector lam")
    got = got.detach().to(log_probs.dtype)
    rows = torch.arange(len(targets))

    def logits(x: Tensor) -> Tensor:
        return torch.tensordot(x, log_probs, dims=1)  # (N, V)

    data = log_probs[:, rows, targets].mean(1)  # (M,)
    model = (logits(got).softmax(-1) * log_probs).sum(-1).mean(1)  # (M,)
    if ((data - model).abs() < 0.01).all():
        return
    if got.isnan().any() or got.abs().max() > 30:
        raise Mistake(
            f"lam ran away to {[round(v, 1) for v in got.tolist()]}: is the loss normalised? Without log Z the loss"
            " falls for ever. If it is, lower the learning rate."
        )
    m = len(expected)
    losses: list[tuple[str, Callable, Callable]] = [
        (
            (
                "lam was forced to sum to 1, by a softmax or a division. Log-linear weights are free: optimise all M of"
                " them directly."
            ),
            lambda a: a.softmax(0),
            lambda x: F.cross_entropy(logits(x), targets),
        ),
        (
            "lam was forced to sum to 1. Log-linear weights are free: optimise all M of them.",
            lambda a: torch.cat([a[:-1], 1 - a[:-1].sum(0, keepdim=True)]),
            lambda x: F.cross_entropy(logits(x), targets),
        ),
        (
            "lam was kept positive. Log-linear weights are free: a negative one repels.",
            F.softplus,
            lambda x: F.cross_entropy(logits(x), targets),
        ),
        (
            (
                "You minimised over probabilities: the rule's exponents act on log P_m, so the logits are sum_m lam_m"
                " log P_m."
            ),
            lambda a: a,
            lambda x: F.cross_entropy(torch.tensordot(x, log_probs.exp(), dims=1), targets),
        ),
        (
            (
                "You gave probabilities to cross_entropy: it wants logits or log-probabilities, it takes the softmax"
                " itself."
            ),
            lambda a: a,
            lambda x: F.cross_entropy(logits(x).softmax(-1), targets),
        ),
    ]
    if near(got, em_weights(log_probs[:, rows, targets].exp()), 0.02):
        raise Mistake(
            "These are the weights of the linear mixture (EM's answer): the log-linear rule needs its own loss, "
            "-(sum_m lam_m log P_m(y) - log Z)."
        )
    for hint, transform, loss in losses:
        minimum = _minimise(loss, m, transform)
        if near(got, minimum, 0.03) and not near(minimum, expected, 0.05):
            raise Mistake(hint)
    if near(got, (expected / expected.sum()), 0.03):
        raise Mistake(
            "lam was divided by its sum after the fit: log-linear weights need not sum to 1, return them as they are."
        )
    simplex = _minimise(losses[0][2], m, losses[0][1])
    if near(got.softmax(0), simplex, 0.03) and not near(expected.softmax(0), simplex, 0.05):
        raise Mistake(losses[0][0])
    if near(got, -expected, 0.05):
        raise Mistake("The sign is wrong: these are the best lam, negated.")
    if any(near(got, torch.full_like(got, value), 1e-5) for value in (0.0, 1.0, 1 / m)):
        raise Mistake(
            "lam did not move from its start: call loss.backward() and optimizer.step(), and return the tensor that was"
            " optimised."
        )
    nll, best = (F.cross_entropy(logits(x), targets).item() for x in (got, expected))
    mean_p, best_p = (logits(x).softmax(-1)[rows, targets].mean().item() for x in (got, expected))
    if mean_p > best_p + 0.005 and (got > expected).all():
        raise Mistake(
            f"Your lam are too large: the mean probability of the targets is higher than at the optimum ({mean_p:.3f}"
            f" against {best_p:.3f}), and their mean log-probability is lower. Did you minimise over probabilities? The"
            " loss is the mean of -log P(target), with the minus: F.cross_entropy makes it from logits or"
            " log-probabilities. If your loss is this one, take more steps."
        )
    if nll > math.log(log_probs.shape[-1]) + 0.01:
        raise Mistake(
            f"Your loss, {nll:.3f}, is worse than that of a uniform guess, {math.log(log_probs.shape[-1]):.3f} (the"
            f" lowest is {best:.3f}): did you minimise the NEGATIVE log-probability, with log Z in it?"
            " F.cross_entropy(logits, targets) has both."
        )
    worst = int((data - model).abs().argmax())
    raise Mistake(
        f"The moments do not match yet: E_data[log P_{worst}] = {data[worst]:.3f} and E_model[log P_{worst}] ="
        f" {model[worst]:.3f}, so lam_{worst} is too {'small' if data[worst] > model[worst] else 'large'}. Your loss is"
        f" {nll:.4f}, the lowest is {best:.4f}: too few steps, or too small a learning rate? If more steps do not help,"
        " look at the loss."
    )


def _minimise(loss: Callable[[Tensor], Tensor], m: int, transform: Callable[[Tensor], Tensor]) -> Tensor:
    """transform(a) at the a (m,) with the lowest loss(transform(a))."""
    with torch.enable_grad():
        x = torch.full((m,), 1 / m, requires_grad=True)
        optimiser = torch.optim.LBFGS([x], max_iter=60, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimiser.zero_grad()
            value = loss(transform(x))
            value.backward()
            return value

        optimiser.step(closure)
    return transform(x).detach()
