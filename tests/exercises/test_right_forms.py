"""Right answers in other forms, drawn by hypothesis: none may be refused.

A form changes what a right answer may differ in: the dtype that it computes in, whether it goes through NumPy, how the
numbers lie in memory, the last bits (a sum in another order), whether it takes a batch at once or row by row, list or
tuple. Several are drawn at a time and put around the exercise's reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from course_utils.exercises.engine import PASSED, all_exercises, run_check

# A kernel has no result whose form could vary.
EXERCISES = {name: each for name, each in all_exercises().items() if each.is_function and not each.run}

# {exercise: ({argument's position: its dimension that is the batch}, the result's)}: may be computed row by row.
BATCHED = {
    "interpolation.linear": ({0: 1}, 0),
    "interpolation.loglinear": ({0: 1}, 0),
    "interpolation.posterior": ({0: 1}, 1),
    "interpolation.knn_probs": ({0: 0, 1: 0}, 0),
    "speculative_decoding.residual": ({0: 0, 1: 0}, 0),
    "speculative_decoding.accepted_tokens": ({0: 0, 1: 0, 2: 0, 3: 0}, 0),
    "speculative_decoding.cascade_target": ({0: 0, 1: 0}, 0),
    "across_vocabularies.mix_bytes": ({0: 0, 1: 0}, 0),
    "negative_evidence.dexperts": ({0: 0, 1: 0, 2: 0}, 0),
    "negative_evidence.plausible_mask": ({0: 0}, 0),
    "negative_evidence.guidance": ({0: 0, 1: 0}, 0),
    "task_vectors_and_merging.trim": ({0: 0}, 0),
    "task_vectors_and_merging.disjoint_mean": ({0: 1, 1: 0}, 0),
    "distillation.ensemble_targets": ({0: 1}, 0),
    "sparsity_and_kernels.prune_2_4": ({0: 0}, 0),
    "mixture_of_experts.keep_top_k": ({0: 0}, 0),
    "mixture_of_experts.noisy_gate": ({0: 0, 4: 0}, 0),
    "cascades_and_routing.knn_outcomes": ({2: 0}, 0),
    "refinement_and_diffusion.q_sample": ({0: 0, 4: 0}, 0),
    "refinement_and_diffusion.posterior": ({0: 0, 1: 0}, 0),
    "refinement_and_diffusion.ddpm_step": ({0: 0, 1: 0, 4: 0}, 0),
    "refinement_and_diffusion.ddim_step": ({0: 0, 1: 0, 4: 0}, 0),
    "refinement_and_diffusion.unmask_most_confident": ({0: 0, 1: 0, 2: 0}, 0),
}
# Forms that an exercise does not accept.
NOT_HERE = {
    "task_vectors_and_merging.dare": {"float64 inside"},  # what a generator draws depends on the dtype
    "sparsity_and_kernels.sparse_matvec": {"float64 inside", "strided arguments"},  # both read all rows
    "distillation.ensemble_targets": {"with a graph"},  # no gradient may flow into the teachers
}


def each(value: Any, change: Callable[[Any], Any], in_dicts: bool = True) -> Any:
    """`change` applied to all tensors, arrays and floats in lists, tuples and, if asked, dicts."""
    if isinstance(value, Mapping):
        return type(value)((key, each(part, change)) for key, part in value.items()) if in_dicts else value
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(each(part, change, in_dicts) for part in value)
    return change(value)


def is_real(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


# --- forms of what goes in -------------------------------------------------------------------------------------------


def in_double(value: Any) -> Any:
    return each(value, lambda part: part.double() if is_real(part) else part, in_dicts=False)


def strided(value: Any) -> Any:
    """The same numbers with gaps between them in memory."""

    def spread(part: Any) -> Any:
        if isinstance(part, Tensor) and part.dim():
            return torch.stack([part, part], dim=-1)[..., 0]
        return np.stack([part, part], axis=-1)[..., 0] if isinstance(part, np.ndarray) and part.ndim else part

    return each(value, spread)


INPUTS = {"float64 inside": in_double, "strided arguments": strided, "arguments as they are": lambda value: value}


# --- forms of what comes out -----------------------------------------------------------------------------------------


def through_numpy(value: Any) -> Any:
    def there_and_back(part: Any) -> Any:
        return torch.from_numpy(part.detach().numpy().copy()) if isinstance(part, Tensor) else part

    return each(value, there_and_back)


def as_double(value: Any) -> Any:
    def wider(part: Any) -> Any:
        return np.float64(part) if type(part) is float else part.double() if is_real(part) else part

    return each(value, wider, in_dicts=False)


def as_lists(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def other_sequence(value: Any) -> Any:
    return list(value) if type(value) is tuple else tuple(value) if type(value) is list else value


def rounded_otherwise(value: Any) -> Any:
    """Every second number two units off in its last place (of float32), the others as they are; so are 0 and
    infinity."""

    def nudge(part: Any) -> Any:
        if is_real(part):
            return part * (1 + 2.4e-7 * (torch.arange(part.numel()) % 2 == 0).reshape(part.shape).to(part.dtype))
        return part * (1 + 2.4e-7) if type(part) is float else part

    return each(value, nudge)


def with_a_graph(value: Any) -> Any:
    return each(value, lambda part: part + torch.zeros((), requires_grad=True) if is_real(part) else part)


OUTPUTS = {
    "through NumPy": through_numpy,
    "float64": as_double,
    "strided result": strided,
    "a list": as_lists,
    "list for tuple": other_sequence,
    "rounded otherwise": rounded_otherwise,
    "with a graph": with_a_graph,
}


def needs_the_gradient(name: str) -> bool:
    """Whether the check asks the result for a gradient, which a way through NumPy cuts off."""
    return any(
        isinstance(value, Tensor) and value.requires_grad
        for case in EXERCISES[name].all_cases
        for value in case.named.values()
    )


def row_by_row(name: str, reference: Callable) -> Callable:
    places, out = BATCHED[name]

    def looped(*args: Any) -> Any:
        n = args[next(iter(places))].shape[next(iter(places.values()))]

        def part(i: int) -> list:
            cut = list(args)
            for place, dim in places.items():
                cut[place] = cut[place][(*[slice(None)] * dim, slice(i, i + 1))]
            return cut

        rows = [reference(*part(i)) for i in range(n)]
        return np.concatenate(rows, out) if isinstance(rows[0], np.ndarray) else torch.cat(rows, out)

    return looped


def answer_in(name: str, looped: bool, given_as: str, results_as: list[str]) -> Callable:
    reference = EXERCISES[name].reference
    compute = row_by_row(name, reference) if looped else reference

    def answer(*args: Any) -> Any:
        result = compute(*map(INPUTS[given_as], args))
        for form in results_as:
            result = OUTPUTS[form](result)
        return result

    return answer


@pytest.mark.parametrize("name", EXERCISES)
def test_a_right_answer_in_another_form_passes(name):
    not_here = NOT_HERE.get(name, set()) | ({"through NumPy"} if needs_the_gradient(name) else set())
    inputs, outputs = sorted(set(INPUTS) - not_here), sorted(set(OUTPUTS) - not_here)

    @settings(max_examples=8, deadline=None, derandomize=True, database=None)
    @given(
        looped=st.booleans() if name in BATCHED else st.just(False),
        given_as=st.sampled_from(inputs),
        results_as=st.lists(st.sampled_from(outputs), max_size=3, unique=True),
    )
    def passes(looped, given_as, results_as):
        report = run_check(name, answer_in(name, looped, given_as, results_as))
        assert report.status == PASSED, report.text

    passes()


def test_the_forms_change_something():
    x, pair = torch.tensor([[1.0, 3.0], [0.0, -torch.inf]]), (1.5, [2.5])
    assert in_double(x).dtype == as_double(x).dtype == torch.float64 and not strided(x).is_contiguous()
    assert (rounded_otherwise(x) != x).tolist() == [[True, False], [False, False]]
    assert with_a_graph(x).requires_grad and other_sequence(pair) == [1.5, [2.5]] and as_lists(np.ones(2)) == [1, 1]
    assert type(as_double(pair)[0]) is np.float64 and through_numpy(x).equal(x)


@pytest.mark.parametrize("name", BATCHED)
def test_a_loop_over_the_rows_is_told_from_one_over_the_wrong_rows(name):
    """The loop above proves something only if it cuts where the batch is: in reverse order it must fail."""
    out = BATCHED[name][1]

    def backwards(*args: Any) -> Any:
        result = row_by_row(name, EXERCISES[name].reference)(*args)
        return np.flip(result, out).copy() if isinstance(result, np.ndarray) else result.flip(out)

    assert run_check(name, backwards).status != PASSED
