"""Exercises of notebook 00: temperature and perplexity of one model, then the average and the mixture of two."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_utils.ensembling import linear_interpolation
from course_utils.exercises import start_here_quizzes  # noqa: F401 (registers the quiz)
from course_utils.exercises.engine import Exercise, close, register
from course_utils.exercises.start_here_one_model import LOG_P, LOG_Q, not_probabilities, perplexity, temperature, total

__all__ = ["average_distributions", "mix", "perplexity", "temperature"]


def average_distributions(log_p: Tensor, log_q: Tensor) -> Tensor:
    """log of the plain average of two models' probabilities: log((p + q) / 2).

    log_p, log_q (V,): natural log-probabilities. Returns (V,) log-probabilities.
    """
    return torch.logaddexp(log_p, log_q) - math.log(2)


def mix(log_p: Tensor, log_q: Tensor, lam: float) -> Tensor:
    """log(lam p + (1 - lam) q): lam is the weight of the first model.

    log_p, log_q (V,): natural log-probabilities; lam in [0, 1]. Returns (V,) log-probabilities.
    """
    return linear_interpolation(torch.stack([log_p, log_q]), torch.tensor([lam, 1 - lam]))


# --- average --------------------------------------------------------------------------------------


def _average_value(answer, log_p: Tensor, log_q: Tensor) -> None:
    got, right = answer(log_p, log_q), average_distributions(log_p, log_q)
    not_probabilities(got, right)
    geometric = (log_p + log_q) / 2
    sum_is = f"{total(geometric):.2g}"
    close(
        got,
        right,
        what="your average",
        known={
            f"This is the average of the log-probabilities. Does exp() of it sum to 1? It sums to {sum_is}. "
            "Average the probabilities: exp first, then the mean, then log.": geometric,
            "This is the average of the log-probabilities, made to sum to 1 again: a product of the two models (AND), "
            "not their average (OR). Average the probabilities.": torch.log_softmax(geometric, -1),
            "This is the sum of the two distributions: exp() of it sums to 2. Where is the half?": torch.logaddexp(
                log_p, log_q
            ),
            "This applies softmax to probabilities, which have been through a softmax already: it flattens them. "
            "The average of two distributions sums to 1 by itself.": torch.log_softmax(right.exp(), -1),
            "This is the probability before its half is taken: where is the division by 2?": log_p.exp() + log_q.exp(),
            "You took the half of the logarithm: log(p + q) / 2 is not log((p + q) / 2).": torch.logaddexp(log_p, log_q)
            / 2,
        },
    )


def average_is_a_mean(answer) -> None:
    """Each token gets the mean of the two models' probabilities."""
    _average_value(answer, LOG_P, LOG_Q)


def average_sums_to_one(answer) -> None:
    """The probabilities of the result sum to one."""
    close(answer(LOG_P, LOG_Q).exp().sum(), 1.0, what="the sum of the probabilities")


def average_of_one_model(answer) -> None:
    """A model averaged with itself is itself."""
    close(answer(LOG_P, LOG_P), LOG_P, what="the average of a model with itself")


def average_is_an_or(answer) -> None:
    """A token that one model rules out (log-probability -inf) keeps half of what the other gives it."""
    ruled_out = torch.tensor([0.5, 0.5, 0.0]).log()
    other = torch.tensor([0.2, 0.2, 0.6]).log()
    close(answer(ruled_out, other).exp(), torch.tensor([0.35, 0.35, 0.30]), what="the average's probabilities")


register(
    Exercise(
        name="start_here.average",
        reference=average_distributions,
        tests=[average_is_a_mean, average_sums_to_one, average_of_one_model, average_is_an_or],
        hints=[
            "Log-probabilities cannot be averaged directly: which function undoes the logarithm?",
            "Three steps: exp of both, their mean, log of the mean.",
            "In one stable step: `torch.logaddexp(log_p, log_q)` is log(p + q). What is still missing is the half.",
        ],
    )
)


# --- mix ------------------------------------------------------------------------------------------


def mix_is_weighted(answer) -> None:
    """At lam = 0.25 the first model counts a quarter and the second three quarters."""
    lam = 0.25
    got, right = answer(LOG_P, LOG_Q, lam), mix(LOG_P, LOG_Q, lam)
    not_probabilities(got, right)
    in_logs = lam * LOG_P + (1 - lam) * LOG_Q
    close(
        got,
        right,
        what="your mixture",
        known={
            "The weights are the wrong way round: lam is the weight of the first model.": mix(LOG_Q, LOG_P, lam),
            f"This is the weighted mean of log-probabilities. Does exp() of it sum to 1? "
            f"It sums to {total(in_logs):.2g}. "
            "Weight the probabilities: exp first.": in_logs,
            "This is a product of the two models (AND): you weighted log-probabilities and normalised. "
            "A mixture weights the probabilities.": torch.log_softmax(in_logs, -1),
            "Both models have the weight lam: the second one should have 1 - lam.": (
                lam * LOG_P.exp() + lam * LOG_Q.exp()
            ).log(),
            "Only the first model is weighted: the second one should have the weight 1 - lam.": (
                lam * LOG_P.exp() + LOG_Q.exp()
            ).log(),
            "lam is not used: this is the plain average.": average_distributions(LOG_P, LOG_Q),
            "This applies softmax to probabilities: the mixture sums to 1 by itself.": torch.log_softmax(
                right.exp(), -1
            ),
        },
    )


def mix_ends(answer) -> None:
    """At lam = 1 the mixture is the first model, at lam = 0 the second."""
    close(
        answer(LOG_P, LOG_Q, 1.0),
        LOG_P,
        what="the mixture at lam = 1",
        known={"At lam = 1 you return the second model: lam is the weight of the first.": LOG_Q},
    )
    close(answer(LOG_P, LOG_Q, 0.0), LOG_Q, what="the mixture at lam = 0")


def mix_sums_to_one(answer) -> None:
    """The probabilities sum to one at every lam."""
    for lam in (0.0, 0.1, 0.5, 0.9, 1.0):
        close(answer(LOG_P, LOG_Q, lam).exp().sum(), 1.0, what=f"the sum of the probabilities at lam = {lam}")


def mix_is_an_or(answer) -> None:
    """A token that one model rules out (log-probability -inf) stays possible."""
    ruled_out, other = torch.tensor([1.0, 0.0]).log(), torch.tensor([0.5, 0.5]).log()
    close(answer(ruled_out, other, 0.8).exp(), torch.tensor([0.9, 0.1]), what="the mixture's probabilities")


register(
    Exercise(
        name="start_here.mix",
        reference=mix,
        tests=[mix_is_weighted, mix_ends, mix_sums_to_one, mix_is_an_or],
        hints=[
            "It is the average of the exercise before, with weights lam and 1 - lam in place of one half each.",
            "The weights multiply probabilities: exp, weight and add, log.",
        ],
    )
)
