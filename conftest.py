"""How strict nbval is with the course's notebooks. At the root, so that `pytest notebooks` alone has it too.

nbval compares every output as a string, with tests/nbval_sanitize.cfg taking out addresses, timings and widget ids.
What changes:

- numbers in a text are compared as numbers, because the last digits of a sum depend on the processor, the BLAS library
  and the number of threads: a decimal number or a percentage may be two units of its last printed digit away from the
  saved one. Words, order, structure and whole numbers (counts) must be equal. The tag `estimate` lets whole numbers
  move by two as well, for a count that depends on a measurement; the tag `sampled` is for text that a model wrote by
  sampling: its lines are compared up to their first colon, and what follows must be there, and of a chart of it the
  structure is compared;
- a chart (Vega-Lite) is compared as data: structure and whole numbers strictly, texts as above, other numbers with a
  tolerance. Its picture, which is for readers without the renderer, is made when the notebook is saved, not in the run;
- any other picture (PNG, JPEG) has to be there, but its pixels are not compared: nbval would not even miss it;
- a cell that was saved without having been run fails: nbval would pass it without comparing anything.

And how the tests share the cores (`pytest -n auto`, which `make test` runs), and the time of each notebook at the end.
"""

from __future__ import annotations

import copy
import os
import re
from collections import Counter
from decimal import Decimal
from typing import Any

import psutil
import pytest
from nbval.plugin import IPyNbCell, IPyNbFile
from xdist.scheduler import LoadScopeScheduling

CHARTS = ("application/vnd.vegalite.v5+json", "application/vnd.vegalite.v6+json")
PICTURES = ("image/png", "image/jpeg")
TOLERANCE = 2e-3  # of a number in a chart: absolute, and relative to the saved number
UNITS = 2  # of the last printed digit of a number in a text
TEXTS = ("text", "text/plain", "text/html", "text/markdown", "evalue")  # "text": of a stream

# 3,177   0.66   .25   +4.1e-05   54 %   1. (as a tensor prints it); not the digits of SmolLM2 or 3.11.7
NUMBER = re.compile(
    r"(?<![\w.])([-+−]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+|\.(?=[],)]))?|\.\d+)(?:e[-+]?\d+)?)(?!\.?\d)(\s?%)?",
    re.IGNORECASE,
)

_init, _compare, _runtest = IPyNbFile.__init__, IPyNbCell.compare_outputs, IPyNbCell.runtest


def near(saved: str, new: str, percent: bool = False, estimate: bool = False) -> bool:
    """Are two printed numbers equal within two units of the last digit that either shows? Whole numbers: equal."""
    a, b = (Decimal(number.replace(",", "").replace("−", "-").rstrip(".")) for number in (saved, new))
    place = min(a.as_tuple().exponent, b.as_tuple().exponent)  # 0.66: -2, 1.2e-05: -6, 40: 0
    whole = place >= 0 and not percent and not estimate
    return a == b or (not whole and abs(a - b) <= UNITS * Decimal(10) ** place)


def as_saved(saved: str, new: str, estimate: bool = False) -> str:
    """`new` with every number that is near enough to the saved one replaced by that, if their words are the same.

    So two texts that agree become equal, and of two that do not a comparison shows the numbers that are really off.
    Blanks count as one, since a column moves where a number gets a digit more.
    """
    old, now = NUMBER.split(saved), NUMBER.split(new)  # words, number, percent sign or None, words, ...
    if len(old) != len(now) or any(
        _words(a or "") != _words(b or "") for i, (a, b) in enumerate(zip(old, now)) if i % 3 != 1
    ):
        return new
    for i in range(1, len(old), 3):
        if not near(old[i], now[i], percent=old[i + 1] is not None, estimate=estimate):
            old[i] = now[i]
    return "".join(part or "" for part in old)


def _words(text: str) -> str:
    return re.sub(r"([-─=])\1{2,}", r"\1", re.sub(r"[ \t]+", " ", text)).strip(" ")


def form(text: str) -> str:
    """What is compared of sampled text: of each line its label (up to a colon), and whether something follows."""
    return "\n".join(re.sub(r"(?<=:)\s*\S.*|^[^:]*[^:\s][^:]*$", " …", line) for line in text.strip().splitlines())


def difference(saved: Any, new: Any, place: str = "chart", sampled: bool = False) -> str | None:
    """The first place where two JSON values differ, or None. Whole numbers and structure must be equal.

    Of what was sampled only the structure is compared: which keys, how many entries, of which types.
    """
    if isinstance(saved, dict) and isinstance(new, dict):
        if saved.keys() != new.keys():
            return f"{place}: keys that only one has: {sorted(saved.keys() ^ new.keys())}"
        found = (difference(saved[key], new[key], f"{place}.{key}", sampled) for key in saved)
        return next(filter(None, found), None)
    if isinstance(saved, list) and isinstance(new, list):
        if len(saved) != len(new):
            return f"{place}: {len(saved)} entries saved, {len(new)} now"
        found = (difference(a, b, f"{place}[{i}]", sampled) for i, (a, b) in enumerate(zip(saved, new, strict=True)))
        return next(filter(None, found), None)
    if {type(saved), type(new)} <= {float, int} and (sampled or float in (type(saved), type(new))):
        equal = sampled or saved == new or abs(saved - new) <= TOLERANCE * (1 + abs(saved))
    elif isinstance(saved, str) and isinstance(new, str):
        one_letter = len(saved) == len(new) == 1  # which may be a blank
        equal = as_saved(saved, new) == saved or (sampled and (one_letter or bool(saved.strip()) == bool(new.strip())))
    else:
        equal = type(saved) is type(new) and saved == new
    return None if equal else f"{place}: {saved!r} saved, {new!r} now"


def _of_type(outputs: list, mime: str) -> list:
    """The contents of this type; a chart's own picture does not count."""
    data = [output.get("data", {}) for output in outputs]
    return [d[mime] for d in data if mime in d and (mime in CHARTS or not any(chart in d for chart in CHARTS))]


def _align_texts(cell: IPyNbCell, test: list, ref: list) -> None:
    """Write into the outputs `test` of the run what `as_saved` makes of their texts, so that nbval can compare
    strings."""
    marks = cell.cell.metadata.get("tags", [])
    for key in TEXTS:
        saved, new = (
            [part for o in outputs for part in (o, o.get("data", {})) if key in part] for outputs in (ref, test)
        )
        for a, b in zip(saved, new):
            old, now = cell.sanitize(a[key]), cell.sanitize(b[key])
            if "sampled" in marks and form(old) == form(now):
                now = old
            a[key], b[key] = old, as_saved(old, now, estimate="estimate" in marks)


def _compare_outputs(self: IPyNbCell, test: list, ref: list, skip_compare: tuple | None = None) -> bool:
    test, ref = copy.deepcopy(test), copy.deepcopy(ref)
    _align_texts(self, test, ref)
    if not _compare(self, test, ref, skip_compare):
        return False
    for mime in (*CHARTS, *PICTURES):
        saved, new = _of_type(ref, mime), _of_type(test, mime)
        found = f"{len(saved)} saved, {len(new)} now" if len(saved) != len(new) else None
        if mime in CHARTS and not found:
            found = difference(saved, new, sampled="sampled" in self.cell.metadata.get("tags", []))
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

WORKER_GB = 4  # a worker, its kernel, JupyterLab and a browser with the language model loaded
BROWSER = "tests/browser/"

if os.environ.get("PYTEST_XDIST_WORKER"):  # a core each: two times two threads on two cores would wait for each other
    os.environ |= {"OMP_NUM_THREADS": "1", "MANY_MODELS_THREADS": "1"}


class Pieces(LoadScopeScheduling):
    """A file is never divided (a notebook is one kernel), but for the browser's tests of notebooks, which take a minute
    each."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if nodeid.startswith(f"{BROWSER}test_notebooks") else nodeid.split("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Pieces:
    config.option.loadscopereorder = False  # the order below, not: most tests first
    return Pieces(config, log)


def pytest_xdist_auto_num_workers() -> int:
    return max(1, min(os.cpu_count() or 1, int(psutil.virtual_memory().total / 1e9 // WORKER_GB)))


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
