"""Wrong answers to the exercises of notebook 04, besides the mistakes that are declared with them."""

from __future__ import annotations

from . import WrongAnswer, function

# exercise: the stub's signature, and what is right so far and may be used by the wrong answer
BEGIN = {
    "trim": (
        "my_trim(tau, density)",
        """
n, d = tau.shape
k = math.ceil(round(density * d, 6))
size = tau.abs()
kept = size.topk(k, dim=-1).indices
right = torch.zeros_like(tau).scatter(-1, kept, tau.gather(-1, kept))""",
    ),
    "elect": ("my_elect_sign(tau)", "s = tau.sum(dim=0).sign()\nmost = s.sum().sign()"),
    "disjoint_mean": (
        "my_disjoint_mean(tau, sign)",
        "agree = (tau.sign() == sign) & (tau != 0)\ntotal, count = (tau * agree).sum(0), agree.sum(0)",
    ),
    "dare": ("my_dare(tau, p, generator)", "u = torch.rand(tau.shape, generator=generator)\nkeep = u >= p"),
    "slerp": ("my_slerp(a, b, t)", "norms, dot, LINE = a.norm() * b.norm(), (a * b).sum(), (1 - t) * a + t * b"),
    "magprune": (
        "my_keep_probabilities(tau, density, epsilon)",
        "d = tau.shape[1]\nranks = tau.abs().argsort(dim=1).argsort(dim=1)\n"
        "right = density - epsilon + 2 * epsilon * ranks / (d - 1)",
    ),
    "stock": (
        "my_stock_ratio(tau)",
        "n, unit = len(tau), tau / tau.norm(dim=1, keepdim=True)\ni, j = torch.triu_indices(n, n, 1)\n"
        "cos = (unit @ unit.T)[i, j].mean()",
    ),
    "apply": ("my_apply(base, fine_tuned, lam)", "result = {name: start.clone() for name, start in base.items()}"),
}
ARC = """
W = math.acos({cos})
x, y = math.sin((1 - t) * W) / math.sin(W), math.sin(t * W) / math.sin(W)
return {end}"""

DOT = "cos = ({} / norms).item()\nif abs(cos) > 0.9995:\n    return LINE" + ARC.format(cos="cos", end="x * a + y * b")


def _wrong(exercise: str, label: str, body: str, says: str) -> WrongAnswer:
    """A body, or the one line that is returned."""
    signature, before = BEGIN[exercise]
    body = body if "return" in body else f"return {body}"
    imports = "import math", "import torch", "import torch.nn.functional as F"
    code = function(signature, f"{before}\n{body}", *imports)
    return WrongAnswer(f"task_vectors_and_merging.{exercise}", label, code, says)


def _arc(
    label: str, says: str, near: str = "abs(cos) > 0.9995", cos: str = "cos", end: str = "x * a + y * b"
) -> WrongAnswer:
    """Slerp with another condition for the line, another cosine or another end."""
    body = f"cos = (dot / norms).item()\nif {near}:\n    return LINE" + ARC.format(cos=cos, end=end)
    return _wrong("slerp", label, body, says)


def _each(label: str, value: str, says: str, counter: str = "start.clone()") -> WrongAnswer:
    """The right loop over the names with a wrong value; `ts` are the models' tensors, `total` is the right sum."""
    body = f"""
for name, start in base.items():
    ts = [model[name] for model in fine_tuned]
    total = sum(t - start for t in ts)
    result[name] = ({value}).to(start.dtype) if start.is_floating_point() else {counter}
return result"""
    return _wrong("apply", label, body, says)


TABLE = {
    "trim": [
        ("threshold without keepdim", "tau * (size >= size.topk(k, dim=-1).values[:, -1])", "needs the shape (n, 1)"),
        ("k is a float", "tau.topk(density * d, dim=-1).values", "k must be a whole number"),
        ("torch.ceil of a number", "tau.topk(torch.ceil(density * d).int()).values", "density * d is a number"),
        ("k of all entries", "size.topk(math.ceil(density * n * d), dim=-1).values", "k is at most d"),
        ("rows by index", "tau[kept] * 1.0", "takes whole rows"),
        ("one row squeezed", "right.squeeze()", "There is one row only"),
        ("in place", "tau[right == 0] = 0.0\nreturn tau", "Your function changed its input"),
        ("a constant added", "right + 0.01 * (right != 0)", "an entry stays as it is or becomes 0"),
        ("all of the first row", "torch.cat([tau[:1], right[1:]])", "Row 0 keeps 12 of its 12 entries, expected 3"),
        (
            "by the magnitude of something else",
            """
i = (tau + 0.3 * size.mean(-1, keepdim=True)).abs().topk(k, dim=-1).indices
return torch.zeros_like(tau).scatter(-1, i, tau.gather(-1, i))""",
            "the larger magnitude stays",
        ),
    ],
    "elect": [
        ("one row squeezed", "torch.where(s == 0, most, s) if len(tau) > 1 else s[:-1]", "There is one row only"),
        ("the most frequent sign, zeros too", "torch.where(s == 0, s.mode().values, s)", "so it takes the sign"),
        ("if of a tensor", "1 if tau.sum(0) > 0 else -1", "`if` needs one truth value"),
        ("a list", "torch.where(s == 0, most, s).tolist()", "should be a torch tensor"),
        ("every second one turned", "s * torch.tensor([1, -1] * 20)[: len(s)]", "their sum is"),
        ("a half", "torch.where(s == 0, most, s) * 0.5", "Signs are +1 or -1"),
    ],
    "disjoint_mean": [
        (
            "the plain mean where nobody agrees",
            "torch.where(count > 0, total / count.clamp(min=1), tau.mean(0))",
            "where no entry has it the result is 0",
        ),
        ("wrong broadcast", "(tau * sign.unsqueeze(1)).sum(0)", "The shapes do not line up"),
        ("if of a tensor", "total / count if count > 0 else 0", "`if` needs one truth value"),
        ("in place", "tau *= agree\nreturn tau.sum(0) / count.clamp(min=1)", "changed its input"),
        ("twice", "2 * total / count.clamp(min=1)", "the elected sign is"),
        ("one row squeezed", "((tau * agree).squeeze().sum(0) / count.clamp(min=1))", "There is one row only"),
    ],
    "dare": [
        ("another factor", "tau * keep * 1.23", "The share that is dropped is right, the factor is not"),
        ("a factor for each", "tau * keep * (1 + u)", "are not all multiplied by one number"),
        ("F.dropout", "F.dropout(tau, p)", "draw from `generator`, as F.dropout cannot"),
        ("dropout with a generator", "F.dropout(tau, p, generator=generator)", "F.dropout takes no generator"),
        ("generator without its name", "torch.rand(tau.shape, generator) * tau", "is handed on by its name"),
        ("1 minus booleans", "tau * (1 - (u < p)) / (1 - p)", "~mask turns it round"),
        ("bernoulli of tau", "torch.bernoulli(tau, generator=generator)", "torch.bernoulli takes a tensor"),
        (
            "bernoulli of a number",
            "tau * torch.bernoulli(1 - p, generator=generator)",
            "torch.bernoulli takes a tensor",
        ),
        (
            "expects rows",
            "n, d = tau.shape\nreturn tau * keep / (1 - p)",
            "tau may be one task vector, (d,), or several",
        ),
        ("in place", "tau *= keep / (1 - p)\nreturn tau", "Your function changed its input"),
        (
            "the largest dropped",
            "tau * (tau.abs() < tau.abs().flatten().quantile(1 - p)) / (1 - p)",
            "It depends on their size or their place",
        ),
        (
            "the first ones dropped",
            "tau * (torch.arange(tau.shape[-1]) >= p * tau.shape[-1]) / (1 - p)",
            "It depends on their size or their place",
        ),
        (
            "small ones more often",
            "q = (tau.abs() < tau.abs().median()) * p + p / 2\nreturn tau * (u >= q) / (1 - p)",
            "It depends on their size or their place",
        ),
        (
            "a fixed seed",
            "torch.manual_seed(0)\nreturn tau * (torch.rand(tau.shape) >= p) / (1 - p)",
            "is there a fixed seed in your function",
        ),
        (
            "started from its own seed",
            """
generator.manual_seed(generator.initial_seed())
return tau * (torch.rand(tau.shape, generator=generator) >= p) / (1 - p)""",
            "you start it anew each time",
        ),
        (
            "a fixed number",
            """
drop = torch.randperm(tau.numel(), generator=generator)[: round(p * tau.numel())]
return (tau.reshape(-1) / (1 - p)).index_fill(0, drop, 0.0).reshape(tau.shape)""",
            "you drop a fixed number",
        ),
        (
            "coins that hang together",
            """
d = tau.shape[-1]
keep = torch.rand(*tau.shape[:-1], (d + 1) // 2, generator=generator) >= p
return tau * keep.repeat_interleave(2, dim=-1)[..., :d] / (1 - p)""",
            "the coins are not independent",
        ),
        (
            "opposite rows",
            """
u = torch.rand(tau.shape[-1], generator=generator)
u = u if tau.dim() == 1 else torch.stack([u if i % 2 else 1 - u for i in range(len(tau))])
return tau * (u >= p) / (1 - p)""",
            "Two rows drop or keep the same coordinate",
        ),
        ("the first one stays", "keep[..., 0] = True\nreturn tau * keep / (1 - p)", "It was dropped in 0 of the draws"),
    ],
    "slerp": [
        (
            "no fallback, in torch",
            """
W = torch.acos(dot / norms)
return (torch.sin((1 - t) * W) * a + torch.sin(t * W) * b) / torch.sin(W)""",
            "a and b have (nearly) one direction here",
        ),
        ("torch.dot", DOT.format("torch.dot(a, b)"), "a and b may be matrices"),
        ("matrix product", DOT.format("a @ b"), "a and b may be matrices"),
    ],
    "magprune": [
        ("one row squeezed", "right.squeeze()", "There is one row only"),
        ("in place", "tau[tau.abs() < 1] = 0.0\nreturn right", "Your function changed its input"),
        ("a list", "right.tolist()", "should be a torch tensor"),
        ("a mask, drawn", "(torch.rand(tau.shape) < right).float()", "it stays with"),
        ("a constant added", "right + 0.01", "of 9 (1: the smallest magnitude)"),
    ],
    "stock": [
        ("the merged vector", "n * cos / (1 + (n - 1) * cos) * tau.mean(0)", "One ratio is asked for"),
        ("a ratio for each pair", "c = (unit @ unit.T)[i, j]\nreturn n * c / (1 + (n - 1) * c)", "Yours has 3 numbers"),
        ("in place", "tau /= tau.norm(dim=1, keepdim=True)\nreturn cos", "Your function changed its input"),
        ("another scale", "1.1 * n * cos / (1 + (n - 1) * cos)", "task vectors with a mean cosine of"),
    ],
    "apply": [
        (
            "the counter left out",
            "{k: t + lam * sum(m[k] - t for m in fine_tuned) for k, t in base.items() if t.is_floating_point()}",
            "The result has no 'steps'",
        ),
        (
            "dtype lost",
            """
for name, start in base.items():
    if start.is_floating_point():
        start = start.float()
        result[name] = start + lam * sum(model[name].float() - start for model in fine_tuned)
return result""",
            "keep the base's dtype",
        ),
        (
            "return inside the loop",
            "for k, t in base.items():\n    return {k: t + lam * sum(model[k] - t for model in fine_tuned)}",
            "did you return inside the loop",
        ),
        (
            "the base changed in place",
            "for model in fine_tuned:\n    for k in base:\n        base[k] += lam * (model[k] - base[k])\nreturn base",
            "Your function changed its input (argument 1",
        ),
        (
            "a fine-tuned model changed",
            "for m in fine_tuned:\n    for k in base:\n        m[k] -= base[k]\nreturn result",
            "Your function changed its input (argument 2",
        ),
        (
            "float into a counter",
            "for m in fine_tuned:\n    for k in base:\n        result[k] += lam * (m[k] - base[k])\nreturn result",
            "'steps' holds whole numbers",
        ),
        (
            "the list as one model",
            "{k: t + lam * (fine_tuned[k] - t) for k, t in base.items()}",
            "is a list of state dicts",
        ),
        (
            "always three",
            "{k: t + lam * (sum(fine_tuned[i][k] for i in range(3)) - 3 * t) for k, t in base.items()}",
            "three or five",
        ),
    ],
}
WRONG = [
    *(_wrong(exercise, *entry) for exercise, entries in TABLE.items() for entry in entries),
    _arc("no fallback", "sin W is 0 for one direction", near="False", cos="max(-1.0, min(1.0, cos))"),
    _arc("no fallback, rounding", "sin W is 0 for one direction", near="False", cos="cos * (1 + 1e-6)"),
    _arc("no abs", "a and b are opposite here", near="cos > 0.9995", cos="max(-1.0, min(1.0, cos))"),
    _arc("no limit for opposite ones", "or not on both sides", near="cos > 0.9995 or cos < -0.99999"),
    _arc("limit 1 - 1e-7", "The limit is not 0.9995", near="abs(cos) > 1 - 1e-7"),
    _arc("another factor", "Yours is (0.8656) a", end="1.1 * x * a + 0.7 * y * b"),
    _arc("no mixture", "Your result is no sum x a + y b", end="x * a + y * b ** 2"),
    _arc("one number", "should be a torch tensor", end="x + y"),
    _arc("nan by the denominator", "The result holds nan or inf", end="(x * a + y * b) / 0"),
    _arc("torch.sin of a number", "torch.sin takes tensors", end="torch.sin(W) * LINE"),
    _each("the counter too, in floats", "start + lam * total", "It counts steps", "start + lam * total"),
    _each(
        "the counter too, cut off",
        "start + lam * total",
        "no direction to go in",
        "(start + lam * total).to(start.dtype)",
    ),
    _each("the counter shared", "start + lam * total", "shares its memory with the one of the base", "start"),
    _each("another scale", "start + 0.77 * lam * total", "Yours is 0.076 theta_0 + 0.308 theta_1"),
    _each("biases left", "start + lam * total if start.dim() > 1 else start", "every tensor has its own sum"),
    _each("computed in float16", "(start.half() + lam * total.half())", "was something computed in float16?"),
]
