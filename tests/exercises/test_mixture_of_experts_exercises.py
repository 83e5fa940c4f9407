"""The checks of notebook 07, exercises 1 to 3, on answers that are right in another way, and on wrong ones that nobody foresaw."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from torch.nn.functional import softplus
from wrong_answers.mixture_of_experts import WRONG as WRONG_ANSWERS

from course_utils.exercises import mixture_of_experts_gate as gate
from course_utils.exercises import mixture_of_experts_importance as importance
from course_utils.exercises.engine import OPEN, PASSED, WRONG, find, run_check
from course_utils.exercises.engine.quizzes import QUIZZES
from course_utils.exercises.mistakes import alike
from course_utils.moe import importance_loss, keep_top_k, noisy_top_k_gate

torch.set_num_threads(1)

NAMES = ["keep_top_k", "noisy_gate", "importance_loss"]


def keep_in_a_loop(v, k):
    rows = []
    for row in v.tolist():
        best = sorted(range(len(row)), key=row.__getitem__)[-k:]
        rows.append([value if j in best else -math.inf for j, value in enumerate(row)])
    return torch.tensor(rows)


def keep_by_rank(v, k):
    return v.double().masked_fill(v.argsort(-1, descending=True).argsort(-1) >= k, -math.inf)


def keep_last_of_equals(v, k):
    return keep_top_k(v.flip(-1), k).flip(-1)


def keep_by_adding(v, k):
    return v + torch.zeros_like(v).scatter(-1, v.topk(k).indices, 1.0).log()


def keep_in_place_of_a_copy(v, k):
    out = v.clone()
    out.scatter_(-1, v.argsort(dim=-1, stable=True)[:, : v.shape[1] - k], -torch.inf)
    return out


def keep_one_at_a_time(v, k):
    left, out = v.clone(), torch.full_like(v, -torch.inf)
    for _ in range(k):
        best = left.max(-1, keepdim=True)
        out, left = out.scatter(-1, best.indices, best.values), left.scatter(-1, best.indices, -torch.inf)
    return out


def gate_softmax_then_renormalised(x, w_gate, w_noise, k, noise):
    p = (x @ w_gate + noise * softplus(x @ w_noise)).softmax(-1)
    p = torch.zeros_like(p).scatter(-1, p.topk(k).indices, p.topk(k).values)
    return p / p.sum(-1, keepdim=True)


def gate_scattered(x, w_gate, w_noise, k, noise):
    h = x @ w_gate + noise * torch.log1p((x @ w_noise).exp())
    best = h.topk(k)
    return torch.zeros_like(h).scatter(1, best.indices, best.values.softmax(1))


def gate_with_a_low_number(x, w_gate, w_noise, k, noise):
    h = torch.einsum("nd,de->ne", x, w_gate).add(noise.mul(softplus(torch.einsum("nd,de->ne", x, w_noise))))
    return h.where(keep_top_k(h, k) == h, -1e9).softmax(-1)


def gate_by_threshold(x, w_gate, w_noise, k, noise):
    h = (x @ w_gate + noise * softplus(x @ w_noise)).double()
    e = (h - h.amax(-1, keepdim=True)).exp() * (h >= h.topk(k).values[:, -1:])
    return e / e.sum(-1, keepdim=True)


def gate_token_by_token(x, w_gate, w_noise, k, noise):
    rows = []
    for token, n in zip(x, noise, strict=True):
        h = token @ w_gate + n * softplus(token @ w_noise)
        rows.append(keep_top_k(h, k).softmax(0))
    return torch.stack(rows)


def importance_by_hand(gates):
    total = [gates[:, i].sum() for i in range(gates.shape[1])]
    mean = sum(total) / len(total)
    return sum((t - mean) ** 2 for t in total) / len(total) / mean**2


def importance_of_shares(gates):
    share = gates.mean(dim=0)
    return gates.shape[1] * (share**2).sum() - 1


def importance_by_std(gates):
    total = gates.sum(0).double()
    return (total.std(unbiased=False) / total.mean()).pow(2)


def importance_relative(gates):
    return (gates.sum(0) / gates.sum(0).mean() - 1).square().mean()


def importance_with_known_mean(gates):
    total, mean = gates.sum(0), gates.shape[0] / gates.shape[1]
    return (total - mean).square().mean() / mean**2


RIGHT = [
    ("keep_top_k", keep_in_a_loop),
    ("keep_top_k", keep_by_rank),
    ("keep_top_k", keep_last_of_equals),
    ("keep_top_k", keep_by_adding),
    ("keep_top_k", keep_in_place_of_a_copy),
    ("keep_top_k", keep_one_at_a_time),
    ("noisy_gate", gate_softmax_then_renormalised),
    ("noisy_gate", gate_scattered),
    ("noisy_gate", gate_with_a_low_number),
    ("noisy_gate", gate_by_threshold),
    ("noisy_gate", gate_token_by_token),
    ("importance_loss", importance_by_hand),
    ("importance_loss", importance_of_shares),
    ("importance_loss", importance_by_std),
    ("importance_loss", importance_relative),
    ("importance_loss", importance_with_known_mean),
]


@pytest.mark.parametrize("name, answer", RIGHT, ids=lambda value: getattr(value, "__name__", value))
def test_another_right_answer_passes(name, answer):
    report = run_check(f"mixture_of_experts.{name}", answer)
    assert report.status == PASSED, report.text


@pytest.mark.parametrize("name", NAMES)
def test_the_code_of_the_last_hint_passes(name):
    arguments = {"keep_top_k": "v, k", "noisy_gate": "x, w_gate, w_noise, k, noise", "importance_loss": "gates"}[name]
    *before, value = find(f"mixture_of_experts.{name}").hints[-1].split("; ")
    space = {"torch": torch, "math": math, "my_keep_top_k": keep_top_k}
    exec("\n    ".join([f"def answer({arguments}):", *before, f"return {value}"]), space)  # noqa: S102
    report = run_check(f"mixture_of_experts.{name}", space["answer"])
    assert report.status == PASSED, report.text


def test_the_gates_are_those_of_the_paper_token_by_token():
    x, w_gate, w_noise, k, noise = gate.GATE_CASES[0]
    gates = gate.noisy_gate(x, w_gate, w_noise, k, noise)
    assert torch.equal(gates, noisy_top_k_gate(x, w_gate, w_noise, k, noise).gates)
    for n in range(len(x)):
        h = [
            sum(x[n, j].item() * w_gate[j, e].item() for j in range(x.shape[1]))
            + noise[n, e].item() * math.log1p(math.exp(sum(x[n, j].item() * w_noise[j, e].item() for j in range(x.shape[1]))))
            for e in range(noise.shape[1])
        ]
        best = sorted(h)[-k:]
        right = [math.exp(score) / sum(map(math.exp, best)) if score in best else 0.0 for score in h]
        assert gates[n].tolist() == pytest.approx(right, abs=1e-5)


REFERENCES = [
    (gate.KEEP_MISTAKES, gate.KEEP_CASES, keep_top_k),
    (gate.GATE_MISTAKES, gate.GATE_CASES, gate.noisy_gate),
    (importance.MISTAKES, importance.CASES, importance_loss),
]


@pytest.mark.parametrize("mistakes, cases, reference", REFERENCES, ids=NAMES)
def test_no_misconception_is_right_or_the_same_as_another(mistakes, cases, reference):
    results = [[wrong(*case) for case in cases] for _, wrong in mistakes]
    right = [reference(*case) for case in cases]

    def same(a, b):
        return all(alike(x, y) for x, y in zip(a, b, strict=True))

    for place, (hint, _) in enumerate(mistakes):
        assert not same(results[place], right), hint
        for before in range(place):
            assert mistakes[before][0] == hint or not same(results[place], results[before]), (hint, mistakes[before][0])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "answer, says",
    [
        (lambda *a: None, "did you forget `return`"),
        (lambda *a: "text", "text|a str"),
        (lambda *a: {}["not today"], "not today"),
        (lambda *a: torch.full((2, 3, 5), math.nan), "has shape|should be one number"),
        (lambda *a: a[0] * math.nan, "nan|has shape"),
        (lambda *a: torch.zeros(0), "shape"),
        (lambda *a: torch.tensor(1j), "shape|dtype"),
    ],
    ids=["nothing", "text", "error", "shape", "nan", "empty", "complex"],
)
def test_an_answer_of_another_kind_is_told_so(name, answer, says):
    report = run_check(f"mixture_of_experts.{name}", answer)
    assert report.status == WRONG and any(part in report.text for part in says.split("|")), report.text
    assert "could not be used" not in report.text, report.text


@pytest.mark.parametrize("name", NAMES)
def test_a_stub_is_not_attempted_yet(name):
    def stub(*arguments):
        raise NotImplementedError

    assert run_check(f"mixture_of_experts.{name}", stub).status == OPEN


def test_every_exercise_has_three_hints_and_many_wrong_answers_that_are_all_different():
    assert max(Counter((wrong.exercise, wrong.code) for wrong in WRONG_ANSWERS).values()) == 1
    counts = Counter(wrong.exercise.split(".")[1] for wrong in WRONG_ANSWERS)
    assert min(counts[name] for name in NAMES) >= 40
    assert all(len(find(f"mixture_of_experts.{name}").hints) == 3 for name in NAMES)


def test_the_quiz_has_seven_questions_of_four_answers():
    assert [len(question["answers"]) for question in QUIZZES["mixture_of_experts.quiz"]] == [4] * 7
