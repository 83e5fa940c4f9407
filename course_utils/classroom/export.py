"""What the decks (`decks`) and the book (docs/book.py) share: notebooks read, Markdown as HTML, styles, files written.

Nothing is executed: the notebooks are shown as they were saved. Scripts come from this package (static/) instead of
from other hosts, formulas are set by KaTeX, and a Content-Security-Policy keeps a page from asking other hosts for
anything, whatever a saved output holds. A file appears under its final name only when all are complete; other files in
the folder are left alone.
"""

from __future__ import annotations

import base64
import html
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import nbformat
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode

from course_utils.explore.chart_html import STATIC

ROOT = Path(__file__).resolve().parents[2]
CHART, WIDGET = "application/vnd.vegalite.v5+json", "application/vnd.jupyter.widget-view+json"

# What a page may load: itself, and nothing from another host, whatever a saved output holds. Inline scripts are the
# quizzes and the decks, eval is Vega's.
POLICY = (
    "default-src 'none'; script-src 'self' file: 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' file: 'unsafe-inline'; img-src 'self' file: data: blob:; media-src data:; font-src data:; "
    "frame-src 'self' file: blob:; base-uri 'none'; form-action 'none'"
)
SAFE = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'


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


def styles(own: Sequence[str]) -> str:
    """KaTeX's style sheet, with those of its fonts that are here inside, and our own."""
    folder = STATIC / "katex"

    def face(rule: re.Match) -> str:
        font = folder / re.search(r"url\((fonts/[^)]+\.woff2)\)", rule[0]).group(1)
        if not font.exists():
            return ""
        data = base64.b64encode(font.read_bytes()).decode("ascii")
        return re.sub(r"src:[^;}]+", f'src:url(data:font/woff2;base64,{data}) format("woff2")', rule[0])

    ours = "".join((STATIC / name).read_text(encoding="utf-8") for name in own)
    return re.sub(r"@font-face\{[^}]+\}", face, (folder / "katex.min.css").read_text(encoding="utf-8")) + ours


def scripts(files: Sequence[str]) -> dict[str, str]:
    """File name -> JavaScript, in the order in which a page needs them."""
    paths = [STATIC / file for file in files]
    # Without "</script" they may stand in a page.
    return {path.name: path.read_text(encoding="utf-8").replace("</script", "<\\/script") for path in paths}


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
