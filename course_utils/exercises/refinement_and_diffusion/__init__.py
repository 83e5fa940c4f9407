"""The exercises of notebook 10, in its order. The references are the library's, where it has them in this form."""

from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import draw

ORDER = (
    "remask",
    "q_sample",
    "cumulative",
    "posterior",
    "masked_loss",
    "ddpm_step",
    "ddim_step",
    "unmask_most_confident",
)


def uniform(*shape: int, seed: int) -> Tensor:
    """Random numbers in [0, 1)."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def ids(n: int, *shape: int, seed: int) -> Tensor:
    """Random token ids from 0 to n - 1."""
    return torch.randint(n, shape, generator=torch.Generator().manual_seed(seed))


def chain(T: int, K: int, seed: int) -> Tensor:
    """T random transition matrices, far from symmetric and from each other: (T, K, K), rows sum to 1."""
    return (1.5 * draw(T, K, K, seed=seed)).softmax(-1)


def in_factors(got: Any, expected: Tensor, x: Tensor, eps: Tensor, noise: Tensor) -> str:
    """The factors of x_t, eps and noise in a sampler's step, beside the right ones; "" if it is no sum of the three."""
    if not isinstance(got, Tensor) or not got.is_floating_point() or not got.isfinite().all() or got.shape != x.shape:
        return ""
    basis = torch.stack([x, eps, noise]).double().flatten(1).T
    results = torch.stack([got.detach(), expected]).double().flatten(1).T
    factors = torch.linalg.lstsq(basis, results).solution  # (3, 2)
    if x.numel() < 4 or (basis @ factors - results).abs().max() > 1e-4:
        return ""
    mine, right = (
        "{:.3g} x_t + {:.3g} eps + {:.3g} noise".format(*column) for column in factors.T.round(decimals=5).tolist()
    )
    return f"Yours is {mine}, it should be {right}.".replace("+ -", "- ")
