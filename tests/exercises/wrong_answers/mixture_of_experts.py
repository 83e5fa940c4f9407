"""Wrong answers to the exercises of notebook 07 that are no function of a declared mistake: crashes, loops, kinds of
results."""

from __future__ import annotations

import re

from . import WrongAnswer, function

IMPORTS = ["import math", "import numpy as np", "import torch", "import torch.nn.functional as F"]


def _answers(exercise: str, arguments: str, before: str, *rows: tuple[str, str, str]) -> list[WrongAnswer]:
    """rows: (label, body, says); the body is what is returned, or statements, which come after `before`."""
    made = []
    for label, body, says in rows:
        end = body if re.search(r"^\s*return\b", body, re.MULTILINE) else f"return {body}"
        code = function(f"my_{exercise}({arguments})", f"{before.strip()}\n{end.strip()}", *IMPORTS)
        made.append(WrongAnswer(f"mixture_of_experts.{exercise}", label, code, says))
    return made


NEXT = "all stay, and there is no next score"
ALL_ROWS = "an expert was given rows whose gate is 0"
IN_A_LOOP = """y = None
for i, E in enumerate(experts):
    r = gates[:, i].nonzero().squeeze(1)
    if len(r):
        {}
        y = out.new_zeros(len(x), out.shape[1]) if y is None else y
        y = y.index_add(0, r, out)
return y"""
LIKE_X = """y = torch.zeros_like(x)
for i, E in enumerate(experts):
    r = gates[:, i].nonzero().squeeze(1)
    if len(r):
        {}
return y"""
OUT = "out = gates[r, i, None] * E(x[r])"

WRONG = [
    *_answers(
        "keep_top_k",
        "v, k",
        "inf = -torch.inf\ntop, i = v.topk(k, dim=-1)\nm = torch.zeros_like(v, dtype=torch.bool).scatter(-1, i, True)",
        ("-1e9", "v.masked_fill(~m, -1e9)", "a large negative number and not -inf"),
        ("lowest float", "v.masked_fill(~m, torch.finfo(v.dtype).min)", "a large negative number and not -inf"),
        ("next value", "v.masked_fill(v <= v.sort(-1, descending=True).values[:, k:k + 1], inf)", NEXT),
        ("values", "top", "the k chosen alone"),
        ("pair", "v.topk(k)", "the pair that topk gives"),
        ("product with -inf", "v * m + ~m * inf", "0 * -inf is nan"),
        ("one row, squeezed", "v.masked_fill(~m, inf).squeeze()", "has shape (7,), expected (1, 7)"),
        ("threshold without axis", "v.masked_fill(v < top[:, -1], inf)", "The shapes do not line up"),
        ("three quarters kept", "v.masked_fill(v < v.quantile(0.25), inf)", "scores, and k is 3"),
        ("not foreseen", "2 * v.masked_fill(~m, inf)", "all others are -inf"),
    ),
    *_answers(
        "noisy_gate",
        "x, w_gate, w_noise, k, noise",
        "c, z = x @ w_gate, x @ w_noise\nh = c + noise * F.softplus(z)\ntop, i = h.topk(k)",
        ("turned round", "w_gate @ x + noise * F.softplus(w_noise @ x)", "The shapes do not line up"),
        (
            "own noise",
            "h = c + torch.randn_like(c) * F.softplus(z)\nreturn torch.zeros_like(h).scatter(1, h.topk(k)[1], "
            "h.topk(k)[0].softmax(1))",
            "Is there noise of your own?",
        ),
        ("-20", "torch.full_like(h, -20.0).scatter(1, i, top).softmax(1)", "should be exactly 0 is"),
        (
            "a small constant",
            "g = torch.zeros_like(h).scatter(1, i, top.softmax(1)) + 1e-9\nreturn g / g.sum(1)[:, None]",
            "should be exactly 0 is",
        ),
        (
            "one row, squeezed",
            "torch.zeros_like(h).scatter(1, i, top.softmax(1)).squeeze()",
            "has shape (5,), expected (1, 5)",
        ),
        ("in place", "noise.mul_(F.softplus(z)).add_(c).softmax(1)", "changed its input"),
        (
            "not foreseen",
            "torch.zeros_like(h).scatter(1, i, 0.9 * top.softmax(1))",
            "sums to 0.9 instead of 1. The order",
        ),
    ),
    *_answers(
        "importance_loss",
        "gates",
        "t = gates.sum(0)\nright = t.var(correction=0) / t.mean() ** 2",
        ("each token", "gates.var(-1, correction=0) / gates.mean(-1) ** 2", "one number for each token"),
        ("each expert", "gates.var(0, correction=0) / gates.mean(0) ** 2", "one number for each expert"),
        ("list", "right.reshape(1).tolist()", "with dimensions: a loss is a scalar"),
        ("number", "right.item()", "no gradient reaches the gates"),
        (
            "numpy, detached",
            "t = gates.detach().numpy().sum(0)\nreturn np.var(t) / np.mean(t) ** 2",
            "no gradient reaches the gates",
        ),
        ("half detached", "(t - t.detach().mean()).detach().mul(t).mean() / t.mean() ** 2", "but not its gradient"),
        (
            "norm squared",
            "((t - t.mean()).abs() ** 1.0).pow(2).mean().pow(0.5).pow(2) / t.mean() ** 2",
            "that of a root is infinite there",
        ),
        ("not foreseen", "1.5 * right", "the variance (of the population) of the E totals"),
    ),
    *_answers(
        "moe_forward",
        "x, gates, experts",
        "token, expert = gates.nonzero(as_tuple=True)",
        ("every expert on every row", "sum(gates[:, i, None] * E(x) for i, E in enumerate(experts))", ALL_ROWS),
        ("all rows, then selected", IN_A_LOOP.format("out = gates[r, i, None] * E(x)[r]"), ALL_ROWS),
        (
            "masked input",
            "m = (gates != 0).to(x.dtype)\nreturn sum(gates[:, [i]] * E(x * m[:, [i]]) for i, E in enumerate(experts))",
            "rows that are not of x",
        ),
        ("called twice", IN_A_LOOP.format("E(x[r])\n        " + OUT), "the same row more than once"),
        ("empty expert", IN_A_LOOP.format(OUT).replace("len(r)", "True"), "without any row was called"),
        (
            "repeated tokens",
            """out = torch.stack([experts[e](x[[t]])[0] for t, e in zip(token.tolist(), expert.tolist())])
y = torch.zeros(len(x), out.shape[1])
for j in range(len(token)):
    y[token[j]] = out[j] * gates[token[j], expert[j]]
return y""",
            "only the last one is left",
        ),
        (
            "argmax in a loop",
            "torch.cat([experts[i](row[None]) for i, row in zip(gates.argmax(1).tolist(), x)])",
            "the largest gate",
        ),
        (
            "returns in the loop",
            LIKE_X.format("y[r] += gates[r, i, None] * E(x[r])\n        return y"),
            "An expert is missing",
        ),
        ("shape of x", LIKE_X.format("y[r] += gates[r, i, None] * E(x[r])"), "y must not be made like x"),
        (
            "expert numbers given",
            LIKE_X.format("y[r] += gates[r, i, None] * E(r)"),
            "An expert takes rows, (n, d), and was given the shape (4,)",
        ),
        ("squeezed", IN_A_LOOP.format(OUT).replace("squeeze(1)", "squeeze()"), "An expert may have exactly one row"),
        (
            "one row as a vector",
            IN_A_LOOP.format("r = r.squeeze()\n        out = gates[r, i].unsqueeze(-1) * E(x[r])"),
            "An expert takes rows, (n, d), and was given the shape (5,)",
        ),
        (
            "result squeezed",
            IN_A_LOOP.format(OUT).replace("return y", "return y.squeeze()"),
            "has shape (5,), expected (1, 5)",
        ),
        (
            "stack of sums",
            """rows = []
for n in range(len(x)):
    rows.append(sum(gates[n, i] * experts[i](x[[n]])[0] for i in gates[n].nonzero().flatten().tolist()))
return torch.stack(rows)""",
            "Two tokens have no gate",
        ),
        (
            "dropped tokens left out",
            "x, gates = x[gates.any(1)], gates[gates.any(1)]\n" + IN_A_LOOP.format(OUT),
            "Two tokens have no gate",
        ),
        (
            "no_grad",
            IN_A_LOOP.format("with torch.no_grad():\n            " + OUT),
            "no gradient reaches the gates and x",
        ),
        ("output detached", IN_A_LOOP.format("out = gates[r, i, None] * E(x[r]).detach()"), "no gradient reaches x"),
        (
            "numpy",
            IN_A_LOOP.format("out = torch.from_numpy(gates.numpy())[r, i, None] * E(x[r])"),
            "no gradient reaches the gates and x",
        ),
        ("not foreseen", IN_A_LOOP.format("out = 1.1 * gates[r, i, None] * E(x[r])"), "For each expert: its rows of x"),
    ),
    *_answers(
        "switch_loss",
        "logits",
        "z, (N, E) = logits, logits.shape\na, p = F.one_hot(z.argmax(1), E).float(), z.softmax(1)\nf, P = "
        "a.mean(0), p.mean(0)",
        ("cross-entropy", "F.cross_entropy(z, z.argmax(1))", "This is an entropy"),
        ("sums before the product", "E * f.sum() * P.sum()", "do the sums come before the product"),
        ("mean over experts", "E * (f * p.mean(1)).sum()", "The shapes do not line up"),
        ("no minlength", "E * (torch.bincount(z.argmax(1)) / N * P).sum()", "No token chooses the last two"),
        ("unique", "E * (z.argmax(1).unique(return_counts=True)[1] / N * P).sum()", "No token chooses the last two"),
        ("not summed", "E * f * P", "one number for each expert"),
        ("keepdim", "E * (f * P).sum(0, keepdim=True)", "leave out keepdim"),
        ("item", "(E * (f * P).sum()).item()", "it has no gradient"),
        ("numpy", "E * (f * torch.from_numpy(P.numpy())).sum()", "it has no gradient"),
        ("straight through", "E * ((f + P - P.detach()) * P).sum()", "flows through P alone"),
        ("not foreseen", "E * (f * P).sum() * 1.1", "the loss is E times the sum of their products"),
    ),
    *_answers(
        "apply_capacity",
        "gates, capacity",
        "chosen = gates != 0\nplace = chosen.cumsum(0)\nright = gates * (place <= capacity)",
        ("largest gates", "gates * (gates >= gates.topk(capacity, 0).values[-1])", "The tokens with the largest"),
        (
            "flat count",
            "gates * (chosen.flatten().cumsum(0).reshape(gates.shape) <= capacity)",
            "The first `capacity` rows",
        ),
        (
            "returns in the loop",
            """out = torch.zeros_like(gates)
for i in range(gates.shape[1]):
    row = gates[:, i].nonzero().flatten()[:capacity]
    out[row, i] = gates[row, i]
    return out""",
            "Only the first expert's queue",
        ),
        ("rows deleted", "right[right.any(1)]", "Dropped tokens keep their row"),
        ("a pair", "right, ~right.any(1)", "only the gates are asked"),
        ("in place", "gates[place > capacity] = 0\nreturn gates", "changed its input"),
        (
            "slice from the end at zero",
            """out = gates.clone()
for i in range(gates.shape[1]):
    row = gates[:, i].nonzero().flatten()
    out[row.flip(0)[:-capacity], i] = 0
return out""",
            "With a capacity of 0",
        ),
        (
            "squeezed",
            """out = torch.zeros_like(gates)
for i in range(gates.shape[1]):
    row = gates[:, i].nonzero().squeeze()[:capacity]
    out[row, i] = gates[row, i]
return out""",
            "An expert may have exactly one token",
        ),
        (
            "one token stays",
            """out = gates.clone()
for i in range(gates.shape[1]):
    row = gates[:, i].nonzero().squeeze()
    if row.dim():
        out[row[capacity:], i] = 0
return out""",
            "With a capacity of 0 nobody is served",
        ),
        ("result squeezed", "right.squeeze()", "has shape (4,), expected (1, 4)"),
        (
            "fixed queue",
            """out = torch.zeros_like(gates)
for i in range(gates.shape[1]):
    row = gates[:, i].nonzero().flatten()
    for j in range(capacity):
        out[row[j], i] = gates[row[j], i]
return out""",
            "fewer tokens than `capacity`",
        ),
        ("not foreseen", "1.1 * right", "those up to the capacity stay"),
    ),
    *_answers(
        "mix_specialists",
        "blocks",
        """ffn = ("gate_proj", "up_proj", "down_proj")
cat = [torch.cat([b["gate_proj"], b["up_proj"]]) for b in blocks]
mixed = {n: torch.stack([b[n] for b in blocks]).mean(0) for n in blocks[0] if n not in ffn}
mixed["gate_up_proj"], mixed["down_proj"] = torch.stack(cat), torch.stack([b["down_proj"] for b in blocks])""",
        ("in the first model", "b = blocks[0]\nb.update(mixed)\nreturn b", "changed its input"),
        ("halves apart", "{**mixed, 'gate_proj': blocks[0]['gate_proj']}", "is no part of the mixture any more"),
        (
            "two stacks",
            "del mixed['gate_up_proj']\nfor n in ffn:\n    mixed[n] = torch.stack([b[n] for b in blocks])\n"
            "return mixed",
            "gate_proj and up_proj stand apart",
        ),
        (
            "two names alone",
            "{n: sum(b[n] for b in blocks) / len(blocks) for n in ('norm', 'attention')}"
            " | {n: mixed[n] for n in ('gate_up_proj', 'down_proj')}",
            "leave out the three of the feed-forward layer",
        ),
        ("experts alone", "{n: mixed[n] for n in ('gate_up_proj', 'down_proj')}", "whatever is no expert is averaged"),
        ("lists", "{**mixed, 'gate_up_proj': cat}", "gate_up_proj"),
        ("a tuple", "mixed['gate_up_proj'], mixed['down_proj']", "should be a dict"),
        ("not foreseen", "{**mixed, 'down_proj': 2 * mixed['down_proj']}", "Experts are stacked"),
    ),
    *_answers(
        "shared_and_routed",
        "x, logits, shared, routed, k",
        """p = logits.softmax(-1)
best = p.topk(k)
gates = torch.zeros_like(p).scatter(-1, best.indices, best.values)
one = sum(gates[:, [i]] * e(x) for i, e in enumerate(routed))
both = one + sum(e(x) for e in shared)""",
        ("divided by the sum", "both - one + one / gates.sum(-1, keepdim=True)", "sum to 1: here they are not"),
        (
            "detached gates",
            "both - one + sum(gates[:, [i]].detach() * e(x) for i, e in enumerate(routed))",
            "no gradient",
        ),
        (
            "one row at a time",
            """rows = []
for n in range(len(x)):
    rows.append(sum(e(x[n]) for e in shared) + sum(gates[n, i] * e(x[n]) for i, e in enumerate(routed)))
return torch.stack(rows)""",
            "An expert takes rows, (n, d), and was given the shape (4,)",
        ),
        ("gates without axis", "sum(gates[:, i] * e(x) for i, e in enumerate(routed)) + both", "do not line up"),
        ("shared stacked", "torch.stack([e(x) for e in shared]).sum(0) + one", "There is no shared expert here"),
        ("squeezed", "both.squeeze()", "has shape (4,), expected (1, 4)"),
        ("not foreseen", "1.1 * both", "The outputs of all shared experts, plus"),
    ),
]
