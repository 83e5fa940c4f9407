"""What a grade is, and what `grade` writes of it: the table as CSV and a report for each student as Markdown."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from course_utils.shelf.files import written_aside

__all__ = ["FENCE", "WEAK", "WORDS", "Result", "Submission", "report", "table", "write"]

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
    "tampered": "TAMPERED",
    "ungraded": "NOT GRADED",
}
TOGETHER = "checked inside the submission's own process (tampering was looked for, and is not excluded)"


@dataclass
class Result:
    """One exercise of one submission. status: a key of WORDS; mode: where it was checked, "apart" or "together"."""

    exercise: str
    status: str
    passed: int = 0
    total: int = 0
    text: str = ""
    mode: str = "apart"
    notes: list[str] = field(default_factory=list)

    @property
    def full(self) -> bool:
        return self.status == "passed" and self.passed == self.total > 0


@dataclass
class Submission:
    """One notebook of one student. problem: why it could not be read; then it has no cells and gets nothing."""

    student: str
    path: Path
    topic: str = ""
    cells: list[dict] = field(default_factory=list)
    problem: str = ""
    results: list[Result] = field(default_factory=list)


def write(submissions: Sequence[Submission], out: Path, weak: bool = False) -> Path:
    """Write the table to `out`, the reports to a folder of its name beside it, which is returned; all aside first."""
    folder = out.with_suffix("")
    if folder == out:
        folder = out.with_name(out.name + "-reports")
    folder.mkdir(parents=True, exist_ok=True)
    names: dict[str, str] = {}
    for student in dict.fromkeys(s.student for s in submissions):
        name = re.sub(r"[^\w.-]+", "_", student).strip("._")[:80] or "student"
        while name.lower() in names:
            name += "_"
        names[name.lower()] = student
        _put(folder / f"{name}.md", report([s for s in submissions if s.student == student], weak))
    _put(out, table(submissions))
    return folder


def _put(path: Path, text: str) -> None:
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8", newline="")


def table(submissions: Sequence[Submission]) -> str:
    """CSV: student, notebook, file, full (exercises), exercises, cases (passed), of, problem, then of each exercise
    the share of its cases; for each student a row "total"."""
    by_topic = sorted(submissions, key=lambda s: s.topic)
    exercises = list(dict.fromkeys(result.exercise for s in by_topic for result in s.results))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["student", "notebook", "file", "full", "exercises", "cases", "of", "problem", *exercises])

    def row(student: str, notebook: str, file: str, problem: str, counted: list[Result] | None) -> None:
        figures, share = [""] * 4, {}
        if counted is not None:
            passed, total = sum(r.passed for r in counted), sum(r.total for r in counted)
            figures = [sum(r.full for r in counted), len(counted), passed, total]
            share = {r.exercise: f"{r.passed / r.total:.4g}" if r.total else "0" for r in counted}
        cells = [student, notebook, file, *figures, problem, *(share.get(exercise, "") for exercise in exercises)]
        writer.writerow(map(_safe, cells))

    for student in dict.fromkeys(s.student for s in submissions):
        mine, counted = [s for s in submissions if s.student == student], []
        for s in mine:
            second = s.problem.startswith("a second copy")
            row(student, s.topic, s.path.name, _problem(s), None if second else s.results)
            counted += [] if second else s.results
        row(student, "total", "", "", counted)
    return buffer.getvalue()


def _problem(submission: Submission) -> str:
    odd = {WORDS[r.status] for r in submission.results if r.status in ("timeout", "crashed", "tampered", "ungraded")}
    return submission.problem or "; ".join(sorted(odd))


def _safe(value: object) -> object:
    """A text that a spreadsheet would take for a formula gets an apostrophe in front."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def report(submissions: Sequence[Submission], weak: bool) -> str:
    """Everything on one student, as Markdown. What a submission says stands indented, where nothing is markup."""
    lines = [f"# {_line(submissions[0].student)}", "", f"Run with: {WEAK if weak else FENCE}."]
    for s in submissions:
        lines += ["", f"## {s.topic or 'unknown notebook'} (`{_line(s.path.name)}`)", ""]
        if s.problem:
            lines.append(f"Not graded: {_line(s.problem)}.")
            continue
        lines.append(f"{sum(r.full for r in s.results)} of {len(s.results)} exercises full.")
        for r in s.results:
            mark = f", {TOGETHER}" if r.mode == "together" else ""
            lines += ["", f"- **{r.exercise}**: {WORDS[r.status]}, {r.passed} of {r.total} cases{mark}"]
            said = [] if r.full else r.text.splitlines()
            lines += [""] * bool(said or r.notes) + [f"      {_line(line)}" for line in [*said, *r.notes][:40]]
    return "\n".join(lines) + "\n"


def _line(text: str) -> str:
    """One line without control characters: a terminal would obey them."""
    return "".join(c if c.isprintable() else " " for c in text)[:600]
