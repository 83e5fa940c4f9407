"""What can be heard, and seen with other eyes: words for every picture and control, headings in order, colours that
stay apart.

Read from the saved notebooks; what a browser makes of them is in browser/test_accessibility_in_browser.py."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import nbformat
import numpy as np
import pytest
from editions import NOTEBOOKS, read, topic_of
from lxml import html
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_utils.explore.style import INK, MEMBER_COLOURS, PALE, ROLE_COLOURS, TEXT_COLOURS

CHART, WORDS = "application/vnd.vegalite.v5+json", 8
FENCED = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def problems(nb: nbformat.NotebookNode) -> list[str]:
    """What somebody who cannot see the page, or the mouse, would miss."""
    text = "\n".join(FENCED.sub("", cell.source) for cell in nb.cells if cell.cell_type == "markdown")
    levels = [len(mark) for mark in re.findall(r"^(#+) ", text, re.MULTILINE)]
    found = [] if levels[:1] == [1] and levels.count(1) == 1 else ["there is not one heading of level 1, at the top"]
    found += [f"a heading of level {b} below one of level {a}" for a, b in zip(levels, levels[1:]) if b > a + 1]
    for what, words, shown in re.findall(r"(!?)\[([^\]]*)\]\(([^)]*)\)", text):
        if not words.strip():
            found.append(f"a {'picture' if what else 'link'} without words: {shown}")
    for number, cell in enumerate(nb.cells):
        for output in cell.get("outputs", []):
            found += [f"cell {number}: {problem}" for problem in _output(output)]
    return found


def _output(output: nbformat.NotebookNode) -> list[str]:
    data, found = output.get("data", {}), []
    for mime in data:
        if mime.startswith("image/") and len(str(output.metadata.get(mime, {}).get("alt", "")).split()) < WORDS:
            found.append("a picture with fewer than eight words of alternative text")
    for chart in (data[mime] for mime in data if mime.startswith("application/vnd.vega")):
        if len(str(chart.get("description", "")).split()) < WORDS:
            found.append("a chart with too short a description")
        unnamed = [bind for bind in _binds(chart) if not str(bind.get("name", "")).strip()]
        found += [f"a control without a label: {bind}" for bind in unnamed]
    return found + (_html(data["text/html"]) if "text/html" in data else [])


def _binds(spec: object) -> list[dict]:
    if isinstance(spec, list):
        return [bind for part in spec for bind in _binds(part)]
    if not isinstance(spec, dict):
        return []
    own = [spec["bind"]] if isinstance(spec.get("bind"), dict) and "input" in spec["bind"] else []
    return own + [bind for part in spec.values() for bind in _binds(part)]


def _html(source: str) -> list[str]:
    page, found = html.fromstring(f"<div>{source}</div>"), []
    found += ["an <img> without alt" for img in page.iter("img") if not (img.get("alt") or "").strip()]
    controls = page.iter("audio", "input", "select", "textarea", "button")
    for control in controls:
        if not (_named(control, page) or (control.tag == "button" and control.text_content().strip())):
            found.append(f"<{control.tag}> without a name")
    return found + ["a table without a header cell" for table in page.iter("table") if table.find(".//th") is None]


def _named(element: html.HtmlElement, page: html.HtmlElement) -> bool:
    if (element.get("aria-label") or element.get("title") or "").strip() or element.get("type") == "hidden":
        return True
    labels = page.xpath("//label[@for=$own]", own=element.get("id", ""))
    return bool(labels) or any(True for _ in element.iterancestors("label"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=topic_of)
def test_everything_has_words(path):
    assert problems(read(path)) == []


FAULTS = {
    "no heading": new_markdown_cell("## Why"),
    "a level left out": new_markdown_cell("# A\n### B"),
    "a picture": new_markdown_cell("# A\n![](images/x.png)"),
    "a link": new_markdown_cell("# A\n[](x.html)"),
    "a figure": ("image/png", "AAAA"),
    "a chart": (CHART, {"description": "chart", "params": []}),
    "a control": (CHART, {"description": "eight words " * 5, "params": [{"bind": {"input": "range"}}]}),
    "an input": ("text/html", "<input type='range'>"),
    "a table": ("text/html", "<table><tr><td>1</td></tr></table>"),
    "a sound": ("text/html", "<audio controls></audio>"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_found(fault):
    cell = FAULTS[fault]
    if isinstance(cell, tuple):
        output = new_output("display_data", data={cell[0]: cell[1], "text/plain": "eight words " * 5})
        cells = [new_markdown_cell("# A"), new_code_cell("x", outputs=[output])]
    else:
        cells = [cell]
    assert len(problems(new_notebook(cells=cells))) == 1


# --- colours ----------------------------------------------------------------------------------------------------------

# Machado, Oliveira and Fernandes (2009), A physiologically-based model for simulation of color vision deficiency,
# severity 1.
EYES = {
    "all three cones": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def linear(colour: str) -> np.ndarray:
    """#RRGGBB as linear sRGB (3,)."""
    value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def contrast(a: str, b: str) -> float:
    """WCAG 2.2, 1.4.3: from 1 to 21."""
    low, high = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) + 0.05 for c in (a, b))
    return high / low


def lab(rgb: np.ndarray) -> np.ndarray:
    """Linear sRGB as CIE L*a*b* with the white of sRGB."""
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(np.maximum(xyz @ rgb / xyz.sum(1), 0.008856))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_text_can_be_read_on_white_and_marks_can_be_seen():
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)
    assert min(contrast(colour, "#FFFFFF") for colour in [INK, PALE, *TEXT_COLOURS]) >= 4.5
    # The later members' colours are lighter: their lines and bars carry their names in TEXT_COLOURS.
    assert min(contrast(ROLE_COLOURS[role], "#FFFFFF") for role in ("core", "positive", "negative")) >= 3


@pytest.mark.parametrize("eyes", EYES)
def test_the_palette_stays_apart(eyes):
    """A difference of 2.3 is just noticeable, side by side; red and green of equal lightness come as near as 5."""
    palette = [*MEMBER_COLOURS, ROLE_COLOURS["result"]]
    seen = {colour: lab(np.clip(EYES[eyes] @ linear(colour), 0, 1)) for colour in palette}
    nearest = min((float(np.linalg.norm(seen[a] - seen[b])), a, b) for a, b in combinations(seen, 2))
    assert nearest[0] > 10, nearest


def test_the_palette_test_can_fail():
    red, green = (lab(np.clip(EYES["deuteranopia"] @ linear(colour), 0, 1)) for colour in ("#C04040", "#7A7A30"))
    assert np.linalg.norm(red - green) < 10 < np.linalg.norm(lab(linear("#C04040")) - lab(linear("#7A7A30")))


def test_the_readme_has_words_for_its_picture():
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert all(len(words.split()) >= WORDS for words in re.findall(r"!\[([^\]]*)\]\(", text))
