"""Loops that are wrong in one known way, and what is said about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from course_utils.exercises.self_refine_loop_world import World, calls_of, trace


def self_refine_loop(
    x: Any, generate: Callable, feedback: Callable, refine: Callable, stop: Callable, max_rounds: int
) -> tuple[list, list]:
    """([y_0, y_1, ...], [fb_0, fb_1, ...]): y_0 = generate(x), fb_t = feedback(x, y_t), y_{t+1} = refine(x, all pairs so far).

    stop(fb_t, t) ends it before a rewrite, max_rounds after one. Source: Madaan et al. (2023), "Self-Refine", algorithm 1.
    """
    answers, feedbacks = [generate(x)], []
    for t in range(max_rounds):
        feedbacks.append(feedback(x, answers[-1]))
        if stop(feedbacks[-1], t):
            break
        answers.append(refine(x, list(zip(answers, feedbacks))))
    return answers, feedbacks


LAST_PAIR = (
    "refine gets only the newest pair. The paper hands it the whole history, [(y_0, fb_0), ..., (y_t, fb_t)]: a model that"
    " does not see its earlier attempts repeats their mistakes."
)
BARE_PAIR = "refine gets the newest answer and feedback as one bare pair: its second argument is a LIST of pairs, one a round so far."
NOTHING = "refine gets an empty history. It needs what was wrong, and with what: [(y_0, fb_0), ..., (y_t, fb_t)]."
FIRST_PAIR = "refine gets the first pair alone in every round: the history grows by one pair a round, [(y_0, fb_0), ..., (y_t, fb_t)]."
BEHIND = (
    "The history lacks the newest pair: it is extended only after refine was called. What refine is to repair is the newest"
    " answer, so its pair must be in."
)
ANSWERS_ONLY = "The history holds the answers without the feedback on them: refine needs pairs (y, fb)."
FEEDBACK_ONLY = "The history holds the feedback without the answers that it is about: refine needs pairs (y, fb)."
NEWEST_FIRST = (
    "The history has the newest pair first: the stub asks for the oldest first, the order in which it happened."
)
SWAPPED_PAIR = "The pairs of the history are (feedback, answer): the stub asks for (answer, feedback)."
FLAT = "The history is one flat list, y_0, fb_0, y_1, fb_1, ...: it should be a list of pairs, [(y_0, fb_0), (y_1, fb_1), ...]."
TWO_LISTS = "The history is a pair of two lists: the stub asks for one list of pairs, list(zip(answers, feedbacks))."
WITH_Y0 = "All pairs of the history have y_0 as their answer: each feedback belongs to the answer of its own round, (y_t, fb_t)."
ON_Y0 = (
    "The feedback is on y_0 in every round: ask for it on the NEWEST answer, or all rewrites repair the first draft."
)
ARGUMENTS = "feedback gets its arguments in the other order: feedback(x, y), first the task."
TASK_LOST = (
    "The newest answer takes the place of the task x. The task stays the same in all rounds: feedback(x, y) and refine(x,"
    " history), or the answers drift away from what was asked."
)
AGAIN = "You call generate again in place of refine: the new answer would know nothing of the feedback. y_{t+1} = refine(x, history)."
STOP_ANSWER = "stop gets the ANSWER. It decides by what the critic says: stop(fb, t)."
STOP_LATE = (
    "You ask stop only after refine has rewritten the answer. If the feedback says that it is right, a rewrite can only do harm:"
    " ask before."
)
STOP_ONE = "stop gets t + 1. The first round is t = 0: stop(fb_0, 0)."
STOP_NEVER = (
    "You never call stop, so that an answer which the critic accepts is rewritten all the same: if stop(fb, t): end."
)
STOP_EARLY = (
    "You call stop before there is a feedback on the newest answer: first fb = feedback(x, y), then stop(fb, t)."
)
STOP_NOT = "Your loop goes on if stop says True and ends if it says False: the other way round."
STOP_SAME = "You end when an answer comes back unchanged. Only stop ends the loop (and max_rounds): the next round may change it."
STOP_FALSY = (
    "You end when the feedback or the answer is empty. Only stop says what counts as the end: an empty text is a text."
)
ONE_MORE = "There is one round too many: max_rounds is the number of REWRITES, so that there are at most max_rounds + 1 answers."
ONE_LESS = "There is one round too few: y_0 is no rewrite, and max_rounds rewrites follow it, so range(max_rounds)."
ONCE = "There is one round only: go on until stop says True, or max_rounds rewrites have been made."
EXTRA = (
    "After the last allowed rewrite you ask for feedback once more. Nobody will use it, and it costs a call of the model: end at"
    " max_rounds rewrites."
)
TWICE = (
    "feedback is called twice in one round: keep its result, fb = feedback(x, y), for stop and for the history. A second call"
    " costs, and a model that samples says something else."
)
ALIAS = (
    "You hand refine the same list each time and append to it afterwards, so that what refine has kept from an earlier round changes"
    " under its hands. Give it a list of its own: list(history), or list(zip(answers, feedbacks))."
)
SPOILED = (
    "refine has emptied the list that it got, and your own record is gone with it: give it a list of its own, list(history), or"
    " list(zip(answers, feedbacks))."
)
RETURNS = "Return two lists, (answers, feedbacks)."
LAST_ONLY = f"Your function returns the last answer alone. {RETURNS} Which answer is the best is not known here, so all are kept."
LAST_EACH = (
    f"You return the last answer and the last feedback: the stub asks for ALL of them, from y_0 and fb_0 on. {RETURNS}"
)
NO_FEEDBACKS = f"Your function returns the answers without the feedbacks. {RETURNS}"
NO_FIRST = "The list of answers begins with the first rewrite: y_0 belongs to it."
NO_LAST = "The last answer is missing from the list of answers: the newest rewrite belongs to it."
NO_STOPPING = "The feedback that ended the loop is missing: it was given on the last answer, and belongs to the list."
PAIRS = f"Your function returns the pairs of the history. {RETURNS}"
OTHER_ORDER = "The two lists are in the other order: first the answers, then the feedbacks."
REVERSED = "Your lists have the newest first: y_0 and fb_0 come first."
THREE = f"Your function returns three values. {RETURNS} Whether stop has ended it can be seen from their lengths."


def _variant(
    rounds: Callable = lambda n: n,
    judged: Callable = lambda x, a: (x, a[-1]),
    told: Callable = lambda a, fb: list(zip(a, fb)),
    asked: Callable = lambda a, fb, t: (fb[-1], t),
    task: Callable = lambda x, a: x,
    ends: Callable = lambda a, fb: False,
    negate: bool = False,
) -> Callable:
    """The loop with one of its parts replaced: a are the answers so far, fb the feedbacks."""

    def run(x: Any, generate: Callable, feedback: Callable, refine: Callable, stop: Callable, n: int) -> None:
        a, fb = [generate(x)], []
        for t in range(max(rounds(n), 0)):
            fb.append(feedback(*judged(x, a)))
            if stop(*asked(a, fb, t)) != negate or ends(a, fb):
                break
            a.append(refine(task(x, a), told(a, fb)))
            if len(a) > 1 and ends(a, None):
                break

    return run


def _late(x, generate, feedback, refine, stop, n):
    a, fb = [generate(x)], []
    for t in range(n):
        fb.append(feedback(x, a[-1]))
        a.append(refine(x, list(zip(a, fb))))
        if stop(fb[-1], t):
            break


def _never(x, generate, feedback, refine, stop, n):
    a, fb = [generate(x)], []
    for _ in range(n):
        fb.append(feedback(x, a[-1]))
        a.append(refine(x, list(zip(a, fb))))


def _early(x, generate, feedback, refine, stop, n):
    a, fb = [generate(x)], []
    for t in range(n):
        if fb and stop(fb[-1], t):
            break
        fb.append(feedback(x, a[-1]))
        a.append(refine(x, list(zip(a, fb))))


def _before(x, generate, feedback, refine, stop, n, first=None):
    a, fb = [generate(x)], []
    for t in range(n):
        if stop(fb[-1] if fb else first, t):
            break
        fb.append(feedback(x, a[-1]))
        a.append(refine(x, list(zip(a, fb))))


def _again(x, generate, feedback, refine, stop, n):
    a = [generate(x)]
    for t in range(n):
        if stop(feedback(x, a[-1]), t):
            break
        a.append(generate(x))


def _extra(x, generate, feedback, refine, stop, n, asks=True):
    a, fb = [generate(x)], []
    for t in range(n + 1):
        fb.append(feedback(x, a[-1]))
        if t == n and not asks or stop(fb[-1], t) or t == n:
            break
        a.append(refine(x, list(zip(a, fb))))


def _ahead(x, generate, feedback, refine, stop, n):
    """The feedback is made before the loop and at the end of each round, also of the last."""
    a = [generate(x)]
    fb = [feedback(x, a[-1])]
    for t in range(n):
        if stop(fb[-1], t):
            break
        a.append(refine(x, list(zip(a, fb))))
        fb.append(feedback(x, a[-1]))


def _of(run: Callable) -> Callable:
    return lambda world: calls_of(run, world)


FLAT_HISTORY = _variant(told=lambda a, fb: [text for pair in zip(a, fb) for text in pair])
EVENTS = [
    (hint, _of(run))
    for hint, run in [
        (LAST_PAIR, _variant(told=lambda a, fb: [(a[-1], fb[-1])])),
        (BARE_PAIR, _variant(told=lambda a, fb: (a[-1], fb[-1]))),
        (NOTHING, _variant(told=lambda a, fb: [])),
        (FIRST_PAIR, _variant(told=lambda a, fb: [(a[0], fb[0])])),
        (BEHIND, _variant(told=lambda a, fb: list(zip(a, fb))[:-1])),
        (ANSWERS_ONLY, _variant(told=lambda a, fb: list(a))),
        (FEEDBACK_ONLY, _variant(told=lambda a, fb: list(fb))),
        (NEWEST_FIRST, _variant(told=lambda a, fb: list(zip(a, fb))[::-1])),
        (SWAPPED_PAIR, _variant(told=lambda a, fb: list(zip(fb, a)))),
        (SWAPPED_PAIR, _variant(told=lambda a, fb: [(fb[-1], a[-1])])),
        (FLAT, FLAT_HISTORY),
        (TWO_LISTS, _variant(told=lambda a, fb: (a, fb))),
        (WITH_Y0, _variant(told=lambda a, fb: [(a[0], said) for said in fb])),
        (ON_Y0, _variant(judged=lambda x, a: (x, a[0]))),
        (ON_Y0, _variant(judged=lambda x, a: (x, a[0]), told=lambda a, fb: [(a[0], said) for said in fb])),
        (ON_Y0, _variant(judged=lambda x, a: (x, a[0]), told=lambda a, fb: [(a[-1], fb[-1])])),
        (ARGUMENTS, _variant(judged=lambda x, a: (a[-1], x))),
        (TASK_LOST, _variant(task=lambda x, a: a[-1])),
        (TASK_LOST, _variant(task=lambda x, a: a[-1], judged=lambda x, a: (a[-2] if len(a) > 1 else x, a[-1]))),
        (TASK_LOST, _variant(task=lambda x, a: a[-1], told=lambda a, fb: [(a[-1], fb[-1])])),
        (AGAIN, _again),
        (STOP_ANSWER, _variant(asked=lambda a, fb, t: (a[-1], t))),
        (STOP_LATE, _late),
        (STOP_ONE, _variant(asked=lambda a, fb, t: (fb[-1], t + 1))),
        (STOP_NEVER, _never),
        (STOP_EARLY, _early),
        (STOP_EARLY, _before),
        (STOP_EARLY, lambda *given: _before(*given, first="")),
        (STOP_NOT, _variant(negate=True)),
        (STOP_SAME, _variant(ends=lambda a, fb: fb is None and a[-1] == a[-2])),
        (STOP_SAME, _variant(ends=lambda a, fb: fb is not None and len(fb) > 1 and fb[-1] == fb[-2])),
        (STOP_SAME, _variant(ends=lambda a, fb: fb is not None and len(a) > 1 and a[-1] == a[-2])),
        (STOP_FALSY, _variant(ends=lambda a, fb: fb is not None and not fb[-1])),
        (STOP_FALSY, _variant(ends=lambda a, fb: fb is not None and not a[-1])),
        (STOP_FALSY, _variant(ends=lambda a, fb: fb is None and not a[-1])),
        (ONE_MORE, _variant(lambda n: n + 1)),
        (ONE_LESS, _variant(lambda n: n - 1)),
        (ONCE, _variant(lambda n: min(n, 1))),
        (ONCE, _variant(lambda n: 1)),
        (EXTRA, _extra),
        (EXTRA, lambda *given: _extra(*given, asks=False)),
        (EXTRA, _ahead),
    ]
]


def _result(form: Callable) -> Callable:
    """What `form` makes of the right answers and feedbacks, and of whether stop has ended the loop."""

    def wrong(world: World) -> Any:
        answers, feedbacks = trace(self_refine_loop, world).result
        return form(answers, feedbacks, len(answers) == len(feedbacks))

    return wrong


RESULTS = [
    (hint, _result(form))
    for hint, form in [
        (LAST_ONLY, lambda a, fb, stopped: a[-1]),
        (LAST_EACH, lambda a, fb, stopped: (a[-1], fb[-1] if fb else None)),
        (LAST_EACH, lambda a, fb, stopped: (a[-1], fb)),
        (NO_FEEDBACKS, lambda a, fb, stopped: a),
        (NO_FIRST, lambda a, fb, stopped: (a[1:], fb)),
        (NO_LAST, lambda a, fb, stopped: (a if stopped else a[:-1], fb)),
        (NO_LAST, lambda a, fb, stopped: (a[:-1], fb)),
        (NO_STOPPING, lambda a, fb, stopped: (a, fb[:-1] if stopped else fb)),
        (NO_STOPPING, lambda a, fb, stopped: (a[:-1], fb[:-1]) if stopped else (a, fb)),
        (PAIRS, lambda a, fb, stopped: list(zip(a, fb))),
        (PAIRS, lambda a, fb, stopped: (a[-1], list(zip(a, fb)))),
        (PAIRS, lambda a, fb, stopped: (a[-1], list(zip(a, fb))[:-1] if stopped else list(zip(a, fb)))),
        (PAIRS, lambda a, fb, stopped: list(zip(a, fb))[:-1] if stopped else list(zip(a, fb))),
        (OTHER_ORDER, lambda a, fb, stopped: (fb, a)),
        (REVERSED, lambda a, fb, stopped: (a[::-1], fb[::-1])),
        (THREE, lambda a, fb, stopped: (a, fb, stopped)),
        (THREE, lambda a, fb, stopped: (a, fb, not stopped)),
    ]
]
