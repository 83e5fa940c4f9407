"""The quiz of 03_parameter_averaging: related models, what averaging saves, greedy soups, soup and ensemble."""

from __future__ import annotations

from course_utils.exercises.engine.quizzes import choice, register_quiz

register_quiz(
    "parameter_averaging.quiz",
    [
        choice(
            "Why can the parameters of models with a common start be averaged, and those of unrelated models cannot?",
            [
                (
                    (
                        "Only after a common start does unit i of the one model do what unit i of the other does; else"
                        " weights are averaged that have nothing to do with each other"
                    ),
                    (
                        "Yes: the order of the hidden units means nothing to a network (h! orders compute the same), so"
                        " two runs find two orders. A common start fixes one, and both stay in one basin of the loss."
                    ),
                ),
                (
                    "Unrelated models have made different errors, and errors add up",
                    (
                        "Different errors are what makes an ENSEMBLE of unrelated models so good: there the predictions"
                        " are averaged. The trouble is with averaging weights."
                    ),
                ),
                (
                    "Unrelated models have weights of different sizes: scaled to one norm, they can be averaged",
                    (
                        "Scaling does not bring unit 7 of the one to the place of its counterpart in the other. A model"
                        " and a reordered copy of it have the very same norms, and their average fails too."
                    ),
                ),
                (
                    "Unrelated models are trained on different data",
                    (
                        "With the same data in another random order and from another seed it fails just as well, while"
                        " fine-tunes of one base on different data can often be averaged."
                    ),
                ),
            ],
        ),
        choice(
            "Which cost of an ensemble of M models does averaging their parameters save at inference?",
            [
                (
                    "All of them: computation, memory for the weights, and the KV cache, each 1 × in place of M ×",
                    (
                        "Yes: after the average there is only one model left. The M trainings (or checkpoints) have to"
                        " be paid for all the same."
                    ),
                ),
                (
                    "Only computation: all M models must stay in memory",
                    "They are needed once, to compute the average. Then they can go: one set of weights is left.",
                ),
                (
                    "Only the memory for the weights: each member's KV cache is still needed",
                    (
                        "A cache holds the keys and values that ONE model computes for its context. One model, one"
                        " cache."
                    ),
                ),
                (
                    "None, it only makes the answer more stable",
                    (
                        "That would be the ensemble: M forward passes for each token. The average is taken of the"
                        " weights, before inference begins."
                    ),
                ),
            ],
        ),
        choice(
            "On which data is the greedy soup never worse than the best single model?",
            [
                (
                    "On the held-out (validation) data that evaluate used, and only there",
                    (
                        "Yes: it begins with the best model there, and takes nothing in that lowers the score. On other"
                        " data this is likely, but not certain: with 300 held-out examples we see it fail."
                    ),
                ),
                (
                    "On the test data",
                    (
                        "Nobody asked the test data while choosing: the choice fits the held-out data, its noise"
                        " included. On test data the soup is usually better, and sometimes worse."
                    ),
                ),
                (
                    "On the training data",
                    (
                        "The members have seen it, and the single model that memorised best may well beat their mean"
                        " there. It has no say in the greedy soup."
                    ),
                ),
                (
                    "On all data: an average cannot be worse than its parts",
                    (
                        "That holds for the ensemble's log-loss against the members' mean. An average of weights can be"
                        " worse than each of its parts: see the two runs from different seeds."
                    ),
                ),
            ],
        ),
        choice(
            "A soup is often about as accurate as the ensemble of its ingredients. When does it fall behind?",
            [
                (
                    (
                        "When the fine-tunes have moved far apart, for example with a large learning rate: they have"
                        " left the common basin, and the loss on the way between them is high"
                    ),
                    (
                        "Yes: near the base the network is nearly linear in its weights, so that averaging weights is"
                        " nearly averaging outputs. Far from it that no longer holds, and the ensemble wins."
                    ),
                ),
                (
                    "When there are many ingredients",
                    (
                        "Many fine-tunes close together make a good soup: the paper mixes dozens. How far apart they"
                        " are is what matters."
                    ),
                ),
                (
                    "When the fine-tunes are too similar to each other",
                    (
                        "Then soup and ensemble are nearly the same, for both are nearly each of the members. There is"
                        " little to gain, but the soup does not fall behind."
                    ),
                ),
                (
                    "Never: the soup IS the ensemble, computed in one pass",
                    (
                        "A network is not linear in its weights: f(mean of weights) is the mean of f only"
                        " approximately, and only for weights that are close."
                    ),
                ),
            ],
        ),
    ],
)
