"""The instructor's side of the board: `python start.py class [--port N] [--host H] [--keep FILE]`.

A small web server for the local network. Students send what `check` found (POST /check, see client.py); the page
(GET /) shows the counts and follows them (GET /live, server-sent events). The page is for this machine; another one, at
the projector, needs the address with the secret in it.

Nobody can put words on the projector: exercises and mistakes come as names and keys, and only what this copy of the
course knows is counted; the texts are its own. Size, rates and numbers are bounded. The counts are in memory alone, and
gone when the program ends, unless `--keep` names a file for them (of counts: students are not told apart in it).
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import csv
import hashlib
import hmac
import ipaddress
import json
import logging
import re
import secrets
import socket
import sys
import time
import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler

from course_utils.classroom.board.client import PORT
from course_utils.classroom.progress import notebooks
from course_utils.shelf.files import written_aside

__all__ = ["Board", "Limit", "course", "main", "start"]

BYTES, STUDENTS, WATCHERS, SHOWN = 2048, 500, 20, 3  # of a request; most of each; mistakes shown of an exercise
PAUSE, BEAT = 0.2, 15.0  # seconds between two events of a stream; without news, a comment finds out who has gone
SLOW, SAVED = 1.0, 2.0  # seconds that a wrong code waits; between two savings of the counts
STUDENT = re.compile(r"[0-9a-f]{16}")
CONSONANTS, VOWELS = "bdfgkmnprstvz", "aeiou"  # nothing that is misheard or misread


def new_code() -> str:
    """Three groups that can be read aloud: kud-fel-mor. 6e8 of them, and a wrong one costs a second."""
    letters = (CONSONANTS, VOWELS, CONSONANTS)
    return "-".join("".join(map(secrets.choice, letters)) for _ in range(3))


def course() -> dict[str, dict[str, tuple[str, str]]]:
    """{exercise: {key of a mistake: (what is said at once, what from the second time on)}}, in the course's order."""
    from course_utils.exercises.engine import all_exercises

    order = [path.stem[3:] for path in notebooks()]
    known = {
        exercise.name: {mistake.key: (mistake.says, mistake.pointer) for mistake in exercise.known}
        for exercise in all_exercises().values()
        if exercise.topic in order
    }
    return dict(sorted(known.items(), key=lambda item: order.index(item[0].split(".")[0])))


class Limit:
    """`rate` a second for each key, and `burst` at once. Of more than `keys` the one not seen longest is forgotten."""

    def __init__(self, rate: float, burst: float, keys: int) -> None:
        self.rate, self.burst, self.keys = rate, burst, keys
        self.seen: dict[str, tuple[float, float]] = {}  # what is left, and when that was

    def allows(self, key: str) -> bool:
        now = time.monotonic()
        left, then = self.seen.pop(key, (self.burst, now))
        left = min(self.burst, left + (now - then) * self.rate)
        self.seen[key] = (left - 1 if left >= 1 else left, now)
        if len(self.seen) > self.keys:
            del self.seen[next(iter(self.seen))]
        return left >= 1


@dataclass
class Tally:
    """One exercise: who has tried it, passed it, made which mistake; `version` is the board's at the last change."""

    tried: set[str] = field(default_factory=set)
    passed: set[str] = field(default_factory=set)
    made: dict[str, set[str]] = field(default_factory=dict)
    version: int = 0


class Board:
    """What is counted. `known` as from `course`; `address` is what students join."""

    def __init__(self, known: Mapping[str, Mapping[str, tuple[str, str]]], address: str = "") -> None:
        self.known, self.address = known, address
        self.code, self.secret = new_code(), secrets.token_urlsafe(16)
        self.students: set[str] = set()
        self.tallies: dict[str, Tally] = {}
        self.version, self.watchers = 0, 0
        self._news = asyncio.Event()
        # A class may sit behind one address, and running all cells of a notebook checks all its exercises at once.
        self.by_student, self.by_address = Limit(2, 30, STUDENTS), Limit(200, 2000, 2000)
        self.wrong_codes = Limit(5, 50, 2000)

    def enter(self, student: str) -> bool:
        """Whether the student is one of the class: a new one is not once it is full."""
        if student not in self.students:
            if len(self.students) >= STUDENTS:
                return False
            self.students.add(student)
            self._changed()
        return True

    def add(self, student: str, exercise: str, passed: bool, mistake: str) -> None:
        """Count it. Raises KeyError if the course has no such exercise, or the exercise no such mistake."""
        if mistake not in {"", *self.known[exercise]}:
            raise KeyError(mistake)
        tally = self.tallies.setdefault(exercise, Tally())
        tally.tried.add(student)
        if passed:
            tally.passed.add(student)
        elif mistake:
            tally.made.setdefault(mistake, set()).add(student)
        self._changed()
        tally.version = self.version

    def _changed(self) -> None:
        self.version += 1
        self._news.set()
        self._news = asyncio.Event()

    async def news(self, seen: int) -> None:
        """Wait until there is something newer than version `seen`, or for a beat."""
        if self.version == seen:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), BEAT)

    def since(self, seen: int) -> dict:
        """What a page needs to be told that has seen version `seen`; -1: all."""
        rows = {
            name: [len(tally.tried), len(tally.passed), self.commonest(name)[:SHOWN]]
            for name, tally in self.tallies.items()
            if tally.version > seen
        }
        told = {"students": len(self.students), "rows": rows}
        if seen < 0:
            books = {path.stem[3:]: path.stem.replace("_", " ") for path in notebooks()}
            told |= {"join": f'join("{self.address}", "{self.code}")', "books": books, "exercises": list(self.known)}
        return told

    def commonest(self, exercise: str) -> list[tuple[int, str, str]]:
        """(students, what is said at once, what later) of the mistakes made, the commonest first."""
        made, texts = self.tallies[exercise].made, self.known[exercise]
        return sorted(((len(made[key]), *texts[key]) for key in made), key=itemgetter(0), reverse=True)

    def write(self, path: Path) -> None:
        """The counts as CSV: exercise, tried, passed, mistake, made it; one row for all and one for each mistake."""
        with written_aside(path) as aside, open(aside, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["exercise", "tried", "passed", "mistake", "made it"])
            for name in self.known:
                if name in self.tallies:
                    counts = [name, len(self.tallies[name].tried), len(self.tallies[name].passed)]
                    writer.writerow([*counts, "", ""])
                    writer.writerows([*counts, says, made] for made, says, _ in self.commonest(name))


# --- what is served -------------------------------------------------------------------------------------------------


class _Handler(RequestHandler):
    def initialize(self, board: Board) -> None:
        self.board = board

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")

    def write_error(self, status_code: int, **kwargs: object) -> None:
        self.finish(f"{self._reason}\n")


class _Nothing(_Handler):
    def prepare(self) -> None:
        raise HTTPError(404)


class _Check(_Handler):
    async def post(self) -> None:
        board, address = self.board, self.request.remote_ip
        if not board.by_address.allows(address):
            raise HTTPError(429)
        try:
            said = json.loads(self.request.body)
            code, student = said.pop("code").encode(), said.pop("student")
            result = [said[key] for key in ("exercise", "passed", "mistake")] if said else []
            if not STUDENT.fullmatch(student) or (said and [*map(type, result)] != [str, bool, str]):
                raise ValueError
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise HTTPError(400, reason="not what join() sends") from None
        if not hmac.compare_digest(code, board.code.encode()):
            if not board.wrong_codes.allows(address):
                raise HTTPError(429)
            await asyncio.sleep(SLOW)
            raise HTTPError(403, reason="wrong code")
        if not board.enter(student):
            raise HTTPError(503, reason=f"{STUDENTS} have joined: the board is full")
        if not board.by_student.allows(student):
            raise HTTPError(429)
        try:
            if result:
                board.add(student, *result)
        except KeyError:
            raise HTTPError(400, reason="an exercise or a mistake that this copy of the course lacks") from None
        self.set_status(204)


class _ForTheInstructor(_Handler):
    def prepare(self) -> None:
        """This machine by its own name (another name may be a page elsewhere that had its name point here), or whoever
        knows the secret."""
        here = ipaddress.ip_address(self.request.remote_ip).is_loopback
        here = here and self.request.host_name in ("127.0.0.1", "localhost")
        given = self.get_query_argument("show", "").encode()
        if not here and not hmac.compare_digest(given, self.board.secret.encode()):
            raise HTTPError(403, reason="this page is for the instructor")


class _Page(_ForTheInstructor):
    def get(self) -> None:
        folder = Path(__file__).parent
        parts = {kind: (folder / f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")}
        sums = {kind: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for kind, text in parts.items()}
        policy = f"default-src 'none'; style-src 'sha256-{sums['css']}'; script-src 'sha256-{sums['js']}'"
        policy += "; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        self.set_header("Content-Security-Policy", policy)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(parts["html"].replace("/*css*/", parts["css"]).replace("/*js*/", parts["js"]))


class _Live(_ForTheInstructor):
    async def get(self) -> None:
        board, seen = self.board, -1
        if board.watchers >= WATCHERS:
            raise HTTPError(503)
        self.set_header("Content-Type", "text/event-stream")
        board.watchers += 1
        try:
            while True:  # a slow reader gets fewer events, each with all that is new since its last
                fresh, version = board.version > seen, board.version
                self.write(f"data: {json.dumps(board.since(seen))}\n\n" if fresh else ": still here\n\n")
                seen = version
                await self.flush()
                await asyncio.sleep(PAUSE)
                await board.news(seen)
        except StreamClosedError:
            pass
        finally:
            board.watchers -= 1


def start(board: Board, sockets: Sequence[socket.socket]) -> HTTPServer:
    """Serve the board on these sockets, in the running event loop. No line is logged: it would hold addresses."""
    logging.getLogger("tornado.general").setLevel(logging.CRITICAL)
    given = {"board": board}
    routes = [("/check", _Check, given), ("/", _Page, given), ("/live", _Live, given)]
    silent = {"log_function": lambda handler: None}
    app = Application(routes, default_handler_class=_Nothing, default_handler_args=given, **silent)
    server = HTTPServer(app, max_body_size=BYTES, max_header_size=8192, idle_connection_timeout=30, body_timeout=5)
    server.add_sockets(sockets)
    return server


# --- the command ----------------------------------------------------------------------------------------------------


def own_address() -> str:
    """This machine's address in the local network; 127.0.0.1 where there is none. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("10.255.255.255", 9))  # of a datagram only the route is looked up
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"


async def serve(given: argparse.Namespace) -> None:
    sockets = bind_sockets(given.port, given.host, family=socket.AF_INET)
    port = sockets[0].getsockname()[1]
    name = own_address() if given.host == "0.0.0.0" else given.host
    board = Board(course(), f"http://{name}:{port}")
    start(board, sockets)
    away = f"{board.address}/?show={board.secret}"
    page = f"http://127.0.0.1:{port}/" if given.host in ("0.0.0.0", "127.0.0.1", "localhost") else away
    end = f"the counts are kept in {given.keep.resolve()}" if given.keep else "everything is forgotten then"
    lines = [
        f"Open to the local network at {name}:{port}, as you asked (--host 127.0.0.1: only to this machine).",
        "Students:  from course_utils.exercises import join",
        f'           join("{board.address}", "{board.code}")',
        f"Your page: {page}",
        f"On another machine, at the projector: {away}",
        f"Ctrl-C ends the class; {end}.",
    ]
    print("\n".join(lines), flush=True)
    if given.browser:
        webbrowser.open_new_tab(page)
    saved = -1
    try:
        while True:
            if given.keep and saved != board.version:
                saved = board.version
                board.write(given.keep)
            await asyncio.sleep(SAVED)
    finally:
        if given.keep:
            board.write(given.keep)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python start.py class", description="A live board for the lecture hall.")
    parser.add_argument("--port", type=int, default=PORT, help=f"(default: {PORT}; 0: any that is free)")
    parser.add_argument("--host", default="0.0.0.0", help="the address to listen at (default: all of this machine)")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="keep the counts in this CSV file")
    parser.add_argument("--no-browser", dest="browser", action="store_false", help="do not open the page")
    given = parser.parse_args(arguments)
    if not 0 <= given.port < 65536:  # some systems would take the rest of a division
        print("--port is a number from 0 to 65535", file=sys.stderr)
        return 2
    if given.keep and given.keep.exists():
        print(f"{given.keep} is there already: name another file", file=sys.stderr)
        return 2
    try:
        asyncio.run(serve(given))
    except OSError as error:
        print(f"the class cannot begin ({error}): try another --port, --host or --keep", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("The class has ended.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
