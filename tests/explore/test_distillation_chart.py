"""The chart of distillation: Vega evaluates it (vl-convert), held against the losses of the library and their
gradient."""

import dataclasses
import itertools
import math
import re

import pytest
import torch
from drawing import _bars, _draw, _refuses, _size, _sliders, _stays, _steps, _texts, _words

from course_utils import explore
from course_utils.distillation import ensemble_targets, kd_loss, soft_target_loss, soften
from course_utils.explore import distillation

V = 4096
STOPS = distillation.TEMPERATURES


def _example(C, members, seed, truth=None, scale=3.0, **more):
    generator = torch.Generator().manual_seed(seed)
    common, student, *noise = torch.randn(members + 2, C, generator=generator, dtype=torch.float64)
    teachers = torch.stack([scale * common + one for one in noise]) + 7  # logits may have any offset
    labels = [str(d) for d in range(C)] if C <= 12 else [f" w{i}" for i in range(C)]
    truth = seed % C if truth is None else truth
    return explore.Example(labels, teachers, scale * common + 1.5 * student, truth, **more)


@pytest.fixture(scope="module")
def examples():
    """Digits with five teachers and with one, tokens with three; the second of the tokens' truths is an unlikely
    one."""
    likely = _example(V, 3, 4)
    likely = dataclasses.replace(likely, truth=int(likely.teachers.mean(0).argmax()))
    return {
        "an 8": _example(10, 5, 8, image=torch.arange(64).view(8, 8) / 63),
        "two classes": _example(2, 1, 1),
        "El …": likely,
        "El principio …": _example(V, 3, 5),
    }


@pytest.fixture(scope="module")
def chart(examples):
    return explore.distillation_explorer(examples, title="Softened", context="a b c")


def _at(chart, example, T, alpha):
    return _draw(chart, example=example, ti=STOPS.index(T), alpha=alpha)


def _expected(example, T, alpha):
    """p_T, q_T and minus the gradient by autograd, each (C,); the soft, the hard and the whole loss."""
    student = example.student[None].clone().requires_grad_()
    teachers, truth = example.teachers[:, None], torch.tensor([example.truth])
    p = ensemble_targets(teachers, T)
    soft, hard = soft_target_loss(student, p, T), torch.nn.functional.cross_entropy(student, truth)
    loss = kd_loss(student, teachers, truth, T, alpha)
    (gradient,) = torch.autograd.grad(loss, student)
    return p[0], soften(student, T)[0].detach(), -gradient[0], [x.item() for x in (soft, hard, loss)]


GRID = [(0.5, 0), (0.5, 0.5), (1, 0.35), (1, 1), (2, 0.9), (4.5, 0.05), (7, 1), (20, 0), (20, 1)]


@pytest.mark.parametrize(("T", "alpha"), GRID)
def test_what_the_page_computes_is_the_librarys_loss_and_gradient(chart, examples, T, alpha):
    for number, example in enumerate(examples.values(), 1):
        svg = _at(chart, number, T, alpha)
        rows = len(example.labels) if len(example.labels) <= 12 else 11
        panels, (*wanted, losses) = _bars(svg, rows), _expected(example, T, alpha)
        for panel, truth in zip(panels, wanted, strict=True):
            places = {explore.token_label(label): i for i, label in enumerate(example.labels)}
            ids = [places[label] for label, _ in panel if label in places]
            assert len(ids) == min(rows, 10) and panels[0][0][0] == panel[0][0]
            values = truth[ids].tolist() + ([truth.sum().item() - truth[ids].sum().item()] if rows == 11 else [])
            assert [value for _, value in panel] == pytest.approx(values, abs=2e-5), (number, T, alpha)
        texts = _texts(svg)
        (line,) = (text for text in texts if text.startswith("loss ="))
        shown = [float(x) for x in re.findall(r"\d+\.\d+", line)]
        assert shown == pytest.approx([alpha, losses[0], 1 - alpha, losses[1], losses[2]], abs=6e-4, rel=1e-4)
        bits = [torch.special.entr(of).sum().item() / math.log(2) for of in wanted[:2]]
        assert [float(t.split()[1]) for t in texts if t.startswith("entropy")] == pytest.approx(bits, abs=0.0051)


def test_the_rest_of_the_vocabulary_matters_in_these_tests(chart, examples):
    assert [sum(row["e"] == number for row in _rows(chart)) for number in range(4)] == [10, 2, 11, 11]
    for T in (1, 2):
        teachers, _, push = _bars(_at(chart, 4, T, 1), 11)
        assert teachers[-1][0] == "4,086 others" and teachers[-1][1] > 0.3 and abs(push[-1][1]) > 0.01


def _rows(chart):
    return chart.spec["vconcat"][1]["data"]["values"]


def test_each_teacher_has_a_tick(chart, examples):
    places = [panel.get("encoding", {}).get("x", {}) for panel in chart.spec["vconcat"][1]["hconcat"]]
    (length,) = (place["scale"]["range"][1] for place in places if place.get("field") == "p")
    for number, T in ((1, 1), (1, 5), (2, 1)):
        found = re.findall(r'd="M([-\d.]+),[\d.]+h1.5v10h-1.5Z" fill="#222222"', _at(chart, number, T, 1))
        wanted = sorted((length * soften(list(examples.values())[number - 1].teachers, T)).flatten().tolist())
        assert sorted(float(left) + 0.75 for left in found) == pytest.approx(wanted, abs=0.01)


def test_rows_are_the_truth_the_students_favourite_and_the_teachers_best(chart, examples):
    for number in (3, 4):
        example = list(examples.values())[number - 1]
        mean = ensemble_targets(example.teachers, 1.0)
        ids = [int(row["label"][2:]) for row in _rows(chart) if row["e"] == number - 1 and "r" not in row]
        assert {example.truth, int(example.student.argmax()), *mean.topk(8).indices.tolist()} <= set(ids)
        assert mean[ids].tolist() == sorted(mean[ids].tolist(), reverse=True)
    assert [row["label"] for row in _rows(chart) if row["e"] == 0] == list("0123456789")


def test_all_panels_keep_their_rows_when_a_slider_moves(chart):
    for number, rows in ((1, 10), (4, 11)):
        panels = [panel for T in (0.5, 20) for panel in _bars(_at(chart, number, T, 0.5), rows)]
        assert len({tuple(label for label, _ in panel) for panel in panels}) == 1


def test_the_truth_is_marked_without_colour_and_named_in_words(chart):
    svg = _at(chart, 1, 1, 0.5)
    assert re.search(r'font-weight="bold"[^>]*>► 8</text>', svg) and len(re.findall("► 8</text>", svg)) == 2
    assert {"example 1: an 8", "truth ► 8", "teachers, T = 1", "student, T = 1", "push, α = 0.50"} <= set(_texts(svg))
    texts = _texts(_at(chart, 4, 5.5, 1))
    assert {"example 4: El principio …", "truth ► ·w5", "► ·w5", "teachers, T = 5.5", "push, α = 1.00"} <= set(texts)


def test_numbers_have_three_digits_and_small_ones_are_not_zero():
    example = explore.Example("abc", torch.tensor([[0.0, -8, -torch.inf]]), torch.tensor([0.0, -1, -torch.inf]), 0)
    texts = _texts(_draw(explore.distillation_explorer({"x": example}), ti=STOPS.index(1), alpha=0))
    for number in ("1.000", "3.4e−4", "0.000", "0.731", "0.269", "+0.269", "−0.269"):
        assert number in texts
    assert "−0.000" not in texts and "+0.000" not in texts


def test_a_push_beyond_1_is_cut_and_says_so():
    """At T = 20 a sure teacher asks an undecided student for more than any label does: 20 (p - q) = 20 (0.77 - 0.5)."""
    example = explore.Example("ab", torch.tensor([[24.0, 0]]), torch.tensor([0.0, 0]), 0)
    chart = explore.distillation_explorer({"x": example})
    push = 20 * (1 / (1 + math.exp(-24 / 20)) - 0.5)
    texts = _texts(_draw(chart, ti=len(STOPS) - 1, alpha=1))
    assert {f"» +{push:.2f}", f"−{push:.2f} «", "logit down or up (» beyond 1)"} <= set(texts)
    texts = _texts(_draw(chart, ti=0, alpha=0))
    assert {"+0.500", "−0.500"} <= set(texts)
    calm = explore.Example("ab", torch.tensor([[1.0, 0]]), torch.tensor([0.0, 0]), 0)
    assert "logit down (left) or up (right)" in _texts(_draw(explore.distillation_explorer({"x": calm})))


def test_a_teachers_zero_stays_zero(examples):
    teachers = torch.tensor([[0.0, -1, -torch.inf], [0.0, -torch.inf, -torch.inf]], dtype=torch.float64)
    example = explore.Example("abc", teachers, torch.tensor([0.0, -1, -torch.inf]), 1)
    chart = explore.distillation_explorer({"x": example})
    for T in (0.5, 20):
        p, q, push = _bars(_draw(chart, ti=STOPS.index(T), alpha=1), 3)
        assert p[2][1] == q[2][1] == push[2][1] == 0
        assert [v for _, v in p] == pytest.approx(ensemble_targets(teachers, T).tolist(), abs=2e-5)


def test_the_image_is_drawn_dark_on_white_and_only_with_its_example(chart, examples):
    def greys(number):
        return re.findall(r'<path d="[^"]*" fill="rgb\((\d+), (\d+), (\d+)\)"', _at(chart, number, 1, 0.5))

    drawn = greys(1)
    assert len(drawn) == 64 and drawn[0] == ("255", "255", "255") and drawn[-1] == ("0", "0", "0")
    assert greys(2) == []
    bare = explore.distillation_explorer({"x": examples["two classes"]})
    assert len(bare.spec["vconcat"][1]["hconcat"]) == 4 and len(chart.spec["vconcat"][1]["hconcat"]) == 5


@pytest.mark.slow
def test_nothing_is_laid_out_again_when_a_slider_moves(chart):
    at = itertools.product((1, 2, 3, 4), (0, STOPS.index(1), STOPS.index(4), len(STOPS) - 1), (0, 0.5, 1))
    _stays(chart, [{"example": number, "ti": T, "alpha": alpha} for number, T, alpha in at])


# ------------------------------------------------------------------------------------------- form and errors


def test_sliders(chart, examples):
    assert _size(chart) < 60_000
    temperature = ("temperature T, from 0.5 (left) to 20 (right)", 0, len(STOPS) - 1, STOPS.index(1))
    share = ("α, the teachers' share of the loss", 0, 1, 0.5)
    assert _sliders(chart) == [("example, 1 to 4", 1, 4, 1), temperature, share] and _steps(chart) == [1, 1, 0.05]
    alone = explore.distillation_explorer({"x": examples["two classes"]})
    assert _sliders(alone) == [temperature, share] and "example 1: x" in _texts(_draw(alone, alpha=1))


def test_the_stops_of_the_temperature_are_about_even_in_its_logarithm():
    steps = [math.log(b / a) for a, b in zip(STOPS, STOPS[1:])]
    assert (STOPS[0], STOPS[-1]) == (0.5, 20) and 1 in STOPS and min(steps) > 0.08 and max(steps) < 0.19


def test_text_says_what_the_chart_shows(chart, examples):
    text = _words(chart)
    assert text.startswith("Softened: a b c. Example 1, an 8, truth 8: teachers: ")
    assert text.endswith("Sliders: example, temperature T, α.")
    for number, (name, example) in enumerate(examples.items(), 1):
        p, q, _, (soft, hard, _) = _expected(example, 1.0, 0.5)
        said = text.split(f"Example {number}, ")[1].split(" Example ")[0]
        assert said.startswith(f"{name}, truth {explore.token_label(example.labels[example.truth])}: ")
        for who, of in (("teachers", p), ("student", q)):
            label = explore.token_label(example.labels[int(of.argmax())])
            bits = torch.special.entr(of).sum().item() / math.log(2)
            assert f"{who}: {label} {of.max():.2f}, " in said and f"entropy {bits:.1f} bits." in said
        warm = torch.special.entr(ensemble_targets(example.teachers, 4.0)).sum().item() / math.log(2)
        assert f"At T = 4 the teachers' entropy is {warm:.1f} bits." in said
        assert f"the soft loss is {soft:.2f}, the hard loss {hard:.2f}." in said


def _with(**changes):
    return dataclasses.replace(_example(10, 5, 8, image=torch.zeros(8, 8)), **changes)


def _student(value):
    student = _with().student.clone()
    student[0] = value
    return student


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": list("abc")}, "3 labels need teachers"),
        ({"teachers": torch.zeros(10)}, r"got teachers \(10,\)"),
        ({"teachers": torch.zeros(0, 10)}, r"got teachers \(0, 10\)"),
        ({"student": torch.zeros(1, 10)}, r"student \(1, 10\)"),
        ({"labels": ["a"], "teachers": torch.zeros(2, 1), "student": torch.zeros(1), "truth": 0}, "at least 2"),
        ({"truth": 10}, "0 to 9, got 10"),
        ({"truth": -1}, "0 to 9, got -1"),
        ({"truth": 0.5}, "0 to 9, got 0.5"),
        ({"student": _student(math.nan)}, "must be finite"),
        ({"student": _student(math.inf)}, "must be finite"),
        ({"teachers": torch.full((2, 10), -torch.inf)}, "not -inf for all labels"),
        ({"student": _student(-math.inf)}, "its loss is infinite"),
        ({"image": torch.zeros(28, 28)}, r"must be \(8, 8\) grey values from 0 to 1, got \(28, 28\)"),
        ({"image": torch.full((8, 8), 16.0)}, "from 0 to 1"),
        ({"image": torch.full((8, 8), math.nan)}, "from 0 to 1"),
    ],
)
def test_bad_examples_are_refused(changes, message):
    examples = {"good": _with(), "bad": _with(**changes)}
    _refuses(f"^example 'bad'.*{message}", explore.distillation_explorer, examples)


def test_no_examples_are_refused():
    _refuses("examples is empty", explore.distillation_explorer, {})


def test_lists_integers_and_parameters_are_taken_as_they_come():
    """What a notebook has at hand: lists, a truth that is a tensor, logits that still carry a gradient."""
    student = torch.nn.Parameter(torch.zeros(3))
    example = explore.Example(["a", "b", "c"], [[1, 2, 3], [3, 2, 1]], student, torch.tensor(2))
    p, q, push = _bars(_draw(explore.distillation_explorer({"x": example}), ti=STOPS.index(1), alpha=0), 3)
    assert [v for _, v in q] == pytest.approx([1 / 3] * 3, abs=1e-5) and push[2][1] == pytest.approx(2 / 3, abs=1e-5)
