"""What known misconceptions about sequence-level distillation choose, each with the hint that names it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

Candidates = list[tuple[str, float]]
Pairs = list[tuple[str, str]]

BY_LOG_PROB = "max(candidates, key=lambda candidate: candidate[1])"
BY_SIMILARITY = "max(candidates, key=lambda candidate: similarity(candidate[0], reference))"
GOLD = (
    "The targets are the references: that is ordinary training, the teacher has no say. The student learns from the"
    " teacher's own translations, which are simpler and more regular than those of people."
)
FIRST = "You take the first candidate, and they come in any order: choose by log-probability, " + BY_LOG_PROB + "."
LAST = "You take the last candidate, and they come in any order: choose by log-probability, " + BY_LOG_PROB + "."
LOWEST = (
    "You take the LEAST probable candidate. Log-probabilities are below 0 and the best is the one nearest to 0: no"
    f" abs(), no minus sign, no sorting upwards. {BY_LOG_PROB}."
)
PER_WORD = (
    "You divided the log-probability by the length, which is another choice. The exercise asks for the highest"
    f" log-probability as it is: {BY_LOG_PROB}."
)
LONGEST = f"You take the longest candidate: what counts is the teacher's log-probability, {BY_LOG_PROB}."
SHORTEST = f"You take the shortest candidate: what counts is the teacher's log-probability, {BY_LOG_PROB}."
ALPHABET = (
    "max, min or sorted without a key compare the TEXTS, by the alphabet, for the text comes first in each pair. Say by"
    f" what to compare: {BY_LOG_PROB}."
)
SECOND = "This is the second best candidate: take the best, " + BY_LOG_PROB + "."
COPY = "The source itself became the target: translate it, beam_search(source), and take a candidate."
SWAPPED = "The pairs are the wrong way round: (source, target), first what the student reads."
EVERY = (
    "You return every candidate as a pair. Only one target a source: several targets for one source are what makes the"
    " data hard for a small student."
)
ONE_EACH = "One pair for each source, also for a sentence that comes twice."
ADDED = (
    "You return the references as further pairs. (To add the original data is a known variant, not asked for here.)"
    f" {ONE_EACH}"
)
DROPPED = (
    f"A sentence that comes twice has lost a pair. {ONE_EACH} A dict or a set keeps each key once: use a list of pairs."
)
IGNORED = (
    "The similarity has no effect: this is the most probable candidate. If a similarity is given, choose the candidate most"
    f" similar to the reference, {BY_SIMILARITY}."
)
TO_SOURCE = (
    "You compare the candidates with the SOURCE, which is in another language: compare them with the reference of that"
    f" source, {BY_SIMILARITY}."
)
LEAST_SIMILAR = f"You take the LEAST similar candidate: the higher a similarity, the better, {BY_SIMILARITY}."
OTHER_WAY = "similarity(candidate, reference) got its two texts in the other order: the candidate comes first."
OTHER_REFERENCE = (
    "A candidate is compared with the reference of ANOTHER source: source i belongs to references[i], for example with"
    " zip(sources, references)."
)
INDEX = (
    "sources.index(source) (or a dict by source) finds the same place for a sentence that comes twice, and so its other"
    " reference: go through zip(sources, references), or use enumerate."
)
EACH_OTHER = (
    "You compare the candidates with each other (that is minimum Bayes risk): compare them with the REFERENCE,"
    f" {BY_SIMILARITY}."
)
MIXED = (
    "You combine similarity and log-probability. If a similarity is given, it alone decides: the beam has seen to the"
    " probability already."
)
ANY_REFERENCE = "You compare with all references: only the one of this very source counts, references[i]."
WHOLE_LIST = (
    "beam_search got the whole list of sources: it translates ONE source at a time, so call it in a loop over them."
)
NO_SOURCE = "beam_search takes one of the sources, a text: for source in sources: beam_search(source)."
PAIR_TO_SIMILARITY = (
    "similarity got a whole candidate (translation, log_prob): it compares two texts, similarity(candidate[0],"
    " reference)."
)
NOT_TWO_TEXTS = "similarity compares two texts, one candidate's translation and one reference."
SIMILARITY_IS_NONE = (
    "similarity is None here, and you called it. `if similarity is None:` take the candidate with the highest"
    f" log-probability, {BY_LOG_PROB}."
)
REFERENCES_ARE_NONE = (
    "Something here is None: references may be missing. Without a similarity they are not needed, for the targets are"
    f" the teacher's own translations, {BY_LOG_PROB}. Use references[i] only where a similarity is given."
)
SAMPLED = (
    "You draw a candidate at random: another call gives other targets. Take the best one, so that the student learns"
    f" the teacher's mode: {BY_LOG_PROB}."
)
A_DICT = f"You return a dict, which keeps each source once. {ONE_EACH} Return a list of pairs (source, target)."
A_SET = f"You return a set, which keeps equal pairs once. {ONE_EACH} Return a list of pairs (source, target)."
TWO_LISTS = "You return two lists: one list of pairs (source, target) is asked, list(zip(sources, targets))."
TARGETS_ONLY = "The sources are missing: a list of pairs (source, target) is asked."
NO_PAIR = "A list of pairs (source, target) is asked, both of them texts."
WHOLE_TUPLE = "The target is a whole candidate (translation, log_prob): take its text alone, candidate[0]."
ALL_CANDIDATES = "The target must be ONE text, not a list of candidates: choose one."
A_NUMBER = "A log-probability or a score stands where a text should be: keep the candidate's translation, candidate[0]."
FROM_ZERO = (
    "A target is None or empty: no candidate was chosen. Does a running maximum start at 0? Log-probabilities (and some"
    " similarities) are below 0: start at -math.inf, or use max with a key."
)


def variants(
    beams: Mapping[str, Candidates],
    sources: Sequence[str],
    references: Sequence[str] | None,
    formula: Callable[[str, str], float] | None,
) -> Iterator[tuple[str, Pairs]]:
    """(hint, the pairs) of each misconception."""

    def pick(score: Callable[[int, str, float], float]) -> Pairs:
        """For source i the candidate with the highest score(i, text, log_prob)."""
        return [
            (source, max(beams[source], key=lambda candidate: score(i, *candidate))[0])
            for i, source in enumerate(sources)
        ]

    by_log_prob = pick(lambda i, text, lp: lp)
    right = pick(lambda i, text, lp: formula(text, references[i])) if formula else by_log_prob
    if formula:
        yield from _of_similarity(beams, sources, references, formula, pick)
    if references is not None:
        gold = list(zip(sources, references))
        yield GOLD, gold
        yield ADDED, [*right, *gold]
    yield SWAPPED, [(target, source) for source, target in right]
    yield FIRST, [(source, beams[source][0][0]) for source in sources]
    yield LAST, [(source, beams[source][-1][0]) for source in sources]
    yield LOWEST, pick(lambda i, text, lp: -lp)
    yield PER_WORD, pick(lambda i, text, lp: lp / len(text.split()))
    yield PER_WORD, pick(lambda i, text, lp: lp / len(text))
    for size in (len, lambda text: len(text.split())):
        yield LONGEST, pick(lambda i, text, lp: size(text))  # noqa: B023 (used at once)
        yield SHORTEST, pick(lambda i, text, lp: -size(text))  # noqa: B023
    yield ALPHABET, [(source, max(beams[source])[0]) for source in sources]
    yield ALPHABET, [(source, min(beams[source])[0]) for source in sources]
    if all(len(beams[source]) > 1 for source in sources):
        yield SECOND, [(source, sorted(beams[source], key=lambda c: c[1])[-2][0]) for source in sources]
    yield COPY, [(source, source) for source in sources]
    yield EVERY, [(source, text) for source in sources for text, _ in beams[source]]
    yield DROPPED, list(dict(right).items())
    yield DROPPED, list({source: pair for source, pair in reversed(list(zip(sources, right)))}.values())


def _of_similarity(
    beams: Mapping[str, Candidates],
    sources: Sequence[str],
    references: Sequence[str],
    formula: Callable[[str, str], float],
    pick: Callable,
) -> Iterator[tuple[str, Pairs]]:
    n, last = len(sources), {source: i for i, source in enumerate(sources)}
    yield IGNORED, pick(lambda i, text, lp: lp)
    yield INDEX, pick(lambda i, text, lp: formula(text, references[sources.index(sources[i])]))
    yield INDEX, pick(lambda i, text, lp: formula(text, references[last[sources[i]]]))
    yield TO_SOURCE, pick(lambda i, text, lp: formula(text, sources[i]))
    yield LEAST_SIMILAR, pick(lambda i, text, lp: -formula(text, references[i]))
    yield OTHER_WAY, pick(lambda i, text, lp: formula(references[i], text))
    for step in (1, -1):
        yield OTHER_REFERENCE, pick(lambda i, text, lp: formula(text, references[(i + step) % n]))  # noqa: B023
    for place in (0, -1):
        yield OTHER_REFERENCE, pick(lambda i, text, lp: formula(text, references[place]))  # noqa: B023
    yield OTHER_REFERENCE, pick(lambda i, text, lp: formula(text, sorted(references)[i]))
    yield OTHER_REFERENCE, pick(lambda i, text, lp: formula(text, references[-1 - i]))
    yield ANY_REFERENCE, pick(lambda i, text, lp: max(formula(text, other) for other in references))
    yield ANY_REFERENCE, pick(lambda i, text, lp: sum(formula(text, other) for other in references))
    yield EACH_OTHER, pick(lambda i, text, lp: sum(formula(text, other) for other, _ in beams[sources[i]]))
    yield MIXED, pick(lambda i, text, lp: formula(text, references[i]) + lp)
    yield MIXED, pick(lambda i, text, lp: formula(text, references[i]) * 2.718281828**lp)
    yield MIXED, pick(lambda i, text, lp: formula(text, references[i]) * lp)
