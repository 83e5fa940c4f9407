"""The live chart of a path between two models: the loss along the straight line from A to B, and its barrier."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from course_utils.explore import vega
from course_utils.explore.chart import LiveChart, decimals, live_chart, short, shorts
from course_utils.explore.labels import name_spots, seen_points, stacked_numbers, with_room, written_at
from course_utils.explore.style import INK, MEMBER_COLOURS, TEXT_COLOURS

WIDTH, HEIGHT, SECOND_HEIGHT = 660, 230, 130  # pixels


def path_explorer(
    curves: dict[str, Sequence[float] | Tensor],
    *,
    second: dict[str, Sequence[float] | Tensor] | None = None,
    title: str = "From model A to model B in a straight line",
    context: str = "",
) -> LiveChart:
    """The loss of the model with the weights (1 - t) A + t B, for one pair (A, B) or more, with a slider for t.

    barrier = max_t L(t) - [(1 - t) L(0) + t L(1)]: how far a curve rises above the dashed line between its two ends.

    curves: name -> (n,) losses at n >= 3 evenly spaced t in [0, 1], n the same for all, 1 to 6 names; the page
    interpolates linearly between these points. second: the same names -> (n,) accuracies in [0, 1]; they add a panel.
    Raises ValueError: no names or too many, curves of different lengths or with fewer than three points, numbers that
    are not finite, accuracies outside [0, 1] or of other names. Source: Frankle et al. (2020), section 2.
    """
    # Only here: it brings SciPy, which the other charts do not need.
    from course_utils.merging.alignment import loss_barrier

    names, losses = list(curves), _stacked(curves, "curves")  # (curves, n)
    barriers = [loss_barrier(curve) for curve in losses]
    digits = decimals(losses)
    written = [f"{name}: barrier {barrier:.{digits}f}" for name, barrier in zip(names, barriers)]
    panels = [_panel(losses, names, written, "losses", "loss", HEIGHT, second is None, digits)]
    panels[0]["layer"] = [*_chords(losses, barriers, _x(not second)), *panels[0]["layer"]]
    n = losses.shape[1]
    params = [
        *vega.slider("t", "position t from A (0) to B (1)", 0, 1, 0.01, 0),
        # Between the points k and k + 1, at the share f of the way.
        *vega.computed(k=f"min(floor(t * {n - 1}), {n - 2})", f=f"t * {n - 1} - k"),
        *vega.given(losses=shorts(losses.tolist())),
    ]
    text = f"Loss on the straight path from A (t = 0) to B (t = 1): {_in_words(names, losses, barriers, digits)}"
    if second is not None:
        if list(second) != names:
            raise ValueError(f"second needs the same names as curves, in this order: {names}, got {list(second)}")
        accuracies = _stacked(second, "second")
        if accuracies.shape != losses.shape:
            raise ValueError(f"second needs {n} accuracies for each name, as curves has, got {accuracies.shape[1]}")
        if not ((accuracies >= 0) & (accuracies <= 1)).all():
            raise ValueError("second needs accuracies, numbers from 0 to 1")
        panels.append(_panel(accuracies, names, names, "accuracies", "accuracy", SECOND_HEIGHT, True, 3))
        params += vega.given(accuracies=shorts(accuracies.tolist()))
        lowest = ", ".join(f"{name} {low:.2f}" for name, low in zip(names, accuracies.amin(dim=1).tolist()))
        text += f" Lowest accuracy on the path: {lowest}."
    said = "dashed: the straight line between a curve's ends; barrier: how far the curve rises above it"
    return live_chart(title, context, [said], f"{text} Slider: position t.", params, panels, spacing=16)


def _stacked(curves: dict, what: str) -> Tensor:
    """The (curves, n) values in float64. Raises ValueError if that is not what they are."""
    rows = [torch.as_tensor(values, dtype=torch.float64).detach() for values in curves.values()]
    if not 1 <= len(rows) <= len(MEMBER_COLOURS):
        raise ValueError(f"{what} needs 1 to {len(MEMBER_COLOURS)} names, got {len(rows)}")
    shapes = [tuple(row.shape) for row in rows]
    if rows[0].dim() != 1 or len(rows[0]) < 3 or len(set(shapes)) > 1:
        raise ValueError(f"{what} needs (n,) values for each name, one n of at least 3 for all, got shapes {shapes}")
    stacked = torch.stack(rows)
    if not stacked.isfinite().all():
        raise ValueError(f"{what} holds values that are not finite: cap them, or leave that curve out")
    return stacked


def _x(named: bool) -> dict:
    title = "t, position on the path:  (1 − t) A + t B" if named else None
    return vega.along("t", [0, 1], {"title": title, "values": vega.FIFTHS, "grid": False, "labels": named})


def _points(values: Tensor) -> list[dict]:
    t = torch.linspace(0, 1, values.shape[1], dtype=torch.float64).tolist()
    return [
        {"c": c, "t": round(x, 5), "y": short(y), "colour": MEMBER_COLOURS[c]}
        for c, row in enumerate(values.tolist())
        for x, y in zip(t, row)
    ]


def _panel(values: Tensor, names, written: list[str], param: str, measure: str, height: int, axis: bool, digits: int):
    """A panel of ``values`` (curves, n) over t, ``written`` beside the curves, and a dot with its number on each."""
    low, high = with_room(values.min().item(), values.max().item(), height)
    look = {"title": None, "tickCount": 5 if height == HEIGHT else 4, "minExtent": 34, "format": "~g"}
    x, y = _x(axis), vega.along("y", [low, high], look, zero=False)
    at = [{"c": c, "name": n, "colour": MEMBER_COLOURS[c], "text": TEXT_COLOURS[c]} for c, n in enumerate(names)]
    moving = [
        *vega.calculate(t="t", y=f"{param}[datum.c][k] * (1 - f) + {param}[datum.c][k + 1] * f"),
        *vega.calculate(described="datum.name + ' ' + format(datum.y, '.5f') + ' at t = ' + format(t, '.2f')"),
    ]
    moved = {"data": {"values": at}, "transform": moving}
    curve, now = vega.mark("line", strokeWidth=3), vega.mark("rule", color=INK, opacity=0.35)
    number = f"format(datum.y, '.{digits}f')"
    layers = [
        vega.layer(curve, data=_points(values), x=x, y=y, color=vega.COLOUR, detail=vega.nominal("c")),
        *_names(values, written, low, high, height),
        vega.layer(now, data=at[:1], transform=moving[:1], x=x),
        vega.layer(vega.dot(120, stroke=INK), **moved, x=x, y=y, color=vega.COLOUR, **vega.DESCRIBED),
        *stacked_numbers(moved, x, y, number, len(names), height, "t > 0.92"),
    ]
    return vega.panel(WIDTH, height, vega.caption(measure, 4), layer=layers)


def _names(values: Tensor, written: list[str], low: float, high: float, height: int) -> list[dict]:
    """The curves' names, each beside its curve and in its colour."""
    size = torch.tensor([WIDTH, height], dtype=torch.float64)
    across = torch.linspace(0, WIDTH, values.shape[1], dtype=torch.float64)
    down = height * (high - values) / (high - low)
    seen = [seen_points(torch.stack([across, row], dim=1), size) for row in down]
    placed = zip(written, name_spots(seen, written, size), TEXT_COLOURS)
    return [vega.layer(written_at(spot, name, color=colour), data=[{}]) for name, spot, colour in placed]


def _chords(losses: Tensor, barriers: list[float], x: dict) -> list[dict]:
    """The dashed line between each curve's two ends, and a thin one that measures its barrier."""
    t = torch.linspace(0, 1, losses.shape[1], dtype=torch.float64)
    chords = (1 - t) * losses[:, :1] + t * losses[:, -1:]  # (curves, n)
    highest = (losses - chords).argmax(dim=1).tolist()
    ends = [point for point in _points(losses) if point["t"] in (0, 1)]
    heights = []
    for c, i in enumerate(highest):
        if barriers[c] > 0:
            ends_at = {"y": short(losses[c, i].item()), "y2": short(chords[c, i].item())}
            heights.append({"t": round(t[i].item(), 5), **ends_at, "colour": MEMBER_COLOURS[c]})
    chord = vega.mark("line", strokeDash=[5, 4], strokeWidth=1.5, opacity=0.6)
    rise = vega.mark("rule", strokeWidth=1, opacity=0.8)
    place = {"x": x, "y": vega.quantitative("y"), "color": vega.COLOUR}
    return [
        vega.layer(chord, data=ends, **place, detail=vega.nominal("c")),
        vega.layer(rise, data=heights, **place, y2={"field": "y2"}),
    ]


def _in_words(names: list[str], losses: Tensor, barriers: list[float], digits: int) -> str:
    said = []
    for name, curve, barrier in zip(names, losses, barriers):
        t = int(curve.argmax()) / (len(curve) - 1)
        first, last, worst = (f"{value:.{digits}f}" for value in (curve[0], curve[-1], curve.max()))
        said.append(f"{name} from {first} to {last}, highest {worst} at t = {t:.2f}, barrier {barrier:.{digits}f}")
    return "; ".join(said) + "."
