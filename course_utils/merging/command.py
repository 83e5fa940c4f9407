"""The merge command: model folders are merged as a YAML file in mergekit's format says.

    python -m course_utils.merging.command config.yml out/        needs neither a network nor memory for a whole model
    python -m course_utils.merging.command config.yml --check     the plan and every problem; writes nothing
    merge(read("config.yml"), "out")                              the same from Python

The tensors are streamed from the sources' safetensors files to the target's, about a hundred thousand numbers at a
time. The target appears by one rename when all is written; until then everything is in `<target>.partial-<pid>`, which
is removed when the merge fails or is interrupted, and by the next merge to that target if the machine went down. The
result loads with `from_pretrained`; configuration and tokenizer are those of base_model, or of the first model, unless
tokenizer_source says otherwise; a tokenizer that lies beside the model's folder (`models.tokenizer_folder`) is copied
into the result. Models are folders, or names on the hub whose files lie in the local cache.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import os
import re
import shutil
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import psutil
import torch
from torch import Tensor
from tqdm import tqdm

from course_utils.merging import vocabulary
from course_utils.merging.checkpoints import (
    MergeError,
    ModelFolder,
    Planned,
    Problems,
    count_layers,
    in_shards,
    locate,
    read_json,
    write_json,
    write_tensors,
)
from course_utils.merging.config import MergeConfig, Slice, Source, dumps, loads
from course_utils.merging.plan import PIECE, Job, Planner
from course_utils.shelf.models import tokenizer_folder

__all__ = ["MergeConfig", "MergeError", "Slice", "Source", "dumps", "loads", "merge", "read", "write"]

SHARD_SIZE = 5_000_000_000  # bytes
RECORD = "mergekit_config.yml"  # the configuration, kept beside the weights under the name that mergekit gives it
_LAYER_KEYS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_LAYER_NUMBERS = ("moe_layers", "mlp_only_layers")  # lists of those layers that are of a kind
_NO_LAYERS = re.compile(r"_ids?$|^architectures$|labels?$")
_TOKENIZER = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "*.model", "*.spm")
_TOKENIZER += ("chat_template*", "generation_config.json")
_BESIDE = ("generation_config.json", "*processor_config.json", "*.py", "modules.json", "sentence_bert_config.json")
_BESIDE += ("config_sentence_transformers.json",)


def read(path: str | Path) -> MergeConfig:
    """The configuration in a YAML file. Raises MergeError, naming the file: none there, or what ``loads`` refuses."""
    try:
        return loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise MergeError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except MergeError as error:
        raise MergeError(*(f"{path}: {problem}" for problem in error.problems)) from None


def write(config: MergeConfig, path: str | Path) -> None:
    """Write a configuration as YAML that mergekit reads too."""
    Path(path).write_text(dumps(config), encoding="utf-8", newline="\n")


def merge(
    config: MergeConfig, out: str | Path, *, seed: int = 0, shard_size: int = SHARD_SIZE, progress: bool = True
) -> Path:
    """Carry out a merge; returns the folder `out`, which must not be there before or be empty.

    dtype is the type in which the models are read, as in mergekit; sums are taken in float32 whatever it is. out_dtype
    is the type that is written; seed is for DARE and DELLA. Raises MergeError, a line for each problem: the target is
    there, a model is missing or does not fit, there is no room on the disk. Then nothing is left behind. What is worth
    knowing about a merge that can be done comes as a UserWarning.
    """
    out = Path(out)
    with prepared(config, out, seed=seed, shard_size=shard_size) as merging:
        for note in merging.notes:
            warnings.warn(note, stacklevel=2)
        # Once a block of this size was given back, glibc keeps the memory of the pieces instead of asking for it anew,
        # page by page, for each of them; the block itself is never touched.
        torch.empty(2**24, dtype=torch.uint8)
        with _partial_folder(out) as partial:
            size = merging.size
            with tqdm(total=size, unit="B", unit_scale=True, desc=config.merge_method, disable=not progress) as bar:
                numbers = (_watched(job, bar) for job in merging.jobs)
                write_tensors(partial, merging.planned, numbers, shard_size)
            write_json(partial / "config.json", merging.model_config)
            write(config, partial / RECORD)
            merging.copy_files(partial)
            try:
                if out.is_dir():
                    out.rmdir()  # it is empty; Windows renames nothing to a folder that is there
                partial.rename(out)
            except OSError as error:
                raise MergeError(f"{out} cannot be made: {error.strerror}") from None
    return out


@contextlib.contextmanager
def prepared(
    config: MergeConfig, out: Path | None = None, *, seed: int = 0, shard_size: int = SHARD_SIZE
) -> Iterator[Merging]:
    """The check of a merge, before a number is read or a byte written: all that the merge needs, or a MergeError.

    The error has a line for every problem that was found. out=None: without a look at the target and the disk.
    """
    problems = Problems()
    with problems.caught():
        if shard_size < 1:
            raise MergeError(f"the shard size is {shard_size}: at least 1 byte is needed")
    if out:
        with problems.caught():
            if out.is_symlink() or out.exists() and (not out.is_dir() or any(out.iterdir())):
                raise MergeError(f"{out} is there already: choose another target or remove it")
    with contextlib.ExitStack() as stack:
        folders: dict[str, ModelFolder] = {}
        config = _without_double_names(config)
        for name in _names(config):
            with problems.caught():
                folders[name] = ModelFolder(name)
                stack.callback(folders[name].close)
        if len(folders) < len(_names(config)):
            problems.raise_all()
        merging = None
        with problems.caught():
            merging = Merging(config, folders, seed)
        if out and merging:
            with problems.caught():
                place = next(parent for parent in out.absolute().parents if parent.exists())
                if (free := shutil.disk_usage(place).free) < merging.size:
                    raise MergeError(f"{out} needs {merging.size / 1e6:.0f} MB, but only {free / 1e6:.0f} MB are free")
        problems.raise_all()
        yield merging


class Merging:
    """A merge that can be carried out: its jobs, its config.json, its tokenizer, and what is worth knowing (notes)."""

    def __init__(self, config: MergeConfig, folders: Mapping[str, ModelFolder], seed: int) -> None:
        problems = Problems()
        self.config, self.folders, self.notes = config, folders, list(config.notes)
        self.donor_name = next(iter(folders))  # its configuration and tokenizer go into the result
        self.donor = folders[self.donor_name]
        for name, folder in folders.items():
            with problems.caught():
                _check_kind(name, folder, self.donor)
            if folder.buffers:
                self.notes.append(
                    f"{name}: {len(folder.buffers)} tensors that models compute by themselves are left out"
                )
        self.tokenizers: dict[str, vocabulary.Tokenizer | None] = dict.fromkeys(folders)
        self.tokenizer: vocabulary.Tokenizer | None = None
        self.token_ids: dict[str, Any] = {}  # of config.json: eos_token_id and the like, from the tokenizer's model
        self.template: str | None = None
        self.alignment: vocabulary.Alignment | None = None
        with problems.caught():
            self._choose_tokenizer()
        with problems.caught():
            self._choose_template()
        problems.raise_all()
        planner = Planner(config, folders, seed, self.tokenizers, self.alignment)
        self.jobs = planner.plan()
        self.rows = next(iter(planner.rows.values()), None)
        self.planned = [Planned(job.name, job.out_dtype, job.shape) for job in self.jobs]
        self.size = sum(tensor.nbytes for tensor in self.planned)
        self.model_config = _model_config(self)

    def _choose_tokenizer(self) -> None:
        """The result's tokenizer and, unless all models have the same tokens and rows, whose rows go where."""
        source, pad = self.config.tokenizer_source, self.config.pad_to_multiple_of
        for name, folder in self.folders.items():
            try:
                self.tokenizers[name] = vocabulary.read_tokenizer(folder.path)
            except MergeError:
                if source:
                    raise
        known = {name: tokenizer for name, tokenizer in self.tokenizers.items() if tokenizer}
        own = known.get(self.donor_name)
        if source is None:
            others = ((name, known[name]) for name in known if own and name != self.donor_name)
            for text in (vocabulary.difference(name, one.ids, self.donor_name, own.ids) for name, one in others):
                if text:
                    self.notes.append(
                        f"{text}; rows are merged by their number, as mergekit does without tokenizer_source "
                        "(with tokenizer_source: base they are merged by token)"
                    )
            return
        if source in ("base", "union") and own is None:
            raise MergeError(f"{self.donor_name} has no tokenizer.json: tokenizer_source: {source} needs it")
        for name in (name for name in self.folders if name not in known):
            self.notes.append(f"{name} has no tokenizer: the tokens of {self.donor_name} are taken for its own")
        self.tokenizer = own
        if source == "union":
            self.tokenizer = vocabulary.union(own, [one for name, one in known.items() if one is not own])
        elif source != "base":
            path = self.folders[source].path if source in self.folders else locate(source)
            self.tokenizer = vocabulary.read_tokenizer(path)
            if self.tokenizer is None:
                raise MergeError(f"tokenizer_source is {source}, which has no tokenizer.json")
            if (path / "config.json").exists():
                ids = read_json(path / "config.json")
                self.token_ids = {key: value for key, value in ids.items() if key.endswith("_token_id")}
        tokenizers = {name: known.get(name) or own or self.tokenizer for name in self.folders}
        rows = {name: folder.text_config.get("vocab_size") or 0 for name, folder in self.folders.items()}
        same = all(tokenizer.ids == self.tokenizer.ids for tokenizer in tokenizers.values())
        if not same or len(set(rows.values())) > 1 or pad:
            self.alignment = vocabulary.Alignment(self.tokenizer, tokenizers, rows, pad)

    def _choose_template(self) -> None:
        models = {name: folder.path for name, folder in self.folders.items()}
        if self.config.chat_template:
            self.template = vocabulary.chosen_template(self.config.chat_template, models)
            return
        having = [name for name, path in models.items() if vocabulary.template_of(path)]
        if having and vocabulary.template_of(self.tokenizer.folder if self.tokenizer else self.donor.path) is None:
            self.notes.append(f"the result has no chat template; with chat_template: auto it gets that of {having[0]}")

    def describe(self, shard_size: int) -> str:
        """The plan in a few lines: models, layers, method, number types, tokenizer, size, memory."""
        config = self.config
        lines = [f"{config.merge_method} of {len(self.folders)} models, base {config.base_model or 'none'}"]
        for name, folder in self.folders.items():
            kinds = " and ".join(sorted({str(tensor.dtype)[6:] for tensor in folder.tensors.values()}))
            depth = " + ".join(map(str, count_layers(folder.tensors).values()))
            numbers = sum(tensor.numel for tensor in folder.tensors.values())
            place = f" in {folder.path}" if str(folder.path) != name else ""
            lines.append(f"  {name}{place}: {numbers / 1e6:.1f} M numbers, {kinds}, {depth} layers")
        first = 0
        for part in config.slices:
            start, end = part.sources[0].layer_range
            sources = " with ".join(f"{source.model} {list(source.layer_range)}" for source in part.sources)
            lines.append(f"  layers {first} to {first + end - start - 1}: {sources}")
            first += end - start
        settings = ", ".join(f"{name}: {value}" for name, value in config.parameters.items())
        lines.append(f"settings: {settings or 'those of the models'}")
        kinds = " and ".join(sorted({str(job.dtype)[6:] for job in self.jobs}))
        written = " and ".join(sorted({str(job.out_dtype)[6:] for job in self.jobs}))
        lines.append(f"number types: taken as {kinds}, summed in float32 or wider, written as {written}")
        tokens = f"{len(self.tokenizer.ids)} tokens" if self.tokenizer else f"that of {self.donor_name}"
        rows = f"merged by token into {self.alignment.size}" if self.alignment else "one for each token, as they are"
        template = "chosen" if self.template else "that of the tokenizer, if it has one"
        lines.append(
            f"tokenizer: {config.tokenizer_source or 'copied'}, {tokens}; rows: {rows}; chat template: {template}"
        )
        files, pieces = len(in_shards(self.planned, shard_size)), PIECE * 4 * (3 * len(self.folders) + 3) / 1e6
        lines.append(f"result: {len(self.jobs)} tensors, {self.size / 1e6:.1f} MB in {files} file{'s' * (files > 1)}")
        lines.append(f"memory: about {pieces:.0f} MB for numbers, besides the program")
        return "\n".join(lines)

    def copy_files(self, target: Path) -> None:
        """What belongs to a model besides weights and configuration: tokenizer, generation, processors, own code."""
        donor = self.donor.path
        places = [self.tokenizer.folder] if self.tokenizer else [tokenizer_folder(donor), donor]
        for place, patterns in [(donor, _BESIDE), *((place, _TOKENIZER) for place in places)]:
            for file in {file for pattern in patterns for file in place.glob(pattern) if file.is_file()}:
                shutil.copyfile(file, target / file.name)
        for folder in _parts(self.donor.path):
            shutil.copytree(self.donor.path / folder, target / folder)
        vocabulary.complete(target, self.tokenizer.added if self.tokenizer else (), self.template)


def _parts(model: Path) -> list[str]:
    """The folders that modules.json of a sentence-transformers model lists, such as 1_Pooling."""
    try:
        modules = json.loads((model / "modules.json").read_text(encoding="utf-8"))
        paths = [module["path"] for module in modules if module["path"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [path for path in paths if Path(path).name == path and (model / path).is_dir()]


def _names(config: MergeConfig) -> list[str]:
    """All models, in order: the first one gives the configuration."""
    names = {config.base_model: None}
    for part in config.slices or (Slice(config.models),):
        names |= dict.fromkeys([part.base_model, *(source.model for source in part.sources)])
    names.pop(None, None)
    return list(names)


def _without_double_names(config: MergeConfig) -> MergeConfig:
    """The configuration with one name for each folder, which may be written in several ways (a slash at the end)."""
    first: dict[Path, str] = {}
    names: dict[str | None, str | None] = {None: None}
    for name in _names(config):
        path = Path(name)
        names[name] = first.setdefault(path.resolve(), name) if path.is_dir() else name

    def renamed(sources: Sequence[Source]) -> tuple[Source, ...]:
        return tuple(replace(source, model=names[source.model]) for source in sources)

    slices = [replace(one, sources=renamed(one.sources), base_model=names[one.base_model]) for one in config.slices]
    return replace(
        config,
        models=renamed(config.models),
        slices=tuple(slices),
        base_model=names[config.base_model],
        tokenizer_source=names.get(config.tokenizer_source, config.tokenizer_source),
    )


def _watched(job: Job, bar: tqdm) -> Iterator[Tensor]:
    for piece in job.numbers():
        yield piece
        bar.update(piece.numel() * job.out_dtype.itemsize)


@contextlib.contextmanager
def _partial_folder(out: Path) -> Iterator[Path]:
    """A new folder beside the target, on the same disk so that it can be renamed; gone at the end if it was not."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for old in out.parent.glob(f"{out.name}.partial-*"):
            if not _alive(old.name.rpartition("-")[2]):
                shutil.rmtree(old, ignore_errors=True)
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


def _check_kind(name: str, folder: ModelFolder, donor: ModelFolder) -> None:
    kind, other = folder.config.get("model_type"), donor.config.get("model_type")
    if kind != other:
        raise MergeError(
            f"{name} is a {kind} model and {donor.path} a {other} model: only models of one architecture can be merged"
        )


def _model_config(merging: Merging) -> dict[str, Any]:
    """The donor's config.json with the new number type and numbers of layers and rows, and the head tied or not."""
    config, folders, donor, jobs = merging.config, merging.folders, merging.donor, merging.jobs
    result = copy.deepcopy(donor.config) | merging.token_ids
    inner = result["text_config"] if donor.text_config is not donor.config else result
    sizes = Counter()
    for job in jobs:
        sizes[job.out_dtype] += torch.Size(job.shape).numel() if job.out_dtype.is_floating_point else 0
    key = "torch_dtype" if "torch_dtype" in result and "dtype" not in result else "dtype"
    result[key] = str(sizes.most_common(1)[0][0]).removeprefix("torch.")
    tied = [folder.is_tied() for folder in folders.values()]
    if any(tied) and not all(tied):
        result["tie_word_embeddings"] = not any(job.name.endswith("lm_head.weight") for job in jobs)
    if merging.rows:
        inner["vocab_size"] = merging.rows
    if config.slices:
        _set_layers(inner, merging)
    return result


def _set_layers(result: dict[str, Any], merging: Merging) -> None:
    """Set the number of layers, and put together anew every list that has an entry for each layer."""
    config, donor = merging.config, merging.donor
    stacks, file = count_layers(donor.tensors), donor.path / "config.json"
    key = next((key for key in _LAYER_KEYS if type(result.get(key)) is int), None)
    if key is None:
        raise MergeError(f"{file} does not say how many layers the model has ({', '.join(_LAYER_KEYS)})")
    depth = result[key]
    if [depth] != list(stacks.values()):
        found = next(iter(stacks.values()))
        beyond = "the layers beyond are heads for several tokens, which slices cannot carry along; "
        raise MergeError(
            f"{file} says {depth} layers ({key}), the weights have {found}: {beyond * (found > depth)}"
            "only a model whose layers are all counted can be cut into slices"
        )
    places = [(source, i) for part in config.slices for source in part.sources[:1] for i in range(*source.layer_range)]
    result[key] = len(places)
    for name, entries in result.items():
        if not isinstance(entries, list) or _NO_LAYERS.search(name):
            continue
        if name in _LAYER_NUMBERS:
            numbers = [merging.folders[source.model].text_config.get(name) or [] for source, _ in places]
            result[name] = [new for new, (_, old) in enumerate(places) if old in numbers[new]]
        elif len(entries) == depth:
            result[name] = [_entry(name, source.model, i, entries, merging) for source, i in places]


def _entry(name: str, model: str, layer: int, entries: list[Any], merging: Merging) -> Any:
    """The entry of one layer in a model's own list; a model without the list has what all the donor's layers have."""
    own = merging.folders[model].text_config.get(name)
    if isinstance(own, list) and layer < len(own):
        return own[layer]
    if all(entry == entries[0] for entry in entries):
        return entries[0]
    what = "the types of its layers (layer_types)" if name == "layer_types" else f"{name} for each of its layers"
    raise MergeError(f"{model} does not list {what}, as {merging.donor.path} does")


# ---------------------------------------------------------------- command line


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise MergeError(f"{message}; usage: python -m course_utils.merging.command config.yml out/")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns 0, 2 for what cannot be done, 130 when interrupted; a line on stderr for each reason."""
    parser = _Parser(
        prog="python -m course_utils.merging.command", description="Merge models as a mergekit YAML file says."
    )
    parser.add_argument("config", help="YAML file")
    parser.add_argument("out", nargs="?", help="folder to be made")
    parser.add_argument("--check", action="store_true", help="show the plan and every problem, and write nothing")
    parser.add_argument("--seed", type=int, default=0, help="for dare_* and della*: what is dropped (default 0)")
    parser.add_argument("--shard-size", type=_bytes, default=SHARD_SIZE, help="of one file: 5GB, 500MB (default 5GB)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    try:
        options = parser.parse_args(arguments)
        if not (options.check or options.out):
            parser.error("the following arguments are required: out")
        config, rest = read(options.config), {"seed": options.seed, "shard_size": options.shard_size}
        if options.check:
            with prepared(config, options.out and Path(options.out), **rest) as merging:
                print(merging.describe(options.shard_size))
                notes = merging.notes
        else:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                merge(config, options.out, progress=not options.quiet, **rest)
            notes = [warning.message for warning in caught if warning.category is UserWarning]
        for note in notes:
            print(f"note: {note}", file=sys.stderr)
    except (MergeError, OSError) as error:
        for problem in getattr(error, "problems", [error]):
            print(f"merge: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("merge: interrupted, nothing was written", file=sys.stderr)
        return 130
    return 0


def _bytes(text: str) -> int:
    """5GB, 500M or 20000000 as a number of bytes; as in mergekit B alone means 10**9."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *([kmgt]?b?)", text.strip().lower())
    units = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
    unit = found and (10**9 if found[2] == "b" else units[found[2].removesuffix("b")])
    if not found or float(found[1]) * unit < 10**6:
        raise argparse.ArgumentTypeError(f"{text} is no size of at least 1MB, such as 500MB or 5GB")
    return int(float(found[1]) * unit)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)  # a killed merge cleans up like one that Ctrl-C ends
    torch.set_num_threads(int(os.environ.get("MANY_MODELS_THREADS") or min(2, os.cpu_count() or 1)))
    sys.exit(main())
