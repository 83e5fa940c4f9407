"""The live chart of OR against AND: two distributions over eight tokens, interpolated linearly and log-linearly."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from course_utils.explore import vega
from course_utils.explore.chart import LiveChart, bars, row_names
from course_utils.explore.style import ROLE_COLOURS, TEXT_COLOURS
from course_utils.explore.tokens import token_label


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
    n, told = len(labels), list(zip(labels, p.tolist(), q.tolist()))
    rows = [
        {"row": i, "label": token_label(t), "p": round(a, 4), "q": round(b, 4)} for i, (t, a, b) in enumerate(told, 1)
    ]
    # Zero to the power 0 is 1 (a member with λ = 0 has no say), to a negative power it is infinite.
    power = "(lam{0} == 0 ? 1 : datum.{1} > 0 ? pow(datum.{1}, lam{0}) : lam{0} > 0 ? 0 : 1 / 0)"
    one, two, both = (vega.quoted(f"vetoed by {who}") for who in (*names, "both"))
    transform = [
        # A veto wins over an infinite factor, as the limit of small probabilities says nothing about 0 times infinity.
        *vega.calculate(v1="lam1 > 0 && datum.p == 0", v2="lam2 > 0 && datum.q == 0"),
        *vega.calculate(u=f"datum.v1 || datum.v2 ? 0 : {power.format(1, 'p')} * {power.format(2, 'q')}"),
        vega.joinaggregate(("sum", "u", "Z")),
        *vega.calculate(**{"ok": "isFinite(datum.Z) && datum.Z > 0", "and": "datum.ok ? datum.u / datum.Z : 0"}),
        *vega.calculate(**{"or": "lam1 + lam2 > 1e-9 ? (lam1 * datum.p + lam2 * datum.q) / (lam1 + lam2) : 0"}),
        *vega.calculate(hand="datum.and > 0 ? -datum.and * log(datum.and) / LN2 : 0"),
        *vega.calculate(hor="datum.or > 0 ? -datum.or * log(datum.or) / LN2 : 0"),
        *vega.calculate(veto=f"datum.v1 && datum.v2 ? {both} : datum.v1 ? {one} : datum.v2 ? {two} : ''"),
        vega.joinaggregate(("sum", "hand", "Hand"), ("sum", "hor", "Hor"), ("min", "or", "lowest")),
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
    veto = vega.mark("text", align="left", dx=4, color=TEXT_COLOURS[2], fontStyle="italic")
    and_panel["layer"].append(vega.layer(veto, transform=[{"filter": "datum.veto != ''"}], text=vega.nominal("veto")))
    notes = [
        f"'λ{sign} = ' + format(lam{m}, '.2~f') + ', H = {bits:.2f} bits'"
        for m, (sign, bits) in enumerate(zip("₁₂", entropies), 1)
    ]
    panels = [
        row_names("label", n, 76),
        bars("p", names[0], notes[0], core, (0, 1), n, 148),
        bars("q", names[1], notes[1], positive, (0, 1), n, 148),
        bars("or", "OR: λ₁ P₁ + λ₂ P₂, scaled", note_or, result, (-0.5, 1), n, 200),
        and_panel,
    ]
    params = [
        *vega.slider("lam1", f"λ₁, weight of {names[0]}", -1, 2, 0.05, 0.5),
        *vega.slider("lam2", f"λ₂, weight of {names[1]}", -1, 2, 0.05, 0.5),
    ]
    first, second = (", ".join(f"{t} {v:.2f}" for t, v in zip(labels, of.tolist())) for of in (p, q))
    vetoed = ", ".join(t for t, a, b in told if a == 0 or b == 0) or "nothing"
    text = (
        f"{title}. {names[0]}: {first}. {names[1]}: {second}. With positive weights the linear combination can emit "
        f"every token that one of them allows; the log-linear one excludes {vetoed}. Sliders: λ₁ and λ₂."
    )
    spec = {"title": {"text": title, "offset": 14}, "params": params, "data": {"values": rows}}
    return LiveChart({**spec, "transform": transform, "hconcat": panels, "spacing": 12}, text)
