"""Routers choose the model before any has answered: how they are measured, and one that learns from benchmark results.

A router between two models has a score for each item, and the items with the highest go to the strong model; N items,
with what the weak and the strong model would reach on each: 0 or 1, or any quality. One among M models is `KNNRouter`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.validation import check_is_fitted

ROUNDING = 1e-12


class Curve(NamedTuple):
    """Quality as a function of the share of items that the strong model gets, both (P,); share rises from 0 to 1."""

    share: np.ndarray
    quality: np.ndarray


def routing_curve(win: Any, weak: Any, strong: Any) -> Curve:
    """Mean quality when the j items with the highest `win` go to the strong model, for j = 0..N: share j / N, both
    (N + 1,).

    quality_j = (1/N) (sum of strong over these j items + sum of weak over the others); win, weak, strong (N,).
    Equal scores cannot be told apart: within a group of them the curve is the mean over all its orders, a straight
    line. So a constant score gives random routing, and win = strong - weak the oracle, which may well be above the
    strong model.
    Raises ValueError: shapes that differ, no items, numbers that are not finite.
    Source: Ong et al. (2024), RouteLLM, the router R_alpha: strong where win >= alpha, for every alpha.
    """
    win, weak, strong = (np.asarray(a, dtype=float) for a in (win, weak, strong))
    if win.ndim != 1 or not win.size or not win.shape == weak.shape == strong.shape:
        raise ValueError(
            f"win, weak and strong must be (N,), a number for each item, got {win.shape}, {weak.shape}, {strong.shape}"
        )
    if not np.isfinite([win, weak, strong]).all():
        raise ValueError("win, weak and strong must be finite numbers")
    _, group, size = np.unique(
        -win, return_inverse=True, return_counts=True
    )  # groups of equal scores, the highest first
    gain = np.bincount(group, weights=strong - weak) / size  # mean over the group
    calls = np.arange(len(win) + 1)
    total = np.interp(calls, np.append(0, size.cumsum()), np.append(0, (gain * size).cumsum()))
    return Curve(calls / len(win), weak.mean() + total / len(win))


def pgr(quality: Any, weak: float, strong: float) -> np.ndarray | float:
    """Performance gap recovered, (quality - weak) / (strong - weak): 0 the weak model alone, 1 the strong; any shape.

    weak, strong: the mean qualities of the two models. Not clipped: below 0 is worse than the weak model, above 1
    better than the strong. Raises ValueError: weak == strong (there is no gap), numbers that are not finite.
    Source: Ong et al. (2024), RouteLLM, metrics.
    """
    quality, gap = np.asarray(quality, dtype=float), float(strong) - float(weak)
    if not np.isfinite(quality).all() or not np.isfinite(gap):
        raise ValueError("quality, weak and strong must be finite numbers")
    if abs(gap) <= ROUNDING * max(abs(weak), abs(strong)):
        raise ValueError(
            f"weak and strong both have quality {weak:.6g}: there is no gap to recover, choose two models that differ"
        )
    found = (quality - weak) / gap
    return found if found.ndim else float(found)


def _gaps(share: Any, quality: Any) -> tuple[np.ndarray, np.ndarray]:
    """share and PGR, both (P,); the ends of the curve are the two models alone."""
    share, quality = np.asarray(share, dtype=float), np.asarray(quality, dtype=float)
    if share.ndim != 1 or len(share) < 2 or share.shape != quality.shape:
        raise ValueError(f"share and quality must be (P,) with P of at least 2, got {share.shape} and {quality.shape}")
    if share[0] != 0 or share[-1] != 1 or not (np.diff(share) >= 0).all():
        raise ValueError("share must rise from 0 (the weak model alone) to 1 (the strong model alone)")
    return share, pgr(quality, quality[0], quality[-1])


def apgr(share: Any, quality: Any) -> float:
    """Average PGR, the integral of PGR over the share of strong calls in [0, 1]:
    `apgr(*routing_curve(win, weak, strong))`.

    Quadrature: the trapezoidal rule over the given points, exact for a curve that is straight between them; over all
    N + 1 of `routing_curve` random routing has .5 in expectation. (The paper takes the mean over 10 thresholds
    instead.)
    Raises ValueError: shapes that differ, share not rising from 0 to 1, equal quality at both ends.
    Source: Ong et al. (2024), RouteLLM, metrics.
    """
    return float(np.trapezoid(y=_gaps(share, quality)[1], x=np.asarray(share, dtype=float)))


def cpt(share: Any, quality: Any, x: float) -> float:
    """CPT(x), call-performance threshold: the smallest share of strong calls, among the curve's, with PGR >= x
    (.5, not 50).

    Raises ValueError: as `apgr`; an x that the curve never reaches, possible above 1 only.
    Source: Ong et al. (2024), RouteLLM, metrics.
    """
    share, gaps = _gaps(share, quality)
    reached = gaps >= x - ROUNDING
    if not reached.any():
        raise ValueError(f"the curve never reaches a PGR of {x}: its highest is {gaps.max():.6g}")
    return float(share[reached.argmax()])


class KNNRouter(BaseEstimator):
    """Choose among M models by what they got right on the most similar inputs of a benchmark.

    g_m(x) = (1/k) sum of outcomes[i, m] over the k inputs i of the benchmark with the largest cosine similarity to x;
    the chosen model is argmax_m g_m(x) - price cost_m, and of equals the cheapest, then the first.

    n_neighbors: k. costs: (M,), one call of each model, in any unit (None: no model costs anything). price: how much
    quality one unit of cost is worth. A scikit-learn estimator: `fit(X, outcomes)`, `score(X, outcomes)`.
    Raises ValueError at fit: shapes that do not fit, outcomes outside [0, 1], k above the number of inputs, costs not
    one for each model; NotFittedError before fit.
    Source: Shnitzer et al. (2023), Large Language Model Routing with Benchmark Datasets
    (kNN correctness predictor, score S1).
    """

    def __init__(self, n_neighbors: int = 50, costs: Any = None, price: float = 0.0) -> None:
        self.n_neighbors = n_neighbors
        self.costs = costs
        self.price = price

    def fit(self, X: Any, outcomes: Any) -> KNNRouter:
        """X (n, d) embeddings of benchmark inputs, dense or sparse; outcomes (n, M): 1 where model m is right, else
        0."""
        X, outcomes = _embeddings(X), np.asarray(outcomes, dtype=float)
        if outcomes.ndim != 2 or len(outcomes) != X.shape[0] or not outcomes.size:
            raise ValueError(f"outcomes must be ({X.shape[0]}, models), a row for each row of X, got {outcomes.shape}")
        if not ((outcomes >= 0) & (outcomes <= 1)).all():
            raise ValueError("outcomes must be from 0 (wrong) to 1 (right), without NaN")
        if not 1 <= self.n_neighbors <= len(outcomes):
            raise ValueError(
                f"n_neighbors must be from 1 to the number of inputs, {len(outcomes)}, got {self.n_neighbors}"
            )
        costs = np.zeros(outcomes.shape[1]) if self.costs is None else np.asarray(self.costs, dtype=float)
        if costs.shape != outcomes.shape[1:] or not np.isfinite(costs).all() or not np.isfinite(self.price):
            raise ValueError(
                f"costs must be {outcomes.shape[1:]} finite numbers, one for each model, and price finite, got"
                f" {costs.tolist()} and {self.price}"
            )
        self.costs_, self.outcomes_, self.n_features_in_ = costs, outcomes, X.shape[1]
        self.neighbors_ = NearestNeighbors(n_neighbors=self.n_neighbors, metric="cosine").fit(X)
        return self

    def predict_outcomes(self, X: Any) -> np.ndarray:
        """g (n, M): the mean outcome of each model on the neighbours of each row of X (n, d)."""
        check_is_fitted(self)
        X = _embeddings(X)
        if X.shape[1] != self.n_features_in_:
            raise ValueError(f"X has {X.shape[1]} features and the router was fitted with {self.n_features_in_}")
        return self.outcomes_[self.neighbors_.kneighbors(X, return_distance=False)].mean(axis=1)  # (n, k, M) -> (n, M)

    def predict(self, X: Any) -> np.ndarray:
        """The index of the model that each row of X (n, d) is sent to, (n,)."""
        return self._choose(self.predict_outcomes(X))

    def choose_for_task(self, X: Any) -> int:
        """S1: ONE model for a whole new data set, argmax_m of the mean of g_m(x) over its inputs X (n, d), less price
        cost_m."""
        return int(self._choose(self.predict_outcomes(X).mean(axis=0, keepdims=True))[0])

    def score(self, X: Any, outcomes: Any) -> float:
        """Mean outcome of the chosen models: X (n, d), outcomes (n, M). What they cost is not in it."""
        chosen, outcomes = self.predict(X), np.asarray(outcomes, dtype=float)
        if outcomes.shape != (len(chosen), len(self.costs_)):
            raise ValueError(f"outcomes must be {(len(chosen), len(self.costs_))}, got {outcomes.shape}")
        return float(outcomes[np.arange(len(chosen)), chosen].mean())

    def _choose(self, g: np.ndarray) -> np.ndarray:
        utility = g - self.price * self.costs_
        best = utility >= utility.max(axis=1, keepdims=True) - ROUNDING
        cheapest_first = np.argsort(self.costs_, kind="stable")
        return cheapest_first[best[:, cheapest_first].argmax(axis=1)]


def _embeddings(X: Any) -> Any:
    X = X if issparse(X) else np.asarray(X, dtype=float)
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(f"X must be (n, d), an embedding in each row, got {X.shape}")
    if not np.isfinite(X.data if issparse(X) else X).all():
        raise ValueError("X must be finite numbers: it holds NaN or infinity")
    return X
