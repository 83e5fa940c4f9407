"""Perplexity: how many tokens a model hesitates between."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, case, long_input, mistake, one_row

TOKEN_LOG_PROBS = torch.tensor([0.5, 0.1, 0.25, 0.8, 0.05, 0.4]).log()


def perplexity(token_log_probs: Tensor) -> Tensor:
    """exp(-mean log P): how many tokens, equally likely, the model hesitates between on average.

    token_log_probs (N,): natural logarithms of the probabilities given to the N observed tokens. Returns one number.
    """
    return torch.exp(-token_log_probs.mean())


EXERCISE = Exercise(
    "start_here.perplexity",
    reference=perplexity,
    what="the perplexity",
    cases=[
        case("the perplexity of six tokens of different probability", TOKEN_LOG_PROBS),
        case("the same text twice has the same perplexity", TOKEN_LOG_PROBS.repeat(2)),
        case("a model that gives 1/50 to every token has perplexity 50", torch.full((7,), 1 / 50).log()),
        case("a model that was certain, and right, has perplexity 1", torch.zeros(4)),
    ],
    corners=[one_row("token_log_probs"), long_input("token_log_probs")],
    mistakes=[
        mistake(
            "You return as many numbers as there are tokens, one for each token.",
            lambda x: torch.exp(-x),
            lambda x: -x,
            lambda x: x.exp(),
            pointer="Take their mean before exp().",
        ),
        mistake(
            "This is the mean surprise, -mean(log P), in nats.",
            lambda x: -x.mean(),
            pointer="The perplexity is exp() of it.",
        ),
        mistake("The minus is missing: this is 1 / perplexity, which is below 1.", lambda x: x.mean().exp()),
        mistake(
            "You summed in place of taking the mean: this number grows with the length of the text.",
            lambda x: torch.exp(-x.sum()),
            pointer="The perplexity of the text read twice should be that of the text.",
        ),
        mistake(
            "The logarithms are natural, and 2 ** x does not undo them.",
            lambda x: 2 ** (-x.mean()),
            pointer="Undo them with exp().",
        ),
        mistake(
            "You averaged the probabilities: 1 / mean(P).",
            lambda x: 1 / x.exp().mean(),
            pointer="Average the log-probabilities.",
        ),
        mistake(
            "You averaged 1 / P.",
            lambda x: (1 / x.exp()).mean(),
            pointer="Average the log-probabilities, then exp(-mean).",
        ),
        mistake(
            "You took the root of a product of probabilities, which is 0 in the computer for a long text.",
            lambda x: x.exp().prod() ** (-1 / len(x)),
            pointer="Add logarithms, which never underflow.",
            anywhere=True,
        ),
        mistake("This is the mean of the log-probabilities: the minus and the exp() are missing.", lambda x: x.mean()),
    ],
    hints=[
        "Start with the mean of the log-probabilities. Which sign does it have?",
        "exp undoes the natural logarithm: exp of minus the mean.",
    ],
)
