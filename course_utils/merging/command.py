"""The merge command: model folders are merged as a YAML file in mergekit's format says.

    python -m course_utils.merging.command config.yml out/        needs neither a network nor memory for a whole model
    merge(read("config.yml"), "out")                              the same from Python

The tensors are streamed from the sources' safetensors files to the target's, about a hundred thousand numbers at a
time. The target appears by one rename when all is written; until then everything is in `<target>.partial-<pid>`, which
is removed when the merge fails or is interrupted, and by the next merge to that target if the machine went down. The
result loads with `from_pretrained`; configuration and tokenizer are those of base_model, or of the first model; a
tokenizer that lies beside the model's folder (`models.tokenizer_folder`) is copied into the result.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import psutil
import torch
from torch import Tensor
from tqdm import tqdm

from course_utils.merging.checkpoints import MergeError, ModelFolder, Planned, count_layers, read_json, write_tensors
from course_utils.merging.config import MergeConfig, Slice, Source, dumps, loads
from course_utils.merging.plan import Job, plan
from course_utils.shelf.models import tokenizer_folder

__all__ = ["MergeConfig", "MergeError", "Slice", "Source", "dumps", "loads", "merge", "read", "write"]

SHARD_SIZE = 5_000_000_000  # bytes
RECORD = "mergekit_config.yml"  # the configuration, kept beside the weights under the name that mergekit gives it
_LAYER_KEYS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_TOKENIZER = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "*.model", "*.spm")
_BESIDE = (*_TOKENIZER, "chat_template*", "generation_config.json")


def read(path: str | Path) -> MergeConfig:
    """The configuration in a YAML file. Raises MergeError, naming the file: none there, or what ``loads`` refuses."""
    try:
        return loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise MergeError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except MergeError as error:
        raise MergeError(f"{path}: {error}") from None


def write(config: MergeConfig, path: str | Path) -> None:
    """Write a configuration as YAML that mergekit reads too."""
    Path(path).write_text(dumps(config), encoding="utf-8", newline="\n")


def merge(
    config: MergeConfig, out: str | Path, *, seed: int = 0, shard_size: int = SHARD_SIZE, progress: bool = True
) -> Path:
    """Carry out a merge; returns the folder `out`, which must not be there before. seed: for what DARE drops.

    dtype is the type in which the models are read, as in mergekit; sums are taken in float32 whatever it is. out_dtype
    is the type that is written. Raises MergeError, one line: the target is there, a model is missing or does not fit,
    there is no room on the disk. Then nothing is left behind.
    """
    out = Path(out)
    if out.exists() or out.is_symlink():
        raise MergeError(f"{out} is there already: choose another target or remove it")
    names = {config.base_model: None}  # in order: the first one gives configuration and tokenizer
    for part in config.slices or (Slice(config.models),):
        names |= dict.fromkeys([part.base_model, *(source.model for source in part.sources)])
    names.pop(None, None)
    with contextlib.ExitStack() as stack:
        folders = {name: ModelFolder(name) for name in names}
        for folder in folders.values():
            stack.callback(folder.close)
        donor = folders[next(iter(names))]
        _check_family(folders, donor, config.tokenizer_source is not None)
        jobs = plan(config, folders, seed)
        model_config = _model_config(config, folders, donor, jobs)
        planned = [Planned(job.name, job.out_dtype, job.shape) for job in jobs]
        size = sum(tensor.nbytes for tensor in planned)
        partial = stack.enter_context(_partial_folder(out, size))
        with tqdm(total=size, unit="B", unit_scale=True, desc=config.merge_method, disable=not progress) as bar:
            write_tensors(partial, planned, (_watched(job, bar) for job in jobs), shard_size)
        (partial / "config.json").write_text(json.dumps(model_config, indent=2) + "\n", encoding="utf-8", newline="\n")
        write(config, partial / RECORD)
        for place in dict.fromkeys([tokenizer_folder(donor.path), donor.path]):  # last the model's own: they count
            for file in {file for pattern in _BESIDE for file in place.glob(pattern) if file.is_file()}:
                shutil.copyfile(file, partial / file.name)
        try:
            partial.rename(out)
        except OSError as error:
            raise MergeError(f"{out} cannot be made: {error.strerror}") from None
    return out


def _watched(job: Job, bar: tqdm) -> Iterator[Tensor]:
    for piece in job.numbers():
        yield piece
        bar.update(piece.numel() * job.out_dtype.itemsize)


@contextlib.contextmanager
def _partial_folder(out: Path, size: int) -> Iterator[Path]:
    """A new folder beside the target, on the same disk so that it can be renamed; gone at the end if it was not."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for old in out.parent.glob(f"{out.name}.partial-*"):
            if not _alive(old.name.rpartition("-")[2]):
                shutil.rmtree(old, ignore_errors=True)
        if (free := shutil.disk_usage(out.parent).free) < size:
            raise MergeError(f"{out} needs {size / 1e6:.0f} MB, but only {free / 1e6:.0f} MB are free")
        partial = out.parent / f"{out.name}.partial-{os.getpid()}"
        partial.mkdir()
    except OSError as error:
        raise MergeError(f"{out} cannot be made: {error.strerror}") from None
    try:
        yield partial
    except OSError as error:
        raise MergeError(f"{out} could not be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _alive(pid: str) -> bool:
    try:
        return psutil.pid_exists(int(pid))
    except (ValueError, OverflowError):
        return False


def _check_family(folders: Mapping[str, ModelFolder], donor: ModelFolder, same_vocabulary: bool) -> None:
    """Models of one kind; and of one vocabulary, where the configuration says whose tokenizer the result gets."""

    def vocabulary(folder: ModelFolder) -> Any:
        file = tokenizer_folder(folder.path) / "tokenizer.json"
        return (read_json(file).get("model") or {}).get("vocab") if file.exists() else None

    for name, folder in folders.items():
        kind, other = folder.config.get("model_type"), donor.config.get("model_type")
        if kind != other:
            raise MergeError(
                f"{name} is a {kind} model and {donor.path} a {other} model: "
                "only models of one architecture can be merged"
            )
        if same_vocabulary and folder is not donor and vocabulary(folder) != vocabulary(donor):
            raise MergeError(f"{name} has another vocabulary than {donor.path}: its numbers stand for other tokens")


def _model_config(
    config: MergeConfig, folders: Mapping[str, ModelFolder], donor: ModelFolder, jobs: Sequence[Job]
) -> dict[str, Any]:
    """The donor's config.json with the new number type, the new number of layers, and the head tied or not."""
    result = dict(donor.config)
    sizes = Counter()
    for job in jobs:
        sizes[job.out_dtype] += torch.Size(job.shape).numel() if job.out_dtype.is_floating_point else 0
    key = "torch_dtype" if "torch_dtype" in result and "dtype" not in result else "dtype"
    result[key] = str(sizes.most_common(1)[0][0]).removeprefix("torch.")
    heads = [any(name.endswith("lm_head.weight") for name in folder.tensors) for folder in folders.values()]
    if any(heads) and not all(heads):
        result["tie_word_embeddings"] = not any(job.name.endswith("lm_head.weight") for job in jobs)
    if config.slices:
        stacks = count_layers(donor.tensors)
        layer_key = next((key for key in _LAYER_KEYS if [result.get(key)] == list(stacks.values())), None)
        if layer_key is None:
            raise MergeError(
                f"{donor.path / 'config.json'} does not say how many layers the model has ({', '.join(_LAYER_KEYS)})"
            )
        result[layer_key] = sum(count_layers([job.name for job in jobs]).values())
        if isinstance(result.get("layer_types"), list):
            result["layer_types"] = []
            for source in (part.sources[0] for part in config.slices):
                kinds = folders[source.model].config.get("layer_types")
                if not isinstance(kinds, list):
                    raise MergeError(
                        f"{source.model} does not list the types of its layers (layer_types), as {donor.path} does"
                    )
                result["layer_types"] += kinds[slice(*source.layer_range)]
    return result


# ---------------------------------------------------------------- command line


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise MergeError(f"{message}; usage: python -m course_utils.merging.command config.yml out/")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns 0, 2 for what cannot be done, 130 when interrupted; one line on stderr says why."""
    parser = _Parser(
        prog="python -m course_utils.merging.command", description="Merge models as a mergekit YAML file says."
    )
    parser.add_argument("config", help="YAML file")
    parser.add_argument("out", help="folder to be made")
    parser.add_argument("--seed", type=int, default=0, help="for dare_ties, dare_linear: what is dropped (default 0)")
    parser.add_argument("--shard-size", type=int, default=SHARD_SIZE, help="bytes in one file (default 5000000000)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    try:
        options = parser.parse_args(arguments)
        config, progress = read(options.config), not options.quiet
        merge(config, options.out, seed=options.seed, shard_size=options.shard_size, progress=progress)
    except (MergeError, OSError) as error:
        print(f"merge: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("merge: interrupted, nothing was written", file=sys.stderr)
        return 130
    return 0


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)  # a killed merge cleans up like one that Ctrl-C ends
    torch.set_num_threads(int(os.environ.get("MANY_MODELS_THREADS") or min(2, os.cpu_count() or 1)))
    sys.exit(main())
