"""The chart of a computed grid: Vega evaluates it (vl-convert); the dots, the best marks and the names."""

import re

import pytest
import torch
from drawing import _draw, _number, _refuses, _said, _size, _sliders, _stays, _steps, _texts, _words

from course_utils import explore
from course_utils.explore import grid as grids

TASKS = [2, 4, 6]
LAMBDAS = [round(0.1 * i, 1) for i in range(16)]
RATES = [0, 0.5, 0.8, 0.9, 0.95, 0.99]
AXES = {"n, number of tasks": TASKS, "λ, scale of what is added": LAMBDAS}


def _scores():
    """Curves of which the sum explodes, and a method without λ."""
    n, lam = torch.tensor(TASKS)[:, None], torch.tensor(LAMBDAS)
    return {
        "average": [1.1, 1.2, 1.3],
        "task arithmetic": 1.05 + 0.03 * n + n * (lam - 1 / n) ** 2,
        "TIES": 1.02 + 0.02 * n + 0.3 * (lam - 0.7) ** 2,
        "DARE": (1.08 + 0.03 * n + n * (lam - 0.9 / n) ** 2).tolist(),
    }


REFERENCE = {"base": 1.5, "single experts": [1.4, 1.45, 1.48]}


@pytest.fixture(scope="module")
def chart():
    said = {"measure": "perplexity", "better": "lower", "title": "Merges", "context": "a b"}
    return explore.grid_explorer(_scores(), axes=AXES, reference=REFERENCE, **said)


@pytest.fixture(scope="module")
def drop():
    scores = {"rescaled": [0.8, 0.8, 0.79, 0.75, 0.6, 0.3], "not rescaled": [0.8, 0.6, 0.5, 0.45, 0.42, 0.41]}
    said = {"measure": "accuracy", "better": "higher", "reference": {"base": 0.4}, "title": "Drop"}
    return explore.grid_explorer(scores | {"largest kept": 0.8}, axes={"p, share that is dropped": RATES}, **said)


def _dots(svg: str) -> dict[str, float]:
    found = [re.fullmatch(r"([^:]+) ([−\d.]+) at (?:λ|p) = [\d.]+", said) for said in _said(svg, "point")]
    return {one[1]: _number(one[2]) for one in found if one}


def test_whole_tens_on_the_axis_are_written_out():
    said = {"measure": "accuracy", "better": "higher", "title": "Calls"}
    texts = _texts(_draw(explore.grid_explorer({"a": [0.2, 0.6, 0.4]}, axes={"n, calls": [0, 16, 80]}, **said)))
    assert {"10", "40", "80"} <= set(texts) and "1e+1" not in texts


@pytest.mark.parametrize(("o", "i"), [(0, 0), (0, 8), (1, 3), (1, 15), (2, 7)])
def test_the_dots_are_the_scores_at_the_sliders(chart, o, i):
    svg = _draw(chart, outer_at=TASKS[o], xs_at=LAMBDAS[i])
    wanted = {name: float(torch.as_tensor(values)[o].expand(len(LAMBDAS))[i]) for name, values in _scores().items()}
    assert _dots(svg) == pytest.approx(wanted, abs=1e-4)
    texts = _texts(svg)
    assert f"perplexity (lower is better); n = {TASKS[o]}, λ = {LAMBDAS[i]:g}" in texts
    numbers = {float(text.removesuffix(" ↑")) for text in texts if re.fullmatch(r"\d+\.\d{3}( ↑)?", text)}
    assert sorted(numbers) == pytest.approx(sorted(wanted.values()), abs=6e-4)


@pytest.mark.parametrize("o", range(3))
def test_each_method_has_its_best_marked_and_written(chart, o):
    svg = _draw(chart, outer_at=TASKS[o])
    texts = _texts(svg)
    for name, values in _scores().items():
        values = torch.as_tensor(values)[o]
        if name == "average":
            assert f"average {values:.3f}" in texts
        else:
            assert f"◇ {name} {values.min():.3f} at λ = {LAMBDAS[int(values.argmin())]:g}" in texts
    assert _diamonds(svg) == ["task arithmetic", "TIES", "DARE"]


def _diamonds(svg: str) -> list[str]:
    return [said[8:].split(" at ")[0] for said in _said(svg, "point") if said.startswith("best of ")]


def test_references_have_lines_and_names_at_the_chosen_task_number(chart):
    for o, experts in enumerate(REFERENCE["single experts"]):
        svg = _draw(chart, outer_at=TASKS[o])
        assert {"base 1.500", f"single experts {experts:.3f}"} <= set(_texts(svg))
        assert len(re.findall(r"<line [^>]*stroke-dasharray", svg)) == 2


def test_scores_beyond_the_axis_say_so(chart):
    _, high = grids._domain(grids._checked(_scores(), AXES, "lower", REFERENCE))
    assert high < 2.2
    texts = _texts(_draw(chart, outer_at=6, xs_at=1.5))
    assert {"11.897 ↑", "1.300"} <= set(texts) and "12.195 ↑" in texts
    assert not [text for text in _texts(_draw(chart, outer_at=6, xs_at=0.2)) if "↑" in text]


def test_with_one_axis_there_is_one_slider_over_uneven_stops(drop):
    assert _sliders(drop) == [("p, share that is dropped, from 0 (left) to 0.99 (right)", 0, 5, 3)]
    svg = _draw(drop, xs_i=4)
    assert _dots(svg) == {"rescaled": 0.6, "not rescaled": 0.42, "largest kept": 0.8}
    assert "accuracy (higher is better); p = 0.95" in _texts(svg) and _diamonds(svg) == ["rescaled", "not rescaled"]
    assert {"◇ rescaled 0.800 at p = 0", "largest kept 0.800", "base 0.400"} <= set(_texts(svg))


def test_for_higher_scores_the_axis_ends_below():
    curves = {"a": [0.9, 0.85, -9], "b": [0.8, 0.7, 0.6]}
    chart = explore.grid_explorer(curves, axes={"x": [0, 1, 2]}, measure="m", better="higher", title="t")
    texts = _texts(_draw(chart, xs_at=2))
    assert any(text.startswith("−9.00") and text.endswith(" ↓") for text in texts)


def test_names_stand_apart(chart):
    grid = grids._checked(_scores(), AXES, "lower", REFERENCE)
    low, high = grids._domain(grid)
    names = grids._names(grid, 3, low, high)
    assert [row["name"] for row in names if row["o"] == 0] == [*_scores(), "base 1.500", "single experts 1.400"]
    for o in range(3):
        boxes = [
            (grids.DOT + row["nx"] / 1.5 * (grids.WIDTH - 2 * grids.DOT), down * grids.HEIGHT, 3.4 * len(row["name"]))
            for row in names
            if row["o"] == o and (down := (high - row["ny"]) / (high - low))
        ]
        for a, (x, y, half) in enumerate(boxes):
            assert half < x < grids.WIDTH - half and 6 < y < grids.HEIGHT - 6
            assert all(abs(y - v) > 13 or abs(x - u) > half + other for u, v, other in boxes[:a])


def test_nothing_is_laid_out_again_when_a_slider_moves(chart):
    _stays(chart, [{"outer_at": n, "xs_at": lam} for n, lam in [(2, 0), (4, 0.7), (6, 1.5)]], 755)


def test_sliders_and_text_form(chart, drop):
    assert _sliders(chart) == [("n, number of tasks", 2, 6, 2), ("λ, scale of what is added", 0, 1.5, 0.8)]
    assert _steps(chart) == [2, 0.1]
    assert _size(chart) < 50_000
    text = _words(chart)
    first = "n = 2, best scores: average 1.100, task arithmetic 1.110 at λ = 0.5,"
    assert text.startswith(f"Merges: a b. Perplexity, lower is better. {first}")
    last = "TIES 1.140 at λ = 0.7, DARE 1.275 at λ = 0.1; for comparison base 1.500, single experts 1.480"
    assert text.endswith(f"{last}. Sliders: n, λ.")
    assert _words(drop).endswith("largest kept 0.800; for comparison base 0.400. Slider: p.")
    bleu = explore.grid_explorer({"a": 1.0}, axes={"x": [0, 1]}, measure="BLEU", better="higher", title="t")
    assert "BLEU, higher is better." in _words(bleu)


def test_names_may_hold_quotes_and_one_method_is_enough():
    axes = {'t\'s "n"': [1, 2], "x": [0, 1, 3]}
    chart = explore.grid_explorer({'"a"': [[1, 2, 3]] * 2}, axes=axes, measure="'m'", better="lower", title="t")
    assert "'m' (lower is better); t's \"n\" = 1, x = 1" in _texts(_draw(chart))
    flat = explore.grid_explorer({"a": 1.0}, axes={"x": [0, 1]}, measure="m", better="lower", title="t")
    assert "1.00" in _texts(_draw(flat)) and _diamonds(_draw(flat)) == []


def test_parameters_and_tensors_on_the_axes_are_taken():
    scores = {"a": torch.nn.Parameter(torch.rand(2, 3)), "b": torch.tensor([1, 2])}
    axes = {"n": torch.tensor([2, 3]), "x": torch.linspace(0, 1, 3)}
    chart = explore.grid_explorer(scores, axes=axes, measure="m", better="lower", title="t")
    assert _size(chart)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"better": "less"}, "'lower' or 'higher', got 'less'"),
        ({"axes": {}}, "one or two names with their stops, got 0"),
        ({"axes": {**AXES, "p": [0, 1]}}, "got 3"),
        ({"axes": {"n": [2], "λ": LAMBDAS}}, "axis 'n' needs at least two stops"),
        ({"axes": {"n": [4, 2, 6], "λ": LAMBDAS}}, "in rising order"),
        ({"axes": {"n": TASKS, "λ": [0, float("inf")]}}, "axis 'λ'"),
        ({"scores": {}}, "1 to 6 methods and at most 3 references, got 0 and 2"),
        ({"scores": {str(i): [1, 1, 1] for i in range(7)}}, "got 7 and 2"),
        ({"reference": dict.fromkeys("abcd", 1)}, "got 4 and 4"),
        ({"scores": {"a": torch.zeros(3, 15)}}, r"scores of 'a' must be \(3, 16\), or \(3,\) without λ, got \(3, 15\)"),
        ({"scores": {"a": torch.zeros(16)}}, r"got \(16,\)"),
        ({"scores": {"a": 1.0}}, r"got \(\)"),
        ({"scores": {"good": [1, 1, 1], "bad": [1, 1, float("nan")]}}, "'bad' holds scores that are not finite"),
        ({"reference": {"base": [1, 2]}}, r"reference 'base' must be one number or \(3,\), got \(2,\)"),
        ({"reference": {"base": float("inf")}}, "'base' holds scores that are not finite"),
    ],
)
def test_bad_input_is_refused_in_one_line(changes, message):
    good = {"scores": _scores(), "axes": AXES, "measure": "m", "better": "lower", "reference": REFERENCE, "title": "t"}
    _refuses(message, explore.grid_explorer, **{**good, **changes})
