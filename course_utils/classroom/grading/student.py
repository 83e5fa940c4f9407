"""The student's side of `judge`: runs the chosen cells, then answers the judge. Nothing it says is trusted."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import linecache
import sys
import warnings
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch

from course_utils.classroom.grading.cells import FLAGS, Cell, Task, candidates, cells_of, chosen
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
from course_utils.exercises.engine import calls, checker, time_limit
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
        self.graphs: list[tuple[list, list]] = []  # tensors: inputs and results of calls that a gradient passes

    def say(self, *message: Any) -> None:
        send(self.out, Codec(strict=False).pack(list(message)))

    def run(self, task: Task, job: dict, names: dict, shipped: set[str], mode: str) -> None:
        notes: list[str] = []
        # A submission has eight processes and threads in all: more threads end it, and one gives the same result.
        torch.set_num_threads = torch.set_num_interop_threads = lambda number: None
        if mode == "probe":
            answer = find(task.name).reference
        else:
            before = parts() if mode == "together" else {}
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
            self.say("ready", "function", getattr(answer, "__name__", task.variable), notes)
        else:
            try:
                self.say("ready", "value", answer, notes)
            except TooLarge as error:
                self.say("missing", str(error), notes)
        with quiet():
            if mode == "together":
                _, word = Codec(strict=False).unpack(receive(self.into))
                found = checker.run_check(task.name, answer)
                return self.say("verdict", found.status, found.n_passed, found.text, changed(before), word)
            while True:
                self.serve(answer)

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
        codec = Codec(strict=False, remote=self.remote)
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
                self.graphs.append((list(codec.leaves), reply.leaves))
            return send(self.out, frame)
        except (calls.Mistake, TooLarge) as mistake:
            self.say("mistake", str(mistake))
        except BaseException as error:
            if calls.is_stub(error):
                return self.say("open")
            line, text = _last_line(error), str(error)
            self.say("raised", type(error).__name__, text + (f"\nat the line: {line}" if line else ""))

    def backward(self, number: int, gradients: list[torch.Tensor | None]) -> None:
        given, made = self.graphs[number]
        pairs = [(tensor, gradient) for tensor, gradient in zip(made, gradients) if gradient is not None]
        tensors, gradients = [tensor for tensor, _ in pairs], [gradient for _, gradient in pairs]
        try:
            found = torch.autograd.grad(tensors, given, gradients, retain_graph=True, allow_unused=True)
            self.say("done", list(found))
        except Exception as error:
            self.say("raised", type(error).__name__, str(error))

    def remote(self, number: int) -> Callable:
        def function(*args: Any, **kwargs: Any) -> Any:
            self.say("callback", number, list(args), kwargs)
            kind, *rest = Codec(strict=False, remote=self.remote).unpack(receive(self.into))
            if kind == "raised":
                raise as_error(*rest)
            return rest[0]

        return function


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


def _last_line(error: BaseException) -> str:
    line, step = "", error.__traceback__
    while step is not None:
        name = step.tb_frame.f_code.co_filename
        line = linecache.getline(name, step.tb_lineno).strip() if name.startswith("<code cell") else line
        step = step.tb_next
    return line


def parts() -> dict[tuple[str, str], tuple]:
    """What a check relies on, with its code: functions and classes of the engine, the library, torch, NumPy, Python."""
    others = ("torch", "torch.nn.functional", "numpy", "builtins", "math", "inspect", "random", "signal")
    places = [
        (name, vars(module))
        for name, module in list(sys.modules.items())
        if isinstance(module, ModuleType) and (name.startswith("course_utils") or name in others)
    ]
    places += [(str(kind), vars(kind)) for kind in (torch.Tensor, torch._C.TensorBase, calls.Mistake, checker.Report)]
    found = {}
    for place, entries in places:
        for name, value in list(entries.items()):
            if callable(value) or isinstance(value, ModuleType):
                code = ("__code__", "__defaults__", "__kwdefaults__") if isinstance(value, FunctionType) else ()
                found[place, name] = (value, *(getattr(value, part) for part in code))
    return found


def changed(before: dict[tuple[str, str], tuple]) -> list[str]:
    now = parts()
    same = {key for key, old in before.items() if key in now and all(a is b for a, b in zip(old, now[key]))}
    return [".".join(key) for key in before if key not in same]
