"""The viewer of translations: what Vega draws (vl-convert) held against an alignment by recursion and a layout of its
own."""

import functools
import itertools
import math
import random
import re

import numpy as np
import pytest
from drawing import _marks, _refuses, _size, _sliders, _tree, _words

from course_utils import explore
from course_utils.explore import translations
from course_utils.explore.translations import in_reference

INK, MARKED, NOTE, UNDERLINE = "#222222", "#B34700", "#767676", "#D55E00"
ROWS = {
    "English": ["In the beginning, God created the heavens and the earth.", "She left — and the king slept.", "Yes."],
    "Apertium": [
        "En el inicio, Dios creado los cielos y la tierra.",
        "Marchó—y el Rey durmió.",
        '“Sí” null 12 <b> & "no" it\'s.',
    ],
    "NMT": ["EN el principio crió Dios la tierra y los cielos.", "", "Sí, " + "no " * 150 + "y sí."],
    "Human": ["EN el principio crió Dios los cielos y la tierra.", "Ella se fué, y el rey durmió.", "Sí — y sí."],
}
CHRF = {"Apertium": [61.25, 40, 3], "NMT": [82, 0, 17.5]}


def _svg(chart, sentence=1):
    return _tree(chart, **({"sentence": sentence} if _sliders(chart) else {}))


def _drawn(chart, sentence=1):
    """{name: (what stands beside it, [(text, x, y, colour, underlined)])} of the picture, from top to bottom."""
    names = chart.spec["params"][-3]["value"]
    marks = list(_marks(_svg(chart, sentence)))
    texts = [(e.text, x, y, e) for tag, x, y, e in marks if tag == "text" and "Mono" in e.get("font-family")]
    lines = [(x, y, e) for tag, x, y, e in marks if tag == "line" and e.get("stroke") == UNDERLINE]
    lines = {(round(x, 2), round(y, 2)): float(e.get("x2")) for x, y, e in lines}
    heads = [(text, y) for text, _, y, e in texts if e.get("font-weight") == "bold"]
    assert [text for text, _ in heads] == names
    rows, used = {}, 0
    for (name, top), below in itertools.zip_longest(heads, [y for _, y in heads[1:]], fillvalue=math.inf):
        beside = [text for text, _, y, e in texts if y == top and e.get("font-weight") != "bold" and text]
        words = []
        for text, x, y, e in sorted((one for one in texts if top < one[2] < below), key=lambda one: (one[2], one[1])):
            under = lines.get((round(x + 1, 2), round(y + translations.LINE / 2 - 1, 2)))
            assert under is None or under == pytest.approx(len(text) * translations.CHAR - 2, abs=0.01)
            used += under is not None
            words.append((text, x, y, e.get("fill"), under is not None))
        rows[name] = beside, words
    assert used == len(lines)  # no line stands alone
    return rows


def _alignment(words, reference):
    """Indices of the longest common subsequence with the first words, by trying everything."""

    @functools.cache
    def best(i, j):
        if i == len(words):
            return ()
        taken = [(i, *best(i + 1, k + 1)) for k in range(j, len(reference)) if reference[k] == words[i]]
        return min([best(i + 1, j), *taken], key=lambda found: (-len(found), found))

    return best(0, 0)


def _compared(text):
    """The words of a text as they are compared, without those of punctuation."""
    bare = [re.sub(r"[\W_]", "", word.lower()) for word in re.sub("[—–]", " ", text).split()]
    return [word for word in bare if word]


@pytest.fixture(scope="module")
def chart():
    said = {"labels": ["Genesis 1:1", "a", "b"], "title": "Viewer", "context": "three verses"}
    return explore.translation_viewer(ROWS, reference="Human", scores=CHRF, score_name="chrF", **said)


@pytest.mark.parametrize("seed", range(40))
def test_alignment_is_the_first_of_the_longest(seed):
    rng = random.Random(seed)
    words, reference = ([rng.choice("abc"[: 2 + seed % 2]) for _ in range(rng.randint(0, 9))] for _ in range(2))
    subsequences = [c for n in range(len(words) + 1) for c in itertools.combinations(range(len(words)), n)]

    def fits(chosen):
        rest = iter(reference)
        return all(words[i] in rest for i in chosen)

    expected = min(filter(fits, subsequences), key=lambda c: (-len(c), c))
    assert tuple(i for i, hit in enumerate(in_reference(words, reference)) if hit) == expected
    assert _alignment(words, reference) == expected


@pytest.mark.parametrize("sentence", [1, 2])
def test_the_page_draws_all_words_and_underlines_what_the_reference_lacks(chart, sentence):
    reference = _compared(ROWS["Human"][sentence - 1])
    for name, (beside, words) in _drawn(chart, sentence).items():
        text = ROWS[name][sentence - 1]
        assert re.sub(r"\s", "", "".join(word for word, *_ in words)) == re.sub(r"\s", "", text or "(no text)")
        compared = [(word, marked) for word, _, _, _, marked in words if re.search(r"\w", word) and text]
        marks = [marked for _, marked in compared]
        if name in ("English", "Human"):
            assert not any(marks) and beside == ([f"{len(reference)} words"] if name == "Human" else [])
            continue
        hits = _alignment(_compared(text), reference)
        assert marks == [i not in hits for i in range(len(compared))]
        assert beside == [f"{len(hits)} of {len(reference)} words in common", f"chrF {CHRF[name][sentence - 1]:.1f}"]
        assert all(colour == (MARKED if marked else INK if text else NOTE) for _, _, _, colour, marked in words)


def test_what_is_marked_in_a_sentence_that_can_be_read(chart):
    marked = {name: [word for word, _, _, _, under in words if under] for name, (_, words) in _drawn(chart, 1).items()}
    wanted = {"Apertium": ["inicio,", "creado"], "NMT": ["y", "los", "cielos."]}  # order counts
    assert marked == {"English": [], **wanted, "Human": []}
    rows = _drawn(chart, 2)
    assert [word for word, *_ in rows["Apertium"][1]] == ["Marchó—", "y", "el", "Rey", "durmió."]
    assert [word for word, _, _, _, under in rows["Apertium"][1] if under] == ["Marchó—"]
    assert rows["NMT"][1][0][0] == "(no text)" and rows["NMT"][0][0] == "0 of 7 words in common"
    assert [word for word, *_ in _drawn(chart, 3)["Apertium"][1]] == ["“Sí”", "null", "12", "<b>", "&", '"no"', "it's."]


def test_a_page_that_compared_otherwise_would_be_noticed():
    """Words in any order, case and punctuation give other counts in these rows."""
    said, human = _compared(ROWS["NMT"][0]), _compared(ROWS["Human"][0])
    assert len(_alignment(said, human)) == 7 < len(said) == len(human) == 10 and sorted(said) == sorted(human)
    assert len(_alignment(ROWS["Apertium"][1].replace("—", " ").split(), ROWS["Human"][1].split())) == 3
    assert len(_alignment(_compared(ROWS["Apertium"][1]), _compared(ROWS["Human"][1]))) == 4


def test_a_text_that_is_too_long_says_what_is_missing(chart):
    rows = _drawn(chart, 3)
    (told, _), words = rows["NMT"]
    assert rows["Human"][0] == ["3 words"]  # a dash is none
    assert told == "3 of 3 words in common"  # of the whole text, not of what is shown
    *shown, (remark, x, _, colour, marked) = words
    found = re.fullmatch(r"… (\d+) more words, (\d+) in common", remark)
    whole = ROWS["NMT"][2].split()
    assert [word for word, *_ in shown] == whole[: len(shown)] and int(found[1]) == len(whole) - len(shown) > 50
    assert int(found[2]) == 3 - sum(not under for *_, under in shown) == 2  # one of three is shown
    assert colour == NOTE and not marked and len({y for _, _, y, _, _ in words}) == 3
    end = (x - words[0][1]) / translations.CHAR + len(remark)
    assert 82 - 3 < end <= 82 + 1e-6  # there is no room for another "no"


LETTERS = random.Random(5)


def _random(most):
    """A text of up to so many words of up to 81 letters."""
    return " ".join("x" * LETTERS.choice([1, 2, 5, 9, 30, 81]) for _ in range(LETTERS.randint(1, most)))


MOST = {"a": 9, "b": 60, "a name of more than twenty-four letters": 25, "d": 3}
RANDOM = {name: [_random(most) for _ in range(4)] for name, most in MOST.items()}
RANDOM["e"] = ["x" * 200, "x" * 41 + " " + "x" * 41, "(" * 400, "x—" * 60]


@pytest.mark.parametrize(
    ("rows", "reference", "lines"), [(ROWS, "Human", 3), (ROWS, "Human", 1), (RANDOM, "a", 2), (RANDOM, "b", 5)]
)
def test_nothing_overlaps_or_leaves_the_chart_and_nothing_moves(monkeypatch, rows, reference, lines):
    monkeypatch.setattr(translations, "LINES", lines)
    scores = {name: [-12345.678] * len(texts) for name, texts in rows.items()}
    drawn = explore.translation_viewer(rows, reference=reference, scores=scores, score_name="sixteen letters!")
    width, still = drawn.spec["vconcat"][1]["width"], set()
    for sentence in range(1, len(rows[reference]) + 1):
        svg = _svg(drawn, sentence)
        marks = list(_marks(svg))
        boxes = {}
        for tag, x, y, e in marks:
            if tag == "text" and "Mono" in e.get("font-family") and e.text:
                assert e.get("font-size") == "13px"
                boxes.setdefault(y, []).append((x, x + 0.603 * 13 * len(e.text)))
        left = min(x for row in boxes.values() for x, _ in row)
        for row in boxes.values():
            row.sort()
            # Dashes end where the next word begins.
            assert all(end <= start + 0.2 for (_, end), (start, _) in zip(row, row[1:]))
            assert row[0][0] >= left and row[-1][1] <= left + min(width, 82 * translations.CHAR)
        assert np.diff(sorted(boxes)).min() >= translations.LINE - 1e-6
        assert max(boxes) + translations.LINE / 2 <= float(svg.get("height"))
        bold = [(e, y) for _, _, y, e in marks if e.get("font-weight") == "bold"]
        heads = tuple((e.text, y) for e, y in bold if "Mono" in e.get("font-family"))
        still.add((svg.get("width"), svg.get("height"), heads))
        for name, (_, words) in _drawn(drawn, sentence).items():
            assert len({y for _, _, y, _, _ in words}) <= lines, name
            *shown, last = [word for word, *_ in words]
            texts = next(t for n, t in rows.items() if n[:22] == name[:22])
            whole = re.sub(r"\s", "", texts[sentence - 1]) or "(notext)"
            joined = re.sub(r"\s", "", "".join(shown))
            assert whole.startswith(joined) if last.startswith("…") else whole == joined + re.sub(r"\s", "", last)
    assert len(still) == 1 and float(svg.get("width")) <= 700


def test_words_of_a_line_are_one_blank_apart_and_lines_are_as_full_as_they_can_be(chart):
    for sentence in (1, 2, 3):
        for _, words in _drawn(chart, sentence).values():
            start = words[0][1]
            for (one, x, y, *_), (two, x2, y2, *_) in zip(words, words[1:]):
                gap = 0 if one == "Marchó—" else 1
                if y == y2:
                    assert x2 - x == pytest.approx((len(one) + gap) * translations.CHAR, abs=0.01)
                else:
                    assert x2 == start
                    assert (x - start) / translations.CHAR + len(one) + 1 + len(two) > translations.COLUMNS


def test_a_line_has_room_for_82_letters():
    rows = {"a": ["x" * 41 + " " + "x" * 40], "b": ["x" * 41 + " " + "x" * 41]}
    drawn = explore.translation_viewer(rows, reference="a")
    assert [len({y for _, _, y, *_ in words}) for _, words in _drawn(drawn).values()] == [1, 2]


def test_decomposed_accents_are_one_letter():
    drawn = explore.translation_viewer({"a": ["di\u0301as"], "b": ["días"]}, reference="b")
    assert _drawn(drawn)["a"][0] == ["1 of 1 words in common"] and _drawn(drawn)["a"][1][0][0] == "días"


def test_slider_and_a_single_sentence(chart):
    assert _sliders(chart) == [("sentence, 1 to 3", 1, 3, 1)]
    assert "sentence 3 of 3: b" in [e.text for *_, e in _marks(_svg(chart, 3))]
    single = explore.translation_viewer({name: texts[:1] for name, texts in ROWS.items()}, reference="Human")
    assert _sliders(single) == [] and "Slider" not in _words(single)
    assert _drawn(single)["NMT"][0] == ["7 of 10 words in common"]
    assert "sentence 1 of 1" in [e.text for *_, e in _marks(_svg(single))]


def test_text_form(chart):
    beside = {"Apertium": " (8 of 10 words in common with Human, chrF 61.2)", "Human": " (10 words)"}
    beside |= {"English": "", "NMT": " (7 of 10 words in common with Human, chrF 82.0)"}
    listed = " | ".join(f"{name}{beside[name]}: {texts[0]}" for name, texts in ROWS.items())
    start = "Viewer: three verses. Rows: English, Apertium, NMT, Human. Sentence 1 of 3 (Genesis 1:1). "
    assert _words(chart) == f"{start}{listed} Slider: sentence."


def test_any_row_can_be_the_reference_and_arrays_are_welcome():
    rows = {name: np.array(texts) for name, texts in ROWS.items()}
    scores = {"Human": np.array([0.5, 0.25, 0])}
    rows = _drawn(explore.translation_viewer(rows, reference="Apertium", plain=["English", "NMT"], scores=scores))
    assert [beside for beside, _ in rows.values()] == [[], ["10 words"], [], ["8 of 10 words in common", "score 0.50"]]
    assert [word for word, *_, under in rows["Human"][1] if under] == ["principio", "crió"]


def test_page_of_40_sentences_stays_small():
    rows = {f"system {m}": ["en aquellos días el rey " * 6] * 40 for m in range(8)}
    assert _size(explore.translation_viewer(rows, reference="system 0")) < 320_000


def _two(**changes):
    return {"rows": {"a": ["x y", "z"], "b": ["x", "y"]}, "reference": "b", **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": [["x"], ["y"]]}, "rows must be a dict of 2 to 8 names and their texts, got list"),
        ({"rows": {"b": ["x"]}}, "2 to 8 names and their texts, got 1"),
        ({"rows": {str(i): ["x"] for i in range(9)}}, "got 9"),
        ({"rows": {"a": "x y", "b": ["x"]}}, r"'a' must be a string and a list of strings: .* single text in \[ \]"),
        ({"rows": {"a": [float("nan")], "b": ["x"]}}, "of the row 'a' must be"),
        ({"rows": {"a": None, "b": ["x"]}}, "of the row 'a' must be"),
        ({"rows": {1: ["x"], "b": ["x"]}}, "of the row 1 must be"),
        ({"rows": {"a": ["x", "y"], "b": ["x"]}}, "all rows need the same number of texts, got a 2, b 1"),
        ({"rows": {"a": [], "b": []}}, "shows 1 to 40 sentences, got 0"),
        ({"rows": {"a": ["x"] * 41, "b": ["x"] * 41}}, "got 41"),
        ({"rows": {"a": ["x", "y"], "b": ["x", "—"]}}, "sentence 2 of the reference has no words: leave it out"),
        ({"reference": "c"}, "reference must be one of the rows, a, b, got 'c'"),
        ({"plain": "a"}, "plain must be a list of names without the reference, got 'a'"),
        ({"plain": ["b"]}, "without the reference"),
        ({"plain": ["c"]}, r"plain must name rows, a, b, got \['c'\]"),
        ({"scores": [[1, 2]]}, "scores must be a dict of names and their 2 numbers"),
        ({"scores": {"a": 1}}, "scores must be a dict"),
        ({"scores": {"c": [1, 2]}}, "2 finite numbers for names among a, b: 'c' does not fit"),
        ({"scores": {"a": [1]}}, "'a' does not fit"),
        ({"scores": {"a": [1, math.nan]}}, "'a' does not fit"),
        ({"scores": {"a": ["1", "2"]}}, "'a' does not fit"),
        ({"score_name": "x" * 17}, "score_name must have at most 16 letters.* has 17"),
        ({"labels": "ab"}, "2 sentences need a list of as many labels, got one string"),
        ({"labels": ["a"]}, "as many labels, got 1"),
    ],
)
def test_bad_input_is_refused_in_one_line(changes, message):
    explore.translation_viewer(**_two())
    _refuses(message, explore.translation_viewer, **_two(**changes))
