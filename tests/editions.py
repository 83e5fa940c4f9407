"""Notebooks in their second and third edition: only the exercise cells and their checks, in a fresh kernel."""

from __future__ import annotations

import ast
import importlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


@dataclass(frozen=True)
class Task:
    """One exercise in a notebook: its name, the variable that holds the answer, the stub, the check cell."""

    name: str
    variable: str
    stub: str
    check: str


def topic_of(path: Path) -> str:
    """notebooks/01_interpolation.ipynb -> interpolation, the module that holds its exercises."""
    return path.stem.split("_", 1)[1]


def tags(cell: NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))


def code_cells(nb: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def calls(source: str, function: str) -> list[ast.Call]:
    """The calls of `function(...)` in a cell."""
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [call for call in found if isinstance(call.func, ast.Name) and call.func.id == function]


def defined_names(source: str) -> list[str]:
    """Functions, classes and variables that a cell defines at its top level, in order."""
    names = []
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.append(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [target.id for target in targets if isinstance(target, ast.Name)]
    return names


def under_the_name(variable: str, code: str) -> str:
    """The code of a wrong answer; if it does not define `variable`, what it defines last gets this name too."""
    names = defined_names(code)
    return code if variable in names else f"{code.rstrip()}\n\n{variable} = {names[-1]}"


def tasks(nb: NotebookNode) -> list[Task]:
    """The exercises of a notebook, in order. Raises ValueError where the convention is broken."""
    found, cells = [], code_cells(nb)
    checks = [cell for cell in cells if "check" in tags(cell)]
    for cell, following in zip(cells, [*cells[1:], None], strict=True):
        if "exercise" not in tags(cell):
            continue
        head = cell.source.strip().split("\n")[0]
        if following is None or "check" not in tags(following):
            raise ValueError(f'the exercise cell "{head}" is not followed by a code cell tagged "check"')
        called = calls(following.source, "check")
        if len(called) != 1 or len(called[0].args) != 2 or not isinstance(called[0].args[0], ast.Constant):
            raise ValueError(f'the cell after "{head}" should hold one call check("topic.name", answer)')
        name, answer = called[0].args
        if not isinstance(answer, ast.Name) or answer.id not in defined_names(cell.source):
            raise ValueError(f'check("{name.value}", ...) should get the name that the cell before it defines')
        found.append(Task(name.value, answer.id, cell.source, following.source))
    if len(checks) != len(found):
        raise ValueError(
            f'{len(checks)} cells are tagged "check", but {len(found)} exercise cells are: they go in pairs'
        )
    return found


def wrong_answers(topic: str) -> list:
    """The table of wrong answers of a topic, empty if there is none."""
    if not (ROOT / "tests" / "exercises" / "wrong_answers" / f"{topic}.py").exists():
        return []
    return importlib.import_module(f"wrong_answers.{topic}").WRONG


def run_cells(nb: NotebookNode, sources: list[str], folder: Path, timeout: int = 120) -> list[str]:
    """Execute the notebook's set-up cells and then `sources` in one fresh kernel; the text output of each of `sources`.

    An error inside a cell is part of its output.
    """
    setup = [cell.source for cell in code_cells(nb) if "setup" in tags(cell)]
    mini = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in [*setup, *sources]])
    place = {"metadata": {"path": str(folder)}}
    NotebookClient(mini, timeout=timeout, kernel_name="python3", allow_errors=True, resources=place).execute()
    texts = [_text(cell) for cell in mini.cells]
    for source, text in zip(setup, texts, strict=False):
        if "Error:" in text:
            raise AssertionError(f"a set-up cell fails on its own:\n{source}\n{text}")
    return texts[len(setup) :]


def _text(cell: NotebookNode) -> str:
    parts = []
    for output in cell.outputs:
        if output.output_type == "stream":
            parts.append(output.text)
        elif output.output_type == "error":
            parts.append(f"{output.ename}Error: {output.evalue}")
        else:
            parts.append(output.data.get("text/plain", ""))
    return "\n".join(parts)


def run_edition(nb: NotebookNode, answers: list[tuple[Task, str]], folder: Path) -> list[str]:
    """For each (task, code): the code in place of the stub, then the task's check cell; what the check says."""
    twice = [(code, f"{task.check}\n{task.check}") for task, code in answers]  # the second time check says more
    sources = [source for pair in twice for source in pair]
    texts = run_cells(nb, sources, folder)
    return ["\n".join(filter(None, texts[i : i + 2])) for i in range(0, len(texts), 2)]


def solved_answers(nb: NotebookNode) -> list[tuple[Task, str]]:
    """Edition 2: what `solution(name)` shows, under the name that the notebook uses."""
    from course_utils.exercises.engine import find
    from course_utils.exercises.engine.solutions import solution_source

    return [(task, solution_source(find(task.name).reference, task.variable)) for task in tasks(nb)]


@cache
def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)
