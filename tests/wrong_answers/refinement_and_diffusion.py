"""Wrong answers to the exercises of notebook 10: the first two here, the others in modules of their own."""

from __future__ import annotations

from . import WrongAnswer
from ._refinement_and_diffusion_chains import WRONG as CHAINS
from ._refinement_and_diffusion_noise import WRONG as NOISE
from ._refinement_and_diffusion_write import function


def _remask(label: str, value: str, says: str) -> WrongAnswer:
    """One line; `p` are the probabilities (B, N), `n` the right count, `lowest(p, n)` is True at the n lowest of each row."""
    body = f"""
def lowest(p, n, dim=1):
    return p.argsort(dim=dim).argsort(dim=dim) < n
p, (B, N) = probabilities, probabilities.shape
n = max(1, N * (T - t) // T)
return {value}"""
    return function("remask", "my_remask(probabilities, t, T)", label, body, says)


def _remask_body(label: str, body: str, says: str) -> WrongAnswer:
    return function("remask", "my_remask(probabilities, t, T)", label, "p, (B, N) = probabilities, probabilities.shape\n" + body, says)


def _sample(label: str, value: str, says: str) -> WrongAnswer:
    return function("q_sample", "my_q_sample(x0, t, T, mask, u)", label, f"return {value}", says)


def _chance(label: str, value: str, says: str) -> WrongAnswer:
    """Right but for the chance."""
    return _sample(label, f"torch.where(u < {value}, mask, x0)", says)


def _sample_body(label: str, body: str, says: str) -> WrongAnswer:
    return function("q_sample", "my_q_sample(x0, t, T, mask, u)", label, body, says)


REMASK = [
    _remask("highest", "lowest(-p, n)", "You mask the HIGHEST probabilities"),
    _remask_body(
        "topk of the largest",
        "n = max(1, N * (T - t) // T)\nreturn torch.zeros_like(p, dtype=torch.bool).scatter(1, p.topk(n, dim=1).indices, True)",
        "You mask the HIGHEST probabilities",
    ),
    _remask("inverted", "~lowest(p, n)", "True are the positions that are KEPT"),
    _remask("t/T", "lowest(p, max(1, N * t // T))", "more and more with every iteration"),
    _remask("t/T, none left", "lowest(p, N * t // T)", "more and more with every iteration"),
    _remask("ceil", "lowest(p, math.ceil(N * (T - t) / T))", "rounded UP"),
    _remask("round", "lowest(p, max(1, round(N * (T - t) / T)))", "rounded to the NEAREST"),
    _remask("round, none left", "lowest(p, round(N * (T - t) / T))", "rounded to the NEAREST"),
    _remask("at least one forgotten", "lowest(p, N * (T - t) // T)", "at least one position is masked"),
    _remask("at least one forgotten, int", "lowest(p, int(N * (T - t) / T))", "at least one position is masked"),
    _remask("floating point", "lowest(p, max(1, int(N * (1 - t / T))))", "1.9999999999999996"),
    _remask("floating point, floor", "lowest(p, max(math.floor((1 - t / T) * N), 1))", "1.9999999999999996"),
    _remask("compared with a float", "lowest(p, max(1, N * (T - t) / T))", "rounded UP"),
    _remask("whole batch", "lowest(p.reshape(1, -1), B * n).reshape(B, N)", "among all positions of the batch"),
    _remask("whole batch, its count", "lowest(p.view(1, -1), max(1, B * N * (T - t) // T)).view(B, N)", "among all positions of the batch"),
    _remask("whole batch, n alone", "p <= p.flatten().kthvalue(n).values", "among all positions of the batch"),
    _remask("numel", "lowest(p, max(1, p.numel() * (T - t) // T))", "not made of the length of a row"),
    _remask("columns", "lowest(p, n, dim=0)", "You choose among the rows"),
    _remask("len of the batch", "lowest(p, max(1, len(p) * (T - t) // T))", "not made of the length of a row"),
    _remask("argsort as rank", "p.argsort(dim=1) < n", "not the rank of each position"),
    _remask("descending argsort as rank", "p.argsort(dim=1, descending=True) < n", "not the rank of each position"),
    _remask("first n", "(torch.arange(N) < n).repeat(B, 1)", "n fixed places of each row"),
    _remask("sorted", "torch.ones_like(p, dtype=torch.bool).cumsum(1) > N - n", "n fixed places of each row"),
    _remask("T - t", "lowest(p, T - t)", "does not depend on the length N"),
    _remask("steady", "lowest(p, max(1, N // T))", "the same in every iteration"),
    _remask("iteration before", "lowest(p, max(1, N * (T - t + 1) // T))", "that of the iteration before"),
    _remask("iteration after", "lowest(p, max(1, N * (T - t - 1) // T))", "that of the iteration after"),
    _remask("lowest only", "p == p.min(dim=1, keepdim=True).values", "only the single lowest"),
    _remask("share as threshold", "p < (T - t) / T", "compare the probabilities with a fixed number"),
    _remask("half", "p < 0.5", "compare the probabilities with a fixed number"),
    _remask("below the mean", "p < p.mean(dim=1, keepdim=True)", "compare the probabilities with a fixed number"),
    _remask("1/N", "p < 1 / N", "compare the probabilities with a fixed number"),
    _remask("first row for all", "lowest(p, n)[0].expand(B, N)", "All rows get the same positions"),
    _remask("mean row", "lowest(p.mean(0, keepdim=True), n).expand(B, N)", "All rows get the same positions"),
    _remask("one row", "lowest(p, n)[0]", "All rows get the same positions"),
    _remask("all", "torch.ones_like(p, dtype=torch.bool)", "You mask everything"),
    _remask("one more", "p.argsort(1).argsort(1) <= n", "one too many"),
    _remask("index n", "p <= p.sort(dim=1).values[:, min(n, N - 1), None]", "one too many"),
    _remask("strictly below", "p < p.sort(dim=1).values[:, n - 1, None]", "one too few"),
    _remask("threshold", "p <= p.kthvalue(n, dim=1, keepdim=True).values", "Several probabilities are equal here"),
    _remask("threshold by topk", "p <= p.topk(n, largest=False).values[:, -1:]", "Several probabilities are equal here"),
    _remask("quantile", "p <= p.quantile((T - t) / T, dim=1, keepdim=True)", "A quantile is a number between two entries"),
    _remask("quantile, strict", "p < p.quantile((T - t) / T, dim=1, keepdim=True)", "A quantile is a number between two entries"),
    _remask(
        "quantile of the ranks",
        "p <= p.quantile(min(1, (n - 0.5) / max(N - 1, 1)), dim=1, keepdim=True)",
        "Several probabilities are equal here",
    ),
    _remask("random", "lowest(torch.rand(B, N), n)", "you draw random numbers of your own"),
    _remask("bernoulli", "torch.rand(B, N) < (T - t) / T", "you draw random numbers of your own"),
    _remask("weighted at random", "lowest(p.log() - torch.rand(B, N).log(), n)", "you draw random numbers of your own"),
    _remask("places", "p.argsort(dim=1)[:, :n]", "These are the PLACES"),
    _remask("values", "p.topk(n, dim=1, largest=False).values", "These are the n lowest probabilities themselves"),
    _remask("numbers", "lowest(p, n).long()", "Your mask is made of numbers"),
    _remask("floats", "lowest(p, n).float()", "Your mask is made of numbers"),
    _remask("filled", "p.masked_fill(lowest(p, n), 0.0)", "You return probabilities"),
    _remask("filled with inf", "p.masked_fill(lowest(p, n), torch.inf)", "You return probabilities"),
    _remask("list", "lowest(p, n).tolist()", "should be a torch tensor"),
    _remask("threshold without axis", "p <= p.kthvalue(n, dim=1).values", "The shapes do not line up"),
    _remask_body("float slice", "n = max(1, N * (T - t) / T)\nreturn p.argsort(dim=1)[:, :n]", "n must be a whole number"),
    _remask_body("in place", "n = max(1, N * (T - t) // T)\np[p > p.kthvalue(n, 1, True).values] = 1\nreturn p < 1", "changed its input"),
    _remask_body("nothing returned", "p < p.median()", "did you forget `return`"),
    _remask("not foreseen", "lowest(p, n).flip(1)", "In each row the n = max(1, N * (T - t) // T) lowest are masked"),
]

SAMPLE = [
    _chance("what is left", "1 - t / T", "the chance that a token is LEFT"),
    _sample("the other side", "torch.where(u > 1 - t / T, mask, x0)", "You mask where u is LARGE"),
    _sample("swapped results", "torch.where(u < t / T, x0, mask)", "two results of the choice are swapped"),
    _sample("swapped comparison", "torch.where(u > t / T, mask, x0)", "two results of the choice are swapped"),
    _chance("one step", "1 / (T - t + 1)", "the chance of the step t ALONE"),
    _chance("one step, off by one", "1 / (T - t)", "the chance of the step t ALONE"),
    _chance("one step, what is left", "1 - 1 / (T - t + 1)", "the chance of the step t ALONE"),
    _chance("sum", "sum(1 / (T - s + 1) for s in range(1, t + 1))", "You add up the chances of the steps"),
    _chance("power", "1 - (1 - 1 / (T - t + 1)) ** t", "You give every step the same chance"),
    _chance("power of 1/T", "1 - (1 - 1 / T) ** t", "You give every step the same chance"),
    _chance("1/T", "1 / T", "You give every step the same chance"),
    _chance("step before", "(t - 1) / T", "that of the step before"),
    _chance("step after", "(t + 1) / T", "that of the step after"),
    _chance("longer chain", "t / (T + 1)", "one step longer"),
    _chance("whole numbers", "t // T", "divide with /"),
    _chance("rounded", "round(t / T)", "rounded to a whole number"),
    _chance("length", "t / x0.shape[1]", "You divide by the length of the text"),
    _chance("upside down", "T / t if t else 0", "Everything is masked"),
    _sample("one draw a row", "torch.where(u[:, :1] < t / T, mask, x0)", "One draw decides for a whole row"),
    _sample("mean draw", "torch.where(u.mean(1, keepdim=True) < t / T, mask, x0)", "One draw decides for a whole row"),
    _sample("first text's draws", "torch.where(u[0] < t / T, mask, x0)", "All texts use the draws of the first one"),
    _sample("exact count", "torch.where(u.argsort(1).argsort(1) < x0.shape[1] * t // T, mask, x0)", "exactly the same number of tokens"),
    _sample_body(
        "exact count, scatter",
        "places = u.argsort(1)[:, :x0.shape[1] * t // T]\nreturn x0.scatter(1, places, mask)",
        "exactly the same number of tokens",
    ),
    _sample("first tokens", "torch.where(torch.arange(x0.shape[1]) < x0.shape[1] * t // T, mask, x0)", "does not depend on u"),
    _sample("own draws", "torch.where(torch.rand(x0.shape) < t / T, mask, x0)", "you draw random numbers of your own"),
    _sample_body(
        "own draws with a seed",
        "u = torch.rand(x0.shape, generator=torch.Generator().manual_seed(0))\nreturn torch.where(u < t / T, mask, x0)",
        "does not depend on u",
    ),
    _sample("bernoulli", "torch.where(torch.bernoulli(torch.full(u.shape, t / T)) > 0, mask, x0)", "you draw random numbers of your own"),
    _sample("nothing", "x0.clone()", "Nothing is masked"),
    _sample_body("result thrown away", "x0.masked_fill(u < t / T, mask)\nreturn x0", "masked_fill returns a new tensor"),
    _sample("everything", "torch.full_like(x0, mask)", "Everything is masked"),
    _sample("others lost", "torch.where(u < t / T, mask, 0)", "The tokens that are not masked are changed"),
    _sample("packed", "x0[u >= t / T]", "only some of the tokens"),
    _sample("where", "u < t / T", "This is WHERE a token is masked"),
    _sample("where, numbers", "(u < t / T).long()", "This is WHERE a token is masked"),
    _sample("kept, numbers", "(u >= t / T).long()", "This is WHERE a token is masked"),
    _sample("id 0", "torch.where(u < t / T, 0, x0)", "You write a fixed id"),
    _sample("id -100", "x0.masked_fill(u < t / T, -100)", "You write a fixed id"),
    _sample("product", "x0 * (u >= t / T)", "You write a fixed id"),
    _sample("a new id", "torch.where(u < t / T, x0.max() + 1, x0)", "You write a fixed id"),
    _sample("added", "x0 + mask * (u < t / T)", "You add the mask's id"),
    _sample("mixture", "x0 * (1 - t / T) + mask * t / T", "You multiply the draws"),
    _sample("floats", "torch.where(u < t / T, float(mask), x0.float())", "Token ids are whole numbers"),
    _sample("float product", "x0 * (u >= t / T).float() + mask * (u < t / T).float()", "Token ids are whole numbers"),
    _sample("not strict", "torch.where(u <= t / T, mask, x0)", "Here a draw is exactly t/T"),
    _sample("not strict, swapped", "torch.where(u > t / T, x0, mask)", "Here a draw is exactly t/T"),
    _sample_body("in place", "x0[u < t / T] = mask\nreturn x0", "changed its input"),
    _sample_body("masked_fill in place", "return x0.masked_fill_(u < t / T, mask)", "changed its input"),
    _sample_body("if", "if u < t / T:\n    return mask\nreturn x0", "`if` needs one truth value"),
    _sample_body("numbers taken for tensors", "return torch.where(u < t.float() / T, mask, x0)", "t, T and mask are plain numbers"),
    _sample("list", "torch.where(u < t / T, mask, x0).tolist()", "should be a torch tensor"),
    _sample_body("nothing returned", "x0.masked_fill(u < t / T, mask)", "did you forget `return`"),
    _sample("not foreseen", "torch.where(u < (t / T) ** 2, mask, x0)", "After t steps a token is masked with chance t/T"),
]

WRONG = [*REMASK, *SAMPLE, *CHAINS, *NOISE]
