"""Peak memory and time of each notebook's kernel, run from its first cell to its last, on two threads.

    python tests/bench/notebooks.py                  all of them, one row each
    python tests/bench/notebooks.py 02 05 --cells    two of them, with the cells that need much memory or time

Memory is the largest resident set of the kernel process, in 10^9 bytes: VmHWM of /proc on Linux, the peak working set
on Windows. macOS tells no other process's peak: there it is the largest size seen after a cell, a lower bound. Seconds
are those of the clock and, since other programs may be running, of the processor.
With --cells a row for each cell that takes at least 5 s or lifts the peak by at least 0.1 GB.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
import psutil
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
THREADS = {"OMP_NUM_THREADS": "2", "MANY_MODELS_THREADS": "2"}
SLOW, MUCH = 5, 0.1  # seconds, GB: what --cells lists


@dataclass
class Cell:
    number: int
    peak: float  # GB, of the kernel so far
    seconds: float
    processor: float  # seconds


def peak_gb(kernel: psutil.Process) -> float:
    """The largest resident set of the process so far, as far as the system tells it."""
    status = Path(f"/proc/{kernel.pid}/status")
    if status.is_file():
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e9
    memory = kernel.memory_info()
    return getattr(memory, "peak_wset", memory.rss) / 1e9


def run(path: Path) -> list[Cell]:
    """Every code cell of a notebook in a new kernel. Raises nbclient's CellExecutionError if one fails unexpectedly."""
    notebook, found = nbformat.read(path, 4), []
    client = NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(path.parent)}})
    with client.setup_kernel(env=os.environ | THREADS):
        kernel = psutil.Process(client.km.provisioner.pid)
        for number, cell in enumerate(notebook.cells):
            if cell.cell_type != "code":
                continue
            start, before = time.perf_counter(), kernel.cpu_times()
            client.execute_cell(cell, number)
            seconds, after = time.perf_counter() - start, kernel.cpu_times()
            processor = after.user + after.system - before.user - before.system
            found.append(Cell(number, peak_gb(kernel), seconds, processor))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    name = "how its name begins, such as 02; default: all"
    parser.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help=name)
    parser.add_argument("--cells", action="store_true", help="also the cells that need much memory or time")
    options = parser.parse_args()
    paths = sorted(NOTEBOOKS.glob("*.ipynb"))
    for name in options.notebooks:
        if not any(path.name.startswith(name) for path in paths):
            parser.error(f"there is no notebook that begins with {name!r} in {NOTEBOOKS}")
    chosen = [path for path in paths if not options.notebooks or path.name.startswith(tuple(options.notebooks))]
    print("| notebook | peak, GB | seconds | of the processor | slowest cell |\n|---|---|---|---|---|", flush=True)
    for path in chosen:
        print(f"{path.name} …", file=sys.stderr)
        start = time.perf_counter()
        cells = run(path)
        seconds, peak = time.perf_counter() - start, max(cell.peak for cell in cells)
        slowest = max(cells, key=lambda cell: cell.seconds)
        row = "| {} | {:.2f} | {:.1f} | {:.1f} | {} |".format
        last = f"{slowest.number}: {slowest.seconds:.1f} s"
        print(row(path.stem, peak, seconds, sum(cell.processor for cell in cells), last), flush=True)
        for cell, before in zip(cells, [0.0, *(cell.peak for cell in cells)]) if options.cells else []:
            if cell.seconds >= SLOW or cell.peak >= before + MUCH:
                print(row(f"cell {cell.number}", cell.peak, cell.seconds, cell.processor, ""), flush=True)


if __name__ == "__main__":
    main()
