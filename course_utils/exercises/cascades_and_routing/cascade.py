"""A cascade's arithmetic: who answers, and what has been paid by then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from course_utils.exercises.engine import ANYTHING, Exercise, Mistake, case, in_integers, numbers

Array = np.ndarray
STEPS = "The first tier with scores[m] > taus[m] answers, else the last one; paid are cost[0] + ... + cost[m]."
INDEX = (
    "An index is too large: scores and taus have M - 1 rows, one less than correct. The last tier has no scorer and no"
    " threshold, it always answers."
)
CLASH = (
    "The shapes do not line up. scores is (M-1, N) and taus (M-1,): write taus[:, None], so that each row gets its"
    " threshold; the last tier, which has no scores, needs a row of its own in a table (M, N)."
)


def cascade(scores: Array, correct: Array, cost: Array, taus: Array) -> tuple[float, float]:
    """Accuracy and mean cost of a cascade: the first tier with scores > taus answers, the last one accepts everything.

    scores (M-1, N), correct (M, N), cost (M,), taus (M-1,).
    Source: Chen, Zaharia & Zou (2023), FrugalGPT, section 3 (LLM cascade).
    """
    items = np.arange(correct.shape[1])
    accepts = np.vstack([scores > taus[:, None], np.ones((1, len(items)), dtype=bool)])  # (M, N)
    answered_by = accepts.argmax(axis=0)  # the first True
    return float(correct[answered_by, items].mean()), float(np.cumsum(cost)[answered_by].mean())


def _by(accepts: Array, otherwise: int = -1) -> Array:
    """The first accepting row (K, N) of each item, `otherwise` where there is none."""
    return np.where(accepts.any(axis=0), accepts.argmax(axis=0), otherwise)


def _tier(s: Array, t: Array) -> Array:
    return _by(s > t, len(t))


def _right(correct: Array, tier: Array) -> float:
    return correct[tier, np.arange(correct.shape[1])].mean()


def _accuracy(of: Callable) -> Callable:
    """A mistake in the accuracy: of(scores, correct, taus[:, None])."""
    return lambda s, y, c, t: (of(s, y, t[:, None]), ANYTHING)


def _paid(of: Callable) -> Callable:
    """A mistake in the mean cost: of(cost, the tier that answers)."""
    return lambda s, y, c, t: (ANYTHING, of(c, _tier(s, t[:, None])))


def _surest(of: Callable) -> Callable:
    """The accuracy if, where any tier accepts, the one with the largest of(scores, taus) answers."""
    return _accuracy(lambda s, y, t: _right(y, np.where((s > t).any(axis=0), of(s, t).argmax(axis=0), -1)))


def _marginal(s: Array, y: Array, c: Array, t: Array) -> tuple:
    return ANYTHING, c[0] + (c[1:] * (s <= t[:, None]).mean(axis=1)).sum()


def _pair(result: Any, *args: Array) -> tuple:
    """(accuracy, mean cost) as two numbers. Raises Mistake for anything else."""
    if isinstance(result, tuple) and any(part is ANYTHING for part in result):
        return result
    parts = list(result) if isinstance(result, (list, tuple)) else numbers(result, "your result")
    if not isinstance(parts, list) and parts.numel() == 1:
        raise Mistake("Your function returns one number: the stub asks for two, (accuracy, mean cost).")
    if len(parts) != 2:
        raise Mistake(
            f"Your function returns {len(parts)} values: the stub asks for two numbers, (accuracy, mean cost)."
        )
    parts = [numbers(part, "your result") for part in parts]
    if any(part.numel() != 1 for part in parts):
        shapes = " and ".join(str(tuple(part.shape)) for part in parts)
        raise Mistake(f"Your result has numbers for each item or tier, shapes {shapes}: take the mean over the items.")
    return tuple(float(part) for part in parts)


def inputs(seed: int, cost: list[float], taus: list[float], items: int = 40) -> tuple:
    """Scores in 64ths, so that 1 - score is exact; a tier is right more often if its score is high or it is late."""
    random = np.random.default_rng(seed)
    scores = random.integers(1, 64, (len(taus), items)) / 64
    scores[0, :3] = taus[0]  # equal to the threshold: not accepted
    sure = np.vstack([scores, np.full(items, 0.6)]) * 0.6 + np.linspace(0.1, 0.35, len(cost))[:, None]
    correct = (random.random((len(cost), items)) < sure).astype(float)
    correct[0, :3], correct[1:, :3] = 1, 0
    return scores, correct, np.array(cost), np.array(taus)


THREE = inputs(811, [1.0, 5.0, 30.0], [0.625, 0.5])


EXERCISE = Exercise(
    "cascades_and_routing.cascade",
    reference=cascade,
    what="(accuracy, mean cost)",
    right=STEPS,
    errors={"IndexError": INDEX, "broadcast|must match|dimensions": CLASH},
    cases=[
        case("three tiers; some scores are equal to the threshold", *THREE, view=_pair),
        case("four tiers", *inputs(812, [0.5, 2.0, 7.0, 40.0], [0.75, 0.5, 0.625], 33), view=_pair),
        case("thresholds that rise", *inputs(813, [2.0, 3.0, 11.0], [0.5, 0.75], 57), view=_pair),
        case("two tiers", *inputs(814, [3.0, 10.0], [0.5], 12), view=_pair),
        case(
            "a trusted answer that is wrong stays, although the next tier would be right",
            np.array([[0.9, 0.9, 0.1, 0.1]]),
            np.array([[0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 1.0]]),
            np.array([1.0, 8.0]),
            np.array([0.5]),
            view=_pair,
        ),
        *[
            case(f"thresholds of {tau}: the {who} tier answers all", *THREE[:3], np.full(2, tau), view=_pair)
            for tau, who in ((-np.inf, "first"), (np.inf, "last"))
        ],
    ],
    corners=[in_integers("correct")],
    mistakes={
        "The two numbers are in the other order: the stub asks for (accuracy, mean cost).": lambda *case: cascade(
            *case
        )[::-1],
        "A score equal to its threshold is accepted by your cascade.\n"
        "The stub says scores[m] > taus[m], strictly.": _accuracy(lambda s, y, t: _right(y, _by(s >= t))),
        "The threshold works the wrong way round: you accept the answers whose score is low.\n"
        "A high score says that the answer can be trusted: accept if scores[m] > taus[m], and ask the next tier "
        "otherwise.": [
            _accuracy(lambda s, y, t: _right(y, _by(s < t))),
            _accuracy(lambda s, y, t: _right(y, _by(s <= t))),
        ],
        "You compare 1 - scores with the threshold.\n"
        "Here taus are thresholds for the score itself: accept if scores[m] > taus[m].": [
            _accuracy(lambda s, y, t: _right(y, _by(1 - s < t))),
            _accuracy(lambda s, y, t: _right(y, _by(1 - s > t))),
        ],
        "Your item counts as right as soon as any tier is right.\n"
        "That is the oracle, which knows the truth: a cascade sees only the scores, and keeps a wrong answer that "
        "it trusts.": _accuracy(lambda s, y, t: y.max(axis=0).mean()),
        "An item counts as right in your result if any of the tiers that were asked is right.\n"
        "The answer is that of the tier that accepted, the last one "
        "asked.": lambda s, y, c, t: (_right(np.maximum.accumulate(y), _tier(s, t[:, None])), cascade(s, y, c, t)[1]),
        "Your cascade looks at `correct` to decide who answers, and so goes on where a trusted answer is wrong.\n"
        "When it runs, nobody knows that: decide by scores and taus alone, and look at correct only to count.": [
            _accuracy(lambda s, y, t: _right(y, _by((s > t) & (y[:-1] > 0)))),
            _accuracy(lambda s, y, t: _right(y, _by((s > t) | (y[:-1] > 0)))),
        ],
        "You take the answer of the most confident tier.\n"
        "A cascade asks in order and stops: the first tier whose score exceeds its threshold, even if a later one "
        "would have been surer.": [
            _accuracy(lambda s, y, t: _right(y, s.argmax(axis=0))),
            _surest(lambda s, t: s),
            _surest(lambda s, t: s - t),
            _surest(lambda s, t: (s > t) * s),
        ],
        "You take the last tier that accepts, not the first: a later one overwrites the answer.\n"
        "Once an item is answered, it is done: break, or mark it, or take argmax over the booleans, which finds "
        "the first True.": _accuracy(
            lambda s, y, t: _right(y, np.where((s > t).any(0), len(t) - 1 - (s > t)[::-1].argmax(0), -1))
        ),
        "Items that no scorer accepts count as wrong in your result.\n"
        "The last tier has no scorer: it answers all that is left.": _accuracy(
            lambda s, y, t: (y[:-1] * ((s > t).cumsum(axis=0).cumsum(axis=0) == 1)).sum(axis=0).mean()
        ),
        "You leave the items out that no scorer accepts.\n"
        "The last tier answers them: the mean is over all "
        "N items.": _accuracy(lambda s, y, t: y[_tier(s, t), np.arange(s.shape[1])][_tier(s, t) < len(t)].mean()),
        "Items that no scorer accepts get the answer of tier 0: argmax of a column of False is 0.\n"
        "Give the last tier a row of True first.": _accuracy(lambda s, y, t: _right(y, _by(s > t, 0))),
        "Items that no scorer accepts get the answer of the last tier with a scorer.\n"
        "The last tier of all answers them.": _accuracy(lambda s, y, t: _right(y, _by(s > t, -2))),
        "All tiers use the same threshold: tier m has its own, taus[m].": [
            _accuracy(lambda s, y, t: _right(y, _by(s > t[0]))),
            _accuracy(lambda s, y, t: _right(y, _by(s > t[-1]))),
            _accuracy(lambda s, y, t: _right(y, _by(s > t.mean()))),
        ],
        "The thresholds are in the reverse order: tier m has taus[m].": _accuracy(
            lambda s, y, t: _right(y, _by(s > t[::-1]))
        ),
        "You ask the tiers from the last to the first.\n"
        "Their order is "
        "that of the rows: tier 0 is asked first.": _accuracy(lambda s, y, t: _right(y[-2::-1], _by((s > t)[::-1]))),
        "An item that tier 0 does not answer goes straight to the last tier in your result: the tiers between are "
        "asked first.": _accuracy(lambda s, y, t: _right(y, _by((s > t)[:1]))),
        "Tier 0 answers only where all tiers accept in your result: each tier decides "
        "by its own score, in order.": _accuracy(lambda s, y, t: _right(y, np.where((s > t).all(axis=0), 0, -1))),
        "This is the mean accuracy of all the tiers: each item is answered by one of them only.": _accuracy(
            lambda s, y, t: y.mean()
        ),
        "This is the accuracy of tier 0 alone: "
        "where its score does not exceed taus[0], a later tier answers.": _accuracy(lambda s, y, t: y[0].mean()),
        "This is the accuracy of the last tier alone: where an earlier score exceeds its threshold, that tier "
        "answers.": _accuracy(lambda s, y, t: y[-1].mean()),
        "You average the accuracies of the tiers, on the items that each answered: the mean is over the N items, "
        "each "
        "once.": _accuracy(lambda s, y, t: np.mean([y[m, _tier(s, t) == m].mean() for m in np.unique(_tier(s, t))])),
        "Items that tier 0 has answered are counted again at later tiers.\n"
        "A tier sees only what all tiers before it have rejected: take the answered items out, or look for the "
        "first acceptance of each item.": [
            _accuracy(lambda s, y, t: np.mean([*(y[m, s[m] > t[m]].mean() for m in range(len(t))), y[-1].mean()])),
            _accuracy(lambda s, y, t: (y[:-1] * (s > t)).sum(axis=0).mean() + (y[-1] * (_tier(s, t) == len(t))).mean()),
        ],
        "correct[by] takes whole rows, (N, N): item n needs the one entry in the row by[n] and its own column, "
        "correct[by, np.arange(N)].": [
            _accuracy(lambda s, y, t: y[_tier(s, t)].mean()),
            _accuracy(lambda s, y, t: y[_by(s > t, 0)].mean()),
        ],
        "Your accuracy is a count, the number of right answers.\nDivide by the N items.": _accuracy(
            lambda s, y, t: _right(y, _tier(s, t)) * y.shape[1]
        ),
        "Your accuracy is in percent: the stub asks for a share from 0 to 1.": _accuracy(
            lambda s, y, t: _right(y, _tier(s, t)) * 100
        ),
        "This is the error rate: asked is the accuracy, the share of the right answers.": _accuracy(
            lambda s, y, t: 1 - _right(y, _tier(s, t))
        ),
        "This is the mean score of the answers: accuracy is counted in `correct`, at the tier that answers.": _accuracy(
            lambda s, y, t: _right(np.vstack([s, np.ones(s.shape[1])]), _tier(s, t))
        ),
        "The accuracy is right; the cost is that of the answering tier alone.\n"
        "To reach it, all the tiers before it were called too, and they cost: an item that tier m answers has paid"
        " cost[0] + ... + "
        "cost[m]. np.cumsum(cost) does that.": [_paid(lambda c, by: c[by].mean()), _paid(lambda c, by: c[by].sum())],
        "The accuracy is right; your cost is the sum over all items: asked is the mean cost of one item, so divide"
        " by N.": _paid(lambda c, by: c.cumsum()[by].sum()),
        "The accuracy is right; your cost is that of asking all tiers on every item.\n"
        "The tiers after the "
        "answering one are never called.": [_paid(lambda c, by: c.sum()), _paid(lambda c, by: c.sum() * len(by))],
        "The accuracy is right; your cost leaves the answering tier itself out.\n"
        "It was called too: cost[0] + ... + cost[m], m included.": _paid(lambda c, by: (c.cumsum() - c)[by].mean()),
        "The accuracy is right; you add the costs from the answering tier to the last.\n"
        "Paid are those from the first up to it.": _paid(lambda c, by: c[::-1].cumsum()[::-1][by].mean()),
        "The accuracy is right; this is the mean cost of one call.\n"
        "Asked is the mean cost of one item: divide by N, not by the calls.": [
            _paid(lambda c, by: c.cumsum()[by].sum() / (by + 1).sum()),
            _paid(lambda c, by: (c.cumsum()[by] / (by + 1)).mean()),
            _paid(lambda c, by: c.cumsum()[by].mean() / len(c)),
        ],
        "The accuracy is right; you add only tier 0 and the answering tier.\n"
        "Those between "
        "were called as well: np.cumsum(cost).": _paid(lambda c, by: (c[0] + np.where(by > 0, c[by], 0)).mean()),
        "The accuracy is right; items that tier 0 answers pay for it twice in your result.\n"
        "They have called one model: cost[0].": [
            _paid(lambda c, by: (c[0] + c.cumsum()[by]).mean()),
            _paid(lambda c, by: (c[0] + c[by]).mean()),
        ],
        "The accuracy is right; this is the plain mean of the prices.\n"
        "Weight them by who was called: an item "
        "pays cost[0] + ... + cost[m].": [_paid(lambda c, by: c.mean()), _paid(lambda c, by: c.cumsum().mean())],
        "The accuracy is right; you take the share that each tier rejects of all items.\n"
        "Tier m is called on the items that every tier before it has rejected: count for each item who answers, "
        "and add up with np.cumsum(cost).": _marginal,
        "The accuracy is right; you count the calls.\nEach call of tier m costs cost[m]: add up the prices.": [
            _paid(lambda c, by: (by + 1).mean()),
            _paid(lambda c, by: by.mean()),
        ],
    },
    hints=[
        "Find for each item which tier answers, before correct or cost. What does the last tier need to have?",
        "A table of booleans (M, N): scores > taus[:, None], and a row of True for the last tier. argmax over axis 0"
        " gives the first True. What an item has paid when tier m answers is the running sum of cost.",
        "accepts = np.vstack([scores > taus[:, None], np.ones((1, N), dtype=bool)]); by = accepts.argmax(axis=0);"
        " correct[by, np.arange(N)].mean(), np.cumsum(cost)[by].mean()",
    ],
)
