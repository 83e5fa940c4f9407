"""Tests of 09_pipelines_and_stacking: weights of an n-best list from its log scores."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.exercises.diagnose import attempt, sum_note
from course_utils.exercises.engine.calls import Mistake, StudentError
from course_utils.exercises.engine.compare import close
from course_utils.exercises.mistakes import recognise
from course_utils.pipelines.recognition import nbest_posterior

STEPS = "torch.softmax(scale * scores, dim=0); by hand: z = scale * scores, then exp(z - z.max()), divided by its sum."
NO_SCALE = "The scale has no effect in your result: multiply the scores by it before the softmax."
DIVIDED = "You divide by the scale, as by a temperature: here the scores are MULTIPLIED by it, and a small scale makes the weights flat."
AFTER = "The scale multiplies the weights, which then do not sum to 1: it belongs to the scores, inside exp."
POWER = "softmax(scores) ** scale has the right proportions, but no longer sums to 1: scale the scores first, then take the softmax."
OF_EXP = "You take exp twice: softmax does that by itself. Give it scale * scores, without exp in front."
LINEAR = "You divide scores by their sum. They are logarithms, and their differences count: take exp of scale * scores first."
SIGN = "The sign is the wrong way round: your best hypothesis, the one with the highest score, gets the lowest weight."
ARGMAX = "All weight is on the best hypothesis: that is the 1-best again. Each k gets its share, the softmax of scale * scores."
LOGS = "These are the logarithms of the weights (log_softmax): take softmax."
UNNORMALISED = "Your weights do not sum to 1: divide exp(scale * scores) by its sum over the list."
BY_MAX = "Your best hypothesis has weight 1: the maximum is subtracted, but the division by the SUM of the exponentials is missing."
NUMERATOR = "The scale stands in the numerator only: the sum below has exp(scale * scores[l]) as well."
DENOMINATOR = (
    "The maximum is subtracted in one of numerator and denominator only. It cancels if it is subtracted in both."
)
BASE = "Your exponentials have another base than e: the scores are natural logarithms, use exp."
SIGMOID = "You took a sigmoid of each score by itself: the hypotheses compete, so take the softmax over the list."
SORTED = "Your weights come in another order than the scores: the list need not be sorted, and weight k belongs to scores[k]."
SHIFTED_LINEAR = (
    "You use distances to the worst score, not exponentials: a log score that is higher by d means exp(scale * d) times the"
    " weight."
)
UNIFORM = "All hypotheses get the same weight in your result: take exp of scale * scores, and divide by the sum."
RANKS = "You weight by the rank in the list: the scores say how much better one hypothesis is than the next."
DETACHED = "The scale is added to the scores, which changes nothing after the division by the sum: multiply by it."
LOST = "exp(z - z.max()) is right; it is divided by the number of hypotheses in place of its sum."
UNDERFLOW = (
    "exp(-10000) is 0 in the computer, so all the terms vanish, and 0 / 0 is nan. Only differences of scores count: subtract"
    " the largest of scale * scores first (its term is then exp(0) = 1), or take torch.softmax, which does."
)
OVERFLOW = (
    "exp of a large number is infinity, and inf / inf is nan. Subtract the LARGEST of scale * scores, not the smallest or the"
    " mean: then every exponent is 0 or below, and the sum is at least 1."
)
VANISHED = "Here your weights sum to {:.3g}. " + UNDERFLOW
NEGATIVE = (
    "The scores are negative, as logarithms of probabilities are: a logarithm or a power of them is nan. They need neither, only"
    " exp of scale * scores."
)
CLAMPED = (
    "All weights are equal, and the scores are not: were they cut off at a lowest value (clamp)? Subtract the largest of scale *"
    " scores instead, which keeps their differences."
)
ZERO_SCALE = "The scale is 0 here: scale * scores are zeros, and all K weights are 1 / K. Multiply by the scale; divide only by the sum."
SHAPE = "Your result has shape {}, the weights {}: one for each hypothesis. {}"
CLASH = f"The shapes do not line up: scores is (K,), the scale a number. {STEPS}"
NUMBER = "The scale is a Python number, not a tensor: write scale * scores, and torch.softmax(..., dim=0)."


def _exp(s: Tensor, c: float) -> Tensor:
    return (c * s).exp()


def _shifted(s: Tensor, c: float) -> Tensor:
    return (c * s - (c * s).max()).exp()


def _one_hot(s: Tensor) -> Tensor:
    return (s == s.max()).double()


def _shares(values: Tensor) -> Tensor:
    return values / values.sum()


MISTAKES = [
    (NO_SCALE, lambda s, c: s.softmax(0)),
    (DIVIDED, lambda s, c: (s / c).softmax(0)),
    (AFTER, lambda s, c: c * s.softmax(0)),
    (AFTER, lambda s, c: c * (c * s).softmax(0)),
    (AFTER, lambda s, c: c * _shares(s)),
    (POWER, lambda s, c: s.softmax(0) ** c),
    (OF_EXP, lambda s, c: _exp(s, c).softmax(0)),
    (OF_EXP, lambda s, c: (c * s.exp()).softmax(0)),
    (OF_EXP, lambda s, c: s.exp().softmax(0)),
    (OF_EXP, lambda s, c: (c * s).softmax(0).softmax(0)),
    (OF_EXP, lambda s, c: s.softmax(0).softmax(0)),
    (OF_EXP, lambda s, c: (c * s.softmax(0)).softmax(0)),
    (LINEAR, lambda s, c: _shares(s)),
    (LINEAR, lambda s, c: _shares(s.abs())),
    (LINEAR, lambda s, c: _shares(1 / s)),
    (SHIFTED_LINEAR, lambda s, c: _shares(s - s.min())),
    (SHIFTED_LINEAR, lambda s, c: (s - s.min()) / (s.max() - s.min())),
    (SHIFTED_LINEAR, lambda s, c: c * (s - s.min())),
    (SIGN, lambda s, c: (-c * s).softmax(0)),
    (SIGN, lambda s, c: (-s).softmax(0)),
    (SIGN, lambda s, c: (-s / c).softmax(0)),
    (ARGMAX, lambda s, c: _one_hot(s)),
    (ARGMAX, lambda s, c: s.argmax()),
    (LOGS, lambda s, c: (c * s).log_softmax(0)),
    (LOGS, lambda s, c: s.log_softmax(0)),
    (LOGS, lambda s, c: c * s.log_softmax(0)),
    (UNNORMALISED, _exp),
    (UNNORMALISED, lambda s, c: s.exp()),
    (UNNORMALISED, lambda s, c: c * s.exp()),
    (UNNORMALISED, lambda s, c: c * s),
    (BY_MAX, _shifted),
    (BY_MAX, lambda s, c: (s - s.max()).exp()),
    (NUMERATOR, lambda s, c: _exp(s, c) / s.exp().sum()),
    (NUMERATOR, lambda s, c: s.exp() / _exp(s, c).sum()),
    (DENOMINATOR, lambda s, c: _shifted(s, c) / _exp(s, c).sum()),
    (DENOMINATOR, lambda s, c: _exp(s, c) / _shifted(s, c).sum()),
    (BASE, lambda s, c: (math.log(10) * c * s).softmax(0)),
    (BASE, lambda s, c: (math.log(2) * c * s).softmax(0)),
    (SIGMOID, lambda s, c: (c * s).sigmoid()),
    (SIGMOID, lambda s, c: _shares((c * s).sigmoid())),
    (SORTED, lambda s, c: (c * s).softmax(0).sort(descending=True).values),
    (SORTED, lambda s, c: (c * s).softmax(0).sort().values),
    (SORTED, lambda s, c: (c * s).softmax(0).flip(0)),
    (UNIFORM, lambda s, c: torch.full_like(s, 1 / len(s))),
    (RANKS, lambda s, c: _shares(1 / (s.argsort(descending=True).argsort() + 1.0))),
    (RANKS, lambda s, c: _shares(1 / torch.arange(1.0, len(s) + 1))),
    (DETACHED, lambda s, c: (s + c).exp()),
    (LOST, lambda s, c: _shifted(s, c) / len(s)),
    (LOST, lambda s, c: _exp(s, c) / len(s)),
]
CASES = [  # small scores, of which exp can be taken; not sorted; one below and one above scale 1
    (torch.tensor([-1.5, -0.25, -3.0, -0.75, -2.5], dtype=torch.float64), 0.5),
    (torch.tensor([-2.0, -1.0, -0.5, -1.75], dtype=torch.float64), 1.5),
    (torch.tensor([-3.5, -2.75, -3.0, -4.25, -1.0, -2.0], dtype=torch.float64), 0.25),
]
REAL = [-10_012.5, -10_000.0, -10_003.5, -10_020.0, -10_001.25]


def _check(answer: Callable, scores: Tensor, scale: float) -> None:
    expected = nbest_posterior(scores, scale)
    try:
        got = attempt(answer, scores, scale, clash=CLASH)
    except StudentError as wrapped:
        if isinstance(wrapped.error, ZeroDivisionError) and not scale:
            raise Mistake(ZERO_SCALE) from None
        if isinstance(wrapped.error, OverflowError):
            raise Mistake(f"{OVERFLOW} (Python said: {wrapped.error})") from None
        if isinstance(wrapped.error, ZeroDivisionError):
            raise Mistake(f"{UNDERFLOW} (Python said: {wrapped.error})") from None
        if isinstance(wrapped.error, (AttributeError, TypeError)) and "float" in str(wrapped.error):
            raise Mistake(f"{NUMBER} (Python said: {wrapped.error})") from None
        raise
    try:
        close(got, expected, atol=5e-4, rtol=5e-4, what="your result")  # float32 will do
    except Mistake as mistake:
        recognise(answer, CASES, MISTAKES)
        if isinstance(got, Tensor):
            _look(got, scores, scale)
        raise Mistake(f"{mistake} {STEPS}") from None


def _look(got: Tensor, scores: Tensor, scale: float) -> None:
    """What can be said of a wrong result whose computation is not known: mostly, of one that is right for small scores."""
    if got.shape != scores.shape:
        raise Mistake(SHAPE.format(tuple(got.shape), tuple(scores.shape), STEPS))
    if not got.is_floating_point():
        return
    if not scale and not got.isfinite().all():
        raise Mistake(ZERO_SCALE)
    if not got.isfinite().all() and scores.max() > -1000:
        raise Mistake(NEGATIVE if got.isnan().any() else f"Your result holds infinity. {STEPS}")
    if not got.isfinite().all():
        raise Mistake(
            OVERFLOW if scores.max() - scores.min() > 1000 else UNDERFLOW
        )  # the test before has the near ones
    if scores.max() < -1000 and scale and got.sum() < 0.9:
        raise Mistake(VANISHED.format(float(got.sum())))
    if scale and len(got) > 1 and (got == got[0]).all():
        raise Mistake(CLAMPED)
    if note := sum_note(got, log=False, dim=-1):
        raise Mistake(f"{note} {STEPS}")


def posterior_small(answer: Callable) -> None:
    """scores between -4 and 0, in no order, with scales below and above 1"""
    for scores, scale in CASES:
        _check(answer, scores, scale)


def posterior_real(answer: Callable) -> None:
    """scores of a recogniser, about -10,000, with scale 1 and with scale 1 / 8: the sum is 1, and nothing is nan"""
    for scale in (1.0, 0.125):
        _check(answer, torch.tensor(REAL, dtype=torch.float64), scale)


def posterior_far(answer: Callable) -> None:
    """scores from -13,000 to -10,000: the best gets nearly all weight, and the others 0, not nan"""
    _check(answer, torch.tensor([-10_500.0, -10_000.0, -13_000.0, -10_001.0, -12_000.0], dtype=torch.float64), 1.0)


def posterior_ends(answer: Callable) -> None:
    """scale 0, all hypotheses alike; a list of one hypothesis, which gets 1"""
    _check(answer, torch.tensor(REAL, dtype=torch.float64), 0.0)
    _check(answer, torch.tensor([-9_876.5], dtype=torch.float64), 0.5)
