"""Wrong answers to the exercises of notebook 01."""

from __future__ import annotations

from . import WrongAnswer


def _function(exercise: str, signature: str, label: str, body: str, says: str) -> WrongAnswer:
    """Every answer brings the imports it uses, as in a student's own cell."""
    names = {"F.": "import torch.nn.functional as F", "np.": "import numpy as np"}
    imports = "".join(f"{line}\n\n" for name, line in names.items() if name in body)
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    return WrongAnswer(exercise, label, f"{imports}def {signature}:\n{lines}\n", says)


def _linear(label: str, body: str, says: str) -> WrongAnswer:
    return _function("interpolation.linear", "linear_interpolation(log_probs, weights)", label, body, says)


def _loglinear(label: str, body: str, says: str) -> WrongAnswer:
    return _function("interpolation.loglinear", "loglinear_interpolation(log_probs, lam)", label, body, says)


def _table(label: str, linear: str, loglinear: str, says: str) -> WrongAnswer:
    """Each string: T, F or ? for both, only A, only B, neither."""
    values, tokens = {"T": "True", "F": "False", "?": "None"}, ("both", "only A", "only B", "neither")
    rows = [("linear", linear), ("log-linear", loglinear)]
    entries = [
        f"    ({rule!r}, {token!r}): {values[v]}," for rule, row in rows for token, v in zip(tokens, row, strict=True)
    ]
    return WrongAnswer("interpolation.or_and", label, "can_emit = {\n" + "\n".join(entries) + "\n}", says)


def _em(label: str, body: str, says: str) -> WrongAnswer:
    return _function("interpolation.em", "em_weights(probs, n_iter=100)", label, body, says)


def _posterior(label: str, body: str, says: str) -> WrongAnswer:
    return _function("interpolation.posterior", "posterior_weights(token_log_probs, prior)", label, body, says)


def _fit(
    label: str, loss: str, says: str, start: str = "torch.zeros(len(log_probs))", steps: int = 120, end: str = "a"
) -> WrongAnswer:
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
    return _function("interpolation.fit_lambda", "fit_loglinear_weights(log_probs, targets)", label, body, says)


def _knn(label: str, body: str, says: str) -> WrongAnswer:
    return _function("interpolation.knn_probs", "knn_probs(dists, vals, V)", label, body, says)


AVERAGED_LOGS = "You averaged the log-probabilities: this is log-linear (an AND). Does exp() of it sum to 1?"

WRONG = [
    _linear("weighted mean of log-probabilities", "return (weights[:, None, None] * log_probs).sum(0)", AVERAGED_LOGS),
    _linear(
        "weighted mean of logs: the sum is said",
        "return (weights[:, None, None] * log_probs).sum(0)",
        "sums to 0.585 instead of 1",
    ),
    _linear(
        "mean of logs, then log_softmax",
        "return (weights[:, None, None] * log_probs).sum(0).log_softmax(-1)",
        AVERAGED_LOGS,
    ),
    _linear("mean of logs by einsum", "return torch.einsum('m,mbv->bv', weights, log_probs)", AVERAGED_LOGS),
    _linear(
        "geometric mean as probabilities",
        "return (weights[:, None, None] * log_probs).sum(0).softmax(-1)",
        AVERAGED_LOGS,
    ),
    _linear("log of the sum without weights", "return log_probs.exp().sum(0).log()", "The weights are ignored"),
    _linear("log of an unnormalised sum", "return log_probs.exp().sum(0).log()", "sums to 3 instead of 1"),
    _linear("weights ignored", "return log_probs.exp().mean(0).log()", "The weights are ignored"),
    _linear("logsumexp without weights", "return torch.logsumexp(log_probs, dim=0)", "The weights are ignored"),
    _linear(
        "softmax again",
        "return (weights[:, None, None] * log_probs.exp()).sum(0).log_softmax(-1)",
        "You take the softmax again",
    ),
    _linear(
        "softmax again, without log",
        "return (weights[:, None, None] * log_probs.exp()).sum(0).softmax(-1)",
        "You take the softmax again",
    ),
    _linear(
        "probabilities in place of logs",
        "return (weights[:, None, None] * log_probs.exp()).sum(0)",
        "You return probabilities",
    ),
    _linear(
        "weights on the last axis", "return (weights * log_probs.exp()).sum(0).log()", "The weights do not line up"
    ),
    _linear(
        "weights on the contexts",
        "return (weights[:, None] * log_probs.exp()).sum(0).log()",
        "The weights do not line up",
    ),
    _linear(
        "weights on the contexts where they fit",
        """
w = weights[:, None] if log_probs.shape[1] == len(weights) else weights[:, None, None]
return (w * log_probs.exp()).sum(0).log()""",
        "applied to the wrong axis (the contexts)",
    ),
    _linear(
        "weights on the tokens where they fit",
        """
w = weights if log_probs.shape[2] == len(weights) else weights[:, None, None]
return (w * log_probs.exp()).sum(0).log()""",
        "applied to the wrong axis (the tokens)",
    ),
    _linear(
        "adds the weight, not its log",
        "return torch.logsumexp(weights[:, None, None] + log_probs, dim=0)",
        "in logarithms a factor w_m is + log w_m",
    ),
    _linear(
        "softmax of the weights",
        "return (weights.softmax(0)[:, None, None] * log_probs.exp()).sum(0).log()",
        "The weights went through a softmax",
    ),
    _linear(
        "largest member",
        "return (weights[:, None, None] * log_probs.exp()).max(dim=0).values.log()",
        "You took the largest term",
    ),
    _linear(
        "sums over the vocabulary",
        "return (weights[:, None, None] * log_probs.exp()).sum(-1).log()",
        "V tokens: missing. M members: still there",
    ),
    _linear(
        "sums over the contexts",
        "return (weights[:, None, None] * log_probs.exp()).sum(1).log()",
        "B contexts: missing. M members: still there",
    ),
    _linear("does not sum", "return log_probs + weights.log()[:, None, None]", "Sum over the M members"),
    _linear("base 2", "return (weights[:, None, None] * log_probs.exp()).sum(0).log2()", "instead of 1"),
    _linear(
        "epsilon in the log",
        "return ((weights[:, None, None] * log_probs.exp()).sum(0) + 1e-9).log()",
        "Leave out the small constant",
    ),
    _linear(
        "nan where a member has -inf",
        """
top = (log_probs * weights[:, None, None]).amax(0)
return ((log_probs - top).exp() * weights[:, None, None]).sum(0).log() + top""",
        "holds nan",
    ),
    _linear(
        "drops a token that one member rules out",
        """
out = (weights[:, None, None] * log_probs.exp()).sum(0).log()
return out.masked_fill(log_probs.isneginf().any(0), -torch.inf)""",
        "index [0, 1]",
    ),
    _linear("numpy", "return np.log((weights[:, None, None] * log_probs.exp()).sum(0).numpy())", "Stay in torch"),
    _linear(
        "in place", "log_probs.exp_()\nreturn (weights[:, None, None] * log_probs).sum(0).log()", "changed its input"
    ),
    _loglinear("no renormalisation", "return (lam[:, None, None] * log_probs).sum(0)", "You did not divide by Z(c)"),
    _loglinear("no renormalisation: the sum is said", "return (lam[:, None, None] * log_probs).sum(0)", "sums to 0.1"),
    _loglinear(
        "no renormalisation, powers",
        "return (log_probs.exp() ** lam[:, None, None]).prod(0).log()",
        "You did not divide by Z(c)",
    ),
    _loglinear(
        "averages probabilities",
        "return (lam[:, None, None] * log_probs.exp()).sum(0).log()",
        "You averaged the probabilities: this is linear (an OR)",
    ),
    _loglinear(
        "averages probabilities, normalised",
        "p = (lam[:, None, None] * log_probs.exp()).sum(0)\nreturn (p / p.sum(-1, keepdim=True)).log()",
        "You averaged the probabilities: this is linear (an OR)",
    ),
    _loglinear(
        "lam divided by its sum",
        "lam = lam / lam.sum()\nreturn (lam[:, None, None] * log_probs).sum(0).log_softmax(-1)",
        "You forced lam to sum to 1",
    ),
    _loglinear(
        "softmax of lam",
        "return (lam.softmax(0)[:, None, None] * log_probs).sum(0).log_softmax(-1)",
        "You put lam through a softmax",
    ),
    _loglinear("0 * -inf", "return (lam[:, None, None] * log_probs).sum(0).log_softmax(-1)", "0 * -inf is nan"),
    _loglinear(
        "lam 0 vetoes too",
        """
zero = log_probs.isneginf()
s = (lam[:, None, None] * log_probs.masked_fill(zero, 0)).sum(0)
return s.masked_fill(zero.any(0), -torch.inf).log_softmax(-1)""",
        "A member with lam 0 has no say",
    ),
    _loglinear(
        "zeros are skipped: no veto",
        """
zero = log_probs.isneginf()
s = (lam[:, None, None] * log_probs.masked_fill(zero, 0)).sum(0)
return s.masked_fill(zero.all(0), -torch.inf).log_softmax(-1)""",
        "What was tested: one zero probability vetoes a token",
    ),
    _loglinear(
        "epsilon in place of zero",
        """
p = log_probs.exp() + 1e-6
return (lam[:, None, None] * p.log()).sum(0).log_softmax(-1)""",
        "probability is exactly 0",
    ),
    _loglinear(
        "softmax over the contexts",
        "return (lam[:, None, None] * log_probs).sum(0).log_softmax(0)",
        "sum over the wrong dimension",
    ),
    _loglinear(
        "returns probabilities",
        "return (lam[:, None, None] * log_probs).sum(0).softmax(-1)",
        "You return probabilities",
    ),
    _loglinear("lam ignored", "return log_probs.sum(0).log_softmax(-1)", "lam is ignored"),
    _loglinear(
        "softmax of probabilities",
        "return (lam[:, None, None] * log_probs.exp()).sum(0).log_softmax(-1)",
        "You put probabilities into the softmax",
    ),
    _loglinear(
        "sum of powers",
        "p = (log_probs.exp() ** lam[:, None, None]).sum(0)\nreturn (p / p.sum(-1, keepdim=True)).log()",
        "an AND multiplies them",
    ),
    _loglinear("lam on the last axis", "return (lam * log_probs).sum(0).log_softmax(-1)", "lam do not line up"),
    _loglinear(
        "lam on the contexts where they fit",
        """
w = lam[:, None] if log_probs.shape[1] == len(lam) else lam[:, None, None]
return (w * log_probs).sum(0).log_softmax(-1)""",
        "lam was applied to the wrong axis (the contexts)",
    ),
    _loglinear(
        "no negative lam",
        "return (lam.clamp(min=0)[:, None, None] * log_probs).sum(0).log_softmax(-1)",
        "You made lam positive",
    ),
    _loglinear(
        "divided by the number of members",
        "return (lam[:, None, None] * log_probs).mean(0).log_softmax(-1)",
        "divided by the number of members",
    ),
    _loglinear(
        "subtracts Z, not log Z",
        "s = (lam[:, None, None] * log_probs).sum(0)\nreturn s - s.exp().sum(-1, keepdim=True)",
        "You did not divide by Z(c)",
    ),
    _table("swapped", "TFFF", "TTTF", "The two rules are swapped"),
    _table("no veto in the product", "TTTF", "TTTF", "each member has a veto (AND)"),
    _table("veto in the sum", "TFFF", "TFFF", "nobody has a veto (OR)"),
    _table("the linear rule smooths everything", "TTTT", "TFFF", "Nobody gives 'neither' a probability"),
    _table("negated", "FFFT", "FTTT", "the wrong way round"),
    _table("half filled in", "TTTF", "????", "Still to fill in"),
    _table("nothing is possible in a product", "TTTF", "FFFF", "Both members allow 'both'"),
    _em(
        "hard assignment",
        """
w = torch.full((len(probs),), 1 / len(probs))
for _ in range(n_iter):
    winner = (w[:, None] * probs).argmax(0)
    w = torch.stack([(winner == m).float().mean() for m in range(len(probs))])
return w""",
        "This is hard assignment",
    ),
    _em(
        "hard assignment, once",
        "return torch.bincount(probs.argmax(0), minlength=len(probs)) / probs.shape[1]",
        "This is hard assignment",
    ),
    _em(
        "winner takes all",
        "return torch.nn.functional.one_hot(probs.mean(1).argmax(), len(probs)).float()",
        "winner takes all",
    ),
    _em(
        "starts on a zero weight",
        """
w = torch.zeros(len(probs))
w[0] = 1
for _ in range(n_iter):
    r = w[:, None] * probs
    w = (r / r.sum(0)).mean(1) if (r.sum(0) > 0).all() else w
return w""",
        "a weight of 0 stays 0",
    ),
    _em(
        "sum in place of mean",
        """
w = torch.full((len(probs),), 1 / len(probs))
for _ in range(n_iter):
    r = w[:, None] * probs
    w = (r / r.sum(0)).sum(1)
return w""",
        "The new weight is the MEAN",
    ),
    _em(
        "sum in place of mean: the sum is said",
        """
w = torch.full((len(probs),), 1 / len(probs))
for _ in range(n_iter):
    r = w[:, None] * probs
    w = (r / r.sum(0)).sum(1)
return w""",
        "sums to 300 instead of 1",
    ),
    _em(
        "responsibilities not normalised",
        """
w = torch.full((len(probs),), 1 / len(probs))
for _ in range(n_iter):
    w = (w[:, None] * probs).mean(1)
return w""",
        "responsibilities are not normalised",
    ),
    _em("one step only", "r = probs / probs.sum(0)\nreturn r.mean(1)", "EM after one step only"),
    _em(
        "the weights are not fed back",
        """
w = torch.full((len(probs),), 1 / len(probs))
for _ in range(n_iter):
    r = probs / probs.sum(0)
    w = r.mean(1)
return w""",
        "use the NEW weights in the next E step",
    ),
    _em(
        "three steps",
        """
w = torch.full((len(probs),), 1 / len(probs))
for _ in range(3):
    r = w[:, None] * probs
    w = (r / r.sum(0)).mean(1)
return w""",
        "EM after 3 steps",
    ),
    _em(
        "mean log-probabilities",
        "return probs.clamp(min=1e-30).log().mean(1).softmax(0)",
        "You averaged log-probabilities",
    ),
    _em("mean probabilities", "w = probs.mean(1)\nreturn w / w.sum()", "mean probability of each member"),
    _em(
        "normalised over the tokens",
        """
w = torch.full((len(probs),), 1 / len(probs))
for _ in range(n_iter):
    r = w[:, None] * probs
    r = r / r.sum(1, keepdim=True)
    w = r.mean(1) / r.mean(1).sum()
return w""",
        "did you normalise over the tokens",
    ),
    _em(
        "gradient ascent off the simplex",
        """
w = torch.full((len(probs),), 1 / len(probs))
for _ in range(n_iter):
    w = w + 0.5 * ((probs / (w @ probs)).mean(1) - 1 - 0.3 * torch.arange(len(probs)))
return w""",
        "is negative",
    ),
    _em(
        "gradient ascent without the constraint",
        """
w = torch.full((len(probs),), 1 / len(probs))
for _ in range(n_iter):
    w = w + 0.01 * (probs / (w @ probs)).mean(1)
return w""",
        "instead of 1",
    ),
    _em(
        "nan for a dead member",
        """
w = torch.full((len(probs),), 1 / len(probs))
for _ in range(n_iter):
    r = w[:, None] * probs
    w = (r / r.sum(0)).mean(1)
w = w * probs.mean(1) / probs.mean(1)
return w""",
        "holds nan",
    ),
    _em(
        "a floor under the weights",
        """
w = torch.full((len(probs),), 1 / len(probs))
for _ in range(n_iter):
    r = w[:, None] * probs
    w = (r / r.sum(0)).mean(1).clamp(min=0.05)
    w = w / w.sum()
return w""",
        "The mean log-likelihood is",
    ),
    _em("one responsibility a token", "r = probs / probs.sum(0)\nreturn r", "N tokens"),
    _posterior(
        "inclusive cumulative sum",
        "return (prior.log()[:, None, None] + token_log_probs.cumsum(-1)).softmax(0)",
        "You peek at the token you are scoring",
    ),
    _posterior(
        "the token itself only",
        "return (prior.log()[:, None, None] + token_log_probs).softmax(0)",
        "You peek at the token you are scoring",
    ),
    _posterior(
        "inclusive, no prior", "return token_log_probs.cumsum(-1).softmax(0)", "You peek at the token you are scoring"
    ),
    _posterior(
        "peeks late",
        """
history = F.pad(token_log_probs[..., :-1].cumsum(-1), (1, 0))
history[..., 2:] = token_log_probs.cumsum(-1)[..., 2:]
return (prior.log()[:, None, None] + history).softmax(0)""",
        "index [0, 0, 2]",
    ),
    _posterior(
        "forgets the prior",
        "return F.pad(token_log_probs[..., :-1].cumsum(-1), (1, 0)).softmax(0)",
        "The prior is forgotten",
    ),
    _posterior(
        "no normalisation",
        "return (prior.log()[:, None, None] + F.pad(token_log_probs[..., :-1].cumsum(-1), (1, 0))).exp()",
        "Divide by the sum over the members",
    ),
    _posterior(
        "normalises over T",
        "return (prior.log()[:, None, None] + F.pad(token_log_probs[..., :-1].cumsum(-1), (1, 0))).softmax(-1)",
        "You normalised over the positions (T)",
    ),
    _posterior(
        "multiplies probabilities",
        """
w = prior[:, None, None] * F.pad(token_log_probs.exp()[..., :-1].cumprod(-1), (1, 0), value=1.0)
return w / w.sum(0)""",
        "underflow",
    ),
    _posterior(
        "cumsum minus itself",
        """
history = token_log_probs.cumsum(-1) - token_log_probs
return (prior.log()[:, None, None] + history).softmax(0)""",
        "shift the cumulative sum by one",
    ),
    _posterior(
        "prior as a probability",
        "return (prior[:, None, None] + F.pad(token_log_probs[..., :-1].cumsum(-1), (1, 0))).softmax(0)",
        "add its logarithm",
    ),
    _posterior(
        "prior at each step",
        "return (F.pad(token_log_probs[..., :-1], (1, 0)) + prior.log()[:, None, None]).cumsum(-1).softmax(0)",
        "The prior is counted again at each position",
    ),
    _posterior(
        "the whole text",
        "return (prior.log()[:, None, None] + token_log_probs.sum(-1,"
        " keepdim=True)).softmax(0).expand_as(token_log_probs)",
        "also what comes after t",
    ),
    _posterior(
        "the last token only",
        "return (prior.log()[:, None, None] + F.pad(token_log_probs[..., :-1], (1, 0))).softmax(0)",
        "take the cumulative sum",
    ),
    _posterior(
        "cumulative sum over the texts",
        """
history = F.pad(token_log_probs[:, :-1].cumsum(1), (0, 0, 1, 0))
return (prior.log()[:, None, None] + history).softmax(0)""",
        "runs over the texts (B)",
    ),
    _posterior(
        "sum of probabilities",
        """
w = prior[:, None, None] * F.pad(token_log_probs.exp()[..., :-1].cumsum(-1), (1, 0))
w[..., 0] = prior[:, None]
return w / w.sum(0)""",
        "a history is a product",
    ),
    _posterior(
        "returns logs",
        "return (prior.log()[:, None, None] + F.pad(token_log_probs[..., :-1].cumsum(-1), (1, 0))).log_softmax(0)",
        "You return logarithms",
    ),
    _posterior(
        "prior on the wrong axis",
        "return (prior.log() + F.pad(token_log_probs[..., :-1].cumsum(-1), (1, 0))).softmax(0)",
        "The prior does not line up",
    ),
    _posterior("constant weights", "return prior[:, None, None].expand_as(token_log_probs)", "The weights never move"),
    _posterior(
        "drops the first position",
        "return (prior.log()[:, None, None] + token_log_probs[..., :-1].cumsum(-1)).softmax(0)",
        "Dimension 2 has 5 entries and should have 6",
    ),
    _fit("simplex", "F.cross_entropy(logits(a.softmax(0)), targets)", "lam was forced to sum to 1", end="a.softmax(0)"),
    _fit(
        "sum to one",
        "F.cross_entropy(logits(a / a.sum()), targets)",
        "lam was forced to sum to 1",
        start="torch.tensor([1.0, 0.1, 0.1])[:len(log_probs)]",
        end="a / a.sum()",
    ),
    _fit(
        "positive",
        "F.cross_entropy(logits(F.softplus(a)), targets)",
        "lam was kept positive",
        end="F.softplus(a)",
        steps=300,
    ),
    _fit("too few steps", "F.cross_entropy(logits(a), targets)", "The moments do not match yet", steps=5),
    _fit("too few steps: which lam is said", "F.cross_entropy(logits(a), targets)", "so lam_0 is too large", steps=5),
    _fit("mean probability", "-logits(a).softmax(-1)[rows, targets].mean()", "Did you minimise over probabilities?"),
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
    _fit(
        "nothing is fitted",
        "F.cross_entropy(logits(a), targets)",
        "did not move from its start",
        steps=1,
        end="torch.ones(len(a))",
    ),
    _fit(
        "divided by its sum afterwards",
        "F.cross_entropy(logits(a), targets)",
        "divided by its sum after the fit",
        end="a / a.sum()",
    ),
    _fit("the loss, not lam", "F.cross_entropy(logits(a), targets)", "has shape (), expected (3,)", end="loss"),
    _knn(
        "scatter overwrites",
        "return torch.zeros(len(dists), V).scatter(-1, vals, (-dists).softmax(-1))",
        "Duplicates must ADD",
    ),
    _knn(
        "index assignment overwrites",
        """
p = torch.zeros(len(dists), V)
p[torch.arange(len(dists))[:, None], vals] = (-dists).softmax(-1)
return p""",
        "Duplicates must ADD",
    ),
    _knn(
        "index += overwrites",
        """
p = torch.zeros(len(dists), V)
p[torch.arange(len(dists))[:, None], vals] += (-dists).softmax(-1)
return p""",
        "Duplicates must ADD",
    ),
    _knn(
        "overwritten, then normalised",
        """
p = torch.zeros(len(dists), V).scatter(-1, vals, (-dists).exp())
return p / p.sum(-1, keepdim=True)""",
        "Duplicates must ADD",
    ),
    _knn(
        "positive distance",
        "return torch.zeros(len(dists), V).scatter_add(-1, vals, dists.softmax(-1))",
        "The sign is missing",
    ),
    _knn(
        "no normalisation",
        "return torch.zeros(len(dists), V).scatter_add(-1, vals, (-dists).exp())",
        "Divide by the sum over the K neighbours",
    ),
    _knn(
        "underflow",
        """
w = (-dists).exp()
return torch.zeros(len(dists), V).scatter_add(-1, vals, w / w.sum(-1, keepdim=True))""",
        "underflows",
    ),
    _knn(
        "square root",
        "return torch.zeros(len(dists), V).scatter_add(-1, vals, (-dists.sqrt()).softmax(-1))",
        "without the square root",
    ),
    _knn(
        "squared again",
        "return torch.zeros(len(dists), V).scatter_add(-1, vals, (-dists ** 2).softmax(-1))",
        "without another square",
    ),
    _knn(
        "counts the neighbours",
        "return torch.zeros(len(dists), V).scatter_add(-1, vals, torch.ones_like(dists)) / dists.shape[1]",
        "The distances are ignored",
    ),
    _knn(
        "softmax over the vocabulary",
        "return torch.zeros(len(dists), V).scatter_add(-1, vals, -dists).softmax(-1)",
        "tokens that no neighbour holds must have probability 0",
    ),
    _knn(
        "softmax over the contexts",
        "return torch.zeros(len(dists), V).scatter_add(-1, vals, (-dists).softmax(0))",
        "You normalised over the contexts",
    ),
    _knn(
        "one over the distance",
        "w = 1 / dists\nreturn torch.zeros(len(dists), V).scatter_add(-1, vals, w / w.sum(-1, keepdim=True))",
        "Use exp(-d), not 1/d",
    ),
    _knn(
        "returns logs",
        "return torch.zeros(len(dists), V).scatter_add(-1, vals, (-dists).softmax(-1)).log()",
        "You return logarithms",
    ),
    _knn(
        "nearest neighbour only",
        "return F.one_hot(vals[torch.arange(len(dists)), dists.argmin(-1)], V).float()",
        "only the nearest neighbour",
    ),
    _knn("over the neighbours, not the tokens", "return (-dists).softmax(-1)", "expected (4, 10)"),
    _knn(
        "mean of duplicates",
        """
w = torch.zeros(len(dists), V).scatter_add(-1, vals, (-dists).softmax(-1))
n = torch.zeros(len(dists), V).scatter_add(-1, vals, torch.ones_like(dists))
return w / n.clamp(min=1)""",
        "Duplicates must ADD",
    ),
    _linear(
        "divides by M as well",
        "return (weights[:, None, None] * log_probs.exp()).mean(0).log()",
        "Right up to a factor",
    ),
    _linear(
        "weights as exponents", "return torch.logsumexp(weights[:, None, None] * log_probs, 0)", "to the power w_m"
    ),
    _linear(
        "two members only",
        "p = log_probs.exp()\nreturn (weights[0] * p[0] + weights[1] * p[1]).log()",
        "the first two members only",
    ),
    _linear(
        "normalises over the members",
        "return (weights[:, None, None] * log_probs.softmax(0)).sum(0).log()",
        "You normalised over the members",
    ),
    _linear(
        "matrix product with three dimensions", "return (weights @ log_probs.exp()).log()", "The weights do not line up"
    ),
    _loglinear(
        "one sum over all contexts",
        "p = (log_probs.exp() ** lam[:, None, None]).prod(0)\nreturn (p / p.sum()).log()",
        "You did not divide by Z(c)",
    ),
    _loglinear(
        "a fixed floor in place of -inf",
        "return (lam[:, None, None] * log_probs.nan_to_num(neginf=-5)).sum(0).log_softmax(-1)",
        "probability is exactly 0",
    ),
    _loglinear(
        "lam in the reverse order",
        "return (lam.flip(0)[:, None, None] * log_probs).sum(0).log_softmax(-1)",
        "in the reverse order",
    ),
    _em(
        "softmax in the E step",
        """
w = torch.full((len(probs),), 1 / len(probs))
for _ in range(n_iter):
    w = (w[:, None] * probs).softmax(0).mean(1)
return w""",
        "You used a softmax in the E step",
    ),
    _em(
        "returns inside the loop",
        """
w = torch.full((len(probs),), 1 / len(probs))
for _ in range(n_iter):
    r = w[:, None] * probs
    w = (r / r.sum(0)).mean(1)
    return w""",
        "EM after one step only",
    ),
    _em("product over the tokens", "w = probs.prod(1)\nreturn w / w.sum()", "A product over all tokens underflows"),
    _em("uniform", "return torch.ones(len(probs)) / len(probs)", "The weights are still uniform"),
    _posterior(
        "rolled: the last token comes first",
        "return (prior.log()[:, None, None] + token_log_probs.roll(1, -1).cumsum(-1)).softmax(0)",
        "At position 0 nothing has been read",
    ),
    _posterior(
        "hard choice",
        """
scores = prior.log()[:, None, None] + F.pad(token_log_probs[..., :-1].cumsum(-1), (1, 0))
return F.one_hot(scores.argmax(0), len(prior)).permute(2, 0, 1).float()""",
        "a hard choice",
    ),
    _posterior(
        "prior outside the softmax",
        "return prior[:, None, None] * F.pad(token_log_probs[..., :-1].cumsum(-1), (1, 0)).softmax(0)",
        "Divide by the sum over the members",
    ),
    _posterior(
        "tempered",
        "return (prior.log()[:, None, None] + 0.5 * F.pad(token_log_probs[..., :-1].cumsum(-1), (1, 0))).softmax(0)",
        "Position 0 is right",
    ),
    _posterior(
        "one weight a member",
        "return (prior.log()[:, None] + token_log_probs.sum(-1)).softmax(0)",
        "over the T positions: keep them",
    ),
    _fit("maximises the loss", "-F.cross_entropy(logits(a), targets)", "did you minimise", end="a"),
    _fit("lam negated", "F.cross_entropy(logits(a), targets)", "the best lam, negated", end="-a"),
    _fit(
        "simplex, softmax not returned", "F.cross_entropy(logits(a.softmax(0)), targets)", "lam was forced to sum to 1"
    ),
    _knn(
        "a small constant everywhere",
        "return torch.zeros(len(dists), V).scatter_add(-1, vals, (-dists).softmax(-1)) + 1e-3",
        "where the probability is exactly 0",
    ),
    _knn(
        "no sum over the neighbours",
        "return F.one_hot(vals, V) * (-dists).softmax(-1)[..., None]",
        "Sum over the K neighbours",
    ),
    _knn(
        "whole-number counts",
        "return torch.stack([torch.bincount(v, minlength=V) for v in vals])",
        "The distances are ignored",
    ),
]
