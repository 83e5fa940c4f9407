"""Questions of notebook 00, in jupyterquiz's format."""

from course_utils.exercises.engine.quizzes import register_quiz

register_quiz(
    "start_here.many_models",
    [
        {
            "question": "One model gives a token the probability 0.6, the other 0.2. Their plain average gives it:",
            "type": "multiple_choice",
            "answers": [
                {"answer": "0.4", "correct": True, "feedback": "The mean of the two probabilities: (0.6 + 0.2) / 2."},
                {
                    "answer": "0.12",
                    "correct": False,
                    "feedback": "That is the product, 0.6 x 0.2, before it is normalised.",
                },
                {
                    "answer": "about 0.35",
                    "correct": False,
                    "feedback": "That is the geometric mean, which one gets by averaging the log-probabilities.",
                },
                {
                    "answer": "0.8",
                    "correct": False,
                    "feedback": "That is the sum: such probabilities would sum to 2 over the vocabulary.",
                },
            ],
        },
        {
            "question": "One model gives a token the probability 0, the other 0.5. In their plain average it is:",
            "type": "multiple_choice",
            "answers": [
                {
                    "answer": "possible, with probability 0.25",
                    "correct": True,
                    "feedback": "An average is an OR: it is enough that one of the models believes in the token.",
                },
                {
                    "answer": "impossible",
                    "correct": False,
                    "feedback": "That is a product (an AND), where one model can veto. Notebook 01 is about it.",
                },
                {
                    "answer": "undefined, because log 0 is minus infinity",
                    "correct": False,
                    "feedback": "exp of minus infinity is 0, and 0 can be averaged: only the logarithms look alarming.",
                },
            ],
        },
        {
            "question": "Two models can be averaged token by token only if:",
            "type": "multiple_choice",
            "answers": [
                {
                    "answer": "they share their vocabulary",
                    "correct": True,
                    "feedback": "Entry i of both distributions has to be the same token.",
                },
                {
                    "answer": "they have the same number of parameters",
                    "correct": False,
                    "feedback": "Only their outputs meet: an n-gram table can be mixed with a transformer.",
                },
                {
                    "answer": "they were trained on the same text",
                    "correct": False,
                    "feedback": "It pays most when they were not: then each knows what the other does not.",
                },
            ],
        },
    ],
)
