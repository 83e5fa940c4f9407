"""Grade submitted notebooks: `python -m course_utils.classroom.grade submissions/ -o grades.csv`.

submissions/ holds a folder of notebooks for each student, or one notebook for each (ada_01_interpolation.ipynb); whose
a notebook is, and which of several copies counts: `grading.submissions`. A notebook is known by its name
(01_interpolation*.ipynb), else by its exercises. Out come grades.csv (a row for each student and notebook, a row
"total" for each student, a column for each exercise: the share of its test cases that passed) and beside it the folder
grades/ with a report for each student. An exercise is full when all its cases pass. Quizzes are not graded: they answer
at once and keep nothing.

What was not graded is no 0: its cell says "not graded", and the exit status is 1 (0: all is graded, 2: nothing was
begun, 130: interrupted). Results are kept as they come, and the same command goes on where a run ended; --again
starts anew.

What is run: for each exercise its own cell, the set-up cells and those that define what these use (`grading.cells`), in
a fresh process. Files beside the notebook are not there, nor are processes of its own such as a DataLoader's workers.
What checks: the grader's copy of `course_utils` and its list of exercises. A submission's own course_utils, its calls
of check, its saved outputs and its progress file are not looked at.
What fences in (`jail`, Linux): an own root with packages and course read-only, no network, own process ids, no
privileges, a filter on system calls, limits on time, memory, processes and file size. Elsewhere nothing is run unless
--weak is given, and the reports say so.
Who decides: the judge in a process of its own, which gets data from the student's process and nothing else
(`grading.judge`). The course's own answer has to pass on the same way before anybody's is called wrong.

What it does NOT protect against:
    a flaw in the kernel; with --weak, anything: then grade in a virtual machine
    a function that lies about its side effects: whether it changed its arguments in place, shares memory with them,
    passes a gradient or read a row is what the student's process reports
    copying: from `solution()`, from the library, which a submission may import, or from another student (the column
    "similar" is a hint, no more)
    answers made for the checks' inputs: the checks are in the course, and every student has them
    reading: the course, its references, the installed packages and the shared libraries can be read in the fence
    slowness: a submission may take `--seconds`, its check's limit and 5 s for each exercise
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import psutil
from tqdm import tqdm

try:
    import fcntl
except ImportError:  # Windows, where this module can be imported and nothing else
    fcntl = None

from course_utils.classroom.grading import lms, report
from course_utils.classroom.grading.extra import read_extra
from course_utils.classroom.grading.kept import Kept
from course_utils.classroom.grading.report import WORDS, Result, Submission, one_line
from course_utils.classroom.grading.similarity import mark_similar
from course_utils.classroom.grading.submissions import course, find_submissions
from course_utils.sandbox import run_python
from course_utils.shelf.files import written_aside

__all__ = ["Grader", "Result", "Submission", "find_submissions", "grade_all", "main"]

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "many-models-grade-"  # of a grader, in the folder for temporary files; its process id follows
KEPT = "PATH HOME LANG LC_ALL TMPDIR XDG_CACHE_HOME MPLCONFIGDIR LD_LIBRARY_PATH MANY_MODELS_DATA".split()
SET = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MANY_MODELS_THREADS", "HF_HUB_OFFLINE"), "1")
SET |= {"OMP_WAIT_POLICY": "PASSIVE", "MPLBACKEND": "agg", "MANY_MODELS_PROGRESS": "off"}
SET |= {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}
AT_ONCE = 4  # workers that load the course while the submissions are read; more are started when needed
COURSE_MB = 700  # of a worker that has loaded the course
RESULT = ("status", "passed", "total", "text", "notes", "chains")
ENDED = "the grader's own worker ended: run it again"


def jobs_for(memory_mb: int) -> int:
    """As many workers as there are cores, and as the free memory holds if each submission takes all it may."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, psutil.virtual_memory().available // ((COURSE_MB + 2 * memory_mb) << 20)))


def remove_leftovers() -> None:
    """The folders of graders that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        owner = folder.name.removeprefix(FOLDER).split("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def environment() -> dict[str, str]:
    """Of a worker."""
    return {key: os.environ[key] for key in KEPT if key in os.environ} | SET


class Grader:
    """Worker processes that run submissions. Use it in a `with`.

    seconds: wall time for the cells of one exercise. memory_mb: of each process, on top of what the loaded course
    takes; all processes of a submission together may take twice as much. patience: a check may take so many times the
    exercise's own time limit. weak: without the sandbox. extra: the instructor's own cases.
    """

    def __init__(
        self,
        jobs: int = 1,
        seconds: float = 60,
        memory_mb: int = 1024,
        weak: bool = False,
        extra: tuple[Path, int] | None = None,
        patience: float = 3,
    ) -> None:
        if jobs < 1 or not (0 < seconds < math.inf) or memory_mb < 64:
            raise ValueError("jobs must be at least 1, seconds a number above 0 and memory_mb at least 64")
        remove_leftovers()
        self.folder = tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-")
        self.limits = {"seconds": seconds, "memory_mb": memory_mb, "weak": weak, "patience": patience}
        self.jobs, self.closed, self.lock, self.cases = jobs, False, threading.Lock(), None
        if extra:
            self._read_cases(*extra)
        self.workers: list[subprocess.Popen] = []
        self.free: queue.LifoQueue[subprocess.Popen | None] = queue.LifoQueue()  # None: a worker is started when needed
        self.used: set[int] = set()  # process ids of workers that have run something
        for place in range(jobs):
            self.free.put(self._start() if place >= jobs - AT_ONCE else None)

    def _read_cases(self, path: Path, seed: int) -> None:
        """Workers get the file as a descriptor: it lies in no folder that a submission could look into."""
        try:
            extra = read_extra(path, seed, environment(), self.folder)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self.limits["extra"] = extra.known
        self.cases = tempfile.TemporaryFile(dir=self.folder, buffering=0)
        self.cases.write(extra.source)
        self.descriptor = fcntl.fcntl(self.cases, fcntl.F_DUPFD_CLOEXEC, 100)  # 3 and 4 are taken in a worker

    def _start(self) -> subprocess.Popen:
        """A worker gets none of the instructor's variables but KEPT, and finds the grader's own copy first."""
        with self.lock:
            if self.closed:
                raise OSError("the grading was stopped")
            worker = subprocess.Popen(
                [sys.executable, "-B", "-P", "-m", "course_utils.classroom.grading.worker"],
                env=environment(),
                cwd=self.folder,
                pass_fds=[self.descriptor] if self.cases else [],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self.workers.append(worker)
        return worker

    def close(self) -> None:
        """End the workers: at the end of its input a worker ends what it is running."""
        with self.lock:
            self.closed = True
        for worker in self.workers:
            if worker.pid not in self.used:  # it may still be loading, and has nothing to end
                worker.kill()
            with contextlib.suppress(OSError):
                worker.stdin.close()
        for worker in self.workers:
            try:
                worker.wait(3)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()

    def __enter__(self) -> Grader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        for worker in self.workers:
            worker.stdout.close()
        if self.cases:
            os.close(self.descriptor)
            self.cases.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def grade(self, submission: Submission, exercise: str) -> Result:
        """One exercise of one notebook. Never raises for anything that the submission does."""
        worker = self.free.get()
        job = {"course": str(course()[submission.topic]), "exercise": exercise, "cells": submission.cells}
        job |= self.limits | {"folder": self.folder, "cases": self.descriptor if self.cases else None}
        try:
            worker = worker or self._start()
            self.used.add(worker.pid)
            worker.stdin.write(json.dumps(job).encode() + b"\n")
            worker.stdin.flush()
            verdict = json.loads(worker.stdout.readline())
        except (OSError, ValueError) as error:
            worker = None
            verdict = {"status": "ungraded", "text": str(error) if self.closed else ENDED}
        finally:
            self.free.put(worker)
        known = {name: verdict[name] for name in RESULT if name in verdict}
        return Result(exercise, **known)


def grade_all(
    submissions: Sequence[Submission],
    grader: Grader,
    kept: Kept | None = None,
    tell: Callable[[Submission, Result], None] = lambda submission, result: None,
) -> None:
    """Fill in the results of each submission, the workers side by side; what is known already is taken from `kept`.

    Whatever is raised on the way ends the workers, and what is left stays "not graded".
    """
    waiting = []
    for submission in sorted(submissions, key=lambda s: s.topic):  # so that a worker loads one topic after the other
        for i, result in enumerate(submission.results):
            known = kept and not submission.problem and kept.find(submission, result.exercise, grader.limits)
            if known:
                submission.results[i] = known
                tell(submission, known)
            elif not submission.problem:
                waiting.append((submission, i))
    pool = ThreadPoolExecutor(grader.jobs)
    try:
        places = {pool.submit(grader.grade, s, s.results[i].exercise): (s, i) for s, i in waiting}
        for future in as_completed(places):
            submission, i = places[future]
            result = submission.results[i] = future.result()
            if kept:
                kept.add(submission, result, grader.limits)
            tell(submission, result)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        grader.close()
        raise
    finally:
        pool.shutdown()


def say(text: str, stream=None) -> None:
    """A line for the instructor. A terminal that is gone, full or cannot print a name does not end a grading."""
    stream = stream or sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        print(one_line(text).encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
    except OSError:  # what is still in its buffer would fail again at the end of the program
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except ValueError:
        pass


class Progress:
    """A bar on a terminal, a line for each exercise elsewhere."""

    def __init__(self, total: int) -> None:
        self.bar = None
        with contextlib.suppress(OSError, ValueError):
            if sys.stderr.isatty():
                self.bar = tqdm(total=total, unit=" exercises", dynamic_ncols=True, file=sys.stderr)

    def step(self, submission: Submission, result: Result) -> None:
        if self.bar is None:
            say(f"{submission.student}, {result.exercise}: {WORDS[result.status]}")
            return
        with contextlib.suppress(OSError, ValueError):
            self.bar.update()

    def close(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self.bar is not None:
                self.bar.close()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    given = parser.parse_args(arguments)
    if (given.format != "csv") != (given.roster is not None):
        parser.error("--format canvas or moodle and --roster belong together")
    if not hasattr(os, "fork"):
        say("grading needs Linux (on Windows: in WSL), so nothing was graded", sys.stderr)
        return 2
    reason = "" if given.weak else run_python.unavailable()
    if reason:
        reason = reason.replace("so the code was not run", "so nothing was graded")
        say(f"{reason}. Grade on Linux, or in a virtual machine with --weak.", sys.stderr)
        return 2
    reports = report.folder_of(given.out, given.submissions)
    jobs = jobs_for(given.memory_mb) if given.jobs is None else given.jobs
    try:
        extra, also = None, ""
        if given.cases:
            seed = zlib.crc32(given.submissions.resolve().name.encode()) % 10_000 if given.seed is None else given.seed
            extra, also = (given.cases, seed), f"With cases of the instructor: {given.cases.name}, seed {seed}"
            say(also)
        with Grader(jobs, given.seconds, given.memory_mb, given.weak, extra) as grader:
            submissions = find_submissions(given.submissions, given.depth)
            given.out.parent.mkdir(parents=True, exist_ok=True)
            roster = [] if given.format == "csv" else lms.read_roster(given.roster, given.format)
            with Kept(reports, given.again) as kept:
                report.write(
                    submissions, given.out, reports, given.weak, also
                )  # now, so that nothing is graded in vain
                stopped = _grade(submissions, kept, grader)
                mark_similar(submissions)
                report.write(submissions, given.out, reports, given.weak, also)
                if roster:
                    _for_platform(submissions, roster, given, reports)
    except KeyboardInterrupt:
        say("interrupted before anything was graded, or while the table was written: run it again", sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        say(str(error), sys.stderr)
        return 2
    return _summary(submissions, given, reports, stopped)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m course_utils.classroom.grade", description="Grade the exercises of submitted notebooks."
    )
    add = parser.add_argument
    add("submissions", type=Path, help="a folder with a folder, or a notebook, for each student")
    out = "the table; a folder of its name gets the reports"
    add("-o", "--out", type=Path, default=Path("grades.csv"), help=out)
    add("--again", action="store_true", help="forget what an earlier run has graded")
    depth = "how many folders name a student: 2 for section1/ada (default: found out)"
    add("--format", choices=lms.FORMATS, default="csv", help="also points for canvas or moodle; needs --roster")
    add("--roster", type=Path, help="the CSV with names and ids that canvas or moodle exported")
    add("--points", type=float, default=10, help="of each notebook, for --format (default: 10)")
    add("--depth", type=int, default=0, choices=range(1, 10), metavar="N", help=depth)
    add("--cases", type=Path, help="a Python file with further cases: see grading/extra.py")
    add("--seed", type=int, help="of --cases (default: made from the name of the submissions' folder)")
    add("--jobs", type=int, help="side by side (default: all cores that the memory allows)")
    add("--seconds", type=float, default=60, help="wall time for the cells of one exercise (default: 60)")
    memory = "memory of a process, above what the course takes (default: 1024); of all of a submission's: twice as much"
    add("--memory-mb", type=int, default=1024, help=memory)
    weak = "where there is no sandbox: limits only. A submission can then do what you can"
    add("--weak", action="store_true", help=weak)
    return parser


def _for_platform(submissions: Sequence[Submission], roster: list, given: argparse.Namespace, reports: Path) -> None:
    """Points and reports as files for upload."""
    text, unknown = lms.points_table(submissions, roster, given.format, given.points)
    out = given.out.with_name(f"{given.out.stem}-{given.format}.csv")
    with written_aside(out) as aside:
        aside.write_text(text, encoding="utf-8", newline="")
    feedback = given.out.with_name(f"{given.out.stem}-feedback.zip")
    lms.zip_reports(reports, feedback)
    say(f"for {given.format}: {out}, the reports as {feedback}")
    for student in unknown:
        say(f"{student} is in no row of {given.roster}, or in several: enter these points by hand", sys.stderr)


def _grade(submissions: Sequence[Submission], kept: Kept, grader: Grader) -> str:
    """Grade all; why it ended early, or ""."""
    progress = Progress(sum(len(s.results) for s in submissions if not s.problem))
    try:
        grade_all(submissions, grader, kept, progress.step)
    except KeyboardInterrupt:
        return "interrupted"
    except OSError as error:  # a full disk
        return str(error)
    finally:
        progress.close()
    return ""


def _summary(submissions: Sequence[Submission], given: argparse.Namespace, reports: Path, stopped: str) -> int:
    students = {s.student for s in submissions}
    holders = {s.path.relative_to(given.submissions).parts[0] for s in submissions}
    for path in sorted(given.submissions.iterdir()):
        if path.is_dir() and path.name not in holders:
            say(f"{path.name}: there is no notebook (*.ipynb) in this folder, so it is not in the table")
    sections = sorted({student.split("/")[0] for student in students if "/" in student})
    if sections:
        say(f"folders of students (else give --depth 1): {', '.join(sections)}")
    say(f"{len(submissions)} notebooks of {len(students)} students: {given.out}, reports in {reports}/")
    unread = [s for s in submissions if s.problem and s.results]
    for s in unread:
        say(f"{s.file} was NOT graded: {s.problem}", sys.stderr)
    left = [r for s in submissions if not s.problem for r in s.results if r.status == "ungraded"]
    if stopped:
        say(f"{stopped}: {len(left)} exercises are not graded yet; the same command goes on with them", sys.stderr)
        return 130 if stopped == "interrupted" else 1
    if left:
        say(f"{len(left)} exercises were NOT graded, by the grader's fault: {left[0].text}", sys.stderr)
    return 1 if left or unread else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what is graded is kept
    sys.exit(main())
