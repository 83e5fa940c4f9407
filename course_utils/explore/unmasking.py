"""The live chart of the reverse process of discrete diffusion: at which step each character of a sample was decided."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

from course_utils.explore import letters, vega
from course_utils.explore.chart import ROW, LiveChart, bars, live_chart, row_names, short, text_lines, unfit
from course_utils.explore.style import FAINT, INK, PALE, ROLE_COLOURS

RUNS, TEXTS, LETTERS, ITERATIONS = (1, 8), (1, 8), (1, 256), (1, 1000)  # labels, texts of each, characters, iterations
LINE = 22  # pixels: height of a line
# The light part of a viridis-like ramp, ever lighter from blue to yellow: dark text on it has contrast 5.5 or more.
RAMP = ("#6AA3DC", "#5FBFC0", "#93D78B", "#F4EA3D")
START = 0.5  # where the slider of progress starts
KEY, BARS = 20, 300  # cells of the colours' key; pixels of the panel of scores
MASK, NEVER = "_", 10**9


def decisions_viewer(
    histories: Mapping[str, Any],
    decode: Callable[[Any], str] | None = None,
    *,
    scores: Mapping[str, float] | None = None,
    score_name: str = "score",
    title: str = "Which characters are decided when",
    context: str = "",
) -> LiveChart:
    """Samples on their way from x_T to x_0, coloured by the iteration that decided them; a slider for the progress.

    At iteration i = round(n progress) of n the page shows state i of a text; a character is coloured by j / n, j the
    last iteration up to i that changed it (0: it stands there from the start), one that is "_" is undecided and
    white. What iteration i itself changed is framed.

    histories: label of a run, as "8 steps" -> its B texts, each a list of n + 1 strings of one length, x_T first. 1 to
    8 runs with the same B = 1 to 8 (more than one adds a slider); 1 to 256 characters; n may differ from run to run, as
    may the length. With ``decode``, a function from the ids of one text (N,) to a string of N characters, a run is an
    array or tensor (n + 1, B, N), as ``diffusion.discrete.sample(..., return_history=True)`` returns it. scores: label
    -> a finite number, drawn as bars. Raises ValueError: numbers or lengths that do not fit, scores that are not finite
    or have other labels.
    """
    runs = _checked(histories, decode)
    scores = _checked_scores(scores, runs)
    labels, B = list(runs), len(next(iter(runs.values())))
    values = [
        {"l": k, "b": b, **_changes(states)} for k, texts in enumerate(runs.values()) for b, states in enumerate(texts)
    ]
    lines = max(-(-len(states[0]) // letters.COLUMNS) for texts in runs.values() for states in texts)
    last = len(labels)
    params = [
        *vega.numbered("run", f"run, from {labels[0]} (left) to {labels[-1]} (right)", last, last, max(60, 30 * last)),
        *vega.numbered("text", f"text, 1 to {B}", B),
        *vega.slider("progress", "progress, from 0 (x_T) to 1 (x_0)", 0, 1, 0.01, START, width=300),
        *vega.given(labels=labels, counts=[len(texts[0]) - 1 for texts in runs.values()], mask=MASK),
        *vega.computed(n="counts[run - 1]", state="round(n * progress)"),
    ]
    said = "blue: decided first, yellow: last; white: undecided; framed: changed by this iteration"
    which = f" + ', text ' + text + ' of {B}'" if B > 1 else ""
    where = f"labels[run - 1]{which} + ': iteration ' + state + ' of ' + n"
    lower = {"hconcat": [_key()], "spacing": 40}
    if scores:
        lower["hconcat"].append(_scores(scores, score_name))
    panels, text = (
        [text_lines([where], letters.WIDTH), _grid(values, lines), lower],
        _in_words(runs, scores, score_name),
    )
    return live_chart(title, context, [said], text, params, panels, spacing=10)


def _checked(histories, decode) -> dict[str, list[list[str]]]:
    """label -> texts -> states as strings. Raises ValueError if they cannot be drawn."""
    if not isinstance(histories, Mapping) or not RUNS[0] <= len(histories) <= RUNS[1]:
        got = len(histories) if isinstance(histories, Mapping) else type(histories).__name__
        raise unfit("histories", f"a dict of {RUNS[0]} to {RUNS[1]} labels and their texts", got)
    runs = {}
    for label, texts in histories.items():
        if decode is not None:
            if getattr(texts, "ndim", 0) != 3:
                got = tuple(getattr(texts, "shape", ())) or type(texts).__name__
                raise ValueError(f"with decode, run {label!r} must be ids (n + 1, B, N), x_T first, got {got}")
            texts = [[decode(texts[i, b]) for i in range(len(texts))] for b in range(texts.shape[1])]
        if not _is_list(texts) or not all(map(_is_list, texts)):
            wanted = "a list of texts, each a list of strings from x_T to x_0: put a single text in [ ]"
            raise ValueError(f"run {label!r} must be {wanted}")
        for b, states in enumerate(texts, 1):
            where, written = f"run {label!r}, text {b}", all(isinstance(state, str) for state in states)
            if not written or not ITERATIONS[0] < len(states) <= ITERATIONS[1] + 1:
                wanted = f"strings, one for x_T and one for each of 1 to {ITERATIONS[1]} iterations"
                raise ValueError(f"{where}: give {wanted}, got {len(states)} states")
            sizes = sorted({len(state) for state in states})
            if len(sizes) > 1 or not LETTERS[0] <= sizes[0] <= LETTERS[1]:
                wanted = f"one length from {LETTERS[0]} to {LETTERS[1]} characters"
                raise ValueError(f"{where}: all states must have {wanted}, got {sizes[:4]}")
        if len({len(states) for states in texts}) > 1:
            got = sorted({len(states) - 1 for states in texts})
            raise ValueError(f"run {label!r}: its texts must have the same number of iterations, got {got}")
        runs[str(label)] = [list(states) for states in texts]
    counts = {label: len(texts) for label, texts in runs.items()}
    if len(set(counts.values())) > 1 or not TEXTS[0] <= min(counts.values()) <= TEXTS[1]:
        got = ", ".join(f"{label} {n}" for label, n in counts.items())
        raise ValueError(f"all runs need the same number of texts, {TEXTS[0]} to {TEXTS[1]}, got {got}")
    return runs


def _is_list(x: Any) -> bool:
    return isinstance(x, Sequence) and not isinstance(x, str)


def _checked_scores(scores, runs) -> dict[str, float]:
    if scores is None:
        return {}
    if not isinstance(scores, Mapping) or {str(label) for label in scores} != set(runs):
        raise ValueError(f"scores must be a dict with a number for each of the runs, {', '.join(runs)}")
    for label, score in scores.items():
        if not isinstance(score, Real) or not math.isfinite(score):
            raise ValueError(f"scores must be finite numbers: {label!r} has {score!r}")
    return {label: float(next(s for other, s in scores.items() if str(other) == label)) for label in runs}


def _changes(states: Sequence[str]) -> dict[str, list]:
    """What stands where and how long: place p, character c, the iteration i that wrote it and till when it stood."""
    found = {"p": [], "c": [], "i": [], "till": []}
    for p in range(len(states[0])):
        at = [0, *(i for i in range(1, len(states)) if states[i][p] != states[i - 1][p])]
        found["p"] += [p] * len(at)
        found["c"] += [states[i][p] for i in at]
        found["i"] += at
        found["till"] += [*at[1:], NEVER]
    return found


def _grid(values: list[dict], lines: int) -> dict:
    """The chosen state, character by character, and a line that counts them."""
    steps = [
        {"filter": "datum.l == run - 1 && datum.b == text - 1"},
        {"flatten": ["p", "c", "i", "till"]},
        {"filter": "datum.i <= state && state < datum.till"},
        *vega.calculate(open="datum.c == mask ? 1 : 0", fresh="datum.i == state && state > 0 ? 1 : 0"),
    ]
    placed = letters.cells(LINE, f"{ROW + 4} + {LINE} * floor(datum.p / {letters.COLUMNS})")
    placed += vega.calculate(when="datum.i / n")
    said = "'undecided ' + datum.open + ' of ' + datum.all + ' characters, changed by this iteration: ' + datum.fresh"
    counts = [{"op": "sum", "field": field, "as": field} for field in ("open", "fresh")]
    counted = [{"aggregate": [*counts, {"op": "count", "as": "all"}]}, *vega.calculate(words=said)]
    fill = {**_ramp(), "condition": {"test": "datum.open", "value": "white"}}
    looks = {
        **vega.span("x", "x2", "top", "bottom"),
        "fill": fill,
        "stroke": vega.condition("datum.fresh", INK, "white"),
    }
    cells = vega.layer(vega.mark("rect", aria=False), **looks)
    drawn = letters.layer("c", color=vega.condition("datum.open", PALE, INK))
    line = vega.mark("text", align="left", x=0, y=ROW // 2, fontSize=12, limit=letters.WIDTH)
    told = vega.layer(line, transform=counted, text=vega.nominal("words"))
    layers = [told, {"transform": placed, "layer": [cells, drawn]}]
    return vega.panel(letters.WIDTH, ROW + 6 + lines * LINE, data={"values": values}, transform=steps, layer=layers)


def _ramp() -> dict:
    """The encoding of ``when``, from 0 to 1, as a colour."""
    scale = {"domain": [0, 0.333, 0.667, 1], "range": list(RAMP), "interpolate": "rgb"}
    return vega.quantitative("when", legend=None, scale=scale)


def _key() -> dict:
    """The colours from the first iteration to the last."""
    width, under = 9, 2.5 * ROW + 2
    rows = [{"x": width * j, "x2": width * (j + 1), "when": round(j / (KEY - 1), 4)} for j in range(KEY)]
    place = {"x": vega.pixels("x"), "x2": {"field": "x2"}, "y": {"value": ROW + 4}, "y2": {"value": 2 * ROW}}
    texts = [
        vega.mark("text", align="left", x=0, y=ROW // 2, text="decided at iteration"),
        vega.mark("text", align="left", x=0, y=under, text="0"),
        vega.mark("text", align="right", x=width * KEY, y=under, text={"expr": "'' + n"}),
    ]
    layers = [vega.layer(vega.mark("rect", aria=False), data=rows, **place, fill=_ramp())]
    return vega.panel(width * KEY, 3 * ROW + 6, layer=layers + [vega.layer(text, data=[{}]) for text in texts])


def _scores(scores: Mapping[str, float], name: str) -> dict:
    """A bar for each run, the chosen one in colour and its name in bold."""
    rows = [{"row": k + 1, "label": label, "score": short(score)} for k, (label, score) in enumerate(scores.items())]
    low, high = short(min(0, *scores.values(), 0)), short(max(0, *scores.values(), 0))
    domain, core = (low, high) if low < high else (0, 1), ROLE_COLOURS["core"]
    panel = bars("score", name, "''", core, domain, len(rows), BARS)
    panel["layer"] = panel["layer"][:-1]  # no note
    panel["title"] |= {"fontSize": 12, "fontWeight": "normal"}
    panel["layer"][0]["encoding"]["color"] = vega.condition("datum.row == run", core, FAINT)
    names = row_names("label", len(rows), max(40, 7 * max(map(len, scores)) + 4))
    for text in (names, *panel["layer"][1:]):
        text["mark"]["fontWeight"] = {"expr": "datum.row == run ? 'bold' : 'normal'"}
    return {"data": {"values": rows}, **vega.hconcat(names, panel, spacing=8)}


def _in_words(runs: dict[str, list[list[str]]], scores: dict[str, float], score_name: str) -> str:
    """The runs with their scores, and the text that the sliders start on."""
    listed = [f"{label} ({score_name} {scores[label]:.3f})" if scores else label for label in runs]
    label, texts = list(runs.items())[-1]
    states = texts[0]
    n, size = len(states) - 1, len(states[0])
    now = math.floor(n * START + 0.5)
    several = [("run", len(runs)), ("text", len(texts)), ("progress", 2)]
    names = [name for name, count in several if count > 1]
    undecided = f"{states[now].count(MASK)} of {size} characters undecided: {states[now]} | at the end: {states[-1]}"
    sliders = f"Slider{'s' * (len(names) > 1)}: {', '.join(names)}."
    where = f"{label}, text 1 of {len(texts)}, at iteration {now} of {n}"
    return f"Runs: {', '.join(listed)}. {where}, {undecided} | {sliders}"
