"""What the course does on a system without POSIX: tried in a process from which that was taken away
(`other_system.py`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from course_utils.exercises.engine import all_exercises

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found():
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "other_system.py")],
        capture_output=True,
        encoding="utf-8",
        cwd=ROOT,
        timeout=300,
        env=os.environ | {"MANY_MODELS_PROGRESS": "off", "MPLBACKEND": "agg", "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_every_module_can_be_imported(found):
    assert found["failed"] == {}
    assert len(found["modules"]) > 100
    assert {"course_utils.classroom.grading.worker", "course_utils.sandbox.jail"} <= set(found["modules"])


def test_every_reference_passes(found):
    assert found["references"].keys() == all_exercises().keys() and len(found["references"]) >= 64
    kernels = {"sparsity_and_kernels.masked_kernel", "sparsity_and_kernels.split_kernel"}
    failed = {name for name, text in found["references"].items() if not text.endswith(" passed") or "not right" in text}
    assert failed == kernels  # there is no Triton, and check says so
    assert all(
        "This exercise needs Triton, which is not installed here." in found["references"][name] for name in kernels
    )


def test_a_loop_without_end_is_stopped(found):
    assert "stopped after 0.3 seconds" in found["endless"]
    assert "stopped after 0.3 seconds" in found["stubborn"]  # it swallows every exception
    assert found["seconds"] < 20


def test_a_wrong_answer_is_told_to_be_wrong_and_a_right_one_right(found):
    assert "You squared it." in found["right False"]
    assert found["right True"] == "toy.t: 1 of 1 passed"


def test_the_users_interrupt_is_told_from_the_answers_own(found):
    assert "tried to stop the program (KeyboardInterrupt)" in found["stops"]
    assert found["interrupted"] == "KeyboardInterrupt"
    assert found["handlers"], "the handlers of SIGINT and SIGTERM were not put back"


def test_what_needs_linux_says_so_in_one_line(found):
    said = "the sandbox needs Linux, so the code was not run"
    assert found["run_python"] == ["unavailable", "", "", said] and found["unavailable"] == said
    assert found["grade"] == [2, "grading needs Linux (on Windows: in WSL), so nothing was graded\n"]


def saved(notebook: str, beginning: str) -> str:
    """The printed output of a cell, as the notebook was saved on Linux."""
    nb = json.loads((ROOT / "notebooks" / notebook).read_text(encoding="utf-8"))
    cell = next(cell for cell in nb["cells"] if "".join(cell["source"]).startswith(beginning))
    return "".join("".join(output["text"]) for output in cell["outputs"])


def test_notebooks_go_on_with_what_was_recorded(found):
    """It is said, and it is what the notebook shows where it runs."""
    outcomes, programs, repair = (
        saved("11_self_refine.ipynb", b) for b in ("outcomes = ", "programs = ", "row = programs")
    )
    said = "the sandbox needs Linux, so the code was not run. Recorded on Linux:\n"
    repair = repair.replace("here: True", "here: no sandbox, all this is recorded")
    assert found["11"] == said + outcomes + programs + repair + "contained: True\n"
    first, processes = found["07"].split("\n", 1)
    assert first.endswith("Recorded on Linux:") and processes == saved("07_mixture_of_experts.ipynb", "with tempfile")


def test_models_are_merged_and_triton_is_not_missed(found):
    assert found["04"].endswith(saved("04_task_vectors_and_merging.ipynb", "from safetensors.torch import load_file"))
    assert found["alive"] == [True, False] and found["backend"] == "torch"
