"""The walk-through of CONTRIBUTING.md does what it says: its files are written from its text and tried."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator

import nbformat
import pytest
from editions import ROOT, code_cells, tasks
from notebook_rules import style_problems

import course_utils.exercises
from course_utils.exercises.engine import OPEN, PASSED, WRONG, checker, registry, run_check
from course_utils.exercises.engine.quizzes import QUIZZES, quiz_bundle

BLOCK = re.compile(r"^`([\w/.]+\.(?:py|md))`:\n\n```(?:python|markdown)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Iterator:
    """A folder with the files of the walk-through; course_utils finds its part of them as if it were its own."""
    folder, before = tmp_path_factory.mktemp("walk"), dict(registry._EXERCISES)
    for path, text in BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    (folder / "notebooks").mkdir()
    places = [(course_utils, "course_utils"), (course_utils.exercises, "course_utils/exercises")]
    for package, path in places:
        package.__path__.append(str(folder / path))
    registry.load_topic("bagging")
    yield folder
    for package, path in places:
        package.__path__.remove(str(folder / path))
    registry._EXERCISES.clear()
    registry._EXERCISES.update(before)
    QUIZZES.pop("bagging.vote")
    for name in [name for name in sys.modules if name.startswith("course_utils") and "bagging" in name]:
        del sys.modules[name]


def test_four_exercises_with_mistakes_that_are_named(tree):
    names = [name for name in registry.registered() if name.startswith("bagging.")]
    assert len(names) == 4
    for name in names:
        exercise = registry.find(name)
        assert run_check(name, exercise.reference).status == PASSED and len(exercise.hints) == 3
        for known in exercise.known:
            for wrong in known.wrong:
                checker._SESSION.failures.clear()
                first, second = (run_check(name, wrong) for _ in range(2))
                assert first.status == WRONG and known.says in first.text and known.pointer in second.text, first.text


def test_its_wrong_answers_and_its_quiz(tree):
    import wrong_answers  # noqa: F401 (the file imports from this package)

    file = tree / "tests/exercises/wrong_answers/bagging.py"
    spec = importlib.util.spec_from_file_location("wrong_answers.bagging", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for wrong in module.WRONG:
        space: dict = {}
        exec(wrong.code, space)
        assert wrong.says in run_check(wrong.exercise, space["my_majority"]).text
    assert "in .648 of the cases" in quiz_bundle("bagging.vote")["text/plain"]


def test_the_skeleton_is_a_notebook_that_runs(tree, capsys):
    subprocess.run([sys.executable, "skeleton.py"], cwd=tree, check=True)
    nb = nbformat.read(tree / "notebooks/14_bagging.ipynb", as_version=4)
    assert style_problems(nb) == []
    order = importlib.import_module("course_utils.exercises.bagging").ORDER
    assert tuple(task.name.split(".")[1] for task in tasks(nb)) == order
    space: dict = {}
    for cell in code_cells(nb):
        exec(cell.source, space)
    assert capsys.readouterr().out.count(OPEN) == 4
