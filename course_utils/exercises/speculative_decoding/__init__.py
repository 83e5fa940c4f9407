"""The exercises of notebook 12, in its order."""

import torch
from torch import Tensor

from course_utils.exercises.engine import draw

ORDER = ("residual", "accepted_tokens", "tokens_per_pass", "best_gamma", "cascade_target")


def pair(*shape: int, seed: int, sharpness: float = 1.5) -> tuple[Tensor, Tensor]:
    """Two tables of probabilities (*shape), random and different."""
    p, q = (sharpness * draw(2, *shape, seed=seed)).softmax(-1)
    return p, q


def rows(*values: list[float]) -> Tensor:
    return torch.tensor(values)
