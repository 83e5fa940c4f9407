"""Run Python that a model has written, in a child process that can reach neither the network nor your files.

    >>> run_python("print(sum(range(10)))")
    Ran(status='ok', stdout='45\\n', stderr='', message='')

What contains the program, all of it by the Linux kernel (`jail` builds it; no root needed where user namespaces are
permitted):
    files       its own root: the interpreter, its library and the shared libraries, read-only, and an empty /sandbox in
                memory (16 MB) that disappears with it. No home, no repository, no /etc, no /proc, no shell
    network     a network namespace without any device, and no socket can be made
    processes   its own process ids: it cannot see, signal or trace a process outside; what it started ends with it; at
                most 4 more
    limits      CPU time, wall time, memory, size of a file, open files; it cannot raise them
    rights      user "nobody" without capabilities; about thirty system calls are refused
                (mount, ptrace, bpf, io_uring, ...)
    environment none of your variables: no keys, no tokens
Where one of these cannot be had (macOS, Windows, a container without user namespaces, a processor other than x86-64 and
ARM64) nothing is run and the status is "unavailable": show the code instead.

What it is NOT a protection against:
    a flaw in the kernel: who breaks the kernel breaks out. Against an attacker use a virtual machine
    a slow machine: up to 5 processes, each with its own memory and CPU limit, until the wall time is over
    side channels: the clock, processor caches, what `os.uname` and `os.cpu_count` tell
    reading the shared library folders, among them packages installed beside the interpreter itself
    lies: what a program prints, and its status, are its own claim
The time limit of exercise checks (`exercises.engine.time_limit`) is something else: it guards against accidents in the
student's own kernel.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

__all__ = ["Ran", "run_python", "signal_name", "unavailable"]

PROCESSES = 5  # the program itself and four more, threads counted
DISK_MB = 16
MESSAGE = 300  # characters of it that a message shows
TAIL = 4000  # bytes of the end of stderr that are kept besides, to read the last line
DAY = 86_400
LIMITS = {"seconds": (0, DAY), "wall_seconds": (0, 4 * DAY), "output_limit": (0, 1 << 30), "memory_mb": (31, 1 << 20)}
NO_SANDBOX = "the sandbox is unavailable here, so the code was not run"


class Ran(NamedTuple):
    """What became of a program.

    status: "ok" (it ended with exit code 0), "error" (an exception, another exit code, a crash), "timeout", "memory",
        "forbidden" (it ended because something was refused), "unavailable" (no sandbox here: it was NOT run).
    stdout, stderr: what it printed, the beginning. message: one line on what happened, empty for "ok".
    A program that catches the refusal and goes on is "ok": contained all the same.
    """

    status: str
    stdout: str
    stderr: str
    message: str


def run_python(
    code: str,
    stdin: str = "",
    seconds: float = 2,
    memory_mb: int = 256,
    output_limit: int = 10_000,
    wall_seconds: float | None = None,
) -> Ran:
    """Run `code` in a fresh interpreter inside the sandbox (see above) and wait for it.

    seconds: CPU time of each process, rounded up. wall_seconds: from start to end; None: 3 * seconds + 4, so that a
    busy machine does not make a timeout of a program that is quick by itself.
    memory_mb: address space of each process; the interpreter itself needs about 30. output_limit: bytes kept of each
    stream; the rest is counted and thrown away. The standard library can be imported, installed packages cannot; hashes
    are not random, so that sets print in the same order each time.
    Never raises for anything the program does. Raises ValueError: code or stdin that is no string, a limit below its
    least or above its largest (a day, 1 TB).
    """
    if not isinstance(code, str) or not isinstance(stdin, str):
        raise ValueError("code and stdin must be strings")
    wall = 3 * seconds + 4 if wall_seconds is None else wall_seconds
    limits = {"seconds": seconds, "wall_seconds": wall, "output_limit": output_limit, "memory_mb": memory_mb}
    for name, value in limits.items():
        least, largest = LIMITS[name]
        if not least < value <= largest:
            raise ValueError(f"{name} must be a number above {least} and at most {largest}, got {value}")
    if not sys.platform.startswith("linux"):
        return Ran("unavailable", "", "", "the sandbox needs Linux, so the code was not run")
    cpu, output_limit = math.ceil(seconds), int(output_limit)
    job = {"code": code, "stdin": stdin, "cpu": cpu, "memory_mb": int(memory_mb)}
    job |= {"disk_mb": DISK_MB, "processes": PROCESSES}
    report_read, report_write = os.pipe()
    try:
        # The real interpreter, not the virtual environment's link to it: the sandbox has no installed packages anyway.
        command = [os.path.realpath(sys.executable), "-I", "-S", "-B", str(Path(__file__).with_name("jail.py"))]
        process = subprocess.Popen(
            [*command, str(report_write)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={},
            cwd="/",
            pass_fds=[report_write],
            start_new_session=True,
        )
    except BaseException:
        os.close(report_read)
        raise
    finally:
        os.close(report_write)
    with open(report_read, "rb", buffering=0) as report, process:
        try:
            kept = _watch(process, report, json.dumps(job).encode(), wall, output_limit)
        finally:
            process.kill()  # a launcher that is still there takes everything inside with it
    return _outcome(kept, not code, cpu, wall, memory_mb)


def signal_name(number: int) -> str:
    """SIGSEGV, or "signal 35" for one that has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def unavailable() -> str:
    """Why no program can be run here, or "" if it can: tried with an empty program."""
    ran = run_python("")
    return ran.message if ran.status == "unavailable" else ""


class _Kept:
    """The beginning and the end of a stream, and how long it was."""

    def __init__(self, limit: int) -> None:
        self.head, self.tail, self.size, self.limit = b"", b"", 0, limit

    def add(self, data: bytes) -> None:
        self.head += data[: max(0, self.limit - len(self.head))]
        self.tail = (self.tail + data)[-TAIL:]
        self.size += len(data)

    @property
    def text(self) -> str:
        text = self.head.decode("utf-8", "replace")
        return text + (f"\n... and {self.size - self.limit} more bytes" if self.size > self.limit else "")


def _watch(process: subprocess.Popen, report, job: bytes, wall: float, limit: int) -> dict[str, _Kept]:
    """Feed the job, read the three streams to their ends; kill the launcher at the deadline. The ends come when nothing
    inside lives."""
    kept = {"stdout": _Kept(limit), "stderr": _Kept(limit), "report": _Kept(1 << 16), "late": _Kept(1)}
    deadline, unsent = time.monotonic() + wall, memoryview(job)
    os.set_blocking(process.stdin.fileno(), False)
    with selectors.DefaultSelector() as selector:
        for stream, name in ((process.stdout, "stdout"), (process.stderr, "stderr"), (report, "report")):
            selector.register(stream, selectors.EVENT_READ, name)
        selector.register(process.stdin, selectors.EVENT_WRITE, "stdin")
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0 and not kept["late"].size:
                kept["late"].add(b"!")
                process.kill()
            for key, _ in selector.select(max(left, 0.05)):
                if key.data == "stdin":
                    with contextlib.suppress(BrokenPipeError):
                        unsent = unsent[os.write(key.fd, unsent[:65536]) :]
                        if unsent:
                            continue
                    selector.unregister(process.stdin)
                    process.stdin.close()
                elif data := os.read(key.fd, 65536):
                    kept[key.data].add(data)
                else:
                    selector.unregister(key.fileobj)
    return kept


TOO_MANY = f"it started too many processes or threads: at most {PROCESSES - 1} more"

# The last line of a traceback -> what the sandbox has to say about it. The first that fits counts.
REFUSALS = [
    (
        rf"\[Errno {errno.EROFS}\]|Read-only file system",
        "it wrote to a file outside its working directory: everything else is read-only",
    ),
    (
        rf"\[Errno {errno.ENOENT}\](.*'(/(?!sandbox\b)|~|\.\.)| No such file or directory$)",
        "it asked for a file or a program outside its working directory: nothing of the machine is there but Python",
    ),
    (rf"\[Errno {errno.ESRCH}\]", "it reached for another process: it can see only its own"),
    (rf"\[Errno {errno.EAGAIN}\]|can't start new thread|^_thread.error", TOO_MANY),
    (
        rf"\[Errno ({errno.EFBIG}|{errno.ENOSPC}|{errno.EDQUOT})\]|^\w*Error: .*No space left",
        f"it wrote more than {DISK_MB} MB",
    ),
    (rf"\[Errno {errno.EMFILE}\]", "it opened too many files"),
    (r"gaierror|URLError|Network is unreachable", "it tried to use the network: there is none"),
    (
        rf"\[Errno ({errno.EPERM}|{errno.EACCES})\]",
        "it did what a program in the sandbox may not: network, other processes, mounts, system files",
    ),
]


# What an interpreter says that does not start with the files it sees inside; a program can print it too.
NOT_STARTED = re.compile(rb".*error while loading shared libraries|Fatal Python error: init")


def _outcome(kept: dict[str, _Kept], empty: bool, cpu: int, wall: float, memory_mb: int) -> Ran:
    """empty: the program was, so that what is on standard error is the interpreter's."""
    stdout, stderr = kept["stdout"], kept["stderr"]

    def ran(status: str, message: str) -> Ran:
        return Ran(status, stdout.text, stderr.text, message)

    def unavailable_for(reason: str) -> Ran:
        return Ran("unavailable", "", "", f"{NO_SANDBOX}: {reason}")

    facts = {}
    for line in kept["report"].head.splitlines():
        facts |= json.loads(line)
    last = ["", *stderr.tail.decode("utf-8", "replace").strip().splitlines()][-1]
    last = "".join(c if c.isprintable() else " " for c in last)[:MESSAGE]
    if "unavailable" in facts:
        return unavailable_for(facts["unavailable"])
    if kept["late"].size:
        return ran("timeout", f"stopped after {wall:g} s")
    if not facts:  # the launcher itself did not get to work, for example an interpreter that needs LD_LIBRARY_PATH
        return unavailable_for(last or "its launcher was killed")
    if "exit" not in facts:
        return ran("error", "it ended the process that watches it")
    code = facts["exit"]
    if code == 0:
        return ran("ok", "")
    if not stdout.size and NOT_STARTED.match(stderr.head) and (empty or unavailable()):
        return unavailable_for(f"the interpreter does not start with what it sees there ({last[:200]})")
    # The kernel counts ticks for the limit and nanoseconds for `cpu`; on a busy machine the two differ.
    if code == -signal.SIGXCPU or (code == -signal.SIGKILL and facts["cpu"] > 0.5 * cpu):
        return ran("timeout", f"stopped after {cpu} s of computing")
    if last.startswith("MemoryError"):
        return ran("memory", f"stopped: it wanted more than {memory_mb} MB of memory")
    if code == -signal.SIGXFSZ:
        return ran("forbidden", f"stopped: it wrote more than {DISK_MB} MB")
    if code == -signal.SIGSYS:
        return ran("forbidden", "stopped: it made a system call that the sandbox does not know")
    if code < 0:
        return ran("error", f"it was ended by the signal {signal_name(-code)}")
    for pattern, message in REFUSALS:
        if re.search(pattern, last):
            return ran("forbidden", f"stopped: {message}")
    raised = re.match(r"[\w.]+(: |$)", last) and '  File "' in stderr.text
    # The processes of a fork bomb write their tracebacks into one another: then the last line may be any piece of them.
    if not raised and f"[Errno {errno.EAGAIN}]".encode() in stderr.tail:
        return ran("forbidden", f"stopped: {TOO_MANY}")
    return ran("error", last if raised else f"it ended with exit code {code}")
