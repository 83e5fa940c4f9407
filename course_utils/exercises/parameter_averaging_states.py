"""What the checks of 03_parameter_averaging share: is it a state dict, were the models left alone, what was mixed?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import Mistake
from course_utils.exercises.engine.calls import clone, same

StateDict = Mapping[str, Tensor]
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")

IN_PLACE = (
    "The caller still needs it. `result = models[0]` and dict(models[0]) copy no tensor, so that `+=`, `/=`, copy_ or"
    " an assignment to an entry writes into the model itself. Make new tensors: start from torch.zeros_like(...) or"
    " .clone()."
)

OVER_MODELS = "The sum runs over the MODELS, not over the entries of a tensor."


def returned(answer: Callable, *args: Any) -> Any:
    """answer(*args); if it changed a model that it was given, a Mistake that says which one."""
    try:
        return answer(*args)
    except Mistake as mistake:
        if "changed its input" not in str(mistake):
            raise
        raise Mistake(_changed(answer, args) or str(mistake)) from None


def _changed(answer: Callable, args: Sequence[Any]) -> str:
    """The answer is called again, on copies that can be looked at afterwards."""
    given = clone(tuple(args))
    try:
        getattr(answer, "_unguarded", answer)(*given)
    except Exception:
        return ""
    for before, after in zip(args, given, strict=True):
        if isinstance(before, Mapping) and not same(before, after):
            return f"You changed the state dict that you were given ({_where(before, after)}). {IN_PLACE}"
        if not isinstance(before, list) or same(before, after):
            continue
        if not all(isinstance(model, Mapping) for model in before) or len(before) != len(after):
            return "You changed a list that you were given: copy it first, list(...)."
        for i, (model, now) in enumerate(zip(before, after, strict=True)):
            if any(same(model, other) for other in after):
                continue
            which = ORDINALS[i] if i < len(ORDINALS) else f"{i + 1}th"
            return f"You changed the {which} model (models[{i}], {_where(model, now)}). {IN_PLACE}"
        return "You reordered the list of models that you were given: sorted(...) makes a new one, .sort() does not."
    return ""


def _where(before: StateDict, after: StateDict) -> str:
    names = [name for name in before if name not in after or not same(before[name], after[name])]
    return f"its {names[0]!r}" if names else "its entries"


def state_dict(got: Any, like: StateDict, what: str = "Your result", shapes: str = OVER_MODELS) -> StateDict:
    """`got`, if it is a state dict with the names and the shapes of `like`. Raises Mistake if it is anything else."""
    if not isinstance(got, Mapping):
        kind = f"a tensor of shape {tuple(got.shape)}" if isinstance(got, Tensor) else f"a {type(got).__name__}"
        raise Mistake(f"{what} should be a state dict (a dict from name to tensor), and is {kind}.")
    missing, extra = [name for name in like if name not in got], [name for name in got if name not in like]
    if missing:
        few = " Did you return inside the loop over the names?" if len(got) == 1 < len(like) else ""
        raise Mistake(f"{what} has no {missing[0]!r}: every name of the state dict must be there.{few}")
    if extra:
        raise Mistake(f"{what} has the name {extra[0]!r}, which is no name of the state dict that you were given.")
    for name, tensor in like.items():
        if not isinstance(got[name], Tensor):
            raise Mistake(f"{what}: {name!r} is a {type(got[name]).__name__}, and should be a torch tensor.")
        if got[name].shape != tensor.shape:
            raise Mistake(
                f"{what}: {name!r} has shape {tuple(got[name].shape)}, expected {tuple(tensor.shape)}. {shapes}"
            )
    return got


def flat(state: StateDict) -> Tensor:
    """All floats of a state dict, one after the other, as float64."""
    return torch.cat([t.detach().double().reshape(-1) for t in state.values() if t.is_floating_point()])


def mixture(got: StateDict, models: Sequence[StateDict]) -> Tensor | None:
    """The coefficients c with got = sum_i c_i models[i]; None if it is no such sum.

    The models must be linearly independent: then c is unique, and says what was computed, however it was computed.
    """
    basis = torch.stack([flat(model) for model in models], dim=1)  # (numbers, models)
    target = torch.cat(
        [got[name].detach().double().reshape(-1) for name, t in models[0].items() if t.is_floating_point()]
    )
    if not target.isfinite().all():
        return None
    found = torch.linalg.lstsq(basis, target[:, None]).solution
    return found[:, 0] if (basis @ found - target[:, None]).abs().max() < 1e-3 else None


def shown(coefficients: Sequence[float] | Tensor) -> str:
    """For example "0.25 models[0] + 0.75 models[2]"."""
    terms = [f"{c:.3g} models[{i}]" for i, c in enumerate(torch.as_tensor(coefficients).tolist()) if abs(c) > 5e-4]
    return " + ".join(terms).replace("+ -", "- ") or "0"
