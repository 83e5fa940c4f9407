"""The order of unmasking, and masks that come back, against models that know the truth and enumeration."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from course_utils.diffusion import discrete, orders

GAP = 4
KNOWN, PRIOR = torch.tensor([[0, 2], [1, 3]]), torch.tensor([0.3, 0.7])  # a language of two texts


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def predict(x: torch.Tensor) -> torch.Tensor:
    """log P(token at each place | the others), exactly; nan where nothing of the language fits."""
    fits = ((x[:, None] == KNOWN) | (x[:, None] == GAP)).all(2) * PRIOR
    posterior = fits / fits.sum(1, keepdim=True)
    return torch.einsum("bk,knv->bnv", posterior, torch.nn.functional.one_hot(KNOWN, 5).float()).log()


def alone(p: torch.Tensor):
    """A model whose places have nothing to do with each other: p (N, V)."""
    return lambda x: p.log().expand(len(x), *p.shape)


# ---- which places are written


def test_the_most_confident_masks_of_each_row_are_written_and_nothing_else():
    tokens = torch.tensor([[9, 1, 9, 9], [2, 9, 3, 4], [9, 9, 9, 9]])
    drawn = torch.tensor([[5, 6, 7, 8]] * 3)
    confidence = torch.tensor([[0.2, 0.9, 0.7, 0.5], [0.9, 0.1, 0.9, 0.9], [0.4, 0.4, 0.4, 0.1]])
    ours = orders.unmask_most_confident(tokens, drawn, confidence, 2, mask=9)
    assert ours.tolist() == [[9, 1, 7, 8], [2, 6, 3, 4], [5, 6, 9, 9]]  # all of too few; of equals the first
    assert torch.equal(orders.unmask_most_confident(tokens, drawn, confidence, 0, 9), tokens)
    assert torch.equal(orders.unmask_most_confident(tokens, drawn, confidence.log(), 2, 9), ours)


@pytest.mark.parametrize("tau", [0.0, 1.0, math.inf])
@pytest.mark.parametrize("steps", [1, 3, 7])
def test_every_step_writes_its_even_part_and_keeps_what_was_there(steps, tau):
    start = torch.full((5, 9), GAP)
    start[:, :2] = torch.tensor([0, 3])
    p = torch.rand(9, 4, generator=generator())
    history = orders.write_in_order(alone(p / p.sum(1, keepdim=True)), start, GAP, steps, tau, generator(), True)
    assert history.shape == (steps + 1, 5, 9) and torch.equal(history[0], start)
    left = (history == GAP).sum(2)
    assert left.tolist() == [[7 - round(7 * i / steps)] * 5 for i in range(steps + 1)]
    for before, after in itertools.pairwise(history):
        assert torch.equal(after[before != GAP], before[before != GAP])
    again = orders.write_in_order(alone(p / p.sum(1, keepdim=True)), start, GAP, steps, tau, generator())
    assert torch.equal(again, history[-1])


def test_one_token_a_step_is_exact_in_a_random_order_and_not_in_the_order_of_confidence():
    """With the exact model, one token a step gives the language's shares; taking the surest first draws by p^2."""
    n, start = 20_000, torch.full((20_000, 2), GAP)
    shares = {}
    for tau in (math.inf, 0.0):
        x = orders.write_in_order(predict, start, GAP, 2, tau, generator())
        assert (x[:, None] == KNOWN).all(2).any(1).all()  # never a mixture
        shares[tau] = (x[:, 0] == 0).double().mean().item()
    assert abs(shares[math.inf] - 0.3) < 4.5 * (0.3 * 0.7 / n) ** 0.5
    expected = 0.3**2  # text 0 only if both places draw it: a drawn 1 or 3 is surer
    assert abs(shares[0.0] - expected) < 4.5 * (expected * (1 - expected) / n) ** 0.5


def test_a_random_order_chooses_every_place_alike():
    n, start = 8000, torch.full((8000, 4), GAP)
    p = torch.tensor([[0.97, 0.01, 0.01, 0.01], [0.25] * 4, [0.7, 0.1, 0.1, 0.1], [0.4, 0.3, 0.2, 0.1]])
    first = orders.write_in_order(alone(p), start, GAP, 4, math.inf, generator(), True)[1]
    share = (first != GAP).double().mean(0)
    assert (share - 0.25).abs().max() < 4.5 * (0.25 * 0.75 / n) ** 0.5
    sure = orders.write_in_order(alone(p), start, GAP, 4, 0.0, generator(), True)[1]
    assert (sure[:, 0] != GAP).double().mean() > 0.9  # while confidence begins with the first


def test_the_mask_is_never_drawn():
    p = torch.tensor([0.1, 0.1, 0.1, 0.1, 0.6]).expand(6, 5)  # a model that would like to say "mask"
    start = torch.full((50, 6), GAP)
    for x in (
        orders.write_in_order(alone(p), start, GAP, 3, 0.0, generator()),
        orders.write_and_forget(alone(p), start, GAP, 3, 0.2, generator()),
    ):
        assert (x != GAP).all()


# ---- masks that come back


@pytest.mark.parametrize("eta", [0.0, 0.1, 1.0])
def test_the_share_that_is_written_grows_evenly_whatever_is_forgotten(eta):
    B, N, steps = 400, 50, 8
    start = torch.full((B, N), GAP)
    history = orders.write_and_forget(alone(torch.full((N, 4), 0.25)), start, GAP, steps, eta, generator(), True)
    for i, x in enumerate(history):
        share = i / steps
        assert abs((x != GAP).double().mean().item() - share) <= 4.5 * (share * (1 - share) / (B * N)) ** 0.5 + 1e-12
    gone = ((history[:-1] != GAP) & (history[1:] == GAP)).sum()
    assert (gone == 0) == (eta == 0)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_with_the_exact_model_of_one_token_its_distribution_is_kept(eta):
    p, n = torch.tensor([[0.5, 0.3, 0.15, 0.05]]), 20_000
    x = orders.write_and_forget(alone(p), torch.full((n, 1), GAP), GAP, 6, eta, generator())
    shares = torch.bincount(x[:, 0], minlength=4) / n
    assert (shares - p[0]).abs().max() < 4.5 * 0.5 / n**0.5


def test_without_forgetting_it_is_the_absorbing_sampler():
    """As many mixtures of the two texts as `discrete.sample` writes: both places in the same step, and different."""
    n, steps = 20_000, 4
    start = torch.full((n, 2), GAP)

    def safe(x):  # a finished mixture fits nothing
        return predict(x).exp().nan_to_num(0.2).log()

    ours = orders.write_and_forget(safe, start, GAP, steps, 0.0, generator())
    words = discrete.absorbing_process(discrete.even_schedule(steps), 5, GAP)
    theirs = discrete.sample(lambda x, t: safe(x), (n, 2), words, steps, generator(1))
    expected = 2 * 0.3 * 0.7 / steps
    for x in (ours, theirs):
        mixed = (x[:, None] != KNOWN).any(2).all(1).double().mean().item()
        assert abs(mixed - expected) < 4.5 * (expected * (1 - expected) / n) ** 0.5


def test_given_tokens_are_never_forgotten():
    start = torch.full((200, 10), GAP)
    start[:, ::2] = 3
    x = orders.write_and_forget(alone(torch.full((10, 3), 1 / 3)), start, GAP, 20, 1.0, generator(), True)
    assert (x[:, :, ::2] == 3).all() and (x[-1][:, 1::2] < 3).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: orders.unmask_most_confident(x, x[:, :1], x.float(), 1, GAP), "one shape"),
        (lambda x: orders.unmask_most_confident(x, x, x.float(), -1, GAP), "n must be 0 or more"),
        (lambda x: orders.write_in_order(predict, x, GAP, 3), "at least steps = 3"),
        (lambda x: orders.write_in_order(predict, torch.tensor([[GAP, GAP], [0, GAP]]), GAP, 1), "same number"),
        (lambda x: orders.write_in_order(predict, x, GAP, 2, tau=-1), "tau must be"),
        (lambda x: orders.write_and_forget(predict, x, GAP, 0, 0.1), "steps must be at least 1"),
        (lambda x: orders.write_and_forget(predict, x, GAP, 2, 1.1), "eta from 0 to 1"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(call, words):
    with pytest.raises(ValueError, match=words) as error:
        call(torch.full((2, 2), GAP))
    assert "\n" not in str(error.value)
