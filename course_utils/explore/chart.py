"""`LiveChart`, and what all live charts share: parts of Vega-Lite specifications, data as JSON, the placement of
labels.

Only features of Vega-Lite 5.6 are used, the version that JupyterLab 4.6 carries.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import torch
from torch import Tensor

from course_utils.explore import chart_html, vega
from course_utils.explore.style import FAINT, INK

ROW = 19  # pixels: height of a row of bars
LINE = 14  # pixels between two numbers, one above the other
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
            # No menu with a link to an outside editor; canvas redraws faster than SVG; axes of a dark theme would be
            # white on white.
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
    """Two parameters: ``name``_input bound to a slider, and the number ``name``. ``label`` is what a screen reader
    says.

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
        return vega.given(**{name: 1})
    return slider(name, label, 1, count, 1, start, width=width or max(60, 24 * count))


def row_axis(n_rows: int) -> dict:
    """The vertical position of row 1 ... n_rows."""
    return vega.band("row", n_rows)


def row_names(field: str, n_rows: int, width: int, names: Sequence[str] = ()) -> dict:
    """A column of names, right-aligned against the bars; names: its own rows, if they are not those of the chart."""
    data = [{"row": row, field: name} for row, name in enumerate(names, 1)] or None
    right = vega.mark("text", align="right", x=width, font=vega.MONOSPACE)
    return vega.panel(width, n_rows * ROW, **vega.layer(right, data=data, y=row_axis(n_rows), text=vega.nominal(field)))


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
    ends = [("left", 4, ">="), ("right", -4, "<")] if domain[0] < 0 else [("left", 4, ">=")]
    first = [{"filter": "datum.row == 1"}, vega.calculate("note", note)]
    layers = [
        vega.layer(bar, transform=[vega.calculate("described", described)], opacity=strength, **vega.DESCRIBED),
        *(
            vega.layer(
                vega.mark("text", align=align, dx=dx), transform=[{"filter": f"datum.{field} {side} 0"}], text=number
            )
            for align, dx, side in ends
        ),
        vega.layer(
            vega.mark("text", align="left"),
            transform=first,
            x={"value": 0},
            y={"value": -10},
            text=vega.nominal("note"),
        ),
    ]
    encoding = {"y": row_axis(n_rows), "x": vega.quantitative(field, axis=None, scale=scale)}
    return vega.panel(width, n_rows * ROW, {"text": name, "offset": 5}, encoding=encoding, layer=layers)


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


def shorts(values: list | float) -> list | float:
    """The numbers in lists of lists, each with five digits."""
    return [shorts(value) for value in values] if isinstance(values, list) else short(values)


def nearest(x: float, stops: Sequence[float]) -> int:
    """The index of the stop that is nearest to x."""
    return min(range(len(stops)), key=lambda i: abs(stops[i] - x))


def how_many(given: Sequence) -> int | str:
    """What a message says of a list that has another length, or is a string."""
    return "one string" if isinstance(given, str) else len(given)


def decimals(values: Tensor) -> int:
    """Decimals that show a hundredth of the range of ``values``."""
    span = (values.max() - values.min()).item() or 1.0
    return min(max(2 - math.floor(math.log10(span)), 0), 6)


def with_room(low: float, high: float, height: int, lines: float = 1.8) -> tuple[float, float]:
    """The ends of a vertical axis from low to high, with room for so many lines of text above and below."""
    margin = lines * LINE / (height - 2 * lines * LINE) * ((high - low) or 0.1)
    return low - margin, high + margin


def text_lines(texts: Sequence[str], width: int) -> dict:
    """Lines of text, each a Vega expression, the first one bold."""
    lines = []
    for i, text in enumerate(texts):
        line = vega.mark("text", align="left", x=0, y=ROW * i + ROW // 2, fontSize=12, limit=width, text={"expr": text})
        lines.append(vega.layer({**line, "fontWeight": "normal" if i else "bold"}))
    return vega.panel(width, ROW * len(texts), data={"values": [{}]}, layer=lines)


def heading(title: str, context: str, said: str) -> dict:
    """A chart's title, and under it what it is about and what its marks mean; empty ones are left out."""
    return {"text": title, "subtitle": [line for line in (context, said) if line], "offset": 12}


def opening(title: str, context: str) -> str:
    """The first sentence of a chart's text form."""
    return ": ".join(filter(None, (title, context))).rstrip(".") + "."


def seen_points(corners: Tensor, size: Tensor) -> Tensor:
    """(points, 2) close together on the curve through ``corners`` (n, 2), as far as it lies in a panel of ``size``."""
    steps = torch.linspace(0, 1, 50, dtype=corners.dtype)[:, None]
    line = torch.cat([a + steps * (b - a) for a, b in zip(corners[:-1], corners[1:])] or [corners])
    return line[((line >= 0) & (line <= size)).all(dim=1)]


def name_spots(curves: Sequence[Tensor], names: Sequence[str], size: Tensor) -> list[Tensor]:
    """The middle of each curve's name: beside its own curve, where it covers none and the others are far away.

    curves: for each name its ``seen_points``, in pixels; size (2,): width and height of the panel.
    """
    around = torch.tensor([(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if x or y], dtype=size.dtype)
    places: list[Tensor] = []
    for k, name in enumerate(names):
        half = torch.tensor([3.6 * len(name) + 4, 9], dtype=size.dtype)  # of the text's box
        spots = (curves[k][:, None] + 1.25 * half * around).flatten(0, 1)  # (spots, 2)
        spots = spots[((spots >= half) & (spots <= size - half)).all(dim=1)]
        others = [*curves[:k], *curves[k + 1 :], *(place[None] for place in places)]
        others = torch.cat(others or [-9 * size[None]])  # nobody else: an obstacle far away
        own, other = _clearance(spots, curves[k], half), _clearance(spots, others, half)
        places.append(spots[_first_best(3 * own.clamp(max=1.25) + other.clamp(max=4))])
    return places


def label_side(point: Tensor, label: str, curve: Tensor, others: Tensor, size: Tensor) -> tuple[int, int]:
    """Where a label beside ``point`` (2,) covers least of its curve, and then of the others, all as ``seen_points``.

    Returns 1 or -1 for right or left of the point, and 1 or -1 for below or above it.
    """
    sides = torch.tensor([(1, -1), (-1, -1), (1, 1), (-1, 1)])
    half = torch.tensor([3.9 * len(label), 8], dtype=size.dtype)
    spots = point + sides * torch.stack([half[0] + 12, torch.tensor(11)])  # (4, 2)
    inside = ((spots >= half) & (spots <= size - half)).all(dim=1)
    own, other = (_clearance(spots, line, half).clamp(max=1.3) for line in (curve, others))
    x, y = sides[_first_best(2 * own + other + 10 * inside)].tolist()
    return x, y


def _first_best(scores: Tensor) -> int:
    """The first of those that are as good as the best: what they differ by in the last digits, another processor turns
    round."""
    return int((scores / 0.05).round().argmax())


def _clearance(spots: Tensor, obstacles: Tensor, half: Tensor) -> Tensor:
    """The distance from each spot to the nearest obstacle, in halves of a box: below 1 the box covers it."""
    return ((spots[:, None] - obstacles).abs() / half).amax(dim=2).amin(dim=1)


def stacked_numbers(dots: dict, x: dict, y: dict, number: str, count: int, height: int, aside: str) -> list[dict]:
    """Two layers: the number of each of ``count`` dots beside it, in the colour of the field "text", on a white halo.

    dots: data and transform that give each dot its x and y; y: the encoding of y, with the domain and no more in its
    scale; number: a Vega expression; aside: another one, true where the numbers stand left of their dots. Numbers that
    would cover each other are pushed up, and down again where that leaves the panel: in the order of the values, each
    stands at least one line above the one below it.
    """
    low, high = y["scale"]["domain"]
    # Rounded: they stand inside expressions, which nbval compares as texts, and last digits vary from run to run.
    gap, high = short(LINE * (high - low) / height), short(high)
    transform = [
        *dots["transform"],
        vega.row_number("place", y="ascending"),
        vega.calculate("free", f"datum.y - {gap} * datum.place"),
        {
            "window": [{"op": "max", "field": "free", "as": "pushed"}],
            "frame": [None, 0],
            "sort": [{"field": "place", "order": "ascending"}],
        },
        vega.calculate(
            "at", f"min(datum.pushed + {gap} * datum.place, {high} - {gap} * ({count} - datum.place + 0.5))"
        ),
        vega.calculate("number", number),
    ]
    beside = {"align": {"expr": f"{aside} ? 'right' : 'left'"}, "dx": {"expr": f"{aside} ? -10 : 10"}}
    bold = vega.mark("text", fontWeight="bold", fontSize=12, **beside)
    place = {"x": x, "y": {**y, "field": "at"}, "text": vega.nominal("number")}
    halo = {"stroke": "white", "strokeWidth": 5, "strokeJoin": "round"}
    return [
        vega.layer({**bold, **halo}, data=dots["data"], transform=transform, **place),
        vega.layer(bold, data=dots["data"], transform=transform, **place, color=vega.nominal("text", scale=None)),
    ]
