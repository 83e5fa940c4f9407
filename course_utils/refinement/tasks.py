"""Tasks for Self-Refine whose answers a program can judge: a sentence with given words, a product, an unkind sentence
made kind, a Python function.

    task = words_task(["dog", "frisbee", "catch"])
    first, own_feedback, refine, stop = roles(local_chat(load("smollm2")), WORDS)
    run = self_refine(task, first, lambda x, y: words_feedback(y, ["dog", "frisbee", "catch"]), refine, stop)

Each verifier says exactly what its measure measures: an answer that pleases it need not please a reader.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from course_utils.sandbox.run_python import Ran, run_python
from course_utils.shelf.chat import PROMPTS

__all__ = [
    "CODE",
    "GENERIC",
    "KEPT",
    "KIND",
    "LISTS",
    "PROBLEMS",
    "REWRITING",
    "TIMES",
    "WORDS",
    "code_task",
    "content_words",
    "coverage",
    "kept",
    "kind_feedback",
    "missing",
    "number",
    "program",
    "rewriting_task",
    "run_tests",
    "times_feedback",
    "times_task",
    "tone",
    "with_tests",
    "words_feedback",
    "words_task",
]

# Found on eight other word lists and six training snippets. With chat.PROMPTS SmolLM2's "feedback" is the answer once
# more.
WORDS = PROMPTS | {
    "feedback": "You are a strict teacher. A pupil was told: {task}\nThe pupil wrote: {answer}\nWhich words did "
    "the pupil forget? "
    "If none, say only: {done}",
    "refine": "{task}\n{history}\nWrite another sentence that follows the feedback. Give only the answer.",
    "turn": "A bad answer: {answer}\nFeedback: {feedback}",
}
REWRITING = WORDS | {
    "feedback": "You are a strict teacher. A pupil was told: {task}\nThe pupil wrote: {answer}\nWhat in it still "
    "sounds negative, or is "
    "not said any more? Answer in one sentence. If nothing is wrong, say only: {done}",
}
TIMES = PROMPTS | {"generate": "{task} Answer with one short sentence."}
CODE = PROMPTS | {
    "generate": "{task}\nGive only the code.",
    "refine": "{task}\n{history}\nWrite the corrected program. Give only the code.",
    "turn": "This program is wrong:\n{answer}\nIt fails with: {feedback}",
}
GENERIC = "Try again, make it better."  # feedback without content, as in Madaan et al. (2023), table 2
KIND, KEPT = 0.05, 0.5  # the compound score from which VADER's authors call a text positive; half of the content words
PASSED = "all tests passed"

# The tasks whose recorded runs are data/self_refine.parquet and self_refine_code.parquet (data/recipes/self_refine.py).
LISTS = """dog frisbee catch throw/girl swing park/man horse ride hat/baby bottle milk drink/cook pan egg/bike road hill/children sing stage
farmer field tractor/woman umbrella rain walk/boy ball kick goal/bird wing fly sky/car wash hose water/player racket hit tennis
train station wait/fire wood night camp/kitchen knife vegetable cut/cat mouse chase/student book library study/snow ski mountain
couple dance music wedding/doctor patient hospital/paint wall brush/tree climb apple pick/plane land airport
crowd cheer team win/fisherman lake boat fish/letter write pen desk/sheep grass eat/guitar play street hat/ice skate rink fall
cake candle birthday blow/window open cold
king castle live/market fruit sell/phone call friend/bread butter table/moon shine window night/river bridge cross/coat hang door
shoe tie lace""".replace("\n", "/").split("/")  # noqa: E501

PROBLEMS = [
    ("add(a, b)", "returns the sum of a and b", [("add(2, 3)", 5), ("add(-1, 1)", 0)]),
    ("square(x)", "returns x times x", [("square(3)", 9), ("square(-2)", 4)]),
    ("reverse(s)", "returns the string s backwards", [("reverse('abc')", "cba"), ("reverse('')", "")]),
    ("is_even(n)", "returns True if n is even and False if not", [("is_even(4)", True), ("is_even(7)", False)]),
    (
        "largest(a, b, c)",
        "returns the largest of three numbers",
        [("largest(1, 3, 2)", 3), ("largest(-5, -2, -9)", -2)],
    ),
    (
        "count_vowels(s)",
        "returns how many letters of s are vowels (a, e, i, o, u, in any case)",
        [("count_vowels('Apple pie')", 4), ("count_vowels('xyz')", 0)],
    ),
    ("total(numbers)", "returns the sum of a list of numbers", [("total([1, 2, 3])", 6), ("total([])", 0)]),
    ("factorial(n)", "returns n factorial", [("factorial(0)", 1), ("factorial(5)", 120)]),
    (
        "is_palindrome(s)",
        "returns True if s reads the same backwards, ignoring case",
        [("is_palindrome('Level')", True), ("is_palindrome('ab')", False)],
    ),
    (
        "fibonacci(n)",
        "returns the n-th Fibonacci number, with fibonacci(0) = 0 and fibonacci(1) = 1",
        [("fibonacci(0)", 0), ("fibonacci(1)", 1), ("fibonacci(10)", 55)],
    ),
    (
        "unique(items)",
        "returns the items of a list without repetitions, in the order of their first appearance",
        [("unique([3, 1, 3, 2, 1])", [3, 1, 2]), ("unique([])", [])],
    ),
    (
        "word_counts(text)",
        "returns a dictionary from each word of text to the number of times it occurs",
        [("word_counts('a b a')", {"a": 2, "b": 1}), ("word_counts('')", {})],
    ),
    (
        "second_largest(numbers)",
        "returns the second largest different number of a list",
        [("second_largest([4, 1, 4, 3])", 3), ("second_largest([1, 2])", 1)],
    ),
    (
        "is_prime(n)",
        "returns True if n is a prime number and False if not",
        [("is_prime(2)", True), ("is_prime(1)", False), ("is_prime(21)", False), ("is_prime(23)", True)],
    ),
]


def words_task(keywords: Sequence[str]) -> str:
    """The task of constrained generation, as in CommonGen (Lin et al., 2020)."""
    return f"Write one sentence that contains all of these words: {', '.join(keywords)}."


def missing(text: str, keywords: Sequence[str]) -> list[str]:
    """The keywords that are not whole words of the text, in any letter case; "sleeps" is not "sleep".

    Raises ValueError: no keywords, or one string instead of a list."""
    if isinstance(keywords, str) or not len(keywords):
        raise ValueError('keywords must be a list of at least one word, as ["dog", "run"]')
    return [word for word in keywords if not re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE)]


def coverage(text: str, keywords: Sequence[str]) -> float:
    """The share of the keywords that the text contains, see `missing`; an answer is right at 1."""
    return 1 - len(missing(text, keywords)) / len(keywords)


def words_feedback(text: str, keywords: Sequence[str]) -> str:
    """The outside verifier's feedback: which words are missing, or that the answer is correct."""
    lacking = missing(text, keywords)
    return f"These words are missing: {', '.join(lacking)}." if lacking else PROMPTS["done"]


def times_task(a: int, b: int) -> str:
    """The task of the multiplication table: its answers are numbers, so that several answers can be compared."""
    return f"What is {a} times {b}?"


def number(text: str) -> int | None:
    """The last whole number in the text, "1,200" read as 1200; None if there is none."""
    found = re.findall(r"\d+", text.replace(",", ""))
    return int(found[-1]) if found else None


def times_feedback(text: str, a: int, b: int) -> str:
    """The outside verifier's feedback: that the number is wrong (not which one is right), or that it is correct."""
    if (found := number(text)) == a * b:
        return PROMPTS["done"]
    return "There is no number in it." if found is None else f"{found} is wrong."


def rewriting_task(source: str) -> str:
    """The task of turning an unkind sentence into a kind one."""
    return f'Rewrite this sentence so that it sounds positive and friendly: "{source}"'


@functools.cache
def _vader():
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


def tone(text: str) -> float:
    """VADER's compound score, -1 most negative .. 1 most positive, of the whole text. Source: Hutto and Gilbert
    (2014)."""
    return _vader().polarity_scores(text)["compound"]


def content_words(source: str) -> list[str]:
    """What a kind version of a sentence should still speak of: its words (lower case, from three letters up, each once)
    without function words (scikit-learn's English list) and without those that VADER's lexicon calls negative."""
    words = dict.fromkeys(re.findall(r"[a-z]+(?:'[a-z]+)?", source.lower().replace("’", "'")))
    return [
        word
        for word in words
        if len(word) > 2
        and word.split("'")[0] not in ENGLISH_STOP_WORDS
        and "n't" not in word
        and _vader().lexicon.get(word, 0) >= 0
    ]


def kept(text: str, source: str) -> float:
    """The share of the source's content words that the text contains.

    Raises ValueError: a source without any."""
    words = content_words(source)
    if not words:
        raise ValueError(
            f"nothing of {source!r} could be kept: take a sentence with content words that are not negative"
        )
    return coverage(text, words)


def kind_feedback(text: str, source: str) -> str:
    """The outside verifier's feedback: the tone below KIND, fewer than KEPT of the content words kept, or that the
    answer is correct."""
    said = (
        []
        if (score := tone(text)) >= KIND
        else [
            f"It still sounds negative (score {score:.1f})."
            if score <= -KIND
            else f"It does not sound positive yet (score {score:.1f})."
        ]
    )
    if kept(text, source) < KEPT:
        said.append(f"It should still speak of: {', '.join(missing(text, content_words(source)))}.")
    return " ".join(said) or PROMPTS["done"]


def code_task(signature: str, what: str) -> str:
    """The task of writing one Python function; what continues "that", as "returns the sum of a and b"."""
    return f"Write a Python function {signature} that {what}."


def program(answer: str) -> str:
    """The code in a chat model's answer: its first fenced block (closed or not), else all of it."""
    block = re.search(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", answer, re.DOTALL)
    return (block.group(1) if block else answer).strip("\n")


def with_tests(cases: Sequence[tuple[str, object]]) -> str:
    """Tests as Python text: an assert for each (call, expected value), which says what the call should have been and
    was."""
    lines = [
        f"_got = {call}\nassert _got == {value!r}, {f'{call} should be {value!r} but is '!r} + repr(_got)"
        for call, value in cases
    ]
    return "\n".join([*lines, f"print({PASSED!r})"])


def run_tests(code: str, tests: str) -> Ran:
    """Run the program and then the tests, in the sandbox only. "ok" is given only if the tests came to their end, so
    that a program that leaves early (SystemExit) has not passed."""
    ran = run_python(code + "\n\n" + tests + "\n")
    if ran.status == "ok" and not ran.stdout.endswith(PASSED + "\n"):
        return ran._replace(status="error", message="it ended before the tests did")
    return ran
