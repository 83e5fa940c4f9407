"""The quiz of 07_mixture_of_experts: -inf, one expert, balance, capacity, cost, what experts learn, several processes."""

from __future__ import annotations

from course_utils.exercises.engine.quizzes import choice, register_quiz

register_quiz(
    "mixture_of_experts.quiz",
    [
        choice(
            "The scores of experts that were not chosen become -inf, not 0. What would 0 do?",
            [
                (
                    "Give each of them exp(0) = 1 in the softmax's sum, and so a share of every token",
                    "Yes, and a larger one than a chosen expert with a negative score has. Only exp(-inf) is 0, exactly.",
                ),
                (
                    "Nothing, for 0 is the lowest score there is, and the softmax makes it a gate of 0",
                    "Scores have both signs, and the softmax of 0 is exp(0) divided by the sum: never 0.",
                ),
                (
                    "Make the softmax divide by zero, which gives nan",
                    "The sum of exponentials is positive. (A row that is -inf everywhere would give nan: this is why k is at least 1.)",
                ),
                (
                    "Keep the gates as they are, but stop the gradient of the experts that were not chosen",
                    "It is -inf that stops it: a gate of exactly 0 needs no evaluation. With 0 they would get a share, and a gradient.",
                ),
            ],
        ),
        choice(
            "A gate with k = 1 takes the softmax after the choice, as in this notebook. What does W_g learn from the task's loss?",
            [
                (
                    "Nothing: the softmax of a single score is 1, whatever the score is, so its gradient is 0",
                    "Yes: therefore k of at least 2 here. The Switch Transformer takes the softmax of all scores BEFORE it chooses.",
                ),
                (
                    "Half as much as with k = 2, because half as many experts send a gradient back",
                    "It is not half but nothing at all: a gate that is always 1 does not depend on its score.",
                ),
                (
                    "To choose the best expert, more sharply than with k = 2, since there is no second one",
                    "It cannot: nobody tells it how another choice would have done. The choice itself has no gradient.",
                ),
                (
                    "To make all of its scores larger, since the gate of the chosen expert is to grow",
                    "The gate is 1 already and stays 1. A larger score changes nothing, so that no gradient asks for it.",
                ),
            ],
        ),
        choice(
            "You train with a balance loss. What does it buy, and what does it cost?",
            [
                (
                    "All experts are trained and filled alike; but its gradient may send tokens to experts that suit them less",
                    "Yes: hence the small weight, 0.1 or 0.01. Without it a few experts get most tokens, learn most and are chosen more.",
                ),
                (
                    "All tokens get the same expert in turn; but the gate's weights stay at zero",
                    "Taking turns would be even, but without any choice. The loss leaves the choice to the gate and makes extremes dear.",
                ),
                (
                    "Fewer experts are evaluated for each token; but the gates no longer sum to 1",
                    "It is k that says how many are evaluated, and the softmax that makes the sum 1. Balance is over many tokens.",
                ),
                (
                    "The task's loss falls faster in every training; but each step takes E times as long",
                    "It costs next to nothing to compute. And it may harm the task's loss, if its weight is too large.",
                ),
            ],
        ),
        choice(
            "64 tokens, 8 experts, k = 1, capacity factor 1.25. 14 tokens choose the same expert. What happens?",
            [
                (
                    "It takes 10, and the other 4 get nothing from this layer: they pass by on the residual connection",
                    "Yes: 1.25 times 64 / 8 is 10. A larger factor drops fewer tokens, and reserves more room that stays empty.",
                ),
                (
                    "It takes all 14, because a capacity limits the memory and not the tokens",
                    "The room is reserved in tokens: that makes tensors of a fixed shape, and 14 do not go into 10 rows.",
                ),
                (
                    "It takes 8, and the other 6 are sent to the nearest expert with room",
                    "8 would be the factor 1. And in Switch a token that overflows is not sent anywhere else: it is dropped.",
                ),
                (
                    "It takes 10, and the other 4 are removed from the text, which becomes shorter",
                    "Dropped means: not changed by this layer. They are there in the next one, by the residual connection.",
                ),
            ],
        ),
        choice(
            "Mixtral 8x7B has about 47 billion parameters, of which 13 are active. Which number decides what?",
            [
                (
                    "The 13 the arithmetic for each token, the 47 the memory: any expert may be chosen for the next token",
                    "Yes. And a large batch reads nearly all experts in each step, since its tokens choose different ones.",
                ),
                (
                    "The 13 both: experts that are not chosen need neither time nor memory",
                    "They need no time for this token. But the next one may choose them, so they must be loaded.",
                ),
                (
                    "The 47 both: the gate has to evaluate every expert before it can choose",
                    "The gate is a product with a small matrix, x W_g. It chooses before any expert is evaluated.",
                ),
                (
                    "The 47 the time and the 13 the memory: the chosen ones alone are loaded, one after the other",
                    "It is the other way round. Loading experts when they are chosen is possible, but it is slow, not free.",
                ),
            ],
        ),
        choice(
            "What does an expert of a trained language model specialise in?",
            [
                (
                    "That must be measured; found were mostly tokens and syntax (numbers, indentation), hardly topics",
                    "Yes: Mixtral's authors saw no clear pattern by topic. Count which tokens each expert gets before you name it.",
                ),
                (
                    "In a topic, such as biology or law: this is what the word expert stands for",
                    "The word is only a name. The gate sees one token's hidden state, and no part of the loss asks for topics.",
                ),
                (
                    "In nothing: the balance loss makes all experts see the same tokens and become equal",
                    "It evens out how MANY tokens each gets, not which ones. Copies of one expert would be found by measuring, too.",
                ),
                (
                    "In one layer of the network each: low experts in words, high ones in meaning",
                    "Each layer has experts and a gate of its own, and a token chooses anew in each. Experts are not layers.",
                ),
            ],
        ),
        choice(
            "The experts lie on several processes, and each process has its own part of the batch. Why two all-to-all for each layer?",
            [
                (
                    "One sends each token to where its experts are, one sends the results back to where the token came from",
                    "Yes: any process may have tokens for any other. And all wait for the slowest, so an uneven load costs time.",
                ),
                (
                    "One sends the weights of the chosen experts to the tokens, one sends their gradients back",
                    "Here it is the tokens that travel: they are much smaller than the experts, which stay where they are.",
                ),
                (
                    "One adds up the gates, so that they sum to 1, one adds up the balance loss",
                    "The gates of a token are computed where the token is, without the others. Sums are an all-reduce.",
                ),
                (
                    "One is for the first choice of each token, and one for the second, since k is 2",
                    "Both choices travel in the same exchange, as two copies of the token. With k = 1 there are two exchanges as well.",
                ),
            ],
        ),
    ],
)
