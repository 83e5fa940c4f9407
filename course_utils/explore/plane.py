"""The live chart of a trade: two measures of the same systems on a plane, and a slider that moves all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from course_utils.evidence import Interval
from course_utils.explore import vega
from course_utils.explore.chart import LiveChart, capital, clipped, live_chart, short, text_lines
from course_utils.explore.labels import name_spots, seen_points, written_at
from course_utils.explore.style import INK, MEMBER_COLOURS, TEXT_COLOURS

WIDTH, HEIGHT = 660, 290  # pixels of the plane
DOT = 8  # pixels: radius of a dot, which stays inside, so that nothing is laid out again
LONGEST = 92  # characters of a sample


def plane_explorer(
    curves: Mapping[str, Sequence[tuple[Interval, Interval]]],
    *,
    stops: Sequence[float],
    setting: str,
    x: str,
    y: str,
    samples: Mapping[str, Sequence[str]] | None = None,
    start: float | None = None,
    title: str,
    context: str = "",
) -> LiveChart:
    """How up to six systems move on the plane of two measures when a setting that they share is moved.

    stops: at least two values of the setting, rising; setting: its whole name, called in the text by what stands before
    the comma ("λ, weight of …"). curves: system -> for each stop its (x, y), each an ``Interval``, drawn as a cross
    around the dot of the chosen stop. samples: system -> for each stop a text that it wrote, shown under the plane.
    x, y: what the measures are. start: the stop where the slider stands at first. Raises ValueError: stops that do not
    rise, no system or too many, lists that are not as long as the stops, figures that are not finite.
    """
    stops = [float(stop) for stop in stops]
    if len(stops) < 2 or any(a >= b for a, b in zip(stops, stops[1:])):
        raise ValueError(f"stops needs at least two values in rising order, got {stops}")
    if not 1 <= len(curves) <= len(MEMBER_COLOURS):
        raise ValueError(f"curves needs 1 to {len(MEMBER_COLOURS)} systems, got {len(curves)}")
    for name, values in [*curves.items(), *(samples or {}).items()]:
        if len(values) != len(stops):
            raise ValueError(f"{name!r} has {len(values)} entries for {len(stops)} stops")
    if samples and list(samples) != list(curves):
        raise ValueError(f"samples needs the systems of curves, in this order: {list(curves)}, got {list(samples)}")
    ends = torch.tensor(
        [[[(m.low, m.value, m.high) for m in point] for point in values] for values in curves.values()],
        dtype=torch.float64,
    )  # (systems, stops, 2, 3)
    if not ends.isfinite().all():
        raise ValueError("curves holds figures that are not finite: leave that setting out")
    symbol, at = setting.split(",")[0].strip(), stops.index(float(start)) if start is not None else len(stops) // 2
    lines = _lines(curves, stops, symbol, samples)
    params = [*vega.stop_slider("lam", setting, stops, at), *vega.given(said=lines)]
    shown = [vega.quoted(f"{symbol} = ") + " + format(lam, '~g')", *(f"said[{k}][lam_i]" for k in range(len(lines)))]
    panels = [vega.panel(WIDTH, HEIGHT, layer=_layers(list(curves), ends, x, y)), text_lines(shown, WIDTH)]
    said = f"a dot for each {symbol}, joined in their order; crosses: 95 % intervals at the chosen one"
    text = f"{capital(y)} against {x}. {_in_words(curves, stops, symbol)} Slider: {symbol}."
    return live_chart(title, context, [said], text, params, panels, spacing=12)


def _figures(point: tuple[Interval, Interval]) -> str:
    return f"{point[1].value:.2f} at {point[0].value:.2f}".replace("-", "−")


def _lines(curves: Mapping, stops: Sequence[float], symbol: str, samples: Mapping | None) -> list[list[str]]:
    """The lines under the plane, each with a text for each stop: figures, and a sample where there are some."""
    lines = []
    for name, values in curves.items():
        lines.append([f"{name}: {_figures(point)}" for point in values])
        if samples:
            written = [" ".join(text.split()) for text in samples[name]]
            lines.append([f"   “{clipped(text, LONGEST)}”" for text in written])
    return lines


def _domain(low: float, high: float, pixels: int) -> list[float]:
    """The ends of an axis, with room for a dot."""
    room = 2 * DOT * (high - low or 1.0) / pixels
    return [short(low - room), short(high + room)]


def _layers(names: list[str], ends: torch.Tensor, x_title: str, y_title: str) -> list[dict]:
    """The curves with a small dot for each stop, their names, and the crosses and large dots at the chosen stop."""
    size = torch.tensor([WIDTH, HEIGHT], dtype=torch.float64)
    middle = ends[..., 1]  # (systems, stops, 2)
    spread = [_domain(ends[:, :, k].min().item(), ends[:, :, k].max().item(), int(size[k])) for k in (0, 1)]
    axis = {"grid": False, "tickCount": 7, "format": "~g"}
    x = vega.along("x", spread[0], {"title": x_title, **axis}, zero=False)
    y = vega.along("y", spread[1], {"title": y_title, **axis, "minExtent": 34}, zero=False)
    rows = [
        {"c": c, "i": i, "colour": MEMBER_COLOURS[c], "name": name}
        | {key: short(ends[c, i, k, e].item()) for key, k, e in _PLACES}
        for c, name in enumerate(names)
        for i in range(ends.shape[1])
    ]
    low = torch.tensor([spread[0][0], spread[1][0]], dtype=torch.float64)
    span = torch.tensor([spread[0][1] - spread[0][0], spread[1][1] - spread[1][0]], dtype=torch.float64)
    corners = (middle - low) / span * size
    corners[..., 1] = HEIGHT - corners[..., 1]
    spots = name_spots([seen_points(line, size) for line in corners], names, size)
    written = [
        vega.layer(written_at(spot, name, color=colour, fontWeight="bold"), data=[{}])
        for spot, name, colour in zip(spots, names, TEXT_COLOURS)
    ]
    here = [
        {"filter": "datum.i == lam_i"},
        *vega.calculate(described="datum.name + ': ' + format(datum.y, '.2f') + ' at ' + format(datum.x, '.2f')"),
    ]
    cross, place = vega.mark("rule", strokeWidth=2, opacity=0.7, aria=False), {"x": x, "y": y, "color": vega.COLOUR}
    line = vega.mark("line", strokeWidth=2, opacity=0.6, aria=False)
    joined = {"order": vega.quantitative("i"), "detail": vega.nominal("c")}
    across = {"x": {**x, "field": "x_low"}, "x2": {"field": "x_high"}}
    upright = {"y": {**y, "field": "y_low"}, "y2": {"field": "y_high"}}
    return [
        vega.layer(line, data=rows, **place, **joined),
        vega.layer(vega.dot(30, aria=False), data=rows, **place),
        *written,
        vega.layer(cross, data=rows, transform=here, **place | across),
        vega.layer(cross, data=rows, transform=here, **place | upright),
        vega.layer(vega.dot(150, stroke=INK), data=rows, transform=here, **place, **vega.DESCRIBED),
    ]


_PLACES = [("x_low", 0, 0), ("x", 0, 1), ("x_high", 0, 2), ("y_low", 1, 0), ("y", 1, 1), ("y_high", 1, 2)]


def _in_words(curves: Mapping, stops: Sequence[float], symbol: str) -> str:
    parts = []
    for name, values in curves.items():
        each = ", ".join(f"{stop:g}: {_figures(point)}".replace("-", "−") for stop, point in zip(stops, values))
        parts.append(f"{name}, by {symbol}: {each}.")
    return " ".join(parts)
