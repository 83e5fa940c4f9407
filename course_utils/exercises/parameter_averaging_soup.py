"""Tests of 03_parameter_averaging: the greedy soup, on toy models whose scores are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises import parameter_averaging_soup_mistakes as wrong
from course_utils.exercises.engine import Mistake, close
from course_utils.exercises.engine.calls import StudentError
from course_utils.exercises.parameter_averaging_states import StateDict, flat, mixture, returned, shown, state_dict
from course_utils.merging import greedy_soup

PAIR = "Return two things, the soup's state dict and the list of indices: `return soup, chosen`."


class HeldOut:
    """evaluate(state_dict): a pure function of the parameters that looks like an accuracy; keeps what it was asked."""

    def __init__(self, score: Callable[[StateDict], float], models: Sequence[StateDict]) -> None:
        self.score, self.models, self.asked = score, models, []

    def __call__(self, state: Any) -> float:
        state = state_dict(state, self.models[0], what="What you give to evaluate")
        self.asked.append({name: tensor.detach().clone() for name, tensor in state.items()})
        return self.score(state)


def _check(answer: Callable, models: Sequence[StateDict], score: Callable[[StateDict], float]) -> None:
    evaluate = HeldOut(score, models)
    _, chosen = greedy_soup(models, score)
    soup, mine = _two(_tried(answer, models, evaluate), models)
    if mine != chosen:
        _wrong_indices(mine, chosen, models, evaluate)
    _soup(soup, chosen, models, score)
    _asked(evaluate)


def _tried(answer: Callable, models: Sequence[StateDict], evaluate: HeldOut) -> Any:
    try:
        return returned(answer, models, evaluate)
    except StudentError as wrapped:
        said = str(wrapped.error).split("\n")[0]
        if isinstance(wrapped.error, TypeError) and "'dict'" in said:
            raise Mistake(
                "A state dict is a dict: it cannot be added, divided or compared as a whole. Average the tensors name"
                f" by name, or with average(...); sort the INDICES by their scores. (Python said: {said})"
            ) from None
        if isinstance(wrapped.error, IndexError):
            raise Mistake(f"There may be one model only: the soup is then that model. (Python said: {said})") from None
        raise


def _two(got: Any, models: Sequence[StateDict]) -> tuple[StateDict, list[int]]:
    """The answer as (state dict, list of indices). Raises Mistake if it is anything else."""
    if not isinstance(got, (tuple, list)):
        kind = "a state dict" if isinstance(got, dict) else f"a {type(got).__name__}"
        raise Mistake(f"{PAIR} You return {kind} only.")
    if len(got) != 2:
        raise Mistake(f"{PAIR} You return {len(got)} things.")
    soup, chosen = got
    if isinstance(chosen, dict) and not isinstance(soup, dict):
        raise Mistake(f"{PAIR} Yours are the other way round.")
    soup = state_dict(soup, models[0], what="The soup")
    chosen = chosen.tolist() if hasattr(chosen, "tolist") else chosen
    if not isinstance(chosen, (list, tuple)):
        raise Mistake(f"{PAIR} The second is a {type(chosen).__name__}: a list, in the order in which they were added.")
    if any(isinstance(i, dict) for i in chosen):
        raise Mistake(f"{PAIR} The second holds the models themselves: their indices in `models` are asked.")
    if len(chosen) == len(models) > 1 and all(isinstance(i, bool) for i in chosen):
        raise Mistake(f"{PAIR} The second is a mask: give the indices, in the order in which they were added.")
    try:
        return soup, [int(i) for i in chosen]
    except (TypeError, ValueError):
        raise Mistake(f"{PAIR} The second holds {chosen!r}: whole numbers are asked.") from None


def _wrong_indices(mine: list[int], chosen: list[int], models: Sequence[StateDict], evaluate: HeldOut) -> None:
    scores = [evaluate.score(model) for model in models]
    ranked = sorted(range(len(models)), key=lambda i: -scores[i])
    said = f" (You chose {mine}, it should be {chosen}; the models alone score {[round(s, 2) for s in scores]}.)"
    if not evaluate.asked and len(mine) == len(models) > 1:
        raise Mistake(f"{wrong.UNIFORM} evaluate was never called.{said}")
    if not evaluate.asked:
        raise Mistake(f"evaluate was never called: without held-out scores there is nothing to choose by.{said}")
    if set(mine) == set(chosen) and mine == sorted(mine) and len(mine) < len(models):
        raise Mistake(
            f"These are the right ingredients, sorted: keep the order in which they were added, best first.{said}"
        )
    if len(mine) == len(models) > 1 and mine in (sorted(mine), ranked):
        raise Mistake(f"{wrong.UNIFORM}{said}")
    mixed = _mixed(evaluate.asked, models)
    if not len(mixed) and len(models) > 1:
        hint = wrong.NO_BAR if sorted(mine) == sorted(ranked[: len(mine)]) and len(mine) > 1 else wrong.BEST_ONLY
        raise Mistake(f"{hint if len(evaluate.asked) <= len(models) else wrong.ALONE}{said}")
    for state in evaluate.asked:
        if (c := mixture(state, models)) is not None and abs(c.sum() - 1) > 1e-3:
            raise Mistake(
                f"You evaluated {shown(c)}: that is no mean, its shares sum to {c.sum():.3g}. Divide by the number of"
                f" ingredients, the newcomer included.{said}"
            )
    for hint, indices in [
        ("The best model itself is missing from the list: the soup begins with it.", chosen[1:]),
        ("Indices begin at 0: models[0] is the first.", [i + 1 for i in chosen]),
        ("These are places in the SORTED list: give the indices in `models`.", [ranked.index(i) for i in chosen]),
        ("These are the models that were left out.", [i for i in ranked if i not in chosen]),
    ]:
        if mine == indices:
            raise Mistake(f"{hint}{said}")
    for hint, indices, asked in wrong.variants(models, evaluate.score):
        if mine == indices != chosen and _same_rows(mixed, _mixed(asked, models)):
            raise Mistake(f"{hint}{said}")
    if sorted(mine) == sorted(chosen):
        raise Mistake(f"The right ingredients in another order: give them as they were added, best first.{said}")
    if len(set(mine)) < len(mine):
        raise Mistake(f"A model is in the soup twice: each is tried once.{said}")
    raise Mistake(_first_step(mine, chosen, models, evaluate.score) + said)


def _mixed(states: Sequence[StateDict], models: Sequence[StateDict]) -> Tensor:
    """Those of the states that are no single model, as rows (states, numbers): what was tried tells how."""
    rows = torch.stack([flat(state) for state in states])
    return rows[torch.cdist(rows, torch.stack([flat(model) for model in models])).amin(1) > 1e-3]


def _same_rows(a: Tensor, b: Tensor) -> bool:
    """Each row of the one is in the other."""
    if not len(a) or not len(b):
        return len(a) == len(b)
    near = torch.cdist(a, b) < 1e-3
    return bool(near.any(0).all() and near.any(1).all())


def _first_step(mine: list[int], chosen: list[int], models: Sequence[StateDict], score: Callable) -> str:
    """The first step at which the student's soup parts from the right one."""
    scores = [score(model) for model in models]
    ranked = sorted(range(len(models)), key=lambda i: -scores[i])
    if mine[:1] != chosen[:1]:
        return f"The soup begins with the best single model, which is model {chosen[0]}."
    for i in ranked[1:]:
        if (i in mine) == (i in chosen):
            continue
        before = [j for j in chosen if ranked.index(j) < ranked.index(i)]
        old, new = (score(_mean([models[j] for j in js])) for js in (before, [*before, i]))
        verdict = "is not below, so it must be added" if i in chosen else "is below, so it must stay out"
        return f"The soup {before} scores {old:.3g}. With model {i} it scores {new:.3g}: that {verdict}."
    return "Try the models in the order of their own scores, the best first."


def _mean(models: Sequence[StateDict]) -> dict[str, Tensor]:
    return {name: torch.stack([model[name] for model in models]).mean(0) for name in models[0]}


def _soup(soup: StateDict, chosen: list[int], models: Sequence[StateDict], score: Callable) -> None:
    """The indices are right; is the state dict the mean of these models?"""
    right = _mean([models[i] for i in chosen])
    if torch.allclose(flat(soup), flat(right), atol=1e-4):
        return
    c = mixture(soup, models)
    if c is not None:
        said = f" Yours is {shown(c)}, it should be the mean of the models {chosen}."
        for hint, coefficients in wrong.mixed_by_mistake(chosen, [score(model) for model in models]):
            if torch.allclose(c, coefficients, atol=2e-3):
                raise Mistake(hint + said)
        extra = [i for i, value in enumerate(c.tolist()) if abs(value) > 1e-3 and i not in chosen]
        if extra:
            raise Mistake(f"The indices are right, but model {extra[0]}, which was rejected, is in the soup.{said}")
        raise Mistake(f"The indices are right, but the soup is no plain mean of these models.{said}")
    for name in right:
        close(soup[name], right[name], what=f"the soup's {name!r}")


def _asked(evaluate: HeldOut) -> None:
    """Once for each model and once for each candidate is enough; twice that is still fair."""
    n, calls = len(evaluate.models), len(evaluate.asked)
    if calls > 4 * n:
        raise Mistake(
            f"evaluate was called {calls} times for {n} models. It is a pass over the held-out data, and"
            f" {2 * n - 1} are enough: once for each model, once for each candidate soup. Keep the scores."
        )


# Toy models -----------------------------------------------------------------------------------------------------------
def fine_tunes(count: int, seed: int, spread: float = 1.0) -> list[dict[str, Tensor]]:
    """Random models around one base. With 8 numbers and up to 7 models, what was mixed can be read off the result."""
    generator = torch.Generator().manual_seed(seed)
    return [
        {"w": 1 + spread * torch.randn(6, generator=generator), "b": spread * torch.randn(2, generator=generator)}
        for _ in range(count)
    ]


def near_the_base(state: StateDict) -> float:
    """A smooth "accuracy" with its top at the base, steeper in some directions than in others."""
    w, b = state["w"].double() - 1, state["b"].double()
    steepness = torch.tensor([1.0, 0.5, 2.0, 1.0, 0.3, 1.5], dtype=torch.float64)
    return 0.9 - 0.05 * ((steepness * w**2).sum() + (b**2).sum()).item()


EXAMPLES = torch.randn(25, 8, generator=torch.Generator().manual_seed(11_711), dtype=torch.float64)


def share_right(state: StateDict) -> float:
    """A real accuracy: on how many of 25 held-out examples a linear classifier agrees with the base model."""
    base = torch.tensor([1.0] * 6 + [0.0] * 2, dtype=torch.float64)
    return ((EXAMPLES @ flat(state) > 0) == (EXAMPLES @ base > 0)).double().mean().item()


def soup_seven(answer: Callable) -> None:
    """seven fine-tunes: best first, each stays if the soup with it is not worse than the soup so far"""
    _check(answer, fine_tunes(7, seed=585, spread=0.8), near_the_base)


def soup_tie(answer: Callable) -> None:
    """25 held-out examples: one newcomer changes nothing (a tie, it stays), another one is rejected"""
    _check(answer, fine_tunes(6, seed=6, spread=1.3), share_right)


def soup_best_alone(answer: Callable) -> None:
    """nobody helps: the soup is the best model alone; and a list of one model"""
    far, base, farther = fine_tunes(3, seed=12, spread=2.0)
    base = {name: (torch.ones_like(tensor) if name == "w" else 0 * tensor) for name, tensor in base.items()}
    _check(answer, [far, base, farther], near_the_base)
    _check(answer, [far], near_the_base)


def soup_two(answer: Callable) -> None:
    """two models, one on each side of the best point: both go in"""
    first = fine_tunes(1, seed=13, spread=0.5)[0]
    second = {"w": 2.1 - 1.1 * first["w"], "b": -1.1 * first["b"]}  # the base is w = 1, b = 0
    _check(answer, [second, first], near_the_base)
