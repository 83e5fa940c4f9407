"""The exercise engine against answers that hang, stop the program, change what is not theirs, or return anything."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
import warnings

import numpy as np
import pytest
import torch

from course_utils.exercises.engine import OPEN, PASSED, WRONG, Exercise, Mistake, find, register, registry, run_check
from course_utils.exercises.engine import checker as engine
from course_utils.exercises.engine.calls import same
from course_utils.exercises.engine.compare import alike, close
from course_utils.exercises.engine.messages import Message

needs_timers = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")


def double(x):
    """Twice x."""
    return 2 * x


def is_double(answer):
    """It doubles every entry."""
    x = torch.tensor([1.0, 2.0, 3.0])
    if alike(answer(x), x**2):
        raise Mistake("You squared it.")
    close(answer(x), 2 * x)


def keeps_the_shape(answer):
    """It keeps the shape of a matrix."""
    close(answer(torch.ones(2, 3)), torch.full((2, 3), 2.0))


def is_odd_function(answer):
    """The double of -x is minus the double of x."""
    if answer(torch.tensor(-1.0)) != -answer(torch.tensor(1.0)):
        raise Mistake("A double keeps the sign.")


@pytest.fixture(autouse=True)
def exercise(monkeypatch):
    monkeypatch.setattr(registry, "_EXERCISES", dict(registry._EXERCISES))
    monkeypatch.setattr(engine, "_SESSION", engine._Session())
    register(
        Exercise("toy.double", double, [is_double, keeps_the_shape, is_odd_function], ["Add?", "x + x"], seconds=0.4)
    )
    register(Exercise("toy.value", {"a": 1.5, "b": torch.tensor([1.0, 2.0])}, [both_figures], ["two keys"]))


def both_figures(answer):
    """Both figures."""
    close(answer, {"a": 1.5, "b": torch.tensor([1.0, 2.0])}, what="the answer")


def said(answer, name="toy.double") -> str:
    report = run_check(name, answer)
    assert report.status == WRONG
    assert "3 of 3 passed" not in report.text
    return report.text


def test_right_answer():
    report = run_check("toy.double", lambda x: x + x)
    assert (report.status, report.n_passed, report.text) == (PASSED, 3, "toy.double: 3 of 3 passed")


@pytest.mark.parametrize("answer", [None, ..., NotImplemented])
def test_no_answer_is_not_attempted(answer):
    assert run_check("toy.double", answer).status == OPEN
    assert run_check("toy.value", answer).status == OPEN


def test_stub_is_not_attempted():
    def stub(x):
        raise NotImplementedError

    assert run_check("toy.double", stub).status == OPEN
    assert run_check("toy.double", lambda x: ...).status == OPEN


def test_a_class_whose_method_is_a_stub_is_not_attempted():
    class Layer(torch.nn.Module):
        def forward(self, x):
            raise NotImplementedError

    def test(answer):
        """It runs."""
        answer()(torch.ones(1))

    register(Exercise("toy.layer", torch.nn.Identity, [test]))
    assert run_check("toy.layer", Layer).status == OPEN
    assert run_check("toy.layer", torch.nn.Identity).status == PASSED


def test_an_operation_that_torch_lacks_is_a_mistake_not_a_stub():
    assert "raised NotImplementedError" in said(lambda x: torch.log_softmax(x.long(), dim=-1))


def test_half_a_stub_is_not_attempted():
    def stub(x):
        if x.dim() == 2:
            raise NotImplementedError("the matrix case")
        return 2 * x

    assert "not attempted yet" in run_check("toy.double", stub).text


def test_wrong_answer_gets_the_hint_of_its_mistake_and_the_count():
    text = said(lambda x: x * x)
    assert "0 of 3 passed" in text
    assert "What was tested: It doubles every entry." in text and "You squared it." in text


def test_the_first_failure_is_shown_and_the_rest_is_counted():
    text = said(lambda x: 2 * x.abs())
    assert "2 of 3 passed" in text and "A double keeps the sign." in text


def _raise(error):
    raise error


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (ValueError("five is right out"), "raised ValueError: five is right out"),
        (ZeroDivisionError(), "raised ZeroDivisionError"),
        (SystemExit(3), "tried to stop the program (SystemExit)"),
        (KeyboardInterrupt(), "tried to stop the program (KeyboardInterrupt)"),
        (GeneratorExit(), "GeneratorExit"),
        (AssertionError("mine"), "raised AssertionError: mine"),
        (MemoryError(), "MemoryError"),
        (BaseException("bare"), "BaseException: bare"),
    ],
)
def test_whatever_is_raised_is_told(error, part):
    assert part in said(lambda x: _raise(error))


def test_an_error_is_told_with_its_line_and_without_addresses():
    def answer(x):
        thing = object()
        raise TypeError(f"no {thing}")

    text = said(answer)
    assert 'raise TypeError(f"no {thing}")' in text and "0x..." in text and hex(id(answer))[4:] not in text


def test_endless_recursion():
    def answer(x):
        return answer(x)

    assert "calls itself without end" in said(answer)


def test_endless_loop_ends():
    def answer(x):
        while True:
            pass

    started = time.monotonic()
    assert "stopped after 0.4 seconds" in said(answer)
    assert time.monotonic() - started < 10


def test_endless_loop_around_a_bare_except_ends():
    def answer(x):
        while True:
            try:
                time.sleep(0.01)
            except:  # noqa: E722
                pass

    assert "stopped after" in said(answer)


def test_endless_loop_that_swallows_base_exceptions_ends():
    def answer(x):
        while True:
            try:
                sum(range(100))
            except BaseException:
                x = x + 1

    assert "stopped after" in said(answer)


@needs_timers
def test_endless_sleep_ends():
    assert "stopped after" in said(lambda x: time.sleep(1000))


def test_endless_loop_in_another_thread_ends():
    def answer(x):
        while True:
            x = x + 1

    found = []
    thread = threading.Thread(target=lambda: found.append(said(answer)), daemon=True)
    thread.start()
    thread.join(20)
    assert found and "stopped after" in found[0]


def test_right_answer_in_another_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(run_check("toy.double", double).status))
    thread.start()
    thread.join(20)
    assert found == [PASSED]


@needs_timers
def test_signals_and_timers_are_put_back():
    def handler(number, frame):
        pass

    old = signal.signal(signal.SIGALRM, handler)
    before = signal.getsignal(signal.SIGINT)
    previous = signal.setitimer(signal.ITIMER_REAL, 300, 5)
    try:
        run_check("toy.double", double)
        run_check("toy.double", lambda x: time.sleep(1000))
        assert signal.getsignal(signal.SIGALRM) is handler and signal.getsignal(signal.SIGINT) is before
        left, repeat = signal.getitimer(signal.ITIMER_REAL)
        assert 200 < left < 300 and repeat == pytest.approx(5, abs=0.01)
    finally:
        signal.setitimer(signal.ITIMER_REAL, *previous)
        signal.signal(signal.SIGALRM, old)


def test_the_users_own_interrupt_gets_through():
    def answer(x):
        signal.raise_signal(signal.SIGINT)
        time.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        run_check("toy.double", answer)
    assert run_check("toy.double", double).status == PASSED


def test_changed_input_is_found_in_tensors_arrays_and_containers():
    def answer(x):
        x *= 2
        return x

    assert "changed its input (argument 1)" in said(answer)

    def changes(argument, code):
        def test(answer):
            """It leaves its input alone."""
            answer(argument)

        register(Exercise("toy.change", double, [test]))
        return run_check("toy.change", code).text

    assert "changed its input" in changes(np.zeros(3), lambda a: a.fill(1) or 1)
    assert "changed its input" in changes([torch.ones(2)], lambda a: a[0].mul_(2))
    assert "changed its input" in changes({"w": torch.ones(2)}, lambda a: a.pop("w"))
    assert "changed its input" in changes({"w": torch.ones(2)}, lambda a: a.update(v=1) or 1)
    assert "changed its input" in changes((torch.ones(2), 1), lambda a: a[0].add_(1))
    assert "1 of 1 passed" in changes({"w": torch.tensor([torch.nan])}, lambda a: a["w"] * 2)


def test_the_tests_own_data_survive():
    data = torch.ones(3)

    def test(answer):
        """Anything goes."""
        answer(data)

    register(Exercise("toy.keep", double, [test]))
    run_check("toy.keep", lambda x: x.zero_())
    assert data.tolist() == [1, 1, 1]


def test_gradients_still_reach_the_tests_inputs():
    def test(answer):
        """The gradient is two."""
        x = torch.ones(3, requires_grad=True)
        answer(x).sum().backward()
        close(x.grad, torch.full((3,), 2.0))

    register(Exercise("toy.grad", double, [test]))
    assert run_check("toy.grad", double).status == PASSED


def test_the_notebooks_state_is_put_back():
    def answer(x):
        random.seed(0), np.random.seed(0), torch.manual_seed(0)
        os.chdir("/"), os.environ.update(TOY_X="1"), sys.path.insert(0, "/nowhere"), sys.setrecursionlimit(50_000)
        torch.set_default_dtype(torch.float64), torch.set_grad_enabled(False), np.seterr(all="raise")
        return 2 * x

    here, limit, path, errors = os.getcwd(), sys.getrecursionlimit(), list(sys.path), np.geterr()
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    expected = random.random(), np.random.rand(), torch.rand(1).item()
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    assert run_check("toy.double", answer).status == PASSED
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected
    assert (os.getcwd(), sys.getrecursionlimit(), sys.path, np.geterr()) == (here, limit, path, errors)
    assert "TOY_X" not in os.environ and torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()


def test_random_answers_get_the_same_check_twice():
    assert said(lambda x: x + torch.rand(3)) == said(lambda x: x + torch.rand(3))


def test_printing_is_captured_and_cut(capsys):
    def answer(x):
        for _ in range(100):
            print("y" * 1_000_000)
        print("warn", file=sys.stderr)
        warnings.warn("a warning", stacklevel=1)
        return 3 * x

    text = said(answer)
    assert "Your code printed: yyyy" in text and "more characters" in text and len(text) < 2000
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("result", "part"),
    [
        (None, "returns nothing (None): did you forget `return`?"),
        (np.array([2.0, 4.0, 6.0]), "a numpy array"),
        ([2.0, 4.0, 6.0], "is a list"),
        ("246", "is a str"),
        (4.0, "is a float"),
        (torch.tensor([2, 4, 6]), "dtype torch.int64, expected torch.float32"),
        (torch.tensor([[2.0, 4.0, 6.0]]), "has shape (1, 3), expected (3,)"),
        (torch.tensor([2.0, torch.nan, 6.0]), "holds nan at index [1]"),
        (torch.tensor([2.0, 5.0, 6.0]), "is 5 at index [1], expected 4 (1 of 3 numbers differ)"),
        (torch.tensor([2.0, torch.inf, 6.0]), "is inf at index [1]"),
        (torch.tensor([]), "has shape (0,)"),
        (torch.tensor([2.0 + 1j] * 3), "dtype torch.complex64"),
        (type, "is a type"),
    ],
)
def test_wrong_results_are_described(result, part):
    assert part in said(lambda x: result)


def test_wrong_arguments_and_wrong_kinds():
    assert "does not take the arguments of the stub" in said(lambda: 1)
    assert "does not take the arguments of the stub" in said(lambda x, y: 1)
    assert "needs the function itself" in said(torch.ones(3))
    assert "is a value, not a function" in said(lambda: 1, "toy.value")


def test_values_are_checked():
    assert run_check("toy.value", {"a": 1.5, "b": torch.tensor([1.0, 2.0])}).status == PASSED
    assert "the keys ['a'], expected ['a', 'b']" in said({"a": 1.5}, "toy.value")
    assert "['b'] has shape (3,)" in said({"a": 1.5, "b": torch.zeros(3)}, "toy.value")
    assert "should be a dict" in said(7, "toy.value")


def test_a_check_that_cannot_use_the_result_says_so():
    def test(answer):
        """Uses the result in a way that may fail."""
        answer(torch.ones(1))["key"].sum()

    register(Exercise("toy.use", double, [test]))
    assert "could not be used" in run_check("toy.use", double).text


def test_names_that_do_not_exist():
    assert (
        run_check("toy.dubble", double).text
        == 'toy.dubble: there is no exercise "toy.dubble": did you mean toy.double, toy.value?'
    )
    assert "there is no exercise" in run_check("zzz", double).text
    assert "a text such as" in run_check(double, "toy.double").text
    with pytest.raises(ValueError, match="no exercise"):
        find("nowhere.nothing")


def test_hints_come_one_at_a_time_and_then_point_at_the_solution():
    texts = [engine._hint("toy.double").text for _ in range(4)]
    assert "hint 1 of 2" in texts[0] and "hint 2 of 2" in texts[1]
    assert texts[2] == texts[3] and 'solution("toy.double")' in texts[2]
    assert 'hint("toy.double")' not in said(lambda x: x)


def test_progress():
    assert "no exercise checked" in engine._progress().text
    run_check("toy.double", lambda x: x)
    assert "0 of 2 exercises passed" in engine._progress().text
    run_check("toy.double", double)
    text = engine._progress().text
    assert "1 of 2 exercises passed" in text and "toy.value   not attempted yet" in text


def test_check_hint_and_solution_show_one_bundle(monkeypatch):
    shown = []
    monkeypatch.setattr(Message, "show", lambda self: shown.append(self._repr_mimebundle_()))
    engine.check("toy.double", lambda x: _raise(ValueError("<b>")))
    engine.hint("toy.double")
    engine.solution("toy.double")
    engine.solution("toy.value")
    engine.solution("toy.nothing")
    engine.progress()
    assert len(shown) == 6 and all(set(bundle) == {"text/plain", "text/html"} for bundle in shown)
    assert "return 2 * x" in shown[2]["text/plain"] and "return 2 * x" in shown[2]["text/html"]
    assert "&lt;b&gt;" in shown[0]["text/html"] and "<b>" not in shown[0]["text/html"]


def test_every_html_word_is_in_the_text_too():
    report = run_check("toy.double", lambda x: x)
    for word in ("not right yet", "1 of 3 passed", "It doubles every entry."):
        assert word in report.html and word in report.text


def test_register_refuses_tests_without_description():
    with pytest.raises(ValueError, match="no docstring"):
        register(Exercise("toy.bad", double, [lambda answer: None]))
    with pytest.raises(ValueError, match="tests nothing"):
        register(Exercise("toy.bad", double, []))


def test_same():
    nan = torch.tensor([torch.nan, 1.0])
    assert same(nan, nan.clone()) and not same(nan, nan + 1) and not same(nan, nan.double())
    assert same([nan, {"a": (1, nan)}], [nan.clone(), {"a": (1, nan.clone())}])
    assert not same({"a": 1, "b": 2}, {"b": 2, "a": 3})
