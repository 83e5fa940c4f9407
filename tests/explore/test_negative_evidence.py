"""The chart of negative evidence: Vega evaluates it (vl-convert), held against the library over the whole
vocabulary."""

import math
import re

import pytest
import torch
from drawing import _bars, _draw, _number, _refuses, _size, _sliders, _stays, _steps, _texts, _words

from course_utils import explore
from course_utils.ensembling import negative_evidence
from course_utils.explore import negative_evidence as contrast
from course_utils.explore.labels import label_side, name_spots, seen_points
from course_utils.explore.style import PALE

V, TOP, TOP_P = 49_152, 12, 0.9
LABELS = [f" w{i}" for i in range(V)]
NAMES = ("core LM", "kind LM", "rude LM")
GRID = [-2, -1, 0, 0.5, 1, 2, 4, 8]


@pytest.fixture(scope="module")
def members():
    generator = torch.Generator().manual_seed(0)
    core, *noise = torch.randn(3, V, generator=generator, dtype=torch.float64)
    logits = [3 * core, 3 * core + 0.4 * noise[0], 3 * core + 0.4 * noise[1]]
    return {name: member.log_softmax(-1) for name, member in zip(NAMES, logits)}


@pytest.fixture(scope="module")
def curve():
    return [
        {"lam": lam, "filtered": filtered, "attribute": 1 / (1 + math.exp(2 * lam))}
        | {"perplexity": 20 + lam**2 / 8 if filtered else 25 * math.exp(0.08 * lam**2)}
        | {"text": f"sample {lam:g} {filtered} " + "and so on " * (40 if lam == 2 else 1)}
        for lam in GRID
        for filtered in (True, False)
    ]


@pytest.fixture(scope="module")
def chart(members):
    return explore.negative_evidence_explorer(members, LABELS, top_p=TOP_P, context="a b c")


@pytest.fixture(scope="module")
def small(curve):
    """Twenty tokens, four of them in the nucleus, and a curve."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 20, generator=generator, dtype=torch.float64) * 1.5
    members = dict(zip(NAMES, logits.log_softmax(-1)))
    options = {"top_p": 0.6, "curve": curve, "attribute_name": "rude words", "top": 8}
    return members, explore.negative_evidence_explorer(members, LABELS[:20], **options)


def _expected(members, lam, filtered, top_p=TOP_P):
    return negative_evidence(*members.values(), lam, top_p if filtered else None).exp()


# ------------------------------------------------------------------------------------------- the arithmetic


@pytest.mark.slow
@pytest.mark.parametrize("filtered", [0, 1])
def test_what_the_page_computes_is_exact_over_the_whole_vocabulary(chart, members, filtered):
    for lam in contrast.LAMBDAS:
        svg = _draw(chart, lam=lam, filtered=filtered)
        panels = _bars(svg, TOP + 1)
        result = _expected(members, lam, filtered)
        values, ids = result.topk(TOP)
        truths = [*(member.exp() for member in members.values()), result]
        for panel, truth in zip(panels, truths, strict=True):
            wanted = {f"·w{i}": truth[i].item() for i in ids.tolist()} | {"all others": 1 - truth[ids].sum().item()}
            assert dict(panel) == pytest.approx(wanted, abs=1e-4), lam
        assert [value for _, value in panels[3][:TOP]] == pytest.approx(values.tolist(), abs=1e-4)  # in this order
        shown = [float(text.split()[1]) for text in _texts(svg) if text.startswith("entropy")]
        bits = [torch.special.entr(p).sum().item() / math.log(2) for p in truths]
        assert shown == pytest.approx(bits, abs=0.0051), lam


def test_the_rest_of_the_vocabulary_matters_in_these_tests(chart, members):
    ids = [int(row["t"][2:]) for row in chart.spec["data"]["values"] if not row.get("r")]
    assert len(ids) < 1500
    for lam, filtered in [(0, 0), (0, 1), (2, 0), (2, 1)]:
        assert _expected(members, lam, filtered)[ids].sum() < 0.9


@pytest.mark.parametrize("lam", [-2, 0, 1.25, 8])
def test_tokens_that_the_filter_keeps_out_stand_below_in_the_order_without_it(small, lam):
    members, chart = small
    svg = _draw(chart, lam=lam, filtered=1)
    inside, plain = _expected(members, lam, True, 0.6), _expected(members, lam, False)
    n = int((inside > 0).sum())
    assert n < 8
    outside = [f"·w{i}" for i in plain.argsort(descending=True).tolist() if inside[i] == 0]
    tokens = [token for token, _ in _bars(svg, 9)[3][:8]]
    assert tokens == [f"·w{i}" for i in inside.topk(n).indices.tolist()] + outside[: 8 - n]
    assert _texts(svg).count("outside the nucleus") == 8 - n
    assert all(re.search(rf'fill="{PALE}"[^>]*>{token}<', svg) for token in tokens[n:])
    assert not any(re.search(rf'fill="{PALE}"[^>]*>{token}<', svg) for token in tokens[:n])
    # Their bars are pale in the members' panels, as the sum of all others is.
    assert len(re.findall(r'roledescription="bar"[^>]* opacity="0.45"', svg)) == 4 * (8 - n + 1)
    svg = _draw(chart, lam=lam, filtered=0)
    assert "outside the nucleus" not in _texts(svg)
    assert [token for token, _ in _bars(svg, 9)[3][:8]] == [f"·w{i}" for i in plain.topk(8).indices.tolist()]


def test_a_log_ratio_of_hundreds_does_not_overflow():
    logits = torch.tensor([[0.0, -1, -2, -400], [-300, 0, -1, 0], [0, -200, -100, -700]], dtype=torch.float64)
    members = dict(zip(NAMES, logits.log_softmax(-1)))
    chart = explore.negative_evidence_explorer(members, LABELS[:4])
    for lam in (-2, 8):
        for filtered in (0, 1):
            result = _expected(members, lam, filtered)
            shown = dict(_bars(_draw(chart, lam=lam, filtered=filtered), 5)[3])
            assert [shown[f"·w{i}"] for i in range(4)] == pytest.approx(result.tolist(), abs=1e-4)


def test_a_zero_of_the_core_stays_zero_whatever_the_others_say():
    core, positive, negative = [0.6, 0.4, 0, 0], [0.1, 0.2, 0.7, 0], [0.2, 0.3, 0, 0.5]
    members = {name: torch.tensor(p).log() for name, p in zip(NAMES, (core, positive, negative))}
    chart = explore.negative_evidence_explorer(members, LABELS[:4], top_p=1)
    for filtered in (0, 1):
        one, two, _, result = _bars(_draw(chart, lam=8, filtered=filtered), 5)
        assert dict(result)["·w2"] == dict(result)["·w3"] == dict(one)["·w2"] == 0
        assert dict(result)["·w1"] == pytest.approx(_expected(members, 8, False)[1].item(), abs=1e-4)
        assert dict(two)["·w2"] == pytest.approx(0.7, abs=1e-4)


def test_a_token_that_only_the_combination_ranks_first_is_sent():
    # Token 0 is nobody's first; it is far more probable under the positive member than under the negative one.
    logits = torch.zeros(3, 8, dtype=torch.float64)
    logits[0, 1], logits[1, 2], logits[2, 3] = 3, 3, 3
    logits[:, 0] = torch.tensor([-1, 2, -4])
    members = dict(zip(NAMES, logits.log_softmax(-1)))
    chart = explore.negative_evidence_explorer(members, LABELS[:8], top=1, n_union=1)
    (first, p), _ = _bars(_draw(chart, lam=3, filtered=0), 2)[3]
    assert first == "·w0" and p == pytest.approx(_expected(members, 3, False)[0].item(), abs=1e-4)


# ------------------------------------------------------------------------------------------- the curve


@pytest.mark.parametrize(
    ("asked", "filtered", "said"),
    [
        (0, 1, "λ = 0, perplexity 20"),
        (-2, 0, "λ = −2, perplexity 34.4"),
        (0.75, 1, "λ = 0.5, perplexity 20"),  # the nearest on the grid, the lower of two
        (2.75, 0, "λ = 2, perplexity 34.4"),
        (3.25, 1, "λ = 4, perplexity 22"),
        (8, 0, "λ = 8, perplexity 4,180 (beyond the chart)"),
    ],
)
def test_the_dot_says_where_it_is(small, curve, asked, filtered, said):
    svg = _draw(small[1], lam=asked, filtered=filtered)
    assert said in _texts(svg)
    lam = _number(said.split()[2].rstrip(","))
    assert any(f"sample {lam:g} {bool(filtered)}" in line for line in _lines(svg))


def _lines(svg: str) -> list[str]:
    return re.findall(r"<tspan[^>]*>([^<]*)</tspan>", svg) + _texts(svg)


def test_a_long_sample_takes_two_lines(small):
    lines = [line for line in _lines(_draw(small[1], lam=2, filtered=1)) if "so on" in line]
    assert len(lines) == 2 and all(len(line) <= 95 for line in lines) and lines[1].endswith("…")


def test_without_samples_there_is_no_place_for_them(curve):
    bare = [{key: value for key, value in record.items() if key != "text"} for record in curve]
    assert len(contrast._curve_panels(bare, "x")[0]) == 1 and len(contrast._curve_panels(curve, "x")[0]) == 2


def test_nothing_is_laid_out_again_when_a_slider_moves(small):
    _stays(small[1], [{"lam": lam, "filtered": f} for lam in (-2, 0, 1, 4, 8) for f in (0, 1)])


def test_an_infinite_perplexity_is_beyond_the_chart(small, curve):
    broken = [{**r, "perplexity": math.inf if r["lam"] == 8 and not r["filtered"] else r["perplexity"]} for r in curve]
    chart = explore.negative_evidence_explorer(small[0], LABELS[:20], curve=broken)
    assert "λ = 8, perplexity 1e+09 (beyond the chart)" in _texts(_draw(chart, lam=8, filtered=0))


def test_a_curve_of_one_point_is_drawn(small):
    flat = [{"lam": 0, "filtered": f, "attribute": 0.5, "perplexity": 30} for f in (False, True)]
    chart = explore.negative_evidence_explorer(small[0], LABELS[:20], curve=flat)
    texts = _texts(_draw(chart, lam=4))
    assert "λ = 0, perplexity 30" in texts and {"filter on", "filter off"} <= set(texts)


def test_names_stand_beside_their_own_curve_and_cover_none():
    size = torch.tensor([750.0, 150])
    corners = [[(100, 10), (80, 60), (90, 140), (700, 145)], [(140, 12), (120, 60), (125, 130), (900, 20)]]
    seen = [seen_points(torch.tensor(c).float(), size) for c in corners]
    assert all((line <= size).all() for line in seen)
    for k, (x, y) in enumerate(name_spots(seen, ["filter off", "filter on"], size)):
        for line in seen:
            assert not (((line[:, 0] - x).abs() < 33) & ((line[:, 1] - y).abs() < 7)).any()
        middle = torch.stack([x, y])
        assert torch.cdist(middle[None], seen[k]).min() < torch.cdist(middle[None], seen[1 - k]).min()


def test_labels_stay_inside_and_off_their_curve():
    label, size = "λ = 1, perplexity 3", torch.tensor([750.0, 150])
    half = torch.tensor([3.9 * len(label), 8])
    corners = torch.tensor([(80, 130), (90, 100), (130, 60), (400, 20), (742, 19)]).float()
    curve, nowhere = seen_points(corners, size), torch.tensor([[-999.0, -999]])
    sides = [label_side(point, label, curve, nowhere, size) for point in corners]
    for point, (x, y) in zip(corners, sides):
        middle = point + torch.tensor([x, y]) * torch.stack([half[0] + 12, torch.tensor(11)])
        assert ((middle >= half) & (middle <= size - half)).all()
        assert not ((curve - middle).abs() < half * 0.9).all(dim=1).any()
    assert sides[-1][0] == -1 and len(set(sides)) > 1


# ------------------------------------------------------------------------------------------- form and errors


def test_sliders(chart, small):
    first = ("λ, weight of kind LM against rude LM", -2, 8, 0)
    for made in (chart, small[1]):
        assert _size(made) < 150_000
        assert _sliders(made) == [first, ("nucleus filter: off (left) or on (right)", 0, 1, 1)]
        assert _steps(made) == [0.25, 1]


def test_text_says_what_the_chart_shows(chart, small, members):
    text = _words(chart)
    for name, member in [*members.items(), ("result at λ = 2 with the filter", _expected(members, 2, True).log())]:
        p, i = member.exp().max(-1)
        assert f"{name}: ·w{i} {p:.2f}" in text
    kept = int((_expected(members, 0, True) > 0).sum())
    assert "a b c" in text and f"top_p = 0.9: {kept:,} of 49,152 tokens" in text
    said = _words(small[1])
    assert "rude words at λ = 0, filter off: 0.50 at perplexity 25" in said
    assert "λ = 8, filter off: 0.00 at perplexity 4200" in said
    assert "Sliders: λ, nucleus filter." in text and "Sliders: λ, nucleus filter." in said


def test_a_tokenizer_gives_the_labels(small):
    class Letters:
        def decode(self, ids):
            return " " + "abcdefghijklmnopqrst"[ids[0]]

    chart = explore.negative_evidence_explorer(small[0], Letters(), top=20)
    shown = {row["t"] for row in chart.spec["data"]["values"] if not row.get("r")}
    assert shown == {f"·{c}" for c in "abcdefghijklmnopqrst"}


def _zeroed(members):
    kind = members["kind LM"].clone()
    kind[0] = -torch.inf
    return {**members, "kind LM": kind.log_softmax(-1)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: {"core LM": m["core LM"], "kind LM": m["kind LM"]}, "three members, got 2"),
        (lambda m: {**m, "rude LM": m["rude LM"][:-1]}, "one vocabulary"),
        (lambda m: {**m, "rude LM": torch.zeros(20)}, "log_softmax"),
        (_zeroed, "smooth it"),
    ],
)
def test_bad_members_are_refused(small, change, message):
    _refuses(message, explore.negative_evidence_explorer, change(small[0]), LABELS[:20])


@pytest.mark.parametrize("top_p", [0, -0.1, 1.01, math.nan])
def test_top_p_outside_its_range_is_refused(small, top_p):
    said = "top_p must be above 0 and at most 1"
    _refuses(said, explore.negative_evidence_explorer, small[0], LABELS[:20], top_p=top_p)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c[1:], "lam -2 has only one"),
        (lambda c: [r for r in c if r["lam"]], "lam 0 is missing"),
        (lambda c: [], "lam 0 is missing"),
        (lambda c: [*c, c[0]], "doubled"),
        (lambda c: [{**r, "perplexity": math.nan} for r in c], "at least 1"),
        (lambda c: [{**r, "perplexity": 0.5} for r in c], "at least 1"),
        (lambda c: [{**r, "attribute": math.nan} for r in c], "finite attribute"),
    ],
)
def test_a_bad_curve_is_refused(small, curve, spoil, message):
    _refuses(message, explore.negative_evidence_explorer, small[0], LABELS[:20], curve=spoil(curve))
