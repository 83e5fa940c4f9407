"""Attacks that a review tried by hand and that test_run_python.py does not hold: each ends as it did there."""

from __future__ import annotations

import os
import platform

import pytest
from test_run_python import contained, nothing_is_left  # noqa: F401  (a fixture)

from course_utils.sandbox.run_python import run_python

pytestmark = pytest.mark.slow
x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers and the code are of this processor")

CALLS = """import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
page, info = ctypes.create_string_buffer(4096), (ctypes.c_int * 32)(9, 0, -1)
first = libc.syscall(434, 1, 0)  # pidfd_open
CALLS = {  # the number on x86_64, on aarch64, and the arguments
    "ptrace": (101, 117, 16, 1, 0, 0),
    "process_vm_readv": (310, 270, 1, page, 1, page, 1, 0),
    "process_vm_writev": (311, 271, 1, page, 1, page, 1, 0),
    "pidfd_getfd": (438, 438, first, 0, 0),
    "kcmp": (312, 272, 1, 2, 0, 0, 0),
    "move_pages": (279, 239, 1, 1, page, page, page, 0),
    "io_uring_setup": (425, 425, 8, page),
    "userfaultfd": (323, 282, 0),
    "memfd_create": (319, 279, b"x", 0),
    "memfd_secret": (447, 447, 0),
    "clone3": (435, 435, page, 88),
    "setns": (308, 268, first, 0),
    "bpf": (321, 280, 0, page, 64),
    "perf_event_open": (298, 241, page, 0, -1, -1, 0),
    "keyctl": (250, 219, 0, -3, 1),
    "chroot": (161, 51, b"/sandbox"),
    "reboot": (169, 142, 0, 0, 0, 0),
    "swapon": (167, 224, b"/x", 0),
    "init_module": (175, 105, page, 1, b""),
    "sethostname": (170, 161, b"x", 1),
    "settimeofday": (164, 170, page, 0),
    "fsopen": (430, 430, b"tmpfs", 0),
    "open_tree": (428, 428, -100, b"/", 1),
    "mount_setattr": (442, 442, -100, b"/", 0, page, 32),
}
for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
    CALLS[f"unshare {flag:#x}"] = (272, 97, flag)
    CALLS[f"clone {flag:#x}"] = (56, 220, flag | 17, 0, 0, 0, 0)
def called(x86, arm, *arguments):
    number = x86 if os.uname().machine == "x86_64" else arm
    return libc.syscall(*[ctypes.c_long(a) if isinstance(a, int) else a for a in (number, *arguments)])
for name, call in CALLS.items():
    got = called(*call)
    if got == 0 and name.startswith("clone"):
        os._exit(9)
    print(name, got if got != -1 else errno.errorcode[ctypes.get_errno()])
for call in ((200, 130, 1, 9), (234, 131, 1, 1, 9), (129, 138, 1, 9, info), (424, 424, first, 9, 0, 0)):
    called(*call)  # signals to process 1, by other calls than kill
print("alive", libc.prctl(39, 0, 0, 0, 0), os.getresuid())"""


@contained
def test_system_calls_of_no_use_are_refused_and_process_1_lives_on():
    *answers, last = run_python(CALLS).stdout.splitlines()
    assert len(answers) == 38
    assert [answer for answer in answers if answer.split()[-1] not in ("EPERM", "ENOSYS")] == []
    assert last == "alive 1 (65534, 65534, 65534)"  # no new privileges, and nobody


FILES = """import os, pickle, sys, zipfile
told = []
def tried(what):
    try:
        told.append(repr(what())[:40])
    except OSError as error:
        told.append(type(error).__name__)
os.symlink("/etc/passwd", "link")
tried(lambda: open("link").read())
os.symlink("/", "all")
tried(lambda: os.listdir("all/home"))
tried(lambda: os.link(os.__file__, "hard"))
tried(lambda: os.rename("link", "/usr/lib/link"))
with zipfile.ZipFile("slip.zip", "w") as archive:
    archive.writestr("../../../../tmp/escaped", "x")
tried(lambda: zipfile.ZipFile("slip.zip").extractall("/"))
class Shell:
    def __reduce__(self):
        return os.execv, ("/bin/sh", ["sh", "-c", "echo escaped"])
tried(lambda: pickle.loads(pickle.dumps(Shell())))
print(told)"""
WALK = """import os
found, secrets = [], []
for folder, inner, files in os.walk("/"):
    inner[:] = inner[:200] if folder.count("/") < 4 else []
    try:
        os.close(os.open(os.path.join(folder, "x"), os.O_CREAT | os.O_WRONLY))
        found.append(folder)
    except OSError:
        pass
    secrets += [name for name in files if name in ("passwd", "shadow", "environ", "authorized_keys", ".netrc")]
print(found, secrets, os.path.exists("/proc"), os.path.exists("/root/.ssh"))"""
OWN = """import ctypes, glob, mmap, os, shutil
shutil.copyfile(sorted(glob.glob("/lib*/ld-linux*"))[0], "own")
os.chmod("own", 0o755)
pages = os.open("own", os.O_RDONLY)
for run in (
    lambda: os.execv("./own", ["own"]),
    lambda: os.execve(pages, ["own"], {}),
    lambda: mmap.mmap(pages, 4096, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC),
):
    try:
        run()
    except OSError as error:
        print(type(error).__name__)"""
CHAIN = """import os, time
while True:
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        os._exit(0)
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass"""
EXEC = """import os, sys
code = "import os, sys\\nfor i in range(10**6): pass\\nos.execv(sys.executable, sys.orig_argv)"
os.execv(sys.executable, [sys.executable, "-c", code])"""
BURN = """import os
while True:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)"""
BLOCKED = """import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
os.closerange(0, 64)
while True:
    pass"""
BOMB = """import zlib
small = zlib.compress(bytes(50 << 20), 9)
kept = [zlib.decompress(small) for i in range(9)]"""
INODES = """import os
for i in range(5000):
    open(str(i), "w").close()"""
CHAINED = """error = None
for i in range(3000):
    try:
        raise ValueError("x") from error
    except ValueError as last:
        error = last
raise error"""
LATE = """import os, time
if os.fork() == 0:
    time.sleep(0.5)
    os.write(1, b"late")
    os._exit(0)
print("now")"""
X32 = """import ctypes
ctypes.CDLL(None).syscall(ctypes.c_long(0x40000000 + 39))
print("alive")"""
INT80 = """import ctypes, mmap
place = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
place.write(bytes.fromhex("b814000000cd80c3"))
ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(place)))()
print("alive")"""

PROGRAMS = {  # the code; the status and words of the message, or of what was printed
    "links, a zip that climbs, a hostile pickle": (
        FILES,
        "ok",
        "['FileNotFoundError', 'FileNotFoundError', 'OSError', 'OSError', 'OSError', 'FileNotFoundError']",
    ),
    "a walk through all folders": (WALK, "ok", "['/sandbox'] [] False False"),
    "a binary of its own": (OWN, "ok", "PermissionError\nPermissionError\nPermissionError\n"),
    "memory of the kernel": ("import mmap\nmmap.mmap(-1, 1 << 30)", "error", "Cannot allocate memory"),
    "a zip bomb": (BOMB, "memory", "256 MB"),
    "thousands of files": (INODES, "forbidden", "16 MB"),
    "brackets": ("eval('(' * 100_000)", "error", "too many nested"),
    "a NUL in the source": ("print('a\0b')", "error", "null bytes"),
    "bytes that are no text": ("import os\nos.write(1, b'\\xff\\xed\\xa0\\x80')", "ok", "\ufffd"),
    "three thousand causes": (CHAINED, "error", ""),
    "output after the end": (LATE, "ok", "now\n"),
    "no memory there": ("import ctypes\nctypes.string_at(0)", "error", "SIGSEGV"),
    "a chain of forks for new computing time": (CHAIN, "ok", "BlockingIOError"),
}
LATE_ONES = {
    "a program that starts itself anew": (EXEC, "1 s of computing"),
    "process ids": (BURN, "stopped after"),
    "stopped by itself": ("import os\nos.kill(os.getpid(), 19)", "stopped after"),
    "all signals blocked, all streams closed": (BLOCKED, "stopped after"),
}


@contained
@pytest.mark.parametrize("what", PROGRAMS)
def test_an_attack_ends_as_it_should(what):
    code, status, words = PROGRAMS[what]
    ran = run_python(code, seconds=20, wall_seconds=60)
    assert ran.status == status and words in ran.message + ran.stdout + ran.stderr, ran
    assert "escaped" not in ran.stdout and "late" not in ran.stdout


@contained
@pytest.mark.parametrize("what", LATE_ONES)
def test_an_attack_on_time_is_stopped(what):
    code, words = LATE_ONES[what]
    ran = run_python(code, seconds=1, wall_seconds=2)
    assert ran.status == "timeout" and words in ran.message, ran


@x86
@contained
@pytest.mark.parametrize("code", [X32, INT80], ids=["x32", "int 0x80"])
def test_another_numbering_of_system_calls_ends_the_program(code):
    ran = run_python(code)
    assert ran.status == "forbidden" and ran.stdout == "", ran


@contained
def test_a_descriptor_and_an_environment_of_the_notebook_are_not_there(monkeypatch):
    monkeypatch.setenv("MANY_MODELS_SECRET", "hush")
    read, write = os.pipe()
    os.set_inheritable(read, True)
    code = """import ctypes, os
libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
found = []
for fd in range(4096):
    try:
        os.fstat(fd)
        found.append(fd)
    except OSError:
        pass
print(found, libc.getenv(b"MANY_MODELS_SECRET"), sorted(os.environ))"""
    try:
        told = run_python(code).stdout
    finally:
        os.close(read)
        os.close(write)
    assert told.startswith("[0, 1, 2] None ['HOME', 'LANG', 'MALLOC_ARENA_MAX', 'PATH', 'PYTHONHASHSEED', 'TMPDIR']"), (
        told
    )
