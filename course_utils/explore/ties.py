"""The live chart of TIES-Merging: task vectors are trimmed and elect a sign, coordinate by coordinate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils.explore import vega
from course_utils.explore.chart import ROW, LiveChart, live_chart, row_names, text_lines, unfit
from course_utils.explore.style import FAINT, INK, ROLE_COLOURS, TEXT_COLOURS
from course_utils.merging.task_vectors import disjoint_mean, elect_sign, keep_count

DENSITIES = (1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01)  # the stops of the density slider
USUAL = DENSITIES.index(0.2)  # the density of the paper
MODELS, COORDINATES = (2, 6), (4, 24)
GAP, NAMES, GRID, CELL = 14, 122, 312, 48  # pixels: between panels; at most, the names, all coordinates, one of them
PLUS, MINUS, GREY = TEXT_COLOURS[1], TEXT_COLOURS[2], ROLE_COLOURS["other"]  # white signs can be read on the first two
WIDTH = 742  # pixels: of the chart
NUMBER = 62  # pixels beside the bars, for a sign, five digits and an arrow
PLOT = 4 * ROW  # pixels: height of the small picture of the merged values
RESULTS = ("λ × mean", "λ × sum", "λ × TIES")
VOTE = "sum of kept"
HERE, ONCE = {"filter": "datum.c == coord"}, {"filter": "datum.m == 0"}
SIGNED = vega.condition("datum.value < 0", MINUS, PLUS)
PALE = {"condition": [{"test": "datum.agrees", "value": 1}, {"test": "datum.kept", "value": 0.2}], "value": 0}
DASHED = vega.condition("datum.kept", [1, 0], [3, 2])


def steps() -> list[dict]:
    """Trim, elect and merge in Vega, for each model and coordinate; what the coordinate has is in all its rows."""
    return [
        *vega.calculate(cut="cuts[datum.m][density_i]", kept="datum.v != 0 && abs(datum.v) >= datum.cut ? 1 : 0"),
        *vega.calculate(k="datum.kept ? datum.v : 0"),
        vega.joinaggregate(("sum", "v", "total"), ("sum", "k", "mass"), ("sum", "kept", "voters"), by=["c"]),
        *vega.calculate(sign="datum.mass > 0 ? 1 : datum.mass < 0 ? -1 : datum.voters ? majority[density_i] : 0"),
        *vega.calculate(agrees="datum.kept && datum.sign * datum.v > 0 ? 1 : 0", a="datum.agrees ? datum.v : 0"),
        vega.joinaggregate(("sum", "a", "winners"), ("sum", "agrees", "count"), by=["c"]),
        *vega.calculate(ties="datum.count ? datum.winners / datum.count : 0"),
        *vega.calculate(word="datum.agrees ? '' : datum.kept ? 'outvoted' : datum.v ? 'trimmed' : 'unchanged'"),
    ]


def _across(left: int) -> dict:
    scale = {"domain": [-1, 1], "range": [NUMBER, left - NUMBER], "clamp": True, "nice": False}
    return vega.quantitative("at", axis=None, stack=None, scale=scale)


def _still(mark: dict, **places) -> dict:
    """A mark at given pixels, which take the place of the encoding that a panel's layers share."""
    encoding = {place: {"value": {"expr": at} if isinstance(at, str) else at} for place, at in places.items()}
    return vega.layer({**mark, "aria": False}, data=[{}], **encoding)


def _zero(left: int, rows: int) -> dict:
    return _still(vega.mark("rule", color=FAINT), x=left / 2, y=0, y2=rows * ROW)


def _numbered(number: str) -> list[dict]:
    """The place ``at`` of ``value`` on the axis, and its number: with an arrow if the axis is too short."""
    written = number.replace("{0}", "datum.value")
    cut = f"datum.over > 1 ? '» ' + {written} : datum.over < -1 ? {written} + ' «' : {written}"
    return vega.calculate(over="datum.value / spans[coord - 1]", at="clamp(datum.over, -1, 1)", number=cut)


def _beside(x: dict, bold: str = "false", away: int = 4) -> list[dict]:
    """The numbers behind the ends of bars, on both sides of zero."""
    found = []
    for side, align, dx in ((">=", "left", away), ("<", "right", -away)):
        number = vega.mark("text", align=align, dx=dx, fontWeight={"expr": f"{bold} ? 'bold' : 'normal'"})
        shown = [{"filter": f"datum.value {side} 0"}]
        found.append(vega.layer(number, transform=shown, x=x, text=vega.nominal("number")))
    return found


def votes(n: int, left: int, number: str) -> dict:
    """The task vectors at the chosen coordinate, what becomes of each, and the sum that elects the sign."""
    x = _across(left)
    # The number stands behind the bar and behind the threshold; the word on the other side of zero.
    models = [
        HERE,
        *vega.calculate(row="datum.m + 1", value="datum.v"),
        *_numbered(number),
        *vega.calculate(limit="datum.cut / spans[coord - 1] * (datum.v < 0 ? -1 : 1)"),
        *vega.calculate(far="abs(datum.limit) > 1 || abs(datum.at) > abs(datum.limit) ? datum.at : datum.limit"),
        *vega.calculate(described="datum.name + ' ' + format(datum.v, '+.6f') + ' ' + (datum.word || 'contributes')"),
    ]
    elected = (
        "datum.voters == 0 ? 'nothing kept' : (datum.mass == 0 ? 'a tie, majority ' : 'elected ')"
        " + (datum.sign > 0 ? '+' : datum.sign < 0 ? '−' : '0')"
    )
    vote = [
        HERE,
        ONCE,
        *vega.calculate(row=f"{n + 1}", value="datum.mass"),
        *_numbered(number),
        *vega.calculate(word=elected, described=f"'{VOTE} ' + format(datum.mass, '+.6f') + ' ' + datum.word"),
    ]
    bar = vega.mark("bar", height=ROW - 6, orient="horizontal", strokeWidth=1.2)
    word = vega.mark("text", x={"expr": f"{left / 2} + (datum.value < 0 ? 6 : -6)"})
    word["align"] = {"expr": "datum.value < 0 ? 'left' : 'right'"}
    threshold = vega.mark("tick", orient="vertical", thickness=1.2, size=ROW - 4, color=INK, opacity=1, aria=False)
    within = [{"filter": "abs(datum.limit) <= 1 && datum.cut > 0"}]
    styled = {"fill": SIGNED, "stroke": SIGNED, "fillOpacity": PALE, "strokeDash": DASHED}
    each = [
        vega.layer(bar, x=x, **vega.DESCRIBED, **styled),
        vega.layer(threshold, transform=within, x={**x, "field": "limit"}),
        *_beside({**x, "field": "far"}),
        vega.layer({**word, "fontStyle": "italic"}, text=vega.nominal("word")),
    ]
    together = [
        vega.layer(bar, x=x, **vega.DESCRIBED, fill=SIGNED),
        *_beside(x, "true"),
        vega.layer({**word, "fontWeight": "bold"}, text=vega.nominal("word")),
    ]
    layers = [_zero(left, n + 1), {"transform": models, "layer": each}, {"transform": vote, "layer": together}]
    title = vega.caption("at this coordinate", 14)
    return vega.panel(left, (n + 1) * ROW, title, encoding={"y": vega.band("row", n + 1)}, layer=layers)


def _chosen(cell: int, height: int) -> dict:
    """The frame around the chosen coordinate."""
    frame = {"x": f"(coord - 1) * {cell} + 0.6", "x2": f"coord * {cell} - 0.6", "y": 0, "y2": height}
    return _still(vega.mark("rect", fill=None, stroke=INK, strokeWidth=1.2), **frame)


def grid(n: int, d: int, cell: int) -> dict:
    """The signs that stay, models x coordinates, and the row of elected signs."""
    square = vega.dot((min(cell, ROW) - 4) ** 2, shape="square", strokeWidth=1)
    glyph, text = vega.mark("text", fontWeight="bold", fontSize=min(cell, 13), aria=False), vega.nominal("glyph")
    glyphs = "datum.value > 0 ? '+' : datum.value < 0 ? '−' : '·'"
    models = [
        *vega.calculate(row="datum.m + 1", value="datum.v", glyph=f"datum.kept ? {glyphs} : ''"),
        *vega.calculate(described="datum.name + ', coordinate ' + datum.c + ': ' + (datum.word || datum.glyph)"),
    ]
    grey = {"condition": [{"test": "!datum.kept", "value": GREY}, SIGNED["condition"]], "value": PLUS}
    cells = {"fill": SIGNED, "stroke": grey, "fillOpacity": PALE, "strokeDash": DASHED, **vega.DESCRIBED}
    inner = {"condition": [{"test": "datum.agrees", "value": "white"}, SIGNED["condition"]], "value": PLUS}
    vote = [
        ONCE,
        *vega.calculate(row=f"{n + 1}", value="datum.sign", glyph=glyphs),
        *vega.calculate(described="'elected at coordinate ' + datum.c + ': ' + datum.glyph"),
    ]
    solid = {"fill": SIGNED, "fillOpacity": vega.condition("datum.value", 1, 0), **vega.DESCRIBED}
    each = [vega.layer(square, **cells), vega.layer(glyph, text=text, color=inner)]
    white = vega.condition("datum.value", "white", INK)
    elected = [vega.layer(square, **solid), vega.layer(glyph, text=text, color=white)]
    layers = [
        _chosen(cell, (n + 1) * ROW),
        _still(vega.mark("text", text="▼", fontSize=10), x=f"(coord - 0.5) * {cell}", y=-6),
        {"transform": models, "layer": each},
        {"transform": vote, "layer": elected},
        _still(vega.mark("rule", color=INK), x=0, x2=d * cell, y=n * ROW),
    ]
    title, encoding = vega.caption(f"all {d} coordinates", 3), {"x": vega.band("c", d), "y": vega.band("row", n + 1)}
    return vega.panel(d * cell, (n + 1) * ROW, title, encoding=encoding, layer=layers)


def results(n: int, left: int, number: str) -> dict:
    """Mean, sum and TIES at the chosen coordinate, times λ."""
    x = _across(left)
    transform = [
        HERE,
        ONCE,
        *vega.calculate(mean=f"datum.total / {n}"),
        {"fold": ["mean", "total", "ties"], "as": ["which", "unscaled"]},
        *vega.calculate(row="indexof(['mean', 'total', 'ties'], datum.which) + 1", value="lam * datum.unscaled"),
        *_numbered(number),
        *vega.calculate(described=f"{vega.quoted(RESULTS)}[datum.row - 1] + ' ' + format(datum.value, '+.6f')"),
    ]
    layers = [
        _zero(left, 3),
        vega.layer(vega.mark("bar", height=3, orient="horizontal", aria=False), x=x, color=SIGNED),
        vega.layer(vega.dot(90), x=x, color=SIGNED, **vega.DESCRIBED),
        *_beside(x, "datum.row == 3", away=8),
    ]
    content = {"transform": transform, "encoding": {"y": vega.band("row", 3)}, "layer": layers}
    return vega.panel(left, 3 * ROW, vega.caption("what the base gets", 5), **content)


def all_results(n: int, d: int, cell: int, end: float) -> dict:
    """TIES and the mean at all coordinates."""
    y = vega.quantitative("value", axis=None, stack=None, scale={"domain": [-end, end], "nice": False})
    ties = vega.calculate(
        value="lam * datum.ties", described="'TIES at ' + datum.c + ': ' + format(datum.value, '+.6f')"
    )
    mean = vega.calculate(value=f"lam * datum.total / {n}")
    bar = vega.mark("bar", width=min(max(cell - 5, 4), 20))
    tick = vega.mark("tick", orient="horizontal", thickness=2, size=min(cell - 2, 24), color=INK, opacity=1, aria=False)
    layers = [
        _chosen(cell, PLOT),
        _still(vega.mark("rule", color=GREY), x=0, x2=d * cell, y=PLOT / 2),
        vega.layer(bar, transform=ties, y=y, color=SIGNED, **vega.DESCRIBED),
        vega.layer(tick, transform=mean, y=y),
    ]
    content = {"transform": [ONCE], "encoding": {"x": vega.band("c", d)}, "layer": layers}
    return vega.panel(d * cell, PLOT, vega.caption("λ × TIES (ticks: λ × mean)", 5), **content)


def spelled_out(number: str) -> dict:
    """The mean of the winners, spelled out."""
    values = ("datum.winners", "datum.ties", "lam * datum.ties")
    winners, ties, scaled = (number.replace("{0}", value) for value in values)
    spelled = (
        "datum.count == 0 ? 'TIES: nobody contributes, the base keeps its value' : "
        f"'TIES: the winners add up to ' + {winners} + ', there are ' + datum.count + ': ' + {winners} + ' / ' "
        "+ datum.count"
        f" + ' = ' + {ties} + ';  times λ: ' + {scaled}"
    )
    line, steps = vega.mark("text", align="left", x=0, fontSize=12, limit=WIDTH), [HERE, ONCE]
    steps += vega.calculate(spelled=spelled)
    return vega.panel(WIDTH, ROW, **vega.layer(line, transform=steps, text=vega.nominal("spelled")))


@dataclass(frozen=True, eq=False)
class Thresholds:
    """What the trim and the election take from whole task vectors, for each of ``DENSITIES``: see ``thresholds``.

    sizes (n, densities): the smallest magnitude that stays in each model; majority: the sign that most of the elected
    coordinates have (+1, -1, or 0 if neither), which an exact tie gets.
    """

    sizes: Tensor
    majority: list[int]


def thresholds(tau: Tensor) -> Thresholds:
    """The thresholds that ``task_vectors.trim`` has over whole task vectors ``tau`` (n, D), at each of ``DENSITIES``.

    Of entries that are equal at the threshold trim keeps as many as there is room for, and the chart all of them.
    Raises ValueError: not (n, D), numbers that are not finite.
    """
    tau = torch.as_tensor(tau).detach()
    if tau.dim() != 2 or not tau.numel() or not tau.isfinite().all():
        raise unfit("tau", "(n, D) finite numbers, one whole task vector in each row", tuple(tau.shape))
    kept = torch.tensor([keep_count(density, tau.shape[1]) for density in DENSITIES])
    sizes = torch.stack([row.abs().sort(descending=True).values[kept - 1] for row in tau])  # (n, stops)
    trimmed = (tau.where(tau.abs() >= size[:, None], torch.zeros_like(tau)) for size in sizes.T)
    majority = [int(kept.sum(0).sign().sum().sign()) for kept in trimmed]
    return Thresholds(sizes.double(), majority)


def ties_explorer(
    tau: Tensor,
    *,
    magnitudes: Thresholds,
    names: Sequence[str],
    title: str = "Trim, elect a sign, merge those who agree",
    context: str = "",
) -> LiveChart:
    """The three steps of TIES-Merging at one coordinate and at all, with sliders for density, coordinate and λ.

    sign = sgn(sum of the kept τ_i), and where that is 0 the majority's;  TIES = the mean of the kept τ_i of that sign;
    beside it the plain mean and the sum of all τ_i (task arithmetic); all three times λ.

    tau: (n, d), the task vectors of 2 to 6 models at 4 to 24 coordinates (chosen from the real ones); magnitudes: what
    ``thresholds`` says of the whole task vectors (of the very same numbers), as the trim ranks all entries. names: n
    models. Raises ValueError: shapes and numbers of names that do not fit, numbers that are not finite.
    Source: Yadav et al. (2023), section 4 and figure 1; Ilharco et al. (2023) for the sum.
    """
    tau = _checked(tau, magnitudes, names)
    n, d = tau.shape
    places = [f"coordinate {c} of {d}" for c in range(1, d + 1)]
    found = _merged(tau, magnitudes)
    first = _interesting(*found[:2])
    named = list(enumerate(zip(names, tau.tolist())))
    rows = [{"m": m, "c": c, "name": name, "v": v} for m, (name, row) in named for c, v in enumerate(row, 1)]
    largest = tau.abs().amax(dim=0)
    # λ goes up to 2, and so do mean and TIES; a sum that is longer than the axis is cut, and its number says so.
    spans = tau.sum(dim=0).abs().minimum(3 * largest).maximum(2 * largest)
    params = [
        *vega.stop_slider("density", "density, the share that each model keeps", DENSITIES, USUAL),
        *vega.slider("coord", f"coordinate, 1 to {d}", 1, d, 1, first + 1),
        *vega.slider("lam", "λ, scale of what is added", 0, 2, 0.05, 1),
        *vega.given(cuts=magnitudes.sizes.tolist(), majority=magnitudes.majority),
        *vega.given(spans=spans.masked_fill(spans == 0, 1).tolist(), places=places),
    ]
    names_width = min(NAMES, 7 * max(map(len, [*names, *RESULTS, VOTE])) + 4)
    cell = min(CELL, GRID // d)
    left = WIDTH - names_width - cell * d - 2 * GAP
    digits = _digits(tau)
    number = f"(abs({{0}}) < {0.5 * 10**-digits} ? '0' : format({{0}}, '+.{digits}f'))"  # of the value {0}
    voters, kinds = row_names("name", n + 1, names_width, [*names, VOTE]), row_names("name", 3, names_width, RESULTS)
    for panel in (voters, kinds):
        panel["mark"]["limit"] = names_width
    end = 2 * largest.max().item() or 1
    said = "solid: contributes; pale: outvoted; hollow: trimmed; thin line: the model's threshold; "
    said += "▼ the chosen coordinate"
    setting = "'density ' + format(100 * density, '.4~g') + ' %, λ = ' + format(lam, '.2f')"
    panels = [
        text_lines(["places[coord - 1]", setting], WIDTH),
        vega.hconcat(voters, votes(n, left, number), grid(n, d, cell), spacing=GAP),
        vega.hconcat(kinds, results(n, left, number), all_results(n, d, cell, end), spacing=GAP),
        spelled_out(number),
    ]
    words = _in_words(tau, found, first, names)
    content = {"data": {"values": rows}, "transform": steps(), "spacing": 12}
    return live_chart(title, context, [said], f"{words} Sliders: density, coordinate, λ.", params, panels, **content)


def _checked(tau: Tensor, magnitudes: Thresholds, names: Sequence[str]) -> Tensor:
    """tau in float64. Raises ValueError if it cannot be drawn."""
    tau = torch.as_tensor(tau).detach().double()
    sizes = [tau.shape[i] if tau.dim() == 2 else 0 for i in (0, 1)]
    if not all(low <= size <= high for size, (low, high) in zip(sizes, (MODELS, COORDINATES))):
        raise unfit("tau", "(n, d) for n = 2 to 6 models and d = 4 to 24 coordinates", tuple(tau.shape))
    if not tau.isfinite().all():
        raise ValueError("tau holds numbers that are not finite")
    if len(names) != len(tau) or len(magnitudes.sizes) != len(tau):
        got = f"{len(names)} and {len(magnitudes.sizes)}"
        raise ValueError(f"{len(tau)} task vectors need as many names and thresholds, got {got}")
    return tau


def _merged(tau: Tensor, magnitudes: Thresholds) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """At the usual density what is kept and who agrees, both (n, d); the elected signs and merged values, both (d,)."""
    kept = (tau.abs() >= magnitudes.sizes[:, USUAL, None]) & (tau != 0)
    trimmed = tau.where(kept, torch.zeros_like(tau))
    sign = elect_sign(trimmed)
    sign = sign.where(trimmed.sum(dim=0) != 0, torch.full_like(sign, magnitudes.majority[USUAL]))
    return kept, kept & (tau.sign() == sign), sign, disjoint_mean(trimmed, sign)


def _interesting(kept: Tensor, agrees: Tensor) -> int:
    """The coordinate where the chart starts: where models are outvoted, others trimmed, and most agree."""
    n = len(kept)
    out, trimmed, count = (kept & ~agrees).sum(dim=0), (~kept).sum(dim=0), agrees.sum(dim=0)
    return int((n * n * ((out > 0).long() + (trimmed > 0) + (count > 1)) + n * out + count).argmax())


def _digits(tau: Tensor) -> int:
    """Decimals that give the largest sum four digits."""
    return min(max(3 - math.floor(math.log10(tau.abs().sum(dim=0).max().item() or 1.0)), 0), 7)


def _in_words(tau: Tensor, found: tuple, first: int, names: Sequence[str]) -> str:
    """The chosen coordinate, and how many entries of each model are trimmed and outvoted."""
    digits, (kept, agrees, sign, ties) = _digits(tau), found
    column, states = tau[:, first], []
    for m, name in enumerate(names):
        state = "trimmed" if column[m] else "unchanged"
        if kept[m, first]:
            state = "contributes" if agrees[m, first] else "outvoted"
        states.append(f"{name} {column[m]:+.{digits}f} {state}")
    elected = {1: "+", -1: "−", 0: "none"}[int(sign[first])] if kept[:, first].any() else "none"
    sums = f"mean {column.mean():+.{digits}f}, sum {column.sum():+.{digits}f}, TIES {ties[first]:+.{digits}f}"
    counts = [
        f"{name} {int(a.sum())} contribute, {int((k & ~a).sum())} outvoted, {int((~k).sum())} trimmed"
        for name, k, a in zip(names, kept, agrees)
    ]
    d = tau.shape[1]
    setting = f"At density {100 * DENSITIES[USUAL]:g} % and λ = 1, coordinate {first + 1} of {d}"
    text = f"{setting}: {', '.join(states)}; elected sign {elected}; {sums}."
    return f"{text} Of all {d} coordinates: {'; '.join(counts)}.".replace("-0.", "−0.")
