"""What the models got right on the most similar inputs of a benchmark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from course_utils.exercises.engine import Exercise, case, in_integers, one_row

Array = np.ndarray


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


def _mean(similarity: Array, outcomes: Array, start: int, stop: int) -> Array:
    return outcomes[np.argsort(-similarity, axis=1)[:, start:stop]].mean(axis=1)


def _cosine(train: Array, x: Array) -> Array:
    return _unit(x) @ _unit(train).T


def _by(scale: Callable, k_of: Callable = lambda k: (0, k)) -> Callable:
    """What another similarity than the cosine gives."""
    return lambda t, o, x, k: _mean(scale(t, x), o, *k_of(k))


def _distance(train: Array, x: Array, order: int = 2) -> Array:
    return -np.linalg.norm(x[:, None] - train, ord=order, axis=2)


def _kept(t: Array, o: Array, x: Array, k: int) -> Array:
    return o[np.argsort(-_cosine(t, x), axis=1)[:, :k]]


def _top(t: Array, x: Array, k: int) -> Array:
    return -np.sort(-_cosine(t, x), axis=1)[:, :k, None]


def _weighted(power: float) -> Callable:
    return lambda t, o, x, k: (
        (_kept(t, o, x, k) * _top(t, x, k) ** power).sum(axis=1) / (_top(t, x, k) ** power).sum(axis=1)
    )


def _softmax(t: Array, o: Array, x: Array, k: int) -> Array:
    weight = np.exp(_top(t, x, k))
    return (_kept(t, o, x, k) * weight).sum(axis=1) / weight.sum(axis=1)


def _correlation(t: Array, x: Array) -> Array:
    return _cosine(t - t.mean(axis=1, keepdims=True), x - x.mean(axis=1, keepdims=True))


def _choice(t: Array, o: Array, x: Array, k: int) -> Array:
    return knn_outcomes(t, o, x, k).argmax(axis=1)


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


STEPS = (
    "Divide the rows of train and x by their lengths; similarity = x @ train.T is (n, T); nearest ="
    " np.argsort(-similarity, axis=1)[:, :k]; outcomes[nearest] is (n, k, M), and its mean over axis 1 is the result."
)
CLASH = (
    "The shapes do not line up. A length for each row is (T, 1), so write keepdims=True; x @ train.T is (n, T), and"
    " outcomes[nearest] with nearest (n, k) is (n, k, M)."
)

PLANE = (
    np.array([[0.1, 0.01], [1.0, 1.5], [-3.0, 0.1], [60.0, 50.0]]),
    np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, 1.0]]),
    np.array([[1.0, 0.0], [0.5, 0.4]]),
)


def _shape(got: Any, expected: Array, *rest: Any) -> str:
    if np.shape(got) == expected.shape:
        return ""
    shapes = f"shape {np.shape(got)}, expected {expected.shape}"
    return f"The result has {shapes}: a row for each input x, a column for each model."


EXERCISE = Exercise(
    "cascades_and_routing.knn_outcomes",
    reference=knn_outcomes,
    what="your result",
    right=STEPS,
    errors={
        "kth.*out of bounds": "np.argpartition(s, k) wants k below the number of rows, and k may be all of them.",
        "broadcast|mismatch|must match|out of bounds|too many indices|cannot be multiplied": CLASH,
    },
    explain=_shape,
    cases=[
        case("embeddings of different lengths, five neighbours, three models", *inputs(841, 24, 4, 3, 5)),
        case("four neighbours, two models", *inputs(842, 19, 6, 2, 4)),
        case(
            "by hand, in the plane: a long row at a right angle, a near one in another direction, an opposite one",
            *PLANE,
            2,
        ),
        case("k = 1, the outcomes of the most similar row", *PLANE, 1),
        case("k = T, the same mean for every input", *inputs(841, 24, 4, 3, 24)),
    ],
    corners=[one_row("x"), in_integers("outcomes")],
    mistakes={
        "You compare plain dot products, which prefer long rows of train.\n"
        "The cosine "
        "divides by the lengths: train / np.linalg.norm(train, axis=1, keepdims=True).": _by(lambda t, x: x @ t.T),
        "You compare distances between the points as they are.\n"
        "Two embeddings of one direction and different lengths are far apart, and their cosine is 1: divide all "
        "rows by their lengths first.": [
            _by(_distance),
            _by(lambda t, x: _distance(t, x, 1)),
            lambda t, o, x, k: _mean(-_distance(t, x), o, 0, k),
        ],
        "You take the k least similar rows: argsort sorts rising, and a large cosine means similar.\n"
        "Sort -similarity, or take the last k.": [_by(lambda t, x: -_cosine(t, x)), _by(lambda t, x: -x @ t.T)],
        "You skip the most similar row.\n"
        "That is for searching train for itself: x are "
        "new inputs, so start from place 0.": [_by(_cosine, lambda k: (1, k + 1)), _by(_cosine, lambda k: (1, k))],
        "You use k - 1 rows.\nTake [:k], which are the places 0 to k - 1.": _by(_cosine, lambda k: (0, k - 1)),
        "You use k + 1 rows.\nTake [:k], which are the places 0 to k - 1.": _by(_cosine, lambda k: (0, k + 1)),
        "You use the most similar row only.\nTake the k most similar, and the mean of their outcomes.": [
            _by(_cosine, lambda k: (0, 1)),
            _by(_cosine, lambda k: (k - 1, k)),
        ],
        "This is the mean over all rows of train, the same for every x.\nTake the k most similar to each row of x.": [
            lambda t, o, x, k: np.tile(o.mean(axis=0), (len(x), 1)),
            lambda t, o, x, k: o.mean(axis=0),
        ],
        "You weight the outcomes by their similarity.\nAll k rows count the same: the plain mean of their outcomes.": [
            _weighted(1),
            _weighted(2),
            _softmax,
            lambda t, o, x, k: (_kept(t, o, x, k) * _top(t, x, k)).mean(axis=1),
            lambda t, o, x, k: (_kept(t, o, x, k) * _top(t, x, k)).sum(axis=1),
            lambda t, o, x, k: _cosine(t, x) @ o / len(t),
            lambda t, o, x, k: _cosine(t, x) @ o / _cosine(t, x).sum(axis=1, keepdims=True),
        ],
        "This is a majority vote, 0 or 1.\nAsked is the mean, the share of the k rows on which the model was right.": [
            lambda t, o, x, k: knn_outcomes(t, o, x, k).round(),
            lambda t, o, x, k: (knn_outcomes(t, o, x, k) > 0.5) * 1.0,
            lambda t, o, x, k: (knn_outcomes(t, o, x, k) >= 0.5) * 1.0,
            lambda t, o, x, k: knn_outcomes(t, o, x, k) > 0.5,
            lambda t, o, x, k: knn_outcomes(t, o, x, k) >= 0.5,
        ],
        "This is the number of right answers among the k.\nDivide by k, so that it is a share.": lambda t, o, x, k: (
            _kept(t, o, x, k).sum(axis=1)
        ),
        "You divide by the wrong number: the mean over the k rows is their sum divided by k.": [
            lambda t, o, x, k: _kept(t, o, x, k).sum(axis=1) / len(t),
            lambda t, o, x, k: _kept(t, o, x, k).sum(axis=1) / len(x),
            lambda t, o, x, k: _kept(t, o, x, k).sum(axis=1) / (k - 1),
        ],
        "This is a decision for one model.\nAsked is one step before it: the mean outcome of every model, (n, M).": [
            _choice,
            lambda t, o, x, k: np.eye(o.shape[1])[_choice(t, o, x, k)],
            lambda t, o, x, k: knn_outcomes(t, o, x, k).max(axis=1),
        ],
        "You divide by the lengths of the columns.\n"
        "Each row is one embedding: np.linalg.norm(train, axis=1, keepdims=True), one length for each row.": [
            _by(lambda t, x: x / np.linalg.norm(x, axis=0) @ (t / np.linalg.norm(t, axis=0)).T),
            _by(lambda t, x: x @ (t / np.linalg.norm(t, axis=0)).T),
            _by(lambda t, x: _unit(x) @ (t / np.linalg.norm(t, axis=0)).T),
        ],
        "You divide by the squared lengths: the cosine divides by the length itself, the square root of the sum of"
        " squares.": _by(lambda t, x: x @ (t / np.square(t).sum(axis=1, keepdims=True)).T),
        "You divide by the sum of the absolute values: the cosine needs the Euclidean length, "
        "np.linalg.norm(train, axis=1).": _by(lambda t, x: x @ (t / np.abs(t).sum(axis=1, keepdims=True)).T),
        "You take the absolute value of the similarity: opposite directions then count as similar, but -1 is the "
        "lowest cosine.": _by(lambda t, x: np.abs(_cosine(t, x))),
        "You subtract the mean before the comparison.\n"
        "That is a correlation: the cosine takes the embeddings "
        "as they are.": [_by(_correlation), _by(lambda t, x: _cosine(t - t.mean(axis=0), x - t.mean(axis=0)))],
        "The neighbours are the same for every row of x in your result: each row of x has its own k nearest.": [
            lambda t, o, x, k: np.tile(_mean(_cosine(t, x).mean(axis=0)[None], o, 0, k), (len(x), 1)),
            lambda t, o, x, k: _mean(_cosine(t, x).mean(axis=0)[None], o, 0, k)[0],
            lambda t, o, x, k: np.tile(knn_outcomes(t, o, x, k)[0], (len(x), 1)),
        ],
        "The result is transposed: rows are the inputs x, columns the models, (n, M).": lambda t, o, x, k: (
            knn_outcomes(t, o, x, k).T
        ),
        "argsort runs over the wrong axis: it ranks the inputs x for each row of train. similarity is (n, T): sort"
        " along axis=1.": [
            lambda t, o, x, k: o[np.argsort(-_cosine(t, x), axis=0)[:, :k]].mean(axis=1),
            lambda t, o, x, k: o[np.argsort(-_cosine(t, x), axis=0)[:k].T % len(t)].mean(axis=1),
        ],
        "You averaged over the models.\n"
        "Keep them. outcomes[nearest] is (n, k, M), and the mean is over axis 1, the neighbours.": [
            lambda t, o, x, k: _kept(t, o, x, k).mean(axis=2),
            lambda t, o, x, k: _kept(t, o, x, k).mean(axis=(1, 2)),
        ],
        "You averaged over the inputs x as well: each of them has its own row. outcomes[nearest] is (n, k, M): the"
        " mean over axis 1.": [
            lambda t, o, x, k: _kept(t, o, x, k).mean(axis=0),
            lambda t, o, x, k: _kept(t, o, x, k).mean(axis=(0, 1)),
            lambda t, o, x, k: _kept(t, o, x, k).mean(),
        ],
        "These are the neighbours themselves, or their outcomes, (n, k, ...).\n"
        "Take the mean "
        "of outcomes[nearest] over axis 1.": [_kept, lambda t, o, x, k: np.argsort(-_cosine(t, x), axis=1)[:, :k]],
        "These are similarities.\nUse them to choose the k rows only: the result is the mean of their outcomes.": [
            lambda t, o, x, k: _cosine(t, x),
            lambda t, o, x, k: _top(t, x, k)[..., 0],
            lambda t, o, x, k: _top(t, x, k).mean(axis=1),
            lambda t, o, x, k: _top(t, x, k)[..., 0].mean(axis=1),
        ],
        "This is the share of wrong answers: 1 in outcomes means right.": lambda t, o, x, k: (
            1 - knn_outcomes(t, o, x, k)
        ),
        "You took the first k rows unsorted, or [:k] without axis=1.\n"
        "Sort each row: np.argsort(-similarity, axis=1)[:, :k].": [
            lambda t, o, x, k: o[np.argsort(-_cosine(t, x))[:k]].mean(axis=1),
            lambda t, o, x, k: np.tile(o[:k].mean(axis=0), (len(x), 1)),
        ],
    },
    hints=[
        "When are two embeddings similar whose lengths differ? Bring all rows to one length first.",
        "The product of the normalised x and train is (n, T). Sort each row by falling similarity, and take k "
        "indices: (n, k). outcomes at these indices is (n, k, M).",
        "train and x divided by np.linalg.norm(..., axis=1, keepdims=True); nearest = np.argsort(-(x @ train.T), "
        "axis=1)[:, :k]; outcomes[nearest].mean(axis=1)",
    ],
)
