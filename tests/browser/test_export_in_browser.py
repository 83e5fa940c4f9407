"""Decks in a real browser, from the disk: sliders live, formulas set, keys do what a lecturer expects."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("playwright")

from test_notebooks_in_browser import STALLS, _latency, _move_by_keyboard_and_mouse

NAMES = ["01_interpolation", "07_mixture_of_experts"]
TO_ITS_SLIDE = "input => { const at = Reveal.getIndices(input.closest('section')); Reveal.slide(at.h, at.v); }"
PLACE = "JSON.stringify(Reveal.getIndices())"  # not the address: reveal.js writes it there some time later
ROOM = """input => {
    const box = input.closest('.vega-embed').getBoundingClientRect(), figure = input.closest('.live-chart');
    return [[box.right, box.bottom], figure.scrollWidth - figure.clientWidth];
}"""
SLIDES = "[...document.querySelectorAll('.slides > section > section')]"


def _slider(page, name: re.Pattern):
    """By its label; a slider on a slide that is not shown has no role yet."""
    for slider in page.locator(".vega-embed input[aria-label]").all():
        if name.search(slider.get_attribute("aria-label")):
            return slider
    raise AssertionError(f"no chart has a slider named {name.pattern}")


@pytest.mark.parametrize(("name", "label"), [(NAMES[0], re.compile("^λ, weight")), (NAMES[1], re.compile("^top-k"))])
def test_a_deck_is_live(open_page, capsys, name, label):
    deck = open_page(f"slides/{name}")
    slider = _slider(deck, label)
    slider.evaluate(TO_ITS_SLIDE)
    place = deck.evaluate(PLACE)
    _move_by_keyboard_and_mouse(slider)  # the arrow keys move the slider and do not turn the page
    assert deck.evaluate(PLACE) == place and slider.is_visible()
    box, beside = slider.evaluate(ROOM)
    assert box[0] <= 1280 and box[1] <= 720, f"the chart ends at {box}: it sticks out of a screen of 1280 x 720"
    assert beside <= 0
    if name == NAMES[0]:
        assert _latency(slider, f"deck {name}", capsys) < STALLS


@pytest.mark.parametrize("name", NAMES)
def test_slides_fit_or_scroll_and_formulas_are_set(open_page, name):
    deck = open_page(f"slides/{name}")
    assert deck.locator(".tex").count() > 10
    assert deck.evaluate("[...document.querySelectorAll('.tex')].filter(t => !t.querySelector('math')).length") == 0
    assert deck.evaluate("[...document.querySelectorAll('.katex-error')].map(e => e.title)") == []
    found = deck.evaluate(f"""() => {SLIDES}.map(slide => {{
        const at = Reveal.getIndices(slide);
        Reveal.slide(at.h, at.v);
        return [slide.innerText.slice(0, 40), slide.scrollWidth > 1280, slide.scrollHeight > 722 && slide.tabIndex !== 0];
    }})""")  # noqa: E501
    assert [text for text, wide, _ in found if wide] == []
    assert [text for text, _, out_of_reach in found if out_of_reach] == []
    assert len(found) > 20


def test_the_keys_of_a_lecture(open_page):
    """Right turns to the next slide, down scrolls a long slide before it leaves it."""
    deck = open_page(f"slides/{NAMES[1]}")
    deck.keyboard.press("ArrowRight")
    assert deck.evaluate("Reveal.getIndices().h") == 1
    deck.keyboard.press("Space")
    deck.keyboard.press("Space")
    assert deck.evaluate("Reveal.getSlidePastCount()") == 3
    scrolled = deck.evaluate(f"""() => {{
        const slide = {SLIDES}.find(slide => slide.tabIndex === 0), at = slide && Reveal.getIndices(slide);
        if (slide) Reveal.slide(at.h, at.v);
        return Boolean(slide);
    }}""")
    assert scrolled, "there is no long slide left to try"
    place = deck.evaluate(PLACE)
    deck.keyboard.press("ArrowDown")
    assert deck.evaluate(PLACE) == place
    deck.wait_for_function("Reveal.getCurrentSlide().scrollTop > 0")


def test_a_deck_can_ask_no_other_host_for_anything(browser, exported):
    """What a hostile output would try is refused by its own policy."""
    page = browser.new_page()
    page.goto((exported / "slides" / f"{NAMES[0]}.html").as_uri())
    page.wait_for_selector("body.ready")
    refused = page.evaluate("""async () => {
        const refused = [];
        document.addEventListener('securitypolicyviolation', event => refused.push(event.effectiveDirective));
        await fetch('http://127.0.0.1:9/x').catch(() => {});
        const add = (tag, values) => document.body.append(Object.assign(document.createElement(tag), values));
        add('img', {src: 'http://127.0.0.1:9/x.png'});
        add('script', {src: 'http://127.0.0.1:9/x.js'});
        add('iframe', {src: 'http://127.0.0.1:9/'});
        await new Promise(done => setTimeout(done, 500));
        return refused;
    }""")
    page.close()
    assert {"connect-src", "img-src", "script-src-elem", "frame-src"} <= set(refused)
