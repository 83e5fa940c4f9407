"""Exercises of notebook 04: trim, elect, disjoint mean (TIES); drop and rescale (DARE); slerp; task arithmetic.

The references are the library's own functions (course_utils/merging/task_vectors.py); the last one is made of three of them.
"""

from __future__ import annotations

from course_utils.exercises import task_vectors_apply as apply
from course_utils.exercises import task_vectors_dare as drop
from course_utils.exercises import task_vectors_elect as elect
from course_utils.exercises import task_vectors_mean as mean
from course_utils.exercises import task_vectors_quizzes  # noqa: F401 (registers the quiz)
from course_utils.exercises import task_vectors_slerp as arc
from course_utils.exercises import task_vectors_trim as trimming
from course_utils.exercises.engine import Exercise, register
from course_utils.exercises.task_vectors_apply import add_tasks
from course_utils.merging.task_vectors import dare, disjoint_mean, elect_sign, slerp_tensors, trim

__all__ = ["add_tasks"]

register(
    Exercise(
        "task_vectors_and_merging.trim",
        trim,
        [trimming.trim_rows, trimming.trim_ceil, trimming.trim_square, trimming.trim_ties, trimming.trim_zeros],
        hints=[
            (
                "Which entries of a task vector matter most, and does their sign have a say in that? With whom does an"
                " entry compete: with all tasks, or with its own row?"
            ),
            (
                "k = math.ceil(density * d). topk(k, dim=-1) of the magnitudes gives k indices for each row. The"
                " entries of tau at these indices go back to their own places, into zeros."
            ),
            ("kept = tau.abs().topk(k, dim=-1).indices; torch.zeros_like(tau).scatter(-1, kept, tau.gather(-1, kept))"),
        ],
    )
)
register(
    Exercise(
        "task_vectors_and_merging.elect",
        elect_sign,
        [elect.elect_mass, elect.elect_trimmed, elect.elect_square, elect.elect_draw],
        hints=[
            (
                "Three tasks want +3, -1 and -1. Two heads stand against one, but which side pulls harder? And what does"
                " the plain sum say?"
            ),
            (
                "The sign of the sum over the tasks (dim 0). Where that sum is exactly 0, .sign() is 0 and needs an"
                " answer: add up the signs that all other coordinates got, and take the sign of that."
            ),
            "sign = tau.sum(dim=0).sign(); torch.where(sign == 0, sign.sum().sign(), sign)",
        ],
    )
)
register(
    Exercise(
        "task_vectors_and_merging.disjoint_mean",
        disjoint_mean,
        [mean.mean_columns, mean.mean_many, mean.mean_square, mean.mean_nobody],
        hints=[
            (
                "At one coordinate the tasks have 2, 0 and -1, and the elected sign is +. Who takes part in the mean, and"
                " by how many do you divide?"
            ),
            (
                "A mask (n, d): entries with the sign `sign` that are not 0. The sum of tau times the mask over the"
                " tasks, divided by the number of entries in the mask. Where nobody takes part, make sure that it is"
                " not 0 / 0."
            ),
            ("agree = (tau.sign() == sign) & (tau != 0); (tau * agree).sum(dim=0) / agree.sum(dim=0).clamp(min=1)"),
        ],
    )
)
register(
    Exercise(
        "task_vectors_and_merging.dare",
        dare,
        [drop.dare_once, drop.dare_rows, drop.dare_generator, drop.dare_mean, drop.dare_ends],
        hints=[
            (
                "If nine of ten entries become 0, how large must the tenth be, so that their mean is what it was? And"
                " what decides which entries go?"
            ),
            (
                "One random number for each entry of tau, even between 0 and 1, from `generator`: the entry is dropped"
                " if it is below p. Divide what stays by the probability to stay."
            ),
            "keep = torch.rand(tau.shape, generator=generator) >= p; tau * keep / (1 - p)",
        ],
        seconds=15.0,
    )
)
register(
    Exercise(
        "task_vectors_and_merging.slerp",
        slerp_tensors,
        [arc.slerp_vectors, arc.slerp_obtuse, arc.slerp_matrices, arc.slerp_ends, arc.slerp_parallel],
        hints=[
            (
                "First the angle: what does the scalar product of two vectors tell, and what must it be divided by?"
                " And what happens to the formula when the angle is 0?"
            ),
            (
                "cos = (a * b).sum() / (a.norm() * b.norm()), W = acos(cos). If abs(cos) > 0.9995 return the line. Else"
                " a and b, as they are, times sin((1 - t) W) / sin W and sin(t W) / sin W."
            ),
            (
                "cos = ((a * b).sum() / (a.norm() * b.norm())).item(); if abs(cos) > 0.9995: return (1 - t) * a + t * b;"
                " W = math.acos(cos); return (math.sin((1 - t) * W) * a + math.sin(t * W) * b) / math.sin(W)"
            ),
        ],
    )
)
register(
    Exercise(
        "task_vectors_and_merging.apply",
        add_tasks,
        [apply.apply_three, apply.apply_one_or_five, apply.apply_counter, apply.apply_half],
        hints=[
            (
                "What did fine-tuning change in each model? All these changes are added to the base, scaled by one"
                " number. Which tensors are no parameters at all?"
            ),
            (
                "For each name of the base: total = the sum over the models of model[name] - base[name]; the result is"
                " base[name] + lam * total, in the base's dtype. Whole numbers (not is_floating_point()) are copied,"
                " with .clone()."
            ),
            (
                "for name, start in base.items(): if not start.is_floating_point(): result[name] = start.clone(); else:"
                " result[name] = (start + lam * sum(model[name] - start for model in fine_tuned)).to(start.dtype)"
            ),
        ],
    )
)
