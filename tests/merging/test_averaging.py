"""Averages and soups of state dicts: the arithmetic, the inputs left alone, clear refusals."""

from __future__ import annotations

import pytest
import torch

from course_utils.merging import average, greedy_soup, interpolate, uniform_soup


def state(seed: int, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "a.weight": torch.randn(4, 3, generator=generator).to(dtype),
        "a.bias": torch.randn(4, generator=generator).to(dtype),
        "steps": torch.tensor(7),
    }


@pytest.mark.parametrize("weights", [None, [1, 1, 1], [0.5, 2.0, 3.5], [2.0, -0.5, 1.0]])
def test_average_is_the_weighted_mean(weights):
    models = [state(i) for i in range(3)]
    w = torch.tensor(weights or [1.0] * 3)
    merged = average(models, weights)
    for name in ("a.weight", "a.bias"):
        expected = torch.einsum("m,m...->...", w / w.sum(), torch.stack([m[name] for m in models]))
        torch.testing.assert_close(merged[name], expected)
    assert merged["steps"].item() == 7 and merged["steps"].dtype == torch.int64
    assert list(merged) == list(models[0])


def test_inputs_are_not_touched_and_share_no_memory():
    models = [state(i) for i in range(3)]
    for tensor in average(models).values():
        tensor.zero_()
    for i, model in enumerate(models):
        assert all(torch.equal(model[name], old) for name, old in state(i).items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype):
    """2048 + 1 is 2048 in float16: a sum in half precision would lose what the small models say."""
    models = [{"w": torch.tensor([value], dtype=dtype)} for value in (4000.0, *[1.0] * 999)]
    merged = average(models)["w"]
    assert merged.dtype == dtype and merged.item() == pytest.approx(4.999, rel=1e-2)


def test_double_precision_stays_double():
    tiny = 2.0**-40  # lost in float32 beside 1
    merged = average([{"w": torch.tensor([1.0 + tiny], dtype=torch.float64)}] * 2)["w"]
    assert merged.dtype == torch.float64 and merged.item() == 1.0 + tiny


def test_interpolate_has_the_right_ends():
    a, b = state(0), state(1)
    for t, end in ((0.0, a), (1.0, b)):
        assert all(torch.allclose(interpolate(a, b, t)[name], end[name]) for name in end)
    torch.testing.assert_close(interpolate(a, b, 0.25)["a.bias"], 0.75 * a["a.bias"] + 0.25 * b["a.bias"])


@pytest.mark.parametrize(
    "models, weights, match",
    [
        ([], None, "nothing to merge"),
        ([state(0), state(1)], [1.0], "1 weights for 2 models"),
        ([state(0), state(1)], [1.0, -1.0], "sum to 0"),
        ([state(0), {"a.weight": torch.zeros(4, 3)}], None, "model 2 and model 1 have different tensors.* a.bias"),
        ([state(0), state(1) | {"a.bias": torch.zeros(5)}], None, r"a.bias has shape \(5,\) in model 2 and \(4,\) in"),
        ([state(0), state(1) | {"steps": torch.tensor(8)}], None, "steps holds whole numbers that differ"),
    ],
    ids=["none", "weights", "zero", "names", "shapes", "integers"],
)
def test_what_does_not_fit_is_one_line(models, weights, match):
    with pytest.raises(ValueError, match=match) as caught:
        average(models, weights)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- soups: pure logic, the answer known beforehand


def points(*values: float) -> list[dict[str, torch.Tensor]]:
    return [{"w": torch.tensor([value])} for value in values]


def test_greedy_soup_takes_the_best_first_and_adds_what_does_not_hurt():
    # The score is best at 1.0; order by score: 1.5 (index 2), 0.0 (0), 3.0 (1), -9 (3).
    models, asked = points(0.0, 3.0, 1.5, -9.0), []

    def evaluate(model: dict) -> float:
        asked.append(round(model["w"].item(), 3))
        return -abs(model["w"].item() - 1.0)

    soup, chosen = greedy_soup(models, evaluate)
    # 1.5 alone: -.5; with 0.0 the mean .75: -.25, added; with 3.0 the mean 1.5: -.5, refused; with -9 worse, refused.
    assert chosen == [2, 0] and soup["w"].item() == pytest.approx(0.75)
    assert asked == [0.0, 3.0, 1.5, -9.0, 0.75, 1.5, -2.5]


def test_greedy_soup_is_the_mean_of_its_ingredients_not_a_running_half():
    soup, chosen = greedy_soup(points(0.0, 3.0, 6.0), lambda model: 1.0)  # ties: all are added
    assert chosen == [0, 1, 2] and soup["w"].item() == pytest.approx(3.0)


@pytest.mark.parametrize("seed", range(10))
def test_greedy_soup_is_never_worse_than_the_best_on_the_data_it_saw(seed):
    generator = torch.Generator().manual_seed(seed)
    models = [{"w": torch.randn(6, generator=generator)} for _ in range(8)]
    target = torch.randn(6, generator=generator)

    def evaluate(model: dict) -> float:
        return -(model["w"] - target).square().sum().item()

    soup, chosen = greedy_soup(models, evaluate)
    assert evaluate(soup) >= max(map(evaluate, models)) and len(set(chosen)) == len(chosen)
    torch.testing.assert_close(soup["w"], uniform_soup([models[i] for i in chosen])["w"])


def test_empty_soup():
    with pytest.raises(ValueError, match="nothing to merge"):
        greedy_soup([], lambda model: 0.0)
    with pytest.raises(ValueError, match="nothing to merge"):
        uniform_soup([])
