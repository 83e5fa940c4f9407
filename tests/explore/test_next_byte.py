"""The chart of the next byte: Vega's own arithmetic against the course's functions."""

import pytest
import torch
from drawing import _bars, _draw, _refuses, _size, _sliders, _texts, _words

from course_utils import ensembling, explore

END, TOP = 256, 6
PREFIXES = ["In the begin", "a space at its end ", "word " * 40 + "x"]


@pytest.fixture(scope="module")
def members():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 3, END + 1, generator=generator, dtype=torch.float64)
    logits[1, :, 128:] = -torch.inf  # the second knows neither these bytes nor the end
    return dict(zip(["SmolLM2", "letters"], logits.log_softmax(-1)))


@pytest.fixture(scope="module")
def chart(members):
    return explore.next_byte_explorer(members, PREFIXES, top=TOP, context="verses")


def _label(outcome):
    if outcome == END:
        return "end of text"
    return explore.token_label(chr(outcome)) if outcome < 128 else f"\\x{outcome:02x}"


@pytest.mark.parametrize("prefix", [1, 2, 3])
@pytest.mark.parametrize(("rule", "lam"), [("linear", 0.0), ("linear", 0.4), ("log-linear", 0.4), ("log-linear", 1.0)])
def test_what_the_page_computes(chart, members, rule, lam, prefix):
    svg = _draw(chart, prefix=prefix, lam=lam, loglinear=int(rule != "linear"))
    stacked = torch.stack([member[prefix - 1] for member in members.values()])
    combine = ensembling.linear_interpolation if rule == "linear" else ensembling.loglinear_interpolation
    wanted = combine(stacked, [1 - lam, lam]).exp()
    values, best = wanted.topk(TOP)
    one, two, result = _bars(svg, TOP + 1)
    for panel, truth in ((one, stacked[0].exp()), (two, stacked[1].exp()), (result, wanted)):
        expected = {_label(i): truth[i].item() for i in best.tolist()} | {"all others": 1 - truth[best].sum().item()}
        assert dict(panel) == pytest.approx(expected, abs=5e-4)
    assert [v for _, v in result[:TOP]] == pytest.approx(values.tolist(), abs=5e-4)  # in this order
    bits = [torch.special.entr(p).sum().item() / torch.tensor(2.0).log().item() for p in (*stacked.exp(), wanted)]
    shown = [float(text.split()[1]) for text in _texts(svg) if text.startswith("entropy")]
    assert shown == pytest.approx(bits, abs=0.02)


def test_the_prefix_is_shown_with_its_blanks(chart):
    assert "In·the·begin▁" in _texts(_draw(chart)) and "a·space·at·its·end·▁" in _texts(_draw(chart, prefix=2))
    (long,) = [text for text in _texts(_draw(chart, prefix=3)) if text.startswith("…")]
    assert len(long) == 93 and long.endswith("x▁")


def test_its_sliders_words_and_size(chart):
    assert [slider[:3] for slider in _sliders(chart)] == [
        ("which prefix", 1, 3),
        ("λ, weight of letters", 0, 1),
        ("rule: linear (left) or log-linear (right)", 0, 1),
    ]
    said = _words(chart)
    assert "After 'In the begin': SmolLM2 " in said and said.endswith("Sliders: prefix, λ, rule.")
    assert _size(chart) < 100_000


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("two models and 2 to 20 texts, got 1", lambda m: ({"a": m["letters"]}, PREFIXES)),
        ("two models and 2 to 20 texts, got 2 and 1", lambda m: (m, PREFIXES[:1])),
        (r"must be \(2, 257\), got \(3, 257\)", lambda m: (m, PREFIXES[:2])),
        ("apply log_softmax", lambda m: ({**m, "letters": m["letters"] + 1}, PREFIXES)),
    ],
)
def test_what_is_refused(members, message, change):
    _refuses(message, explore.next_byte_explorer, *change(members))
