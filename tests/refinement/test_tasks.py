"""The verifiers of the Self-Refine tasks: what they count, what they say, and that feedback and measure agree."""

import pytest

from course_utils.refinement import self_refine
from course_utils.refinement.tasks import (
    CODE,
    KIND,
    REWRITING,
    TIMES,
    WORDS,
    code_task,
    content_words,
    coverage,
    kept,
    kind_feedback,
    missing,
    number,
    program,
    run_tests,
    times_feedback,
    times_task,
    tone,
    with_tests,
    words_feedback,
    words_task,
)
from course_utils.sandbox.run_python import unavailable
from course_utils.shelf.chat import PROMPTS, roles

sandboxed = pytest.mark.skipif(bool(unavailable()), reason="no sandbox here")


@pytest.mark.parametrize(
    "text, lacking",
    [
        ("The DOG sleeps.", ["sleep", "sofa"]),  # any case, whole words only
        ("Dog, sleep, sofa!", []),
        ("hotdog sofas sleep_", ["dog", "sleep", "sofa"]),
        ("", ["dog", "sleep", "sofa"]),
    ],
)
def test_words_count_whole_and_in_any_case(text, lacking):
    words = ["dog", "sleep", "sofa"]
    assert missing(text, words) == lacking
    assert coverage(text, words) == pytest.approx(1 - len(lacking) / 3)
    assert (words_feedback(text, words) == PROMPTS["done"]) == (not lacking)
    assert all(word in words_feedback(text, words) for word in lacking)


@pytest.mark.parametrize("words", [[], "dog"])
def test_keywords_must_be_a_list(words):
    with pytest.raises(ValueError, match="must be a list of at least one word"):
        coverage("The dog.", words)


def test_special_characters_in_a_keyword_are_letters():
    assert missing("I know C++ well", ["c++"]) == [] and missing("abc", ["a.c"]) == ["a.c"]


@pytest.mark.parametrize(
    ("text", "found", "said"),
    [
        ("6 times 9 is 54.", 54, PROMPTS["done"]),
        ("The answer is 1,054", 1054, "1054 is wrong."),
        ("54 = 6 * 9", 9, "9 is wrong."),  # the last one counts
        ("Six times nine is fifty-four.", None, "There is no number in it."),
    ],
)
def test_the_last_number_is_the_answer(text, found, said):
    assert number(text) == found
    assert times_feedback(text, 6, 9) == said
    assert times_task(6, 9) == "What is 6 times 9?"


def test_content_words_are_neither_function_words_nor_negative():
    assert content_words("The movie is a terrible, terrible bore and I didn't like the actors") == [
        "movie",
        "like",
        "actors",
    ]


def test_kind_feedback_says_what_the_measures_say():
    source = "This movie is a terrible waste of good actors."
    assert tone(source) < -KIND and kept(source, source) == 1
    assert "sounds negative" in kind_feedback(source, source) and "speak of" not in kind_feedback(source, source)
    ignoring = "I am very happy, thank you!"
    assert tone(ignoring) >= KIND and kept(ignoring, source) == 0
    assert kind_feedback(ignoring, source) == "It should still speak of: movie, good, actors."
    assert "does not sound positive yet" in kind_feedback("This movie has actors.", source)
    assert kind_feedback("This movie is a wonderful gathering of good actors.", source) == PROMPTS["done"]


def test_a_sentence_with_nothing_to_keep_is_refused():
    with pytest.raises(ValueError, match="nothing of"):
        kept("fine", "It was awful.")


@pytest.mark.parametrize("prompts", [WORDS, REWRITING, TIMES, CODE])
def test_prompts_serve_the_roles_and_the_verifier_ends_the_loop(prompts):
    asked, answers = [], iter(["A dog.", "A dog can run."])

    def chat(prompt):
        asked.append(prompt)
        return next(answers)

    first, _, refine, stop = roles(chat, prompts)
    task, words = words_task(["dog", "run"]), ["dog", "run"]
    run = self_refine(task, first, lambda x, y: words_feedback(y, words), refine, stop)
    assert (
        run.stopped
        and run.answers == ["A dog.", "A dog can run."]
        and run.feedbacks[0] == "These words are missing: run."
    )
    assert all(piece in asked[1] for piece in (task, "A dog.", "These words are missing: run."))


def test_program_takes_the_first_block_or_all():
    assert program("Here:\n```python\ndef f():\n    return 1\n```\nand\n```\nx\n```") == "def f():\n    return 1"
    assert program("```\nx = 1") == "x = 1"  # cut off before its end
    assert program("\ndef f():\n    return 1\n") == "def f():\n    return 1"


@sandboxed
@pytest.mark.parametrize(
    "code, status, message",
    [
        ("def add(a, b):\n    return a + b", "ok", ""),
        ("def add(a, b):\n    return a - b", "error", "AssertionError: add(2, 3) should be 5 but is -1"),
        ("def plus(a, b):\n    return a + b", "error", "NameError: name 'add' is not defined"),
        ("raise SystemExit", "error", "it ended before the tests did"),
        (
            "print('all tests passed'); raise SystemExit",
            "ok",
            None,
        ),  # a program that lies is believed: see sandbox/run_python.py
    ],
)
def test_run_tests(code, status, message):
    ran = run_tests(code, with_tests([("add(2, 3)", 5), ("add('a', 'b')", "ab")]))
    assert ran.status == status and (message is None or ran.message == message)


def test_code_task():
    assert (
        code_task("add(a, b)", "returns the sum of a and b")
        == "Write a Python function add(a, b) that returns the sum of a and b."
    )
