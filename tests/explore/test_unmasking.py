"""The viewer of samples: what Vega draws (vl-convert) held against the states themselves, and the colours against
WCAG."""

import math
import random
import re

import pytest
import torch
from drawing import _contrast, _luminance, _marks, _refuses, _rgb, _size, _sliders, _stays, _tree, _words

from course_utils.diffusion.discrete import absorbing_process, even_schedule, sample, uniform_process
from course_utils.explore import letters, unmasking
from course_utils.explore.unmasking import decisions_viewer

LETTERS = "abcdefgh \"'<&"
RUNS, B, N = {"1 step": 1, "4 steps": 4, "7 passes": 7, "64 steps": 64}, 3, 150
SCORES = {"1 step": 4.25, "4 steps": 3.5, "7 passes": 3.875, "64 steps": 2.125}


def _history(n, seed, size=N):
    """Masked tokens that are decided, and now and then decided again or masked again, as mask-predict does."""
    rng = random.Random(seed)
    states = ["_" * size]
    for i in range(n):
        row = [rng.choice(LETTERS) if rng.random() < (i + 1) / n * (1 if c == "_" else 0.1) else c for c in states[-1]]
        row = ["_" if i < n - 1 and c != "_" and rng.random() < 0.05 else c for c in row]
        states.append("".join(row))
    return states


@pytest.fixture(scope="module")
def histories():
    return {label: [_history(n, 10 * n + b) for b in range(B)] for label, n in RUNS.items()}


@pytest.fixture(scope="module")
def chart(histories):
    return decisions_viewer(histories, scores=SCORES, score_name="bits per character", context="a b c")


PATH = "{http://www.w3.org/2000/svg}path"


def _cells(svg):
    """(character, fill, framed, ink) in their order; nothing overlaps and no place is left out."""
    cells = []
    for path in svg.iter(PATH):
        if found := re.fullmatch(r"M([\d.]+),([\d.]+)h9v20h-9Z", path.get("d", "")):
            cells.append((float(found[2]), float(found[1]), path.get("fill"), path.get("stroke") == "#222222"))
    texts = [(y, x, e) for tag, x, y, e in _marks(svg) if tag == "text" and e.get("font-size") == "14px"]
    cells, chars = sorted(cells), sorted((y, x, e.text or " ", e.get("fill")) for y, x, e in texts)
    assert len(cells) == len(chars)
    assert len({(b[0] - a[0], round(b[1] - a[1], 2)) for a, b in zip(cells, chars)}) == 1  # each in its own cell
    columns = [round((x - 1) / letters.WIDE) for _, x, *_ in cells]
    assert columns == [p % letters.COLUMNS for p in range(len(cells))]
    return [(c, fill, framed, ink) for (_, _, fill, framed), (_, _, c, ink) in zip(cells, chars)]


def _painted(share):
    """The ramp at ``share``, linear in sRGB between its stops."""
    stops = [_rgb(c) for c in unmasking.RAMP]
    at = min(share * 3, 2.999999)
    low, part = int(at), at - int(at)
    return tuple((1 - part) * a + part * b for a, b in zip(stops[low], stops[low + 1]))


def _shown(fill):
    """A colour as Vega writes it, from 0 to 1."""
    return _rgb(fill) if fill[0] == "#" else tuple(int(x) / 255 for x in re.findall(r"\d+", fill))


def _texts(svg):
    return [e.text for tag, *_, e in _marks(svg) if tag == "text"]


@pytest.mark.parametrize("progress", [0, 0.13, 0.5, 0.72, 1])
@pytest.mark.parametrize(("run", "text"), [(1, 1), (2, 3), (3, 2), (4, 1)])
def test_the_page_draws_the_state_and_when_each_character_was_last_changed(chart, histories, run, text, progress):
    label = list(histories)[run - 1]
    states, n = histories[label][text - 1], RUNS[label]
    svg = _tree(chart, run=run, text=text, progress=progress)
    now = math.floor(n * progress + 0.5)
    cells = _cells(svg)
    assert "".join(c for c, *_ in cells) == states[now]
    when = [max([0, *(i for i in range(1, now + 1) if states[i][p] != states[i - 1][p])]) for p in range(N)]
    for (c, fill, framed, ink), j in zip(cells, when):
        assert framed == (j == now > 0)
        if c == "_":
            assert (fill, ink) == ("white", "#767676")
        else:
            assert _shown(fill) == pytest.approx(_painted(j / n), abs=0.01) and ink == "#222222"
    fresh = sum(a != b for a, b in zip(states[now], states[now - 1])) if now else 0
    said = f"undecided {states[now].count('_')} of {N} characters, changed by this iteration: {fresh}"
    assert {f"{label}, text {text} of 3: iteration {now} of {n}", said} <= set(_texts(svg))


def test_some_characters_change_twice_in_these_tests(histories):
    states = histories["7 passes"][1]
    assert any(len({s[p] for s in states}) > 2 for p in range(N))
    assert any(a[p] != "_" and b[p] == "_" for a, b in zip(states, states[1:]) for p in range(N))


def test_dark_text_can_be_read_on_every_colour_and_the_ramp_only_gets_lighter():
    light = [_luminance(_painted(i / 300)) for i in range(301)]
    assert min((L + 0.05) / (_luminance(_rgb("#222222")) + 0.05) for L in light) >= 5.5
    assert all(b > a for a, b in zip(light, light[1:]))
    assert _contrast("#767676") >= 4.5


@pytest.mark.parametrize("run", [1, 3])
def test_the_scores_stand_beside_their_runs_and_the_chosen_one_is_in_colour(chart, run):
    svg = _tree(chart, run=run)
    bars = [p for p in svg.iter(PATH) if p.get("aria-roledescription") == "bar"]
    said = [p.get("aria-label") for p in bars]
    assert said == [f"{label} {score:.5f}" for label, score in SCORES.items()]
    widths = [float(re.search(r"h([\d.]+)", p.get("d"))[1]) for p in bars]
    assert [w / widths[0] for w in widths] == pytest.approx([s / 4.25 for s in SCORES.values()], abs=1e-3)
    assert [p.get("fill") for p in bars] == ["#0072B2" if k == run else "#D9D9D9" for k in range(1, 5)]
    texts = {e.text: e.get("font-weight") for tag, *_, e in _marks(svg) if tag == "text"}
    assert "bits per character" in texts and [f"{s:.3f}" in texts for s in SCORES.values()] == [True] * 4
    assert [texts[label] == "bold" for label in SCORES] == [k == run for k in range(1, 5)]


def test_samples_of_the_library_are_shown_through_decode():
    """Both processes, as `sample` returns them: ids (n + 1, B, N)."""
    letters = "abcde_"
    for process, K in ((absorbing_process(even_schedule(8), 6, 5), 6), (uniform_process(even_schedule(8), 5), 5)):
        generator = torch.Generator().manual_seed(0)
        drawn = sample(lambda x, t, K=K: torch.zeros(*x.shape, K), (2, 40), process, 8, generator, return_history=True)

        def decode(ids):
            return "".join(letters[i] for i in ids.tolist())

        chart = decisions_viewer({"8": drawn, "8, as an array": drawn.numpy()}, decode)
        for progress, i in ((0, 0), (0.5, 4), (1, 8)):
            for run in (1, 2):
                svg = _tree(chart, run=run, text=2, progress=progress)
                assert "".join(c for c, *_ in _cells(svg)) == decode(drawn[i, 1])
        absorbing = process.mask is not None
        undecided = int((drawn[4, 0] == 5).sum()) if absorbing else 0
        assert f"at iteration 4 of 8, {undecided} of 40 characters undecided" in chart.spec["description"]


def test_nothing_is_laid_out_again_and_the_page_stays_small(chart):
    _stays(chart, [{"run": r, "progress": p, "text": t} for r, p, t in ((1, 0, 1), (4, 1, 2), (3, 0.6, 3))], 700)
    largest = {f"run {n}": [_history(n, n + b, 256) for b in range(4)] for n in (1, 8, 64, 128)}
    assert _size(decisions_viewer(largest)) < 800_000


def test_sliders_and_runs_of_other_lengths(chart):
    wanted = [("run, from 1 step (left) to 64 steps (right)", 1, 4, 4), ("text, 1 to 3", 1, 3, 1)]
    assert _sliders(chart) == [*wanted, ("progress, from 0 (x_T) to 1 (x_0)", 0, 1, 0.5)]
    single = decisions_viewer({"a": [["__", "ab"]], "b": [["___", "x__", "xyz"]]})
    assert _words(single).endswith("Sliders: run, progress.")
    assert "b: iteration 1 of 2" in _texts(_tree(single)) and "".join(c for c, *_ in _cells(_tree(single))) == "x__"
    assert "".join(c for c, *_ in _cells(_tree(single, run=1, progress=1))) == "ab"
    alone = decisions_viewer({"a": [["__", "ab"]]}, scores={"a": -1.5})
    assert _words(alone).endswith("Slider: progress.")
    bars = [p for p in _tree(alone).iter(PATH) if p.get("aria-roledescription") == "bar"]
    assert [bar.get("aria-label") for bar in bars] == ["a −1.50000"]


def test_text_form(chart, histories):
    states = histories["64 steps"][0]
    runs = ", ".join(f"{label} (bits per character {score:.3f})" for label, score in SCORES.items())
    undecided = f"{states[32].count('_')} of {N} characters undecided: {states[32]} | at the end: {states[-1]} | "
    assert chart.spec["description"] == (
        f"Which characters are decided when: a b c. Runs: {runs}. 64 steps, text 1 of 3, at iteration 32 of 64, "
        f"{undecided}Sliders: run, text, progress."
    )
    assert _words(chart)


GOOD = [["__", "a_", "ab"]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"histories": GOOD}, "histories must be a dict of 1 to 8 labels and their texts, got list"),
        ({"histories": {}}, "got 0"),
        ({"histories": {str(i): GOOD for i in range(9)}}, "got 9"),
        ({"histories": {"a": "ab"}}, r"put a single text in \[ \]"),
        ({"histories": {"a": ["__", "ab"]}}, r"run 'a' must be a list of texts, each a list of .* text in \[ \]"),
        ({"histories": {"a": [["__"]]}}, "run 'a', text 1: give strings, .* for each of 1 to 1000 iterations, got 1"),
        ({"histories": {"a": [[1, 2]]}}, "give strings"),
        ({"histories": {"a": [["__", "abc"]]}}, r"must have one length .* got \[2, 3\]"),
        ({"histories": {"a": [["", ""]]}}, r"from 1 to 256 characters, got \[0\]"),
        ({"histories": {"a": [["a" * 257] * 2]}}, r"got \[257\]"),
        ({"histories": {"a": [["_", "a"], ["_", "_", "a"]]}}, r"the same number of iterations, got \[1, 2\]"),
        ({"histories": {"a": GOOD, "b": GOOD * 2}}, "the same number of texts, 1 to 8, got a 1, b 2"),
        ({"histories": {"a": GOOD * 9}}, "got a 9"),
        ({"histories": {"a": []}}, "got a 0"),
        ({"histories": {"a": torch.zeros(3, 2), "b": GOOD}, "decode": str}, r"got \(3, 2\)"),
        ({"histories": {"a": GOOD}, "decode": str}, "with decode, run 'a' must be ids .* got list"),
        ({"scores": [1]}, "scores must be a dict with a number for each of the runs, a"),
        ({"scores": {"b": 1}}, "each of the runs, a"),
        ({"scores": {"a": math.nan}}, "finite numbers: 'a' has nan"),
        ({"scores": {"a": "1"}}, "'a' has '1'"),
    ],
)
def test_bad_input_is_refused_in_one_line(changes, message):
    good = {"histories": {"a": GOOD}}
    decisions_viewer(**good)
    _refuses(message, decisions_viewer, **{**good, **changes})
