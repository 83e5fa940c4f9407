"""Averages of whole models: uniform and greedy soups, checkpoint averaging, interpolation between two models.

A state dict maps names to tensors. The inputs are never changed, floats are computed in float32 (float64 if they are)
and come back in the first model's dtype; whole numbers and booleans (counters, masks) cannot be averaged: they have to
be equal in all models.

What is made of the differences from a common base (TIES, DARE, …) is in ``merging.methods``, its pieces in
``merging.task_vectors``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from course_utils.merging.task_vectors import (
    StateDict,
    check_whole_numbers,
    float_dtype,
    matching_states,
    normalised,
)


def average(models: Sequence[Mapping[str, Tensor]], weights: Sequence[float] | None = None) -> StateDict:
    """theta = sum_i w_i theta_i / sum_i w_i, tensor by tensor; without weights the plain mean.

    models: state dicts with the same names and shapes; weights: one number a model, any scale, not summing to 0.
    Raises ValueError, naming the tensor: no models, wrong number of weights, names or shapes that differ, whole numbers
    that differ. Source: Polyak & Juditsky (1992) for checkpoints; mergekit's `linear` with normalize=true.
    """
    matching_states(models)
    weights = [1.0] * len(models) if weights is None else [float(weight) for weight in weights]
    if len(weights) != len(models):
        raise ValueError(f"{len(weights)} weights for {len(models)} models: give one weight for each model")
    weights = normalised(weights)
    merged = {}
    for name, first in models[0].items():
        tensors = [model[name] for model in models]
        if not first.is_floating_point():
            check_whole_numbers(name, tensors)
            merged[name] = first.clone()
            continue
        total = torch.zeros_like(first, dtype=float_dtype(first))
        for weight, tensor in zip(weights, tensors, strict=True):
            total += weight * tensor.to(total.dtype)
        merged[name] = total.to(first.dtype)
    return merged


def interpolate(a: Mapping[str, Tensor], b: Mapping[str, Tensor], t: float) -> StateDict:
    """(1 - t) a + t b: the point t on the straight line from a (t = 0) to b (t = 1). Errors as ``average``."""
    return average([a, b], [1 - t, t])


def uniform_soup(models: Sequence[Mapping[str, Tensor]]) -> StateDict:
    """The mean of all fine-tunes. Source: Wortsman et al. (2022), model soups, section 2."""
    return average(models)


def greedy_soup(
    models: Sequence[Mapping[str, Tensor]], evaluate: Callable[[StateDict], float]
) -> tuple[StateDict, list[int]]:
    """Add fine-tunes to the soup, best first, each only if the soup does not get worse on held-out data.

    evaluate(state_dict) -> a score to be maximised, on held-out data that is neither training nor test data; it is
    called once for each model and once for each candidate soup. Returns the soup (the mean of its ingredients) and the
    indices of its ingredients in the order in which they were added. Its held-out score is never below the best single
    model's. Source: Wortsman et al. (2022), algorithm 1 (>=; their code has >). Errors as ``average``.
    """
    matching_states(models)
    scores = [evaluate(dict(model)) for model in models]
    order = sorted(range(len(models)), key=lambda i: -scores[i])  # stable: of equals the first comes first
    chosen, best = order[:1], scores[order[0]]
    for i in order[1:]:
        score = evaluate(average([models[j] for j in [*chosen, i]]))
        if score >= best:
            chosen, best = [*chosen, i], score
    return average([models[j] for j in chosen]), chosen
