"""Task vectors and the merging methods: closed forms, the papers' examples, ends, symmetries, clear refusals."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils import merging
from course_utils.merging.checkpoints import count_layers, outside_layers, split_layer, stack_layers
from course_utils.merging.task_vectors import (
    Largest,
    RandomShare,
    add,
    apply_task_vectors,
    dare,
    disjoint_mean,
    edit,
    elect_sign,
    float_dtype,
    in_whole_rows,
    keep_probabilities,
    magprune,
    negate,
    seed_for,
    slerp_tensors,
    stock_ratio,
    task_vector,
    trim,
)

seeds = st.integers(0, 2**31)
shares = st.floats(0, 1)


def normal(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


# ---------------------------------------------------------------- trim


def test_trim_keeps_the_largest_of_each_row():
    tau = torch.tensor([[3.0, -4.0, 0.1, 2.0], [0.01, 0.02, -0.04, 0.03]])
    assert trim(tau, 0.5).tolist() == [[3, -4, 0, 0], pytest.approx([0, 0, -0.04, 0.03])]
    assert trim(tau[0], 0.25).tolist() == [0, -4, 0, 0]


@given(seeds, st.integers(1, 4), st.integers(1, 60), shares, st.booleans())
@settings(max_examples=60, deadline=None)
def test_trim_keeps_exactly_ceil_k_d_also_of_equals(seed, n, d, density, coarse):
    tau = normal(seed, n, d).sign() if coarse else normal(seed, n, d)
    kept = trim(tau, density)
    k = math.ceil(round(density * d, 6))
    assert ((kept != 0).sum(1) == k).all()
    assert ((kept == tau) | (kept == 0)).all()
    for row, old in zip(kept.abs(), tau.abs(), strict=True):
        assert not k or k == d or row[row > 0].min() >= old[row == 0].max()


def test_trim_counts_as_one_would_on_paper():
    assert (trim(normal(0, 1, 100), 0.07) != 0).sum() == 7  # 0.07 * 100 is 7.000000000000001 in floating point


# ---------------------------------------------------------------- elect and merge


def test_mass_decides_not_heads():
    tau = torch.tensor([[3.0], [-1.0], [-1.0]])
    assert elect_sign(tau).tolist() == [1] and elect_sign(tau, by="count").tolist() == [-1]


def test_a_tie_goes_to_the_majority_of_the_other_coordinates():
    tau = torch.tensor([[1.0, -1.0, -2.0, 4.0], [-1.0, -1.0, -2.0, -4.0]])
    assert elect_sign(tau).tolist() == [-1, -1, -1, -1]
    assert elect_sign(tau, zero="plus").tolist() == [1, -1, -1, 1]
    assert elect_sign(torch.zeros(2, 3)).tolist() == [0, 0, 0]


def test_a_tie_stays_undecided_where_as_many_coordinates_are_plus_as_minus():
    tau = torch.tensor([[2.0, -1.0, 1.0], [1.0, -1.0, -1.0]])
    assert elect_sign(tau).tolist() == [1, -1, 0] and elect_sign(tau, zero="plus").tolist() == [1, -1, 1]
    assert disjoint_mean(tau, elect_sign(tau)).tolist() == [1.5, -1, 0]


def test_disjoint_mean_divides_by_those_who_agree():
    tau = torch.tensor([[2.0, -3.0, 0.0], [0.0, 1.0, 0.0], [-1.0, -1.0, 0.0]])
    assert disjoint_mean(tau, elect_sign(tau)).tolist() == [2, -2, 0]
    tau, weights = torch.tensor([[2.0], [1.0], [-1.0]]), torch.tensor([0.5, 2.0, 1.0])
    merged = disjoint_mean(weights[:, None] * tau, torch.tensor([1.0]), weights)
    assert merged.item() == pytest.approx((0.5 * 2 + 2 * 1) / 2.5)


@given(seeds, st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_elect_and_merge_do_not_depend_on_the_order_or_the_sign(seed, n):
    tau = normal(seed, n, 20) * (normal(seed + 1, n, 20) > 0)
    merged = disjoint_mean(tau, elect_sign(tau))
    assert torch.allclose(disjoint_mean(tau.flip(0), elect_sign(tau.flip(0))), merged, atol=1e-6)
    assert torch.allclose(disjoint_mean(-tau, elect_sign(-tau)), -merged, atol=1e-6)
    assert (merged.abs() <= tau.abs().amax(0) + 1e-6).all()


# ---------------------------------------------------------------- DARE


@pytest.mark.parametrize("p", [0.0, 0.3, 0.9])
def test_dare_keeps_the_expectation(p):
    generator, tau = torch.Generator().manual_seed(0), normal(1, 2, 50)
    draws = torch.stack([dare(tau, p, generator) for _ in range(4000)])
    error = tau.abs() * math.sqrt(p / (1 - p) / 4000)
    assert ((draws.mean(0) - tau).abs() <= 5 * error + 1e-5).all()
    assert (draws == 0).double().mean() == pytest.approx(p, abs=0.01)


def test_dare_ends_and_rescaling():
    tau = normal(0, 3, 200)
    assert torch.equal(dare(tau, 0.0), tau) and not dare(tau, 1.0).any()
    kept = dare(tau, 0.8, torch.Generator().manual_seed(1), rescale="l1")
    assert torch.allclose(kept.abs().sum(1), tau.abs().sum(1), rtol=1e-5)
    plain = dare(tau, 0.8, torch.Generator().manual_seed(1), rescale=None)
    assert torch.equal(plain[plain != 0], tau[plain != 0]) and torch.equal(plain != 0, kept != 0)


# ---------------------------------------------------------------- slerp


@given(seeds, st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_slerp_of_unit_vectors_stays_on_the_sphere_and_has_its_ends(seed, t):
    a, b = (torch.nn.functional.normalize(normal(seed + i, 12), dim=0) for i in (0, 1))
    assert slerp_tensors(a, b, t).norm().item() == pytest.approx(1, abs=1e-5)
    assert torch.allclose(slerp_tensors(a, b, 0), a, atol=1e-6) and torch.allclose(slerp_tensors(a, b, 1), b, atol=1e-6)
    assert torch.allclose(slerp_tensors(a, b, t), slerp_tensors(b, a, 1 - t), atol=1e-5)


def test_slerp_angle_grows_evenly():
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    for t in (0.25, 0.5, 0.8):
        angle = t * math.pi / 2
        assert slerp_tensors(a, b, t).tolist() == pytest.approx([math.cos(angle), math.sin(angle)], abs=1e-6)


def test_slerp_of_directions_that_agree_or_oppose_is_a_straight_line():
    a = normal(0, 3, 4)
    assert torch.allclose(slerp_tensors(a, 2 * a, 0.5), 1.5 * a) and torch.allclose(slerp_tensors(a, -a, 0.25), 0.5 * a)
    zero = torch.zeros(3, 4)
    assert torch.equal(slerp_tensors(zero, zero, 0.5), zero) and slerp_tensors(a, zero, 0.5).isfinite().all()


# ---------------------------------------------------------------- task vectors of state dicts


def state(seed: int, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    return {
        "layers.0.weight": normal(seed, 4, 3, dtype=dtype),
        "layers.1.weight": normal(seed + 50, 4, 3, dtype=dtype),
        "norm": normal(seed + 99, 4, dtype=dtype),
        "steps": torch.tensor(7),
    }


def assert_same(a: dict, b: dict, tolerance: float = 1e-6) -> None:
    assert list(a) == list(b)
    for name in b:
        assert a[name].dtype == b[name].dtype, name
        assert torch.allclose(a[name].double(), b[name].double(), atol=tolerance), name


def test_task_vector_leads_from_the_base_to_the_fine_tuned_model():
    base, tuned = state(0), state(1)
    tau = task_vector(base, tuned)
    assert "steps" not in tau
    assert_same(edit(base, tau), tuned)
    assert_same(edit(base, tau, 0), base)
    assert_same(edit(tuned, negate(tau)), base)
    assert_same(edit(base, add([tau, tau]), 0.5), tuned)


def test_task_vector_of_half_precision_is_float32():
    tau = task_vector(state(0, torch.bfloat16), state(1, torch.float16))
    assert all(value.dtype == torch.float32 for value in tau.values())
    assert edit(state(0, torch.bfloat16), tau)["norm"].dtype == torch.bfloat16


def test_analogy():
    a, b, c, d = ({"w": torch.tensor([value])} for value in (1.0, 3.0, 10.0, 12.0))
    assert_same(add([c, b, negate(a)]), d)


def test_apply_adds_the_sum_not_the_mean():
    theta, tau = torch.zeros(3), torch.ones(4, 3)
    assert apply_task_vectors(theta, tau, 0.5).tolist() == [2, 2, 2]
    assert apply_task_vectors(theta, tau, 0.25).tolist() == tau.mean(0).tolist()


# ---------------------------------------------------------------- the methods


ARGUMENTS = dict.fromkeys(["linear", "slerp", "passthrough"], {}) | {"task_arithmetic": {"lam": 0.5}}
ARGUMENTS |= dict.fromkeys(["ties", "dare_ties", "dare_linear", "della", "della_linear"], {"density": 0.5})
ARGUMENTS |= {"model_stock": {}}


def run(method: str, base: dict, models: list[dict], **options) -> dict:
    models = models[:1] if method in ("slerp", "passthrough") else models
    return merging.METHODS[method](base, models, **ARGUMENTS[method] | options)


def test_the_table_is_the_lecture_s():
    assert set(merging.METHODS) == set(ARGUMENTS)


@pytest.mark.parametrize("method", ARGUMENTS)
def test_inputs_are_not_touched_and_share_no_memory(method):
    states = [state(i) for i in range(4)]
    before = copy.deepcopy(states)
    for tensor in run(method, states[0], states[1:]).values():
        tensor.zero_()
    for new, old in zip(states, before, strict=True):
        assert_same(new, old, 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("method", ARGUMENTS)
def test_the_result_has_the_dtype_of_the_base_and_is_computed_in_float32(method, dtype):
    states = [state(i, dtype) for i in range(4)]
    merged = run(method, states[0], states[1:])
    doubles = [
        {name: value.double() if value.is_floating_point() else value for name, value in s.items()} for s in states
    ]
    exact = run(method, doubles[0], doubles[1:])
    tolerance = 1e-12 if dtype == torch.float64 else 8 * torch.finfo(dtype).eps
    assert_same(merged, {name: tensor.to(merged[name].dtype) for name, tensor in exact.items()}, tolerance)


@pytest.mark.parametrize("method", ARGUMENTS)
def test_tied_weights_stay_tied(method):
    shared = [normal(i, 5, 2) for i in range(4)]
    states = [{"embed": w, "head": w} for w in shared]
    merged = run(method, states[0], states[1:])
    assert torch.equal(merged["embed"], merged["head"])


@pytest.mark.parametrize("method", [name for name in ARGUMENTS if name != "passthrough"])
def test_what_does_not_fit_is_one_line_that_names_the_tensor(method):
    base, other = state(0), state(1)
    for spoilt, words in [
        ({k: v for k, v in other.items() if k != "norm"}, "norm"),
        (other | {"more": torch.zeros(1)}, "more"),
        (other | {"norm": torch.zeros(5)}, r"norm has shape \(5,\).*\(4,\)"),
        (other | {"steps": torch.tensor(8)}, "steps holds whole numbers that differ"),
    ]:
        with pytest.raises(ValueError, match=words) as caught:
            merging.METHODS[method](base, [spoilt] if method == "slerp" else [base, spoilt])
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="nothing to merge|exactly one model"):
        merging.METHODS[method](base, [])


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda b, m: merging.slerp(b, m), "exactly one model, not to 2"),
        (lambda b, m: merging.ties(b, m, density=1.2), "density is 1.2"),
        (lambda b, m: merging.ties(b, m, density=[0.1]), "1 densities for 2 models"),
        (lambda b, m: merging.ties(b, m, scope="layer"), "scope is 'layer'"),
        (lambda b, m: merging.ties(b, m, elect="max"), "by is 'max'"),
        (lambda b, m: merging.dare_linear(b, m, rescale="l2"), "rescale is 'l2'"),
        (lambda b, m: merging.della(b, m, rescale="l2"), "rescale is 'l2'"),
        (lambda b, m: merging.della(b, m, density=0.9, epsilon=0.1), "density 0.9 with epsilon 0.1: density - epsilon"),
        (lambda b, m: merging.della_linear(b, m, density=0.1, epsilon=0.1), "must lie between 0 and 1"),
        (lambda b, m: merging.model_stock(b, m[:1]), "at least two models, not 1"),
        (lambda b, m: stock_ratio(torch.zeros(1, 3)), "at least two, not 1"),
        (lambda b, m: merging.linear(None, m, weights=[1, -1]), "sum to 0"),
        (lambda b, m: merging.task_arithmetic(b, m, weights=[1, 2, 3]), "3 weights for 2 models"),
        (lambda b, m: merging.passthrough(None, m), "which layers of which model"),
        (lambda b, m: merging.passthrough(None, m, [(2, 0, 1)]), "no model 2"),
        (lambda b, m: merging.passthrough(None, m, [(0, 1, 3)]), r"layer range \[1, 3\]"),
        (lambda b, m: merging.passthrough(None, m, []), "nothing to stack"),
        (lambda b, m: edit(b, {"other": torch.zeros(1)}), "other"),
        (lambda b, m: add([]), "nothing to add"),
        (lambda b, m: trim(torch.zeros(3), 2), "density is 2"),
        (lambda b, m: dare(torch.zeros(3), -0.1), "p is -0.1"),
        (lambda b, m: slerp_tensors(torch.zeros(3), torch.zeros(4), 0.5), r"\(3,\) and \(4,\)"),
    ],
)
def test_wrong_options_are_one_line(call, match):
    with pytest.raises(ValueError, match=match) as caught:
        call(state(0), [state(1), state(2)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", ["linear", "task_arithmetic", "ties"])
@given(st.permutations([0, 1, 2]))
@settings(max_examples=6, deadline=None)
def test_the_order_of_the_models_does_not_matter(method, order):
    base, models, weights = state(0), [state(i) for i in (1, 2, 3)], [0.3, 1.0, 0.7]
    expected = run(method, base, models, weights=weights)
    assert_same(run(method, base, [models[i] for i in order], weights=[weights[i] for i in order]), expected)


def test_relations_between_the_methods():
    base, models = state(0), [state(i) for i in (1, 2, 3)]
    mean = merging.uniform_soup(models)
    assert_same(merging.linear(None, models), mean)
    assert_same(merging.task_arithmetic(base, models, lam=1 / 3), mean)
    assert_same(merging.task_arithmetic(base, models, normalize=True), mean)
    assert_same(merging.task_arithmetic(base, models, lam=0), base)
    assert_same(merging.ties(base, models[:1], density=1), models[0])
    assert_same(merging.ties(base, models, density=0), base)
    assert_same(merging.dare_linear(base, models, density=1, lam=0.3), merging.task_arithmetic(base, models, lam=0.3))
    assert_same(merging.dare_ties(base, models, density=1), merging.ties(base, models, density=1))
    assert_same(merging.slerp(base, models[:1], 0), base)
    assert_same(merging.slerp(base, models[:1], 1), models[0])
    assert_same(merging.passthrough(None, models[:1]), models[0])


def test_ties_is_trim_elect_merge_over_the_whole_vector():
    base, models = state(0), [state(i) for i in (1, 2, 3)]
    names = [name for name in base if name != "steps"]
    tau = torch.stack([torch.cat([(model[name] - base[name]).flatten() for name in names]) for model in models])
    trimmed = trim(tau, 0.3)
    expected = 1.5 * disjoint_mean(trimmed, elect_sign(trimmed))
    merged = merging.ties(base, models, density=0.3, lam=1.5)
    found = torch.cat([(merged[name] - base[name]).flatten() for name in names])
    assert torch.allclose(found, expected, atol=1e-6)
    by_tensor = merging.ties(base, models, density=0.3, lam=1.5, scope="tensor")
    assert any(not torch.equal(by_tensor[name], merged[name]) for name in names)


def test_mergekit_trims_each_tensor_and_keeps_at_least_one_entry():
    base, model = state(0), state(1)
    merged = merging.ties(base, [model], density=0.1, **merging.MERGEKIT["ties"])
    assert [int((merged[name] != base[name]).sum()) for name in base] == [1, 1, 1, 0]


def test_dare_is_repeatable_and_its_scope_is_the_rescaled_norm():
    base, model = state(0), state(1)
    first = merging.dare_linear(base, [model], density=0.5, seed=3)
    assert_same(first, merging.dare_linear(base, [model], density=0.5, seed=3), 0)
    other = merging.dare_linear(base, [model], density=0.5, seed=4)
    assert any(not torch.equal(first[name], other[name]) for name in base)
    l1 = merging.dare_linear(base, [model], density=0.5, **merging.MERGEKIT["dare_linear"])
    for name in ("norm", "layers.0.weight"):
        before, after = ((end[name] - base[name]).abs().sum().item() for end in (model, l1))
        assert after == pytest.approx(before, rel=1e-4)


def test_the_ratio_of_known_angles():
    """At right angles stay at the base, in one direction take the mean; 60 degrees: 2 cos / (1 + cos) = 2/3."""
    assert stock_ratio(torch.eye(3)).item() == 0
    assert stock_ratio(torch.tensor([[1.0, 2.0], [2.0, 4.0]])).item() == pytest.approx(1)
    assert stock_ratio(torch.tensor([[1.0, 0.0], [0.5, 0.75**0.5]])).item() == pytest.approx(2 / 3)
    assert stock_ratio(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).item() == 0  # they cancel: the formula divides by 0
    rows = normal(1, 3, 4, 7)
    assert torch.allclose(stock_ratio(rows), torch.stack([stock_ratio(rows[:, i]) for i in range(4)]))


@given(seeds, st.integers(2, 6))
@settings(max_examples=30, deadline=None)
def test_the_ratio_leads_to_the_point_nearest_to_the_centre(seed, n):
    """The paper's picture: models at equal distances and angles around a centre. What they share is the way to it.

    tau_i = shared + own_i with own parts at right angles to the shared one and to each other: the point of the span of
    the models and the base that is nearest to base + shared is t times the mean.
    """
    own = torch.linalg.qr(normal(seed, 12, n + 1).double())[0].T  # (n + 1, 12) orthonormal
    shared = 1.7 * own[-1]
    tau = shared + 0.9 * own[:n]
    best = torch.linalg.lstsq(tau.T, shared.unsqueeze(1)).solution  # (n, 1)
    assert torch.allclose(best.squeeze(1), (stock_ratio(tau) / n).expand(n), atol=1e-9)


def test_model_stock_of_tensors_and_of_rows():
    base, models = state(0), [state(i) for i in (1, 2, 3)]
    for filter_wise in (False, True):
        merged = merging.model_stock(base, models, filter_wise=filter_wise)
        for name in (name for name in base if name != "steps"):
            tau = torch.stack([model[name] - base[name] for model in models])
            rows = filter_wise and tau.dim() > 2
            t = stock_ratio(tau)[..., None] if rows else stock_ratio(tau.flatten(1))
            assert torch.allclose(merged[name], base[name] + t * tau.mean(0), atol=1e-6)


def test_probabilities_by_rank():
    tau = torch.tensor([[0.1, -3.0, 0.5], [2.0, 2.0, 0.0]])
    found = keep_probabilities(tau, 0.5, 0.2)
    assert torch.allclose(found, torch.tensor([[0.3, 0.7, 0.5], [0.5, 0.7, 0.3]]))
    assert torch.equal(found[0], keep_probabilities(tau[0], 0.5, 0.2))
    assert keep_probabilities(tau[:, :1], 0.4, 0.2).tolist() == [[pytest.approx(0.4)]] * 2
    assert keep_probabilities(normal(0, 5, 40), 0.4, 0.3).mean(1).tolist() == [pytest.approx(0.4)] * 5


def test_magprune_keeps_every_entry_s_expectation_and_drops_small_ones_more_often():
    tau, draws, generator = normal(3, 30), 20_000, torch.Generator().manual_seed(0)
    found = magprune(tau.expand(draws, -1), 0.5, 0.3, generator)
    p = keep_probabilities(tau, 0.5, 0.3)
    assert (((found.mean(0) - tau) / (tau.abs() * ((1 - p) / p / draws).sqrt())).abs() < 4.5).all()
    assert (((found != 0).double().mean(0) - p) / (p * (1 - p) / draws).sqrt()).abs().max() < 4.5
    l1 = magprune(tau[None], 0.5, 0.3, torch.Generator().manual_seed(1), rescale="l1")
    assert l1.abs().sum().item() == pytest.approx(tau.abs().sum().item(), rel=1e-5)


def test_della_without_a_window_is_dare():
    """With epsilon 0 every entry has the same probability, and equal seeds drop the same."""
    base, models = state(0), [state(i) for i in (1, 2)]
    options = {"density": 0.5, "seed": 4, "lam": 0.7}
    tensor_by_tensor = {"scope": "tensor", **options}
    assert_same(
        merging.della_linear(base, models, epsilon=0.0, **options),
        merging.dare_linear(base, models, **tensor_by_tensor),
    )
    assert_same(
        merging.della(base, models, epsilon=0.0, **merging.MERGEKIT["della"], **options),
        merging.dare_ties(base, models, **tensor_by_tensor | {"zero": "plus", "rescale": "l1"}),
    )
    assert_same(merging.della(base, models, density=1.0), merging.dare_ties(base, models, density=1.0, scope="tensor"))
    assert_same(merging.della(base, models, density=0.0), base)


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 13))
@settings(max_examples=40, deadline=None)
def test_pieces_are_cut_where_rows_end(width, rows, piece):
    values = torch.arange(width * rows)
    cut = in_whole_rows(lambda *which: iter([[part, -part] for part in values.split(piece)]), width)
    found = list(cut())
    assert torch.equal(torch.cat([a for a, _ in found]), values) and torch.equal(
        torch.cat([b for _, b in found]), -values
    )
    assert all(len(a) % width == 0 for a, _ in found)


def test_passthrough_renumbers_the_layers():
    names = ("embed", "layers.0.w", "layers.1.w", "norm")
    a, b = ({name: normal(first + i, 2) for i, name in enumerate(names)} for first in (0, 10))
    merged = merging.passthrough(None, [a, b], [(0, 0, 2), (1, 1, 2)])
    assert list(merged) == ["embed", "layers.0.w", "layers.1.w", "layers.2.w", "norm"]
    assert torch.equal(merged["layers.2.w"], b["layers.1.w"]) and torch.equal(merged["norm"], b["norm"])
    assert torch.equal(merged["embed"], a["embed"])
    assert torch.allclose(merging.passthrough(None, [a], scale=0.5)["norm"], a["norm"] / 2)
    for copied in (True, False):
        taller = merging.passthrough(None, [a, b], [(0, 0, 2), (1, 1, 2)], copy=copied)
        assert (taller["layers.2.w"] is b["layers.1.w"]) == (not copied)


# ---------------------------------------------------------------- what they are built of


floats = st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64])


@given(seeds, st.integers(1, 3000), shares, floats)
@settings(max_examples=80, deadline=None)
def test_the_largest_are_found_without_sorting(seed, d, density, dtype):
    """In pieces, in every number type, with many equals: the entries that a stable sort puts first."""
    x = normal(seed, d, dtype=dtype)
    x = (x * 4).round() / 4 if seed % 2 else x
    k = int(density * d)
    pieces = x.split(700)
    mask = Largest(lambda: pieces, lambda size: k)
    expected = torch.zeros(d, dtype=torch.bool)
    expected[x.double().abs().argsort(descending=True, stable=True)[:k]] = True
    left = torch.where(expected, x, 0).to(float_dtype(x))
    for _ in range(2):
        assert torch.equal(torch.cat([mask(piece) for piece in pieces]), left)
        mask.restart()


def test_seeds_of_tensors_are_fixed_for_all_time():
    """What a seed drops must not depend on the machine: the number is written down here."""
    assert seed_for(0, 1, "model.norm.weight") == 19540774167891547
    assert len({seed_for(s, m, n) for s in (0, 1) for m in (0, 1) for n in "ab"}) == 8
    assert RandomShare(0.5, seed_for(0, 1, "w"))(torch.ones(1000)).sum() > 400


@pytest.mark.parametrize(
    "before, layer, behind",
    [
        ("model.layers.", 7, ".mlp.up_proj.weight"),
        ("transformer.h.", 0, ".attn.c_attn.bias"),
        ("model.encoder.layers.", 2, ".fc1.weight"),
        ("model.layers.", 1, ".experts.3.w1"),
    ],
)
def test_layers_are_read_off_the_names(before, layer, behind):
    assert split_layer(f"{before}{layer}{behind}") == (before, layer, behind)


def test_what_is_outside_the_layers():
    names = ["model.norm.weight", "lm_head.weight", "model.embed_tokens.weight"]
    assert [split_layer(name) for name in names] == [None] * 3
    assert (outside_layers(names, before=True), outside_layers(names, before=False)) == (names[2:], names[:2])


def test_two_stacks_cannot_be_cut():
    names = ["encoder.layers.0.w", "decoder.layers.0.w", "decoder.layers.1.w"]
    assert count_layers(names) == {"encoder.layers.": 1, "decoder.layers.": 2}
    with pytest.raises(ValueError, match="2 stacks"):
        stack_layers([names], [(0, 0, 1)])
