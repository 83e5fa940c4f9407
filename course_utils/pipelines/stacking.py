"""Stacked generalisation: the predictions of level-0 models are the features of a level-1 model, made out of fold.

level_1 = oof_predictions(lambda X, y: KNeighborsClassifier(1).fit(X, y), X_train, y_train, k=5)   # (n, classes)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Fit = Callable[[Any, np.ndarray], Any]


def fold_numbers(n: int, k: int, seed: int = 0) -> np.ndarray:
    """A random fold 0 .. k - 1 for each of n rows, (n,); sizes differ by one at most. The same seed gives the same
    folds.

    Raises ValueError unless 2 <= k <= n.
    """
    if not 2 <= k <= n:
        raise ValueError(f"{k} folds of {n} rows: k must be at least 2 and at most the number of rows")
    folds = np.arange(n) % k
    return np.random.default_rng(seed).permutation(folds)


def oof_predictions(fit: Fit, X: Any, y: Any, k: int = 5, seed: int = 0) -> np.ndarray:
    """Out-of-fold predictions: row i is predict_proba of a model that was fitted on the k - 1 folds without row i.

        z_i = f_{-fold(i)}(x_i),   f_{-j} = fit(X, y without fold j)                                      (n, classes)

    fit(X, y) returns a fitted model with predict_proba and classes_. X: (n, ...) array, sparse matrix or list; y (n,)
    labels. Columns are the sorted labels of y. In-fold predictions f(x_i) of a model that saw (x_i, y_i) look better
    than they will be on new rows, the more so the better it memorises: a level-1 model then trusts the wrong one.
    Raises ValueError: lengths differ, k out of range, or a label that one fold has all examples of.
    Source: Wolpert, Stacked Generalization, Neural Networks 5 (1992); Breiman, Stacked Regressions, Machine Learning 24
    (1996).
    """
    X = X if hasattr(X, "shape") else np.asarray(X)
    y = np.asarray(y)
    if X.shape[0] != len(y):
        raise ValueError(f"X has {X.shape[0]} rows and y has {len(y)}: give one label for each row")
    labels, folds = np.unique(y), fold_numbers(len(y), k, seed)
    predicted = np.full((len(y), len(labels)), np.nan)
    for fold in range(k):
        held_out, rest = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        if missing := sorted(set(labels.tolist()) - set(y[rest].tolist())):
            raise ValueError(
                f"all examples of label {missing[0]!r} are in one fold: take another seed, or fewer labels"
            )
        model = fit(X[rest], y[rest])  # the model of this fold never sees its labels
        predicted[held_out] = model.predict_proba(X[held_out])
    return predicted
