"""The mixture of two models with a weight."""

import torch
from torch import Tensor

from course_utils.ensembling import linear_interpolation
from course_utils.exercises.engine import Exercise, case, with_zeros
from course_utils.exercises.start_here import LOG_P, LOG_Q, added, sizes


def mix(log_p: Tensor, log_q: Tensor, lam: float) -> Tensor:
    """log((1 - lam) p + lam q): lam is the weight of the second model, as on the sliders.

    log_p, log_q (V,): natural log-probabilities; lam in [0, 1]. Returns (V,) log-probabilities.
    """
    return linear_interpolation(torch.stack([log_p, log_q]), torch.tensor([1 - lam, lam]))


EXERCISE = Exercise(
    "start_here.mix",
    reference=mix,
    returns="log-probabilities",
    what="your mixture",
    sizes=sizes,
    errors={
        "math domain error": "math.log(0) is an error in Python, and lam may be 0 or 1.\n"
        "Weight the probabilities themselves, or use torch.log, which knows that log 0 is -inf."
    },
    cases=[
        case("at lam = 0.25 the second model counts a quarter and the first three quarters", LOG_P, LOG_Q, 0.25),
        case("at lam = 0.9 the second model counts nine times as much", LOG_Q, LOG_P, 0.9),
        case("at lam = 1 the mixture is the second model", LOG_P, LOG_Q, 1.0),
        case("at lam = 0 the mixture is the first model", LOG_P, LOG_Q, 0.0),
        case(
            "a token that one model rules out (-inf) stays possible",
            torch.tensor([1.0, 0.0, 0.0]).log(),
            torch.tensor([0.5, 0.5, 0.0]).log(),
            0.8,
        ),
    ],
    corners=[with_zeros("log_p", "log_q")],
    mistakes={
        "The weights are the wrong way round: lam is the weight of the second model.": lambda p, q, lam: mix(q, p, lam),
        "This is the weighted mean of log-probabilities. Does exp() of it sum to 1?\nWeight the probabilities.": (
            lambda p, q, lam: (1 - lam) * p + lam * q
        ),
        "This is a product of the two models (AND): log-probabilities, weighted and made to sum to 1.\n"
        "A mixture weights the probabilities.": lambda p, q, lam: ((1 - lam) * p + lam * q).log_softmax(-1),
        "Both models have the weight lam: the first one should have 1 - lam.": lambda p, q, lam: added(p, q, lam, lam),
        "Only the second model is weighted: the first one should have the weight 1 - lam.": lambda p, q, lam: added(
            p, q, 1, lam
        ),
        "lam is not used: this is the plain average.": lambda p, q, lam: mix(p, q, 0.5),
        "A softmax of probabilities flattens them: the mixture sums to 1 by itself.": lambda p, q, lam: (
            mix(p, q, lam).exp().log_softmax(-1)
        ),
        "lam does not multiply the probabilities here.\nIn logarithms, lam times p is log lam + log p.": [
            lambda p, q, lam: torch.logaddexp((1 - lam) * p, lam * q),
            lambda p, q, lam: torch.logaddexp(1 - lam + p, lam + q),
        ],
    },
    hints=[
        "It is the average of the exercise before, with weights 1 - lam and lam instead of one half each.",
        "The weights multiply probabilities: exp, weight and add, log.",
    ],
)
