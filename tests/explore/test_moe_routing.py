"""The chart of the mixture of experts: Vega evaluates it (vl-convert), held against the library's top-k and softmax."""

import json
import math
import re

import pytest
import torch
from drawing import _draw, _texts

from course_utils import explore
from course_utils.explore import moe_routing
from course_utils.moe import cv_squared, keep_top_k, noisy_top_k_gate

STOPS = moe_routing.TEMPERATURES
L, N, E = 3, 9, 6
TOKENS = [" In", " the", "beginning", " it's", '"q"', "\n", " the", "back\\slash", " extraordinarily long"]


def _numbers(shape=(L, N, E), seed=0):
    """Scores, noise and its scale: random, so that no two scores of a token are equal."""
    generator = torch.Generator().manual_seed(seed)
    clean, noise = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return 2 * clean, noise, torch.rand(shape, generator=generator, dtype=torch.float64) + 0.2


@pytest.fixture(scope="module")
def numbers():
    return _numbers()


@pytest.fixture(scope="module")
def chart(numbers):
    clean, noise, std = numbers
    return explore.routing_explorer(
        clean, noise, TOKENS, std=std, title="Routing", context="a b c", layers=[0, 3, "the last"]
    )


def _said(svg: str, what: str) -> list[str]:
    return re.findall(rf'aria-label="([^>]*)" role="graphics-symbol" aria-roledescription="{what}"', svg)


def _gates(svg: str, n=N, e=E) -> torch.Tensor:
    """The gates that the page shows, (n, e); nan for a cell that is not chosen."""
    said = [re.fullmatch(r"(.*), expert (\d+): (.*)", one) for one in _said(svg, "rect mark")]
    assert len(said) == n * e and [int(one[2]) for one in said] == list(range(1, e + 1)) * n
    return torch.tensor(
        [math.nan if one[3] == "not chosen" else float(one[3]) for one in said], dtype=torch.float64
    ).view(n, e)


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


GRID = [
    (1, 2, 0, 1),
    (1, 1, 1, 4),
    (2, 3, 0.5, 0.25),
    (2, 6, 2, 0.7),
    (3, 1, 2, 0.35),
    (3, 4, 1.3, 2.8),
    (3, 5, 0.1, 1.4),
]


@pytest.mark.parametrize(("layer", "k", "a", "T"), GRID)
def test_what_the_page_computes_is_the_librarys_gate(chart, numbers, layer, k, a, T):
    svg = _draw(chart, layer=layer, k=k, a=a, T_i=STOPS.index(T))
    clean, noise, std = (x[layer - 1] for x in numbers)
    gates, kept, load, words = _expected(clean / T + a * noise * std, k)
    shown = _gates(svg)
    assert torch.equal(~shown.isnan(), kept)
    assert shown[kept].tolist() == pytest.approx(gates[kept].tolist(), abs=2e-4)
    assert _loads(svg) == load and sum(load) == k * N
    assert _lines(svg) == pytest.approx(words, abs=0.0052)
    # Each gate stands in its cell too, with two decimals, and each load over its bar.
    numbers_shown = [t for t in _texts(svg) if re.fullmatch(r"[01]\.\d\d", t)]
    assert [float(t) for t in numbers_shown] == pytest.approx(gates[kept].tolist(), abs=0.0052)


def test_it_is_the_noisy_gate_of_the_papers_layer():
    """Router scores as the layer makes them, at T = 1 and the noise as it is."""
    generator = torch.Generator().manual_seed(3)
    x, w_gate, w_noise = (torch.randn(s, generator=generator, dtype=torch.float64) for s in ((7, 5), (5, 8), (5, 8)))
    noise = torch.randn(7, 8, generator=generator, dtype=torch.float64)
    gating = noisy_top_k_gate(x, w_gate, w_noise, 2, noise)
    chart = explore.routing_explorer(gating.clean, noise, [f"t{i}" for i in range(7)], std=gating.std)
    assert _gates(_draw(chart, a=1), 7, 8).nan_to_num(0).flatten().tolist() == pytest.approx(
        gating.gates.flatten().tolist(), abs=3e-4
    )


@pytest.mark.parametrize("left_out", ["layer", "noise", "std", "T"])
def test_a_page_that_left_one_of_them_out_would_be_noticed(numbers, left_out):
    """At some of the settings above the gates would be others, by far more than the tolerance."""
    differences = []
    for layer, k, a, T in GRID:
        clean, noise, std = (x[layer - 1] for x in numbers)
        other = {"clean": clean, "a": a, "std": std, "T": T}
        other |= {"layer": {"clean": numbers[0][0]}, "noise": {"a": 0}, "std": {"std": 1}, "T": {"T": 1}}[left_out]
        right = _expected(clean / T + a * noise * std, k)[0]
        wrong = _expected(other["clean"] / other["T"] + other["a"] * noise * other["std"], k)[0]
        differences.append((right - wrong).abs().max().item())
    assert sum(difference > 0.05 for difference in differences) >= 3


def test_some_settings_leave_experts_without_a_token(numbers):
    empty = [_expected(numbers[0][i - 1] / T + a * (numbers[1] * numbers[2])[i - 1], k)[3][2] for i, k, a, T in GRID]
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


def test_without_a_scale_the_noise_counts_as_it_is_and_large_scores_do_not_overflow(numbers):
    clean, noise, _ = numbers
    svg = _draw(explore.routing_explorer(400 * clean, noise, TOKENS), k=3, a=2, T_i=0)
    gates, kept, load, _ = _expected(400 * clean[0] / 0.25 + 2 * noise[0], 3)
    assert _gates(svg)[kept].tolist() == pytest.approx(gates[kept].tolist(), abs=2e-4) and _loads(svg) == load
    svg = _draw(explore.routing_explorer(clean, noise, TOKENS), k=3, a=2)
    gates, kept, *_ = _expected(clean[0] + 2 * noise[0], 3)
    assert _gates(svg)[kept].tolist() == pytest.approx(gates[kept].tolist(), abs=2e-4)


def test_texts_name_the_setting_the_tokens_and_the_even_load(chart):
    svg = _draw(chart, layer=2, k=4, a=0.5, T_i=STOPS.index(2.8))
    texts = _texts(svg)
    assert {"layer 3: top-4 of 6 experts, noise 0.5, T = 2.8", "even 6", "Routing"} <= set(
        texts
    ) and ">a b c</tspan>" in svg
    assert [t for t in texts if t in {explore.token_label(token) for token in TOKENS}] == list(
        map(explore.token_label, TOKENS)
    )
    assert "the last: top-2 of 6 experts, noise 0.0, T = 1" in _texts(_draw(chart, layer=3))
    assert [t for t in texts if t in list("123456")][:E] == list("123456")


def test_nothing_is_laid_out_again_when_a_slider_moves_and_the_largest_chart_fits(chart):
    clean, noise, std = _numbers((6, 24, 16))
    largest = explore.routing_explorer(clean, noise, ["an extraordinarily long token"] * 24, std=std)
    for drawn in (chart, largest):
        sizes = set()
        for settings in ({}, {"k": 1, "T_i": 8, "a": 1}, {"k": E, "layer": 3, "a": 2, "T_i": 0}):
            sizes |= set(re.findall(r'<svg[^>]* width="([\d.]+)" height="([\d.]+)"', _draw(drawn, **settings)))
        assert len(sizes) == 1 and float(sizes.pop()[0]) <= 640
    assert len(json.dumps(largest.spec, allow_nan=False)) < 100_000


def test_spec_keeps_to_what_jupyterlab_draws(chart, numbers):
    bound = [
        (p["bind"]["name"], p["bind"]["min"], p["bind"]["max"], p["value"]) for p in chart.spec["params"] if "bind" in p
    ]
    temperature = ("temperature T of the scores, from 0.25 (left) to 4 (right)", 0, 8, 4)
    wanted = [
        ("layer, 1 to 3", 1, 3, 1),
        ("top-k, experts a token, 1 to 6", 1, 6, 2),
        ("noise, times the router's own", 0, 2, 0),
    ]
    assert bound == [*wanted, temperature] and STOPS[4] == 1
    assert set(chart._repr_mimebundle_()) == {"application/vnd.vegalite.v5+json", "text/plain"}
    single = explore.routing_explorer(numbers[0][0], numbers[1][0], TOKENS, top_k=5)
    assert [p["value"] for p in single.spec["params"] if "bind" in p] == [5, 0, 4]
    assert repr(single).endswith("Sliders: top-k, noise, T.")


@pytest.mark.parametrize("k", [1, 2, 6])
def test_text_says_what_the_chart_shows(numbers, k):
    clean, noise, std = numbers
    chart = explore.routing_explorer(clean, noise, TOKENS, std=std, title="Routing", context="a b c", top_k=k)
    text, svg = " ".join(repr(chart).split()), _draw(chart)
    start = f"Routing: a b c. Layer 1, top-{k} of 6 experts, noise 0, T = 1. Each token's first expert (its gate): "
    assert text.startswith(start) and text.endswith("Sliders: layer, top-k, noise, T.")
    assert chart.spec["description"] == text and max(map(len, repr(chart).splitlines())) <= 100
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"logits": torch.ones(6)}, r"4 to 24 tokens, E = 4 to 16 experts, got \(6,\)"),
        ({"logits": torch.ones(7, N, E)}, r"L = 1 to 6 layers, .*got \(7, 9, 6\)"),
        ({"logits": torch.ones(L, 3, E)}, r"got \(3, 3, 6\)"),
        ({"logits": torch.ones(L, 25, E)}, r"got \(3, 25, 6\)"),
        ({"logits": torch.ones(L, N, 3)}, r"got \(3, 9, 3\)"),
        ({"logits": torch.ones(L, N, 17)}, r"got \(3, 9, 17\)"),
        ({"logits": torch.ones(1, L, N, E)}, r"got \(1, 3, 9, 6\)"),
        ({"noise": torch.ones(N, E)}, r"noise must have the shape of logits, \(3, 9, 6\), got \(9, 6\)"),
        ({"std": torch.ones(E)}, r"std must have the shape of logits, \(3, 9, 6\), got \(6,\)"),
        ({"logits": keep_top_k(torch.randn(L, N, E), 2)}, "logits holds numbers that are not finite"),
        ({"noise": ONES * torch.nan}, "noise holds numbers that are not finite"),
        ({"std": ONES * torch.inf}, "std holds numbers that are not finite"),
        ({"std": -ONES}, "std must not be negative, got -1"),
        ({"tokens": TOKENS[:5]}, "9 rows of logits need a list of 9 tokens, got 5"),
        ({"tokens": "nine char"}, "a list of 9 tokens, got one string"),
        ({"top_k": 0}, "from 1 to the number of experts, 6, got 0"),
        ({"top_k": 7}, "6, got 7"),
        ({"top_k": 1.5}, "whole number .* got 1.5"),
        ({"layers": [0]}, "3 layers of logits need as many names in layers, got 1"),
    ],
)
def test_bad_input_is_refused_in_one_line(changes, message):
    good = {"logits": ONES, "noise": ONES, "tokens": TOKENS}
    explore.routing_explorer(**good)
    with pytest.raises(ValueError, match=message) as error:
        explore.routing_explorer(**{**good, **changes})
    assert "\n" not in str(error.value)


def test_lists_half_precision_and_parameters_are_taken_as_they_come():
    scores = torch.nn.Parameter(torch.eye(4, dtype=torch.float16))
    chart = explore.routing_explorer(scores, torch.zeros(4, 4).tolist(), tuple("abcd"), top_k=1)
    assert _loads(_draw(chart)) == [1, 1, 1, 1] and _lines(_draw(chart)) == [0, 1, 0, 1]
