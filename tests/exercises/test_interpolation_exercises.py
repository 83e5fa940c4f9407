"""The checks of notebook 01 on answers that are right in another way, and what the generic tests don't show."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from course_utils.exercises.engine import OPEN, PASSED, WRONG, checker, run_check
from course_utils.exercises.interpolation.knn_probs import knn_probs


def linear_in_double(log_probs, weights):
    return torch.einsum("m,mbv->bv", weights.double(), log_probs.double().exp()).log()


def loglinear_by_powers(log_probs, lam):
    product = (log_probs.exp() ** lam[:, None, None]).prod(0)
    return (product / product.sum(-1, keepdim=True)).log()


def loglinear_with_large_negatives(log_probs, lam):
    return (lam[:, None, None] * log_probs.nan_to_num(neginf=-1e9)).sum(0).log_softmax(-1)


def em_in_floats(probs):
    weights = [1 / len(probs)] * len(probs)
    table = probs.tolist()
    for _ in range(200):
        shares = [0.0] * len(table)
        for column in zip(*table, strict=True):
            total = sum(w * p for w, p in zip(weights, column, strict=True))
            shares = [s + w * p / total for s, w, p in zip(shares, weights, column, strict=True)]
        weights = [s / len(table[0]) for s in shares]
    return torch.tensor(weights)


def em_until_it_rests(probs):
    weights, moved = torch.full((len(probs),), 1 / len(probs)), 1.0
    while moved > 1e-5:
        shares = weights[:, None] * probs
        new = (shares / shares.sum(0)).mean(1)
        weights, moved = new, (new - weights).abs().max()
    return weights


def posterior_step_by_step(token_log_probs, prior):
    weights, out = prior[:, None].expand(-1, token_log_probs.shape[1]), []
    for t in range(token_log_probs.shape[-1]):
        out.append(weights)
        weights = weights * token_log_probs[..., t].exp()
        weights = weights / weights.sum(0)
    return torch.stack(out, -1)


def lam_by_gradient_descent(log_probs, targets):
    lam = torch.zeros(len(log_probs), requires_grad=True)
    optimizer = torch.optim.SGD([lam], lr=0.5)
    for _ in range(300):
        optimizer.zero_grad()
        F.cross_entropy(torch.tensordot(lam, log_probs, dims=1), targets).backward()
        optimizer.step()
    return lam  # still with its gradient


def lam_by_newton_in_double(log_probs, targets):
    logs, lam = log_probs.double(), torch.zeros(len(log_probs), dtype=torch.float64)
    for _ in range(20):
        p = torch.tensordot(lam, logs, dims=1).softmax(-1)
        mean = (p * logs).sum(-1, keepdim=True)
        hessian = torch.einsum("nv,anv,bnv->ab", p, logs - mean, logs - mean)
        lam = lam + torch.linalg.solve(hessian, (logs[:, torch.arange(len(targets)), targets] - mean[..., 0]).sum(1))
    return lam


def knn_by_one_hot(dists, vals, V):  # noqa: N803
    return (F.one_hot(vals, V) * (-dists).softmax(-1)[..., None]).sum(1)


def knn_in_a_loop(dists, vals, V):  # noqa: N803
    out = torch.zeros(len(dists), V, dtype=torch.float64)
    for b, (row, tokens) in enumerate(zip(dists, vals, strict=True)):
        for d, token in zip(row, tokens, strict=True):
            out[b, token] += torch.exp(row.min() - d).double()
    return out / out.sum(-1, keepdim=True)


RIGHT = {
    "linear": [linear_in_double],
    "loglinear": [loglinear_with_large_negatives, loglinear_by_powers],
    "em": [em_in_floats, em_until_it_rests],
    "posterior": [posterior_step_by_step],
    "fit_lambda": [lam_by_gradient_descent, lam_by_newton_in_double],
    "knn_probs": [knn_by_one_hot, knn_in_a_loop],
}


@pytest.mark.parametrize(("name", "answer"), [(name, answer) for name, answers in RIGHT.items() for answer in answers])
def test_another_right_answer_passes(name, answer):
    report = run_check(f"interpolation.{name}", answer)
    assert report.status == PASSED, report.text


KEYS = [(rule, token) for rule in ("linear", "log-linear") for token in ("both", "only A", "only B", "neither")]
VALUES = [1, 1, 1, 0, 1, 0, 0, 0]


@pytest.mark.parametrize("kind", [bool, int, np.bool_, np.int64, torch.tensor])
def test_all_kinds_of_truth_values_count(kind):
    answer = {key: kind(value) for key, value in zip(KEYS, VALUES, strict=True)}
    assert run_check("interpolation.or_and", answer).status == PASSED


def test_an_empty_table_is_not_attempted_and_a_wrong_key_or_word_is_named():
    assert run_check("interpolation.or_and", dict.fromkeys(KEYS)).status == OPEN
    right = dict(zip(KEYS, VALUES, strict=True))
    for wrong, says in [
        ({KEYS[0]: True}, "Still to fill in: ('linear', 'only A') and 6 more"),
        (right | {("loglinear", "both"): True}, "Unknown entry: ('loglinear', 'both')"),
        (right | {KEYS[0]: "yes"}, "Write True"),
        (list(VALUES), "stay the dict"),
    ]:
        report = run_check("interpolation.or_and", wrong)
        assert report.status == WRONG and says in report.text


def test_what_is_said_of_wrong_weights_is_measured_on_them():
    checker._SESSION.failures.clear()
    uniform_but_a_bit = run_check("interpolation.em", lambda probs: (torch.arange(len(probs)) + 5.0).softmax(0)).text
    assert "[0.09, 0.245, 0.665]" in uniform_but_a_bit and "at the optimum" in uniform_but_a_bit


def test_knn_probs_by_hand():
    dists, vals = torch.tensor([[0.0, 0.0, torch.log(torch.tensor(2.0))]]), torch.tensor([[1, 3, 1]])
    by_hand = torch.tensor([[0, 0.6, 0, 0.4]])
    torch.testing.assert_close(knn_probs(dists, vals, 4), by_hand)
    torch.testing.assert_close(knn_probs(dists + 5000, vals, 4), by_hand, atol=1e-3, rtol=0)
