"""How many tokens to propose, and whether at all."""

from course_utils.ensembling.speculative import best_gamma, speed, tokens_per_pass
from course_utils.exercises.engine import Exercise, case


def _best(of, first: int = 0):
    """The gamma with the largest of(alpha, gamma, draft, check), from `first` on."""
    return lambda a, d, c, most: max(range(first, most + 1), key=lambda gamma: of(a, gamma, d, c))


EXERCISE = Exercise(
    "speculative_decoding.best_gamma",
    reference=best_gamma,
    what="your number",
    errors={"ZeroDivisionError": "With alpha = 1 the closed form is 0/0: add up the terms instead."},
    cases=[
        case(
            "a good draft on a machine that checks tokens nearly for nothing",
            alpha=0.8,
            draft=0.05,
            check=0.02,
            most=12,
        ),
        case("a draft that takes a fifth of the target's time", alpha=0.8, draft=0.2, check=0.0, most=12),
        case(
            "a machine on which each checked token costs a quarter of a pass",
            alpha=0.7,
            draft=0.01,
            check=0.25,
            most=12,
        ),
        case("a poor draft on such a machine: do not speculate, 0", alpha=0.2, draft=0.01, check=0.4, most=12),
        case("nearly everything is kept: as many as allowed", alpha=0.98, draft=0.01, check=0.01, most=6),
        case("another draft", alpha=0.6, draft=0.1, check=0.05, most=12),
        case("always right, and yet no faster: of equal ones the smallest", alpha=1.0, draft=0.5, check=0.5, most=5),
    ],
    mistakes={
        "You maximise the tokens of a pass, not the tokens in a given time.\nDivide by the time of a round.": _best(
            lambda a, gamma, d, c: tokens_per_pass(a, gamma) + 1e-9 * gamma
        ),
        "The cost of checking is left out.\nEach proposed token makes the target's pass longer by check.": _best(
            lambda a, gamma, d, c: speed(a, gamma, d, 0.0)
        ),
        "The time of the draft is left out.\nIt is paid for each proposed token.": _best(
            lambda a, gamma, d, c: speed(a, gamma, 0.0, c)
        ),
        "You always propose at least one token.\n0 is allowed: with a poor draft plain decoding is the fastest.": _best(
            speed, 1
        ),
        "You count only the kept tokens.\nThe target's own token comes with each pass.": _best(
            lambda a, gamma, d, c: (tokens_per_pass(a, gamma) - 1) / (1 + gamma * (d + c))
        ),
        "The target's own pass, 1, is missing in the time of a round.": _best(
            lambda a, gamma, d, c: tokens_per_pass(a, gamma) / (gamma * (d + c)), 1
        ),
        "This is the speed that can be reached: return the gamma that reaches it.": lambda a, d, c, most: max(
            speed(a, gamma, d, c) for gamma in range(most + 1)
        ),
    },
    hints=[
        "What does a round bring, and how long does it take, both as a function of gamma?",
        "Tokens: 1 + alpha + ... + alpha^gamma. Time: 1 + gamma (draft + check). Try all gamma from 0 to most.",
        "max(range(most + 1), key=lambda g: sum(alpha**k for k in range(g + 1)) / (1 + g * (draft + check)))",
    ],
)
