"""Wrong answers to the exercises of notebook 02."""

from __future__ import annotations

from . import WrongAnswer


def _function(exercise: str, signature: str, label: str, body: str, says: str) -> WrongAnswer:
    """Every answer brings the imports it uses, as in a student's own cell."""
    names = {"F.": "import torch.nn.functional as F", "np.": "import numpy as np", "math.": "import math"}
    names["Counter("] = "from collections import Counter"
    imports = "".join(f"{line}\n" for name, line in names.items() if name in body)
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    return WrongAnswer(
        f"negative_evidence.{exercise}", label, f"import torch\n{imports}\n\ndef {signature}:\n{lines}\n", says
    )


def _nucleus(of: str = "core", rule: str = "probs.cumsum(-1) - probs < top_p") -> str:
    """The lines that make `keep` (B, V), the nucleus of `of`."""
    return f"""
probs, order = ({of}).softmax(-1).sort(dim=-1, descending=True)
keep = {rule}
keep = torch.zeros_like(keep).scatter(-1, order, keep)
"""


def _dexperts(label: str, body: str, says: str) -> WrongAnswer:
    return _function("dexperts", "dexperts(core, positive, negative, lam, top_p)", label, body, says)


def _scores(label: str, scores: str, says: str) -> WrongAnswer:
    """DExperts with the right filter and wrong scores."""
    body = _nucleus() + f"scores = {scores}\nreturn scores.masked_fill(~keep, -torch.inf).log_softmax(-1)"
    return _dexperts(label, body, says)


def _filter(label: str, lines: str, says: str) -> WrongAnswer:
    """DExperts with the right scores and a wrong `keep`."""
    body = lines + "\nscores = core + lam * (positive - negative)\n"
    return _dexperts(label, body + "return scores.masked_fill(~keep, -torch.inf).log_softmax(-1)", says)


def _mask(label: str, body: str, says: str) -> WrongAnswer:
    return _function("plausible_mask", "plausible_mask(log_probs, alpha)", label, body, says)


METHODS = ("DExperts", "DDA", "anti-expert only", "contrastive decoding", "classifier-free guidance")
RIGHT = dict(
    zip(METHODS, ["(1, lam, -lam)", "(1, lam, -lam)", "(1 + lam, 0, -lam)", "(0, 1, -1)", "(0, 1 + lam, -lam)"])
)


def _table(label: str, says: str, **wrong: str) -> WrongAnswer:
    """The right table but for some methods: dexperts, dda, anti, contrastive, guidance, or `every` of them."""
    keys = dict(zip(("dexperts", "dda", "anti", "contrastive", "guidance"), METHODS))
    table = {**RIGHT, **{keys[key]: value for key, value in wrong.items() if key != "every"}}
    table = {method: wrong.get("every", "{}").format(value) for method, value in table.items()}
    entries = "\n".join(f"    {method!r}: {value}," for method, value in table.items())
    return _function("coefficients", "coefficients(method, lam)", label, f"return {{\n{entries}\n}}[method]", says)


def _guided(label: str, body: str, says: str) -> WrongAnswer:
    return _function("guidance", "guided(conditional, unconditional, scale)", label, body, says)


def _distinct(label: str, body: str, says: str) -> WrongAnswer:
    return _function("distinct", "distinct_n(texts, n)", label, body, says)


NGRAMS = "grams = [tuple(t[i:i + n]) for t in texts for i in range(len(t) - n + 1)]\n"
SHARE = "return len(set(grams)) / max(1, len(grams))"
LEAK = "is outside the core's nucleus and has mass"

WRONG = [
    # --- DExperts: the filter ---
    _filter(
        "filter after combining", _nucleus("core + lam * (positive - negative)"), "You took the nucleus of the RESULT"
    ),
    _filter(
        "filter after combining: the token is named",
        _nucleus("core + lam * (positive - negative)"),
        "Token 7 of context 2 is outside the core's nucleus and has mass 0.4",
    ),
    _dexperts(
        "filter after combining, on probabilities",
        """
p = (core + lam * (positive - negative)).softmax(-1)
s, order = p.sort(dim=-1, descending=True)
s = s.masked_fill(s.cumsum(-1) - s >= top_p, 0)
p = torch.zeros_like(p).scatter(-1, order, s)
return (p / p.sum(-1, keepdim=True)).log()""",
        "You took the nucleus of the RESULT",
    ),
    _dexperts("no filter", "return (core + lam * (positive - negative)).log_softmax(-1)", "No token is filtered out"),
    _dexperts("no filter: the leak is said", "return (core + lam * (positive - negative)).log_softmax(-1)", LEAK),
    _filter("nucleus of the expert", _nucleus("positive"), "You took the nucleus of the positive model"),
    _filter("nucleus of the anti-expert", _nucleus("negative"), "You took the nucleus of the negative model"),
    _filter("nucleus of the difference", _nucleus("positive - negative"), "You took the nucleus of the difference"),
    _filter(
        "filtered twice",
        _nucleus()
        + "first = keep"
        + _nucleus("(core + lam * (positive - negative)).masked_fill(~first, -torch.inf)")
        + "keep = keep & first",
        "You filter a second time",
    ),
    _filter(
        "the crossing token is left out",
        _nucleus(rule="probs.cumsum(-1) <= top_p"),
        "The token that CROSSES top_p belongs to the nucleus",
    ),
    _filter(
        "the crossing token is left out, strictly",
        _nucleus(rule="probs.cumsum(-1) < top_p"),
        "The token that CROSSES top_p belongs to the nucleus",
    ),
    _filter(
        "one token too many",
        _nucleus(
            rule="torch.cat([torch.ones_like(order[:, :1]), probs.cumsum(-1)[:, :-1] - probs[:, :-1] < top_p], -1) > 0"
        ),
        "One token too many",
    ),
    _filter(
        "mask in sorted order",
        "probs = core.softmax(-1).sort(dim=-1, descending=True).values\nkeep = probs.cumsum(-1) - probs < top_p",
        "still in the order of the SORTED tokens",
    ),
    _filter(
        "gather in place of scatter",
        """
probs, order = core.softmax(-1).sort(dim=-1, descending=True)
keep = (probs.cumsum(-1) - probs < top_p).gather(-1, order)""",
        "put back the wrong way",
    ),
    _filter("nucleus removed", _nucleus(rule="probs.cumsum(-1) - probs >= top_p"), "the wrong way round"),
    _filter(
        "sorted upwards",
        """
probs, order = core.softmax(-1).sort(dim=-1)
keep = probs.cumsum(-1) <= top_p
keep = torch.zeros_like(keep).scatter(-1, order, keep)""",
        "sort with descending=True",
    ),
    _filter(
        "sorted upwards, mass before the token",
        """
probs, order = core.softmax(-1).sort(dim=-1)
keep = probs.cumsum(-1) - probs < top_p
keep = torch.zeros_like(keep).scatter(-1, order, keep)""",
        "is the sort descending",
    ),
    _filter("not sorted", "probs = core.exp()\nkeep = probs.cumsum(-1) - probs < top_p", "You did not sort"),
    _filter(
        "top-k",
        "k = round(top_p * core.shape[-1])\nkeep = core >= core.topk(k, dim=-1).values[:, -1:]",
        "that would be top-k",
    ),
    _filter(
        "plausibility mask", "keep = core.exp() >= top_p * core.exp().amax(-1, keepdim=True)", "the plausibility mask"
    ),
    _filter("bound on each probability", "keep = core.exp() >= 1 - top_p", "not a bound on each token's probability"),
    _filter("fixed nucleus", "top_p = 0.9\n" + _nucleus(), "You take a fixed nucleus of 0.9"),
    _filter(
        "sorted over the contexts",
        """
probs, order = core.softmax(0).sort(dim=0, descending=True)
keep = probs.cumsum(0) - probs < top_p
keep = torch.zeros_like(keep).scatter(0, order, keep)""",
        "You sorted over the contexts",
    ),
    _filter(
        "mass summed over logarithms",
        """
logs, order = core.sort(dim=-1, descending=True)
keep = logs.cumsum(-1) < top_p
keep = torch.zeros_like(keep).scatter(-1, order, keep)""",
        "No token is filtered out",
    ),
    # --- DExperts: the scores ---
    _scores("sign swapped", "core + lam * (negative - positive)", "The sign is swapped"),
    _scores("shallow fusion", "core + lam * positive", "is shallow fusion"),
    _dexperts(
        "shallow fusion, no filter", "return (core + lam * positive).log_softmax(-1)", "And no token is filtered out"
    ),
    _scores("no positive", "core - lam * negative", "The positive is missing"),
    _scores(
        "probabilities subtracted", "core + lam * (positive.exp() - negative.exp())", "You subtracted probabilities"
    ),
    _scores(
        "everything in probabilities",
        "(core.exp() + lam * (positive.exp() - negative.exp())).clamp(min=0).log()",
        "You subtracted probabilities",
    ),
    _scores(
        "everything in probabilities, below 0",
        "(core.exp() + lam * (positive.exp() - negative.exp())).log()",
        "the difference is one of LOG-probabilities",
    ),
    _scores("lam ignored", "core + positive - negative", "lam is ignored"),
    _scores("lam on one side", "core + lam * positive - negative", "lam multiplies one side only"),
    _scores("lam on the other side", "core + positive - lam * negative", "lam multiplies one side only"),
    _scores("negative added", "core + lam * (positive + negative)", "You ADD the negative"),
    _scores("no core", "lam * (positive - negative)", "The core is missing"),
    _scores("contrastive decoding", "positive - negative", "The core is missing"),
    _scores("lam on the core", "lam * core + positive - negative", "lam weighs the core"),
    _scores("convex weights", "(1 - lam) * core + lam * (positive - negative)", "lam weighs the core"),
    _scores("anti-expert only", "(1 + lam) * core - lam * negative", "is the method without an expert"),
    _scores("average of the three", "(core + positive + negative) / 3", "You averaged"),
    _scores("divided by the weights", "(core + lam * (positive - negative)) / (1 + lam)", "You averaged"),
    _scores("mixture", "(core.exp() + positive.exp() + negative.exp()).log()", "You added probabilities"),
    _scores("ratio of logs", "core + lam * positive / negative", "You divide the log-probabilities"),
    _scores("core only", "core", "The difference is ignored"),
    _scores("lam clamped to 1", "core + min(lam, 1) * (positive - negative)", "or cut off at 1"),
    _scores("no negative lam", "core + max(lam, 0) * (positive - negative)", "You cut lam off at 0"),
    _scores("absolute lam", "core + abs(lam) * (positive - negative)", "You made lam positive"),
    # --- DExperts: the mask and the end ---
    _dexperts(
        "core masked with 0",
        _nucleus() + "return (core.masked_fill(~keep, 0) + lam * (positive - negative)).log_softmax(-1)",
        "You masked with 0",
    ),
    _dexperts(
        "core times the mask",
        _nucleus() + "return (core * keep + lam * (positive - negative)).log_softmax(-1)",
        "exp(0) = 1",
    ),
    _dexperts(
        "scores times the mask",
        _nucleus() + "return ((core + lam * (positive - negative)) * keep).log_softmax(-1)",
        "You masked with 0",
    ),
    _dexperts(
        "masked with 0 at the end",
        _nucleus() + "return (core + lam * (positive - negative)).log_softmax(-1).masked_fill(~keep, 0)",
        "You masked with 0",
    ),
    _dexperts(
        "no renormalisation",
        _nucleus() + "return core.masked_fill(~keep, -torch.inf) + lam * (positive - negative)",
        "normalise at the end",
    ),
    _dexperts(
        "normalised before the mask",
        _nucleus() + "return (core + lam * (positive - negative)).log_softmax(-1).masked_fill(~keep, -torch.inf)",
        "normalise at the end",
    ),
    _dexperts(
        "returns probabilities",
        _nucleus() + "return (core.masked_fill(~keep, -torch.inf) + lam * (positive - negative)).softmax(-1)",
        "You return probabilities",
    ),
    _dexperts(
        "softmax over the contexts",
        _nucleus() + "return (core.masked_fill(~keep, -torch.inf) + lam * (positive - negative)).log_softmax(0)",
        "You normalised over the contexts",
    ),
    _dexperts(
        "everything masked",
        _nucleus()
        + """
core, positive, negative = (x.masked_fill(~keep, -torch.inf) for x in (core, positive, negative))
return (core + lam * (positive - negative)).log_softmax(-1)""",
        "mask the core (or the sum), not the experts",
    ),
    _dexperts(
        "masked with -30",
        _nucleus() + "return (core.masked_fill(~keep, -30) + lam * (positive - negative)).log_softmax(-1)",
        "where the probability is exactly 0",
    ),
    _dexperts(
        "experts filtered to tiny probabilities",
        _nucleus("positive + core") + "return (core + lam * (positive - negative) - 3 * ~keep).log_softmax(-1)",
        LEAK,
    ),
    _dexperts("keeps the sorted order", "return core.sort(dim=-1, descending=True).values.log_softmax(-1)", LEAK),
    _dexperts("only the first context", _nucleus() + "return core[0]", "B contexts"),
    _dexperts(
        "the token, not the distribution", "return (core + lam * (positive - negative)).argmax(-1)", "has shape (4,)"
    ),
    _dexperts("in place", "core += lam * (positive - negative)\nreturn core.log_softmax(-1)", "changed its input"),
    _dexperts("numpy", "return (core + lam * (positive - negative)).log_softmax(-1).numpy()", "Stay in torch"),
    # --- the plausibility mask ---
    _mask("absolute bound", "return log_probs.exp() >= alpha", "not alpha itself"),
    _mask("absolute bound, in logs", "return log_probs >= math.log(alpha)", "not alpha itself"),
    _mask("alpha not logged", "return log_probs >= log_probs.amax(-1, keepdim=True) + alpha", "No token is left"),
    _mask("alpha times the log", "return log_probs >= alpha * log_probs.amax(-1, keepdim=True)", "No token is left"),
    _mask(
        "log alpha subtracted",
        "return log_probs >= log_probs.amax(-1, keepdim=True) - math.log(alpha)",
        "No token is left",
    ),
    _mask(
        "alpha subtracted",
        "return log_probs >= log_probs.amax(-1, keepdim=True) - alpha",
        "alpha must go through a logarithm",
    ),
    _mask(
        "alpha subtracted from the probability",
        "p = log_probs.exp()\nreturn p >= p.amax(-1, keepdim=True) - alpha",
        "not less alpha",
    ),
    _mask(
        "logs against probabilities",
        "return log_probs.exp() >= log_probs.amax(-1, keepdim=True) + math.log(alpha)",
        "Every token is plausible in your mask",
    ),
    _mask(
        "probability bound for logs",
        "return log_probs >= alpha * log_probs.exp().amax(-1, keepdim=True)",
        "No token is left",
    ),
    _mask(
        "base 10", "return log_probs >= log_probs.amax(-1, keepdim=True) + math.log10(alpha)", "The natural logarithm"
    ),
    _mask("base 2", "return log_probs >= log_probs.amax(-1, keepdim=True) + math.log2(alpha)", "The natural logarithm"),
    _mask("strict", "return log_probs > log_probs.amax(-1, keepdim=True) + math.log(alpha)", "`>` in place of `>=`"),
    _mask("maximum of the batch", "return log_probs >= log_probs.max() + math.log(alpha)", "that of the whole batch"),
    _mask(
        "maximum over the contexts",
        "return log_probs >= log_probs.amax(0) + math.log(alpha)",
        "over the contexts (dim 0)",
    ),
    _mask("keepdim missing", "return log_probs >= log_probs.amax(-1) + math.log(alpha)", "keepdim=True"),
    _mask(
        "keepdim missing where it passes",
        """
largest = log_probs.amax(-1)
largest = largest if len(largest) == log_probs.shape[1] else largest[:, None]
return log_probs >= largest + math.log(alpha)""",
        "B = V lets that pass in silence",
    ),
    _mask("inverted", "return log_probs < log_probs.amax(-1, keepdim=True) + math.log(alpha)", "the wrong way round"),
    _mask(
        "nucleus",
        """
probs, order = log_probs.exp().sort(dim=-1, descending=True)
keep = probs.cumsum(-1) - probs < 1 - alpha
return torch.zeros_like(keep).scatter(-1, order, keep)""",
        "This is a nucleus",
    ),
    _mask(
        "top-k",
        "k = max(1, int(alpha * log_probs.shape[1]))\nreturn log_probs >= log_probs.topk(k, dim=-1).values[:, -1:]",
        "This is top-k",
    ),
    _mask(
        "argmax only",
        "return F.one_hot(log_probs.argmax(-1), log_probs.shape[1]) > 0",
        "Only the most probable token is left",
    ),
    _mask(
        "mean in place of the maximum",
        "p = log_probs.exp()\nreturn p >= alpha * p.mean(-1, keepdim=True)",
        "not the mean",
    ),
    _mask(
        "masked log-probabilities",
        """
keep = log_probs >= log_probs.amax(-1, keepdim=True) + math.log(alpha)
return log_probs.masked_fill(~keep, -torch.inf)""",
        "You return the masked log-probabilities",
    ),
    _mask(
        "numbers in place of booleans",
        "return (log_probs >= log_probs.amax(-1, keepdim=True) + math.log(alpha)).float()",
        "They are the right ones",
    ),
    _mask(
        "a mask to be added",
        """
keep = log_probs >= log_probs.amax(-1, keepdim=True) + math.log(alpha)
return torch.zeros_like(log_probs).masked_fill(~keep, -torch.inf)""",
        "a mask of 0 and -inf to be added",
    ),
    _mask("the bound", "return log_probs.amax(-1, keepdim=True) + math.log(alpha)", "The mask has shape (5, 1)"),
    _mask(
        "token numbers",
        "return (log_probs >= log_probs.amax(-1, keepdim=True) + math.log(alpha)).nonzero()",
        "has shape",
    ),
    _mask(
        "a bound of its own", "return log_probs >= log_probs.amax(-1, keepdim=True) - 2.0", "So the mask should be True"
    ),
    # --- the family's coefficients ---
    _table("positive and negative swapped", "Positive and negative are swapped", dexperts="(1, -lam, lam)"),
    _table("negative added", "The sign of the negative is wrong", dexperts="(1, lam, lam)"),
    _table("shallow fusion for DDA", "that is shallow fusion", dda="(1, lam, 0)"),
    _table("lam ignored", "lam is ignored", dexperts="(1, 1, -1)"),
    _table("lam on one side", "lam belongs to both sides", dda="(1, lam, -1)"),
    _table("no core", "The core is missing", dexperts="(0, lam, -lam)"),
    _table("convex weights", "does not depend on lam", dexperts="(1 - lam, lam, -lam)"),
    _table("DExperts as without an expert", "Both experts are given", dexperts="(1 + lam, 0, -lam)"),
    _table("1 + lam for the expert", "not 1 + lam", dda="(1, 1 + lam, -lam)"),
    _table("anti-expert only without the core's lam", "its lam goes to the core", anti="(1, 0, -lam)"),
    _table("anti-expert only with an expert", "its lam goes to the core", anti="(1, lam, -lam)"),
    _table("anti-expert only in the positive's slot", "its lam goes to the core", anti="(0, 1 + lam, -lam)"),
    _table("anti-expert only, sign", "The sign of the negative is wrong", anti="(1 + lam, 0, lam)"),
    _table("anti-expert as the positive", "The anti-expert is in the positive's slot", anti="(1 + lam, -lam, 0)"),
    _table("anti-expert only, interpolated", "The sign of the core's lam is wrong", anti="(1 - lam, 0, -lam)"),
    _table("contrastive decoding with a core", "This method has no core of its own", contrastive="(1, lam, -lam)"),
    _table("the expert as the core", "the expert takes the positive's slot", contrastive="(1, 0, -1)"),
    _table("contrastive decoding with lam", "has no lam", contrastive="(0, lam, -lam)"),
    _table("amateur and expert swapped", "Expert and amateur are swapped", contrastive="(0, -1, 1)"),
    _table("guidance off by one", "guidance written with 1 as 'off'", guidance="(0, lam, 1 - lam)"),
    _table("guidance as DExperts", "the conditional LM as core AND as positive", guidance="(1, lam, -lam)"),
    _table("guidance in the core's slot", "This method has no core of its own", guidance="(1 + lam, 0, -lam)"),
    _table("guidance, sign", "the LM without the prompt is divided by", guidance="(0, 1 + lam, lam)"),
    _table("guidance, roles", "The roles are swapped", guidance="(0, -lam, 1 + lam)"),
    _table("guidance, only the difference", "At lam = 0 nothing is left", guidance="(0, lam, -lam)"),
    _table("other order", "The order is (core, positive, negative)", every="{}[::-1]"),
    _table("two numbers", "2 in place of three numbers", every="{}[1:]"),
    _table("a dict", "and not a dict", every="dict(zip('cpn', {}))"),
    _table("one number", "and you return float", every="sum({}) * 0"),
    _table("texts", "should be a number: compute it from lam", every="tuple(map(str, {}))"),
    _table("None for a missing model", "the positive is None", anti="(1 + lam, None, -lam)"),
    _table("exp of the exponents", "exponents are asked", every="torch.tensor({}).exp()"),
    _table("a fixed lam", "is this lam used?", dexperts="(1, 0.3, -0.3)"),
    _table(
        "an unforeseen one",
        "They sum to 1.6 in place of 1. Collect the terms of log P_core + lam",
        dexperts="(1, 3 * lam, -lam)",
    ),
    _function(
        "coefficients",
        "coefficients(method, lam)",
        "any other name is guidance",
        """
if method in ("DExperts", "DDA"):
    return 1, lam, -lam
if method == "anti-expert only":
    return 1 + lam, 0, -lam
if method == "contrastive decoding":
    return 0, 1, -1
return 0, 1 + lam, -lam""",
        '"dexpert" is none of the five',
    ),
    _function(
        "coefficients",
        "coefficients(method, lam)",
        "a method is missing",
        "return {'DExperts': (1, lam, -lam)}[method]",
        "raised KeyError: 'DDA'",
    ),
    # --- guidance ---
    _guided(
        "the other convention",
        "return ((1 + scale) * conditional - scale * unconditional).log_softmax(-1)",
        "This is the other convention",
    ),
    _guided(
        "roles swapped",
        "return (conditional + scale * (unconditional - conditional)).log_softmax(-1)",
        "The roles are swapped",
    ),
    _guided(
        "sign swapped",
        "return (unconditional - scale * (conditional - unconditional)).log_softmax(-1)",
        "The roles are swapped",
    ),
    _guided(
        "mixture of probabilities",
        "return (unconditional.exp() + scale * (conditional.exp() - unconditional.exp())).log()",
        "You mixed probabilities",
    ),
    _guided(
        "mixture of probabilities, normalised",
        """
p = scale * conditional.exp() + (1 - scale) * unconditional.exp()
return (p / p.sum(-1, keepdim=True)).log()""",
        "You mixed probabilities",
    ),
    _guided(
        "probabilities into the softmax",
        "return (unconditional.exp() + scale * (conditional.exp() - unconditional.exp())).log_softmax(-1)",
        "You mixed probabilities",
    ),
    _guided(
        "no renormalisation", "return unconditional + scale * (conditional - unconditional)", "normalise at the end"
    ),
    _guided(
        "no renormalisation: the sum is said",
        "return unconditional + scale * (conditional - unconditional)",
        "instead of 1",
    ),
    _guided(
        "returns probabilities",
        "return (unconditional + scale * (conditional - unconditional)).softmax(-1)",
        "You return probabilities",
    ),
    _guided(
        "softmax over the contexts",
        "return (unconditional + scale * (conditional - unconditional)).log_softmax(0)",
        "You normalised over the contexts",
    ),
    _guided(
        "no difference",
        "return (unconditional + scale * conditional).log_softmax(-1)",
        "You added the conditional model",
    ),
    _guided(
        "no base", "return (scale * (conditional - unconditional)).log_softmax(-1)", "You forgot the unconditional"
    ),
    _guided("a temperature", "return (scale * conditional).log_softmax(-1)", "must be left at scale = 0"),
    _guided(
        "half of the scale",
        "return (scale * conditional - unconditional).log_softmax(-1)",
        "scale belongs to the whole",
    ),
    _guided("scale ignored", "return conditional.log_softmax(-1)", "scale is ignored"),
    _guided("average", "return ((conditional + unconditional) / 2).log_softmax(-1)", "You averaged the two models"),
    _guided(
        "never beyond",
        "return (unconditional + min(scale, 1) * (conditional - unconditional)).log_softmax(-1)",
        "scale was cut off at 1",
    ),
    _guided(
        "never away",
        "return (unconditional + max(scale, 0) * (conditional - unconditional)).log_softmax(-1)",
        "scale was cut off at 0",
    ),
    _guided(
        "one too little",
        "return (unconditional + (scale - 1) * (conditional - unconditional)).log_softmax(-1)",
        "one too little",
    ),
    _guided("summed over the tokens", "return (conditional * scale - unconditional).sum(-1)", "V tokens: keep them"),
    # --- dist-n ---
    _distinct(
        "across the borders",
        """
flat = [token for text in texts for token in text]
grams = [tuple(flat[i:i + n]) for i in range(len(flat) - n + 1)]
"""
        + SHARE,
        "crosses the border",
    ),
    _distinct(
        "average of the texts",
        """
ratios = []
for t in texts:
    grams = [tuple(t[i:i + n]) for i in range(len(t) - n + 1)]
    ratios.append(len(set(grams)) / max(1, len(grams)))
return sum(ratios) / max(1, len(ratios))""",
        "You averaged the ratios of the texts",
    ),
    _distinct(
        "divided by the tokens",
        NGRAMS + "return len(set(grams)) / max(1, sum(len(t) for t in texts))",
        "You divided by the number of TOKENS",
    ),
    _distinct("no division", NGRAMS + "return len(set(grams))", "not a share"),
    _distinct("divided by the texts", NGRAMS + "return len(set(grams)) / max(1, len(texts))", "not a share"),
    _distinct(
        "single tokens",
        "tokens = [token for t in texts for token in t]\nreturn len(set(tokens)) / max(1, len(tokens))",
        "This counts single tokens, whatever n is",
    ),
    _distinct("nothing there", NGRAMS + "return len(set(grams)) / len(grams)", "return 0.0"),
    _distinct("nothing there is 1", NGRAMS + "return len(set(grams)) / len(grams) if grams else 1.0", "Yours is 1"),
    _distinct(
        "nothing there is nan",
        NGRAMS + "return len(set(grams)) / len(grams) if grams else float('nan')",
        "0/0 is no number",
    ),
    _distinct(
        "the last one is missing",
        "grams = [tuple(t[i:i + n]) for t in texts for i in range(len(t) - n)]\n" + SHARE,
        "An n-gram is missing at the end",
    ),
    _distinct(
        "pieces at the end",
        "grams = [tuple(t[i:i + n]) for t in texts for i in range(len(t))]\n" + SHARE,
        "pieces shorter than n",
    ),
    _distinct("all over distinct", NGRAMS + "return len(grams) / max(1, len(set(grams)))", "upside down"),
    _distinct("repetitions", NGRAMS + "return 1 - len(set(grams)) / max(1, len(grams))", "the share of repetitions"),
    _distinct("percent", NGRAMS + "return 100 * len(set(grams)) / max(1, len(grams))", "In percent"),
    _distinct("whole division", NGRAMS + "return len(set(grams)) // max(1, len(grams))", "cuts the fraction off"),
    _distinct(
        "once only",
        NGRAMS + "c = Counter(grams)\nreturn sum(k == 1 for k in c.values()) / max(1, len(grams))",
        "exactly ONCE",
    ),
    _distinct(
        "distinct within each text",
        """
grams = [[tuple(t[i:i + n]) for i in range(len(t) - n + 1)] for t in texts]
return sum(len(set(g)) for g in grams) / max(1, sum(map(len, grams)))""",
        "Distinct within each text only",
    ),
    _distinct(
        "without order",
        "grams = [frozenset(t[i:i + n]) for t in texts for i in range(len(t) - n + 1)]\n" + SHARE,
        "The order counts",
    ),
    _distinct(
        "glued",
        """
grams = ["".join(map(str, t[i:i + n])) for t in texts for i in range(len(t) - n + 1)]
"""
        + SHARE,
        "glued to one string",
    ),
    _distinct(
        "joined strings only",
        """
grams = [" ".join(t[i:i + n]) for t in texts for i in range(len(t) - n + 1)]
"""
        + SHARE,
        "Tokens may be numbers as well",
    ),
    _distinct(
        "lists in a set",
        "grams = [t[i:i + n] for t in texts for i in range(len(t) - n + 1)]\n" + SHARE,
        "A list cannot be put into a set",
    ),
    _distinct(
        "texts to be split",
        "grams = [tuple(t.split()[i:i + n]) for t in texts for i in range(len(t) - n + 1)]\n" + SHARE,
        "nothing is to be split",
    ),
    _distinct(
        "not overlapping",
        "grams = [tuple(t[i:i + n]) for t in texts for i in range(0, len(t) - n + 1, n)]\n" + SHARE,
        "The n-grams overlap",
    ),
    _distinct(
        "all lengths up to n",
        """
grams = [tuple(t[i:i + k]) for k in range(1, n + 1) for t in texts for i in range(len(t) - k + 1)]
"""
        + SHARE,
        "You took all lengths up to n",
    ),
    _distinct(
        "one token too many",
        "grams = [tuple(t[i:i + n + 1]) for t in texts for i in range(len(t) - n)]\n" + SHARE,
        "One token too many in each",
    ),
    _distinct(
        "return inside the loop",
        """
for t in texts:
    grams = [tuple(t[i:i + n]) for i in range(len(t) - n + 1)]
    return len(set(grams)) / max(1, len(grams))
return 0.0""",
        "did you return inside the loop",
    ),
    _distinct(
        "one number for each text",
        "return [len(set(zip(*[t[i:] for i in range(n)]))) / max(1, len(t) - n + 1) for t in texts]",
        "One number for all texts together",
    ),
    _distinct("fixed to bigrams", "n = 2\n" + NGRAMS + SHARE, "3-grams, of which"),
    _distinct("an unforeseen one", NGRAMS + "return len(set(grams)) / (1 + len(grams))", "2-grams, of which"),
]
