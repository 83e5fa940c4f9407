"""What is live in the book: charts, quizzes, formulas. The outputs of a notebook as HTML that needs no kernel.

A chart is its Vega-Lite specification as data, drawn in the page by the course's own copy of Vega; where JavaScript is
off its picture is shown. A quiz is HTML already. A formula is its TeX, set in the page by the course's own copy of
KaTeX. As a Sphinx extension this module gives a page the scripts that it needs, and no page more.
"""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path

import nbformat
from docutils import nodes
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from course_utils.classroom.export import CHART, POLICY, WIDGET
from course_utils.explore import chart_html
from course_utils.explore.guess import uncovered, uncovered_words

# What a page may load: what a deck may, and of the book itself the theme's fonts, the page that the search form opens,
# and the pages whose first lines a search shows. Nothing from another host.
OWN = {
    "font-src data:": "font-src 'self' file: data:",
    "form-action 'none'": "form-action 'self' file:",
    "default-src 'none'": "default-src 'none'; connect-src 'self'",
}


def chart(spec: dict, data: dict, label: str, to_picture: str) -> str:
    """A live chart as HTML; where the page reaches its picture, which is shown without JavaScript."""
    words = " ".join(data.get("text/plain", "").split())
    figure = chart_html.figure(spec, words, label)
    if "image/png" not in data:
        return figure
    still = f'<noscript><img alt="{html.escape(words)}" src="{to_picture}"></noscript>'
    return figure.replace('<div class="chart"></div>', f'<div class="chart"></div>{still}', 1)


def first_chart(nb: NotebookNode, name: str) -> str:
    """The first chart of a notebook, for a page at the top of the book: its picture is that of the notebook's page."""
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            if CHART in output.get("data", {}):
                spec = uncovered(output.data[CHART])  # nobody is asked for a guess before the course has begun
                said = output.data | {"text/plain": uncovered_words(output.data.get("text/plain", ""))}
                return chart(spec, said, "Live chart", f"charts/{name}-1.png")
    return ""


def _shown(data: dict, metadata: dict) -> str | None:
    """HTML for a kernel control or a picture, None for an output that myst-nb shows well."""
    words = " ".join(data.get("text/plain", "").split())
    if WIDGET in data:
        return f'<p class="kernel-note">{html.escape(words)}</p>'
    for kind in ("image/png", "image/jpeg"):
        if kind in data and "text/html" not in data:
            alt = metadata.get(kind, {}).get("alt") or ("" if words.startswith("<") else words)
            return f'<img alt="{html.escape(" ".join(alt.split()))}" src="data:{kind};base64,{data[kind].strip()}">'
    return None


def prepare(nb: NotebookNode, name: str, pictures: Path) -> NotebookNode:
    """A copy of ``nb`` whose charts, pictures and kernel controls are HTML; a note before each exercise."""
    nb = nbformat.from_dict(json.loads(json.dumps(nb)))
    nb.metadata.setdefault("language_info", NotebookNode(name="python", pygments_lexer="ipython3"))
    nb.metadata.pop("widgets", None)  # the state of kernel controls: without a kernel they are shown as a note
    cells, charts = [], 0
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            data, shown = output.get("data", {}), None
            if CHART in data:
                charts += 1
                picture = f"{name}-{charts}.png"
                shown = chart(data[CHART], data, f"Live chart {charts}", f"../charts/{picture}")
                if "image/png" in data:
                    (pictures / picture).write_bytes(base64.b64decode(data["image/png"]))
            elif data:
                shown = _shown(data, output.metadata)
            if shown:
                output.data, output.metadata = NotebookNode({"text/html": shown}), NotebookNode()
        if "exercise" in cell.metadata.get("tags", []):
            note = f'<p class="kernel-note">This exercise is done in the notebook: open <code>{name}.ipynb</code>.</p>'
            cells.append(new_markdown_cell(note))
        cells.append(cell)
    nb.cells = cells
    return nb


def policy() -> str:
    """The Content-Security-Policy of the book. Raises ValueError: the decks' policy is not the one that OWN extends."""
    text = POLICY
    for theirs, ours in OWN.items():
        if theirs not in text:
            raise ValueError(f"the decks' policy has no {theirs!r}: mend live.OWN")
        text = text.replace(theirs, ours)
    return text


def _inline(translator, node) -> None:
    translator.body.append(f'<span class="tex">{html.escape(node.astext())}</span>')
    raise nodes.SkipNode


def _block(translator, node) -> None:
    tag = "span" if isinstance(node.parent, nodes.TextElement) else "div"  # a div would end the sentence's paragraph
    translator.body.append(f'<{tag} class="tex" data-display="true">{html.escape(node.astext())}</{tag}>')
    raise nodes.SkipNode


def _scripts(app, page, template, context, doctree) -> None:
    """The policy, before anything else; the scripts and styles of this page only: Vega is large."""
    safe = f'<meta http-equiv="Content-Security-Policy" content="{policy()}" />\n'
    context["metatags"] = safe + context.get("metatags", "")
    body = context.get("body", "")
    if 'class="tex"' in body:
        app.add_css_file("katex/katex.min.css")
        app.add_js_file("katex/katex.min.js", loading_method="defer")
    if 'class="live-chart"' in body:
        app.add_js_file("vega.js", loading_method="defer")
    app.add_js_file("chart.js", loading_method="defer")
    app.add_js_file("book.js", loading_method="defer")


def setup(app) -> dict:
    """Register with Sphinx."""
    app.add_html_math_renderer("katex", (_inline, None), (_block, None))
    app.connect("html-page-context", _scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
