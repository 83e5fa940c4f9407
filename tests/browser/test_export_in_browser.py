"""The site in a real browser, from the disk: sliders live, formulas set."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("playwright")

from deck_rules import REFUSED
from test_notebooks_in_browser import STALLS, _latency, _move_by_keyboard_and_mouse, _press, _sliders

NAME = "01_interpolation"


def test_the_site_is_live_from_index_to_slider(open_page, capsys):
    page = open_page("site/index")
    assert page.get_by_role("heading", level=1).inner_text() == "Many Models"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip-link"
    page.get_by_role("link", name=re.compile("^01")).click()
    page.wait_for_selector("body.ready")
    slider = _sliders(page).last
    slider.scroll_into_view_if_needed()
    _move_by_keyboard_and_mouse(slider)
    assert _latency(slider, "site 01_interpolation", capsys) < STALLS
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert page.locator(".katex-error").count() == 0
    words = page.locator(".live-chart summary").first
    words.press("Enter")
    assert len(page.locator(".live-chart details[open] p").inner_text()) > 50
    page.get_by_role("link", name=re.compile("^02.*→")).click()
    page.wait_for_selector("body.ready")
    _press(_sliders(page).first, "ArrowRight")


def test_a_quiz_on_a_page_answers(open_page):
    page = open_page(f"site/{NAME}")
    page.locator("#quiz_interpolation_rules .MCButton").first.click()
    page.wait_for_function("() => document.querySelector('#quiz_interpolation_rules .Feedback').innerText.length > 20")


def test_a_page_can_ask_no_other_host_for_anything(browser, exported):
    page = browser.new_page()
    page.goto((exported / "site" / f"{NAME}.html").as_uri())
    page.wait_for_selector("body.ready")
    refused = page.evaluate(REFUSED)
    page.close()
    assert {"connect-src", "img-src", "script-src-elem", "frame-src"} <= set(refused)
