"""Which layer a tensor belongs to, read off its name, and new names for layers that are stacked anew.

    model.layers.7.mlp.up_proj.weight    ->    ("model.layers.", 7, ".mlp.up_proj.weight")

So also transformer.h.7.…, encoder.layer.7.…, blocks.7.…: the number behind the last word of such a name's first layer part.
"""
from __future__ import annotations

import re
from collections.abc import Collection, Sequence

_LAYER = re.compile(r"(.*?\b(?:layers|layer|blocks|block|h)\.)(\d+)(\..+)")
_BEFORE = re.compile(r"embed|\bwte\b|\bwpe\b")
_BEHIND = re.compile(r"embed_out|unembed|head")


def split_layer(name: str) -> tuple[str, int, str] | None:
    """(what stands before the number, the layer's number, what stands behind it), or None outside the layers."""
    found = _LAYER.fullmatch(name)
    return (found[1], int(found[2]), found[3]) if found else None


def count_layers(names: Collection[str]) -> dict[str, int]:
    """The number of layers of each stack: {"model.layers.": 32}; an encoder-decoder has two."""
    counts: dict[str, int] = {}
    for prefix, number, _ in filter(None, map(split_layer, names)):
        counts[prefix] = max(counts.get(prefix, 0), number + 1)
    return counts


def is_before_layers(name: str) -> bool:
    """Whether a tensor outside the layers is used before them (embeddings) rather than behind them (last norm, head)."""
    return bool(_BEFORE.search(name)) and not _BEHIND.search(name)


def one_stack(names: Collection[str], model: str) -> tuple[str, int]:
    """(prefix, number of layers) of a model with one stack of layers; ValueError if it has none or several."""
    counts = count_layers(names)
    if len(counts) != 1:
        raise ValueError(f"{model} has {len(counts)} stacks of layers: only a model with one can be cut into slices")
    return next(iter(counts.items()))


def stack_layers(names: Sequence[Collection[str]], slices: Sequence[tuple[int, int, int]]) -> list[tuple[str, int, str]]:
    """The tensors of a model stacked from ranges of layers: [(name in the new model, number of the source, name there), …].

    names: the tensors of each source; slices: (number of the source, first layer, end layer), end not included, sources
    counted from 0. Raises ValueError: no slices, no such source or layer.
    """
    if not slices:
        raise ValueError("there is nothing to stack: give at least one slice")
    layers: list[tuple[str, int, str]] = []
    offset = 0
    for source, start, end in slices:
        if not 0 <= source < len(names):
            raise ValueError(f"there is no model {source}: the models are counted from 0 to {len(names) - 1}")
        prefix, depth = one_stack(names[source], f"model {source}")
        check_range(start, end, depth, f"model {source}")
        for name in names[source]:
            place = split_layer(name)
            if place and start <= place[1] < end:
                layers.append((f"{prefix}{place[1] - start + offset}{place[2]}", source, name))
        offset += end - start
    first, last = slices[0][0], slices[-1][0]
    before = [(name, first, name) for name in names[first] if not split_layer(name) and is_before_layers(name)]
    behind = [(name, last, name) for name in names[last] if not split_layer(name) and not is_before_layers(name)]
    return [*before, *layers, *behind]


def check_range(start: int, end: int, depth: int, model: str) -> None:
    """ValueError unless 0 <= start < end <= depth."""
    if not 0 <= start < end <= depth:
        raise ValueError(f"layer range [{start}, {end}] does not fit {model}, which has layers 0 to {depth - 1} "
                         "(the end is not included)")
