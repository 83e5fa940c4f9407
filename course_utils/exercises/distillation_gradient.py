"""Tests of 05_distillation: the gradient of the soft loss in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from course_utils.exercises.diagnose import attempt
from course_utils.exercises.distillation_targets import scores
from course_utils.exercises.engine import Mistake, close
from course_utils.exercises.engine.calls import StudentError


def soft_gradient(student_logits: Tensor, targets: Tensor, T: float) -> Tensor:
    """T (softmax(z_s / T) - targets) / B: the gradient of T^2 KL(targets || softmax(z_s / T)), mean over the B rows.

    student_logits (B, C); targets (B, C): probabilities made at the temperature T. Returns (B, C); each row sums to 0.
    The chain rule through z / T gives 1/T, T^2 makes it T, and for a large T the difference shrinks like 1/T: so the
    size of the gradient hardly depends on T. Source: Hinton, Vinyals & Dean (2015), section 2, equations 2 to 4.
    """
    return T * ((student_logits / T).softmax(dim=-1) - targets) / student_logits.shape[0]


RIGHT = (
    "The gradient is the difference q - targets, q = softmax(z_s / T), times what is left of T^2, of the chain rule"
    " through z_s / T, and of the mean over the rows."
)
SIGN = (
    "The sign is the wrong way round: targets - q is the direction in which the student should MOVE, and a gradient"
    " points uphill. Take q - targets."
)
NO_T = (
    "The factor T is missing: T^2 stands in front of the KL, the chain rule through z / T gives 1 / T, and T remains."
)
NO_T2 = (
    "This is the gradient of the KL alone, (q - targets) / (T B): T^2 is missing. Together with the 1 / T of the chain"
    " rule it leaves the factor T."
)
T_SQUARED = "The factor is T^2: the chain rule through z / T divides by T once, so that T remains."
NO_MEAN = "1 / B is missing: the loss is the mean over the B rows, so each row's gradient is divided by B."
CLASSES = (
    "You divided by C as well: the loss sums over the C classes, and the mean is over the B rows alone. .mean() of all"
    " entries divides by B C."
)
ONLY_CLASSES = "You divided by the number of classes: divide by the number of ROWS, len(student_logits)."
ROWS_TWICE = "You divided by B twice: once is enough."
AT_ONE = "The student's softmax is taken at T = 1: its scores are divided by T, as those of the teachers were."
MULTIPLIED = "T multiplies the student's scores: divide, softmax(z_s / T)."
LOGS = (
    "You took log-probabilities of the student: the gradient holds the probabilities themselves, softmax(z_s / T)."
    " The logarithm of the KL is gone after differentiating."
)
LOG_RATIO = (
    "You took the difference of the logarithms: the gradient is the difference of the PROBABILITIES, q - targets."
)
NO_SOFTMAX = "The softmax of the student is missing: the targets are probabilities, compare them with softmax(z_s / T)."
OVER_ROWS = "The softmax runs over the rows (dim 0): it runs over the C classes, dim=-1."
HARD = "The targets were made hard labels by argmax: use the probabilities as they are."
AGAIN = "The targets are softened once more: they were made at the temperature T already, use them as they are."
ALONE = "The targets do not appear: subtract them, q - targets. At a perfect student the gradient is 0."
NEGATIVE = "The student does not appear: the gradient is q - targets, and 0 at a perfect student."
WITH_RESPECT_TO_Q = (
    "-targets / q is the gradient with respect to the student's PROBABILITIES. The logits come before the softmax, and"
    " the chain rule through it leaves q - targets."
)
CHAIN_TWICE = (
    "You multiplied by the softmax's derivative, q (1 - q) or q: in q - targets it is contained already. The logarithm"
    " of the KL has cancelled it."
)
REVERSED = (
    "This is the gradient of KL(softmax(z_s / T) || targets): the two are swapped. In F.kl_div the input is the"
    " student's LOG-probabilities, and the second argument the targets."
)
SQUARED = "You squared the difference: that is a loss. The gradient is the plain difference q - targets."
ABSOLUTE = "You took the absolute value of the difference: the sign says in which direction the logit must go."
ADDED = "You ADD the targets: subtract them, q - targets."
NO_GRAD = (
    "For autograd the logits must ask for a gradient: z = student_logits.detach().clone().requires_grad_(), then"
    " torch.autograd.grad(loss, z)[0]. But the closed form needs no autograd."
)
CLASH = "The shapes do not line up: student_logits and targets are (B, C), and T is a number."
ONE = "This is one number. The gradient has one for each logit, (B, C): how the loss changes if that logit grows."
# How often T, B and C are a factor too many, and what to say of it.
FACTORS = {
    (-1, 0, 0): NO_T,
    (-2, 0, 0): NO_T2,
    (1, 0, 0): T_SQUARED,
    (0, 1, 0): NO_MEAN,
    (0, 0, -1): CLASSES,
    (0, 1, -1): ONLY_CLASSES,
    (0, -1, 0): ROWS_TWICE,
}


def directions(z: Tensor, p: Tensor, T: float) -> list[tuple[str, Tensor]]:
    """What misconceptions have in the place of q - targets (B, C)."""
    q, logs = (z / T).softmax(-1), (z / T).log_softmax(-1)
    ratio = logs - p.log()
    return [
        (AT_ONE, z.softmax(-1) - p),
        (MULTIPLIED, (z * T).softmax(-1) - p),
        (LOGS, logs - p),
        (LOGS, z.log_softmax(-1) - p),
        (LOG_RATIO, ratio),
        (NO_SOFTMAX, z / T - p),
        (NO_SOFTMAX, z - p),
        (NO_SOFTMAX, z - T * p),
        (OVER_ROWS, (z / T).softmax(0) - p),
        (HARD, q - one_hot(p.argmax(-1), p.shape[-1])),
        (HARD, z.softmax(-1) - one_hot(p.argmax(-1), p.shape[-1])),
        (AGAIN, q - (p / T).softmax(-1)),
        (AGAIN, q - p.softmax(-1)),
        (AGAIN, q - (p.log() / T).softmax(-1)),
        (ALONE, q),
        (NEGATIVE, p),
        (WITH_RESPECT_TO_Q, p / q),
        (CHAIN_TWICE, q * (1 - q) * (q - p)),
        (CHAIN_TWICE, q * (q - p)),
        (CHAIN_TWICE, q * (q - p) - q * (q * (q - p)).sum(-1, keepdim=True)),
        (REVERSED, q * (ratio - (q * ratio).sum(-1, keepdim=True))),
        ("The targets stand in front of the difference, as a factor. " + RIGHT, p * (q - p)),
        ("These are the terms of the KL, not its gradient. " + RIGHT, p * ratio),
        ("These are the terms of the cross-entropy, not its gradient. " + RIGHT, p * logs),
        (SQUARED, (q - p) ** 2),
        (ABSOLUTE, (q - p).abs()),
        (ADDED, q + p),
        ("You divide the one by the other: subtract, q - targets.", q / p),
    ]


def _check(answer: Callable, z: Tensor, p: Tensor, T: float) -> None:
    got, expected = _tried(answer, z, p, T), soft_gradient(z, p, T)
    if isinstance(got, (tuple, list)) and len(got) == 1 and isinstance(got[0], Tensor):
        raise Mistake("You return a tuple: torch.autograd.grad gives one gradient for each input, take [0].")
    if isinstance(got, (int, float)) or (isinstance(got, Tensor) and got.numel() == 1 < expected.numel()):
        raise Mistake(ONE)
    if not isinstance(got, Tensor) or got.shape != expected.shape or not got.is_floating_point() or got.isnan().any():
        try:
            close(got, expected, what="the gradient")
        except Mistake as mistake:
            raise Mistake(f"{mistake} {RIGHT}") from None
    mine, right = got.detach().double(), expected.double()
    if torch.allclose(mine, right, atol=1e-6, rtol=1e-3):
        return
    raise Mistake(_explained(mine, right, z.double(), p.double(), T))


def _explained(mine: Tensor, right: Tensor, z: Tensor, p: Tensor, T: float) -> str:
    rows, classes = z.shape
    if right.abs().max() < 1e-6:
        return f"The student is perfect here, q = targets, and the gradient must be 0: yours is {mine.abs().max():.3g}."
    factor = _ratio(mine, right)
    if factor is not None:
        return _of_factor(factor, T, rows, classes) or f"{RIGHT} Yours is {factor:.4g} times that."
    for hint, direction in directions(z, p, T):
        factor = _ratio(mine, direction)
        if factor is not None:
            also = _of_factor(abs(factor) * rows / T, T, rows, classes)
            return f"{hint} And: {also}" if also else hint
    place = int((mine - right).abs().argmax())
    row, column = divmod(place, classes)
    total = mine.sum(-1)[row].item()
    summed = f" Its row sums to {total:.3g}, and must sum to 0." if abs(total) > 1e-4 else ""
    return (
        f"The gradient is {mine[row, column].item() + 0.0:.4g} at index [{row}, {column}], expected"
        f" {right[row, column].item():.4g}: there the student has q = {(z[row] / T).softmax(-1)[column].item():.3g} and"
        f" the target is {p[row, column].item():.3g}.{summed} {RIGHT}"
    )


def _ratio(a: Tensor, b: Tensor) -> float | None:
    """The k with a = k b, None if there is none (or if k is 0)."""
    if not b.isfinite().all() or not a.isfinite().all() or not b.square().sum() > 0:
        return None
    k = ((a * b).sum() / b.square().sum()).item()
    return k if (a - k * b).abs().max() < 1e-3 * a.abs().max() else None


def _of_factor(factor: float, T: float, rows: int, classes: int) -> str:
    """A factor in words, as few powers of T, B and C as do; "" for the factor 1 or one that cannot be named."""
    sign = SIGN if factor < 0 else ""
    powers = sorted(product(range(-3, 4), (-1, 0, 1), (-1, 0, 1)), key=lambda k: sum(map(abs, k)))
    for t, b, c in powers:
        if not math.isclose(abs(factor), T**t * rows**b * classes**c, rel_tol=1e-3):
            continue
        parts = [FACTORS[t, b, c]] if (t, b, c) in FACTORS else [FACTORS.get((t, 0, 0), ""), FACTORS.get((0, b, c), "")]
        hint = " And: ".join(filter(None, [sign, *parts]))
        return hint if hint or (t, b, c) == (0, 0, 0) else f"{RIGHT} Yours is {factor:.4g} times that."
    return f"{sign} And yours is {abs(factor):.4g} times too large. {RIGHT}" if sign else ""


def _tried(answer: Callable, *args: Any) -> Any:
    try:
        return attempt(answer, *args, clash=CLASH)
    except StudentError as wrapped:
        said = str(wrapped.error).split("\n")[0]
        if isinstance(wrapped.error, RuntimeError) and "require grad" in said:
            raise Mistake(f"{NO_GRAD} (torch said: {said})") from None
        raise
    except Mistake as mistake:
        if "returns nothing" in str(mistake):
            raise Mistake(f"{mistake} (If you meant z.grad: {NO_GRAD})") from None
        raise


def made_at(T: float, *shape: int, seed: int) -> Tensor:
    """Targets of three teachers at the temperature T."""
    return (scores(3, *shape, seed=seed) / T).softmax(-1).mean(0)


def gradient_random(answer: Callable) -> None:
    """five rows, seven classes, T = 3 (q is the student's softmax(z_s / T))"""
    _check(answer, scores(5, 7, seed=521), made_at(3.0, 5, 7, seed=522), 3.0)


def gradient_square(answer: Callable) -> None:
    """as many rows as classes, T = 0.5; and a single row, T = 2"""
    _check(answer, scores(4, 4, seed=523), made_at(0.5, 4, 4, seed=524), 0.5)
    _check(answer, scores(1, 6, seed=525), made_at(2.0, 1, 6, seed=526), 2.0)


def gradient_perfect(answer: Callable) -> None:
    """a student that agrees with its teachers gets no gradient; a target of 0 is no trouble"""
    z = scores(3, 5, seed=527)
    _check(answer, z, (z / 2).softmax(-1), 2.0)
    _check(answer, z, torch.eye(5)[:3], 1.0)


def gradient_hot(answer: Callable) -> None:
    """T = 100: the gradient is still there, nearly (z_s - z_t) / (B C) if both have the mean 0, as in Hinton's eq. 4"""
    z = scores(4, 6, seed=528)
    _check(answer, z, (scores(4, 6, seed=529) / 100).softmax(-1), 100.0)
