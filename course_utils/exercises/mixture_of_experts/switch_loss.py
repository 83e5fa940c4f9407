"""The balance loss of the Switch Transformer: a count times a probability."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from course_utils.exercises.engine import Exercise, Mistake, case, draw, gradient_for, mistake, one_row
from course_utils.exercises.engine.exercise import KnownMistake
from course_utils.moe import switch_balance_loss


class Parts(NamedTuple):
    """What the mistakes are made of."""

    z: Tensor  # the logits, (N, E)
    p: Tensor  # softmax(z), (N, E)
    a: Tensor  # 1 for each token's choice, (N, E)
    f: Tensor  # (E,)
    P: Tensor  # (E,)
    E: int


def _choices(z: Tensor, k: int = 1) -> Tensor:
    """1 for the k largest logits of each token: (N, E)."""
    return one_hot(z.topk(k, dim=1).indices, z.shape[1]).sum(1).to(z.dtype)


def _wrong(find: Callable, n: int = 0, e: int = 0) -> Callable[[Tensor], Tensor]:
    """An answer from find(parts), times N^n E^e."""

    def answer(z: Tensor) -> Tensor:
        a, p = _choices(z), z.softmax(1)
        return find(Parts(z, p, a, a.mean(0), p.mean(0), z.shape[1])) * len(z) ** n * float(z.shape[1]) ** e

    return answer


def _factor(says: str, *powers: tuple[int, int], pointer: str = "") -> KnownMistake:
    """Right but for a factor N^n E^e."""
    return mistake(says, *(_wrong(lambda s: (s.f * s.P).sum(), n, e + 1) for n, e in powers), pointer=pointer)


def _sum(says: str, *finds: Callable, pointer: str = "") -> KnownMistake:
    """A mistake in sum_i f_i P_i, with the factor E or without it."""
    return mistake(says, *(_wrong(find, 0, e) for e in (1, 0) for find in finds), pointer=pointer)


def _other(says: str, *finds: Callable, pointer: str = "") -> KnownMistake:
    """Another loss."""
    return mistake(says, *map(_wrong, finds), pointer=pointer)


def _explain(got: Any, expected: Tensor, logits: Tensor) -> str:
    if expected.dim():
        return "The number is right, but its gradient is not: it flows through P alone, and f is a constant, a count."
    shape = got.shape if isinstance(got, Tensor) else ()
    if len(shape) and got.numel() == 1:
        return "The loss is a scalar, of shape (): leave out keepdim and unsqueeze."
    if logits.shape[1] in shape and len(shape) == 1:
        raise Mistake("This is one number for each expert.", "Sum over them: the loss is a scalar.")
    if len(logits) in shape:
        raise Mistake("This is one number for each token.", "f and P are means over the tokens, dim 0.")
    return ""


ONE_NUMBER = "f and P are both (E,), one number for each expert; the loss is E times the sum of their products."
UNUSED = "No token chooses the last two experts here, and f still has E entries, with zeros for them."
NO_GRADIENT = (
    "The number is right, but it has no gradient, so it cannot teach the router anything: P must stay a tensor, without "
    "detach(), .data, .item(), float(...), .numpy() or no_grad()."
)
CVS = (
    *(lambda x, c=c: x.var(correction=c) / x.mean() ** 2 for c in (0, 1)),
    *(lambda x, c=c: x.std(correction=c) / x.mean() for c in (0, 1)),
    *(lambda x, c=c: x.var(correction=c) for c in (0, 1)),
)


def _used_only(z: Tensor) -> Tensor:
    """E and f made for the experts that some token chose, up to the last one."""
    f = one_hot(z.argmax(1)).to(z.dtype).mean(0)
    return len(f) * (f * z.softmax(1).mean(0)[: len(f)]).sum()


EXERCISE = Exercise(
    "mixture_of_experts.switch_loss",
    reference=switch_balance_loss,
    what="the loss",
    right=ONE_NUMBER,
    explain=_explain,
    cases=[  # uneven, with every expert used, in the first two
        case("20 tokens and 4 experts", 1.5 * draw(20, 4, seed=765) + torch.tensor([1.0, 0.4, 0, -0.2])),
        case("30 tokens and 5 experts", draw(30, 5, seed=762) + 0.3 * torch.arange(5)),
        case("nobody chooses the last two experts", draw(20, 9, seed=763) - 8.0 * (torch.arange(9) > 6)),
        case("perfectly even use gives 1", torch.eye(4).repeat(3, 1)),
        case("everything to one expert gives nearly E", 20 * torch.eye(4)[[2] * 6]),
        case("the gradient, through P", draw(6, 3, seed=764).requires_grad_(), view=gradient_for(0, NO_GRADIENT)),
    ],
    corners=[one_row("logits")],
    errors={
        r"\b7\b.*\b9\b": f"{UNUSED} torch.bincount needs minlength=E, F.one_hot its number E; unique leaves out who is not there.",
        r"numpy\(\)": NO_GRADIENT,
        "shapes": "The shapes do not line up: logits are (N, E), f and P are both (E,), a mean over dim 0.",
    },
    mistakes=[
        _factor(
            "The factor E is missing, or the sum was taken as a mean.", (0, -1), pointer="Even use gives 1 for any E."
        ),
        _factor(
            "E is missing twice: the terms are summed over the experts, not averaged, and E stands in front.", (0, -2)
        ),
        _factor("There is an E too many: the terms are summed, and E stands in front once.", (0, 1)),
        _factor("One of f and P is a count and not a share.", (1, 0), pointer="Divide it by the N tokens."),
        _factor("f and P are both sums over the tokens.", (2, 0), pointer="Divide each by the N tokens."),
        _factor(
            "Either the factor is N, len(logits), and not E; or f holds counts and the factor E is missing.", (1, -1)
        ),
        _factor("f and P are both sums over the tokens, and the factor E is missing.", (2, -1)),
        _factor("You divided by the N tokens once too often: f and P are means already.", (-1, 0)),
        _factor("You divided by the N tokens once too often, and the factor E is missing.", (-1, -1)),
        mistake(UNUSED, _used_only, pointer="E is the number of columns of the logits."),
        _other(
            "This is a variance or a squared coefficient of variation, as in Shazeer's importance loss.",
            *(lambda s, cv=cv, of=of: cv(getattr(s, of)) for cv in CVS for of in "fP"),
            pointer=ONE_NUMBER,
        ),
        _other(
            "This is an entropy, a cross-entropy or a KL: the loss has no logarithm.",
            *(lambda s, sign=sign: sign * (s.P * s.P.log()).sum() for sign in (-1, 1)),
            *(lambda s, sign=sign: sign * (s.p * s.p.log()).sum(1).mean() for sign in (-1, 1)),
            lambda s: (s.f.xlogy(s.f) - s.f * s.P.log()).sum(),
            lambda s: -s.z.log_softmax(1).amax(1).mean(),
            pointer=ONE_NUMBER,
        ),
        _other(
            "This is a squared difference: the loss is the product, with its minimum where both are even.",
            *(lambda s, e=e: (s.f - s.P).square().sum() * s.E**e for e in (-1, 0, 1)),
        ),
        _other("The sign is wrong: training makes the loss small.", lambda s: -s.E * (s.f * s.P).sum()),
        _other("You put the paper's weight of 0.01 in front.", lambda s: 0.01 * s.E * (s.f * s.P).sum()),
        _other("You subtracted 1: with perfectly even use the loss is 1.", lambda s: s.E * (s.f * s.P).sum() - 1),
        _sum(
            "f is made of the probabilities here, P * P.",
            *(lambda s: (s.P * s.P).sum(), lambda s: (s.p * s.p).sum(1).mean()),
            pointer="f_i is the share of the tokens whose largest logit is i, a count.",
        ),
        _sum(
            "P is made of the choices here, f * f, which has no gradient.",
            *(lambda s: (s.f * s.f).sum(), lambda s: s.a.sum(0).square().sum()),
            pointer="P_i is the mean of the probabilities, softmax(logits)_i.",
        ),
        _sum(
            "Your loss is the same whatever the logits. Does the softmax run over the tokens (dim 0)?",
            *(lambda s: (s.f * s.z.softmax(0).mean(0)).sum(), lambda s: (s.f * s.z.softmax(0).sum(0)).sum()),
            pointer="Or do the sums come before the product? f.sum() and P.sum() are always 1.",
        ),
        _sum(
            "You took the logarithm of the probabilities: P_i is the mean of softmax(logits)_i itself.",
            *(lambda s, sign=sign: sign * (s.f * s.z.log_softmax(1).mean(0)).sum() for sign in (-1, 1)),
            lambda s: (s.f * s.P.log()).sum(),
        ),
        _sum(
            "f counts the two largest logits of each token: Switch sends a token to one expert.",
            *(lambda s, part=part: (_choices(s.z, 2).mean(0) * s.P).sum() / part for part in (1, 2)),
        ),
        _sum(
            "This is the mean of the products: average f and P over the tokens first, then multiply.",
            lambda s: (s.a * s.p).sum(1).mean(),
        ),
        _sum("The softmax is missing: P_i is a mean of probabilities.", lambda s: (s.f * s.z.mean(0)).sum()),
        _sum("You took a sigmoid: it is a softmax over the experts.", lambda s: (s.f * s.z.sigmoid().mean(0)).sum()),
        _sum(
            "The softmax was taken twice.",
            *(lambda s: (s.f * s.p.softmax(1).mean(0)).sum(), lambda s: (s.f * s.P.softmax(0)).sum()),
        ),
        _sum("The mean comes before the softmax: take it afterwards.", lambda s: (s.f * s.z.mean(0).softmax(0)).sum()),
        _sum("f counts the smallest logits: take argmax.", lambda s: (_choices(-s.z).mean(0) * s.P).sum()),
        _sum("f is weighted with the probability of the choice: count 1.", lambda s: ((s.a * s.p).mean(0) * s.P).sum()),
        _sum(
            "f counts the probabilities above a threshold: each token counts once, for its largest logit.",
            *(lambda s, at=at: ((s.p > (at or 1 / s.E)).to(s.p.dtype).mean(0) * s.P).sum() for at in (0.5, 0)),
        ),
        _sum("You took the largest of the products: sum them over the experts.", lambda s: (s.f * s.P).amax()),
    ],
    hints=[
        "Two numbers for each expert: how many tokens does it get, as a share, and how probable was it on average?",
        "f counts: one_hot of the argmax, with E classes, then the mean over the tokens. P averages: softmax over the "
        "experts, then the mean over the tokens. Both are (E,).",
        "E * (F.one_hot(logits.argmax(1), E).float().mean(0) * logits.softmax(1).mean(0)).sum(), with E = logits.shape[1]",
    ],
)
