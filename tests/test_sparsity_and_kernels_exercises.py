"""The checks of notebook 06 on answers that are right in another way, and on wrong ones that nobody foresaw."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from wrong_answers.sparsity_and_kernels import WRONG as WRONG_ANSWERS

from course_utils.exercises import sparsity_and_kernels_blocks as blocks
from course_utils.exercises import sparsity_and_kernels_matvec as matvec
from course_utils.exercises import sparsity_and_kernels_prune as prune
from course_utils.exercises import sparsity_and_kernels_union as union
from course_utils.exercises.engine import PASSED, WRONG, find, run_check
from course_utils.exercises.engine.quizzes import QUIZZES
from course_utils.exercises.mistakes import alike
from course_utils.sparsity import bag_matvec, prune_2_4, sparse_matvec, to_csr_matvec, union_density

torch.set_num_threads(1)


def matvec_in_a_loop(weight_t, h):
    y = torch.zeros(weight_t.shape[1])
    for k, value in enumerate(h.tolist()):
        if value:
            y += value * weight_t[k]
    return y


def matvec_by_einsum(weight_t, h):
    live = h != 0
    return torch.einsum("k,ko->o", h[live].double(), weight_t[live].double())


def matvec_by_sum(weight_t, h):
    index = torch.nonzero(h, as_tuple=True)[0]
    return (h[index].unsqueeze(1) * weight_t[index]).sum(dim=0)


def prune_in_a_loop(weight):
    out = weight.clone()
    for row in out:
        for start in range(0, len(row), 4):
            order = sorted(range(4), key=lambda j: abs(row[start + j].item()))  # noqa: B023 (used at once)
            for j in order[:2]:
                row[start + j] = 0
    return out


def prune_by_topk(weight):
    fours = weight.double().reshape(-1, 4)
    mask = torch.zeros_like(fours).scatter(1, fours.abs().topk(2).indices, 1)
    return (fours * mask).reshape(weight.shape)


def prune_last_of_equals(weight):
    return prune_2_4(weight.flip(-1)).flip(-1)


def blocks_by_split(h, block):
    return torch.stack([(part != 0).any() for part in h.split(block)])


def blocks_from_a_list(h, block):
    return torch.tensor([any(h[i : i + block].tolist()) for i in range(0, len(h), block)])


def blocks_by_magnitude(h, block):
    live = torch.zeros(math.ceil(len(h) / block), dtype=torch.bool)
    live[h.nonzero().squeeze(1) // block] = True
    return live


RIGHT = [
    ("sparse_matvec", matvec_in_a_loop),
    ("sparse_matvec", matvec_by_einsum),
    ("sparse_matvec", matvec_by_sum),
    ("sparse_matvec", bag_matvec),
    ("sparse_matvec", to_csr_matvec),
    ("union_density", lambda s, B: -math.expm1(B * math.log(s)) if s else 1.0),
    ("union_density", lambda s, B: 1 - math.prod([s] * B)),
    ("union_density", lambda s, B: torch.tensor(1 - s**B)),
    ("prune_2_4", prune_in_a_loop),
    ("prune_2_4", prune_by_topk),
    ("prune_2_4", prune_last_of_equals),
    ("live_blocks", blocks_by_split),
    ("live_blocks", blocks_from_a_list),
    ("live_blocks", blocks_by_magnitude),
]


@pytest.mark.parametrize("name, answer", RIGHT, ids=lambda value: getattr(value, "__name__", value))
def test_another_right_answer_passes(name, answer):
    report = run_check(f"sparsity_and_kernels.{name}", answer)
    assert report.status == PASSED, report.text


@pytest.mark.parametrize("wrong", WRONG_ANSWERS, ids=lambda wrong: f"{wrong.exercise.split('.')[1]}: {wrong.label}")
def test_a_wrong_answer_gets_its_own_hint(wrong):
    space = {}
    exec(wrong.code, space)  # noqa: S102
    report = run_check(wrong.exercise, space["my_" + wrong.exercise.split(".")[1]])
    assert report.status == WRONG and wrong.says in report.text, report.text


REFERENCES = [(matvec, sparse_matvec), (union, union_density), (prune, prune_2_4), (blocks, blocks.live_blocks)]


@pytest.mark.parametrize("module, reference", REFERENCES, ids=lambda value: value.__name__)
def test_no_misconception_is_right_or_the_same_as_another(module, reference):
    for place, (hint, wrong) in enumerate(module.MISTAKES):
        mine = [wrong(*case) for case in module.CASES]
        assert not all(alike(got, reference(*case)) for got, case in zip(mine, module.CASES, strict=True)), hint
        for other, also in module.MISTAKES[:place]:
            same = all(alike(got, also(*case)) for got, case in zip(mine, module.CASES, strict=True))
            assert other == hint or not same, (hint, other)


@pytest.mark.parametrize("name", ["sparse_matvec", "union_density", "prune_2_4", "live_blocks"])
@pytest.mark.parametrize(
    "answer, says",
    [
        (lambda *a: None, "did you forget `return`"),
        (lambda *a: "text", "is a str"),
        (lambda *a: {}["not today"], "not today"),
        (lambda *a: torch.full((2, 3, 5), math.nan), "Your result|shape|nan"),
    ],
)
def test_an_answer_of_another_kind_is_told_so(name, answer, says):
    report = run_check(f"sparsity_and_kernels.{name}", answer)
    assert report.status == WRONG and any(part in report.text for part in says.split("|")), report.text


def test_changing_the_arguments_is_refused():
    def in_place(weight):
        weight *= 0
        return weight

    assert "changed its input" in run_check("sparsity_and_kernels.prune_2_4", in_place).text


@pytest.mark.parametrize("h, block", [(torch.zeros(2, 3), 2), (torch.zeros(4), 0)])
def test_live_blocks_refuses_bad_input(h, block):
    with pytest.raises(ValueError, match="live_blocks needs"):
        blocks.live_blocks(h, block)


def test_every_exercise_has_three_hints_and_many_wrong_answers_that_are_all_different():
    assert max(Counter((wrong.exercise, wrong.code) for wrong in WRONG_ANSWERS).values()) == 1
    counts = Counter(wrong.exercise for wrong in WRONG_ANSWERS)
    assert len(counts) == 4 and min(counts.values()) >= 20
    assert all(len(find(name).hints) == 3 for name in counts)


def test_the_quiz_has_five_questions_of_four_answers():
    assert [len(question["answers"]) for question in QUIZZES["sparsity_and_kernels.quiz"]] == [4] * 5
