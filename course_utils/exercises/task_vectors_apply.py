"""Tests of 04_task_vectors_and_merging: the base plus lam times the sum of the task vectors, on state dicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import Mistake, close
from course_utils.exercises.engine.calls import clone, same
from course_utils.exercises.parameter_averaging_states import ORDINALS, StateDict, mixture, state_dict
from course_utils.exercises.task_vectors_checks import tried
from course_utils.merging.task_vectors import add, edit, task_vector


def add_tasks(base: Mapping[str, Tensor], fine_tuned: Sequence[Mapping[str, Tensor]], lam: float) -> dict[str, Tensor]:
    """theta_0 + lam * sum_i (theta_i - theta_0): a new state dict with the skills of all fine-tuned models.

    base: a state dict; fine_tuned: at least one, with the same names and shapes; lam: one number for all of them,
    negative to take a skill away. Whole numbers (counters) are copied from the base.
    Source: Ilharco et al. (2023), sections 2 and 4.
    """
    return edit(base, add([task_vector(base, model) for model in fine_tuned]), lam)


RIGHT = "The result is theta_0 + lam * sum_i (theta_i - theta_0)."
MODELS = (
    "You add the fine-tuned MODELS to the base: add what fine-tuning changed, tau_i = theta_i - theta_0. Each model holds"
    " the whole base once more."
)
MEAN = (
    "You took the MEAN of the task vectors: addition is a sum, lam * sum_i tau_i, with no division by the number of"
    " models. (lam = 1/n gives their mean, and the caller chooses lam.)"
)
ON_BASE = "lam multiplies the base as well: theta_0 stays as it is, and lam scales the sum of the task vectors only."
REST = (
    "The base gets 1 - lam, as if you interpolated: theta_0 stays whole, for tau_i = theta_i - theta_0 is a difference."
    " Add lam * tau_i to it."
)
ONCE = (
    "The base is subtracted once in all: EACH task vector is theta_i - theta_0, so that it is subtracted n times, once"
    " for each model."
)
NEGATED = (
    "The sign is the wrong way round: this is the base MINUS the task vectors, which makes it forget the tasks."
    " tau_i = theta_i - theta_0, fine-tuned minus base, and it is added."
)
FIRST = "Only the first model takes part: sum over all of them, there may be one, three or five."
LAST = (
    "Only the last model takes part: sum over all of them (`=` in the loop overwrites what was there, and each step must"
    " begin with the sum so far)."
)
NO_BASE = "This is lam times the sum of the task vectors, without the base: add theta_0, which they start from."
NO_LAM = "lam is ignored: multiply the sum of the task vectors by it."
AVERAGE = (
    "This is the average of the models, whatever lam is: task arithmetic adds lam times the SUM of the differences to the"
    " base."
)
SEQUENTIAL = (
    "You move on from the result so far, theta + lam * (theta_i - theta): then the last model counts most. Every tau_i is"
    " measured from the BASE, theta_i - theta_0."
)
N_BASES = "The base is added once for each model: add theta_0 once, outside the sum."
DIVIDED = "You divide by lam: multiply the sum of the task vectors by it."
SQUARED = "lam enters twice: multiply the sum of the task vectors by it once."
POWERS = "lam has another power for each model: ONE lam multiplies the whole sum."
UNCHANGED = "This is the base: no task vector was added."
ALL_ENTRIES = (
    "You added up all ENTRIES, one number for the whole tensor: sum over the models, .sum(dim=0) of a stack, so that each"
    " entry keeps its own sum."
)
TAU_OF_FIRST = "The differences are taken from the first fine-tuned model: subtract the BASE, theta_i - theta_0."
COUNTER = (
    "It counts steps, it is no parameter, and no direction to go in: leave out whatever is not is_floating_point(), and"
    " copy the value of the base, .clone()."
)
IN_PLACE = (
    "The caller still needs it. `result = base` and dict(base) copy no tensor, so that +=, add_ or copy_ writes into the"
    " base itself. Make new tensors, base[name] + lam * total, or start from .clone()."
)
SHARED = (
    "{!r} of your result shares its memory with the one of {}: whoever changes the one changes the other, for example"
    " with +=. Copy it: .clone()."
)
CLASH = "The shapes do not line up: each name has one shape in all models, and the sum runs over the models."
COMPLAINTS = [
    (r"result type Float|'Long'|two bool|integral input", f"'steps' holds whole numbers. {COUNTER}"),
    (
        r"type\(s\) for|'list'|'dict'|can't multiply|list indices",
        (
            "fine_tuned is a LIST of state dicts: two loops, over its models and over the names, base[name] and"
            " model[name]."
        ),
    ),
    (r"index out of range", "There may be one fine-tuned model, three or five: loop over all of them."),
]


def known(n: int, lam: float) -> list[tuple[str, Tensor]]:
    """What misconceptions take as the coefficients of (base, theta_1, ..., theta_n)."""

    def row(base: float, models: float | Sequence[float]) -> Tensor:
        models = [models] * n if isinstance(models, (int, float)) else list(models)
        return torch.tensor([base, *models], dtype=torch.float64)

    first, last = [lam] + [0.0] * (n - 1), [0.0] * (n - 1) + [lam]
    steps = [lam * (1 - lam) ** (n - 1 - i) for i in range(n)]
    powers = [lam ** (i + 1) for i in range(n)]
    others = [0.0] + [lam] * (n - 1)
    return [
        (MODELS, row(1.0, lam)),
        (f"{MODELS} And: {MEAN}", row(1.0, lam / n)),
        (f"{MODELS} And: {NO_LAM}", row(1.0, 1.0)),
        (MEAN, row(1 - lam, lam / n)),
        (f"{MEAN} And: {NO_LAM}", row(0.0, 1 / n)),
        (ON_BASE, row(lam * (1 - n), lam)),
        (f"{ON_BASE} And: {MEAN}", row(0.0, lam / n)),
        (f"{ON_BASE} And: {MODELS}", row(lam, lam)),
        (f"{ON_BASE} And: {NO_LAM}", row(lam - n, 1.0)),
        (REST, row(1 - lam - lam * n, lam)),
        (f"{REST} And: {MEAN}", row(1 - 2 * lam, lam / n)),
        (ONCE, row(1 - lam, lam)),
        (NEGATED, row(1 + lam * n, -lam)),
        (f"{NEGATED} And: {MEAN}", row(1 + lam, -lam / n)),
        (FIRST, row(1 - lam, first)),
        (LAST, row(1 - lam, last)),
        (NO_BASE, row(-lam * n, lam)),
        (f"{NO_BASE} And: {MEAN}", row(-lam, lam / n)),
        (f"{NO_BASE} And: {NO_LAM}", row(-n, 1.0)),
        (f"{NO_BASE} And: {MODELS}", row(0.0, lam)),
        (NO_LAM, row(1.0 - n, 1.0)),
        (AVERAGE, row(1 / (n + 1), 1 / (n + 1))),
        (SEQUENTIAL, row((1 - lam) ** n, steps)),
        (N_BASES, row(n - lam * n, lam)),
        (f"{N_BASES} And: {MODELS}", row(n, lam)),
        (DIVIDED, row(1 - n / lam if lam else 1.0, 1 / lam if lam else 0.0)),
        (SQUARED, row(1 - n * lam**2, lam**2)),
        (POWERS, row(1 - sum(powers), powers)),
        (UNCHANGED, row(1.0, 0.0)),
        (TAU_OF_FIRST, row(1.0, [-lam * (n - 1), *others[1:]])),
        ("Nothing was added up: the result is all zeros. " + RIGHT, row(0.0, 0.0)),
        ("This is the last fine-tuned model alone. " + RIGHT, row(0.0, [0.0] * (n - 1) + [1.0])),
        ("This is the first fine-tuned model alone. " + RIGHT, row(0.0, [1.0] + [0.0] * (n - 1))),
    ]


def _check(answer: Callable, base: StateDict, fine_tuned: Sequence[StateDict], lam: float) -> None:
    right = add_tasks(base, fine_tuned, lam)
    got = state_dict(_tried(answer, base, fine_tuned, lam), base)
    floats = [name for name, tensor in base.items() if tensor.is_floating_point()]
    bad = [name for name in floats if not _near(got[name], right[name])]
    if bad:
        _wrong_sum(got, right, [base, *fine_tuned], lam, floats, bad)
    for name, tensor in base.items():
        if not tensor.is_floating_point():
            _counter(got[name], tensor, name)
        elif got[name].dtype != tensor.dtype:
            raise Mistake(
                f"{name!r} is {tensor.dtype} in the base and comes back as {got[name].dtype}: the edited model has the"
                " dtype of the base, .to(dtype)."
            )
    _own_memory(answer, base, fine_tuned, lam)


def _near(got: Tensor, right: Tensor) -> bool:
    half = right.dtype == torch.float16
    return torch.allclose(got.double(), right.double(), atol=4e-3 if half else 1e-5, rtol=1e-3 if half else 1e-4)


def _wrong_sum(
    got: StateDict, right: StateDict, models: Sequence[StateDict], lam: float, floats: list[str], bad: list[str]
) -> None:
    """Raises Mistake: the coefficients of base and models tell what was computed."""
    n, good = len(models) - 1, [name for name in floats if name not in bad]
    if (c := mixture(got, models)) is not None:
        asked = torch.tensor([1 - lam * n] + [lam] * n, dtype=torch.float64)
        said = f" (Yours is {shown(c)}, it should be {shown(asked)}.)"
        for hint, coefficients in known(n, lam):
            if torch.allclose(c, coefficients, atol=2e-3) and not torch.allclose(coefficients, asked, atol=2e-3):
                raise Mistake(hint + said)
        raise Mistake(RIGHT + said)
    change = got[bad[0]].double() - models[0][bad[0]].double()
    if change.isfinite().all() and change.max() - change.min() < 1e-4 < change.abs().max():
        raise Mistake(ALL_ENTRIES)
    if good:
        raise Mistake(f"{good[0]!r} is right, and {bad[0]!r} is not: every tensor has its own sum. {RIGHT}")
    if got[bad[0]].isnan().any():
        raise Mistake(f"{bad[0]!r} holds nan. {RIGHT}")
    try:
        close(got[bad[0]], right[bad[0]], what=f"{bad[0]!r}")
    except Mistake as difference:
        raise Mistake(f"{difference} {RIGHT}") from None


def shown(coefficients: Tensor) -> str:
    """For example "-0.2 theta_0 + 0.4 theta_1 + 0.4 theta_2"."""
    terms = [f"{c:.3g} theta_{i}" for i, c in enumerate(coefficients.tolist()) if abs(c) > 5e-4]
    return " + ".join(terms).replace("+ -", "- ") or "0"


def _counter(got: Tensor, right: Tensor, name: str) -> None:
    if got.dtype != right.dtype or not torch.equal(got, right):
        raise Mistake(
            f"{name!r} is {right.tolist()} ({right.dtype}) in the base and comes back as {got.tolist()} ({got.dtype})."
            f" {COUNTER}"
        )


def _tried(answer: Callable, *args: Any) -> Any:
    try:
        return tried(answer, *args, clash=CLASH, complaints=COMPLAINTS)
    except Mistake as mistake:
        if "changed its input" not in str(mistake):
            raise
    base, fine_tuned, lam = given = clone(args)
    getattr(answer, "_unguarded", answer)(*given)
    if not same(args[0], base):
        names = [name for name in args[0] if name not in base or not same(args[0][name], base[name])]
        raise Mistake(f"You changed the base (its {names[0] if names else 'entries'!r}). {IN_PLACE}")
    changed = [i for i, (before, after) in enumerate(zip(args[1], fine_tuned)) if not same(before, after)]
    which = f"the {ORDINALS[changed[0]]} of the fine-tuned models" if changed else "the list of fine-tuned models"
    raise Mistake(f"You changed {which}: the caller still needs it. Make new tensors, or start from .clone().")


def _own_memory(answer: Callable, base: StateDict, fine_tuned: Sequence[StateDict], lam: float) -> None:
    """Called once more on copies that can be compared with the result, for the guard hands over copies of its own."""
    given = clone([base, *fine_tuned])
    result = getattr(answer, "_unguarded", answer)(given[0], given[1:], lam)
    for i, model in enumerate(given):
        which = f"fine_tuned[{i - 1}]" if i else "the base"
        if result is model:
            raise Mistake(f"Your result IS {which}, and no new state dict: who changes the one changes the other.")
        for name, tensor in model.items():
            if tensor.untyped_storage().data_ptr() == result[name].untyped_storage().data_ptr():
                raise Mistake(SHARED.format(name, which))


def family(count: int, seed: int, dtype: torch.dtype = torch.float32) -> tuple[StateDict, list[StateDict]]:
    """A base and fine-tuned models around it, without whole numbers."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"embedding.weight": (5, 3), "layer.weight": (4, 4), "layer.bias": (4,)}
    base = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}
    models = []
    for _ in range(count):
        moved = {name: 0.5 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
        models.append({name: (tensor + moved[name]).to(dtype) for name, tensor in base.items()})
    return base, models


def apply_three(answer: Callable) -> None:
    """three fine-tuned models, lam = 0.4"""
    _check(answer, *family(3, seed=491), 0.4)


def apply_one_or_five(answer: Callable) -> None:
    """one model with lam = -0.5, which takes its skill away; five models with lam = 0.3; lam = 0 is the base"""
    _check(answer, *family(1, seed=492), -0.5)
    _check(answer, *family(5, seed=493), 0.3)
    _check(answer, *family(2, seed=494), 0.0)


def apply_counter(answer: Callable) -> None:
    """a counter of training steps (int64) keeps the value that it has in the base"""
    base, models = family(2, seed=495)
    base["steps"] = torch.tensor(1000)
    for i, model in enumerate(models):
        model["steps"] = torch.tensor(1060 + 30 * i)
    _check(answer, base, models, 0.7)


def apply_half(answer: Callable) -> None:
    """float16 models give a float16 model"""
    base, models = family(3, seed=496, dtype=torch.float16)
    _check(answer, base, models, 0.4)
