"""The checks of notebook 09 on answers that are right in another way, and on wrong ones that nobody foresaw."""

from __future__ import annotations

import difflib
import functools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from wrong_answers.pipelines_and_stacking import WRONG as WRONG_ANSWERS

from course_utils.exercises import pipelines_and_stacking_bootstrap as bootstrap
from course_utils.exercises import pipelines_and_stacking_learners as learners
from course_utils.exercises import pipelines_and_stacking_marginal as marginal
from course_utils.exercises import pipelines_and_stacking_oof as oof
from course_utils.exercises import pipelines_and_stacking_posterior as posterior
from course_utils.exercises import pipelines_and_stacking_wer as wer
from course_utils.exercises.arrays import numbers
from course_utils.exercises.engine import PASSED, WRONG, find, run_check
from course_utils.exercises.engine.quizzes import QUIZZES
from course_utils.exercises.mistakes import alike
from course_utils.pipelines import recognition, stacking

torch.set_num_threads(1)


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


def wer_by_search(reference, hypothesis):
    """Breadth first: all beginnings of both lists that a number of edits reaches."""
    n, m, reached, edits = len(reference), len(hypothesis), {(0, 0)}, 0
    while True:
        slid = set()
        for i, j in reached:
            while i < n and j < m and reference[i] == hypothesis[j]:
                slid.add((i, j))
                i, j = i + 1, j + 1
            slid.add((i, j))
        if (n, m) in slid:
            return torch.tensor(edits / n)
        reached = {(i + a, j + b) for i, j in slid for a, b in ((0, 1), (1, 0), (1, 1)) if i + a <= n and j + b <= m}
        edits += 1


def marginal_in_loops(p1, p2):
    out = torch.zeros(len(p1), p2.shape[1])
    for b in range(len(p1)):
        for k in range(len(p2)):
            out[b] += p1[b, k] * p2[k]
    return out


def marginal_by_logs(p1, p2):
    return torch.logsumexp(p1.log()[:, :, None] + p2.log(), dim=1).exp()


def posterior_in_a_loop(scores, scale):
    z = [scale * s for s in scores.tolist()]
    top = max(z)
    total = sum(math.exp(x - top) for x in z)
    return torch.tensor([math.exp(x - top) / total for x in z])


def posterior_by_differences(scores, scale):
    return torch.stack([1 / torch.exp(scale * (scores - s)).sum() for s in scores])


def oof_row_by_row(fit, X, y, k):
    rows = []
    for i in range(len(X)):
        others = [j for j in range(len(X)) if j % k != i % k]
        rows.append(fit(X[others], y[others])(X[[i]])[0])
    return np.array(rows)


def oof_joined_and_sorted(fit, X, y, k):
    folds = [np.arange(j, len(X), k) for j in range(k)]
    parts = []
    for j in range(k):
        others = np.concatenate(folds[:j] + folds[j + 1 :])
        parts.append(fit(X[others], y[others])(X[folds[j]]))
    return np.concatenate(parts)[np.argsort(np.concatenate(folds))]


def oof_predicts_all_and_keeps_some(fit, X, y, k):
    fold = torch.arange(len(X)) % k
    every = torch.stack([torch.as_tensor(fit(X[(fold != j).numpy()], y[(fold != j).numpy()])(X)) for j in range(k)])
    return every[fold, torch.arange(len(X))]


def oof_as_many_columns_as_labels(fit, X, y, k):
    out = np.empty((len(X), len(np.unique(y))))
    for fold in range(k):
        train = [i for i in range(len(X)) if i % k != fold]
        out[fold::k] = fit(X[train], y[train])(X[fold::k])
    return out


def oof_in_slices(fit, X, y, k):
    out = [None] * len(X)
    for j in range(k):
        rest = np.delete(np.arange(len(X)), slice(j, None, k))
        out[j::k] = list(fit(list(X[rest]), list(y[rest]))(X[j::k]))
    return out


def bootstrap_in_a_loop(a, b, index):
    differences = [np.mean(a[row]) - np.mean(b[row]) for row in index]
    return [np.percentile(differences, 2.5), np.percentile(differences, 97.5)]


def bootstrap_by_counts(a, b, index):
    counts = np.array([np.bincount(row, minlength=len(a)) for row in index])
    return np.quantile(counts @ (a - b) / len(a), [0.025, 0.975])


def bootstrap_in_torch(a, b, index):
    a, b, index = (torch.from_numpy(x) for x in (a, b, index))
    return torch.quantile(a[index].mean(1) - b[index].mean(1), torch.tensor([0.025, 0.975], dtype=torch.float64))


RIGHT = [
    ("word_error_rate", wer_by_recursion),
    ("word_error_rate", wer_by_plain_recursion),
    ("word_error_rate", wer_in_a_numpy_table),
    ("word_error_rate", wer_by_search),
    ("word_error_rate", lambda r, h: np.array([wer.word_error_rate(tuple(r), tuple(h))])),
    ("word_error_rate", lambda r, h: recognition.WordErrors(wer._edits(r, h), 0, 0, len(r)).rate),
    ("marginal_pipeline", marginal_in_loops),
    ("marginal_pipeline", marginal_by_logs),
    ("marginal_pipeline", lambda p1, p2: torch.einsum("bk,kv->bv", p1, p2)),
    ("marginal_pipeline", lambda p1, p2: (p1.unsqueeze(-1) * p2.unsqueeze(0)).sum(1)),
    ("marginal_pipeline", lambda p1, p2: (p2.T @ p1.T).T.double().clone()),
    ("marginal_pipeline", lambda p1, p2: p1 / p1.sum(1, keepdim=True) @ p2),
    ("nbest_posterior", posterior_in_a_loop),
    ("nbest_posterior", posterior_by_differences),
    ("nbest_posterior", lambda s, c: (c * s.float()).softmax(-1)),
    ("nbest_posterior", lambda s, c: torch.exp(c * s - torch.logsumexp(c * s, 0))),
    ("nbest_posterior", lambda s, c: ((s - s.max()) * c).exp() / ((s - s.max()) * c).exp().sum()),
    ("nbest_posterior", lambda s, c: torch.nn.functional.log_softmax(c * s, dim=0).exp()),
    ("oof_predictions", oof_row_by_row),
    ("oof_predictions", oof_joined_and_sorted),
    ("oof_predictions", oof_predicts_all_and_keeps_some),
    ("oof_predictions", oof_in_slices),
    ("oof_predictions", oof_as_many_columns_as_labels),
    ("paired_bootstrap", bootstrap_in_a_loop),
    ("paired_bootstrap", bootstrap_by_counts),
    ("paired_bootstrap", bootstrap_in_torch),
    ("paired_bootstrap", lambda a, b, i: np.quantile(a[i].mean(axis=1) - b[i].mean(axis=1), (0.025, 0.975)).tolist()),
]


@pytest.mark.parametrize("name, answer", RIGHT, ids=lambda value: getattr(value, "__name__", value))
def test_another_right_answer_passes(name, answer):
    report = run_check(f"pipelines_and_stacking.{name}", answer)
    assert report.status == PASSED, report.text


# --- the references against the library and other libraries ----------------------------------------------------------


def test_word_error_rate_is_the_library_s():
    random = np.random.default_rng(0)
    for _ in range(60):
        r, h = (list(random.choice(list("abcd"), size)) for size in (random.integers(1, 9), random.integers(0, 9)))
        assert wer.word_error_rate(r, h) == recognition.word_error_rate(" ".join(r), " ".join(h)).rate


def test_the_cases_hold_an_alignment_that_a_matcher_of_longest_blocks_misses():
    def blocks(r, h):
        codes = difflib.SequenceMatcher(None, r, h).get_opcodes()
        return sum(max(b - a, d - c) for kind, a, b, c, d in codes if kind != "equal") / len(r)

    assert any(blocks(*case) > wer.word_error_rate(*case) for case in wer.CASES)
    assert max(wer.word_error_rate(*case) for case in wer.CASES) > 1


class Fitted:
    """What the library's oof_predictions wants of a model."""

    def __init__(self, predict):
        self.predict_proba = predict


@pytest.mark.parametrize("n, k", [(20, 4), (18, 3)])
def test_oof_predictions_is_the_library_s_for_the_same_folds(n, k):
    X, y = learners.inputs(3, n)
    order = np.argsort(stacking.fold_numbers(n, k), kind="stable").reshape(k, -1).T.reshape(-1)  # folds 0, 1, ..., k - 1, 0, ...
    assert (stacking.fold_numbers(n, k)[order] == np.arange(n) % k).all() and set(y) == {0, 1, 2}
    for fit in (learners.least_squares, learners.memoriser):
        library = stacking.oof_predictions(lambda X, y, fit=fit: Fitted(fit(X, y)), X, y, k)
        np.testing.assert_allclose(oof.oof_predictions(fit, X[order], y[order], k), library[order], atol=1e-12)


def test_least_squares_is_ridge_regression():
    X, y = learners.inputs(4, 20)
    ridge = Ridge(alpha=1.0, fit_intercept=False).fit(X, np.eye(3)[y])
    np.testing.assert_allclose(learners.least_squares(X, y)(X), ridge.predict(X), atol=1e-9)


def test_the_memoriser_is_right_in_fold_and_knows_nothing_out_of_fold():
    X, y = learners.inputs(933, 10)
    assert (learners.memoriser(X, y)(X).argmax(axis=1) == y).all()
    assert (oof.oof_predictions(learners.memoriser, X, y, 4) == 1 / 3).all()


def test_paired_intervals_are_narrower_than_unpaired_ones():
    for a, b, index in bootstrap.CASES:
        low, high = bootstrap.paired_bootstrap(a, b, index)
        d = np.sort([np.mean(a[row] - b[row]) for row in index])
        place = 0.025 * (len(d) - 1)
        assert low == pytest.approx(np.interp(place, range(len(d)), d))
        assert high == pytest.approx(np.interp(len(d) - 1 - place, range(len(d)), d))
        spread = np.ptp(np.quantile(a[index].mean(1) - b[index[::-1]].mean(1), [0.025, 0.975]))
        assert high - low < spread / 2
    (low, _), (other, _) = (bootstrap.paired_bootstrap(*case) for case in bootstrap.CASES)
    assert (low > 0) != (other > 0)  # one interval includes 0


# --- wrong answers ---------------------------------------------------------------------------------------------------

MODULES = {"word_error_rate": wer, "marginal_pipeline": marginal, "nbest_posterior": posterior, "oof_predictions": oof,
           "paired_bootstrap": bootstrap}


@pytest.mark.parametrize("name", MODULES)
def test_no_misconception_is_right_or_the_same_as_another(name):
    module, reference, before = MODULES[name], find(f"pipelines_and_stacking.{name}").reference, []
    right = [numbers(reference(*case)) for case in module.CASES]
    for hint, wrong in module.MISTAKES:
        mine = [numbers(wrong(*case)) for case in module.CASES]
        assert not all(map(alike, mine, right)), hint
        for other, also in before:
            assert other == hint or not all(map(alike, mine, also)), (hint, other)
        before.append((hint, mine))


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize(
    "answer, says",
    [
        (lambda *a: None, "did you forget `return`"),
        (lambda *a: "text", "is a str"),
        (lambda *a: {}["not today"], "not today"),
        (lambda *a: torch.full((2, 3, 5), math.nan), "shape|Your result has|never calls fit|several numbers"),
        (lambda *a: torch.full((2, 3, 5), math.nan).numpy(), "shape|numpy|never calls fit|several numbers"),
        (lambda *a: [], "shape|list|0 numbers|never calls fit"),
        (lambda *a: math.nan, "nan|float|one number|never calls fit"),
        (lambda *a: 1j, "complex"),
        (lambda only: only, "does not take the arguments"),
    ],
)
def test_an_answer_of_another_kind_is_told_so(name, answer, says):
    report = run_check(f"pipelines_and_stacking.{name}", answer)
    assert report.status == WRONG and any(part in report.text for part in says.split("|")), report.text


def test_every_exercise_has_three_hints_and_many_wrong_answers_that_are_all_different():
    assert max(Counter((wrong.exercise, wrong.code) for wrong in WRONG_ANSWERS).values()) == 1
    counts = Counter(wrong.exercise.split(".")[1] for wrong in WRONG_ANSWERS)
    assert set(counts) == set(MODULES) and min(counts.values()) >= 30
    assert all(len(find(f"pipelines_and_stacking.{name}").hints) == 3 for name in counts)


def test_the_quiz_has_seven_questions_of_four_answers():
    assert [len(question["answers"]) for question in QUIZZES["pipelines_and_stacking.quiz"]] == [4] * 7
