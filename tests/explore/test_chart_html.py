"""A chart as HTML: when it is made, that it holds all it needs, and that the committed Vega is the published one."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
import sys
import types

import pytest

from course_utils.classroom.save_notebook import VEGA_LITE
from course_utils.explore import chart_html
from course_utils.explore.chart import LiveChart

SPEC = {"data": {"values": [{"x": 1, "said": "</script><b>it's & not</b>"}]}, "mark": "point"}
WORDS = (
    'One "point" & one <slider>, which is at 1 when the chart is drawn, and what else there is to be said of '
    "it is said here."
)


@pytest.fixture(autouse=True)
def nowhere(monkeypatch):
    for name in ("MANY_MODELS_CHARTS", "COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, "application/vnd.vegalite.v5+json"),
        ({"MANY_MODELS_CHARTS": "html"}, "text/html"),
        ({"MANY_MODELS_CHARTS": " HTML "}, "text/html"),
        ({"COLAB_RELEASE_TAG": "release-colab-external_1"}, "text/html"),
        ({"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}, "text/html"),
        ({"KAGGLE_KERNEL_RUN_TYPE": "Batch", "MANY_MODELS_CHARTS": "vega"}, "application/vnd.vegalite.v5+json"),
    ],
)
def test_where_a_chart_is_html(monkeypatch, capsys, settings, kind):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert LiveChart(SPEC, WORDS)._repr_mimebundle_().keys() == {kind, "text/plain"}
    assert capsys.readouterr().err == ""


def test_an_imported_colab_is_seen(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    assert "text/html" in LiveChart(SPEC, WORDS)._repr_mimebundle_()


def test_an_unknown_setting_gets_one_line_and_the_usual_chart(monkeypatch, capsys):
    monkeypatch.setenv("MANY_MODELS_CHARTS", "svg")
    assert "text/html" not in LiveChart(SPEC, WORDS)._repr_mimebundle_()
    assert capsys.readouterr().err == "MANY_MODELS_CHARTS is 'svg': set it to html or vega, or unset it\n"


def test_the_output_is_one_frame_that_holds_everything():
    output = chart_html.framed(SPEC, WORDS)
    title, inside = re.fullmatch(
        r"<iframe title=\"([^\"]*)\" style=\"[^\"]*\" srcdoc='([^']*)'></iframe>", output, re.S
    ).groups()
    assert html.unescape(title).startswith('One "point" & one <slider>') and len(html.unescape(title)) <= 100
    page = html.unescape(inside)
    assert json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.S)[1]) == SPEC
    assert html.unescape(re.search("<p>(.*?)</p>", page, re.S)[1]) == WORDS
    packed = re.search('<script type="text/plain" id="vega">(.*?)</script>', page, re.S)[1]
    assert gzip.decompress(base64.b64decode(packed)) == (chart_html.STATIC / "vega" / "vega.js").read_bytes()
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert len(output) < 450_000


def test_the_same_chart_gives_the_same_output():
    first = chart_html.framed(SPEC, WORDS)
    chart_html._page.cache_clear()
    assert chart_html.framed(SPEC, WORDS) == first


def test_the_committed_vega_is_what_vl_convert_carries():
    vl_convert = pytest.importorskip("vl_convert")
    made = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
    assert (chart_html.STATIC / "vega" / "vega.js").read_text(encoding="utf-8") == made
