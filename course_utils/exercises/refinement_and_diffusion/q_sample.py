"""t steps of the absorbing process in one jump."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, alike, case, one_row
from course_utils.exercises.refinement_and_diffusion import ids, uniform

JUMP = "After t steps a token is masked with chance t/T: where u < t/T."
PACKED = "These are only some of the tokens: every position keeps its place, with its token or with the mask."
FLOATS = "Token ids are whole numbers, and yours are {}.\ntorch.where(condition, mask, x0) keeps them so."
CLASH = "The shapes do not line up: x0 and u are (B, N), so u < t / T is (B, N) as well; t, T and mask are numbers."


def q_sample(x0: Tensor, t: int, T: int, mask: int, u: Tensor) -> Tensor:
    """x_t of the absorbing process with beta_t = 1 / (T - t + 1): `mask` where u < t/T, x0 elsewhere, ids (B, N).

    A token is still there after t steps with chance (1 - beta_1) ... (1 - beta_t) = 1 - t/T; what is masked stays so.
    Source: Austin et al. (2021), section 3.1 and appendix A.2.
    """
    return torch.where(u < t / T, mask, x0)


def _at(x0: Tensor, chance: float, mask: int, u: Tensor) -> Tensor:
    return torch.where(u < chance, mask, x0)


def _lowest(x0: Tensor, t: int, T: int, mask: int, u: Tensor) -> Tensor:
    """Exactly floor(N t / T) of each row."""
    return torch.where(u.argsort(1).argsort(1) < x0.shape[1] * t // T, mask, x0)


def _what_is_wrong(got: Any, expected: Tensor, *args: Any) -> str:
    if isinstance(got, Tensor) and got.dim() == 1:
        return f"{PACKED} (Yours has shape {tuple(got.shape)}, it should be {tuple(expected.shape)}.)"
    return FLOATS.format(got.dtype) if isinstance(got, Tensor) and alike(got, expected) else ""


def _equal(got: Any, *args: Any) -> bool:
    return isinstance(got, Tensor) and not got.is_floating_point() and alike(got, q_sample(*args))


def _with_draws_of(values: list[float]) -> Tensor:
    u = torch.tensor(values)[None].repeat(2, 1)
    u[0, 1], u[1, 2] = 0.9, 0.9
    return u


EXERCISE = Exercise(
    "refinement_and_diffusion.q_sample",
    reference=q_sample,
    what="your result",
    right=JUMP,
    errors={
        r"'(int|float|bool)' object has no attribute|must be Tensor, not": (
            "t, T and mask are plain numbers, x0 and u are tensors: u < t / T is a tensor, t / T is not."
        ),
        r"truth value of a Tensor|Boolean value of Tensor": (
            "`if` needs one truth value, and u < t / T has one for every token: use torch.where."
        ),
        "shapes": CLASH,
    },
    equal=_equal,
    explain=_what_is_wrong,
    cases=[
        case(
            "4 of 11 steps with the mask 9: masked where u < t/T, all else untouched",
            ids(8, 6, 20, seed=1021),
            4,
            11,
            9,
            uniform(6, 20, seed=1022),
        ),
        case("5 of 9 steps with the mask 0", 1 + ids(6, 5, 18, seed=1023), 5, 9, 0, uniform(5, 18, seed=1024)),
        case("a draw that is exactly t/T", ids(5, 2, 4, seed=1027), 2, 4, 6, _with_draws_of([0.5] * 4), names=False),
        case(
            "t = 0: nothing is lost, also where a draw is 0",
            ids(5, 2, 4, seed=1027),
            0,
            4,
            6,
            _with_draws_of([0.0] * 4),
            names=False,
        ),
        case("t = T: everything is", ids(5, 3, 8, seed=1025), 6, 6, 7, uniform(3, 8, seed=1026)),
        case("a single step, T = 1", ids(5, 3, 8, seed=1025), 1, 1, 7, uniform(3, 8, seed=1026)),
        *[
            case(
                f"the same draws at t = {t} of 5: what is masked stays masked",
                ids(30, 4, 25, seed=1028),
                t,
                5,
                30,
                uniform(4, 25, seed=1029),
            )
            for t in (1, 2, 3)
        ],
    ],
    corners=[one_row("x0", "u")],
    mistakes={
        "Your chance is 1 - t/T, that a token is left after t steps.\nMask where u < t/T.": lambda x, t, T, m, u: _at(
            x, 1 - t / T, m, u
        ),
        "You mask the tokens with large draws.\nTheir number may be right, but the stub says which: where u < t/T.": (
            lambda x, t, T, m, u: torch.where(u >= 1 - t / T, m, x)
        ),
        "The two results of the choice are swapped: mask where u < t/T, and x0 where not.": lambda x, t, T, m, u: (
            torch.where(u < t / T, x, m)
        ),
        "Your chance is that of one step alone, as beta_t = 1 / (T - t + 1), for a token that is left until then.\n"
        "All t steps together mask with chance 1 - (1 - beta_1) ... (1 - beta_t) = t/T.": [
            lambda x, t, T, m, u: _at(x, 1 / (T - t + 1), m, u),
            lambda x, t, T, m, u: _at(x, 1 / (T - t), m, u),
        ],
        "Your chance is the sum of those of the steps: a token can be masked only once.\n"
        "Multiply the chances to stay, which gives 1 - t/T.": lambda x, t, T, m, u: _at(
            x, sum(1 / (T - s + 1) for s in range(1, t + 1)), m, u
        ),
        "Every step has the same chance in yours.\nHere beta_s = 1 / (T - s + 1) grows, so that t steps mask t/T.": [
            lambda x, t, T, m, u: _at(x, 1 - (1 - 1 / T) ** t, m, u),
            lambda x, t, T, m, u: _at(x, 1 - (1 - 1 / (T - t + 1)) ** t, m, u),
            lambda x, t, T, m, u: _at(x, 1 / T, m, u),
        ],
        "Your chance is that of the step before or after.\nAfter t of T steps it is t/T, 0 at t = 0 and 1 at t = T.": [
            lambda x, t, T, m, u: _at(x, (t - 1) / T, m, u),
            lambda x, t, T, m, u: _at(x, (t + 1) / T, m, u),
        ],
        "Your chance is that of a chain that is one step longer, or shorter.\nAfter t of T steps it is t/T.": [
            lambda x, t, T, m, u: _at(x, t / (T + 1), m, u),
            lambda x, t, T, m, u: _at(x, t / (T - 1), m, u),
        ],
        "One draw decides for a whole row, so that a text is masked all or nothing: every token has a draw of its "
        "own.": lambda x, t, T, m, u: torch.where(u[:, :1] < t / T, m, x),
        "All texts use the draws of the first one: "
        "u is (B, N), every token of every text has its own.": lambda x, t, T, m, u: torch.where(u[0] < t / T, m, x),
        "Exactly as many tokens are masked in every text.\nEach is masked by itself: the number varies around N t/T.": [
            *[_lowest, lambda x, t, T, m, u: torch.where(u.argsort(1) < x.shape[1] * t // T, m, x)],
        ],
        "Your result does not depend on u.\nUse the draws that are given, instead of your own.": lambda x, t, T, m, u: (
            torch.where(torch.arange(x.shape[1]) < x.shape[1] * t // T, m, x)
        ),
        "Nothing is masked.\n"
        "Mask where u < t/T. (t // T would be 0 until the last step: divide with /. And masked_fill returns a new "
        "tensor.)": [lambda x, t, T, m, u: x, lambda x, t, T, m, u: _at(x, t // T, m, u)],
        "Your chance t/T was rounded to a whole number.\nKeep it as a fraction.": lambda x, t, T, m, u: _at(
            x, round(t / T), m, u
        ),
        "Your chance is t/N, with the length of the text.\nIt is t/T, the same for short and long texts.": (
            lambda x, t, T, m, u: _at(x, t / x.shape[1], m, u)
        ),
        "Everything is masked: mask only where u < t/T. (T / t is above 1, and any draw below it.)": (
            lambda x, t, T, m, u: torch.full_like(x, m)
        ),
        "The tokens that are not masked are changed: they stay as they are in x0.": [
            lambda x, t, T, m, u: torch.where(u < t / T, m, 0)
        ],
        "This is where a token is masked.\nReturn the ids, with `mask` at these places and x0 at the others.": [
            lambda x, t, T, m, u: u < t / T,
            lambda x, t, T, m, u: (u < t / T).long(),
        ],
        "The mask's id is added to the token: it replaces the token.": lambda x, t, T, m, u: x + m * (u < t / T),
        "Token and mask are mixed in proportion.\nA token is masked or not, as u < t/T is true or not.": [
            lambda x, t, T, m, u: x * (1 - t / T) + m * t / T,
            lambda x, t, T, m, u: x * (1 - u) + m * u,
        ],
        "A fixed id stands for the mask.\nWhich id it is, is an argument.": [
            *[lambda x, t, T, m, u, fixed=fixed: _at(x, t / T, fixed, u) for fixed in (0, -1, -100, 1)],
            lambda x, t, T, m, u: torch.where(u < t / T, x.max() + 1, x),
        ],
        "A draw that is exactly t/T masks (<=).\nAt t = 0 tokens would be masked though no step was taken: u < t/T.": (
            lambda x, t, T, m, u: torch.where(u <= t / T, m, x)
        ),
    },
    hints=[
        "What is the chance that a token has been masked by one of the first t steps? It is the same for all tokens.",
        "u < t / T is true with just this chance, for each token by itself. torch.where(condition, a, b) chooses "
        "token by token.",
        "torch.where(u < t / T, mask, x0)",
    ],
)
