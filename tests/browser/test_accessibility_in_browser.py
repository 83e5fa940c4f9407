"""axe-core on a notebook in JupyterLab. The book and the decks have their own tests."""

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


def test_a_notebook_in_jupyterlab(open_notebook):
    page = open_notebook("00_start_here.ipynb")
    _run_all(page)
    assert page.locator(".vega-embed canvas").count() > 0
    assert _violations(page, {"include": OURS}) == []
