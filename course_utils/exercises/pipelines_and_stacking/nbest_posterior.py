"""Weights of an n-best list from its log scores."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, case, one_row
from course_utils.exercises.engine.distributions import sum_note
from course_utils.exercises.engine.exercise import Corner
from course_utils.pipelines.recognition import nbest_posterior


def _exp(s: Tensor, c: float) -> Tensor:
    return (c * s).exp()


def _shifted(s: Tensor, c: float) -> Tensor:
    return (c * s - (c * s).max()).exp()


def _shares(values: Tensor) -> Tensor:
    return values / values.sum()


def _explain(got: Tensor, expected: Tensor, scores: Tensor, scale: float) -> str:
    if isinstance(got, Tensor) and got.shape != expected.shape:
        return (
            f"Your result has shape {tuple(got.shape)}, the weights {tuple(expected.shape)}: one for each hypothesis."
        )
    if isinstance(got, Tensor) and got.isnan().any():
        return NEGATIVE if scores.max() > -100 else ""
    return sum_note(got, EXERCISE, log=False)


NEGATIVE = "The scores are negative, as logarithms of probabilities are: a logarithm or a power of them is nan."
INSIDE = "The scale belongs to the scores, inside exp: scale * scores first, then their softmax."
SOFTMAX = "Each k gets its share: take exp of scale * scores, and divide by the sum."
LARGEST = "Only differences of scores count: subtract the largest of scale * scores, then every exponent is 0 or below."
EXERCISE = Exercise(
    "pipelines_and_stacking.nbest_posterior",
    reference=nbest_posterior,
    what="your result",
    atol=5e-4,  # float32 will do
    rtol=5e-4,
    explain=_explain,
    errors={
        "shapes": "The shapes do not line up: scores is (K,), the scale a number.",
        "OverflowError": "exp of a large number is infinity in the computer.",
        "ZeroDivisionError": "You divide by 0: by a scale of 0, or by a sum whose terms all vanish, as exp(-10000).",
        "^(Attribute|Type)Error.*float": "The scale is a Python number, not a tensor: write scale * scores.",
    },
    cases=[  # small scores, of which exp can be taken; not sorted
        case("five scores, with a scale below 1", torch.tensor([-1.5, -0.25, -3.0, -0.75, -2.5]), 0.5),
        case("four scores, with a scale above 1", torch.tensor([-2.0, -1.0, -0.5, -1.75]), 1.5),
        case(
            "six scores, of which the best is not the first", torch.tensor([-3.5, -2.75, -3.0, -4.25, -1.0, -2.0]), 0.25
        ),
    ],
    corners=[
        Corner("with scores that are thousands apart", lambda v: {"scores": 8000 * v["scores"]}),
        Corner("10,000 lower, as a recogniser's scores are", lambda v: {"scores": v["scores"] - 10_000}),
        Corner("with scale 0", lambda v: {"scale": 0.0}, "scale * scores are zeros here, and all K weights are 1 / K."),
        one_row("scores"),
    ],
    mistakes={
        f"The scale has no effect in your result.\n{INSIDE}": lambda s, c: s.softmax(0),
        "You divide by the scale, as by a temperature: here a small scale makes the weights flat.\n"
        "Multiply the scores by it.": lambda s, c: (s / c).softmax(0),
        f"The scale multiplies the weights, which then do not sum to 1.\n{INSIDE}": [
            *[lambda s, c: c * s.softmax(0), lambda s, c: c * (c * s).softmax(0), lambda s, c: c * s / s.sum()]
        ],
        f"softmax(scores) ** scale no longer sums to 1.\n{INSIDE}": lambda s, c: s.softmax(0) ** c,
        "You take exp twice: softmax does that by itself.\nGive it scale * scores, without exp or softmax in front.": [
            *[
                lambda s, c: _exp(s, c).softmax(0),
                lambda s, c: (c * s.exp()).softmax(0),
                lambda s, c: s.exp().softmax(0),
            ],
            *[lambda s, c: (c * s).softmax(0).softmax(0), lambda s, c: (c * s.softmax(0)).softmax(0)],
        ],
        f"You divide scores by their sum. They are logarithms, and their differences count.\n{SOFTMAX}": [
            *[lambda s, c: s / s.sum(), lambda s, c: _shares(1 / s)]
        ],
        "You use distances to the worst score, not exponentials.\n"
        "A log score that is higher by d means exp(scale * d) times the weight.": [
            lambda s, c: _shares(s - s.min()),
            lambda s, c: (s - s.min()) / (s.max() - s.min()),
            lambda s, c: c * (s - s.min()),
        ],
        "The sign is the wrong way round: your best hypothesis, with the highest score, gets the lowest weight.": [
            *[lambda s, c: (-c * s).softmax(0), lambda s, c: (-s).softmax(0), lambda s, c: (-s / c).softmax(0)]
        ],
        f"All weight is on the best hypothesis: that is the 1-best again.\n{SOFTMAX}": [
            *[lambda s, c: (s == s.max()).double(), lambda s, c: s.argmax()]
        ],
        "These are logarithms (log_softmax): return the weights themselves.": [
            lambda s, c: (c * s).log_softmax(0),
            *[lambda s, c: s.log_softmax(0), lambda s, c: c * s.log_softmax(0)],
        ],
        f"Your weights do not sum to 1.\n{SOFTMAX}": [
            *[_exp, lambda s, c: s.exp(), lambda s, c: c * s.exp(), lambda s, c: c * s]
        ],
        "Your best hypothesis has weight 1: the maximum is subtracted, but nothing is divided.\n"
        "Divide by the sum of the exponentials.": [*[_shifted, lambda s, c: (s - s.max()).exp()]],
        "The scale stands in one of numerator and denominator only.\n"
        "The sum below is of exp(scale * "
        "scores[l]) as well.": [
            *[lambda s, c: _exp(s, c) / s.exp().sum(), lambda s, c: s.exp() / _exp(s, c).sum()],
            lambda s, c: _exp(s - s.max(), c) / (s - s.max()).exp().sum(),
        ],
        "The maximum is subtracted in one of numerator and denominator only.\n"
        "It cancels if it is subtracted in both.": [
            *[lambda s, c: _shifted(s, c) / _exp(s, c).sum(), lambda s, c: _exp(s, c) / _shifted(s, c).sum()]
        ],
        "Your exponentials have another base than e: the scores are natural logarithms.": [
            *(lambda s, c, base=base: (math.log(base) * c * s).softmax(0) for base in (10, 2))
        ],
        "You took a sigmoid of each score by itself, and the hypotheses compete.\nTake the softmax over the list.": [
            *[lambda s, c: (c * s).sigmoid(), lambda s, c: _shares((c * s).sigmoid())]
        ],
        "Your weights come in another order than the scores: weight k belongs to scores[k].": [
            *(lambda s, c, down=down: (c * s).softmax(0).sort(descending=down).values for down in (True, False)),
            lambda s, c: (c * s).softmax(0).flip(0),
        ],
        f"All hypotheses get the same weight.\n{SOFTMAX}": lambda s, c: torch.full_like(s, 1 / len(s)),
        "You weight by the rank in the list: the scores say how much better one hypothesis is than the next.": [
            lambda s, c: _shares(1 / (s.argsort(descending=True).argsort() + 1.0)),
            lambda s, c: _shares(1 / torch.arange(1.0, len(s) + 1)),
        ],
        "The scale is added to the scores: multiply by it.": lambda s, c: (s + c).exp(),
        "You divide by the number of hypotheses, not by the sum of the exponentials.": [
            *[lambda s, c: _shifted(s, c) / len(s), lambda s, c: _exp(s, c) / len(s)]
        ],
        f"exp(-10000) is 0 in the computer, so all the terms vanish, and their shares with them.\n{LARGEST}": [
            *[lambda s, c: _shares(_exp(s, c)), lambda s, c: _exp(s, c) / (_exp(s, c).sum() + 1e-12)]
        ],
        "You subtract the smallest or the mean: exp of what is far above it is infinity, and inf / inf is nan.\n"
        f"{LARGEST}": [
            lambda s, c: _shares((c * s - (c * s).min()).exp()),
            lambda s, c: _shares((c * s - (c * s).mean()).exp()),
        ],
        "You subtract the largest score, which is not the largest of scale * scores: thousands are left.\n"
        f"{LARGEST}": lambda s, c: _shares((c * s - s.max()).exp()),
        "All weights are equal, and the scores are not: were they cut off at a lowest value (clamp)?\n"
        f"{LARGEST}": lambda s, c: (c * s).clamp(min=-700).softmax(0),
    },
    hints=[
        "What changes in the weights if the same number is added to all the scores? And what is "
        "exp(-10000) in a computer?",
        "Multiply by the scale, subtract the largest, take exp, divide by the sum. One torch function "
        "does the last three.",
        "torch.softmax(scale * scores, dim=0)",
    ],
)
