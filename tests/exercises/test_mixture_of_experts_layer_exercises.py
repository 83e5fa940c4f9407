"""Exercises 4 to 6 of notebook 07: answers that are right in another way, and wrong ones that nobody foresaw."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot
from wrong_answers._mixture_of_experts_layer import WRONG as WRONG_ANSWERS

from course_utils.exercises import mixture_of_experts_layer as layer
from course_utils.exercises.engine import PASSED, WRONG, find, run_check
from course_utils.exercises.mistakes import alike
from course_utils.moe import apply_capacity, switch_balance_loss
from course_utils.moe.dispatch import looped_experts, swiglu

torch.set_num_threads(1)


# --- moe_forward -----------------------------------------------------------------------------------------------------


def moe_by_boolean_mask(x, gates, experts):
    parts = {}
    for i, expert in enumerate(experts):
        mine = gates[:, i] > 0
        if mine.any():
            parts[i] = mine, gates[mine, i].unsqueeze(1) * expert(x[mine])
    y = torch.zeros(x.shape[0], next(iter(parts.values()))[1].shape[1])
    for mine, part in parts.values():
        y[mine] += part
    return y


def moe_token_by_token(x, gates, experts):
    """Row vectors, one expert call for each gate."""
    rows, width = [], None
    for row, gate in zip(x, gates):
        total = 0
        for i in range(len(experts)):
            if gate[i] != 0:
                total = total + gate[i] * experts[i](row)
                width = total.shape[-1]
        rows.append(total)
    return torch.stack([row if isinstance(row, torch.Tensor) else torch.zeros(width) for row in rows])


def moe_one_row_matrices(x, gates, experts):
    y = None
    for t, i in gates.nonzero().tolist():
        out = gates[t, i] * experts[i](x[t : t + 1])
        y = torch.zeros(len(x), out.shape[1]) if y is None else y
        y = y + torch.zeros_like(y).index_copy(0, torch.tensor([t]), out)
    return y


def moe_sorted_pairs(x, gates, experts):
    expert, token = gates.T.nonzero(as_tuple=True)
    counts = torch.bincount(expert, minlength=len(experts)).tolist()
    out = torch.cat([experts[i](part) for i, part in enumerate(x[token].split(counts)) if len(part)])
    return torch.zeros(len(x), out.shape[1]).index_add(0, token, out * gates[token, expert][:, None])


def moe_in_double(x, gates, experts):
    y = 0
    for i, expert in enumerate(experts):
        index = torch.where(gates[:, i] != 0)[0].flip(0)  # in another order
        if index.numel():
            out = gates[index, i].double()[:, None] * expert(x[index].double())
            y = y + out.new_zeros(len(x), out.shape[1]).index_put((index,), out)
    return y


def moe_without_squeeze(x, gates, experts):
    """nonzero() as it is, (n, 1): one axis more all along."""
    parts = [(r, gates[r, i].unsqueeze(-1) * e(x[r])) for i, e in enumerate(experts) if len(r := gates[:, i].nonzero())]
    y = torch.zeros(len(x), parts[0][1].shape[-1])
    for r, part in parts:
        y[r] += part
    return y


# --- switch_loss -----------------------------------------------------------------------------------------------------


def switch_in_a_loop(logits):
    n, e = logits.shape
    probs, counts = torch.softmax(logits, dim=-1), [0] * e
    for row in logits.tolist():
        counts[row.index(max(row))] += 1
    return e * sum(counts[i] / n * probs[:, i].sum() / n for i in range(e))


def switch_by_hand(logits):
    exp = logits.exp()
    probs = exp / exp.sum(1, keepdim=True)
    chosen = (logits == logits.max(1, keepdim=True).values).float()
    return logits.shape[1] * (chosen.mean(0) @ probs.mean(0))


def switch_by_bincount(logits):
    f = torch.bincount(logits.argmax(-1), minlength=logits.size(1)).double() / len(logits)
    return logits.size(1) * torch.dot(f, logits.double().softmax(1).mean(0))


def switch_counted_in_numpy(logits):
    n, e = logits.shape
    f = np.bincount(logits.argmax(1).numpy(), minlength=e) / n
    return (torch.from_numpy(f) * e * torch.exp(torch.log_softmax(logits, 1)).sum(0) / n).sum()


def switch_as_a_mean(logits):
    """GShard's form: the mean over the experts, times E^2."""
    e = logits.shape[1]
    return (one_hot(logits.argmax(1), e).float().mean(0) * logits.softmax(1).mean(0)).mean() * e**2


# --- apply_capacity --------------------------------------------------------------------------------------------------


def capacity_in_a_loop(gates, capacity):
    out, served = torch.zeros_like(gates), Counter()
    for t, i in gates.nonzero().tolist():
        if served[i] < capacity:
            out[t, i] = gates[t, i]
            served[i] += 1
    return out


def capacity_by_slices(gates, capacity):
    out = gates.clone()
    for i in range(gates.shape[1]):
        out[gates[:, i].nonzero().squeeze(1)[capacity:], i] = 0
    return out


def capacity_from_zero(gates, capacity):
    mask = one_hot(gates.argmax(1), gates.shape[1]) * (gates > 0)
    place = mask.cumsum(0) - mask  # 0 for the first
    return torch.where((place < capacity) & (mask == 1), gates.double(), 0.0)


def capacity_by_topk(gates, capacity):
    n = len(gates)
    early = (gates != 0) * torch.arange(n, 0, -1)[:, None]
    best = early.topk(min(capacity, n), dim=0).indices
    return gates * torch.zeros_like(gates).scatter(0, best, 1)


RIGHT = [
    ("moe_forward", moe_by_boolean_mask),
    ("moe_forward", moe_token_by_token),
    ("moe_forward", moe_one_row_matrices),
    ("moe_forward", moe_sorted_pairs),
    ("moe_forward", moe_in_double),
    ("moe_forward", moe_without_squeeze),
    ("switch_loss", switch_in_a_loop),
    ("switch_loss", switch_by_hand),
    ("switch_loss", switch_by_bincount),
    ("switch_loss", switch_as_a_mean),
    ("switch_loss", switch_counted_in_numpy),
    ("apply_capacity", capacity_in_a_loop),
    ("apply_capacity", capacity_by_slices),
    ("apply_capacity", capacity_from_zero),
    ("apply_capacity", capacity_by_topk),
    ("apply_capacity", lambda gates, capacity: apply_capacity(gates, capacity)[0]),
]


@pytest.mark.parametrize("name, answer", RIGHT, ids=lambda value: getattr(value, "__name__", value))
def test_another_right_answer_passes(name, answer):
    report = run_check(f"mixture_of_experts.{name}", answer)
    assert report.status == PASSED, report.text


# --- the references --------------------------------------------------------------------------------------------------


def test_moe_forward_is_the_layer_of_the_library_with_its_gradients():
    generator = torch.Generator().manual_seed(5)
    x, scores, gate_up, down = (torch.randn(shape, generator=generator, dtype=torch.float64)
                                for shape in ((11, 6), (11, 5), (5, 8, 6), (5, 6, 4)))
    gates = (scores.softmax(1) * (scores > 0.3)).requires_grad_()
    experts = [lambda rows, weights=weights: swiglu(rows, *weights) for weights in zip(gate_up, down)]
    mine, library = layer.moe_forward(x, gates, experts), looped_experts(x, gates, gate_up, down)
    assert (gates == 0).all(1).any() and torch.allclose(mine, library, atol=1e-12)
    assert torch.allclose(*(torch.autograd.grad(y.square().sum(), gates)[0] for y in (mine, library)), atol=1e-12)


def test_first_come_is_the_library_s_capacity_for_one_choice_a_token():
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        p = torch.randn(30, 5, generator=generator).softmax(1)
        gates = p * one_hot(p.argmax(1), 5) * (torch.rand(30, 1, generator=generator) > 0.2)
        for capacity in (0, 1, 4, 30):
            assert torch.equal(layer.first_come(gates, capacity), apply_capacity(gates, capacity)[0])


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: layer.moe_forward(torch.ones(3, 2), torch.ones(3, 4), [torch.tanh] * 3), "gates \\(N, 3\\)"),
        (lambda: layer.moe_forward(torch.ones(3), torch.ones(3, 1), [torch.tanh]), "x must be"),
        (lambda: layer.moe_forward(torch.ones(3, 2), torch.zeros(3, 1), [torch.tanh]), "every gate is 0"),
        (lambda: layer.first_come(torch.ones(3, 2), -1), "capacity 0 or more"),
        (lambda: layer.first_come(torch.ones(3), 1), "gates must be"),
    ],
)
def test_the_references_refuse_bad_input(call, says):
    with pytest.raises(ValueError, match=says):
        call()


# --- wrong answers ---------------------------------------------------------------------------------------------------

REFERENCES = [(layer.forward, layer.moe_forward), (layer.switch, switch_balance_loss), (layer.capacity, layer.first_come)]


@pytest.mark.parametrize("module, reference", REFERENCES, ids=lambda value: value.__name__)
def test_no_misconception_is_right_or_the_same_as_another(module, reference):
    right, found = [reference(*case) for case in module.CASES], []
    for hint, wrong in module.MISTAKES:
        mine = [wrong(*case) for case in module.CASES]
        assert not all(map(alike, mine, right)), hint
        for other, also in found:
            assert other == hint or not all(map(alike, mine, also)), (hint, other)
        found.append((hint, mine))


def test_the_experts_of_the_check_use_every_row_that_has_a_gate():
    """The exercise's inputs: gates of 0, an even k, several tokens an expert."""
    for x, gates, experts in layer.forward.CASES:
        assert len(x) == len(gates) and gates.shape[1] == len(experts)
        assert len(set((gates != 0).sum(1).tolist())) == 1 and ((gates != 0).sum(0) >= 2).all()
        assert (gates.sum(1) - 1).abs().max() > 0.1


@pytest.mark.parametrize("name", ["moe_forward", "switch_loss", "apply_capacity"])
@pytest.mark.parametrize(
    "answer, says",
    [
        (lambda *a: None, "did you forget `return`"),
        (lambda *a: "text", "is a str"),
        (lambda *a: {}["not today"], "not today"),
        (lambda *a: torch.full((2, 3, 5), math.nan), "shape|line up"),
        (lambda *a: torch.zeros(0), "shape|keepdim"),
        (lambda a: a, "does not take the arguments|one number"),
    ],
)
def test_an_answer_of_another_kind_is_told_so(name, answer, says):
    report = run_check(f"mixture_of_experts.{name}", answer)
    assert report.status == WRONG and any(part in report.text for part in says.split("|")), report.text


def test_nobody_is_stopped_by_a_token_loop_that_keeps_within_the_count():
    """One call too many is told, a hundred small ones are not."""

    def greedy(x, gates, experts):
        experts[0](x[gates[:, 0] != 0][:1])
        return moe_token_by_token(x, gates, experts)

    assert "the same row more than once" in run_check("mixture_of_experts.moe_forward", greedy).text


def test_every_exercise_has_three_hints_and_many_wrong_answers_that_are_all_different():
    assert max(Counter((wrong.exercise, wrong.code) for wrong in WRONG_ANSWERS).values()) == 1
    counts = Counter(wrong.exercise for wrong in WRONG_ANSWERS)
    assert len(counts) == 3 and min(counts.values()) >= 40
    assert all(len(find(name).hints) == 3 for name in counts)


def test_every_misconception_is_made_by_a_wrong_answer():
    """Each hint of the three lists is what some wrong answer is told."""
    told = "\n".join(run_check(wrong.exercise, _made(wrong)).text for wrong in WRONG_ANSWERS)
    for module, _ in REFERENCES:
        for hint, _ in module.MISTAKES:
            assert hint in told, hint


def _made(wrong):
    space = {}
    exec(wrong.code, space)  # noqa: S102
    return space["my_" + wrong.exercise.split(".")[1]]
