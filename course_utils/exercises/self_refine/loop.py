"""The loop of Self-Refine: who is called when and with what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from course_utils.exercises.engine import ANYTHING, Exercise, Mistake, alike
from course_utils.exercises.self_refine._loop_world import ROUND, World


def self_refine_loop(
    x: Any, generate: Callable, feedback: Callable, refine: Callable, stop: Callable, max_rounds: int
) -> tuple[list, list]:
    """(answers, feedbacks): y_0 = generate(x), fb_t = feedback(x, y_t), y_{t+1} = refine(x, all pairs so far).

    stop(fb_t, t) ends it before a rewrite, max_rounds after one. Source: Madaan et al. (2023), algorithm 1.
    """
    answers, feedbacks = [generate(x)], []
    for t in range(max_rounds):
        feedbacks.append(feedback(x, answers[-1]))
        if stop(feedbacks[-1], t):
            break
        answers.append(refine(x, list(zip(answers, feedbacks))))
    return answers, feedbacks


def _explain(got: dict, right: dict, x: Any, generate: Callable, *rest: Any) -> str:
    if generate.__self__.clears:
        raise Mistake("refine has emptied the list that it got, and your own record is gone with it.", OWN)
    names = [name for name, *_ in got["calls"] if name != "stop"]
    if ("feedback", "feedback") in zip(names, names[1:]):
        raise Mistake("feedback is called twice in one round: keep its result, for stop and for the history.", COSTS)
    for number, (mine, wanted) in enumerate(zip([*got["calls"], END], [*right["calls"], END]), start=1):
        if not alike(mine, wanted):
            return f"Call {number} of your function is {_shown(mine)}, and should be {_shown(wanted)}. {ROUND}"
    if got["changed"]:
        raise Mistake(
            "You hand refine the same list each time and append to it afterwards, so that what refine has kept from an "
            "earlier round changes under its hands.",
            OWN,
        )
    return f"The calls are right. {RETURNS} Yours is {str(got['result'])[:200]}, expected {right['result']}."


def _shown(call: tuple) -> str:
    return call[0] if call is END else f"{call[0]}({', '.join(str(a) if a == 'x' else repr(a) for a in call[1:])})"


def _loop(
    steps: str = "fsr",
    last: str = "",
    form: Callable = lambda a, fb: ANYTHING,
    judged: Callable = lambda x, a: (x, a[-1]),
    refined: Callable = lambda x, a, fb: (x, list(zip(a, fb))),
    asked: Callable = lambda a, fb, t: (fb[-1], t),
    ends: Callable = lambda a, fb: False,
    rounds: Callable = lambda n: n,
    end: bool = True,
) -> Callable:
    """The loop with a part replaced. a, fb: what was said so far; steps: feedback, stop, refine, generate, end."""

    def run(x: Any, generate: Callable, feedback: Callable, refine: Callable, stop: Callable, n: int) -> Any:
        a, fb = [generate(x)], []
        for t in range(rounds(n) + bool(last)):
            for step in steps if t < n or not last else last:
                if step == "f":
                    fb.append(feedback(*judged(x, a)))
                elif step in "rg":
                    a.append(refine(*refined(x, a, fb)) if step == "r" else generate(x))
                elif ends(a, fb) if step == "e" else (given := asked(a, fb, t)) and stop(*given) == end:
                    return form(a, fb)
        return form(a, fb)

    return run


def _many(pointer: str, found: dict[str, list], make: Callable) -> dict[str, list]:
    return {f"{says}\n{pointer}": [make(way) for way in ways] for says, ways in found.items()}


END = ("the end",)
OWN = "Give it a list of its own: list(history), or list(zip(answers, feedbacks))."
COSTS = "A second call costs, and a model that samples says something else."
RETURNS = "Return two lists, (answers, feedbacks), of all that was said, the oldest first."
PAIRS = "The history should be [(y_0, fb_0), ..., (y_t, fb_t)]: all pairs, the oldest first, or mistakes come back."
HISTORIES = {
    "refine gets only the newest pair.": [lambda a, fb: [(a[-1], fb[-1])]],
    "refine gets the newest answer and feedback as one bare pair.": [lambda a, fb: (a[-1], fb[-1])],
    "refine gets an empty history.": [lambda a, fb: []],
    "refine gets the first pair alone in every round.": [lambda a, fb: [(a[0], fb[0])]],
    "The history lacks the newest pair, which comes too late.": [lambda a, fb: list(zip(a, fb))[:-1]],
    "The history holds the answers without the feedback on them.": [lambda a, fb: a],
    "The history holds the feedback without the answers that it is about.": [lambda a, fb: fb],
    "The history has the newest pair first.": [lambda a, fb: list(zip(a, fb))[::-1]],
    "The pairs of the history are (feedback, answer).": [lambda a, fb: list(zip(fb, a))],
    "The history is one flat list.": [lambda a, fb: [text for pair in zip(a, fb) for text in pair]],
    "The history is a pair of two lists.": [lambda a, fb: (a, fb)],
    "All pairs of the history have y_0 as their answer.": [lambda a, fb: [(a[0], said) for said in fb]],
}
RESULTS = {
    "Your function returns the last answer alone.": [lambda a, fb: a[-1]],
    "Your first value is the last answer alone.": [lambda a, fb: (a[-1], fb)],
    "Your function returns the answers without the feedbacks.": [lambda a, fb: a],
    "The list of answers begins with the first rewrite: y_0 belongs to it.": [lambda a, fb: (a[1:], fb)],
    "The last answer is missing.": [lambda a, fb: (a[: len(fb)], fb), lambda a, fb: (a[:-1], fb)],
    "The feedback that ended the loop is missing.": [lambda a, fb: (a, fb[: len(a) - 1])],
    "Your function returns the pairs of the history.": [
        *[lambda a, fb: list(zip(a, fb)), lambda a, fb: (a[-1], list(zip(a, fb)))],
    ],
    "The two lists are in the other order.": [lambda a, fb: (fb, a)],
    "Your lists have the newest first.": [lambda a, fb: (a[::-1], fb[::-1])],
    "Your function returns three values.": [lambda a, fb: (a, fb, len(a) == len(fb))],
}
EXERCISE = Exercise(
    "self_refine.loop",
    reference=self_refine_loop,
    explain=_explain,
    errors={
        r"generate\(\) (takes|missing|got)": "generate takes the task alone: generate(x).",
        r"feedback\(\) (takes|missing|got)": "feedback takes the task and the newest answer: feedback(x, y).",
        r"refine\(\) (takes|missing|got)": "refine takes two arguments, the task and the history, one list of pairs.",
        r"stop\(\) (takes|missing|got)": "stop takes the feedback and the number of the round: stop(fb, t), t = 0, "
        "1, ...",
    },
    cases=[
        World("3 1 2|1 3 2|1 2 3", "3 is too early|3 and 2?").case("two rounds, which stop does not end", 2),
        World("9 8|8 9", "turn it round").case("one round", 1),
        World("5 4 6|4 5 6", "5 is too early|Done.").case("stop ends it in the second round", 4),
        World("1 2", "Done.").case("stop ends it at once", 3),
        World("7 6 5|6 7 5|5 6 7", "7?|5 is too late|Done.").case("stop ends it in the last round", 3),
        World("2 1", "").case("max_rounds = 0: only generate is called", 0),
        World("|b|b||c", "|shorter|shorter|").case("answers and feedbacks that are empty or repeat end nothing", 4),
        World("4 2|2 4|4|2", "4?|No|2?", True).case("a refine that empties the list which it is given", 3),
    ],
    mistakes={
        **_many(PAIRS, HISTORIES, lambda told: _loop(refined=lambda x, a, fb: (x, told(a, fb)))),
        "The feedback is on y_0 in every round.\nAsk for it on the newest answer, or all rewrites repair the first "
        "draft.": [
            _loop(judged=lambda x, a: (x, a[0])),
            _loop(judged=lambda x, a: (x, a[0]), refined=lambda x, a, fb: (x, [(a[0], said) for said in fb])),
        ],
        "feedback gets its arguments in the other order.\nFirst the task.": _loop(judged=lambda x, a: (a[-1], x)),
        "stop gets its arguments in the other order.\nFirst the feedback.": _loop(asked=lambda a, fb, t: (t, fb[-1])),
        "The newest answer takes the place of the task x.\nThe task stays the same in all rounds.": [
            _loop(refined=lambda x, a, fb: (a[-1], list(zip(a, fb)))),
            _loop(refined=lambda x, a, fb: (a[-1], [(a[-1], fb[-1])])),
        ],
        "You call generate again instead of refine.\nThe new answer knows nothing of the feedback.": _loop("fsg"),
        "stop gets the answer.\nIt decides by what the critic says: stop(fb, t).": _loop(
            asked=lambda a, fb, t: (a[-1], t)
        ),
        "You ask stop only after refine has rewritten the answer.\nIf the feedback says that it is right, a "
        "rewrite can "
        "only do harm: ask before.": _loop("frs"),
        "stop gets t + 1.\nThe first round is t = 0: stop(fb_0, 0).": _loop(asked=lambda a, fb, t: (fb[-1], t + 1)),
        "You never call stop, so that an answer which the critic accepts is rewritten all the same.": _loop("fr"),
        "You call stop before there is a feedback on the newest answer.\nFirst feedback(x, y), then stop(fb, t).": [
            _loop("sfr", asked=lambda a, fb, t, first=first: (said := first + fb) and (said[-1], t))
            for first in ([], [None], [""])
        ],
        "Your loop goes on if stop says True and ends if it says False: the other way round.": _loop(end=False),
        "You end when an answer comes back unchanged.\nOnly stop ends the loop (and max_rounds).": [
            _loop("fsre", ends=lambda a, fb: a[-1] == a[-2]),
            _loop("fser", ends=lambda a, fb: a[-1:] == a[-2:-1]),
            _loop("fser", ends=lambda a, fb: fb[-1:] == fb[-2:-1]),
        ],
        "You end when the feedback or the answer is empty.\nOnly stop says what counts as the end.": [
            *[_loop(steps, ends=lambda a, fb: not fb[-1]) for steps in ("fser", "fesr")],
            *[_loop(steps, ends=lambda a, fb: not a[-1]) for steps in ("fser", "fsre")],
        ],
        "There is one round too many.\nmax_rounds rewrites make max_rounds + 1 answers.": (
            _loop(rounds=lambda n: n + 1)
        ),
        "There is one round too few.\ny_0 is no rewrite, and max_rounds rewrites follow it.": _loop(
            rounds=lambda n: n - 1
        ),
        "There is one round only.\nGo on until stop says True, or max_rounds rewrites have been made.": [
            *[_loop(rounds=lambda n: min(n, 1)), _loop(rounds=lambda n: 1)],
        ],
        "After the last allowed rewrite you ask for feedback once more.\nNobody will use it, and it costs a call "
        "of the "
        "model.": [_loop(last="fs"), _loop(last="f")],
        **_many(RETURNS, RESULTS, lambda form: _loop(form=form)),
    },
    hints=[
        "Write down by hand, for max_rounds = 2, which function is called when, and with what. Which call comes last?",
        "Keep two lists, answers = [generate(x)] and feedbacks = []. In round t: append the feedback on "
        "answers[-1], ask stop, and only then append the rewrite. The history is made of the two lists.",
        "for t in range(max_rounds): ...; the history as a new list each time: list(zip(answers, feedbacks))",
    ],
)
