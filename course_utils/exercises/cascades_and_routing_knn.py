"""Tests of 08_cascades_and_routing: what the models got right on the most similar inputs of a benchmark."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from course_utils.exercises.arrays import judge
from course_utils.exercises.engine.calls import Mistake, StudentError

Array = np.ndarray


def knn_outcomes(train: Array, outcomes: Array, x: Array, k: int) -> Array:
    """Mean outcome of each model on the k rows of train (T, d) most similar by cosine to each row of x (n, d): (n, M).

    outcomes (T, M). Source: Shnitzer et al. (2023), Large Language Model Routing with Benchmark Datasets (kNN predictor).
    """
    similarity = _unit(x) @ _unit(train).T  # (n, T)
    nearest = np.argsort(-similarity, axis=1)[:, :k]  # (n, k)
    return outcomes[nearest].mean(axis=1)  # (n, k, M) -> (n, M)


def _unit(a: Array) -> Array:
    return a / np.linalg.norm(a, axis=1, keepdims=True)


STEPS = (
    "Divide the rows of train and x by their lengths; similarity = x @ train.T is (n, T); nearest = np.argsort(-similarity,"
    " axis=1)[:, :k]; outcomes[nearest] is (n, k, M), and its mean over axis 1 is the result."
)
DOT = (
    "You compare plain dot products, which prefer LONG rows of train. The cosine divides by the lengths: train /"
    " np.linalg.norm(train, axis=1, keepdims=True)."
)
EUCLID = (
    "You compare distances between the points as they are. Two embeddings of one direction and different lengths are far"
    " apart, and their cosine is 1: divide all rows by their lengths first."
)
FARTHEST = (
    "You take the k LEAST similar rows: argsort sorts rising, and a large cosine means similar. Sort -similarity, or take the"
    " last k."
)
SKIPPED = (
    "You skip the most similar row. That is for searching train for itself: x are new inputs, so start from place 0."
)
FEWER = "You use k - 1 rows: take [:k], which are the places 0 to k - 1."
MORE = "You use k + 1 rows: take [:k], which are the places 0 to k - 1."
ONE = "You use the most similar row only: take the k most similar, and the mean of their outcomes."
ALL = "This is the mean over ALL rows of train, the same for every x: take the k most similar to each row of x."
WEIGHTED = "You weight the outcomes by their similarity. All k rows count the same: the plain mean of their outcomes."
MAJORITY = "This is a majority vote, 0 or 1. Asked is the mean, the share of the k rows on which the model was right."
SUM = "This is the number of right answers among the k: divide by k, so that it is a share."
DIVIDED = "You divide by the wrong number: the mean over the k rows is their sum divided by k."
CHOICE = "This is a decision for one model. Asked is one step before it: the mean outcome of every model, (n, M)."
COLUMNS = (
    "You divide by the lengths of the COLUMNS. Each row is one embedding: np.linalg.norm(train, axis=1, keepdims=True), one"
    " length for each row."
)
SQUARED = (
    "You divide by the SQUARED lengths: the cosine divides by the length itself, the square root of the sum of squares."
)
L1 = "You divide by the sum of the absolute values: the cosine needs the Euclidean length, np.linalg.norm(train, axis=1)."
ABSOLUTE = "You take the absolute value of the similarity: opposite directions then count as similar, but -1 is the lowest cosine."
CENTRED = (
    "You subtract the mean before the comparison. That is a correlation: the cosine takes the embeddings as they are."
)
SUMMED_X = "The neighbours are the same for every row of x in your result: each row of x has its own k nearest."
TRANSPOSED = "The result is transposed: rows are the inputs x, columns the models, (n, M)."
AXIS_0 = "argsort runs over the wrong axis: it ranks the inputs x for each row of train. similarity is (n, T): sort along axis=1."
MODELS = "You averaged over the models: keep them. outcomes[nearest] is (n, k, M), and the mean is over axis 1, the neighbours."
FLAT = "You averaged over the inputs x as well: each of them has its own row. outcomes[nearest] is (n, k, M): the mean over axis 1."
NEIGHBOURS = "These are the neighbours themselves, or their outcomes, (n, k, ...): take the mean of outcomes[nearest] over axis 1."
SIMILARITY = "These are similarities. Use them to choose the k rows only: the result is the mean of their OUTCOMES."
WRONG_SHARE = "This is the share of WRONG answers: 1 in outcomes means right."
FIRST_K = (
    "You took the first k rows unsorted, or [:k] without axis=1. Sort each row: np.argsort(-similarity, axis=1)[:, :k]."
)
EXPECTED = "The result has shape {}, expected {}: a row for each input x, a column for each model. {}"
CLASH = (
    "The shapes do not line up. A length for each row is (T, 1), so write keepdims=True; x @ train.T is (n, T), and"
    " outcomes[nearest] with nearest (n, k) is (n, k, M)."
)


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
    return o[np.argsort(-_cosine(t, x), axis=1)[:, :k]]  # (n, k, M)


def _top(t: Array, x: Array, k: int) -> Array:
    return -np.sort(-_cosine(t, x), axis=1)[:, :k, None]  # (n, k, 1)


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


MISTAKES = [
    (DOT, _by(lambda t, x: x @ t.T)),
    (EUCLID, _by(_distance)),
    (EUCLID, _by(lambda t, x: _distance(t, x, 1))),
    (EUCLID, lambda t, o, x, k: _mean(-_distance(t, x), o, 0, k)),
    (FARTHEST, _by(lambda t, x: -_cosine(t, x))),
    (FARTHEST, _by(lambda t, x: -x @ t.T)),
    (SKIPPED, _by(_cosine, lambda k: (1, k + 1))),
    (SKIPPED, _by(_cosine, lambda k: (1, k))),
    (FEWER, _by(_cosine, lambda k: (0, k - 1))),
    (MORE, _by(_cosine, lambda k: (0, k + 1))),
    (ONE, _by(_cosine, lambda k: (0, 1))),
    (ONE, _by(_cosine, lambda k: (k - 1, k))),
    (ALL, lambda t, o, x, k: np.tile(o.mean(axis=0), (len(x), 1))),
    (ALL, lambda t, o, x, k: o.mean(axis=0)),
    (WEIGHTED, _weighted(1)),
    (WEIGHTED, _weighted(2)),
    (WEIGHTED, _softmax),
    (WEIGHTED, lambda t, o, x, k: (_kept(t, o, x, k) * _top(t, x, k)).mean(axis=1)),
    (WEIGHTED, lambda t, o, x, k: (_kept(t, o, x, k) * _top(t, x, k)).sum(axis=1)),
    (WEIGHTED, lambda t, o, x, k: _cosine(t, x) @ o / len(t)),
    (WEIGHTED, lambda t, o, x, k: _cosine(t, x) @ o / _cosine(t, x).sum(axis=1, keepdims=True)),
    (MAJORITY, lambda t, o, x, k: knn_outcomes(t, o, x, k).round()),
    (MAJORITY, lambda t, o, x, k: (knn_outcomes(t, o, x, k) > 0.5) * 1.0),
    (MAJORITY, lambda t, o, x, k: (knn_outcomes(t, o, x, k) >= 0.5) * 1.0),
    (MAJORITY, lambda t, o, x, k: knn_outcomes(t, o, x, k) > 0.5),
    (MAJORITY, lambda t, o, x, k: knn_outcomes(t, o, x, k) >= 0.5),
    (SUM, lambda t, o, x, k: _kept(t, o, x, k).sum(axis=1)),
    (DIVIDED, lambda t, o, x, k: _kept(t, o, x, k).sum(axis=1) / len(t)),
    (DIVIDED, lambda t, o, x, k: _kept(t, o, x, k).sum(axis=1) / len(x)),
    (DIVIDED, lambda t, o, x, k: _kept(t, o, x, k).sum(axis=1) / (k - 1)),
    (CHOICE, _choice),
    (CHOICE, lambda t, o, x, k: np.eye(o.shape[1])[_choice(t, o, x, k)]),
    (CHOICE, lambda t, o, x, k: knn_outcomes(t, o, x, k).max(axis=1)),
    (COLUMNS, _by(lambda t, x: (x / np.linalg.norm(x, axis=0)) @ (t / np.linalg.norm(t, axis=0)).T)),
    (COLUMNS, _by(lambda t, x: x @ (t / np.linalg.norm(t, axis=0)).T)),
    (COLUMNS, _by(lambda t, x: _unit(x) @ (t / np.linalg.norm(t, axis=0)).T)),
    (SQUARED, _by(lambda t, x: x @ (t / np.square(t).sum(axis=1, keepdims=True)).T)),
    (L1, _by(lambda t, x: x @ (t / np.abs(t).sum(axis=1, keepdims=True)).T)),
    (ABSOLUTE, _by(lambda t, x: np.abs(_cosine(t, x)))),
    (CENTRED, _by(_correlation)),
    (CENTRED, _by(lambda t, x: _cosine(t - t.mean(axis=0), x - t.mean(axis=0)))),
    (SUMMED_X, lambda t, o, x, k: np.tile(_mean(_cosine(t, x).mean(axis=0)[None], o, 0, k), (len(x), 1))),
    (SUMMED_X, lambda t, o, x, k: _mean(_cosine(t, x).mean(axis=0)[None], o, 0, k)[0]),
    (SUMMED_X, lambda t, o, x, k: np.tile(knn_outcomes(t, o, x, k)[0], (len(x), 1))),
    (TRANSPOSED, lambda t, o, x, k: knn_outcomes(t, o, x, k).T),
    (AXIS_0, lambda t, o, x, k: o[np.argsort(-_cosine(t, x), axis=0)[:, :k]].mean(axis=1)),
    (AXIS_0, lambda t, o, x, k: o[np.argsort(-_cosine(t, x), axis=0)[:k].T % len(t)].mean(axis=1)),
    (MODELS, lambda t, o, x, k: _kept(t, o, x, k).mean(axis=2)),
    (FLAT, lambda t, o, x, k: _kept(t, o, x, k).mean(axis=0)),
    (FLAT, lambda t, o, x, k: _kept(t, o, x, k).mean(axis=(0, 1))),
    (FLAT, lambda t, o, x, k: _kept(t, o, x, k).mean()),
    (MODELS, lambda t, o, x, k: _kept(t, o, x, k).mean(axis=(1, 2))),
    (NEIGHBOURS, _kept),
    (NEIGHBOURS, lambda t, o, x, k: np.argsort(-_cosine(t, x), axis=1)[:, :k]),
    (SIMILARITY, lambda t, o, x, k: _cosine(t, x)),
    (SIMILARITY, lambda t, o, x, k: _top(t, x, k)[..., 0]),
    (SIMILARITY, lambda t, o, x, k: _top(t, x, k).mean(axis=1)),
    (SIMILARITY, lambda t, o, x, k: _top(t, x, k)[..., 0].mean(axis=1)),
    (WRONG_SHARE, lambda t, o, x, k: 1 - knn_outcomes(t, o, x, k)),
    (FIRST_K, lambda t, o, x, k: o[np.argsort(-_cosine(t, x))[:k]].mean(axis=1)),
    (FIRST_K, lambda t, o, x, k: np.tile(o[:k].mean(axis=0), (len(x), 1))),
]


def inputs(seed: int, train: int, items: int, models: int, k: int, d: int = 5) -> tuple[Array, Array, Array, int]:
    """Embeddings of lengths from 0.2 to 5 that share a direction, as real ones do; no two similarities nearer than 1e-4."""
    random = np.random.default_rng(seed)
    while True:
        rows = (random.standard_normal((train + items, d)) + 0.4) * random.uniform(0.5, 3, d)
        rows *= np.exp(random.uniform(np.log(0.2), np.log(5), (len(rows), 1)))
        rows, x = rows[:train], rows[train:]
        if np.diff(np.sort(_cosine(rows, x), axis=1), axis=1).min() > 1e-4:
            return rows, (random.random((train, models)) < 0.6).astype(float), x, k


CASES = [inputs(841, 24, 4, 3, 5), inputs(842, 19, 6, 2, 4)]


def _look(got: Tensor, case: tuple) -> None:
    expected = (len(case[2]), case[1].shape[1])
    if tuple(got.shape) != expected:
        raise Mistake(EXPECTED.format(tuple(got.shape), expected, STEPS))
    if not torch.isfinite(got).all():
        raise Mistake(f"Your result holds nan or infinity. {STEPS}")


def _check(answer: Callable, case: tuple) -> None:
    try:
        judge(answer, case, knn_outcomes, CASES, MISTAKES, STEPS, _look)
    except StudentError as wrapped:
        said = str(wrapped.error).split("\n")[0]
        words = ("broadcast", "mismatch", "must match", "out of bounds", "too many indices", "cannot be multiplied")
        if any(word in said for word in words):
            raise Mistake(f"{CLASH} (The message was: {said})") from None
        raise


def knn_random(answer: Callable) -> None:
    """embeddings of different lengths, five neighbours and then four, three models and then two"""
    for case in CASES:
        _check(answer, case)


def knn_ends(answer: Callable) -> None:
    """k = 1, the outcomes of the most similar row; and k = T, the same mean for every input"""
    train, outcomes, x, _ = CASES[0]
    _check(answer, (train, outcomes, x, 1))
    _check(answer, (train, outcomes, x, len(train)))


def knn_lengths(answer: Callable) -> None:
    """by hand, in the plane: a long row at a right angle, a near one in another direction, an opposite one"""
    train = np.array([[0.1, 0.01], [1.0, 1.5], [-3.0, 0.1], [60.0, 50.0]])
    outcomes = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    _check(answer, (train, outcomes, np.array([[1.0, 0.0]]), 1))
    _check(answer, (train, outcomes, np.array([[1.0, 0.0], [0.5, 0.4]]), 2))
