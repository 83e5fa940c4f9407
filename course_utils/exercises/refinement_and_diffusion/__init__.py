"""The exercises of notebook 10, in its order. The references are the library's functions, where it has them in this form."""

import torch
from torch import Tensor

from course_utils.exercises.engine import draw

ORDER = ("remask", "q_sample", "cumulative", "posterior", "masked_loss", "ddpm_step")


def uniform(*shape: int, seed: int) -> Tensor:
    """Random numbers in [0, 1)."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def ids(n: int, *shape: int, seed: int) -> Tensor:
    """Random token ids from 0 to n - 1."""
    return torch.randint(n, shape, generator=torch.Generator().manual_seed(seed))


def chain(T: int, K: int, seed: int) -> Tensor:
    """T random transition matrices, far from symmetric and from each other: (T, K, K), rows sum to 1."""
    return (1.5 * draw(T, K, K, seed=seed)).softmax(-1)
