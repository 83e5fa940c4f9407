"""Wrong answers to the exercises of notebook 00 that a declared mistake cannot show."""

from __future__ import annotations

from . import WrongAnswer, function

SIGNATURES = {
    "temperature": "log_probs, T",
    "perplexity": "token_log_probs",
    "average": "log_p, log_q",
    "mix": "log_p, log_q, lam",
}


def _wrong(exercise: str, label: str, says: str, *lines: str) -> WrongAnswer:
    code = function(f"answer({SIGNATURES[exercise]})", "\n".join(lines))
    return WrongAnswer(f"start_here.{exercise}", label, code, says)


PROBABILITIES = "You return probabilities"
WRONG = [
    _wrong("temperature", "not normalised", "exp() of your result sums to 1.84 instead of 1", "return log_probs / T"),
    _wrong("temperature", "probabilities", PROBABILITIES, "return torch.softmax(log_probs / T, dim=-1)"),
    _wrong("temperature", "normalised first", "You did not normalise", "return log_probs.log_softmax(-1) / T"),
    _wrong("perplexity", "a list", "is a list", "return [float(torch.exp(-token_log_probs.mean()))]"),
    _wrong(
        "perplexity", "a product", "underflow", "return token_log_probs.exp().prod() ** (-1 / len(token_log_probs))"
    ),
    _wrong("perplexity", "in doubles", "The minus is missing", "return token_log_probs.double().mean().exp()"),
    _wrong("average", "probabilities", PROBABILITIES, "return (log_p.exp() + log_q.exp()) / 2"),
    _wrong("average", "no half", "Where is the half?", "return torch.logaddexp(log_p, log_q)"),
    _wrong(
        "average",
        "a member's zero vetoes",
        "keeps half of what the other gives it",
        "both = torch.stack([log_p, log_q])",
        "return both.where(both.isfinite().all(0), torch.tensor(-torch.inf)).exp().mean(0).log()",
    ),
    _wrong("average", "a small constant", "small constant", "return ((log_p.exp() + log_q.exp()) / 2 + 1e-9).log()"),
    _wrong("average", "nothing returned", "did you forget `return`?", "torch.logaddexp(log_p, log_q)"),
    _wrong("average", "in place", "changed its input", "log_p.exp_()", "return ((log_p + log_q.exp()) / 2).log()"),
    _wrong("mix", "probabilities", PROBABILITIES, "return lam * log_p.exp() + (1 - lam) * log_q.exp()"),
]
