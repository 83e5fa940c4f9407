"""The student's side of `judge`: runs the chosen cells, then answers the judge. Nothing it says is trusted."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import linecache
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from course_utils.classroom.grading.cells import FLAGS, Cell, Task, candidates, cells_of, chosen
from course_utils.classroom.grading.gradients import Graphs, through
from course_utils.classroom.grading.similarity import chains
from course_utils.classroom.grading.wire import (
    Codec,
    TooLarge,
    as_error,
    random_states,
    receive,
    send,
    set_random_states,
)
from course_utils.exercises.engine import calls, time_limit
from course_utils.exercises.engine.registry import find

__all__ = ["Student"]


class _Shell:
    """get_ipython() of a notebook: magics and shell commands do nothing."""

    def __getattr__(self, name: str) -> Callable:
        return lambda *args, **kwargs: None


@contextlib.contextmanager
def quiet():
    """What is printed, and warnings, go nowhere."""
    captured = time_limit.Captured
    with contextlib.redirect_stdout(captured()), contextlib.redirect_stderr(captured()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Student:
    """The other side: it runs the submission's cells, then answers."""

    def __init__(self, into: int, out: int) -> None:
        self.into, self.out = into, out
        self.graphs = Graphs()  # of the calls that a gradient passes

    def say(self, *message: Any) -> None:
        send(self.out, Codec(strict=False).pack(list(message)))

    def run(self, task: Task, job: dict, names: dict, shipped: set[str], probe: bool) -> None:
        notes: list[str] = []
        # A submission has eight processes and threads in all: more threads end it, and one gives the same result.
        torch.set_num_threads = torch.set_num_interop_threads = lambda number: None
        if probe:
            answer = find(task.name).reference
        else:
            cells = cells_of(job["cells"])
            tries = [other.number for other in candidates(cells, task, shipped)]
            cell, needed = chosen(cells, task, shipped, job.get("attempt", 0))
            if cell is None:
                why = [f" But code cell {bad.number} is not Python ({bad.problem})." for bad in cells if bad.problem]
                return self.say("missing", "".join([f"No cell defines {task.variable}.", *why[:1]]), notes)
            own = [
                other.source for other in needed if "setup" not in other.tags and other.source.strip() not in shipped
            ]
            self.say("tries", len(tries), chains("\n".join(own)))
            if len(tries) > 1:
                also = ", ".join(str(number) for number in sorted(tries) if number != cell.number)
                notes.append(
                    f"Code cell {cell.number} counts here. {task.variable} is also defined in code cell {also}."
                )
            space = {**names, "get_ipython": _Shell, "display": lambda *args, **kwargs: None}
            space.pop(task.variable, None)
            for other in needed:
                self.say("cell", other.number)
                self.execute(other, space, notes)
            if task.variable not in space:
                text = f"{task.variable} is not there after code cell {cell.number}. {' '.join(notes)}"
                return self.say("missing", text, notes)
            answer = space[task.variable]
        if callable(answer):
            run = find(task.name).run
            called = partial(run, answer) if run else answer
            self.say("ready", "function", getattr(answer, "__name__", task.variable), notes)
        else:
            try:
                self.say("ready", "value", answer, notes)
            except TooLarge as error:
                self.say("missing", str(error), notes)
        with quiet():
            while True:
                self.serve(called)

    def execute(self, cell: Cell, space: dict, notes: list[str]) -> None:
        name = f"<code cell {cell.number}>"
        linecache.cache[name] = (len(cell.source), None, cell.source.splitlines(True), name)
        with quiet():
            try:
                made = eval(compile(cell.source, name, "exec", flags=FLAGS, dont_inherit=True), space)
                if inspect.iscoroutine(made):  # a cell that awaits
                    asyncio.run(made)
            except BaseException as error:
                notes.append(f"Code cell {cell.number} ended with {type(error).__name__}: {str(error)[:300]}")

    def serve(self, answer: Callable) -> None:
        codec = Codec(strict=False, remote=self.remote, writable=True)
        kind, *rest = codec.unpack(receive(self.into))
        if kind == "backward":
            return self.backward(*rest)
        args, kwargs, drawn = rest
        set_random_states(*drawn)
        before = [_copied(thing) for thing in codec.objects]
        try:
            calls.fits(answer, args, kwargs)
            result = answer(*args, **kwargs)
            if result is Ellipsis or result is NotImplemented:
                return self.say("open")
            states, changes = [generator.get_state() for generator in codec.generators], _changes(codec.objects, before)
            reply = Codec(strict=False, objects=codec.objects)
            frame = reply.pack(["done", result, states, changes, random_states()])
            if codec.leaves and reply.leaves:
                self.graphs.add(codec.leaves, reply.leaves)
            return send(self.out, frame)
        except (calls.Mistake, TooLarge) as mistake:
            self.say("mistake", str(mistake))
        except BaseException as error:
            if calls.is_stub(error):
                return self.say("open")
            line, text = _last_line(error), _text_of(error)
            self.say("raised", type(error).__name__, text + (f"\nat the line: {line}" if line else ""))

    def backward(self, number: int, gradients: list[torch.Tensor | None]) -> None:
        try:
            self.say("done", self.graphs.backward(number, gradients))
        except Exception as error:
            self.say("raised", type(error).__name__, str(error))

    def remote(self, number: int) -> Callable:
        def function(*args: Any, **kwargs: Any) -> Any:
            (result, graph), given, made = self.ask("callback", number, list(args), kwargs)
            if not (given and made):
                return result
            return through(result, made, given, lambda gradients: self.ask("gradients", graph, list(gradients))[0][0])

        return function

    def ask(self, *question: Any) -> tuple[list, list[torch.Tensor], list[torch.Tensor]]:
        """What the judge answers, the tensors with a gradient in the question, and those in the answer."""
        asked, heard = Codec(strict=False), Codec(strict=False, remote=self.remote)
        send(self.out, asked.pack(list(question)))
        kind, *rest = heard.unpack(receive(self.into))
        if kind == "raised":
            raise as_error(*rest)
        return rest, asked.leaves, heard.leaves


def _copied(thing: Any) -> Any:
    return calls.clone(thing) if isinstance(thing, (torch.Tensor, np.ndarray)) else thing.copy()


def _changes(objects: list, before: list) -> list:
    """[[number, new content], ...] of the arguments that the function changed in place."""
    found = []
    for number, (thing, old) in enumerate(zip(objects, before)):
        if isinstance(thing, (torch.Tensor, np.ndarray)):
            if not calls.same(old, thing):
                found.append([number, thing.detach().clone() if isinstance(thing, torch.Tensor) else thing.copy()])
        elif isinstance(thing, dict):
            if list(thing) != list(old) or any(thing[key] is not old[key] for key in thing):
                found.append([number, list(thing.items())])
        elif len(thing) != len(old) or any(a is not b for a, b in zip(thing, old)):
            found.append([number, list(thing)])
    return found


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # its __str__ is the student's own
        return ""


def _last_line(error: BaseException) -> str:
    line, step = "", error.__traceback__
    while step is not None:
        name = step.tb_frame.f_code.co_filename
        line = linecache.getline(name, step.tb_lineno).strip() if name.startswith("<code cell") else line
        step = step.tb_next
    return line
