"""Edits: every text turned into every other, the shortest way against a recursion, and the shares of the corruption."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import groupby

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils.diffusion.edits import (
    DELETE,
    INSERT,
    KEEP,
    REPLACE,
    TAGS,
    Edits,
    apply_tags,
    changes,
    corrupt,
    edit_distance,
    tags_between,
)

TEXTS = st.lists(st.integers(0, 3), max_size=9)  # few kinds of tokens, so that much is alike


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def distance(a: tuple, b: tuple) -> int:
    @lru_cache(None)
    def between(i: int, j: int) -> int:
        if min(i, j) == 0:
            return max(i, j)
        return min(between(i - 1, j) + 1, between(i, j - 1) + 1, between(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return between(len(a), len(b))


# ---- the way from one text to another


@given(TEXTS, TEXTS)
def test_changes_hold_both_texts_in_their_order(draft, target):
    runs = changes(draft, *tags_between(draft, target))
    assert sum((tokens for kind, tokens in runs if kind != INSERT), []) == draft
    assert sum((tokens for kind, tokens in runs if kind != DELETE), []) == target
    assert all(tokens for _, tokens in runs) and all(a[0] != b[0] for a, b in zip(runs, runs[1:]))


def test_changes_by_hand_and_edits_that_do_not_fit():
    runs = changes("the cat sat".split(), [INSERT, KEEP, REPLACE, DELETE], [["so"], ["dog", "ran"]])
    assert runs == [(INSERT, ["so"]), (KEEP, ["the"]), (DELETE, ["cat", "sat"]), (INSERT, ["dog", "ran"])]
    with pytest.raises(ValueError, match="4 tags"):
        changes("the cat sat".split(), [KEEP], [])


def test_each_tag_by_hand():
    draft = "the cat sat on mat".split()
    for target, tags, spans in [
        ("the cat sat on mat", [KEEP] * 6, []),
        ("the dog sat on the mat", [KEEP, KEEP, REPLACE, KEEP, INSERT, KEEP], [["dog"], ["the"]]),
        ("so the cat sat", [INSERT, KEEP, KEEP, KEEP, DELETE, DELETE], [["so"]]),
        ("the cat sat on mat and slept", [KEEP, KEEP, KEEP, KEEP, KEEP, INSERT], [["and", "slept"]]),
        ("", [KEEP] + [DELETE] * 5, []),
    ]:
        assert tags_between(draft, target.split()) == Edits(tags, spans)
        assert apply_tags(draft, tags, spans) == target.split()
    assert tags_between([], ["a", "b"]) == ([INSERT], [["a", "b"]]) and tags_between([], []) == ([KEEP], [])


@given(TEXTS, TEXTS)
@settings(max_examples=300, deadline=None)
def test_tags_turn_any_text_into_any_other_by_the_shortest_way(a, b):
    tags, spans = tags_between(a, b)
    assert apply_tags(a, tags, spans) == b
    assert len(tags) == len(a) + 1 and tags[0] in (KEEP, INSERT) and all(spans)
    shortest = distance(tuple(a), tuple(b))
    assert edit_distance(a, b) == edit_distance(b, a) == shortest
    assert sum(map(len, spans)) + tags.count(DELETE) == shortest


def test_characters_and_words_are_tokens_too():
    assert apply_tags("kitten", *tags_between("kitten", "sitting")) == list("sitting")
    assert edit_distance("kitten", "sitting") == 3


TAG_AND_SPAN = st.tuples(st.sampled_from(TAGS), st.lists(st.integers(4, 6), min_size=1, max_size=2))


@given(st.lists(TAG_AND_SPAN, min_size=1, max_size=7))
@settings(max_examples=60, deadline=None)
def test_apply_does_what_each_tag_says(steps):
    tags = [tag if place or tag in (KEEP, INSERT) else KEEP for place, (tag, _) in enumerate(steps)]
    spans = [span for tag, (_, span) in zip(tags, steps) if tag in (REPLACE, INSERT)]
    expected = []
    for place, (tag, (_, span)) in enumerate(zip(tags, steps)):
        expected += [place] if tag in (KEEP, INSERT) and place else []
        expected += span if tag in (REPLACE, INSERT) else []
    assert apply_tags(range(1, len(tags)), tags, spans) == expected


@pytest.mark.parametrize(
    ("tags", "spans", "words"),
    [
        ([KEEP, KEEP], [], "a draft of 2 tokens needs 3 tags"),
        ([KEEP, REPLACE, KEEP], [], "a span for each REPLACE and INSERT, 1"),
        ([KEEP, KEEP, KEEP], [["x"]], "got 3 and 1"),
        ([DELETE, KEEP, KEEP], [], "KEEP or INSERT for the start"),
        ([REPLACE, KEEP, KEEP], [["x"]], "KEEP or INSERT for the start"),
        ([KEEP, "SWAP", KEEP], [], "tags must be of KEEP, REPLACE"),
    ],
)
def test_edits_that_do_not_fit_are_refused_in_one_line(tags, spans, words):
    with pytest.raises(ValueError, match=words) as error:
        apply_tags(["a", "b"], tags, spans)
    assert "\n" not in str(error.value)


# ---- corruption


SHARES = st.sampled_from([(0.6, 0.2, 0.1, 0.1), (0.1, 0.2, 0.4, 0.3), (0, 0, 0.5, 0.5)])


@given(TEXTS, st.integers(0, 1000), st.floats(0, 4), SHARES)
@settings(max_examples=150, deadline=None)
def test_the_tags_turn_the_corrupted_text_back(text, seed, span, shares):
    spoiled = corrupt(text, range(4), generator(seed), *shares, span=span)
    assert apply_tags(*spoiled) == text
    assert corrupt(text, range(4), generator(seed), *shares, span=span) == spoiled
    assert sum(map(len, spoiled.replacements)) + spoiled.tags.count(DELETE) >= edit_distance(spoiled.tokens, text)


def test_what_one_kind_of_edit_does():
    text = list(range(50))
    assert corrupt(text, [-1], generator(), 1, 0, 0, 0) == (text, [KEEP] * 51, [])
    replaced = corrupt(text, [-1], generator(), 0, 1, 0, 0)
    assert replaced == ([-1] * 50, [KEEP] + [REPLACE] * 50, [[token] for token in text])
    assert corrupt(text, [-1], generator(), 0, 0, 0, 1) == ([], [INSERT], [text])
    inserted = corrupt(text, [-1], generator(), 0.5, 0, 0.5, 0)
    assert [token for token in inserted.tokens if token >= 0] == text and inserted.tokens.count(-1) > 5
    assert inserted.tags == [KEEP] + [KEEP if token >= 0 else DELETE for token in inserted.tokens]
    assert inserted.replacements == []


@pytest.mark.parametrize("span", [0.0, 3.0])
def test_shares_and_lengths_are_those_that_were_asked_for(span):
    """In a long text, where the cut-off last edit does not count: per token, 2/3 stay and as many come as go."""
    n = 30_000 if span else 10_000
    edit = 1 if span == 0 else span + math.exp(-span)  # mean of max(1, Poisson)
    noise = 4.5 * (edit * (1 + span) / n) ** 0.5
    tokens = corrupt(list(range(n)), [-1], generator(), span=span).tokens
    assert abs((n - len(set(range(n)) - set(tokens))) / n - 0.6 / 0.9) < noise < 0.1
    assert abs(len(tokens) / n - 1) < noise
    left = set(corrupt(list(range(n)), [-1], generator(1), 0.5, 0, 0, 0.5, span).tokens)
    runs = [len(list(run)) for _, run in groupby(range(n), lambda place: place in left)]
    assert n / len(runs) == pytest.approx(2 * edit, rel=0.05)  # of two kinds, two in a row are alike on average


def test_new_tokens_come_from_the_vocabulary_as_often_as_they_stand_in_it():
    tokens = corrupt(["x"] * 20_000, ["a", "a", "a", "b"], generator(), 0, 1, 0, 0).tokens
    assert set(tokens) == {"a", "b"}
    assert abs(tokens.count("a") / 20_000 - 0.75) < 4.5 * (0.75 * 0.25 / 20_000) ** 0.5


def test_many_steps_leave_little_of_the_text():
    text = list(range(40))
    spoiled, distances = text, []
    for step in range(12):
        before, (spoiled, tags, spans) = spoiled, corrupt(spoiled, range(100, 200), generator(step))
        assert apply_tags(spoiled, tags, spans) == before
        distances.append(edit_distance(spoiled, text) / max(len(spoiled), len(text)))
    assert distances[0] < 0.6 < 0.85 < distances[-1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"keep": 0.7}, "shares that sum to 1"),
        ({"keep": -0.1, "replace": 0.9}, "shares that sum to 1"),
        ({"keep": 0, "replace": 0, "insert": 1, "delete": 0}, "insert below 1"),
        ({"span": -1}, "span must be at least 0"),
        ({"span": math.nan}, "span must be"),
        ({"vocabulary": []}, "vocabulary not empty"),
    ],
)
def test_corruption_that_is_none_is_refused_in_one_line(options, words):
    with pytest.raises(ValueError, match=words) as error:
        corrupt([1, 2], **{"vocabulary": range(3)} | options)
    assert "\n" not in str(error.value)
