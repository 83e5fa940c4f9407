"""A text with its edits marked: deleted words are struck through, inserted ones underlined, and each has its colour."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

from course_utils.diffusion.edits import DELETE, INSERT, KEEP
from course_utils.explore.chart import unfit

# Vermilion and green of the course's palette, dark enough to be read on white (contrast 4.5 and more).
STYLES = {
    KEEP: "",
    DELETE: "color:#B04A00;text-decoration:line-through",
    INSERT: "color:#00734F;text-decoration:underline;font-weight:600",
}
TAGS = {KEEP: "span", DELETE: "del", INSERT: "ins"}
SIGNS = {KEEP: "{}", DELETE: "[-{}-]", INSERT: "{{+{}+}}"}  # as wdiff writes them


class MarkedEdits:
    """Lines of edits: displayed as text/html for the eye, text/plain for readers and tests."""

    def __init__(self, lines: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> None:
        self.lines = lines

    def __repr__(self) -> str:
        return "\n".join(
            f"{label}: " + "".join(_spaced(SIGNS[kind], text) for kind, text in runs).strip()
            for label, runs in self.lines
        )

    def _repr_html_(self) -> str:
        rows = []
        for label, runs in self.lines:
            tags = [(TAGS[kind], STYLES[kind], html.escape(text)) for kind, text in runs]
            marks = "".join(f'<{tag} style="{style}">{text}</{tag}>' for tag, style, text in tags)
            look = "text-align:left;white-space:nowrap;vertical-align:top"
            head = f'<th scope="row" style="{look}">{html.escape(label)}</th>'
            rows.append(f'<tr>{head}<td style="text-align:left;white-space:pre-wrap">{marks}</td></tr>')
        return f"<table>{''.join(rows)}</table>"


def marked_edits(
    lines: Sequence[tuple[str, Sequence[tuple[str, Any]]]], decode: Callable[[Any], str] | None = None
) -> MarkedEdits:
    """One line for each (label, runs), runs as `edits.changes` returns them.

    decode: what makes a text of a run's tokens; None: they are words, and a blank follows each.

    Raises ValueError: a run that is not KEEP, DELETE or INSERT.
    """
    for _, runs in lines:
        if strange := {kind for kind, _ in runs} - SIGNS.keys():
            raise unfit("runs", f"of {', '.join(SIGNS)}, as edits.changes returns them", sorted(map(str, strange)))
    decode = decode or (lambda words: "".join(f"{word} " for word in words))
    return MarkedEdits(
        [(label, [(kind, _visible(kind, decode(tokens))) for kind, tokens in runs]) for label, runs in lines]
    )


def _visible(kind: str, text: str) -> str:
    """A change of blanks alone, which nobody would see, is drawn as ␣."""
    return text if kind == KEEP or text.strip() else "␣" * len(text)


def _spaced(sign: str, text: str) -> str:
    """The sign around a text, its outer blanks left outside."""
    core = text.strip()
    before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :] if core else ""
    return before + sign.format(core) + after
