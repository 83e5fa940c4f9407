"""The chart of a path between two models, evaluated by Vega itself (vl-convert)."""

import pytest
from drawing import _draw, _refuses, _texts, _words

from course_utils import explore

CURVES = {"naive": [0.1, 0.8, 1.5, 0.7, 0.3], "related": [0.2, 0.18, 0.15, 0.17, 0.2]}
ACCURACY = {"naive": [0.96, 0.6, 0.35, 0.7, 0.95], "related": [0.95, 0.95, 0.96, 0.95, 0.95]}


@pytest.fixture(scope="module")
def chart():
    return explore.path_explorer(CURVES, second=ACCURACY, context="digits")


@pytest.mark.parametrize(
    "t, naive, accuracy", [(0, "0.10", "0.960"), (0.25, "0.80", "0.600"), (0.3, "0.94", "0.550"), (1, "0.30", "0.950")]
)
def test_the_dots_stand_between_the_grid_points(chart, t, naive, accuracy):
    """t = 0.3 lies a fifth of the way from the second point to the third."""
    texts = _texts(_draw(chart, t=t))
    assert naive in texts and accuracy in texts


def test_barriers_are_written_and_in_the_alt_text(chart):
    """Halfway the straight line of `naive` is at 0.2: its barrier is 1.3; `related` never rises."""
    texts = _texts(_draw(chart))
    assert "naive: barrier 1.30" in texts and "related: barrier 0.00" in texts
    assert "highest 1.50 at t = 0.50, barrier 1.30" in _words(chart)
    assert "Lowest accuracy on the path: naive 0.35, related 0.95" in _words(chart)


@pytest.mark.parametrize(
    "curves, second, match",
    [
        ({}, None, "1 to 6 names"),
        ({"a": [1.0, 2.0]}, None, "at least 3"),
        ({"a": [1.0, 2.0, 1.0], "b": [1.0] * 4}, None, "got shapes"),
        ({"a": [1.0, float("inf"), 1.0]}, None, "not finite"),
        ({"a": [1.0, 2.0, 1.0]}, {"b": [0.1] * 3}, "same names"),
        ({"a": [1.0, 2.0, 1.0]}, {"a": [0.1, 1.2, 0.1]}, "from 0 to 1"),
        ({"a": [1.0, 2.0, 1.0]}, {"a": [0.1] * 4}, "3 accuracies"),
    ],
)
def test_path_explorer_refuses(curves, second, match):
    _refuses(match, explore.path_explorer, curves, second=second)
