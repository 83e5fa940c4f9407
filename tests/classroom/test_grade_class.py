"""A whole class: no mark that was not earned, nothing lost, whose work and which copy. No submission is run here: the
grader is a stand-in, so that these tests need no sandbox."""

from __future__ import annotations

import copy
import csv
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

import nbformat
import pytest
from editions import NOTEBOOKS, ROOT, read, tasks

from course_utils.classroom import grade
from course_utils.classroom.grading import report
from course_utils.classroom.grading.kept import Kept
from course_utils.classroom.grading.similarity import chains, mark_similar

START = NOTEBOOKS[0]
NAMES = [task.name for task in tasks(read(START))]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="grading needs a system with fork")


class StandIn:
    """A grader that runs nothing: each exercise gets 1 of 1. `stop_after`: so many, then Ctrl-C."""

    def __init__(self, jobs=1, *others, stop_after=10**9, status="passed", seconds=0.0):
        self.extra = others[-1] if others else None
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

    popen, started = subprocess.Popen, []

    def start(_, **about):
        if len(started) >= 2:
            raise OSError("no more processes")
        started.append(popen([sys.executable, "-c", ""], **about))
        return started[-1]

    monkeypatch.setattr(grade.subprocess, "Popen", start)
    with grade.Grader(jobs=2) as grader:
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
    assert status == 2 and grader.asked == [] and len(capsys.readouterr().err.splitlines()) == 1


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
        grade.grade_all(submissions, StandIn(jobs, seconds=0.2))
        times[jobs] = time.monotonic() - began
    assert times[1] > 3 * times[4], times


# --- whose work, which copy -------------------------------------------------------------------------------------------


def place(folder, *paths):
    """The shipped notebook at each of the paths, the later ones newer."""
    for i, path in enumerate(paths):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(read(START), folder / path)
        os.utime(folder / path, (10**9 + i, 10**9 + i))
    return folder


def found_in(folder, depth=0):
    return {s.file: s for s in grade.find_submissions(folder, depth)}


def test_a_link_to_another_students_notebook_is_not_graded_and_says_so(tmp_path, monkeypatch):
    folder = place(tmp_path / "subs", f"ada/{START.name}", f"bob/work/{START.name}", f"cy_{START.name}")
    (folder / "eve").mkdir()
    (folder / "eve" / START.name).symlink_to(f"../ada/{START.name}")
    (folder / f"fay_{START.name}").symlink_to(f"cy_{START.name}")
    (folder / "bob" / START.name).symlink_to(f"work/{START.name}")
    status, grader = run(monkeypatch, folder, tmp_path / "g.csv")
    table = rows(tmp_path / "g.csv")
    for name, target in (("eve", f"ada/{START.name}"), ("fay", f"cy_{START.name}")):
        row = table[name, START.stem]
        assert row["full"] == row[NAMES[0]] == "not graded" and f"a link to {target}" in row["problem"]
    assert status == 1 and {student for student, _ in grader.asked} == {"ada", "bob", "cy"}


def test_a_hard_link_is_said_for_both_students(tmp_path):
    folder = place(tmp_path, f"ada/{START.name}", f"eve/other/{START.name}")
    os.link(folder / "ada" / START.name, folder / "eve" / START.name)
    os.utime(folder / "eve" / START.name, (2 * 10**9, 2 * 10**9))
    found = found_in(folder)
    assert "hard link" in found[f"ada/{START.name}"].remark and "hard link" in found[f"eve/{START.name}"].remark
    text = report.report([found[f"eve/{START.name}"]], weak=False)
    assert "hard link" in text and "newest of 2" in text and f"ada/{START.name}" in text


def test_of_several_attempts_the_newest_counts_and_the_report_says_which(tmp_path):
    attempts = [f"dora/attempt{i}/{START.name}" for i in (10, 9, 2)]
    found = found_in(place(tmp_path, *attempts))
    assert {s.student for s in found.values()} == {"dora"}
    assert not found[attempts[2]].problem and found[attempts[2]].remark == "the newest of 3 copies"
    assert all(f"{attempts[2]} was graded" in found[attempt].problem for attempt in attempts[:2])
    for attempt in attempts:
        os.utime(tmp_path / attempt, (1, 1))
    assert not found_in(tmp_path)[attempts[0]].problem  # of equally old ones attempt10 is after attempt9


TREES = {  # the paths; the students
    "sections": (["s1/ada/{}", "s1/bob/{}", "s2/cy/{}"], {"s1/ada", "s1/bob", "s2/cy"}),
    "a section beside students": (["s1/ada/{}", "s1/bob/{}", "cy/{}"], {"s1/ada", "s1/bob", "cy"}),
    "a folder for each notebook": (["ada/01_interpolation/{}", "ada/00_start_here/{}"], {"ada"}),
    "drafts": (["ada/draft/{}", "ada/final/{}"], {"ada"}),
    "attempts in a section": (["s1/ada/1/{}", "s1/ada/2/{}", "s1/bob/1/{}"], {"s1/ada", "s1/bob"}),
    "notebooks beside a folder": (["ada/{}", "ada/x/{}", "ada/y/{}"], {"ada"}),
}


@pytest.mark.parametrize("what", TREES)
def test_folders_of_sections_are_no_students(tmp_path, what):
    paths, students = TREES[what]
    folder = place(tmp_path, *(path.format(START.name) for path in paths))
    assert {s.student for s in found_in(folder).values()} == students
    assert {s.student for s in found_in(folder, depth=1).values()} == {student.split("/")[0] for student in students}


@pytest.mark.parametrize(
    ("name", "student"),
    [
        ("ada_00_start_here (1).ipynb", "ada"),
        ("ada_00_start_here-Copy1.ipynb", "ada"),
        ("00_start_here_ada.ipynb", "ada"),
        ("00_start_here.ipynb", "00_start_here"),
        ("Ada Byron - 00_start_here.ipynb", "Ada Byron"),
    ],
)
def test_the_student_in_a_files_name(tmp_path, name, student):
    assert found_in(place(tmp_path, name))[name].student == student


def test_a_notebook_of_too_many_cells_is_refused_at_once(tmp_path):
    (tmp_path / "ada").mkdir()
    cell = '{"cell_type": "code", "source": "1", "metadata": {}, "outputs": [], "execution_count": null}'
    text = f'{{"cells": [{", ".join([cell] * 100_000)}], "metadata": {{}}, "nbformat": 4, "nbformat_minor": 4}}'
    (tmp_path / "ada" / START.name).write_text(text, encoding="utf-8")
    began = time.process_time()
    assert "more than 3000 cells" in found_in(tmp_path)[f"ada/{START.name}"].problem
    assert time.process_time() - began < 5


def of_version_3():
    cell = {"cell_type": "code", "input": "def mix(): pass", "metadata": {}, "outputs": [], "language": "python"}
    return json.dumps({"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": [cell]}]}).encode()


GOOD = nbformat.writes(read(START)).encode()
FILES = {  # the bytes of a notebook; whether they can be read
    "as it is": (GOOD, True),
    "nbformat 3": (of_version_3(), True),
    "byte order mark": (b"\xef\xbb\xbf" + GOOD, False),
    "UTF-16": (GOOD.decode().encode("utf-16"), False),
    "Latin-1": (GOOD.replace(b'"cells"', b'"\xe9": 1, "cells"'), False),
    "NUL": (GOOD + b"\0", False),
    "a half surrogate": (GOOD.replace(b'"cells"', b'"x": "\\ud800", "cells"'), True),
    "nbformat 99": (GOOD.replace(b'"nbformat": 4', b'"nbformat": 99'), False),
    "brackets": (b"[" * 100_000, False),
    "cells that are none": (b'{"cells": 3, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}', False),
    "a text": (b'"cells"', False),
    "nothing": (b"", False),
}


@pytest.mark.parametrize("what", FILES)
def test_a_strange_file_is_read_or_told_and_takes_nobody_elses_mark(tmp_path, what):
    content, readable = FILES[what]
    place(tmp_path, f"ada/{START.name}", f"bob/{START.name}")
    (tmp_path / "bob" / START.name).write_bytes(content)
    found = found_in(tmp_path)
    assert not found[f"ada/{START.name}"].problem
    assert (not found[f"bob/{START.name}"].problem) == readable, found[f"bob/{START.name}"].problem
    assert "�" not in report.table(list(found.values())).encode(errors="strict").decode()


def test_what_is_no_file_is_told_and_ends_nothing(tmp_path):
    folder = place(tmp_path / "subs", f"ada/{START.name}")
    for student in ("fifo", "folder", "zero", "loop", "broken", "out", "archive"):
        (folder / student).mkdir()
    os.mkfifo(folder / "fifo" / START.name)
    (folder / "folder" / START.name).mkdir()
    targets = {"zero": "/dev/zero", "loop": START.name, "broken": "nowhere.ipynb", "out": str(START)}
    for student, target in targets.items():
        (folder / student / START.name).symlink_to(target)
    with zipfile.ZipFile(folder / "archive" / START.name, "w") as archive:
        archive.writestr("x.ipynb", "{}")
    problems = {s.student: s.problem for s in grade.find_submissions(folder)}
    assert problems.pop("ada") == ""
    assert len(problems) == 7 and all("cannot be read as a notebook" in problem for problem in problems.values())


@pytest.mark.parametrize("seconds", ["nan", "inf", "0"])
def test_a_limit_that_is_none_is_refused(tmp_path, capsys, seconds, monkeypatch):
    monkeypatch.setattr(grade.run_python, "unavailable", lambda: "")
    folder = hand_in(tmp_path / "subs", "ada")
    assert grade.main([str(folder), "-o", str(tmp_path / "g.csv"), "--seconds", seconds]) == 2
    assert "seconds" in capsys.readouterr().err


# --- what is written --------------------------------------------------------------------------------------------------

FORMULAS = ["=1+1", "+1", "-1", "@a", "\t=1", "a;=cmd|'calc'!A1", " =1", "a\n=1", "＝1", "\r=1"]


@pytest.mark.parametrize("name", FORMULAS)
def test_a_spreadsheet_gets_no_formula(tmp_path, name):
    submission = grade.Submission(name, tmp_path / "n.ipynb", "00_start_here", results=[])
    cell = next(csv.DictReader(io.StringIO(report.table([submission]), newline="")))["student"]
    assert not any(part.strip()[:1] in tuple("=+-@＝") for part in cell.replace("\n", ";").split(";") if part.strip())


def test_names_in_a_report_are_no_markup(tmp_path):
    from markdown_it import MarkdownIt

    hostile = "<img src=x onerror=alert(1)> [a](javascript:b) `c` **d**"
    problem = "it cannot be read (ValueError: <script>alert(1)</script>)"
    bad = grade.Submission(hostile, tmp_path / "n.ipynb", "00_start_here", problem=problem, file=f"{hostile}`.ipynb")
    odd = grade.Submission(hostile, tmp_path / "n.ipynb", "00_start_here", remark=hostile)
    odd.results = [grade.Result("start_here.mix", "wrong", 1, 4, f"{hostile}\n</code></pre><script>")]
    html = MarkdownIt("commonmark", {"html": True}).render(report.report([bad, odd], weak=False))
    assert not any(mark in html for mark in ("<img", "<script", "<a ", "onerror=alert(1)>", "<strong>d"))


# --- points for a platform --------------------------------------------------------------------------------------------

ROSTERS = {
    "canvas": "\ufeffStudent,ID,SIS Login ID,Section,Old work\nPoints Possible,,,,10\n"
    '"Byron, Ada",7,ada@x.org,A,3\n"=Bob",8,bob,A,\nCy,9,cy,B,\n',
    "moodle": "First name,Surname,Email address,Username\nAda,Byron,ada@x.org,byron_ada\nBob,B,b@x.org,bob\nC,C,,cy\n",
}


@pytest.mark.parametrize("kind", ROSTERS)
def test_a_platform_gets_points_ids_and_reports(tmp_path, monkeypatch, capsys, kind):
    folder = hand_in(tmp_path / "subs", "byron_ada", "bob", "stranger")
    (folder / "cy").mkdir()
    (folder / "cy" / START.name).write_text("{", encoding="utf-8")
    (tmp_path / "roster.csv").write_text(ROSTERS[kind], encoding="utf-8")
    options = ["--format", kind, "--roster", str(tmp_path / "roster.csv"), "--points", "20"]
    run(monkeypatch, folder, tmp_path / "g.csv", *options)
    head, *lines = csv.reader(io.StringIO((tmp_path / f"g-{kind}.csv").read_text(encoding="utf-8")))
    identity = {
        "canvas": ["Student", "ID", "SIS Login ID", "Section"],
        "moodle": ["First name", "Surname", "Username", "Email address"],
    }
    assert head == [*identity[kind], START.stem]
    if kind == "canvas":
        assert lines.pop(0) == ["Points Possible", "", "", "", "20"] and lines[1][0] == "'=Bob"
    assert [line[-1] for line in lines] == ["20", "20", ""]  # what was not graded is left alone
    told = capsys.readouterr()
    assert "stranger is in no row" in told.err and "byron_ada is in" not in told.err
    with zipfile.ZipFile(tmp_path / "g-feedback.zip") as archive:
        assert sorted(archive.namelist()) == ["bob.md", "byron_ada.md", "cy.md", "stranger.md"]


def test_a_roster_of_another_kind_is_refused_before_anything_is_graded(tmp_path, monkeypatch, capsys):
    (tmp_path / "roster.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    options = ["--format", "canvas", "--roster", str(tmp_path / "roster.csv")]
    status, grader = run(monkeypatch, hand_in(tmp_path / "subs", "ada"), tmp_path / "g.csv", *options)
    assert status == 2 and grader.asked == [] and "none of the columns" in capsys.readouterr().err


# --- who wrote alike --------------------------------------------------------------------------------------------------

ANSWER = """def mix(log_p, log_q, lam):
    \"\"\"The mixture.\"\"\"
    rows = torch.stack([log_p, log_q])
    weights = torch.tensor([lam, 1 - lam]).log()
    return (rows + weights[:, None]).logsumexp(0)
"""
RENAMED = """def mix(p: int, q, weight) -> int:
    both = torch.stack([p, q])  # mine
    shares = torch.tensor([weight, 1 - weight]).log()
    return (both + shares[:, None]).logsumexp(0)
"""
OTHER = """def mix(log_p, log_q, lam):
    high = torch.maximum(log_p, log_q)
    total = lam * torch.exp(log_p - high) + (1 - lam) * torch.exp(log_q - high)
    return torch.log(total) + high
"""


def test_renamed_answers_are_alike_and_different_ones_are_not(tmp_path):
    submissions = []
    for student, code in {"ada": ANSWER, "bob": RENAMED, "cy": OTHER, "dora": OTHER.replace("high", "top")}.items():
        submission = grade.Submission(student, tmp_path / f"{student}.ipynb", START.stem)
        submission.results = [grade.Result("start_here.mix", "passed", 1, 1, chains=chains(code))]
        submissions.append(submission)
    mark_similar(submissions)
    assert [s.similar for s in submissions] == ["bob 1.00", "ada 1.00", "dora 1.00", "cy 1.00"]
    assert next(csv.DictReader(io.StringIO(report.table(submissions))))["similar"] == "bob 1.00"


def test_what_the_whole_class_writes_is_no_likeness(tmp_path):
    submissions = [grade.Submission(str(i), tmp_path / "n.ipynb", START.stem) for i in range(6)]
    for submission in submissions:
        submission.results = [grade.Result("start_here.mix", "passed", 1, 1, chains=chains(ANSWER))]
    mark_similar(submissions)
    assert {s.similar for s in submissions} == {""}


@pytest.mark.parametrize("source", ["def f(:", "(" * 5000, "x\0", "-" * 100_000 + "1", ""])
def test_what_cannot_be_parsed_is_like_nothing(source):
    assert chains(source) == []
