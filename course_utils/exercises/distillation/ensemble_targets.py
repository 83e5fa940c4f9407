"""What the teachers think together: first softened, then averaged."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from course_utils.distillation import ensemble_targets
from course_utils.exercises.distillation import scores
from course_utils.exercises.engine import Exercise, Mistake, case, one_row

ORDER = "Soften each teacher first, then average the probabilities."
T_DIVIDES = "T divides the scores, before the softmax."
OVER_CLASSES = "Each row of each teacher has its own softmax over the C classes, the last dimension."
OVER_TEACHERS = "Average over all M teachers, the first dimension, and over nothing else."
GRADIENT = "A gradient would flow back into the teachers: the result has requires_grad."
DETACH = "They are finished, only the student learns: .detach(), or compute under torch.no_grad()."

CONTRADICTION = scores(1, 3, 5, seed=505)
SURE = scores(3, 2, 4, seed=506)
SURE[0, 0, 1], SURE[1, 0, 2], SURE[:, 1, 3] = 1000.0, -torch.inf, -torch.inf


def _detached(result: Any, *_: Any) -> Any:
    if isinstance(result, Tensor) and result.requires_grad:
        raise Mistake(GRADIENT, DETACH)
    return result


def _soft(z: Tensor, T: float) -> Tensor:
    return (z / T).softmax(-1)


def _best(p: Tensor) -> Tensor:
    return one_hot(p.argmax(-1), p.shape[-1]).float()


EXERCISE = Exercise(
    "distillation.ensemble_targets",
    reference=ensemble_targets,
    returns="probabilities",
    what="your result",
    sizes=lambda z, T: {len(z): "M teachers", z.shape[1]: "B rows", z.shape[2]: "C classes"},
    nan="exp() of a large score is inf, and inf / inf is nan: .softmax(dim=-1) takes the largest score away first. A "
    "score of -inf is a probability of 0, which a mean of probabilities can hold, and a mean of logarithms cannot.",
    unnormalised="Right up to the scale: the mean over the teachers divides their sum by M, and nothing else is "
    "divided or multiplied.",
    errors={
        "shapes": "The shapes do not line up: teacher_logits is (M, B, C). A softmax keeps the shape, and the mean "
        "over the first dimension leaves (B, C).",
        "must be Tensor, not float": "T is a plain number: use it as it is.",
        r"numpy\(\).*requires grad": f"{GRADIENT} Stay in torch, or detach first.",
    },
    cases=[
        case("three teachers: softened first, then averaged", scores(3, 4, 6, seed=502), 2.5),
        case("as many teachers as rows and classes", scores(4, 4, 4, seed=503), 4.0),
        case("below T = 1 the targets are sharper", scores(4, 4, 4, seed=503), 0.5),
        case("one teacher alone", scores(1, 3, 5, seed=504), 3.0),
        case("two teachers that contradict each other", torch.cat([CONTRADICTION, -CONTRADICTION]), 1.0),
        case("a teacher that is very sure (a score of 1000), and classes that one holds impossible (-inf)", SURE, 8.0),
        case("no gradient into the teachers", scores(2, 3, 4, seed=507).requires_grad_(), 2.0, view=_detached),
    ],
    corners=[one_row("teacher_logits", dim=1)],
    mistakes={
        "This is the geometric mean of the teachers, a mean of scores or logarithms: one teacher that is sure of its "
        "no decides for all.\n"
        f"{ORDER}": [
            lambda z, T: _soft(z.mean(0), T),
            lambda z, T: _soft(z.sum(0), T),
            lambda z, T: _soft(z.mean(0), 1),
            lambda z, T: (z / T).log_softmax(-1).mean(0),
            lambda z, T: (z / T).log_softmax(-1).mean(0).exp(),
        ],
        f"This is the mean at T = 1, softened afterwards: the order matters.\n{ORDER}": [
            lambda z, T: _soft(z, 1).mean(0) ** (1 / T),
            lambda z, T: _soft(z, 1).mean(0) ** T,
        ],
        "The softmax is taken twice: the second one gets probabilities, which lie close together, and makes them "
        "nearly uniform.\n"
        "One softmax of the scores is enough: a mean of probabilities needs no other.": [
            lambda z, T: _soft(_soft(z, 1).mean(0), T),
            lambda z, T: _soft(_soft(z, T), 1).mean(0),
            lambda z, T: _soft(_soft(z, 1), T).mean(0),
            lambda z, T: _soft(_soft(z, T).mean(0), 1),
            lambda z, T: _soft(_soft(z, T).mean(0), T),
        ],
        "T multiplies the scores, so that a large T makes the teachers sharper.\n"
        "It divides them: a large T then makes small chances visible.": lambda z, T: _soft(z, 1 / T).mean(0),
        f"These are probabilities divided by T.\n{T_DIVIDES}": lambda z, T: _soft(z, 1).mean(0) / T,
        "T has no effect: these are the probabilities at T = 1, also where T is subtracted.\n"
        f"{T_DIVIDES}": lambda z, T: _soft(z, 1).mean(0),
        "T enters with another power.\nDivide the scores by T itself, neither by its square nor by its root.": [
            lambda z, T: _soft(z, T**2).mean(0),
            lambda z, T: _soft(z, T**0.5).mean(0),
        ],
        "The softmax runs over the teachers (dim 0), so that they compete with each other.\n"
        f"{OVER_CLASSES}": lambda z, T: (z / T).softmax(0).mean(0),
        "The softmax runs over the B rows (dim 1), so that the examples compete with each other.\n"
        f"{OVER_CLASSES}": lambda z, T: (z / T).softmax(1).mean(0),
        f"There is no softmax: a mean of scores is no distribution.\n{OVER_CLASSES}": [
            lambda z, T: z.mean(0) / T,
            lambda z, T: z.mean(0),
            lambda z, T: z.sum(0) / T,
        ],
        f"Only one of the teachers is used.\n{OVER_TEACHERS}": [lambda z, T, i=i: _soft(z[i], T) for i in (0, -1)],
        "This is the largest, or the median, of the teachers' probabilities.\n"
        "Take their mean, so that each teacher has a say and the sum stays 1.": [
            *(lambda z, T: _soft(z, T).amax(0), lambda z, T: _soft(z, T).median(0).values),
        ],
        f"This is the product of the teachers' probabilities, not their mean.\n{ORDER}": lambda z, T: _soft(z, T).prod(
            0
        ),
        "These are shares of votes: how sure each teacher is, and what it thinks of the other classes, is lost.\n"
        "That is what the student should learn: average the whole distributions.": lambda z, T: _best(z).mean(0),
        "This is a hard label, the best class alone: what the teachers think of the other classes is lost.\n"
        "Return the averaged probabilities themselves.": [
            *(lambda z, T: _best(_soft(z, T).mean(0)), lambda z, T: _soft(z, T).mean(0).argmax(-1)),
        ],
        f"This is a sigmoid of each score, but the classes exclude each other.\n{OVER_CLASSES}": lambda z, T: (
            (z / T).sigmoid().mean(0)
        ),
    },
    hints=[
        "Three steps: divide, softmax, average. Over which of the three dimensions goes the softmax, over which one "
        "the mean, and what is averaged, scores or probabilities?",
        "z / T is (M, B, C). The softmax runs over the C classes (the last dimension), the mean over the M teachers "
        "(the first), in this order. And the teachers learn nothing: detach them.",
        "(teacher_logits.detach() / T).softmax(dim=-1).mean(dim=0)",
    ],
)
