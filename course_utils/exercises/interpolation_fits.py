"""Tests of 01_interpolation: EM, the posterior weights, learning lam."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.ensembling import (
    em_weights,
    fit_loglinear_weights,
    linear_interpolation,
    loglinear_interpolation,
    posterior_weights,
)
from course_utils.exercises import interpolation_fit_mistakes as wrong
from course_utils.exercises import interpolation_lam_mistakes as lam_mistakes
from course_utils.exercises.diagnose import attempt, judge
from course_utils.exercises.engine import Mistake
from course_utils.exercises.interpolation_rules import random_log_probs, sizes_named


# 4. EM ----------------------------------------------------------------------------------------------------------------
def _observed(n: int, mixture: list[float], seed: int) -> Tensor:
    """(M, n) probabilities that M rather different members gave to n tokens drawn from their mixture."""
    log_probs = random_log_probs(len(mixture), n, 8, seed=seed, sharpness=2.5)
    tokens = torch.multinomial(
        linear_interpolation(log_probs, mixture).exp(), 1, generator=torch.Generator().manual_seed(seed)
    )
    return log_probs.exp()[:, torch.arange(n), tokens[:, 0]]


def _check_em(answer: Callable, probs: Tensor) -> None:
    got = attempt(
        answer,
        probs,
        clash="The shapes do not fit: the weights (M,) belong to the rows of probs (M, N), so use weights[:, None].",
    )
    expected, history = em_weights(probs, return_history=True)
    if isinstance(got, Tensor) and got.shape == expected.shape:
        wrong.em_before(got.detach().double(), expected, history)
    try:
        judge(
            got,
            expected,
            log=False,
            dim=0,
            sizes=sizes_named("MN", *probs.shape),
            known=wrong.em(probs),
            atol=5e-3,
            what="the vector of weights",
            nan=(
                "0/0? A product over all tokens underflows; and a member may give probability 0 to everything, while"
                " the sum over the members is above 0 for each token."
            ),
            unnormalised="The new weight is the MEAN of the responsibilities over the tokens, not their sum.",
        )
    except Mistake as difference:
        wrong.em_after(str(difference), got, expected, probs)


def em_random(answer: Callable) -> None:
    """three members, 300 tokens: the weights reach the best likelihood of all weights"""
    _check_em(answer, _observed(300, [0.6, 0.3, 0.1], seed=6))


def em_double(answer: Callable) -> None:
    """two members, float64"""
    _check_em(answer, _observed(200, [0.35, 0.65], seed=7).double())


def em_dead(answer: Callable) -> None:
    """a member that gives every token probability 0 ends with weight 0"""
    probs = _observed(150, [0.7, 0.3], seed=8)
    _check_em(answer, torch.stack([probs[0], torch.zeros(150), probs[1]]))


# 5. The posterior -----------------------------------------------------------------------------------------------------
NAN_POSTERIOR = (
    "Nan comes from 0/0 after an underflow (multiply no probabilities: add their logarithms, and let softmax subtract"
    " the maximum), or from -inf - (-inf) (shift the cumulative sum by one, do not subtract the last term)."
)


def _check_posterior(answer: Callable, token_log_probs: Tensor, prior: Tensor) -> Tensor:
    got = attempt(
        answer,
        token_log_probs,
        prior,
        clash="The prior does not line up: it is (M,), and the scores are (M, B, T). Use prior[:, None, None].",
    )
    expected = posterior_weights(token_log_probs, prior)
    try:
        judge(
            got,
            expected,
            log=False,
            dim=0,
            sizes=sizes_named("MBT", *token_log_probs.shape),
            known=wrong.posterior(token_log_probs, prior),
            nan=NAN_POSTERIOR,
            what="the tensor of weights",
            unnormalised="Divide by the sum over the members (dim 0), so that the weights of each position sum to 1.",
        )
    except Mistake as difference:
        wrong.posterior_after(str(difference), got, expected)
    return got


def posterior_one_token(answer: Callable) -> None:
    """texts of one token: nothing has been read before it, the weights are the prior"""
    _check_posterior(answer, random_log_probs(3, 4, 1, 5, seed=9)[..., 0], torch.tensor([0.6, 0.3, 0.1]))


def posterior_random(answer: Callable) -> None:
    """three members, four texts, six positions: the prior times the probability of what was read so far"""
    _check_posterior(
        answer, random_log_probs(3, 4, 6, 5, seed=10, sharpness=1.0)[..., 0], torch.tensor([0.5, 0.3, 0.2])
    )


def posterior_causal(answer: Callable) -> None:
    """when token t changes, the weights at t and before must not"""
    before = random_log_probs(3, 4, 6, 5, seed=11)[..., 0]
    after = before.clone()
    after[:, :, 3] = random_log_probs(3, 4, 5, seed=12)[..., 0]
    prior = torch.tensor([0.5, 0.3, 0.2])
    one, other = answer(before, prior), answer(after, prior)
    moved = (
        [t for t in range(4) if not torch.allclose(one[..., t], other[..., t], atol=1e-4)]
        if one.shape == before.shape
        else []
    )
    if moved:
        raise Mistake(
            f"You peek at the token you are scoring: changing token 3 changed the weights at position {moved[0]}. "
            "The weights at t may use the tokens before t only."
        )
    _check_posterior(answer, after, prior)


def posterior_long(answer: Callable) -> None:
    """800 positions: no underflow; and a member that found a token impossible is out for good"""
    token_log_probs = random_log_probs(2, 3, 800, 6, seed=13)[..., 0] - 1
    token_log_probs = (16 * token_log_probs).round() / 16  # sums of sixteenths are exact in float32
    token_log_probs[0] -= 1 / 16
    _check_posterior(answer, token_log_probs, torch.tensor([0.9, 0.1]))
    token_log_probs[1, 1, 5] = -torch.inf
    _check_posterior(answer, token_log_probs[..., :20], torch.tensor([0.9, 0.1]))


# 6. Learning lam ------------------------------------------------------------------------------------------------------
def _check_lam(answer: Callable, log_probs: Tensor, lam: list[float]) -> None:
    draw = torch.Generator().manual_seed(len(lam))
    targets = torch.multinomial(loglinear_interpolation(log_probs, lam).exp(), 1, generator=draw)[:, 0]
    got = attempt(
        answer,
        log_probs,
        targets,
        clash="The shapes do not fit: lam (M,) meets log_probs (M, N, V) as lam[:, None, None].",
    )
    lam_mistakes.lam(got, fit_loglinear_weights(log_probs, targets), log_probs, targets)


def lam_two(answer: Callable) -> None:
    """two members, the best lam sum to more than 1 and one is negative: the moments match"""
    _check_lam(answer, random_log_probs(2, 200, 6, seed=14), [2.0, -0.5])


def lam_three(answer: Callable) -> None:
    """three members, the best lam sum to less than 1: the moments match"""
    _check_lam(answer, random_log_probs(3, 150, 5, seed=15), [0.3, 0.1, 0.15])
