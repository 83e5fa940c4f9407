"""Learners for the exercise on out-of-fold predictions of 09_pipelines_and_stacking, and a log of what they have seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from course_utils.exercises.engine.calls import Mistake

__all__ = ["CLASSES", "Fit", "inputs", "least_squares", "memoriser", "traced"]

Array = np.ndarray
Fit = Callable[[Array, Array], Callable[[Array], Array]]

LENGTHS = "fit was given {} rows and {} labels: cut X and y in the same way, X[~inside] and y[~inside]."
ONE_ROW = (
    "f was given one row of shape {}: it takes a table of rows, X[i : i + 1] in place of X[i], and returns a table."
)
NOTHING = (
    "fit was given no rows at all. The folds are 0 to k - 1, and the model of a fold is fitted on the others, ~inside."
)
CLASSES = 3


def _table(X: Any) -> Array:
    X = np.asarray(X, dtype=float)
    if X.ndim != 2:
        raise Mistake(ONE_ROW.format(X.shape))
    return X


def _checked(X: Any, y: Any) -> tuple[Array, Array]:
    X, y = _table(X), np.asarray(y).astype(int).reshape(-1)
    if len(X) != len(y):
        raise Mistake(LENGTHS.format(len(X), len(y)))
    if not len(X):
        raise Mistake(NOTHING)
    return X, y


def least_squares(X: Any, y: Any) -> Callable[[Any], Array]:
    """A ridge regression on the one-hot labels: every row has its influence, none is reproduced."""
    X, y = _checked(X, y)
    weight = np.linalg.solve(X.T @ X + np.eye(X.shape[1]), X.T @ np.eye(CLASSES)[y])
    return lambda new: _table(new) @ weight


def memoriser(X: Any, y: Any) -> Callable[[Any], Array]:
    """Certain of the label of a row that it was fitted on, and without a clue about any other."""
    X, y = _checked(X, y)
    known = {row.tobytes(): label for row, label in zip(X, y, strict=True)}

    def predict(new: Any) -> Array:
        rows = [known.get(row.tobytes()) for row in _table(new)]
        return np.array([np.full(CLASSES, 1 / CLASSES) if label is None else np.eye(CLASSES)[label] for label in rows])

    return predict


def inputs(seed: int, rows: int) -> tuple[Array, Array]:
    """Rows of which no two are alike, and labels that depend on them in part."""
    random = np.random.default_rng(seed)
    X = random.standard_normal((rows, 4)) + 0.5
    return X, (X[:, :CLASSES] + 0.7 * random.standard_normal((rows, CLASSES))).argmax(axis=1)


def traced(fit: Fit, X: Array) -> tuple[Fit, list[tuple[set[int], set[int]]]]:
    """fit, and a log that fills: (rows of X fitted on, rows of X predicted) of each model's predictions."""
    number, log = {row.tobytes(): i for i, row in enumerate(X)}, []

    def numbers_of(rows: Any) -> set[int]:
        return {number[row.tobytes()] for row in _table(rows) if row.tobytes() in number}

    def fitted(rows: Any, labels: Any) -> Callable:
        f, seen = fit(rows, labels), numbers_of(rows)

        def predict(new: Any) -> Array:
            log.append((seen, numbers_of(new)))
            return f(new)

        return predict

    return fitted, log
