"""Temperature: how sharp or flat one model's distribution is."""

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, case, draw, with_zeros
from course_utils.exercises.start_here import LOG_P, LOG_Q


def temperature(log_probs: Tensor, T: float) -> Tensor:  # noqa: N803 (the lecture's name)
    """Log-probabilities at temperature T: p_i^(1/T) / sum_j p_j^(1/T).

    log_probs (V,): natural log-probabilities; T > 0. Returns (V,) log-probabilities.
    """
    return torch.log_softmax(log_probs / T, dim=-1)


EXERCISE = Exercise(
    "start_here.temperature",
    reference=temperature,
    returns="log-probabilities",
    what="the distribution",
    cases=[
        case("at T = 2 the distribution is flatter: p^(1/2), made to sum to 1", LOG_P, 2.0),
        case("below T = 1 it is sharper", LOG_Q, 0.5),
        case("T = 1 changes nothing", LOG_P, 1.0),
        case("near T = 0 all probability goes to the most probable token", LOG_P, 0.05),
        case("at a large T all tokens become nearly equal", LOG_P, 50.0),
        case("a vocabulary of 4,096 tokens at a low T", (0.1 * draw(4096, seed=0)).log_softmax(-1), 0.05),
    ],
    corners=[with_zeros("log_probs")],
    nan="Is p^(1/T) 0 for all tokens in the computer? Then 0/0 is nan: divide logarithms by T, and use log_softmax. A"
    " power of a logarithm is nan too: logarithms of probabilities are below 0.",
    unnormalised="You did not normalise.",
    mistakes={
        "This is temperature 1/T: T multiplies here.\nDivide the log-probabilities by T, then normalise.": [
            lambda log_probs, T: (log_probs * T).log_softmax(-1),
            lambda log_probs, T: log_probs * T,
        ],
        "All probabilities are multiplied by one number here, which normalising undoes. T is to change their ratios.\n"
        "Divide the log-probabilities by T, then normalise.": [
            lambda log_probs, T: log_probs,
            lambda log_probs, T: (log_probs.exp() / T).log(),
            lambda log_probs, T: log_probs - T,
        ],
        "This is a softmax of probabilities.\nSoftmax takes log-probabilities, or logits.": lambda log_probs, T: (
            log_probs.exp() / T
        ).log_softmax(-1),
    },
    hints=[
        "p^(1/T) in logarithms is log p divided by T.",
        "After the division exp() no longer sums to 1: `torch.log_softmax(..., dim=-1)` puts that right.",
    ],
)
