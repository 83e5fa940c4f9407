"""Points for a learning platform: a CSV for Canvas or Moodle, and the reports as one zip.

The roster is a CSV that the platform exported (Canvas: the gradebook; Moodle: the grades or the participants). Its rows
are matched with the students of the table: one of a row's cells has to be the student's name there, capitals and
punctuation aside. Of the roster only the columns that say who somebody is are kept (IDENTITY).

Points of a notebook: `points` times the mean share of its exercises' cases. A notebook of which an exercise was not
graded, or that was not handed in, has an empty cell, which both platforms leave as it is: never a 0.
Source: "How do I import grades in the Gradebook?" (Canvas), "Grade import" (Moodle).
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

from course_utils.classroom.grading.report import Submission, safe
from course_utils.shelf.files import written_aside

__all__ = ["FORMATS", "points_table", "read_roster", "zip_reports"]

FORMATS = ("csv", "canvas", "moodle")
IDENTITY = {
    "canvas": ("Student", "ID", "SIS User ID", "SIS Login ID", "Section"),
    "moodle": ("First name", "Last name", "Surname", "ID number", "Username", "Email address"),
}


def read_roster(path: Path, kind: str) -> list[dict[str, str]]:
    """The rows of the platform's file. Raises ValueError where it has none of the columns that say who somebody is."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not set(IDENTITY[kind]) & set(rows[0]):
        raise ValueError(f"{path} has none of the columns {', '.join(IDENTITY[kind])}: export it from {kind} again")
    return [row for row in rows if (row.get("Student") or "").strip() != "Points Possible"]


def points_table(submissions: Sequence[Submission], roster: list[dict], kind: str, points: float) -> tuple[str, list]:
    """The platform's CSV, and the students that are in no row of the roster or in several."""
    notebooks = sorted({s.topic for s in submissions if s.results})
    earned = {(s.student, s.topic): _points(s, points) for s in submissions if s.results}
    students = {_plain(student): student for student, _ in earned}
    identity = [name for name in IDENTITY[kind] if name in roster[0]]
    buffer, matched = io.StringIO(), []
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*identity, *notebooks])
    if kind == "canvas":
        writer.writerow(["Points Possible", *[""] * (len(identity) - 1), *[f"{points:g}"] * len(notebooks)])
    for row in roster:
        found = {students[_plain(str(cell))] for cell in row.values() if _plain(str(cell)) in students}
        student = found.pop() if len(found) == 1 else ""
        matched += [student] if student else []
        cells = [row[name] or "" for name in identity]
        writer.writerow([*map(safe, cells), *(earned.get((student, notebook), "") for notebook in notebooks)])
    return buffer.getvalue(), sorted(student for student in students.values() if matched.count(student) != 1)


def _points(submission: Submission, points: float) -> str:
    results = submission.results
    if any(result.status == "ungraded" for result in results):
        return ""
    return f"{points * sum(r.passed / r.total if r.total else 0 for r in results) / len(results):.4g}"


def _plain(name: str) -> str:
    """Letters and digits, so that "Byron, Ada" and "byron_ada" are the same."""
    return re.sub(r"[\W_]+", "", name).casefold()


def zip_reports(folder: Path, out: Path) -> None:
    """The reports in `folder` as one zip."""
    with written_aside(out) as aside, zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.glob("*.md")):
            archive.write(path, path.name)
