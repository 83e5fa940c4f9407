"""The student edition: what is in it, that it is the same twice, and that it works."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile

import nbformat
import pytest
from editions import NOTEBOOKS, ROOT, read, tasks

from course_utils.classroom import handout
from course_utils.exercises import start_here  # noqa: F401 (registered before a test of the engine swaps the registry)
from course_utils.exercises.engine import checker as engine

STUDENTS = """README.md LICENSE Makefile environment.yml pyproject.toml requirements.lock start.py data/README.md
    data/verses.parquet course_utils/moe/gating.py course_utils/exercises/engine/checker.py""".split()
NOTEBOOK = "notebooks/01_x.ipynb"  # of the small repository
MODULES = ["course_utils/exercises/engine/checker.py", "course_utils/explore/grid.py"]


def git(folder, *words):
    subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path):
    """A small repository: a notebook with outputs, a script, a test, an untracked file."""
    root = tmp_path / "repository"
    output = nbformat.v4.new_output("stream", text="SECRET")
    marks = {"tags": ["exercise"], "execution": {"a": "b"}}
    cell = nbformat.v4.new_code_cell("1", outputs=[output], execution_count=3, metadata=marks)
    text, widgets = nbformat.v4.new_markdown_cell("Text é"), {"widgets": {"state": "SECRET"}}
    nb = nbformat.v4.new_notebook(cells=[cell, text], metadata=widgets)
    empty = ("tests/test_x.py", "course_utils/classroom/grade.py", "conftest.py", *MODULES)
    files = dict.fromkeys(empty, "") | {"README.md": "hello", "run": "#!/bin/sh", NOTEBOOK: nbformat.writes(nb)}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    git(root.parent, "init", "-q", str(root))
    git(root, "add", ".")
    git(root, "update-index", "--chmod=+x", "run")
    (root / "untracked.txt").write_text("mine", encoding="utf-8")
    return root


def contents(archive):
    with tarfile.open(archive) as opened:
        return {entry.name: (entry, opened.extractfile(entry).read()) for entry in opened}


def test_outputs_tests_and_untracked_files_stay_behind(repository, tmp_path):
    out = tmp_path / "new" / "h.tar.gz"
    names = handout.handout(out, repository)
    found = contents(out)
    assert list(found) == [f"many-models/{name}" for name in names]
    assert names == ["README.md", *MODULES, NOTEBOOK, "run"]
    assert "SECRET" not in gzip.decompress(out.read_bytes()).decode("utf-8", "replace")
    nb = nbformat.reads(found["many-models/notebooks/01_x.ipynb"][1].decode(), as_version=4)
    nbformat.validate(nb)
    before = nbformat.read(repository / "notebooks" / "01_x.ipynb", as_version=4)
    assert [(c.id, c.source) for c in nb.cells] == [(c.id, c.source) for c in before.cells]
    assert nb.cells[0].metadata == {"tags": ["exercise"]} and nb.cells[0].execution_count is None
    assert [entry.mode for entry, _ in found.values()] == [0o644] * 4 + [0o755]


def test_a_tracked_link_is_refused(repository, tmp_path):
    (tmp_path / "secret.txt").write_text("SECRET", encoding="utf-8")
    (repository / "link.txt").symlink_to(tmp_path / "secret.txt")
    git(repository, "add", "link.txt")
    with pytest.raises(ValueError, match=r"^link.txt is a link"):
        handout.handout(tmp_path / "h.tar.gz", repository)
    assert not (tmp_path / "h.tar.gz").exists()


def test_what_other_tools_noted_and_unseen_attachments_stay_behind():
    picture = {"image/png": "aGVsbG8="}
    text = nbformat.v4.new_markdown_cell("![seen](attachment:seen.png)", metadata={"tags": ["x"], "editor": "SECRET"})
    text.attachments = {"seen.png": picture, "SECRET.png": picture}
    kernel = {"name": "python3", "display_name": "Python 3"}
    nb = nbformat.v4.new_notebook(cells=[text], metadata={"kernelspec": kernel, "papermill": {"path": "SECRET"}})
    clean = handout.stripped(nbformat.writes(nb))
    assert "SECRET" not in clean
    found = nbformat.reads(clean, as_version=4)
    assert found.metadata == {"kernelspec": kernel} and found.cells[0].metadata == {"tags": ["x"]}
    assert found.cells[0].attachments == {"seen.png": picture}


def test_two_runs_give_the_same_bytes_and_leave_no_partial_file(repository, tmp_path):
    for name in ("a", "b"):
        handout.handout(tmp_path / f"{name}.tar.gz", repository)
        for path in repository.rglob("*.py"):
            os.utime(path, (1, 1))  # another checkout has other times
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()
    assert not list(tmp_path.glob(".*partial"))


def test_solutions_can_be_switched_off(repository, tmp_path, monkeypatch):
    handout.handout(tmp_path / "h.tar.gz", repository, solutions=False)
    marker = contents(tmp_path / "h.tar.gz")[f"many-models/{handout.SWITCHED_OFF}"]
    assert ROOT / handout.SWITCHED_OFF == engine.SWITCHED_OFF and not engine.SWITCHED_OFF.exists()
    said = []
    monkeypatch.setattr(engine.Message, "show", lambda self: said.append(self.text))
    engine.solution("start_here.mix")
    (tmp_path / "solutions.off").write_bytes(marker[1])
    monkeypatch.setattr(engine, "SWITCHED_OFF", tmp_path / "solutions.off")
    engine.solution("start_here.mix")
    assert "return" in said[0] and "return" not in said[1]
    assert "switched solutions off" in said[1] and 'hint("start_here.mix")' in said[1]


def test_bad_input_gives_one_clear_line(repository, tmp_path):
    with pytest.raises(ValueError, match="not a git checkout"):
        handout.student_files(tmp_path)
    (repository / "README.md").unlink()
    with pytest.raises(ValueError, match=r"README.md is tracked but not there"):
        handout.handout(tmp_path / "h.tar.gz", repository)
    (repository / "README.md").write_text("", encoding="utf-8")
    (repository / "notebooks" / "01_x.ipynb").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"^notebooks/01_x.ipynb cannot be read"):
        handout.handout(tmp_path / "h.tar.gz", repository)
    assert not (tmp_path / "h.tar.gz").exists() and not list(tmp_path.glob(".*partial"))


def test_the_courses_hand_out_works(tmp_path, monkeypatch):
    """All but the data, for the time's sake: the names of the data are checked, not their bytes."""
    names = handout.student_files()
    assert set(STUDENTS) <= set(names)
    others = ("tests/", ".ci", ".github", "requirements-test", "course_utils/classroom/grad")
    assert not [name for name in names if name.startswith(others)]
    small = [name for name in names if not name.startswith("data/")]
    monkeypatch.setattr(handout, "student_files", lambda root: small)
    handout.handout(tmp_path / "h.tar.gz")
    with tarfile.open(fileobj=io.BytesIO((tmp_path / "h.tar.gz").read_bytes())) as archive:
        archive.extractall(tmp_path, filter="data")
    top = tmp_path / "many-models"
    for path in NOTEBOOKS:
        if f"notebooks/{path.name}" in names:
            assert tasks(nbformat.read(top / "notebooks" / path.name, as_version=4)) == tasks(read(path))
            cells = json.loads((top / "notebooks" / path.name).read_text(encoding="utf-8"))["cells"]
            assert not any(cell.get("outputs") for cell in cells)
    code = """import pathlib, sys
from course_utils.exercises.engine import run_check
print(run_check("start_here.mix", lambda log_p, log_q, lam: log_p).status)
ours = [module.__file__ for name, module in sys.modules.items() if name.startswith("course_utils")]
assert not [path for path in ours if not pathlib.Path(path).is_relative_to(pathlib.Path.cwd())], "a module is not tracked: git add it"
"""  # noqa: E501
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=top, env=os.environ | {"PYTHONPATH": str(top)}, capture_output=True, text=True
    )
    assert done.stdout == "not right yet\n" and done.returncode == 0, done.stderr
