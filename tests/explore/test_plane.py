"""The chart of two measures on a plane, evaluated by Vega itself (vl-convert)."""

import pytest
from drawing import _draw, _refuses, _said, _sliders, _stays, _texts, _words

from course_utils import explore
from course_utils.evidence import Interval


def _near(value: float, half: float = 0.1) -> Interval:
    return Interval(value, value - half, value + half, 20)


STOPS = [-2, 0, 0.5, 2]
CURVES = {
    "weights": [
        (_near(1.9), _near(-0.2)),
        (_near(1.6), _near(0.1)),
        (_near(1.5), _near(0.3)),
        (_near(2.5), _near(0.5)),
    ],
    "logits": [(_near(1.8), _near(-0.1)), (_near(1.6), _near(0.1)), (_near(1.6), _near(0.2)), (_near(1.7), _near(0.4))],
}
SAMPLES = {"weights": ["bad", "plain", "nice", "wonderful  \n film"], "logits": ["poor", "plain", "good", "lovely"]}


def _chart(**changed):
    named = {"stops": STOPS, "setting": "λ, how far", "x": "nats", "y": "sentiment", "title": "T", "samples": SAMPLES}
    return explore.plane_explorer(changed.pop("curves", CURVES), **named | changed)


def test_the_dots_are_those_of_the_chosen_stop():
    chart = _chart(start=0)
    assert _sliders(chart) == [("λ, how far, from -2 (left) to 2 (right)", 0, 3, 1)]
    for i, (of_weights, of_logits) in enumerate(
        zip(
            ("−0.20 at 1.90", "0.10 at 1.60", "0.30 at 1.50", "0.50 at 2.50"),
            ("−0.10 at 1.80", "0.10 at 1.60", "0.20 at 1.60", "0.40 at 1.70"),
        )
    ):
        svg = _draw(chart, lam_i=i)
        texts = _texts(svg)
        assert (
            f"weights: {of_weights}" in texts
            and f"logits: {of_logits}" in texts
            and f"λ = {STOPS[i]:g}".replace("-", "−") in texts
        )
        assert [said for said in _said(svg, "point") if said.startswith("weights: ")] == [f"weights: {of_weights}"]


def test_samples_and_words():
    chart = _chart()
    assert any("“wonderful film”" in text for text in _texts(_draw(chart, lam_i=3)))
    assert "weights, by λ: −2: −0.20 at 1.90, 0: 0.10 at 1.60" in _words(chart)
    assert not any("“" in text for text in _texts(_draw(_chart(samples=None), lam_i=3)))
    assert "VADER's judgement against nats." in _words(_chart(y="VADER's judgement"))


def test_nothing_is_laid_out_again():
    _stays(_chart(), [{"lam_i": i} for i in range(4)])


@pytest.mark.parametrize(
    "changed, match",
    [
        ({"stops": [1, 0, 2, 3]}, "rising order"),
        ({"stops": [0]}, "at least two"),
        ({"stops": [0, 1]}, "4 entries for 2 stops"),
        ({"curves": {}}, "1 to 6 systems"),
        ({"samples": {"logits": ["a"] * 4}}, "systems of curves"),
        ({"samples": {"weights": ["a"], "logits": ["a"]}}, "1 entries for 4 stops"),
        ({"curves": {"a": [(_near(float("nan")), _near(0.0))] * 4}, "samples": None}, "not finite"),
    ],
)
def test_plane_explorer_refuses(changed, match):
    _refuses(match, _chart, **changed)
