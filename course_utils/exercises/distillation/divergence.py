"""The divergence between forward and reverse KL: the ends are tried first, then the mixture in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_utils.distillation import divergence
from course_utils.exercises.distillation import mistakes, scores
from course_utils.exercises.engine import Exercise, case, gradient_for, one_row

ENDS = "beta = 0 is the forward direction, KL(p || q), beta = 1 the reverse one, KL(q || p): p is the teacher."
SHARES = "Between the ends: beta KL(p || m) + (1 - beta) KL(q || m) with m = beta p + (1 - beta) q."
MIXTURE = f"Both are compared with their mixture, which is a mean of probabilities, weighted by beta. {SHARES}"
SUM = "KL(a || b) is the sum of a (log a - log b) over the classes; then the mean over the B rows."
STUDENT = "q is the softmax of the student's logits; the teacher's probabilities are probabilities already."
NO_GRADIENT = "No gradient reaches the student.\nOnly the teacher is detached: no .item(), no .detach() for the logits."
ZERO = "0 log 0 is 0: torch.xlogy(p, p) knows that, and p.clamp_min(1e-30) before the logarithm does it, too."


def _kl(a: Tensor, b: Tensor) -> Tensor:
    """KL of each row, (B,)."""
    return (torch.xlogy(a, a) - a * b.log()).sum(-1)


def _between(p: Tensor, q: Tensor, beta: float) -> Tensor:
    m = beta * p + (1 - beta) * q
    return beta * _kl(p, m) + (1 - beta) * _kl(q, m)


def _with(
    forward: Callable = _kl, reverse: Callable = lambda p, q: _kl(q, p), between: Callable = _between
) -> Callable:
    """An answer whose three branches are these functions of (p, q[, beta]), each with a value for each row."""

    def answer(z: Tensor, p: Tensor, beta: float) -> Tensor:
        p, q = p.detach(), z.softmax(-1)
        rows = forward(p, q) if beta == 0 else reverse(p, q) if beta == 1 else between(p, q, beta)
        return rows.mean()

    return answer


def _geometric(p: Tensor, q: Tensor, beta: float) -> Tensor:
    """The mean of the logarithms in place of the mixture."""
    m = (beta * p.log() + (1 - beta) * q.log()).exp()
    return beta * _kl(p, m) + (1 - beta) * _kl(q, m)


def _to_mixture(p: Tensor, q: Tensor, beta: float) -> Tensor:
    m = beta * p + (1 - beta) * q
    return beta * _kl(m, p) + (1 - beta) * _kl(m, q)


def _weights(own: Callable, mixed: Callable) -> Callable:
    """beta is replaced: own(beta) weighs KL(p || m), mixed(beta) weighs p in the mixture."""

    def between(p: Tensor, q: Tensor, beta: float) -> Tensor:
        m = mixed(beta) * p + (1 - mixed(beta)) * q
        return own(beta) * _kl(p, m) + (1 - own(beta)) * _kl(q, m)

    return between


def _everywhere(change: Callable) -> Callable:
    """An answer that gives change(value of each row) in all three branches."""
    return _with(
        lambda p, q: change(_kl(p, q)), lambda p, q: change(_kl(q, p)), lambda p, q, beta: change(_between(p, q, beta))
    )


def _same(beta: float) -> float:
    return beta


def _other(beta: float) -> float:
    return 1 - beta


# Recognised by what they give on all cases: at one of the ends alone they look alike.
DIRECTIONS = {
    ENDS: {
        "The two directions are swapped.": [
            lambda z, p, beta: divergence(z, p, 1 - beta),
            _with(lambda p, q: _kl(q, p), _kl),
            _with(lambda p, q: _kl(q, p), _kl, lambda p, q, beta: _between(p, q, 1 - beta)),
        ],
        "At both ends this is the forward KL.": [_with(reverse=_kl)],
        "At both ends this is the reverse KL.": [_with(forward=lambda p, q: _kl(q, p))],
        "beta has no effect: this is always the forward KL.": [_with(_kl, _kl, lambda p, q, beta: _kl(p, q))],
        "beta has no effect: this is always the reverse KL.": [
            _with(lambda p, q: _kl(q, p), lambda p, q: _kl(q, p), lambda p, q, beta: _kl(q, p))
        ],
        "The ends come out of the formula, and there it gives 0.": [
            lambda z, p, b: _between(p.detach(), z.softmax(-1), b).mean()
        ],
    }
}
MISTAKES = {
    MIXTURE: {
        "The weights of the mixture are swapped.": [_with(between=_weights(_same, _other))],
        "The weights of the two KL are swapped.": [_with(between=_weights(_other, _same))],
        "The mixture is a mean of the logarithms.": [_with(between=_geometric)],
        "The mixture stands first in both KL, where the student or the teacher belongs.": [_with(between=_to_mixture)],
        "There is no mixture: this is a weighted sum of the two directions.": [
            _with(between=lambda p, q, b: b * _kl(p, q) + (1 - b) * _kl(q, p)),
            _with(between=lambda p, q, b: (1 - b) * _kl(p, q) + b * _kl(q, p)),
        ],
        "beta is taken for 0.5 between the ends.": [
            _with(between=lambda p, q, b: _between(p, q, 0.5)),
            _with(between=lambda p, q, b: 2 * _between(p, q, 0.5)),
            _with(between=_weights(lambda b: 0.5, _same)),
            _with(between=_weights(_same, lambda b: 0.5)),
        ],
        "The two KL are added without their weights.": [
            _with(between=lambda p, q, b: _kl(p, b * p + (1 - b) * q) + _kl(q, b * p + (1 - b) * q))
        ],
        "Only the teacher is compared with the mixture.": [
            _with(between=lambda p, q, b: _kl(p, b * p + (1 - b) * q)),
            _with(between=lambda p, q, b: b * _kl(p, b * p + (1 - b) * q)),
        ],
        "Only the student is compared with the mixture.": [
            _with(between=lambda p, q, b: _kl(q, b * p + (1 - b) * q)),
            _with(between=lambda p, q, b: (1 - b) * _kl(q, b * p + (1 - b) * q)),
        ],
    },
    SUM: {
        "This is a mean over the classes.": [
            lambda z, p, b: divergence(z, p, b) / p.shape[-1],
        ],
        "This is a sum over the rows.": [lambda z, p, b: divergence(z, p, b) * len(p)],
        "The sign is wrong: no divergence is below 0.": [lambda z, p, b: -divergence(z, p, b)],
        "These are bits: use the natural logarithm.": [lambda z, p, b: divergence(z, p, b) / torch.tensor(2.0).log()],
        "This is the square root, the Jensen-Shannon distance as in SciPy.": [_everywhere(torch.sqrt)],
    },
    STUDENT: {
        "The teacher's softmax is taken, of what are probabilities.": [lambda z, p, b: divergence(z, p.softmax(-1), b)],
        "The student's softmax is taken twice.": [lambda z, p, b: divergence(z.softmax(-1), p, b)],
        "The student's softmax runs over the rows.": [
            lambda z, p, b: _with()(z.softmax(0).log(), p, b) if len(z) > 1 else z.sum() * torch.nan
        ],
    },
    "p is finished: p.detach(). What learns is the student alone.": {
        "A gradient flows into the teacher.": [lambda z, p, b: _undetached(z, p, b)],
    },
}


def _undetached(z: Tensor, p: Tensor, beta: float) -> Tensor:
    q = z.softmax(-1)
    return (_kl(p, q) if beta == 0 else _kl(q, p) if beta == 1 else _between(p, q, beta)).mean()


def _explain(got: Any, expected: Tensor, z: Tensor, p: Tensor, *_: float) -> str:
    if isinstance(got, Tensor) and got.dim() == 1 and len(got) == len(p):
        return f"There is one number for each row.\n{SUM}"
    if isinstance(got, Tensor) and not got.dim() and not got.isfinite() and (p == 0).any():
        return f"The result is {got:g}: the teacher gives a class no probability here, and 0 * log 0 is nan.\n{ZERO}"
    return ""


TEACHER, SURE = scores(4, 6, seed=611).softmax(-1), torch.tensor([[0.7, 0.3, 0.0, 0.0], [0.0, 0.1, 0.4, 0.5]])
STUDENT_LOGITS = scores(4, 6, seed=612)


def _asking(beta: float) -> tuple[Tensor, Tensor, float]:
    return scores(3, 5, seed=613).requires_grad_(), scores(3, 5, seed=614).softmax(-1).requires_grad_(), beta


EXERCISE = Exercise(
    "distillation.divergence",
    reference=divergence,
    what="the divergence",
    atol=1e-5,
    explain=_explain,
    errors={
        "must be Tensor, not float": "beta is a plain number: use it as it is.",
        "shapes": "The shapes do not line up: the logits and the teacher's probabilities are both (B, C).",
    },
    cases=[
        case("beta = 0: the forward direction", STUDENT_LOGITS, TEACHER, 0.0),
        case("beta = 1: the reverse direction", STUDENT_LOGITS, TEACHER, 1.0),
        case("beta = 0.2: nearer to the forward direction", STUDENT_LOGITS, TEACHER, 0.2),
        case("beta = 0.5: half of each", STUDENT_LOGITS, TEACHER, 0.5),
        case("beta = 0.9", STUDENT_LOGITS, TEACHER, 0.9),
        case("a perfect student", TEACHER.log(), TEACHER, 0.3),
        case("classes that the teacher holds impossible", scores(2, 4, seed=615), SURE, 0.0),
        case("classes that the teacher holds impossible", scores(2, 4, seed=615), SURE, 0.5),
        *(case("a gradient for the student", *_asking(b), view=gradient_for(0, NO_GRADIENT)) for b in (0.0, 0.4, 1.0)),
        *(case("no gradient for the teacher", *_asking(b), view=gradient_for(1, NO_GRADIENT)) for b in (0.0, 0.4, 1.0)),
    ],
    corners=[one_row("student_logits", "teacher_probs")],
    mistakes=[
        *mistakes(DIRECTIONS, lambda wrong: wrong, anywhere=False),
        *mistakes(MISTAKES, lambda wrong: wrong),
    ],
    hints=[
        "Three cases: beta = 0, beta = 1, and all between. What is KL(p || q) as a sum over the classes?",
        "log_q = student_logits.log_softmax(-1), p is given. Between the ends both are compared with "
        "m = beta * p + (1 - beta) * q, which is a distribution again. 0 log 0 counts as 0.",
        "def kl(a, b): return (torch.xlogy(a, a) - a * b.log()).sum(-1).mean(); then kl(p, q), kl(q, p) or "
        "beta * kl(p, m) + (1 - beta) * kl(q, m)",
    ],
)
