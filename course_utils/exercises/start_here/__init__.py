"""The exercises of notebook 00, in its order: temperature and perplexity of one model, then the average and the mixture
of two, and what a mixture gains."""

import torch
from torch import Tensor

ORDER = ("temperature", "perplexity", "average", "mix", "disagreement")

# Two models over a vocabulary of five tokens that disagree.
LOG_P = torch.tensor([0.70, 0.15, 0.10, 0.04, 0.01]).log()
LOG_Q = torch.tensor([0.05, 0.05, 0.10, 0.20, 0.60]).log()


def added(log_p: Tensor, log_q: Tensor, a: float, b: float) -> Tensor:
    """log(a p + b q)."""
    return (a * log_p.exp() + b * log_q.exp()).log()


def sizes(log_p: Tensor, *_: object) -> dict[int, str]:
    return {2: "2 models", len(log_p): "V tokens"}
