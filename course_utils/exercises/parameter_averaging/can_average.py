"""Which pairs of models can be averaged?"""

from __future__ import annotations

from typing import Any

import numpy as np

from course_utils.exercises.engine import Exercise, Mistake, NotAttempted

ONE_RUN, FINE_TUNES = "two checkpoints of one run", "two fine-tunes of one base"
SEEDS, REORDERED = "two runs from different seeds", "a model and the same model with its hidden units reordered"
CAN_AVERAGE = {ONE_RUN: True, FINE_TUNES: True, SEEDS: False, REORDERED: False}

WHY = {  # (why the entry is wrong, what follows)
    ONE_RUN: (
        "between them are only some steps of training: unit i is still unit i, and the loss stays low on the line.",
        "This is checkpoint averaging, and it works.",
    ),
    FINE_TUNES: (
        "both fine-tunes started from the same weights and moved only a little: unit i of the one still does what unit"
        " i of the other does.",
        "This is a model soup, and it works.",
    ),
    SEEDS: (
        "unit 7 of the one has nothing to do with unit 7 of the other: averaging them cancels what both have learnt.",
        "First match their units (Git Re-Basin).",
    ),
    REORDERED: (
        "the two compute the same function, but unit i of the one meets another unit of the other.",
        "Equal functions are no equal weights; it is the order of the units that must agree.",
    ),
}


def pairs(answer: dict[str, Any]) -> None:
    """which pairs of models can be averaged, weight by weight, with a result that is about as good as the two"""
    if not isinstance(answer, dict):
        raise Mistake(f"A dict with an entry for each pair is asked for, and this is of type {type(answer).__name__}.")
    unknown = [key for key in answer if key not in CAN_AVERAGE]
    if unknown:
        raise Mistake(f"The table has no entry {unknown[0]!r}: leave the pairs as they are written.")
    missing = [key for key in CAN_AVERAGE if answer.get(key) is None or answer.get(key) is Ellipsis]
    if len(missing) == len(CAN_AVERAGE):
        raise NotAttempted
    if missing:
        raise Mistake(f"Still to fill in: {', '.join(missing)}.", "Write True or False.")
    given = {key: bool(value) for key, value in answer.items() if isinstance(value, (int, np.bool_))}
    if len(given) < len(CAN_AVERAGE) or any(value not in (0, 1) for value in answer.values()):
        raise Mistake("Write True (the two can be averaged) or False (they cannot) for each entry.")
    wrong = [key for key in CAN_AVERAGE if given[key] != CAN_AVERAGE[key]]
    if len(wrong) == len(CAN_AVERAGE):
        says = "Every entry is the wrong way round: True means that the average is about as good as the two models."
        raise Mistake(says, "Do units with the same number mean the same in both?")
    if all(given.values()):
        says = "Everything True: then any two good models could be averaged."
        raise Mistake(says, "Averaging is done weight by weight, so unit i must mean the same in both.")
    if not any(given.values()):
        says = "Everything False: related models can be averaged."
        raise Mistake(says, "Checkpoint averaging and soups live on that.")
    if wrong:
        says, pointer = WHY[wrong[0]]
        raise Mistake(f"{wrong[0][0].upper()}{wrong[0][1:]}: {says}", pointer)


EXERCISE = Exercise(
    "parameter_averaging.can_average",
    CAN_AVERAGE,
    checks=[pairs],
    hints=[
        "The average takes weight number k of both models. For which pairs does weight number k have the same task in"
        " both?",
        "A common start keeps the units in one order. What did the experiments of this notebook show for two seeds, and"
        " for a network and its permuted copy?",
        "Two entries are True: those whose models share a start. The other two are False.",
    ],
)
