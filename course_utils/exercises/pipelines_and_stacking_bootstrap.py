"""Tests of 09_pipelines_and_stacking: an interval for the difference of two systems on the same sentences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from course_utils.exercises.arrays import judge, pair, tried
from course_utils.exercises.engine.calls import Mistake, StudentError
from course_utils.exercises.mistakes import alike

Array = np.ndarray


def paired_bootstrap(a: Array, b: Array, index: Array) -> tuple[float, float]:
    """2.5% and 97.5% quantile of mean(a[index[r]]) - mean(b[index[r]]) over the resamples r.

    a, b (N,): scores of the same N sentences. index (R, N). Source: Koehn (2004), Statistical Significance Tests for
    Machine Translation Evaluation, section 4 (paired bootstrap resampling).
    """
    differences = (a - b)[index].mean(axis=1)  # (R,)
    low, high = np.quantile(differences, [0.025, 0.975])
    return float(low), float(high)


STEPS = (
    "differences = (a - b)[index].mean(axis=1), (R,), one for each resample; np.quantile(differences, [0.025, 0.975])."
)
UNPAIRED = (
    "a and b are resampled by different rows of index. A hard sentence is hard for both systems, and only the SAME sentences"
    " let that cancel: a[index[r]] with b[index[r]]. Unpaired, the interval is too wide."
)
ONE_RESAMPLED = (
    "Only one of the two systems is resampled, and the other keeps its mean: take the same sentences for both."
)
INTERVALS = (
    "You take an interval for each system, and then their difference. Both move together from resample to resample: take the"
    " difference in EACH resample first, and the quantiles last."
)
STANDARD_ERROR = (
    "You take a mean and a multiple of a standard deviation, which supposes a normal distribution. The quantiles are read"
    " from the resampled differences themselves: np.quantile(differences, [0.025, 0.975])."
)
LEVEL = "The quantiles are others than 2.5% and 97.5%: 95% lie between them, so 2.5% are left on EACH side."
MINUS = "This is b minus a: the difference is mean of a minus mean of b, so that a positive one is in favour of a."
ITEMS = (
    "These are quantiles of the single differences a - b: they say how much sentences differ, and do not shrink with N. Take"
    " the mean of each resample first, then the quantiles of the R means."
)
NO_MEAN = "The mean over the sentences of each resample is missing: (a - b)[index] is (R, N), and .mean(axis=1) makes (R,) of it."
AXIS_0 = "The mean runs over the resamples (axis 0): row r of index is resample r, so take axis=1."
WITHIN = "You take quantiles within each resample: take its MEAN, and the quantiles over the R means."
UNUSED = (
    "Your result does not depend on index. Its row r says which sentences resample r consists of: (a - b)[index[r]]."
)
OWN = (
    "Your result is another one at each call: draw no sentences of your own. The resamples are given, as rows of index."
)
SUM = "Your differences are sums: take the mean over the N sentences of each resample."
MEDIAN = "You take the median of each resample: the score of a system is the mean over its sentences."
EXTREMES = "These are the smallest and the largest difference of all resamples: take the quantiles 0.025 and 0.975."
RATIO = "You compare by a ratio: the difference is mean of a minus mean of b, in the units of the scores."
ABSOLUTE = "The sign of the differences is lost (abs): whether the interval includes 0 is what we want to see."
CENTRED = "The observed difference is subtracted, so your interval lies around 0. Return the quantiles of the differences themselves."
REFLECTED = "This is the reflected interval (2 * observed - quantile). Asked are the quantiles of the resampled differences themselves."
SWAPPED = "The two are swapped: the first is low, the 2.5% quantile, the second high."
ROUNDED = "Your result is rounded: return the two numbers as they are."
SHARE = "This is a share of resamples in which one system wins: asked are two quantiles of the difference."
NEAREST = (
    "You read sorted differences at a whole-numbered place. np.quantile interpolates between neighbours: use it, with the"
    " quantiles 0.025 and 0.975."
)
DISTINCT = "You count every sentence of a resample once (set or np.unique). It is drawn with replacement: one that came twice counts twice."
LEFT_OUT = "Not all resamples or not all sentences of each were used: index is (R, N), use all its rows and columns."
SCALED = (
    "Your interval is scaled by a power of N or R: the quantiles of the R mean differences are the result as they are."
)
ONE = "You return one number. Asked are two: (low, high)."
MANY = "You return {} numbers. Asked are two, (low, high): the two quantiles."
EACH = "low and high are one number each. Yours has shape {}: the quantiles are taken over all R resamples."
PERCENTS = "np.quantile counts from 0 to 1, np.percentile from 0 to 100: np.quantile(..., [0.025, 0.975])."
INDEX = "index (R, N) holds sentence numbers: a[index] is (R, N), the scores of all resamples; a[index[r]] those of resample r. {}"


def _means(x: Array, index: Array) -> Array:
    return x[index].mean(axis=1)


def _range(values: Array, level: float = 0.025, axis: int | None = None) -> Array:
    return np.quantile(values, [level, 1 - level], axis=axis)


def _around(centre: float, spread: float, times: float) -> Array:
    return np.array([centre - times * spread, centre + times * spread])


def _normal(times: float, ddof: int) -> list[tuple[str, Callable]]:
    return [
        (STANDARD_ERROR, lambda a, b, i: _around(_means(a - b, i).mean(), _means(a - b, i).std(ddof=ddof), times)),
        (STANDARD_ERROR, lambda a, b, i: _around((a - b).mean(), _means(a - b, i).std(ddof=ddof), times)),
        (STANDARD_ERROR, lambda a, b, i: _around((a - b).mean(), (a - b).std(ddof=ddof) / len(a) ** 0.5, times)),
        (
            STANDARD_ERROR,
            lambda a, b, i: _around(_means(a - b, i).mean(), (a - b).std(ddof=ddof) / len(a) ** 0.5, times),
        ),
        (
            STANDARD_ERROR,
            lambda a, b, i: _around(_means(a - b, i).mean(), _means(a - b, i).std(ddof=ddof) / len(i) ** 0.5, times),
        ),
        (STANDARD_ERROR, lambda a, b, i: _around((a - b).mean(), (a - b).std(ddof=ddof), times)),
    ]


def _sorted_at(shift: int, top: int) -> Callable:
    """The sorted differences at places that are rounded down; R from 41 up."""

    def places(a: Array, b: Array, index: Array) -> Array:
        ordered, n = np.sort(_means(a - b, index)), len(index)
        return ordered[[int(0.025 * n) + shift, int(0.975 * n) + top]]

    return places


def _rows(a: Array, b: Array, index: Array) -> Array:
    return np.array([a[np.unique(row)].mean() - b[np.unique(row)].mean() for row in index])


MISTAKES = [
    (UNPAIRED, lambda a, b, i: _range(_means(a, i) - _means(b, i[::-1]))),
    (UNPAIRED, lambda a, b, i: _range(_means(a, i) - np.roll(_means(b, i), 1))),
    (UNPAIRED, lambda a, b, i: _range(_means(a, i) - np.roll(_means(b, i), -1))),
    (UNPAIRED, lambda a, b, i: _range(_means(a, i)[:, None] - _means(b, i))),
    (ONE_RESAMPLED, lambda a, b, i: _range(_means(a, i) - b.mean())),
    (ONE_RESAMPLED, lambda a, b, i: _range(a.mean() - _means(b, i))),
    (INTERVALS, lambda a, b, i: _range(_means(a, i)) - _range(_means(b, i))),
    (INTERVALS, lambda a, b, i: _range(_means(a, i)) - _range(_means(b, i))[::-1]),
    (INTERVALS, lambda a, b, i: np.sort(_range(_means(a, i)) - _range(_means(b, i)))),
    *(pair for times in (1.96, 2.0, 1.0, 1.645) for ddof in (0, 1) for pair in _normal(times, ddof)),
    *(
        (LEVEL, lambda a, b, i, level=level: _range(_means(a - b, i), level))
        for level in (0.05, 0.005, 0.01, 0.1, 0.25, 0.0025, 0.95)
    ),
    (LEVEL, lambda a, b, i: np.quantile(_means(a - b, i), [0.025, 0.95])),
    (LEVEL, lambda a, b, i: np.quantile(_means(a - b, i), [0.05, 0.975])),
    (LEVEL, lambda a, b, i: np.quantile(_means(a - b, i), [0.25, 0.975])),
    (PERCENTS, lambda a, b, i: np.percentile(_means(a - b, i), [0.025, 0.975])),
    (MINUS, lambda a, b, i: _range(_means(b - a, i))),
    (MINUS, lambda a, b, i: -_range(_means(a - b, i))),
    (ITEMS, lambda a, b, i: _range(a - b)),
    (NO_MEAN, lambda a, b, i: _range((a - b)[i])),
    (NO_MEAN, lambda a, b, i: _range((a - b)[i], axis=0)),
    (AXIS_0, lambda a, b, i: _range((a - b)[i].mean(axis=0))),
    (WITHIN, lambda a, b, i: _range((a - b)[i], axis=1)),
    (WITHIN, lambda a, b, i: _range((a - b)[i], axis=1).mean(axis=1)),
    (SUM, lambda a, b, i: _range((a - b)[i].sum(axis=1))),
    (MEDIAN, lambda a, b, i: _range(np.median((a - b)[i], axis=1))),
    (MEDIAN, lambda a, b, i: _range(np.median(a[i], axis=1) - np.median(b[i], axis=1))),
    (EXTREMES, lambda a, b, i: _range(_means(a - b, i), 0.0)),
    (RATIO, lambda a, b, i: _range(_means(a, i) / _means(b, i))),
    (RATIO, lambda a, b, i: _range(_means(a, i) / _means(b, i) - 1)),
    (RATIO, lambda a, b, i: _range(_means(a - b, i)) / b.mean()),
    (RATIO, lambda a, b, i: _range(_means(a - b, i)) * 100),
    (ABSOLUTE, lambda a, b, i: _range(np.abs(_means(a - b, i)))),
    (ABSOLUTE, lambda a, b, i: _range(_means(np.abs(a - b), i))),
    (CENTRED, lambda a, b, i: _range(_means(a - b, i)) - (a - b).mean()),
    (CENTRED, lambda a, b, i: _range(_means(a - b, i)) - _means(a - b, i).mean()),
    (REFLECTED, lambda a, b, i: 2 * (a - b).mean() - _range(_means(a - b, i))[::-1]),
    (REFLECTED, lambda a, b, i: 2 * (a - b).mean() - _range(_means(a - b, i))),
    (SWAPPED, lambda a, b, i: _range(_means(a - b, i))[::-1]),
    *((NEAREST, _sorted_at(shift, top)) for shift in (0, -1, 1) for top in (0, -1, 1)),
    *(
        (NEAREST, lambda a, b, i, how=how: np.quantile(_means(a - b, i), [0.025, 0.975], method=how))
        for how in ("lower", "higher", "nearest", "inverted_cdf", "midpoint")
    ),
    *((ROUNDED, lambda a, b, i, digits=digits: _range(_means(a - b, i)).round(digits)) for digits in (1, 2, 3, 4)),
    (DISTINCT, lambda a, b, i: _range(_rows(a, b, i))),
    (LEFT_OUT, lambda a, b, i: _range(_means(a - b, i[:-1]))),
    (LEFT_OUT, lambda a, b, i: _range(_means(a - b, i[1:]))),
    (LEFT_OUT, lambda a, b, i: _range(_means(a - b, i[: len(a)]))),
    (LEFT_OUT, lambda a, b, i: _range(_means(a - b, i[:, :-1]))),
    (LEFT_OUT, lambda a, b, i: _range(_means(a - b, i[:, 1:]))),
    (LEFT_OUT, lambda a, b, i: _range((a - b)[i[:, 0]])),
    (LEFT_OUT, lambda a, b, i: _range((a - b)[i[0]])),
    (SCALED, lambda a, b, i: _range(_means(a - b, i)) / len(a) ** 0.5),
    (SCALED, lambda a, b, i: _range(_means(a - b, i)) * len(a) ** 0.5),
    (SCALED, lambda a, b, i: _range(_means(a - b, i)) / len(i)),
    (SCALED, lambda a, b, i: _range((a - b)[i].sum(axis=1)) / len(i)),
]


def inputs(seed: int, sentences: int, resamples: int, gain: float) -> tuple[Array, Array, Array]:
    """Scores of two systems that both find the same sentences hard; a is better by about `gain`."""
    random = np.random.default_rng(seed)
    hard = random.uniform(0.1, 0.8, sentences)
    a, b = hard + gain + 0.08 * random.standard_normal(sentences), hard + 0.05 * random.exponential(size=sentences)
    return a, b, random.integers(0, sentences, (resamples, sentences))


CASES = [inputs(951, 25, 150, 0.11), inputs(952, 18, 60, 0.02)]


def _paired(answer: Callable) -> Callable:
    def called(*case: Any) -> Tensor:
        try:
            return pair(tried(answer, *case), ONE, MANY, EACH)
        except StudentError as wrapped:
            said = str(wrapped.error).split("\n")[0]
            if isinstance(wrapped.error, ValueError) and ("uantiles must be" in said or "ercentiles must be" in said):
                raise Mistake(f"{PERCENTS} (NumPy said: {said})") from None
            if isinstance(wrapped.error, IndexError) or "broadcast" in said:
                raise Mistake(f"{INDEX.format(STEPS)} (The message was: {said})") from None
            raise

    return called


def _check(answer: Callable, case: tuple) -> None:
    answer = _paired(answer)

    def look(got: Tensor, case: tuple) -> None:
        if got.shape != (2,):
            raise Mistake(EACH.format(tuple(got.shape)))
        if not alike(got, answer(*case)):
            raise Mistake(OWN)
        if got.isfinite().all() and alike(got, answer(*case[:2], np.zeros_like(case[2]))):
            raise Mistake(UNUSED)
        if (got >= 0).all() and (got <= 1).all() and _is_share(got, *case):
            raise Mistake(SHARE)

    judge(answer, case, paired_bootstrap, CASES, MISTAKES, STEPS, look)


def _is_share(got: Tensor, a: Array, b: Array, index: Array) -> bool:
    wins = float((_means(a - b, index) > 0).mean())
    return all(min(abs(value - wins), abs(value - 1 + wins)) < 1e-9 for value in got.tolist())


def bootstrap_random(answer: Callable) -> None:
    """25 sentences and 150 resamples, 18 and 60: both systems find the same sentences hard"""
    for case in CASES:
        _check(answer, case)


def bootstrap_constant(answer: Callable) -> None:
    """a is better by the same 0.5 on every sentence, easy or hard: whatever is drawn, the difference is 0.5"""
    b, index = CASES[0][0], CASES[0][2]
    _check(answer, (b + 0.5, b, index))


def bootstrap_by_hand(answer: Callable) -> None:
    """two sentences, and 41 resamples of which 21 are (0, 0) and 20 are (1, 1): the differences are 1 and -3, as they are drawn"""
    index = np.array([[0, 0]] * 21 + [[1, 1]] * 20)
    _check(answer, (np.array([2.0, 0.0]), np.array([1.0, 3.0]), index))
