"""The board of a lecture: a real server on a free port, real clients; bounds, privacy, and 200 students."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import csv
import hashlib
import json
import re
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from types import SimpleNamespace

import pytest
from editions import ROOT
from lecture import lecture
from tornado.httpclient import AsyncHTTPClient
from tornado.netutil import bind_sockets

from course_utils.classroom.board import client, server
from course_utils.classroom.handout import student_files
from course_utils.exercises import join, leave
from course_utils.exercises.engine import checker as engine

NAME = "interpolation.linear"
WRONG = engine.find(NAME).known[0].wrong[0]
ME, YOU = "0" * 16, "1" * 16


@pytest.fixture(scope="module")
def known():
    exercise = engine.find(NAME)
    return {NAME: {mistake.key: (mistake.says, mistake.pointer) for mistake in exercise.known}, "interpolation.em": {}}


@pytest.fixture
def served(known, monkeypatch):
    """A board in a thread of its own: .board, .url, and post(**what) -> (status, text)."""
    monkeypatch.setattr(server, "SLOW", 0.3)
    monkeypatch.setattr(engine, "_SESSION", engine._Session())
    loop, sockets = asyncio.new_event_loop(), bind_sockets(0, "0.0.0.0", family=socket.AF_INET)
    port = sockets[0].getsockname()[1]
    board = server.Board(known, f"http://127.0.0.1:{port}")

    async def begin():
        return server.start(board, sockets)

    thread = threading.Thread(target=loop.run_forever)  # the browser tests may have left a loop running in ours
    thread.start()
    started = asyncio.run_coroutine_threadsafe(begin(), loop).result(10)

    def post(**what):
        said = {"code": board.code, "student": ME} | what
        return ask("POST", "/check", json.dumps(said).encode())

    def ask(method, path, body=b"", host="127.0.0.1", **headers):
        connection = HTTPConnection(host, port, timeout=10)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return SimpleNamespace(status=answer.status, headers=answer.headers, text=answer.read().decode())

    yield SimpleNamespace(board=board, port=port, url=board.address, post=post, ask=ask)
    client._forget()
    loop.call_soon_threadsafe(started.stop)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def result(exercise=NAME, passed=True, mistake=""):
    return {"exercise": exercise, "passed": passed, "mistake": mistake}


def in_thread(function, *arguments):
    """What begins a loop of its own: the browser tests may have left one running in this thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments).result()


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def events(answer, seconds):
    """What a stream tells in this time."""
    found, deadline = [], time.monotonic() + seconds
    with contextlib.suppress(TimeoutError):
        while time.monotonic() < deadline:
            line = answer.readline()
            if line.startswith(b"data: "):
                found.append(json.loads(line[6:]))
    return found


@contextlib.contextmanager
def watching(port, path="/live"):
    connection = HTTPConnection("127.0.0.1", port, timeout=1)
    connection.request("GET", path)
    yield connection.getresponse()
    connection.close()


# --- a student and the page ---------------------------------------------------------------------------------------


def test_what_check_finds_is_on_the_page(served, known, capsys):
    before = engine.run_check(NAME, WRONG)
    join(served.url, f" {served.board.code.upper()} ")
    assert capsys.readouterr().out == client.JOINED + "\n"
    with watching(served.port) as answer:
        for _ in range(2):  # one student, however often
            report = engine.run_check(NAME, WRONG)
        assert report.headline == before.headline and report.lines[0] == before.lines[0]
        until(lambda: NAME in served.board.tallies)
        first, *later = events(answer, 1.5)
    assert first["join"] == f'join("{served.url}", "{served.board.code}")' and first["students"] == 1
    assert first["exercises"] == list(known) and first["books"]["interpolation"] == "01 interpolation"
    [says] = [says for says, _ in known[NAME].values() if says in report.text]
    tried, passed, [[made, shown, _]] = [*first["rows"].values(), *(row for e in later for row in e["rows"].values())][
        -1
    ]
    assert (tried, passed, made, shown) == (1, 0, 1, says)
    engine.run_check(NAME, engine.find(NAME).reference)
    until(lambda: served.board.tallies[NAME].passed)
    assert len(served.board.students) == len(served.board.tallies[NAME].tried) == 1
    engine.run_check("interpolation.em", ...)  # not attempted: no try
    time.sleep(0.2)
    assert list(served.board.tallies) == [NAME]


def test_nothing_but_the_five_values_is_sent(monkeypatch):
    """The whole request, as it is on the wire."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        seen = []

        def answer():
            for _ in range(2):
                connection, _ = listening.accept()
                text = b""
                while b"}" not in text:
                    text += connection.recv(4096)
                seen.append(text.decode())
                connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
                connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        join(f"http://127.0.0.1:{listening.getsockname()[1]}", "kud-fel-mor")
        engine.run_check(NAME, WRONG)
        thread.join(10)
        student = client._LINK.student
        client._forget()
    first, second = (text.partition("\r\n\r\n") for text in seen)
    assert json.loads(first[2]) == {"code": "kud-fel-mor", "student": student} and re.fullmatch("[0-9a-f]{16}", student)
    assert json.loads(second[2]).keys() == {"code", "student", "exercise", "passed", "mistake"}
    headers = {line.split(":")[0] for line in second[0].splitlines()[1:]}
    assert headers == {"Host", "Accept-Encoding", "Content-Length", "Content-Type"}


QUIET = """
import sys, threading
from course_utils.exercises import check, join, leave
events = []
sys.addaudithook(lambda event, arguments: event.startswith("socket.") and events.append(event))
threads = threading.active_count()
check("start_here.average", lambda log_p, log_q: log_p)
leave()
print(len(events), threading.active_count() - threads)
join("http://127.0.0.1:9", "a")
print(len(events) > 0, threading.active_count() - threads)
"""


def test_without_join_there_is_no_socket_and_no_thread():
    done = subprocess.run([sys.executable, "-c", QUIET], cwd=ROOT, capture_output=True, text=True, timeout=120)
    said = done.stdout.splitlines()
    assert "0 0" in said and said[-1] == "True 0", done.stdout + done.stderr


def test_leaving_ends_it_and_forgets_the_number(served, capsys):
    join(served.url, served.board.code)
    first = client._LINK
    join(served.url, served.board.code)  # the cell once more
    assert client._LINK is first
    leave()
    leave()
    assert capsys.readouterr().out.splitlines()[2:] == [
        "Left: nothing more is sent.",
        "You have not joined a class: nothing was sent.",
    ]
    first.join(5)
    assert not first.is_alive() and client._LINK is None
    engine.run_check(NAME, WRONG)
    join(served.url, served.board.code)
    assert client._LINK.student != first.student and not served.board.tallies


@pytest.mark.parametrize(
    "address", ["", "http://", "https://127.0.0.1:1", "http://127.0.0.1:port", "http://" + "a" * 70]
)
def test_join_says_what_is_wrong_and_never_raises(address, capsys):
    join(address, "kud-fel-mor")
    assert re.fullmatch(r"Not joined: [^\n]+\n", capsys.readouterr().out) and client._LINK is None


def test_join_with_a_wrong_code_or_at_another_server(served, capsys):
    join(served.url, "kud-fel-mor")
    assert capsys.readouterr().out == f"Not joined: {client.REFUSED[403]}.\n"
    server.STUDENTS, before = 0, server.STUDENTS
    join(served.url, served.board.code)
    server.STUDENTS = before
    assert capsys.readouterr().out == "Not joined: the board is full.\n" and client._LINK is None


def test_a_board_that_is_gone_changes_no_check_and_is_said_once(served, monkeypatch):
    plain = engine.run_check(NAME, WRONG)
    engine.run_check(NAME, WRONG)
    again = engine.run_check(NAME, WRONG)
    assert again.lines != plain.lines  # from the second failure on with what to do
    join(served.url, served.board.code)
    monkeypatch.setattr(client, "PAUSES", (0.05, 0.05))
    with socket.create_server(("127.0.0.1", 0), backlog=1) as silent:  # takes connections and never answers
        client._LINK.port = silent.getsockname()[1]
        monkeypatch.setattr(client, "SECONDS", 0.2)
        started = time.monotonic()
        assert engine.run_check(NAME, WRONG).lines == again.lines
        until(lambda: client._LINK.to_say)
        lines = [engine.run_check(NAME, WRONG).lines for _ in range(200)]  # more than fit into the queue
        assert time.monotonic() - started < 60
    assert lines[0] == [*again.lines, client.GONE] and lines[1:] == [again.lines] * 199
    until(lambda: client._LINK.waiting.qsize() < 100)
    client._LINK.port = served.port
    engine.run_check(NAME, WRONG)
    until(lambda: served.board.tallies, 60)  # it is there again: the counts go on


def test_another_class_at_the_same_address_is_said_once(served):
    join(served.url, served.board.code)
    served.board.code = "kud-fel-mor"
    engine.run_check(NAME, WRONG)
    until(lambda: client._LINK.to_say)
    assert [client.ENDED in engine.run_check(NAME, WRONG).lines for _ in range(3)] == [True, False, False]
    assert not served.board.tallies


def test_results_that_come_too_fast_come_later(served, monkeypatch):
    served.board.by_student = server.Limit(10, 1, 9)
    monkeypatch.setattr(client, "PAUSES", (0.2,) * 20)
    join(served.url, served.board.code)
    for passed in (False, True):
        assert client.tell(NAME, passed, "") == ""
    assert client.tell("interpolation.em", True, "") == ""
    until(lambda: len(served.board.tallies) == 2 and served.board.tallies[NAME].passed)


# --- what the server refuses ----------------------------------------------------------------------------------------


def test_only_texts_that_the_course_has(served, known):
    key = next(iter(known[NAME]))
    wrong = [
        result(mistake="f" * 12),
        result("interpolation.em", mistake=key),
        result("my.words"),
        result("", True, ""),
    ]
    for what in wrong:
        refused = served.post(**what)
        assert (refused.status, refused.text) == (400, "an exercise or a mistake that this copy of the course lacks\n")
    assert not served.board.tallies
    assert served.post(**result(passed=False, mistake=key)).status == 204
    assert served.board.commonest(NAME) == [(1, *known[NAME][key])]


MALFORMED = ["", "{", "[]", "3", "null", "[" * 1500, "\0\xff", '{"code": "a"}', json.dumps({"code": 1, "student": ME})]
MALFORMED += [json.dumps({"code": "\ud800", "student": ME})]


@pytest.mark.parametrize("body", MALFORMED, ids=range(len(MALFORMED)))
def test_what_is_malformed_gets_one_line(served, body):
    refused = served.ask("POST", "/check", body.encode("latin-1"))
    assert (refused.status, refused.text) == (400, "not what join() sends\n")


@pytest.mark.parametrize(
    "what",
    [
        {"student": "Ada"},
        {"student": ["0"]},
        {"exercise": NAME},
        result(passed="yes"),
        result(mistake=None),
        result(exercise=[]),
        {"student": "0" * 17},
    ],
)
def test_values_of_another_kind_are_refused(served, what):
    refused = served.post(**what)
    assert (refused.status, refused.text) == (400, "not what join() sends\n") and not served.board.tallies


def test_size_paths_and_methods(served):
    # Only its length is said: whoever is still sending when the board hangs up may see a reset instead of the answer.
    assert served.ask("POST", "/check", **{"Content-Length": str(server.BYTES + 1)}).status == 400
    found = [
        served.ask(*to)
        for to in [("GET", "/check"), ("POST", "/live"), ("GET", "/page.js"), ("GET", "/../x"), ("PUT", "/")]
    ]
    assert [answer.status for answer in found] == [405, 405, 404, 404, 405]
    assert all(re.fullmatch(r"[\w ]+\n", answer.text) and "Server" not in answer.headers for answer in found)


def test_a_wrong_code_is_slow_and_then_refused(served):
    served.board.wrong_codes = server.Limit(0.001, 2, 9)
    started = time.monotonic()
    assert [served.post(code=code).status for code in ("", served.board.code + "x", "é", "no")] == [403, 403, 429, 429]
    assert time.monotonic() - started > 2 * server.SLOW
    assert not served.board.students and served.post().status == 204


def test_rates(served, monkeypatch):
    statuses = [served.post(**result()).status for _ in range(40)]
    assert statuses[:30] == [204] * 30 and 429 in statuses[30:]
    assert served.post(student=YOU, **result()).status == 204
    served.board.by_address = server.Limit(0.001, 2, 9)
    assert [served.post(student=YOU).status for _ in range(3)] == [204, 204, 429]


def test_a_limit_counts_for_each_key_refills_and_forgets_the_oldest(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(server.time, "monotonic", lambda: now[0])
    limit = server.Limit(rate=2, burst=3, keys=2)
    assert [limit.allows("a") for _ in range(5)] == [True, True, True, False, False]
    assert limit.allows("b")
    now[0] = 0.5
    assert [limit.allows("a") for _ in range(2)] == [True, False]
    now[0] = 99
    assert [limit.allows("a") for _ in range(4)] == [True, True, True, False]
    assert limit.allows("c") and limit.seen.keys() == {"a", "c"}


def test_no_more_students_than_the_board_takes(served, monkeypatch):
    monkeypatch.setattr(server, "STUDENTS", 2)
    students = [ME, YOU, "2" * 16, ME]
    assert [served.post(student=student, **result()).status for student in students] == [204, 204, 503, 204]
    assert served.board.students == served.board.tallies[NAME].tried == {ME, YOU}


def test_the_page_is_for_this_machine_or_whoever_has_the_secret(served):
    show = f"?show={served.board.secret}"
    assert [served.ask("GET", path).status for path in ("/", "/" + show, "/?show=wrong")] == [200, 200, 200]
    for path in (
        "/",
        "/live",
        "/?show=",
        "/?show=wrong",
        "/live?show=%C3%A9",
    ):  # a page elsewhere whose name points here
        assert served.ask("GET", path, Host="pages.example").status == 403
    assert served.ask("GET", f"/{show}", Host="pages.example").status == 200
    away = server.own_address()
    if not away.startswith("127."):
        found = [served.ask("GET", path, host=away) for path in ("/", "/live", f"/{show}")]
        assert [answer.status for answer in found] == [403, 403, 200]
        assert found[0].text == "this page is for the instructor\n"
        assert (
            served.ask(
                "POST", "/check", json.dumps({"code": served.board.code, "student": ME}).encode(), host=away
            ).status
            == 204
        )


def test_the_page_asks_nothing_of_anybody_else(served):
    page = served.ask("GET", "/")
    policy = page.headers["Content-Security-Policy"]
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        [content] = re.findall(rf"<{tag}>(.*?)</{tag}>", page.text, re.S)
        assert f"{directive} 'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'" in policy
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy
    assert "//" not in re.sub(r"// [^\n]*", "", page.text) and "innerHTML" not in page.text


def test_a_stream_has_a_few_events_a_second_and_all_that_is_new(served):
    with watching(served.port) as answer:
        for i in range(100):
            served.post(student=f"{i:016x}", **result())
        found = events(answer, 1.5)
    assert len(found) <= 5 * 6 and found[-1]["rows"] == {NAME: [100, 100, []]} and found[-1]["students"] == 100
    assert "exercises" in found[0] and not any("exercises" in event for event in found[1:])


def test_streams_are_bounded_and_those_that_left_make_room(served, monkeypatch):
    monkeypatch.setattr(server, "WATCHERS", 1)
    monkeypatch.setattr(server, "BEAT", 0.1)
    with watching(served.port):
        until(lambda: served.board.watchers == 1)
        assert served.ask("GET", "/live").status == 503
    until(lambda: served.board.watchers == 0)


# --- the course and the command -------------------------------------------------------------------------------------


def test_every_exercise_and_every_mistake_of_the_course_is_known():
    everything = server.course()
    assert len(everything) > 60 and list(everything)[0].startswith("start_here.")
    for name, mistakes in everything.items():
        assert mistakes == {each.key: (each.says, each.pointer) for each in engine.find(name).known}
        assert len(mistakes) == len({each.says for each in engine.find(name).known})


def test_codes_can_be_read_aloud_and_differ():
    codes = {server.new_code() for _ in range(200)}
    assert len(codes) == 200 and all(re.fullmatch(r"([b-z][aeiou][b-z]-){2}[b-z][aeiou][b-z]", code) for code in codes)


def test_students_get_the_client_and_not_the_server():
    ours = {name.rpartition("/")[2] for name in student_files() if "classroom/board/" in name}
    assert ours == {"__init__.py", "client.py"}


@pytest.mark.slow
def test_at_the_end_all_is_forgotten_unless_a_file_is_named(tmp_path):
    for options in ([], ["--keep", "counts.csv"]):
        with lecture(*options, folder=tmp_path) as board:
            assert ("everything is forgotten" in board.said) == (not options)
            assert board.post(0, **result()) == 204
            assert board.post(1, **result(NAME, False, engine.find(NAME).known[0].key)) == 204
            board.process.send_signal(signal.SIGINT)
            assert board.process.wait(20) == 0 and board.process.stdout.read() == "The class has ended.\n"
        assert [path.name for path in tmp_path.iterdir()] == options[1:]
    with open(tmp_path / "counts.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    says = engine.find(NAME).known[0].says
    assert rows[0] == ["exercise", "tried", "passed", "mistake", "made it"]
    assert rows[1:] == [[NAME, "2", "1", "", ""], [NAME, "2", "1", says, "1"]]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--keep", "here.csv"], "here.csv is there already"),
        (["--port=99999"], "--port"),
        (["--port=-1"], "--port"),
        (["--host=no.such.host.invalid"], "cannot begin"),
    ],
)
def test_what_cannot_begin_says_so_in_one_line(options, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.csv").write_text("mine", encoding="utf-8")
    assert in_thread(server.main, ["--no-browser", "--host=127.0.0.1", *options]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and (tmp_path / "here.csv").read_text(encoding="utf-8") == "mine"


# --- 200 students ---------------------------------------------------------------------------------------------------


async def simulated(port, code, students, seconds):
    """Each student joins, then passes one exercise within `seconds`: the seconds from each POST to its event."""
    AsyncHTTPClient.configure(None, max_clients=students + 1)
    http, url, sent, shown, begin = AsyncHTTPClient(), f"http://127.0.0.1:{port}", [], [], asyncio.Event()

    def streamed(chunk):
        streamed.text += chunk.decode()
        *complete, streamed.text = streamed.text.split("\n\n")
        for event in complete:
            count = json.loads(event.removeprefix("data: "))["rows"].get(NAME, [0, 0])[1] if "data" in event else 0
            shown.extend([time.perf_counter()] * (count - len(shown)))

    async def student(i):
        who = {"code": code, "student": secrets.token_hex(8)}
        await http.fetch(f"{url}/check", method="POST", body=json.dumps(who))
        await begin.wait()
        await asyncio.sleep(seconds * i / students)
        started = time.perf_counter()
        await http.fetch(f"{url}/check", method="POST", body=json.dumps(who | result()))
        sent.append((time.perf_counter(), started))  # the board counts in the order in which it answers

    streamed.text = ""
    watched = asyncio.ensure_future(http.fetch(f"{url}/live", streaming_callback=streamed, request_timeout=0))
    tasks = [asyncio.ensure_future(student(i)) for i in range(students)]
    await asyncio.sleep(2)
    begin.set()
    await asyncio.gather(*tasks)
    async with asyncio.timeout(10):
        while len(shown) < students:
            await asyncio.sleep(0.02)
    watched.cancel()
    return [at - started for at, (_, started) in zip(shown, sorted(sent))]


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [10, 0], ids=["within 10 seconds", "at once"])
def test_two_hundred_students(seconds, tmp_path, capsys):
    with lecture(folder=tmp_path) as board:
        took = sorted(in_thread(asyncio.run, simulated(board.port, board.code, 200, seconds)))
    median, p95 = statistics.median(took), took[int(0.95 * len(took))]
    with capsys.disabled():
        print(f"\n200 students, {seconds} s: check to page {1000 * median:.0f} ms (median), {1000 * p95:.0f} ms (p95)")
    assert len(took) == 200 and took[-1] < 15  # nobody is lost; how fast is printed, because it is the machine's
