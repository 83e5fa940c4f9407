"""Judge and student, two processes inside the fence: the judge runs the checks, the student's answers its calls.

The judge's answer is a stand-in: it sends the arguments over a pipe (`wire`: data, not pickle) and gets the result
back. So nothing that a submission does to its own copy of the engine, of torch, of Python reaches the judge, and only
the judge can write the verdict. This is "apart". An exercise whose check hands over what cannot be sent (a module, a
function that carries a gradient) is checked "together", in the student's process; what the engine, the library and
torch consisted of is then compared before and after, and a verdict that comes unasked is refused. That finds accidents
and the usual tricks, and does NOT withstand somebody who studies it: the verdict is sent by the process that the
student's code is in. Which exercises can be held apart is found by trying the reference.

Also apart, three things are the student's process's own word, because they happen there: what a function changed in its
arguments, whether its result shares memory with them, and the gradients that pass it. A submission that replaces the
code which reports them hides such a mistake; the values themselves are compared here.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from course_utils.classroom.grading.cells import Task
from course_utils.classroom.grading.similarity import LARGEST
from course_utils.classroom.grading.student import Student
from course_utils.classroom.grading.wire import Codec, as_error, random_states, receive, send, set_random_states
from course_utils.exercises.engine import calls, checker
from course_utils.exercises.engine.registry import find, register
from course_utils.sandbox.run_python import signal_name

__all__ = ["cases", "judge", "time_limit"]

SENT = "The submission's process sent"
ENDED = "The submission's process ended during the check{}."
FULL = "There was not enough memory to check what it returned."
STATUS = {checker.PASSED: "passed", checker.OPEN: "open"}  # of a report; all others are "wrong"


def time_limit(name: str, job: dict) -> float:
    """Seconds for the check: the exercise's own limit, times the grader's patience, for its machine may be busy."""
    return job["patience"] * find(name).seconds


def cases(name: str) -> int:
    return len(find(name).tests)


def judge(report: int, task: Task, job: dict, names: dict, shipped: set[str], mode: str) -> None:
    """Run one exercise, write the verdict as JSON to the descriptor `report`. mode: "apart", "together" or "probe"."""
    (ask_read, ask_write), (say_read, say_write) = os.pipe(), os.pipe()
    register(replace(find(task.name), seconds=time_limit(task.name, job)))
    child = os.fork()
    if child == 0:
        try:
            for fd in (report, ask_write, say_read):
                os.close(fd)
            Student(ask_read, say_write).run(task, job, names, shipped, mode)
        finally:
            os._exit(0)
    os.close(ask_read)
    os.close(say_write)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        judging = _Judge(ask_write, say_read, child)
        verdict = judging.verdict(task, job["seconds"], mode) | {"tries": judging.tries, "chains": judging.chains}
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
        self.out, self.into, self.child, self.broken, self.graphs = out, into, child, "", 0
        self.given: list = []  # what the last call handed over and can be changed in place
        self.heard = Codec(strict=False)
        self.tries, self.chains = 1, []  # cells that may hold the answer; what it consists of

    def verdict(self, task: Task, seconds: float, mode: str) -> dict:
        deadline, cell = time.monotonic() + seconds, 0
        while True:
            message = self.hear(deadline)
            if message is None:
                what = f"Code cell {cell}" if cell else "The notebook"
                return _said("timeout", f"{what} did not end within {seconds:g} seconds.")
            if self.broken:
                return _said(self.broken, message + (f" It was at code cell {cell}." if cell else ""))
            if message[0] == "tries":
                self.tries, self.chains = int(message[1]), [int(chain) for chain in message[2]][:LARGEST]
            elif message[0] == "cell":
                cell = message[1]
            else:
                break
        notes = [str(note)[:400] for note in message[-1]][:20]
        if message[0] == "missing":
            return _said("missing", str(message[1])[:2000], notes=notes)
        if message[0] != "ready":
            return _said("tampered", f"{SENT} a message of its own.")
        if mode == "together":
            return self.believe(task, time.monotonic() + find(task.name).seconds + 3) | {"notes": notes}
        answer = message[2] if message[1] == "value" else self.stand_in(str(message[2]))
        found = checker.run_check(task.name, answer)
        status, passed = self.broken or STATUS.get(found.status, "wrong"), 0 if self.broken else found.n_passed
        return _said(status, found.text, passed=passed, total=found.n_tests, notes=notes)

    def believe(self, task: Task, deadline: float) -> dict:
        """Together: the student's process runs the check and says what came out, after it was asked."""
        if select.select([self.into], [], [], 0)[0]:
            return _said("tampered", f"{SENT} a verdict before it was asked.")
        word = secrets.token_hex(16)
        send(self.out, Codec(strict=True).pack(["check", word]))
        message = self.hear(deadline)
        if message is None:
            return _said("timeout", f"The check did not end within {find(task.name).seconds:g} seconds.")
        if self.broken:
            return _said(self.broken, message)
        status, passed, text, tampered, heard = message[1:6]
        if heard != word:
            return _said("tampered", f"{SENT} a verdict before it was asked.")
        if tampered:
            return _said("tampered", f"The submission changed what checks it: {', '.join(map(str, tampered[:5]))}.")
        status, passed = STATUS.get(status, "wrong"), min(max(int(passed), 0), cases(task.name))
        if (status == "passed") != (passed == cases(task.name)):
            return _said("tampered", f"{SENT} a verdict that no check gives.")
        return _said(status, str(text)[:4000], passed=passed)

    def hear(self, deadline: float | None = None) -> Any:
        """The next message; None when it is late; a text, with `broken` set, when there will be no more."""
        if deadline is not None and not select.select([self.into], [], [], max(0.0, deadline - time.monotonic()))[0]:
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
            if leaves and made:  # the graph is on the other side: so is its backward
                number, self.graphs = self.graphs, self.graphs + 1
                through = _Through.apply(self, number, made, *leaves)
                result = _exchanged(result, dict(zip(map(id, made), through)))
            return result

        answer.__name__ = answer.__qualname__ = name
        return answer

    def ask(self, frame: bytes, codec: Codec) -> tuple[list, list[torch.Tensor]]:
        """Send a question, serve the calls of functions that went with it; the answer, and the tensors with a gradient.

        Raises what the engine expects of an answer: Mistake, NotAttempted, StudentError."""
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
                try:
                    reply = ["result", codec.functions[rest[0]](*rest[1], **rest[2])]
                except Exception as error:
                    reply = ["raised", type(error).__name__, str(error)]
                send(self.out, codec.pack(reply))
            elif kind == "done":
                return rest, self.heard.leaves
            elif kind == "mistake":
                raise calls.Mistake(str(rest[0])[:2000])
            elif kind == "open":
                raise calls.NotAttempted
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


class _Through(torch.autograd.Function):
    """The student's function in the judge's graph: backward asks its process for gradient times Jacobian."""

    @staticmethod
    def forward(ctx: Any, judge: _Judge, number: int, made: list[torch.Tensor], *leaves: torch.Tensor) -> tuple:
        ctx.judge, ctx.number = judge, number
        ctx.set_materialize_grads(False)
        return tuple(tensor.detach().clone() for tensor in made)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor | None) -> tuple:
        codec = Codec(strict=True)
        (found,), _ = ctx.judge.ask(codec.pack(["backward", ctx.number, list(gradients)]), codec)
        return (None, None, None, *found)


def _exchanged(value: Any, new: dict[int, torch.Tensor]) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_exchanged(item, new) for item in value)
    if isinstance(value, dict):
        return type(value)((key, _exchanged(item, new)) for key, item in value.items())
    return new.get(id(value), value)
