"""Model folders with safetensors files, read and written a piece at a time, so that no model has to fit into memory.

The format: eight bytes with the length of a JSON header, the header (name -> dtype, shape, where the bytes are), the
bytes. Reading is by position into one small buffer. A memory map would do too, but its pages count as used memory
until the map is closed. Source: the format's description in the safetensors repository.

Also here: which layer a tensor belongs to, read off its name, and new names for layers that are stacked anew.

    model.layers.7.mlp.up_proj.weight    ->    ("model.layers.", 7, ".mlp.up_proj.weight")

So also transformer.h.7.…, encoder.layer.7.…, blocks.7.…: the number behind the first such word of a name.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

_LAYER = re.compile(r"(.*?\b(?:layers|layer|blocks|block|h)\.)(\d+)(\..+)")
_BEFORE = re.compile(r"embed|\bwte\b|\bwpe\b")
_BEHIND = re.compile(r"embed_out|unembed|head")


def split_layer(name: str) -> tuple[str, int, str] | None:
    """(what stands before the number, the layer's number, what stands behind it), or None outside the layers."""
    found = _LAYER.fullmatch(name)
    return (found[1], int(found[2]), found[3]) if found else None


def count_layers(names: Collection[str]) -> dict[str, int]:
    """The number of layers of each stack: {"model.layers.": 32}; an encoder-decoder has two."""
    counts: dict[str, int] = {}
    for prefix, number, _ in filter(None, map(split_layer, names)):
        counts[prefix] = max(counts.get(prefix, 0), number + 1)
    return counts


def outside_layers(names: Collection[str], before: bool) -> list[str]:
    """The tensors that are used before the layers (embeddings), or else those behind them (last norm, head)."""
    return [
        name
        for name in names
        if not split_layer(name) and (bool(_BEFORE.search(name)) and not _BEHIND.search(name)) == before
    ]


def moved_layers(names: Collection[str], layers: tuple[int, int], first: int, model: str) -> dict[str, str]:
    """{new name: name} of a range of layers, end not included, that become the layers first, first + 1, ….

    Raises ValueError: a model without or with several stacks of layers, a range that does not fit it.
    """
    counts = count_layers(names)
    if len(counts) != 1:
        raise ValueError(f"{model} has {len(counts)} stacks of layers: only a model with one can be cut into slices")
    (start, end), (depth,) = layers, counts.values()
    if not 0 <= start < end <= depth:
        raise ValueError(
            f"layer range [{start}, {end}] does not fit {model}, which has layers 0 to {depth - 1} "
            "(the end is not included)"
        )
    places = ((name, split_layer(name)) for name in names)
    return {
        f"{place[0]}{place[1] - start + first}{place[2]}": name
        for name, place in places
        if place and start <= place[1] < end
    }


def stack_layers(
    names: Sequence[Collection[str]], slices: Sequence[tuple[int, int, int]]
) -> list[tuple[str, int, str]]:
    """The tensors of a model stacked from ranges of layers: [(new name, number of the source, name there), …].

    names: the tensors of each source; slices: (number of the source, first layer, end layer), end not included, sources
    counted from 0. Raises ValueError: no slices, no such source or layer.
    """
    if not slices:
        raise ValueError("there is nothing to stack: give at least one slice")
    layers: list[tuple[str, int, str]] = []
    offset = 0
    for source, start, end in slices:
        if not 0 <= source < len(names):
            raise ValueError(f"there is no model {source}: the models are counted from 0 to {len(names) - 1}")
        moved = moved_layers(names[source], (start, end), offset, f"model {source}")
        layers += [(new, source, name) for new, name in moved.items()]
        offset += end - start
    first, last = slices[0][0], slices[-1][0]
    before = [(name, first, name) for name in outside_layers(names[first], before=True)]
    behind = [(name, last, name) for name in outside_layers(names[last], before=False)]
    return [*before, *layers, *behind]


DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
CODES = {dtype: code for code, dtype in DTYPES.items()}
INDEX = "model.safetensors.index.json"
_BUFFER = re.compile(r"rotary_emb\.inv_freq$|\.masked_bias$|\bembeddings\.position_ids$")
_EMBEDDINGS = re.compile(r"\b(embed_tokens|wte|word_embeddings|embed_in|tok_embeddings|shared)\.weight$")
_POSITIONS = re.compile(r"\bwpe\b|position")
_HUB_NAME = re.compile(r"([\w.-]+/)?[\w.-]+(@[\w./-]+)?")
_LONGEST_HEADER = 100_000_000  # as the safetensors library


class MergeError(ValueError):
    """A merge cannot be done. Each of `problems` is one line that says what is wrong; the message is all of them.

    kind: what tells one sort of problem from another, where many tensors have the same (see ``Problems``).
    """

    def __init__(self, *problems: object, kind: object = None) -> None:
        self.problems = tuple(" ".join(str(problem).split()) for problem in problems)
        self.kind = kind
        super().__init__("; ".join(self.problems))


class Problems:
    """Collects what is wrong, to tell all of it at once: of one kind the first, and how many more there are."""

    def __init__(self) -> None:
        self.found: dict[object, list[str]] = {}

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """A MergeError in this block is noted, and the work goes on behind the block."""
        try:
            yield
        except MergeError as error:
            for problem in error.problems:
                self.found.setdefault(error.kind or problem, []).append(problem)

    def raise_all(self) -> None:
        """Raise one MergeError with everything that was noted, if anything was."""
        if self.found:
            more = [f" (and {len(same) - 1} more tensors)" * (len(same) > 1) for same in self.found.values()]
            raise MergeError(*(same[0] + rest for same, rest in zip(self.found.values(), more)))


@dataclass(frozen=True)
class TensorOnDisk:
    """One tensor in a file; its bytes begin at `start`."""

    file: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int

    @property
    def numel(self) -> int:
        return torch.Size(self.shape).numel()


class ModelFolder:
    """The tensors of a model folder by name, its configuration, and pieces of tensors on demand.

    Buffers that are computed, not learnt, are left out (names in `buffers`), as in mergekit. Raises MergeError: no such
    folder, no config.json, no safetensors files, a file that is cut off or not what it says, a LoRA adapter, weights
    that are quantised.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = locate(str(path))
        if (self.path / "adapter_config.json").exists() and not (self.path / "config.json").exists():
            base = read_json(self.path / "adapter_config.json").get("base_model_name_or_path") or "its base model"
            raise MergeError(_lora(str(path), base, str(path)))
        self.config = read_json(self.path / "config.json")
        if quantised := self.config.get("quantization_config"):
            kind = quantised.get("quant_method", "") if isinstance(quantised, dict) else ""
            raise MergeError(
                f"{path} is quantised ({kind or 'quantization_config'}): its numbers are codes, which cannot be "
                "merged; take the model that it was made from"
            )
        self.tensors: dict[str, TensorOnDisk] = {}
        self._open: dict[Path, io.FileIO] = {}
        if (self.path / INDEX).exists():
            files = read_json(self.path / INDEX).get("weight_map")
            if not isinstance(files, dict) or any(Path(str(file)).name != file for file in files.values()):
                raise MergeError(f"{self.path / INDEX} is no index of files in its own folder")
            found = {file: _read_header(self.path / file) for file in sorted(set(files.values()))}
            for name, file in files.items():
                if name not in found[file]:
                    raise MergeError(f"{name} is not in {self.path / file}, where {INDEX} says it is")
                self.tensors[name] = found[file][name]
        elif (self.path / "model.safetensors").exists():
            self.tensors = _read_header(self.path / "model.safetensors")
        elif old := next(self.path.glob("pytorch_model*.bin"), None):
            raise MergeError(
                f"{path} has its weights in {old.name}, a pickle, and no model.safetensors; this writes one: "
                f"AutoModelForCausalLM.from_pretrained('{path}', dtype='auto').save_pretrained('new folder')"
            )
        else:
            raise MergeError(f"{path} has no model.safetensors and no {INDEX}")
        self.buffers = [name for name, tensor in self.tensors.items() if _is_buffer(name, tensor.shape)]
        for name in self.buffers:
            del self.tensors[name]
        if not self.tensors:
            raise MergeError(f"{path} holds no tensors")

    @property
    def text_config(self) -> dict[str, Any]:
        """The part of config.json that describes the language model; in one of text alone that is all of it."""
        inner = self.config.get("text_config")
        return inner if isinstance(inner, dict) and "vocab_size" not in self.config else self.config

    def has_row_per_token(self, name: str) -> bool:
        """Whether a tensor has one row for each token of the vocabulary, as embeddings, head and the head's bias do."""
        rows = [size for size in self.tensors[name].shape if size != 1]
        return (
            rows[:1] == [self.text_config.get("vocab_size")] and not split_layer(name) and not _POSITIONS.search(name)
        )

    def is_tied(self) -> bool:
        """Whether the output head is the embeddings. Where config.json does not say so, the file does."""
        said = self.config.get("tie_word_embeddings", self.text_config.get("tie_word_embeddings"))
        head, embeddings = self.head(), self.embeddings()
        if said is not None or head is None or embeddings is None:
            return bool(said) if said is not None else head is None
        size, shape = self.tensors[head].numel, self.tensors[head].shape
        return self.tensors[embeddings].shape == shape and all(
            torch.equal(*(self.read(name, start, min(start + 2**17, size)) for name in (head, embeddings)))
            for start in range(0, size, 2**17)
        )

    def head(self) -> str | None:
        """The name of the output head, if the file has one."""
        return next((name for name in self.tensors if name.endswith("lm_head.weight")), None)

    def embeddings(self) -> str | None:
        """The name of the token embeddings."""
        return next((name for name in self.tensors if _EMBEDDINGS.search(name)), None)

    def read(self, name: str, start: int, stop: int) -> Tensor:
        """The entries start..stop-1 of a tensor, taken as one row of numbers, in the dtype of the file."""
        tensor = self.tensors[name]
        if tensor.file not in self._open:
            self._open[tensor.file] = open(tensor.file, "rb", buffering=0)
        piece = torch.empty(stop - start, dtype=tensor.dtype)
        file, buffer = self._open[tensor.file], memoryview(piece.view(torch.uint8).numpy())
        file.seek(tensor.start + start * piece.element_size())
        while buffer:  # one call reads at most 2 GiB
            count = file.readinto(buffer)
            if not count:
                raise MergeError(f"{tensor.file} ends in the middle of {name}")
            buffer = buffer[count:]
        return piece

    def close(self) -> None:
        """Close the files that `read` opened."""
        while self._open:
            self._open.popitem()[1].close()


def locate(name: str) -> Path:
    """The folder of a model: a path, or a name on the hub ("org/model", "org/model@revision") from the local cache.

    No network is asked. The cache is where HF_HUB_CACHE or HF_HOME say, else in ~/.cache/huggingface/hub. Raises
    MergeError: neither is there; a + for a LoRA adapter.
    """
    if Path(name).is_dir():
        return Path(name)
    model, plus, adapter = name.partition("+")
    if plus:
        raise MergeError(_lora(name, model, adapter))
    if _HUB_NAME.fullmatch(name):
        repository, _, revision = name.partition("@")
        home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
        cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home, "hub")).expanduser()
        kept = cache / f"models--{repository.replace('/', '--')}"
        named = kept / "refs" / (revision or "main")
        commit = named.read_text(encoding="utf-8").strip() if named.is_file() else revision
        if commit and (kept / "snapshots" / commit).is_dir():
            return kept / "snapshots" / commit
        if kept.is_dir():
            raise MergeError(f"the hub cache {kept} does not hold the revision {revision or 'main'} of {repository}")
    raise MergeError(
        f"there is no model folder {name}, and no model of that name in the local hub cache (paths start where the "
        "program runs; no network is asked)"
    )


def _lora(name: str, model: str, adapter: str) -> str:
    return (
        f"{name} is a LoRA adapter, which has to be merged into its model first, with peft: "
        f"model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained('{model}'), '{adapter}') and then "
        "model.merge_and_unload().save_pretrained('new folder')"
    )


def _is_buffer(name: str, shape: tuple[int, ...]) -> bool:
    """Rotary frequencies, position numbers and causal masks, which old files hold and models compute by themselves."""
    return bool(_BUFFER.search(name)) or name.endswith((".attn.bias", ".attention.bias")) and len(shape) == 4


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises MergeError: no such file, not JSON, something other than an object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MergeError(f"{path.parent} has no {path.name}") from None
    except ValueError:
        raise MergeError(f"{path} is not readable as JSON") from None
    if not isinstance(content, dict):
        raise MergeError(f"{path} holds no JSON object")
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file as ``read_json`` reads it."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")


def _read_header(path: Path) -> dict[str, TensorOnDisk]:
    """Every tensor of one file. What the header says is checked against the file, since anything can be in it."""
    damaged = MergeError(f"{path} is damaged or no safetensors file")
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _LONGEST_HEADER:
                raise damaged
            header = json.loads(file.read(length))
        tensors, size = {}, path.stat().st_size
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            if entry["dtype"] not in DTYPES:
                raise MergeError(f"{name} in {path} has the type {entry['dtype']}, which cannot be merged")
            first, last = (8 + length + offset for offset in entry["data_offsets"])
            tensor = TensorOnDisk(path, DTYPES[entry["dtype"]], tuple(entry["shape"]), first)
            if last - first != tensor.numel * tensor.dtype.itemsize or not 8 + length <= first <= last <= size:
                raise damaged
            tensors[name] = tensor
    except FileNotFoundError:
        raise MergeError(f"{path} is missing") from None
    except (struct.error, KeyError, TypeError, AttributeError, ValueError) as error:
        raise error if isinstance(error, MergeError) else damaged from None
    return tensors


# ---------------------------------------------------------------- writing


@dataclass(frozen=True)
class Planned:
    """A tensor that will be written: what has to be known of it before its numbers are."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return torch.Size(self.shape).numel() * self.dtype.itemsize


def write_tensors(
    folder: Path, planned: Sequence[Planned], numbers: Iterator[Iterator[Tensor]], shard_size: int
) -> None:
    """Write model.safetensors, or several shards with their index, taking each tensor's numbers piece by piece.

    numbers: for each planned tensor, in that order, an iterator over pieces of it. shard_size: bytes; a larger tensor
    has a shard of its own.
    """
    shards, weight_map = in_shards(planned, shard_size), {}
    for number, shard in enumerate(shards, 1):
        file_name = "model.safetensors" if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        weight_map |= {tensor.name: file_name for tensor in shard}
        with open(folder / file_name, "wb") as file:
            _write_header(file, shard)
            for tensor in shard:
                left = tensor.nbytes
                for piece in next(numbers):
                    data = memoryview(piece.to(tensor.dtype).contiguous().view(torch.uint8).numpy())
                    left -= file.write(data)
                if left:
                    raise MergeError(f"{tensor.name} was not written whole: {left} bytes are missing")
    if len(shards) > 1:
        index = {"metadata": {"total_size": sum(tensor.nbytes for tensor in planned)}, "weight_map": weight_map}
        write_json(folder / INDEX, index)


def in_shards(planned: Sequence[Planned], shard_size: int) -> list[list[Planned]]:
    """The tensors of each file, in order: as many as fit into shard_size bytes, at least one."""
    shards: list[list[Planned]] = [[]]
    used = 0
    for tensor in planned:
        if shards[-1] and used + tensor.nbytes > shard_size:
            shards.append([])
            used = 0
        shards[-1].append(tensor)
        used += tensor.nbytes
    return shards


def _write_header(file: IO[bytes], shard: Sequence[Planned]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for tensor in shard:
        header[tensor.name] = {
            "dtype": CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [position, position + tensor.nbytes],
        }
        position += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)
