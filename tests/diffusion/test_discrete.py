"""Discrete diffusion against all paths of tiny chains, simulation, and models that know the truth."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import one_hot

from course_utils.diffusion import discrete
from course_utils.diffusion.discrete import Process

K, T = 3, 4
BETAS = torch.tensor([0.1, 0.35, 0.2, 0.6], dtype=torch.float64)
UNIFORM = discrete.uniform_process(BETAS, K), discrete.uniform_transition(BETAS, K)
ABSORBING = discrete.absorbing_process(BETAS, K, 1), discrete.absorbing_transition(BETAS, K, 1)
BOTH = pytest.mark.parametrize(("process", "Qs"), [UNIFORM, ABSORBING], ids=["uniform", "absorbing"])


EYE = torch.eye(K, dtype=torch.float64)


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def transitions(seed: int) -> torch.Tensor:
    """(T, K, K) random ones: each row is a distribution."""
    Qs = rand(T, K, K, seed=seed)
    return Qs / Qs.sum(-1, keepdim=True)


def ids(*shape: int, below: int = 5) -> torch.Tensor:
    return torch.randint(below, shape, generator=generator())


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def paths(Qs: torch.Tensor, x0: int):
    """All paths (x_1, ..., x_T) of one token from x0, each with its probability."""
    for path in itertools.product(range(Qs.shape[-1]), repeat=len(Qs)):
        p = 1.0
        for Q, a, b in zip(Qs, (x0, *path), path):
            p *= Q[a, b].item()
        yield path, p


def bayes(Qs: torch.Tensor, x_t: int, x0: int, t: int, s: int) -> list[float] | None:
    """q(x_s | x_t, x0) by counting paths; None if x_t cannot be reached."""
    joint = [0.0] * Qs.shape[-1]
    for path, p in paths(Qs[:t], x0):
        if path[t - 1] == x_t:
            joint[(x0, *path)[s]] += p
    return [p / sum(joint) for p in joint] if sum(joint) else None


def chi_square(counts: torch.Tensor, probs: torch.Tensor) -> float:
    """sum (counted - expected)^2 / expected; a count where the probability is 0 is refused."""
    assert not counts[probs == 0].any()
    expected = (probs * counts.sum())[probs > 0]
    return ((counts[probs > 0] - expected) ** 2 / expected).sum().item()


# ---- transitions


def test_transition_matrices_by_hand():
    uniform = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]], dtype=torch.float64)
    torch.testing.assert_close(discrete.uniform_transition(0.3, 3), uniform)
    absorbing = torch.tensor([[0.7, 0, 0.3], [0, 0.7, 0.3], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(discrete.absorbing_transition(0.3, 3, 2), absorbing)
    for Qs in (UNIFORM[1], ABSORBING[1]):
        torch.testing.assert_close(Qs.sum(-1), torch.ones(T, K, dtype=torch.float64))
        torch.testing.assert_close(discrete.cumulative(Qs).sum(-1), torch.ones(T, K, dtype=torch.float64))


@given(st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_cumulative_is_the_product_in_the_order_of_the_steps(seed):
    Qs = transitions(seed)
    ours = discrete.cumulative(Qs)
    for t in range(1, T + 1):
        for x0 in range(K):
            reached = torch.zeros(K, dtype=torch.float64)
            for path, p in paths(Qs[:t], x0):
                reached[path[-1]] += p
            torch.testing.assert_close(ours[t - 1, x0], reached)
    assert not torch.allclose(ours[-1], discrete.cumulative(Qs.flip(0))[-1])  # the other order is not the same


@BOTH
def test_closed_form_is_the_product(process, Qs):
    products = discrete.cumulative(Qs)
    for t in range(T + 1):
        torch.testing.assert_close(discrete.marginal(EYE, t, process), products[t - 1] if t else EYE)
    several = discrete.marginal(EYE[[1, 1, 0]], torch.tensor([0, 2, 4]), process)
    torch.testing.assert_close(several, torch.stack([EYE[1], products[1, 1], products[3, 0]]))


@pytest.mark.parametrize("steps", [1, 2, 10, 1000])
def test_even_schedule_masks_the_share_t_of_T(steps):
    betas = discrete.even_schedule(steps)
    assert betas[-1] == 1 and betas[0].item() == pytest.approx(1 / steps)
    process = discrete.absorbing_process(betas, 5, 4)
    torch.testing.assert_close(process.kept, 1 - torch.arange(steps + 1, dtype=torch.float64) / steps)
    assert process.kept[-1] == 0  # exactly: at the end nothing is known of x0


@BOTH
def test_sampling_the_forward_process_against_simulation_step_by_step(process, Qs):
    n = 20_000
    x0 = torch.tensor([0, 2]).repeat(n, 1)  # (n, 2)
    x, generate = x0, generator(1)
    for t in range(1, T + 1):
        x = torch.multinomial(Qs[t - 1][x].flatten(0, 1), 1, generator=generate).view(n, 2)
        jumped = discrete.q_sample(x0, t, process, generator(t))
        for i, start in enumerate((0, 2)):
            probs = discrete.cumulative(Qs)[t - 1, start]
            for tokens in (x, jumped):
                assert chi_square(torch.bincount(tokens[:, i], minlength=K).double(), probs) < 20  # 2 degrees: p = 5e-5
        both = (jumped == x0).double()
        assert abs(torch.corrcoef(both.T)[0, 1]) < 4.5 / n**0.5  # the tokens are lost apart from each other
    assert torch.equal(discrete.q_sample(x0, 0, process), x0)


def test_masking_leaves_the_share_and_touches_nothing_else():
    process = discrete.absorbing_process(discrete.even_schedule(10), 6, 5)
    x0 = ids(4, 10_000)
    t = torch.tensor([1, 4, 9, 10])
    for x_t in (discrete.q_sample(x0, t, process, generator(1)), discrete.mask_tokens(x0, t / 10, 5, generator(2))):
        share = (x_t == 5).double().mean(1)
        assert ((share - t / 10).abs() <= 4 * (t / 10 * (1 - t / 10) / 10_000).sqrt()).all()
        assert torch.equal(x_t[x_t != 5], x0[x_t != 5])


# ---- Bayes' rule


@given(st.integers(0, 100), st.integers(2, T))
@settings(max_examples=15, deadline=None)
def test_matrix_posterior_counts_paths(seed, t):
    Qs = transitions(seed)
    before = discrete.cumulative(Qs)[t - 2]
    x_t, x0 = torch.cartesian_prod(torch.arange(K), torch.arange(K)).T
    ours = discrete.matrix_posterior(x_t, one_hot(x0, K).double(), Qs[t - 1], before)
    expected = torch.tensor([bayes(Qs, int(a), int(b), t, t - 1) for a, b in zip(x_t, x0)], dtype=torch.float64)
    torch.testing.assert_close(ours, expected)
    wrong = discrete.matrix_posterior(x_t, one_hot(x0, K).double(), Qs[t - 1].T, before)
    assert not torch.allclose(wrong, expected)  # the row of Q in place of its column


@BOTH
def test_posterior_counts_paths_for_every_pair_of_steps(process, Qs):
    for t in range(1, T + 1):
        for s in range(t):
            pairs = [(a, b, bayes(Qs, a, b, t, s)) for a in range(K) for b in range(K) if b != process.mask]
            pairs = [pair for pair in pairs if pair[2]]
            x_t, x0 = (torch.tensor([pair[i] for pair in pairs]) for i in (0, 1))
            ours = discrete.posterior(x_t, one_hot(x0, K).double(), t, process, s)
            torch.testing.assert_close(ours, torch.tensor([pair[2] for pair in pairs], dtype=torch.float64))
            if s == t - 1 > 0:
                before = discrete.cumulative(Qs)[s - 1]
                matrices = discrete.matrix_posterior(x_t, one_hot(x0, K).double(), Qs[t - 1], before)
                torch.testing.assert_close(matrices, ours)
                assert torch.equal(discrete.posterior(x_t, one_hot(x0, K).double(), t, process), ours)


@BOTH
@pytest.mark.parametrize(("t", "s"), [(1, 0), (3, 2), (4, 1), (4, 0)])
def test_reverse_with_the_exact_guess_is_the_exact_step(process, Qs, t, s):
    """P(x_s | x_t) by enumeration, for a token whose distribution over x0 is known."""
    prior = torch.tensor([0.5, 0.2, 0.3] if process.mask is None else [0.6, 0.0, 0.4], dtype=torch.float64)
    for x_t in range(K):
        joint = torch.zeros(K, K, dtype=torch.float64)  # (x0, x_s)
        for x0 in range(K):
            for path, p in paths(Qs[:t], x0):
                if path[-1] == x_t:
                    joint[x0, (x0, *path)[s]] += prior[x0] * p
        guess = joint.sum(1) / joint.sum()  # P(x0 | x_t)
        ours = discrete.reverse(torch.tensor([x_t]), guess[None], t, process, s)
        torch.testing.assert_close(ours[0], joint.sum(0) / joint.sum())
        paper = discrete.posterior(torch.tensor([x_t]), guess[None], t, process, s)[0]
        assert torch.allclose(paper, ours[0]) == (process.mask is not None)  # as `reverse` says


@BOTH
def test_reverse_is_the_sum_of_posteriors(process, Qs):
    guess = rand(5, 2, K, seed=3) * (torch.arange(K) != process.mask)
    guess = guess / guess.sum(-1, keepdim=True)
    x_t, t, s = torch.ones(5, 2, dtype=torch.long), torch.tensor([2, 3, 4, 4, 2]), torch.tensor([1, 0, 3, 2, 0])
    expected = sum(
        guess[..., x0, None] * discrete.posterior(x_t, EYE[x0].expand(5, 2, K), t, process, s)
        for x0 in range(K)
        if x0 != process.mask
    )
    torch.testing.assert_close(discrete.reverse(x_t, guess, t, process, s), expected)


# ---- the bound


def tables(process: Process, length: int, seed: int = 0):
    """A model of `length` tokens with random logits for every text and step: (model, all texts)."""
    kinds, steps = len(process.rest), len(process.kept) - 1
    logits = 2 * torch.randn(steps, kinds**length, length, kinds, generator=generator(seed), dtype=torch.float64)
    place = kinds ** torch.arange(length)
    texts = torch.tensor(list(itertools.product(range(kinds), repeat=length)))
    return (lambda x, t: logits[t - 1, (x * place).sum(-1)]), texts


def tiny(mask: int | None) -> tuple[Process, torch.Tensor]:
    betas = discrete.even_schedule(3)
    if mask is None:
        return discrete.uniform_process(betas, K), discrete.uniform_transition(betas, K)
    return discrete.absorbing_process(betas, K, mask), discrete.absorbing_transition(betas, K, mask)


def exact_bound(model, texts, process, x0) -> torch.Tensor:
    """L_vb in nats for one text x0 (N,): every term averaged over all x_t with the closed form q(x_t | x0)."""
    total = discrete.prior_term(x0[None], process).sum()
    for t in range(1, len(process.kept)):
        rows = discrete.marginal(one_hot(x0, K).double()[None], t, process)[0]  # (N, K)
        weight = rows[torch.arange(len(x0)), texts].prod(-1)
        x_t, weight = texts[weight > 0], weight[weight > 0]
        steps = torch.full((len(x_t),), t)
        terms = discrete.vlb_terms(model(x_t, steps), x_t, x0.expand_as(x_t), steps, process)
        total = total + (weight * terms.sum(-1)).sum()
    return total


def steps_back(model, texts, Qs, mask) -> list[torch.Tensor]:
    """p(x_{t-1} | x_t) for all pairs of texts, (texts, texts), t = 1..T: each token's sum over x0, with matrices."""
    result, before = [], torch.eye(K, dtype=torch.float64)
    for t, Q in enumerate(Qs, 1):
        after = before @ Q
        guess = discrete.x0_log_probs(model(texts, torch.full((len(texts),), t)), texts, mask).exp()  # (texts, N, K)
        rows = torch.zeros_like(guess)
        for i, n, x0 in itertools.product(range(len(texts)), range(texts.shape[1]), range(K)):
            token = texts[i, n]
            if guess[i, n, x0] > 0 and after[x0, token] > 0:
                rows[i, n] += guess[i, n, x0] * Q[:, token] * before[x0] / after[x0, token]
        result.append(rows[:, torch.arange(texts.shape[1]), texts].prod(-1))
        before = after
    return result


@pytest.mark.parametrize("mask", [None, 1])
def test_bound_is_the_enumerated_one_and_lies_above_the_exact_likelihood(mask):
    process, Qs = tiny(mask)
    model, texts = tables(process, 2)
    back = steps_back(model, texts, Qs, mask)
    start = process.rest[texts].prod(-1)
    likelihood = start @ back[2] @ back[1] @ back[0]  # (texts,): all paths summed up
    assert likelihood.sum().item() == pytest.approx(1)
    forward = [Q[texts[:, None], texts[None]].prod(-1) for Q in Qs]  # (texts, texts)
    for i, x0 in enumerate(texts):
        if mask is not None and (x0 == mask).any():
            continue
        enumerated = 0.0
        for path in itertools.product(range(len(texts)), repeat=3):
            q = math.prod(Q[a, b].item() for Q, a, b in zip(forward, (i, *path), path))
            if q:
                p = start[path[2]].item() * math.prod(P[b, a].item() for P, a, b in zip(back, (i, *path), path))
                enumerated += q * math.log(q / p)
        bound = exact_bound(model, texts, process, x0).item()
        assert bound == pytest.approx(enumerated)
        assert bound > -likelihood[i].log().item() + 1e-3


@pytest.mark.parametrize("mask", [None, 1])
def test_loss_is_an_estimate_of_the_bound_and_lam_adds_the_cross_entropy(mask):
    process, _ = tiny(mask)
    model, texts = tables(process, 2)
    x0 = torch.tensor([0, 2])
    many = x0.expand(2000, 2)
    steps = [torch.randint(1, 4, (2000,), generator=generator(i)) for i in range(40)]
    losses = [discrete.vlb_loss(model, many, t, process, generator=generator(100 + i)) for i, t in enumerate(steps)]
    losses = torch.stack(losses)
    exact = exact_bound(model, texts, process, x0).item() / 2  # a token
    assert abs(losses.mean().item() - exact) < 4.5 * losses.std().item() / 40**0.5 < 0.1
    with_ce, without = (discrete.vlb_loss(model, many, 2, process, lam, generator(7)) for lam in (0.5, 0.0))
    x_t = discrete.q_sample(many, 2, process, generator(7))
    log_probs = discrete.x0_log_probs(model(x_t, torch.full((2000,), 2)), x_t, mask)
    ce = -(log_probs[:, 0, 0] + log_probs[:, 1, 2]).mean() / 2
    torch.testing.assert_close(with_ce - without, 0.5 * ce)


@pytest.mark.parametrize("mask", [None, 29])
def test_single_precision_and_a_thousand_steps_are_no_danger(mask):
    betas = discrete.even_schedule(1000)
    process = discrete.uniform_process(betas, 30) if mask is None else discrete.absorbing_process(betas, 30, mask)
    x0, t = ids(64, 20, below=29), torch.randint(1, 1001, (64,), generator=generator(1))
    logits = 3 * torch.randn(64, 20, 30, generator=generator(2), dtype=torch.float64)
    single, double = (logits.to(dtype).clone().requires_grad_() for dtype in (torch.float32, torch.float64))
    both = (single, double)
    losses = [discrete.vlb_loss(lambda x, t, y=y: y, x0, t, process, 0.01, generator(3)) for y in both]
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(losses[0].double(), losses[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(single.grad.double(), double.grad, rtol=1e-2, atol=1e-5)


def test_prior_term_is_zero_only_when_nothing_is_kept():
    x0 = torch.tensor([[0, 2]])
    for mask in (None, 1):
        torch.testing.assert_close(discrete.prior_term(x0, tiny(mask)[0]), torch.zeros(1, 2, dtype=torch.float64))
    kept = UNIFORM[0].kept[-1].item()
    q = [kept + (1 - kept) / 3, (1 - kept) / 3, (1 - kept) / 3]
    expected = sum(p * math.log(p * 3) for p in q)
    torch.testing.assert_close(discrete.prior_term(x0, UNIFORM[0]), torch.full((1, 2), expected, dtype=torch.float64))
    assert discrete.prior_term(x0, ABSORBING[0]).isinf().all()


# ---- masks


def network(kinds: int, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    layers = (
        torch.nn.Embedding(kinds, 8),
        torch.nn.Conv1d(7, 7, 3, padding=1),
        torch.nn.Tanh(),
        torch.nn.Linear(8, kinds),
    )
    return torch.nn.Sequential(*layers).double()


@pytest.mark.parametrize("t", [1, 4, 9, 10])
def test_the_masked_loss_is_the_bound_of_the_absorbing_process(t):
    """Sahoo et al. against Austin et al., for the same texts, masks and model: values and gradients."""
    process = discrete.absorbing_process(discrete.even_schedule(10), 6, 5)
    net, x0 = network(6), ids(32, 7)
    results = []
    for loss in ("masked", "bound"):
        net.zero_grad()
        if loss == "bound":
            value = discrete.vlb_loss(lambda x, t: net(x), x0, t, process, generator=generator(1))
        else:
            x_t = discrete.q_sample(x0, t, process, generator(1))
            value = discrete.masked_loss(net(x_t), x0, x_t, t / 10, 5)
        value.backward()
        results.append([value.detach(), *(parameter.grad.clone() for parameter in net.parameters())])
    for ours, theirs in zip(*results):
        assert ours.isfinite().all() and ours.abs().max() > 0
        torch.testing.assert_close(ours, theirs)


def test_masked_loss_by_hand():
    x0, x_t = torch.tensor([[0, 1], [1, 1]]), torch.tensor([[2, 1], [2, 2]])
    p = torch.tensor([[[0.7, 0.2, 0.1], [0.2, 0.2, 0.6]], [[0.5, 0.3, 0.2], [0.1, 0.4, 0.5]]], dtype=torch.float64)
    ours = discrete.masked_loss(p.log(), x0, x_t, torch.tensor([0.5, 0.8]), 2)
    # no mass for the mask, four tokens
    expected = (-math.log(7 / 9) / 0.5 - (math.log(3 / 8) + math.log(4 / 5)) / 0.8) / 4
    assert ours.item() == pytest.approx(expected, rel=1e-6)
    x_t[0, 1] = 0  # what is not masked is not the model's business, right or wrong
    assert discrete.masked_loss(p.log(), x0, x_t, torch.tensor([0.5, 0.8]), 2) == ours


def test_for_independent_tokens_the_bound_is_the_likelihood_itself():
    p = torch.tensor([0.5, 0.3, 0.2, 0.0], dtype=torch.float64)
    x0 = torch.multinomial(p, 64, replacement=True, generator=generator()).expand(400, 64)
    exact = -p[x0[0]].log().mean().item()
    losses, bert = [], []
    for i in range(30):
        share = discrete.even_shares(400, generator(i)).double()
        x_t = discrete.mask_tokens(x0, share, 3, generator(100 + i))
        losses.append(discrete.masked_loss(p.log().expand(400, 64, 4), x0, x_t, share, 3))
        bert.append((x_t == 3).double().mean() * exact)
    losses = torch.stack(losses)
    assert abs(losses.mean().item() - exact) < 4.5 * losses.std().item() / 30**0.5 < 0.05
    assert torch.stack(bert).mean() < 0.55 * exact  # without 1/share it would be far below the truth


def test_logits_become_a_guess_that_copies_what_is_left_and_never_says_mask():
    logits = torch.randn(2, 3, 4, generator=generator(), requires_grad=True)
    x_t = torch.tensor([[3, 0, 3], [2, 3, 1]])
    guess = discrete.x0_log_probs(logits, x_t, 3).exp()
    for i, n in itertools.product(range(2), range(3)):
        expected = logits[i, n, :3].softmax(-1) if x_t[i, n] == 3 else one_hot(x_t[i, n], 4)[:3].float()
        torch.testing.assert_close(guess[i, n, :3], expected)
    assert (guess[..., 3] == 0).all()
    guess[..., 0].sum().backward()
    assert logits.grad.isfinite().all() and (logits.grad[x_t != 3] == 0).all()
    assert (logits.grad[x_t == 3][:, :3] != 0).all()
    torch.testing.assert_close(discrete.x0_log_probs(logits, x_t, None), logits.log_softmax(-1))


@pytest.mark.parametrize("n", [1, 2, 50])
def test_even_shares_lie_one_in_each_part(n):
    shares = torch.stack([discrete.even_shares(n, generator(seed)) for seed in range(200)])
    assert ((shares * n).ceil() == torch.arange(1, n + 1)).all()
    assert abs(shares.mean() - 0.5) < 4.5 * (1 / 12 / 200) ** 0.5 / n


# ---- sampling


def knows(prior: torch.Tensor, process: Process):
    """The model of one-token texts that gives exactly log P(x0 | x_t)."""

    def model(x, t):
        every_token = torch.eye(len(prior), dtype=torch.float64)
        joint = prior[:, None] * discrete.marginal(every_token, int(t[0]), process)  # (x0, x_t)
        return joint.T[x].log()

    return model


@pytest.mark.parametrize("steps", [1, 3, 8])
@pytest.mark.parametrize("mask", [None, 3])
def test_sampling_with_the_exact_model_gives_the_distribution_back(mask, steps):
    betas = discrete.even_schedule(8)
    prior = torch.tensor([0.1, 0.2, 0.3, 0.4] if mask is None else [0.6, 0.3, 0.1, 0], dtype=torch.float64)
    process = discrete.uniform_process(betas, 4) if mask is None else discrete.absorbing_process(betas, 4, mask)
    x = discrete.sample(knows(prior, process), (20_000, 1), process, steps, generator(steps))
    assert chi_square(torch.bincount(x[:, 0], minlength=4).double(), prior) < 24  # at most 3 degrees: p = 2e-5


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_few_steps_mix_two_texts_up(steps):
    """Texts AB and CD, equally often: where both tokens are decided in one step, half of the texts are mixed."""
    process = discrete.absorbing_process(discrete.even_schedule(20), 5, 4)
    allowed = torch.tensor([[0, 2], [1, 3]])  # at each place

    def model(x, t):
        logits = torch.full((*x.shape, 5), -math.inf)
        for place in (0, 1):
            other = x[:, 1 - place]
            for i, token in enumerate(allowed[place]):
                logits[(other == 4) | (other == allowed[1 - place, i]), place, token] = 0
        return logits

    n = 4000
    history = discrete.sample(model, (n, 2), process, steps, generator(1), return_history=True)
    mixed = (history[-1].sum(1) % 4 != 1).double().mean().item()  # 0 + 1 and 2 + 3 are 1 and 5
    rate = 1 / (2 * steps)
    assert abs(mixed - rate) < 4.5 * (rate * (1 - rate) / n) ** 0.5
    assert history.shape == (steps + 1, n, 2) and (history[0] == 4).all() and (history[-1] != 4).all()
    for before, after in zip(history, history[1:]):
        assert torch.equal(after[before != 4], before[before != 4])  # a decided token stays
    for i, masked in enumerate((history == 4).double().mean((1, 2))):
        share = 1 - i / steps
        assert abs(masked - share) <= 4.5 * (share * (1 - share) / (2 * n)) ** 0.5


def test_one_call_a_step_at_the_steps_of_the_longer_chain():
    process = discrete.uniform_process(discrete.even_schedule(100), 5)
    seen = []

    def model(x, t):
        seen.append(t.tolist())
        return torch.zeros(*x.shape, 5)

    first, again = (discrete.sample(model, (2, 3), process, 4, generator(5)) for _ in range(2))
    assert seen == 2 * [[100, 100], [75, 75], [50, 50], [25, 25]] and torch.equal(first, again)
    seen.clear()
    discrete.sample(model, (1, 2, 2), process)
    assert seen == [[t] for t in range(100, 0, -1)]


# ---- figures, and what is wrong


def test_bits_per_character():
    assert discrete.bits_per_character(math.log(2), 10, 10) == pytest.approx(1)
    assert discrete.bits_per_character(math.log(27), 30, 120) == pytest.approx(math.log2(27) / 4)


ZERO, ONE, FIRST = torch.tensor([[0]]), torch.tensor([[1]]), torch.eye(3)[:1]
FLAT = torch.zeros(1, 1, 3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: discrete.even_schedule(0), "T must be at least 1"),
        (lambda: discrete.uniform_process(torch.tensor([0.5, 1.0, 0.5]), 3), "below 1 before the last step"),
        (lambda: discrete.uniform_process(BETAS, 1), "K must be at least 2"),
        (lambda: discrete.absorbing_process(BETAS, 3, 3), "mask must be one of the K = 3 ids"),
        (lambda: discrete.uniform_transition(1.5, 3), "beta must be from 0 to 1"),
        (lambda: discrete.cumulative(torch.eye(3)), r"Qs must be \(T, K, K\)"),
        (lambda: discrete.matrix_posterior(ONE[0], *[torch.eye(3)] * 3), r"x0 must be \(1,\)"),
        (lambda: discrete.marginal(torch.eye(4), 1, UNIFORM[0]), r"\(B, \.\.\., 3\) distributions"),
        (lambda: discrete.q_sample(ONE, 1, ABSORBING[0]), "x0 must not hold the mask, 1"),
        (lambda: discrete.q_sample(3 * ONE, 1, UNIFORM[0]), "token ids from 0 to K - 1 = 2"),
        (lambda: discrete.q_sample(ZERO, 5, UNIFORM[0]), "t must be from 0 to T = 4, got 5"),
        (lambda: discrete.q_sample(ZERO, 0.5, UNIFORM[0]), "t must be an integer"),
        (lambda: discrete.mask_tokens(ZERO, 3, 1), "share must be in"),
        (lambda: discrete.posterior(ZERO[0], FIRST, 0, UNIFORM[0]), "t must be from 1 to T = 4, got 0"),
        (lambda: discrete.posterior(ZERO[0], FIRST, 2, UNIFORM[0], 2), "s must be before t"),
        (lambda: discrete.posterior(ZERO, FIRST, 2, UNIFORM[0]), r"must be \(1, 1\) \+ \(3,\)"),
        (lambda: discrete.posterior(ZERO[0], torch.eye(3)[2:], 2, ABSORBING[0]), "an x_t is impossible"),
        (lambda: discrete.x0_log_probs(torch.zeros(1, 2, 3), ZERO, None), r"logits must be \(1, 1\)"),
        (lambda: discrete.masked_loss(FLAT, ZERO, ONE, 2, 1), "divide the step"),
        (lambda: discrete.masked_loss(FLAT, ONE, ONE, 0.5, 1), "must not hold"),
        (lambda: discrete.sample(lambda x, t: x, (1, 1), UNIFORM[0], 5), "steps must be from 1 to T = 4"),
        (lambda: discrete.bits_per_character(1.0, 0, 5), "tokens and characters must be at least 1"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(call, words):
    with pytest.raises(ValueError, match=words) as error:
        call()
    assert "\n" not in str(error.value)
