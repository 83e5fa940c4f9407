"""The smaller live charts: OR against AND on eight tokens, and context-dependent weights along a text."""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch
from torch import Tensor

from course_utils.livechart import LiveChart, bars, calculate, row_names, slider, token_label
from course_utils.plots import INK, MEMBER_COLOURS, ROLE_COLOURS

COLUMNS, CHAR, LINE = 92, 8.4, 24  # the text strip: characters in a line, pixels of a character and of a line


def or_and_explorer(
    p: Sequence[float] | Tensor,
    q: Sequence[float] | Tensor,
    labels: Sequence[str],
    *,
    names: Sequence[str] = ("P₁", "P₂"),
    title: str = "OR against AND",
) -> LiveChart:
    """Two distributions over a few tokens, their linear and their log-linear interpolation, with weights in [-1, 2].

    OR: (λ1 P_1 + λ2 P_2) / (λ1 + λ2);  AND: P_1^λ1 P_2^λ2 / Z. The AND panel says who vetoes a token (P_m = 0 with
    λ_m > 0); the OR panel shows where negative weights leave no distribution. p, q (V,) probabilities, zeros welcome;
    labels V strings, at most 16. Raises ValueError: lengths that differ, not distributions.
    """
    p, q = (torch.as_tensor(x, dtype=torch.float64) for x in (p, q))
    if not len(p) == len(q) == len(labels) <= 16:
        raise ValueError(f"p, q and labels must have one length of at most 16, got {len(p)}, {len(q)}, {len(labels)}")
    if (torch.stack([p, q]) < 0).any() or max(abs(float(p.sum()) - 1), abs(float(q.sum()) - 1)) > 1e-6:
        raise ValueError("p and q must be probabilities that sum to 1: zeros are welcome, negative numbers are not")
    n = len(labels)
    rows = [
        {"row": i + 1, "label": token_label(t), "p": round(a, 4), "q": round(b, 4)}
        for i, (t, a, b) in enumerate(zip(labels, p.tolist(), q.tolist()))
    ]
    # Zero to the power 0 is 1 (a member with λ = 0 has no say), to a negative power it is infinite.
    power = "(lam{0} == 0 ? 1 : datum.{1} > 0 ? pow(datum.{1}, lam{0}) : lam{0} > 0 ? 0 : 1 / 0)"
    transform = [
        # A veto wins over an infinite factor, as the limit of small probabilities says nothing about 0 times infinity.
        calculate("v1", "lam1 > 0 && datum.p == 0"),
        calculate("v2", "lam2 > 0 && datum.q == 0"),
        calculate("u", f"datum.v1 || datum.v2 ? 0 : {power.format(1, 'p')} * {power.format(2, 'q')}"),
        {"joinaggregate": [{"op": "sum", "field": "u", "as": "Z"}]},
        calculate("ok", "isFinite(datum.Z) && datum.Z > 0"),
        calculate("and", "datum.ok ? datum.u / datum.Z : 0"),
        calculate("or", "lam1 + lam2 > 1e-9 ? (lam1 * datum.p + lam2 * datum.q) / (lam1 + lam2) : 0"),
        calculate("hand", "datum.and > 0 ? -datum.and * log(datum.and) / LN2 : 0"),
        calculate("hor", "datum.or > 0 ? -datum.or * log(datum.or) / LN2 : 0"),
        calculate("veto", _veto_text(names)),
        {
            "joinaggregate": [
                {"op": "sum", "field": "hand", "as": "Hand"},
                {"op": "sum", "field": "hor", "as": "Hor"},
                {"op": "min", "field": "or", "as": "lowest"},
            ]
        },
    ]
    note_or = (
        "lam1 + lam2 <= 1e-9 ? 'λ₁ + λ₂ must be above 0' : datum.lowest < -1e-9 ? 'negative: not a distribution'"
        " : 'entropy ' + format(datum.Hor, '.2f') + ' bits'"
    )
    note_and = (
        "datum.ok ? 'entropy ' + format(datum.Hand, '.2f') + ' bits' : datum.Z > 0 ? '0 to a negative power: infinite'"
        " : 'every token is vetoed'"
    )
    entropies = [float(torch.special.entr(x).sum()) / torch.tensor(2.0).log().item() for x in (p, q)]
    core, positive, result = (ROLE_COLOURS[role] for role in ("core", "positive", "result"))
    and_panel = bars("and", "AND: P₁^λ₁ × P₂^λ₂ / Z", note_and, result, (0, 1), n, 186)
    # The veto stands in the place of the number 0.000.
    and_panel["layer"][1]["transform"] = [{"filter": "datum.veto == ''"}]
    and_panel["layer"].append(
        {
            "transform": [{"filter": "datum.veto != ''"}],
            "mark": {"type": "text", "align": "left", "dx": 4, "color": "#B34700", "fontStyle": "italic"},
            "encoding": {"text": {"field": "veto", "type": "nominal"}},
        }
    )
    panels = [
        row_names("label", n, 76),
        bars("p", names[0], f"'λ₁ = ' + format(lam1, '.2~f') + ', H = {entropies[0]:.2f} bits'", core, (0, 1), n, 148),
        bars(
            "q", names[1], f"'λ₂ = ' + format(lam2, '.2~f') + ', H = {entropies[1]:.2f} bits'", positive, (0, 1), n, 148
        ),
        bars("or", "OR: λ₁ P₁ + λ₂ P₂, scaled", note_or, result, (-0.5, 1), n, 200),
        and_panel,
    ]
    params = [
        *slider("lam1", f"λ₁, weight of {names[0]}", -1, 2, 0.05, 0.5),
        *slider("lam2", f"λ₂, weight of {names[1]}", -1, 2, 0.05, 0.5),
    ]
    vetoed = [t for t, a, b in zip(labels, p.tolist(), q.tolist()) if a == 0 or b == 0]
    text = (
        f"{title}. {names[0]}: {_listing(labels, p)}. {names[1]}: {_listing(labels, q)}. With positive weights "
        "the linear combination can emit every token that one of them allows; the log-linear one excludes "
        f"{', '.join(vetoed) or 'nothing'}. Sliders: λ₁ and λ₂."
    )
    spec = {"title": {"text": title, "offset": 14}, "params": params, "data": {"values": rows}}
    return LiveChart({**spec, "transform": transform, "hconcat": panels, "spacing": 12}, text)


def weight_strip(
    tokens: Sequence[str],
    weights: Tensor,
    names: Sequence[str],
    *,
    title: str = "Who is trusted at each token",
) -> LiveChart:
    """A text whose tokens are coloured by the weight of the first member, and the weights at the position of a slider.

    tokens: T strings; weights (M, T), on the simplex at each t: the weight with which token t was predicted, from the
    tokens before it; names: M strings, 2 to 6. Raises ValueError: shapes that do not fit, weights that do not sum to 1.
    """
    weights = torch.as_tensor(weights).detach().double()
    if weights.shape != (len(names), len(tokens)) or not 2 <= len(names) <= 6 or len(tokens) < 2:
        wanted = f"({len(names)}, {len(tokens)}) for these names and tokens"
        raise ValueError(f"weights must be {wanted}, got {tuple(weights.shape)}; 2 to 6 names, at least 2 tokens")
    if (weights < -1e-6).any() or ((weights.sum(dim=0) - 1).abs() > 1e-4).any():
        raise ValueError("weights must be at least 0 and sum to 1 over the members at each position")
    places, line, column = [], 0, 0
    for t, token in enumerate(tokens):
        label = token_label(token, 24)
        if column + len(label) > COLUMNS:
            line, column = line + 1, 0
        left, column = column, column + len(label)
        places.append({"t": t, "token": label, "line": line, "x": left * CHAR, "x2": column * CHAR})
        places[-1]["w"] = round(float(weights[0, t]), 3)
        if "\n" in token:
            line, column = line + 1, 0
    width, height = COLUMNS * CHAR, (places[-1]["line"] + 1) * LINE
    x = {"type": "quantitative", "axis": None, "scale": {"domain": [0, width], "nice": False}}
    y = {"field": "line", "type": "ordinal", "axis": None, "scale": {"domain": list(range(line + 1)), "padding": 0}}
    tint = {
        "domain": [0, 0.5, 1],
        "range": ["#9FDCC6", "#FFFFFF", "#93C6EE"],
        "interpolate": "rgb",
    }  # pale positive, white, pale core
    if len(names) > 2:
        tint = {"domain": [0, 1], "range": ["#FFFFFF", "#93C6EE"], "interpolate": "rgb"}
    box = {"x": {**x, "field": "x"}, "x2": {"field": "x2"}, "y": y}
    colour = {"field": "w", "type": "quantitative", "scale": tint, "legend": None}
    middle = {"x": {**x, "field": "x"}, "y": y}
    font = "DejaVu Sans Mono, Menlo, monospace"
    strip = {
        "width": width,
        "height": height,
        "data": {"values": places},
        "layer": [
            {"mark": {"type": "rect", "height": LINE - 4, "stroke": "white"}, "encoding": {**box, "color": colour}},
            {
                "mark": {"type": "text", "align": "left", "font": font, "fontSize": 14, "limit": 400},
                "encoding": {**middle, "text": {"field": "token", "type": "nominal"}},
            },
            {
                "transform": [{"filter": "datum.t == t"}],
                "mark": {"type": "rect", "height": LINE - 2, "fillOpacity": 0, "stroke": INK, "strokeWidth": 2},
                "encoding": box,
            },
        ],
    }
    columns = [[round(x, 3) for x in row] for row in weights.tolist()]
    rows = [{"row": m + 1, "label": name, "colour": c} for m, (name, c) in enumerate(zip(names, MEMBER_COLOURS))]
    note = "'position ' + t + ', before ' + tokens[t]"
    panel = bars("w", "weights", note, ROLE_COLOURS["core"], (0, 1), len(names), 420)
    panel["layer"][0]["encoding"]["color"] = {"field": "colour", "type": "nominal", "scale": None}
    lower = {
        "data": {"values": rows},
        "transform": [calculate("w", "weights[datum.row - 1][t]")],
        "hconcat": [row_names("label", len(names), 150), panel],
        "spacing": 12,
    }
    params = [
        *slider("t", "position t in the text", 0, len(tokens) - 1, 1, 0),
        {"name": "weights", "value": columns},
        {"name": "tokens", "value": [place["token"] for place in places]},
    ]
    average = ", ".join(f"{name} {float(w):.2f}" for name, w in zip(names, weights.mean(dim=1)))
    first, t = weights[0].tolist(), int(weights[0].argmax())
    text = (
        f"{title}: {len(tokens)} tokens. Mean weights: {average}. The weight of {names[0]} begins at {first[0]:.2f}, "
        f"ends at {first[-1]:.2f} and is highest ({first[t]:.2f}) before {token_label(tokens[t])}. Slider: position t."
    )
    shades = f"blue: {names[0]}, green: {names[1]}" if len(names) == 2 else f"the bluer, the more weight on {names[0]}"
    heading = {"text": title, "subtitle": shades, "offset": 10}
    return LiveChart({"title": heading, "params": params, "vconcat": [strip, lower], "spacing": 22}, text)


def _veto_text(names: Sequence[str]) -> str:
    one, two, both = (json.dumps(f"vetoed by {who}", ensure_ascii=False) for who in (*names, "both"))
    return f"datum.v1 && datum.v2 ? {both} : datum.v1 ? {one} : datum.v2 ? {two} : ''"


def _listing(labels: Sequence[str], values: Tensor) -> str:
    return ", ".join(f"{t} {v:.2f}" for t, v in zip(labels, values.tolist()))
