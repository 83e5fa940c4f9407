"""The live chart of the next byte: two models with different tokens, and their mixture, after several prefixes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from course_utils.explore import tokens, vega
from course_utils.explore.chart import LiveChart, bars, clipped, live_chart, row_names, text_lines, unfit
from course_utils.explore.next_token import COLOURS, GAP, NAMES_WIDTH, PANEL

END, LEAST = 256, 1e-6  # the outcome after the 256 bytes; what both models find less likely than this has no row
WIDTH, LETTERS = NAMES_WIDTH + 3 * (PANEL + GAP), 92  # pixels, and letters of a prefix that are shown


def next_byte_explorer(
    members: Mapping[str, Tensor],
    prefixes: Sequence[str],
    *,
    top: int = 10,
    title: str = "Two models, one next byte",
    context: str = "",
) -> LiveChart:
    """The next-byte distributions of two models and of their combination, with sliders for the prefix, λ and the rule.

    linear: P = (1-λ) P_1 + λ P_2;  log-linear: P = P_1^(1-λ) P_2^λ / Z.

    members: name -> (N, 257) log-probabilities, two of them, a row for each of the N prefixes (2 to 20); column 256 is
    the end of the text. Outcomes with a probability below 1e-6 in both are one row, so that the log-linear combination
    is exact to 3e-4. Raises ValueError: not two members, shapes that do not fit, logits.
    """
    names = list(members)
    if len(names) != 2 or not 2 <= len(prefixes) <= 20:
        raise unfit("members and prefixes", "two models and 2 to 20 texts", f"{len(names)} and {len(prefixes)}")
    log_probs = torch.stack([torch.as_tensor(member).detach().double() for member in members.values()])
    if log_probs.shape != (2, len(prefixes), END + 1):
        raise unfit("each member", f"({len(prefixes)}, {END + 1})", f"{tuple(log_probs.shape[1:])}")
    if not ((log_probs.exp().sum(-1) - 1).abs() < 1e-3).all():
        raise ValueError("members must be log-probabilities that sum to 1: apply log_softmax to logits first")
    rows = [row for i, pair in enumerate(log_probs.unbind(1)) for row in _rows(i + 1, pair)]
    weight = "loglinear ? exp((1 - lam) * datum.a + lam * datum.b) : (1 - lam) * exp(datum.a) + lam * exp(datum.b)"
    transform = [
        {"filter": "datum.i == prefix"},
        *vega.calculate(u=weight),
        vega.joinaggregate(("sum", "u", "Z")),
        *vega.calculate(order="datum.r ? -1 : datum.u"),
        *tokens.best_rows(top),
        *vega.calculate(pa="exp(datum.a)", pb="exp(datum.b)", p="datum.Z > 0 ? datum.u / datum.Z : 0"),
        *vega.calculate(ha="-datum.pa * datum.a / LN2", hb="-datum.pb * datum.b / LN2"),
        *vega.calculate(h="datum.p > 0 ? -datum.p * log(datum.p) / LN2 : 0"),
        vega.joinaggregate(*(("sum", field, field.upper()) for field in ("ha", "hb", "h"))),
        vega.aggregate(*(("sum", field, field) for field in ("pa", "pb", "p")), by=["row", "label", "HA", "HB", "H"]),
    ]
    panels = [row_names("label", top + 1, NAMES_WIDTH)]
    combination = {"expr": "(loglinear ? 'log-linear' : 'linear') + ', λ = ' + format(lam, '.3~f')"}
    for field, entropy, name, colour in zip(("pa", "pb", "p"), ("HA", "HB", "H"), [*names, combination], COLOURS):
        note = f"'entropy ' + format(datum.{entropy}, '.2f') + ' bits'"
        panels.append(bars(field, name, note, colour, (0, 1), top + 1, PANEL))
    params = [
        *vega.numbered("prefix", "which prefix", len(prefixes)),
        *vega.slider("lam", f"λ, weight of {names[1]}", 0, 1, 0.025, 0.5),
        *vega.slider("loglinear", "rule: linear (left) or log-linear (right)", 0, 1, 1, 0, width=60),
        *vega.given(texts=[_shown(text) for text in prefixes]),
    ]
    chart = {"data": {"values": rows}, "transform": transform, "hconcat": panels, "spacing": GAP}
    text = " ".join(_told(text, names, pair) for text, pair in zip(prefixes, log_probs.unbind(1)))
    panels = [text_lines(["texts[prefix - 1]"], WIDTH), chart]
    return live_chart(title, context, [], f"{text} Sliders: prefix, λ, rule.", params, panels, spacing=16)


def _rows(number: int, pair: Tensor) -> list[dict]:
    """What the page gets of one prefix: pair (2, 257) -> outcomes with both logarithms, and one row of all others."""
    shown = (pair > math.log(LEAST)).any(0)
    rest = pair[:, ~shown].exp().sum(1).clamp(min=1e-12).log()
    values = [(label(i), *pair[:, i].tolist(), 0) for i in shown.nonzero()[:, 0].tolist()] + [("", *rest.tolist(), 1)]
    return [{"i": number, "t": t, "a": tokens.json_log(a), "b": tokens.json_log(b), "r": r} for t, a, b, r in values]


def label(outcome: int) -> str:
    """The name of one of the 257 outcomes: a printable character, \\x with two digits for other bytes, or the end."""
    if outcome == END:
        return "end of text"
    return tokens.token_label(chr(outcome)) if outcome < 128 else f"\\x{outcome:02x}"


def _shown(text: str) -> str:
    """The end of a prefix, with a mark for each blank, and a line where the next byte stands."""
    return clipped(("…" + text[1 - LETTERS :] if len(text) > LETTERS else text).replace(" ", "·"), LETTERS) + "▁"


def _told(text: str, names: list[str], pair: Tensor) -> str:
    said = []
    for name, row in zip(names, pair):
        values, best = row.exp().topk(2)
        said.append(f"{name} {', '.join(f'{label(i)} {p:.2f}' for i, p in zip(best.tolist(), values.tolist()))}")
    shown = text if len(text) <= 40 else "…" + text[-39:]
    return f"After {shown!r}: {'; '.join(said)}."
