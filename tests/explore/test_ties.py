"""The chart of TIES-Merging: Vega evaluates it (vl-convert), held against the library over the whole task vectors."""

import re

import pytest
import torch
from drawing import _draw, _number, _refuses, _said, _size, _sliders, _stays, _texts, _words

from course_utils import explore
from course_utils.explore import ties as voting
from course_utils.merging.task_vectors import disjoint_mean, elect_sign, trim

NAMES = ["web", "kjv", "Noah's", 'b "q"', "amazon", "tweets"]
STOPS = voting.DENSITIES
D, PICKED = 2000, 24
STATES = {"contributes", "outvoted", "trimmed", "unchanged"}


def _vectors(n, seed=0):
    """(n, D) task vectors that agree in part, and some of whose totals are exactly 0: a row has no two equal
    magnitudes."""
    generator = torch.Generator().manual_seed(seed)
    tau = 0.02 * (torch.randn(1, D, generator=generator) + torch.randn(n, D, generator=generator)).double()
    if n == 2:
        tau[1, : D // 2] = -tau[0, : D // 2]
    tau[:, 3] = 0
    return tau


@pytest.fixture(scope="module", params=[6, 2], ids="{} models".format)
def case(request):
    """The whole task vectors, the chosen coordinates and the chart of these."""
    tau = _vectors(request.param)
    pick = torch.cat([torch.arange(4), tau.abs().sum(0).argsort()[100 :: D // 24][: PICKED - 4]])
    names = NAMES[: len(tau)]
    said = {"names": names, "title": "Vote", "context": "a b"}
    return tau, pick, explore.ties_explorer(tau[:, pick], magnitudes=explore.thresholds(tau), **said)


def _expected(tau, density):
    """By the library, over the whole vectors: kept, sign, who agrees, merged."""
    kept = trim(tau, density)
    sign = elect_sign(kept)
    return kept, sign, (kept != 0) & (kept.sign() == sign), disjoint_mean(kept, sign)


GRID = [(1, 1, 1), (0.9, 2, 0.5), (0.5, 3, 2), (0.2, 4, 0), (0.2, 12, 1.35), (0.1, 9, 0.3), (0.02, 20, 1)]
GRID += [(0.01, 24, 2)]


@pytest.mark.parametrize(("density", "coordinate", "lam"), GRID)
def test_what_the_page_computes_is_the_library_over_the_whole_vectors(case, density, coordinate, lam):
    tau, pick, chart = case
    n = len(tau)
    svg = _draw(chart, density_i=STOPS.index(density), coord=coordinate, lam=lam)
    kept, sign, agrees, merged = (part[..., pick] for part in _expected(tau, density))
    c, column = coordinate - 1, tau[:, pick[coordinate - 1]]

    *models, vote = _said(svg, "bar")[: n + 1]
    for m, (said, name) in enumerate(zip(models, NAMES)):
        state = "contributes" if agrees[m, c] else "outvoted" if kept[m, c] else "trimmed" if column[m] else "unchanged"
        assert said.startswith(f"{name} ") and said.endswith(f" {state}") and state in STATES
        assert _number(said.split()[-2]) == pytest.approx(column[m].item(), abs=1e-6)
    mass = kept[:, c].sum().item()
    assert vote.startswith("sum of kept ") and _number(vote.split()[3]) == pytest.approx(mass, abs=1e-6)
    words = f"{'a tie, majority' if mass == 0 else 'elected'} {'+' if sign[c] > 0 else '−'}"
    assert vote.endswith(f" {words if kept[:, c].any() else 'nothing kept'}")

    results = [said for said in _said(svg, "point") if said.startswith("λ × ")]
    wanted = {"λ × mean": column.mean(), "λ × sum": column.sum(), "λ × TIES": merged[c]}
    assert [said.rsplit(" ", 1)[0] for said in results] == list(wanted)
    for said, value in zip(results, wanted.values()):
        assert _number(said.rsplit(" ", 1)[1]) == pytest.approx(lam * value.item(), abs=1e-6)

    everywhere = [said for said in _said(svg, "bar") if said.startswith("TIES at ")]
    assert [int(said.split()[2][:-1]) for said in everywhere] == list(range(1, PICKED + 1))
    assert [_number(said.split()[3]) for said in everywhere] == pytest.approx((lam * merged).tolist(), abs=1e-6)


@pytest.mark.parametrize("density", [1, 0.5, 0.2, 0.05])
def test_the_grid_has_the_signs_that_stay_and_the_elected_ones(case, density):
    tau, pick, chart = case
    svg = _draw(chart, density_i=STOPS.index(density))
    kept, sign, agrees, _ = (part[..., pick] for part in _expected(tau, density))
    said = _said(svg, "point")
    for m, name in enumerate(NAMES[: len(tau)]):
        cells = [one for one in said if one.startswith(f"{name}, coordinate ")]
        assert len(cells) == PICKED
        for c, cell in enumerate(cells):
            v = tau[m, pick[c]]
            shown = "+−"[int(v < 0)] if agrees[m, c] else "outvoted" if kept[m, c] else "trimmed" if v else "unchanged"
            assert cell == f"{name}, coordinate {c + 1}: {shown}"
    votes = [one.split(": ")[1] for one in said if one.startswith("elected at coordinate")]
    assert votes == ["+" if s > 0 else "−" if k.any() else "·" for s, k in zip(sign * kept.any(0), kept.T)]
    # Without colour too: a sign for each entry that is kept, and for each vote.
    assert len(re.findall(">[+−]</text>", svg)) == int((kept != 0).sum()) + int(kept.any(dim=0).sum())


def test_the_tests_have_ties_trims_and_minorities(case):
    tau, pick, _ = case
    kept, _, agrees, _ = _expected(tau, 0.5)
    assert ((kept != 0) & ~agrees)[:, pick].any() and (kept == 0)[:, pick].any() and agrees[:, pick].any()
    if len(tau) == 2:
        assert ((kept.sum(0) == 0) & kept.any(0))[pick].any()


@pytest.mark.parametrize(("others", "majority", "ties"), [(1.0, "+", 2.0), (-1.0, "−", -2.0), (0.0, "0", 0.0)])
def test_an_exact_tie_gets_the_sign_of_the_majority_of_the_whole_vectors(others, majority, ties):
    """The coordinates of the chart alone would not know it."""
    whole = torch.zeros(2, 50, dtype=torch.float64)
    whole[:, :4] = torch.tensor([[2.0, 2, 0, 0], [-2, -2, 0, 0]])
    whole[:, 4:] = others * torch.arange(3, 49)
    chart = explore.ties_explorer(whole[:, :4], magnitudes=explore.thresholds(whole), names=["a", "b"])
    svg = _draw(chart, density_i=0, coord=2, lam=1)
    assert f"a tie, majority {majority}" in _texts(svg)
    assert _number(_said(svg, "point")[-1].rsplit(" ", 1)[1]) == ties == _expected(whole, 1)[3][1].item()
    expected = {"+": ["contributes", "outvoted"], "−": ["outvoted", "contributes"], "0": ["outvoted"] * 2}[majority]
    assert [said.split()[-1] for said in _said(svg, "bar")[:2]] == expected


def test_thresholds_are_those_of_trim():
    tau = _vectors(6)[:, 4:].float()
    found = explore.thresholds(tau)
    for i, density in enumerate(STOPS):
        kept = trim(tau, density)
        assert torch.equal(tau.abs() >= found.sizes[:, i, None], kept != 0)
        assert found.majority[i] == int(elect_sign(kept).sign().sum().sign())
    assert found.sizes.shape == (6, len(STOPS))


def test_equal_entries_at_the_threshold_all_stay():
    found = explore.thresholds(torch.tensor([[1.0, -1, 1, 0.5], [4, 3, 2, 1]]))
    assert found.sizes[:, [STOPS.index(0.5), STOPS.index(0.2)]].tolist() == [[1, 1], [3, 4]]
    assert (trim(torch.tensor([1.0, -1, 1, 0.5]), 0.5) != 0).sum() == 2


def test_a_sum_beyond_the_axis_is_cut_and_says_so():
    tau = torch.full((6, 4), -0.01).double() * torch.tensor([1.0, 1, 1, 2])
    chart = explore.ties_explorer(tau, magnitudes=explore.thresholds(tau), names=NAMES)
    texts = _texts(_draw(chart, density_i=0, coord=1, lam=1))
    assert texts.count("−0.0600 «") == 2 and "−0.0100" in texts
    assert "−0.0300" in _texts(_draw(chart, density_i=0, coord=1, lam=0.5))
    assert "TIES: the winners add up to −0.0600, there are 6: −0.0600 / 6 = −0.0100;  times λ: −0.0100" in texts


def test_texts_name_the_coordinate_the_density_and_what_happens(case):
    _, _, chart = case
    texts = _texts(_draw(chart, density_i=STOPS.index(0.05), coord=7, lam=0.35))
    assert {"coordinate 7 of 24", "density 5 %, λ = 0.35", "all 24 coordinates", "trimmed", "▼"} <= set(texts)
    assert "TIES: nobody contributes, the base keeps its value" in _texts(_draw(chart, coord=4))


def test_sliders_and_nothing_is_laid_out_again(case):
    _, _, chart = case
    _stays(chart, [{"density_i": i, "coord": c, "lam": lam} for i, c, lam in [(0, 1, 1), (8, 24, 2), (12, 10, 0)]], 755)
    density = ("density, the share that each model keeps, from 1 (left) to 0.01 (right)", 0, 12, STOPS.index(0.2))
    first = int(_words(chart).split("coordinate ")[1].split()[0])
    assert _sliders(chart) == [density, ("coordinate, 1 to 24", 1, 24, first), ("λ, scale of what is added", 0, 2, 1)]
    assert _size(chart) < 50_000


def test_text_says_what_the_chart_shows(case):
    tau, pick, chart = case
    text = _words(chart)
    assert text.startswith("Vote: a b. At density 20 % and λ = 1, coordinate ")
    assert text.endswith("Sliders: density, coordinate, λ.")
    first = int(text.split("coordinate ")[1].split()[0]) - 1
    kept, sign, agrees, merged = (part[..., pick] for part in _expected(tau, 0.2))
    assert (kept[:, first] != 0).any() and f"elected sign {'+' if sign[first] > 0 else '−'}; " in text
    values = {"mean": tau[:, pick[first]].mean(), "sum": tau[:, pick[first]].sum(), "TIES": merged[first]}
    for name, value in values.items():
        assert f"{name} {value:+.{voting._digits(tau[:, pick])}f}".replace("-", "−") in text
    for m, name in enumerate(NAMES[: len(tau)]):
        numbers = agrees[m].sum(), ((kept[m] != 0) & ~agrees[m]).sum(), (kept[m] == 0).sum()
        assert "{} {} contribute, {} outvoted, {} trimmed".format(name, *(int(x) for x in numbers)) in text
    # The chart starts where there is something to see.
    states = {state for state in STATES if f" {state}, " in text or f" {state}; elected" in text}
    assert {"contributes", "outvoted", "trimmed"} <= states or len(tau) == 2


WANTED, SHAPES = "n = 2 to 6 models and d = 4 to 24 coordinates", [(24,), (1, 8), (7, 8), (6, 25), (6, 3)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(({"tau": torch.zeros(shape)}, WANTED + re.escape(f", got {shape}")) for shape in SHAPES),
        ({"tau": torch.full((6, 8), torch.nan)}, "not finite"),
        ({"names": NAMES[:5]}, "as many names and thresholds, got 5 and 6"),
        ({"magnitudes": voting.thresholds(torch.ones(2, 8))}, "got 6 and 2"),
    ],
)
def test_bad_input_is_refused_in_one_line(changes, message):
    good = {"tau": torch.ones(6, 8), "magnitudes": explore.thresholds(torch.ones(6, 8)), "names": NAMES}
    explore.ties_explorer(**good)
    _refuses(message, explore.ties_explorer, **{**good, **changes})


@pytest.mark.parametrize("tau", [torch.zeros(5), torch.zeros(2, 0), torch.full((2, 5), torch.inf)])
def test_bad_thresholds_are_refused(tau):
    _refuses(rf"must be \(n, D\) finite numbers, .*got {re.escape(str(tuple(tau.shape)))}", explore.thresholds, tau)


def test_parameters_half_precision_and_all_zeros_are_taken():
    tau = torch.nn.Parameter(torch.zeros(2, 4, dtype=torch.float16))
    chart = explore.ties_explorer(tau, magnitudes=explore.thresholds(tau), names=["a", "b"])
    assert "nothing kept" in _texts(_draw(chart))
