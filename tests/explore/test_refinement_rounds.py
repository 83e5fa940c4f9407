"""The chart of refinement: Vega evaluates it (vl-convert), held against the library's two-rate model."""

import json
import math
import re

import pytest
from drawing import _draw, _refuses, _sliders, _stays, _texts, _words

from course_utils.explore.refinement_rounds import refinement_explorer
from course_utils.refinement import fixed_point, two_rate

# Huang et al. (2024), table 3: accuracy before, after one and after two rounds of self-correction.
TABLES = {
    "GPT-4, GSM8K": [0.955, 0.915, 0.890],
    "GPT-3.5, GSM8K": [0.759, 0.751, 0.747],
    "GPT-3.5, CSQA": [0.758, 0.381, 0.418],
}
VERIFIER = 0.45
GRID = [  # f, c, a0, q, oracle
    *[(0.2, 0.1, 0.5, 0, 0), (0.3, 0.05, 0.955, 0, 0), (0.1, 0.3, 0.9, 0.5, 0), (0.1, 0.3, 0.2, 1, 0)],
    *[(0.1, 0.3, 0.6, 0.25, 1), (0.7, 0.9, 0.3, 0, 0), (1, 1, 0.3, 0, 0), (1, 0.9, 0.5, 0, 0), (0, 0, 0.4, 0, 0)],
    *[(0, 0.2, 0.4, 0, 1), (0, 0.3, 0, 0, 0), (0.5, 0, 1, 0, 0), (0.2, 0.2, 0.5, 0, 0), (1, 0, 0, 0, 0)],
    (0.135, 0.205, 0.395, 0.85, 0),
]


@pytest.fixture(scope="module")
def chart():
    return refinement_explorer(TABLES, f=0.2, c=0.1, a0=0.5, verifier_f=VERIFIER, context="a b c")


def _curve(svg: str) -> list[float]:
    found = re.findall(r'aria-label="round (\d+): accuracy ([\d.]+)"', svg)
    assert [int(t) for t, _ in found] == list(range(len(found)))
    return [float(a) for _, a in found]


def _rates(f, c, q, oracle):
    return f + q * (VERIFIER - f), 0 if oracle else c * (1 - q)


@pytest.mark.parametrize(("f", "c", "a0", "q", "oracle"), GRID)
def test_the_curve_is_the_librarys_two_rate_model(chart, f, c, a0, q, oracle):
    svg = _draw(chart, f=f, c=c, a0=a0, q=q, oracle=oracle)
    fix, breaks = _rates(f, c, q, oracle)
    expected = two_rate(a0, fix, breaks, 8)
    curve = _curve(svg)
    assert curve == pytest.approx(expected.tolist(), abs=2e-6) and len(curve) == 9
    texts = _texts(svg)
    numbers = [t for t in texts if re.fullmatch(r"[01]\.\d{3}", t)]
    assert numbers == [f"{a:.3f}" for a in expected.round(9)] * 2  # with their halos
    verdict = texts[0]
    if fix + breaks == 0:
        assert verdict == "neither helps nor hurts: f = c = 0, every accuracy stays where it is"
        assert not any(t.startswith("f / (f + c)") for t in texts)
        return
    star = float(fixed_point(fix, breaks))
    assert f"f / (f + c) = {star:.3f}" in texts
    first = expected[1] - expected[0]
    side = "helps" if first > 1e-9 else "hurts" if first < -1e-9 else "neither helps nor hurts"
    where = {"helps": f"a0 = {a0:.3f} is below ", "hurts": f"a0 = {a0:.3f} is above "}.get(side, "a0 is ")
    assert verdict == f"{side}: {where}f / (f + c) = {star:.3f}"
    rates = f"f = {round(fix, 3):g}, c = {round(breaks, 3):g}" + (" (oracle)" if oracle else "")
    assert texts[1] == rates + (f"; the model's own: f = {f:g}, c = {c:g}" if q else "")


@pytest.mark.parametrize("wrong", ["q", "oracle", "power", "verifier"])
def test_a_page_that_left_one_of_them_out_would_be_noticed(wrong):
    differences = []
    for f, c, a0, q, oracle in GRID:
        right = two_rate(a0, *_rates(f, c, q, oracle), 8)
        fix, breaks = _rates(f, c, 0 if wrong == "q" else q, 0 if wrong == "oracle" else oracle)
        fix = f if wrong == "verifier" else fix
        other = two_rate(a0, fix, breaks, 9)[..., 1:] if wrong == "power" else two_rate(a0, fix, breaks, 8)
        differences.append(abs(right - other).max())
    assert sum(d > 0.02 for d in differences) >= 2


def test_the_dashed_line_stands_at_the_fixed_point(chart):
    def heights(f, c):
        svg = _draw(chart, f=f, c=c)
        (y,) = re.findall(r'<line transform="translate\(0,([\d.]+)\)" x2="500"[^>]*stroke-dasharray="6,4"', svg)
        return float(y)

    assert heights(0, 0.5) == pytest.approx(252) and heights(0.5, 0) == pytest.approx(20)
    assert heights(0.3, 0.1) == pytest.approx(252 - 0.75 * 232)


@pytest.mark.parametrize("chosen", [1, 2, 3])
def test_published_results_are_drawn_where_they_are_and_their_distance_is_said(chart, chosen):
    name, line = list(TABLES.items())[chosen - 1]
    svg = _draw(chart, chosen=chosen, a0=0.76, f=0.35, c=0.6)
    found = re.findall(r'aria-label="([^"]+), round (\d): ([\d.]+)"', svg)
    assert found == [(name, str(t), f"{a:.4f}") for t, a in enumerate(line)]
    off = max(abs(a - b) for a, b in zip(line, two_rate(0.76, 0.35, 0.6, 2)))
    said = f"{name}: {', '.join(f'{a:.3f}' for a in line)}; largest distance from the curve {off:.3f}"
    assert said in _texts(svg)
    assert [t for t in _texts(svg) if t in {f"{a:.3f}" for a in line}].count(f"{line[1]:.3f}") == 2


def test_numbers_of_dots_stand_away_from_the_curve_and_from_the_axis(chart):
    def places(svg, number):
        found = [float(y) for y in re.findall(rf'transform="translate\([\d.]+,([\d.]+)\)"[^>]*>{number}</text>', svg)]
        assert found and len(set(found)) == 1  # a number and its halo
        return found[0]

    svg = _draw(chart, chosen=3, a0=0.76, f=0.35, c=0.6)
    assert places(svg, "0.418") < places(svg, "0.369") and places(svg, "0.388") < places(svg, "0.381")
    assert places(_draw(chart, a0=0.02), "0.020") < 252  # above the axis


def test_without_published_results_there_is_no_choice():
    alone = refinement_explorer(a0=0.9)
    svg = _draw(alone, c=0.4)
    assert _curve(svg) == pytest.approx(two_rate(0.9, 0.2, 0.4, 8).tolist(), abs=2e-6)
    assert not any("published" in t for t in _texts(svg)) and "published" not in _words(alone).lower()
    assert "published results: none chosen of 3" in _texts(_draw(refinement_explorer(TABLES)))


def test_nothing_is_laid_out_again_and_expressions_hold_no_long_numbers(chart):
    settings = [{"f": 0, "c": 0}, {"a0": 1, "f": 1, "chosen": 1}, {"a0": 0, "oracle": 1, "q": 0.5, "chosen": 3}]
    _stays(chart, [{}, *settings], 700)
    spec = json.dumps(refinement_explorer(TABLES, f=1 / 3, c=1 / 7, a0=2 / 3, verifier_f=5 / 7).spec, allow_nan=False)
    assert not re.search(r"\d\.\d{6}", spec) and len(spec) < 30_000


def test_sliders(chart):
    assert _sliders(chart) == [
        ("f, chance that a round fixes a wrong answer", 0, 1, 0.2),
        ("c, chance that a round breaks a right answer", 0, 1, 0.1),
        ("a0, accuracy before the first round", 0, 1, 0.5),
        ("feedback quality q, from the model's own (0) to a verifier's (1)", 0, 1, 0),
        ("oracle feedback, c = 0: off (left) or on (right)", 0, 1, 0),
        ("published results: none (0), or 1 to 3", 0, 3, 0),
    ]


@pytest.mark.parametrize(
    ("f", "c", "a0", "said"),
    [
        (0.2, 0.1, 0.5, "helps: a0 is below f / (f + c) = 0.667"),
        (0.2, 0.1, 0.9, "hurts: a0 is above f / (f + c) = 0.667"),
        (0.25, 0.25, 0.5, "neither helps nor hurts: a0 is f / (f + c) = 0.500"),
        (0, 0, 0.5, "nothing moves"),
    ],
)
def test_text_form_says_what_the_chart_shows(f, c, a0, said):
    chart = refinement_explorer(TABLES, f=f, c=c, a0=a0, verifier_f=VERIFIER, context="a b c")
    curve = ", ".join([t for t in _texts(_draw(chart)) if re.fullmatch(r"[01]\.\d{3}", t)][:9])
    published = "; ".join(f"{name} {', '.join(f'{a:.3f}' for a in line)}" for name, line in TABLES.items())
    assert _words(chart) == (
        f"When another round helps: a b c. f = {f:g}, c = {c:g}, a0 = {a0:g}: accuracy in rounds 0 to 8 {curve}; "
        f"{said}. A verifier's f is 0.45, its c 0. Published results: {published}. "
        "Sliders: f, c, a0, feedback quality q, oracle, published results."
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"f": 20}, r"f must be a number from 0 to 1 \(percent: divide by 100\), got 20"),
        ({"c": -0.1}, "c must be"),
        ({"a0": math.nan}, "a0 must be .* got nan"),
        ({"verifier_f": "1"}, "verifier_f must be .* got '1'"),
        ({"tables": [[0.5]]}, "tables must be a dict of at most 12 names .* got list"),
        ({"tables": {str(i): [0.5] for i in range(13)}}, "got 13"),
        ({"tables": {"x": []}}, "'x' must be a list of 1 to 9 accuracies"),
        ({"tables": {"x": [0.5] * 10}}, "1 to 9 accuracies, rounds 0 to 8, got 10"),
        ({"tables": {"x": 0.5}}, "'x' must be a list"),
        ({"tables": {"x": [95.5, 91.5]}}, r"'x' must hold numbers from 0 to 1 \(percent: divide by 100\)"),
        ({"tables": {"x": [0.5, math.nan]}}, "'x' must hold numbers"),
    ],
)
def test_bad_input_is_refused_in_one_line(changes, message):
    _refuses(message, refinement_explorer, **changes)
