"""Wrong answers to the exercises of notebook 11: what no declared mistake shows (see the exercises themselves)."""

from __future__ import annotations

from collections.abc import Callable

from . import WrongAnswer, function

SIGNATURES = {
    "loop": "my_self_refine(x, generate, feedback, refine, stop, max_rounds)",
    "two_rate": "my_two_rate(a0, f, c, rounds)",
    "fixed_point": "my_rates(a0, a1, a2)",
    "best_of_n": "my_pass_at_k(n, c, k)",
    "coverage": "my_coverage(text, keywords)",
    "net_gain": "my_paired(before, after)",
}


def _wrong(exercise: str, label: str, says: str, body: str) -> WrongAnswer:
    imports = [f"import {name}" for name in ("math", "random", "re", "string") if f"{name}." in body]
    code = function(SIGNATURES[exercise], body, *imports, "import numpy as np")
    return WrongAnswer(f"self_refine.{exercise}", label, code, says)


def _with(exercise: str, right: str) -> Callable:
    """A function that makes a wrong answer of a right one: what stands in it, and what instead."""

    def wrong(label: str, says: str, old: str, new: str) -> WrongAnswer:
        assert right.count(old) == 1, old
        return _wrong(exercise, label, says, right.replace(old, new))

    return wrong


LOOP = """
answers, feedbacks, history = [generate(x)], [], []
for t in range(max_rounds):
    fb = feedback(x, answers[-1])
    feedbacks.append(fb)
    if stop(fb, t):
        break
    history = list(zip(answers, feedbacks))
    answers.append(refine(x, history))
return answers, feedbacks"""
ONLY_RECORD = """
y, pairs = generate(x), []
for t in range(max_rounds):
    fb = feedback(x, y)
    pairs = pairs + [(y, fb)]
    if stop(fb, t):
        return [a for a, _ in pairs], [b for _, b in pairs]
    y = refine(x, pairs)
return [a for a, _ in pairs] + [y], [b for _, b in pairs]"""
CLOSED = """
s = f / (f + c)
return s + (a0 - s) * (1 - f - c) ** np.arange(rounds + 1)"""
STEPS = """
found = [a0]
for _ in range(rounds):
    found.append(found[-1] * (1 - c) + (1 - found[-1]) * f)
return found"""
RATES = """
s = (a2 - a1) / (a1 - a0)
f = a1 - s * a0
c = 1 - s - f
return f, c, f / (f + c)"""
SINGULAR = "return (*np.linalg.solve([[1 - a0, -a0], [1 - a0, -a0]], [a1 - a0, a2 - a1]), 0.5)"
DRAWN = "return sum(any(i < c for i in random.sample(range(n), k)) for _ in range(1000 if n < 100 else 1)) / 1000"
FACTORIALS = "f = math.factorial\nreturn 1 - f(n - c) * f(n - k) / (f(n - c - k) * f(n))"
RECURSION = """
def choose(m, j):
    return 0 if j > m else 1 if j == 0 else choose(m - 1, j - 1) * m / j
return 1 - choose(n - c, k) / choose(n, k)"""
COVERAGE = r"""
words = re.findall(r"[^\W\d_]+", text.lower())
wanted = list(dict.fromkeys(keywords))
missing = [w for w in wanted if w.lower() not in words]
share = 1 - len(missing) / max(len(wanted), 1)
return share, missing"""
TRANSLATED = "text.lower().translate(str.maketrans({sign: ' ' for sign in string.punctuation})).split()"
WORDS = r're.findall(r"[^\W\d_]+", text.lower())'
PAIRED = """
f = (~before & after).sum() / max((~before).sum(), 1)
c = (before & ~after).sum() / max(before.sum(), 1)
return f, c"""
UNGUARDED = "return after[~before].mean(), (~after)[before].mean()"
COUNTED = "return int((~before & after).sum()) / int((~before).sum()), int((before & ~after).sum()) / int(before.sum())"

loop, steps, rates = _with("loop", LOOP), _with("two_rate", STEPS), _with("fixed_point", RATES)
cover, pair = _with("coverage", COVERAGE), _with("net_gain", PAIRED)
TWO, GROW = "refine takes two arguments", "You hand refine the same list each time"
END, MANY, RIGHT_CALLS = "return answers, feedbacks", "is too much for your numbers", "The calls are right"
WRONG = [
    loop("two arguments for one pair", TWO, "refine(x, history)", "refine(x, answers[-1], fb)"),
    loop(
        "arguments swapped", "refine gets its arguments in the other order", "refine(x, history)", "refine(history, x)"
    ),
    loop("one string", "that refine gets is a str", "refine(x, history)", "refine(x, ' '.join(answers))"),
    loop("iterator", "that refine gets is a zip", "list(zip(answers, feedbacks))", "zip(answers, feedbacks)"),
    loop("one list that grows", GROW, "history = list(zip(answers, feedbacks))", "history.append((answers[-1], fb))"),
    _wrong("loop", "the only record", "refine has emptied the list that it got", ONLY_RECORD),
    loop("no task", "feedback takes the task and the newest", "feedback(x, answers[-1])", "feedback(answers[-1])"),
    loop("feedback twice", "feedback is called twice in one round", "stop(fb, t)", "stop(feedback(x, answers[-1]), t)"),
    loop("feedback handed over", "generate takes the task alone", "refine(x, history)", "generate(x, fb)"),
    loop("stop without t", "stop takes the feedback and the number", "stop(fb, t)", "stop(fb)"),
    loop("without end", "Your loop has made 60 calls", "range(max_rounds)", "range(10**6)"),
    loop("a dict", RIGHT_CALLS, END, "return {'answers': answers, 'feedbacks': feedbacks}"),
    loop("printed", "did you forget `return`", END, "print(answers)"),
    loop("upper case", RIGHT_CALLS, END, "return [y.upper() + '!' for y in answers], feedbacks"),
    loop("answer changed", "Call 2 of your function is", "feedback(x, answers[-1])", "feedback(x, answers[-1] + '?')"),
    _wrong("two_rate", "divided by 0", "With f = c = 0 your function divides", CLOSED),
    _wrong("two_rate", "nan", "With f = c = 0 your function divides", CLOSED.replace("s = f", "s = np.float64(f)")),
    _wrong("two_rate", "drawn", "you draw random numbers of your own", "return a0 + np.random.random(rounds + 1)"),
    steps("nested", "asks for 4 numbers in one list", "return found", "return [found]"),
    steps("a string", "made of numbers", "return found", "return str(found)"),
    steps("generator", "Put list(...) around it", "return found", "return (a for a in found)"),
    steps("half the repairs", "what was wrong and is repaired", "* f", "* f / 2"),
    steps("printed", "did you forget `return`", "return found", "print(found)"),
    _wrong("fixed_point", "one equation twice", "one equation twice", SINGULAR),
    rates("two numbers", "returns 2 numbers", ", f / (f + c)", ""),
    rates("fixed point alone", "returns one number", "return f, c, ", "return "),
    rates(
        "divided by the second change",
        "Your function divides by 0",
        "(a2 - a1) / (a1 - a0)",
        "1 / ((a1 - a0) / (a2 - a1))",
    ),
    rates("not foreseen", "Subtract the two equations", "s * a0", "s * a0 + 0.123"),
    rates("rounded to four", "without rounding", "return f, c,", "return round(f, 4), round(c, 4),"),
    _wrong("best_of_n", "factorials", "n - c - k is negative", FACTORIALS),
    _wrong("best_of_n", "drawn", "no random drawing is needed", DRAWN),
    _wrong("best_of_n", "floats", MANY, "return 1 - float(math.comb(n - c, k)) / float(math.comb(n, k))"),
    _wrong("best_of_n", "recursion", MANY, RECURSION),
    _wrong("best_of_n", "array", "one number is asked for", "return np.array([math.comb(n - c, k), math.comb(n, k)])"),
    _wrong("best_of_n", "whole number", "as soon as any sample", "return 1 - math.comb(n - c, k) // math.comb(n, k)"),
    _wrong("best_of_n", "half", "hold wrong samples only", "return 0.5 * (1 - math.comb(n - c, k) / math.comb(n, k))"),
    cover("set", "a number and a list of words, in order", "return share, missing", "return share, set(missing)"),
    cover("one string", "Yours are 2 values: float, str", "return share, missing", "return share, ', '.join(missing)"),
    cover("missing alone", "Your function returns one value", "return share, missing", "return missing"),
    cover("three values", "Yours are 3 values", "return share, missing", "return share, words, missing"),
    cover("no keywords, no division", "Without keywords nothing can be", "max(len(wanted), 1)", "len(wanted)"),
    cover("no keywords, 0", "Without keywords nothing can be", "return share", "return share * bool(wanted)"),
    cover("short words left out", "but the text covers it", r"[^\W\d_]+", r"[^\W\d_]{4,}"),
    cover(
        "past tense guessed",
        "is missing in this text",
        "not in words",
        "not in words and w.replace('i', 'a') not in words",
    ),
    cover("share off", "The missing keywords are right; your share", "len(missing) /", "(len(missing) + 1) /"),
    cover("removed from the list", "changed its input (argument 2", "return share", "keywords.clear()\nreturn share"),
    cover("apostrophe", "An apostrophe or a hyphen counts", WORDS, 're.findall(r"[a-z\']+", text.lower())'),
    cover("ASCII's signs", "The signs of string.punctuation", WORDS, TRANSLATED),
    cover("swapped", "a number and a list of words, in order", "return share, missing", "return missing, share"),
    cover("a number", "Yours are 2 values: float, int", "return share, missing", "return share, len(missing)"),
    cover("sorted", "in the order of keywords", "return share, missing", "return share, sorted(missing)"),
    cover("rounded", "Your share is rounded", "return share, missing", "return round(share, 2), missing"),
    _wrong("net_gain", "nan", "and your function returns nan", UNGUARDED),
    _wrong("net_gain", "division by 0", "and your function divides by 0", COUNTED),
    pair(
        "one of none", "The stub says 0.0 for a share of no items", "return f", "return f if (~before).any() else 1.0"
    ),
    pair("gain", "Your function returns one number", "return f, c", "return f - c"),
    pair("three values", "returns 3 values", "return f, c", "return f, c, f - c"),
    pair("masks", "numbers for each item", "return f, c", "return ~before & after, before & ~after"),
    pair("and", "one truth value", "return f, c", "return sum(not before and after), c"),
    pair("in place", "start from x.copy()", "return f", "before &= after\nreturn f"),
    pair("smoothed", "c of those that were right", "return f, c", "return (f + 0.01) / 1.03, c"),
]
