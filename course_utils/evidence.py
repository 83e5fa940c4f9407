"""Is it so? A sample that is drawn and not cut, the 95 % interval of a figure or of a paired difference, and a claim.

texts = sample(corpora.verses()["test"]["web"], 60)
gain = interval(nll_of_the_best - nll_of_the_mixture, count=tokens)
print(gain)                                                              # 0.310 [0.210, 0.420]
claim("A mixture beats its best member", "Jelinek and Mercer 1980", f"{gain:+.2f} nats per token", gain, "60 verses")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Interval", "claim", "interval", "sample"]

HOLDS, FAILS, NOT_SHOWN = "holds here", "does not hold here", "not shown here"


def sample(items: Any, n: int, seed: int = 0) -> Any:
    """n of the items, drawn without replacement, in their own order: a list, or a Dataset or DataFrame of these rows.

    The first n rows of a split are often one book or one document; these are from all over it. Raises ValueError for
    more than there are.
    """
    if not 0 < n <= len(items):
        raise ValueError(f"a sample of {n} from {len(items)} items: ask for at least 1 and at most all of them")
    index = np.sort(np.random.default_rng(seed).choice(len(items), n, replace=False))
    if hasattr(items, "iloc"):
        return items.iloc[index]
    return items.select(index) if hasattr(items, "select") else [items[i] for i in index.tolist()]


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval, from n independent units. Printed as "0.310 [0.210, 0.420]"."""

    value: float
    low: float
    high: float
    n: int

    @property
    def shows(self) -> int:
        """What the interval shows of the sign: 1 or -1, and 0 if it contains 0, that is "not shown here"."""
        return int(self.low > 0) - int(self.high < 0)

    def __format__(self, spec: str) -> str:
        value, low, high = (format(number, spec or ".3f") for number in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"

    def __str__(self) -> str:
        return format(self)


def interval(
    values: Any,
    count: Any = None,
    cluster: Sequence | None = None,
    of: Callable[[np.ndarray], Any] | None = None,
    draws: int = 4000,
    seed: int = 0,
) -> Interval:
    """The mean of `values` with its 95 % bootstrap interval: units are drawn with replacement, `draws` times.

        sum_i values_i / sum_i count_i

    values (n,): one number a unit. The difference of two systems on the same unit makes it a paired comparison. A unit
    is what was drawn: a text, a verse, a prompt; not a token, and not one of several continuations of a prompt.
    count (n,): with sums as values, what they are divided by, such as the tokens of each text; 1 if not given.
    cluster (n,): units with the same label are drawn together, and n is the number of labels.
    of: for (draws, n) counts of how often each unit was drawn, the statistic of each draw, (draws,), instead of the
        mean; for what is no mean, as BLEU or a correlation. Then `values` only says how many units there are.
    Raises ValueError for fewer than two units, values that are not finite, or lengths that differ.
    Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 13 (percentiles) and 6 (clusters).
    """
    values = np.asarray(values, dtype=float)
    count = np.ones(len(values)) if count is None else np.asarray(count, dtype=float)
    if values.ndim != 1 or values.shape != count.shape or (cluster is not None and len(cluster) != len(values)):
        raise ValueError("values, count and cluster must be lists of one length, with one entry for each unit")
    if not np.isfinite(values).all():
        raise ValueError("some values are nan or infinite: leave these units out, and say how many")
    labels, of_unit = np.unique(np.arange(len(values)) if cluster is None else np.asarray(cluster), return_inverse=True)
    n = len(labels)
    if n < 2:
        raise ValueError(f"an interval needs at least two independent units, and there is {n}")
    random = np.random.default_rng(seed)
    drawn = random.multinomial(n, np.full(n, 1 / n), size=draws)  # (draws, n): how often each unit
    if of is None:
        sums, counts = (np.bincount(of_unit, weights=part, minlength=n) for part in (values, count))
        value, found = sums.sum() / counts.sum(), (drawn @ sums) / (drawn @ counts)
    else:
        each = np.ones((1, len(values)), dtype=drawn.dtype)
        value, found = np.asarray(of(each))[0], np.asarray(of(drawn[:, of_unit]))
    low, high = np.quantile(found, [0.025, 0.975])
    return Interval(float(value), float(low), float(high), n)


def claim(what: str, source: str, here: str, measured: Interval | bool, units: str) -> None:
    """Print a claim, what was measured of it here, and what that shows; one row of the table of all claims.

    what: the claim, in the words of whoever makes it, so that a positive difference (or True) speaks for it.
    source: author, year and table or figure; "this course" for a claim of our own.
    here: our figure with its unit, in words; an interval is written out in it.
    measured: the interval of a difference that the claim says is positive: "holds here" if it lies above 0, "does not
        hold here" if below, "not shown here" if it contains 0. Or True and False, where nothing was drawn.
    units: what was drawn and how many, and how many models were trained: "60 verses, one run each".
    Raises ValueError for an empty part or one with a line break: a row of a table is one line.
    """
    for name, part in (("what", what), ("source", source), ("here", here), ("units", units)):
        if not part.strip() or "\n" in part:
            raise ValueError(f"{name}={part!r}: a claim needs one line of text there")
    shows = measured.shows if isinstance(measured, Interval) else 1 if measured else -1
    print(
        f"Claim:  {what}\nSource: {source}\nHere:   {here}\nFrom:   {units}\nShown:  {[NOT_SHOWN, HOLDS, FAILS][shows]}"
    )
