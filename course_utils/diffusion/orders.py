"""The order in which masks become tokens, and tokens that become masks again.

`discrete.sample` decides each mask by a coin that knows nothing of the text. Here a model may decide first what it is
sure of (`write_in_order`), or take back what it has written (`write_and_forget`). predict: tokens (B, N) -> log P(token
at each place | the tokens that are there), (B, N, V), as in `refinement.mask_predict`; the mask itself is never drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Predict = Callable[[Tensor], Tensor]


def unmask_most_confident(tokens: Tensor, drawn: Tensor, confidence: Tensor, n: int, mask: int) -> Tensor:
    """In each row the n masked places of highest confidence get their drawn token, all of them if there are fewer.

    tokens, drawn (B, N): ids; confidence (B, N), of which only the masked places count. All other places stay as they
    are. Returns (B, N). Of equal confidences the first.
    Raises ValueError: shapes that differ, n < 0. Source: Chang et al. (2022), MaskGIT; Nie et al. (2025), LLaDA
    (low-confidence remasking: what is not chosen stays masked).
    """
    if not tokens.shape == drawn.shape == confidence.shape or tokens.dim() != 2:
        shapes = ", ".join(str(tuple(x.shape)) for x in (tokens, drawn, confidence))
        raise ValueError(f"tokens, drawn and confidence must have one shape (B, N), got {shapes}")
    if n < 0:
        raise ValueError(f"n must be 0 or more, got {n}")
    masked = tokens == mask
    order = confidence.masked_fill(~masked, -math.inf).argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1)  # (B, N): 0 for the most confident
    return drawn.where(masked & (rank < n), tokens)


@torch.no_grad()
def write_in_order(
    predict: Predict,
    start: Tensor,
    mask: int,
    steps: int,
    tau: float = 0.0,
    generator: torch.Generator | None = None,
    return_history: bool = False,
) -> Tensor:
    """Masks become tokens in `steps` even parts, each row's most confident ones first: ids (B, N) -> (B, N).

    In each step a token is drawn at every mask from `predict`, and the next part is kept, by

        log P(drawn token) + tau gumbel.

    tau = 0 is the order of confidence, tau = infinity a random order; between them lies the choice temperature of
    MaskGIT. All tau draw the same random numbers. start: every row has the same number of masks; other tokens stay.
    With `return_history` all states, (steps + 1, B, N). Raises ValueError: steps outside 1..masks of a row, tau < 0,
    rows with different numbers of masks. Source: Chang et al. (2022), MaskGIT; Nie et al. (2025),
    LLaDA, with the most probable token of each mask in place of a drawn one.
    """
    masks = (start == mask).sum(dim=1)
    total = int(masks.max()) if len(masks) else 0
    if (masks != total).any() or not 1 <= steps <= total:
        raise ValueError(f"each row needs the same number of masks, and at least steps = {steps}, got {masks.tolist()}")
    if not tau >= 0:
        raise ValueError(f"tau must be 0 (confidence) or more, infinity for a random order, got {tau}")
    x, history = start, [start]
    for i in range(steps):
        drawn, log_p = _draw(predict(x), mask, generator)
        gumbel = -(-torch.rand(x.shape, generator=generator, device=x.device).clamp_min(1e-30).log()).log()
        score = gumbel if math.isinf(tau) else log_p + tau * gumbel
        now, before = round(total * (i + 1) / steps), round(total * i / steps)
        x = unmask_most_confident(x, drawn, score, now - before, mask)
        history.append(x)
    return torch.stack(history) if return_history else x


@torch.no_grad()
def write_and_forget(
    predict: Predict,
    start: Tensor,
    mask: int,
    steps: int,
    eta: float,
    generator: torch.Generator | None = None,
    return_history: bool = False,
) -> Tensor:
    """Masks become tokens, and tokens masks again; after step i, i / steps of them are written: (B, N) -> (B, N).

    With a = i / steps before and b = (i + 1) / steps after a step, sigma = min(eta, (1 - b) / a), at most 1:

        a token becomes the mask with chance sigma,
        a mask a token drawn from `predict` with chance (b - (1 - sigma) a) / (1 - a).

    eta = 0 is `discrete.sample` of the absorbing process. Tokens of `start` that are not masked are never touched. With
    `return_history` all states, (steps + 1, B, N). Raises ValueError: steps < 1, eta outside [0, 1].
    Source: Wang et al. (2025), ReMDM, equation 7 and section 4.1 (cap).
    """
    if steps < 1 or not 0 <= eta <= 1:
        raise ValueError(f"steps must be at least 1 and eta from 0 to 1, got {steps} and {eta}")
    x, free, history = start, start == mask, [start]
    for i in range(steps):
        a, b = i / steps, (i + 1) / steps
        sigma = min(eta, (1 - b) / a) if i else 0.0  # before the first step nothing is written
        drawn, _ = _draw(predict(x), mask, generator)
        coin = torch.rand(x.shape, generator=generator, device=x.device)
        written = (x == mask) & (coin < (b - (1 - sigma) * a) / (1 - a))
        forgotten = (x != mask) & free & (coin < sigma)
        x = drawn.where(written, x).masked_fill(forgotten, mask)
        history.append(x)
    return torch.stack(history) if return_history else x


def _draw(log_probs: Tensor, mask: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """A token for each place and its log-probability, (B, N) each; the mask's column, if there is one, is left out."""
    if mask < log_probs.shape[-1]:
        log_probs = log_probs.index_fill(-1, torch.tensor(mask), -math.inf).log_softmax(dim=-1)
    drawn = torch.multinomial(log_probs.exp().flatten(0, 1), 1, generator=generator).view(log_probs.shape[:2])
    return drawn, log_probs.gather(-1, drawn[..., None])[..., 0]
