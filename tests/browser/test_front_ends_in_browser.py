"""One notebook, every front end: JupyterLab on an empty home, light and dark, Notebook 7, and a chart that is HTML."""

from __future__ import annotations

import html
import os
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("playwright")
pytest.importorskip("axe_playwright_python")

from test_accessibility_in_browser import _violations
from test_notebooks_in_browser import LAMBDA, _move_by_keyboard_and_mouse, _run, _sliders

from course_utils import explore
from course_utils.classroom import save_notebook

LAB, SEVEN = "lab/tree", "notebooks"  # JupyterLab, Notebook 7
LACKS_7 = pytest.mark.skipif(not find_spec("notebook"), reason="the package notebook is not installed")
CELLS = "() => jupyterapp.shell.currentWidget.content.widgets.length"
LOOK = """async i => {
    await jupyterapp.shell.currentWidget.content.scrollToItem(i);
    await new Promise(done => setTimeout(done, 30));
}"""
SAVE = """async () => {
    const { context } = jupyterapp.shell.currentWidget, changed = context.model.dirty;
    await jupyterapp.commands.execute('docmanager:save');
    return changed;
}"""
THEME = "theme => jupyterapp.commands.execute('apputils:change-theme', { theme })"


def _look_at_all(page) -> None:
    for i in range(page.evaluate(CELLS)):
        page.evaluate(LOOK, i)


# 04 has three charts and a control, 09 sounds; both have quizzes.
@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("04_task_vectors_and_merging.ipynb", LAB),
        pytest.param("09_pipelines_and_stacking.ipynb", LAB, marks=pytest.mark.slow_browser),
        pytest.param("09_pipelines_and_stacking.ipynb", SEVEN, marks=LACKS_7),
    ],
)
def test_a_shipped_notebook_that_is_looked_at_and_saved_stays_as_it_is(open_notebook, lab_home, name, place):
    file = lab_home / "notebooks" / name
    assert save_notebook.main(["--no-run", str(file)]) == 0  # under this Python, whichever it was shipped under
    shipped, written = file.read_bytes(), file.stat().st_mtime_ns
    page = open_notebook(name, place=place)
    _look_at_all(page)
    charts = shipped.count(b'"application/vnd.vegalite.v5+json"')
    page.wait_for_function("n => document.querySelectorAll('.vega-embed canvas').length === n", arg=charts)
    page.wait_for_timeout(1000)
    assert not page.evaluate(SAVE), "JupyterLab marks it as changed"
    assert file.stat().st_mtime_ns != written
    assert file.read_bytes() == shipped


def test_a_chart_without_its_picture_would_be_changed(open_notebook, lab_home):
    file = lab_home / "notebooks" / "00_without.ipynb"
    text = (lab_home / "notebooks" / "00_start_here.ipynb").read_text(encoding="utf-8")
    file.write_text(text, encoding="utf-8")
    assert save_notebook.main(["--no-run", str(file)]) == 0
    picture, text = r'(vegalite.v5\+json": .*?)"image/png": "[^"]+",\s*', file.read_text(encoding="utf-8")
    chart_alone = re.sub(picture, r"\1", text, count=1, flags=re.S)
    file.write_text(chart_alone, encoding="utf-8")
    page = open_notebook(file.name)
    _look_at_all(page)
    page.wait_for_selector(".vega-embed canvas")
    page.wait_for_timeout(1000)
    assert page.evaluate(SAVE)


def test_nobody_is_asked_about_news(open_notebook):
    page = open_notebook("charts.ipynb")
    page.wait_for_timeout(5000)
    assert page.get_by_text(re.compile("news", re.I)).count() == 0


@pytest.mark.parametrize("place", [LAB, pytest.param(SEVEN, marks=[LACKS_7, pytest.mark.slow_browser])])
def test_a_chart_is_the_same_in_light_and_dark(open_notebook, end_kernels, place):
    """Pixel by pixel; and axe finds the labels of its sliders readable."""
    page, pictures = open_notebook("charts.ipynb", place=place), []
    for cell in (0, 1):
        _run(page, cell)
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        page.evaluate(THEME, theme)
        page.evaluate(SAVE)
        page.close()
        end_kernels()
        page = open_notebook("charts.ipynb", place=place)
        page.locator(".vega-embed").scroll_into_view_if_needed()
        assert page.evaluate("document.body.dataset.jpThemeLight") == str(theme.endswith("Light")).lower()
        pictures.append(page.locator(".vega-embed canvas").evaluate("canvas => canvas.toDataURL()"))
        assert _violations(page, {"include": [[".vega-embed"]]}) == []
        if folder := os.environ.get("COURSE_PICTURES"):
            page.screenshot(path=Path(folder) / f"{place.split('/')[0]}_{theme.split()[1]}.png")
    assert pictures[0] == pictures[1]


@LACKS_7
def test_sliders_move_in_notebook_7(open_notebook):
    page = open_notebook("01_interpolation.ipynb", place=SEVEN)
    _look_at_all(page)
    _move_by_keyboard_and_mouse(_sliders(page, LAMBDA).first)


# --------------------------------------------------------------------------------------------- a chart as HTML


@pytest.fixture
def output(monkeypatch) -> str:
    """What a chart's cell gives in Colab."""
    monkeypatch.setenv("MANY_MODELS_CHARTS", "html")
    animals = ["cat", "dog", "cow", "ant", "bee", "fly", "elk", "emu"]
    first, second = [0.4, 0.3, 0.1, 0.1, 0.1, 0, 0, 0], [0, 0.05, 0.05, 0.3, 0, 0.4, 0.1, 0.1]
    return explore.or_and_explorer(first, second, animals)._repr_mimebundle_()["text/html"]


FRAME = '<iframe id="outer" style="width: 900px; height: 900px" sandbox="{}" srcdoc="{{}}"></iframe>'
PLACES = {
    "a page": "{}",
    "Colab's frame": FRAME.format("allow-scripts allow-same-origin"),
    "a frame of another origin": FRAME.format("allow-scripts"),
    # AMD, as require.js of the classic notebook and of Colab has it
    "a page with define": "<script>window.define = () => {{}}; define.amd = {{}}</script>{}",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_chart_as_html_is_live_alone(open_html, output, place):
    page = open_html(PLACES[place].format(html.escape(output) if "srcdoc" in PLACES[place] else output))
    around = page.frame_locator("#outer") if "srcdoc" in PLACES[place] else page
    element = around.locator("iframe")
    assert element.get_attribute("title").startswith("OR against AND")
    chart = element.content_frame
    chart.locator("body.ready").wait_for()
    assert len(chart.locator(".vega-embed[role='graphics-document']").get_attribute("aria-label")) > 50
    slider = chart.get_by_role("slider").first
    page.evaluate("() => { window.pressed = []; addEventListener('keydown', event => pressed.push(event.key)); }")
    _move_by_keyboard_and_mouse(slider)
    assert page.evaluate("pressed") == [], "the page around it sees the chart's keys"
    sizes = "() => [document.documentElement.clientHeight, Math.ceil(document.body.getBoundingClientRect().height)]"
    inside = element.element_handle().content_frame()
    if "of another" in place:  # cannot tell its height: it scrolls
        assert inside.evaluate(sizes)[0] > 400
        return
    closed = inside.evaluate(sizes)
    assert closed[0] == closed[1]
    chart.locator("summary").press("Enter")
    inside.wait_for_function(f"({sizes})()[1] > {closed[1]}")
    page.wait_for_timeout(200)
    opened = inside.evaluate(sizes)
    assert opened[0] == opened[1] > closed[0]
    chart.locator("summary").press("Enter")
    page.wait_for_timeout(200)
    assert inside.evaluate(sizes) == closed
