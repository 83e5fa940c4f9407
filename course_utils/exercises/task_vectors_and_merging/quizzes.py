"""The quiz of 04_task_vectors_and_merging: addition, small deltas, interference, the divisor, which method needs what."""

from __future__ import annotations

from course_utils.exercises.engine.quizzes import choice, register_quiz

register_quiz(
    "task_vectors_and_merging.quiz",
    [
        choice(
            "Task addition is θ₀ + λ Σ τᵢ with τᵢ = θᵢ - θ₀. Why a sum with ONE λ, and not a mean or a λ for each task?",
            [
                (
                    (
                        "Where the τᵢ hardly overlap, each task needs its whole τᵢ, and a mean would leave 1/n of it. One"
                        " λ is a single number to tune on validation data, however many tasks there are"
                    ),
                    (
                        "Yes: the task vectors are nearly orthogonal, so that a sum lets each one act almost alone. λ"
                        " only makes up for what they do have in common. λ = 1/n gives plain averaging, which is one"
                        " point on that line."
                    ),
                ),
                (
                    "The sum stays as close to the base as one fine-tuned model, for the τᵢ cancel each other",
                    (
                        "Nearly orthogonal vectors do not cancel: the length of their sum grows like √n. That is the"
                        " reason why λ is below 1 when many tasks are added."
                    ),
                ),
                (
                    "A λ for each task cannot be computed, for the gradient of a merged model does not exist",
                    (
                        "It can be done, and there are methods that learn such numbers. But n numbers need more"
                        " validation data and a search in n dimensions; the paper gets far with one."
                    ),
                ),
                (
                    "With λ = 1 the sum is the average of the fine-tuned models",
                    (
                        "The average is θ₀ + (1/n) Σ τᵢ, so λ = 1/n. With λ = 1 every model's whole change is added to"
                        " the base."
                    ),
                ),
            ],
        ),
        choice(
            "When do negation (θ₀ - λ τ) and DARE with a high drop rate work?",
            [
                (
                    (
                        "When fine-tuning was gentle: τ is small, so the model answers nearly linearly to it, and what"
                        " is dropped or turned round does no other harm"
                    ),
                    (
                        "Yes: DARE's authors ask for changes of about 0.005 or less. A gently tuned model survives that"
                        " most of τ is dropped, a harshly tuned one does not; and negating a harsh τ takes the control"
                        " tasks down together with the target."
                    ),
                ),
                (
                    "When fine-tuning was long and hard: then τ is large and holds the skill clearly",
                    (
                        "A large τ leaves the region where the network is nearly linear in its weights. Then -τ is not"
                        " the opposite of what τ does, and rescaling by 1 / (1 - p) makes huge entries."
                    ),
                ),
                (
                    "Always: the mean of DARE's result is τ, so nothing can change on average",
                    (
                        "The mean of the WEIGHTS stays, but their variance grows like p / (1 - p) τ². The output is"
                        " not linear in the weights, so that noise hurts once τ is large."
                    ),
                ),
                (
                    "When the base has never seen the task before",
                    (
                        "That says nothing about the size of τ. Negation even needs a base that has the skill: what is"
                        " not there cannot be taken away."
                    ),
                ),
            ],
        ),
        choice(
            "Which trouble of adding task vectors does TIES resolve, and how does it decide?",
            [
                (
                    (
                        "Interference: small redundant entries are trimmed, and where the tasks disagree about the sign"
                        " the side with the larger total magnitude wins"
                    ),
                    (
                        "Yes: trim, elect, disjoint mean. A weight that only one task needs is no longer watered down"
                        " by the others, and two tasks that pull in opposite directions do not cancel to nothing."
                    ),
                ),
                (
                    "Interference: where the tasks disagree, the sign that more tasks have wins",
                    (
                        "The election is by mass, not by heads: [3, -1, -1] gives a plus. A head count would let two"
                        " tasks that hardly care overrule the one that needs this weight."
                    ),
                ),
                (
                    "Different starts: the models are first aligned, so that their units have one order",
                    (
                        "That is the permutation matching of notebook 03. All models here are fine-tuned from ONE base,"
                        " so they are aligned already."
                    ),
                ),
                (
                    "Different sizes: all task vectors are scaled to one length, so that none dominates",
                    (
                        "TIES scales no vector. Trimming gives each task the same NUMBER of entries, but a task that"
                        " moved further still has more weight in the election and in the mean."
                    ),
                ),
            ],
        ),
        choice(
            "Why does the disjoint mean divide by the number of contributors, and not by the number n of tasks?",
            [
                (
                    (
                        'After trimming most entries are 0. They say "not mine", not "stay at the base", and dividing'
                        " by n would shrink the one task that needs this weight to 1/n of its change"
                    ),
                    (
                        "Yes: [2, 0, -1] with the sign + gives 2. With 20 % kept of each of eight tasks, fewer than two"
                        " contribute at an average coordinate, and a division by 8 would leave next to nothing."
                    ),
                ),
                (
                    "So that the result is never larger than the base's own weights",
                    (
                        "Nothing here looks at the size of the base. Dividing by fewer gives LARGER entries, and λ is"
                        " there to scale them."
                    ),
                ),
                (
                    "Because the sum of the kept entries would otherwise be biased, as with DARE's 1 / (1 - p)",
                    (
                        "DARE's factor repairs a random loss. Trimming is not random: the entries that are left are the"
                        " large ones, and they need no repair. The divisor is about who takes part in a mean."
                    ),
                ),
                (
                    "It makes no difference, for λ is tuned afterwards anyway",
                    (
                        "λ is ONE factor for all coordinates. The number of contributors differs from coordinate to"
                        " coordinate, so that dividing by n changes the direction of the merged vector as well."
                    ),
                ),
            ],
        ),
        choice(
            "Which of mergekit's methods computes no new weight at all?",
            [
                (
                    (
                        "passthrough: it copies layers, for example 0 to 23 of the one model and 8 to 31 of the other,"
                        " into a deeper model"
                    ),
                    (
                        'Yes, a "frankenmerge": no arithmetic, only a stack of layers. It needs no base, and neither'
                        " do linear and slerp need one to subtract; task_arithmetic, ties and dare do, for they work on"
                        " τ = θ - θ₀."
                    ),
                ),
                (
                    "linear: the weights are only averaged, and averages are not new",
                    (
                        "Each weight of the result is a weighted sum, a number that none of the models has. It needs no"
                        " base model, that much is true."
                    ),
                ),
                (
                    "slerp: at t = 0.5 it takes half of the layers from each of the two models",
                    (
                        "slerp goes along the arc between two weight tensors, sin((1 - t)Ω)/sin Ω times the one plus"
                        " sin(tΩ)/sin Ω times the other: each entry is computed."
                    ),
                ),
                (
                    "ties: it takes each weight from the model with the largest change",
                    (
                        "That is a common picture of it, but ties takes the MEAN of the entries that agree with the"
                        " elected sign, and adds λ times that to the base, which it needs."
                    ),
                ),
            ],
        ),
    ],
)
