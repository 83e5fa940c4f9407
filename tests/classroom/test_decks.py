"""Decks: the parser, what is taken out of a notebook, one clear line for each error, nothing hostile gets in, and the
numbers of the course's own decks stand in the notebooks' saved outputs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_utils.classroom import decks, export, progress
from course_utils.explore import guess
from course_utils.explore.chart import LiveChart

SPEC = {
    "title": {"text": "One point", "subtitle": ["</script><b>not markup</b>", "blue: here"]},
    "data": {"values": [{"said": "</script><b>not markup</b><!--<script>"}]},
    "mark": "point",
}
COVERED = guess.guess_first(
    LiveChart(SPEC | {"mark": {"type": "point"}}, "One."), "How many?", 1, low=0, high=2, step=1
)
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
CLAIM = "Claim:  {}\nSource: A & B (2020)\nHere:   0.24 [0.16, 0.32] nats\nFrom:   60 verses\nShown:  {}\n"
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"/>'
HOSTILE = "<script>steal()</script><img src=x onerror=steal()>"
OURS = [path for path in progress.notebooks() if (decks.DECKS / f"{path.stem}.md").exists()]


def _shown(data: dict, metadata: dict | None = None):
    return new_output("execute_result", data=data, metadata=metadata or {}, execution_count=1)


def _printed(text: str):
    return new_output("stream", name="stdout", text=text)


@pytest.fixture(scope="module")
def nb():
    """A notebook with one of everything."""
    long = "x = 1\n" * 9 + "y = 2  # " + "a comment " * 12
    table = f"<table onclick='steal()'><tr><th scope='row'>a</th><td>1{HOSTILE}</td></tr></table>"
    sound = '<audio controls aria-label="A voice" style="x" src="data:audio/wav;base64,AAAA">'
    codes = {
        "chart": ("a_chart()", _shown({export.CHART: SPEC, "text/plain": "One point & one slider."})),
        "guess": ("guess_first()", _shown({export.CHART: COVERED.spec, "text/plain": COVERED.text})),
        "picture": ("a_picture()", _shown({"image/png": PNG}, {"image/png": {"alt": 'A "dot"'}})),
        "text": ("print(1)", _printed("one\ntwo\n  three\n")),
        "hostile": ("print(2)", _printed(HOSTILE)),
        "table": ("a_table()", _shown({"text/html": table, "text/plain": "a table"})),
        "sound": ("a_sound()", _shown({"text/html": sound, "text/plain": "a voice"})),
        "wide": ("print(3)", _printed("w" * 97)),
        "claims": (
            "claim()",
            _printed(CLAIM.format("First <b>", "holds here") + CLAIM.format("Second", "not shown here")),
        ),
    }
    cells = [new_code_cell(source, id=name, outputs=[output]) for name, (source, output) in codes.items()]
    cells += [new_code_cell(long, id="long"), new_markdown_cell("### Exercise 2 · Mix & match &nbsp; ●●○ · 5 minutes")]
    return new_notebook(cells=[new_markdown_cell("# 90 · Small"), *cells])


@pytest.fixture
def made(nb, tmp_path):
    """made(text) -> the slide's HTML."""
    (tmp_path / "drawing.svg").write_text(SVG, encoding="utf-8")
    return lambda text: decks.slide(text, nb, tmp_path)[0]


def test_slides_end_at_lines_of_three_dashes_outside_of_code():
    assert decks.split("# A\n---\n## B\n```\n---\n```\n\n---\n## C\n") == ["# A", "## B\n```\n---\n```", "## C"]


def test_a_slide_has_its_message_its_kind_its_text_and_its_note(made):
    page = made("## Two *models* and $x < y$\n\n- one\n\nNote: Say **this**.")
    assert page.startswith('<section class="words"><h2>Two <em>models</em> and <span class="tex">x &lt; y</span></h2>')
    assert "<li>one</li>" in page and '<aside class="notes"><p>Say <strong>this</strong>.</p>' in page
    assert made("# Title\nwords").startswith('<section class="title"><h1>Title</h1>')
    assert made("## ? Which one?").startswith('<section class="question"><h2>Which one?</h2>')


def test_a_chart_stays_data_and_its_title_stands_beside_it(made):
    page = made("## A chart\n{chart chart}")
    assert page.startswith('<section class="has-chart">')
    found = re.findall(r'<script type="application/json">(.*?)</script>', page)
    assert [json.loads(data) for data in found] == [{key: SPEC[key] for key in ("data", "mark")}] and "<" not in found[
        0
    ]
    assert '<div class="said"><p>One point</p><p>&lt;/script&gt;&lt;b&gt;' in page
    assert "<summary>Live chart 1 in words</summary><p>One point &amp; one slider.</p>" in page


def test_a_line_ends_neither_before_a_percent_sign_nor_around_the_sign_of_equality(made):
    page = made("## 96 % at λ = .5\n\nT = 2, and a = b")
    assert "96\u00a0% at λ\u00a0=\u00a0.5" in page and "T\u00a0=\u00a02, and a = b" in page


def test_formulas_and_code_keep_their_ordinary_blanks(made):
    page = made("## $T = 2$ at λ = 3\n\n$$\nx = 1,\ny = 2\n$$\n\n- `p = .5`")
    assert ">T = 2<" in page and "λ\u00a0=\u00a03" in page and "x = 1,\ny = 2" in page and "p = .5" in page


def test_a_chart_that_asks_for_a_guess_is_shown_without_its_cover(made):
    page = made("## A chart\n{chart guess}")
    spec = json.loads(re.search(r'<script type="application/json">(.*?)</script>', page)[1])
    assert "uncovered_input" not in page and spec["data"] == SPEC["data"] and "vconcat" not in spec
    assert '<div class="said"><p>One point</p>' in page
    assert "<summary>Live chart 1 in words</summary><p>One.</p>" in page


def test_charts_are_numbered_through_a_deck(nb, tmp_path):
    (tmp_path / "90.md").write_text("# T\n---\n## A\n{chart chart}\n---\n## B\n{chart chart}", encoding="utf-8")
    page = decks.deck(tmp_path / "90.md", nb)
    assert [f"Live chart {i} in words" in page for i in (1, 2, 3)] == [True, True, False]


def test_outputs(made):
    assert '<pre class="printed short">one\ntwo\n  three</pre>' in made("## T\n{output text}")
    assert '<pre class="printed short">one\n  three</pre>' in made("## T\n{output text 1,3}")
    assert '<div class="text"><p>two</p></div>' in made("## T\n{text text 2}")
    assert f'<img alt="A &quot;dot&quot;" src="data:image/png;base64,{PNG}">' in made("## T\n{output picture}")
    assert '<audio controls aria-label="A voice" src="data:audio/wav;base64,AAAA"></audio>' in made(
        "## T\n{output sound}"
    )


def test_nothing_hostile_in_an_output_becomes_part_of_the_page(made):
    pages = made("## T\n{output hostile}\n{text hostile}\n{output table}\n{claim claims}")
    assert "<script" not in pages and "<img" not in pages and "onclick" not in pages and "<b>" not in pages
    assert '<th scope="row">a</th>' in pages and "First &lt;b&gt;" in pages


def test_claims_come_with_figure_verdict_and_source(made):
    first, second = made("## T\n{claim claims}"), made("## T\n{claim claims 2}")
    assert '<div class="claim holds"><p class="what">First' in first and "0.24 [0.16, 0.32] nats" in first
    assert '<span class="verdict">not shown here</span>' in second and "A &amp; B (2020) · 60 verses" in second


def test_code_and_what_the_key_c_shows(made):
    shown, behind = made("## T\n{code long 8-10}").split('<template class="behind">')
    assert "comment" not in shown and "comment" in behind, "it does not fit on the slide, and stands in the whole code"
    assert "<p>Cell <code>long</code></p>" in behind
    assert [part.count('<span class="o">=</span>') for part in (shown, behind)] == [3, 10]
    assert "<template" not in made("## T\nonly words")


def test_exercises_come_with_difficulty_and_minutes(made):
    page = made("## T\n{exercise 2} Do *it*.")
    assert (
        "<strong>2 · Mix &amp; match</strong>" in page and 'aria-label="difficulty 2 of 3">●●○</span> 5 minutes' in page
    )
    assert "<p>Do <em>it</em>.</p>" in page


def test_a_drawing_is_inside_of_the_page(made):
    assert '<img alt="A drawing" src="data:image/svg+xml;base64,' in made("## T\n![A drawing](drawing.svg)")


ERRORS = {
    "{chart nowhere}": "the notebook has no code cell 'nowhere'",
    "{chart text}": "cell 'text' shows no live chart",
    "{output long}": "cell 'long' has no output",
    "{output text 2-9}": "lines '2-9' of the text of cell 'text', which has 3",
    "{output text b}": "lines 'b' of the text",
    "{output wide}": "has 97 characters and 96 fit",
    "{claim claims 3}": "prints 2 claims",
    "{claim text}": "prints 0 claims",
    "{claim claims x}": "there is no claim 'x'",
    "{code long}": "10 lines of code and 8 fit",
    "{exercise 7}": "no exercise 7: its exercises are 2",
    "{graph chart}": "'{graph chart}' is none of",
    "```\nx = 1": "a block of code does not end",
    "![Words](nothing.svg)": "no picture nothing.svg",
    "![](drawing.svg)": "has no words",
}


@pytest.mark.parametrize("line", ERRORS)
def test_an_error_is_one_line_that_names_deck_and_slide(nb, tmp_path, line):
    (tmp_path / "drawing.svg").write_text(SVG, encoding="utf-8")
    (tmp_path / "90_small.md").write_text(f"# T\n---\n## Fine\n---\n## Not\n{line}\n", encoding="utf-8")
    with pytest.raises(export.ExportError) as raised:
        decks.deck(tmp_path / "90_small.md", nb)
    said = str(raised.value)
    assert said.startswith("90_small.md, slide 3: ") and ERRORS[line] in said and "\n" not in said


@pytest.mark.parametrize("text", ["## First", "# T\n---\n# Again", "# T\n---\nno message", "# T\n---\n## "])
def test_the_first_slide_has_the_title_and_each_other_one_its_message(nb, tmp_path, text):
    (tmp_path / "90.md").write_text(text, encoding="utf-8")
    with pytest.raises(export.ExportError, match=r"slide [12]: (the first slide|a slide begins)"):
        decks.deck(tmp_path / "90.md", nb)


@pytest.fixture
def folder(nb, tmp_path) -> Path:
    """Two notebooks, of which one has a deck."""
    for name in ("90_small", "91_other"):
        nbformat.write(nb, tmp_path / f"{name}.ipynb")
    (tmp_path / "90_small.md").write_text("# 90 · *Small*\n---\n## A\n{chart chart}\n", encoding="utf-8")
    return tmp_path


def _run(folder: Path, *names: str) -> int:
    paths = [str(folder / name) for name in names]
    return decks.main([str(folder / "out"), "--decks", str(folder), "--notebooks", *paths])


def test_the_command_builds_what_has_a_deck_and_names_the_rest(folder, capsys):
    assert _run(folder, "90_small.ipynb", "91_other.ipynb") == 0
    assert "1 decks" in (said := capsys.readouterr().out) and "no deck yet: 91_other" in said
    assert [path.name for path in (folder / "out").iterdir()] == ["90_small.html"]
    page = (folder / "out" / "90_small.html").read_text(encoding="utf-8")
    assert "<title>90 · Small · Many Models</title>" in page and '<html lang="en">' in page
    assert page.count("<main>") == 1 and page.count("window.vegaEmbed=") == 1
    assert page.index("Content-Security-Policy") < page.index("<style") and export.POLICY in page
    assert not re.search(r'(src|href)="(?!data:|\$)[^"#]', re.sub(r"<script.*?</script>", "", page, flags=re.S))


def test_bad_input_gives_one_line_and_leaves_nothing(folder, capsys):
    nbformat.write(new_notebook(cells=[new_code_cell("1 + 1")]), folder / "92_unrun.ipynb")
    for name, word in {"93.ipynb": "there is no notebook", "92_unrun.ipynb": "without outputs"}.items():
        assert _run(folder, name) == 1
        assert word in (said := capsys.readouterr()).err and said.err.count("\n") == 1 and said.out == ""
    assert _run(folder, "91_other.ipynb") == 1
    assert "there is no deck for 91_other" in capsys.readouterr().err
    assert not (folder / "out").exists()


# ---------------------------------------------------------------------------------------- the course's own decks


def _numbers(text: str) -> list[str]:
    """The numbers with a decimal point or at least two digits."""
    return [found.replace(",", "") for found in re.findall(r"(?<![\w.])(?:\d{1,3}(?:,\d{3})+|\d*\.?\d+)(?![\w])", text)]


def unfounded(deck: str, nb) -> list[str]:
    """Numbers of the deck's own text that no text of the saved notebook has, not even with more digits."""
    said = [
        re.sub(r"```.*?```|\$\$.*?\$\$|\$[^$]*\$|^\{.*?\}|^!\[.*$|^# .*$", " ", slide, flags=re.S | re.M)
        for slide in decks.split(deck)[1:]
    ]
    pool = []
    for cell in nb.cells:
        pool.append(cell.source)
        for output in cell.get("outputs", []):
            pool.append(output.get("text", "") + "".join(output.get("data", {}).get("text/plain", "")))
    values = [float(number) for number in _numbers("\n".join(pool))]
    values += [100 * value for value in values if value <= 1]  # "18 %"
    found = []
    for number in _numbers("\n".join(said)):
        digits = len(number.partition(".")[2])
        small = not digits and len(number) == 1
        if not small and all(abs(value - float(number)) > 0.5001 * 10**-digits for value in values):
            found.append(number)
    return found


def test_a_number_that_the_notebook_lacks_is_found(nb):
    deck = "# 90\n---\n## T\n- .24 of 60, 3 times, 12 %\n\n$$x = 77.5$$\n\nNote: 1,234 and .16"
    assert unfounded(deck, nb) == ["12", "1234"]


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_a_deck_of_the_course(path):
    text, nb = (decks.DECKS / f"{path.stem}.md").read_text(encoding="utf-8"), nbformat.read(path, 4)
    decks.deck(decks.DECKS / f"{path.stem}.md", nb)  # no error
    slides = decks.split(text)
    messages = [slide.partition("\n")[0].split() for slide in slides]
    assert [message for message in messages if len(message) > (20 if "?" in message else 13)] == []
    assert 16 <= len(slides) <= 50  # 25 to 35 for 90 minutes
    charts = {
        cell.id for cell in nb.cells if any(export.CHART in out.get("data", {}) for out in cell.get("outputs", []))
    }
    assert charts == set(re.findall(r"^\{chart (\S+)\}", text, re.M)), "each live chart has its slide"
    for before, slide in zip(slides, slides[1:]):
        assert "{chart" not in slide or before.startswith("## ? ") or "{chart" in before, (
            f"no question before {slide[:60]}"
        )
    asked = [int(number) for number in re.findall(r"^\{exercise (\d+)\}", text, re.M)]
    exercises = decks.EXERCISE.findall("\n".join(cell.source for cell in nb.cells))
    assert sorted(asked) == [int(number) for number, *_ in exercises], "each exercise once"
    assert unfounded(text, nb) == []
