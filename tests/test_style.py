"""The form that DESIGN asks of notebooks and modules, and that the rules notice when it is missing."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter

import nbformat
import pytest
from editions import NOTEBOOKS, ROOT, read, topic_of
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from notebook_rules import ROOMS, imports_of, style_problems

PACKAGE = ROOT / "course_utils"
DRAWING = {"matplotlib", "ipywidgets", "altair", "anywidget", "IPython"}
# Imports run one way: notebooks -> (explore, exercises, classroom) -> methods -> shelf. Which other folders of
# course_utils a folder below the first three may use, and what for; a method that is not named needs none.
TOP = {"explore", "exercises", "classroom"}
MAY_USE = {
    "pipelines": {"ensembling", "evidence", "shelf"},  # translators are loaded models, and decode like any other
    "refinement": {"sandbox", "shelf"},  # programs that a model wrote are run; the prompts are the chat model's
    "merging": {"shelf"},  # the command copies the tokenizer of a loaded model
    "shelf": {
        "diffusion",
        "ensembling",
    },  # a chat answers through the decoder; the editing model predicts the tags of edits
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=topic_of)
def test_notebook_has_the_form_of_the_course(path):
    assert style_problems(read(path)) == []


def folder_of(name: str) -> str:
    """course_utils.moe.gating -> moe; the notebooks' short names are not used in the library."""
    return name.split(".")[1]


def wrong_imports(folder: str, names: set[str]) -> list[str]:
    """Imports that a module in `folder`, a part of course_utils below TOP, must not have."""
    ours = {name for name in names if name.startswith("course_utils.")}
    allowed = {folder} | MAY_USE.get(folder, set())
    return sorted(
        {name for name in names - ours if name.split(".")[0] in DRAWING}
        | {name for name in ours if folder_of(name) not in allowed}
        | (names & {"course_utils"})
    )


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    folder = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if folder not in TOP:
        assert wrong_imports(folder, imports_of(path)) == []


def test_no_two_folders_need_each_other():
    TopologicalSorter(MAY_USE).prepare()  # raises CycleError


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("moe", "matplotlib.pyplot"),
        ("moe", "course_utils.explore.style"),
        ("moe", "course_utils.shelf.models"),
        ("shelf", "course_utils.exercises"),
        ("merging", "course_utils.ensembling.decoding"),
    ],
)
def test_an_import_against_the_stream_is_found(folder, name):
    assert wrong_imports(folder, {"torch", f"course_utils.{folder}.other", name}) == [name]


def without_encoding(source: str) -> list[int]:
    """The lines on which a text is read or written without saying how: Windows would not take UTF-8."""
    found = []
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        of = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
        mode = [*call.args[bool(not of) :][:1], *(key.value for key in call.keywords if key.arg == "mode")]
        text = name in ("read_text", "write_text") or (
            name == "open"
            and of not in ("os", "tarfile", "archive", "Image")
            and "b" not in "".join(map(ast.unparse, mode))
        )
        if text and "encoding" not in [key.arg for key in call.keywords]:
            found.append(call.lineno)
    return found


def test_texts_are_read_and_written_as_utf_8():
    paths = [path for folder in ("course_utils", "tests", "data/recipes") for path in (ROOT / folder).rglob("*.py")]
    found = {str(path.relative_to(ROOT)): without_encoding(path.read_text(encoding="utf-8")) for path in paths}
    assert len(found) > 100 and {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "code",
    [
        "p.read_text()",
        "p.write_text('a')",
        "open(p)",
        "open(p, 'w')",
        "p.open()",
        "p.open('a')",
        "open(p, mode='r')",
        "p.write_text('a', newline='')",
    ],
)
def test_a_text_without_encoding_is_found(code):
    assert without_encoding(f"x = 1\n{code}") == [2]


@pytest.mark.parametrize(
    "code",
    [
        "p.read_text(encoding='utf-8')",
        "open(p, 'rb')",
        "p.open('wb')",
        "open(p, mode='wb')",
        "p.read_bytes()",
        "os.open(p, os.O_RDONLY)",
        "open(p, 'w', encoding='utf-8')",
    ],
)
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
