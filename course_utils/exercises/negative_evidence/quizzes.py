"""The quiz of 02_negative_evidence: the filter, the missing negative, small experts, a negative lam."""

from __future__ import annotations

from course_utils.exercises.engine.quizzes import choice, register_quiz

register_quiz(
    "negative_evidence.quiz",
    [
        choice(
            "DExperts takes the core's nucleus first and adds λ (log P_pos − log P_neg) afterwards. Why in this order?",
            [
                (
                    (
                        "In the tail both experts give tiny probabilities whose ratio can still be huge: added first,"
                        " it lifts tokens that the core holds impossible"
                    ),
                    (
                        "Yes: log(10⁻⁶ / 10⁻⁹) is as much evidence as log(0.5 / 0.0005), though the former is noise."
                        " The core's nucleus says what is fluent here, the difference chooses among it."
                    ),
                ),
                (
                    "To save time: the experts need to compute only the tokens that are left",
                    (
                        "The experts compute a softmax over the whole vocabulary all the same. The filter changes what"
                        " can be emitted, not the cost."
                    ),
                ),
                (
                    "The order does not matter: a filter and a sum can be exchanged",
                    (
                        "The nucleus depends on the distribution it is taken of. After the difference it is the nucleus"
                        " of the result, and may consist of the very tokens that the core had ruled out."
                    ),
                ),
                (
                    "Otherwise the result would not sum to 1",
                    "The last softmax makes every order sum to 1. The question is over which tokens.",
                ),
            ],
        ),
        choice(
            "Translation: P_NMT · (P_LM-in / P_LM-out)^λ. What goes wrong if the out-of-domain LM is left out?",
            [
                (
                    (
                        "What both LMs know of the language counts twice: frequent words and short outputs gain,"
                        " whether they belong to the domain or not"
                    ),
                    (
                        "Yes: this is shallow fusion with LM-in alone. The NMT model is a language model of its target"
                        " side already. Dividing by LM-out cancels what they share and leaves the domain; and the"
                        " exponents sum to 1 again, so the distribution does not become sharper as λ grows."
                    ),
                ),
                (
                    "Nothing: the NMT model was trained out of the domain and stands for LM-out",
                    (
                        "It is multiplied, not divided by: its exponent is +1. Nothing then takes away the part of"
                        " log P_LM-in that is no evidence of the domain."
                    ),
                ),
                (
                    "Words that are not in the in-domain text get probability 0",
                    (
                        "A neural LM gives every token more than 0. And that would be LM-in's own trouble, with or"
                        " without LM-out."
                    ),
                ),
                (
                    "The translation can no longer be normalised",
                    (
                        "Z is a sum over the vocabulary, and it is finite for any exponents as long as no divisor is 0:"
                        " with a factor less there is even less to go wrong."
                    ),
                ),
            ],
        ),
        choice(
            "Can experts of 135 million parameters steer a core that is a hundred times larger?",
            [
                (
                    (
                        "Yes, if they share its vocabulary: only the difference of the two is added, and what they both"
                        " do badly cancels"
                    ),
                    (
                        "Yes: in the paper small experts steer GPT-2 large as well as large ones do, and GPT-3 too. The"
                        " core stays responsible for fluency."
                    ),
                ),
                (
                    "No: the result can be no better than the weakest model in it",
                    (
                        "That would hold for a pipeline. Here the experts' common weakness is in the numerator AND in"
                        " the denominator."
                    ),
                ),
                (
                    "Only after the core was fine-tuned on the experts' text",
                    "The core is never touched: it may even be an API that returns log-probabilities.",
                ),
                (
                    "Yes, whatever their tokenisers are",
                    (
                        "Token 7 must be the same piece of text in all three: log-probabilities of different"
                        " vocabularies cannot be added up."
                    ),
                ),
            ],
        ),
        choice(
            "The positive expert knows kind text, the negative one rude text. What does λ = −1 do?",
            [
                (
                    "It makes the text RUDER than the core's: the two experts change places",
                    (
                        "Yes: −1 · (log P_pos − log P_neg) = log P_neg − log P_pos. One pair steers both ways, which is"
                        " also the danger of publishing a filter."
                    ),
                ),
                (
                    "The same as λ = 0: a weight below 0 counts as none",
                    ("λ = 0 gives the core back. A negative exponent divides, 0.1^−1 = 10: nothing cuts it off at 0."),
                ),
                (
                    "It gives no distribution: the score of some tokens is negative",
                    (
                        "Scores are logarithms and may have any sign: log-probabilities are below 0 anyway. The softmax"
                        " takes them all."
                    ),
                ),
                (
                    "It flattens the distribution, like a high temperature",
                    (
                        "The exponents 1, −1 and +1 still sum to 1: where the experts agree, the core is left exactly"
                        " as sharp as it was."
                    ),
                ),
            ],
        ),
    ],
)
