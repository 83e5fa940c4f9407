"""The exercises of notebook 03, in its order: the average, reordering units, the barrier, the greedy soup, costs,
related models."""

from collections.abc import Mapping

import torch
from torch import Tensor

from course_utils.exercises.engine import draw

ORDER = ("average", "permute", "barrier", "greedy_soup", "kv_cache", "can_average")


def checkpoints(count: int, seed: int) -> list[dict[str, Tensor]]:
    """Random checkpoints of one small network, without whole numbers."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "embedding.weight": (5, 3),
        "layer.weight": (4, 4),
        "layer.bias": (4,),
        "head.weight": (1, 4),
        "scale": (),
    }
    return [{name: torch.randn(shape, generator=generator) for name, shape in shapes.items()} for _ in range(count)]


STEEPNESS = 0.05 * draw(8, seed=0).double() ** 2


def minus_loss(state: Mapping[str, Tensor]) -> float:
    """A smooth score of eight of the parameters: highest where they are 0, at the common base of all checkpoints."""
    x = torch.cat([state["layer.bias"], state["head.weight"][0]]).double()
    return -(STEEPNESS * x**2).sum().item()


def near_the_base(state: Mapping[str, Tensor]) -> float:
    """The same as an "accuracy"."""
    return 0.9 + minus_loss(state)


def share_right(state: Mapping[str, Tensor]) -> float:
    """An accuracy on 25 examples: a multiple of 1 / 25, so that ties are common."""
    return max(round(25 * near_the_base(state)), 0) / 25
