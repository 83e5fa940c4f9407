"""How the exercises speak: text/plain and text/html that say the same, without relying on colour."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Message", "code_message", "table_message"]

# Okabe and Ito's palette: told apart by colour-blind readers; the words carry the meaning all the same.
BAR = {"passed": "#009e73", "wrong": "#d55e00", "open": "#56b4e9", "hint": "#e69f00"}


@dataclass(repr=False)
class Message:
    """A titled message; `lines` are paragraphs, in which `code` in backquotes is shown as code."""

    title: str
    headline: str
    lines: list[str] = field(default_factory=list)
    role: str = "open"
    extra_html: str = ""
    extra_text: str = ""

    @property
    def text(self) -> str:
        lines = [f"{self.title}: {self.headline}", *self.lines]
        return "\n".join(lines) + (f"\n{self.extra_text}" if self.extra_text else "")

    @property
    def html(self) -> str:
        body = "".join(f'<p style="margin:4px 0 0 0">{_inline(line)}</p>' for line in self.lines)
        return (
            f'<div role="status" style="border-left:6px solid {BAR[self.role]};padding:4px 12px;margin:4px 0">'
            f"<strong>{html.escape(self.title)}: {html.escape(self.headline)}</strong>{body}{self.extra_html}</div>"
        )

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": self.text, "text/html": self.html}

    def show(self) -> None:
        from IPython.display import display

        display(self)


def code_message(name: str, source: str) -> Message:
    """A message that shows source code."""
    block = f'<pre style="margin:6px 0"><code>{html.escape(source)}</code></pre>'
    return Message(title=name, headline="how the course does it", role="hint", extra_html=block, extra_text=source)


def table_message(title: str, headline: str, rows: Sequence[tuple[str, str]]) -> Message:
    """A message with a table of two columns, the exercise and its state."""
    width = max((len(name) for name, _ in rows), default=0)
    cells = "".join(
        f'<tr><th scope="row" style="text-align:left">{html.escape(name)}</th>'
        f'<td style="text-align:left">{html.escape(status)}</td></tr>'
        for name, status in rows
    )
    head = "".join(f'<th scope="col" style="text-align:left">{word}</th>' for word in ("exercise", "state"))
    return Message(
        title=title,
        headline=headline,
        role="open",
        extra_html=f"<table><tr>{head}</tr>{cells}</table>",
        extra_text="\n".join(f"  {name:<{width}}  {status}" for name, status in rows),
    )


def _inline(line: str) -> str:
    escaped = html.escape(line).replace("\n", "<br>")
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)
