"""Wrong answers to the exercises of notebook 02: what no declared mistake shows (see the exercises themselves)."""

from __future__ import annotations

from . import WrongAnswer, function

SIGNATURES = {
    "dexperts": "dexperts(core, positive, negative, lam, top_p)",
    "plausible_mask": "plausible_mask(log_probs, alpha)",
    "coefficients": "coefficients(method, lam)",
    "guidance": "guided(conditional, unconditional, scale)",
    "distinct": "distinct_n(texts, n)",
}
IMPORTS = ["import math", "import torch", "from collections import Counter"]


def _wrong(exercise: str, label: str, body: str, says: str) -> WrongAnswer:
    code = function(SIGNATURES[exercise], body, *IMPORTS)
    return WrongAnswer(f"negative_evidence.{exercise}", label, code, says)


NUCLEUS = """
probs, order = core.softmax(-1).sort(dim=-1, descending=True)
keep = probs.cumsum(-1) - probs < top_p
keep = torch.zeros_like(keep).scatter(-1, order, keep)
scores = core + lam * (positive - negative)
"""
UPWARDS = NUCLEUS.replace(", descending=True", "")
DEXPERTS = [
    (
        "below 0 in probabilities",
        NUCLEUS
        + """
scores = (core.exp() + lam * (positive.exp() - negative.exp())).log()
return scores.masked_fill(~keep, -torch.inf).log_softmax(-1)""",
        "subtract log-probabilities",
    ),
    ("sorted upwards", UPWARDS + "return scores.masked_fill(~keep, -torch.inf).log_softmax(-1)", "descending=True"),
    ("no renormalisation", NUCLEUS + "return scores.masked_fill(~keep, -torch.inf)", "normalise at the end"),
    (
        "normalised before the mask",
        NUCLEUS + "return scores.log_softmax(-1).masked_fill(~keep, -torch.inf)",
        "normalise at the end",
    ),
    (
        "returns probabilities",
        NUCLEUS + "return scores.masked_fill(~keep, -torch.inf).softmax(-1)",
        "You return probabilities",
    ),
    (
        "everything masked",
        NUCLEUS
        + """
core, positive, negative = (x.masked_fill(~keep, -torch.inf) for x in (core, positive, negative))
return (core + lam * (positive - negative)).log_softmax(-1)""",
        "did you mask the core (or the sum), not the experts",
    ),
    (
        "masked with -30",
        NUCLEUS + "return scores.masked_fill(~keep, -30).log_softmax(-1)",
        "where the probability is exactly 0",
    ),
    ("masked with -5", NUCLEUS + "return (scores - 5 * ~keep).log_softmax(-1)", "is outside the core's nucleus"),
    ("only the first context", "return core[0]", "B contexts"),
    ("the token, not the distribution", "return (core + lam * (positive - negative)).argmax(-1)", "has shape (4,)"),
    ("in place", "core += lam * (positive - negative)\nreturn core.log_softmax(-1)", "changed its input"),
    (
        "squeezed",
        NUCLEUS + "return scores.masked_fill(~keep, -torch.inf).log_softmax(-1).squeeze()",
        "There is one row only",
    ),
    (
        "the difference squashed",
        NUCLEUS + "return (core + torch.tanh(scores - core)).masked_fill(~keep, -torch.inf).log_softmax(-1)",
        "The tokens that may be emitted are right",
    ),
    (
        "the best two tokens",
        NUCLEUS + "return scores.masked_fill(core < core.topk(2).values[:, -1:], -torch.inf).log_softmax(-1)",
        "the tokens that may be emitted are not",
    ),
]
LARGEST = "log_probs.amax(-1, keepdim=True) + math.log(alpha)"
MASK = [
    ("keepdim missing", "return log_probs >= log_probs.amax(-1) + math.log(alpha)", "keepdim=True"),
    (
        "a maximum with its index",
        "return log_probs >= log_probs.max(-1, keepdim=True) + math.log(alpha)",
        "take .values",
    ),
    ("torch.log of a number", "return log_probs >= log_probs.amax(-1, keepdim=True) + torch.log(alpha)", "math.log"),
    ("the bound", f"return {LARGEST}", "The mask has shape (5, 1)"),
    ("a bound of its own", "return log_probs >= log_probs.amax(-1, keepdim=True) - 2.0", "So the mask should be True"),
    ("squeezed", f"return (log_probs >= {LARGEST}).squeeze()", "There is one row only"),
    ("prints", f"print(log_probs >= {LARGEST})", "did you forget `return`?"),
]

TABLE = {
    "DExperts": "(1, lam, -lam)",
    "DDA": "(1, lam, -lam)",
    "anti-expert only": "(1 + lam, 0, -lam)",
    "expert only": "(1 - lam, lam, 0)",
    "contrastive decoding": "(0, 1, -1)",
    "classifier-free guidance": "(0, 1 + lam, -lam)",
}


def _table(of: str = "{}", **wrong: str) -> str:
    """The right table, each row put into `of`, with some rows replaced: dexperts, dda, anti, expert."""
    keys = {"dexperts": "DExperts", "dda": "DDA", "anti": "anti-expert only", "expert": "expert only"}
    table = {**TABLE, **{keys[key]: value for key, value in wrong.items()}}
    return "table = {" + ", ".join(f"{key!r}: {of.format(value)}" for key, value in table.items()) + "}\n"


COEFFICIENTS = [
    ("shallow fusion for DDA", _table(dda="(1, lam, 0)") + "return table[method]", "that is shallow fusion"),
    ("shallow fusion for expert only", _table(expert="(1, lam, 0)") + "return table[method]", "missing anti-expert"),
    (
        "a part of the name",
        _table()
        + "for name in table:\n    if name.startswith(method):\n        return table[name]\nraise ValueError(method)",
        '"DExpert" is none of the six',
    ),
    ("two numbers", _table("{}[1:]") + "return table[method]", "You return 2 numbers, not three"),
    ("a dict", _table("dict(zip('cpn', {}))") + "return table[method]", "and you return a dict"),
    ("one number", _table("sum({}) * 0") + "return table[method]", "and you return a float"),
    ("texts", _table("tuple(map(str, {}))") + "return table[method]", "is '1', and should be a number"),
    ("None for a missing model", _table(anti="(1 + lam, None, -lam)") + "return table[method]", "The positive is None"),
    ("nan", _table(dexperts="(1, math.nan, -lam)") + "return table[method]", "You return (1, nan, -0.3)"),
    (
        "an unforeseen one",
        _table(dexperts="(1, 3 * lam, -lam)") + "return table[method]",
        "They sum to 1.6 instead of 1. Collect the terms of log P_core + lam",
    ),
    (
        "a method is missing",
        "return {'DExperts': (1, lam, -lam)}[method]",
        "One of the six names is unknown to your function",
    ),
    (
        "always true",
        _table() + "if method == 'DExperts' or 'DDA':\n    return 1, lam, -lam\nreturn table[method]",
        "The same three numbers come back for every name",
    ),
    ("any other name is guidance", _table() + "return table.get(method, (0, 1 + lam, -lam))", '"DExpert" is none'),
    ("any other name is None", _table() + "return table.get(method)", "your function returns None"),
    ("any other name is a KeyError", _table() + "return table[method]", "your function raises KeyError"),
    ("assert", _table() + "assert method in table\nreturn table[method]", "your function raises AssertionError"),
    (
        "any other name is not implemented",
        _table() + "if method not in table:\n    raise NotImplementedError\nreturn table[method]",
        "your function raises NotImplementedError",
    ),
    (
        "capitals do not count",
        _table()
        + """
table = {key.lower(): value for key, value in table.items()}
if method.lower() not in table:
    raise ValueError(method)
return table[method.lower()]""",
        '"dda" is none of the six',
    ),
]
STEP = "unconditional + scale * (conditional - unconditional)"
IN_PROBS = "unconditional.exp() + scale * (conditional.exp() - unconditional.exp())"
GUIDANCE = [
    ("mixture of probabilities", f"return ({IN_PROBS}).log()", "You mixed probabilities"),
    (
        "mixture of probabilities, normalised",
        f"p = {IN_PROBS}\nreturn (p / p.sum(-1, keepdim=True)).log()",
        "You mixed probabilities",
    ),
    ("no renormalisation", f"return {STEP}", "normalise at the end, over the vocabulary. exp() of your result sums to"),
    ("returns probabilities", f"return ({STEP}).softmax(-1)", "You return probabilities"),
    ("summed over the tokens", "return (conditional * scale - unconditional).sum(-1)", "V tokens: keep them"),
    ("squeezed", f"return ({STEP}).log_softmax(-1).squeeze()", "There is one row only"),
    (
        "off at 0",
        f"if not scale:\n    return conditional\nreturn ({STEP}).log_softmax(-1)",
        "scale = 0 gives the conditional",
    ),
    ("in place", "conditional -= unconditional\nreturn conditional", "changed its input"),
]
NGRAMS = "grams = [tuple(t[i:i + n]) for t in texts for i in range(len(t) - n + 1)]\n"
SHARE = "return len(set(grams)) / max(1, len(grams))"
DISTINCT = [
    (
        "average of the texts, 0 for a short one",
        """
ratios = []
for t in texts:
    grams = [tuple(t[i:i + n]) for i in range(len(t) - n + 1)]
    ratios.append(len(set(grams)) / max(1, len(grams)))
return sum(ratios) / max(1, len(ratios))""",
        "ratios of the texts are averaged",
    ),
    ("nothing there", NGRAMS + "return len(set(grams)) / len(grams)", "return 0.0"),
    (
        "joined strings only",
        "grams = [' '.join(t[i:i + n]) for t in texts for i in range(len(t) - n + 1)]\n" + SHARE,
        "Tokens may be numbers as well",
    ),
    (
        "lists in a set",
        "grams = [t[i:i + n] for t in texts for i in range(len(t) - n + 1)]\n" + SHARE,
        "A list cannot be put into a set",
    ),
    (
        "texts to be split",
        "grams = [tuple(t.split()[i:i + n]) for t in texts for i in range(len(t) - n + 1)]\n" + SHARE,
        "nothing is to be split",
    ),
    (
        "index too far",
        "return len({(text[i], text[i + 1]) for text in texts for i in range(len(text))})",
        "i runs too far",
    ),
    (
        "one number for each text",
        "return [len(set(zip(*[t[i:] for i in range(n)]))) / max(1, len(t) - n + 1) for t in texts]",
        "One number for all texts together",
    ),
    ("an unforeseen one", NGRAMS + "return len(set(grams)) / (1 + len(grams))", "43 2-grams, of which 25 are distinct"),
]

WRONG = [
    _wrong(exercise, *entry)
    for exercise, entries in zip(SIGNATURES, (DEXPERTS, MASK, COEFFICIENTS, GUIDANCE, DISTINCT), strict=True)
    for entry in entries
]
