"""The loss of a student that learns from its teachers and from the labels: the first cases try its parts one by one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, mse_loss, nll_loss

from course_utils.distillation import ensemble_targets, soft_target_loss
from course_utils.exercises.distillation import mistakes, scores
from course_utils.exercises.engine import Exercise, case, gradient_for


def kd_loss(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, T: float, alpha: float) -> Tensor:
    """alpha T^2 KL(p_T || q_T) + (1 - alpha) CE(labels, q_1), a scalar, where some rows have no label (-100).

    p_T = mean over the members of softmax(z_m / T), q_T = softmax(z_s / T). student_logits (B, C), teacher_logits
    (M, B, C), labels (B,). The KL is a mean over all rows, CE one over the rows with a label, 0 if there is none.
    Source: Hinton, Vinyals & Dean (2015), section 2; with a label in each row `distillation.kd_loss`.
    """
    soft = soft_target_loss(student_logits, ensemble_targets(teacher_logits, T), T)
    hard = cross_entropy(student_logits, labels, reduction="sum") / (labels != -100).sum().clamp(min=1)
    return alpha * soft + (1 - alpha) * hard


DETACH = ".detach() and torch.no_grad() belong to the teachers alone, and .item() to no loss."
ROWS = "The KL is sum p (log p - log q) over the classes, then the mean over all rows (in F.kl_div: batchmean)."
NUMBERS = "F.kl_div knows that 0 log 0 is 0, softmax and log_softmax what to do with 300; exp() is inf there."
NO_GRADIENT = f"The number is right, but no gradient reaches the student. {DETACH}"


def _task(m: int, rows: int, classes: int, seed: int, grad: bool = False, no: Any = ()) -> tuple[Tensor, ...]:
    """A student's scores (B, C), its teachers' (M, B, C), labels (B,) that the teachers do not always meet; `no`: the
    rows without a label."""
    labels = torch.randint(classes, (rows,), generator=torch.Generator().manual_seed(seed))
    labels[list(no)] = -100
    student, teachers = scores(rows, classes, seed=seed + 1), scores(m, rows, classes, seed=seed + 2)
    return student.requires_grad_(grad), teachers.requires_grad_(grad), labels


ONE, THREE, SURE, VETO = _task(1, 5, 7, 540), _task(3, 5, 7, 508), _task(3, 3, 5, 555), _task(1, 3, 5, 556)
SURE[1][0, 0, 1], SURE[0][1, 2], VETO[1][0, 2, 3] = 300.0, 300.0, -torch.inf

# Shape (1,) is as good as ().
_case = partial(case, view=lambda loss, *_: loss.reshape(()) if getattr(loss, "shape", ()) == (1,) else loss)
_kl = partial(kl_div, reduction="batchmean")


def _ce(s: Tensor, labels: Tensor) -> Tensor:
    return cross_entropy(s, labels, reduction="sum") / (labels >= 0).sum().clamp(min=1)


def _with(part: str, way: Callable) -> Callable:
    def answer(s: Tensor, z: Tensor, labels: Tensor, T: float, alpha: float) -> Tensor:
        p, each, plain = ensemble_targets(z, T), (z.detach() / T).softmax(-1), ensemble_targets(z, 1)
        logq = (s / T).log_softmax(-1)
        x = SimpleNamespace(s=s, z=z, labels=labels, T=T, p=p, each=each, plain=plain, q=logq.exp(), logq=logq)
        a, b = way(alpha, T) if part == "weights" else (alpha, 1 - alpha)
        soft = way(x) if part == "soft" else _kl(logq, p)
        loss = a * T**2 * soft + b * (way(x) if part == "hard" else _ce(s, labels))
        if not loss.isfinite():
            raise ValueError("nan has many causes: see _explain")
        return loss

    return answer


def _explain(got: Any, expected: Tensor, s: Tensor, z: Tensor, labels: Tensor, *_: float) -> str:
    if not isinstance(got, Tensor) or got.dim() or got.isfinite():
        return ""
    if (labels < 0).all():
        return "No row has a label here, and a mean over none is nan.\nThe hard part is 0 then."
    if z.isfinite().all() and z.max() < 100:
        return "The loss is nan.\nDid F.kl_div get the teachers' logarithms? It wants log q and p."
    return f"The loss is {got:g}: a probability is 0 in the computer, its logarithm -inf, and 0 * log 0 nan.\n{NUMBERS}"


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
    },
    ROWS: {
        "This is a cross-entropy: for a perfect student it is not 0.": [lambda x: -(x.p * x.logq).sum(-1).mean()],
        "The sign of the KL is wrong: it is never below 0.": [lambda x: -_kl(x.logq, x.p)],
        "The soft part is divided by B C, as by a mean of all.": [lambda x: kl_div(x.logq, x.p)],
        "The soft part is summed over the rows.": [lambda x: len(x.s) * _kl(x.logq, x.p)],
        "This is a squared error of the scores.": [lambda x, k=k: k * mse_loss(x.s, x.z.mean(0)) for k in (1, 7)],
        "The soft part lacks the rows without a label.": [lambda x: _kl(x.logq[x.labels >= 0], x.p[x.labels >= 0])],
        "This knows the teachers' best class alone.": [lambda x: -x.logq.gather(1, x.p.argmax(-1, True)).mean()],
        "The student's softmax runs over the rows.": [lambda x: _kl((x.s / x.T).log_softmax(0), x.p)],
        "The teachers' softmax does not run over the classes, the last dimension.": [
            lambda x, k=k: _kl(x.logq, (x.z / x.T).softmax(k).mean(0)) for k in (0, 1)
        ],
        "The teachers' softmax is taken twice.": [lambda x: _kl(x.logq, x.p.softmax(-1))],
        "The student's softmax is taken twice.": [lambda x: _kl(x.q.log_softmax(-1), x.p)],
    },
    "The gradient of the soft part shrinks like 1/T^2, and the factor T^2 in front of the KL makes up for it.": {
        "T^2 is missing in front of the KL.": [lambda x: _kl(x.logq, x.p) / x.T**2],
        "The factor in front is another power of T.": [lambda x, k=k: _kl(x.logq, x.p) / x.T**k for k in (1, 3, 4)],
    },
    "Both sides of the KL are taken at the same T, which divides the scores.": {
        "The student is not softened.": [lambda x: _kl(x.s.log_softmax(-1), x.p)],
        "The teachers are not softened.": [lambda x: _kl(x.logq, x.plain)],
        "Nothing is softened.": [lambda x, k=k: _kl(x.s.log_softmax(-1), x.plain) / x.T**k for k in (0, 2)],
        "T multiplies the scores.": [lambda x: _kl((x.s * x.T).log_softmax(-1), (x.z * x.T).softmax(-1).mean(0))],
    },
    "Soften each teacher, average their probabilities, then take one KL.": {
        "The teachers' probabilities are added up.": [lambda x: _kl(x.logq, x.p * len(x.z))],
        "The mean of the teachers' scores is softened.": [lambda x: _kl(x.logq, (x.z.mean(0) / x.T).softmax(-1))],
        "This is the mean of the KL of each teacher.": [lambda x: sum(_kl(x.logq, p) for p in x.each) / len(x.z)],
        "Only one of the teachers is used.": [lambda x, k=k: _kl(x.logq, x.each[k]) for k in (0, -1)],
    },
}
HARD = {
    DETACH: {"The hard part gives the student no gradient.": [lambda x: _ce(x.s.detach(), x.labels)]},
    "The hard part compares the student at T = 1 with the labels, and has no factor but its weight.": {
        "The hard part is taken at T.": [lambda x, k=k: _ce(x.s / x.T, x.labels) * x.T**k for k in (0, 2)],
        "T^2 stands in front of the hard part too.": [lambda x: _ce(x.s, x.labels) * x.T**2],
        "The hard part takes the teachers' best class for the label.": [lambda x: _ce(x.s, x.p.argmax(-1))],
        "F.cross_entropy got probabilities: it wants scores.": [lambda x: _ce(x.s.softmax(-1), x.labels)],
        "F.nll_loss got probabilities, not their logarithms.": [lambda x: nll_loss(x.s.softmax(-1), x.labels)],
        "The sign of the hard part is wrong: it is never below 0.": [lambda x: -_ce(x.s, x.labels)],
    },
    "The hard part is the mean over the rows with a label, and 0 if there is none.": {
        "The hard part is summed over the rows.": [lambda x: cross_entropy(x.s, x.labels, reduction="sum")],
        "The hard part is divided by all B rows.": [lambda x: cross_entropy(x.s, x.labels, reduction="sum") / len(x.s)],
        "The rows of class 0 are left out as well.": [lambda x: _ce(x.s, x.labels.where(x.labels > 0, -100))],
        "A row without a label counts as one of class 0.": [lambda x: _ce(x.s, x.labels.clamp(min=0))],
    },
}
WEIGHTS = {
    "alpha is the share of the teachers (the soft part), 1 - alpha that of the labels (the hard part).": {
        "alpha and 1 - alpha are swapped.": [lambda a, T: (1 - a, a), lambda a, T: ((1 - a) / T**2, a)],
        "alpha weighs the soft part only.": [lambda a, T: (a, 1), lambda a, T: (a / T**2, 1)],
        "Only the hard part is weighted.": [lambda a, T: (1, 1 - a)],
        "alpha is ignored.": [lambda a, T: (1, 1), lambda a, T: (1 / T**2, 1)],
        "Both parts have the same weight.": [lambda a, T, b=b: (b or a, b or a) for b in (None, 0.5)],
        "The hard part is missing.": [lambda a, T: (a, 0), lambda a, T: (1, 0)],
        "The soft part is missing.": [lambda a, T: (0, 1 - a), lambda a, T: (0, 1)],
    }
}

EXERCISE = Exercise(
    "distillation.kd_loss",
    reference=kd_loss,
    what="the loss",
    atol=1e-5,
    explain=_explain,
    right="It is one number, of two parts: print them, and see which of them differs.",
    errors={
        "-100": "A label of -100 is no class: that row has no label. F.cross_entropy leaves it out by itself.",
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
        _case("two rows without a label (-100)", *_task(3, 5, 7, 570, no=(1, 3)), 2.0, 0.4),
        _case("no row has a label", *_task(2, 4, 5, 575, no=range(4)), 2.0, 0.7),
        _case("one row", *_task(3, 1, 5, 580), 2.0, 0.4),
        _case("as many teachers as rows and classes", *_task(3, 3, 3, 549), 0.5, 0.4),
        _case("the soft part of a perfect student is 0", ONE[1][0], *ONE[1:], 4.0, 1.0),
        _case("the only teacher holds a class impossible (-inf)", *VETO, 2.0, 0.7),
        _case("a teacher and the student are very sure (a score of 300)", *SURE, 2.0, 0.7),
        case("a gradient for the student", *_task(3, 4, 6, 552, True), 4.0, 0.7, view=gradient_for(0, NO_GRADIENT)),
        case("no gradient for the teachers", *_task(3, 4, 6, 552, True), 4.0, 0.7, view=gradient_for(1, NO_GRADIENT)),
    ],
    mistakes=[
        *mistakes(WEIGHTS, partial(_with, "weights"), anywhere=False),
        *mistakes(SOFT, partial(_with, "soft")),
        *mistakes(HARD, partial(_with, "hard")),
    ],
    hints=[
        "Two losses: the soft one compares distributions at the temperature T, the hard one knows the labels and no T.",
        "Targets: the mean of the teachers' softmax(z / T), detached. KL(p || q) is F.kl_div(log_q, p, "
        "reduction='batchmean'): log_q first. The hard part is F.cross_entropy(student_logits, labels), which leaves "
        "-100 out, and 0 without any label.",
        "p = (teacher_logits.detach() / T).softmax(-1).mean(0); log_q = (student_logits / T).log_softmax(-1); "
        "T**2 * F.kl_div(log_q, p, reduction='batchmean') is the soft part, weighted by alpha.",
    ],
)
