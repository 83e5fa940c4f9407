"""The chart of the cascade: Vega evaluates it (vl-convert), held against `selection.cascade` item by item."""

import itertools
import math
import re

import numpy as np
import pytest
from drawing import _draw, _refuses, _said, _size, _sliders, _stays, _texts, _words

from course_utils import explore
from course_utils.explore import cascade as tiers
from course_utils.selection import cascade, pareto

COST = [0.2, 0.7, 120]
NAMES = ["VADER", "TF-IDF", 'the "last"']


def _outcomes(M, N=157, lowest=0.5, seed=0):
    """scores (M-1, N), many of them exactly on a stop and some at either end, and correct (M, N), each tier better than
    the last."""
    rng = np.random.default_rng(seed)
    scores = lowest + (1 - lowest) * rng.beta(2, 1, size=(M - 1, N))
    scores[:, ::4] = rng.integers(20 if lowest else 0, 41, size=scores[:, ::4].shape) / 40
    scores[:, :3] = [lowest, 1, 0.9]
    right = rng.random((M, N)) < np.vstack([0.3 + 0.6 * scores, np.full((1, N), 0.88)])
    return scores, right


@pytest.fixture(scope="module")
def outcomes():
    return _outcomes(3)


@pytest.fixture(scope="module")
def chart(outcomes):
    return explore.cascade_explorer(*outcomes, COST, names=NAMES, taus=[0.8, 0.9], title="Cascade", context="a b c")


def _shown(svg):
    """Accuracy and cost of the cascade; (M, 5): accuracy and price of a tier alone, asked, answers, right."""
    *alone, together = _said(svg, "point")
    pattern = r".* alone: accuracy {0}, price {0}; in the cascade asked {0}, answers {0}, of these right {0}"
    rows = [[float(x) for x in re.fullmatch(pattern.format(r"([\d.]+)"), one).groups()] for one in alone]
    found = re.fullmatch(r"cascade: accuracy ([\d.]+), cost ([\d.]+)", together)
    return [float(x) for x in found.groups()], np.array(rows)


def _bars(svg):
    """For each histogram from top to bottom {end of the bar: (right, wrong)}; a bar that begins before the last one's
    end is the next's."""
    panels, last = [{}], -1.0
    for said in _said(svg, "rect mark"):
        to, good, bad = re.fullmatch(r"score up to ([\d.]+): (\d+) right, (\d+) wrong", said).groups()
        if float(to) <= last:
            panels.append({})
        panels[-1][float(to)], last = (int(good), int(bad)), float(to)
    return panels


def _at(taus, price):
    return {f"tau{m}_at": tau for m, tau in enumerate(taus, 1)} | {"setting": price}


def _relative(M, price, cost):
    """Prices as shares of the dearest: the stop of the slider with this index, of which the first is `cost`, if there
    is one."""
    listed = ([cost] if cost else []) + [[r**m for m in range(M)] for r in tiers.RATIOS]
    return np.array(listed[price]) / max(listed[price])


def _compare(chart, scores, correct, taus, price, cost=None):
    svg = _draw(chart, **_at(taus, price))
    found, each = _shown(svg)
    prices = _relative(len(correct), price, cost)
    expected = cascade(scores, correct, prices, taus)
    assert found == pytest.approx([expected.accuracy, expected.cost], abs=1e-9)
    by = [expected.answered_by == m for m in range(len(correct))]
    asked = [(expected.answered_by >= m).sum() for m in range(len(correct))]
    wanted = [[asked[m], by[m].sum(), correct[m][by[m]].sum()] for m in range(len(correct))]
    assert each[:, 2:].tolist() == wanted
    assert each[:, 0] == pytest.approx(correct.mean(axis=1), abs=1e-5) and each[:, 1] == pytest.approx(prices, abs=1e-5)
    return svg, expected


GRID = [((0.8, 0.9), 6), ((0.5, 0.5), 0), ((1, 1), 1), ((0.9, 0.5), 3), ((0.55, 1), 9), ((0.73, 0.61), 0)]
GRID += [((0.98, 0.94), 2)]
STEPS = [round(0.5 + 0.01 * i, 2) for i in range(51)]  # the stops of three tiers


@pytest.mark.parametrize(("taus", "price"), GRID)
def test_what_the_page_computes_is_the_librarys_cascade(chart, outcomes, taus, price):
    svg, expected = _compare(chart, *outcomes, taus, price, COST)
    shares = [f"{name} {100 * (expected.answered_by == m).mean():.0f}%" for m, name in enumerate(NAMES)]
    assert f"answered by {', '.join(shares)}" in _texts(svg)
    (line,) = (t for t in _texts(svg) if t.startswith("accuracy 0."))
    best = int(outcomes[1].mean(axis=1).argmax())
    start = f"accuracy {expected.accuracy:.3f} (best single: {NAMES[best]} {outcomes[1].mean(axis=1)[best]:.3f}) at "
    assert line.startswith(start) and line.endswith(f" times the price of {NAMES[2]}")
    assert float(line.removeprefix(start).split()[0]) == pytest.approx(expected.cost, rel=0.006)


def test_a_page_that_computed_something_else_would_be_noticed(outcomes):
    """Costs that do not accumulate, >= for >, and the thresholds in another order give other numbers at most
    settings."""
    scores, correct = outcomes
    differ = {"paid": 0, "equal": 0, "order": 0}
    for taus, price in GRID:
        prices = _relative(3, price, COST)
        right = cascade(scores, correct, prices, taus)
        differ["paid"] += abs(prices[right.answered_by].mean() - right.cost) > 1e-6
        differ["equal"] += abs(cascade(scores, correct, prices, np.nextafter(taus, 0)).cost - right.cost) > 1e-6
        differ["order"] += abs(cascade(scores, correct, prices, taus[::-1]).cost - right.cost) > 1e-6
    assert min(differ.values()) >= 4


@pytest.mark.parametrize("taus", [(0.8, 0.9), (0.5, 0.5), (1, 0.7)])
def test_histograms_count_who_is_asked_and_the_cut_divides_them(chart, outcomes, taus):
    scores, correct = outcomes
    svg = _draw(chart, **_at(taus, 4))
    answered = cascade(scores, correct, COST, taus).answered_by
    wanted = [{}, {}]
    for m, panel in enumerate(wanted):
        for s, ok in zip(scores[m][answered >= m], correct[m][answered >= m]):
            to = next(stop for stop in STEPS if s <= stop)
            good, bad = panel.get(to, (0, 0))
            panel[to] = (good + ok, bad + (not ok))
    assert _bars(svg) == [panel for panel in wanted if panel]
    for m, tau in enumerate(taus):
        accepted = sum(sum(counts) for to, counts in wanted[m].items() if to > tau)
        assert accepted == (answered == m).sum()
        assert f"{NAMES[m]}: answers {accepted} of {(answered >= m).sum()}" in _texts(svg)
        assert f"τ{m + 1} = {tau:.2f}" in _texts(svg)


@pytest.mark.parametrize("taus", [(0.8, 0.9), (0.57, 0.61), (1, 0.5)])
def test_bars_are_as_high_as_their_counts_and_pale_where_items_are_passed_on(chart, taus):
    svg = _draw(chart, **_at(taus, 4))
    number = r"([\d.]+)"
    pattern = f'd="M{number},{number}h[\\d.]+v{number}h[^>]*fill="{{}}" opacity="{number}"'
    found = (re.findall(pattern.format(colour), svg) for colour in (tiers.WRONG, tiers.RIGHT))
    lower, upper = ([[float(x) for x in one] for one in bars] for bars in found)
    panels = _bars(svg)
    counted = [(m, to, counts) for m, panel in enumerate(panels) for to, counts in panel.items()]
    assert len(lower) == len(upper) == len(counted) and len(panels) == 2
    height = (300 - tiers.BELOW) // 2
    scales = [set(), set()]
    for (x, top, h, opacity), (x2, top2, h2, opacity2), (m, to, (good, bad)) in zip(lower, upper, counted):
        assert x == x2 and (top + h, top2 + h2) == pytest.approx((height, top)) and top2 >= tiers.ABOVE - 1e-6
        assert opacity == opacity2 == (1 if to > taus[m] else 0.35)
        assert h * good == pytest.approx(h2 * bad)
        scales[m].add(round((h + h2) / (good + bad), 6))
    assert [len(scale) for scale in scales] == [1, 1]


@pytest.mark.parametrize(
    ("M", "lowest", "taus"),
    [(2, 0.5, (0.77,)), (2, 0.0, (0.3,)), (3, 0.0, (0.9, 0.42))]
    + [(4, 0.5, (0.8, 0.775, 0.9)), (4, 0.0, (0.95, 0.6, 0.05)), (4, 0.5, (1, 1, 0.5))],
)
def test_two_and_four_tiers_and_scores_from_0(M, lowest, taus):
    scores, correct = _outcomes(M, lowest=lowest, seed=M)
    drawn = explore.cascade_explorer(scores, correct, names=list("abcd")[:M], taus=taus)
    for price in (2, 8):
        _compare(drawn, scores, correct, taus, price)
    assert [value for *_, value in _sliders(drawn)] == pytest.approx([*taus, 5])


def test_the_line_is_the_best_of_all_stops(chart, outcomes):
    scores, correct = outcomes
    layers = chart.spec["vconcat"][1]["hconcat"][0]["layer"]
    (curves,) = (layer["data"]["values"] for layer in layers if "flatten" in str(layer))
    for price in (0, 3):
        prices = _relative(3, price, COST)
        every = [cascade(scores, correct, prices, taus)[:2] for taus in itertools.product(STEPS, STEPS)]
        accuracy, cost = np.array(every).T
        best = pareto(cost.round(9), accuracy.round(9))
        assert curves[price]["s"] == price
        assert curves[price]["y"] == pytest.approx(accuracy[best], abs=1e-5)
        assert curves[price]["x"] == pytest.approx(cost[best], rel=1e-4)


@pytest.mark.parametrize(
    ("taus", "shown"), [([0.804, 0.896], [0.8, 0.9]), ([-math.inf, math.inf], [0.5, 1]), ([0.1, 0.999], [0.5, 1])]
)
def test_sliders_start_at_the_nearest_stop(outcomes, taus, shown):
    drawn = explore.cascade_explorer(*outcomes, names=NAMES, taus=taus)
    assert [value for *_, value in _sliders(drawn)] == [*shown, 5]
    expected = cascade(*outcomes, _relative(3, 5, None), shown)
    assert _shown(_draw(drawn))[0] == pytest.approx([expected.accuracy, expected.cost], abs=1e-9)


def test_sliders_are_named_and_nothing_is_laid_out_again(chart):
    price = ("price ratio r, as measured (left), then from 1 to 100 (right)", 0, 9, 6)
    cuts = [("τ1, threshold of VADER", 0.5, 1, 0.8), ("τ2, threshold of TF-IDF", 0.5, 1, 0.9)]
    assert _sliders(chart) == [*cuts, price]
    edges = GRID[0], GRID[1], ((1, 0.5), 1), ((0.5, 1), 9), ((1, 1), 1)  # dots and cuts at the edges
    _stays(chart, [_at(*where) for where in edges], 712)
    groups = {tuple(re.findall(r'_group"[^>]*><g transform="(.*?)"', _draw(chart, **_at(*where)))) for where in edges}
    assert len(groups) == 1


@pytest.mark.parametrize(("M", "most"), [(3, 120_000), (4, 250_000)])
def test_page_size_does_not_grow_with_the_items(M, most):
    assert _size(explore.cascade_explorer(*_outcomes(M, N=5000), names=list("abcd")[:M], taus=[0.7] * (M - 1))) < most


def test_a_cascade_beyond_the_axis_says_so(chart):
    texts = _texts(_draw(chart, tau1_at=1, tau2_at=1, setting=1))  # r = 1: three calls of one price
    assert [t for t in texts if t.endswith("→")][-1].startswith("cascade 0.")
    assert any("at 3.00 times the price" in t for t in texts)
    assert not any(t.endswith("→") for t in _texts(_draw(chart)))


@pytest.mark.parametrize(
    ("cost", "price", "prices"),
    [(None, 5, "1 : 10 : 100 (r = 10)"), (COST, 6, "1 : 10 : 100 (r = 10)"), (COST, 0, "0.2 : 0.7 : 120 (as measured)")]
    + [(None, 1, "1 : 1.5 : 2.25 (r = 1.5)"), (None, 8, "1 : 100 : 10,000 (r = 100)")],
)
def test_text_says_what_the_chart_shows(outcomes, cost, price, prices):
    scores, correct = outcomes
    drawn = explore.cascade_explorer(*outcomes, cost, names=NAMES, taus=[0.8, 0.9], title="Cascade", context="a b c")
    text, texts = _words(drawn), _texts(_draw(drawn, setting=price))
    assert f"τ1 = 0.80, τ2 = 0.90; prices {prices}" in texts
    (answered,) = (t for t in texts if t.startswith("answered by"))
    (result,) = (t for t in texts if t.startswith("accuracy 0."))
    expected = cascade(*outcomes, _relative(3, price, cost), [0.8, 0.9])
    shown = result.split(" at ")[1]
    assert float(shown.split()[0]) == pytest.approx(expected.cost, rel=0.006)
    alone = ", ".join(f"{name} {x:.3f}" for name, x in zip(NAMES, correct.mean(axis=1)))
    assert text.startswith(f"Cascade: a b c. Accuracy of single tiers on 157 items: {alone}. Cascade at τ1 = 0.80, τ2")
    assert text.endswith(". Sliders: τ1, τ2, price ratio r.")
    if "r = 10)" in prices:  # where the slider starts
        said = f"τ2 = 0.90, prices {prices}: {answered}; accuracy {expected.accuracy:.3f} at {shown}. Sliders"
        assert said in text


def test_the_dearest_tier_need_not_be_the_last(outcomes):
    drawn = explore.cascade_explorer(*outcomes, [1, 5, 2], names=NAMES, taus=[0.8, 0.9])
    _compare(drawn, *outcomes, (0.8, 0.9), 0, [1, 5, 2])
    assert any(t.endswith("times the price of TF-IDF") for t in _texts(_draw(drawn, setting=0)))
    assert any(t.endswith(f"times the price of {NAMES[2]}") for t in _texts(_draw(drawn, setting=1)))


def test_tiers_that_are_always_right_lists_and_long_names_are_drawn():
    drawn = explore.cascade_explorer(
        [[0.9, 0.5]], [[1, 1], [True, True]], names=["an extraordinary name", "b"], taus=[0.6]
    )
    assert _shown(_draw(drawn))[0] == pytest.approx([1, 0.5 * (0.1 + 1.1)])
    assert "an extraord…: answers 1 of 2" in _texts(_draw(drawn))


WANTED, SHAPES = (
    r"correct must be \(M, N\), M = 2 to 4 tiers and at least one item, got ",
    [(5,), (1, 5), (5, 5), (3, 0)],
)
SCORES, CORRECT = np.full((2, 5), 0.7), np.ones((3, 5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(
            ({"correct": np.ones(shape), "scores": np.ones((2, shape[-1]))}, WANTED + re.escape(f"{shape}"))
            for shape in SHAPES
        ),
        ({"scores": np.ones((3, 5))}, r"scores must be \(2, 5\), a row for each tier but the last, got \(3, 5\)"),
        ({"scores": SCORES + 0.5}, "scores must be numbers from 0 to 1, without NaN: got 1.2 to 1.2"),
        ({"scores": SCORES * np.nan}, "scores must be numbers from 0 to 1, without NaN"),
        ({"correct": CORRECT / 2}, "correct must hold 0 and 1 only"),
        ({"correct": CORRECT * np.nan}, "correct must hold 0 and 1 only"),
        ({"names": ["a", "b"]}, "3 tiers need a list of 3 names, got 2"),
        ({"names": "abc"}, "3 names, got one string"),
        ({"taus": [0.5]}, r"taus must be 2 numbers, .*, got \[0.5\]"),
        ({"taus": [0.5, np.nan]}, "taus must be 2 numbers"),
        ({"cost": [1, 2]}, r"cost must be 3 finite prices .*, got \[1.0, 2.0\]"),
        ({"cost": [1, -2, 3]}, "finite prices of at least 0"),
        ({"cost": [1, np.inf, 3]}, "finite prices"),
        ({"cost": [0, 0, 0]}, "not all 0"),
    ],
)
def test_bad_input_is_refused_in_one_line(changes, message):
    good = {"scores": SCORES, "correct": CORRECT, "names": list("abc"), "taus": [0.6, 0.8]}
    explore.cascade_explorer(**good)
    _refuses(message, explore.cascade_explorer, **{**good, **changes})
