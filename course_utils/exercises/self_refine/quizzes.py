"""The quiz of 11_self_refine: oracles, equal budgets, withdrawn figures, ablations, the two rates, verifiers."""

from __future__ import annotations

from course_utils.exercises.engine.quizzes import choice, register_quiz

register_quiz(
    "self_refine.quiz",
    [
        choice(
            "Huang et al. (2024): on GSM8K GPT-3.5 goes from 75.9 to 84.3 with oracle labels, and to 75.1 and 74.7 without. Same model,"
            " same prompts: what does the oracle do?",
            [
                (
                    "It ends the loop where the answer is right, so that nothing is broken (c = 0) and only repairs are left to count",
                    "Yes: without it the model has to tell by itself which answers are right. It rewrites right ones too, and breaks more"
                    " of them than it repairs of the others. In use there is no such label.",
                ),
                (
                    "It tells the model the right answer, which the model then has only to copy",
                    "It says only whether an answer is right. With the answer itself, the accuracy would be near 100, and not 84.3.",
                ),
                (
                    "It makes the model better at repairing, since it knows that something is wrong",
                    "Perhaps a little, but that does not explain the FALL without it: this comes from right answers that are rewritten.",
                ),
                (
                    "It allows more rounds, since the loop goes on until the label says right",
                    "More rounds alone do not help: without labels the second round is worse than the first.",
                ),
            ],
        ),
        choice(
            "A loop of three rounds, with feedback from tests, solves 70% of the tasks, and the first answer 50%. Best-of-7 with the same"
            " tests is run as a control. What does it control for?",
            [
                (
                    "For the calls: three rounds are 1 + 2 * 3 = 7 of them, and seven independent tries, of which the tests choose, may"
                    " solve as many",
                    "Yes: only what the loop gains over best-of-7 can come from the feedback and the rewriting.",
                ),
                (
                    "For luck in the choice of tasks: seven runs are averaged, so that the 70% has a smaller error",
                    "Best-of-n does not average: of seven tries the tests choose the best. For the error one resamples the tasks.",
                ),
                (
                    "For the quality of the tests: best-of-7 does not use them, and shows what the model can do alone",
                    "It uses the same tests, to choose. Without any verifier seven tries would need a majority vote.",
                ),
                (
                    "For the length of the prompt: the history grows from round to round, and long prompts help by themselves",
                    "Independent tries all have the short prompt: they differ in this too. What is equal is the number of calls.",
                ),
            ],
        ),
        choice(
            "A picture on the project's page shows Self-Refine's gain on math as 71.3 to 76.2. In the paper's last version it is 64.1 to"
            " 64.1, 74.8 to 75.0 and 92.9 to 93.1. Which should be quoted, and why did the gain go?",
            [
                (
                    "The last version: the picture is from the first one, whose set-up was weaker, and in the better set-up nearly"
                    " nothing is left to gain by self-feedback",
                    "Yes: a gain over a weak start can be that of a better start. Feedback such as `it is all right` repairs nothing.",
                ),
                (
                    "The picture: it is newer than the paper, and shows the newest models",
                    "The page still shows the table of the first version of the paper. The last version has replaced it.",
                ),
                (
                    "Both: they are two samples of one experiment, and differ as much as chance allows",
                    "They are not samples of one experiment: the set-up is another one. And five points on GSM8K are more than chance.",
                ),
                (
                    "Neither: math answers cannot be scored by a program, so both were judged by another model",
                    "They can: the final number is right or wrong. It is tasks like dialogue that need a judge.",
                ),
            ],
        ),
        choice(
            "Feedback that is specific, generic, or none at all, gives on sentiment reversal 43.2, 31.2, 0; on acronyms 56.4, 54.0, 48.0;"
            " on code 27.5, 26.0, 24.8. What does this ablation show?",
            [
                (
                    "What the feedback says matters on all three, on one above all; on the others most is reached without any",
                    "Yes: what feedback brings is the difference to `none`, 43.2, 8.4 and 2.7 points, and not that to the first answer.",
                ),
                (
                    "Specific feedback is what all the gain comes from, on all three tasks",
                    "On acronyms 48.0 is reached without any, of 56.4. Only on sentiment reversal nothing is left without it.",
                ),
                (
                    "Feedback does not matter much: on two of three tasks the three figures are close together",
                    "On the third it is the difference between 43.2 and nothing. One sentence for all tasks hides this.",
                ),
                (
                    "A stronger critic would help most on code, where the figures are lowest",
                    "No stronger critic was tried. That the figures are low says nothing on how they depend on the critic.",
                ),
            ],
        ),
        choice(
            "A round repairs half of the wrong answers and breaks 5% of the right ones. 95% are right at the start. Is the round worth it?",
            [
                (
                    "No: 2.5 of 100 answers are repaired and 4.75 broken. It helps only below f / (f + c), here 91%",
                    "Yes: the better the start, the less is left to repair and the more there is to break.",
                ),
                (
                    "Yes: ten times as many are repaired as broken, since f is ten times c",
                    "The rates are shares of different answers: f of the 5 that are wrong, c of the 95 that are right.",
                ),
                (
                    "Yes in the first round; a second one would then find nothing more to repair",
                    "The first round already loses 2.25 of 100. The second would lose less, as the accuracy comes nearer to 91%.",
                ),
                (
                    "That cannot be told without knowing which answers are broken",
                    "For the accuracy it does not matter which: their number, 4.75 of 100 on average, is enough.",
                ),
            ],
        ),
        choice(
            "The accuracy is 60% before a round and 60% after it. What has the round done?",
            [
                (
                    "That cannot be told: nothing at all, or many answers repaired and as many broken. Pair the items to see it",
                    "Yes: at f = .3 and c = .2, 12 of 100 are repaired and 12 broken. An oracle would have left those 12 alone.",
                ),
                (
                    "Nothing: the model has kept its answers, as GPT-3.5 does in three of four cases",
                    "It may have, and the accuracy does not say so: an exchange of right and wrong leaves it as it is.",
                ),
                (
                    "It has repaired and broken with equal rates, f = c",
                    "Equal NUMBERS. With 40 wrong and 60 right ones, 40 f = 60 c: the rates are as 3 to 2.",
                ),
                (
                    "It has come to the end: more rounds would find nothing to change",
                    "At the fixed point the accuracy stays, and the answers go on changing, as many one way as the other.",
                ),
            ],
        ),
        choice(
            "The feedback comes from unit tests, and the loop ends when they pass. What if they pass a program that is wrong?",
            [
                (
                    "The loop ends on that wrong program, so that it is never repaired; what is right is not broken by this",
                    "Yes: too weak tests lower f and leave c at 0. A test that fails right programs would make c > 0.",
                ),
                (
                    "c rises, for a passing program is rewritten in the next round",
                    "A passing program ends the loop: nobody rewrites it. c grows if tests FAIL programs that are right.",
                ),
                (
                    "Nothing, as long as the tests are run outside the model: then the feedback is sure to be right",
                    "From outside does not mean complete. A verifier knows only what it looks at, and the loop then aims at that.",
                ),
                (
                    "The loop runs to max_rounds, since the program never becomes right",
                    "The loop does not know that it is wrong: all tests pass, and it ends at once.",
                ),
            ],
        ),
        choice(
            "pass@10 of a model is 80%, and pass@1 is 30%. What can be expected of its answers if ten are drawn for each task?",
            [
                (
                    "80% of the tasks have a right one among the ten; to hand out that one, something must tell it from the others",
                    "Yes: pass@k counts with a perfect verifier. A majority vote, or the model's own score, gets less.",
                ),
                (
                    "A majority vote over the ten is right on 80% of the tasks",
                    "A vote needs the right answer to be the most FREQUENT one. One of ten counts for pass@10, and loses the vote.",
                ),
                (
                    "8 of the ten answers are right on average",
                    "On average 3 of ten: that is pass@1. On some tasks nearly all are right and on others none.",
                ),
                (
                    "97%, as 1 - .7^10, of the tasks have a right one among the ten",
                    "That would hold if all tasks were equally hard. They are not, which is why pass@10 is measured task by task.",
                ),
            ],
        ),
    ],
)
