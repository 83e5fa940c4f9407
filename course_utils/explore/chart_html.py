"""A live chart as HTML: an element for the pages of the site, and an output with everything in it for Colab and Kaggle.

Colab and Kaggle give an output a frame of its own, without Vega-Lite. There the output of a chart is an <iframe> with
its own page inside: the specification, the same in words, and the scripts, packed. Other scripts of the front end do
not meet those of the chart, its keyboard shortcuts do not take the arrow keys of a slider, and no host is asked for
anything. MANY_MODELS_CHARTS=html gives this output anywhere, MANY_MODELS_CHARTS=vega the Vega-Lite specification that
JupyterLab, Notebook 7 and VS Code draw.
"""

from __future__ import annotations

import base64
import gzip
import html
import json
import os
import sys
import textwrap
from functools import cache
from pathlib import Path

STATIC = Path(__file__).parents[1] / "static"
HEIGHT = 480  # pixels, until the page in the frame has told its own


def wants_html() -> bool:
    """Whether charts are to be HTML here. A strange MANY_MODELS_CHARTS gets a line on standard error."""
    asked = os.environ.get("MANY_MODELS_CHARTS", "").strip().lower()
    if asked in ("html", "vega"):
        return asked == "html"
    if asked:
        print(f"MANY_MODELS_CHARTS is {asked!r}: set it to html or vega, or unset it", file=sys.stderr)
    in_colab = "COLAB_RELEASE_TAG" in os.environ or "google.colab" in sys.modules
    return in_colab or "KAGGLE_KERNEL_RUN_TYPE" in os.environ


def figure(spec: dict, words: str, label: str) -> str:
    """The chart as an element of a page: its specification as data, the place where it is drawn, and its words."""
    data = json.dumps(spec, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")  # "<!--<script>" too
    return (
        f'<figure class="live-chart" role="group" aria-label="{html.escape(label)}"><div class="chart"></div>'
        f'<script type="application/json">{data}</script>'
        f"<details><summary>{html.escape(label)} in words</summary><p>{html.escape(words)}</p></details></figure>"
    )


@cache
def _page() -> str:
    """The page in the frame; only the figure is still to be put in."""
    vega = gzip.compress((STATIC / "vega" / "vega.js").read_bytes(), mtime=0)
    css, chart, framed = (
        (STATIC / name).read_text(encoding="utf-8") for name in ("chart.css", "chart.js", "framed.js")
    )
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><link rel="icon" href="data:,"><title>Live '
        "chart</title>"
        f"<style>{css}</style></head><body><main style='display: flow-root; font-size: 14px'><!--figure--></main>"
        f'<script type="text/plain" id="vega">{base64.b64encode(vega).decode("ascii")}</script>'
        f"<script>{chart}{framed}</script></body></html>"
    )


def framed(spec: dict, words: str) -> str:
    """The chart as one <iframe> that asks nobody for anything: 0.4 MB, most of it scripts, named by its first words."""
    name = html.escape(textwrap.shorten(words, 100, placeholder=" …"))
    page = _page().replace("<!--figure-->", figure(spec, " ".join(words.split()), "Live chart"), 1)
    inside = page.replace("&", "&amp;").replace("'", "&#39;")
    return f'<iframe title="{name}" style="border: 0; width: 100%; height: {HEIGHT}px" srcdoc=\'{inside}\'></iframe>'
