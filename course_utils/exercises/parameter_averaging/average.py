"""The weighted mean of state dicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, Mistake, alike, case, draw
from course_utils.exercises.engine.calls import clone
from course_utils.exercises.engine.compare import kind
from course_utils.exercises.parameter_averaging import checkpoints
from course_utils.merging import average

SUM = "Divide by the sum of the weights, once."
ALL = "Loop over all models: there may be two or five."
SHARE = "Model i counts w_i / (sum of all w)."
COUNTER = "It counts, it is no parameter: copy whatever is not is_floating_point() from the first model, with .clone()."
COUNTERS = {"steps": torch.tensor(2**24 + 1), "places": torch.arange(4).int()}  # float32 has no 2 ** 24 + 1
WITH_STEPS = [{**model, **COUNTERS} for model in checkpoints(3, seed=4)]
HALF = [{"w": row.half()} for row in 1.7 + 0.1 * draw(150, 6, seed=5)]


def _each(mean: Callable[[Tensor, Tensor], Tensor]) -> Callable:
    """A mistake, tensor by tensor: mean(stack (M, ...), weights (M,)). A counter tells nothing."""

    def wrong(models: Sequence[Mapping[str, Tensor]], weights: Sequence[float]) -> dict[str, Tensor]:
        if any(tensor.dtype in (torch.int32, torch.float16) for tensor in models[0].values()):
            raise ValueError
        stacks = {name: torch.stack([model[name] for model in models]).double() for name in models[0]}
        return {name: mean(stack, torch.tensor(weights).double()).float() for name, stack in stacks.items()}

    return wrong


def _shares(wrong: Callable[[Tensor, Tensor], list[Tensor]]) -> list[Callable]:
    """Mistakes in the models' shares. wrong(w, s): one (M,) for each way to make it; s: w / w.sum()."""
    count = len(wrong(torch.ones(1), torch.ones(1)))
    return [_each(lambda stack, w, i=i: torch.tensordot(wrong(w, w / w.sum())[i], stack, 1)) for i in range(count)]


def _at(w: Tensor, *places: int) -> Tensor:
    """1 at these places, 0 elsewhere."""
    return torch.tensor([float(i in places or i - len(w) in places) for i in range(len(w))], dtype=w.dtype)


def _equal(got: Any, models: Sequence[Mapping[str, Tensor]], weights: Sequence[float]) -> bool:
    """Near as numbers (float16 has three digits), the same dtype; a counter is the same to its last digit."""
    right = average(models, weights)
    return alike(got, right, atol=2e-3 if models is HALF else 1e-5) and all(
        isinstance(got[name], Tensor)
        and got[name].dtype == tensor.dtype
        and (tensor.is_floating_point() or torch.equal(got[name], tensor))
        for name, tensor in right.items()
    )


def _explain(got: Any, expected: Mapping[str, Tensor], models: Sequence[Mapping[str, Tensor]], *_: Any) -> str:
    if not isinstance(got, Mapping):
        return ""
    for name, right in expected.items():
        mine = got.get(name)
        if mine is None:
            inside = " Did you return inside the loop over the names?" if len(got) == 1 < len(expected) else ""
            return f"The result has no {name!r}: every name of the state dict must be there.{inside}"
        if not isinstance(mine, Tensor):
            return f"{name!r} should be a torch tensor of shape {tuple(right.shape)}, and is {kind(mine)}."
        if mine.shape != right.shape:
            return ""
        off = (mine.double() - right.double()).abs().max()
        if mine.dtype == torch.float16 and not off < 2e-3:
            lost, full = "It lost digits: float16 has three, and", "float16 ends at 65504:"
            said = f"{lost if off < 0.5 else full} your sum of 150 numbers was kept in float16."
            raise Mistake(said, "Compute in float32, .float(), and convert the finished mean once.")
        if not right.is_floating_point() and (mine.dtype != right.dtype or off):
            was, now = (f"{tensor.tolist()} ({tensor.dtype})" for tensor in (right, mine))
            raise Mistake(f"{name!r} is {was} in every model and comes back as {now}.", COUNTER)
        if mine.dtype != right.dtype and off < 2e-3:
            return f"{name!r} came in as {right.dtype} and comes back as {mine.dtype}: each tensor keeps its dtype."
        if not right.dim() and right.is_floating_point() and off > 1e-4 and mine == models[0][name]:
            return f"{name!r} was copied: it has no dimension, and is a parameter all the same."
    c = mixture(got, models)
    if c is None:
        return ""
    terms = " + ".join(f"{share:.3g} models[{i}]" for i, share in enumerate(c.tolist()) if abs(share) > 5e-4)
    return f"Every model counts w_i / (sum of all w). Yours is {terms.replace('+ -', '- ')}, of sum {c.sum():.3g}."


def mixture(got: Mapping[str, Tensor], models: Sequence[Mapping[str, Tensor]]) -> Tensor | None:
    """The shares c with got = sum_i c_i models[i], however it was computed; None if it is no such sum."""
    target, *basis = (torch.cat([state[name].double().flatten() for name in models[0]]) for state in (got, *models))
    if len(basis) > len(target) or not target.isfinite().all():
        return None
    found = torch.linalg.lstsq(torch.stack(basis, 1), target[:, None]).solution
    return found[:, 0] if torch.allclose(torch.stack(basis, 1) @ found, target[:, None], atol=1e-3) else None


def _own_memory(answer: Callable) -> None:
    """the result has memory of its own, also if there is one model only"""
    for count in (3, 1):
        models = clone(WITH_STEPS[:count])
        result = getattr(answer, "_unguarded", answer)(models, [1.0] * count)  # the guard would hand over copies
        for name, tensor in models[0].items():
            if tensor.untyped_storage().data_ptr() == result[name].untyped_storage().data_ptr():
                says = f"{name!r} of your result shares its memory with models[0]: a change of one changes the other."
                raise Mistake(says, "Copy it: .clone().")


EXERCISE = Exercise(
    "parameter_averaging.average",
    reference=average,
    seconds=15.0,
    cases=[
        case("four checkpoints", checkpoints(4, seed=1), [2.0, 5.0, 1.0, 4.0]),
        case("two models with the small weights 0.01 and 0.03", checkpoints(2, seed=2), [0.01, 0.03]),
        case("five models, one with the weight 0, one with -1.5", checkpoints(5, seed=3), [3.0, 1.0, 0.0, -1.5, 4.0]),
        case("one model alone gives an equal model", checkpoints(1, seed=6), [0.5]),
        case("whole numbers (training steps, places), equal in all models, are copied", WITH_STEPS, [0.2, 0.5, 0.1]),
        case("150 models of float16: the mean is float16, and has all its digits", HALF, [300.0] * 150),
    ],
    equal=_equal,
    explain=_explain,
    checks=[_own_memory],
    errors={
        r"RuntimeError.*(Long|Int)": f"'steps' holds whole numbers. {COUNTER}",
        r"(Type|Attribute)Error.*'list'": "weights is a list: sum(weights), or torch.tensor(weights) first.",
        "IndexError: list": "There may be one model, two or five: loop over all of them.",
        "shapes": "There is one weight for each model: weights[i] * models[i][name], or torch.tensordot on a stack.",
    },
    mistakes={
        f"The weights are not normalised.\nThey may have any scale. {SUM}": _shares(lambda w, s: [w]),
        f"The weights are ignored: this is the plain mean.\n{SHARE}": _shares(lambda w, s: [w * 0 + 1 / len(w)]),
        f"This is the sum of the models: nothing is weighted.\n{SHARE}": _shares(lambda w, s: [w * 0 + 1]),
        f"This is the weighted sum, divided by the number of models.\n{SUM}": _shares(lambda w, s: [w / len(w)]),
        "This is the weighted mean, divided once more, by the number of models or by the sum of weights.": _shares(
            lambda w, s: [s / len(w), s / w.sum()]
        ),
        "This is the softmax of the weights: exp() is for scores.": _shares(lambda w, s: [w.softmax(0), s.softmax(0)]),
        "The weights enter twice, as squares.": _shares(lambda w, s: [s**2, w**2 / (w**2).sum()]),
        "This is divided by the weights.\nMultiply by them.": _shares(lambda w, s: [(1 / w) / (1 / w).sum()]),
        "The weights meet the models in another order: weight i is model i's.": _shares(
            lambda w, s: [s.flip(0), s.sort()[0], s.sort()[0].flip(0)]
        ),
        "A negative weight lost its sign, or its model is missing: that model is subtracted.": _shares(
            lambda w, s: [x / y for x in (w.abs(), w.relu()) for y in (x.sum(), w.sum())]
        ),
        "This is the first or the last model, nothing was averaged.": _shares(lambda w, s: [_at(w, 0), _at(w, -1)]),
        "This is the model of largest weight: the others count too.": _shares(lambda w, s: [_at(w, w.argmax())]),
        "Nothing was added up: the result is all zeros.": _shares(lambda w, s: [w * 0]),
        f"Only the first two models count.\n{ALL}": _shares(
            lambda w, s: [
                x * _at(w, 0, 1) for x in (w / w[:2].sum(), s, w, w * 0 + 0.5, torch.where(w == w[0], s[0], 1 - s[0]))
            ]
        ),
        f"The first or the last model is missing.\n{ALL}": _shares(
            lambda w, s: [x - x * _at(w, i) for i in (0, -1) for x in (w / (w.sum() - w[i]), s, w)]
        ),
        "Half and half with each newcomer: the last model then counts 1/2 and the first next to nothing.\n"
        "Add all of them up, then divide once.": _shares(
            lambda w, s: [w.new_tensor([0.5 ** (len(w) - max(i, 1)) for i in range(len(w))])]
        ),
        "The first model counts too much, as if the sum started from models[0] instead of zeros.": _shares(
            lambda w, s: [
                x + y * _at(w, 0)
                for x, y in ((s, 1), (s, 1 - s), (w, 1), (w, 1 - w), (s, 1 / w.sum()), (s, 1 / w.sum() - s))
            ]
        ),
        "Only the last term of the sum is left: `=` in the loop overwrites what the models before gave.\n"
        "Use += there.": _shares(lambda w, s: [w * _at(w, -1), s * _at(w, -1)]),
        "The early models are divided again and again, as by a division inside the loop over the models.\n"
        f"{SUM}": _shares(
            lambda w, s: [w / x ** torch.arange(len(w), 0, -1) for x in (w.sum(), len(w))] + [w / w.cumsum(0)]
        ),
        f"This is the median of the models.\n{SHARE}": _each(lambda stack, w: stack.median(0).values),
        "The sum runs over the models, not over entries.": _each(
            lambda stack, w: torch.tensordot(w / w.sum(), stack, 1).mean()
        ),
    },
    hints=[
        "One sum for each name of the state dict, over the models. What share of it has model i, if the weights are"
        " 2, 1 and 5? And which tensors are no parameters at all?",
        "total = sum(weights). For each name: start from zeros in float32, add weight / total * model[name].float() for"
        " each model, convert the finished sum to the first model's dtype. Whole numbers (not is_floating_point()) are"
        " copied, with .clone().",
        "for name, first in models[0].items(): if not first.is_floating_point(): result[name] = first.clone(); else:"
        " result[name] = sum(w / total * m[name].float() for w, m in zip(weights, models)).to(first.dtype).",
    ],
)
