"""The live chart of TIES-Merging: at each coordinate the task vectors are trimmed, elect a sign, and the winners merge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils.ballots import RESULTS, VOTE, WIDTH, all_results, grid, number_text, results, spelled_out, steps, votes
from course_utils.livechart import LiveChart, heading, opening, row_names, slider, stop_slider, text_lines
from course_utils.task_vectors import disjoint_mean, elect_sign, keep_count

DENSITIES = (1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01)  # the stops of the density slider
USUAL = 0.2  # the density of the paper
MODELS, COORDINATES = (2, 6), (4, 24)
GAP, NAMES, GRID, CELL = 14, 122, 312, 48  # pixels: between panels; at most, the names, all coordinates, one of them


@dataclass(frozen=True, eq=False)
class Thresholds:
    """What the trim and the election take from whole task vectors, for each of ``stops``: see ``thresholds``.

    stops: densities, falling; sizes (n, stops): the smallest magnitude that stays in each model; majority: the sign
    that most of the elected coordinates have (+1, -1, or 0 if neither), which an exact tie gets.
    """

    stops: tuple[float, ...]
    sizes: Tensor
    majority: list[int]


def thresholds(tau: Tensor, stops: Sequence[float] = DENSITIES) -> Thresholds:
    """The thresholds that ``task_vectors.trim`` has over the whole task vectors ``tau`` (n, D), at each density of ``stops``.

    Of entries that are equal at the threshold trim keeps as many as there is room for, and the chart all of them.
    Raises ValueError: not (n, D), numbers that are not finite, densities outside (0, 1] or not falling.
    """
    tau = torch.as_tensor(tau).detach()
    if tau.dim() != 2 or not tau.numel() or not tau.isfinite().all():
        raise ValueError(f"tau must be (n, D) finite numbers, one whole task vector in each row, got {tuple(tau.shape)}")
    stops = tuple(stops)
    if len(stops) < 2 or not 1 >= stops[0] or not stops[-1] > 0 or not all(a > b for a, b in zip(stops[:-1], stops[1:])):
        raise ValueError(f"stops must be at least two densities, from the largest (at most 1) down to above 0, got {stops}")
    kept = torch.tensor([keep_count(density, tau.shape[1]) for density in stops])
    sizes = torch.stack([row.abs().sort(descending=True).values[kept - 1] for row in tau])  # (n, stops)
    majority = [
        int(tau.where(tau.abs() >= size[:, None], torch.zeros_like(tau)).sum(0).sign().sum().sign()) for size in sizes.T
    ]
    return Thresholds(stops, sizes.double(), majority)


def ties_explorer(
    tau: Tensor,
    *,
    magnitudes: Thresholds,
    names: Sequence[str],
    title: str = "Trim, elect a sign, merge those who agree",
    context: str = "",
    coordinates: Sequence[str] | None = None,
) -> LiveChart:
    """The three steps of TIES-Merging at one coordinate and at all, with sliders for density, coordinate and λ.

    sign = sgn(sum of the kept τ_i), and where that is 0 the majority's;  TIES = the mean of the kept τ_i of that sign;
    beside it the plain mean and the sum of all τ_i (task arithmetic); all three times λ.

    tau: (n, d), the task vectors of 2 to 6 models at 4 to 24 coordinates (chosen from the real ones); magnitudes: what
    ``thresholds`` says of the whole task vectors (of the very same numbers), as the trim ranks all entries. names: n models; coordinates: d
    names of what was chosen. Raises ValueError: shapes and numbers of names that do not fit, numbers that are not finite.
    Source: Yadav et al. (2023), section 4 and figure 1; Ilharco et al. (2023) for the sum.
    """
    tau = _checked(tau, magnitudes, names, coordinates)
    n, d = tau.shape
    places = [f"coordinate {c} of {d}" for c in range(1, d + 1)]
    if coordinates is not None:
        places = [f"{place}: {name}" for place, name in zip(places, coordinates)]
    start = min(range(len(magnitudes.stops)), key=lambda i: abs(magnitudes.stops[i] - USUAL))
    found = _merged(tau, magnitudes, start)
    first = _interesting(*found[:2])
    rows = [{"m": m, "c": c + 1, "name": name, "v": v} for m, name in enumerate(names) for c, v in enumerate(tau[m].tolist())]
    largest = tau.abs().amax(dim=0)
    # λ goes up to 2, and so do mean and TIES; a sum that is longer than the axis is cut, and its number says so.
    spans = tau.sum(dim=0).abs().minimum(3 * largest).maximum(2 * largest)
    params = [
        *stop_slider("density", "density, the share that each model keeps", magnitudes.stops, start),
        *slider("coord", f"coordinate, 1 to {d}", 1, d, 1, first + 1),
        *slider("lam", "λ, scale of what is added", 0, 2, 0.05, 1),
        {"name": "cuts", "value": magnitudes.sizes.tolist()},
        {"name": "majority", "value": magnitudes.majority},
        {"name": "spans", "value": spans.masked_fill(spans == 0, 1).tolist()},
        {"name": "places", "value": places},
    ]
    names_width = min(NAMES, 7 * max(map(len, [*names, *RESULTS, VOTE])) + 4)
    cell = min(CELL, GRID // d)
    left = WIDTH - names_width - cell * d - 2 * GAP
    number = number_text(_digits(tau))
    above = [row_names("name", n + 1, names_width), votes(n, left, number), grid(n, d, cell)]
    above[0] |= {"data": {"values": [{"row": m + 1, "name": name} for m, name in enumerate([*names, VOTE])]}}
    below = [row_names("name", 3, names_width), results(n, left, number), all_results(n, d, cell, 2 * largest.max().item() or 1)]
    below[0] |= {"data": {"values": [{"row": r + 1, "name": name} for r, name in enumerate(RESULTS)]}}
    for panel in (above[0], below[0]):
        panel["mark"]["limit"] = names_width
    said = "solid: contributes; pale: outvoted; hollow: trimmed; thin line: the model's threshold; ▼ the chosen coordinate"
    setting = "'density ' + format(100 * density, '.4~g') + ' %, λ = ' + format(lam, '.2f')"
    spec = {"title": heading(title, context, said), "params": params, "data": {"values": rows}, "transform": steps(), "spacing": 12}
    spec["vconcat"] = [
        text_lines(["places[coord - 1]", setting], WIDTH),
        {"hconcat": above, "spacing": GAP, "bounds": "flush"},
        {"hconcat": below, "spacing": GAP, "bounds": "flush"},
        spelled_out(number),
    ]
    words = _in_words(tau, found, magnitudes.stops[start], first, list(names), places)
    return LiveChart(spec, f"{opening(title, context)} {words} Sliders: density, coordinate, λ.")


def _checked(tau: Tensor, magnitudes: Thresholds, names: Sequence[str], coordinates: Sequence[str] | None) -> Tensor:
    """tau in float64. Raises ValueError if it cannot be drawn."""
    tau = torch.as_tensor(tau).detach().double()
    sizes = [tau.shape[i] if tau.dim() == 2 else 0 for i in (0, 1)]
    if not all(low <= size <= high for size, (low, high) in zip(sizes, (MODELS, COORDINATES))):
        raise ValueError(f"tau must be (n, d) for n = 2 to 6 models and d = 4 to 24 coordinates, got {tuple(tau.shape)}")
    if not tau.isfinite().all():
        raise ValueError("tau holds numbers that are not finite")
    if len(names) != len(tau) or len(magnitudes.sizes) != len(tau):
        raise ValueError(f"{len(tau)} task vectors need as many names and thresholds, got {len(names)} and {len(magnitudes.sizes)}")
    if coordinates is not None and len(coordinates) != tau.shape[1]:
        raise ValueError(f"{tau.shape[1]} coordinates need as many names, got {len(coordinates)}")
    return tau


def _merged(tau: Tensor, magnitudes: Thresholds, stop: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What is kept and who agrees, both (n, d) booleans; the elected signs and the merged values, both (d,)."""
    kept = (tau.abs() >= magnitudes.sizes[:, stop, None]) & (tau != 0)
    trimmed = tau.where(kept, torch.zeros_like(tau))
    sign = elect_sign(trimmed)
    sign = sign.where(trimmed.sum(dim=0) != 0, torch.full_like(sign, magnitudes.majority[stop]))
    return kept, kept & (tau.sign() == sign), sign, disjoint_mean(trimmed, sign)


def _interesting(kept: Tensor, agrees: Tensor) -> int:
    """The coordinate where the chart starts: where models are outvoted, others trimmed, and most agree."""
    n = len(kept)
    out, trimmed, count = (kept & ~agrees).sum(dim=0), (~kept).sum(dim=0), agrees.sum(dim=0)
    return int((n * n * ((out > 0).long() + (trimmed > 0) + (count > 1)) + n * out + count).argmax())


def _digits(tau: Tensor) -> int:
    """Decimals that give the largest sum four digits."""
    return min(max(3 - math.floor(math.log10(tau.abs().sum(dim=0).max().item() or 1.0)), 0), 7)


def _in_words(tau: Tensor, found: tuple, density: float, first: int, names: list[str], places: list[str]) -> str:
    """The chosen coordinate, and how many entries of each model are trimmed and outvoted."""
    digits, (kept, agrees, sign, ties) = _digits(tau), found
    column, states = tau[:, first], []
    for m, name in enumerate(names):
        state = "contributes" if agrees[m, first] else "outvoted" if kept[m, first] else "trimmed" if column[m] else "unchanged"
        states.append(f"{name} {column[m]:+.{digits}f} {state}")
    elected = {1: "+", -1: "−", 0: "none"}[int(sign[first])] if kept[:, first].any() else "none"
    sums = f"mean {column.mean():+.{digits}f}, sum {column.sum():+.{digits}f}, TIES {ties[first]:+.{digits}f}"
    counts = [
        f"{name} {int(a.sum())} contribute, {int((k & ~a).sum())} outvoted, {int((~k).sum())} trimmed"
        for name, k, a in zip(names, kept, agrees)
    ]
    text = f"At density {100 * density:g} % and λ = 1, {places[first]}: {', '.join(states)}; elected sign {elected}; {sums}."
    return f"{text} Of all {tau.shape[1]} coordinates: {'; '.join(counts)}.".replace("-0.", "−0.")
