"""An n-gram language model over token ids: interpolated Kneser-Ney, or plain relative frequencies with real zeros."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class _Order(NamedTuple):
    """All k-grams (h, w) of one order k, sorted, so that the words seen after one context h are one slice."""

    grams: np.ndarray  # (G,) packed (h, w)
    counts: np.ndarray  # (G,) a(h w): raw or continuation counts
    contexts: np.ndarray  # (C,) packed h
    starts: np.ndarray  # (C + 1,) the words after context i are grams[starts[i]:starts[i + 1]]
    totals: np.ndarray  # (C,) a(h .) = sum_w a(h w)
    discount: float


class NGramLM:
    """P_k(w|h) = max(a(h w) - D_k, 0) / a(h .) + D_k N1+(h .) / a(h .) P_{k-1}(w|h'), for orders k = n .. 1.

    h' is h without its oldest token, N1+(h .) the number of different words seen after h, and P_0 = 1 / vocab_size:
    every token has mass. If h was never seen, P_k(w|h) = P_{k-1}(w|h').
    smoothing="kneser-ney": a is the raw count at the highest order and, below it, the number of DIFFERENT tokens seen
    before (h w); k-grams that begin with BOS have nothing before them and keep raw counts. One discount an order,
    D_k = n1 / (n1 + 2 n2), n1 and n2 being the number of k-grams with a = 1 and a = 2 (0.5 if either is none).
    smoothing="mle": raw counts and D_k = 0, so unseen words after a seen context have probability zero (-inf); only a
    context that was never seen at all falls back to the shorter one, so that it is always a distribution.

    The history is padded on the left with ``bos_id`` (None: a symbol outside the vocabulary); texts may start with it
    or not, that makes no difference, and it is not learnt as a prediction at the start.
    Source: Kneser & Ney (1995); Chen & Goodman (1998), section 2.7 (interpolated form, one discount an order: 4.1);
    Heafield et al. (2013), section 3 (n-grams that begin with BOS).
    """

    def __init__(
        self, order: int = 3, vocab_size: int = 49152, bos_id: int | None = None, smoothing: str = "kneser-ney"
    ) -> None:
        if smoothing not in ("kneser-ney", "mle"):
            raise ValueError(f"unknown smoothing {smoothing!r}: use 'kneser-ney' or 'mle'")
        if order < 1 or vocab_size < 1 or (vocab_size + 1) ** order >= 2**63:
            raise ValueError(f"order {order} and vocab_size {vocab_size} do not fit: an n-gram is packed in 63 bits")
        if bos_id is not None and not 0 <= bos_id < vocab_size:
            raise ValueError(f"bos_id {bos_id} is not a token id below vocab_size {vocab_size}")
        self.order, self.vocab_size, self.smoothing = order, vocab_size, smoothing
        self.bos = vocab_size if bos_id is None else bos_id
        self.orders: list[_Order] = []  # orders[k - 1] holds the k-grams

    def fit(self, sequences: Iterable[Sequence[int]]) -> "NGramLM":
        """Count the token id sequences (one text each) and return self. ValueError: no tokens, or ids out of range."""
        pad = np.full(self.order - 1, self.bos)
        texts = [self._ids(sequence) for sequence in sequences]
        texts = [text[np.argmax(text != self.bos) :] for text in texts if (text != self.bos).any()]
        if not texts:
            raise ValueError("no tokens to learn from: sequences is empty")
        stream = np.concatenate([part for text in texts for part in (pad, text)])
        predicted = np.concatenate([part for text in texts for part in (pad < 0, text >= 0)])  # False on the padding
        unique, raw = [], []
        for k in range(1, self.order + 1):
            grams, counts = np.unique(self._pack(stream, k)[predicted], return_counts=True)
            unique.append(grams)
            raw.append(counts)
        self.orders = []
        for k in range(1, self.order + 1):
            counts = raw[k - 1]
            if self.smoothing == "kneser-ney" and k < self.order:
                base = (self.vocab_size + 1) ** (k - 1)
                # One (k+1)-gram type is one different left neighbour of the k-gram that ends it.
                left = np.unique(unique[k] % (base * (self.vocab_size + 1)), return_counts=True)[1]
                counts = np.where(unique[k - 1] // base == self.bos, counts, left)
            self.orders.append(self._table(unique[k - 1], counts))
        return self

    def next_log_probs(self, ids: Tensor) -> Tensor:
        """log P(. | ids): ids (B, T) histories of any length T >= 0 -> (B, V) float32. ValueError: ids out of range."""
        if ids.dim() != 2:
            raise ValueError(f"ids must be (batch, tokens), got shape {tuple(ids.shape)}: use ids[None] for one text")
        history = self._ids(ids[:, max(0, ids.shape[1] - self.order + 1) :])
        missing = self.order - 1 - history.shape[1]
        return self._distributions(np.pad(history, ((0, 0), (missing, 0)), constant_values=self.bos))

    __call__ = next_log_probs

    def log_probs(self, ids: Tensor | Sequence[int]) -> Tensor:
        """Row t is log P(. | ids[:t]), the prediction of ids[t]: ids (T,) -> (T, V) float32; takes 4 T V bytes."""
        return self._distributions(self._histories(self._ids(ids)))

    def token_log_probs(self, ids: Tensor | Sequence[int]) -> Tensor:
        """log P(ids[t] | ids[:t]): ids (T,) -> (T,) float32, without the rest of the vocabulary."""
        words = self._ids(ids)
        histories = self._histories(words)
        probs = np.full(len(words), 0.0 if self.smoothing == "mle" else 1 / self.vocab_size)
        for k, table in enumerate(self.orders, start=1):
            context, share, backoff = self._context(table, histories, k)
            gram = context * (self.vocab_size + 1) + words
            at = np.minimum(np.searchsorted(table.grams, gram), len(table.grams) - 1)
            found = table.grams[at] == gram
            probs = probs * backoff + np.where(found, (table.counts[at] - table.discount) * share, 0.0)
        return self._log(probs)

    def _distributions(self, histories: np.ndarray) -> Tensor:
        """(B, order - 1) histories -> (B, V) log-probabilities, from P_0 up to the highest order."""
        floor = 0.0 if self.smoothing == "mle" else 1 / self.vocab_size
        probs = np.full((len(histories), self.vocab_size), floor, dtype=np.float32)
        for k, table in enumerate(self.orders, start=1):
            context, share, backoff = self._context(table, histories, k)
            at = np.minimum(np.searchsorted(table.contexts, context), len(table.contexts) - 1)
            size = np.where(share > 0, table.starts[at + 1] - table.starts[at], 0)  # (B,) words seen after h
            row = np.repeat(np.arange(len(histories)), size)
            gram = np.arange(len(row)) - np.repeat(np.cumsum(size) - size, size) + np.repeat(table.starts[at], size)
            probs *= backoff[:, None].astype(np.float32)
            probs[row, table.grams[gram] % (self.vocab_size + 1)] += (table.counts[gram] - table.discount) * share[row]
        return self._log(probs)

    def _context(self, table: _Order, histories: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For histories (B, order - 1): the packed last k - 1 tokens h, 1 / a(h .) or 0, and the weight of P_{k-1}."""
        context = np.zeros(len(histories), dtype=np.int64)
        for column in histories.T[self.order - k :]:
            context = context * (self.vocab_size + 1) + column
        at = np.minimum(np.searchsorted(table.contexts, context), len(table.contexts) - 1)
        seen = table.contexts[at] == context
        share = np.where(seen, 1 / table.totals[at], 0.0)
        types = table.starts[at + 1] - table.starts[at]
        return context, share, np.where(seen, table.discount * types * share, 1.0)

    def _table(self, grams: np.ndarray, counts: np.ndarray) -> _Order:
        contexts, starts = np.unique(grams // (self.vocab_size + 1), return_index=True)
        n1, n2 = (counts == 1).sum(), (counts == 2).sum()
        discount = 0.0 if self.smoothing == "mle" else n1 / (n1 + 2 * n2) if n1 and n2 else 0.5
        return _Order(
            grams, counts, contexts, np.append(starts, len(grams)), np.add.reduceat(counts, starts), float(discount)
        )

    def _pack(self, stream: np.ndarray, k: int) -> np.ndarray:
        """The k-gram that ends at each position, as one integer in base vocab_size + 1."""
        packed = np.zeros(len(stream), dtype=np.int64)
        for back in range(k - 1, -1, -1):
            packed = packed * (self.vocab_size + 1) + np.roll(stream, back)  # what wraps round ends on padding
        return packed

    def _histories(self, ids: np.ndarray) -> np.ndarray:
        """(T,) -> (T, order - 1): the tokens before each position."""
        padded = np.concatenate([np.full(self.order - 1, self.bos), ids])
        columns = [padded[i : i + len(ids)] for i in range(self.order - 1)]
        return np.stack(columns, axis=1) if columns else np.zeros((len(ids), 0), dtype=np.int64)

    def _ids(self, ids: Tensor | Sequence[int]) -> np.ndarray:
        array = np.asarray(ids.cpu() if isinstance(ids, Tensor) else ids)
        if array.size and (array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= self.vocab_size):
            raise ValueError(f"token ids must be integers from 0 to {self.vocab_size - 1}: is it the right tokenizer?")
        return array.astype(np.int64)

    def _log(self, probs: np.ndarray) -> Tensor:
        if not self.orders:
            raise ValueError("the model has seen no text: call fit(sequences) first")
        with np.errstate(divide="ignore"):  # log 0 = -inf is what "mle" means
            return torch.from_numpy(np.log(probs, out=probs).astype(np.float32, copy=False))
