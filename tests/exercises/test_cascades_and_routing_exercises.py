"""The checks of notebook 08 on answers that are right in another way, and the references against the library."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.metrics import auc
from sklearn.neighbors import NearestNeighbors

from course_utils import selection
from course_utils.exercises.cascades_and_routing.apgr import apgr
from course_utils.exercises.cascades_and_routing.cascade import cascade
from course_utils.exercises.cascades_and_routing.expected_calibration_error import calibration_error
from course_utils.exercises.cascades_and_routing.knn_outcomes import knn_outcomes
from course_utils.exercises.engine import PASSED, run_check


def cascade_in_a_loop(scores, correct, cost, taus):
    right, paid = [], []
    for n in range(correct.shape[1]):
        for m in range(len(correct)):
            if m == len(correct) - 1 or scores[m, n] > taus[m]:
                right.append(correct[m, n])
                paid.append(sum(cost[: m + 1]))
                break
    return [np.mean(right), np.mean(paid)]


def cascade_from_the_end(scores, correct, cost, taus):
    right, paid = correct[-1], np.full(correct.shape[1], cost[-1])
    for m in reversed(range(len(taus))):
        accepts = scores[m] > taus[m]
        right, paid = np.where(accepts, correct[m], right), cost[m] + np.where(accepts, 0, paid)
    return np.array([right.mean(), paid.mean()])


def cascade_by_waiting(scores, correct, cost, taus):
    waiting, right, paid = np.ones(correct.shape[1], dtype=bool), 0, 0
    for m, price in enumerate(cost):
        paid += price * waiting.sum()
        done = waiting & (scores[m] > taus[m]) if m < len(taus) else waiting
        right += correct[m, done].sum()
        waiting = waiting & ~done
    return np.float32(right / correct.shape[1]), paid / correct.shape[1]


def cascade_in_torch(scores, correct, cost, taus):
    scores, correct, cost, taus = (torch.from_numpy(a).double() for a in (scores, correct, cost, taus))
    accepts = torch.cat([scores > taus[:, None], torch.ones(1, correct.shape[1], dtype=torch.bool)])
    by = accepts.int().argmax(dim=0, keepdim=True)
    return correct.gather(0, by).mean(), cost.cumsum(0)[by].mean()


def pareto_of_all_pairs(cost, quality):
    def beaten(i):
        return any(
            cost[j] <= cost[i] and quality[j] >= quality[i] and (cost[j] < cost[i] or quality[j] > quality[i] or j < i)
            for j in range(len(cost))
        )

    return sorted((i for i in range(len(cost)) if not beaten(i)), key=lambda i: cost[i])


def pareto_by_quality(cost, quality):
    kept, cheapest = [], np.inf
    for i in np.lexsort((cost, -quality)):
        if cost[i] < cheapest:
            kept.append(i)
            cheapest = cost[i]
    return np.array(kept[::-1])


def pareto_in_torch(cost, quality):
    order = torch.tensor(sorted(range(len(cost)), key=lambda i: (cost[i], -quality[i])))
    best = torch.from_numpy(quality)[order].cummax(0).values
    return order[torch.cat([torch.tensor([True]), best[1:] > best[:-1]])]


def apgr_in_a_loop(win, weak, strong):
    order, curve = sorted(range(len(win)), key=lambda i: -win[i]), []
    for j in range(len(win) + 1):
        quality = np.mean([strong[i] if i in order[:j] else weak[i] for i in range(len(win))])
        curve.append((quality - weak.mean()) / (strong.mean() - weak.mean()))
    return sum((a + b) / 2 for a, b in zip(curve, curve[1:])) / len(win)


def apgr_closed(win, weak, strong):
    """The item at place r (from 0) counts in all points after it: N - r - 1/2 of N."""
    rank = (win[:, None] < win).sum(axis=1)
    return ((strong - weak) * (len(win) - rank - 0.5)).sum() / len(win) / (strong - weak).sum()


def apgr_by_sklearn(win, weak, strong):
    order = win.argsort()[::-1]
    quality = [(strong[order[:j]].sum() + weak[order[j:]].sum()) / len(win) for j in range(len(win) + 1)]
    return auc(np.arange(len(win) + 1) / len(win), (np.array(quality) - quality[0]) / (quality[-1] - quality[0]))


def apgr_in_torch(win, weak, strong):
    gain = torch.tensor(strong - weak)[torch.tensor(win).argsort(descending=True)]
    curve = torch.cat([torch.zeros(1, dtype=torch.double), gain.cumsum(0)]) / gain.sum()
    return torch.trapezoid(curve, dx=1 / len(win))


def knn_by_sklearn(train, outcomes, x, k):
    return outcomes[NearestNeighbors(n_neighbors=k, metric="cosine").fit(train).kneighbors(x)[1]].mean(axis=1)


def knn_by_scipy(train, outcomes, x, k):
    return [outcomes[row[:k]].mean(axis=0) for row in cdist(x, train, "cosine").argsort(axis=1)]


def knn_by_distance_of_directions(train, outcomes, x, k):
    train, x = (a / np.sqrt((a**2).sum(axis=1))[:, None] for a in (train, x))
    nearest = np.argpartition(((x[:, None] - train) ** 2).sum(axis=2), k - 1, axis=1)[:, :k]
    return outcomes[nearest].sum(axis=1) / k


def knn_without_lengths_of_x(train, outcomes, x, k):
    similarity = x @ train.T / np.linalg.norm(train, axis=1)
    return outcomes[np.argsort(similarity, axis=1)[:, -k:]].mean(axis=1)


def knn_in_torch(train, outcomes, x, k):
    a, b = (torch.nn.functional.normalize(torch.from_numpy(v).float(), dim=1) for v in (x, train))
    return torch.from_numpy(outcomes).float()[(a @ b.T).topk(k, dim=1).indices].mean(dim=1)


def ece_with_masks(confidence, correct, n_bins):
    total = 0
    for b in range(n_bins):
        inside = (confidence > b / n_bins) & (confidence <= (b + 1) / n_bins)
        if b == 0:
            inside = inside | (confidence == 0)
        if inside.sum() > 0:
            total += inside.mean() * np.abs(correct[inside].mean() - confidence[inside].mean())
    return total


def ece_of_sums(confidence, correct, n_bins):
    bins = np.clip(np.digitize(confidence, np.linspace(0, 1, n_bins + 1), right=True) - 1, 0, None)
    return np.abs(np.bincount(bins, weights=correct - confidence)).sum() / len(bins)


def ece_in_a_loop(confidence, correct, n_bins):
    found = {}
    for c, y in zip(confidence.tolist(), correct.tolist()):
        found.setdefault(max(math.ceil(c * n_bins) - 1, 0), []).append(y - c)
    return sum(abs(sum(gaps)) for gaps in found.values()) / len(confidence)


def ece_in_torch(confidence, correct, n_bins):
    confidence, correct = torch.from_numpy(confidence).float(), torch.from_numpy(correct).float()
    bins = (confidence * n_bins).ceil().long().sub(1).clamp(min=0)
    return torch.zeros(n_bins).index_add(0, bins, correct - confidence).abs().sum(0, keepdim=True) / len(bins)


RIGHT = [
    *[
        ("cascade", answer)
        for answer in (cascade_in_a_loop, cascade_from_the_end, cascade_by_waiting, cascade_in_torch)
    ],
    ("cascade", lambda *a: selection.cascade(*a)[:2]),
    *[("pareto", answer) for answer in (pareto_of_all_pairs, pareto_by_quality, pareto_in_torch)],
    ("pareto", lambda c, q: selection.pareto(c, q).astype(np.int32)),
    *[("apgr", answer) for answer in (apgr_in_a_loop, apgr_closed, apgr_by_sklearn, apgr_in_torch)],
    ("apgr", lambda *a: selection.apgr(*selection.routing_curve(*a))),
    *[("knn_outcomes", answer) for answer in (knn_by_sklearn, knn_by_scipy, knn_by_distance_of_directions)],
    *[("knn_outcomes", answer) for answer in (knn_without_lengths_of_x, knn_in_torch)],
    ("knn_outcomes", lambda t, o, x, k: selection.KNNRouter(k).fit(t, o).predict_outcomes(x)),
    ("knn_outcomes", lambda *a: knn_outcomes(*a).tolist()),
    *[("expected_calibration_error", answer) for answer in (ece_with_masks, ece_of_sums, ece_in_a_loop, ece_in_torch)],
    ("expected_calibration_error", selection.expected_calibration_error),
    ("expected_calibration_error", lambda *a: np.array([calibration_error(*a)])),
]


@pytest.mark.parametrize("name, answer", RIGHT, ids=lambda value: getattr(value, "__name__", value))
def test_another_right_answer_passes(name, answer):
    report = run_check(f"cascades_and_routing.{name}", answer)
    assert report.status == PASSED, report.text


@pytest.mark.parametrize("seed", range(30))
def test_the_references_are_the_librarys_on_random_input(seed):
    random = np.random.default_rng(seed)
    args = random.random((3, 20)), random.random((4, 20)).round(), random.random(4), random.random(3)
    assert cascade(*args) == pytest.approx(selection.cascade(*args)[:2])
    curve = random.random((3, 20))
    assert apgr(*curve) == pytest.approx(selection.apgr(*selection.routing_curve(*curve)))
    train, outcomes, x = random.standard_normal((20, 4)), random.random((20, 3)).round(), random.standard_normal((5, 4))
    router = selection.KNNRouter(6).fit(train, outcomes)
    assert knn_outcomes(train, outcomes, x, 6) == pytest.approx(router.predict_outcomes(x))
    confidence = random.integers(0, 21, 50) / 20
    expected = selection.expected_calibration_error(confidence, confidence.round(), 10)
    assert calibration_error(confidence, confidence.round(), 10) == pytest.approx(expected)
