"""The course in a process from which everything was taken that Windows lacks. Prints what came of it, as JSON on the
last line.

First the packages that the course uses are loaded: they have builds of their own for each system, which this does not
try.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import importlib
import io
import json
import os
import pkgutil
import select
import signal
import socket
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULES = ["resource", "fcntl", "pwd", "grp", "termios", "tty", "pty", "syslog", "readline", "curses", "triton"]
LACKING = {  # but for what the standard library and packages use here: statvfs, sendfile, O_NONBLOCK
    os: """chown chroot confstr ctermid eventfd fchown fork forkpty getegid geteuid getgid getgroups getloadavg getpgid getpgrp getpriority
        getresuid getsid getuid initgroups killpg lchown lockf memfd_create mkfifo mknod nice openpty pathconf pipe2 posix_fallocate
        posix_spawn pread preadv pwrite pwritev readv sched_getaffinity sched_setaffinity sched_yield setegid seteuid setgid
        setgroups setpgid setpriority setresgid setresuid setsid setuid sync sysconf tcgetpgrp ttyname uname unshare wait wait3
        wait4 waitid writev O_CLOEXEC O_DIRECTORY O_NOFOLLOW""",  # noqa: E501
    signal: """SIGALRM SIGBUS SIGCHLD SIGCONT SIGHUP SIGIO SIGKILL SIGPIPE SIGPROF SIGQUIT SIGSTOP SIGSYS SIGTSTP SIGTTIN SIGTTOU SIGUSR1
        SIGUSR2 SIGVTALRM SIGWINCH SIGXCPU SIGXFSZ ITIMER_REAL ITIMER_VIRTUAL ITIMER_PROF setitimer getitimer alarm pause pthread_kill
        pthread_sigmask sigpending sigwait siginterrupt""",  # noqa: E501
    select: "poll epoll kqueue",
    socket: "AF_UNIX socketpair",
}


def load_packages() -> None:
    """What the modules of course_utils import at their top, but for themselves; and what pictures need."""
    for path in (ROOT / "course_utils").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            package = getattr(node, "module", "") if isinstance(node, ast.ImportFrom) else ""
            package = node.names[0].name if isinstance(node, ast.Import) else package
            if package and package.split(".")[0] not in {"course_utils", "__future__", *MODULES}:
                exec(ast.unparse(node))  # name by name: transformers loads what is asked for
    importlib.import_module("matplotlib.pyplot")


def take_away() -> None:
    for name in MODULES:
        sys.modules[name] = None
    for module, names in LACKING.items():
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)
    os.kill = kill
    library = ctypes.CDLL

    class Library(library):
        def __init__(self, name: str, *args: object, **options: object) -> None:
            if name is None:
                raise TypeError("there is no library without a name")
            super().__init__(name, *args, **options)

    ctypes.CDLL = Library


def kill(pid: int, number: int, send=os.kill) -> None:
    if "course_utils" in sys._getframe(1).f_code.co_filename:
        raise AssertionError("os.kill ends the process on Windows, whatever the signal")
    send(pid, number)  # psutil's, which knows the system


def toy(name: str, seconds: float = 0.3) -> str:
    from course_utils.exercises.engine import Exercise, Mistake, close, register

    def doubles(answer) -> None:
        """It doubles."""
        if answer(3.0) == 9.0:
            raise Mistake("You squared it.")
        close(answer(3.0), 6.0)

    return register(Exercise(f"toy.{name}", lambda x: 2 * x, [doubles], seconds=seconds)).name


def endless(x):
    while True:
        pass


def stubborn(x):
    while True:
        try:
            sum(range(100))
            x = x + 1
            sum(range(100))
        except BaseException:
            x = x - 1


def stops(x):
    raise KeyboardInterrupt


def interrupted(x):
    import _thread

    _thread.interrupt_main()  # as a front end interrupts a kernel on Windows
    while True:
        pass


def answers() -> dict[str, object]:
    from course_utils.exercises.engine import all_exercises, run_check

    references = {name: run_check(name, exercise.reference).text for name, exercise in all_exercises().items()}
    found: dict[str, object] = {"references": references}
    before, handlers = time.monotonic(), [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    answers = {"right False": lambda x: x * x, "right True": lambda x: x + x}
    for name, answer in ({a.__name__: a for a in (endless, stubborn, stops)} | answers).items():
        found[name] = run_check(toy("t"), answer).text
    try:
        found["interrupted"] = run_check(toy("long", 60), interrupted).text
    except KeyboardInterrupt:
        found["interrupted"] = "KeyboardInterrupt"
    found["seconds"] = time.monotonic() - before
    found["handlers"] = handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    return found


def cells(notebook: str, *beginnings: str) -> str:
    """What the set-up cell and the cells that begin so print, one after the other."""
    nb = json.loads((ROOT / "notebooks" / notebook).read_text(encoding="utf-8"))
    sources = ["".join(cell["source"]) for cell in nb["cells"] if cell["cell_type"] == "code"]
    names, printed = {"__name__": "__main__"}, io.StringIO()
    for beginning in ("import ", *beginnings):
        source = next(source for source in sources if source.startswith(beginning))
        with contextlib.redirect_stdout(printed):
            exec(compile(source, beginning, "exec"), names)
    if "contained" in names:
        contained = all(names["contained"](name, ran) for name, ran in names["outcomes"].items())
        print(f"contained: {contained}", file=printed)
    return printed.getvalue()


MERGE = ["from safetensors.torch import load_file"]  # how the cell that runs the command begins


def needs_linux() -> dict[str, object]:
    from course_utils.classroom import grade
    from course_utils.sandbox import run_python

    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = grade.main(["submissions"])
    return {
        "run_python": run_python.run_python("print(1)"),
        "unavailable": run_python.unavailable(),
        "grade": [code, said.getvalue()],
        "11": cells("11_self_refine.ipynb", "ATTACKS = ", "outcomes = ", "programs = ", "row = programs"),
        "07": cells("07_mixture_of_experts.ipynb", "SCRIPT = ", "with tempfile"),
    }


def main() -> None:
    load_packages()
    take_away()
    package = importlib.import_module("course_utils")
    modules = [module.name for module in pkgutil.walk_packages(package.__path__, "course_utils.")]
    failed = {}
    for name in modules:
        if name.startswith("course_utils.sparsity.triton"):  # where Triton is; `sparsity` does without it
            continue
        try:
            importlib.import_module(name)
        except BaseException as error:
            failed[name] = f"{type(error).__name__}: {error}"
    from course_utils import sparsity
    from course_utils.merging import command

    found = {
        "modules": modules,
        "failed": failed,
        "backend": sparsity.backend(),
        "alive": [command._alive(pid) for pid in (str(os.getpid()), "x")],
        "04": cells("04_task_vectors_and_merging.ipynb", "DOMAINS = ", "by_hand = ", "folder = ", *MERGE),
    } | answers()
    sys.platform = "win32"
    print(json.dumps(found | needs_linux()))


if __name__ == "__main__":
    main()
