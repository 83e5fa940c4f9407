"""Wrong answers to the exercises of notebook 03 that are no function of a declared mistake: crashes, memory, dtypes,
spellings."""

from __future__ import annotations

from . import WrongAnswer, function

SIGNATURES = {
    "average": "average(models, weights)",
    "permute": "permute_units(state_dict, layer, next_layer, perm)",
    "barrier": "loss_barrier(losses)",
    "greedy_soup": "greedy_soup(models, evaluate)",
    "kv_cache": "inference_cost(members, layers, kv_heads, head_dim, contexts, bytes_per_value, parameters)",
}


def _wrong(exercise: str, label: str, body: str, says: str) -> WrongAnswer:
    code = function(SIGNATURES[exercise], body, "import numpy as np", "import torch")
    return WrongAnswer(f"parameter_averaging.{exercise}", label, code, says)


def _average(label: str, says: str, value: str = "", counter: str = "first.clone()") -> WrongAnswer:
    """The right loop over the names with another value for a tensor of floats, or for one of whole numbers."""
    body = f"""
W, result = sum(weights), {{}}
for k, first in models[0].items():
    if first.is_floating_point():
        value = {value or "sum(w / W * m[k].float() for w, m in zip(weights, models)).to(first.dtype)"}
    else:
        value = {counter}
    result[k] = value
return result"""
    return _wrong("average", label, body, says)


PERMUTED = """
result = {name: t.clone() for name, t in state_dict.items()}
W, B, N = state_dict[layer + ".weight"], state_dict[layer + ".bias"], state_dict[next_layer + ".weight"]
"""
PUT = """
result.update({{layer + ".weight": {}, layer + ".bias": B[perm], next_layer + ".weight": {}}})
return result"""
GREEDY = """
mean = lambda indices: {k: torch.stack([models[j][k] for j in indices]).mean(0) for k in models[0]}
scores = [evaluate(m) for m in models]
order = sorted(range(len(models)), key=lambda i: -scores[i])
chosen, best = [order[0]], scores[order[0]]
"""
ADD = """
for i in order[1:]:
    score = evaluate(mean(chosen + [i]))
    if score >= best:
        chosen, best = chosen + [i], score
return mean(chosen), chosen
"""


def _cost(label: str, says: str, w: str = "", c: str = "", m: str = "", end: str = "w, c, m") -> WrongAnswer:
    """The right answer but for the weights' bytes w, the cache's bytes c or the multiply-adds m."""
    body = f"""
w = {w or "members * parameters * bytes_per_value"}
c = {c or "members * 2 * layers * kv_heads * head_dim * sum(contexts) * bytes_per_value"}
m = {m or "members * parameters * len(contexts)"}
return {end}"""
    return _wrong("kv_cache", label, body, says)


def _pairs(label: str, values: str, says: str) -> WrongAnswer:
    """values: for example "TTFF"; "?" is an entry that is still None."""
    words = {"T": True, "F": False, "?": None, "y": "yes", "2": 2}
    pairs = (
        "two checkpoints of one run",
        "two fine-tunes of one base",
        "two runs from different seeds",
        "a model and the same model with its hidden units reordered",
    )
    table = {pair: words[value] for pair, value in zip(pairs, values, strict=True)}
    return WrongAnswer("parameter_averaging.can_average", label, f"can_average = {table!r}\n", says)


TABLE = {
    "average": [
        (
            "two models by index, no thought of the counter",
            "a, b = models[0], models[1]\n"
            "return {k: (weights[0] * a[k] + weights[1] * b[k]) / (weights[0] + weights[1]) for k in a}",
            "Only the first two models count",
        ),
        (
            "the counter is left out",
            "floats = [k for k in models[0] if models[0][k].is_floating_point()]\n"
            "return {k: sum(w * m[k] for w, m in zip(weights, models)) / sum(weights) for k in floats}",
            "The result has no 'steps'",
        ),
        (
            "a shallow copy",
            """
result = dict(models[0])
for k in result:
    result[k] *= weights[0] / sum(weights)
    for w, m in zip(weights[1:], models[1:]):
        result[k] += w / sum(weights) * m[k]
return result""",
            "changed its input (argument 1",
        ),
        (
            "return inside the loop",
            "for k in models[0]:\n    return {k: sum(w * m[k] for w, m in zip(weights, models)) / sum(weights)}",
            "Did you return inside the loop over the names?",
        ),
        (
            "list arithmetic",
            "w = weights / sum(weights)\nreturn {k: sum(x * m[k] for x, m in zip(w, models)) for k in models[0]}",
            "weights is a list: sum(weights)",
        ),
    ],
    "permute": [
        (
            "rows of the next layer",
            PERMUTED + PUT.format("W[perm]", "N[perm]"),
            "You permuted the rows of the next layer",
        ),
        ("columns of the layer", PERMUTED + PUT.format("W[:, perm]", "N[:, perm]"), "You permuted the columns of the"),
        ("a transpose left over", PERMUTED + PUT.format("W[perm]", "N.T[perm]"), "is a transpose left over?"),
        (
            "rows overwritten while they are read",
            PERMUTED
            + """
for i, j in enumerate(perm.tolist()):
    result[layer + ".weight"][i] = result[layer + ".weight"][j]
    result[layer + ".bias"][i] = B[j]
    result[next_layer + ".weight"][:, i] = N[:, j]
return result""",
            "'hidden.weight' does not hold the numbers that it held before: they should only be reordered",
        ),
        (
            "in place through a shallow copy",
            """
result = dict(state_dict)
result[f"{layer}.weight"][:] = state_dict[f"{layer}.weight"][perm]
result[f"{layer}.bias"][:] = state_dict[f"{layer}.bias"][perm]
result[f"{next_layer}.weight"][:] = state_dict[f"{next_layer}.weight"][:, perm]
return result""",
            "changed its input (argument 1",
        ),
        (
            "literal names",
            'result = dict(state_dict)\nresult["layer.weight"] = state_dict["layer.weight"][perm]\nreturn result',
            "layer and next_layer are parts of the names",
        ),
        (
            "only what changed",
            """
return {f"{layer}.weight": state_dict[f"{layer}.weight"][perm], f"{layer}.bias": state_dict[f"{layer}.bias"][perm],
        f"{next_layer}.weight": state_dict[f"{next_layer}.weight"][:, perm]}""",
            "The result has no 'out.bias'",
        ),
    ],
    "barrier": [
        (
            "one point too many",
            "t = torch.linspace(0, 1, len(losses) + 1)\nreturn (losses - ((1 - t) * losses[0] + t * losses[-1])).max()",
            "must have as many points as there are losses",
        ),
        (
            "an unforeseen one",
            "t = torch.linspace(0, 1, len(losses))\nreturn (losses - losses[0] - t * (losses[-1] - losses[0])).max() / "
            "3 - 0.5",
            "The barrier is -0.15, and is never below 0",
        ),
        ("forgets return", "t = torch.linspace(0, 1, len(losses))", "did you forget `return`?"),
    ],
    "greedy_soup": [
        (
            "the bar starts at 0",
            GREEDY.replace("[order[0]], scores[order[0]]", "[], 0") + ADD.replace("order[1:]", "order"),
            "the bar starts at the best model's score",
        ),
        (
            "in place",
            GREEDY
            + """
soup = models[order[0]]
for i in order[1:]:
    score = evaluate(mean(chosen + [i]))
    if score >= best:
        best = score
        for k in soup:
            soup[k] += (models[i][k] - soup[k]) / (len(chosen) + 1)
        chosen.append(i)
return soup, chosen""",
            "changed its input (argument 1",
        ),
        ("three results", GREEDY + ADD.replace("chosen), chosen", "chosen), chosen, best"), "These are 3"),
        (
            "nobody is above 0",
            GREEDY.replace("[order[0]], scores[order[0]]", "[], 0")
            + ADD.replace("order[1:]", "order").replace("mean(chosen), chosen", "mean(chosen or order[:1]), chosen"),
            "There is no ingredient",
        ),
        (
            "sorts the caller's list",
            "models.sort(key=lambda m: -evaluate(m))" + GREEDY + ADD.strip("\n"),
            "changed its input (argument 1",
        ),
        (
            "evaluates an index",
            "order = sorted(range(len(models)), key=lambda i: -evaluate(i))\nreturn models[order[0]], order[:1]",
            "What you give to evaluate should be a state dict",
        ),
        (
            "adds dicts",
            GREEDY + "return (models[order[0]] + models[order[1]]) / 2, order[:2]",
            "A state dict is a dict",
        ),
        ("the second best by its place", GREEDY + "second = order[1]" + ADD, "There may be one model only"),
        (
            "evaluates all over again",
            GREEDY + ADD.replace("    score", "    scores = [evaluate(m) for m in models]\n    score", 1),
            "evaluate was called 55 times for 7 models",
        ),
        (
            "an unforeseen one",
            GREEDY + ADD.replace("score >= best", "score >= best and len(chosen) < 3"),
            "that is not below, so it must be added",
        ),
    ],
}
WRONG = [
    *(_wrong(exercise, *entry) for exercise, entries in TABLE.items() for entry in entries),
    _average(
        "an unforeseen one",
        "Every model counts w_i / (sum of all w). Yours is -0.0833 models[0] + 0.667 models[1]",
        "sum(w / W * m[k] for w, m in zip(weights, models)) + 0.25 * (models[1 % len(models)][k] - first)",
    ),
    _average(
        "0-d tensors are copied",
        "'scale' was copied: it has no dimension",
        "sum(w / W * m[k].float() for w, m in zip(weights, models)).to(first.dtype) if first.dim() else first.clone()",
    ),
    _average(
        "a number for a 0-d tensor",
        "'scale' should be a torch tensor of shape ()",
        "sum(w / W * m[k] for w, m in zip(weights, models)) if first.dim() else 1.0",
    ),
    _average(
        "squeezed",
        "has shape (4,), expected (1, 4)",
        "sum(w / W * m[k].float() for w, m in zip(weights, models)).to(first.dtype).squeeze()",
    ),
    _average(
        "the counter truncated",
        "comes back as 16777216 (torch.int64). It counts",
        counter="(sum(w * m[k].float() for w, m in zip(weights, models)) / W).to(first.dtype)",
    ),
    _average(
        "only int64 is copied",
        "comes back as [0.0, 1.0, 2.0, 3.0] (torch.float32)",
        counter="first.clone() if first.dtype == torch.int64 else sum(w / W * m[k] for w, m in zip(weights, models))",
    ),
    _average(
        "the counter shares its memory", "'steps' of your result shares its memory with models[0]", counter="first"
    ),
    _average(
        "mean of whole numbers", "'steps' holds whole numbers", counter="torch.stack([m[k] for m in models]).mean(0)"
    ),
    _average(
        "float16 becomes float32",
        "came in as torch.float16 and comes back as torch.float32",
        "sum(w / W * m[k].float() for w, m in zip(weights, models))",
    ),
    _average("summed in float16", "It lost digits", "sum(w / W * m[k] for w, m in zip(weights, models))"),
    _cost(
        "two factors forgotten",
        "Keys without values: the cache keeps both for each token.",
        c="members * layers * kv_heads * head_dim * bytes_per_value",
    ),
    _cost(
        "two numbers wrong",
        "The layers are forgotten",
        c="members * 2 * kv_heads * head_dim * sum(contexts) * bytes_per_value",
        m="2 * members * parameters",
    ),
    _cost("the list itself", "yours are an int, a list, an int", c="2 * layers * kv_heads * contexts"),
    _cost("the list as a number", "contexts is a list", c="0.5 * contexts"),
    _cost("a dict", "a tuple, not a dict", end="{'weights': w, 'cache': c, 'multiply_adds': m}"),
    _cost("two of three", "and you return 2", end="w + c, m"),
    _cost("one number", "cannot be added up", end="w + c"),
    _cost("texts", "yours are a str, an int, an int", end="f'{w} B', c, m"),
    _cost("a factor twice", "11 times too large: kv_heads is 11", m="members * parameters * len(contexts) * kv_heads"),
    _cost("a factor divides", "49 times too small. Which factor", m="members * parameters / len(contexts)"),
    _pairs("seeds", "TTTF", "unit 7 of the one has nothing to do with unit 7 of the other"),
    _pairs("all", "TTTT", "Everything True: then any two good models"),
    _pairs("none", "FFFF", "Everything False: related models can be averaged"),
    _pairs("inverted", "FFTT", "Every entry is the wrong way round"),
    _pairs("two wrong entries", "FTFT", "Two checkpoints of one run: between them"),
    _pairs("a number", "TTF2", "Write True (the two can be averaged) or False"),
    _pairs("one is left out", "TT?F", "Still to fill in: two runs from different seeds"),
    _pairs("texts", "yyyy", "Write True (the two can be averaged) or False"),
]
