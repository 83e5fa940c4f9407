"""axe-core on a notebook in JupyterLab and on the site; and everything by keyboard alone."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright")
pytest.importorskip("axe_playwright_python")

from axe_playwright_python.sync_playwright import Axe
from test_notebooks_in_browser import _press, _run_all

from course_utils.classroom import progress

NAMES = [path.stem for path in progress.notebooks()]
OURS = [[".jp-MarkdownOutput"], [".jp-OutputArea-output"]]  # the rest of the page is JupyterLab's
TAB_STOPS = """() => {
    const found = document.querySelectorAll(['a[href]', 'button', 'input', 'select', 'textarea', 'summary', 'audio'].map(e => 'main ' + e));
    const shown = [...found].filter(e => e.offsetParent !== null && !e.disabled);
    return new Set(shown.map(e => e.type === 'radio' ? e.name : e)).size;  // a group of radio buttons is one stop
}"""  # noqa: E501
HERE = """() => {
    const e = document.activeElement, seen = e.type === 'radio' ? e.closest('label') : e, style = getComputedStyle(seen);
    return {top: Math.round(seen.getBoundingClientRect().top + scrollY), what: e.outerHTML.slice(0, 100),
            inMain: Boolean(e.closest('main')), visible: style.outlineStyle !== 'none' || style.boxShadow !== 'none'};
}"""  # noqa: E501


def _violations(page, context=None) -> list[str]:
    """What axe finds serious or critical, one line for each rule and place."""
    # preload fetches the style sheets again, which file:// forbids
    options = {"resultTypes": ["violations"], "preload": False}
    found = Axe().run(page, context=context, options=options).response["violations"]
    return [
        f"{rule['id']} ({rule['impact']}): {node['target']} {node['html'][:120]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def test_axe_finds_what_is_wrong(open_page):
    page = open_page("site/index")
    faults = '<input><p style="color:#bbb;background:#fff">grey</p>'
    page.evaluate("html => document.querySelector('main').insertAdjacentHTML('beforeend', html)", faults)
    assert {line.split()[0] for line in _violations(page)} == {"label", "color-contrast"}


@pytest.mark.parametrize("name", ["index", *NAMES])
def test_pages(open_page, name):
    assert _violations(open_page(f"site/{name}")) == []


def test_a_notebook_in_jupyterlab(open_notebook):
    page = open_notebook("00_start_here.ipynb")
    _run_all(page)
    assert page.locator(".vega-embed canvas").count() > 0
    assert _violations(page, {"include": OURS}) == []


def test_everything_on_a_page_by_keyboard_in_reading_order(open_page):
    """Tab stops at each link, slider and question once, from top to bottom; each shows that it has the focus."""
    page = open_page("site/01_interpolation")
    expected, stops = page.evaluate(TAB_STOPS), []
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # skip to the text
    while len(stops) < 100:
        page.keyboard.press("Tab")
        stop = page.evaluate(HERE)
        if not stop["inMain"]:
            break
        stops.append(stop)
    assert len(stops) == expected > 10
    assert [stop["what"] for stop in stops if not stop["visible"]] == []
    tops = [stop["top"] for stop in stops]
    assert tops == sorted(tops)


@pytest.mark.parametrize("name", NAMES)
def test_every_slider_by_keyboard(open_page, name):
    page = open_page(f"site/{name}")
    sliders = page.locator(".vega-embed input[type=range]")
    assert sliders.count() > 0
    for slider in sliders.all():
        value, low = slider.input_value(), slider.get_attribute("min")
        slider.focus()
        page.keyboard.press("ArrowRight" if value == low else "ArrowLeft")
        assert slider.input_value() != value, slider.get_attribute("aria-label")
    _press(sliders.first, "End" if sliders.first.input_value() != sliders.first.get_attribute("max") else "Home")


def test_a_quiz_by_keyboard(open_page):
    page = open_page("site/01_interpolation")
    page.locator("#quiz_interpolation_rules input[type=radio]").first.focus()
    page.keyboard.press("Space")
    page.wait_for_function("() => document.querySelector('#quiz_interpolation_rules .Feedback').innerText.length > 20")
