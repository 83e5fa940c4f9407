"""Tests of 10_refinement_and_diffusion: t steps of the absorbing process in one jump."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import Mistake
from course_utils.exercises.engine.calls import same
from course_utils.exercises.mistakes import alike
from course_utils.exercises.refinement_and_diffusion_checks import compare, ids, uniform


def q_sample(x0: Tensor, t: int, T: int, mask: int, u: Tensor) -> Tensor:
    """x_t of the absorbing process with beta_t = 1 / (T - t + 1): `mask` where u < t/T, x0 elsewhere. ids (B, N) -> ids (B, N).

    A token is still there after t steps with chance (1 - beta_1) ... (1 - beta_t) = 1 - t/T, and what is masked stays masked.
    Source: Austin et al. (2021), section 3.1 and appendix A.2.
    """
    return torch.where(u < t / T, mask, x0)


JUMP = "After t steps a token is masked with chance t/T: torch.where(u < t / T, mask, x0)."
KEPT = "You mask with chance 1 - t/T, which is the chance that a token is LEFT after t steps: mask where u < t/T."
OTHER_SIDE = (
    "You mask where u is LARGE. The number of masks may even be right, but the exercise says which: mask where u < t/T. (With the"
    " same u, tokens masked at t are then still masked at t + 1.)"
)
ONE_STEP = (
    "You use beta_t = 1 / (T - t + 1), the chance of the step t ALONE, for a token that is left until then. All t steps together mask"
    " with chance 1 - (1 - beta_1) ... (1 - beta_t) = t/T."
)
SUMMED = "You add up the chances of the steps: a token can be masked only once. Multiply the chances to stay, which gives 1 - t/T."
EQUAL_STEPS = "You give every step the same chance. Here beta_s = 1 / (T - s + 1) grows from step to step, so that t steps mask t/T."
SHIFTED = "Your chance is that of the step {}: after t of T steps it is t/T, 0 at t = 0 and 1 at t = T."
ROW = "One draw decides for a whole row, so that a text is masked all or nothing: every token has a draw of its own."
SAME_ROWS = "All texts use the draws of the first one: u is (B, N), every token of every text has its own."
COUNTED = "You mask exactly the same number of tokens in every text: each token is masked by itself, so the number varies around N t/T."
NOTHING = (
    "Nothing is masked. Mask where u < t/T. (t // T would be 0 until the last step: divide with /. And masked_fill returns a new"
    " tensor.)"
)
ROUNDED = "Your chance t/T was rounded to a whole number: keep it as a fraction."
LENGTH = "You divide by the length of the text: the chance is t/T, the same for short and long texts."
EVERYTHING = (
    "Everything is masked: mask only where u < t/T. (T / t would be above 1, and so would any draw be below it.)"
)
WRONG_WAY = "The two results of the choice are swapped: mask where u < t/T, and x0 where not."
LOST = "The tokens that are not masked are changed: they stay as they are in x0."
WHERE = "This is WHERE a token is masked: return the ids, with `mask` at these places and x0 at the others."
OTHER_ID = "You write a fixed id in place of `mask`: which id stands for the mask is an argument."
ADDED = "You add the mask's id to the token: it replaces the token."
SCALED = "You multiply the draws in place of comparing them: a token is masked or not, as u < t/T is true or not."
STRICT = (
    "Here a draw is exactly t/T, and you mask it (<=). At t = 0 this would mask tokens though no step was taken: u < t/T, as u is"
    " below 1."
)
DRAWS = "Your result does not depend on u: use the draws that are given, in place of your own."
PACKED = "These are only some of the tokens: every position keeps its place, with its token or with the mask."
FLOATS = "Token ids are whole numbers, and yours are {}: torch.where(condition, mask, x0) keeps them so."
CLASH = "The shapes do not line up: x0 and u are (B, N), so u < t / T is (B, N) as well; t, T and mask are numbers."
COMPLAINTS = [
    (
        r"'(int|float|bool)' object has no attribute|must be Tensor, not",
        "t, T and mask are plain numbers, x0 and u are tensors: u < t / T is a tensor, t / T is not.",
    ),
    (
        r"truth value of a Tensor|Boolean value of Tensor",
        "`if` needs one truth value, and u < t / T has one for every token: use torch.where.",
    ),
]


def _at(x0: Tensor, chance: float, mask: int, u: Tensor) -> Tensor:
    return torch.where(u < chance, mask, x0)


def _lowest(x0: Tensor, t: int, T: int, mask: int, u: Tensor) -> Tensor:
    """Exactly floor(N t / T) of each row."""
    return torch.where(u.argsort(1).argsort(1) < x0.shape[1] * t // T, mask, x0)


MISTAKES = [
    (KEPT, lambda x, t, T, m, u: _at(x, 1 - t / T, m, u)),
    (OTHER_SIDE, lambda x, t, T, m, u: torch.where(u >= 1 - t / T, m, x)),
    (WRONG_WAY, lambda x, t, T, m, u: torch.where(u < t / T, x, m)),
    (ONE_STEP, lambda x, t, T, m, u: _at(x, 1 / (T - t + 1), m, u)),
    (ONE_STEP, lambda x, t, T, m, u: _at(x, 1 / (T - t), m, u)),
    (ONE_STEP, lambda x, t, T, m, u: _at(x, 1 - 1 / (T - t + 1), m, u)),
    (SUMMED, lambda x, t, T, m, u: _at(x, sum(1 / (T - s + 1) for s in range(1, t + 1)), m, u)),
    (EQUAL_STEPS, lambda x, t, T, m, u: _at(x, 1 - (1 - 1 / T) ** t, m, u)),
    (EQUAL_STEPS, lambda x, t, T, m, u: _at(x, 1 - (1 - 1 / (T - t + 1)) ** t, m, u)),
    (EQUAL_STEPS, lambda x, t, T, m, u: _at(x, 1 / T, m, u)),
    (SHIFTED.format("before"), lambda x, t, T, m, u: _at(x, (t - 1) / T, m, u)),
    (SHIFTED.format("after"), lambda x, t, T, m, u: _at(x, (t + 1) / T, m, u)),
    (SHIFTED.format("t of a chain that is one step longer"), lambda x, t, T, m, u: _at(x, t / (T + 1), m, u)),
    (SHIFTED.format("t of a chain that is one step shorter"), lambda x, t, T, m, u: _at(x, t / (T - 1), m, u)),
    (ROW, lambda x, t, T, m, u: torch.where(u[:, :1] < t / T, m, x)),
    (ROW, lambda x, t, T, m, u: torch.where(u.mean(1, keepdim=True) < t / T, m, x)),
    (SAME_ROWS, lambda x, t, T, m, u: torch.where(u[0] < t / T, m, x)),
    (COUNTED, _lowest),
    (DRAWS, lambda x, t, T, m, u: torch.where(torch.arange(x.shape[1]) < x.shape[1] * t // T, m, x)),
    (COUNTED, lambda x, t, T, m, u: torch.where(u.argsort(1) < x.shape[1] * t // T, m, x)),
    (NOTHING, lambda x, t, T, m, u: x),
    (ROUNDED, lambda x, t, T, m, u: _at(x, round(t / T), m, u)),
    (LENGTH, lambda x, t, T, m, u: _at(x, t / x.shape[1], m, u)),
    (EVERYTHING, lambda x, t, T, m, u: torch.full_like(x, m)),
    (LOST, lambda x, t, T, m, u: torch.where(u < t / T, m, 0)),
    (LOST, lambda x, t, T, m, u: torch.where(u < t / T, m, m - 1)),
    (WHERE, lambda x, t, T, m, u: u < t / T),
    (WHERE, lambda x, t, T, m, u: (u < t / T).long()),
    (WHERE, lambda x, t, T, m, u: (u >= t / T).long()),
    *((OTHER_ID, lambda x, t, T, m, u, other=other: _at(x, t / T, other, u)) for other in (0, -1, -100, 1)),
    (OTHER_ID, lambda x, t, T, m, u: torch.where(u < t / T, x.max() + 1, x)),
    (ADDED, lambda x, t, T, m, u: x + m * (u < t / T)),
    (SCALED, lambda x, t, T, m, u: (x * u * t / T).long()),
    (SCALED, lambda x, t, T, m, u: x * (1 - t / T) + m * t / T),
    (SCALED, lambda x, t, T, m, u: x * (1 - u) + m * u),
]
CASES = [
    (ids(8, 6, 20, seed=1021), 4, 11, 9, uniform(6, 20, seed=1022)),
    (1 + ids(6, 5, 18, seed=1023), 5, 9, 0, uniform(5, 18, seed=1024)),
]


def _check(answer: Callable, *case: Any) -> None:
    x0, t, T, mask, u = case

    def look(got: Any, expected: Tensor) -> None:
        if isinstance(got, Tensor) and got.dim() == 1:
            raise Mistake(f"{PACKED} (Yours has shape {tuple(got.shape)}, it should be {tuple(expected.shape)}.)")
        if not isinstance(got, Tensor) or got.shape != expected.shape:
            return
        if alike(got, expected) and got.is_floating_point():
            raise Mistake(FLOATS.format(got.dtype))
        some = 0 < (got == mask).sum() < got.numel()
        if some and not alike(got, expected) and same(got, answer(x0, t, T, mask, 1 - u)):
            raise Mistake(DRAWS)

    compare(answer, case, q_sample, CASES, MISTAKES, JUMP, CLASH, COMPLAINTS, look=look)


def sample_random(answer: Callable) -> None:
    """4 of 11 steps with the mask 9, 5 of 9 steps with the mask 0: masked where u < t/T, all else untouched"""
    for case in CASES:
        _check(answer, *case)


def sample_ends(answer: Callable) -> None:
    """t = 0: nothing is lost; t = T: everything is; a single step, T = 1; a single token"""
    x0, u = ids(5, 3, 8, seed=1025), uniform(3, 8, seed=1026)
    for t, T in ((0, 6), (6, 6), (1, 1), (0, 1)):
        _check(answer, x0, t, T, 7, u)
    _check(answer, x0[:1, :1], 2, 3, 5, u[:1, :1])


def sample_equal(answer: Callable) -> None:
    """draws that are exactly t/T, and draws of 0 before the first step: not masked"""
    x0 = ids(5, 2, 4, seed=1027)
    for t, T, value in ((2, 4, 0.5), (0, 4, 0.0), (3, 4, 0.75)):
        u = torch.full((2, 4), value)
        u[0, 1], u[1, 2] = 0.9, 0.9
        got = answer(x0, t, T, 6, u)
        if isinstance(got, Tensor) and alike(got, torch.where(u <= t / T, 6, x0)):
            raise Mistake(STRICT)
        _check(answer, x0, t, T, 6, u)


def sample_nested(answer: Callable) -> None:
    """the same draws at t = 1, 2, ..., T: what is masked stays masked, and in the end all is"""
    x0, u = ids(30, 4, 25, seed=1028), uniform(4, 25, seed=1029)
    for t in range(1, 6):
        _check(answer, x0, t, 5, 30, u)
