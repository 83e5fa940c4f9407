"""The form that DESIGN asks of notebooks and modules, and that the rules notice when it is missing."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter

import nbformat
import pytest
from editions import NOTEBOOKS, ROOT, read, topic_of
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from notebook_rules import ROOMS, imports_of, not_built, style_problems

PACKAGE = ROOT / "course_utils"
DRAWING = {"matplotlib", "ipywidgets", "altair", "anywidget", "IPython"}
# Imports run one way: notebooks -> (explore, exercises, classroom) -> methods -> shelf. Which other folders of
# course_utils a folder below the first three may use, and what for; a method that is not named needs none.
TOP = {"explore", "exercises", "classroom"}
MAY_USE = {
    "pipelines": {"ensembling", "evidence", "shelf"},  # translators are loaded models, and decode like any other
    "refinement": {"sandbox", "shelf"},  # programs that a model wrote are run; the prompts are the chat model's
    "moe": {"merging"},  # what is no expert is averaged when specialists become one mixture
    "merging": {"shelf"},  # the command copies the tokenizer of a loaded model
    # a chat answers through the decoder; the editing model predicts the tags of edits
    "shelf": {"diffusion", "ensembling"},
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=topic_of)
def test_notebook_has_the_form_of_the_course(path):
    assert style_problems(read(path)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=topic_of)
def test_build_it_builds(path):
    """Each method that is called there stands beside a value made by hand (or beside another way to the same)."""
    assert not_built(read(path)) == []


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("trim(tau, 0.2)", ["trim"]),
        ("trim(tau, 0.2)\nassert by_hand", ["trim"]),
        ("assert torch.allclose(by_hand, trim(tau, 0.2))", []),
        ("kept, _ = trim(tau, 0.2)\nassert torch.allclose(by_hand, kept)", []),
        ("moe.gate(x)\ndd.noised(x)", ["gate", "noised"]),
        ("assert moe.gate(x) == dd.noised(x)", []),
        ("other(x)\nmodels.load(x)", []),
    ],
)
def test_what_is_called_and_not_built_is_found(cell, found):
    imports = """from course_utils import models, moe
from course_utils.merging.methods import trim
from course_utils.diffusion import discrete as dd"""
    rooms = [("Why", imports), ("Build it", cell), ("See it live", "trim(tau, 0.9)")]
    cells = [of for room, source in rooms for of in (new_markdown_cell(f"## {room}"), new_code_cell(source))]
    assert not_built(new_notebook(cells=cells)) == found


LINK = re.compile(r"\]\(https://(doi\.org/10\.\d{4,9}/[^\s)]+|arxiv\.org/abs/\d{4}\.\d{4,5})\)")
NO_LINK = ("Jelinek and Mercer (1980)", "Krogh and Vedelsby (1995)", "Utans (1996)")  # these have no DOI


def without_link(nb: nbformat.NotebookNode) -> list[str]:
    """The items of "Read on" that cite a paper, by its year, and link to none."""
    room = "\n".join(cell.source for cell in nb.cells).split("## Read on")[1]
    cited = [line for line in room.splitlines() if re.search(r"\((19|20)\d\d\)", line)]
    return [line for line in cited if not LINK.search(line) and not line.startswith(tuple(f"- {of}" for of in NO_LINK))]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=topic_of)
def test_a_citation_has_its_link(path):
    assert without_link(read(path)) == []


@pytest.mark.parametrize(
    ("item", "found"),
    [
        ("- Hinton (2002), [*Products*](https://doi.org/10.1162/089976602760128018).", 0),
        ("- Li et al. (2023), [*Contrastive*](https://arxiv.org/abs/2210.15097).", 0),
        ("- Utans (1996), *Weight averaging*.", 0),
        ("- Li et al. (2023), *Contrastive decoding*.", 1),
        ("- Li et al. (2023), [*Contrastive*](https://arxiv.org/2210.15097).", 1),
        ("- Li et al. (2023), [*Contrastive*](https://example.org/abs/2210.15097).", 1),
    ],
)
def test_a_missing_link_is_found(item, found):
    assert len(without_link(new_notebook(cells=[new_markdown_cell(f"## Read on\n\n{item}")]))) == found


def wrong_imports(folder: str, names: set[str]) -> list[str]:
    """Imports that a module in `folder`, a part of course_utils below TOP, must not have."""
    ours = {name for name in names if name.startswith("course_utils.")}
    allowed = {folder} | MAY_USE.get(folder, set())
    return sorted(
        {name for name in names - ours if name.split(".")[0] in DRAWING}
        | {name for name in ours if name.split(".")[1] not in allowed}
        | (names & {"course_utils"})
    )


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    folder = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if folder not in TOP:
        assert wrong_imports(folder, imports_of(path)) == []


def test_no_two_folders_need_each_other():
    TopologicalSorter(MAY_USE).prepare()  # raises CycleError


AGAINST = [("moe", "matplotlib.pyplot"), ("moe", "course_utils.explore.style"), ("moe", "course_utils.shelf.models")]
AGAINST += [("shelf", "course_utils.exercises"), ("merging", "course_utils.ensembling.decoding")]


@pytest.mark.parametrize(("folder", "name"), AGAINST)
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


WITHOUT = ["p.read_text()", "p.write_text('a')", "p.write_text('a', newline='')"]
WITHOUT += ["open(p)", "open(p, 'w')", "p.open()", "p.open('a')", "open(p, mode='r')"]
WITH = ["p.read_text(encoding='utf-8')", "open(p, 'w', encoding='utf-8')", "p.read_bytes()"]
WITH += ["open(p, 'rb')", "p.open('wb')", "open(p, mode='wb')", "os.open(p, os.O_RDONLY)"]


@pytest.mark.parametrize(("code", "lines"), [*((code, [2]) for code in WITHOUT), *((code, []) for code in WITH)])
def test_a_text_without_encoding_is_found_and_nothing_else(code, lines):
    assert without_encoding(f"x = 1\n{code}") == lines


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


def change(where, **to):
    """A function that changes the cells of a notebook whose source holds `where`."""

    def spoil(nb):
        for cell in nb.cells:
            if where in cell.source:
                cell.update(to)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda nb: nb.cells.pop(0), "the rooms are"),
        (lambda nb: nb.cells.insert(0, nb.cells.pop()), "the rooms are"),
        (change("import torch", source="x = 1\n" * 19), "has 19 lines"),
        (change("import torch", metadata={"tags": ["setup"]}), "no slide type"),
        (change('quiz("', source="pass"), "no quiz"),
        (change("assert True", metadata={}), '"claim"'),
        (lambda nb: [cell.update(source=cell.source.replace('"""', "#")) for cell in nb.cells], "no docstring"),
        (change("def f3", source="def f3(x):\n    return x"), "3 code exercises"),
    ],
)
def test_the_rules_notice(spoil, complaint):
    nb = good_notebook()
    spoil(nb)
    assert any(complaint in problem for problem in style_problems(nb)), style_problems(nb)
