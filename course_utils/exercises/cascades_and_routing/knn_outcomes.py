"""What the models got right on the most similar inputs of a benchmark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from course_utils.exercises.cascades_and_routing import Array
from course_utils.exercises.engine import Exercise, case, in_integers, one_row


def knn_outcomes(train: Array, outcomes: Array, x: Array, k: int) -> Array:
    """Mean outcome of each model on the k rows of train (T, d) most similar by cosine to each row of x (n, d): (n, M).

    outcomes (T, M). Source: Shnitzer et al. (2023), Large Language Model Routing with Benchmark Datasets
    (kNN predictor).
    """
    similarity = _unit(x) @ _unit(train).T  # (n, T)
    nearest = np.argsort(-similarity, axis=1)[:, :k]  # (n, k)
    return outcomes[nearest].mean(axis=1)


def _unit(a: Array) -> Array:
    return a / np.linalg.norm(a, axis=1, keepdims=True)


def _cosine(train: Array, x: Array) -> Array:
    return _unit(x) @ _unit(train).T


def _order(train: Array, x: Array) -> Array:
    return np.argsort(-_cosine(train, x), axis=1)


def _similar(of: Callable) -> Callable:
    """A mistake in the similarity, of(train, x)."""
    return lambda t, o, x, k: o[np.argsort(-of(t, x), axis=1)[:, :k]].mean(axis=1)


def _chosen(of: Callable) -> Callable:
    """A mistake in which of the sorted rows are taken, of(k)."""
    return lambda t, o, x, k: o[_order(t, x)[:, of(k)]].mean(axis=1)


def _made(of: Callable) -> Callable:
    """A mistake in what is made of the k rows: of(their outcomes (n, k, M), their similarities (n, k, 1))."""
    return lambda t, o, x, k: of(o[_order(t, x)[:, :k]], -np.sort(-_cosine(t, x), axis=1)[:, :k, None])


def inputs(seed: int, train: int, items: int, models: int, k: int, d: int = 5) -> tuple[Array, Array, Array, int]:
    """Embeddings of lengths from 0.2 to 5 that share a direction, as real ones do; no two similarities nearer than
    1e-4."""
    random = np.random.default_rng(seed)
    while True:
        rows = (random.standard_normal((train + items, d)) + 0.4) * random.uniform(0.5, 3, d)
        rows *= np.exp(random.uniform(np.log(0.2), np.log(5), (len(rows), 1)))
        rows, x = rows[:train], rows[train:]
        if np.diff(np.sort(_cosine(rows, x), axis=1), axis=1).min() > 1e-4:
            return rows, (random.random((train, models)) < 0.6).astype(float), x, k


def _shape(got: Any, expected: Array, *rest: Any) -> str:
    if np.shape(got) == expected.shape:
        return ""
    shapes = f"shape {np.shape(got)}, expected {expected.shape}"
    return f"The result has {shapes}: a row for each input x, a column for each model."


PLANE = (
    np.array([[0.1, 0.01], [1.0, 1.5], [-3.0, 0.1], [60.0, 50.0]]),
    np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, 1.0]]),
    np.array([[1.0, 0.0], [0.5, 0.4]]),
)
CLASH = (
    "The shapes do not line up: train is (T, d), x (n, d), the similarities are (n, T).\nUse keepdims=True for lengths."
)
NEAREST = "Take the k most similar to each row of x."
SIMILARITIES = {  # of train and x
    "Long rows of train win, as by dot products.\nThe cosine divides by lengths.": [lambda t, x: x @ t.T],
    "You compare distances between the points as they are.\n"
    "Two embeddings of one direction and different lengths are far apart, and their cosine is 1.": [
        lambda t, x: -np.linalg.norm(x[:, None] - t, axis=2),
        lambda t, x: -np.abs(x[:, None] - t).sum(axis=2),
    ],
    "You take the k least similar rows: argsort sorts rising.": [lambda t, x: -_cosine(t, x)],
    "You divide by the lengths of the columns.\nEach row is one embedding, and has one length.": [
        lambda t, x: x / np.linalg.norm(x, axis=0) @ (t / np.linalg.norm(t, axis=0)).T,
        lambda t, x: x @ (t / np.linalg.norm(t, axis=0)).T,
    ],
    "You divide by another length than the Euclidean one, the root of the sum of squares.": [
        lambda t, x: x @ (t / np.square(t).sum(axis=1, keepdims=True)).T,
        lambda t, x: x @ (t / np.abs(t).sum(axis=1, keepdims=True)).T,
    ],
    "The sign of the cosine is lost: the least similar have -1.": [lambda t, x: np.abs(_cosine(t, x))],
    "You subtract the mean before the comparison.\nThat is a correlation: the cosine takes embeddings as they are.": [
        lambda t, x: _cosine(t - t.mean(axis=1, keepdims=True), x - x.mean(axis=1, keepdims=True)),
        lambda t, x: _cosine(t - t.mean(axis=0), x - t.mean(axis=0)),
    ],
    "The neighbours are the same for every row of x.\nEach has its own k.": [
        lambda t, x: np.tile(_cosine(t, x).mean(axis=0), (len(x), 1)),
        lambda t, x: _cosine(t, x)[[0] * len(x)],
    ],
    "You took the first k rows unsorted.": [lambda t, x: np.tile(-np.arange(len(t)), (len(x), 1))],
}
PLACES = {  # of k
    "You skip the most similar row.\nThat is for searching train for itself: x are new inputs.": [
        lambda k: np.s_[1 : k + 1],
        lambda k: np.s_[1:k],
    ],
    "You use k - 1 or k + 1 rows.\n[:k] are the places 0 to k - 1.": [
        lambda k: np.s_[: k - 1],
        lambda k: np.s_[: k + 1],
    ],
    "You use one row only, the most similar or the k-th.": [lambda k: np.s_[:1], lambda k: np.s_[k - 1 : k]],
    f"This is the mean over all rows of train, the same for every x.\n{NEAREST}": [lambda k: np.s_[:]],
}
RESULTS = {  # of the outcomes kept (n, k, M) and their similarities s (n, k, 1)
    "You weight the outcomes by their similarity: all k rows count the same.": [
        lambda kept, s: (kept * s).sum(axis=1) / s.sum(axis=1),
        lambda kept, s: (kept * np.exp(s)).sum(axis=1) / np.exp(s).sum(axis=1),
        lambda kept, s: (kept * s).mean(axis=1),
    ],
    "This is a majority vote, 0 or 1.\nReturn the share of the k rows on which the model was right.": [
        lambda kept, s: kept.mean(axis=1).round(),
        lambda kept, s: (kept.mean(axis=1) > 0.5) * 1.0,
        lambda kept, s: kept.mean(axis=1) > 0.5,
    ],
    "This is the number of right answers among the k: return their share.": [lambda kept, s: kept.sum(axis=1)],
    "This is a decision for one model.\nReturn what comes before it: the mean outcome of every model, (n, M).": [
        lambda kept, s: kept.mean(axis=1).argmax(axis=1),
        lambda kept, s: np.eye(kept.shape[2])[kept.mean(axis=1).argmax(axis=1)],
        lambda kept, s: kept.mean(axis=1).max(axis=1),
    ],
    "The result is transposed: rows are the inputs x, columns the models, (n, M).": [
        lambda kept, s: kept.mean(axis=1).T
    ],
    "The mean runs over the models or the inputs, not over the k neighbours alone.\n"
    "The outcomes of the neighbours are (n, k, M): the mean is over axis 1.": [
        *(lambda kept, s, axes=axes: kept.mean(axis=axes) for axes in (2, 0, (1, 2), (0, 1), None))
    ],
    "These are the outcomes of the neighbours, (n, k, M): take their mean.": [lambda kept, s: kept],
    "These are similarities.\nThey only choose the k rows: the result is the mean of their outcomes.": [
        lambda kept, s: s[..., 0],
        lambda kept, s: s.mean(axis=1),
    ],
    "This is the share of wrong answers: 1 in outcomes means right.": [lambda kept, s: 1 - kept.mean(axis=1)],
    "Your means are whole numbers: // and arrays made with the dtype of outcomes lose the decimals.": [
        lambda kept, s: kept.mean(axis=1).astype(kept.dtype),
        lambda kept, s: np.floor(kept.mean(axis=1)),
    ],
}
EXERCISE = Exercise(
    "cascades_and_routing.knn_outcomes",
    reference=knn_outcomes,
    what="your result",
    right="Print the k nearest rows of the first x and their cosines.",
    errors={
        "kth.*out of bounds": "np.argpartition(s, k) wants k below the number of rows, and k may be all of them.",
        "too many indices|out of bounds": CLASH,
        "shapes": CLASH,
    },
    explain=_shape,
    cases=[
        case("embeddings of different lengths, five neighbours, three models", *inputs(841, 24, 4, 3, 5)),
        case("four neighbours, two models", *inputs(842, 19, 6, 2, 4)),
        case("in the plane: a long row at a right angle, a near one in another direction, an opposite one", *PLANE, 2),
        case("k = 1, the outcomes of the most similar row", *PLANE, 1),
        case("k = T, the same mean for every input", *inputs(841, 24, 4, 3, 24)),
    ],
    corners=[one_row("x"), in_integers("outcomes")],
    mistakes={
        **{says: [*map(_similar, of)] for says, of in SIMILARITIES.items()},
        **{says: [*map(_chosen, of)] for says, of in PLACES.items()},
        **{says: [*map(_made, of)] for says, of in RESULTS.items()},
        f"These are the similarities to all rows of train, or weighted with them.\n{NEAREST}": [
            lambda t, o, x, k: _cosine(t, x),
            lambda t, o, x, k: _cosine(t, x) @ o / len(t),
        ],
        "These are the indices of the neighbours: take the mean of their outcomes.": lambda t, o, x, k: _order(t, x)[
            :, :k
        ],
        "argsort runs over the wrong axis: it ranks the inputs x for each row of train.\n"
        "The similarities are (n, T): sort each row.": lambda t, o, x, k: o[
            np.argsort(-_cosine(t, x), axis=0)[:, :k]
        ].mean(axis=1),
        "[:k] takes rows of the sorted indices, not places: each row of x has k neighbours.": lambda t, o, x, k: o[
            _order(t, x)[:k]
        ].mean(axis=1),
    },
    hints=[
        "When are two embeddings similar whose lengths differ? Bring all rows to one length first.",
        "The product of the normalised x and train is (n, T). Sort each row by falling similarity, and take k "
        "indices: (n, k). outcomes at these indices is (n, k, M).",
        "train and x divided by np.linalg.norm(..., axis=1, keepdims=True); nearest = np.argsort(-(x @ train.T), "
        "axis=1)[:, :k]; outcomes[nearest].mean(axis=1)",
    ],
)
