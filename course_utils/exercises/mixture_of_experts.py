"""Exercises of notebook 07: the k largest scores, the noisy gate, the importance loss, and three of the layer itself.

Where the library (course_utils/moe/gating.py) has the function, it is the reference.
"""

from __future__ import annotations

from course_utils.exercises import mixture_of_experts_gate as gate
from course_utils.exercises import mixture_of_experts_importance as importance
from course_utils.exercises import mixture_of_experts_quizzes as quizzes  # noqa: F401 (registers the quiz)
from course_utils.exercises.engine import Exercise, register
from course_utils.exercises.mixture_of_experts_gate import noisy_gate
from course_utils.exercises.mixture_of_experts_layer import LAYER
from course_utils.moe import importance_loss, keep_top_k

register(
    Exercise(
        "mixture_of_experts.keep_top_k",
        keep_top_k,
        [gate.keep_random, gate.keep_ends, gate.keep_ties, gate.keep_zero],
        hints=[
            "Which number does a softmax turn into exactly 0? And how can exactly k stay, even if scores are equal?",
            (
                "v.topk(k, dim=-1) gives the k largest of each row and their places, (tokens, k) each, and k of them even if"
                " scores are equal. Begin with a tensor like v that is full of -inf, and put the k scores in their places."
            ),
            "values, index = v.topk(k, dim=-1); torch.full_like(v, -math.inf).scatter(-1, index, values)",
        ],
    )
)
register(
    Exercise(
        "mixture_of_experts.noisy_gate",
        noisy_gate,
        [gate.gate_random, gate.gate_ends, gate.gate_quiet, gate.gate_loud],
        hints=[
            "The noise is to change who is chosen, and the weights of the chosen are to sum to 1: what comes first, what last?",
            (
                "Scores x @ w_gate, (tokens, experts). Add the noise, each number times a standard deviation, which must be"
                " positive: softplus(x @ w_noise). Then your function of exercise 1, then the softmax over the experts."
            ),
            "h = x @ w_gate + noise * torch.nn.functional.softplus(x @ w_noise); my_keep_top_k(h, k).softmax(dim=-1)",
        ],
    )
)
register(
    Exercise(
        "mixture_of_experts.importance_loss",
        importance_loss,
        [
            importance.importance_random,
            importance.importance_ends,
            importance.importance_repeated,
            importance.importance_gradient,
        ],
        hints=[
            "What must be even, and over what? Make one number for each expert first. Then: how far apart are these numbers?",
            (
                "The sum over the tokens, gates.sum(dim=0), is (experts,). CV^2 is its variance divided by the square of its"
                " mean; torch's var() divides by E - 1 unless you say correction=0. Stay with tensors, for the gradient."
            ),
            "total = gates.sum(dim=0); total.var(correction=0) / total.mean() ** 2",
        ],
    )
)
for exercise in LAYER:
    register(exercise)
