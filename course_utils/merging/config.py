"""mergekit's YAML format: which models are merged, how, with which parameters. Text to ``MergeConfig`` and back.

The seven methods of the lecture's table are understood. Anything else is refused by name, because a setting that is
silently ignored would give another merge than the file says. Source: mergekit 0.1.5, docs/merge_methods.md and its
`config.py`.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import yaml

from course_utils.merging.checkpoints import MergeError

# For each method its settings for the whole merge and its settings for each model, with their types.
_SUM = {"normalize": bool, "lambda": float}
_SPARSE = (_SUM | {"rescale": bool, "int8_mask": bool}, {"weight": float, "density": float})
_SETTINGS: dict[str, tuple[dict[str, type], dict[str, type]]] = {
    "linear": ({"normalize": bool}, {"weight": float}),
    "slerp": ({"t": float}, {}),
    "passthrough": ({}, {"scale": float}),
    "task_arithmetic": (_SUM | {"int8_mask": bool}, {"weight": float}),
    "ties": _SPARSE,
    "dare_ties": _SPARSE,
    "dare_linear": _SPARSE,
}
METHOD_NAMES = tuple(_SETTINGS)
DTYPE_NAMES = ("float32", "float16", "bfloat16", "float64")


@dataclass(frozen=True)
class Source:
    """A model that is read: its folder, the range of its layers (end not included; None: all), its own parameters."""

    model: str
    layer_range: tuple[int, int] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Slice:
    """A run of layers of the new model: as many layers from each of the sources, merged with one another."""

    sources: tuple[Source, ...]
    base_model: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MergeConfig:
    """One merge: either `models` (whole) or `slices` of them. Names and meanings are mergekit's."""

    merge_method: str
    models: tuple[Source, ...] = ()
    slices: tuple[Slice, ...] = ()
    base_model: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    dtype: str | None = None
    out_dtype: str | None = None
    tokenizer_source: str | None = None


def loads(text: str) -> MergeConfig:
    """The configuration that a YAML text holds. Raises MergeError, one line that names the key or the value."""
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise MergeError(f"this is not YAML: {error}") from None
    if not isinstance(raw, dict):
        raise MergeError("a merge configuration is a mapping with merge_method, models or slices, …")
    _known(raw, "the configuration", [key.name for key in fields(MergeConfig)])
    method = raw.get("merge_method")
    if method not in METHOD_NAMES:
        raise MergeError(f"merge_method is {_show(method)}: choose one of {', '.join(METHOD_NAMES)}")
    if bool(raw.get("models")) == bool(raw.get("slices")):
        raise MergeError("give either models or slices")
    for key in ("dtype", "out_dtype"):
        if raw.get(key) not in (None, *DTYPE_NAMES):
            raise MergeError(f"{key} is {_show(raw[key])}: choose one of {', '.join(DTYPE_NAMES)}")
    if raw.get("tokenizer_source") not in (None, "base"):
        raise MergeError(f"tokenizer_source is {_show(raw['tokenizer_source'])}: only base can be used here")
    base = _text(raw.get("base_model"), "base_model", optional=True)
    if raw.get("tokenizer_source") and base is None:
        raise MergeError("tokenizer_source: base needs a base_model")
    models, slices = (_sequence(raw.get(key), key) for key in ("models", "slices"))
    return MergeConfig(
        method,
        tuple(_source(item, f"models[{i}]", method, False) for i, item in enumerate(models)),
        tuple(_slice(item, f"slices[{i}]", method) for i, item in enumerate(slices)),
        base,
        _parameters(raw.get("parameters"), "parameters", method),
        *(raw.get(key) for key in ("dtype", "out_dtype", "tokenizer_source")),
    )


def dumps(config: MergeConfig) -> str:
    """The YAML text that mergekit and `loads` read; what is not set is left out."""

    def source(item: Source) -> dict[str, Any]:
        return _set(model=item.model, layer_range=list(item.layer_range or ()), parameters=dict(item.parameters))

    def part(item: Slice) -> dict[str, Any]:
        sources = [source(one) for one in item.sources]
        return _set(sources=sources, base_model=item.base_model, parameters=dict(item.parameters))

    raw = _set(
        merge_method=config.merge_method,
        base_model=config.base_model,
        models=[source(item) for item in config.models],
        slices=[part(item) for item in config.slices],
        parameters=dict(config.parameters),
        dtype=config.dtype,
        out_dtype=config.out_dtype,
        tokenizer_source=config.tokenizer_source,
    )
    return yaml.dump(raw, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Lists of numbers in one line, as people write gradients and layer ranges."""


_Dumper.add_representer(
    list,
    lambda dumper, items: dumper.represent_sequence(
        "tag:yaml.org,2002:seq", items, flow_style=all(isinstance(item, int | float) for item in items)
    ),
)


def setting(scopes: Sequence[Mapping[str, Any]], name: str, kind: type, tensor: str, t: float) -> Any:
    """The value of a setting for one tensor, or None: the first of the scopes that has one for it.

    A list of numbers is a gradient: its values stand at equal distances from the first layer (t = 0) to the last
    (t = 1), with straight lines between them. Of entries {filter, value} the first counts whose filter is in the
    tensor's name.
    """
    for scope in scopes:
        value = _evaluate(scope.get(name), kind, tensor, t)
        if value is not None:
            return value
    return None


def _evaluate(value: Any, kind: type, tensor: str, t: float) -> Any:
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        return None if value is None else _scalar(value, kind)
    if value and isinstance(value[0], dict):
        fitting = (entry for entry in value if entry.get("filter") in (None, "*") or entry["filter"] in tensor)
        return next((_evaluate(entry["value"], kind, tensor, t) for entry in fitting), None)
    values, place = [_scalar(entry, kind) for entry in value], t * (len(value) - 1)
    if kind is bool:
        return values[int(place)]
    left = int(place)
    return (1 - place + left) * values[left] + (place - left) * values[min(len(values) - 1, left + 1)]


# ---------------------------------------------------------------- reading


def _source(raw: Any, where: str, method: str, ranged: bool) -> Source:
    _known(raw, where, ("model", "layer_range", "parameters") if ranged else ("model", "parameters"))
    layers = raw.get("layer_range")
    if ranged and not (isinstance(layers, list) and len(layers) == 2 and all(type(end) is int for end in layers)):
        raise MergeError(f"{where}.layer_range is {_show(layers)}: two whole numbers are needed, [first, end]")
    return Source(
        _text(raw.get("model"), f"{where}.model"),
        tuple(layers) if ranged else None,
        _parameters(raw.get("parameters"), f"{where}.parameters", method, of_model=True),
    )


def _slice(raw: Any, where: str, method: str) -> Slice:
    _known(raw, where, ("sources", "base_model", "parameters"))
    sources = _sequence(raw.get("sources"), f"{where}.sources")
    if not sources:
        raise MergeError(f"{where} has no sources")
    return Slice(
        tuple(_source(item, f"{where}.sources[{i}]", method, True) for i, item in enumerate(sources)),
        _text(raw.get("base_model"), f"{where}.base_model", optional=True),
        _parameters(raw.get("parameters"), f"{where}.parameters", method),
    )


def _parameters(raw: Any, where: str, method: str, of_model: bool = False) -> dict[str, Any]:
    """The parameters of one place (of_model: of one model), after every value in them was found to be of its type."""
    shared, each = _SETTINGS[method]
    kinds = each if of_model else shared | each
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise MergeError(f"{where} is {_show(raw)}: a mapping of names to values is needed")
    for name, value in raw.items():
        if name not in kinds:
            whole = " (it is one for the whole merge)" if name in shared else ""
            raise MergeError(
                f"{where}: {method} has no setting {_show(name)} here{whole}; it has {', '.join(kinds) or 'none'}"
            )
        _check_value(value, f"{where}.{name}", kinds[name])
    return raw


def _check_value(value: Any, where: str, kind: type) -> None:
    entries = value if isinstance(value, list) else [value]
    if not entries or len({isinstance(entry, dict) for entry in entries}) > 1:
        needed = "a value, a list of values, or a list of filter and value"
        raise MergeError(f"{where} is {_show(value)}: {needed} is needed")
    for entry in entries:
        if isinstance(entry, dict):
            _known(entry, where, ("filter", "value"))
            _text(entry.get("filter"), f"{where}.filter", optional=True)
            inner = entry.get("value")
            if inner is None or any(isinstance(one, dict) for one in (inner if isinstance(inner, list) else [inner])):
                raise MergeError(f"{where}: each entry needs a value, a number or a list of numbers")
            _check_value(inner, f"{where}.value", kind)
            continue
        try:
            number = _scalar(entry, kind)
        except (TypeError, ValueError):
            needed = "true or false" if kind is bool else "a number"
            raise MergeError(f"{where} is {_show(entry)}: {needed} is needed") from None
        if where.removesuffix(".value").endswith(".density") and not 0 <= number <= 1:
            raise MergeError(f"{where} is {_show(entry)}: it is the share that stays, from 0 to 1")


def _scalar(value: Any, kind: type) -> float | bool:
    """YAML 1.1 reads 1e-3 as a text: it is taken as the number that it means."""
    if kind is bool:
        if value in (True, False):
            return bool(value)
        raise ValueError
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError
    return number


def _known(raw: Any, where: str, keys: Sequence[str]) -> None:
    if not isinstance(raw, dict):
        raise MergeError(f"{where} is {_show(raw)}: a mapping with {', '.join(keys)} is needed")
    for key in raw:
        if key not in keys:
            raise MergeError(f"unknown key {_show(key)} in {where}: it can have {', '.join(keys)}")


def _sequence(raw: Any, where: str) -> list[Any]:
    if raw is not None and not isinstance(raw, list):
        raise MergeError(f"{where} is {_show(raw)}: a list is needed")
    return raw or []


def _text(value: Any, where: str, optional: bool = False) -> str | None:
    if isinstance(value, str) and value or optional and value is None:
        return value
    raise MergeError(f"{where} is {_show(value)}: a text is needed")


def _show(value: Any) -> str:
    """A value in a message, cut short: YAML can hold a text that is a few lines long and a million lists deep."""
    return reprlib.repr(value)


def _set(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in (None, [], {})}
