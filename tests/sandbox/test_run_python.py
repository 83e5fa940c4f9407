"""Programs that try to get out of the sandbox, and what is left of them afterwards: nothing.

Where the sandbox cannot be had, the tests of what it contains are skipped and `test_without_a_sandbox_nothing_runs`
still holds.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from course_utils.sandbox import run_python as safe_python
from course_utils.sandbox.run_python import Ran, run_python, unavailable

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
REASON = unavailable()
contained = pytest.mark.skipif(bool(REASON), reason=REASON or "-")


def programs(ancestor: int | None = None) -> list[int]:
    """Sandboxed programs below `ancestor`; None: those without a launcher, which nobody will end
    (others' tests may run meanwhile)."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it has ended
            line = process.cmdline()
            if "/sandbox/program.py" in line or "runaway" in line:
                parents = {parent.pid: parent.cmdline() for parent in process.parents()}
                jailed = [line for line in parents.values() if any(part.endswith("jail.py") for part in line)]
                if ancestor in parents if ancestor else len(jailed) < 2:  # launcher and init
                    found.append(process.pid)
    return found


@pytest.fixture(autouse=True)
def nothing_is_left():
    """No process, no file, no open descriptor, no mount of the parent is different afterwards."""

    def state():
        folders = [ROOT, Path("/tmp"), Path.home(), Path(os.__file__).parent]
        own = {path.name for folder in folders for path in folder.iterdir() if "escaped" in path.name}
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").count("tmpfs")
        return own, len(os.listdir("/proc/self/fd")), mounts, programs(os.getpid())

    if not sys.platform.startswith("linux"):
        yield
        return
    before = state()
    yield
    deadline = time.monotonic() + 10
    # One of another test that is just ending may have lost its launcher; one that nobody ends is still there later.
    while ((after := state()) != before or programs()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert after == before
    assert after[-1] == programs() == []


@pytest.mark.skipif(
    not (shutil.which("unshare") and shutil.which("mount")), reason="asks the program `unshare` what the kernel permits"
)
def test_the_sandbox_works_wherever_namespaces_do():
    """Else a mistake in it would only show as skipped tests."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *user, *"--net --mount --pid --ipc --uts --fork mount -t tmpfs none /sys".split()]
    if subprocess.run(command, capture_output=True).returncode == 0:
        assert REASON == ""


@contained
def test_a_plain_program_and_one_with_an_error():
    assert run_python("print('sum', sum(map(int, input().split())))", stdin="1 2 3\n") == Ran("ok", "sum 6\n", "", "")
    ran = run_python("def half(x):\n    return x / 0\n\nprint('before')\nhalf(3)\n")
    assert (ran.status, ran.stdout, ran.message) == ("error", "before\n", "ZeroDivisionError: division by zero")
    own = '  File "/sandbox/program.py", line 5, in <module>\n    half(3)\n'
    assert ran.stderr.startswith(f"Traceback (most recent call last):\n{own}")


@contained
@pytest.mark.parametrize(
    ("code", "status", "message"),
    [
        ("import sys; sys.exit(3)", "error", "it ended with exit code 3"),
        ("print('a' 'b'", "error", "SyntaxError: '(' was never closed"),
        ("import os; os.abort()", "error", "it was ended by the signal SIGABRT"),
        ("raise SystemExit", "ok", ""),
        ("x = 'é\\udc80'\nprint(ascii(x))", "ok", ""),
        ("", "ok", ""),
    ],
)
def test_ordinary_ends(code, status, message):
    ran = run_python(code)
    assert (ran.status, ran.message) == (status, message)


@contained
def test_of_no_family_can_a_socket_be_made_and_a_pair_reaches_nobody():
    code = """import errno, socket
told = set()
for family in range(46):
    for kind in (1, 2, 3):
        try:
            socket.socket(family, kind)
            told.add("made")
        except OSError as error:
            told.add(errno.errorcode[error.errno])
print(sorted(told))
one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
one.send(b"x")
print(other.recv(1))
try:
    one.sendto(b"x", b"\\0many-models-test")
except OSError as error:
    print(type(error).__name__)"""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(b"\0many-models-test")
        server.setblocking(False)
        ran = run_python(code)
        with pytest.raises(BlockingIOError):
            server.recv(1)
    assert ran.stdout.splitlines()[:2] == ["['EPERM']", "b'x'"] and ran.stdout.splitlines()[2].endswith("Error"), ran


@contained
@pytest.mark.parametrize("number", [35, 50, 63])
def test_a_signal_without_a_name_is_an_end_like_another(number):
    ran = run_python(f"import os\nos.kill(os.getpid(), {number})")
    assert (ran.status, ran.message) == ("error", f"it was ended by the signal signal {number}")


@contained
@pytest.mark.parametrize("words", ["x: error while loading shared libraries: y", "Fatal Python error: init"])
def test_a_program_that_ran_is_not_called_unavailable(words):
    ran = run_python(f"import sys\nsys.stderr.write({words!r})\nsys.exit(1)")
    assert ran.status == "error" and ran.stderr == words


@contained
def test_the_limits_of_other_processes_are_out_of_reach():
    code = """import resource
print(resource.prlimit(0, resource.RLIMIT_CORE, (0, 0)))
resource.prlimit(1, resource.RLIMIT_CPU, (0, 0))"""
    ran = run_python(code)
    assert ran.stdout == "(0, 0)\n" and ran.status == "forbidden" and "may not" in ran.message


def test_a_program_that_ends_its_watcher_is_told_from_one_that_did_not_run():
    kept = {name: safe_python._Kept(1000) for name in ("stdout", "stderr", "report", "late")}
    assert safe_python._outcome(kept, False, 1, 1, 256).status == "unavailable"
    kept["report"].add(b'{"started": true}\n')
    kept["stdout"].add(b"printed")
    ran = safe_python._outcome(kept, False, 1, 1, 256)
    assert (ran.status, ran.stdout) == ("error", "printed")


@contained
def test_a_message_is_one_short_line_without_control_characters():
    ran = run_python("raise ValueError('\\x1b[2J\\a\\u202e' + 'x' * 5000)")
    assert ran.status == "error" and ran.message.isprintable() and len(ran.message) <= 300


@pytest.mark.parametrize("name", ["seconds", "wall_seconds", "memory_mb", "output_limit"])
@pytest.mark.parametrize("value", [1e300, float("nan"), float("inf"), -1])
def test_an_absurd_limit_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        run_python("", **{name: value})


@contained
def test_a_limit_that_is_no_whole_number_is_rounded():
    assert run_python("print('abcdef')", output_limit=2.5).stdout.startswith("ab\n...")


@contained
def test_the_standard_library_works_inside():
    code = """
import asyncio, concurrent.futures, dataclasses, decimal, json, multiprocessing, pathlib, pickle, random, sqlite3, tempfile, zoneinfo
@dataclasses.dataclass
class Point:
    x: int
async def wait():
    await asyncio.sleep(0.01)
    return 5
with concurrent.futures.ThreadPoolExecutor(2) as pool:
    print(list(pool.map(abs, [-1, 2])))
with tempfile.TemporaryDirectory() as folder:
    pathlib.Path(folder, "a").write_text("x" * 1000)
with open("mine.txt", "w") as file:
    file.write("kept")
print(asyncio.run(wait()), pickle.loads(pickle.dumps(Point(2))), open("mine.txt").read())
"""  # noqa: E501
    assert run_python(code, seconds=5) == Ran("ok", "[1, 2]\n5 Point(x=2) kept\n", "", "")


@contained
def test_two_runs_do_not_see_each_other_and_print_the_same():
    code = "import os; print(os.listdir()); open('left', 'w').close(); print({'a', 'b', 'c', 'd'})"
    first, second = run_python(code), run_python(code)
    assert first.stdout.startswith("['program.py']\n") and first == second


@contained
def test_several_at_once_do_not_share_their_limits():
    start = "threading.Thread(target=time.sleep, args=(2,)).start()"
    code = f"import threading, time\nfor i in range(4): {start}\nprint('all')"
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda i: run_python(code, wall_seconds=60), range(4)))
    assert results == [Ran("ok", "all\n", "", "")] * 4


@contained
def test_long_input_and_output_are_passed_and_cut():
    ran = run_python("text = input(); print(len(text)); print(text)", stdin="x" * 1_000_000, output_limit=100)
    assert ran.status == "ok" and ran.stdout == "1000000\n" + "x" * 92 + "\n... and 999909 more bytes"


def in_c(call: str) -> str:
    """A program that calls the C library itself and raises what the kernel answers."""
    return (
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        f"if libc.{call} == -1:\n    number = ctypes.get_errno()\n    raise OSError(number, os.strerror(number))"
    )


CLONE = {"aarch64": 220}.get(os.uname().machine, 56) if hasattr(os, "uname") else 56
SLEEPERS = "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(100,), daemon=True).start()"
SCRIPT = "open('run', 'w').write('#!' + os.sys.executable)\nos.chmod('run', 0o755)\nos.execv('./run', ['run'])"
RAISED = "import resource as r\nr.setrlimit(r.RLIMIT_CPU, (1000, 1000))"
BIG_FILES = "for i in range(99):\n    with open(f'{i}', 'wb') as f: f.write(b'x' * 1_000_000)"
STUBBORN = "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
IGNORED = "import signal\nfor s in (1, 2, 15, signal.SIGXCPU): signal.signal(s, signal.SIG_IGN)\nwhile True: pass"
SPAWNED = "[sys.executable, '-c', 'import time; time.sleep(1000)', 'runaway']"
OUTSIDE, NOTHING = "outside its working directory", "nothing of the machine is there"

# What a program tries, under the status that it ends with: its code, and a word of the message.
ESCAPES = {
    "timeout": {
        "infinite loop": ("while True: pass", "1 s of computing"),
        "loop that catches all": (STUBBORN, "computing"),
        "ignored signals": (IGNORED, "computing"),
        "sleep": ("import time; time.sleep(1000)", "stopped after 3 s"),
        "stubborn fork bomb": ("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", "stopped after"),
        "endless output": ("while True: print('x' * 10_000)", "stopped"),
        "endless errors": ("import sys\nwhile True: print('x' * 10_000, file=sys.stderr)", "stopped"),
    },
    "error": {
        "raised limits": (RAISED, "not allowed to raise maximum limit"),
        "deep recursion": ("def f(): return f()\nf()", "RecursionError"),
        "import of the course": ("import course_utils", "No module named 'course_utils'"),
        "import of a package": ("import numpy", "No module named 'numpy'"),
        "root again": ("import os\nos.setuid(0)", "Invalid argument"),
    },
    "forbidden": {
        "fork bomb": ("import os\nwhile True: os.fork()", "too many processes"),
        "thread bomb": (SLEEPERS, "too many processes or threads"),
        "memory file": ("import os\nos.memfd_create('x')", "may not"),
        "shared memory": (in_c("shmget(0, 10**9, 0o1600)"), "may not"),
        "big file": ("with open('big', 'wb') as f:\n    while True: f.write(b'x' * 1_000_000)", "more than 16 MB"),
        "many files": (BIG_FILES, "more than 16 MB"),
        "many open files": ("x = [open('/dev/null') for i in range(1000)]", "too many files"),
        "write in the repository": (f"open({str(ROOT / 'escaped')!r}, 'w')", OUTSIDE),
        "write in /tmp": ("open('/tmp/escaped', 'w')", OUTSIDE),
        "write in its root": ("open('/escaped', 'w')", "everything else is read-only"),
        "write in the library": ("import os\nopen(os.path.dirname(os.__file__) + '/escaped.py', 'w')", "read-only"),
        "change the library": ("import os\nos.chmod(os.__file__, 0o777)", "stopped"),
        "read /etc/passwd": ("open('/etc/passwd')", OUTSIDE),
        "read the home directory": (f"import os\nos.listdir({str(Path.home() / '.cache')!r})", OUTSIDE),
        "read an environment": ("open('/proc/1/environ')", OUTSIDE),
        "climb up": ("open('../../../../etc/shadow')", OUTSIDE),
        "socket": ("import socket\nsocket.create_connection(ADDRESS)", "may not: network"),
        "socket to the outside": ("import socket\nsocket.create_connection(('1.1.1.1', 80), timeout=1)", "network"),
        "web page": ("import urllib.request\nurllib.request.urlopen('http://example.org')", "network"),
        "local socket": ("import socket\nsocket.socket(socket.AF_UNIX).connect('/run/x')", "may not"),
        "kill of the parent": ("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)", "may not"),
        "kill of the notebook": (f"import os\nos.kill({os.getpid()}, 9)", "it can see only its own"),
        "shell": ("import os\nos.execv('/bin/sh', ['sh', '-c', 'echo escaped'])", NOTHING),
        "shell of subprocess": ("import subprocess\nsubprocess.run('echo escaped', shell=True)", NOTHING),
        "a script that it wrote": (f"import os\n{SCRIPT}", "may not"),
        "mount": (in_c("mount(b'none', b'/sandbox', b'tmpfs', 0, None)"), "mounts"),
        "new user namespace": (in_c("unshare(0x10000000)"), "may not"),
        "clone into a namespace": (in_c(f"syscall({CLONE}, 0x10000011, 0, 0, 0, 0)"), "may not"),
        "trace process 1": (in_c("ptrace(16, 1, None, None)"), "may not"),
    },
    "memory": {
        "big allocation": ("x = bytearray(10**9)", "more than 256 MB"),
        "growing list": ("x = []\nwhile True: x.append('y' * 100_000)", "more than 256 MB"),
    },
}


@contained
def test_tracebacks_that_run_into_one_another_are_still_a_fork_bomb():
    error = "BlockingIOError: [Errno 11] Resource temporarily unavailable"
    piece = f'Traceback (most recent call last):\n  File "<string>", line 1, in <module>\n{error}\n'
    for mixed in (f"{piece}       ^^^^^^^^^\n", f"{piece}Traceba{error[8:]}\n"):
        ran = run_python(f"import sys\nsys.stderr.write({mixed!r})\nsys.exit(1)")
        assert (ran.status, "too many processes" in ran.message) == ("forbidden", True), ran


@contained
@pytest.mark.parametrize(("status", "name"), [(status, name) for status in ESCAPES for name in ESCAPES[status]])
def test_escape_is_contained(status, name):
    code, word = ESCAPES[status][name]
    # Somebody who would answer, where no client of another test that still knows a port of 127.0.0.1 knocks.
    with socket.create_server((f"127.{random.randint(1, 254)}.{random.randint(1, 254)}.1", 0)) as server:
        server.settimeout(0)
        # Only a program that is to run out of time gets little of it: on a busy machine filling 256 MB takes a second.
        ran = run_python(
            code.replace("ADDRESS", repr(server.getsockname())),
            seconds=1 if status == "timeout" else 20,
            wall_seconds=3 if status == "timeout" and "computing" not in word else 60,
        )
        with pytest.raises(BlockingIOError):
            server.accept()
    assert (ran.status, word in ran.message) == (status, True), ran
    assert "escaped" not in ran.stdout and len(ran.message.splitlines()) == 1
    assert len(ran.stdout) <= 10_100 and len(ran.stderr) <= 10_100


@contained
@pytest.mark.parametrize("start", ["os.fork()", f"os.posix_spawn(sys.executable, {SPAWNED}, {{}})"])
def test_a_background_child_ends_with_the_program(start):
    code = f"""
import os, signal, sys, time
if {start} == 0:
    os.setsid()
    for number in range(1, 32):
        try: signal.signal(number, signal.SIG_IGN)
        except OSError: pass
    time.sleep(1000)
time.sleep(0.3)
print("parent ends")
"""
    began = time.monotonic()
    assert run_python(code, wall_seconds=100) == Ran("ok", "parent ends\n", "", "")
    assert time.monotonic() - began < 90  # it was not waited for


@contained
def test_ctypes_gets_no_further(tmp_path):
    """Straight to the C library, where no check of Python's stands between. The answers are the kernel's."""
    target = ROOT / "README.md"
    code = f"""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for name, call in [("unlink", lambda: libc.unlink({bytes(target)!r})),
                   ("unlink in /tmp", lambda: libc.unlink({bytes(tmp_path / "victim")!r})),
                   ("kill", lambda: libc.kill({os.getpid()}, 9)), ("killpg", lambda: libc.kill(-{os.getpgrp()}, 9)),
                   ("kill init", lambda: libc.kill(1, 9)), ("socket", lambda: libc.socket(2, 1, 0)),
                   ("chroot", lambda: libc.chroot(b"/sandbox"))]:
    print(name, call(), os.strerror(ctypes.get_errno()))
"""
    (tmp_path / "victim").touch()
    ran = run_python(code)
    assert ran.stdout.splitlines() == [
        "unlink -1 No such file or directory",
        "unlink in /tmp -1 No such file or directory",
        "kill -1 No such process",
        "killpg -1 No such process",
        "kill init -1 Operation not permitted",
        "socket -1 Operation not permitted",
        "chroot -1 Operation not permitted",
    ], ran
    assert target.exists() and (tmp_path / "victim").exists()


@contained
def test_what_the_program_can_see(monkeypatch):
    monkeypatch.setenv("MANY_MODELS_ENDPOINT_KEY", "secret")
    code = """
import os
fds = []
for fd in range(64):
    try: os.fstat(fd); fds.append(fd)
    except OSError: pass
print(fds, os.getuid(), os.getpid(), os.getppid(), "secret" in str(os.environ))
print(sorted(set(os.listdir("/")) - {"lib", "lib64", "usr", "dev", "etc", "sandbox"} - {os.path.realpath(os.sys.executable).split("/")[1]}))
print(os.listdir("/etc"), sorted(os.listdir("/dev")), os.isatty(0), os.getsid(0) == os.getpgrp() == 0)
try: os.write(0, b"x")
except OSError as error: print(error)
"""  # noqa: E501
    assert run_python(code).stdout.splitlines() == [
        "[0, 1, 2] 65534 2 1 False",
        "[]",
        "['ld.so.cache'] ['null', 'random', 'urandom', 'zero'] False True",
        "[Errno 9] Bad file descriptor",
    ]


def wait_for_program_of(ancestor: int) -> None:
    deadline = time.monotonic() + 60
    while not programs(ancestor) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert programs(ancestor), "the program did not start"


@contained
def test_the_interrupted_notebook_leaves_no_program(monkeypatch):
    def interrupted(process, report, job, *others):
        process.stdin.write(job)
        process.stdin.close()
        wait_for_program_of(os.getpid())
        raise KeyboardInterrupt

    monkeypatch.setattr(safe_python, "_watch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_python("import time; time.sleep(1000)")


@contained
def test_a_dead_notebook_leaves_no_program():
    """The process that called run_python is killed outright: the sandbox ends with it (asserted by the fixture)."""
    call = "run_python('import time; time.sleep(1000)', wall_seconds=500)"
    code = f"from course_utils.sandbox.run_python import run_python; {call}"
    notebook = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    wait_for_program_of(notebook.pid)
    notebook.kill()
    notebook.wait()


@contained
@pytest.mark.skipif(
    not (
        hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("setpriv") and Path("/usr/bin/python3").exists()
    ),
    reason="this way is for tests that run as root",
)
def test_the_same_without_root(tmp_path):
    """An ordinary user has the same sandbox, through a user namespace (skipped where those are closed to users)."""
    for name in ("run_python.py", "jail.py"):
        shutil.copy(ROOT / "course_utils" / "sandbox" / name, tmp_path / name)
    for folder in [tmp_path, *tmp_path.parents[:3]]:
        if folder != Path("/tmp"):
            folder.chmod(0o755)
    code = """
from run_python import run_python
for code in ["import os; print(os.getuid())", "import os\\nwhile 1: os.fork()", "open('/escaped', 'w')", "import socket; socket.socket()"]:
    ran = run_python(code)
    print(ran.status, ran.stdout.strip(), ran.message[:40])
"""  # noqa: E501
    command = [*"setpriv --reuid=4711 --regid=4711 --clear-groups /usr/bin/python3 -c".split(), code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    if "unavailable" in done.stdout:
        pytest.skip(done.stdout)
    assert done.stdout.splitlines() == [
        "ok 65534 ",
        "forbidden  stopped: it started too many processes o",
        "forbidden  stopped: it wrote to a file outside its ",
        "forbidden  stopped: it did what a program in the sa",
    ], done


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the launcher is not even started elsewhere")
@pytest.mark.parametrize("stage", ["the namespaces", "the root", "the capabilities", "the filter", "the interpreter"])
def test_without_a_sandbox_nothing_runs(stage, monkeypatch, tmp_path):
    """Whatever part of the sandbox fails, the program is not started."""
    source = (ROOT / "course_utils" / "sandbox" / "jail.py").read_text(encoding="utf-8")
    root = 'call("syscall", ctypes.c_long({}), ".", ".")'
    old, new = {
        "the namespaces": ("NEWNS | NEWUTS | NEWIPC | NEWPID | NEWNET)\n    build", "0xFFFFFFFF)\n    build"),
        "the root": (root.format('DENIED["pivot_root"][MACHINES.index(machine)]'), root.format("-1")),
        "the capabilities": ("PR_CAPBSET_DROP, capability,", "PR_CAPBSET_DROP, 99,"),
        "the filter": ("PR_SET_SECCOMP, 2, pointer,", "PR_SET_SECCOMP, 2, None,"),
        "the interpreter": ("os.execve(interpreter,", "os.execve('/no/python',"),
    }[stage]
    assert source.count(old) == 1
    (tmp_path / "jail.py").write_text(source.replace(old, new), encoding="utf-8")
    monkeypatch.setattr(safe_python, "__file__", str(tmp_path / "run_python.py"))
    ran = run_python("print('escaped')")
    assert (ran.status, ran.stdout, ran.stderr) == ("unavailable", "", "")
    assert re.fullmatch("the sandbox is unavailable here, so the code was not run: .+", ran.message)  # one line
    assert unavailable() == ran.message


def test_another_system_has_no_sandbox(monkeypatch):
    monkeypatch.setattr(safe_python.sys, "platform", "darwin")
    assert run_python("print(1)") == Ran("unavailable", "", "", "the sandbox needs Linux, so the code was not run")


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"code": None}, "code and stdin"),
        ({"code": "1", "stdin": b""}, "code and stdin"),
        ({"code": "1", "seconds": 0}, "seconds"),
        ({"code": "1", "memory_mb": 1}, "memory_mb"),
        ({"code": "1", "output_limit": -1}, "output_limit"),
        ({"code": "1", "wall_seconds": float("inf")}, "wall_seconds"),
    ],
)
def test_bad_arguments(arguments, name):
    with pytest.raises(ValueError, match=name):
        run_python(**arguments)
