"""The one command of the course, on any system: it makes the environment, installs what is needed, fetches the model,
and starts.

    python start.py lab                   open the course in JupyterLab, where you left off
    python start.py present [NOTEBOOK]    one notebook, large, for a lecture
    python start.py slides | site         lecture decks, or the course as a book, that need no kernel (build/)
    python start.py handout [OPTIONS]     the student edition as one archive (build/)
    python start.py class [--keep FILE]   a live board of what the class has passed, for students who join it
    python start.py setup [--here]        only make the environment; --here: install what this Python lacks, make none
    python start.py test | test-fast      every test; the part for a developer's loop
    python start.py test-machines         the notebooks as on older processors, with one and two threads
    python start.py save NOTEBOOK ...     run notebooks and save them with their outputs and the pictures of their
                                          charts
    python start.py doctor                what to tell when something does not work

Only the standard library is needed, and Python 3.11, 3.12 or 3.13. `--python PATH` (or PYTHON=PATH) chooses another
one. Everything goes into the folder .venv and, for the language model, into your cache folder; deleting them uninstalls
the course.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHONS = ((3, 11), (3, 12), (3, 13))
TORCH = re.search(r'"torch==([\d.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8")).group(1)
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
# Each holds the first, and the last holds all.
LOCKS = {"course": "requirements.lock", "site": "requirements-site.lock", "test": "requirements-test.lock"}
NEEDS_GB = {"course": 3, "site": 3, "test": 4}  # free on the disk at the first start, with the CUDA libraries 4 more
# What a command of the instructor's needs, which the student edition does not have.
FOR_CLASSES = {"handout": "course_utils/classroom/handout.py", "class": "course_utils/classroom/board/server.py"}
COMMANDS = (
    "lab",
    "present",
    "slides",
    "site",
    "handout",
    "class",
    "setup",
    "test",
    "test-fast",
    "test-machines",
    "save",
    "doctor",
)
LAB = ["jupyterlab", "--ServerApp.ip=127.0.0.1"]  # no question about news: setup.py installs that setting
# Idle threads of torch sleep instead of spinning: with anything else running, small steps are a hundred times faster.
ENVIRONMENT = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONUTF8": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


class Stop(Exception):
    """Nothing can be done. The message is one line that says what is wrong and what to do."""


def say(text: str) -> None:
    print(f"many-models: {text}", flush=True)


def run(command: list, **options) -> int:
    """The exit status of a command that shows what it does. Ctrl-C ends it, and then us, without a traceback."""
    try:
        return subprocess.call([str(part) for part in command], cwd=ROOT, env=ENVIRONMENT, **options)
    except KeyboardInterrupt:
        return 130


# --- Python -----------------------------------------------------------------------------------------------------------


def version_of(python: str) -> tuple[int, int] | None:
    """(3, 11), or None if that cannot be run."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        said = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
        major, minor = map(int, said.split())
        return major, minor
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def find_python(asked: str | None) -> str:
    """The interpreter to build with: the one that was asked for, else the one that runs this, else one on the PATH."""
    known = ", ".join(".".join(map(str, version)) for version in PYTHONS)
    if asked:
        version = version_of(asked)
        if version in PYTHONS:
            return asked
        found = "cannot be run" if version is None else f"is Python {version[0]}.{version[1]}"
        raise Stop(f"{asked} {found}: name Python {known} with --python or PYTHON=")
    if sys.version_info[:2] in PYTHONS:
        return sys.executable
    for version in PYTHONS:
        python = shutil.which("python{}.{}".format(*version))
        if python and version_of(python) == version:
            return python
    raise Stop(
        f"this is Python {sys.version_info[0]}.{sys.version_info[1]}, and the course needs one of {known}: "
        "install it, or name it with --python PATH"
    )


def in_venv() -> str:
    return str(VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def make_venv(asked: str | None) -> str:
    """Make .venv if it is not there, or if another Python was asked for; its interpreter."""
    python, have = in_venv(), version_of(in_venv())
    wanted = find_python(asked) if asked or have not in PYTHONS else python
    if have in PYTHONS and (wanted == python or version_of(wanted) == have):
        return python
    say(f"making the environment in {VENV.name} with {wanted}")
    done = subprocess.run([wanted, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True)
    if done.returncode or version_of(python) is None:
        why = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        advice = (
            "install python3-venv" if "ensurepip" in done.stderr + done.stdout else "is the disk full or read-only?"
        )
        raise Stop(f"the environment could not be made ({why[-1]}): {advice}")
    return python


# --- packages ---------------------------------------------------------------------------------------------------------


def pip(python: str, *arguments: str, quiet: bool = True) -> int:
    output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} if quiet else {}
    return run([python, "-m", "pip", "install", "-q", "--no-input", *arguments], **output)


def has_nvidia() -> bool:
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia/version").exists()


def install_torch(python: str) -> None:
    """On Linux without an NVIDIA GPU the build for CPUs, which is a tenth of the ordinary one with its CUDA
    libraries."""
    installed = subprocess.run(
        [python, "-c", "import importlib.metadata as m; print(m.version('torch'))"], capture_output=True, text=True
    )
    if installed.stdout.strip().split("+")[0] == TORCH:
        return
    if sys.platform.startswith("linux") and not has_nvidia():
        cpu = [f"torch=={TORCH}+cpu", "--no-deps", "--no-compile"]  # what it needs is in the lock
        if pip(python, *cpu, "--retries=0", "--timeout=15") == 0:
            return say("torch: the build for CPUs, from the places that pip knows")
        if pip(python, *cpu, "--retries=0", "--timeout=15", f"--index-url={CPU_BUILDS}") == 0:
            return say("torch: the build for CPUs, from PyTorch's index")
        say("torch: no build for CPUs can be had, so the ordinary one is installed, with 3 GB of CUDA libraries")
    else:
        say("torch: the ordinary build")
    if pip(python, f"torch=={TORCH}", "--no-compile", quiet=False):
        raise Stop(f"torch {TORCH} cannot be installed: read what pip says above; is there a network?")


def install_course(python: str) -> None:
    if pip(python, "--no-deps", "-e", str(ROOT), quiet=False):
        raise Stop("the course's own package cannot be installed: read what pip says above")


def fingerprint(group: str) -> str:
    files = ("pyproject.toml", LOCKS[group])
    return hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in files)).hexdigest()


def setup(group: str, asked: str | None = None) -> str:
    """The environment with the packages of a group of LOCKS; its interpreter. Does nothing when all is there."""
    if platform.system() == "Darwin" and platform.machine() == "x86_64":
        raise Stop(
            f"PyTorch has no build {TORCH} for Macs with an Intel processor: use Colab or another computer "
            "(README, Where it runs)"
        )
    if not (ROOT / LOCKS[group]).exists():
        raise Stop("the student edition has no tests: clone the repository to run them")
    python = make_venv(asked)
    mark = VENV / f"installed-{group}"
    if mark.exists() and mark.read_text(encoding="utf-8") == fingerprint(group):
        return python
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < NEEDS_GB[group] and not mark.exists():
        raise Stop(
            f"{free:.1f} GB are free here and {NEEDS_GB[group]} are needed: make room, or put the course on "
            "another disk"
        )
    say("installing the packages: a few minutes, once")
    # --no-compile: Python compiles what is really imported; compiling all would take 0.4 GB and most of the time.
    if pip(python, "--no-deps", "--require-hashes", "--no-compile", "-r", str(ROOT / LOCKS[group]), quiet=False):
        raise Stop("the packages cannot be installed: read what pip says above; is there a network?")
    install_torch(python)
    install_course(python)
    mark.write_text(fingerprint(group), encoding="utf-8")
    return python


def setup_here() -> None:
    """Install into the Python that runs this what it lacks, and leave what it has as it is: for Colab or a
    container."""
    if sys.version_info[:2] not in PYTHONS:
        find_python(sys.executable)
    have = {
        re.sub(r"[-_.]+", "-", d.metadata["Name"]).lower()
        for d in importlib.metadata.distributions()
        if d.metadata["Name"]
    }
    blocks = re.split(r"\n(?=\w)", (ROOT / LOCKS["course"]).read_text(encoding="utf-8"))
    missing = [block for block in blocks if (name := re.match(r"\w[\w.-]*", block)) and name[0].lower() not in have]
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "missing.txt"
        wanted.write_text("\n".join(missing), encoding="utf-8")
        say(f"installing {len(missing)} packages that this Python lacks")
        if missing and pip(sys.executable, "--no-deps", "--require-hashes", "-r", str(wanted), quiet=False):
            raise Stop("the packages cannot be installed: read what pip says above")
    if "torch" not in have:
        install_torch(sys.executable)
    install_course(sys.executable)


# --- commands ---------------------------------------------------------------------------------------------------------


def fetch_assets(python: str) -> None:
    """The language model, verified and with a progress bar. Raises Stop after the line that says why it failed."""
    status = run([python, "-m", "course_utils.shelf.assets"])
    if status:
        raise Stop(
            "the language model is not there (see above), and the notebooks need it: try again when that is mended"
        )


def lab(python: str, arguments: list) -> int:
    fetch_assets(python)
    code = [python, "-m", "course_utils.classroom.progress"]
    book = subprocess.run(
        code, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, encoding="utf-8"
    ).stdout.strip()
    return run([python, "-m", *LAB, *arguments, *([book] if book else [])])


def present(python: str, arguments: list) -> int:
    """JupyterLab in presentation mode, which no option of its own starts: hence the small extension in static/lab."""
    name = Path(arguments[0]).stem if arguments else "00_start_here"
    if not (ROOT / "notebooks" / f"{name}.ipynb").exists():
        names = ", ".join(sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb")))
        raise Stop(f"there is no notebook {name}: choose one of {names}")
    fetch_assets(python)
    extension = "--LabApp.extra_labextensions_path=" + str(ROOT / "course_utils" / "static" / "lab")
    return run(
        [python, "-m", *LAB, extension, f"--LabApp.default_url=/doc/tree/notebooks/{name}.ipynb", *arguments[1:]]
    )


def lint(python: str) -> None:
    sources = ("course_utils", "docs", "tests", "data/recipes", "start.py", "conftest.py", "setup.py")
    for command in (["check", "-q"], ["format", "--check", "-q"]):
        if run([python, "-m", "ruff", *command, *sources]):
            raise Stop("ruff found the faults above; `ruff format` mends those of form")


def test(python: str, arguments: list) -> int:
    fetch_assets(python)
    lint(python)
    return run([python, "-m", "pytest", "-n", "auto", *arguments])


def test_fast(python: str, arguments: list) -> int:
    lint(python)
    return run(
        [
            python,
            "-m",
            "pytest",
            "-n",
            "auto",
            "tests",
            "--ignore=tests/browser",
            "-m",
            "not slow and not slow_browser",
            *arguments,
        ]
    )


def doctor() -> int:
    """One line a fact: what an issue should contain. Nothing is installed, and no name of yours is printed."""
    try:
        cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8")).group(1)
        flags = set(re.search(r"flags\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8")).group(1).split())
        cpu += " (" + ", ".join(flag for flag in ("avx2", "avx512f", "amx_tile") if flag in flags) + ")"
    except (OSError, AttributeError):
        cpu = platform.processor() or platform.machine()
    have = version_of(in_venv())
    facts = {
        "course": re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M).group(1),
        "system": platform.platform(),
        "processor": f"{cpu}, {os.cpu_count()} cores" + (", NVIDIA GPU" if has_nvidia() else ""),
        "free disk": f"{shutil.disk_usage(ROOT).free / 1e9:.1f} GB",
        "python": f"{platform.python_version()}, in the environment: "
        + ("none yet" if have is None else "{}.{}".format(*have)),
    }
    for name, value in facts.items():
        print(f"{name:10} {value}")
    if have:
        code = """
import importlib.metadata as m, os, psutil
memory = psutil.virtual_memory()
print(f"{'memory':10} {memory.total / 1e9:.1f} GB, {memory.available / 1e9:.1f} free")
def version(name):
    try: return m.version(name)
    except m.PackageNotFoundError: return "missing"
names = "torch transformers jupyterlab ipykernel numpy matplotlib datasets triton pytest".split()
print(f"{'packages':10} " + ", ".join(f"{name} {version(name)}" for name in names))
try:
    from course_utils.shelf.device import device
    print(f"{'device':10} {device()}")
except Exception as error:  # a setting that no device fits, or packages that are missing
    print(f"{'device':10} {error}")
print(f"{'settings':10} " + (", ".join(sorted(n for n in os.environ if n.startswith('MANY_MODELS_'))) or "none"))
"""
        run([in_venv(), "-c", code])
        return run([in_venv(), "-m", "course_utils.shelf.assets", "--list"])
    return 0


def main(argv: list | None = None) -> int:
    parser = argparse.ArgumentParser(
        usage="python start.py COMMAND",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("command", nargs="?", choices=COMMANDS, metavar="COMMAND", help="one of " + ", ".join(COMMANDS))
    parser.add_argument("--python", default=os.environ.get("PYTHON") or None, help="the interpreter to make .venv with")
    parser.add_argument(
        "--here", action="store_true", help="with setup: no .venv, install into the Python that runs this"
    )
    given, rest = parser.parse_known_args(argv)
    if given.command is None:
        parser.print_help()
        return 0
    try:
        if given.command == "doctor":
            return doctor()
        if given.here:
            setup_here()
            return run([sys.executable, "-m", "course_utils.shelf.assets"])
        if not (ROOT / FOR_CLASSES.get(given.command, "start.py")).exists():
            raise Stop(f"the student edition has no command {given.command}: it is the instructor's")
        testing = given.command in ("test", "test-fast", "test-machines", "save")
        python = setup("test" if testing else "site" if given.command == "site" else "course", given.python)
        if given.command == "setup":
            fetch_assets(python)
            say("ready: python start.py lab")
            return 0
        by_name = {"lab": lab, "present": present, "test": test, "test-fast": test_fast}
        if given.command in by_name:
            return by_name[given.command](python, rest)
        programs = {
            "slides": ["-m", "course_utils.classroom.decks"],
            "site": ["docs/book.py"],
            "handout": ["-m", "course_utils.classroom.handout"],
            "class": ["-m", "course_utils.classroom.board.server"],
            "test-machines": ["tests/machines.py"],
            "save": ["-m", "course_utils.classroom.save_notebook"],
        }
        if testing:
            fetch_assets(python)
        return run([python, *programs[given.command], *rest])
    except Stop as problem:
        print(f"many-models: {problem}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
