"""Grade submitted notebooks: `python -m course_utils.classroom.grade submissions/ -o grades.csv`.

submissions/ holds a folder of notebooks for each student, or one notebook for each (ada_01_interpolation.ipynb). A
notebook is known by its name (01_interpolation*.ipynb), else by its exercises. Out come grades.csv (a row for each
student and notebook, a row "total" for each student, a column for each exercise: the share of its test cases that
passed) and beside it the folder grades/ with a report for each student. An exercise is full when all its cases pass.
Quizzes are not graded: they answer at once and keep nothing.

What is run: for each exercise its own cell, the set-up cells and those that define what these use (`grading.cells`), in
a fresh process.
What checks: the grader's copy of `course_utils` and its list of exercises. A submission's own course_utils, its check
cells, its saved outputs and its progress file are not looked at.
What fences in (`jail`, Linux): an own root with packages and course read-only, no network, own process ids, no
privileges, a filter on system calls, limits on time, memory, processes and file size. Elsewhere nothing is run unless
--weak is given, and the reports say so.
Who decides: the judge in a process of its own, which gets data from the student's process and nothing else
(`grading.judge`). Reports mark the few exercises that can only be checked inside the student's process: there tampering
is looked for.

What it does NOT protect against:
    a flaw in the kernel; with --weak, anything: then grade in a virtual machine
    a student who studies the engine and forges an exercise that is checked "together", and undoes the traces
    copying: from another student, from `solution()`, from the library, which a submission may import
    answers made for the checks' inputs: the checks are in the course, and every student has them
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import nbformat

from course_utils.classroom import progress
from course_utils.classroom.grading import report
from course_utils.classroom.grading.cells import course_tasks
from course_utils.classroom.grading.report import WORDS, Result, Submission
from course_utils.sandbox import run_python

__all__ = ["Grader", "Result", "Submission", "find_submissions", "grade_all", "main"]

ROOT = Path(__file__).resolve().parents[2]
LARGEST = 64 << 20  # bytes of a notebook
KEPT = "PATH HOME LANG LC_ALL TMPDIR XDG_CACHE_HOME MPLCONFIGDIR LD_LIBRARY_PATH MANY_MODELS_DATA".split()
SET = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MANY_MODELS_THREADS", "HF_HUB_OFFLINE"), "1")
SET |= {"OMP_WAIT_POLICY": "PASSIVE", "MPLBACKEND": "agg", "MANY_MODELS_PROGRESS": "off"}
SET |= {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}


def course() -> dict[str, Path]:
    """The course's own notebooks: "01_interpolation" -> its path."""
    return {path.stem: path for path in progress.notebooks()}


def find_submissions(folder: Path) -> list[Submission]:
    """Every notebook below `folder`, read but not run. Raises ValueError if there is none."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder: give the one that holds a folder or a notebook for each student")
    found = []
    for path in sorted(folder.rglob("*.ipynb")):
        inside = path.relative_to(folder)
        if ".ipynb_checkpoints" in inside.parts or "__MACOSX" in inside.parts or path.name.startswith("._"):
            continue
        submission = Submission(inside.parts[0] if len(inside.parts) > 1 else path.stem, path)
        _read(submission, folder)
        if len(inside.parts) == 1:
            submission.student = submission.student.replace(submission.topic or "-", "").strip(" _-.()") or path.stem
        found.append(submission)
    if not found:
        raise ValueError(f"{folder} holds no notebook (*.ipynb)")
    taken: dict[tuple[str, str], Submission] = {}
    for submission in sorted(found, key=lambda s: (bool(s.problem), s.path.stem != s.topic, str(s.path))):
        first = taken.setdefault((submission.student, submission.topic), submission)
        if first is not submission and submission.topic:
            submission.problem, submission.cells = f"a second copy: {first.path.name} was graded", []
    return found


def _read(submission: Submission, folder: Path) -> None:
    path = submission.path
    stems = [stem for stem in course() if stem in path.stem]
    submission.topic = stems[0] if stems else ""
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ValueError("it is a link that leads out of the folder")
        if not path.is_file() or path.stat().st_size > LARGEST:
            raise ValueError(f"it is no file, or larger than {LARGEST >> 20} MB")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nb = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
        submission.cells = [
            {
                "source": "".join(c.source),
                "id": str(c.get("id", "")),
                "tags": list(map(str, c.metadata.get("tags") or [])),
            }
            for c in nb.cells
            if c.cell_type == "code"
        ]
    except Exception as error:  # whatever is in a file that anybody may have written
        said = str(error).split("\n")[0][:160]
        submission.problem = f"it cannot be read as a notebook ({type(error).__name__}: {said})"
        return
    if not submission.topic:
        text = "\n".join(cell["source"] for cell in submission.cells)
        known = {
            stem: sum(bool(re.search(rf"^(def {t.variable}\b|{t.variable}\s*=)", text, re.M)) for t in tasks_of(stem))
            for stem in course()
        }
        best = max(known, key=known.get)
        submission.topic = best if known[best] >= 2 else ""
        if not submission.topic:
            submission.problem = "it is none of the course's notebooks: neither its name nor its exercises are known"


@cache
def tasks_of(stem: str) -> list:
    return course_tasks(nbformat.read(course()[stem], as_version=4))


class Grader:
    """Worker processes that run submissions. Use it in a `with`.

    seconds: wall time for the cells of one exercise. memory_mb: of each process, on top of what the loaded course
    takes. patience: a check may take so many times the exercise's own time limit. weak: without the sandbox.
    """

    def __init__(
        self, jobs: int = 1, seconds: float = 60, memory_mb: int = 1024, weak: bool = False, patience: float = 3
    ) -> None:
        if jobs < 1 or seconds <= 0 or memory_mb < 64:
            raise ValueError("jobs must be at least 1, seconds above 0 and memory_mb at least 64")
        self.folder = tempfile.mkdtemp(prefix="many-models-grade-")
        self.limits = {"seconds": seconds, "memory_mb": memory_mb, "weak": weak, "patience": patience}
        self.limits["folder"] = self.folder
        self.free: queue.Queue[subprocess.Popen] = queue.Queue()
        self.workers: list[subprocess.Popen] = []
        for _ in range(jobs):
            self._start()

    def _start(self) -> None:
        """A worker gets none of the instructor's variables but KEPT, and finds the grader's own copy first."""
        worker = subprocess.Popen(
            [sys.executable, "-B", "-P", "-m", "course_utils.classroom.grading.worker"],
            env={key: os.environ[key] for key in KEPT if key in os.environ} | SET,
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.workers.append(worker)
        self.free.put(worker)

    def __enter__(self) -> Grader:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()
            worker.stdin.close()
            worker.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def grade(self, submission: Submission, exercise: str) -> Result:
        """One exercise of one notebook. Never raises for anything that the submission does."""
        worker = self.free.get()
        job = {"course": str(course()[submission.topic]), "exercise": exercise, "cells": submission.cells} | self.limits
        try:
            worker.stdin.write(json.dumps(job).encode() + b"\n")
            worker.stdin.flush()
            verdict = json.loads(worker.stdout.readline())
            self.free.put(worker)
        except (OSError, ValueError):
            self._start()
            verdict = {"status": "ungraded", "text": "the grader's own worker ended: run it again"}
        known = {key: verdict[key] for key in ("status", "passed", "total", "text", "mode", "notes") if key in verdict}
        return Result(exercise, **known)


def grade_all(submissions: Sequence[Submission], grader: Grader, tell=lambda line: None) -> None:
    """Fill in the results of each submission, the workers side by side."""
    waiting = []
    tasks = {stem: tasks_of(stem) for stem in sorted({s.topic for s in submissions if s.topic})}
    for submission in submissions:
        for task in tasks.get(submission.topic, []):
            submission.results.append(Result(task.name, "missing", text=submission.problem))
            if not submission.problem:
                waiting.append((submission, len(submission.results) - 1))

    def grade_one(place: tuple[Submission, int]) -> None:
        submission, i = place
        result = submission.results[i] = grader.grade(submission, submission.results[i].exercise)
        tell(f"{submission.student}, {result.exercise}: {WORDS[result.status]}")

    with ThreadPoolExecutor(len(grader.workers)) as pool:
        list(pool.map(grade_one, waiting))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m course_utils.classroom.grade", description="Grade the exercises of submitted notebooks."
    )
    add, cores = parser.add_argument, max(1, (os.cpu_count() or 2) // 2)
    add("submissions", type=Path, help="a folder with a folder, or a notebook, for each student")
    out = "the table; a folder of its name gets the reports"
    add("-o", "--out", type=Path, default=Path("grades.csv"), help=out)
    add("--jobs", type=int, default=cores, help="side by side (default: half the cores)")
    add("--seconds", type=float, default=60, help="wall time for the cells of one exercise (default: 60)")
    memory = "memory of a process, above what the course takes (default: 1024)"
    add("--memory-mb", type=int, default=1024, help=memory)
    weak = "where there is no sandbox: limits only. A submission can then do what you can"
    add("--weak", action="store_true", help=weak)
    given = parser.parse_args(arguments)
    if not hasattr(os, "fork"):
        print("grading needs Linux (on Windows: in WSL), so nothing was graded", file=sys.stderr)
        return 2
    reason = "" if given.weak else run_python.unavailable()
    if reason:
        reason = reason.replace("so the code was not run", "so nothing was graded")
        print(f"{reason}. Grade on Linux, or in a virtual machine with --weak.", file=sys.stderr)
        return 2
    try:
        submissions = find_submissions(given.submissions)
        with Grader(given.jobs, given.seconds, given.memory_mb, given.weak) as grader:
            grade_all(submissions, grader, lambda line: print(line, flush=True))
        reports = report.write(submissions, given.out, given.weak)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    students = {s.student for s in submissions}
    for path in sorted(given.submissions.iterdir()):
        if path.is_dir() and path.name not in students:
            print(f"{path.name}: there is no notebook (*.ipynb) in this folder, so it is not in the table")
    print(f"{len(submissions)} notebooks of {len(students)} students: {given.out}, reports in {reports}/")
    ungraded = [r for s in submissions for r in s.results if r.status == "ungraded"]
    if ungraded:
        print(f"{len(ungraded)} exercises were NOT graded, by the grader's fault: {ungraded[0].text}", file=sys.stderr)
    return 1 if ungraded else 0


if __name__ == "__main__":
    sys.exit(main())
