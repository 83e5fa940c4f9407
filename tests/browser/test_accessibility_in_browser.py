"""axe-core on a notebook in JupyterLab and on a deck. The book has its own tests, test_book_in_browser.py."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright")
pytest.importorskip("axe_playwright_python")

from axe_playwright_python.sync_playwright import Axe
from test_notebooks_in_browser import _run_all

OURS = [[".jp-MarkdownOutput"], [".jp-OutputArea-output"]]  # the rest of the page is JupyterLab's


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


LONG = pytest.param("08_cascades_and_routing", marks=pytest.mark.slow_browser)


@pytest.mark.parametrize("name", ["01_interpolation", LONG])  # all of them take two minutes more
def test_every_slide_of_a_deck(open_page, name):
    deck = open_page(f"slides/{name}")
    found, total = _violations(deck), deck.evaluate("Reveal.getTotalSlides()")
    for _ in range(total):
        deck.evaluate("Reveal.next()")
        found += _violations(deck, {"include": [[".slides section.present > section.present"]]})
    assert total > 20 and deck.evaluate("Reveal.isLastSlide()")
    assert found == []


def test_a_notebook_in_jupyterlab(open_notebook):
    page = open_notebook("00_start_here.ipynb")
    _run_all(page)
    assert page.locator(".vega-embed canvas").count() > 0
    assert _violations(page, {"include": OURS}) == []
