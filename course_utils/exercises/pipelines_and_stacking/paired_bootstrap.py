"""An interval for the difference of two systems on the same sentences."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from course_utils.exercises.engine import Exercise, Mistake, case, in_integers, numbers
from course_utils.exercises.engine.exercise import Corner

Array = np.ndarray
QUANTILES = np.array([0.025, 0.975])


def paired_bootstrap(a: Array, b: Array, index: Array) -> tuple[float, float]:
    """2.5% and 97.5% quantile of mean(a[index[r]]) - mean(b[index[r]]) over the resamples r.

    a, b (N,): scores of the same N sentences. index (R, N). Source: Koehn (2004), Statistical Significance Tests for
    Machine Translation Evaluation, section 4 (paired bootstrap resampling).
    """
    differences = (a - b)[index].mean(axis=1)  # (R,)
    low, high = np.quantile(differences, [0.025, 0.975])
    return float(low), float(high)


def _pair(got: Any, *args: Array) -> Array:
    """The two numbers, which may come as a tuple, a list, an array or a tensor."""
    return numbers(got, "your result").double().numpy().squeeze()


def _means(x: Array, index: Array) -> Array:
    return x[index].mean(axis=1)


def _range(values: Any) -> Array:
    return np.quantile(values, QUANTILES)


def _of(values: Callable = _means, *at: float, then: Callable = lambda q, d, i: q, **how: Any) -> Callable:
    """then(q, d, index) of the quantiles q of values(d, index), where d are the single differences a - b."""
    return lambda a, b, i: then(np.quantile(values(a - b, i), at or QUANTILES, **how), a - b, i)


def _sorted_at(shift: int, top: int) -> Callable:
    return lambda a, b, i: np.sort(_means(a - b, i))[[int(0.025 * len(i)) + shift, int(0.975 * len(i)) + top]]


def _normal(mid: Callable, of: Callable, root: float, ddof: int, times: float) -> Callable:
    """The mean of mid(d, index) and, on both sides, `times` the standard deviation of of(d, index), over a root."""
    side = times * np.array([-1, 1])
    return lambda a, b, i: mid(a - b, i).mean() + side * (x := of(a - b, i)).std(ddof=ddof) / len(x) ** root


def _inputs(seed: int, sentences: int, resamples: int, gain: float, alike: bool = False) -> tuple[Array, Array, Array]:
    """Scores of two systems that both find the same sentences hard; a is better by about `gain`."""
    random = np.random.default_rng(seed)
    hard = random.uniform(0.1, 0.8, sentences)
    a, b = hard + gain + 0.08 * random.standard_normal(sentences), hard + 0.05 * random.exponential(size=sentences)
    index = random.integers(0, sentences, (resamples, sentences))
    return a, b, index[[0] * resamples] if alike else index


def _explain(got: Array, expected: Array, a: Array, b: Array, index: Array) -> str:
    if got.shape != (2,):
        many = f"{got.size} numbers" if got.size != 1 else "one number"
        raise Mistake(f"You return {many}, shape {got.shape}.", "Return two, low and high: the two quantiles.")
    if (index == index[0]).all() and not np.isclose(got[0], got[1]):
        says = "All resamples are the same here, and still low and high differ: they do not come from index alone."
        raise Mistake(says, "Draw no sentences of your own: resample r consists of the sentences index[r].")
    if np.ptp(a - b) < 1e-9 and not np.isclose(got[0], got[1]):
        says = "a is better by 0.5 on every sentence, and still low and high differ: they come from other sentences."
        raise Mistake(says, "A resample has the same sentences for both systems.")
    return ""


_, B, RESAMPLES = _inputs(953, 21, 70, 0.5)
EVERYWHERE = B + 0.5, B, RESAMPLES
MEAN = "Take the mean of each resample first, then the quantiles of the R means."
PERCENTS = "np.quantile counts from 0 to 1, np.percentile from 0 to 100."
INDEX = "index (R, N) holds sentence numbers: a[index] is (R, N), the scores of all resamples."
trial = partial(case, view=_pair)
EXERCISE = Exercise(
    "pipelines_and_stacking.paired_bootstrap",
    reference=paired_bootstrap,
    what="your result",
    atol=1e-5,
    explain=_explain,
    errors={"uantiles must be|ercentiles must be": PERCENTS, "IndexError|broadcast": INDEX},
    cases=[
        trial("41 times the same resample: low and high are equal", *_inputs(950, 25, 41, 0.2, alike=True)),
        trial("a better by the same 0.5 on every sentence, easy or hard", *EVERYWHERE),
        trial("25 sentences, 150 resamples: what is hard for one system is for both", *_inputs(951, 25, 150, 0.11)),
        trial("18 sentences, 60 resamples, a small difference", *_inputs(952, 18, 60, 0.02)),
    ],
    corners=[
        Corner("resamples of one sentence", lambda v: {"index": np.repeat([[0] * 25, [1] * 25], [21, 20], axis=0)}),
        in_integers("a", "b"),
    ],
    mistakes={
        "a and b are resampled by different rows of index: unpaired, the interval is too wide.\n"
        "A hard sentence is hard for both systems, and only the same sentences let that cancel.": [
            *(lambda a, b, i, by=by: _range(_means(a, i) - np.roll(_means(b, i), by)) for by in (1, -1)),
            lambda a, b, i: _range(_means(a, i) - _means(b, i[::-1])),
            lambda a, b, i: _range(_means(a, i)[:, None] - _means(b, i)),
        ],
        "Only one of the two systems is resampled: take the same sentences for both.": [
            *[lambda a, b, i: _range(_means(a, i) - b.mean()), lambda a, b, i: _range(a.mean() - _means(b, i))]
        ],
        "You take an interval for each system, then the difference: both move together from resample to resample.\n"
        "Take the difference in each resample first, and the quantiles last.": [
            *(lambda a, b, i, by=by: _range(_means(a, i)) - _range(_means(b, i))[::by] for by in (1, -1)),
            lambda a, b, i: np.sort(_range(_means(a, i)) - _range(_means(b, i))),
        ],
        "You take a mean and a multiple of a standard deviation, which supposes a normal distribution.\n"
        "The quantiles are read from the resampled differences themselves.": [
            *(_normal(*o) for o in product(*2 * [(lambda d, i: d, _means)], (0, 0.5), (0, 1), (1.96, 2.0)))
        ],
        "The quantiles are others than 2.5% and 97.5%.\n95% lie between them, so 2.5% are left on each side.": [
            *(_of(_means, level, 1 - level) for level in (0.05, 0.005, 0.01, 0.1, 0.25, 0.0025, 0.95)),
            *[_of(_means, 0.025, 0.95), _of(_means, 0.05, 0.975), _of(_means, 0.25, 0.975)],
        ],
        PERCENTS: _of(_means, 0.00025, 0.00975),
        "This is b minus a, not a minus b.": [_of(lambda d, i: -_means(d, i)), _of(then=lambda q, d, i: -q)],
        f"These are quantiles of the single differences a - b.\n{MEAN}": _of(lambda d, i: d),
        f"The mean over each resample is missing.\n{MEAN}": [
            _of(lambda d, i: d[i]),
            _of(lambda d, i: d[i], axis=0),
        ],
        f"The mean runs over the resamples (axis 0).\n{MEAN}": _of(lambda d, i: d[i].mean(0)),
        f"You take quantiles within each resample.\n{MEAN}": [
            *[_of(lambda d, i: d[i], axis=1), _of(lambda d, i: d[i], axis=1, then=lambda q, d, i: q.mean(axis=1))]
        ],
        f"Your differences are sums over the sentences.\n{MEAN}": _of(lambda d, i: d[i].sum(axis=1)),
        "You take the median of each resample: the score of a system is the mean over its sentences.": [
            _of(lambda d, i: np.median(d[i], axis=1)),
            lambda a, b, i: _range(np.median(a[i], axis=1) - np.median(b[i], axis=1)),
        ],
        "These are the smallest and the largest difference, not the two quantiles.": _of(_means, 0, 1),
        "You compare by a ratio: the difference is in the units of the scores.": [
            *(lambda a, b, i, minus=minus: _range(_means(a, i) / _means(b, i)) - minus for minus in (0, 1)),
            lambda a, b, i: _range(_means(a - b, i) / _means(a, i)),
            *[lambda a, b, i: _range(_means(a - b, i)) / b.mean(), _of(then=lambda q, d, i: 100 * q)],
        ],
        "The sign of the differences is lost (abs): whether the interval includes 0 is what we want to see.": [
            *[_of(lambda d, i: np.abs(_means(d, i))), _of(lambda d, i: _means(np.abs(d), i))]
        ],
        "The observed difference is subtracted, so your interval lies around 0.": [
            *[_of(then=lambda q, d, i: q - d.mean()), _of(then=lambda q, d, i: q - _means(d, i).mean())]
        ],
        "This is the reflected interval (2 * observed - quantile): the quantiles themselves are asked for.": [
            *(_of(then=lambda q, d, i, by=by: 2 * d.mean() - q[::by]) for by in (1, -1))
        ],
        "The two are swapped: the first is low, the 2.5% quantile.": _of(_means, 0.975, 0.025),
        "You read sorted differences at a whole-numbered place.\n"
        "np.quantile interpolates between neighbours: use it, with the quantiles 0.025 and 0.975.": [
            *(_sorted_at(*shifts) for shifts in product((0, -1, 1), repeat=2)),
            *(_of(method=how) for how in ("lower", "higher", "nearest", "inverted_cdf", "midpoint")),
        ],
        "Your result is rounded.": [*(_of(then=lambda q, d, i, n=n: q.round(n)) for n in (1, 2, 3, 4))],
        "This is a share of resamples in which one system wins: return two quantiles of the difference.": [
            *(_of(then=lambda q, d, i, of=of: abs((_means(d, i) > 0).mean() - of)) for of in np.eye(2))
        ],
        "You count every sentence of a resample once (set or np.unique): one that was drawn twice counts twice.": _of(
            lambda d, i: [d[np.unique(row)].mean() for row in i]
        ),
        "Not all resamples or not all sentences of each were used: index is (R, N), use all its rows and columns.": [
            *[_of(lambda d, i: _means(d, i[:-1])), _of(lambda d, i: _means(d, i[1:])), _of(lambda d, i: d[i[0]])],
            *(_of(lambda d, i, c=c: _means(d, i[:, c])) for c in (np.s_[:-1], np.s_[1:], np.s_[:1])),
            _of(lambda d, i: _means(d, i[: len(d)])),
        ],
        "Your interval is scaled by a power of N or R: return the quantiles as they are.": [
            *(_of(then=lambda q, d, i, power=power: q * len(d) ** power) for power in (-0.5, 0.5)),
            *[_of(then=lambda q, d, i: q / len(i)), _of(then=lambda q, d, i: q * len(d) / len(i))],
        ],
    },
    hints=[
        "What is computed once for every resample, and of which numbers are the quantiles taken then?",
        "(a - b)[index] is (R, N): the differences of the sentences of each resample. Their means over axis 1 are R "
        "numbers, and 95% of these lie between the two quantiles.",
        "differences = (a - b)[index].mean(axis=1); low, high = np.quantile(differences, [0.025, 0.975])",
    ],
)
