"""The truth table of the two rules: which tokens can be emitted if one member, both or none allow them."""

import numpy as np
import torch
from torch import Tensor

from course_utils.ensembling import linear_interpolation, loglinear_interpolation
from course_utils.exercises.engine import Exercise, Mistake, NotAttempted

TOKENS = ("both", "only A", "only B", "neither")
LOG_PROBS = torch.tensor([[0.5, 0.5, 0, 0], [0.5, 0, 0.5, 0]]).log()
RESULTS = {
    "linear": linear_interpolation(LOG_PROBS, [0.5, 0.5]),
    "log-linear": loglinear_interpolation(LOG_PROBS, [0.5, 0.5]),
}
TRUTH = {
    (rule, token): bool(result[i] > -torch.inf) for rule, result in RESULTS.items() for i, token in enumerate(TOKENS)
}


def truth_table(answer: dict) -> None:
    """which tokens can be emitted under each rule, with weights (and lam) of 1/2 and 1/2"""
    if not isinstance(answer, dict):
        raise Mistake(f"Your table should stay the dict of the exercise, and is of type {type(answer).__name__}.")
    unknown = [key for key in answer if key not in TRUTH]
    if unknown:
        raise Mistake(f"Unknown entry: {unknown[0]!r}. Keep the keys of the exercise, such as ('linear', 'only A').")
    missing = [key for key in TRUTH if answer.get(key) is None or answer.get(key) is Ellipsis]
    if len(missing) == len(TRUTH):
        raise NotAttempted
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise Mistake(f"Still to fill in: {missing[0]}{more}. Write True or False.")
    if not all(isinstance(value, (int, np.bool_, np.integer, Tensor)) for value in answer.values()):
        raise Mistake("Write True (the token can be emitted) or False (it cannot) for each entry.")
    _say_what_is_wrong({key: bool(answer[key]) for key in TRUTH})


def _say_what_is_wrong(got: dict[tuple[str, str], bool]) -> None:
    if got == {key: not value for key, value in TRUTH.items()}:
        raise Mistake("Every entry is the wrong way round.", "True means that the token can be emitted.")
    if all(got["log-linear" if rule == "linear" else "linear", token] == TRUTH[rule, token] for rule, token in TRUTH):
        raise Mistake("The two rules are swapped.", "Adding probabilities is the OR, multiplying them is the AND.")
    if got["linear", "neither"] or got["log-linear", "neither"]:
        raise Mistake(
            "Nobody gives 'neither' a probability above 0, and no combination can invent a token.",
            "0.5 * 0 + 0.5 * 0 and 0^0.5 * 0^0.5 are both 0.",
        )
    if not (got["linear", "both"] and got["log-linear", "both"]):
        raise Mistake(
            "Both members allow 'both'.", "The sum and the product of two positive numbers are positive numbers."
        )
    if got["log-linear", "only A"] or got["log-linear", "only B"]:
        raise Mistake(
            "In a product one factor of 0 is enough: under the log-linear rule each member has a veto (AND).",
            "0.5^0.5 * 0^0.5 = 0.",
        )
    if not (got["linear", "only A"] and got["linear", "only B"]):
        raise Mistake(
            "In a sum one term above 0 is enough: under the linear rule nobody has a veto (OR).",
            "0.5 * 0.5 + 0.5 * 0 = 0.25.",
        )


EXERCISE = Exercise(
    "interpolation.or_and",
    reference=TRUTH,
    checks=[truth_table],
    hints=[
        "Put numbers in: P_A = 0.5 and P_B = 0 for 'only A'. What is 0.5 * 0.5 + 0.5 * 0, and what is 0.5^0.5 * 0^0.5?",
        "The linear rule is an OR: one member that allows the token is enough. The log-linear rule is an AND.",
        "Three entries of the linear rule are True, and one of the log-linear rule.",
    ],
)
