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
POWERS = "p = log_probs.exp() ** (1 / T)"
LOG_LAM = "return torch.logaddexp(log_p + math.log(1 - lam), log_q + math.log(lam))"
OWN_LOGSUMEXP = ["m = torch.maximum(log_p, log_q)", "return m + (((log_p - m).exp() + (log_q - m).exp()) / 2).log()"]
WRONG = [
    _wrong("temperature", "not normalised", "exp() of your result sums to 1.84 instead of 1", "return log_probs / T"),
    _wrong("temperature", "normalised first", "You did not normalise", "return log_probs.log_softmax(-1) / T"),
    _wrong("temperature", "powers underflow", "Is p^(1/T) 0 for all", POWERS, "return (p / p.sum()).log()"),
    _wrong("temperature", "clamped", "small constant", "return (log_probs.clamp(min=-30) / T).log_softmax(-1)"),
    _wrong("perplexity", "a list", "is a list", "return [float(torch.exp(-token_log_probs.mean()))]"),
    _wrong("perplexity", "in doubles", "The minus is missing", "return token_log_probs.double().mean().exp()"),
    _wrong("perplexity", "a limit", "has perplexity inf", "return torch.exp(-token_log_probs.clamp(min=-20).mean())"),
    _wrong("average", "no half", "Where is the half?", "return torch.logaddexp(log_p, log_q)"),
    _wrong("average", "over the tokens", "V tokens: missing", "return torch.stack([log_p, log_q]).exp().mean(1).log()"),
    _wrong(
        "average",
        "a member's zero vetoes",
        "keeps half of what the other gives it",
        "both = torch.stack([log_p, log_q])",
        "return both.where(both.isfinite().all(0), torch.tensor(-torch.inf)).exp().mean(0).log()",
    ),
    _wrong("average", "nan where both are -inf", "Your average holds nan", *OWN_LOGSUMEXP),
    _wrong("average", "a small constant", "small constant", "return ((log_p.exp() + log_q.exp()) / 2 + 1e-9).log()"),
    _wrong("average", "nothing returned", "did you forget `return`?", "torch.logaddexp(log_p, log_q)"),
    _wrong("average", "in place", "changed its input", "log_p.exp_()", "return ((log_p + log_q.exp()) / 2).log()"),
    _wrong("mix", "probabilities", PROBABILITIES, "return (1 - lam) * log_p.exp() + lam * log_q.exp()"),
    _wrong("mix", "the logarithm of lam", "lam may be 0 or 1", LOG_LAM),
]
