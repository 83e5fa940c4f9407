"""An answer made better in several steps: mask-predict (all positions at once, again and again), Self-Refine (criticise and rewrite).

`two_rate` says when the second kind can help at all. The models behind it are in `chat`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import lsq_linear
from torch import Tensor

__all__ = ["Refined", "Step", "TwoRates", "fit_two_rates", "fixed_point", "mask_predict", "remask", "self_refine", "two_rate"]


class Step(NamedTuple):
    """The state after one iteration of `mask_predict`: tokens (B, N), their probabilities (B, N), and masked (B, N), the positions that
    were [MASK] going into it and so were predicted by it."""

    tokens: Tensor
    probabilities: Tensor
    masked: Tensor


def remask(probabilities: Tensor, t: int, iterations: int, fillable: Tensor | None = None) -> Tensor:
    """Which positions are masked again before iteration t of T: the n = floor(N (T - t) / T) of lowest probability, at least one.

    probabilities (B, N), each position's when it was last predicted; fillable (B, N), True where a position may be masked (None: all);
    N counts those of its row. Returns (B, N), True where masked; of equal probabilities the first. A row without any gets none.
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
        raise ValueError(f"fillable {tuple(fillable.shape)} must have the shape of probabilities {tuple(probabilities.shape)}")
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
    start: tokens (B, N), `mask_id` where a token is wanted; all others (a prompt, padding) stay and do not count in N. Or the lengths
        of B rows that are masked throughout; if they differ, the rest of a row is `pad_id`.
    Iteration t = 0 predicts every mask, t = 1..T-1 the ones that `remask` chooses. The probability of a token that is not masked stays
        as it was when it was predicted, even if the context has changed since. [MASK] itself is never predicted.
    generator: None takes the most probable token (of equal ones the first); with one, tokens are drawn, each position by itself.
    Returns the tokens (B, N) and the T steps. Probabilities of given tokens are 1.
    Raises ValueError: iterations < 1, nothing to fill, lengths below 1 or different without pad_id, log-probabilities of another shape.
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
        raise ValueError("start must be tokens (B, N) or the lengths of B rows, whole numbers from 1 up, as [7] or [5, 7]")
    if pad_id is None and lengths.min() < lengths.max():
        raise ValueError("rows of different lengths need pad_id, the token that fills the shorter ones up")
    if pad_id == mask_id:
        raise ValueError(f"pad_id and mask_id are both {mask_id}: they must be two tokens")
    outside = torch.arange(lengths.max()) >= lengths[:, None]
    return torch.full(outside.shape, mask_id).masked_fill(outside, mask_id if pad_id is None else pad_id)


def _predicted(predict: Callable, tokens: Tensor, mask_id: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """The chosen token at every position and its probability, both (B, N)."""
    log_probs = predict(tokens)
    if log_probs.dim() != 3 or log_probs.shape[:2] != tokens.shape:
        raise ValueError(f"predict must return log-probabilities (B, N, V) for tokens {tuple(tokens.shape)}, got {tuple(log_probs.shape)}")
    choice = log_probs.float().clone()
    if mask_id < choice.shape[-1]:
        choice[..., mask_id] = -torch.inf
    if generator is None:
        new = choice.argmax(dim=-1)
    else:
        new = torch.multinomial(choice.softmax(dim=-1).flatten(0, 1), 1, generator=generator).view(tokens.shape)
    return new, choice.gather(-1, new[..., None])[..., 0].exp()


class Refined(NamedTuple):
    """What `self_refine` did: all answers y_0 .. y_n, the feedback on each that was criticised, and whether `stop` ended it."""

    answers: list[Any]
    feedbacks: list[Any]
    stopped: bool

    @property
    def answer(self) -> Any:
        """The last one. Not the best: nobody here knows which that is."""
        return self.answers[-1]


def self_refine(
    x: Any,
    generate: Callable[[Any], Any],
    feedback: Callable[[Any, Any], Any],
    refine: Callable[[Any, list[tuple[Any, Any]]], Any],
    stop: Callable[[Any, int], bool],
    max_rounds: int = 4,
) -> Refined:
    """y_0 = generate(x); for t = 0, 1, ...: fb_t = feedback(x, y_t); if stop(fb_t, t): end; y_{t+1} = refine(x, history).

    history: [(y_0, fb_0), ..., (y_t, fb_t)], all of it, oldest first, so that a model need not repeat its old mistakes. After `max_rounds`
    rewrites it ends without another feedback; 0: only generate. What the callables raise is passed on.
    Raises ValueError: max_rounds < 0.
    Source: Madaan et al. (2023), "Self-Refine", algorithm 1.
    """
    if max_rounds < 0:
        raise ValueError(f"max_rounds must be at least 0, got {max_rounds}")
    answers, feedbacks = [generate(x)], []
    for t in range(max_rounds):
        feedbacks.append(feedback(x, answers[-1]))
        if stop(feedbacks[-1], t):
            return Refined(answers, feedbacks, True)
        answers.append(refine(x, list(zip(answers, feedbacks))))
    return Refined(answers, feedbacks, False)


def two_rate(a0: float | np.ndarray, fix: float | np.ndarray, breaks: float | np.ndarray, rounds: int) -> np.ndarray:
    """Accuracy after each round if every round repairs a wrong answer with probability f and breaks a right one with probability c.

    a_{t+1} = a_t (1 - c) + (1 - a_t) f, hence a_t = a* + (a_0 - a*) (1 - f - c)^t with a* = f / (f + c): one round helps if a_0 < a*.
    a0, fix = f and breaks = c in [0, 1], numbers or arrays of fitting shapes (...). Returns (..., rounds + 1), from a_0.
    Raises ValueError: a value outside [0, 1], rounds < 0.
    """
    a0, fix, breaks = _fractions(a0=a0, fix=fix, breaks=breaks)
    if rounds < 0:
        raise ValueError(f"rounds must be at least 0, got {rounds}")
    decay = (1 - fix - breaks)[..., None] ** np.arange(rounds + 1)
    total = fix + breaks
    target = np.divide(fix, total, out=np.zeros_like(total), where=total > 0)  # f = c = 0: decay is 1, nothing moves
    return a0[..., None] * decay + target[..., None] * (1 - decay)


def fixed_point(fix: float | np.ndarray, breaks: float | np.ndarray) -> np.ndarray:
    """a* = f / (f + c), the accuracy that rounds lead to from anywhere (except f = c = 1, which swings forever).

    Raises ValueError: a rate outside [0, 1]; both 0, where every accuracy stays as it is.
    """
    fix, breaks = _fractions(fix=fix, breaks=breaks)
    if ((fix + breaks) == 0).any():
        raise ValueError("with fix = breaks = 0 every accuracy stays where it is: there is no single fixed point")
    return fix / (fix + breaks)


class TwoRates(NamedTuple):
    """Fitted rates, and the largest error of the accuracies that they predict one round ahead."""

    fix: float
    breaks: float
    error: float


def fit_two_rates(accuracies: Sequence[float] | Sequence[Sequence[float]], breaks: float | None = None) -> TwoRates:
    """The rates f, c in [0, 1] that best explain accuracies by round: least squares on a_{t+1} = (1 - c) a_t + f (1 - a_t).

    accuracies: one trajectory [a_0, a_1, ...] or several that share the rates (one table row a model needs one fit a model); fractions.
    breaks: c if it is known, as 0 for an oracle that lets only wrong answers be changed; then one round is enough.
    Assumptions: f and c are the same in every round and for every item, and the published accuracies are exact. Neither is so: items are
    not equally hard (what was not repaired at first is harder to repair), and 200 items give an accuracy to within 2 or 3 points (one
    standard error). Two rounds are fitted perfectly whenever the rates come out inside [0, 1]: error = 0 is then no evidence.
    Raises ValueError: accuracies outside [0, 1] (percent: divide by 100); fewer rounds than unknown rates, or rounds that all start from
    one accuracy.
    """
    rows = [accuracies] if np.ndim(accuracies[0]) == 0 else accuracies
    rows = [_fractions(accuracies=row)[0] for row in rows]
    now, after = np.concatenate([row[:-1] for row in rows]), np.concatenate([row[1:] for row in rows])
    columns = np.column_stack([1 - now, -now])  # (transitions, 2): a' - a = f (1 - a) - c a
    change = after - now
    if breaks is not None:
        (known,) = _fractions(breaks=breaks)
        change, columns = change + known * now, columns[:, :1]
    if not len(now) or np.linalg.matrix_rank(columns, tol=1e-9) < columns.shape[1]:
        raise ValueError("these accuracies do not determine the rates: give two rounds that start from different accuracies, or breaks=")
    rates = lsq_linear(columns, change, bounds=(0, 1), method="bvls").x
    fix, broken = float(rates[0]), float(rates[1]) if breaks is None else float(breaks)
    return TwoRates(fix, broken, float(np.abs(now * (1 - broken) + (1 - now) * fix - after).max()))


def _fractions(**values: Any) -> list[np.ndarray]:
    """Arrays of one broadcast shape, each value checked to be in [0, 1]."""
    arrays = [np.asarray(value, dtype=float) for value in values.values()]
    for name, array in zip(values, arrays):
        if not ((array >= 0) & (array <= 1)).all():
            raise ValueError(f"{name} must be in [0, 1] (percent: divide by 100), got {array.tolist()}")
    return [array.copy() for array in np.broadcast_arrays(*arrays)]
