"""The twelve fine-tunes: read back from eight bits they score what their report says, and damage is one clear line."""

import copy
import json

import pytest
import torch

from course_utils.merging import average
from course_utils.shelf import classifiers
from course_utils.shelf.classifiers import balanced_accuracy, load_ingredients, logits_of
from course_utils.shelf.corpora import snippets
from course_utils.shelf.models import ModelError, data_dir


@pytest.fixture(scope="module")
def kitchen():
    return load_ingredients()


@pytest.fixture(scope="module")
def movies(kitchen):
    frame = snippets()["test"].to_pandas().query("domain == 'movies' and (rating >= 1 or rating <= -1)")
    return kitchen.encode(frame.text), torch.tensor((frame.rating > 0).to_numpy()).long()


def test_every_ingredient_differs_and_starts_at_the_same_place(kitchen):
    assert len(kitchen.states) == len(kitchen.reports) == 12
    base = {"model.embed_tokens.weight", "score.weight"}
    assert base <= kitchen.start.keys() == kitchen.states[0].keys()
    for state in kitchen.states:
        moved = torch.cat([(state[name] - kitchen.start[name]).flatten() for name in kitchen.start])
        assert 1e-4 < moved.abs().mean() < 2e-2 and all(t.dtype == torch.float32 for t in state.values())


@pytest.mark.parametrize("number", [0, 4])
def test_accuracy_is_what_the_report_says(kitchen, movies, number):
    rows, labels = movies
    got = balanced_accuracy(kitchen.logits(kitchen.states[number], rows), labels)
    assert got == pytest.approx(kitchen.reports[number]["accuracy"]["movies test"], abs=0.004)


def test_a_batch_gives_what_single_texts_give(kitchen, movies):
    rows = movies[0][:9]
    together = kitchen.logits(kitchen.states[4], rows)
    alone = torch.cat([logits_of(kitchen.model, [row]) for row in rows])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_logits_keep_their_order_in_small_batches_and_can_be_trained(kitchen, movies, monkeypatch):
    expected = logits_of(kitchen.model, movies[0][:9])
    monkeypatch.setattr(classifiers, "BATCH_TOKENS", 60)
    model = copy.deepcopy(kitchen.model).requires_grad_(True)
    logits = logits_of(model, movies[0][:9])
    torch.testing.assert_close(logits.detach(), expected, atol=1e-4, rtol=1e-4)
    logits.sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in model.parameters())


def test_one_pair_of_the_table_is_cooked_again(kitchen, movies):
    import pandas as pd

    table = pd.read_parquet(data_dir() / "soup_pairs.parquet")
    assert len(table) == 66 * 4 and table[["soup", "ensemble"]].stack().between(0.4, 1).all()
    row = table[(table.i == 2) & (table.j == 11) & (table.domain == "movies")].iloc[0]
    rows, labels = movies
    a, b = kitchen.states[1], kitchen.states[10]
    both = (kitchen.logits(a, rows) + kitchen.logits(b, rows)) / 2
    assert balanced_accuracy(both, labels) == pytest.approx(row.ensemble, abs=0.004)
    assert balanced_accuracy(kitchen.logits(average([a, b]), rows), labels) == pytest.approx(row.soup, abs=0.004)


def test_balanced_accuracy_is_the_mean_over_classes():
    logits = torch.tensor([[2.0, 1.0]] * 9 + [[0.0, 1.0]])
    assert balanced_accuracy(logits, torch.tensor([0] * 8 + [1] * 2)) == pytest.approx((1.0 + 0.5) / 2)


def test_a_missing_file_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("MANY_MODELS_DATA", str(tmp_path))
    with pytest.raises(ModelError, match="classifiers cannot be loaded .*git checkout data/models"):
        classifiers.load_ingredients.__wrapped__()
    (tmp_path / "models" / "soup").mkdir(parents=True)
    (tmp_path / "models" / "soup" / "training.json").write_text(json.dumps({"ingredients": []}), encoding="utf-8")
    (tmp_path / "models" / "soup" / "ingredients.safetensors").write_bytes(b"not a tensor file")
    with pytest.raises(ModelError, match="classifiers cannot be loaded"):
        classifiers.load_ingredients.__wrapped__()
