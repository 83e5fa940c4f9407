"""The exercises of notebook 07, in its order: who is chosen, how the load is kept even, the layer itself, and its later
forms."""

ORDER = (
    "keep_top_k",
    "noisy_gate",
    "importance_loss",
    "moe_forward",
    "switch_loss",
    "apply_capacity",
    "mix_specialists",
    "shared_and_routed",
)
