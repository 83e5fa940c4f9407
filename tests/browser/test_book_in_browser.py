"""The book in a real browser, from the disk: live sliders, search, both themes, narrow screens, no barriers."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("playwright")
pytest.importorskip("sphinx")

from test_accessibility_in_browser import _violations
from test_notebooks_in_browser import STALLS, _latency, _move_by_keyboard_and_mouse, _sliders

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))
import book as the_book  # noqa: E402

NOTEBOOKS = [f"notebooks/{path.stem}" for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
TEXTS = ["index", "run", "lecture", "claims", "exercises", "glossary", "notation", "instructors", "changelog"]
LIBRARY = ["library/index", "library/course_utils.merging.methods"]
FIRST = "notebooks/01_interpolation"


@pytest.fixture(scope="module")
def book(tmp_path_factory, browser) -> Path:
    out = tmp_path_factory.mktemp("book") / "site"
    assert the_book.main([str(out)]) == 0
    return out


@pytest.fixture
def open_book(book, from_disk):
    """open_book("run") -> the page, ready."""

    def opener(name: str):
        page = from_disk(book / f"{name}.html")
        page.wait_for_selector("body.ready")
        return page

    return opener


def test_from_the_start_page_to_a_slider(open_book, capsys):
    page = open_book("index")
    assert page.get_by_role("heading", level=1).inner_text().startswith("Many Models")
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


def test_a_quiz_answers(open_book):
    page = open_book(FIRST)
    page.locator("#quiz_interpolation_rules .MCButton").first.click()
    page.wait_for_function("() => document.querySelector('#quiz_interpolation_rules .Feedback').innerText.length > 20")


@pytest.mark.parametrize(
    ("words", "leads_to"),
    [
        ("TIES", "04_task_vectors"),
        ("Windows", "run.html"),
        ("perplexity", "glossary.html"),
        ("DExperts", "02_negative_evidence"),
        ("dare_ties", "library/course_utils.merging.methods"),
    ],
)
def test_search_finds(book, from_disk, words, leads_to):
    page = from_disk(book / "search.html")
    page.goto(f"{(book / 'search.html').as_uri()}?q={words}")
    page.wait_for_selector("#search-results li a")
    page.wait_for_function("() => !document.querySelector('#search-progress')?.innerText.includes('...')")
    found = page.eval_on_selector_all("#search-results li a", "links => links.map(link => link.href)")
    assert any(leads_to in address for address in found[:10]), found[:10]


@pytest.mark.parametrize("name", [*TEXTS, *NOTEBOOKS, *LIBRARY])
def test_no_barriers_in_either_theme_and_nothing_is_wider_than_a_narrow_screen(open_book, name):
    page = open_book(name)
    found = []
    for theme in ("light", "dark"):
        page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
        found += [f"{theme}: {line}" for line in _violations(page)]
    assert found == []
    page.set_viewport_size({"width": 320, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_without_javascript_a_chart_is_a_picture(browser, book):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((book / f"{FIRST}.html").as_uri())
    assert page.locator(".live-chart noscript img, .live-chart img").first.evaluate("i => i.naturalWidth") > 100
    context.close()
