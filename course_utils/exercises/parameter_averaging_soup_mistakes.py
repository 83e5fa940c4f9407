"""What known misconceptions about the greedy soup choose and mix, each with the hint that names it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

import torch
from torch import Tensor

from course_utils.exercises.parameter_averaging_states import StateDict
from course_utils.merging import average

Evaluate = Callable[[StateDict], float]

UNSORTED = (
    "You try the models in the order in which they are given: first score each one alone, then go from the best to the"
    " worst."
)
ASCENDING = "You begin with the WORST model: sort by score, the largest first."
BEST_THEN_GIVEN = (
    "You begin with the best model, but try the others in the order in which they are given: the second best comes"
    " next."
)
SINGLE = (
    "You compare with the best SINGLE model all the time. The bar is the soup so far: once a newcomer is in, best ="
    " score."
)
HALF = (
    "You mix half and half, (soup + newcomer) / 2: then the last one in counts 1/2. The soup is the plain mean of ALL"
    " its ingredients, average([models[j] for j in [*chosen, i]])."
)
STRICT = (
    "A tie counts: the paper's algorithm 1 adds a model if the soup does not get WORSE (>=). Its official code has >."
    " On few held-out examples ties are common, and one more ingredient that costs nothing makes the mean more stable."
)
STOPS = "You stop at the first model that does not help: leave that one out, and go on with the next."
ALONE = "You evaluate the newcomer alone. What counts is the score of the soup WITH it, mean(chosen + [i])."
BEST_ONLY = (
    "This is the best single model: was a soup ever evaluated? A newcomer's own score cannot tell how the soup WITH it"
    " does, mean(chosen + [i])."
)
UNIFORM = (
    "All models went in: that is the uniform soup. A model stays out if the soup with it scores below the soup so far"
    " (not below the newcomer's own score, which nearly every soup beats)."
)
PAIRS = "You mix the newcomer with the best single model only: it joins ALL the ingredients so far."
LOWEST = "You minimise: evaluate returns a score, the larger the better."
LAST_BAR = "A rejected soup's score became the bar: set best = score only if the newcomer stays."
KEPT = "A rejected model stays in the mix that the next one is tried with: build the candidate from chosen + [i] anew."
OWN_SCORE = "You compare the soup with the newcomer's own score: compare it with the soup so far."
FORWARD = (
    "In each round you look for the best of ALL remaining models. The greedy soup tries each model once, in the order"
    " of its own score."
)
NO_BAR = (
    "You chose the best few by their OWN scores: what counts is the score of the soup with each newcomer, mean(chosen +"
    " [i])."
)
BEST_THEN_WORST = "After the best model you go on from the WORST upwards: the second best comes next."


def choose(
    models: Sequence[StateDict],
    evaluate: Evaluate,
    order: str = "descending",
    bar: str = "soup",
    candidate: str = "mean",
    strict: bool = False,
    stop: bool = False,
) -> list[int]:
    """The indices that a variant of the greedy soup chooses."""
    scores = [evaluate(model) for model in models]
    given, ranked = list(range(len(models))), sorted(range(len(models)), key=lambda i: -scores[i])
    best_first = [ranked[0], *(i for i in given if i != ranked[0])]
    line = {
        "descending": ranked,
        "given": given,
        "best first": best_first,
        "ascending": ranked[::-1],
        "best, then worst": [ranked[0], *ranked[:0:-1]],
    }[order]
    chosen, best, mix, tried = line[:1], scores[line[0]], models[line[0]], line[:1]
    for i in line[1:]:
        tried.append(i)
        parts = {
            "mean": [models[j] for j in [*chosen, i]],
            "half": [mix, models[i]],
            "with best": [models[line[0]], models[i]],
            "all tried": [models[j] for j in tried],
        }[candidate]
        trial = average(parts)
        score = evaluate(trial)
        level = scores[line[0]] if bar == "single" else scores[i] if bar == "newcomer" else best
        if score > level or (score == level and not strict):
            chosen, best, mix = [*chosen, i], score, trial
        elif stop:
            break
        elif bar == "last":
            best = score
    return chosen


def forward_selection(models: Sequence[StateDict], evaluate: Evaluate) -> list[int]:
    scores = [evaluate(model) for model in models]
    chosen = [max(range(len(models)), key=lambda i: scores[i])]
    best, rest = scores[chosen[0]], [i for i in range(len(models)) if i != chosen[0]]
    while rest:
        soups = {i: evaluate(average([models[j] for j in [*chosen, i]])) for i in rest}
        i = max(rest, key=lambda i: soups[i])
        if soups[i] < best:
            break
        chosen, best, rest = [*chosen, i], soups[i], [j for j in rest if j != i]
    return chosen


SINGLES = [
    (UNSORTED, {"order": "given"}),
    (ASCENDING, {"order": "ascending"}),
    (BEST_THEN_GIVEN, {"order": "best first"}),
    (BEST_THEN_WORST, {"order": "best, then worst"}),
    (SINGLE, {"bar": "single"}),
    (HALF, {"candidate": "half"}),
    (STRICT, {"strict": True}),
    (STOPS, {"stop": True}),
    (PAIRS, {"candidate": "with best"}),
    (LAST_BAR, {"bar": "last"}),
    (KEPT, {"candidate": "all tried"}),
    (OWN_SCORE, {"bar": "newcomer"}),
]


def variants(models: Sequence[StateDict], evaluate: Evaluate) -> Iterator[tuple[str, list[int], list[StateDict]]]:
    """(hint, the indices that it chooses, what it evaluates) for one misconception, then for two of them at once."""
    for hint, options in SINGLES:
        yield hint, *_recorded(choose, models, evaluate, **options)
    yield LOWEST, *_recorded(choose, models, lambda state: -evaluate(state))
    yield FORWARD, *_recorded(forward_selection, models, evaluate)
    for (first, options), (second, others) in combinations(SINGLES, 2):
        if not options.keys() & others.keys():
            yield f"{first} And: {second}", *_recorded(choose, models, evaluate, **options, **others)


def _recorded(method: Callable, models: Sequence[StateDict], evaluate: Evaluate, **options) -> tuple[list[int], list]:
    asked = []

    def recording(state: StateDict) -> float:
        asked.append(state)
        return evaluate(state)

    return method(models, recording, **options), asked


def mixed_by_mistake(chosen: Sequence[int], scores: Sequence[float]) -> list[tuple[str, Tensor]]:
    """Wrong coefficients (models,) of a soup with the right ingredients, each with its hint."""
    n, k = len(scores), len(chosen)
    inside = torch.zeros(n, dtype=torch.float64)
    inside[list(chosen)] = 1
    halves, weighted = torch.zeros_like(inside), inside * torch.tensor(scores, dtype=torch.float64)
    for place, i in enumerate(chosen):
        halves[i] = 0.5 ** max(k - place, 1) if place else 0.5 ** (k - 1)
    eye = torch.eye(n, dtype=torch.float64)
    return [
        (
            "The indices are right, but the state dict is the best single model: return the MEAN of these models.",
            eye[chosen[0]],
        ),
        (
            "The indices are right, but the state dict is the last ingredient alone: return the MEAN of these.",
            eye[chosen[-1]],
        ),
        ("The indices are right, but the state dict is the mean of ALL models.", torch.full_like(inside, 1 / n)),
        ("The indices are right, but the state dict is their sum: divide by how many they are.", inside),
        ("The sum is divided by the number of ALL models: divide by the number of ingredients.", inside / n),
        (HALF, halves),
        (
            "The newest ingredient is missing from the state dict: was it made before the last one was added?",
            (inside - eye[chosen[-1]]) / max(k - 1, 1),
        ),
        ("You weighted the ingredients by their scores: the soup is their plain mean.", weighted / weighted.sum()),
    ]
