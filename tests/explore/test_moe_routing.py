"""The chart of the mixture of experts: Vega evaluates it (vl-convert), held against the library's top-k and softmax."""

import math
import re

import pytest
import torch
from drawing import _draw, _refuses, _said, _size, _sliders, _stays, _texts, _words

from course_utils import explore
from course_utils.explore import moe_routing
from course_utils.moe import cv_squared, keep_top_k, noisy_top_k_gate

STOPS = moe_routing.TEMPERATURES
L, N, E = 3, 9, 6
TOKENS = [" In", " the", "beginning", " it's", '"q"', "\n", " the", "back\\slash", " extraordinarily long"]


def _numbers(shape=(L, N, E), seed=0):
    """Scores and noise: random, so that no two scores of a token are equal."""
    generator = torch.Generator().manual_seed(seed)
    clean, noise = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return 2 * clean, 0.7 * noise


@pytest.fixture(scope="module")
def numbers():
    return _numbers()


@pytest.fixture(scope="module")
def chart(numbers):
    return explore.routing_explorer(*numbers, TOKENS, title="Routing", context="a b c")


def _gates(svg: str, n=N, e=E) -> torch.Tensor:
    """The gates that the page shows, (n, e); nan for a cell that is not chosen."""
    said = [re.fullmatch(r"(.*), expert (\d+): (.*)", one) for one in _said(svg, "rect mark")]
    assert len(said) == n * e and [int(one[2]) for one in said] == list(range(1, e + 1)) * n
    shown = [math.nan if one[3] == "not chosen" else float(one[3]) for one in said]
    return torch.tensor(shown, dtype=torch.float64).view(n, e)


def _loads(svg: str) -> list[int]:
    found = [re.fullmatch(r"expert (\d+) has (\d+) tokens", one) for one in _said(svg, "bar")]
    assert [int(one[1]) for one in found] == list(range(1, len(found) + 1))
    return [int(one[2]) for one in found]


def _lines(svg: str) -> list[float]:
    """CV^2, largest / mean, experts without a token, effective experts: as the page says it in words."""
    (load,) = (t for t in _texts(svg) if t.startswith("load: CV²"))
    (gates,) = (t for t in _texts(svg) if t.startswith("gates: "))
    pattern = r"load: CV² ([\d.]+), largest / mean ([\d.]+), experts without a token: (\d+) of \d+"
    return [float(x) for x in (*re.fullmatch(pattern, load).groups(), gates.split()[1])]


def _expected(scores, k):
    """By the library: gates and loads; CV^2, largest / mean, experts without a token, effective experts."""
    kept = keep_top_k(scores, k)
    gates, load = kept.softmax(dim=-1), kept.isfinite().sum(dim=0)
    spread = torch.special.entr(gates).sum(dim=1).exp().mean().item()
    even = k * scores.shape[0] / scores.shape[1]
    words = [cv_squared(load.double()).item(), load.max().item() / even, (load == 0).sum().item(), spread]
    return gates, kept.isfinite(), load.tolist(), words


GRID = [(1, 2, 0, 1), (1, 1, 1, 4), (2, 3, 0.5, 0.25), (2, 6, 2, 0.7), (3, 1, 2, 0.35), (3, 4, 1.3, 2.8)]
GRID += [(3, 5, 0.1, 1.4)]


@pytest.mark.parametrize(("layer", "k", "a", "T"), GRID)
def test_what_the_page_computes_is_the_librarys_gate(chart, numbers, layer, k, a, T):
    svg = _draw(chart, layer=layer, k=k, a=a, T_i=STOPS.index(T))
    clean, noise = (x[layer - 1] for x in numbers)
    gates, kept, load, words = _expected(clean / T + a * noise, k)
    shown = _gates(svg)
    assert torch.equal(~shown.isnan(), kept)
    assert shown[kept].tolist() == pytest.approx(gates[kept].tolist(), abs=2e-4)
    assert _loads(svg) == load and sum(load) == k * N
    assert _lines(svg) == pytest.approx(words, abs=0.0052)
    # Each gate stands in its cell too, with two decimals, and each load over its bar.
    numbers_shown = [t for t in _texts(svg) if re.fullmatch(r"[01]\.\d\d", t)]
    assert [float(t) for t in numbers_shown] == pytest.approx(gates[kept].tolist(), abs=0.0052)


def test_experts_can_have_names(numbers):
    names = ["web", "kjv", "movies", "nyt", "amazon", "tweets"]
    chart = explore.routing_explorer(*numbers, TOKENS, title="Routing", experts=names)
    svg = _draw(chart, layer=1, k=2)
    assert [one.split(" has ")[0] for one in _said(svg, "bar")] == [f"expert {name}" for name in names]
    assert [text for text in _texts(svg) if text in names] == names  # over the columns
    first = names[int(numbers[0][0, 0].argmax())]
    assert f" {first} (" in _words(chart).split("Each token's first expert")[1].split(",")[0]
    with pytest.raises(ValueError, match="6 experts need 6 names, got 5"):
        explore.routing_explorer(*numbers, TOKENS, experts=names[1:])


def test_it_is_the_noisy_gate_of_the_papers_layer():
    """Router scores as the layer makes them, at T = 1 and the noise as it is."""
    generator = torch.Generator().manual_seed(3)
    x, w_gate, w_noise = (torch.randn(s, generator=generator, dtype=torch.float64) for s in ((7, 5), (5, 8), (5, 8)))
    noise = torch.randn(7, 8, generator=generator, dtype=torch.float64)
    gating = noisy_top_k_gate(x, w_gate, w_noise, 2, noise)
    chart = explore.routing_explorer(gating.clean, noise * gating.std, [f"t{i}" for i in range(7)])
    shown = _gates(_draw(chart, a=1), 7, 8).nan_to_num(0)
    assert shown.flatten().tolist() == pytest.approx(gating.gates.flatten().tolist(), abs=3e-4)


@pytest.mark.parametrize("left_out", ["layer", "noise", "T"])
def test_a_page_that_left_one_of_them_out_would_be_noticed(numbers, left_out):
    """At some of the settings above the gates would be others, by far more than the tolerance."""
    differences = []
    for layer, k, a, T in GRID:
        clean, noise = (x[layer - 1] for x in numbers)
        right = _expected(clean / T + a * noise, k)[0]
        other = {"layer": numbers[0][0] / T + a * noise, "noise": clean / T, "T": clean + a * noise}[left_out]
        wrong = _expected(other, k)[0]
        differences.append((right - wrong).abs().max().item())
    assert sum(difference > 0.05 for difference in differences) >= 3


def test_some_settings_leave_experts_without_a_token(numbers):
    empty = [_expected(numbers[0][i - 1] / T + a * numbers[1][i - 1], k)[3][2] for i, k, a, T in GRID]
    assert max(empty) > 0 and min(empty) == 0


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_of_equal_scores_exactly_k_are_kept_the_lower_index_first(k):
    scores = torch.tensor([[0.0, 0, 0, 0], [1, 0, 1, 0], [0, 2, 2, 2], [3, 3, 0, 3]])
    chart = explore.routing_explorer(scores, torch.zeros(4, 4), list("abcd"))
    order = [[0, 1, 2, 3], [0, 2, 1, 3], [1, 2, 3, 0], [0, 1, 3, 2]]
    shown = _gates(_draw(chart, k=k), 4, 4)
    for row, scored, ranked in zip(shown, scores, order):
        assert sorted(row.isfinite().nonzero().flatten().tolist()) == sorted(ranked[:k])
        assert row[ranked[:k]].tolist() == pytest.approx(scored[ranked[:k]].softmax(0).tolist(), abs=1e-4)


def test_large_scores_do_not_overflow(numbers):
    clean, noise = numbers
    svg = _draw(explore.routing_explorer(400 * clean, noise, TOKENS), k=3, a=2, T_i=0)
    gates, kept, load, _ = _expected(400 * clean[0] / 0.25 + 2 * noise[0], 3)
    assert _gates(svg)[kept].tolist() == pytest.approx(gates[kept].tolist(), abs=2e-4) and _loads(svg) == load


def test_texts_name_the_setting_the_tokens_and_the_even_load(chart):
    svg = _draw(chart, layer=2, k=4, a=0.5, T_i=STOPS.index(2.8))
    texts = _texts(svg)
    assert {"layer 2: top-4 of 6 experts, noise 0.5, T = 2.8", "even 6", "Routing"} <= set(texts)
    assert ">a b c</tspan>" in svg
    labels = [explore.token_label(token) for token in TOKENS]
    assert [t for t in texts if t in labels] == labels
    assert [t for t in texts if t in list("123456")][:E] == list("123456")


def test_nothing_is_laid_out_again_when_a_slider_moves_and_the_largest_chart_fits(chart):
    largest = explore.routing_explorer(*_numbers((6, 24, 16)), ["an extraordinarily long token"] * 24)
    for drawn in (chart, largest):
        _stays(drawn, [{}, {"k": 1, "T_i": 8, "a": 1}, {"k": E, "layer": 3, "a": 2, "T_i": 0}], 640)
    assert _size(largest) < 100_000


def test_sliders(chart, numbers):
    more = [("noise, times the router's own", 0, 2, 0)]
    more += [("temperature T of the scores, from 0.25 (left) to 4 (right)", 0, 8, STOPS.index(1))]
    assert _sliders(chart) == [("layer, 1 to 3", 1, 3, 1), ("top-k, experts a token, 1 to 6", 1, 6, 2), *more]
    single = explore.routing_explorer(numbers[0][0], numbers[1][0], TOKENS, top_k=5)
    assert _sliders(single) == [("top-k, experts a token, 1 to 6", 1, 6, 5), *more]
    assert _words(single).endswith("Sliders: top-k, noise, T.")


@pytest.mark.parametrize("k", [1, 2, 6])
def test_text_says_what_the_chart_shows(numbers, k):
    chart = explore.routing_explorer(*numbers, TOKENS, title="Routing", context="a b c", top_k=k)
    text, svg = _words(chart), _draw(chart)
    start = f"Routing: a b c. Layer 1, top-{k} of 6 experts, noise 0, T = 1. Each token's first expert (its gate): "
    assert text.startswith(start) and text.endswith("Sliders: layer, top-k, noise, T.")
    gates, best = _gates(svg).nan_to_num(0).max(dim=1)
    first = [f"{explore.token_label(t)} {i + 1} " for t, i in zip(TOKENS, best.tolist())]
    said = text.removeprefix(start).split(". Tokens of experts")[0].split("), ")
    assert len(said) == N and all(one.startswith(name) for one, name in zip(said, first))
    assert [float(one.split("(")[1].rstrip(")")) for one in said] == pytest.approx(gates.tolist(), abs=0.0052)
    assert f"Tokens of experts 1 to 6: {', '.join(map(str, _loads(svg)))}, even {k * 1.5:g}; " in text
    cv, largest, empty, effective = _lines(svg)
    assert f"CV² {cv:.2f}, largest / mean {largest:.2f}, experts without a token: {empty:g} of 6; " in text
    assert f"; {effective:.2f} effective experts a token." in text


ONES = torch.ones(L, N, E)
WANTED = r"\(L, N, E\) or \(N, E\) for L = 1 to 6 layers, N = 4 to 24 tokens, E = 4 to 16 experts"
SHAPES = [(6,), (7, N, E), (L, 3, E), (L, 25, E), (L, N, 3), (L, N, 17), (1, L, N, E)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(({"logits": torch.ones(shape)}, WANTED + re.escape(f", got {shape}")) for shape in SHAPES),
        ({"noise": torch.ones(N, E)}, r"noise must have the shape of logits, \(3, 9, 6\), got \(9, 6\)"),
        ({"logits": keep_top_k(torch.randn(L, N, E), 2)}, "logits holds numbers that are not finite"),
        ({"noise": ONES * torch.nan}, "noise holds numbers that are not finite"),
        ({"tokens": TOKENS[:5]}, "9 rows of logits need a list of 9 tokens, got 5"),
        ({"tokens": "nine char"}, "a list of 9 tokens, got one string"),
        ({"top_k": 0}, "from 1 to the number of experts, 6, got 0"),
        ({"top_k": 7}, "6, got 7"),
        ({"top_k": 1.5}, "whole number .* got 1.5"),
    ],
)
def test_bad_input_is_refused_in_one_line(changes, message):
    good = {"logits": ONES, "noise": ONES, "tokens": TOKENS}
    explore.routing_explorer(**good)
    _refuses(message, explore.routing_explorer, **{**good, **changes})


def test_lists_half_precision_and_parameters_are_taken_as_they_come():
    scores = torch.nn.Parameter(torch.eye(4, dtype=torch.float16))
    chart = explore.routing_explorer(scores, torch.zeros(4, 4).tolist(), tuple("abcd"), top_k=1)
    assert _loads(_draw(chart)) == [1, 1, 1, 1] and _lines(_draw(chart)) == [0, 1, 0, 1]
