"""The chart of the way out: what Vega draws (vl-convert) held against the library's processes, and the edits against
chance."""

import html
import re
import string
import xml.etree.ElementTree as ElementTree

import pytest
import torch
from drawing import _marks, _number, _refuses, _size, _sliders, _stays, _svg, _texts, _words

from course_utils import diffusion
from course_utils.diffusion.discrete import absorbing_process, even_schedule, marginal, uniform_process
from course_utils.explore import letters, noising
from course_utils.explore.noising import corruption_explorer, edited

VOCABULARY = string.ascii_lowercase + " ,'\"\\<>&"
K = len(VOCABULARY)
TEXTS = {
    "Genesis 1:1": "in the beginning god created the heaven and the earth, and the earth was without form and "
    "void, and darkness was upon",
    "odd": "it's \"a\\b\" <c> & d, it's",
    "Psalm 23": "the lord is my shepherd, i shall not want",
}
SHARES = [0, 0.02, 0.3, 0.5, 0.66, 0.98, 1]
WHITE, NEW, MASKED, AGAIN = "as in x0", "drawn anew", "masked", "the same again"


def _picture():
    generator = torch.Generator().manual_seed(2)
    x0 = torch.rand(64, generator=generator, dtype=torch.float64) * 2 - 1
    schedule = diffusion.schedule_of(diffusion.cosine_schedule(40))
    return x0, torch.randn(64, generator=generator, dtype=torch.float64), schedule


@pytest.fixture(scope="module")
def chart():
    x0, eps, schedule = _picture()
    abar = torch.cat([torch.ones(1, dtype=torch.float64), schedule.alphas_bar])
    return corruption_explorer(TEXTS, VOCABULARY, seed=3, image=(x0, eps, abar), context="a b c")


@pytest.fixture(scope="module")
def rows():
    return noising._rows(list(TEXTS.values()), list(VOCABULARY), torch.Generator().manual_seed(3))


def _drawn(svg: str) -> list[tuple[str, list[str]]]:
    """For each process its text as it is drawn, and how each character is painted."""
    root = ElementTree.fromstring(svg)
    cells = {}
    for path in root.iter("{http://www.w3.org/2000/svg}path"):
        if found := re.fullmatch(r"M([\d.]+),([\d.]+)h9v19h-9Z", path.get("d", "")):
            kind = AGAIN if path.get("fill") == "#FFFFFF" else {"#FFD58A": NEW, "#D0D0D0": MASKED}[path.get("fill")]
            assert (path.get("stroke") == "#E69F00") == (kind == AGAIN)
            cells[round(float(found[1]), 2), float(found[2])] = kind
    chars = [(y, x, e.text or " ") for tag, x, y, e in _marks(root) if tag == "text" and "Mono" in e.get("font-family")]
    top = min(y for y, *_ in chars)
    bold = [(y, e.text) for tag, _, y, e in _marks(root) if tag == "text" and e.get("font-weight") == "bold"]
    heads = [y for y, text in bold if text.startswith(("uniform", "absorbing", "edits"))]
    first = min(x for _, x, _ in chars)
    assert len(heads) == 3
    result = []
    for head, following in zip(heads, [*heads[1:], 1e9]):
        mine = sorted((y, x, c) for y, x, c in chars if head < y < following)
        lines = sorted({y for y, *_ in mine})
        at = [round((x - first) / letters.WIDE) + letters.COLUMNS * lines.index(y) for y, x, _ in mine]
        assert at == list(range(len(mine)))  # no hole, nothing over another, full lines
        local = [(round(x - first + 1, 2), y - top + noising.LINE + 1) for y, x, _ in mine]
        painted = [[kind for (cx, cy), kind in cells.items() if cx == x and abs(cy - y) < 1] for x, y in local]
        result.append(("".join(c for *_, c in mine), [(*kinds, WHITE)[0] for kinds in painted]))
    assert sum(kind != WHITE for _, kinds in result for kind in kinds) == len(cells)
    return result


def _shown(svg: str) -> list[tuple[int, int]]:
    """For each process the percent that is left, and the percent that is expected."""
    found = [re.match(r"characters left of x0: (\d+)%, expected (\d+)%", t) for t in _texts(svg)]
    return [(int(one[1]), int(one[2])) for one in found if one]


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("text", [1, 2])
def test_what_is_drawn_is_x0_where_u_is_not_below_t(chart, rows, text, share):
    name, x0 = list(TEXTS.items())[text - 1]
    svg = _svg(chart, text=text, share=share)
    assert html.escape(TEXTS["odd"], quote=False) != TEXTS["odd"]  # one of them has what XML escapes
    assert f"t / T = {share:.2f}, {name}" in _texts(svg)
    step = int(12 * share + 0.5)
    counts = []
    for r, (shown, painted) in enumerate(_drawn(svg)):
        row = rows[text - 1, r, step if r == 2 else -1]
        hit = [u < share for u in row.u]
        assert shown == "".join(n if h else c for c, n, h in zip(row.chars, row.new, hit))
        kinds = [
            WHITE if not h else MASKED if r == 1 else AGAIN if r == 0 and n == c else NEW
            for c, n, h in zip(row.chars, row.new, hit)
        ]
        assert painted == kinds
        counts.append(sum(kind in (WHITE, AGAIN) for kind in kinds))
        if r < 2:
            assert counts[-1] == sum(a == b for a, b in zip(shown, x0)) and len(shown) == len(x0)
    expected = _expected(share, step)
    assert [left for left, _ in _shown(svg)] == pytest.approx([100 * n / len(x0) for n in counts], abs=0.51)
    assert [wanted for _, wanted in _shown(svg)] == pytest.approx([100 * p for p in expected], abs=0.51)
    assert any(t.endswith(f"; length {len(rows[text - 1, 2, step].chars)}, x0 {len(x0)}") for t in _texts(svg))


def _expected(share, step) -> list[float]:
    """By the library's processes: the chance that a character is what it was after t of 50 even steps."""
    t = round(50 * share)
    x0 = torch.zeros(1, K, dtype=torch.float64)
    x0[0, 0] = 1
    uniform = marginal(x0[:, None], t, uniform_process(even_schedule(50), K))[0, 0, 0].item()
    masked, edits = (absorbing_process(even_schedule(T), K + 1, K).kept for T in (50, 12))
    return [uniform, masked[t].item(), edits[step].item()]


def test_the_share_that_is_left_is_the_expected_one():
    """8 texts of 128 characters: within three standard errors of the processes' own chances."""
    texts = [
        "".join(VOCABULARY[i] for i in torch.randint(K, (128,), generator=torch.Generator().manual_seed(s)))
        for s in range(8)
    ]
    rows = noising._rows(texts, list(VOCABULARY), torch.Generator().manual_seed(0))
    for share in (0.1, 0.5, 0.8, 1):
        for r, p in enumerate(_expected(share, 0)[:2]):
            left = [(n if u < share else c) == c for e in range(8) for c, n, u in zip(*rows[e, r, -1])]
            assert len(left) == 1024 and abs(sum(left) / 1024 - p) <= 3 * (p * (1 - p) / 1024) ** 0.5
    assert sum(_expected(0.5, 6)) > 1.51  # 1 / K is in it


def test_both_processes_hit_the_same_positions_and_nothing_recovers(chart):
    before = None
    for share in (0, 0.2, 0.4, 0.6, 0.8, 1):
        (uniform, painted), (_, masked), _ = _drawn(_svg(chart, share=share))
        hit = [kind != WHITE for kind in painted]
        assert hit == [kind == MASKED for kind in masked]
        if before:
            assert all(now for now, then in zip(hit, before[1]) if then)
            assert all(a == b for a, b, then in zip(uniform, *before) if then)  # a replacement stays what it is
        before = uniform, hit
    assert all(before[1])


def test_edits_keep_order_and_never_bring_a_character_back():
    text = TEXTS["Genesis 1:1"]
    for seed in range(20):
        steps = edited(text, VOCABULARY, torch.Generator().manual_seed(seed))
        assert len(steps) == 13 and steps[0] == list(enumerate(text))
        left = [[place for place, _ in tokens if place >= 0] for tokens in steps]
        assert all(places == sorted(set(places) & set(before)) for places, before in zip(left[1:], left))
        assert all(c == text[place] if place >= 0 else c in VOCABULARY for tokens in steps for place, c in tokens)
        assert left[-1] == []


def test_edits_leave_as_much_as_even_steps_do():
    text, runs = "abcdefgh" * 16, 60
    steps = [edited(text, "xyz", torch.Generator().manual_seed(seed)) for seed in range(runs)]
    for k in (1, 3, 6, 9, 11):
        shares = torch.tensor([sum(place >= 0 for place, _ in run[k]) / len(text) for run in steps])
        assert abs(shares.mean().item() - (1 - k / 12)) <= 3.5 * shares.std().item() / runs**0.5
        lengths = torch.tensor([len(run[k]) / len(text) for run in steps])
        assert abs(lengths.mean().item() - 1) < 0.12  # as much is inserted as deleted


@pytest.mark.parametrize("share", SHARES)
def test_the_image_is_the_librarys_q_sample(chart, share):
    x0, eps, schedule = _picture()
    t = int(40 * share + 0.5)
    svg = _svg(chart, share=share)
    said = re.findall(r'aria-label="(x_t|x0|noise) (\d+): ([−\d.]+)"', svg)
    expected = x0 if t == 0 else diffusion.q_sample(x0[None], t, eps[None], schedule)[0]
    for who, values in (("x_t", expected), ("x0", x0), ("noise", eps)):
        assert [_number(v) for w, _, v in said if w == who] == pytest.approx(values.tolist(), abs=1e-4)
    abar = schedule.alphas_bar[t - 1].item() if t else 1.0
    factors = {f"=  {abar**0.5:.2f}  ×", f"+  {(1 - abar) ** 0.5:.2f}  ×"}
    assert {f"step t = {t} of 40", f"ᾱ = {abar:.4f}"} | factors <= set(_texts(svg))


def test_an_empty_text_has_a_length_of_0(monkeypatch):
    monkeypatch.setattr(noising, "edited", lambda text, *_: [list(enumerate(text)), *[[]] * 12])
    svg = _svg(corruption_explorer(["abc"], "abc"), share=1)
    assert "characters left of x0: 0%, expected 0%; length 0, x0 3" in _texts(svg)


def test_nothing_is_laid_out_again_and_the_page_stays_small(chart):
    _stays(chart, [{}, {"share": 1}, {"share": 0.7, "text": 2}, {"text": 3, "share": 0}], 700)
    assert _size(corruption_explorer([("ab cd" * 26)[:128]] * 8, VOCABULARY)) < 300_000


def test_sliders(chart):
    share = ("t / T, from 0 (the text) to 1 (nothing left)", 0, 1, 0.3)
    assert _sliders(chart) == [("text, 1 to 3", 1, 3, 1), share]
    single = corruption_explorer(["abc"], "abc")
    assert _words(single).endswith("Slider: t / T.") and _sliders(single) == [share]
    assert not any("abar" in str(p) for p in single.spec["params"])


def test_text_form_says_what_is_drawn_and_the_seed_decides(chart):
    text, svg = _words(chart), _svg(chart)
    start = f"What is left of x0: a b c. Genesis 1:1: {TEXTS['Genesis 1:1']} | At t / T = 0.3, uniform ("
    assert text.startswith(start) and text.endswith("Sliders: text, t / T.")
    names = ("uniform", "absorbing", "edits, step 4 of 12")
    for who, (shown, _), (left, expected) in zip(names, _drawn(svg), _shown(svg)):
        assert f"{who} ({left}% left, expected {expected}%): {' '.join(shown.split())}" in text
    abar = _picture()[2].alphas_bar[11].item()
    assert f"Gaussian, step 12 of 40: {abar**0.5:.2f} of the image, {(1 - abar) ** 0.5:.2f} of the noise." in text
    again, other = (corruption_explorer(TEXTS, VOCABULARY, seed=seed).spec for seed in (3, 4))
    assert again["vconcat"][1] == chart.spec["vconcat"][1] != other["vconcat"][1]


ONE = torch.ones(64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"texts": "abc"}, r"put a single text in \[ \]"),
        ({"texts": 3}, "texts must be a dict"),
        ({"texts": []}, "1 to 8 texts, got 0"),
        ({"texts": ["ab"] * 9}, "got 9"),
        ({"texts": ["a"]}, "'text 1' must be a string of 2 to 128 characters, got 1"),
        ({"texts": ["ab" * 65]}, "got 130 characters"),
        ({"texts": [3]}, "got int"),
        ({"texts": {"x": "abd"}}, "'x' has characters .*: 'd'"),
        ({"vocabulary": "a"}, "at least 2 different printable characters, got 1, 1"),
        ({"vocabulary": "abca"}, "got 4, 3 of them different"),
        ({"vocabulary": ["a", "bc"]}, "got 'bc'"),
        ({"vocabulary": "abc\n"}, r"got '\\n'"),
        ({"vocabulary": "ab_"}, "'_' is the mask"),
        ({"image": ONE}, "image must be three things"),
        ({"image": (ONE, ONE[:5], ONE)}, r"\(64,\), noise \(64,\) .* got \(64,\), \(5,\), \(64,\)"),
        ({"image": (ONE, ONE, ONE[:1])}, "T at least 1"),
        ({"image": (ONE * torch.nan, ONE, ONE)}, "finite numbers"),
        ({"image": (ONE, ONE, 2 * ONE)}, "from 0 to 1"),
        ({"image": (ONE, ONE, ONE * 0.9)}, r"got 0.9 first: put a 1 before the schedule's \(T,\)"),
        ({"image": (ONE, ONE, torch.tensor([1, 0.2, 0.5]))}, "go down from 1"),
    ],
)
def test_bad_input_is_refused_in_one_line(changes, message):
    good = {"texts": ["abc"], "vocabulary": "abc"}
    corruption_explorer(**good)
    _refuses(message, corruption_explorer, **{**good, **changes})
