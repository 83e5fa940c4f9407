"""How many of several proposed tokens are kept."""

import torch
from torch import Tensor

from course_utils.ensembling.speculative import accepted_tokens
from course_utils.exercises.engine import Exercise, case
from course_utils.exercises.speculative_decoding import pair, rows


def _ratio(p: Tensor, q: Tensor, proposed: Tensor) -> Tensor:
    return p.gather(-1, proposed[..., None])[..., 0] / q.gather(-1, proposed[..., None])[..., 0]


def _example(batch: int, gamma: int, seed: int, vocab: int = 6) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    p, q = pair(batch, gamma, vocab, seed=seed, sharpness=1.0)
    proposed = torch.multinomial(q.flatten(0, 1), 1, generator=generator).view(batch, gamma)
    return p, q, proposed, torch.rand(batch, gamma, generator=generator)


EXERCISE = Exercise(
    "speculative_decoding.accepted_tokens",
    reference=accepted_tokens,
    what="your count",
    errors={"shapes": "p and q are (B, gamma, V), proposed and uniforms (B, gamma): pick p and q at the proposed ids."},
    cases=[
        case("twelve texts, four proposals each", *_example(12, 4, seed=3)),
        case("thirty texts, three proposals each", *_example(30, 3, seed=4)),
        case("one proposal", *_example(9, 1, seed=5)),
        case(
            "the first is rejected, the second would be fine: it stands after a wrong token and is thrown away",
            rows([[0.0, 1.0], [0.5, 0.5]]),
            rows([[0.5, 0.5], [0.5, 0.5]]),
            torch.tensor([[0, 1]]),
            torch.tensor([[0.5, 0.5]]),
        ),
        case(
            "a token that the target holds impossible is rejected even at u = 0",
            rows([[0.0, 1.0]]),
            rows([[0.5, 0.5]]),
            torch.tensor([[0]]),
            torch.tensor([[0.0]]),
        ),
    ],
    mistakes={
        "You count all that pass, also behind a rejected one.\n"
        "What stands behind a rejected token was proposed after a text that no longer is there.": (
            lambda p, q, proposed, u: (u < _ratio(p, q, proposed)).long().sum(-1)
        ),
        "The ratio is the wrong way round: it should be p / q.\nA token that the target likes more is always kept.": (
            lambda p, q, proposed, u: (u < 1 / _ratio(p, q, proposed)).long().cumprod(-1).sum(-1)
        ),
        "You keep a token where u is above p / q.\nThe chance to keep it is p / q, so u must be below.": (
            lambda p, q, proposed, u: (u >= _ratio(p, q, proposed)).long().cumprod(-1).sum(-1)
        ),
        "You compare u with p, not with p / q.\nThe draft has already drawn the token with chance q.": (
            lambda p, q, proposed, u: (u < p.gather(-1, proposed[..., None])[..., 0]).long().cumprod(-1).sum(-1)
        ),
        "You keep only tokens with p >= q.\nThe others have a chance, too: p / q.": lambda p, q, proposed, u: (
            (_ratio(p, q, proposed) >= 1).long().cumprod(-1).sum(-1)
        ),
        "You keep only the target's favourite.\nThat is the greedy rule: here tokens are drawn.": (
            lambda p, q, proposed, u: (p.argmax(-1) == proposed).long().cumprod(-1).sum(-1)
        ),
        "The product runs over the texts: a rejection in one of them says nothing about the others.\n"
        "Each text has its own row.": lambda p, q, proposed, u: (u < _ratio(p, q, proposed)).long().cumprod(0).sum(-1),
        "Your count is one too many: the target's own token after them is not asked for.": (
            lambda p, q, proposed, u: accepted_tokens(p, q, proposed, u) + 1
        ),
        "This says of each token whether it is kept: return how many are, one number for each text.": (
            lambda p, q, proposed, u: (u < _ratio(p, q, proposed)).long().cumprod(-1)
        ),
    },
    hints=[
        "Which entries of p and q belong to the proposed tokens? And what happens to tokens behind a rejected one?",
        "gather along the last dimension gives p(y) and q(y), (B, gamma). A running product of 0s and 1s stays 0 after "
        "the first 0.",
        "kept = u < p_y / q_y; kept.long().cumprod(-1).sum(-1)",
    ],
)
