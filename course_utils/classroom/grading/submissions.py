"""What was handed in: which notebooks, whose they are, and which of several copies counts. Read, not run.

student     the first folder, or the name of a notebook that lies in none. Folders of sections (section1/ada,
            section1/bob) are known by holding the same notebook in several folders; dora/attempt1 and dora/attempt2
            are one student. `depth` says it where the guess is wrong
copy        of several copies of a notebook the one that was changed last
link        a link is graded only where it leads to a notebook of the same student
"""

from __future__ import annotations

import json
import os
import re
import warnings
from functools import cache
from pathlib import Path

from course_utils.classroom import progress
from course_utils.classroom.grading.cells import Task, course_tasks, raw_cells
from course_utils.classroom.grading.report import Result, Submission

__all__ = ["course", "find_submissions", "tasks_of"]

LARGEST, MOST_CELLS = 64 << 20, 3000  # bytes and cells of a notebook
NUMBERED = r"(attempt|try|trial|version|submission|upload|versuch|abgabe|v|no|nr)?[ ._-]*\d+"
ATTEMPT = re.compile(rf"{NUMBERED}|(final|first|last|old|new|late|draft|copy|backup|notebooks|work)\b.*", re.I)


def course() -> dict[str, Path]:
    """The course's own notebooks: "01_interpolation" -> its path."""
    return {path.stem: path for path in progress.notebooks()}


@cache
def tasks_of(stem: str) -> list[Task]:
    return course_tasks(json.loads(course()[stem].read_text(encoding="utf-8")))


def find_submissions(folder: Path, depth: int = 0) -> list[Submission]:
    """Every notebook below `folder`, read but not run: exercises are "ungraded". ValueError: there is none.

    depth: how many folders name a student; 0: see above.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder: give the one that holds a folder or a notebook for each student")
    found = []
    for path in sorted(folder.rglob("*.ipynb")):
        inside = path.relative_to(folder)
        if not (".ipynb_checkpoints" in inside.parts or "__MACOSX" in inside.parts or path.name.startswith("._")):
            found.append(Submission("", path, file=_text(inside.as_posix())))
            _read(found[-1], folder)
    if not found:
        raise ValueError(f"{folder} holds no notebook (*.ipynb)")
    sections = _sections(found, folder)
    for submission in found:
        submission.student = _student(submission.path.relative_to(folder), submission.topic, sections, depth)
    for submission in found:
        _look_for_links(submission, folder, sections, depth)
    _look_for_hard_links(found)
    _choose_copies(found)
    for submission in found:
        wanted = tasks_of(submission.topic) if submission.topic and not submission.second else []
        text = submission.problem or "not graded yet"
        submission.results = [Result(task.name, "ungraded", text=text) for task in wanted]
    return found


def _text(name: str) -> str:
    """A file's name as text: bytes that are not UTF-8 as \\xfc."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _student(inside: Path, topic: str, sections: set[str], depth: int) -> str:
    folders = inside.parts[:-1]
    if not folders:
        name = re.split(re.escape(topic), inside.stem)[0] if topic else inside.stem
        rest = inside.stem[len(name) + len(topic) :]
        if topic and not name.strip(" _-."):  # 01_interpolation_ada
            name = re.sub(r"^-?Copy\d*|\(\d+\)", "", rest.strip())
        return _text(name.strip(" _-.") or inside.stem)
    named = depth or (2 if folders[0] in sections and len(folders) > 1 and not _is_attempt(folders[1]) else 1)
    return _text("/".join(folders[:named]))


def _is_attempt(name: str) -> bool:
    return bool(ATTEMPT.fullmatch(name)) or any(stem in name or stem[3:] in name for stem in course())


def _sections(found: list[Submission], folder: Path) -> set[str]:
    """The top folders whose folders are students."""
    direct, deeper, same = set(), set(), {}
    for submission in found:
        first, *rest = submission.path.relative_to(folder).parts[:-1] or [""]
        (deeper if rest else direct).add(first)
        if rest and not _is_attempt(rest[0]):
            same.setdefault((first, submission.topic), set()).add(rest[0])
    certain = {first for (first, topic), folders in same.items() if topic and len(folders) > 1} - direct
    return deeper - direct if certain else set()


def _read(submission: Submission, folder: Path) -> None:
    path = submission.path
    stems = [stem for stem in course() if stem in path.stem]
    submission.topic = stems[0] if stems else ""
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ValueError("it is a link that leads out of the folder")
        if not path.is_file() or path.stat().st_size > LARGEST:
            raise ValueError(f"it is no file, or larger than {LARGEST >> 20} MB")
        submission.cells = raw_cells(_parsed(path.read_text(encoding="utf-8")))
    except Exception as error:  # whatever is in a file that anybody may have written
        said = str(error).split("\n")[0][:160].encode(errors="backslashreplace").decode()
        submission.problem = f"it cannot be read as a notebook ({type(error).__name__}: {said})"
        return
    if not submission.topic:
        text = "\n".join(cell["source"] for cell in submission.cells)
        known = {
            stem: sum(bool(re.search(rf"^(def {t.variable}\b|{t.variable}\s*=)", text, re.M)) for t in tasks_of(stem))
            for stem in course()
        }
        best = max(known, key=known.get)
        submission.topic = best if known[best] >= 2 else ""
        if not submission.topic:
            submission.problem = "it is none of the course's notebooks: neither its name nor its exercises are known"


def _parsed(text: str) -> dict:
    """The notebook in the form of nbformat 4. Too many cells are refused."""
    raw = json.loads(text)
    sheets = raw.get("worksheets") or []  # of nbformat 3
    if len(raw.get("cells", [])) + sum(len(sheet.get("cells", [])) for sheet in sheets) > MOST_CELLS:
        raise ValueError(f"it has more than {MOST_CELLS} cells")
    if raw.get("nbformat") == 4:
        return raw
    import nbformat  # here, because it takes a second to load and is seldom needed

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nbformat.reads(text, as_version=4)


def _look_for_links(submission: Submission, folder: Path, sections: set[str], depth: int) -> None:
    if submission.problem:
        return
    real, root = submission.path.resolve(), folder.resolve()
    inside = submission.path.relative_to(folder)
    if real == root / inside:
        return
    target = real.relative_to(root)
    if len(inside.parts) == 1 or _student(target, submission.topic, sections, depth) != submission.student:
        submission.problem = f"it is a link to {_text(target.as_posix())}, so it is not this student's own file"
        submission.cells = []


def _look_for_hard_links(found: list[Submission]) -> None:
    same: dict[tuple[int, int], list[Submission]] = {}
    for submission in found:
        if not submission.problem:
            about = submission.path.stat()
            same.setdefault((about.st_dev, about.st_ino), []).append(submission)
    for group in same.values():
        for submission in group:
            others = [s.file for s in group if s.student != submission.student]
            if others:
                submission.remark = f"one file on the disk (a hard link) with {', '.join(others[:3])}"


def _choose_copies(found: list[Submission]) -> None:
    """Of each student's copies of a notebook the newest counts; among equally old ones the last by name (2 < 10)."""
    copies: dict[tuple[str, str], list[Submission]] = {}
    for submission in found:
        if submission.topic:
            copies.setdefault((submission.student, submission.topic), []).append(submission)
    for group in copies.values():
        group.sort(key=lambda s: (not s.problem, _changed(s.path), _natural(s.file)))
        *others, newest = group
        for other in others:
            other.problem, other.second = f"a second copy: {newest.file} was graded, the newest of {len(group)}", True
            other.cells, other.remark = [], ""
        if others:
            newest.remark = "; ".join(filter(None, [newest.remark, f"the newest of {len(group)} copies"]))


def _changed(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def _natural(name: str) -> list:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
