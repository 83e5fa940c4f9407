"""A clean student edition as one archive: `python -m course_utils.classroom.handout [-o FILE] [--no-solutions]`.

In it: the tracked files of the repository as they are in the working tree, without the tests, the CI and the grader.
The notebooks are stripped of all outputs, charts too (a student gets them back by running the cells), of attachments
that no text shows, and of what other tools noted in their metadata. A tracked link is refused: it would export what it
leads to. The same tree gives the same bytes.

The solutions stay: the reference of an exercise *is* the library's function, which the notebooks run, and
`solution(name)` shows it. --no-solutions makes `solution` answer that the instructor has switched it off. That is a
closed door, not a locked one: the library can be read.
"""

from __future__ import annotations

import argparse
import gzip
import io
import subprocess
import sys
import tarfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import nbformat

from course_utils.shelf.files import written_aside

__all__ = ["handout", "main", "student_files", "stripped"]

ROOT = Path(__file__).resolve().parents[2]
TOP = "many-models"
PROGRAMS = [f"course_utils/classroom/{name}" for name in ("grade.py", "grading/", "handout.py", "save_notebook.py")]
BOARD = [f"course_utils/classroom/board/{name}" for name in ("server.py", "page.")]  # students get the client
FILES = ("INSTRUCTORS.md", "CONTRIBUTING.md", "conftest.py", "requirements-test.lock")
INSTRUCTORS = (*FILES, "tests/", "docs/decks/", ".ci/", ".github/", *PROGRAMS, *BOARD)
SWITCHED_OFF = "course_utils/exercises/solutions.off"  # engine.solution looks for it
NOTEBOOK_KEYS, CELL_KEYS = ("kernelspec", "language_info", "title"), ("tags", "slideshow", "jupyter", "editable")
TIME = 946_684_800  # 2000-01-01, of every file


def _tracked(root: Path, *options: str) -> list[str] | None:
    """What `git ls-files` lists, None outside a checkout."""
    command = ["git", "-C", str(root), "ls-files", "-z", *options]
    listed = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    return None if listed.returncode else listed.stdout.split("\0")[:-1]


def student_files(root: Path = ROOT) -> list[str]:
    """The tracked files that a student gets, sorted. ValueError: no git checkout, a file is missing or a link."""
    listed = _tracked(root)
    if listed is None:
        why = "a hand-out is made of the tracked files, so clone the repository"
        raise ValueError(f"{root} is not a git checkout: {why}")
    names = sorted(name for name in listed if not name.startswith(INSTRUCTORS))
    missing = [name for name in names if not (root / name).is_file()]
    links = [name for name in names if (root / name).is_symlink()]
    if links:
        raise ValueError(f"{links[0]} is a link, and a hand-out would hold what it leads to: track the file itself")
    if missing:
        raise ValueError(f"{missing[0]} is tracked but not there: restore it with git checkout, or git rm it")
    return names


def _only(metadata: dict, keys: Sequence[str]) -> nbformat.NotebookNode:
    return nbformat.from_dict({key: value for key, value in metadata.items() if key in keys})


def stripped(text: str) -> str:
    """A notebook without outputs, execution counts and foreign metadata; cells, their ids and tags stay."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nb = nbformat.reads(text, as_version=4)
    nb.metadata = _only(nb.metadata, NOTEBOOK_KEYS)
    for cell in nb.cells:
        cell.metadata = _only(cell.metadata, CELL_KEYS)
        shown = {
            name: data for name, data in cell.pop("attachments", {}).items() if f"attachment:{name}" in cell.source
        }
        if shown:
            cell.attachments = shown
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return nbformat.writes(nb) + "\n"


def handout(out: Path, root: Path = ROOT, solutions: bool = True) -> list[str]:
    """Write the archive to `out` (aside, then renamed); the files in it. Raises ValueError as `student_files` does."""
    names = student_files(root) + ([] if solutions else [SWITCHED_OFF])
    # What can be run is what git says: a file system, such as Windows', need not know.
    runnable = {entry.partition("\t")[2] for entry in _tracked(root, "-s") if entry.startswith("100755")}
    out.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(out) as aside:
        with open(aside, "wb") as raw, gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=TIME) as packed:
            with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
                for name in sorted(names):
                    data = _content(root, name)
                    entry = tarfile.TarInfo(f"{TOP}/{name}")
                    entry.size, entry.mtime, entry.mode = len(data), TIME, 0o755 if name in runnable else 0o644
                    archive.addfile(entry, io.BytesIO(data))
    return sorted(names)


def _content(root: Path, name: str) -> bytes:
    if name == SWITCHED_OFF:
        return b"The instructor has switched solution() off.\n"
    data = (root / name).read_bytes()
    if not name.endswith(".ipynb"):
        return data
    try:
        return stripped(data.decode("utf-8")).encode()
    except Exception as error:
        raise ValueError(f"{name} cannot be read as a notebook ({type(error).__name__}): save it again") from None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m course_utils.classroom.handout", description="Write the student edition as one archive."
    )
    default = Path("build/many-models-handout.tar.gz")
    parser.add_argument("-o", "--out", type=Path, default=default, help=f"the archive to write (default: {default})")
    off = "solution() says that the instructor has switched it off"
    parser.add_argument("--no-solutions", action="store_true", help=off)
    given = parser.parse_args(arguments)
    try:
        names = handout(given.out, solutions=not given.no_solutions)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{given.out}: {len(names)} files, {given.out.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
