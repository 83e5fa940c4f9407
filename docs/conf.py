"""How Sphinx makes the book (docs/book.py calls it). Nothing here names another host that a page would ask."""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(DOCS))

import launch  # noqa: E402

project = "Many Models"
author = copyright = "The Many Models authors"
html_show_copyright = False
language = "en"
extensions = ["myst_nb", "sphinx_copybutton", "live", "launch"]
exclude_patterns = []

# Notebooks are shown as they were saved.
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # would be fetched from elsewhere; kernel controls are shown as a note
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "attrs_inline"]
myst_heading_anchors = 3
myst_update_mathjax = False
myst_dmath_double_inline = True
html_math_renderer = "katex"
add_module_names = False  # the page is the module
html_domain_indices = False  # the library's first page is one
suppress_warnings = ["mystnb.unknown_mime_type"]

html_theme = "sphinx_book_theme"
html_title = "Many Models"
html_css_files = ["book.css"]
html_logo = str(DOCS / "_static" / "logo.svg")
html_favicon = str(DOCS / "_static" / "logo.svg")
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_baseurl = launch.site()
html_context = {"default_mode": "auto"}
html_theme_options = {
    "navbar_start": [],  # no bar above the page: the search is in the side bar
    "navbar_center": [],
    "navbar_end": [],
    "navbar_persistent": [],
    "logo": {"text": "Many Models", "alt_text": "Many Models, the start page"},
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "toc_title": "On this page",
    "home_page_in_toc": False,
    "search_bar_text": "Search the book",
    "extra_footer": "Code: MIT. Text and pictures: CC BY 4.0.",
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    **launch.options(),
}
