"""Wrong answers to the exercise of notebook 11 on the loop of Self-Refine."""

from __future__ import annotations

from . import WrongAnswer


def _body(label: str, says: str, body: str) -> WrongAnswer:
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    code = f"def my_self_refine(x, generate, feedback, refine, stop, max_rounds):\n{lines}\n"
    return WrongAnswer("self_refine.loop", label, code, says)


def _loop(label: str, says: str, rounds: str = "range(max_rounds)", fb: str = "feedback(x, answers[-1])", test: str = "stop(fb, t)",
          history: str = "list(zip(answers, feedbacks))", new: str = "refine(x, history)", after: str = "pass",
          value: str = "answers, feedbacks") -> WrongAnswer:
    """The loop with one of its parts replaced."""
    return _body(label, says, f"""
answers, feedbacks = [generate(x)], []
for t in {rounds}:
    fb = {fb}
    feedbacks.append(fb)
    if {test}:
        break
    history = {history}
    answers.append({new})
    {after}
return {value}""")


WRONG = [
    # --- the history ---
    _loop("newest pair only", "refine gets only the newest pair", history="[(answers[-1], fb)]"),
    _loop("bare pair", "as one bare pair", history="(answers[-1], fb)"),
    _loop("two arguments for one pair", "refine takes two arguments", new="refine(x, answers[-1], fb)"),
    _loop("task not handed over", "refine takes two arguments", new="refine(history)"),
    _loop("empty history", "refine gets an empty history", history="[]"),
    _loop("first pair only", "refine gets the first pair alone", history="[(answers[0], feedbacks[0])]"),
    _body("extended after refine", "The history lacks the newest pair", """
answers, feedbacks, history = [generate(x)], [], []
for t in range(max_rounds):
    feedbacks.append(feedback(x, answers[-1]))
    if stop(feedbacks[-1], t):
        break
    y = answers[-1]
    answers.append(refine(x, list(history)))
    history.append((y, feedbacks[-1]))
return answers, feedbacks"""),
    _loop("answers only", "holds the answers without the feedback", history="list(answers)"),
    _loop("feedback only", "holds the feedback without the answers", history="list(feedbacks)"),
    _loop("newest first", "has the newest pair first", history="list(zip(answers, feedbacks))[::-1]"),
    _loop("swapped pairs", "are (feedback, answer)", history="list(zip(feedbacks, answers))"),
    _loop("flat", "one flat list", history="[text for pair in zip(answers, feedbacks) for text in pair]"),
    _loop("two lists", "a pair of two lists", history="(list(answers), list(feedbacks))"),
    _loop("one string", "that refine gets is a str", history="'\\n'.join(answers)"),
    _loop("iterator", "that refine gets is a zip", history="zip(answers, feedbacks)"),
    _loop("y_0 in all pairs", "have y_0 as their answer", history="[(answers[0], said) for said in feedbacks]"),
    _body("one list that grows", "You hand refine the same list each time", """
answers, feedbacks, history = [generate(x)], [], []
for t in range(max_rounds):
    fb = feedback(x, answers[-1])
    feedbacks.append(fb)
    if stop(fb, t):
        break
    history.append((answers[-1], fb))
    answers.append(refine(x, history))
return answers, feedbacks"""),
    _body("one list, built anew by +=", "You hand refine the same list each time", """
answers, feedbacks, history = [generate(x)], [], []
for t in range(max_rounds):
    feedbacks += [feedback(x, answers[-1])]
    if stop(feedbacks[-1], t):
        break
    history += [(answers[-1], feedbacks[-1])]
    answers += [refine(x, history)]
return answers, feedbacks"""),
    _body("a new list each time, and the only record", "refine has emptied the list that it got", """
y, pairs = generate(x), []
for t in range(max_rounds):
    fb = feedback(x, y)
    pairs = pairs + [(y, fb)]
    if stop(fb, t):
        return [a for a, _ in pairs], [b for _, b in pairs]
    y = refine(x, pairs)
return [a for a, _ in pairs] + [y], [b for _, b in pairs]"""),
    # --- feedback, generate, the task ---
    _loop("feedback on y_0", "The feedback is on y_0 in every round", fb="feedback(x, answers[0])"),
    _loop("feedback on y_0, pairs too", "The feedback is on y_0 in every round", fb="feedback(x, answers[0])",
          history="[(answers[0], said) for said in feedbacks]"),
    _loop("feedback without the task", "feedback takes the task and the newest answer", fb="feedback(answers[-1])"),
    _loop("feedback's arguments swapped", "feedback gets its arguments in the other order", fb="feedback(answers[-1], x)"),
    _loop("feedback twice", "feedback is called twice in one round", test="stop(feedback(x, answers[-1]), t)"),
    _body("feedback for stop and again for the history", "feedback is called twice in one round", """
answers, feedbacks = [generate(x)], []
for t in range(max_rounds):
    if stop(feedback(x, answers[-1]), t):
        feedbacks.append(feedback(x, answers[-1]))
        break
    feedbacks.append(feedback(x, answers[-1]))
    answers.append(refine(x, list(zip(answers, feedbacks))))
return answers, feedbacks"""),
    _loop("answer in place of the task", "takes the place of the task", new="refine(answers[-1], history)"),
    _loop("generate again", "You call generate again", new="generate(x)"),
    _loop("generate with the feedback", "generate takes the task alone", new="generate(x, fb)"),
    # --- stop ---
    _loop("stop on the answer", "stop gets the ANSWER", test="stop(answers[-1], t)"),
    _loop("stop without t", "stop takes the feedback and the number", test="stop(fb)"),
    _loop("t from 1", "stop gets t + 1", test="stop(fb, t + 1)"),
    _loop("range from 1", "stop gets t + 1", rounds="range(1, max_rounds + 1)"),
    _loop("stop after refine", "only after refine has rewritten", test="False", after="if stop(fb, t): break"),
    _loop("never stops", "You never call stop", test="False"),
    _loop("own words", "You never call stop", test="fb.lower() in ('it is fine.', 'good', 'done')"),
    _loop("inverted", "goes on if stop says True", test="not stop(fb, t)"),
    _body("stop before the feedback", "You call stop before there is a feedback", """
answers, feedbacks, fb = [generate(x)], [], None
for t in range(max_rounds):
    if stop(fb, t):
        break
    fb = feedback(x, answers[-1])
    feedbacks.append(fb)
    answers.append(refine(x, list(zip(answers, feedbacks))))
return answers, feedbacks"""),
    _loop("unchanged answer", "when an answer comes back unchanged", after="if answers[-1] == answers[-2]: break"),
    _loop("empty feedback", "when the feedback or the answer is empty", test="stop(fb, t) or not fb"),
    _loop("empty answer", "when the feedback or the answer is empty", test="stop(fb, t) or not answers[-1]"),
    # --- the end ---
    _loop("one round more", "There is one round too many", rounds="range(max_rounds + 1)"),
    _loop("one round less", "There is one round too few", rounds="range(max_rounds - 1)"),
    _loop("one round", "There is one round only", after="break"),
    _body("without end", "Your loop has made 60 calls", """
answers, feedbacks, t = [generate(x)], [], 0
while True:
    fb = feedback(x, answers[-1])
    feedbacks.append(fb)
    if stop(fb, t):
        return answers, feedbacks
    answers.append(refine(x, list(zip(answers, feedbacks))))
    t += 1"""),
    _body("feedback at the end", "you ask for feedback once more", """
answers, feedbacks = [generate(x)], []
for t in range(max_rounds + 1):
    feedbacks.append(feedback(x, answers[-1]))
    if t == max_rounds or stop(feedbacks[-1], t):
        break
    answers.append(refine(x, list(zip(answers, feedbacks))))
return answers, feedbacks"""),
    _body("feedback ahead", "you ask for feedback once more", """
answers = [generate(x)]
feedbacks = [feedback(x, answers[0])]
t = 0
while t < max_rounds and not stop(feedbacks[-1], t):
    answers.append(refine(x, list(zip(answers, feedbacks))))
    feedbacks.append(feedback(x, answers[-1]))
    t += 1
return answers, feedbacks"""),
    # --- the result ---
    _loop("last answer", "returns the last answer alone", value="answers[-1]"),
    _loop("last of each", "You return the last answer and the last feedback", value="answers[-1], (feedbacks or [None])[-1]"),
    _loop("answers alone returned", "the answers without the feedbacks", value="answers"),
    _loop("without y_0", "begins with the first rewrite", value="answers[1:], feedbacks"),
    _loop("without the last answer", "The last answer is missing", value="[y for y, _ in zip(answers, feedbacks)], feedbacks"),
    _loop("without the last feedback", "The feedback that ended the loop is missing", value="answers, feedbacks[: len(answers) - 1]"),
    _loop("pairs", "returns the pairs of the history", value="list(zip(answers, feedbacks))"),
    _loop("swapped lists", "The two lists are in the other order", value="feedbacks, answers"),
    _loop("newest first in the result", "Your lists have the newest first", value="answers[::-1], feedbacks[::-1]"),
    _loop("three values", "Your function returns three values", value="answers, feedbacks, len(answers) == len(feedbacks)"),
    _loop("a dict", "and yours is a dict", value="{'answers': answers, 'feedbacks': feedbacks}"),
    _loop("printed", "did you forget `return`", value="print(answers)"),
    _loop("upper case", "your list of answers is", value="[y.upper() + '!' for y in answers], feedbacks"),
    _loop("answer changed for the critic", "Call 2 of your function is", fb="feedback(x, answers[-1] + '?')"),
    _loop("history in feedback", "feedback takes the task and the newest answer",
          fb="feedback(x, answers[-1], list(zip(answers, feedbacks)))"),
]
