"""The live chart of a grid of measurements: scores of several methods over one setting, a slider for another one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils.explore import vega
from course_utils.explore.chart import ROW, LiveChart, capital, decimals, live_chart, short, shorts, unfit
from course_utils.explore.labels import name_spots, seen_points, stacked_numbers, with_room
from course_utils.explore.style import INK, MEMBER_COLOURS, TEXT_COLOURS

WIDTH, HEIGHT, AXIS = 690, 300, 34  # pixels: of the panel, and left of it for the axis
DOT = 7  # pixels: radius of a dot, which stays inside, so that nothing is laid out again
ROOM = 2  # the axis ends at this multiple of the distance from the best of all scores to the worst that must be seen
DASHES = ([7, 4], [2, 3], [7, 3, 2, 3])  # of the lines of reference
BEST = "◇"


@dataclass(frozen=True, eq=False)
class _Grid:
    """What is drawn: methods (M, outer, x), those without x the same along it, and references (R, outer)."""

    names: list[str]
    scores: Tensor
    flat: list[bool]  # for each method: it has no x
    marks: list[str]
    references: Tensor
    outer: tuple[str, list[float]] | None
    x: tuple[str, list[float]]
    lower: bool

    @property
    def best(self) -> Tensor:
        """(M, outer): the index of each method's best x."""
        return self.scores.argmin(dim=2) if self.lower else self.scores.argmax(dim=2)


def grid_explorer(
    scores: Mapping[str, Sequence | Tensor | float],
    *,
    axes: Mapping[str, Sequence[float]],
    measure: str,
    better: str,
    reference: Mapping[str, Sequence[float] | float] | None = None,
    title: str,
    context: str = "",
) -> LiveChart:
    """A score of up to six methods over x, with a slider for x and for the second axis, if there is one.

    axes: one or two names -> stops, in rising order, of which the last is x. The slider is called by the whole name and
    the text by what stands before its comma: {"n, number of tasks": [2, 4, 6], "λ, scale": [0, 0.5, 1]}. scores: method
    -> (n_outer, n_x), or (n_outer,) if it has no x (a horizontal line); with one axis (n_x,) or one number. measure:
    what the scores are; better: "lower" or "higher"; each method's best x gets a mark. reference: up to three names
    -> (n_outer,) or one number: dashed lines. Scores that are far worse than all that must be seen (each method's best,
    the horizontal lines) lie beyond the axis, and their numbers say so by an arrow. Raises ValueError: axes that are
    none or do not rise, shapes that do not fit them, scores that are not finite, too many names.
    """
    grid = _checked(scores, axes, better, reference or {})
    digits = decimals(_must_see(grid))
    low, high = _domain(grid)
    (x_name, stops), x_symbol = grid.x, _symbol(grid.x[0])
    params = vega.stop_slider("xs", x_name, stops, len(stops) // 2)
    now = f"{vega.quoted(f'{x_symbol} = ')} + format(xs, '.6~g')"
    if grid.outer:
        params = [*vega.stop_slider("outer", *grid.outer, 0), *params]
        now = f"{vega.quoted(f'{_symbol(grid.outer[0])} = ')} + format(outer, '.6~g') + ', ' + {now}"
    else:
        params += vega.given(outer_i=0)
    params += vega.given(scores=shorts(grid.scores.tolist()))
    shown = vega.caption({"expr": f"{vega.quoted(f'{measure} ({better} is better); ')} + {now}"}, 6)
    panels = [vega.panel(WIDTH, HEIGHT, shown, layer=_layers(grid, digits, low, high)), _bests(grid, digits)]
    text = f"{capital(measure)}, {better} is better. {_in_words(grid, digits)}"
    sliders = ", ".join(_symbol(name) for name in axes)
    said = f"{BEST} best {x_symbol} of a method" + ("; dashed: for comparison" if grid.marks else "")
    text += f" Slider{'s' if grid.outer else ''}: {sliders}."
    return live_chart(title, context, [said], text, params, panels, spacing=12)


def _checked(scores: Mapping, axes: Mapping, better: str, reference: Mapping) -> _Grid:
    """Everything as tensors of one shape. Raises ValueError if it cannot be drawn."""
    if better not in ("lower", "higher"):
        raise ValueError(f"better is 'lower' or 'higher', got {better!r}")
    if not 1 <= len(axes) <= 2:
        raise ValueError(f"axes needs one or two names with their stops, got {len(axes)}")
    listed = [(name, [float(stop) for stop in stops]) for name, stops in axes.items()]
    for name, stops in listed:
        rising = all(a < b for a, b in zip(stops[:-1], stops[1:]))
        if len(stops) < 2 or not rising or not all(map(math.isfinite, stops)):
            raise ValueError(f"axis {name!r} needs at least two stops in rising order, got {stops}")
    if not 1 <= len(scores) <= len(MEMBER_COLOURS) or len(reference) > len(DASHES):
        most = f"1 to {len(MEMBER_COLOURS)} methods and at most {len(DASHES)} references"
        raise ValueError(f"this chart has {most}, got {len(scores)} and {len(reference)}")
    (outer, x) = listed if len(listed) == 2 else (None, listed[0])
    before, n = ([len(outer[1])] if outer else []), len(x[1])
    methods, flat, lines = [], [], []
    for name, values in scores.items():
        value = torch.as_tensor(values, dtype=torch.float64).detach()
        if list(value.shape) not in ([*before, n], before):
            wanted = f"{(*before, n)}, or {(*before,)} without {_symbol(x[0])}"
            raise unfit(f"scores of {name!r}", wanted, tuple(value.shape))
        flat.append(list(value.shape) == before)
        methods.append((value[..., None] if flat[-1] else value).expand(*before, n).reshape(-1, n))
    for name, values in reference.items():
        value = torch.as_tensor(values, dtype=torch.float64).detach()
        if list(value.shape) not in (before, []):
            raise unfit(f"reference {name!r}", f"one number or {(*before,)}", tuple(value.shape))
        lines.append(value.expand(before).reshape(-1))
    found = torch.stack(methods)
    references = torch.stack(lines) if lines else found.new_zeros(0, found.shape[1])
    for name, value in zip([*scores, *reference], [*methods, *lines]):
        if not value.isfinite().all():
            raise ValueError(f"{name!r} holds scores that are not finite: cap them, or leave that setting out")
    return _Grid(list(scores), found, flat, list(reference), references, outer, x, better == "lower")


def _symbol(name: str) -> str:
    return name.split(",")[0].strip()


def _must_see(grid: _Grid) -> Tensor:
    best = grid.scores.gather(2, grid.best[..., None])
    return torch.cat([best.flatten(), grid.references.flatten()])


def _domain(grid: _Grid) -> tuple[float, float]:
    """The ends of the vertical axis, with room for a line of text above and below what is seen."""
    seen, every = _must_see(grid), torch.cat([grid.scores.flatten(), grid.references.flatten()])
    low, high = every.min().item(), every.max().item()
    far = ROOM * (seen.max() - seen.min()).item() or math.inf
    low, high = (low, min(high, low + far)) if grid.lower else (max(low, high - far), high)
    return tuple(map(short, with_room(low, high, HEIGHT)))


def _layers(grid: _Grid, digits: int, low: float, high: float) -> list[dict]:
    """The curves, the lines of reference, their names, the best marks, the dots and their numbers."""
    (x_name, stops), here = grid.x, [{"filter": "datum.o == outer_i"}]
    form = "~f" if stops[-1] > 20 else "~g"  # of whole tens "g" makes 1e+1
    axis = {"title": x_name, "grid": False, "tickCount": 8, "format": form}
    x = vega.along("x", [stops[0], stops[-1]], axis, range=[DOT, WIDTH - DOT], zero=False)
    axis = {"title": None, "tickCount": 6, "minExtent": AXIS, "format": "~g"}
    y = vega.along("y", [low, high], axis, zero=False)
    outer, methods = range(grid.scores.shape[1]), range(len(grid.names))
    points = [
        {"o": o, "c": c, "x": stop, "y": short(v), "colour": MEMBER_COLOURS[c]}
        for c in methods
        for o in outer
        for stop, v in zip(stops, grid.scores[c, o].tolist())
    ]
    tops = [
        {"o": o, "x": stops[i], "y": short(grid.scores[c, o, i].item()), "colour": MEMBER_COLOURS[c]}
        | {"described": f"best of {grid.names[c]} at {_symbol(x_name)} = {stops[i]:g}"}
        for c in methods
        if not grid.flat[c]
        for o, i in enumerate(grid.best[c].tolist())
    ]
    dots = [{"c": c, "name": n, "colour": MEMBER_COLOURS[c], "text": TEXT_COLOURS[c]} for c, n in enumerate(grid.names)]
    edge = DOT * (high - low) / HEIGHT
    told = f"datum.name + ' ' + format(datum.score, '.5f') + {vega.quoted(f' at {_symbol(x_name)} = ')} + xs"
    moving = [
        *vega.calculate(x="xs", score="scores[datum.c][outer_i][xs_i]"),
        *vega.calculate(y=f"clamp(datum.score, {low + edge}, {high - edge})", described=told),
    ]
    moved = {"data": {"values": dots}, "transform": moving}
    arrow = f"(datum.score > {high} ? ' ↑' : datum.score < {low} ? ' ↓' : '')"
    number = f"format(datum.score, '.{digits}f') + {arrow}"
    right = f"xs > {stops[0] + 0.9 * (stops[-1] - stops[0])}"
    written = {"x": {**x, "field": "nx"}, "y": {**y, "field": "ny"}, "text": vega.nominal("name"), "color": vega.COLOUR}
    curve = vega.mark("line", strokeWidth=3, clip=True, aria=False)
    diamond = vega.dot(110, shape="diamond", fill="white", strokeWidth=2)
    rules = []
    for dash, line in zip(DASHES, grid.references):
        rule = vega.mark("rule", strokeDash=dash, strokeWidth=1.5, color=INK, aria=False)
        rows = [{"o": o, "y": short(v)} for o, v in enumerate(line.tolist())]
        rules.append(vega.layer(rule, data=rows, transform=here, y=y))
    now = vega.mark("rule", color=INK, opacity=0.35, aria=False)
    return [
        *rules,
        vega.layer(curve, data=points, transform=here, x=x, y=y, color=vega.COLOUR, detail=vega.nominal("c")),
        vega.layer(now, data=dots[:1], transform=moving[:1], x=x),
        vega.layer(diamond, data=tops, transform=here, x=x, y=y, stroke=vega.COLOUR, **vega.DESCRIBED),
        vega.layer(vega.mark("text", fontSize=12), data=_names(grid, digits, low, high), transform=here, **written),
        vega.layer(vega.dot(120, stroke=INK), **moved, x=x, y=y, color=vega.COLOUR, **vega.DESCRIBED),
        *stacked_numbers(moved, x, y, number, len(dots), HEIGHT, right),
    ]


def _names(grid: _Grid, digits: int, low: float, high: float) -> list[dict]:
    """For each outer stop the names of its curves and lines, each beside its own, and in the units of the axes."""
    size, stops = torch.tensor([WIDTH, HEIGHT], dtype=torch.float64), torch.tensor(grid.x[1], dtype=torch.float64)
    first, scale = stops[0].item(), (stops[-1] - stops[0]).item() / (WIDTH - 2 * DOT)
    across = (DOT + (stops - first) / scale)[None]
    some = max(1, len(stops) // 5)  # of the points between two stops: enough to keep clear of
    rows = []
    for o in range(grid.scores.shape[1]):
        names = [*grid.names, *_compared(grid, o, digits)]
        lines = torch.cat([grid.scores[:, o], grid.references[:, o, None].expand(-1, len(stops))])
        corners = torch.stack([across.expand_as(lines), HEIGHT * (high - lines) / (high - low)], dim=2)
        seen = [seen_points(line, size)[::some] for line in corners]
        for k, (name, spot) in enumerate(zip(names, name_spots(seen, names, size))):
            px, py = spot.tolist()
            place = {"nx": short(first + (px - DOT) * scale), "ny": short(high - py * (high - low) / HEIGHT)}
            rows.append({"o": o, "name": name, **place, "colour": TEXT_COLOURS[k] if k < len(grid.names) else INK})
    return rows


def _bests(grid: _Grid, digits: int) -> dict:
    """Under the chart: each method's best score, and where it is."""
    columns = min(2, len(grid.names))
    rows = [
        {"o": o, "row": c // columns + 1, "left": c % columns / columns, "said": said, "colour": TEXT_COLOURS[c]}
        for o in range(grid.scores.shape[1])
        for c, said in enumerate(_best_words(grid, o, digits))
    ]
    n_rows = rows[-1]["row"]
    place = {"x": vega.quantitative("left", axis=None, scale={"domain": [0, 1]}), "y": vega.band("row", n_rows)}
    text, here = vega.mark("text", align="left", fontSize=12), [{"filter": "datum.o == outer_i"}]
    said = vega.layer(text, data=rows, transform=here, **place, text=vega.nominal("said"), color=vega.COLOUR)
    return vega.panel(WIDTH, n_rows * ROW, **said)


def _compared(grid: _Grid, o: int, digits: int) -> list[str]:
    return [f"{name} {value:.{digits}f}" for name, value in zip(grid.marks, grid.references[:, o].tolist())]


def _best_words(grid: _Grid, o: int, digits: int) -> list[str]:
    said = []
    for c, name in enumerate(grid.names):
        i = int(grid.best[c, o])
        value = f"{name} {grid.scores[c, o, i].item():.{digits}f}"
        said.append(value if grid.flat[c] else f"{BEST} {value} at {_symbol(grid.x[0])} = {grid.x[1][i]:g}")
    return said


def _in_words(grid: _Grid, digits: int) -> str:
    """The best of each method, for each outer stop."""
    parts = []
    for o in range(grid.scores.shape[1]):
        where = f"{_symbol(grid.outer[0])} = {grid.outer[1][o]:g}, best scores: " if grid.outer else "Best scores: "
        against = f"; for comparison {', '.join(_compared(grid, o, digits))}" if grid.marks else ""
        parts.append(f"{where}{', '.join(_best_words(grid, o, digits))}{against}.".replace(f"{BEST} ", ""))
    return " ".join(parts)
