"""Which exercises are passed, kept from one session to the next in one small file: no account, no server.

The file is .many_models_progress.json in the course's folder, or what MANY_MODELS_PROGRESS names; "off" keeps nothing.
It is written only where a person works: in a kernel that Jupyter or VS Code started for a notebook, or where
MANY_MODELS_PROGRESS names a file. Never under pytest or CI, nor by nbval, nbclient or nbconvert: there `progress()`
shows this session alone, whatever the file says. A quiz is answered in the browser, of which the kernel learns nothing:
quizzes are not counted.

`python -m course_utils.classroom.progress` prints the notebook to open: the one that was worked on last, or the first.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from course_utils.shelf.files import written_aside

__all__ = ["course_exercises", "latest_notebook", "notebooks", "place", "read", "record"]

ROOT = Path(__file__).resolve().parents[2]
OWN, PASSED = ROOT / ".many_models_progress.json", "passed"
DAMAGED = "The file with your progress could not be read and is begun anew; the old one is kept beside it: {}."


def place() -> Path | None:
    """The file, or None where nothing is kept."""
    asked = os.environ.get("MANY_MODELS_PROGRESS", "")
    if asked.lower() == "off" or "PYTEST_VERSION" in os.environ:
        return None
    if asked:
        return Path(asked).expanduser()
    by_hand = "JPY_SESSION_NAME" in os.environ or _in_vs_code()
    return OWN if by_hand and not os.environ.get("CI") else None


def _in_vs_code() -> bool:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return "__vsc_ipynb_file__" in getattr(shell, "user_ns", {})


def read(path: Path) -> tuple[dict[str, str], str, str]:
    """({exercise: state}, the topic of the last check, a line to show if the file is damaged). Never raises."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        states, latest = kept["exercises"], kept["latest"]
        if not (isinstance(latest, str) and all(isinstance(text, str) for pair in states.items() for text in pair)):
            raise ValueError("not the form of this file")
        return states, latest, ""
    except FileNotFoundError:
        return {}, "", ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}, "", DAMAGED.format(path.name)


def record(name: str, status: str) -> str:
    """Keep the state of an exercise; passed stays passed. A line to show if something is amiss. Never raises."""
    path = place()
    if path is None:
        return ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f"{path.name}.lock"), timeout=2):  # several notebooks may be open
            states, _, note = read(path)
            if note:  # a person may still read in it what a program cannot
                os.replace(path, path.with_name(f"{path.name}.damaged"))
            if states.get(name) != PASSED:
                states[name] = status
            text = json.dumps({"latest": name.split(".")[0], "exercises": states}, indent=1)
            with written_aside(path) as aside:
                aside.write_text(text, encoding="utf-8")
        return note
    except (OSError, Timeout) as error:
        return f"Your progress could not be kept in {path.name} ({type(error).__name__})."


def notebooks() -> list[Path]:
    """The course's notebooks in order."""
    return sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def course_exercises() -> dict[str, list[str]]:
    """The exercises of each notebook, from its check cells: {"00_start_here": ["start_here.average", ...]}."""
    found = {}
    for path in notebooks():
        topic = path.stem[3:]
        # a student may have broken one
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            text = "\n".join("".join(cell["source"]) for cell in cells if "check" in cell["metadata"].get("tags", []))
            names = re.findall(rf"""check\(\s*["']({re.escape(topic)}\.\w+)["']""", text)
            found[path.stem] = list(dict.fromkeys(names))
    return found


def latest_notebook(path: Path | None) -> Path:
    """The notebook of the last check in the file `path`; the first one if there is none."""
    books, latest = notebooks(), read(path)[1] if path else ""
    return next((book for book in books if latest and book.stem[3:] == latest), books[0])


def main() -> None:
    # A shell is no notebook, so that place() names the course's own file only in a notebook.
    found = latest_notebook(place() or (None if os.environ.get("MANY_MODELS_PROGRESS") else OWN))
    print((found.relative_to(Path.cwd()) if found.is_relative_to(Path.cwd()) else found).as_posix())


if __name__ == "__main__":
    main()
