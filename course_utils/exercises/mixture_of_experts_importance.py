"""Tests of 07_mixture_of_experts: the importance loss, a penalty on experts whose total gates differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_utils.exercises.diagnose import attempt
from course_utils.exercises.engine import Mistake, close
from course_utils.exercises.engine.calls import StudentError
from course_utils.exercises.mistakes import draw, recognise
from course_utils.moe import cv_squared, importance_loss, keep_top_k

RIGHT = "Add up each expert's gates over the tokens, (E,); then their variance (population), divided by the square of their mean."
SAMPLE = (
    "This is the variance of a SAMPLE, divided by E - 1, which is what var() and std() of torch do unless told otherwise. These"
    " are all the experts, not a sample: correction=0."
)
ROOT = "This is CV itself, standard deviation / mean: it is squared, CV^2 = variance / mean^2."
TWICE = "You squared twice: variance / mean^2 is CV^2 already."
NOT_DIVIDED = (
    "The division is missing: the variance alone grows with the number of tokens. Divide it by the mean, squared."
)
ONCE = "The variance has the mean squared in it: divide by mean^2, not by the mean. Then the number of tokens cancels."
BY_SUM = (
    "You divide by the number of tokens, which is also the sum of all gates (or by its square): divide by the square of the MEAN of"
    " the E sums."
)
SUMMED = "You add up the squared deviations: the variance is their mean, divided by the number of experts."
ABSOLUTE = "You took the mean of the absolute deviations: the variance is the mean of the squared ones."
LOAD = (
    "You count the tokens of each expert. That is its load, which has no gradient: importance is the sum of the gates, so that"
    " 0.9 counts more than 0.1."
)
OVER_TOKENS = (
    "You add up over the experts (dim 1): each token's gates sum to 1, whatever the choice, so there is nothing to even out."
    " Add up over the tokens, gates.sum(dim=0)."
)
SINGLE = (
    "You took the CV of the single gates, within each token or over the whole matrix. That would push each token to use all experts"
    " alike; asked is that over ALL tokens each expert gets the same: add up first, gates.sum(dim=0), then the CV of the E sums."
)
EACH_EXPERT = (
    "You took the CV of each expert's gates over the tokens: an expert should well be large for some tokens and 0 for others."
    " Add up over the tokens first, then take the CV of the E sums."
)
BY_GATES = "You divide by the mean of the GATES: variance and mean are both of the E sums."
ENTROPY = (
    "This is the entropy of the experts' shares: it measures the same unevenness, but another number is asked. " + RIGHT
)
WEIGHTED = (
    "You multiplied by 0.1, the weight of the paper: it comes when the loss is added up, here CV^2 alone is asked."
)
INVERSE = "The fraction is upside down: variance / mean^2."
MINUS = "The sign is the wrong way round: it is a loss, 0 if the experts are even and larger the less even they are."
NOT_CENTRED = "This is 1 too much, and even experts must give 0: subtract the mean from each sum before you square, or 1 from the result."
SPREAD = "This compares the largest with the mean or the smallest: CV uses all experts. " + RIGHT
VECTOR = "This is one number for each expert: the loss is ONE number, for all experts together."
TOKENS = "This is one number for each token: the loss is ONE number. Add up over the tokens first, gates.sum(dim=0)."
ONE_SIZE = "The number is right, but in a tensor with dimensions: a loss is a scalar, shape (). Leave out keepdim, or take squeeze()."
NUMBER = (
    "The number is right, but it is a plain number: .item(), .tolist() and float() cut the gradient off, so that the gate could"
    " not learn from this loss. Return the scalar tensor itself."
)
ARRAY = "This is numpy's: it has no gradient, so that the gate could not learn from this loss. Use gates.sum(dim=0), var and mean of torch."
NO_GRADIENT = (
    "The number is right, but no gradient reaches the gates: the gate could not learn from this loss. Leave out .detach(),"
    " torch.no_grad(), .item() and torch.tensor(...), and calculate with the tensors themselves."
)
NUMPY_CLASH = (
    "A tensor with a gradient cannot become a numpy array, and detached it would not train the gate. Stay in torch."
)
NAN = "Your result is nan: the gates are right, and their sums over the tokens are positive. " + RIGHT
CLASH = "The shapes do not line up: gates are (tokens, experts), gates.sum(dim=0) is (experts,), its mean and variance are scalars."


def _cv(x: Tensor) -> Tensor:
    """Of each row."""
    return x.var(-1, correction=0) / x.mean(-1).square()


def _entropy(gates: Tensor) -> Tensor:
    share = gates.sum(0) / gates.sum()
    return -(share * share.clamp(min=1e-30).log()).sum()


def _total(formula: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The formula, applied to the importance (E,)."""
    return lambda gates: formula(gates.sum(0))


MISTAKES = [
    (SAMPLE, _total(lambda i: i.var() / i.mean() ** 2)),
    (ROOT, _total(lambda i: i.std(correction=0) / i.mean())),
    (f"{ROOT} And: {SAMPLE}", _total(lambda i: i.std() / i.mean())),
    (TWICE, _total(lambda i: cv_squared(i) ** 2)),
    (NOT_DIVIDED, _total(lambda i: i.var(correction=0))),
    (NOT_DIVIDED, _total(lambda i: i.std(correction=0))),
    (f"{NOT_DIVIDED} And: {SAMPLE}", _total(lambda i: i.var())),
    (f"{NOT_DIVIDED} And: {SAMPLE}", _total(lambda i: i.std())),
    (ONCE, _total(lambda i: i.var(correction=0) / i.mean())),
    (f"{ONCE} And: {SAMPLE}", _total(lambda i: i.var() / i.mean())),
    (ONCE, lambda g: g.mean(0).var(correction=0) / g.mean()),
    (ONCE, _total(lambda i: i.std(correction=0) / i.mean() ** 2)),
    (BY_SUM, _total(lambda i: i.var(correction=0) / i.sum() ** 2)),
    (BY_SUM, _total(lambda i: i.std(correction=0) / i.sum())),
    (f"{BY_SUM} And: {SAMPLE}", _total(lambda i: i.var() / i.sum() ** 2)),
    (f"{BY_SUM} And: {SAMPLE}", _total(lambda i: i.std() / i.sum())),
    (SUMMED, _total(lambda i: (i - i.mean()).square().sum() / i.mean() ** 2)),
    (SUMMED, _total(lambda i: (i - i.mean()).square().sum())),
    (ABSOLUTE, _total(lambda i: (i - i.mean()).abs().mean() / i.mean())),
    (ABSOLUTE, _total(lambda i: ((i - i.mean()).abs().mean() / i.mean()) ** 2)),
    (LOAD, lambda g: cv_squared((g > 0).float().sum(0))),
    (f"{LOAD} And: {SAMPLE}", lambda g: (g > 0).float().sum(0).var() / (g > 0).float().sum(0).mean() ** 2),
    (OVER_TOKENS, lambda g: _cv(g.sum(1))),
    (SINGLE, lambda g: _cv(g).mean()),
    (SINGLE, lambda g: _cv(g).sum()),
    (SINGLE, lambda g: (g.var(-1) / g.mean(-1) ** 2).mean()),
    (EACH_EXPERT, lambda g: _cv(g.T).mean()),
    (EACH_EXPERT, lambda g: _cv(g.T).sum()),
    (EACH_EXPERT, lambda g: (g.var(0) / g.mean(0) ** 2).mean()),
    (SINGLE, lambda g: g.var() / g.mean() ** 2),
    (SINGLE, lambda g: g.std(correction=0) / g.mean()),
    (SINGLE, lambda g: g.std() / g.mean()),
    (BY_GATES, lambda g: g.sum(0).var(correction=0) / g.mean() ** 2),
    (f"{BY_GATES} And: {SAMPLE}", lambda g: g.sum(0).var() / g.mean() ** 2),
    (ENTROPY, _entropy),
    (ENTROPY, lambda g: -_entropy(g)),
    (ENTROPY, lambda g: torch.tensor(float(g.shape[1])).log() - _entropy(g)),
    (WEIGHTED, lambda g: 0.1 * importance_loss(g)),
    (INVERSE, lambda g: 1 / importance_loss(g)),
    (INVERSE, lambda g: importance_loss(g) ** -0.5),
    (MINUS, lambda g: -importance_loss(g)),
    (NOT_CENTRED, _total(lambda i: i.square().mean() / i.mean() ** 2)),
    (SPREAD, _total(lambda i: i.max() / i.mean())),
    (SPREAD, _total(lambda i: i.max() - i.min())),
    (SPREAD, _total(lambda i: (i.max() - i.min()) / i.mean())),
]


def routed(tokens: int, experts: int, k: int, seed: int) -> tuple[Tensor, Tensor]:
    """Scores (tokens, experts) that prefer the first experts, and their gates of the k largest."""
    scores = draw(tokens, experts, seed=seed) - torch.arange(experts) / experts
    return scores, keep_top_k(scores, k).softmax(dim=-1)


CASES = [(routed(9, 4, 2, seed=811)[1],), (routed(16, 5, 3, seed=812)[1],)]


def _check(answer: Callable, gates: Tensor) -> None:
    _judge(attempt(answer, gates, clash=CLASH), answer, gates)


def _judge(got: Any, answer: Callable, gates: Tensor) -> None:
    """Raise the Mistake that explains `got`, which is answer(gates); return None if it is right."""
    expected = importance_loss(gates).detach()
    if isinstance(got, (np.ndarray, np.generic)):
        raise Mistake(ARRAY)
    if isinstance(got, Tensor) and got.dim():
        if got.numel() == 1 and abs(got.item() - expected.item()) < 1e-4:
            raise Mistake(ONE_SIZE)
        said = {(gates.shape[1],): VECTOR, (1, gates.shape[1]): VECTOR, (len(gates),): TOKENS, (len(gates), 1): TOKENS}
        if tuple(got.shape) in said:
            raise Mistake(f"{said[tuple(got.shape)]} (Your result has shape {tuple(got.shape)}.)")
    try:
        close(got, expected, what="the loss", atol=1e-5)
    except Mistake as mistake:
        recognise(answer, CASES, MISTAKES)
        if isinstance(got, Tensor) and not got.dim() and got.isnan():
            raise Mistake(NAN) from None
        raise Mistake(f"{mistake} {RIGHT}") from None
    if not isinstance(got, Tensor):
        raise Mistake(NUMBER)


def importance_random(answer: Callable) -> None:
    """9 tokens over 4 experts with k = 2, 16 tokens over 5 with k = 3, each row of gates with the sum 1"""
    for case in CASES:
        _check(answer, *case)


def importance_ends(answer: Callable) -> None:
    """all experts get the same: 0; one of 6 experts gets everything: 5"""
    _check(answer, torch.eye(4).repeat(3, 1))
    _check(answer, torch.full((5, 8), 1 / 8))
    _check(answer, torch.eye(6)[[2]].repeat(7, 1))


def importance_repeated(answer: Callable) -> None:
    """the same tokens three times over: the loss does not change; and one token alone"""
    _check(answer, CASES[0][0].repeat(3, 1))
    _check(answer, CASES[1][0][:1])


def importance_gradient(answer: Callable) -> None:
    """backward() goes through the loss to the scores of the gate"""
    scores = routed(8, 5, 2, seed=813)[0]
    mine, right = scores.clone().requires_grad_(), scores.clone().requires_grad_()
    gates = keep_top_k(mine, 2).softmax(dim=-1)
    try:
        got = attempt(answer, gates, clash=CLASH)
    except StudentError as wrapped:
        if "numpy" in str(wrapped.error):
            raise Mistake(NUMPY_CLASH) from None
        raise
    _judge(got, answer, gates.detach())
    if not got.requires_grad:
        raise Mistake(NO_GRADIENT)
    got.backward()
    importance_loss(keep_top_k(right, 2).softmax(dim=-1)).backward()
    gradient = torch.zeros_like(scores) if mine.grad is None else mine.grad
    try:
        close(gradient, right.grad, what="the gradient of the loss for the scores", atol=1e-5)
    except Mistake as mistake:
        raise Mistake(f"The number is right, but not its gradient: was a part of it detached? {mistake}") from None
