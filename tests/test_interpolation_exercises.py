"""The checks of notebook 01 on answers that are right in another way, and on wrong ones that nobody foresaw."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from course_utils.exercises.diagnose import AS_LOGS, AS_PROBS, judge, sum_note
from course_utils.exercises.engine import OPEN, PASSED, WRONG, run_check
from course_utils.exercises.engine.calls import Mistake
from course_utils.exercises.interpolation import knn_probs

# --- right in another way --------------------------------------------------------------------------------------------


def linear_in_a_loop(log_probs, weights):
    total = torch.zeros(log_probs.shape[1:])
    for weight, member in zip(weights, log_probs, strict=True):
        total += weight * member.exp()
    return total.log()


def linear_by_logsumexp(log_probs, weights):
    return torch.logsumexp(weights.log()[:, None, None] + log_probs, dim=0)


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
    for _ in range(60):
        shares = [0.0] * len(table)
        for column in zip(*table, strict=True):
            total = sum(w * p for w, p in zip(weights, column, strict=True))
            shares = [s + w * p / total for s, w, p in zip(shares, weights, column, strict=True)]
        weights = [s / len(table[0]) for s in shares]
    return torch.tensor(weights)


def em_from_a_random_start(probs, n_iter=100):
    weights = torch.rand(len(probs), dtype=probs.dtype).softmax(0)
    for _ in range(n_iter):
        weights = (weights.log()[:, None] + probs.log()).softmax(0).mean(1)
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


def knn_by_one_hot(dists, vals, V):  # noqa: N803
    return (F.one_hot(vals, V) * (-dists).softmax(-1)[..., None]).sum(1)


RIGHT = [
    ("linear", linear_in_a_loop),
    ("linear", linear_by_logsumexp),
    ("linear", linear_in_double),
    ("loglinear", loglinear_with_large_negatives),
    ("loglinear", loglinear_by_powers),
    ("em", em_in_floats),
    ("em", em_from_a_random_start),
    ("posterior", posterior_step_by_step),
    ("fit_lambda", lam_by_gradient_descent),
    ("knn_probs", knn_by_one_hot),
]


@pytest.mark.parametrize("name, answer", RIGHT, ids=lambda value: getattr(value, "__name__", value))
def test_another_right_answer_passes(name, answer):
    report = run_check(f"interpolation.{name}", answer)
    assert report.status == PASSED, report.text


def test_an_empty_table_is_not_attempted_and_numbers_count_as_booleans():
    keys = [(rule, token) for rule in ("linear", "log-linear") for token in ("both", "only A", "only B", "neither")]
    assert run_check("interpolation.or_and", dict.fromkeys(keys)).status == OPEN
    assert run_check("interpolation.or_and", dict(zip(keys, [1, 1, 1, 0, 1, 0, 0, 0], strict=True))).status == PASSED
    short = run_check("interpolation.or_and", {keys[0]: True})
    assert short.status == WRONG and "Still to fill in" in short.text


# --- what can be said of any wrong result ----------------------------------------------------------------------------

SIZES = {2: "B contexts", 3: "V tokens"}
P = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.9, 0.0]])


def complaint(got, expected=P, **options) -> str:
    with pytest.raises(Mistake) as said:
        judge(got, expected, **{"log": False, "dim": -1, "sizes": SIZES, **options})
    return str(said.value)


def test_the_right_result_is_accepted_in_any_precision():
    judge(P.double(), P, log=False, dim=-1, sizes=SIZES)
    judge(P.log(), P.log(), log=True, dim=-1, sizes=SIZES)
    judge(P.log().clamp(min=-1e9), P.log(), log=True, dim=-1, sizes=SIZES)


def test_the_right_result_in_disguise():
    assert complaint(P.log()) == AS_LOGS
    assert complaint(P, P.log(), log=True) == AS_PROBS
    assert "sums to 3 instead of 1" in complaint(3 * P)
    assert "Divide!" in complaint(P.log() + 1, P.log(), log=True, unnormalised="Divide!")


def test_a_known_mistake_is_recognised_in_every_disguise():
    uniform = torch.full((2, 3), 1 / 3)
    for got in (uniform, 5 * uniform, uniform.log()):
        assert "It is flat." in complaint(got, known=[("It is flat.", uniform)])
    for got in (uniform.log(), uniform.log() + 1, uniform):
        assert "It is flat." in complaint(got, P.log(), log=True, known=[("It is flat.", uniform.log())])
    assert "5" in complaint(5 * uniform, known=[("It is flat.", uniform)])


def test_the_exact_match_goes_before_the_match_up_to_scale():
    known = [("scaled", torch.full((2, 3), 1 / 3)), ("exact", torch.full((2, 3), 2.0))]
    assert "exact" in complaint(torch.full((2, 3), 2.0), known=known)


def test_a_known_mistake_that_happens_to_be_right_is_ignored():
    judge(P, P, log=False, dim=-1, sizes=SIZES, known=[("never said", P)])
    assert "never said" not in complaint(P.roll(1, -1), known=[("never said", P)])


@pytest.mark.parametrize(
    "got, says",
    [
        (P.sum(-1), "keep them"),
        (P.T, "transpose"),
        (P[:, :2], "Dimension 1 has 2 entries and should have 3"),
        (P.where(P > 0, torch.nan), "nan at index [1, 2]. Nan!"),
        (P + torch.tensor([0.0, 0.0, 1e-3]), "index [1, 2], where the probability is exactly 0"),
        (P - 0.2, "negative number"),
        (P.roll(1, -1), "0.9 at index [1, 2], where the probability is exactly 0"),
        (P + torch.tensor([0.01, -0.01, 0.0]), "0.51 at index [0, 0], expected 0.5"),
        (P > 0.4, "torch.bool"),
        (P.tolist(), "a list"),
        (
            torch.tensor([[0.5, 0.5, 0.0], [0.1, 0.9, 0.0]]),
            "gives probability 0 at index [0, 2], where it should be 0.2",
        ),
    ],
)
def test_unknown_mistakes_are_told_where_they_show(got, says):
    assert says in complaint(got, nan="Nan!", atol=1e-4)


def test_the_sum_is_that_of_the_worst_row():
    assert sum_note(P, False, -1) == ""
    assert "sums to 0.5 instead of 1" in sum_note(P * torch.tensor([[0.9], [0.5]]), False, -1)
    assert "exp() of your result sums to 2" in sum_note(P.log() + torch.tensor(2.0).log(), True, -1)


# --- the reference that lives here -----------------------------------------------------------------------------------


def test_knn_probs_by_hand():
    dists = torch.tensor([[0.0, 0.0, torch.log(torch.tensor(2.0))]])
    torch.testing.assert_close(knn_probs(dists, torch.tensor([[1, 3, 1]]), 4), torch.tensor([[0, 0.6, 0, 0.4]]))
    torch.testing.assert_close(
        knn_probs(dists + 5000, torch.tensor([[1, 3, 1]]), 4), torch.tensor([[0, 0.6, 0, 0.4]]), atol=1e-3, rtol=0
    )
