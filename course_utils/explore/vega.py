"""Parts of Vega-Lite specifications as dictionaries: parameters, transforms, marks, encodings, layers and panels.

Only features of Vega-Lite 5.6 are used, the version that JupyterLab 4.6 carries.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

FIFTHS = [0, 0.2, 0.4, 0.6, 0.8, 1]  # the ticks of an axis from 0 to 1
MONOSPACE = "DejaVu Sans Mono, Menlo, monospace"


def slider(name: str, label: str, low: float, high: float, step: float, value: float, width: int = 240) -> list[dict]:
    """Two parameters: ``name``_input bound to a slider, and the number ``name``. A screen reader says ``label``.

    JupyterLab takes the arrow keys of whatever has the focus in a notebook, so that radio buttons, selections and
    Vega's own "range" slider do not move by keyboard there, unless the element has data-lm-suppress-shortcuts. An input
    type that Vega does not know gets its properties as attributes and its value as text; HTML reads "Range" as "range".
    """
    bind = {"input": "Range", "name": label, "min": low, "max": high, "step": step, "aria-label": label}
    bind |= {"data-lm-suppress-shortcuts": "true"}
    bind |= {"style": f"width: {width}px; margin-left: 8px; vertical-align: middle"}
    return [{"name": f"{name}_input", "value": value, "bind": bind}, {"name": name, "expr": f"toNumber({name}_input)"}]


def stop_slider(name: str, label: str, stops: Sequence[float], start: int) -> list[dict]:
    """A slider over ``stops`` (at least two, in order), at first on the one with the index ``start``.

    Its parameters: ``name``_i, the index of the stop that it stands on, and ``name``, that stop. Even spaces are told
    to a screen reader as the numbers that they are; uneven ones would be torn by a step, and the index is told.
    """
    first, last, n = stops[0], stops[-1], len(stops)
    step = round((last - first) / (n - 1), 10)
    table = {"name": f"{name}_stops", "value": list(stops)}
    now = {"name": name, "expr": f"{name}_stops[{name}_i]"}
    if step > 0 and all(abs(first + i * step - stop) < 1e-6 * step for i, stop in enumerate(stops)):
        index = {"name": f"{name}_i", "expr": f"round(({name}_at - {first}) / {step})"}
        return [*slider(f"{name}_at", label, first, last, step, stops[start]), index, table, now]
    label = f"{label}, from {first:g} (left) to {last:g} (right)"
    return [*slider(f"{name}_i", label, 0, n - 1, 1, start), table, now]


def numbered(name: str, label: str, count: int, start: int = 1, width: int | None = None) -> list[dict]:
    """The parameter ``name``, 1 to ``count``: a slider if there is something to choose, else just 1."""
    if count < 2:
        return given(**{name: 1})
    return slider(name, label, 1, count, 1, start, width=width or max(60, 24 * count))


def given(**values) -> list[dict]:
    """Parameters and their values."""
    return [{"name": name, "value": value} for name, value in values.items()]


def computed(**expressions: str) -> list[dict]:
    """Parameters and their Vega expressions."""
    return [{"name": name, "expr": expression} for name, expression in expressions.items()]


def quoted(text: str | Sequence[str]) -> str:
    """A string, or a list of strings, in a Vega expression."""
    return json.dumps(text, ensure_ascii=False)


def calculate(**expressions: str) -> list[dict]:
    """Transforms: fields and their Vega expressions."""
    return [{"calculate": expression, "as": name} for name, expression in expressions.items()]


def joinaggregate(*operations: tuple[str, str, str], by: Sequence[str] = ()) -> dict:
    """A transform of (operation, field, name): in every row ``name`` is the sum (say) of its group's ``field``."""
    found = {"joinaggregate": [{"op": op, "field": field, "as": name} for op, field, name in operations]}
    return {**found, "groupby": list(by)} if by else found


def aggregate(*operations: tuple[str, str, str], by: Sequence[str]) -> dict:
    """As ``joinaggregate``, but one row of each group is left."""
    return {"aggregate": joinaggregate(*operations)["joinaggregate"], "groupby": list(by)}


def row_number(name: str, by: Sequence[str] = (), **sort: str) -> dict:
    """A transform that numbers the rows of each group, sorted by fields: "ascending" or "descending"."""
    order = [{"field": field, "order": direction} for field, direction in sort.items()]
    found = {"window": [{"op": "row_number", "as": name}], "sort": order}
    return {**found, "groupby": list(by)} if by else found


def mark(kind: str, **properties) -> dict:
    """A mark: "text", "rule", "line" and so on."""
    return {"type": kind, **properties}


def dot(size: int, **properties) -> dict:
    """The mark of a filled point."""
    return mark("point", filled=True, opacity=1, size=size, **properties)


def quantitative(field: str, **properties) -> dict:
    """The encoding of a field that holds numbers."""
    return {"field": field, "type": "quantitative", **properties}


def nominal(field: str, **properties) -> dict:
    """The encoding of a field that holds names, words or colours."""
    return {"field": field, "type": "nominal", **properties}


def along(field: str, domain: Sequence[float], axis: dict | None, **scale) -> dict:
    """The encoding of a field by its place between the ends of ``domain``; scale: what else its scale has."""
    return quantitative(field, scale={"domain": list(domain), "nice": False, **scale}, axis=axis)


def pixels(field: str) -> dict:
    """A place that is computed in pixels."""
    return quantitative(field, scale=None, axis=None)


def band(field: str, count: int) -> dict:
    """The place of 1 ... count. The domain is fixed, so that nothing is laid out again."""
    scale = {"type": "band", "domain": list(range(1, count + 1)), "padding": 0}
    return {"field": field, "type": "ordinal", "axis": None, "scale": scale}


def span(left: str, right: str, top: str, bottom: str) -> dict:
    """The encoding of a rectangle that is computed in pixels, by the fields of its edges."""
    return {"x": pixels(left), "x2": {"field": right}, "y": pixels(top), "y2": {"field": bottom}}


def condition(test: str, value, otherwise) -> dict:
    """An encoding: ``value`` where the Vega expression ``test`` holds."""
    return {"condition": {"test": test, "value": value}, "value": otherwise}


DESCRIBED = {"description": nominal("described")}  # what a screen reader says of a mark
COLOUR = nominal("colour", scale=None)  # of rows that hold their colour itself


def layer(mark: dict, *, data: list | dict | None = None, transform: Sequence[dict] = (), **encoding) -> dict:
    """A layer, or the content of a panel that has only one; data: its rows, or where else Vega-Lite gets them."""
    found = {"mark": mark}
    if data is not None:
        found["data"] = {"values": data} if isinstance(data, list) else data
    return found | ({"transform": list(transform)} if transform else {}) | ({"encoding": encoding} if encoding else {})


def panel(width: float, height: float, title: dict | None = None, **content) -> dict:
    """A panel of that size in pixels; ``content`` is the rest of its specification."""
    return {"width": width, "height": height, **({"title": title} if title else {}), **content}


def caption(text: str | dict, offset: int, **properties) -> dict:
    """The title of a panel."""
    return {"text": text, "frame": "group", "offset": offset, **properties}


def hconcat(*panels: dict, spacing: int) -> dict:
    """Panels side by side, their plots at one height."""
    return {"hconcat": list(panels), "spacing": spacing, "bounds": "flush"}
