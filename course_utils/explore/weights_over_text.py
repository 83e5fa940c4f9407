"""The live chart of context-dependent weights: how much weight each model has at each token of a text."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from course_utils.explore import vega
from course_utils.explore.chart import LiveChart, bars, row_names
from course_utils.explore.style import INK, MEMBER_COLOURS, ROLE_COLOURS
from course_utils.explore.tokens import token_label

COLUMNS, CHAR, LINE = 92, 8.4, 24  # the text strip: characters in a line, pixels of a character and of a line


def weight_strip(
    tokens: Sequence[str], weights: Tensor, names: Sequence[str], *, title: str = "Who is trusted at each token"
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
        place = {"t": t, "token": label, "line": line, "x": left * CHAR, "x2": column * CHAR}
        places.append({**place, "w": round(float(weights[0, t]), 3)})
        if "\n" in token:
            line, column = line + 1, 0
    width, height = COLUMNS * CHAR, (places[-1]["line"] + 1) * LINE
    x = vega.quantitative("x", axis=None, scale={"domain": [0, width], "nice": False})
    y = {"field": "line", "type": "ordinal", "axis": None, "scale": {"domain": list(range(line + 1)), "padding": 0}}
    tint = {"domain": [0, 1], "range": ["#FFFFFF", "#93C6EE"], "interpolate": "rgb"}
    if len(names) == 2:  # pale positive, white, pale core
        tint |= {"domain": [0, 0.5, 1], "range": ["#9FDCC6", "#FFFFFF", "#93C6EE"]}
    box, colour = {"x": x, "x2": {"field": "x2"}, "y": y}, vega.quantitative("w", scale=tint, legend=None)
    words = vega.mark("text", align="left", font=vega.MONOSPACE, fontSize=14, limit=400)
    frame = vega.mark("rect", height=LINE - 2, fillOpacity=0, stroke=INK, strokeWidth=2)
    layers = [
        vega.layer(vega.mark("rect", height=LINE - 4, stroke="white"), **box, color=colour),
        vega.layer(words, x=x, y=y, text=vega.nominal("token")),
        vega.layer(frame, transform=[{"filter": "datum.t == t"}], **box),
    ]
    strip = vega.panel(width, height, data={"values": places}, layer=layers)
    columns = [[round(x, 3) for x in row] for row in weights.tolist()]
    rows = [{"row": m + 1, "label": name, "colour": c} for m, (name, c) in enumerate(zip(names, MEMBER_COLOURS))]
    note = "'position ' + t + ', before ' + tokens[t]"
    panel = bars("w", "weights", note, ROLE_COLOURS["core"], (0, 1), len(names), 420)
    panel["layer"][0]["encoding"]["color"] = vega.COLOUR
    moving = vega.calculate(w="weights[datum.row - 1][t]")
    beside = {"hconcat": [row_names("label", len(names), 150), panel], "spacing": 12}
    lower = {"data": {"values": rows}, "transform": moving, **beside}
    params = [
        *vega.slider("t", "position t in the text", 0, len(tokens) - 1, 1, 0),
        *vega.given(weights=columns, tokens=[place["token"] for place in places]),
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
