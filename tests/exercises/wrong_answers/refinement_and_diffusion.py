"""Wrong answers to the exercises of refinement_and_diffusion that a declared mistake cannot show."""

from __future__ import annotations

from collections.abc import Callable

from . import WrongAnswer, function

ARGUMENTS = {
    "masked_loss": "log_probs, x0, x_t, share, mask",
    "ddpm_step": "x_t, eps, t, betas, noise",
    "cumulative": "Qs",
    "posterior": "x_t, x0, Q, Qbar_before",
    "remask": "probabilities, t, T",
    "q_sample": "x0, t, T, mask, u",
    "ddim_step": "x_t, eps, abar_t, abar_s, noise, eta",
    "unmask_most_confident": "tokens, drawn, confidence, n, mask",
}
BEFORE = {  # what the answers of one line begin with
    "masked_loss": """
n = -log_probs.gather(-1, x0[..., None])[..., 0]  # -log p(x0), whether masked, and the share, all (B, N)
m = (x_t == mask).float()
s = share[:, None].expand(x0.shape)""",
    "cumulative": """
def run(Qs):
    out = [Qs[0]]
    for Q in Qs[1:]:
        out.append(out[-1] @ Q)
    return torch.stack(out)""",
    "posterior": """
def norm(p):
    return p / p.sum(dim=-1, keepdim=True)
A, B, K = Q, Qbar_before, len(Q)""",
    "remask": """
def lowest(p, n, dim=1):
    return p.argsort(dim=dim).argsort(dim=dim) < n
p, (B, N) = probabilities, probabilities.shape
n = max(1, N * (T - t) // T)""",
    "q_sample": "",
    "ddim_step": """
x0 = (x_t - (1 - abar_t) ** 0.5 * eps) / abar_t**0.5
v = eta**2 * (1 - abar_s) / (1 - abar_t) * (1 - abar_t / abar_s)""",
    "unmask_most_confident": """
masked = tokens == mask
sure = confidence.masked_fill(~masked, -torch.inf)
chosen = masked & (sure.argsort(1, descending=True).argsort(1) < n)""",
}


def _body(exercise: str) -> Callable:
    """A function that makes a wrong answer of its body."""

    def wrong(label: str, body: str, says: str) -> WrongAnswer:
        modules = ("import math", "math."), ("import numpy as np", "np.")
        imports = [line for line, used in modules if used in body]
        signature = f"my_{exercise}({ARGUMENTS[exercise]})"
        code = function(signature, body, *imports, "import torch", "import torch.nn.functional as F")
        return WrongAnswer(f"refinement_and_diffusion.{exercise}", label, code, says)

    return wrong


def _line(exercise: str) -> Callable:
    """The same of what is returned."""
    return lambda label, value, says: _body(exercise)(label, f"{BEFORE[exercise]}\nreturn {value}", says)


RIGHT = {
    "beta": "betas[t - 1]",
    "alpha": "1 - beta",
    "bar": "(1 - betas[:t]).prod()",
    "weight": "beta / (1 - bar).sqrt()",
    "mean": "(x_t - weight * eps) / alpha.sqrt()",
    "sigma": "beta.sqrt()",
    "end": "mean if t == 1 else mean + sigma * noise",
}


def _step(label: str, says: str, **wrong: str) -> WrongAnswer:
    """The right answer but for some of its lines."""
    assert not wrong.keys() - RIGHT.keys(), wrong
    lines = {**RIGHT, **wrong}
    body = "\n".join(f"{name} = {value}" for name, value in lines.items() if name != "end") + f"\nreturn {lines['end']}"
    return _body("ddpm_step")(label, body, says)


_loss, _loss_body, _step_body = _line("masked_loss"), _body("masked_loss"), _body("ddpm_step")
_products, _products_body = _line("cumulative"), _body("cumulative")
_posterior, _posterior_body = _line("posterior"), _body("posterior")
_remask, _remask_body = _line("remask"), _body("remask")
_sample, _sample_body = _line("q_sample"), _body("q_sample")

LOSS = [
    _loss("terms", "n * m / s", "These are the terms of each token"),
    _loss("masked terms", "(n / s)[x_t == mask]", "These are the terms of each masked token"),
    _loss("a text each", "(n * m / s).mean(1)", "one number for each text"),
    _loss("with an axis", "(n * m / s).mean().reshape(1)", "Return a scalar"),
    _loss("product with the mask", "(n * m / s).mean()", "A token that was not masked has probability 0"),
    _loss("one-hot product", "-(F.one_hot(x0, log_probs.shape[-1]) * log_probs).sum(-1).mean()", "-inf for the mask"),
    _loss("squeeze", "torch.where(m > 0, n.squeeze() / s, 0).mean()", "Here N = 1"),
    _loss("item", "torch.where(m > 0, n / s, 0).mean().item()", "no gradient reaches log_probs"),
    _loss("detached", "torch.where(m > 0, n / s, 0).mean().detach()", "no gradient reaches log_probs"),
    _loss("more", "torch.where(m > 0, n / s, 0).mean() + (n - n.detach())[0, 0]", "its gradient for log_probs is not"),
    _loss("numpy", "torch.tensor(np.where(m > 0, n.numpy() / s.numpy(), 0).mean())", "no gradient reaches log_probs"),
    _loss_body(
        "gather without an axis", "return -log_probs.gather(-1, x0).mean()", "gather wants an index of three axes"
    ),
    _loss_body(
        "nll_loss without transpose", "return F.nll_loss(log_probs, x0)", "F.nll_loss wants the K kinds on axis 1"
    ),
    _loss_body(
        "nan without masks",
        "n = -log_probs.gather(-1, x0[..., None])[..., 0]\nm = x_t == mask\n"
        "return (n / share[:, None])[m].mean() * m.float().mean()",
        "nan where no token is masked",
    ),
    _loss_body("in place", "log_probs[log_probs.isinf()] = 0\nreturn -log_probs.mean()", "changed its input"),
    _loss_body("nothing returned", "loss = -log_probs.mean()", "did you forget `return`"),
    _loss("text", "'0.5'", "should be a torch tensor"),
    _loss("not foreseen", "torch.where(m > 0, n / s, 0).mean() + 0.1", "0 elsewhere, divided by"),
]


STEP = [
    _step("betas[t]", "Your index is too large", beta="betas[t]"),
    _step("cumprod[t]", "Your index is too large", bar="(1 - betas).cumprod(0)[t]"),
    _step(
        "own noise",
        "you draw random numbers of your own",
        end="mean if t == 1 else mean + sigma * torch.randn_like(x_t)",
    ),
    _step("all betas", "The shapes do not line up", beta="betas"),
    _step("math.sqrt of a list", "torch.sqrt for tensors", sigma="torch.sqrt(beta.item())"),
    _step_body("in place", "x_t -= eps\nreturn x_t", "changed its input"),
    _step_body("nothing returned", "mean = x_t - betas[t - 1] * eps", "did you forget `return`"),
    _step("not foreseen", "it should be 1.24 x_t", weight="0.5 * beta / (1 - bar).sqrt()"),
]


PRODUCTS = [
    _products(
        "last only",
        "torch.linalg.multi_dot(list(Qs)) if len(Qs) > 1 else Qs[0]",
        "Only the product of all T steps is here",
    ),
    _products("list", "list(run(Qs))", "torch.stack(them)"),
    _products("rows only", "run(Qs)[:, 0]", "to go from every token to every other"),
    _products_body(
        "too far",
        "out = [Qs[0]]\nfor t in range(len(Qs)):\n    out.append(out[-1] @ Qs[t + 1])\nreturn torch.stack(out)",
        "Qs has T matrices",
    ),
    _products_body(
        "in place", "for t in range(1, len(Qs)):\n    Qs[t] = Qs[t - 1] @ Qs[t]\nreturn Qs", "changed its input"
    ),
    _products_body(
        "nothing returned", "out = [Qs[0]]\nfor Q in Qs[1:]:\n    out.append(out[-1] @ Q)", "did you forget `return`"
    ),
    _products("not foreseen", "run(Qs) + 0.1", "the product Q_1 Q_2 ... Q_t"),
]


POSTERIOR = [
    _posterior("unnormalised", "A.T[x_t] * B[x0]", "The product is right"),
    _posterior("logarithms", "(A.T[x_t].log() + B[x0].log()).log_softmax(-1)", "You return logarithms"),
    _posterior("most probable", "(A.T[x_t] * B[x0]).argmax(-1)", "one token for each text"),
    _posterior("matrices", "norm(A.T[x_t][:, :, None] * B[x0][:, None, :])", "This is a matrix for each text"),
    _posterior("squeeze", "norm(A.T[x_t] * B[x0]).squeeze()", "There is one text here, and its axis is gone"),
    _posterior("ids times matrix", "norm((x_t @ A.T) * (x0 @ B))", "x_t and x0 are ids"),
    _posterior("column without transpose", "norm(A[:, x_t] * B[x0])", "The shapes do not line up"),
    _posterior("sum without axis", "(A.T[x_t] * B[x0]) / (A.T[x_t] * B[x0]).sum(-1)", "The shapes do not line up"),
    _posterior(
        "sample",
        "F.one_hot(torch.multinomial(norm(A.T[x_t] * B[x0]), 1)[:, 0], K).float()",
        "you draw random numbers of your own",
    ),
    _posterior("list", "norm(A.T[x_t] * B[x0]).tolist()", "should be a torch tensor"),
    _posterior_body("in place", "Q *= Qbar_before\nreturn Q", "changed its input"),
    _posterior_body(
        "nothing returned", "p = Q.T[x_t] * Qbar_before[x0]\np / p.sum(-1, keepdim=True)", "did you forget `return`"
    ),
    _posterior("not foreseen", "norm(A.T[x_t] ** 2 * B[x0])", "divided by the sum of these products"),
]


REMASK = [
    _remask("threshold", "p <= p.kthvalue(n, dim=1, keepdim=True).values", "Several probabilities are equal here"),
    _remask("weighted at random", "lowest(p.log() - torch.rand(B, N).log(), n)", "you draw random numbers of your own"),
    _remask("places", "p.argsort(dim=1)[:, :n]", "These are the places"),
    _remask("values", "p.topk(n, dim=1, largest=False).values", "These are the n lowest probabilities themselves"),
    _remask("numbers", "lowest(p, n).long()", "Your mask is made of numbers"),
    _remask("filled with inf", "p.masked_fill(lowest(p, n), torch.inf)", "You return probabilities"),
    _remask("list", "lowest(p, n).tolist()", "should be a torch tensor"),
    _remask("threshold without axis", "p <= p.kthvalue(n, dim=1).values", "The shapes do not line up"),
    _remask_body(
        "float slice",
        "n = probabilities.shape[1] * (T - t) / T\nreturn probabilities.argsort(dim=1)[:, :n]",
        "n must be a whole number",
    ),
    _remask_body(
        "in place",
        "probabilities[probabilities > 0.5] = 1\nreturn probabilities < 1",
        "changed its input",
    ),
    _remask_body("nothing returned", "probabilities < 0.5", "did you forget `return`"),
    _remask("not foreseen", "lowest(p, n).flip(1)", "In each row the n = floor(N (T - t) / T) lowest"),
]


SAMPLE = [
    _sample_body(
        "own draws with a seed",
        "u = torch.rand(x0.shape, generator=torch.Generator().manual_seed(0))\nreturn torch.where(u < t / T, mask, x0)",
        "does not depend on u",
    ),
    _sample(
        "bernoulli",
        "torch.where(torch.bernoulli(torch.full(u.shape, t / T)) > 0, mask, x0)",
        "you draw random numbers of your own",
    ),
    _sample("packed", "x0[u >= t / T]", "only some of the tokens"),
    _sample("floats", "torch.where(u < t / T, float(mask), x0.float())", "Token ids are whole numbers"),
    _sample_body("masked_fill in place", "return x0.masked_fill_(u < t / T, mask)", "changed its input"),
    _sample_body("if", "if u < t / T:\n    return mask\nreturn x0", "`if` needs one truth value"),
    _sample_body(
        "numbers taken for tensors",
        "return torch.where(u < t.float() / T, mask, x0)",
        "t, T and mask are plain numbers",
    ),
    _sample("list", "torch.where(u < t / T, mask, x0).tolist()", "should be a torch tensor"),
    _sample_body("nothing returned", "x0.masked_fill(u < t / T, mask)", "did you forget `return`"),
    _sample(
        "not foreseen", "torch.where(u < (t / T) ** 2, mask, x0)", "After t steps a token is masked with chance t/T"
    ),
]

_jump, _jump_body = _line("ddim_step"), _body("ddim_step")
_unmask, _unmask_body = _line("unmask_most_confident"), _body("unmask_most_confident")

JUMP = [
    _jump("root of a negative number", "abar_s**0.5 * x0 + (abar_s - 1 - v) ** 0.5 * eps", "root of a negative number"),
    _jump("math.sqrt of one", "abar_s**0.5 * x0 + math.sqrt(abar_t - abar_s) * eps", "root of a negative number"),
    _jump("torch.sqrt of a number", "abar_s**0.5 * x0 + torch.sqrt(1 - abar_s - v) * eps", "are plain numbers"),
    _jump(
        "own noise",
        "abar_s**0.5 * x0 + (1 - abar_s - v) ** 0.5 * eps + torch.randn_like(x_t)",
        "you draw random numbers of your own",
    ),
    _jump_body("in place", "x_t -= eps\nreturn x_t", "changed its input"),
    _jump_body("nothing returned", "x0 = (x_t - eps) / abar_t", "did you forget `return`"),
    _jump("not foreseen", "abar_s**0.5 * x0 + 0.5 * (1 - abar_s) ** 0.5 * eps", "it should be"),
]


UNMASK = [
    _unmask("places", "chosen", "You return which places are chosen"),
    _unmask("confidences", "torch.where(chosen, confidence, 0.0)", "You return floating-point numbers"),
    _unmask("chosen tokens alone", "drawn[chosen]", "the chosen places or tokens alone"),
    _unmask("topk of more than there are", "sure.topk(n + 8).indices", "fewer than n masked places"),
    _unmask_body("in place", "tokens[tokens == mask] = drawn[tokens == mask]\nreturn tokens", "changed its input"),
    _unmask_body("nothing returned", "tokens.where(tokens != mask, drawn)", "did you forget `return`"),
    _unmask("not foreseen", "torch.where(chosen, drawn + 1, tokens)", "highest confidence get their drawn token"),
]

WRONG = [*LOSS, *STEP, *PRODUCTS, *POSTERIOR, *REMASK, *SAMPLE, *JUMP, *UNMASK]
