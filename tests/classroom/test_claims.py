"""The table of claims: what the notebooks have printed, row by row; CLAIMS.md is that table."""

import contextlib
import io

import pytest
from editions import NOTEBOOKS, ROOT, read, tags, topic_of
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_utils.classroom.claims import claims, table
from course_utils.evidence import Interval, claim


def cell(*printed: str, tag: str = "claim"):
    outputs = [new_output("stream", name="stdout", text=text) for text in printed]
    return new_code_cell("f()", outputs=outputs, metadata={"tags": [tag]})


def test_what_a_cell_has_printed_becomes_a_row():
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        print("other things 0.1")
        claim(
            "|P - Q| > 0 (it is)",
            "Huang et al. (2024), table 3",
            "0.3 [0.1, 0.5]",
            Interval(0.3, 0.1, 0.5, 9),
            "9 texts",
        )
        claim("no", "this course", "-1", False, "all")
    nb = new_notebook(
        cells=[
            new_markdown_cell("# 01 · A title\nmore"),
            cell(text.getvalue()),
            cell("1"),
            cell(text.getvalue(), tag="x"),
        ]
    )
    assert [[row.verdict for row in rows] for rows in claims(nb)] == [["holds here", "does not hold here"], []]
    assert table({"01": nb}).endswith("""
## [01 · A title](notebooks/01.ipynb)

| Claim | Source | Measured here | From | Shown |
|---|---|---|---|---|
| \\|P - Q\\| > 0 (it is) | Huang et al. (2024), table 3 | 0.3 [0.1, 0.5] | 9 texts | holds here |
| no | this course | -1 | all | does not hold here |
""")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=topic_of)
def test_every_cell_that_holds_a_claim_has_a_row(path):
    nb = read(path)
    tagged = [c for c in nb.cells if "claim" in tags(c)]
    assert tagged and all(claims(nb)), [c.id for c, rows in zip(tagged, claims(nb)) if not rows]
    printed = [c.id for c in nb.cells if "Claim:  " in str(c.get("outputs")) and "claim" not in tags(c)]
    assert not printed, f"cells that print a claim and are not tagged so: {printed}"


def test_the_table_is_that_of_the_notebooks():
    said = "write it anew: python -m course_utils.classroom.claims"
    assert (ROOT / "CLAIMS.md").read_text(encoding="utf-8") == table({path.stem: read(path) for path in NOTEBOOKS}), (
        said
    )
