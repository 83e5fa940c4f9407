"""Notebook 09's exercises: answers that are right in another way, and the references against the library and other
libraries."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch

from course_utils.exercises.engine import PASSED, find, run_check
from course_utils.exercises.pipelines_and_stacking import oof_predictions as oof
from course_utils.exercises.pipelines_and_stacking import paired_bootstrap as bootstrap
from course_utils.exercises.pipelines_and_stacking.word_error_rate import word_error_rate
from course_utils.pipelines import recognition, stacking


def wer_by_recursion(reference, hypothesis):
    @functools.cache
    def edits(i, j):
        if not i or not j:
            return i + j
        same = reference[i - 1] == hypothesis[j - 1]
        return edits(i - 1, j - 1) if same else 1 + min(edits(i - 1, j - 1), edits(i - 1, j), edits(i, j - 1))

    return edits(len(reference), len(hypothesis)) / len(reference)


def wer_by_plain_recursion(reference, hypothesis):
    def edits(r, h):
        if not r or not h:
            return len(r) + len(h)
        return min(edits(r[1:], h[1:]) + (r[0] != h[0]), edits(r[1:], h) + 1, edits(r, h[1:]) + 1)

    return edits(reference, hypothesis) / len(reference)


def wer_in_a_numpy_table(reference, hypothesis):
    n, m = len(reference), len(hypothesis)
    d = np.add.outer(np.arange(n + 1), np.arange(m + 1))
    for i in range(n):
        for j in range(m):
            d[i + 1, j + 1] = min(d[i, j] + int(reference[i] != hypothesis[j]), d[i, j + 1] + 1, d[i + 1, j] + 1)
    return d[n, m] / n


def posterior_in_a_loop(scores, scale):
    z = [scale * s for s in scores.tolist()]
    e = [math.exp(x - max(z)) for x in z]
    return torch.tensor([x / sum(e) for x in e])


def mbr_in_a_loop(utility, p):
    def gain(b, h):
        return sum(weight * u for weight, u in zip(p[b].tolist(), utility[b, h].tolist(), strict=True))

    return torch.tensor([max(range(p.shape[1]), key=lambda h, b=b: gain(b, h)) for b in range(len(p))])


def mbr_by_einsum(utility, p):
    return torch.einsum("bhr,br->bh", utility, p).max(dim=1).indices


def mbr_as_the_lowest_risk(utility, p):
    return ((utility.max() - utility) @ p[:, :, None])[:, :, 0].argmin(-1)


def oof_row_by_row(fit, X, y, k):
    rows = []
    for i in range(len(X)):
        others = [j for j in range(len(X)) if j % k != i % k]
        rows.append(fit(X[others], y[others])(X[[i]])[0])
    return rows


def oof_predicts_all_and_keeps_some(fit, X, y, k):
    fold = torch.arange(len(X)) % k
    every = torch.stack([torch.as_tensor(fit(X[(fold != j).numpy()], y[(fold != j).numpy()])(X)) for j in range(k)])
    return every[fold, torch.arange(len(X))]


def oof_in_slices_of_lists(fit, X, y, k):
    out = np.empty((len(X), len(np.unique(y))), dtype=np.float32)
    for j in range(k):
        rest = np.delete(np.arange(len(X)), slice(j, None, k))
        out[j::k] = fit(list(X[rest]), list(y[rest]))(list(X[j::k]))
    return out


def bootstrap_in_a_loop(a, b, index):
    differences = [np.mean(a[row]) - np.mean(b[row]) for row in index]
    return [np.percentile(differences, 2.5), np.percentile(differences, 97.5)]


def bootstrap_by_counts(a, b, index):
    counts = np.array([np.bincount(row, minlength=len(a)) for row in index])
    return np.quantile(counts @ (a - b) / len(a), [0.025, 0.975])


def bootstrap_in_torch(a, b, index):
    d = torch.from_numpy(a - b).double()[torch.from_numpy(index)].mean(1)
    return torch.quantile(d, torch.tensor([0.025, 0.975], dtype=torch.float64))


RIGHT = [
    *[("word_error_rate", answer) for answer in (wer_by_recursion, wer_by_plain_recursion, wer_in_a_numpy_table)],
    ("word_error_rate", lambda r, h: torch.tensor([word_error_rate(tuple(r), tuple(h))])),
    ("marginal_pipeline", lambda p1, p2: torch.stack([sum(p * q for p, q in zip(row, p2)) for row in p1])),
    ("marginal_pipeline", lambda p1, p2: torch.logsumexp(p1.log()[:, :, None] + p2.log(), dim=1).exp()),
    ("marginal_pipeline", lambda p1, p2: torch.einsum("bk,kv->bv", p1, p2)),
    ("marginal_pipeline", lambda p1, p2: (p1.unsqueeze(-1) * p2.unsqueeze(0)).sum(1)),
    ("marginal_pipeline", lambda p1, p2: (p2.T @ p1.T).T.double()),
    ("nbest_posterior", posterior_in_a_loop),
    ("nbest_posterior", lambda s, c: torch.stack([1 / torch.exp(c * (s - x)).sum() for x in s])),
    ("nbest_posterior", lambda s, c: (c * s.double()).softmax(-1)),
    ("nbest_posterior", lambda s, c: torch.exp(c * s - torch.logsumexp(c * s, 0)).float()),
    ("nbest_posterior", lambda s, c: ((s - s.max()) * c).exp() / ((s - s.max()) * c).exp().sum()),
    *[("oof_predictions", answer) for answer in (oof_row_by_row, oof_predicts_all_and_keeps_some)],
    ("oof_predictions", oof_in_slices_of_lists),
    *[("mbr", answer) for answer in (mbr_in_a_loop, mbr_by_einsum, mbr_as_the_lowest_risk)],
    *[("paired_bootstrap", answer) for answer in (bootstrap_in_a_loop, bootstrap_by_counts, bootstrap_in_torch)],
    ("paired_bootstrap", lambda a, b, i: tuple(np.quantile(a[i].mean(axis=1) - b[i].mean(axis=1), (0.025, 0.975)))),
]


@pytest.mark.parametrize("name, answer", RIGHT, ids=lambda value: getattr(value, "__name__", value))
def test_another_right_answer_passes(name, answer):
    report = run_check(f"pipelines_and_stacking.{name}", answer)
    assert report.status == PASSED, report.text


def test_word_error_rate_is_the_library_s():
    random = np.random.default_rng(0)
    for _ in range(60):
        r, h = (list(random.choice(list("abcd"), size)) for size in (random.integers(1, 9), random.integers(0, 9)))
        assert word_error_rate(r, h) == recognition.word_error_rate(" ".join(r), " ".join(h)).rate


class Fitted:
    """What the library's oof_predictions wants of a model."""

    def __init__(self, X, y):
        self.predict_proba = oof.witness(X, y)


@pytest.mark.parametrize("n, k", [(20, 4), (18, 3)])
def test_oof_predictions_is_the_library_s_for_the_same_folds(n, k):
    X, y = oof.inputs(3, n)
    order = (
        np.argsort(stacking.fold_numbers(n, k), kind="stable").reshape(k, -1).T.reshape(-1)
    )  # folds 0, 1, ..., k - 1, 0, ...
    library = stacking.oof_predictions(Fitted, X, y, k)
    np.testing.assert_allclose(oof.oof_predictions(oof.witness, X[order], y[order], k), library[order], atol=1e-12)


def test_paired_intervals_are_narrower_than_unpaired_ones():
    cases = [tuple(case.named.values()) for case in find("pipelines_and_stacking.paired_bootstrap").all_cases[2:4]]
    for a, b, index in cases:
        low, high = bootstrap.paired_bootstrap(a, b, index)
        assert high - low < np.ptp(np.quantile(a[index].mean(1) - b[index[::-1]].mean(1), [0.025, 0.975])) / 2
    (low, _), (other, _) = (bootstrap.paired_bootstrap(*case) for case in cases)
    assert (low > 0) != (other > 0)  # one interval includes 0
