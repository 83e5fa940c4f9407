"""Tests of 07_mixture_of_experts: the balance loss of the Switch Transformer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from course_utils.exercises.diagnose import attempt
from course_utils.exercises.engine import Mistake, close
from course_utils.exercises.engine.calls import StudentError
from course_utils.exercises.mistakes import draw, near, recognise
from course_utils.moe import cv_squared, switch_balance_loss

STEPS = (
    "f = F.one_hot(logits.argmax(1), E).float().mean(0) and P = logits.softmax(1).mean(0) are both (E,): the loss is E * (f *"
    " P).sum()."
)
NO_E = "The factor E is missing (or the sum was taken as a mean): with it, a perfectly even use gives 1 for any E."
SCALE = {  # (power of N, power of E) that are too many
    (0, -1): NO_E,
    (0, -2): "E is missing twice: the terms are summed over the experts, not averaged, and E stands in front.",
    (0, 1): "There is an E too many: the terms f_i P_i are summed, and E stands in front once.",
    (1, 0): "One of f and P is a count and not a share: divide it by the N tokens (mean in place of sum).",
    (2, 0): "f and P are both sums over the tokens: divide each by the N tokens (mean in place of sum).",
    (1, -1): "Either the factor is N, len(logits), and not E; or f holds counts and the factor E is missing.",
    (2, -1): "f and P are both sums over the tokens, and the factor E is missing: means, and E in front.",
    (-1, 0): "You divided by the N tokens once too often: f and P are means already.",
    (-1, -1): "You divided by the N tokens once too often, and the factor E is missing.",
}
SOFT = "f is made of the probabilities here, P * P: f_i is the share of the TOKENS whose largest logit is i, counted by argmax."
HARD = "P is made of the choices here, f * f: that has no gradient. P_i is the mean of the probabilities, softmax(logits)_i."
AXIS = (
    "Your loss is the same whatever the logits. Does the softmax run over the tokens (dim 0)? Then each expert's probabilities"
    " sum to 1: take logits.softmax(dim=-1). (Or do the sums come before the product? f.sum() and P.sum() are always 1.)"
)
LOGS = "You took the logarithm of the probabilities: P_i is the mean of softmax(logits)_i itself."
TOP_2 = "f counts the two largest logits of each token: Switch sends a token to ONE expert, argmax."
TOKENWISE = (
    "This is the mean over the tokens of the products, E * the probability of the chosen expert. Asked is the product of the"
    " means: first average f and P over the tokens, then multiply."
)
CV = (
    "This is a variance or a squared coefficient of variation, as in Shazeer's importance loss: Switch has a product, E * sum"
    " of f_i P_i, with f counted and P a probability."
)
ENTROPY = "This is an entropy, a cross-entropy or a KL: the loss has no logarithm, it is E * sum of f_i P_i."
LOGITS = "The softmax is missing: P_i is the mean of the probabilities, not of the logits."
SIGMOID = "You took a sigmoid: the probabilities of a token are a softmax over the experts and sum to 1."
AGAIN = "The softmax was taken twice: P_i is the mean of softmax(logits)_i."
LATE = "The mean comes before the softmax: each token has its own probabilities, take their mean afterwards."
MINUS = "The sign is wrong: the loss is largest, E, if one expert gets everything, and a training makes it small."
WEIGHT = "You put the paper's weight of 0.01 in front: it is asked without a weight."
SMALLEST = "f counts the SMALLEST logits: take argmax."
WEIGHTED = "f is weighted with the probability of the choice: each token counts 1, whatever its probability."
OVER_HALF = "f counts the probabilities above a threshold: each token counts exactly once, for its largest logit."
SQUARES = (
    "This is a squared difference: the loss is the product, E * sum of f_i P_i, with its minimum where both are even."
)
OFFSET = "You subtracted 1: with perfectly even use the loss is 1, and stays so."
LARGEST = "You took the largest of the products: the loss is their SUM over the experts."
CLASH = "The shapes do not line up: logits are (N, E), f and P are both (E,), one number for each expert, a mean over dim 0."
UNSUMMED = "This is one number for each expert: sum over them, the loss is a scalar."
PER_TOKEN = "This is one number for each token: f and P are means over the tokens (dim 0), the loss is a scalar."
ONE_ENTRY = "The loss is a scalar, of shape (): leave out keepdim and unsqueeze."
UNUSED = (
    "No token chooses the last two experts: f still has E entries, with zeros for them. torch.bincount needs minlength=E,"
    " F.one_hot its number E; unique leaves out who is not there."
)
NO_GRADIENT = (
    "The number is right, but it has no gradient, so it cannot teach the router anything: P must stay a tensor, without"
    " detach(), .data, .item(), float(...), .numpy() or no_grad()."
)
OTHER_GRADIENT = (
    "The number is right, but its gradient is not: it flows through P alone, and f is a constant, a count. (Is P detached, or"
    " f made differentiable by a trick?)"
)


class Parts(NamedTuple):
    """What the formulas below are made of."""

    z: Tensor  # the logits, (N, E)
    p: Tensor  # softmax(z), (N, E)
    a: Tensor  # 1 for each token's choice, (N, E)
    f: Tensor  # (E,)
    P: Tensor  # (E,)
    E: int


def choices(z: Tensor, k: int = 1) -> Tensor:
    """1 for the k largest logits of each token: (N, E)."""
    return one_hot(z.topk(k, dim=1).indices, z.shape[1]).sum(1).to(z.dtype)


def parts(z: Tensor) -> Parts:
    a, p = choices(z), z.softmax(1)
    return Parts(z, p, a, a.mean(0), p.mean(0), z.shape[1])


# What misconceptions have in the place of sum_i f_i P_i.
DIRECTIONS = [
    (SOFT, lambda s: (s.P * s.P).sum()),
    (SOFT, lambda s: (s.p * s.p).sum(1).mean()),
    (HARD, lambda s: (s.f * s.f).sum()),
    (AXIS, lambda s: (s.f * s.z.softmax(0).mean(0)).sum()),
    (AXIS, lambda s: (s.f * s.z.softmax(0).sum(0)).sum()),
    (LOGS, lambda s: (s.f * s.z.log_softmax(1).mean(0)).sum()),
    (LOGS, lambda s: (s.f * s.P.log()).sum()),
    (LOGS, lambda s: -(s.f * s.z.log_softmax(1).mean(0)).sum()),
    (TOP_2, lambda s: (choices(s.z, 2).mean(0) * s.P).sum()),
    (TOP_2, lambda s: (choices(s.z, 2).mean(0) * s.P).sum() / 2),
    (TOKENWISE, lambda s: (s.a * s.p).sum(1).mean()),
    (LOGITS, lambda s: (s.f * s.z.mean(0)).sum()),
    (SIGMOID, lambda s: (s.f * s.z.sigmoid().mean(0)).sum()),
    (AGAIN, lambda s: (s.f * s.p.softmax(1).mean(0)).sum()),
    (AGAIN, lambda s: (s.f * s.P.softmax(0)).sum()),
    (LATE, lambda s: (s.f * s.z.mean(0).softmax(0)).sum()),
    (SMALLEST, lambda s: (choices(-s.z).mean(0) * s.P).sum()),
    (WEIGHTED, lambda s: ((s.a * s.p).mean(0) * s.P).sum()),
    (OVER_HALF, lambda s: ((s.p > 0.5).to(s.p.dtype).mean(0) * s.P).sum()),
    (OVER_HALF, lambda s: ((s.p > 1 / s.E).to(s.p.dtype).mean(0) * s.P).sum()),
    (LARGEST, lambda s: (s.f * s.P).amax()),
]
# What other losses give.
OTHERS = [
    (CV, lambda s: cv_squared(s.f)),
    (CV, lambda s: cv_squared(s.P)),
    (CV, lambda s: s.f.var() / s.f.mean() ** 2),
    (CV, lambda s: s.P.var() / s.P.mean() ** 2),
    (CV, lambda s: s.f.std() / s.f.mean()),
    (CV, lambda s: s.P.std() / s.P.mean()),
    (CV, lambda s: cv_squared(s.f).sqrt()),
    (CV, lambda s: cv_squared(s.P).sqrt()),
    (CV, lambda s: s.f.var()),
    (CV, lambda s: s.P.var()),
    (CV, lambda s: s.f.var(correction=0)),
    (CV, lambda s: s.P.var(correction=0)),
    (CV, lambda s: (s.f - 1 / s.E).square().sum()),
    (CV, lambda s: (s.P - 1 / s.E).square().sum()),
    (ENTROPY, lambda s: -(s.P * s.P.log()).sum()),
    (ENTROPY, lambda s: (s.P * s.P.log()).sum()),
    (ENTROPY, lambda s: (s.p * s.p.log()).sum(1).mean()),
    (ENTROPY, lambda s: -(s.p * s.p.log()).sum(1).mean()),
    (ENTROPY, lambda s: (s.f.xlogy(s.f) - s.f * s.P.log()).sum()),
    (ENTROPY, lambda s: -s.z.log_softmax(1).amax(1).mean()),
    (SQUARES, lambda s: (s.f - s.P).square().sum()),
    (SQUARES, lambda s: (s.f - s.P).square().mean()),
    (SQUARES, lambda s: (s.f - s.P).square().sum() * s.E),
    (MINUS, lambda s: -s.E * (s.f * s.P).sum()),
    (WEIGHT, lambda s: 0.01 * s.E * (s.f * s.P).sum()),
    (OFFSET, lambda s: s.E * (s.f * s.P).sum() - 1),
]


def _scaled(find: Callable, powers: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    return lambda z: find(parts(z)) * len(z) ** powers[0] * float(z.shape[1]) ** powers[1]


# Uneven, with every expert used.
CASES = [
    (1.5 * draw(20, 4, seed=765) + torch.tensor([1.0, 0.4, 0, -0.2]),),
    (draw(30, 5, seed=762) + 0.3 * torch.arange(5),),
]
MISTAKES = [
    *((hint, _scaled(lambda s: s.E * (s.f * s.P).sum(), powers)) for powers, hint in SCALE.items()),
    *((hint, _scaled(find, (0, 0))) for hint, find in OTHERS),
    *((hint, _scaled(find, powers)) for powers in ((0, 1), (0, 0), (1, 1), (2, 1)) for hint, find in DIRECTIONS),
]


def _judge(got: Any, answer: Callable, z: Tensor, known: str = "") -> None:
    try:
        if isinstance(got, Tensor) and got.shape != () and got.numel() > 1:
            raise Mistake(UNSUMMED if got.shape[-1] == z.shape[1] else PER_TOKEN if len(z) in got.shape else str(CLASH))
        if isinstance(got, Tensor) and got.shape != ():
            raise Mistake(ONE_ENTRY)
        close(got, switch_balance_loss(z), what="your loss")
    except Mistake as mistake:
        recognise(answer, CASES, MISTAKES)
        own = (UNSUMMED, PER_TOKEN, CLASH, ONE_ENTRY)
        raise Mistake(known or (str(mistake) if str(mistake) in own else f"{mistake} {STEPS}")) from None


def _check(answer: Callable, z: Tensor) -> None:
    _judge(attempt(answer, z, clash=CLASH), answer, z)


def loss_random(answer: Callable) -> None:
    """20 tokens and 4 experts, 30 tokens and 5 experts, unevenly used"""
    for case in CASES:
        _check(answer, *case)


def loss_ends(answer: Callable) -> None:
    """perfectly even use gives 1; everything to one expert gives nearly E"""
    even = torch.eye(4).repeat(3, 1)
    _check(answer, even)
    _check(answer, 20 * torch.eye(4)[[2] * 6])


def loss_unused(answer: Callable) -> None:
    """the last two of six experts are chosen by nobody"""
    z = draw(20, 6, seed=763)
    z[:, 4:] -= 6
    try:
        got = attempt(answer, z, clash=UNUSED)
    except StudentError as wrapped:
        raise Mistake(f"{UNUSED} (Your function raised {type(wrapped.error).__name__}.)") from None
    _judge(got, answer, z, known=UNUSED)


def loss_gradient(answer: Callable) -> None:
    """the gradient for the logits flows through P"""
    z = draw(16, 4, seed=764).requires_grad_()
    try:
        got = answer(z)
    except StudentError as wrapped:
        if "numpy()" in str(wrapped.error):
            raise Mistake(NO_GRADIENT) from None
        raise
    _judge(got, answer, z)
    if not isinstance(got, Tensor) or not got.requires_grad:
        raise Mistake(NO_GRADIENT)
    wanted = torch.autograd.grad(switch_balance_loss(z), z)[0]
    found = torch.autograd.grad(got, z, allow_unused=True)[0]
    if found is None:
        raise Mistake(NO_GRADIENT)
    if not near(1e3 * found, 1e3 * wanted):  # the entries are of the order of 1e-3
        raise Mistake(OTHER_GRADIENT)
