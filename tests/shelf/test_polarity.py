"""SmolLM2 as a classifier: the same probabilities as the recipe recorded, whatever the order of the texts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from course_utils.shelf import corpora, polarity
from course_utils.shelf.models import ModelError, data_dir

ROWS = [0, 401, 905, 1200, 1590]


@pytest.fixture(scope="module")
def recorded() -> tuple[list[str], np.ndarray]:
    """Five test snippets of all domains and what the recipe wrote down for them."""
    table = pd.read_parquet(data_dir() / "tiers.parquet", columns=["split", "row", "p_smollm2"])
    rows = table.query("split == 'test'").iloc[ROWS]
    texts = corpora.snippets()["test"]["text"]
    return [texts[int(row)] for row in rows.row], rows.p_smollm2.to_numpy()


def test_probabilities_are_the_recorded_ones(recorded):
    texts, kind = recorded
    found = polarity.load_smollm2().predict_proba(texts)
    np.testing.assert_allclose(found[:, 1], kind, atol=5e-4)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert len({len(text) for text in texts}) == len(texts)  # so that sorting by length and padding were at work
    np.testing.assert_allclose(polarity.load_smollm2().predict_proba(texts[::-1])[::-1], found, atol=1e-5)
    assert polarity.load_smollm2().predict(texts).tolist() == (kind > 0.5).astype(int).tolist()


def test_hidden_means_are_means_over_the_tokens_of_one_text(recorded):
    text, lm = recorded[0][0], polarity.load_smollm2().lm
    ids = lm.encode(text)[: polarity.LONGEST]
    row = torch.cat([torch.tensor([lm.context_id]), ids])[None]
    states = lm.model(input_ids=row, output_hidden_states=True).hidden_states
    alone = np.concatenate([states[layer][0, 1:].mean(0).numpy() for layer in polarity.LAYERS])
    np.testing.assert_allclose(polarity.hidden_means(lm, [text, recorded[0][1]])[0], alone, atol=1e-3)


def test_bad_input_is_refused(monkeypatch, tmp_path):
    model = polarity.load_smollm2()
    for texts in ("one text", []):
        with pytest.raises(ValueError, match="at least one text"):
            model.predict_proba(texts)
    monkeypatch.setenv("MANY_MODELS_DATA", str(tmp_path))
    with pytest.raises(ModelError, match="git checkout"):
        polarity.load_smollm2.__wrapped__()
