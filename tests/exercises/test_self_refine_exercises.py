"""The checks of notebook 11 on answers that are right in another way, and the references against the library."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest
import torch

from course_utils import refinement
from course_utils.exercises.engine import PASSED, WRONG, find, run_check
from course_utils.exercises.self_refine.best_of_n import pass_at_k
from course_utils.exercises.self_refine.fixed_point import rates
from course_utils.exercises.self_refine.loop import self_refine_loop
from course_utils.exercises.self_refine.net_gain import paired_rates
from course_utils.exercises.self_refine.two_rate import two_rate


def loop_of_pairs(x, generate, feedback, refine, stop, max_rounds):
    answers, feedbacks, t = (generate(x),), (), 0
    while t < max_rounds:
        said = feedback(x, y=answers[-1])
        feedbacks += (said,)
        if stop(fb=said, t=t):
            return [answers, feedbacks]
        answers += (refine(x=x, history=[[y, fb] for y, fb in zip(answers, feedbacks)]),)
        t += 1
    return [answers, feedbacks]


def loop_recursive(x, generate, feedback, refine, stop, max_rounds):
    def go(t, y, history):
        if t == max_rounds:
            return [y], []
        said = feedback(x, y)
        if stop(said, t):
            return [y], [said]
        history = [*history, (y, said)]
        answers, feedbacks = go(t + 1, refine(x, list(history)), history)
        return [y, *answers], [said, *feedbacks]

    return go(0, generate(x), [])


def loop_with_tuples(x, generate, feedback, refine, stop, max_rounds):
    answers, feedbacks = [generate(x)], []
    for t in range(max_rounds):
        feedbacks.append(feedback(x, answers[-1]))
        if stop(feedbacks[-1], t):
            break
        answers.append(refine(x, tuple(zip(answers, feedbacks))))
    return answers, feedbacks


def two_rate_closed(a0, f, c, rounds):
    star = f / (f + c) if f + c > 0 else a0
    return star + (a0 - star) * (1 - f - c) ** np.arange(rounds + 1)


def two_rate_in_torch(a0, f, c, rounds):
    found = torch.empty(rounds + 1)
    found[0] = a0
    for t in range(rounds):
        found[t + 1] = found[t] + f * (1 - found[t]) - c * found[t]
    return found


def rates_by_solve(a0, a1, a2):
    f, c = np.linalg.solve([[1 - a0, -a0], [1 - a1, -a1]], [a1 - a0, a2 - a1])
    return np.array([f, c, f / (f + c)])


def rates_by_aitken(a0, a1, a2):
    star = a0 - (a1 - a0) ** 2 / (a2 - 2 * a1 + a0)
    total = 1 - (a2 - a1) / (a1 - a0)
    return total * star, total * (1 - star), star


def pass_by_product(n, c, k):
    return 1.0 if n - c < k else 1 - np.prod(1 - k / np.arange(n - c + 1, n + 1))  # Chen et al.'s own code


def pass_by_draws(n, c, k):
    none = 1.0
    for i in range(k):
        none *= max(n - c - i, 0) / (n - i)
    return torch.tensor(1 - none)


def pass_by_logarithms(n, c, k):
    def log_comb(m):
        return math.lgamma(m + 1) - math.lgamma(k + 1) - math.lgamma(m - k + 1)

    return 1.0 if n - c < k else -math.expm1(log_comb(n - c) - log_comb(n))


def coverage_by_regular_expressions(text, keywords):
    wanted = [word for i, word in enumerate(keywords) if word not in keywords[:i]]
    missing = [w for w in wanted if not re.search(rf"(?<![^\W\d_]){w}(?![^\W\d_])", text, flags=re.IGNORECASE)]
    return (1 - len(missing) / len(wanted) if wanted else 1), missing


def coverage_by_letters(text, keywords):
    words = "".join(sign if sign.isalpha() else " " for sign in text.casefold()).split()
    seen, missing, covered = set(), [], 0
    for word in keywords:
        if word in seen:
            continue
        seen.add(word)
        if word.casefold() in words:
            covered += 1
        else:
            missing.append(word)
    return [np.float64(covered / len(seen)) if seen else 1.0, tuple(missing)]


def paired_in_a_loop(before, after):
    fixed = broken = wrong = right = 0
    for b, a in zip(before, after):
        if b:
            right, broken = right + 1, broken + (not a)
        else:
            wrong, fixed = wrong + 1, fixed + bool(a)
    return [fixed / wrong if wrong else 0, broken / right if right else 0]


def paired_by_sums(before, after):
    before, after = before.astype(np.float32), after.astype(np.float32)
    return np.array(
        [((1 - before) * after).sum() / max((1 - before).sum(), 1), (before * (1 - after)).sum() / max(before.sum(), 1)]
    )


def paired_in_torch(before, after):
    before, after = torch.from_numpy(before), torch.from_numpy(after)
    return torch.stack([after[~before].float().mean().nan_to_num(), (~after)[before].float().mean().nan_to_num()])


RIGHT = {
    "loop": [loop_of_pairs, loop_recursive, loop_with_tuples, lambda *a: refinement.self_refine(*a)[:2]],
    "two_rate": [two_rate_closed, two_rate_in_torch, refinement.two_rate, lambda *a: two_rate(*a).tolist()],
    "fixed_point": [rates_by_solve, rates_by_aitken, lambda *a: [torch.tensor(value) for value in rates(*a)]],
    "best_of_n": [pass_by_product, pass_by_draws, pass_by_logarithms],
    "coverage": [coverage_by_regular_expressions, coverage_by_letters],
    "net_gain": [paired_in_a_loop, paired_by_sums, paired_in_torch],
}


@pytest.mark.parametrize(
    ("name", "answer"),
    [(name, answer) for name, answers in RIGHT.items() for answer in answers],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_another_right_answer_passes(name, answer):
    report = run_check(f"self_refine.{name}", answer)
    assert report.status == PASSED, report.text


def test_the_references_are_the_librarys_on_random_input():
    random = np.random.default_rng(0)
    for _ in range(50):
        a0, f, c = random.random(3)
        found = two_rate(a0, f, c, int(random.integers(2, 6)))
        np.testing.assert_allclose(found, refinement.two_rate(a0, f, c, len(found) - 1), atol=1e-12)
        mine = rates(*found[:3])
        assert mine == pytest.approx((f, c, float(refinement.fixed_point(f, c))), abs=1e-6)
        assert mine[:2] == pytest.approx(refinement.fit_two_rates(found[:3])[:2], abs=1e-6)


@pytest.mark.parametrize("n, c", [(6, 0), (6, 1), (7, 3), (8, 8), (9, 5)])
def test_pass_at_k_is_the_share_of_the_choices_that_hold_a_right_sample(n, c):
    for k in range(1, n + 1):
        choices = list(itertools.combinations(range(n), k))
        assert pass_at_k(n, c, k) == pytest.approx(np.mean([min(choice) < c for choice in choices]))


def test_pass_at_k_is_unbiased_and_the_plug_in_estimate_too_low():
    n, k, p = 8, 3, 0.3
    weights = [math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]
    mean = sum(w * pass_at_k(n, c, k) for c, w in enumerate(weights))
    assert mean == pytest.approx(1 - (1 - p) ** k)
    assert sum(w * (1 - (1 - c / n) ** k) for c, w in enumerate(weights)) < mean - 0.02


def test_the_measured_rates_give_the_accuracy_after_the_round():
    for each in find("self_refine.net_gain").all_cases:
        before, after = each.named.values()
        assert two_rate(before.mean(), *paired_rates(before, after), 1)[1] == pytest.approx(after.mean())


@pytest.mark.parametrize("got", [0, "text", {}, [1], (1, 2, 3), [[], []], (np.zeros(2), torch.zeros(2)), object])
@pytest.mark.parametrize("name", [*RIGHT, "loop with the right calls"])
def test_a_result_of_another_kind_is_told_so(name, got):
    def answer(*given):
        return (self_refine_loop(*given), got)[1] if "calls" in name else got

    text = run_check(f"self_refine.{name.split()[0]}", answer).text
    assert WRONG in text and "could not be used" not in text and "raised" not in text, text
