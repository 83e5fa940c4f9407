"""Tests of 05_distillation: what the teachers think together, softened first and averaged then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from course_utils.distillation import ensemble_targets
from course_utils.exercises.diagnose import attempt, judge
from course_utils.exercises.engine import Mistake
from course_utils.exercises.engine.calls import StudentError

Known = list[tuple[str, Tensor]]

ORDER = "Soften each teacher first, softmax(z / T) over the classes, and average these probabilities then."
GEOMETRIC = (
    "You averaged the logits and took the softmax then: that is the geometric mean of the teachers (a log-linear"
    f" ensemble), in which one teacher that is sure of its no decides for all. {ORDER}"
)
LOGARITHMS = (
    "You averaged LOGARITHMS: the mean of log-probabilities belongs to the geometric mean of the teachers, in which one"
    f" teacher that is sure of its no decides for all. {ORDER}"
)
AFTERWARDS = (
    "You averaged at T = 1 and softened the mean afterwards, p^(1/T). The order matters, for the two give different"
    f" numbers. {ORDER}"
)
MULTIPLIED = (
    "T multiplies the scores, so a large T makes the teachers sharper. It divides them: softmax(z / T). A large T then"
    " makes small chances visible."
)
IGNORED = (
    "T is ignored: these are the probabilities at T = 1. Divide the scores by T before the softmax. (Subtracting T, or"
    " multiplying the finished probabilities by it, does not soften either.)"
)
SHARPER = "T enters with another power: divide the scores by T itself, neither by its square nor by its root."
SCALED = "You divided the probabilities by T. T belongs inside: divide the SCORES by T, before the softmax."
OVER_MEMBERS = (
    "The softmax runs over the teachers (dim 0), so that they compete with each other. Each teacher has its own softmax"
    " over the C classes: dim=-1."
)
OVER_ROWS = (
    "The softmax runs over the B rows (dim 1), so that the examples compete with each other. It runs over the C"
    " classes: dim=-1."
)
MEAN_ROWS = "You averaged over the B rows: average over the teachers, which are the FIRST dimension, .mean(dim=0)."
MEAN_CLASSES = (
    "You averaged over the C classes: average over the teachers, which are the FIRST dimension, .mean(dim=0)."
)
TWICE = (
    "The softmax is taken twice: the second one gets probabilities, which lie close together, and makes them nearly"
    " uniform. Once is enough, on z / T, and the mean of probabilities needs no softmax any more."
)
NO_SOFTMAX = "There is no softmax: a mean of scores is no distribution. Take softmax(z / T, dim=-1) of each teacher."
FIRST = "This is the first teacher alone: average over all M of them, .mean(dim=0)."
LAST = "This is the last teacher alone: average over all M of them, .mean(dim=0)."
MAXIMUM = (
    "You took the largest of the teachers' probabilities: take their mean, .mean(dim=0), so that each teacher has a"
    " say and the sum stays 1."
)
MEDIAN = "You took the median of the teachers: take their mean, .mean(dim=0), whose sum is 1."
PRODUCT = f"You multiplied the teachers' probabilities: that is a product of experts, not a mean. {ORDER}"
VOTES = (
    "You counted votes: each teacher gives its best class only. How sure it is, and what it thinks of the other"
    " classes, gets lost, and that is what the student is to learn. Average the whole distributions."
)
HARD = (
    "This is a hard label, 1 for the best class and 0 for all others: what the teachers think of the other classes is"
    " lost. Return the averaged probabilities themselves."
)
SIGMOID = "You took the sigmoid of each score: the classes exclude each other, take softmax(z / T, dim=-1)."
UNIFORM = "Every class gets the same probability: the scores have no effect. Take softmax(z / T, dim=-1) of each one."
TOTAL = (
    "Right up to the scale. A mean over the teachers divides their sum by M, .mean(dim=0) and not .sum(dim=0); nothing"
    " else is divided or multiplied (T divides the SCORES, and T^2 belongs to the loss)."
)
NAN = (
    "exp() of a large score is inf, and inf / inf is nan: .softmax(dim=-1) takes the largest score away first. A score"
    " of -inf is a probability of 0, which a mean of probabilities can hold, and a mean of logarithms cannot."
)
GRADIENT = (
    "The numbers are right, but a gradient would flow back into the teachers: the result has requires_grad. They are"
    " finished, only the student learns. Use teacher_logits.detach(), or compute under torch.no_grad()."
)
CLASH = (
    "The shapes do not line up: teacher_logits is (M, B, C). Softmax over the last dimension, dim=-1, keeps the shape,"
    " and the mean over the first one, dim=0, leaves (B, C)."
)


def mistakes(z: Tensor, T: float) -> Known:
    """What misconceptions compute of the scores z (M, B, C); each has the shape that it has."""
    m, classes = z.shape[0], z.shape[-1]
    soft, plain, together = (z / T).softmax(-1), z.softmax(-1), (z / T).softmax(-1).mean(0)
    tempered = plain.mean(0) ** (1 / T)
    votes = one_hot(z.argmax(-1), classes).double().mean(0)
    known = [
        (GEOMETRIC, (z.mean(0) / T).softmax(-1)),
        (f"{GEOMETRIC} And you added the logits up, which makes the result sharper still.", (z.sum(0) / T).softmax(-1)),
        (f"{GEOMETRIC} And T: {MULTIPLIED}", (z.mean(0) * T).softmax(-1)),
        (f"{GEOMETRIC} And {IGNORED}", z.mean(0).softmax(-1)),
        (LOGARITHMS, (z / T).log_softmax(-1).mean(0)),
        (LOGARITHMS, (z / T).log_softmax(-1).mean(0).exp()),
        (LOGARITHMS, z.log_softmax(-1).mean(0) / T),
        (AFTERWARDS, tempered),
        (AFTERWARDS.replace("p^(1/T)", "p^T, which even sharpens"), plain.mean(0) ** T),
        (TWICE, (plain.mean(0) / T).softmax(-1)),
        (MULTIPLIED, (z * T).softmax(-1).mean(0)),
        (SCALED, plain.mean(0) / T),
        (IGNORED, plain.mean(0)),
        (SHARPER, (z / T**2).softmax(-1).mean(0)),
        (SHARPER, (z / T**0.5).softmax(-1).mean(0)),
        (OVER_MEMBERS, (z / T).softmax(0).mean(0)),
        (OVER_ROWS, (z / T).softmax(1).mean(0)),
        (MEAN_ROWS, soft.mean(1)),
        (MEAN_CLASSES, soft.mean(-1)),
        (TWICE, soft.softmax(-1).mean(0)),
        (TWICE, (soft / T).softmax(-1).mean(0)),
        (TWICE, (plain / T).softmax(-1).mean(0)),
        (TWICE, together.softmax(-1)),
        (TWICE, (together / T).softmax(-1)),
        (NO_SOFTMAX, z.mean(0) / T),
        (NO_SOFTMAX, z.mean(0)),
        (NO_SOFTMAX, z.sum(0) / T),
        (MAXIMUM, soft.amax(0)),
        (MEDIAN, soft.median(0).values),
        (PRODUCT, soft.prod(0)),
        (VOTES, votes),
        (HARD, one_hot(together.argmax(-1), classes).double()),
        (HARD, one_hot(votes.argmax(-1), classes).double()),
        (SIGMOID, (z / T).sigmoid().mean(0)),
        (UNIFORM, torch.full_like(z[0], 1 / classes)),
    ]
    singles = [(FIRST, soft[0]), (LAST, soft[-1]), (FIRST, plain[0]), (LAST, plain[-1])]
    return known + (singles if m > 1 else [])


def _check(answer: Callable, z: Tensor, T: float) -> None:
    got, expected = _tried(answer, z, T), ensemble_targets(z, T)
    _shape(got, z)
    known = [(hint, value) for hint, value in mistakes(z.detach().double(), T) if value.shape == expected.shape]
    judge(got, expected, log=False, dim=-1, sizes={}, known=known, nan=NAN, unnormalised=TOTAL, what="your result")
    if got.requires_grad:
        raise Mistake(GRADIENT)


def _tried(answer: Callable, *args: Any) -> Any:
    try:
        return attempt(answer, *args, clash=CLASH)
    except StudentError as wrapped:
        said = str(wrapped.error).split("\n")[0]
        if isinstance(wrapped.error, TypeError) and "must be Tensor, not float" in said:
            raise Mistake(f"T is a plain number: use it as it is, z / T. (torch said: {said})") from None
        if "requires grad" in said and "numpy" in said:
            raise Mistake(
                f"{GRADIENT.split(': ', 1)[1]} Stay in torch, or detach first. (torch said: {said})"
            ) from None
        raise


def _shape(got: Any, z: Tensor) -> None:
    """Shapes of what is asked with a sum or a mean too few, too many or elsewhere. Raises Mistake."""
    m, rows, classes = z.shape
    if not isinstance(got, Tensor) or got.shape == (rows, classes):
        return
    said = f" (Your result has shape {tuple(got.shape)}, it should be (B, C) = {(rows, classes)}.)"
    told = {
        (m, rows, classes): "You did not average: these are M distributions for each row, take their .mean(dim=0).",
        (1, rows, classes): "A dimension of size 1 is left over: .mean(dim=0) without keepdim.",
        (m, classes): MEAN_ROWS,
        (m, rows): MEAN_CLASSES,
        (classes,): "You averaged over the rows as well: keep them, and average over the teachers alone, .mean(dim=0).",
        (rows,): "Each row has ONE number: keep the C classes, and average over the teachers alone, .mean(dim=0).",
        (): "This is one number: each row keeps its C probabilities. Average over the teachers alone, .mean(dim=0).",
    }
    raise Mistake(told.get(tuple(got.shape), CLASH) + said)


def scores(*shape: int, seed: int, spread: float = 2.0) -> Tensor:
    """Random logits."""
    return spread * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def targets_random(answer: Callable) -> None:
    """three teachers, four rows, six classes, T = 2.5: softened first, then averaged; each row sums to 1"""
    _check(answer, scores(3, 4, 6, seed=502), 2.5)


def targets_square(answer: Callable) -> None:
    """as many teachers as rows and classes, T = 4; and T = 0.5, which sharpens"""
    _check(answer, scores(4, 4, 4, seed=503), 4.0)
    _check(answer, scores(4, 4, 4, seed=503), 0.5)


def targets_one(answer: Callable) -> None:
    """one teacher alone; two teachers that contradict each other, T = 1"""
    _check(answer, scores(1, 3, 5, seed=504), 3.0)
    z = scores(1, 3, 5, seed=505)
    _check(answer, torch.cat([z, -z]), 1.0)


def targets_sure(answer: Callable) -> None:
    """a teacher that is very sure (a score of 300), and classes that a teacher holds impossible (-inf)"""
    z = scores(3, 2, 4, seed=506)
    z[0, 0, 1], z[1, 0, 2], z[:, 1, 3] = 300.0, -torch.inf, -torch.inf
    _check(answer, z, 2.0)


def targets_detached(answer: Callable) -> None:
    """no gradient flows back into the teachers"""
    _check(answer, scores(2, 3, 4, seed=507).requires_grad_(), 2.0)
