"""The two LoRA experts on SmolLM2: one batched pass equals separate ones; the committed texts are theirs."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import torch

from course_utils.ensembling import negative_evidence
from course_utils.ensembling.decoding import AdapterEnsemble, generate
from course_utils.shelf.corpora import snippets
from course_utils.shelf.models import ModelError, data_dir, load, load_with_adapters

pytestmark = pytest.mark.slow

ADAPTERS = ["__base__", "positive", "negative"]


@pytest.fixture(scope="module")
def lm():
    return load_with_adapters("lora-positive", "lora-negative")


@pytest.fixture(scope="module")
def steered() -> pd.DataFrame:
    return pd.read_parquet(data_dir() / "steered.parquet")


def prompt_ids(lm, prompt: str) -> torch.Tensor:
    return torch.cat([torch.tensor([lm.context_id]), lm.encode(prompt)])


def separate(lm, ids: torch.Tensor) -> torch.Tensor:
    """(3, B, V): three passes without a cache, each with one adapter switched on."""
    rows = []
    for name in ADAPTERS:
        if name != "__base__":
            lm.model.set_adapter(name)
        with torch.inference_mode(), lm.model.disable_adapter() if name == "__base__" else torch.no_grad():
            rows.append(lm.model(input_ids=ids).logits[:, -1].float().log_softmax(-1))
    return torch.stack(rows)


def test_one_batched_pass_equals_three_separate_ones(lm):
    seen = []
    ensemble = AdapterEnsemble(lm.model, ADAPTERS, lambda lp: seen.append(lp) or lp[0])
    ids = torch.stack([prompt_ids(lm, prompt) for prompt in ("The movie I saw", "The story begins with")])
    for length in (4, 5):  # the second call feeds one token to the cache
        ensemble(ids[:, :length])
        assert seen[-1].shape == (3, 2, lm.vocab_size)
        torch.testing.assert_close(seen[-1], separate(lm, ids[:, :length]), atol=2e-3, rtol=1e-3)
    ensemble.reorder(torch.tensor([1, 1, 0]))  # beam search: the rows of every member move together
    longer = torch.cat([ids[[1, 1, 0]], torch.tensor([[260], [284], [260]])], dim=1)
    ensemble(longer)
    torch.testing.assert_close(seen[-1], separate(lm, longer), atol=2e-3, rtol=1e-3)
    assert ensemble.members[0].fed == 6  # nothing was read twice


def test_the_base_is_smollm2_untouched(lm):
    ids = prompt_ids(lm, "The capital of France is")[None]
    plain = load("smollm2").model(input_ids=ids).logits
    assert torch.equal(lm.model(input_ids=ids, adapter_names=["__base__"]).logits, plain)
    assert not any("lora" in name for name, _ in load("smollm2").model.named_parameters())
    shared = {weight.data_ptr() for weight in load("smollm2").model.parameters()}
    assert shared <= {weight.data_ptr() for weight in lm.model.parameters()}  # the base stands in memory once


def test_each_expert_prefers_its_own_kind_of_snippet(lm):
    frame = snippets()["test"].to_pandas().query("domain == 'movies' and (rating >= 1.5 or rating <= -1.5)").head(48)
    odds = []
    for text in frame.text:
        ids = torch.cat([prompt_ids(lm, text), torch.tensor([lm.context_id])])[None]
        with torch.inference_mode():
            logits = lm.model(input_ids=ids[:, :-1].repeat(2, 1), adapter_names=["positive", "negative"]).logits
        scores = logits.float().log_softmax(-1).gather(2, ids[:, 1:, None].expand(2, -1, -1)).sum((1, 2))
        odds.append((scores[0] - scores[1]).item())
    right = ((torch.tensor(odds) > 0).numpy() == (frame.rating > 0)).mean()
    assert right > 0.65, right


def test_steered_texts_are_complete_and_their_fluency_can_be_measured_again(lm, steered):
    neutral, gloomy = (steered[steered.prompts == kind] for kind in ("neutral", "gloomy"))
    assert neutral.groupby(["lam", "filtered"]).size().tolist() == [60] * 20
    methods = ["core", "positive expert alone", "anti-expert only", "DExperts"]
    assert gloomy.groupby("method").size().to_dict() == dict.fromkeys(methods, 240)
    for row in steered.iloc[[0, 400, 1100, len(steered) - 1]].itertuples():
        ids = torch.cat([prompt_ids(lm, row.prompt), torch.tensor(list(row.tokens))])[None]
        with torch.inference_mode():
            log_probs = lm.model(input_ids=ids, adapter_names=["__base__"]).logits[0, 4:-1].float().log_softmax(-1)
        assert log_probs.gather(1, ids[0, 5:, None]).sum().item() == pytest.approx(row.core_log_prob, abs=0.1)
        assert lm.tokenizer.decode(row.tokens) == row.text


def test_the_recipe_writes_the_committed_text_again(lm, steered):
    rows = steered[(steered.prompts == "neutral") & (steered.lam == -2) & steered.filtered]
    ids = torch.stack([prompt_ids(lm, prompt) for prompt in rows.prompt])
    ensemble = AdapterEnsemble(lm.model, ADAPTERS, lambda lp: negative_evidence(*lp, -2.0, top_p=0.9))
    out = generate(ensemble, ids, 3, "sample", generator=torch.Generator().manual_seed(0))[:, ids.shape[1] :]
    same = sum(new.tolist() == list(old[:3]) for new, old in zip(out, rows.tokens))
    assert same >= 57, f"{same} of 60"


def test_reports_say_what_the_adapters_learnt():
    for name, own in (("lora-positive", "positive"), ("lora-negative", "negative")):
        text = (data_dir() / "models" / name / "training.json").read_text(encoding="utf-8")
        report = json.loads(text)["validation_perplexity"]
        assert report[own]["adapted"] < 0.5 * report[own]["core"]


def test_errors_are_one_line(monkeypatch, tmp_path):
    with pytest.raises(ModelError, match="there is no adapter 'lora-neutral' .*sentiment_adapters.py"):
        load_with_adapters("lora-neutral")
    with pytest.raises(ValueError, match="at least one member"):
        AdapterEnsemble(torch.nn.Linear(1, 1), [], lambda lp: lp)
