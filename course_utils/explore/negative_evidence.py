"""The live chart of negative evidence: a core model plus λ (log P_pos - log P_neg), with and without its nucleus."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import torch
from torch import Tensor

from course_utils.ensembling.negative_evidence import _nucleus
from course_utils.explore import tokens, vega
from course_utils.explore.chart import LiveChart, bars, nearest, row_names, short, shorts
from course_utils.explore.labels import label_side, name_spots, seen_points, written_at
from course_utils.explore.style import INK, PALE, ROLE_COLOURS

LAMBDAS = tuple(-2 + 0.25 * i for i in range(41))  # the positions of the λ slider
FILTERS = (False, True)  # the positions of the other one
CURVES = ("filter off", "filter on")
FIELDS = ("p0", "p1", "p2", "p")  # the probabilities of the three members and of the result
COLOURS = [ROLE_COLOURS[role] for role in ("core", "positive", "negative", "result")]
NAMES_WIDTH, PANEL, RESULT, GAP = 104, 138, 176, 8  # pixels
HEIGHT = 150
WIDTH = NAMES_WIDTH + 3 * PANEL + RESULT + 4 * GAP
LIMIT = 10  # the curve's axis ends at this multiple of the perplexity at λ = 0
HUGE = 1e9  # what an infinite perplexity becomes in JSON


def negative_evidence_explorer(
    members: dict[str, Tensor],
    tokenizer_or_labels,
    *,
    top_p: float = 0.9,
    curve: Sequence[dict] | None = None,
    attribute_name: str = "attribute",
    top: int = 12,
    n_union: int = 200,
    title: str = "The core, plus λ times the difference of two others",
    context: str = "",
) -> LiveChart:
    """Next-token distributions of a core, a positive and a negative model and of their combination, with a λ slider.

    log P = log P_core + λ (log P_pos - log P_neg) - log Z;  with the filter on, P = 0 outside the core's nucleus.

    members: name -> (V,) log-probabilities: core, positive, negative, in this order, over one vocabulary; P_core may
    have zeros, the others only where it has. tokenizer_or_labels: anything with ``decode([id])``, or V strings. top_p:
    the nucleus is the smallest set of the core's most probable tokens with at least this mass. curve: records with keys
    lam, filtered, attribute, perplexity and, if wanted, text (a sample), for both filters on one grid of lam that holds
    0: they add a panel of the attribute over the perplexity, with a dot at the grid point nearest to λ. The page
    gets the tokens that can come among the ``top`` and the members' ``n_union`` best. What the others add to the
    normaliser and to the entropy is computed here, over the whole vocabulary, for each position of the sliders: what is
    shown is exact. Raises ValueError: not three members, vocabularies that differ, logits, zeros where the core has
    none, top_p outside (0, 1], a curve with holes. Source: Liu et al. (2021), DExperts, section 2.
    """
    names, log_probs = list(members), tokens.distributions(members, 3)  # (3, V) float64
    core, ratio = log_probs[0], _log_ratio(log_probs)
    nucleus = _nucleus(core, top_p)
    top = min(top, len(core))
    # log of the combination before normalising, for all positions of the sliders: (filter off and on x λ, V).
    scores = core + torch.tensor(LAMBDAS, dtype=core.dtype)[:, None] * ratio
    scores = torch.cat([scores, scores.masked_fill(~nucleus, -torch.inf)])
    offset = scores.amax(dim=1).round(decimals=6)  # the page must take off the very same number
    # The best without the filter hold also the best of those that the filter keeps out of a small nucleus.
    best = [log_probs.topk(min(n_union, len(core))).indices, scores.topk(top).indices]
    ids = torch.cat([found.flatten() for found in best]).unique()
    peak = max(log_probs.max().exp().item(), (scores.amax(dim=1) - scores.logsumexp(dim=1)).max().exp().item())
    kept = f"Nucleus of {names[0]}, top_p = {top_p:g}: {int(nucleus.sum()):,} of {len(core):,} tokens"
    probs, labels = log_probs.exp(), tokens.token_labels(tokenizer_or_labels, ids, len(core))
    columns = [values[ids].tolist() for values in (core, ratio, nucleus, probs.T)]
    rows = [
        # λ multiplies the rounding error of the ratio: six decimals keep exp() exact to four.
        {"t": t, "a": tokens.json_log(a, 6), "d": round(d, 6), "n": int(n), **dict(zip(FIELDS, shorts(p)))}
        for t, a, d, n, p in zip(labels, *columns)
    ]
    # The tokens that stay behind travel as one row: the mass the members give them; the tables know the result's.
    left = (1 - probs[:, ids].sum(dim=1)).clamp(min=0).tolist()
    rows.append({"t": "", "r": 1, "n": 1, **{f"p{m}": short(mass) for m, mass in enumerate(left)}})

    transform = [
        *vega.calculate(score="datum.a + lam * datum.d"),
        # exp() of a large score would overflow: the largest one is taken off first, which Z cancels.
        *vega.calculate(u="datum.r ? restMass[key] : filtered && !datum.n ? 0 : exp(datum.score - offset[key])"),
        *vega.calculate(ulogu="datum.r ? restLogMass[key] : datum.u > 0 ? datum.u * log(datum.u) : 0"),
        vega.joinaggregate(("sum", "u", "Z"), ("sum", "ulogu", "S")),
        # First the nucleus, then what the filter keeps out, in the order that it would have had.
        *vega.calculate(order="datum.r ? -1e300 : filtered && !datum.n ? datum.score - 1e10 : datum.score"),
        *tokens.best_rows(top),
        *vega.calculate(out=f"filtered && !datum.n && datum.row <= {top}", p="datum.u / datum.Z"),
        *vega.calculate(H="(log(datum.Z) - datum.S / datum.Z) / LN2"),  # bits
        vega.aggregate(*(("sum", field, field) for field in FIELDS), by=["row", "label", "out", "H"]),
    ]
    entropies = [tokens.entropy_bits(member) for member in log_probs]
    notes = [f"'entropy {h:.2f} bits'" for h in entropies]
    notes.append("'entropy ' + format(abs(datum.H), '.2f') + ' bits, filter ' + (filtered ? 'on' : 'off')")
    headings = [*names, {"expr": "'result, λ = ' + format(lam, '.2~f')"}]
    panels = [row_names("label", top + 1, NAMES_WIDTH)]
    panels[0]["encoding"]["color"] = vega.condition("datum.out", PALE, INK)
    for field, name, note, colour in zip(FIELDS, headings, notes, COLOURS):
        width = RESULT if field == "p" else PANEL
        panels.append(bars(field, name, note, colour, (0, tokens.widest_bar(peak)), top + 1, width))
        panels[-1]["title"]["limit"] = width  # a long name must not run into its neighbour
        panels[-1]["layer"][0]["encoding"]["opacity"]["condition"]["test"] += " || datum.out"
    # Words stand in the place of the number 0.000 of a token that the filter keeps out.
    panels[-1]["layer"][1]["transform"] = [{"filter": "!datum.out"}]
    words = vega.mark("text", text="outside the nucleus", align="left", dx=4, color=PALE, fontStyle="italic")
    panels[-1]["layer"].append(vega.layer(words, transform=[{"filter": "datum.out"}]))
    params = [
        *vega.slider("lam", f"λ, weight of {names[1]} against {names[2]}", LAMBDAS[0], LAMBDAS[-1], 0.25, 0),
        *vega.slider("filtered", "nucleus filter: off (left) or on (right)", 0, 1, 1, 1, width=60),
        *vega.computed(li=f"round((lam - {LAMBDAS[0]}) / 0.25)", key=f"filtered * {len(LAMBDAS)} + li"),
        *vega.given(offset=offset.tolist(), **tokens.rest_tables(scores - offset[:, None], ids)),
    ]
    chart = {"data": {"values": rows}, "transform": transform, "hconcat": panels, "spacing": GAP}
    steered = scores[len(LAMBDAS) + LAMBDAS.index(2)].log_softmax(dim=0)
    shown = [*zip(names, log_probs), ("result at λ = 2 with the filter", steered)]
    described = [tokens.describe(name, member, ids, labels) for name, member in shown]
    text = " ".join([f"{title}: {context}" if context else f"{title}.", *described, f"{kept}."])
    if curve is not None:
        panels, closest, said = _curve_panels(curve, attribute_name)
        params += [*vega.given(nearest=closest), *vega.computed(gi="nearest[li]")]
        chart, text = {"vconcat": [chart, *panels], "spacing": 20}, f"{text} {said}"
    heading = {"text": title, "subtitle": [line for line in (context, kept) if line], "offset": 14}
    return LiveChart({"title": heading, "params": params, **chart}, f"{text} Sliders: λ, nucleus filter.")


def _log_ratio(log_probs: Tensor) -> Tensor:
    """log P_pos - log P_neg, (3, V) -> (V,), and 0 where the core is 0 and nothing can change it."""
    core, positive, negative = log_probs
    possible = ~core.isneginf()
    if (possible & (positive.isneginf() | negative.isneginf())).any():
        raise ValueError("the positive or the negative member gives probability 0 where the core does not: smooth it")
    return (positive - negative).where(possible, 0.0)


def _curve_points(curve: Sequence[dict]) -> tuple[list[dict], list[float]]:
    """The curve's points, the unfiltered ones first, and its grid of λ."""
    table = {(bool(record["filtered"]), round(float(record["lam"]), 6)): record for record in curve}
    grid = sorted({lam for _, lam in table})
    holes = [lam for lam in grid if not all((filtered, lam) in table for filtered in FILTERS)]
    if holes or 0 not in grid or len(table) < len(curve):
        why = f"lam {holes[0]:g} has only one" if holes else "lam 0 is missing" if 0 not in grid else "one is doubled"
        raise ValueError(f"curve needs two records, filtered and not, for each lam, and lam 0 among them: {why}")
    points = []
    for filtered in FILTERS:
        for i, lam in enumerate(grid):
            record = table[filtered, lam]
            point = {"f": int(filtered), "i": i, "lam": lam, "y": short(float(record["attribute"]))}
            sample = textwrap.fill(" ".join((record.get("text") or "").split()), 95, max_lines=2, placeholder=" …")
            points.append({**point, "ppl": short(min(float(record["perplexity"]), HUGE)), "sample": sample})
    if not all(math.isfinite(point["y"]) and point["ppl"] >= 1 for point in points):
        raise ValueError("curve needs a finite attribute and a perplexity of at least 1 in each record")
    return points, grid


def _curve_panels(curve: Sequence[dict], attribute_name: str) -> tuple[list[dict], list[int], str]:
    """The attribute over the perplexity with its dot, and the dot's sample; for each λ of the slider the index of the
    nearest grid point; and the text."""
    points, grid = _curve_points(curve)
    ppl, attribute = [point["ppl"] for point in points], [point["y"] for point in points]
    # Text that falls apart has perplexities that would press everything else into a corner.
    low, limit = min(ppl), LIMIT * max(point["ppl"] for point in points if point["lam"] == 0)
    high = short(max(min(max(ppl), limit), 1.3 * low))
    # Room for the dot and its label, so that nothing is laid out again when they move; on the left for a curve's name.
    margin = 0.18 * (max(attribute) - min(attribute)) or 0.1
    x_domain = [low * (low / high) ** 0.14, high * (high / low) ** 0.02]
    y_domain = [min(attribute) - margin, max(attribute) + margin]
    size = torch.tensor([WIDTH, HEIGHT], dtype=torch.float64)
    corners = torch.tensor([ppl, attribute], dtype=torch.float64).T  # (points, 2), from here on in pixels
    corners[:, 0] = WIDTH * (corners[:, 0] / x_domain[0]).log() / math.log(x_domain[1] / x_domain[0])
    corners[:, 1] = HEIGHT * (y_domain[1] - corners[:, 1]) / (y_domain[1] - y_domain[0])
    seen = [seen_points(line, size) for line in corners.view(2, -1, 2)]
    spots = name_spots(seen, CURVES, size)
    written = [spot + torch.tensor([[dx, 0]]) for spot in spots for dx in range(-32, 33, 8)]
    for point, place in zip(points, corners):
        label = f"λ = {point['lam']:g}, perplexity {float(format(point['ppl'], '.3g')):,g}".replace("-", "−")
        label += " (beyond the chart)" if point["ppl"] > high else ""
        others = torch.cat([seen[1 - point["f"]], *written])
        sx, sy = label_side(torch.minimum(place, size - 8), label, seen[point["f"]], others, size)
        point |= {"x": min(point["ppl"], high), "label": label, "sx": sx, "sy": sy}
    axis = {"title": "perplexity (log scale)", "grid": False, "tickCount": 6, "format": "~g"}
    x = vega.along("x", x_domain, axis, type="log")
    y = vega.along("y", y_domain, {"title": None, "tickCount": 4, "format": "~g"})
    strong = vega.condition("datum.f == filtered", 1, 0.3)
    at = [{"filter": "datum.f == filtered && datum.i == gi"}]
    names = [
        vega.layer(written_at(spot, name), data=[{}], color=vega.condition(f"filtered == {f}", INK, PALE))
        for f, (name, spot) in enumerate(zip(CURVES, spots))
    ]
    side = {"align": {"expr": "datum.sx > 0 ? 'left' : 'right'"}, "dx": {"expr": "12 * datum.sx"}}
    bold = vega.mark("text", fontWeight="bold", fontSize=12, **side, dy={"expr": "11 * datum.sy"})
    halo = {"stroke": "white", "strokeWidth": 4}
    curves = {"order": vega.quantitative("i"), "detail": vega.nominal("f"), "opacity": strong}
    line = vega.mark("line", color=COLOURS[3], strokeWidth=3, clip=True)
    measured = vega.mark("point", filled=True, size=26, color=COLOURS[3])
    layers = [
        # Over the true perplexity: a line that leaves the chart must not run along its edge.
        vega.layer(line, x={**x, "field": "ppl"}, y=y, **curves),
        vega.layer(measured, transform=[{"filter": "datum.ppl <= datum.x"}], x=x, y=y, opacity=strong),
        *names,
        vega.layer(vega.dot(130, color=COLOURS[3], stroke=INK), transform=at, x=x, y=y),
        vega.layer({**bold, **halo}, transform=at, x=x, y=y, text=vega.nominal("label")),
        vega.layer(bold, transform=at, x=x, y=y, text=vega.nominal("label")),
    ]
    data = {"values": points}
    title = vega.caption(f"{attribute_name} against perplexity", 4)
    panels = [vega.panel(WIDTH, HEIGHT, title, data=data, layer=layers)]
    if any(point["sample"] for point in points):
        sample = vega.mark("text", align="left", x=0, y=2, baseline="top", lineBreak="\n", fontSize=12)
        content = vega.layer(sample, data=points, transform=at, text=vega.nominal("sample"))
        panels.append(vega.panel(WIDTH, 32, vega.caption("a sample at that point", 4), **content))
    return panels, [nearest(lam, grid) for lam in LAMBDAS], _curve_text(points, attribute_name, grid)


def _curve_text(points: list[dict], attribute_name: str, grid: list[float]) -> str:
    said = []
    for lam in dict.fromkeys((0.0, grid[-1])):
        for point in points:
            if point["lam"] == lam:
                where = f"λ = {lam:g}, {CURVES[point['f']]}: {point['y']:.2f}"
                said.append(f"{where} at perplexity {float(format(point['ppl'], '.2g')):g}")
    return f"{attribute_name} at {'; '.join(said)}."
