"""Twelve fine-tunes of one small model that tell positive movie snippets from negative ones (data/recipes/soups.py)."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer, LlamaForSequenceClassification

from course_utils.shelf.assets import brief, quiet_transformers
from course_utils.shelf.deltas import restored
from course_utils.shelf.device import on_device
from course_utils.shelf.models import ModelError, batches_by_length, data_dir, set_threads, tokenizer_folder

LONGEST, PAD, EOS = 63, 2, 1
BATCH_TOKENS = 512  # padded positions a forward pass: small ones have little padding and stay in the processor's cache


@dataclass(frozen=True, eq=False)
class Ingredients:
    """start: the state dict that all began with; states: the fine-tunes (float32); reports: their hyper-parameters and
    accuracies; model, tokenizer: the shell that runs any of them."""

    start: dict[str, Tensor]
    states: list[dict[str, Tensor]]
    reports: list[dict[str, Any]]
    model: LlamaForSequenceClassification
    tokenizer: Any

    def encode(self, texts: Sequence[str]) -> list[Tensor]:
        """`<s> text </s>` of each text, (T,), cut to 64 tokens: the classifier reads the last one."""
        return [torch.tensor(ids[:LONGEST] + [EOS]) for ids in self.tokenizer(list(texts)).input_ids]

    def logits(self, state: dict[str, Tensor], rows: Sequence[Tensor]) -> Tensor:
        """(texts, 2): scores for negative and positive of encoded texts, by the model with these parameters."""
        self.model.load_state_dict(state)
        return logits_of(self.model, rows)


def pad(rows: Sequence[Tensor]) -> Tensor:
    """(texts, longest), padded on the right."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), True, PAD)


def logits_of(model: torch.nn.Module, rows: Sequence[Tensor]) -> Tensor:
    """(texts, classes), in batches of texts of similar length; with gradients if the model's parameters have them."""
    batches = batches_by_length([len(row) for row in rows], BATCH_TOKENS)
    logits = torch.cat([model(input_ids=pad([rows[i] for i in batch]), use_cache=False).logits for batch in batches])
    return logits[torch.tensor(sum(batches, [])).argsort()]


def balanced_accuracy(logits: Tensor, labels: Tensor) -> float:
    """Mean over the classes of the share of their texts that are recognised: by chance 1 / classes.

    logits (texts, classes), labels (texts,)."""
    right = (logits.argmax(dim=1) == labels).double()
    return torch.stack([right[labels == c].mean() for c in labels.unique()]).mean().item()


@functools.cache
def load_ingredients() -> Ingredients:
    """The fine-tunes of data/models/soup. Raises ModelError (one line) if a file is missing or damaged."""
    folder = data_dir() / "models"
    set_threads()
    quiet_transformers()
    try:
        saved = load_file(folder / "soup" / "ingredients.safetensors")
        reports = json.loads((folder / "soup" / "training.json").read_text(encoding="utf-8"))["ingredients"]
        load = LlamaForSequenceClassification.from_pretrained
        model = load(folder / "base", dtype=torch.float32, num_labels=2).eval()
        start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        start["score.weight"] = saved.pop("0.score.weight").float()
        numbers = range(1, len(reports) + 1)
        states = [restored(start, {name: saved[f"{number}.{name}"] for name in start}) for number in numbers]
        tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder(folder / "base"), local_files_only=True)
    except Exception as error:  # a missing or damaged file: many classes
        raise ModelError(
            f"the classifiers cannot be loaded from {folder / 'soup'} ({brief(error, 150)}):"
            " restore them with `git checkout data/models`"
        ) from error
    return Ingredients(start, states, reports, on_device(model.requires_grad_(False)), tokenizer)
