"""Texts that are drawn letter by letter, each in a cell of its own."""

from __future__ import annotations

from course_utils.explore import vega

COLUMNS, WIDE = 64, 9.5  # letters in a line, pixels of one
WIDTH = round(COLUMNS * WIDE) + 2  # pixels: 610; a frame that reached the edge would make Vega enlarge the chart


def cells(high: float, top: str) -> list[dict]:
    """Transforms that place letter p of a text in its line and column: a cell, and the middle of the letter.

    high: pixels of a line; top: a Vega expression for the top of its line.
    """
    return [
        *vega.calculate(x=f"datum.p % {COLUMNS} * {WIDE} + 1", x2=f"datum.x + {WIDE - 0.5}"),
        *vega.calculate(middle=f"datum.x + {WIDE / 2}", top=top, bottom=f"datum.top + {high - 2}"),
        *vega.calculate(y=f"datum.top + {high / 2 - 1}"),
    ]


def layer(field: str, **encoding) -> dict:
    """The letters themselves."""
    letter = vega.mark("text", align="center", font=vega.MONOSPACE, fontSize=14, aria=False)
    return vega.layer(letter, x=vega.pixels("middle"), y=vega.pixels("y"), text=vega.nominal(field), **encoding)
