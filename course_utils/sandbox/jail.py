"""The sandbox itself: a child process of `run_python` confines itself with Linux namespaces, then runs the program.

A script of the standard library alone: `python -I -S -B jail.py <report fd>`, the job as JSON on standard input. Three
processes:
    launcher    new mount, network, process-id, IPC and user namespaces; it waits, and when it is killed everything
                below dies
    init        process 1 inside: changes the root to the sandbox's, gives up every privilege, waits for the program
    program     resource limits, a filter on system calls, then `exec` of a fresh interpreter
The outcome goes to the report fd, which the program does not have, as one line of JSON. Anything that fails before the
program is started is reported as {"unavailable": reason}, and the program is not started: there is no weaker second
choice.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import select
import signal
import struct
import sys
from collections.abc import Sequence
from functools import cache
from typing import NoReturn

try:
    import resource
except ImportError:  # Windows, where this module can be imported and nothing else
    resource = None

WORK, NOBODY = "/sandbox", 65534
NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 0x1000, 0x4000, 0x40000
AT_FDCWD, AT_RECURSIVE, MNT_DETACH, ATTR_RDONLY, ATTR_NOSUID = -100, 0x8000, 2, 1, 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
PR_CAPBSET_READ, PR_CAPBSET_DROP = 23, 24

# What differs between the two processors for which there is a filter: the numbers of system calls, and the audit code.
MACHINES = ("x86_64", "aarch64")
AUDIT_ARCH, CLONE, KILL, PRLIMIT = (0xC000003E, 0xC00000B7), (56, 220), (62, 129), (302, 261)
CLONE3, MOUNT_SETATTR = 435, 442  # on both
# System calls that answer "Operation not permitted": network, memory that no limit counts, namespaces, other processes,
# kernel interfaces.
DENIED = {
    "socket": (41, 198),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "fsopen": (430, 430),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "mount_setattr": (442, 442),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "open_by_handle_at": (304, 265),
}


@cache
def c_library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> None:
    """A function of the C library that returns 0; OSError otherwise."""
    wrapped = [
        os.fsencode(a) if isinstance(a, str) else ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments
    ]
    if getattr(c_library(), name)(*wrapped) != 0:
        number, said = ctypes.get_errno(), ", ".join(str(a) for a in arguments if isinstance(a, (str, int)))
        raise OSError(number, os.strerror(number), f"{name}({said[:80]})")


def map_user(user: int, group: int, proc: int) -> None:
    """Inside this new user namespace user and group are NOBODY, whoever they are outside; proc: a descriptor of the
    old /proc."""
    for name, text in (("setgroups", "deny"), ("uid_map", f"{NOBODY} {user} 1"), ("gid_map", f"{NOBODY} {group} 1")):
        with open(os.open(f"self/{name}", os.O_WRONLY, dir_fd=proc), "wb", buffering=0) as file:
            file.write(text.encode())


def sources(interpreter: str) -> list[str]:
    """What of the machine's files the program can see, read-only: the interpreter, its library, the shared libraries.
    No shell, no /etc."""
    prefix = os.path.dirname(os.path.dirname(interpreter))
    folders = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", f"{prefix}/lib"]
    files = ["/etc/ld.so.cache", "/usr/share/zoneinfo", "/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"]
    return [path for path in dict.fromkeys([*folders, interpreter, *files]) if os.path.exists(path)]


def build_root(root: str, interpreter: str, job: dict, also: Sequence[str] = ()) -> None:
    """A file system in memory at `root`: the sources and `also` bound into it, read-only, and /sandbox, which is
    writable and small."""
    call("mount", "none", "/", None, MS_REC | MS_PRIVATE, None)
    call("mount", "tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=1m")
    for path in dict.fromkeys([*sources(interpreter), *also]):
        target = root + path
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.islink(path):  # /lib -> usr/lib
            os.symlink(os.readlink(path), target)
        elif not os.path.exists(target):  # else it is inside a folder that is bound already
            os.mkdir(target) if os.path.isdir(path) else os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
            call("mount", path, target, None, MS_BIND | MS_REC, None)
    os.mkdir(root + WORK)
    attributes = struct.pack("=QQQQ", ATTR_RDONLY | ATTR_NOSUID, 0, 0, 0)
    read_only = ctypes.c_long(MOUNT_SETATTR), ctypes.c_long(AT_FDCWD), root, AT_RECURSIVE, attributes, len(attributes)
    call("syscall", *read_only)
    megabytes = job["disk_mb"] + (len(job["code"]) + len(job["stdin"])) // 250_000 + 1
    options = f"mode=777,size={megabytes}m,nr_inodes=2000"
    call("mount", "tmpfs", root + WORK, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options)


def isolate(root: str, interpreter: str, job: dict, also: Sequence[str] = ()) -> tuple[str, bool, int]:
    """New namespaces for what this process forks from here on, and a file system for it at `root` (`build_root`). What
    `enter_root`, `drop_privileges` and `filter_calls` then need: the machine, whether this was root, and /proc, which
    is out of reach afterwards.
    Raises OSError where the kernel refuses, or where there is no filter for the machine."""
    machine, was_root, proc = platform.machine(), os.geteuid() == 0, os.open("/proc", os.O_RDONLY)
    if machine not in MACHINES:
        raise OSError(f"no filter of system calls for {machine}")
    if not was_root:
        user, group = os.geteuid(), os.getegid()
        call("unshare", NEWUSER)
        map_user(user, group, proc)
    call("unshare", NEWNS | NEWUTS | NEWIPC | NEWPID | NEWNET)
    build_root(root, interpreter, job, also)
    return machine, was_root, proc


def enter_root(root: str, machine: str) -> None:
    """Make `root` the root of the file system; the old one is gone from here on."""
    os.chdir(root)
    call("syscall", ctypes.c_long(DENIED["pivot_root"][MACHINES.index(machine)]), ".", ".")
    call("umount2", ".", MNT_DETACH)
    os.chdir(WORK)


def drop_privileges(was_root: bool, proc: int) -> None:
    """No capability, no way to get one back, nobody's user id, also where the notebook runs as root
    (whom no process limit holds)."""
    if was_root:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        call("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0)  # else its own /proc entries belong to root
        call("unshare", NEWUSER)  # processes are counted for each user namespace
        map_user(NOBODY, NOBODY, proc)
    for capability in range(64):
        if c_library().prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1:  # -1: the kernel knows no such one
            call("prctl", PR_CAPBSET_DROP, capability, 0, 0, 0)
    call("capset", struct.pack("=II", 0x20080522, 0), struct.pack("=6I", *[0] * 6))
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)  # the program cannot trace this process
    call("prctl", PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)  # last: a change of user resets it


def filter_program(machine: str) -> bytes:
    """The seccomp filter: classic BPF over (call number, architecture, ..., low words of the arguments at 16 + 8 i)."""

    def statement(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("=HBBI", code, yes, no, value)

    place, namespaces = MACHINES.index(machine), NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET
    load, equal, any_bit, answer = 0x20, 0x15, 0x45, 0x06
    # refuse is EPERM; missing is ENOSYS, after which the C library uses clone instead of clone3
    allow, kill, refuse, missing = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
    lines = [(load, 4), (equal, AUDIT_ARCH[place], 1), (answer, kill), (load, 0)]
    if machine == "x86_64":  # the second numbering of the calls, x32
        lines += [(any_bit, 0x40000000, 0, 1), (answer, kill)]
    lines += [(equal, CLONE3, 0, 1), (answer, missing)]
    for numbers in DENIED.values():
        lines += [(equal, numbers[place], 0, 1), (answer, refuse)]
    lines += [(equal, CLONE[place], 0, 4), (load, 16), (any_bit, namespaces, 0, 1), (answer, refuse), (answer, allow)]
    # limits of oneself only: one on process 1 would end the sandbox
    lines += [(equal, PRLIMIT[place], 0, 4), (load, 16), (equal, 0, 1, 0), (answer, refuse), (answer, allow)]
    lines += [(equal, KILL[place], 0, 3), (load, 16), (equal, 1, 0, 1), (answer, refuse), (answer, allow)]
    return b"".join(statement(*line) for line in lines)


def filter_calls(machine: str) -> None:
    """From here on this process and all that it starts are under the filter."""
    program = filter_program(machine)
    buffer = ctypes.create_string_buffer(program, len(program))
    pointer = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer)))
    call("prctl", PR_SET_SECCOMP, 2, pointer, 0, 0)


def run_program(interpreter: str, job: dict, machine: str) -> NoReturn:
    """Limits and filter, then the program. Hard limits: the program can lower but not raise them."""
    limits = {"AS": job["memory_mb"] << 20, "FSIZE": job["disk_mb"] << 20, "NPROC": job["processes"] + 1, "NOFILE": 64}
    for name, value in (limits | dict.fromkeys(("CORE", "MSGQUEUE", "MEMLOCK"), 0)).items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
    # SIGXCPU; one second later, if that is ignored, SIGKILL
    resource.setrlimit(resource.RLIMIT_CPU, (job["cpu"], job["cpu"] + 1))
    for signal_number in (signal.SIGPIPE, signal.SIGINT, signal.SIGXFSZ):
        signal.signal(signal_number, signal.SIG_DFL)
    environment = {"PATH": "", "HOME": WORK, "TMPDIR": WORK, "LANG": "C.UTF-8"}
    environment |= {"PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "1"}
    filter_calls(machine)
    os.execve(interpreter, [interpreter, "-P", "-s", "-S", "-B", "-X", "utf8", f"{WORK}/program.py"], environment)


def init(root: str, interpreter: str, job: dict, machine: str, report: int, was_root: bool, proc: int) -> None:
    """Process 1: everything inside ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # process 1 gets no signal from inside that it has no handler for
    enter_root(root, machine)
    drop_privileges(was_root, proc)
    os.close(proc)
    ready = select.poll()
    ready.register(report, 0)
    if any(event & select.POLLERR for _, event in ready.poll(0)):
        os._exit(1)  # nobody is reading any more
    for name, text in (("program.py", job["code"]), (".stdin", job["stdin"])):
        with open(name, "wb") as file:
            file.write(text.encode("utf-8", "replace"))
    os.dup2(os.open(".stdin", os.O_RDONLY), 0)
    os.unlink(".stdin")
    told, tell = os.pipe()  # closed by a successful exec
    program = os.fork()
    if program == 0:
        try:
            run_program(interpreter, job, machine)
        except BaseException as error:
            os.write(tell, f"{type(error).__name__}: {error}".encode())
            os._exit(127)
    os.close(tell)
    if failed := os.read(told, 1000):
        raise OSError(failed.decode(errors="replace"))
    os.write(report, b'{"started": true}\n')
    while True:
        ended, status, usage = os.wait4(-1, 0)
        if ended == program:
            break
    answer = {"exit": os.waitstatus_to_exitcode(status), "cpu": usage.ru_utime + usage.ru_stime}
    os.write(report, json.dumps(answer).encode())


def main() -> None:
    report = int(sys.argv[1])
    os.set_inheritable(report, False)  # the program must not be able to write its own report
    try:
        call("prctl", PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        job = json.load(sys.stdin.buffer)
        interpreter, root = os.path.realpath(sys.executable), "/sys"
        machine, was_root, proc = isolate(root, interpreter, job)
        child = os.fork()
        if child == 0:
            init(root, interpreter, job, machine, report, was_root, proc)
            os._exit(0)
    except BaseException as error:
        os.write(report, json.dumps({"unavailable": f"{type(error).__name__}: {error}"}).encode())
        os._exit(1)
    os.close(report)
    for fd in (0, 1, 2):
        os.close(fd)
    os.waitpid(child, 0)


if __name__ == "__main__":
    main()
