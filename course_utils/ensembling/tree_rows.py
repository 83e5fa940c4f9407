"""Next-token distributions after many token sequences that begin alike, as the parts of a cover do: each position is
read once, and its keys and values are kept in a tree. And the bytes of a tokenizer's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.convert_slow_tokenizer import bytes_to_unicode

from course_utils.ensembling.across_vocabularies import Tokens

__all__ = ["TreeRows", "token_pieces"]


class TreeRows:
    """rows(sequences) of a transformers causal language model, after one context token; keys and values of all token
    sequences are kept in one tree, so that a sequence costs one position if its beginning has been read before.

    most: positions that are kept; when there are more, all are forgotten and read again where they are needed.
    ``fed`` counts positions.
    """

    def __init__(self, model: torch.nn.Module, context_id: int, most: int = 4096, batch: int = 32) -> None:
        self.model, self.context_id, self.most, self.batch, self.fed = model.eval(), context_id, most, batch, 0
        self.paths: dict[Tokens, list[int]] = {}  # places in the pool of a sequence's positions, the context first
        self.pool: list[Tensor] = []  # of each position: (layers, 2, heads, size)

    @torch.no_grad()
    def __call__(self, sequences: Sequence[Tokens]) -> Tensor:
        """Token ids, a tuple each -> log-probabilities (n, V), float32."""
        if len(self.pool) > self.most:
            self.paths, self.pool = {}, []
        missing = dict.fromkeys(s[:-1] for s in sequences if s and s[:-1] not in self.paths)
        if missing:
            self(list(missing))
        parts = [sequences[i : i + self.batch] for i in range(0, len(sequences), self.batch)]
        return torch.cat([self._feed(part) for part in parts])

    def _feed(self, sequences: Sequence[Tokens]) -> Tensor:
        """One pass over the last token of each sequence; what stands before it is in the tree, padded on the left."""
        before = [self.paths[s[:-1]] if s else [] for s in sequences]
        longest = max(map(len, before))
        cache = DynamicCache()
        if longest:
            nothing = torch.zeros_like(self.pool[0])
            pasts = torch.stack(
                [torch.stack([nothing] * (longest - len(b)) + [self.pool[i] for i in b]) for b in before]
            )  # (B, longest, layers, 2, heads, size)
            for layer, (keys, values) in enumerate(pasts.permute(2, 3, 0, 4, 1, 5)):
                cache.update(keys, values, layer)
        mask = torch.tensor([[0] * (longest - len(b)) + [1] * (len(b) + 1) for b in before])
        ids = torch.tensor([[s[-1] if s else self.context_id] for s in sequences])
        places = torch.tensor([[len(b)] for b in before])
        out = self.model(ids, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True)
        new = torch.stack([torch.stack([one.keys[:, :, -1], one.values[:, :, -1]], 1) for one in cache.layers], 1)
        for sequence, path, node in zip(sequences, before, new):  # node (layers, 2, heads, size)
            self.paths[sequence] = [*path, len(self.pool)]
            self.pool.append(node.clone())
        self.fed += len(sequences)
        return out.logits[:, -1].float().log_softmax(-1)


def token_pieces(tokenizer: Any, size: int) -> list[bytes]:
    """The bytes of the `size` tokens of a byte-level BPE tokenizer (GPT-2's scheme); b"" for special and unused ids."""
    written = {character: byte for byte, character in bytes_to_unicode().items()}
    special, names = set(tokenizer.all_special_ids), tokenizer.convert_ids_to_tokens(range(min(size, len(tokenizer))))
    special |= set(tokenizer.added_tokens_decoder)
    pieces = [b"" if i in special or not name else bytes(written[c] for c in name) for i, name in enumerate(names)]
    return pieces + [b""] * (size - len(pieces))
