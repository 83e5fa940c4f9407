"""The sparsely gated mixture of experts (notebook 07): the gate, the layer, and how tokens reach their experts.

`expert_parallel` computes it on several processes; it is imported by its own name, because it needs
`torch.distributed`.
"""

from course_utils.moe.gating import (
    Gating,
    apply_capacity,
    balanced_bias,
    biased_gates,
    chosen_probability,
    cv_squared,
    expert_capacity,
    expert_choice,
    importance_loss,
    keep_top_k,
    load_loss,
    noisy_top_k_gate,
    softmax_then_top_k,
    switch_balance_loss,
)
from course_utils.moe.layer import Experts, MixtureOfExperts
from course_utils.moe.specialists import mix_specialists, stack_experts

__all__ = [
    "Experts",
    "Gating",
    "MixtureOfExperts",
    "apply_capacity",
    "balanced_bias",
    "biased_gates",
    "chosen_probability",
    "cv_squared",
    "expert_capacity",
    "expert_choice",
    "importance_loss",
    "keep_top_k",
    "load_loss",
    "mix_specialists",
    "noisy_top_k_gate",
    "softmax_then_top_k",
    "stack_experts",
    "switch_balance_loss",
]
