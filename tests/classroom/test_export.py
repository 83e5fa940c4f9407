"""What decks and the book share: notebooks are read, Markdown becomes HTML, files are written whole or not at all."""

from __future__ import annotations

import hashlib
import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course_utils.classroom import export


def test_formulas_keep_their_tex_and_have_their_fonts():
    page = export.to_html(
        r"Here $P(y \mid x) < 1$, and $$\mathrm{KL}(p \,\|\, q) = \sum_y p(y) \log\frac{p(y)}{q(y)}$$"
    )
    assert r'<span class="tex">P(y \mid x) &lt; 1</span>' in page
    assert r'<span class="tex" data-display="true">\mathrm{KL}(p \,\|\, q)' in page
    style = export.styles(["chart.css"])
    fonts = set(re.findall(r"font-family:(KaTeX_\w+);[^}]*url\(data:font/woff2", style))
    assert {"KaTeX_Main", "KaTeX_Math", "KaTeX_AMS", "KaTeX_Size1", "KaTeX_Size4", "KaTeX_Typewriter"} <= fonts
    addresses = re.findall(r"url\(\s*[\"']?([^)\"']{0,80})", style)
    assert "@import" not in style and all(address.startswith(("data:", "#")) for address in addresses)


def test_links_between_notebooks_lead_to_pages_that_are_there():
    page = export.to_html("[the next](91_other.ipynb#Why) and [none](92_none.ipynb)", pages=["91_other"])
    assert 'href="91_other.html#Why"' in page and not re.search("ipynb|92_none", page)


def test_a_title_is_plain_text():
    cells = [new_markdown_cell("words"), new_markdown_cell("# 90 · A *small* `one`\n\nmore")]
    assert export.title_of(new_notebook(cells=cells), "90") == "90 · A small one"
    assert export.title_of(new_notebook(), "90_name") == "90_name"


def test_scripts_may_stand_in_a_page():
    found = export.scripts(["vega/vega.js", "chart.js"])
    assert list(found) == ["vega.js", "chart.js"] and "</script" not in "".join(found.values())


def test_a_page_may_ask_no_other_host():
    assert export.POLICY in export.SAFE and not re.search(r"https?:|\*|connect-src", export.POLICY)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("none", "there is no notebook"),
        ("torn", "is not a notebook"),
        ("empty", "no cells"),
        ("unrun", "without outputs"),
    ],
)
def test_a_notebook_that_cannot_be_shown_gives_one_line(tmp_path, name, word):
    (tmp_path / "torn.ipynb").write_text('{"cells": [', encoding="utf-8")
    nbformat.write(new_notebook(cells=[new_code_cell("1 + 1")]), tmp_path / "unrun.ipynb")
    nbformat.write(new_notebook(), tmp_path / "empty.ipynb")
    with pytest.raises(export.ExportError, match=word) as raised:
        export.read([tmp_path / f"{name}.ipynb"])
    assert "\n" not in str(raised.value)


def test_what_cannot_be_written_gives_one_line_and_leaves_nothing(tmp_path):
    (tmp_path / "a file").write_text("in the way", encoding="utf-8")
    with pytest.raises(export.ExportError, match="cannot write to"):
        export.write({"page.html": "new"}, tmp_path / "a file")
    assert [path.name for path in tmp_path.iterdir()] == ["a file"]


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
