"""The balance loss of the Switch Transformer: a count times a probability."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from course_utils.exercises.engine import Exercise, Mistake, case, draw, gradient_for, one_row
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


def _factor(n: int, e: int) -> Callable[[Tensor], Tensor]:
    """Right but for a factor N^n E^e."""
    return _wrong(lambda s: (s.f * s.P).sum(), n, e + 1)


def _sum(*finds: Callable) -> list[Callable]:
    """Answers with a mistake in sum_i f_i P_i, with the factor E or without it."""
    return [_wrong(find, 0, e) for e in (1, 0) for find in finds]


def _other(*finds: Callable) -> list[Callable]:
    """Other losses."""
    return [_wrong(find) for find in finds]


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
    "The number is right, but it has no gradient, so it cannot teach the router anything: P must stay a tensor, "
    "without detach(), .data, .item(), float(...), .numpy() or no_grad()."
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
        r"\b7\b.*\b9\b": f"{UNUSED} torch.bincount needs minlength=E, F.one_hot its number E; unique leaves out who "
        f"is not there.",
        r"numpy\(\)": NO_GRADIENT,
        "shapes": "The shapes do not line up: logits are (N, E), f and P are both (E,), a mean over dim 0.",
    },
    mistakes={
        "The factor E is missing, or the sum was taken as a mean, or both.\nEven use gives 1 for any E.": [
            *(_factor(0, -1), _factor(0, -2)),
        ],
        "There is an E too many: the terms are summed, and E stands in front once.": _factor(0, 1),
        "One of f and P is a count and not a share.\nDivide it by the N tokens.": _factor(1, 0),
        "f and P are both sums over the tokens.\nDivide each by the N tokens.": [_factor(2, 0), _factor(2, -1)],
        "Either the factor is N, len(logits), and not E; or f holds counts and the factor E is missing.": _factor(
            1, -1
        ),
        "This is divided by the N tokens once too often: f and P are means already.": [_factor(-1, 0), _factor(-1, -1)],
        f"{UNUSED}\nE is the number of columns of the logits.": _used_only,
        "This is a variance or a squared coefficient of variation, as in Shazeer's importance loss.\n"
        f"{ONE_NUMBER}": _other(*(lambda s, cv=cv, of=of: cv(getattr(s, of)) for cv in CVS for of in "fP")),
        f"This is an entropy, a cross-entropy or a KL: the loss has no logarithm.\n{ONE_NUMBER}": _other(
            *(lambda s, sign=sign: sign * (s.P * s.P.log()).sum() for sign in (-1, 1)),
            *(lambda s, sign=sign: sign * (s.p * s.p.log()).sum(1).mean() for sign in (-1, 1)),
            lambda s: -s.z.log_softmax(1).amax(1).mean(),
        ),
        "The sign is wrong: training makes the loss small.": _other(lambda s: -s.E * (s.f * s.P).sum()),
        "This is a hundredth of it, as with the paper's weight: leave the weight out.": _other(
            lambda s: 0.01 * s.E * (s.f * s.P).sum()
        ),
        "f is made of the probabilities here, P * P.\n"
        "f_i is the share of the tokens whose largest logit is i, a count.": _sum(
            *(lambda s: (s.P * s.P).sum(), lambda s: (s.p * s.p).sum(1).mean())
        ),
        "P is made of the choices here, f * f, which has no gradient.\n"
        "P_i is the mean of the probabilities, softmax(logits)_i.": _sum(lambda s: (s.f * s.f).sum()),
        "This is the same whatever the logits. Does the softmax run over the tokens (dim 0)?\n"
        "Or do the sums come before the product? f.sum() and P.sum() are always 1.": _sum(
            *(lambda s: (s.f * s.z.softmax(0).mean(0)).sum(), lambda s: (s.f * s.z.softmax(0).sum(0)).sum())
        ),
        "These are logarithms of the probabilities: P_i is the mean of softmax(logits)_i itself.": _sum(
            *(lambda s, sign=sign: sign * (s.f * s.z.log_softmax(1).mean(0)).sum() for sign in (-1, 1)),
            lambda s: (s.f * s.P.log()).sum(),
        ),
        "f counts the two largest logits of each token: Switch sends a token to one expert.": _sum(
            *(lambda s, part=part: (_choices(s.z, 2).mean(0) * s.P).sum() / part for part in (1, 2))
        ),
        "This is the mean of the products: average f and P over the tokens first, then multiply.": _sum(
            lambda s: (s.a * s.p).sum(1).mean()
        ),
        "The softmax is missing: P_i is a mean of probabilities.": _sum(lambda s: (s.f * s.z.mean(0)).sum()),
        "The softmax was taken twice.": _sum(
            *(lambda s: (s.f * s.p.softmax(1).mean(0)).sum(), lambda s: (s.f * s.P.softmax(0)).sum())
        ),
        "The mean comes before the softmax: take it afterwards.": _sum(lambda s: (s.f * s.z.mean(0).softmax(0)).sum()),
        "f counts the smallest logits: take argmax.": _sum(lambda s: (_choices(-s.z).mean(0) * s.P).sum()),
        "f is weighted with the probability of the choice: count 1.": _sum(lambda s: ((s.a * s.p).mean(0) * s.P).sum()),
        "f counts the probabilities above a threshold: each token counts once, for its largest logit.": _sum(
            *(lambda s, at=at: ((s.p > (at or 1 / s.E)).to(s.p.dtype).mean(0) * s.P).sum() for at in (0.5, 0))
        ),
    },
    hints=[
        "Two numbers for each expert: how many tokens does it get, as a share, and how probable was it on average?",
        "f counts: one_hot of the argmax, with E classes, then the mean over the tokens. P averages: softmax over the "
        "experts, then the mean over the tokens. Both are (E,).",
        "E * (F.one_hot(logits.argmax(1), E).float().mean(0) * logits.softmax(1).mean(0)).sum(), with E = "
        "logits.shape[1]",
    ],
)
