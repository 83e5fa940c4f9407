"""Out-of-fold predictions, which no model makes of a row that it was fitted on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from course_utils.exercises.engine import Exercise, Mistake, case, in_integers, numbers
from course_utils.exercises.engine.exercise import Corner

Array = np.ndarray
Fit = Callable[[Array, Array], Callable[[Array], Array]]
CLASSES = 3


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


def inputs(seed: int, rows: int) -> tuple[Array, Array]:
    """Rows that begin with their number, for `witness`, and their labels."""
    random = np.random.default_rng(seed)
    return np.column_stack([np.arange(rows), random.standard_normal((rows, 2))]), random.integers(0, CLASSES, rows)


def witness(X: Any, y: Any) -> Callable[[Any], Array]:
    """A learner that predicts which rows it was fitted on: the binary digits of column c are the numbers of class c."""
    X, y = np.asarray(X, dtype=float), np.asarray(y).astype(int).reshape(-1)
    if len(X) != len(y) or not len(X):
        raise Mistake(f"fit was given {len(X)} rows and {len(y)} labels: cut X and y in the same way.")
    read = [np.sum(0.5 ** (X[y == label, 0] + 1)) for label in range(CLASSES)]

    def f(new: Any) -> Array:
        if np.ndim(new) != 2:
            raise Mistake(f"f was given one row of shape {np.shape(new)}: it takes a table, X[i : i + 1], not X[i].")
        return np.tile(read, (len(new), 1))

    return f


def _explain(got: Any, expected: Array, fit: Fit, X: Array, y: Array, k: int) -> str:
    """Which rows the model of each row has read."""
    found, n, number = numbers(got, "your result").double().numpy(), len(X), np.arange(len(X))
    if found.shape != expected.shape:
        return f"Your result has shape {found.shape}, expected {expected.shape}: a row for each row of X, C columns."
    digits = found * 2**n
    if not np.allclose(digits, digits.round()) or (found < 0).any() or (found >= 1).any():
        return ""
    read = digits.round().astype(int)[:, :, None] >> (n - 1 - number) & 1 == 1  # (N, C, N)
    if (read & (y != np.arange(CLASSES)[:, None])).any():
        return LABELS
    seen, wanted = read.any(axis=1), number[:, None] % k != number % k
    i = int((seen != wanted).any(axis=1).argmax())
    if not seen[i].any():
        return f"There is no prediction of row {i}, or its model was fitted on no rows: every row has its turn."
    if seen[i, i]:
        raise Mistake(f"Row {i} is predicted by a model that was fitted on row {i} itself.", OTHERS)
    if not seen.diagonal().any() and len(np.unique(seen, axis=0)) == k and (~seen).sum(axis=1).max() <= -(-n // k):
        return "Your folds are not i % k: no shuffling here, so that everybody has the same folds."
    model = f"Row {i}, in fold {i % k}, is predicted by a model that was fitted on {seen[i].sum()} rows."
    raise Mistake(model, f"It should be fitted on all {wanted[i].sum()} rows of the other folds.")


def _by(weights: Callable) -> Callable:
    """What the witness gives where the models that predict row i have read row j with this weight, 0 or 1 or a mean."""

    def wrong(fit: Fit, X: Array, y: Array, k: int) -> Array:
        i = np.arange(len(X))
        return np.broadcast_to(weights(i[:, None], i, k), (len(X), len(X))) * 0.5 ** (i + 1.0) @ np.eye(CLASSES)[y]

    return wrong


def _then(change: Callable) -> Callable:
    return lambda fit, X, y, k: change(oof_predictions(fit, X, y, k), y, k)


LEAK = "Leave the predicted rows out: a learner that memorises looks perfect on them, and the stacker trusts it."
LABELS = "The labels do not belong to the rows: y must be cut in the same way as X."
OTHERS = "For each fold: fit on the k - 1 others, predict this one, and write its rows to their places."
FOLDS = "Row i is in fold i % k: the folds run 0, 1, ..., k - 1, 0, 1, ..."
EXERCISE = Exercise(
    "pipelines_and_stacking.oof_predictions",
    reference=oof_predictions,
    what="your result",
    explain=_explain,
    errors={
        "broadcast|boolean index|out of bounds|must match|mismatch": "The shapes do not line up: a mask of the fold is "
        "(N,), and the predictions have C columns, as many as the first one.",
        "AttributeError.*'function' object": "fit returns a plain function f, no object: call f(rows of X).",
    },
    cases=[
        case("12 rows in 5 folds, and a learner that tells what it was fitted on", witness, *inputs(933, 12), 5),
        case("11 rows in 3 folds", witness, *inputs(932, 11), 3),
    ],
    corners=[
        Corner("k = N, each row is left out alone", lambda v: {"k": len(v["X"])}),
        Corner("k = 2, half of the rows", lambda v: {"k": 2}),
        in_integers("X"),
    ],
    mistakes={
        f"Every model was fitted on all rows: this is Wolpert's leak.\n{LEAK}": _by(lambda i, j, k: 1),
        f"Each fold is predicted by the model fitted on it.\n{OTHERS}": _by(lambda i, j, k: i % k == j % k),
        f"The two are swapped: you fit on one fold and predict the others.\n{OTHERS}": [
            *[_by(lambda i, j, k: j % k == k - 1 - (i % k == k - 1)), _by(lambda i, j, k: ((i - j) % k > 0) / (k - 1))]
        ],
        "You average the predictions of several models for a row, and not all of them have left it out.\n"
        "Only the model that left its fold out may predict it.": [
            *[_by(lambda i, j, k: (k - 1) / k), _by(lambda i, j, k: k - 1), _by(lambda i, j, k: 1 / k)],
            _by(lambda i, j, k: 1 - ((i - j) % k > 0) / (k - 1)),
        ],
        "Each row is predicted by a model that has seen it, that of another fold.\n"
        "Take the model "
        "that left this row's fold out.": [*(_by(lambda i, j, k, by=by: (i - j + by) % k > 0) for by in (1, -1))],
        "The predictions are right, and in the order of the folds. Row i of the result belongs to X[i].\n"
        "Write each part to the places of its rows, "
        "instead of joining the parts.": _then(lambda p, y, k: p[np.argsort(np.arange(len(p)) % k, kind="stable")]),
        "Your folds are blocks of neighbouring rows. (In sorted data a block may hold all rows of a class.)\n"
        f"{FOLDS}": [
            _by(lambda i, j, k: (of := np.repeat(range(k), [*map(len, np.array_split(j, k))]))[:, None] != of),
            _by(lambda i, j, k: i // -(-len(j) // k) != j // -(-len(j) // k)),
            _by(lambda i, j, k: np.minimum(i // (len(j) // k), k - 1) != np.minimum(j // (len(j) // k), k - 1)),
        ],
        f"The last N % k rows were not predicted: N need not be a multiple of k.\n{FOLDS}": [
            _by(lambda i, j, k: (i // (len(j) // k) != j // (len(j) // k)) * (i < len(j) // k * k)),
            _by(lambda i, j, k: ((i - j) % k > 0) * (i < len(j) // k * k)),
            _then(lambda p, y, k: p[: len(p) // k * k]),
        ],
        f"You put row i into fold i // k.\n{FOLDS}": [
            *[_by(lambda i, j, k: i // k != j // k), _by(lambda i, j, k: (i // k != j // k) * (i // k < k))]
        ],
        "The last fold was never predicted.": _by(lambda i, j, k: ((i - j) % k > 0) * (i % k < k - 1)),
        "Fold 0 was never predicted.": _by(lambda i, j, k: ((i - j) % k > 0) * (i % k > 0)),
        "One model predicts all rows, and it was fitted on most of them. There are k models, one for each fold.\n"
        f"{OTHERS}": [*[_by(lambda i, j, k: j % k > 0), _by(lambda i, j, k: j % k < k - 1)]],
        "Only one fold was predicted: your function returns too early, or has no loop over the k folds.": [
            *(_by(lambda i, j, k, of=of: ((i - j) % k > 0) * (i % k == of % k)) for of in (0, -1)),
            *(_then(lambda p, y, k, of=of: p[of % k :: k]) for of in (0, -1)),
        ],
        f"You leave only the row itself out, which is k = N.\n{FOLDS}": _by(lambda i, j, k: i != j),
        f"You leave out more than its own fold.\n{OTHERS}": _by(lambda i, j, k: (j - i) % k > 1),
        LABELS: lambda fit, X, y, k: oof_predictions(lambda r, few: fit(r, y[: len(r)]), X, y, k),
        "These are decisions (argmax), which do not say how sure the learner is.": [
            *[_then(lambda p, y, k: p.argmax(1)), _then(lambda p, y, k: np.eye(CLASSES)[p.argmax(1)])]
        ],
        "The result is transposed: it has a row for each row of X, (N, C).": _then(lambda p, y, k: p.T),
        "The predictions are divided by k: each row is predicted once.": _then(lambda p, y, k: p / k),
        "Your result holds whole numbers, which cut off the decimals.": [
            _then(lambda p, y, k: p.astype(int)),
            lambda fit, X, y, k: oof_predictions(fit, X, y, k).astype(X.dtype),  # made like X, which may be integers
        ],
        "These are the labels themselves: the predictions come from models.": [
            *[_then(lambda p, y, k: y), _then(lambda p, y, k: np.eye(CLASSES)[y])]
        ],
        "Your function never calls fit: it asks no model.": _then(lambda p, y, k: p * 0 + 1 / CLASSES),
        "This is the prediction for the true class only.": _then(lambda p, y, k: p[np.arange(len(y)), y]),
    },
    hints=[
        "For row i: which rows may the model have seen that predicts it? How many different models does that make?",
        "A loop over k folds. A mask (N,) says which rows are inside the fold; fit on ~mask, predict on mask and write "
        "the rows to their places. The first prediction tells how many columns there are.",
        "inside = np.arange(len(X)) % k == fold; rows = fit(X[~inside], y[~inside])(X[inside]); result[inside] = rows; "
        "result is np.zeros((len(X), rows.shape[1])) at the first fold",
    ],
)
