"""Edits on a page: both texts can be read from either form, nothing of a text becomes markup."""

from __future__ import annotations

import html
import re

import pytest
from drawing import _contrast

from course_utils.diffusion.edits import changes, tags_between
from course_utils.explore.marked import STYLES, marked_edits


def shown(draft: str, target: str):
    return marked_edits([("step 1", changes(draft.split(), *tags_between(draft.split(), target.split())))])


def test_the_text_form_is_that_of_wdiff():
    drawn = shown("the dog the cat sat", "a dog sat there")
    assert repr(drawn) == "step 1: [-the-] {+a+} dog [-the cat sat-] {+sat there+}"
    assert repr(shown("as it was", "as it was")) == "step 1: as it was"


def test_a_blank_that_comes_or_goes_can_be_seen():
    assert repr(marked_edits([("a", [("KEEP", "b"), ("INSERT", " "), ("KEEP", "c ")])], decode="".join)) == "a: b{+␣+}c"


def test_the_page_holds_both_texts_for_a_screen_reader_too():
    page = shown("the dog <b> sat", "a dog sat & ran")._repr_html_()
    without = [re.sub(f"<{tag} .*?</{tag}>", "", page) for tag in ("ins", "del")]
    before, after = (" ".join(html.unescape(re.sub("<[^>]*>", "", text)).split()) for text in without)
    assert before == "step 1the dog <b> sat" and after == "step 1a dog sat & ran"
    assert "<b>" not in page and '<th scope="row"' in page


def test_the_colours_can_be_read_on_white():
    colours = [m.group() for style in STYLES.values() for m in [re.search("#[0-9A-F]{6}", style)] if m]
    assert len(colours) == 2 and all(_contrast(colour) >= 4.5 for colour in colours)


def test_ids_are_decoded_run_by_run_and_strange_runs_are_refused():
    runs = [("a", [("KEEP", [1, 2]), ("INSERT", [3])])]
    assert repr(marked_edits(runs, decode=lambda ids: " " + "".join("abcd"[i] for i in ids))) == "a: bc {+d+}"
    with pytest.raises(ValueError, match="REPLACE"):
        marked_edits([("a", [("REPLACE", ["x"])])])
