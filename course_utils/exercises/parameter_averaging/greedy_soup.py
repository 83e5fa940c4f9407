"""The greedy soup, on toy models whose scores are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from course_utils.exercises.engine import Exercise, Mistake, alike, case
from course_utils.exercises.parameter_averaging import checkpoints, minus_loss, near_the_base, share_right
from course_utils.merging import StateDict, average, greedy_soup

Models = Sequence[StateDict]
PAIR = "Return the soup's state dict and the list of its indices in `models`, in the order in which they were added."
RIGHT = "The indices are right, and the state dict is"
MEAN = "The soup is the plain mean of all its ingredients."
BAR = "The bar is the score of the soup so far."
ANEW = "Build each candidate anew, from the chosen ones and the newcomer."
MORE = "The larger the score the better."
WITH = "What counts is the score of the soup with the newcomer in it."
MODELS, TIES, FAR = checkpoints(7, seed=116), checkpoints(6, seed=148), checkpoints(3, seed=3)


def _ranked(models: Models, evaluate: Callable) -> list[int]:
    scores = [evaluate(model) for model in models]
    return sorted(range(len(models)), key=lambda i: -scores[i])


def _mean(models: Models, indices: Sequence[int], *_: Any) -> StateDict:
    return average([models[i] for i in indices])


def _pair(models: Models, indices: Sequence[int], *_: Any) -> StateDict:
    return _mean(models, [indices[0], indices[-1]])


def _sum(models: Models, indices: Sequence[int], *_: Any) -> StateDict:
    return {name: sum(models[i][name] for i in indices) for name in models[0]}


def _halves(models: Models, indices: Sequence[int], *_: Any) -> StateDict:
    return models[indices[0]] if len(indices) < 2 else average([_halves(models, indices[:-1]), models[indices[-1]]])


def _soup(order: Callable = list, bar: str = "soup", mix: Callable = _mean, end: Callable = _mean) -> Callable:
    """The greedy soup with one thing changed: the order, the bar, what is evaluated, what is returned."""

    def wrong(models: Models, evaluate: Callable) -> tuple[StateDict, list[int]]:
        line = order(_ranked(models, evaluate))
        chosen, bars = line[:1], dict.fromkeys(["soup", "best", "last", "stop"], evaluate(models[line[0]]))
        for place, i in enumerate(line[1:], start=2):
            score, bars["newcomer"] = evaluate(mix(models, [*chosen, i], line[:place])), evaluate(models[i])
            bars["strict"] = bars["soup"] + 1e-9
            joins = score >= bars[bar]
            chosen = [*chosen, i] if joins else chosen
            bars |= {"last": score, **({"soup": score, "stop": score} if joins else {"stop": float("inf")})}
        return end(models, chosen), chosen

    return wrong


def _weighted_by_scores(models: Models, evaluate: Callable) -> tuple[StateDict, list[int]]:
    chosen = greedy_soup(models, evaluate)[1]
    return average([models[i] for i in chosen], [evaluate(models[i]) for i in chosen]), chosen


def _best_of_all(models: Models, evaluate: Callable) -> tuple[StateDict, list[int]]:
    chosen = _ranked(models, evaluate)[:1]
    for _ in models:
        trials = [[*chosen, i] for i in _ranked(models, evaluate) if i not in chosen]
        trial = max(trials, key=lambda indices: evaluate(_mean(models, indices)), default=chosen)
        chosen = trial if evaluate(_mean(models, trial)) >= evaluate(_mean(models, chosen)) else chosen
    return _mean(models, chosen), chosen


def _returns(end: Callable[[Models, StateDict, list[int], list[int]], Any]) -> Callable:
    """The right soup, but end(models, soup, chosen, ranked) is returned."""
    return lambda models, evaluate: end(models, *greedy_soup(models, evaluate), _ranked(models, evaluate))


RETURNED: dict[str, Callable] = {  # m: models, s: the right soup, c: the chosen ones, r: all, best first
    "These are the right ingredients, sorted.": lambda m, s, c, r: (s, sorted(c)),
    "The list of the indices is missing.": lambda m, s, c, r: s,
    "The two are the other way round.": lambda m, s, c, r: (c, s),
    "The list holds the models themselves.": lambda m, s, c, r: (s, [m[i] for i in c]),
    "The best model itself is missing from the list.": lambda m, s, c, r: (s, c[1:]),
    "Indices begin at 0: models[0] is the first.": lambda m, s, c, r: (s, [i + 1 for i in c]),
    "These are places in the sorted list.": lambda m, s, c, r: (s, [r.index(i) for i in c]),
    f"{RIGHT} the best single model.": lambda m, s, c, r: (m[c[0]], c),
    f"{RIGHT} the last ingredient alone.": lambda m, s, c, r: (m[c[-1]], c),
    f"{RIGHT} the mean of all models.": lambda m, s, c, r: (_mean(m, r), c),
    f"{RIGHT} the sum of the ingredients.": lambda m, s, c, r: (_sum(m, c), c),
    f"{RIGHT} a mean without the newest ingredient.": lambda m, s, c, r: (_mean(m, c[:-1] or c), c),
    f"{RIGHT} the last candidate, a rejected one.": lambda m, s, c, r: (_mean(m, dict.fromkeys([*c, r[-1]])), c),
}


def _explain(got: Any, expected: tuple[StateDict, list[int]], models: Models, evaluate: Callable) -> str:
    """The first step at which the indices part from the right ones."""
    try:
        mine, chosen, ranked = [int(i) for i in got[1]], expected[1], _ranked(models, evaluate)
    except (TypeError, ValueError, LookupError):
        return PAIR
    if len(got) != 2:
        return f"These are {len(got)} results. {PAIR}"
    if not mine:
        return "There is no ingredient: the best model is always one, and its score may be below 0."
    for i in ranked if len(set(mine)) == len(mine) and mine != chosen else []:
        before = [j for j in chosen if ranked.index(j) < ranked.index(i)]
        if before and (i in mine) != (i in chosen):
            old, new = (evaluate(_mean(models, js)) for js in (before, [*before, i]))
            verdict = "is not below, so it must be added" if i in chosen else "is below, so it must stay out"
            return f"The soup {before} scores {old:.3g}. With model {i} it scores {new:.3g}: that {verdict}."
    return f"The indices are right, and the state dict is not. {MEAN}" if mine == chosen else PAIR


def _asks_little(answer: Callable) -> None:
    """evaluate, a pass over the held-out data, is not called more often than necessary"""
    calls: list[StateDict] = []
    answer(MODELS, lambda state: calls.append(state) or near_the_base(state))
    if len(calls) > 4 * len(MODELS):
        says = f"evaluate was called {len(calls)} times for 7 models, and 13 are enough."
        raise Mistake(says, "Once for each model, once for each candidate soup: keep the scores.")


EXERCISE = Exercise(
    "parameter_averaging.greedy_soup",
    reference=greedy_soup,
    seconds=10.0,
    cases=[
        case("seven fine-tunes: best first, each stays if the soup does not get worse", MODELS, near_the_base),
        case("25 held-out examples: one newcomer changes nothing (a tie, it stays)", TIES, share_right),
        case("nobody helps; minus a loss", [FAR[0], {k: 0 * t for k, t in FAR[0].items()}, FAR[1]], minus_loss),
        case("one model only; minus a loss", FAR[:1], minus_loss),
    ],
    equal=lambda got, models, evaluate: alike(got, greedy_soup(models, evaluate), atol=1e-4),
    explain=_explain,
    checks=[_asks_little],
    errors={
        "TypeError.*'dict'": "A state dict is a dict: average it tensor by tensor; sort the indices.",
        "subscriptable|indices must be": "What you give to evaluate should be a state dict.",
        "nothing to merge|non-empty": "No model was taken: the bar starts at the best model's score, which may be "
        "below 0.",
        "IndexError: list": "There may be one model only: the soup is then that model.",
    },
    mistakes={
        "You try the models as they are given.\nSort them by their scores.": _soup(sorted),
        f"You begin with the worst model.\n{MORE}": _soup(lambda r: r[::-1]),
        "After the best model you do not go on with the second best.": [
            _soup(order) for order in (lambda r: [r[0], *sorted(r[1:])], lambda r: [r[0], *r[:0:-1]])
        ],
        f"You compare with the best single model all the time.\n{BAR}": _soup(bar="best"),
        f"A model came in that made the soup worse: a rejected soup's score must not become the bar.\n{BAR}": _soup(
            bar="last"
        ),
        f"Half and half, (soup + newcomer) / 2: then the last one in counts 1/2.\n{MEAN}": [
            _soup(mix=mix, end=end) for mix, end in ((_halves, _halves), (_halves, _mean), (_mean, _halves))
        ],
        "You evaluated a sum.\nTake the mean.": [_soup(mix=_sum, end=end) for end in (_sum, _mean)],
        "A tie counts: the paper's algorithm 1 adds a model if the soup does not get worse (>=). Its code has >.\n"
        "One more ingredient that costs nothing makes the mean more stable.": _soup(bar="strict"),
        "You stop at the first model that does not help.\nGo on with the next.": _soup(bar="stop"),
        f"You mix the newcomer with the best model only.\n{MEAN}": [_soup(mix=_pair, end=f) for f in (_mean, _pair)],
        f"A rejected model stays in the mix.\n{ANEW}": _soup(mix=lambda m, c, tried: _mean(m, tried)),
        f"This is the best single model: a newcomer's own score cannot tell how the soup with it does.\n{WITH}": [
            _soup(mix=lambda models, chosen, tried: models[chosen[-1]]),
            _returns(lambda m, s, c, r: (m[r[0]], r[:1])),
        ],
        "All models went in: that is the uniform soup.\n"
        "A model stays out if the soup with it scores below the soup so far, not below the newcomer's own score.": [
            _soup(bar="newcomer"),
            *(_returns(lambda m, s, c, r, f=f: (_mean(m, r), f(r))) for f in (sorted, list)),
        ],
        f"These are the best few by their own scores.\n{WITH}": [
            _returns(lambda m, s, c, r, k=k: (_mean(m, r[:k]), r[:k])) for k in (2, 3, 4, 5)
        ],
        f"You minimise: evaluate returns a score.\n{MORE}": lambda m, e: greedy_soup(m, lambda state: -e(state)),
        "In each round you look for the best of all: try each model once.": _best_of_all,
        f"{RIGHT} a mean weighted by the scores.\n{MEAN}": _weighted_by_scores,
        **{f"{says}\n{MEAN if RIGHT in says else PAIR}": _returns(end) for says, end in RETURNED.items()},
    },
    hints=[
        "First each model alone: which order follows from that? Then: with which score do you compare when a "
        "newcomer is tried, and what is evaluated?",
        "chosen = [the best], best = its score. For each other i, from good to bad: score = evaluate(mean of chosen +"
        " [i]). If score >= best: i joins, and best = score. If not: leave it out and go on.",
        "scores = [evaluate(m) for m in models]; order = sorted(range(len(models)), key=lambda i: -scores[i]); in the"
        " loop over order[1:]: soup = average([models[j] for j in [*chosen, i]], [1] * (len(chosen) + 1)). At the end"
        " return the average of the chosen, and chosen.",
    ],
)
