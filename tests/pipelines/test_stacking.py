"""Out-of-fold predictions: scikit-learn's on the same folds, no row by a model that saw it."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.datasets import load_iris
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from course_utils.pipelines.stacking import fold_numbers, oof_predictions

X, Y = load_iris(return_X_y=True)


@pytest.mark.parametrize("model", [GaussianNB(), KNeighborsClassifier(4)], ids=["bayes", "neighbours"])
@pytest.mark.parametrize(("k", "seed"), [(2, 0), (5, 3), (150, 1)])
def test_as_scikit_learn_predicts_on_the_same_folds(model, k, seed):
    got = oof_predictions(model.__class__(**model.get_params()).fit, X, Y, k, seed)
    want = cross_val_predict(model, X, Y, cv=PredefinedSplit(fold_numbers(len(Y), k, seed)), method="predict_proba")
    np.testing.assert_allclose(got, want, atol=1e-12)


def test_the_model_of_a_row_never_saw_it():
    """Each fit is told apart by the rows it saw; every row must be predicted once, by one that did not see it."""
    seen = []

    class Spy:
        def __init__(self, rows, labels):
            self.rows = set(rows[:, 0].tolist())

        def predict_proba(self, rows):
            seen.extend((row in self.rows, row) for row in rows[:, 0].tolist())
            return np.full((len(rows), 2), 0.5)

    oof_predictions(Spy, np.arange(23).reshape(-1, 1), np.arange(23) % 2, k=4)
    assert sorted(row for _, row in seen) == list(range(23))
    assert not any(was_seen for was_seen, _ in seen)


def test_a_memoriser_is_right_in_fold_and_at_chance_out_of_fold():
    rng = np.random.default_rng(0)
    points, labels = rng.normal(size=(400, 5)), rng.integers(0, 2, 400)  # nothing to learn
    fit = KNeighborsClassifier(1).fit
    in_fold = fit(points, labels).predict_proba(points).argmax(1)
    out_of_fold = oof_predictions(KNeighborsClassifier(1).fit, points, labels, k=5).argmax(1)
    assert (in_fold == labels).all()
    assert abs((out_of_fold == labels).mean() - 0.5) < 0.1  # four standard errors


def test_folds():
    folds = fold_numbers(103, 5, seed=7)
    assert sorted(np.bincount(folds)) == [20, 20, 21, 21, 21]
    assert (folds == fold_numbers(103, 5, seed=7)).all() and (folds != fold_numbers(103, 5, seed=8)).any()
    assert (np.diff(folds) != 1).any() and len(set(folds[:20])) > 1  # shuffled: sorted labels do not fill whole folds


def test_texts_sparse_matrices_and_named_labels():
    texts = ["bad film", "good film", "bad plot", "good plot", "bad cast", "good cast"] * 3
    labels = ["negative", "positive"] * 9
    got = oof_predictions(make_pipeline(TfidfVectorizer(), LogisticRegression()).fit, texts, labels, k=3)
    assert got.shape == (18, 2) and (got.argmax(1) == np.tile([0, 1], 9)).all()
    counts = csr_matrix(np.eye(2)[np.tile([0, 1], 9)])
    assert (oof_predictions(LogisticRegression().fit, counts, labels, k=3).argmax(1) == np.tile([0, 1], 9)).all()


@pytest.mark.parametrize(
    ("rows", "labels", "k", "complaint"),
    [
        (X, Y[:-1], 5, "150 rows and y has 149"),
        (X, Y, 1, "k must be at least 2"),
        (X[:4], Y[:4], 5, "at most the number of rows"),
        (X[:51], Y[:51], 5, "label 1 are in one fold"),
    ],
)
def test_bad_input_is_one_clear_line(rows, labels, k, complaint):
    with pytest.raises(ValueError, match=complaint) as caught:
        oof_predictions(GaussianNB().fit, rows, labels, k)
    assert "\n" not in str(caught.value)
