"""Where the names of curves and the numbers of dots stand, so that they cover nothing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from course_utils.explore import vega
from course_utils.explore.chart import short

LINE = 14  # pixels between two numbers, one above the other


def with_room(low: float, high: float, height: int, lines: float = 1.8) -> tuple[float, float]:
    """The ends of a vertical axis from low to high, with room for so many lines of text above and below."""
    margin = lines * LINE / (height - 2 * lines * LINE) * ((high - low) or 0.1)
    return low - margin, high + margin


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


def written_at(spot: Tensor, name: str, **properties) -> dict:
    """The mark of a name with its middle at ``spot``."""
    return vega.mark("text", text=name, x=round(float(spot[0])), y=round(float(spot[1])), fontSize=12, **properties)


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
    """The first of those that are as good as the best: another processor changes the last digits."""
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
    pushed = {"window": [{"op": "max", "field": "free", "as": "pushed"}], "frame": [None, 0]}
    highest = f"{high} - {gap} * ({count} - datum.place + 0.5)"
    transform = [
        *dots["transform"],
        vega.row_number("place", y="ascending"),
        *vega.calculate(free=f"datum.y - {gap} * datum.place"),
        {**pushed, "sort": [{"field": "place", "order": "ascending"}]},
        *vega.calculate(at=f"min(datum.pushed + {gap} * datum.place, {highest})", number=number),
    ]
    beside = {"align": {"expr": f"{aside} ? 'right' : 'left'"}, "dx": {"expr": f"{aside} ? -10 : 10"}}
    bold = vega.mark("text", fontWeight="bold", fontSize=12, **beside)
    place = {"x": x, "y": {**y, "field": "at"}, "text": vega.nominal("number")}
    halo = {"stroke": "white", "strokeWidth": 5, "strokeJoin": "round"}
    return [
        vega.layer({**bold, **halo}, data=dots["data"], transform=transform, **place),
        vega.layer(bold, data=dots["data"], transform=transform, **place, color=vega.nominal("text", scale=None)),
    ]
