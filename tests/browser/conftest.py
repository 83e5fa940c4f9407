"""A real JupyterLab on a copy of the notebooks, driven through Debian's chromium. Without a browser these tests are
skipped."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import nbformat
import pytest

from course_utils.classroom import decks

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync""".split()
# Errors of Notebook 7.6.5 itself while it starts: settings that come before its shortcuts are there, a file browser
# that it lacks.
NOTEBOOK_7 = re.compile(r"(reading 'schema'|'filebrowser:open-path' not registered)[^\n]*\n[^\n]*/static/notebook/")
# JupyterLab's fonts and Notebook 7's have the same names; a server that has served one of the two refuses the other.
SAME_FONT = re.compile(r"/static/(lab|notebook)/\w+\.woff")
READY = """async () => {
    const panel = jupyterapp.shell.currentWidget;
    await panel.context.ready;
    await panel.sessionContext.ready;
}"""
LOCAL = {"127.0.0.1", "localhost", ""}  # "": data: and blob: addresses


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: install it (apt-get install chromium) to run the browser tests")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def lab_home(tmp_path_factory) -> Path:
    """The folder that JupyterLab shows; the notebooks are in notebooks/."""
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="session")
def lab(lab_home, browser):
    """Address and token of a JupyterLab (and Notebook 7, if there) on an empty home; it touches nothing else."""
    home, notebooks = lab_home, lab_home / "notebooks"
    shutil.copytree(ROOT / "notebooks", notebooks, ignore=shutil.ignore_patterns(".*"))
    nbformat.write(_charts_notebook(), notebooks / "charts.ipynb")
    folders = "JUPYTER_CONFIG_DIR JUPYTER_RUNTIME_DIR JUPYTERLAB_SETTINGS_DIR JUPYTERLAB_WORKSPACES_DIR IPYTHONDIR"
    environment = os.environ | {name: str(home / name) for name in folders.split()}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    token = secrets.token_hex(16)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.root_dir={home}"]
    command += ["--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", f"--IdentityProvider.token={token}"]
    command += [f"--{app}.expose_app_in_browser=True" for app in ("LabApp", "JupyterNotebookApp")]
    log = (home / "lab.log").open("w+", encoding="utf-8")
    server = subprocess.Popen(command, env=environment, cwd=home, stdout=log, stderr=log)
    try:
        yield _address(home / "JUPYTER_RUNTIME_DIR", server, log), token
    finally:
        server.terminate()  # JupyterLab shuts its kernels down
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
        log.close()


def _address(runtime: Path, server: subprocess.Popen, log) -> str:
    """Wait until the server answers; it writes the port that it chose into its runtime folder."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        for found in runtime.glob("jpserver-*.json"):
            try:
                url = json.loads(found.read_text(encoding="utf-8"))["url"]
                urlopen(f"{url}login", timeout=5).close()
                return url
            except (OSError, ValueError):  # not listening yet, or the file is half written
                pass
        time.sleep(0.2)
    log.seek(0)
    raise RuntimeError(f"JupyterLab did not start in 60 s:\n{log.read()[-2000:]}")


@pytest.fixture
def end_kernels(lab):
    """end_kernels() stops them all, and so does the end of the test: each holds a gigabyte, and would stay."""
    url, token = lab

    def end() -> None:
        with urlopen(f"{url}api/sessions?token={token}") as answer:
            sessions = json.load(answer)
        for session in sessions:
            urlopen(Request(f"{url}api/sessions/{session['id']}?token={token}", method="DELETE")).close()

    yield end
    end()


@contextlib.contextmanager
def _watched(browser, height: int, allowed: Callable[[str], bool]):
    """A browser context and `visit(address)`. At the end: no error in a page, no visit that is not `allowed`."""
    context = browser.new_context(viewport={"width": 1280, "height": height})
    problems: list[str] = []

    def visit(address: str) -> None:
        if not allowed(address):
            problems.append(f"a request to {address}")

    def console(message) -> None:
        address = message.location.get("url", "")
        if message.type == "error" and not SAME_FONT.search(address):
            problems.append(f"console error: {message.text} ({address})")

    def error(raised) -> None:
        if not NOTEBOOK_7.search(raised.stack or ""):
            problems.append(f"page error: {raised.stack or raised}")

    def opened(page) -> None:
        page.on("pageerror", error)
        page.on("console", console)

    context.on("page", opened)
    context.on("request", lambda request: visit(request.url))
    yield context, visit
    context.close()
    assert not problems, "\n".join(dict.fromkeys(problems))


def _on_this_machine(address: str) -> bool:
    return urlsplit(address).scheme in ("data", "blob") or urlsplit(address).hostname in LOCAL


@pytest.fixture
def open_notebook(lab, end_kernels, browser):
    """open_notebook(name) -> page with that notebook, ready; ``sent`` collects what the page tells the kernel.
    ``place`` is the front end's part of the address: "notebooks" for Notebook 7.

    At the end: no page error, no console error, no request to another machine.
    """
    url, token = lab
    with _watched(browser, 900, _on_this_machine) as (context, visit):

        def opener(name: str, sent: list[str] | None = None, place: str = "lab/tree"):
            page = context.new_page()
            page.set_default_timeout(60_000)

            def keep(frame: str | bytes) -> None:  # the protocol has binary frames with JSON inside
                sent.append(frame if isinstance(frame, str) else frame.decode("utf-8", "replace"))

            def websocket(socket) -> None:
                visit(socket.url)
                if sent is not None:  # what the page sends to the kernel
                    socket.on("framesent", keep)

            page.on("websocket", websocket)
            page.goto(f"{url}{place}/notebooks/{name}?token={token}&reset")
            shown = "() => window.jupyterapp?.shell.currentWidget?.content?.widgets?.length > 0"
            page.wait_for_function(shown)
            page.evaluate(READY)
            return page

        yield opener


@pytest.fixture
def from_disk(browser):
    """from_disk(path) -> the page. At the end: no error, and nothing asked of anything but the disk."""
    with _watched(browser, 720, lambda address: address.startswith(("file:", "data:", "blob:", "about:"))) as (
        context,
        _,
    ):

        def opener(path: Path):
            page = context.new_page()
            page.set_default_timeout(120_000)  # a busy machine
            page.goto(path.as_uri())
            return page

        yield opener


@pytest.fixture
def open_html(from_disk, tmp_path):
    """open_html(body) -> a page with it."""

    def opener(body: str):
        page = f'<!DOCTYPE html><html lang="en"><title>A page</title>{body}</html>'
        (tmp_path / "page.html").write_text(page, encoding="utf-8")
        return from_disk(tmp_path / "page.html")

    return opener


@pytest.fixture(scope="session")
def exported(tmp_path_factory, browser) -> Path:
    """The folder with all decks (slides/)."""
    out = tmp_path_factory.mktemp("exported")
    assert decks.main([str(out / "slides")]) == 0
    return out


@pytest.fixture
def ready(from_disk):
    """ready(folder)(NAME) -> the page NAME.html of a deck or the book, when its scripts have done their work."""

    def opener(folder: Path, name: str):
        page = from_disk(folder / f"{name}.html")
        page.wait_for_selector("body.ready")
        return page

    return lambda folder: partial(opener, folder)


@pytest.fixture
def open_page(exported, ready):
    """open_page("slides/NAME") -> the page, ready."""
    return ready(exported)


CHARTS = [
    """
import torch
from course_utils.explore import (LAMBDAS, RULES, generate_control, negative_evidence_explorer, next_token_explorer,
                                  or_and_explorer, weight_strip)

generator = torch.Generator().manual_seed(0)
logits = torch.randn(2, 5000, generator=generator, dtype=torch.float64) * 2
logits[0, :12] = torch.linspace(13, 9, 12)
logits[1, 5:17] = torch.linspace(13.5, 9, 12)
core, verses = logits.log_softmax(-1)
words = " the| earth| light| sea| firmament| heaven| waters| day| beginning|,|\\n| and| God| LORD| children| king| behold".split("|")
words += [f" word{i}" for i in range(len(words), 5000)]
heldout = [{"lam": lam, "rule": rule, "temperature": 1.0, "ppl": 22 + 9 * lam - 14 * lam * (1 - lam) * (1 if rule == "linear" else 0.8)}
           for lam in LAMBDAS for rule in RULES]
""",  # noqa: E501
    """
next_token_explorer({"SmolLM2": core, "verse n-gram": verses}, words, heldout=heldout, context="In the beginning God created the …")
""",  # noqa: E501
    """
or_and_explorer([0.4, 0.3, 0.1, 0.1, 0.1, 0, 0, 0], [0, 0.05, 0.05, 0.3, 0, 0.4, 0.1, 0.1],
                ["cat", "dog", "cow", "ant", "bee", "fly", "elk", "emu"])
""",
    """
text = "And the LORD said unto him , Go thy way . Loved this movie , the acting was great and the plot was fun ! what a day lol".split(" ")
first = torch.cat([torch.linspace(0.5, 0.95, 12), torch.linspace(0.9, 0.1, len(text) - 12)])
weight_strip([" " + word for word in text], torch.stack([first, 1 - first]), ["verse LM", "review LM"])
""",  # noqa: E501
    """
kind, rude = core.clone(), core.clone()
kind[:6] += torch.linspace(1, -1, 6)
rude[:6] += torch.linspace(-1, 1, 6)
experts = {"SmolLM2": core, "kind LM": kind.log_softmax(-1), "rude LM": rude.log_softmax(-1)}
curve = [{"lam": lam, "filtered": on, "attribute": 0.4 / (1 + (lam + 2) ** 2), "text": f"A sample with {lam}, " + "and so on " * 20,
          "perplexity": 22 + lam / 4 if on else 26 * 1.6 ** abs(lam)} for lam in (-2, -1, 0, 0.5, 1, 2, 4, 8) for on in (False, True)]
negative_evidence_explorer(experts, words, top_p=0.5, curve=curve, attribute_name="rude words", context="In the beginning God …")
""",  # noqa: E501
    """
import time

def count(lam, should_stop):
    for i in range(200):
        time.sleep(0.05)
        yield f"{lam:g}:{i} "

generate_control(count)
""",
]


def _charts_notebook():
    """All charts and controls on made-up numbers: what the browser shows does not wait for a model here."""
    cells = [nbformat.v4.new_code_cell(source.strip(), id=f"cell-{i}") for i, source in enumerate(CHARTS)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=kernel)
