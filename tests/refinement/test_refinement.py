"""Mask-predict against a plain double loop and on a language of two sentences; Self-Refine's order and history; the
two-rate model."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from course_utils.refinement import Refined, fit_two_rates, fixed_point, mask_predict, remask, self_refine, two_rate

V, MASK, PAD = 7, 7, 8


def denoiser(seed, vocabulary=V):
    """An arbitrary predictor in which every position looks at every other one."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(10, vocabulary, generator=generator)
    mix = torch.randn(12, 12, generator=generator)

    def predict(tokens):
        n = tokens.shape[1]
        context = torch.nn.functional.one_hot(tokens, 10).float() @ table  # (B, N, V)
        context = context.masked_fill((tokens == PAD)[..., None], 0.0)
        return torch.einsum("mn,bnv->bmv", mix[:n, :n], context).log_softmax(-1)

    return predict


def one_row(predict, tokens, iterations):
    """The algorithm of the paper for one sentence, on Python lists."""
    tokens = list(tokens)
    places = [i for i, token in enumerate(tokens) if token == MASK]
    probabilities, history, masked = {}, [], list(places)
    for t in range(iterations):
        if t > 0:
            count = max(1, len(places) * (iterations - t) // iterations)
            masked = sorted(sorted(places, key=lambda i: probabilities[i])[:count])
        seen = [MASK if i in masked else token for i, token in enumerate(tokens)]
        rows = predict(torch.tensor([seen]))[0].exp().tolist()
        for i in masked:
            probabilities[i] = max(rows[i])
            tokens[i] = rows[i].index(probabilities[i])
        history.append((list(tokens), dict(probabilities), masked))
    return tokens, history


@pytest.mark.parametrize("iterations", [1, 2, 3, 5, 9, 20])
@pytest.mark.parametrize("seed", range(4))
def test_mask_predict_is_the_plain_loop(seed, iterations):
    predict, lengths = denoiser(seed), [9, 4, 1, 7]
    tokens, steps = mask_predict(predict, lengths, MASK, iterations, pad_id=PAD)
    assert tokens.shape == (4, 9) and len(steps) == iterations
    for row, length in enumerate(lengths):
        start = [MASK] * length + [PAD] * (9 - length)
        expected, history = one_row(predict, start, iterations)
        assert tokens[row].tolist() == expected
        for step, (reached, probabilities, masked) in zip(steps, history, strict=True):
            assert step.tokens[row].tolist() == reached
            assert step.masked[row].nonzero()[:, 0].tolist() == masked
            given = [probabilities.get(i, 1.0) for i in range(9)]
            torch.testing.assert_close(step.probabilities[row], torch.tensor(given))


def test_given_tokens_stay_and_do_not_count():
    predict, start = denoiser(5), torch.tensor([[2, MASK, MASK, 3, MASK, MASK], [MASK, 1, 1, 1, 1, 1]])
    tokens, steps = mask_predict(predict, start, MASK, 4)
    for row in range(2):
        assert tokens[row].tolist() == one_row(predict, start[row].tolist(), 4)[0]
    assert tokens[0, [0, 3]].tolist() == [2, 3]
    assert [step.masked.sum(dim=1).tolist() for step in steps] == [[4, 1], [3, 1], [2, 1], [1, 1]]
    assert start[0, 1] == MASK  # the caller's tensor is as it was


def test_probabilities_of_kept_tokens_are_old():
    """Kept from when they were predicted: not what the model would now say of them."""
    predict = denoiser(1)
    _, steps = mask_predict(predict, [8], MASK, 4)
    fresh = []
    for before, after in itertools.pairwise(steps):
        kept = ~after.masked
        assert torch.equal(after.probabilities[kept], before.probabilities[kept])
        now = predict(before.tokens.masked_fill(after.masked, MASK)).exp().gather(-1, before.tokens[..., None])[..., 0]
        fresh.append((now[kept] - before.probabilities[kept]).abs().max())
    assert max(fresh) > 0.05  # the model does say something else, so the difference is seen


def test_the_mask_is_never_predicted():
    loving = (
        torch.zeros(MASK + 1)
        .index_fill(0, torch.tensor([MASK]), 5.0)
        .index_fill(0, torch.tensor([3]), 1.0)
        .log_softmax(0)
    )
    for generator in (None, torch.Generator().manual_seed(0)):
        tokens, steps = mask_predict(
            lambda tokens: loving.expand(*tokens.shape, -1), [20], MASK, 3, generator=generator
        )
        assert (tokens != MASK).all()
        assert not steps[0].probabilities.requires_grad
    _, steps = mask_predict(lambda tokens: loving.expand(*tokens.shape, -1), [2], MASK, 1)
    assert steps[0].probabilities[0, 0] == pytest.approx(loving[3].exp())


def language(sentences, mask):
    """The exact conditional distribution over a set of equally likely sentences (all of one length)."""
    data = torch.tensor(sentences)  # (S, N)

    def predict(tokens):
        fits = ((tokens[:, None] == data) | (tokens[:, None] == mask)).all(dim=2).double()  # (B, S)
        counts = torch.einsum("bs,snv->bnv", fits, torch.nn.functional.one_hot(data, mask).double())
        return (counts / counts.sum(dim=-1, keepdim=True)).log()

    return predict


def test_multimodality_with_ties():
    """{AB, CD}: all four tokens have 1/2 in their place. For half of the 24 ways to number A, B, C, D one step mixes
    them; two never."""
    mixed = {1: 0, 2: 0, 5: 0}
    for a, b, c, d in itertools.permutations(range(4)):
        for iterations in mixed:
            tokens, steps = mask_predict(language([[a, b], [c, d]], 4), [2], 4, iterations)
            mixed[iterations] += tokens[0].tolist() not in ([a, b], [c, d])
            assert steps[0].probabilities.tolist() == [[0.5, 0.5]]
    assert mixed == {1: 12, 2: 0, 5: 0}


def test_multimodality_with_sampling():
    predict, n = language([[0, 1], [2, 3]], 4), 10_000
    fractions = {}
    for iterations in (1, 2):
        tokens, _ = mask_predict(predict, [2] * n, 4, iterations, generator=torch.Generator().manual_seed(0))
        right = (tokens == torch.tensor([0, 1])).all(dim=1) | (tokens == torch.tensor([2, 3])).all(dim=1)
        fractions[iterations] = 1 - right.double().mean().item()
        assert abs((tokens[:, 0] == 0).double().mean() - 0.5) < 0.02  # four standard errors; both sentences are reached
    assert abs(fractions[1] - 0.5) < 0.02 and fractions[2] == 0


@pytest.mark.parametrize(
    ("n", "t", "iterations", "count"),
    [(10, 1, 10, 9), (10, 9, 10, 1), (10, 1, 4, 7), (10, 3, 4, 2), (3, 9, 10, 1), (7, 1, 2, 3)],
)
def test_remask_takes_the_least_probable(n, t, iterations, count):
    probabilities = torch.rand(5, n, generator=torch.Generator().manual_seed(n))
    masked = remask(probabilities, t, iterations)
    assert masked.sum(dim=1).tolist() == [count] * 5
    for row in range(5):
        assert probabilities[row][masked[row]].max() < probabilities[row][~masked[row]].min()


def test_remask_of_a_row_without_masks():
    assert remask(torch.rand(1, 3), 1, 2, torch.zeros(1, 3, dtype=torch.bool)).tolist() == [[False] * 3]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"iterations": 0}, "iterations must be at least 1"),
        ({"start": [0]}, "whole numbers from 1 up"),
        ({"start": [2.5]}, "whole numbers from 1 up"),
        ({"start": [2, 3]}, "need pad_id"),
        ({"start": [2, 3], "pad_id": MASK}, "must be two tokens"),
        ({"start": torch.ones(1, 3, dtype=torch.long)}, "nothing to fill"),
        ({"start": torch.full((1, 3), float(MASK))}, "torch.long"),
        ({"predict": lambda tokens: torch.zeros(1, V)}, "predict must return"),
    ],
)
def test_mask_predict_refuses(change, words):
    with pytest.raises(ValueError, match=words):
        mask_predict(**{"predict": denoiser(0), "start": [4], "mask_id": MASK, "iterations": 2, **change})


@pytest.mark.parametrize(
    "arguments",
    [
        (torch.rand(1, 3), 0, 2),
        (torch.rand(1, 3), 2, 2),
        (torch.rand(3), 1, 2),
        (torch.rand(1, 3), 1, 2, torch.ones(1, 2, dtype=torch.bool)),
    ],
)
def test_remask_refuses(arguments):
    with pytest.raises(ValueError):
        remask(*arguments)


def recorder(stop_at=None):
    """Callables that write down how they were called; answers y0, y1, ..., feedback on y is "fb of y"."""
    calls = []

    def generate(x):
        calls.append(("generate", x))
        return "y0"

    def feedback(x, y):
        calls.append(("feedback", x, y))
        return f"fb of {y}"

    def stop(said, t):
        calls.append(("stop", said, t))
        return t == stop_at

    def refine(x, history):
        calls.append(("refine", x, list(history)))
        return f"y{len(history)}"

    return calls, (generate, feedback, refine, stop)


def test_self_refine_calls_in_order_with_the_whole_history():
    calls, four = recorder()
    assert self_refine("x", *four, max_rounds=2) == Refined(["y0", "y1", "y2"], ["fb of y0", "fb of y1"], False)
    first, second = ("y0", "fb of y0"), ("y1", "fb of y1")
    assert calls == [
        ("generate", "x"),
        ("feedback", "x", "y0"),
        ("stop", "fb of y0", 0),
        ("refine", "x", [first]),
        ("feedback", "x", "y1"),
        ("stop", "fb of y1", 1),
        ("refine", "x", [first, second]),
    ]


@pytest.mark.parametrize("stop_at", [0, 1, 2])
def test_self_refine_stops_before_refining(stop_at):
    calls, four = recorder(stop_at)
    run = self_refine("x", *four)
    assert run.stopped and run.answer == f"y{stop_at}" and len(run.feedbacks) == stop_at + 1
    assert calls[-1] == ("stop", f"fb of y{stop_at}", stop_at)
    assert sum(call[0] == "refine" for call in calls) == stop_at


def test_self_refine_without_rounds_only_generates():
    calls, four = recorder()
    assert self_refine("x", *four, max_rounds=0) == Refined(["y0"], [], False)
    assert calls == [("generate", "x")]
    with pytest.raises(ValueError, match="max_rounds"):
        self_refine("x", *four, max_rounds=-1)


def test_self_refine_keeps_its_record_from_the_callables():
    _, (generate, feedback, _, stop) = recorder()
    run = self_refine("x", generate, feedback, lambda x, history: history.clear() or "new", stop, max_rounds=3)
    assert run.answers == ["y0", "new", "new", "new"] and len(run.feedbacks) == 3


@pytest.mark.parametrize("role", range(4))
def test_self_refine_passes_errors_on(role):
    class Broken(Exception):
        pass

    error = Broken("no luck")

    def broken(*arguments):
        raise error

    four = list(recorder()[1])
    four[role] = broken
    with pytest.raises(Broken) as caught:
        self_refine("x", *four)
    assert caught.value is error


@pytest.mark.parametrize(
    ("a0", "fix", "breaks"),
    [(0.3, 0.2, 0.1), (0.9, 0.2, 0.4), (0.5, 0.0, 0.0), (0.2, 1.0, 1.0), (0.7, 0.3, 0.0), (1, 0, 1)],
)
def test_two_rate_is_the_recursion(a0, fix, breaks):
    expected = [a0]
    for _ in range(12):
        expected.append(expected[-1] * (1 - breaks) + (1 - expected[-1]) * fix)
    np.testing.assert_allclose(two_rate(a0, fix, breaks, 12), expected, atol=1e-14)


def test_two_rate_is_what_happens_to_many_items():
    random = np.random.default_rng(0)
    right = random.random(200_000) < 0.4
    simulated = [right.mean()]
    for _ in range(3):
        draw = random.random(len(right))
        right = np.where(right, draw >= 0.1, draw < 0.3)
        simulated.append(right.mean())
    np.testing.assert_allclose(simulated, two_rate(0.4, 0.3, 0.1, 3), atol=0.005)


def test_two_rate_of_arrays_and_its_fixed_point():
    start, fix, breaks = np.linspace(0, 1, 11)[:, None], np.array([0.1, 0.5, 0.9]), np.array([0.3, 0.1, 0.9])
    runs = two_rate(start, fix, breaks, 200)
    assert runs.shape == (11, 3, 201)
    np.testing.assert_allclose(runs[..., -1], np.broadcast_to(fixed_point(fix, breaks), (11, 3)), atol=1e-12)
    helps = runs[..., 1] > runs[..., 0] + 1e-12
    assert (helps == (start < fixed_point(fix, breaks) - 1e-12)).all()  # a round helps exactly below the fixed point
    assert fixed_point(0.2, 0.0) == 1 and fixed_point(0.0, 0.2) == 0


@pytest.mark.parametrize(("fix", "breaks"), [(0.3, 0.05), (0.05, 0.4), (0.9, 0.8), (0.0, 0.2), (0.4, 0.0)])
def test_rates_are_recovered(fix, breaks):
    runs = [two_rate(0.2, fix, breaks, 3), two_rate(0.9, fix, breaks, 2)]
    found = fit_two_rates(runs)
    np.testing.assert_allclose(found, [fix, breaks, 0], atol=1e-9)
    np.testing.assert_allclose(fit_two_rates(runs[0][:2], breaks=breaks)[0], fix, atol=1e-9)


def test_the_published_table():
    """Huang et al. (2024), GPT-4 on GSM8K without an oracle: 95.5, 91.5, 89.0. Two rounds, two unknowns: solved by
    hand."""
    found = fit_two_rates([0.955, 0.915, 0.890])
    fix, breaks = np.linalg.solve([[0.045, -0.955], [0.085, -0.915]], [-0.040, -0.025])
    np.testing.assert_allclose(found, [fix, breaks, 0], atol=1e-9)
    assert fixed_point(found.fix, found.breaks) == pytest.approx(0.848, abs=5e-4)


def test_least_squares_inside_the_bounds():
    """CommonSenseQA, GPT-3.5: 75.8, 38.1, 41.8. Against a search over a fine grid, where unbounded least squares is
    also inside or not."""
    for run in ([0.758, 0.381, 0.418], [0.26, 0.25, 0.25], [0.5, 0.9, 0.2, 0.8], [0.1, 0.9, 0.95]):
        now, after = np.array(run[:-1]), np.array(run[1:])
        f, c = np.meshgrid(np.linspace(0, 1, 1001), np.linspace(0, 1, 1001), indexing="ij")
        loss = ((now * (1 - c[..., None]) + (1 - now) * f[..., None] - after) ** 2).sum(-1)
        found = fit_two_rates(run)
        assert 0 <= found.fix <= 1 and 0 <= found.breaks <= 1
        predicted = now * (1 - found.breaks) + (1 - now) * found.fix
        assert ((predicted - after) ** 2).sum() <= loss.min() + 1e-9
        assert found.error == pytest.approx(np.abs(predicted - after).max())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: two_rate(1.2, 0.1, 0.1, 3), "a0 must be in"),
        (lambda: two_rate(0.2, -0.1, 0.1, 3), "fix must be in"),
        (lambda: two_rate(0.2, 0.1, float("nan"), 3), "breaks must be in"),
        (lambda: two_rate(0.2, 0.1, 0.1, -1), "rounds"),
        (lambda: fixed_point(0.0, 0.0), "no single fixed point"),
        (lambda: fit_two_rates([95.5, 91.5, 89.0]), "divide by 100"),
        (lambda: fit_two_rates([0.5, 0.6]), "do not determine"),
        (lambda: fit_two_rates([0.5]), "do not determine"),
        (lambda: fit_two_rates([[0.5, 0.6], [0.5, 0.7]]), "do not determine"),
        (lambda: fit_two_rates([1.0, 0.9], breaks=0.1), "do not determine"),
    ],
)
def test_the_two_rate_model_refuses(call, words):
    with pytest.raises(ValueError, match=words):
        call()
