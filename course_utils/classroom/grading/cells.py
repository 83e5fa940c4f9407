"""Which cells of a submitted notebook are run to grade one exercise.

    answer   the exercise's own cell (by its id, else by its tag) if the student changed it and it defines the name that
             the check gets; else the last cell that defines it; else the own cell as it is. Where a second try stands
             below the first, both are run, and the better one counts (`candidates`)
    needed   for each name that the answer uses and does not define: the last cell above the answer that defines it,
             else the first below; and so on for the names that these cells use. Whole cells, in the notebook's order
    always   cells tagged "setup" and cells with `from ... import *`
    never    the calls of check, hint and solution in cells tagged "check": the grader has its own. Cells that nobody
             needs (models, charts, scratch work)

%%time and %%capture are taken off the top of a cell, and a cell may await. Other magics do nothing.

Nothing is executed here, but hostile source is parsed: the grader calls this inside the sandbox only.
"""

from __future__ import annotations

import ast
import builtins
import re
import symtable
import warnings
from dataclasses import dataclass, field

__all__ = ["FLAGS", "Cell", "Task", "candidates", "cells_of", "chosen", "course_tasks", "raw_cells"]

FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # as in a notebook
MAGIC = re.compile(r"\s*%%(time|capture)\b[^\n]*(\n|$)")  # which run the rest of the cell as it is


@dataclass(frozen=True)
class Task:
    """One exercise of the course's notebook: its name, the answer's name, the id and the source of its cell."""

    name: str
    variable: str
    cell_id: str
    stub: str


@dataclass
class Cell:
    """One code cell: its place among them (from 1), source as plain Python, what it binds and uses at its top level."""

    number: int
    source: str
    cell_id: str = ""
    tags: list[str] = field(default_factory=list)
    problem: str = ""
    binds: set[str] = field(default_factory=set)
    uses: set[str] = field(default_factory=set)


def cells_of(sources: list[dict]) -> list[Cell]:
    """The code cells, given as {"source", "id", "tags"}. One that is not Python keeps its `problem`, binds nothing."""
    found = []
    for number, raw in enumerate(sources, start=1):
        cell = Cell(number, raw["source"], raw["id"], raw["tags"])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                while found_magic := MAGIC.match(cell.source):
                    cell.source = cell.source[found_magic.end() :]
                cell.source = _without_magics(cell.source)
                if "check" in cell.tags:
                    cell.source = _without_checks(cell.source)
                compile(cell.source, "<cell>", "exec", flags=FLAGS, dont_inherit=True)
                top = symtable.symtable(cell.source, "<cell>", "exec")
            cell.binds = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
            cell.uses = {s.get_name() for s in top.get_symbols() if s.is_referenced()}
            for table in _below(top):
                wide = [s for s in table.get_symbols() if s.is_global()]
                cell.uses |= {s.get_name() for s in wide if s.is_referenced()}
                cell.binds |= {s.get_name() for s in wide if s.is_assigned()}
            cell.uses -= set(dir(builtins))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            cell.problem = f"{type(error).__name__}: {str(error)[:200]}"
        found.append(cell)
    return found


def _without_magics(source: str) -> str:
    """As it is where it is Python: to look for magics takes ten times as long."""
    try:
        compile(source, "<cell>", "exec", flags=FLAGS | ast.PyCF_ONLY_AST, dont_inherit=True)
        return source
    except SyntaxError:
        from IPython.core.inputtransformer2 import TransformerManager  # here, so that the command starts sooner

        return TransformerManager().transform_cell(source)


def _without_checks(source: str) -> str:
    """The source without its calls of check, hint and solution; its lines keep their numbers."""
    lines = source.splitlines()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            if getattr(node.value.func, "id", "") in ("check", "hint", "solution"):
                lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    return "\n".join(lines)


def _below(table: symtable.SymbolTable) -> list[symtable.SymbolTable]:
    return [inner for child in table.get_children() for inner in (child, *_below(child))]


def raw_cells(notebook: dict) -> list[dict]:
    """The code cells of a notebook of nbformat 4, which was read as JSON, as {"source", "id", "tags"}."""
    return [
        {
            "source": "".join(cell["source"]),
            "id": str(cell.get("id", "")),
            "tags": list(map(str, cell.get("metadata", {}).get("tags") or [])),
        }
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]


def course_tasks(notebook: dict) -> list[Task]:
    """The course's own exercises, in order: cells tagged "exercise", each before its cell tagged "check"."""
    cells, found = raw_cells(notebook), []
    for cell, after in zip(cells, cells[1:]):
        if "exercise" in cell["tags"] and "check" in after["tags"]:
            name, answer = next(
                node.args
                for node in ast.walk(ast.parse(after["source"]))
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "check"
            )
            found.append(Task(name.value, answer.id, cell["id"], cell["source"]))
    return found


def candidates(cells: list[Cell], task: Task, shipped: set[str]) -> list[Cell]:
    """The cells that may hold the answer, the one to try first in front. Empty: nobody defines the name.

    shipped: the sources of the course's own cells other than the stubs; where one of them defines the same name it is
    not the answer.
    """
    stub = task.stub.strip()
    makers = [cell for cell in cells if task.variable in cell.binds]
    own = [c for c in cells if c.cell_id == task.cell_id and ("exercise" in c.tags or c in makers)]
    own = own or [cell for cell in makers if "exercise" in cell.tags]
    others = [cell for cell in makers if cell.source.strip() not in shipped and cell not in own]
    first = [cell for cell in own if cell in makers and cell.source.strip() != stub]
    newest_first = [cell for cell in reversed(others) if cell.source.strip() != stub]
    return first + newest_first or [cell for cell in own if cell.source.strip() != stub] or own[-1:]


def chosen(cells: list[Cell], task: Task, shipped: set[str], attempt: int = 0) -> tuple[Cell | None, list[Cell]]:
    """The cell of the answer (None: nobody defines the name) and the cells to run, in order, the answer's among them.

    attempt: which of the `candidates`.
    """
    found = candidates(cells, task, shipped)
    if not found:
        return None, []
    answer = found[attempt]
    run = {cell.number: cell for cell in cells if "setup" in cell.tags or _imports_all(cell)}
    wanted, seen = [answer], set()
    while wanted:
        cell = wanted.pop()
        run[cell.number] = cell
        if cell.number in seen:
            continue
        seen.add(cell.number)
        for name in sorted(cell.uses - cell.binds):
            makers = [other for other in cells if name in other.binds and other is not cell]
            above = [other for other in makers if other.number < answer.number]
            wanted += above[-1:] or makers[:1]
    return answer, [run[number] for number in sorted(run)]


def _imports_all(cell: Cell) -> bool:
    """`from ... import *`: which names it binds is not known."""
    body = [] if cell.problem else ast.parse(cell.source).body
    return any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in body)
