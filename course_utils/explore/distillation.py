"""The live chart of distillation: the teachers' and the student's distributions at a temperature T,
and the loss's gradient at the student's logits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from course_utils.distillation import soft_target_loss
from course_utils.explore import vega
from course_utils.explore.chart import ROW, LiveChart, bars, live_chart, row_names, short, shorts, text_lines
from course_utils.explore.style import FAINT, INK, ROLE_COLOURS
from course_utils.explore.tokens import describe, json_log, token_label

# The stops of the T slider: about even in log T, and 1 among them.
TEMPERATURES = (0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.4, 1.6, 1.8, 2, 2.2, 2.5, 2.8, 3.2, 3.6, 4)
TEMPERATURES += (4.5, 5, 5.5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 18, 20)
ONE = TEMPERATURES.index(1)
ALL, SOME = 12, 10  # with more than ALL classes only SOME have a row, and one row sums the others
WIDTH, GAP = 742, 14  # pixels: of the chart, between its panels
NUMBER = 52  # pixels beside the pushes, for a sign and four digits
SIDE, PIXEL = 8, 10  # the image: pixels of its own in a row, and the chart's for one of them
TRUE = "►"


@dataclass(frozen=True, eq=False)
class Example:
    """What M teachers and a student say about one input with C possible answers.

    labels: C names. teachers (M, C), student (C,): logits or log-probabilities, a teacher's probability 0 being -inf.
    truth: the index of the right answer. image: (8, 8) grey values from 0 (white) to 1 (black), if there is one.
    """

    labels: Sequence[str]
    teachers: Tensor
    student: Tensor
    truth: int
    image: Tensor | None = None


def distillation_explorer(
    examples: dict[str, Example],
    *,
    title: str = "What the teachers know, and what the loss tells the student",
    context: str = "",
) -> LiveChart:
    """Softened teachers and student, and the push of the loss on each logit of the student, with sliders for T and α.

    p_T = (1/M) sum_m softmax(z_m / T);  q_T = softmax(z_s / T);  loss = α T^2 KL(p_T || q_T) + (1 - α) CE(truth, q_1);
    push = -d loss / d z_s = α T (p_T - q_T) + (1 - α) (onehot(truth) - q_1).

    examples: name -> ``Example``, of one kind or of several; more than one adds a slider. Up to 12 classes have a row
    each, in their own order. Of a larger vocabulary the page gets ten tokens (the truth, the student's favourite and
    the teachers' most probable at T = 1, in the teachers' order) and one row that sums all others; what these add to
    the normalisers and to the losses is computed here, over the whole vocabulary, for each of ``TEMPERATURES``: what is
    shown is exact. Raises ValueError: no examples, shapes that do not fit, a truth out of range, numbers that are not
    finite (but for a teacher's -inf), an infinite loss. Source: Hinton, Vinyals & Dean (2015), section 2.
    """
    if not examples:
        raise ValueError("examples is empty: pass a dict from names to Examples")
    made = [_prepared(e, name, _checked(name, example)) for e, (name, example) in enumerate(examples.items())]
    rows = [row for one in made for row in one["rows"]]
    members, n_rows = max(row["m"] for row in rows), max(len(one["rows"]) for one in made)
    pictured = any(one["table"]["image"] for one in made)
    names_width = 7 * max(len(row["shown"]) for row in rows) + 4
    free = WIDTH - names_width - 3 * GAP - pictured * (SIDE * PIXEL + GAP)
    width = round(0.315 * free)  # of a panel of probabilities: pushes have numbers on both sides

    softened = "datum.m >= {c} ? datum.r ? here.rest[{c}][ti] : exp(datum.z[{c}] / T - here.logZ[{c}][ti]) : null"
    teachers = [f"p{c}" for c in range(1, members + 1)]
    listed = [f"datum.{teacher}" for teacher in teachers]
    small = "{0} > 0 && {0} < 0.001 ? replace(format({0}, '.1e'), '-', '−') : format({0}, '.3f')"
    # The label alone never pushes harder than 1; a longer bar is cut there, and its number says so.
    ends = [bound(push for one in made for push in one["pushes"]) for bound in (min, max)]
    pushed = (
        "datum.push > 1 ? '» ' + format(datum.push, '+.2f') : datum.push < -1 ? format(datum.push, '.2f') + ' «' "
        ": abs(datum.push) < 0.0005 ? '0.000' : format(datum.push, '+.3f')"
    )
    cut = "'logit down or up (» beyond 1)'" if ends[0] < -1 or ends[1] > 1 else "'logit down (left) or up (right)'"
    domain = (min(max(ends[0], -1), -0.1), max(min(ends[1], 1), 0.1))
    transform = [
        {"filter": "datum.e == ex"},
        *vega.calculate(**{teacher: softened.format(c=c) for c, teacher in enumerate(teachers, 1)}),
        *vega.calculate(p=f"({' + '.join(listed)}) / datum.m", q=softened.format(c=0)),
        *vega.calculate(q1=f"datum.r ? here.rest[0][{ONE}] : exp(datum.z[0])"),
        *vega.calculate(push="alpha * T * (datum.p - datum.q) + (1 - alpha) * (datum.truth - datum.q1)"),
        *vega.calculate(far=f"max({', '.join(listed)})"),  # the number stands behind the last tick
        *vega.calculate(**{f"{x}_number": small.format(f"datum.{x}") for x in "pq"}),
        *vega.calculate(push_number=pushed),
    ]
    warm = "T = ' + format(T, '.1~f')"
    note = "'entropy ' + format(here.entropy[{}][ti], '.2f') + ' bits'"
    core, result, up, down = (ROLE_COLOURS[role] for role in ("core", "result", "positive", "negative"))
    panels = [
        row_names("shown", n_rows, names_width),
        bars("p", {"expr": f"'teachers, {warm}"}, note.format(0), core, (0, 1), n_rows, width),
        bars("q", {"expr": f"'student, {warm}"}, note.format(1), result, (0, 1), n_rows, width),
        bars("push", {"expr": "'push, α = ' + format(alpha, '.2f')"}, cut, up, domain, n_rows, free - 2 * width),
    ]
    panels[0]["mark"]["fontWeight"] = {"expr": "datum.truth ? 'bold' : 'normal'"}
    for panel, field in zip(panels[1:], ("p", "q", "push")):
        panel["layer"][0]["encoding"]["opacity"]["condition"]["test"] = "datum.r"
        for number in panel["layer"][1:-1]:
            number["encoding"] = {"text": vega.nominal(f"{field}_number")}
    panels[1]["layer"][1]["encoding"]["x"] = {**panels[1]["encoding"]["x"], "field": "far"}
    panels[1]["layer"].insert(1, _ticks(teachers, panels[1]["encoding"]["x"]))
    panels[3]["layer"][0]["encoding"]["color"] = vega.condition("datum.push < 0", down, up)
    panels[3]["encoding"]["x"]["scale"]["range"] = [NUMBER, free - 2 * width - NUMBER]
    zero = {"x": {**panels[3]["encoding"]["x"], "field": "zero"}, "y": {"value": 0}, "y2": {"value": n_rows * ROW}}
    at_zero = [{"filter": "datum.row == 1"}, *vega.calculate(zero="0")]
    panels[3]["layer"].insert(0, vega.layer(vega.mark("rule", color=FAINT), transform=at_zero, **zero))
    if pictured:
        panels.insert(0, _picture())
    loss = (
        "'loss = α T² KL(p ‖ q) + (1 − α) CE = ' + format(alpha, '.2f') + ' × ' + format(here.soft[ti], '.3f') + ' + '"
        " + format(1 - alpha, '.2f') + ' × ' + format(here.hard, '.3f') + ' = '"
        " + format(alpha * here.soft[ti] + (1 - alpha) * here.hard, '.3f') + ' nats'"
    )
    params = [
        *vega.numbered("example", f"example, 1 to {len(made)}", len(made)),
        *vega.slider("ti", "temperature T, from 0.5 (left) to 20 (right)", 0, len(TEMPERATURES) - 1, 1, ONE),
        *vega.slider("alpha", "α, the teachers' share of the loss", 0, 1, 0.05, 0.5),
        *vega.given(stops=list(TEMPERATURES)),
        *vega.computed(T="stops[ti]"),
        *vega.given(tables=[one["table"] for one in made]),
        *vega.computed(ex="example - 1", here="tables[ex]"),
    ]
    said = "ticks: the single teachers; push: −∂ loss / ∂ logit = α T (p − q at T) + (1 − α) (truth − q at T = 1)"
    chart = {"data": {"values": rows}, "transform": transform, **vega.hconcat(*panels, spacing=GAP)}
    panels = [text_lines(["here.name", "here.truth"], WIDTH), chart, text_lines([loss], WIDTH)]
    text = " ".join(one["text"] for one in made)
    sliders = f"Sliders: {'example, ' if len(made) > 1 else ''}temperature T, α."
    return live_chart(title, context, [said], f"{text} {sliders}", params, panels, spacing=14)


def _checked(name: str, example: Example) -> tuple[Tensor, Tensor, Example]:
    """log-probabilities (1 + M, C) in float64, the student's first; the image (64,) if there is one; the example.

    Raises ValueError if the example cannot be drawn.
    """
    where = f"example {name!r}"
    teachers, student = (torch.as_tensor(x).detach().double() for x in (example.teachers, example.student))
    C = len(example.labels)
    if teachers.dim() != 2 or len(teachers) < 1 or teachers.shape[1] != C or student.shape != (C,) or C < 2:
        got = f"teachers {tuple(teachers.shape)} and student {tuple(student.shape)}"
        raise ValueError(f"{where}: {C} labels need teachers (M, {C}) and a student ({C},), at least 2, got {got}")
    if not 0 <= int(example.truth) < C or int(example.truth) != example.truth:
        raise ValueError(f"{where}: truth must be the index of a label, 0 to {C - 1}, got {example.truth}")
    logits = torch.cat([student[None], teachers])
    if not (logits.isfinite() | logits.isneginf()).all() or logits.isneginf().all(dim=1).any():
        raise ValueError(f"{where}: logits must be finite, or -inf for a probability of 0, and not -inf for all labels")
    needed = ~teachers.isneginf().all(dim=0)
    needed[int(example.truth)] = True
    if (needed & student.isneginf()).any():
        raise ValueError(f"{where}: the student gives probability 0 to what is possible: its loss is infinite")
    image = torch.zeros(0) if example.image is None else torch.as_tensor(example.image).detach().double()
    if example.image is not None and (image.shape != (SIDE, SIDE) or not ((image >= 0) & (image <= 1)).all()):
        raise ValueError(f"{where}: image must be ({SIDE}, {SIDE}) grey values from 0 to 1, got {tuple(image.shape)}")
    return logits.log_softmax(dim=1), image.flatten(), example


def _prepared(e: int, name: str, checked: tuple[Tensor, Tensor, Example]) -> dict:
    """The rows of an example, the tables that its page reads, the pushes at the ends of α, and the text."""
    log_probs, image, example = checked
    truth, C = int(example.truth), log_probs.shape[1]
    alone, student = log_probs[1:].exp().mean(dim=0), log_probs[0]
    ids = torch.arange(C)
    if C > ALL:
        first = [truth, int(student.argmax()), *alone.argsort(descending=True, stable=True)[:SOME].tolist()]
        ids = torch.tensor(list(dict.fromkeys(first))[:SOME]).sort().values
        ids = ids[alone[ids].argsort(descending=True, stable=True)]
    labels = [token_label(example.labels[i]) for i in ids.tolist()]
    rows = [
        {"label": label, "truth": int(i == truth), "z": [json_log(x, 6) for x in z]}
        for i, label, z in zip(ids.tolist(), labels, log_probs[:, ids].T.tolist())
    ]
    if C > len(ids):
        rows.append({"label": f"{C - len(ids):,} others", "truth": 0, "r": 1})
    for r, row in enumerate(rows, 1):
        row |= {"e": e, "row": r, "m": len(log_probs) - 1}
        row["shown"] = f"{TRUE} {row['label']}" if row["truth"] else row["label"]

    T = torch.tensor(TEMPERATURES, dtype=log_probs.dtype)
    scaled = log_probs[:, None] / T[:, None]  # (1 + M, stops, C)
    softened = scaled.softmax(dim=2)
    p, q = softened[1:].mean(dim=0), softened[0]  # (stops, C)
    kept = ~student.isneginf()  # elsewhere all are 0
    soft = [soft_target_loss(student[None, kept], target[None, kept], t) for t, target in zip(TEMPERATURES, p)]
    others = torch.ones(C, dtype=torch.bool)
    others[ids] = False
    push = torch.cat([T[:, None] * (p - q), (one_hot(torch.tensor(truth), C) - q[ONE])[None]])  # α = 1, then α = 0
    pushes = torch.cat([push[:, ids], push[:, others].sum(dim=1, keepdim=True)], dim=1)
    # T multiplies the rounding error in the push: nine digits.
    rest = shorts(softened[:, :, others].sum(dim=2).tolist(), 9)
    table = {
        "name": f"example {e + 1}: {name}",
        "truth": f"truth {TRUE} {token_label(example.labels[truth])}",
        "logZ": [[round(x, 6) for x in line] for line in scaled.logsumexp(dim=2).tolist()],
        "rest": rest if others.any() else [],
        "entropy": [shorts((torch.special.entr(of).sum(dim=1) / math.log(2)).tolist()) for of in (p, q)],
        "soft": [short(loss.item()) for loss in soft],
        "hard": short(cross_entropy(student[None], torch.tensor([truth])).item()),
        "image": [round(x, 3) for x in image.tolist()],
    }
    words = [describe(who, of.log(), ids, labels) for who, of in (("teachers", alone), ("student", student.exp()))]
    bits, four = table["entropy"][0], TEMPERATURES.index(4)
    words.append(f"At T = 4 the teachers' entropy is {bits[four]:.1f} bits.")
    words.append(f"At T = 1 the soft loss is {table['soft'][ONE]:.2f}, the hard loss {table['hard']:.2f}.")
    text = f"Example {e + 1}, {name}, truth {token_label(example.labels[truth])}: {' '.join(words)}"
    return {"rows": rows, "table": table, "pushes": pushes.flatten().tolist(), "text": text}


def _ticks(teachers: list[str], x: dict) -> dict:
    """A tick at each teacher's own probability."""
    each = [{"fold": teachers, "as": ["who", "one"]}, {"filter": "isValid(datum.one)"}]
    tick = vega.mark("tick", orient="vertical", thickness=1.5, size=ROW - 9, color=INK, opacity=1, aria=False)
    return vega.layer(tick, transform=each, x={**x, "field": "one"})


def _picture() -> dict:
    """The image of the example, dark on white, with a frame."""
    axis = {"type": "ordinal", "axis": None, "scale": {"domain": list(range(SIDE)), "padding": 0}}
    shade = {"domain": [0, 1], "range": ["#FFFFFF", "#000000"]}
    place = [
        *vega.calculate(x=f"datum.i % {SIDE}", y=f"floor(datum.i / {SIDE})", grey="here.image[datum.i]"),
        {"filter": "isValid(datum.grey)"},
    ]
    data = {"sequence": {"start": 0, "stop": SIDE**2, "as": "i"}}
    looks = {"x": {**axis, "field": "x"}, "y": {**axis, "field": "y"}}
    looks["color"] = vega.quantitative("grey", legend=None, scale=shade)
    cells = vega.layer(vega.mark("rect", aria=False), data=data, transform=place, **looks)
    return vega.panel(SIDE * PIXEL, SIDE * PIXEL, view={"stroke": FAINT}, **cells)
