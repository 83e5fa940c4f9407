"""Tests of 02_negative_evidence: the exponents of the core, the positive and the negative model, method by method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_utils.ensembling import loglinear_interpolation
from course_utils.exercises.engine import Mistake, NotAttempted, close
from course_utils.exercises.engine.calls import StudentError
from course_utils.exercises.interpolation_rules import random_log_probs

Known = list[tuple[str, tuple[float, float, float]]]
LAMS = (0.3, 2.0, -0.75)
SLOTS = ("core", "positive", "negative")


def coefficients(method: str, lam: float) -> tuple[float, float, float]:
    """The exponents (core, positive, negative) with which a method is P_core^a P_pos^b P_neg^c / Z.

    DExperts, DDA: P_core (P_pos / P_neg)^lam. anti-expert only: the missing expert is the core. contrastive decoding:
    the expert is the positive, the amateur the negative, there is no core and no lam. classifier-free guidance: the
    positive is the model with the prompt, the negative the same model without it, lam = 0 is off.
    Returns three numbers; they sum to 1, but for contrastive decoding (0).
    Raises ValueError: a method that is none of these five.
    Sources: Liu et al. (2021); Dou et al. (2019); Li et al. (2023); Ho & Salimans (2022), Sanchez et al. (2023).
    """
    table = {
        "DExperts": (1, lam, -lam),
        "DDA": (1, lam, -lam),
        "anti-expert only": (1 + lam, 0, -lam),
        "contrastive decoding": (0, 1, -1),
        "classifier-free guidance": (0, 1 + lam, -lam),
    }
    if method not in table:
        raise ValueError(f"unknown method {method!r}, the methods are {', '.join(table)}")
    return table[method]


FORMULAS = {
    "DExperts": "log P_core + lam (log P_pos - log P_neg)",
    "DDA": "log P_core + lam (log P_pos - log P_neg)",
    "anti-expert only": "log P_core + lam (log P_core - log P_neg)",
    "contrastive decoding": "log P_pos - log P_neg",
    "classifier-free guidance": "log P_pos + lam (log P_pos - log P_neg)",
}
NEGATIVE = "The sign of the negative is wrong: its exponent is below 0 when lam is above 0, for P_neg is divided by."
SWAPPED = "Positive and negative are swapped: the positive's exponent is +lam, the negative's -lam."
CORE_ONE = "The core's exponent is 1 and does not depend on lam: lam weighs the difference positive - negative."
NO_CORE = "The core is missing: its exponent is 1. The difference alone, without a core, is contrastive decoding."
IS_CORE = (
    "The missing expert is the core: its lam goes to the core. P_core (P_core / P_neg)^lam = P_core^(1 + lam) /"
    " P_neg^lam, so the positive's slot is 0 and the core's is 1 + lam."
)
OWN_CORE = "This method has no core of its own: the first number is 0. "
EXPERT = OWN_CORE + "In contrastive decoding the expert takes the positive's slot, the amateur the negative's."
NO_LAM = "Contrastive decoding as in the paper has no lam: the score is log P_expert - log P_amateur, for any lam."
GUIDED = (
    OWN_CORE + "The LM with the prompt is the positive, and P_pos (P_pos / P_neg)^lam = P_pos^(1 + lam) / P_neg^lam. It"
    " is DExperts only with the conditional LM as core AND as positive, and then its two exponents add up here."
)
OFF_BY_ONE = (
    "Off by one: this is guidance written with 1 as 'off'. Here lam = 0 is off, (0, 1, 0), so the positive's exponent"
    " is 1 + lam and the negative's -lam."
)


def _difference(lam: float) -> Known:
    """DExperts and DDA."""
    one_side = "lam belongs to both sides of the difference: lam (log P_pos - log P_neg)."
    shallow = (
        "The negative is missing: that is shallow fusion. The out-of-domain LM (the anti-expert) is subtracted with the"
        " same lam."
    )
    return [
        (SWAPPED, (1, -lam, lam)),
        (NEGATIVE, (1, lam, lam)),
        (shallow, (1, lam, 0)),
        ("The positive is missing: its exponent is lam.", (1, 0, -lam)),
        ("lam is ignored: it multiplies the difference.", (1, 1, -1)),
        (one_side, (1, lam, -1)),
        (one_side, (1, 1, -lam)),
        (NO_CORE, (0, lam, -lam)),
        (NO_CORE, (0, 1, -1)),
        (NO_CORE, (0, 1 + lam, -lam)),
        (CORE_ONE, (1 - lam, lam, -lam)),
        (CORE_ONE, (1 + lam, lam, -lam)),
        (CORE_ONE, (lam, 1, -1)),
        (CORE_ONE, (lam, lam, -lam)),
        (CORE_ONE, (1 - lam, lam, 0)),
        ("Both experts are given: (1 + lam, 0, -lam) is the method without an expert.", (1 + lam, 0, -lam)),
        ("The positive's exponent is lam, not 1 + lam: the core keeps its 1.", (1, 1 + lam, -lam)),
        ("You averaged: the exponents sum to 1 already.", (1 / 3, lam / 3, -lam / 3)),
    ]


def _anti(lam: float) -> Known:
    """anti-expert only."""
    return [
        (IS_CORE, (1, 0, -lam)),
        (IS_CORE, (1, lam, -lam)),
        (IS_CORE, (1, 1, -lam)),
        (IS_CORE, (0, 1 + lam, -lam)),
        (IS_CORE, (lam, 0, -lam)),
        (IS_CORE, (1 + lam, lam, -lam)),
        ("There is a core, and it stands for the missing expert as well. " + IS_CORE, (0, 0, -lam)),
        (NEGATIVE, (1 + lam, 0, lam)),
        (NEGATIVE, (1, 0, lam)),
        ("The signs are swapped: the core gains lam, and the anti-expert loses it.", (1 - lam, 0, lam)),
        ("The sign of the core's lam is wrong: it takes the place of the expert, which has +lam.", (1 - lam, 0, -lam)),
        (
            "The missing one is the positive, not the negative: the anti-expert has the exponent -lam.",
            (1 - lam, lam, 0),
        ),
        ("The anti-expert is in the positive's slot: it is the negative.", (1 + lam, -lam, 0)),
    ]


def _contrastive(lam: float) -> Known:
    return [
        (EXPERT, (1, 1, -1)),
        (EXPERT, (1, 0, -1)),
        (EXPERT, (1, lam, -lam)),
        (NO_LAM, (0, lam, -lam)),
        (NO_LAM, (0, 1 + lam, -lam)),
        (NO_LAM, (0, 1, -lam)),
        ("Expert and amateur are swapped: the expert is the positive.", (0, -1, 1)),
        ("Expert and amateur are swapped: the expert is the positive.", (0, -lam, lam)),
        ("The sign of the amateur is wrong: P_expert is DIVIDED by it.", (0, 1, 1)),
        ("The amateur is missing: without it this is the expert alone.", (0, 1, 0)),
    ]


def _guidance(lam: float) -> Known:
    return [
        (OFF_BY_ONE, (0, lam, 1 - lam)),
        (GUIDED, (1, lam, -lam)),
        (GUIDED, (1 + lam, 0, -lam)),
        (GUIDED, (1, 1 + lam, -lam)),
        (GUIDED, (lam, 0, 1 - lam)),
        (GUIDED, (lam, lam, 1 - lam)),
        (GUIDED, (1, 1, -1)),
        ("The sign of the negative is wrong: the LM without the prompt is divided by.", (0, 1 + lam, lam)),
        ("The roles are swapped: the LM WITH the prompt is the positive and has 1 + lam.", (0, -lam, 1 + lam)),
        ("At lam = 0 this is the LM without the prompt. lam = 0 is off: (0, 1, 0).", (0, -lam, 1 - lam)),
        ("At lam = 0 nothing is left: off means the LM with the prompt, (0, 1, 0).", (0, lam, -lam)),
        ("At lam = 0 this must be the LM with the prompt, (0, 1, 0).", (0, lam, -1)),
        ("The positive gains what the negative loses: 1 + lam against -lam.", (0, 1, -lam)),
        ("The sign of lam is wrong: more guidance means more of the LM with the prompt, 1 + lam.", (0, 1 - lam, lam)),
        ("lam is ignored: this is contrastive decoding of the two.", (0, 1, -1)),
    ]


def _check(answer: Callable, method: str, known: Callable[[float], Known]) -> None:
    for lam in LAMS:
        got, right = _three(answer(method, lam), method), coefficients(method, lam)
        name = f'The coefficients of "{method}" at lam = {lam:g}'
        for hint, values in known(lam):
            if _equal(got, values) and not _equal(values, right):
                raise Mistake(f"{name}: {_shown(got)}. {hint}")
        if _equal(got, right):
            continue
        others = [order for order in permutations(range(3)) if _equal([right[i] for i in order], got)]
        if others:
            raise Mistake(f"{name}: {_shown(got)}. The order is (core, positive, negative).")
        if _equal(got, np.exp(right)):
            raise Mistake(
                f"{name}: {_shown(got)}. These are exp() of the right ones: exponents are asked, not factors."
            )
        if lam != LAMS[0]:
            raise Mistake(f"{name}: {_shown(got)}. At lam = {LAMS[0]:g} they were right: is this lam used?")
        slot = next(i for i in range(3) if not _equal(got[i : i + 1], right[i : i + 1]))
        total = "" if _equal([sum(got)], [sum(right)]) else f" They sum to {sum(got):.3g} in place of {sum(right):.3g}."
        raise Mistake(
            f"{name}: {_shown(got)}. The first that is wrong is that of the {SLOTS[slot]}.{total} Collect the terms of"
            f" {FORMULAS[method]}."
        )


def _three(got: Any, method: str) -> list[float]:
    """The answer as three numbers. Raises Mistake if it is anything else."""
    if isinstance(got, dict):
        raise Mistake(f'"{method}": three numbers are asked, (core, positive, negative), and not a dict.')
    if isinstance(got, (Tensor, np.ndarray)):
        got = got.tolist()
    if not isinstance(got, (list, tuple)):
        raise Mistake(
            f'"{method}": three numbers are asked, (core, positive, negative), and you return {type(got).__name__}.'
            " The function returns the exponents, not the combined distribution."
        )
    if len(got) != 3:
        raise Mistake(
            f'"{method}": {len(got)} in place of three numbers, (core, positive, negative). A model that the method'
            " does not use has the exponent 0."
        )
    for value, slot in zip(got, SLOTS, strict=True):
        if value is None:
            raise Mistake(f'"{method}": the {slot} is None. A model that the method does not use has the exponent 0.')
        if isinstance(value, str):
            raise Mistake(f'"{method}": the {slot} is the text {value!r}, and should be a number: compute it from lam.')
    try:
        return [float(value) for value in got]
    except (TypeError, ValueError):
        raise Mistake(f'"{method}": each of the three must be a number.') from None


def _equal(a: Sequence[float], b: Sequence[float]) -> bool:
    return bool(np.allclose(a, b, atol=1e-6, rtol=1e-5))


def _shown(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.3g}" for value in values) + ")"


def coefficients_dexperts(answer: Callable) -> None:
    """DExperts and DDA: the core and lam times the difference, lam = 0.3, 2 and -0.75"""
    for method in ("DExperts", "DDA"):
        _check(answer, method, _difference)


def coefficients_anti(answer: Callable) -> None:
    """anti-expert only: no expert, the core in its place"""
    _check(answer, "anti-expert only", _anti)


def coefficients_contrastive(answer: Callable) -> None:
    """contrastive decoding: expert against amateur"""
    _check(answer, "contrastive decoding", _contrastive)


def coefficients_guidance(answer: Callable) -> None:
    """classifier-free guidance, lam = 0 is off"""
    _check(answer, "classifier-free guidance", _guidance)


def coefficients_applied(answer: Callable) -> None:
    """your numbers in loglinear_interpolation give what each paper's formula gives"""
    core, positive, negative = members = random_log_probs(3, 4, 6, seed=80)
    for lam in (*LAMS, 0.0, 8.0):
        formulas = {
            "DExperts": core + lam * (positive - negative),
            "DDA": core + lam * (positive - negative),
            "anti-expert only": core + lam * (core - negative),
            "contrastive decoding": positive - negative,
            "classifier-free guidance": positive + lam * (positive - negative),
        }
        for method, scores in formulas.items():
            mine = loglinear_interpolation(members, torch.tensor(_three(answer(method, lam), method)))
            close(mine, scores.log_softmax(-1), atol=1e-3, what=f'"{method}" at lam = {lam:g}, with your coefficients,')


def coefficients_unknown(answer: Callable) -> None:
    """a name that is none of the five is an error"""
    try:
        got = answer("dexpert", 0.3)
    except (StudentError, NotAttempted, Mistake):
        return
    raise Mistake(
        f'"dexpert" is none of the five, and you return {got!r}. A misspelt name must not pass for another method: end'
        " with raise ValueError(...)."
    )
