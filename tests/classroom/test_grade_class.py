"""A whole class: no mark that was not earned, nothing lost, whose work and which copy. No submission is run here: the
grader is a stand-in, so that these tests need no sandbox."""

from __future__ import annotations

import copy
import csv
import io
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import nbformat
import pytest
from editions import NOTEBOOKS, ROOT, read, tasks

from course_utils.classroom import grade
from course_utils.classroom.grading import report
from course_utils.classroom.grading.kept import Kept

START = NOTEBOOKS[0]
NAMES = [task.name for task in tasks(read(START))]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="grading needs a system with fork")


class StandIn:
    """A grader that runs nothing: each exercise gets 1 of 1. `stop_after`: so many, then Ctrl-C."""

    def __init__(self, jobs=1, *_, stop_after=10**9, status="passed", seconds=0.0):
        self.jobs, self.limits, self.asked, self.closed = jobs, {"seconds": 60}, [], False
        self.stop_after, self.status, self.seconds = stop_after, status, seconds

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.closed = True

    def grade(self, submission, exercise):
        if len(self.asked) >= self.stop_after:
            raise KeyboardInterrupt
        self.asked.append((submission.student, exercise))
        time.sleep(self.seconds)
        return grade.Result(exercise, self.status, int(self.status == "passed"), 1)


def hand_in(folder, *students, nb=None):
    for student in students:
        (folder / student).mkdir(parents=True)
        nbformat.write(nb or read(START), folder / student / START.name)
    return folder


def run(monkeypatch, folder, out, *options, **about):
    """Grade with a stand-in: the exit status and the stand-in."""
    used = []

    def make(*arguments):
        used.append(StandIn(*arguments, **about))
        return used[0]

    monkeypatch.setattr(grade, "Grader", make)
    monkeypatch.setattr(grade.run_python, "unavailable", lambda: "")
    return grade.main([str(folder), "-o", str(out), "--jobs", "1", *options]), (used or [None])[0]


def rows(out):
    table = csv.DictReader(io.StringIO(out.read_text(encoding="utf-8")))
    return {(row["student"], row["notebook"]): row for row in table}


# --- no mark that was not earned --------------------------------------------------------------------------------------


class Closed(io.TextIOBase):
    encoding = "utf-8"

    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("stream", [io.TextIOWrapper(io.BytesIO(), "ascii"), Closed()], ids=["ascii", "closed"])
def test_a_terminal_that_cannot_print_costs_no_mark(tmp_path, monkeypatch, stream):
    folder = hand_in(tmp_path / "subs", "ada", "Zoë", "zz\x1b[2J")
    monkeypatch.setattr(sys, "stdout", stream)
    status, _ = run(monkeypatch, folder, tmp_path / "g.csv")
    assert status == 0
    assert {row["full"] for row in rows(tmp_path / "g.csv").values()} == {str(len(NAMES))}


def test_names_are_told_without_control_characters(tmp_path, monkeypatch, capsys):
    run(monkeypatch, hand_in(tmp_path / "subs", "zz\x1b[2J"), tmp_path / "g.csv")
    told = capsys.readouterr()
    assert "zz [2J, start_here.average" in told.out and "\x1b" not in told.out + told.err


def test_what_is_raised_while_results_are_collected_leaves_no_zero(tmp_path):
    submissions = grade.find_submissions(hand_in(tmp_path / "subs", "ada", "bob"))

    def tell(submission, result):
        raise RuntimeError("the disk is full")

    grader = StandIn(jobs=2)
    with pytest.raises(RuntimeError, match="the disk is full"):
        grade.grade_all(submissions, grader, tell=tell)
    assert grader.closed
    shares = [row[name] for row in csv.DictReader(io.StringIO(report.table(submissions))) for name in NAMES]
    assert "not graded" in shares and "0" not in shares


def test_not_graded_is_no_zero_in_any_column_and_in_the_exit_status(tmp_path, monkeypatch, capsys):
    folder = hand_in(tmp_path / "subs", "ada")
    (folder / "bob").mkdir()
    (folder / "bob" / START.name).write_text("{", encoding="utf-8")
    status, _ = run(monkeypatch, folder, tmp_path / "g.csv", status="ungraded")
    assert status == 1 and "by the grader's fault" in capsys.readouterr().err
    table = rows(tmp_path / "g.csv")
    for row in table.values():
        assert {row[key] for key in ("full", "exercises", "cases", "of", *NAMES)} == {"not graded"}
        assert row["not graded"] == str(len(NAMES))
    assert "cannot be read" in table["bob", START.stem]["problem"]
    text = (tmp_path / "g" / "ada.md").read_text(encoding="utf-8")
    assert "0 of" not in text.replace(f"0 of {len(NAMES)} exercises full", "") and "no 0" in text


def test_a_sum_holds_only_what_was_graded(tmp_path):
    submission = grade.find_submissions(hand_in(tmp_path, "ada"))[0]
    submission.results[0] = grade.Result(NAMES[0], "passed", 5, 5)
    row = next(csv.DictReader(io.StringIO(report.table([submission]))))
    found = [row[key] for key in ("full", "exercises", "cases", "of", "not graded", *NAMES[:2])]
    assert found == ["1", "1", "5", "5", str(len(NAMES) - 1), "1", "not graded"]


def test_a_worker_that_cannot_be_started_is_no_mark_and_no_endless_wait(tmp_path, monkeypatch):
    submissions = grade.find_submissions(hand_in(tmp_path / "subs", "ada"))

    def no_process(*_, **__):
        raise OSError("no more processes")

    with grade.Grader(jobs=2) as grader:
        monkeypatch.setattr(grade.subprocess, "Popen", no_process)
        grade.grade_all(submissions, grader)
    assert {result.status for result in submissions[0].results} == {"ungraded"}


# --- nothing is lost --------------------------------------------------------------------------------------------------


def test_an_interrupted_run_goes_on_and_again_starts_anew(tmp_path, monkeypatch, capsys):
    folder, out = hand_in(tmp_path / "subs", "ada", "bob"), tmp_path / "g.csv"
    status, grader = run(monkeypatch, folder, out, stop_after=7)
    assert status == 130 and grader.closed and "the same command goes on" in capsys.readouterr().err
    done, shares = grader.asked, [row[name] for row in rows(out).values() for name in NAMES]
    assert "not graded" in shares and "1" in shares and "0" not in shares
    status, grader = run(monkeypatch, folder, out)
    assert status == 0 and {row["full"] for row in rows(out).values()} == {str(len(NAMES))}
    assert not set(grader.asked) & set(done[:6]) and len(grader.asked) <= 4  # the last may not have been collected
    assert run(monkeypatch, folder, out)[1].asked == []
    assert len(run(monkeypatch, folder, out, "--again")[1].asked) == 2 * len(NAMES)


def test_what_has_changed_is_graded_again_and_a_cut_off_line_too(tmp_path, monkeypatch):
    folder, out = hand_in(tmp_path / "subs", "ada", "bob"), tmp_path / "g.csv"
    run(monkeypatch, folder, out)
    nb = copy.deepcopy(read(START))
    nb.cells.append(nbformat.v4.new_code_cell("x = 1"))
    nbformat.write(nb, folder / "ada" / START.name)
    _, grader = run(monkeypatch, folder, out)
    assert grader.asked == [("ada", name) for name in NAMES]
    results = tmp_path / "g" / "results.jsonl"
    results.write_bytes(results.read_bytes()[:-30] + b"\xff")
    _, grader = run(monkeypatch, folder, out)
    assert len(grader.asked) == 1
    assert run(monkeypatch, folder, out)[1].asked == []


def test_a_killed_run_has_kept_its_results(tmp_path, monkeypatch):
    folder, out = hand_in(tmp_path / "subs", "ada", "bob"), tmp_path / "g.csv"
    code = f"""import sys
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(ROOT / "tests")!r}]
import test_grade_class as t
t.grade.Grader = lambda *a: t.StandIn(*a, seconds=0.3)
t.grade.run_python.unavailable = lambda: ""
t.grade.main({[str(folder), "-o", str(out), "--jobs", "1"]!r})"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        for _ in range(3):
            process.stdout.readline()
        process.kill()
    shares = [row[name] for row in rows(out).values() for name in NAMES]
    assert set(shares) == {"not graded"}  # the table of the beginning
    status, grader = run(monkeypatch, folder, out)
    assert status == 0 and len(grader.asked) <= 2 * len(NAMES) - 3


@pytest.mark.parametrize("out", ["a file/g.csv", "a folder"])
def test_an_output_that_cannot_be_written_is_noticed_before_anything_is_graded(tmp_path, monkeypatch, capsys, out):
    (tmp_path / "a file").touch()
    (tmp_path / "a folder").mkdir()
    status, grader = run(monkeypatch, hand_in(tmp_path / "subs", "ada"), tmp_path / out)
    assert status == 2 and grader is None and len(capsys.readouterr().err.splitlines()) == 1


def test_two_gradings_do_not_write_to_one_folder(tmp_path, monkeypatch, capsys):
    folder = hand_in(tmp_path / "subs", "ada")
    with Kept(tmp_path / "g"):
        assert run(monkeypatch, folder, tmp_path / "g.csv")[0] == 2
    assert "another grading" in capsys.readouterr().err


def test_odd_names_lose_nothing(tmp_path, monkeypatch):
    odd = [os.fsdecode(b"M\xfcller"), "試" * 83, "x" * 255, "試" * 84, "a\nb", "..a", "CON"]
    folder = hand_in(tmp_path / "subs", *odd)
    os.rename(folder / "CON" / START.name, folder / "CON" / os.fsdecode(b"00_start_here_\xff.ipynb"))
    status, _ = run(monkeypatch, folder, tmp_path / "g.csv")
    assert status == 0
    table = rows(tmp_path / "g.csv")
    assert len(table) == 2 * len(odd) and table["M\\xfcller", "total"]["full"] == str(len(NAMES))
    assert len(list((tmp_path / "g").glob("*.md"))) == len(odd)


def test_the_reports_do_not_go_into_the_submissions(tmp_path, monkeypatch):
    folder = hand_in(tmp_path / "subs", "ada")
    run(monkeypatch, folder, tmp_path / "subs.csv")
    assert [path.name for path in folder.iterdir()] == ["ada"]
    assert (tmp_path / "subs-reports" / "ada.md").exists()


def test_folders_of_killed_graders_are_removed_and_those_of_others_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, alive = (tmp_path / f"{grade.FOLDER}{pid}-x" for pid in (ended.pid, os.getppid()))
    for path in (dead, alive):
        path.mkdir()
        (path / "a file").touch()
    with grade.Grader():
        assert not dead.exists() and alive.exists()
        assert len(list(tmp_path.glob(f"{grade.FOLDER}{os.getpid()}-*"))) == 1
    assert list(tmp_path.iterdir()) == [alive]


def test_ctrl_c_while_a_worker_is_busy_starts_no_other_one(tmp_path, monkeypatch):
    submission = grade.find_submissions(hand_in(tmp_path / "subs", "ada"))[0]
    sleeper = [sys.executable, "-c", "import sys; sys.stdin.read()"]  # as a worker: it ends at the end of its input
    popen, started = subprocess.Popen, []

    def start(_, **about):
        started.append(popen(sleeper, **about))
        return started[-1]

    monkeypatch.setattr(grade.subprocess, "Popen", start)
    with grade.Grader() as grader:
        threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt):
            grade.grade_all([submission], grader)
    assert len(started) == 1 and started[0].poll() is not None


def test_the_work_is_shared_among_all_workers(tmp_path):
    """Four workers, by simulation: at least three times as fast as one."""
    times = {}
    for jobs in (1, 4):
        submissions = grade.find_submissions(hand_in(tmp_path / str(jobs), *"abcd"))
        began = time.monotonic()
        grade.grade_all(submissions, StandIn(jobs, seconds=0.1))
        times[jobs] = time.monotonic() - began
    assert times[1] > 3 * times[4], times
