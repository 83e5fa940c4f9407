"""Negative evidence: two models, one of what is wanted and one of what is not wanted, steer a third one.

The difference of log-probabilities log P_pos - log P_neg is added to the core model's (DExperts; domain differential
adaptation in machine translation), among tokens that are plausible at all (nucleus, contrastive decoding's mask).
"""

import torch
from torch import Tensor

from course_utils.ensembling.interpolation import loglinear_interpolation


def negative_evidence(
    core: Tensor, positive: Tensor | None, negative: Tensor | None, lam: float | Tensor, top_p: float | None = None
) -> Tensor:
    """softmax(log P_core + lam (log P_pos - log P_neg)): the log-linear interpolation with weights (1, lam, -lam).

    core, positive, negative (..., V) log-probabilities or logits; a missing (None) positive or negative is the core.
    With ``top_p`` the nucleus of the CORE is taken FIRST and nothing else can be emitted. lam is a number or (...);
    below 0 it swaps the roles. Returns (..., V) log-probabilities; lam = 0 gives the (truncated) core back.
    Raises ValueError: vocabularies that differ, top_p outside (0, 1], and as ``loglinear_interpolation``.
    Source: Liu et al. (2021), DExperts, section 2; Dou et al. (2019) for the same difference in machine translation.
    """
    positive = core if positive is None else positive
    negative = core if negative is None else negative
    if top_p is not None:
        core = core.masked_fill(~_nucleus(core, top_p), -torch.inf)
    lam = torch.as_tensor(lam, dtype=core.dtype, device=core.device)
    return loglinear_interpolation([core, positive, negative], torch.stack([torch.ones_like(lam), lam, -lam]))


def plausible_mask(log_probs: Tensor, alpha: float) -> Tensor:
    """True where P(y) >= alpha max_y' P(y'): the tokens the expert itself finds plausible.

    log_probs (..., V), alpha in (0, 1]. Returns (..., V) booleans, True for at least the most probable token.
    Raises ValueError: alpha outside (0, 1]. Source: Li et al. (2023), contrastive decoding, equation 2.
    """
    if not 0 < alpha <= 1:
        raise ValueError(f"alpha must be above 0 and at most 1, got {alpha}")
    return log_probs >= log_probs.amax(dim=-1, keepdim=True) + torch.tensor(alpha, dtype=torch.float64).log().item()


def _nucleus(logits: Tensor, top_p: float) -> Tensor:
    """True for the smallest set of most probable tokens with mass >= top_p (Holtzman et al. 2020, section 3.1)."""
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, got {top_p}")
    probs, order = logits.softmax(dim=-1).sort(dim=-1, descending=True)
    keep = (probs.cumsum(dim=-1) - probs < top_p) | (top_p == 1)  # mass BEFORE the token: the first always stays
    return torch.zeros_like(keep).scatter(-1, order, keep)
