"""Tests of 05_distillation: the training pairs of sequence-level distillation and interpolation, with made-up beams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from course_utils.exercises import distillation_sequence_mistakes as wrong
from course_utils.exercises.engine import Mistake
from course_utils.exercises.engine.calls import StudentError

Candidates = list[tuple[str, float]]
Pairs = list[tuple[str, str]]


def sequence_kd_data(
    beam_search: Callable,
    sources: list[str],
    references: list[str] | None = None,
    similarity: Callable | None = None,
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


# The teacher and the measure, which say at once when they are used in a wrong way -------------------------------------
class Teacher:
    """beam_search(source) -> candidates, from a table. Takes one source that it knows, and counts its calls."""

    def __init__(self, beams: Mapping[str, Candidates]) -> None:
        self.beams, self.calls = beams, 0

    def __call__(self, source: Any) -> Candidates:
        self.calls += 1
        if isinstance(source, (list, tuple)):
            raise Mistake(wrong.WHOLE_LIST)
        if not isinstance(source, str) or source not in self.beams:
            raise Mistake(f"{wrong.NO_SOURCE} It got {source!r}.")
        return list(self.beams[source])


class Measure:
    """similarity(candidate, reference) -> number, with a look at what it is given."""

    def __init__(self, formula: Callable[[str, str], float]) -> None:
        self.formula = formula

    def __call__(self, candidate: Any, reference: Any) -> float:
        for value in (candidate, reference):
            if isinstance(value, (tuple, list)) and len(value) == 2 and isinstance(value[1], float):
                raise Mistake(wrong.PAIR_TO_SIMILARITY)
            if not isinstance(value, str):
                raise Mistake(f"{wrong.NOT_TWO_TEXTS} It got a {type(value).__name__}.")
        return self.formula(candidate, reference)


def overlap(candidate: str, reference: str) -> float:
    """The share of the candidate's letter pairs that the reference has too, times a penalty if it is shorter."""
    mine, theirs = (Counter(zip(text, text[1:])) for text in (candidate, reference))
    shared = (mine & theirs).total()
    return shared / mine.total() * min(1.0, mine.total() / theirs.total()) ** 0.5


def minus_error_rate(candidate: str, reference: str) -> float:
    """Minus the number of letters to insert, delete or replace, over the length of the reference: never above 0."""
    row = list(range(len(reference) + 1))
    for i, letter in enumerate(candidate, start=1):
        before, row[0] = row[0], i
        for j, other in enumerate(reference, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (letter != other))
    return -row[-1] / len(reference)


# What is checked ------------------------------------------------------------------------------------------------------
def _check(
    answer: Callable,
    beams: Mapping[str, Candidates],
    sources: Sequence[str],
    references: Sequence[str] | None = None,
    formula: Callable[[str, str], float] | None = None,
) -> None:
    def ask(function: Callable = answer) -> Any:
        measure = Measure(formula) if formula else None
        return function(Teacher(beams), list(sources), references and list(references), measure)

    got = _tried(ask, formula)
    expected = sequence_kd_data(beams.__getitem__, sources, references, formula)
    pairs = _pairs(got, sources)
    if sorted(pairs) == sorted(expected):  # the order of training pairs does not matter
        return
    again = [_pairs(ask(), sources) for _ in range(4)]
    if any(other != pairs for other in again):
        raise Mistake(wrong.SAMPLED)
    for hint, variant in wrong.variants(beams, list(sources), references, formula):
        if sorted(pairs) == sorted(variant):
            raise Mistake(hint)
    raise Mistake(_where(pairs, expected, beams, sources, references, formula))


def _tried(ask: Callable, formula: Callable | None) -> Any:
    try:
        return ask()
    except StudentError as wrapped:
        said, error = str(wrapped.error).split("\n")[0], wrapped.error
        if isinstance(error, (TypeError, AttributeError)) and ("None" in said or "zip argument" in said):
            if "callable" in said and formula is None:
                raise Mistake(f"{wrong.SIMILARITY_IS_NONE} (Python said: {said})") from None
            raise Mistake(f"{wrong.REFERENCES_ARE_NONE} (Python said: {said})") from None
        if isinstance(error, (TypeError, AttributeError, ValueError, IndexError)):
            raise Mistake(
                "beam_search(source) returns a list of pairs (translation, log_prob): translation is a text, log_prob a"
                f" number, and there may be any number of pairs, also one. (Python said: {type(error).__name__}:"
                f" {said})"
            ) from None
        raise


def _pairs(got: Any, sources: Sequence[str]) -> Pairs:
    """The answer as a list of (text, text). Raises Mistake if it is anything else."""
    if isinstance(got, Mapping):
        raise Mistake(wrong.A_DICT)
    if isinstance(got, (set, frozenset)):
        raise Mistake(wrong.A_SET)
    if isinstance(got, (tuple, list)) and len(got) == 2 and got[0] in (list(sources), tuple(sources)):
        raise Mistake(wrong.TWO_LISTS)
    if not isinstance(got, (list, tuple)):
        kind = type(got).__name__
        lazy = " It is still to be run: put list(...) around it." if hasattr(got, "__next__") else ""
        raise Mistake(f"A list of pairs (source, target) is asked, and you return a {kind}.{lazy}")
    pairs = []
    for pair in got:
        if isinstance(pair, str):
            raise Mistake(f"{wrong.TARGETS_ONLY} Yours holds {pair!r}.")
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            shown = "a tuple of three" if isinstance(pair, tuple) and len(pair) == 3 else f"{pair!r}"
            raise Mistake(f"{wrong.NO_PAIR} Yours holds {shown}.")
        for text in pair:
            _is_text(text)
        pairs.append(tuple(pair))
    if not pairs and sources:
        raise Mistake("The list is empty: append one pair for each source.")
    if len(pairs) == 1 < len(sources):
        raise Mistake("Only one pair comes back: is `return` inside the loop over the sources?")
    return pairs


def _is_text(text: Any) -> None:
    if isinstance(text, (tuple, list)) and len(text) == 2 and isinstance(text[0], str):
        raise Mistake(wrong.WHOLE_TUPLE)
    if isinstance(text, (tuple, list)):
        raise Mistake(f"{wrong.ALL_CANDIDATES} Yours holds a {type(text).__name__} of {len(text)}.")
    if isinstance(text, (int, float)):
        raise Mistake(wrong.A_NUMBER)
    if text is None or text == "":
        raise Mistake(wrong.FROM_ZERO)
    if not isinstance(text, str):
        raise Mistake(f"{wrong.NO_PAIR} One of your texts is a {type(text).__name__}.")


def _where(
    pairs: Pairs,
    expected: Pairs,
    beams: Mapping[str, Candidates],
    sources: Sequence[str],
    references: Sequence[str] | None,
    formula: Callable | None,
) -> str:
    """The first source whose target is another one, with its candidates."""
    if len(pairs) != len(expected):
        return f"There are {len(pairs)} pairs for {len(expected)} sources. {wrong.ONE_EACH}"
    place = next(i for i, (mine, right) in enumerate(zip(pairs, expected)) if mine != right)
    source, target = expected[place]
    if pairs[place][0] != source:
        return f"Pair {place} begins with {pairs[place][0]!r}, and source {place} is {source!r}: (source, target)."
    score = {text: formula(text, references[place]) if formula else log_prob for text, log_prob in beams[source]}
    value = "similarity to the reference" if formula else "log-probability"
    mine = pairs[place][1]
    of_mine = f", with {score[mine]:.3g}" if mine in score else ", which is no candidate of the teacher for it"
    return (
        f"For {source!r} the target should be {target!r}: its {value} is the highest, {score[target]:.3g}. Yours is"
        f" {mine!r}{of_mine}."
    )


# The beams ------------------------------------------------------------------------------------------------------------
CAT, RAIN, BOOK, LATE = "the cat sleeps", "it rains a lot today", "she reads the old book", "we are late again"
BEAMS = {
    CAT: [
        ("gato duerme", -1.7),
        ("el gato duerme", -1.2),
        ("duerme el gato pequeño", -2.7),
        ("un gato está durmiendo", -2.1),
        ("la gata duerme en casa", -3.3),
    ],
    RAIN: [
        ("está lloviendo mucho hoy", -3.3),
        ("hoy llueve mucho", -1.6),
        ("hoy la lluvia es muy fuerte", -1.8),
        ("llueve hoy", -4.3),
        ("llueve mucho", -2.2),
    ],
    BOOK: [
        ("ella leía un libro muy antiguo", -2.0),
        ("lee el viejo libro", -1.5),
        ("está leyendo ese libro", -3.9),
        ("lee un libro", -2.9),
        ("ella lee el libro viejo", -3.4),
    ],
    LATE: [
        ("otra vez llegamos tarde", -1.6),
        ("estamos otra vez muy retrasados", -4.2),
        ("volvemos a llegar tarde", -1.0),
        ("tarde otra vez", -4.8),
        ("llegamos tarde", -4.1),
    ],
}
# With these numbers no two misconceptions choose the same (tests/test_distillation_exercises.py).
REFERENCES = [
    "un gato duerme en la cama",
    "hoy la lluvia es fuerte",
    "lee el libro antiguo",
    "otra vez volvemos tarde",
]


def sequence_highest(answer: Callable) -> None:
    """no similarity: for each source the candidate with the highest log-probability, wherever it stands in the beam"""
    _check(answer, BEAMS, list(BEAMS), REFERENCES)


def sequence_no_references(answer: Callable) -> None:
    """no references at all, as for new text that nobody has translated; a beam of one candidate"""
    _check(answer, BEAMS, [BOOK, CAT])
    _check(answer, {CAT: BEAMS[CAT][:1]}, [CAT])


def sequence_similar(answer: Callable) -> None:
    """with a similarity (shared letter pairs): the candidate that is most similar to the source's reference"""
    _check(answer, BEAMS, list(BEAMS), REFERENCES, overlap)


def sequence_twice(answer: Callable) -> None:
    """one sentence comes three times, with three references: all pairs are kept, each chosen by its own reference"""
    sources, references = (
        [CAT, BOOK, CAT, CAT],
        [REFERENCES[0], REFERENCES[2], "gato duerme", "duerme el gatito pequeño"],
    )
    _check(answer, BEAMS, sources, references)
    _check(answer, BEAMS, sources, references, overlap)


def sequence_negative(answer: Callable) -> None:
    """a similarity that is always below 0 (minus an error rate)"""
    _check(answer, BEAMS, list(BEAMS), REFERENCES, minus_error_rate)
