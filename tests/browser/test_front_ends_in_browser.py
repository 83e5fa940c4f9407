"""One notebook, every front end: JupyterLab on an empty home, light and dark, Notebook 7, and a chart that is HTML."""
from __future__ import annotations

import json
import shutil

import pytest

pytest.importorskip("playwright")

from conftest import ROOT

from course_utils import save_notebook

LOOK = """async () => {
    const notebook = jupyterapp.shell.currentWidget.content;
    for (let i = 0; i < notebook.widgets.length; i++) await notebook.scrollToItem(i, 'auto', 0.5);
}"""
SAVE = "async () => { await jupyterapp.commands.execute('docmanager:save'); }"


@pytest.fixture
def saved(lab, tmp_path):
    """saved(name) -> the file of a shipped notebook in JupyterLab's folder, saved as authors save it."""

@pytest.mark.parametrize("name", [p.name for p in sorted((ROOT / "notebooks").glob("*.ipynb"))])
def test_x(open_notebook, lab_home, name):
    path = lab_home / "notebooks" / name
    assert save_notebook.main(["--no-run", str(path)]) == 0
    before = path.read_bytes(); mtime = path.stat().st_mtime_ns
    page = open_notebook(name)
    page.wait_for_timeout(2000)
    charts = before.count(b'"application/vnd.vegalite')
    n = page.evaluate("() => jupyterapp.shell.currentWidget.content.widgets.length")
    for i in range(n):
        page.evaluate("i => jupyterapp.shell.currentWidget.content.scrollToItem(i)", i)
        page.wait_for_timeout(60)
    page.wait_for_timeout(1000)
    print(name, charts, page.locator(".vega-embed canvas").count(), "dirty:", page.evaluate("() => jupyterapp.shell.currentWidget.context.model.dirty"))
    page.evaluate(SAVE)
    page.wait_for_timeout(500)
    after = path.read_bytes()
    print("saved", path.stat().st_mtime_ns != mtime, "same", after == before)
    if after != before:
        (lab_home / (name + ".before")).write_bytes(before)
        import difflib
        for line in list(difflib.unified_diff(before.decode().splitlines(), after.decode().splitlines(), n=1))[:30]: print(line[:200])
