"""Speculative decoding: a cheap model proposes some tokens, the expensive one checks them all in one pass, and what
comes out has exactly the distribution of the expensive one.

Models here are callables ``rows(ids, last)``: token ids (T,) and a number -> log-probabilities (last, V), of which row
i is log P(. | ids[:T - last + 1 + i]). The last row is the prediction after all ids. ``CachedRows`` makes one of a
transformers model, ``each_prefix`` of any next_log_probs (an n-gram), ``combined`` of several members (an ensemble).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache

__all__ = [
    "CachedRows",
    "Speculation",
    "acceptance",
    "accepted_share",
    "accepted_tokens",
    "best_gamma",
    "cascade_target",
    "combined",
    "each_prefix",
    "residual",
    "speculate",
    "speed",
    "tokens_per_pass",
]

Rows = Callable[[Tensor, int], Tensor]
Choose = Callable[[Tensor], int]


# --- the rule ---------------------------------------------------------------------------------------------------------


def acceptance(p: Tensor, q: Tensor, proposed: Tensor) -> Tensor:
    """min(1, p(y) / q(y)): the chance that a proposed token y, drawn from q, is kept.

    p, q (..., V) probabilities of the target and of the draft; proposed (...,) token ids. Returns (...,).
    Source: Leviathan et al. (2023); Chen et al. (2023).
    """
    p_y, q_y = (table.gather(-1, proposed[..., None])[..., 0] for table in (p, q))
    return (p_y / q_y).clamp(max=1)


def residual(p: Tensor, q: Tensor) -> Tensor:
    """max(p - q, 0) / sum(max(p - q, 0)): the distribution to draw from after a rejection, (..., V).

    Where p = q nothing is ever rejected and the quotient is 0/0; p itself is returned there.
    Source: Leviathan et al. (2023); Chen et al. (2023).
    """
    rest = (p - q).clamp(min=0)
    total = rest.sum(-1, keepdim=True)
    return torch.where(total > 0, rest / total, p)


def accepted_share(p: Tensor, q: Tensor) -> Tensor:
    """sum_y min(p(y), q(y)) = 1 - TV(p, q), (...,): how often a token drawn from q is kept.

    TV is the total variation, sum |p - q| / 2. Source: Leviathan et al. (2023).
    """
    return torch.minimum(p, q).sum(-1)


def accepted_tokens(p: Tensor, q: Tensor, proposed: Tensor, uniforms: Tensor) -> Tensor:
    """How many of the gamma proposed tokens are kept: those before the first that is rejected, (...,) int64.

    p, q (..., gamma, V); proposed (..., gamma) ids; uniforms (..., gamma) in [0, 1): y is kept if u < min(1, p / q).
    """
    return (uniforms < acceptance(p, q, proposed)).long().cumprod(-1).sum(-1)


def cascade_target(p: Tensor, q: Tensor, threshold: float) -> Tensor:
    """A lossy cascade's distribution for each row: q where max q >= threshold, else p. (..., V) -> (..., V).

    Decoding speculatively towards it keeps each token of a draft that is sure enough. What is paid is quality: the
    total variation from p is TV(p, q) where the draft is trusted, and 0 elsewhere.
    Source: Narasimhan et al. (2025) (Chow's rule, decoded speculatively).
    """
    return torch.where(q.amax(-1, keepdim=True) >= threshold, q, p)


def tokens_per_pass(alpha: float, gamma: int) -> float:
    """(1 - alpha^(gamma + 1)) / (1 - alpha): mean number of new tokens for one pass of the target.

    That is 1 + alpha + ... + alpha^gamma: if each of gamma proposed tokens is kept with chance alpha, independently.
    Raises ValueError: alpha outside [0, 1], gamma < 0. Source: Leviathan et al. (2023).
    """
    if not 0 <= alpha <= 1 or gamma < 0:
        raise ValueError(f"alpha must be in [0, 1] and gamma at least 0, got {alpha} and {gamma}")
    return float(sum(alpha**kept for kept in range(gamma + 1)))


def speed(alpha: float, gamma: int, draft: float, check: float = 0.0) -> float:
    """Tokens per time against plain decoding: tokens_per_pass(alpha, gamma) / (1 + gamma (draft + check)).

    draft: the time to propose one token, check: what one more token in the same pass of the target costs; both as
    shares of a pass over one token. With check = 0 this is Leviathan et al. (2023); on a machine with few
    arithmetic units it is not 0.
    """
    return tokens_per_pass(alpha, gamma) / (1 + gamma * (draft + check))


def best_gamma(alpha: float, draft: float, check: float, most: int) -> int:
    """The gamma from 0 to most with the highest `speed`, of equally fast ones the smallest; 0: do not speculate."""
    return max(range(most + 1), key=lambda gamma: speed(alpha, gamma, draft, check))


# --- models that answer for several positions at once ----------------------------------------------------------------


class CachedRows:
    """rows(ids, last) of a transformers causal language model with a key-value cache that can be cut back.

    A call keeps the cached part that its ids share with those of the last call, which is all but the rejected tokens,
    and feeds the rest in one pass. ``calls`` and ``fed`` count passes and token positions.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model.eval()
        self.calls = self.fed = 0
        self._seen, self._cache = torch.empty(0, dtype=torch.long), None

    @torch.no_grad()
    def __call__(self, ids: Tensor, last: int = 1) -> Tensor:
        """ids (T,) -> log-probabilities (last, V), float32. Raises ValueError: last outside 1..T."""
        if not 1 <= last <= len(ids):
            raise ValueError(f"last must be from 1 to the {len(ids)} ids, got {last}")
        shared = min(len(ids), len(self._seen))
        same = int((ids[:shared] == self._seen[:shared]).long().cumprod(0).sum())
        keep = min(same, len(ids) - last)  # what is asked for has to be fed
        seen, self._seen = self._seen, self._seen[:0]  # an interruption must not leave a cache that knows more
        if self._cache is None or keep == 0:
            self._cache, keep = DynamicCache(config=self.model.config), 0
        elif keep < len(seen):
            self._cache.crop(keep - len(seen))  # a negative number: so many positions less
        new = ids[None, keep:]
        logits = self.model(input_ids=new, past_key_values=self._cache, use_cache=True, logits_to_keep=last).logits
        self._seen = ids.clone()
        self.calls, self.fed = self.calls + 1, self.fed + new.shape[1]
        return logits[0].float().log_softmax(-1)


def each_prefix(next_log_probs: Callable[[Tensor], Tensor]) -> Rows:
    """rows(ids, last) from next_log_probs, (1, T) -> (1, V): one call for each row. For models that cost nothing."""

    def rows(ids: Tensor, last: int = 1) -> Tensor:
        return torch.cat([next_log_probs(ids[None, : len(ids) - last + 1 + i]) for i in range(last)])

    return rows


def combined(members: Sequence[Rows], combine: Callable[[Tensor], Tensor]) -> Rows:
    """rows(ids, last) of an ensemble: combine(log_probs (M, last, V)) -> (last, V), as in `decoding.Ensemble`.

    Raises ValueError: no members.
    """
    if not members:
        raise ValueError("an ensemble needs at least one member")
    return lambda ids, last=1: combine(torch.stack([member(ids, last) for member in members]))


# --- decoding -------------------------------------------------------------------------------------------------------


@dataclass
class Speculation:
    """What was written and what it took: ids (T + n,) with the prompt, and counts.

    passes: calls of the target; proposed: tokens of the draft that the target judged, accepted: those that were kept.
    """

    ids: Tensor
    new: int = 0
    passes: int = 0
    proposed: int = 0
    accepted: int = 0

    @property
    def share(self) -> float:
        """Accepted of those judged (nan if there were none). What stands behind a rejected token was not judged."""
        return self.accepted / self.proposed if self.proposed else float("nan")


@torch.no_grad()
def speculate(
    target: Rows,
    draft: Rows,
    prompt_ids: Tensor,
    max_new_tokens: int,
    gamma: int = 4,
    temperature: float = 1.0,
    eos_token_id: int | None = None,
    generator: torch.Generator | None = None,
    towards: Callable[[Tensor, Tensor], Tensor] | None = None,
    choose: Choose | None = None,
) -> Speculation:
    """Continue prompt_ids (T,) by at most max_new_tokens; ends after eos_token_id.

    Each round the draft proposes up to gamma tokens y ~ q, one pass of the target gives p at all of them and one place
    beyond, and the tokens are kept from the left with chance min(1, p / q). At the first rejection the token is drawn
    from `residual(p, q)`; if all are kept, one more is drawn from p. The tokens have the target's distribution; with
    temperature 0 they are the target's greedy ones.

    towards: towards(p, q) -> the distribution that is decoded instead of p, (n, V) -> (n, V), such as `cascade_target`.
        What comes out is then exact for that distribution.
    choose: choose(probs) -> index, the only source of chance; by default it draws with `generator`.
    Raises ValueError: an empty or batched prompt, gamma < 1, temperature < 0, vocabularies of different sizes.
    Source: Leviathan et al. (2023); Chen et al. (2023).
    """
    if prompt_ids.dim() != 1 or not len(prompt_ids):
        raise ValueError(f"prompt_ids must be one row of at least one id, got shape {tuple(prompt_ids.shape)}")
    if gamma < 1 or temperature < 0:
        raise ValueError(f"gamma must be at least 1 and temperature at least 0, got {gamma} and {temperature}")
    choose = choose or (lambda probs: int(torch.multinomial(probs, 1, generator=generator)))
    found, end = Speculation(prompt_ids), len(prompt_ids) + max_new_tokens
    while len(found.ids) < end and not (found.new and int(found.ids[-1]) == eos_token_id):
        # The round ends with a token of the target's own, so one place is left for it.
        ids, q = _propose(draft, found.ids, min(gamma, end - len(found.ids) - 1), temperature, eos_token_id, choose)
        n = len(ids) - len(found.ids)
        p = _probabilities(target(ids, n + 1), temperature)  # (n + 1, V): one pass
        if n and p.shape[-1] != q.shape[-1]:
            raise ValueError(f"target and draft have vocabularies of {p.shape[-1]} and {q.shape[-1]} tokens")
        if towards is not None:  # it needs to know the draft's opinion of the place beyond, too
            beyond = _probabilities(draft(ids, 1), temperature)
            p = towards(p, torch.cat([q, beyond]) if n else beyond)
        kept, token = _judge(p, q, ids[len(found.ids) :], choose)
        found.passes += 1
        found.proposed += min(kept + 1, n)
        found.accepted += kept
        ended = kept > 0 and int(ids[len(found.ids) + kept - 1]) == eos_token_id
        parts = [ids[: len(found.ids) + kept], *([] if ended else [ids.new_tensor([token])])]
        found.ids = torch.cat(parts)
        found.new = len(found.ids) - len(prompt_ids)
    return found


def _probabilities(log_probs: Tensor, temperature: float) -> Tensor:
    """(n, V) log-probabilities -> probabilities; with temperature 0 all of it on the argmax."""
    if temperature == 0:
        return torch.nn.functional.one_hot(log_probs.argmax(-1), log_probs.shape[-1]).to(log_probs.dtype)
    return (log_probs / temperature).softmax(-1)


def _propose(
    draft: Rows, ids: Tensor, most: int, temperature: float, eos: int | None, choose: Choose
) -> tuple[Tensor, Tensor]:
    """ids (T + n,) and the draft's distributions (n, V) that the n <= most new tokens were drawn from."""
    drawn_from = []
    for _ in range(most):
        drawn_from.append(_probabilities(draft(ids, 1), temperature)[0])
        ids = torch.cat([ids, ids.new_tensor([choose(drawn_from[-1])])])
        if int(ids[-1]) == eos:
            break
    return ids, torch.stack(drawn_from) if drawn_from else torch.empty(0, 0)


def _judge(p: Tensor, q: Tensor, proposed: Tensor, choose: Choose) -> tuple[int, int]:
    """How many of the n proposed tokens are kept, and the token after them. p (n + 1, V), q (n, V)."""
    chances = acceptance(p[:-1], q, proposed) if len(proposed) else []
    for kept, chance in enumerate(chances):
        if not choose(torch.stack([1 - chance, chance])):
            return kept, choose(residual(p[kept], q[kept]))
    return len(proposed), choose(p[-1])
