import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, TopKLogitsWarper, TopPLogitsWarper

from course_utils.ensembling import linear_interpolation, loglinear_interpolation, negative_evidence
from course_utils.ensembling.decoding import CachedLM, Ensemble, generate, stream, truncate

VOCAB, EOS = 17, 2


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tiny models: a second thread only waits for the first."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tiny_llama(seed, vocab=VOCAB):
    """A random model that is sure enough of itself for beams to differ, and reaches eos within a few tokens."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    rest = {"num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.3}
    config = LlamaConfig(vocab_size=vocab, bos_token_id=1, eos_token_id=EOS, pad_token_id=EOS, **sizes, **rest)
    return LlamaForCausalLM(config).eval()


def prompts(seed, batch=1, length=5, vocab=VOCAB):
    return torch.randint(3, vocab, (batch, length), generator=torch.Generator().manual_seed(seed))


def theirs(model, ids, **settings):
    return model.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=EOS, **settings)


def uncached(model):
    """The same distribution without any cache."""
    return lambda ids: model(input_ids=ids, use_cache=False).logits[:, -1].log_softmax(-1).detach()


class Counted(torch.nn.Module):
    """Records the shape of everything that is fed to the model."""

    def __init__(self, model):
        super().__init__()
        self.inner, self.config, self.shapes = model, model.config, []

    def forward(self, input_ids, **kwargs):
        self.shapes.append(tuple(input_ids.shape))
        return self.inner(input_ids=input_ids, **kwargs)


# --- one model: the tokens of transformers ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("batch", [1, 3])
def test_greedy_is_transformers_greedy(seed, batch):
    model, ids = tiny_llama(seed), prompts(seed, batch)
    expected = theirs(model, ids, max_new_tokens=20, do_sample=False)
    assert torch.equal(generate(CachedLM(model), ids, 20, eos_token_id=EOS), expected)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    ("batch", "num_beams", "length_penalty"), [(1, 4, 1.0), (1, 3, 2.0), (1, 4, -1.0), (3, 4, 0.0)]
)
def test_beam_is_transformers_beam(seed, batch, num_beams, length_penalty):
    model, ids = tiny_llama(seed), prompts(seed, batch)
    settings = {"num_beams": num_beams, "length_penalty": length_penalty}
    expected = theirs(model, ids, max_new_tokens=12, do_sample=False, **settings)
    got = generate(CachedLM(model), ids, 12, strategy="beam", eos_token_id=EOS, **settings)
    assert torch.equal(got, expected)


@pytest.mark.parametrize(("batch", "num_beams", "length_penalty"), [(1, 3, 0.3), (1, 2, 1.0), (4, 2, 1.0), (4, 3, 2.0)])
def test_beam_stops_when_transformers_does(batch, num_beams, length_penalty):
    """Few tokens, so eos is near: the search may end early, hypotheses are beaten or no longer beaten."""
    early = 0
    for seed in range(8):
        model, ids = tiny_llama(seed, vocab=8), prompts(seed, batch, vocab=8)
        counted, steps = Counted(model), []
        settings = {"num_beams": num_beams, "length_penalty": length_penalty}
        got = generate(CachedLM(counted), ids, 20, strategy="beam", eos_token_id=EOS, **settings)
        model.register_forward_hook(lambda *_, steps=steps: steps.append(1))
        assert torch.equal(got, theirs(model, ids, max_new_tokens=20, do_sample=False, **settings))
        assert len(counted.shapes) == len(steps)
        early += len(steps) < 20
    assert batch > 1 or early >= 2


def test_the_beam_cases_are_not_trivial():
    """Over the seeds above beams end by eos and by length, and differ from greedy: identity there means something."""
    lengths, differ = [], 0
    for seed in range(10):
        model, ids = tiny_llama(seed), prompts(seed)
        beam = generate(CachedLM(model), ids, 12, strategy="beam", eos_token_id=EOS)
        lengths.append(beam.shape[1] - 5)
        differ += beam.tolist() != generate(CachedLM(model), ids, 12, eos_token_id=EOS).tolist()
    assert min(lengths) < 12 and max(lengths) == 12 and differ >= 3


def test_beam_without_eos_with_two_eos_and_with_one_beam():
    model, ids = tiny_llama(3), prompts(3)
    for eos in (None, [EOS, 5]):
        expected = theirs(model, ids, max_new_tokens=8, do_sample=False, num_beams=4, eos_token_id=eos or -1)
        assert torch.equal(generate(CachedLM(model), ids, 8, strategy="beam", eos_token_id=eos), expected)
    one = generate(CachedLM(model), ids, 8, strategy="beam", num_beams=1, eos_token_id=EOS)
    assert torch.equal(one, generate(CachedLM(model), ids, 8, eos_token_id=EOS))


def test_beam_finds_the_best_sequence_when_it_is_wide_enough():
    """Exhaustive check on a tree of 3 ** 3 sequences where greedy is wrong."""
    table = torch.tensor([[0.4, 0.35, 0.25], [0.34, 0.33, 0.33], [0.05, 0.9, 0.05]]).log()

    def model(ids):
        return table[ids[:, -1]]

    best = max(
        ((a, b, c) for a in range(3) for b in range(3) for c in range(3)),
        key=lambda y: (table[0, y[0]] + table[y[0], y[1]] + table[y[1], y[2]]).item(),
    )
    assert generate(model, torch.tensor([0]), 3, strategy="beam", num_beams=9)[0, 1:].tolist() == list(best)
    assert generate(model, torch.tensor([0]), 3)[0, 1:].tolist() != list(best)


@pytest.mark.parametrize("seed", range(3))
def test_sampling_is_transformers_sampling_with_the_same_seed(seed):
    model, ids = tiny_llama(seed), prompts(seed, 2)
    settings = {"temperature": 0.8, "top_k": 9, "top_p": 0.9}
    torch.manual_seed(seed)
    expected = theirs(model, ids, max_new_tokens=10, do_sample=True, **settings)
    torch.manual_seed(seed)
    assert torch.equal(generate(CachedLM(model), ids, 10, "sample", eos_token_id=EOS, **settings), expected)


# --- the cache --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["greedy", "sample", "beam"])
def test_one_token_a_step_is_fed_after_the_prompt(strategy):
    model = Counted(tiny_llama(0))
    lm = CachedLM(model)
    generate(lm, prompts(0, batch=2), 6, strategy=strategy, num_beams=4)
    rows = 8 if strategy == "beam" else 2
    assert model.shapes == [(2, 5)] + [(rows, 1)] * 5
    assert lm.fed == 10


def test_cached_distribution_is_the_uncached_one():
    model = tiny_llama(1)
    lm, plain = CachedLM(model), uncached(model)
    ids = prompts(1, batch=2, length=9)
    for end in (3, 4, 7, 9):  # also several new tokens at once
        torch.testing.assert_close(lm(ids[:, :end]), plain(ids[:, :end]), atol=1e-5, rtol=1e-5)
    assert lm.fed == 9
    lm(ids)  # asked again: nothing to feed
    assert lm.fed == 9
    changed = ids.clone()
    changed[1, 2] = 3 if ids[1, 2] != 3 else 4
    for other in (changed, torch.cat([changed, ids[:, :1]], dim=1), ids[:1], ids[:, :4]):  # other text, rows, length
        torch.testing.assert_close(lm(other), plain(other), atol=1e-5, rtol=1e-5)


def test_reorder_moves_the_cache_with_the_rows():
    model = Counted(tiny_llama(2))
    lm, ids = CachedLM(model), prompts(2, batch=3)
    lm.reorder(torch.tensor([1]))  # nothing seen yet: nothing to do
    lm(ids)
    rows = torch.tensor([2, 0, 0, 1])
    lm.reorder(rows)
    longer = torch.cat([ids[rows], torch.tensor([[3], [4], [5], [6]])], dim=1)
    torch.testing.assert_close(lm(longer), uncached(model.inner)(longer), atol=1e-5, rtol=1e-5)
    assert model.shapes == [(3, 5), (4, 1)]


def test_a_failed_call_leaves_no_stale_cache():
    class Failing(Counted):
        def forward(self, input_ids, **kwargs):
            out = super().forward(input_ids, **kwargs)
            if len(self.shapes) == 2:
                raise KeyboardInterrupt
            return out

    model, ids = Failing(tiny_llama(2)), prompts(2, length=6)
    lm = CachedLM(model)
    lm(ids[:, :4])
    with pytest.raises(KeyboardInterrupt):
        lm(ids[:, :5])
    torch.testing.assert_close(lm(ids), uncached(model.inner)(ids), atol=1e-5, rtol=1e-5)


# --- several models ---------------------------------------------------------------------------------------------------

COMBINE = {
    "linear": lambda lp: linear_interpolation(lp, [0.5, 0.3, 0.2]),
    "loglinear": lambda lp: loglinear_interpolation(lp, [1.0, 0.7, -0.4]),
    "dexperts": lambda lp: negative_evidence(*lp, lam=1.5, top_p=0.9),
}


def bigram(ids):
    return torch.randn(VOCAB, VOCAB, generator=torch.Generator().manual_seed(0)).log_softmax(-1)[ids[:, -1]]


@pytest.mark.parametrize("rule", COMBINE)
@pytest.mark.parametrize("strategy", ["greedy", "sample", "beam"])
def test_a_cached_ensemble_generates_what_the_uncached_combination_does(rule, strategy):
    a, b = Counted(tiny_llama(1)), Counted(tiny_llama(2))
    ids = prompts(5, batch=2)

    def run(members):
        generator = torch.Generator().manual_seed(0)
        return generate(Ensemble(members, COMBINE[rule]), ids, 10, strategy, eos_token_id=EOS, generator=generator)

    got = run([CachedLM(a), bigram, CachedLM(b)])  # a plain function among the members
    assert torch.equal(got, run([uncached(a.inner), bigram, uncached(b.inner)]))
    for member in (a, b):
        assert [shape[1] for shape in member.shapes] == [5] + [1] * (len(member.shapes) - 1)


def test_one_hot_ensemble_is_the_member_and_one_member_twice_keeps_its_cache():
    model = Counted(tiny_llama(4))
    lm, ids = CachedLM(model), prompts(4)
    alone = generate(lm, ids, 8, strategy="beam", eos_token_id=EOS)
    model.shapes.clear()
    twice = Ensemble([CachedLM(model)] * 2, lambda lp: linear_interpolation(lp, [0.5, 0.5]))
    assert torch.equal(generate(twice, ids, 8, strategy="beam", eos_token_id=EOS), alone)
    assert {shape[1] for shape in model.shapes[1:]} == {1}
    one_hot = Ensemble([bigram, lm], lambda lp: linear_interpolation(lp, [0.0, 1.0]))
    assert torch.equal(generate(one_hot, ids, 8, strategy="beam", eos_token_id=EOS), alone)


def test_zero_probabilities_are_never_generated():
    """Members with -inf, as the unsmoothed n-gram: every strategy keeps to the support, with many beams too."""
    forbidden = torch.zeros(VOCAB).index_fill(0, torch.tensor([0, 5, 7]), 1).bool()

    def alternate(ids):  # only one token is possible after an even one
        allowed = torch.full((len(ids), VOCAB), -torch.inf)
        allowed[:, ~forbidden] = torch.arange(14.0).log_softmax(0)
        even = ids[:, -1] % 2 == 0
        allowed[even] = torch.full((VOCAB,), -torch.inf).index_fill(0, torch.tensor([9]), 0.0)
        return allowed

    for strategy in ("greedy", "sample", "beam"):
        out = generate(alternate, torch.tensor([[4], [3]]), 12, strategy, num_beams=5)[:, 1:]
        assert not forbidden[out].any()
        assert (out[:, 1:][out[:, :-1] % 2 == 0] == 9).all() and out[0, 0] == 9


def test_vocabularies_must_agree():
    lm = Ensemble([CachedLM(tiny_llama(0)), CachedLM(tiny_llama(0, vocab=19))], lambda lp: lp[0])
    with pytest.raises(ValueError, match=r"different vocabularies \[17, 19\]"):
        generate(lm, prompts(0), 3)
    with pytest.raises(ValueError, match="at least one member"):
        Ensemble([], lambda lp: lp[0])


# --- sampling ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings", [{}, {"temperature": 0.5}, {"top_k": 3}, {"top_p": 0.7}, {"temperature": 2.0, "top_k": 4, "top_p": 0.6}]
)
def test_samples_follow_the_truncated_distribution(settings):
    log_probs = torch.tensor([0.35, 0.25, 0.2, 0.12, 0.08]).log()
    n = 20000
    generator = torch.Generator().manual_seed(1)
    start = torch.zeros(n, 1).long()
    ids = generate(lambda ids: log_probs.expand(len(ids), 5), start, 1, "sample", generator=generator, **settings)
    scores = log_probs[None] / settings.get("temperature", 1.0)  # transformers' order: temperature, top-k, top-p
    if "top_k" in settings:
        scores = TopKLogitsWarper(settings["top_k"])(None, scores)
    if "top_p" in settings:
        scores = TopPLogitsWarper(settings["top_p"])(None, scores)
    expected = scores.softmax(-1)[0]
    observed = torch.bincount(ids[:, 1], minlength=5) / n
    assert (observed[expected == 0] == 0).all()
    sigma = (expected * (1 - expected) / n).sqrt()
    assert ((observed - expected).abs() <= 4.5 * sigma).all()


@pytest.mark.parametrize("seed", range(5))
def test_truncate_is_transformers_filter(seed):
    log_probs = 2 * torch.randn(4, 50, generator=torch.Generator().manual_seed(seed))
    for temperature, k, p in [(1.0, 10, 1.0), (0.7, 50, 0.9), (1.5, 12, 0.5), (1.0, 1, 0.3), (1.0, 500, 0.01)]:
        expected = TopPLogitsWarper(p)(None, TopKLogitsWarper(k)(None, log_probs / temperature)).log_softmax(-1)
        torch.testing.assert_close(truncate(log_probs, temperature, k, p), expected)


def test_seed_reproduces_the_text_and_lam_zero_reproduces_the_core():
    core, ids = tiny_llama(1), prompts(1)

    def sample(lm, seed):
        return generate(lm, ids, 12, "sample", generator=torch.Generator().manual_seed(seed)).tolist()

    assert sample(CachedLM(core), 3) == sample(CachedLM(core), 3)
    assert len({str(sample(CachedLM(core), seed)) for seed in range(5)}) > 1
    steered = Ensemble([CachedLM(core), CachedLM(tiny_llama(2)), bigram], lambda lp: negative_evidence(*lp, lam=0.0))
    assert sample(steered, 3) == sample(CachedLM(core), 3)


# --- stream -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"strategy": "greedy"}, {"strategy": "sample", "temperature": 0.9, "top_k": 8}])
def test_stream_yields_what_generate_returns(settings):
    for seed in range(4):
        model, ids = tiny_llama(seed), prompts(seed)

        def both(function, model=model, ids=ids):
            generator = torch.Generator().manual_seed(7)
            return function(CachedLM(model), ids, 15, eos_token_id=EOS, generator=generator, **settings)

        tokens = list(both(stream))
        assert all(type(token) is int for token in tokens)
        assert tokens == both(generate)[0, 5:].tolist()
        assert EOS not in tokens[:-1]


def test_stream_computes_on_demand_and_holds_no_gradient():
    model = Counted(tiny_llama(0))
    tokens = stream(CachedLM(model), prompts(0)[0], 10)
    assert model.shapes == []
    next(tokens), next(tokens)
    assert len(model.shapes) == 2
    assert torch.is_grad_enabled()


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt_ids": torch.zeros(1, 0).long()}, "at least one token"),
        ({"prompt_ids": torch.zeros(1, 2, 3).long()}, "batch, tokens"),
        ({"prompt_ids": torch.zeros(1, 2)}, "torch.long"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"strategy": "magic"}, "unknown strategy"),
        ({"strategy": "greedy", "temperature": 0.5}, "belong to strategy='sample'"),
        ({"strategy": "beam", "top_k": 5}, "belong to strategy='sample'"),
        ({"strategy": "beam", "num_beams": 0}, "num_beams"),
        ({"strategy": "sample", "temperature": 0.0}, "temperature"),
        ({"strategy": "sample", "top_k": 0}, "top_k"),
        ({"strategy": "sample", "top_p": 1.5}, "top_p"),
        ({"next_log_probs": lambda ids: torch.zeros(5)}, "batch, vocabulary"),
        ({"next_log_probs": lambda ids: torch.full((1, 5), torch.nan)}, "NaN"),
    ],
)
def test_errors_are_one_clear_line(settings, message):
    arguments = {"next_log_probs": bigram, "prompt_ids": prompts(0), "max_new_tokens": 3} | settings
    with pytest.raises(ValueError, match=message) as error:
        generate(**arguments)
    assert "\n" not in str(error.value)


def test_stream_tells_its_errors_at_once():
    with pytest.raises(ValueError, match="one prompt"):
        stream(bigram, prompts(0, batch=2), 3)
    with pytest.raises(ValueError, match="unknown strategy"):
        stream(bigram, prompts(0), 3, strategy="beam")
