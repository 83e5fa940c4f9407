"""Reorder the hidden units of a network without changing what it computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, argsort

from course_utils.exercises.engine import Exercise, alike, case, draw
from course_utils.exercises.engine.exercise import Case
from course_utils.merging.alignment import permute_units

ROWS = "You permuted the rows of the next layer, its own output units: what reads the hidden units are its columns."
COLUMNS = "You permuted the columns of the first of the two layers, which read its inputs: its units are its rows."
NAMES = ["fc", "fc2", "fc3"]
INVERSE = "Unit i of the result must be unit perm[i] of the input: index with perm itself on both sides."


def _case(says: str, sizes: Sequence[int], layers: Sequence[str], place: int, perm: Sequence[int]) -> Case:
    """A random multi-layer perceptron, sizes [5, 7, 3] are 5 inputs, 7 hidden units, 3 outputs; which layer is
    permuted."""
    net = {}
    for i, (name, inputs, outputs) in enumerate(zip(layers, sizes[:-1], sizes[1:], strict=True)):
        net[f"{name}.weight"] = draw(outputs, inputs, seed=sizes[1] + i)
        net[f"{name}.bias"] = draw(outputs, seed=50 + i)
    return case(says, net, layers[place], layers[place + 1], torch.tensor(perm))


def _moved(**wrong: Callable[[Tensor, Tensor], Tensor]) -> Callable:
    """The right answer but for the layer's weight W, its bias B, the next weight N or the next bias C."""

    def answer(state_dict: Mapping[str, Tensor], layer: str, next_layer: str, perm: Tensor) -> dict[str, Tensor]:
        names = {"W": f"{layer}.weight", "B": f"{layer}.bias", "N": f"{next_layer}.weight", "C": f"{next_layer}.bias"}
        changed = {names[key]: change(state_dict[names[key]], perm) for key, change in wrong.items()}
        return {**permute_units(state_dict, layer, next_layer, perm), **changed}

    return answer


def _kept(tensor: Tensor, perm: Tensor) -> Tensor:
    return tensor


def _rows(tensor: Tensor, perm: Tensor) -> Tensor:
    return tensor[perm]


def _columns(tensor: Tensor, perm: Tensor) -> Tensor:
    return tensor[:, perm]


def _back(tensor: Tensor, perm: Tensor) -> Tensor:
    return tensor[argsort(perm)]


def _columns_back(tensor: Tensor, perm: Tensor) -> Tensor:
    return tensor[:, argsort(perm)]


def _where_it_fits(state_dict: Mapping[str, Tensor], layer: str, next_layer: str, perm: Tensor) -> dict[str, Tensor]:
    rows = {name: t[perm] if len(t) == len(perm) else t for name, t in state_dict.items()}
    return {name: t[:, perm] if t.dim() == 2 and t.shape[1] == len(perm) else t for name, t in rows.items()}


def _by_part_of_name(*order: int) -> Callable:
    """Layers are recognised by a part of a name; the layer and the next one are looked for in this order."""

    def wrong(state_dict: Mapping[str, Tensor], layer: str, next_layer: str, perm: Tensor) -> dict[str, Tensor]:
        result = dict(state_dict)
        for name, tensor in state_dict.items():
            found = [i for i in order if (layer, next_layer)[i] in name]
            if found and not (found[0] and name.endswith("bias")):
                result[name] = tensor[:, perm] if found[0] else tensor[perm]
        return result

    return wrong


def _explain(got: Any, expected: Mapping[str, Tensor], state_dict: Any, layer: str, next_layer: str, _: Any) -> str:
    for name, right in expected.items() if isinstance(got, Mapping) else ():
        if name not in got:
            return f"The result has no {name!r}: every name of the state dict must be there."
        if alike(got[name], right) or not isinstance(got[name], Tensor):
            continue
        if got[name].shape != right.shape:
            return f"{name!r} has shape {tuple(got[name].shape)}, and no shape changes: is a transpose left over?"
        if name.rpartition(".")[0] not in (layer, next_layer):
            return f"{name!r} was changed, and it belongs to neither {layer!r} nor {next_layer!r}."
        if not alike(got[name].flatten().sort()[0], right.flatten().sort()[0]):
            return f"{name!r} does not hold the numbers that it held before: they should only be reordered."
        return f"{name!r} holds the right numbers, in another order than asked: unit i is the old unit perm[i]."
    return ""


EXERCISE = Exercise(
    "parameter_averaging.permute",
    reference=permute_units,
    float64=False,  # a permutation matrix, torch.eye(n)[perm], is a right answer, and is float32
    atol=1e-5,
    cases=[
        _case("5 inputs, 7 hidden units, 3 outputs", [5, 7, 3], ["hidden", "out"], 0, [2, 0, 5, 6, 1, 3, 4]),
        _case("as many inputs and outputs as hidden units", [4, 4, 4], ["0", "2"], 0, [1, 2, 3, 0]),
        _case("three layers, the second is permuted", [3, 6, 6, 6], ["0", "2", "4"], 1, [3, 0, 1, 5, 2, 4]),
        _case("names that begin alike, the first layer is permuted", [5, 6, 6, 6], NAMES, 0, [4, 2, 0, 1, 5, 3]),
    ],
    explain=_explain,
    errors={
        "KeyError": "layer and next_layer are parts of the names in the state dict, as in '<layer>.weight'.",
        r"out of (bounds|range).*size 5": COLUMNS,
        r"out of (bounds|range).*size 3": ROWS,
        "out of (bounds|range)": "perm is longer than the dimension that it indexes.",
        "shapes": "Is a matrix on the wrong side? P is (units, units): P W of the layer, W P^T of the next one.",
        "same dtype": "P must be a matrix of floats. Indexing with perm needs no matrix.",
    },
    mistakes={
        "Nothing was moved: the result equals the input.": _moved(W=_kept, B=_kept, N=_kept),
        f"The network computes the same, but in another order: you applied the inverse permutation.\n{INVERSE}": _moved(
            W=_back, B=_back, N=_columns_back
        ),
        "You permuted every dimension that is as long as perm, whatever it stands for.\n"
        "Three tensors change: the layer's rows, its bias, and the columns of the next layer.": _where_it_fits,
        "A layer whose name only contains the asked one was reordered, as 'fc2' contains 'fc'.\n"
        "Compare whole names, f'{layer}.weight'.": [_by_part_of_name(0, 1), _by_part_of_name(1, 0)],
        "The bias is forgotten: unit i is row i of the weight and entry i of the bias.\n"
        "The bias moves with its units.": [_moved(B=_kept, N=also) for also in (_columns, _kept, _columns_back)],
        "The next layer's columns are forgotten: column i of its weight reads hidden unit i.\n"
        "Its columns move with the units.": [_moved(N=_kept), _moved(N=_kept, W=_back, B=_back)],
        "The rows of the layer are forgotten: row i holds the weights of unit i.\nIts rows move with the units.": [
            _moved(W=_kept, B=bias) for bias in (_rows, _kept)
        ],
        ROWS: [_moved(N=rows, C=bias) for rows in (_rows, _back) for bias in (_kept, _rows)],
        COLUMNS: [_moved(W=columns) for columns in (_columns, _columns_back)],
        f"The layer's weight, its bias or both got the inverse permutation.\n{INVERSE}": [
            _moved(W=_back),
            _moved(B=_back),
            _moved(W=_back, B=_back),
        ],
        f"The next layer got the inverse permutation.\n{INVERSE}": _moved(N=_columns_back),
        "You permuted the bias of the next layer: it belongs to that layer's own outputs, which stay in place.": [
            _moved(C=lambda t, p, f=f: f(t, p) if len(t) == len(p) else t) for f in (_rows, _back)
        ],
    },
    hints=[
        "A hidden unit is a row of its layer's weight and an entry of its bias. Who reads what it computes, and "
        "where do they expect it?",
        "Three tensors change: rows of the layer's weight, entries of its bias, columns of the next layer's weight. The"
        " next layer's bias and all else stay. Put them into a copy of the state dict.",
        'result = {name: t.clone() for name, t in state_dict.items()}; result[f"{layer}.weight"] ='
        ' state_dict[f"{layer}.weight"][perm]; the bias likewise; result[f"{next_layer}.weight"] ='
        ' state_dict[f"{next_layer}.weight"][:, perm].',
    ],
)
