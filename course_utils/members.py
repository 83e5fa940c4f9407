"""Who can take part in decoding: one model, several, or one model with several adapters, each with its KV cache.

All are callables next_log_probs(ids), token ids (B, T) -> log-probabilities (B, V) of the next token. They may have a
method ``reorder(rows)``, which beam search calls when row i of the next ids will continue row rows[i] of the last ones.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import Cache, DynamicCache

NextLogProbs = Callable[[Tensor], Tensor]


class CachedLM:
    """next_log_probs of a transformers causal language model that feeds every token to the model once.

    Keys and values of past tokens stay in the cache; a call whose ids extend those of the last call feeds the new
    tokens only. Any other ids (another prompt, another batch size) start afresh, so no reset is needed. Rows must have
    equal length without padding. ``fed`` counts the token positions fed to the model (rows do not count).
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model.eval()
        self.fed = 0
        self._seen = self._log_probs = self._cache = None

    @torch.no_grad()
    def __call__(self, ids: Tensor, **inputs: object) -> Tensor:
        """ids (B, T) -> log-probabilities (B, V), float32. ``inputs`` go to the model with the tokens."""
        past = self._seen.shape[1] if self._seen is not None else 0
        if past == 0 or len(ids) != len(self._seen) or not torch.equal(ids[:, :past], self._seen):
            past, self._cache = 0, self._new_cache(len(ids))
        if past < ids.shape[1]:  # else these very ids were asked for before
            new = ids[:, past:]
            self._seen = None  # an interruption must not leave a cache that knows more than it says
            logits = self._logits(new, **inputs)
            self._seen, self._log_probs = ids.clone(), logits[:, -1].float().log_softmax(dim=-1)
            self.fed += new.shape[1]
        return self._log_probs

    def _new_cache(self, rows: int) -> Cache:
        return DynamicCache(config=self.model.config)

    def _logits(self, new: Tensor, **inputs: object) -> Tensor:
        """New tokens (B, t) -> logits (B, 1 or t, V); the cache grows."""
        return self.model(input_ids=new, past_key_values=self._cache, use_cache=True, logits_to_keep=1, **inputs).logits

    def reorder(self, rows: Tensor) -> None:
        """Let row i continue what row rows[i] has seen; rows (B',) may repeat rows and change their number."""
        if self._seen is not None:
            self._cache.reorder_cache(rows)
            self._seen, self._log_probs = self._seen[rows], self._log_probs[rows]


class Ensemble:
    """next_log_probs of several members: combine(log_probs (M, B, V)) -> (B, V), for example

    Ensemble([CachedLM(a), CachedLM(b)], lambda log_probs: linear_interpolation(log_probs, [0.5, 0.5])).
    Members are next_log_probs callables over one vocabulary; plain functions need no ``reorder``.
    Raises ValueError: no members; when called, vocabularies of different sizes.
    """

    def __init__(self, members: Sequence[NextLogProbs], combine: Callable[[Tensor], Tensor]) -> None:
        if not members:
            raise ValueError("an ensemble needs at least one member")
        self.members, self.combine = list(members), combine

    def __call__(self, ids: Tensor) -> Tensor:
        """ids (B, T) -> (B, V)."""
        log_probs = [member(ids) for member in self.members]
        sizes = [lp.shape[-1] for lp in log_probs]
        if len(set(sizes)) > 1:
            raise ValueError(f"the members have different vocabularies {sizes}: use models with the same tokenizer")
        return self.combine(torch.stack(log_probs))

    def reorder(self, rows: Tensor) -> None:
        """Pass rows on to every member that keeps a state, once."""
        for member in {id(member): member for member in self.members}.values():
            reorder(member, rows)


class AdapterEnsemble(Ensemble):
    """An ``Ensemble`` whose members are one model with different LoRA adapters: all of them in ONE batched forward pass.

    adapters: the member's adapter names, "__base__" for the model without any; model: a peft model that holds them.
    The weights stand in memory once, and the pass over B rows of M members is one pass over M B rows.
    Raises ValueError: no members.
    """

    def __init__(self, model: torch.nn.Module, adapters: Sequence[str], combine: Callable[[Tensor], Tensor]) -> None:
        super().__init__([CachedLM(model)], combine)
        if not adapters:
            raise ValueError("an ensemble needs at least one member")
        self.adapters = list(adapters)

    def __call__(self, ids: Tensor) -> Tensor:
        """ids (B, T) -> (B, V)."""
        names = [name for name in self.adapters for _ in range(len(ids))]
        log_probs = self.members[0](ids.repeat(len(self.adapters), 1), adapter_names=names)  # (M B, V)
        return self.combine(log_probs.unflatten(0, (len(self.adapters), len(ids))))

    def reorder(self, rows: Tensor) -> None:
        """Row i of every member continues its row rows[i]."""
        seen = self.members[0]._seen
        if seen is not None:
            batch = len(seen) // len(self.adapters)
            self.members[0].reorder(torch.cat([rows + batch * member for member in range(len(self.adapters))]))


def reorder(next_log_probs: NextLogProbs, rows: Tensor) -> None:
    """Tell a member, if it keeps a state, that row i continues its row rows[i]."""
    if hasattr(next_log_probs, "reorder"):
        next_log_probs.reorder(rows)
