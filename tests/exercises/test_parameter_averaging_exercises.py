"""The checks of notebook 03 on answers that are right in another way, and on wrong ones that nobody foresaw."""

from __future__ import annotations

from collections import OrderedDict
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from transformers import LlamaConfig, LlamaForCausalLM

from course_utils.exercises import parameter_averaging_average as averaging
from course_utils.exercises import parameter_averaging_barrier as barrier
from course_utils.exercises import parameter_averaging_cost as cost
from course_utils.exercises import parameter_averaging_pairs as pairs
from course_utils.exercises import parameter_averaging_permute as permute
from course_utils.exercises import parameter_averaging_soup as soup
from course_utils.exercises.engine import OPEN, PASSED, WRONG, Mistake, run_check
from course_utils.exercises.engine.calls import StudentError, guard
from course_utils.exercises.parameter_averaging_states import mixture, shown
from course_utils.merging import average, greedy_soup
from course_utils.merging.alignment import permute_units

# --- right in another way --------------------------------------------------------------------------------------------


def average_by_stacking(models, weights):
    shares = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    merged = OrderedDict()
    for name, first in models[0].items():
        stack = torch.stack([model[name] for model in models])
        floats = first.is_floating_point()
        merged[name] = torch.tensordot(shares, stack.double(), 1).to(first.dtype) if floats else stack[-1].clone()
    return merged


def average_as_it_goes(models, weights):
    """A running mean, the counter in float64 and rounded."""
    merged, seen = {name: tensor.double() for name, tensor in models[0].items()}, weights[0]
    for weight, model in zip(weights[1:], models[1:], strict=True):
        seen += weight
        for name in merged:
            merged[name] = merged[name] + (weight / seen) * (model[name].double() - merged[name])
    return {
        name: (tensor if models[0][name].is_floating_point() else tensor.round()).to(models[0][name].dtype)
        for name, tensor in merged.items()
    }


def permute_by_matrices(state_dict, layer, next_layer, perm):
    P = torch.eye(len(perm))[perm]  # noqa: N806
    moved = {f"{layer}.weight": P @ state_dict[f"{layer}.weight"], f"{layer}.bias": P @ state_dict[f"{layer}.bias"]}
    return {**state_dict, **moved, f"{next_layer}.weight": state_dict[f"{next_layer}.weight"] @ P.T}


def permute_unit_by_unit(state_dict, layer, next_layer, perm):
    result = {name: tensor.clone() for name, tensor in state_dict.items()}
    for i, j in enumerate(perm.tolist()):
        result[f"{layer}.weight"][i] = state_dict[f"{layer}.weight"][j]
        result[f"{layer}.bias"][i] = state_dict[f"{layer}.bias"][j]
        result[f"{next_layer}.weight"][:, i] = state_dict[f"{next_layer}.weight"][:, j]
    return result


def barrier_in_floats(losses):
    losses = [float(loss) for loss in losses]
    n, (first, last) = len(losses), (losses[0], losses[-1])
    return max(loss - (first + i / (n - 1) * (last - first)) for i, loss in enumerate(losses))


def barrier_of_lists_only(losses):
    ends = losses[0], losses[-1]
    line = [ends[0] * (len(losses) - 1 - losses.index(x)) + ends[1] * losses.index(x) for x in losses]
    return max(x - y / (len(losses) - 1) for x, y in zip(losses, line, strict=True))


def barrier_in_numpy(losses):
    losses = np.asarray(losses, dtype=float)
    return (losses - np.linspace(losses[0], losses[-1], len(losses))).max()


def barrier_clamped(losses):
    t = torch.linspace(0, 1, len(losses))
    return (losses - losses[0].lerp(losses[-1], t)).max().clamp(min=0)  # still a tensor


def soup_with_a_running_mean(models, evaluate):
    waiting = sorted(((evaluate(model), -i) for i, model in enumerate(models)), reverse=True)
    best, chosen = waiting[0][0], [-waiting[0][1]]
    mixed = dict(models[chosen[0]])
    for _, i in waiting[1:]:
        n = len(chosen)
        candidate = {name: (n * mixed[name] + models[-i][name]) / (n + 1) for name in mixed}
        score = evaluate(candidate)
        if not score < best:
            mixed, best, chosen = candidate, score, [*chosen, -i]
    return mixed, tuple(chosen)


def soup_that_asks_again(models, evaluate):
    order = np.argsort([-evaluate(model) for model in models])
    chosen = [order[0]]
    for i in order[1:]:
        old, new = (average([models[j] for j in indices]) for indices in (chosen, [*chosen, i]))
        if evaluate(new) >= evaluate(old):
            chosen = [*chosen, i]
    return average([models[j] for j in chosen]), np.array(chosen)


def cost_in_floats(members, layers, kv_heads, head_dim, context, bytes_per_value, parameters):
    one = torch.tensor([parameters * bytes_per_value, 0, parameters], dtype=torch.float64)
    one[1] = (2.0 * kv_heads * head_dim) * layers * context * bytes_per_value
    return members * one


RIGHT = [
    ("average", average_by_stacking),
    ("average", average_as_it_goes),
    ("permute", permute_by_matrices),
    ("permute", permute_unit_by_unit),
    ("barrier", barrier_in_floats),
    ("barrier", barrier_of_lists_only),
    ("barrier", barrier_in_numpy),
    ("barrier", barrier_clamped),
    ("greedy_soup", soup_with_a_running_mean),
    ("greedy_soup", soup_that_asks_again),
    ("kv_cache", cost_in_floats),
]


@pytest.mark.parametrize("name, answer", RIGHT, ids=lambda value: getattr(value, "__name__", value))
def test_another_right_answer_passes(name, answer):
    report = run_check(f"parameter_averaging.{name}", answer)
    assert report.status == PASSED, report.text


# --- every known mistake is told by its own hint ---------------------------------------------------------------------


def complaint(test, answer) -> str:
    with pytest.raises(Mistake) as said:
        test(guard(answer))
    return str(said.value)


WEIGHTS = torch.tensor([2.0, 5.0, 1.0, 4.0], dtype=torch.float64)  # those of the first test


@pytest.mark.parametrize("place", range(len(averaging._known(WEIGHTS))))
def test_every_wrong_share_is_recognised(place):
    hint, coefficients = averaging._known(WEIGHTS)[place]

    def answer(models, weights):
        known = averaging._known(torch.tensor(weights, dtype=torch.float64))[place][1].tolist()
        return {name: sum(c * model[name] for c, model in zip(known, models, strict=True)) for name in models[0]}

    said = complaint(averaging.average_four, answer)
    assert said.startswith(hint) and f"Yours is {shown(coefficients)}, " in said


def test_the_coefficients_of_a_mixture_are_found_however_it_was_made():
    models = averaging.checkpoints(3, seed=20)
    assert shown(mixture(average(models, [1, 2, 1]), models)) == "0.25 models[0] + 0.5 models[1] + 0.25 models[2]"
    assert shown([0.5, -0.5]) == "0.5 models[0] - 0.5 models[1]" and shown([0.0]) == "0"
    assert mixture({name: tensor**2 for name, tensor in models[0].items()}, models) is None
    assert mixture({name: tensor / 0 for name, tensor in models[0].items()}, models) is None


@pytest.mark.parametrize("place", range(len(barrier._known(torch.tensor(barrier.PATH)))))
def test_every_wrong_barrier_is_recognised(place):
    def answer(losses):
        return barrier._known(losses.double())[place][1]

    known = {hint for hint, _ in barrier._known(torch.tensor(barrier.PATH, dtype=torch.float64))}
    report = run_check("parameter_averaging.barrier", answer)
    assert report.status == WRONG and any(hint in report.text for hint in known), report.text


FACTORS = dict(zip(cost.NAMES, (5, 29, 11, 13, 31, 3, 10_007), strict=True))  # those of the first test


@pytest.mark.parametrize("part, name", [*cost.MISSING, *cost.EXTRA])
def test_every_factor_forgotten_or_too_many_is_named(part, name):
    """A factor that is wrong in one of the three numbers; too many where it has no place, missing where it has one."""
    for table, change in ((cost.MISSING, "missing"), (cost.EXTRA, "extra")):
        if (part, name) not in table:
            continue

        def answer(change=change, **numbers):
            values = dict(zip(cost.PARTS, cost.inference_cost(**numbers), strict=True))
            factor = {**numbers, "2": 2}[name]
            values[part] = values[part] // factor if change == "missing" else values[part] * factor
            return tuple(values.values())

        with pytest.raises(Mistake) as said:
            cost._check(answer, FACTORS, prime=True)
        assert table[part, name] in str(said.value)


def test_the_first_test_of_the_cost_uses_these_primes():
    seen = {}

    def answer(**numbers):
        seen.update(numbers)
        return cost.inference_cost(**numbers)

    cost.cost_primes(answer)
    assert seen == FACTORS and all(n % k for n in [2, *seen.values()] for k in range(2, int(n**0.5) + 1))


@pytest.mark.parametrize("values", product([True, False], repeat=4))
def test_every_table_of_pairs_hears_of_a_wrong_entry(values):
    answer = dict(zip(pairs.CAN_AVERAGE, values, strict=True))
    report = run_check("parameter_averaging.can_average", answer)
    wrong = [key for key, value in answer.items() if value != pairs.CAN_AVERAGE[key]]
    assert report.status == (WRONG if wrong else PASSED)
    assert not wrong or any(pairs.WHY[key] in report.text for key in wrong) or len(wrong) == 4


def test_an_empty_table_is_not_attempted_and_numbers_count_as_booleans():
    assert run_check("parameter_averaging.can_average", dict.fromkeys(pairs.CAN_AVERAGE)).status == OPEN
    numbers = dict(zip(pairs.CAN_AVERAGE, [1, 1, 0, 0], strict=True))
    assert run_check("parameter_averaging.can_average", numbers).status == PASSED
    other = run_check("parameter_averaging.can_average", {"two models": True})
    assert other.status == WRONG and "has the keys" in other.text


# --- wrong in a way that nobody foresaw ------------------------------------------------------------------------------


def _but(name, value):
    """The right average, but with `value(tensor)` for the tensor `name`."""

    def answer(models, weights):
        merged = average(models, weights)
        return {**merged, name: value(merged[name])} if name in merged else merged

    return answer


@pytest.mark.parametrize(
    "test, answer, says",
    [
        (averaging.average_four, _but("layer.bias", lambda t: t + 1), "is right, and 'layer.bias' is not"),
        (averaging.average_four, _but("layer.bias", lambda t: t.tolist()), "should be a torch tensor"),
        (averaging.average_half, _but("w", lambda t: t * torch.inf), "float16 ends at 65504"),
        (averaging.average_half, _but("w", lambda t: t + 0.01), "It lost digits"),
        (averaging.average_half, _but("w", lambda t: -t), "'w', sum_i w_i theta_i"),
        (averaging.average_counter, _but("steps", lambda t: t - 1), "comes back as 16777216"),
        (averaging.average_one, _but("layer.bias", lambda t: t * 0.5), "is right, and 'layer.bias' is not"),
    ],
)
def test_unknown_averages_are_told_where_they_differ(test, answer, says):
    assert says in complaint(test, answer)


def test_a_name_too_many_is_told():
    said = complaint(
        averaging.average_four, lambda models, weights: {**average(models, weights), "more": torch.ones(1)}
    )
    assert "has the name 'more', which is no name" in said


def test_a_changed_model_is_named_by_its_number():
    def answer(models, weights):
        models[2]["layer.bias"].zero_()
        return average(models, weights)

    said = complaint(averaging.average_four, answer)
    assert said.startswith("You changed the third model (models[2], its 'layer.bias')")


def test_another_error_is_handed_on():
    def answer(models, weights):
        raise ValueError("not today")

    with pytest.raises(StudentError, match="not today"):
        averaging.average_four(guard(answer))


def test_a_layer_that_is_not_concerned_must_stay():
    def answer(state_dict, layer, next_layer, perm):
        moved = permute_units(state_dict, layer, next_layer, perm)
        return {**moved, "0.weight": moved["0.weight"].flip(0)} if layer == "2" else moved

    said = complaint(permute.permute_middle, answer)
    assert "'0.weight' was changed, and it belongs to neither '2' nor '4'" in said and "The outputs change by" in said


def test_units_moved_by_another_permutation_are_told_where():
    def answer(state_dict, layer, next_layer, perm):
        return permute_units(state_dict, layer, next_layer, perm.flip(0))

    said = complaint(permute.permute_two, answer)
    assert "'hidden.weight' is" in said and "(The outputs stay the same.)" in said


def test_an_unknown_barrier_is_told_with_the_losses():
    assert "0.4, 0.25, 0.31" in complaint(barrier.barrier_unequal, lambda losses: 17.0)
    assert "never below 0" in complaint(barrier.barrier_unequal, lambda losses: -17.0)
    assert "nan" in complaint(barrier.barrier_unequal, lambda losses: float("nan"))


def test_an_unknown_soup_is_told_where_it_parts_from_the_right_one():
    def answer(models, evaluate):
        mixed, chosen = greedy_soup(models, evaluate)
        return average([models[i] for i in chosen[:2]]), chosen[:2]

    said = complaint(soup.soup_seven, answer)
    assert "The soup [4, 3] scores" in said and "With model 5 it scores" in said and "so it must be added" in said


def test_a_misconception_is_named_only_if_its_soups_were_tried():
    """[4, 3, 5] is what half and half would choose: this one tries the right soups and loses the last."""

    def answer(models, evaluate):
        mixed, chosen = greedy_soup(models, evaluate)
        return mixed, chosen[:3]

    said = complaint(soup.soup_seven, answer)
    assert "half and half" not in said and "With model 2 it scores" in said


def test_an_unknown_cost_is_told_with_its_formula():
    def answer(**numbers):
        weights, cache, adds = cost.inference_cost(**numbers)
        return weights, cache + 1, adds

    assert "members * 2 * layers" in complaint(cost.cost_averaged, lambda **numbers: (1, 1, 1))
    cost.cost_real(answer)  # one byte of half a gigabyte: rounding in floats is no mistake


# --- the reference that lives here, and what the table says ----------------------------------------------------------


def test_the_cost_is_that_of_a_real_model():
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
    )
    model, context = LlamaForCausalLM(config).eval(), 7
    with torch.no_grad():
        cache = model(torch.zeros(1, context, dtype=torch.long), use_cache=True).past_key_values
    tensors = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
    parameters = sum(p.numel() for p in model.parameters())
    weights, cached, adds = cost.inference_cost(1, 3, 2, 8, context, 4, parameters)
    assert weights == sum(p.nbytes for p in model.parameters())
    assert cached == sum(tensor.nbytes for tensor in tensors)
    assert cost.inference_cost(3, 3, 2, 8, context, 4, parameters) == (3 * weights, 3 * cached, 3 * adds)


def test_a_reordered_model_is_the_same_function_and_cannot_be_averaged():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 3)), torch.randn(64, 4)
    weights = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    other = permute_units(weights, "0", "2", torch.randperm(32))
    y, y_other, y_mean = (functional_call(model, w, x) for w in (weights, other, average([weights, other])))
    assert torch.allclose(y, y_other, atol=1e-5)
    assert (y - y_mean).norm() > 0.3 * (y - y.mean(0)).norm()
