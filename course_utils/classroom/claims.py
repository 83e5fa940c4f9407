"""The claims of all notebooks as one table, read from the outputs of the cells that are tagged "claim".

    python -m course_utils.classroom.claims            write CLAIMS.md anew

A row is what `course_utils.evidence.claim` has printed in the saved notebook; nothing is typed in here.
"""

from __future__ import annotations

import re
import sys
from dataclasses import astuple, dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from course_utils.evidence import FAILS, HOLDS, NOT_SHOWN
from course_utils.shelf.files import written_aside

ROOT = Path(__file__).resolve().parents[2]
PRINTED = re.compile(
    rf"^Claim:  (.+)\nSource: (.+)\nHere:   (.+)\nFrom:   (.+)\nShown:  ({HOLDS}|{FAILS}|{NOT_SHOWN})$", re.MULTILINE
)
COLUMNS = ("Claim", "Source", "Measured here", "From", "Shown")
MARKUP = re.compile(r"([|*_$<])")  # what Markdown would not show as it is
HEAD = """# What the course claims, and what was measured

One row for each claim that a notebook makes and tests: who made it, our figure with its 95 % interval, and what it
rests on. "Not shown here": the interval contains 0, so at this size neither the claim nor its opposite is shown.
Written by `python -m course_utils.classroom.claims` from the notebooks' saved outputs.
"""


@dataclass(frozen=True)
class Claim:
    """One row: the claim, who makes it, our figure, what was drawn, and the verdict."""

    what: str
    source: str
    here: str
    units: str
    verdict: str


def claims(nb: NotebookNode) -> list[list[Claim]]:
    """The claims of a saved notebook, cell by cell; an empty list for a cell tagged "claim" that printed none."""
    found = []
    for cell in nb.cells:
        if cell.cell_type == "code" and "claim" in cell.metadata.get("tags", []):
            printed = "".join(output.text for output in cell.outputs if output.output_type == "stream")
            found.append([Claim(*row) for row in PRINTED.findall(printed)])
    return found


def table(notebooks: dict[str, NotebookNode], folder: str = "notebooks/") -> str:
    """The claims of name -> notebook as Markdown, a table for each that has any; its title links into ``folder``."""
    parts = [HEAD]
    for name, nb in notebooks.items():
        rows = [claim for cell in claims(nb) for claim in cell]
        if not rows:
            continue
        title = re.search(r"^# (.+)$", nb.cells[0].source, re.MULTILINE)[1]
        lines = [f"## [{title}]({folder}{name}.ipynb)", "", f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
        for row in map(astuple, rows):
            lines.append("| " + " | ".join(re.sub(MARKUP, r"\\\1", cell) for cell in row) + " |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def main() -> int:
    """Write CLAIMS.md beside README.md."""
    path = ROOT / "CLAIMS.md"
    notebooks = {path.stem: nbformat.read(path, as_version=4) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
    with written_aside(path) as aside:
        aside.write_text(table(notebooks), encoding="utf-8", newline="\n")
    print(f"{path.name}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
