"""One mixture from several trained models: Branch-Train-MiX, and sparse upcycling, its case of equal models."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from course_utils.merging.averaging import average
from course_utils.moe.layer import MixtureOfExperts


def stack_experts(mlps: Sequence[nn.Module]) -> dict[str, Tensor]:
    """The weights of E feed-forward layers of Llama as those of `Experts`: gate_up_proj (E, 2h, d), the rows of
    gate_proj above those of up_proj, and down_proj (E, d, h)."""
    return {
        "gate_up_proj": torch.stack([torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]) for mlp in mlps]),
        "down_proj": torch.stack([mlp.down_proj.weight for mlp in mlps]),
    }


def mix_specialists(specialists: Sequence[nn.Module], top_k: int) -> nn.Module:
    """Fine-tunes of one Llama become one mixture: in each layer their feed-forward layers are the experts, with a new,
    random router; all other parameters are averaged.

    specialists: models of one shape, such as `LlamaForCausalLM`, which stay as they are. Returns a model of the same
    class with a `MixtureOfExperts` of len(specialists) experts as each `mlp`; before its routers are trained, they send
    tokens anywhere. Copies of one model give its sparse upcycling.
    Raises ValueError: no models, models that do not fit together, top_k outside 1..E.
    Sources: Sukhbaatar et al. (2024), Branch-Train-MiX; Komatsuzaki et al. (2023), Sparse Upcycling.
    """
    mean = average([model.state_dict() for model in specialists])
    mixture = copy.deepcopy(specialists[0])
    mixture.load_state_dict(mean)
    for number, layer in enumerate(mixture.model.layers):
        experts = stack_experts([model.model.layers[number].mlp for model in specialists])
        n_experts, d_model, d_ff = experts["down_proj"].shape
        layer.mlp = MixtureOfExperts(d_model, d_ff, n_experts, top_k).to(experts["down_proj"])  # device and dtype
        layer.mlp.experts.load_state_dict(experts)
    return mixture
