"""`python start.py class` as a process of its own, for the tests of the board."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace


@contextlib.contextmanager
def lecture(*options: str, folder: Path) -> Iterator[SimpleNamespace]:
    """.process, .port, .code, .said (what it printed) and .post(student, **result) -> status."""
    command = [sys.executable, "-m", "course_utils.classroom.board.server", "--host=127.0.0.1", "--port=0"]
    with subprocess.Popen(
        [*command, "--no-browser", *options], cwd=folder, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            said = "".join(process.stdout.readline() for _ in range(6))
            port, code = re.search(r'join\("http://127.0.0.1:(\d+)", "([a-z-]+)"\)', said).groups()

            def post(student: int, **result: object) -> int:
                connection = HTTPConnection("127.0.0.1", int(port), timeout=20)
                body = {"code": code, "student": f"{student:016x}", **result}
                connection.request("POST", "/check", json.dumps(body))
                status = connection.getresponse().status
                connection.close()
                return status

            yield SimpleNamespace(process=process, port=int(port), code=code, said=said, post=post)
        finally:
            process.kill()
