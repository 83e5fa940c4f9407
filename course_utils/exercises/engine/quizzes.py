"""Quizzes: jupyterquiz's questions and look, made to work offline, the same in every run, and before a cell is run.

A topic's quizzes.md holds its questions: the quiz's name, the questions, the answers (the right one with an x) and what
is said of each answer:

    ## interpolation.or_and

    ### Which rule lets one member veto a token?

    - [x] The log-linear rule
      A product is 0 if one factor is.
    - [ ] The linear rule
      A sum is 0 only if all terms are.

What is changed of jupyterquiz 2.9: its element id is random (here it is made from the quiz's name); its script loads
MathJax from a CDN in exported pages (here it does not); without its script, that is in a notebook that is not yet
trusted or run, it shows nothing (here the questions stand in the page as plain HTML, each answer opening on its
feedback, until the script takes over); its feedback tells right from wrong by colour alone (here in words too), and is
not announced to screen readers (here it is); an answer does not show that it has the keyboard (here it does).
"""

from __future__ import annotations

import difflib
import html
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jupyterquiz.dynamic.loader import load_questions_script
from jupyterquiz.dynamic.renderer import build_script, build_styles, render_div

from course_utils.exercises.engine.messages import Message
from course_utils.exercises.engine.registry import load_topic

__all__ = ["QUIZZES", "quiz", "quiz_bundle", "register_file", "register_quiz"]

Question = dict[str, Any]
QUIZZES: dict[str, list[Question]] = {}

FOCUS = "<style>.MCButton:focus-within { outline: 3px solid #222222; outline-offset: 2px; }</style>"
CDN = "script.src = 'https://cdn.jsdelivr.net/npm/mathjax@3/es5/tex-svg.js';"
SHOW = "show_questions(questions{id}, {id});"
COLORS = {
    "--jq-multiple-choice-bg": "#0b4f7d",
    "--jq-mc-button-bg": "#fafafa",
    "--jq-mc-button-border": "#e0e0e0",
    "--jq-mc-button-inset-shadow": "#555555",
    "--jq-incorrect-color": "#b04a00",
    "--jq-correct-color": "#00735a",
    "--jq-text-color": "#fafafa",
    "--jq-link-color": "#9abafa",
}


def register_quiz(name: str, questions: Sequence[Question]) -> None:
    """Make a quiz known by its name. Raises ValueError unless every question is complete (see `problems`)."""
    found = problems(questions)
    if found:
        raise ValueError(f"the quiz {name!r}: {found[0]}")
    QUIZZES[name] = [dict(question, answers=sorted(question["answers"], key=_order)) for question in questions]


def register_file(path: Path) -> None:
    """Make the quizzes of a quizzes.md known. Raises ValueError, with the line, for one that belongs to nothing."""
    quizzes: dict[str, list[Question]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        questions = next(reversed(quizzes.values())) if quizzes else None
        answers = questions[-1]["answers"] if questions else None
        if line.startswith("## "):
            quizzes[line[3:].strip()] = []
        elif line.startswith("### ") and questions is not None:
            questions.append({"question": line[4:].strip(), "type": "multiple_choice", "answers": []})
        elif line.startswith(("- [x] ", "- [ ] ")) and answers is not None:
            answers.append({"answer": line[6:].strip(), "correct": line[3] == "x", "feedback": ""})
        elif line.startswith("  ") and answers:
            answers[-1]["feedback"] = f"{answers[-1]['feedback']} {line.strip()}".strip()
        elif line.strip():
            raise ValueError(
                f"{path.name}, line {number}: {line.strip()[:60]!r} belongs to no quiz, question or answer"
            )
    for name, questions in quizzes.items():
        register_quiz(name, questions)


def _order(answer: Question) -> int:
    """Shuffled, but the same in every run: authors tend to write the right answer first. (With the number the right
    ones of all quizzes stand about equally often in each place.)"""
    return zlib.crc32(f"13{answer['answer']}".encode())


def problems(questions: Sequence[Question]) -> list[str]:
    """What is wrong with a quiz: a question needs two answers or more, one of them right, and feedback on each."""
    found = [] if questions else ["there is no question"]
    for number, question in enumerate(questions, start=1):
        answers = question.get("answers", [])
        if not question.get("question") or question.get("type") != "multiple_choice":
            found.append(f'question {number} needs a text and the type "multiple_choice"')
        if len(answers) < 2 or sum(answer.get("correct") is True for answer in answers) != 1:
            found.append(f"question {number} needs at least two answers, exactly one of them right")
        if any(not answer.get("feedback") or not answer.get("answer") or "correct" not in answer for answer in answers):
            found.append(f"question {number} has an answer without text, feedback or `correct`")
        if len({answer.get("feedback") for answer in answers}) < len(answers):
            found.append(f"question {number} has the same feedback on two answers")
    return found


def quiz(name: str) -> None:
    """Show the questions of that name. An unknown name gives one line with the closest names."""
    from IPython.display import display

    if name not in QUIZZES and re.fullmatch(r"[a-z_]\w*\.\w+", str(name)):
        try:
            load_topic(name.split(".")[0])
        except ModuleNotFoundError:
            pass
    if name not in QUIZZES:
        near = ", ".join(difflib.get_close_matches(str(name), QUIZZES, n=3, cutoff=0.4) or sorted(QUIZZES))
        Message(title=str(name), headline=f"there is no quiz of this name. Try: {near}", role="wrong").show()
        return
    display(quiz_bundle(name), raw=True)


def quiz_bundle(name: str) -> dict[str, str]:
    """The quiz as text/plain and text/html: the same at every call, no request to any other machine."""
    questions, element = _said_in_words(QUIZZES[name]), "quiz_" + re.sub(r"\W", "_", name)
    prefix, static, url = load_questions_script(questions, element)
    script = build_script(prefix, static, url, element, True)
    show = SHOW.format(id=element)
    if show not in script:
        raise RuntimeError("this version of jupyterquiz shows its questions in another way: use jupyterquiz 2.9.6.4")
    script = script.replace(CDN, "return;")
    # JupyterLab has a MathJax without a version: asking for its first letter is a page error, and it typesets by
    # itself.
    script = script.replace("typeof MathJax != 'undefined'", "false")
    script = script.replace(
        show, f"document.getElementById('{element}').replaceChildren(); {show} {_announce(element)}"
    )
    script = script.replace("</", "<\\/")  # inside a <script> element
    container = render_div(element, False, False, False, len(questions), 700, 10, "left")
    page = f"{container}{_plain_html(questions)}</div>{build_styles(element, COLORS)}{FOCUS}<script>{script}</script>"
    return {"text/plain": _plain_text(name, questions), "text/html": page}


def _said_in_words(questions: Sequence[Question]) -> list[Question]:
    """Feedback that says whether the answer is right: jupyterquiz leaves that to the colour."""
    said = {True: "Right. ", False: "Not this one. "}
    return [
        dict(q, answers=[dict(a, feedback=said[a["correct"]] + a["feedback"]) for a in q["answers"]]) for q in questions
    ]


def _announce(element: str) -> str:
    return f"document.querySelectorAll('#{element} .Feedback').forEach(f => f.setAttribute('role', 'status'));"


def _plain_html(questions: Sequence[Question]) -> str:
    """Each answer is a <details>: opening it shows the feedback, with no script at all."""
    parts = []
    for number, question in enumerate(questions, start=1):
        parts.append(f"<p><strong>{number}. {question['question']}</strong></p>")
        parts += [
            f"<details><summary>{answer['answer']}</summary><p>{answer['feedback']}</p></details>"
            for answer in question["answers"]
        ]
    return "".join(parts)


def _plain_text(name: str, questions: Sequence[Question]) -> str:
    lines = [f"Quiz {name}"]
    for number, question in enumerate(questions, start=1):
        lines.append(f"{number}. {_untagged(question['question'])}")
        lines += [
            f"   ({letter}) {_untagged(answer['answer'])}"
            for letter, answer in zip("abcdefgh", question["answers"], strict=False)
        ]
    return "\n".join(lines)


def _untagged(text: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", text))
