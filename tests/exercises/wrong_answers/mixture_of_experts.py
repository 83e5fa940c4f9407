"""Wrong answers to the exercises of notebook 07: the first three here, those of the layer in a module of their own."""

from __future__ import annotations

from . import WrongAnswer
from ._mixture_of_experts_layer import WRONG as LAYER


def _function(exercise: str, signature: str, label: str, body: str, says: str) -> WrongAnswer:
    """Every answer brings the imports it uses, as in a student's own cell."""
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    modules = ("import math", "math."), ("import numpy as np", "np.")
    imports = "".join(f"{line}\n" for line, used in modules if used in body)
    code = f"{imports}import torch\nimport torch.nn.functional as F\n\n\ndef {signature}:\n{lines}\n"
    return WrongAnswer(f"mixture_of_experts.{exercise}", label, code, says)


def _keep(label: str, value: str, says: str) -> WrongAnswer:
    """One line; `top` are the k largest, `i` their places, `m` is true there; `inf` is -inf."""
    body = f"""
inf = -torch.inf
top, i = v.topk(k, dim=-1)
m = torch.zeros_like(v, dtype=torch.bool).scatter(-1, i, True)
return {value}"""
    return _function("keep_top_k", "my_keep_top_k(v, k)", label, body, says)


def _keep_body(label: str, body: str, says: str) -> WrongAnswer:
    body = f"out = torch.full_like(v, -torch.inf)\n{body}" if "out" in body else body
    return _function("keep_top_k", "my_keep_top_k(v, k)", label, body, says)


def _gate(label: str, value: str, says: str, score: str = "c + n * F.softplus(z)") -> WrongAnswer:
    """One line; `c` and `z` are the two products, `n` the noise, `h` the scores, `keep` is exercise 1."""
    body = f"""
def keep(h, k, dim=-1, fill=-torch.inf):
    m = torch.zeros_like(h, dtype=torch.bool).scatter(dim, h.topk(k, dim=dim).indices, True)
    return h.masked_fill(~m, fill)
c, z, n = x @ w_gate, x @ w_noise, noise
h = {score}
return {value}"""
    return _function("noisy_gate", "my_noisy_gate(x, w_gate, w_noise, k, noise)", label, body, says)


def _score(label: str, score: str, says: str) -> WrongAnswer:
    """Right but for the scores."""
    return _gate(label, "keep(h, k).softmax(-1)", says, score)


def _importance(label: str, value: str, says: str) -> WrongAnswer:
    """One line; `g` are the gates, `i` is the importance (experts,)."""
    return _function("importance_loss", "my_importance_loss(gates)", label, f"g, i = gates, gates.sum(0)\nreturn {value}", says)


def _importance_body(label: str, body: str, says: str) -> WrongAnswer:
    return _function("importance_loss", "my_importance_loss(gates)", label, body, says)


WRONG = [
    # --- keep_top_k ---
    _keep("zero", "v.masked_fill(~m, 0.0)", "exp(0) = 1, so every expert keeps a share"),
    _keep("masked product", "v * m", "exp(0) = 1, so every expert keeps a share"),
    _keep("-1e9", "v.masked_fill(~m, -1e9)", "a large negative number and not -inf"),
    _keep("lowest float", "v.masked_fill(~m, torch.finfo(v.dtype).min)", "a large negative number and not -inf"),
    _keep("threshold", "v.masked_fill(v < top[:, -1:], inf)", "a row keeps more than k"),
    _keep("strict threshold", "v.masked_fill(v <= top[:, -1:], inf)", "You keep k - 1 in each row"),
    _keep("next value", "v.masked_fill(v <= v.sort(-1, descending=True).values[:, k:k + 1], inf)", "all stay, and there is no next score"),
    _keep_body("one more", "return v.masked_fill(v <= v.topk(k + 1).values[:, -1:], -torch.inf)", "all stay, and there is no next score"),
    _keep_body(
        "next value, padded",
        "w = F.pad(v, (0, 1), value=-torch.inf)\nreturn v.masked_fill(v <= w.topk(k + 1).values[:, -1:], -torch.inf)",
        "a row keeps fewer than k",
    ),
    _keep("one threshold for all", "v.masked_fill(v < top.min(), inf)", "scatter the values into a tensor full of -inf"),
    _keep_body("tokens", "i = v.topk(k, dim=0)\nreturn out.scatter(0, i.indices, i.values)", "You choose over the tokens"),
    _keep_body("flat", "t = v.flatten().topk(k).values[-1]\nreturn v.masked_fill(v < t, -torch.inf)", "all scores of the matrix at once"),
    _keep("flat, k a row", "v.masked_fill(v < v.flatten().topk(k * len(v)).values[-1], inf)", "all scores of the matrix at once"),
    _keep_body("magnitudes", "i = v.abs().topk(k).indices\nreturn out.scatter(-1, i, v.gather(-1, i))", "largest MAGNITUDES"),
    _keep_body("smallest", "t = v.topk(k, largest=False)\nreturn out.scatter(-1, t.indices, t.values)", "the k SMALLEST"),
    _keep_body("ascending order", "i = v.argsort(-1)[:, :k]\nreturn out.scatter(-1, i, v.gather(-1, i))", "the k SMALLEST"),
    _keep("mask inverted", "v.masked_fill(m, inf)", "the mask is the wrong way round"),
    _keep("softmax", "v.masked_fill(~m, inf).softmax(-1)", "The softmax is taken already"),
    _keep("softmax first", "v.softmax(-1).masked_fill(~m, inf)", "You took a softmax first"),
    _keep("softmax first, zeros", "v.softmax(-1) * m", "You took a softmax first"),
    _keep("log_softmax first", "v.log_softmax(-1).masked_fill(~m, inf)", "You took a softmax first"),
    _keep("mask", "m", "This is the mask"),
    _keep("mask as numbers", "m.float()", "This is the mask"),
    _keep("additive mask", "torch.zeros_like(v).masked_fill(~m, inf)", "a mask to be ADDED"),
    _keep("product with -inf", "v * m + ~m * inf", "0 * -inf is nan"),
    _keep("product with -inf, where", "v + (~m).float() * inf", "0 * -inf is nan"),
    _keep("argsort as rank", "v.masked_fill(v.argsort(-1, descending=True) >= k, inf)", "not the rank of each score"),
    _keep("ascending argsort as rank", "v.masked_fill(v.argsort(-1) < v.shape[1] - k, inf)", "not the rank of each score"),
    _keep("sorted", "F.pad(top, (0, v.shape[1] - k), value=inf)", "in sorted order"),
    _keep("first k", "torch.where(torch.arange(v.shape[1]) < k, v, inf)", "k fixed places"),
    _keep("last k", "torch.where(torch.arange(v.shape[1]) >= v.shape[1] - k, v, inf)", "k fixed places"),
    _keep("nothing", "v", "Nothing was taken out"),
    _keep("plus inf", "v.masked_fill(~m, torch.inf)", "it is MINUS inf"),
    _keep("above average", "v.masked_fill(v < v.mean(-1, keepdim=True), inf)", "above the average"),
    _keep("values", "top", "the k chosen alone"),
    _keep("places", "i", "These are the places"),
    _keep("pair", "v.topk(k)", "the pair that topk gives"),
    _keep("zeros taken for not chosen", "(v * m).masked_fill(v * m == 0, inf)", "A score of exactly 0"),
    _keep_body("in place", "v[v < v.topk(k).values[:, -1:]] = -torch.inf\nreturn v", "changed its input"),
    _keep("list", "v.masked_fill(~m, inf).tolist()", "should be a torch tensor"),
    _keep("threshold without axis", "v.masked_fill(v < top[:, -1], inf)", "The shapes do not line up"),
    _keep_body("printed", "print(v.topk(k))", "did you forget `return`"),
    _keep("not foreseen", "2 * v.masked_fill(~m, inf)", "scatter the values into a tensor full of -inf"),
    # --- noisy_gate ---
    _score("no noise", "c", "The noise has no effect"),
    _score("no softplus", "c + n * z", "softplus is missing"),
    _score("relu", "c + n * z.relu()", "You took relu"),
    _score("exp", "c + n * z.exp()", "You took exp"),
    _score("sigmoid", "c + n * z.sigmoid()", "You took sigmoid"),
    _score("abs", "c + n * z.abs()", "You took abs"),
    _score("softmax for softplus", "c + n * z.softmax(-1)", "You took softmax in place"),
    _score("variance", "c + n * F.softplus(z).sqrt()", "the standard deviation itself"),
    _score("squared", "c + n * F.softplus(z) ** 2", "the standard deviation itself"),
    _score("not scaled", "c + n", "The noise is not scaled"),
    _score("softplus of the product", "c + F.softplus(n * z)", "taken of the product with the noise"),
    _score("softplus of both", "F.softplus(c) + n * F.softplus(z)", "belongs to x @ w_noise alone"),
    _score("softplus of the sum", "F.softplus(c + n * z)", "belongs to x @ w_noise alone"),
    _score("deviation only", "c + F.softplus(z)", "added without the noise"),
    _score("minus", "c - n * F.softplus(z)", "The noise is subtracted"),
    _score("factor", "c * n * F.softplus(z)", "The noise multiplies x @ w_gate"),
    _score("relative", "c * (1 + n * F.softplus(z))", "The noise multiplies x @ w_gate"),
    _score("both scaled", "(c + n) * F.softplus(z)", "it scales the noise alone"),
    _score("swapped", "z + n * F.softplus(c)", "w_gate and w_noise are swapped"),
    _score("transposed", "x @ w_gate.T + n * F.softplus(x @ w_noise.T)", "by the transpose"),
    _score("noise transposed", "c + n * F.softplus(x @ w_noise.T)", "by the transpose"),
    _score("turned round", "w_gate @ x + n * F.softplus(w_noise @ x)", "The shapes do not line up"),
    _score("own noise", "c + torch.randn_like(c) * F.softplus(z)", "You draw noise of your own"),
    _score(
        "own noise with a seed",
        "c + torch.randn(c.shape, generator=torch.Generator().manual_seed(0)) * F.softplus(z)",
        "does not depend on the argument `noise`",
    ),
    _score("softmax twice", "(c + n * F.softplus(z)).softmax(-1)", "a softmax before the choice and another after it"),
    _gate("softmax before the choice", "keep(h.softmax(-1), k, fill=0.0)", "and the rest cut off: rows do not sum to 1"),
    _gate("no softmax", "keep(h, k)", "The softmax is missing"),
    _gate("no softmax, zeros", "keep(h, k, fill=0.0)", "The softmax is missing"),
    _gate("scores", "h", "The softmax is missing"),
    _gate("divided by the sum", "keep(h, k, fill=0.0) / keep(h, k, fill=0.0).sum(-1, keepdim=True)", "You divided the chosen scores"),
    _gate("no choice", "h.softmax(-1)", "No choice was made"),
    _gate("zero", "keep(h, k, fill=0.0).softmax(-1)", "so the share exp(0)"),
    _gate("noise after the choice", "(keep(c, k) + n * F.softplus(z)).softmax(-1)", "The choice was made without noise"),
    _gate("noise after the softmax", "keep(c, k).softmax(-1) + n * F.softplus(z)", "The choice was made without noise"),
    _gate("clean weights", "c.masked_fill(keep(h, k) == -torch.inf, -torch.inf).softmax(-1)", "the weights come from x @ w_gate"),
    _gate("softmax over tokens", "keep(h, k).softmax(0)", "The softmax runs over the tokens"),
    _gate("choice over tokens", "keep(h, k, dim=0).softmax(-1)", "The choice runs over the tokens"),
    _gate("equal", "(keep(h, k) > -torch.inf) / k", "The k chosen have equal gates"),
    _gate("one for each", "(keep(h, k) > -torch.inf).float()", "The k chosen have equal gates"),
    _gate("sigmoid of each", "keep(h, k).sigmoid()", "You took a sigmoid of each score"),
    _gate("logarithms", "keep(h, k).log_softmax(-1)", "the logarithms of the gates"),
    _gate("smallest", "(-keep(-h, k)).masked_fill(keep(-h, k) == -torch.inf, -torch.inf).softmax(-1)", "You keep the k SMALLEST"),
    _gate("one expert more", "keep(h, min(k + 1, h.shape[1])).softmax(-1)", "The number of experts that stay is k + 1"),
    _gate("one expert fewer", "keep(h, max(k - 1, 1)).softmax(-1)", "The number of experts that stay is k - 1"),
    _gate("packed", "h.topk(k).values.softmax(-1)", "the chosen ones alone"),
    _gate("two things", "(keep(h, k).softmax(-1), h)", "return the gates alone"),
    _gate("in place", "noise.mul_(F.softplus(z)).add_(c).softmax(-1)", "changed its input"),
    _gate("not foreseen", "keep(h, k).softmax(-1) * 0.9", "Your result sums to 0.9 instead of 1. The order"),
    # --- importance_loss ---
    _importance("sample variance", "i.var() / i.mean() ** 2", "divided by E - 1"),
    _importance("sample deviation", "(i.std() / i.mean()) ** 2", "divided by E - 1"),
    _importance("not squared", "i.std(correction=0) / i.mean()", "This is CV itself"),
    _importance("sample, not squared", "i.std() / i.mean()", "This is CV itself"),
    _importance("squared twice", "(i.var(correction=0) / i.mean() ** 2) ** 2", "You squared twice"),
    _importance("variance", "i.var(correction=0)", "The division is missing"),
    _importance("default variance", "i.var()", "The division is missing"),
    _importance("deviation", "i.std(correction=0)", "The division is missing"),
    _importance("divided once", "i.var(correction=0) / i.mean()", "divide by mean^2, not by the mean"),
    _importance("sample, divided once", "i.var() / i.mean()", "divide by mean^2, not by the mean"),
    _importance("deviation not squared", "i.std(correction=0) / i.mean() ** 2", "divide by mean^2, not by the mean"),
    _importance("divided by the sum", "i.var(correction=0) / i.sum() ** 2", "You divide by the number of tokens"),
    _importance("variance of the means", "g.mean(0).var(correction=0)", "You divide by the number of tokens"),
    _importance("sum of squares", "((i - i.mean()) ** 2).sum() / i.mean() ** 2", "the squared deviations: the variance is their mean"),
    _importance("absolute", "((i - i.mean()).abs().mean() / i.mean()) ** 2", "the absolute deviations"),
    _importance("load", "(lambda n: n.var(correction=0) / n.mean() ** 2)((g > 0).float().sum(0))", "You count the tokens of each expert"),
    _importance("sample load", "(lambda n: n.var() / n.mean() ** 2)((g > 0).sum(0).float())", "You count the tokens of each expert"),
    _importance("over experts", "(lambda s: s.var(correction=0) / s.mean() ** 2)(g.sum(1))", "You add up over the experts"),
    _importance("each token", "(g.var(-1, correction=0) / g.mean(-1) ** 2).mean()", "the CV of the single gates"),
    _importance("each token, not averaged", "g.var(-1, correction=0) / g.mean(-1) ** 2", "one number for each token"),
    _importance("each expert", "(g.var(0, correction=0) / g.mean(0) ** 2).mean()", "CV of each expert's gates over the tokens"),
    _importance("each expert, not averaged", "g.var(0, correction=0) / g.mean(0) ** 2", "one number for each expert"),
    _importance("whole matrix", "g.var(correction=0) / g.mean() ** 2", "the CV of the single gates"),
    _importance("whole matrix, default", "(g.std() / g.mean()) ** 2", "the CV of the single gates"),
    _importance("mean of the gates", "i.var(correction=0) / g.mean() ** 2", "You divide by the mean of the GATES"),
    _importance("entropy", "-(i / i.sum() * (i / i.sum()).log()).sum()", "This is the entropy"),
    _importance("weight", "0.1 * i.var(correction=0) / i.mean() ** 2", "the weight of the paper"),
    _importance("upside down", "i.mean() ** 2 / i.var(correction=0)", "The fraction is upside down"),
    _importance("minus", "-i.var(correction=0) / i.mean() ** 2", "The sign is the wrong way round"),
    _importance("not centred", "(i ** 2).mean() / i.mean() ** 2", "This is 1 too much"),
    _importance("squared shares", "len(i) * ((i / i.sum()) ** 2).sum()", "This is 1 too much"),
    _importance("largest", "i.max() / i.mean()", "This compares the largest"),
    _importance("importance", "i", "one number for each expert"),
    _importance("keepdim", "i.var(correction=0, keepdim=True) / i.mean() ** 2", "a tensor with dimensions"),
    _importance("number", "(i.var(correction=0) / i.mean() ** 2).item()", "it is a plain number"),
    _importance("list", "(i.var(correction=0) / i.mean() ** 2).reshape(1).tolist()", "is a list"),
    _importance("detached", "(i.var(correction=0) / i.mean() ** 2).detach()", "no gradient reaches the gates"),
    _importance("a new tensor", "torch.tensor(float(i.var(correction=0) / i.mean() ** 2))", "no gradient reaches the gates"),
    _importance_body(
        "no_grad",
        "with torch.no_grad():\n    i = gates.sum(0)\n    return i.var(correction=0) / i.mean() ** 2",
        "no gradient reaches the gates",
    ),
    _importance("numpy", "np.var(g.detach().numpy().sum(0)) / np.mean(g.detach().numpy().sum(0)) ** 2", "This is numpy's"),
    _importance_body(
        "numpy, wrapped", "i = gates.numpy().sum(0)\nreturn torch.as_tensor(np.var(i) / np.mean(i) ** 2)", "cannot become a numpy array"
    ),
    _importance("half detached", "(i - i.detach().mean()).detach().mul(i).mean() / i.mean() ** 2", "but not its gradient"),
    _importance_body("in place", "gates /= gates.sum()\ni = gates.sum(0)\nreturn i.var(correction=0) / i.mean() ** 2", "changed its input"),
    _importance("not foreseen", "1.5 * i.var(correction=0) / i.mean() ** 2", "Add up each expert's gates over the tokens"),
    *LAYER,
]
