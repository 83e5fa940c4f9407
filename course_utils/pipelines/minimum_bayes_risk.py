"""Minimum Bayes risk: of a list of guesses, the one that the others agree with most.

utilities = pairwise(lambda guess, truth: -word_errors(truth, guess), guesses)
guesses[minimum_bayes_risk(utilities, nbest_posterior(scores))]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def pairwise(
    utility: Callable[[Any, Any], float], hypotheses: Sequence[Any], references: Sequence[Any] | None = None
) -> Tensor:
    """utility(hypothesis h, reference r) for every pair, (H, R) in float64; without references the hypotheses serve.

    The first argument is what might be said, the second what might be true: word error rate and BLEU are not symmetric.
    """
    references = hypotheses if references is None else references
    return torch.tensor([[float(utility(h, r)) for r in references] for h in hypotheses], dtype=torch.float64)


def expected_utilities(utilities: Tensor, weights: Tensor | None = None) -> Tensor:
    """sum over r of P(r) u(h, r) of each hypothesis: utilities (..., H, R), weights (..., R) -> (..., H).

    weights: P(r), as from `nbest_posterior`; None for samples, which count alike, as often as they were drawn.
    Raises ValueError: shapes that do not fit, weights that are negative or do not sum to 1.
    Source: Kumar and Byrne (2004); Eikema and Aziz (2022), for samples.
    """
    if weights is None:
        return utilities.mean(dim=-1)
    if utilities.shape[-1] != weights.shape[-1]:
        raise ValueError(f"{utilities.shape[-1]} references have {weights.shape[-1]} weights: give one for each")
    if (weights < 0).any() or not torch.allclose(weights.sum(-1), weights.new_ones(()), atol=1e-4):
        raise ValueError("weights are probabilities of the references: none below 0, and their sum is 1")
    return (utilities * weights[..., None, :].to(utilities.dtype)).sum(dim=-1)


def minimum_bayes_risk(utilities: Tensor, weights: Tensor | None = None) -> Tensor:
    """The index of the hypothesis of highest expected utility, (...,); of equal ones the first. Arguments and errors
    as `expected_utilities`."""
    return expected_utilities(utilities, weights).argmax(dim=-1)
