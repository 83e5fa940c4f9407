"""dist-n: the share of distinct n-grams."""

from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import chain
from typing import Any

from course_utils.exercises.engine import Exercise, case

Texts = Sequence[Sequence[Hashable]]


def distinct_n(texts: Texts, n: int) -> float:
    """dist-n: the number of distinct n-grams over the number of n-grams, of ALL texts together; 0.0 if there are none.

    texts: lists of tokens (numbers or strings); an n-gram lies within one text. Returns a number between 0 and 1: 1 if
    no n-gram comes twice.
    The paper, and DExperts' code for the 25 continuations of one prompt, divide by the number of tokens instead of
    n-grams: nearly the same for long texts, but for n > 1 a text without any repetition then stays below 1.
    Source: Li et al. (2016), "A diversity-promoting objective function for neural conversation models", section 5.1.
    """
    ngrams = [tuple(text[i : i + n]) for text in texts for i in range(len(text) - n + 1)]
    return len(set(ngrams)) / len(ngrams) if ngrams else 0.0


# The wrong answers below divide by zero where there is no n-gram: the case without any then tells nothing of them.
def _by_text(texts: Texts, n: int, cut: int = 0) -> list[list[tuple]]:
    return [[tuple(text[i : i + n]) for i in range(len(text) - n + 1 - cut)] for text in texts]


def _all(texts: Texts, n: int, cut: int = 0) -> list[tuple]:
    return list(chain(*_by_text(texts, n, cut)))


def _tokens(texts: Texts) -> list[Hashable]:
    return list(chain(*texts))


def _share(ngrams: Sequence, over: Sequence | None = None) -> float:
    return len(set(ngrams)) / len(ngrams if over is None else over)


def _ratios(texts: Texts, n: int) -> list[float]:
    return [_share(ngrams) for ngrams in _by_text(texts, n)]


def _glued(by: str, texts: Texts, n: int) -> float:
    return len({by.join(map(str, ngram)) for ngram in _all(texts, n)}) / max(1, len(_all(texts, n)))


def _or_else(texts: Texts, n: int, empty: float) -> float:
    return distinct_n(texts, n) if _all(texts, n) else empty


def _explained(got: Any, expected: float, texts: Texts, n: int) -> str:
    if isinstance(got, (list, tuple, dict, set)):
        return f"One number for all texts together is asked, and you return a {type(got).__name__}."
    if not isinstance(got, (int, float)):
        return ""
    ngrams = _all(texts, n)
    if not ngrams:
        return f"There is no n-gram at all here: the result should be 0.0, and yours is {got:.4g}."
    return (
        f"dist-{n} is {got:.4g}, expected {expected:.4g}. The texts have {', '.join(str(len(text)) for text in texts)}"
        f" tokens: {len(ngrams)} {n}-grams, of which {len(set(ngrams))} are distinct."
    )


UNGLUED = "Two different n-grams become one in that way. Keep the tokens apart, as a tuple."
EMPTY = "There is no n-gram at all here, and 0/0 is no number: return 0.0."
SENTENCES = [
    "the film was good and the film was long , so long".split(),
    "the film was good and so were we and so was it".split(),
    "good good good film was good was the plot".split(),
    "was the plot long ? the plot was long and the film was good".split(),
]
EXERCISE = Exercise(
    "negative_evidence.distinct",
    reference=distinct_n,
    what="the share",
    atol=1e-6,
    rtol=1e-6,
    cases=[
        case("four sentences of different lengths: what they share counts once", SENTENCES, 2),
        case("the same sentences, three tokens at a time", SENTENCES, 3),
        case("the same sentences, single tokens", SENTENCES, 1),
        case("tokens are numbers", [[5, 7, 5, 7, 9], [1, 11, 3, 11, 1], [5, 7]], 2),
        case(
            "tokens that look alike when glued together",
            [["ab", "c"], ["a", "bc"], ["New York", "x"], ["New", "York x"]],
            2,
        ),
        case("texts shorter than n have no n-gram", [["a", "b", "c"], ["a"], [], ["a", "b", "d", "a", "b", "c"]], 3),
        case("all texts are shorter than n: 0.0", [["a", "b"], ["a"]], 3),
        case("empty texts: 0.0", [[], []], 1),
        case("no text at all: 0.0", [], 2),
    ],
    errors={
        "ZeroDivisionError": EMPTY,
        "TypeError.*unhashable": "A list cannot be put into a set: make each n-gram a tuple.",
        "TypeError.*(expected str|concatenate)": f"Tokens may be numbers as well, and yours are glued. {UNGLUED}",
        "IndexError": "i runs too far: the last n-gram begins at len(text) - n.",
        "AttributeError.*'list'": "Each text is a list of tokens already, nothing is to be split.",
    },
    explain=_explained,
    mistakes={
        EMPTY: [lambda t, n: _or_else(t, n, 1.0), lambda t, n: _or_else(t, n, float("nan"))],
        f'The tokens of an n-gram were glued to one string: "ab" + "c" is "a" + "bc".\n{UNGLUED}': [
            lambda t, n: _glued("", t, n),
            lambda t, n: _glued(" ", t, n),
        ],
        "An n-gram crosses the border between two texts: nobody wrote it.\n"
        "Collect the n-grams of each text, then put them together.": [
            lambda t, n: distinct_n([_tokens(t)], n),
            lambda t, n: _share(_all([_tokens(t)], n), over=_all(t, n)),
        ],
        "The ratios of the texts are averaged, or added up: twenty identical texts are each diverse, and together they"
        " are not.\nPut all n-grams together first.": [
            lambda t, n: sum(_ratios(t, n)) / len(t),
            lambda t, n: sum(_ratios(t, n)),
        ],
        "You divided by the number of tokens (so do Li et al.), not of n-grams.": lambda t, n: _share(
            _all(t, n), over=_tokens(t)
        ),
        "An n-gram is missing at the end of each text.\nA text of L tokens has L - n + 1 n-grams.": [
            lambda t, n: _share(_all(t, n, cut=1)),
            lambda t, n: _share(_all(t, n, cut=1), over=_all(t, n)),
        ],
        "This counts single tokens, or pairs, whatever n is.": [
            lambda t, n: distinct_n(t, 1),
            lambda t, n: distinct_n(t, 2),
        ],
        "Too many n-grams: pieces shorter than n at the end of each text are among them.\n"
        "A text of L tokens has L - n + 1 n-grams.": lambda t, n: _share(
            [tuple(text[i : i + n]) for text in t for i in range(len(text))]
        ),
        "This is a number of n-grams, not a share of all n-grams.": [
            lambda t, n: len(set(_all(t, n))),
            lambda t, n: len(set(_all(t, n))) / len(t),
            lambda t, n: len(_all(t, n)),
        ],
        "The division is upside down: distinct n-grams over all n-grams.": lambda t, n: 1 / _share(_all(t, n)),
        "This is the share of repetitions: dist-n is 1 minus it.": lambda t, n: 1 - _share(_all(t, n)),
        "In percent: give the share, between 0 and 1.": lambda t, n: 100 * _share(_all(t, n)),
        "You counted the n-grams that occur exactly once: one that occurs twice is still one distinct "
        "n-gram.": lambda t, n: sum(count == 1 for count in Counter(_all(t, n)).values()) / len(_all(t, n)),
        "Distinct within each text only: an n-gram that two texts share counts once.": lambda t, n: (
            sum(len(set(ngrams)) for ngrams in _by_text(t, n)) / len(_all(t, n))
        ),
        "The order counts: (a, b) and (b, a) are two n-grams.\nUse tuples, not sets.": lambda t, n: _share(
            [frozenset(Counter(ngram).items()) for ngram in _all(t, n)]
        ),
        "The n-grams overlap: each position starts one, not every n-th.": lambda t, n: _share(
            [ngram for ngrams in _by_text(t, n) for ngram in ngrams[::n]]
        ),
        "You took all lengths up to n: only n-grams of exactly n tokens count.": lambda t, n: _share(
            [ngram for size in range(1, n + 1) for ngram in _all(t, size)]
        ),
        "One token too many in each: an n-gram has n tokens.": lambda t, n: _share(_all(t, n + 1)),
        "Only the first or the last text was read: did you return inside the loop?": [
            lambda t, n: distinct_n(t[:1], n),
            lambda t, n: distinct_n(t[-1:], n),
        ],
        "This is a whole number: // cuts the fraction off.": lambda t, n: len(set(_all(t, n))) // len(_all(t, n)),
    },
    hints=[
        "Which n-grams does one text of L tokens have, and how many? What if L < n?",
        "One list for the n-grams of all texts: text[i : i + n] for i in range(len(text) - n + 1). Then its distinct"
        " elements (a set) over its length.",
        "ngrams = [tuple(text[i : i + n]) for text in texts for i in range(len(text) - n + 1)]; len(set(ngrams)) /"
        " len(ngrams), and 0.0 if the list is empty.",
    ],
)
