"""Lecture decks of the notebooks, offline, with the live charts alive and no kernel.

    python -m course_utils.classroom.export slides [OUT] [--notebooks FILE ...]
        a reveal.js deck for each notebook (OUT: build/slides)

Nothing is executed: the notebooks are shown as they were saved. nbconvert's own template "reveal" makes the pages. What
is changed: scripts come from this package (static/) instead of from other hosts, a chart stays its specification and is
drawn in the page, formulas are set by KaTeX. A deck is one file that holds everything, and opens from a disk, without a
server. A file appears under its final name only when all are complete; other files in OUT are left alone. A
Content-Security-Policy keeps a page from asking other hosts for anything, whatever a saved output holds. The book of
the course is made by docs/book.py.
"""

from __future__ import annotations

import argparse
import base64
import html
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import nbformat
from nbconvert.exporters import SlidesExporter
from nbconvert.exporters.exporter import ResourcesDict
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode

from course_utils.classroom import progress
from course_utils.explore import chart_html
from course_utils.explore.chart_html import STATIC

ROOT = Path(__file__).resolve().parents[2]
CHART, WIDGET = "application/vnd.vegalite.v5+json", "application/vnd.jupyter.widget-view+json"
COURSE = "Many Models"

# What a page may load: itself, and nothing from another host, whatever a saved output holds. Inline scripts are the
# quizzes and the decks, eval is Vega's.
POLICY = (
    "default-src 'none'; script-src 'self' file: 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' file: 'unsafe-inline'; img-src 'self' file: data: blob:; media-src data:; font-src data:; "
    "frame-src 'self' file: blob:; base-uri 'none'; form-action 'none'"
)
SAFE = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
# Blocks of nbconvert's template that name other hosts, or lack what a page needs. The comment is filled in when it has
# written the page.
HEAD = f"""{{%- block header -%}}
<!DOCTYPE html>
<html lang="{{{{ resources.language_code }}}}">
<head>
<meta charset="utf-8">
{SAFE}
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{{{{ nb.metadata.title | escape_html }}}}</title>
{{% for css in resources.inlining.css %}}<style>{{{{ css }}}}</style>{{% endfor %}}
{{{{ self.notebook_css() }}}}
<!--head-->
</head>
{{%- endblock -%}}
"""
DECK = f"{{%- extends 'index.html.j2' -%}}{HEAD}{{%- block footer_js -%}}</html>{{%- endblock -%}}"


class ExportError(Exception):
    """An export cannot be made. The message is ONE line that says what is wrong and what to do."""


class _Renderer(IPythonRenderer):
    """Formulas as elements that hold their TeX, links between notebooks as links between pages."""

    pages: frozenset[str] = frozenset()

    def inline_math(self, body: str) -> str:
        return f'<span class="tex">{html.escape(body)}</span>'

    def block_math(self, body: str) -> str:
        return f'<span class="tex" data-display="true">{html.escape(body)}</span>'

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")

    def link(self, text: str, url: str, title: str | None = None) -> str:
        stem, dot, place = url.partition(".ipynb")
        if not dot or "/" in stem:
            return super().link(text, url, title)
        return super().link(text, f"{stem}.html{place}", title) if stem in self.pages else text


def to_html(source: str, pages: Iterable[str] = (), folder: Path = ROOT / "notebooks") -> str:
    """A Markdown cell as HTML; ``pages`` are the notebooks (without their ending) that a link may lead to."""
    renderer = _Renderer(escape=False, embed_images=True, path=str(folder))
    renderer.pages = frozenset(pages)
    return MarkdownWithMath(renderer=renderer).render(source)


def title_of(nb: NotebookNode, name: str) -> str:
    """The first heading of the first level as plain text, or the file's name."""
    found = re.search(r"^# +(.+)$", "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown"), re.M)
    return re.sub(r"[*`$]", "", found.group(1)) if found else name


def _shown(data: dict, metadata: dict, chart: int) -> str | None:
    """HTML for an output that nbconvert would not show well, or None."""
    words = " ".join(data.get("text/plain", "").split())
    if CHART in data:
        return chart_html.figure(data[CHART], words, f"Live chart {chart}")
    if WIDGET in data:
        return f'<p class="note">{html.escape(words)}</p>'
    for kind in ("image/png", "image/jpeg"):
        if kind in data and "text/html" not in data:
            alt = metadata.get(kind, {}).get("alt") or ("" if words.startswith("<") else words)
            return f'<img alt="{html.escape(" ".join(alt.split()))}" src="data:{kind};base64,{data[kind].strip()}">'
    return None


def prepare(nb: NotebookNode, name: str) -> NotebookNode:
    """A copy of ``nb`` whose charts, pictures and kernel controls are HTML, with its title in the metadata."""
    nb = nbformat.from_dict(json.loads(json.dumps(nb)))
    nb.metadata.title = f"{title_of(nb, name)} · {COURSE}"
    nb.metadata.pop("widgets", None)  # the state of kernel controls: without a kernel they are shown as a note
    charts = 0
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            charts += CHART in output.get("data", {})
            if "data" in output and (shown := _shown(output.data, output.metadata, charts)):
                output.data, output.metadata = NotebookNode({"text/html": shown}), NotebookNode()
    return nb


def _convert(nb: NotebookNode, name: str, pages: Iterable[str], folder: Path) -> str:
    """nbconvert's page, with the comment <!--head--> still in it."""
    exporter = SlidesExporter(exclude_input_prompt=True, exclude_output_prompt=True)
    exporter.raw_template = DECK
    exporter.register_filter("markdown2html", partial(to_html, pages=pages, folder=folder))
    resources = ResourcesDict(metadata=ResourcesDict(name=name, path=str(folder)))
    return exporter.from_notebook_node(prepare(nb, name), resources)[0]


def styles() -> str:
    """KaTeX's style sheet, with those of its fonts that are here inside, and our own."""
    folder = STATIC / "katex"

    def face(rule: re.Match) -> str:
        font = folder / re.search(r"url\((fonts/[^)]+\.woff2)\)", rule[0]).group(1)
        if not font.exists():
            return ""
        data = base64.b64encode(font.read_bytes()).decode("ascii")
        return re.sub(r"src:[^;}]+", f'src:url(data:font/woff2;base64,{data}) format("woff2")', rule[0])

    own = "".join((STATIC / name).read_text(encoding="utf-8") for name in ("chart.css", "export.css"))
    return re.sub(r"@font-face\{[^}]+\}", face, (folder / "katex.min.css").read_text(encoding="utf-8")) + own


def scripts() -> dict[str, str]:
    """File name -> JavaScript, in the order in which a page needs them."""
    names = ("vega/vega.js", "katex/katex.min.js", "reveal/reveal.js", "reveal/notes.js", "chart.js", "export.js")
    files = [STATIC / file for file in names]
    # Without "</script" they may stand in a page.
    return {file.name: file.read_text(encoding="utf-8").replace("</script", "<\\/script") for file in files}


def slides(notebooks: dict[str, NotebookNode], folder: Path) -> dict[str, str]:
    """File name -> a deck in one file."""
    css = f"<style>{(STATIC / 'reveal' / 'reveal.css').read_text(encoding='utf-8')}\n{styles()}</style>"
    inline = "".join(f"<script>{code}</script>\n" for code in scripts().values())
    decks = {name: _convert(nb, name, notebooks, folder) for name, nb in notebooks.items()}
    return {f"{name}.html": deck.replace("<!--head-->", css + inline, 1) for name, deck in decks.items()}


def read(paths: Sequence[Path]) -> dict[str, NotebookNode]:
    """Name without ending -> notebook. Raises ExportError: no such file, not a notebook, never run."""
    notebooks = {}
    for path in paths:
        if not path.is_file():
            raise ExportError(f"there is no notebook {path}: name a file such as notebooks/01_interpolation.ipynb")
        try:
            nb = nbformat.read(path, as_version=4)
        except Exception as error:  # nbformat and json raise what they like
            raise ExportError(f"{path} is not a notebook that can be read ({type(error).__name__})") from error
        code = [cell for cell in nb.cells if cell.cell_type == "code" and cell.source.strip()]
        if code and not any(cell.outputs for cell in code):
            raise ExportError(f"{path} was saved without outputs: run all its cells and save it")
        if not nb.cells:
            raise ExportError(f"{path} has no cells")
        notebooks[path.stem] = nb
    return notebooks


def write(files: dict[str, str], out: Path) -> int:
    """Write ``files`` into the folder ``out``, all aside first; their bytes. Raises ExportError: not writable."""
    aside = out.with_name(f".{out.name}.partial-{os.getpid()}")
    try:
        for name, text in files.items():
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            (aside / name).write_text(text, encoding="utf-8", newline="\n")
        for name in files:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(aside / name, out / name)
    except OSError as error:
        raise ExportError(f"cannot write to {out} ({error.strerror or error}): name another folder") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return sum((out / name).stat().st_size for name in files)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Exit status 0: written; 1: one line on standard error says what to do."""
    prog, about = "python -m course_utils.classroom.export", "Lecture decks."
    parser = argparse.ArgumentParser(prog=prog, description=about)
    parser.add_argument("kind", choices=["slides"])
    parser.add_argument("out", nargs="?", type=Path, help="folder to write into (default: build/slides)")
    parser.add_argument("--notebooks", nargs="+", type=Path, metavar="FILE", help="default: all of notebooks/")
    options = parser.parse_args(argv)
    out = (options.out or ROOT / "build" / options.kind).absolute()
    paths = options.notebooks or progress.notebooks() or [ROOT / "notebooks"]
    try:
        files = slides(read(paths), paths[0].parent.absolute())
        size = write(files, out)
    except ExportError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(files)} decks, {size / 1e6:.1f} MB in {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
