"""mergekit's YAML format: which models are merged, how, with which parameters. Text to ``MergeConfig`` and back.

The methods of `methods.METHODS` are understood. Anything else is refused by name, because a setting that is
silently ignored would give another merge than the file says. What mergekit itself ignores (settings of other methods,
keys that only hold anchors) is left out with a line in `notes`. Source: mergekit 0.1.5, docs/merge_methods.md and its
`config.py`.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

import yaml

from course_utils.merging.checkpoints import MergeError, Problems

# For each method its settings for the whole merge and its settings for each model, with their types.
_SUM = {"normalize": bool, "lambda": float}
_SPARSE = (_SUM | {"rescale": bool, "int8_mask": bool}, {"weight": float, "density": float})
_RANKED = (_SPARSE[0], _SPARSE[1] | {"epsilon": float})
_SETTINGS: dict[str, tuple[dict[str, type], dict[str, type]]] = {
    "linear": ({"normalize": bool}, {"weight": float}),
    "slerp": ({"t": float}, {}),
    "passthrough": ({}, {"scale": float}),
    "task_arithmetic": (_SUM | {"int8_mask": bool}, {"weight": float}),
    "ties": _SPARSE,
    "dare_ties": _SPARSE,
    "dare_linear": _SPARSE,
    "model_stock": ({"filter_wise": bool}, {}),
    "della": _RANKED,
    "della_linear": _RANKED,
}
METHOD_NAMES = tuple(_SETTINGS)
# Settings of mergekit's methods, which it ignores where the method has no such setting.
_ANY = {name for shared, each in _SETTINGS.values() for name in (*shared, *each)}
_ANY |= {"gamma", "embed_slerp", "max_tensor_mem_usage", "select_topk"}
_KEYS = ("merge_method", "models", "slices", "base_model", "parameters", "dtype", "out_dtype")
_KEYS += ("tokenizer_source", "tokenizer", "chat_template")
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
    """One merge: either `models` (whole) or `slices` of them. Names and meanings are mergekit's.

    tokenizer_source: "base", "union" or a model. notes: what the text had that has no effect, a line each.
    """

    merge_method: str
    models: tuple[Source, ...] = ()
    slices: tuple[Slice, ...] = ()
    base_model: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    dtype: str | None = None
    out_dtype: str | None = None
    tokenizer_source: str | None = None
    pad_to_multiple_of: int | None = None
    chat_template: str | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)


def loads(text: str) -> MergeConfig:
    """The configuration that a YAML text holds. Raises MergeError: a line with key and value for each fault."""
    try:
        documents = list(yaml.safe_load_all(text))
        anchors = _keys_with_anchors(text) if len(documents) == 1 else set()
    except yaml.YAMLError as error:
        raise MergeError(f"this is not YAML: {error}") from None
    if len(documents) > 1:
        raise MergeError(
            f"this holds {len(documents)} configurations, separated by ---: give each a file of its own, and let the "
            "later ones name the folders that the earlier ones write"
        )
    raw = documents[0] if documents else None
    if not isinstance(raw, dict):
        raise MergeError("a merge configuration is a mapping with merge_method, models or slices, …")
    notes: list[str] = []
    problems = Problems()
    for key in [key for key in raw if key not in _KEYS]:
        with problems.caught():
            notes.append(_unused(key, key in anchors))
            del raw[key]
    method = raw.get("merge_method")
    if method not in METHOD_NAMES:
        with problems.caught():
            raise MergeError(f"merge_method is {_show(method)}: choose one of {', '.join(METHOD_NAMES)}")
        problems.raise_all()
    reader = _Reader(method, notes, problems)
    with problems.caught():
        if bool(raw.get("models")) == bool(raw.get("slices")):
            raise MergeError("give either models or slices")
    for key in ("dtype", "out_dtype"):
        with problems.caught():
            if raw.get(key) not in (None, *DTYPE_NAMES):
                raise MergeError(f"{key} is {_show(raw[key])}: choose one of {', '.join(DTYPE_NAMES)}")
    config = MergeConfig(
        method,
        reader.each(reader.source, raw, "models", "models"),
        reader.each(reader.slice, raw, "slices", "slices"),
        reader.text(raw, "base_model", "base_model", optional=True),
        reader.parameters(raw, "parameters"),
        raw.get("dtype"),
        raw.get("out_dtype"),
        *reader.tokenizer(raw),
        reader.text(raw, "chat_template", "chat_template", optional=True),
        tuple(dict.fromkeys(notes)),
    )
    problems.raise_all()
    return config


def dumps(config: MergeConfig) -> str:
    """The YAML text that mergekit and `loads` read; what is not set is left out."""

    def source(item: Source) -> dict[str, Any]:
        return _set(model=item.model, layer_range=list(item.layer_range or ()), parameters=dict(item.parameters))

    def part(item: Slice) -> dict[str, Any]:
        sources = [source(one) for one in item.sources]
        return _set(sources=sources, base_model=item.base_model, parameters=dict(item.parameters))

    tokenizer = _set(source=config.tokenizer_source, pad_to_multiple_of=config.pad_to_multiple_of)
    raw = _set(
        merge_method=config.merge_method,
        base_model=config.base_model,
        models=[source(item) for item in config.models],
        slices=[part(item) for item in config.slices],
        parameters=dict(config.parameters),
        dtype=config.dtype,
        out_dtype=config.out_dtype,
        chat_template=config.chat_template,
        **({"tokenizer": tokenizer} if config.pad_to_multiple_of else {"tokenizer_source": config.tokenizer_source}),
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


class _Reader:
    """Reads the parts of a configuration; what is wrong with one part does not hide what is wrong with the others."""

    def __init__(self, method: str, notes: list[str], problems: Problems) -> None:
        self.method, self.notes, self.problems = method, notes, problems

    def each(self, read: Callable[[Any, str], Any], raw: dict[str, Any], key: str, where: str) -> tuple[Any, ...]:
        items = []
        with self.problems.caught():
            for i, item in enumerate(_sequence(raw.get(key), where)):
                with self.problems.caught():
                    items.append(read(item, f"{where}[{i}]"))
        return tuple(items)

    def text(self, raw: dict[str, Any], key: str, where: str, optional: bool = False) -> str | None:
        with self.problems.caught():
            return _text(raw.get(key), where, optional)

    def source(self, raw: Any, where: str, ranged: bool = False) -> Source:
        keys = ("model", "layer_range", "parameters") if ranged else ("model", "parameters")
        raw = self.known(raw, where, keys, {"layer_range": "in the sources of slices"})
        layers = raw.get("layer_range")
        with self.problems.caught():
            if ranged and not (
                isinstance(layers, list) and len(layers) == 2 and all(type(end) is int for end in layers)
            ):
                raise MergeError(f"{where}.layer_range is {_show(layers)}: two whole numbers are needed, [first, end]")
        return Source(
            self.text(raw, "model", f"{where}.model"),
            tuple(layers) if ranged and isinstance(layers, list) else None,
            self.parameters(raw, f"{where}.parameters", of_model=True),
        )

    def slice(self, raw: Any, where: str) -> Slice:
        raw = self.known(raw, where, ("sources", "base_model", "parameters"), {})
        sources = self.each(partial(self.source, ranged=True), raw, "sources", f"{where}.sources")
        with self.problems.caught():
            if not raw.get("sources"):
                raise MergeError(f"{where} has no sources")
        base = self.text(raw, "base_model", f"{where}.base_model", optional=True)
        return Slice(sources, base, self.parameters(raw, f"{where}.parameters"))

    def parameters(self, raw: dict[str, Any], where: str, of_model: bool = False) -> dict[str, Any]:
        """The parameters of one place (of_model: of one model), after the type of every value was checked."""
        shared, each = _SETTINGS[self.method]
        kinds, found = each if of_model else shared | each, raw.get("parameters")
        with self.problems.caught():
            if found is None:
                return {}
            if not isinstance(found, dict):
                raise MergeError(f"{where} is {_show(found)}: a mapping of names to values is needed")
        taken = {}
        for name, value in found.items() if isinstance(found, dict) else ():
            with self.problems.caught():
                if name in kinds:
                    _check_value(value, f"{where}.{name}", kinds[name])
                    taken[name] = value
                elif name in shared:
                    self.notes.append(f"{where}.{name} has no effect: it is a setting for the whole merge")
                elif name in _ANY:
                    self.notes.append(f"{where}.{name} has no effect: {self.method} has no such setting")
                elif name in _KEYS:
                    self.notes.append(f"{where}.{name} has no effect: it belongs to the top level of the configuration")
                else:
                    known = ", ".join(kinds) or "none"
                    raise MergeError(f"{where}: {self.method} has no setting {_show(name)} here; it has {known}")
        return taken

    def tokenizer(self, raw: dict[str, Any]) -> tuple[str | None, int | None]:
        """(tokenizer_source, pad_to_multiple_of), also from the newer spelling, tokenizer: {source: …}."""
        source, pad = self.text(raw, "tokenizer_source", "tokenizer_source", optional=True), None
        with self.problems.caught():
            if (new := raw.get("tokenizer")) is not None:
                if source:
                    raise MergeError("give either tokenizer_source or tokenizer")
                if isinstance(new, dict) and new.get("tokens"):
                    raise MergeError("tokenizer.tokens (embeddings chosen token by token) is not offered here")
                _known(new, "tokenizer", ("source", "tokens", "pad_to_multiple_of"))
                source, pad = _text(new.get("source", "union"), "tokenizer.source"), new.get("pad_to_multiple_of")
                if pad is not None and not (type(pad) is int and pad > 0):
                    raise MergeError(f"tokenizer.pad_to_multiple_of is {_show(pad)}: a whole number above 0 is needed")
        return source, pad

    def known(self, raw: Any, where: str, keys: Sequence[str], elsewhere: Mapping[str, str]) -> dict[str, Any]:
        """The mapping without settings that stand beside `parameters` instead of in them, where nobody reads them."""
        if isinstance(raw, dict):
            for name in [name for name in raw if name in _ANY and name not in keys]:
                self.notes.append(f"{where}.{name} has no effect: it belongs under {where}.parameters")
            raw = {name: value for name, value in raw.items() if name in keys or name not in _ANY}
        _known(raw, where, keys, elsewhere)
        return raw


def _keys_with_anchors(text: str) -> set[str]:
    """The top-level keys in whose value an anchor (&name) is defined: some have no other purpose."""
    root = yaml.compose(text, yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        return set()
    places = [
        token.start_mark.index for token in yaml.scan(text, yaml.SafeLoader) if isinstance(token, yaml.AnchorToken)
    ]
    ends = [(key.value, key.start_mark.index, key.end_mark.index) for key, _ in root.value]
    nexts = [start for _, start, _ in ends[1:]] + [len(text)]
    return {key for (key, _, end), after in zip(ends, nexts) if any(end <= place < after for place in places)}


def _unused(key: Any, anchored: bool) -> str:
    """The line about a top-level key that mergekit ignores. Raises MergeError: a key that may have been meant."""
    if key in _ANY:
        return f"{key} has no effect at the top level: it belongs under parameters"
    if key == "name" or anchored:
        return f"{key} has no effect" + ": only its anchors (&) are used" * anchored
    if key == "modules":
        raise MergeError("unknown key 'modules': models of several parts cannot be merged here")
    raise MergeError(f"unknown key {_show(key)} in the configuration: it can have {', '.join(_KEYS)}")


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


def _known(raw: Any, where: str, keys: Sequence[str], elsewhere: Mapping[str, str] = MappingProxyType({})) -> None:
    if not isinstance(raw, dict):
        raise MergeError(f"{where} is {_show(raw)}: a mapping with {', '.join(keys)} is needed")
    for key in raw:
        if key not in keys:
            place = f"it belongs {elsewhere[key]}" if key in elsewhere else f"it can have {', '.join(keys)}"
            raise MergeError(f"unknown key {_show(key)} in {where}: {place}")


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
