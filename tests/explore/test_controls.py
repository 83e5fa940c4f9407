"""The controls of what needs the model: one run at a time, that can be cancelled, and a status that is said."""

import threading

import pytest
from drawing import _refuses

from course_utils import explore


def _tokens(*gates):
    """A function for either control that yields a token each time the test lets it, and says what it was asked for."""

    def generate(chosen, should_stop):
        for i, gate in enumerate(gates):
            gate.wait(5)
            yield f"{chosen}:{i} "

    return generate


def _gates(*are_open):
    gates = [threading.Event() for _ in are_open]
    for gate, is_open in zip(gates, are_open):
        if is_open:
            gate.set()
    return gates


def _slider(function):
    return explore.generate_control(function, value=1.0)


def _boxes(function):
    return explore.choice_control(["a", "b", "c"], function, chosen=[0])


BOTH = pytest.mark.parametrize(
    ("control", "asked", "busy"), [(_slider, "1.0", "generating"), (_boxes, "[0]", "computing")]
)


def _run(control):
    control.start()
    control.wait(5)
    return control


def _wait_until(condition) -> None:
    for _ in range(1000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not happen")


@BOTH
def test_cancel_stops_between_tokens_and_shows_busy_before(control, asked, busy):
    gates = _gates(True, False, False)
    control = control(_tokens(*gates))
    control.start()
    assert control.state == "busy" and busy in control.output.value
    assert not control.cancel_button.disabled and control.start_button.disabled
    _wait_until(lambda: control.text)
    control.cancel_button.click()
    gates[1].set()  # the token under way is finished, the one after it is never asked for
    control.wait(5)
    assert (control.state, control.text) == ("cancelled", f"{asked}:0 ") and control.cancel_button.disabled


@BOTH
def test_an_error_is_reported_and_text_is_escaped(control, asked, busy):
    def generate(chosen, should_stop):
        yield "<b>"
        raise ValueError("no model")

    failed = _run(control(generate))
    assert failed.state == "failed" and "ValueError: no model" in failed.output.value
    assert "&lt;b&gt;<br>" in _run(control(lambda chosen, stop: ["<b>\n"])).output.value


@BOTH
def test_the_text_form_does_not_depend_on_the_state(control, asked, busy):
    made = control(_tokens(*_gates(True)))
    before = made._repr_mimebundle_()
    after = _run(made)._repr_mimebundle_()
    assert set(after) == {"application/vnd.jupyter.widget-view+json", "text/plain"}
    assert before["text/plain"] == after["text/plain"] == repr(control(_tokens()))


def test_the_slider_generates_when_it_is_released():
    control = explore.generate_control(_tokens(*_gates(True, True, True)))
    assert not control.slider.continuous_update and control.slider.description == "λ"
    control.slider.value = 0.25
    control.wait(5)
    assert (control.state, control.text) == ("done", "0.25:0 0.25:1 0.25:2 ")
    control.number.value = 0.75  # the box with the number does the same
    control.wait(5)
    assert control.slider.value == 0.75 and control.text.startswith("0.75:0")
    control.slider.value = 0.25
    control.wait(5)
    control.start_button.click()
    control.wait(5)
    assert control.state == "done" and "0.25:2" in control.output.value and 'role="status"' in control.output.value


def test_ticking_evaluates_once_for_several_ticks_and_not_without_any():
    asked = []

    def evaluate(chosen, should_stop):
        asked.append(chosen)
        yield f"score of {chosen}"

    control = _boxes(evaluate)
    control.boxes[1].value = True
    control.boxes[2].value = True
    _wait_until(lambda: control.state == "done")
    assert asked == [[0, 1, 2]] and control.text == "score of [0, 1, 2]" and 'role="status"' in control.output.value
    control.start_button.click()
    control.wait(5)
    assert len(asked) == 2
    for box in control.boxes:
        box.value = False
    _wait_until(lambda: "choose at least one" in control.output.value)
    assert len(asked) == 2


@pytest.mark.parametrize("lam_range", [(1, 0, 0.1), (0, 1, 0), (0.6, 1, 0.1)])
def test_bad_arguments_are_refused(lam_range):
    _refuses("lam_range", explore.generate_control, _tokens(), lam_range)
    _refuses("indices of the 2 choices", explore.choice_control, ["a", "b"], _tokens(), chosen=[2])
