"""The checks of notebook 04 on answers that are right in another way, and on wrong ones that nobody foresaw."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from wrong_answers.task_vectors_and_merging import WRONG as WRONG_ANSWERS

from course_utils.exercises import task_vectors_apply as apply
from course_utils.exercises import task_vectors_dare as drop
from course_utils.exercises import task_vectors_dare_mistakes as drop_mistakes
from course_utils.exercises import task_vectors_elect as elect
from course_utils.exercises import task_vectors_mean as mean
from course_utils.exercises import task_vectors_slerp as arc
from course_utils.exercises import task_vectors_slerp_mistakes as arc_mistakes
from course_utils.exercises import task_vectors_trim as trimming
from course_utils.exercises.engine import PASSED, WRONG, Mistake, find, run_check
from course_utils.exercises.engine.calls import guard
from course_utils.exercises.engine.quizzes import QUIZZES
from course_utils.exercises.mistakes import near
from course_utils.exercises.task_vectors_checks import named
from course_utils.merging.task_vectors import dare, disjoint_mean, elect_sign, slerp_tensors, trim

NAMES = ("trim", "elect", "disjoint_mean", "dare", "slerp", "apply")

# --- right in another way --------------------------------------------------------------------------------------------


def trim_by_argsort(tau, density):
    k = math.ceil(density * tau.shape[1])
    order = tau.abs().argsort(dim=1, descending=True)
    result = tau.clone()
    for row, indices in zip(result, order):
        row[indices[k:]] = 0
    return result


def trim_by_ranks(tau, density):
    ranks = tau.abs().argsort(dim=-1, descending=True).argsort(dim=-1)
    return torch.where(ranks < -((-density * tau.size(-1)) // 1), tau, torch.zeros(()))


def trim_in_lists(tau, density):
    rows = []
    for row in tau.tolist():
        k = math.ceil(len(row) * density)
        best = sorted(range(len(row)), key=lambda i: -abs(row[i]))[:k]
        rows.append([x if i in best else 0.0 for i, x in enumerate(row)])
    return torch.tensor(rows, dtype=torch.float64)


def trim_by_squares_in_numpy(tau, density):
    x = tau.numpy()
    k = int(np.ceil(density * x.shape[1]))
    mask = np.zeros_like(x)
    np.put_along_axis(mask, np.argsort(-(x**2), axis=1)[:, :k], 1.0, axis=1)
    return torch.from_numpy(x * mask)


def elect_by_masses(tau):
    positive, negative = tau.clamp(min=0).sum(0), -tau.clamp(max=0).sum(0)
    sign = (positive > negative).int() - (positive < negative).int()
    sign[sign == 0] = 1 if sign.sum() > 0 else -1
    return sign


def elect_by_the_mean(tau):
    sign = torch.sign(tau.double().mean(dim=0))
    majority = torch.sign((sign > 0).sum() - (sign < 0).sum())
    return sign + (sign == 0) * majority


def elect_in_a_loop(tau):
    signs = [(-1.0, 0.0, 1.0)[int(torch.sign(column.sum())) + 1] for column in tau.T]
    most = 1.0 if sum(signs) > 0 else -1.0
    return torch.tensor([s or most for s in signs])


def mean_by_nanmean(tau, sign):
    return torch.where(tau * sign > 0, tau, torch.nan).nanmean(dim=0).nan_to_num(0.0)


def mean_in_a_loop(tau, sign):
    result = torch.zeros(tau.shape[1])
    for j in range(tau.shape[1]):
        values = [x for x in tau[:, j].tolist() if x * sign[j] > 0]
        result[j] = sum(values) / len(values) if values else 0
    return result


def mean_with_a_small_number(tau, sign):
    """(sign + tau.sign()) / 2 is +1, -1 or 0 (or a half for a trimmed entry, whose value is 0)."""
    agree = ((sign + tau.sign()).abs() > 1.5).double()
    return (tau * agree).sum(0) / (agree.sum(0) + 1e-12)


def mean_of_clamped(tau, sign):
    flipped = (tau * sign).clamp(min=0)
    return sign * flipped.sum(0) / (flipped != 0).sum(0).clamp(min=1)


def dare_by_bernoulli(tau, p, generator):
    return tau * torch.bernoulli(torch.full_like(tau, 1 - p), generator=generator) / (1 - p)


def dare_in_place_on_a_mask(tau, p, generator):
    mask = torch.empty_like(tau).bernoulli_(1 - p, generator=generator).div_(1 - p)
    return tau * mask


def dare_with_fills(tau, p, generator):
    dropped = torch.rand(tau.shape, generator=generator, dtype=torch.float64) < p
    return (tau / (1 - p)).masked_fill(dropped, 0.0)


def dare_row_by_row(tau, p, generator):
    if tau.dim() == 2:
        return torch.stack([dare_row_by_row(row, p, generator) for row in tau])
    return torch.where(torch.rand(len(tau), generator=generator) > 1 - p, 0.0, tau) / (1 - p)


def dare_by_normal_numbers(tau, p, generator):
    u = torch.special.ndtr(torch.randn(tau.shape, generator=generator, dtype=torch.float64))
    return (u >= p) * tau.double() / (1 - p)


def dare_in_numpy(tau, p, generator):
    rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
    return tau * torch.from_numpy(rng.random(tuple(tau.shape)) >= p) / (1 - p)


def dare_by_whole_numbers(tau, p, generator):
    coins = torch.randint(1_000_000, tuple(tau.shape), generator=generator)
    return tau * (coins >= round(p * 1_000_000)) / (1 - p)


def slerp_in_torch(a, b, t):
    x, y = a.reshape(-1).double(), b.reshape(-1).double()
    cos = F.cosine_similarity(x, y, dim=0).clamp(-1, 1)
    if cos.abs() > 0.9995:
        return torch.lerp(a, b, t)
    w = torch.arccos(cos)
    return ((torch.sin((1 - t) * w) * x + torch.sin(t * w) * y) / torch.sin(w)).reshape(a.shape)


def slerp_by_atan2(a, b, t):
    u, v = a.double() / a.double().norm(), b.double() / b.double().norm()
    w = 2 * math.atan2((u - v).norm().item(), (u + v).norm().item())
    if min(w, math.pi - w) < 0.0316:
        return a + t * (b - a)
    return (a * math.sin(w - t * w) + b * math.sin(t * w)) / math.sin(w)


def slerp_by_gram_schmidt(a, b, t):
    """With b split along a and across it: the same plane, the same two coefficients."""
    p, q = torch.linalg.vector_norm(a), torch.linalg.vector_norm(b)
    cos = torch.tensordot(a, b, a.dim()) / (p * q)
    if cos**2 > 0.999:
        return (1 - t) * a + t * b
    sin = (1 - cos**2).sqrt()
    w = torch.atan2(sin, cos)
    across = (b / q - cos * a / p) / sin
    from_b = (t * w).sin() / sin
    from_a = (t * w).cos() - cos * from_b
    return from_a * a + from_b * q * (cos * a / p + sin * across)


def apply_in_a_running_sum(base, fine_tuned, lam):
    result = {name: tensor.clone() for name, tensor in base.items()}
    for model in fine_tuned:
        for name, tensor in base.items():
            if tensor.is_floating_point():
                result[name] += lam * (model[name] - tensor)
    return result


def apply_by_coefficients(base, fine_tuned, lam):
    edited, n = OrderedDict(), len(fine_tuned)
    for name, start in base.items():
        stack = torch.stack([model[name] for model in fine_tuned]).double().sum(0)
        value = (1 - n * lam) * start.double() + lam * stack
        edited[name] = value.to(start.dtype) if start.dtype.is_floating_point else torch.tensor(start.item())
    return edited


def apply_task_vectors_first(base, fine_tuned, lam):
    floats = [name for name in base if base[name].dtype in (torch.float16, torch.float32)]
    taus = [{name: model[name].float() - base[name].float() for name in floats} for model in fine_tuned]
    edited = {name: (base[name] + lam * sum(tau[name] for tau in taus)).to(base[name].dtype) for name in floats}
    return {name: edited.get(name, tensor.clone()) for name, tensor in base.items()}


RIGHT = [
    ("trim", trim_by_argsort),
    ("trim", trim_by_ranks),
    ("trim", trim_in_lists),
    ("trim", trim_by_squares_in_numpy),
    ("elect", elect_by_masses),
    ("elect", elect_by_the_mean),
    ("elect", elect_in_a_loop),
    ("disjoint_mean", mean_by_nanmean),
    ("disjoint_mean", mean_in_a_loop),
    ("disjoint_mean", mean_with_a_small_number),
    ("disjoint_mean", mean_of_clamped),
    ("dare", dare_by_bernoulli),
    ("dare", dare_in_place_on_a_mask),
    ("dare", dare_with_fills),
    ("dare", dare_row_by_row),
    ("dare", dare_by_normal_numbers),
    ("dare", dare_in_numpy),
    ("dare", dare_by_whole_numbers),
    ("slerp", slerp_in_torch),
    ("slerp", slerp_by_atan2),
    ("slerp", slerp_by_gram_schmidt),
    ("apply", apply_in_a_running_sum),
    ("apply", apply_by_coefficients),
    ("apply", apply_task_vectors_first),
]


@pytest.mark.parametrize("name, answer", RIGHT, ids=lambda value: getattr(value, "__name__", value))
def test_another_right_answer_passes(name, answer):
    report = run_check(f"task_vectors_and_merging.{name}", answer)
    assert report.status == PASSED, report.text


@pytest.mark.parametrize("seed", range(40))
def test_a_right_draw_passes_whatever_the_seed(seed):
    """Chance may go 4.5 sigmas: no seed that a student meets is refused."""
    tau = drop.vectors(1, 4000, seed)[0]
    for p in (0.1, 0.5, 0.9, 0.99):
        drop._check(dare(tau, p, drop.seeded(1000 + seed)).double(), tau, p)


@pytest.mark.parametrize("seed", range(5))
def test_the_repeated_draws_pass_whatever_the_seed(seed, monkeypatch):
    monkeypatch.setattr(drop, "seeded", lambda given: torch.Generator().manual_seed(given + 100 * seed))
    for test in find("task_vectors_and_merging.dare").tests:
        test(guard(dare))


# --- every known mistake is told by its own hint ---------------------------------------------------------------------


def complaint(test, answer) -> str:
    with pytest.raises(Mistake) as said:
        test(guard(answer))
    return str(said.value)


def inputs_of(test, reference):
    """What a test hands to the answer, in order; the answer is right, so that the test goes to its end."""
    seen = []

    def answer(*args):
        seen.append(args)
        return reference(*args)

    test(answer)
    return seen


TESTED = {
    "trim": (trim, trimming.known, [trimming.trim_rows, trimming.trim_ceil]),
    "elect": (elect_sign, elect.known, [elect.elect_mass, elect.elect_draw]),
    "disjoint_mean": (disjoint_mean, mean.known, [mean.mean_columns, mean.mean_many]),
}


def known_mistakes(only=None):
    return [
        (name, place)
        for name, (reference, known, tests) in TESTED.items()
        for place in range(len(known(*inputs_of(tests[0], reference)[0])))
        if only in (None, name)
    ]


SQUARE = {"elect": elect.elect_square, "disjoint_mean": mean.mean_square}


@pytest.mark.parametrize("name, place", known_mistakes())
def test_every_known_mistake_is_recognised(name, place):
    """By the first test in which it does not give the right result, and with its own hint."""
    reference, known, tests = TESTED[name]
    for test in tests:
        inputs = inputs_of(test, reference)
        hints = {known(*args)[place][0] for args in inputs}
        if all(near(known(*args)[place][1], reference(*args)) for args in inputs):
            continue
        assert complaint(test, lambda *args: known(*args)[place][1].float()) in hints
        return
    raise AssertionError("this mistake is right in every test")


@pytest.mark.parametrize("name", TESTED)
def test_no_two_known_mistakes_give_the_same_results(name):
    """Over the inputs of one test; hints that are parts of each other tell of one and the same mistake."""
    reference, known, tests = TESTED[name]
    inputs = inputs_of(tests[0], reference) + inputs_of(tests[1], reference)
    table = [known(*args) for args in inputs]
    for i, rows in enumerate(zip(*table)):
        assert not all(near(wrong, reference(*args)) for (_, wrong), args in zip(rows, inputs)), rows[0][0]
        for others in list(zip(*table))[:i]:
            if all(near(mine, other) for (_, mine), (_, other) in zip(rows, others)):
                mine, other = rows[0][0], others[0][0]
                assert mine == other or other in mine, (mine, other)


@pytest.mark.parametrize("name", SQUARE)
def test_a_square_input_tells_tasks_from_coordinates(name):
    reference, known, _ = TESTED[name]
    first = inputs_of(SQUARE[name], reference)[0]
    module = {"elect": elect, "disjoint_mean": mean}[name]
    places = [i for i, (hint, _) in enumerate(known(*first)) if hint == module.TASKS]
    assert places and not any(near(known(*first)[i][1], reference(*first)) for i in places)
    said = complaint(SQUARE[name], lambda *args: known(*args)[places[0]][1].float())
    assert said == module.TASKS


def test_someone_agrees_at_every_coordinate_but_in_the_last_test():
    for test in (mean.mean_columns, mean.mean_many):
        for tau, sign in inputs_of(test, disjoint_mean):
            assert (tau * sign > 0).any(0).all() and (elect_sign(tau) != sign).any()
    (tau, sign), *_ = inputs_of(mean.mean_nobody, disjoint_mean)
    assert (~(tau * sign > 0).any(0)).sum() >= 2


def test_a_draw_is_designed_and_its_sums_are_exact():
    for tau in (elect.MOSTLY_MINUS, elect.MOSTLY_PLUS, elect.MANY_SMALL):
        total = tau.sum(0)
        assert (total == 0).sum() >= 2 and total.sign().sum() != 0 and torch.equal(tau, tau.round())
        assert set(elect_sign(tau).tolist()) == {1.0, -1.0}
    assert elect_sign(torch.tensor([[3.0], [-1.0], [-1.0]])).item() == 1


P = 0.3  # that of the first test
FACTORS = {
    drop_mistakes.NO_RESCALE: 1.0,
    drop_mistakes.BY_P: 1 / P,
    drop_mistakes.TIMES_KEEP: 1 - P,
    drop_mistakes.TIMES_P: P,
    drop_mistakes.TWICE: (1 - P) ** -2,
    drop_mistakes.ROOT: (1 - P) ** -0.5,
    drop_mistakes.ONE_PLUS: 1 + P,
    drop_mistakes.NEGATIVE: 1 / (P - 1),
}


@pytest.mark.parametrize("hint", FACTORS)
def test_every_wrong_factor_is_named(hint):
    def answer(tau, p, generator):
        return (torch.rand(tau.shape, generator=generator) >= p) * tau * FACTORS[hint]

    assert complaint(drop.dare_once, answer).startswith(hint)


def test_no_two_factors_are_equal_at_the_rate_of_the_first_test():
    values = sorted([*FACTORS.values(), 1 / (1 - P)])
    assert min(b / a for a, b in zip(values[1:], values[2:])) > 1.05 and P != 1 - P


def test_what_mergekit_does_is_named():
    said = complaint(drop.dare_once, lambda tau, p, generator: dare(tau, p, generator, rescale="l1"))
    assert said.startswith(drop_mistakes.L1)
    said = complaint(drop.dare_once, lambda tau, p, generator: dare(tau, p, generator, rescale=None))
    assert said.startswith(drop_mistakes.NO_RESCALE)


def arcs():
    return [args for test in (arc.slerp_vectors, arc.slerp_obtuse) for args in inputs_of(test, slerp_tensors)]


def known_arcs(a, b, t):
    return arc_mistakes.coefficients(a.double(), b.double(), t)


@pytest.mark.parametrize("which", range(2))
def test_every_wrong_pair_of_coefficients_is_recognised(which):
    a, b, t = arcs()[which]
    test = (arc.slerp_vectors, arc.slerp_obtuse)[which]
    right = arc_mistakes.arc(arc_mistakes.angle(a.double(), b.double()), t)
    for hint, (x, y) in known_arcs(a, b, t):
        assert not arc._same((x, y), right), hint
        assert complaint(test, lambda a, b, t, x=x, y=y: x * a + y * b).startswith(hint), hint


@pytest.mark.parametrize("which", range(2))
def test_no_two_pairs_of_coefficients_are_equal(which):
    known = known_arcs(*arcs()[which])
    for i, (hint, pair) in enumerate(known):
        for other, also in known[:i]:
            assert hint == other or not arc._same(pair, also), (hint, other)


def test_wrong_angles_of_matrices_are_recognised():
    for a, b, t in inputs_of(arc.slerp_matrices, slerp_tensors):
        for hint, value in arc_mistakes.elsewhere(a.double(), b.double(), t):
            said = complaint(lambda f, a=a, b=b, t=t: arc._check(f, a, b, t), lambda a, b, t, v=value: v.float())
            assert said == hint if value.shape == a.shape and value.isfinite().all() else said


def test_between_makes_the_angle_and_the_lengths_that_are_asked():
    a, b = arc.between(2.0, 5.0, 8.0, 3, 4, seed=1)
    assert math.isclose(arc_mistakes.angle(a.double(), b.double()), 2.0, rel_tol=1e-5)
    assert math.isclose(a.norm(), 5.0, rel_tol=1e-5) and math.isclose(b.norm(), 8.0, rel_tol=1e-5)


LAM = 0.4  # that of the first test, with three models


@pytest.mark.parametrize("place", range(len(apply.known(3, LAM))))
def test_every_wrong_sum_is_recognised(place):
    hint, coefficients = apply.known(3, LAM)[place]

    def answer(base, fine_tuned, lam):
        c = apply.known(len(fine_tuned), lam)[place][1].tolist()
        models = [base, *fine_tuned]
        return {name: sum(x * model[name] for x, model in zip(c, models)).float() for name in base}

    said = complaint(apply.apply_three, answer)
    assert said.startswith(hint) and f"(Yours is {apply.shown(coefficients)}, it should be" in said


def test_no_two_wrong_sums_are_equal():
    known = apply.known(3, LAM)
    for i, (hint, c) in enumerate(known):
        assert all(hint == other or not torch.allclose(c, d, atol=1e-2) for other, d in known[:i]), hint


def test_a_name_is_given_only_if_all_inputs_show_it():
    one, two = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    known = [[("a", one), ("b", two)], [("a", two), ("b", two)]]
    assert named([two, two], [one, one], known) == "b" and named([one, one], [two, two], known) == ""
    assert named([one, two], [one, two], known) == ""  # right is no mistake


# --- wrong in a way that nobody foresaw ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "test, answer, says",
    [
        (trimming.trim_rows, lambda tau, k: trim(tau, k).T, "The result has the shape of tau"),
        (trimming.trim_rows, lambda tau, k: trim(tau, k).numpy(), "Stay in torch"),
        (trimming.trim_rows, lambda tau, k: trim(tau, k) * 1.1, "and tau has"),
        (trimming.trim_ties, lambda tau, k: trim(tau, k) * 0, "Nothing is left"),
        (trimming.trim_zeros, lambda tau, k: trim(tau, 1.0), "Nothing was trimmed"),
        (elect.elect_mass, lambda tau: tau.sum(0).tanh().round(decimals=1), "Signs are +1 or -1"),
        (elect.elect_mass, lambda tau: elect_sign(tau)[:-1], "The shapes do not line up"),
        (elect.elect_draw, lambda tau: elect_sign(tau) * (tau[0] != 0), "so it takes the sign that most coordinates"),
        (mean.mean_columns, lambda tau, sign: disjoint_mean(tau, sign) + 1e-3, "the mean of [2], 2. Yours is 2.001"),
        (mean.mean_columns, lambda tau, sign: "mean", "should be a torch tensor"),
        (mean.mean_nobody, lambda tau, sign: disjoint_mean(tau, sign) + ~(tau * sign > 0).any(0), "the result is 0"),
        (mean.mean_nobody, lambda tau, sign: disjoint_mean(tau, sign) / 0, "At coordinate"),
        (drop.dare_once, lambda tau, p, g: dare(tau, p, g).numpy(), "Stay in torch"),
        (drop.dare_once, lambda tau, p, g: dare(tau, 0.9, g), "of the 20000 entries were dropped"),
        (drop.dare_once, lambda tau, p, g: tau * 1.2, "Nothing became 0, everything was multiplied by 1.2"),
        (drop.dare_rows, lambda tau, p, g: dare(tau, p, g).T, "The result has the shape of tau"),
        (drop.dare_ends, lambda tau, p, g: dare(tau, max(p, 0.01), g), "With p = 0 nothing may be dropped"),
        (drop.dare_ends, lambda tau, p, g: dare(tau, p, g) * (1 + (p == 0)), "which is tau itself"),
        (drop.dare_ends, lambda tau, p, g: dare(tau, min(p, 0.9), g), "entries were dropped, and the probability"),
        (arc.slerp_vectors, lambda a, b, t: slerp_tensors(a, b, t) + 1, "no sum x a + y b"),
        (arc.slerp_vectors, lambda a, b, t: slerp_tensors(a, b, t).numpy(), "Stay in torch"),
        (arc.slerp_vectors, lambda a, b, t: 3 * a + 2 * b, "(Yours is 3 a + 2 b, it should be"),
        (arc.slerp_ends, lambda a, b, t: slerp_tensors(a, b, 1 - t), "which is a itself"),
        (arc.slerp_ends, lambda a, b, t: (1 - t) * a + t * b, "the result half-way has the length"),
        (arc.slerp_parallel, lambda a, b, t: slerp_tensors(a, b, t) * 1.1, "Yours is"),
        (apply.apply_three, lambda b, f, lam: apply.add_tasks(b, f, 0.5), "(Yours is -0.5 theta_0 + 0.5 theta_1"),
        (apply.apply_three, lambda b, f, lam: {n: t**2 for n, t in b.items()}, "expected"),
        (apply.apply_three, lambda b, f, lam: {n: t / 0 - t / 0 for n, t in b.items()}, "holds nan"),
        (apply.apply_half, lambda b, f, lam: {n: t * 70000.0 for n, t in b.items()}, "The result is theta_0"),
        (apply.apply_three, lambda b, f, lam: {**apply.add_tasks(b, f, lam), "more": torch.ones(1)}, "no name of"),
    ],
)
def test_unknown_answers_are_told_where_they_differ(test, answer, says):
    said = complaint(test, answer)
    assert says.lower() in said.lower(), said


def test_coins_that_hang_together_are_noticed():
    def pairs_of_columns(tau, p, generator):
        d = tau.shape[-1]
        keep = torch.rand(*tau.shape[:-1], (d + 1) // 2, generator=generator) >= p
        return tau * keep.repeat_interleave(2, dim=-1)[..., :d] / (1 - p)

    assert "does not fit 12 independent coins" in complaint(drop.dare_mean, pairs_of_columns)

    def opposite_rows(tau, p, generator):
        u = torch.rand(tau.shape[-1], generator=generator)
        u = u if tau.dim() == 1 else torch.stack([u if i % 2 else 1 - u for i in range(len(tau))])
        return tau * (u >= p) / (1 - p)

    assert "drop or keep the same coordinate in" in complaint(drop.dare_rows, opposite_rows)


def test_an_entry_that_is_never_dropped_is_noticed():
    def first_stays(tau, p, generator):
        result = dare(tau, p, generator)
        result[..., 0] = tau[..., 0] / (1 - p)
        return result

    assert "It was dropped in 0 of" in complaint(drop.dare_mean, first_stays)


def test_another_error_is_handed_on():
    def answer(*inputs):
        raise KeyError("not today")

    for name in NAMES:
        report = run_check(f"task_vectors_and_merging.{name}", answer)
        assert report.status == WRONG and "not today" in report.text


# --- the reference that lives here, the hints, the quiz --------------------------------------------------------------


def test_adding_tasks_is_the_formula_and_leaves_its_inputs():
    base, models = apply.family(3, seed=1)
    base["steps"] = torch.tensor(7)
    models = [{**model, "steps": torch.tensor(9)} for model in models]
    before = {name: tensor.clone() for name, tensor in base.items()}
    edited = apply.add_tasks(base, models, 0.25)
    for name in ("layer.weight", "layer.bias"):
        expected = base[name] + 0.25 * sum(model[name] - base[name] for model in models)
        torch.testing.assert_close(edited[name], expected)
    assert edited["steps"] == 7 and all(torch.equal(base[name], tensor) for name, tensor in before.items())


def test_the_last_hint_of_each_exercise_is_nearly_the_code():
    parts = {
        "trim": ".scatter(",
        "elect": "torch.where(",
        "disjoint_mean": ".clamp(min=1)",
        "dare": "torch.rand(",
        "slerp": "math.sin(W)",
        "apply": ".to(start.dtype)",
    }
    for name, part in parts.items():
        hints = find(f"task_vectors_and_merging.{name}").hints
        assert len(hints) == 3 and part in hints[-1] and part not in hints[0] and part not in hints[1]


def test_the_wrong_answers_are_many_and_all_different():
    codes = Counter((wrong.exercise, wrong.code) for wrong in WRONG_ANSWERS)
    assert max(codes.values()) == 1
    assert min(Counter(wrong.exercise for wrong in WRONG_ANSWERS).values()) >= 30
    assert {wrong.exercise.split(".")[1] for wrong in WRONG_ANSWERS} == set(NAMES)


def test_the_quiz_has_five_questions_with_four_answers():
    questions = QUIZZES["task_vectors_and_merging.quiz"]
    assert len(questions) == 5 and all(len(question["answers"]) == 4 for question in questions)
