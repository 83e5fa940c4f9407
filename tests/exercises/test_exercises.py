"""Every exercise in three editions. The first (notebooks as shipped) is nbval's: see test_notebooks.py.

Conventions that a notebook follows:

- a cell tagged "setup" holds imports and small data that the exercise cells need; it loads no model, for it runs in
  editions 2 and 3 too;
- a code cell tagged "exercise" defines one function whose body is `raise NotImplementedError` (or sets one variable to
  `...`);
- the next code cell, tagged "check", holds one call `check("topic.name", that_function)`;
- "topic" is the notebook's name without its number, and course_utils/exercises/<topic>.py registers exactly the
  exercises that the notebook has, tests/wrong_answers/<topic>.py at least two wrong answers for each of its functions;
- the code of a wrong answer defines the function last (under the exercise cell's name or another) and may use the names
  of the notebook's set-up cells (always torch, F, math and np here);
- a cell tagged "claim" holds the paper's claim, and `quiz("topic.name")` shows a quiz.

Edition 2 puts what `solution(name)` shows in place of each stub: every check must pass, so a student may paste it.
Edition 3 puts wrong answers in place, one after the other: each must be rejected with its own hint. Both run in one
fresh kernel a notebook; there two wrong answers of each exercise, while all of them go through `check` in this process.
"""

from __future__ import annotations

import linecache
import math
import re
import zlib
from functools import cache

import numpy as np
import pytest
import torch
from editions import (
    NOTEBOOKS,
    calls,
    code_cells,
    defined_names,
    read,
    run_edition,
    solved_answers,
    tasks,
    topic_of,
    under_the_name,
    wrong_answers,
)

from course_utils.exercises.engine import OPEN, PASSED, WRONG, all_exercises, checker, run_check
from course_utils.exercises.engine.quizzes import QUIZZES, problems, quiz_bundle, register_quiz
from course_utils.exercises.engine.solutions import solution_source

EXERCISES = all_exercises()
TOPICS = sorted({exercise.topic for exercise in EXERCISES.values()})
DECLARED = [(name, known) for name, exercise in EXERCISES.items() for known in exercise.known]
WRONG_ANSWERS = [wrong for topic in TOPICS for wrong in wrong_answers(topic)]
by_topic = pytest.mark.parametrize("path", NOTEBOOKS, ids=topic_of)


def execute(code: str) -> dict:
    names = {"torch": torch, "Tensor": torch.Tensor, "F": torch.nn.functional, "math": math, "np": np}
    place = f"<answer {zlib.crc32(code.encode())}>"
    linecache.cache[place] = (len(code), None, code.splitlines(keepends=True), place)  # as Jupyter does for a cell
    exec(compile(code, place, "exec"), names)
    return names


# --- the registry, in this process -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXERCISES)
def test_the_reference_passes(name):
    report = run_check(name, EXERCISES[name].reference)
    assert report.status == PASSED, report.text
    assert f"{report.n_tests} of {report.n_tests} passed" in report.text


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_runs_when_it_is_pasted(name):
    report = run_check(name, execute(solution_source(EXERCISES[name].reference, "pasted"))["pasted"])
    assert report.status == PASSED, report.text


@pytest.mark.parametrize("name", EXERCISES)
def test_an_exercise_has_hints_and_a_documented_reference(name):
    exercise = EXERCISES[name]
    assert re.fullmatch(r"[a-z_]+\.[a-z_]\w*", name)
    assert exercise.hints and len(set(exercise.hints)) == len(exercise.hints)
    assert not exercise.is_function or (exercise.reference.__doc__ or "").strip()


@pytest.mark.parametrize("wrong", WRONG_ANSWERS, ids=lambda wrong: f"{wrong.exercise}: {wrong.label}")
def test_a_wrong_answer_gets_its_own_hint(wrong):
    names = execute(wrong.code)
    answer = names[defined_names(wrong.code)[-1]]  # helpers may come first
    checker._SESSION.failures.clear()
    first, second, third = (run_check(wrong.exercise, answer).text for _ in range(3))
    assert WRONG in first, first
    assert wrong.says in first or wrong.says in second, second
    assert second == third


FUNCTIONS = [name for name, exercise in EXERCISES.items() if exercise.is_function]


def _stub(*args):
    raise NotImplementedError


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_stub_is_not_attempted(name):
    assert run_check(name, _stub).status == OPEN


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    "answer",
    [
        lambda *args: None,
        lambda *args: "text",
        lambda *args: {}["not today"],
        lambda *args: torch.full((2, 3, 5), math.nan),
        lambda *args: torch.zeros(0),
        lambda *args: torch.tensor([1j, 1j]),
        lambda *args: object(),
        lambda *args: (each for each in args),
        lambda: 1,
    ],
    ids=["nothing", "text", "error", "nan", "empty", "complex", "object", "generator", "no arguments"],
)
def test_an_answer_of_another_kind_gets_a_sentence_of_its_own(name, answer):
    report = run_check(name, answer)
    assert report.status == WRONG and "could not be used" not in report.text, report.text


@pytest.mark.parametrize(("name", "known"), DECLARED, ids=lambda value: getattr(value, "says", value)[:60])
def test_a_declared_mistake_gets_its_own_hint(name, known):
    """Each function that makes the mistake is a wrong answer: it is named at once, and the pointer comes the second
    time."""
    for wrong in known.wrong:
        checker._SESSION.failures.clear()
        first, second = (run_check(name, wrong) for _ in range(2))
        assert (first.status, second.status) == (WRONG, WRONG), first.text
        assert known.says in first.text and known.says in second.text, first.text
        assert not known.pointer or (known.pointer not in first.text and known.pointer in second.text), second.text


def test_every_function_has_at_least_two_wrong_answers():
    assert EXERCISES and not {wrong.exercise for wrong in WRONG_ANSWERS} - set(EXERCISES)
    for name, exercise in EXERCISES.items():
        labels = [wrong.label for wrong in WRONG_ANSWERS if wrong.exercise == name]
        assert len(set(labels)) == len(labels)
        known = sum(len(each.wrong) for each in exercise.known) + len(labels)
        assert not exercise.is_function or known >= 2, f"{name} has {known} wrong answers"


def test_wrong_answers_say_something_specific():
    for wrong in WRONG_ANSWERS:
        assert len(wrong.says) >= 8, f"{wrong.label}: `says` is too short to show that the hint is the right one"


# --- quizzes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", QUIZZES)
def test_a_quiz_has_one_right_answer_and_feedback_on_all(name):
    assert problems(QUIZZES[name]) == []


@pytest.mark.parametrize("name", QUIZZES)
def test_a_quiz_is_the_same_twice_and_asks_no_other_machine(name):
    bundle = quiz_bundle(name)
    assert bundle == quiz_bundle(name) and set(bundle) == {"text/plain", "text/html"}
    page = bundle["text/html"]
    assert not re.search(r"https?://(?!www\.w3\.org)", page) and not re.search(
        r"\b(fetch|XMLHttpRequest|import)\s*\(", page
    )
    assert page.count("</script>") == 1 and page.count("<script") == 1
    for question in QUIZZES[name]:
        for answer in question["answers"]:
            said = ("Right. " if answer["correct"] else "Not this one. ") + answer["feedback"]
            assert f"<details><summary>{answer['answer']}</summary><p>{said}</p></details>" in page


def score(choose) -> tuple[float, float]:
    """(the share of all questions that one gets right by choosing so, what guessing gives)"""
    questions = [question["answers"] for quiz in QUIZZES.values() for question in quiz]
    right = [choose(answers)["correct"] for answers in questions]
    return np.mean(right), np.mean([1 / len(answers) for answers in questions])


@pytest.mark.parametrize(
    "choose",
    [
        lambda answers: max(answers, key=lambda one: len(one["answer"])),
        lambda answers: min(answers, key=lambda one: len(one["answer"])),
        lambda answers: sorted(answers, key=lambda one: len(one["answer"]))[len(answers) // 2],
        lambda answers: answers[0],
        lambda answers: answers[1],
        lambda answers: answers[-1],
    ],
    ids=["the longest", "the shortest", "the middle one by length", "the first", "the second", "the last"],
)
def test_length_and_place_do_not_give_the_right_answer_away(choose):
    mine, guessing = score(choose)
    assert mine <= 1.25 * guessing


def test_incomplete_quizzes_are_refused():
    right, wrong = (
        {"answer": "a", "correct": True, "feedback": "yes"},
        {"answer": "b", "correct": False, "feedback": "no"},
    )
    question = {"question": "?", "type": "multiple_choice", "answers": [right, wrong]}
    assert problems([question]) == []
    for answers in (
        [right],
        [right, right],
        [wrong, wrong],
        [right, {**wrong, "feedback": ""}],
        [right, {"answer": "b", "correct": False}],
    ):
        assert problems([{**question, "answers": answers}])
    with pytest.raises(ValueError, match="no question"):
        register_quiz("toy.empty", [])


# --- the notebooks ---------------------------------------------------------------------------------------------------


@by_topic
def test_notebook_and_registry_have_the_same_exercises(path):
    names = [task.name for task in tasks(read(path))]
    assert len(set(names)) == len(names)
    assert sorted(names) == sorted(name for name, exercise in EXERCISES.items() if exercise.topic == topic_of(path))


@by_topic
def test_notebook_shows_the_quizzes_of_its_topic(path):
    shown = [call.args[0].value for cell in code_cells(read(path)) for call in calls(cell.source, "quiz")]
    assert sorted(shown) == sorted(name for name in QUIZZES if name.split(".")[0] == topic_of(path))


def test_every_topic_has_its_notebook():
    assert sorted({name.split(".")[0] for name in [*EXERCISES, *QUIZZES]}) == sorted(
        topic_of(path) for path in NOTEBOOKS
    )


@pytest.mark.slow
@by_topic
def test_edition_2_solved(path):
    judge_solved(solved_answers(read(path)), said_in_one_kernel(path)[0])


@pytest.mark.slow
@by_topic
def test_edition_3_wrong_answers(path):
    judge_wrong(read(path), some_wrong_answers(path), said_in_one_kernel(path)[1])


def some_wrong_answers(path) -> list:
    """The first and the last of each exercise. All of them are put through `check` above, in this process."""
    by_exercise: dict[str, list] = {}
    for wrong in wrong_answers(topic_of(path)):
        by_exercise.setdefault(wrong.exercise, []).append(wrong)
    return [wrong for wrongs in by_exercise.values() for wrong in (wrongs[0], wrongs[-1])]


@cache
def said_in_one_kernel(path) -> tuple[list[str], list[str]]:
    """What the checks say of the solutions, and of the stubs and wrong answers. Starting a kernel takes longer than
    either."""
    solved, wrong = solved_answers(read(path)), stubs_and_wrong(read(path), some_wrong_answers(path))
    said = run_edition(read(path), [*solved, *wrong], path.parent)
    return said[: len(solved)], said[len(solved) :]


def stubs_and_wrong(nb, wrongs) -> list:
    """The stubs first (not attempted yet), then every wrong answer."""
    by_name = {task.name: task for task in tasks(nb)}
    answers = [(task, task.stub) for task in by_name.values()]
    return answers + [(task := by_name[w.exercise], under_the_name(task.variable, w.code)) for w in wrongs]


def judge_solved(answers, said) -> None:
    for (task, code), text in zip(answers, said, strict=True):
        n_tests = len(EXERCISES[task.name].tests)
        assert f"{task.name}: {n_tests} of {n_tests} passed" in text, (
            f"the solution of {task.name} is not accepted:\n{code}\n{text}"
        )


def judge_wrong(nb, wrongs, said) -> None:
    by_name = {task.name: task for task in tasks(nb)}
    for task, text in zip(by_name.values(), said, strict=False):
        assert f"{task.name}: {OPEN}" in text, f"the stub of {task.name}: {text}"
    for wrong, text in zip(wrongs, said[len(by_name) :], strict=True):
        assert f"{wrong.exercise}: {WRONG}" in text, f'"{wrong.label}" was not rejected as a wrong answer:\n{text}'
        assert wrong.says in text, f'"{wrong.label}" should be told "{wrong.says}", but was told:\n{text}'
