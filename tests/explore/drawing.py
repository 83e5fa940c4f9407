"""What Vega itself (vl-convert) makes of a live chart: its picture as SVG, and what can be read off it."""

import html
import json
import re
import xml.etree.ElementTree as ElementTree

import pytest
import vl_convert

VEGA = "application/vnd.vegalite.v5+json"


def _svg(chart, **params) -> str:
    """The chart as SVG text, & and < as they are in XML, with the sliders at ``params``."""
    spec = json.loads(json.dumps(chart.spec, allow_nan=False))
    for param in spec["params"]:
        name = param["name"].removesuffix("_input")
        if "bind" in param and name in params:
            param["value"] = str(params.pop(name))  # as the page sets it
    assert not params, f"no such slider: {params}"
    return vl_convert.vegalite_to_svg(spec, vl_version="5.8")


def _draw(chart, **params) -> str:
    return html.unescape(_svg(chart, **params))


def _tree(chart, **params) -> ElementTree.Element:
    return ElementTree.fromstring(_svg(chart, **params))


def _number(text: str) -> float:
    return float(text.replace("−", "-"))


def _said(svg: str, what: str) -> list[str]:
    """What a screen reader says of each mark of a kind: "point", "bar", "rect mark"."""
    return re.findall(rf'aria-label="([^>]*)" role="graphics-symbol" aria-roledescription="{what}"', svg)


def _bars(svg: str, rows: int) -> list[list[tuple[str, float]]]:
    """(token, value) of every bar: a list for each panel, from top to bottom."""
    pattern = r'aria-label="([^"]+) ([−\d.]+)" role="graphics-symbol" aria-roledescription="bar" d="M[^,]+,([\d.]+)'
    found = re.findall(pattern, svg)
    assert found and len(found) % rows == 0
    panels = [found[i : i + rows] for i in range(0, len(found), rows)]
    return [[(t, _number(v)) for t, v, y in sorted(p, key=lambda bar: float(bar[2]))] for p in panels]


def _texts(svg: str) -> list[str]:
    return re.findall(r">([^<>]+)</text>", svg)


def _marks(element, x=0.0, y=0.0):
    """(tag, x, y, element) of all texts and lines of the picture, at their pixels: of a text its middle."""
    move = re.match(r"translate\(([-\d.]+),\s*([-\d.]+)\)", element.get("transform", ""))
    x, y = (x + float(move[1]), y + float(move[2])) if move else (x, y)
    tag = element.tag.split("}")[-1]
    if tag in ("text", "line"):
        yield tag, x, y - (round(0.3 * float(element.get("font-size")[:-2])) if tag == "text" else 0), element
    for child in element:
        yield from _marks(child, x, y)


def _sliders(chart) -> list[tuple]:
    """(name, lowest, highest, value) of each slider, all of which have a label and can be moved by keyboard."""
    bound = [(param["bind"], param["value"]) for param in chart.spec["params"] if "bind" in param]
    assert all(bind["name"] == bind["aria-label"] and "data-lm-suppress-shortcuts" in bind for bind, _ in bound)
    return [(bind["name"], bind["min"], bind["max"], value) for bind, value in bound]


def _steps(chart) -> list[float]:
    return [param["bind"]["step"] for param in chart.spec["params"] if "bind" in param]


def _words(chart) -> str:
    """The text form on one line: it is also the description of the chart, and its lines are short enough to read."""
    text = " ".join(repr(chart).split())
    assert " ".join(chart.spec["description"].split()) == text and max(map(len, repr(chart).splitlines())) <= 100
    assert set(chart._repr_mimebundle_()) == {VEGA, "text/plain"}
    return text


def _stays(chart, settings: list[dict], width: int = 765) -> None:
    """Nothing is laid out again when a slider moves, and the chart is not wider than a cell of JupyterLab."""
    drawn = [re.search(r'<svg[^>]* width="([\d.]+)" height="([\d.]+)"', _svg(chart, **at)).groups() for at in settings]
    assert len(set(drawn)) == 1 and float(drawn[0][0]) <= width


def _size(chart) -> int:
    """Characters of the specification as JSON, without nan."""
    return len(json.dumps(chart.spec, allow_nan=False))


def _refuses(message: str, function, *given, **named) -> None:
    """The call raises a ValueError of one line that ``message`` matches."""
    with pytest.raises(ValueError, match=message) as error:
        function(*given, **named)
    assert "\n" not in str(error.value)


def _contrast(one: str, two: str = "#FFFFFF") -> float:
    """Of two colours, from 1 to 21 (WCAG 2.2)."""
    light, dark = sorted((_luminance(_rgb(colour)) for colour in (one, two)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def _linear(rgb) -> list[float]:
    """sRGB from 0 to 1 as linear light."""
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]


def _luminance(rgb) -> float:
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), _linear(rgb)))
