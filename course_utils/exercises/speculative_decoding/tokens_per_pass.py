"""How many tokens one pass of the target brings."""

from course_utils.ensembling.speculative import tokens_per_pass
from course_utils.exercises.engine import Exercise, case

EXERCISE = Exercise(
    "speculative_decoding.tokens_per_pass",
    reference=tokens_per_pass,
    what="your mean",
    errors={
        "ZeroDivisionError": "With alpha = 1 the fraction is 0/0. All gamma tokens are kept then, and one follows."
    },
    cases=[
        case("four of five proposals are kept, five at a time", alpha=0.8, gamma=5),
        case("a poor draft", alpha=0.3, gamma=4),
        case("one proposal", alpha=0.6, gamma=1),
        case("a draft that is never right: the target still writes one token", alpha=0.0, gamma=3),
        case("a draft that is always right", alpha=1.0, gamma=3),
        case("no proposal at all: plain decoding", alpha=0.7, gamma=0),
    ],
    mistakes={
        "The target's own token is missing.\nEach pass ends with one, after a rejection or after all were kept.": (
            lambda alpha, gamma: tokens_per_pass(alpha, gamma) - 1
        ),
        "This is 1 + gamma alpha.\nA token counts only if all before it were kept: alpha, alpha^2, ...": (
            lambda alpha, gamma: 1 + gamma * alpha
        ),
        "Only the case that all are kept is counted.\nSome of them are kept more often.": lambda alpha, gamma: (
            1 + gamma * alpha**gamma
        ),
        "This is 1 / (1 - alpha), the mean without a limit.\nAt most gamma are proposed.": lambda alpha, gamma: (
            1 / (1 - alpha)
        ),
        "The last term is missing: gamma kept tokens and the target's own are gamma + 1.": lambda alpha, gamma: float(
            sum(alpha**k for k in range(gamma))
        ),
        "There is one term too many: the target adds one token, not two.": lambda alpha, gamma: tokens_per_pass(
            alpha, gamma + 1
        ),
        "alpha and 1 - alpha are swapped: alpha is the chance that a token is kept.": lambda alpha, gamma: (
            tokens_per_pass(1 - alpha, gamma)
        ),
    },
    hints=[
        "How likely is it that at least k proposed tokens are kept?",
        "The mean of a count is the sum over k of the chance of at least k. And one token comes always.",
        "sum(alpha**k for k in range(gamma + 1))",
    ],
)
