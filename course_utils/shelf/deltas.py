"""Checkpoints stored as their difference from another checkpoint, in float8: one byte a parameter."""

from __future__ import annotations

import torch
from torch import Tensor

SCALE = 256  # the file holds SCALE * (theta - theta_0): differences from 1e-5 to 1.7, to within 6 %


def difference(start: dict[str, Tensor], state: dict[str, Tensor]) -> dict[str, Tensor]:
    """SCALE (theta - theta_0) as float8 for each tensor. Raises ValueError: a difference too large to be kept."""
    found = {name: SCALE * (tensor.float() - start[name].float()) for name, tensor in state.items()}
    most = torch.finfo(torch.float8_e4m3fn).max / SCALE
    for name, tensor in found.items():
        if (size := tensor.abs().max() / SCALE) > most:
            raise ValueError(f"{name} differs by {size:.3g}, at most {most} can be kept: save it whole")
    return {name: tensor.to(torch.float8_e4m3fn) for name, tensor in found.items()}


def restored(start: dict[str, Tensor], saved: dict[str, Tensor]) -> dict[str, Tensor]:
    """theta = theta_0 + saved / SCALE, float32."""
    return {name: tensor.float() + saved[name].float() / SCALE for name, tensor in start.items()}
