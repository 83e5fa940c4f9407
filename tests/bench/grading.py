"""Seconds and memory of grading a class: with one worker, and with one on each core.

    python tests/bench/grading.py                    30 submissions of notebook 00, both ways, three runs each
    python tests/bench/grading.py --students 500 --runs 1 --workers 2

Each run is held to as many cores as it has workers, so that the row of one worker is what one core does; --spread lets
the processes of one worker use all cores (the judge and the student's process take turns, but what ended is cleared
away beside the next).
Each made-up student has other answers: right (7 of 10), wrong (2 of 10) or none, each with a comment of its own, so
that no result can be taken from another student. Memory is the sum over the grader and all its descendants, seen ten
times a second: proportional set size, so that shared pages count once.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from editions import NOTEBOOKS, read, solved_answers  # noqa: E402


def hand_in(folder: Path, students: int) -> None:
    start, draw = read(NOTEBOOKS[0]), random.Random(0)
    answers = solved_answers(start)
    for student in range(students):
        nb = copy.deepcopy(start)
        for task, code in answers:
            cell = next(cell for cell in nb.cells if cell.source == task.stub)
            luck = draw.random()
            if luck < 0.9:
                changed = code if luck < 0.7 else code.replace("return ", "return 1.01 * ")
                cell.source = f"{changed}\n# student {student}"
        (folder / f"student{student:03}").mkdir(parents=True)
        nbformat.write(nb, folder / f"student{student:03}" / NOTEBOOKS[0].name)


def memory_mb(process: psutil.Process) -> float:
    total = 0
    for each in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            total += each.memory_full_info().pss
    return total / 2**20


def grade(folder: Path, workers: int, cores: list[int]) -> tuple[float, float, str]:
    """Seconds, peak memory in MB, the table; on these cores."""
    table = folder.parent / f"grades{workers}.csv"
    command = [sys.executable, "-m", "course_utils.classroom.grade", str(folder), "-o", str(table), "--again"]
    began, peak = time.monotonic(), 0.0
    process = subprocess.Popen(
        [*command, "--jobs", str(workers)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    while process.poll() is None:
        peak = max(peak, memory_mb(psutil.Process(process.pid)))
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"the grader ended with status {process.returncode}")
    return time.monotonic() - began, peak, table.read_text(encoding="utf-8")


LOOP = """
import os, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
began = time.perf_counter()
sum(i for i in range(30_000_000))
print(time.perf_counter() - began)
"""


def floor(cores: list[int]) -> float:
    """What a plain loop gains from these cores: its seconds side by side over those of as many in a row.

    1 / len(cores) where each is a core of its own; more where they share one, as threads of virtual machines do.
    """

    def seconds(some: list[int]) -> float:
        started = [subprocess.Popen([sys.executable, "-c", LOOP, str(core)], stdout=subprocess.PIPE) for core in some]
        return max(float(process.communicate()[0]) for process in started)

    alone, together = (statistics.median(seconds(some) for _ in range(5)) for some in (cores[:1], cores))
    return together / (alone * len(cores))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--students", type=int, default=30)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, os.cpu_count() or 1])
    parser.add_argument("--spread", action="store_true", help="all cores for every row")
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "submissions"
        hand_in(folder, given.students)
        print(f"{given.students} submissions of {NOTEBOOKS[0].stem}, medians of {given.runs}; {os.cpu_count()} cores\n")
        print("| workers | seconds | share of the first row | peak MB |\n|---|---|---|---|")
        runs = {workers: [] for workers in given.workers}
        for _ in range(given.runs):  # in turn, so that a busy minute meets all
            for workers, results in runs.items():
                results.append(grade(folder, workers, cores if given.spread else cores[:workers]))
        first = statistics.median(seconds for seconds, _, _ in runs[given.workers[0]])
        for workers, results in runs.items():
            seconds = statistics.median(seconds for seconds, _, _ in results)
            print(f"| {workers} | {seconds:.1f} | {seconds / first:.2f} | {max(peak for _, peak, _ in results):.0f} |")
        print(f"\nfloor, a plain loop on {len(cores)} cores: {floor(cores):.2f}")
        tables = {table for results in runs.values() for _, _, table in results}
        if len(tables) > 1:
            raise SystemExit("the tables differ")


if __name__ == "__main__":
    main()
