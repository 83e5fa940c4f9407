"""Which of the given words a text contains, the outside verifier of constrained generation."""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from numbers import Real
from typing import Any

from course_utils.exercises.engine import Exercise, case

_words = re.compile(r"[^\W\d_]+").findall


def coverage(text: str, keywords: list[str]) -> tuple[float, list[str]]:
    """(share of the different keywords that are words of the text, in any letter case; list of those that are not).

    A word is a longest run of letters. No keywords: (1.0, []). The missing are as written and in order, each once.
    """
    words = set(re.findall(r"[^\W\d_]+", text.lower()))  # runs of letters: \w without digits and _
    wanted = list(dict.fromkeys(keywords))
    missing = [word for word in wanted if word.lower() not in words]
    return (len(wanted) - len(missing)) / len(wanted) if wanted else 1.0, missing


def _by(*ways: Callable) -> list[Callable]:
    """The result if covers(text, keyword) says what is covered, with each keyword once, or as often as it is listed."""

    def made(covers: Callable, once: bool) -> Callable:
        def wrong(text: str, keywords: list[str]) -> tuple:
            wanted = list(dict.fromkeys(keywords)) if once else keywords
            missing = [word for word in wanted if not covers(text, word)]
            return (len(wanted) - len(missing)) / len(wanted) if wanted else 1.0, missing

        return wrong

    return [made(covers, once) for covers in ways for once in (True, False)]


def _in(cut: Callable) -> list[Callable]:
    """A keyword is covered if it is among cut(text), both in lower case."""
    return _by(lambda text, word: word.lower() in cut(text.lower()))


def _found(*patterns: str) -> list[Callable]:
    """The words are what a pattern finds."""
    return [_in(re.compile(pattern).findall)[0] for pattern in patterns]


def _stripped(signs: str) -> list[Callable]:
    return _in(lambda text: [word.strip(signs) for word in text.split()])


def _without(signs: str) -> list[Callable]:
    return _in(lambda text: "".join(sign for sign in text if sign not in signs).split())


def _then(form: Callable) -> Callable:
    """A mistake in what is returned: form(share, missing, covered)."""

    def wrong(text: str, keywords: list[str]) -> Any:
        share, missing = coverage(text, keywords)
        return form(share, missing, [word for word in dict.fromkeys(keywords) if word not in missing])

    return wrong


def _share(of: Callable) -> Callable:
    """A mistake in the share: of(missing, keywords, words of the text)."""
    return lambda text, keys: (of(coverage(text, keys)[1], keys, _words(text.lower())), coverage(text, keys)[1])


def _one_case(text: str, keywords: list[str]) -> tuple:
    return coverage(text, list({word.lower(): word for word in reversed(keywords)}.values())[::-1])


def _explain(got: Any, expected: tuple, text: str, keywords: list[str]) -> str:
    if not keywords:
        return f"{EMPTY} Your function returns {got!r}."
    if not isinstance(got, (list, tuple)) or all(isinstance(word, str) for word in got):
        return "Your function returns one value: the stub asks for two, (share, missing)."
    if len(got) != 2 or not isinstance(got[0], Real) or not isinstance(got[1], (list, tuple)):
        kinds = f"{len(got)} values: " + ", ".join(type(part).__name__ for part in got)
        return f"Return two values, (share, missing): a number and a list of words, in order. Yours are {kinds}."
    (share, missing), right = got, expected[1]
    for word in [*missing, *right]:
        if word not in right:
            return f"Your missing keywords hold {word!r}, but the text covers it: the text is {text!r}."
        if word not in missing:
            return f"{word!r} is missing in this text, and not in your list: the text is {text!r}."
    if list(missing) != right:
        return TWICE if len(missing) > len(right) else "The missing should stand in the order of keywords."
    wrong = f"The missing keywords are right; your share is {share:.4g}, expected {expected[0]:.4g}: text {text!r}."
    return "Your share is rounded: return it as it is." if abs(share - expected[0]) < 6e-3 else wrong


EMPTY = "Without keywords nothing can be missing: the stub says (1.0, [])."
TWICE = (
    "A keyword that is listed twice counts twice in your result.\nIt counts once, in the share and among the missing."
)
RUN = "A word is a run of letters, and every other sign parts words."
EXERCISE = Exercise(
    "self_refine.coverage",
    reference=coverage,
    atol=1e-6,
    rtol=1e-6,
    explain=_explain,
    errors={"ZeroDivisionError": f"{EMPTY} Your function divides by 0."},
    cases=[
        case("inside other words", "the dog will run home since yesterday", "dog run frisbee day homework".split()),
        case("at the beginning of others", "a man bears the brunt of a running joke", "run man joke bear".split()),
        case("signs", 'Dog-tired "Ben"; the Cat (a catalogue!): why?', "tired why cat ben log dog".split()),
        case("capitals", "sea/shore...\nANNA sang,and paris.", "Paris Anna shore seashore sing sang".split()),
        case("twice, in order", "zebra, apple and zebra", "pear zebra pear apple Fig zebra kiwi zebra".split()),
        case("words that occur twice", "Bring tea. Tea!", ["tea", "milk", "tea"]),
        case("an empty text", "", ["dog", "Run"]),
        case("no keywords", "no keywords here", [], names=False),
        case("nothing is missing", "It is all there.", ["all", "it", "there"], names=False),
        case("other signs than those of ASCII", "“Run!” he said—twice…", ["run", "said", "twice"], names=False),
        case("digits and _", "Route66 leads to the dog_house", ["route", "dog", "house", "cat"], names=False),
        case("an apostrophe", "The dog's ball isn’t here", ["dog", "ball", "isn"], names=False),
        case("letters beyond a to z", "Un café für Señora Ørsted", "café señora ørsted f caf".split(), names=False),
        case("other alphabets", "Łódź, Ελλάδα: мир!", ["łódź", "мир", "ελλάδα", "d"], names=False),
        case("Dog and dog are two keywords", "A dog ran.", ["Dog", "dog", "Cat", "cat", "Ran"], names=False),
    ],
    mistakes={
        "A keyword counts as covered inside other words too.\nCut the text into words: `brunt` is not `run`.": _by(
            lambda text, word: word.lower() in text.lower(), lambda text, word: word in text
        ),
        "A word that only begins or ends with the keyword covers it in your result.\nCompare whole words.": _by(
            lambda text, word: re.search(rf"(?<![^\W\d_]){word}", text, re.I),
            lambda text, word: re.search(rf"{word}(?![^\W\d_])", text, re.I),
            lambda text, word: re.search(rf"\b{word}(s|n?ing|ed|er)?\b", text, re.I),
        ),
        "You ask whether a word of the text stands inside a keyword.\nIs the keyword one of the words?": _by(
            lambda text, word: any(other in word.lower() for other in _words(text.lower()))
        ),
        "Letter case is compared too.\n`Dog` at the beginning of a sentence covers `dog`: lower both.": _by(
            lambda text, word: word in _words(text)
        ),
        "Only one of text and keywords is brought to lower case.\n`Paris` is covered by `Paris` and by `paris`.": _by(
            lambda text, word: word in _words(text.lower()), lambda text, word: word.lower() in _words(text)
        ),
        f"The punctuation sticks to your words: text.split() gives `dog,` with its comma, which is not `dog`.\n{RUN}": [
            *[*_in(str.split), *_by(lambda text, word: word in text.split())],
            _by(lambda text, word: f" {word.lower()} " in f" {text.lower()} ")[0],
        ],
        "Punctuation is removed only at the ends of what lies between spaces.\nIt can also join words, without a "
        f"space: `dog-tired`, `sea/shore`. {RUN}": _stripped(string.punctuation),
        f"Some punctuation is removed, and not all of it.\n{RUN}": [
            wrong for signs in (".,", ".,!?;:") for wrong in _stripped(signs) + _without(signs)
        ],
        "Words that a sign joined grow together: `sea/shore` becomes `seashore`.\n"
        "Replace the sign by a space, or take the runs of letters.": _without(string.punctuation),
        f"An apostrophe or a hyphen counts as a letter in your words.\n`dog's` and `dog-tired` cover `dog`. {RUN}": (
            _found(*[rf"(?:[^\W\d_]|[{signs}])+" for signs in ("'", "'’", "-", "'-")])
        ),
        "Digits or _ count as letters in your words, as in \\w, \\b and str.isalnum.\nRoute66 holds the word Route.": (
            _found(r"\w+", r"[^\W_]+", r"[^\W\d]+")
        ),
        f"The signs of string.punctuation are not all that parts words.\n{RUN}": _found(
            rf"[^\s{re.escape(string.punctuation)}]+"
        ),
        "Your letters are those of some alphabets only, a to z perhaps.\nstr.isalpha knows the letters of all, and so "
        "does \\w, which takes digits and _ besides.": _found("[a-z]+", "[a-zà-öø-ÿ]+"),
        TWICE: [
            _by(lambda text, word: word.lower() in _words(text.lower()))[1],
            lambda text, keys: (coverage(text, keys)[0], [word for word in keys if word in coverage(text, keys)[1]]),
            _share(lambda missing, keys, _: sum(word not in missing for word in keys) / len(keys)),
            _share(lambda missing, keys, _: 1 - len(missing) / len(keys)),
        ],
        "Keywords that differ in letter case alone count as one in your result.\nDog and dog are two.": _one_case,
        "This counts the occurrences in the text.\nA keyword is covered or not, however often it occurs.": _share(
            lambda missing, keys, words: sum(words.count(word.lower()) for word in set(keys)) / len(set(keys))
        ),
        "Your share is divided by the number of words of the text.\nIt is a share of the keywords.": _share(
            lambda missing, keys, words: (len(set(keys)) - len(missing)) / max(len(words), 1)
        ),
        "The missing are in lower case.\nReturn them as written.": _then(lambda s, m, _: (s, [*map(str.lower, m)])),
        "These are the words that are covered.\nA feedback should name what is missing.": [
            _then(lambda s, _, covered: (s, covered)),
            _then(lambda s, _, covered: (1 - s, covered)),
        ],
        "This is the share of the missing keywords.\nReturn that of the others.": _then(lambda s, m, _: (1 - s, m)),
        "Your first number is a count, or in percent.\nDivide by the number of different keywords, and no more.": [
            _then(lambda _, missing, covered: (len(covered), missing)),
            _then(lambda s, missing, _: (100 * s, missing)),
        ],
    },
    hints=[
        "First make the set of all words of the text. In what must text and keyword agree before they are compared?",
        "re.findall(r'[^\\W\\d_]+', text.lower()) gives the runs of letters: \\w without digits and _. "
        "dict.fromkeys(keywords) holds each keyword once, in order. Compare word.lower(), and return word.",
        "words = set(re.findall(r'[^\\W\\d_]+', text.lower())); wanted = list(dict.fromkeys(keywords)); missing = [w "
        "for w in wanted if w.lower() not in words]; the share of the others, 1.0 if wanted is empty",
    ],
)
