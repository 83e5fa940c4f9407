"""Exercises of notebook 11: the loop of Self-Refine, the two-rate model both ways, pass@k, coverage of keywords, measured rates.

The references of the first three do what the library's functions do (course_utils/refinement/self_refine.py), written for one case.
"""

from __future__ import annotations

from course_utils.exercises import self_refine_best_of_n as best_of_n
from course_utils.exercises import self_refine_coverage as cover
from course_utils.exercises import self_refine_fixed_point as fixed
from course_utils.exercises import self_refine_loop as loop
from course_utils.exercises import self_refine_paired as paired
from course_utils.exercises import self_refine_quizzes  # noqa: F401 (registers the quiz)
from course_utils.exercises import self_refine_rates as rates
from course_utils.exercises.engine import Exercise, register

register(
    Exercise(
        "self_refine.loop",
        loop.self_refine_loop,
        [loop.loop_rounds, loop.loop_stops, loop.loop_none, loop.loop_repeated, loop.loop_cleared],
        hints=[
            "Write down by hand, for max_rounds = 2, which function is called when, and with what. Which call comes last?",
            (
                "Keep two lists, answers = [generate(x)] and feedbacks = []. In round t: append the feedback on answers[-1], ask stop,"
                " and only then append the rewrite. The history is made of the two lists."
            ),
            "for t in range(max_rounds): ...; the history as a new list each time: list(zip(answers, feedbacks))",
        ],
    )
)
register(
    Exercise(
        "self_refine.two_rate",
        rates.two_rate,
        [rates.rates_rise, rates.rates_fall, rates.rates_swing, rates.rates_ends],
        hints=[
            "Of 100 answers a * 100 are right before a round. How many of these are still right after it, and how many others are new?",
            "a (1 - c) stay right, and (1 - a) f of the wrong ones become right. Each round starts from what the last one has left.",
            "accuracies = [a0]; rounds times: a = accuracies[-1]; accuracies.append(a * (1 - c) + (1 - a) * f)",
        ],
    )
)
register(
    Exercise(
        "self_refine.fixed_point",
        fixed.rates,
        [fixed.fixed_gpt4, fixed.fixed_rising, fixed.fixed_swinging, fixed.fixed_outside],
        hints=[
            "Write the two rounds as two equations and subtract one from the other. What is left of f and c?",
            (
                "a2 - a1 = (1 - f - c)(a1 - a0): call the bracket s. Then a1 = f + s a0 gives f, and c = 1 - s - f. Or write f (1 - a)"
                " - c a = a' - a for both rounds and solve the system of two equations."
            ),
            "s = (a2 - a1) / (a1 - a0); f = a1 - s * a0; c = 1 - s - f; f, c, f / (f + c)",
        ],
    )
)
register(
    Exercise(
        "self_refine.best_of_n",
        best_of_n.pass_at_k,
        [best_of_n.best_small, best_of_n.best_ends, best_of_n.best_big],
        hints=[
            "In how many ways can k of the n samples be chosen, and in how many of these is none of the c right ones among them?",
            "All choices: C(n, k). Choices from the n - c wrong ones only: C(n - c, k). Which Python function counts them exactly?",
            "1 - math.comb(n - c, k) / math.comb(n, k): integers of any length, and 0 if n - c < k",
        ],
    )
)
register(
    Exercise(
        "self_refine.coverage",
        cover.coverage,
        [cover.coverage_plain, cover.coverage_written, cover.coverage_repeated, cover.coverage_ends],
        hints=[
            "First make the set of all words of the text. What has to be the same for text and keyword before they are compared?",
            (
                "re.findall(r'[a-z]+', text.lower()) gives the runs of letters. dict.fromkeys(keywords) holds each keyword once, in"
                " order. Compare word.lower(), and return word."
            ),
            (
                "words = set(re.findall(r'[a-z]+', text.lower())); wanted = list(dict.fromkeys(keywords)); missing = [w for w in wanted"
                " if w.lower() not in words]; the share of the others, 1.0 if wanted is empty"
            ),
        ],
    )
)
register(
    Exercise(
        "self_refine.net_gain",
        paired.paired_rates,
        [paired.paired_level, paired.paired_random, paired.paired_empty],
        hints=[
            "Take the items apart by what they were BEFORE the round. Of each of the two groups: which share has changed sides?",
            "after[~before] are the answers after the round to what was wrong before. Their mean is f. And c? And an empty group?",
            "f = after[~before].mean() if (~before).any() else 0.0; c = (~after)[before].mean() if before.any() else 0.0",
        ],
    )
)
