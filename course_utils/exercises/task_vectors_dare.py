"""Tests of 04_task_vectors_and_merging: drop and rescale. Any right way to draw passes: what is tested is statistics."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from course_utils.exercises import task_vectors_dare_mistakes as wrong
from course_utils.exercises.engine import Mistake, close
from course_utils.exercises.mistakes import near
from course_utils.exercises.task_vectors_checks import shaped, tried, vectors

SIGMAS = 4.5  # how far chance may go: once in 150 000 times further


def _drawn(answer: Callable, tau: Tensor, p: float, generator: Generator) -> Tensor:
    """One draw, as float64. Raises Mistake unless it has the shape of tau and holds numbers."""
    got = tried(answer, tau, p, generator, clash=wrong.CLASH, complaints=wrong.COMPLAINTS)
    if isinstance(got, Tensor) and got.dtype == torch.bool:
        raise Mistake(wrong.MASK)
    if isinstance(got, Tensor) and got.dim() == 1 and got.shape != tau.shape:
        raise Mistake(wrong.ONLY_KEPT + f" (Yours has shape {tuple(got.shape)}, tau has {tuple(tau.shape)}.)")
    got = shaped(got, tau, {}, wrong.CLASH, "the result")
    if not got.isfinite().all():
        raise Mistake(wrong.NOT_FINITE)
    return got


def _check(got: Tensor, tau: Tensor, p: float) -> None:
    """tau (d,) without zeros, thousands of entries; 0 < p < 1. Raises Mistake."""
    tau = tau.double()
    if hint := _not_tau(got, tau, p):
        raise Mistake(hint)
    dropped, kept = got == 0, got != 0
    share, factors = dropped.double().mean().item(), got[kept] / tau[kept]
    scale = factors.median().item() if len(factors) else math.nan
    if share == 1:
        raise Mistake(wrong.ALL_GONE)
    if (factors - scale).abs().max() > 1e-3 * abs(scale):
        i, j = (int(kept.nonzero()[place, 0]) for place in (factors.argmin(), factors.argmax()))
        raise Mistake(
            f"The entries that stay are not all multiplied by one number: {tau[i].item():.4g} became {got[i].item():.4g},"
            f" and {tau[j].item():.4g} became {got[j].item():.4g}. Each is divided by 1 - p = {1 - p:.3g}."
        )
    if share == 0:
        raise Mistake(wrong.none_dropped(scale, p))
    if hint := _which(tau.abs(), dropped, p):
        raise Mistake(hint)
    chance = SIGMAS * math.sqrt(p * (1 - p) / len(tau))
    if abs(share - p) > chance:
        swapped = abs(share - (1 - p)) <= chance
        raise Mistake(wrong.keep_rate(scale, p) if swapped else wrong.another_rate(share, p, len(tau)))
    if not math.isclose(scale, 1 / (1 - p), rel_tol=1e-5):
        l1, l2 = ((tau.norm(p=order) / tau[kept].norm(p=order)).item() for order in (1, 2))
        raise Mistake(wrong.factor(scale, p, counted=1 / (1 - share), l1=l1, l2=l2))


def _not_tau(got: Tensor, tau: Tensor, p: float) -> str:
    """Results in which no entry of tau can be seen."""
    values = got[got != 0].unique()
    if len(values) == 1:
        return wrong.MASK
    if len(values) and not (got == 0).any():
        noise = (got / tau - 1).std()
        if noise > 1e-3:
            return wrong.NOISE
    if len(values) and not (got < 0).any():
        return wrong.ABSOLUTE if (got[tau < 0] > 0).any() else wrong.NO_NEGATIVE
    return ""


def _which(size: Tensor, dropped: Tensor, p: float) -> str:
    """Is it chance that decides which entries go? size (d,): their magnitudes, in a random order."""
    out, stay = size[dropped], size[~dropped]
    if out.max() <= stay.min():
        return wrong.SMALLEST
    if out.min() >= stay.max():
        return wrong.LARGEST
    places = dropped.nonzero()[:, 0]
    if places.max() - places.min() == len(places) - 1:
        return wrong.BLOCK
    difference = (out.mean() - stay.mean()).item() / size.std().item()
    if abs(difference) > SIGMAS * math.sqrt(1 / len(out) + 1 / len(stay)):
        return wrong.BY_SIZE.format("smaller" if difference < 0 else "larger", out.mean(), stay.mean())
    return ""


def seeded(seed: int) -> Generator:
    return torch.Generator().manual_seed(seed)


def dare_once(answer: Callable) -> None:
    """20 000 numbers, p = 0.3: about 30 % become 0, whatever their size, and the others are tau / 0.7"""
    tau = vectors(1, 20_000, seed=471)[0]
    _check(_drawn(answer, tau, 0.3, seeded(2)), tau, 0.3)


def dare_rows(answer: Callable) -> None:
    """three tasks of 6000 numbers, p = 0.6: every entry of every task has its own coin"""
    tau, p = vectors(3, 6000, seed=472), 0.6
    got = _drawn(answer, tau, p, seeded(1))
    dropped = got == 0
    if any(row.all() or not row.any() for row in dropped):
        raise Mistake(wrong.ONE_COIN)
    for mine, row in zip(got, tau):
        _check(mine, row, p)
    same_coin, chance = p**2 + (1 - p) ** 2, SIGMAS * math.sqrt(0.25 / 6000)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        alike = (dropped[i] == dropped[j]).double().mean().item()
        if alike > 0.99:
            raise Mistake(wrong.ONE_MASK)
        if abs(alike - same_coin) > chance:
            raise Mistake(wrong.DEPENDENT.format(i, j, alike, same_coin))


def dare_generator(answer: Callable) -> None:
    """the random numbers come from `generator`: equal seeds drop equal entries, another seed and another call do not"""
    tau, p = vectors(1, 400, seed=473)[0], 0.5
    generator = seeded(3)
    first, second, again, other = (
        _drawn(answer, tau, p, source) for source in (generator, generator, seeded(3), seeded(4))
    )
    if not near(first, again):
        raise Mistake(wrong.IGNORED)
    if near(first, other):
        raise Mistake(wrong.SAME_ALWAYS)
    if near(first, second):
        raise Mistake(wrong.SAME_EACH_CALL)


def dare_mean(answer: Callable) -> None:
    """over 1500 draws of 12 numbers, p = 0.5, each number has the mean that it had before"""
    tau, p, draws, generator = 0.5 + vectors(1, 12, seed=474)[0].abs(), 0.5, 1500, seeded(5)
    got = torch.stack([_drawn(answer, tau, p, generator) for _ in range(draws)])
    counts = (got == 0).sum(1)
    if counts.min() == counts.max():
        raise Mistake(wrong.EXACT_COUNT.format(int(counts[0]), draws))
    off = (got.mean(0) - tau) / (tau * math.sqrt(p / (1 - p) / draws))
    if off.abs().max() > SIGMAS:
        place = int(off.abs().argmax())
        raise Mistake(wrong.BIASED.format(tau[place], got[:, place].mean(), (got[:, place] == 0).double().mean()))
    spread = counts.double().var().item() / (len(tau) * p * (1 - p))  # 1 if the coins are independent
    if not 0.8 < spread < 1.2:
        raise Mistake(wrong.TOGETHER.format(int(counts.min()), int(counts.max())))


def dare_ends(answer: Callable) -> None:
    """p = 0 changes nothing; p = 0.99 keeps one entry in a hundred, a hundred times as large"""
    tau = vectors(1, 20_000, seed=475)[0]
    unchanged: Any = _drawn(answer, tau, 0.0, seeded(6))
    if (unchanged == 0).any():
        raise Mistake(wrong.AT_ZERO.format(int((unchanged == 0).sum()), len(tau)))
    close(unchanged, tau, what="with p = 0 the result, which is tau itself,")
    _check(_drawn(answer, tau, 0.99, seeded(7)), tau, 0.99)
