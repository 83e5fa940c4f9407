import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_models import INF, properties, random_members, seeds
from scipy.optimize import minimize

from course_utils.ensembling import (
    em_weights,
    fit_loglinear_weights,
    interpolation,
    linear_interpolation,
    loglinear_interpolation,
    posterior_weights,
)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def entropy_gap(p, q):
    """KL(p || q) along the last dimension."""
    return (p * (p.log() - q.log())).sum(-1)


# --- linear ---------------------------------------------------------------------------------------------------------


def test_linear_averages_probabilities_not_logs():
    log_probs = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.9, 0.0]]).log()
    mixed = linear_interpolation(log_probs, [0.75, 0.25]).exp()
    torch.testing.assert_close(mixed, torch.tensor([0.4, 0.4125, 0.1875]))


@properties
@given(seeds, st.booleans(), st.integers(1, 4))
def test_linear_is_a_distribution_and_equals_the_sum(seed, zeros, members):
    log_probs = random_members(seed, members, zeros=zeros)
    weights = torch.rand(members, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.01
    weights = weights / weights.sum()
    mixed = linear_interpolation(log_probs, weights)
    torch.testing.assert_close(mixed.exp(), torch.einsum("m,mbv->bv", weights, log_probs.exp()))
    torch.testing.assert_close(mixed.exp().sum(-1), torch.ones(2, dtype=torch.float64))


@properties
@given(seeds, st.booleans(), st.integers(0, 2))
def test_one_hot_weights_are_the_identity_for_both_rules(seed, zeros, chosen):
    log_probs = random_members(seed, zeros=zeros)
    one_hot = torch.eye(3, dtype=torch.float64)[chosen]
    torch.testing.assert_close(linear_interpolation(log_probs, one_hot), log_probs[chosen])
    torch.testing.assert_close(loglinear_interpolation(log_probs, one_hot), log_probs[chosen])


def test_linear_keeps_tiny_probabilities_that_exp_would_lose():
    log_probs = torch.tensor([[-200.0, 0.0], [-300.0, 0.0]])
    torch.testing.assert_close(linear_interpolation(log_probs, [0.5, 0.5])[0].item(), -200 - math.log(2))


def test_weights_that_depend_on_the_context_follow_the_leading_dimensions():
    log_probs = random_members(1, members=2, shape=(3, 4), vocab=5)
    weights = torch.rand(3, 4, dtype=torch.float64)
    weights = torch.stack([weights, 1 - weights])  # (M, B, T)
    mixed, product = linear_interpolation(log_probs, weights), loglinear_interpolation(log_probs, weights)
    for b in range(3):
        for t in range(4):
            torch.testing.assert_close(mixed[b, t], linear_interpolation(log_probs[:, b, t], weights[:, b, t]))
            torch.testing.assert_close(product[b, t], loglinear_interpolation(log_probs[:, b, t], weights[:, b, t]))
    by_row = linear_interpolation(log_probs, weights[:, :, 0])  # (M, B): one weight a row, broadcast over T
    torch.testing.assert_close(by_row[:, 2], linear_interpolation(log_probs[:, :, 2], weights[:, :, 0]))


def test_or_and_truth_table():
    """A token is possible under OR if it is under one member, under AND only if it is under both."""
    log_probs = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.5, 0.0, 0.5, 0.0]]).log()
    assert (linear_interpolation(log_probs, [0.5, 0.5]) > -INF).tolist() == [True, True, True, False]
    assert (loglinear_interpolation(log_probs, [0.5, 0.5]) > -INF).tolist() == [True, False, False, False]


def test_gradients_are_finite_with_zero_probabilities_and_zero_weights():
    log_probs = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.5, 0.25, 0.25, 0.0]]).log().requires_grad_()
    for rule, weights in [
        (linear_interpolation, [0.0, 1.0]),
        (linear_interpolation, [0.3, 0.7]),
        (loglinear_interpolation, [0.0, 1.0]),
        (loglinear_interpolation, [0.5, 2.0]),
    ]:
        weights = torch.tensor(weights, requires_grad=True)
        out = rule(log_probs, weights)
        gradients = torch.autograd.grad(out[out > -INF].sum(), [log_probs, weights])
        assert all(g.isfinite().all() for g in gradients)


def test_linear_gradient_is_right():
    log_probs = random_members(3, members=2, shape=()).requires_grad_()

    def from_gate(logits, log_probs):
        return linear_interpolation(log_probs, logits.softmax(0))

    assert torch.autograd.gradcheck(from_gate, (torch.randn(2, dtype=torch.float64, requires_grad=True), log_probs))


def linear(weights, log_probs=None):
    return linear_interpolation(random_members(0, members=2) if log_probs is None else log_probs, weights)


def test_simplex_is_checked_to_1e_4():
    linear([0.5, 0.50009])  # 0.5002 is refused below


# --- log-linear -----------------------------------------------------------------------------------------------------


@properties
@given(seeds, st.booleans(), st.lists(st.floats(-2, 2), min_size=3, max_size=3))
def test_loglinear_is_a_distribution_and_equals_the_product(seed, zeros, lam):
    lam = torch.tensor(lam, dtype=torch.float64)
    lam = lam.abs() if zeros else lam
    log_probs = random_members(seed, zeros=zeros)
    product = (log_probs.exp() ** lam[:, None, None]).prod(0)  # 0 ** 0 = 1
    result = loglinear_interpolation(log_probs, lam)
    torch.testing.assert_close(result.exp(), product / product.sum(-1, keepdim=True))
    torch.testing.assert_close(result.exp().sum(-1), torch.ones(2, dtype=torch.float64))


@properties
@given(seeds, st.floats(0.1, 4))
def test_the_same_model_twice_is_a_temperature(seed, k):
    log_probs = random_members(seed, members=1)[0]
    both = loglinear_interpolation([log_probs, log_probs], [k / 2, k / 2])
    torch.testing.assert_close(both, (log_probs / (1 / k)).log_softmax(-1))


def test_loglinear_takes_logits_because_the_constant_cancels():
    logits = torch.randn(2, 4, 6, dtype=torch.float64)
    lam = [0.7, -1.3]
    torch.testing.assert_close(
        loglinear_interpolation(logits, lam), loglinear_interpolation(logits.log_softmax(-1), lam)
    )


def test_all_tokens_vetoed_is_named():
    disjoint = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).log()
    with pytest.raises(ValueError, match="every token is vetoed") as error:
        loglinear_interpolation(disjoint, [0.5, 0.5])
    assert "\n" not in str(error.value)
    torch.testing.assert_close(loglinear_interpolation(disjoint, [1.0, 0.0]), disjoint[0])  # a veto needs lam > 0


def test_zero_probability_with_negative_lam():
    log_probs = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.5, 0.0]]).log()
    with pytest.raises(ValueError, match="lam < 0"):
        loglinear_interpolation(log_probs, [1.0, -1.0])
    log_probs[0, 2] = -INF  # vetoed by the first member: no longer infinite
    torch.testing.assert_close(loglinear_interpolation(log_probs, [1.0, -1.0]).exp(), torch.tensor([0.625, 0.375, 0.0]))


@pytest.mark.parametrize("seed", range(3))
def test_linear_and_loglinear_minimise_their_kl(seed):
    """linear: argmin_P sum_m w_m KL(P_m || P); log-linear: argmin_P sum_m lam_m KL(P || P_m), by random search."""
    torch.manual_seed(seed)
    log_probs, weights = random_members(seed, shape=()), torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    p = log_probs.exp()
    linear, product = linear_interpolation(log_probs, weights), loglinear_interpolation(log_probs, weights)
    noise = torch.randn(3000, 6, dtype=torch.float64) * torch.logspace(-2, 0.5, 3000, dtype=torch.float64)[:, None]

    def forward(q):
        return (weights[:, None] * entropy_gap(p[:, None], q)).sum(0)

    def backward(q):
        return (weights[:, None] * entropy_gap(q, p[:, None])).sum(0)

    assert (forward((linear + noise).softmax(-1)) > forward(linear.exp()[None])).all()
    assert (backward((product + noise).softmax(-1)) > backward(product.exp()[None])).all()
    assert forward(product.exp()[None]) > forward(linear.exp()[None])


@properties
@given(seeds, st.floats(0.05, 0.95))
def test_nll_of_loglinear_is_convex_in_lam(seed, t):
    log_probs = random_members(seed, shape=(8,))
    targets = torch.arange(8) % 6
    a, b = 3 * torch.randn(2, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    def nll(lam):
        return -loglinear_interpolation(log_probs, lam).gather(1, targets[:, None]).mean()

    assert nll(t * a + (1 - t) * b) <= t * nll(a) + (1 - t) * nll(b) + 1e-9


def test_fitted_lam_is_the_optimum_where_moments_match():
    log_probs = random_members(5, shape=(200,))
    true = loglinear_interpolation(log_probs, [0.8, 0.6, -0.3])
    targets = torch.multinomial(true.exp(), 1, generator=torch.Generator().manual_seed(0)).squeeze(1)
    lam = fit_loglinear_weights(log_probs, targets)

    def nll(lam):
        lam = torch.as_tensor(lam, dtype=torch.float64)
        return -loglinear_interpolation(log_probs, lam).gather(1, targets[:, None]).mean().item()

    model = loglinear_interpolation(log_probs, lam).exp()
    expected = (model * log_probs).sum(-1).mean(1)  # E_model[log P_m]
    observed = log_probs[:, torch.arange(200), targets].mean(1)  # E_data[log P_m]
    torch.testing.assert_close(observed, expected, atol=1e-4, rtol=0)
    assert nll(lam) <= minimize(nll, [1 / 3] * 3, method="Nelder-Mead", options={"xatol": 1e-6}).fun + 1e-6
    assert nll(lam) < min(nll(row) for row in torch.eye(3))


def test_fit_in_pieces_is_the_same_fit(monkeypatch):
    log_probs, targets = random_members(6, members=2, shape=(50,), zeros=True), torch.zeros(50, dtype=torch.long)
    whole = fit_loglinear_weights(log_probs, targets, n_iter=5)
    monkeypatch.setattr(interpolation, "CHUNK", 7 * log_probs.shape[-1])  # seven rows at a time, the last piece shorter
    torch.testing.assert_close(fit_loglinear_weights(log_probs, targets, n_iter=5), whole, atol=1e-6, rtol=1e-6)


def test_fit_leaves_vetoed_tokens_out_and_refuses_a_vetoed_target():
    log_probs = random_members(6, members=2, shape=(50,), zeros=True)
    targets = torch.zeros(50, dtype=torch.long)  # random_members never vetoes token 0
    lam = fit_loglinear_weights(log_probs, targets, n_iter=3)
    assert lam.isfinite().all()
    vetoed = log_probs.isneginf().any(0)
    row = vetoed.any(1).nonzero()[0]
    targets[row] = vetoed[row].int().argmax()
    with pytest.raises(ValueError, match="probability 0 under some member"):
        fit_loglinear_weights(log_probs, targets)


# --- EM -------------------------------------------------------------------------------------------------------------


def token_probs(seed, members=3, tokens=60):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(members, tokens, generator=generator, dtype=torch.float64) ** 3 + 1e-6


def mean_log_likelihood(weights, probs):
    return (torch.as_tensor(weights, dtype=torch.float64) @ probs).log().mean().item()


@properties
@given(seeds)
def test_em_never_goes_down_and_stays_on_the_simplex(seed):
    probs = token_probs(seed)
    weights, history = em_weights(probs, return_history=True)
    likelihood = [mean_log_likelihood(w, probs) for w in history]
    assert all(b >= a - 1e-6 for a, b in itertools.pairwise(likelihood))
    torch.testing.assert_close(history.sum(1), torch.ones(len(history), dtype=torch.float64))
    assert (history >= 0).all()
    assert history[0].tolist() == pytest.approx([1 / 3] * 3)
    assert torch.equal(history[-1], weights)
    assert weights.dtype == torch.float64


@pytest.mark.parametrize("seed", range(5))
def test_em_reaches_the_grid_and_scipy_optimum(seed):
    probs = token_probs(seed, members=2)
    w = em_weights(probs)
    grid = [mean_log_likelihood([x, 1 - x], probs) for x in torch.linspace(0, 1, 2001, dtype=torch.float64).tolist()]
    best = grid.index(max(grid)) / 2000
    assert w[0].item() == pytest.approx(best, abs=1e-3)
    assert mean_log_likelihood(w, probs) >= max(grid) - 1e-9

    probs = token_probs(seed + 100)
    scipy = minimize(lambda z: -mean_log_likelihood(torch.tensor(z).softmax(0), probs), [0.0] * 3, method="BFGS")
    torch.testing.assert_close(em_weights(probs), torch.tensor(scipy.x).softmax(0), atol=1e-3, rtol=0)


def test_em_first_step_is_the_mean_responsibility():
    probs = torch.tensor([[0.8, 0.2], [0.2, 0.6]])
    _, history = em_weights(probs, n_iter=1, return_history=True)
    torch.testing.assert_close(history[1], torch.tensor([(0.8 + 0.25) / 2, (0.2 + 0.75) / 2], dtype=torch.float64))


def test_em_dead_and_hopeless_components():
    probs = token_probs(7)
    probs[1] = 0
    weights = em_weights(probs)
    assert weights[1] == 0
    torch.testing.assert_close(weights[[0, 2]], em_weights(probs[[0, 2]]), atol=1e-4, rtol=0)
    probs[2] = probs[0] / 2  # worse on every token: all the weight leaves it
    assert em_weights(probs)[0].item() == pytest.approx(1, abs=1e-6)


# --- posterior ------------------------------------------------------------------------------------------------------


@properties
@given(seeds, st.sampled_from([1.0, 0.3, 0.0]))
def test_posterior_equals_bayes_step_by_step(seed, temper):
    log_p = -torch.rand(3, 2, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3
    prior = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    weights = posterior_weights(log_p, prior, temper=temper)
    for b in range(2):
        belief = prior.clone()
        for t in range(7):
            torch.testing.assert_close(weights[:, b, t], belief)
            belief = belief * log_p[:, b, t].exp() ** temper
            belief = belief / belief.sum()


@properties
@given(seeds, st.integers(0, 6))
def test_posterior_is_causal(seed, t):
    log_p = -torch.rand(3, 1, 7, generator=torch.Generator().manual_seed(seed)) * 3
    before = posterior_weights(log_p, [0.2, 0.5, 0.3])
    log_p[:, 0, t] = torch.tensor([-0.1, -5.0, -1.0])
    after = posterior_weights(log_p, [0.2, 0.5, 0.3])
    assert torch.equal(before[..., : t + 1], after[..., : t + 1])
    if t < 6:
        assert not torch.allclose(before[..., t + 1], after[..., t + 1])


def test_posterior_mixture_is_the_sequence_level_mixture():
    """prod_t sum_m w_m(t) P_m(y_t) = sum_m prior_m prod_t P_m(y_t): the chain rule of the slide's formula."""
    log_p = -torch.rand(2, 1, 9, dtype=torch.float64) * 3
    prior = torch.tensor([0.3, 0.7], dtype=torch.float64)
    by_token = (posterior_weights(log_p, prior) * log_p.exp()).sum(0).log().sum()
    by_sequence = (prior.log() + log_p.sum(-1)[:, 0]).logsumexp(0)
    torch.testing.assert_close(by_token, by_sequence)


def test_posterior_padding_and_zero_probabilities():
    log_p = torch.log(torch.tensor([[[0.5, 0.0, 0.5, 0.5]], [[0.1, 0.1, 0.9, 0.1]]]))
    weights = posterior_weights(log_p, [0.5, 0.5])
    torch.testing.assert_close(weights[0, 0], torch.tensor([0.5, 5 / 6, 0.0, 0.0]))  # ruled out for ever
    padded = torch.cat([log_p[..., :1], torch.zeros(2, 1, 3)], dim=-1)
    torch.testing.assert_close(posterior_weights(padded, [0.5, 0.5])[0, 0], torch.tensor([0.5, 5 / 6, 5 / 6, 5 / 6]))


# --- errors ---------------------------------------------------------------------------------------------------------

HALVES, TWO_SIZES, ROWS = [0.5, 0.5], [torch.zeros(5), torch.zeros(7)], random_members(0, shape=(4,))
LOG_P = torch.log(torch.tensor([[[0.5, 0.0, 1.0]], [[0.1, 0.1, 1.0]]]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linear([0.5, 0.3, 0.2]), "one value for each of the 2 members"),
        (lambda: linear([1.0]), "one value for each of the 2 members"),
        (lambda: linear(1.0), "one value for each of the 2 members"),
        (lambda: linear([1.2, -0.2]), "must not be negative"),
        (lambda: linear([0.5, 0.4]), "must sum to 1"),
        (lambda: linear([0.5, 0.5002]), "must sum to 1"),
        (lambda: linear([math.nan, 0.5]), "must sum to 1"),
        (lambda: linear(torch.full((2, 7), 0.5)), "do not fit"),
        (lambda: linear(torch.full((2, 2, 6), 0.5)), "do not fit"),
        (lambda: linear(HALVES, TWO_SIZES), r"different vocabularies \[5, 7\]"),
        (lambda: loglinear_interpolation(TWO_SIZES, HALVES), r"different vocabularies \[5, 7\]"),
        (lambda: linear(HALVES, torch.randn(2, 5) + 3), "log_softmax"),
        (lambda: linear([1.0], torch.zeros(5)), "expected"),
        (lambda: fit_loglinear_weights(ROWS, torch.zeros(5, dtype=torch.long)), "targets"),
        (lambda: fit_loglinear_weights(ROWS, torch.full((4,), 6)), "below the vocabulary size 6"),
        (lambda: em_weights(torch.tensor([[-1.0, -2.0], [-3.0, -1.0]])), r"\.exp\(\)"),
        (lambda: em_weights(torch.tensor([[0.5, 0.0], [0.5, 0.0]])), "under every member"),
        (lambda: em_weights(torch.rand(5)), "shape"),
        (lambda: em_weights(torch.tensor([[math.nan, 0.5]])), "probabilities"),
        (lambda: posterior_weights(torch.full_like(LOG_P, -INF), HALVES), "under every member"),
        (lambda: posterior_weights(LOG_P, [0.5, 0.25, 0.25]), "prior must hold"),
        (lambda: posterior_weights(LOG_P, [0.5, 0.25]), "sum to 1"),
        (lambda: posterior_weights(LOG_P, HALVES, temper=-1), "temper"),
    ],
)
def test_errors_are_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
