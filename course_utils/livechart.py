"""A chart that runs in the page, and the few pieces of Vega-Lite and of data that the charts in ``explore`` share.

Only features of Vega-Lite 5.6 are used, the version that JupyterLab 4.6 carries.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import torch
from torch import Tensor

from course_utils import chart_html
from course_utils.plots import FAINT, INK

ROW = 19  # pixels: height of a row of bars
BAR_SPACE = 46  # pixels kept free after the longest bar, for its number
PALE = "#767676"  # grey text that can still be read on white
OTHERS = "all others"  # the name of the row that sums the tokens not shown: drawn paler
# The members' colours, darkened until they can be read as text on white.
TEXT_COLOURS = ["#0072B2", "#007A59", "#B34700", "#A04A7C", "#2A6F9E", "#756B00"]
ZERO = -1e9  # log 0 in JSON, which has no infinity: exp() of any positive multiple is 0, and 0 times it is 0


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
            # No menu with a link to an outside editor; canvas redraws faster than SVG; axes of a dark theme would be white on white.
            "usermeta": {"embedOptions": {"actions": False, "renderer": "canvas", "theme": ""}},
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
        if chart_html.wants_html():
            return {"text/html": chart_html.framed(self.spec, self.text), "text/plain": self.text}
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


def stop_slider(name: str, label: str, stops: Sequence[float], start: int) -> list[dict]:
    """A slider over ``stops`` (at least two, in order), at first on the one with the index ``start``.

    Its parameters: ``name``_i, the index of the stop that it stands on, and ``name``, that stop. Even spaces are told to
    a screen reader as the numbers that they are; uneven ones would be torn by a step, and the index is told.
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


def distributions(members: dict[str, Tensor], count: int) -> Tensor:
    """The (count, V) log-probabilities of ``members`` in float64. Raises ValueError if that is not what they are."""
    if len(members) != count:
        number = {2: "two", 3: "three"}[count]
        raise ValueError(f"this chart compares {number} members, got {len(members)}: pass a dict of {number}")
    stacked = [torch.as_tensor(member).detach().double() for member in members.values()]
    if stacked[0].dim() != 1 or any(member.shape != stacked[0].shape for member in stacked):
        shapes = [tuple(member.shape) for member in stacked]
        raise ValueError(f"members must be (V,) log-probabilities over one vocabulary, got shapes {shapes}")
    log_probs = torch.stack(stacked)
    if not ((log_probs.exp().sum(dim=1) - 1).abs() < 1e-3).all():
        raise ValueError("members must be log-probabilities that sum to 1: apply log_softmax to logits first")
    return log_probs - log_probs.logsumexp(dim=1, keepdim=True)  # float32 sums to 1 only to about 1e-6


def token_labels(tokenizer_or_labels, ids: Tensor, vocabulary: int) -> list[str]:
    """The labels of ``ids``, from a tokenizer or from one string for each token of the vocabulary."""
    if hasattr(tokenizer_or_labels, "decode"):
        return [token_label(tokenizer_or_labels.decode([i])) for i in ids.tolist()]
    if len(tokenizer_or_labels) != vocabulary:
        raise ValueError(f"{len(tokenizer_or_labels)} labels for {vocabulary} tokens: give one label for each token")
    return [token_label(tokenizer_or_labels[i]) for i in ids.tolist()]


def describe(name: str, log_probs: Tensor, ids: Tensor, labels: list[str]) -> str:
    """A distribution in words: its three best tokens among ``ids``, and its entropy."""
    values, best = log_probs[ids].exp().topk(min(3, len(ids)))
    tokens = ", ".join(f"{labels[i]} {p:.2f}" for i, p in zip(best.tolist(), values.tolist()))
    return f"{name}: {tokens}; entropy {entropy_bits(log_probs):.1f} bits."


def entropy_bits(log_probs: Tensor) -> float:
    return float(-(log_probs.exp() * log_probs.clamp(min=ZERO)).sum()) / math.log(2)


def json_log(log_prob: float, digits: int = 4) -> float:
    return round(max(log_prob, ZERO), digits)


def short(x: float) -> float:
    return float(f"{x:.5g}")


def decimals(values: Tensor) -> int:
    """Decimals that show a hundredth of the range of ``values``."""
    span = (values.max() - values.min()).item() or 1.0
    return min(max(2 - math.floor(math.log10(span)), 0), 6)


def text_lines(texts: Sequence[str], width: int) -> dict:
    """Lines of text, each a Vega expression, the first one bold."""
    layers = []
    for i, text in enumerate(texts):
        mark = {"type": "text", "align": "left", "x": 0, "y": ROW * i + ROW // 2, "fontSize": 12, "limit": width}
        layers.append({"mark": {**mark, "fontWeight": "normal" if i else "bold", "text": {"expr": text}}})
    return {"width": width, "height": ROW * len(texts), "data": {"values": [{}]}, "layer": layers}


def heading(title: str, context: str, said: str) -> dict:
    """A chart's title, and under it what it is about and what its marks mean; empty ones are left out."""
    return {"text": title, "subtitle": [line for line in (context, said) if line], "offset": 12}


def opening(title: str, context: str) -> str:
    """The first sentence of a chart's text form."""
    return ": ".join(filter(None, (title, context))).rstrip(".") + "."
