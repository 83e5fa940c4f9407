"""Learning lam: the log-linear weights with the lowest negative log-likelihood."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.ensembling import em_weights, fit_loglinear_weights, loglinear_interpolation
from course_utils.exercises.engine import Exercise, Mistake, case
from course_utils.exercises.interpolation import random_log_probs


def _drawn(log_probs: Tensor, lam: list[float]) -> tuple[Tensor, Tensor]:
    """The log-probabilities, and targets drawn from their log-linear interpolation with these lam."""
    probs = loglinear_interpolation(log_probs, lam).exp()
    return log_probs, torch.multinomial(probs, 1, generator=torch.Generator().manual_seed(len(lam)))[:, 0]


def _logits(lam: Tensor, log_probs: Tensor) -> Tensor:
    return torch.tensordot(lam, log_probs, dims=1)  # (N, V)


def _nll(lam: Tensor, log_probs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(_logits(lam, log_probs), targets)


def _of_targets(log_probs: Tensor, targets: Tensor) -> Tensor:
    return log_probs[:, torch.arange(len(targets)), targets]  # (M, N)


def _moments(lam: Tensor, log_probs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """E_data[log P_m] and E_model[log P_m], each (M,): equal at the optimum, and only there."""
    model = (_logits(lam, log_probs).softmax(-1) * log_probs).sum(-1).mean(1)
    return _of_targets(log_probs, targets).mean(1), model


def _is_vector(got: Any, log_probs: Tensor) -> bool:
    return isinstance(got, Tensor) and got.shape == log_probs.shape[:1] and got.is_floating_point()


def _is_right(got: Any, log_probs: Tensor, targets: Tensor) -> bool:
    if not _is_vector(got, log_probs):
        return False
    data, model = _moments(got.detach().to(log_probs.dtype), log_probs, targets)
    return bool(((data - model).abs() < 0.01).all())


def _fitted(transform: Callable[[Tensor], Tensor], loss: Callable[[Tensor, Tensor, Tensor], Tensor] = _nll) -> Callable:
    """A function of the answer's signature: the transform(a), a (M,), with the lowest loss."""

    def fit(log_probs: Tensor, targets: Tensor) -> Tensor:
        a = torch.full((len(log_probs),), 1 / len(log_probs), requires_grad=True)
        optimiser = torch.optim.LBFGS([a], max_iter=60, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimiser.zero_grad()
            value = loss(transform(a), log_probs, targets)
            value.backward()
            return value

        with torch.enable_grad():
            optimiser.step(closure)
        return transform(a).detach()

    return fit


def _near(a: Tensor, b: Tensor, atol: float = 0.03) -> bool:
    return bool(torch.isclose(a, b, atol=atol, rtol=0).all())


ON_SIMPLEX = _fitted(lambda a: a.softmax(0))
SUM_TO_ONE = "lam was forced to sum to 1, by a softmax or a division. Log-linear weights are free."
FREE = "Optimise all M of them directly."


def _explain(got: Any, expected: Tensor, log_probs: Tensor, targets: Tensor) -> str:
    """Of lam that are not exactly one of the mistakes: nobody's optimiser stops where another's does."""
    if not _is_vector(got, log_probs):
        return ""
    got = got.detach().to(log_probs.dtype)
    if got.isnan().any() or got.abs().max() > 30:
        raise Mistake(
            f"lam ran away to {[round(v, 1) for v in got.tolist()]}: is the loss normalised?",
            "Without log Z the loss falls for ever. If it is there, lower the learning rate.",
        )
    for known in EXERCISE.known:
        for theirs in (wrong(log_probs, targets) for wrong in known.wrong):
            if _near(got, theirs) and not _near(theirs, expected, 0.05):
                raise Mistake(known.says, known.pointer)
    on_simplex = ON_SIMPLEX(log_probs, targets)
    if _near(got.softmax(0), on_simplex) and not _near(expected.softmax(0), on_simplex, 0.05):
        raise Mistake(SUM_TO_ONE, FREE)  # what was returned has not been through the softmax
    loss, best = (_nll(x, log_probs, targets).item() for x in (got, expected))
    probs = [_of_targets(_logits(x, log_probs).softmax(-1)[None], targets).mean().item() for x in (got, expected)]
    if probs[0] > probs[1] + 0.005 and (got > expected).all():
        raise Mistake(
            f"Your lam are too large: the mean probability of the targets, {probs[0]:.3f}, is higher than at the "
            f"optimum, {probs[1]:.3f}, but their mean log-probability is lower.",
            "The loss is the mean of -log P(target), not of P(target). If yours is this one, take more steps.",
        )
    uniform = math.log(log_probs.shape[-1])
    if loss > uniform + 0.01:
        raise Mistake(
            f"Your loss, {loss:.3f}, is worse than a uniform guess, {uniform:.3f} (the lowest is {best:.3f}).",
            "Did you minimise the negative log-probability, with log Z in it? F.cross_entropy of logits has both.",
        )
    data, model = _moments(got, log_probs, targets)
    m = int((data - model).abs().argmax())
    raise Mistake(
        f"The moments do not match yet: E_data[log P_{m}] = {data[m]:.3f} and E_model[log P_{m}] = {model[m]:.3f}, so "
        f"lam_{m} is too {'small' if data[m] > model[m] else 'large'}. Your loss is {loss:.4f}, the lowest is "
        f"{best:.4f}.",
        "Too few steps, or too small a learning rate? If more steps do not help, look at the loss.",
    )


EXERCISE = Exercise(
    "interpolation.fit_lambda",
    reference=fit_loglinear_weights,
    equal=_is_right,
    explain=_explain,
    what="the vector lam",
    seconds=30.0,
    float64=False,  # lam = torch.full((M,), ...) with torch.tensordot, a right answer, takes float32 only
    errors={
        "shapes": "lam (M,) and log_probs (M, N, V) do not line up: torch aligns from the last dimension.",
        "batch_size": "cross_entropy takes scores (N, V) and targets (N,).",
    },
    cases=[
        case(
            "three members, the best lam sum to less than 1: the moments match",
            *_drawn(random_log_probs(3, 150, 5, seed=15), [0.3, 0.1, 0.15]),
        ),
        case(
            "three members, the best lam sum to more than 1 and one is negative: the moments match",
            *_drawn(random_log_probs(3, 200, 6, seed=14), [1.5, 0.6, -0.5]),
        ),
    ],
    mistakes={
        "These are the weights of the linear mixture (EM's answer): the log-linear rule needs its own loss.\n"
        "It is -(sum_m lam_m log P_m(y) - log Z).": lambda log_probs, targets: em_weights(
            _of_targets(log_probs, targets).exp()
        ).float(),
        f"{SUM_TO_ONE}\n{FREE}": [ON_SIMPLEX, _fitted(lambda a: torch.cat([a[:-1], 1 - a[:-1].sum(0, keepdim=True)]))],
        f"lam was kept positive. Log-linear weights are free: a negative one repels.\n{FREE}": [
            _fitted(F.softplus),
            lambda log_probs, targets: fit_loglinear_weights(log_probs, targets).clamp(min=0),
            lambda log_probs, targets: fit_loglinear_weights(log_probs, targets).clamp(0, 1),
        ],
        f"One lam is fixed at 1. Log-linear weights are free: each member's has its own best value.\n{FREE}": [
            _fitted(lambda a: torch.cat([torch.ones(1), a[1:]])),
            _fitted(lambda a: torch.cat([a[:-1], torch.ones(1)])),
        ],
        "You minimised over probabilities: the rule's exponents act on log P_m.\n"
        "The logits are sum_m lam_m log P_m.": _fitted(
            lambda a: a, lambda lam, log_probs, targets: _nll(lam, log_probs.exp(), targets)
        ),
        "You gave probabilities to cross_entropy, which takes the softmax itself.\n"
        "It wants logits or log-probabilities.": _fitted(
            lambda a: a, lambda lam, lp, targets: F.cross_entropy(_logits(lam, lp).softmax(-1), targets)
        ),
        "lam was divided by its sum after the fit: log-linear weights need not sum to 1.\n"
        "Return them as they are.": lambda log_probs, targets: (
            (best := fit_loglinear_weights(log_probs, targets)) / best.sum()
        ),
        "The sign is wrong: these are the best lam, negated.": lambda lp, t: -fit_loglinear_weights(lp, t),
        "lam has hardly moved from its start.\n"
        "Each step calls loss.backward() and optimizer.step(); return the tensor that was optimised.": [
            lambda log_probs, targets: torch.zeros(len(log_probs)),
            lambda log_probs, targets: torch.ones(len(log_probs)),
            lambda log_probs, targets: torch.full((len(log_probs),), 1 / len(log_probs)),
        ],
    },
    hints=[
        "The loss is the mean of -log P(target) under the log-linear rule. It is convex in lam: any gradient method"
        " that goes on long enough finds the optimum.",
        "lam = torch.full((M,), 1 / M, requires_grad=True); logits = torch.tensordot(lam, log_probs, dims=1), (N, "
        "V); loss = F.cross_entropy(logits, targets). No softmax on lam.",
        "torch.optim.Adam([lam], lr=0.05), 500 times: zero_grad, loss.backward(), step. Return lam.detach().",
    ],
)
