"""What the engine makes of a declared exercise: cases and corners, mistakes by their name, words for everything
else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from course_utils.exercises.engine import (
    ANYTHING,
    OPEN,
    PASSED,
    WRONG,
    Exercise,
    anywhere,
    case,
    checker,
    draw,
    gradient_for,
    in_integers,
    long_input,
    one_row,
    registry,
    run_check,
    with_zeros,
)


@pytest.fixture(autouse=True)
def session(monkeypatch):
    monkeypatch.setattr(registry, "_EXERCISES", {})
    monkeypatch.setattr(checker, "_SESSION", checker._Session())


def exercise(reference, cases, **more) -> str:
    return registry.register(Exercise("toy.it", reference, cases=cases, **more)).name


def said(answer, times: int = 1) -> str:
    for _ in range(times):
        report = run_check("toy.it", answer)
    assert report.status == WRONG, report.text
    return report.text


def scale(x, factor):
    """factor * x."""
    return factor * x


CASES = [case("two rows", draw(2, 3, seed=1), 2.0), case("another factor", factor=-0.5, x=draw(4, 3, seed=2))]
MISTAKES = {
    "You added it.\nMultiply instead.": [lambda x, factor: x + factor, lambda x, factor: factor + x + 1e-9],
    "You divided.": lambda x, factor: x / factor,
    "You take the size.": lambda x, factor: abs(factor) * x,
}


def test_the_answer_gets_each_case_by_position_and_float64_as_well():
    exercise(scale, CASES)
    seen = []
    report = run_check("toy.it", lambda values, by: (seen.append((values.dtype, by)), by * values)[1])
    assert report.status == PASSED and report.n_tests == 3
    assert seen == [(torch.float32, 2.0), (torch.float32, -0.5), (torch.float64, 2.0)]


def test_a_mistake_is_named_and_its_advice_follows_the_second_time():
    exercise(scale, CASES, mistakes=MISTAKES)
    assert "You added it." in said(lambda x, k: k + x) and "You added it. Multiply instead." in said(lambda x, k: k + x)
    assert "What was tested: two rows [x (2, 3), factor = 2]" in said(lambda x, k: k + x)


def test_one_case_alone_does_not_name_a_mistake():
    """abs(factor) is right on the first case and on corners: the second tells it; 2 + x is "added" on the first
    only."""
    exercise(scale, CASES, mistakes=MISTAKES)
    assert "You take the size." in said(lambda x, k: k * x if k > 0 else -k * x)
    text = said(lambda x, k: x + 2)
    assert "You added it" not in text and "does not depend on" not in text and "expected" in text


def test_anywhere_is_content_with_the_case_that_failed():
    exercise(scale, CASES, mistakes={"You added 2.": anywhere(lambda x, factor: x + 2)})
    assert "You added 2." in said(lambda x, k: x + k)


def test_a_case_may_be_kept_out_of_naming():
    cases = [*CASES, case("where all is 0", torch.zeros(1, 3), 0.0, names=False)]
    exercise(scale, cases, mistakes={"You divided.": lambda x, factor: x / factor if factor else x + 7})
    assert "You divided." in said(lambda x, k: x / k if k else x)


def test_what_a_mistake_leaves_open_may_be_anything():
    exercise(
        lambda x: (x.sum(), x.max()),
        [case("a row", draw(5, seed=3))],
        mistakes={"The mean.": lambda x: (x.mean(), ANYTHING)},
    )
    assert "The mean." in said(lambda x: (x.mean(), x.min()))


def test_corners_are_made_from_the_first_case():
    def centred(x):
        return x - x.mean(-1, keepdim=True)

    exercise(
        centred, [case("rows", draw(3, 4, seed=4))], corners=[one_row("x"), long_input("x", times=3), in_integers("x")]
    )
    assert run_check("toy.it", centred).n_tests == 5
    assert "one row only" in said(lambda x: centred(x).squeeze()) and "squeeze()" in said(
        lambda x: centred(x).squeeze()
    )
    assert "whole numbers" in said(lambda x: torch.zeros_like(x) + centred(x) if x.is_floating_point() else x)
    assert "float64 here" in said(lambda x: x @ (torch.eye(x.shape[-1]) - 1 / x.shape[-1]))


def test_a_probability_of_zero():
    def halves(log_p, log_q):
        return torch.logaddexp(log_p, log_q) - np.log(2)

    rows = draw(2, 2, 5, seed=5).log_softmax(-1)
    exercise(halves, [case("two models", *rows)], corners=[with_zeros("log_p")], returns="log-probabilities")
    assert "with a probability of 0" in said(lambda p, q: torch.where(p.isinf(), -9.0, halves(p, q)))
    assert "You return probabilities" in said(lambda p, q: halves(p, q).exp())
    assert "normalisation. exp() of your result sums to 2" in said(lambda p, q: torch.logaddexp(p, q))


def test_a_mistake_is_recognised_in_another_form_of_the_distribution():
    rows = draw(2, 3, 5, seed=6).log_softmax(-1)
    wrong = {"A product.": lambda p, q: (p + q).log_softmax(-1)}
    exercise(
        lambda p, q: torch.logaddexp(p, q) - np.log(2),
        [case("two", *rows)],
        mistakes=wrong,
        returns="log-probabilities",
    )
    assert "A product." in said(lambda p, q: (p + q).log_softmax(-1))
    assert "A product. You return probabilities" in said(lambda p, q: (p + q).softmax(-1))
    assert "A product. exp() of your result sums to" in said(lambda p, q: p + q)


def test_sizes_name_the_dimensions():
    exercise(lambda x: x.sum(0), [case("a table", draw(3, 5, seed=7))], sizes=lambda x: {3: "M members", 5: "V tokens"})
    assert "V tokens: missing. M members: still there." in said(lambda x: x.sum(1))


def test_random_answers_and_arguments_that_are_never_looked_at():
    exercise(lambda x, y: x * y, [case("two", draw(4, seed=8), draw(4, seed=9))])
    assert "random numbers of your own" in said(lambda x, y: x * torch.rand(4))
    assert "is a function" in said(lambda x, y: lambda: x * y)
    assert "does not depend on y" in said(lambda x, y: x * 3)


def test_errors_are_explained():
    wrong = {"KeyError": "There is no such key.\nLook at them.", "shapes": "The rows are dim 0."}
    exercise(lambda x, y: x @ y, [case("two", draw(2, 3, seed=1), draw(3, 4, seed=2))], errors=wrong)
    assert "There is no such key. (Python said: 'a')" in said(lambda x, y: {}["a"])
    assert "Look at them." in said(lambda x, y: {}["a"])
    assert "The rows are dim 0. (torch said:" in said(lambda x, y: y @ x)


def test_a_view_a_gradient_and_several_right_answers():
    cases = [
        case("the values", draw(4, seed=1)),
        case("the gradient", draw(4, seed=2).requires_grad_(), view=gradient_for(0)),
    ]
    exercise(lambda x: (x**2).sum(), cases)
    assert run_check("toy.it", lambda x: x @ x).status == PASSED
    assert "carries no gradient" in said(lambda x: (x**2).sum().item())
    assert "the gradient" in said(lambda x: (x * x.detach()).sum())
    registry._EXERCISES.clear()
    exercise(
        lambda x: x.argmax(), [case("a tie", torch.tensor([1.0, 1.0, 0.0]))], equal=lambda got, x: x[got] == x.max()
    )
    assert run_check("toy.it", lambda x: 1).status == PASSED and "expected 0" in said(lambda x: 2)


def test_after_the_first_failure_nothing_is_explained(monkeypatch):
    calls = []
    exercise(scale, CASES, explain=lambda *args: calls.append(1) or "")
    said(lambda x, k: x * k + 1)
    assert len(calls) == 1


def test_a_stub_is_open_and_a_check_of_its_own_runs_last():
    def check_it(answer):
        """A check of the exercise's own."""
        assert answer(torch.ones(1), 3.0) == 3

    exercise(scale, CASES, checks=[check_it])
    assert run_check("toy.it", lambda x, k: ...).status == OPEN
    assert run_check("toy.it", scale).n_passed == 4


def test_what_was_changed_in_the_input_is_told_by_its_place():
    models = [{"w": torch.ones(2)}, {"w": torch.zeros(2)}]
    exercise(lambda states, names: states[0]["w"] + states[1]["w"], [case("two models", models, ["b", "a"])])

    def in_place(states, names):
        total = dict(states[0])
        total["w"] += states[1]["w"] + 1
        return total["w"]

    text = said(in_place)
    assert "changed its input (argument 1, its [0]['w'])" in text and "dict(x) and list(x) copy no tensors" in text
    assert "changed its input (argument 2). " in said(lambda states, names: names.pop())
