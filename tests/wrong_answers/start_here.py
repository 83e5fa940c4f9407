"""Wrong answers to the exercises of notebook 00."""

from __future__ import annotations

from . import WrongAnswer

WRONG = [
    WrongAnswer(
        "start_here.average",
        "mean of log-probabilities",
        """
def average_distributions(log_p, log_q):
    return (log_p + log_q) / 2
""",
        "Does exp() of it sum to 1? exp() of your result sums to 0.541",
    ),
    WrongAnswer(
        "start_here.average",
        "probabilities, not logs",
        """
def average_distributions(log_p, log_q):
    return (log_p.exp() + log_q.exp()) / 2
""",
        "You return probabilities",
    ),
    WrongAnswer(
        "start_here.average",
        "no half",
        """
def average_distributions(log_p, log_q):
    return torch.logaddexp(log_p, log_q)
""",
        "Where is the half?",
    ),
    WrongAnswer(
        "start_here.average",
        "softmax again",
        """
def average_distributions(log_p, log_q):
    return torch.log_softmax((log_p.exp() + log_q.exp()) / 2, dim=-1)
""",
        "been through a softmax already",
    ),
    WrongAnswer(
        "start_here.average",
        "normalised mean of log-probabilities",
        """
def average_distributions(log_p, log_q):
    return torch.log_softmax((log_p + log_q) / 2, dim=-1)
""",
        "a product of the two models (AND)",
    ),
    WrongAnswer(
        "start_here.average",
        "half of the logarithm",
        """
def average_distributions(log_p, log_q):
    return (log_p.exp() + log_q.exp()).log() / 2
""",
        "log(p + q) / 2 is not log((p + q) / 2)",
    ),
    WrongAnswer(
        "start_here.average",
        "epsilon in the logarithm is fine, clamping away -inf is not",
        """
def average_distributions(log_p, log_q):
    both = torch.stack([log_p, log_q])
    return both.where(both.isfinite().all(0), torch.tensor(-torch.inf)).exp().mean(0).log()
""",
        "keeps half of what the other gives it",
    ),
    WrongAnswer(
        "start_here.average",
        "forgets return",
        """
def average_distributions(log_p, log_q):
    result = torch.logaddexp(log_p, log_q) - torch.log(torch.tensor(2.0))
""",
        "did you forget `return`?",
    ),
    WrongAnswer(
        "start_here.average",
        "in place",
        """
def average_distributions(log_p, log_q):
    log_p.exp_()
    return ((log_p + log_q.exp()) / 2).log()
""",
        "changed its input",
    ),
    WrongAnswer(
        "start_here.mix",
        "weights swapped",
        """
def mix(log_p, log_q, lam):
    return ((1 - lam) * log_p.exp() + lam * log_q.exp()).log()
""",
        "the wrong way round",
    ),
    WrongAnswer(
        "start_here.mix",
        "weighted mean of log-probabilities",
        """
def mix(log_p, log_q, lam):
    return lam * log_p + (1 - lam) * log_q
""",
        "weighted mean of log-probabilities",
    ),
    WrongAnswer(
        "start_here.mix",
        "log-linear",
        """
def mix(log_p, log_q, lam):
    return torch.log_softmax(lam * log_p + (1 - lam) * log_q, dim=-1)
""",
        "a product of the two models (AND)",
    ),
    WrongAnswer(
        "start_here.mix",
        "lam not used",
        """
def mix(log_p, log_q, lam):
    return ((log_p.exp() + log_q.exp()) / 2).log()
""",
        "lam is not used",
    ),
    WrongAnswer(
        "start_here.mix",
        "second model not weighted",
        """
def mix(log_p, log_q, lam):
    return (lam * log_p.exp() + log_q.exp()).log()
""",
        "Only the first model is weighted",
    ),
    WrongAnswer(
        "start_here.mix",
        "both weighted by lam",
        """
def mix(log_p, log_q, lam):
    return (lam * (log_p.exp() + log_q.exp())).log()
""",
        "Both models have the weight lam",
    ),
    WrongAnswer(
        "start_here.mix",
        "probabilities, not logs",
        """
def mix(log_p, log_q, lam):
    return lam * log_p.exp() + (1 - lam) * log_q.exp()
""",
        "You return probabilities",
    ),
    WrongAnswer(
        "start_here.mix",
        "softmax again",
        """
def mix(log_p, log_q, lam):
    return torch.log_softmax(lam * log_p.exp() + (1 - lam) * log_q.exp(), dim=-1)
""",
        "softmax to probabilities",
    ),
    WrongAnswer(
        "start_here.temperature",
        "multiplies",
        """
def temperature(log_probs, T):
    return torch.log_softmax(log_probs * T, dim=-1)
""",
        "Divide by T",
    ),
    WrongAnswer(
        "start_here.temperature",
        "does not normalise",
        """
def temperature(log_probs, T):
    return log_probs / T
""",
        "You did not normalise. exp() of your result sums to 1.84",
    ),
    WrongAnswer(
        "start_here.temperature",
        "divides probabilities, then normalises",
        """
def temperature(log_probs, T):
    p = log_probs.exp() / T
    return (p / p.sum()).log()
""",
        "divided the probabilities by T",
    ),
    WrongAnswer(
        "start_here.temperature",
        "divides probabilities",
        """
def temperature(log_probs, T):
    return (log_probs.exp() / T).log()
""",
        "divided the probabilities by T",
    ),
    WrongAnswer(
        "start_here.temperature",
        "softmax of probabilities",
        """
def temperature(log_probs, T):
    return torch.log_softmax(log_probs.exp() / T, dim=-1)
""",
        "softmax to probabilities",
    ),
    WrongAnswer(
        "start_here.temperature",
        "returns probabilities",
        """
def temperature(log_probs, T):
    return torch.softmax(log_probs / T, dim=-1)
""",
        "You return probabilities",
    ),
    WrongAnswer(
        "start_here.temperature",
        "normalises before the division",
        """
def temperature(log_probs, T):
    return torch.log_softmax(log_probs, dim=-1) / T
""",
        "You did not normalise",
    ),
    WrongAnswer(
        "start_here.perplexity",
        "base 2",
        """
def perplexity(token_log_probs):
    return 2 ** (-token_log_probs.mean())
""",
        "Undo them with exp()",
    ),
    WrongAnswer(
        "start_here.perplexity",
        "sum in place of the mean",
        """
def perplexity(token_log_probs):
    return torch.exp(-token_log_probs.sum())
""",
        "You summed in place of taking the mean",
    ),
    WrongAnswer(
        "start_here.perplexity",
        "no exp",
        """
def perplexity(token_log_probs):
    return -token_log_probs.mean()
""",
        "The perplexity is exp() of it",
    ),
    WrongAnswer(
        "start_here.perplexity",
        "no minus",
        """
def perplexity(token_log_probs):
    return token_log_probs.mean().exp()
""",
        "The minus is missing",
    ),
    WrongAnswer(
        "start_here.perplexity",
        "mean of probabilities",
        """
def perplexity(token_log_probs):
    return 1 / token_log_probs.exp().mean()
""",
        "You averaged the probabilities",
    ),
    WrongAnswer(
        "start_here.perplexity",
        "mean of 1/P",
        """
def perplexity(token_log_probs):
    return (1 / token_log_probs.exp()).mean()
""",
        "You averaged 1 / P",
    ),
    WrongAnswer(
        "start_here.perplexity",
        "one value a token",
        """
def perplexity(token_log_probs):
    return torch.exp(-token_log_probs)
""",
        "one for each token. Take their mean",
    ),
    WrongAnswer(
        "start_here.perplexity",
        "a Python list",
        """
def perplexity(token_log_probs):
    return [float(torch.exp(-token_log_probs.mean()))]
""",
        "is a list",
    ),
]
