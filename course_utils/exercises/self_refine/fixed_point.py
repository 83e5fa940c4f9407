"""The two rates that explain three accuracies, and where they lead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from course_utils.exercises.engine import ANYTHING, Exercise, case, numbers


def rates(a0: float, a1: float, a2: float) -> np.ndarray:
    """(f, c, a*) of the two-rate model that goes from a0 to a1 to a2: a' = a (1 - c) + (1 - a) f, a* = f / (f + c).

    A difference of accuracies shrinks by s = 1 - f - c a round, and a1 = f + s a0. Needs a1 != a0 and s != 1.
    """
    s = (a2 - a1) / (a1 - a0)
    f = a1 - s * a0
    c = 1 - s - f
    return np.array([f, c, f / (f + c)])


def _s(a: float, b: float, d: float) -> float:
    return (d - b) / (b - a)


def _from_s(s: Callable, first: Callable = lambda s, a, b, d: b - s * a) -> Callable:
    """1 - f - c is s(a0, a1, a2), and f is first(that, a0, a1, a2)."""
    return lambda a, b, d: (f := first(s(a, b, d), a, b, d), 1 - s(a, b, d) - f, ANYTHING)


def _rates(of: Callable) -> Callable:
    """A mistake in the rates: of(f, c)."""
    return lambda a, b, d: (*of(*rates(a, b, d)[:2]), ANYTHING)


def _star(of: Callable) -> Callable:
    """A mistake in the fixed point: of(f, c, a*)."""
    return lambda a, b, d: (*rates(a, b, d)[:2], of(*rates(a, b, d).tolist()))


def _solve(rows: Callable, sides: Callable = lambda a, b, d: [b - a, d - b]) -> Callable:
    return lambda a, b, d: (*np.linalg.solve(rows(a, b, d), sides(a, b, d)), ANYTHING)


def _alone(i: int, j: int, k: int, m: int) -> Callable:
    """f from a_i to a_j as if nothing were broken, and c from a_k to a_m as if nothing were repaired."""
    return lambda *a: ((a[j] - a[i]) / (1 - a[i]), (a[k] - a[m]) / a[k], ANYTHING)


def _given(star: Callable) -> Callable:
    """The third number is star(a0, a1, a2)."""
    return lambda a, b, d: (*rates(a, b, d)[:2], star(a, b, d))


def _far(rounds: int) -> Callable:
    """The third number is the accuracy that many rounds after a2."""
    return _given(lambda a, b, d: (star := rates(a, b, d)[2]) + (d - star) * _s(a, b, d) ** rounds)


def _parts(result: Any) -> list:
    return list(result) if isinstance(result, (list, tuple)) else numbers(result, "your result").tolist()


def _explain(got: Any, expected: np.ndarray, a0: float, a1: float, a2: float) -> str:
    found = numbers(got, "your result").double()
    if found.numel() != 3:
        count = "one number" if found.numel() == 1 else f"{found.numel()} numbers, in the shape {tuple(found.shape)}"
        return f"Your function returns {count}: the stub asks for three numbers, (f, c, a*)."
    if not found.isfinite().all():
        return DIVIDED
    return ROUNDED if np.allclose(found.reshape(3), expected, rtol=0, atol=6e-4) else ""


ROUNDED = "Your numbers are nearly right: return them as they are, without rounding."
RIGHT = "The rates are right; "
DIVIDED = "Your function divides by 0 here.\nDivide by a1 - a0 alone: accuracies may be 0 and 1, and a1 = a2."
EXERCISE = Exercise(
    "self_refine.fixed_point",
    reference=rates,
    what="your result",
    atol=1e-5,
    rtol=1e-5,
    form=_parts,
    explain=_explain,
    right="Subtract the two equations: a2 - a1 = (1 - f - c)(a1 - a0).",
    errors={
        "ZeroDivisionError": DIVIDED,
        "LinAlgError": "Your equations do not determine the rates: are they one equation twice? There is one for "
        "each round.",
    },
    cases=[  # GSM8K, Huang et al. (2024), tables 3 and 4
        case("GPT-4 on GSM8K, after 0, 1 and 2 rounds of intrinsic self-correction", 0.955, 0.915, 0.89),
        case("GPT-3.5 on GSM8K", 0.759, 0.751, 0.747),
        case("Llama-2 on GSM8K", 0.62, 0.435, 0.365),
        case("accuracies that rise", 0.3, 0.47, 0.55),
        case("accuracies that fall and rise again (f + c > 1)", 0.758, 0.381, 0.418),
        case("a second round that changes nothing", 0.26, 0.25, 0.25),
        case("everything is wrong at the start", 0.0, 0.2, 0.3, names=False),
        case("everything is right at the start", 1.0, 0.9, 0.85, names=False),
        case("everything is right after a round", 0.4, 1.0, 1.0, names=False),
        case("everything is wrong after a round", 0.4, 0.0, 0.0, names=False),
        case("faster and faster, which no rates from 0 to 1 do, and the ones outside say so", 0.06, 0.16, 0.34),
    ],
    mistakes={
        "f and c are swapped: the stub asks for (f, c, a*).\n"
        "f belongs to the wrong answers, 1 - a, and c to the right ones, a.": _rates(lambda f, c: (c, f)),
        "Your f and c explain each change by one rate alone, as if a round only repaired or only broke.\n"
        "Both happen at once, and you see only their sum: it takes two rounds to tell them apart.": [
            *[_alone(0, 1, 0, 1), _alone(0, 1, 1, 2), _alone(1, 2, 0, 1), _alone(1, 2, 1, 2)],
            lambda a, b, d: (b - a, a - b, ANYTHING),
        ],
        "One of your numbers is f + c, its half, or 1 - f - c: the ratio of the two changes gives no more.\n"
        "A second equation tells f and c apart: a1 = f + (1 - f - c) a0.": [
            *[_rates(lambda f, c: (f + c, 1 - f - c)), _rates(lambda f, c: (1 - f - c, f + c))],
            _rates(lambda f, c: ((f + c) / 2, (f + c) / 2)),
        ],
        "Your ratio is (a1 - a0) / (a2 - a1).\nIt is the newer change that is 1 - f - c times the older one.": _from_s(
            lambda a, b, d: (b - a) / (d - b)
        ),
        "Yours is the ratio of the accuracies.\nIt is the changes that shrink by 1 - f - c.": [
            *[_from_s(lambda a, b, d: d / b), _from_s(lambda a, b, d: b / a)],
        ],
        "In yours f + c is the ratio of the changes.\nThat ratio is what remains of a difference, 1 - f - c.": [
            _from_s(lambda a, b, d: 1 - _s(a, b, d)),
            lambda a, b, d: ((f := (b - _s(a, b, d) * a)), _s(a, b, d) - f, ANYTHING),
        ],
        "Your c has the wrong sign.\nBroken answers are taken away, a' - a = f (1 - a) - c a.": _rates(
            lambda f, c: (f, -c)
        ),
        "Your second number is 1 - c, the share of right answers that stay right.\n"
        "Return c, the share that is broken.": _rates(lambda f, c: (f, 1 - c)),
        "These solve equations with a' on the right side.\nThe change belongs there, f (1 - a) - c a = a' - a.": _solve(
            lambda a, b, d: [[1 - a, -a], [1 - b, -b]], lambda a, b, d: [b, d]
        ),
        "These solve equations with the accuracy after each round.\nA round changes what was there before it.": _solve(
            lambda a, b, d: [[1 - b, -b], [1 - d, -d]]
        ),
        "f is computed from another accuracy than the one before the round.\n"
        "a1 = f + (1 - f - c) a0, or a2 = f + (1 - f - c) a1.": [
            *[_from_s(_s, lambda s, a, b, d: b - s * b), _from_s(_s, lambda s, a, b, d: d - s * a)],
            *[_from_s(_s, lambda s, a, b, d: d - s * d), _from_s(_s, lambda s, a, b, d: a - s * b)],
        ],
        "Your f and c add up to 1.\nThe two rates belong to different answers and need not.": [
            *[_rates(lambda f, c: (f, 1 - f)), _rates(lambda f, c: (1 - c, c))],
        ],
        "Your rates are clipped to [0, 1], or their sign is lost.\nA rate outside shows that the model does not fit.": [
            _rates(lambda f, c: np.clip([f, c], 0, 1)),
            _rates(lambda f, c: (abs(f), abs(c))),
            _from_s(lambda a, b, d: abs(_s(a, b, d))),
        ],
        "Your rates are in percent.\nThe stub asks for shares.": _rates(lambda f, c: (100 * f, 100 * c)),
        "These are the shares that are not repaired and not broken, 1 - f and 1 - c.\nReturn f and c.": _rates(
            lambda f, c: (1 - f, 1 - c)
        ),
        ROUNDED: [_rates(lambda f, c, n=n: (round(f, n), round(c, n))) for n in (3, 2, 1)],
        f"{RIGHT}your fixed point is c / (f + c), the share that stays wrong.": _star(lambda f, c, star: 1 - star),
        f"{RIGHT}your fixed point is the quotient of the rates.\na* = a* (1 - c) + (1 - a*) f gives f / (f + c).": [
            _star(lambda f, c, star: f / c),
            _star(lambda f, c, star: c / f),
        ],
        f"{RIGHT}the third number should be where further rounds would lead, not an accuracy that was given.\n"
        "That is f / (f + c).": [
            *[_given(lambda a, b, d: d), _given(lambda a, b, d: b), _given(lambda a, b, d: (a + b + d) / 3)],
        ],
        f"{RIGHT}the third number is an accuracy some rounds on.\nRounds without end lead to f / (f + c).": [
            _far(rounds) for rounds in (1, 2, 5, 10, 100)
        ],
        f"{RIGHT}the third number should be f / (f + c), not another combination of the two.": [
            *[_star(of) for of in (lambda f, c, _: f / (1 - f - c), lambda f, c, _: f + c, lambda f, c, _: 1 - f - c)],
            *[_star(of) for of in (lambda f, c, _: f / (f - c), lambda f, c, _: f / (1 - c), lambda f, c, _: f - c)],
            _star(lambda f, c, _: f / (f + 1 - c)),
        ],
        f"{RIGHT}your fixed point is in percent.\nA share is asked for.": _star(lambda f, c, star: 100 * star),
        f"{RIGHT}your fixed point is rounded or clipped.\nReturn it as it is.": [
            *[_star(lambda f, c, star: round(star, 2)), _star(lambda f, c, star: min(max(star, 0), 1))],
        ],
    },
    hints=[
        "Write the two rounds as two equations and subtract one from the other. What is left of f and c?",
        "a2 - a1 = (1 - f - c)(a1 - a0): call the bracket s. Then a1 = f + s a0 gives f, and c = 1 - s - f. Or write "
        "f (1 - a) - c a = a' - a for both rounds and solve the system of two equations.",
        "s = (a2 - a1) / (a1 - a0); f = a1 - s * a0; c = 1 - s - f; f, c, f / (f + c)",
    ],
)
