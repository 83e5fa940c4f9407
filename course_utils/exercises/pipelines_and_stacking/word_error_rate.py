"""The word error rate of a hypothesis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any

import numpy as np

from course_utils.exercises.engine import Exercise, Mistake, case
from course_utils.exercises.engine.exercise import Corner

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


def _edits(r: Any, h: Any, sub=1, ins=1, dele=1, hit=0, swap=False, **edge: int) -> int:
    """The cheapest alignment; sub, ins, dele, hit: the costs of a step; row, col: those of the table's edges."""
    row, col = edge.get("row", ins), edge.get("col", dele)
    d = [[i * col + j * row if not i or not j else 0 for j in range(len(h) + 1)] for i in range(len(r) + 1)]
    for i, word in enumerate(r, start=1):
        for j, other in enumerate(h, start=1):
            d[i][j] = min(d[i - 1][j - 1] + (hit if word == other else sub), d[i - 1][j] + dele, d[i][j - 1] + ins)
            if swap and i > 1 and j > 1 and (word, r[i - 2]) == (h[j - 2], other):
                d[i][j] = min(d[i][j], d[i - 2][j - 2] + 1)
    return d[-1][-1]


def _rate(of: Callable = lambda words: words, **costs: Any) -> Callable:
    """The rate with other costs, or of something else than the words."""
    return lambda r, h: _edits(of(r), of(h), **costs) / len(r)


def _ratios(counts: Sequence[Callable], *divisors: Callable) -> list[Callable]:
    return [lambda r, h, c=c, d=d: c(r, h) / d(r, h) for c in counts for d in divisors]


def _words(r: Words, h: Words) -> int:
    return len(r)


def _longest(r: Words, h: Words) -> int:
    return max(len(r), len(h))


def _differing(r: Words, h: Words, pairs: Callable = zip) -> int:
    return sum(a != b for a, b in pairs(r, h))


def _common(r: Words, h: Words) -> float:
    """Length of the longest common subsequence."""
    return (len(r) + len(h) - _edits(r, h, sub=2)) / 2


MISSING = (  # words of r that h has not: different ones, all, or all but as many as h has
    lambda r, h: len(set(r) - set(h)),
    lambda r, h: sum(word not in h for word in r),
    lambda r, h: (Counter(r) - Counter(h)).total(),
)


def _explain(got: Any, expected: float, reference: Words, hypothesis: Words) -> str:
    """What the number of edits in a wrong result says."""
    if isinstance(got, (list, tuple)) or np.size(got) > 1:
        return "You return several numbers, of which none is asked for by itself: return (S + D + I) / len(reference)."
    if isinstance(got, (str, bool, complex)) or not np.size(got) or not np.isfinite(float(got)):
        return ""
    mine, edits = float(got) * len(reference), expected * len(reference)
    if mine < edits:
        free = "So something is free that costs 1, or the words were not kept in their order."
        raise Mistake(f"Your {mine:.3g} edits cannot be enough: at least {edits:.3g} are needed.", free)
    steps = "Try all three steps at each place: pair two words, delete one, insert one."
    raise Mistake(f"You count {mine:.3g} edits, but {edits:.3g} are enough: it must be the cheapest alignment.", steps)


ALIGN = "The edits turn one sequence into the other: find the cheapest alignment of the two."
DIVIDE = "Divide by len(reference), the words that were said: a long wrong hypothesis would look better otherwise."
TABLE = "D[i, j] belongs to reference[i-1] and hypothesis[j-1], and there are len + 1 rows and columns, 0 to len."
EXERCISE = Exercise(
    "pipelines_and_stacking.word_error_rate",
    reference=word_error_rate,
    what="your rate",
    explain=_explain,
    errors={
        "IndexError": f"An index is too large: the two lists may differ in length. {TABLE}",
        "ZeroDivisionError": "You divide by 0: the hypothesis may be empty, but the reference never is.",
    },
    cases=[
        case(says, *(side.split() for side in sides.split(" | ")))
        for says, sides in [
            ("words left out, inserted, replaced", "one two three four five six | zero one two four five"),
            (
                "words replaced, some by others that differ in a capital, a comma, an accent",
                "he was ill, el man | he Was ill él boy",
            ),
            ("words that come back, and inserted ones", "a b c a | b c a A d d e"),
            ("two neighbours that changed places", "c a b a b d c | a c b b a d"),
            ("more errors than words", "b a | c c b d b c"),
            ("words left out and moved", "a b d e f c g | d b a g c"),
        ]
    ],
    corners=[
        Corner("one word too many at the front, a single error", lambda v: {"hypothesis": ["and", *v["reference"]]}),
        Corner("the same words, no error", lambda v: {"hypothesis": list(v["reference"])}),
        Corner("an empty hypothesis, every word is deleted", lambda v: {"hypothesis": []}),
        Corner("one word, for which six were heard", lambda v: {"reference": ["a"], "hypothesis": list("bcdefg")}),
    ],
    mistakes={
        "You compare position by position: one word too many shifts all that follow, and each of them then counts.\n"
        "Align the words first.": [
            *_ratios([_differing, partial(_differing, pairs=zip_longest)], _words, _longest, lambda r, h: len(h)),
            lambda r, h: _differing(r, h) / min(len(r), len(h)),
            lambda r, h: 1 - _differing(r, h) / len(r),
        ],
        "You compare which words occur, without their order: `dog bites man`, `man bites dog` would have no "
        "error.\n"
        f"{ALIGN}": [
            *_ratios(MISSING, _words),
            *(lambda r, h, c=c: c(h, r) / len(r) for c in MISSING),
            *(lambda r, h, c=c: (c(r, h) + c(h, r)) / len(r) for c in MISSING),
            lambda r, h: max(MISSING[2](r, h), MISSING[2](h, r)) / len(r),
            _rate(sorted),
        ],
        f"You divide by the length of the hypothesis.\n{DIVIDE}": lambda r, h: _edits(r, h) / len(h),
        f"You divide by the longer of the two lengths.\n{DIVIDE}": [*_ratios([_edits], _longest)],
        f"The number of edits is right, and is divided by another number than len(reference).\n{DIVIDE}": [
            *_ratios([_edits], lambda r, h: min(len(r), len(h)), lambda r, h: len(set(r)), lambda r, h: len(r) + 1),
            *_ratios([_edits], lambda r, h: (len(r) + len(h)) / 2, lambda r, h: len(r) + len(h)),
            lambda r, h: _edits(r, h) / len(" ".join(r)),
        ],
        f"This is the number of edits.\n{DIVIDE}": _edits,
        "You count characters: that is the character error rate.\n"
        "The units are whole words: leave the lists as they are, without join, and compare words with !=.": [
            *(_rate(gap.join) for gap in (" ", "")),
            *(lambda r, h, gap=gap: _edits(gap.join(r), gap.join(h)) / len(gap.join(r)) for gap in (" ", "")),
        ],
        "Your rate stops at 1, and may exceed 1.": lambda r, h: min(1, _edits(r, h) / len(r)),
        "This is an accuracy, 1 - WER.": [*(lambda r, h, a=a: max(a, 1 - _edits(r, h) / len(r)) for a in (-9, 0))],
        "This is the share of the reference words that were found.": [*_ratios([_common], _words)],
        "Inserted words cost nothing in your result: each costs 1.": [_rate(ins=0), _rate(ins=0, row=1)],
        "Left-out words cost nothing in your result: each costs 1.": [_rate(dele=0), _rate(dele=0, col=1)],
        "A wrong word costs nothing in your result: only the difference of the lengths is left.": _rate(sub=0),
        "A substitution costs 2 in your result, like two errors: it is one.": _rate(sub=2),
        "You count what the longest common subsequence leaves of the longer side, which need not be the edits.\n"
        f"{ALIGN}": lambda r, h: (_longest(r, h) - _common(r, h)) / len(r),
        "The first row of your table is not filled.\nD[0, j] is j insertions.": _rate(row=0),
        "The first column of your table is not filled.\nD[i, 0] is i deletions.": _rate(col=0),
        "The first row and column of your table are 0, not insertions and deletions.": _rate(row=0, col=0),
        "Equal words cost 1 in your result as well: to pair them is free.": _rate(hit=1),
        f"Your table ends too early: the last word of one side or of both is left out.\n{TABLE}": [
            *(lambda r, h, i=i, j=j: _edits(r[:i], h[:j]) / len(r) for i, j in [(-1, -1), (99, -1), (-1, 99)])
        ],
        f"The first word of both sides is left out.\n{TABLE}": _rate(lambda words: words[1:]),
        "Two neighbours that changed places count as one error: that takes two edits.": _rate(swap=True),
        "You change the words before you compare them (capitals, commas): `Read` is not `read`.": [
            _rate(lambda words: [w.lower() for w in words]),
            _rate(lambda words: [w.strip(".,") for w in words]),
        ],
        "Your result is in percent: return the ratio.": lambda r, h: 100 * _edits(r, h) / len(r),
        "Your result is rounded.": [*(lambda r, h, n=n: round(_edits(r, h) / len(r), n) for n in range(4))],
        "Your result is a whole number: // cuts off the decimals.": lambda r, h: _edits(r, h) // len(r),
        "This is 1 for a sentence with any error: count the errors.": lambda r, h: float(r != h),
        "This compares the lengths only: as many words can be the wrong ones.": lambda r, h: len(h) / len(r),
    },
    hints=[
        "Suppose you knew the fewest edits for all shorter beginnings of the two lists. What can the last step of the "
        "alignment be?",
        "D[i, j] for the first i words of the reference and the first j of the hypothesis. The last step pairs two "
        "words (0 if they are equal, else 1), deletes one or inserts one. At the edges D[i, 0] = i, D[0, j] = j.",
        "for i in 1..n, for j in 1..m: D[i, j] = min(D[i-1, j-1] + (reference[i-1] != hypothesis[j-1]), D[i-1, j] + 1, "
        "D[i, j-1] + 1); D[n, m] / n",
    ],
)
