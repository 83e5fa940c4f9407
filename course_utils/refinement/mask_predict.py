"""Mask-predict: all positions of a text are predicted at once, then the least certain ones again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Step(NamedTuple):
    """The state after one iteration of `mask_predict`: tokens (B, N), their probabilities (B, N), and masked (B, N),
    the positions that were [MASK] going into it and so were predicted by it."""

    tokens: Tensor
    probabilities: Tensor
    masked: Tensor


def remask(probabilities: Tensor, t: int, iterations: int, fillable: Tensor | None = None) -> Tensor:
    """Which positions are masked again before iteration t of T: the n = floor(N (T - t) / T) of lowest probability, at
    least one.

    probabilities (B, N), each position's when it was last predicted; fillable (B, N), True where a position may be
    masked (None: all); N counts those of its row. Returns (B, N), True where masked; of equal probabilities the first.
    A row without any gets none.
    Raises ValueError: t outside 1..T-1, shapes that differ.
    Source: Ghazvininejad et al. (2019), section 3.2; at least one: their code, `strategies/strategy_utils.py`.
    """
    if not 1 <= t < iterations:
        raise ValueError(f"t must be in 1..{iterations - 1}, one of the iterations after the first, got {t}")
    if probabilities.dim() != 2:
        raise ValueError(f"probabilities must be (B, N), got {tuple(probabilities.shape)}")
    if fillable is None:
        fillable = torch.ones_like(probabilities, dtype=torch.bool)
    if fillable.shape != probabilities.shape:
        raise ValueError(
            f"fillable {tuple(fillable.shape)} must have the shape of probabilities {tuple(probabilities.shape)}"
        )
    length = fillable.sum(dim=1, keepdim=True)  # (B, 1): N of each row
    count = (length * (iterations - t) // iterations).clamp(min=1).minimum(length)
    order = probabilities.masked_fill(~fillable, torch.inf).argsort(dim=1, stable=True)
    rank = order.argsort(dim=1)  # (B, N): 0 for the least certain position
    return rank < count


@torch.no_grad()
def mask_predict(
    predict: Callable[[Tensor], Tensor],
    start: Tensor | Sequence[int],
    mask_id: int,
    iterations: int,
    pad_id: int | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, list[Step]]:
    """Fill all masks at once, then T - 1 times mask the least certain tokens again and predict them given the others.

    predict: tokens (B, N) -> log P(token at each position | the unmasked ones) (B, N, V).
    start: tokens (B, N), `mask_id` where a token is wanted; all others (a prompt, padding) stay and do not count in N.
    Or the lengths
        of B rows that are masked throughout; if they differ, the rest of a row is `pad_id`.
    Iteration t = 0 predicts every mask, t = 1..T-1 the ones that `remask` chooses. The probability of a token that is
    not masked stays
        as it was when it was predicted, even if the context has changed since. [MASK] itself is never predicted.
    generator: None takes the most probable token (of equal ones the first); with one, tokens are drawn, each position
    by itself.
    Returns the tokens (B, N) and the T steps. Probabilities of given tokens are 1.
    Raises ValueError: iterations < 1, nothing to fill, lengths below 1 or different without pad_id, log-probabilities
    of another shape.
    Source: Ghazvininejad et al. (2019), "Mask-Predict", section 3.
    """
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    tokens = _start(start, mask_id, pad_id)
    fillable = tokens == mask_id
    if not fillable.any():
        raise ValueError(f"nothing to fill: no token of start is mask_id = {mask_id}")
    probabilities, masked, steps = torch.ones(tokens.shape), fillable, []
    for t in range(iterations):
        if t > 0:
            masked = remask(probabilities, t, iterations, fillable)
        new, new_probabilities = _predicted(predict, tokens.masked_fill(masked, mask_id), mask_id, generator)
        tokens = new.where(masked, tokens)
        probabilities = new_probabilities.where(masked, probabilities)
        steps.append(Step(tokens, probabilities, masked))
    return tokens, steps


def _start(start: Tensor | Sequence[int], mask_id: int, pad_id: int | None) -> Tensor:
    if isinstance(start, Tensor) and start.dim() == 2:
        if start.dtype != torch.long:
            raise ValueError(f"start must be token ids (torch.long), got {start.dtype}")
        return start
    lengths = torch.as_tensor(start)
    if lengths.dim() != 1 or lengths.dtype != torch.long or not len(lengths) or lengths.min() < 1:
        raise ValueError(
            "start must be tokens (B, N) or the lengths of B rows, whole numbers from 1 up, as [7] or [5, 7]"
        )
    if pad_id is None and lengths.min() < lengths.max():
        raise ValueError("rows of different lengths need pad_id, the token that fills the shorter ones up")
    if pad_id == mask_id:
        raise ValueError(f"pad_id and mask_id are both {mask_id}: they must be two tokens")
    outside = torch.arange(lengths.max()) >= lengths[:, None]
    return torch.full(outside.shape, mask_id).masked_fill(outside, mask_id if pad_id is None else pad_id)


def _predicted(
    predict: Callable, tokens: Tensor, mask_id: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """The chosen token at every position and its probability, both (B, N)."""
    log_probs = predict(tokens)
    if log_probs.dim() != 3 or log_probs.shape[:2] != tokens.shape:
        raise ValueError(
            f"predict must return log-probabilities (B, N, V) for tokens {tuple(tokens.shape)}, got "
            f"{tuple(log_probs.shape)}"
        )
    choice = log_probs.float().clone()
    if mask_id < choice.shape[-1]:
        choice[..., mask_id] = -torch.inf
    if generator is None:
        new = choice.argmax(dim=-1)
    else:
        new = torch.multinomial(choice.softmax(dim=-1).flatten(0, 1), 1, generator=generator).view(tokens.shape)
    return new, choice.gather(-1, new[..., None])[..., 0].exp()
