"""The pages of the book that are made: from the notebooks, from the library's docstrings, from the other texts.

`made` gives file name -> Markdown. Nothing is typed in here that stands elsewhere in the repository.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode

from course_utils.classroom import claims
from course_utils.classroom.export import title_of

ROOT = Path(__file__).resolve().parents[1]
EXERCISE = re.compile(r"^### (Exercise \d+ · .+?) &nbsp; ([●○]{3}) · (\d+) minutes", re.MULTILINE)
PRACTISE = re.compile(r"\*You practise:\* (.+)")
TIME = re.compile(r"\*Time:\* (.+)")
TEXTS = {"INSTRUCTORS.md": "instructors.md", "CHANGELOG.md": "changelog.md"}
# The library's folders as the lecture has them; others come after these.
FOLDERS = "ensembling merging distillation sparsity moe selection pipelines diffusion refinement".split()
LEVELS = {"●○○": "easy", "●●○": "medium", "●●●": "hard"}


@dataclass(frozen=True)
class Task:
    """An exercise as its heading says it."""

    notebook: str
    heading: str
    full: str  # with difficulty and minutes: its anchor is made from it
    level: str
    minutes: int
    about: str


def markdown(nb: NotebookNode) -> str:
    """All that a notebook says."""
    return "\n\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")


def anchor(heading: str) -> str:
    """The anchor that myst gives a heading: GitHub's."""
    text = re.sub(r"[*`$]|&nbsp;", "", heading).lower()
    return re.sub(r"[^\w\- ]", "", text.replace("\u00a0", " ")).strip().replace(" ", "-")


def linked(text: str, names: Iterable[str]) -> str:
    """``text`` whose links to notebooks that are not in the book are plain words; the others get myst's anchors."""

    def link(found: re.Match) -> str:
        words, place, name, section = found.groups()
        if name not in names:
            return words
        return f"[{words}]({place}{name}.ipynb{'#' + anchor(section.replace('-', ' ')) if section else ''})"

    return re.sub(r"(?<!!)\[([^\]]+)\]\((notebooks/|)(\w+)\.ipynb(?:#([^)\s]+))?\)", link, text)


def exercises(notebooks: dict[str, NotebookNode]) -> list[Task]:
    """All exercises, in the order of the notebooks."""
    tasks = []
    for name, nb in notebooks.items():
        for cell in nb.cells:
            found = EXERCISE.search(cell.source) if cell.cell_type == "markdown" else None
            if found:
                about = PRACTISE.search(cell.source)
                about = about[1] if about else ""
                tasks.append(
                    Task(name, found[1], found[0][4:], found[2], int(found[3]), about.split(". ")[0].rstrip("."))
                )
    return tasks


def exercises_page(notebooks: dict[str, NotebookNode]) -> str:
    """One table for each notebook."""
    tasks = exercises(notebooks)
    minutes = sum(task.minutes for task in tasks)
    lines = [
        "# Exercises",
        "",
        f"{len(tasks)} exercises, {minutes // 60} hours in all. Each is done in its notebook, where `check` answers at "
        "once and names the mistake, `hint` gives one more hint at each call, and `solution` shows how the course does "
        "it. Difficulty: ●○○ easy, ●●○ medium, ●●● hard.",
    ]
    for name, nb in notebooks.items():
        mine = [task for task in tasks if task.notebook == name]
        if not mine:
            continue
        lines += ["", f"## [{title_of(nb, name)}](notebooks/{name}.ipynb)", ""]
        lines += ["| Exercise | Difficulty | Minutes | You practise |", "|---|---|---|---|"]
        for task in mine:
            level = f"{task.level}&nbsp;{LEVELS[task.level]}"
            about = task.about.replace("|", "\\|")
            lines.append(
                f"| [{task.heading}](notebooks/{name}.ipynb#{anchor(task.full)}) | {level} | {task.minutes} | {about} |"
            )
    return "\n".join(lines) + "\n"


def glossary(notebooks: dict[str, NotebookNode]) -> list[tuple[str, str]]:
    """(words, meaning) of the first notebook's glossary cell. An entry may explain a second word in its meaning."""
    for nb in notebooks.values():
        for cell in nb.cells:
            if cell.cell_type == "markdown" and "| word | meaning |" in cell.source:
                rows = re.findall(r"^\| \*\*(.+?)\*\* \| (.+) \|$", cell.source, re.MULTILINE)
                return [(words, meaning) for words, meaning in rows]
    return []


def glossary_page(notebooks: dict[str, NotebookNode]) -> str:
    """The words, their meaning, and in which notebooks they are met."""
    lines = ["# Glossary", "", "Words that are met in more than one notebook, and where.", "", "```{glossary}"]
    for words, meaning in glossary(notebooks):
        names = [word.strip() for word in re.split(r",|\(|\)", words) if word.strip()]
        names += re.findall(r"\*\*(.+?)\*\*", meaning)
        search = re.compile(r"(?<!\w)(" + "|".join(map(re.escape, names)) + r")s?(?!\w)", re.IGNORECASE)
        met = [name for name, nb in notebooks.items() if search.search(markdown(nb))]
        links = ", ".join(f"[{name[:2]}](notebooks/{name}.ipynb)" for name in met)
        terms = words.split(", ")  # each is found by search
        lines += [*terms, f"  {meaning}", "", f"  *Met in* {links}.", ""]
    return "\n".join([*lines, "```", ""])


def claims_page(notebooks: dict[str, NotebookNode]) -> str:
    """The table of all claims, its titles linked to the notebooks."""
    return claims.table(notebooks, "notebooks/")


def texts() -> dict[str, str]:
    """File -> page of the other texts that are here: the hand-out has none for instructors."""
    return {name: page for name, page in TEXTS.items() if (ROOT / name).exists()}


def text_page(name: str) -> str:
    """A Markdown file of the repository; links to files that are not in the book become plain text."""
    return local_links((ROOT / name).read_text(encoding="utf-8"))


def local_links(text: str) -> str:
    """Links to notebooks and to texts that have a page stay; other relative links lose their address."""
    have = {"CLAIMS.md": "claims.md", **texts()}

    def link(found: re.Match) -> str:
        words, target = found[1], found[2]
        if re.match(r"https?://|#|notebooks/\w+\.ipynb$", target):
            return found[0]
        return f"[{words}]({have[target]})" if target in have else words

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)", link, text)


def doc(text: str, indent: str = "") -> list[str]:
    """A docstring as Markdown: what is indented stays as it is, everything else is plain words."""
    lines: list[str] = []
    for part in re.split(r"\n\s*\n", text.strip("\n")):
        rows = part.split("\n")
        if all(row.startswith(("    ", "\t")) for row in rows if row.strip()):
            body = [row[4:] for row in rows]
            lines += ["```text", *body, "```", ""]
        else:
            quoted = re.sub(r"``([^`]+)``", r"`\1`", " ".join(row.strip() for row in rows))
            pieces = re.split(r"(`[^`]+`)", quoted)
            plain = (re.sub(r"([\\*_$<\[\]{}|#~^])", r"\\\1", piece) for piece in pieces[::2])
            whole = [next(plain) if i % 2 == 0 else piece for i, piece in enumerate(pieces)]
            text = re.sub(r"^([-+]|\d+[.)]|:|=)", r"\\\1", "".join(whole))
            lines += [text, ""]
    return [indent + line if line else "" for line in lines]


def signature(node: ast.FunctionDef) -> str:
    """A signature without annotations of more than a name: names, defaults, and the simple types."""
    arguments = ast.unparse(node.args)
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"({arguments}){returns}"


def members(tree: ast.Module) -> list[ast.FunctionDef | ast.ClassDef]:
    """The public functions and classes of a module: those that __all__ names, or whose name has no underscore."""
    named = None
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            try:
                named = set(ast.literal_eval(node.value))
            except ValueError:  # put together from others: then all public names
                named = None
    found = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    return [node for node in found if (node.name in named if named else node.name[0] != "_")]


def described(node: ast.FunctionDef | ast.ClassDef, module: str) -> list[str]:
    """A function or a class as an entry that search and index know."""
    kind = "class" if isinstance(node, ast.ClassDef) else "function"
    shape = signature(node) if kind == "function" else ""
    fence = "`````"
    lines = [fence + f"{{py:{kind}}} {node.name}{shape}", f":module: {module}", ""]
    lines += doc(ast.get_docstring(node) or "")
    if kind == "class":
        for part in node.body:
            if isinstance(part, ast.FunctionDef) and part.name[0] != "_" and ast.get_docstring(part):
                decorators = {getattr(one, "id", "") for one in part.decorator_list}
                method = "property" if "property" in decorators else "method"
                shown = "" if method == "property" else signature(part).replace("(self, ", "(").replace("(self)", "()")
                lines += [f"````{{py:{method}}} {part.name}{shown}", "", *doc(ast.get_docstring(part)), "````", ""]
    return [*lines, fence, ""]


def breakable(module: str) -> str:
    """A module's name for the narrow side bar: it may break after a dot or an underscore."""
    return re.sub(r"([._])", "\\1\u200b", module.removeprefix("course_utils."))


def library_pages() -> dict[str, str]:
    """A page for each module of ``course_utils`` that has something public, and one that lists them by folder."""
    package, files, folders = ROOT / "course_utils", {}, {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[1] == "exercises" and parts[2:3] != ("engine",) or any(part[0] == "_" for part in parts):
            continue  # the exercises themselves hold the answers
        tree = ast.parse(path.read_text(encoding="utf-8"))
        public = members(tree)
        module = ".".join(parts)
        if not public:
            continue
        lines = [f"# {'.'.join(parts[1:])}", "", f"```{{py:module}} {module}\n```", ""]
        lines += doc(ast.get_docstring(tree) or "")
        for node in public:
            lines += described(node, module)
        files[f"library/{module}.md"] = "\n".join(lines)
        first = re.split(r"(?<=[.:])\s", " ".join((ast.get_docstring(tree) or "").split()))[0].rstrip(":.")
        folders.setdefault(parts[1], []).append((module, first))
    about = "`course_utils`, the small library of the course: each module from its docstrings."
    lines = ["# Library", "", f"{about} {{ref}}`All names <genindex>`.", ""]
    order = {folder: place for place, folder in enumerate(FOLDERS)}
    ordered = dict(sorted(folders.items(), key=lambda entry: order.get(entry[0], len(order))))
    for folder, modules in ordered.items():
        lines += [f"## {folder}", "", "| module | what is in it |", "|---|---|"]
        for module, first in modules:
            words = " ".join(doc(first)).strip()
            lines.append(f"| [{module.removeprefix('course_utils.')}]({module}.md) | {words} |")
        lines += [""]
    contents = [f"{breakable(module)} <{module}>" for modules in ordered.values() for module, _ in modules]
    files["library/index.md"] = "\n".join([*lines, "```{toctree}\n:hidden:", *contents, "```", ""])
    return files


def short(nb: NotebookNode, name: str) -> str:
    """A title for the side bar: up to the colon, with the notebook's number."""
    title = title_of(nb, name).split(":")[0]
    return title if re.match(r"\d\d", title) or not name[:2].isdigit() else f"{name[:2]} · Start here"


def contents(notebooks: dict[str, NotebookNode]) -> str:
    """Below the words of index.md: what is in the notebooks, and the table of contents of the book."""
    rows = []
    for name, nb in notebooks.items():
        first = re.sub(r"^# .+\n+", "", nb.cells[0].source if nb.cells else "")
        time = TIME.search(first)
        about = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", " ".join(first.split("\n\n")[0].split()))
        when = f"*{time[1].rstrip('.')}.* " if time else ""
        rows += [f"[{title_of(nb, name)}](notebooks/{name}.ipynb)", f": {when}{about}", ""]
    parts = {
        "Begin": ["run", "glossary", "notation"],
        "Notebooks": [f"{short(nb, name)} <notebooks/{name}>" for name, nb in notebooks.items()],
        "Overview": ["Claims <claims>", "exercises", "lecture"],
        "Reference": ["library/index", *(page.removesuffix(".md") for page in texts().values())],
    }
    trees = [
        "\n".join([f"```{{toctree}}\n:hidden:\n:caption: {caption}\n", *entries, "```\n"])
        for caption, entries in parts.items()
    ]
    return "\n".join(["## The notebooks", "", *rows, *trees])


def made(notebooks: dict[str, NotebookNode]) -> dict[str, str]:
    """File name -> Markdown of all pages that are made."""
    return {
        "claims.md": claims_page(notebooks),
        "exercises.md": exercises_page(notebooks),
        "glossary.md": glossary_page(notebooks),
        **{page: text_page(name) for name, page in texts().items()},
        **library_pages(),
    }
