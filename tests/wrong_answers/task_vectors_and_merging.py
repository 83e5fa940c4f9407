"""Wrong answers to the exercises of notebook 04."""

from __future__ import annotations

from . import WrongAnswer


def _function(exercise: str, signature: str, label: str, body: str, says: str) -> WrongAnswer:
    """Every answer brings the imports it uses, as in a student's own cell."""
    modules = ("import math", "math."), ("import numpy as np", "np."), ("import copy", "copy.")
    imports = "".join(f"{line}\n" for line, used in modules if used in body)
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    code = f"{imports}import torch\nimport torch.nn.functional as F\n\n\ndef {signature}:\n{lines}\n"
    return WrongAnswer(f"task_vectors_and_merging.{exercise}", label, code, says)


def _trim(label: str, value: str, says: str, k: str = "math.ceil(density * d)", before: str = "") -> WrongAnswer:
    """One line; `size` are the magnitudes, `kept` the right indices, `right` the right answer (for the right k)."""
    body = f"""
n, d = tau.shape
k = {k}
size = tau.abs()
kept = size.topk(k, dim=-1).indices
right = torch.zeros_like(tau).scatter(-1, kept, tau.gather(-1, kept))
{before}
return {value}""".replace("\n\n", "\n")
    return _function("trim", "my_trim(tau, density)", label, body, says)


def _trim_body(label: str, body: str, says: str) -> WrongAnswer:
    return _function("trim", "my_trim(tau, density)", label, body, says)


def _elect(label: str, value: str, says: str, before: str = "") -> WrongAnswer:
    """One line; `s` is the sign of the sum, `most` the sign that most coordinates have."""
    body = f"""
s = tau.sum(dim=0).sign()
most = s.sum().sign()
{before}
return {value}""".replace("\n\n", "\n")
    return _function("elect", "my_elect_sign(tau)", label, body, says)


def _decided(total: str) -> str:
    """Another total than the sum, with the right way out of a draw."""
    return f"(lambda s: torch.where(s == 0, s.sum().sign(), s))(({total}).sign())"


def _mean(label: str, value: str, says: str, before: str = "") -> WrongAnswer:
    """One line; `agree` is the right mask, `total` and `count` its sum and its size at each coordinate."""
    body = f"""
n, d = tau.shape
agree = (tau.sign() == sign) & (tau != 0)
total = (tau * agree).sum(dim=0)
count = agree.sum(dim=0)
{before}
return {value}""".replace("\n\n", "\n")
    return _function("disjoint_mean", "my_disjoint_mean(tau, sign)", label, body, says)


def _dare(label: str, value: str, says: str, before: str = "") -> WrongAnswer:
    """One line; `u` are the right random numbers, `keep` is the right mask."""
    body = f"""
u = torch.rand(tau.shape, generator=generator)
keep = u >= p
{before}
return {value}""".replace("\n\n", "\n")
    return _function("dare", "my_dare(tau, p, generator)", label, body, says)


def _dare_body(label: str, body: str, says: str) -> WrongAnswer:
    return _function("dare", "my_dare(tau, p, generator)", label, body, says)


RIGHT = {
    "dot": "(a * b).sum()",
    "norms": "a.norm() * b.norm()",
    "cos": "(dot / (norms)).item()",
    "near": "abs(cos) > 0.9995",
    "line": "(1 - t) * a + t * b",
    "W": "math.acos(cos)",
    "x": "math.sin((1 - t) * W) / math.sin(W)",
    "y": "math.sin(t * W) / math.sin(W)",
    "end": "x * a + y * b",
}


def _slerp(label: str, says: str, **wrong: str) -> WrongAnswer:
    """The right answer but for some of its parts."""
    assert not wrong.keys() - RIGHT.keys(), wrong
    r = {**RIGHT, **wrong}
    body = f"""
dot = {r["dot"]}
norms = {r["norms"]}
cos = {r["cos"]}
if {r["near"]}:
    return {r["line"]}
W = {r["W"]}
x = {r["x"]}
y = {r["y"]}
return {r["end"]}"""
    return _slerp_body(label, body, says)


def _slerp_body(label: str, body: str, says: str) -> WrongAnswer:
    return _function("slerp", "my_slerp(a, b, t)", label, body, says)


def _apply(label: str, value: str, says: str, counter: str = "start.clone()", before: str = "") -> WrongAnswer:
    """The right loop over the names with a wrong value; `ts` are the models' tensors, `total` is the right sum."""
    body = f"""
result = {{}}
for name, start in base.items():
    ts = [model[name] for model in fine_tuned]
    n = len(ts)
    if not start.is_floating_point():
        result[name] = {counter}
        continue
    total = sum(t - start for t in ts)
    {before}
    result[name] = ({value}).to(start.dtype)
return result""".replace("\n    \n", "\n")
    return _apply_body(label, body, says)


def _apply_body(label: str, body: str, says: str) -> WrongAnswer:
    return _function("apply", "my_apply(base, fine_tuned, lam)", label, body, says)


WRONG = [
    # --- trim ---
    _trim_body(
        "one threshold over all tasks",
        """
import math
flat = tau.abs().reshape(-1)
k = math.ceil(density * flat.numel())
threshold = flat.topk(k).values.min()
return tau * (tau.abs() >= threshold)""",
        "You use one threshold for all tasks",
    ),
    _trim_body(
        "one quantile over all tasks",
        "return torch.where(tau.abs() >= tau.abs().quantile(1 - density), tau, 0.0)",
        "You use one threshold for all tasks",
    ),
    _trim(
        "k entries in all",
        "torch.zeros(n * d).scatter(0, i, tau.reshape(-1)[i]).reshape(n, d)",
        "You use one threshold for all tasks",
        before="i = size.reshape(-1).topk(k).indices",
    ),
    _trim(
        "the smallest",
        "torch.zeros_like(tau).scatter(-1, i, tau.gather(-1, i))",
        "You keep the entries of SMALLEST magnitude",
        before="i = size.topk(k, dim=-1, largest=False).indices",
    ),
    _trim(
        "signed",
        "torch.zeros_like(tau).scatter(-1, i, tau.gather(-1, i))",
        "You compare signed values",
        before="i = tau.topk(k, dim=-1).indices",
    ),
    _trim(
        "signed, by sorting",
        "tau * (tau >= tau.sort(dim=-1, descending=True).values[:, k - 1 : k])",
        "choose by tau.abs(), and keep the values of tau",
    ),
    _trim(
        "the most negative",
        "torch.zeros_like(tau).scatter(-1, i, tau.gather(-1, i))",
        "You keep the most NEGATIVE entries",
        before="i = tau.argsort(dim=-1)[:, :k]",
    ),
    _trim("floor", "right", "ceil rounds UP", k="int(density * d)"),
    _trim("round", "right", "Use math.ceil(density * d)", k="round(density * d)"),
    _trim("at least one, but floor", "right", "one entry too few where density * d", k="max(1, int(density * d))"),
    _trim_body(
        "a quantile",
        "return tau * (tau.abs() >= tau.abs().quantile(1 - density, dim=-1, keepdim=True))",
        "int(), //, round() or torch.quantile do not",
    ),
    _trim("what is trimmed away", "tau - right", "You return what trimming takes AWAY"),
    _trim("zeros at the large ones", "tau.scatter(-1, kept, 0.0)", "You return what trimming takes AWAY"),
    _trim("drop rate", "right", "You took density as the share to drop", k="math.ceil((1 - density) * d)"),
    _trim("drop rate, floor", "right", "density is the share that STAYS", k="d - math.ceil(density * d)"),
    _trim(
        "per column",
        "torch.zeros_like(tau).scatter(0, i, tau.gather(0, i))",
        "You choose within each column (dim 0)",
        before="i = size.topk(math.ceil(density * n), dim=0).indices",
    ),
    _trim(
        "per column, k of the row",
        "torch.zeros_like(tau).scatter(0, i, tau.gather(0, i))",
        "so that the TASKS compete",
        before="i = size.topk(min(k, n), dim=0).indices",
    ),
    _trim_body(
        "kthvalue(d - k) as in the paper's code",
        """
d = tau.shape[1]
k = int(d * density)
threshold = tau.abs().kthvalue(max(1, d - k), dim=-1, keepdim=True).values
return tau * (tau.abs() >= threshold)""",
        "kthvalue(d - k) is the one below it",
    ),
    _trim(
        "sorted, index k",
        "tau * (size >= size.sort(dim=-1, descending=True).values[:, [min(k, d - 1)]])",
        "You keep one entry too many in each row",
    ),
    _trim(
        "above the threshold",
        "tau * (size > size.topk(k, dim=-1).values[:, -1:])",
        "> leaves out the threshold itself",
    ),
    _trim("ties all stay", "tau * (size >= size.topk(k, dim=-1).values[:, -1:])", "several are equal to it"),
    _trim(
        "ties all go",
        "torch.where(s > (s[:, [k]] if k < d else -1), tau.gather(-1, o), 0.0).scatter(-1, o, torch.where(s > "
        "(s[:, [k]] if k < d else -1), tau.gather(-1, o), 0.0))",
        "You keep only what lies ABOVE the threshold",
        before="s, o = size.sort(dim=-1, descending=True)",
    ),
    _trim("mask of booleans", "right != 0", "This is the mask, 1 where an entry stays"),
    _trim("mask of numbers", "(right != 0).float()", "multiply the mask with tau"),
    _trim("magnitudes", "right.abs()", "You return the magnitudes"),
    _trim("magnitudes by scatter", "torch.zeros_like(tau).scatter(-1, kept, size.gather(-1, kept))", "the signs of tau"),
    _trim("signs", "right.sign()", "You return the signs of the kept entries"),
    _trim("rescaled by density", "right / density", "You scaled up what is left"),
    _trim(
        "rescaled to the old sum of magnitudes",
        "right * size.sum(-1, keepdim=True) / right.abs().sum(-1, keepdim=True)",
        "it is DARE that divides",
    ),
    _trim(
        "rows share their columns",
        "result",
        "if ANY task keeps that column",
        before="result = torch.zeros_like(tau)\nfor row in kept:\n    result[:, row] = tau[:, row]",
    ),
    _trim(
        "columns of the largest total",
        "result",
        "All tasks keep the same columns here",
        before="i = size.sum(0).topk(k).indices\nresult = torch.zeros_like(tau)\nresult[:, i] = tau[:, i]",
    ),
    _trim(
        "soft threshold",
        "right.sign() * (right.abs() - size.topk(k, dim=-1).values[:, -1:]).clamp(min=0)",
        "You subtracted the threshold",
    ),
    _trim(
        "values in front",
        "torch.cat([tau.gather(-1, kept), torch.zeros(n, d - k)], dim=-1)",
        "The kept values stand in the first k columns",
    ),
    _trim("values alone", "tau.gather(-1, kept)", "You return the k kept values alone"),
    _trim("topk's own values", "size.topk(k, dim=-1).values", "each must stay at its own coordinate"),
    _trim("indices", "kept", "You return the indices of the kept entries"),
    _trim("threshold without keepdim", "tau * (size >= size.topk(k, dim=-1).values[:, -1])", "needs the shape (n, 1)"),
    _trim("share of the largest", "tau * (size >= density * size.max(-1, keepdim=True).values)", "a share of the NUMBER"),
    _trim("density as threshold", "tau * (size >= density)", "You compare the magnitudes with density itself"),
    _trim("unchanged", "tau.clone()", "Nothing was trimmed"),
    _trim("minus infinity", "torch.where(right != 0, tau, -torch.inf)", "The other entries become 0, not inf or nan"),
    _trim("flat", "right.reshape(-1)", "The result has the shape of tau, (n, d)"),
    _trim("a list", "right.tolist()", "should be a torch tensor of shape"),
    _trim_body("k is a float", "return tau.topk(density * tau.shape[1], dim=-1).values", "k must be a whole number"),
    _trim_body(
        "torch.ceil of a number",
        "k = torch.ceil(density * tau.shape[1]).int()\nreturn tau.topk(k).values",
        "density * d is a plain number",
    ),
    _trim("k of all entries", "right", "k is at most d", k="math.ceil(density * n * d)", before=""),
    _trim("rows by index", "tau[kept] * 1.0", "take whole rows"),
    _trim(
        "in place",
        "tau",
        "Your function changed its input",
        before="tau[right == 0] = 0.0",
    ),
    _trim("not foreseen: a constant added", "right + 0.01 * (right != 0)", "an entry stays as it is or becomes 0"),
    _trim(
        "not foreseen: two more in the first row",
        "torch.cat([tau[:1], right[1:]])",
        "Row 0 keeps 12 of its 12 entries, expected 3",
    ),
    _trim(
        "not foreseen: by the square of the value plus one",
        "torch.zeros_like(tau).scatter(-1, i, tau.gather(-1, i))",
        "the larger magnitude stays",
        before="i = (tau + 0.3 * size.mean(-1, keepdim=True)).abs().topk(k, dim=-1).indices",
    ),
    # --- elect ---
    _elect("head count", _decided("tau.sign().sum(0)"), "You counted heads"),
    _elect("head count, 0 is a plus", "torch.where(tau.sign().sum(0) >= 0, 1.0, -1.0)", "one vote for each task"),
    _elect("head count by mode", "tau.sign().mode(dim=0).values", "Votes count by how far they go"),
    _elect(
        "more positives than negatives",
        "torch.where((tau > 0).sum(0) > (tau < 0).sum(0), 1.0, -1.0)",
        "You counted heads",
    ),
    _elect(
        "largest magnitude",
        "tau.gather(0, tau.abs().argmax(0, keepdim=True))[0].sign()",
        "The entry of largest magnitude decides alone",
    ),
    _elect(
        "largest magnitude, by comparing the extremes",
        _decided("torch.where(tau.amax(0) > -tau.amin(0), tau.amax(0), tau.amin(0))"),
        "There is no max in TIES",
    ),
    _elect("maximum", "tau.max(0).values.sign()", "sign of the largest or smallest value"),
    _elect("minimum", "tau.min(0).values.sign()", "Take the sign of the SUM over the tasks"),
    _elect("product", "tau.sign().prod(0)", "This is the product of the signs"),
    _elect("product of the entries", _decided("tau.prod(0)"), "two minuses make a plus"),
    _elect("first task", "tau[0].sign()", "This is the sign of the first task"),
    _elect("last task", "tau[-1].sign()", "This is the sign of the last task"),
    _elect("median", _decided("tau.median(0).values"), "(the median does so, too)"),
    _elect("squares", _decided("(tau * tau.abs()).sum(0)"), "You weigh the votes by their squares"),
    _elect(
        "mean of the positive against mean of the negative",
        _decided("tau.clamp(min=0).sum(0) / (tau > 0).sum(0).clamp(min=1) + tau.clamp(max=0).sum(0) / (tau < 0).sum(0).clamp(min=1)"),
        "You compare the MEAN of the positive entries",
    ),
    _elect("rows of one length", _decided("F.normalize(tau, dim=-1).sum(0)"), "You brought the task vectors to one length"),
    _elect("negated", _decided("-tau.sum(0)"), "All signs are the wrong way round"),
    _elect("magnitudes", "tau.abs().sum(0).sign()", "You added up magnitudes without their signs"),
    _elect("the sum itself", "tau.sum(0)", "You return the total itself"),
    _elect("the mean itself", "tau.mean(0)", "You return the mean itself"),
    _elect("booleans", "tau.sum(0) > 0", "You return True and False"),
    _elect("ones and zeros", "(tau.sum(0) > 0).float()", "You return 1 and 0"),
    _elect("ones and zeros, whole numbers", "(tau.sum(0) >= 0).int()", "a minus is -1"),
    _elect("zeros left", "s", "Where the sum is exactly 0, .sign() leaves a 0"),
    _elect("zeros left, by the mean", "tau.mean(0).sign()", ".sign() leaves a 0"),
    _elect("0 is a plus", "torch.where(tau.sum(0) >= 0, 1.0, -1.0)", "that is what mergekit does"),
    _elect("0 is a minus", "torch.where(tau.sum(0) > 0, 1.0, -1.0)", "you always say -1"),
    _elect("0 by heads", "torch.where(s == 0, tau.sign().sum(0).sign(), s)", "you let the tasks vote by heads"),
    _elect("0 by all entries", "torch.where(s == 0, tau.sign().sum().sign(), s)", "the sign that most ENTRIES"),
    _elect("0 by the total mass", "torch.where(s == 0, tau.sum().sign(), s)", "the total of everything"),
    _elect("0 by the first task", "torch.where(s == 0, tau[0].sign(), s)", "you take the sign of one task"),
    _elect("wrong dimension", "tau.sum(dim=1).sign()", "You summed over the entries of each task"),
    _elect("last dimension", "tau.sum(-1, keepdim=True).sign()", "there is one sign for each COORDINATE"),
    _elect("not summed", "tau.sign()", "Each task still has its own sign"),
    _elect("one number", "tau.sum().sign()", "This is one number: each coordinate has its own election"),
    _elect("a Python number", "1.0 if tau.sum() > 0 else -1.0", "This is one number"),
    _elect("rows by index", "tau[tau.abs().argmax(0)].sign()", "tau[indices] takes whole rows"),
    _elect("counts", "tau.sign().sum(0)", "And: You return the total itself"),
    _elect("keepdim", "tau.sum(0, keepdim=True).sign()", "A dimension of size 1 is left over"),
    _elect("if of a tensor", "1 if tau.sum(0) > 0 else -1", "`if` needs one truth value"),
    _elect("a list", "torch.where(s == 0, most, s).tolist()", "should be a torch tensor"),
    _elect("not foreseen: every second one turned", "s * torch.tensor([1, -1] * 20)[: len(s)]", "their sum is"),
    _elect("not foreseen: a half", "torch.where(s == 0, most, s) * 0.5", "Signs are +1 or -1"),
    # --- disjoint_mean ---
    _mean("divided by n", "total / n", "You divide by n, the number of tasks"),
    _mean("mean of the masked", "torch.where(agree, tau, 0.0).mean(dim=0)", "The divisor is the number of CONTRIBUTORS"),
    _mean("zeros count", "(tau * (tau * sign >= 0)).sum(0) / (tau * sign >= 0).sum(0)", "You count the entries that are 0"),
    _mean(
        "zeros count, clamped", "total / (tau * sign >= 0).sum(0).clamp(min=1)", "A trimmed entry says nothing"
    ),
    _mean("all that are not 0 in the divisor", "total / (tau != 0).sum(0).clamp(min=1)", "those of the other sign included"),
    _mean("wrong signs take part", "tau.sum(0) / (tau != 0).sum(0).clamp(min=1)", "Entries with the other sign take part"),
    _mean("wrong signs in the sum", "tau.sum(0) / count.clamp(min=1)", "They lost the election"),
    _mean("plain mean", "tau.mean(0)", "This is the plain mean over all tasks"),
    _mean("sum", "total", "This is the sum of the entries that agree"),
    _mean("sum of all", "tau.sum(0)", "And: This is the sum"),
    _mean("magnitudes", "total.abs() / count.clamp(min=1)", "the signs are lost"),
    _mean("magnitudes over n", "total.abs() / n", "And: You divide by n"),
    _mean(
        "others turned round",
        "sign * tau.abs().sum(0) / (tau != 0).sum(0).clamp(min=1)",
        "You turned the entries of the other sign round",
    ),
    _mean("others turned round, plain mean", "sign * tau.abs().mean(0)", "so that they vote for what they were against"),
    _mean(
        "the losers",
        "(tau * (tau * sign < 0)).sum(0) / (tau * sign < 0).sum(0).clamp(min=1)",
        "You average the entries that LOST the election",
    ),
    _mean("the positive ones", "tau.clamp(min=0).sum(0) / (tau > 0).sum(0).clamp(min=1)", "You average the positive entries"),
    _mean("count plus one", "total / (count + 1)", "You add 1 to the count"),
    _mean("dis-max", "sign * (tau.abs() * agree).max(0).values", "You take the largest of the entries that agree"),
    _mean(
        "smallest",
        "sign * tau.abs().masked_fill(~agree, 1e9).min(0).values * (count > 0)",
        "You take the smallest of the entries",
    ),
    _mean("signed maximum", "(tau * agree).max(0).values", "You take the largest of the entries that agree"),
    _mean("all, times the sign", "(tau * sign).mean(0)", "And: The magnitudes are right"),
    _mean("median", "tau.masked_fill(~agree, torch.nan).nanmedian(0).values.nan_to_num()", "You take the median"),
    _mean(
        "own election",
        "total / count.clamp(min=1)",
        "You elected the signs once more",
        before="agree = (tau.sign() == tau.sum(0).sign()) & (tau != 0)\ntotal, count = (tau * agree).sum(0), agree.sum(0)",
    ),
    _mean("one count", "total / agree.sum()", "You divide by ONE number for all coordinates"),
    _mean("number of coordinates", "total / d", "You divide by the number of coordinates"),
    _mean("share of those who agree", "sign * count / n", "You return the elected sign itself"),
    _mean("nan", "total / count", "Nobody contributes at this coordinate, and 0 / 0 is nan"),
    _mean("nan by nanmean", "tau.masked_fill(~agree, torch.nan).nanmean(dim=0)", "divide by count.clamp(min=1)"),
    _mean(
        "the plain mean where nobody agrees",
        "torch.where(count > 0, total / count.clamp(min=1), tau.mean(0))",
        "Where no entry has the elected sign the result is 0",
    ),
    _mean("the sign where nobody agrees", "torch.where(count > 0, total / count.clamp(min=1), sign)", "stays at the base"),
    _mean("over the entries", "(tau * agree).sum(1) / agree.sum(1).clamp(min=1)", "You averaged over the entries"),
    _mean("one number", "tau[agree].mean()", "This is one number"),
    _mean("the kept entries", "tau[agree]", "tau[mask] is one long list"),
    _mean("not averaged", "tau * agree", "You did not average"),
    _mean("keepdim", "(total / count.clamp(min=1)).unsqueeze(0)", "A dimension of size 1 is left over"),
    _mean("wrong broadcast", "(tau * sign.unsqueeze(1)).sum(0)", "The shapes do not line up"),
    _mean("if of a tensor", "total / count if count > 0 else 0", "`if` needs one truth value"),
    _mean("in place", "tau.sum(0) / count.clamp(min=1)", "Your function changed its input", before="tau *= agree"),
    _mean("not foreseen: twice", "2 * total / count.clamp(min=1)", "the elected sign is"),
    # --- dare ---
    _dare("no rescaling", "tau * keep", "The others are not rescaled: their mean is (1 - p) tau"),
    _dare("divided by p", "tau * keep / p if p else tau", "You divide by p"),
    _dare("times 1 - p", "tau * keep * (1 - p)", "You multiply by 1 - p: divide by it"),
    _dare("times p", "tau * keep * p", "You multiply by p"),
    _dare("rescaled twice", "tau * keep / (1 - p) ** 2", "You divide by 1 - p twice"),
    _dare("F.dropout, and rescaled", "F.dropout(tau, p) / (1 - p)", "F.dropout has divided already"),
    _dare("root", "tau * keep / (1 - p) ** 0.5", "You divide by the root of 1 - p"),
    _dare("1 + p", "tau * keep * (1 + p)", "You multiply by 1 + p"),
    _dare("by the counted share", "tau * keep / keep.float().mean()", "the share that happened to stay"),
    _dare("by the sum of magnitudes", "tau * keep * tau.abs().sum() / (tau * keep).abs().sum()", "that is what mergekit does"),
    _dare("negative", "tau * keep / (p - 1)", "The sign of the kept entries is turned round"),
    _dare("keeps with p, divided by p", "tau * (u < p) / p if p else tau", "p is the probability to DROP"),
    _dare("keeps with p, divided by 1 - p", "tau * (u < p) / (1 - p)", "The mean is p / (1 - p) tau so"),
    _dare("keeps with p, not rescaled", "tau * (u < p)", "And the kept entries are tau times 1"),
    _dare(
        "bernoulli(p) keeps",
        "tau * torch.bernoulli(torch.full_like(tau, p), generator=generator) / (1 - p)",
        "You keep with the probability p",
    ),
    _dare("the mask", "keep.float()", "This is the mask"),
    _dare("the mask, rescaled", "keep / (1 - p)", "Multiply it with tau"),
    _dare("the mask, booleans", "keep", "This is the mask"),
    _dare("kept entries alone", "tau[keep] / (1 - p)", "You return the kept entries alone"),
    _dare("noise", "tau + p * torch.randn(tau.shape, generator=generator)", "this looks like noise on tau"),
    _dare(
        "multiplicative noise",
        "tau * (1 + (p / (1 - p)) ** 0.5 * torch.randn(tau.shape, generator=generator))",
        "No entry became 0",
    ),
    _dare("scaled by uniform numbers", "tau * u / (1 - p)", "DARE throws coins"),
    _dare("magnitudes", "tau.abs() * keep / (1 - p)", "The signs are lost"),
    _dare("everything gone", "tau * u.int() / (1 - p)", "Everything became 0"),
    _dare("nothing dropped", "tau.clone()", "Nothing was dropped, the result is tau"),
    _dare("the expectation", "tau * (1 - p)", "which is the MEAN of dropping"),
    _dare("not in training", "F.dropout(tau, p, training=False)", "F.dropout does nothing with training=False"),
    _dare("no coin, only rescaled", "tau / (1 - p)", "One coin decides for a whole vector"),
    _dare(
        "the smallest dropped",
        "torch.where(tau.abs() > tau.abs().reshape(-1).quantile(p), tau / (1 - p), 0.0)",
        "You drop the smallest entries: that is trimming",
    ),
    _dare(
        "the smallest dropped, not rescaled",
        "torch.where(tau.abs() > tau.abs().reshape(-1).quantile(p), tau, 0.0)",
        "DARE asks chance alone",
    ),
    _dare(
        "the largest dropped",
        "torch.where(tau.abs() < tau.abs().reshape(-1).quantile(1 - p), tau / (1 - p), 0.0)",
        "You drop the largest entries",
    ),
    _dare(
        "the first ones dropped",
        "torch.where(torch.arange(tau.shape[-1]) >= p * tau.shape[-1], tau / (1 - p), 0.0)",
        "You drop entries that stand side by side",
    ),
    _dare(
        "small ones more often",
        "tau * (u >= (p * (1.5 - size / size.max())).clamp(0, 1)) / (1 - p)",
        "It depends on their size which entries are dropped",
        before="size = tau.abs()",
    ),
    _dare("tau compared with p", "tau * (tau >= p) / (1 - p)", "do you compare tau itself with p?"),
    _dare("magnitudes compared with p", "tau * (tau.abs() >= p) / (1 - p)", "You drop the smallest entries"),
    _dare(
        "one mask for all rows",
        "tau * (torch.rand(tau.shape[-1], generator=generator) >= p) / (1 - p)",
        "All tasks drop the same coordinates",
    ),
    _dare(
        "one coin for each row",
        "tau * (torch.rand(*tau.shape[:-1], 1, generator=generator) >= p) / (1 - p)",
        "One coin decides for a whole vector",
    ),
    _dare("global random numbers", "tau * (torch.rand_like(tau) >= p) / (1 - p)", "do not come from `generator`"),
    _dare("F.dropout", "F.dropout(tau, p)", "it takes no generator, and nobody could repeat the merge"),
    _dare(
        "numpy",
        "tau * torch.from_numpy(np.random.rand(*tau.shape) >= p) / (1 - p)",
        "Two generators of one seed drop different entries",
    ),
    _dare_body(
        "a fixed seed",
        "torch.manual_seed(0)\nreturn tau * (torch.rand(tau.shape) >= p) / (1 - p)",
        "is there a fixed seed in your function",
    ),
    _dare_body(
        "a generator of its own",
        "generator = torch.Generator().manual_seed(0)\nreturn tau * (torch.rand(tau.shape, generator=generator) >= p) / (1 - p)",
        "Generators of different seeds drop the very same entries",
    ),
    _dare_body(
        "started anew",
        "generator.manual_seed(generator.initial_seed())\n"
        "return tau * (torch.rand(tau.shape, generator=generator) >= p) / (1 - p)",
        "you start it anew each time",
    ),
    _dare_body(
        "a fixed number",
        """
d = tau.numel()
drop = torch.randperm(d, generator=generator)[: round(p * d)]
flat = tau.reshape(-1) / (1 - p)
return flat.index_fill(0, drop, 0.0).reshape(tau.shape)""",
        "you drop a fixed NUMBER",
    ),
    _dare("generator without its name", "tau", "is handed on by its name", before="v = torch.rand(tau.shape, generator)"),
    _dare("dropout with a generator", "F.dropout(tau, p, generator=generator)", "F.dropout takes no generator"),
    _dare("rounded random numbers", "tau * u.round() / (1 - p)", "Are the random numbers rounded"),
    _dare("by the length", "tau * keep * tau.norm() / (tau * keep).norm()", "You restore the length of the vector"),
    _dare("1 minus booleans", "tau * (1 - (u < p)) / (1 - p)", "~mask turns it round"),
    _dare("bernoulli of tau", "torch.bernoulli(tau, generator=generator)", "torch.bernoulli takes PROBABILITIES"),
    _dare("bernoulli of a number", "tau * torch.bernoulli(1 - p, generator=generator)", "torch.bernoulli takes a tensor"),
    _dare("two coins", "tau * keep * (torch.rand(tau.shape, generator=generator) >= p) / (1 - p)", "two coins for each entry"),
    _dare(
        "normal numbers",
        "tau * (torch.randn(tau.shape, generator=generator) >= p) / (1 - p)",
        "Is torch.randn in the place of torch.rand?",
    ),
    _dare("expects rows", "tau * keep / (1 - p)", "tau may be one task vector, (d,), or several", before="n, d = tau.shape"),
    _dare("in place", "tau", "Your function changed its input", before="tau *= keep / (1 - p)"),
    _dare("not a number", "tau * keep / (keep * (1 - p))", "The result holds inf or nan"),
    _dare("not foreseen: another factor", "tau * keep * 1.23", "The share that is dropped is right, the factor is not"),
    _dare("not foreseen: another rate", "tau * (u >= 0.8 * p) / (1 - p)", "of the 20000 entries were dropped"),
    _dare("not foreseen: a factor for each", "tau * keep * (1 + u)", "are not all multiplied by one number"),
    _dare("integers", "(tau * keep / (1 - p)).int()", "not all multiplied by one number"),
    # --- slerp ---
    _slerp_body("straight line", "return (1 - t) * a + t * b", "This is the straight line"),
    _slerp_body("torch.lerp", "return torch.lerp(a, b, t)", "half-way it is shorter than both ends"),
    _slerp_body("straight line, t swapped", "return t * a + (1 - t) * b", "And: t runs the wrong way"),
    _slerp("t swapped", "t runs the wrong way", x=RIGHT["y"], y=RIGHT["x"]),
    _slerp("normalised", "their lengths get lost", end="x * a / a.norm() + y * b / b.norm()"),
    _slerp(
        "normalised, then the mean length",
        "gave the result a length afterwards",
        end="(x * a / a.norm() + y * b / b.norm()) * (a.norm() + b.norm()) / 2",
    ),
    _slerp(
        "normalised, then the length of a",
        "are for the ANGLE only",
        end="(x * a / a.norm() + y * b / b.norm()) * a.norm()",
    ),
    _slerp(
        "normalised, then a length on the line",
        "You normalised the vectors and gave",
        end="(x * a / a.norm() + y * b / b.norm()) * ((1 - t) * a.norm() + t * b.norm())",
    ),
    _slerp_body(
        "the normalised line", "c = (1 - t) * a + t * b\nreturn c / c.norm()", "You normalised the straight line"
    ),
    _slerp_body(
        "the normalised line between unit vectors",
        "c = (1 - t) * a / a.norm() + t * b / b.norm()\nreturn c / c.norm()",
        "meets the arc, but at another place",
    ),
    _slerp("degrees", "The angle is in degrees", W="math.degrees(math.acos(cos))"),
    _slerp("no arccos", "You use the COSINE in the place of the angle", W="cos"),
    _slerp("no norms", "without dividing by the lengths", cos="max(-1.0, min(1.0, dot.item()))"),
    _slerp("one norm", "not divided by both lengths, each once", norms="b.norm() ** 2"),
    _slerp("brackets of the norms", "Are there brackets around", cos="(dot / a.norm() * b.norm()).item()"),
    _slerp("cosines", "You weigh with cosines", x="math.cos((1 - t) * W) / math.cos(W)", y="math.cos(t * W) / math.cos(W)"),
    _slerp("cosine and sine", "You weigh with cosines", x="math.cos(t * W)", y="math.sin(t * W)"),
    _slerp("divided by W", "You divide by W", x="math.sin((1 - t) * W) / W", y="math.sin(t * W) / W"),
    _slerp("not divided", "The division is missing", x="math.sin((1 - t) * W)", y="math.sin(t * W)"),
    _slerp(
        "multiplied", "You multiply by sin W", x="math.sin((1 - t) * W) * math.sin(W)", y="math.sin(t * W) * math.sin(W)"
    ),
    _slerp("not divided in one term", "One of the two is right. The other: The division", y="math.sin(t * W)"),
    _slerp(
        "brackets of the sines", "the sine is of the PRODUCT", x="math.sin(1 - t) * W / math.sin(W)", y="math.sin(t) * W / math.sin(W)"
    ),
    _slerp(
        "division inside the sine", "stands INSIDE the sine", x="math.sin((1 - t) * W / math.sin(W))", y="math.sin(t * W / math.sin(W))"
    ),
    _slerp("no brackets around 1 - t", "1 - t is in brackets", x="math.sin(1 - t * W) / math.sin(W)"),
    _slerp("the rest for a", "a gets 1 minus the coefficient of b", x="1 - math.sin(t * W) / math.sin(W)"),
    _slerp("mean of the products", "and you take their mean", dot="(a * b).mean()"),
    _slerp("cosine distance", "1 minus the cosine is a distance", W="math.acos(1 - cos)", near="abs(cos) > 0.9995 or cos < 0"),
    _slerp("mean of the rows' cosines", "You took one angle for each row", cos="F.cosine_similarity(a, b, dim=-1).mean().item()"),
    _slerp("half the angle", "You use half the angle", W="math.acos(cos) / 2"),
    _slerp("twice the angle", "(or twice the angle)", W="math.acos(cos) * 2"),
    _slerp("arcsin", "The angle comes from arcsin or arctan", W="math.asin(cos)"),
    _slerp("absolute cosine", "You took the absolute value of the cosine", W="math.acos(abs(cos))"),
    _slerp(
        "the short way round",
        "or turned b round where it is negative",
        W="math.acos(abs(cos))",
        end="x * a + y * (b if cos > 0 else -b)",
    ),
    _slerp("minus", "You subtract: the two terms are added", end="x * a - y * b"),
    _slerp("1 - t forgotten", "1 - t is missing or doubled", x="math.sin(W) / math.sin(W)"),
    _slerp("t in both", "a gets sin((1 - t) W), b gets sin(t W)", x="math.sin(t * W) / math.sin(W)"),
    _slerp("sum to one", "You divided by the sum of the two sines", end="(x * a + y * b) / (x + y)"),
    _slerp("a", "This is a, as if t were 0", end="a + 0 * b"),
    _slerp("b", "This is b, as if t were 1", end="b + 0 * a"),
    _slerp("mean", "This is the mean of a and b", end="(a + b) / 2"),
    _slerp_body(
        "an angle for each row",
        """
cos = F.cosine_similarity(a, b, dim=-1).unsqueeze(-1)
W = cos.clamp(-1, 1).arccos()
s = W.sin()
return torch.where(cos.abs() > 0.9995, (1 - t) * a + t * b, (((1 - t) * W).sin() * a + (t * W).sin() * b) / s)""",
        "You took one angle for each row (or column)",
    ),
    _slerp_body(
        "an angle for each column",
        """
W = F.cosine_similarity(a, b, dim=0).clamp(-0.9999999, 0.9999999).arccos()
return (((1 - t) * W).sin() * a + (t * W).sin() * b) / W.sin()""",
        "both tensors are ONE long vector each",
    ),
    _slerp_body(
        "an angle for each entry",
        """
W = torch.acos(a * b / (a.norm() * b.norm()))
return (torch.sin((1 - t) * W) * a + torch.sin(t * W) * b) / torch.sin(W)""",
        "You took an angle for each ENTRY",
    ),
    _slerp_body(
        "no fallback, in torch",
        """
W = torch.acos((a * b).sum() / (a.norm() * b.norm()))
return (torch.sin((1 - t) * W) * a + torch.sin(t * W) * b) / torch.sin(W)""",
        "return the straight line (1 - t) a + t b, before arccos",
    ),
    _slerp(
        "no fallback, clamped", "sin W is 0 or all digits of it are lost", W="math.acos(max(-1.0, min(1.0, cos)))", near="False"
    ),
    _slerp("no fallback, not clamped", "(nearly) one direction here", cos="(dot / norms).item() * (1 + 1e-6)", near="False"),
    _slerp("no abs in the comparison", "a and b are opposite here", near="cos > 0.9995", W="math.acos(max(-1.0, min(1.0, cos)))"),
    _slerp("the line with t swapped", "On the straight line t runs the wrong way", line="t * a + (1 - t) * b"),
    _slerp("a when parallel", "you return a, b, their mean or 0", line="a.clone()"),
    _slerp("flat", "The result is still flat", end="(x * a + y * b).reshape(-1)"),
    _slerp("the coefficients' sum", "This is one number", end="x + y"),
    _slerp("torch.dot", "a and b may be matrices", dot="torch.dot(a, b)"),
    _slerp("matrix product", "take <a, b> as (a * b).sum()", dot="a @ b"),
    _slerp("torch.sin of a number", "torch.sin and torch.arccos take tensors", x="torch.sin((1 - t) * W) / math.sin(W)"),
    _slerp("nan by the denominator", "Are both lengths in the", end="(x * a + y * b) / 0"),
    _slerp("not foreseen: another factor", "The result is sin((1 - t) W) / sin W times a", end="1.1 * x * a + 0.7 * y * b"),
    _slerp("not foreseen: no mixture", "Your result is no sum x a + y b", end="x * a + y * b ** 2"),
    # --- apply ---
    _apply("adds the models", "start + lam * sum(ts)", "You add the fine-tuned MODELS to the base"),
    _apply("adds the mean of the models", "start + lam * sum(ts) / n", "And: You took the MEAN"),
    _apply("mean of the task vectors", "start + lam * total / n", "You took the MEAN of the task vectors"),
    _apply("interpolates with the mean", "(1 - lam) * start + lam * sum(ts) / n", "addition is a sum"),
    _apply("lam on the base", "lam * (start + total)", "lam multiplies the base as well"),
    _apply("lam on the base alone", "lam * start + total", "And: lam is ignored"),
    _apply("sum over everything", "start + lam * torch.stack([t - start for t in ts]).sum()", "You added up all ENTRIES"),
    _apply("1 - lam on the base", "(1 - lam) * start + lam * total", "The base gets 1 - lam"),
    _apply("base subtracted once", "start + lam * (sum(ts) - start)", "The base is subtracted once in all"),
    _apply("subtracted", "start - lam * total", "this is the base MINUS the task vectors"),
    _apply("difference turned round", "start + lam * sum(start - t for t in ts)", "fine-tuned minus base"),
    _apply("first alone", "start + lam * (ts[0] - start)", "Only the first model takes part"),
    _apply("last alone", "value", "Only the last model takes part", before="for t in ts: value = start + lam * (t - start)"),
    _apply("without the base", "lam * total", "without the base: add theta_0"),
    _apply("without lam", "start + total", "lam is ignored"),
    _apply("average", "(start + sum(ts)) / (n + 1)", "This is the average of the models"),
    _apply("average of the fine-tuned", "sum(ts) / n", "And: lam is ignored"),
    _apply(
        "one after the other",
        "value",
        "Every tau_i is measured from the BASE",
        before="value = start\n    for t in ts:\n        value = value + lam * (t - value)",
    ),
    _apply("base once for each model", "sum(start + lam * (t - start) for t in ts)", "The base is added once for each"),
    _apply("divided by lam", "start + total / lam if lam else start", "You divide by lam"),
    _apply("lam squared", "start + lam * lam * total", "lam enters twice"),
    _apply("powers of lam", "start + sum(lam ** i * (t - start) for i, t in enumerate(ts, 1))", "ONE lam multiplies"),
    _apply("the base", "start.clone()", "This is the base: no task vector was added"),
    _apply("differences from the first", "start + lam * sum(t - ts[0] for t in ts)", "subtract the BASE"),
    _apply(
        "the counter too, in floats",
        "start + lam * total",
        "It counts steps, it is no parameter",
        counter="start + lam * sum(t - start for t in ts)",
    ),
    _apply(
        "the counter too, cut off",
        "start + lam * total",
        "no direction to go in",
        counter="(start + lam * sum(t - start for t in ts)).to(start.dtype)",
    ),
    _apply("the counter of the last model", "start + lam * total", "copy the value of the base", counter="ts[-1].clone()"),
    _apply("the counter shared", "start + lam * total", "shares its memory with the one of the base", counter="start"),
    _apply_body(
        "the counter left out",
        """
return {name: t + lam * sum(m[name] - t for m in fine_tuned) for name, t in base.items() if t.is_floating_point()}""",
        "has no 'steps': every name",
    ),
    _apply_body(
        "dtype lost",
        """
result = {}
for name, start in base.items():
    if start.is_floating_point():
        start = start.float()
        result[name] = start + lam * sum(model[name].float() - start for model in fine_tuned)
    else:
        result[name] = start.clone()
return result""",
        "the edited model has the dtype of the base",
    ),
    _apply_body(
        "return inside the loop",
        """
for name, start in base.items():
    return {name: start + lam * sum(model[name] - start for model in fine_tuned)}""",
        "Did you return inside the loop over the names?",
    ),
    _apply_body(
        "the base changed in place",
        """
for model in fine_tuned:
    for name in base:
        base[name] += lam * (model[name] - base[name])
return base""",
        "You changed the base",
    ),
    _apply_body(
        "a copy that shares its tensors",
        """
result = dict(base)
taus = [{name: model[name] - base[name] for name in base} for model in fine_tuned]
for tau in taus:
    for name in tau:
        result[name].add_(lam * tau[name])
return result""",
        "dict(base) copy no tensor",
    ),
    _apply_body(
        "a fine-tuned model changed",
        """
result = {name: start.clone() for name, start in base.items()}
for model in fine_tuned:
    for name, start in base.items():
        if start.is_floating_point():
            model[name] -= start
            result[name] += lam * model[name]
return result""",
        "You changed the first of the fine-tuned models",
    ),
    _apply_body(
        "float into a counter",
        """
result = {name: start.clone() for name, start in base.items()}
for model in fine_tuned:
    for name, start in base.items():
        result[name] += lam * (model[name] - start)
return result""",
        "'steps' holds whole numbers",
    ),
    _apply_body(
        "the list as one model",
        "return {name: start + lam * (fine_tuned[name] - start) for name, start in base.items()}",
        "fine_tuned is a LIST of state dicts",
    ),
    _apply_body(
        "always three",
        """
a, b, c = fine_tuned[0], fine_tuned[1], fine_tuned[2]
return {name: t + lam * (a[name] + b[name] + c[name] - 3 * t) for name, t in base.items()}""",
        "There may be one fine-tuned model",
    ),
    _apply_body(
        "task vector only",
        "return sum(sum((m[k] - base[k]).sum() for k in base) for m in fine_tuned)",
        "should be a state dict",
    ),
    _apply("not foreseen: another scale", "start + 0.77 * lam * total", "The result is theta_0 + lam * sum_i"),
    _apply(
        "not foreseen: biases left",
        "start + lam * total if start.dim() > 1 else start.clone()",
        "is right, and 'layer.bias' is not",
    ),
]
