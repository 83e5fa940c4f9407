"""Tests of 03_parameter_averaging: the weighted mean of state dicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import Mistake, close
from course_utils.exercises.engine.calls import StudentError, clone
from course_utils.exercises.parameter_averaging_states import StateDict, mixture, returned, shown, state_dict
from course_utils.merging import average

COUNTER = (
    "It counts (training steps, batches seen), it is no parameter: leave out of the sum whatever is not"
    " is_floating_point(), and take the value of the first model, .clone()."
)
NOT_NORMALISED = "The weights are not normalised: divide by their sum, for they may have any scale."
IGNORED = "The weights are ignored: this is the plain mean. Model i counts w_i / (sum of all w)."
BY_NUMBER = "You divided by the NUMBER of models: divide by the SUM of the weights."
FIRST_TWO = "Only the first two models count: loop over all of them, there may be two or five."
HALVES = (
    "Half and half with each newcomer: the last model then counts 1/2 and the first next to nothing. Add all of them"
    " up, then divide once."
)
FROM_FIRST = "Your sum starts from models[0] in place of zeros, so the first model counts too much."
OVERWRITTEN = "Only the last term of the sum is left: `=` in the loop overwrites what the models before gave, use +=."
IN_LOOP = "You divide inside the loop over the models, so that the early ones are divided again and again: divide once."
SOFTMAX = "This is the softmax of the weights: exp() is for scores. Weights are shares already, w_i / (sum of all w)."
LOST = (
    "It lost digits: a sum of many float16 numbers was kept in float16, which has three. Compute in float32, .float(),"
    " and convert the finished mean once, .to(dtype)."
)
OVERFLOW = (
    "float16 ends at 65504, and your sum went over it. Sum in float32, .float(), and convert the mean at the end."
)


def _known(w: Tensor) -> list[tuple[str, Tensor]]:
    """What misconceptions take as the models' coefficients; w (M,): the weights as they are given."""
    n, total, eye = len(w), w.sum(), torch.eye(len(w), dtype=w.dtype)
    shares, two, first = w / total, torch.arange(n) < 2, torch.arange(n) == 0
    steps = torch.arange(n - 1, -1, -1)  # how often the loop divides after model i was added
    halves = torch.cat([w.new_tensor([1.0]), w.new_full((n - 1,), 0.5)]) * 0.5**steps
    last_kept = "The last model is left out: does your loop run over all of them?"
    first_lost = "The first model is left out: does your loop run over all of them?"
    known = [
        (NOT_NORMALISED, w),
        (IGNORED, torch.full_like(w, 1 / n)),
        ("This is the sum of the models: nothing is weighted, and nothing is divided.", torch.ones_like(w)),
        (BY_NUMBER, w / n),
        ("You divided twice, by the sum of the weights and by the number of models: the former is enough.", shares / n),
        ("You divided by the sum of the weights twice.", shares / total),
        ("You multiplied by the number of models: the weights, divided by their sum, are enough.", shares * n),
        ("This is the first model, nothing was averaged.", eye[0]),
        ("This is the last model, nothing was averaged.", eye[-1]),
        ("This is the model with the largest weight: the others count as well.", eye[w.argmax()]),
        (SOFTMAX, w.softmax(0)),
        (SOFTMAX, shares.softmax(0)),
        (HALVES, halves),
        (FROM_FIRST, shares + eye[0]),
        (FROM_FIRST, shares.where(~first, 1.0)),
        (FROM_FIRST, w + eye[0]),
        (FROM_FIRST, w.where(~first, 1.0)),
        (FROM_FIRST, (w + eye[0]) / total),
        (FROM_FIRST, w.where(~first, 1.0) / total),
        (OVERWRITTEN, w * eye[-1]),
        (OVERWRITTEN, shares * eye[-1]),
        (IN_LOOP, w / total ** (steps + 1)),
        (IN_LOOP, w / float(n) ** (steps + 1)),
        (IN_LOOP, w / w.cumsum(0)),
        ("The weights meet the models in reverse.", shares.flip(0)),
        ("The weights were sorted: weight i belongs to model i.", shares.sort().values),
        ("The weights were sorted: weight i belongs to model i.", shares.sort(descending=True).values),
        ("You divided by the largest weight: divide by their sum.", w / w.max()),
        ("You divided by the length of the vector of weights, sqrt(sum w^2): divide by their sum.", w / w.norm()),
        ("The weights enter twice, as squares.", w**2 / (w**2).sum()),
        ("The weights enter twice, as squares.", shares**2),
        ("You divided BY the weights: multiply by them.", (1 / w) / (1 / w).sum()),
        ("Nothing was added up: the result is all zeros.", torch.zeros_like(w)),
    ]
    if n > 2:
        known += [(FIRST_TWO, pair * two) for pair in (w / w[:2].sum(), shares, w, torch.full_like(w, 0.5))]
        known += [(FIRST_TWO, (shares[0] * eye[0] + (1 - shares[0]) * eye[1]))]
        known += [(last_kept, part * (torch.arange(n) < n - 1)) for part in (w / w[:-1].sum(), shares, w)]
        known += [(first_lost, part * ~first) for part in (w / w[1:].sum(), shares, w)]
    return known


def _check(answer: Callable, models: Sequence[StateDict], weights: Sequence[float]) -> None:
    right = average(models, weights)
    got = state_dict(_tried(answer, models, weights), models[0])
    floats = [name for name, tensor in right.items() if tensor.is_floating_point()]
    if not all(_near(got[name], right[name]) for name in floats):
        _wrong_mean(got, right, models, torch.tensor(weights, dtype=torch.float64), floats)
    for name, tensor in right.items():
        if not tensor.is_floating_point():
            _counter(got[name], tensor, name)
        elif got[name].dtype != tensor.dtype:
            raise Mistake(
                f"{name!r} came in as {tensor.dtype} and comes back as {got[name].dtype}: the merged model must"
                " have the dtype of its models, .to(dtype)."
            )
    _own_memory(answer, models, weights)


def _tried(answer: Callable, models: Sequence[StateDict], weights: Sequence[float]) -> Any:
    """`returned`, with a word on torch's complaints about whole numbers."""
    try:
        return returned(answer, models, weights)
    except StudentError as wrapped:
        said = str(wrapped.error).split("\n")[0]
        if isinstance(wrapped.error, RuntimeError) and ("Long" in said or "Int" in said):
            raise Mistake(f"'steps' holds whole numbers. {COUNTER} (torch said: {said})") from None
        if isinstance(wrapped.error, (TypeError, AttributeError)) and "'list'" in said:
            raise Mistake(
                f"weights is a list of plain numbers: sum(weights), or torch.tensor(weights) first."
                f" (Python said: {said})"
            ) from None
        if isinstance(wrapped.error, RuntimeError) and "must match" in said:
            raise Mistake(
                "There is one weight for each MODEL: a loop multiplies weights[i] * models[i][name], and stacked"
                f" tensors need the weights in the shape (models, 1, 1), or torch.tensordot. (torch said: {said})"
            ) from None
        if isinstance(wrapped.error, IndexError):
            raise Mistake(
                f"There may be one model, two or five: loop over all of them. (Python said: {said})"
            ) from None
        raise


def _near(got: Tensor, right: Tensor) -> bool:
    half = right.dtype == torch.float16
    return torch.allclose(got.double(), right.double(), atol=2e-3 if half else 1e-5, rtol=1e-4)


def _wrong_mean(got: StateDict, right: StateDict, models: Sequence[StateDict], w: Tensor, floats: list[str]) -> None:
    """The floats are not the weighted mean. Raises Mistake."""
    good, bad = ([name for name in floats if _near(got[name], right[name]) is value] for value in (True, False))
    first = got[bad[0]].double()
    if right[bad[0]].dtype == torch.float16 and len(models) > 100:
        if not first.isfinite().all():
            raise Mistake(f"{bad[0]!r} holds inf or nan. {OVERFLOW}")
        if (first - right[bad[0]].double()).abs().max() < 0.5:
            raise Mistake(f"{bad[0]!r} is {first[0].item():.4g}, expected {right[bad[0]][0].item():.4g}. {LOST}")
    elif (c := mixture(got, models)) is not None:
        said = f" Yours is {shown(c)}, it should be {shown(w / w.sum())}."
        for hint, coefficients in _known(w):
            if _same(c, coefficients) and not _same(coefficients, w / w.sum()):
                raise Mistake(hint + said)
        total = f" The shares sum to {c.sum().item():.3g} in place of 1." if (c.sum() - 1).abs() > 1e-3 else ""
        raise Mistake("Every model counts w_i / (sum of all w)." + said + total)
    else:
        stack = torch.stack([model[bad[0]] for model in models])
        if any(_near(got[bad[0]], value) for value in (stack.median(0).values, stack.quantile(0.5, dim=0))):
            raise Mistake("This is the median of the models: take the weighted mean.")
    if good:
        raise Mistake(f"{good[0]!r} is right, and {bad[0]!r} is not: every tensor has its own sum, starting from zero.")
    close(got[bad[0]], right[bad[0]], what=f"{bad[0]!r}, sum_i w_i theta_i / sum_i w_i,")


def _same(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, atol=2e-3, rtol=1e-3)


def _counter(got: Tensor, right: Tensor, name: str) -> None:
    if got.is_floating_point() or got.is_complex():
        raise Mistake(f"{name!r} is {right.dtype} in every model and comes back as {got.dtype}. {COUNTER}")
    if not torch.equal(got.long(), right):
        raise Mistake(
            f"{name!r} is {right.tolist()} in every model and comes back as {got.tolist()}: it went through a sum of"
            f" floats, which float32 holds to seven digits only, and was cut off. {COUNTER}"
        )
    if got.dtype != right.dtype:
        raise Mistake(f"{name!r} is {right.dtype} in every model and comes back as {got.dtype}. {COUNTER}")


def _own_memory(answer: Callable, models: Sequence[StateDict], weights: Sequence[float]) -> None:
    """Called once more on copies that can be compared with the result, for the guard hands over copies of its own."""
    given = clone(list(models))
    result = getattr(answer, "_unguarded", answer)(given, list(weights))
    for i, model in enumerate(given):
        if result is model:
            raise Mistake(
                f"Your result IS models[{i}], and no new state dict: whoever changes the one changes the other."
            )
        for name, tensor in model.items():
            if tensor.untyped_storage().data_ptr() == result[name].untyped_storage().data_ptr():
                raise Mistake(
                    f"{name!r} of your result shares its memory with models[{i}]: whoever changes the one changes the"
                    " other, for example with +=. Copy it: .clone()."
                )


def checkpoints(count: int, seed: int) -> list[dict[str, Tensor]]:
    """Random checkpoints of one small network, without whole numbers."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"embedding.weight": (5, 3), "layer.weight": (4, 4), "layer.bias": (4,)}
    return [{name: torch.randn(shape, generator=generator) for name, shape in shapes.items()} for _ in range(count)]


def average_four(answer: Callable) -> None:
    """four checkpoints with the weights 2, 5, 1 and 4"""
    _check(answer, checkpoints(4, seed=1), [2.0, 5.0, 1.0, 4.0])


def average_two_or_five(answer: Callable) -> None:
    """two models with the weights 0.01 and 0.03; five models with a weight of 0 among them"""
    _check(answer, checkpoints(2, seed=2), [0.01, 0.03])
    _check(answer, checkpoints(5, seed=3), [3.0, 1.0, 0.0, 2.0, 4.0])


def average_counter(answer: Callable) -> None:
    """a counter of training steps (int64, equal in all models) comes through unchanged"""
    models = checkpoints(3, seed=4)
    for model in models:
        model["steps"] = torch.tensor(16_777_217)  # 2 ** 24 + 1: the first whole number that float32 does not hold
    _check(answer, models, [0.2, 0.5, 0.1])


def average_half(answer: Callable) -> None:
    """float16 stays float16, and the mean of 400 float16 checkpoints has all its digits"""
    generator = torch.Generator().manual_seed(5)
    start = 1.5 + 0.4 * torch.rand(6, generator=generator)
    for weight in (1.0, 300.0):
        models = [{"w": (start + 1e-2 * torch.randn(6, generator=generator)).half()} for _ in range(400)]
        _check(answer, models, [weight] * 400)


def average_one(answer: Callable) -> None:
    """one model alone gives an equal model, with memory of its own"""
    _check(answer, checkpoints(1, seed=6), [0.5])
