"""Cascades: ask the cheap model first, and the next one only if its answer is not sure enough.

The arithmetic on outcomes: accuracy and cost, thresholds for a budget, and how far a confidence can be trusted. Shapes
throughout: M tiers (models in the order in which they are asked), N items; `scores` (M-1, N) say how sure we are of
each tier's answer, from 0 to 1, and the last tier needs none; `correct` (M, N) is 1 where a tier is right, else 0;
`cost` (M,) or (M, N) is what one call costs, in any unit.
`Cascade` runs models as such a cascade, with thresholds chosen on held-out items.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import cross_val_predict
from sklearn.utils.validation import check_is_fitted, column_or_1d

ROUNDING = 1e-12  # relative: sums of the same numbers in another order are equal
LARGEST_GRID = 10_000_000


class Outcome(NamedTuple):
    """What `cascade` found: means over the items, and which tier (from 0) answered each item, (N,)."""

    accuracy: float
    cost: float
    answered_by: np.ndarray


class Frontier(NamedTuple):
    """G settings of a cascade: thresholds (G, M-1), mean cost and accuracy (G,), and the indices that `pareto`
    keeps."""

    taus: np.ndarray
    cost: np.ndarray
    accuracy: np.ndarray
    best: np.ndarray


class Reliability(NamedTuple):
    """For each of B bins: its edges (B + 1,), how many items lie in it, their mean confidence and accuracy
    (NaN if none)."""

    edges: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def _in_unit_interval(name: str, array: np.ndarray) -> None:
    if not ((array >= 0) & (array <= 1)).all():  # NaN fails too
        raise ValueError(f"{name} must be numbers from 0 to 1, without NaN: got {array.min()} to {array.max()}")


def _table(scores: Any, correct: Any, cost: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """scores (M-1, N), correct (M, N), cost accumulated over the tiers (M, N), as floats."""
    correct, scores, cost = (np.asarray(a, dtype=float) for a in (correct, scores, cost))
    if correct.ndim != 2 or not correct.size:
        raise ValueError(f"correct must be (tiers, items) and not empty, got {correct.shape}")
    tiers, items = correct.shape
    if tiers == 1 and not scores.size:
        scores = scores.reshape(0, items)
    if scores.shape != (tiers - 1, items):
        raise ValueError(f"scores must be {(tiers - 1, items)}, a row for each tier but the last, got {scores.shape}")
    if cost.shape not in ((tiers,), (tiers, items)):
        raise ValueError(
            f"cost must be {(tiers,)} or {(tiers, items)}, a number for each tier or call, got {cost.shape}"
        )
    if not (np.isfinite(cost) & (cost >= 0)).all():
        raise ValueError("cost must be finite numbers of at least 0")
    if scores.size:
        _in_unit_interval("scores", scores)
    _in_unit_interval("correct", correct)
    return scores, correct, np.broadcast_to(cost.reshape(tiers, -1).cumsum(axis=0), correct.shape)


def cascade(scores: Any, correct: Any, cost: Any, taus: Any) -> Outcome:
    """An item is answered by the first tier m with scores[m] > taus[m], by the last if there is none: accuracy and mean
    cost.

    Cost accumulates: an item that tier m answers has paid for the tiers 0..m, as all of them were called. taus (M-1,);
    -inf accepts every answer of a tier, inf none.
    Raises ValueError: shapes that do not fit, scores or correct outside [0, 1], negative cost, a tau that is NaN.
    Source: Chen, Zaharia & Zou (2023), FrugalGPT, section 3 (LLM cascade).
    """
    scores, correct, paid = _table(scores, correct, cost)
    taus = np.asarray(taus, dtype=float)
    if taus.shape != scores.shape[:1] or np.isnan(taus).any():
        raise ValueError(
            f"taus must be {scores.shape[:1]} numbers, a threshold for each tier but the last, got {taus.tolist()}"
        )
    accepts = np.vstack([scores > taus[:, None], np.ones((1, correct.shape[1]), dtype=bool)])  # (M, N)
    answered_by = accepts.argmax(axis=0)  # the first True
    items = np.arange(correct.shape[1])
    return Outcome(float(correct[answered_by, items].mean()), float(paid[answered_by, items].mean()), answered_by)


def pareto(cost: Any, quality: Any) -> np.ndarray:
    """Indices, by rising cost, of the points that are not dominated: no other one is as cheap and as good, and better
    in one.

    cost, quality (P,) -> at most (P,) integers; of equal points the first is kept.
    Raises ValueError: shapes that differ or are not (P,), NaN.
    """
    cost, quality = np.asarray(cost, dtype=float), np.asarray(quality, dtype=float)
    if cost.ndim != 1 or cost.shape != quality.shape or np.isnan(cost).any() or np.isnan(quality).any():
        raise ValueError(
            f"cost and quality must be (P,) numbers without NaN, one of each a point, got {cost.shape}, {quality.shape}"
        )
    order = np.lexsort((-quality, cost))
    reached = np.concatenate([[-np.inf], np.maximum.accumulate(quality[order])[:-1]])[: len(order)]
    return order[quality[order] > reached]


def _cuts(scores: np.ndarray, n_quantiles: int) -> np.ndarray:
    """-inf, quantiles of the scores (N,), inf. Each cut lies halfway to the next score, so that rounding cannot move an
    item."""
    values = np.unique(scores)
    chosen = np.unique(np.quantile(scores, np.linspace(0, 1, n_quantiles), method="lower"))
    index = np.searchsorted(values, chosen[chosen < values[-1]])
    return np.concatenate([[-np.inf], (values[index] + values[index + 1]) / 2, [np.inf]])


def _means(accepts: Sequence[np.ndarray], value: np.ndarray) -> np.ndarray:
    """Mean over the items of value (M, N) at the tier that answers, for all combinations of accepts[m] (K_m, N), 0 or
    1.

    The first half of the tiers and the rest are multiplied out apart and meet in one matrix product: (first, rest).
    """
    half, items = len(accepts) // 2, value.shape[1]
    open_, done = np.ones((1, items)), np.zeros(1)  # still without an answer; the sum over those who have one
    for m in range(half):
        done = (done[:, None] + (open_ * value[m]) @ accepts[m].T).ravel()
        open_ = (open_[:, None] * (1 - accepts[m])).reshape(-1, items)
    rest = value[-1:]
    for m in reversed(range(half, len(accepts))):
        rest = ((accepts[m] * value[m])[:, None] + (1 - accepts[m])[:, None] * rest).reshape(-1, items)
    return (done[:, None] + open_ @ rest.T) / items


def frontier(scores: Any, correct: Any, cost: Any, n_quantiles: int = 40) -> Frontier:
    """Accuracy and mean cost of the cascade for every combination of thresholds, and the Pareto set of these settings.

    A tier's thresholds are n_quantiles quantiles of its scores, -inf (its answer is always accepted) and inf (never).
    Raises ValueError: as `cascade`; n_quantiles below 2, or so many that there are over 10 million settings.
    Source: Chen et al. (2023), FrugalGPT, section 3; its code has 40 quantiles a tier too.
    """
    if n_quantiles < 2:
        raise ValueError(f"n_quantiles must be at least 2, got {n_quantiles}")
    scores, correct, paid = _table(scores, correct, cost)
    cuts = [_cuts(row, n_quantiles) for row in scores]
    if math.prod(map(len, cuts)) > LARGEST_GRID:
        raise ValueError(
            f"{math.prod(map(len, cuts)):,} settings are too many for {len(cuts) + 1} tiers: choose fewer than"
            f" {n_quantiles} quantiles"
        )
    accepts = [(row > cut[:, None]).astype(float) for row, cut in zip(scores, cuts)]
    accuracy, mean_cost = (_means(accepts, value).ravel() for value in (correct, paid))
    taus = np.stack(np.meshgrid(*cuts, indexing="ij"), axis=-1).reshape(-1, len(cuts)) if cuts else np.empty((1, 0))
    return Frontier(taus, mean_cost, accuracy, pareto(mean_cost, accuracy))


def best_thresholds(
    scores: Any, correct: Any, cost: Any, budget: float = math.inf, n_quantiles: int = 40
) -> np.ndarray:
    """taus (M-1,) = argmax accuracy subject to mean cost <= budget, over the grid of `frontier`; if equal, the cheaper.

    The budget is a mean per item in the unit of cost. Choose on validation data: the maximum over a grid is too
    hopeful.
    Raises ValueError: as `frontier`; a budget below the mean cost of the first tier, which is always called.
    Source: Chen et al. (2023), FrugalGPT, section 3: max E[accuracy] subject to E[cost] <= b.
    """
    taus, mean_cost, accuracy, _ = frontier(scores, correct, cost, n_quantiles)
    affordable = mean_cost <= budget * (1 + ROUNDING)
    if not affordable.any():
        raise ValueError(f"a budget of {budget} is too small: the first tier alone costs {mean_cost.min():.6g} an item")
    top = accuracy[affordable].max()
    return taus[np.where(affordable & (accuracy >= top - ROUNDING), mean_cost, np.inf).argmin()]


def reliability_table(confidence: Any, correct: Any, n_bins: int = 15) -> Reliability:
    """Confidence against accuracy in n_bins bins of equal width, (b/B, (b+1)/B], the first with 0: confidence, correct
    (N,).

    Raises ValueError: shapes that differ, nothing to count, values outside [0, 1], n_bins < 1.
    Source: Guo et al. (2017), On Calibration of Modern Neural Networks, section 2 (reliability diagrams).
    """
    confidence, correct = np.asarray(confidence, dtype=float), np.asarray(correct, dtype=float)
    if confidence.ndim != 1 or confidence.shape != correct.shape or not confidence.size or n_bins < 1:
        raise ValueError(
            f"confidence and correct must be (N,) and n_bins at least 1, got {confidence.shape}, "
            f"{correct.shape}, {n_bins}"
        )
    _in_unit_interval("confidence", confidence)
    _in_unit_interval("correct", correct)
    edges = np.linspace(0, 1, n_bins + 1)
    bins = np.searchsorted(edges[1:-1], confidence, side="left")
    count, *sums = (np.bincount(bins, weights=w, minlength=n_bins) for w in (None, confidence, correct))
    means = (np.divide(s, count, out=np.full(n_bins, np.nan), where=count > 0) for s in sums)
    return Reliability(edges, count, *means)


def expected_calibration_error(confidence: Any, correct: Any, n_bins: int = 15) -> float:
    """ECE = sum_b (count_b / N) |accuracy_b - confidence_b|, from 0 (the confidences are true) to 1.

    Raises ValueError: as `reliability_table`. Source: Guo et al. (2017), section 2, equation 3.
    """
    _, count, conf, accuracy = reliability_table(confidence, correct, n_bins)
    return float(np.nansum(count * np.abs(accuracy - conf)) / count.sum())


FOLDS = 5  # of the cross-validation that gives a trained scorer's scores


class Run(NamedTuple):
    """What `Cascade.run` did with n items: answers (n,), the tier (from 0) that gave each, what each cost in all
    (n,)."""

    answers: np.ndarray
    tier: np.ndarray
    cost: np.ndarray


def answer_features(probabilities: np.ndarray) -> np.ndarray:
    """What a trained scorer sees of an answer: probabilities (n, C) -> (n, 2 C), sorted from the largest, then the
    answer one-hot."""
    return np.hstack([-np.sort(-probabilities), np.eye(probabilities.shape[1])[probabilities.argmax(axis=1)]])


class Cascade(ClassifierMixin, BaseEstimator):
    """Ask the first model; where the scorer does not trust its answer, g(x, answer) <= tau, ask the next: a classifier.

    models: fitted classifiers with `classes_` (the same for all) and `predict_proba`, usually from cheap to expensive.
    `fit` does
        not train them, and a clone of the cascade shares them.
    costs: (M,), one call of each, in any unit; they add up over the models that were called.
    budget: the mean cost an item may have, on the data of `fit`; None: whatever gives the highest accuracy.
    scorer: "confidence", the largest probability; "margin", the largest less the second; or a classifier, of which each
        tier but the last gets a clone that learns whether the tier's answer is right.
    features: what that classifier sees: a function (X, probabilities (n, C)) -> (n, f); None: `answer_features`.
    n_quantiles: thresholds tried for each tier, see `frontier`.

    After `fit`: `classes_`, `taus_` (M-1,), `scorers_` (None for a scorer that learns nothing), `n_features_in_` for a
    matrix X.
    Raises ValueError: models that are not fitted or differ in their classes, costs not one for each model, a budget
    below the cost of the first model, X and y of different lengths, labels that no model knows; NotFittedError before
    fit.
    Source: Chen, Zaharia & Zou (2023), FrugalGPT, section 3 (LLM cascade).
    """

    def __init__(
        self,
        models: Sequence[Any],
        costs: Sequence[float],
        budget: float | None = None,
        scorer: Any = "confidence",
        features: Callable[[Any, np.ndarray], np.ndarray] | None = None,
        n_quantiles: int = 40,
    ) -> None:
        self.models = models
        self.costs = costs
        self.budget = budget
        self.scorer = scorer
        self.features = features
        self.n_quantiles = n_quantiles

    def __sklearn_clone__(self) -> Cascade:
        # scikit-learn would clone the models in the list too, and a clone has forgotten what it learned.
        params = {
            name: clone(value, safe=False) for name, value in self.get_params(deep=False).items() if name != "models"
        }
        return type(self)(models=self.models, **params)

    def fit(self, X: Any, y: Any) -> Cascade:
        """Train the scorers and choose the thresholds on VALIDATION data, not the models' training data: X (n items), y
        (n,).

        A trained scorer's thresholds are chosen on scores from cross-validation, then it learns from all of the data.
        """
        classes = self._check_models()
        y = column_or_1d(y)
        if _length(X) != len(y) or not len(y):
            raise ValueError(
                f"X has {_length(X)} items and y {len(y)} labels: give one label for each item, and at least one item"
            )
        if not np.isin(y, classes).all():
            raise ValueError(f"y holds labels that no model knows: they know {classes.tolist()}")
        self.classes_ = classes
        if getattr(X, "ndim", 1) == 2:
            self.n_features_in_ = X.shape[1]
        probabilities = [self._probabilities(model, X) for model in self.models]
        right = np.array([classes[p.argmax(axis=1)] == y for p in probabilities])  # (M, n)
        scores, self.scorers_ = np.empty((len(self.models) - 1, len(y))), []
        for m, p in enumerate(probabilities[:-1]):
            scores[m], scorer = self._learn(X, p, right[m])
            self.scorers_.append(scorer)
        budget = math.inf if self.budget is None else self.budget
        self.taus_ = best_thresholds(scores, right, self.costs, budget, self.n_quantiles)
        return self

    def run(self, X: Any) -> Run:
        """Answers, tiers and costs of the items X: model m is called with the items that no model before it has
        answered."""
        probabilities, tier = self._climb(X)
        return Run(
            self.classes_[probabilities.argmax(axis=1)], tier, np.cumsum(np.asarray(self.costs, dtype=float))[tier]
        )

    def predict(self, X: Any) -> np.ndarray:
        """Class labels (n,) of the items X."""
        return self.run(X).answers

    def predict_proba(self, X: Any) -> np.ndarray:
        """(n, C): for each item the probabilities of the model that answered it."""
        return self._climb(X)[0]

    def _climb(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        check_is_fitted(self, "taus_")
        probabilities = np.zeros((_length(X), len(self.classes_)))
        tier, waiting = np.zeros(len(probabilities), dtype=int), np.arange(len(probabilities))
        for m, model in enumerate(self.models):
            if not len(waiting):
                break
            asked = _rows(X, waiting)
            found = self._probabilities(model, asked)
            probabilities[waiting], tier[waiting] = found, m
            if m < len(self.taus_):
                waiting = waiting[self._score(self.scorers_[m], asked, found) <= self.taus_[m]]
        return probabilities, tier

    def _check_models(self) -> np.ndarray:
        if not len(self.models) or np.shape(self.costs) != (len(self.models),):
            raise ValueError(
                f"give at least one model and one cost for each, got {len(self.models)} models and costs {self.costs}"
            )
        for m, model in enumerate(self.models):
            if not hasattr(model, "classes_") or not hasattr(model, "predict_proba"):
                raise ValueError(
                    f"models[{m}] ({type(model).__name__}) has no classes_ or no predict_proba: give fitted classifiers"
                )
            if not np.array_equal(model.classes_, self.models[0].classes_) or len(model.classes_) < 2:
                raise ValueError(
                    f"models[{m}] knows the classes {list(model.classes_)} and models[0] "
                    f"{list(self.models[0].classes_)}:"
                    " all must know the same two or more"
                )
        learns = hasattr(self.scorer, "fit") and hasattr(self.scorer, "predict_proba")
        if not learns and (not isinstance(self.scorer, str) or self.scorer not in ("confidence", "margin")):
            raise ValueError(
                f'scorer must be "confidence", "margin" or a classifier with predict_proba, got {self.scorer!r}'
            )
        return np.asarray(self.models[0].classes_)

    def _probabilities(self, model: Any, X: Any) -> np.ndarray:
        found = np.asarray(model.predict_proba(X), dtype=float)
        if found.shape != (_length(X), len(self.classes_)) or not np.isfinite(found).all():
            raise ValueError(
                f"{type(model).__name__}.predict_proba must give {(_length(X), len(self.classes_))} finite numbers,"
                f" got {found.shape}" + ("" if np.isfinite(found).all() else " with NaN or infinity")
            )
        return found

    def _features(self, X: Any, probabilities: np.ndarray) -> np.ndarray:
        return answer_features(probabilities) if self.features is None else np.asarray(self.features(X, probabilities))

    def _learn(self, X: Any, probabilities: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, Any]:
        """Scores (n,) for the choice of the threshold, and the scorer."""
        if isinstance(self.scorer, str):
            return self._score(None, X, probabilities), None
        features = self._features(X, probabilities)
        if (
            min(right.sum(), (~right).sum()) < FOLDS
        ):  # too few mistakes (or right answers) to learn from: the same score for all
            constant = DummyClassifier(strategy="prior").fit(features, right)
            return self._score(constant, X, probabilities), constant
        out_of_fold = cross_val_predict(clone(self.scorer), features, right, cv=FOLDS, method="predict_proba")[:, 1]
        return out_of_fold.clip(0, 1), clone(self.scorer).fit(features, right)

    def _score(self, scorer: Any, X: Any, probabilities: np.ndarray) -> np.ndarray:
        """g(x, answer), (n,), from 0 to 1."""
        if scorer is not None:
            # The column of True is the last one; where there was a single class it is a constant, which accepts all or
            # nothing.
            return scorer.predict_proba(self._features(X, probabilities))[:, -1].clip(0, 1)
        largest = -np.sort(-probabilities, axis=1)[:, :2]
        return (largest[:, 0] - (largest[:, 1] if self.scorer == "margin" else 0)).clip(0, 1)


def _length(X: Any) -> int:
    return X.shape[0] if hasattr(X, "shape") else len(X)


def _rows(X: Any, index: np.ndarray) -> Any:
    """The chosen items of a list, array, sparse matrix, tensor or DataFrame."""
    if hasattr(X, "iloc"):
        return X.iloc[index]
    return X[index] if hasattr(X, "shape") else [X[i] for i in index]
