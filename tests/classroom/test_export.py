"""Decks and the site hold everything they need: no other host, live charts as data, words for every picture."""

from __future__ import annotations

import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_utils.classroom import export

ROOT = Path(__file__).parents[2]
SPEC = {
    "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
    "usermeta": {"embedOptions": {"actions": False}},
    "params": [{"name": "lam", "value": 0.5, "bind": {"input": "Range", "min": 0, "max": 1, "step": 0.1}}],
    "data": {"values": [{"x": 1, "said": "</script><b>not markup</b>"}]},
    "mark": "point",
}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WIDGET = {"application/vnd.jupyter.widget-view+json": {"model_id": "a", "version_major": 2, "version_minor": 0}}


def _shown(data: dict, metadata: dict | None = None):
    return new_output("execute_result", data=data, metadata=metadata or {}, execution_count=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with one small notebook that has one of everything, and a real one."""
    folder = tmp_path_factory.mktemp("notebooks")
    cells = [
        new_markdown_cell(
            "# 90 · A small *notebook*\n\nFirst words. See [the next](91_other.ipynb#Why) and [none](92_none.ipynb)."
        ),
        new_markdown_cell(
            r"## Why"
            "\n\n"
            r"Here $P(y \mid x) < 1$, and $$\mathrm{KL}(p \,\|\, q) = \sum_y p(y) \log\frac{p(y)}{q(y)}$$"
        ),
        new_code_cell("a_chart()", outputs=[_shown({export.CHART: SPEC, "text/plain": "One point & one slider."})]),
        new_code_cell(
            "a_picture()", outputs=[_shown({"image/png": PNG}, {"image/png": {"alt": 'A "dot" of\none pixel'}})]
        ),
        new_code_cell("a_control()", outputs=[_shown({**WIDGET, "text/plain": "Needs a running kernel."})]),
        new_code_cell("def mine():\n    raise NotImplementedError", metadata={"tags": ["exercise"]}),
    ]
    for i, cell in enumerate(cells):
        cell.metadata["slideshow"] = {"slide_type": "slide" if i < 2 else "-"}
    nbformat.write(new_notebook(cells=cells), folder / "90_small.ipynb")
    nbformat.write(new_notebook(cells=[new_markdown_cell("# 91 · Other\n\n## Why")]), folder / "91_other.ipynb")
    return folder


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory) -> dict[str, str]:
    """Path -> text of all that the two commands write."""
    out = tmp_path_factory.mktemp("out")
    real = ROOT / "notebooks" / "09_pipelines_and_stacking.ipynb"
    notebooks = [str(path) for path in (*sorted(folder.glob("*.ipynb")), real)]
    for kind in ("slides", "site"):
        assert export.main([kind, str(out / kind), "--notebooks", *notebooks]) == 0
    assert not list(out.rglob("*partial*"))
    return {
        path.relative_to(out).as_posix(): path.read_text(encoding="utf-8") for path in out.rglob("*") if path.is_file()
    }


class _Page(HTMLParser):
    """The elements of a page as (tag, attributes), and the text of its styles and scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements, self.code = [], {"style": "", "script": ""}
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside in self.code:
            self.code[self._inside] += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


def _pages(made: dict[str, str]) -> dict[str, _Page]:
    return {name: _Page(text) for name, text in made.items() if name.endswith(".html")}


def test_nothing_is_loaded_from_another_host(made):
    """Links that a reader may click stay; what a browser loads by itself is in the page or beside it."""
    for name, page in _pages(made).items():
        for tag, attributes in page.elements:
            loads = [attributes.get(key) for key in ("src", "srcset", "poster", "data")]
            loads += [attributes.get("href")] if tag in ("link", "image", "use", "base") else []
            for address in filter(None, loads):
                assert address.startswith("data:") or f"site/{address}" in made, f"{name}: <{tag}> loads {address[:80]}"
    styles = {name: page.code["style"] for name, page in _pages(made).items()} | {
        "style.css": made["site/assets/style.css"]
    }
    for name, style in styles.items():
        assert "@import" not in style, name
        assert all(
            address.startswith(("data:", "#")) for address in re.findall(r"url\(\s*[\"']?([^)\"']{0,80})", style)
        ), name


def test_the_pages_say_what_they_are(made):
    for name, page in _pages(made).items():
        assert page.all("html")[0]["lang"] == "en"
        assert len(page.all("main")) == 1, f"{name} has {len(page.all('main'))} main landmarks"
        assert re.search(r"<title>[^<]*Many Models</title>", made[name]), name
        levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1 and all(b <= a + 1 for a, b in zip(levels, levels[1:])), f"{name}: headings {levels}"
        if name.startswith("site/"):
            first = page.all("a")[0]
            assert first["class"] == "skip-link" and first["href"] == f"#{page.all('main')[0]['id']}"


def test_a_chart_is_data_that_a_page_draws(made):
    for name in ("slides/90_small.html", "site/90_small.html"):
        [data] = re.findall(r'<script type="application/json">(.*?)</script>', made[name], re.S)
        assert json.loads(data) == SPEC
        assert "<summary>Live chart 1 in words</summary><p>One point &amp; one slider.</p>" in made[name]
        assert export.CHART not in made[name]
    saved = nbformat.read(ROOT / "notebooks" / "09_pipelines_and_stacking.ipynb", 4)
    specs = [
        o.data[export.CHART] for c in saved.cells for o in c.get("outputs", []) if export.CHART in o.get("data", {})
    ]
    data = re.findall(
        r'<script type="application/json">(.*?)</script>', made["slides/09_pipelines_and_stacking.html"], re.S
    )
    assert [json.loads(text) for text in data] == specs != []


def test_the_drawing_code_is_there_once(made):
    mark = "window.vegaEmbed="
    for name, text in made.items():
        if name.startswith("slides/"):
            assert text.count(mark) == 1, name
        elif name.endswith(".html") and name != "site/index.html":
            assert mark not in text and 'src="assets/vega.js"' in text, name
    assert made["site/assets/vega.js"].count(mark) == 1
    assert "</script" not in "".join(export.scripts(deck=True).values())


def test_pictures_keep_their_words(made):
    for name, page in _pages(made).items():
        assert all(image.get("alt") and "No description" not in image["alt"] for image in page.all("img")), name
    assert [image["alt"] for image in _pages(made)["site/90_small.html"].all("img")] == ['A "dot" of one pixel']


def test_formulas_keep_their_tex_and_the_site_sets_them(made):
    for name in ("slides/90_small.html", "site/90_small.html"):
        assert r'<span class="tex">P(y \mid x) &lt; 1</span>' in made[name]
        assert r'<span class="tex" data-display="true">\mathrm{KL}(p \,\|\, q)' in made[name]
    fonts = set(re.findall(r"font-family:(KaTeX_\w+);[^}]*url\(data:font/woff2", made["site/assets/style.css"]))
    assert {"KaTeX_Main", "KaTeX_Math", "KaTeX_AMS", "KaTeX_Size1", "KaTeX_Size4", "KaTeX_Typewriter"} <= fonts


def test_what_needs_the_notebook_says_so(made):
    note = "This exercise is done in the notebook"
    assert made["site/90_small.html"].count(note) == 1 and note not in made["slides/90_small.html"]
    assert '<p class="note">Needs a running kernel.</p>' in made["site/90_small.html"]
    assert made["site/09_pipelines_and_stacking.html"].count("<audio") >= 1


def test_links_between_notebooks_become_links_between_pages(made):
    targets = [a.get("href", "") for a in _pages(made)["site/90_small.html"].all("a")]
    assert "91_other.html#Why" in targets and not [
        target for target in targets if "ipynb" in target or "92_none" in target
    ]
    for name, page in _pages(made).items():
        here = [a["href"].split("#")[0] for a in page.all("a") if a.get("href") and "//" not in a["href"]]
        missing = [target for target in here if target and f"{name.split('/')[0]}/{target}" not in made]
        assert not missing, f"{name} leads to {missing}"


@pytest.mark.parametrize("kind", ["slides", "site"])
def test_bad_input_gives_one_line_and_leaves_nothing(tmp_path, folder, capsys, kind):
    (tmp_path / "torn.ipynb").write_text('{"cells": [', encoding="utf-8")
    nbformat.write(new_notebook(cells=[new_code_cell("1 + 1")]), tmp_path / "unrun.ipynb")
    nbformat.write(new_notebook(), tmp_path / "empty.ipynb")
    (tmp_path / "a file").write_text("in the way", encoding="utf-8")
    for path, word in (
        ("none.ipynb", "there is no notebook"),
        ("torn.ipynb", "is not a notebook"),
        ("unrun.ipynb", "without outputs"),
        ("empty.ipynb", "no cells"),
    ):
        assert export.main([kind, str(tmp_path / "out"), "--notebooks", str(tmp_path / path)]) == 1
        said = capsys.readouterr()
        assert word in said.err and said.err.count("\n") == 1 and said.out == ""
    assert export.main([kind, str(tmp_path / "a file"), "--notebooks", str(folder / "91_other.ipynb")]) == 1
    said = capsys.readouterr().err
    assert "cannot write to" in said and said.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a file", "empty.ipynb", "torn.ipynb", "unrun.ipynb"]


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "page.html").write_text("old", encoding="utf-8")
    export.write({"page.html": "new", "assets/a.js": "1"}, tmp_path)
    assert (tmp_path / "mine.txt").read_text(encoding="utf-8") == "mine" and (tmp_path / "page.html").read_text(
        encoding="utf-8"
    ) == "new"


def test_the_files_of_others_are_unchanged():
    listed = dict(
        reversed(line.split("  ")) for line in (export.STATIC / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    )
    there = [
        path for name in ("reveal", "katex", "vega") for path in (export.STATIC / name).rglob("*") if path.is_file()
    ]
    assert listed.keys() == {path.relative_to(export.STATIC).as_posix() for path in there}
    for name, digest in listed.items():
        assert hashlib.sha256((export.STATIC / name).read_bytes()).hexdigest() == digest, (
            f"{name} is not as it was published"
        )
