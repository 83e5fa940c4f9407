"""Edit-based diffusion of text: random edits that corrupt it, and the tags that turn one text into another.

A text is a list of tokens of any kind that can be compared: words, characters, ids (a tensor's tolist()). A draft of n
tokens has n + 1 tags, the first for its START, the others for its tokens: KEEP the token; REPLACE it by a span of new
tokens;
INSERT: keep it and write a span after it; DELETE it. Each REPLACE or INSERT takes the next one of `replacements`, a
list of spans. A tagger that predicts the tags and a generator that writes the spans make an edit-based diffusion model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

KEEP, REPLACE, INSERT, DELETE = TAGS = ("KEEP", "REPLACE", "INSERT", "DELETE")
WRITES = (REPLACE, INSERT)  # the tags that take a span


class Edits(NamedTuple):
    """How to turn a draft into another text: tags (n + 1) and a span for each REPLACE and INSERT, in their order."""

    tags: list[str]
    replacements: list[list[Any]]


class Corruption(NamedTuple):
    """A spoiled text, and the edits that turn it back: `apply_tags(*corruption)` is the text before."""

    tokens: list[Any]
    tags: list[str]
    replacements: list[list[Any]]


def corrupt(
    tokens: Sequence[Any],
    vocabulary: Sequence[Any],
    generator: torch.Generator | None = None,
    keep: float = 0.6,
    replace: float = 0.2,
    insert: float = 0.1,
    delete: float = 0.1,
    span: float = 3.0,
) -> Corruption:
    """One step of edit-based corruption: edits from left to right, each of a random kind and of max(1, Poisson(span))
    tokens.

    The shares keep, replace, insert and delete, which sum to 1, are those of the EDITS. An insertion uses no token up,
    so of the tokens keep / (1 - insert), 2 of 3 by default, stay. New tokens are drawn from `vocabulary`, evenly:
    range(K) for ids, or all words of a corpus to draw by frequency. A new token that happens to be the old one counts
    as kept. The tags undo exactly what was done; `tags_between` may know a shorter way. Several steps: corrupt the
    result again.
    Raises ValueError: shares that are negative or do not sum to 1, insert = 1 (it would never end), span < 0, no
    vocabulary.
    Source: Reid et al. (2022), DiffusER (60/20/10/10, Poisson(3) for translation); what has a length is our reading of
    it.
    """
    shares = [keep, replace, insert, delete]
    if min(shares) < 0 or not math.isclose(sum(shares), 1, abs_tol=1e-6) or insert >= 1:
        raise ValueError(f"keep, replace, insert and delete must be shares that sum to 1, insert below 1, got {shares}")
    if not span >= 0 or not len(vocabulary):
        raise ValueError(
            f"span must be at least 0 and the vocabulary not empty, got {span} and {len(vocabulary)} tokens"
        )
    # pairs of the token after the step and the one before, either of which may be missing
    kinds, place, pairs = torch.tensor(shares, dtype=torch.float64), 0, []
    while True:
        kind = TAGS[torch.multinomial(kinds, 1, generator=generator)]
        length = max(1, int(torch.poisson(torch.tensor(float(span)), generator=generator)))
        new = [
            vocabulary[i]
            for i in torch.randint(len(vocabulary), (length * (kind in WRITES),), generator=generator).tolist()
        ]
        if kind == INSERT:
            pairs += [((b,), ()) for b in new]
            continue
        old = tokens[place : place + length]
        place += length
        if not len(old):
            break
        pairs += {
            KEEP: [((a,), (a,)) for a in old],
            REPLACE: [((b,), (a,)) for a, b in zip(old, new)],
            DELETE: [((), (a,)) for a in old],
        }[kind]
    return Corruption([b for after, _ in pairs for b in after], *_tagged(pairs))


def tags_between(draft: Sequence[Any], target: Sequence[Any]) -> Edits:
    """The edits of a shortest (Levenshtein) alignment: apply_tags(draft, *tags_between(draft, target)) is the target.

    From left to right; of equally short ways it prefers REPLACE to DELETE to INSERT. The spans of REPLACE and INSERT
    and the number of DELETE add up to `edit_distance`. Time and memory are len(draft) x len(target).
    """
    rest, pairs, i, j = _distances(draft, target), [], 0, 0
    while i < len(draft) or j < len(target):
        both = i < len(draft) and j < len(target)
        if both and rest[i][j] == rest[i + 1][j + 1] + (draft[i] != target[j]):
            step = (1, 1)
        else:
            step = (1, 0) if i < len(draft) and rest[i][j] == rest[i + 1][j] + 1 else (0, 1)
        pairs.append((tuple(draft[i : i + step[0]]), tuple(target[j : j + step[1]])))
        i, j = i + step[0], j + step[1]
    return _tagged(pairs)


def apply_tags(draft: Sequence[Any], tags: Sequence[str], replacements: Sequence[Sequence[Any]]) -> list[Any]:
    """The text that the edits make of a draft of n tokens: tags (n + 1), replacements a span for each REPLACE and
    INSERT.

    Raises ValueError: another number of tags or spans, an unknown tag, REPLACE or DELETE for the start.
    """
    writes = sum(tag in WRITES for tag in tags)
    if len(tags) != len(draft) + 1 or len(replacements) != writes:
        raise ValueError(
            f"a draft of {len(draft)} tokens needs {len(draft) + 1} tags, for the start and each token, and a "
            "span for each"
            f" REPLACE and INSERT, {writes}: got {len(tags)} and {len(replacements)}"
        )
    if not set(tags) <= set(TAGS) or tags[0] not in (KEEP, INSERT):
        raise ValueError(f"tags must be of {', '.join(TAGS)}, and KEEP or INSERT for the start, got {list(tags)}")
    spans, result = iter(replacements), []
    for token, tag in zip([None, *draft], tags):
        if tag in (KEEP, INSERT):
            result.append(token)
        if tag in WRITES:
            result.extend(next(spans))
    return result[1:]  # without the start


def changes(
    draft: Sequence[Any], tags: Sequence[str], replacements: Sequence[Sequence[Any]]
) -> list[tuple[str, list[Any]]]:
    """The edits as runs to be shown: (KEEP, tokens), (DELETE, tokens), (INSERT, tokens), in the order of the text.

    REPLACE is a DELETE before an INSERT; within one change all that goes stands before what comes. KEEP and DELETE give
    the draft, KEEP and INSERT give `apply_tags`. Raises ValueError: as `apply_tags`.
    """
    apply_tags(draft, tags, replacements)
    spans, runs = iter(replacements), []
    gone, come = [], []

    def close() -> None:
        runs.extend((kind, list(tokens)) for kind, tokens in ((DELETE, gone), (INSERT, come)) if tokens)
        gone.clear()
        come.clear()

    for token, tag in zip([None, *draft], tags):
        if tag in (KEEP, INSERT):
            close()
            runs.append((KEEP, [token]))
        else:
            gone.append(token)
        if tag in WRITES:
            come.extend(next(spans))
    close()
    merged = []
    for kind, tokens in runs:
        tokens = tokens if merged or kind != KEEP else tokens[1:]  # without the start
        if merged and merged[-1][0] == kind:
            merged[-1][1].extend(tokens)
        elif tokens or not merged:
            merged.append((kind, tokens))
    return [run for run in merged if run[1]]


def edit_distance(draft: Sequence[Any], target: Sequence[Any]) -> int:
    """The smallest number of tokens to replace, insert or delete that turns the draft into the target (Levenshtein)."""
    return _distances(draft, target)[0][0]


def _distances(draft: Sequence[Any], target: Sequence[Any]) -> list[list[int]]:
    """distances[i][j] between draft[i:] and target[j:], from the end, so that an alignment can be read from the
    start."""
    n, m = len(draft), len(target)
    table = [[0] * (m + 1) for _ in range(n)] + [list(range(m, -1, -1))]
    for i in range(n - 1, -1, -1):
        row, below = table[i], table[i + 1]
        row[m] = n - i
        for j in range(m - 1, -1, -1):
            row[j] = below[j + 1] if draft[i] == target[j] else 1 + min(below[j + 1], below[j], row[j + 1])
    return table


def _tagged(pairs: Sequence[tuple[Sequence[Any], Sequence[Any]]]) -> Edits:
    """The edits of an alignment: pairs of a draft's token and the target's, one of which may be missing, ()."""
    tags, spans = [KEEP], [[]]
    for token, wanted in pairs:
        if token:
            tags.append(KEEP if token == wanted else REPLACE if wanted else DELETE)
            spans.append(list(wanted) if tags[-1] == REPLACE else [])
        else:  # there is no token to hang it on but the one before
            tags[-1] = {KEEP: INSERT, DELETE: REPLACE}.get(tags[-1], tags[-1])
            spans[-1].extend(wanted)
    return Edits(tags, [span for span in spans if span])
