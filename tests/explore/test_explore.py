"""The charts' arithmetic runs in Vega: here Vega itself evaluates it (vl-convert), against float64 over all tokens."""

import math

import pytest
import torch
from drawing import _bars, _draw, _refuses, _size, _sliders, _texts, _words
from hypothesis import given
from hypothesis import strategies as st

from course_utils import ensembling, explore

V, TOP = 600, 5
LABELS = [f" w{i}" for i in range(V)]


@pytest.fixture(scope="module")
def members():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, V, generator=generator, dtype=torch.float64) * 2.5
    logits[1, ::3] = -torch.inf  # real zeros: the second member vetoes every third token
    return dict(zip(["core LM", "n-gram"], logits.log_softmax(-1)))


@pytest.fixture(scope="module")
def heldout():
    return [
        {"lam": lam, "rule": rule, "temperature": t}
        | {"ppl": 20 + 15 * (lam - 0.4) ** 2 + (rule != "linear") + 2.9 * (t - 1)}
        for lam in explore.LAMBDAS
        for rule in explore.RULES
        for t in (1.0, 1.5)
    ]


@pytest.fixture(scope="module")
def chart(members, heldout):
    return explore.next_token_explorer(members, LABELS, top=TOP, n_union=20, heldout=heldout, context="a b c")


def _combined(members, rule, lam, temperature):
    """(V,) probabilities over the whole vocabulary, by the course's own functions."""
    stacked, weights = torch.stack(list(members.values())), torch.tensor([1 - lam, lam], dtype=torch.float64)
    combine = ensembling.linear_interpolation if rule == "linear" else ensembling.loglinear_interpolation
    return (combine(stacked, weights) / temperature).softmax(-1)


GRID = [("linear", lam, T) for lam, T in [(0.0, 1.0), (0.5, 1.0), (0.275, 2.0), (1.0, 0.5)]]
GRID += [("log-linear", lam, T) for lam, T in [(0.0, 1.3), (0.5, 1.0), (0.825, 2.0), (1.0, 0.5)]]


@pytest.mark.parametrize(("rule", "lam", "temperature"), GRID)
def test_what_the_page_computes_is_exact_over_the_whole_vocabulary(chart, members, rule, lam, temperature):
    svg = _draw(chart, lam=lam, loglinear=int(rule != "linear"), temperature=temperature)
    one, two, result = _bars(svg, TOP + 1)
    expected = _combined(members, rule, lam, temperature)
    values, ids = expected.topk(TOP)
    for panel, truth in ((one, members["core LM"].exp()), (two, members["n-gram"].exp()), (result, expected)):
        wanted = {f"·w{i}": truth[i].item() for i in ids.tolist()} | {"all others": 1 - truth[ids].sum().item()}
        assert dict(panel) == pytest.approx(wanted, abs=2e-4)
    assert [v for _, v in result[:TOP]] == pytest.approx(values.tolist(), abs=2e-4)  # in this order
    bits = -(expected * expected.clamp(min=1e-300).log()).sum().item() / math.log(2)
    shown = [float(t.split()[1].rstrip(",")) for t in _texts(svg) if t.startswith("entropy")]
    assert shown[2] == pytest.approx(bits, abs=0.0051)


def test_the_rest_of_the_vocabulary_matters_in_these_tests(chart, members):
    sent = len(chart.spec["vconcat"][0]["data"]["values"]) - 1
    expected = _combined(members, "linear", 0.5, 2.0)
    assert sent < 120 and expected.topk(sent).values.sum() < 0.8


def test_a_token_that_only_the_combination_ranks_first_is_sent():
    # Token 0 is third in both lists, and first in their product.
    logits = torch.full((2, 8), -9.0, dtype=torch.float64)
    for row, ids in zip(logits, ([1, 2, 0], [3, 4, 0])):
        row[ids] = torch.tensor([-0.6, -1.2, -1.9], dtype=torch.float64)
    members = dict(zip("ab", logits.log_softmax(-1)))
    chart = explore.next_token_explorer(members, [f"w{i}" for i in range(8)], top=1, n_union=2)
    (first, p), _ = _bars(_draw(chart, lam=0.5, loglinear=1), 2)[2]
    assert first == "w0"
    assert p == pytest.approx(_combined(members, "log-linear", 0.5, 1.0)[0].item(), abs=1e-4)


def test_disjoint_members_exclude_every_token_under_and():
    members = {"a": torch.tensor([0.5, 0.5, 0, 0]).log(), "b": torch.tensor([0, 0, 0.5, 0.5]).log()}
    chart = explore.next_token_explorer(members, list("wxyz"), top=4)
    assert "both exclude every token, T = 1.0" in _texts(_draw(chart, loglinear=1))
    assert "entropy 2.00 bits, T = 1.0" in _texts(_draw(chart, loglinear=0))


@pytest.mark.parametrize(("rule", "lam", "t", "asked"), [("linear", 0.4, 1.0, 1.0), ("log-linear", 0.9, 1.5, 1.8)])
def test_the_dot_on_the_heldout_curve(chart, heldout, rule, lam, t, asked):
    (truth,) = (r["ppl"] for r in heldout if (r["lam"], r["rule"], r["temperature"]) == (lam, rule, t))
    assert f"{truth:.1f}" in _texts(_draw(chart, lam=lam, loglinear=int(rule != "linear"), temperature=asked))


def test_sliders_and_text_form(chart, members):
    assert chart.spec["$schema"].endswith("/v5.json") and not chart.spec["usermeta"]["embedOptions"]["actions"]
    assert _size(chart) < 100_000
    names = [name for name, *_ in _sliders(chart)]
    assert names == ["λ, weight of n-gram", "rule: linear (left) or log-linear (right)", "temperature T"]
    p, i = members["core LM"].exp().max(-1)
    assert f"core LM: ·w{i} {p:.2f}" in _words(chart) and "a b c" in _words(chart)
    assert "best linear 20 at λ = 0.4" in _words(chart)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: {"one": m["core LM"]}, "two members"),
        (lambda m: {**m, "n-gram": m["n-gram"][:-1]}, "one vocabulary"),
        (lambda m: {**m, "n-gram": torch.zeros(V)}, "log_softmax"),
    ],
)
def test_bad_members_are_refused(members, change, message):
    _refuses(message, explore.next_token_explorer, change(members), LABELS)


def test_bad_labels_and_a_grid_with_holes_are_refused(members, heldout):
    _refuses("one label for each", explore.next_token_explorer, members, LABELS[1:])
    _refuses("for each rule", explore.next_token_explorer, members, LABELS, heldout=heldout[1:])


@given(st.text(max_size=30))
def test_token_labels_are_visible_and_short(text):
    label = explore.token_label(text)
    assert label.isprintable() and " " not in label and 1 <= len(label) <= 14


@pytest.mark.parametrize(("text", "label"), [(" the", "·the"), ("\n", "\\n"), ("", "(empty)"), ("é", "é")])
def test_token_label(text, label):
    assert explore.token_label(text) == label


# ------------------------------------------------------------------------------------------- OR and AND

P, Q = [0.5, 0.3, 0.2, 0.0], [0.0, 0.2, 0.4, 0.4]


@pytest.fixture(scope="module")
def or_and():
    return explore.or_and_explorer(P, Q, ["a", "b", "c", "d"])


@pytest.mark.parametrize(("lam1", "lam2"), [(0.5, 0.5), (1, 0), (0, 2), (1.5, 0.25)])
def test_or_and_panels_follow_the_library(or_and, lam1, lam2):
    log_probs, lam = torch.tensor([P, Q], dtype=torch.float64).log(), torch.tensor([lam1, lam2], dtype=torch.float64)
    _, _, *shown = _bars(_draw(or_and, lam1=lam1, lam2=lam2), 4)
    wanted = [
        ensembling.linear_interpolation(log_probs, lam / lam.sum()),
        ensembling.loglinear_interpolation(log_probs, lam),
    ]
    for panel, expected in zip(shown, wanted, strict=True):
        assert [v for _, v in panel] == pytest.approx(expected.exp().tolist(), abs=2e-4)


def test_or_and_names_who_vetoes(or_and):
    texts = _texts(_draw(or_and, lam1=0.5, lam2=0.5))
    assert texts.count("vetoed by P₂") == texts.count("vetoed by P₁") == 1
    assert not [t for t in _texts(_draw(or_and, lam1=0, lam2=0)) if "veto" in t]


def test_or_and_says_when_there_is_no_distribution(or_and):
    texts = _texts(_draw(or_and, lam1=2, lam2=-1))
    assert "negative: not a distribution" in texts and "0 to a negative power: infinite" in texts
    assert "λ₁ + λ₂ must be above 0" in _texts(_draw(or_and, lam1=-1, lam2=1))
    disjoint = explore.or_and_explorer([1, 0], [0, 1], ["a", "b"])
    assert "every token is vetoed" in _texts(_draw(disjoint))


def test_names_may_hold_quotes():
    chart = explore.or_and_explorer(P, Q, ["a", "b", "c", "d"], names=("Noah's LM", 'the "big" one'))
    assert "vetoed by Noah's LM" in _texts(_draw(chart))


@pytest.mark.parametrize(("p", "message"), [([1.0], "one length"), ([0.5, 0.6, 0, 0], "sum to 1")])
def test_or_and_refuses(p, message):
    _refuses(message, explore.or_and_explorer, p, Q, ["a", "b", "c", "d"])


# ------------------------------------------------------------------------------------------- weight strip


@pytest.mark.parametrize("m", [2, 3])
def test_weight_strip_shows_the_weights_at_t(m):
    weights = torch.rand(m, 40, generator=torch.Generator().manual_seed(1)).softmax(0)
    tokens = [" word\n" if t == 7 else f" t{t}" for t in range(40)]
    chart = explore.weight_strip(tokens, weights, [f"m{i}" for i in range(m)])
    svg = _draw(chart, t=12)
    assert [v for _, v in _bars(svg, m)[0]] == pytest.approx(weights[:, 12].tolist(), abs=6e-4)
    texts = _texts(svg)
    assert "position 12, before ·t12" in texts and all(explore.token_label(t) in texts for t in tokens)
    places = chart.spec["vconcat"][0]["data"]["values"]
    assert places[7]["line"] < places[8]["line"]  # a line break in the text starts a line
    assert f"begins at {weights[0, 0]:.2f}" in _words(chart)


@pytest.mark.parametrize("weights", [torch.full((2, 3), 0.5), torch.full((2, 2), 0.7)])
def test_weight_strip_refuses(weights):
    _refuses("weights must be", explore.weight_strip, ["a", "b"], weights, ["x", "y"])
