"""The plain average of two models: the OR of two distributions."""

import math

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, case, with_zeros
from course_utils.exercises.start_here import LOG_P, LOG_Q, added, sizes


def average_distributions(log_p: Tensor, log_q: Tensor) -> Tensor:
    """log of the plain average of two models' probabilities: log((p + q) / 2).

    log_p, log_q (V,): natural log-probabilities. Returns (V,) log-probabilities.
    """
    return torch.logaddexp(log_p, log_q) - math.log(2)


EXERCISE = Exercise(
    "start_here.average",
    reference=average_distributions,
    returns="log-probabilities",
    what="your average",
    sizes=sizes,
    unnormalised="This is the sum of the two distributions. Where is the half?",
    cases=[
        case("each token gets the mean of the two models' probabilities", LOG_P, LOG_Q),
        case("a model averaged with itself is itself", LOG_P, LOG_P),
        case(
            "a token that one model rules out (-inf) keeps half of what the other gives it; one that both rule out"
            " stays ruled out",
            torch.tensor([0.5, 0.5, 0.0, 0.0]).log(),
            torch.tensor([0.2, 0.2, 0.6, 0.0]).log(),
        ),
    ],
    corners=[with_zeros("log_p", "log_q")],
    mistakes={
        "This is the average of the log-probabilities. Does exp() of it sum to 1?\nAverage the probabilities.": (
            lambda p, q: (p + q) / 2
        ),
        "This is the average of the log-probabilities, made to sum to 1 again: a product of the two models (AND), "
        "not their average (OR).\nAverage the probabilities.": lambda p, q: ((p + q) / 2).log_softmax(-1),
        "A softmax of probabilities flattens them: they have been through a softmax already.\n"
        "The average of two distributions sums to 1 by itself.": lambda p, q: (
            added(p, q, 0.5, 0.5).exp().log_softmax(-1)
        ),
        "This is half of the logarithm: log(p + q) / 2 is not log((p + q) / 2).": lambda p, q: (
            torch.logaddexp(p, q) / 2
        ),
        "The half is taken of one model only: p + q / 2 is not (p + q) / 2.": [
            lambda p, q: added(p, q, 1, 0.5),
            lambda p, q: added(p, q, 0.5, 1),
        ],
        "This is the larger of the two probabilities, not their mean.": torch.maximum,
        "This is not the natural logarithm.": lambda p, q: added(p, q, 0.5, 0.5) / math.log(10),
    },
    hints=[
        "Log-probabilities cannot be averaged directly: which function undoes the logarithm?",
        "Three steps: exp of both, their mean, log of the mean.",
        "In one stable step: `torch.logaddexp(log_p, log_q)` is log(p + q). What is still missing is the half.",
    ],
)
