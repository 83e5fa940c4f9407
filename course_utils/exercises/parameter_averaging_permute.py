"""Tests of 03_parameter_averaging: reorder the hidden units of a network without changing what it computes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.exercises.engine import Mistake, close
from course_utils.exercises.engine.calls import StudentError
from course_utils.exercises.parameter_averaging_states import StateDict, returned, state_dict
from course_utils.merging.alignment import permute_units

BIAS = (
    "The bias is forgotten: unit i is row i of the weight AND entry i of the bias, so the bias moves with its units,"
    " bias[perm]."
)
COLUMNS_FORGOTTEN = (
    "The next layer's columns are forgotten: column i of its weight reads hidden unit i, so its columns move with the"
    " units, weight[:, perm]."
)
ROWS = (
    "You permuted the ROWS of the next layer: its rows are its own output units. What reads the hidden units are its"
    " COLUMNS, weight[:, perm]."
)
ROWS_OR_BIAS = f"{ROWS} Its bias belongs to its output units, too, and stays as it is."
FIRST_COLUMNS = (
    "You permuted the COLUMNS of the first of the two layers: they read its inputs, which stay where they are. Its"
    " units are its ROWS, weight[perm]."
)
INVERSE = (
    "{} got the inverse permutation: unit i of the result must be unit perm[i] of the input, so index with perm itself"
    " on both sides (P is the matrix eye[perm], and the next layer gets P^T)."
)
ALL_INVERSE = (
    "The network computes the same, but in another order: you applied the inverse permutation. Unit i of the result"
    " must be unit perm[i] of the input: weight[perm], not weight[argsort(perm)] or result[perm] = weight."
)
NEXT_BIAS = (
    "You permuted the bias of the next layer: it belongs to that layer's own outputs, which stay where they are."
)
UNCHANGED = "Nothing was moved: the result equals the input."
Net = dict[str, Tensor]


def forward(net: StateDict, layers: Sequence[str], x: Tensor) -> Tensor:
    """Linear, ReLU, Linear, ... in the order of `layers`; x (B, in)."""
    for number, name in enumerate(layers):
        x = F.linear(x if number == 0 else x.relu(), net[f"{name}.weight"], net[f"{name}.bias"])
    return x


def network(sizes: Sequence[int], layers: Sequence[str], seed: int) -> Net:
    """A random multi-layer perceptron: sizes [5, 7, 3] are 5 inputs, 7 hidden units, 3 outputs."""
    generator, net = torch.Generator().manual_seed(seed), {}
    for name, inputs, outputs in zip(layers, sizes[:-1], sizes[1:], strict=True):
        net[f"{name}.weight"] = torch.randn(outputs, inputs, generator=generator)
        net[f"{name}.bias"] = torch.randn(outputs, generator=generator)
    return net


def _check(answer: Callable, net: Net, layers: Sequence[str], layer: str, next_layer: str, perm: list[int]) -> None:
    order = torch.tensor(perm)
    right = permute_units(net, layer, next_layer, order)
    got = state_dict(
        _tried(answer, net, layer, next_layer, order),
        net,
        shapes="Rows or columns change their order, and no shape changes: is a transpose left over?",
    )
    if all(_same(got[name], right[name]) for name in net):
        return
    x = torch.randn(16, net[f"{layers[0]}.weight"].shape[1], generator=torch.Generator().manual_seed(0))
    off = (forward(net, layers, x) - forward(got, layers, x)).abs().max().item()
    said = f" (The outputs change by up to {off:.2g}.)" if not off < 1e-4 else " (The outputs stay the same.)"
    if all(_same(got[name], net[name]) for name in net):
        raise Mistake(UNCHANGED + said)
    inverse = permute_units(net, layer, next_layer, torch.argsort(order))
    if all(_same(got[name], inverse[name]) for name in net):
        raise Mistake(ALL_INVERSE + said)
    found = _problems(got, net, right, layer, next_layer, order)
    if found:
        raise Mistake(" And: ".join(found[:2]) + said)
    name = next(name for name in net if not _same(got[name], right[name]))
    if name.rpartition(".")[0] not in (layer, next_layer):
        raise Mistake(f"{name!r} was changed, and it belongs to neither {layer!r} nor {next_layer!r}.{said}")
    try:
        close(got[name], right[name], what=f"{name!r}")
    except Mistake as difference:
        raise Mistake(f"{difference}{said}") from None


def _problems(got: StateDict, net: Net, right: StateDict, layer: str, next_layer: str, perm: Tensor) -> list[str]:
    """What is wrong with each of the four tensors, in the order in which a student would look for it."""
    back, found = torch.argsort(perm), []
    weight, bias, after = (net[name] for name in (f"{layer}.weight", f"{layer}.bias", f"{next_layer}.weight"))
    known: dict[str, list[tuple[str, Tensor]]] = {
        f"{layer}.weight": [
            (f"The rows of {layer!r} are forgotten: row i holds the weights of unit i, weight[perm].", weight),
            (INVERSE.format(f"The weight of {layer!r}"), weight[back]),
            *_columns(FIRST_COLUMNS, weight, perm),
            *((FIRST_COLUMNS, t) for row in (perm, back) for _, t in _columns("", weight[row], perm)),
        ],
        f"{layer}.bias": [(BIAS, bias), (INVERSE.format(f"The bias of {layer!r}"), bias[back])],
        f"{next_layer}.weight": [
            (COLUMNS_FORGOTTEN, after),
            (INVERSE.format(f"The next layer, {next_layer!r},"), after[:, back]),
            *((ROWS, t.T) for _, t in _columns("", after.T, perm)),
            *((ROWS, t.T) for column in (perm, back) for _, t in _columns("", after[:, column].T, perm)),
        ],
    }
    if len(net[f"{next_layer}.bias"]) == len(perm):
        moved = net[f"{next_layer}.bias"]
        known[f"{next_layer}.bias"] = [(NEXT_BIAS, moved[perm]), (NEXT_BIAS, moved[back])]
    for name, values in known.items():
        if _same(got[name], right[name]):
            continue
        hint = next((hint for hint, value in values if _same(got[name], value)), "")
        ordered = got[name].detach().double().reshape(-1).sort().values
        if not hint and not _same(ordered, net[name].double().reshape(-1).sort().values):
            hint = (
                f"{name!r} does not hold the numbers it held before: they are reordered, and none is lost or changed."
            )
        if hint:
            found.append(hint)
    return found


def _columns(hint: str, weight: Tensor, perm: Tensor) -> list[tuple[str, Tensor]]:
    """`weight` with its columns permuted, either way, where it has as many columns as there are units."""
    if weight.shape[1] != len(perm):
        return []
    return [(hint, weight[:, perm]), (hint, weight[:, torch.argsort(perm)])]


def _same(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a.detach().double(), b.double(), atol=1e-5)


def _tried(answer: Callable, net: Net, layer: str, next_layer: str, perm: Tensor) -> Any:
    try:
        return returned(answer, net, layer, next_layer, perm)
    except StudentError as wrapped:
        said = str(wrapped.error).split("\n")[0]
        if isinstance(wrapped.error, KeyError):
            raise Mistake(
                f"The state dict has the names {', '.join(net)}; layer and next_layer are parts of them:"
                f' state_dict[f"{{layer}}.weight"]. (Python said: KeyError {said})'
            ) from None
        if found := re.search(r"out of (?:bounds|range).*?size (\d+)", said):  # torch calls each dimension 0 here
            sizes = {net[f"{layer}.weight"].shape[1]: FIRST_COLUMNS, len(net[f"{next_layer}.bias"]): ROWS_OR_BIAS}
            which = sizes.get(int(found[1]))
            raise Mistake(f"{which or 'perm is longer than the dimension it indexes.'} (torch said: {said})") from None
        if isinstance(wrapped.error, RuntimeError) and re.search(r"must match|cannot be multiplied|same dtype", said):
            raise Mistake(
                f"The shapes or dtypes do not fit: P is (units, units) of floats; P W of {layer!r}, and W P^T of"
                f" {next_layer!r}. Indexing with perm needs no matrix. (torch said: {said})"
            ) from None
        raise


def permute_two(answer: Callable) -> None:
    """Linear-ReLU-Linear with 5 inputs, 7 hidden units, 3 outputs: the units are moved, the outputs stay the same"""
    layers = ["hidden", "out"]
    _check(answer, network([5, 7, 3], layers, seed=1), layers, "hidden", "out", [2, 0, 5, 6, 1, 3, 4])


def permute_square(answer: Callable) -> None:
    """as many inputs and outputs as hidden units"""
    _check(answer, network([4, 4, 4], ["0", "2"], seed=2), ["0", "2"], "0", "2", [1, 2, 3, 0])


def permute_middle(answer: Callable) -> None:
    """three layers, the units of the second one are permuted: the first layer stays as it is"""
    layers = ["0", "2", "4"]
    _check(answer, network([3, 6, 6, 6], layers, seed=3), layers, "2", "4", [3, 0, 1, 5, 2, 4])


def permute_first(answer: Callable) -> None:
    """three layers, the units of the first one are permuted: the last layer stays as it is"""
    layers = ["0", "2", "4"]
    _check(answer, network([3, 5, 4, 2], layers, seed=4), layers, "0", "2", [4, 2, 0, 1, 3])
