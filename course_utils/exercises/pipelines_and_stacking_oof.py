"""Tests of 09_pipelines_and_stacking: out-of-fold predictions, which no model makes of a row that it was fitted on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from course_utils.exercises.answers import Mistake, StudentError
from course_utils.exercises.arrays import judge
from course_utils.exercises.pipelines_and_stacking_learners import (
    CLASSES,
    Fit,
    inputs,
    least_squares,
    memoriser,
    traced,
)

Array = np.ndarray


def oof_predictions(fit: Fit, X: Array, y: Array, k: int) -> Array:
    """Row i is predicted by the model fitted on the folds other than its own, i % k: (N, C).

    fit(X, y) returns a function f, and f(X) the predictions, one row for each row of X.
    Source: Wolpert, Stacked Generalization, Neural Networks 5 (1992).
    """
    folds, predicted = np.arange(len(X)) % k, None
    for fold in range(k):
        inside = folds == fold  # (N,)
        f = fit(X[~inside], y[~inside])
        rows = f(X[inside])
        if predicted is None:
            predicted = np.zeros((len(X), rows.shape[1]))
        predicted[inside] = rows
    return predicted


STEPS = (
    "inside = np.arange(N) % k == fold; f = fit(X[~inside], y[~inside]); result[inside] = f(X[inside]), for each of the k folds."
)
LEAK = (
    "Every model was fitted on ALL rows, the predicted ones too: Wolpert's leak. A learner that memorises looks perfect then,"
    f" and the stacker trusts it. Leave the fold out of the fit: {STEPS}"
)
OWN = f"Each fold is predicted by a model that was fitted on this very fold. Fit on the OTHER k - 1 folds: {STEPS}"
INVERTED = f"The two are swapped: you fit on one fold and predict the others. Fit on the k - 1 others, predict the one: {STEPS}"
AVERAGED = (
    "You average the predictions of several models for a row. All but one of them were fitted on that row: only the model"
    f" that left its fold out may predict it. {STEPS}"
)
SEEN = f"Each row is predicted by a model that has seen it, that of another fold: take the model that left THIS row's fold out. {STEPS}"
CONCATENATED = (
    "The predictions are right, and in the order of the folds. Row i of the result belongs to X[i]: write result[inside] ="
    " f(X[inside]), in place of joining the parts one after the other."
)
BLOCKS = "Your folds are blocks of neighbouring rows: row i is in fold i % k here. (In sorted data a block may hold all rows of a class.)"
DIVISION = "You put row i into fold i // k: it is i % k, which has k folds and runs 0, 1, ..., k - 1, 0, 1, ..."
LAST_FOLD = "The last fold was never predicted: the loop runs over all of range(k), 0 to k - 1."
FIRST_FOLD = "Fold 0 was never predicted: the loop runs over all of range(k), 0 to k - 1."
REMAINDER = "The last N % k rows were not predicted: N need not be a multiple of k. np.arange(N) % k puts them into folds too."
ONE_MODEL = f"One model predicts all rows, and it was fitted on most of them. There are k models, one for each fold. {STEPS}"
ONE_FOLD = "Only one fold was predicted: your function returns too early, or has no loop over the k folds."
LOO = "You leave only the row itself out. That is k = N: here all rows of its fold, those with the same i % k, are left out with it."
TWO_OUT = "You leave more than its own fold out: the model of a fold is fitted on all the k - 1 others."
MISALIGNED = "The labels do not belong to the rows: y must be cut in the same way as X, X[~inside] with y[~inside]."
DECISION = "These are decisions (argmax). The stacker needs the predictions as they are, (N, C): they say how sure the learner is."
TRANSPOSED = "The result is transposed: a row for each row of X, a column for each class, (N, C)."
SHARED = f"The predictions are divided by k. Each row is predicted once, by one model: nothing is averaged. {STEPS}"
LABELS = "These are the labels themselves. The predictions come from models: f = fit(...), and f(X[inside])."
TRUE_CLASS = "This is the prediction for the true class only: keep all C columns, (N, C)."
SHUFFLED = "Your folds are not i % k: no shuffling here. Row i is in fold i % k, so that everybody has the same folds."
ROWS_LEAK = f"Row {{}} is predicted by a model that was fitted on row {{}} itself. {STEPS}"
ROWS_MISSING = (
    "Row {} is in fold {}. The model that predicts it should be fitted on all {} rows of the other folds; yours on {}."
    f" {STEPS}"
)
NEVER = f"No model was ever asked for a prediction of row {{}}. Every row has its turn: {STEPS}"
UNFITTED = "Your function never calls fit: f = fit(rows of X, their labels), one model for each fold."
METHOD = f"fit returns a plain function f, no object: call f(X[inside]). {STEPS}"
SHAPE = "The result has shape {}, expected {}: a row for each row of X, a column for each class. {}"
INDEX = (
    "The shapes do not line up. inside is a mask (N,), X[inside] are the rows of one fold, and their predictions have C columns: how"
    f" many, the first prediction tells. {STEPS}"
)


def _masks(n: int, k: int) -> list[Array]:
    return [np.arange(n) % k == fold for fold in range(k)]


def _with(masks: list[Array], fit: Fit, X: Array, y: Array, swap: bool = False) -> Array:
    """The fold's rows from the model of the others, for any folds; 0 where there is none."""
    out = np.zeros((len(X), CLASSES))
    for inside in masks:
        train, test = (inside, ~inside) if swap else (~inside, inside)
        if train.any() and test.any():
            out[test] = fit(X[train], y[train])(X[test])
    return out


def _models(fit: Fit, X: Array, y: Array, k: int, swap: bool = False) -> list[Array]:
    """The predictions (N, C) of each fold's model for all rows."""
    return [fit(X[m if swap else ~m], y[m if swap else ~m])(X) for m in _masks(len(X), k)]


def _seen_mean(fit: Fit, X: Array, y: Array, k: int, swap: bool = False) -> Array:
    masks = _masks(len(X), k)
    seen = [(m if swap else ~m)[:, None] * p for m, p in zip(masks, _models(fit, X, y, k), strict=True)]
    return np.sum(seen, axis=0) / (k - 1)


def _unseen_mean(fit: Fit, X: Array, y: Array, k: int) -> Array:
    return np.sum([~m[:, None] * p for m, p in zip(_masks(len(X), k), _models(fit, X, y, k, True), strict=True)], axis=0) / (k - 1)


def _shift(fit: Fit, X: Array, y: Array, k: int, by: int) -> Array:
    """Fold j from the model without fold j + by."""
    found = _models(fit, X, y, k)
    return np.array([found[(i + by) % k][i] for i in range(len(X))])


def _own(fit: Fit, X: Array, y: Array, k: int) -> Array:
    found = _models(fit, X, y, k, swap=True)
    return np.array([found[i % k][i] for i in range(len(X))])


def _misaligned(fit: Fit, X: Array, y: Array, k: int) -> Array:
    out = np.zeros((len(X), CLASSES))
    for inside in _masks(len(X), k):
        out[inside] = fit(X[~inside], y[: (~inside).sum()])(X[inside])
    return out


def _blocks(n: int, k: int, size: int) -> list[Array]:
    return [np.arange(n) // size == fold for fold in range(k)]


def _split(n: int, k: int) -> list[Array]:
    return [np.isin(np.arange(n), part) for part in np.array_split(np.arange(n), k)]


def _by_fold(predicted: Array, k: int) -> Array:
    return predicted[np.argsort(np.arange(len(predicted)) % k, kind="stable")]


def _two_out(fit: Fit, X: Array, y: Array, k: int) -> Array:
    """Fold j from the model without the folds j and j + 1."""
    out, masks = np.zeros((len(X), CLASSES)), _masks(len(X), k)
    for fold, inside in enumerate(masks):
        train = ~inside & ~masks[(fold + 1) % k]
        out[inside] = fit(X[train], y[train])(X[inside])
    return out


def _true_class(fit: Fit, X: Array, y: Array, k: int) -> Array:
    return oof_predictions(fit, X, y, k)[np.arange(len(y)), y]


MISTAKES = [
    (LEAK, lambda fit, X, y, k: fit(X, y)(X)),
    (OWN, _own),
    (INVERTED, lambda fit, X, y, k: _with(_masks(len(X), k), fit, X, y, swap=True)),
    (INVERTED, _unseen_mean),
    (AVERAGED, lambda fit, X, y, k: np.mean(_models(fit, X, y, k), axis=0)),
    (AVERAGED, lambda fit, X, y, k: np.sum(_models(fit, X, y, k), axis=0)),
    (AVERAGED, _seen_mean),
    (AVERAGED, lambda fit, X, y, k: np.mean(_models(fit, X, y, k, swap=True), axis=0)),
    (SEEN, lambda fit, X, y, k: _shift(fit, X, y, k, 1)),
    (SEEN, lambda fit, X, y, k: _shift(fit, X, y, k, -1)),
    (CONCATENATED, lambda fit, X, y, k: _by_fold(oof_predictions(fit, X, y, k), k)),
    (BLOCKS, lambda fit, X, y, k: _with(_split(len(X), k), fit, X, y)),
    (BLOCKS, lambda fit, X, y, k: _with(_blocks(len(X), k, -(-len(X) // k)), fit, X, y)),
    (REMAINDER, lambda fit, X, y, k: _with(_blocks(len(X), k, len(X) // k), fit, X, y)),
    (REMAINDER, lambda fit, X, y, k: oof_predictions(fit, X, y, k)[: len(X) // k * k]),
    (REMAINDER, lambda fit, X, y, k: oof_predictions(fit, X, y, k) * (np.arange(len(X)) < len(X) // k * k)[:, None]),
    (DIVISION, lambda fit, X, y, k: _with(_blocks(len(X), k, k), fit, X, y)),
    (DIVISION, lambda fit, X, y, k: _with(_blocks(len(X), len(X), k), fit, X, y)),
    (LAST_FOLD, lambda fit, X, y, k: _with(_masks(len(X), k)[:-1], fit, X, y)),
    (FIRST_FOLD, lambda fit, X, y, k: _with(_masks(len(X), k)[1:], fit, X, y)),
    (ONE_MODEL, lambda fit, X, y, k: _models(fit, X, y, k)[-1]),
    (ONE_MODEL, lambda fit, X, y, k: _models(fit, X, y, k)[0]),
    (ONE_FOLD, lambda fit, X, y, k: _with(_masks(len(X), k)[:1], fit, X, y)),
    (ONE_FOLD, lambda fit, X, y, k: _with(_masks(len(X), k)[-1:], fit, X, y)),
    (ONE_FOLD, lambda fit, X, y, k: oof_predictions(fit, X, y, k)[::k]),
    (ONE_FOLD, lambda fit, X, y, k: oof_predictions(fit, X, y, k)[k - 1 :: k]),
    (LOO, lambda fit, X, y, k: oof_predictions(fit, X, y, len(X))),
    (TWO_OUT, _two_out),
    (MISALIGNED, _misaligned),
    (DECISION, lambda fit, X, y, k: oof_predictions(fit, X, y, k).argmax(axis=1)),
    (DECISION, lambda fit, X, y, k: np.eye(CLASSES)[oof_predictions(fit, X, y, k).argmax(axis=1)]),
    (TRANSPOSED, lambda fit, X, y, k: oof_predictions(fit, X, y, k).T),
    (SHARED, lambda fit, X, y, k: oof_predictions(fit, X, y, k) / k),
    (LABELS, lambda fit, X, y, k: y),
    (LABELS, lambda fit, X, y, k: np.eye(CLASSES)[y]),
    (TRUE_CLASS, _true_class),
]


CASES = [(least_squares, *inputs(931, 14), 4), (least_squares, *inputs(932, 17), 3)]


def _look(answer: Callable, got: Tensor, case: tuple) -> None:
    """Which model predicted which row, where the result itself tells of no known mistake."""
    fit, X, y, k = case
    logged, log = traced(fit, X)
    answer(logged, X, y, k)
    if not log:
        raise Mistake(UNFITTED)
    for i in range(len(X)):
        seen = [train for train, test in log if i in test]
        wanted = {j for j in range(len(X)) if j % k != i % k}
        if not seen:
            raise Mistake(NEVER.format(i))
        if wanted in seen:
            continue
        if all(i in train for train in seen):
            raise Mistake(ROWS_LEAK.format(i, i))
        if len(log) == k and all(len(train) + len(test) == len(X) and not train & test for train, test in log):
            raise Mistake(SHUFFLED)
        raise Mistake(ROWS_MISSING.format(i, i % k, len(wanted), len(next(train for train in seen if i not in train))))
    if tuple(got.shape) != (len(X), CLASSES):
        raise Mistake(SHAPE.format(tuple(got.shape), (len(X), CLASSES), STEPS))


def _check(answer: Callable, case: tuple) -> None:
    try:
        judge(answer, case, oof_predictions, CASES, MISTAKES, STEPS, lambda got, case: _look(answer, got, case))
    except StudentError as wrapped:
        said = str(wrapped.error).split("\n")[0]
        if isinstance(wrapped.error, AttributeError) and "'function' object" in said:
            raise Mistake(f"{METHOD} (Python said: {said})") from None
        words = ("broadcast", "must match", "out of bounds", "boolean index", "shape mismatch", "could not be")
        if any(word in said for word in words):
            raise Mistake(f"{INDEX} (The message was: {said})") from None
        raise


def oof_random(answer: Callable) -> None:
    """least squares on 14 rows with k = 4, and on 17 with k = 3: no multiples"""
    for case in CASES:
        _check(answer, case)


def oof_memoriser(answer: Callable) -> None:
    """a learner that knows the rows it was fitted on and guesses all others: out of fold it must guess everywhere"""
    _check(answer, (memoriser, *inputs(933, 10), 4))


def oof_ends(answer: Callable) -> None:
    """k = N, each row is left out alone; k = 2, half of the rows"""
    _check(answer, (least_squares, *inputs(943, 6), 6))
    _check(answer, (least_squares, *inputs(931, 9), 2))
