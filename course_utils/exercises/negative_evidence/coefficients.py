"""One formula, six methods: the exponents of the core, the positive and the negative model, method by method."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from course_utils.exercises.engine import Exercise, Mistake, NotAttempted, StudentError, case, mistake

SLOTS = ("core", "positive", "negative")


def coefficients(method: str, lam: float) -> tuple[float, float, float]:
    """The exponents (core, positive, negative) with which a method is P_core^a P_pos^b P_neg^c / Z.

    DExperts, DDA: P_core (P_pos / P_neg)^lam. anti-expert only and expert only: the core stands for the missing expert.
    contrastive decoding: the expert is the positive, the amateur the negative, there is no core and no lam.
    classifier-free guidance: the positive is the model with the prompt, the negative the same model without it, lam = 0
    is off. Returns three numbers; they sum to 1, but for contrastive decoding (0).
    Raises ValueError: a method that is none of these six.
    Sources: Liu et al. (2021); Dou et al. (2019); Li et al. (2023); Ho & Salimans (2022), Sanchez et al. (2023).
    """
    table = {
        "DExperts": (1, lam, -lam),
        "DDA": (1, lam, -lam),
        "anti-expert only": (1 + lam, 0, -lam),
        "expert only": (1 - lam, lam, 0),
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
    "expert only": "log P_core + lam (log P_pos - log P_core)",
}
LAMS = (0.3, 2.0, -0.75)
CUTS = (abs, lambda lam: min(lam, 1), lambda lam: max(lam, 0), lambda lam: min(max(lam, 0), 1))
ORDERS = ((2, 1, 0), (1, 2, 0), (2, 0, 1), (1, 0, 2))
STEERED, ANTI, CONTRAST, GUIDANCE, EXPERT = (tuple(FORMULAS)[i:j] for i, j in ((0, 2), (2, 3), (3, 4), (4, 5), (5, 6)))
NO_CORE = "This method has no core of its own, the first number is 0"
DIVIDED = "The sign of the negative is wrong: P_neg is divided by."

# What goes wrong in some methods, and the three numbers in each form of it; k is lam.
KNOWN: dict[tuple, dict[str, Callable]] = {
    STEERED: {
        "Positive and negative are swapped.": lambda k: [(1, -k, k)],
        DIVIDED: lambda k: [(1, k, k)],
        "The negative is missing: that is shallow fusion.": lambda k: [(1, k, 0)],
        "The positive is missing: its exponent is lam.": lambda k: [(1, 0, -k)],
        "lam belongs to both sides of the difference.": lambda k: [(1, k, -1), (1, 1, -k), (1, 1, -1)],
        "The core is missing: its exponent is 1.": lambda k: [(0, k, -k), (0, 1, -1), (0, 1 + k, -k)],
        "The core's exponent is 1 and does not depend on lam.": lambda k: [
            *((1 - k, k, -k), (1 + k, k, -k), (k, 1, -1), (k, k, -k))
        ],
        "Both experts are given here: neither of them is missing.": lambda k: [(1 + k, 0, -k), (1 - k, k, 0)],
        "The positive's exponent is not 1 + lam: the core keeps its 1.": lambda k: [(1, 1 + k, -k)],
    },
    ANTI: {
        "The core stands for the missing expert, whose lam is added to the core's exponent.": lambda k: [
            *((1, 0, -k), (1, k, -k), (0, 1 + k, -k), (k, 0, -k), (1 + k, k, -k))
        ],
        "There is a core, and it stands for the missing expert as well.": lambda k: [(0, 0, -k)],
        DIVIDED: lambda k: [(1 + k, 0, k), (1, 0, k)],
        "The sign of the core's lam is wrong: it stands for the expert.": lambda k: [(1 - k, 0, -k), (1 - k, 0, k)],
        "The missing one is the positive, not the negative.": lambda k: [(1 - k, k, 0)],
        "The anti-expert is in the positive's slot: it is the negative.": lambda k: [(1 + k, -k, 0)],
    },
    EXPERT: {
        "The core stands for the missing anti-expert, whose -lam is added to the core's exponent.": lambda k: [
            *((1, k, 0), (1, k, -k), (k, k, 0), (0, k, 0), (1 - k, k, -k))
        ],
        "The sign of the core's lam is wrong: the core takes the place of the anti-expert.": lambda k: [(1 + k, k, 0)],
        "The missing one is the negative, not the positive.": lambda k: [(1 + k, 0, -k)],
        "This is the expert alone: the core is not replaced by it.": lambda k: [(0, 1, 0)],
    },
    CONTRAST: {
        f"{NO_CORE}: the expert takes the positive's slot.": lambda k: [(1, 1, -1), (1, 0, -1), (1, k, -k)],
        "Contrastive decoding as in the paper has no lam.": lambda k: [(0, k, -k), (0, 1 + k, -k), (0, 1, -k)],
        "Expert and amateur are swapped: the expert is the positive.": lambda k: [(0, -1, 1), (0, -k, k)],
        "The sign of the amateur is wrong: P_expert is divided by it.": lambda k: [(0, 1, 1)],
        "The amateur is missing: without it this is the expert alone.": lambda k: [(0, 1, 0)],
    },
    GUIDANCE: {
        "Off by one: this is guidance written with 1 as 'off'. Here lam = 0 is off.": lambda k: [(0, k, 1 - k)],
        f"{NO_CORE}: the LM with the prompt is the positive.": lambda k: [
            *((1, k, -k), (1 + k, 0, -k), (1, 1 + k, -k), (k, 0, 1 - k), (1, 1, -1))
        ],
        "The sign of the negative is wrong: the LM without the prompt is divided by.": lambda k: [(0, 1 + k, k)],
        "The roles are swapped: the LM with the prompt is the positive.": lambda k: [(0, -k, 1 + k)],
        "At lam = 0 this must be the LM with the prompt, (0, 1, 0).": lambda k: [(0, k, -k), (0, k, -1)],
        "The positive gains what the negative loses.": lambda k: [(0, 1, -k)],
        "The sign of lam is wrong: more of it means more of the LM with the prompt.": lambda k: [(0, 1 - k, k)],
        "lam is ignored: this is contrastive decoding of the two.": lambda k: [(0, 1, -1)],
    },
}


def _but(methods: tuple, rule: Callable, form: int, method: str, lam: float) -> tuple:
    """The right table but for these methods."""
    return rule(lam)[form] if method in methods else coefficients(method, lam)


def three(got: Any, *_: Any) -> np.ndarray:
    """The answer as three numbers: list, tuple, tensor or array. Raises Mistake if it is anything else."""
    got = got.tolist() if isinstance(got, (Tensor, np.ndarray)) else got
    if not isinstance(got, (list, tuple)):
        raise Mistake(f"Three numbers are asked, (core, positive, negative), and you return a {type(got).__name__}.")
    if len(got) != 3:
        raise Mistake(f"You return {len(got)} numbers, not three, (core, positive, negative): 0 for a model not used.")
    for value, slot in zip(got, SLOTS, strict=True):
        if not isinstance(value, (int, float, np.number, Tensor)):
            raise Mistake(f"The {slot} is {value!r}, and should be a number: 0 for a model that is not used.")
    return np.array([float(value) for value in got])


def _explained(got: np.ndarray, expected: np.ndarray, method: str, lam: float) -> None:
    shown = "You return (" + ", ".join(f"{value:.3g}" for value in got) + ")."
    if lam != LAMS[0]:
        raise Mistake(f"{shown} At lam = {LAMS[0]:g} they were right: is this lam used?")
    slot = SLOTS[int((~np.isclose(got, expected)).argmax())]
    total = f" They sum to {sum(got):.3g} instead of {sum(expected):.3g}." if abs(sum(got - expected)) > 1e-6 else ""
    says = f"{shown} The first that is wrong is that of the {slot}.{total}"
    raise Mistake(says, f"Collect the terms of {FORMULAS[method]}.")


def unknown_name(answer: Callable) -> None:
    """a name that is none of the six is a ValueError"""
    for name in ("DExpert", "dda", "anti-expert", "contrastive decoding ", ""):
        try:
            does = f"returns {answer(name, LAMS[0])!r}"
        except StudentError as wrapped:
            if isinstance(wrapped.error, ValueError):
                continue
            does = f"raises {type(wrapped.error).__name__}"
        except (NotAttempted, Mistake) as found:
            does = "raises NotImplementedError" if isinstance(found, NotAttempted) else "returns None"
        says = f'"{name}" is none of the six, and your function {does}: a ValueError is asked for.'
        raise Mistake(says, "A misspelt name must not pass for another method: end with raise ValueError(...).")


EXERCISE = Exercise(
    "negative_evidence.coefficients",
    reference=coefficients,
    cases=[case(f'"{method}"', method, lam, view=three) for method in FORMULAS for lam in LAMS],
    checks=[unknown_name],
    explain=_explained,
    errors={"KeyError|ValueError": "One of the six names is unknown to your function. Is it spelt as in the text?"},
    mistakes=[
        mistake(
            "The same three numbers come back for every name.",
            *(partial(lambda name, method, lam: coefficients(name, lam), name) for name in FORMULAS if name != "DDA"),
            pointer='A condition such as `method == "DExperts" or "DDA"` is always true: write method twice.',
        ),
        mistake(
            "lam is cut off or made positive, and it may be any number.",
            *(lambda method, lam, cut=cut: coefficients(method, cut(lam)) for cut in CUTS),
        ),
        *(
            mistake(
                says,
                *(partial(_but, methods, rule, form) for form in range(len(rule(0.5)))),
                pointer=f"Collect the terms of {FORMULAS[methods[0]]}.",
                anywhere=True,  # one method wrong says nothing of the others
            )
            for methods, known in KNOWN.items()
            for says, rule in known.items()
        ),
        mistake(
            "The order is (core, positive, negative).",
            *(lambda method, lam, i=i: np.array(coefficients(method, lam))[[*i]] for i in ORDERS),
            anywhere=True,
        ),
    ],
    hints=[
        "Write each method's formula as a sum of lam's times log P_core, log P_pos and log P_neg, and collect the"
        " terms. What stands in front of each?",
        "DExperts and DDA: log P_core + lam log P_pos - lam log P_neg. Where one expert is missing, put log P_core in"
        " its place and collect. Contrastive decoding and guidance have nothing in the core's slot.",
        "anti-expert only: (1 + lam, 0, -lam). Guidance with 0 as 'off' is log P_pos + lam (log P_pos - log P_neg): how"
        " often is log P_pos there? Contrastive decoding: log P_pos - log P_neg, whatever lam is. Any other name: raise"
        " ValueError.",
    ],
)
