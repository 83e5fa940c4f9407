"""The look of the course's matplotlib figures, and figures that carry their alternative text.

Colours belong to roles, not to charts: the core model is blue in every notebook. The palette is Okabe and Ito's,
which stays apart under the common colour-vision deficiencies ("Color Universal Design", 2008).
"""

from __future__ import annotations

import base64
import html
import io
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROLE_COLOURS = {
    "core": "#0072B2",  # blue
    "positive": "#009E73",  # green
    "negative": "#D55E00",  # vermilion
    "result": "#E69F00",  # orange
    "other": "#999999",  # grey: everything that plays no part
}
# More members than roles: the rest of the palette, in this order.
MEMBER_COLOURS = [ROLE_COLOURS[r] for r in ("core", "positive", "negative")] + ["#CC79A7", "#56B4E9", "#F0E442"]
# The members' colours, darkened until they can be read as text on white.
TEXT_COLOURS = ["#0072B2", "#007A59", "#B34700", "#A04A7C", "#2A6F9E", "#756B00"]
INK, FAINT = "#222222", "#D9D9D9"  # text; grid lines and separators
PALE = "#767676"  # grey text that can still be read on white

COURSE_STYLE = {
    "figure.figsize": (7.0, 3.2),
    "figure.dpi": 100,
    "savefig.dpi": 100,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that the pixels do not depend on the machine's fonts
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "lines.linewidth": 2.0,
    "legend.frameon": False,
    "image.cmap": "cividis",
    "svg.hashsalt": "many-models",
}


def use_course_style() -> None:
    """Set matplotlib's defaults to the course's look, members coloured in the order core, positive, negative, ..."""
    import matplotlib as mpl

    # Without a window: a figure that nobody shows must not appear twice, nor depend on the notebook's backend.
    mpl.use("agg")
    mpl.rcParams.update(COURSE_STYLE)
    mpl.rcParams["axes.prop_cycle"] = mpl.cycler(color=MEMBER_COLOURS)


class AltFigure:
    """A finished picture with its text: as HTML, since JupyterLab gives an image/png no alternative text, as image/png
    for programs that show no HTML, and as plain text for readers and tests."""

    def __init__(self, png: bytes, alt: str) -> None:
        self.png, self.alt = png, alt

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        png, alt = base64.b64encode(self.png).decode("ascii"), html.escape(" ".join(self.alt.split()))
        page = f'<img alt="{alt}" src="data:image/png;base64,{png}">'
        data = {"text/html": page, "image/png": png, "text/plain": self.alt}
        return data, {"image/png": {"alt": self.alt}}


def show(fig: Figure, alt: str) -> AltFigure:
    """Close ``fig`` and return it as a picture with the alternative text ``alt``: last line of a cell.

    ``alt`` says what the figure shows and its main figures, rounded to the digits that are stable (it is what a screen
    reader reads and what the tests compare). Raises ValueError: no alt text.
    """
    import matplotlib.pyplot as plt

    if not alt or not alt.strip():
        raise ValueError("a figure needs alt text: say in one or two sentences what it shows, with its main figures")
    png = io.BytesIO()
    fig.savefig(png, format="png", metadata={"Software": None})  # no version in the file: same input, same bytes
    plt.close(fig)
    return AltFigure(png.getvalue(), textwrap.fill(" ".join(alt.split()), 100))


def label_line(ax, x: float, y: float, text: str, colour: str) -> None:
    """Write a line's name at its end (x, y) in its own colour: a direct label instead of a legend."""
    beside = {"xytext": (5, 0), "textcoords": "offset points", "va": "center", "annotation_clip": False}
    ax.annotate(text, (x, y), color=colour, **beside)
