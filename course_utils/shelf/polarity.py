"""SmolLM2 as a classifier, positive or negative: logistic regression on its hidden states (data/recipes/tiers.py)."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from course_utils.shelf.assets import brief
from course_utils.shelf.models import LanguageModel, ModelError, data_dir, load

LONGEST, LAYERS, BATCH = 48, (15, 30), 32  # tokens of a text; of SmolLM2's 30 layers; texts in a forward pass


@torch.inference_mode()
def hidden_means(lm: LanguageModel, texts: Sequence[str]) -> np.ndarray:
    """For each of LAYERS the mean over the text's first LONGEST tokens, without the context token: (texts, 2 x 576)."""
    rows = [lm.encode(text)[:LONGEST] for text in texts]
    ids = torch.full((len(rows), 1 + max(map(len, rows))), lm.context_id)
    for row, encoded in zip(ids, rows):
        row[1 : 1 + len(encoded)] = encoded  # padded on the right, where a causal model cannot see it
    # Without the head: no next token is asked for.
    states = lm.model.model(input_ids=ids.to(lm.model.device), output_hidden_states=True, use_cache=False).hidden_states
    means = [torch.stack([states[k][i, 1 : 1 + len(row)].mean(0) for i, row in enumerate(rows)]) for k in LAYERS]
    return torch.cat(means, dim=1).cpu().numpy()


class SmolLM2Polarity:
    """A fitted classifier as scikit-learn has it: P(positive) = sigmoid(w . hidden_means(text) + b); w (1152,)."""

    def __init__(self, lm: LanguageModel, weight: Tensor, bias: Tensor) -> None:
        self.lm, self.weight, self.bias = lm, weight.double().numpy(), float(bias)
        self.classes_ = np.array([0, 1])

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """(texts, 2): P(negative), P(positive). Raises ValueError: one string instead of a list, or no text."""
        if isinstance(texts, str) or not len(texts):
            but = ", not one string" if isinstance(texts, str) else ""
            raise ValueError(f"predict_proba needs a list of at least one text{but}")
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        found = [hidden_means(self.lm, [texts[i] for i in batch]) for batch in batches]
        positive = 1 / (1 + np.exp(-(np.concatenate(found) @ self.weight + self.bias)))
        positive = positive[np.argsort(order)]
        return np.column_stack([1 - positive, positive])

    def predict(self, texts: Sequence[str]) -> np.ndarray:
        """(texts,): 1 for positive, 0 for negative."""
        return self.predict_proba(texts).argmax(axis=1)


@functools.cache
def load_smollm2() -> SmolLM2Polarity:
    """The regression of data/models/smollm2-polarity over the fetched SmolLM2.

    Raises ModelError (one line) if the file is missing or damaged, AssetError if SmolLM2 cannot be fetched.
    """
    path = data_dir() / "models" / "smollm2-polarity" / "model.safetensors"
    try:
        head = load_file(path)
        weight, bias = head["weight"], head["bias"]
    except Exception as error:  # a missing or damaged file: many classes
        raise ModelError(
            f"the classifier cannot be loaded from {path} ({brief(error, 150)}): restore it with"
            " `git checkout data/models`"
        ) from error
    return SmolLM2Polarity(load("smollm2"), weight, bias)
