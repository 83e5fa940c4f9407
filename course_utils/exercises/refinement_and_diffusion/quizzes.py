"""The quiz of 10_refinement_and_diffusion: few steps, old probabilities, two kinds of loss, Bayes' rule, noise, masks and edits."""

from __future__ import annotations

from course_utils.exercises.engine.quizzes import choice, register_quiz

register_quiz(
    "refinement_and_diffusion.quiz",
    [
        choice(
            "Half of all texts are AB, half are CD. A perfect model fills both masks of [MASK][MASK] in ONE step, each drawn by itself."
            " What comes out?",
            [
                (
                    "AB, CD, AD and CB, a quarter each: half of the results are texts that do not exist",
                    "Yes: each position has the right chances, but the two do not know of each other. With two steps the second sees the"
                    " first.",
                ),
                (
                    "AB or CD, because a perfect model knows that nothing else exists",
                    "It knows, but it can only say P(first) and P(second). A product of the two cannot say that A goes with B.",
                ),
                (
                    "Always AB, because the model takes the more probable text",
                    "The two are equally probable, and tokens are drawn here, not chosen as the most probable.",
                ),
                (
                    "Anything of the alphabet, because with all tokens masked nothing is known",
                    "The model has learned the data: only A and C come first, only B and D second. What it lacks is their connection.",
                ),
            ],
        ),
        choice(
            "In Mask-Predict the probability of a token that stays is the one from when it was predicted. What follows?",
            [
                (
                    "A token that was sure early on is hardly looked at again, though it may no longer fit its neighbours",
                    "Yes: only masked positions are predicted, so only they get new probabilities. That is cheap, and a known weakness.",
                ),
                (
                    "All tokens become surer from step to step, so that the loop ends by itself",
                    "Values that are kept do not grow. And the number of steps T is fixed before: it sets how many are masked.",
                ),
                (
                    "Nothing: the context does not change the probability of a token",
                    "It is P(token | the unmasked ones): as others are replaced, it would be another number if it were computed anew.",
                ),
                (
                    "The same tokens are masked in every iteration, the lowest of the first one",
                    "Those that were masked get new probabilities. If these are high, others are the lowest next time.",
                ),
            ],
        ),
        choice(
            "BERT's loss is the mean of -log p over the masked tokens. Why does masked diffusion divide by ALL tokens and weight by"
            " 1/share?",
            [
                (
                    "Only then is the mean over all shares a bound on -log p(text): a number that can be compared with other models'",
                    "Yes. In one term of the chain rule each token is predicted once; the weight makes up for how seldom a token is"
                    " masked.",
                ),
                (
                    "Because the masked tokens are easier than the others, and would make the loss too small",
                    "A visible token would be easier still, it can be read. The weight comes from the bound, not from how hard tokens are.",
                ),
                (
                    "To keep the loss between 0 and 1 whatever the share is",
                    "Nats have no upper limit, and 1/share makes single losses larger. What it keeps is the mean.",
                ),
                (
                    "Because the gradient of BERT's loss is 0 at small shares",
                    "It is not: BERT is trained with 15%. Both losses train the model; one of them also says how probable a text is.",
                ),
            ],
        ),
        choice(
            "The absorbing process masks t/T of the tokens after t steps on average. How likely is a token that is left until then to be"
            " masked in the LAST step, t = T?",
            [
                (
                    "It is certain: beta_T = 1 / (T - T + 1) = 1, so that in the end nothing is left",
                    "Yes: each step takes 1/T of ALL tokens, which is a growing part of those that are left.",
                ),
                (
                    "1/T, as in every other step",
                    "1/T is its part of all tokens. Of those that are still left it is 1 / (T - t + 1), here 1/1.",
                ),
                (
                    "(T - 1)/T, since so many were masked before",
                    "That many ARE masked before. The question is about the few that are not: they are all masked now.",
                ),
                (
                    "It depends on the token, since frequent words are masked first",
                    "The process knows no words: all tokens have the same chance. (One could make it depend on them, but did not here.)",
                ),
            ],
        ),
        choice(
            "q(x_{t-1} | x_t, x_0) for the absorbing process: x_t at a position is NOT the mask. What was x_{t-1} there?",
            [
                (
                    "The same token, for certain: what is masked stays masked, so this one has never been masked",
                    "Yes: this is why sampling never changes a token that it has decided on, right or wrong.",
                ),
                (
                    "The mask with chance 1/t, for one of the t steps has uncovered it",
                    "1/t is the chance that a MASK is uncovered on the way back. Going forward no step uncovers anything.",
                ),
                (
                    "Any of the K tokens, with the chances that the model gives",
                    "No model is asked: x_t and x_0 are known. Only with the uniform process could it have been another token.",
                ),
                (
                    "Unknown: the posterior needs the model's prediction of x_0 first",
                    "x_0 is given here, and it is x_t itself. Training compares the model with this; only sampling has to guess x_0.",
                ),
            ],
        ),
        choice(
            "A sampler of the absorbing process uncovers a wrong token early. A sampler of the uniform process draws a wrong token early."
            " Which can repair it?",
            [
                (
                    "The uniform one: there every token may still change; with masks a token that is uncovered stays",
                    "Yes. All the same, masks did better on text: a mask says where something is missing, a wrong word does not.",
                ),
                (
                    "The absorbing one: it masks the token again as soon as it is improbable",
                    "That is Mask-Predict, which doubts its tokens. The posterior of the absorbing process keeps them with certainty.",
                ),
                (
                    "Both: every step of a diffusion model draws all positions anew",
                    "With masks only the masked positions have a choice: the posterior gives an uncovered token the chance 1.",
                ),
                (
                    "Neither: a step of a diffusion model only adds tokens",
                    "In the uniform process there is nothing to add: all positions hold tokens at all times, and each step may replace"
                    " some.",
                ),
            ],
        ),
        choice(
            "DDPM's sampler adds noise in every step, though it is to take noise out. Why, and why not at t = 1?",
            [
                (
                    "x_{t-1} is a distribution, so one draws from it; at t = 1 the result is the data, and noise would stay in it",
                    "Yes: without noise the steps lead towards means, and samples lack variety. The last step returns the mean itself.",
                ),
                (
                    "It hides the model's errors, which are largest at the beginning and 0 at t = 1",
                    "Errors are not hidden by noise, and there are some at t = 1. The noise is part of the distribution that is drawn"
                    " from.",
                ),
                (
                    "It is the noise that was predicted, put back in; at t = 1 none was predicted",
                    "The predicted noise is taken out, at t = 1 as well. What is added is new and independent of it.",
                ),
                (
                    "Because beta_t must not be 0 in any step; but beta_1 is 0",
                    "beta_1 is the smallest but not 0: 0.0001 in the paper. The noise is left out since this is the end.",
                ),
            ],
        ),
        choice(
            "A draft lacks its second word; all others are right. What can a model that works by edits do that a model with masks cannot?",
            [
                (
                    "Insert a word between two others: the masks' number of positions is fixed, so all later words would have to move",
                    "Yes: with positions fixed, every later token is wrong by one place. One INSERT repairs it.",
                ),
                (
                    "Find the wrong place: a model with masks has no probabilities for the tokens of a draft",
                    "It can have them, and Mask-Predict uses them to choose what is doubted. It is the number of places that cannot"
                    " change.",
                ),
                (
                    "Work in several steps: a model with masks fills everything at once",
                    "Both work in steps. Mask-Predict and masked diffusion are steps of filling; edits are steps of rewriting.",
                ),
                (
                    "Start from a text in place of pure noise: masks need a text that is masked throughout",
                    "A draft can be masked in part and filled again. But each mask stands for exactly one token.",
                ),
            ],
        ),
    ],
)
