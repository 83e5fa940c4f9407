"""The exercises of notebook 05, in its order: the teachers' targets, the loss, its gradient, data from the teacher, the
divergences, and the loss on what the student writes."""

from collections.abc import Callable, Mapping

from torch import Tensor

from course_utils.exercises.engine import draw, mistake

ORDER = ("ensemble_targets", "kd_loss", "soft_gradient", "sequence_kd_data", "divergence", "on_policy_loss")


def scores(*shape: int, seed: int) -> Tensor:
    """Random logits, spread as those of a trained network."""
    return 2 * draw(*shape, seed=seed)


def mistakes(groups: Mapping[str, Mapping[str, list]], answer: Callable, anywhere: bool = True) -> list:
    """Mistakes from {what to do: {what was done: [parts]}}, where answer(part) is a function that makes the mistake."""
    return [
        mistake(says, *map(answer, parts), pointer=pointer, anywhere=anywhere)
        for pointer, group in groups.items()
        for says, parts in group.items()
    ]
