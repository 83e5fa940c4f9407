"""The course as a book: the saved notebooks and the pages around them, built by Sphinx, offline, sliders alive.

    python docs/book.py [OUT] [--notebooks FILE ...]        OUT: build/site

Nothing is executed. The pages are put together in a folder of their own: those written by hand (docs/*.md), those
made from the notebooks, the library and the other texts of the repository (pages.py), and the notebooks themselves,
whose charts become HTML that is drawn in the page (live.py). Sphinx and myst-nb then make the book, as conf.py says.
It opens from a disk, without a server, and asks nothing of another host. A file appears under its final name only when
all are complete; other files in OUT are left alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat

DOCS = Path(__file__).resolve().parent
# Files of Sphinx and of the theme that no page asks for: other builders', other languages', for debuggers.
NOT_NEEDED = (
    ".buildinfo",
    "objects.inv",
    "_sources/**/*.txt",
    "_static/*webpack-macros.html",
    "_static/**/*.map",
    "_static/locales/**/*.*",
)
sys.path.insert(0, str(DOCS))
import live  # noqa: E402
import pages  # noqa: E402

from course_utils.classroom import progress  # noqa: E402
from course_utils.classroom.export import ROOT, STATIC, ExportError, read  # noqa: E402


def stage(source: Path, paths: Sequence[Path]) -> None:
    """Everything that Sphinx reads, in the folder ``source``. Raises ExportError: a notebook cannot be shown."""
    notebooks = read(paths)
    texts = {path.name: path.read_text(encoding="utf-8") for path in DOCS.glob("*.md")} | pages.made(notebooks)
    texts["index.md"] += "\n" + pages.contents(notebooks)
    for name, text in texts.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(pages.linked(text, notebooks), encoding="utf-8")
    (source / "notebooks").mkdir()
    (source / "extra" / "charts").mkdir(parents=True)
    for path in paths:
        drawings = path.parent / "drawings"
        if drawings.is_dir():
            shutil.copytree(drawings, source / "notebooks" / "drawings", dirs_exist_ok=True)
    for name, nb in notebooks.items():
        nb = live.prepare(nb, name, source / "extra" / "charts")
        for cell in nb.cells:
            if cell.cell_type == "markdown":
                cell.source = pages.linked(cell.source, notebooks)
        nbformat.write(nb, source / "notebooks" / f"{name}.ipynb")
    name, nb = next(iter(notebooks.items()))
    (source / "first_chart.html").write_text(live.first_chart(nb, name), encoding="utf-8")
    static = source / "_static"
    shutil.copytree(DOCS / "_static", static)
    shutil.copytree(STATIC / "katex", static / "katex")
    shutil.copy(STATIC / "chart.js", static)
    # In a function of its own, because some of its names at the top level are those of Sphinx's scripts.
    vega = (STATIC / "vega" / "vega.js").read_text(encoding="utf-8")
    (static / "vega.js").write_text(f"(() => {{\n{vega}\n}})();\n", encoding="utf-8")


def publish(made: Path, out: Path) -> int:
    """Move the files of ``made`` into ``out``, one by one; their bytes. Raises ExportError: not writable."""
    files = [path.relative_to(made) for path in made.rglob("*") if path.is_file()]
    try:
        for name in files:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(made / name, out / name)
    except OSError as error:
        raise ExportError(f"cannot write to {out} ({error.strerror or error}): name another folder") from error
    return sum((out / name).stat().st_size for name in files)


def build(out: Path, paths: Sequence[Path]) -> tuple[int, int]:
    """(pages, bytes) of the book in ``out``. A warning of Sphinx is an error. Raises ExportError."""
    try:
        from sphinx.cmd.build import build_main
    except ImportError:
        raise ExportError("Sphinx is not installed: `python start.py site` installs it, then makes the book") from None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.partial-", dir=out.parent))
    except OSError as error:
        raise ExportError(f"cannot write to {out} ({error.strerror or error}): name another folder") from error
    try:
        source, made = aside / "source", aside / "html"
        source.mkdir()
        stage(source, paths)
        places = [f"html_static_path={source / '_static'}", f"html_extra_path={source / 'extra'}"]
        options = [part for place in places for part in ("-D", place)]
        options += ["-q", "-W", "--keep-going", "-b", "html", "-c", str(DOCS), "-d", str(aside / "doctrees")]
        if build_main([*options, str(source), str(made)]):
            raise ExportError("the book was not made: mend what Sphinx names above")
        for left in (path for pattern in NOT_NEEDED for path in made.glob(pattern)):
            left.unlink()
        count = len(list(made.rglob("*.html")))
        return count, publish(made, out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Exit status 0: written; 1: one line on standard error says what to do."""
    parser = argparse.ArgumentParser(prog="python docs/book.py", description="The course as a book.")
    parser.add_argument("out", nargs="?", type=Path, help="folder to write into (default: build/site)")
    parser.add_argument("--notebooks", nargs="+", type=Path, metavar="FILE", help="default: all of notebooks/")
    options = parser.parse_args(argv)
    out = (options.out or ROOT / "build" / "site").absolute()
    try:
        count, size = build(out, options.notebooks or progress.notebooks() or [ROOT / "notebooks"])
    except ExportError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{count} pages, {size / 1e6:.1f} MB in {out}: open {out / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
