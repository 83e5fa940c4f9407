"""The claims of all notebooks as one table, read from the outputs of the cells that are tagged "claim".

    python -m course_utils.classroom.claims            write CLAIMS.md anew

A row is what `course_utils.evidence.claim` has printed in the saved notebook; nothing is typed in here.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from course_utils.evidence import FAILS, HOLDS, NOT_SHOWN
from course_utils.shelf.files import written_aside

ROOT = Path(__file__).resolve().parents[2]
PRINTED = re.compile(
    rf"^Claim:  (.+)\nSource: (.+)\nHere:   (.+)\nFrom:   (.+)\nShown:  ({HOLDS}|{FAILS}|{NOT_SHOWN})$", re.MULTILINE
)
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


def table(paths: list[Path]) -> str:
    """The notebooks' claims as Markdown: a heading and a table for each notebook that has any."""
    parts = [HEAD]
    for path in paths:
        nb = nbformat.read(path, as_version=4)
        rows = [claim for cell in claims(nb) for claim in cell]
        if not rows:
            continue
        title = re.search(r"^# (.+)$", nb.cells[0].source, re.MULTILINE)[1]
        lines = [
            f"## [{title}](notebooks/{path.name})",
            "",
            "| Claim | Source | Measured here | From | |",
            "|---|---|---|---|---|",
        ]
        for row in rows:
            cells = (row.what, row.source, row.here, row.units, f"**{row.verdict}**")
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def main() -> int:
    """Write CLAIMS.md beside README.md."""
    path = ROOT / "CLAIMS.md"
    with written_aside(path) as aside:
        aside.write_text(table(sorted((ROOT / "notebooks").glob("*.ipynb"))), encoding="utf-8", newline="\n")
    print(f"{path.name}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
