"""Tests of 02_negative_evidence: dist-n, the share of distinct n-grams."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from itertools import chain
from typing import Any

from course_utils.exercises.engine import Mistake, close
from course_utils.exercises.engine.calls import StudentError

Texts = Sequence[Sequence[Hashable]]


def distinct_n(texts: Texts, n: int) -> float:
    """dist-n: the number of distinct n-grams over the number of n-grams, of ALL texts together; 0.0 if there are none.

    texts: lists of tokens (numbers or strings); an n-gram lies within one text. Returns a number between 0 and 1: 1 if
    no n-gram comes twice.
    The paper, and DExperts' code for the 25 continuations of one prompt, divide by the number of tokens in place of
    n-grams: nearly the same for long texts, but for n > 1 a text without any repetition then stays below 1.
    Source: Li et al. (2016), "A diversity-promoting objective function for neural conversation models", section 5.1.
    """
    ngrams = [tuple(text[i : i + n]) for text in texts for i in range(len(text) - n + 1)]
    return len(set(ngrams)) / len(ngrams) if ngrams else 0.0


BORDER = (
    "An n-gram crosses the border between two texts: nobody wrote it. Collect the n-grams of each text, then put them"
    " together."
)
PER_TEXT = (
    "You averaged the ratios of the texts. Put all n-grams together first: twenty identical texts are each diverse, and"
    " together they are not."
)
TOKENS = "You divided by the number of TOKENS (so do Li et al.). Here it is the number of n-grams."
LAST = "An n-gram is missing at the end of each text: a text of L tokens has L - n + 1 n-grams, range(L - n + 1)."
PIECES = (
    "Too many n-grams: range(len(text)) also takes pieces shorter than n at the end of each text. There are L - n + 1."
)
COUNT = "This is a number of n-grams, not a share: divide by the number of all n-grams."
IN_TEXT = "Distinct within each text only: an n-gram that two texts share counts once."
JOINED = (
    'The tokens of an n-gram were glued to one string: "ab" + "c" is "a" + "bc", and two different n-grams become one.'
    " Keep them apart as a tuple."
)
UNHASHABLE = "A list cannot be put into a set: make each n-gram a tuple, tuple(text[i : i + n])."
EMPTY = "There is no n-gram at all here, and 0/0 is no number: return 0.0."


def _ngrams(text: Sequence[Hashable], n: int) -> list[tuple]:
    return [tuple(text[i : i + n]) for i in range(len(text) - n + 1)]


def _known(texts: Texts, n: int) -> list[tuple[str, float]]:
    """What misconceptions compute for texts with at least one n-gram; where n = 1, several of them are right."""
    by_text = [_ngrams(text, n) for text in texts]
    every, tokens = list(chain.from_iterable(by_text)), list(chain.from_iterable(texts))
    counts, flat = Counter(every), _ngrams(tokens, n)
    ratios = [len(set(ngrams)) / len(ngrams) for ngrams in by_text if ngrams]
    cut = [ngram for ngrams in by_text for ngram in ngrams[:-1]]
    pieces = [tuple(text[i : i + n]) for text in texts for i in range(len(text))]
    blocks = [tuple(text[i : i + n]) for text in texts for i in range(0, len(text) - n + 1, n)]
    glued = {"".join(map(str, ngram)) for ngram in every}
    up_to = [ngram for size in range(1, n + 1) for text in texts for ngram in _ngrams(text, size)]
    one_more = [ngram for text in texts for ngram in _ngrams(text, n + 1)]
    known = [
        (JOINED, len(glued) / len(every)),
        (BORDER, _share(flat)),
        (BORDER, len(set(flat)) / len(every)),
        (PER_TEXT, sum(ratios) / len(texts)),
        (PER_TEXT, sum(ratios) / len(ratios)),
        ("You added up the ratios of the texts. " + PER_TEXT, sum(ratios)),
        (TOKENS, len(counts) / len(tokens)),
        (LAST, _share(cut)),
        (LAST, len(set(cut)) / len(every)),
        ("This counts single tokens, whatever n is: a piece text[i : i + n] has n of them.", _share(tokens)),
        (PIECES, _share(pieces)),
        (COUNT, float(len(counts))),
        (COUNT, len(counts) / len(texts)),
        ("These are all n-grams, the distinct ones are not counted: set(...) keeps each once.", float(len(every))),
        ("The division is upside down: distinct n-grams over all n-grams.", len(every) / len(counts)),
        ("This is the share of repetitions: dist-n is 1 minus it.", 1 - _share(every)),
        ("In percent: give the share, between 0 and 1.", 100 * _share(every)),
        (
            "You counted the n-grams that occur exactly ONCE: one that occurs twice is still one distinct n-gram.",
            sum(count == 1 for count in counts.values()) / len(every),
        ),
        (IN_TEXT, sum(len(set(ngrams)) for ngrams in by_text) / len(every)),
        (
            "The order counts: (a, b) and (b, a) are two n-grams. Use tuples, not sets.",
            len({frozenset(Counter(ngram).items()) for ngram in every}) / len(every),
        ),
        (
            "The order counts: (a, b) and (b, a) are two n-grams. Use tuples, not sets.",
            len({frozenset(ngram) for ngram in every}) / len(every),
        ),
        ("The n-grams overlap: each position starts one, not every n-th.", _share(blocks)),
        ("You took all lengths up to n: only n-grams of exactly n tokens count.", _share(up_to)),
        ("One token too many in each: an n-gram has n tokens, text[i : i + n].", _share(one_more)),
        ("You counted distinct TEXTS, not n-grams.", len({tuple(text) for text in texts}) / len(texts)),
        ("Only the first text was read: did you return inside the loop?", ratios[0]),
        ("Only the last text was read: collect over all texts.", ratios[-1]),
        ("This is a whole number: // cuts the fraction off, use /.", float(len(counts) // len(every))),
    ]
    return known if n > 1 else [(hint, value) for hint, value in known if hint != TOKENS]


def _share(ngrams: list[tuple]) -> float:
    return len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def _check(answer: Callable, texts: Texts, n: int) -> None:
    right = distinct_n(texts, n)
    empty = not any(len(text) >= n for text in texts)
    got = _called(answer, texts, n)
    if not empty and isinstance(got, (int, float)):
        for hint, value in _known(texts, n):
            if math.isclose(got, value, abs_tol=1e-9, rel_tol=1e-6) and not math.isclose(value, right, abs_tol=1e-9):
                raise Mistake(f"{hint} (Yours is {got:.4g}, it should be {right:.4g}.)")
    if empty and isinstance(got, float) and math.isnan(got):
        raise Mistake(EMPTY)
    if empty and isinstance(got, (int, float)) and got:
        raise Mistake(f"{EMPTY} Yours is {got:.4g}: did a text that is shorter than n count as an n-gram?")
    if isinstance(got, (list, tuple, dict, set)):
        raise Mistake(f"One number for all texts together is asked, and you return a {type(got).__name__}.")
    try:
        close(got, right, atol=1e-6, what=f"dist-{n}")
    except Mistake as difference:
        raise Mistake(str(difference) + _in_general(texts, n)) from None


def _called(answer: Callable, texts: Texts, n: int) -> Any:
    try:
        return answer(texts, n)
    except StudentError as wrapped:
        said = str(wrapped.error)
        if isinstance(wrapped.error, ZeroDivisionError):
            raise Mistake(f"{EMPTY} (Your function divided by zero.)") from None
        if isinstance(wrapped.error, TypeError) and "unhashable" in said:
            raise Mistake(f"{UNHASHABLE} (Python said: {said}.)") from None
        if isinstance(wrapped.error, TypeError) and ("expected str" in said or "concatenate" in said):
            raise Mistake(f"Tokens may be numbers as well: {JOINED} (Python said: {said}.)") from None
        if isinstance(wrapped.error, IndexError):
            raise Mistake(f"i runs too far: the last n-gram begins at len(text) - n. (Python said: {said}.)") from None
        if isinstance(wrapped.error, AttributeError) and "'list'" in said:
            raise Mistake(
                f"Each text is a LIST of tokens already, nothing is to be split. (Python said: {said}.)"
            ) from None
        raise


def _in_general(texts: Texts, n: int) -> str:
    ngrams = [ngram for text in texts for ngram in _ngrams(text, n)]
    lengths = ", ".join(str(len(text)) for text in texts) or "no"
    return f" The texts have {lengths} tokens: {len(ngrams)} {n}-grams, of which {len(set(ngrams))} are distinct."


SENTENCES = [
    "the film was good and the film was long , so long".split(),
    "the film was good and so were we and so was it".split(),
    "good good good film was good was the plot".split(),
    "was the plot long ? the plot was long and the film was good".split(),
]


def distinct_bigrams(answer: Callable) -> None:
    """four sentences of different lengths, n = 2: what they share counts once"""
    _check(answer, SENTENCES, 2)


def distinct_other_n(answer: Callable) -> None:
    """the same sentences, n = 1 and n = 3"""
    _check(answer, SENTENCES, 3)
    _check(answer, SENTENCES, 1)


def distinct_numbers(answer: Callable) -> None:
    """token ids, and tokens that look alike when they are glued together: ("ab", "c") is not ("a", "bc")"""
    _check(answer, [[5, 7, 5, 7, 9], [1, 11, 3, 11, 1], [5, 7]], 2)
    _check(answer, [["ab", "c", "x"], ["a", "bc", "x"]], 2)


def distinct_short(answer: Callable) -> None:
    """texts shorter than n have no n-gram; none at all gives 0.0"""
    _check(answer, [["a", "b", "c"], ["a"], [], ["a", "b", "d", "a", "b", "c"]], 3)
    _check(answer, [["a", "b"], ["a"]], 3)
    _check(answer, [[], []], 1)
    _check(answer, [], 2)
