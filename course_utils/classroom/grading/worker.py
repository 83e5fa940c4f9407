"""The process that runs submissions: `grade` sends it one exercise a line as JSON, and reads one line of verdict each.

It loads the course once and forks for each exercise, so that a submission does not wait for torch. Each fork is fenced
in first (`jail`: own root with the installed packages and the course read-only, no network, own process ids, limits on
time, memory, processes and files, a filter on system calls), then divides into the judge and the student's process: see
`judge`. No submission is run in this process.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import IPython.core.inputtransformer2  # noqa: F401  (for cells with magics: here, so that no fork has to load it)
import psutil

from course_utils.classroom.grading import judge
from course_utils.classroom.grading.cells import Task, course_tasks, raw_cells
from course_utils.exercises.engine import checker
from course_utils.exercises.engine.registry import find
from course_utils.sandbox import jail

try:
    import resource
except ImportError:  # Windows, where this module can be imported and nothing else
    resource = None

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[3]
DISK_MB, PROCESSES = 16, 8
IN_ALL = 2  # times the memory of one process: what all of a submission's may take
LOOK = 0.2  # seconds between two looks at the memory of all its processes
REPORT = 3  # the descriptor of the verdict in all that is forked


@dataclass
class Topic:
    """What is ready for a topic: its exercises, the course's own cells, the set-up cells' names, what was tried here.

    tried: exercises that the reference solves in this process. proven: exercises that an answer has solved from the
    student's process, so that what fails there is the answer's fault.
    """

    tasks: dict[str, Task]
    shipped: set[str]
    names: dict[str, Any]
    tried: set[str] = field(default_factory=set)
    proven: set[str] = field(default_factory=set)


def prepare(path: str) -> Topic:
    """Read the course's notebook and run its set-up cells: they are the course's own, and load what they import."""
    nb = json.loads(Path(path).read_text(encoding="utf-8"))
    cells = raw_cells(nb)
    tasks, names = {task.name: task for task in course_tasks(nb)}, {"__name__": "__main__"}
    stubs = {task.stub for task in tasks.values()}
    for cell in cells:
        if "setup" in cell["tags"]:
            exec(compile(cell["source"], "<setup>", "exec"), names)
    gc.collect()
    gc.freeze()  # so that the forks do not copy what they never change
    return Topic(tasks, {cell["source"].strip() for cell in cells if cell["source"] not in stubs}, names)


def launch(work: Callable[[int], None], limits: dict) -> tuple[bytes, str]:
    """Fork, fence in, run `work(REPORT)`; what was reported, and "timeout" or "memory" if it was stopped. Leaves no
    process behind."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.dup2(write, REPORT)
            _launched(work, limits)
        except BaseException as error:
            os.write(REPORT, _no_sandbox(error))
        finally:
            os._exit(1)
    os.close(write)
    report, stopped, gone, deadline = b"", "", False, time.monotonic() + limits["wall"]
    most = _own_memory(os.getpid()) + (IN_ALL * limits["memory_mb"] << 20)
    while len(report) < 1 << 20:
        ready, _, _ = select.select([read, 0], [], [], max(0.0, min(LOOK, deadline - time.monotonic())))
        gone = 0 in ready  # nothing is sent before the verdict: this is the end of the grader
        if not ready:
            stopped = "timeout" if time.monotonic() >= deadline else "memory" if _memory_below(child) > most else ""
            if not stopped:
                continue
        part = os.read(read, 65536) if read in ready else b""
        if not part:
            break
        report += part
    os.close(read)
    kill = os.killpg if limits["weak"] else os.kill  # what is fenced in dies with its first process
    try:
        kill(child, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # not yet a group of its own
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if gone:
        sys.exit(1)
    return report, stopped


def _own_memory(pid: int) -> int:
    """Bytes that a process does not share with a file. What it got from its parent and never changed is among them."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:  # it has ended, or the system has no /proc
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(("RssAnon:", "RssShmem:", "VmSwap:")))


def _memory_below(pid: int) -> int:
    """What a submission's processes take together, the loaded course counted once."""
    try:
        family = [process.pid for process in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return 0
    course = _own_memory(os.getpid())
    return course + sum(max(0, _own_memory(one) - course) for one in [pid, *family])


def _no_sandbox(error: BaseException) -> bytes:
    return json.dumps({"status": "ungraded", "text": f"no sandbox: {type(error).__name__}: {error}"}).encode()


def _launched(work: Callable[[int], None], limits: dict) -> NoReturn:
    """In the fork: nothing of the grader's stays open but the report."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    first = REPORT + 1
    if limits.get("cases") is not None:
        os.dup2(limits["cases"], judge.CASES)
        first = judge.CASES + 1
    os.closerange(first, 4096)
    if limits["weak"]:
        os.chdir(limits["folder"])
        _limit(limits, limits["folder"])
        _work(work)
    jail.call("prctl", jail.PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    job = {"disk_mb": DISK_MB, "code": "", "stdin": ""}
    machine, was_root, proc = jail.isolate("/sys", os.path.realpath(sys.executable), job, also=packages())
    child = os.fork()
    if child == 0:
        _first(work, limits, machine, was_root, proc)
    os.close(REPORT)
    os.waitpid(child, 0)
    os._exit(0)


def packages() -> list[str]:
    """The installed packages and the grader's copy of the course: code and data, not the tests, not the submissions."""
    wanted = [path for path in sys.path if path and path != str(ROOT)]
    return [path for path in [*wanted, str(ROOT / "course_utils"), str(ROOT / "data")] if os.path.isdir(path)]


def _first(work: Callable[[int], None], limits: dict, machine: str, was_root: bool, proc: int) -> NoReturn:
    """Process 1 inside the new root: gives up every privilege and becomes the judge. Everything ends with it, and no
    signal from inside ends it."""
    try:
        jail.enter_root("/sys", machine)
        jail.drop_privileges(was_root, proc)
        os.close(proc)
        _limit(limits, jail.WORK)
        jail.filter_calls(machine)
    except BaseException as error:
        os.write(REPORT, _no_sandbox(error))
        os._exit(1)
    _work(work)


def _work(work: Callable[[int], None]) -> NoReturn:
    """From here on there is a sandbox: what goes wrong is something else."""
    try:
        work(REPORT)
    except Exception as error:
        verdict = {"status": "ungraded", "text": f"the judge failed: {type(error).__name__}: {error}"}
        os.write(REPORT, json.dumps(verdict).encode())
    finally:
        os._exit(0)


def _limit(limits: dict, folder: str) -> None:
    """Hard limits, and a bare environment. Memory is counted on top of what the loaded course takes."""
    with_course = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    if "pages" in limits:
        with_course = int(limits["pages"]) * resource.getpagesize()
    wanted = {
        "AS": with_course + (limits["memory_mb"] << 20),
        "FSIZE": DISK_MB << 20,
        "NOFILE": 64,
        "CPU": limits["cpu"],
    }
    wanted |= {"CORE": 0, "MEMLOCK": 0, "MSGQUEUE": 0} | ({} if limits["weak"] else {"NPROC": PROCESSES})
    for name, value in wanted.items():
        number = getattr(resource, f"RLIMIT_{name}", None)
        if number is not None:
            with contextlib.suppress(ValueError, OSError):  # macOS has no limit on the address space
                resource.setrlimit(number, (value, value))
    os.environ.clear()
    os.environ |= {"HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8"}
    os.environ |= {"OMP_NUM_THREADS": "1", "MANY_MODELS_PROGRESS": "off"}
    tempfile.tempdir = None  # it was looked up before


def grade(job: dict, topics: dict[str, Topic]) -> dict:
    """The verdict on one exercise of one notebook: status, passed, total, text, where it was checked."""
    if job["course"] not in topics:
        topics[job["course"]] = prepare(job["course"])
    topic = topics[job["course"]]
    task = topic.tasks[job["exercise"]]
    seconds = job["seconds"] + judge.time_limit(task.name, job)
    limits = {
        "wall": seconds + 5,
        "cpu": int(seconds) + 2,
        "cases": job.get("cases"),
        **{key: job[key] for key in ("memory_mb", "weak", "folder")},
    }
    if os.path.exists("/proc/self/statm"):
        limits["pages"] = Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]

    def launched(attempt: int = 0, probe: bool = False) -> tuple[bytes, str]:
        tried = job | {"attempt": attempt}
        return launch(lambda fd: judge.judge(fd, task, tried, topic.names, topic.shipped, probe), limits)

    def verdict_on(attempt: int) -> dict:
        report, stopped = launched(attempt)
        base = {"passed": 0, "total": judge.cases(task.name, job), "notes": []}
        if stopped == "timeout":
            return base | {"status": stopped, "text": f"It was stopped after {limits['wall']:g} seconds in all."}
        if stopped == "memory":
            text = f"Its processes took more than {IN_ALL * limits['memory_mb']} MB together."
            return base | {"status": stopped, "text": text}
        try:
            return base | json.loads(report)
        except ValueError:
            ended = "The judge's process was ended from inside: by the submission, or because memory ran out."
            return base | {"status": "tampered", "text": ended}

    if task.name not in topic.tried:  # here, so that each fork has what torch loads on first use
        found = checker.run_check(task.name, find(task.name).reference)
        if found.status != checker.PASSED:
            return {"status": "ungraded", "text": f"the course's own answer does not pass here: {found.text}"}
        topic.tried.add(task.name)
    verdict = verdict_on(0)
    if verdict["status"] != "passed" and verdict.get("tries", 1) > 1:
        verdict = max(verdict, verdict_on(1), key=lambda found: found["passed"])
    if verdict["status"] not in ("passed", "open", "missing", "ungraded") and task.name not in topic.proven:
        # Before anybody is told that an answer is wrong: the reference is right, also from the other process.
        probe = json.loads(launched(probe=True)[0] or b"{}")
        if probe.get("status") != "passed":
            text = probe.get("text") or "its process ended"
            return {"status": "ungraded", "text": f"the course's own answer does not pass in the fence: {text}"}
        topic.proven.add(task.name)
    elif verdict["status"] == "passed":
        topic.proven.add(task.name)
    return verdict


def main() -> None:
    topics: dict[str, Topic] = {}
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the course's set-up cells print is no verdict
    for line in sys.stdin:
        try:
            verdict = grade(json.loads(line), topics)
        except Exception as error:
            verdict = {"status": "ungraded", "text": f"the grader failed: {type(error).__name__}: {error}"}
        out.write(json.dumps(verdict) + "\n")
        out.flush()
    os._exit(0)  # there is nothing to put in order, and Python takes its time with torch


if __name__ == "__main__":
    main()
