"""Diffusion (notebook 10): data turned into noise step by step, and a model that walks back.

The names here are those of Gaussian diffusion (`gaussian`). Diffusion over tokens is in `discrete`, where the same
names mean the same for tokens; the order in which masks become tokens, and masking them again, in `orders`; edit-based
diffusion in `edits`.
"""

from course_utils.diffusion.gaussian import (
    SIGMAS,
    Schedule,
    cosine_schedule,
    ddim_sample,
    ddim_step,
    ddpm_sample,
    ddpm_step,
    energy_distance,
    epsilon_loss,
    even_steps,
    linear_schedule,
    posterior,
    predict_x0,
    q_sample,
    q_step,
    respaced,
    schedule_of,
)

__all__ = [
    "SIGMAS",
    "Schedule",
    "cosine_schedule",
    "ddim_sample",
    "ddim_step",
    "ddpm_sample",
    "ddpm_step",
    "energy_distance",
    "epsilon_loss",
    "even_steps",
    "linear_schedule",
    "posterior",
    "predict_x0",
    "q_sample",
    "q_step",
    "respaced",
    "schedule_of",
]
