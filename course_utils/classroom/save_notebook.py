"""Saves notebooks as they are shipped. For authors: needs vl-convert-python, which students do not install.

    python -m course_utils.classroom.save_notebook NAME.ipynb ...            run all cells in a fresh kernel, then save
    python -m course_utils.classroom.save_notebook --no-run NAME.ipynb ...   save what JupyterLab has run

Each live chart gets a picture of its first state, for readers of GitHub, nbviewer and a PDF, and so that JupyterLab
adds none of its own. The file has the kernel's full description and exactly the bytes that JupyterLab writes: to open
it there and save it changes nothing. A notebook whose run ends with an error is left as it was.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from course_utils.shelf.files import written_aside

CHART, PICTURE = "application/vnd.vegalite.v5+json", "image/png"
# Of the versions that vl-convert carries, the last one of the charts' schema; static/vega is the same.
VEGA_LITE = "5.21"
SCALE, COLOURS = 1.5, 128  # of a picture: pixels for one of the chart, and its palette


class SaveError(Exception):
    """A notebook cannot be saved. The message is ONE line that says what is wrong."""


@cache
def _renderer() -> Any:
    try:
        import matplotlib
        import vl_convert
    except ImportError as error:
        said = f"pictures of charts need the packages for authors ({error}): install vl-convert-python"
        raise SaveError(said) from error
    vl_convert.register_font_directory(f"{matplotlib.get_data_path()}/fonts/ttf")  # DejaVu, on every machine
    return vl_convert


def picture(spec: dict) -> tuple[bytes, dict[str, int]]:
    """The first state of a Vega-Lite chart, uncovered, as a PNG with few colours; its width and height on a page."""
    from PIL import Image

    from course_utils.explore.guess import uncovered  # brings torch, which a wrong path need not wait for

    drawn = _renderer().vegalite_to_png(uncovered(spec), vl_version=VEGA_LITE, scale=SCALE)
    image, png = Image.open(io.BytesIO(drawn)).convert("RGB"), io.BytesIO()
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(png, "PNG", optimize=True)
    return png.getvalue(), {name: round(size / SCALE) for name, size in zip(("width", "height"), image.size)}


def run(nb: NotebookNode, folder: Path) -> None:
    """Run all cells from the top in a fresh kernel, in place. Raises SaveError: a cell ends with an error."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    environment = {**os.environ, "MANY_MODELS_CHARTS": "vega", "OMP_WAIT_POLICY": "PASSIVE"}
    # JupyterLab joins what a cell prints, too; times and states of widgets would differ from run to run.
    settings = {"coalesce_streams": True, "record_timing": False, "store_widget_state": False}
    settings["resources"] = {"metadata": {"path": str(folder)}}
    client = NotebookClient(nb, timeout=None, kernel_name="python3", **settings)
    try:
        client.execute(env=environment)
    except CellExecutionError as error:
        ended = [i for i, cell in enumerate(nb.cells) for out in cell.get("outputs", []) if out.output_type == "error"]
        raise SaveError(f"cell {ended[-1]} ends with {error.ename}: {' '.join(error.evalue.split())}") from error
    except DeadKernelError as error:
        raise SaveError("the kernel died") from error


def complete(nb: NotebookNode) -> None:
    """Draw the charts' pictures and describe the kernel, in place."""
    from ipykernel.ipkernel import IPythonKernel
    from jupyter_client.kernelspec import get_kernel_spec

    for cell in nb.cells:
        for output in cell.get("outputs", []):
            if CHART in output.get("data", {}):
                png, size = picture(output.data[CHART])
                output.data[PICTURE] = base64.b64encode(png).decode("ascii")
                output.metadata[PICTURE] = {"alt": output.data["text/plain"], **size}
    kernel = get_kernel_spec("python3")
    nb.metadata.kernelspec = {"display_name": kernel.display_name, "language": kernel.language, "name": "python3"}
    nb.metadata.language_info = IPythonKernel.language_info


def _as_in_javascript(value: Any) -> Any:
    """JavaScript has one kind of number: what JupyterLab read as 1.0, it writes as 1."""
    if isinstance(value, dict):
        return type(value)({key: _as_in_javascript(entry) for key, entry in value.items()})
    if isinstance(value, list):
        return [_as_in_javascript(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e21 else value


def save(path: Path, execute: bool = True) -> None:
    """Save the notebook ``path`` anew. Raises SaveError: no notebook, or its run ends with an error."""
    try:
        nb = nbformat.read(path, as_version=4)
    except FileNotFoundError as error:
        raise SaveError("there is no such file") from error
    except Exception as error:  # nbformat and json raise what they like
        raise SaveError(f"is not a notebook that can be read ({type(error).__name__})") from error
    if execute:
        run(nb, path.absolute().parent)
    complete(nb)
    with written_aside(path) as aside:
        aside.write_text(nbformat.writes(_as_in_javascript(nb)) + "\n", encoding="utf-8", newline="\n")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Exit status 0: all saved; 1: one line on standard error says which was not, and why."""
    parser = argparse.ArgumentParser(
        prog="python -m course_utils.classroom.save_notebook", description="Save notebooks as they are shipped."
    )
    parser.add_argument("notebooks", nargs="+", type=Path, metavar="NOTEBOOK")
    parser.add_argument("--no-run", action="store_true", help="keep the outputs as they are, add what is missing")
    options = parser.parse_args(argv)
    for path in options.notebooks:
        try:
            save(path, execute=not options.no_run)
        except SaveError as error:
            print(f"{path}: {error}; it was left as it is", file=sys.stderr)
            return 1
        print(f"{path}: saved, {path.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
