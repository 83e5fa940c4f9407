"""Wrong answers to exercises 4 to 6 of notebook 07."""

from __future__ import annotations

from . import WrongAnswer


def _function(exercise: str, signature: str, label: str, body: str, says: str) -> WrongAnswer:
    """Every answer brings the imports it uses, as in a student's own cell."""
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    code = f"import math\n\nimport numpy as np\nimport torch\nimport torch.nn.functional as F\n\n\ndef {signature}:\n{lines}\n"
    return WrongAnswer(f"mixture_of_experts.{exercise}", label, code, says)


def _moe(label: str, body: str, says: str) -> WrongAnswer:
    return _function("moe_forward", "my_moe_forward(x, gates, experts)", label, body, says)


def _loop(label: str, step: str, says: str, start: str = "torch.zeros_like(x)", end: str = "y", skip: bool = True) -> WrongAnswer:
    """The usual loop with `step` in it: `i` and `E` are the expert, `r` its rows."""
    rows = "r = gates[:, i].nonzero().squeeze(1)" + ("\n    if len(r) == 0:\n        continue" if skip else "")
    step = step.replace("\n", "\n    ")
    return _moe(label, f"y = {start}\nfor i, E in enumerate(experts):\n    {rows}\n    {step}\nreturn {end}", says)


def _wide(label: str, step: str, says: str, before: str = "") -> WrongAnswer:
    """The loop that makes y when it knows d_out."""
    step = step.replace("\n", "\n        ")
    body = f"""
{before or "pass"}
y = None
for i, E in enumerate(experts):
    r = gates[:, i].nonzero().squeeze(1)
    if len(r):
        {step}
        y = out.new_zeros(len(x), out.shape[1]) if y is None else y
        y = y.index_add(0, r, out)
return y"""
    return _moe(label, body, says)


def _switch(label: str, value: str, says: str) -> WrongAnswer:
    """One line; `f` and `P` are right, `a` is the one-hot choice, `p` the probabilities, `z` the logits."""
    body = f"""
z, (N, E) = logits, logits.shape
a, p = F.one_hot(z.argmax(1), E).float(), z.softmax(1)
f, P = a.mean(0), p.mean(0)
return {value}"""
    return _function("switch_loss", "my_switch_loss(logits)", label, body, says)


def _capacity(label: str, value: str, says: str, before: str = "") -> WrongAnswer:
    """One line; `chosen` is where the gates are not 0, `place` the number in the expert's queue, `right` the right answer."""
    body = f"""
chosen = gates != 0
place = chosen.cumsum(0)
right = gates * (place <= capacity)
{before}
return {value}"""
    return _function("apply_capacity", "my_apply_capacity(gates, capacity)", label, body, says)


ALL_ROWS = "an expert was given rows whose gate is 0"

WRONG = [
    # --- moe_forward ---
    _moe("every expert on every row", "return sum(gates[:, i, None] * E(x) for i, E in enumerate(experts))", ALL_ROWS),
    _moe("every expert, einsum", "return torch.einsum('ne,ned->nd', gates, torch.stack([E(x) for E in experts], 1))", ALL_ROWS),
    _loop("all rows, then selected", "y = y.index_add(0, r, gates[r, i, None] * E(x)[r])", ALL_ROWS),
    _loop("masked input", "m = (gates[:, i] != 0).float()[:, None]\ny = y + gates[:, i, None] * E(x * m)", "not rows of x"),
    _loop("called twice", "E(x[r])\ny = y.index_add(0, r, gates[r, i, None] * E(x[r]))", "the same row more than once"),
    _loop("empty expert", "y = y.index_add(0, r, gates[r, i, None] * E(x[r]))", "without any row was called", skip=False),
    _loop("width by a trial", "y = y.index_add(0, r, gates[r, i, None] * E(x[r]))", "the same row more",
          start="experts[0](x[:1]) * x.new_zeros(len(x), 1)"),
    _loop("width by an empty trial", "y = y.index_add(0, r, gates[r, i, None] * E(x[r]))", "without any row was called",
          start="x.new_zeros(len(x), experts[1](x[:0]).shape[1])"),
    _loop("no gates", "y = y.index_add(0, r, E(x[r]))", "added up without their gates"),
    _moe("no gates, all rows", "return sum(E(x) for E in experts)", "added up without their gates"),
    _loop("overwrites", "y[r] = gates[r, i, None] * E(x[r])", "only the last one is left"),
    _loop("overwrites, no gates", "y[r] = E(x[r])", "only the last one is left"),
    _moe("repeated tokens", """
token, expert = gates.nonzero(as_tuple=True)
out = torch.stack([experts[e](x[t]) for t, e in zip(token.tolist(), expert.tolist())])
y = torch.zeros(len(x), out.shape[1])
for j in range(len(token)):
    y[token[j]] = out[j] * gates[token[j], expert[j]]
return y""", "only the last one is left"),
    _loop("not stored", "y[r].add_(gates[r, i, None] * E(x[r]))", "changes only the copy"),
    _loop("index_add thrown away", "y.index_add(0, r, gates[r, i, None] * E(x[r]))", "changes only the copy"),
    _loop("mean over all experts", "y = y.index_add(0, r, gates[r, i, None] * E(x[r]))", "mean over the experts", end="y / len(experts)"),
    _loop("mean over the chosen", "y = y.index_add(0, r, gates[r, i, None] * E(x[r]))", "mean over the experts",
          end="y / (gates != 0).sum(1, keepdim=True)"),
    _loop("plain mean of the chosen", "y = y.index_add(0, r, E(x[r]))", "mean over the experts", end="y / (gates != 0).sum(1)[:, None]"),
    _moe("plain mean of all", "return torch.stack([E(x) for E in experts]).mean(0)", "mean over the experts"),
    _loop("added at the front", "y[:len(r)] += gates[r, i, None] * E(x[r])", "added to the FIRST n rows"),
    _loop("read from the front", "y[r] += gates[r, i, None] * E(x[:len(r)])", "read the FIRST n rows of x"),
    _loop("gates from the front", "y[r] += gates[:len(r), i, None] * E(x[r])", "the FIRST n gates"),
    _loop("gate squared", "y[r] += gates[r, i, None] ** 2 * E(x[r])", "multiplied by its gate twice"),
    _loop("argmax", "y = y + (gates.argmax(1) == i)[:, None] * gates[:, i, None] * E(x)", "with the largest gate counts"),
    _moe("argmax, no gate", "return torch.stack([experts[i](row) for i, row in zip(gates.argmax(1).tolist(), x)])", "the largest gate"),
    _loop("the two largest", "r = (gates.topk(2).indices == i).any(1).nonzero().squeeze(1)\ny[r] += gates[r, i, None] * E(x[r])",
          "the two largest gates of each token"),
    _loop("gate inside", "y[r] += E(gates[r, i, None] * x[r])", "multiplies the expert's INPUT"),
    _loop("gate inside and outside", "y[r] += gates[r, i, None] * E(gates[r, i, None] * x[r])", "multiplies the expert's INPUT"),
    _moe("gate inside, all rows", "return sum(E(gates[:, i, None] * x) for i, E in enumerate(experts))", "multiplies the expert's INPUT"),
    _loop("softmax of the gates", "y = y + gates.softmax(1)[:, i, None] * E(x)", "took a softmax of the gates"),
    _loop("renormalised", "y[r] += (gates / gates.sum(1, keepdim=True))[r, i, None] * E(x[r])", "scale the gates of a token to the sum 1"),
    _loop("starts from x", "y[r] += gates[r, i, None] * E(x[r])", "Your result starts from x", start="x.clone()"),
    _loop("gates of a token", "r = gates[i].nonzero().squeeze(1)\ny[r] += gates[i, r, None] * E(x[r])", "the gates of TOKEN i"),
    _moe("last expert missing", "return sum(gates[:, i, None] * experts[i](x) for i in range(len(experts) - 1))", "An expert is missing"),
    _moe("first expert missing", "return sum(gates[:, i, None] * experts[i](x) for i in range(1, len(experts)))", "An expert is missing"),
    _loop("returns in the loop", "y[r] += gates[r, i, None] * E(x[r])\nreturn y", "An expert is missing"),
    _loop("zeros chosen", "r = (gates[:, i] == 0).nonzero().squeeze(1)\ny[r] += E(x[r])", "whose gate IS 0"),
    _loop("threshold", "r = (gates[:, i] > 0.5).nonzero().squeeze(1)\ny[r] += gates[r, i, None] * E(x[r])", "Small gates were dropped"),
    _loop("shifted by one", "r = gates[:, i - 1].nonzero().squeeze(1)\ny[r] += gates[r, i - 1, None] * E(x[r])", "do not belong together"),
    _loop("gate without an axis", "y[r] += gates[r, i] * E(x[r])", "need a second axis"),
    _loop("summed over features", "y[r] += gates[r, i, None] * E(x[r])", "over the experts only", end="y.sum(1)"),
    _loop("one number", "y[r] += gates[r, i, None] * E(x[r])", "over the experts only", end="y.sum()"),
    _loop("shape of x", "y[r] += gates[r, i, None] * E(x[r])", "y must not be made like x"),
    _loop("shape of x, index_add", "y = y.index_add(0, r, gates[r, i, None] * E(x[r]))", "y must not be made like x"),
    _moe("stack of sums", """
rows = []
for n in range(len(x)):
    rows.append(sum(gates[n, i] * experts[i](x[n]) for i in gates[n].nonzero().flatten().tolist()))
return torch.stack(rows)""", "Two tokens have no gate"),
    _wide("dropped tokens left out", "out = gates[r, i, None] * E(x[r])", "Two tokens have no gate",
          before="x, gates = x[gates.any(1)], gates[gates.any(1)]"),
    _wide("gates detached", "out = gates.detach()[r, i, None] * E(x[r])", "no gradient reaches the gates"),
    _wide("no_grad", "with torch.no_grad():\n    out = gates[r, i, None] * E(x[r])", "no gradient reaches the gates"),
    _wide("input detached", "out = gates[r, i, None] * E(x[r].detach())", "no gradient reaches x"),
    _wide("output detached", "out = gates[r, i, None] * E(x[r]).detach()", "no gradient reaches x"),
    _wide("gates changed in place", "out = gates[r, i, None] * E(x[r])", "changed its input", before="gates *= 2"),
    _loop("x changed in place", "x[r] += gates[r, i, None] * E(x[r])", "changed its input", end="x"),
    _loop("a list", "y[r] += gates[r, i, None] * E(x[r])", "and is a list", end="list(y)"),
    _loop("nothing returned", "y[r] += gates[r, i, None] * E(x[r])", "did you forget `return`", end="None"),
    _moe("numpy", """
y = np.zeros(x.shape)
for i, E in enumerate(experts):
    r = np.nonzero(gates[:, i].numpy())[0]
    if len(r):
        y[r] += (gates[r, i, None] * E(x[r])).numpy()
return torch.tensor(y)""", "y must not be made like x"),
    _wide("numbers", "out = torch.tensor(gates[r, i].tolist())[:, None] * E(x[r])", "no gradient reaches the gates"),
    _wide("numpy gates", "out = torch.from_numpy(gates.numpy())[r, i, None] * E(x[r])", "no gradient reaches the gates"),
    _loop("expert numbers given", "y[r] += gates[r, i, None] * E(r)", "An expert takes rows of x"),
    _loop("not foreseen", "y[r] += 1.1 * gates[r, i, None] * E(x[r])", "For each expert i: row ="),
    # --- switch_loss ---
    _switch("no E", "(f * P).sum()", "The factor E is missing"),
    _switch("E and mean", "E * (f * P).mean()", "The factor E is missing"),
    _switch("mean", "(f * P).mean()", "E is missing twice"),
    _switch("E squared", "E ** 2 * (f * P).sum()", "There is an E too many"),
    _switch("counts", "E * (a.sum(0) * P).sum()", "is a count and not a share"),
    _switch("probabilities summed", "E * (f * p.sum(0)).sum()", "is a count and not a share"),
    _switch("both summed", "E * (a.sum(0) * p.sum(0)).sum()", "both sums over the tokens"),
    _switch("counts, no E", "(a.sum(0) * P).sum()", "the factor is N"),
    _switch("N in place of E", "len(z) * (f * P).sum()", "the factor is N"),
    _switch("both summed, no E", "a.sum(0) @ p.sum(0)", "the factor E is missing: means"),
    _switch("divided again", "E * (f * P).sum() / N", "divided by the N tokens once too often"),
    _switch("divided again, no E", "(f * P).sum() / N", "once too often, and the factor E"),
    _switch("P P", "E * (P * P).sum()", "f is made of the probabilities"),
    _switch("P P, no E", "(P * P).sum()", "f is made of the probabilities"),
    _switch("p p per token", "E * (p * p).sum(1).mean()", "f is made of the probabilities"),
    _switch("f f", "E * (f * f).sum()", "P is made of the choices"),
    _switch("counts squared", "E * (a.sum(0) ** 2).sum()", "P is made of the choices"),
    _switch("softmax over tokens", "E * (f * z.softmax(0).mean(0)).sum()", "Does the softmax run over the tokens"),
    _switch("softmax over tokens, summed", "E * (f * z.softmax(0).sum(0)).sum()", "Does the softmax run over the tokens"),
    _switch("sums before the product", "E * f.sum() * P.sum()", "do the sums come before the product"),
    _switch("log softmax", "E * (f * z.log_softmax(1).mean(0)).sum()", "took the logarithm of the probabilities"),
    _switch("log of P", "E * (f * P.log()).sum()", "took the logarithm of the probabilities"),
    _switch("top 2", "E * (F.one_hot(z.topk(2).indices, E).sum(1).float().mean(0) * P).sum()", "the two largest logits"),
    _switch("top 2, shares", "E * (F.one_hot(z.topk(2).indices, E).float().mean((0, 1)) * P).sum()", "the two largest logits"),
    _switch("token by token", "E * (a * p).sum(1).mean()", "the product of the means"),
    _switch("largest probability", "E * p.amax(1).mean()", "the product of the means"),
    _switch("CV of f", "f.var(correction=0) / f.mean() ** 2", "squared coefficient of variation"),
    _switch("CV of P, sample variance", "P.var() / P.mean() ** 2", "squared coefficient of variation"),
    _switch("deviation of f", "f.std() / f.mean()", "squared coefficient of variation"),
    _switch("variance of the load", "f.var()", "squared coefficient of variation"),
    _switch("entropy", "-(P * P.log()).sum()", "This is an entropy"),
    _switch("cross-entropy", "F.cross_entropy(z, z.argmax(1))", "This is an entropy"),
    _switch("logits", "E * (f * z.mean(0)).sum()", "The softmax is missing"),
    _switch("sigmoid", "E * (f * z.sigmoid().mean(0)).sum()", "You took a sigmoid"),
    _switch("softmax twice", "E * (f * p.softmax(1).mean(0)).sum()", "The softmax was taken twice"),
    _switch("mean first", "E * (f * z.mean(0).softmax(0)).sum()", "The mean comes before the softmax"),
    _switch("minus", "-E * (f * P).sum()", "The sign is wrong"),
    _switch("weight", "0.01 * E * (f * P).sum()", "the paper's weight of 0.01"),
    _switch("argmin", "E * (F.one_hot(z.argmin(1), E).float().mean(0) * P).sum()", "f counts the SMALLEST logits"),
    _switch("weighted", "E * ((a * p).mean(0) * P).sum()", "weighted with the probability of the choice"),
    _switch("above one half", "E * ((p > 0.5).float().mean(0) * P).sum()", "above a threshold"),
    _switch("above average", "E * ((p > 1 / E).float().mean(0) * P).sum()", "above a threshold"),
    _switch("squared difference", "F.mse_loss(f, P)", "This is a squared difference"),
    _switch("minus one", "E * (f * P).sum() - 1", "You subtracted 1"),
    _switch("maximum", "E * (f * P).max()", "You took the largest of the products"),
    _switch("not summed", "E * f * P", "one number for each expert"),
    _switch("per token", "E * (f * p).sum(1)", "one number for each token"),
    _switch("mean over experts", "E * (f * p.mean(1)).sum()", "The shapes do not line up"),
    _switch("argmax over tokens", "E * (F.one_hot(z.argmax(0), N).float().mean(0) * P).sum()", "The shapes do not line up"),
    _switch("keepdim", "E * (f * P).sum(0, keepdim=True)", "leave out keepdim"),
    _switch("no minlength", "E * (torch.bincount(z.argmax(1)) / N * P).sum()", "No token chooses the last two"),
    _switch("unique", "E * (z.argmax(1).unique(return_counts=True)[1] / N * P).sum()", "No token chooses the last two"),
    _switch("one_hot without E", "E * (F.one_hot(z.argmax(1)).float().mean(0) * P).sum()", "No token chooses the last two"),
    _switch("item", "(E * (f * P).sum()).item()", "it has no gradient"),
    _switch("detached", "E * (f * P.detach()).sum()", "it has no gradient"),
    _switch("numpy", "E * (f * torch.from_numpy(P.numpy())).sum()", "it has no gradient"),
    _switch("straight through", "E * ((f + P - P.detach()) * P).sum()", "flows through P alone"),
    _switch("nan", "E * (f * P).sum() * torch.nan", "is nan: look for"),
    _switch("a pair", "(f, P)", "and is a tuple"),
    _switch("not foreseen", "E * (f * P).sum() * 1.1", "the loss is E * (f * P).sum()"),
    # --- apply_capacity ---
    _capacity("largest gates", "gates * (gates >= gates.topk(capacity, 0).values[-1])", "the tokens with the LARGEST gates"),
    _capacity("largest gates, scatter",
              "gates * torch.zeros_like(gates).scatter(0, gates.topk(capacity, 0).indices, 1.0)", "the tokens with the LARGEST gates"),
    _capacity("sorted", "gates * (gates.argsort(0, descending=True).argsort(0) < capacity)", "the tokens with the LARGEST gates"),
    _capacity("smallest gates", "gates * (gates.where(chosen, torch.inf).argsort(0).argsort(0) < capacity)", "smallest gates"),
    _capacity("one too few", "gates * (place < capacity)", "one token too few"),
    _capacity("one too many", "gates * (place - 1 <= capacity)", "one token too many"),
    _capacity("all experts together", "gates * (chosen.any(1).cumsum(0) <= capacity)[:, None]", "the first `capacity` rows"),
    _capacity("row numbers", "gates * (torch.arange(len(gates)) < capacity)[:, None]", "the first `capacity` rows"),
    _capacity("slice", "torch.cat([gates[:capacity], 0 * gates[capacity:]])", "the first `capacity` rows"),
    _capacity("flat count", "gates * (chosen.flatten().cumsum(0).reshape(gates.shape) <= capacity)", "the first `capacity` rows"),
    _capacity("counts zeros too", "gates * (torch.ones_like(gates).cumsum(0) <= capacity)", "the first `capacity` rows"),
    _capacity("places together", "gates * (chosen.any(1).cumsum(0) <= capacity * gates.shape[1])[:, None]", "E * capacity places"),
    _capacity("along the row", "gates * (chosen.cumsum(1) <= capacity)", "Nothing was dropped"),
    _capacity("largest of the row", "gates * torch.zeros_like(gates).scatter(1, gates.topk(min(capacity, 3), 1).indices, 1.0)",
              "Nothing was dropped"),
    _capacity("clamp", "gates.clamp(max=capacity)", "Nothing was dropped"),
    _capacity("last ones", "gates * (chosen.flip(0).cumsum(0).flip(0) <= capacity)", "You keep the LAST tokens"),
    _capacity("sum of the gates", "gates * (gates.cumsum(0) <= capacity)", "You add up the gates themselves"),
    _capacity("overflow", "gates * (place > capacity)", "This is the overflow"),
    _capacity("overflow, from the last place", "gates * (place >= capacity)", "This is the overflow"),
    _capacity("mask", "chosen & (place <= capacity)", "This is the mask"),
    _capacity("where the gates are", "chosen", "This is the mask"),
    _capacity("mask as numbers", "(chosen & (place <= capacity)).float()", "Your served tokens have the gate 1"),
    _capacity("places", "place * (place <= capacity) * chosen", "This is the mask"),
    _capacity("scaled again", "right / right.sum(1, keepdim=True).clamp(min=1e-9)", "Your served tokens have the gate 1"),
    _capacity("scaled again, nan", "right / right.sum(1, keepdim=True)", "Your served tokens have the gate 1"),
    _capacity("columns scaled", "right / right.sum(0)", "what is left of an expert up, or down"),
    _capacity("mass kept", "right * gates.sum() / right.sum()", "what is left of an expert up, or down"),
    _capacity("all or nothing", "gates * (chosen.sum(0) <= capacity)", "loses all of them"),
    _capacity("shrunk", "gates * (capacity / chosen.sum(0)).clamp(max=1)", "scale down the gates of a full expert"),
    _capacity("minus infinity", "gates.masked_fill(place > capacity, -math.inf)", "The overflow is -inf"),
    _capacity("minus infinity in the overflow", "gates.masked_fill(chosen & (place > capacity), -math.inf)", "The overflow is -inf"),
    _capacity("nothing served", "gates * 0", "Everything was dropped"),
    _capacity("one each", "gates * (place <= 1)", "Each expert serves one token in yours"),
    _capacity("first column only", "right", "Only the first expert's queue", before="right[:, 1:] = gates[:, 1:]"),
    _capacity("returns in the loop", "None", "Only the first expert's queue", before="""
out = torch.zeros_like(gates)
for i in range(gates.shape[1]):
    row = gates[:, i].nonzero().flatten()[:capacity]
    out[row, i] = gates[row, i]
    return out"""),
    _capacity("rows deleted", "right[right.any(1)]", "dropped tokens keep their row"),
    _capacity("a pair", "right, ~right.any(1)", "only the gates are asked"),
    _capacity("in place", "gates", "changed its input", before="gates[place > capacity] = 0"),
    _capacity("zero means no limit", "right if capacity else gates", "With a capacity of 0"),
    _capacity("slice from the end at zero", "out", "With a capacity of 0", before="""
out = gates.clone()
for i in range(gates.shape[1]):
    row = gates[:, i].nonzero().flatten()
    out[row.flip(0)[:-capacity], i] = 0"""),
    _capacity("fixed queue", "out", "capacity is larger than the number of tokens", before="""
out = torch.zeros_like(gates)
for i in range(gates.shape[1]):
    row = gates[:, i].nonzero().flatten()
    for j in range(capacity if capacity > len(gates) else min(capacity, len(row))):
        out[row[j], i] = gates[row[j], i]"""),
    _capacity("transposed", "right.T", "expected (18, 4)"),
    _capacity("one column too few", "gates * (place[:, :-1] <= capacity)", "The shapes do not line up"),
    _capacity("a list", "right.tolist()", "and is a list"),
    _capacity("nothing returned", "print(right)", "did you forget `return`"),
    _capacity("not foreseen", "1.1 * right", "numbers the tokens of each expert"),
]
