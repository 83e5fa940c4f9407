"""Tests of 08_cascades_and_routing: who answers in a cascade, and what has been paid by then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_utils.exercises.arrays import CLOSE, pair, tried
from course_utils.exercises.engine.calls import Mistake, StudentError
from course_utils.exercises.engine.compare import close
from course_utils.exercises.mistakes import recognise

Array = np.ndarray


def cascade(scores: Array, correct: Array, cost: Array, taus: Array) -> tuple[float, float]:
    """Accuracy and mean cost of a cascade: the first tier with scores > taus answers, the last one accepts everything.

    scores (M-1, N), correct (M, N), cost (M,), taus (M-1,).
    Source: Chen, Zaharia & Zou (2023), FrugalGPT, section 3 (LLM cascade).
    """
    items = np.arange(correct.shape[1])
    accepts = np.vstack([scores > taus[:, None], np.ones((1, len(items)), dtype=bool)])  # (M, N)
    answered_by = accepts.argmax(axis=0)  # the first True
    return float(correct[answered_by, items].mean()), float(np.cumsum(cost)[answered_by].mean())


STEPS = "The first tier with scores[m] > taus[m] answers, the last one where there is none; paid are cost[0] + ... + cost[m]."
EQUAL = "A score EQUAL to its threshold is accepted by your cascade. The stub says scores[m] > taus[m], strictly."
DIRECTION = (
    "The threshold works the wrong way round: you accept the answers whose score is LOW. A high score says that the answer"
    " can be trusted: accept if scores[m] > taus[m], and ask the next tier otherwise."
)
DISTANCE = "You compare 1 - scores with the threshold. Here taus are thresholds for the score itself: accept if scores[m] > taus[m]."
ANY = (
    "Your item counts as right as soon as ANY tier is right. That is the oracle, which knows the truth: a cascade sees only"
    " the scores, and keeps a wrong answer that it trusts."
)
PEEKING = (
    "Your cascade looks at `correct` to decide who answers, and so goes on where a trusted answer is wrong. When it runs,"
    " nobody knows that: decide by scores and taus alone, and look at correct only to count."
)
CONFIDENT = (
    "You take the answer of the most confident tier. A cascade asks in order and stops: the FIRST tier whose score exceeds"
    " its threshold, even if a later one would have been surer."
)
LAST_WINS = (
    "You take the LAST tier that accepts, not the first: a later one overwrites the answer. Once an item is answered, it is"
    " done: break, or mark it, or take argmax over the booleans, which finds the first True."
)
UNANSWERED = "Items that no scorer accepts count as wrong in your result. The last tier has no scorer: it answers all that is left."
DROPPED = "You leave the items out that no scorer accepts. The last tier answers them: the mean is over all N items."
ARGMAX_ZERO = (
    "Items that no scorer accepts get the answer of tier 0: argmax of a column of False is 0. Give the last tier a row of"
    " True first."
)
FALLS_BACK = (
    "Items that no scorer accepts get the answer of the last tier WITH a scorer. The last tier of all answers them."
)
ONE_TAU = "All tiers use the same threshold: tier m has its own, taus[m]."
TAUS_REVERSED = "The thresholds are in the reverse order: tier m has taus[m]."
TIERS_REVERSED = "You ask the tiers from the last to the first. Their order is that of the rows: tier 0 is asked first."
SKIPS = "An item that tier 0 does not answer goes straight to the last tier in your result: the tiers between are asked first."
ALL_ACCEPT = "Tier 0 answers only where ALL tiers accept in your result: each tier decides by its own score, in order."
AVERAGE = "This is the mean accuracy of all the tiers: each item is answered by one of them only."
FIRST_ONLY = "This is the accuracy of tier 0 alone: where its score does not exceed taus[0], a later tier answers."
LAST_ONLY = (
    "This is the accuracy of the last tier alone: where an earlier score exceeds its threshold, that tier answers."
)
MACRO = (
    "You average the accuracies of the tiers, on the items that each answered: the mean is over the N items, each once."
)
AGAIN = (
    "Items that tier 0 has answered are counted again at later tiers. A tier sees only what all tiers before it have rejected:"
    " take the answered items out, or look for the FIRST acceptance of each item."
)
ROWS = (
    "correct[by] takes whole ROWS, (N, N): item n needs the one entry in the row by[n] and its own column,"
    " correct[by, np.arange(N)]."
)
COUNT = "Your accuracy is a count, the number of right answers: divide by the N items."
PERCENT = "Your accuracy is in percent: the stub asks for a share from 0 to 1."
ERROR = "This is the error rate: asked is the accuracy, the share of the RIGHT answers."
SCORE = "This is the mean SCORE of the answers: accuracy is counted in `correct`, at the tier that answers."

NOT_ADDED = (
    "The accuracy is right; the cost is that of the answering tier alone. To reach it, all the tiers before it were called"
    " too, and they cost: an item that tier m answers has paid cost[0] + ... + cost[m]. np.cumsum(cost) does that."
)
SUM = "The accuracy is right; your cost is the sum over all items: asked is the mean cost of ONE item, so divide by N."
ALL_PAID = "The accuracy is right; your cost is that of asking ALL tiers on every item. The tiers after the answering one are never called."
BEFORE = "The accuracy is right; your cost leaves the answering tier itself out. It was called too: cost[0] + ... + cost[m], m included."
BACKWARDS = "The accuracy is right; you add the costs from the answering tier to the last. Paid are those from the first up to it."
PER_CALL = "The accuracy is right; this is the mean cost of one CALL. Asked is the mean cost of one ITEM: divide by N, not by the calls."
ENDS = "The accuracy is right; you add only tier 0 and the answering tier. Those between were called as well: np.cumsum(cost)."
TWICE = "The accuracy is right; items that tier 0 answers pay for it twice in your result. They have called one model: cost[0]."
PLAIN = "The accuracy is right; this is the plain mean of the prices. Weight them by who was called: an item pays cost[0] + ... + cost[m]."
MARGINAL = (
    "The accuracy is right; you take the share that each tier rejects of ALL items. Tier m is called on the items that EVERY tier"
    " before it has rejected: count for each item who answers, and add up with np.cumsum(cost)."
)
CALLS = "The accuracy is right; you count the calls. Each call of tier m costs cost[m]: add up the prices."
SWAPPED = "The two numbers are in the other order: the stub asks for (accuracy, mean cost)."
THREE = "Your function returns {} values: the stub asks for two numbers, (accuracy, mean cost)."
ONE = "Your function returns one number: the stub asks for two, (accuracy, mean cost)."
EACH = "Your result has numbers for each item or tier, shapes {}: take the mean over the items, so that two numbers are left."
INDEX = (
    "An index is too large. scores and taus have M - 1 rows, one less than correct: the last tier has no scorer and no"
    " threshold, it always answers."
)
CLASH = (
    "The shapes do not line up. scores is (M-1, N) and taus (M-1,): write taus[:, None], so that each ROW gets its threshold;"
    " the last tier, which has no scores, needs a row of its own in a table (M, N)."
)


def _by(accepts: Array, otherwise: int = -1) -> Array:
    """The first accepting row (K, N) of each item, `otherwise` where there is none."""
    return np.where(accepts.any(axis=0), accepts.argmax(axis=0), otherwise)


def _tier(s: Array, t: Array) -> Array:
    return _by(s > t[:, None], len(t))


def _right(correct: Array, tier: Array) -> float:
    return correct[tier, np.arange(correct.shape[1])].mean()


def _last_accepting(accepts: Array) -> Array:
    return np.where(accepts.any(axis=0), len(accepts) - 1 - accepts[::-1].argmax(axis=0), -1)


def _macro(s: Array, y: Array, t: Array) -> float:
    tier = _tier(s, t)
    return np.mean([y[m, tier == m].mean() for m in np.unique(tier)])


def _score_kept(s: Array, t: Array) -> float:
    return _right(np.vstack([s, np.ones(s.shape[1])]), _tier(s, t))


ACCURACY = [
    (EQUAL, lambda s, y, c, t: _right(y, _by(s >= t[:, None]))),
    (DIRECTION, lambda s, y, c, t: _right(y, _by(s < t[:, None]))),
    (DIRECTION, lambda s, y, c, t: _right(y, _by(s <= t[:, None]))),
    (DISTANCE, lambda s, y, c, t: _right(y, _by(1 - s < t[:, None]))),
    (DISTANCE, lambda s, y, c, t: _right(y, _by(1 - s > t[:, None]))),
    (ANY, lambda s, y, c, t: y.max(axis=0).mean()),
    (PEEKING, lambda s, y, c, t: _right(y, _by((s > t[:, None]) & (y[:-1] > 0)))),
    (PEEKING, lambda s, y, c, t: _right(y, _by((s > t[:, None]) | (y[:-1] > 0)))),
    (CONFIDENT, lambda s, y, c, t: _right(y, s.argmax(axis=0))),
    (CONFIDENT, lambda s, y, c, t: _right(y, np.where((s > t[:, None]).any(axis=0), s.argmax(axis=0), -1))),
    (
        CONFIDENT,
        lambda s, y, c, t: _right(y, np.where((s > t[:, None]).any(axis=0), (s - t[:, None]).argmax(axis=0), -1)),
    ),
    (
        CONFIDENT,
        lambda s, y, c, t: _right(y, np.where((s > t[:, None]).any(axis=0), ((s > t[:, None]) * s).argmax(axis=0), -1)),
    ),
    (LAST_WINS, lambda s, y, c, t: _right(y, _last_accepting(s > t[:, None]))),
    (
        UNANSWERED,
        lambda s, y, c, t: (y[:-1] * ((s > t[:, None]).cumsum(axis=0).cumsum(axis=0) == 1)).sum(axis=0).mean(),
    ),
    (DROPPED, lambda s, y, c, t: y[_tier(s, t), np.arange(s.shape[1])][_tier(s, t) < len(t)].mean()),
    (ARGMAX_ZERO, lambda s, y, c, t: _right(y, _by(s > t[:, None], 0))),
    (FALLS_BACK, lambda s, y, c, t: _right(y, _by(s > t[:, None], -2))),
    (ONE_TAU, lambda s, y, c, t: _right(y, _by(s > t[0]))),
    (ONE_TAU, lambda s, y, c, t: _right(y, _by(s > t[-1]))),
    (ONE_TAU, lambda s, y, c, t: _right(y, _by(s > t.mean()))),
    (TAUS_REVERSED, lambda s, y, c, t: _right(y, _by(s > t[::-1, None]))),
    (TIERS_REVERSED, lambda s, y, c, t: _right(y[-2::-1], _by((s > t[:, None])[::-1]))),
    (SKIPS, lambda s, y, c, t: _right(y, _by((s > t[:, None])[:1]))),
    (ALL_ACCEPT, lambda s, y, c, t: _right(y, np.where((s > t[:, None]).all(axis=0), 0, -1))),
    (AVERAGE, lambda s, y, c, t: y.mean()),
    (FIRST_ONLY, lambda s, y, c, t: y[0].mean()),
    (LAST_ONLY, lambda s, y, c, t: y[-1].mean()),
    (MACRO, lambda s, y, c, t: _macro(s, y, t)),
    (AGAIN, lambda s, y, c, t: np.mean([*(y[m, s[m] > t[m]].mean() for m in range(len(t))), y[-1].mean()])),
    (
        AGAIN,
        lambda s, y, c, t: (y[:-1] * (s > t[:, None])).sum(axis=0).mean() + (y[-1] * (_tier(s, t) == len(t))).mean(),
    ),
    (ROWS, lambda s, y, c, t: y[_tier(s, t)].mean()),
    (ROWS, lambda s, y, c, t: y[_by(s > t[:, None], 0)].mean()),
    (COUNT, lambda s, y, c, t: _right(y, _by(s > t[:, None])) * y.shape[1]),
    (PERCENT, lambda s, y, c, t: _right(y, _by(s > t[:, None])) * 100),
    (ERROR, lambda s, y, c, t: 1 - _right(y, _by(s > t[:, None]))),
    (SCORE, lambda s, y, c, t: _score_kept(s, t)),
]
COST = [
    (NOT_ADDED, lambda s, y, c, t: c[_tier(s, t)].mean()),
    (NOT_ADDED, lambda s, y, c, t: c[_tier(s, t)].sum()),
    (SUM, lambda s, y, c, t: c.cumsum()[_tier(s, t)].sum()),
    (ALL_PAID, lambda s, y, c, t: c.sum()),
    (ALL_PAID, lambda s, y, c, t: c.sum() * s.shape[1]),
    (BEFORE, lambda s, y, c, t: (c.cumsum() - c)[_tier(s, t)].mean()),
    (BACKWARDS, lambda s, y, c, t: c[::-1].cumsum()[::-1][_tier(s, t)].mean()),
    (PER_CALL, lambda s, y, c, t: c.cumsum()[_tier(s, t)].sum() / (_tier(s, t) + 1).sum()),
    (PER_CALL, lambda s, y, c, t: (c.cumsum()[_tier(s, t)] / (_tier(s, t) + 1)).mean()),
    (PER_CALL, lambda s, y, c, t: c.cumsum()[_tier(s, t)].mean() / len(c)),
    (ENDS, lambda s, y, c, t: (c[0] + np.where(_tier(s, t) > 0, c[_tier(s, t)], 0)).mean()),
    (TWICE, lambda s, y, c, t: (c[0] + c.cumsum()[_tier(s, t)]).mean()),
    (TWICE, lambda s, y, c, t: (c[0] + c[_tier(s, t)]).mean()),
    (PLAIN, lambda s, y, c, t: c.mean()),
    (PLAIN, lambda s, y, c, t: c.cumsum().mean()),
    (MARGINAL, lambda s, y, c, t: c[0] + (c[1:] * (s <= t[:, None]).mean(axis=1)).sum()),
    (CALLS, lambda s, y, c, t: (_tier(s, t) + 1).mean()),
    (CALLS, lambda s, y, c, t: _tier(s, t).mean()),
]


def inputs(seed: int, cost: list[float], taus: list[float], items: int = 40) -> tuple:
    """Scores in 64ths, so that 1 - score is exact; a tier is the more often right the higher its score, and the later it is."""
    random = np.random.default_rng(seed)
    scores = random.integers(1, 64, (len(taus), items)) / 64
    scores[0, :3] = taus[0]  # equal to the threshold: not accepted
    sure = np.vstack([scores, np.full(items, 0.6)]) * 0.6 + np.linspace(0.1, 0.35, len(cost))[:, None]
    correct = (random.random((len(cost), items)) < sure).astype(float)
    correct[0, :3], correct[1:, :3] = 1, 0
    return scores, correct, np.array(cost), np.array(taus)


CASES = [
    inputs(811, [1.0, 5.0, 30.0], [0.625, 0.5]),
    inputs(812, [0.5, 2.0, 7.0, 40.0], [0.75, 0.5, 0.625], 33),
    inputs(813, [2.0, 3.0, 11.0], [0.5, 0.75], 57),
]


def _pair(got: Any) -> Tensor:
    """(accuracy, mean cost) as a tensor (2,). Raises Mistake for anything else."""
    found = pair(got, ONE, THREE, EACH)
    if found.shape != (2,):
        raise Mistake(EACH.format(tuple(found.shape)))
    return found


def _run(answer: Callable, case: tuple) -> Tensor:
    try:
        return _pair(tried(answer, *case))
    except StudentError as wrapped:
        said = str(wrapped.error).split("\n")[0]
        hint = INDEX if isinstance(wrapped.error, IndexError) else CLASH
        if isinstance(wrapped.error, IndexError) or any(
            word in said for word in ("broadcast", "must match", "dimensions")
        ):
            raise Mistake(f"{hint} (The message was: {said})") from None
        raise


def _check(answer: Callable, case: tuple, what: str = "") -> None:
    got, expected = _run(answer, case), torch.tensor(cascade(*case)).double()
    if torch.allclose(got.flip(0), expected, **CLOSE) and not torch.allclose(got, expected, **CLOSE):
        raise Mistake(SWAPPED)
    for place, name in enumerate(["the accuracy", "the mean cost"]):
        try:
            close(got[place].item(), expected[place].item(), what=name + what, **CLOSE)
        except Mistake as mistake:
            recognise(lambda *args: _run(answer, args)[0], CASES, ACCURACY)  # it may be right here by chance
            if place:
                recognise(lambda *args: _run(answer, args)[1], CASES, COST)
            raise Mistake(f"{mistake} {STEPS}") from None


def cascade_random(answer: Callable) -> None:
    """three and four tiers, 33 to 57 items; some scores are equal to the threshold"""
    for case in CASES:
        _check(answer, case)


def cascade_two_tiers(answer: Callable) -> None:
    """two tiers: the difference between the mean cost and the price of the last tier is what the first one saves and costs"""
    _check(answer, inputs(814, [3.0, 10.0], [0.5], 12))


def cascade_ends(answer: Callable) -> None:
    """thresholds of -inf (the first tier always answers) and inf (the last always answers, and all were paid for)"""
    scores, correct, cost, _ = CASES[0]
    for tau, said in ((-np.inf, " with thresholds of -inf"), (np.inf, " with thresholds of inf")):
        _check(answer, (scores, correct, cost, np.full(2, tau)), said)


def cascade_trusted_and_wrong(answer: Callable) -> None:
    """a trusted answer that is wrong stays, although the next tier would be right; a right one that is not trusted costs"""
    scores = np.array([[0.9, 0.9, 0.1, 0.1]])
    correct = np.array([[0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 1.0]])
    _check(answer, (scores, correct, np.array([1.0, 8.0]), np.array([0.5])))
