"""Speculative decoding is exact: the law of what comes out is computed by trying all choices of the real code."""

import math
from itertools import product

import pytest
import torch
from hypothesis import given
from random_models import properties, random_members, seeds
from test_decoding import EOS, VOCAB, Counted, one_thread, prompts, tiny_llama  # noqa: F401  (a fixture)

from course_utils.ensembling import NGramLM, linear_interpolation
from course_utils.ensembling.decoding import generate
from course_utils.ensembling.speculative import (
    CachedRows,
    acceptance,
    accepted_share,
    accepted_tokens,
    best_gamma,
    cascade_target,
    combined,
    each_prefix,
    residual,
    speculate,
    speed,
    tokens_per_pass,
)

# --- small models whose every conditional distribution is a table ----------------------------------------------------

WORDS = 3


def table_model(seed, zeros=False, words=WORDS):
    """rows(ids, last) of a random model that looks at the last two tokens, in float64."""
    table = random_members(seed, 1, (words, words), words, zeros)[0]

    def rows(ids, last=1):
        ends = range(len(ids) - last, len(ids))
        return torch.stack([table[ids[t - 1] if t else 0, ids[t]] for t in ends])

    return rows


def law_of(model, n, eos=None, start=0):
    """{tokens: probability} of all continuations by n tokens, one after the other: what must come out."""
    done, found = {(): 1.0}, {}
    for _ in range(n):
        longer = {}
        for text, mass in done.items():
            p = model(torch.tensor([start, *text]), 1)[0].exp().tolist()
            for word, share in enumerate(p):
                where = found if word == eos else longer
                where[*text, word] = where.get((*text, word), 0) + mass * share
        done = longer
    return {text: mass for text, mass in {**found, **done}.items() if mass}


class Replayed:
    """choose(probs) that replays choices and then takes the first that is possible; it notes the others."""

    def __init__(self, path):
        self.path, self.made, self.mass, self.others = path, (), 1.0, []

    def __call__(self, probs):
        options = [i for i, p in enumerate(probs.tolist()) if p > 0]
        index = options[0]
        if len(self.made) < len(self.path):
            index = self.path[len(self.made)]
        else:
            self.others += [(*self.made, other) for other in options[1:]]
        self.made, self.mass = (*self.made, index), self.mass * probs[index].item()
        return index


def law_of_code(run):
    """{result: probability} of run(choose), which gets all its chance from choose(probs): every path is tried once."""
    found, paths = {}, [()]
    while paths:
        choose = Replayed(paths.pop())
        result = run(choose)
        found[result] = found.get(result, 0) + choose.mass
        paths += choose.others
    return found


def same_law(got, wanted):
    assert got.keys() <= wanted.keys()
    for text, mass in wanted.items():
        assert got.get(text, 0) == pytest.approx(mass, abs=1e-9), text


def spoken(target, draft, n, **settings):
    start = torch.tensor([0])
    return lambda choose: tuple(speculate(target, draft, start, n, choose=choose, **settings).ids[1:].tolist())


@pytest.mark.parametrize("gamma", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_the_law_is_the_targets(seed, gamma):
    target, draft = table_model(seed), table_model(100 + seed)
    same_law(law_of_code(spoken(target, draft, 3, gamma=gamma)), law_of(target, 3))


def test_the_law_of_every_prefix_is_the_targets():
    target, draft = table_model(5), table_model(6)
    law = law_of_code(spoken(target, draft, 4, gamma=2))
    for n in (1, 2, 3):
        prefixes = {}
        for text, mass in law.items():
            prefixes[text[:n]] = prefixes.get(text[:n], 0) + mass
        same_law(prefixes, law_of(target, n))


@pytest.mark.parametrize("seed", range(4))
def test_zeros_in_the_draft_and_in_the_target(seed):
    target, draft = table_model(seed, zeros=True), table_model(50 + seed, zeros=True)
    same_law(law_of_code(spoken(target, draft, 3, gamma=2)), law_of(target, 3))


@pytest.mark.parametrize("gamma", [1, 3])
def test_the_end_of_text(gamma):
    target, draft = table_model(8), table_model(9)
    law = law_of_code(spoken(target, draft, 3, gamma=gamma, eos_token_id=1))
    same_law(law, law_of(target, 3, eos=1))
    assert all(1 not in text[:-1] for text in law)


def test_a_temperature_is_applied_to_both():
    target, draft = table_model(10), table_model(11)
    cool = lambda ids, last: (target(ids, last) / 0.5).log_softmax(-1)  # noqa: E731
    same_law(law_of_code(spoken(target, draft, 3, gamma=2, temperature=0.5)), law_of(cool, 3))


def test_an_ensemble_is_decoded_exactly():
    target, draft = table_model(12), table_model(13)
    mixture = combined([target, draft], lambda log_probs: linear_interpolation(log_probs, [0.6, 0.4]))
    same_law(law_of_code(spoken(mixture, draft, 3, gamma=2)), law_of(mixture, 3))


@pytest.mark.parametrize("gamma", [1, 2])
def test_a_cascade_is_exact_for_its_own_distribution(gamma):
    target, draft, threshold = table_model(14), table_model(15), 0.5

    def cascade(ids, last):
        return cascade_target(target(ids, last).exp(), draft(ids, last).exp(), threshold).log()

    run = spoken(target, draft, 3, gamma=gamma, towards=lambda p, q: cascade_target(p, q, threshold))
    same_law(law_of_code(run), law_of(cascade, 3))
    with pytest.raises(AssertionError):  # which is not the target's
        same_law(law_of(cascade, 3), law_of(target, 3))


def test_one_token_of_many_runs_by_chi_squared():
    """The generator's draws, not the enumeration: 2,000 runs of three tokens, 26 degrees of freedom."""
    target, draft, runs = table_model(20), table_model(21), 2000
    generator, counts = torch.Generator().manual_seed(0), {}
    for _ in range(runs):
        text = tuple(speculate(target, draft, torch.tensor([0]), 3, 2, generator=generator).ids[1:].tolist())
        counts[text] = counts.get(text, 0) + 1

    def chi_squared(model):
        law = law_of(model, 3)
        return sum((counts.get(text, 0) - runs * mass) ** 2 / (runs * mass) for text, mass in law.items())

    assert chi_squared(target) < 54.1  # the 0.1 % point
    assert chi_squared(draft) > 500  # the test can fail


# --- the rule --------------------------------------------------------------------------------------------------------


@properties
@given(seeds)
def test_accept_and_residual_give_p_for_any_q(seed):
    p, q = random_members(seed, 2, (4,), 6, zeros=seed % 2 == 0).exp()
    words = torch.arange(6).expand(4, 6)
    kept = torch.stack([q[:, y] * acceptance(p, q, words[:, y]) for y in range(6)], 1).nan_to_num(0)  # q = 0: never
    rejected = 1 - kept.sum(1, keepdim=True)
    torch.testing.assert_close(kept + rejected * residual(p, q), p)
    torch.testing.assert_close(kept.sum(1), accepted_share(p, q))


@properties
@given(seeds)
def test_the_accepted_share_is_one_minus_total_variation(seed):
    p, q = random_members(seed, 2, (5,), 7, zeros=True).exp()
    torch.testing.assert_close(accepted_share(p, q), 1 - (p - q).abs().sum(-1) / 2)


def test_equal_distributions_are_never_rejected():
    model = table_model(3)
    p = model(torch.tensor([0]), 1)[0].exp()
    assert torch.equal(residual(p, p), p)
    assert acceptance(p, p, torch.tensor(1)) == 1
    for seed in range(20):
        found = speculate(model, model, torch.tensor([0]), 9, 2, generator=torch.Generator().manual_seed(seed))
        assert (found.new, found.passes, found.proposed, found.accepted) == (9, 3, 6, 6) and found.share == 1


def test_a_word_that_the_draft_never_proposes_comes_by_the_residual():
    p, q = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.0, 0.5, 0.5])
    torch.testing.assert_close(residual(p, q), torch.tensor([1.0, 0.0, 0.0]))
    assert acceptance(p, q, torch.tensor(2)) == 0 and acceptance(p, q, torch.tensor(1)) == 1


def test_tokens_after_a_rejected_one_do_not_count():
    p = torch.tensor([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5]])
    q = torch.full((3, 2), 0.5)
    uniforms = torch.tensor([[0.3, 0.1, 0.5], [0.3, 0.3, 0.5], [0.9, 0.9, 0.9], [0.0, 0.0, 0.0]])
    found = accepted_tokens(p.expand(4, 3, 2), q.expand(4, 3, 2), torch.tensor([0, 0, 1]).expand(4, 3), uniforms)
    assert found.tolist() == [3, 1, 1, 3]


def test_tokens_per_pass_and_speed():
    for alpha, gamma in product((0.0, 0.3, 0.9), (0, 1, 4)):
        assert tokens_per_pass(alpha, gamma) == pytest.approx((1 - alpha ** (gamma + 1)) / (1 - alpha))
    assert tokens_per_pass(1.0, 4) == 5 and tokens_per_pass(0.0, 4) == 1
    assert speed(0.8, 5, 0.05) == pytest.approx((1 - 0.8**6) / (0.2 * 1.25))
    assert speed(0.8, 5, 0.05, 0.2) == pytest.approx((1 - 0.8**6) / (0.2 * 2.25))
    for alpha, gamma in ((-0.1, 2), (1.1, 2), (0.5, -1)):
        with pytest.raises(ValueError, match="alpha must be in"):
            tokens_per_pass(alpha, gamma)


def test_the_best_number_of_proposals():
    assert best_gamma(0.3, 0.01, 0.4, 8) == 0  # does not pay at all
    assert best_gamma(0.99, 0.01, 0.0, 8) == 8 and best_gamma(1.0, 0.5, 0.5, 8) == 0  # free; no faster than without
    speeds = [speed(0.8, gamma, 0.05, 0.05) for gamma in range(13)]
    assert speeds[best_gamma(0.8, 0.05, 0.05, 12)] == max(speeds) and 0 < best_gamma(0.8, 0.05, 0.05, 12) < 12


def test_tokens_per_pass_is_what_decoding_needs():
    """Models without memory: each proposed token is kept with the same chance."""
    p, q = random_members(4, 2, (), 5)
    target, draft = (lambda ids, last, row=row: row.expand(last, -1) for row in (p, q))
    found = speculate(target, draft, torch.tensor([0]), 6000, 3, generator=torch.Generator().manual_seed(1))
    alpha = accepted_share(p.exp(), q.exp()).item()
    assert found.share == pytest.approx(alpha, abs=0.03)
    assert found.new / found.passes == pytest.approx(tokens_per_pass(alpha, 3), rel=0.03)


def test_a_mixture_with_the_draft_accepts_more():
    p, q = random_members(7, 2, (5,), 6).exp()
    for lam in (0.0, 0.3, 1.0):
        share = accepted_share((1 - lam) * p + lam * q, q)
        torch.testing.assert_close(share, 1 - (1 - lam) * (1 - accepted_share(p, q)))


def test_what_a_cascade_costs():
    p, q = random_members(8, 2, (50,), 6, scale=1.0).exp()
    mixed = cascade_target(p, q, 0.5)
    sure = q.amax(-1) >= 0.5
    assert 0 < sure.sum() < 50
    assert torch.equal(mixed[sure], q[sure]) and torch.equal(mixed[~sure], p[~sure])
    torch.testing.assert_close(1 - accepted_share(mixed, p), (1 - accepted_share(p, q)) * sure)
    assert torch.equal(cascade_target(p, q, 1.01), p) and torch.equal(cascade_target(p, q, 0.0), q)


# --- transformers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("gamma", [1, 2, 5])
def test_greedy_is_transformers_greedy(seed, gamma):
    model, draft, ids = tiny_llama(seed), tiny_llama(seed + 1), prompts(seed)
    settings = {"do_sample": False, "max_new_tokens": 20, "pad_token_id": EOS}
    theirs = model.generate(ids, attention_mask=torch.ones_like(ids), **settings)[0]
    for drafter in (CachedRows(draft), each_prefix(NGramLM(2, VOCAB).fit([theirs.tolist()]))):
        found = speculate(CachedRows(model), drafter, ids[0], 20, gamma, temperature=0, eos_token_id=EOS)
        assert found.ids.tolist() == theirs.tolist()
        assert found.new == len(theirs) - ids.shape[1] and found.passes <= found.new


def test_a_draft_that_knows_the_text_saves_passes():
    model, ids = tiny_llama(3), prompts(3)
    theirs = generate(each_row(model), ids, 16)[0]
    knows = lambda text, last: torch.nn.functional.one_hot(theirs[len(text)], VOCAB)[None].double().log()  # noqa: E731
    found = speculate(CachedRows(model), knows, ids[0], 16, 3, temperature=0)
    assert found.ids.tolist() == theirs.tolist() and found.passes == 4 and found.accepted == found.proposed == 12


def each_row(model):
    return lambda ids: model(input_ids=ids, use_cache=False).logits[:, -1].log_softmax(-1).detach()


def test_cached_rows_are_the_models_and_each_position_is_fed_once():
    counted = Counted(tiny_llama(1))
    rows, ids = CachedRows(counted), prompts(1, 1, 12)[0]
    other = torch.cat([ids[:8], (ids[8:] - 2) % VOCAB])  # from position 8 on it is another text
    for text, last, fed in ((ids[:6], 1, 6), (ids[:10], 4, 4), (other[:10], 2, 2), (ids[:12], 3, 4), (ids[:12], 2, 2)):
        got = rows(text, last)
        full = counted.inner(input_ids=text[None], use_cache=False).logits[0, -last:].log_softmax(-1)
        torch.testing.assert_close(got, full.detach(), atol=1e-5, rtol=1e-5)
        assert counted.shapes[-1] == (1, fed)
    assert (rows.calls, rows.fed) == (5, 18)
    with pytest.raises(ValueError, match="last must be from 1"):
        rows(ids, 13)


def test_each_prefix_of_an_ngram():
    ngram = NGramLM(3, WORDS).fit([[0, 1, 2, 0, 1]])
    ids = torch.tensor([0, 1, 2, 0])
    got = each_prefix(ngram.next_log_probs)(ids, 3)
    torch.testing.assert_close(got, torch.stack([ngram.next_log_probs(ids[None, :t])[0] for t in (2, 3, 4)]))


def test_what_is_refused():
    model, ids = table_model(1), torch.tensor([0])
    for settings, words in (({"gamma": 0}, "gamma must"), ({"temperature": -1.0}, "temperature at least 0")):
        with pytest.raises(ValueError, match=words):
            speculate(model, model, ids, 2, **settings)
    for prompt in (ids[None], ids[:0]):
        with pytest.raises(ValueError, match="one row of at least one id"):
            speculate(model, model, prompt, 2)
    four = lambda text, last: torch.full((last, 4), math.log(0.25))  # noqa: E731
    with pytest.raises(ValueError, match="vocabularies of 4 and 3"):
        speculate(four, model, ids, 3)
    with pytest.raises(ValueError, match="at least one member"):
        combined([], lambda log_probs: log_probs[0])
    nothing = speculate(model, model, ids, 0)
    assert nothing.ids.tolist() == [0] and nothing.passes == 0 and math.isnan(nothing.share)
