"""What a grade is, and what `grade` writes of it: the table as CSV and a report for each student as Markdown."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from course_utils.shelf.files import written_aside

__all__ = ["WORDS", "Result", "Submission", "folder_of", "one_line", "report", "safe", "table", "write"]

FENCE = (
    "own file system (read-only, 16 MB of its own), no network, own process ids, system calls filtered, no privileges, "
    "limits on time, memory, processes and files, empty environment"
)
WEAK = (
    "limits on time, memory and file size, own process group, empty environment; NO fence: files and network "
    "were within reach"
)
WORDS = {
    "passed": "passed",
    "wrong": "not right",
    "open": "not attempted",
    "missing": "missing",
    "timeout": "stopped: out of time",
    "crashed": "its process ended",
    "memory": "stopped: out of memory",
    "tampered": "TAMPERED",
    "ungraded": "NOT GRADED",
}
NOT_GRADED = "not graded"
NAME = 120  # bytes of a report's name: file systems allow 255 for a name with its ending
FORMULA = re.compile(r"(?:^|(?<=[;\t\r\n]))(?=\s*[=+\-@＝＋－＠\t\r])")


@dataclass
class Result:
    """One exercise of one submission. status: a key of WORDS."""

    exercise: str
    status: str
    passed: int = 0
    total: int = 0
    text: str = ""
    notes: list[str] = field(default_factory=list)
    chains: list[int] = field(default_factory=list)  # of the answer's syntax tree: `similarity`

    @property
    def full(self) -> bool:
        return self.status == "passed" and self.passed == self.total > 0


@dataclass
class Submission:
    """One notebook of one student.

    file: its path below the submissions, as text. problem: why it is not graded; then it has no cells. second: because
    a newer copy is. remark: what to know about a notebook that is graded. similar: whose answers are alike.
    """

    student: str
    path: Path
    topic: str = ""
    cells: list[dict] = field(default_factory=list)
    problem: str = ""
    file: str = ""
    second: bool = False
    remark: str = ""
    similar: str = ""
    results: list[Result] = field(default_factory=list)


def folder_of(out: Path, submissions: Path) -> Path:
    """Where the reports go: a folder of the table's name beside it, unless the submissions are there."""
    folder = out.with_suffix("")
    if folder == out or folder.resolve() == submissions.resolve():
        folder = out.with_name(f"{folder.name}-reports")
    return folder


def write(submissions: Sequence[Submission], out: Path, folder: Path, weak: bool = False, also: str = "") -> None:
    """Write the table to `out` and a report for each student into `folder`; each file aside first.

    also: a line for each report.
    """
    names: set[str] = set()
    students: dict[str, list[Submission]] = {}
    for submission in submissions:
        students.setdefault(submission.student, []).append(submission)
    for student, mine in students.items():
        name = re.sub(r"[^\w.-]+", "_", student).strip("._").encode()[:NAME].decode(errors="ignore") or "student"
        while name.lower() in names:
            name += "_"
        names.add(name.lower())
        _put(folder / f"{name}.md", report(mine, weak, also))
    _put(out, table(submissions))


def _put(path: Path, text: str) -> None:
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")


def table(submissions: Sequence[Submission]) -> str:
    """CSV: student, notebook, file, full (exercises), exercises, cases (passed), of, not graded (exercises), problem,
    similar (whose answers are alike: a hint where to look), then of each exercise the share of its cases; for each
    student a row "total".

    What was not graded is no 0: its cell says "not graded", and it is in no sum.
    """
    by_topic = sorted(submissions, key=lambda s: s.topic)
    exercises = list(dict.fromkeys(result.exercise for s in by_topic for result in s.results))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    head = ["student", "notebook", "file", "full", "exercises", "cases", "of", NOT_GRADED, "problem", "similar"]
    writer.writerow([*head, *exercises])

    def row(student: str, notebook: str, file: str, words: list[str], results: list[Result]) -> None:
        counted = [r for r in results if r.status != "ungraded"]
        left, share = len(results) - len(counted), {r.exercise: _share(r) for r in results}
        if counted:
            passed, total = sum(r.passed for r in counted), sum(r.total for r in counted)
            figures = [sum(r.full for r in counted), len(counted), passed, total, left]
        else:
            figures = [*[NOT_GRADED if results else ""] * 4, left or ""]
        cells = [student, notebook, file, *figures, *words, *(share.get(exercise, "") for exercise in exercises)]
        writer.writerow(map(safe, cells))

    students: dict[str, list[Submission]] = {}
    for submission in submissions:
        students.setdefault(submission.student, []).append(submission)
    for student, mine in students.items():
        for s in mine:
            row(student, s.topic, s.file or s.path.name, [_problem(s), s.similar], s.results)
        row(student, "total", "", ["", ""], [result for s in mine for result in s.results])
    return buffer.getvalue()


def _share(result: Result) -> str:
    if result.status == "ungraded":
        return NOT_GRADED
    return f"{result.passed / result.total:.4g}" if result.total else "0"


def _problem(submission: Submission) -> str:
    odd = {r.status for r in submission.results} & {"timeout", "crashed", "memory", "tampered", "ungraded"}
    words = [] if submission.problem else sorted(WORDS[status] for status in odd)
    return "; ".join(filter(None, [submission.problem, submission.remark, *words]))


def safe(value: object) -> object:
    """A text that a spreadsheet would take for a formula gets an apostrophe in front; semicolons separate cells in
    some countries."""
    return FORMULA.sub("'", value) if isinstance(value, str) else value


def report(submissions: Sequence[Submission], weak: bool, also: str = "") -> str:
    """Everything on one student, as Markdown. What a submission says stands indented, where nothing is markup; names
    are escaped."""
    lines = [f"# {_prose(submissions[0].student)}", "", f"Run with: {WEAK if weak else FENCE}."]
    lines += ["", f"{_prose(also)}."] * bool(also)
    for s in submissions:
        lines += ["", f"## {s.topic or 'unknown notebook'}, {_prose(s.file or s.path.name)}", ""]
        if s.problem:
            lines.append(f"Not graded: {_prose(s.problem)}.")
            continue
        left = sum(r.status == "ungraded" for r in s.results)
        lines.append(f"{sum(r.full for r in s.results)} of {len(s.results)} exercises full.")
        lines += [f"{left} of them are not graded yet, which is no 0."] * bool(left)
        lines += [f"Note: {_prose(s.remark)}."] * bool(s.remark)
        for r in s.results:
            cases = f", {r.passed} of {r.total} cases" if r.status != "ungraded" else ""
            lines += ["", f"- **{r.exercise}**: {WORDS[r.status]}{cases}"]
            said = [] if r.full else r.text.splitlines()
            lines += [""] * bool(said or r.notes) + [f"      {one_line(line)}" for line in [*said, *r.notes][:40]]
    return "\n".join(lines) + "\n"


def one_line(text: str) -> str:
    """One line without control characters: a terminal would obey them."""
    return "".join(c if c.isprintable() else " " for c in text)[:600]


def _prose(text: str) -> str:
    """One line in which nothing is markup, HTML included."""
    return re.sub(r"([\\`*<>&\[\]#|~])", r"\\\1", one_line(text))
