"""What the two commands rely on: one dependency list, an environment and a lock that follow it, no stray files."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CARD = {"jupyterlab", "torch", "transformers", "matplotlib", "ipywidgets", "datasets", "nbval"}


COURSE, SITE, TEST = "requirements.lock", "requirements-site.lock", "requirements-test.lock"


def locked(name: str) -> dict[str, list[str]]:
    """Package -> its line and its hashes. A package may be there twice, for different Pythons."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        if line[:1].isalnum():
            package = re.split(r"[= ]", line)[0]
            found.setdefault(package, []).append(line.rstrip(" \\"))
        else:
            found[package].append(line.strip(" \\"))
    return found


def pins(name: str) -> set[str]:
    return {line for lines in locked(name).values() for line in lines if "==" in line and not line.startswith("--hash")}


def wanted(*extras: str) -> list[Requirement]:
    """The project's own requirements, with those of its extras."""
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    return [requirement for requirement in map(Requirement, lines) if requirement.name not in ("torch", "many-models")]


@pytest.mark.parametrize(
    ("lock", "extras"), [(COURSE, ()), (SITE, ("site",)), (TEST, ("triton", "authoring", "site", "test"))]
)
def test_the_lock_pins_the_dependency_list(lock, extras):
    found = locked(lock)
    for requirement in wanted(*extras):
        versions = [line.split(" ")[0].split("==")[1] for line in found[requirement.name.lower()] if "==" in line]
        assert any(version in requirement.specifier for version in versions), requirement


def test_the_locks_hold_for_every_system_and_leave_the_build_of_torch_open():
    for name in (COURSE, SITE, TEST):
        found = locked(name)
        assert all(any(line.startswith("--hash=sha256:") for line in lines) for lines in found.values()), name
        assert not [package for package in found if re.match("torch|nvidia-|cuda-", package)]
        assert "sys_platform == 'darwin'" in found["appnope"][0] and "os_name == 'nt'" in found["pywinpty"][0]
    assert pins(COURSE) <= pins(SITE) <= pins(TEST)
    assert not {"triton", "pytest", "playwright", "mergekit", "ruff", "vl-convert-python"} & locked(SITE).keys()
    assert "sphinx" not in locked(COURSE)


def test_the_packages_that_the_course_is_made_of():
    lines = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]
    assert CARD <= {Requirement(line).name for line in lines}
    assert PROJECT["requires-python"] == ">=3.11"


def test_conda_environment_installs_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python, pip, inner = environment["dependencies"]
    torch = next(line for line in PROJECT["dependencies"] if line.startswith("torch=="))
    assert (python, pip) == ("python=3.11", "pip")
    assert inner["pip"][0].startswith("--extra-index-url=") and inner["pip"][-1] == "-e ."
    assert set(inner["pip"][1:-1]) == {torch, *pins(TEST)}


@pytest.mark.parametrize("kind", ["editable", "wheel"])
def test_an_installation_settles_the_question_about_news(tmp_path, kind):
    """However JupyterLab is started later: its defaults lie where it looks for them, under a name of ours alone."""
    files = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "course_utils/__init__.py")
    for name in (*files, "course_utils/static/settings"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    build = f"import setuptools.build_meta as b; print(b.build_{kind}('out'))"
    command = [sys.executable, "-c", build]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    with zipfile.ZipFile(tmp_path / "out" / said.split()[-1]) as made:
        [place] = [name for name in made.namelist() if "/data/share/" in name]
        assert place.endswith(".data/data/share/jupyter/lab/settings/overrides.d/many_models.json")
        assert json.loads(made.read(place))["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"


def test_repo2docker_would_build_from_the_conda_environment():
    """Its own rules (repo2docker 2026.4: app.py, buildpacks/conda, utils.is_local_pip_requirement), restated: it takes
    the first build pack that finds its file, looks into binder/ or .binder/ alone if there is one, reads the Python
    version with this pattern, and copies the repository before it installs only if a pip line names a local path."""
    before_conda = (
        "Dockerfile Project.toml JuliaProject.toml REQUIRE default.nix runtime.txt install.R DESCRIPTION".split()
    )
    assert [name for name in ["binder", ".binder", *before_conda] if (ROOT / name).exists()] == []
    python, _, inner = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    assert re.match(r"python\s*=+\s*([\d\.]*)", python).group(1) == "3.11"
    # It splits a line that begins with "--" at "=", and would fail where there is none.
    local = [line for line in inner["pip"] if not line.startswith("--") and line.split(None, 1)[-1].startswith(".")]
    assert local == ["-e ."] and all("=" in line for line in inner["pip"] if line.startswith("--"))


def test_data_stays_small_and_every_model_has_its_report():
    files = [path for path in (ROOT / "data").rglob("*") if path.is_file() and ".training" not in path.parts]
    assert sum(path.stat().st_size for path in files) < 100e6
    for folder in (ROOT / "data" / "models").iterdir():
        assert folder.name.endswith("tokenizer") or (folder / "training.json").exists(), folder.name


def test_the_datasheet_has_the_checksum_of_every_data_file():
    sheet = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    paths = [*(ROOT / "data").glob("*.parquet"), *(ROOT / "data" / "models").glob("*/*.safetensors")]
    assert paths
    for path in paths:
        assert hashlib.sha256(path.read_bytes()).hexdigest() in sheet, f"data/README.md lacks the SHA-256 of {path}"


def test_nothing_that_is_made_is_committed():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    made = re.compile(r"(^|/)(\.venv|__pycache__|\.ipynb_checkpoints|\.training)(/|$)|\.pt$")
    assert not [path for path in listed.splitlines() if made.search(path)]
