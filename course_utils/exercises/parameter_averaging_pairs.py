"""Tests of 03_parameter_averaging: which pairs of models can be averaged."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from course_utils.exercises.engine import Mistake, NotAttempted, close

ONE_RUN, FINE_TUNES = "two checkpoints of one run", "two fine-tunes of one base"
SEEDS, REORDERED = "two runs from different seeds", "a model and the same model with its hidden units reordered"
CAN_AVERAGE = {ONE_RUN: True, FINE_TUNES: True, SEEDS: False, REORDERED: False}

WHY = {
    ONE_RUN: (
        "Between two checkpoints of one run there are only some steps of training: unit i is still unit i, and the loss"
        " stays low on the line between them. This is checkpoint averaging, and it works."
    ),
    FINE_TUNES: (
        "Both fine-tunes started from the same weights and moved only a little, each in its direction: unit i of the"
        " one still does what unit i of the other does. This is a model soup, and it works."
    ),
    SEEDS: (
        "From different seeds, unit 7 of the one has nothing to do with unit 7 of the other: averaging them cancels"
        " what both have learnt, though both models are good. First match their units (Git Re-Basin)."
    ),
    REORDERED: (
        "The two compute the SAME function, and still must not be averaged: unit i of the one meets another unit of the"
        " other. Equal functions are no equal weights; it is the ORDER of the units that must agree."
    ),
}
ALL = (
    "Everything True: then any two good models could be averaged. Averaging is done weight by weight, so unit i must"
    " mean the same in both."
)
NONE = "Everything False: related models can be averaged, this is what checkpoint averaging and soups live on."
INVERTED = (
    "Every entry is the wrong way round: True means that the average is about as good as the two models. Do units with"
    " the same number mean the same in both?"
)


def pairs(answer: dict[str, Any]) -> None:
    """which pairs of models can be averaged, weight by weight, with a result that is about as good as the two"""
    if isinstance(answer, dict) and answer.keys() <= CAN_AVERAGE.keys():
        _named({key: bool(v) if isinstance(v, (int, np.bool_, Tensor)) else v for key, v in answer.items()})
        return
    close(answer, CAN_AVERAGE, what="your table")


def _named(answer: dict[str, Any]) -> None:
    missing = [key for key in CAN_AVERAGE if answer.get(key) is None or answer.get(key) is Ellipsis]
    if len(missing) == len(CAN_AVERAGE):
        raise NotAttempted
    if missing:
        raise Mistake(f"Still to fill in: {', '.join(missing)}. Write True or False.")
    if not all(isinstance(value, bool) for value in answer.values()):
        raise Mistake("Write True (the two can be averaged) or False (they cannot) for each entry.")
    wrong = [key for key in CAN_AVERAGE if answer[key] != CAN_AVERAGE[key]]
    if len(wrong) == len(CAN_AVERAGE):
        raise Mistake(INVERTED)
    if all(answer.values()):
        raise Mistake(f"{ALL} {WHY[REORDERED]}")
    if not any(answer.values()):
        raise Mistake(f"{NONE} {WHY[ONE_RUN]}")
    if wrong:
        raise Mistake(" ".join(f"{key[0].upper()}{key[1:]}: {WHY[key]}" for key in wrong))
