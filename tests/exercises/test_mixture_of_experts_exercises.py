"""The exercises of notebook 07: right answers that are written in another way, and what the references are."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot, softplus
from transformers import LlamaConfig, LlamaForCausalLM

from course_utils.exercises.engine import PASSED, find, run_check
from course_utils.exercises.mixture_of_experts.apply_capacity import first_come
from course_utils.exercises.mixture_of_experts.mix_specialists import EXPERT, mix_specialists
from course_utils.exercises.mixture_of_experts.moe_forward import moe_forward
from course_utils.exercises.mixture_of_experts.noisy_gate import FIRST, noisy_gate
from course_utils.exercises.mixture_of_experts.shared_and_routed import shared_and_routed
from course_utils.moe import MixtureOfExperts, apply_capacity, keep_top_k, noisy_top_k_gate
from course_utils.moe import mix_specialists as mix_library
from course_utils.moe.dispatch import looped_experts, swiglu

NAMES = {"np": np, "torch": torch, "math": math, "one_hot": one_hot, "softplus": softplus, "keep_top_k": keep_top_k}

# exercise: (its arguments, right answers: an expression, or the body of a function)
RIGHT = {
    "keep_top_k": (
        "v, k",
        "torch.tensor([[s if j in sorted(range(len(r)), key=r.__getitem__)[-k:] else -math.inf for j, s in "
        "enumerate(r)]"
        " for r in v.tolist()])",
        "v.double().masked_fill(v.argsort(-1, descending=True).argsort(-1) >= k, -math.inf)",
        "keep_top_k(v.flip(-1), k).flip(-1)",  # the last of equals
        "v + torch.zeros_like(v).scatter(-1, v.topk(k).indices, 1.0).log()",
        "out = v.clone(); out.scatter_(-1, v.argsort(dim=-1, stable=True)[:, : v.shape[1] - k], -torch.inf); "
        "return out",
    ),
    "noisy_gate": (
        "x, w_gate, w_noise, k, noise",
        "p = (x @ w_gate + noise * softplus(x @ w_noise)).softmax(-1); p = p * (p.argsort(-1).argsort(-1) >= "
        "p.shape[1] - k); "
        "return p / p.sum(-1, keepdim=True)",
        "h = x @ w_gate + noise * torch.log1p((x @ w_noise).exp()); best = h.topk(k); "
        "return torch.zeros_like(h).scatter(1, best.indices, best.values.softmax(1))",
        "h = torch.einsum('nd,de->ne', x, w_gate).add(noise.mul(softplus(torch.einsum('nd,de->ne', x, w_noise)))); "
        "return h.where(keep_top_k(h, k) == h, -1e9).softmax(-1)",
        "h = (x @ w_gate + noise * softplus(x @ w_noise)).double(); return keep_top_k(h, k).softmax(1)",
        "torch.stack([keep_top_k(row @ w_gate + n * softplus(row @ w_noise), k).softmax(0) for row, n in zip(x, "
        "noise)])",
    ),
    "importance_loss": (
        "gates",
        "t = list(gates.sum(0)); mean = sum(t) / len(t); return sum((one - mean) ** 2 for one in t) / len(t) / mean**2",
        "gates.shape[1] * (gates.mean(dim=0) ** 2).sum() - 1",  # rows sum to 1
        "t = gates.sum(0).double(); return (t.std(unbiased=False) / t.mean()).pow(2)",
        "(gates.sum(0) / gates.sum(0).mean() - 1).square().mean()",
    ),
    "moe_forward": (
        "x, gates, experts",
        "parts = {i: gates[gates[:, i] > 0, i].unsqueeze(1) * e(x[gates[:, i] > 0]) for i, e in enumerate(experts) "
        "if gates[:, i].any()}; y = torch.zeros(len(x), next(iter(parts.values())).shape[1]); "
        "[y.__setitem__(gates[:, i] > 0, y[gates[:, i] > 0] + part.to(y.dtype)) for i, part in parts.items()]; "
        "return y",
        "pairs = gates.nonzero().tolist(); out = [gates[t, i] * experts[i](x[[t]])[0] for t, i in pairs]; "
        "return torch.stack([sum([o for o, (t, _) in zip(out, pairs) if t == n], 0 * out[0]) for n in range(len(x))])",
        "expert, token = gates.T.nonzero(as_tuple=True); counts = torch.bincount(expert, "
        "minlength=len(experts)).tolist(); "
        "out = torch.cat([experts[i](part) for i, part in enumerate(x[token].split(counts)) if len(part)]); "
        "return out.new_zeros(len(x), out.shape[1]).index_add(0, token, out * gates[token, expert][:, None])",
        "parts = [(r, gates[r, i].unsqueeze(-1).double() * e(x[r].double())) for i, e in enumerate(experts) "
        "if len(r := gates[:, i].nonzero().squeeze(1))]; y = torch.zeros(len(x), parts[0][1].shape[-1]).double(); "
        "return sum((y.index_put((r,), part) for r, part in parts), y)",
    ),
    "switch_loss": (
        "logits",
        "c = [0] * logits.shape[1]; [c.__setitem__(r.index(max(r)), c[r.index(max(r))] + 1) for r in logits.tolist()]; "
        "return len(c) * sum(n * logits.softmax(1)[:, i].sum() for i, n in enumerate(c)) / len(logits) ** 2",
        "p = logits.exp() / logits.exp().sum(1, keepdim=True); f = (logits == logits.amax(1, "
        "keepdim=True)).to(p.dtype); "
        "return logits.shape[1] * (f.mean(0) @ p.mean(0))",
        "f = torch.bincount(logits.argmax(-1), minlength=logits.size(1)).double() / len(logits); "
        "return logits.size(1) * torch.dot(f, logits.double().softmax(1).mean(0))",
        "f = torch.from_numpy(np.bincount(logits.argmax(1).numpy(), minlength=logits.shape[1])) / len(logits); "
        "return (f * logits.shape[1] * logits.softmax(1).sum(0) / len(logits)).sum()",
        "e = logits.shape[1]; return (one_hot(logits.argmax(1), e).float().mean(0) * "
        "logits.softmax(1).mean(0)).mean() * e**2",
    ),
    "apply_capacity": (
        "gates, capacity",
        "out = gates.clone(); [out[:, i].index_fill_(0, gates[:, i].nonzero().squeeze(1)[capacity:], 0) for i in "
        "range(gates.shape[1])]; return out",
        "mask = one_hot(gates.argmax(1), gates.shape[1]) * (gates > 0); "
        "return torch.where((mask.cumsum(0) - mask < capacity) & (mask == 1), gates.double(), 0.0)",
        "early = (gates != 0) * torch.arange(len(gates), 0, -1)[:, None]; "
        "return gates * torch.zeros_like(gates).scatter(0, early.topk(min(capacity, len(gates)), dim=0).indices, 1)",
    ),
    "mix_specialists": (
        "blocks",
        "ffn = ['gate_proj', 'up_proj', 'down_proj']; mixed = {n: sum(b[n] for b in blocks) / len(blocks) for n in "
        "blocks[0] if n not in ffn}; mixed['gate_up_proj'] = torch.cat([torch.stack([b[n] for b in blocks]) for n in "
        "ffn[:2]], 1); mixed['down_proj'] = torch.stack([b['down_proj'] for b in blocks]); return mixed",
        "E = len(blocks); (h, d) = blocks[0]['up_proj'].shape; up = torch.empty(E, 2 * h, d).to(blocks[0]['up_proj']); "
        "[(up[i, :h].copy_(b['gate_proj']), up[i, h:].copy_(b['up_proj'])) for i, b in enumerate(blocks)]; "
        "return {'gate_up_proj': up, 'down_proj': torch.cat([b['down_proj'][None] for b in blocks]), **{n: "
        "torch.stack([b[n] for b in blocks]).sum(0).div(E) for n in blocks[0] if not n.endswith(('gate_proj', "
        "'up_proj', 'down_proj'))}}",
    ),
    "shared_and_routed": (
        "x, logits, shared, routed, k",
        "p = logits.softmax(1); p = p * (p.argsort(1).argsort(1) >= p.shape[1] - k); outputs = [e(x) for e in routed]; "
        "return torch.einsum('ne,ned->nd', p, torch.stack(outputs, 1)) + sum((e(x) for e in shared), 0 * x)",
        "z = keep_top_k(logits, k); g = (z - logits.logsumexp(-1, keepdim=True)).exp(); "
        "return sum([e(x) for e in shared] + [g[:, i].unsqueeze(1) * e(x) for i, e in enumerate(routed)])",
        "p = logits.double().softmax(-1); y = torch.zeros_like(x).double(); v, at = p.topk(k); "
        "y = y + sum([e(x) for e in shared]) if shared else y; "
        "return y + torch.stack([sum(v[n, j] * routed[i](x[[n]])[0] for j, i in enumerate(at[n].tolist())) for n in "
        "range(len(x))])",
    ),
}


def answer_of(arguments: str, body: str):
    """The function of a one-line body; an expression is returned."""
    names = dict(NAMES)
    body = body if "return " in body else f"return {body}"
    exec(f"def answer({arguments}):\n    " + body, names)  # noqa: S102
    return names["answer"]


@pytest.mark.parametrize(("name", "body"), [(name, body) for name, (_, *bodies) in RIGHT.items() for body in bodies])
def test_another_right_answer_passes(name, body):
    report = run_check(f"mixture_of_experts.{name}", answer_of(RIGHT[name][0], body))
    assert report.status == PASSED, report.text


@pytest.mark.parametrize("name", ["keep_top_k", "noisy_gate", "importance_loss", "apply_capacity"])
def test_the_code_of_the_last_hint_passes(name):
    *before, value = find(f"mixture_of_experts.{name}").hints[-1].replace("my_keep_top_k", "keep_top_k").split("; ")
    report = run_check(f"mixture_of_experts.{name}", answer_of(RIGHT[name][0], "; ".join([*before, f"return {value}"])))
    assert report.status == PASSED, report.text


# --- the references --------------------------------------------------------------------------------------------------


def test_the_gates_are_those_of_the_paper_token_by_token():
    x, w_gate, w_noise, k, noise = FIRST
    gates = noisy_gate(*FIRST)
    assert torch.equal(gates, noisy_top_k_gate(x, w_gate, w_noise, k, noise).gates)
    clean, std = (x @ w_gate).tolist(), [[math.log1p(math.exp(z)) for z in row] for row in (x @ w_noise).tolist()]
    for n, row in enumerate(gates.tolist()):
        h = [c + draw * s for c, draw, s in zip(clean[n], noise[n].tolist(), std[n])]
        best = sorted(h)[-k:]
        assert row == pytest.approx([math.exp(s) / sum(map(math.exp, best)) if s in best else 0.0 for s in h], abs=1e-5)


def test_moe_forward_is_the_layer_of_the_library_with_its_gradients():
    generator = torch.Generator().manual_seed(5)
    shapes = ((11, 6), (11, 5), (5, 8, 6), (5, 6, 4))
    x, scores, gate_up, down = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    gates = (scores.softmax(1) * (scores > 0.3)).requires_grad_()
    experts = [lambda rows, weights=weights: swiglu(rows, *weights) for weights in zip(gate_up, down)]
    mine, library = moe_forward(x, gates, experts), looped_experts(x, gates, gate_up, down)
    assert (gates == 0).all(1).any() and torch.allclose(mine, library, atol=1e-12)
    assert torch.allclose(*(torch.autograd.grad(y.square().sum(), gates)[0] for y in (mine, library)), atol=1e-12)


def test_mix_specialists_is_the_library_s_block():
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=9, hidden_size=8, intermediate_size=6, num_hidden_layers=1, num_attention_heads=2)
    specialists = [LlamaForCausalLM(config) for _ in range(3)]
    names = {f"mlp.{name}.weight": name for name in EXPERT}
    states = [model.model.layers[0].state_dict() for model in specialists]
    mine = mix_specialists([{names.get(name, name): w for name, w in state.items()} for state in states])
    library = mix_library(specialists, top_k=2).model.layers[0].state_dict()
    library = {name.removeprefix("mlp.experts."): w for name, w in library.items() if name != "mlp.gate.weight"}
    assert mine.keys() == library.keys()
    assert all(torch.allclose(mine[name], library[name]) for name in mine)


def test_shared_and_routed_is_the_layer_of_the_library():
    torch.manual_seed(0)
    layer, x = MixtureOfExperts(6, 4, 5, 3, n_shared=2, normalise=False), torch.randn(7, 6)
    up, down = layer.experts.gate_up_proj, layer.experts.down_proj
    routed = [lambda rows, i=i: swiglu(rows, up[i], down[i]) for i in range(5)]
    mine = shared_and_routed(x, layer.gate(x), [layer.shared_experts], routed, 3)
    assert torch.allclose(mine, layer(x), atol=1e-6)


def test_first_come_is_the_library_s_capacity_for_one_choice_a_token():
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        p = torch.randn(30, 5, generator=generator).softmax(1)
        gates = p * one_hot(p.argmax(1), 5) * (torch.rand(30, 1, generator=generator) > 0.2)
        for capacity in (0, 1, 4, 30):
            assert torch.equal(first_come(gates, capacity), apply_capacity(gates, capacity)[0])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: moe_forward(torch.ones(3, 2), torch.ones(3, 4), [torch.tanh] * 3), "gates \\(N, 3\\)"),
        (lambda: moe_forward(torch.ones(3), torch.ones(3, 1), [torch.tanh]), "x must be"),
        (lambda: moe_forward(torch.ones(3, 2), torch.zeros(3, 1), [torch.tanh]), "every gate is 0"),
        (lambda: first_come(torch.ones(3, 2), -1), "capacity 0 or more"),
        (lambda: mix_specialists([]), "nothing to merge"),
        (
            lambda: shared_and_routed(torch.ones(3, 2), torch.ones(3, 4), [], [torch.tanh], 1),
            "logits must be \\(3, 1\\)",
        ),
        (lambda: first_come(torch.ones(3), 1), "gates must be"),
    ],
)
def test_the_references_refuse_bad_input(call, says):
    with pytest.raises(ValueError, match=says):
        call()
