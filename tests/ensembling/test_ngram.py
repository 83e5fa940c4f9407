from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils.ensembling.ngram import NGramLM

VOCAB = 6
properties = settings(max_examples=60, deadline=None, derandomize=True)
corpora = st.lists(st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=12), min_size=1, max_size=6)
orders = st.integers(1, 4)
bos_ids = st.sampled_from([None, 0])


def reference(corpus, order, history, smoothing, bos_id=None):
    """The recursion of the docstring with dictionaries, one token at a time; returns a list of V probabilities."""
    bos = "BOS" if bos_id is None else bos_id

    def strip(text):
        text = list(text)
        while text and text[0] == bos:
            text.pop(0)
        return text

    raw = [Counter() for _ in range(order + 1)]
    for text in map(strip, corpus):
        padded = [bos] * (order - 1) + text
        for i in range(order - 1, len(padded)):
            for k in range(1, order + 1):
                raw[k][tuple(padded[i - k + 1 : i + 1])] += 1

    def adjusted(k):
        if k == order or smoothing == "mle":
            return raw[k]
        left = defaultdict(set)
        for gram in raw[k + 1]:
            left[gram[1:]].add(gram[0])
        return {gram: raw[k][gram] if gram[0] == bos else len(left[gram]) for gram in raw[k]}

    def prob(word, context):
        k = len(context) + 1
        counts = adjusted(k)
        seen = {gram[-1]: c for gram, c in counts.items() if gram[:-1] == context}
        lower = 1 / VOCAB if k == 1 else prob(word, context[1:])
        if not seen:
            return lower
        total = sum(seen.values())
        if smoothing == "mle":
            return seen.get(word, 0) / total
        n1, n2 = (sum(c == n for c in counts.values()) for n in (1, 2))
        discount = n1 / (n1 + 2 * n2) if n1 and n2 else 0.5
        return max(seen.get(word, 0) - discount, 0) / total + discount * len(seen) / total * lower

    context = tuple(([bos] * order + list(history))[-(order - 1) :]) if order > 1 else ()
    return [prob(word, context) for word in range(VOCAB)]


texts = st.lists(st.integers(0, VOCAB - 1), max_size=5)


@properties
@given(corpora, orders, st.sampled_from(["kneser-ney", "mle"]), bos_ids, texts)
def test_equals_the_dictionary_reference(corpus, order, smoothing, bos_id, text):
    corpus = corpus + [[1, 2]]  # never nothing but BOS
    lm = NGramLM(order, VOCAB, bos_id, smoothing).fit(corpus)
    text = text + [3]
    expected = torch.tensor([reference(corpus, order, text[:t], smoothing, bos_id) for t in range(len(text))])
    got = lm.log_probs(text)
    torch.testing.assert_close(got.exp(), expected, atol=2e-7, rtol=1e-5)
    assert torch.equal(got.isneginf(), expected == 0)  # zeros are real zeros
    torch.testing.assert_close(got.double().exp().sum(1), torch.ones(len(text), dtype=torch.float64), atol=1e-6, rtol=0)
    # The quick path and the batched path are the same numbers.
    chosen = got.gather(1, torch.tensor(text)[:, None])[:, 0]
    torch.testing.assert_close(lm.token_log_probs(text), chosen, atol=1e-5, rtol=1e-5)
    for t in range(len(text)):
        torch.testing.assert_close(lm.next_log_probs(torch.tensor([text[:t]], dtype=torch.long))[0], got[t])


def test_hand_calculation():
    """'a b a c' as a bigram model: every number by hand."""
    a, b, c = 0, 1, 2
    lm = NGramLM(order=2, vocab_size=3).fit([[a, b, a, c]])
    # Bigrams BOS a, a b, b a, a c: n1 = 4, n2 = 0, so D_2 = 0.5.
    # Left neighbours: a {BOS, b} = 2, b {a} = 1, c {a} = 1: n1 = 2, n2 = 1, D_1 = 2 / 4 = 0.5.
    p_a, p_b, p_c = 1.5 / 4 + 1.5 / 12, 0.5 / 4 + 1.5 / 12, 0.5 / 4 + 1.5 / 12
    after_a = [0.5 * p_a, 0.25 + 0.5 * p_b, 0.25 + 0.5 * p_c]
    torch.testing.assert_close(lm.next_log_probs(torch.tensor([[a]])).exp(), torch.tensor([after_a]))
    # c was never followed by anything: the unigram distribution
    torch.testing.assert_close(lm.next_log_probs(torch.tensor([[c]])).exp(), torch.tensor([[p_a, p_b, p_c]]))


def test_mle_has_real_zeros_and_only_an_unseen_context_falls_back():
    lm = NGramLM(order=3, vocab_size=4, smoothing="mle").fit([[0, 1, 2], [0, 1, 1]])
    torch.testing.assert_close(lm.next_log_probs(torch.tensor([[0, 1]])).exp(), torch.tensor([[0, 0.5, 0.5, 0]]))
    # (3, 1) was never seen, so P(. | 1): after 1 came 2, 1
    torch.testing.assert_close(lm.next_log_probs(torch.tensor([[3, 1]])).exp(), torch.tensor([[0, 0.5, 0.5, 0]]))
    # neither (3, 3) nor (3): relative frequencies of the tokens
    torch.testing.assert_close(lm.next_log_probs(torch.tensor([[3, 3]])).exp(), torch.tensor([[2, 3, 1, 0]]) / 6)
    assert lm.token_log_probs([0, 1, 0])[2] == -torch.inf


def test_backoff_counts_different_histories_not_occurrences():
    """'San Francisco': frequent, but after one word only, so in a new context it is not expected."""
    san, francisco, glasses, rare = 0, 1, 2, 11
    corpus = [[san, francisco]] * 20 + [[x, glasses] for x in range(3, 9)]
    after_rare = NGramLM(order=2, vocab_size=12).fit(corpus).next_log_probs(torch.tensor([[rare]]))[0]
    unigram = NGramLM(order=1, vocab_size=12).fit(corpus).next_log_probs(torch.tensor([[rare]]))[0]
    assert unigram[francisco] > unigram[glasses]
    assert after_rare[francisco] < after_rare[glasses]


def test_counts_after_bos_stay_raw():
    """Nothing stands before BOS, so (BOS, w) cannot count left neighbours: else all first words would be alike."""
    corpus = [[1, 2], [1, 3], [1, 2], [4]]
    first = NGramLM(order=3, vocab_size=VOCAB).fit(corpus).next_log_probs(torch.zeros(1, 0).long())[0].exp()
    torch.testing.assert_close(first, torch.tensor(reference(corpus, 3, [], "kneser-ney")))
    # (BOS BOS .): 3 and 1 of 4, (BOS .): the same; D_3 = 4 / (4 + 2 * 1), D_2 = 3 / (3 + 2 * 0) -> 0.5 for want of twos
    assert first[1] == pytest.approx(reference(corpus, 3, [], "kneser-ney")[1]) and first[1] > 3 * first[4]


def test_bos_in_the_text_or_not_makes_no_difference():
    with_bos = NGramLM(3, VOCAB, bos_id=5).fit([[5, 0, 1, 2], [5, 5, 3]])
    without = NGramLM(3, VOCAB, bos_id=5).fit([[0, 1, 2], [3], [5]])
    for text in ([5, 0], [0], [5], [5, 5, 0]):
        stripped = torch.tensor([[token for token in text if token != 5]], dtype=torch.long)
        assert torch.equal(with_bos.next_log_probs(torch.tensor([text])), without.next_log_probs(stripped))
    assert with_bos.next_log_probs(torch.tensor([[5]]))[0].argmax() in (0, 3)


def markov_texts(seed, texts=60, length=60, vocab=50):
    """Zipf-like words whose successors are few."""
    rng = np.random.default_rng(0)
    table = rng.dirichlet(np.full(vocab, 0.05) + 0.5 / np.arange(1, vocab + 1), size=vocab)
    rng = np.random.default_rng(seed)
    for _ in range(texts):
        text = [int(rng.integers(vocab))]
        while len(text) < length:
            text.append(int(rng.choice(vocab, p=table[text[-1]])))
        yield text


def test_held_out_perplexity_beats_mle_with_uniform():
    train, held_out = list(markov_texts(1, 30)), list(markov_texts(2))

    def perplexity(lm, uniform=0.0):
        p = torch.cat([lm.token_log_probs(text) for text in held_out]).double().exp()
        return torch.exp(-((1 - uniform) * p + uniform / 50).log().mean()).item()

    kneser_ney = perplexity(NGramLM(3, 50).fit(train))
    mle = NGramLM(3, 50, smoothing="mle").fit(train)
    best_mle = min(perplexity(mle, u) for u in (0.01, 0.05, 0.1, 0.2, 0.3, 0.5))
    assert kneser_ney < 0.9 * best_mle
    assert best_mle < 50
    assert perplexity(mle) == np.inf
    assert kneser_ney < perplexity(NGramLM(1, 50).fit(train))


def test_full_vocabulary_of_smollm2():
    lm = NGramLM(order=3).fit([[49151, 0, 49150], [49151, 0, 7]])
    dist = lm(torch.tensor([[49151, 0], [3, 3]]))
    assert dist.shape == (2, 49152) and dist.dtype == torch.float32
    torch.testing.assert_close(dist.double().exp().sum(1), torch.ones(2, dtype=torch.float64), atol=1e-6, rtol=0)
    assert dist[0].topk(2).indices.sort().values.tolist() == [7, 49150]
    NGramLM(order=4).fit([[49151] * 5])  # still fits in 63 bits


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: NGramLM(smoothing="laplace"), "unknown smoothing"),
        (lambda: NGramLM(order=0), "do not fit"),
        (lambda: NGramLM(order=5), "do not fit"),
        (lambda: NGramLM(3, 10, bos_id=10), "bos_id"),
        (lambda: NGramLM(3, 10).fit([]), "no tokens"),
        (lambda: NGramLM(3, 10).fit([[], []]), "no tokens"),
        (lambda: NGramLM(3, 10).fit([[1, 10]]), "right tokenizer"),
        (lambda: NGramLM(3, 10).fit([[0.5]]), "right tokenizer"),
        (lambda: NGramLM(3, 10).next_log_probs(torch.tensor([[1]])), "fit"),
        (lambda: NGramLM(3, 10).fit([[1]]).next_log_probs(torch.tensor([1])), "batch, tokens"),
        (lambda: NGramLM(3, 10).fit([[1]]).next_log_probs(torch.tensor([[-1]])), "right tokenizer"),
    ],
)
def test_errors_say_what_to_do(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
