"""The translator: equal to transformers' own forward pass and search, alone and with language models."""

from __future__ import annotations

import shutil

import pytest
import torch

from course_utils.ensembling import linear_interpolation, negative_evidence
from course_utils.ensembling.decoding import CachedLM
from course_utils.pipelines import Translator, apertium, load_translator
from course_utils.shelf.corpora import verses
from course_utils.shelf.models import ModelError, load


@pytest.fixture(scope="module")
def nmt() -> Translator:
    return load_translator("nmt-0")


@pytest.fixture(scope="module")
def pairs() -> tuple[list[str], list[str]]:
    """Held-out verses of quite different lengths."""
    rows = verses()["test"].select(range(0, 60, 6))
    return list(rows["web"]), list(rows["es"])


def test_step_by_step_equals_teacher_forcing(nmt, pairs):
    sources, targets = pairs
    expected = nmt.log_probs(sources[:3], targets[:3])  # (3, T - 1, V)
    assert torch.allclose(expected.exp().sum(-1), torch.ones(expected.shape[:2]), atol=1e-4)
    for row in range(3):
        step, ids = nmt.next_log_probs([sources[row]]), nmt.target_ids([targets[row]])[0]
        for t in range(1, min(12, len(ids))):
            assert torch.allclose(step(ids[None, :t])[0], expected[row, t - 1], atol=2e-4)
        assert step.fed == min(12, len(ids)) - 1  # every token was fed once


@pytest.mark.parametrize(
    "options, theirs",
    [
        ({"strategy": "greedy"}, {"num_beams": 1}),
        ({"strategy": "beam", "num_beams": 4}, {"num_beams": 4, "early_stopping": False, "length_penalty": 1.0}),
    ],
    ids=["greedy", "beam"],
)
def test_translations_equal_those_of_transformers(nmt, pairs, options, theirs):
    sources = pairs[0]
    got = nmt.translate(sources, max_new_tokens=40, **options)
    for source, translation in zip(sources, got, strict=True):  # one by one: their batches are padded
        ids, mask = nmt.encode([source])
        out = nmt.model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=40, do_sample=False, **theirs)
        assert translation == nmt.tokenizer.decode(out[0], skip_special_tokens=True)


def test_scores_are_the_reference_tokens_entries_of_the_distributions(nmt, pairs, monkeypatch):
    # several batches, not in the order given
    monkeypatch.setattr("course_utils.pipelines.translation.BATCH_TOKENS", 80)
    sources, targets = pairs
    got = nmt.token_log_probs(sources, targets)
    for source, target, ids, row in zip(sources, targets, nmt.target_ids(targets), got, strict=True):
        expected = nmt.log_probs([source], [target])[0].gather(1, ids[1:, None])[:, 0]
        torch.testing.assert_close(row, expected, atol=2e-4, rtol=0)


def test_padding_and_order_of_the_batch_change_nothing(nmt, pairs):
    sources = pairs[0]
    together = nmt.translate(sources, max_new_tokens=30)
    assert together == [nmt.translate([source], max_new_tokens=30)[0] for source in sources]
    assert nmt.translate(sources[::-1], max_new_tokens=30) == together[::-1]


@pytest.mark.parametrize("strategy", ["greedy", "beam"])
def test_lam_zero_is_the_translator_and_a_large_lam_is_not(nmt, pairs, strategy):
    sources = pairs[0][:5]
    members = [CachedLM(load(name).model) for name in ("es-poetry", "es-prose")]

    def translated(lam: float) -> list[str]:
        options = {"strategy": strategy, "max_new_tokens": 30}
        return nmt.translate(sources, members, lambda lp: negative_evidence(*lp, lam), **options)

    alone = nmt.translate(sources, strategy=strategy, max_new_tokens=30)
    assert translated(0.0) == alone
    assert translated(2.0) != alone


@pytest.mark.parametrize("strategy", ["greedy", "beam"])
def test_an_ensemble_of_one_translator_with_itself_is_that_translator(nmt, pairs, strategy):
    sources = pairs[0][:4]
    options = {"strategy": strategy, "max_new_tokens": 30}
    twice = nmt.translate(sources, [nmt], lambda lp: linear_interpolation(lp, [0.5, 0.5]), **options)
    assert twice == nmt.translate(sources, **options)
    other = load_translator("nmt-1")
    assert nmt.translate(sources, [other], lambda lp: lp[1], **options) == other.translate(sources, **options)


def test_language_models_read_the_target_as_the_translator_does(nmt):
    """One vocabulary and one start token: the differences of the LMs line up with the translator's distribution."""
    for name in ("es-prose", "es-poetry"):
        lm = load(name)
        assert lm.vocab_size == nmt.model.config.vocab_size and lm.context_id == nmt.model.config.decoder_start_token_id
        assert lm.tokenizer.get_vocab() == nmt.tokenizer.get_vocab()
    (ids,) = nmt.target_ids(["Bendito sea Jehová."])
    assert nmt.tokenizer.decode(ids, skip_special_tokens=True) == "Bendito sea Jehová."


def test_the_separator_of_stacked_sources_is_one_token(nmt):
    """The recipe trains on "English</s>Spanish": both texts as they are alone, one id between them, one at the end."""
    english, spanish = "In the beginning, God", "En el comenzando, Dios"
    (ids,), _ = nmt.encode([f"{english}</s>{spanish}"])
    (left,), (right,) = (nmt.encode([text])[0] for text in (english, spanish))
    assert ids.tolist() == left.tolist() + right.tolist()
    assert ids.tolist().count(nmt.tokenizer.eos_token_id) == 2


@pytest.mark.parametrize("strategy", ["greedy", "beam"])
def test_a_translation_that_never_ends_stops_at_the_last_position(nmt, strategy):
    source = "and the people of the land went up to the city " * 13
    assert 2 * nmt.encode([source])[0].shape[1] + 10 > nmt.model.config.max_position_embeddings

    def endless(log_probs: torch.Tensor) -> torch.Tensor:
        out = log_probs[0].clone()
        out[:, nmt.tokenizer.eos_token_id] = -torch.inf
        return out

    assert nmt.translate([source], [nmt], endless, strategy=strategy) != [""]


def test_bad_input_is_one_line(nmt):
    with pytest.raises(ModelError, match="put it in"):
        nmt.translate("In the beginning")
    with pytest.raises(ValueError, match="members need combine"):
        nmt.translate(["In the beginning"], members=[nmt.next_log_probs(["a"])])
    with pytest.raises(ValueError, match="2 rows of target ids for 1 sources"):
        nmt.next_log_probs(["In the beginning"])(torch.zeros(2, 1, dtype=torch.long))
    with pytest.raises(ValueError, match="a source has 301 tokens, but nmt-0 reads at most 256: split it"):
        nmt.translate([" God" * 300])
    with pytest.raises(ModelError, match="there is no translator 'nmt-9' .*choose one of nmt-0"):
        load_translator("nmt-9")


def test_it_translates_rather_than_writes(nmt):
    """Held-out prose: the right sources give the references a far higher probability than shuffled sources do."""
    frame = verses()["test"].to_pandas()
    frame = frame[(frame.book == "Judges") & (frame.web.str.split().str.len() < 20)].head(40)
    sources, targets = list(frame.web), list(frame.es)

    def score(sources: list[str]) -> float:
        log_probs, total = nmt.log_probs(sources, targets), 0.0
        for row, ids in zip(log_probs, nmt.target_ids(targets), strict=True):
            total += row[: len(ids) - 1].gather(1, ids[1:, None]).sum().item()
        return total / sum(len(ids) - 1 for ids in nmt.target_ids(targets))

    assert score(sources) > score(sources[1:] + sources[:1]) + 0.5


def test_apertium_runs_where_it_is_installed_and_says_so_where_it_is_not():
    rows = verses()["test"].select(range(40))
    if shutil.which("apertium"):
        # its tagger remembers the sentence before, so that a part of the text is not translated quite like the whole
        pairs = [(a.split(), b.split()) for a, b in zip(apertium(rows["web"]), rows["apertium"], strict=True)]
        same = sum(a == b for said, recorded in pairs for a, b in zip(said, recorded))
        assert same > 0.8 * sum(len(recorded) for _, recorded in pairs)
    else:
        with pytest.raises(ModelError, match="apertium-eng-spa"):
            apertium(["In the beginning"])
