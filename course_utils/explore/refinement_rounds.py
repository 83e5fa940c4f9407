"""The live chart of refinement by feedback: accuracy after each round,
from the rates at which a round repairs wrong answers and breaks right ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from course_utils.explore import vega
from course_utils.explore.chart import LiveChart, live_chart, text_lines, unfit
from course_utils.explore.style import INK, ROLE_COLOURS, TEXT_COLOURS
from course_utils.refinement.self_refine import fixed_point, two_rate

WIDTH, HEIGHT = 500, 252  # pixels: of the plot
ABOVE, BESIDE = 20, 120  # pixels: free over accuracy 1, for a number; beside the plot, for names
TABLES, ROUNDS = 12, 8  # published results to choose from; rounds that are drawn
DIGITS = 3  # decimals of what the sliders start with
LOWEST = 0.08  # below it a number under a dot would stand on the axis
CURVE, DOTS, TARGET = ROLE_COLOURS["core"], ROLE_COLOURS["negative"], INK
TEXT_OF_DOTS = TEXT_COLOURS[2]  # DOTS, dark enough to be read
# a_t in Vega; f and c are those in force, rate = f + c, star = f / (f + c). Where both are 0 nothing moves. It is
# rounded so that a third decimal is the same here and there when the fourth one is a 5.
ACCURACY = "(round(1e9 * (rate > 0 ? star + (a0 - star) * pow(1 - rate, datum.t) : a0)) / 1e9)"
VERDICT = (
    "rate <= 0 ? 'neither helps nor hurts: f = c = 0, every accuracy stays where it is'"
    " : abs(a0 - star) < 1e-6 ? 'neither helps nor hurts: a0 is f / (f + c) = ' + format(star, '.3f')"
    " : (a0 < star ? 'helps: a0 = ' : 'hurts: a0 = ') + format(a0, '.3f') + ' is ' + (a0 < star ? 'below' : 'above')"
    " + ' f / (f + c) = ' + format(star, '.3f')"
)


def refinement_explorer(
    tables: Mapping[str, Sequence[float]] | None = None,
    *,
    f: float = 0.2,
    c: float = 0.1,
    a0: float = 0.5,
    verifier_f: float = 0.5,
    title: str = "When another round helps",
    context: str = "",
) -> LiveChart:
    """Accuracy after rounds 0, 1, ..., with sliders for the rates, the first accuracy, the feedback and an oracle.

    A round repairs a wrong answer with chance f and breaks a right one with chance c:
    a_{t+1} = a_t (1 - c) + (1 - a_t) f,  hence a_t = a* + (a_0 - a*) (1 - f - c)^t,  a* = f / (f + c): a round helps
    where a_0 < a*. Feedback of quality q mixes the model's own with that of a verifier, which repairs with chance
    f' = ``verifier_f`` and breaks nothing: f(q) = f + q (f' - f), c(q) = c (1 - q). An oracle lets only wrong answers
    be changed: c = 0, f as it is.

    f, c, a0: where the sliders start, from 0 to 1 (three decimals). tables: name -> accuracies in rounds 0 to 8 at
    most, from 0 to 1: published results, up to 12, to be chosen and drawn as dots; the page says the largest distance
    of the dots from the curve. Raises ValueError: numbers outside [0, 1] (percent: divide by 100), too many rounds or
    tables. Source: the model is `refinement.two_rate`; Huang et al. (2024) for feedback without an oracle.
    """
    start = _checked(f=f, c=c, a0=a0, verifier_f=verifier_f)
    published = _checked_tables({} if tables is None else tables)
    n = len(published)
    choice = f"published results: none (0), or 1 to {n}"
    params = [
        *vega.slider("f", "f, chance that a round fixes a wrong answer", 0, 1, 0.005, start["f"]),
        *vega.slider("c", "c, chance that a round breaks a right answer", 0, 1, 0.005, start["c"]),
        *vega.slider("a0", "a0, accuracy before the first round", 0, 1, 0.005, start["a0"]),
        *vega.slider("q", "feedback quality q, from the model's own (0) to a verifier's (1)", 0, 1, 0.05, 0),
        *vega.slider("oracle", "oracle feedback, c = 0: off (left) or on (right)", 0, 1, 1, 0, width=60),
        *(vega.slider("chosen", choice, 0, n, 1, 0, width=max(60, 24 * (n + 1))) if n else vega.given(chosen=0)),
        *vega.given(dots=[[], *published.values()]),
        *vega.computed(fq=f"f + q * ({start['verifier_f']} - f)", cq="oracle ? 0 : c * (1 - q)"),
        *vega.computed(rate="fq + cq", star="rate > 0 ? fq / rate : a0"),
    ]
    rates = "'f = ' + format(fq, '.3~f') + ', c = ' + format(cq, '.3~f') + (oracle ? ' (oracle)' : '')"
    rates += " + (q > 0 ? '; the model\\'s own: f = ' + format(f, '.3~f') + ', c = ' + format(c, '.3~f') : '')"
    said = "blue: a_t = a* + (a0 − a*) (1 − f − c)^t; dashed: a* = f / (f + c)"
    lines = text_lines([VERDICT, rates], WIDTH + BESIDE)
    lines["layer"][0]["mark"]["color"] = {"expr": f"rate > 0 && star < a0 - 1e-6 ? '{TEXT_OF_DOTS}' : '{CURVE}'"}
    panels = [lines, _plot(published), *([_distance(published)] if published else [])]
    return live_chart(title, context, [said], _in_words(start, published), params, panels, spacing=10)


def _checked(**numbers: Any) -> dict[str, float]:
    """Each as the page gets it. Raises ValueError if one is no share."""
    for name, x in numbers.items():
        if not isinstance(x, Real) or not 0 <= x <= 1:  # NaN fails too
            raise unfit(name, "a number from 0 to 1 (percent: divide by 100)", repr(x))
    return {name: round(float(x), DIGITS) for name, x in numbers.items()}


def _checked_tables(tables) -> dict[str, list[float]]:
    if not isinstance(tables, Mapping) or len(tables) > TABLES:
        got = len(tables) if isinstance(tables, Mapping) else type(tables).__name__
        raise unfit("tables", f"a dict of at most {TABLES} names and their accuracies by round", got)
    found = {}
    for name, values in tables.items():
        values = list(values) if not isinstance(values, (str, Real)) else []
        if not 1 <= len(values) <= ROUNDS + 1:
            raise unfit(f"table {name!r}", f"a list of 1 to {ROUNDS + 1} accuracies, rounds 0 to {ROUNDS}", len(values))
        if not all(isinstance(x, Real) and 0 <= x <= 1 for x in values):
            raise ValueError(f"table {name!r} must hold numbers from 0 to 1 (percent: divide by 100), got {values}")
        found[str(name)] = [round(float(x), 4) for x in values]
    return found


def _plot(published: dict[str, list[float]]) -> dict:
    """The curve with its numbers, the line at the fixed point, and the chosen dots with theirs."""
    axis = {"title": "round", "grid": False, "values": list(range(ROUNDS + 1)), "format": "d"}
    x = vega.along("t", [-0.3, ROUNDS + 0.3], axis, zero=False)
    axis = {"title": "accuracy", "values": vega.FIFTHS, "format": ".1f"}
    y = vega.along("a", [0, 1], axis, range=[HEIGHT, ABOVE])
    said = "'round ' + datum.t + ': accuracy ' + format(datum.a, '.6f')"
    steps = vega.calculate(a=ACCURACY, described=said)
    curve = {"data": {"sequence": {"start": 0, "stop": ROUNDS + 1, "as": "t"}}, "transform": steps, "x": x, "y": y}
    listed = enumerate(published.items(), 1)
    rows = [{"k": k, "t": t, "a": a, "name": name} for k, (name, line) in listed for t, a in enumerate(line)]
    said = "datum.name + ', round ' + datum.t + ': ' + format(datum.a, '.4f')"
    steps = [{"filter": "datum.k == chosen"}, *vega.calculate(described=said)]
    chosen = {"data": rows, "transform": steps, "x": x, "y": y}
    once = {"data": [{}], "transform": [{"filter": "rate > 0"}, *vega.calculate(a="star")], "y": y}
    # A number stands away from the other dot, or else from the dashed line, and never on the axis.
    free = "isValid(dots[chosen][datum.t]) ? dots[chosen][datum.t] > datum.a : datum.a < star"
    number = vega.mark("text", fontSize=11, fontWeight="bold", aria=False)
    above = {**number, "dy": {"expr": f"datum.a > {LOWEST} && ({free}) ? 13 : -11"}}
    under = {**number, "dy": {"expr": f"datum.a > {LOWEST} && datum.a <= {ACCURACY} ? 14 : -13"}}
    halo = {"stroke": "white", "strokeWidth": 4, "strokeJoin": "round"}
    text = vega.quantitative("a", format=".3f")
    diamond = vega.dot(110, shape="diamond", color=DOTS, stroke=INK)
    between = vega.mark("line", color=DOTS, strokeDash=[2, 3], strokeWidth=1.5, aria=False)
    target = vega.mark("rule", color=TARGET, strokeDash=[6, 4], strokeWidth=1.5, aria=False)
    name = vega.mark("text", align="left", x=WIDTH + 6, fontSize=12, aria=False)
    name["text"] = {"expr": "'f / (f + c) = ' + format(star, '.3f')"}
    published_dots = [vega.layer(between, **chosen), vega.layer(diamond, **chosen, **vega.DESCRIBED)]
    published_numbers = [vega.layer({**under, **look}, **chosen, text=text) for look in (halo, {"color": TEXT_OF_DOTS})]
    layers = [
        vega.layer(target, **once, x={"value": 0}, x2={"value": WIDTH}),
        vega.layer(name, **once),
        vega.layer(vega.mark("line", color=CURVE, strokeWidth=2.5, aria=False), **curve),
        vega.layer(vega.dot(60, color=CURVE), **curve, **vega.DESCRIBED),
        *(published_dots if rows else []),
        *(vega.layer({**above, **look}, **curve, text=text) for look in (halo, {"color": CURVE})),
        *(published_numbers if rows else []),
    ]
    return vega.panel(WIDTH, HEIGHT, layer=layers)


def _distance(published: dict[str, list[float]]) -> dict:
    """One line: the results chosen, and how far the curve is from them."""
    rows = [{"k": 0, "said": f"published results: none chosen of {len(published)}", "ts": [0], "ys": [0]}]
    for k, (name, line) in enumerate(published.items(), 1):
        said = f"{name}: {', '.join(_digits(a) for a in line)}"
        rows.append({"k": k, "said": said, "ts": list(range(len(line))), "ys": line})
    words = "datum.k ? datum.said + '; largest distance from the curve ' + format(datum.off, '.3f') : datum.said"
    steps = [
        {"filter": "datum.k == chosen"},
        {"flatten": ["ts", "ys"], "as": ["t", "y"]},
        *vega.calculate(off=f"abs(datum.y - {ACCURACY})"),
        vega.aggregate(("max", "off", "off"), by=["k", "said"]),
        *vega.calculate(words=words),
    ]
    line = vega.mark("text", align="left", x=0, y=10, fontSize=12, color=TEXT_OF_DOTS, limit=WIDTH + BESIDE)
    return vega.panel(WIDTH, 20, **vega.layer(line, data=rows, transform=steps, text=vega.nominal("words")))


def _digits(a: float) -> str:
    return f"{a:.4f}".rstrip("0").ljust(5, "0")  # three decimals, or four where they are needed


def _in_words(start: dict[str, float], published: dict[str, list[float]]) -> str:
    """The curve where the sliders start, and the published results."""
    f, c, a0 = start["f"], start["c"], start["a0"]
    curve = ", ".join(f"{a:.3f}" for a in two_rate(a0, f, c, ROUNDS).round(9))
    verdict = "nothing moves"
    if f + c > 0:
        star = float(fixed_point(f, c))
        side = "helps: a0 is below" if a0 < star else "hurts: a0 is above"
        side = "neither helps nor hurts: a0 is" if abs(a0 - star) < 1e-6 else side
        verdict = f"{side} f / (f + c) = {star:.3f}"
    listed = "; ".join(f"{name} {', '.join(_digits(a) for a in line)}" for name, line in published.items())
    said = f" Published results: {listed}." if published else ""
    names = ["f", "c", "a0", "feedback quality q", "oracle", *(["published results"] if published else [])]
    return (
        f"f = {f:g}, c = {c:g}, a0 = {a0:g}: accuracy in rounds 0 to {ROUNDS} {curve}; {verdict}. A verifier's f is"
        f" {start['verifier_f']:g}, its c 0.{said} Sliders: {', '.join(names)}."
    )
