"""The notebooks as shipped (edition 1), and proof that the machinery which tests notebooks fails where it must.

The comparison of outputs itself is nbval's (`pytest --nbval notebooks`), made stricter by conftest.py. Here: what the
saved file must be like, and toy notebooks with every fault that nbval, the editions and the rules have to find."""

from __future__ import annotations

import re
import subprocess
import sys
from xml.etree import ElementTree

import editions
import nbformat
import pytest
import test_exercises
from editions import NOTEBOOKS, ROOT, Task, defined_names, read, run_edition, solved_answers, tasks, topic_of
from ipykernel.ipkernel import IPythonKernel
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from notebook_rules import saved_problems
from wrong_answers import WrongAnswer

CHART = "application/vnd.vegalite.v5+json"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=topic_of)
def test_saved_notebook_is_complete(path):
    nb = read(path)
    nbformat.validate(nb)
    assert saved_problems(nb) == []


DRAWING = re.compile(r"!\[([^\]]*)\]\(([^)]+\.svg)\)")
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=topic_of)
def test_a_drawing_shows_the_method(path):
    """With words for who cannot see it, on a ground of its own (it must be legible on a dark page), and self-contained:
    no script, no link, no font of ours, as an image in a page could load none."""
    drawings = DRAWING.findall("\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown"))
    assert drawings, "no cell shows a drawing: ![what is to be seen](drawings/NAME.svg)"
    for alt, name in drawings:
        assert len(alt) >= 60, f"{name}: {alt!r} does not say what is to be seen"
        svg = ElementTree.parse(path.parent / name).getroot()
        _, _, width, height = map(float, svg.get("viewBox").split())
        ground = svg.find(f"{SVG}rect")
        assert svg.get("role") == "img" and svg.find(f"{SVG}title").text, f"{name}: has no <title>"
        assert (ground.get("width"), ground.get("height")) == (f"{width:g}", f"{height:g}"), f"{name}: has no ground"
        assert ground.get("fill") == "#ffffff" and 600 <= width <= 800 and height <= 420, (
            f"{name}: a card of 600 to 800"
        )
        assert not {e.tag for e in svg.iter()} & {f"{SVG}script", f"{SVG}image", f"{SVG}foreignObject"}
        assert all(int(float(e.get("font-size", 14))) >= 12 for e in svg.iter(f"{SVG}text")), f"{name}: small letters"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=topic_of)
def test_one_chart_asks_for_a_guess(path):
    outputs = [output for cell in read(path).cells for output in cell.get("outputs", [])]
    params = [output.data[CHART]["params"] for output in outputs if CHART in output.get("data", {})]
    covered = [chart for chart in params if any(param["name"] == "uncovered" for param in chart)]
    assert len(covered) == 1, "one chart of a notebook is shown by explore.guess_first"


def test_every_drawing_is_shown():
    texts = "".join(path.read_text(encoding="utf-8") for path in NOTEBOOKS)
    for path in (ROOT / "notebooks" / "drawings").iterdir():
        assert f"drawings/{path.name}" in texts, f"no notebook shows {path.name}"


# --- edition 1: what nbval must find ----------------------------------------------------------------------------------


def stream(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def display(**data):
    return new_output("display_data", data={mime.replace("_", "/"): value for mime, value in data.items()})


def chart(value, title="mixture", text="chart"):
    spec = {"description": "d", "title": title, "data": [{"x": 1, "y": value}]}
    return new_output("display_data", data={CHART: spec, "text/plain": text})


def show_chart(value, title="mixture", x=1):
    return f"""display({{"{CHART}": {{"description": "d", "title": "{title}", "data": [{{"x": {x}, "y": {value}}}]}},
         "text/plain": "chart"}}, raw=True)"""


def with_picture(output):
    output.data["image/png"] = PIXEL
    return output


PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SHOW_PIXEL = f"display({{'image/png': '{PIXEL}', 'text/plain': 'p'}}, raw=True)"
CELLS = [  # what the cell does, its source, its saved outputs, does nbval accept it?
    ("same text", "print('a')", [stream("a\n")], True),
    ("other text", "print('b')", [stream("a\n")], False),
    ("last digits of a printed number", "print(0.1234)", [stream("0.1236\n")], True),
    ("three units off", "print(0.1234)", [stream("0.1237\n")], False),
    ("a digit more", "print(f'{10.04:6.2f} nats')", [stream("  9.98 nats\n")], False),
    ("a column moves", "print(f'{10.00:6.2f} nats')", [stream("  9.98 nats\n")], True),
    ("sign about zero", "print(f'{-0.01:+.2f}')", [stream("+0.01\n")], True),
    ("no leading zero, in brackets", "print('(.25, -.11)')", [stream("(.26, -.12)\n")], True),
    ("rounded to fewer digits", "print(round(0.7, 2))", [stream("0.69\n")], True),
    ("power of ten", "print('1.2e-05')", [stream("1.4e-05\n")], True),
    ("power of ten, off", "print('1.2e-05')", [stream("1.2e-04\n")], False),
    ("a count", "print('3,177 snippets')", [stream("3,178 snippets\n")], False),
    ("a list", "print([1, 2])", [stream("[1, 3]\n")], False),
    ("a tensor", "print('tensor([1., 0.5000])')", [stream("tensor([0.9999, 0.5001])\n")], True),
    ("a word beside a number", "print('0.12 nats')", [stream("0.12 bits\n")], False),
    ("a name with a digit", "print('SmolLM2 0.12')", [stream("SmolLM3 0.12\n")], False),
    ("missing line", "print('a 0.1')", [stream("a 0.1\nb 0.2\n")], False),
    ("swapped rows", "print('b 0.2\\na 0.2')", [stream("a 0.2\nb 0.2\n")], False),
    ("table", "display({'text/html': '<td>0.66</td>'}, raw=True)", [display(text_html="<td>0.67</td>")], True),
    ("table, off", "display({'text/html': '<td>0.66</td>'}, raw=True)", [display(text_html="<td>0.96</td>")], False),
    ("table, other row", "display({'text/html': '<td>6</td>'}, raw=True)", [display(text_html="<td>7</td>")], False),
    ("an estimate", "print('41 of 100')  # estimate", [stream("42 of 100\n")], True),
    ("an estimate, off", "print('41 of 100')  # estimate", [stream("45 of 100\n")], False),
    ("sampled text", "print('λ = 0.5: And it came')  # sampled", [stream("λ = 0.5: In the\n")], True),
    ("sampled text, other label", "print('λ = 0.5: And it')  # sampled", [stream("λ = 0.9: And it\n")], False),
    ("sampled text, nothing there", "print('λ = 0.5:')  # sampled", [stream("λ = 0.5: And it\n")], False),
    ("sampled chart", show_chart(0.9, title="And it") + "  # sampled", [chart(0.5, title="In the")], True),
    ("sampled chart, nothing there", show_chart(0.5, title="") + "  # sampled", [chart(0.5, title="In the")], False),
    ("sampled text, a line less", "print('a: b')  # sampled", [stream("a: b\nc: d\n")], False),
    ("output not saved", "print('a')", [], False),
    ("output gone", "pass", [stream("a\n")], False),
    ("never run", "x = 1", None, False),
    ("address", "print(object())", [stream("<object object at 0x7f01a2b3c4d0>\n")], True),
    ("timing", "print('took 3.1 s')", [stream("took 12 s\n")], True),
    ("percent", "print('3 %')", [stream("5 %\n")], True),
    ("percent is no timing", "print('3 %')", [stream("6 %\n")], False),
    ("warning that was not saved", "import warnings; warnings.warn('old')", [], False),
    ("error", "1 / 0", [], False),
    ("chart, last digits", show_chart(0.50001), [chart(0.5)], True),
    ("chart, whole for broken", show_chart(1), [chart(1.0)], True),
    ("chart, other figure", show_chart(0.6), [chart(0.5)], False),
    ("chart, other whole number", show_chart(0.5, x=2), [chart(0.5)], False),
    ("chart, number in a title", show_chart(0.5, title="λ 0.41"), [chart(0.5, title="λ 0.42")], True),
    ("chart, number in a title, off", show_chart(0.5, title="λ 0.41"), [chart(0.5, title="λ 0.45")], False),
    ("chart, its picture is made when it is saved", show_chart(0.5), [with_picture(chart(0.5))], True),
    ("chart, other title", show_chart(0.5, title="member"), [chart(0.5)], False),
    ("chart, other text", show_chart(0.5), [chart(0.5, text="graph")], False),
    ("chart gone", "display({'text/plain': 'chart'}, raw=True)", [chart(0.5)], False),
    ("picture, other pixels", SHOW_PIXEL, [display(image_png=PIXEL.replace("Wj", "Wk"), text_plain="p")], True),
    ("picture gone", "display({'text/plain': 'p'}, raw=True)", [display(image_png=PIXEL, text_plain="p")], False),
]


@pytest.fixture(scope="module")
def nbval_outcomes(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("nbval")
    cells = [new_code_cell(source, outputs=outputs or []) for _, source, outputs, _ in CELLS]
    for number, (cell, (_, source, outputs, _)) in enumerate(zip(cells, CELLS), start=1):
        cell.execution_count = None if outputs is None else number
        cell.metadata["tags"] = re.findall("# (estimate|sampled)$", source)
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), folder / "toy.ipynb")
    (folder / "conftest.py").write_text((ROOT / "conftest.py").read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    sanitize = f"--nbval-sanitize-with={ROOT / 'tests' / 'nbval_sanitize.cfg'}"
    options = ["-c", "pytest.ini", "--rootdir", ".", "-rA", "--tb=no", "-p", "no:cacheprovider", "--color=no"]
    command = [sys.executable, "-m", "pytest", *options, "--nbval", sanitize, "toy.ipynb"]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300).stdout
    words = re.findall(r"^(PASSED|FAILED|ERROR) \S*::Cell (\d+)", said, flags=re.MULTILINE)
    found = {int(number): word for word, number in words}
    assert len(found) == len(CELLS), said
    return {label: found[number] for number, (label, *_) in enumerate(CELLS)}


@pytest.mark.slow
@pytest.mark.parametrize(("label", "accepted"), [(label, accepted) for label, _, _, accepted in CELLS])
def test_nbval_judges(nbval_outcomes, label, accepted):
    assert nbval_outcomes[label] == ("PASSED" if accepted else "FAILED")


# --- edition 1: what the rules about saved notebooks must find --------------------------------------------------------


def saved(*outputs, source="f()", execution_count=1, tags=(), language=IPythonKernel.language_info):
    settings = {"execution_count": execution_count, "metadata": {"tags": list(tags)}}
    cell = new_code_cell(source, outputs=list(outputs), **settings)
    return new_notebook(cells=[cell], metadata={"language_info": language})


FAILED = new_output("error", ename="ValueError", evalue="no", traceback=[])


@pytest.mark.parametrize(
    "nb",
    [
        saved(),
        saved(stream("3.5 nats a token\n")),
        saved(with_picture(chart(1.0))),
        saved(source="", execution_count=None),
        saved(FAILED, tags=["raises-exception"]),
    ],
)
def test_saved_rules_accept(nb):
    assert saved_problems(nb) == []


@pytest.mark.parametrize(
    ("nb", "complaint"),
    [
        (saved(execution_count=None), "was never run"),
        (saved(execution_count=7), "not run from top to bottom"),
        (saved(stream("UserWarning: old", "stderr")), "shows a warning"),
        (saved(stream("wrote /home/ann/x\n")), "a path of this machine"),
        (saved(display(text_plain="/tmp/cell.py")), "a path of this machine"),
        (saved(FAILED), "ends with an error"),
        (saved(source="f()  # NBVAL_IGNORE_OUTPUT"), "kept from the comparison"),
        (saved(tags=["nbval-skip"]), "kept from the comparison"),
        (saved(chart(1.0)), "chart without a picture"),
        (saved(language={"name": "python"}), "language_info lacks codemirror_mode, file_extension"),
    ],
)
def test_saved_rules_notice(nb, complaint):
    assert any(complaint in problem for problem in saved_problems(nb)), saved_problems(nb)


# --- editions 2 and 3 on a toy notebook ------------------------------------------------------------------------------

STUBS = {"average": "average_distributions(log_p, log_q)", "perplexity": "perplexity(token_log_probs)"}


def toy(setup="import torch\nfrom course_utils.exercises import check", stubs=STUBS) -> nbformat.NotebookNode:
    def code(source, *tags):
        return new_code_cell(source, metadata={"tags": list(tags)})

    cells = [new_markdown_cell("# Toy"), code(setup, "setup"), code("raise SystemError('not in editions 2, 3')")]
    for name, signature in stubs.items():
        cells += [
            code(f'def {signature}:\n    """Formula."""\n    raise NotImplementedError', "exercise"),
            new_markdown_cell("Text between."),
            code(f'check("start_here.{name}", {signature.split("(")[0]})', "check"),
        ]
    return new_notebook(cells=cells)


def toy_wrongs() -> list[WrongAnswer]:
    return [wrong for wrong in editions.wrong_answers("start_here") if wrong.exercise.split(".")[1] in STUBS]


def check_solved(nb, folder):
    answers = solved_answers(nb)
    test_exercises.judge_solved(answers, run_edition(nb, answers, folder))


def check_wrong(nb, wrongs, folder):
    said = run_edition(nb, test_exercises.stubs_and_wrong(nb, wrongs), folder)
    test_exercises.judge_wrong(nb, wrongs, said)


@pytest.mark.slow
def test_editions_accept_a_good_notebook(tmp_path):
    check_solved(toy(), tmp_path)
    check_wrong(toy(), toy_wrongs(), tmp_path)


@pytest.mark.slow
def test_editions_run_in_a_kernel_that_has_only_the_setup(tmp_path):
    with pytest.raises(AssertionError, match="set-up cell fails"):
        check_wrong(toy(setup="import torch\nfrom course_utils.exercises import chekc"), toy_wrongs(), tmp_path)


RIGHT = "def perplexity(token_log_probs):\n    return torch.exp(-token_log_probs.mean())"


@pytest.mark.slow
def test_edition_3_fails_on_a_right_answer_and_on_another_hint(tmp_path):
    with pytest.raises(AssertionError, match='"right" was not rejected'):
        check_wrong(toy(), [WrongAnswer("start_here.perplexity", "right", RIGHT, "no such hint")], tmp_path)
    with pytest.raises(AssertionError, match="should be told"):
        sign = RIGHT.replace("-", "")
        check_wrong(toy(), [WrongAnswer("start_here.perplexity", "sign", sign, "no such hint")], tmp_path)


def test_a_wrong_answer_gets_the_notebooks_name():
    code = "def helper(x):\n    return x\n\ndef mix(p, q):\n    return p"
    assert editions.under_the_name("mix", code) == code
    assert editions.under_the_name("my_mix", code) == code + "\n\nmy_mix = mix"


def test_edition_3_fails_on_a_stub_that_is_no_stub():
    with pytest.raises(AssertionError, match="the stub of start_here.average"):
        test_exercises.judge_wrong(toy(), [], ["start_here.average: not right yet, 0 of 4 passed"] * 2)


def test_edition_2_fails_on_a_solution_that_is_not_accepted():
    with pytest.raises(AssertionError, match="the solution of start_here.average is not accepted"):
        said = ["start_here.average: not right yet, 3 of 4 passed"] * len(tasks(toy()))
        test_exercises.judge_solved(solved_answers(toy()), said)


def test_the_solution_takes_the_notebooks_name():
    nb = toy(stubs={"average": "mean_of_two(log_p, log_q)"})
    ((task, code),) = solved_answers(nb)
    assert task == Task("start_here.average", "mean_of_two", nb.cells[3].source, nb.cells[5].source)
    assert "mean_of_two" in defined_names(code) and "average_distributions" in defined_names(code)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda cells: cells[5].metadata.update(tags=[]), 'not followed by a code cell tagged "check"'),
        (lambda cells: cells[3].metadata.update(tags=[]), "they go in pairs"),
        (lambda cells: cells[5].update(source="1 + 1"), "should hold one call check"),
        (lambda cells: cells[5].update(source='check("start_here.average")'), "should hold one call check"),
        (
            lambda cells: cells[5].update(source='check("start_here.average", x)'),
            "name that the cell before it defines",
        ),
        (lambda cells: cells.insert(4, new_code_cell("x = 1")), 'not followed by a code cell tagged "check"'),
    ],
)
def test_broken_conventions_are_noticed(spoil, complaint):
    nb = toy()
    spoil(nb.cells)
    with pytest.raises(ValueError, match=re.escape(complaint)):
        tasks(nb)


def test_no_notebook_is_overlooked():
    found = [path for path in (ROOT / "notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts]
    assert sorted(found) == NOTEBOOKS
