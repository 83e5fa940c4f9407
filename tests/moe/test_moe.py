"""The gates and losses against closed forms, the four ways through the experts against each other, transformers and
autograd.

Run under torchrun, this file is the worker of the test of experts on two processes.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from course_utils import moe
from course_utils.moe.dispatch import (
    BLOCK,
    fused_experts,
    grouped_experts,
    looped_experts,
    masked_experts,
    plan_dispatch,
)
from course_utils.moe.expert_parallel import expert_parallel_forward

STEPS = (looped_experts, grouped_experts, fused_experts)
INF = math.inf


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def layer(tokens: int = 11, experts: int = 5, k: int = 2, d: int = 6, h: int = 4, seed: int = 0) -> list[torch.Tensor]:
    """x, gates, gate_up, down."""
    gates = moe.keep_top_k(randn(tokens, experts, seed=seed + 1), k).softmax(-1)
    return [
        randn(tokens, d, seed=seed),
        gates,
        randn(experts, 2 * h, d, seed=seed + 2),
        randn(experts, d, h, seed=seed + 3),
    ]


def with_gradients(step, tensors: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """The output and the gradients of a weighted sum of it; those of gates that are 0 are left out."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    y = step(*leaves)
    if y.requires_grad:  # a plain step without any token for any expert is a constant
        y.backward(randn(*y.shape, seed=9, dtype=y.dtype))
    x, gates, gate_up, down = (torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves)
    return y.detach(), x, gates * (leaves[1] != 0), gate_up, down


def assert_same(ours, theirs, **tolerance) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


# ---- who is chosen


def test_keep_top_k_leaves_minus_infinity_so_that_the_softmax_gives_exactly_zero():
    v = torch.tensor([[1.0, 3.0, 2.0], [0.0, -1.0, -2.0]])
    assert moe.keep_top_k(v, 2).tolist() == [[-INF, 3.0, 2.0], [0.0, -1.0, -INF]]
    gates = moe.keep_top_k(v, 2).softmax(-1)
    assert gates[0, 0] == 0 and gates[0, 1].item() == pytest.approx(1 / (1 + math.exp(-1)))


@given(st.integers(1, 6), st.lists(st.integers(-2, 2), min_size=6, max_size=6))
@settings(max_examples=60, deadline=None)
def test_ties_keep_exactly_k_and_the_largest(k, values):
    kept = moe.keep_top_k(torch.tensor([values], dtype=torch.float64), k)[0]
    assert sorted(kept[kept > -INF].tolist()) == sorted(map(float, values))[-k:]


@pytest.mark.parametrize("k", [0, -1, 4])
def test_k_outside_the_experts_is_refused_in_one_line(k):
    for call in (
        lambda: moe.keep_top_k(randn(2, 3), k),
        lambda: moe.switch_balance_loss(randn(2, 3), k),
        lambda: moe.MixtureOfExperts(4, 4, 3, k),
        lambda: moe.biased_gates(randn(2, 3), torch.zeros(3), k),
    ):
        with pytest.raises(ValueError, match="k must be from 1 to the number of experts, 3") as error:
            call()
        assert "\n" not in str(error.value)


def test_noisy_gate_is_the_papers_formula():
    x, w_gate, w_noise, noise = randn(7, 3), randn(3, 4, seed=1), randn(3, 4, seed=2), randn(7, 4, seed=3)
    got = moe.noisy_top_k_gate(x, w_gate, w_noise, 2, noise)
    h = x @ w_gate + noise * torch.log1p(torch.exp(x @ w_noise))
    for row, gates in zip(h, got.gates):
        best = row.argsort(descending=True)[:2]
        expected = torch.zeros(4, dtype=torch.float64)
        expected[best] = row[best].exp() / row[best].exp().sum()
        torch.testing.assert_close(gates, expected)
    same = [
        moe.noisy_top_k_gate(x, w_gate, w_noise, 2, generator=torch.Generator().manual_seed(5)).gates for _ in range(2)
    ]
    assert torch.equal(*same) and not torch.equal(same[0], got.gates)
    assert torch.equal(moe.noisy_top_k_gate(x, w_gate, w_noise, 2, torch.zeros(7, 4)).noisy, x @ w_gate)


def test_with_one_expert_the_gate_learns_nothing():
    x, w_gate = randn(7, 3), randn(3, 4, seed=1).requires_grad_()
    gates = moe.noisy_top_k_gate(x, w_gate, torch.zeros(3, 4, dtype=torch.float64), 1, randn(7, 4)).gates
    (gates * randn(7, 4, seed=2)).sum().backward()
    assert set(gates.flatten().tolist()) == {0.0, 1.0} and w_gate.grad.abs().max() == 0


# ---- the load


def test_cv_squared_closed_forms():
    assert moe.cv_squared(torch.full((8,), 3.0)) == 0
    assert moe.cv_squared(torch.tensor([0.0, 0, 12, 0])).item() == pytest.approx(3)  # E - 1
    assert moe.cv_squared(torch.tensor([1.0, 3])).item() == pytest.approx(0.25)
    assert moe.cv_squared(torch.zeros(4)) == 0
    with pytest.raises(ValueError, match="at least one number"):
        moe.cv_squared(torch.zeros(0))


def test_importance_is_the_sum_of_the_gates():
    gates = torch.tensor([[0.75, 0.25], [0.75, 0.25]], dtype=torch.float64)
    assert moe.importance_loss(gates, 0.1).item() == pytest.approx(0.1 * 0.25)
    assert moe.importance_loss(torch.eye(4)) == 0


@pytest.mark.parametrize("k", [1, 2, 3])
def test_chosen_probability_excludes_the_expert_itself(k):
    gating = moe.noisy_top_k_gate(randn(6, 3), randn(3, 4, seed=1), randn(3, 4, seed=2), k, randn(6, 4, seed=3))
    p = moe.chosen_probability(gating, k)
    for n in range(6):
        for i in range(4):
            others = sorted((gating.noisy[n, j].item() for j in range(4) if j != i), reverse=True)
            z = (gating.clean[n, i].item() - others[k - 1]) / gating.std[n, i].item()
            assert p[n, i].item() == pytest.approx(0.5 * (1 + math.erf(z / math.sqrt(2))), abs=1e-12)


def test_chosen_probability_is_what_redrawn_noise_gives_and_has_a_gradient():
    x, w_gate, w_noise, noise = (
        randn(1, 3),
        randn(3, 4, seed=1).requires_grad_(),
        randn(3, 4, seed=2),
        randn(1, 4, seed=3),
    )
    gating = moe.noisy_top_k_gate(x, w_gate, w_noise, 2, noise)
    p = moe.chosen_probability(gating, 2)[0]
    for i in range(4):
        again = noise.repeat(20_000, 1)
        again[:, i] = randn(20_000, seed=4 + i)
        drawn = moe.noisy_top_k_gate(x.repeat(20_000, 1), w_gate, w_noise, 2, again).gates[:, i]
        assert (drawn > 0).double().mean().item() == pytest.approx(p[i].item(), abs=0.015)
    moe.load_loss(gating, 2).backward()
    assert w_gate.grad.abs().max() > 0
    assert moe.load_loss(moe.noisy_top_k_gate(x, w_gate, w_noise, 4, noise), 4) == 0  # k = E: nobody can be left out


def test_switch_balance_is_one_when_even_and_e_when_all_choose_one():
    assert moe.switch_balance_loss(100 * torch.eye(4)).item() == pytest.approx(1)
    assert moe.switch_balance_loss(torch.tensor([[100.0, 0, 0, 0]] * 5), weight=0.01).item() == pytest.approx(0.04)


def test_switch_balance_is_transformers_loss_divided_by_k():
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    logits = randn(50, 8)
    for k in (1, 2, 3):
        theirs = load_balancing_loss_func((logits,), 8, k)
        torch.testing.assert_close(moe.switch_balance_loss(logits, k) * k, theirs, check_dtype=False)


def test_capacity_serves_first_choices_first_and_drops_the_rest():
    gates = torch.tensor([[0.4, 0.6, 0], [0.9, 0.1, 0], [0.7, 0, 0.3], [1.0, 0, 0]])
    kept, dropped = moe.apply_capacity(gates, 2)
    # expert 0 takes tokens 1 and 2 (first choices) and has no room for token 3, nor for the second choice of token 0
    assert torch.equal(kept, torch.tensor([[0, 0.6, 0], [0.9, 0.1, 0], [0.7, 0, 0.3], [0, 0, 0]]))
    assert dropped.tolist() == [False, False, False, True]
    assert moe.apply_capacity(gates, 0)[1].all() and torch.equal(moe.apply_capacity(gates, 4)[0], gates)
    assert (moe.expert_capacity(8, 4, 2, 1.0), moe.expert_capacity(9, 4, 1, 1.25)) == (4, 3)
    for call in (lambda: moe.apply_capacity(gates, -1), lambda: moe.expert_capacity(8, 4, factor=0)):
        with pytest.raises(ValueError, match="capacity|factor"):
            call()


@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 6), st.integers(0, 50))
@settings(max_examples=60, deadline=None)
def test_capacity_is_kept_and_room_is_used(tokens, k, capacity, seed):
    gates = moe.keep_top_k(randn(tokens, 4, seed=seed), k).softmax(-1)
    kept, _ = moe.apply_capacity(gates, capacity)
    asked, got = (gates != 0).sum(0), (kept != 0).sum(0)
    assert torch.equal(got, asked.clamp(max=capacity)) and ((kept == 0) | (kept == gates)).all()


def test_expert_choice_is_even_and_takes_the_best_tokens():
    logits = randn(9, 3)
    gates = moe.expert_choice(logits, 4)
    assert (gates != 0).sum(0).tolist() == [4, 4, 4]
    for i in range(3):
        column = logits.softmax(-1)[:, i]
        assert torch.equal(gates[:, i], torch.where(column >= column.sort().values[-4], column, 0))
    with pytest.raises(ValueError, match="capacity must be from 1 to the number of tokens, 9"):
        moe.expert_choice(logits, 10)


def test_the_bias_evens_the_load_and_does_not_weigh():
    logits, bias = randn(400, 4) + torch.tensor([2.0, 0, 0, -2]), torch.zeros(4, dtype=torch.float64)
    assert torch.equal(moe.biased_gates(logits, bias, 2), moe.biased_gates(logits, bias + 7, 2))
    before = moe.biased_gates(logits, bias, 2)
    for _ in range(300):
        bias = moe.balanced_bias(bias, moe.biased_gates(logits, bias, 2), 0.01)
    after = moe.biased_gates(logits, bias, 2)
    load = [moe.cv_squared((gates != 0).double().sum(0)) for gates in (before, after)]
    assert load[1] < 0.01 < 0.1 < load[0]
    torch.testing.assert_close(after.sum(-1), torch.ones(400, dtype=torch.float64))


# ---- the layer


@given(st.integers(0, 12), st.integers(1, 6), st.integers(1, 6), st.integers(0, 30))
@settings(max_examples=30, deadline=None)
def test_every_step_equals_the_one_before(tokens, experts, k, seed):
    tensors = layer(tokens, experts, min(k, experts), seed=seed)
    expected = with_gradients(masked_experts, tensors)
    for step in STEPS:
        assert_same(with_gradients(step, tensors), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("d", "h"), [(8, 16), (6, 4), (5, 3), (1, 1)]
)  # only the first has rows of a multiple of 16 bytes throughout
@pytest.mark.parametrize("tokens", [0, 1, 13])
def test_fused_experts_in_all_precisions_odd_sizes_and_without_rows(dtype, d, h, tokens):
    tensors = [tensor.to(dtype) for tensor in layer(tokens, d=d, h=h)]
    tensors[1][:, 2] = 0
    tensors[2][2], tensors[3][2] = math.nan, math.nan  # never read: the gradients are 0
    got = with_gradients(fused_experts, tensors)
    assert not got[3][2].any() and not got[4][2].any()
    exact = with_gradients(lambda *leaves: looped_experts(*(leaf.double() for leaf in leaves)).to(dtype), tensors)
    for ours, expected in zip(got, exact, strict=True):
        error = (ours.double() - expected.double()).abs().max() if ours.numel() else 0
        assert error <= 8 * torch.finfo(dtype).eps * max(1, expected.double().abs().max().item() if ours.numel() else 0)


def test_fused_experts_take_weights_in_any_layout():
    tensors = [tensor.float() for tensor in layer(d=8, h=16)]
    expected = with_gradients(masked_experts, tensors)
    for view in (
        lambda w: w.mT.contiguous().mT,
        lambda w: torch.nn.functional.pad(w, (0, 1))[..., :-1],
        lambda w: torch.stack([w, w], -1)[..., 0],
    ):
        leaves = [*tensors[:2], *(view(w) for w in tensors[2:])]
        y = fused_experts(*(leaf.requires_grad_() for leaf in leaves))
        y.backward(randn(*y.shape, seed=9, dtype=y.dtype))
        assert_same(
            [y, *(leaf.grad for leaf in (leaves[0], *leaves[2:]))],
            [expected[0], expected[1], *expected[3:]],
            rtol=1e-4,
            atol=1e-4,
        )
        tensors = [tensor.detach() for tensor in tensors]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_blocks_of_experts_cover_all_rows_once(dtype):
    counts = [0, BLOCK + 1, 3, 0, BLOCK - 3, 1, 0]
    gates = torch.eye(7, dtype=dtype).repeat_interleave(torch.tensor(counts), dim=0)
    x, gate_up, down = (
        randn(len(gates), 8, dtype=dtype),
        randn(7, 8, 8, seed=1, dtype=dtype),
        randn(7, 8, 4, seed=2, dtype=dtype),
    )
    torch.testing.assert_close(fused_experts(x, gates, gate_up, down), looped_experts(x, gates, gate_up, down))


@pytest.mark.parametrize("step", STEPS)
def test_any_gates_will_do_capped_chosen_by_experts_or_none(step):
    x, gates, *weights = layer(tokens=9)
    for other in (moe.apply_capacity(gates, 2)[0], moe.expert_choice(randn(9, 5), 3), torch.zeros_like(gates), -gates):
        assert_same(with_gradients(step, [x, other, *weights]), with_gradients(masked_experts, [x, other, *weights]))


def test_hand_written_gradient_against_finite_differences():
    tensors = [tensor.requires_grad_() for tensor in layer(tokens=4, experts=3, d=3, h=2)]
    fixed = tensors[1].detach() != 0
    assert torch.autograd.gradcheck(lambda x, gates, *weights: fused_experts(x, gates * fixed, *weights), tensors)


@pytest.mark.parametrize("wanted", range(4))
def test_only_the_gradients_that_are_wanted(wanted):
    tensors = layer()
    expected = with_gradients(masked_experts, tensors)[1 + wanted]
    tensors[wanted].requires_grad_()
    fused_experts(*tensors).backward(randn(11, 6, seed=9))
    torch.testing.assert_close(tensors[wanted].grad * (tensors[wanted] != 0), expected)
    assert all(tensor.grad is None for tensor in tensors if not tensor.requires_grad)


@pytest.mark.parametrize("step", STEPS)
def test_experts_with_weight_zero_are_never_evaluated(step):
    x, gates, gate_up, down = layer(tokens=10, experts=5, k=2, d=6, h=4)
    gates[:, 3] = 0
    gate_up[3], down[3] = math.nan, math.nan  # 0 times this would be seen
    assert step(x, gates, gate_up, down).isfinite().all()
    with FlopCounterMode(display=False) as counter:
        step(x, gates, gate_up, down)
    pairs = int((gates != 0).sum())
    assert counter.get_total_flops() == pairs * 2 * 3 * 6 * 4 < 10 * 5 * 2 * 3 * 6 * 4


@pytest.mark.parametrize("step", STEPS)
def test_all_experts_are_the_dense_mix_and_tokens_do_not_see_each_other(step):
    x, _, gate_up, down = layer(experts=3)
    gates = moe.keep_top_k(randn(11, 3), 3).softmax(-1)
    assert torch.equal(gates, randn(11, 3).softmax(-1))
    y = step(x, gates, gate_up, down)
    torch.testing.assert_close(y, masked_experts(x, gates, gate_up, down))
    order = torch.randperm(11, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(step(x[order], gates[order], gate_up, down), y[order])
    torch.testing.assert_close(step(x[4:5], gates[4:5], gate_up, down), y[4:5])


def test_plan_is_sorted_by_expert_then_token():
    plan = plan_dispatch(torch.tensor([[0.5, 0, 0.5], [0, 0, 1.0], [1.0, 0, 0]]))
    assert (plan.token.tolist(), plan.expert.tolist(), plan.counts) == ([0, 2, 0, 1], [0, 0, 2, 2], [2, 0, 2])


@pytest.mark.parametrize(
    ("place", "wrong", "words"),
    [
        (1, randn(11, 4), "gate_up must be"),
        (0, randn(10, 6), "gates must be"),
        (3, randn(5, 6, 3), "gate_up must be"),
        (0, randn(11), "two axes"),
        (2, randn(5, 8, 6).float(), "one dtype"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_in_one_line(place, wrong, words):
    tensors = layer()
    tensors[place] = wrong
    for step in (masked_experts, *STEPS):
        with pytest.raises(ValueError, match=words) as error:
            step(*tensors)
        assert "\n" not in str(error.value)


# ---- the module


@pytest.mark.parametrize(("experts", "k"), [(8, 2), (4, 1), (3, 3)])
@pytest.mark.parametrize("implementation", ["eager", "grouped_mm"])
def test_module_equals_transformers_mixtral_block(experts, k, implementation):
    from transformers import MixtralConfig
    from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

    config = MixtralConfig(hidden_size=32, intermediate_size=48, num_local_experts=experts, num_experts_per_tok=k)
    config._experts_implementation = implementation
    torch.manual_seed(0)
    ours, theirs = moe.MixtureOfExperts(32, 48, experts, k), MixtralSparseMoeBlock(config)
    theirs.load_state_dict(ours.state_dict())  # strict: same names, same shapes
    x = randn(3, 7, 32, dtype=torch.float32)
    assert_same(values_and_gradients(ours, x), values_and_gradients(theirs, x), rtol=1e-4, atol=1e-5)


def values_and_gradients(block: torch.nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """The output of a block, and its gradients for x and for its parameters, sorted by name."""
    x = x.clone().requires_grad_()
    y = block(x)
    y.backward(randn(*y.shape, seed=1, dtype=y.dtype))
    return [y, x.grad, *(parameter.grad for _, parameter in sorted(block.named_parameters()))]


@pytest.mark.parametrize(("experts", "k", "shared"), [(16, 4, 2), (6, 1, 1), (4, 4, 3)])
@pytest.mark.parametrize("implementation", ["eager", "grouped_mm"])
def test_shared_and_fine_grained_experts_are_transformers_deepseek_block(experts, k, shared, implementation):
    from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2Config, DeepseekV2Moe

    sizes = dict(hidden_size=32, moe_intermediate_size=12, n_routed_experts=experts, num_experts_per_tok=k)
    config = DeepseekV2Config(**sizes, n_shared_experts=shared, topk_method="greedy", num_attention_heads=4)
    config._experts_implementation = implementation
    torch.manual_seed(0)
    ours, theirs = moe.MixtureOfExperts(32, 12, experts, k, n_shared=shared, normalise=False), DeepseekV2Moe(config)
    theirs.load_state_dict(ours.state_dict())  # strict: same names, same shapes
    x = randn(3, 7, 32, dtype=torch.float32)
    assert_same(values_and_gradients(ours, x), values_and_gradients(theirs, x), rtol=1e-4, atol=1e-5)


def test_gates_that_are_not_normalised_are_the_normalised_ones_times_the_chosen_probability():
    logits = randn(9, 6)
    gates, share = moe.softmax_then_top_k(logits, 2), logits.softmax(-1).topk(2).values.sum(-1, keepdim=True)
    assert ((gates > 0).sum(-1) == 2).all() and (share < 1).all()
    torch.testing.assert_close(gates, share * moe.keep_top_k(logits, 2).softmax(-1))
    torch.testing.assert_close(moe.softmax_then_top_k(logits, 6), logits.softmax(-1))
    with pytest.raises(ValueError, match="k must be from 1 to the number of experts, 6, got 7"):
        moe.softmax_then_top_k(logits, 7)


def test_at_k_1_only_the_gate_before_the_choice_has_a_gradient():
    logits = randn(5, 4).requires_grad_()
    weights = randn(5, 4, seed=1)
    after, before = moe.keep_top_k(logits, 1).softmax(-1), moe.softmax_then_top_k(logits, 1)
    gradients = [torch.autograd.grad((gates * weights).sum(), logits)[0].abs().max() for gates in (after, before)]
    assert gradients[0] == 0 and gradients[1] > 0.01


def test_two_shared_experts_are_the_sum_of_both():
    torch.manual_seed(0)
    block = moe.MixtureOfExperts(6, 4, 3, 1, n_shared=2)
    x, shared = randn(5, 6, dtype=torch.float32), block.shared_experts
    gate, up, down = (each.weight for each in (shared.gate_proj, shared.up_proj, shared.down_proj))
    each = [
        torch.nn.functional.linear(torch.nn.functional.silu(x @ gate[rows].T) * (x @ up[rows].T), down[:, rows])
        for rows in (slice(0, 4), slice(4, 8))
    ]
    without = moe.MixtureOfExperts(6, 4, 3, 1)
    without.load_state_dict({name: w for name, w in block.state_dict().items() if "shared" not in name})
    torch.testing.assert_close(block(x), without(x) + each[0] + each[1])
    with pytest.raises(ValueError, match="n_shared must be 0 or more, got -1"):
        moe.MixtureOfExperts(6, 4, 3, 1, n_shared=-1)


# ---- one mixture from several models


def small_llama(seed: int):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    sizes = dict(vocab_size=20, hidden_size=16, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2)
    return LlamaForCausalLM(LlamaConfig(**sizes, tie_word_embeddings=True, pad_token_id=0)).eval()


IDS = torch.tensor([[1, 5, 3, 17, 2, 9]])


def logits_with_gates(mixture, gates: list[float] | None = None) -> torch.Tensor:
    """The mixture's logits, with the same gates for every token of every layer instead of its own if they are given."""
    hooks = []
    for layer in mixture.model.layers if gates else []:
        scores = torch.tensor(gates).log()  # softmax(log gates) = gates
        hooks.append(layer.mlp.gate.register_forward_hook(lambda m, i, o, scores=scores: scores.expand_as(o)))
    with torch.no_grad():
        found = mixture(input_ids=IDS).logits
    for hook in hooks:
        hook.remove()
    return found


def test_copies_of_one_model_give_that_model_whatever_the_gates():
    one = small_llama(0)
    with torch.no_grad():
        expected = one(input_ids=IDS).logits
    mixture = moe.mix_specialists([one, one, one], top_k=2)
    for gates in (None, [0.0, 1.0, 0.0], [0.9, 0.1, 0.0]):
        torch.testing.assert_close(logits_with_gates(mixture, gates), expected)
    assert type(mixture) is type(one) and mixture.model.layers[0].mlp.top_k == 2


def test_a_gate_of_one_gives_the_specialist_if_they_differ_in_nothing_else():
    specialists = [small_llama(0) for _ in range(3)]
    for number, model in enumerate(specialists):
        for layer in model.model.layers:
            layer.mlp.load_state_dict(small_llama(number + 5).model.layers[0].mlp.state_dict())
    before = [[value.clone() for value in model.state_dict().values()] for model in specialists]
    mixture = moe.mix_specialists(specialists, top_k=2)
    for number, model in enumerate(specialists):
        gates = torch.eye(3)[number].tolist()
        with torch.no_grad():
            torch.testing.assert_close(logits_with_gates(mixture, gates), model(input_ids=IDS).logits)
        assert all(map(torch.equal, before[number], model.state_dict().values()))  # they stay as they are


def test_all_but_the_experts_is_averaged_and_each_router_is_new():
    specialists = [small_llama(0), small_llama(1)]
    torch.manual_seed(3)
    mixture = moe.mix_specialists(specialists, top_k=1)
    mean = [(a + b) / 2 for a, b in zip(*(model.model.layers[1].self_attn.parameters() for model in specialists))]
    assert_same(list(mixture.model.layers[1].self_attn.parameters()), mean)
    torch.testing.assert_close(mixture.lm_head.weight, sum(model.lm_head.weight for model in specialists) / 2)
    assert mixture.lm_head.weight is mixture.model.embed_tokens.weight  # still tied
    routers = [layer.mlp.gate.weight for layer in mixture.model.layers]
    assert not torch.equal(*routers) and routers[0].shape == (2, 16)
    torch.manual_seed(3)
    again = moe.mix_specialists(specialists, top_k=1)
    assert_same(list(mixture.parameters()), list(again.parameters()))
    with pytest.raises(ValueError, match="k must be from 1 to the number of experts, 2"):
        moe.mix_specialists(specialists, top_k=3)
    with pytest.raises(ValueError, match="nothing to merge"):
        moe.mix_specialists([], top_k=1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_module_works_in_other_precisions(dtype):
    torch.manual_seed(0)
    block = moe.MixtureOfExperts(16, 24, 4, 2)
    x = randn(20, 16, dtype=torch.float32)
    gates = block.route(x)[1]
    y, expected = block.to(dtype)(x.to(dtype), gates.to(dtype)), block.float()(x, gates)
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), expected, rtol=0.1, atol=0.1 if dtype == torch.bfloat16 else 1e-5)


def test_module_takes_other_gates_and_says_what_is_wrong():
    block = moe.MixtureOfExperts(6, 4, 5, 2)
    x = randn(2, 3, 6, dtype=torch.float32)
    torch.testing.assert_close(block(x), block(x, block.route(x.view(6, 6))[1]))
    with pytest.raises(ValueError, match=r"x must be \(\.\.\., 6\), got \(2, 5\)"):
        block(torch.zeros(2, 5))
    with pytest.raises(ValueError, match="must be at least 1"):
        moe.MixtureOfExperts(6, 0, 5, 2)


# ---- several processes


def test_without_a_process_group_it_says_what_to_do():
    with pytest.raises(ValueError, match="torchrun"):
        expert_parallel_forward(*layer())


def parallel_case() -> list[torch.Tensor]:
    """13 tokens, 6 experts of which the fifth has no token; float32, as in use."""
    x, gates, *weights = (tensor.float() for tensor in layer(13, 6, 2, 8, 5))
    gates[:, 4] = 0
    return [x, gates, *weights]


def share_of(rank: int) -> tuple[slice, slice]:
    """The tokens and the experts of one of two processes; the tokens are not shared out evenly."""
    return (slice(0, 9), slice(9, 13))[rank], slice(3 * rank, 3 * rank + 3)


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform == "win32", reason="torchrun does not start with torch's builds for Windows (no libuv)"
)
def test_two_processes_equal_one(tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        __file__,
        str(tmp_path),
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    y, x, gates, gate_up, down = with_gradients(masked_experts, parallel_case())
    for rank in range(2):
        tokens, experts = share_of(rank)
        assert_same(
            torch.load(tmp_path / f"{rank}.pt"),
            (y[tokens], x[tokens], gates[tokens], gate_up[experts], down[experts]),
            rtol=1e-5,
            atol=1e-5,
        )


def worker(folder: Path) -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    tokens, experts = share_of(rank)
    x, gates, gate_up, down = parallel_case()
    mine = [x[tokens], gates[tokens], gate_up[experts], down[experts]]
    grad = randn(13, 8, seed=9, dtype=torch.float32)[tokens]
    leaves = [tensor.clone().requires_grad_() for tensor in mine]
    y = expert_parallel_forward(*leaves)
    y.backward(grad)
    torch.save(
        [y.detach(), leaves[0].grad, leaves[1].grad * (mine[1] != 0), leaves[2].grad, leaves[3].grad],
        folder / f"{rank}.pt",
    )
    with pytest.raises(ValueError, match="2 processes and 3 experts"):
        expert_parallel_forward(x[tokens], gates[tokens, :5], *mine[2:])
    dist.destroy_process_group()


if __name__ == "__main__":
    worker(Path(sys.argv[1]))
