"""A cascade for every token: whose distribution is decoded where."""

import torch

from course_utils.ensembling.speculative import cascade_target
from course_utils.exercises.engine import Exercise, case, one_row
from course_utils.exercises.speculative_decoding import pair, rows


def _where(trusts):
    """trusts(p, q, threshold) (N, 1): the draft's row is taken."""
    return lambda p, q, threshold: torch.where(trusts(p, q, threshold), q, p)


EXERCISE = Exercise(
    "speculative_decoding.cascade_target",
    reference=cascade_target,
    what="your distribution",
    returns="probabilities",
    sizes=lambda p, q, threshold: {p.shape[0]: f"{p.shape[0]} rows", p.shape[-1]: f"V = {p.shape[-1]} tokens"},
    errors={"shapes|must match the size": "The two do not line up: the decision is (N, 1), with keepdim=True."},
    cases=[
        case("nine rows over five tokens, threshold .5", *pair(9, 5, seed=6), 0.5),
        case("eight rows over four tokens, threshold .7", *pair(8, 4, seed=7, sharpness=2.5), 0.7),
        case("a threshold that no draft reaches: all of it is the target's", *pair(4, 5, seed=8), 1.5),
        case("threshold 0: all of it is the draft's", *pair(4, 5, seed=9), 0.0),
        case("exactly as sure as the threshold counts as sure", rows([0.25, 0.75]), rows([0.5, 0.5]), 0.5),
    ],
    corners=[one_row("p", "q")],
    mistakes={
        "You ask whether the target is sure.\nThe cascade asks the draft: if it is sure, the target is not needed.": (
            _where(lambda p, q, threshold: p.amax(-1, keepdim=True) >= threshold)
        ),
        "It is the other way round: where the draft is sure, it is trusted.": _where(
            lambda p, q, threshold: q.amax(-1, keepdim=True) < threshold
        ),
        "You decide token by token.\nA row is taken whole, from one of the two: otherwise it is no distribution.": [
            _where(lambda p, q, threshold: q >= threshold),
            lambda p, q, threshold: (
                cascade_target(p, q, 2.0).where(q < threshold, q)
                / cascade_target(p, q, 2.0).where(q < threshold, q).sum(-1, keepdim=True)
            ),
        ],
        "You decide once for all rows.\nEach place in the text has its own decision.": [
            _where(lambda p, q, threshold: q.max() >= threshold),
            _where(lambda p, q, threshold: q.amax(-1).mean() >= threshold),
        ],
        "You compare the chance of the target's favourite under q.\nAsk how sure the draft is, max q.": _where(
            lambda p, q, threshold: q.gather(-1, p.argmax(-1, keepdim=True)) >= threshold
        ),
        "As sure as the threshold is sure enough: >=, not >.": _where(
            lambda p, q, threshold: q.amax(-1, keepdim=True) > threshold
        ),
        "argmax is a token id.\nHow sure the draft is of it is max q.": _where(
            lambda p, q, threshold: q.argmax(-1, keepdim=True) >= threshold
        ),
        "You mixed the two.\nA cascade chooses: in each row q or p.": lambda p, q, threshold: (
            threshold * p + (1 - threshold) * q
        ),
    },
    hints=[
        "How sure is the draft at each place? One number for each row.",
        "q.amax(-1, keepdim=True) is (N, 1); compare with the threshold, and choose whole rows.",
        "torch.where(q.amax(-1, keepdim=True) >= threshold, q, p)",
    ],
)
