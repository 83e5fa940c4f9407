"""The loss of on-policy distillation: the student writes, and the teacher is asked about every token of that."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from course_utils.exercises.distillation import mistakes, scores
from course_utils.exercises.engine import Exercise, case, gradient_for

PLACES = "What stands at place t is about the token at t + 1: the places 0 to T - 2 speak about the tokens 1 to T - 1."
COUNTED = (
    "The tokens from the second column on count, up to the first `end` of a row, with it; what follows it does not."
)
REVERSE = "KL(q || p) is the sum of q (log q - log p) over the whole vocabulary: q is the student, p the teacher."
PER_TOKEN = "It is one mean over all tokens that count, of all rows together."
DETACH = "The student's logits keep their gradient, the teacher's probabilities are detached."
NO_GRADIENT = f"No gradient reaches the student.\n{DETACH}"


def on_policy_loss(sample: Callable, student: Callable, teacher: Callable, sources: Tensor, end: int) -> Tensor:
    """KL(q || p) per token on what the student writes, a scalar with a gradient for the student alone.

    sample(sources) -> ids (B, T) drawn from the student: a start token, tokens, `end`, and then `end` again up to the
    longest row. student(sources, ids) -> logits (B, T, V), teacher(sources, ids) -> probabilities (B, T, V): at place t
    those of the token at t + 1. Sampling has no gradient, as in Agarwal et al. (2024), algorithm 1.
    """
    ids = sample(sources)
    log_q = student(sources, ids)[:, :-1].log_softmax(dim=-1)  # (B, T - 1, V)
    log_p = teacher(sources, ids)[:, :-1].detach().log()
    ended = (ids[:, 1:] == end).long().cumsum(dim=1)
    counts = ended - (ids[:, 1:] == end).long() == 0  # no `end` stands before
    return (log_q.exp() * (log_q - log_p)).sum(dim=-1)[counts].mean()


def run(answer: Callable, student: Tensor, teacher: Tensor, ids: Tensor, sources: Tensor, end: int) -> Tensor:
    """The answer on a student and a teacher that look at the source and at the last token: tables (V, V) of logits."""

    def of(table: Tensor) -> Callable:
        return lambda sources, ids: table[ids] + table[sources][:, None]

    return answer(lambda sources: ids.clone(), of(student), lambda s, i: of(teacher)(s, i).softmax(-1), sources, end)


def _parts(student: Tensor, teacher: Tensor, ids: Tensor, sources: Tensor, end: int) -> SimpleNamespace:
    """The right parts: log q and p (B, T - 1, V), the tokens they are about and which of these count (B, T - 1)."""
    z, p = (table[ids] + table[sources][:, None] for table in (student, teacher))
    is_end = (ids[:, 1:] == end).long()
    x = SimpleNamespace(z=z, p=p.softmax(-1), tokens=ids[:, 1:], end=end, counts=is_end.cumsum(1) - is_end == 0)
    x.log_q, x.log_p = z.log_softmax(-1)[:, :-1], x.p[:, :-1].detach().log()
    x.kl = (x.log_q.exp() * (x.log_q - x.log_p)).sum(-1)
    return x


def _way(way: Callable) -> Callable:
    """A mistake: what is made of the right parts."""

    def wrong(*args: Any) -> Tensor:
        return way(_parts(*args))

    wrong.is_mistake = True  # it has the arguments of `run`
    return wrong


def _at(x: SimpleNamespace, values: Tensor) -> Tensor:
    return values.gather(-1, x.tokens[..., None])[..., 0]


def _shifted(x: SimpleNamespace, mine: slice, theirs: slice) -> Tensor:
    log_q, p = x.z.log_softmax(-1)[:, mine], x.p[:, theirs].detach()
    return (log_q.exp() * (log_q - p.log())).sum(-1)[x.counts].mean()


def _mixed(x: SimpleNamespace) -> Tensor:
    q, p = x.log_q.exp(), x.log_p.exp()
    log_m = ((p + q) / 2).log()
    return (p * (x.log_p - log_m) + q * (x.log_q - log_m)).sum(-1)[x.counts].mean() / 2


FIRST, LAST = slice(0, -1), slice(1, None)
MISTAKES = {
    DETACH: {
        "A gradient flows into the teacher.": [
            lambda x: (x.log_q.exp() * (x.log_q - x.p[:, :-1].log())).sum(-1)[x.counts].mean()
        ],
        "The student's probabilities are detached, and then the gradient of their logarithms is 0 on average.": [
            lambda x: (x.log_q.exp().detach() * (x.log_q - x.log_p)).sum(-1)[x.counts].mean()
        ],
    },
    REVERSE: {
        "This is the forward direction, KL(p || q).": [
            lambda x: (x.log_p.exp() * (x.log_p - x.log_q)).sum(-1)[x.counts].mean()
        ],
        "This is the Jensen-Shannon divergence.": [_mixed],
        "Only the token that was written is looked at: the other entries of the vocabulary are missing.": [
            lambda x: _at(x, x.log_q - x.log_p)[x.counts].mean(),
            lambda x: -_at(x, x.log_p)[x.counts].mean() + 0 * x.z.sum(),
            lambda x: _at(x, x.log_q.exp() * (x.log_q - x.log_p))[x.counts].mean(),
        ],
        "The student learns its own words: the teacher is missing.": [
            lambda x: cross_entropy(x.log_q[x.counts], x.tokens[x.counts])
        ],
        "This is a cross-entropy: for a perfect student it is not 0.": [
            lambda x: -(x.log_q.exp() * x.log_p).sum(-1)[x.counts].mean(),
            lambda x: -(x.log_p.exp() * x.log_q).sum(-1)[x.counts].mean(),
        ],
        "The sign is wrong: no KL is below 0.": [lambda x: -x.kl[x.counts].mean()],
        "The student's logits were not made probabilities.": [
            lambda x: (x.z[:, :-1] * (x.z[:, :-1] - x.log_p)).sum(-1)[x.counts].mean(),
        ],
        "The teacher's softmax is taken, of what are probabilities.": [
            lambda x: (x.log_q.exp() * (x.log_q - x.p.detach()[:, :-1].log_softmax(-1))).sum(-1)[x.counts].mean()
        ],
    },
    COUNTED: {
        "What stands behind the end is counted, too.": [lambda x: x.kl.mean()],
        "The `end` that the student wrote is left out.": [lambda x: x.kl[x.tokens != x.end].mean()],
        "The first token of each text is left out: the student wrote it, after the start token.": [
            lambda x: x.kl[:, 1:][x.counts[:, 1:]].mean()
        ],
        "The start token is counted, or the last place, behind which nothing stands.": [
            lambda x: _all_places(x, True),
            lambda x: _all_places(x, False),
        ],
        "The last token of each text is alone in the loss.": [
            lambda x: x.kl.gather(1, x.counts.sum(1, keepdim=True) - 1).mean()
        ],
    },
    PLACES: {
        "Student and teacher are read one place too late.": [lambda x: _shifted(x, LAST, LAST)],
        "Student and teacher stand one place apart.": [
            lambda x: _shifted(x, FIRST, LAST),
            lambda x: _shifted(x, LAST, FIRST),
        ],
    },
    PER_TOKEN: {
        "This is a mean of means: each row has the same weight, however short it is.": [
            lambda x: ((x.kl * x.counts).sum(1) / x.counts.sum(1)).mean()
        ],
        "This is a sum over the tokens of a row, and a mean over the rows.": [
            lambda x: (x.kl * x.counts).sum(1).mean()
        ],
        "This is a sum over all tokens.": [lambda x: x.kl[x.counts].sum()],
        "The sum is divided by all places, also by those that do not count.": [lambda x: (x.kl * x.counts).mean()],
        "This is a mean over the vocabulary, too: the KL is a sum over it.": [
            lambda x: x.kl[x.counts].mean() / x.p.shape[-1]
        ],
    },
}


def _all_places(x: SimpleNamespace, front: bool) -> Tensor:
    log_q, p = x.z.log_softmax(-1), x.p.detach()
    kl, more = (log_q.exp() * (log_q - p.log())).sum(-1), torch.ones_like(x.counts[:, :1])
    return kl[torch.cat([more, x.counts] if front else [x.counts, more], 1)].mean()


def _explain(got: Any, *_: Any) -> str:
    if isinstance(got, Tensor) and got.dim() == 0 and got.isnan():
        return "The loss is nan: is a mean taken over no token, or the logarithm of a number below 0?"
    return f"The loss is one number.\n{PER_TOKEN}" if isinstance(got, Tensor) and got.dim() else ""


SOURCES = torch.tensor([2, 4, 3])
TEXTS = torch.tensor([[0, 3, 4, 1, 1, 1], [0, 2, 2, 5, 3, 1], [0, 4, 1, 1, 1, 1]])  # 0: start, 1: end


def _tables(seed: int, grad: bool = False) -> tuple[Tensor, Tensor]:
    return scores(6, 6, seed=seed).requires_grad_(grad), scores(6, 6, seed=seed + 1).requires_grad_(grad)


_GRADIENTS = (*_tables(627, True), TEXTS, SOURCES, 1)

EXERCISE = Exercise(
    "distillation.on_policy_loss",
    reference=on_policy_loss,
    run=run,
    what="the loss",
    atol=1e-5,
    explain=_explain,
    errors={
        "must be Tensor, not function|not subscriptable": "sample, student and teacher are functions: call them.",
        "missing 1 required positional argument": "student and teacher want the sources and the ids.",
        "shapes": "The shapes do not line up: ids is (B, T), student and teacher give (B, T, V), and the last of the T "
        "places is about no token.",
    },
    cases=[
        case("three texts of different length", *_tables(623), TEXTS, SOURCES, 1),
        case("one text without anything behind its end", *_tables(621), torch.tensor([[0, 3, 4, 1]]), SOURCES[:1], 1),
        case("no text has ended", *_tables(625), TEXTS[1:2, :5].repeat(2, 1), SOURCES[:2], 1),
        case("a student that is its teacher", *_tables(629)[:1] * 2, TEXTS, SOURCES, 1),
        case("another token is the end", *_tables(631), torch.where(TEXTS == 1, 5, TEXTS % 5), SOURCES, 5),
        case("a gradient for the student", *_GRADIENTS, view=gradient_for(0, NO_GRADIENT)),
        case("no gradient for the teacher", *_GRADIENTS, view=gradient_for(1, NO_GRADIENT)),
    ],
    mistakes=mistakes(MISTAKES, _way),
    hints=[
        "Four steps: let the student write, ask both about what it wrote, find the tokens that count, take the mean.",
        "ids = sample(sources); student(sources, ids)[:, :-1] and teacher(sources, ids)[:, :-1] are about ids[:, 1:]. "
        "A token counts if no `end` stands before it: a cumsum over ids[:, 1:] == end tells.",
        "is_end = (ids[:, 1:] == end).long(); counts = is_end.cumsum(1) - is_end == 0; "
        "(log_q.exp() * (log_q - log_p)).sum(-1)[counts].mean()",
    ],
)
