"""Resolve the dependency list anew, with uv, for Linux, macOS and Windows and Python 3.11 to 3.13 (make lock).

    requirements.lock        what `start.py lab` installs, with hashes
    requirements-test.lock   the same and what `start.py test` needs, with hashes
    requirements-site.lock   the first and what `start.py site` needs, with hashes
    environment.yml          the pins of the second, for conda (whose pip section cannot have hashes: `-e .` has none)

torch and the CUDA libraries are not in the locks: which build is right depends on the machine, and start.py chooses.
Versions that are locked already are kept while they fit; `make lock UPGRADE=--upgrade` takes the newest.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHOSEN_BY_MACHINE = re.compile(r"(torch|nvidia-|cuda-)")
ENVIRONMENT = """\
# The conda way to the whole set, tests included; made from requirements-test.lock by `make lock`. It also makes the
# repository open on Binder and JupyterHub through repo2docker.
name: many-models
channels:
  - conda-forge
dependencies:
  - python=3.11
  - pip
  - pip:
      # torch for CPUs where there is such a build: the ordinary one for Linux brings 3 GB of CUDA libraries.
      - --extra-index-url=https://download.pytorch.org/whl/cpu
"""


def blocks(text: str) -> list[str]:
    """The requirements of a lock, each with its hashes."""
    return [block.rstrip() for block in re.split(r"\n(?=\w)", text) if re.match(r"\w", block)]


def lock(name: str, *options: str) -> list[str]:
    out = ROOT / name
    command = [
        "uv",
        "pip",
        "compile",
        "pyproject.toml",
        "--universal",
        "--python-version",
        "3.11",
        "--generate-hashes",
        "-q",
    ]
    subprocess.run(
        [*command, "--no-annotate", "--no-header", *options, *sys.argv[1:], "-o", name], cwd=ROOT, check=True
    )
    kept = [block for block in blocks(out.read_text(encoding="utf-8")) if not CHOSEN_BY_MACHINE.match(block)]
    # triton comes with torch for CUDA; a student without a GPU does not need its 0.7 GB
    kept = [block for block in kept if "test" in options or not block.startswith("triton==")]
    out.write_text("\n".join(kept) + "\n", encoding="utf-8")
    return kept


def main() -> None:
    lock("requirements.lock")
    pins = lock("requirements-test.lock", "--extra", "test", "--constraint", "requirements.lock")
    lock("requirements-site.lock", "--extra", "site", "--constraint", "requirements-test.lock")
    torch = re.search(r'"(torch==[\d.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8")).group(1)
    plain = [re.sub(r"\s*\\$", "", block.split("\n")[0]) for block in pins]
    lines = [f"      - {pin}\n" if ";" not in pin else f'      - "{pin}"\n' for pin in [torch, *plain, "-e ."]]
    (ROOT / "environment.yml").write_text(ENVIRONMENT + "".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
