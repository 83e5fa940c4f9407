"""The student's side of the board: after `join`, each `check` also tells the instructor's machine how it ended.

Sent are the exercise, whether it passed, the key of the mistake that was recognised, the code of the class and a random
number, which stands for this kernel and is forgotten with it. No name, no code, no result. All of it happens in a
thread of its own, so that a slow or missing server neither delays nor breaks a `check`.
"""

from __future__ import annotations

import contextlib
import json
import queue
import secrets
import threading
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

__all__ = ["join", "leave", "tell"]

PORT, SECONDS = 8765, 3.0  # where the address names no port; how long one step of a request may take
PAUSES = (1, 2, 4, 8, 16, 32)  # seconds between the attempts to deliver one result
JOINED = (
    "Joined. From now on each check sends the exercise, whether it passed and which known mistake it has, "
    "under a random number: no name, no code of yours. leave() ends it."
)
GONE = "The board of the class does not answer. Your checks work as before; leave() ends the attempts to reach it."
ENDED = "The board of the class takes nothing more from here: it has ended or begun anew. Your checks work as before."
REFUSED = {
    403: "the code is not right: compare it with the one on the screen",
    429: "too many try at once: wait a moment and run the cell again",
    503: "the board is full",
}


class _Link(threading.Thread):
    """The way to one board; ends when `left` is set."""

    def __init__(self, host: str, port: int, code: str) -> None:
        super().__init__(name="board of the class", daemon=True)
        self.host, self.port, self.code = host, port, code
        self.student = secrets.token_hex(8)
        self.waiting: queue.Queue[dict | None] = queue.Queue(100)
        self.left = threading.Event()
        self.said, self.to_say = False, ""  # one line about trouble, once, under the next check

    def post(self, **result: object) -> int:
        """The status of the board's answer. Raises OSError or HTTPException if there is none."""
        body = json.dumps({"code": self.code, "student": self.student, **result})
        connection = HTTPConnection(self.host, self.port, timeout=SECONDS)  # asks no proxy
        try:
            connection.request("POST", "/check", body, {"Content-Type": "application/json"})
            return connection.getresponse().status
        finally:
            connection.close()

    def run(self) -> None:
        while (result := self.waiting.get()) and not self.left.is_set():
            self.deliver(result)

    def deliver(self, result: dict) -> None:
        """Try for a minute. 429 means that this was too fast, anything else in the 400s that it is not wanted."""
        for pause in PAUSES:
            try:
                status = self.post(**result)
            except (OSError, HTTPException):
                status = 0
            if 400 <= status < 500 and status != 429:
                return self.complain(ENDED)
            if status == 204:
                return None
            if status == 0:
                self.complain(GONE)
            if self.left.wait(pause):
                return None

    def complain(self, line: str) -> None:
        if not self.said:
            self.said, self.to_say = True, line

    def leave(self) -> None:
        self.left.set()
        with contextlib.suppress(queue.Full):  # then it is not waiting for more
            self.waiting.put_nowait(None)


_LINK: _Link | None = None


def join(address: str, code: str) -> None:
    """Take part in the board of a lecture: join("http://192.168.1.5:8765", "kud-fel-mor"). Says what will be sent.
    Never raises."""
    print(_join(str(address).strip(), str(code).strip().lower()))


def _join(address: str, code: str) -> str:
    global _LINK
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        host, port = parts.hostname, parts.port or PORT
        if parts.scheme != "http" or not host:
            raise ValueError
    except ValueError:
        return 'Not joined: the address looks like "http://192.168.1.5:8765".'
    if _LINK and (_LINK.host, _LINK.port, _LINK.code) == (host, port, code):
        return JOINED  # the cell was run again: still the same student
    link = _Link(host, port, code)
    try:
        status = link.post()
    except (OSError, HTTPException, ValueError) as error:  # ValueError: a host name that cannot be one
        why = f"no board answers at {host}:{port} ({type(error).__name__}). Are both machines in the same network?"
        return f"Not joined: {why}"
    if status != 204:
        return f"Not joined: {REFUSED.get(status, f'{host}:{port} is not the board of a class')}."
    _forget()
    link.start()
    _LINK = link
    return JOINED


def leave() -> None:
    """Send nothing more, and forget the number."""
    print("Left: nothing more is sent." if _LINK else "You have not joined a class: nothing was sent.")
    _forget()


def _forget() -> None:
    global _LINK
    if _LINK:
        _LINK.leave()
    _LINK = None


def tell(exercise: str, passed: bool, mistake: str) -> str:
    """Queue what a check found, where a class was joined. A line to show, or "". Never raises, never waits."""
    link = _LINK
    if link is None:
        return ""
    with contextlib.suppress(queue.Full):
        link.waiting.put_nowait({"exercise": exercise, "passed": passed, "mistake": mistake})
    line, link.to_say = link.to_say, ""
    return line
