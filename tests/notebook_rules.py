"""What a saved notebook must be like, as functions that return a list of complaints (empty: all is well)."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from editions import calls, code_cells, tags, tasks
from nbformat import NotebookNode

ROOMS = ["Why", "Build it", "See it live", "On real models", "Exercises", "Where it breaks", "Read on"]
MAX_CODE_LINES = 18
MIN_EXERCISES, MIN_QUIZZES = 4, 1
SLIDE_TYPES = {"slide", "subslide", "fragment", "skip", "notes", "-"}
KERNEL = {"codemirror_mode", "file_extension", "mimetype", "name", "nbconvert_exporter", "pygments_lexer", "version"}
SAVE = "save it with python -m course_utils.classroom.save_notebook"
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:home|root|tmp|Users|work|mnt)/\w")


def saved_problems(nb: NotebookNode) -> list[str]:
    """Outputs: every cell was run, once, from top to bottom, without errors or warnings; every chart has its picture;
    the kernel is described in full, or JupyterLab would change the file. Their words: see test_accessibility.py."""
    missing = sorted(KERNEL - nb.metadata.get("language_info", {}).keys())
    found = [f"metadata.language_info lacks {', '.join(missing)}: {SAVE}"] if missing else []
    for number, cell in enumerate(cell for cell in code_cells(nb) if cell.source.strip()):
        here = f"code cell {number} ({cell.source.strip().splitlines()[0][:40]})"
        if cell.execution_count != number + 1:
            never = cell.execution_count is None
            found.append(f"{here}: {'was never run' if never else 'was not run from top to bottom in one go'}")
        if re.search(r"NBVAL_(SKIP|IGNORE)", cell.source) or {"nbval-skip", "nbval-ignore-output"} & set(tags(cell)):
            found.append(f"{here}: is kept from the comparison of outputs")
        for output in cell.outputs:
            found += [f"{here}: {problem}" for problem in _output_problems(output, tags(cell))]
    return found


def _output_problems(output: NotebookNode, cell_tags: list[str]) -> list[str]:
    if output.output_type == "error":
        return [] if "raises-exception" in cell_tags else [f"ends with an error ({output.ename})"]
    if output.output_type == "stream":
        warned = output.name == "stderr"
        found = [f"shows a warning or another stderr text: {output.text.strip()[:80]}"] if warned else []
        return found + (["shows a path of this machine"] if MACHINE_PATHS.search(output.text) else [])
    charts = [mime for mime in output.data if mime.startswith("application/vnd.vega")]
    found = [f"has a chart without a picture: {SAVE}"] if charts and "image/png" not in output.data else []
    path = MACHINE_PATHS.search(output.data.get("text/plain", ""))
    return found + (["shows a path of this machine"] if path else [])


def style_problems(nb: NotebookNode) -> list[str]:
    """Form: the seven rooms in order, short cells, slide metadata, enough exercises and quizzes, a claim."""
    found = []
    text = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    headings = [heading.strip() for heading in re.findall(r"^#{1,3} (.*)", text, re.MULTILINE)]
    rooms = [heading for heading in headings if heading in ROOMS]
    if rooms != ROOMS:
        found.append(f"the rooms are {rooms}, they should be {ROOMS}")
    for number, cell in enumerate(code_cells(nb)):
        lines = cell.source.strip().splitlines()
        here = f"code cell {number} ({''.join(lines[:1])[:40]})"
        if len(lines) > MAX_CODE_LINES:
            found.append(f"{here}: has {len(lines)} lines, at most {MAX_CODE_LINES} fit a slide")
        if cell.metadata.get("slideshow", {}).get("slide_type") not in SLIDE_TYPES:
            found.append(f"{here}: has no slide type (metadata.slideshow.slide_type)")
    functions = [task for task in tasks(nb) if "NotImplementedError" in task.stub]
    if len(functions) < MIN_EXERCISES:
        found.append(f"there are {len(functions)} code exercises, at least {MIN_EXERCISES} are needed")
    found += [f"the stub of {task.name} has no docstring" for task in functions if '"""' not in task.stub]
    if sum(len(calls(cell.source, "quiz")) for cell in code_cells(nb)) < MIN_QUIZZES:
        found.append("there is no quiz")
    if not any("claim" in tags(cell) for cell in nb.cells):
        found.append('no cell is tagged "claim"')
    return found


METHODS = (
    "ensembling",
    "merging",
    "distillation",
    "sparsity",
    "moe",
    "selection",
    "pipelines",
    "diffusion",
    "refinement",
)


def library_calls(tree: ast.AST, names: set[str], modules: set[str]) -> set[str]:
    """The library's functions that are called in a piece of code: of `names`, or attributes of `modules`."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            owner = getattr(node.func, "value", None)
            if isinstance(node.func, ast.Name) and node.func.id in names:
                found.add(node.func.id)
            elif isinstance(owner, ast.Name) and owner.id in modules:
                found.add(node.func.attr)
    return found


def not_built(nb: NotebookNode) -> list[str]:
    """The methods of the library that "Build it" calls without an assert that holds them, or what they gave, beside
    something: `assert torch.allclose(by_hand, method(x))`, or `result = method(x)` and an assert about `result`."""
    room, names, modules, called, built = None, set(), set(), set(), set()
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            room = next((found for found in reversed(re.findall(r"^## (.*)", cell.source, re.MULTILINE))), room)
            continue
        tree = ast.parse(cell.source)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("course_utils"):
                package = (node.module.split(".") + [""])[1]
                bound = {alias.asname or alias.name for alias in node.names}
                if package in METHODS:  # functions, or modules as in `from course_utils.diffusion import discrete`
                    names |= bound
                    modules |= bound
                elif not package:
                    modules |= bound & set(METHODS)
        if room != "Build it":
            continue
        called |= library_calls(tree, names, modules)
        asserted = [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
        used = {node.id for one in asserted for node in ast.walk(one) if isinstance(node, ast.Name)}
        for one in asserted:
            built |= library_calls(one, names, modules)
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                given = {
                    target.id for goal in node.targets for target in ast.walk(goal) if isinstance(target, ast.Name)
                }
                if given & used:
                    built |= library_calls(node.value, names, modules)
    return sorted(called - built)


def imports_of(path: Path) -> set[str]:
    """The modules that a Python file imports at any level, as dotted names."""
    text = path.read_text(encoding="utf-8")
    return set(re.findall(r"^\s*(?:from|import)\s+([\w.]+)", text, flags=re.MULTILINE))
