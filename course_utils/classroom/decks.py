"""Lecture decks: docs/decks/NN_topic.md says what is on a slide, the saved notebook gives charts, outputs and claims.

    python -m course_utils.classroom.decks [OUT] [--notebooks FILE ...]
        a reveal.js deck in one file for each notebook that has a deck (OUT: build/slides)

A deck is Markdown. A line "---" ends a slide. A slide begins with its message as a heading: "# ..." for the first one,
"## ..." for the others, "## ? ..." for a question that stands alone. "Note: ..." at its end is for the speaker. A line
of its own takes something out of the notebook, by the id of a cell, so that nothing is typed twice:

    {chart ID}             its live chart              {claim ID 2}           its second claim, with number and verdict
    {output ID}            its picture or its text     {code ID 3-9}          lines 3 to 9 of its code (at most eight)
    {output ID 1-3}        lines 1 to 3 of its text    {text ID 1-3}          these lines as prose, as a model wrote it
    {exercise 2} words     name, difficulty and minutes of an exercise, and the words

Nothing is executed. A deck opens from a disk, holds all it needs, and may ask no host for anything. The key c shows the
whole code of the cells that a slide has something from.
"""

from __future__ import annotations

import argparse
import base64
import html
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nbconvert.filters import Highlight2HTML
from nbconvert.preprocessors.sanitize import SanitizeHTML
from nbformat import NotebookNode

from course_utils.classroom import claims, progress
from course_utils.classroom.export import CHART, ROOT, SAFE, STATIC, ExportError, read, scripts, styles, to_html, write
from course_utils.evidence import FAILS, HOLDS, NOT_SHOWN
from course_utils.explore import chart_html, guess

DECKS = ROOT / "docs" / "decks"
# Characters in a line of code or printed text, and lines of code, that a slide has room for. More than LARGE are set a
# little smaller, at most SHORT a little larger.
WIDTH, LARGE, SHORT, LINES = 96, 85, 70, 8
# The "=" around which no line ends. Formulas and code are found first, and stay as they are.
EQUALS = re.compile(r"\$\$.*?\$\$|\$[^$\n]+\$|`[^`\n]+`|(?<=\b\w) = (?=[−.\d])", re.DOTALL)
DIRECTIVE = re.compile(r"^\{(chart|output|text|claim|code|exercise) +([^\s{}]+)(?: +([^{}]*))?\}(.*)$")
PICTURE = re.compile(r"^!\[([^\]]*)\]\((\S+)\)$")
RANGES = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")
EXERCISE = re.compile(r"^### Exercise (\d+) · (.+?) &nbsp; ([●○]+) · (.+)$", re.MULTILINE)
AUDIO = re.compile(r'<audio [^>]*?aria-label="([^"]*)"[^>]*?src="(data:audio/\w+;base64,[A-Za-z0-9+/=]+)"')
VERDICTS = {HOLDS: "holds", FAILS: "fails", NOT_SHOWN: "open"}  # a verdict and its class
TABLE = SanitizeHTML(
    tags=["table", "thead", "tbody", "tr", "th", "td", "b", "strong", "em", "br"], attributes=["scope"]
)
SCRIPTS = ("vega/vega.js", "katex/katex.min.js", "reveal/reveal.js", "reveal/notes.js", "chart.js", "decks.js")
highlighted = Highlight2HTML(pygments_lexer="python")


def split(text: str) -> list[str]:
    """The slides of a deck: what stands between lines "---", except inside of code."""
    slides, inside = [[]], False
    for line in text.splitlines():
        inside ^= line.startswith("```")
        if line.strip() == "---" and not inside:
            slides.append([])
        else:
            slides[-1].append(line)
    return ["\n".join(lines).strip() for lines in slides]


def _lines(text: str, asked: str, what: str, width: int = WIDTH) -> str:
    """The lines "3-9" (or "1,3-5") of a text, counted from 1; all of them if nothing is asked for."""
    lines = text.rstrip("\n").split("\n")
    if asked:
        spans = [tuple(map(int, span.split("-"))) for span in asked.split(",")] if RANGES.fullmatch(asked) else [(0,)]
        if not all(1 <= span[0] <= span[-1] <= len(lines) for span in spans):
            raise ExportError(f"lines {asked!r} of {what}, which has {len(lines)}: write numbers, such as 2-4 or 1,3-5")
        lines = [line for span in spans for line in lines[span[0] - 1 : span[-1]]]
    if what.startswith("cell"):  # code: a comment that does not fit is left out
        lines = [re.sub(r"  # .*", "", line) if len(line) > WIDTH else line for line in lines]
    if long := [line for line in lines if len(line) > width]:
        raise ExportError(f"a line of {what} has {len(long[0])} characters and {width} fit: {long[0][:30]!r} ...")
    return textwrap.dedent("\n".join(lines))


@dataclass
class _Slide:
    """One slide on its way to HTML: its notebook, and the code that the key c will show."""

    nb: NotebookNode
    charts: int  # in the slides before
    cells: dict[str, str] = field(default_factory=dict)  # id -> source

    def cell(self, asked: str) -> NotebookNode:
        for cell in self.nb.cells:
            if cell.get("id") == asked and cell.cell_type == "code":
                self.cells[asked] = cell.source
                return cell
        raise ExportError(f"the notebook has no code cell {asked!r}")

    def outputs(self, asked: str) -> list[NotebookNode]:
        outputs = self.cell(asked).outputs
        if not outputs:
            raise ExportError(f"cell {asked!r} has no output: run the notebook and save it, or choose another cell")
        return outputs

    def chart(self, asked: str, rest: str, words: str) -> str:
        """The live chart of a cell."""
        for output in self.outputs(asked):
            data = output.get("data", {})
            if CHART in data:
                self.charts += 1
                text = guess.uncovered_words(data.get("text/plain", ""))
                whole = guess.uncovered(data[CHART])  # in a deck the question stands on the slide before
                spec = {key: value for key, value in whole.items() if key != "title"}
                figure = chart_html.figure(spec, text, f"Live chart {self.charts}")
                return figure.replace("<script", f"{_said(whole)}<script", 1)
        raise ExportError(f"cell {asked!r} shows no live chart: {{output {asked}}} shows what it prints")

    def output(self, asked: str, rest: str, words: str) -> str:
        """The picture, table or sound of a cell, else the text that it printed; with line numbers always the text."""
        texts = []
        for output in self.outputs(asked):
            data = output.get("data", {})
            page, plain = data.get("text/html", ""), "".join(data.get("text/plain", ""))
            if not rest and "image/png" in data:
                alt = output.metadata.get("image/png", {}).get("alt") or plain
                png = html.escape(data["image/png"].strip())
                return f'<img alt="{html.escape(" ".join(alt.split()))}" src="data:image/png;base64,{png}">'
            if not rest and (sound := AUDIO.search(page)):
                return f'<audio controls aria-label="{sound[1]}" src="{sound[2]}"></audio>'
            if not rest and "<table" in page:
                return TABLE.sanitize_html_tags(page)
            texts.append(output.get("text", plain).rstrip("\n"))
        text = _lines("\n".join(filter(None, texts)), rest, f"the text of cell {asked!r}")
        return f'<pre class="printed{_size(text)}">{html.escape(text)}</pre>'

    def text(self, asked: str, rest: str, words: str) -> str:
        """Printed lines as paragraphs that may wrap."""
        text = "\n".join(output.get("text", "").rstrip("\n") for output in self.outputs(asked))
        lines = _lines(text, rest, f"the text of cell {asked!r}", width=1000).split("\n")
        return f'<div class="text">{"".join(f"<p>{html.escape(line)}</p>" for line in lines)}</div>'

    def claim(self, asked: str, rest: str, words: str) -> str:
        """A claim, our figure, and whether it holds here."""
        printed = "".join(output.get("text", "") for output in self.outputs(asked))
        found = [claims.Claim(*row) for row in claims.PRINTED.findall(printed)]
        number = int(rest) if rest.isdigit() else 0 if rest else 1
        if not 1 <= number <= len(found):
            raise ExportError(f"cell {asked!r} prints {len(found)} claims: there is no claim {rest or 1!r}")
        claim = found[number - 1]
        what, source, here, units = map(html.escape, (claim.what, claim.source, claim.here, claim.units))
        return (
            f'<div class="claim {VERDICTS[claim.verdict]}"><p class="what">{what}.</p>'
            f'<p class="here"><strong>{here}</strong> <span class="verdict">{claim.verdict}</span></p>'
            f'<p class="caption">{source} · {units}</p></div>'
        )

    def code(self, asked: str, rest: str, words: str) -> str:
        """Code of a cell."""
        code = _lines(self.cell(asked).source, rest, f"cell {asked!r}")
        return _code(code, f"cell {asked!r}")

    def exercise(self, asked: str, rest: str, words: str) -> str:
        """The name of an exercise, how hard it is and how long it takes."""
        text = "\n".join(cell.source for cell in self.nb.cells if cell.cell_type == "markdown")
        found = {number: rest for number, *rest in EXERCISE.findall(text)}
        if asked not in found:
            raise ExportError(f"the notebook has no exercise {asked}: its exercises are {', '.join(found) or 'none'}")
        name, dots, minutes = found[asked]
        hard = f'<span role="img" aria-label="difficulty {dots.count("●")} of 3">{dots}</span>'
        return (
            f'<div class="exercise"><p class="what"><strong>{asked} · {html.escape(name)}</strong> '
            f'<span class="level">{hard} {html.escape(minutes)}</span></p>{to_html(words, folder=DECKS)}</div>'
        )


def _said(spec: dict) -> str:
    """The title of a chart as HTML beside its sliders: there it can be read from the last row, and leaves more room."""
    title = spec.get("title") or {}
    title = title if isinstance(title, dict) else {"text": title}
    below = title.get("subtitle") or []
    lines = [title.get("text", ""), *([below] if isinstance(below, str) else below)]
    return (
        f'<div class="said">{"".join(f"<p>{html.escape(line)}</p>" for line in lines if isinstance(line, str))}</div>'
    )


def _size(text: str) -> str:
    """The class of code or printed text by its longest line and the number of its lines."""
    lines = text.split("\n")
    longest = max(map(len, lines))
    return " long" if longest > LARGE else " short" if longest <= SHORT and len(lines) <= LINES else ""


def _code(code: str, what: str) -> str:
    """Code on a slide. ExportError: it has more lines, or longer ones, than there is room for."""
    if code.count("\n") >= LINES:
        raise ExportError(f"{what} has {code.count(chr(10)) + 1} lines of code and {LINES} fit: choose some, as in 2-6")
    code = _lines(code, "", what)
    return f'<div class="code{_size(code)}">{highlighted(code)}</div>'


def _picture(path: Path, words: str) -> str:
    """A picture of the repository, with its words, inside of the page."""
    kinds = {".svg": "svg+xml", ".png": "png"}
    if not path.is_file() or path.suffix not in kinds:
        raise ExportError(f"there is no picture {path.name}: name one such as ../../notebooks/drawings/ties.svg")
    if not words.strip():
        raise ExportError(f"the picture {path.name} has no words for who cannot see it: ![words](...)")
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<img alt="{html.escape(words)}" src="data:image/{kinds[path.suffix]};base64,{data}">'


def _words(text: str, folder: Path) -> str:
    """Markdown as HTML. A line ends neither before "%" nor around the "=" of "λ = 2"."""
    text = re.sub(r"(?<=\d) %", "\u00a0%", text)
    text = EQUALS.sub(lambda found: "\u00a0=\u00a0" if found[0] == " = " else found[0], text)
    return to_html(text, folder=folder)


def _content(text: str, folder: Path, directive: Callable[[re.Match], str]) -> tuple[str, set[str]]:
    """The HTML of what stands below a heading, and the kinds of what was taken out of the notebook."""
    parts, words, code, kinds = [], [], None, set()

    def flush() -> None:
        if any(line.strip() for line in words):
            parts.append(_words("\n".join(words), folder))
        words.clear()

    for line in text.splitlines():
        if code is not None and line.startswith("```"):
            parts.append(_code("\n".join(code), "the code of the slide"))
            code = None
        elif code is not None:
            code.append(line)
        elif line.startswith("```"):
            flush()
            code = []
        elif found := DIRECTIVE.match(line):
            flush()
            kinds.add(found[1])
            parts.append(directive(found))
        elif found := PICTURE.match(line):
            flush()
            parts.append(_picture(folder / found[2], found[1]))
        elif line.startswith("{"):
            raise ExportError(f"{line[:40]!r} is none of {{chart ID}}, {{output ID}}, {{claim ID N}}, {{code ID 1-5}}")
        else:
            words.append(line)
    if code is not None:
        raise ExportError("a block of code does not end: its last line is ```")
    flush()
    return "\n".join(parts), kinds


def slide(text: str, nb: NotebookNode, folder: Path, charts: int = 0) -> tuple[str, int]:
    """A slide as a <section>, and how many charts there are now. Raises ExportError: the line says what is wrong."""
    text, _, note = text.partition("\nNote: ")
    heading, _, below = text.partition("\n")
    found = re.fullmatch(r"(##?) +(\? +)?(\S.*)", heading)
    if not found:
        raise ExportError(f"a slide begins with its message, as in '## Two models are better': it is {heading[:40]!r}")
    made = _Slide(nb, charts)
    content, kinds = _content(
        below, folder, lambda one: getattr(made, one[1])(one[2], (one[3] or "").strip(), one[4].strip())
    )
    level, kind = (
        len(found[1]),
        "title" if found[1] == "#" else "question" if found[2] else " ".join(f"has-{one}" for one in sorted(kinds)),
    )
    message = re.sub(r"^<p>|</p>\s*$", "", _words(found[3], folder).strip())
    behind = "".join(f"<p>Cell <code>{name}</code></p>{highlighted(code)}" for name, code in made.cells.items())
    return (
        f'<section class="{kind or "words"}"><h{level}>{message}</h{level}><div class="content">{content}</div>'
        + (f'<template class="behind">{behind}</template>' if behind else "")
        + (f'<aside class="notes">{to_html(note, folder=folder)}</aside>' if note else "")
        + "</section>",
        made.charts,
    )


def deck(path: Path, nb: NotebookNode) -> str:
    """The page of a deck without styles and scripts. Raises ExportError: file, slide and what is wrong, in one line."""
    texts, sections, charts = split(path.read_text(encoding="utf-8")), [], 0
    for number, text in enumerate(texts, 1):
        try:
            if text.startswith("# ") != (number == 1):
                raise ExportError("the first slide, and no other, begins with '# ' and the notebook's title")
            section, charts = slide(text, nb, path.parent, charts)
        except ExportError as error:
            raise ExportError(f"{path.name}, slide {number}: {error}") from error
        sections.append(section)
    title = html.escape(re.sub(r"[*`$]", "", texts[0].partition("\n")[0].lstrip("# ")))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
{SAFE}
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title} · Many Models</title>
<!--head-->
</head>
<body class="deck">
<main><div class="reveal"><div class="slides">
{chr(10).join(sections)}
</div></div></main>
<button id="show-code" type="button" aria-haspopup="dialog" hidden>code <kbd>c</kbd></button>
<dialog id="code" aria-labelledby="code-name"><h2 id="code-name">The code behind this slide</h2>
<div class="behind" tabindex="0" role="region" aria-label="Code"></div>
<form method="dialog"><button>Close <kbd>Esc</kbd></button></form></dialog>
</body>
</html>
"""


def slides(notebooks: dict[str, NotebookNode], folder: Path = DECKS) -> dict[str, str]:
    """File name -> a deck in one file, for the notebooks that have one in ``folder``."""
    reveal = (STATIC / "reveal" / "reveal.css").read_text(encoding="utf-8")
    head = f"<style>{reveal}\n{styles(('chart.css', 'decks.css'))}</style>"
    head += "".join(f"<script>{code}</script>\n" for code in scripts(SCRIPTS).values())
    there = {name: folder / f"{name}.md" for name in notebooks if (folder / f"{name}.md").is_file()}
    if not there:
        raise ExportError(f"there is no deck for {', '.join(notebooks)} in {folder}: a student edition has none")
    return {f"{name}.html": deck(path, notebooks[name]).replace("<!--head-->", head, 1) for name, path in there.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Exit status 0: written; 1: one line on standard error says what to do."""
    parser = argparse.ArgumentParser(prog="python -m course_utils.classroom.decks", description="Lecture decks.")
    parser.add_argument("out", nargs="?", type=Path, help="folder to write into (default: build/slides)")
    parser.add_argument("--notebooks", nargs="+", type=Path, metavar="FILE", help="default: all of notebooks/")
    parser.add_argument("--decks", type=Path, default=DECKS, metavar="FOLDER", help="default: docs/decks")
    options = parser.parse_args(argv)
    out = (options.out or ROOT / "build" / "slides").absolute()
    try:
        notebooks = read(options.notebooks or progress.notebooks() or [ROOT / "notebooks"])
        files = slides(notebooks, options.decks.absolute())
        size = write(files, out)
    except ExportError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(files)} decks, {size / 1e6:.1f} MB in {out}")
    if without := [name for name in notebooks if f"{name}.html" not in files]:
        print(f"no deck yet: {', '.join(without)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
