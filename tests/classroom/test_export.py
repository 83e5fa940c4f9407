"""Decks hold everything they need: no other host, live charts as data, words for every picture."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
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
    "data": {"values": [{"x": 1, "said": "</script><b>not markup</b><!--<script>"}]},
    "mark": "point",
}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
REAL = ROOT / "notebooks" / "09_pipelines_and_stacking.ipynb"
WIDGET = {"application/vnd.jupyter.widget-view+json": {"model_id": "a", "version_major": 2, "version_minor": 0}}


def _shown(data: dict, metadata: dict | None = None):
    return new_output("execute_result", data=data, metadata=metadata or {}, execution_count=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with one small notebook that has one of everything, and a real one."""
    folder = tmp_path_factory.mktemp("notebooks")
    start = "# 90 · A small *notebook*\n\nFirst words. See [the next](91_other.ipynb#Why) and [none](92_none.ipynb)."
    formulas = r"Here $P(y \mid x) < 1$, and $$\mathrm{KL}(p \,\|\, q) = \sum_y p(y) \log\frac{p(y)}{q(y)}$$"
    alt = {"image/png": {"alt": 'A "dot" of\none pixel'}}
    cells = [
        new_markdown_cell(start),
        new_markdown_cell(f"## Why\n\n{formulas}"),
        new_code_cell("a_chart()", outputs=[_shown({export.CHART: SPEC, "text/plain": "One point & one slider."})]),
        new_code_cell("a_picture()", outputs=[_shown({"image/png": PNG}, alt)]),
        new_code_cell("a_control()", outputs=[_shown({**WIDGET, "text/plain": "Needs a running kernel."})]),
        new_code_cell("def mine():\n    raise NotImplementedError", metadata={"tags": ["exercise"]}),
    ]
    for i, cell in enumerate(cells):
        cell.metadata["slideshow"] = {"slide_type": "slide" if i < 2 else "-"}
    shutil.copytree(REAL.parent / "drawings", folder / "drawings")  # where the real one looks for its own
    nbformat.write(new_notebook(cells=cells), folder / "90_small.ipynb")
    nbformat.write(new_notebook(cells=[new_markdown_cell("# 91 · Other\n\n## Why")]), folder / "91_other.ipynb")
    return folder


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory) -> dict[str, str]:
    """Path -> text of all that the command writes."""
    out = tmp_path_factory.mktemp("out")
    notebooks = [str(path) for path in (*sorted(folder.glob("*.ipynb")), REAL)]
    assert export.main(["slides", str(out / "slides"), "--notebooks", *notebooks]) == 0
    assert not list(out.rglob("*partial*"))
    files = [path for path in out.rglob("*") if path.is_file()]
    return {path.relative_to(out).as_posix(): path.read_text(encoding="utf-8") for path in files}


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


@pytest.fixture(scope="module")
def pages(made) -> dict[str, _Page]:
    return {name: _Page(text) for name, text in made.items() if name.endswith(".html")}


def test_nothing_is_loaded_from_another_host(pages):
    """Links that a reader may click stay; what a browser loads by itself is in the page."""
    for name, page in pages.items():
        for tag, attributes in page.elements:
            loads = [attributes.get(key) for key in ("src", "srcset", "poster", "data")]
            loads += [attributes.get("href")] if tag in ("link", "image", "use", "base") else []
            for address in filter(None, loads):
                assert address.startswith("data:"), f"{name}: <{tag}> loads {address[:80]}"
    for name, style in ((name, page.code["style"]) for name, page in pages.items()):
        assert "@import" not in style, name
        addresses = re.findall(r"url\(\s*[\"']?([^)\"']{0,80})", style)
        assert all(address.startswith(("data:", "#")) for address in addresses), name


def test_a_page_may_ask_no_other_host(pages):
    for name, page in pages.items():
        policy = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
        assert policy == [export.POLICY] and not re.search(r"https?:|\*|connect-src", policy[0]), name
        first_load = next(i for i, (tag, _) in enumerate(page.elements) if tag in ("link", "script", "style"))
        place = next(i for i, (_, about) in enumerate(page.elements) if "http-equiv" in about)
        assert place < first_load, f"{name}: it holds only for what comes after it"


def test_the_pages_say_what_they_are(made, pages):
    for name, page in pages.items():
        assert page.all("html")[0]["lang"] == "en"
        assert len(page.all("main")) == 1, f"{name} has {len(page.all('main'))} main landmarks"
        assert re.search(r"<title>[^<]*Many Models</title>", made[name]), name
        levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1 and all(b <= a + 1 for a, b in zip(levels, levels[1:])), f"{name}: headings {levels}"


def test_no_text_of_a_chart_hides_the_rest_of_a_page(made):
    """A browser reads <!--<script> inside a script as the beginning of one that ends much later."""
    data = re.findall(r'<script type="application/json">(.*?)</script>', made["slides/90_small.html"], re.S)
    assert data and "<" not in "".join(data)


def _charts(page: str) -> list[dict]:
    return list(map(json.loads, re.findall(r'<script type="application/json">(.*?)</script>', page, re.S)))


def test_a_chart_is_data_that_a_page_draws(made):
    deck = made["slides/90_small.html"]
    assert _charts(deck) == [SPEC] and export.CHART not in deck
    assert "<summary>Live chart 1 in words</summary><p>One point &amp; one slider.</p>" in deck
    outputs = [output.get("data", {}) for cell in nbformat.read(REAL, 4).cells for output in cell.get("outputs", [])]
    specs = [data[export.CHART] for data in outputs if export.CHART in data]
    assert _charts(made["slides/09_pipelines_and_stacking.html"]) == specs != []


def test_the_drawing_code_is_there_once(made):
    mark = "window.vegaEmbed="
    for name, text in made.items():
        assert text.count(mark) == 1, name
    assert "</script" not in "".join(export.scripts().values())


def test_pictures_keep_their_words(pages):
    for name, page in pages.items():
        assert all(image.get("alt") and "No description" not in image["alt"] for image in page.all("img")), name
    assert [image["alt"] for image in pages["slides/90_small.html"].all("img")] == ['A "dot" of one pixel']


def test_formulas_keep_their_tex_and_a_deck_sets_them(made, pages):
    name = "slides/90_small.html"
    assert r'<span class="tex">P(y \mid x) &lt; 1</span>' in made[name]
    assert r'<span class="tex" data-display="true">\mathrm{KL}(p \,\|\, q)' in made[name]
    fonts = set(re.findall(r"font-family:(KaTeX_\w+);[^}]*url\(data:font/woff2", pages[name].code["style"]))
    assert {"KaTeX_Main", "KaTeX_Math", "KaTeX_AMS", "KaTeX_Size1", "KaTeX_Size4", "KaTeX_Typewriter"} <= fonts


def test_what_needs_the_notebook_says_so(made):
    assert '<p class="note">Needs a running kernel.</p>' in made["slides/90_small.html"]
    assert made["slides/09_pipelines_and_stacking.html"].count("<audio") >= 1


def test_links_between_notebooks_become_links_between_decks(made, pages):
    targets = [a.get("href", "") for a in pages["slides/90_small.html"].all("a")]
    assert "91_other.html#Why" in targets and not re.search("ipynb|92_none", " ".join(targets))
    for name, page in pages.items():
        here = [a["href"].split("#")[0] for a in page.all("a") if a.get("href") and "//" not in a["href"]]
        missing = [target for target in here if target and f"{name.split('/')[0]}/{target}" not in made]
        assert not missing, f"{name} leads to {missing}"


def test_bad_input_gives_one_line_and_leaves_nothing(tmp_path, folder, capsys):
    (tmp_path / "torn.ipynb").write_text('{"cells": [', encoding="utf-8")
    nbformat.write(new_notebook(cells=[new_code_cell("1 + 1")]), tmp_path / "unrun.ipynb")
    nbformat.write(new_notebook(), tmp_path / "empty.ipynb")
    (tmp_path / "a file").write_text("in the way", encoding="utf-8")
    attempts = {"none.ipynb": "there is no notebook", "torn.ipynb": "is not a notebook", "empty.ipynb": "no cells"}
    attempts["unrun.ipynb"] = "without outputs"
    cases = [(tmp_path / "out", tmp_path / path, word) for path, word in attempts.items()]
    for out, path, word in [*cases, (tmp_path / "a file", folder / "91_other.ipynb", "cannot write to")]:
        assert export.main(["slides", str(out), "--notebooks", str(path)]) == 1
        said = capsys.readouterr()
        assert word in said.err and said.err.count("\n") == 1 and said.out == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a file", "empty.ipynb", "torn.ipynb", "unrun.ipynb"]


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    for name in ("mine.txt", "page.html"):
        (tmp_path / name).write_text("mine", encoding="utf-8")
    export.write({"page.html": "new", "assets/a.js": "1"}, tmp_path)
    assert [(tmp_path / name).read_text(encoding="utf-8") for name in ("mine.txt", "page.html")] == ["mine", "new"]


def test_the_files_of_others_are_unchanged():
    lines = (export.STATIC / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    listed = dict(reversed(line.split("  ")) for line in lines)
    folders = [export.STATIC / name for name in ("reveal", "katex", "vega")]
    there = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert listed.keys() == {path.relative_to(export.STATIC).as_posix() for path in there}
    for name, digest in listed.items():
        found = hashlib.sha256((export.STATIC / name).read_bytes()).hexdigest()
        assert found == digest, f"{name} is not as it was published"
