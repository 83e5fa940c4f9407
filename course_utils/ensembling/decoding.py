"""Decoding from ANY next-token distribution: one model, several, or one model with several adapters, each with its KV
cache.

Everything here speaks to one kind of callable: next_log_probs(ids), token ids (B, T) -> log-probabilities (B, V) of the
next token. It may have a method ``reorder(rows)``, which beam search calls when row i of the next ids will continue row
rows[i] of the last ones. ``CachedLM``, ``Ensemble`` and ``AdapterEnsemble`` make such callables; ``generate`` and
``stream`` decode from them.
"""

from collections.abc import Callable, Iterator, Sequence

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
    """An ``Ensemble`` whose members are one model with different LoRA adapters: all of them in ONE batched forward
    pass.

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


UNREACHABLE = -1e9  # the score of a place that holds no hypothesis; finite, so that differences stay defined


@torch.no_grad()
def generate(
    next_log_probs: NextLogProbs,
    prompt_ids: Tensor,
    max_new_tokens: int,
    strategy: str = "greedy",
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    num_beams: int = 4,
    length_penalty: float = 1.0,
    eos_token_id: int | Sequence[int] | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Continue the prompts: prompt_ids (B, T), or (T,) for one -> (B, T + n), prompt included, n <= max_new_tokens.

    strategy "greedy": argmax of every step. "sample": draw from the distribution after temperature, top_k and top_p, in
    this order. "beam": the best of ``num_beams`` hypotheses by sum log P / length ** length_penalty, length counting
    the new tokens with eos; it ends when no open beam can beat the worst finished one at its present length
    (early_stopping=False of transformers, whose tokens it reproduces).
    A row that has reached eos is filled up with (the first) eos. The prompts have equal length, no padding.
    Raises ValueError: bad prompts or settings, a distribution of the wrong shape or with NaN.
    """
    prompt_ids, eos = _check_prompt(prompt_ids, max_new_tokens), _eos(eos_token_id)
    if strategy == "beam":
        if (temperature, top_k, top_p) != (1.0, None, None):
            raise ValueError("temperature, top_k and top_p belong to strategy='sample', not to 'beam'")
        if num_beams < 1:
            raise ValueError(f"num_beams must be at least 1, got {num_beams}")
        return _beam_search(next_log_probs, prompt_ids, max_new_tokens, num_beams, length_penalty, eos)
    choose = _chooser(strategy, temperature, top_k, top_p, generator)
    return torch.cat([prompt_ids, *_steps(next_log_probs, prompt_ids, max_new_tokens, choose, eos)], dim=1)


def stream(
    next_log_probs: NextLogProbs,
    prompt_ids: Tensor,
    max_new_tokens: int,
    strategy: str = "greedy",
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    eos_token_id: int | Sequence[int] | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[int]:
    """The new tokens of ``generate`` one by one, for strategy "greedy" or "sample" and one prompt, (T,) or (1, T).

    Each token is computed when it is asked for: stop asking and no more is computed. Errors as ``generate``, at once.
    """
    prompt_ids, eos = _check_prompt(prompt_ids, max_new_tokens), _eos(eos_token_id)
    if len(prompt_ids) != 1:
        raise ValueError(f"stream takes one prompt, got {len(prompt_ids)}: use generate for a batch")
    choose = _chooser(strategy, temperature, top_k, top_p, generator)
    return (tokens.item() for tokens in _steps(next_log_probs, prompt_ids, max_new_tokens, choose, eos))


def truncate(
    log_probs: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """The distribution that is sampled from: temperature, then top_k, then top_p; log_probs (..., V) -> (..., V).

    top_k keeps the k most probable tokens (and ties with the k-th), top_p the smallest set of most probable tokens
    whose mass reaches top_p. Raises ValueError: temperature <= 0, top_k < 1, top_p outside (0, 1].
    Source: Fan et al. (2018), section 5 (top-k); Holtzman et al. (2020), section 3.1 (nucleus).
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}: use strategy='greedy' for the argmax")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, got {top_p}")
    scores = log_probs / temperature
    if top_k is not None and top_k < scores.shape[-1]:
        scores = scores.masked_fill(scores < scores.topk(top_k).values[..., -1:], -torch.inf)
    if top_p is not None and top_p < 1:
        probs, order = scores.softmax(dim=-1).sort(dim=-1, descending=True)
        drop = probs.cumsum(dim=-1) - probs >= top_p  # mass BEFORE the token: the first is never dropped
        scores = scores.masked_fill(torch.zeros_like(drop).scatter(-1, order, drop), -torch.inf)
    return scores.log_softmax(dim=-1)


def _chooser(
    strategy: str, temperature: float, top_k: int | None, top_p: float | None, generator: torch.Generator | None
) -> Callable[[Tensor], Tensor]:
    """The function (B, V) -> (B, 1) that picks the next tokens."""
    if strategy == "greedy":
        if (temperature, top_k, top_p) != (1.0, None, None):
            raise ValueError("temperature, top_k and top_p belong to strategy='sample', not to 'greedy'")
        return lambda log_probs: log_probs.argmax(dim=-1, keepdim=True)
    if strategy != "sample":
        raise ValueError(f"unknown strategy {strategy!r}: use 'greedy', 'sample' or 'beam' (stream: no 'beam')")
    truncate(torch.zeros(1), temperature, top_k, top_p)  # wrong settings are told before the model runs
    return lambda log_probs: torch.multinomial(
        truncate(log_probs, temperature, top_k, top_p).exp(), 1, generator=generator
    )


def _steps(
    next_log_probs: NextLogProbs, ids: Tensor, max_new_tokens: int, choose: Callable[[Tensor], Tensor], eos: Tensor
) -> Iterator[Tensor]:
    """Yield the next tokens (B, 1) until every row has reached eos."""
    finished = torch.zeros(len(ids), 1, dtype=torch.bool)
    for _ in range(max_new_tokens):
        tokens = choose(_distribution(next_log_probs, ids))
        if len(eos):
            tokens = tokens.where(~finished, eos[0])
            finished = finished | torch.isin(tokens, eos)
        yield tokens
        if finished.all():
            return
        ids = torch.cat([ids, tokens], dim=1)


def _beam_search(
    next_log_probs: NextLogProbs,
    prompt: Tensor,
    max_new_tokens: int,
    num_beams: int,
    length_penalty: float,
    eos: Tensor,
) -> Tensor:
    """Beam search with the rules of transformers (early_stopping=False); B prompts, K beams, C candidates a step."""
    batch, start = prompt.shape
    offset = torch.arange(batch)[:, None] * num_beams  # (B, 1): first row of each prompt's beams
    open_ids = prompt[:, None].expand(batch, num_beams, start)  # (B, K, T)
    open_scores = torch.full((batch, num_beams), UNREACHABLE)
    open_scores[:, 0] = 0.0  # at first all beams are the same prompt: only one of them may branch
    fill = eos[0].item() if len(eos) else -1
    done_ids = torch.full((batch, num_beams, start + max_new_tokens), fill)
    done_scores = torch.full((batch, num_beams), UNREACHABLE)
    done_lengths = torch.zeros(batch, num_beams, dtype=torch.long)  # 0: this place is still free
    alive = torch.ones(batch, 1, dtype=torch.bool)  # an open beam may still beat a finished one

    # The prompt is read once; then its distribution and caches are copied to the beams.
    log_probs = _distribution(next_log_probs, prompt).repeat_interleave(num_beams, dim=0)  # (B K, V)
    reorder(next_log_probs, torch.arange(batch).repeat_interleave(num_beams))
    for length in range(1, max_new_tokens + 1):
        vocab = log_probs.shape[-1]
        scores = open_scores[:, :, None] + log_probs.view(batch, num_beams, vocab).float()
        # Enough candidates that K of them stay open, even if every beam proposes every eos.
        scores, index = scores.flatten(1).topk(max(2, 1 + len(eos)) * num_beams)  # (B, C)
        beam, token = index // vocab, index % vocab
        ids = torch.cat([_take(open_ids, beam), token[:, :, None]], dim=2)  # (B, C, T + 1)
        ends = torch.isin(token, eos) | (length == max_new_tokens)

        # Finished: only the best K candidates count, and only where something could still be gained.
        accept = ends & (torch.arange(ends.shape[1]) < num_beams) & alive
        final = (scores / length**length_penalty).where(accept, UNREACHABLE * 2)
        padded = torch.nn.functional.pad(ids, (0, max_new_tokens - length), value=fill)
        done_scores, best = torch.cat([done_scores, final], dim=1).topk(num_beams)
        done_ids = _take(torch.cat([done_ids, padded], dim=1), best)
        done_lengths = torch.cat([done_lengths, torch.where(accept, length, 0)], dim=1).gather(1, best)

        # Open: the best K candidates that do not end.
        open_scores, keep = scores.masked_fill(ends, -torch.inf).topk(num_beams)
        open_ids, rows = _take(ids, keep), (beam.gather(1, keep) + offset).flatten()
        worst = done_scores.amin(dim=1, keepdim=True)  # UNREACHABLE while a place is free
        alive = alive & (open_scores[:, :1] / length**length_penalty > worst)
        if length == max_new_tokens or not alive.any():
            break
        reorder(next_log_probs, rows)
        log_probs = _distribution(next_log_probs, open_ids.flatten(0, 1))
    return done_ids[:, 0, : start + done_lengths[:, 0].max()]


def _take(values: Tensor, index: Tensor) -> Tensor:
    """values (B, N, ...), index (B, n) -> (B, n, ...)."""
    return values[torch.arange(len(values))[:, None], index]


def _distribution(next_log_probs: NextLogProbs, ids: Tensor) -> Tensor:
    log_probs = next_log_probs(ids)
    if log_probs.dim() != 2 or len(log_probs) != len(ids):
        raise ValueError(
            f"next_log_probs must return (batch, vocabulary) for {len(ids)} rows, got {tuple(log_probs.shape)}"
        )
    if log_probs.isnan().any():
        raise ValueError("next_log_probs returned NaN: is a member's distribution all zero?")
    return log_probs


def _check_prompt(prompt_ids: Tensor, max_new_tokens: int) -> Tensor:
    prompt_ids = torch.as_tensor(prompt_ids)
    prompt_ids = prompt_ids[None] if prompt_ids.dim() == 1 else prompt_ids
    if prompt_ids.dim() != 2 or prompt_ids.numel() == 0:
        raise ValueError(f"prompt_ids must be (batch, tokens), at least one token, got {tuple(prompt_ids.shape)}")
    if prompt_ids.dtype != torch.long:
        raise ValueError(f"prompt_ids must be token ids (torch.long), got {prompt_ids.dtype}")
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    return prompt_ids


def _eos(eos_token_id: int | Sequence[int] | None) -> Tensor:
    return torch.tensor([] if eos_token_id is None else eos_token_id, dtype=torch.long).reshape(-1)
