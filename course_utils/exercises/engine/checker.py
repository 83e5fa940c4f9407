"""`check` an answer, ask for a `hint`, see the `solution`, follow one's `progress`.

`check` never raises and never hangs: see time_limit.py for the time limit and the state that is put back, calls.py for
how an answer is called, diagnose.py for what is said of a wrong one.
"""

from __future__ import annotations

import linecache
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from course_utils.classroom import progress as kept
from course_utils.classroom.board import client as board
from course_utils.exercises.engine.calls import Mistake, NotAttempted, StudentError, guard, is_stub
from course_utils.exercises.engine.exercise import Exercise
from course_utils.exercises.engine.messages import Message, code_message, table_message
from course_utils.exercises.engine.registry import find, registered
from course_utils.exercises.engine.solutions import solution_source
from course_utils.exercises.engine.time_limit import Captured, TimeUp, UserInterrupt, run

__all__ = ["OPEN", "PASSED", "WRONG", "Report", "check", "hint", "progress", "run_check", "solution"]

PASSED, WRONG, OPEN = "passed", "not right yet", "not attempted yet"
SWITCHED_OFF = Path(__file__).parents[1] / "solutions.off"  # see handout.py


@dataclass(repr=False)
class Report(Message):
    """What `check` found out: `status` is one of PASSED, WRONG, OPEN; `known` is the key of the mistake that was
    recognised, if one was. Shown as text and as HTML."""

    status: str = OPEN
    n_passed: int = 0
    n_tests: int = 0
    known: str = ""


@dataclass
class _Session:
    """What this kernel has seen so far."""

    status: dict[str, str] = field(default_factory=dict)
    hints_given: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)


_SESSION = _Session()


def check(name: str, answer: Any) -> None:
    """Say whether `answer` (a function or a value) solves the exercise and, if not, why. Never raises, never hangs."""
    run_check(name, answer).show()


def run_check(name: str, answer: Any) -> Report:
    """`check` without showing: the Report."""
    try:
        exercise = find(name)
    except Exception as error:
        return Report(title=str(name), headline=_scrub(str(error)), role="wrong", status=WRONG)
    report = _run_tests(exercise, answer)
    _SESSION.status[exercise.name] = report.status
    if report.status == WRONG:
        _SESSION.failures[exercise.name] = _SESSION.failures.get(exercise.name, 0) + 1
    notes = [kept.record(exercise.name, report.status)]
    if report.status != OPEN:
        notes.append(board.tell(exercise.name, report.status == PASSED, report.known))
    report.lines += filter(None, notes)
    return report


def _run_tests(exercise: Exercise, answer: Any) -> Report:
    n_tests, deadline, printed = len(exercise.tests), time.monotonic() + exercise.seconds, Captured()
    if answer is None or answer is Ellipsis or answer is NotImplemented:
        return _not_attempted(exercise)
    if exercise.is_function and not callable(answer):
        return _wrong(
            exercise,
            0,
            [
                f'check needs the function itself, not its result: write check("{exercise.name}", '
                f"the_function), without brackets after its name. It got {type(answer).__name__}."
            ],
            printed,
        )
    if callable(answer) and not exercise.is_function:
        return _wrong(
            exercise, 0, ["The answer to this exercise is a value, not a function: give the value itself."], printed
        )
    n_passed, first_failure, known, called = 0, None, "", exercise.called(answer)
    for test in exercise.tests:
        try:
            test_it = getattr(test, "quick", test) if first_failure else test
            run(partial(test_it, guard(called)), max(deadline - time.monotonic(), 0.01), printed)
            n_passed += 1
            continue
        except NotAttempted:
            return _not_attempted(exercise)
        except UserInterrupt:
            raise KeyboardInterrupt from None
        except TimeUp:
            why = (
                f"It was stopped after {exercise.seconds:g} seconds. Is there a loop that never ends, "
                "or a Python loop over what one tensor operation can do?"
            )
        except StudentError as wrapped:
            why = _explain(wrapped.error, answer) + (f"\n{wrapped.advice}" if wrapped.advice else "")
        except Mistake as mistake:
            why, known = str(mistake), known or mistake.known
            if mistake.pointer and _SESSION.failures.get(exercise.name, 0):  # not the first time: what to do
                why += f" {mistake.pointer}"
        except AssertionError as error:
            why = str(error).split("\n")[0] or "This does not hold."
        except BaseException as error:
            if is_stub(error):  # a method of a class, which is called as it is
                return _not_attempted(exercise)
            why = f"The result of your answer could not be used: {type(error).__name__}: {_scrub(str(error))}"
        first_failure = first_failure or [_described(test), why]
        if time.monotonic() >= deadline:
            break
    if first_failure:
        return _wrong(exercise, n_passed, first_failure, printed, known)
    return Report(
        title=exercise.name,
        headline=f"{n_passed} of {n_tests} passed",
        role="passed",
        status=PASSED,
        n_passed=n_passed,
        n_tests=n_tests,
    )


def _not_attempted(exercise: Exercise) -> Report:
    lines = [f'Write your answer in the cell above and run both cells. If you are stuck: hint("{exercise.name}").']
    return Report(
        title=exercise.name, headline=OPEN, lines=lines, role="open", status=OPEN, n_tests=len(exercise.tests)
    )


def _wrong(exercise: Exercise, n_passed: int, lines: list[str], printed: Captured, known: str = "") -> Report:
    lines = list(lines)
    if len(lines) == 2:
        lines[0] = f"What was tested: {lines[0]}"
    if printed.text.strip():
        lines.append(f"Your code printed: {printed.text.strip()}")
    if _SESSION.hints_given.get(exercise.name, 0) < len(exercise.hints):
        lines.append(f'For a hint: hint("{exercise.name}").')
    return Report(
        title=exercise.name,
        headline=f"{WRONG}, {n_passed} of {len(exercise.tests)} passed",
        lines=lines,
        role="wrong",
        status=WRONG,
        n_passed=n_passed,
        n_tests=len(exercise.tests),
        known=known,
    )


def _described(test: Callable) -> str:
    return (test.__doc__ or test.__name__).strip().split("\n")[0]


def _explain(error: BaseException, answer: Any) -> str:
    kind, said = type(error).__name__, _scrub(str(error))
    if isinstance(error, RecursionError):
        return "Your function calls itself without end (RecursionError)."
    if isinstance(error, (SystemExit, KeyboardInterrupt)):
        return f"Your function tried to stop the program ({kind}): end it with `return`."
    line = _line_of(error, answer)
    return f"Your function raised {kind}" + (f": {said}" if said else "") + (f"\nat the line: {line}" if line else "")


def _line_of(error: BaseException, answer: Any) -> str:
    """The source of the last line of the student's own code that the error passed through."""
    filename, line, step = getattr(getattr(answer, "__code__", None), "co_filename", None), "", error.__traceback__
    while step is not None and filename:
        if step.tb_frame.f_code.co_filename == filename:
            line = linecache.getline(filename, step.tb_lineno).strip() or line
        step = step.tb_next
    return line


def _scrub(text: str) -> str:
    """Short, and the same in every run: no memory addresses."""
    text = re.sub(r"0x[0-9a-fA-F]+", "0x...", text)
    return text if len(text) <= 400 else text[:397] + "..."


def hint(name: str) -> None:
    """One more hint for the exercise at each call."""
    _hint(name).show()


def _hint(name: str) -> Message:
    try:
        exercise = find(name)
    except Exception as error:
        return Message(title=str(name), headline=_scrub(str(error)), role="wrong")
    given, total = _SESSION.hints_given.get(exercise.name, 0), len(exercise.hints)
    if given >= total:
        lines = [f'To see how the course does it: solution("{exercise.name}").']
        return Message(title=exercise.name, headline="there are no more hints", lines=lines, role="open")
    _SESSION.hints_given[exercise.name] = given + 1
    return Message(
        title=exercise.name, headline=f"hint {given + 1} of {total}", lines=[exercise.hints[given]], role="hint"
    )


def solution(name: str) -> None:
    """Show the source of the reference function, or the reference value; not where the hand-out says --no-solutions."""
    try:
        exercise = find(name)
        if SWITCHED_OFF.exists():
            raise ValueError(f'your instructor has switched solutions off: hint("{exercise.name}") still helps')
        message = code_message(exercise.name, solution_source(exercise.reference))
    except Exception as error:
        message = Message(title=str(name), headline=_scrub(str(error)), role="wrong")
    message.show()


def progress() -> None:
    """A table of the exercises of the topics that this session has worked on, each with its state.

    Where progress is kept (see course_utils.classroom.progress) also what earlier sessions passed, and a row for each
    notebook."""
    _progress().show()


def _progress() -> Message:
    topics, path = {name.split(".")[0] for name in _SESSION.status}, kept.place()
    states, _, note = kept.read(path) if path else ({}, "", "")
    if not topics and not states:
        headline = "no exercise checked in this session yet"
        return Message(title="progress", headline=headline, lines=[note] * bool(note), role="open")
    others = [e.name for e in registered().values() if e.topic in topics and e.name not in _SESSION.status]
    passed = {name for name, status in [*states.items(), *_SESSION.status.items()] if status == PASSED}
    names = [*_SESSION.status, *others]  # in the notebook's order
    rows = [(name, PASSED if name in passed else _SESSION.status.get(name, OPEN)) for name in names]
    if path:
        books = kept.course_exercises()
        rows += [(book, f"{len(passed.intersection(of))} of {len(of)} passed") for book, of in books.items()]
        names = [name for of in books.values() for name in of] or names
    message = table_message("progress", f"{len(passed.intersection(names))} of {len(names)} exercises passed", rows)
    message.lines += [note] * bool(note)
    return message
