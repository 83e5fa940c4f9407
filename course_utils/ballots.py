"""The panels of the chart in ``voting``: what TIES does to each task vector, and what comes of it."""

from __future__ import annotations

import json

from course_utils.livechart import ROW, TEXT_COLOURS, calculate, row_axis
from course_utils.plots import FAINT, INK, ROLE_COLOURS

PLUS, MINUS, GREY = TEXT_COLOURS[1], TEXT_COLOURS[2], ROLE_COLOURS["other"]  # white signs can be read on the first two
WIDTH = 742  # pixels: of the chart
NUMBER = 62  # pixels beside the bars, for a sign, five digits and an arrow
PLOT = 4 * ROW  # pixels: height of the small picture of the merged values
RESULTS = ("λ × mean", "λ × sum", "λ × TIES")
VOTE = "sum of kept"
HERE, ONCE = {"filter": "datum.c == coord"}, {"filter": "datum.m == 0"}
SIGNED = {"condition": {"test": "datum.value < 0", "value": MINUS}, "value": PLUS}
PALE = {"condition": [{"test": "datum.agrees", "value": 1}, {"test": "datum.kept", "value": 0.2}], "value": 0}
DASHED = {"condition": {"test": "datum.kept", "value": [1, 0]}, "value": [3, 2]}
DESCRIBED = {"description": {"field": "described", "type": "nominal"}}


def number_text(digits: int) -> str:
    """A Vega expression for a number with its sign: put the value in the place of {0}."""
    return f"(abs({{0}}) < {0.5 * 10**-digits} ? '0' : format({{0}}, '+.{digits}f'))"


def steps() -> list[dict]:
    """Trim, elect and merge in Vega, for each model and coordinate; what belongs to the coordinate is in all its rows."""

    def summed(**fields: str) -> dict:
        return {"joinaggregate": [{"op": "sum", "field": f, "as": to} for to, f in fields.items()], "groupby": ["c"]}

    return [
        calculate("cut", "cuts[datum.m][density_i]"),
        calculate("kept", "datum.v != 0 && abs(datum.v) >= datum.cut ? 1 : 0"),
        calculate("k", "datum.kept ? datum.v : 0"),
        summed(total="v", mass="k", voters="kept"),
        calculate("sign", "datum.mass > 0 ? 1 : datum.mass < 0 ? -1 : datum.voters ? majority[density_i] : 0"),
        calculate("agrees", "datum.kept && datum.sign * datum.v > 0 ? 1 : 0"),
        calculate("a", "datum.agrees ? datum.v : 0"),
        summed(winners="a", count="agrees"),
        calculate("ties", "datum.count ? datum.winners / datum.count : 0"),
        calculate("word", "datum.agrees ? '' : datum.kept ? 'outvoted' : datum.v ? 'trimmed' : 'unchanged'"),
    ]


def _across(left: int) -> dict:
    scale = {"domain": [-1, 1], "range": [NUMBER, left - NUMBER], "clamp": True, "nice": False}
    return {"field": "at", "type": "quantitative", "axis": None, "stack": None, "scale": scale}


def _still(mark: dict, **places) -> dict:
    """A mark at given pixels, which take the place of the encoding that a panel's layers share."""
    encoding = {place: {"value": {"expr": at} if isinstance(at, str) else at} for place, at in places.items()}
    return {"data": {"values": [{}]}, "mark": {**mark, "aria": False}, "encoding": encoding}


def _zero(left: int, rows: int) -> dict:
    return _still({"type": "rule", "color": FAINT}, x=left / 2, y=0, y2=rows * ROW)


def _numbered(number: str) -> list[dict]:
    """The place ``at`` of ``value`` on the axis, and its number: with an arrow if the axis is too short."""
    cut = f"datum.over > 1 ? '» ' + {number} : datum.over < -1 ? {number} + ' «' : {number}".replace("{0}", "datum.value")
    return [
        calculate("over", "datum.value / spans[coord - 1]"),
        calculate("at", "clamp(datum.over, -1, 1)"),
        calculate("number", cut),
    ]


def _beside(x: dict, bold: str = "false") -> list[dict]:
    """The numbers behind the ends of bars, on both sides of zero."""
    text = {"x": x, "text": {"field": "number", "type": "nominal"}}
    weight = {"expr": f"{bold} ? 'bold' : 'normal'"}
    return [
        {
            "transform": [{"filter": f"datum.value {side} 0"}],
            "mark": {"type": "text", "align": align, "dx": dx, "fontWeight": weight},
            "encoding": text,
        }
        for side, align, dx in ((">=", "left", 4), ("<", "right", -4))
    ]


def votes(n: int, left: int, number: str) -> dict:
    """The task vectors at the chosen coordinate, what becomes of each, and the sum that elects the sign."""
    x = _across(left)
    # The number stands behind the bar and behind the threshold; the word on the other side of zero.
    models = [
        HERE,
        calculate("row", "datum.m + 1"),
        calculate("value", "datum.v"),
        *_numbered(number),
        calculate("limit", "datum.cut / spans[coord - 1] * (datum.v < 0 ? -1 : 1)"),
        calculate("far", "abs(datum.limit) > 1 || abs(datum.at) > abs(datum.limit) ? datum.at : datum.limit"),
        calculate("described", "datum.name + ' ' + format(datum.v, '+.6f') + ' ' + (datum.word || 'contributes')"),
    ]
    elected = (
        "datum.voters == 0 ? 'nothing kept' : (datum.mass == 0 ? 'a tie, majority ' : 'elected ')"
        " + (datum.sign > 0 ? '+' : datum.sign < 0 ? '−' : '0')"
    )
    vote = [
        HERE,
        ONCE,
        calculate("row", f"{n + 1}"),
        calculate("value", "datum.mass"),
        *_numbered(number),
        calculate("word", elected),
        calculate("described", f"'{VOTE} ' + format(datum.mass, '+.6f') + ' ' + datum.word"),
    ]
    bar = {"type": "bar", "height": ROW - 6, "orient": "horizontal", "strokeWidth": 1.2}
    word = {"type": "text", "x": {"expr": f"{left / 2} + (datum.value < 0 ? 6 : -6)"}}
    word["align"] = {"expr": "datum.value < 0 ? 'left' : 'right'"}
    said = {"text": {"field": "word", "type": "nominal"}}
    styled = {
        "fill": SIGNED,
        "stroke": SIGNED,
        "fillOpacity": PALE,
        "strokeDash": DASHED,
    }
    threshold = {"type": "tick", "orient": "vertical", "thickness": 1.2, "size": ROW - 4, "color": INK, "opacity": 1, "aria": False}
    layers = [
        {
            "transform": models,
            "layer": [
                {"mark": bar, "encoding": {"x": x, **DESCRIBED, **styled}},
                {
                    "transform": [{"filter": "abs(datum.limit) <= 1 && datum.cut > 0"}],
                    "mark": threshold,
                    "encoding": {"x": {**x, "field": "limit"}},
                },
                *_beside({**x, "field": "far"}),
                {"mark": {**word, "fontStyle": "italic"}, "encoding": said},
            ],
        },
        {
            "transform": vote,
            "layer": [
                {"mark": bar, "encoding": {"x": x, **DESCRIBED, "fill": SIGNED}},
                *_beside(x, "true"),
                {"mark": {**word, "fontWeight": "bold"}, "encoding": said},
            ],
        },
    ]
    heading = {"text": "at this coordinate", "frame": "group", "offset": 14}
    size = {"width": left, "height": (n + 1) * ROW}
    return {"title": heading, **size, "encoding": {"y": row_axis(n + 1)}, "layer": [_zero(left, n + 1), *layers]}


def _column(d: int) -> dict:
    return {"field": "c", "type": "ordinal", "axis": None, "scale": {"type": "band", "domain": list(range(1, d + 1)), "padding": 0}}


def _chosen(cell: int, height: int) -> dict:
    """The frame around the chosen coordinate."""
    frame = {"x": f"(coord - 1) * {cell} + 0.6", "x2": f"coord * {cell} - 0.6", "y": 0, "y2": height}
    return _still({"type": "rect", "fill": None, "stroke": INK, "strokeWidth": 1.2}, **frame)


def grid(n: int, d: int, cell: int) -> dict:
    """The signs that stay, models x coordinates, and the row of elected signs."""
    square = {"type": "point", "shape": "square", "size": (min(cell, ROW) - 4) ** 2, "strokeWidth": 1, "opacity": 1, "filled": True}
    glyph = {"type": "text", "fontWeight": "bold", "fontSize": min(cell, 13), "aria": False}
    sign = {"text": {"field": "glyph", "type": "nominal"}}
    glyphs = "datum.value > 0 ? '+' : datum.value < 0 ? '−' : '·'"
    models = [
        calculate("row", "datum.m + 1"),
        calculate("value", "datum.v"),
        calculate("glyph", f"datum.kept ? {glyphs} : ''"),
        calculate("described", "datum.name + ', coordinate ' + datum.c + ': ' + (datum.word || datum.glyph)"),
    ]
    grey = {"condition": [{"test": "!datum.kept", "value": GREY}, SIGNED["condition"]], "value": PLUS}
    cells = {"fill": SIGNED, "stroke": grey, "fillOpacity": PALE, "strokeDash": DASHED, **DESCRIBED}
    inner = {"color": {"condition": [{"test": "datum.agrees", "value": "white"}, SIGNED["condition"]], "value": PLUS}}
    vote = [
        ONCE,
        calculate("row", f"{n + 1}"),
        calculate("value", "datum.sign"),
        calculate("glyph", glyphs),
        calculate("described", "'elected at coordinate ' + datum.c + ': ' + datum.glyph"),
    ]
    solid = {"fill": SIGNED, "fillOpacity": {"condition": {"test": "datum.value", "value": 1}, "value": 0}, **DESCRIBED}
    white = {"color": {"condition": {"test": "datum.value", "value": "white"}, "value": INK}}
    layers = [
        _chosen(cell, (n + 1) * ROW),
        _still({"type": "text", "text": "▼", "fontSize": 10}, x=f"(coord - 0.5) * {cell}", y=-6),
        {"transform": models, "layer": [{"mark": square, "encoding": cells}, {"mark": glyph, "encoding": {**sign, **inner}}]},
        {"transform": vote, "layer": [{"mark": square, "encoding": solid}, {"mark": glyph, "encoding": {**sign, **white}}]},
        _still({"type": "rule", "color": INK}, x=0, x2=d * cell, y=n * ROW),
    ]
    size = {"width": d * cell, "height": (n + 1) * ROW}
    encoding = {"x": _column(d), "y": row_axis(n + 1)}
    return {"title": {"text": f"all {d} coordinates", "frame": "group", "offset": 3}, **size, "encoding": encoding, "layer": layers}


def results(n: int, left: int, number: str) -> dict:
    """Mean, sum and TIES at the chosen coordinate, times λ."""
    x = _across(left)
    transform = [
        HERE,
        ONCE,
        calculate("mean", f"datum.total / {n}"),
        {"fold": ["mean", "total", "ties"], "as": ["which", "unscaled"]},
        calculate("row", "indexof(['mean', 'total', 'ties'], datum.which) + 1"),
        calculate("value", "lam * datum.unscaled"),
        *_numbered(number),
        calculate("described", f"{json.dumps(RESULTS, ensure_ascii=False)}[datum.row - 1] + ' ' + format(datum.value, '+.6f')"),
    ]
    dot = {"type": "point", "filled": True, "size": 90, "opacity": 1}
    layers = [
        _zero(left, 3),
        {"mark": {"type": "bar", "height": 3, "orient": "horizontal", "aria": False}, "encoding": {"x": x, "color": SIGNED}},
        {"mark": dot, "encoding": {"x": x, "color": SIGNED, **DESCRIBED}},
        *({**one, "mark": {**one["mark"], "dx": 2 * one["mark"]["dx"]}} for one in _beside(x, "datum.row == 3")),
    ]
    heading = {"text": "what the base gets", "frame": "group", "offset": 5}
    return {"title": heading, "width": left, "height": 3 * ROW, "transform": transform, "encoding": {"y": row_axis(3)}, "layer": layers}


def all_results(n: int, d: int, cell: int, end: float) -> dict:
    """TIES and the mean at all coordinates."""
    y = {"field": "value", "type": "quantitative", "axis": None, "stack": None, "scale": {"domain": [-end, end], "nice": False}}
    bar = {"type": "bar", "width": min(max(cell - 5, 4), 20)}
    ties = [calculate("value", "lam * datum.ties"), calculate("described", "'TIES at ' + datum.c + ': ' + format(datum.value, '+.6f')")]
    tick = {"type": "tick", "orient": "horizontal", "thickness": 2, "size": min(cell - 2, 24), "color": INK, "opacity": 1, "aria": False}
    layers = [
        _chosen(cell, PLOT),
        _still({"type": "rule", "color": GREY}, x=0, x2=d * cell, y=PLOT / 2),
        {"transform": ties, "mark": bar, "encoding": {"y": y, "color": SIGNED, **DESCRIBED}},
        {"transform": [calculate("value", f"lam * datum.total / {n}")], "mark": tick, "encoding": {"y": y}},
    ]
    heading = {"text": "λ × TIES (ticks: λ × mean)", "frame": "group", "offset": 5}
    size = {"width": d * cell, "height": PLOT}
    return {"title": heading, **size, "transform": [ONCE], "encoding": {"x": _column(d)}, "layer": layers}


def spelled_out(number: str) -> dict:
    """The mean of the winners, spelled out."""
    winners, ties, scaled = (number.replace("{0}", value) for value in ("datum.winners", "datum.ties", "lam * datum.ties"))
    spelled = (
        "datum.count == 0 ? 'TIES: nobody contributes, the base keeps its value' : "
        f"'TIES: the winners add up to ' + {winners} + ', there are ' + datum.count + ': ' + {winners} + ' / ' + datum.count"
        f" + ' = ' + {ties} + ';  times λ: ' + {scaled}"
    )
    mark = {"type": "text", "align": "left", "x": 0, "fontSize": 12, "limit": WIDTH}
    encoding = {"text": {"field": "spelled", "type": "nominal"}}
    transform = [HERE, ONCE, calculate("spelled", spelled)]
    return {"width": WIDTH, "height": ROW, "transform": transform, "mark": mark, "encoding": encoding}
