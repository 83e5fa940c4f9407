"""The form that DESIGN asks of notebooks and modules, and that the rules notice when it is missing."""

from __future__ import annotations

import ast

import nbformat
import pytest
from editions import NOTEBOOKS, ROOT, read, topic_of
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from notebook_rules import ROOMS, imports_of, long_modules, style_problems

PACKAGE = ROOT / "course_utils"
# Concept modules: what a student would write after the lecture. They know no widget, no plot, no exercise.
SERVANTS = {"explore", "livechart", "placement", "strips", "contrast", "paths", "softening", "voting", "ballots", "grids", "controls",
            "routing", "tiers", "sidebyside", "marked", "corruption", "decisions", "rounds"}
SERVANTS |= {"chart_html", "export", "save_notebook", "plots", "exercises", "grade"}
DRAWING = {"matplotlib", "ipywidgets", "altair", "anywidget", "IPython"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=topic_of)
def test_notebook_has_the_form_of_the_course(path):
    assert style_problems(read(path)) == []


def test_no_module_is_too_long():
    assert long_modules(PACKAGE) == []


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_imports_run_one_way(path):
    if path.stem in SERVANTS or path.stem == "__init__":
        return
    for name in imports_of(path):
        assert name.split(".")[0] not in DRAWING, f"{path.name} imports {name}: concept modules draw nothing"
        assert not (name.startswith("course_utils.") and name.split(".")[1] in SERVANTS), f"{path.name} imports {name}"


def without_encoding(source: str) -> list[int]:
    """The lines on which a text is read or written without saying how: Windows would not take UTF-8."""
    found = []
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        of = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
        mode = [*call.args[bool(not of) :][:1], *(key.value for key in call.keywords if key.arg == "mode")]
        text = name in ("read_text", "write_text") or (
            name == "open" and of not in ("os", "tarfile", "archive", "Image") and "b" not in "".join(map(ast.unparse, mode))
        )
        if text and "encoding" not in [key.arg for key in call.keywords]:
            found.append(call.lineno)
    return found


def test_texts_are_read_and_written_as_utf_8():
    paths = [path for folder in ("course_utils", "tests", "data/recipes") for path in (ROOT / folder).rglob("*.py")]
    found = {str(path.relative_to(ROOT)): without_encoding(path.read_text(encoding="utf-8")) for path in paths}
    assert len(found) > 100 and {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize("code", ["p.read_text()", "p.write_text('a')", "open(p)", "open(p, 'w')", "p.open()", "p.open('a')",
                                  "open(p, mode='r')", "p.write_text('a', newline='')"])  # fmt: skip
def test_a_text_without_encoding_is_found(code):
    assert without_encoding(f"x = 1\n{code}") == [2]


@pytest.mark.parametrize("code", ["p.read_text(encoding='utf-8')", "open(p, 'rb')", "p.open('wb')", "open(p, mode='wb')",
                                  "p.read_bytes()", "os.open(p, os.O_RDONLY)", "open(p, 'w', encoding='utf-8')"])  # fmt: skip
def test_what_has_an_encoding_or_is_no_text_is_left_alone(code):
    assert without_encoding(code) == []


def good_notebook() -> nbformat.NotebookNode:
    """A tiny notebook that keeps every rule of form."""
    slide = {"slideshow": {"slide_type": "slide"}}

    def code(source, *tags):
        return new_code_cell(source, metadata={**slide, "tags": list(tags)})

    cells = []
    for room in ROOMS:
        cells.append(new_markdown_cell(f"## {room}\nText."))
        if room == "Build it":
            cells.append(code("import torch\nfrom course_utils.exercises import check, quiz", "setup"))
        if room == "On real models":
            cells.append(code("assert True", "claim"))
        if room == "Exercises":
            for i in range(4):
                cells.append(code(f'def f{i}(x):\n    """Does it."""\n    raise NotImplementedError', "exercise"))
                cells.append(code(f'check("toy.f{i}", f{i})', "check"))
            cells.append(code('quiz("toy.q")'))
    return new_notebook(cells=cells)


def test_the_rules_accept_a_good_notebook():
    assert style_problems(good_notebook()) == []


def _without(nb, index):
    del nb.cells[index]


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda nb: _without(nb, 0), "the rooms are"),
        (lambda nb: nb.cells.insert(0, nb.cells.pop()), "the rooms are"),
        (lambda nb: nb.cells[2].update(source="x = 1\n" * 19), "has 19 lines"),
        (lambda nb: nb.cells[2].metadata.pop("slideshow"), "no slide type"),
        (
            lambda nb: [
                cell.update(source="pass")
                for cell in nb.cells
                if "quiz(" in cell.source and "import" not in cell.source
            ],
            "no quiz",
        ),
        (
            lambda nb: [cell.metadata.update(tags=[]) for cell in nb.cells if "claim" in cell.metadata.get("tags", [])],
            '"claim"',
        ),
        (lambda nb: [cell.update(source=cell.source.replace('"""', "#")) for cell in nb.cells], "no docstring"),
        (
            lambda nb: [cell.update(source="def f3(x):\n    return x") for cell in nb.cells if "def f3" in cell.source],
            "3 code exercises",
        ),
    ],
)
def test_the_rules_notice(spoil, complaint):
    nb = good_notebook()
    spoil(nb)
    assert any(complaint in problem for problem in style_problems(nb)), style_problems(nb)


def test_long_modules_are_found(tmp_path):
    (tmp_path / "short.py").write_text("x = 1\n" * 300, encoding="utf-8")
    (tmp_path / "long.py").write_text("x = 1\n" * 301, encoding="utf-8")
    assert long_modules(tmp_path) == ["long.py: 301 lines"]
