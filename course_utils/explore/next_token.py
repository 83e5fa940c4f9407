"""The live chart of the next token: two models' distributions and their combination, by a slider for λ."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from course_utils.explore import tokens, vega
from course_utils.explore.chart import LiveChart, bars, nearest, row_names, short
from course_utils.explore.style import INK, ROLE_COLOURS

RULES = ("linear", "log-linear")
LAMBDAS = tuple(round(0.025 * i, 3) for i in range(41))  # the positions of the λ slider
TEMPERATURES = tuple(round(0.5 + 0.1 * i, 1) for i in range(16))
COLOURS = (ROLE_COLOURS["core"], ROLE_COLOURS["positive"], ROLE_COLOURS["result"])
NAMES_WIDTH, PANEL, GAP = 112, 196, 14  # pixels


def next_token_explorer(
    members: dict[str, Tensor],
    tokenizer_or_labels,
    *,
    heldout: Sequence[dict] | None = None,
    top: int = 12,
    n_union: int = 200,
    title: str = "Two models, one next token",
    context: str = "",
) -> LiveChart:
    """Next-token distributions of two models and of their combination, with sliders for λ, rule and temperature.

    linear: P = (1-λ) P_1 + λ P_2;  log-linear: P = P_1^(1-λ) P_2^λ / Z;  then P^(1/T) / Z_T.

    members: name -> (V,) log-probabilities, two of them over one vocabulary. tokenizer_or_labels: anything with
    ``decode([id])``, or V strings. heldout: records with keys lam, rule, temperature, ppl, for both rules and all
    ``LAMBDAS``, at one or more of ``TEMPERATURES``: they add a panel of held-out perplexity. The page gets the members'
    ``n_union`` best tokens (and every token that is ever among the ``top`` of the combination). What the others add to
    the normaliser and to the entropy is computed here, over the whole vocabulary, for each position of the sliders:
    what is shown is exact. Raises ValueError: not two members, vocabularies that differ, logits, a heldout grid with
    holes.
    """
    names, log_probs = list(members), tokens.distributions(members, 2)  # (2, V) float64
    V = log_probs.shape[1]
    scores = torch.stack([_scores(log_probs, rule, lam) for rule in RULES for lam in LAMBDAS])  # (rule x λ, V)
    # A token just below both lists can still lead the combination. The temperature does not change the order.
    best = [log_probs.topk(min(n_union, V)).indices, scores.topk(min(top, V)).indices]
    ids = torch.cat([found.flatten() for found in best]).unique()
    rest, peak = _rest_tables(scores, ids)
    widest = tokens.widest_bar(max(peak, log_probs.max().exp().item()))
    labels = tokens.token_labels(tokenizer_or_labels, ids, V)
    rows = [
        {"t": t, "a": tokens.json_log(a), "b": tokens.json_log(b)}
        for t, a, b in zip(labels, *log_probs[:, ids].tolist())
    ]
    # The tokens that stay behind travel as one row: the mass the members give them; "rest" reads the tables.
    kept = (1 - log_probs[:, ids].exp().sum(dim=1)).clamp(min=1e-9).log().tolist()
    rows.append({"t": "", "a": tokens.json_log(kept[0]), "b": tokens.json_log(kept[1]), "r": 1})

    combined = (
        "loglinear ? exp(((1 - lam) * datum.a + lam * datum.b) / temperature)"
        " : pow((1 - lam) * exp(datum.a) + lam * exp(datum.b), 1 / temperature)"
    )
    transform = [
        *vega.calculate(u=f"datum.r ? restMass[key] : ({combined})"),  # unnormalised
        *vega.calculate(ulogu="datum.r ? restLogMass[key] : datum.u > 0 ? datum.u * log(datum.u) : 0"),
        vega.joinaggregate(("sum", "u", "Z"), ("sum", "ulogu", "S")),
        *vega.calculate(order="datum.r ? -1 : datum.u"),
        *tokens.best_rows(top),
        *vega.calculate(pa="exp(datum.a)", pb="exp(datum.b)", p="datum.Z > 0 ? datum.u / datum.Z : 0"),
        *vega.calculate(H="datum.Z > 0 ? (log(datum.Z) - datum.S / datum.Z) / LN2 : -1"),  # bits
        vega.aggregate(*(("sum", field, field) for field in ("pa", "pb", "p")), by=["row", "label", "H"]),
    ]
    entropies = [tokens.entropy_bits(member) for member in log_probs]
    notes = [f"'entropy {h:.2f} bits'" for h in entropies]
    bits = "datum.H < 0 ? 'both exclude every token' : 'entropy ' + format(datum.H, '.2f') + ' bits'"
    notes.append(f"({bits}) + ', T = ' + format(temperature, '.1f')")
    combination = {"expr": "rule + ', λ = ' + format(lam, '.3~f')"}
    panels = [row_names("label", top + 1, NAMES_WIDTH)]
    for field, name, note, colour in zip(("pa", "pb", "p"), [*names, combination], notes, COLOURS):
        panels.append(bars(field, name, note, colour, (0, widest), top + 1, PANEL))
    params = [
        *vega.slider("lam", f"λ, weight of {names[1]}", 0, 1, 0.025, 0.5),
        *vega.slider("loglinear", "rule: linear (left) or log-linear (right)", 0, 1, 1, 0, width=60),
        *vega.slider("temperature", "temperature T", 0.5, 2, 0.1, 1),
        *vega.computed(
            rule="loglinear ? 'log-linear' : 'linear'",
            li="round(lam / 0.025)",
            ti="round((temperature - 0.5) / 0.1)",
            key=f"(loglinear * {len(LAMBDAS)} + li) * {len(TEMPERATURES)} + ti",
        ),
        *vega.given(**rest),
    ]
    chart = {"data": {"values": rows}, "transform": transform, "hconcat": panels, "spacing": GAP}
    shown = [*zip(names, log_probs), ("linear combination at λ = 0.5", _scores(log_probs, "linear", 0.5))]
    described = " ".join(tokens.describe(name, member, ids, labels) for name, member in shown)
    text = f"{f'{title}: {context}' if context else f'{title}.'} {described} Sliders: λ, rule, temperature."
    if heldout is not None:
        curve, closest, best = _perplexity_panel(heldout, names)
        params += [*vega.given(nearest=closest), *vega.computed(hi="nearest[ti]")]
        chart, text = {"vconcat": [chart, curve], "spacing": 22}, f"{text} {best}"
    heading = {"text": title, "subtitle": context, "offset": 14} if context else {"text": title, "offset": 14}
    return LiveChart({"title": heading, "params": params, **chart}, text)


def _scores(log_probs: Tensor, rule: str, lam: float) -> Tensor:
    """log of the combination before normalising: (2, V) -> (V,)."""
    if rule == "linear":
        weights = torch.tensor([1 - lam, lam], dtype=log_probs.dtype)
        return (weights @ log_probs.exp()).log()
    return sum(w * lp for w, lp in zip((1 - lam, lam), log_probs) if w > 0)  # 0 * -inf counts as 0


def _rest_tables(scores: Tensor, ids: Tensor) -> tuple[dict[str, list[float]], float]:
    """`rest_tables` for rule x λ x T, and the largest probability that the combination reaches."""
    temperatures = torch.tensor(TEMPERATURES, dtype=scores.dtype)[:, None]
    tables, peak = {"restMass": [], "restLogMass": []}, 0.0
    for row in scores:  # one by one, as all of them would take half a gigabyte
        warm = row / temperatures  # (temperatures, V)
        peak = max(peak, (warm.amax(dim=1) - warm.logsumexp(dim=1)).exp().nan_to_num(0.0).max().item())
        for name, found in tokens.rest_tables(warm, ids).items():
            tables[name] += found
    return tables, peak


def _perplexity_panel(heldout: Sequence[dict], names: list[str]) -> tuple[dict, list[int], str]:
    """The curve of held-out perplexity over λ; the nearest temperature in ``heldout`` for each step; and the text."""
    table = {(r["rule"], round(r["temperature"], 1), round(r["lam"], 3)): float(r["ppl"]) for r in heldout}
    temperatures = sorted({t for _, t, _ in table})
    missing = [(r, t, lam) for r in RULES for t in temperatures for lam in LAMBDAS if (r, t, lam) not in table]
    if missing or not table:
        hole = f", for example {missing[0]}" if missing else ""
        raise ValueError(f"heldout needs a record for each rule, temperature and lam of explore.LAMBDAS{hole}")
    rows = [
        {"i": i, "lam": lam, "ppl": short(table[r, t, lam]), "g": RULES.index(r) * len(temperatures) + h, "T": t}
        for r in RULES
        for h, t in enumerate(temperatures)
        for i, lam in enumerate(LAMBDAS)
    ]
    plain = temperatures[nearest(1.0, temperatures)]
    alone = [table["linear", plain, 0.0], table["linear", plain, 1.0]]
    # Perplexities far above the members are cut off: they would flatten what the slider is there to show.
    low, high = min(table.values()), max(alone) * 1.2
    domain = [short(low * (low / high) ** 0.2), short(high)]  # room below for the number under the dot
    axis = {"title": f"λ  (0: {names[0]} alone, 1: {names[1]} alone)", "values": vega.FIFTHS, "grid": False}
    x = vega.quantitative("lam", scale={"domain": [0, 1]}, axis=axis)
    y = vega.along("ppl", domain, {"title": None, "tickCount": 4, "format": "~g"}, type="log", clamp=True)
    members = [
        {"ppl": short(value), "label": f"{name} alone {value:.3g}", "colour": colour, "lam": at, "dy": -8}
        for name, value, colour, at in zip(names, alone, COLOURS, (0.9, 0.1))  # labelled where the curve is far away
    ]
    if math.log(max(alone) / min(alone)) < 0.15 * math.log(domain[1] / domain[0]):  # the two labels would touch
        members[alone.index(min(alone))]["dy"] = 9
    label = f"format(datum.ppl, '.3r') + (datum.ppl > {domain[1]} ? ' (above the chart)' : '')"
    side = {"align": {"expr": "datum.lam > 0.5 ? 'right' : 'left'"}, "dy": {"expr": "datum.dy"}}
    name, number = (vega.mark("text", fontWeight="bold", **more) for more in (side, {"dy": 16, "fontSize": 12}))
    now, text = {"filter": "datum.i == li"}, vega.nominal("label")
    layers = [
        vega.layer(vega.mark("rule", strokeDash=[4, 3]), data=members, y=y, color=vega.COLOUR),
        vega.layer(name, data=members, y=y, x=x, color=vega.COLOUR, text=text),
        vega.layer(vega.mark("line", color=COLOURS[2], strokeWidth=3), x=x, y=y),
        vega.layer(vega.dot(130, color=COLOURS[2], stroke=INK), transform=[now], x=x, y=y),
        vega.layer(number, transform=[now, *vega.calculate(label=label)], x=x, y=y, text=text),
    ]
    title = {"text": "held-out perplexity (lower is better)", "offset": 8}
    chosen = [{"filter": f"datum.g == loglinear * {len(temperatures)} + hi"}]
    width = NAMES_WIDTH + 3 * PANEL + 3 * GAP
    panel = vega.panel(width, 130, title, data={"values": rows}, transform=chosen, layer=layers)
    best = []
    for rule in RULES:
        lam = min(LAMBDAS, key=lambda value: table[rule, plain, value])
        best.append(f"{rule} {table[rule, plain, lam]:.2g} at λ = {lam:.3g}")
    text = f"Held-out perplexity: {names[0]} {alone[0]:.2g}, {names[1]} {alone[1]:.2g}; best {', '.join(best)}."
    return panel, [nearest(t, temperatures) for t in TEMPERATURES], text
