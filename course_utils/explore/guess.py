"""Guess first: a live chart that stays covered until its reader has guessed what it shows.

Students who predict how a demonstration ends understand it better than those who only watch it (Crouch, Fagen, Callan
and Mazur 2004, doi:10.1119/1.1707018). Everything happens in the page, so that it works in a saved notebook, in a deck
and in the book, and by keyboard. Nothing is sent or kept.
"""

from __future__ import annotations

import copy
import math

from course_utils.explore import vega
from course_utils.explore.chart import LiveChart, unfit
from course_utils.explore.style import FAINT, INK, ROLE_COLOURS, TEXT_COLOURS

WIDTH, HEIGHT, LINE, EDGE = 520, 84, 56, 12  # pixels of the panel; where its number line lies, room at its ends
INNER = ("title", "data", "transform", "encoding", "mark", "layer", "hconcat", "vconcat", "concat", "spacing")
INNER += ("width", "height", "resolve", "facet", "spec", "columns", "bounds", "align", "center")
COVERED, ANSWER = " What is covered: ", " The answer: "  # the chart's own words stand between these two
COVER = {"test": "!uncovered", "value": 1e-6}  # 0 would take a mark out of the layout


def guess_first(
    chart: LiveChart, question: str, answer: float, *, low: float, high: float, step: float, digits: int = 2
) -> LiveChart:
    """``chart`` under a cover, with a slider for the guess and one that takes the cover off.

    The second slider works at once: who does not want to guess need not. When it is moved, the guess, the answer and
    their distance |guess - answer| stand above the chart. question: one line that a number from low to high answers;
    answer: that number, computed beforehand; step: of the guess; digits: decimals in which all three are written.
    Raises ValueError: an answer outside [low, high], a step that does not fit between them.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high and 0 < step <= high - low):
        raise unfit("low, high and step", "finite, low < high and 0 < step <= high - low", (low, high, step))
    if not low <= answer <= high:
        raise unfit("answer", f"between low and high, {low:g} and {high:g}", answer)
    if not question.strip() or "\n" in question:
        raise unfit("question", "one line", repr(question))
    spec = copy.deepcopy(chart.spec)
    inner = {name: spec.pop(name) for name in INNER if name in spec}
    _cover(inner)
    start = low + round((high - low) / step / 2) * step
    params = [
        *vega.slider("guess", "your guess", low, high, step, round(start, 10)),
        *vega.slider("uncovered", "the result, covered (0) or shown (1)", 0, 1, 1, 0, width=60),
        *vega.given(truth=round(float(answer), digits + 2)),
    ]
    spec["params"] = params + spec.pop("params", [])
    spec |= {"vconcat": [_panel(question, low, high, digits), inner], "spacing": 18}
    spec.pop("description")
    covered = " ".join(chart.text.split())
    text = f"Guess first: {question} Sliders: your guess, and one that shows the result.{COVERED}{covered}"
    return LiveChart(spec, f"{text}{ANSWER}{answer:.{digits}f}.")


def uncovered(spec: dict) -> dict:
    """The specification of the chart itself, for pictures; one without a cover as it is."""
    names = [param["name"] for param in spec.get("params", [])]
    if "uncovered" not in names:
        return spec
    own = ("guess_input", "guess", "truth", "uncovered_input", "uncovered")
    params = [param for param in spec["params"] if param["name"] not in own]
    around = {name: part for name, part in spec.items() if name not in ("vconcat", "spacing")}
    return {**around, **spec["vconcat"][1], "params": [*vega.given(uncovered=True), *params]}


def uncovered_words(text: str) -> str:
    """The words of the chart itself, in one line, where it is shown without its cover; other words as they are."""
    words = " ".join(text.split())
    if not (words.startswith("Guess first: ") and COVERED in words and ANSWER in words):
        return words
    return words.split(COVERED, 1)[1].rsplit(ANSWER, 1)[0]


def _cover(spec: dict, outer: dict | None = None) -> None:
    """Make each mark transparent while the cover is on. Titles, axes and sliders stay, and nothing is laid out again.

    outer: the opacity that an enclosing layer gives its marks.
    """
    opacity = spec.get("encoding", {}).get("opacity", outer)
    if "mark" in spec:
        kind = spec["mark"]["type"]
        plain = spec["mark"].get("opacity", 0.7 if kind in ("point", "tick") else 1)  # 0.7: Vega-Lite's own
        opacity = opacity or {"value": plain}
        further = opacity.get("condition", [])
        further = further if isinstance(further, list) else [further]
        encoding = {**spec.get("encoding", {}), "opacity": {**opacity, "condition": [COVER, *further]}}
        spec["encoding"] = encoding
    for name in ("layer", "hconcat", "vconcat", "concat"):
        for part in spec.get(name, []):
            _cover(part, opacity)
    if "spec" in spec:
        _cover(spec["spec"], opacity)


def _panel(question: str, low: float, high: float, digits: int) -> dict:
    """The number line: the guess above it and, once the cover is off, the answer below and how far off it is."""
    number = f"'.{digits}f'"
    scale = {"domain": [low, high], "nice": False, "range": [EDGE, WIDTH - EDGE]}
    written = vega.mark("text", align="left", x=0, fontSize=13)
    said = (
        f"uncovered ? 'You said ' + format(guess, {number}) + '. It is ' + format(truth, {number}) + ': off by '"
        f" + format(abs(guess - truth), {number}) + '.' : 'Your guess: ' + format(guess, {number})"
        " + '. When you are ready, show the result.'"
    )
    place = {"y": {"value": LINE}}
    at = vega.calculate(at="guess", described="'your guess ' + format(guess, " + number + ")")
    right = vega.calculate(at="truth", described="'the answer ' + format(truth, " + number + ")")
    above = vega.mark("point", shape="triangle-down", filled=True, size=110, yOffset=-9, opacity=1)
    below = above | {"shape": "triangle-up", "yOffset": 9}
    axis = {"orient": "bottom", "title": None, "tickCount": 6, "domainColor": INK, "offset": LINE - HEIGHT}
    axis |= {"grid": False, "labelPadding": 14}  # the answer's triangle lies between the line and its numbers
    x = vega.quantitative("at", scale=scale, axis=axis)
    layers = [
        vega.layer({**written, "y": 8, "fontWeight": "bold", "text": question}),
        vega.layer({**written, "y": 28, "text": {"expr": said}, "color": TEXT_COLOURS[0]}),
        vega.layer(vega.mark("rule", color=FAINT, x=0, x2=WIDTH), **place),
        vega.layer(above | {"color": ROLE_COLOURS["result"]}, transform=at, x=x, **place, **vega.DESCRIBED),
        vega.layer(below | {"color": ROLE_COLOURS["core"]}, transform=right, x=x, **place, **vega.DESCRIBED),
    ]
    _cover(layers[-1])
    return vega.panel(WIDTH, HEIGHT, data={"values": [{}]}, layer=layers)
