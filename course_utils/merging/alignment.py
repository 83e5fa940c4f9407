"""Permutation symmetry of neural networks: hidden units can be put in any order, and how to match two networks' orders.

A multi-layer perceptron here is a state dict with `<layer>.weight` (out, in) and `<layer>.bias` (out,) for each name in
``layers``, in the order of the forward pass, for example ["0", "2", "4"] for
nn.Sequential(Linear, ReLU, Linear, ReLU, Linear).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def permute_units(state_dict: Mapping[str, Tensor], layer: str, next_layer: str, perm: Tensor) -> dict[str, Tensor]:
    """Reorder the hidden units between two linear layers: the function that the network computes stays the same.

    W_l <- P W_l, b_l <- P b_l, W_{l+1} <- W_{l+1} P^T, since W_{l+1} P^T s(P x) = W_{l+1} s(x) for an elementwise s.
    perm (units,): unit i of the result is unit perm[i] of the input. Returns a new state dict, the input is unchanged.
    Raises ValueError: perm is not a permutation of the layer's units, or a layer is missing.
    """
    for name in (layer, next_layer):
        if f"{name}.weight" not in state_dict:
            raise ValueError(f"there is no {name}.weight in the state dict: it has {', '.join(state_dict)}")
    units = len(state_dict[f"{layer}.weight"])
    if not torch.equal(torch.sort(perm).values, torch.arange(units)):
        raise ValueError(f"perm must hold each of 0 ... {units - 1} once, for the {units} units of layer {layer}")
    permuted = {name: tensor.clone() for name, tensor in state_dict.items()}
    permuted[f"{layer}.weight"] = state_dict[f"{layer}.weight"][perm]
    permuted[f"{layer}.bias"] = state_dict[f"{layer}.bias"][perm]
    permuted[f"{next_layer}.weight"] = state_dict[f"{next_layer}.weight"][:, perm]
    return permuted


def match_weights(
    a: Mapping[str, Tensor], b: Mapping[str, Tensor], layers: Sequence[str], max_rounds: int = 100, seed: int = 0
) -> dict[str, Tensor]:
    """b with its hidden units reordered so that its weights are as close to a's as one layer at a time can make them.

    Coordinate descent: for each hidden layer l in random order, the permutation P that maximises
    <P, W_l^a (W_l^b)^T + b_l^a (b_l^b)^T + (W_{l+1}^a)^T W_{l+1}^b>, an assignment problem, until none changes
    (each step lowers the distance |a - b|, so it ends). Returns a new state dict that computes the same function as b.
    Source: Ainsworth et al. (2023), Git Re-Basin, section 3.2, algorithm 1.
    """
    generator, b = torch.Generator().manual_seed(seed), dict(b)
    hidden = list(zip(layers[:-1], layers[1:], strict=True))
    for _ in range(max_rounds):
        changed = False
        for i in torch.randperm(len(hidden), generator=generator).tolist():
            layer, next_layer = hidden[i]
            gain = a[f"{layer}.weight"] @ b[f"{layer}.weight"].T  # (units of a, units of b)
            gain = gain + torch.outer(a[f"{layer}.bias"], b[f"{layer}.bias"])
            gain = gain + a[f"{next_layer}.weight"].T @ b[f"{next_layer}.weight"]
            _, found = linear_sum_assignment(gain.double().numpy(), maximize=True)
            perm = torch.from_numpy(found)
            better = gain[torch.arange(len(perm)), perm].sum() - gain.diagonal().sum()
            if better > 1e-6 * gain.abs().max():  # a mere tie would go round in circles
                b, changed = permute_units(b, layer, next_layer, perm), True
        if not changed:
            break
    return b


def loss_barrier(losses: Sequence[float] | Tensor) -> float:
    """How far the loss rises above the straight line between its two ends: max_t L(t) - [(1 - t) L(0) + t L(1)].

    losses (n,): at n >= 3 evenly spaced t from 0 to 1. 0 or less: the two ends are connected by a straight path.
    Raises ValueError: fewer than three losses. Source: Frankle et al. (2020), section 2; Ainsworth et al. (2023), def.
    2.1.
    """
    losses = torch.as_tensor(losses, dtype=torch.float64)
    if losses.dim() != 1 or len(losses) < 3:
        raise ValueError(
            f"a barrier needs the losses at three points of the path or more, got shape {tuple(losses.shape)}"
        )
    t = torch.linspace(0, 1, len(losses), dtype=torch.float64)
    return (losses - ((1 - t) * losses[0] + t * losses[-1])).max().item()
