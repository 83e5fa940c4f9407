"""The book in a real browser, from the disk: live sliders, search, both themes, narrow screens, print, no barriers."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("playwright")
pytest.importorskip("axe_playwright_python")
pytest.importorskip("sphinx")

from deck_rules import REFUSED
from test_accessibility_in_browser import _violations
from test_notebooks_in_browser import STALLS, _latency, _move_by_keyboard_and_mouse, _press, _sliders

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))
import book as the_book  # noqa: E402

SLOW = pytest.mark.slow_browser
NOTEBOOKS = [f"notebooks/{path.stem}" for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
TEXTS = ["index", "run", "lecture", "claims", "exercises", "glossary", "notation", "instructors", "changelog"]
LIBRARY = ["library/index", "library/course_utils.merging.methods", "genindex", "search"]
FIRST = "notebooks/01_interpolation"
OTHERS = [name for name in NOTEBOOKS if name != FIRST]  # all in both themes take two minutes more
WIDEST = "document.documentElement.scrollWidth"
THEME = """theme => {
    document.documentElement.dataset.theme = theme;
    document.getAnimations().forEach(fading => fading.finish());
}"""
STICKS_OUT = """() => [...document.querySelectorAll('.bd-article pre, .live-chart, .bd-article img')]
    .filter(part => part.getBoundingClientRect().right > document.querySelector('.bd-article').getBoundingClientRect().right + 1)
    .map(part => part.outerHTML.slice(0, 100))"""  # noqa: E501
CUT = """() => [...document.querySelectorAll('.bd-article pre, .live-chart')]
    .filter(part => part.scrollWidth > part.clientWidth + 1).map(part => part.innerText.slice(0, 100))"""


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


@pytest.fixture(scope="module")
def book(tmp_path_factory, browser) -> Path:
    out = tmp_path_factory.mktemp("book") / "site"
    assert the_book.main([str(out)]) == 0
    return out


@pytest.fixture
def open_book(book, ready):
    """open_book("run") -> the page, ready."""

    return ready(book)


def test_from_the_start_page_to_a_slider(open_book, capsys):
    page = open_book("index")
    assert page.get_by_role("heading", level=1).inner_text().startswith("Many Models")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Skip to main content"
    page.get_by_role("link", name="01 · Interpolation", exact=True).click()
    page.wait_for_selector("body.ready")
    slider = _sliders(page).last
    slider.scroll_into_view_if_needed()
    _move_by_keyboard_and_mouse(slider)
    assert _latency(slider, f"book {FIRST}", capsys) < STALLS
    assert page.locator(".tex .katex").count() > 10 and page.locator(".katex-error").count() == 0
    page.locator(".live-chart summary").first.press("Enter")
    assert len(page.locator(".live-chart details[open] p").inner_text()) > 50
    page.get_by_role("link", name=re.compile("^next", re.IGNORECASE)).click()
    page.wait_for_selector("body.ready")
    assert "02_negative_evidence" in page.url


@pytest.mark.parametrize(
    ("clicks", "section", "words"),
    [
        (["04 · Task vectors and merging", "TIES: trim, elect, average those who agree"], "#ties", "Elect"),
        (["Claims", re.compile("^04 · Task vectors")], "#task-vectors", "TIES"),
        (["Run it", "Windows"], "#windows", "py -3.12 start.py lab"),
    ],
)
def test_three_questions_take_two_clicks(open_book, clicks, section, words):
    """Where is TIES explained, what does the course claim about it, how do I run it on Windows?"""
    page = open_book("index")
    page.locator("#pst-primary-sidebar").get_by_role("link", name=clicks[0], exact=True).click()
    page.wait_for_selector("body.ready")
    link = page.locator("#pst-secondary-sidebar").get_by_role("link", name=clicks[1])
    link.click()
    place = page.locator(link.get_attribute("href"))
    assert words in place.inner_text()
    page.wait_for_function("part => part.getBoundingClientRect().top < 300", arg=place.element_handle())
    assert section.lstrip("#") in page.url.lower()


def test_a_quiz_answers(open_book):
    page = open_book(FIRST)
    page.locator("#quiz_interpolation_rules .MCButton").first.click()
    page.wait_for_function("() => document.querySelector('#quiz_interpolation_rules .Feedback').innerText.length > 20")


@pytest.mark.parametrize(
    ("words", "leads_to"),
    [
        ("TIES", "04_task_vectors"),
        ("TIES claim", "claims.html"),
        ("Windows", "run.html"),
        ("perplexity", "glossary.html"),
        ("DExperts", "02_negative_evidence"),
        ("dare_ties", "library/course_utils.merging.methods"),
    ],
)
def test_search_finds(open_book, words, leads_to):
    page = open_book("index")
    page.keyboard.press("Control+k")
    page.keyboard.type(words)
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results li a")
    page.wait_for_function("() => !document.querySelector('#search-progress')?.innerText.includes('...')")
    found = page.eval_on_selector_all("#search-results li a", "links => links.map(link => link.href)")
    assert any(leads_to in address for address in found[:10]), found[:10]


@pytest.mark.parametrize("name", [*TEXTS, *LIBRARY, FIRST, *(pytest.param(name, marks=SLOW) for name in OTHERS)])
def test_no_barriers_in_either_theme_and_nothing_is_wider_than_a_narrow_screen(open_book, name):
    page = open_book(name)
    assert page.evaluate(STICKS_OUT) == []
    found = []
    for theme in ("light", "dark"):
        page.evaluate(THEME, theme)
        found += [f"{theme}: {line}" for line in _violations(page)]
    for width in (640, 320):  # 1280 at 200 %, and a small telephone
        page.set_viewport_size({"width": width, "height": 700})
        assert page.evaluate(WIDEST) <= width
    found += [f"narrow: {line}" for line in _violations(page)]
    assert found == []


def test_axe_finds_what_is_wrong(open_book):
    page = open_book("index")
    faults = '<input><p style="color:#bbb;background:#fff">grey</p>'
    page.evaluate("html => document.querySelector('main').insertAdjacentHTML('beforeend', html)", faults)
    assert {line.split()[0] for line in _violations(page)} == {"label", "color-contrast"}


def test_everything_on_a_page_by_keyboard_in_reading_order(open_book):
    """Tab stops at each link, slider, question and part that scrolls, from top to bottom, and shows where it is."""
    page = open_book(FIRST)
    for outside in (".bd-header-article", ".bd-sidebar-secondary"):  # not in the text
        page.locator(outside).evaluate("part => part.remove()")
    page.locator("main .headerlink").evaluate_all("links => links.forEach(link => link.remove())")  # for the mouse
    scrolling = page.locator('main :is(pre, .live-chart, .tex, .output)[tabindex="0"]').count()
    expected, stops = page.evaluate(TAB_STOPS) + scrolling, []
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # skip to the text
    while len(stops) < 200:
        page.keyboard.press("Tab")
        stop = page.evaluate(HERE)
        if not stop["inMain"]:
            break
        stops.append(stop)
    assert len(stops) == expected > 10
    assert [stop["what"] for stop in stops if not stop["visible"]] == []
    tops = [stop["top"] for stop in stops if "copybtn" not in stop["what"]]
    assert tops == sorted(tops)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_slider_by_keyboard(open_book, name):
    page = open_book(name)
    sliders = page.locator(".vega-embed input[type=range]")
    assert sliders.count() > 0
    for slider in sliders.all():
        value, low = slider.input_value(), slider.get_attribute("min")
        slider.focus()
        page.keyboard.press("ArrowRight" if value == low else "ArrowLeft")
        assert slider.input_value() != value, slider.get_attribute("aria-label")
    _press(sliders.first, "End" if sliders.first.input_value() != sliders.first.get_attribute("max") else "Home")


def test_a_quiz_by_keyboard(open_book):
    page = open_book(FIRST)
    page.locator("#quiz_interpolation_rules input[type=radio]").first.focus()
    page.keyboard.press("Space")
    page.wait_for_function("() => document.querySelector('#quiz_interpolation_rules .Feedback').innerText.length > 20")


def test_a_page_can_ask_no_other_host_for_anything(browser, book):
    """What a hostile output would try is refused by the page's own policy."""
    page = browser.new_page()
    page.goto((book / f"{FIRST}.html").as_uri())
    page.wait_for_selector("body.ready")
    refused = page.evaluate(REFUSED)
    page.close()
    assert {"connect-src", "img-src", "script-src-elem", "frame-src"} <= set(refused)


def test_printed_it_is_text_and_charts_without_the_frame(open_book):
    page = open_book(FIRST)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.emulate_media(media="print")
    page.wait_for_function("document.documentElement.dataset.theme === 'light'")
    for frame in (".bd-sidebar-primary", ".bd-sidebar-secondary", ".bd-header-article", ".prev-next-area"):
        assert not page.locator(frame).first.is_visible(), frame
    assert page.locator(".live-chart canvas").first.is_visible()
    page.set_viewport_size({"width": 720, "height": 1000})  # what A4 leaves between its margins
    assert page.evaluate(STICKS_OUT) == []
    assert page.evaluate(CUT) == []
    page.emulate_media(media="screen")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")


def test_without_javascript_a_chart_is_a_picture(browser, book):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((book / f"{FIRST}.html").as_uri())
    assert page.locator(".live-chart noscript img, .live-chart img").first.evaluate("i => i.naturalWidth") > 100
    context.close()
