"""Exercises of notebook 05: the teachers' targets, the loss, its gradient, the data of sequence-level distillation.

The references of the first two are the library's own functions (course_utils/distillation.py).
"""

from __future__ import annotations

from course_utils.distillation import ensemble_targets, kd_loss
from course_utils.exercises import distillation_gradient as gradient
from course_utils.exercises import distillation_loss as loss
from course_utils.exercises import distillation_quizzes  # noqa: F401 (registers the quiz)
from course_utils.exercises import distillation_sequence as sequence
from course_utils.exercises import distillation_targets as targets
from course_utils.exercises.distillation_gradient import soft_gradient
from course_utils.exercises.distillation_sequence import sequence_kd_data
from course_utils.exercises.engine import Exercise, register

__all__ = ["sequence_kd_data", "soft_gradient"]

register(
    Exercise(
        "distillation.ensemble_targets",
        ensemble_targets,
        [
            targets.targets_random,
            targets.targets_square,
            targets.targets_one,
            targets.targets_sure,
            targets.targets_detached,
        ],
        hints=[
            (
                "Three steps: divide, softmax, average. Over which of the three dimensions goes the softmax, over which"
                " one the mean, and what is averaged, scores or probabilities?"
            ),
            (
                "z / T is (M, B, C). The softmax runs over the C classes (the last dimension), the mean over the M"
                " teachers (the first), in this order. And the teachers learn nothing: detach them."
            ),
            "(teacher_logits.detach() / T).softmax(dim=-1).mean(dim=0)",
        ],
    )
)
register(
    Exercise(
        "distillation.kd_loss",
        kd_loss,
        [loss.loss_random, loss.loss_ends, loss.loss_one_teacher, loss.loss_gradient, loss.loss_sure],
        hints=[
            (
                "Two losses, weighed by alpha and 1 - alpha. The soft one compares two distributions at the temperature"
                " T, the hard one looks at the labels and knows no T."
            ),
            (
                "Targets: the mean of the teachers' softmax(z / T), detached. KL(p || q) = sum p (log p - log q), mean"
                " over the rows, is F.kl_div(log_q, p, reduction='batchmean'): log_q first, and as logarithms. The hard"
                " part is F.cross_entropy(student_logits, labels)."
            ),
            (
                "p = (teacher_logits.detach() / T).softmax(-1).mean(0); log_q = (student_logits / T).log_softmax(-1);"
                " alpha * T**2 * F.kl_div(log_q, p, reduction='batchmean') + (1 - alpha) *"
                " F.cross_entropy(student_logits, labels)"
            ),
        ],
    )
)
register(
    Exercise(
        "distillation.soft_gradient",
        soft_gradient,
        [
            gradient.gradient_random,
            gradient.gradient_square,
            gradient.gradient_perfect,
            gradient.gradient_hot,
        ],
        hints=[
            (
                "You know the gradient of the cross-entropy with respect to the logits: probabilities minus targets."
                " What changes if the logits are divided by T, and the loss is multiplied by T^2?"
            ),
            (
                "With u = z / T the gradient with respect to u is softmax(u) - targets. The chain rule gives 1 / T, the"
                " factor in front gives T^2, the mean over the rows gives 1 / B."
            ),
            "T * ((student_logits / T).softmax(dim=-1) - targets) / len(student_logits)",
        ],
    )
)
register(
    Exercise(
        "distillation.sequence_kd_data",
        sequence_kd_data,
        [
            sequence.sequence_highest,
            sequence.sequence_no_references,
            sequence.sequence_similar,
            sequence.sequence_twice,
            sequence.sequence_negative,
        ],
        hints=[
            (
                "The student never sees a reference as its target: the targets are the teacher's own words. Of several"
                " candidates, which one do you keep in each of the two cases?"
            ),
            (
                "One loop over zip(sources, references), or over the numbers of the sources where there are no"
                " references. candidates = beam_search(source); then max(candidates, key=...), with the log-probability"
                " as the key or with the similarity to this source's reference."
            ),
            (
                "for i, source in enumerate(sources): key = (lambda c: c[1]) if similarity is None else (lambda c:"
                " similarity(c[0], references[i])); pairs.append((source, max(beam_search(source), key=key)[0]))"
            ),
        ],
    )
)
