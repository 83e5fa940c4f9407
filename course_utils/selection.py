"""Several models, one answer: a cascade that asks the cheap ones first, and everything else that notebook 08 builds.

The arithmetic on outcomes (`cascade`, `frontier`, `best_thresholds`, calibration) is in `cascades`, choosing before any
model has answered (`KNNRouter`, `routing_curve`, PGR) in `routers`; all of it can be imported from here.
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

from course_utils.cascades import (
    Frontier,
    Outcome,
    Reliability,
    best_thresholds,
    cascade,
    expected_calibration_error,
    frontier,
    pareto,
    reliability_table,
)
from course_utils.routers import Curve, KNNRouter, apgr, cpt, pgr, routing_curve

__all__ = ["Cascade", "Curve", "Frontier", "KNNRouter", "Outcome", "Reliability", "Run", "answer_features", "apgr", "best_thresholds",
           "cascade", "cpt", "expected_calibration_error", "frontier", "pareto", "pgr", "reliability_table", "routing_curve"]

FOLDS = 5  # of the cross-validation that gives a trained scorer's scores


class Run(NamedTuple):
    """What `Cascade.run` did with n items: answers (n,), the tier (from 0) that gave each, what each cost in all (n,)."""

    answers: np.ndarray
    tier: np.ndarray
    cost: np.ndarray


def answer_features(probabilities: np.ndarray) -> np.ndarray:
    """What a trained scorer sees of an answer: probabilities (n, C) -> (n, 2 C), sorted from the largest, then the answer one-hot."""
    return np.hstack([-np.sort(-probabilities), np.eye(probabilities.shape[1])[probabilities.argmax(axis=1)]])


class Cascade(ClassifierMixin, BaseEstimator):
    """Ask the first model; where the scorer does not trust its answer, g(x, answer) <= tau, ask the next: a classifier.

    models: fitted classifiers with `classes_` (the same for all) and `predict_proba`, usually from cheap to dear. `fit` does
        not train them, and a clone of the cascade shares them.
    costs: (M,), one call of each, in any unit; they add up over the models that were called.
    budget: the mean cost an item may have, on the data of `fit`; None: whatever gives the highest accuracy.
    scorer: "confidence", the largest probability; "margin", the largest less the second; or a classifier, of which each
        tier but the last gets a clone that learns whether the tier's answer is right.
    features: what that classifier sees: a function (X, probabilities (n, C)) -> (n, f); None: `answer_features`.
    n_quantiles: thresholds tried for each tier, see `frontier`.

    After `fit`: `classes_`, `taus_` (M-1,), `scorers_` (None for a scorer that learns nothing), `n_features_in_` for a matrix X.
    Raises ValueError: models that are not fitted or differ in their classes, costs not one for each model, a budget below
    the cost of the first model, X and y of different lengths, labels that no model knows; NotFittedError before fit.
    Source: Chen, Zaharia & Zou (2023), FrugalGPT, section 3 (LLM cascade).
    """

    def __init__(self, models: Sequence[Any], costs: Sequence[float], budget: float | None = None, scorer: Any = "confidence",
                 features: Callable[[Any, np.ndarray], np.ndarray] | None = None, n_quantiles: int = 40) -> None:
        self.models = models
        self.costs = costs
        self.budget = budget
        self.scorer = scorer
        self.features = features
        self.n_quantiles = n_quantiles

    def __sklearn_clone__(self) -> Cascade:
        # scikit-learn would clone the models in the list too, and a clone has forgotten what it learned.
        params = {name: clone(value, safe=False) for name, value in self.get_params(deep=False).items() if name != "models"}
        return type(self)(models=self.models, **params)

    def fit(self, X: Any, y: Any) -> Cascade:
        """Train the scorers and choose the thresholds on VALIDATION data, not the models' training data: X (n items), y (n,).

        A trained scorer's thresholds are chosen on scores from cross-validation, then it learns from all of the data.
        """
        classes = self._check_models()
        y = column_or_1d(y)
        if _length(X) != len(y) or not len(y):
            raise ValueError(f"X has {_length(X)} items and y {len(y)} labels: give one label for each item, and at least one item")
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
        """Answers, tiers and costs of the items X: model m is called with the items that no model before it has answered."""
        probabilities, tier = self._climb(X)
        return Run(self.classes_[probabilities.argmax(axis=1)], tier, np.cumsum(np.asarray(self.costs, dtype=float))[tier])

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
            raise ValueError(f"give at least one model and one cost for each, got {len(self.models)} models and costs {self.costs}")
        for m, model in enumerate(self.models):
            if not hasattr(model, "classes_") or not hasattr(model, "predict_proba"):
                raise ValueError(f"models[{m}] ({type(model).__name__}) has no classes_ or no predict_proba: give fitted classifiers")
            if not np.array_equal(model.classes_, self.models[0].classes_) or len(model.classes_) < 2:
                raise ValueError(f"models[{m}] knows the classes {list(model.classes_)} and models[0] {list(self.models[0].classes_)}:"
                                 " all must know the same two or more")
        learns = hasattr(self.scorer, "fit") and hasattr(self.scorer, "predict_proba")
        if not learns and (not isinstance(self.scorer, str) or self.scorer not in ("confidence", "margin")):
            raise ValueError(f'scorer must be "confidence", "margin" or a classifier with predict_proba, got {self.scorer!r}')
        return np.asarray(self.models[0].classes_)

    def _probabilities(self, model: Any, X: Any) -> np.ndarray:
        found = np.asarray(model.predict_proba(X), dtype=float)
        if found.shape != (_length(X), len(self.classes_)) or not np.isfinite(found).all():
            raise ValueError(f"{type(model).__name__}.predict_proba must give {(_length(X), len(self.classes_))} finite numbers,"
                             f" got {found.shape}" + ("" if np.isfinite(found).all() else " with NaN or infinity"))
        return found

    def _features(self, X: Any, probabilities: np.ndarray) -> np.ndarray:
        return answer_features(probabilities) if self.features is None else np.asarray(self.features(X, probabilities))

    def _learn(self, X: Any, probabilities: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, Any]:
        """Scores (n,) for the choice of the threshold, and the scorer."""
        if isinstance(self.scorer, str):
            return self._score(None, X, probabilities), None
        features = self._features(X, probabilities)
        if min(right.sum(), (~right).sum()) < FOLDS:  # too few mistakes (or right answers) to learn from: the same score for all
            constant = DummyClassifier(strategy="prior").fit(features, right)
            return self._score(constant, X, probabilities), constant
        out_of_fold = cross_val_predict(clone(self.scorer), features, right, cv=FOLDS, method="predict_proba")[:, 1]
        return out_of_fold.clip(0, 1), clone(self.scorer).fit(features, right)

    def _score(self, scorer: Any, X: Any, probabilities: np.ndarray) -> np.ndarray:
        """g(x, answer), (n,), from 0 to 1."""
        if scorer is not None:
            # The column of True is the last one; where there was a single class it is a constant, which accepts all or nothing.
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
