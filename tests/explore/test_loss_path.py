"""The chart of a path between two models, evaluated by Vega itself (vl-convert); the control of tick boxes."""

import threading

import pytest
from drawing import _draw, _texts

from course_utils import explore
from course_utils.explore import controls

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
    assert "highest 1.50 at t = 0.50, barrier 1.30" in " ".join(chart.text.split())
    assert "Lowest accuracy on the path: naive 0.35, related 0.95" in " ".join(chart.text.split())


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
    with pytest.raises(ValueError, match=match):
        explore.path_explorer(curves, second=second)


# ------------------------------------------------------------------------------------------- choice_control


def wait_until(condition) -> None:
    for _ in range(1000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not happen")


def test_ticking_evaluates_once_for_several_ticks():
    asked = []

    def evaluate(chosen, should_stop):
        asked.append(chosen)
        yield f"score of {chosen}"

    control = explore.choice_control(["a", "b", "c"], evaluate, chosen=[0])
    control.boxes[1].value = True
    control.boxes[2].value = True
    wait_until(lambda: control.state == "done")
    assert asked == [[0, 1, 2]] and control.text == "score of [0, 1, 2]" and 'role="status"' in control.output.value
    control.start_button.click()
    control.wait(5)
    assert len(asked) == 2


def test_nothing_chosen_and_errors_are_said():
    control = explore.choice_control(["a", "b"], lambda chosen, stop: 1 / 0, chosen=[1])
    control.start()
    control.wait(5)
    assert control.state == "failed" and "ZeroDivisionError" in control.output.value
    control.boxes[1].value = False
    wait_until(lambda: "choose at least one" in control.output.value)
    with pytest.raises(ValueError, match="indices of the 2 choices"):
        explore.choice_control(["a", "b"], lambda chosen, stop: [], chosen=[2])


def test_an_evaluation_is_cancelled():
    gate = threading.Event()

    def evaluate(chosen, should_stop):
        yield "first "
        gate.wait(5)
        yield "second"

    control = explore.choice_control(["a"], evaluate, chosen=[0])
    control.start()
    wait_until(lambda: control.text)
    assert control.state == "busy" and "computing" in control.output.value
    control.cancel_button.click()
    gate.set()
    control.wait(5)
    assert (control.state, control.text) == ("cancelled", "first ")


def test_the_text_of_the_control_does_not_depend_on_its_state():
    control = explore.choice_control(["a", "b"], lambda chosen, stop: ["x"], chosen=[0])
    before = control._repr_mimebundle_()["text/plain"]
    control.start()
    control.wait(5)
    assert control._repr_mimebundle_()["text/plain"] == before
    assert isinstance(control, controls.BackgroundControl)
