"""Cascades, routers, calibration against plain loops, scikit-learn and closed forms; in its tools; on real texts."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier
from sklearn.calibration import calibration_curve
from sklearn.datasets import make_classification
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from course_utils.selection import (
    Cascade,
    KNNRouter,
    answer_features,
    apgr,
    best_thresholds,
    cascade,
    cpt,
    expected_calibration_error,
    frontier,
    pareto,
    pgr,
    reliability_table,
    routing_curve,
)
from course_utils.shelf.corpora import snippets

INF = math.inf
SEEDS = st.integers(0, 10_000)


def outcomes(seed: int, tiers: int = 3, items: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with many ties, correctness, and the cost of each call."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 9, (tiers - 1, items)) / 8
    correct = (rng.random((tiers, items)) < np.linspace(0.6, 0.8, tiers)[:, None]).astype(int)
    return scores, correct, 3.0 ** np.arange(tiers)[:, None] * rng.uniform(0.5, 1.5, (tiers, items))


def some_taus(seed: int, tiers: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).choice([-INF, 0, 0.125, 0.3, 0.5, 0.75, 1, INF], tiers - 1)


def by_loops(scores, correct, cost, taus):
    """The definition of a cascade, item by item and tier by tier."""
    right, paid, answered_by = 0.0, 0.0, []
    for i in range(len(correct[0])):
        for m in range(len(correct)):
            paid += cost[m][i]
            if m == len(correct) - 1 or scores[m][i] > taus[m]:
                right += correct[m][i]
                answered_by.append(m)
                break
    return right / len(correct[0]), paid / len(correct[0]), answered_by


@given(SEEDS, st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_cascade_is_the_loop_over_items_and_tiers(seed, tiers):
    scores, correct, cost = outcomes(seed, tiers)
    taus = some_taus(seed, tiers)
    accuracy, paid, answered_by = by_loops(scores, correct, cost, taus)
    found = cascade(scores, correct, cost, taus)
    assert found.accuracy == pytest.approx(accuracy) and found.cost == pytest.approx(paid)
    assert found.answered_by.tolist() == answered_by


def test_cascade_by_hand_in_lists_arrays_and_tensors():
    scores, correct = [[0.9, 0.5, 0.2], [0.1, 0.8, 0.6]], [[1, 0, 0], [0, 1, 1], [1, 1, 0]]
    for kind in (list, np.array, torch.tensor):
        found = cascade(kind(scores), kind(correct), kind([1, 10, 100]), kind([0.5, 0.6]))
        assert found.answered_by.tolist() == [0, 1, 2]  # a score of exactly tau is not enough
        assert found.accuracy == pytest.approx(2 / 3) and found.cost == pytest.approx((1 + 11 + 111) / 3)


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_cascade_properties(seed):
    scores, correct, cost = outcomes(seed)
    taus = some_taus(seed)
    found = cascade(scores, correct, cost, taus)
    first, last = cascade(scores, correct, cost, [-INF, 0.5]), cascade(scores, correct, cost, [INF, INF])
    assert first.accuracy == pytest.approx(correct[0].mean()) and first.cost == pytest.approx(cost[0].mean())
    assert last.accuracy == pytest.approx(correct[2].mean()) and last.cost == pytest.approx(cost.sum(axis=0).mean())
    assert cost[0].mean() - 1e-9 <= found.cost <= cost.sum(axis=0).mean() + 1e-9
    for m in (0, 1):
        raised = taus.copy()
        raised[m] += 0.25
        assert cascade(scores, correct, cost, raised).cost >= found.cost - 1e-9
    two = cascade(scores[:1], correct[:2], [2.0, 7.0], taus[:1])
    assert two.cost == pytest.approx(2 + two.answered_by.mean() * 7)


@pytest.mark.parametrize("tiers", [1, 2, 3, 4])
def test_frontier_has_every_combination(tiers):
    scores, correct, cost = outcomes(tiers, tiers, 30)
    found = frontier(scores, correct, cost, n_quantiles=5)
    grid = [np.unique(found.taus[:, m]) for m in range(tiers - 1)]
    assert sorted(map(tuple, found.taus)) == sorted(itertools.product(*grid))
    assert all({-INF, INF} <= set(cuts) and 4 <= len(cuts) <= 7 for cuts in grid)
    expected = [by_loops(scores, correct, cost, taus)[:2] for taus in found.taus]
    np.testing.assert_allclose(np.stack([found.accuracy, found.cost], axis=1), expected)
    assert found.best.tolist() == pareto(found.cost, found.accuracy).tolist()


def test_many_quantiles_are_all_there_is():
    """With enough quantiles the grid reaches every way in which a threshold can divide the items."""
    scores, correct, cost = outcomes(3)
    found = frontier(scores, correct, cost, n_quantiles=1000)
    for row, cuts in zip(scores, found.taus.T):
        assert {tuple(row > tau) for tau in cuts} == {tuple(row > tau) for tau in [-1, *row]}
        assert not np.isin(cuts, row).any()  # between two scores, so that rounding cannot move an item


@given(SEEDS, st.floats(0.2, 1))
@settings(max_examples=25, deadline=None)
def test_best_thresholds_are_the_best_of_the_grid(seed, share):
    scores, correct, cost = outcomes(seed)
    low, high = cost[0].mean(), cost.sum(axis=0).mean()
    budget = low + share * (high - low) + 1e-6  # no sum is exactly that
    candidates = [[-1.0, *(np.unique(row)[1:] + np.unique(row)[:-1]) / 2, 2.0] for row in scores]
    tried = [by_loops(scores, correct, cost, taus)[:2] for taus in itertools.product(*candidates)]
    accuracy, paid = max(((a, -c) for a, c in tried if c <= budget), default=None)
    found = cascade(scores, correct, cost, best_thresholds(scores, correct, cost, budget, n_quantiles=400))
    assert (found.accuracy, found.cost) == (pytest.approx(accuracy), pytest.approx(-paid))


def test_budget_of_the_first_tier_is_enough_and_less_is_refused():
    scores, correct, _ = outcomes(1)
    taus = best_thresholds(scores, correct, [0.1, 1, 10], 0.1)
    assert cascade(scores, correct, [0.1, 1, 10], taus).cost == pytest.approx(0.1)
    for budget in (0.0999, math.nan):
        with pytest.raises(ValueError, match="too small: the first tier alone costs 0.1 an item"):
            best_thresholds(scores, correct, [0.1, 1, 10], budget)


def test_cascade_can_be_better_than_its_best_model():
    """The cheap model is right on some items where the dear one is wrong, and its score knows."""
    table = [[0.9, 0.8, 0.3, 0.2, 0.1]], [[1, 1, 0, 0, 0], [0, 1, 1, 1, 1]], [1, 10]
    found = cascade(*table, best_thresholds(*table))
    assert found.accuracy == 1 and found.cost == pytest.approx(1 + 0.6 * 10)


def test_equal_accuracy_goes_to_the_cheaper():
    table = [[0.2, 0.6, 0.9]], np.ones((2, 3)), [1, 5]
    assert cascade(*table, best_thresholds(*table)).cost == 1


def test_a_large_grid_is_fast():
    rng = np.random.default_rng(0)
    scores, correct = rng.random((2, 2000)), rng.random((3, 2000)) < 0.7
    times = []
    for _ in range(3):
        start = time.perf_counter()
        found = frontier(scores, correct, [1, 4, 16], n_quantiles=40)
        times.append(time.perf_counter() - start)
    assert len(found.cost) == 41 * 41  # 39 cuts between 40 quantiles, always and never
    assert min(times) < 0.5


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=25))
@settings(deadline=None)
def test_pareto_keeps_what_nothing_dominates(points):
    kept = pareto([c for c, _ in points], [q for _, q in points])
    expected = {(c, q) for c, q in points if not any(a <= c and b >= q and (a, b) != (c, q) for a, b in points)}
    assert [points[i] for i in kept] == sorted(expected)
    assert all(points.index(points[i]) == i for i in kept)  # the first of equals


# Routers


def two_models(seed: int, items: int = 30) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    weak, strong = (rng.random(items) < 0.4).astype(int), (rng.random(items) < 0.8).astype(int)
    strong[:2], weak[:2] = (0, 1), (1, 0)
    return rng.random(items), weak, strong


@given(SEEDS)
@settings(max_examples=40, deadline=None)
def test_routing_curve_is_the_loop_over_shares(seed):
    win, weak, strong = two_models(seed)
    expected = []
    for calls in range(31):
        sent = sorted(range(30), key=lambda i: -win[i])[:calls]
        expected.append(sum(strong[i] if i in sent else weak[i] for i in range(30)) / 30)
    share, quality = routing_curve(win, weak, strong)
    np.testing.assert_allclose(quality, expected, atol=1e-12)
    np.testing.assert_allclose(share, np.arange(31) / 30)


def test_equal_scores_give_the_mean_over_all_orders():
    win, weak, strong = [0.9, 0.4, 0.4, 0.4, 0.1], [0, 0, 1, 0, 1], [1, 1, 1, 0, 0]
    scores = [[0.9, *(0.4 + 0.01 * np.array(p)), 0.1] for p in itertools.permutations(range(3))]
    orders = [routing_curve(row, weak, strong).quality for row in scores]
    np.testing.assert_allclose(routing_curve(win, weak, strong).quality, np.mean(orders, axis=0))


def test_random_routing_has_apgr_one_half():
    weak, strong = [0, 1, 0, 0, 1], [1, 1, 1, 0, 0]
    every = [apgr(*routing_curve(order, weak, strong)) for order in itertools.permutations(range(5))]
    assert np.mean(every) == pytest.approx(0.5) and np.ptp(every) > 1
    curve = routing_curve(np.zeros(5), weak, strong)
    assert apgr(*curve) == pytest.approx(0.5) and cpt(*curve, 0.6) == pytest.approx(0.6)


def test_pgr_is_0_for_the_weak_1_for_the_strong_and_never_clipped():
    np.testing.assert_allclose(pgr([0.5, 0.7, 0.6, 0.8, 0.3], 0.5, 0.7), [0, 1, 0.5, 1.5, -1])
    assert pgr(0.6, 0.5, 0.7) == pytest.approx(0.5) and isinstance(pgr(0.6, 0.5, 0.7), float)
    win, weak, strong = two_models(2)
    gaps = pgr(routing_curve(strong - weak, weak, strong).quality, weak.mean(), strong.mean())
    assert gaps[0] == 0 and gaps[-1] == pytest.approx(1) and gaps.max() > 1
    best, worst = (apgr(*routing_curve(sign * (strong - weak), weak, strong)) for sign in (1, -1))
    assert best + worst == pytest.approx(1) and worst < 0.5 < best  # reversed, the curve is turned by half a turn


@given(SEEDS)
@settings(max_examples=40, deadline=None)
def test_apgr_against_the_area_under_the_roc_curve(seed):
    """If the weak model is always wrong, PGR is the strong one's recall: its area follows from the AUC."""
    rng = np.random.default_rng(seed)
    win, strong = rng.integers(0, 12, 50), (rng.random(50) < 0.6).astype(int)
    strong[:2] = 0, 1
    base = strong.mean()
    expected = base / 2 + (1 - base) * roc_auc_score(strong, win)
    assert apgr(*routing_curve(win, np.zeros(50), strong)) == pytest.approx(expected)


def test_oracle_may_have_an_apgr_above_one():
    weak, strong = np.array([1, 1, 0, 0, 0, 1]), np.array([0, 0, 1, 1, 1, 1])
    curve = routing_curve(strong - weak, weak, strong)
    assert curve.quality.max() == 1 and apgr(*curve) > 1
    assert cpt(*curve, 1.0) == pytest.approx(1 / 6) and cpt(*curve, 3.0) == pytest.approx(3 / 6)
    with pytest.raises(ValueError, match="never reaches a PGR of 3.5: its highest is 3"):
        cpt(*curve, 3.5)


@given(SEEDS, st.floats(0.01, 1))
@settings(max_examples=40, deadline=None)
def test_cpt_is_the_first_point_that_reaches_x(seed, x):
    win, weak, strong = two_models(seed)
    if weak.sum() == strong.sum():
        return
    share, quality = routing_curve(win, weak, strong)
    gap = strong.mean() - weak.mean()
    expected = next(s for s, q in zip(share, quality) if (q - weak.mean()) / gap >= x - 1e-12)
    assert cpt(share, quality, x) == expected


def test_apgr_of_a_few_thresholds_is_trapezoids():
    assert apgr([0, 0.2, 1], [0.5, 0.7, 0.6]) == pytest.approx(0.2 * (0 + 2) / 2 + 0.8 * (2 + 1) / 2)


# Calibration


@pytest.mark.parametrize("n_bins", [1, 5, 10, 15])
def test_reliability_is_that_of_scikit_learn(n_bins):
    rng = np.random.default_rng(4)
    confidence = np.append(rng.beta(4, 2, 500), np.arange(11) / 10)  # edges too
    correct = rng.random(511) < confidence**2
    table = reliability_table(confidence, correct, n_bins)
    accuracy, mean = calibration_curve(correct, confidence, n_bins=n_bins)
    full = table.count > 0
    np.testing.assert_allclose(table.accuracy[full], accuracy)
    np.testing.assert_allclose(table.confidence[full], mean)
    assert table.count.sum() == 511 and np.isnan(table.accuracy[~full]).all()
    expected = np.sum(table.count[full] * abs(accuracy - mean)) / 511
    assert expected_calibration_error(confidence, correct, n_bins) == pytest.approx(expected)


def test_calibration_closed_forms():
    assert expected_calibration_error([0.75] * 4, [1, 1, 1, 0]) == 0
    assert expected_calibration_error([1.0] * 4, [1, 0, 0, 0]) == 0.75
    two_bins = [0.95] * 5 + [0.55] * 5, [1, 1, 1, 1, 0, 0, 1, 0, 1, 0]
    assert expected_calibration_error(*two_bins, 10) == pytest.approx(0.15)
    assert expected_calibration_error([0.3, 0.7], [0, 1], 1) == 0  # one bin hides everything
    counts = reliability_table([0.0, 0.1, 0.11], [0, 0, 1], 10).count.tolist()
    assert counts == [2, 1] + [0] * 8  # (0.1, 0.2], and 0 in the first


# The cascade of real classifiers


class Counted(ClassifierMixin, BaseEstimator):
    """A fitted classifier that counts the items it is asked for."""

    def __init__(self, model):
        self.model = model
        self.classes_ = model.classes_
        self.asked = 0

    def predict_proba(self, X):
        self.asked += len(X)
        return self.model.predict_proba(X)


@pytest.fixture(scope="module")
def problem():
    """Three fitted tiers (they see 3, 7 and all 12 features), validation and test data: 3 classes."""
    X, y = make_classification(2400, 12, n_informative=8, n_classes=3, class_sep=1.2, shuffle=True, random_state=0)
    y = np.array(["bad", "fair", "good"])[y]
    train, validation, test = slice(0, 800), slice(800, 1600), slice(1600, 2400)

    def narrow(columns):
        scale = np.diag([1.0] * columns + [0.0] * (12 - columns))
        return LogisticRegression().fit(X[train] @ scale, y[train])

    models = [narrow(3), narrow(7), make_pipeline(StandardScaler(), LogisticRegression()).fit(X[train], y[train])]
    return models, X[validation], y[validation], X[test], y[test]


COSTS = [1.0, 4.0, 20.0]


def test_a_tier_is_called_only_with_the_open_items(problem):
    models, X, y, X_test, y_test = problem
    counted = [Counted(model) for model in models]
    fitted = Cascade(counted, COSTS, budget=6.0).fit(X, y)
    for model in counted:
        model.asked = 0
    run = fitted.run(X_test)
    assert [model.asked for model in counted] == [int((run.tier >= m).sum()) for m in range(3)]
    assert 800 == counted[0].asked > counted[1].asked > counted[2].asked > 0
    np.testing.assert_allclose(run.cost, np.array([1.0, 5.0, 25.0])[run.tier])


@pytest.mark.parametrize("scorer", ["confidence", "margin"])
def test_estimator_and_arithmetic_agree(problem, scorer):
    models, X, y, X_test, y_test = problem
    fitted = Cascade(models, COSTS, budget=6.0, scorer=scorer).fit(X, y)

    def table(X, y):
        p = [model.predict_proba(X) for model in models]
        ordered = [np.sort(q, axis=1) for q in p]
        scores = [q[:, -1] - (q[:, -2] if scorer == "margin" else 0) for q in ordered[:2]]
        return scores, [model.predict(X) == y for model in models], COSTS

    np.testing.assert_allclose(fitted.taus_, best_thresholds(*table(X, y), 6.0), atol=1e-9)
    for data in ((X, y), (X_test, y_test)):
        expected, run = cascade(*table(*data), fitted.taus_), fitted.run(data[0])
        assert fitted.score(*data) == pytest.approx(expected.accuracy)
        assert run.cost.mean() == pytest.approx(expected.cost)
        assert run.tier.tolist() == expected.answered_by.tolist()
    assert fitted.run(X).cost.mean() <= 6.0
    if scorer == "confidence":
        fitted.taus_[0] = models[0].predict_proba(X_test[:1]).max()
        assert fitted.run(X_test[:1]).tier.tolist() != [0]  # exactly tau is not enough
        fitted.taus_[0] = np.nextafter(fitted.taus_[0], 0)
        assert fitted.run(X_test[:1]).tier.tolist() == [0]
        run = fitted.run(X_test)
    proba = fitted.predict_proba(X_test)
    np.testing.assert_array_equal(proba[run.tier == 2], models[2].predict_proba(X_test[run.tier == 2]))
    np.testing.assert_array_equal(fitted.classes_[proba.argmax(axis=1)], fitted.predict(X_test))


def test_more_budget_is_never_less_accurate_on_the_data_of_fit(problem):
    models, X, y, *_ = problem
    scores = [Cascade(models, COSTS, budget).fit(X, y).score(X, y) for budget in (1.0, 2.0, 6.0, 15.0, None)]
    assert scores == sorted(scores) and scores[0] == pytest.approx(models[0].score(X, y)) and scores[0] < scores[-1]
    assert scores[-1] >= max(model.score(X, y) for model in models)


def test_one_model_is_a_cascade_too(problem):
    models, X, y, X_test, _ = problem
    fitted = Cascade(models[:1], [2.0]).fit(X, y)
    assert fitted.taus_.shape == (0,) and (fitted.predict(X_test) == models[0].predict(X_test)).all()


def test_features_are_sorted_probabilities_and_the_answer():
    found = answer_features(np.array([[0.2, 0.7, 0.1], [0.5, 0.2, 0.3]]))
    np.testing.assert_array_equal(found, [[0.7, 0.2, 0.1, 0, 1, 0], [0.5, 0.3, 0.2, 1, 0, 0]])


def test_a_trained_scorer_may_look_at_the_input():
    """Both tiers are unsure everywhere; the first is right exactly where x > 0. Only a scorer that sees x can know."""

    class Coin(ClassifierMixin, BaseEstimator):
        classes_ = np.array([0, 1])

        def __init__(self, right):
            self.right = right

        def predict_proba(self, X):
            return np.where(self.right(X)[:, None], [[0.4, 0.6]], [[0.6, 0.4]])  # the right answer is always 1

    X = np.random.default_rng(0).normal(size=(400, 1))
    tiers, y = [Coin(lambda X: X[:, 0] > 0), Coin(lambda X: X[:, 0] < 0.5)], np.ones(400, dtype=int)
    blind = Cascade(tiers, [1, 10]).fit(X, y)
    scorer = DecisionTreeClassifier(max_depth=2)
    sees = Cascade(tiers, [1, 10], scorer=scorer, features=lambda X, p: np.hstack([X, answer_features(p)]))
    assert sees.fit(X, y).score(X, y) == 1 > blind.score(X, y) + 0.2
    assert sees.run(X).cost.mean() == pytest.approx(1 + 10 * (X <= 0).mean())


def test_thresholds_of_a_trained_scorer_come_from_data_it_has_not_seen(problem):
    """A tree learns the validation data by heart: its own scores there promise an accuracy that is not there."""
    models, X, y, X_test, y_test = problem
    fitted = Cascade(models[::2], [1, 20], scorer=DecisionTreeClassifier(random_state=0)).fit(X, y)
    features, right = answer_features(models[0].predict_proba(X)), models[0].predict(X) == y
    by_heart = fitted.scorers_[0].predict_proba(features)[:, 1]
    assert (by_heart == right).mean() > 0.99
    promised = frontier([by_heart], [right, models[2].predict(X) == y], [1, 20]).accuracy.max()
    best_alone = max(models[0].score(X, y), models[2].score(X, y))
    assert promised > best_alone + 0.03
    assert fitted.score(X_test, y_test) > models[2].score(X_test, y_test) - 0.02


def test_a_tier_without_mistakes_has_nothing_to_teach(problem):
    models, X, y, *_ = problem
    right = models[0].predict(X) == y
    fitted = Cascade(models, COSTS, scorer=LogisticRegression()).fit(X[right], y[right])
    assert fitted.run(X).tier.max() == 0 and fitted.score(X[right], y[right]) == 1
    never = Cascade(models, COSTS, scorer=LogisticRegression()).fit(X[~right], y[~right])
    assert never.run(X).tier.min() > 0  # a score of 0 for every answer of the first tier


def test_cascade_drops_into_scikit_learns_tools(problem):
    models, X, y, X_test, y_test = problem
    estimator = Cascade(models, COSTS, budget=6.0)
    copy = clone(estimator)
    assert copy is not estimator and copy.models is models and is_classifier(copy)
    assert copy.get_params() == estimator.get_params()
    assert cross_val_score(estimator, X, y, cv=3).min() > 0.5
    grid = {"budget": [1.0, 6.0, None], "scorer": ["margin", LogisticRegression(max_iter=1000)]}
    search = GridSearchCV(estimator, grid, cv=3, error_score="raise").fit(X, y)
    results = pd.DataFrame(search.cv_results_).groupby(lambda i: str(search.cv_results_["params"][i]["budget"]))
    by_budget = results.mean_test_score.max()
    assert by_budget["1.0"] < by_budget["6.0"] < by_budget["None"] + 0.03
    assert search.score(X_test, y_test) > models[0].score(X_test, y_test) + 0.05
    scaled = StandardScaler().fit(X)
    nb = [GaussianNB().fit(scaled.transform(X), y), LogisticRegression(max_iter=500).fit(scaled.transform(X), y)]
    line = clone(make_pipeline(StandardScaler(), Cascade(nb, [1, 2], scorer=LogisticRegression())))
    line.set_params(cascade__scorer__C=0.1)
    assert line.fit(X, y).score(X_test, y_test) > 0.5 and line.classes_.tolist() == ["bad", "fair", "good"]
    assert line[-1].scorers_[0].C == 0.1 and line[-1].n_features_in_ == 12


def test_items_come_as_array_frame_sparse_matrix_or_list(problem):
    models, X, y, X_test, _ = problem
    expected = Cascade(models[:2], COSTS[:2]).fit(X, y).predict(X_test)
    for kind in (pd.DataFrame, csr_matrix, torch.tensor, np.ndarray.tolist):
        fitted = Cascade([Plain(model) for model in models[:2]], COSTS[:2]).fit(kind(X), y.tolist())
        assert (fitted.predict(kind(X_test)) == expected).all(), kind


class Plain:
    """Makes an array of whatever comes: scikit-learn warns about frames if it was fitted without names."""

    def __init__(self, model):
        self.model, self.classes_ = model, model.classes_

    def predict_proba(self, X):
        return self.model.predict_proba(X.toarray() if hasattr(X, "toarray") else np.asarray(X))


# The router that learns from a benchmark


@pytest.fixture(scope="module")
def benchmark():
    """Embeddings of two kinds of inputs; model 0 is good at one kind, model 1 at the other, model 2 at nothing."""
    rng = np.random.default_rng(1)
    kind = rng.integers(0, 2, 300)
    X = rng.normal(size=(300, 6)) + 2.5 * np.eye(6)[kind]
    chance = np.where(kind[:, None] == 0, [[0.9, 0.3, 0.2]], [[0.3, 0.8, 0.2]])
    return X, (rng.random((300, 3)) < chance).astype(int), kind


def test_knn_is_that_of_scikit_learn_and_of_the_formula(benchmark):
    X, right, _ = benchmark
    router = KNNRouter(n_neighbors=7).fit(X[:200], right[:200])
    reference = KNeighborsRegressor(7, metric="cosine").fit(X[:200], right[:200])
    np.testing.assert_allclose(router.predict_outcomes(X[200:]), reference.predict(X[200:]))
    x = X[250]
    cosine = [x @ z / np.sqrt((x @ x) * (z @ z)) for z in X[:200]]
    nearest = sorted(range(200), key=lambda i: -cosine[i])[:7]
    np.testing.assert_allclose(router.predict_outcomes(x[None])[0], right[nearest].mean(axis=0))
    sparse = KNNRouter(7).fit(csr_matrix(X[:200]), right[:200]).predict_outcomes(csr_matrix(X[200:]))
    np.testing.assert_allclose(sparse, router.predict_outcomes(X[200:]))


def test_knn_finds_the_right_model_for_an_input_and_for_a_task(benchmark):
    X, right, kind = benchmark
    router = KNNRouter(n_neighbors=25).fit(X[:200], right[:200])
    assert (router.predict(X[200:]) == kind[200:]).mean() > 0.85
    assert router.score(X[200:], right[200:]) > right[200:].mean(axis=0).max() + 0.1
    for k in (0, 1):
        task = X[200:][kind[200:] == k]
        assert router.choose_for_task(task) == k == router.predict_outcomes(task).mean(axis=0).argmax()


def test_price_and_ties_decide_for_the_cheap_one():
    X, right = np.eye(3), np.array([[1, 1, 0], [0, 1, 1], [0, 0, 0]])
    for options, chosen in [
        ({}, [0, 1, 0]),
        ({"costs": [3, 2, 1]}, [1, 2, 2]),
        ({"costs": [3, 2, 1], "price": 0.4}, [1, 2, 2]),
        ({"costs": [0, 2, 6], "price": 0.6}, [0, 0, 0]),
    ]:
        assert KNNRouter(1, **options).fit(X, right).predict(X).tolist() == chosen
    tie = KNNRouter(3, costs=[0.2 + 1 / 3, 0.2], price=1.0).fit(X, np.array([[1, 1], [1, 1], [1, 0]]))
    utility = tie.predict_outcomes(X[:1])[0] - tie.costs_
    assert utility[0] > utility[1] and utility[0] == pytest.approx(utility[1])  # equal, but for rounding
    assert tie.predict(X[:1]).tolist() == [1]


def test_knn_drops_into_scikit_learns_tools(benchmark):
    X, right, _ = benchmark
    search = GridSearchCV(KNNRouter(), {"n_neighbors": [1, 40]}, cv=4, error_score="raise").fit(X, right)
    assert search.best_params_ == {"n_neighbors": 40} and search.best_estimator_.n_features_in_ == 6
    line = make_pipeline(StandardScaler(with_mean=False), KNNRouter(40, costs=[1, 2, 3]))
    assert cross_val_score(line, X, right, cv=4).mean() > right.mean(axis=0).max() + 0.1
    options = {"n_neighbors": 9, "costs": [1, 2], "price": 0.5}
    assert clone(KNNRouter(**options)).get_params() == options


# Real texts


class Vader(ClassifierMixin, BaseEstimator):
    """The lexicon of Hutto & Gilbert (2014), not trained: (1 + compound) / 2 as the probability of a kind text."""

    classes_ = np.array([False, True])

    def predict_proba(self, X):
        score = SentimentIntensityAnalyzer().polarity_scores
        kind = np.array([(1 + score(text)["compound"]) / 2 for text in X])
        return np.stack([1 - kind, kind], axis=1)


def test_a_cascade_runs_on_real_texts():
    """VADER answers where it is sure and a linear model of words the rest: better than as many calls at random."""
    frames = {split: rows.to_pandas().query("rating >= 1 or rating <= -1") for split, rows in snippets().items()}
    data = {split: (frame.text.tolist(), (frame.rating > 0).to_numpy()) for split, frame in frames.items()}
    words = make_pipeline(TfidfVectorizer(sublinear_tf=True, min_df=2), LogisticRegression(C=4)).fit(*data["train"])
    (X, y), (X_test, y_test) = data["validation"], data["test"]
    weak, strong = (((model.predict_proba(X_test)[:, 1] > 0.5) == y_test) for model in (Vader(), words))
    assert weak.mean() < strong.mean() - 0.04
    for scorer in ("confidence", LogisticRegression()):
        fitted = Cascade([Vader(), words], [1.0, 3.0], budget=2.0, scorer=scorer).fit(X, y)
        run, escalated = fitted.run(X_test), fitted.run(X_test).tier.mean()
        assert fitted.run(X).cost.mean() <= 2 and 0.2 < escalated < 0.4
        assert run.cost.mean() == pytest.approx(1 + 3 * escalated)
        assert fitted.score(X_test, y_test) == np.where(run.tier == 1, strong, weak).mean()
        assert fitted.score(X_test, y_test) > weak.mean() + escalated * (strong.mean() - weak.mean()) + 0.02
    unsure = -np.abs(Vader().predict_proba(X_test)[:, 1] - 0.5)  # the same choice, measured as a router's
    assert apgr(*routing_curve(unsure, weak, strong)) > 0.6


# Complaints


OK = ([[0.5, 0.6]], [[1, 0], [1, 1]], [1, 2])


def fit_cascade(problem, **change):
    models, X, y, *_ = problem
    arguments = {"models": models, "costs": COSTS, "X": X, "y": y} | change
    X, y = arguments.pop("X"), arguments.pop("y")
    return Cascade(**arguments).fit(X, y)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: cascade([[0.5, 0.6, 0.7]], *OK[1:], [0.5]), r"scores must be \(1, 2\)"),
        (lambda: cascade([[0.5, math.nan]], *OK[1:], [0.5]), "scores must be numbers from 0 to 1"),
        (lambda: cascade([[0.5, 1.2]], *OK[1:], [0.5]), "scores must be numbers from 0 to 1"),
        (lambda: cascade(OK[0], [[1, 2], [0, 1]], OK[2], [0.5]), "correct must be numbers from 0 to 1"),
        (lambda: cascade(OK[0], [1, 1], OK[2], [0.5]), r"correct must be \(tiers, items\)"),
        (lambda: cascade(*OK[:2], [1, 2, 3], [0.5]), "a number for each tier or call"),
        (lambda: cascade(*OK[:2], [1, -2], [0.5]), "cost must be finite"),
        (lambda: cascade(*OK[:2], [1, math.nan], [0.5]), "cost must be finite"),
        (lambda: cascade(*OK, [0.5, 0.5]), "a threshold for each tier but the last"),
        (lambda: cascade(*OK, [math.nan]), "a threshold for each tier but the last"),
        (lambda: best_thresholds(*OK, 0.5), "budget of 0.5 is too small"),
        (lambda: frontier(*OK, n_quantiles=1), "n_quantiles must be at least 2"),
        (lambda: frontier(np.random.rand(5, 99), np.ones((6, 99)), np.ones(6)), "choose fewer than 40 quantiles"),
        (lambda: pareto([1, 2], [1]), "one of each a point"),
        (lambda: pareto([1, 2], [1, math.nan]), "without NaN"),
        (lambda: routing_curve([1, 2], [0, 1], [1]), "a number for each item"),
        (lambda: routing_curve([1, math.nan], [0, 1], [1, 1]), "must be finite"),
        (lambda: pgr([0.1], 0.3, 0.1 + 0.2), "no gap to recover"),
        (lambda: pgr([math.nan], 0.3, 0.5), "must be finite"),
        (lambda: apgr(*routing_curve([1, 2], [0, 1], [1, 0])), "no gap to recover"),
        (lambda: apgr([0, 0.5], [0.1, 0.2]), "share must rise from 0"),
        (lambda: apgr([0, 0.6, 0.5, 1], [0.1, 0.2, 0.3, 0.4]), "share must rise from 0"),
        (lambda: cpt([0, 1], [0.1, 0.2, 0.3], 0.5), r"must be \(P,\)"),
        (lambda: expected_calibration_error([0.5], [1, 0]), r"must be \(N,\)"),
        (lambda: expected_calibration_error([math.nan], [1]), "confidence must be numbers from 0 to 1"),
        (lambda: reliability_table([0.5], [1], 0), "n_bins at least 1"),
    ],
)
def test_bad_numbers_are_told_in_one_line(call, complaint):
    with pytest.raises(ValueError, match=complaint) as told:
        call()
    assert "\n" not in str(told.value)


def tree(labels):
    return DecisionTreeClassifier().fit([[0.0] * 12] * 2, labels)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"costs": [1, 2]}, "one cost for each, got 3 models"),
        ({"models": [], "costs": []}, "at least one model"),
        ({"costs": [1, 2, math.nan]}, "cost must be finite"),
        ({"budget": 0.5}, "budget of 0.5 is too small"),
        ({"y": np.array(["bad"] * 5)}, "X has 800 items and y 5 labels"),
        ({"y": np.array(["bad"] * 799 + ["ugly"])}, "labels that no model knows"),
        ({"scorer": "certainty"}, 'scorer must be "confidence"'),
        ({"models": [LogisticRegression()] * 3}, "give fitted classifiers"),
        ({"models": [tree([0, 1]), tree([0, 1]), tree([1, 2])]}, "all must know the same"),
        ({"n_quantiles": 1}, "n_quantiles must be at least 2"),
    ],
)
def test_bad_cascades_are_told_in_one_line(problem, change, complaint):
    with pytest.raises(ValueError, match=complaint) as told:
        fit_cascade(problem, **change)
    assert "\n" not in str(told.value)


def test_probabilities_must_be_numbers(problem):
    class Broken(Plain):
        def predict_proba(self, X):
            return np.full((len(X), 3), math.nan)

    complaint = r"Broken.predict_proba must give \(800, 3\) finite numbers, got \(800, 3\) with NaN"
    with pytest.raises(ValueError, match=complaint):
        fit_cascade(problem, models=[Broken(problem[0][0]), *problem[0][1:]])


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda X, r: KNNRouter().fit(X, r[:-1]), r"outcomes must be \(300, models\)"),
        (lambda X, r: KNNRouter().fit(X, r[:, 0]), r"outcomes must be \(300, models\)"),
        (lambda X, r: KNNRouter().fit(X, r * math.nan), "outcomes must be from 0"),
        (lambda X, r: KNNRouter().fit(X * math.nan, r), "X must be finite"),
        (lambda X, r: KNNRouter().fit(X[0], r), r"X must be \(n, d\)"),
        (lambda X, r: KNNRouter(301).fit(X, r), "n_neighbors must be from 1 to the number of inputs, 300"),
        (lambda X, r: KNNRouter(costs=[1, 2]).fit(X, r), "one for each model"),
        (lambda X, r: KNNRouter(price=math.nan).fit(X, r), "price finite"),
        (lambda X, r: KNNRouter().fit(X, r).predict(X[:, :4]), "X has 4 features and the router was fitted with 6"),
        (lambda X, r: KNNRouter().fit(X, r).score(X, r[:, :2]), r"outcomes must be \(300, 3\)"),
    ],
)
def test_bad_benchmarks_are_told_in_one_line(benchmark, call, complaint):
    with pytest.raises(ValueError, match=complaint) as told:
        call(*benchmark[:2])
    assert "\n" not in str(told.value)


def test_nothing_is_predicted_before_fit(problem, benchmark):
    router, model = KNNRouter(), Cascade(problem[0], COSTS)
    for call in (model.predict, model.predict_proba, router.predict, router.predict_outcomes, router.choose_for_task):
        with pytest.raises(NotFittedError):
            call(benchmark[0])
