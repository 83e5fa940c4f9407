"""The quiz of 05_distillation: dark knowledge, T squared, the mean of the teachers, sequences, costs."""

from __future__ import annotations

from course_utils.exercises.engine.quizzes import choice, register_quiz

register_quiz(
    "distillation.quiz",
    [
        choice(
            "Why can a student learn more from the teachers' soft targets than from the labels of the same examples?",
            [
                (
                    "They say how likely every other class is too, and so which classes resemble each other",
                    (
                        "Yes, this is the dark knowledge: that this 2 looks a little like a 3 and not at all like a 7."
                        " One example then says something about all C classes, and not about one only."
                    ),
                ),
                (
                    "They are always right, and labels made by people are not",
                    (
                        "Teachers make mistakes as well, and the student learns these too. Therefore the loss usually"
                        " keeps a share, 1 - alpha, for the labels."
                    ),
                ),
                (
                    "They are larger numbers, so that the gradient is larger and the training faster",
                    (
                        "Probabilities sum to 1, as a label does, and a higher T even makes the gradient smaller. What"
                        " counts is what the numbers say, not their size."
                    ),
                ),
                (
                    "They need no teacher once the training data has labels",
                    (
                        "Soft targets come from nowhere else than from teachers. It is the other way round: with"
                        " teachers, examples without any label become useful."
                    ),
                ),
            ],
        ),
        choice(
            "Why is the soft part of the loss multiplied by T²?",
            [
                (
                    "Its gradient shrinks like 1/T², and the factor keeps its share against the labels when T changes",
                    (
                        "Yes: the chain rule through z / T gives 1/T, and the difference of two softened distributions"
                        " shrinks like 1/T once more. With T², the gradient is T (q - p), of about one size for all T."
                    ),
                ),
                (
                    "It turns the softened probabilities back into probabilities at T = 1",
                    (
                        "A factor in front of the loss cannot do that. Both sides of the KL stay softened; only the"
                        " student in use later is taken at T = 1."
                    ),
                ),
                (
                    "It makes the KL equal to the cross-entropy with the labels",
                    (
                        "The two ask different things and have different values. The factor only balances the sizes of"
                        " their gradients."
                    ),
                ),
                (
                    "It moves the minimum of the loss to the place where the student copies the teachers",
                    (
                        "The soft part is smallest where q = p, with any positive factor. But a sum of two losses needs"
                        " the right balance, and that is what T² is for."
                    ),
                ),
            ],
        ),
        choice(
            "Each teacher is softened first, and then their probabilities are averaged. Why not average their logits?",
            [
                (
                    (
                        "The mean of logits gives the geometric mean of the teachers: a class that one of them holds"
                        " impossible is lost, however likely the others find it"
                    ),
                    (
                        "Yes: averaged logits are a log-linear ensemble, an AND. The mean of probabilities is an OR:"
                        " the student hears of every possibility that some teacher sees. Hinton allows both; be sure"
                        " which of them you have."
                    ),
                ),
                (
                    "Both give the same numbers, but averaging probabilities is faster",
                    (
                        "They are the same for one teacher only, or for teachers that agree. And the mean of logits"
                        " would be the faster one, with one softmax in place of M."
                    ),
                ),
                (
                    "Averaged logits give no distribution, for after the softmax they do not sum to 1",
                    (
                        "Any softmax sums to 1, also that of averaged logits. It is a distribution, but another one:"
                        " the geometric mean, renormalised."
                    ),
                ),
                (
                    "The temperature cannot be applied to averaged logits",
                    (
                        "It can, and softmax(mean(z) / T) is a sensible model. It is another ensemble than the mean of"
                        " the members' probabilities."
                    ),
                ),
            ],
        ),
        choice(
            (
                "In sequence-level distillation the student's targets are the teacher's own beam translations. Kim &"
                " Rush's student had a perplexity of 22.7 where ordinary training had 8.2, and a higher BLEU. Why?"
            ),
            [
                (
                    (
                        "It learns the teacher's mode, one translation for a source in place of the many that people"
                        " write, so that greedy search finds it. Perplexity asks for the many, BLEU for the one"
                    ),
                    (
                        "Yes: with fewer modes a small model has less to cover, and puts its mass (16.9% in place of"
                        " 0.9%) on the translation that it will give. The human references then become less likely,"
                        " which costs perplexity and no quality."
                    ),
                ),
                (
                    "The teacher's translations are better than the references",
                    (
                        "They are not: the teacher makes mistakes, and BLEU is measured with the references. They are"
                        " EASIER, more regular and more literal, so that a small model can learn them."
                    ),
                ),
                (
                    "It learns the teacher's whole distribution at each token of the reference",
                    (
                        "That is word-level distillation: one KL at each position of the reference. Here the student"
                        " sees nothing of the distribution but its best sequence."
                    ),
                ),
                (
                    "A perplexity of 22.7 is the better one, for a higher perplexity means more certainty",
                    (
                        "A higher perplexity means that the references surprise the student more. It is worse at"
                        " predicting them, and yet its own best translation is better."
                    ),
                ),
            ],
        ),
        choice(
            "Eight teachers become one, by distillation or by averaging their parameters. What is true?",
            [
                (
                    (
                        "Both cost 1 × in place of 8 × in use. Averaging needs related models of one architecture;"
                        " distillation needs a training, and takes any teachers with the same classes or tokens"
                    ),
                    (
                        "Yes: distillation looks at what the teachers SAY, not at their weights. So unrelated and"
                        " different teachers are welcome, and the student may even be smaller than each of them."
                    ),
                ),
                (
                    "The student costs 8 × in use, for it asks its teachers for each answer",
                    (
                        "The teachers are needed for the targets only, while it is trained. In use the student is"
                        " alone: one set of weights, one pass, one KV cache."
                    ),
                ),
                (
                    "Distillation needs teachers with a common start, as averaging does",
                    (
                        "That is the condition of averaging: weight number k must have the same task in all models."
                        " Probabilities of the same classes can be averaged whatever network they come from."
                    ),
                ),
                (
                    "Averaging parameters needs a training set, and distillation none",
                    (
                        "The other way round: an average of weights is computed at once, and the student must be"
                        " trained on examples (with or without labels) that the teachers have looked at."
                    ),
                ),
            ],
        ),
    ],
)
