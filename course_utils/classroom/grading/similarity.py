"""How alike two students' answers are: a hint where to look, never a verdict.

The syntax tree of what a student wrote for an exercise becomes the set of all chains of SHINGLE neighbouring nodes,
each a hash: names count by the order in which they appear, numbers and texts by their type, docstrings and annotations
not at all. Two notebooks are compared by the share of common chains, |A and B| / |A or B| (Jaccard), over all
exercises. Chains that more than half of a class has are left out: what everybody writes says nothing.
Source: Schleimer, Wilkerson, Aiken (2003), "Winnowing", section 2, with trees instead of text.
"""

from __future__ import annotations

import ast
import zlib
from collections import Counter
from collections.abc import Sequence
from itertools import combinations

from course_utils.classroom.grading.report import Submission

__all__ = ["chains", "mark_similar"]

SHINGLE, LARGEST = 6, 1000  # nodes of a chain, chains of an answer
THRESHOLD, FEWEST = 0.8, 15  # from which likeness a pair is listed; chains that are too few to say anything
SKIPPED = {"docstring", "annotation", "returns", "ctx", "type_comment", "type_ignores", "kind"}


def chains(source: str) -> list[int]:
    """The hashes of an answer, sorted. Call it in the fence only: it parses what anybody may have written."""
    names: dict[str, int] = {}
    nodes: list[str] = []

    def walk(node: ast.AST) -> None:
        label = type(node).__name__
        name = getattr(node, "id", getattr(node, "arg", getattr(node, "name", None)))
        if isinstance(name, str):
            label += str(names.setdefault(name, len(names)))
        if isinstance(node, ast.Attribute):
            label += node.attr
        if isinstance(node, ast.Constant):
            label += type(node.value).__name__
        nodes.append(label)
        for field, value in ast.iter_fields(node):
            inner = value if isinstance(value, list) else [value]
            for child in inner:
                if isinstance(child, ast.AST) and field not in SKIPPED and not _is_text(child):
                    walk(child)

    try:
        walk(ast.parse(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found = {zlib.crc32(" ".join(nodes[i : i + SHINGLE]).encode()) for i in range(len(nodes) - SHINGLE + 1)}
    return sorted(found)[:LARGEST]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def mark_similar(submissions: Sequence[Submission]) -> None:
    """Set `similar` of each submission: the students whose answers to the same notebook are alike, the likest first."""
    topics: dict[str, list[Submission]] = {}
    for submission in submissions:
        submission.similar = ""
        if any(result.chains for result in submission.results):
            topics.setdefault(submission.topic, []).append(submission)
    for handed_in in topics.values():
        sets = [{(r.exercise, chain) for r in s.results for chain in r.chains} for s in handed_in]
        common = Counter(chain for own in sets for chain in own)
        most = max(2, len(sets) // 2)
        rare = [{chain for chain in own if common[chain] <= most} for own in sets]
        alike: dict[int, list[tuple[float, str]]] = {}
        for (i, a), (j, b) in combinations(enumerate(rare), 2):
            if min(len(a), len(b)) >= FEWEST and (share := len(a & b) / len(a | b)) >= THRESHOLD:
                alike.setdefault(i, []).append((share, handed_in[j].student))
                alike.setdefault(j, []).append((share, handed_in[i].student))
        for i, others in alike.items():
            handed_in[i].similar = ", ".join(f"{student} {share:.2f}" for share, student in sorted(others)[::-1][:3])
