"""A chart that runs in the page, and the few Vega-Lite pieces that the charts in ``explore`` are made of.

Only features of Vega-Lite 5.6 are used, the version that JupyterLab 4.6 carries.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from course_utils.plots import FAINT, INK

ROW = 19  # pixels: height of a row of bars
BAR_SPACE = 46  # pixels kept free after the longest bar, for its number
OTHERS = "all others"  # the name of the row that sums the tokens not shown: drawn paler


class LiveChart:
    """A chart that JupyterLab draws without a kernel: ``spec`` is its Vega-Lite dict, ``text`` says the same in words.

    Its sliders are bound to parameters of the specification, and what they change is computed by Vega expressions:
    nothing is sent while a slider moves, and the chart works as soon as a saved notebook is opened.
    """

    def __init__(self, spec: dict, text: str) -> None:
        self.spec = {
            "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
            "description": text,  # becomes the aria-label
            "background": "white",
            "padding": 6,
            # No menu with a link to an outside editor; canvas redraws faster than SVG.
            "usermeta": {"embedOptions": {"actions": False, "renderer": "canvas"}},
            "config": {
                "view": {"stroke": None},
                "font": "DejaVu Sans, Verdana, sans-serif",
                "text": {"color": INK, "fontSize": 11, "baseline": "middle"},
                "title": {
                    "anchor": "start",
                    "color": INK,
                    "fontSize": 13,
                    "subtitleColor": INK,
                    "subtitleFontSize": 12,
                },
                "axis": {"labelColor": INK, "titleColor": INK, "titleFontWeight": "normal", "gridColor": FAINT},
            },
            **spec,
        }
        self.text = textwrap.fill(text, 100)

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        return {"application/vnd.vegalite.v5+json": self.spec, "text/plain": self.text}


def token_label(text: str, width: int = 14) -> str:
    """A token as one readable word: "·the" for " the", "\\n" for a newline, cut to ``width`` characters."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text.replace(" ", "·"))
    return (shown if len(shown) <= width else shown[: width - 1] + "…") or "(empty)"


def slider(name: str, label: str, low: float, high: float, step: float, value: float, width: int = 240) -> list[dict]:
    """Two parameters: ``name``_input bound to a slider, and the number ``name``. ``label`` is what a screen reader says.

    JupyterLab takes the arrow keys of whatever has the focus in a notebook, so that radio buttons, selections and
    Vega's own "range" slider do not move by keyboard there, unless the element has data-lm-suppress-shortcuts. An input
    type that Vega does not know gets its properties as attributes and its value as text; HTML reads "Range" as "range".
    """
    bind = {
        "input": "Range",
        "name": label,
        "min": low,
        "max": high,
        "step": step,
        "aria-label": label,
        "data-lm-suppress-shortcuts": "true",
        "style": f"width: {width}px; margin-left: 8px; vertical-align: middle",
    }
    return [{"name": f"{name}_input", "value": value, "bind": bind}, {"name": name, "expr": f"toNumber({name}_input)"}]


def calculate(name: str, expression: str) -> dict:
    return {"calculate": expression, "as": name}


def row_axis(n_rows: int) -> dict:
    """The vertical position of row 1 ... n_rows. The domain is fixed, so that nothing is laid out again."""
    return {
        "field": "row",
        "type": "ordinal",
        "axis": None,
        "scale": {"type": "band", "domain": list(range(1, n_rows + 1)), "padding": 0},
    }


def row_names(field: str, n_rows: int, width: int) -> dict:
    """A column of names, right-aligned against the bars."""
    mark = {"type": "text", "align": "right", "x": width, "font": "DejaVu Sans Mono, Menlo, monospace"}
    encoding = {"y": row_axis(n_rows), "text": {"field": field, "type": "nominal"}}
    return {"width": width, "height": n_rows * ROW, "mark": mark, "encoding": encoding}


def bars(
    field: str, name: str | dict, note: str, colour: str, domain: Sequence[float], n_rows: int, width: int = 200
) -> dict:
    """A panel of bars of ``field`` with the number at each bar's end; ``note`` is a Vega expression under ``name``
    (a string, or {"expr": ...}).

    The note is evaluated on the rows' data: an expression may use any field that is equal in all rows.
    """
    scale = {"domain": list(domain), "range": [0 if domain[0] == 0 else BAR_SPACE, width - BAR_SPACE], "clamp": True}
    x = {"field": field, "type": "quantitative", "axis": None, "scale": scale}
    described = f"datum.label + ' ' + format(datum.{field}, '.5f')"
    end = [{"mark": {"type": "text", "align": "left", "dx": 4}, "transform": [{"filter": f"datum.{field} >= 0"}]}]
    if domain[0] < 0:
        end.append(
            {"mark": {"type": "text", "align": "right", "dx": -4}, "transform": [{"filter": f"datum.{field} < 0"}]}
        )
    text = {"text": {"field": field, "type": "quantitative", "format": ".3f"}}
    return {
        "title": {"text": name, "offset": 5},
        "width": width,
        "height": n_rows * ROW,
        "encoding": {"y": row_axis(n_rows), "x": x},
        "layer": [
            {
                "transform": [calculate("described", described)],
                "mark": {"type": "bar", "height": ROW - 4, "color": colour, "orient": "horizontal"},
                "encoding": {
                    "description": {"field": "described", "type": "nominal"},
                    "opacity": {"condition": {"test": f"datum.label == '{OTHERS}'", "value": 0.45}, "value": 1},
                },
            },
            *({**layer, "encoding": text} for layer in end),
            {
                "transform": [{"filter": "datum.row == 1"}, calculate("note", note)],
                "mark": {"type": "text", "align": "left"},
                "encoding": {"x": {"value": 0}, "y": {"value": -10}, "text": {"field": "note", "type": "nominal"}},
            },
        ],
    }
