"""The plain average of two models: the OR of two distributions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, case, with_zeros
from course_utils.exercises.start_here import LOG_P, LOG_Q


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
    unnormalised="This is the sum of the two distributions. Where is the half?",
    cases=[
        case("each token gets the mean of the two models' probabilities", LOG_P, LOG_Q),
        case("a model averaged with itself is itself", LOG_P, LOG_P),
        case(
            "a token that one model rules out (log-probability -inf) keeps half of what the other gives it; one "
            "that both rule out stays ruled out",
            torch.tensor([0.5, 0.5, 0.0, 0.0]).log(),
            torch.tensor([0.2, 0.2, 0.6, 0.0]).log(),
        ),
    ],
    corners=[with_zeros("log_p", "log_q")],
    mistakes={
        "This is the average of the log-probabilities. Does exp() of it sum to 1?\n"
        "Average the probabilities.": lambda log_p, log_q: (log_p + log_q) / 2,
        "This is the average of the log-probabilities, made to sum to 1 again: a product of the two models (AND), "
        "not their average (OR).\n"
        "Average the probabilities.": lambda log_p, log_q: torch.log_softmax((log_p + log_q) / 2, -1),
        "This applies softmax to probabilities, which have been through a softmax already: it flattens them.\n"
        "The average of two distributions "
        "sums to 1 by itself.": lambda log_p, log_q: torch.log_softmax((log_p.exp() + log_q.exp()) / 2, -1),
        "You took the half of the logarithm: log(p + q) / 2 is not log((p + q) / 2).": lambda log_p, log_q: (
            torch.logaddexp(log_p, log_q) / 2
        ),
    },
    hints=[
        "Log-probabilities cannot be averaged directly: which function undoes the logarithm?",
        "Three steps: exp of both, their mean, log of the mean.",
        "In one stable step: `torch.logaddexp(log_p, log_q)` is log(p + q). What is still missing is the half.",
    ],
)
