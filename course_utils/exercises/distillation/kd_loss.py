"""The loss of a student that learns from its teachers and from the labels: the first cases try its parts one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, mse_loss, nll_loss

from course_utils.distillation import ensemble_targets, kd_loss
from course_utils.exercises.distillation import scores
from course_utils.exercises.engine import Exercise, case, gradient_for, mistake

DETACH = ".detach() and torch.no_grad() belong to the teachers alone, and .item() to no loss."
ROWS = "The KL is sum p (log p - log q) over the classes, then the mean over the rows (in F.kl_div: batchmean)."
NO_GRADIENT = f"The number is right, but no gradient reaches the student. {DETACH}"


def _task(m: int, rows: int, classes: int, seed: int, grad: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """A student's scores (B, C), its teachers' (M, B, C), labels (B,) that the teachers do not always meet."""
    labels = torch.randint(classes, (rows,), generator=torch.Generator().manual_seed(seed))
    student, teachers = scores(rows, classes, seed=seed + 1), scores(m, rows, classes, seed=seed + 2)
    return student.requires_grad_(grad), teachers.requires_grad_(grad), labels


ONE, THREE, SURE, VETO = _task(1, 5, 7, 540), _task(3, 5, 7, 508), _task(3, 3, 5, 555), _task(1, 3, 5, 556)
SURE[1][0, 0, 1], SURE[0][1, 2], VETO[1][0, 2, 3] = 300.0, 300.0, -torch.inf


def _scalar(loss: Any, *_: Any) -> Any:
    return loss.reshape(()) if isinstance(loss, Tensor) and loss.numel() == 1 else loss


_case = partial(case, view=_scalar)
_kl = partial(kl_div, reduction="batchmean")

# --- mistakes in one part: {what to do: {what was done: ways to compute it from x, see _with}} -------------------
SOFT = {
    DETACH: {
        "The soft part gives the student no gradient.": [lambda x: _kl(x.logq.detach(), x.p)],
        "A gradient flows into the teachers.": [lambda x: _kl(x.logq, (x.z / x.T).softmax(-1).mean(0))],
    },
    "F.kl_div wants the student's log-probabilities first and the teachers' probabilities second.": {
        "The KL is the wrong way round: this is KL(q || p).": [lambda x: _kl(x.p.log(), x.q)],
        "F.kl_div got the student's probabilities.": [lambda x: _kl(x.q, x.p)],
        "F.kl_div got two probabilities, the teachers' first.": [lambda x: _kl(x.p, x.q)],
        "F.kl_div got the student's logits.": [lambda x: _kl(x.s / x.T, x.p)],
        "log_target=True says that the targets are logarithms.": [lambda x: (x.p.exp() * (x.p - x.logq)).sum() / 5],
    },
    ROWS: {
        "This is the cross-entropy, which has the KL's gradient, but is not 0 for a perfect student.": [
            lambda x, k=k: -(x.p * x.logq).sum() / k for k in (5, 35, 1)
        ],
        "The sign of the KL is wrong: it is never below 0.": [lambda x: -_kl(x.logq, x.p)],
        "The soft part is divided by B C, as by a mean of all.": [lambda x: kl_div(x.logq, x.p)],
        "The soft part is summed over the rows.": [lambda x: len(x.s) * _kl(x.logq, x.p)],
        "This is a squared error, which the KL comes near to at a very large T only.": [
            *(lambda x, k=k: k * mse_loss(x.s, x.z.mean(0)) for k in (1, 7, 0.5)),
            *(lambda x, k=k: k * mse_loss(x.q, x.p) for k in (1, 7, 0.5)),
        ],
        "No dark knowledge: only the best class counts.": [lambda x: -x.logq.gather(1, x.p.argmax(-1, True)).mean()],
        "A softmax of the soft part does not run over the classes, the last dimension.": [
            lambda x: _kl((x.s / x.T).log_softmax(0), x.p),
            *(lambda x, k=k: _kl(x.logq, (x.z / x.T).softmax(k).mean(0)) for k in (0, 1)),
        ],
        "The softmax is taken twice somewhere in the soft part: log_softmax wants the scores.": [
            lambda x: _kl(x.logq, x.p.softmax(-1)),
            lambda x: _kl(x.q.log_softmax(-1), x.p),
        ],
    },
    "The gradient of the soft part shrinks like 1/T^2, and the factor T^2 in front of the KL makes up for it.": {
        "T^2 is missing in front of the KL.": [lambda x: _kl(x.logq, x.p) / x.T**2],
        "The factor in front is another power of T.": [lambda x, k=k: _kl(x.logq, x.p) / x.T**k for k in (1, 3, 4)],
    },
    "Both sides of the KL are taken at the same T, which divides the scores.": {
        "The student is not softened.": [lambda x: _kl(x.s.log_softmax(-1), x.p)],
        "The teachers are not softened.": [lambda x: _kl(x.logq, x.plain)],
        "Nothing is softened.": [lambda x, k=k: _kl(x.s.log_softmax(-1), x.plain) / x.T**k for k in (0, 2)],
        "T multiplies the scores in the KL.": [
            lambda x, k=k: _kl((x.s * x.T).log_softmax(-1), (x.z * x.T**k).softmax(-1).mean(0)) for k in (1, -1)
        ],
    },
    "Soften each teacher, average their probabilities, then take one KL.": {
        "You added up the teachers' probabilities.": [lambda x: _kl(x.logq, x.p * len(x.z))],
        "You averaged the teachers first and softened their mean: the order matters.": [
            lambda x: _kl(x.logq, (x.z.mean(0) / x.T).softmax(-1)),
            lambda x: _kl(x.logq, (x.plain.log() / x.T).softmax(-1)),
        ],
        "You took the KL of each teacher: agreeing with the ensemble does not give 0.": [
            lambda x, k=k: sum(_kl(x.logq, p) for p in x.each) / len(x.z) ** k for k in (1, 0)
        ],
        "Only one of the teachers is used.": [lambda x, k=k: _kl(x.logq, x.each[k]) for k in (0, -1)],
    },
}
NUMBERS = {
    "F.kl_div takes log q and p, and knows that 0 log 0 is 0; log_softmax and softmax know what to do with 300.": {
        "F.kl_div got the teachers' logarithms.": [lambda x: _kl(x.logq, x.p.log())],
        "The student's probability is 0 in the computer, and its logarithm -inf.": [lambda x: _kl(x.q.log(), x.p)],
        "0 * log 0 is nan in the computer.": [
            lambda x: (x.p * (x.p.log() - x.logq)).sum(-1).mean(),
            lambda x: (x.p * (x.p / x.q).log()).sum(-1).mean(),
        ],
        "exp() of a large score is inf.": [
            lambda x: _kl(x.logq, ((e := (x.z.detach() / x.T).exp()) / e.sum(-1, keepdim=True)).mean(0))
        ],
    }
}
HARD = {
    DETACH: {"The hard part gives the student no gradient.": [lambda x: cross_entropy(x.s.detach(), x.labels)]},
    "The hard part compares the student at T = 1 with the labels, and has no factor but its weight.": {
        "The hard part is taken at the temperature T.": [
            lambda x, k=k: cross_entropy(x.s / x.T, x.labels) * x.T**k for k in (0, 2)
        ],
        "T^2 stands in front of the hard part too.": [lambda x: cross_entropy(x.s, x.labels) * x.T**2],
        "The hard part uses the teachers instead of the labels.": [
            lambda x: cross_entropy(x.s, x.z.mean(0).argmax(-1)),
            lambda x: cross_entropy(x.s, x.p.argmax(-1)),
        ],
        "The hard part measures the teachers.": [lambda x: cross_entropy(x.z.mean(0), x.labels)],
        "The hard part is summed over the rows.": [lambda x: len(x.s) * cross_entropy(x.s, x.labels)],
        "F.cross_entropy got probabilities: it wants scores.": [lambda x: cross_entropy(x.s.softmax(-1), x.labels)],
        "F.nll_loss got probabilities, not their logarithms.": [lambda x: nll_loss(x.s.softmax(-1), x.labels)],
        "The sign of the hard part is wrong: it is never below 0.": [lambda x: -cross_entropy(x.s, x.labels)],
    },
}
WEIGHTS = {
    "alpha is the share of the teachers (the soft part), 1 - alpha that of the labels (the hard part).": {
        "alpha and 1 - alpha are swapped.": [lambda a, T: (1 - a, a), lambda a, T: ((1 - a) / T**2, a)],
        "alpha weighs the soft part only.": [lambda a, T: (a, 1), lambda a, T: (a / T**2, 1)],
        "Only the hard part is weighted.": [lambda a, T: (1, 1 - a)],
        "alpha is ignored.": [lambda a, T: (1, 1), lambda a, T: (1 / T**2, 1)],
        "Both parts have the same weight.": [lambda a, T: (a, a), lambda a, T: (1 - a, 1 - a)],
        "Half and half, whatever alpha is.": [lambda a, T: (0.5, 0.5)],
        "The hard part is missing.": [lambda a, T: (a, 0), lambda a, T: (1, 0)],
        "The soft part is missing.": [lambda a, T: (0, 1 - a), lambda a, T: (0, 1)],
    }
}


def _mistakes(part: str, groups: dict[str, dict[str, list[Callable]]], anywhere: bool = True) -> Iterator:
    for pointer, group in groups.items():
        for says, ways in group.items():
            yield mistake(says, *(_with(part, way) for way in ways), pointer=pointer, anywhere=anywhere)


def _with(part: str, way: Callable) -> Callable:
    def answer(s: Tensor, z: Tensor, labels: Tensor, T: float, alpha: float) -> Tensor:
        p, each, plain = ensemble_targets(z, T), (z.detach() / T).softmax(-1), ensemble_targets(z, 1)
        logq = (s / T).log_softmax(-1)
        x = SimpleNamespace(s=s, z=z, labels=labels, T=T, p=p, each=each, plain=plain, q=logq.exp(), logq=logq)
        a, b = way(alpha, T) if part == "weights" else (alpha, 1 - alpha)
        soft = way(x) if part == "soft" else _kl(logq, p)
        return a * T**2 * soft + b * (way(x) if part == "hard" else cross_entropy(s, labels))

    return answer


EXERCISE = Exercise(
    "distillation.kd_loss",
    reference=kd_loss,
    what="the loss",
    atol=1e-5,
    right="It is one number, of two parts: print them, and see which of them differs.",
    errors={
        "log_softmax_lastdim|target dtype|batch_size|multi-target|out of bounds|nll_loss": "F.cross_entropy takes the "
        "scores (B, C) first and the labels (B,) second.",
        "must be Tensor, not float": "T and alpha are plain numbers: use them as they are.",
        "shapes": "The shapes do not line up: both sides of the KL are (B, C), the teachers averaged over their dim 0.",
    },
    cases=[
        _case("the soft part alone (alpha = 1): one teacher, T = 1", *ONE, 1.0, 1.0),
        _case("the soft part alone: one teacher, T = 3", *ONE, 3.0, 1.0),
        _case("the soft part alone: three teachers", *THREE, 4.0, 1.0),
        _case("the hard part alone (alpha = 0)", *THREE, 4.0, 0.0),
        _case("both parts", *THREE, 4.0, 0.7),
        _case("as many teachers as rows and classes", *_task(3, 3, 3, 549), 0.5, 0.4),
        _case("the soft part of a perfect student is 0", ONE[1][0], *ONE[1:], 4.0, 1.0),
        _case("the only teacher holds a class impossible (-inf)", *VETO, 2.0, 0.7),
        _case("a teacher and the student are very sure (a score of 300)", *SURE, 2.0, 0.7),
        case("a gradient for the student", *_task(3, 4, 6, 552, True), 4.0, 0.7, view=gradient_for(0, NO_GRADIENT)),
        case("no gradient for the teachers", *_task(3, 4, 6, 552, True), 4.0, 0.7, view=gradient_for(1, NO_GRADIENT)),
    ],
    mistakes=[
        *_mistakes("weights", WEIGHTS, anywhere=False),
        *_mistakes("soft", NUMBERS, anywhere=False),
        *_mistakes("soft", SOFT),
        *_mistakes("hard", HARD),
    ],
    hints=[
        "Two losses: the soft one compares distributions at the temperature T, the hard one knows the labels and no T.",
        "Targets: the mean of the teachers' softmax(z / T), detached. KL(p || q) is F.kl_div(log_q, p, "
        "reduction='batchmean'): log_q first. The hard part is F.cross_entropy(student_logits, labels).",
        "p = (teacher_logits.detach() / T).softmax(-1).mean(0); log_q = (student_logits / T).log_softmax(-1); "
        "T**2 * F.kl_div(log_q, p, reduction='batchmean') is the soft part, weighed by alpha.",
    ],
)
