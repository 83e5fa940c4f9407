"""Machine translation: translators that give a distribution of the next target token, so that `ensembling.decoding` can
combine them.

nmt = load_translator("nmt-0")
nmt.translate(["In the beginning"], strategy="beam")
nmt.translate(verses, members=[CachedLM(lm_in.model), CachedLM(lm_out.model)],
              combine=lambda log_probs: negative_evidence(*log_probs, lam))
"""

from __future__ import annotations

import functools
import json
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from course_utils.ensembling.decoding import CachedLM, Ensemble, NextLogProbs, generate
from course_utils.evidence import Interval, interval
from course_utils.shelf.assets import quiet_transformers
from course_utils.shelf.deltas import restored
from course_utils.shelf.device import on_device
from course_utils.shelf.models import ModelError, batches_by_length, data_dir, set_threads

BATCH = 32  # sentences decoded together
BATCH_TOKENS = 1024  # padded target positions scored together


class CachedTranslator(CachedLM):
    """next_log_probs of an encoder-decoder for fixed source sentences: target ids (B, T) -> log P(. | source, ids),
    (B, V).

    source_ids (B, S), mask (B, S) with 1 for tokens and 0 for padding. The sources are encoded once; keys and values of
    the target tokens stay in the cache, as in ``CachedLM``. Raises ValueError: as many rows of ids as sources are
    needed.
    """

    @torch.no_grad()
    def __init__(self, model: torch.nn.Module, source_ids: Tensor, mask: Tensor) -> None:
        super().__init__(model)
        source_ids, mask = source_ids.to(model.device), mask.to(model.device)  # all of it stays there, as the cache
        self._sources = model.get_encoder()(input_ids=source_ids, attention_mask=mask).last_hidden_state, mask
        self._encoded, self._mask = self._sources

    def _new_cache(self, rows: int) -> EncoderDecoderCache:
        self._encoded, self._mask = self._sources
        if rows != len(self._encoded):
            raise ValueError(
                f"{rows} rows of target ids for {len(self._encoded)} sources: give one row for each source"
            )
        return EncoderDecoderCache(DynamicCache(), DynamicCache())

    def _logits(self, new: Tensor, **inputs: object) -> Tensor:
        encoded = BaseModelOutput(last_hidden_state=self._encoded)
        return self.model(
            decoder_input_ids=new,
            encoder_outputs=encoded,
            attention_mask=self._mask,
            past_key_values=self._cache,
            use_cache=True,
            **inputs,
        ).logits

    def reorder(self, rows: Tensor) -> None:
        """Let row i continue what row rows[i] has seen, with that row's source."""
        if self._seen is not None:
            self._encoded, self._mask = self._encoded[rows], self._mask[rows]
        super().reorder(rows)


@dataclass(frozen=True, eq=False)
class Translator:
    """An encoder-decoder: P(target token | source sentence, target so far)."""

    name: str
    model: Any
    tokenizer: Any

    def encode(self, sources: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Source ids (B, S), each sentence ending in `</s>`, padded on the right; mask (B, S).

        For a stacked translator the source is "English</s>Spanish of the first system": the tokenizer reads `</s>` as
        one token.
        Raises ValueError: a source longer than the model has positions.
        """
        if isinstance(sources, str):
            raise ModelError("translate wants a list of sentences, not one: put it in [ ]")
        rows = [
            ids + [self.tokenizer.eos_token_id]
            for ids in self.tokenizer(list(sources), add_special_tokens=False, verbose=False).input_ids
        ]
        longest, positions = max(map(len, rows), default=0), self.model.config.max_position_embeddings
        if longest > positions:
            raise ValueError(
                f"a source has {longest} tokens, but {self.name} reads at most {positions}: split it into sentences"
            )
        batch = self.tokenizer.pad({"input_ids": rows}, padding_side="right", return_tensors="pt")
        return batch.input_ids, batch.attention_mask

    def next_log_probs(self, sources: Sequence[str]) -> CachedTranslator:
        """The ``decoding`` callable for these sources. The target starts with the token `<s>`, as in the Spanish
        LMs."""
        return CachedTranslator(self.model, *self.encode(sources))

    def target_ids(self, targets: Sequence[str]) -> list[Tensor]:
        """`<s>` target `</s>` of each sentence, (T,)."""
        start, end = self.model.config.decoder_start_token_id, self.tokenizer.eos_token_id
        encoded = self.tokenizer(list(targets), add_special_tokens=False, verbose=False).input_ids
        return [torch.tensor([start, *ids, end]) for ids in encoded]

    @torch.inference_mode()
    def log_probs(self, sources: Sequence[str], targets: Sequence[str]) -> Tensor:
        """Teacher forcing: log P(. | source, target tokens before t), (B, T - 1, V), for targets padded to T ids."""
        ids, mask = self.encode(sources)
        target = torch.nn.utils.rnn.pad_sequence(self.target_ids(targets), True, self.tokenizer.pad_token_id)  # (B, T)
        logits = self.model(
            input_ids=ids, attention_mask=mask, decoder_input_ids=target[:, :-1], use_cache=False
        ).logits
        return logits.log_softmax(dim=-1)

    def token_log_probs(self, sources: Sequence[str], targets: Sequence[str]) -> list[Tensor]:
        """For scoring: log P of each target token given those before it, `</s>` included, (T - 1,) for each pair, in
        the order given. The rest of the vocabulary is not kept. Errors as `encode`."""
        ids, found = self.target_ids(targets), {}
        for batch in batches_by_length([len(row) for row in ids], BATCH_TOKENS):
            rows = self.log_probs([sources[i] for i in batch], [targets[i] for i in batch])
            found |= {
                i: row[: len(ids[i]) - 1].gather(1, ids[i][1:, None])[:, 0] for i, row in zip(batch, rows, strict=True)
            }
        return [found[i] for i in range(len(ids))]

    def translate(
        self,
        sources: Sequence[str],
        members: Sequence[NextLogProbs | Translator] = (),
        combine: Callable[[Tensor], Tensor] | None = None,
        **decoding: Any,
    ) -> list[str]:
        """Translations of the sources, in their order; ``decoding`` are options of ``decoding.generate``.

        With members (next_log_probs callables over the target vocabulary, such as ``CachedLM`` of a target-side LM, or
        other translators, which get the same sources) every step's distribution is
        combine(log_probs (1 + members, B, V)), this translator first.
        Raises ValueError: members without combine.
        """
        if members and combine is None:
            raise ValueError("members need combine: a function of log_probs (1 + members, B, V) that returns (B, V)")
        self.encode(sources[:1])
        order, found = sorted(range(len(sources)), key=lambda i: len(sources[i])), {}
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            texts = [sources[i] for i in batch]
            step = self.next_log_probs(texts)
            # the decoder has as many positions as the encoder: a translation that never ends must stop there
            most = min(2 * step._encoded.shape[1] + 10, self.model.config.max_position_embeddings)
            if combine is not None:
                others = [m.next_log_probs(texts) if isinstance(m, Translator) else m for m in members]
                step = Ensemble([step, *others], combine)
            first = torch.full((len(batch), 1), self.model.config.decoder_start_token_id)
            options = {"max_new_tokens": most, "eos_token_id": self.tokenizer.eos_token_id, **decoding}
            ids = generate(step, first, **options)
            texts = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
            found |= dict(zip(batch, texts, strict=True))
        return [found[i] for i in range(len(sources))]


STRAIGHT = str.maketrans("“”‘’", "\"\"''")  # curly quotes confuse Apertium's tokenizer


def apertium(sentences: Sequence[str]) -> list[str]:
    """Rule-based English -> Spanish by the program `apertium`, where it is installed; unknown words stay as they are.

    Its tagger remembers what came before: a sentence may be translated a little differently in other company.
    Raises ModelError (one line) if it is not there or fails: verses.parquet has its output (column `apertium`).
    """
    lines = [" ".join(text.translate(STRAIGHT).split()) for text in sentences]  # it reads and writes line by line
    try:
        said = subprocess.run(
            ["apertium", "-u", "eng-spa"],
            input="\n".join(lines) + "\n",
            capture_output=True,
            check=True,
            text=True,
            encoding="utf-8",
        ).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError) as error:
        raise ModelError(
            "Apertium cannot be run here: install Debian's apertium-eng-spa, or use the column `apertium` of"
            " corpora.verses()"
        ) from error
    if len(said) != len(lines):
        raise ModelError(f"Apertium returned {len(said)} lines for {len(lines)} sentences")
    return [re.sub(r"\s+([,.;:!?])", r"\1", " ".join(line.split())) for line in said]


DIFFERENCE = (
    "difference.safetensors"  # of an earlier checkpoint of a run: see `shelf.deltas`; "parent" in its training.json
)


def _whole(folder: Path) -> torch.nn.Module:
    return AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()


def _from_difference(folder: Path) -> torch.nn.Module:
    parent = json.loads((folder / "training.json").read_text(encoding="utf-8"))["parent"]
    model = _whole(folder.parent / parent)
    state, saved = model.state_dict(), load_file(folder / DIFFERENCE)
    model.load_state_dict(
        restored({name: state[name] for name in saved}, saved), strict=False
    )  # tied and fixed ones are not in it
    return model


@functools.cache
def load_translator(name: str = "nmt-0") -> Translator:
    """A translator of data/models in float32 and evaluation mode; the same object at the second call.

    Raises ModelError (one line) for a name that is not there or a folder that cannot be read.
    """
    folder = data_dir() / "models" / name
    if not (folder / "config.json").is_file():
        known = sorted(path.parent.name for path in folder.parent.glob("nmt-*/config.json"))
        raise ModelError(f"there is no translator {name!r} in {folder.parent}: choose one of {', '.join(known)}")
    set_threads()
    quiet_transformers()
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder.parent / "translation-tokenizer", local_files_only=True
        )  # one for all
        model = _whole(folder) if not (folder / DIFFERENCE).is_file() else _from_difference(folder)
    except Exception as error:  # a missing or damaged file: many classes
        raise ModelError(
            f"{name} cannot be loaded from {folder} ({type(error).__name__}: {str(error)[:200]}): restore it"
            " with `git checkout data/models`"
        ) from error
    return Translator(name, on_device(model.requires_grad_(False)), tokenizer)


def bleu_of_draws(texts: Sequence[str], references: Sequence[str]) -> Callable[[np.ndarray], np.ndarray]:
    """BLEU of translations in draws of sentences: a function of (draws, n), how often each sentence was drawn, that
    gives (draws,), for `evidence.interval(..., of=)`.

    BLEU of a draw is sacrebleu's, from the sums of the sentences' n-gram counts. Source: Koehn (2004), Statistical
    significance tests for machine translation evaluation.
    """
    from sacrebleu.metrics import BLEU

    scorer = BLEU()
    scores = [scorer.corpus_score([text], [[right]]) for text, right in zip(texts, references, strict=True)]
    # (n, 10): matches and n-grams of order 1 to 4, the two lengths
    counted = np.array([[*score.counts, *score.totals, score.sys_len, score.ref_len] for score in scores])

    def bleu(times: np.ndarray) -> np.ndarray:
        sums = (times @ counted).astype(int).tolist()
        return np.array([BLEU.compute_bleu(row[:4], row[4:8], *row[8:]).score for row in sums])

    return bleu


def bleu_difference(
    texts: Sequence[str], others: Sequence[str], references: Sequence[str], draws: int = 1000
) -> Interval:
    """How much higher the BLEU of `texts` is than that of `others`, translations of the same sentences, with its 95 %
    interval: both are scored on the same bootstrap draws of sentences."""
    mine, theirs = (bleu_of_draws(translations, references) for translations in (texts, others))
    return interval(np.zeros(len(references)), of=lambda times: mine(times) - theirs(times), draws=draws)
