"""The plan of a merge: for each tensor of the new model a job, with the tensors it is made of and the method.

Only file headers are read here. So everything that does not fit together is found before the first number is computed.
Source of the meanings: mergekit 0.1.5 (`plan.py`, `config.py`): gradients run over the layers of a slice, tensors
outside the layers take a gradient's first value, a base that is not listed is read as well.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, NoReturn

import torch
from torch import Tensor

from course_utils.merging import methods
from course_utils.merging.checkpoints import (
    MergeError,
    ModelFolder,
    Problems,
    count_layers,
    moved_layers,
    outside_layers,
    split_layer,
)
from course_utils.merging.config import MergeConfig, Slice, Source, setting
from course_utils.merging.task_vectors import check_whole_numbers, in_whole_rows
from course_utils.merging.vocabulary import Alignment, Read, Tokenizer, difference

PIECE = 2**17  # entries that are in memory at a time, of each model: they stay in the processor's cache


@dataclass(frozen=True)
class Job:
    """One tensor of the new model. reads: the same stretch of each source, the base first where the method has one."""

    name: str
    reads: tuple[Read, ...]
    dtype: torch.dtype  # the type in which the sources are taken
    out_dtype: torch.dtype
    shape: tuple[int, ...]
    method: Callable[[methods.Pieces], Iterator[Tensor]]

    def pieces(self, *which: int) -> Iterator[list[Tensor]]:
        """The same stretch of every source (or of those named by their number), one after another."""
        reads = [self.reads[i] for i in which] or self.reads
        size = torch.Size(self.shape).numel()
        for start in range(0, size, PIECE):
            yield [read(start, min(start + PIECE, size)).to(self.dtype) for read in reads]

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


class Planner:
    """The jobs of a merge. Everything that does not fit is in one MergeError, whose lines name tensor and model.

    folders, tokenizers: of each model, by its name in the configuration; alignment: if rows are merged by token. Found
    are tensors that are missing or have different shapes, a layer range that does not fit, a setting that is
    missing, models that are too few or too many for the method.
    """

    def __init__(
        self,
        config: MergeConfig,
        folders: Mapping[str, ModelFolder],
        seed: int = 0,
        tokenizers: Mapping[str, Tokenizer | None] | None = None,
        alignment: Alignment | None = None,
    ) -> None:
        self.config, self.folders, self.seed = config, folders, seed
        self.tokenizers, self.alignment = tokenizers or {}, alignment
        self.tied = {name: folder.is_tied() for name, folder in folders.items()}
        self.problems = Problems()
        self.rows: dict[str, int] = {}  # of each tensor that has a row for each token

    def plan(self) -> list[Job]:
        """The jobs, largest number type first (so that every tensor in the file is aligned)."""
        rows = self._whole_models() if self.config.models else self._slices()
        jobs = []
        for row in rows:
            with self.problems.caught():
                jobs.append(self._job(row))
        self.problems.raise_all()
        if len(set(self.rows.values())) > 1:  # embeddings of the first slice's model, a head of the last one's
            unequal = " and ".join(f"{name} has {rows}" for name, rows in self.rows.items())
            raise MergeError(f"{unequal} rows, one for each token: tokenizer_source: base or union makes them one")
        return sorted(jobs, key=lambda job: -job.out_dtype.itemsize)

    # ------------------------------------------------------------ which tensors

    def _whole_models(self) -> list[_Row]:
        sources = self.config.models
        if self.config.base_model and self.config.base_model not in {source.model for source in sources}:
            sources = (*sources, Source(self.config.base_model))
        whole = Slice(sources)
        with self.problems.caught():
            _check_sources(whole, self.config, "models")
        names = _spelt_alike({source.model: self.folders[source.model].tensors for source in sources})
        depths = count_layers(names[sources[0].model])
        counted = self.folders[sources[0].model].text_config.get("num_hidden_layers")
        if len(depths) == 1 and isinstance(counted, int):  # layers beyond these are not of the main model
            depths = {prefix: min(depth, counted) for prefix, depth in depths.items()}

        def place(name: str) -> float:
            layer = split_layer(name)
            return min(1.0, _place(layer[1], depths[layer[0]])) if layer else 0.0

        return [
            _Row(name, tuple(zip(sources, found)), place(name), whole) for name, found in self._common(whole, names)
        ]

    def _slices(self) -> list[_Row]:
        rows, offset = [], 0
        for number, part in enumerate(self.config.slices):
            with self.problems.caught():
                _check_sources(part, self.config, f"slices[{number}]")
                lengths = {end - start for start, end in (source.layer_range for source in part.sources)}
                if len(lengths) > 1:
                    unequal = " and ".join(map(str, sorted(lengths)))
                    raise MergeError(f"slices[{number}] has sources with {unequal} layers: the number must be the same")
                names = {
                    source.model: _checked(
                        moved_layers, self.folders[source.model].tensors, source.layer_range, offset, source.model
                    )
                    for source in part.sources
                }
                for name, found in self._common(part, names):
                    place = _place(split_layer(name)[1] - offset, *lengths)
                    rows.append(_Row(name, tuple(zip(part.sources, found)), place, part))
                offset += lengths.pop()
        return [*self._outside(self.config.slices[0], True), *rows, *self._outside(self.config.slices[-1], False)]

    def _outside(self, part: Slice, before: bool) -> Iterator[_Row]:
        """What stands before the layers is that of the first slice's sources, what stands behind the last one's."""
        names = {
            source.model: {name: name for name in outside_layers(self.folders[source.model].tensors, before)}
            for source in part.sources
        }
        for name, found in self._common(part, names):
            yield _Row(name, tuple(zip(part.sources, found)), 0.0, part)

    def _common(self, part: Slice, names: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, list[str]]]:
        """Each new name with its name in every source. All must have it; a head may be tied to the embeddings."""
        models = [source.model for source in part.sources]
        for name in dict.fromkeys(name for model in models for name in names[model]):
            head = name.endswith("lm_head.weight")
            if head and all(self.tied[model] for model in models):
                continue  # the result's head is its embeddings too
            found = []
            for model in models:
                there = self.folders[model].embeddings() if head and self.tied[model] else names[model].get(name)
                if there is None:
                    owner = next(other for other in models if name in names[other])
                    with self.problems.caught():
                        raise MergeError(
                            f"{model} has no tensor {name}, which {owner} has", kind=("missing", model, owner)
                        )
                    break
                found.append(there)
            else:
                yield name, found

    # ------------------------------------------------------------ which method with which numbers

    def _job(self, row: _Row) -> Job:
        base = row.slice.base_model or self.config.base_model
        sources = list(row.sources)
        if self.config.merge_method not in ("linear", "passthrough"):
            sources.sort(key=lambda pair: pair[0].model != base)  # stable: the base to the front, the rest in order
        models = [source.model for source, _ in sources]
        tensors = [self.folders[model].tensors[name] for model, (_, name) in zip(models, sources)]
        reads: list[Read] = [partial(self.folders[model].read, name) for model, (_, name) in zip(models, sources)]
        shapes = [tensor.shape for tensor in tensors]
        by_token = all(self.folders[model].has_row_per_token(name) for model, (_, name) in zip(models, sources))
        old = [self.folders[model].text_config.get("vocab_size") for model in models]
        if by_token and self.alignment:
            width = tensors[0].numel // old[0]
            shapes = [_with_rows(shape, rows, self.alignment.size) for shape, rows in zip(shapes, old)]
            reads = self.alignment.aligned(models, reads, width, base)
        for model, tensor, shape in zip(models, tensors, shapes):
            with self.problems.caught():
                if shape != shapes[0]:
                    self._refuse_shapes(row.name, models[0], model, shapes[0], shape, by_token)
                if tensor.dtype.is_floating_point != tensors[0].dtype.is_floating_point:
                    raise MergeError(f"{row.name} is {tensor.dtype} in {model} and {tensors[0].dtype} in {models[0]}")
        if by_token:
            self.rows[row.name] = self.alignment.size if self.alignment else old[0]
        out_dtype = dtype = reduce(torch.promote_types, [tensor.dtype for tensor in tensors])
        if dtype.is_floating_point:
            dtype = getattr(torch, self.config.dtype) if self.config.dtype else dtype
            out_dtype = getattr(torch, self.config.out_dtype) if self.config.out_dtype else dtype
        return Job(
            row.name,
            tuple(reads),
            dtype,
            out_dtype,
            shapes[0],
            _method(row, sources, self.config, self.seed, shapes[0]),
        )

    def _refuse_shapes(
        self, name: str, first: str, model: str, shape: tuple[int, ...], other: tuple[int, ...], by_token: bool
    ) -> NoReturn:
        text = f"{name} has shape {list(other)} in {model} and {list(shape)} in {first}: "
        if not by_token:
            raise MergeError(text + "only models of one architecture can be merged", kind=("shape", model, first))
        mine, theirs = self.tokenizers.get(model), self.tokenizers.get(first)
        if mine and theirs:
            why = difference(model, mine.ids, first, theirs.ids) or "the tokens are the same, some rows are not used"
            text += f"{why}; tokenizer_source: base (or union) merges the rows by token"
        else:
            text += f"no tokenizer.json of {model if mine is None else first} says which tokens they stand for"
        raise MergeError(text, kind=("rows", model, first))


def _spelt_alike(names: Mapping[str, Collection[str]]) -> dict[str, dict[str, str]]:
    """For each model {new name: name there}. Some files of a model leave out the first word of its names.

    transformer.h.0.… in one file, h.0.… in another (GPT-2, BERT): the longer spelling is taken.
    """
    every, found = {name for own in names.values() for name in own}, {}
    for model, own in names.items():
        layer = next(filter(split_layer, own), None)
        longer = next((name for name in every if layer and name.endswith(f".{layer}") and name not in own), "")
        prefix = longer.removesuffix(layer or "")
        found[model] = {prefix + name if prefix + name in every else name: name for name in own}
    return found


def _with_rows(shape: tuple[int, ...], rows: int, new: int) -> tuple[int, ...]:
    place = shape.index(rows)
    return (*shape[:place], new, *shape[place + 1 :])


def _place(layer: int, depth: int) -> float:
    return layer / (depth - 1) if depth > 1 else 1.0


def _checked(function: Callable, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except ValueError as error:
        raise MergeError(error) from None


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
    if method == "model_stock" and len(names) < 3:
        raise MergeError(f"{where}: model_stock needs at least two models besides the base, whose angle it measures")
    if len(names) == 1 or method == "slerp" and len(names) != 2:
        raise MergeError(
            f"{where}: {method} needs {'exactly' if method == 'slerp' else 'at least'} one model besides the base"
        )


def _method(
    row: _Row, sources: Sequence[tuple[Source, str]], config: MergeConfig, seed: int, shape: Sequence[int]
) -> Callable[[methods.Pieces], Iterator[Tensor]]:
    def shared(name: str, kind: type, default: Any = None) -> Any:
        value = setting([row.slice.parameters, config.parameters], name, kind, row.name, row.t)
        if (value := default if value is None else value) is None:
            raise MergeError(f"{config.merge_method} needs the setting {name} for {row.name}", kind=("setting", name))
        return value

    def each(name: str, default: float | None = None, needed: bool = True) -> list[Any]:
        values = []
        for source, there in sources[0 if config.merge_method in ("linear", "passthrough") else 1 :]:
            value = setting([source.parameters, row.slice.parameters, config.parameters], name, float, there, row.t)
            if (value := default if value is None else value) is None and needed:
                raise MergeError(
                    f"{config.merge_method} needs the setting {name} for {there} of {source.model}",
                    kind=("setting", name, source.model),
                )
            values.append(value)
        return values

    width = None  # of the rows that have to stay whole
    match config.merge_method:
        case "linear":
            weights, normalize = each("weight"), shared("normalize", bool, True)
            if normalize and abs(sum(weights)) < 1e-8:
                raise MergeError(f"the weights of {row.name} sum to 0: they cannot be normalised", kind="zero")
            return partial(methods.linear_pieces, weights=weights, normalize=normalize)
        case "slerp":
            return partial(methods.slerp_pieces, t=shared("t", float))
        case "passthrough":
            return partial(_scaled, scale=each("scale", needed=False)[0])
        case "model_stock":
            width = methods.row_width(shape) if shared("filter_wise", bool, False) else None
            return partial(methods.stock_pieces, width=width)
        case "ties":
            sparsify = methods.keep_largest(each("density", 1.0), "tensor", l1=shared("rescale", bool, False))
        case "dare_ties" | "dare_linear":
            rescale = "l1" if shared("rescale", bool, True) else None
            sparsify = methods.keep_random(each("density", 1.0), rescale, seed, row.name)
        case "della" | "della_linear":
            rescale, width = "l1" if shared("rescale", bool, True) else None, methods.row_width(shape)
            try:
                shares, windows = each("density", 1.0), each("epsilon", 0.15)
                sparsify = methods.keep_ranked(shares, windows, rescale, seed, width, row.name)
            except ValueError as error:  # density and epsilon do not fit together
                raise MergeError(f"{row.name}: {error}", kind="window") from None
        case _:
            sparsify = None
    method = partial(
        methods.arithmetic_pieces,
        weights=each("weight"),
        lam=shared("lambda", float, 1.0),
        normalize=shared("normalize", bool, config.merge_method in ("ties", "della")),
        sparsify=sparsify,
        elect={"by": "mass", "zero": "plus"} if config.merge_method in ("ties", "dare_ties", "della") else None,
    )
    if width is None:
        return method
    return lambda pieces: method(in_whole_rows(pieces, width))


def _scaled(pieces: methods.Pieces, scale: float | None) -> Iterator[Tensor]:
    for (piece,) in pieces():
        yield piece if scale is None else piece * scale
