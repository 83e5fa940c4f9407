"""What the two commands rely on: one dependency list, an environment and a lock that follow it, no stray files."""

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
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CARD = {"jupyterlab", "torch", "transformers", "matplotlib", "ipywidgets", "datasets", "nbval"}


def pinned() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return dict(line.split(";")[0].split("==") for line in lines)  # after ";": on which systems


def test_the_lock_pins_the_dependency_list():
    lock = {name.lower().replace("_", "-"): version for name, version in pinned().items()}
    for line in PROJECT["dependencies"]:
        requirement = Requirement(line)
        assert lock[requirement.name.lower()] in requirement.specifier, line
    assert CARD <= {Requirement(line).name for line in PROJECT["dependencies"]}


def test_conda_environment_installs_this_project_and_nothing_else():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, inner = environment["dependencies"]
    assert pip == "pip" and inner == {"pip": ["-e ."]}
    assert python == "python=" + re.match(r">=([\d.]+)", PROJECT["requires-python"]).group(1)


@pytest.mark.parametrize("kind", ["editable", "wheel"])
def test_an_installation_settles_the_question_about_news(tmp_path, kind):
    """However JupyterLab is started later: its defaults lie where it looks for them, under a name of ours alone."""
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "course_utils/__init__.py", "course_utils/static/settings"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    build = f"import setuptools.build_meta as b; print(b.build_{kind}('out'))"
    said = subprocess.run([sys.executable, "-c", build], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    with zipfile.ZipFile(tmp_path / "out" / said.split()[-1]) as made:
        [place] = [name for name in made.namelist() if "/data/share/" in name]
        assert place.endswith(".data/data/share/jupyter/lab/settings/overrides.d/many_models.json")
        assert json.loads(made.read(place))["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"


def test_repo2docker_would_build_from_the_conda_environment():
    """Its own rules (repo2docker 2026.4: app.py, buildpacks/conda, utils.is_local_pip_requirement), restated: it takes the first build
    pack that finds its file, looks into binder/ or .binder/ alone if there is one, reads the Python version with this pattern, and
    copies the repository before it installs only if a pip line names a local path."""
    before_conda = ["Dockerfile", "Project.toml", "JuliaProject.toml", "REQUIRE", "default.nix", "runtime.txt", "install.R", "DESCRIPTION"]
    assert [name for name in ["binder", ".binder", *before_conda] if (ROOT / name).exists()] == []
    python, _, inner = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert re.match(r"python\s*=+\s*([\d\.]*)", python).group(1) == "3.11"
    assert [line.split(None, 1)[1].startswith(".") for line in inner["pip"]] == [True]


def test_data_stays_small_and_every_model_has_its_report():
    files = [path for path in (ROOT / "data").rglob("*") if path.is_file() and ".training" not in path.parts]
    assert sum(path.stat().st_size for path in files) < 90e6
    for folder in (ROOT / "data" / "models").iterdir():
        assert folder.name.endswith("tokenizer") or (folder / "training.json").exists(), folder.name


def test_the_datasheet_has_the_checksum_of_every_data_file():
    import hashlib

    sheet = (ROOT / "data" / "README.md").read_text()
    paths = [*(ROOT / "data").glob("*.parquet"), *(ROOT / "data" / "models").glob("*/*.safetensors")]
    assert paths
    for path in paths:
        assert hashlib.sha256(path.read_bytes()).hexdigest() in sheet, f"data/README.md lacks the SHA-256 of {path}"


def test_nothing_that_is_made_is_committed():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    assert not [path for path in tracked if re.search(r"(^|/)(\.venv|__pycache__|\.ipynb_checkpoints|\.training)(/|$)|\.pt$", path)]
