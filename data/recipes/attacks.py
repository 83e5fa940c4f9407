"""Rebuild data/attacks.parquet: what became of notebook 11's attacks in the sandbox, for readers whose system has none.

    python data/recipes/attacks.py            needs Linux

The programs are read from the notebook. Kept of each: its status, what it printed, the message.
"""

import ast
from pathlib import Path

import nbformat
import pandas as pd

from course_utils.sandbox.run_python import run_python, unavailable

ROOT = Path(__file__).resolve().parents[2]


def attacks() -> dict[str, str]:
    """Name -> program: the notebook's ATTACKS."""
    nb = nbformat.read(ROOT / "notebooks" / "11_self_refine.ipynb", as_version=4)
    source = next(cell.source for cell in nb.cells if cell.source.startswith("ATTACKS = "))
    return ast.literal_eval(source.removeprefix("ATTACKS = "))


def main() -> None:
    if reason := unavailable():
        raise SystemExit(f"nothing is written: {reason}")
    rows = []
    for name, program in attacks().items():
        ran = run_python(program, seconds=1, wall_seconds=60)
        rows.append({"attack": name, "status": ran.status, "stdout": ran.stdout, "message": ran.message})
    path = ROOT / "data" / "attacks.parquet"
    pd.DataFrame(rows).to_parquet(path.with_suffix(".partial"), index=False, compression="zstd")
    path.with_suffix(".partial").replace(path)
    print(path.name, len(rows), "rows", f"{path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
