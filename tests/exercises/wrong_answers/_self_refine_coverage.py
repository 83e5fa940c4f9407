"""Wrong answers to the exercises of notebook 11 on covered keywords and on the measured rates."""

from __future__ import annotations

from . import WrongAnswer


def _code(exercise: str, signature: str, label: str, says: str, body: str) -> WrongAnswer:
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    modules = "".join(f"import {name}\n" for name in ("re", "string") if f"{name}." in body)
    modules += "import numpy as np\n" if "np." in body else ""
    return WrongAnswer(f"self_refine.{exercise}", label, f"{modules}\n\ndef {signature}:\n{lines}\n", says)


def _cover(label: str, says: str, words: str = "re.findall(r'[a-z]+', text.lower())", wanted: str = "list(dict.fromkeys(keywords))",
           covers: str = "w.lower() in words", share: str = "len(covered) / len(wanted) if wanted else 1.0",
           value: str = "share, missing") -> WrongAnswer:
    """The right way with one of its parts replaced."""
    return _code("coverage", "my_coverage(text, keywords)", label, says, f"""
words = {words}
wanted = {wanted}
covered = [w for w in wanted if {covers}]
missing = [w for w in wanted if w not in covered]
share = {share}
return {value}""")


def _pair(label: str, says: str, value: str, before: str = "") -> WrongAnswer:
    """One line; `fixed`, `broken` are counts, `wrong`, `right` what they are shares of, guarded against 0."""
    return _code("net_gain", "my_paired(before, after)", label, says, f"""
fixed, broken = (~before & after).sum(), (before & ~after).sum()
wrong, right = max((~before).sum(), 1), max(before.sum(), 1)
n = len(before)
{before}
return {value}""")


WRONG = [
    # --- coverage ---
    _cover("substring", "also inside other words", covers="w.lower() in text.lower()"),
    _cover("substring, listed twice", "also inside other words", covers="w.lower() in text.lower()", wanted="keywords"),
    _cover("substring, as written", "also inside other words", covers="w in text"),
    _cover("inside a word", "also inside other words", covers="any(w.lower() in word for word in words)"),
    _cover("find", "also inside other words", covers="text.lower().find(w.lower()) >= 0"),
    _cover("prefix", "only BEGINS with the keyword", covers="any(word.startswith(w.lower()) for word in words)"),
    _cover("regular expression without an end", "only BEGINS with the keyword", covers="re.search(r'\\b' + w, text, re.I)"),
    _cover("suffix", "only ENDS with the keyword", covers="any(word.endswith(w.lower()) for word in words)"),
    _cover("in, the other way", "a word of the text stands inside a keyword", covers="any(word in w.lower() for word in words)"),
    _cover("letter case", "You compare letter case too", words="re.findall(r'[A-Za-z]+', text)", covers="w in words"),
    _cover("text lowered", "and not the keywords", covers="w in words"),
    _cover("keywords lowered", "and not the text", words="re.findall(r'[A-Za-z]+', text)"),
    _cover("split", "The punctuation sticks to your words", words="text.lower().split()"),
    _cover("split, as written", "The punctuation sticks to your words", words="text.split()", covers="w in words"),
    _cover("spaces around", "The punctuation sticks to your words", covers="f' {w.lower()} ' in f' {text.lower()} '"),
    _cover("stripped", "You remove the punctuation at the ends",
           words="[word.strip(string.punctuation) for word in text.lower().split()]"),
    _cover("full stops and commas", "You remove some punctuation",
           words="text.lower().replace('.', '').replace(',', '').split()"),
    _cover("five signs stripped", "You remove some punctuation", words="[word.strip('.,!?;:') for word in text.lower().split()]"),
    _cover("deleted", "You delete the punctuation",
           words="text.lower().translate(str.maketrans('', '', string.punctuation)).split()"),
    _cover("listed twice", "A keyword that is listed twice counts twice", wanted="keywords"),
    _cover("share over the list", "Your share counts a keyword that is listed twice", share="1 - len(missing) / max(len(keywords), 1)"),
    _cover("share over covered in the list", "Your share counts a keyword that is listed twice",
           share="sum(w.lower() in words for w in keywords) / len(keywords) if keywords else 1.0"),
    _cover("occurrences", "You count the occurrences", share="sum(words.count(w.lower()) for w in wanted) / max(len(wanted), 1)"),
    _cover("words of the text", "You divide by the words of the text", share="len(covered) / max(len(words), 1)"),
    _cover("sorted", "in another order", value="share, sorted(missing)"),
    _cover("reversed", "in another order", value="share, missing[::-1]"),
    _cover("set in the middle", "in another order", wanted="sorted(set(keywords))"),
    _cover("missing in lower case", "The missing are in lower case", value="share, [w.lower() for w in missing]"),
    _cover("lower case throughout", "The missing are in lower case", wanted="list(dict.fromkeys(w.lower() for w in keywords))"),
    _cover("covered", "These are the words that ARE covered", value="share, covered"),
    _cover("share of the missing", "This is the share of the MISSING", value="1 - share, missing"),
    _cover("count", "Your first number is a count", share="len(covered)"),
    _cover("percent", "Your share is in percent", share="100 * len(covered) / len(wanted) if wanted else 100.0"),
    _cover("all or not", "only says whether ALL keywords", value="not missing, missing"),
    _cover("whole number", "only says whether ALL keywords", share="len(covered) // len(wanted) if wanted else 1"),
    _cover("rounded", "Your share is rounded", share="round(len(covered) / len(wanted), 1) if wanted else 1.0"),
    _cover("number of missing", "the number of the missing", value="share, len(missing)"),
    _cover("set", "Your missing keywords are a set", value="share, set(missing)"),
    _cover("one string", "Your missing keywords are one string", value="share, ', '.join(missing)"),
    _cover("swapped", "The two values are in the other order", value="missing, share"),
    _cover("share alone", "Your function returns one value", value="share"),
    _cover("missing alone", "Your function returns one value", value="missing"),
    _cover("three values", "Yours are 3 values", value="share, covered, missing"),
    _cover("array", "a number and a list of words", value="share, np.array(missing)"),
    _cover("no keywords, no division", "Without keywords nothing can be missing", share="len(covered) / len(wanted)"),
    _cover("no keywords, 0", "Without keywords nothing can be missing", share="len(covered) / max(len(wanted), 1)"),
    _cover("short words left out", "but the text covers it", words="re.findall(r'[a-z]{4,}', text.lower())"),
    _cover("inflected", "only BEGINS with the keyword", covers="{w.lower(), w.lower() + 's', w.lower() + 'ning'} & set(words)"),
    _cover("past tense guessed", "is missing in this text", covers="w.lower() in words or w.replace('i', 'a') in words"),
    _cover("share off", "The missing keywords are right; your share is", share="(len(covered) + 1) / (len(wanted) + 1)"),
    _cover("removed from the list", "Your function changed keywords", wanted="keywords", value="(keywords.clear() or share), missing"),
    # --- net_gain ---
    _pair("over all", "You divide by all N items", "fixed / n, broken / n"),
    _pair("means of masks", "You divide by all N items", "(~before & after).mean(), (before & ~after).mean()"),
    _pair("c over all", "You divide by all N items", "fixed / wrong, broken / n"),
    _pair("swapped", "The two shares are in the other order", "broken / right, fixed / wrong"),
    _pair("divisors swapped", "divided by others than asked", "fixed / right, broken / wrong"),
    _pair("both over right", "divided by others than asked", "fixed / right, broken / right"),
    _pair("both over wrong", "divided by others than asked", "fixed / wrong, broken / wrong"),
    _pair("over what is right after", "by the state AFTER the round", "fixed / max(after.sum(), 1), broken / max((~after).sum(), 1)"),
    _pair("over what is wrong after", "by the state AFTER the round", "fixed / max((~after).sum(), 1), broken / max(after.sum(), 1)"),
    _pair("over the changed", "the number of answers that changed", "fixed / max(fixed + broken, 1), broken / max(fixed + broken, 1)"),
    _pair("counts", "These are counts", "fixed, broken"),
    _pair("accuracies", "These are the accuracies", "before.mean(), after.mean()"),
    _pair("from accuracies", "You compare the two accuracies alone", "(b - a) / (1 - a), (a - b) / a",
          "a, b = before.mean(), after.mean()"),
    _pair("gain and loss", "You compare the two accuracies alone", "max(b - a, 0), max(a - b, 0)", "a, b = before.mean(), after.mean()"),
    _pair("unchanged", "the shares that did NOT change", "1 - fixed / wrong, 1 - broken / right"),
    _pair("kept in place of broken", "One of the two is the share that did not change", "fixed / wrong, after[before].mean()"),
    _pair("percent", "Your shares are in percent", "100 * fixed / wrong, 100 * broken / right"),
    _pair("negative", "Your c is negative", "fixed / wrong, -broken / right"),
    _pair("rounded", "without rounding", "round(fixed / wrong, 2), round(broken / right, 2)"),
    _pair("rounded to three", "without rounding", "round(fixed / wrong, 3), round(broken / right, 3)"),
    _pair("nan", "and your function returns nan", "after[~before].mean(), (~after)[before].mean()"),
    _pair("division by 0", "and your function divides by 0", "a / b, c / d",
          "a, b, c, d = (int(m.sum()) for m in (~before & after, ~before, before & ~after, before))"),
    _pair("one of none", "The stub says 0.0 for a share of no items", "a, c",
          "a = after[~before].mean() if (~before).any() else 1.0\nc = (~after)[before].mean() if before.any() else 0.0"),
    _pair("gain", "Your function returns one number", "fixed / n - broken / n"),
    _pair("three values", "returns 3 values", "fixed / wrong, broken / right, fixed - broken"),
    _pair("masks", "numbers for each item", "~before & after, before & ~after"),
    _pair("if over an array", "one truth value", "0.0, 0.0", "if before == after: return 0.0, 0.0"),
    _pair("in place", "start from x.copy()", "fixed / wrong, broken / right", "before &= after"),
    _pair("smoothed", "c = (~after)[before].mean()", "(fixed + 1) / (wrong + 2), (broken + 1) / (right + 2)"),
]
