"""Wrong answers to two exercises of notebook 10: the loss of masked diffusion, and a step of DDPM's sampler."""

from __future__ import annotations

from . import WrongAnswer
from ._refinement_and_diffusion_write import function


def _loss(label: str, value: str, says: str) -> WrongAnswer:
    """One line; `n` is -log p(x0), `m` 1 where masked, `s` the share, all (B, N)."""
    body = f"""
n = -log_probs.gather(-1, x0[..., None])[..., 0]
m = (x_t == mask).float()
s = share[:, None].expand(x0.shape)
return {value}"""
    return function("masked_loss", "my_masked_loss(log_probs, x0, x_t, share, mask)", label, body, says)


def _loss_body(label: str, body: str, says: str) -> WrongAnswer:
    return function("masked_loss", "my_masked_loss(log_probs, x0, x_t, share, mask)", label, body, says)


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
    return function("ddpm_step", "my_ddpm_step(x_t, eps, t, betas, noise)", label, body, says)


def _step_body(label: str, body: str, says: str) -> WrongAnswer:
    return function("ddpm_step", "my_ddpm_step(x_t, eps, t, betas, noise)", label, body, says)


LOSS = [
    _loss("BERT", "(n * m).sum() / m.sum()", "this is BERT's loss"),
    _loss("BERT by index", "n[x_t == mask].mean()", "this is BERT's loss"),
    _loss("BERT, weighted", "(n * m / s).sum() / m.sum()", "this is BERT's loss"),
    _loss("BERT, weighted, by index", "(n / s)[x_t == mask].mean()", "this is BERT's loss"),
    _loss_body(
        "ignore_index",
        "y = x0.masked_fill(x_t != mask, -100)\nreturn F.nll_loss(log_probs.flatten(0, 1), y.flatten())",
        "this is BERT's loss",
    ),
    _loss("count of each text", "((n * m).sum(1) / m.sum(1)).mean()", "the number of masks that a text happens to have"),
    _loss("count of each text, weighted", "((n * m / s).sum(1) / m.sum(1)).mean()", "the number of masks that a text happens to have"),
    _loss("all tokens", "(n / s).mean()", "Tokens that are not masked count in yours"),
    _loss("all tokens, no weight", "n.mean()", "Tokens that are not masked count in yours"),
    _loss_body("cross-entropy", "return F.nll_loss(log_probs.transpose(1, 2), x0)", "Tokens that are not masked count in yours"),
    _loss("no weight", "(n * m).mean()", "The weight 1/share is missing"),
    _loss("no weight, a text", "(n * m).sum(1).mean()", "The weight 1/share is missing"),
    _loss("times share", "(n * m * s).mean()", "You multiply by share"),
    _loss("times share, BERT", "(n * m * s).sum() / m.sum()", "You multiply by share"),
    _loss("what is left", "(n * m / (1 - s)).mean()", "not 1 / (1 - share)"),
    _loss("times what is left", "(n * m * (1 - s)).mean()", "not 1 / (1 - share)"),
    _loss("root", "(n * m / s.sqrt()).mean()", "no root, no square"),
    _loss("square", "(n * m / s ** 2).mean()", "no root, no square"),
    _loss("logarithm", "-(n * m * s.log()).mean()", "no root, no square"),
    _loss("mean share", "(n * m).mean() / share.mean()", "applied to the mean of the batch"),
    _loss("mean weight", "(n * m).mean() * (1 / share).mean()", "applied to the mean of the batch"),
    _loss("BERT, mean weight", "((n * m).sum() / m.sum() / share).mean()", "applied to the mean of the batch"),
    _loss("sign", "-(n * m / s).mean()", "The sign is wrong"),
    _loss("sum", "(n * m / s).sum()", "This is a sum"),
    _loss("sum over a text", "(n * m / s).sum(1).mean()", "This is a sum"),
    _loss_body(
        "probability of x_t",
        "n = -log_probs.gather(-1, x_t[..., None])[..., 0]\nreturn torch.where(x_t == mask, n / share[:, None], 0).mean()",
        "You look up the probability of x_t",
    ),
    _loss("other side", "(n * (1 - m) / s).mean()", "the tokens that were NOT masked"),
    _loss("other side, no weight", "n[x_t != mask].mean()", "the tokens that were NOT masked"),
    _loss("probabilities", "-((-n).exp() * m / s).mean()", "You use probabilities"),
    _loss("1 - p", "((1 - (-n).exp()) * m / s).mean()", "You use probabilities"),
    _loss_body(
        "log_softmax of probabilities",
        "n = F.cross_entropy(log_probs.exp().transpose(1, 2), x0, reduction='none')\n"
        "return torch.where(x_t == mask, n / share[:, None], 0).mean()",
        "log_probs are log-probabilities already",
    ),
    _loss("bits", "(n * m / s).mean() / math.log(2)", "These are bits"),
    _loss("all kinds", "-log_probs.masked_fill(log_probs.isinf(), 0).mean()", "over the K kinds of token"),
    _loss_body(
        "argmax",
        "n = -log_probs.max(-1).values\nreturn torch.where(x_t == mask, n / share[:, None], 0).mean()",
        "most probable token",
    ),
    _loss("share along the positions", "(n * m / share).mean()", "share belongs to the texts"),
    _loss("terms", "n * m / s", "These are the terms of each token"),
    _loss("masked terms", "(n / s)[x_t == mask]", "These are the terms of each token"),
    _loss("a text each", "(n * m / s).mean(1)", "one number for each text"),
    _loss("with an axis", "(n * m / s).mean().reshape(1)", "Return a scalar"),
    _loss("product with the mask", "(n * m / s).mean()", "Select in place of multiplying"),
    _loss("item", "torch.where(m > 0, n / s, 0).mean().item()", "no gradient reaches log_probs"),
    _loss("detached", "torch.where(m > 0, n / s, 0).mean().detach()", "no gradient reaches log_probs"),
    _loss("part of it detached", "torch.where(m > 0, n / s, 0).mean() + n[0, 0] - n[0, 0].detach()", "is cut off"),
    _loss("numpy", "torch.tensor(np.where(m > 0, n.numpy() / s.numpy(), 0).mean())", "no gradient reaches log_probs"),
    _loss_body("gather without an axis", "return -log_probs.gather(-1, x0).mean()", "gather wants an index of three axes"),
    _loss_body("nll_loss without transpose", "return F.nll_loss(log_probs, x0)", "F.nll_loss wants the K kinds on axis 1"),
    _loss_body(
        "nan without masks",
        "n = -log_probs.gather(-1, x0[..., None])[..., 0]\nm = x_t == mask\n"
        "return (n / share[:, None])[m].mean() * m.float().mean()",
        "Here no token is masked at all",
    ),
    _loss_body("in place", "log_probs[log_probs.isinf()] = 0\nreturn -log_probs.mean()", "changed its input"),
    _loss_body("nothing returned", "loss = -log_probs.mean()", "did you forget `return`"),
    _loss("text", "'0.5'", "should be a torch tensor"),
    _loss("not foreseen", "torch.where(m > 0, n / s, 0).mean() + 0.1", "0 where x_t is not the mask"),
]

STEP = [
    _step("noise in the end", "At t = 1 the result is the data itself", end="mean + sigma * noise"),
    _step("noise in the end, t = 0", "At t = 1 the result is the data itself", end="mean if t == 0 else mean + sigma * noise"),
    _step("no noise", "No noise is added, at no t", end="mean"),
    _step("no noise at T", "The noise is left out at t = T", end="mean if t == len(betas) else mean + sigma * noise"),
    _step("alpha for alpha_bar", "You use alpha_t for alpha_bar_t", bar="alpha"),
    _step("alpha_bar for alpha", "You divide by sqrt(alpha_bar_t)", mean="(x_t - weight * eps) / bar.sqrt()"),
    _step("betas[t]", "Your index is too large", beta="betas[t]"),
    _step("betas[t], clipped", "Your index is off by one", beta="betas[min(t, len(betas) - 1)]", bar="(1 - betas[:t + 1]).prod()"),
    _step("betas[t - 2]", "Your index is off by one", beta="betas[max(t - 2, 0)]"),
    _step("alpha_bar before", "Your alpha_bar is off by one", bar="(1 - betas[:t - 1]).prod()"),
    _step("alpha_bar after", "Your alpha_bar is off by one", bar="(1 - betas[:t + 1]).prod()"),
    _step("cumprod[t]", "Your index is too large", bar="(1 - betas).cumprod(0)[t]"),
    _step("no root of 1 - alpha_bar", "The root is missing in beta_t / sqrt", weight="beta / (1 - bar)"),
    _step("no root of alpha", "The root of alpha_t is missing", mean="(x_t - weight * eps) / alpha"),
    _step("times alpha", "You multiply by sqrt(alpha_t)", mean="(x_t - weight * eps) * alpha.sqrt()"),
    _step("sign", "You add the predicted noise", mean="(x_t + weight * eps) / alpha.sqrt()"),
    _step("sigma = beta", "beta_t is the VARIANCE", sigma="beta"),
    _step("sigma = 1", "The noise is not scaled", sigma="1"),
    _step("posterior variance", "that of the posterior", sigma="(beta * (1 - bar / alpha) / (1 - bar)).sqrt()"),
    _step("all the noise", "all the noise of t steps", sigma="(1 - bar).sqrt()"),
    _step("sqrt(alpha)", "what is kept", sigma="alpha.sqrt()"),
    _step(
        "noise inside", "The noise stands inside the bracket", end="mean if t == 1 else (x_t - weight * eps + sigma * noise) / alpha.sqrt()"
    ),
    _step("noise subtracted", "You subtract the noise", end="mean if t == 1 else mean - sigma * noise"),
    _step("beta missing", "beta_t is missing", weight="1 / (1 - bar).sqrt()"),
    _step("all noise at once", "take all noise out at once", weight="(1 - bar).sqrt()"),
    _step("not divided", "the division is missing", weight="beta"),
    _step("root of beta too", "no root of beta_t", weight="(beta / (1 - bar)).sqrt()"),
    _step("alpha_bar under the root", "not alpha_bar_t", weight="beta / bar.sqrt()"),
    _step("alpha on top", "not alpha_t", weight="alpha / (1 - bar).sqrt()"),
    _step("all of eps", "you subtract all of eps", weight="1"),
    _step("x0", "This is the estimate of x_0", end="(x_t - (1 - bar).sqrt() * eps) / bar.sqrt()"),
    _step("forward", "This is the way forward", end="alpha.sqrt() * x_t + beta.sqrt() * noise"),
    _step("forward, all steps", "This is the way forward", end="bar.sqrt() * x_t + (1 - bar).sqrt() * noise"),
    _step(
        "DDIM",
        "the step of another sampler, DDIM",
        mean="(x_t - (1 - bar).sqrt() * eps) / bar.sqrt()",
        end="(bar / alpha).sqrt() * mean + (1 - bar / alpha).sqrt() * eps",
    ),
    _step("bracket", "Only x_t is divided", mean="x_t / alpha.sqrt() - weight * eps"),
    _step("no division", "The division by sqrt(alpha_t) is missing", mean="x_t - weight * eps"),
    _step("power", "a power of alpha_t", bar="alpha ** t"),
    _step("product of the betas", "Your alpha_bar_t is the product of the betas", bar="betas[:t].prod()"),
    _step("1 - product of the betas", "1 - the product of the betas", bar="1 - betas[:t].prod()"),
    _step("sum", "1 minus the sum of the betas", bar="1 - betas[:t].sum()"),
    _step("mean", "the mean of the alphas", bar="(1 - betas[:t]).mean()"),
    _step("all T", "the product over all T steps", bar="(1 - betas).prod()"),
    _step("from t", "the product from t to T", bar="(1 - betas[t - 1:]).prod()"),
    _step(
        "eps and noise swapped",
        "eps and noise are swapped",
        mean="(x_t - weight * noise) / alpha.sqrt()",
        end="mean if t == 1 else mean + sigma * eps",
    ),
    _step("own noise", "you draw random numbers of your own", end="mean if t == 1 else mean + sigma * torch.randn_like(x_t)"),
    _step("all betas", "The shapes do not line up", beta="betas"),
    _step("math.sqrt of a list", "betas[t - 1] is a tensor", sigma="torch.sqrt(beta.item())"),
    _step("list", "should be a torch tensor", end="mean.tolist()"),
    _step_body("in place", "x_t -= eps\nreturn x_t", "changed its input"),
    _step_body("nothing returned", "mean = x_t - betas[t - 1] * eps", "did you forget `return`"),
    _step("not foreseen", "it should be 1.24 x_t", weight="0.5 * beta / (1 - bar).sqrt()"),
]

WRONG = [*LOSS, *STEP]
