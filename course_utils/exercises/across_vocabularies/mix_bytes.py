"""Mix two models over bytes, of which only some are possible."""

import math

import torch

from course_utils.ensembling.across_vocabularies import END, mix_bytes
from course_utils.exercises.engine import Exercise, case, draw, one_row

LETTERS = tuple(b"abcdefghijklmnopqrstuvwxyz ")


def _rows(n: int, seed: int, letters_only: bool = False) -> torch.Tensor:
    logits = 2 * draw(n, END + 1, seed=seed)
    if letters_only:
        logits = torch.full_like(logits, -math.inf).index_copy(1, torch.tensor(LETTERS), logits[:, : len(LETTERS)])
    return logits.log_softmax(-1)


def _masked(log, only):
    return torch.full_like(log, -math.inf).index_copy(-1, torch.tensor(only), log[..., list(only)])


EXERCISE = Exercise(
    "across_vocabularies.mix_bytes",
    reference=mix_bytes,
    what="your mixture",
    returns="log-probabilities",
    sizes=lambda log_p, log_q, lam, only: {log_p.shape[0]: f"{log_p.shape[0]} prefixes", END + 1: "257 outcomes"},
    unnormalised="Renormalise each member over the bytes in `only`.",
    nan="-inf - (-inf) is nan: add 0 where a byte is possible and -inf elsewhere, then log_softmax.",
    cases=[
        case("a token model and a letter model, letters and the blank", _rows(4, 1), _rows(4, 2, True), 0.3, LETTERS),
        case("the token model wants other bytes half of the time", _rows(3, 3), _rows(3, 4), 0.6, tuple(b"abc ")),
        case("lam = 0: the first model, over these bytes", _rows(3, 5), _rows(3, 6, True), 0.0, LETTERS),
        case("lam = 1: the second one", _rows(3, 7), _rows(3, 8), 1.0, tuple(b"xyz")),
    ],
    corners=[one_row("log_p", "log_q")],
    mistakes={
        "You mix the logarithms.\nA linear mixture averages probabilities: exp first.": (
            lambda log_p, log_q, lam, only: _masked(
                (1 - lam) * log_p.clamp(min=-99) + lam * log_q.clamp(min=-99), only
            ).log_softmax(-1)
        ),
        "The weights are swapped: lam is the second model's.": lambda log_p, log_q, lam, only: mix_bytes(
            log_q, log_p, lam, only
        ),
        "You mix first and renormalise the mixture.\n"
        "Then the model that wastes more on other bytes has less to say: renormalise each member first.": (
            lambda log_p, log_q, lam, only: _masked(mix_bytes(log_p, log_q, lam), only).log_softmax(-1)
        ),
        "All 257 outcomes are still possible.\nOnly those in `only` are.": lambda log_p, log_q, lam, only: mix_bytes(
            log_p, log_q, lam
        ),
        "You renormalise only the first model.\nBoth waste probability on bytes that cannot come.": (
            lambda log_p, log_q, lam, only: _masked(
                mix_bytes(_masked(log_p, only).log_softmax(-1), log_q, lam), only
            ).log_softmax(-1)
        ),
        "Half and half.\nThe weights are 1 - lam and lam.": lambda log_p, log_q, lam, only: mix_bytes(
            log_p, log_q, 0.5, only
        ),
    },
    hints=[
        "Which outcomes must be impossible, and does each member sum to 1 over the others before you mix?",
        "A mask, 0 at the bytes in `only` and -inf elsewhere, is added to the logarithms; log_softmax makes the sum 1.",
        "p, q = ((log + mask).log_softmax(-1).exp() for log in (log_p, log_q)); ((1 - lam) * p + lam * q).log()",
    ],
)
