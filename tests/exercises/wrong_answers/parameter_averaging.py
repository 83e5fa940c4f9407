"""Wrong answers to the exercises of notebook 03."""

from __future__ import annotations

from . import WrongAnswer


def _function(exercise: str, signature: str, label: str, body: str, says: str) -> WrongAnswer:
    """Every answer brings the imports it uses, as in a student's own cell."""
    imports = "import numpy as np\n" if "np." in body else ""
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    code = f"import torch\n{imports}\n\ndef {signature}:\n{lines}\n"
    return WrongAnswer(f"parameter_averaging.{exercise}", label, code, says)


def _average(label: str, body: str, says: str) -> WrongAnswer:
    return _function("average", "average(models, weights)", label, body, says)


def _entry(
    label: str, value: str, says: str, counter: str = "first.clone()", before: str = "W = sum(weights)"
) -> WrongAnswer:
    """The right loop over the names with a wrong value for a tensor of floats; `ts` are the models' tensors."""
    body = f"""
{before}
result = {{}}
for name, first in models[0].items():
    if not first.is_floating_point():
        result[name] = {counter}
        continue
    ts = [m[name].float() for m in models]
    value = {value}
    result[name] = value.to(first.dtype)
return result"""
    return _average(label, body, says)


def _counted(label: str, counter: str, says: str) -> WrongAnswer:
    """Everything right but the counter; `tensors` are the models' counters."""
    right = "sum(w / W * t for w, t in zip(weights, ts))"
    return _entry(label, right, says, counter.replace("tensors", "[m[name] for m in models]"))


def _permute(label: str, body: str, says: str) -> WrongAnswer:
    return _function("permute", "permute_units(state_dict, layer, next_layer, perm)", label, body, says)


def _moved(label: str, says: str, **wrong: str) -> WrongAnswer:
    """The right answer but for the weight W, the bias B, the next weight N or the next bias C; `inv` is the inverse."""
    right = {"W": "W[perm]", "B": "B[perm]", "N": "N[:, perm]", "C": "C"}
    values = {**right, **wrong}
    body = f"""
result = {{name: t.clone() for name, t in state_dict.items()}}
W, B = state_dict[layer + ".weight"], state_dict[layer + ".bias"]
N, C = state_dict[next_layer + ".weight"], state_dict[next_layer + ".bias"]
inv = torch.argsort(perm)
result[layer + ".weight"] = {values["W"]}
result[layer + ".bias"] = {values["B"]}
result[next_layer + ".weight"] = {values["N"]}
result[next_layer + ".bias"] = {values["C"]}
return result"""
    return _permute(label, body, says)


def _where_it_fits(code: str, tensor: str, dim: int) -> str:
    """`code` where the tensor has as many entries along dim as there are units, the right answer elsewhere."""
    right = "N[:, perm]" if tensor == "N" else "W[perm]"
    return f"{code} if {tensor}.shape[{dim}] == len(perm) else {right}"


def _barrier(label: str, value: str, says: str, before: str = "") -> WrongAnswer:
    """One line; `L` are the losses, `t` the right grid, `line` the right line."""
    body = f"""
L = torch.as_tensor(losses)
n = len(L)
t = torch.linspace(0, 1, n)
line = (1 - t) * L[0] + t * L[-1]
{before}
return {value}"""
    return _function("barrier", "loss_barrier(losses)", label, body.replace("\n\n", "\n"), says)


MEAN = """
def mean(indices):
    return {k: torch.stack([models[j][k] for j in indices]).mean(0) for k in models[0]}
scores = [evaluate(m) for m in models]
order = sorted(range(len(models)), key=lambda i: -scores[i])
"""
LOOP = """
chosen, best = [order[0]], scores[order[0]]
for i in order[1:]:
    score = evaluate(mean(chosen + [i]))
    if score >= best:
        chosen.append(i)
        best = score
"""


def _greedy(label: str, body: str, says: str) -> WrongAnswer:
    return _function("greedy_soup", "greedy_soup(models, evaluate)", label, body, says)


def _soup(label: str, says: str, old: str = "", new: str = "", end: str = "mean(chosen), chosen") -> WrongAnswer:
    """The right answer with `old` replaced by `new`, or with another thing returned."""
    assert not old or old in MEAN + LOOP, old
    return _greedy(label, (MEAN + LOOP).replace(old or "\0", new) + f"return {end}", says)


SIGNATURE = "inference_cost(members, layers, kv_heads, head_dim, context, bytes_per_value, parameters)"


def _cost(label: str, says: str, w: str = "", c: str = "", m: str = "", end: str = "w, c, m") -> WrongAnswer:
    """The right answer but for the weights' bytes w, the cache's bytes c or the multiply-adds m."""
    body = f"""
w = {w or "members * parameters * bytes_per_value"}
c = {c or "members * 2 * layers * kv_heads * head_dim * context * bytes_per_value"}
m = {m or "members * parameters"}
return {end}"""
    return _function("kv_cache", SIGNATURE, label, body, says)


PAIRS = (
    "two checkpoints of one run",
    "two fine-tunes of one base",
    "two runs from different seeds",
    "a model and the same model with its hidden units reordered",
)


def _pairs(label: str, values: str, says: str) -> WrongAnswer:
    """values: for example "TTFF"; "?" is an entry that is still None."""
    words = {"T": "True", "F": "False", "?": "None", "y": "'yes'"}
    entries = "\n".join(f"    {pair!r}: {words[v]}," for pair, v in zip(PAIRS, values))
    return WrongAnswer("parameter_averaging.can_average", label, f"can_average = {{\n{entries}\n}}\n", says)


WRONG = [
    # --- average: the shares ---
    _entry("weights not normalised", "sum(w * t for w, t in zip(weights, ts))", "The weights are not normalised"),
    _entry("weights not normalised: the shares are shown", "sum(w * t for w, t in zip(weights, ts))", "2 models[0]"),
    _entry("weights ignored", "torch.stack(ts).mean(0)", "The weights are ignored"),
    _entry("sum without division", "sum(ts)", "This is the sum of the models"),
    _entry("divided by the number", "sum(w * t for w, t in zip(weights, ts)) / len(ts)", "You divided by the NUMBER"),
    _entry(
        "divided twice", "sum(w / W * t for w, t in zip(weights, ts)) / len(ts)", "by the number of models: the former"
    ),
    _entry(
        "mean of weighted tensors", "torch.stack([w / W * t for w, t in zip(weights, ts)]).mean(0)", "divided twice"
    ),
    _entry(
        "softmax of the weights",
        "sum(w * t for w, t in zip(torch.tensor(weights).softmax(0), ts))",
        "This is the softmax of the weights",
    ),
    _entry("first model", "ts[0]", "This is the first model, nothing was averaged"),
    _entry(
        "the model with the largest weight",
        "ts[weights.index(max(weights))]",
        "This is the model with the largest weight",
    ),
    _entry(
        "first two models",
        "ts[0] if len(ts) < 2 else (weights[0] * ts[0] + weights[1] * ts[1]) / (weights[0] + weights[1])",
        "Only the first two models count",
    ),
    _entry(
        "interpolation of two",
        "ts[0] if len(ts) < 2 else weights[0] / W * ts[0] + (1 - weights[0] / W) * ts[1]",
        "Only the first two models count",
    ),
    _average(
        "two models by index",
        "a, b = models[0], models[1]\n"
        "return {k: (weights[0] * a[k] + weights[1] * b[k]) / (weights[0] + weights[1]) for k in a}",
        "Only the first two models count",
    ),
    _entry(
        "the last one is left out",
        "sum(weights[i] * ts[i] for i in range(len(ts) - 1)) / W + 0 * ts[0]",
        "The last model is left out",
    ),
    _average(
        "half and half in a loop",
        """
result = {k: t.clone() for k, t in models[0].items()}
for m in models[1:]:
    for k in result:
        result[k] = (result[k] + m[k]) / 2
return result""",
        "Half and half with each newcomer",
    ),
    _average(
        "the sum starts from the first model",
        """
result = {k: t.clone() for k, t in models[0].items()}
for w, m in zip(weights, models):
    for k in result:
        if result[k].is_floating_point():
            result[k] += w / sum(weights) * m[k]
return result""",
        "starts from models[0] in place of zeros",
    ),
    _average(
        "the first model unweighted",
        """
result = {k: t.clone() for k, t in models[0].items()}
for w, m in zip(weights[1:], models[1:]):
    for k in result:
        result[k] = result[k] + w * m[k]
return {k: t / sum(weights) for k, t in result.items()}""",
        "starts from models[0] in place of zeros",
    ),
    _average(
        "overwritten",
        """
result = {}
for w, m in zip(weights, models):
    for k in m:
        result[k] = w / sum(weights) * m[k]
return result""",
        "Only the last term of the sum is left",
    ),
    _average(
        "divided in the loop",
        """
result = {k: torch.zeros_like(t) for k, t in models[0].items()}
for w, m in zip(weights, models):
    for k in m:
        result[k] = (result[k] + w * m[k]) / sum(weights)
return result""",
        "You divide inside the loop",
    ),
    _entry("in reverse", "sum(w / W * t for w, t in zip(weights[::-1], ts))", "The weights meet the models in reverse"),
    _entry("largest weight", "sum(w / max(weights) * t for w, t in zip(weights, ts))", "divided by the largest weight"),
    _entry("median", "torch.stack(ts).median(0).values", "This is the median of the models"),
    _entry("zeros", "torch.zeros_like(first)", "Nothing was added up"),
    _entry(
        "an unforeseen one",
        "sum(w / W * t for w, t in zip(weights, ts)) + 0.25 * (ts[1 % len(ts)] - ts[0])",
        "Every model counts w_i / (sum of all w). Yours is -0.0833 models[0] + 0.667 models[1]",
    ),
    _entry("mean over the entries", "sum(w / W * t for w, t in zip(weights, ts)).mean()", "runs over the MODELS"),
    # --- average: whole numbers ---
    _average(
        "the counter becomes a float",
        "W = sum(weights)\n"
        "return {k: sum(w / W * m[k].float() for w, m in zip(weights, models)).to(models[0][k].dtype)\n"
        "        if models[0][k].is_floating_point() else sum(w / W * m[k] for w, m in zip(weights, models))\n"
        "        for k in models[0]}",
        "comes back as torch.float32. It counts",
    ),
    _average(
        "no thought of the counter",
        "return {k: sum(w * m[k] for w, m in zip(weights, models)) / sum(weights) for k in models[0]}",
        "'steps' is torch.int64 in every model and comes back as torch.float32",
    ),
    _average(
        "the counter truncated",
        """
W, result = sum(weights), {}
for k, first in models[0].items():
    total = sum(w * m[k].float() for w, m in zip(weights, models)) / W
    result[k] = total.to(first.dtype)
return result""",
        "was cut off. It counts",
    ),
    _counted("the counter summed", "sum(tensors)", "is 16777217 in every model and comes back as 50331651"),
    _counted("the counter is 0", "torch.zeros_like(first)", "is 16777217 in every model and comes back as 0"),
    _counted("the counter as int32", "first.to(torch.int32)", "comes back as torch.int32"),
    _average(
        "float shares into a whole-number sum",
        """
result = {}
for k, first in models[0].items():
    result[k] = torch.zeros_like(first)
    for w, m in zip(weights, models):
        result[k] += w / sum(weights) * m[k]
return result""",
        "'steps' holds whole numbers. It counts",
    ),
    _average(
        "mean of whole numbers",
        """
shares = torch.tensor(weights) / sum(weights) * len(weights)
return {k: torch.stack([s * m[k] for s, m in zip(shares, models)]).mean(0) if models[0][k].is_floating_point()
        else torch.stack([m[k] for m in models]).mean(0) for k in models[0]}""",
        "'steps' holds whole numbers",
    ),
    _average(
        "the counter is left out",
        "W = sum(weights)\n"
        "return {k: sum(w / W * m[k].float() for w, m in zip(weights, models)).to(models[0][k].dtype)\n"
        "        for k in models[0] if models[0][k].is_floating_point()}",
        "Your result has no 'steps'",
    ),
    _counted("the counter shares its memory", "first", "'steps' of your result shares its memory with models[0]"),
    # --- average: dtype, memory, in place ---
    _average(
        "float16 becomes float32",
        """
W, result = sum(weights), {}
for k, first in models[0].items():
    result[k] = first.clone()
    if first.is_floating_point():
        result[k] = sum(w / W * m[k].float() for w, m in zip(weights, models))
return result""",
        "came in as torch.float16 and comes back as torch.float32",
    ),
    _average(
        "summed in float16",
        """
W, result = sum(weights), {}
for k, first in models[0].items():
    result[k] = first.clone()
    if first.is_floating_point():
        result[k] = sum(w / W * m[k] for w, m in zip(weights, models))
return result""",
        "It lost digits",
    ),
    _average(
        "float16 divided at the end",
        """
result = {}
for k, first in models[0].items():
    result[k] = first.clone()
    if first.is_floating_point():
        result[k] = sum(w * m[k] for w, m in zip(weights, models)) / sum(weights)
return result""",
        "It lost digits",
    ),
    _average(
        "float64",
        """
W, result = sum(weights), {}
for k, first in models[0].items():
    result[k] = first.clone()
    if first.is_floating_point():
        result[k] = sum(w / W * m[k].double() for w, m in zip(weights, models))
return result""",
        "came in as torch.float32 and comes back as torch.float64",
    ),
    _average(
        "in place",
        """
for k in models[0]:
    models[0][k] *= weights[0] / sum(weights)
    for w, m in zip(weights[1:], models[1:]):
        models[0][k] += w / sum(weights) * m[k]
return models[0]""",
        "You changed the first model (models[0], its 'embedding.weight')",
    ),
    _average(
        "an alias of the first model",
        """
result = models[0]
for k in result:
    result[k] = sum(w * m[k] for w, m in zip(weights, models)) / sum(weights)
return result""",
        "You changed the first model",
    ),
    _average(
        "a shallow copy",
        """
result = dict(models[0])
for k in result:
    result[k] *= weights[0]
    for w, m in zip(weights[1:], models[1:]):
        result[k] += w * m[k]
    result[k] /= sum(weights)
return result""",
        "dict(models[0]) copy no tensor",
    ),
    _average(
        "weights multiplied in place",
        """
for w, m in zip(weights, models):
    for k in m:
        m[k].mul_(w / sum(weights))
return {k: sum(m[k] for m in models) for k in models[0]}""",
        "You changed the first model",
    ),
    _average(
        "one model is returned itself",
        """
if len(models) == 1:
    return models[0]
W, result = sum(weights), {}
for k, first in models[0].items():
    result[k] = first.clone()
    if first.is_floating_point():
        result[k] = sum(w / W * m[k].float() for w, m in zip(weights, models)).to(first.dtype)
return result""",
        "Your result IS models[0]",
    ),
    _average("the models themselves", "return models[0]", "This is the first model, nothing was averaged"),
    _average(
        "return inside the loop",
        "for k in models[0]:\n    return {k: sum(w * m[k] for w, m in zip(weights, models)) / sum(weights)}",
        "Did you return inside the loop over the names?",
    ),
    _average(
        "a list",
        "return [sum(w * m[k] for w, m in zip(weights, models)) / sum(weights) for k in models[0]]",
        "should be a state dict",
    ),
    _average(
        "list arithmetic",
        "shares = weights / sum(weights)\nreturn {k: sum(w * m[k] for w, m in zip(shares, models)) for k in models[0]}",
        "weights is a list of plain numbers",
    ),
    # --- permute ---
    _moved("bias forgotten", "The bias is forgotten", B="B"),
    _moved("next layer forgotten", "The next layer's columns are forgotten", N="N"),
    _moved("rows forgotten", "The rows of 'hidden' are forgotten", W="W"),
    _moved("only the weight", "And: The next layer's columns are forgotten", B="B", N="N"),
    _moved("rows of the next layer", "You permuted the ROWS of the next layer", N="N[perm]"),
    _moved(
        "rows of the next layer where they fit",
        "You permuted the ROWS of the next",
        N=_where_it_fits("N[perm]", "N", 0),
    ),
    _moved(
        "rows and columns of the next layer",
        "You permuted the ROWS of the next layer",
        N=_where_it_fits("N[perm][:, perm]", "N", 0),
    ),
    _moved(
        "rows of the next layer, the other way",
        "You permuted the ROWS of the next layer",
        N=_where_it_fits("N[inv]", "N", 0),
    ),
    _moved("columns of the first layer", "You permuted the COLUMNS of the first", W="W[:, perm]"),
    _moved(
        "columns of the first layer where they fit",
        "You permuted the COLUMNS of the first",
        W=_where_it_fits("W[:, perm]", "W", 1),
    ),
    _moved(
        "rows and columns of the first layer",
        "You permuted the COLUMNS of the first",
        W=_where_it_fits("W[perm][:, perm]", "W", 1),
    ),
    _moved("inverse on the next layer", "The next layer, 'out', got the inverse permutation", N="N[:, inv]"),
    _moved("inverse on the first layer", "The weight of 'hidden' got the inverse", W="W[inv]", B="B[inv]"),
    _moved("inverse of the bias", "The bias of 'hidden' got the inverse permutation", B="B[inv]"),
    _moved("inverse everywhere", "you applied the inverse permutation", W="W[inv]", B="B[inv]", N="N[:, inv]"),
    _permute(
        "inverse by assignment",
        """
result = {name: t.clone() for name, t in state_dict.items()}
result[f"{layer}.weight"][perm] = state_dict[f"{layer}.weight"]
result[f"{layer}.bias"][perm] = state_dict[f"{layer}.bias"]
result[f"{next_layer}.weight"][:, perm] = state_dict[f"{next_layer}.weight"]
return result""",
        "The network computes the same, but in another order",
    ),
    _permute(
        "a matrix on the wrong side",
        """
result, P = dict(state_dict), torch.eye(len(perm))[perm]
result[f"{layer}.weight"] = P @ state_dict[f"{layer}.weight"]
result[f"{layer}.bias"] = P @ state_dict[f"{layer}.bias"]
result[f"{next_layer}.weight"] = state_dict[f"{next_layer}.weight"] @ P
return result""",
        "The next layer, 'out', got the inverse permutation",
    ),
    _moved(
        "the next bias as well", "You permuted the bias of the next layer", C="C[perm] if len(C) == len(perm) else C"
    ),
    _moved("sorted", "does not hold the numbers it held before", B="B.sort().values * 0"),
    _permute("unchanged", "return {k: t.clone() for k, t in state_dict.items()}", "Nothing was moved"),
    _permute("the input itself", "return state_dict", "Nothing was moved"),
    _permute(
        "in place",
        """
state_dict[f"{layer}.weight"] = state_dict[f"{layer}.weight"][perm]
state_dict[f"{layer}.bias"] = state_dict[f"{layer}.bias"][perm]
state_dict[f"{next_layer}.weight"] = state_dict[f"{next_layer}.weight"][:, perm]
return state_dict""",
        "You changed the state dict that you were given (its 'hidden.weight')",
    ),
    _permute(
        "in place through a shallow copy",
        """
result = dict(state_dict)
result[f"{layer}.weight"][:] = state_dict[f"{layer}.weight"][perm]
result[f"{layer}.bias"][:] = state_dict[f"{layer}.bias"][perm]
result[f"{next_layer}.weight"][:] = state_dict[f"{next_layer}.weight"][:, perm]
return result""",
        "You changed the state dict that you were given",
    ),
    _permute(
        "literal names",
        """
result = dict(state_dict)
result["layer.weight"] = state_dict["layer.weight"][perm]
return result""",
        "layer and next_layer are parts of them",
    ),
    _permute(
        "only what changed",
        """
return {f"{layer}.weight": state_dict[f"{layer}.weight"][perm], f"{layer}.bias": state_dict[f"{layer}.bias"][perm],
        f"{next_layer}.weight": state_dict[f"{next_layer}.weight"][:, perm]}""",
        "Your result has no 'out.bias'",
    ),
    _permute(
        "every layer",
        """
result = {}
for name, t in state_dict.items():
    t = t[perm] if len(t) == len(perm) else t
    result[name] = t[:, perm] if t.dim() == 2 and t.shape[1] == len(perm) else t
return result""",
        "You permuted the ROWS of the next layer",
    ),
    # --- barrier ---
    _barrier("raw maximum", "L.max().item()", "This is the highest loss itself"),
    _barrier("maximum minus minimum", "(L.max() - L.min()).item()", "the same number from every loss: the smallest"),
    _barrier("mean of the ends", "(L.max() - (L[0] + L[-1]) / 2).item()", "every loss: the mean of the two ends"),
    _barrier("minus the first", "(L.max() - L[0]).item()", "every loss: the loss of the first model"),
    _barrier("minus the larger end", "(L.max() - max(L[0], L[-1])).item()", "the higher of the two ends"),
    _barrier("minus the smaller end", "(L.max() - min(L[0], L[-1])).item()", "the lower of the two ends"),
    _barrier("minus the mean of all", "(L.max() - L.mean()).item()", "every loss: the mean of all losses"),
    _barrier("midpoint", "(L[n // 2] - (L[0] + L[-1]) / 2).item()", "You looked at the midpoint only"),
    _barrier("midpoint, raw", "L[n // 2].item()", "You looked at the midpoint only"),
    _barrier("absolute value", "(L - line).abs().max().item()", "You take absolute values"),
    _barrier(
        "grid without its end",
        "(L - line).max().item()",
        "The grid of t is off by one",
        "t = torch.arange(n) / n\nline = (1 - t) * L[0] + t * L[-1]",
    ),
    _barrier(
        "grid without its start",
        "(L - line).max().item()",
        "The grid of t is off by one",
        "t = torch.arange(1, n + 1) / n\nline = (1 - t) * L[0] + t * L[-1]",
    ),
    _barrier(
        "one point too many",
        "(L - line).max().item()",
        "must have as many points as there are losses",
        "t = torch.linspace(0, 1, n + 1)\nline = (1 - t) * L[0] + t * L[-1]",
    ),
    _barrier("line reversed", "(L - (t * L[0] + (1 - t) * L[-1])).max().item()", "The line runs the wrong way"),
    _barrier("where the loss is highest", "(L - line)[L.argmax()].item()", "You measured at the t where the LOSS"),
    _barrier("inner points only", "(L - line)[1:-1].max().item()", "You left out the ends"),
    _barrier("sign", "(line - L).max().item()", "The sign is the wrong way round"),
    _barrier("minimum", "(L - line).min().item()", "This is the deepest valley"),
    _barrier("mean in place of the maximum", "(L - line).mean().item()", "This is the MEAN of the differences"),
    _barrier("sum", "(L - line).sum().item()", "This is the SUM of the differences"),
    _barrier("the place", "t[(L - line).argmax()].item()", "This is the t at which the barrier lies"),
    _barrier("all differences", "L - line", "the barrier is ONE"),
    _barrier("maximum with its index", "(L - line).max(0)", "You return 2 numbers"),
    _barrier("relative", "((L - line).max() / ((L[0] + L[-1]) / 2)).item()", "You divided by the loss of the ends"),
    _barrier("one end missing", "(L - (1 - t) * L[0]).max().item()", "t L(1) is missing"),
    _barrier("slope", "(L - (L[0] + t * L[-1])).max().item()", "you added t L(1) to the whole L(0)"),
    _barrier("an unforeseen one", "(L - line).max().item() / 3 - 0.5", "The barrier is -0.15, and is never below 0"),
    # --- greedy soup ---
    _soup("unsorted", "You try the models in the order in which they are given", "key=lambda i: -scores[i]", "key=int"),
    _soup("ascending", "You begin with the WORST model", "-scores[i]", "scores[i]"),
    _soup(
        "best first, then as given",
        "but try the others in the order in which they are given",
        "for i in order[1:]",
        "for i in sorted(order[1:])",
    ),
    _soup(
        "compares with the best single model", "You compare with the best SINGLE model", "        best = score\n", ""
    ),
    _soup("compares with the newcomer", "not below the newcomer's own score", "score >= best", "score >= scores[i]"),
    _soup("strict", "The paper's algorithm 1 adds a model".lower(), ">= best", "> best"),
    _soup(
        "stops at the first rejection",
        "You stop at the first model that does not help",
        "        best = score\n",
        "        best = score\n    else:\n        break\n",
    ),
    _soup(
        "the newcomer's own score",
        "own score cannot tell how the soup WITH it",
        "evaluate(mean(chosen + [i]))",
        "scores[i]",
    ),
    _soup(
        "evaluates the newcomer alone",
        "You evaluate the newcomer alone",
        "evaluate(mean(chosen + [i]))",
        "evaluate(models[i])",
    ),
    _soup(
        "mixes with the best model only",
        "You mix the newcomer with the best single model only",
        "mean(chosen + [i])",
        "mean([order[0], i])",
    ),
    _soup(
        "the bar falls with a rejected soup",
        "A rejected soup's score became the bar",
        "        chosen.append(i)\n        best = score\n",
        "        chosen.append(i)\n    best = score\n",
    ),
    _greedy(
        "half and half",
        MEAN
        + """
chosen, best, soup = [order[0]], scores[order[0]], models[order[0]]
for i in order[1:]:
    trial = {k: (soup[k] + models[i][k]) / 2 for k in soup}
    score = evaluate(trial)
    if score >= best:
        chosen, best, soup = chosen + [i], score, trial
return soup, chosen""",
        "You mix half and half",
    ),
    _soup(
        "half and half at the end",
        "You mix half and half",
        end="{k: f(f(f(models[chosen[0]][k], 1), 2), 3) for k in models[0]}, chosen".replace(
            "f(f(f(models[chosen[0]][k], 1), 2), 3)", "halves(k)"
        ),
        old="chosen, best = ",
        new="""def halves(k):
    value = models[chosen[0]][k]
    for j in chosen[1:]:
        value = (value + models[j][k]) / 2
    return value
chosen, best = """,
    ),
    _soup(
        "sums in place of means",
        "that is no mean, its shares sum to 2",
        "    score = evaluate(mean(chosen + [i]))\n",
        "    score = evaluate({k: sum(models[j][k] for j in chosen + [i]) for k in models[0]})\n",
    ),
    _soup(
        "best first, then from the worst up",
        "you go on from the WORST upwards",
        "for i in order[1:]",
        "for i in order[:0:-1]",
    ),
    _greedy(
        "the best few by their own scores",
        MEAN + "return mean(order[:3]), order[:3]",
        "You chose the best few by their OWN scores",
    ),
    _greedy(
        "a rejected model stays in the mix",
        MEAN
        + """
chosen, best, tried = [order[0]], scores[order[0]], [order[0]]
for i in order[1:]:
    tried.append(i)
    score = evaluate(mean(tried))
    if score >= best:
        chosen, best = chosen + [i], score
return mean(chosen), chosen""",
        "A rejected model stays in the mix",
    ),
    _greedy(
        "uniform soup",
        "return {k: torch.stack([m[k] for m in models]).mean(0) for k in models[0]}, list(range(len(models)))",
        "that is the uniform soup",
    ),
    _greedy("best model only", MEAN + "return models[order[0]], [order[0]]", "This is the best single model"),
    _greedy(
        "minimises",
        """
def mean(indices):
    return {k: torch.stack([models[j][k] for j in indices]).mean(0) for k in models[0]}
scores = [evaluate(m) for m in models]
order = sorted(range(len(models)), key=lambda i: scores[i])
chosen, best = order[:1], scores[order[0]]
for i in order[1:]:
    score = evaluate(mean(chosen + [i]))
    if score <= best:
        chosen, best = chosen + [i], score
return mean(chosen), chosen""",
        "You minimise: evaluate returns a score",
    ),
    _greedy(
        "forward selection",
        MEAN
        + """
chosen, best, rest = [order[0]], scores[order[0]], order[1:]
while rest:
    i = max(rest, key=lambda j: evaluate(mean(chosen + [j])))
    score = evaluate(mean(chosen + [i]))
    if score < best:
        break
    chosen, best = chosen + [i], score
    rest.remove(i)
return mean(chosen), chosen""",
        "In each round you look for the best of ALL remaining",
    ),
    _soup("indices sorted", "These are the right ingredients, sorted", end="mean(chosen), sorted(chosen)"),
    _soup("indices missing", "You return a state dict only", end="mean(chosen)"),
    _soup("the other way round", "Yours are the other way round", end="chosen, mean(chosen)"),
    _soup("models in place of indices", "holds the models themselves", end="mean(chosen), [models[i] for i in chosen]"),
    _soup("the best one is missing", "The best model itself is missing", end="mean(chosen), chosen[1:]"),
    _soup("indices from 1", "Indices begin at 0", end="mean(chosen), [i + 1 for i in chosen]"),
    _soup(
        "places in the sorted list",
        "These are places in the SORTED list",
        end="mean(chosen), [order.index(i) for i in chosen]",
    ),
    _soup("the state of the best", "the state dict is the best single model", end="models[order[0]], chosen"),
    _soup("the mean of all", "the state dict is the mean of ALL models", end="mean(order), chosen"),
    _soup(
        "a sum",
        "the state dict is their sum",
        end="{k: sum(models[i][k] for i in chosen) for k in models[0]}, chosen",
    ),
    _soup("the last candidate", "which was rejected, is in the soup", end="mean(chosen + order[2:3]), chosen"),
    _greedy(
        "in place",
        MEAN
        + """
chosen, best, soup = [order[0]], scores[order[0]], models[order[0]]
for i in order[1:]:
    score = evaluate(mean(chosen + [i]))
    if score >= best:
        best = score
        for k in soup:
            soup[k] *= len(chosen) / (len(chosen) + 1)
            soup[k] += models[i][k] / (len(chosen) + 1)
        chosen.append(i)
return soup, chosen""",
        "You changed the fifth model (models[4], its 'w')",
    ),
    _greedy(
        "sorts the caller's list",
        """
models.sort(key=lambda m: -evaluate(m))
chosen, best = [0], evaluate(models[0])
mean = lambda ids: {k: torch.stack([models[j][k] for j in ids]).mean(0) for k in models[0]}
for i in range(1, len(models)):
    score = evaluate(mean(chosen + [i]))
    if score >= best:
        chosen, best = chosen + [i], score
return mean(chosen), chosen""",
        "You reordered the list of models",
    ),
    _greedy(
        "evaluates an index",
        "order = sorted(range(len(models)), key=lambda i: -evaluate(i))\nreturn models[order[0]], order[:1]",
        "What you give to evaluate should be a state dict",
    ),
    _greedy(
        "adds dicts",
        MEAN + "soup = (models[order[0]] + models[order[1]]) / 2\nreturn soup, order[:2]",
        "A state dict is a dict",
    ),
    _soup(
        "evaluates all over again",
        "evaluate was called",
        "    score = evaluate",
        "    scores = [evaluate(m) for m in models]\n    score = evaluate",
    ),
    _soup(
        "an unforeseen one",
        "that is not below, so it must be added",
        "score >= best",
        "score >= best and len(chosen) < 3",
    ),
    # --- what an ensemble costs ---
    _cost(
        "keys without values",
        "Keys without values",
        c="members * layers * kv_heads * head_dim * context * bytes_per_value",
    ),
    _cost("weights of one model", "An ensemble holds the weights of ALL its members", w="parameters * bytes_per_value"),
    _cost(
        "cache of one model",
        "Each member computes its own keys and values",
        c="2 * layers * kv_heads * head_dim * context * bytes_per_value",
    ),
    _cost("computation of one model", "Every member computes every token", m="parameters"),
    _cost(
        "context forgotten",
        "The context is forgotten",
        c="members * 2 * layers * kv_heads * head_dim * bytes_per_value",
    ),
    _cost("weights not in bytes", "This counts parameters, not bytes", w="members * parameters"),
    _cost(
        "cache not in bytes",
        "This counts numbers, not bytes",
        c="members * 2 * layers * kv_heads * head_dim * context",
    ),
    _cost(
        "heads forgotten", "The heads are forgotten", c="members * 2 * layers * head_dim * context * bytes_per_value"
    ),
    _cost(
        "head_dim forgotten",
        "head_dim is forgotten",
        c="members * 2 * layers * kv_heads * context * bytes_per_value",
    ),
    _cost(
        "layers forgotten",
        "The layers are forgotten",
        c="members * 2 * kv_heads * head_dim * context * bytes_per_value",
    ),
    _cost(
        "the averaged model",
        "This is the cost of ONE model",
        w="parameters * bytes_per_value",
        c="2 * layers * kv_heads * head_dim * context * bytes_per_value",
        m="parameters",
    ),
    _cost("FLOPs", "These are FLOPs", m="2 * members * parameters"),
    _cost("the whole context", "This is the cost of the whole context", m="members * parameters * context"),
    _cost("bytes in the arithmetic", "Arithmetic is counted, not bytes", m="members * parameters * bytes_per_value"),
    _cost(
        "two factors forgotten",
        "Keys without values: the cache keeps BOTH for each token, so there is a factor of 2.",
        c="members * layers * kv_heads * head_dim * bytes_per_value",
    ),
    _cost("members squared", "`members` enters twice", w="members ** 2 * parameters * bytes_per_value"),
    _cost(
        "layers counted again",
        "`parameters` already counts all the layers",
        w="members * layers * parameters * bytes_per_value",
    ),
    _cost(
        "context in the weights",
        "The weights do not grow with the context",
        w="members * parameters * bytes_per_value * context",
    ),
    _cost("megabytes", "The unit is wrong", w="members * parameters * bytes_per_value / 2**20"),
    _cost("bits", "These are bits", w="members * parameters * bytes_per_value * 8"),
    _cost("divided by the members", "Something was divided", m="parameters / members"),
    _cost("another order", "in another order", end="c, w, m"),
    _cost("a dict", "a tuple, and not a dict", end="{'weights': w, 'cache': c, 'multiply_adds': m}"),
    _cost("two numbers", "and you return 2", end="w + c, m"),
    _cost("one number", "they cannot be added up", end="w + c"),
    _cost(
        "an unforeseen one", "times what it should be", c="members * 2 * (layers + 1) * kv_heads * head_dim * context"
    ),
    # --- which pairs ---
    _pairs("one run", "FTFF", "Two checkpoints of one run: Between two checkpoints"),
    _pairs("fine-tunes", "TFFF", "Two fine-tunes of one base: Both fine-tunes started from the same weights"),
    _pairs("seeds", "TTTF", "unit 7 of the one has nothing to do with unit 7 of the other"),
    _pairs("reordered", "TTFT", "The two compute the SAME function, and still must not be averaged"),
    _pairs("all", "TTTT", "Everything True: then any two good models"),
    _pairs("none", "FFFF", "Everything False: related models can be averaged"),
    _pairs("inverted", "FFTT", "Every entry is the wrong way round"),
    _pairs("two wrong entries", "FTFT", "The two compute the SAME function, and still must not be averaged"),
    _pairs("one is left out", "TT?F", "Still to fill in: two runs from different seeds"),
    _pairs("texts", "yyyy", "Write True (the two can be averaged) or False"),
]
