"""The lecture decks in a real browser, from the disk: every slide fits and can be read, charts are large and live, the
keys do what a lecturer expects. All slides of a deck are looked at on one page."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright")
pytest.importorskip("axe_playwright_python")

from deck_rules import FAULTS, REFUSED
from test_accessibility_in_browser import _violations
from test_notebooks_in_browser import STALLS, _latency, _move_by_keyboard_and_mouse

from course_utils.classroom import decks, progress

NAMES = [path.stem for path in progress.notebooks() if (decks.DECKS / f"{path.stem}.md").exists()]
FEW = NAMES[1:2]  # what is the same in all decks is tried in one
ALL = """() => {
    document.body.classList.add('all-slides');
    for (const slide of document.querySelectorAll('.slides > section'))  // reveal.js closes those that are not shown
        for (const closed of ['aria-hidden', 'hidden', 'inert']) slide.removeAttribute(closed);
}"""
PLACE = "Reveal.getIndices().h"
TO_ITS_SLIDE = "part => Reveal.slide(Reveal.getIndices(part.closest('section')).h)"
# The part of the screen that the slide takes, and what of it lies outside.
OUTSIDE = """() => {
    const slides = document.querySelector('.slides').getBoundingClientRect();
    return [slides.width / innerWidth, slides.height / innerHeight,
            slides.left < -1 || slides.top < -1 || slides.right > innerWidth + 1 || slides.bottom > innerHeight + 1];
}"""

# The pages of a printed deck on which the slide is not what it is on the screen.
PRINTED = """() => [...document.querySelectorAll('.pdf-page > section')].map((slide, i) => {
    const [box, page] = [slide, slide.parentElement].map(part => part.getBoundingClientRect());
    const style = getComputedStyle(slide);
    const same = [box.left - page.left, box.top - page.top, box.width, box.height, style.display].join();
    const roomy = parseFloat(style.paddingLeft) >= 32;
    return same === '0,0,1280,720,flex' && roomy ? '' : `page ${i + 1}: ${same}, ${style.padding}`;
}).filter(Boolean)"""


@pytest.mark.parametrize("name", NAMES)
def test_every_slide_fits_and_can_be_read(open_page, name):
    deck = open_page(f"slides/{name}")
    sliders = deck.locator(".vega-embed input[type=range]")
    assert sliders.count() > 0
    slider = sliders.first
    slider.evaluate(TO_ITS_SLIDE)
    place = deck.evaluate(PLACE)
    _move_by_keyboard_and_mouse(slider)  # the arrow keys move the slider and do not turn the page
    assert deck.evaluate(PLACE) == place
    deck.evaluate(ALL)
    assert deck.evaluate(FAULTS) == []
    assert deck.evaluate("[...document.querySelectorAll('.tex')].filter(t => !t.querySelector('math')).length") == 0
    assert deck.evaluate("[...document.querySelectorAll('.katex-error')].map(e => e.title)") == []
    assert _violations(deck) == []


BAD = {
    "<p>{}</p>".format("word " * 400): "too high",
    "<p style='width: 2000px'>wide</p>": "P  ",
    "<pre style='white-space: pre-wrap; width: 200px'>x = 1 + 2 + 3 + 4 + 5 + 6</pre>": "code wraps",
    "<pre style='font-size: 15px'>x = 1</pre>": "code of 15px",
    "<p style='font-size: 18px'>small</p>": "text of 18 pixels",
    "<figure class='live-chart'><div class='chart'><p style='width: 600px'></p></div></figure>": "a chart of 600",
}


@pytest.mark.parametrize("name", FEW)
def test_what_a_slide_must_not_be_is_found(open_page, name):
    deck = open_page(f"slides/{name}")
    deck.evaluate(ALL)
    for html, said in BAD.items():
        deck.evaluate("html => document.querySelector('section.words .content').innerHTML = html", html)
        found = deck.evaluate(FAULTS)
        assert any(said in fault for fault in found), (html[:60], found)
    deck.evaluate(
        "document.querySelector('section.words .content').innerHTML = '<p style=\"color: #bbb\">grey</p><input>'"
    )
    assert {line.split()[0] for line in _violations(deck)} == {"color-contrast", "label"}


@pytest.mark.parametrize("name", FEW)
def test_the_keys_of_a_lecture(open_page, name, capsys):
    deck = open_page(f"slides/{name}")
    assert deck.locator("h1").is_visible() and deck.locator("#show-code").is_hidden()
    for key, place in (
        ("ArrowRight", 1),
        ("Space", 2),
        ("ArrowLeft", 1),
        ("End", deck.evaluate("Reveal.getTotalSlides()") - 1),
    ):
        deck.keyboard.press(key)
        assert deck.evaluate(PLACE) == place, key
    slider = deck.locator(".vega-embed input[type=range]").first
    slider.evaluate(TO_ITS_SLIDE)
    assert _latency(slider, f"deck {name}", capsys) < STALLS
    words = deck.locator(".present .live-chart summary")
    words.press("Enter")
    assert len(deck.locator(".present .live-chart details[open] p").inner_text()) > 50


@pytest.mark.parametrize("name", FEW)
def test_the_key_c_shows_the_code_behind_a_slide(open_page, name):
    deck = open_page(f"slides/{name}")
    deck.keyboard.press("c")
    dialog = deck.get_by_role("dialog")
    assert dialog.count() == 0, "the title has no code behind it"
    deck.locator(".live-chart").first.evaluate(TO_ITS_SLIDE)
    place = deck.evaluate(PLACE)
    deck.keyboard.press("c")
    assert deck.get_by_role("dialog", name="The code behind this slide").is_visible()
    assert "explore." in dialog.locator("pre").inner_text()
    assert deck.evaluate("document.activeElement.getAttribute('aria-label')") == "Code"
    assert _violations(deck) == []
    deck.keyboard.press("ArrowRight")
    assert deck.evaluate(PLACE) == place, "the page does not turn under the code"
    deck.keyboard.press("Escape")
    assert dialog.count() == 0 and deck.evaluate("!Reveal.isOverview()")
    deck.locator("#show-code").click()
    dialog.get_by_role("button", name="Close").click()
    assert dialog.count() == 0
    deck.locator("h1").evaluate(TO_ITS_SLIDE)
    assert deck.locator("#show-code").is_hidden()


@pytest.mark.parametrize("name", FEW)
def test_a_deck_fills_screens_of_other_sizes_and_prints(open_page, exported, name):
    deck = open_page(f"slides/{name}")
    for width, height in ((1920, 1080), (1024, 768), (1280, 720)):
        deck.set_viewport_size({"width": width, "height": height})
        deck.wait_for_function(
            "size => Reveal.getScale() === Math.min(size[0] / 1280, size[1] / 720)", arg=[width, height]
        )
        wide, high, outside = deck.evaluate(OUTSIDE)
        assert max(wide, high) > 0.99 and not outside, (width, height)
    total = deck.evaluate("Reveal.getTotalSlides()")
    deck.goto((exported / "slides" / f"{name}.html").as_uri() + "?print-pdf")
    deck.wait_for_selector("body.ready")
    deck.wait_for_function("document.querySelectorAll('.pdf-page').length > 0")
    assert deck.locator(".pdf-page").count() == total
    assert deck.evaluate(PRINTED) == []


@pytest.mark.parametrize("name", FEW)
def test_a_deck_can_ask_no_other_host_for_anything(browser, exported, name):
    page = browser.new_page()
    page.goto((exported / "slides" / f"{name}.html").as_uri())
    page.wait_for_selector("body.ready")
    refused = page.evaluate(REFUSED)
    page.close()
    assert {"connect-src", "img-src", "script-src-elem", "frame-src"} <= set(refused)
