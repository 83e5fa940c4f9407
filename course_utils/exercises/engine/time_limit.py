"""Run a student's code so that it can neither hang, nor stop, nor change the notebook it runs in.

Not a security fence: the student's code runs in the student's own kernel. It protects against accidents.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import signal
import sys
import threading
import time
import warnings
from _thread import interrupt_main
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import numpy as np
import torch

__all__ = ["TimeUp", "Captured", "run"]

SEED = 11_711
SHOWN_CHARACTERS = 800


class TimeUp(BaseException):
    """The time limit was reached. A BaseException, so that a student's `except Exception` does not swallow it."""

    time_is_up = True


class Captured(io.TextIOBase):
    """A stream that keeps the beginning and counts the rest, so that printing a gigabyte costs nothing."""

    def __init__(self, limit: int = SHOWN_CHARACTERS) -> None:
        self.kept, self.dropped, self.limit = "", 0, limit

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        room = self.limit - len(self.kept)
        self.kept += text[:room]
        self.dropped += max(0, len(text) - room)
        return len(text)

    @property
    def text(self) -> str:
        return self.kept + (f"\n... and {self.dropped} more characters" if self.dropped else "")


def run(function: Callable[[], Any], seconds: float, stream: Captured | None = None) -> Any:
    """`function()` with a time limit, its printing sent to `stream`, the state of the process put back afterwards.

    Put back: the random state of Python, NumPy and PyTorch (inside, each run starts from one fixed seed), the working
    directory, the environment variables, sys.path, the recursion limit, the default dtype, gradient and thread
    settings. Raises TimeUp when `seconds` are over. The limit acts between two Python bytecodes: one long call into C
    ends first (without interval timers, as on Windows, time.sleep too). Raises UserInterrupt if the user interrupted
    the kernel meanwhile, otherwise whatever `function` raises.
    """
    stream = stream if stream is not None else Captured()
    with (
        _state_kept(),
        contextlib.redirect_stdout(stream),
        contextlib.redirect_stderr(stream),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        random.seed(SEED)
        np.random.seed(SEED)
        torch.manual_seed(SEED)
        if threading.current_thread() is threading.main_thread():
            return _run_in_main_thread(function, seconds)
        return _run_in_other_thread(function, seconds)


@contextlib.contextmanager
def _state_kept() -> Iterator[None]:
    python, numpy, pytorch = random.getstate(), np.random.get_state(), torch.get_rng_state()
    folder, environment, path = os.getcwd(), dict(os.environ), list(sys.path)
    recursion, dtype, threads = sys.getrecursionlimit(), torch.get_default_dtype(), torch.get_num_threads()
    gradients, errors = torch.is_grad_enabled(), np.geterr()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(pytorch)
        os.chdir(folder)
        if dict(os.environ) != environment:
            os.environ.clear()
            os.environ.update(environment)
        sys.path[:] = path
        sys.setrecursionlimit(recursion)
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        np.seterr(**errors)


def _zone(function: Callable[[], Any]) -> Any:
    """The frame that marks where the student's code begins: the alarm raises only above it."""
    return function()


def _in_zone(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code is not _zone.__code__:
        frame = frame.f_back
    return frame is not None


def _run_in_main_thread(function: Callable[[], Any], seconds: float) -> Any:
    """An alarm. It rings again every 0.1 s: `while True: try: ... except: pass` swallows the first ring."""
    rung, interrupted = 0, False

    def on_alarm(number: int, frame: FrameType | None) -> None:
        nonlocal rung
        if not _in_zone(frame):
            return
        rung += 1
        if rung > 1:
            _raise_at_next_handler(frame)
        raise TimeUp

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    old_trace = sys.gettrace()
    alarm = _timer if hasattr(signal, "setitimer") else _second_thread
    try:
        with _handler(signal.SIGINT, on_interrupt), alarm(on_alarm, seconds):
            try:
                return _zone(function)
            finally:
                sys.settrace(old_trace)
    finally:
        if interrupted:
            raise UserInterrupt


@contextlib.contextmanager
def _handler(number: int, handler: Callable) -> Iterator[None]:
    old = signal.signal(number, handler)
    try:
        yield
    finally:
        default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, old if old is not None else default)  # None: it was not set from Python


@contextlib.contextmanager
def _timer(on_alarm: Callable, seconds: float) -> Iterator[None]:
    """The alarm where the system has interval timers."""
    started, old_delay = time.monotonic(), 0.0
    try:
        with _handler(signal.SIGALRM, on_alarm):
            old_delay, old_repeat = signal.setitimer(signal.ITIMER_REAL, seconds, 0.1)
            try:
                yield
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        if old_delay:  # somebody else's timer (pytest-timeout's): it goes on with what it has left
            signal.setitimer(signal.ITIMER_REAL, max(old_delay - (time.monotonic() - started), 0.001), old_repeat)


@contextlib.contextmanager
def _second_thread(on_alarm: Callable, seconds: float) -> Iterator[None]:
    """The alarm where it has none (Windows): a thread that makes the main one run the handler of a signal that nobody
    sends there."""
    over = threading.Event()

    def ring() -> None:
        wait = seconds
        while not over.wait(wait):
            interrupt_main(signal.SIGTERM)
            wait = 0.1

    thread = threading.Thread(target=ring, daemon=True)
    with _handler(signal.SIGTERM, on_alarm):
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


class UserInterrupt(KeyboardInterrupt):
    """The user really interrupted the kernel (as opposed to a student's `raise KeyboardInterrupt`)."""


def _raise_at_next_handler(frame: FrameType | None) -> None:
    """Raise TimeUp once more on the first line of the `except` that is about to swallow the one which the alarm raises.

    An exception raised inside a handler is not caught by that handler, so a loop around a bare `except` ends.
    """

    def tracer(frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line" and _in_zone(frame):
            raise TimeUp
        return tracer

    while frame is not None and frame.f_code is not _zone.__code__:
        frame.f_trace = tracer
        frame = frame.f_back
    sys.settrace(tracer)


def _run_in_other_thread(function: Callable[[], Any], seconds: float) -> Any:
    """Signals reach only the main thread: elsewhere the clock is read at every line of Python (slower, but it ends)."""
    deadline, old_trace = time.monotonic() + seconds, sys.gettrace()

    def tracer(frame: FrameType, event: str, argument: Any) -> Any:
        if time.monotonic() > deadline and _in_zone(frame):
            raise TimeUp
        return tracer

    sys.settrace(tracer)
    try:
        return _zone(function)
    finally:
        sys.settrace(old_trace)
