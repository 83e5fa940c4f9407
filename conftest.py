"""How strict nbval is with the course's notebooks. At the root, so that `pytest notebooks` alone has it too.

nbval compares every output as a string, with tests/nbval_sanitize.cfg taking out addresses, timings and widget ids.
Three things change:

- a chart (Vega-Lite) is compared as data: structure and texts strictly, numbers with a tolerance, because the last
  digits of a float32 sum depend on the number of threads;
- a picture (PNG, JPEG) has to be there, but its pixels are not compared: nbval would not even miss it;
- a cell that was saved without having been run fails: nbval would pass it without comparing anything.

And how the tests share the cores (`pytest -n auto`, which `make test` runs), and the time of each notebook at the end.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest
from nbval.plugin import IPyNbCell, IPyNbFile
from xdist.scheduler import LoadScopeScheduling

CHARTS = ("application/vnd.vegalite.v5+json", "application/vnd.vegalite.v6+json")
PICTURES = ("image/png", "image/jpeg")
TOLERANCE = 2e-3  # absolute, and relative to the saved number

_init, _compare, _runtest = IPyNbFile.__init__, IPyNbCell.compare_outputs, IPyNbCell.runtest


def difference(saved: Any, new: Any, place: str = "chart") -> str | None:
    """The first place where two JSON values differ, or None. Whole numbers, texts and structure must be equal."""
    if isinstance(saved, dict) and isinstance(new, dict):
        if saved.keys() != new.keys():
            return f"{place}: keys that only one has: {sorted(saved.keys() ^ new.keys())}"
        return next(filter(None, (difference(saved[key], new[key], f"{place}.{key}") for key in saved)), None)
    if isinstance(saved, list) and isinstance(new, list):
        if len(saved) != len(new):
            return f"{place}: {len(saved)} entries saved, {len(new)} now"
        return next(
            filter(None, (difference(a, b, f"{place}[{i}]") for i, (a, b) in enumerate(zip(saved, new, strict=True)))),
            None,
        )
    if float in (type(saved), type(new)) and {type(saved), type(new)} <= {float, int}:
        near = saved == new or abs(saved - new) <= TOLERANCE * (1 + abs(saved))
        return None if near else f"{place}: {saved} saved, {new} now"
    return None if type(saved) is type(new) and saved == new else f"{place}: {saved!r} saved, {new!r} now"


def _of_type(outputs: list, mime: str) -> list:
    return [output["data"][mime] for output in outputs if mime in output.get("data", {})]


def _compare_outputs(self: IPyNbCell, test: list, ref: list, skip_compare: tuple | None = None) -> bool:
    if not _compare(self, test, ref, skip_compare):
        return False
    for mime in (*CHARTS, *PICTURES):
        saved, new = _of_type(ref, mime), _of_type(test, mime)
        found = f"{len(saved)} saved, {len(new)} now" if len(saved) != len(new) else None
        if mime in CHARTS and not found:
            found = difference(saved, new)
        if found:
            self.comparison_traceback.append(f" mismatch '{mime}': {found}")
            return False
    return True


def _run_test(self: IPyNbCell) -> None:
    if self.cell.execution_count is None and self.cell.source.strip():
        self.raise_cell_error(
            "the notebook was saved without running this cell: restart the kernel, run all cells, save"
        )
    _runtest(self)


def _init_file(self: IPyNbFile, *args: Any, **kwargs: Any) -> None:
    _init(self, *args, **kwargs)
    self.skip_compare += CHARTS


IPyNbFile.__init__, IPyNbCell.compare_outputs, IPyNbCell.runtest = _init_file, _compare_outputs, _run_test


# --- side by side -----------------------------------------------------------------------------------------------------

WORKER_GB = 6  # a worker, its kernel, JupyterLab and a browser with the language model loaded
BROWSER = "tests/browser/"

if os.environ.get("PYTEST_XDIST_WORKER"):  # a core each: two times two threads on two cores would wait for each other
    os.environ |= {"OMP_NUM_THREADS": "1", "MANY_MODELS_THREADS": "1"}


class Pieces(LoadScopeScheduling):
    """A file is never divided (a notebook is one kernel), but for the browser's tests of notebooks, which take a minute each."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if nodeid.startswith(f"{BROWSER}test_notebooks") else nodeid.split("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Pieces:
    config.option.loadscopereorder = False  # the order below, not: most tests first
    return Pieces(config, log)


def pytest_xdist_auto_num_workers() -> int:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return max(1, min(os.cpu_count() or 1, int(memory // WORKER_GB)))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first, so that no core waits for the last of them."""
    items.sort(key=lambda item: (not item.nodeid.startswith(BROWSER), not item.nodeid.startswith("notebooks/")))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    seconds: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            place = getattr(report, "nodeid", "").split("::")[0]
            if place.startswith("notebooks/"):
                seconds[place] += getattr(report, "duration", 0)
    if seconds:
        terminalreporter.section("time of each notebook, as shipped")
    for place in sorted(seconds):
        terminalreporter.write_line(f"{seconds[place]:6.0f} s  {place}")
