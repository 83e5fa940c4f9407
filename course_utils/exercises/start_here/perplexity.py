"""Perplexity: how many tokens a model hesitates between."""

import math

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, anywhere, case, long_input, one_row

TOKEN_LOG_PROBS = torch.tensor([0.5, 0.1, 0.25, 0.8, 0.05, 0.4]).log()


def perplexity(token_log_probs: Tensor) -> float:
    """exp(-mean log P): how many tokens, equally likely, the model hesitates between on average.

    token_log_probs (N,): natural logarithms of the probabilities given to the N observed tokens. Returns one number,
    inf if one of them was held impossible.
    """
    return math.exp(-token_log_probs.mean())


EXERCISE = Exercise(
    "start_here.perplexity",
    reference=perplexity,
    what="the perplexity",
    equal=lambda got, x: math.isclose(float(got), perplexity(x), rel_tol=1e-4),  # a tensor of one number is a number
    cases=[
        case("the perplexity of six tokens of different probability", TOKEN_LOG_PROBS),
        case("the same text twice has the same perplexity", TOKEN_LOG_PROBS.repeat(2)),
        case("a model that gives 1/50 to every token has perplexity 50", torch.full((7,), 1 / 50).log()),
        case("a model that was certain, and right, has perplexity 1", torch.zeros(4)),
        case(
            "a model that held a token impossible has perplexity inf", torch.tensor([0.5, 0.0, 0.5]).log(), names=False
        ),
    ],
    corners=[one_row("token_log_probs"), long_input("token_log_probs")],
    mistakes={
        "You return as many numbers as there are tokens, one for each token.\nTake their mean before exp().": [
            lambda x: torch.exp(-x),
            lambda x: -x,
            lambda x: x.exp(),
        ],
        "This is the mean surprise, -mean(log P), in nats.\nThe perplexity is exp() of it.": lambda x: -x.mean(),
        "The minus is missing: this is 1 / perplexity, which is below 1.": lambda x: x.mean().exp(),
        "The minus belongs in the exponent: exp(-mean) is 1 / exp(mean).": lambda x: -x.mean().exp(),
        "You summed instead of taking the mean: this number grows with the length of the text.\n"
        "The perplexity of the text read twice should be that of the text.": lambda x: torch.exp(-x.sum()),
        "The logarithms are natural, and 2 ** x or 10 ** x does not undo them.\nUndo them with exp().": [
            lambda x: 2 ** (-x.mean()),
            lambda x: 10 ** (-x.mean()),
        ],
        "This is 1 / mean(P): the probabilities were averaged.\nAverage the log-probabilities.": lambda x: (
            1 / x.exp().mean()
        ),
        "This is the mean of 1 / P.\nAverage the log-probabilities, then exp(-mean).": lambda x: (1 / x.exp()).mean(),
        "A product of probabilities is 0 in the computer for a long text.\nAdd logarithms, which never underflow.": (
            anywhere(lambda x: x.exp().prod() ** (-1 / len(x)))
        ),
        "This is the mean of the log-probabilities: the minus and the exp() are missing.": lambda x: x.mean(),
        "Each token is weighted by its own probability, as in an entropy. All N tokens that came count the same.": [
            lambda x: torch.exp(-(x.exp() * x).mean()),
            lambda x: torch.exp(-(x.exp() * x).sum()),
        ],
        "This is a whole number: int(), round() and // lose the decimals.": [
            lambda x: int(perplexity(x)),
            lambda x: round(perplexity(x)),
        ],
        "Tokens of probability 0 are left out here: a model that rules out what came is infinitely surprised.": (
            anywhere(lambda x: torch.exp(-x[x.isfinite()].mean()))
        ),
    },
    hints=[
        "Start with the mean of the log-probabilities. Which sign does it have?",
        "exp undoes the natural logarithm: exp of minus the mean.",
    ],
)
