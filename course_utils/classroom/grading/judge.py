"""Judge and student, two processes inside the fence: the judge runs the checks, the student's answers its calls.

The judge's answer is a stand-in: it sends the arguments over a pipe (`wire`: data, not pickle) and gets the result
back; functions and gradients are asked for through the same pipe (`gradients`). So nothing that a submission does to
its own copy of the engine, of torch, of Python reaches the judge, and only the judge can write the verdict.

Four things are the student's process's own word, because they happen there: what a function changed in its arguments,
whether its result shares memory with them, the gradients that pass it, and which rows of a weight it read. A submission
that replaces the code which reports them hides such a mistake; the values themselves are compared here.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from course_utils.classroom.grading.cells import Task
from course_utils.classroom.grading.extra import LARGEST, extended
from course_utils.classroom.grading.gradients import Graphs, through
from course_utils.classroom.grading.similarity import LARGEST as MOST_CHAINS
from course_utils.classroom.grading.student import Student
from course_utils.classroom.grading.wire import Codec, as_error, random_states, receive, send, set_random_states
from course_utils.exercises.engine import calls, checker
from course_utils.exercises.engine.registry import find, register
from course_utils.sandbox.run_python import signal_name

__all__ = ["CASES", "cases", "judge", "time_limit"]

CASES = 4  # the descriptor of the instructor's cases, if there are any
SENT = "The submission's process sent"
ENDED = "The submission's process ended during the check{}."
FULL = "There was not enough memory to check what it returned."
STATUS = {checker.PASSED: "passed", checker.OPEN: "open"}  # of a report; all others are "wrong"


def time_limit(name: str, job: dict) -> float:
    """Seconds for the check: the exercise's own limit, times the grader's patience, because its machine may be busy,
    and in proportion more where the instructor has added cases."""
    return job["patience"] * find(name).seconds * cases(name, job) / len(find(name).tests)


def cases(name: str, job: dict) -> int:
    return len(find(name).tests) + job.get("extra", {"counts": {}})["counts"].get(name, 0)


def judge(report: int, task: Task, job: dict, names: dict, shipped: set[str], probe: bool = False) -> None:
    """Run one exercise, write the verdict as JSON to the descriptor `report`. probe: the reference is the answer."""
    (ask_read, ask_write), (say_read, say_write) = os.pipe(), os.pipe()
    seconds = time_limit(task.name, job)
    child = os.fork()
    if child == 0:
        try:
            for fd in (report, ask_write, say_read, *[CASES] * ("extra" in job)):
                os.close(fd)
            Student(ask_read, say_write).run(task, job, names, shipped, probe)
        finally:
            os._exit(0)
    os.close(ask_read)
    os.close(say_write)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    exercise = find(task.name)
    if "extra" in job:  # only now, so that they are not in the student's memory
        exercise = extended(task.name, os.pread(CASES, LARGEST, 0).decode(), job["extra"]["seed"])
    if exercise.run:  # is run in the student's process, which has the kernel
        exercise = replace(exercise, reference=partial(exercise.run, exercise.reference), run=None)
    register(replace(exercise, seconds=seconds))
    try:
        judging = _Judge(ask_write, say_read, child)
        verdict = judging.verdict(task, job["seconds"]) | {"tries": judging.tries, "chains": judging.chains}
    except MemoryError:
        verdict = _said("memory", FULL)
    except (IndexError, KeyError, TypeError, ValueError, AttributeError) as error:
        verdict = _said("tampered", f"{SENT} what is no answer ({type(error).__name__}).")
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    os.write(report, json.dumps(verdict).encode())


def _said(status: str, text: object, **more: object) -> dict:
    return {"status": status, "text": text, **more}


class _Judge:
    """The trusted side."""

    def __init__(self, out: int, into: int, child: int) -> None:
        self.out, self.into, self.child, self.broken = out, into, child, ""
        self.calls = 0  # that a gradient passes: their graphs are on the other side
        self.graphs = Graphs()  # of the functions that were called from there
        self.objection: calls.Mistake | None = None  # what one of these said of its arguments
        self.given: list = []  # what the last call handed over and can be changed in place
        self.heard = Codec(strict=False)
        self.tries, self.chains = 1, []  # cells that may hold the answer; what it consists of

    def verdict(self, task: Task, seconds: float) -> dict:
        deadline, cell = time.monotonic() + seconds, 0
        while True:
            message = self.hear(deadline)
            if message is None:
                what = f"Code cell {cell}" if cell else "The notebook"
                return _said("timeout", f"{what} did not end within {seconds:g} seconds.")
            if self.broken:
                return _said(self.broken, message + (f" It was at code cell {cell}." if cell else ""))
            if message[0] == "tries":
                self.tries, self.chains = int(message[1]), [int(chain) for chain in message[2]][:MOST_CHAINS]
            elif message[0] == "cell":
                cell = message[1]
            else:
                break
        notes = [str(note)[:400] for note in message[-1]][:20]
        if message[0] == "missing":
            return _said("missing", str(message[1])[:2000], notes=notes)
        if message[0] != "ready":
            return _said("tampered", f"{SENT} a message of its own.")
        answer = message[2] if message[1] == "value" else self.stand_in(str(message[2]))
        found = checker.run_check(task.name, answer)
        status, passed = self.broken or STATUS.get(found.status, "wrong"), 0 if self.broken else found.n_passed
        return _said(status, found.text, passed=passed, total=found.n_tests, notes=notes)

    def hear(self, deadline: float | None = None) -> Any:
        """The next message; None when it is late; a text, with `broken` set, when there will be no more."""
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and (left < 0 or not select.select([self.into], [], [], left)[0]):
            return None
        try:
            self.heard = Codec(strict=False, objects=self.given)
            message = self.heard.unpack(receive(self.into))
            if not isinstance(message, list) or not message or not isinstance(message[0], str):
                raise ValueError("not a message")
            return message
        except EOFError:
            self.broken = "crashed"
            return ENDED.format(self.cause())
        except MemoryError:
            self.broken = "memory"
            return FULL
        except ValueError as error:
            self.broken = "tampered"
            return f"{SENT} what is no answer ({error})."

    def cause(self) -> str:
        for _ in range(50):
            pid, status = os.waitpid(self.child, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                if code >= 0:
                    return " (it closed the pipe or left Python)"
                name = signal_name(-code)
                return f" ({name}{': too much computing time' if name in ('SIGXCPU', 'SIGKILL') else ''})"
            time.sleep(0.01)
        return ""

    def stand_in(self, name: str) -> Callable:
        def answer(*args: Any, **kwargs: Any) -> Any:
            if self.broken:
                raise calls.Mistake(ENDED.format(""))
            codec = Codec(strict=True, follow=True)
            frame = codec.pack(["call", list(args), kwargs, random_states()])
            generators, leaves, self.given = list(codec.generators), list(codec.leaves), list(codec.objects)
            codec.follow = False
            (result, states, changes, drawn), made = self.ask(frame, codec)
            set_random_states(*drawn)
            for generator, state in zip(generators, states):
                generator.set_state(state)
            for number, content in changes:
                _change(self.given[number], content)
            if leaves and made:
                result = through(result, made, leaves, partial(self.backward, self.calls))
                self.calls += 1
            return result

        answer.__name__ = answer.__qualname__ = name
        return answer

    def backward(self, number: int, gradients: Sequence[torch.Tensor | None]) -> list[torch.Tensor | None]:
        codec = Codec(strict=True)
        (found,), _ = self.ask(codec.pack(["backward", number, list(gradients)]), codec)
        return found

    def reply(self, codec: Codec, function: Callable, args: Sequence = (), kwargs: dict | None = None) -> None:
        """Tell the student's function what one of the judge's gives, or raises."""
        given, told = self.heard.leaves, Codec(strict=True, follow=bool(self.heard.leaves))
        told.functions = codec.functions  # a function in the result gets the next number
        try:
            frame = told.pack(["result", function(*args, **(kwargs or {})), len(self.graphs.kept)])
            if told.leaves:
                self.graphs.add(given, told.leaves)
        except Exception as error:
            self.objection = error if isinstance(error, calls.Mistake) else None
            frame = told.pack(["raised", type(error).__name__, str(error)])
        send(self.out, frame)

    def ask(self, frame: bytes, codec: Codec) -> tuple[list, list[torch.Tensor]]:
        """Send a question, serve the calls of functions that went with it; the answer, and its tensors with a gradient.

        Raises what the engine expects of an answer: Mistake, NotAttempted, StudentError."""
        self.objection = None
        try:
            send(self.out, frame)
        except OSError:
            self.broken = "crashed"
            raise calls.Mistake(ENDED.format(self.cause())) from None
        while True:
            message = self.hear()
            if self.broken:
                raise calls.Mistake(message)
            kind, *rest = message
            if kind == "callback" and 0 <= rest[0] < len(codec.functions):
                self.reply(codec, codec.functions[rest[0]], rest[1], rest[2])
            elif kind == "gradients":
                self.reply(codec, self.graphs.backward, rest[:2])
            elif kind == "done":
                return rest, self.heard.leaves
            elif kind == "mistake":
                raise calls.Mistake(str(rest[0])[:2000])
            elif kind == "open":
                raise calls.NotAttempted
            elif self.objection and str(rest[1]).startswith(str(self.objection)):
                raise self.objection
            else:
                raise calls.StudentError(as_error(str(rest[0]), str(rest[1])[:2000]))


def _change(thing: Any, content: Any) -> None:
    """What the student's function did to its argument is done to the judge's: the check has to see it."""
    if isinstance(thing, torch.Tensor):
        thing.data.copy_(content)
    elif isinstance(thing, np.ndarray):
        thing[...] = content
    elif isinstance(thing, list):
        thing[:] = content
    else:
        thing.clear()
        thing.update(content)
