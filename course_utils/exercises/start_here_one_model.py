"""Exercises of notebook 00 about a single model: temperature and perplexity."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, Mistake, close, register

# Two models over a vocabulary of five tokens that disagree.
LOG_P = torch.tensor([0.70, 0.15, 0.10, 0.04, 0.01]).log()
LOG_Q = torch.tensor([0.05, 0.05, 0.10, 0.20, 0.60]).log()
TOKENS = ["the", "a", "God", "beginning", "film"]


def temperature(log_probs: Tensor, T: float) -> Tensor:  # noqa: N803 (the lecture's name)
    """Log-probabilities at temperature T: p_i^(1/T) / sum_j p_j^(1/T).

    log_probs (V,): natural log-probabilities; T > 0. Returns (V,) log-probabilities.
    """
    return torch.log_softmax(log_probs / T, dim=-1)


def perplexity(token_log_probs: Tensor) -> Tensor:
    """exp(-mean log P): how many tokens, equally likely, the model hesitates between on average.

    token_log_probs (N,): natural logarithms of the probabilities given to the N observed tokens. Returns one number.
    """
    return torch.exp(-token_log_probs.mean())


def total(log_probs: Tensor) -> float:
    return log_probs.exp().sum().item()


def not_probabilities(got: Tensor, log_expected: Tensor) -> None:
    """The commonest slip of all: the right probabilities, without their logarithm."""
    if (
        isinstance(got, Tensor)
        and got.shape == log_expected.shape
        and torch.allclose(got, log_expected.exp(), atol=1e-4)
    ):
        raise Mistake(
            "These are probabilities: the answer is asked for as log-probabilities. Take the logarithm at the end."
        )


# --- temperature ----------------------------------------------------------------------------------


def temperature_value(answer) -> None:
    """At T = 2 the distribution is flatter: p^(1/2), made to sum to 1."""
    got, right = answer(LOG_P, 2.0), temperature(LOG_P, 2.0)
    not_probabilities(got, right)
    close(
        got,
        right,
        what="the distribution at T = 2",
        known={
            "You multiplied by T: that is temperature 1/T, which sharpens. Divide by T.": torch.log_softmax(
                LOG_P * 2.0, -1
            ),
            f"You did not normalise: exp() of your result sums to {total(LOG_P / 2.0):.3g}, not to 1. "
            "What does log_softmax do?": LOG_P / 2.0,
            "You multiplied by T and did not normalise: divide by T, then make the probabilities sum to 1.": LOG_P
            * 2.0,
            "You divided the probabilities by T, which normalising undoes. Divide the log-probabilities.": LOG_P,
            "You divided the probabilities by T. Divide the log-probabilities by T, then normalise.": (
                LOG_P.exp() / 2.0
            ).log(),
            "You applied softmax to probabilities. Softmax takes log-probabilities, or logits.": torch.log_softmax(
                LOG_P.exp() / 2.0, -1
            ),
        },
    )


def temperature_one(answer) -> None:
    """T = 1 changes nothing."""
    close(answer(LOG_P, 1.0), LOG_P, what="the distribution at T = 1")


def temperature_sums_to_one(answer) -> None:
    """The probabilities sum to one at every temperature."""
    for T in (0.25, 0.5, 1.0, 4.0):  # noqa: N806
        close(answer(LOG_Q, T).exp().sum(), 1.0, what=f"the sum of the probabilities at T = {T}")


def temperature_limits(answer) -> None:
    """Near T = 0 all probability goes to the most probable token; at a large T all tokens become equal."""
    close(answer(LOG_P, 0.02).exp(), torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0]), what="the distribution at T = 0.02")
    close(answer(LOG_P, 1e5).exp(), torch.full((5,), 0.2), atol=1e-3, what="the distribution at T = 100000")


register(
    Exercise(
        name="start_here.temperature",
        reference=temperature,
        tests=[temperature_value, temperature_one, temperature_sums_to_one, temperature_limits],
        hints=[
            "p^(1/T) in logarithms is log p divided by T.",
            "After the division exp() no longer sums to 1: `torch.log_softmax(..., dim=-1)` puts that right.",
        ],
    )
)


# --- perplexity -----------------------------------------------------------------------------------

TOKEN_LOG_PROBS = torch.tensor([0.5, 0.1, 0.25, 0.8, 0.05, 0.4]).log()


def perplexity_value(answer) -> None:
    """The perplexity of six tokens of different probability."""
    x = TOKEN_LOG_PROBS
    got = answer(x)
    if isinstance(got, Tensor) and got.shape == x.shape:
        raise Mistake(
            "You return as many numbers as there are tokens, one for each token: take their mean before exp()."
        )
    close(
        got,
        perplexity(x),
        what="your perplexity",
        known={
            "This is the mean surprise, -mean(log P), in nats: the perplexity is exp() of it.": -x.mean(),
            "The minus is missing: this is 1 / perplexity, which is below 1.": x.mean().exp(),
            "You summed in place of taking the mean: this number grows with the length of the text.": torch.exp(
                -x.sum()
            ),
            "The logarithms are natural, so undo them with exp(), not with 2 ** x.": 2 ** (-x.mean()),
            "You averaged the probabilities: 1 / mean(P). Average the log-probabilities.": 1 / x.exp().mean(),
            "You averaged 1 / P. Average the log-probabilities, then exp(-mean).": (1 / x.exp()).mean(),
            "This is the mean of the log-probabilities: the minus and the exp() are missing.": x.mean(),
        },
    )


def perplexity_uniform(answer) -> None:
    """A model that gives 1/50 to every token has perplexity 50."""
    close(
        answer(torch.full((7,), 1 / 50).log()), 50.0, rtol=1e-3, what="the perplexity of a uniform model over 50 tokens"
    )


def perplexity_of_certainty(answer) -> None:
    """A model that was certain, and right, has perplexity 1."""
    close(answer(torch.zeros(4)), 1.0, what="the perplexity of a model that is always certain and right")


def perplexity_length(answer) -> None:
    """The same text twice has the same perplexity."""
    close(
        answer(TOKEN_LOG_PROBS.repeat(2)),
        perplexity(TOKEN_LOG_PROBS),
        what="the perplexity of the text read twice",
        known={
            "The perplexity of the text read twice should be that of the text: take the mean, not the sum.": torch.exp(
                -2 * TOKEN_LOG_PROBS.sum()
            )
        },
    )


register(
    Exercise(
        name="start_here.perplexity",
        reference=perplexity,
        tests=[perplexity_value, perplexity_uniform, perplexity_of_certainty, perplexity_length],
        hints=[
            "Start with the mean of the log-probabilities. Which sign does it have?",
            "exp undoes the natural logarithm: exp of minus the mean.",
        ],
    )
)
