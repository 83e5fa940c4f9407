"""A cascade's arithmetic: who answers, and what has been paid by then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from course_utils.exercises.cascades_and_routing import Array
from course_utils.exercises.engine import ANYTHING, Exercise, Mistake, case, in_integers, numbers


def cascade(scores: Array, correct: Array, cost: Array, taus: Array) -> tuple[float, float]:
    """Accuracy and mean cost of a cascade: the first tier with scores > taus answers, the last one accepts everything.

    scores (M-1, N), correct (M, N), cost (M,), taus (M-1,).
    Source: Chen, Zaharia & Zou (2023), FrugalGPT, section 3 (LLM cascade).
    """
    items = np.arange(correct.shape[1])
    accepts = np.vstack([scores > taus[:, None], np.ones((1, len(items)), dtype=bool)])  # (M, N)
    answered_by = accepts.argmax(axis=0)  # the first True
    return float(correct[answered_by, items].mean()), float(np.cumsum(cost)[answered_by].mean())


def _first(accepts: Array, otherwise: int = -1) -> Array:
    """The first accepting row (K, N) of each item, `otherwise` where there is none."""
    return np.where(accepts.any(axis=0), accepts.argmax(axis=0), otherwise)


def _tier(s: Array, t: Array) -> Array:
    return _first(s > t, len(t))


def _right(y: Array, tier: Array) -> Array:
    """1 or 0 for each item: whether the tier that answers it is right."""
    return y[tier, np.arange(y.shape[1])]


def _waiting(s: Array, t: Array) -> Array:
    return _tier(s, t) == len(t)  # for the last tier, as no scorer accepts


def _accuracy(of: Callable) -> Callable:
    """A mistake in the accuracy: the mean of of(scores, correct, taus[:, None])."""
    return lambda s, y, c, t: (np.mean(of(s, y, t[:, None])), ANYTHING)


def _answers(of: Callable) -> Callable:
    """A mistake in who answers: of(scores, taus[:, None]) are the tiers, or says which of them accept."""
    return _accuracy(lambda s, y, t: _right(y, tier if (tier := of(s, t)).ndim == 1 else _first(tier)))


def _paid(of: Callable) -> Callable:
    """A mistake in the cost alone, the mean of of(cost, the tier that answers)."""
    return lambda s, y, c, t: (cascade(s, y, c, t)[0], np.mean(of(c, _tier(s, t[:, None]))))


def _pair(result: Any, *args: Array) -> tuple:
    """(accuracy, mean cost) as two numbers. Raises Mistake for anything else."""
    if isinstance(result, tuple) and any(part is ANYTHING for part in result):
        return result
    parts = result if isinstance(result, (list, tuple)) else np.atleast_1d(numbers(result, "your result"))
    if len(parts) != 2:
        many = f"{len(parts)} values" if len(parts) > 1 else "one number"
        raise Mistake(f"Your function returns {many}: the stub asks for two, (accuracy, mean cost).")
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
CASES = {
    "three tiers; some scores are equal to the threshold": THREE,
    "four tiers": inputs(812, [0.5, 2.0, 7.0, 40.0], [0.75, 0.5, 0.625], 33),
    "thresholds that rise": inputs(813, [2.0, 3.0, 11.0], [0.5, 0.75], 57),
    "two tiers": inputs(814, [3.0, 10.0], [0.5], 12),
    "a wrong answer is trusted": [*map(np.array, ([[0.9, 0.1, 0.9]], [[0.0, 1, 1], [1, 1, 0]], [1.0, 8], [0.5]))],
    "thresholds of -inf: the first tier answers all": (*THREE[:3], np.full(2, -np.inf)),
    "thresholds of inf: the last tier answers all": (*THREE[:3], np.full(2, np.inf)),
}
FORGOTTEN = "\nThe last tier has no scorer: it answers all that is left."
WHO = {  # answers: mistakes of scores and taus[:, None]
    "A score equal to its threshold is accepted.\nThe stub says >, strictly.": [lambda s, t: s >= t],
    "The threshold works the wrong way round: you accept the answers whose score is low.\n"
    "A high score says that the answer can be trusted.": [lambda s, t: s < t, lambda s, t: s <= t],
    "You compare 1 - scores with taus: they are for scores.": [lambda s, t: 1 - s < t, lambda s, t: 1 - s > t],
    "You take the answer of the most confident tier.\n"
    "A cascade asks in order and stops, even if a later tier would have been surer.": [
        lambda s, t: s.argmax(axis=0),
        lambda s, t: np.where(_waiting(s, t), -1, ((s > t) * s).argmax(axis=0)),
    ],
    "You take the last tier that accepts, not the first: a later one overwrites the answer.\n"
    "Once an item is answered, it is done.": [
        lambda s, t: np.where(_waiting(s, t), -1, len(t) - 1 - (s > t)[::-1].argmax(axis=0))
    ],
    "You count the tiers that reject an item: one may accept it before another rejects it.\n"
    "Look for the first that accepts.": [lambda s, t: (s <= t).sum(axis=0)],
    "Items that no scorer accepts get the answer of tier 0 (argmax of a column of False is 0).\n"
    "The last tier accepts all: give it a row of True first.": [lambda s, t: _first(s > t, 0)],
    f"Items that no scorer accepts go to the last tier with a scorer.{FORGOTTEN}": [lambda s, t: _first(s > t, -2)],
    "All tiers use the same threshold: tier m has taus[m].": [lambda s, t: s > t[0], lambda s, t: s > t[-1]],
    "Only the first two tiers are asked: go on to the last.": [lambda s, t: np.where(s[0] > t[0], 0, 1)],
    "The thresholds are in the reverse order: tier m has taus[m].": [lambda s, t: s > t[::-1]],
    "An item that tier 0 does not answer goes straight to the last tier.\nAsk those between.": [
        lambda s, t: (s > t)[:1]
    ],
}
SHARES = {  # that are right: mistakes of scores, correct and taus[:, None]
    "An item counts as right in your result as soon as any tier is right.\nThat is the oracle, which knows the truth: "
    "a cascade keeps a wrong answer that it trusts.": [lambda s, y, t: y.max(axis=0)],
    "`correct` decides who answers in your cascade, besides the scores.\nWhen it runs, nobody knows what is correct.": [
        lambda s, y, t: _right(y, _first((s > t) & (y[:-1] > 0))),
        lambda s, y, t: _right(y, _first((s > t) | (y[:-1] > 0))),
    ],
    f"Items that no scorer accepts count as wrong in your result, or are left out.{FORGOTTEN}": [
        lambda s, y, t: _right(y, _tier(s, t)) * ~_waiting(s, t),
        lambda s, y, t: _right(y, _tier(s, t))[~_waiting(s, t)],
    ],
    "This is the accuracy of a single tier.\nThe scores decide who answers.": [
        lambda s, y, t: y[0],
        lambda s, y, t: y[-1],
    ],
    "This is the mean accuracy of all tiers.\nThe scores decide who answers an item.": [lambda s, y, t: y],
    "You average the accuracies of the tiers, on the items that each answered: the mean is over the N items.": [
        lambda s, y, t: [y[m, _tier(s, t) == m].mean() for m in np.unique(_tier(s, t))]
    ],
    "Items that an earlier tier has answered are counted again at later ones.\n"
    "A tier sees only what all tiers before it have rejected.": [
        lambda s, y, t: [*(y[m, s[m] > t[m]].mean() for m in range(len(t))), y[-1].mean()],
        lambda s, y, t: (y[:-1] * (s > t)).sum(axis=0) + y[-1] * _waiting(s, t),
        lambda s, y, t: _right(y, _tier(s, t)) * ~_waiting(s, t) + y[-1],
    ],
    "correct[by] takes whole rows: item n needs the entry in its own column.": [lambda s, y, t: y[_tier(s, t)]],
    "Your accuracy is a count: the stub asks for a share.": [lambda s, y, t: _right(y, _tier(s, t)) * y.shape[1]],
    "Your accuracy is in percent: the stub asks for a share.": [lambda s, y, t: _right(y, _tier(s, t)) * 100],
    "This is the error rate; return the share of the right answers.": [lambda s, y, t: 1 - _right(y, _tier(s, t))],
}
COSTS = {  # mistakes of cost and the tier that answers
    "the cost is that of the answering tier alone.\nThose before it were called too.": [lambda c, by: c[by]],
    "your cost is the sum over all items.\nReturn the mean.": [lambda c, by: c.cumsum()[by].sum()],
    "your cost is that of asking all tiers on every item.\nA cascade stops.": [lambda c, by: c.sum()],
    "the cost of the answering tier itself is left out.\nIt was called too.": [lambda c, by: (c.cumsum() - c)[by]],
    "items that come to the last tier do not pay for it.": [lambda c, by: np.append(c[:-1], 0).cumsum()[by]],
    "this is the mean cost of a call, not of an item.": [lambda c, by: c.cumsum()[by].sum() / (by + 1).sum()],
    "an item pays for tier 0 and the answering tier only.": [lambda c, by: c[0] + np.where(by > 0, c[by], 0)],
    "items of tier 0 pay for it twice.": [lambda c, by: c[0] + c.cumsum()[by], lambda c, by: c[0] + c[by]],
    "this is the plain mean of the prices.\nWho was called?": [lambda c, by: c, lambda c, by: c.cumsum()],
    "you count the calls.\nAdd up their prices, cost[m].": [lambda c, by: by + 1, lambda c, by: by],
    "what an item pays is cut off to a whole number.": [lambda c, by: c.astype(int).cumsum()[by]],
}
EXERCISE = Exercise(
    "cascades_and_routing.cascade",
    reference=cascade,
    what="(accuracy, mean cost)",
    right="Print for each item which tier answers, and what it has paid by then.",
    errors={
        "IndexError": f"An index is too large: scores and taus have M - 1 rows, one less than correct.{FORGOTTEN}",
        "shapes": "The shapes do not line up: scores is (M-1, N), taus (M-1,), correct (M, N).",
    },
    cases=[case(says, *args, view=_pair) for says, args in CASES.items()],
    corners=[in_integers("correct", "cost")],
    mistakes={
        "The two numbers are in the other order: accuracy comes first.": lambda *args: cascade(*args)[::-1],
        "An item counts as right in your result if any of the tiers that were asked is right.\n"
        "The answer is that of the tier that accepted, the last one asked.": lambda s, y, c, t: (
            _right(np.maximum.accumulate(y), _tier(s, t[:, None])).mean(),
            cascade(s, y, c, t)[1],
        ),
        **{says: [*map(_answers, of)] for says, of in WHO.items()},
        **{says: [*map(_accuracy, of)] for says, of in SHARES.items()},
        **{f"The accuracy is right; {says}": [*map(_paid, of)] for says, of in COSTS.items()},
        "The accuracy is right; you take the share that each tier rejects of all items.\n"
        "Tier m is called on the items that every tier before it has rejected.": lambda s, y, c, t: (
            cascade(s, y, c, t)[0],
            c[0] + c[1:] @ (s <= t[:, None]).mean(axis=1),
        ),
    },
    hints=[
        "Find for each item which tier answers, before correct or cost. What does the last tier need to have?",
        "A table of booleans (M, N): scores > taus[:, None], and a row of True for the last tier. argmax over axis 0"
        " gives the first True. What an item has paid when tier m answers is the running sum of cost.",
        "accepts = np.vstack([scores > taus[:, None], np.ones((1, N), dtype=bool)]); by = accepts.argmax(axis=0);"
        " correct[by, np.arange(N)].mean(), np.cumsum(cost)[by].mean()",
    ],
)
