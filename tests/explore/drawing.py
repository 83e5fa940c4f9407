"""What Vega itself (vl-convert) makes of a live chart: its picture as SVG, and what can be read off it."""

import html
import json
import re

import vl_convert


def _draw(chart, **params) -> str:
    """The chart as SVG text, with the sliders at ``params``."""
    spec = json.loads(json.dumps(chart.spec, allow_nan=False))
    for param in spec["params"]:
        name = param["name"].removesuffix("_input")
        if "bind" in param and name in params:
            param["value"] = str(params.pop(name))  # as the page sets it
    assert not params, f"no such slider: {params}"
    return html.unescape(vl_convert.vegalite_to_svg(spec, vl_version="5.8"))


def _bars(svg: str, rows: int) -> list[list[tuple[str, float]]]:
    """(token, value) of every bar: a list for each panel, from top to bottom."""
    pattern = r'aria-label="([^"]+) ([−\d.]+)" role="graphics-symbol" aria-roledescription="bar" d="M[^,]+,([\d.]+)'
    found = re.findall(pattern, svg)
    assert found and len(found) % rows == 0
    panels = [found[i : i + rows] for i in range(0, len(found), rows)]
    return [[(t, float(v.replace("−", "-"))) for t, v, y in sorted(p, key=lambda bar: float(bar[2]))] for p in panels]


def _texts(svg: str) -> list[str]:
    return re.findall(r">([^<>]+)</text>", svg)


def _marks(element, x=0.0, y=0.0):
    """(tag, x, y, element) of all texts and lines of the picture, at their pixels."""
    move = re.match(r"translate\(([-\d.]+),\s*([-\d.]+)\)", element.get("transform", ""))
    x, y = (x + float(move[1]), y + float(move[2])) if move else (x, y)
    tag = element.tag.split("}")[-1]
    if tag in ("text", "line"):
        yield (
            tag,
            x,
            y - (round(0.3 * float(element.get("font-size")[:-2])) if tag == "text" else 0),
            element,
        )  # the middle of a text
    for child in element:
        yield from _marks(child, x, y)
