"""What known misconceptions about the two rules and the kNN-LM compute, each with the hint that names it."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.exercises.engine.calls import Mistake, NotAttempted

Known = list[tuple[str, Tensor]]

MEAN_OF_LOGS = (
    "You averaged the log-probabilities: this is log-linear (an AND). Does exp() of it sum to 1? "
    "The linear rule averages the probabilities and takes the logarithm afterwards."
)
MEAN_OF_PROBS = (
    "You averaged the probabilities: this is linear (an OR). The log-linear rule multiplies powers of them, "
    "that is, it adds lam_m * log P_m."
)
LAM_SUM_ONE = (
    "You forced lam to sum to 1. Log-linear weights need not: a sum above 1 sharpens, a negative lam repels. Use them"
    " as given."
)


def linear(log_probs: Tensor, weights: Tensor) -> Known:
    """log_probs (M, B, V), weights (M,)."""
    w, p = weights[:, None, None], log_probs.exp()
    logs = log_probs.clamp(min=-1e6)  # keeps 0 * -inf out of the wrong values
    return [
        (MEAN_OF_LOGS, _zero_times(w, log_probs).sum(0)),
        (MEAN_OF_LOGS + " It also ignores the weights.", log_probs.mean(0)),
        *[
            (
                (
                    f"The weights were applied to the wrong axis (the {what}): weight m belongs to member m, dimension"
                    " 0 of log_probs. Use weights[:, None, None]."
                ),
                value,
            )
            for what, value in _wrong_axis(w, lambda x: (x * p).sum(0).log(), log_probs.shape)
        ],
        ("The weights are ignored: this is the plain average of the members.", p.mean(0).log()),
        (
            (
                "You take the softmax again: the weighted average of distributions already sums to 1, and softmax"
                " flattens it. Take only its log."
            ),
            (w * p).sum(0).log_softmax(-1),
        ),
        (
            "The weights went through a softmax: they already sum to 1, use them as they are.",
            (w.softmax(0) * p).sum(0).log(),
        ),
        ("You took the largest term where the rule takes the sum over the members.", (w * p).amax(0).log()),
        ("You took the largest member where the rule takes the weighted sum over the members.", p.amax(0).log()),
        (
            "You added the weights to the log-probabilities: in logarithms a factor w_m is + log w_m.",
            (w + logs).logsumexp(0),
        ),
        (
            "You raised P_m to the power w_m (a factor before the logarithm): the linear rule multiplies P_m by w_m.",
            (w * logs).logsumexp(0),
        ),
        (
            "You normalised over the members: a softmax or a division over dimension 0 has no place here.",
            (w * log_probs.softmax(0)).sum(0).log(),
        ),
        (
            "You applied a softmax to the members' probabilities: they sum to 1 already.",
            (w * p.softmax(-1)).sum(0).log(),
        ),
        ("The sign is wrong: a log-probability is never above 0.", -(w * p).sum(0).log()),
        ("You used the first two members only: there may be any number.", (w * p)[:2].sum(0).log()),
        ("You used only the member with the largest weight.", log_probs[weights.argmax()]),
        ("The weights are applied twice (squared).", (w * w * p).sum(0).log()),
        ("The weights divide where they should multiply.", (p / w.clamp(min=1e-9)).sum(0).log()),
        ("The weights are in the reverse order.", (w.flip(0) * p).sum(0).log()),
        ("You multiplied w_m * P_m over the members: an OR adds them.", (w.log() + log_probs).sum(0)),
    ]


def loglinear(log_probs: Tensor, lam: Tensor) -> Known:
    """log_probs (M, B, V), lam (M,)."""
    w, p = lam[:, None, None], log_probs.exp()

    def rule(x: Tensor) -> Tensor:
        return _zero_times(x, log_probs).sum(0)

    scores = rule(w)
    vetoed_by_any = scores.masked_fill(log_probs.isneginf().any(0), -torch.inf)
    return [
        (MEAN_OF_PROBS, (w * p).sum(0).log()),
        (MEAN_OF_PROBS + " It also ignores lam.", p.mean(0).log()),
        (MEAN_OF_PROBS, (w.softmax(0) * p).sum(0).log()),
        (
            "You divided by the sum over the wrong dimension: each context must sum to 1 over the vocabulary (dim=-1).",
            scores.log_softmax(0),
        ),
        ("A member with lam 0 has no say, also where its probability is 0: 0 * -inf counts as 0.", vetoed_by_any),
        *[
            (
                f"lam was applied to the wrong axis (the {what}): lam[m] belongs to member m. Use lam[:, None, None].",
                value,
            )
            for what, value in _wrong_axis(w, rule, log_probs.shape)
        ],
        (LAM_SUM_ONE, rule(w / w.sum())),
        (LAM_SUM_ONE.replace("forced lam to sum to 1", "put lam through a softmax"), rule(w.softmax(0))),
        ("You made lam positive. A negative lam is allowed: it repels from that member.", rule(w.clamp(min=0))),
        ("You made lam positive. A negative lam is allowed: it repels from that member.", rule(w.abs())),
        ("You made lam positive. A negative lam is allowed: it repels from that member.", rule(w.exp())),
        ("lam is ignored: this is the plain product (or geometric mean) of the members.", log_probs.sum(0)),
        ("lam is ignored: this is the plain product (or geometric mean) of the members.", log_probs.mean(0)),
        ("You divided by the number of members: lam may have any sum, use it as given.", scores / len(lam)),
        ("You put probabilities into the softmax: its input is sum_m lam_m * log P_m.", (w * p).sum(0)),
        (
            "You add the powers P_m^lam_m: an AND multiplies them (adds lam_m * log P_m).",
            _zero_times(w, log_probs).logsumexp(0),
        ),
        ("The sign of lam is wrong: lam_m multiplies + log P_m.", -scores),
        ("lam is squared: use it as it is.", rule(w * w)),
        ("lam is in the reverse order.", rule(w.flip(0))),
        ("lam divides where it should multiply.", (log_probs / w.masked_fill(w == 0, 1e9)).sum(0)),
        ("You multiply lam_m * P_m: lam is an exponent, lam_m * log P_m.", (w.abs().log() + log_probs).sum(0)),
        ("lam is added to the log-probabilities: it must multiply them.", (w + log_probs).logsumexp(0)),
    ]


def truth_table(answer: dict, truth: dict) -> None:
    """Raise a Mistake if the dict of booleans shows a known misconception."""
    missing = [key for key in truth if answer.get(key) is None or answer.get(key) is Ellipsis]
    if len(missing) == len(truth):
        raise NotAttempted
    if missing:
        raise Mistake(f"Still to fill in: {', '.join(map(str, missing))}. Write True or False.")
    if not all(isinstance(value, bool) for value in answer.values()):
        raise Mistake("Write True (the token can be emitted) or False (it cannot) for each entry.")
    swapped = {("log-linear" if rule == "linear" else "linear", token): value for (rule, token), value in truth.items()}
    if answer == swapped:
        raise Mistake("The two rules are swapped: adding probabilities is the OR, multiplying them is the AND.")
    if answer == {key: not value for key, value in truth.items()}:
        raise Mistake("Every entry is the wrong way round: True means that the token CAN be emitted.")
    if answer["linear", "neither"] or answer["log-linear", "neither"]:
        raise Mistake(
            "Nobody gives 'neither' a probability above 0: 0.5 * 0 + 0.5 * 0 and 0^0.5 * 0^0.5 are both 0, "
            "and no combination can invent a token."
        )
    if not (answer["linear", "both"] and answer["log-linear", "both"]):
        raise Mistake("Both members allow 'both': the sum and the product of two positive numbers are positive.")
    if answer["log-linear", "only A"] or answer["log-linear", "only B"]:
        raise Mistake(
            "In a product one factor of 0 is enough: 0.5^0.5 * 0^0.5 = 0. Under the log-linear rule each member has a"
            " veto (AND)."
        )
    if not (answer["linear", "only A"] and answer["linear", "only B"]):
        raise Mistake(
            "In a sum one term above 0 is enough: 0.5 * 0.5 + 0.5 * 0 = 0.25. Under the linear rule nobody has a veto"
            " (OR)."
        )


def knn(dists: Tensor, vals: Tensor, V: int) -> Known:
    """dists (B, K), vals (B, K)."""

    def spread(weights: Tensor) -> Tensor:
        return torch.zeros(len(dists), V).scatter_add(-1, vals, weights)

    def overwritten(weights: Tensor) -> Tensor:
        result = torch.zeros(len(dists), V)
        for k in range(vals.shape[1]):  # the last one wins
            result.scatter_(-1, vals[:, k : k + 1], weights[:, k : k + 1])
        return result

    w, count = (-dists).softmax(-1), spread(torch.ones_like(dists))
    largest = torch.zeros(len(dists), V).scatter_reduce(-1, vals, w, "amax")
    duplicates = (
        "Duplicates must ADD: several neighbours with the same token are several votes for it, and scatter (or"
        " result[vals] = ...) keeps only one. Use scatter_add."
    )
    square = "The distances are squared already: use exp(-d), without {}."
    return [
        (duplicates, overwritten(w)),
        (duplicates, largest),
        (duplicates, overwritten(w) / overwritten(w).sum(-1, keepdim=True)),
        (duplicates.replace("keeps only one", "averages"), spread(w) / count.clamp(min=1)),
        ("The sign is missing: near neighbours must count more, exp(-distance).", spread(dists.softmax(-1))),
        ("The sign is missing: near neighbours must count more, exp(-distance).", spread(dists.exp())),
        ("The sign is missing: near neighbours must count more, exp(-distance).", spread(dists)),
        (square.format("the square root"), spread((-dists.sqrt()).softmax(-1))),
        (square.format("another square"), spread((-(dists**2)).softmax(-1))),
        ("The factor 1/2 of a Gaussian is not in the kNN-LM: exp(-d).", spread((-dists / 2).softmax(-1))),
        ("The distances are ignored: this only counts the neighbours.", count),
        ("Use exp(-d), not 1/d.", spread(1 / dists)),
        (
            "You normalised over the contexts (dim 0): the K neighbours of ONE context sum to 1 (dim=-1).",
            spread((-dists).softmax(0)),
        ),
        *[
            (
                (
                    "You took the softmax over the vocabulary after scattering: tokens that no neighbour holds must"
                    " have probability 0. Softmax over the K neighbours first, then scatter_add."
                ),
                x.softmax(-1),
            )
            for x in (spread(w), spread((-dists).exp()), spread(-dists))
        ],
        (
            (
                "You added the distances of equal tokens: add their weights exp(-d), 'this or that neighbour' is a sum"
                " of probabilities."
            ),
            spread(-dists).masked_fill(count == 0, -torch.inf).softmax(-1),
        ),
        (
            "You used only the nearest neighbour.",
            F.one_hot(vals.gather(1, dists.argmin(-1, keepdim=True))[:, 0], V).to(dists),
        ),
    ]


def _zero_times(weights: Tensor, log_probs: Tensor) -> Tensor:
    """weights * log_probs with 0 * -inf = 0."""
    return torch.where(weights == 0, 0.0, weights * log_probs)


def _wrong_axis(w: Tensor, rule: Callable[[Tensor], Tensor], shape: torch.Size) -> Known:
    """The rule with the weights along the contexts or along the tokens, where the sizes let that happen."""
    axes = [("contexts", 1, w.reshape(1, -1, 1)), ("tokens", 2, w.reshape(1, 1, -1))]
    return [(name, rule(x)) for name, axis, x in axes if shape[axis] == len(w)]
