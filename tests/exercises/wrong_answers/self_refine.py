"""Wrong answers to the exercises of notebook 11: the two-rate model and pass@k here, the others in modules of their own."""

from __future__ import annotations

from . import WrongAnswer
from ._self_refine_coverage import WRONG as COVERAGE
from ._self_refine_loop import WRONG as LOOP


def _function(exercise: str, signature: str, label: str, body: str, says: str) -> WrongAnswer:
    """Every answer brings the imports it uses, as in a student's own cell."""
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    modules = "".join(f"import {name}\n" for name in ("itertools", "math", "random") if f"{name}." in body)
    modules += "import numpy as np\n" if "np." in body else ""
    return WrongAnswer(f"self_refine.{exercise}", label, f"{modules}\n\ndef {signature}:\n{lines}\n", says)


def _step(label: str, says: str, new: str = "a * (1 - c) + (1 - a) * f", value: str = "found", rounds: str = "rounds",
          start: str = "[a0]") -> WrongAnswer:
    """Round by round: a is the accuracy so far."""
    body = f"""
found, a = {start}, a0
for t in range({rounds}):
    a = {new}
    found.append(a)
return {value}"""
    return _function("two_rate", "my_two_rate(a0, f, c, rounds)", label, body, says)


def _line(label: str, says: str, body: str) -> WrongAnswer:
    return _function("two_rate", "my_two_rate(a0, f, c, rounds)", label, body, says)


def _rates(label: str, says: str, s: str = "(a2 - a1) / (a1 - a0)", f: str = "a1 - s * a0", c: str = "1 - s - f",
           value: str = "f, c, f / (f + c)") -> WrongAnswer:
    body = f"""
s = {s}
f = {f}
c = {c}
return {value}"""
    return _function("fixed_point", "my_rates(a0, a1, a2)", label, body, says)


def _solved(label: str, says: str, rows: str = "[[1 - a0, -a0], [1 - a1, -a1]]", sides: str = "[a1 - a0, a2 - a1]") -> WrongAnswer:
    """The system of two equations, with the fixed point guarded against 0."""
    body = f"""
f, c = np.linalg.solve(np.array({rows}), np.array({sides}))
return f, c, f / (f + c) if f + c else 0.0"""
    return _function("fixed_point", "my_rates(a0, a1, a2)", label, body, says)


def _pass(label: str, body: str, says: str) -> WrongAnswer:
    body = body if "return" in body else f"return {body}"
    return _function("best_of_n", "my_pass_at_k(n, c, k)", label, body, says)


WRONG = [
    *LOOP,
    # --- two_rate ---
    _step("difference", "You compute a + f - c", "a + f - c"),
    _step("difference, clipped", "You compute a + f - c", "min(max(a + f - c, 0), 1)"),
    _step("swapped", "f and c are swapped", "a * (1 - f) + (1 - a) * c"),
    _step("crossed", "f is applied to the right answers", "a + a * f - (1 - a) * c"),
    _step("never broken", "Nothing is ever broken", "a + (1 - a) * f"),
    _step("never repaired", "Nothing is ever repaired", "a * (1 - c)"),
    _step("f in full", "f is added in full", "a * (1 - c) + f"),
    _step("c in full", "c is subtracted in full", "a - c + (1 - a) * f"),
    _step("c kept", "are not taken away properly", "a * c + (1 - a) * f"),
    _step("c of the repaired", "are not taken away properly", "a + (1 - a) * f * (1 - c)"),
    _step("net rate", "are not taken away properly", "a + (1 - a) * (f - c)"),
    _step("shares from a0", "You take the shares from a0", "a - a0 * c + (1 - a0) * f"),
    _step("wrong ones from a0", "You take the shares from a0", "a * (1 - c) + (1 - a0) * f"),
    _step("a0 in each round", "You take the shares from a0", "a0 * (1 - c) + (1 - a0) * f"),
    _step("repairs first", "You repair first and then break", "(a + (1 - a) * f) * (1 - c)"),
    _step("breaks first", "You break first and then repair", "a * (1 - c) + (1 - a * (1 - c)) * f"),
    _line("decay f + c", "shrinks by the factor 1 - f - c", """
s = f / (f + c) if f + c else 0.5
return [s + (a0 - s) * (f + c) ** t for t in range(rounds + 1)]"""),
    _line("decay of both", "shrinks by the factor 1 - f - c", """
s = f / (f + c) if f + c else 0.5
return [s + (a0 - s) * ((1 - f) * (1 - c)) ** t for t in range(rounds + 1)]"""),
    _line("falls to 0", "a0 falls to 0", "return a0 * (1 - f - c) ** np.arange(rounds + 1)"),
    _line("wrong fixed point", "The fixed point is f / (f + c)", """
s = c / (f + c) if f + c else 0.5
return [s + (a0 - s) * (1 - f - c) ** t for t in range(rounds + 1)]"""),
    _line("jump", "at the fixed point after one round", "return [a0] + [f / (f + c) if f + c else a0] * rounds"),
    _line("divided by 0", "With f = c = 0 your function divides", """
s = f / (f + c)
return [s + (a0 - s) * (1 - f - c) ** t for t in range(rounds + 1)]"""),
    _line("divided by 0 in NumPy", "With f = c = 0 your function divides", """
s = np.float64(f) / (f + c)
return s + (a0 - s) * (1 - f - c) ** np.arange(rounds + 1)"""),
    _step("without a0", "a0 is missing", start="[]"),
    _step("one short", "The last accuracy is missing", rounds="rounds - 1"),
    _step("one too many", "There is one accuracy too many", rounds="rounds + 1"),
    _step("a0 twice", "a0 comes twice", start="[a0, a0]"),
    _step("last only", "the last accuracy alone", value="a"),
    _step("errors", "These are error rates", value="[1 - b for b in found]"),
    _step("percent", "in percent", value="[100 * b for b in found]"),
    _step("changes", "the changes from round to round", value="np.diff(found)"),
    _step("never falls", "Your accuracy never falls", value="np.maximum.accumulate(found)"),
    _step("best kept", "Your accuracy never falls", "max(a, a * (1 - c) + (1 - a) * f)"),
    _step("constant", "Your accuracy stays at a0", value="[a0] * (rounds + 1)"),
    _step("reversed", "Your list ends with a0", value="found[::-1]"),
    _step("rounded", "without rounding", value="[round(b, 3) for b in found]"),
    _step("rounded to four", "without rounding", value="[round(b, 4) for b in found]"),
    _line("array of integers", "cut to whole numbers", """
found = np.zeros(rounds + 1, dtype=int)
found[0] = a0
for t in range(rounds):
    found[t + 1] = found[t] * (1 - c) + (1 - found[t]) * f
return found"""),
    _step("nested", "asks for 4 numbers in one list", value="[found]"),
    _step("a string", "made of numbers", value="str(found)"),
    _step("generator", "Put list(...) around it", value="(b for b in found)"),
    _step("half the repairs", "what was wrong and is repaired", "a * (1 - c) + (1 - a) * f / 2"),
    _step("printed", "did you forget `return`", value="print(found)"),
    # --- fixed_point ---
    _rates("swapped", "f and c are swapped", value="c, f, f / (f + c)"),
    _rates("one rate alone", "by one rate alone", f="(a1 - a0) / (1 - a0)", c="(a0 - a1) / a0", value="f, c, 0.5"),
    _rates("one rate a round", "by one rate alone", f="(a2 - a1) / (1 - a1)", c="(a0 - a1) / a0", value="f, c, 0.5"),
    _rates("gain of both rounds", "by one rate alone", f="(a2 - a0) / (1 - a0)", c="(a0 - a2) / a0", value="f, c, 0.5"),
    _rates("ratio alone", "One of your numbers is f + c", f="1 - s", c="s"),
    _rates("shared equally", "it is not shared equally", f="(1 - s) / 2", c="(1 - s) / 2", value="f, c, 0.5"),
    _rates("inverse ratio", "Your ratio is (a1 - a0) / (a2 - a1)", s="(a1 - a0) / (a2 - a1) if a2 != a1 else 0.0"),
    _rates("ratio of levels", "You take the ratio of the accuracies", s="a2 / a1"),
    _rates("ratio of the first levels", "You take the ratio of the accuracies", s="a1 / a0"),
    _rates("f + c is the ratio", "is taken for the ratio of the changes", s="1 - (a2 - a1) / (a1 - a0)"),
    _rates("c from the ratio", "is taken for the ratio of the changes", c="s - f", value="f, c, f / (f + c) if f + c else 0.0"),
    _solved("sign of c", "Your c has the wrong sign", "[[1 - a0, a0], [1 - a1, a1]]"),
    _solved("levels on the right", "is a', not the change", sides="[a1, a2]"),
    _solved("levels on the right, plus", "is a', not the change", "[[1 - a0, a0], [1 - a1, a1]]", "[a1, a2]"),
    _solved("shifted", "hold the accuracy AFTER each round", "[[1 - a1, -a1], [1 - a2, -a2]]"),
    _solved("one equation twice", "one equation twice", "[[1 - a0, -a0], [1 - a0, -a0]]"),
    _solved("columns swapped", "f and c are swapped", "[[-a0, 1 - a0], [-a1, 1 - a1]]"),
    _rates("f from a1", "another accuracy than the one before", f="a1 - s * a1"),
    _rates("f from a2 and a0", "another accuracy than the one before", f="a2 - s * a0"),
    _rates("f backwards", "another accuracy than the one before", f="a0 - s * a1"),
    _rates("sum to one", "You take c = 1 - f", c="1 - f"),
    _rates("clipped", "Your rates are clipped", value="min(max(f, 0), 1), min(max(c, 0), 1), f / (f + c)"),
    _rates("absolute", "the absolute value of the changes", s="abs((a2 - a1) / (a1 - a0))"),
    _rates("rounded", "without rounding", value="round(f, 2), round(c, 2), round(f / (f + c), 2)"),
    _rates("rounded to four", "without rounding", value="round(f, 4), round(c, 4), round(f / (f + c), 4)"),
    _rates("percent", "Your rates are in percent", value="100 * f, 100 * c, 100 * f / (f + c)"),
    _rates("complements", "the shares that are NOT repaired", value="1 - f, 1 - c, f / (f + c)"),
    _rates("other fixed point", "the share that stays WRONG", value="f, c, c / (f + c)"),
    _rates("quotient", "the quotient of the rates", value="f, c, f / c"),
    _rates("last accuracy", "not an accuracy that was given", value="f, c, a2"),
    _rates("next round", "the accuracy of the next round", value="f, c, a2 * (1 - c) + (1 - a2) * f"),
    _rates("some rounds", "are not there yet", value="f, c, f / (f + c) + (a2 - f / (f + c)) * s ** 5"),
    _rates("sum of the rates", "not another combination", value="f, c, f + c"),
    _rates("fixed point in percent", "your fixed point is in percent", value="f, c, 100 * f / (f + c)"),
    _rates("fixed point rounded", "your fixed point is rounded or clipped", value="f, c, round(f / (f + c), 2)"),
    _rates("fixed point clipped", "your fixed point is rounded or clipped", value="f, c, min(max(f / (f + c), 0.0), 1.0)"),
    _rates("two numbers", "returns 2 numbers", value="f, c"),
    _rates("fixed point alone", "returns one number", value="f / (f + c)"),
    _rates("four numbers", "returns 4 numbers", value="f, c, f / (f + c), s"),
    _rates("divided by the second change", "Your function divides by 0", s="1 / ((a1 - a0) / (a2 - a1))"),
    _rates("not foreseen", "Subtract the two equations", f="a1 - s * a0 + 0.123"),
    # --- best_of_n ---
    _pass("with replacement", "1 - (1 - c / n) ** k", "drawing WITH replacement"),
    _pass("times k", "k * c / n", "You multiply c / n by k"),
    _pass("times k, capped", "min(1.0, k * c / n)", "You multiply c / n by k"),
    _pass("pass@1", "c / n", "This is c / n, pass@1"),
    _pass("none", "math.comb(n - c, k) / math.comb(n, k)", "the chance that NONE"),
    _pass("all", "math.comb(c, k) / math.comb(n, k)", "the chance that ALL k samples"),
    _pass("all, with replacement", "(c / n) ** k", "the chance that ALL k samples"),
    _pass("not all", "1 - math.comb(c, k) / math.comb(n, k)", "at least one is WRONG"),
    _pass("exactly one", "c * math.comb(n - c, k - 1) / math.comb(n, k)", "the chance of EXACTLY one"),
    _pass("binomial, exactly one", "k * (c / n) * (1 - c / n) ** (k - 1)", "the chance of EXACTLY one"),
    _pass("number of choices", "float(math.comb(n, k) - math.comb(n - c, k))", "This is a number of choices"),
    _pass("few wrong, 0", "0.0 if n - c < k else 1 - math.comb(n - c, k) / math.comb(n, k)", "the result is 1"),
    _pass("few wrong, pass@1", "c / n if n - c < k else 1 - math.comb(n - c, k) / math.comb(n, k)", "the result is 1"),
    _pass("few wrong, factorials", "f = math.factorial\nreturn 1 - f(n - c) * f(n - k) / (f(n - c - k) * f(n))", "n - c - k is negative"),
    _pass("few wrong, logarithms", "g = math.lgamma\nreturn 1 - math.exp(g(n - c + 1) - g(n - c - k + 1) - g(n + 1) + g(n - k + 1))",
          "n - c - k is negative"),
    _pass("C(n, c)", "1 - math.comb(n - c, k) / math.comb(n, c)", "The number of choices is C(n, k)"),
    _pass("multisets", "1 - math.comb(n - c + k - 1, k) / math.comb(n + k - 1, k)", "The number of choices is C(n, k)"),
    _pass("factors from 1", "1 - math.prod((n - c - i) / max(n - i, 1) if n - c > i else 0 for i in range(1, k + 1))", "one place off"),
    _pass("a factor less", "1 - math.prod(max(n - c - i, 0) / (n - i) for i in range(1, k))", "one place off"),
    _pass("range of Chen et al. without its end", "1 - math.prod(1 - k / i for i in range(n - c + 1, n))", "one place off"),
    _pass("k - 1", "1 - math.comb(n - c, k - 1) / math.comb(n, k - 1)", "as if k were another number"),
    _pass("n in place of k", "1 - (1 - c / n) ** n", "as if k were another number"),
    _pass("c / k", "c / k", "as if k were another number"),
    _pass("k and c", "1 - (1 - k / n) ** c", "are mixed up"),
    _pass("n - k", "1 - math.comb(n - k, k) / math.comb(n, k)", "are mixed up"),
    _pass("any", "float(c > 0)", "This is 1 as soon as any sample is right"),
    _pass("whole number", "1 - math.comb(n - c, k) // math.comb(n, k)", "This is 1 as soon as any sample is right"),
    _pass("only the wrong ones shrink", "1 - math.prod(max(n - c - i, 0) / n for i in range(k))", "Only one of the two numbers shrinks"),
    _pass("only the total shrinks", "1 - math.prod((n - c) / (n - i) for i in range(k))", "Only one of the two numbers shrinks"),
    _pass("percent", "100 * (1 - math.comb(n - c, k) / math.comb(n, k))", "Your result is in percent"),
    _pass("rounded", "round(1 - math.comb(n - c, k) / math.comb(n, k), 2)", "without rounding"),
    _pass("rounded to four", "round(1 - math.comb(n - c, k) / math.comb(n, k), 4)", "without rounding"),
    _pass("drawn at random", """
tries, hits = 1000, 0
for _ in range(tries):
    hits += any(i < c for i in random.sample(range(n), k)) if n < 100 else 1
return hits / tries""", "no random drawing is needed"),
    _pass("floats", "return 1 - float(math.comb(n - c, k)) / float(math.comb(n, k))", "is too much for your numbers"),
    _pass("products in NumPy", """
def choose(m, j):
    return np.prod([float(m - i) for i in range(j)]) / np.prod([float(i + 1) for i in range(j)])
return 1 - choose(n - c, k) / choose(n, k)""", "is too much for your numbers"),
    _pass("recursion", """
def choose(m, j):
    return 0 if j > m else 1 if j == 0 else choose(m - 1, j - 1) * m / j
return 1 - choose(n - c, k) / choose(n, k)""", "is too much for your numbers"),
    _pass("array", "np.array([1 - math.comb(n - c, k) / math.comb(n, k)] * 2)", "one number is asked for"),
    _pass("not foreseen", "0.5 * (1 - math.comb(n - c, k) / math.comb(n, k))", "of the C(n, k) choices hold wrong samples only"),
    *COVERAGE,
]
