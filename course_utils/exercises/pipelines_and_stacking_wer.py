"""Tests of 09_pipelines_and_stacking: the word error rate of a hypothesis."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from itertools import zip_longest
from typing import Any

import numpy as np
from torch import Tensor

from course_utils.exercises.arrays import judge
from course_utils.exercises.engine.calls import Mistake, StudentError

Words = list[str]


def word_error_rate(reference: Words, hypothesis: Words) -> float:
    """(S + D + I) / N of the cheapest alignment, N = len(reference) > 0: the Levenshtein distance of words over N.

    D[i, j] = min(D[i-1, j-1] + [r_i != h_j],  D[i-1, j] + 1,  D[i, j-1] + 1),   D[i, 0] = i,  D[0, j] = j
    Source: Jurafsky and Martin, Speech and Language Processing, section on evaluating speech recognition.
    """
    row = list(range(len(hypothesis) + 1))  # D[0, :]
    for i, word in enumerate(reference, start=1):
        above, row = row, [i]
        for j, other in enumerate(hypothesis, start=1):
            row.append(min(above[j - 1] + (word != other), above[j] + 1, row[j - 1] + 1))
    return row[-1] / len(reference)


STEPS = (
    "D[i, j], the fewest edits from the first i words to the first j: D[i, 0] = i, D[0, j] = j, and else the least of"
    " D[i-1, j-1] + (r_i != h_j), D[i-1, j] + 1 and D[i, j-1] + 1. The last entry, divided by len(reference)."
)
ZIP = (
    "You compare position by position. One word too many shifts all that follow, and every one of them then counts as an"
    f" error: align the words first. {STEPS}"
)
SETS = (
    "You compare which words occur, without their order: `the dog bit him` and `him bit the dog` would have no error. The"
    f" edits turn one SEQUENCE into the other. {STEPS}"
)
HYPOTHESIS = "You divide by the length of the hypothesis. A long wrong hypothesis would look better for it: divide by len(reference)."
LONGER = "You divide by the longer of the two lengths, which keeps the rate below 1. It may exceed 1: divide by len(reference)."
OTHER_DIVISOR = "The number of edits is right, and is divided by another number than len(reference), the words that were really said."
COUNT = "This is the number of edits: divide it by len(reference)."
CHARACTERS = (
    "You count characters (that is the character error rate): the units here are whole words, compared with !=. Leave the"
    " lists as they are, without join."
)
CAPPED = "Your rate stops at 1. A hypothesis with many inserted words has more errors than the reference has words: do not cap it."
ACCURACY = "This is an accuracy, 1 - WER: return the error rate itself."
HITS = "This is the share of the reference words that were found. Return the share of errors, in which insertions count too."
NO_INSERTIONS = (
    "Inserted words cost nothing in your result, so a recogniser could say every word there is. D[i, j-1] + 1 and D[0, j] ="
    " j: each counts 1."
)
NO_DELETIONS = "Left-out words cost nothing in your result, so saying nothing would be best. D[i-1, j] + 1 and D[i, 0] = i: each counts 1."
NO_SUBSTITUTIONS = (
    "Only the difference of the lengths is left in your result: a wrong word in place of the right one costs nothing. It is a"
    " substitution, D[i-1, j-1] + 1 where the two words differ."
)
TWO = (
    "A substitution costs 2 in your result, as a deletion and an insertion. It is ONE error: D[i-1, j-1] + 1 where the two"
    " words differ."
)
LCS = (
    "You take the longest common subsequence and count what is left of the longer side. The alignment with the most equal"
    f" words need not have the fewest edits, nor this number of them. {STEPS}"
)
FIRST_ROW = "The first row of your table is not filled: D[0, j] = j, since j words that come before anything was said are j insertions."
FIRST_COLUMN = "The first column of your table is not filled: D[i, 0] = i, since i words of which nothing was heard are i deletions."
FIRST_BOTH = "The first row and column of your table are 0: D[0, j] = j insertions, D[i, 0] = i deletions."
ALWAYS = "Equal words cost 1 in your result as well: the step D[i-1, j-1] is free where r_i == h_j."
LAST_WORD = "Your table ends too early: the last word of one side or of both is left out. It has len + 1 rows and columns, 0 to len."
FIRST_WORD = "The first word of both sides is left out: row i of the table belongs to the word with index i - 1."
SWAPS = "Two neighbouring words that changed places count as one error in your result. There are three kinds of edits: this one needs two."
LOWER = "You compare in lower case. Here the words are compared as they are: `Read` is not `read`."
PERCENT = "Your result is in percent: return the ratio, such as 0.25."
ROUNDED = "Your result is rounded: return it as it is."
FLOORED = "Your result is a whole number: divide with / in place of //."
SENTENCE = "This is 1 for a sentence with any error: count the errors, and divide by len(reference)."
LENGTHS = "This compares the lengths of the two lists: words of the right number can still be the wrong words."
LESS = (
    "Your {:.3g} edits cannot be enough: at least {:.3g} are needed, so something is free that costs 1, or the words were not kept"
    " in their order. {}"
)
MORE = "You count {:.3g} edits, and there is an alignment with {:.3g}: it must be the CHEAPEST one. Try all three steps at each place. {}"
PARTS = "You return several numbers, of which none is asked for by itself: return (S + D + I) / len(reference)."
EMPTY = "The hypothesis is empty here: every reference word is deleted, and the rate is 1. Divide by len(reference), which is not 0."
INDEX = (
    "An index is too large. The two lists may differ in length, and the table needs one row and one column more than there"
    " are words: D[i, j] belongs to the words reference[i-1] and hypothesis[j-1]."
)
CHANGED = (
    "Your function changed its argument {}, a list that the caller still needs: work on a copy, such as list(words)."
)


def _table(
    r: Any,
    h: Any,
    sub: int = 1,
    ins: int = 1,
    dele: int = 1,
    row: int | None = None,
    col: int | None = None,
    hit: int = 0,
    swap: bool = False,
) -> np.ndarray:
    """The table of the alignment; sub, ins, dele, hit are the costs of a step, row and col those of the first row and column."""
    d = np.zeros((len(r) + 1, len(h) + 1))
    d[0], d[:, 0] = (
        np.arange(len(h) + 1) * (ins if row is None else row),
        np.arange(len(r) + 1) * (dele if col is None else col),
    )
    for i in range(1, len(r) + 1):
        for j in range(1, len(h) + 1):
            step = hit if r[i - 1] == h[j - 1] else sub
            d[i, j] = min(d[i - 1, j - 1] + step, d[i - 1, j] + dele, d[i, j - 1] + ins)
            if swap and i > 1 and j > 1 and (r[i - 1], r[i - 2]) == (h[j - 2], h[j - 1]):
                d[i, j] = min(d[i, j], d[i - 2, j - 2] + 1)
    return d


def _edits(r: Any, h: Any, **costs: Any) -> float:
    return _table(r, h, **costs)[-1, -1]


def _common(r: Words, h: Words) -> float:
    """Length of the longest common subsequence."""
    return (len(r) + len(h) - _edits(r, h, sub=2)) / 2


def _differing(r: Words, h: Words) -> int:
    return sum(a != b for a, b in zip(r, h))


def _bag(r: Words, h: Words) -> tuple[int, int]:
    """Words left over on both sides, each counted as often as it is left."""
    a, b = Counter(r), Counter(h)
    return (a - b).total(), (b - a).total()


def _lower(words: Words) -> Words:
    return [word.lower() for word in words]


MISTAKES = [
    (ZIP, lambda r, h: _differing(r, h) / len(r)),
    (ZIP, lambda r, h: sum(a != b for a, b in zip_longest(r, h)) / len(r)),
    (ZIP, lambda r, h: _differing(r, h) / min(len(r), len(h))),
    (ZIP, lambda r, h: _differing(r, h) / len(h)),
    (ZIP, lambda r, h: sum(a != b for a, b in zip_longest(r, h)) / max(len(r), len(h))),
    (ZIP, lambda r, h: (len(r) - _differing(r, h)) / len(r)),
    (SETS, lambda r, h: len(set(r) - set(h)) / len(r)),
    (SETS, lambda r, h: len(set(h) - set(r)) / len(r)),
    (SETS, lambda r, h: len(set(r) ^ set(h)) / len(r)),
    (SETS, lambda r, h: len(set(r) - set(h)) / len(set(r))),
    (SETS, lambda r, h: len(set(r) ^ set(h)) / len(set(r))),
    (SETS, lambda r, h: 1 - len(set(r) & set(h)) / len(set(r) | set(h))),
    (SETS, lambda r, h: sum(word not in h for word in r) / len(r)),
    (SETS, lambda r, h: sum(word not in r for word in h) / len(r)),
    (SETS, lambda r, h: (sum(word not in h for word in r) + sum(word not in r for word in h)) / len(r)),
    (SETS, lambda r, h: max(_bag(r, h)) / len(r)),
    (SETS, lambda r, h: sum(_bag(r, h)) / len(r)),
    (SETS, lambda r, h: _bag(r, h)[0] / len(r)),
    (SETS, lambda r, h: _edits(sorted(r), sorted(h)) / len(r)),
    (HYPOTHESIS, lambda r, h: _edits(r, h) / len(h)),
    (LONGER, lambda r, h: _edits(r, h) / max(len(r), len(h))),
    (OTHER_DIVISOR, lambda r, h: _edits(r, h) / (len(r) + len(h))),
    (OTHER_DIVISOR, lambda r, h: 2 * _edits(r, h) / (len(r) + len(h))),
    (OTHER_DIVISOR, lambda r, h: _edits(r, h) / min(len(r), len(h))),
    (OTHER_DIVISOR, lambda r, h: _edits(r, h) / len(set(r))),
    (OTHER_DIVISOR, lambda r, h: _edits(r, h) / (len(r) + 1)),
    (OTHER_DIVISOR, lambda r, h: _edits(r, h) / len(" ".join(r))),
    (COUNT, lambda r, h: _edits(r, h)),
    (CHARACTERS, lambda r, h: _edits(" ".join(r), " ".join(h)) / len(" ".join(r))),
    (CHARACTERS, lambda r, h: _edits(" ".join(r), " ".join(h)) / len(r)),
    (CHARACTERS, lambda r, h: _edits("".join(r), "".join(h)) / len("".join(r))),
    (CHARACTERS, lambda r, h: _edits("".join(r), "".join(h)) / len(r)),
    (CAPPED, lambda r, h: min(1.0, word_error_rate(r, h))),
    (ACCURACY, lambda r, h: 1 - word_error_rate(r, h)),
    (ACCURACY, lambda r, h: max(0.0, 1 - word_error_rate(r, h))),
    (HITS, lambda r, h: _common(r, h) / len(r)),
    (NO_INSERTIONS, lambda r, h: 1 - _common(r, h) / len(r)),
    (NO_INSERTIONS, lambda r, h: _edits(r, h, ins=0, row=1) / len(r)),
    (NO_DELETIONS, lambda r, h: _edits(r, h, dele=0) / len(r)),
    (NO_DELETIONS, lambda r, h: _edits(r, h, dele=0, col=1) / len(r)),
    (NO_SUBSTITUTIONS, lambda r, h: _edits(r, h, sub=0) / len(r)),
    (TWO, lambda r, h: _edits(r, h, sub=2) / len(r)),
    (LCS, lambda r, h: (max(len(r), len(h)) - _common(r, h)) / len(r)),
    (FIRST_ROW, lambda r, h: _edits(r, h, row=0) / len(r)),
    (FIRST_COLUMN, lambda r, h: _edits(r, h, col=0) / len(r)),
    (FIRST_BOTH, lambda r, h: _edits(r, h, row=0, col=0) / len(r)),
    (ALWAYS, lambda r, h: _edits(r, h, hit=1) / len(r)),
    (LAST_WORD, lambda r, h: _table(r, h)[-2, -2] / len(r)),
    (LAST_WORD, lambda r, h: _table(r, h)[-1, -2] / len(r)),
    (LAST_WORD, lambda r, h: _table(r, h)[-2, -1] / len(r)),
    (FIRST_WORD, lambda r, h: _edits(r[1:], h[1:]) / len(r)),
    (SWAPS, lambda r, h: _edits(r, h, swap=True) / len(r)),
    (LOWER, lambda r, h: _edits(_lower(r), _lower(h)) / len(r)),
    (PERCENT, lambda r, h: 100 * word_error_rate(r, h)),
    *((ROUNDED, lambda r, h, digits=digits: round(word_error_rate(r, h), digits)) for digits in (3, 2, 1, 0)),
    (FLOORED, lambda r, h: _edits(r, h) // len(r)),
    (SENTENCE, lambda r, h: float(r != h)),
    (LENGTHS, lambda r, h: len(h) / len(r)),
]

# Seven words at most, so that a plain recursion is fast enough
CASES = [
    ("one two three four five six".split(), "zero one two four five".split()),
    ("he was not an ill disposed young".split(), "he Was not until this post young".split()),
    ("a b c a".split(), "b c a A d d e".split()),
    ("the dog Bit him".split(), "him bit bit the dog now".split()),
    ("c a b a b d c".split(), "a c b b a d".split()),
    ("b a".split(), "c c b d b c".split()),
    ("a b d e f c g".split(), "d b a g c".split()),
]


def _lists(answer: Callable) -> Callable:
    """The answer, with its most frequent errors said in the words of lists."""

    def called(reference: Words, hypothesis: Words) -> Any:
        try:
            return answer(reference, hypothesis)
        except Mistake as mistake:
            changed = re.search(r"changed its input \(argument (\d+)\)", str(mistake))
            raise (Mistake(CHANGED.format(changed[1])) if changed else mistake) from None
        except StudentError as wrapped:
            if isinstance(wrapped.error, IndexError):
                raise Mistake(f"{INDEX} (Python said: {wrapped.error})") from None
            if isinstance(wrapped.error, ZeroDivisionError) and not hypothesis:
                raise Mistake(EMPTY) from None
            raise

    return called


def _look(got: Tensor, case: tuple) -> None:
    words, edits = len(case[0]), _edits(*case)
    if got.numel() > 1:
        raise Mistake(PARTS)
    if got.numel() and got.isfinite().all():
        mine = float(got) * words
        raise Mistake(LESS.format(mine, edits, STEPS) if mine < edits else MORE.format(mine, edits, STEPS))


def _check(answer: Callable, reference: Words, hypothesis: Words) -> None:
    judge(_lists(answer), (reference, hypothesis), word_error_rate, CASES, MISTAKES, STEPS, _look)


def wer_sentences(answer: Callable) -> None:
    """sentences in which words are replaced, left out, inserted and repeated, also with more errors than words"""
    for reference, hypothesis in CASES:
        _check(answer, reference, hypothesis)


def wer_shift(answer: Callable) -> None:
    """one word too many at the front, and one left out: a single error, although all the others are in another place"""
    words = "in the beginning was the word".split()
    _check(answer, words, ["and", *words])
    _check(answer, words, words[1:])


def wer_ends(answer: Callable) -> None:
    """the same words, no error; an empty hypothesis, rate 1; one word for which six were heard, rate 6"""
    _check(answer, ["it", "was", "it"], ["it", "was", "it"])
    _check(answer, ["it", "was", "it"], [])
    _check(answer, ["a"], list("bcdefg"))
