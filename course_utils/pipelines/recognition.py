"""Speech recognition: n-best lists, the word error rate, and a pipeline that sums over the list instead of taking its
best.

samples, rate = load_clip("librivox-0880.ogg")
best = recognise(samples, n=10)                                         # hypotheses, best first, and log scores
weights = nbest_posterior(best.scores)                                  # P(Y1 | X), (K,)
word_error_rate("he was not an ill disposed young man", best.hypotheses[0]).rate
"""

from __future__ import annotations

import functools
import heapq
import math
import re
import tempfile
from collections.abc import Callable, Sequence
from graphlib import TopologicalSorter
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import torch
from torch import Tensor

from course_utils.shelf.models import ModelError, data_dir

RATE = 16_000  # samples a second that the acoustic model was trained on
BEAM = 40  # word strings kept at each node of a lattice
# PocketSphinx multiplies log P(words) by this weight (its option bestpathlw) before it adds the acoustic log score
LM_WEIGHT = 9.5
SCALE = 1 / 20  # of scores in posterior weights
MARKERS = re.compile(r"<[^>]*>|\[[^\]]*\]|\+\+[^+]*\+\+|\(\d+\)")  # <s> <sil> [NOISE] ++COUGH++ and the (2) of read(2)


class NBest(NamedTuple):
    """Distinct hypotheses, best first, and the natural-log score of each (see ``recognise``)."""

    hypotheses: list[str]
    scores: list[float]


class WordErrors(NamedTuple):
    """Counts of one or many sentences; ``words`` is the number of reference words."""

    substitutions: int
    insertions: int
    deletions: int
    words: int

    @property
    def rate(self) -> float:
        """(substitutions + insertions + deletions) / words: can exceed 1."""
        return (self.substitutions + self.insertions + self.deletions) / self.words


def normalise(text: str, lower: bool = True) -> str:
    """What is compared: lower case (unless `lower` is False), words separated by one blank.

    Left out: the recogniser's markers (`<s>`, `<sil>`, `[NOISE]`, the `(2)` of a second pronunciation) and all
    punctuation but the apostrophe within a word. A hyphen separates words.
    """
    text = MARKERS.sub(" ", text).replace("\u2019", "'")
    words = re.sub(r"[^\w']|_", " ", text.lower() if lower else text).split()
    return " ".join(word for word in (word.strip("'") for word in words) if word)


def align_words(reference: str, hypothesis: str) -> list[tuple[str | None, str | None]]:
    """A cheapest alignment of the normalised words: pairs (reference word, hypothesis word), None where one side has
    none.

        D[i, j] = min(D[i-1, j-1] + [r_i != h_j],  D[i-1, j] + 1,  D[i, j-1] + 1),   D[i, 0] = i, D[0, j] = j

    Equal words are correct, unequal ones a substitution; (word, None) is a deletion, (None, word) an insertion. Where
    several alignments cost the same, the backtrace from the end prefers pairs, then deletions.
    Source: Jurafsky and Martin, Speech and Language Processing, sections on minimum edit distance and on word error
    rate.
    """
    r, h = normalise(reference).split(), normalise(hypothesis).split()
    cost = np.zeros((len(r) + 1, len(h) + 1), dtype=int)
    cost[:, 0], cost[0] = np.arange(len(r) + 1), np.arange(len(h) + 1)
    for i in range(1, len(r) + 1):
        for j in range(1, len(h) + 1):
            pair = cost[i - 1, j - 1] + (r[i - 1] != h[j - 1])
            cost[i, j] = min(pair, cost[i - 1, j] + 1, cost[i, j - 1] + 1)
    pairs, i, j = [], len(r), len(h)
    while i or j:
        if i and j and cost[i, j] == cost[i - 1, j - 1] + (r[i - 1] != h[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((r[i], h[j]))
        elif i and cost[i, j] == cost[i - 1, j] + 1:
            i -= 1
            pairs.append((r[i], None))
        else:
            j -= 1
            pairs.append((None, h[j]))
    return pairs[::-1]


def word_error_rate(reference: str | Sequence[str], hypothesis: str | Sequence[str]) -> WordErrors:
    """Word errors of one sentence, or of many together: WER = (S + I + D) / N, N the number of reference words.

    S substitutions, I insertions, D deletions of the cheapest alignment; of many sentences the counts are added up, so
    long ones weigh more. S + I + D is unique, how it splits into the three may not be.
    Raises ValueError: no reference word, or lists of different lengths.
    Source: Jurafsky and Martin, Speech and Language Processing, section on evaluating speech recognition.
    """
    references, hypotheses = ([text] if isinstance(text, str) else list(text) for text in (reference, hypothesis))
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references for {len(hypotheses)} hypotheses: give one for each")
    pairs = [pair for texts in zip(references, hypotheses) for pair in align_words(*texts)]
    words = sum(r is not None for r, _ in pairs)
    if not words:
        raise ValueError("the reference has no words: the word error rate divides by their number")
    return WordErrors(
        substitutions=sum(None not in (r, h) and r != h for r, h in pairs),
        insertions=sum(r is None for r, _ in pairs),
        deletions=sum(h is None for _, h in pairs),
        words=words,
    )


def nbest_posterior(scores: Sequence[float] | np.ndarray | Tensor, scale: float = SCALE) -> Tensor:
    """P(Y1 = k | X) among K hypotheses from their log scores, (..., K) -> (..., K): exp(scale s_k) / Σ_l
    exp(scale s_l).

    The list stands for all word strings there are, so the weights are too large by the mass outside it. Acoustic models
    count neighbouring frames as independent, and raw scores (scale 1) put nearly all weight on one hypothesis; hence
    the scale. The default 1/20 is the best of seven (1 to 1/80) for the log-weight of the hypothesis with the fewest
    word errors, on the LibriVox clips and the first twelve verses; it is also what PocketSphinx uses for its own
    confidences (ascale). A score of -inf (padding of a shorter list) gets weight 0. Raises ValueError: scale negative,
    or no finite score.
    Source: Wessel et al., Confidence Measures for Large Vocabulary Continuous Speech Recognition
    (IEEE Trans. Speech Audio Proc. 9, 2001).
    """
    kind = scores.dtype if isinstance(scores, Tensor) and scores.is_floating_point() else torch.get_default_dtype()
    scores = (scores if isinstance(scores, Tensor) else torch.tensor(np.asarray(scores, dtype=float))).double()
    if not scale >= 0:
        raise ValueError(f"the scale {scale} must be 0 (all hypotheses alike) or more")
    if scores.ndim == 0 or not scores.isfinite().any(dim=-1).all():
        raise ValueError("an n-best list needs at least one finite score")
    return torch.where(scores.isneginf(), scores, scale * scores).softmax(dim=-1).to(kind)  # 0 * -inf would be nan


def marginal_pipeline(p1: Tensor, p2: Tensor) -> Tensor:
    """P(Y2 | X) = Σ_k P(Y2 | Y1 = k) P(Y1 = k | X) of a two-stage pipeline, (B, V).

    p1 (B, K): first stage, over K intermediate results (an n-best list). p2: second stage given each of them, (K, V)
    where all rows share the K results, (B, K, V) where each has its own. With one-hot p1 it is the 1-best pipeline.
    Raises ValueError: shapes that do not fit, or log-probabilities (negative numbers).
    Source: the sum rule; Ney, Speech Translation: Coupling of Recognition and Translation (ICASSP 1999).
    """
    if p1.ndim != 2 or p2.ndim not in (2, 3) or p2.shape[:-1] != (p1.shape if p2.ndim == 3 else p1.shape[1:]):
        raise ValueError(f"p1 {tuple(p1.shape)} and p2 {tuple(p2.shape)} do not fit: (B, K) with (K, V) or (B, K, V)")
    if (p1 < 0).any() or (p2 < 0).any():
        raise ValueError("probabilities are needed, and some are negative: take exp of log-probabilities first")
    return p1 @ p2 if p2.ndim == 2 else torch.einsum("bk,bkv->bv", p1, p2)


def load_clip(name: str | PathLike) -> tuple[np.ndarray, int]:
    """Samples (T,) in [-1, 1], float32, and samples a second, of a clip of data/speech (a name) or of any mono sound
    file.

    Raises ModelError, in one line, for a clip that is not there or cannot be read.
    """
    path = data_dir() / "speech" / name  # an absolute path stays as it is
    if not path.is_file():
        raise ModelError(f"there is no clip {path}: restore data/speech with `git checkout data/speech`")
    try:
        samples, rate = soundfile.read(path, dtype="float32")
    except soundfile.LibsndfileError as error:
        raise ModelError(
            f"{path} cannot be read as sound ({error}): restore it with `git checkout data/speech`"
        ) from error
    if samples.ndim != 1:
        raise ModelError(f"{path} has {samples.shape[1]} channels: give a mono file")
    return samples.clip(-1, 1), rate


@functools.cache
def _decoder() -> Any:
    try:
        from pocketsphinx import Decoder
    except ImportError as error:
        raise ModelError(
            "PocketSphinx is missing: `pip install pocketsphinx`, or use the committed hypotheses of"
            " data/speech.parquet"
        ) from error
    return Decoder(samprate=RATE, bestpathlw=LM_WEIGHT, loglevel="FATAL")


class Lattice(NamedTuple):
    """A word graph: words[i] of node i (`!NULL` is a silence or noise), links (from node, to node, log P(X part))."""

    words: list[str]
    links: list[tuple[int, int, float]]
    start: int
    end: int


def read_lattice(text: str) -> Lattice:
    """A lattice in HTK's standard lattice format, as PocketSphinx writes it (natural logarithms)."""
    start, end = (int(re.search(rf"^{side}=(\d+)", text, re.M)[1]) for side in ("start", "end"))
    nodes = {int(i): word for i, word in re.findall(r"^I=(\d+)\s.*?W=(\S+)", text, re.M)}
    links = re.findall(r"^J=\d+\s+S=(\d+)\s+E=(\d+)\s+a=(\S+)", text, re.M)
    words = [nodes.get(i, "!NULL") for i in range(max(nodes) + 1)]
    words[end] = "</s>"  # HTK calls it !SENT_END, the language model </s>
    return Lattice(words, [(int(a), int(b), float(score)) for a, b, score in links], start, end)


def nbest_paths(lattice: Lattice, word_score: Callable[[str, tuple[str, ...]], float], n: int) -> dict[str, float]:
    """The n best word strings of a lattice and the score of the best path of each, best first.

        score = Σ_links log P(X part) + Σ_words word_score(word, the two words before)

    Nodes are visited in time order; each keeps the BEAM best strings that end in it. Silences and noises are no words:
    they add no word score and the words around them are neighbours. ``word_score`` also gets the end of the sentence,
    `</s>`.
    """
    incoming: dict[int, list[tuple[int, float]]] = {node: [] for node in range(len(lattice.words))}
    for a, b, score in lattice.links:
        incoming[b].append((a, score))
    best: dict[int, dict[tuple[str, ...], float]] = {}
    for node in TopologicalSorter({b: [a for a, _ in before] for b, before in incoming.items()}).static_order():
        word, found = lattice.words[node], {("<s>",): 0.0} if node == lattice.start else {}
        pause = word[0] in "<[!" and node != lattice.end
        for before, acoustic in incoming[node]:
            for words, score in best[before].items():
                extended = words if pause else (*words, word)
                score += acoustic + (0.0 if pause else word_score(word, words[-2:]))
                found[extended] = max(score, found.get(extended, -math.inf))
        best[node] = dict(heapq.nlargest(max(BEAM, n), found.items(), key=lambda item: item[1]))
    return {" ".join(words[1:-1]): score for words, score in list(best[lattice.end].items())[:n]}


def _word_score(decoder: Any) -> Callable[[str, tuple[str, ...]], float]:
    """LM weight x log P(word | two words before) + the penalty for a word, as in PocketSphinx's own search for the best
    path."""
    language_model, penalty = decoder.get_lm(), LM_WEIGHT / decoder.config["lw"] * math.log(decoder.config["wip"])
    base = math.log(decoder.config["logbase"])

    @functools.cache
    def score(word: str, before: tuple[str, ...]) -> float:
        return LM_WEIGHT * base * language_model.prob([word, *reversed(before)]) + penalty  # newest word first

    return score


def recognise(source: str | PathLike | np.ndarray | Tensor, n: int = 10) -> NBest:
    """The n best distinct hypotheses of PocketSphinx (its US English model) for a clip or for samples (T,) at 16 kHz.

        score = log P(X | words) + 9.5 log P(words) + penalties for words and pauses          (natural logarithm)

    of the best path with these words through the recogniser's lattice; acoustics relative to the best state of every
    frame. Hypotheses are normalised and sorted by score; a sound too short for a word has one, "". Takes one to four
    seconds. (Not ``Decoder.nbest()``: that one counts a pause as an unknown word, and so leaves most hypotheses with
    pauses out.)
    Raises ModelError where PocketSphinx is missing; ValueError: n below 1, not 16 kHz, not mono, samples outside
    [-1, 1].
    """
    if n < 1:
        raise ValueError(f"n is {n}: ask for at least one hypothesis")
    samples, rate = load_clip(source) if isinstance(source, str | PathLike) else (np.asarray(source), RATE)
    if samples.ndim != 1 or rate != RATE:
        raise ValueError(f"samples {samples.shape} at {rate} Hz: one channel at {RATE} Hz is needed")
    if not len(samples):
        return NBest([""], [0.0])
    if not np.abs(samples).max() <= 1:
        raise ValueError("samples must be numbers in [-1, 1]: divide 16-bit integers by 32768")
    decoder = _decoder()
    decoder.reinit_feat()  # forget the noise and the means of the clip before: a clip is always heard alike
    decoder.start_utt()
    decoder.process_raw((samples * 32767).round().astype(np.int16).tobytes(), full_utt=True)
    decoder.end_utt()
    if (lattice := decoder.get_lattice()) is None:
        return NBest([""], [0.0])
    with tempfile.TemporaryDirectory() as folder:
        lattice.write_htk(str(Path(folder) / "lattice"))
        graph = read_lattice((Path(folder) / "lattice").read_text(encoding="utf-8"))
    found: dict[str, float] = {}
    for text, score in nbest_paths(
        graph, _word_score(decoder), 2 * n
    ).items():  # two can be one when they are normalised
        found.setdefault(normalise(text), round(score, 3))
    return NBest(list(found)[:n], list(found.values())[:n]) if found else NBest([""], [0.0])
