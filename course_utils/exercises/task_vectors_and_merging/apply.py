"""Task arithmetic: the base plus lam times the sum of the task vectors, on state dicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, Mistake, alike, case
from course_utils.exercises.engine.calls import clone
from course_utils.exercises.engine.diagnose import tried
from course_utils.merging.task_vectors import add, edit, task_vector


def add_tasks(base: Mapping[str, Tensor], fine_tuned: Sequence[Mapping[str, Tensor]], lam: float) -> dict[str, Tensor]:
    """theta_0 + lam * sum_i (theta_i - theta_0): a new state dict with the skills of all fine-tuned models.

    base: a state dict; fine_tuned: at least one, with the same names and shapes; lam: one number for all of them,
    negative to take a skill away. Whole numbers (counters) are copied from the base.
    Source: Ilharco et al. (2023), sections 2 and 4.
    """
    return edit(base, add([task_vector(base, model) for model in fine_tuned]), lam)


def family(count: int, seed: int, dtype: torch.dtype = torch.float32) -> tuple[dict, list[dict]]:
    """A base and fine-tuned models around it, without whole numbers."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"embedding.weight": (5, 3), "layer.weight": (4, 4), "layer.bias": (4,)}
    drawn = [{n: torch.randn(shape, generator=generator) for n, shape in shapes.items()} for _ in range(count + 1)]
    models = [{n: (drawn[0][n] + t / 2).to(dtype) for n, t in moved.items()} for moved in drawn[1:]]
    return {n: t.to(dtype) for n, t in drawn[0].items()}, models


def _is_right(got: Any, base: dict, fine_tuned: list[dict], lam: float, atol: float = 1e-5, rtol: float = 1e-4) -> bool:
    right = add_tasks(base, fine_tuned, lam)
    return alike(got, right, atol, rtol) and all(got[name].dtype == t.dtype for name, t in right.items())


def _sum(*coefficients: Callable[[int, float], tuple[float, Any]]) -> list[Callable]:
    """Other coefficients than 1 - lam n of the base, and lam of each model: of n and lam."""

    def wrong(f: Callable, base: dict, fine_tuned: list[dict], lam: float) -> dict[str, Tensor]:
        start, each = f(len(fine_tuned), lam)
        each = each if isinstance(each, list) else [each] * len(fine_tuned)
        return {n: start * t + sum(c * model[n] for c, model in zip(each, fine_tuned)) for n, t in base.items()}

    return [partial(wrong, f) for f in coefficients]


def _shown(coefficients: Tensor) -> str:
    terms = [f"{c:.3g} theta_{i}" for i, c in enumerate(coefficients.tolist()) if abs(c) > 5e-4]
    return " + ".join(terms).replace("+ -", "- ") or "0"


def _explain(got: Any, expected: dict, base: dict, fine_tuned: list[dict], lam: float) -> str:
    if not isinstance(got, Mapping):
        return ""
    if len(got) == 1:
        return "The result has one name only: did you return inside the loop over the names?"
    if not alike({n: 0 * v for n, v in got.items()}, {n: 0 * v for n, v in base.items()}):
        return ""  # other names or shapes, or not finite
    for name, tensor in base.items():
        if got[name].dtype != tensor.dtype:
            return f"{name!r} is {tensor.dtype} in the base and comes back as {got[name].dtype}: keep the base's dtype."
    basis = torch.stack([torch.cat([m[n].double().flatten() for n in base]) for m in [base, *fine_tuned]], 1)
    target = torch.cat([got[n].detach().double().flatten() for n in base])
    found = torch.linalg.lstsq(basis, target[:, None]).solution[:, 0]
    asked = torch.tensor([1 - lam * len(fine_tuned)] + [lam] * len(fine_tuned)).double()
    if torch.allclose(basis @ found, target, atol=2e-3):
        if torch.allclose(found, asked, atol=2e-3):
            return "The sum is right to three digits only: was something computed in float16?"
        return f"Yours is {_shown(found)}, it should be {_shown(asked)}."
    good = [n for n in base if alike(got[n], expected[n])]
    return f"{good[0]!r} is right, and another tensor is not: every tensor has its own sum." if good else ""


def _counter(answer: Callable) -> None:
    """a counter of training steps (int64) keeps the value that it has in the base"""
    (base, models), steps = family(2, seed=495), torch.tensor([1000, 1060, 1090])
    given = {**base, "steps": steps[0]}, [{**m, "steps": n} for m, n in zip(models, steps[1:])]
    got = tried(EXERCISE, answer, (*given, 0.7))
    if "steps" not in got:
        raise Mistake("The result has no 'steps': every name of the base must be there.")
    value = torch.as_tensor(got["steps"])
    if value.dtype != torch.int64 or value != 1000 or not isinstance(got["steps"], Tensor):
        said = f"'steps' is 1000 (torch.int64) in the base and comes back as {value.item():g} ({value.dtype})."
        raise Mistake(f"{said} It counts steps, it is no parameter, no direction to go in.", "Copy it from the base.")


def _half(answer: Callable) -> None:
    """float16 models give a float16 model"""
    args = (*family(3, seed=496, dtype=torch.float16), 0.4)
    got = tried(EXERCISE, answer, args)
    if not _is_right(got, *args, atol=4e-3, rtol=1e-3):
        raise Mistake(_explain(got, add_tasks(*args), *args) or "The sum is not right.")


def _memory(answer: Callable) -> None:
    """the result is a new model: it shares no memory with the others"""
    (base, models), steps = family(2, seed=497), torch.tensor(1000)
    given = clone([{**model, "steps": steps} for model in (base, *models)])
    result = getattr(answer, "_unguarded", answer)(given[0], given[1:], 0.4)  # the guard hands over copies of its own
    for i, model in enumerate(given):
        which = f"fine_tuned[{i - 1}]" if i else "the base"
        for name, tensor in model.items():
            if tensor.untyped_storage().data_ptr() == result[name].untyped_storage().data_ptr():
                raise Mistake(f"{name!r} of your result shares its memory with the one of {which}.", "Take a .clone().")


EXERCISE = Exercise(
    "task_vectors_and_merging.apply",
    reference=add_tasks,
    cases=[
        case("three fine-tuned models", *family(3, seed=491), 0.4),
        case("one model with a negative lam, which takes its skill away", *family(1, seed=492), -0.5),
        case("five models", *family(5, seed=493), 0.3),
        case("lam = 0 is the base", *family(2, seed=494), 0.0),
    ],
    checks=[_counter, _half, _memory],
    equal=_is_right,
    mistakes={
        "The fine-tuned models are added to the base: each holds the whole base once more.\n"
        "Add what fine-tuning changed, theta_i - theta_0.": _sum(
            *(lambda n, lam: (1, lam), lambda n, lam: (1, lam / n), lambda n, lam: (1, 1), lambda n, lam: (n, lam))
        ),
        "The mean of the task vectors is added: take their sum.": _sum(lambda n, lam: (1 - lam, lam / n)),
        "lam multiplies the base as well: it scales the sum of the task vectors only.": _sum(
            *(lambda n, lam: (lam * (1 - n), lam), lambda n, lam: (0, lam / n)),
            *(lambda n, lam: (lam, lam), lambda n, lam: (lam - n, 1)),
        ),
        "The base gets 1 - lam, as if you interpolated: it stays whole, because theta_i - theta_0 is a difference.": (
            _sum(lambda n, lam: (1 - lam - lam * n, lam), lambda n, lam: (1 - 2 * lam, lam / n))
        ),
        "The base is subtracted once in all, not once for each model.": _sum(lambda n, lam: (1 - lam, lam)),
        "The base minus the task vectors forgets the tasks: a task vector is fine-tuned minus base, and is added.": (
            _sum(lambda n, lam: (1 + lam * n, -lam), lambda n, lam: (1 + lam, -lam / n))
        ),
        "Only the first or the last model takes part: each step must begin with the sum so far.": _sum(
            lambda n, lam: (1 - lam, [lam] + [0] * (n - 1)), lambda n, lam: (1 - lam, [0] * (n - 1) + [lam])
        ),
        "This is lam times the sum of the task vectors, without the base, which they start from.": _sum(
            *(lambda n, lam: (-lam * n, lam), lambda n, lam: (-lam, lam / n), lambda n, lam: (-n, 1)),
            lambda n, lam: (0, lam),
        ),
        "lam is ignored.": _sum(lambda n, lam: (1 - n, 1), lambda n, lam: (0, 1 / n)),
        "lam lost its sign: a negative one takes a skill away.": _sum(lambda n, lam: (1 - n * abs(lam), abs(lam))),
        "This is the models' average, whatever lam is.": _sum(lambda n, lam: (1 / (n + 1), 1 / (n + 1))),
        "Each task vector is measured from the result so far: measure them from the base, theta_i - theta_0.": _sum(
            lambda n, lam: ((1 - lam) ** n, [lam * (1 - lam) ** (n - 1 - i) for i in range(n)])
        ),
        "The base is added once for each model.": _sum(lambda n, lam: (n - lam * n, lam)),
        "This is the base: no task vector was added.": _sum(lambda n, lam: (1, 0)),
        "All entries are added up, to one number for the whole tensor: each keeps its own sum over the models.": (
            lambda base, tuned, lam: {n: t + lam * sum((m[n] - t).sum() for m in tuned) for n, t in base.items()}
        ),
        "The first model is subtracted, not the base.": _sum(lambda n, lam: (1, [lam - lam * n] + [lam] * (n - 1))),
        "Nothing was added up: the result is all zeros.": _sum(lambda n, lam: (0, 0)),
        "This is one of the fine-tuned models alone.": _sum(
            lambda n, lam: (0, [0] * (n - 1) + [1]), lambda n, lam: (0, [1] + [0] * (n - 1))
        ),
    },
    explain=_explain,
    errors={
        "shapes": "The shapes do not line up: each name has one shape in all models, and the sum is over the models.",
        "result type Float|'Long'|two bool|integral input": "'steps' holds whole numbers: it is no parameter.",
        r"type\(s\) for|'list'|'dict'|can't multiply|list indices": "fine_tuned is a list of state dicts: two loops.",
        "index out of range": "There may be one fine-tuned model, three or five: loop over all of them.",
    },
    hints=[
        "What did fine-tuning change in each model? All these changes are added to the base, scaled by one number. "
        "Which tensors are no parameters at all?",
        "For each name of the base: total = the sum over the models of model[name] - base[name]; the result is "
        "base[name] + lam * total, in the base's dtype. Whole numbers (not is_floating_point()) are cloned.",
        "for name, start in base.items(): if not start.is_floating_point(): result[name] = start.clone(); else: "
        "result[name] = (start + lam * sum(model[name] - start for model in fine_tuned)).to(start.dtype)",
    ],
)
