"""Drop and rescale. Any right way to draw passes: what is tested is statistics."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from course_utils.exercises.engine import Exercise, Mistake, alike, case, close, draw
from course_utils.exercises.engine.time_limit import SEED as GLOBAL
from course_utils.merging.task_vectors import dare, trim

SIGMAS = 4.5  # how far chance may go
# Its first number lies between 0.25 and 0.6: one coin for all keeps everything at p = 0.25 and nothing at p = 0.6.
SEED = 4
TAU, ROWS = draw(8000, seed=471), draw(3, 3000, seed=472)


def _again(got: Any, tau: Tensor, p: float, generator: Generator) -> Any:
    """Every call begins with the same random numbers: so a mistake drops what an answer with this mistake drops."""
    generator.manual_seed(SEED)
    torch.default_generator.manual_seed(GLOBAL)
    return got


def _case(says: str, tau: Tensor, p: float) -> Any:
    return case(says, tau, p, Generator().manual_seed(SEED), view=_again)


def _amiss(got: Any, tau: Tensor, p: float, generator: Generator | None = None) -> str:
    """What is wrong with a draw; "" if nothing is."""
    if not isinstance(got, Tensor):
        close(got, tau, what="the result")
    if got.shape != tau.shape:
        return f"The result has the shape of tau, {tuple(tau.shape)}, and so has the mask."
    x, y = tau.double().flatten(), got.detach().double().flatten()
    gone, share = y == 0, (y == 0).double().mean().item()
    if abs(share - p) > SIGMAS * math.sqrt(p * (1 - p) / len(x)):
        return f"{share:.3g} of the {len(x)} entries were dropped, and p is {p:g}.{'' if share else ' Is it noise?'}"
    ratio = (y / x)[~gone]
    if not (ratio - ratio.median()).abs().max() <= 1e-3 * ratio.median().abs():
        return "The entries that stay are not all multiplied by one number. Each is divided by 1 - p."
    if not math.isclose(ratio.median(), 1 / (1 - p), rel_tol=1e-5):
        return f"The share that is dropped is right, the factor is not: {ratio.median():.4g}, not {1 / (1 - p):.4g}."
    if not 0 < p < 1:
        return ""
    out, stay, places = x[gone].abs(), x[~gone].abs(), gone.nonzero()[:, 0]
    chance = SIGMAS * x.abs().std() * math.sqrt(1 / len(out) + 1 / len(stay))
    if abs(out.mean() - stay.mean()) > chance or (places.diff() == 1).all():
        said = f"those that go have the mean magnitude {out.mean():.3g}, the others {stay.mean():.3g}"
        return f"It depends on their size or their place which entries are dropped ({said}): chance alone decides."
    rows, expected = gone.reshape(-1, tau.shape[-1]), p**2 + (1 - p) ** 2
    same = [(rows[i] == rows[j]).double().mean() for i in range(len(rows)) for j in range(i)]
    if all(abs(each - expected) <= SIGMAS * math.sqrt(0.25 / tau.shape[-1]) for each in same):
        return ""
    return f"Two rows drop or keep the same coordinate in a share of {max(same):.3g}, expected {expected:.3g}."


def _generator(answer: Callable) -> None:
    """the random numbers come from `generator`: equal seeds drop equal entries, another seed and another call do not"""
    source, tau = Generator().manual_seed(3), TAU[:400]
    sources = (source, source, Generator().manual_seed(3), Generator().manual_seed(4))
    first, second, again, other = (answer(tau, 0.5, each) for each in sources)
    if not alike(first, again):
        raise Mistake("Two generators of one seed drop different entries: draw from `generator`, as F.dropout cannot.")
    if alike(first, other):
        raise Mistake("Generators of different seeds drop the same entries: is there a fixed seed in your function?")
    if alike(first, second):
        raise Mistake("Two calls with one generator drop the same entries: you start it anew each time.")


def _mean(answer: Callable) -> None:
    """over 1500 draws of 12 numbers, p = 0.5, each number has the mean that it had before"""
    tau, draws, source = 0.5 + TAU[:12].abs(), 1500, Generator().manual_seed(5)
    got = torch.stack([answer(tau, 0.5, source) for _ in range(draws)]).double()
    off, gone = (got.mean(0) / tau - 1).abs() * math.sqrt(draws), (got == 0).double()
    counts, i = gone.sum(1), int(off.argmax())
    if counts.min() == counts.max():
        raise Mistake(f"Exactly {counts[0]:.0f} of 12 entries go in each of {draws} draws: you drop a fixed number.")
    if off[i] > SIGMAS:
        said = f"The number {tau[i]:.3g} has the mean {got[:, i].mean():.3g} over {draws} draws with p = 0.5."
        raise Mistake(f"{said} It was dropped in {gone[:, i].mean():.3g} of the draws.")
    if not 0.8 < counts.var() / 3 < 1.2:
        raise Mistake(f"From {counts.min():.0f} to {counts.max():.0f} of 12 entries go: the coins are not independent.")


COINS = (  # ways to draw a mask: True or 1 where an entry stays
    lambda tau, p, g: torch.rand(tau.shape, generator=g) >= p,
    lambda tau, p, g: torch.rand(tau.shape, generator=g) < 1 - p,
    lambda tau, p, g: torch.bernoulli(torch.full_like(tau, 1 - p), generator=g),
)


def _by(result: Callable) -> list[Callable]:
    return [lambda tau, p, g, coin=coin: result(tau, coin(tau, p, g), p) for coin in COINS]


EXERCISE = Exercise(
    "task_vectors_and_merging.dare",
    reference=dare,
    cases=[
        _case("a quarter become 0, whatever their size, and the others are tau / 0.75", TAU, 0.25),
        _case("three tasks: every entry of every task has its own coin", ROWS, 0.6),
        _case("p = 0 changes nothing", TAU, 0.0),
        _case("p = 0.99 keeps one entry in a hundred, a hundred times as large", TAU, 0.99),
    ],
    checks=[_generator, _mean],
    equal=lambda got, *args: not _amiss(got, *args),
    mistakes={
        "The others are not rescaled: their mean is (1 - p) tau, too short.": _by(lambda x, m, p: x * m),
        "This is divided by p, instead of the share that stays, 1 - p.": [
            *_by(lambda x, m, p: x * m / p),
            *_by(lambda x, m, p: x * m / p if p else x),
        ],
        "This is multiplied by 1 - p or by p: less is left, so what stays must become larger.": [
            *_by(lambda x, m, p: x * m * (1 - p)),
            *_by(lambda x, m, p: x * m * p),
        ],
        "This is divided by 1 - p twice: once keeps the mean, and F.dropout has divided already.": [
            *_by(lambda x, m, p: x * m / (1 - p) ** 2),
            lambda x, p, g: F.dropout(x, p) / (1 - p),
        ],
        "The root of 1 - p keeps the length, not the mean.": _by(lambda x, m, p: x * m / (1 - p) ** 0.5),
        "The factor depends on the draw (its share, length or sum, as in mergekit): DARE's is 1 / (1 - p).": [
            *_by(lambda x, m, p: x * m / m.double().mean()),
            *_by(lambda x, m, p: x * m * x.norm() / (x * m).norm()),
            lambda x, p, g: dare(x, p, g, rescale="l1"),
        ],
        "p is the probability to stay here: it is the probability to drop (density is the share that stays).": [
            *[lambda x, p, g, coin=coin: x * coin(x, 1 - p, g) / p if p else x for coin in COINS],
            *[lambda x, p, g, coin=coin: x * coin(x, 1 - p, g) / (1 - p) for coin in COINS],
        ],
        "This is the mask: multiply it with tau.": [*_by(lambda x, m, p: m.bool()), *_by(lambda x, m, p: m.double())],
        "These are the kept entries alone: tau[mask] has lost the places of the others, which become 0.": [
            *_by(lambda x, m, p: x[m.bool()] / (1 - p)),
            *_by(lambda x, m, p: x[m.bool()]),
        ],
        "The signs are lost: what stays keeps its sign.": _by(lambda x, m, p: (x * m).abs() / (1 - p)),
        "All negative entries became 0: is tau itself compared with p? Compare random numbers with it.": (
            lambda x, p, g: x * (x >= p) / (1 - p)
        ),
        "Everything became 0, though p is below 1: .int() of a random number is 0.": lambda x, p, g: 0 * x,
        "Nothing was dropped, the result is tau.\nF.dropout needs training=True.": lambda x, p, g: x,
        "Nothing became 0: multiplying by 1 - p is the mean of dropping.": lambda x, p, g: x * (1 - p),
        "Everything was divided by 1 - p, and nothing became 0.": lambda x, p, g: x / (1 - p),
        "One coin decides for a whole vector here: all of it stays, or all of it goes. Each entry has its own.": [
            lambda x, p, g: x * (torch.rand(1, generator=g) >= p) / (1 - p),
            lambda x, p, g: x * (torch.rand(*x.shape[:-1], 1, generator=g) >= p) / (1 - p),
        ],
        "The smallest entries are dropped: that is trimming. DARE asks chance alone, whatever the size of the entry.": [
            *[lambda x, p, g, f=f: trim(x, 1 - p) / (1 - f * p) for f in (0, 1)],
            *[lambda x, p, g, f=f: x * (x.abs() > x.abs().flatten().quantile(p)) / (1 - f * p) for f in (0, 1)],
            *[lambda x, p, g, f=f: x * (x.abs() >= p) / (1 - f * p) for f in (0, 1)],
        ],
        "All tasks drop the same coordinates: there is one mask for all rows. Draw as many numbers as tau has.": (
            lambda x, p, g: x * (torch.rand(x.shape[-1], generator=g) >= p) / (1 - p)
        ),
        "Is torch.randn used instead of torch.rand? The latter is uniform between 0 and 1.": lambda x, p, g: (
            x * (torch.randn(x.shape, generator=g) >= p) / (1 - p)
        ),
    },
    explain=lambda got, expected, *args: _amiss(got, *args),
    errors={
        "shapes": "The result has the shape of tau, (d,) or (n, d), and so has the mask.",
        r"dropout\(\) got an unexpected": "F.dropout takes no generator, so nobody could repeat the merge.",
        r"Expected p_in|bernoulli\(\) received": "torch.bernoulli takes a tensor of probabilities, one for each entry.",
        r"generator|Generator": "A torch.Generator is handed on by its name.",
        r"unpack|out of range": "tau may be one task vector, (d,), or several, (n, d): use tau.shape as it is.",
        r"bool tensor is not supported": "A mask of True and False: ~mask turns it round.",
    },
    hints=[
        "If nine of ten entries become 0, how large must the tenth be, so that their mean is what it was? And what "
        "decides which entries go?",
        "One random number for each entry of tau, uniform between 0 and 1, from `generator`: the entry is dropped if "
        "it is below p. Divide what stays by the probability to stay.",
        "keep = torch.rand(tau.shape, generator=generator) >= p; tau * keep / (1 - p)",
    ],
    seconds=15.0,
)
