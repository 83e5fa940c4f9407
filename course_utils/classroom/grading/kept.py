"""Results on disk as they come, so that a run that ended early goes on where it stopped.

One line of JSON for each graded exercise, in results.jsonl in the folder of the reports. A line counts as long as
nothing of what it came from has changed: the notebook's cells, the limits, the course, the installed torch and Python.
"""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict
from functools import cache
from importlib import metadata
from pathlib import Path

from filelock import FileLock, Timeout

from course_utils.classroom.grading.report import Result, Submission
from course_utils.classroom.grading.submissions import course

__all__ = ["Kept"]

PACKAGE = Path(__file__).resolve().parents[2]


@cache
def _course_as_it_is(topic: str) -> str:
    digest = hashlib.sha256(f"{platform.python_version()} {metadata.version('torch')}".encode())
    for path in [*sorted(PACKAGE.rglob("*.py")), course()[topic]]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


class Kept:
    """The results in `folder`, which is made. Use it in a `with`.

    again: forget what is there. Raises OSError where the folder cannot be written to, ValueError while another grading
    writes there.
    """

    def __init__(self, folder: Path, again: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(folder / ".results.lock", timeout=0)
        try:
            self.lock.acquire()
        except Timeout:
            raise ValueError(f"another grading writes to {folder}: wait for it, or name another -o") from None
        path = folder / "results.jsonl"
        before = b"" if again or not path.exists() else path.read_bytes()
        self.known = dict(filter(None, map(_entry, before.splitlines())))
        self.file = open(path, "wb" if again else "ab")
        if before and not before.endswith(b"\n"):  # a run that was killed while it wrote
            self.file.write(b"\n")

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.lock.release()

    def find(self, submission: Submission, exercise: str, limits: dict) -> Result | None:
        return self.known.get(_key(submission, exercise, limits))

    def add(self, submission: Submission, result: Result, limits: dict) -> None:
        """What is not graded is not kept: the next run tries it again."""
        if result.status != "ungraded":
            entry = {"key": _key(submission, result.exercise, limits), "file": submission.file} | asdict(result)
            self.file.write(json.dumps(entry).encode() + b"\n")
            self.file.flush()


def _key(submission: Submission, exercise: str, limits: dict) -> str:
    what = [_course_as_it_is(submission.topic), exercise, submission.cells, limits]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _entry(line: bytes) -> tuple[str, Result] | None:
    try:
        entry = json.loads(line)
        key = entry.pop("key")
        entry.pop("file")
        return key, Result(**entry)
    except (ValueError, TypeError, KeyError, AttributeError):  # cut off, or of another version
        return None
