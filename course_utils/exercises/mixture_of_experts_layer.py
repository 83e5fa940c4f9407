"""Exercises 4 to 6 of notebook 07: the layer that asks only the chosen experts, Switch's balance loss, the capacity.

The reference of the second is the library's own function (course_utils/moe/layer.py).
"""

from __future__ import annotations

from course_utils.exercises import mixture_of_experts_layer_capacity as capacity
from course_utils.exercises import mixture_of_experts_layer_forward as forward
from course_utils.exercises import mixture_of_experts_layer_switch as switch
from course_utils.exercises.engine import Exercise
from course_utils.exercises.mixture_of_experts_layer_capacity import first_come
from course_utils.exercises.mixture_of_experts_layer_forward import moe_forward
from course_utils.moe import switch_balance_loss

LAYER = [
    Exercise(
        "mixture_of_experts.moe_forward",
        moe_forward,
        [forward.moe_values, forward.moe_rows, forward.moe_wide, forward.moe_dropped, forward.moe_gradient],
        hints=[
            "Go through the experts, not through the tokens. Which rows does expert i have to read, and where do its outputs go?",
            (
                "The rows are gates[:, i].nonzero().squeeze(1). Give the expert only x[row], multiply its output by the gates of"
                " the same rows (they need a second axis), and ADD it to y at these rows. Skip an expert without rows."
            ),
            (
                "part = gates[row, i, None] * experts[i](x[row]); the first part tells d_out: y = part.new_zeros(len(x),"
                " part.shape[1]); then y = y.index_add(0, row, part)"
            ),
        ],
    ),
    Exercise(
        "mixture_of_experts.switch_loss",
        switch_balance_loss,
        [switch.loss_random, switch.loss_unused, switch.loss_ends, switch.loss_gradient],
        hints=[
            "Two numbers for each expert: how many tokens does it get, as a share, and how probable was it on average?",
            (
                "f counts: one_hot of the argmax, with E classes, then the mean over the tokens. P averages: softmax over the"
                " experts, then the mean over the tokens. Both are (E,)."
            ),
            "E * (F.one_hot(logits.argmax(1), E).float().mean(0) * logits.softmax(1).mean(0)).sum(), with E = logits.shape[1]",
        ],
    ),
    Exercise(
        "mixture_of_experts.apply_capacity",
        first_come,
        [capacity.capacity_random, capacity.capacity_gaps, capacity.capacity_zero, capacity.capacity_large],
        hints=[
            "Each expert has a queue. What number does a token have in the queue of its expert?",
            "A running count down each column: cumsum(dim=0) of gates != 0. The first token of an expert has the number 1.",
            "gates * ((gates != 0).cumsum(dim=0) <= capacity)",
        ],
    ),
]
