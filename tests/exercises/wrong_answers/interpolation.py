"""Wrong answers to the exercises of notebook 01 that are no declared mistake: other forms, crashes, unknown ones."""

from __future__ import annotations

from . import WrongAnswer, function

SIGNATURES = {
    "linear": "linear_interpolation(log_probs, weights)",
    "loglinear": "loglinear_interpolation(log_probs, lam)",
    "em": "em_weights(probs, n_iter=100)",
    "posterior": "posterior_weights(token_log_probs, prior)",
    "fit_lambda": "fit_loglinear_weights(log_probs, targets)",
    "knn_probs": "knn_probs(dists, vals, V)",
}


def _function(exercise: str, label: str, body: str, says: str) -> WrongAnswer:
    names = {"F.": "import torch.nn.functional as F", "np.": "import numpy as np"}
    imports = [line for name, line in names.items() if name in body]
    return WrongAnswer(f"interpolation.{exercise}", label, function(SIGNATURES[exercise], body, *imports), says)


def _table(label: str, linear: str, loglinear: str, says: str) -> WrongAnswer:
    """Each string: T, F or ? for both, only A, only B, neither."""
    values, tokens = {"T": "True", "F": "False", "?": "None"}, ("both", "only A", "only B", "neither")
    rows = [("linear", linear), ("log-linear", loglinear)]
    entries = [
        f"({rule!r}, {token!r}): {values[v]}" for rule, row in rows for token, v in zip(tokens, row, strict=True)
    ]
    return WrongAnswer("interpolation.or_and", label, f"can_emit = {{{', '.join(entries)}}}", says)


def _fit(
    label: str, loss: str, says: str, start: str = "torch.zeros(len(log_probs))", steps: int = 120, end: str = "a"
):
    """Adam on `a`; the loss may use log_probs, targets, rows and the function logits(lam)."""
    body = f"""
a = {start}.requires_grad_()
rows = torch.arange(len(targets))
logits = lambda lam: torch.tensordot(lam, log_probs, dims=1)
optimizer = torch.optim.Adam([a], lr=0.1)
for _ in range({steps}):
    optimizer.zero_grad()
    loss = {loss}
    loss.backward()
    optimizer.step()
return ({end}).detach()
"""
    return _function("fit_lambda", label, body, says)


def _em(label: str, step: str, says: str, end: str = "w", n: str = "n_iter") -> WrongAnswer:
    """A loop from uniform weights; the step makes the new w of r, w and probs."""
    body = f"w = torch.full((len(probs),), 1 / len(probs))\nfor _ in range({n}):\n    r = w[:, None] * probs\n"
    lines = "\n".join("    " + line for line in step.splitlines())
    return _function("em", label, f"{body}{lines}\nreturn {end}", says)


AVERAGED_LOGS = "You averaged the log-probabilities: this is log-linear (an AND). Does exp() of it sum to 1?"
LOGS, PROBS = "(weights[:, None, None] * log_probs)", "(weights[:, None, None] * log_probs.exp())"
PRODUCT = "(lam[:, None, None] * log_probs).sum(0)"
BEFORE = "F.pad(token_log_probs[..., :-1].cumsum(-1), (1, 0))"
VOTES, ZEROS = "(-dists).softmax(-1)", "torch.zeros(len(dists), V)"

LINEAR = [
    ("mean of logs: the sum is said", f"return {LOGS}.sum(0)", f"{AVERAGED_LOGS} exp() of your result sums to 0.585"),
    ("mean of logs, then log_softmax", f"return {LOGS}.sum(0).log_softmax(-1)", AVERAGED_LOGS),
    ("sum without weights", "return log_probs.exp().sum(0).log()", "sums to 3 instead of 1"),
    ("probabilities instead of logs", f"return {PROBS}.sum(0)", "You return probabilities"),
    ("weights on the last axis", "return (weights * log_probs.exp()).sum(0).log()", "The shapes do not line up"),
    ("sums over the vocabulary", f"return {PROBS}.sum(-1).log()", "V tokens: missing. M members: still there"),
    ("epsilon in the log", f"return ({PROBS}.sum(0) + 1e-9).log()", "Leave out the small constant"),
    (
        "nan where a member has -inf",
        f"top = {LOGS}.amax(0)\nreturn ((log_probs - top).exp() * weights[:, None, None]).sum(0).log() + top",
        "holds nan",
    ),
    ("numpy", f"return np.log({PROBS}.sum(0).numpy())", "Stay in torch"),
    ("in place", f"log_probs.exp_()\nreturn {LOGS}.sum(0).log()", "changed its input"),
]
LOGLINEAR = [
    ("no renormalisation: the sum is said", f"return {PRODUCT}", "sums to 0.1"),
    ("subtracts Z", f"s = {PRODUCT}\nreturn s - s.exp().sum(-1, keepdim=True)", "divided by its own Z(c)"),
    ("0 * -inf", f"return {PRODUCT}.log_softmax(-1)", "0 * -inf is nan"),
    (
        "epsilon instead of zero",
        "return (lam[:, None, None] * (log_probs.exp() + 1e-6).log()).sum(0).log_softmax(-1)",
        "probability is exactly 0",
    ),
    ("returns probabilities", f"return {PRODUCT}.softmax(-1)", "You return probabilities"),
    ("lam on the last axis", "return (lam * log_probs).sum(0).log_softmax(-1)", "The shapes do not line up"),
]
TABLES = [
    _table("swapped", "TFFF", "TTTF", "The two rules are swapped"),
    _table("veto in the sum", "TFFF", "TFFF", "nobody has a veto (OR)"),
    _table("the linear rule smooths everything", "TTTT", "TFFF", "Nobody gives 'neither' a probability"),
    _table("half filled in", "TTTF", "????", "Still to fill in"),
    _table("nothing is possible in a product", "TTTF", "FFFF", "Both members allow 'both'"),
    WrongAnswer(
        "interpolation.or_and", "a key typed anew", "can = {('loglinear', 'both'): True}", "Unknown entry: ('logl"
    ),
]
EM = [
    _em("sum instead of mean: the sum is said", "w = (r / r.sum(0)).sum(1)", "sums to 300 instead of 1"),
    _em("three steps", "w = (r / r.sum(0)).mean(1)", "EM after 3 steps", n="3"),
    _em("fifty steps", "w = (r / r.sum(0)).mean(1)", "EM after 50 steps", n="50"),
    _em(
        "gradient ascent off the simplex",
        "w = w + 0.5 * ((probs / r.sum(0)).mean(1) - 1 - 0.3 * torch.arange(len(probs)))",
        "the negative number",
    ),
    _em("nan for a dead member", "w = (r / r.sum(0)).mean(1)", "holds nan", end="w * probs.mean(1) / probs.mean(1)"),
    _em(
        "a floor under the weights",
        "w = (r / r.sum(0)).mean(1).clamp(min=0.05)\nw = w / w.sum()",
        "The mean log-likelihood is",
    ),
    _function("em", "product over the tokens", "w = probs.prod(1)\nreturn w / w.sum()", "over all tokens underflows"),
    _function("em", "one responsibility a token", "return probs / probs.sum(0)", "N tokens"),
]
POSTERIOR = [
    (
        "peeks late",
        f"history = {BEFORE}\nhistory[..., 2:] = token_log_probs.cumsum(-1)[..., 2:]\n"
        "return (prior.log()[:, None, None] + history).softmax(0)",
        "Position 0 is right, position 2 is not",
    ),
    ("no normalisation", f"return (prior.log()[:, None, None] + {BEFORE}).exp()", "Divide by the sum over the members"),
    ("prior outside", f"return prior[:, None, None] * {BEFORE}.softmax(0)", "Divide by the sum over the members"),
    (
        "multiplies probabilities",
        "w = prior[:, None, None] * F.pad(token_log_probs.exp()[..., :-1].cumprod(-1), (1, 0), value=1.0)\n"
        "return w / w.sum(0)",
        "underflow",
    ),
    (
        "cumsum minus itself",
        "return (prior.log()[:, None, None] + token_log_probs.cumsum(-1) - token_log_probs).softmax(0)",
        "is taken off a cumulative sum",
    ),
    ("returns logs", f"return (prior.log()[:, None, None] + {BEFORE}).log_softmax(0)", "You return logarithms"),
    ("prior on the wrong axis", f"return (prior.log() + {BEFORE}).softmax(0)", "The prior does not line up"),
    (
        "one weight a member",
        "return (prior.log()[:, None] + token_log_probs.sum(-1)).softmax(0)",
        "over the T positions: keep them",
    ),
]
FIT = [
    _fit("softmax not returned", "F.cross_entropy(logits(a.softmax(0)), targets)", "lam was forced to sum to 1"),
    _fit(
        "sum to one",
        "F.cross_entropy(logits(a / a.sum()), targets)",
        "lam was forced to sum to 1",
        start="torch.tensor([1.0, 0.1, 0.1])[:len(log_probs)]",
        end="a / a.sum()",
    ),
    _fit(
        "lam_0 is 1",
        "F.cross_entropy(logits(torch.cat([torch.ones(1), a[1:]])), targets)",
        "One lam is fixed at 1",
        end="torch.cat([torch.ones(1), a[1:]])",
    ),
    _fit("too few steps: which lam is said", "F.cross_entropy(logits(a), targets)", "so lam_0 is too large", steps=5),
    _fit("mean probability", "-logits(a).softmax(-1)[rows, targets].mean()", "but their mean log-probability is lower"),
    _fit(
        "exponents on probabilities",
        "F.cross_entropy(torch.tensordot(a, log_probs.exp(), dims=1), targets)",
        "You minimised over probabilities: the rule's exponents",
        steps=400,
    ),
    _fit(
        "probabilities into cross_entropy",
        "F.cross_entropy(logits(a).softmax(-1), targets)",
        "You gave probabilities to cross_entropy",
    ),
    _fit("not normalised", "-logits(a)[rows, targets].mean()", "is the loss normalised?", steps=400),
    _fit(
        "mixture weights",
        "-(a.softmax(0)[:, None, None] * log_probs.exp()).sum(0).log()[rows, targets].mean()",
        "weights of the linear mixture",
        end="a.softmax(0)",
    ),
    _fit("the loss, not lam", "F.cross_entropy(logits(a), targets)", "has shape (), expected (3,)", end="loss"),
    _fit("cut off", "F.cross_entropy(logits(a), targets)", "was kept positive", end="a.clamp(0, 1)", steps=300),
    _fit("maximises the loss", "-F.cross_entropy(logits(a), targets)", "is worse than a uniform guess"),
]
KNN = [
    ("index +=", f"p = {ZEROS}\np[torch.arange(len(vals))[:, None], vals] += {VOTES}\nreturn p", "votes add up"),
    (
        "no normalisation",
        f"return {ZEROS}.scatter_add(-1, vals, (-dists).exp())",
        "Divide by the sum over the K neighbours",
    ),
    (
        "underflow",
        f"w = (-dists).exp()\nreturn {ZEROS}.scatter_add(-1, vals, w / w.sum(-1, keepdim=True))",
        "underflows",
    ),
    ("returns logs", f"return {ZEROS}.scatter_add(-1, vals, {VOTES}).log()", "You return logarithms"),
    ("over the neighbours, not the tokens", f"return {VOTES}", "expected (4, 12)"),
    ("one_hot without V", f"return (F.one_hot(vals) * {VOTES}[..., None]).sum(1)", "ends with the largest token"),
    ("a constant everywhere", f"return {ZEROS}.scatter_add(-1, vals, {VOTES}) + 1e-3", "the probability is exactly 0"),
    ("no sum over the neighbours", f"return F.one_hot(vals, V) * {VOTES}[..., None]", "Sum over the K neighbours"),
]

WRONG = [
    *[_function("linear", *row) for row in LINEAR],
    *[_function("loglinear", *row) for row in LOGLINEAR],
    *TABLES,
    *EM,
    *[_function("posterior", *row) for row in POSTERIOR],
    *FIT,
    *[_function("knn_probs", *row) for row in KNN],
]
