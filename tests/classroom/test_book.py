"""The book holds everything it needs: no other host, live charts as data, words for every picture, links that lead."""

from __future__ import annotations

import html
import json
import re
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

pytest.importorskip("sphinx")

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))
import book  # noqa: E402
import launch  # noqa: E402
import live  # noqa: E402
import pages as made_pages  # noqa: E402

from course_utils.classroom import claims  # noqa: E402
from course_utils.classroom.export import CHART  # noqa: E402

SPEC = {
    "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
    "params": [{"name": "lam", "value": 0.5, "bind": {"input": "Range", "min": 0, "max": 1, "step": 0.1}}],
    "data": {"values": [{"x": 1, "said": "</script><b>not markup</b><!--<script>"}]},
    "mark": "point",
}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
REAL = sorted((ROOT / "notebooks").glob("*.ipynb"))
WIDGET = {"application/vnd.jupyter.widget-view+json": {"model_id": "a", "version_major": 2, "version_minor": 0}}
MADE_BY_THEME = {"search.html", "genindex.html"}
SECONDS = 60  # of one core: what a build may take


def _shown(data: dict, metadata: dict | None = None):
    return new_output("execute_result", data=data, metadata=metadata or {}, execution_count=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with one small notebook that has one of everything, and another."""
    folder = tmp_path_factory.mktemp("notebooks")
    start = "# 90 · A small *notebook*\n\nFirst words. See [the next](91_other.ipynb#Why) and [none](92_none.ipynb)."
    inside = "A sentence with $$a^2 + b^2$$ in its middle."
    formulas = "Here $P(y \\mid x) < 1$, and\n\n$$\\mathrm{KL}(p \\,\\|\\, q) = \\sum_y p(y)$$"
    alt = {"image/png": {"alt": 'A "dot" of\none pixel'}}
    live = {CHART: SPEC, "text/plain": "One point & one slider.", "image/png": PNG}
    cells = [
        new_markdown_cell(start),
        new_markdown_cell(f"## Why\n\n{formulas}\n\n{inside}"),
        new_code_cell("a_chart()", outputs=[_shown(live)]),
        new_code_cell("a_picture()", outputs=[_shown({"image/png": PNG}, alt)]),
        new_code_cell("a_control()", outputs=[_shown({**WIDGET, "text/plain": "Needs a running kernel."})]),
        new_code_cell("def mine():\n    raise NotImplementedError", metadata={"tags": ["exercise"]}),
    ]
    nbformat.write(new_notebook(cells=cells), folder / "90_small.ipynb")
    nbformat.write(new_notebook(cells=[new_markdown_cell("# 91 · Other\n\n## Why")]), folder / "91_other.ipynb")
    return folder


@pytest.fixture(scope="module")
def out(folder, tmp_path_factory) -> Path:
    """The book of the course's notebooks and of the two small ones, made without a warning."""
    place = tmp_path_factory.mktemp("out") / "site"
    notebooks = map(str, [*REAL, *sorted(folder.glob("*.ipynb"))])
    began = time.process_time()
    assert book.main([str(place), "--notebooks", *notebooks]) == 0
    assert time.process_time() - began < SECONDS
    assert [path.name for path in place.parent.iterdir()] == ["site"]
    return place


def _contents(notebooks) -> str:
    """The table of contents of a book without a library."""
    entries = [*(f"notebooks/{name}" for name in notebooks), "library/index"]
    entries += [path.stem for path in (ROOT / "docs").glob("*.md") if path.stem != "index"]
    entries += ["claims", "exercises", "glossary", *(page.removesuffix(".md") for page in made_pages.texts().values())]
    return "\n".join(["```{toctree}", *entries, "```", ""])


class _Page(HTMLParser):
    """The elements of a page as (tag, attributes), and the text of its styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements, self.style, self._inside = [], "", ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "style":
            self.style += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def texts(out) -> dict[str, str]:
    """Name -> text of all pages."""
    return {path.relative_to(out).as_posix(): path.read_text(encoding="utf-8") for path in out.rglob("*.html")}


@pytest.fixture(scope="module")
def pages(texts) -> dict[str, _Page]:
    return {name: _Page(text) for name, text in texts.items()}


def _addresses(style: str) -> list[str]:
    return re.findall(r"url\(\s*[\"']?([^)\"']+)", style)


def test_nothing_is_loaded_from_another_host(out, pages):
    """Links that a reader may click stay; what a browser loads by itself is in the book."""
    for name, page in pages.items():
        for tag, attributes in page.elements:
            loads = [attributes.get(key) for key in ("src", "srcset", "poster", "data")]
            follows = attributes.get("rel") not in ("canonical", "next", "prev", "search", "index")
            loads += [attributes.get("href")] if tag in ("link", "image", "use", "base") and follows else []
            for address in filter(None, loads):
                place = (out / name).parent / unquote(re.sub(r"[?#].*", "", address))
                assert address.startswith(("data:", "#")) or place.exists(), f"{name}: <{tag}> loads {address[:80]}"
        assert all(one.startswith(("data:", "#")) for one in _addresses(page.style)), name
    for sheet in (out / "_static").rglob("*.css"):
        style = sheet.read_text(encoding="utf-8")
        assert not re.search(r"@import\s+(url\()?[\"']?(https?:)?//", style), sheet.name
        assert not [one for one in _addresses(style) if re.match(r"(https?:)?//", one)], sheet.name


def test_a_page_may_ask_no_other_host(pages):
    for name, page in pages.items():
        policy = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
        assert policy == [live.policy()] and not re.search(r"https?:|\*", policy[0]), name
        first_load = next(i for i, (tag, _) in enumerate(page.elements) if tag in ("link", "script", "style"))
        place = next(i for i, (_, about) in enumerate(page.elements) if "http-equiv" in about)
        assert place < first_load, f"{name}: it holds only for what comes after it"


def test_no_file_is_there_that_no_page_asks_for(out):
    left = [path.name for pattern in book.NOT_NEEDED for path in out.glob(pattern)]
    assert left == [] and (out / "_static").is_dir()


def test_the_pages_say_what_they_are(texts, pages):
    for name, page in pages.items():
        assert page.all("html")[0]["lang"] == "en"
        assert len(page.all("main")) == 1, f"{name} has {len(page.all('main'))} main landmarks"
        assert re.search(r"<title>[^<]*Many Models</title>", texts[name]), name
        if name not in MADE_BY_THEME:
            levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
            assert 1 in levels and all(b <= a + 1 for a, b in zip(levels, levels[1:])), f"{name}: headings {levels}"
            assert [one for one in page.all("meta") if one.get("property") == "og:title"], name


def test_links_lead_somewhere(out, pages):
    """Within the book, to the very heading."""
    there = {name: {one["id"] for _, one in page.elements if one.get("id")} for name, page in pages.items()}
    wrong = []
    for name, page in pages.items():
        for link in page.all("a"):
            address = link.get("href") or ""
            if re.match(r"\w+:", address):
                continue
            path, _, place = address.partition("#")
            target = ((out / name).parent / unquote(path)).resolve() if path else out / name
            known = there.get(target.relative_to(out.resolve()).as_posix() if path else name)
            if not target.exists() or (place and known is not None and unquote(place) not in known):
                wrong.append((name, address))
    assert wrong == []


def test_links_between_notebooks_become_links_between_pages(pages):
    targets = [a.get("href", "") for a in pages["notebooks/90_small.html"].all("a")]
    assert "91_other.html#why" in targets and not re.search("ipynb|92_none", " ".join(targets))


def _charts(page: str) -> list[dict]:
    return list(map(json.loads, re.findall(r'<script type="application/json">(.*?)</script>', page, re.S)))


def test_a_chart_is_data_that_a_page_draws(out, texts):
    page = texts["notebooks/90_small.html"]
    assert _charts(page) == [SPEC] and CHART not in page
    data = re.findall(r'<script type="application/json">(.*?)</script>', page, re.S)
    assert "<" not in "".join(data)  # a browser reads <!--<script> as the beginning of a script that ends much later
    assert "<summary>Live chart 1 in words</summary><p>One point &amp; one slider.</p>" in page
    still = re.search(r'<noscript><img alt="One point &amp; one slider." src="([^"]+)"></noscript>', page)
    assert (out / "notebooks" / still[1]).read_bytes().startswith(b"\x89PNG")
    for path in REAL:
        outputs = [one.get("data", {}) for cell in nbformat.read(path, 4).cells for one in cell.get("outputs", [])]
        assert _charts(texts[f"notebooks/{path.stem}.html"]) == [data[CHART] for data in outputs if CHART in data]
    assert len(_charts(texts["index.html"])) == 1


def test_a_page_loads_what_it_needs_and_no_more(out, texts):
    for name, text in texts.items():
        assert ("vega.js" in text) == ('class="live-chart"' in text), name
        assert ("katex.min.js" in text) == ('class="tex"' in text), name
        assert "window.vegaEmbed" not in text, name
    assert "window.vegaEmbed=" in (out / "_static" / "vega.js").read_text(encoding="utf-8")


def test_pictures_keep_their_words(pages):
    for name, page in pages.items():
        assert all(image.get("alt") for image in page.all("img")), name
    assert 'A "dot" of one pixel' in [image["alt"] for image in pages["notebooks/90_small.html"].all("img")]


def test_formulas_keep_their_tex(texts):
    page = texts["notebooks/90_small.html"]
    assert r'<span class="tex">P(y \mid x) &lt; 1</span>' in page
    sentence = re.search(r"<p>A sentence with (.*?) in its middle.</p>", page, re.S)
    assert sentence and sentence[1].strip() == '<span class="tex" data-display="true">a^2 + b^2</span>'
    assert re.search(r'<div class="tex" data-display="true">\s*\\mathrm\{KL\}\(p \\,\\\|\\, q\)', page)


def test_what_needs_the_notebook_says_so(texts):
    page = texts["notebooks/90_small.html"]
    assert page.count("This exercise is done in the notebook") == 1
    assert '<p class="kernel-note">Needs a running kernel.</p>' in page
    assert texts["notebooks/09_pipelines_and_stacking.html"].count("<audio") >= 1


def test_what_is_collected_is_complete(texts):
    """All exercises, all claims, all words of the glossary, and every module of the library."""
    notebooks = {path.stem: nbformat.read(path, 4) for path in REAL}
    tagged = sum("exercise" in cell.metadata.get("tags", []) for nb in notebooks.values() for cell in nb.cells)
    tasks = made_pages.exercises(notebooks)
    assert len(tasks) == tagged > 60 and all(task.about and task.level in made_pages.LEVELS for task in tasks)
    assert f"{tagged} exercises" in texts["exercises.html"]
    made = [row for nb in notebooks.values() for cell in claims.claims(nb) for row in cell]
    assert len(re.findall(r"<tr class=\"row-(?:even|odd)\"><td>", texts["claims.html"])) == len(made) > 100
    shown = html.unescape(re.sub(r"<[^>]+>", "", texts["claims.html"]))
    plain = [row.here for row in made if not re.search(r"['\"`-]", row.here)]  # Sphinx sets the others' signs
    assert len(plain) > 50 and [here for here in plain if here not in shown] == []
    words = made_pages.glossary(notebooks)
    assert len(words) >= 10 and texts["glossary.html"].count("Met in") == len(words)
    assert 'id="course_utils.merging.methods.ties"' in texts["library/course_utils.merging.methods.html"]


def test_every_slide_of_the_lecture_has_its_section(pages):
    """Each row leads to a section that builds it and one that runs it, what goes beyond the lecture too; all notebooks
    are there.

    That the sections exist is in test_links_lead_somewhere.
    """
    text = (ROOT / "docs" / "lecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?!slide \||topic \|)([^|]+) \| (.+) \| (.+) \|$", text, re.MULTILINE)
    assert len(rows) > 40
    for slide, built, run in rows:
        assert re.search(r"\.ipynb#[^)]+\)", built) and re.search(r"\.ipynb#[^)]+\)", run), slide
    link = re.compile(r"notebooks/(\w+)\.html#.")
    led = {found[1] for a in pages["lecture.html"].all("a") if (found := link.match(a.get("href", "")))}
    assert led == {path.stem for path in REAL}


class TestLinksToRun:
    @pytest.mark.parametrize(
        ("asked", "address"),
        [
            ("https://github.com/someone/many-models", "https://github.com/someone/many-models"),
            ("git@github.com:someone/many-models.git", "https://github.com/someone/many-models"),
            ("https://user:secret@gitlab.com/a/b.git/", "https://gitlab.com/a/b"),
            ("/a/folder/many-models", ""),
            ("../many-models.git", ""),
        ],
    )
    def test_the_address(self, monkeypatch, asked, address):
        monkeypatch.setenv("MANY_MODELS_REPOSITORY", asked)
        assert launch.repository() == address

    def test_without_an_address_there_are_none(self, monkeypatch, texts):
        monkeypatch.setenv("MANY_MODELS_REPOSITORY", "/a/folder")
        assert launch.options() == {} and launch.site() == ""

    def test_with_one_there_are_some(self, monkeypatch):
        monkeypatch.setenv("MANY_MODELS_REPOSITORY", "https://github.com/Someone/many-models")
        assert set(launch.options()["launch_buttons"]) >= {"binderhub_url", "colab_url"}
        assert launch.site() == "https://someone.github.io/many-models/"
        monkeypatch.setenv("MANY_MODELS_REPOSITORY", "https://gitlab.com/a/b")
        assert "colab_url" not in launch.options()["launch_buttons"]

    @pytest.mark.parametrize("address", ["https://github.com/someone/many-models", "/a/folder"])
    def test_the_buttons_of_a_page(self, monkeypatch, folder, tmp_path, address):
        monkeypatch.setenv("MANY_MODELS_REPOSITORY", address)
        monkeypatch.setenv("MANY_MODELS_JUPYTERHUB", "https://hub.example.org")
        monkeypatch.setattr(made_pages, "library_pages", lambda: {"library/index.md": "# Library\n"})
        monkeypatch.setattr(made_pages, "contents", _contents)
        assert book.main([str(tmp_path / "site"), "--notebooks", *map(str, sorted(folder.glob("*.ipynb")))]) == 0
        notebook, run = (
            {a.get("href", "") for a in _Page((tmp_path / "site" / name).read_text(encoding="utf-8")).all("a")}
            for name in ("notebooks/90_small.html", "run.html")
        )
        wanted = {
            "https://colab.research.google.com/github/someone/many-models/blob/main/notebooks/90_small.ipynb",
            "https://mybinder.org/v2/gh/someone/many-models/main?urlpath=lab/tree/notebooks/90_small.ipynb",
            "https://hub.example.org/hub/user-redirect/git-pull?repo=https://github.com/someone/many-models"
            "&urlpath=lab/tree/many-models/notebooks/90_small.ipynb&branch=main",
            "https://github.com/someone/many-models/edit/main/notebooks/90_small.ipynb",
        }
        to_run = re.compile("https://.*(colab|binder|hub[.]example|/edit/)")
        found = {unquote(one) for one in notebook if to_run.match(one)}
        assert found == (wanted if "github" in address else set())
        assert not [one for one in run if to_run.match(one)]


def test_bad_input_gives_one_line_and_leaves_nothing(tmp_path, folder, capsys):
    (tmp_path / "torn.ipynb").write_text('{"cells": [', encoding="utf-8")
    nbformat.write(new_notebook(cells=[new_code_cell("1 + 1")]), tmp_path / "unrun.ipynb")
    (tmp_path / "a file").write_text("in the way", encoding="utf-8")
    attempts = {
        "none.ipynb": "there is no notebook",
        "torn.ipynb": "is not a notebook",
        "unrun.ipynb": "without outputs",
    }
    cases = [(tmp_path / "out", tmp_path / path, word) for path, word in attempts.items()]
    for place, path, word in [*cases, (tmp_path / "a file" / "out", folder / "91_other.ipynb", "cannot write to")]:
        assert book.main([str(place), "--notebooks", str(path)]) == 1
        said = capsys.readouterr()
        assert word in said.err and said.err.count("\n") == 1 and said.out == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a file", "torn.ipynb", "unrun.ipynb"]


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "page.html").write_text("new", encoding="utf-8")
    (tmp_path / "out").mkdir()
    for name in ("mine.txt", "page.html"):
        (tmp_path / "out" / name).write_text("mine", encoding="utf-8")
    assert book.publish(tmp_path / "made", tmp_path / "out") == 3
    found = [(tmp_path / "out" / name).read_text(encoding="utf-8") for name in ("mine.txt", "page.html")]
    assert found == ["mine", "new"]
