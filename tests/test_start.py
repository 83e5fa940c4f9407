"""start.py: which Python, which torch, and one line for everything that can be wrong before the course is there."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from course_utils.classroom.handout import INSTRUCTORS

ROOT = Path(__file__).parents[1]
START = ROOT / "start.py"
if not START.exists():
    pytest.skip("no start.py here", allow_module_level=True)
sys.path.insert(0, str(ROOT))
import start  # noqa: E402


def called(*arguments: str, folder: Path = ROOT, **variables: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(folder / "start.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env={**os.environ, **variables})


def test_an_old_python_can_read_it_and_needs_only_the_standard_library():
    tree = ast.parse(START.read_text(encoding="utf-8"), feature_version=(3, 8))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


def fake_python(folder: Path, name: str, version: str) -> Path:
    """A program that answers as an interpreter of that version would when it is asked for it."""
    path = folder / name
    path.write_text(f"#!/bin/sh\necho {version}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
class TestWhichPython:
    def test_the_one_that_was_asked_for(self, tmp_path):
        path = fake_python(tmp_path, "any", "3 12")
        assert start.find_python(str(path)) == str(path)

    @pytest.mark.parametrize(("version", "said"), [("3 10", "is Python 3.10"), ("", "cannot be run")])
    def test_one_that_will_not_do(self, tmp_path, version, said):
        path = fake_python(tmp_path, "any", version)
        with pytest.raises(start.Stop, match=f"{said}: name Python 3.11, 3.12, 3.13 with --python"):
            start.find_python(str(path))

    def test_one_that_is_not_there(self):
        done = called("setup", "--python", "/no/such/python")
        said = "many-models: /no/such/python cannot be run: name Python 3.11, 3.12, 3.13 with --python or PYTHON=\n"
        assert (done.returncode, done.stdout, done.stderr) == (1, "", said)

    def test_an_old_one_looks_for_a_newer_one(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sys, "version_info", (3, 9, 1))
        monkeypatch.setenv("PATH", str(tmp_path))
        said = r"^this is Python 3\.9, and the course needs one of 3\.11, 3\.12, 3\.13: install it"
        with pytest.raises(start.Stop, match=said):
            start.find_python(None)
        newer = fake_python(tmp_path, "python3.12", "3 12")
        assert start.find_python(None) == str(newer)


def test_a_mac_with_an_intel_processor_gets_one_line(monkeypatch):
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(start.Stop, match="no build .* for Macs with an Intel processor"):
        start.setup("course")


def test_too_little_disk_gets_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(start, "VENV", tmp_path)
    monkeypatch.setattr(start, "make_venv", lambda asked: sys.executable)
    monkeypatch.setattr("shutil.disk_usage", lambda place: shutil._ntuple_diskusage(9e9, 8e9, 1e9))
    with pytest.raises(start.Stop, match="^1.0 GB are free here and 3 are needed: make room"):
        start.setup("course")


CPU, INDEX = f"torch=={start.TORCH}+cpu", f"--index-url={start.CPU_BUILDS}"


@pytest.mark.parametrize(
    ("platform", "nvidia", "fails", "said"),
    [
        ("linux", False, 0, "from the places that pip knows"),
        ("linux", False, 1, "from PyTorch's index"),
        ("linux", False, 2, "no build for CPUs can be had"),
        ("linux", True, 0, "the ordinary build"),
        ("darwin", False, 0, "the ordinary build"),
        ("win32", False, 0, "the ordinary build"),
    ],
)
def test_torch_is_the_build_for_cpus_where_there_is_no_nvidia_gpu(monkeypatch, capsys, platform, nvidia, fails, said):
    """Which pip commands are given, and in which order; pip itself is really asked by every set-up."""
    asked = []

    def pip(python, *arguments, quiet=True):
        asked.append(arguments)
        return 1 if len(asked) <= fails else 0

    monkeypatch.setattr(start, "pip", pip)
    monkeypatch.setattr(start, "has_nvidia", lambda: nvidia)
    monkeypatch.setattr(sys, "platform", platform)
    start.install_torch("python-without-torch" if os.name == "nt" else "/bin/echo")
    assert said in capsys.readouterr().out
    light = platform == "linux" and not nvidia
    assert [CPU in arguments for arguments in asked] == ([True, True, False][: fails + 1] if light else [False])
    assert [INDEX in arguments for arguments in asked] == ([False, True, False][: fails + 1] if light else [False])
    assert all("--retries=0" in arguments for arguments in asked if CPU in arguments)  # quick where there is no network


def test_torch_that_cannot_be_had_gets_one_line(monkeypatch):
    monkeypatch.setattr(start, "pip", lambda *arguments, **options: 1)
    with pytest.raises(start.Stop, match=f"torch {start.TORCH} cannot be installed"):
        start.install_torch("/bin/echo")


def test_an_unknown_command_gets_the_list_and_none_gets_the_help():
    unknown, none = called("nonsense"), called()
    assert unknown.returncode == 2 and "test-machines" in unknown.stderr and "Traceback" not in unknown.stderr
    assert none.returncode == 0 and all(f"start.py {command}" in none.stdout for command in ("lab", "setup", "doctor"))


def test_a_student_edition_has_no_tests(tmp_path):
    for name in ("start.py", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path / name)
    done = called("test", folder=tmp_path)
    said = "many-models: the student edition has no tests: clone the repository to run them\n"
    assert (done.returncode, done.stderr) == (1, said)


@pytest.mark.parametrize("command", start.FOR_CLASSES)
def test_a_student_edition_has_no_command_for_classes(tmp_path, command):
    for name in ("start.py", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path / name)
    done = called(command, folder=tmp_path)
    said = f"many-models: the student edition has no command {command}: it is the instructor's\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)  # and nothing was installed first
    assert start.FOR_CLASSES[command].startswith(INSTRUCTORS) and (ROOT / start.FOR_CLASSES[command]).exists()


def test_doctor_tells_the_system_and_no_name_of_the_user():
    done = called("doctor", MANY_MODELS_THREADS="2", MANY_MODELS_KEY="secret")
    assert done.returncode == 0, done.stderr
    facts = {line.split(" ")[0]: line for line in done.stdout.splitlines()}
    assert {"course", "system", "processor", "free", "python"} <= facts.keys()
    assert "secret" not in done.stdout and str(Path.home()) not in done.stdout.split("smollm2")[0]
    if Path(start.in_venv()).exists():
        assert "torch " in facts["packages"] and "MANY_MODELS_THREADS" in facts["settings"]
        assert facts["device"].split() == ["device", "cpu"]


def test_the_makefile_gives_every_command():
    targets = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(f" {command}" in targets or f"\n{command}" in targets for command in start.COMMANDS if command != "save")
