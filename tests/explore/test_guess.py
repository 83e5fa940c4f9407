"""Guess first: nothing of the result is drawn before the cover is off, and then the chart is what it was."""

import math

import pytest
import torch
from drawing import _draw, _refuses, _sliders, _stays, _texts, _tree, _words

from course_utils import explore
from course_utils.explore.guess import guess_first, uncovered, uncovered_words

LINE = {"low": 0, "high": 3, "step": 0.1}


def charts():
    curve = torch.tensor([1.0, 3.0, 2.0, 1.0])
    yield explore.path_explorer({"aligned": curve}, second={"aligned": curve / 4})
    yield explore.or_and_explorer([0.5, 0.5, 0.0], [0.2, 0.3, 0.5], ["them", "him", "the"])
    yield explore.weight_strip(["In", " the", " end"], torch.tensor([[0.2, 0.5, 0.9], [0.8, 0.5, 0.1]]), ["a", "b"])


CHARTS = list(charts())


@pytest.mark.parametrize("chart", CHARTS, ids=["path", "or and", "strip"])
def test_the_cover_hides_every_mark_until_the_reader_takes_it_off(chart):
    guess = guess_first(chart, "How high?", 1.67, **LINE)
    before, after, alone = _drawn(guess), _drawn(guess, uncovered=1), _drawn(chart)
    panel = {"How high?", "Your guess: 1.50. When you are ready, show the result.", "your guess 1.50"}
    assert before and before <= panel and len(alone) > 5
    assert alone <= after  # the chart as it was, below the panel
    _stays(guess, [{}, {"uncovered": 1}, {"guess": 0}, {"guess": 3, "uncovered": 1}], width=900)


def _drawn(chart, **at) -> set[str]:
    """What can be seen of the marks: each text, and what a screen reader says of the others."""
    groups = [group for group in _tree(chart, **at).iter() if "role-mark" in group.get("class", "")]
    marks = [mark for group in groups for mark in group.iter() if mark is not group]
    seen = [mark for mark in marks if float(mark.get("opacity", 1)) > 0.01]
    return {"".join(mark.itertext()) or mark.get("aria-label") for mark in seen} - {None}


def test_it_says_how_far_off_the_guess_was_and_not_before():
    guess = guess_first(CHARTS[0], "How high?", 1.67, **LINE)
    assert "You said 1.20. It is 1.67: off by 0.47." in _texts(_draw(guess, guess=1.2, uncovered=1))
    covered = _drawn(guess, guess=1.2)
    assert "Your guess: 1.20. When you are ready, show the result." in covered and not any("1.67" in t for t in covered)


def test_its_sliders_come_first_and_those_of_the_chart_stay():
    guess = guess_first(CHARTS[0], "How high?", 1.67, **LINE)
    names = [name for name, *_ in _sliders(guess)]
    assert names[:2] == ["your guess", "the result, covered (0) or shown (1)"]
    assert names[2:] == [name for name, *_ in _sliders(CHARTS[0])]
    assert _sliders(guess)[0][1:] == (0, 3, 1.5)
    words = _words(guess)
    assert words.startswith("Guess first: How high?") and words.endswith("The answer: 1.67.")


@pytest.mark.parametrize("chart", CHARTS, ids=["path", "or and", "strip"])
def test_the_picture_of_a_saved_notebook_is_the_chart_itself(chart):
    guess = guess_first(chart, "How high?", 1.67, **LINE)
    assert _texts(_draw(explore.LiveChart(uncovered(guess.spec), ""))) == _texts(_draw(chart))
    assert uncovered(chart.spec) == chart.spec
    assert uncovered_words(guess.text) == _words(chart) == uncovered_words(chart.text)


def test_the_chart_itself_is_not_changed():
    before = _draw(CHARTS[1])
    guess_first(CHARTS[1], "How high?", 1.0, **LINE)
    assert _draw(CHARTS[1]) == before


@pytest.mark.parametrize(
    ("message", "question", "answer", "line"),
    [
        ("between low and high, 0 and 3, got 3.5", "How high?", 3.5, {}),
        ("between low and high", "How high?", math.nan, {}),
        ("low < high", "How high?", 1.0, {"high": 0}),
        ("step", "How high?", 1.0, {"step": 4}),
        ("one line", "How\nhigh?", 1.0, {}),
    ],
)
def test_what_cannot_be_asked_is_refused(message, question, answer, line):
    _refuses(message, lambda: guess_first(CHARTS[0], question, answer, **LINE | line))
