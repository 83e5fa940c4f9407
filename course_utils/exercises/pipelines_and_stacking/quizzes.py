"""The quiz of 09_pipelines_and_stacking: 1-best and n-best, errors that matter, the leak, extra inputs, luck, end to end."""

from __future__ import annotations

from course_utils.exercises.engine.quizzes import choice, register_quiz

register_quiz(
    "pipelines_and_stacking.quiz",
    [
        choice(
            "What does a 1-best pipeline throw away, which the sum over Y1 keeps?",
            [
                (
                    "How sure the first stage is, and all that the other hypotheses agree on against the best one",
                    "Yes: with .4 for one reading and .3 each for two that mean the same, the sum prefers their meaning, with .6.",
                ),
                (
                    "The first stage's best hypothesis, which the sum looks at more closely",
                    "The 1-best pipeline keeps exactly that one. What it drops are its probability and all the others.",
                ),
                (
                    "Nothing, as long as the first stage is right more often than not",
                    "It may be right in most cases and still lose the others, in which its doubt would have helped the second stage.",
                ),
                (
                    "The input X, which the sum passes on to the second stage",
                    "Neither passes X on: both suppose that Y2 depends on X through Y1 alone. Mixed input would add it.",
                ),
            ],
        ),
        choice(
            "The n-best list is made ten times as long, and the translations do not improve. What may be the reason?",
            [
                (
                    "The right words are in no hypothesis: all of them share the same error",
                    "Yes: the sum only weighs what is in the list. Look at the oracle, the WER of the best hypothesis of each list.",
                ),
                (
                    "The weights of ten times as many hypotheses no longer sum to 1",
                    "The softmax runs over whatever is in the list. What the new ones get is little, if they are much worse.",
                ),
                (
                    "The best hypothesis gets lost among the others",
                    "It stays in the list with the largest weight. A longer list adds terms, and takes none away.",
                ),
                (
                    "A sum over hypotheses needs the second stage to be trained on n-best lists",
                    "It needs P(Y2 | Y1) for each hypothesis, which any second stage has. Training on such lists is another idea.",
                ),
            ],
        ),
        choice(
            "Recogniser A has fewer word errors than B, and yet the translations of B's output are better. How can that be?",
            [
                (
                    "Its few errors hit the words that matter: WER counts `a` for `the` like a wrong name or a lost `not`",
                    "Yes: errors propagate with different weight. So compare first stages by what comes out at the END.",
                ),
                (
                    "That cannot be: fewer errors at the input are fewer errors at the output",
                    "Only if all errors cost the second stage the same. One lost negation is worse than three wrong articles.",
                ),
                (
                    "A's WER was divided by a longer reference",
                    "Both are compared on the same reference sentences, so they are divided by the same number.",
                ),
                (
                    "B gave longer hypotheses, and long ones have a lower WER",
                    "Inserted words count as errors. And B's WER is the higher one here.",
                ),
            ],
        ),
        choice(
            "A stacker learns from the predictions of a 1-nearest-neighbour model and a linear one. What if they are in-fold"
            " predictions?",
            [
                (
                    "The 1-NN finds each training row itself and looks perfect, so the stacker trusts the wrong model",
                    "Yes: on new rows it is not perfect at all. Out-of-fold predictions look as they will in use: Wolpert's point.",
                ),
                (
                    "Both look too good by the same amount, so that their weights stay right",
                    "They gain by how much they memorise: the 1-NN everything, the linear model little. This is what bends the weights.",
                ),
                (
                    "The stacker has too few rows to learn from",
                    "It has as many as there are training rows, in-fold or out-of-fold. What differs is whether they tell the truth.",
                ),
                (
                    "Only the test accuracy that is reported becomes too high",
                    "The test rows are untouched, and their accuracy is honest. It is LOWER, for the stacker has learned wrong weights.",
                ),
            ],
        ),
        choice(
            "Apertium's translation of the training sentences is given to a neural system as extra input. Phrase-based MT that was"
            " trained on the same sentences would leak. Why does Apertium not?",
            [
                (
                    "Its rules and dictionaries were written without these sentences: it is no better on them than on new ones",
                    "Yes: a phrase table has memorised its training translations, and would have to be trained without them, in folds.",
                ),
                (
                    "Its output is given together with the source, and mixed input cannot leak",
                    "The extra input leaks if it is better in training than in use, with the source beside it or without.",
                ),
                (
                    "Its translations are too poor for the neural system to rely on",
                    "Quality is not the question. A poor system may leak, and a good one need not: has it seen the row?",
                ),
                (
                    "It is deterministic, and gives the same translation of a sentence each time",
                    "So does the phrase-based system, once it is trained. And it then gives back what it has memorised, each time.",
                ),
            ],
        ),
        choice(
            "System A is better than B by 0.5 BLEU; the paired bootstrap's 95% interval for the difference is from -0.3 to 1.2. What"
            " follows?",
            [
                (
                    "This test set does not settle which is better: a difference of 0 is compatible with it",
                    "Yes: other sentences of the same kind could have turned the order round. More sentences narrow the interval.",
                ),
                (
                    "The two systems are equally good",
                    "The interval includes 0, and 1 as well. That a difference is not shown does not show that there is none.",
                ),
                (
                    "A is better, since most of the interval lies above 0",
                    "It points that way, but in more than 2.5% of the resamples B was ahead, and 0 lies inside.",
                ),
                (
                    "A is better in 95% of the sentences, and worse in the others",
                    "The interval is about the mean over a test set, not about single sentences: A may be worse on almost half of them.",
                ),
            ],
        ),
        choice(
            "A pipeline has much data for each of its two stages. A direct system needs (X, Y2) pairs. Which one is better?",
            [
                (
                    "The pipeline with few direct pairs; with many of them the direct system overtakes it",
                    "Yes: the direct system has no Y1 at which information is lost, but it must learn everything from its own pairs.",
                ),
                (
                    "The direct system always: no error of a first stage can propagate",
                    "With few pairs it has not even seen most inputs. The pipeline gets its knowledge from the data of both stages.",
                ),
                (
                    "The pipeline always: two simple problems are easier than one hard one",
                    "Easier to learn, yes. But what Y1 does not hold is lost for good, however much data there is.",
                ),
                (
                    "Both alike, if the pipeline sums over all Y1: it then computes the same P(Y2 | X)",
                    "Only if Y2 depended on X through Y1 alone and both stages were exact. A transcript, for one, has no intonation.",
                ),
            ],
        ),
    ],
)
