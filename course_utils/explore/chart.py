"""`LiveChart`, and what all live charts share: panels that several have, their words, numbers as JSON."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from torch import Tensor

from course_utils.explore import chart_html, vega
from course_utils.explore.style import FAINT, INK

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
            # No menu with a link to an outside editor; canvas redraws faster than SVG; axes of a dark theme would be
            # white on white.
            "usermeta": {"embedOptions": {"actions": False, "renderer": "canvas", "theme": ""}},
            "config": {
                "view": {"stroke": None},
                "font": "DejaVu Sans, Verdana, sans-serif",
                "text": {"color": INK, "fontSize": 11, "baseline": "middle"},
                "title": {"anchor": "start", "color": INK, "fontSize": 13}
                | {"subtitleColor": INK, "subtitleFontSize": 12},
                "axis": {"labelColor": INK, "titleColor": INK, "titleFontWeight": "normal", "gridColor": FAINT},
            },
            **spec,
        }
        self.text = textwrap.fill(text, 100)

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        if chart_html.wants_html():
            return {"text/html": chart_html.framed(self.spec, self.text), "text/plain": self.text}
        return {"application/vnd.vegalite.v5+json": self.spec, "text/plain": self.text}


def row_names(field: str, n_rows: int, width: int, names: Sequence[str] = ()) -> dict:
    """A column of names, right-aligned against the bars; names: its own rows, if they are not those of the chart."""
    data = [{"row": row, field: name} for row, name in enumerate(names, 1)] or None
    right = vega.mark("text", align="right", x=width, font=vega.MONOSPACE)
    return vega.panel(
        width, n_rows * ROW, **vega.layer(right, data=data, y=vega.band("row", n_rows), text=vega.nominal(field))
    )


def bars(
    field: str, name: str | dict, note: str, colour: str, domain: Sequence[float], n_rows: int, width: int = 200
) -> dict:
    """A panel of bars of ``field`` with the number at each bar's end; ``note`` is a Vega expression under ``name``
    (a string, or {"expr": ...}).

    The note is evaluated on the rows' data: an expression may use any field that is equal in all rows.
    """
    scale = {"domain": list(domain), "range": [0 if domain[0] == 0 else BAR_SPACE, width - BAR_SPACE], "clamp": True}
    described = f"datum.label + ' ' + format(datum.{field}, '.5f')"
    strength = vega.condition(f"datum.label == '{OTHERS}'", 0.45, 1)
    bar = vega.mark("bar", height=ROW - 4, color=colour, orient="horizontal")
    number = vega.quantitative(field, format=".3f")
    ends = []
    for align, dx, side in [("left", 4, ">="), ("right", -4, "<")] if domain[0] < 0 else [("left", 4, ">=")]:
        shown = [{"filter": f"datum.{field} {side} 0"}]
        ends.append(vega.layer(vega.mark("text", align=align, dx=dx), transform=shown, text=number))
    above, first = {"x": {"value": 0}, "y": {"value": -10}}, {"filter": "datum.row == 1"}
    noted = [first, *vega.calculate(note=note)]
    layers = [
        vega.layer(bar, transform=vega.calculate(described=described), opacity=strength, **vega.DESCRIBED),
        *ends,
        vega.layer(vega.mark("text", align="left"), transform=noted, **above, text=vega.nominal("note")),
    ]
    encoding = {"y": vega.band("row", n_rows), "x": vega.quantitative(field, axis=None, scale=scale)}
    return vega.panel(width, n_rows * ROW, {"text": name, "offset": 5}, encoding=encoding, layer=layers)


def short(x: float, digits: int = 5) -> float:
    """x with so many digits."""
    return float(f"{x:.{digits}g}")


def shorts(values: list | float, digits: int = 5) -> list | float:
    """The numbers in lists of lists, each with so many digits."""
    return [shorts(value, digits) for value in values] if isinstance(values, list) else short(values, digits)


def clipped(text: str, width: int) -> str:
    """At most ``width`` characters of the text, the last one … if some are missing."""
    return text if len(text) <= width else text[: width - 1] + "…"


def capital(text: str) -> str:
    """A large first letter; all others stay, as in VADER and CV² (`str.capitalize` makes them small)."""
    return text[:1].upper() + text[1:]


def nearest(x: float, stops: Sequence[float]) -> int:
    """The index of the stop that is nearest to x."""
    return min(range(len(stops)), key=lambda i: abs(stops[i] - x))


def unfit(what: str, wanted: str, got: object) -> ValueError:
    """The error that refuses an argument."""
    return ValueError(f"{what} must be {wanted}, got {got}")


def how_many(given: Sequence) -> int | str:
    """What a message says of a list that has another length, or is a string."""
    return "one string" if isinstance(given, str) else len(given)


def decimals(values: Tensor) -> int:
    """Decimals that show a hundredth of the range of ``values``."""
    span = (values.max() - values.min()).item() or 1.0
    return min(max(2 - math.floor(math.log10(span)), 0), 6)


def text_lines(texts: Sequence[str], width: int) -> dict:
    """Lines of text, each a Vega expression, the first one bold."""
    lines = []
    for i, text in enumerate(texts):
        line = vega.mark("text", align="left", x=0, y=ROW * i + ROW // 2, fontSize=12, limit=width, text={"expr": text})
        lines.append(vega.layer({**line, "fontWeight": "normal" if i else "bold"}))
    return vega.panel(width, ROW * len(texts), data={"values": [{}]}, layer=lines)


def live_chart(
    title: str, context: str, said: Sequence[str], text: str, params: list[dict], panels: list[dict], **content
) -> LiveChart:
    """Panels one under the other; said: lines under the title, what the marks mean; content: more of the spec.

    ``text`` follows the title in the text form.
    """
    subtitle = [line for line in (context, *said) if line]
    head = {"text": title, "subtitle": subtitle, "offset": 12}
    opening = ": ".join(filter(None, (title, context))).rstrip(".")
    return LiveChart({"title": head, "params": params, "vconcat": panels, **content}, f"{opening}. {text}")
