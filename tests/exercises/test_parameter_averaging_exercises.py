"""The checks of notebook 03 on right answers written in another way, and what its references and messages rest on."""

from __future__ import annotations

from collections import OrderedDict
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from transformers import LlamaConfig, LlamaForCausalLM

from course_utils.exercises.engine import OPEN, PASSED, WRONG, run_check
from course_utils.exercises.parameter_averaging import checkpoints
from course_utils.exercises.parameter_averaging.average import mixture
from course_utils.exercises.parameter_averaging.can_average import CAN_AVERAGE, WHY
from course_utils.exercises.parameter_averaging.kv_cache import FACTORS, PRIMES, inference_cost, named_factors
from course_utils.merging import average
from course_utils.merging.alignment import permute_units


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
    floats = {name: tensor.is_floating_point() for name, tensor in models[0].items()}
    return {name: (t if floats[name] else t.round()).to(models[0][name].dtype) for name, t in merged.items()}


def permute_by_matrices(state_dict, layer, next_layer, perm):
    P = torch.eye(len(perm))[perm]  # noqa: N806
    moved = {f"{layer}.weight": P @ state_dict[f"{layer}.weight"], f"{layer}.bias": P @ state_dict[f"{layer}.bias"]}
    return {**state_dict, **moved, f"{next_layer}.weight": state_dict[f"{next_layer}.weight"] @ P.T}


def permute_unit_by_unit_in_float64(state_dict, layer, next_layer, perm):
    result = {name: tensor.double() for name, tensor in state_dict.items()}
    for i, j in enumerate(perm.tolist()):
        result[f"{layer}.weight"][i] = state_dict[f"{layer}.weight"][j]
        result[f"{layer}.bias"][i] = state_dict[f"{layer}.bias"][j]
        result[f"{next_layer}.weight"][:, i] = state_dict[f"{next_layer}.weight"][:, j]
    return result


def barrier_in_floats(losses):
    first, *_, last = losses = losses.tolist()
    return max(loss - (first + i / (len(losses) - 1) * (last - first)) for i, loss in enumerate(losses))


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


def cost_in_floats(members, layers, kv_heads, head_dim, contexts, bytes_per_value, parameters):
    cache = sum((2.0 * kv_heads * head_dim) * layers * context * bytes_per_value for context in contexts)
    return members * np.array([parameters * bytes_per_value, cache, parameters * len(contexts)])


RIGHT = {
    "average": (average_by_stacking, average_as_it_goes),
    "permute": (permute_by_matrices, permute_unit_by_unit_in_float64),
    "barrier": (barrier_in_floats, barrier_in_numpy, barrier_clamped),
    "greedy_soup": (soup_with_a_running_mean, soup_that_asks_again),
    "kv_cache": (cost_in_floats,),
}


@pytest.mark.parametrize(("name", "answer"), [(name, answer) for name, answers in RIGHT.items() for answer in answers])
def test_another_right_answer_passes(name, answer):
    report = run_check(f"parameter_averaging.{name}", answer)
    assert report.status == PASSED, report.text


def test_the_coefficients_of_a_mixture_are_found_however_it_was_made():
    models = checkpoints(3, seed=20)
    assert torch.allclose(mixture(average(models, [1, 2, 1]), models), torch.tensor([0.25, 0.5, 0.25]).double())
    assert mixture({name: tensor**2 for name, tensor in models[0].items()}, models) is None
    assert mixture({name: tensor / 0 for name, tensor in models[0].items()}, models) is None


@pytest.mark.parametrize("values", product([True, False], repeat=4))
def test_every_table_of_pairs_hears_of_a_wrong_entry(values):
    answer = dict(zip(CAN_AVERAGE, values, strict=True))
    report = run_check("parameter_averaging.can_average", answer)
    wrong = [key for key, value in answer.items() if value != CAN_AVERAGE[key]]
    assert report.status == (WRONG if wrong else PASSED)
    assert len(set(values)) == 1 or not wrong or len(wrong) == 4 or WHY[wrong[0]][0] in report.text


def test_an_empty_table_is_not_attempted_and_numbers_count_as_booleans():
    assert run_check("parameter_averaging.can_average", dict.fromkeys(CAN_AVERAGE)).status == OPEN
    for true, false in ((1, 0), (np.True_, np.False_)):
        numbers = dict(zip(CAN_AVERAGE, [true, true, false, false], strict=True))
        assert run_check("parameter_averaging.can_average", numbers).status == PASSED
    other = run_check("parameter_averaging.can_average", {"two models": True})
    assert other.status == WRONG and "has no entry 'two models'" in other.text


def test_a_factor_of_the_cost_can_be_told_by_its_prime():
    named = named_factors(PRIMES)
    assert all(n % k for n in named.values() for k in range(2, int(n**0.5) + 1)) and len(set(named.values())) == 9
    assert tuple(np.prod([named[name] for name in part]) for part in FACTORS) == inference_cost(*PRIMES)


def test_the_cost_is_that_of_a_real_model():
    sizes = {"num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    config = LlamaConfig(vocab_size=50, hidden_size=32, intermediate_size=48, **sizes)
    model, context = LlamaForCausalLM(config).eval(), 7
    with torch.no_grad():
        cache = model(torch.zeros(1, context, dtype=torch.long), use_cache=True).past_key_values
    parameters = sum(p.numel() for p in model.parameters())
    weights, cached, adds = inference_cost(1, 3, 2, 8, [context], 4, parameters)
    assert weights == sum(p.nbytes for p in model.parameters())
    assert cached == sum(tensor.nbytes for layer in cache.layers for tensor in (layer.keys, layer.values))
    assert inference_cost(3, 3, 2, 8, [context, context], 4, parameters) == (3 * weights, 6 * cached, 6 * adds)


def test_a_reordered_model_is_the_same_function_and_cannot_be_averaged():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 3)), torch.randn(64, 4)
    weights = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    other = permute_units(weights, "0", "2", torch.randperm(32))
    y, y_other, y_mean = (functional_call(model, w, x) for w in (weights, other, average([weights, other])))
    assert torch.allclose(y, y_other, atol=1e-5)
    assert (y - y_mean).norm() > 0.3 * (y - y.mean(0)).norm()
