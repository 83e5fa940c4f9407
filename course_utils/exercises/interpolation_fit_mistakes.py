"""What known misconceptions about EM and the posterior weights compute, each with the hint that names it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.exercises.engine.calls import Mistake

Known = list[tuple[str, Tensor]]

PEEK = (
    "You peek at the token you are scoring: the weight at t already contains P_m(y_t). Use the tokens before t only: "
    "shift the cumulative sum by one, so that position 0 gets the prior."
)


def em(probs: Tensor) -> Known:
    """probs (M, N)."""
    p = probs.double()
    logs, uniform = p.clamp(min=1e-30).log(), torch.full_like(p[:, 0], 1 / len(p))
    hard = (
        "This is hard assignment: each token goes to its best member alone. EM gives it to all of them, in the shares"
        " r_mi."
    )
    known = [
        (
            (
                "You averaged log-probabilities: the likelihood of a mixture is the log of a sum, and the E step needs"
                " w_m P_m / sum_k w_k P_k."
            ),
            value,
        )
        for value in (
            logs.mean(1).softmax(0),
            logs.mean(1) / logs.mean(1).sum(),
            logs.sum(1).softmax(0),
            _iterate(uniform, lambda w: (w[:, None] * logs / (w @ logs)).mean(1), 1),
        )
    ]
    known += [
        (
            (
                "This is the mean probability of each member, normalised: the responsibilities are normalised for each"
                " token, then averaged."
            ),
            p.mean(1) / p.mean(1).sum(),
        )
    ]
    known += [
        (hard, _iterate(uniform, lambda w: F.one_hot((w[:, None] * p).argmax(0), len(p)).double().mean(0), k))
        for k in range(1, 15)
    ]
    known += [
        (
            (
                "You used a softmax in the E step: the responsibilities are shares, w_m P_m divided by its sum over the"
                " members."
            ),
            _iterate(uniform, lambda w, scores=scores: (w[:, None] * scores).softmax(0).mean(1), 100),
        )
        for scores in (p, logs)
    ]
    known += [
        (
            (
                "The weights are still uniform: did you normalise over the tokens (dim 1)? For each token, divide by"
                " the sum over the MEMBERS (dim 0); then average over the tokens."
            ),
            uniform,
        )
    ]
    return known


def em_before(got: Tensor, expected: Tensor, history: Tensor) -> None:
    """Recognised by its course: one of the first EM iterates, a sum that shrinks away, or all weight on one member."""
    if (got >= 0).all() and got.sum() < 1e-2:
        raise Mistake(
            f"Your weights sum to {got.sum().item():.2g}: the responsibilities are not normalised. For each token"
            " divide w_m P_m(y_i) by its sum over the members, before the mean over the tokens."
        )
    if (got.sum() - 1).abs() < 1e-3 and got.max() > 0.995 > expected.max() + 0.003:
        raise Mistake(
            "All the weight went to one member (winner takes all). EM shares each token out: w_m P_m(y_i) is divided by"
            " its sum over the members, token by token. And it must start from weights above 0, since a weight of 0"
            " stays 0."
        )
    for step in range(1, min(len(history), 60)):
        if near(got, history[step], 2e-6) and not near(got, expected, 5e-3):
            raise Mistake(
                "This is EM after one step only: repeat it, and use the NEW weights in the next E step."
                if step == 1
                else (
                    f"This is EM after {step} steps: the likelihood still rises. Repeat until the weights stop"
                    " changing."
                )
            )


def em_after(difference: str, got: Any, expected: Tensor, probs: Tensor) -> None:
    """A wrong answer that is nothing known: what its shape and its likelihood tell. Raises Mistake."""
    if (
        isinstance(got, Tensor)
        and got.shape == expected.shape
        and got.is_floating_point()
        and "holds nan" not in difference
    ):
        got = got.detach().double()
        if (got < -1e-6).any() and "logarithm" not in difference:
            raise Mistake(
                f"The weight {got.min().item():.3g} is negative: a mixture's weights stay in [0, 1] and sum to 1. "
                "EM needs no gradient and no learning rate: its mean of shares stays there by itself."
            )
        if (
            (got.sum() - 1).abs() < 1e-3
            and "Right up" not in difference
            and difference.startswith("The vector of weights is")
        ):
            mine, best = ((w @ probs.double()).log().mean().item() for w in (got, expected))
            raise Mistake(
                f"{difference} The mean log-likelihood is {mine:.5f} with your weights, and {best:.5f} at the optimum."
            )
    raise Mistake(difference)


def posterior(token_log_probs: Tensor, prior: Tensor) -> Known:
    """token_log_probs (M, B, T), prior (M,)."""
    x, w = token_log_probs.double(), prior.double()[:, None, None]
    shifted = torch.cat([torch.zeros_like(x[..., :1]), x[..., :-1]], -1)
    before, through, whole = shifted.cumsum(-1), x.cumsum(-1), x.sum(-1, keepdim=True).expand_as(x)
    scores = w.log() + before
    over_texts = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1).cumsum(1)
    probs_before = torch.cat([torch.zeros_like(x[..., :1]), x.exp()[..., :-1]], -1).cumsum(-1)
    axis = "You normalised over the {}: for each position the weights of the M members must sum to 1 (dim 0)."
    return [
        (PEEK, (w.log() + through).softmax(0)),
        (PEEK + " The prior is missing, too.", through.softmax(0)),
        (PEEK + " And only y_t counts: take the cumulative sum.", (w.log() + x).softmax(0)),
        (PEEK, x.softmax(0)),
        (
            (
                "The prior is forgotten: at position 0, where nothing has been read, the weights must be the prior. Add"
                " log prior to the sum."
            ),
            before.softmax(0),
        ),
        ("The prior is added as a probability: add its logarithm.", (w + before).softmax(0)),
        (
            "The prior is counted again at each position: it enters once, outside the sum.",
            (shifted + w.log()).cumsum(-1).softmax(0),
        ),
        (axis.format("positions (T)"), scores.softmax(-1)),
        (axis.format("texts (B)"), scores.softmax(1)),
        (
            "These weights use the whole text, also what comes after t: at t only the tokens before t are known.",
            (w.log() + whole).softmax(0),
        ),
        (
            "These weights use what comes after t: sum from the beginning of the text.",
            (w.log() + whole - before).softmax(0),
        ),
        (
            "These weights use what comes after t: sum from the beginning of the text.",
            (w.log() + whole - through).softmax(0),
        ),
        (
            "You only use the token just before t: all tokens before t count, so take the cumulative sum.",
            (w.log() + shifted).softmax(0),
        ),
        (
            "The cumulative sum runs over the texts (B): it must run over the positions, the last dimension.",
            (w.log() + over_texts).softmax(0),
        ),
        (
            "You add up probabilities: the probability of a history is a product, a sum of log-probabilities.",
            (w * probs_before.where(probs_before > 0, 1.0)).log().softmax(0),
        ),
        (
            "You take the mean over the history, which tempers the posterior: Bayes' rule takes the sum.",
            (w.log() + before / torch.arange(x.shape[-1]).clamp(min=1)).softmax(0),
        ),
        (
            "The weights never move: they are the prior everywhere. Add what each member said of the tokens before t.",
            w.expand_as(x),
        ),
        ("The sign is wrong: a member that found the text likely must gain weight.", (w.log() - before).softmax(0)),
        (
            "The first weight is right, but the history is shifted by two: position t must use the tokens 0 ... t-1.",
            (w.log() + torch.cat([torch.zeros_like(x[..., :1]), before[..., :-1]], -1)).softmax(0),
        ),
    ]


def posterior_after(difference: str, got: Any, expected: Tensor) -> None:
    """A wrong answer that is nothing known: what its first position tells. Raises Mistake."""
    if (
        isinstance(got, Tensor)
        and got.shape == expected.shape
        and difference.startswith("The tensor of weights ")
        and "holds nan" not in difference
    ):
        if got.detach().amax(0).min() > 0.999:
            raise Mistake(
                "All the weight is on the best member so far (a hard choice): the weights are the posterior"
                " probabilities themselves."
            )
        if not near(got[..., 0], expected[..., 0], 1e-3):
            first, prior = ([round(v, 2) for v in x[:, 0, 0].tolist()] for x in (got, expected))
            raise Mistake(
                f"At position 0 nothing has been read, so the weights must be the prior {prior}; yours are {first}. "
                "Does a later token leak in, or is the prior left out?"
            )
        difference += (
            " Position 0 is right: look at how the history enters. Is it the SUM of the log-probabilities of all the"
            " tokens before t?"
        )
    raise Mistake(difference)


def _iterate(start: Tensor, step: Callable[[Tensor], Tensor], n: int) -> Tensor:
    for _ in range(n):
        start = step(start)
    return start


def near(a: Tensor, b: Tensor, atol: float) -> bool:
    return bool(torch.isclose(a.double(), b.double(), atol=atol, rtol=0).all())
