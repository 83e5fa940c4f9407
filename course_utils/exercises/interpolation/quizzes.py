"""The quizzes of 01_interpolation: one about the two rules, one about where the weights come from."""

from __future__ import annotations

from course_utils.exercises.engine.quizzes import choice, register_quiz

register_quiz(
    "interpolation.rules",
    [
        choice(
            "On held-out text model A has perplexity 40 and model B has 60. What can their linear mixture, with good"
            " weights, have?",
            [
                (
                    "Less than 40",
                    (
                        "Yes: where A is surprised B may not be. One bad token costs A more than the weight it gives"
                        " away elsewhere, so the mixture can beat both members. With the best weights it is never worse"
                        " than the better one."
                    ),
                ),
                (
                    "Between 40 and 60, like any average",
                    (
                        "The probabilities are averaged, not the perplexities. For each token the mixture lies between"
                        " the members, but over many tokens it can beat both, because each one rescues the other's"
                        " worst tokens."
                    ),
                ),
                (
                    "More than 60",
                    (
                        "Even poor weights cannot do that: log is concave, so the mean log-probability of the mixture"
                        " is at least the weighted mean of the members'."
                    ),
                ),
                ("Exactly 50", "50 is the mean of the two perplexities. Nothing in the rule averages perplexities."),
            ],
        ),
        choice(
            "Which rule lets ONE member forbid a token, whatever the others say?",
            [
                (
                    "Log-linear: P_A^½ · P_B^½",
                    "Yes: one factor of 0 makes the product 0. It is the AND: all must agree.",
                ),
                (
                    "Linear: ½ P_A + ½ P_B",
                    "½ · 0 + ½ · 0.4 is still 0.2: the sum needs only one member that allows the token. It is the OR.",
                ),
                ("Both", "Only a product becomes 0 when one of its parts does. A sum does not."),
                (
                    "Neither: that needs a mask",
                    (
                        "No mask is needed: log 0 is -inf, and a sum of logarithms with one -inf in it stays -inf. "
                        "In which rule are logarithms added?"
                    ),
                ),
            ],
        ),
        choice(
            "The members' raw logits may go into log-linear interpolation in place of log-probabilities. Why not into"
            " linear interpolation?",
            [
                (
                    (
                        "A logit is log P plus a constant of its model. The last softmax removes such constants; the"
                        " linear rule has no last softmax"
                    ),
                    (
                        "Yes: softmax(Σ λ_m (log P_m + c_m)) is softmax(Σ λ_m log P_m). In Σ w_m exp(log P_m + c_m) the"
                        " constant multiplies the weight: the weights are no longer yours."
                    ),
                ),
                (
                    "Logits may be negative",
                    (
                        "Log-probabilities are never positive either, and both rules take them. The sign is not the"
                        " trouble."
                    ),
                ),
                (
                    "They may go into both: exp() makes them positive",
                    (
                        "Positive, but not summing to 1: a model whose logits are all larger by 3 would "
                        "count 20 times as much."
                    ),
                ),
                (
                    "The models may have different vocabularies",
                    "Then neither rule works, with logits or with probabilities.",
                ),
            ],
        ),
    ],
)

register_quiz(
    "interpolation.weights",
    [
        choice(
            "On which data should the weights w be fitted?",
            [
                (
                    "Held-out text that no member was trained on, and that is not the test text either",
                    (
                        "Yes: the weights must show how the members do on NEW text, and the test text must stay unseen"
                        " by every choice."
                    ),
                ),
                (
                    "The members' training text: there is most of it",
                    (
                        "There the member that memorised best looks best, and takes nearly all the weight. "
                        "On new text it may be the worst."
                    ),
                ),
                (
                    "The test text: that is what counts",
                    (
                        "Then the figure you report has been tuned on its own data: it is too good, and nobody can tell"
                        " by how much."
                    ),
                ),
                (
                    "Any text: EM finds the global optimum",
                    (
                        "It does, of the likelihood of the text it is given. The best weights for the wrong text are"
                        " wrong weights."
                    ),
                ),
            ],
        ),
        choice(
            "A mixture of whole texts is Σ_m w_m Π_t P_m(y_t | y_<t). A mixture of tokens is Π_t Σ_m w_m P_m(y_t |"
            " y_<t). How are they related?",
            [
                (
                    "The first equals a token mixture too, whose weights at t are the posterior P(m | y_<t)",
                    (
                        "Yes: that is the chain rule, and it is the lecture's formula with context-dependent weights."
                        " What the members said of the text so far moves the weights."
                    ),
                ),
                (
                    "They are equal: sum and product can be exchanged",
                    (
                        "Try two members and two tokens: ½(0.9 · 0.9) + ½(0.1 · 0.1) = 0.41, "
                        "but (½ · 0.9 + ½ · 0.1)² = 0.25."
                    ),
                ),
                (
                    "The second is the log-linear rule",
                    "It multiplies over positions, not over members: within each position the members are added.",
                ),
                (
                    "The first one is always the larger",
                    (
                        "For a text that changes its domain half-way it is smaller: no single member explains the whole"
                        " text."
                    ),
                ),
            ],
        ),
        choice(
            "What does EM need to find the best constant weights?",
            [
                (
                    "Only the probability that each member gave to each held-out token",
                    (
                        "Yes: an M × N table. No gradient, no learning rate, and the likelihood (concave in w) never"
                        " goes down on the way."
                    ),
                ),
                (
                    "The gradient of the loss and a learning rate",
                    (
                        "Gradient descent on softmax(a) would work too, but EM's update is a mean of shares: "
                        "nothing to tune, and it stays on the simplex by itself."
                    ),
                ),
                (
                    "The members' parameters",
                    (
                        "They stay frozen: only what they say of the held-out tokens matters. So a member may be an"
                        " n-gram table, or a model behind an API that returns log-probabilities."
                    ),
                ),
                (
                    "Labels that say which member each token belongs to",
                    "These are what it does without: the responsibilities are its own soft guess of them.",
                ),
            ],
        ),
    ],
)
