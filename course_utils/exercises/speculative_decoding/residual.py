"""What to draw from after a rejection."""

from course_utils.ensembling.speculative import residual
from course_utils.exercises.engine import Exercise, case, one_row
from course_utils.exercises.speculative_decoding import pair, rows


def _normalised(rest):
    return rest / rest.sum(-1, keepdim=True)


EXERCISE = Exercise(
    "speculative_decoding.residual",
    reference=residual,
    what="your distribution",
    returns="probabilities",
    sizes=lambda p, q: {p.shape[0]: f"{p.shape[0]} rows", p.shape[-1]: f"V = {p.shape[-1]} tokens"},
    nan="Where p = q the rest is 0 everywhere, and 0/0 is nan: return p for such a row.",
    unnormalised="Divide each row by its own sum.",
    cases=[
        case("five rows over seven tokens", *pair(5, 7, seed=1)),
        case("the draft never proposes a token that the target wants", rows([0.5, 0.5, 0.0]), rows([0.0, 0.5, 0.5])),
        case("sharp distributions, each with a favourite of its own", *pair(4, 6, seed=2, sharpness=4.0)),
        case(
            "p = q in the first row: nothing is ever rejected there, so return p",
            rows([0.2, 0.8], [0.9, 0.1]),
            rows([0.2, 0.8], [0.4, 0.6]),
        ),
    ],
    corners=[one_row("p", "q")],
    mistakes={
        "p and q are swapped: these are the tokens that the draft proposes too often.\n"
        "What is missing is where the target gives more than the draft.": lambda p, q: residual(q, p),
        "You draw from p again.\nThen tokens that the draft likes come too often: they had their chance already.": (
            lambda p, q: p.clone()
        ),
        "You normalised p - q without cutting it at 0.\nA probability cannot be negative.": lambda p, q: (
            (p - q) / (p - q).abs().sum(-1, keepdim=True)
        ),
        "You used |p - q|: that also draws tokens that the draft proposes too often.\nOnly positive differences.": (
            lambda p, q: _normalised((p - q).abs())
        ),
        "This is a softmax of the rest, in which every token has a chance.\nDivide by the sum instead.": (
            lambda p, q: (p - q).clamp(min=0).softmax(-1)
        ),
        "You keep p where it is above q, and not only what it is above.\nSubtract q there.": lambda p, q: _normalised(
            p * (p > q)
        ),
        "This is the part that p and q share, min(p, q).\nIt was accepted: draw from what is left.": lambda p, q: (
            _normalised(p.minimum(q))
        ),
        "One sum over all rows.\nEach row is a distribution: sum over the last dimension, and keep it.": lambda p, q: (
            (p - q).clamp(min=0) / (p - q).clamp(min=0).sum()
        ),
    },
    hints=[
        "q(y) min(1, p(y)/q(y)) = min(p(y), q(y)) comes out by acceptance. How much of p(y) is still missing?",
        "p - min(p, q) is max(p - q, 0). Divide by its sum; where this is 0, p and q are equal.",
        "rest = (p - q).clamp(min=0); total = rest.sum(-1, keepdim=True); torch.where(total > 0, rest / total, p)",
    ],
)
