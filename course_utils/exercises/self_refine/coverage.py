"""Tests of 11_self_refine: which of the given words a text contains, the outside verifier of constrained generation."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from course_utils.exercises.engine.calls import Mistake, StudentError
from course_utils.exercises.self_refine_lists import equal, plain, recognise_equal

Words = list[str]


def coverage(text: str, keywords: list[str]) -> tuple[float, list[str]]:
    """(share of the different keywords that occur in the text as whole words in any letter case, list of those that do not).

    A word of the text is a longest run of letters. No keywords: (1.0, []). The missing are as written and in order, each once.
    """
    words = set(re.findall(r"[a-z]+", text.lower()))
    wanted = list(dict.fromkeys(keywords))
    missing = [word for word in wanted if word.lower() not in words]
    return (len(wanted) - len(missing)) / len(wanted) if wanted else 1.0, missing


SUBSTRING = (
    "You look for the keyword anywhere in the text, also inside other words: `run` is not covered by `brunt`, nor `cat` by"
    " `catalogue`. Cut the text into words, and compare whole ones."
)
PREFIX = "You count a word that only BEGINS with the keyword. Inflected forms do not count here: `run` is not covered by `running`."
SUFFIX = "You count a word that only ENDS with the keyword: compare whole words."
REVERSED_IN = (
    "You ask whether a word of the text stands inside a keyword. Compare whole words: is the keyword one of the words?"
)
CASE = "You compare letter case too: `Dog` at the beginning of a sentence covers `dog`. Bring both to lower case."
CASE_TEXT = (
    "You bring the text to lower case and not the keywords: `Paris` is covered by `Paris`, and by `paris`. Lower both."
)
CASE_KEYS = "You bring the keywords to lower case and not the text: a sentence begins with a capital. Lower both."
PUNCTUATION = (
    "The punctuation sticks to your words: text.split() gives `dog,` with its comma, which is not `dog`. A word is a run of"
    " letters: re.findall(r'[a-z]+', text.lower())."
)
JOINED = (
    "You remove the punctuation at the ends of what lies between spaces. Words can also be joined by it, without a space:"
    " `dog-tired`, `sea/shore`. A word is a run of letters: re.findall(r'[a-z]+', text.lower())."
)
DELETED = (
    "You delete the punctuation, and words that it joined grow together: `sea/shore` becomes `seashore`. Replace it by a space,"
    " or take the runs of letters."
)
SOME = "You remove some punctuation and not all of it: no sign but letters belongs to a word. re.findall(r'[a-z]+', text.lower())."
TWICE = (
    "A keyword that is listed twice counts twice in your result: it counts once, in the share and among the missing."
)
TWICE_SHARE = "Your share counts a keyword that is listed twice as two. Divide by the number of DIFFERENT keywords; the missing are right."
OCCURRENCES = "You count the occurrences in the text: a keyword is covered or not, however often it occurs."
OF_TEXT = (
    "You divide by the words of the text: the share is that of the KEYWORDS. A long text is no worse than a short one."
)
SORTED = "The missing are sorted, or in another order: they stand in the order of keywords."
LOWERED = "The missing are in lower case: return them as they are written in keywords."
COVERED = "These are the words that ARE covered. A feedback should name what is missing."
MISSING_SHARE = "This is the share of the MISSING keywords: asked is the share that is covered."
COUNT = "Your first number is a count: divide it by the number of different keywords."
PERCENT = "Your share is in percent: it should be from 0 to 1."
BOOLEAN = "Your first value only says whether ALL keywords are covered (// cuts off): asked is the share of those that are, from 0 to 1."
ROUNDED = "Your share is rounded: return it as it is."
EMPTY = "Without keywords nothing can be missing: the stub says (1.0, []). Your function {}."
NUMBER = "Your second value is the number of the missing keywords: asked is the list of them."
SET = "Your missing keywords are a {}, without an order: return a list, in the order of keywords."
TEXT = "Your missing keywords are one string: return a list of words."
OTHER_ORDER = "The two values are in the other order: (share, missing)."
ONE = "Your function returns one value: the stub asks for two, (share, missing)."
CHANGED = "Your function changed keywords, a list that the caller still needs: work on a copy, list(keywords)."
RETURNS = "Return two values, (share, missing): a number and a list of words. Yours are {}."
EXTRA = "Your missing keywords hold {!r}, but the text covers it: {}"
LOST = "{!r} is missing in this text, and not in your list: {}"


def _words(text: str) -> Words:
    return re.findall(r"[a-z]+", text.lower())


def _by(covers: Callable[[str, str], bool], unique: bool = True) -> Callable:
    """The result if covers(text, keyword) says what is covered."""

    def wrong(text: str, keywords: Words) -> tuple:
        wanted = list(dict.fromkeys(keywords)) if unique else keywords
        missing = [word for word in wanted if not covers(text, word)]
        return (len(wanted) - len(missing)) / len(wanted) if wanted else 1.0, missing

    return wrong


def _then(form: Callable[[float, Words, Words], Any]) -> Callable:
    """A mistake in what is returned: form(share, missing, covered)."""

    def wrong(text: str, keywords: Words) -> Any:
        share, missing = coverage(text, keywords)
        return form(share, missing, [word for word in dict.fromkeys(keywords) if word not in missing])

    return wrong


def _stripped(text: str, signs: str) -> Words:
    return [word.strip(signs) for word in text.lower().split()]


SIGNS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


def _without(text: str, signs: str) -> Words:
    return "".join(sign for sign in text.lower() if sign not in signs).split()


def _occurrences(text: str, keywords: Words) -> tuple:
    found = [_words(text).count(word.lower()) for word in dict.fromkeys(keywords)]
    return sum(found) / max(len(found), 1), coverage(text, keywords)[1]


def _per_word(text: str, keywords: Words) -> tuple:
    share, missing = coverage(text, keywords)
    return (len(set(keywords)) - len(missing)) / max(len(_words(text)), 1), missing


MISTAKES = [
    (SUBSTRING, _by(lambda text, word: word.lower() in text.lower())),
    (SUBSTRING, _by(lambda text, word: word.lower() in text.lower(), unique=False)),
    (SUBSTRING, _by(lambda text, word: word in text)),
    (SUBSTRING, _by(lambda text, word: word in text, unique=False)),
    (SUBSTRING, _by(lambda text, word: word in text.lower())),
    (SUBSTRING, _by(lambda text, word: any(word.lower() in other for other in _words(text)))),
    (PREFIX, _by(lambda text, word: any(other.startswith(word.lower()) for other in _words(text)))),
    (
        PREFIX,
        _by(
            lambda text, word: any(
                other in (word.lower() + end for end in ("", "s", "ed", "ing", "er")) for other in _words(text)
            )
        ),
    ),
    (SUFFIX, _by(lambda text, word: any(other.endswith(word.lower()) for other in _words(text)))),
    (REVERSED_IN, _by(lambda text, word: any(other in word.lower() for other in _words(text)))),
    (CASE, _by(lambda text, word: word in re.findall(r"[A-Za-z]+", text))),
    (CASE, _by(lambda text, word: word in re.findall(r"[A-Za-z]+", text), unique=False)),
    (CASE_TEXT, _by(lambda text, word: word in _words(text))),
    (CASE_TEXT, _by(lambda text, word: word in _words(text), unique=False)),
    (CASE_KEYS, _by(lambda text, word: word.lower() in re.findall(r"[A-Za-z]+", text))),
    (PUNCTUATION, _by(lambda text, word: word.lower() in text.lower().split())),
    (PUNCTUATION, _by(lambda text, word: word.lower() in text.lower().split(), unique=False)),
    (PUNCTUATION, _by(lambda text, word: word in text.lower().split())),
    (PUNCTUATION, _by(lambda text, word: word in text.split())),
    (PUNCTUATION, _by(lambda text, word: word in text.split(), unique=False)),
    (PUNCTUATION, _by(lambda text, word: f" {word.lower()} " in f" {text.lower()} ")),
    (JOINED, _by(lambda text, word: word.lower() in _stripped(text, SIGNS))),
    (JOINED, _by(lambda text, word: word.lower() in _stripped(text, SIGNS), unique=False)),
    (SOME, _by(lambda text, word: word.lower() in _stripped(text, ".,"))),
    (SOME, _by(lambda text, word: word.lower() in _stripped(text, ".,!?"))),
    (SOME, _by(lambda text, word: word.lower() in _stripped(text, ".,!?;:"))),
    (SOME, _by(lambda text, word: word.lower() in _without(text, ".,"))),
    (SOME, _by(lambda text, word: word.lower() in _without(text, ".,!?"))),
    (SOME, _by(lambda text, word: word.lower() in _without(text, ".,!?;:"))),
    (DELETED, _by(lambda text, word: word.lower() in _without(text, SIGNS))),
    (DELETED, _by(lambda text, word: word.lower() in _without(text, SIGNS), unique=False)),
    (TWICE, _by(lambda text, word: word.lower() in _words(text), unique=False)),
    (
        TWICE,
        lambda text, keywords: (coverage(text, keywords)[0], [w for w in keywords if w.lower() not in _words(text)]),
    ),
    (
        TWICE_SHARE,
        lambda text, keywords: (
            _by(lambda t, w: w.lower() in _words(t), False)(text, keywords)[0],
            coverage(text, keywords)[1],
        ),
    ),
    (
        TWICE_SHARE,
        lambda text, keywords: (
            1 - len(coverage(text, keywords)[1]) / max(len(keywords), 1),
            coverage(text, keywords)[1],
        ),
    ),
    (OCCURRENCES, _occurrences),
    (OF_TEXT, _per_word),
    (SORTED, _then(lambda share, missing, covered: (share, sorted(missing)))),
    (SORTED, _then(lambda share, missing, covered: (share, missing[::-1]))),
    (SORTED, _then(lambda share, missing, covered: (share, sorted(missing, key=str.lower)))),
    (LOWERED, _then(lambda share, missing, covered: (share, [word.lower() for word in missing]))),
    (COVERED, _then(lambda share, missing, covered: (share, covered))),
    (COVERED, _then(lambda share, missing, covered: (1 - share, covered))),
    (MISSING_SHARE, _then(lambda share, missing, covered: (1 - share, missing))),
    (COUNT, _then(lambda share, missing, covered: (len(covered), missing))),
    (COUNT, _then(lambda share, missing, covered: (len(missing), missing))),
    (PERCENT, _then(lambda share, missing, covered: (100 * share, missing))),
    (BOOLEAN, _then(lambda share, missing, covered: (not missing, missing))),
    (BOOLEAN, _then(lambda share, missing, covered: (float(not missing), missing))),
    *(
        (ROUNDED, _then(lambda share, missing, covered, digits=digits: (round(share, digits), missing)))
        for digits in (4, 3, 2, 1)
    ),
    (NUMBER, _then(lambda share, missing, covered: (share, len(missing)))),
    (OTHER_ORDER, _then(lambda share, missing, covered: (missing, share))),
    (ONE, _then(lambda share, missing, covered: share)),
    (ONE, _then(lambda share, missing, covered: missing)),
]

PLAIN = [
    ("the dog will run home with a ball since yesterday", ["dog", "ball", "frisbee", "day", "homework"]),
    ("a man bears the brunt of a running joke", ["run", "man", "joke", "bear"]),
]
WRITTEN = [
    (
        'Dog-tired, "Ben" went home; the Cat (a catalogue!) stayed: why?',
        ["tired", "why", "cat", "ben", "home", "log", "stayed", "dog"],
    ),
    (
        "On the sea/shore of Nice...\nANNA sang,and paris listened",
        "Paris Anna sang shore seashore nice Oslo sing and".split(),
    ),
]
REPEATED = [
    ("zebra, apple, zebra and plum", ["pear", "zebra", "pear", "apple", "Fig", "zebra", "kiwi", "zebra"]),
    ("Bring tea. Tea!", ["tea", "milk", "tea"]),
]
ENDS = [("no keywords here", []), ("", ["dog", "Run"]), ("It is all there.", ["all", "it", "there"])]
CASES = [*PLAIN, *WRITTEN, *REPEATED, ENDS[1]]


def _parts(got: Any) -> tuple:
    """(share, missing) as a number and a tuple. Raises Mistake for anything else."""
    if not isinstance(got, tuple) or all(isinstance(word, str) for word in got):
        raise Mistake(ONE)
    if len(got) != 2:
        raise Mistake(RETURNS.format(f"{len(got)} values"))
    share, missing = got
    if isinstance(missing, (set, frozenset, dict)):
        raise Mistake(SET.format(type(missing).__name__))
    if isinstance(missing, str):
        raise Mistake(TEXT)
    if not isinstance(missing, tuple) or not equal(share, share) or isinstance(share, (str, tuple, bool, np.bool_)):
        raise Mistake(
            RETURNS.format(f"a {type(share).__name__} and a {type(missing).__name__}".replace("tuple", "list"))
        )
    return share, missing


def _check(answer: Callable, case: tuple) -> None:
    text, keywords = case
    try:
        got, wanted = plain(answer(text, keywords)), plain(coverage(text, keywords))
    except Mistake as mistake:
        raise (Mistake(CHANGED) if "changed its input" in str(mistake) else mistake) from None
    except StudentError as wrapped:
        if isinstance(wrapped.error, ZeroDivisionError) and not keywords:
            raise Mistake(EMPTY.format("divides by 0")) from None
        raise
    if equal(got, wanted):
        return
    try:
        results = [answer(*other) for other in CASES]
    except (StudentError, Mistake):  # it fails on another case, whose check says so
        results = []
    if results:
        recognise_equal(results, CASES, MISTAKES)
    if not keywords:
        raise Mistake(EMPTY.format(f"returns {answer(text, keywords)!r}"))
    share, missing = _parts(got)
    shown = f"the text is {text!r}."
    for word in missing:
        if word not in wanted[1]:
            raise Mistake(EXTRA.format(word, shown))
    for word in wanted[1]:
        if word not in missing:
            raise Mistake(LOST.format(word, shown))
    if not equal(missing, wanted[1]):
        raise Mistake(TWICE if len(missing) > len(wanted[1]) else SORTED)
    raise Mistake(f"The missing keywords are right; your share is {share}, expected {wanted[0]:.4g}: {shown}")


def coverage_plain(answer: Callable) -> None:
    """lower-case texts without punctuation; words that stand inside others do not count"""
    for case in PLAIN:
        _check(answer, case)


def coverage_written(answer: Callable) -> None:
    """capitals in the text and in the keywords, punctuation around words and between them"""
    for case in WRITTEN:
        _check(answer, case)


def coverage_repeated(answer: Callable) -> None:
    """keywords that are listed twice, words that occur twice, the order of the missing"""
    for case in REPEATED:
        _check(answer, case)


def coverage_ends(answer: Callable) -> None:
    """no keywords, an empty text, nothing missing"""
    for case in ENDS:
        _check(answer, case)
