"""Grading real submissions: right ones get everything, the shipped one nothing, hostile ones nothing and harm nobody.

One worker is shared by all tests, for it loads the course once. Where there is no sandbox the hostile ones are skipped:
they would do harm.
"""

from __future__ import annotations

import contextlib
import copy
import csv
import io
import json
import os
import subprocess
import sys
import time

import editions
import nbformat
import numpy as np
import psutil
import pytest
import torch
from editions import NOTEBOOKS, ROOT, code_cells, read, solved_answers, tags, tasks, topic_of

from course_utils.classroom import grade
from course_utils.classroom.grading import report
from course_utils.classroom.grading.cells import cells_of, chosen, course_tasks
from course_utils.classroom.grading.wire import Codec, Unsendable
from course_utils.exercises.engine.calls import same
from course_utils.sandbox.run_python import unavailable

REASON = unavailable()
contained = pytest.mark.skipif(bool(REASON), reason=REASON or "-")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="the grader divides its process, which Windows cannot")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), forks]
ALL = bool(os.environ.get("MANY_MODELS_GRADE_ALL"))  # every exercise of every notebook: a few minutes
QUICK = {"start_here": 4, "negative_evidence": 1, "mixture_of_experts": 1}  # otherwise so many of each
BY_TOPIC = {topic_of(path): path for path in NOTEBOOKS}
START = BY_TOPIC["start_here"]
STUB = tasks(read(START))[0].stub
DEF = "def average_distributions(log_p, log_q):\n    "
RIGHT = DEF + "return torch.stack([log_p, log_q]).logsumexp(0) - math.log(2)\n"


@pytest.fixture(scope="module")
def grader():
    os.environ["A_SECRET_KEY"] = "hush"  # no submission may see it
    with grade.Grader(seconds=60, memory_mb=512, weak=bool(REASON)) as found:
        yield found
    del os.environ["A_SECRET_KEY"]


def solved(path, only=None):
    """The notebook with the reference solutions in the place of its stubs."""
    nb = copy.deepcopy(read(path))
    for task, code in solved_answers(nb):
        if only is None or task.name == only:
            next(cell for cell in nb.cells if cell.source == task.stub).source = code
    return nb


def answered(code, before="", after=""):
    """00_start_here with `code` in its first exercise's cell, and a cell of the student's own above or below."""
    nb = in_place_of(STUB, code, read(START))
    place = next(i for i, cell in enumerate(nb.cells) if cell.source == code)
    if after:
        nb.cells.insert(place + 2, nbformat.v4.new_code_cell(after))
    if before:
        nb.cells.insert(place, nbformat.v4.new_code_cell(before))
    return nb


def in_place_of(stub, code, nb):
    """A copy of the notebook with `code` in the cell that holds `stub`."""
    nb = copy.deepcopy(nb)
    next(cell for cell in nb.cells if cell.source == stub).source = code
    return nb


def submit(folder, nb, name=START.name, student="ada"):
    (folder / student).mkdir(parents=True, exist_ok=True)
    nbformat.write(nb, folder / student / name)
    return grade.find_submissions(folder)[0]


def first_result(grader, folder, nb):
    return grader.grade(submit(folder, nb), "start_here.average")


# --- right, wrong, untouched ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", BY_TOPIC if ALL else QUICK)
def test_the_reference_solutions_get_full_marks_and_the_shipped_notebook_none(grader, tmp_path, topic):
    path = BY_TOPIC[topic]
    right, shipped = submit(tmp_path / "a", solved(path), path.name), submit(tmp_path / "b", read(path), path.name)
    names = [task.name for task in tasks(read(path))][: None if ALL else QUICK[topic]]
    for name in names:
        result = grader.grade(right, name)
        assert (result.status, result.passed) == ("passed", result.total), (name, result.text)
    for name in names if ALL else names[:1]:
        result = grader.grade(shipped, name)
        assert (result.status, result.passed) == ("open", 0)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=topic_of)
def test_of_every_notebook_the_exercises_are_known_and_only_few_cells_are_run(path):
    nb = solved(path)
    cells = cells_of([{"source": c.source, "id": c.get("id", ""), "tags": tags(c)} for c in code_cells(nb)])
    stubs = {task.stub for task in tasks(read(path))}
    shipped = {cell.source.strip() for cell in read(path).cells if cell.source not in stubs}
    assert [(t.name, t.variable) for t in course_tasks(read(path))] == [(t.name, t.variable) for t in tasks(read(path))]
    for task in course_tasks(read(path)):
        answer, run = chosen(cells, task, shipped)
        assert answer.cell_id == task.cell_id
        assert all("setup" in cell.tags or cell is answer for cell in run), [cell.source for cell in run]


HELPERS = """%matplotlib inline
!echo hello
import math as m
HALF = m.log(2)
def joined(*rows):
    return torch.stack(rows).logsumexp(0)"""
ANSWERS = {  # what stands in the cell, and in another one; the status and words of the text or the notes
    "wrong": (DEF + "return (log_p + log_q) / 2", {}, "wrong", "average"),
    "an error": (DEF + "return log_p + missing", {}, "wrong", "NameError", "return log_p + missing"),
    "helpers, imports, magics, output, an error below": (
        DEF + "return joined(log_p, log_q) - HALF\n\nprint('tried')\nassert False, 'a test of my own'",
        {"before": HELPERS},
        "passed",
        "a test of my own",
    ),
    "a new cell below the stub": (STUB, {"after": RIGHT}, "passed"),
    "a helper in its cell, the answer in a new one below": (
        "def joined(*rows):\n    return torch.stack(rows).logsumexp(0)",
        {"after": DEF + "return joined(log_p, log_q) - math.log(2)"},
        "passed",
    ),
    "a wrong try, and the right answer in a cell below": (
        DEF + "return log_p",
        {"after": RIGHT},
        "passed",
        "average_distributions is also defined",
    ),
    "a try that ends its process, and the right answer in a cell below": (
        DEF + "os._exit(3)\nimport os",
        {"after": RIGHT},
        "passed",
    ),
    "the right answer, and a wrong variant in a cell below": (RIGHT, {"after": DEF + "return log_p"}, "passed"),
    "timed": ("%%time\n" + RIGHT, {}, "passed"),
    "captured": ("\n%%capture out\n%%time\n" + RIGHT, {}, "passed"),
    "a cell that awaits": ("import asyncio\nawait asyncio.sleep(0)\n" + RIGHT + "await asyncio.sleep(0)", {}, "passed"),
    "many threads": (
        "torch.set_num_threads(8)\ntorch.set_num_interop_threads(8)\n"
        + DEF
        + "torch.ones(800, 800) @ torch.ones(800, 800)\n    "
        + "return torch.stack([log_p, log_q]).logsumexp(0) - math.log(2)",
        {},
        "passed",
    ),
    "a result too large to be checked": (DEF + "return torch.zeros(300 << 18)", {}, "wrong", "300 MB"),
    "no answer": ("print('deleted')", {}, "missing", "average_distributions"),
    "no Python": ("def average_distributions(log_p, log_q)\n    return 1", {}, "missing", "SyntaxError"),
}


def test_an_answer_in_the_check_cell_is_found(grader, tmp_path):
    nb = copy.deepcopy(read(START))
    check = next(cell for cell in nb.cells if "check" in tags(cell))
    check.source = RIGHT + check.source
    assert first_result(grader, tmp_path, nb).full


@pytest.mark.parametrize("what", ANSWERS)
def test_an_answer_is_graded_and_told_what_is_wrong(grader, tmp_path, what):
    code, others, status, *words = ANSWERS[what]
    result = first_result(grader, tmp_path, answered(code, **others))
    told = "\n".join([result.text, *result.notes])
    assert result.status == status and all(word in told for word in words), result
    assert result.chains or status != "passed"
    assert result.total == 5 and (result.passed == 5) == (status == "passed")


# --- hostile ----------------------------------------------------------------------------------------------------------

WRONG = DEF + "return log_p\n"
SPEAKS = """import os
from course_utils.classroom.grading.wire import Codec, send
for fd in range(3, 64):
    try:
        for message in {}:
            send(fd, Codec(False).pack(message))
    except OSError:
        pass"""
MESSAGES = (
    "['ready', 'function', 'f', []], ['done', 1, [], []], ['callback', 0, [], {}], ['done', None, [], [[0, [1]]]]"
)
VERDICT = "[['tries', 1, []], ['ready', 'function', 'f', []], ['verdict', 'passed', 5, '', [], '']]"
RAW = """import os
for fd in range(3, 64):
    try:
        os.write(fd, {})
    except OSError:
        pass"""
DONE = "['ready', 'function', 'f', []], ['done', 1, []"
FORGERIES = {  # each is followed by a wrong answer, but for the one that has its own
    "redefines check and prints a pass": """def check(*a):
    print('start_here.average: 5 of 5 passed')
check('start_here.average', 1)""",
    "patches the engine": """import course_utils.exercises.engine as p
from course_utils.exercises.engine import checker as e, registry as r
p.run_check = p.check = e.run_check = e.check = lambda *a: e.Report(status='passed', n_passed=5, n_tests=5)
r.find('start_here.average').__dict__['tests'] = []
e._run_tests = e.run_check""",
    "patches comparison": """from course_utils.exercises.engine import compare as a, diagnose as d
a.close = d.close = d._is_right = d.test_case = lambda *x, **y: None
a._close_tensor = lambda *x: None
torch.isclose = lambda x, *y, **z: torch.ones_like(x, dtype=torch.bool)""",
    "replaces course_utils": """import sys, types
for name in [n for n in sys.modules if n.startswith('course_utils')]:
    sys.modules[name] = types.ModuleType(name)
sys.modules['course_utils.exercises'].check = lambda *a: print('5 of 5 passed')""",
    "writes a verdict to every descriptor": """import os, json
for fd in range(3, 64):
    try:
        os.write(fd, json.dumps({'status': 'passed', 'passed': 5, 'total': 5, 'text': ''}).encode())
    except OSError:
        pass""",
    "returns an object that equals everything": """class Yes(torch.Tensor):
    def __eq__(self, other): return True
    @classmethod
    def __torch_function__(cls, *a, **k): return True
def average_distributions(log_p, log_q):
    return log_p.as_subclass(Yes)""",
    "speaks the judge's language": SPEAKS.format("[['verdict', 'passed', 5, 'all fine', []]]"),
    "names its own status": SPEAKS.format("[['passed', 'all fine', []]]"),
    "answers before it is asked": SPEAKS.format(f"[{MESSAGES}]"),
    "stops the judge": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nos.kill(-1, signal.SIGKILL)",
    "sends half a frame and ends": RAW.format("(1 << 20).to_bytes(8, 'little') + b'half'") + "\nos._exit(0)",
    "sends a frame without end": RAW.format("(1 << 60).to_bytes(8, 'little') + b'x'"),
    "sends a head of brackets": "HEAD = (1 << 18).to_bytes(4, 'little') + b'[' * (1 << 18)\n"
    + RAW.format("len(HEAD).to_bytes(8, 'little') + HEAD"),
    "sets wild random states": SPEAKS.format(f"[{DONE}, [], [(3, (1,) * 625, None), torch.ones(3), [1]]]]"),
    "changes what it was not given": SPEAKS.format(f"[{DONE}, [[99, [1]], [-1, 5]], []]]"),
    "finds the student's side in its frames": """import sys
frame = sys._getframe()
while frame:
    for thing in list(frame.f_locals.values()):
        if type(thing).__name__ == "Student":
            thing.say("verdict", "passed", 5, "", [])
            thing.serve = lambda answer: thing.say("done", 1, [], [], [])
    frame = frame.f_back""",
    "lowers the judge's limits": """import os, resource
for limit in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_NOFILE):
    try:
        resource.prlimit(os.getppid(), limit, (1, 1))
    except OSError:
        pass""",
    "looks for its judge in memory": """import gc
for thing in gc.get_objects():
    if isinstance(thing, dict) and 'n_passed' in thing:
        thing['n_passed'] = 5""",
}


@contained
@pytest.mark.parametrize("code", FORGERIES.values(), ids=FORGERIES)
def test_a_forgery_gains_nothing(grader, tmp_path, code):
    result = first_result(grader, tmp_path, answered(code + ("" if DEF in code else f"\n{WRONG}")))
    assert not result.full and result.passed < result.total, result


ODD = {  # what an answer returns or raises
    "a generator": "return (x for x in log_p)",
    "a function": "return lambda: log_p",
    "a class": "return torch.Tensor",
    "an object like an array": "return type('A', (), {'__array__': lambda *a: log_p.numpy(), 'shape': log_p.shape})()",
    "a text that is long": "return 'x' * 1_000_000",
    "a list in itself": "x = []\n    x.append(x)\n    return x",
    "an exception with a long name": "raise type('E' * 1_000_000, (Exception,), {})('x' * 1_000_000)",
    "an exception that cannot be told": "raise type('E', (Exception,), {'__str__': lambda self: 1 / 0})",
    "an exception that is none": "raise type('E', (BaseException,), {})",
    "a sparse tensor": "return log_p.to_sparse()",
}


@pytest.mark.parametrize("what", ODD)
def test_an_odd_result_is_wrong_and_no_more(grader, tmp_path, what):
    result = first_result(grader, tmp_path, answered(DEF + ODD[what]))
    assert (result.status, result.passed) == ("wrong", 0) and len(result.text) < 4000, result


@contained
def test_a_submission_leaves_nothing_for_the_next(grader, tmp_path):
    left = "\nopen('left', 'w').close()\nimport os\nos.environ['LEFT'] = '1'"
    assert first_result(grader, tmp_path / "a", answered(RIGHT + left)).full
    code = RIGHT + "import os\nraise ValueError(os.listdir('.'), 'LEFT' in os.environ)"
    assert "([], False)" in first_result(grader, tmp_path / "b", answered(code)).notes[0]


def test_no_verdict_comes_from_the_students_process(grader, tmp_path):
    """The exercise with functions and gradients among its arguments, once checked in the student's process."""
    path, name = BY_TOPIC["mixture_of_experts"], "mixture_of_experts.moe_forward"
    nb = solved(path)
    cell = next(cell for cell in nb.cells if "my_moe_forward" in cell.source and "exercise" in tags(cell))
    cell.source = f"""{SPEAKS.format(VERDICT)}
import time
time.sleep(1)
def my_moe_forward(*a): return 0 * a[0]"""
    result = grader.grade(submit(tmp_path, nb, path.name), name)
    assert not result.full and result.passed < result.total, result


EVERY = """import json, os
from course_utils.classroom.grading import judge
from course_utils.classroom.grading.cells import Task
from course_utils.exercises.engine.registry import all_exercises
for name in all_exercises():
    read, write = os.pipe()
    if os.fork() == 0:
        judge.judge(write, Task(name, "", "", ""), {"seconds": 60, "patience": 9}, {}, set(), probe=True)
        os._exit(0)
    os.close(write)
    verdict = json.loads(os.read(read, 1 << 20))
    print(name, verdict["status"], flush=True)
    os.close(read)
    os.wait()"""


def test_every_exercise_can_be_checked_from_another_process():
    """What the wire does not carry would make every right answer wrong."""
    environment = os.environ | {"MANY_MODELS_PROGRESS": "off"}
    done = subprocess.run([sys.executable, "-c", EVERY], cwd=ROOT, env=environment, capture_output=True, text=True)
    verdicts = dict(line.split() for line in done.stdout.splitlines())
    assert verdicts.keys() == {task.name for path in NOTEBOOKS for task in tasks(read(path))}, done.stderr
    assert set(verdicts.values()) == {"passed"}, {name: said for name, said in verdicts.items() if said != "passed"}


@pytest.mark.parametrize(
    ("name", "label"),  # gradients, a change in place, memory in common, a function's own objection: no mere numbers
    [
        ("mixture_of_experts.importance_loss", "half detached"),
        ("mixture_of_experts.apply_capacity", "in place"),
        ("parameter_averaging.average", "the counter shares its memory"),
        ("mixture_of_experts.moe_forward", "one row as a vector"),
        ("mixture_of_experts.moe_forward", "output detached"),
        ("sparsity_and_kernels.sparse_matvec", "all rows taken"),
        ("sparsity_and_kernels.masked_kernel", "nothing is stored"),
        ("sparsity_and_kernels.split_kernel", "everything is read"),
        ("sparsity_and_kernels.split_kernel", "another stride"),
    ],
)
def test_a_wrong_answer_gets_the_hint_of_the_notebook_through_the_pipe(grader, tmp_path, name, label):
    path = BY_TOPIC[name.split(".")[0]]
    wrong = next(
        wrong for wrong in editions.wrong_answers(topic_of(path)) if wrong.exercise == name and wrong.label == label
    )
    task = next(task for task in tasks(read(path)) if task.name == name)
    nb = in_place_of(task.stub, editions.under_the_name(task.variable, wrong.code), read(path))
    result = grader.grade(submit(tmp_path, nb, path.name), name)
    assert result.status == "wrong" and wrong.says in result.text


# --- the wire ---------------------------------------------------------------------------------------------------------

VALUES = [
    None,
    True,
    3,
    -(1 << 80),
    2.5,
    float("inf"),
    "é\ud800",
    [1, (2, {3}), {"a": [4]}],
    range(1, 9, 2),
    1 + 2j,
    b"\x00\xff",
    b"",
]
VALUES += [np.arange(6, dtype=np.int16).reshape(2, 3), np.float32(0.1), np.array(["a", "bc"]), torch.Size([2, 3])]
VALUES += [torch.randn(2, 3, generator=torch.Generator().manual_seed(0)).T, torch.tensor(True), torch.ones(0, 2)]
VALUES += [torch.ones(3, dtype=torch.bfloat16), torch.bfloat16]


def test_values_come_out_of_the_wire_as_they_went_in():
    back = Codec(strict=False).unpack(Codec(strict=True).pack(VALUES))
    assert all(same(a, b) for a, b in zip(VALUES, back, strict=True))


UNSENDABLE = [torch.nn.Linear(1, 1), object(), int, torch.ones(1, requires_grad=True), iter([])]


@pytest.mark.parametrize("value", UNSENDABLE, ids=lambda value: type(value).__name__)
def test_what_the_wire_does_not_carry_is_refused(value):
    with pytest.raises(Unsendable):
        Codec(strict=True).pack([value])


HEADS = [
    *(b"", b"{", b"[]", b'{"value": 1}', b"[" * 100_000),
    b'{"value": ["Tensor", "float32", [1000000000], 0, false], "sizes": [4]}',
    b'{"value": ["Tensor", "float32", [-1], 0, false], "sizes": [4]}',
    b'{"value": ["Tensor", "int64", [1], 0, true], "sizes": [8]}',
    b'{"value": ["array", "|O", [1], 0], "sizes": [8]}',
    b'{"value": ["function", 0, "f"], "sizes": []}',
    b'{"value": {}, "sizes": []}',
    b'{"value": ["nothing"], "sizes": []}',
    b'{"value": ["set", ["list"]], "sizes": []}',
]


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head[:40].decode())
def test_a_hostile_frame_is_an_error_and_runs_nothing(head):
    with pytest.raises(ValueError):
        Codec(strict=False).unpack(len(head).to_bytes(4, "little") + head + bytes(8))


ENDLESS = "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
FILLED = "kept = []\nwhile True:\n    kept.append(bytearray(1 << 26))"
PRINTED = "import os\nfor i in range(20000):\n    print('x' * 100_000)\n    os.write(1, b'y' * 100_000)"
FORKED = "import os\nchildren = 0\nwhile True:\n    if os.fork() == 0:\n        while True: pass"
HARM = {  # what comes after the right answer, or instead of it; the status
    "crashes": (RIGHT + "import ctypes\nctypes.string_at(0)", "crashed"),
    "leaves": (RIGHT + "import os\nos._exit(0)", "crashed"),
    "allocates all memory": (RIGHT + FILLED, "passed"),  # a MemoryError, which ends its cell
    "prints gigabytes": (RIGHT + PRINTED, "passed"),
    "forks": (RIGHT + FORKED, "passed"),  # refused at the 8th
    "stops on purpose": (RIGHT + "import sys\nsys.exit('enough')", "passed"),
    "ends its process when it is called": ("import os\n" + DEF + "os.kill(os.getpid(), 9)", "crashed"),
}


@contained
@pytest.mark.parametrize(("code", "status"), HARM.values(), ids=HARM)
def test_a_cell_that_misbehaves_ends_and_the_answer_before_it_counts_where_it_can(grader, tmp_path, code, status):
    result = first_result(grader, tmp_path, answered(code))
    assert result.status == status and result.full == (status == "passed"), result
    assert result.notes if status == "passed" and "print" not in code else result.passed in (0, result.total)


LATE = {  # the code, the limit that is lowered, the status and words of the text
    "a cell": (RIGHT + ENDLESS, {"seconds": 3}, "timeout", "Code cell"),
    "messages without end": (
        f"while True:\n    exec({SPEAKS.format('[[chr(99) + chr(101) + chr(108) * 2, 7]]')!r})",
        {"seconds": 2},
        "timeout",
        "cell 7",
    ),
    "a cell without the fence": (RIGHT + ENDLESS, {"seconds": 2, "weak": True}, "timeout", "Code cell"),
    "a function": (
        DEF + "while True:\n        pass",
        {"patience": 0.4},
        "wrong",
        "It was stopped after 2 seconds",
    ),  # of 5
}


@pytest.mark.parametrize("what", LATE)
def test_what_is_endless_is_stopped(grader, tmp_path, monkeypatch, what):
    code, limits, status, words = LATE[what]
    for name, value in limits.items():
        monkeypatch.setitem(grader.limits, name, value)
    result = first_result(grader, tmp_path, answered(code))
    assert result.status == status and words in result.text and result.passed == 0


@contained
def test_the_memory_of_all_processes_together_is_bounded(grader, tmp_path):
    """Five processes, each of which may take 512 MB for itself."""
    code = """import os, time
def fill():
    kept = bytearray(400 << 20)
    time.sleep(30)
for _ in range(4):
    if os.fork() == 0:
        fill()
fill()"""
    result = first_result(grader, tmp_path, answered(RIGHT + code))
    assert result.status == "memory" and "1024 MB together" in result.text


@contained
@pytest.mark.parametrize("send", ["os.kill(judge, {})", "libc.syscall(SIGQUEUE, judge, {}, info)"])
@pytest.mark.parametrize("number", ["SIGINT", "SIGKILL", "SIGSTOP", "SIGALRM"])
def test_a_signal_to_the_judge_gains_nothing_and_is_not_the_graders_fault(grader, tmp_path, send, number):
    """By the call that the filter refuses, and by rt_sigqueueinfo, which reaches it."""
    code = f"""import ctypes, os, signal
judge, SIGQUEUE = os.getppid(), {{"aarch64": 138}}.get(os.uname().machine, 129)
info = (ctypes.c_int * 32)(signal.{number}, 0, -1)
libc = ctypes.CDLL(None)
{DEF}{send.format(f"int(signal.{number})")}
    return log_p"""
    result = first_result(grader, tmp_path, answered(code))
    assert result.status in ("wrong", "tampered") and result.passed <= 1, result


def test_without_the_fence_right_is_right_all_the_same(grader, tmp_path, monkeypatch):
    monkeypatch.setitem(grader.limits, "weak", True)
    assert first_result(grader, tmp_path, answered(RIGHT)).full


@contained
def test_files_network_and_the_grader_are_out_of_reach(grader, tmp_path):
    precious = tmp_path / "precious.txt"
    precious.write_text("here", encoding="utf-8")
    code = f"""import os, shutil, socket, subprocess, pathlib
told = []
def tried(what):
    try:
        told.append(repr(what()))
    except BaseException as error:
        told.append(type(error).__name__)
tried(lambda: os.remove({str(precious)!r}))
tried(lambda: open({str(ROOT / "course_utils" / "classroom" / "grade.py")!r}, "a"))
tried(lambda: open({str(ROOT / "tests" / "editions.py")!r}).read())
tried(lambda: shutil.rmtree({str(ROOT / "data")!r}))
tried(lambda: socket.create_connection(("127.0.0.1", 80), 1))
tried(lambda: os.kill({os.getpid()}, 9))
tried(lambda: subprocess.run(["/bin/sh", "-c", "echo"]))
tried(lambda: open("/etc/passwd").read())
told.append(sorted(os.environ))
raise ValueError(str(told))
"""
    result = first_result(grader, tmp_path, answered(RIGHT + code))
    told = result.notes[0]
    assert precious.read_text(encoding="utf-8") == "here" and "A_SECRET_KEY" not in told
    refused = ("FileNotFoundError", "OSError", "PermissionError", "ProcessLookupError")
    assert sum(told.count(name) for name in refused) == 8, told


# --- the submissions folder, the table, the reports -------------------------------------------------------------------


def test_the_command_writes_table_and_reports_for_a_mixed_class(tmp_path, grader, monkeypatch, capsys):
    folder = tmp_path / "submissions"
    submit(folder, solved(START), student="ada")
    submit(folder, solved(START, only="start_here.mix"), name="00_start_here-Copy1.ipynb", student="=cmd|calc")
    nbformat.write(answered("while True: pass"), folder / "eve_00_start_here.ipynb")
    for name, text in {"bad": "{", "deep": "[" * 100_000, "list": "[]", "blank": ""}.items():
        (folder / name).mkdir()
        (folder / name / START.name).write_text(text, encoding="utf-8")
    (folder / "idle").mkdir()
    (folder / "linker").mkdir()
    (folder / "linker" / START.name).symlink_to(START)
    (folder / "ada" / "course_utils").mkdir()
    (folder / "ada" / "course_utils" / "__init__.py").write_text("raise SystemExit('mine')", encoding="utf-8")
    out = tmp_path / "grades.csv"
    monkeypatch.setattr(grade, "Grader", lambda *_: contextlib.nullcontext(grader))  # the course is loaded already
    monkeypatch.setitem(grader.limits, "seconds", 3)
    assert grade.main([str(folder), "-o", str(out)]) == 1  # five files cannot be read
    printed = capsys.readouterr().out
    assert f"8 notebooks of 8 students: {out}" in printed and "idle: there is no notebook" in printed
    table = csv.DictReader(io.StringIO(out.read_text(encoding="utf-8")))
    rows = {(row["student"], row["notebook"]): row for row in table}
    assert len(rows) == 2 * 8
    assert rows["ada", "total"]["full"] == "5" and rows["ada", "00_start_here"]["start_here.mix"] == "1"
    assert rows["'=cmd|calc", "total"]["full"] == "1"
    assert rows["eve", "00_start_here"]["full"] == "0" and "out of time" in rows["eve", "00_start_here"]["problem"]
    for name in ("bad", "deep", "list", "blank", "linker"):
        row = rows[name, "00_start_here"]
        assert row["full"] == row["start_here.mix"] == "not graded" and "cannot be read" in row["problem"]
    report = (tmp_path / "grades" / "eve.md").read_text(encoding="utf-8")
    said = ("no network", "stopped: out of time", "did not end within 3 seconds")
    assert REASON or all(words in report for words in said)
    assert not list(tmp_path.glob(".*partial")) and (tmp_path / "grades" / "cmd_calc.md").exists()


def test_notebooks_are_known_by_name_or_by_their_exercises_and_once_for_each_student(tmp_path):
    submit(tmp_path, read(START), name="homework.ipynb", student="ada")
    submit(tmp_path, read(START), name="00_start_here (1).ipynb", student="bob")
    submit(tmp_path, read(START), student="bob")
    submit(tmp_path, nbformat.v4.new_notebook(), name="diary.ipynb", student="bob")
    found = {(s.student, s.path.name): (s.topic, s.problem) for s in grade.find_submissions(tmp_path)}
    assert found["ada", "homework.ipynb"] == ("00_start_here", "")
    assert found["bob", "00_start_here.ipynb"] == ("00_start_here", "")
    assert "second copy" in found["bob", "00_start_here (1).ipynb"][1]
    assert "none of the course's" in found["bob", "diary.ipynb"][1]


@pytest.mark.parametrize("make", [lambda p: p / "nowhere", lambda p: p])
def test_a_folder_without_notebooks_is_said_in_one_line(tmp_path, make, capsys):
    assert grade.main([str(make(tmp_path)), "-o", str(tmp_path / "g.csv")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1 and not (tmp_path / "g.csv").exists()


def test_a_report_shows_no_markup_and_no_control_characters_of_a_submission(tmp_path):
    hostile = "## full marks\x1b[2J\n<script>alert(1)</script>"
    result = grade.Result("start_here.mix", "wrong", 1, 4, hostile)
    submission = grade.Submission("ada\n# x", tmp_path / "n.ipynb", "00_start_here", results=[result])
    text = report.report([submission], weak=True)
    assert (
        text.startswith("# ada \\# x\n")
        and "\n      ## full marks" in text
        and "\x1b" not in text
        and "NO fence" in text
    )


def test_without_the_sandbox_nothing_is_graded_unless_asked(tmp_path, monkeypatch, capsys):
    from course_utils.sandbox import run_python

    submit(tmp_path, read(START))
    monkeypatch.setattr(run_python, "unavailable", lambda: "the sandbox needs Linux, so the code was not run")
    assert grade.main([str(tmp_path), "-o", str(tmp_path / "g.csv")]) == 2
    assert "--weak" in capsys.readouterr().err and not (tmp_path / "g.csv").exists()


@contained
def test_a_fence_that_cannot_be_had_is_not_held_against_the_student():
    code = """import os
from course_utils.classroom.grading import worker
for part in ("isolate", "enter_root", "filter_calls"):
    whole = getattr(worker.jail, part)
    setattr(worker.jail, part, None)
    limits = {"wall": 60, "weak": False, "memory_mb": 512, "cpu": 60}
    print(worker.launch(lambda fd: os.write(fd, b"it was run"), limits)[0].decode(), flush=True)
    setattr(worker.jail, part, whole)"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        verdicts = [json.loads(process.stdout.readline()) for _ in range(3)]
    assert {verdict["status"] for verdict in verdicts} == {"ungraded"}
    assert all("no sandbox: TypeError" in verdict["text"] for verdict in verdicts), verdicts


@contained
def test_a_terminated_command_writes_the_table_and_leaves_nothing(tmp_path):
    submit(tmp_path / "subs", answered("import time\ntime.sleep(1000)"))
    (tmp_path / "tmp").mkdir()
    command = [sys.executable, "-m", "course_utils.classroom.grade", str(tmp_path / "subs"), "-o", "g.csv"]
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp"), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([*command, "--jobs", "1"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while len(family := living_below(process.pid)) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.terminate()
        assert process.wait(30) == 130 and b"the same command goes on" in process.stderr.read()
    assert psutil.wait_procs(family, timeout=30)[1] == [] and list((tmp_path / "tmp").iterdir()) == []
    table = csv.DictReader(io.StringIO((tmp_path / "g.csv").read_text(encoding="utf-8")))
    assert {row["start_here.average"] for row in table} == {"not graded"}


@contained
def test_no_process_is_left_when_the_grader_ends(grader, tmp_path):
    """Last, for it costs the worker: what a killed grader leaves of a worker is a closed pipe."""
    worker = grader.free.get()
    submission = submit(tmp_path, answered("import time\ntime.sleep(1000)"))
    job = {"course": str(START), "exercise": "start_here.average", "cells": submission.cells}
    worker.stdin.write(json.dumps(job | grader.limits | {"folder": grader.folder}).encode() + b"\n")
    worker.stdin.flush()
    deadline = time.monotonic() + 60
    while len(family := living_below(worker.pid)) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(family) == 3  # launcher, judge, student
    worker.stdin.close()
    assert psutil.wait_procs(family, timeout=60)[1] == []
    assert worker.wait(10) is not None


def living_below(pid):
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [process] if process.status() != psutil.STATUS_ZOMBIE else []
    return found
