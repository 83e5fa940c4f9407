"""Gaussian diffusion against simulation, closed forms, scipy, and a model whose best prediction is known."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from course_utils import diffusion

T = 60


def linear(steps: int) -> diffusion.Schedule:
    return diffusion.schedule_of(diffusion.linear_schedule(steps, 0.1 / steps, 20 / steps))


SCHEDULE, FINE = linear(T), linear(200)
BETAS = SCHEDULE.betas
MEAN = torch.tensor([2.0, -1.0])
COVARIANCE = torch.tensor([[1.0, 0.6], [0.6, 0.5]])


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def best_predictor(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """E[noise | x_t] for data N(MEAN, COVARIANCE): sqrt(1 - abar) (abar C + (1 - abar) I)^-1 (x - sqrt(abar) m)."""
    assert len(t) == len(x) and (t == t[0]).all()
    kept = FINE.alphas_bar[t[0] - 1].float()
    total = kept * COVARIANCE + (1 - kept) * torch.eye(2)
    return (1 - kept).sqrt() * torch.linalg.solve(total, (x - kept.sqrt() * MEAN).T).T


# ---- the schedule


def test_schedules_are_the_papers():
    betas, alphas, kept = diffusion.schedule_of(diffusion.linear_schedule(1000))
    assert betas.dtype == torch.float64 and (betas[0].item(), betas[-1].item()) == (1e-4, 0.02)
    assert betas.diff().max().item() == pytest.approx(betas.diff().min().item())
    product = 1.0
    for i in range(1000):
        product *= 1 - betas[i].item()
        assert kept[i].item() == pytest.approx(product)
    assert kept[-1].item() == pytest.approx(4.04e-5, rel=2e-3) and torch.equal(alphas, 1 - betas)
    for steps in (100, 300):  # what the docstring promises for fewer steps
        assert 1e-5 < linear(steps).alphas_bar[-1] < 5e-5


def test_cosine_schedule_follows_the_cosine_until_it_is_cut():
    betas, _, kept = diffusion.schedule_of(diffusion.cosine_schedule(200))
    for t in (1, 50, 100, 199):
        f = [math.cos((s / 200 + 0.008) / 1.008 * math.pi / 2) ** 2 for s in (t, 0)]
        assert kept[t - 1].item() == pytest.approx(f[0] / f[1], rel=1e-9)
    assert betas[-1] == 0.999 and (betas[:-1].diff() > 0).all()
    assert kept[99] > 0.45 > 0.1 > FINE.alphas_bar[99]  # halfway, the linear one has left next to nothing


@pytest.mark.parametrize(
    "call",
    [
        lambda: diffusion.linear_schedule(0),
        lambda: diffusion.linear_schedule(5, 0.0),
        lambda: diffusion.linear_schedule(5, 0.1, 1.0),
        lambda: diffusion.linear_schedule(5, 0.2, 0.1),
        lambda: diffusion.cosine_schedule(5, largest=1.0),
        lambda: diffusion.schedule_of([]),
        lambda: diffusion.schedule_of([0.1, 1.0]),
        lambda: diffusion.schedule_of([[0.1]]),
    ],
)
def test_schedules_that_are_none_are_refused_in_one_line(call):
    with pytest.raises(ValueError, match="schedule needs|betas must be") as error:
        call()
    assert "\n" not in str(error.value)


# ---- forward


def test_steps_one_by_one_reach_the_closed_form():
    n, point = 40_000, torch.tensor([1.5, -0.5], dtype=torch.float64)
    x = point.expand(n, 2)
    for t in range(1, T + 1):
        x = diffusion.q_step(x, t, randn(n, 2, seed=t), SCHEDULE)
        if t in (1, 7, 20, T):
            kept = SCHEDULE.alphas_bar[t - 1].item()
            mean, variance = kept**0.5 * point, 1 - kept
            assert ((x.mean(0) - mean).abs() < 4.5 * (variance / n) ** 0.5).all()
            assert ((x.var(0) - variance).abs() < 4.5 * variance * (2 / n) ** 0.5).all()


@given(st.integers(1, T), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_moments_of_the_chain_by_recursion(t, seed):
    x0, zero = randn(3, 2, 2, seed=seed), torch.zeros(3, 2, 2, dtype=torch.float64)
    mean, variance = x0, 0.0
    for s in range(1, t + 1):
        mean = diffusion.q_step(mean, s, zero, SCHEDULE)
        variance = (1 - BETAS[s - 1]) * variance + BETAS[s - 1]
    torch.testing.assert_close(diffusion.q_sample(x0, t, zero, SCHEDULE), mean)
    torch.testing.assert_close(diffusion.q_sample(zero, t, zero + 1, SCHEDULE), variance.sqrt().expand(3, 2, 2))


def test_each_point_has_its_own_step_and_noise_can_be_taken_out_again():
    x0, noise, t = randn(4, 3, 2), randn(4, 3, 2, seed=1), torch.tensor([1, 9, 30, T])
    x = diffusion.q_sample(x0, t, noise, SCHEDULE)
    for i in range(4):
        alone = diffusion.q_sample(x0[i : i + 1], int(t[i]), noise[i : i + 1], SCHEDULE)
        torch.testing.assert_close(x[i : i + 1], alone)
    torch.testing.assert_close(diffusion.predict_x0(x, noise, t, SCHEDULE), x0)
    assert diffusion.q_sample(x0.float(), t, noise.float(), SCHEDULE).dtype == torch.float32


# ---- the loss


def test_loss_is_the_mean_squared_error_of_the_noise():
    x0, noise, t = randn(500, 3), randn(500, 3, seed=1), torch.arange(500) % T + 1
    seen = []

    def model(x, steps):
        seen.append((x, steps))
        return 0.5 * x

    loss = diffusion.epsilon_loss(model, x0, t, noise, SCHEDULE)
    kept = SCHEDULE.alphas_bar[t - 1][:, None]
    x_t = kept.sqrt() * x0 + (1 - kept).sqrt() * noise
    torch.testing.assert_close(seen[0][0], x_t)
    assert torch.equal(seen[0][1], t)
    assert loss.item() == pytest.approx(sum(((noise - 0.5 * x_t) ** 2).flatten().tolist()) / 1500)
    assert diffusion.epsilon_loss(lambda x, t: noise, x0, t, noise, SCHEDULE) == 0
    assert diffusion.epsilon_loss(lambda x, t: 0 * x, x0, 3, noise, SCHEDULE).item() == pytest.approx(1, abs=0.1)


# ---- back


def test_posterior_is_bayes_rule_on_a_grid():
    """q(x_{t-1} | x_t, x0) in proportion to q(x_t | x_{t-1}) q(x_{t-1} | x0), integrated numerically."""
    grid, x0, x_t = torch.linspace(-12, 12, 20_001, dtype=torch.float64), 0.7, -1.1
    for t in (2, 5, 30, T):
        beta, kept = BETAS[t - 1], SCHEDULE.alphas_bar[t - 2]
        log = -((x_t - (1 - beta).sqrt() * grid) ** 2) / (2 * beta) - (grid - kept.sqrt() * x0) ** 2 / (2 * (1 - kept))
        p = log.softmax(0)
        mean = (p * grid).sum()
        points = (torch.tensor([[value]], dtype=torch.float64) for value in (x_t, x0))
        ours = torch.stack(diffusion.posterior(*points, t, SCHEDULE)).flatten()
        expected = torch.stack([mean, (p * (grid - mean) ** 2).sum()])
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-9)


def test_at_the_first_step_the_posterior_is_the_data():
    x0, x_t = randn(3, 2), randn(3, 2, seed=1)
    mean, variance = diffusion.posterior(x_t, x0, torch.tensor([1, 1, 1]), SCHEDULE)
    torch.testing.assert_close(mean, x0)
    assert variance.shape == (3, 1) and (variance == 0).all()


@pytest.mark.parametrize("sigma", diffusion.SIGMAS)
@pytest.mark.parametrize("t", [1, 2, 33, T])
def test_a_step_back_is_the_posterior_of_the_predicted_data(t, sigma):
    """Equation 11 against equation 7 with the x0 that eps stands for."""
    x_t, eps, noise = randn(5, 2), randn(5, 2, seed=1), randn(5, 2, seed=2)
    mean, variance = diffusion.posterior(x_t, diffusion.predict_x0(x_t, eps, t, SCHEDULE), t, SCHEDULE)
    spread = {"beta": BETAS[t - 1].sqrt(), "posterior": variance.sqrt()}[sigma]
    expected = mean if t == 1 else mean + spread * noise
    torch.testing.assert_close(diffusion.ddpm_step(x_t, eps, t, SCHEDULE, noise, sigma), expected)


def test_no_noise_at_the_last_step():
    x, eps = randn(4, 2), randn(4, 2, seed=1)
    t = torch.tensor([1, 2, 1, 9])
    a, b = (diffusion.ddpm_step(x, eps, t, SCHEDULE, randn(4, 2, seed=seed)) for seed in (2, 3))
    assert torch.equal(a[t == 1], b[t == 1]) and not (a == b)[t > 1].any()


@pytest.mark.parametrize("sigma", diffusion.SIGMAS)
def test_sampling_with_the_best_predictor_gives_the_data_back(sigma):
    """Each step is affine in x, so the samples are normal; the recursion, run on their moments, gives these exactly."""
    n, total = 10_000, torch.eye(2)
    mean = torch.zeros(1, 2)
    for t in range(200, 0, -1):
        points = (mean, torch.cat([torch.zeros(1, 2), torch.eye(2)]))
        eps = [best_predictor(x, torch.full((len(x),), t)) for x in points]
        step = [diffusion.ddpm_step(x, e, t, FINE, torch.zeros_like(x)) for x, e in zip(points, eps)]
        slope = (step[1][1:] - step[1][:1]).T
        spread = {"beta": FINE.betas[t - 1], "posterior": diffusion.posterior(mean, mean, t, FINE)[1]}[sigma]
        mean, total = step[0], slope @ total @ slope.T + (t > 1) * spread * torch.eye(2)
    samples = diffusion.ddpm_sample(best_predictor, (n, 2), FINE, torch.Generator().manual_seed(0), sigma)
    scale = torch.outer(total.diag(), total.diag()).sqrt()
    assert ((samples.mean(0) - mean[0]).abs() < 4.5 * (total.diag() / n).sqrt()).all()
    assert ((samples.T.cov() - total).abs() < 4.5 * scale * (2 / n) ** 0.5).all()
    # and these moments are the data's, up to the size of the steps
    torch.testing.assert_close(mean[0], MEAN, atol=0.02, rtol=0)
    torch.testing.assert_close(total, COVARIANCE.float(), atol=0.05, rtol=0, check_dtype=False)
    data = MEAN + randn(2000, 2, dtype=torch.float32) @ torch.linalg.cholesky(COVARIANCE).T
    noise = randn(2000, 2, seed=5, dtype=torch.float32)
    distances = [diffusion.energy_distance(data, other) for other in (samples[:2000], noise)]
    assert distances[0] < 0.02 * distances[1]


def test_sampling_is_reproducible_and_keeps_its_history():
    first, again = (
        diffusion.ddpm_sample(best_predictor, (5, 2), FINE, torch.Generator().manual_seed(3), return_history=history)
        for history in (False, True)
    )
    assert again.shape == (201, 5, 2) and torch.equal(first, again[-1])
    assert torch.equal(again[0], torch.randn(5, 2, generator=torch.Generator().manual_seed(3)))


# ---- fewer steps


@pytest.mark.parametrize("t", [1, 2, 33, T])
def test_with_eta_one_a_single_ddim_step_is_the_ancestral_step_with_the_posteriors_variance(t):
    x, eps, noise = randn(5, 2), randn(5, 2, seed=1), randn(5, 2, seed=2)
    ours = diffusion.ddim_step(x, eps, t, t - 1, SCHEDULE, noise, eta=1)
    torch.testing.assert_close(ours, diffusion.ddpm_step(x, eps, t, SCHEDULE, noise, "posterior"))


@pytest.mark.parametrize("steps", [1, 3, 7, T])
def test_with_eta_one_ddim_is_the_ancestral_sampler_of_the_respaced_schedule(steps):
    def model(x, t):  # one that looks at both
        return (x * t[:, None] / T).sin()

    short, times = diffusion.respaced(SCHEDULE, steps)
    assert len(short.betas) == steps and times[-1] == T
    torch.testing.assert_close(short.alphas_bar, SCHEDULE.alphas_bar[torch.tensor(times) - 1])
    ours, theirs = (
        sampler(torch.Generator().manual_seed(4))
        for sampler in (
            lambda g: diffusion.ddim_sample(model, (6, 2), SCHEDULE, steps, 1.0, g),
            lambda g: diffusion.ddpm_sample(
                lambda x, i: model(x, torch.tensor(times)[i - 1]), (6, 2), short, g, "posterior"
            ),
        )
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("t", "s"), [(T, 0), (T, 40), (20, 19), (1, 0)])
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_a_ddim_step_leaves_the_marginal_of_the_noising_process(t, s, eta):
    """If x_t has x0 and eps in it, x_s has x0 and noise of the right variance, whatever eta is."""
    x0, eps, z = torch.full((1, 1), 3.0, dtype=torch.float64), randn(1, 1), randn(1, 1, seed=1)
    x_t = diffusion.q_sample(x0, t, eps, SCHEDULE)
    kept = SCHEDULE.alphas_bar[s - 1].item() if s else 1.0
    without, with_noise = (
        diffusion.ddim_step(x_t, eps, t, s, SCHEDULE, noise, eta) for noise in (torch.zeros_like(x0), z)
    )
    from_eps, from_noise = (without - kept**0.5 * x0) / eps, (with_noise - without) / z
    assert (from_eps**2 + from_noise**2).item() == pytest.approx(1 - kept, abs=1e-12)
    assert from_noise.item() == pytest.approx(
        eta * math.sqrt((1 - kept) * (1 - SCHEDULE.alphas_bar[t - 1] / kept) / (1 - SCHEDULE.alphas_bar[t - 1]))
    )


def test_without_noise_a_normal_number_is_scaled_by_the_closed_form():
    """Data N(0, c): the best prediction of eps is sqrt(1 - abar) x / v with v = abar c + 1 - abar."""
    c, t, s = 0.3, 45, 12
    a, b = SCHEDULE.alphas_bar[t - 1], SCHEDULE.alphas_bar[s - 1]
    x, v = randn(7, 1), a * c + 1 - a
    ours = diffusion.ddim_step(x, (1 - a).sqrt() * x / v, t, s, SCHEDULE, randn(7, 1, seed=1))
    torch.testing.assert_close(ours, x * ((a * b).sqrt() * c + ((1 - a) * (1 - b)).sqrt()) / v)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_ddim_with_the_best_predictor_gives_the_data_back(eta):
    samples = diffusion.ddim_sample(best_predictor, (10_000, 2), FINE, 200, eta, torch.Generator().manual_seed(0))
    torch.testing.assert_close(samples.mean(0), MEAN, atol=0.05, rtol=0)
    torch.testing.assert_close(samples.T.cov(), COVARIANCE, atol=0.06, rtol=0)


def test_one_picture_is_found_in_any_number_of_steps_and_eta_zero_uses_no_noise():
    target = torch.tensor([[1.0, -1.0]], dtype=torch.float64)

    def knows(x, t):
        kept = SCHEDULE.alphas_bar[t - 1, None].float()
        return (x - kept.sqrt() * target.float()) / (1 - kept).sqrt()

    for steps in (1, 2, 9):
        found = diffusion.ddim_sample(knows, (3, 2), SCHEDULE, steps, generator=torch.Generator().manual_seed(steps))
        torch.testing.assert_close(found, target.float().expand(3, 2), atol=1e-4, rtol=0)
    x, eps = randn(4, 2), randn(4, 2, seed=1)
    a, b = (diffusion.ddim_step(x, eps, 30, 10, SCHEDULE, randn(4, 2, seed=seed)) for seed in (2, 3))
    assert torch.equal(a, b)
    assert diffusion.even_steps(200, 5) == [200, 160, 120, 80, 40, 0] and diffusion.even_steps(7, 7)[-1] == 0


# ---- how far from the data


@pytest.mark.parametrize("seed", [0, 1])
def test_energy_distance_is_the_square_of_scipys_in_one_dimension(seed):
    a, b = randn(40, 1, seed=seed), 0.5 + 2 * randn(55, 1, seed=seed + 9)
    ours = diffusion.energy_distance(a, b, unbiased=False)
    assert ours == pytest.approx(stats.energy_distance(a[:, 0].numpy(), b[:, 0].numpy()) ** 2)
    assert diffusion.energy_distance(a, a, unbiased=False) == pytest.approx(0, abs=1e-12)


def test_energy_distance_by_hand_and_without_bias():
    a, b = torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0, 0.0], [0.0, 4.0]])
    between = (0 + 4 + 5 + 3) / 4
    assert diffusion.energy_distance(a, b) == pytest.approx(2 * between - 5 - 4)
    assert diffusion.energy_distance(a, b, unbiased=False) == pytest.approx(2 * between - 5 / 2 - 4 / 2)
    pairs = [(randn(20, 2, 2, seed=2 * s), randn(30, 2, 2, seed=2 * s + 1)) for s in range(200)]
    same = [[diffusion.energy_distance(*pair, unbiased=unbiased) for pair in pairs] for unbiased in (True, False)]
    same = torch.tensor(same)
    assert abs(same[0].mean()) < 4.5 * same[0].std() / 200**0.5 and same[1].min() > 0
    assert same[1].mean() > 4.5 * same[1].std() / 200**0.5


# ---- what is wrong


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: diffusion.q_sample(x, 0, x, SCHEDULE), "t must be from 1 to T = 60, got 0"),
        (lambda x: diffusion.q_step(x, torch.tensor([1, T + 1]), x, SCHEDULE), "got 1 to 61"),
        (lambda x: diffusion.q_sample(x, torch.tensor([1, 2, 3]), x, SCHEDULE), r"an integer or \(2,\) integers"),
        (lambda x: diffusion.q_sample(x, 0.5, x, SCHEDULE), "t must be an integer"),
        (lambda x: diffusion.q_sample(x, 1, x[:1], SCHEDULE), "noise must have the shape of the data"),
        (lambda x: diffusion.epsilon_loss(lambda x, t: x[:, :1], x, 1, x, SCHEDULE), "prediction must have the shape"),
        (lambda x: diffusion.posterior(x, x[:, :1], 1, SCHEDULE), "x0 must have the shape"),
        (lambda x: diffusion.ddpm_step(x, x[:, :1], 1, SCHEDULE, x), "eps must have the shape"),
        (lambda x: diffusion.ddpm_step(x, x, 1, SCHEDULE, x, "learned"), 'sigma must be "beta" or "posterior"'),
        (lambda x: diffusion.ddim_step(x, x, 3, 3, SCHEDULE, x), "0 <= s < t"),
        (lambda x: diffusion.ddim_step(x, x, 3, 1, SCHEDULE, x, eta=1.5), "eta from 0 to 1"),
        (lambda x: diffusion.ddim_step(x, x, T + 1, 1, SCHEDULE, x), "t must be from 1 to T = 60"),
        (lambda x: diffusion.ddim_step(x, x, 3, 1, SCHEDULE, x[:1]), "noise must have the shape"),
        (lambda x: diffusion.even_steps(60, 61), "steps must be from 1 to T = 60, got 61"),
        (lambda x: diffusion.energy_distance(x, x[:, :2]), "points of one shape"),
        (lambda x: diffusion.energy_distance(x, x[:1]), "at least two points"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(call, words):
    with pytest.raises(ValueError, match=words) as error:
        call(randn(2, 3))
    assert "\n" not in str(error.value)
