"""Tests of 05_distillation: the loss of a student that learns from its teachers and from the labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from course_utils.distillation import ensemble_targets, kd_loss, soft_target_loss
from course_utils.exercises import distillation_loss_mistakes as wrong
from course_utils.exercises.diagnose import attempt
from course_utils.exercises.distillation_targets import scores
from course_utils.exercises.engine import Mistake, close
from course_utils.exercises.engine.calls import StudentError

CLASH = (
    "The shapes do not line up: student_logits is (B, C), teacher_logits (M, B, C), labels (B,). Average the teachers"
    " over dim=0 first, then both sides of the KL are (B, C)."
)
NAN = (
    "The loss is nan. Is there the logarithm of a negative number? F.kl_div(input, target) wants the student's"
    " LOG-probabilities first and the teachers' PROBABILITIES second (or log_target=True, if both are logarithms)."
)
SURE = (
    "The loss is {}: one of the teachers is very sure here (a score of 300), and one holds a class impossible (-inf). In"
    " the mean of their PROBABILITIES nothing is infinite: let softmax and log_softmax do the exponentials, and average"
    " before you take a logarithm."
)
DETACHED = (
    "The number is right, but no gradient reaches the student: with this loss it cannot learn. .detach() and"
    " torch.no_grad() belong to the teachers alone, and .item() to no loss."
)
SOFT_DETACHED = (
    "The number is right, but the soft part gives the student no gradient: detach the TEACHERS, not the student."
)
HARD_DETACHED = "The number is right, but the hard part gives the student no gradient: detach the TEACHERS only."
TEACHERS = (
    "The number is right, but a gradient flows into the teachers as well, so that they would learn from the student."
    " They are finished: teacher_logits.detach(), or compute the targets under torch.no_grad()."
)
SWAPPED_CALL = (
    "F.cross_entropy takes the scores first and the labels second: F.cross_entropy(student_logits, labels), with scores"
    " of shape (B, C) and whole numbers of shape (B,)."
)
LABEL_TROUBLE = ("log_softmax_lastdim", "target dtype", "batch_size", "multi-target", "out of bounds", "nll_loss")

Inputs = tuple[Tensor, Tensor, Tensor]  # the student's scores (B, C), the teachers' (M, B, C), labels (B,)


def _check(answer: Callable, s: Tensor, z: Tensor, labels: Tensor, T: float, alpha: float) -> None:
    got = _tried(answer, s, z, labels, T, alpha)
    right = kd_loss(s, z, labels, T, alpha).item()
    _shape(got, s, z)
    value = float(got) if isinstance(got, (int, float, Tensor)) and not isinstance(got, bool) else None
    if value is not None and not math.isclose(value, right, rel_tol=1e-4, abs_tol=1e-5):
        _wrong_value(answer, value, s.detach(), z.detach(), labels, T, alpha)
    close(got, right, what="the loss", atol=1e-5)


def _wrong_value(answer: Callable, value: float, s: Tensor, z: Tensor, labels: Tensor, T: float, alpha: float) -> None:
    """Raises Mistake: the hint for a known mistake, else where the loss comes from."""
    right = kd_loss(s, z, labels, T, alpha).item()
    if not math.isfinite(value) and not z.isfinite().all():
        raise Mistake(SURE.format(value))
    if not math.isfinite(value):
        raise Mistake(NAN if math.isnan(value) else f"The loss is {value}: is there the logarithm of 0?")
    hint = _named(answer, value, (s, z, labels), T, alpha)
    if hint:
        raise Mistake(f"{hint} (Yours is {value:.4g}, it should be {right:.4g}.)")
    soft = soft_target_loss(s, ensemble_targets(z, T), T).item()
    hard = cross_entropy(s, labels).item()
    if abs(right) < 1e-5:
        raise Mistake(f"The student agrees with the teachers and alpha = 1: the loss is 0, and yours is {value:.4g}.")
    raise Mistake(
        f"The loss is {value:.4g}, expected {right:.4g}. With T = {T:g} the soft part, T^2 KL(p_T || q_T), is {soft:.4g}"
        f" and the hard part, CE(labels, q_1), is {hard:.4g}; alpha = {alpha:g}, so {alpha:g} * {soft:.4g} +"
        f" {1 - alpha:.3g} * {hard:.4g}. Print your two parts and see which of them differs."
    )


def _named(answer: Callable, value: float, given: Inputs, T: float, alpha: float) -> str:
    """The hint of the known mistake that explains this loss, and that on other inputs of the same sizes; else ""."""
    other = task(*given[1].shape, seed=560)
    try:
        tasks = ((given, value), (other, float(answer(*other, T, alpha))))
    except (StudentError, Mistake, TypeError, ValueError):
        return ""
    by_mistake = zip(*(wrong.losses(s.double(), z.double(), labels, T, alpha) for (s, z, labels), _ in tasks))
    for losses in by_mistake:
        if all(math.isclose(mine, loss, rel_tol=3e-5, abs_tol=2e-6) for (_, mine), (_, loss) in zip(tasks, losses)):
            return losses[0][0]
    return ""


def _shape(got: Any, s: Tensor, z: Tensor) -> None:
    if not isinstance(got, Tensor) or got.numel() == 1:
        return
    rows, classes = s.shape
    told = {
        (rows,): "This is one loss for each row: return their mean.",
        (rows, classes): "These are the terms for each row and class: sum over the C classes, then mean over the rows.",
        (len(z),): "This is one loss for each teacher: average the PROBABILITIES of the teachers first, then one loss.",
        (len(z), rows): "This is one loss for each teacher and row: average the probabilities of the teachers first.",
        tuple(z.shape): "Average the teachers' probabilities first; sum over the classes, then mean over the rows.",
    }
    hint = told.get(tuple(got.shape), "Sum over the classes, then take the mean over the rows.")
    raise Mistake(f"The loss must be ONE number, and yours has shape {tuple(got.shape)}. {hint}")


def _tried(answer: Callable, *args: Any) -> Any:
    try:
        return attempt(answer, *args, clash=CLASH)
    except StudentError as wrapped:
        said, error = str(wrapped.error).split("\n")[0], wrapped.error
        if isinstance(error, (RuntimeError, IndexError, ValueError)) and any(word in said for word in LABEL_TROUBLE):
            raise Mistake(f"{SWAPPED_CALL} (torch said: {said})") from None
        if isinstance(error, TypeError) and "must be Tensor, not float" in said:
            raise Mistake(f"T and alpha are plain numbers: use them as they are. (torch said: {said})") from None
        raise


def task(m: int, rows: int, classes: int, seed: int) -> Inputs:
    """A student's scores (B, C), its teachers' (M, B, C), labels (B,) that the teachers do not always meet."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (rows,), generator=generator)
    return scores(rows, classes, seed=seed + 1), scores(m, rows, classes, seed=seed + 2), labels


def loss_random(answer: Callable) -> None:
    """three teachers, five rows, seven classes, T = 4, alpha = 0.7"""
    _check(answer, *task(3, 5, 7, seed=508), 4.0, 0.7)


def loss_ends(answer: Callable) -> None:
    """alpha = 0 is the cross-entropy alone, alpha = 1 the soft part alone, which is 0 for a perfect student"""
    s, z, labels = task(3, 4, 6, seed=543)
    _check(answer, s, z, labels, 4.0, 0.0)
    _check(answer, s, z, labels, 4.0, 1.0)
    _check(answer, z[0], z[:1], labels, 4.0, 1.0)


def loss_one_teacher(answer: Callable) -> None:
    """one teacher, as many rows as classes, T = 1; three teachers, three rows, three classes, T = 0.5"""
    _check(answer, *task(1, 4, 4, seed=546), 1.0, 0.7)
    _check(answer, *task(3, 3, 3, seed=549), 0.5, 0.4)


def loss_gradient(answer: Callable) -> None:
    """T = 1 and T = 4: both parts have their gradient for the student, and none reaches the teachers"""
    for T in (1.0, 4.0):
        s, z, labels = task(3, 4, 6, seed=552)
        for logits in (s, z):
            logits.requires_grad_()
        _check(answer, s, z, labels, T, 0.7)
        got = answer(s, z, labels, T, 0.7)
        if not isinstance(got, Tensor):
            continue  # a plain number: right, though nothing can learn from it
        if not got.requires_grad:
            raise Mistake(DETACHED)
        mine, teachers = torch.autograd.grad(got.sum(), [s, z], allow_unused=True)
        if teachers is not None and teachers.abs().max() > 1e-7:
            raise Mistake(TEACHERS)
        _gradient(torch.zeros_like(s) if mine is None else mine, s, z, labels, T)


def _gradient(mine: Tensor, s: Tensor, z: Tensor, labels: Tensor, T: float) -> None:
    soft = 0.7 * torch.autograd.grad(soft_target_loss(s, ensemble_targets(z, T), T), s)[0]
    hard = 0.3 * torch.autograd.grad(cross_entropy(s, labels), s)[0]
    for hint, value in ((DETACHED, 0 * soft), (SOFT_DETACHED, hard), (HARD_DETACHED, soft)):
        if torch.allclose(mine, value, atol=1e-5):
            raise Mistake(hint)
    close(mine, soft + hard, what="the gradient of the loss for the student's logits", atol=1e-5)


def loss_sure(answer: Callable) -> None:
    """a teacher that is very sure (a score of 300), and one that holds a class impossible (-inf)"""
    s, z, labels = task(3, 3, 5, seed=555)
    z[0, 0, 1], z[1, 2, 3] = 300.0, -torch.inf
    _check(answer, s, z, labels, 2.0, 0.7)
