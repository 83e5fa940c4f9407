"""The plan of a merge: for each tensor of the new model a job, with the tensors it is made of and the method.

Only file headers are read here. So everything that does not fit together is found before the first number is computed.
Source of the meanings: mergekit 0.1.5 (`plan.py`, `config.py`): gradients run over the layers of a slice, tensors
outside the layers take a gradient's first value, a base that is not listed is read as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor

from course_utils.merging import methods
from course_utils.merging.checkpoints import (
    MergeError,
    ModelFolder,
    count_layers,
    moved_layers,
    outside_layers,
    split_layer,
)
from course_utils.merging.config import MergeConfig, Slice, Source, setting
from course_utils.merging.task_vectors import check_whole_numbers

PIECE = 2**17  # entries that are in memory at a time, of each model: they stay in the processor's cache


@dataclass(frozen=True)
class Job:
    """One tensor of the new model. sources: folder and name there, the base first where the method has one."""

    name: str
    sources: tuple[tuple[ModelFolder, str], ...]
    dtype: torch.dtype  # the type in which the sources are taken
    out_dtype: torch.dtype
    shape: tuple[int, ...]
    method: Callable[[methods.Pieces], Iterator[Tensor]]

    def pieces(self, *which: int) -> Iterator[list[Tensor]]:
        """The same stretch of every source (or of those named by their number), one after another."""
        sources = [self.sources[i] for i in which] or self.sources
        size = torch.Size(self.shape).numel()
        for start in range(0, size, PIECE):
            yield [folder.read(name, start, min(start + PIECE, size)).to(self.dtype) for folder, name in sources]

    def numbers(self) -> Iterator[Tensor]:
        """The merged tensor, piece by piece."""
        if self.dtype.is_floating_point:
            yield from self.method(self.pieces)
            return
        for pieces in self.pieces():
            _checked(check_whole_numbers, self.name, pieces)
            yield pieces[0]


@dataclass(frozen=True)
class _Row:
    """A tensor before its settings are looked up: (source, name there) for each source, and where it stands."""

    name: str
    sources: tuple[tuple[Source, str], ...]
    t: float
    slice: Slice


def plan(config: MergeConfig, folders: Mapping[str, ModelFolder], seed: int = 0) -> list[Job]:
    """The jobs of a merge, largest number type first (so that every tensor in the file is aligned).

    Raises MergeError, naming the tensor and the model: tensors that are missing or have different shapes, a layer range
    that does not fit, a setting that is missing, models that are too few or too many for the method.
    """
    rows = _whole_models(config, folders) if config.models else _slices(config, folders)
    return sorted((_job(row, config, folders, seed) for row in rows), key=lambda job: -job.out_dtype.itemsize)


# ---------------------------------------------------------------- which tensors


def _whole_models(config: MergeConfig, folders: Mapping[str, ModelFolder]) -> list[_Row]:
    sources = config.models
    if config.base_model and config.base_model not in {source.model for source in sources}:
        sources = (*sources, Source(config.base_model))
    whole = Slice(sources)
    _check_sources(whole, config, "models")
    names = {source.model: {name: name for name in folders[source.model].tensors} for source in sources}
    depths = count_layers(names[sources[0].model])

    def place(name: str) -> float:
        layer = split_layer(name)
        return _place(layer[1], depths[layer[0]]) if layer else 0.0

    return [
        _Row(name, tuple(zip(sources, found)), place(name), whole) for name, found in _common(sources, names, folders)
    ]


def _slices(config: MergeConfig, folders: Mapping[str, ModelFolder]) -> list[_Row]:
    rows, offset = [], 0
    for number, part in enumerate(config.slices):
        _check_sources(part, config, f"slices[{number}]")
        names = {
            source.model: _checked(
                moved_layers, folders[source.model].tensors, source.layer_range, offset, source.model
            )
            for source in part.sources
        }
        lengths = {end - start for start, end in (source.layer_range for source in part.sources)}
        if len(lengths) > 1:
            unequal = " and ".join(map(str, sorted(lengths)))
            raise MergeError(f"slices[{number}] has sources with {unequal} layers: the number must be the same")
        for name, found in _common(part.sources, names, folders):
            place = _place(split_layer(name)[1] - offset, *lengths)
            rows.append(_Row(name, tuple(zip(part.sources, found)), place, part))
        offset += lengths.pop()
    return [*_outside(config.slices[0], folders, True), *rows, *_outside(config.slices[-1], folders, False)]


def _outside(part: Slice, folders: Mapping[str, ModelFolder], before: bool) -> Iterator[_Row]:
    """What stands before the layers comes from the first slice's sources, what stands behind from the last one's."""
    names = {
        source.model: {name: name for name in outside_layers(folders[source.model].tensors, before)}
        for source in part.sources
    }
    for name, found in _common(part.sources, names, folders):
        yield _Row(name, tuple(zip(part.sources, found)), 0.0, part)


def _common(
    sources: Sequence[Source], names: Mapping[str, Mapping[str, str]], folders: Mapping[str, ModelFolder]
) -> Iterator[tuple[str, list[str]]]:
    """Each new name with its name in every source. All must have it; a head may be tied to the embeddings."""
    new = dict.fromkeys(name for source in sources for name in names[source.model])
    for name in new:
        found = []
        for source in sources:
            there = names[source.model].get(name) or _tied_head(name, folders[source.model])
            if there is None:
                owner = next(other.model for other in sources if name in names[other.model])
                raise MergeError(f"{source.model} has no tensor {name}, which {owner} has")
            found.append(there)
        yield name, found


def _tied_head(name: str, folder: ModelFolder) -> str | None:
    """A tied output head is not in the file: its numbers are those of the embeddings."""
    if name.endswith("lm_head.weight") and folder.config.get("tie_word_embeddings"):
        return next((other for other in folder.tensors if other.endswith("embed_tokens.weight")), None)
    return None


def _place(layer: int, depth: int) -> float:
    return layer / (depth - 1) if depth > 1 else 1.0


def _checked(function: Callable, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except ValueError as error:
        raise MergeError(error) from None


# ---------------------------------------------------------------- which method with which numbers


def _check_sources(part: Slice, config: MergeConfig, where: str) -> None:
    """The number of models that the method takes, each once, the base among them."""
    method, names = config.merge_method, [source.model for source in part.sources]
    if twice := [name for name in names if names.count(name) > 1]:
        raise MergeError(f"{where} lists {twice[0]} twice")
    if method == "passthrough":
        if len(names) > 1:
            raise MergeError(
                f"{where} has {len(names)} models: passthrough computes nothing, it takes one in each slice"
            )
    if method in ("linear", "passthrough"):
        return
    base = part.base_model or config.base_model
    if base is None:
        raise MergeError(f"{method} needs a base_model")
    if base not in names:
        raise MergeError(f"{where} does not have the base_model {base} among its sources")
    if len(names) == 1 or method == "slerp" and len(names) != 2:
        raise MergeError(
            f"{where}: {method} needs {'exactly' if method == 'slerp' else 'at least'} one model besides the base"
        )


def _job(row: _Row, config: MergeConfig, folders: Mapping[str, ModelFolder], seed: int) -> Job:
    base = row.slice.base_model or config.base_model
    sources = list(row.sources)
    if config.merge_method not in ("linear", "passthrough"):
        sources.sort(key=lambda pair: pair[0].model != base)  # stable: the base to the front, the rest in their order
    tensors = [folders[source.model].tensors[name] for source, name in sources]
    for tensor, (source, _) in zip(tensors, sources):
        if tensor.shape != tensors[0].shape:
            raise MergeError(
                f"{row.name} has shape {list(tensor.shape)} in {source.model} and {list(tensors[0].shape)} in "
                f"{sources[0][0].model}: only models of one architecture can be merged"
            )
        if tensor.dtype.is_floating_point != tensors[0].dtype.is_floating_point:
            raise MergeError(
                f"{row.name} is {tensor.dtype} in {source.model} and {tensors[0].dtype} in {sources[0][0].model}"
            )
    out_dtype = dtype = reduce(torch.promote_types, [tensor.dtype for tensor in tensors])
    if dtype.is_floating_point:
        dtype = getattr(torch, config.dtype) if config.dtype else dtype
        out_dtype = getattr(torch, config.out_dtype) if config.out_dtype else dtype
    return Job(
        row.name,
        tuple((folders[source.model], name) for source, name in sources),
        dtype,
        out_dtype,
        tensors[0].shape,
        _method(row, sources, config, seed),
    )


def _method(
    row: _Row, sources: Sequence[tuple[Source, str]], config: MergeConfig, seed: int
) -> Callable[[methods.Pieces], Iterator[Tensor]]:
    def shared(name: str, kind: type, default: Any = None) -> Any:
        value = setting([row.slice.parameters, config.parameters], name, kind, row.name, row.t)
        if (value := default if value is None else value) is None:
            raise MergeError(f"{config.merge_method} needs the setting {name} for {row.name}")
        return value

    def each(name: str, default: float | None = None, needed: bool = True) -> list[Any]:
        values = []
        for source, there in sources[0 if config.merge_method in ("linear", "passthrough") else 1 :]:
            value = setting([source.parameters, row.slice.parameters, config.parameters], name, float, there, row.t)
            if (value := default if value is None else value) is None and needed:
                raise MergeError(f"{config.merge_method} needs the setting {name} for {there} of {source.model}")
            values.append(value)
        return values

    match config.merge_method:
        case "linear":
            weights, normalize = each("weight"), shared("normalize", bool, True)
            if normalize and abs(sum(weights)) < 1e-8:
                raise MergeError(f"the weights of {row.name} sum to 0: they cannot be normalised")
            return partial(methods.linear_pieces, weights=weights, normalize=normalize)
        case "slerp":
            return partial(methods.slerp_pieces, t=shared("t", float))
        case "passthrough":
            return partial(_scaled, scale=each("scale", needed=False)[0])
        case "ties":
            sparsify = methods.keep_largest(each("density", 1.0), "tensor", l1=shared("rescale", bool, False))
        case "dare_ties" | "dare_linear":
            rescale = "l1" if shared("rescale", bool, True) else None
            sparsify = methods.keep_random(each("density", 1.0), rescale, seed, row.name)
        case _:
            sparsify = None
    return partial(
        methods.arithmetic_pieces,
        weights=each("weight"),
        lam=shared("lambda", float, 1.0),
        normalize=shared("normalize", bool, config.merge_method == "ties"),
        sparsify=sparsify,
        elect={"by": "mass", "zero": "plus"} if config.merge_method in ("ties", "dare_ties") else None,
    )


def _scaled(pieces: methods.Pieces, scale: float | None) -> Iterator[Tensor]:
    for (piece,) in pieces():
        yield piece if scale is None else piece * scale
