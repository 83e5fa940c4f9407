"""Models with different tokens, mixed byte by byte: a distribution over tokens becomes one over the next byte.

A text can be cut into tokens in many ways, and a text that is not finished ends in the middle of a token in most of
them. The *cover* of a prefix are all token sequences whose text begins with the prefix and whose last token reaches or
crosses its end. Their probabilities add up to P(a text begins with the prefix), and the quotient of two such sums is
the probability of the next byte. Over bytes any two models can be mixed (`interpolation`).

A model here is a callable ``rows(sequences)``: token ids, one tuple a sequence -> log-probabilities (n, V) of the token
after each. ``pieces`` are the bytes of each of the V tokens, b"" where a token writes nothing (the end of a text,
special tokens). ``tree_rows`` makes both of a transformers model and its tokenizer.

Sources: Vieira et al. (2024), From language models over tokens to language models over characters; Phan et al. (2024),
Exact byte-level probabilities from tokenized language models; Hayase et al. (2025), Sampling from your language model
one byte at a time.
"""

from __future__ import annotations

import functools
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from course_utils.ensembling.interpolation import linear_interpolation

__all__ = [
    "END",
    "ByteModel",
    "Cover",
    "bits_per_byte",
    "cover",
    "letters_as_bytes",
    "mix_bytes",
    "next_byte",
]

END = 256  # the outcome after the 256 bytes: the text ends here
Tokens = tuple[int, ...]
Rows = Callable[[Sequence[Tokens]], Tensor]


# --- the idea, on small vocabularies ---------------------------------------------------------------------------------


def cover(prefix: bytes, pieces: Sequence[bytes]) -> list[Tokens]:
    """All token sequences whose text begins with the prefix, and no longer does without their last token; sorted.

    There are exponentially many: for small vocabularies and short prefixes. The cover of b"" is the empty sequence.
    Source: Vieira et al. (2024), the covering.
    """
    if not prefix:
        return [()]
    found = []
    for token, piece in enumerate(pieces):
        if piece.startswith(prefix):
            found.append((token,))
        elif piece and prefix.startswith(piece):
            found += [(token, *rest) for rest in cover(prefix[len(piece) :], pieces)]
    return sorted(found)


def next_byte(probs: Tensor, pieces: Sequence[bytes], begun: bytes = b"") -> Tensor:
    """What follows the begun bytes of the next token, (257,): P(byte b | begun), and at 256 that the token ends there.

    sum of the tokens that begin with begun + b, divided by the sum of those that begin with begun. probs (V,). With
    nothing begun the last entry is the share of the tokens without bytes, the end of the text.
    Raises ValueError: no token with a probability above 0 begins like this.
    """
    found = probs.new_zeros(END + 1)
    for p, piece in zip(probs, pieces, strict=True):
        if piece.startswith(begun):
            found[piece[len(begun)] if len(piece) > len(begun) else END] += p
    if not found.sum() > 0:
        raise ValueError(f"no token of this distribution begins with {begun!r}")
    return found / found.sum()


def letters_as_bytes(log_probs: Tensor, alphabet: str) -> Tensor:
    """A character model's rows (..., K) over an alphabet of K ASCII characters as rows (..., 257) over bytes.

    All other bytes, and the end, have the probability 0 (-inf). Raises ValueError: K is not the alphabet's length, or
    a character is no single byte.
    """
    if log_probs.shape[-1] != len(alphabet) or not alphabet.isascii():
        raise ValueError(
            f"{log_probs.shape[-1]} columns for an alphabet of {len(alphabet)}: one ASCII character a column"
        )
    found = log_probs.new_full((*log_probs.shape[:-1], END + 1), -math.inf)
    found[..., list(alphabet.encode())] = log_probs
    return found


def mix_bytes(log_p: Tensor, log_q: Tensor, lam: float, only: Sequence[int] | None = None) -> Tensor:
    """log((1 - lam) P + lam Q) over the next byte, (..., 257).

    only: bytes that are possible at all, when both know that: each member is renormalised over them first, and all
    others get -inf. Raises ValueError: lam outside [0, 1].
    """
    if not 0 <= lam <= 1:
        raise ValueError(f"lam must be in [0, 1], got {lam}")
    if only is not None:
        possible = torch.full((END + 1,), -math.inf, dtype=log_p.dtype).index_fill(0, torch.as_tensor(only), 0.0)
        log_p, log_q = ((log + possible).log_softmax(-1) for log in (log_p, log_q))
    return linear_interpolation(torch.stack([log_p, log_q]), [1 - lam, lam])


def bits_per_byte(nats: Sequence[float] | Tensor, texts: Sequence[str]) -> float:
    """Negative log-likelihoods of texts (nats, one a text) as bits a byte: sum / ln 2 / bytes of all texts in UTF-8.

    The unit in which models with different tokens can be compared; perplexity per token is none.
    """
    return float(torch.as_tensor(nats).sum()) / math.log(2) / sum(len(text.encode()) for text in texts)


# --- covers that grow byte by byte -----------------------------------------------------------------------------------


class _Sorted:
    """Pieces in their order as bytes: all tokens that begin alike stand side by side, so that a difference of two
    running sums is the probability of all of them."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.order = np.array(sorted(range(len(pieces)), key=pieces.__getitem__))
        self.pieces = [pieces[i] for i in self.order]
        self.longest = max(map(len, pieces))
        self.edges = functools.cache(self._edges)

    def _edges(self, begun: bytes) -> np.ndarray:
        """(258,): the tokens from edges[0] to edges[1] are exactly `begun`; from edges[1 + b] to the next they go on
        with byte b."""
        first, after = bisect_left(self.pieces, begun), bisect_right(self.pieces, begun)
        last = bisect_left(self.pieces, begun + b"\xff" * (self.longest + 1))
        starts = [bisect_left(self.pieces, begun + bytes([b]), after, last) for b in range(1, 256)]
        return np.array([first, after, *starts, last])

    def sums(self, log_probs: Tensor) -> np.ndarray:
        """(V,) -> running sums (V + 1,) in this order, float64."""
        found = np.zeros(len(self.order) + 1)
        np.cumsum(log_probs.double().exp().numpy()[self.order], out=found[1:])
        return found / found[-1]


@dataclass(frozen=True, eq=False)
class Open:
    """A part of a cover: all token sequences that begin with `tokens` and go on with a token that begins with `begun`
    and is longer. mass: their share of the cover; weight: P(tokens), up to a factor that the whole cover shares;
    sums: see `_Sorted`."""

    tokens: Tokens
    begun: bytes
    mass: float
    weight: float
    sums: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Cover:
    """The cover of a prefix, or what a beam has kept of it; the kept parts have the mass 1 together.

    log_prob: log P(a text begins with the prefix), as far as it is kept. lost: the share of the mass that was dropped
    at the last byte. spare: what was dropped since the most probable part's token began, the newest first.
    """

    parts: tuple[Open, ...]
    log_prob: float = 0.0
    lost: float = 0.0
    spare: tuple[Open, ...] = ()


class ByteModel:
    """A model of tokens as a model of bytes, by covers that are kept down to a beam.

    rows, pieces: see the head of this file. beam: parts that are kept; floor: a part with a smaller share of the mass
    is dropped. With beam=None and floor=0 nothing is dropped, and all that it says is exact, in exponential time.
    Else no byte is impossible: the share that was dropped at the last byte, and a tenth of the floor, are spread
    evenly over all outcomes, and if none of the parts can go on with a byte, what was dropped last is taken up again.
    Source: Vieira et al. (2024), with a trie of tokens and a beam.
    """

    def __init__(self, rows: Rows, pieces: Sequence[bytes], beam: int | None = 8, floor: float = 1e-3) -> None:
        self.rows, self.beam, self.floor = rows, beam, floor
        self.sorted = _Sorted(pieces)

    def start(self, tokens: Tokens = ()) -> Cover:
        """The cover of the empty prefix. With tokens: only the texts that begin with these very tokens, which is what
        one looks at without a cover."""
        return Cover((Open(tokens, b"", 1.0, 1.0, self.sorted.sums(self.rows([tokens])[0])),))

    def next_log_probs(self, cover: Cover) -> np.ndarray:
        """log P(next byte | prefix), (257,); the last entry is the end of the text. It sums to 1."""
        found = np.zeros(END + 1)
        for part in cover.parts:
            masses = part.weight * np.diff(part.sums[self.sorted.edges(part.begun)])
            found[:END] += masses[1:]
            if not part.begun:  # here tokens without bytes end the text; else a token that ends is a part of its own
                found[END] += masses[0]
        spread = min(1.0, cover.lost + self.floor / 10)
        with np.errstate(divide="ignore"):
            return np.log((1 - spread) * found / found.sum() + spread / len(found))

    def read(self, covers: Sequence[Cover], read: Sequence[int]) -> list[Cover]:
        """The covers after one more byte each; the model is asked once for all of them.

        Raises ValueError: a byte that is impossible here.
        """
        pairs = [(cover, bytes([byte])) for cover, byte in zip(covers, read, strict=True)]
        kept = [self._longer(*pair) or self._healed(*pair) for pair in pairs]
        asked = list(dict.fromkeys(part.tokens for cover in kept for part in cover.parts if part.sums is None))
        new = {tokens: self.sorted.sums(row) for tokens, row in zip(asked, self.rows(asked))} if asked else {}
        return [
            replace(one, parts=tuple(p if p.sums is not None else replace(p, sums=new[p.tokens]) for p in one.parts))
            for one in kept
        ]

    def _longer(self, cover: Cover, byte: bytes) -> Cover | None:
        """The cover after one more byte, None if no part goes on with it; sums are None where the model is to be
        asked."""
        found: list[Open] = []
        for part in cover.parts:
            begun = part.begun + byte
            first, after, *_, last = self.sorted.edges(begun)
            longer = part.weight * (part.sums[last] - part.sums[after])
            found.append(Open(part.tokens, begun, longer, part.weight, part.sums))
            for place in range(first, after):  # the token ends here: its sequence is complete
                mass = part.weight * (part.sums[place + 1] - part.sums[place])
                found.append(Open((*part.tokens, int(self.sorted.order[place])), b"", mass, mass, None))
        found = sorted((part for part in found if part.mass > 0), key=lambda part: -part.mass)
        if not found:
            return None
        total = sum(part.mass for part in found)
        many = max(1, sum(part.mass >= self.floor * total for part in found[: self.beam]))
        kept = sum(part.mass for part in found[:many])
        old = [replace(part, begun=part.begun + byte) for part in cover.spare] if found[0].begun else []
        parts, spare = (
            tuple(replace(part, mass=part.mass / kept, weight=part.weight / kept) for part in some)
            for some in (found[:many], [replace(part, sums=None) for part in found[many:]] + old)
        )
        return Cover(parts, cover.log_prob + math.log(kept), 1 - kept / total, spare[: self.beam])

    def _healed(self, cover: Cover, byte: bytes) -> Cover:
        """The cover after one more byte, from the part that was dropped last and can go on with it."""
        for part in cover.spare:
            try:
                new = self.start(part.tokens)
                for read in part.begun + byte:
                    new = self.read([new], [read])[0]
            except ValueError:
                continue
            return replace(new, log_prob=cover.log_prob + math.log(part.weight) + new.log_prob)
        raise ValueError(f"the byte {byte!r} has the probability 0 here")

    def score(self, texts: Sequence[bytes]) -> list[tuple[Tensor, list[Cover]]]:
        """For each text: log-probabilities (N + 1, 257) of what follows each of its prefixes, and their covers.

        The covers come without the running sums. All texts are read side by side.
        """
        covers = [self.start()] * len(texts)
        found = [([self.next_log_probs(cover)], [cover]) for cover in covers]
        for place in range(max(map(len, texts), default=0)):
            active = [i for i, text in enumerate(texts) if place < len(text)]
            for i, new in zip(active, self.read([covers[i] for i in active], [texts[i][place] for i in active])):
                covers[i] = new
                found[i][0].append(self.next_log_probs(new))
                found[i][1].append(replace(new, parts=tuple(replace(part, sums=None) for part in new.parts)))
        return [(torch.from_numpy(np.stack(rows)), history) for rows, history in found]
