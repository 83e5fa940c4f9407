"""Progress from one session to the next, and none of it where nobody works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
from editions import NOTEBOOKS, ROOT, read, run_cells, tasks

from course_utils.classroom import progress
from course_utils.exercises import interpolation, start_here  # noqa: F401 (registered before a test swaps the registry)
from course_utils.exercises.engine import checker as engine

FIRST = "start_here.average"


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """As in a student's session: no pytest, a file of its own, nothing checked yet."""
    monkeypatch.delenv("PYTEST_VERSION", raising=False)
    monkeypatch.setenv("MANY_MODELS_PROGRESS", str(tmp_path / "deep" / "progress.json"))
    monkeypatch.setattr(engine, "_SESSION", engine._Session())
    return tmp_path / "deep" / "progress.json"


def new_session(monkeypatch):
    monkeypatch.setattr(engine, "_SESSION", engine._Session())


def right(name=FIRST):
    return engine.run_check(name, engine.find(name).reference)


def exercises_in(path):
    return json.loads(path.read_text(encoding="utf-8"))["exercises"]


def test_what_was_passed_is_seen_in_the_next_session_and_in_other_notebooks(kept, monkeypatch):
    right()
    new_session(monkeypatch)
    right("interpolation.linear")
    text = engine._progress().text
    total = sum(len(tasks(read(path))) for path in NOTEBOOKS)
    assert f"2 of {total} exercises passed" in text
    assert "00_start_here" in text and "1 of 5 passed" in text and "1 of 7 passed" in text
    assert FIRST not in text  # in detail only the topics of this session
    assert exercises_in(kept) == {FIRST: "passed", "interpolation.linear": "passed"}


def test_what_was_passed_once_stays_passed(kept, monkeypatch):
    right()
    new_session(monkeypatch)
    engine.run_check(FIRST, lambda log_p, log_q: log_p)
    assert exercises_in(kept)[FIRST] == "passed"
    assert [FIRST, "passed"] in map(str.split, engine._progress().text.splitlines())


DAMAGE = [
    "",
    "{",
    "[]",
    '{"exercises": 3, "latest": ""}',
    '{"exercises": {"a": 1}, "latest": ""}',
    "\0\xff",
    "[" * 99_999,
]


@pytest.mark.parametrize("text", DAMAGE, ids=range(len(DAMAGE)))
def test_a_damaged_file_is_begun_anew_and_said_in_one_line(kept, text):
    kept.parent.mkdir()
    kept.write_text(text, encoding="utf-8")
    assert engine._progress().lines == [progress.DAMAGED.format("progress.json")]
    report = right()
    assert report.status == "passed" and report.lines == [progress.DAMAGED.format("progress.json")]
    assert right().lines == []
    assert kept.with_name("progress.json.damaged").read_text(encoding="utf-8") == text
    assert json.loads(kept.read_text(encoding="utf-8")) == {"latest": "start_here", "exercises": {FIRST: "passed"}}


def test_a_place_that_cannot_be_written_costs_one_line_and_no_check(kept, monkeypatch):
    kept.parent.write_text("a file where the folder should be", encoding="utf-8")
    report = right()
    assert report.status == "passed" and len(report.lines) == 1
    assert "could not be kept in progress.json" in report.lines[0]


def test_sessions_side_by_side_lose_nothing_and_leave_no_partial_file(kept):
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda i: [progress.record(f"t{i}.e{j}", "passed") for j in range(20)], range(5)))
    assert len(exercises_in(kept)) == 100 and not list(kept.parent.glob("*.partial"))


@pytest.mark.parametrize(
    ("variables", "where"),
    [
        ({}, None),  # nbval, nbclient, nbconvert, a script
        ({"JPY_SESSION_NAME": "/x/00.ipynb"}, ROOT / ".many_models_progress.json"),
        ({"JPY_SESSION_NAME": "/x/00.ipynb", "CI": "true"}, None),
        ({"JPY_SESSION_NAME": "/x/00.ipynb", "PYTEST_VERSION": "9"}, None),
        ({"JPY_SESSION_NAME": "/x/00.ipynb", "MANY_MODELS_PROGRESS": "off"}, None),
        ({"MANY_MODELS_PROGRESS": "/x/p.json", "PYTEST_VERSION": "9"}, None),
        ({"MANY_MODELS_PROGRESS": "/x/p.json"}, Path("/x/p.json")),
    ],
)
def test_it_is_kept_only_where_somebody_works(monkeypatch, variables, where):
    for name in ("JPY_SESSION_NAME", "CI", "PYTEST_VERSION", "MANY_MODELS_PROGRESS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert progress.place() == where


@pytest.mark.slow
def test_a_notebook_under_nbval_shows_the_same_twice_whatever_the_file_says(tmp_path, monkeypatch):
    file = tmp_path / "progress.json"
    file.write_text(json.dumps({"latest": "interpolation", "exercises": {FIRST: "passed"}}), encoding="utf-8")
    before = file.read_bytes()
    monkeypatch.setenv("MANY_MODELS_PROGRESS", str(file))  # a developer's setting, in the environment of `make test`
    nb = nbformat.v4.new_notebook()
    source = f"from course_utils.exercises import check, progress\ncheck('{FIRST}', ...)\nprogress()"
    saved = ["\n".join(run_cells(nb, [source], tmp_path)) for _ in range(2)]
    assert saved[0] == saved[1] and "0 of 5 exercises passed" in saved[0] and FIRST in saved[0]
    assert file.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["progress.json"]


def test_the_notebook_to_open_is_the_one_worked_on_last(kept):
    def name():
        return progress.latest_notebook(kept).name

    assert name() == "00_start_here.ipynb"
    right("interpolation.linear")
    assert name() == "01_interpolation.ipynb"
    right()
    assert name() == "00_start_here.ipynb"
    kept.write_text('{"latest": "a_notebook_that_is_gone", "exercises": {}}', encoding="utf-8")
    assert name() == "00_start_here.ipynb"


@pytest.mark.parametrize(
    ("setting", "opened"), [("file", "notebooks/01_interpolation.ipynb"), ("off", "notebooks/00_start_here.ipynb")]
)
def test_make_lab_asks_for_it_without_loading_torch(tmp_path, setting, opened):
    file = tmp_path / "progress.json"
    file.write_text(json.dumps({"latest": "interpolation", "exercises": {}}), encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key != "PYTEST_VERSION"}
    environment["MANY_MODELS_PROGRESS"] = str(file) if setting == "file" else "off"
    command = [sys.executable, "-X", "importtime", "-m", "course_utils.classroom.progress"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout == opened + "\n" and "torch" not in done.stderr


def test_every_notebooks_exercises_are_found_without_importing_them():
    assert progress.course_exercises() == {path.stem: [task.name for task in tasks(read(path))] for path in NOTEBOOKS}
