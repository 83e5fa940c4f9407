"""The training pairs of sequence-level distillation and interpolation, with made-up beams."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

from course_utils.exercises.distillation import mistakes
from course_utils.exercises.engine import Exercise, Mistake, case


def sequence_kd_data(
    beam_search: Callable, sources: list[str], references: list[str] | None = None, similarity: Callable | None = None
) -> list[tuple[str, str]]:
    """The student's training pairs (source, target): the targets are the teacher's own translations.

    beam_search(source): the teacher's candidates, (translation, log_prob), in any order. Without similarity: the most
    probable one, near the mode of the teacher (sequence-level distillation). With similarity(candidate, reference) ->
    number: the one that is most similar to the source's reference (sequence-level interpolation).
    references: one text a source; used only together with similarity. Source: Kim & Rush (2016), sections 3.2, 3.3.
    """
    pairs = []
    for i, source in enumerate(sources):
        candidates = beam_search(source)
        if similarity is None:
            translation, _ = max(candidates, key=lambda candidate: candidate[1])
        else:
            translation, _ = max(candidates, key=lambda candidate: similarity(candidate[0], references[i]))
        pairs.append((source, translation))
    return pairs


BELOW_0 = "Log-probabilities, and some similarities, are below 0: start at -math.inf, or use max with a key."
BY_LOG_PROB = "Without a similarity the highest log-probability decides."
BY_SIMILARITY = "With a similarity it alone decides, of the candidate's text and the reference of the same source."
ONE_EACH = "Return a list of pairs (source, target): one for each source, also for a sentence that comes twice."

CAT, RAIN, BOOK, LATE = "the cat sleeps", "it rains a lot today", "she reads the old book", "we are late again"
BEAMS = {
    CAT: "gato duerme -1.7|el gato duerme -1.2|duerme el gato pequeño -2.7|un gato está durmiendo -2.1|"
    "la gata duerme en casa -3.3",
    RAIN: "está lloviendo mucho hoy -3.3|hoy llueve mucho -1.6|hoy la lluvia es muy fuerte -1.8|llueve hoy -4.3|"
    "llueve mucho -2.2",
    BOOK: "ella leía un libro muy antiguo -2.0|lee el viejo libro -1.5|está leyendo ese libro -3.9|lee un libro -2.9|"
    "ella lee el libro viejo -3.4",
    LATE: "otra vez llegamos tarde -1.6|estamos otra vez muy retrasados -4.2|volvemos a llegar tarde -1.0|"
    "tarde otra vez -4.8|llegamos tarde -4.1",
}
REFERENCES = ["un gato duerme en la cama", "hoy la lluvia es fuerte", "lee el libro antiguo", "otra vez volvemos tarde"]
CATS = [CAT, BOOK, CAT, CAT], [REFERENCES[0], REFERENCES[2], "gato duerme", "duerme el gatito pequeño"]


def _teacher(source: Any) -> list[tuple[str, float]]:
    if not isinstance(source, str) or source not in BEAMS:
        raise Mistake(f"beam_search translates one of the sources at a time, a text, and got {source!r}.")
    _teacher.random = random.getstate()
    found = (candidate.rsplit(" ", 1) for candidate in BEAMS[source].split("|"))
    return [(text, float(log_prob)) for text, log_prob in found]


def _long(source: Any) -> list[tuple[str, float]]:
    return [(text, 100 * log_prob) for text, log_prob in _teacher(source)]


def overlap(candidate: Any, reference: Any) -> float:
    """A similarity: the share of the candidate's letter pairs that the reference has too, less if it is shorter."""
    for value in (candidate, reference):
        if not isinstance(value, str):
            raise Mistake(f"similarity compares two texts, and got {value!r}.", "A candidate's text is candidate[0].")
    mine, theirs = (Counter(zip(text, text[1:])) for text in (candidate, reference))
    return (mine & theirs).total() / mine.total() * min(1.0, mine.total() / theirs.total()) ** 0.5


def _pairs(got: Any, *args: Any) -> Any:
    """The pairs, sorted, because their order does not matter."""
    if hasattr(got, "__next__"):
        raise Mistake("You return a generator, which is still to be run.", "Put list(...) around it.")
    if not isinstance(got, (list, tuple)):
        return got
    drawn = getattr(_teacher, "random", None) not in (None, random.getstate())
    pairs, _teacher.random = [tuple(pair) for pair in got if isinstance(pair, (list, tuple))], None
    if any(text in (None, "") for pair in pairs for text in pair):
        raise Mistake(
            "A target is None or empty: no candidate was chosen. Does a running maximum start too high?", BELOW_0
        )
    if len(pairs) < len(got) or any(len(pair) != 2 or not isinstance(pair[1], str) for pair in pairs):
        return got
    if drawn and sorted(pairs) != sorted(sequence_kd_data(*args)):
        raise Mistake("You draw a candidate at random: another call gives other targets.", BY_LOG_PROB)
    return sorted(pairs)


def _explain(got: Any, expected: list, *_: Any) -> str:
    if not isinstance(got, list) or any(not isinstance(pair, tuple) or len(pair) != 2 for pair in got):
        return ""
    if len(got) != len(expected):
        inside = " Is `return` inside the loop?" if len(got) == 1 else ""
        return f"There should be {len(expected)} pairs, one for each source, and yours are {len(got)}.{inside}"
    return next(f"The pair {b!r} is missing, and there is {a!r} instead." for a, b in zip(got, expected) if a != b)


LENGTHS = len, lambda text: len(text.split())
# Mistakes in the choice: {what was done: [score(candidate, x), by which the candidate is chosen]}, see _choosing for x.
WITHOUT_SIMILARITY = {
    "These are the first candidates, and they come in any order.": [lambda c, x: c is x.found[0]],
    "These are the last candidates, and they come in any order.": [lambda c, x: c is x.found[-1]],
    "These are the least probable candidates: the best log-probability is nearest to 0.": [lambda c, x: -c[1]],
    "These have the best log-probability divided by the length.": [lambda c, x, n=n: c[1] / n(c[0]) for n in LENGTHS],
    "These are the longest candidates.": [lambda c, x, n=n: n(c[0]) for n in LENGTHS],
    "These are the shortest candidates.": [lambda c, x, n=n: -n(c[0]) for n in LENGTHS],
    "max without a key compares the texts, by the alphabet.": [lambda c, x: c[0]],
}
WITH_SIMILARITY = {
    "The similarity has no effect: this is the most probable candidate.": [lambda c, x: c[1]],
    "These are most similar to the source, a text in another language.": [lambda c, x: x.like(c[0], x.source)],
    "These are the least similar candidates.": [lambda c, x: -x.like(c[0], x.reference)],
    "similarity got its two texts in the other order.": [lambda c, x: x.like(x.reference, c[0])],
    "sources.index(source), or a dict, finds only one reference for a sentence that comes twice.": [
        lambda c, x: x.like(c[0], x.references[x.sources.index(x.source)]),
        lambda c, x: x.like(c[0], dict(zip(x.sources, x.references))[x.source]),
    ],
    "The candidates are compared with all references.": [
        lambda c, x: max(x.like(c[0], other) for other in x.references)
    ],
    "A candidate is compared with the reference of another source.": [
        lambda c, x, k=k: x.like(c[0], x.references[k(x.i)]) for k in (lambda i: i - 1, lambda i: 0, lambda i: ~i)
    ],
    "These are most similar to the other candidates.": [lambda c, x: sum(x.like(c[0], other) for other, _ in x.found)],
    "Similarity and log-probability are combined.": [lambda c, x: x.like(c[0], x.reference) + c[1]],
}
# Mistakes in what is returned: {what was done: [f(right pairs, sources, references, beam_search)]}.
RETURNED = {
    "The targets are the references, as in ordinary training without a teacher.": [lambda p, s, r, b: list(zip(s, r))],
    "You return the references as further pairs.": [lambda p, s, r, b: [*p, *zip(s, r)]],
    "You return every candidate as a pair.": [lambda p, s, r, b: [(x, y) for x in s for y, _ in b(x)]],
    "A sentence that comes twice has lost a pair.": [lambda p, s, r, b: list(dict(p).items())],
    "The pairs are the wrong way round.": [lambda p, s, r, b: [pair[::-1] for pair in p]],
    "The source itself became the target.": [lambda p, s, r, b: list(zip(s, s))],
    "You return a dict or a set, which keeps equal ones once.": [lambda p, s, r, b, of=of: of(p) for of in (dict, set)],
    "The sources are missing.": [lambda p, s, r, b: [target for _, target in p]],
    "The target is a whole candidate.": [lambda p, s, r, b: [(x, (y, dict(b(x))[y])) for x, y in p]],
    "The target is a log-probability.": [lambda p, s, r, b: [(x, dict(b(x))[y]) for x, y in p]],
}


def _choosing(similar: bool, score: Callable) -> Callable:
    def answer(beam_search: Callable, sources: list, references: Any = None, similarity: Any = None) -> list:
        if bool(similarity) != similar:
            return sequence_kd_data(beam_search, sources, references, similarity)
        pairs, x = [], SimpleNamespace(sources=sources, references=references, like=similarity)
        for x.i, x.source in enumerate(sources):
            x.found, x.reference = beam_search(x.source), references and references[x.i]
            pairs.append((x.source, max(x.found, key=lambda candidate: score(candidate, x))[0]))
        return pairs

    return answer


def _returning(change: Callable) -> Callable:
    return lambda b, s, r=None, f=None: change(sequence_kd_data(b, s, r, f), s, r, b)


EXERCISE = Exercise(
    "distillation.sequence_kd_data",
    reference=sequence_kd_data,
    explain=_explain,
    errors={
        "not callable": "similarity may be None, and then it cannot be called.",
        "None|zip argument": "Something is None: references may be missing, and are needed only with a similarity.",
        "^(Type|Attribute|Value|Index)Error": "beam_search(source) returns a list of pairs (translation, log_prob), a "
        "text and a number, and there may be any number of pairs, also one.",
    },
    cases=[
        case("no similarity: the highest log-probability", _teacher, list(BEAMS), REFERENCES, None, view=_pairs),
        case("no references, as for new text", _teacher, [BOOK, CAT], None, None, view=_pairs),
        case("a beam of one candidate", lambda source: _teacher(source)[:1], [CAT], None, None, view=_pairs),
        case("long texts: log-probabilities below -100", _long, [CAT, LATE], None, None, view=_pairs),
        case("with a similarity (shared letter pairs)", _teacher, list(BEAMS), REFERENCES, overlap, view=_pairs),
        case("one sentence three times, no similarity", _teacher, *CATS, None, view=_pairs),
        case("one sentence three times, with three references", _teacher, *CATS, overlap, view=_pairs),
        case("a similarity below 0", _teacher, list(BEAMS), REFERENCES, lambda c, r: overlap(c, r) - 1, view=_pairs),
    ],
    mistakes=[
        *mistakes({ONE_EACH: RETURNED}, _returning),
        *mistakes({BY_LOG_PROB: WITHOUT_SIMILARITY}, partial(_choosing, False)),
        *mistakes({BY_SIMILARITY: WITH_SIMILARITY}, partial(_choosing, True)),
    ],
    hints=[
        "The targets are the teacher's own words, never a reference. Which of several candidates do you keep in each "
        "of the two cases?",
        "One loop over the numbers of the sources: max(beam_search(source), key=...), with the log-probability as the "
        "key or with the similarity to this source's reference.",
        "key = (lambda c: c[1]) if similarity is None else (lambda c: similarity(c[0], references[i])), then "
        "pairs.append((source, max(beam_search(source), key=key)[0]))",
    ],
)
