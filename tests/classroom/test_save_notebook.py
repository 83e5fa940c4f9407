"""Notebooks as authors save them: a picture beside each chart, the kernel in full, JupyterLab's bytes; or untouched."""

from __future__ import annotations

import base64
import io
import json

import nbformat
import pytest
from ipykernel.ipkernel import IPythonKernel
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_utils.classroom import save_notebook
from course_utils.classroom.save_notebook import CHART, PICTURE
from course_utils.explore import or_and_explorer

pytest.importorskip("vl_convert")

ANIMALS = ["cat", "dog", "cow", "ant", "bee", "fly", "elk", "emu"]
P, Q = [0.4, 0.3, 0.1, 0.1, 0.1, 0, 0, 0], [0, 0.05, 0.05, 0.3, 0, 0.4, 0.1, 0.1]
SHOWN = or_and_explorer(P, Q, ANIMALS)._repr_mimebundle_()
NUMBERS = {"application/json": {"whole": 1.0, "tiny": 1e-07, "huge": 1e21, "half": [0.5]}}


def _write(path, *cells) -> None:
    cells, metadata = [new_markdown_cell("# A title"), *cells], {"language_info": {"name": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=metadata), path)


@pytest.fixture
def chart(tmp_path):
    """A notebook that JupyterLab has run, with a chart in it."""
    output = new_output("execute_result", data={**SHOWN, PICTURE: "JupyterLab's own"}, execution_count=1)
    numbers = new_output("display_data", data=NUMBERS)
    _write(path := tmp_path / "chart.ipynb", new_code_cell("f()", outputs=[output, numbers], execution_count=1))
    return path


def test_a_chart_gets_a_small_picture_with_words(chart, capsys):
    Image = pytest.importorskip("PIL.Image")
    before = nbformat.read(chart, 4)
    assert save_notebook.main(["--no-run", str(chart)]) == 0
    assert capsys.readouterr().out.startswith(f"{chart}: saved, ")
    nb = nbformat.read(chart, 4)
    nbformat.validate(nb)
    assert [cell.id for cell in nb.cells] == [cell.id for cell in before.cells]
    [output, _] = nb.cells[1].outputs
    assert output.data[CHART] == json.loads(json.dumps(SHOWN[CHART]))
    assert output.data["text/plain"] == SHOWN["text/plain"]
    png = base64.b64decode(output.data[PICTURE])
    image, about = Image.open(io.BytesIO(png)), output.metadata[PICTURE]
    assert about["alt"] == SHOWN["text/plain"]
    assert image.size == pytest.approx((1.5 * about["width"], 1.5 * about["height"]), abs=1) and image.size[0] > 800
    assert image.mode == "P" and len(png) < 50_000
    colours = image.convert("RGB").getcolors()
    assert max(colours)[1] == (255, 255, 255) and len(colours) > 20


def test_the_kernel_is_described_and_numbers_are_javascripts(chart):
    assert save_notebook.main(["--no-run", str(chart)]) == 0
    text = chart.read_bytes().decode("utf-8")
    nb = json.loads(text)
    assert nb["metadata"]["language_info"] == IPythonKernel.language_info
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    assert nb["metadata"]["kernelspec"] == kernel
    assert '"whole": 1\n' in text and '"tiny": 1e-07,' in text and '"huge": 1e+21,' in text and "0.5" in text
    assert text == json.dumps(nb, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    assert save_notebook.main(["--no-run", str(chart)]) == 0
    assert chart.read_bytes().decode("utf-8") == text


def test_cells_are_run_from_the_top_in_a_fresh_kernel(tmp_path, monkeypatch):
    monkeypatch.setenv("MANY_MODELS_CHARTS", "html")  # the author's own setting
    (tmp_path / "here.txt").write_text("found", encoding="utf-8")
    show = "import os\nprint(os.environ['MANY_MODELS_CHARTS'])\nprint(open('here.txt').read() + '\\n', end='')"
    shown = new_code_cell(show, outputs=[new_output("stream", name="stdout", text="old")], execution_count=7)
    _write(path := tmp_path / "run.ipynb", shown, new_code_cell("1 / 2"))
    assert save_notebook.main([str(path)]) == 0
    first, second = nbformat.read(path, 4).cells[1:]
    assert [(out.name, out.text) for out in first.outputs] == [("stdout", "vega\nfound\n")]
    assert (first.execution_count, second.execution_count, second.outputs[0].data["text/plain"]) == (1, 2, "0.5")
    assert first.metadata == {} and set(nbformat.read(path, 4).metadata) == {"kernelspec", "language_info"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no such file"),
        ("{", "is not a notebook that can be read"),
        ("1 / 0", "cell 1 ends with ZeroDivisionError: division by zero"),
        ("import os; os._exit(1)", "the kernel died"),
    ],
)
def test_what_cannot_be_saved_is_left_as_it_is(tmp_path, capsys, content, said):
    path = tmp_path / "a.ipynb"
    if content == "{":
        path.write_text(content, encoding="utf-8")
    elif content:
        _write(path, new_code_cell(content))
    before = path.read_bytes() if content else None
    assert save_notebook.main([str(path)]) == 1
    told = capsys.readouterr()
    assert f"{path}: {said}" in told.err and told.err.count("\n") == 1 and told.out == ""
    assert (path.read_bytes() if content else None) == before
    assert [found.name for found in tmp_path.iterdir()] == (["a.ipynb"] if content else [])
