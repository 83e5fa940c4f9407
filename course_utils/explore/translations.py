"""The live chart of several translations of one sentence: which words each has in common with the reference."""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

from course_utils.explore import vega
from course_utils.explore.chart import LiveChart, clipped, how_many, live_chart, text_lines, unfit
from course_utils.explore.style import FAINT, INK, PALE, ROLE_COLOURS, TEXT_COLOURS

NAMES, SENTENCES = (2, 8), (1, 40)
LINES = 3  # of one text, before it is cut
SIZE, CHAR = 13, 7.84  # pixels of a letter and of a column (0.603 of it)
COLUMNS, LINE, GAP = 82, 19, 10  # letters in a line; pixels: height of a line, space between two rows
WIDTH = round(COLUMNS * CHAR)  # pixels: 643
LONGEST, SCORE = 24, 16  # letters of a name and of the score's name
WORD = re.compile(r"[^\s—–]+[—–]*|[—–]+")  # blanks and dashes divide words
MARKED, UNDERLINE = TEXT_COLOURS[2], ROLE_COLOURS["negative"]  # vermilion, for text dark enough to be read on white
# What a word is: not compared, matched, underlined, a remark of the chart's own.
PLAIN, SHARED, MISSING, NOTE = range(4)


class _Row(NamedTuple):
    """One text as it is drawn: words with their column, line and kind; what is told beside the name."""

    words: list[str]
    columns: list[int]
    lines: list[int]
    kinds: list[int]
    told: str
    score: str


def translation_viewer(
    rows: Mapping[str, Sequence[str]],
    *,
    reference: str,
    title: str = "Translations side by side",
    context: str = "",
    plain: Sequence[str] = ("English",),
    scores: Mapping[str, Sequence[float]] | None = None,
    score_name: str = "score",
    labels: Sequence[str] | None = None,
) -> LiveChart:
    """N sentences in several versions, one sentence at a time, with a slider for the sentence.

    Words that the reference does not have are underlined. Blanks and dashes divide words; case and punctuation do not
    count. What a version has in common with the reference is their longest common subsequence, so that order counts
    and each word of the reference is matched once. Beside a name: its length "of" the number of words of the reference
    (their ratio is the recall of ROUGE-L: Lin, 2004, section 3.1).

    rows: name -> N texts, 2 to 8 names, N = 1 to 40; reference: the name that the others are compared with; plain:
    names in another language, not compared. scores: name -> N numbers, for any of the names, shown as ``score_name``
    beside the name. labels: N strings that say which sentence it is. A text is cut after three lines of 82 letters, and
    then says how much is missing; the counts are those of the whole text. Raises ValueError: names or lengths that do
    not fit, a reference without words, scores that are not finite, too many names or sentences.
    """
    texts, N = _checked(rows, reference, plain, labels)
    scores = _checked_scores(scores or {}, score_name, texts, N)
    named = [""] * N if labels is None else [str(label) for label in labels]
    drawn = {name: [] for name in texts}
    digits = 1 if max((abs(x) for values in scores.values() for x in values), default=0) >= 10 else 2
    for name, versions in texts.items():
        for n, text in enumerate(versions):
            against = None if name in plain else texts[reference][n]
            score = f"{score_name} {scores[name][n]:.{digits}f}" if name in scores else ""
            drawn[name].append(_row(text, against, name == reference, score))
    tops, height = _places(drawn)
    shown = [clipped(name, LONGEST) for name in texts]
    values = [
        {"s": n + 1, "r": r, "w": row.words, "c": row.columns, "l": row.lines, "m": row.kinds}
        | {"told": row.told, "score": row.score}
        for r, versions in enumerate(drawn.values())
        for n, row in enumerate(versions)
    ]
    params = [
        *vega.numbered("sentence", f"sentence, 1 to {N}", N, width=min(40 + 10 * N, 360)),
        *vega.given(names=shown, tops=tops, labels=[one and f": {one}" for one in named]),
    ]
    where = f"'sentence ' + sentence + ' of {N}' + labels[sentence - 1]"
    meaning = f"underlined: words that {clipped(reference, LONGEST)} does not have in this order"
    panels = [text_lines([where], WIDTH), _panel(values, tops, height, shown)]
    text = f"{_in_words(texts, drawn, plain, reference, named)}{' Slider: sentence.' if N > 1 else ''}"
    return live_chart(title, context, [meaning], text, params, panels, spacing=6)


def in_reference(words: Sequence[str], reference: Sequence[str]) -> list[bool]:
    """For each word whether it belongs to the longest common subsequence with ``reference`` (LCS).

        L[i, j] = 1 + L[i+1, j+1] if w_i = r_j, else max(L[i+1, j], L[i, j+1]),   0 beyond the ends

    Of several longest ones it is the one whose words stand first. The number of True is L[0, 0].
    Source: Lin (2004), ROUGE: A Package for Automatic Evaluation of Summaries, section 3.1.
    """
    W, R = len(words), len(reference)
    length = [[0] * (R + 1) for _ in range(W + 1)]
    for i in range(W - 1, -1, -1):
        for j in range(R - 1, -1, -1):
            equal = words[i] == reference[j]
            length[i][j] = 1 + length[i + 1][j + 1] if equal else max(length[i + 1][j], length[i][j + 1])
    found, j = [], 0
    for i, word in enumerate(words):
        k = next((k for k in range(j, R) if reference[k] == word), None)
        found.append(k is not None and 1 + length[i + 1][k + 1] == length[i][j])
        if found[-1]:
            j = k + 1
    return found


def _key(word: str) -> str:
    """The word as it is compared: lower case, letters and digits only; "" for a word of punctuation."""
    return "".join(c for c in word.lower() if c.isalnum())


def _keys(text: str) -> list[str]:
    return [key for key in map(_key, WORD.findall(text)) if key]


def _checked(rows, reference, plain, labels) -> tuple[dict[str, list[str]], int]:
    """The texts as lists, without superfluous blanks, and their number. Raises ValueError if that cannot be drawn."""
    if not isinstance(rows, Mapping) or not NAMES[0] <= len(rows) <= NAMES[1]:
        got = len(rows) if isinstance(rows, Mapping) else type(rows).__name__
        raise unfit("rows", "a dict of 2 to 8 names and their texts", got)
    for name, versions in rows.items():
        listed = isinstance(versions, Iterable) and not isinstance(versions, str)
        if not isinstance(name, str) or not listed or not all(isinstance(text, str) for text in versions):
            wanted = "a string and a list of strings: put a single text in [ ]"
            raise ValueError(f"name and texts of the row {name!r} must be {wanted}")
    normal = functools.partial(unicodedata.normalize, "NFC")
    texts = {name: [" ".join(normal(text).split()) for text in versions] for name, versions in rows.items()}
    counts = {name: len(versions) for name, versions in texts.items()}
    N = next(iter(counts.values()))
    if set(counts.values()) != {N}:
        got = ", ".join(f"{name} {n}" for name, n in counts.items())
        raise ValueError(f"all rows need the same number of texts, got {got}")
    if not SENTENCES[0] <= N <= SENTENCES[1]:
        raise ValueError(f"the viewer shows 1 to 40 sentences, got {N}: choose some of them")
    if reference not in texts:
        raise unfit("reference", f"one of the rows, {', '.join(texts)}", repr(reference))
    if isinstance(plain, str) or reference in plain:
        raise unfit("plain", "a list of names without the reference", repr(plain))
    if tuple(plain) != ("English",) and set(plain) - set(texts):
        raise ValueError(f"plain must name rows, {', '.join(texts)}, got {plain!r}")
    for n, text in enumerate(texts[reference], 1):
        if not _keys(text):
            raise ValueError(f"sentence {n} of the reference has no words: leave it out")
    if labels is not None and (isinstance(labels, str) or len(labels) != N):
        raise ValueError(f"{N} sentences need a list of as many labels, got {how_many(labels)}")
    return texts, N


def _checked_scores(scores, score_name: str, texts: dict[str, list[str]], N: int) -> dict[str, list[float]]:
    if not isinstance(scores, Mapping) or not all(isinstance(values, Iterable) for values in scores.values()):
        raise ValueError(f"scores must be a dict of names and their {N} numbers")
    if len(score_name) > SCORE:
        wanted = f"at most {SCORE} letters, to stand beside a name"
        raise ValueError(f"score_name must have {wanted}: {score_name!r} has {len(score_name)}")
    scores = {name: list(values) for name, values in scores.items()}
    for name, values in scores.items():
        if name not in texts or len(values) != N or not all(isinstance(x, Real) and math.isfinite(x) for x in values):
            wanted = f"{N} finite numbers for names among {', '.join(texts)}"
            raise ValueError(f"scores must have {wanted}: {name!r} does not fit")
    return scores


def _row(text: str, against: str | None, is_reference: bool, score: str) -> _Row:
    """A text, compared with ``against`` (None: not compared) and laid out."""
    found = list(WORD.finditer(text))
    words = [one.group() for one in found]
    glued = [one.start() > 0 and text[one.start() - 1] != " " for one in found]  # no blank before it
    total = len(_keys(against or ""))
    if is_reference or against is None:
        kinds = [PLAIN] * len(words)
        told = f"{total} words" if is_reference else ""
    else:
        hits = iter(in_reference(_keys(text), _keys(against)))
        kinds = [(SHARED if next(hits) else MISSING) if _key(word) else PLAIN for word in words]
        told = f"{kinds.count(SHARED)} of {total} words in common"
    words, glued, kinds = (words, glued, kinds) if words else (["(no text)"], [False], [NOTE])
    return _Row(*_wrapped(words, glued, kinds), told, score)


def _wrapped(words: list[str], glued: list[bool], kinds: list[int]) -> tuple[list, list, list, list]:
    """Words, columns, lines and kinds in ``LINES`` lines of ``COLUMNS``; a remark counts what does not fit."""
    placed, line, end = [], 0, 0  # word, column, line, kind and number of the word; a word longer than a line is broken
    for i, (word, kind) in enumerate(zip(words, kinds)):
        for at in range(0, len(word), COLUMNS):
            piece = word[at : at + COLUMNS]
            column = end + (end > 0 and not glued[i])
            if column + len(piece) > COLUMNS:
                line, column = line + 1, 0
            placed.append((piece, column, line, kind, i))
            end = column + len(piece)
    if line >= LINES:
        kept = next(one[4] for one in placed if one[2] == LINES)  # number of words that are shown whole
        while True:  # the remark needs room: it takes the place of more words, and so counts more
            placed = [one for one in placed if one[4] < kept]
            end = placed[-1][1] + len(placed[-1][0]) + 1 if placed and placed[-1][2] == LINES - 1 else 0
            if end + len(_remark(words[kept:], kinds[kept:])) <= COLUMNS:
                break
            kept -= 1
        placed.append((_remark(words[kept:], kinds[kept:]), end, LINES - 1, NOTE, kept))
    return tuple(list(part) for part in zip(*(one[:4] for one in placed)))


def _remark(words: list[str], kinds: list[int]) -> str:
    count = sum(bool(_key(word)) for word in words)
    common = f", {kinds.count(SHARED)} in common" if {SHARED, MISSING} & set(kinds) else ""
    return f"… {count} more word{'s' * (count != 1)}{common}"


def _places(drawn: dict[str, list[_Row]]) -> tuple[list[int], int]:
    """Where the rows begin, each as high as its longest text, so that nothing moves, and the height of them all."""
    tops, at = [], 0
    for versions in drawn.values():
        tops.append(at)
        at += LINE * (2 + max(row.lines[-1] for row in versions)) + GAP
    return tops, at - GAP // 2  # room under the last line: if a mark reached the edge, Vega would enlarge the chart


def _panel(values: list[dict], tops: list[int], height: int, shown: list[str]) -> dict:
    """The chosen sentence: names, numbers, words and underlines, at pixels that were computed here."""

    def text(field: str, x: dict, **look: Any) -> dict:
        letters = vega.mark("text", align="left", font=vega.MONOSPACE, fontSize=SIZE, aria=False)
        return vega.layer({**letters, **look}, x=x, y=vega.pixels("y"), text=vega.nominal(field))

    first = (max(map(len, shown)) + 3) * CHAR
    second = first + (max(len(value["told"]) for value in values) + 3) * CHAR
    now = {"filter": "datum.s == sentence"}
    heads = [now, *vega.calculate(y=f"tops[datum.r] + {LINE / 2}", name="names[datum.r]")]
    words = [
        now,
        {"flatten": ["w", "c", "l", "m"]},
        *vega.calculate(**{"x": f"datum.c * {CHAR}", "from": "datum.x + 1"}),  # lines of neighbours stay apart
        *vega.calculate(to=f"datum.x - 1 + {CHAR} * length(datum.w)", y=f"tops[datum.r] + {LINE} * (datum.l + 1.5)"),
        *vega.calculate(under=f"datum.y + {LINE / 2 - 1}"),
    ]
    colours = [{"test": f"datum.m == {kind}", "value": colour} for kind, colour in ((MISSING, MARKED), (NOTE, PALE))]
    drawn = text("w", vega.pixels("x"))
    drawn["encoding"]["color"] = {"condition": colours, "value": INK}
    line, missing = vega.mark("rule", color=UNDERLINE, strokeWidth=2, aria=False), {"filter": f"datum.m == {MISSING}"}
    place = {"x": vega.pixels("from"), "x2": {"field": "to"}, "y": vega.pixels("under")}
    under = vega.layer(line, transform=[missing], **place)
    between, across = [{"y": top - GAP / 2} for top in tops[1:]], {"x": {"value": 0}, "x2": {"value": WIDTH}}
    beside = [text("name", {"value": 0}, fontWeight="bold"), text("told", {"value": first})]
    layers = [
        vega.layer(vega.mark("rule", color=FAINT, aria=False), data=between, y=vega.pixels("y"), **across),
        {"transform": heads, "layer": [*beside, text("score", {"value": second})]},
        {"transform": words, "layer": [under, drawn]},
    ]
    return vega.panel(WIDTH, height, data={"values": values}, layer=layers)


def _in_words(
    texts: dict[str, list[str]], drawn: dict[str, list[_Row]], plain: Sequence[str], reference: str, named: list[str]
) -> str:
    """The names, and the first sentence in full."""
    where = f"Sentence 1 of {len(named)}{named[0] and f' ({named[0]})'}. "
    parts = []
    for name, versions in drawn.items():
        compared = name not in plain and name != reference
        told = f"{versions[0].told} with {reference}" if compared else versions[0].told
        beside = ", ".join(filter(None, (told, versions[0].score)))
        parts.append(f"{name}{f' ({beside})' if beside else ''}: {texts[name][0] or '(no text)'}")
    said = f"Rows: {', '.join(texts)}. {where}{' | '.join(parts)}"
    return said if said[-1] in ".?!" else f"{said}."
