"""The exercises of notebook 05, in its order: the teachers' targets, the loss, its gradient, data from the teacher."""

from torch import Tensor

from course_utils.exercises.engine import draw

ORDER = ("ensemble_targets", "kd_loss", "soft_gradient", "sequence_kd_data")


def scores(*shape: int, seed: int) -> Tensor:
    """Random logits, spread as those of a trained network."""
    return 2 * draw(*shape, seed=seed)
