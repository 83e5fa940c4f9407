import io
from itertools import combinations

import matplotlib
import pytest
from drawing import _linear

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.colors import to_rgb

from course_utils.explore import style as plots


def _figure():
    fig, ax = plt.subplots()
    ax.plot([0, 1], [1, 3])
    plots.label_line(ax, 1, 3, "core", plots.ROLE_COLOURS["core"])
    return fig


@pytest.fixture(autouse=True)
def style():
    with matplotlib.rc_context():
        plots.use_course_style()
        yield
        plt.close("all")


def test_show_displays_png_and_alt_text_and_closes_the_figure():
    fig = _figure()
    shown = plots.show(fig, "A line that rises\n   from 1 to 3.")
    data, metadata = shown._repr_mimebundle_()
    assert data["text/plain"] == repr(shown) == "A line that rises from 1 to 3."
    assert metadata["image/png"]["alt"] == "A line that rises from 1 to 3."
    assert plt.imread(io.BytesIO(shown.png)).shape[:2] == (320, 700)
    assert not plt.fignum_exists(fig.number)


def test_same_figure_gives_the_same_bytes():
    assert plots.show(_figure(), "a").png == plots.show(_figure(), "a").png


@pytest.mark.parametrize("alt", ["", "  \n"])
def test_alt_text_is_required(alt):
    with pytest.raises(ValueError, match="alt text"):
        plots.show(_figure(), alt)


def test_first_member_is_drawn_in_the_core_colour():
    _, ax = plt.subplots()
    (line,) = ax.plot([0, 1])
    assert line.get_color() == plots.ROLE_COLOURS["core"]


def _seen_by(rgb, kind):
    """Linear-light RGB as a dichromat sees it: Vienot, Brettel & Mollon (1999)."""
    r, g, b = _linear(rgb)
    if kind == "protan":
        red = 0.11238 * r + 0.88762 * g
        return red, red, 0.00401 * r - 0.00401 * g + b
    green = 0.29275 * r + 0.70725 * g
    return green, green, -0.02234 * r + 0.02234 * g + b


@pytest.mark.parametrize("kind", ["protan", "deutan"])
def test_roles_stay_apart_for_colour_blind_readers(kind):
    roles = ["core", "positive", "negative", "result"]
    for one, two in combinations(roles, 2):
        a, b = (_seen_by(to_rgb(plots.ROLE_COLOURS[r]), kind) for r in (one, two))
        assert max(abs(x - y) for x, y in zip(a, b)) > 0.1, f"{one} and {two} look alike ({kind})"
