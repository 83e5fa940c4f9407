"""Next-byte probabilities from tokens: compared with sums over all tokenisations, written down one by one."""

import math
import random
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_models import properties, random_members, seeds
from test_decoding import Counted, one_thread, tiny_llama  # noqa: F401  (a fixture)

from course_utils.ensembling import linear_interpolation
from course_utils.ensembling.across_vocabularies import (
    END,
    ByteModel,
    bits_per_byte,
    cover,
    letters_as_bytes,
    mix_bytes,
    next_byte,
)
from course_utils.ensembling.tree_rows import TreeRows, token_pieces

PIECES = (b"", b"a", b"b", b"ab", b"ba", b"aba")  # token 0 ends a text


def vocabulary(seed):
    """Random pieces over the bytes a and b: both bytes, the end, and some longer ones in any order."""
    longer = [bytes(text) for n in (2, 3) for text in product(b"ab", repeat=n)]
    pieces = [b"", b"a", b"b", *random.Random(seed).sample(longer, 4)]
    random.Random(seed + 1).shuffle(pieces)
    return tuple(pieces)


def table_model(seed, size=6, zeros=False):
    """rows(sequences) of a random model that looks at the last two tokens, in float64."""
    table = random_members(seed, 1, (size + 1, size + 1), size, zeros)[0]

    def rows(sequences):
        return torch.stack([table[(size, size, *s)[-2:]] for s in sequences])

    return rows


def exact(rows, pieces):
    return ByteModel(rows, pieces, beam=None, floor=0.0)


def probability_of(tokens, rows):
    return math.exp(sum(float(rows([tokens[:i]])[0][token]) for i, token in enumerate(tokens)))


def mass_of_prefix(prefix, rows, pieces):
    """P(a text begins with the prefix): the sum over the enumerated cover."""
    return sum(probability_of(tokens, rows) for tokens in cover(prefix, pieces))


def mass_of_text(text, rows, pieces):
    """P(exactly this text): the sum over its tokenisations, each followed by a token without bytes."""
    ends = [i for i, piece in enumerate(pieces) if not piece]
    whole = [t for t in cover(text, pieces) if b"".join(pieces[i] for i in t) == text]
    return sum(probability_of((*tokens, end), rows) for tokens in whole for end in ends)


def test_a_cover_written_down():
    assert cover(b"ab", PIECES) == [(1, 2), (1, 4), (3,), (5,)]  # a|b, a|ba, ab, aba
    assert cover(b"", PIECES) == [()] and cover(b"c", PIECES) == []


@properties
@given(seeds, st.text("ab", min_size=1, max_size=5))
def test_a_cover_is_what_its_definition_says(seed, text):
    prefix, pieces = text.encode(), vocabulary(seed)

    def written(tokens):
        return b"".join(pieces[i] for i in tokens)

    tokens_with_bytes = [i for i, piece in enumerate(pieces) if piece]
    wanted = [
        tokens
        for n in range(1, len(prefix) + 1)
        for tokens in product(tokens_with_bytes, repeat=n)
        if written(tokens).startswith(prefix) and not written(tokens[:-1]).startswith(prefix)
    ]
    assert cover(prefix, pieces) == sorted(wanted)


@properties
@given(seeds, st.text("ab", max_size=6))
def test_next_bytes_are_quotients_of_covers(seed, text):
    text, pieces = text.encode(), vocabulary(seed)
    rows = table_model(seed, len(pieces))
    ((log_probs, covers),) = exact(rows, pieces).score([text])
    assert log_probs.shape == (len(text) + 1, END + 1)
    torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(len(text) + 1, dtype=torch.float64))
    for place in range(len(text) + 1):
        prefix = text[:place]
        before = mass_of_prefix(prefix, rows, pieces)
        assert covers[place].log_prob == pytest.approx(math.log(before)) and covers[place].lost < 1e-12
        for byte in b"ab":
            wanted = mass_of_prefix(prefix + bytes([byte]), rows, pieces) / before
            assert log_probs[place, byte].exp() == pytest.approx(wanted)
        assert log_probs[place, END].exp() == pytest.approx(mass_of_text(prefix, rows, pieces) / before)


@properties
@given(seeds, st.text("ab", max_size=6))
def test_the_product_is_the_sum_over_all_tokenisations(seed, text):
    """Chain rule over bytes = marginal of the string."""
    text, pieces = text.encode(), vocabulary(seed)
    rows = table_model(seed, len(pieces))
    ((log_probs, _),) = exact(rows, pieces).score([text])
    total = sum(log_probs[place, byte] for place, byte in enumerate([*text, END]))
    assert total.exp() == pytest.approx(mass_of_text(text, rows, pieces))


def test_all_texts_of_a_length_have_the_mass_that_is_left():
    """No mass is lost or counted twice: texts that ended, and prefixes of four bytes, are everything."""
    rows = table_model(3)
    prefixes = sum(mass_of_prefix(bytes(t), rows, PIECES) for t in product(b"ab", repeat=4))
    ended = sum(mass_of_text(bytes(t), rows, PIECES) for n in range(4) for t in product(b"ab", repeat=n))
    assert prefixes + ended == pytest.approx(1)
    canonical = sum(probability_of((*t,), rows) for t in product((1, 2), repeat=4))
    assert canonical < 0.9 * prefixes  # one tokenisation is not all of them


def test_zeros():
    rows = table_model(5, zeros=True)
    model = exact(rows, PIECES)
    for text in map(bytes, product(b"ab", repeat=3)):
        wanted = mass_of_prefix(text, rows, PIECES)
        if wanted:
            ((_, covers),) = model.score([text])
            assert covers[-1].log_prob == pytest.approx(math.log(wanted))
        else:
            with pytest.raises(ValueError, match="has the probability 0 here"):
                model.score([text])
    with pytest.raises(ValueError, match="b'c' has the probability 0 here"):
        model.score([b"c"])


def test_two_tokens_with_the_same_bytes_and_two_ends():
    pieces = (b"", b"a", b"a", b"aa", b"")
    rows = table_model(2, len(pieces))
    ((log_probs, _),) = exact(rows, pieces).score([b"aa"])
    total = log_probs[0, ord("a")] + log_probs[1, ord("a")] + log_probs[2, END]
    assert total.exp() == pytest.approx(mass_of_text(b"aa", rows, pieces))


@pytest.mark.parametrize("settings", [{"beam": 1, "floor": 0.0}, {"beam": 3, "floor": 0.0}, {"beam": 8, "floor": 0.1}])
def test_what_a_beam_loses_is_reported(settings):
    rows, text = table_model(7), b"abaab"
    ((log_probs, covers),) = ByteModel(rows, PIECES, **settings).score([text])
    torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(6, dtype=torch.float64))
    assert max(len(cover.parts) for cover in covers) <= settings["beam"]
    assert all(sum(part.mass for part in cover.parts) == pytest.approx(1) for cover in covers[1:])
    assert max(cover.lost for cover in covers) > 0
    assert covers[-1].log_prob < math.log(mass_of_prefix(text, rows, PIECES))  # a lower bound


def test_what_a_beam_dropped_is_taken_up_again():
    """Only a|b is left after "ab" read as one token: "aba" can go on with the dropped a|b|a, and with nothing else."""
    pieces = (b"", b"a", b"b", b"abb")
    table = torch.tensor([0.0, 0.1, 0.0, 0.9]).double().log()  # after the start: abb, or a
    later = torch.tensor([0.1, 0.2, 0.7, 0.0]).double().log()
    model = ByteModel(lambda sequences: torch.stack([later if s else table for s in sequences]), pieces, 1, 0.01)
    ((log_probs, covers),) = model.score([b"aba"])
    assert [part.tokens for part in covers[2].parts] == [()] and [part.tokens for part in covers[3].parts] == [
        (1, 2, 1)
    ]
    assert covers[3].log_prob == pytest.approx(math.log(0.1 * 0.7 * 0.2))
    torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(4, dtype=torch.float64))
    assert log_probs[2, ord("a")] == pytest.approx(math.log(0.001 / 257)) and log_probs.isfinite().all()
    assert log_probs[1, ord("b")] == pytest.approx(math.log(1 - 0.101 + 0.101 / 257))  # a tenth was lost at "a"


def test_a_wider_beam_comes_nearer():
    rows, text = table_model(11), b"abaabab"
    scores = [ByteModel(rows, PIECES, beam, 0.0).score([text])[0][1][-1].log_prob for beam in (1, 2, 4, 16, None)]
    assert scores == sorted(scores) and scores[0] < scores[-2]
    assert scores[-1] == pytest.approx(math.log(mass_of_prefix(text, rows, PIECES)))


def test_texts_are_scored_side_by_side():
    asked = []

    def rows(sequences):
        asked.append(len(sequences))
        assert len(set(sequences)) == len(sequences)
        return table_model(4)(sequences)

    model = ByteModel(rows, PIECES, beam=4)
    texts = [b"ab", b"", b"babaab", b"ab"]
    together = model.score(texts)
    assert len(asked) <= 1 + 6
    for text, (log_probs, covers) in zip(texts, together):
        assert len(log_probs) == len(covers) == len(text) + 1
        assert torch.equal(log_probs, model.score([text])[0][0])
    assert model.score([]) == []


def test_start_with_tokens_is_the_naive_next_byte():
    rows = table_model(6)
    model = exact(rows, PIECES)
    naive = model.next_log_probs(model.start((1, 2)))  # a|b and nothing else
    np.testing.assert_allclose(np.exp(naive), next_byte(rows([(1, 2)])[0].exp(), PIECES))
    ((log_probs, _),) = model.score([b"ab"])
    assert not np.allclose(naive, log_probs[-1].numpy(), atol=0.01)


def test_the_next_byte_of_one_token():
    probs = torch.tensor([0.1, 0.2, 0.1, 0.3, 0.2, 0.1], dtype=torch.float64)
    found = next_byte(probs, PIECES, b"a")
    assert found[ord("b")] == pytest.approx(0.4 / 0.6) and found[END] == pytest.approx(0.2 / 0.6)
    assert found.sum() == pytest.approx(1) and (found > 0).sum() == 2
    assert next_byte(probs, PIECES)[END] == pytest.approx(0.1)
    with pytest.raises(ValueError, match="begins with b'bb'"):
        next_byte(probs, PIECES, b"bb")


# --- mixing -----------------------------------------------------------------------------------------------------------


def test_models_with_different_tokens_are_mixed_over_bytes():
    """The mixture of the next bytes is a model of texts: all its prefixes of a length, and what ended, sum to 1."""
    p, q = exact(table_model(1), PIECES), exact(table_model(2, 4), (b"b", b"", b"a", b"bb"))

    def log_probs(text):
        return mix_bytes(*(model.score([text])[0][0] for model in (p, q)), lam=0.3)

    texts = {n: [bytes(t) for t in product(b"ab", repeat=n)] for n in range(4)}

    def mass(text, *last):
        rows = log_probs(text)
        return math.exp(sum(float(rows[i, byte]) for i, byte in enumerate([*text, *last])))

    ended = sum(mass(text, END) for n in range(3) for text in texts[n])
    assert ended + sum(mass(text) for text in texts[3]) == pytest.approx(1)


@properties
@given(seeds)
def test_mix_bytes_is_linear_interpolation(seed):
    p, q = random_members(seed, 2, (3,), END + 1, zeros=True)
    torch.testing.assert_close(mix_bytes(p, q, 0.3), linear_interpolation(torch.stack([p, q]), [0.7, 0.3]))
    only = list(b"abc ")
    found = mix_bytes(p[:, :], q, 0.3, only=only) if (p[:, only] > -9e9).any(1).all() else None
    if found is not None and (q[:, only] > -9e9).any(1).all():
        mine = 0.7 * (p[:, only].softmax(-1)) + 0.3 * q[:, only].softmax(-1)
        torch.testing.assert_close(found[:, only].exp(), mine)
        torch.testing.assert_close(found.exp().sum(1), torch.ones(3, dtype=torch.float64))
    with pytest.raises(ValueError, match="lam must be"):
        mix_bytes(p, q, 1.2)


def test_letters_as_bytes():
    log_probs = torch.tensor([[0.5, 0.25, 0.25]]).log()
    found = letters_as_bytes(log_probs, "ab ").exp()
    assert found.shape == (1, END + 1) and found.sum() == 1
    assert found[0, [ord("a"), ord("b"), ord(" "), END]].tolist() == [0.5, 0.25, 0.25, 0.0]
    for alphabet in ("ab", "abß"):
        with pytest.raises(ValueError, match="one ASCII character a column"):
            letters_as_bytes(log_probs, alphabet)


def test_bits_per_byte_counts_bytes():
    assert bits_per_byte([math.log(2) * 4, math.log(2) * 5], ["abc", "für"]) == pytest.approx(9 / 7)


# --- real tokenizers and transformers ---------------------------------------------------------------------------------


def test_pieces_are_what_the_tokenizer_writes():
    from course_utils.shelf import models

    lm = models.load("web")
    pieces = token_pieces(lm.tokenizer, lm.vocab_size + 5)
    text = "Jesús said, “I am he.”\n\t2 loaves – for 5,000"
    ids = lm.tokenizer(text, add_special_tokens=False).input_ids
    assert b"".join(pieces[i] for i in ids) == text.encode()
    assert len(pieces) == lm.vocab_size + 5 and pieces[-5:] == [b""] * 5
    assert [i for i, piece in enumerate(pieces[:-5]) if not piece] == sorted(lm.tokenizer.all_special_ids)
    assert len({piece for piece in pieces if piece}) == len([piece for piece in pieces if piece])


def test_tree_rows_are_the_models_and_read_each_position_once():
    counted = Counted(tiny_llama(1))
    rows = TreeRows(counted, context_id=0, batch=3)
    sequences = [(), (3,), (3, 4), (5, 6, 7), (3, 4, 8), (5,), (3, 4)]

    def full(sequence):
        return counted.inner(input_ids=torch.tensor([[0, *sequence]]), use_cache=False).logits[0, -1].log_softmax(-1)

    for asked in (sequences, [(3, 4, 8, 9), (5, 6, 7, 1, 2)]):
        for sequence, row in zip(asked, rows(asked)):
            torch.testing.assert_close(row, full(sequence).detach(), atol=1e-5, rtol=1e-5)
    fed = rows.fed
    rows([(3, 4, 8, 9, 1), (5, 6)])
    assert rows.fed == fed + 2
    rows.most = 1  # everything is forgotten, and read again
    torch.testing.assert_close(rows([(3, 4, 8)])[0], full((3, 4, 8)).detach(), atol=1e-5, rtol=1e-5)
    assert rows.fed == fed + 2 + 4


def test_a_transformer_by_bytes_is_the_sum_over_its_tokenisations():
    from test_decoding import VOCAB

    pieces = [PIECES[i] if i < len(PIECES) else b"" for i in range(VOCAB)]
    rows = TreeRows(tiny_llama(2), context_id=1)
    ((log_probs, covers),) = exact(rows, pieces).score([b"abab"])
    wanted = mass_of_prefix(b"abab", rows, pieces)
    assert covers[-1].log_prob == pytest.approx(math.log(wanted), abs=1e-4)
    assert log_probs[:4].gather(1, torch.tensor(list(b"abab"))[:, None]).sum() == pytest.approx(
        math.log(wanted), abs=1e-4
    )
