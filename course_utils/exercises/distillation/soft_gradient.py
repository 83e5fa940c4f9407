"""The gradient of the soft loss in closed form: the first cases have one row or T = 1, to try each factor alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from course_utils.exercises.distillation import mistakes, scores
from course_utils.exercises.engine import Exercise, case, mistake


def soft_gradient(student_logits: Tensor, targets: Tensor, T: float) -> Tensor:
    """T (softmax(z_s / T) - targets) / B: the gradient of T^2 KL(targets || softmax(z_s / T)), mean over the B rows.

    student_logits (B, C); targets (B, C): probabilities made at the temperature T. Returns (B, C); each row sums to 0.
    The chain rule through z / T gives 1/T, T^2 makes it T, and for a large T the difference shrinks like 1/T: so the
    size of the gradient hardly depends on T. Source: Hinton, Vinyals & Dean (2015), section 2, equations 2 to 4.
    """
    return T * ((student_logits / T).softmax(dim=-1) - targets) / student_logits.shape[0]


def _made_at(T: float, *shape: int, seed: int) -> Tensor:
    """Targets of three teachers at the temperature T."""
    return (scores(3, *shape, seed=seed) / T).softmax(-1).mean(0)


def _explain(got: Any, expected: Tensor, z: Tensor, p: Tensor, T: float) -> str:
    if isinstance(got, (int, float)) or (isinstance(got, Tensor) and not got.dim()):
        return "This is one number. The gradient has one for each logit: how the loss changes if that logit grows."
    if not isinstance(got, Tensor) or got.shape != expected.shape or not got.isfinite().all():
        return ""
    if torch.allclose((z / T).softmax(-1), p, atol=1e-5):
        return f"The student is perfect here, and the gradient should be 0: yours is {got.abs().max():.3g}."
    ratio = (got * expected).sum() / expected.square().sum()
    if torch.allclose(got.to(expected), ratio * expected, rtol=1e-3):
        return f"Yours is {ratio:.4g} times the gradient."
    total = got.sum(-1)[0]
    return f"The first row sums to {total:.3g}, and each row should sum to 0." if total.abs() > 1e-4 else ""


def _reversed(q: Tensor, p: Tensor, *_: Any) -> Tensor:
    """The gradient of KL(q || p)."""
    ratio = q.log() - p.log()
    return q * (ratio - (q * ratio).sum(-1, keepdim=True))


def _through_softmax(q: Tensor, p: Tensor, *_: Any) -> Tensor:
    return q * (q - p) - q * (q * (q - p)).sum(-1, keepdim=True)


# Mistakes in the factor: {what to do: {what was done: [f(T, B, C), by which the right gradient is multiplied]}}.
FACTORS = {
    "A gradient points uphill.": {
        "The sign is the wrong way round: this has targets - q.": [lambda T, B, C, k=k: -(T**k) for k in (0, -1, -2)],
    },
    "The loss sums over the classes, and takes the mean over the B rows.": {
        "This is divided by the number of classes C.": [lambda T, B, C: 1 / C, lambda T, B, C: B / C],
        "1 / B is missing.": [lambda T, B, C: B],
        "This is divided by B twice.": [lambda T, B, C: 1 / B],
    },
    "T^2 stands in front of the KL, and the chain rule through z / T divides by T once.": {
        "The factor T is missing.": [lambda T, B, C: 1 / T],
        "This is the gradient of the KL alone: T^2 is missing.": [lambda T, B, C: T**-2],
        "The factor is T^2: the chain rule through z / T is missing.": [lambda T, B, C: T],
    },
}
# Mistakes in the difference: [f(q, p, z, T), which stands in the place of q - p], p the targets, q = softmax(z / T).
DIFFERENCES = {
    "T divides the student's scores, as it divided those of the teachers.": {
        "The student's softmax is taken at T = 1.": [
            lambda q, p, z, T, k=k: (z.softmax(-1) - p) / T**k for k in (0, 1)
        ],
        "T multiplies the student's scores.": [lambda q, p, z, T: (z * T).softmax(-1) - p],
    },
    "Use the targets as they are.": {
        "The targets were made hard labels.": [lambda q, p, z, T: q - one_hot(p.argmax(-1), p.shape[-1])],
        "The targets go through a softmax once more.": [
            lambda q, p, z, T, f=f: q - f(p, T).softmax(-1)
            for f in (lambda p, T: p, lambda p, T: p / T, lambda p, T: p.log() / T)
        ],
    },
    "The gradient is a multiple of q - targets, with q = softmax(z_s / T).": {
        "These are log-probabilities of the student, and probabilities of the teachers.": [
            lambda q, p, z, T: q.log() - p
        ],
        "This is the difference of the logarithms.": [lambda q, p, z, T: q.log() - p.log()],
        "The softmax of the student is missing, and the targets are probabilities.": [
            lambda q, p, z, T, k=k: z / T**k - p for k in (1, 0)
        ],
        "The softmax runs over the rows (dim 0) instead of the classes.": [lambda q, p, z, T: (z / T).softmax(0) - p],
        "The targets do not appear.": [lambda q, p, z, T: q],
        "The student does not appear.": [lambda q, p, z, T: p, lambda q, p, z, T: -p],
        "-targets / q is the gradient for the student's probabilities: the logits come before the softmax.": [
            lambda q, p, z, T, k=k: k * p / q for k in (-1, 1)
        ],
        "The softmax's derivative is a factor here: it has cancelled with the logarithm of the KL.": [
            *(lambda q, p, z, T: q * (1 - q) * (q - p), _through_softmax),
        ],
        "This is the gradient of KL(softmax(z_s / T) || targets): F.kl_div takes the student first.": [_reversed],
        "These are the terms of the KL, not its gradient.": [lambda q, p, z, T: p * (p.log() - q.log())],
        "These are the terms of the cross-entropy, not its gradient.": [lambda q, p, z, T: -p * q.log()],
        "The difference is squared: that is a loss.": [lambda q, p, z, T: (q - p) ** 2],
        "The sign is lost: it says which way the logit must go.": [lambda q, p, z, T: (q - p).abs()],
        "The targets are added.": [lambda q, p, z, T: q + p],
    },
}


def _factor(f: Callable) -> Callable:
    return lambda z, p, T: f(T, *z.shape) * soft_gradient(z, p, T)


def _difference(f: Callable) -> Callable:
    return lambda z, p, T: T * f((z / T).softmax(-1), p, z, T) / len(z)


EXERCISE = Exercise(
    "distillation.soft_gradient",
    reference=soft_gradient,
    what="the gradient",
    atol=1e-5,
    explain=_explain,
    errors={
        "require grad": "For autograd the logits must ask for a gradient: z = student_logits.detach().clone()."
        "requires_grad_(). But the closed form needs no autograd.",
        "shapes": "The shapes do not line up: student_logits and targets are (B, C), and T is a number.",
    },
    cases=[
        case("one row, T = 1", scores(1, 6, seed=525), _made_at(1.0, 1, 6, seed=526), 1.0),
        case("five rows, T = 1", scores(5, 7, seed=521), _made_at(1.0, 5, 7, seed=522), 1.0),
        case("one row, T = 2", scores(1, 6, seed=530), _made_at(2.0, 1, 6, seed=531), 2.0),
        case("five rows, T = 3", scores(5, 7, seed=532), _made_at(3.0, 5, 7, seed=533), 3.0),
        case("as many rows as classes, T = 0.5", scores(4, 4, seed=523), _made_at(0.5, 4, 4, seed=524), 0.5),
        case(
            "a student that agrees with its teachers",
            scores(3, 5, seed=527),
            (scores(3, 5, seed=527) / 2).softmax(-1),
            2.0,
        ),
        case("targets of 0 and 1", scores(3, 5, seed=527), torch.eye(5)[:3], 1.0),
        case("T = 100", scores(4, 6, seed=528), (scores(4, 6, seed=529) / 100).softmax(-1), 100.0),
    ],
    mistakes=[
        *mistakes(FACTORS, _factor),
        *mistakes(DIFFERENCES, _difference),
        mistake(
            "You return a tuple: torch.autograd.grad gives one gradient for each input.",
            lambda z, p, T: (soft_gradient(z, p, T),),
            pointer="Take the first, [0].",
        ),
    ],
    hints=[
        "You know the gradient of the cross-entropy for the logits: probabilities minus targets. What changes if the "
        "logits are divided by T, and the loss is multiplied by T^2?",
        "With u = z / T the gradient for u is softmax(u) - targets. The chain rule gives 1 / T, the factor in front "
        "gives T^2, the mean over the rows gives 1 / B.",
        "T * ((student_logits / T).softmax(dim=-1) - targets) / len(student_logits)",
    ],
)
