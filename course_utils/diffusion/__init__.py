"""Diffusion (notebook 10): data turned into noise step by step, and a model that walks back.

The names here are those of Gaussian diffusion (`gaussian`). Diffusion over tokens is in `discrete`, where the same
names mean the same for tokens, and edit-based diffusion in `edits`.
"""

from course_utils.diffusion.gaussian import (
    SIGMAS,
    Schedule,
    cosine_schedule,
    ddpm_sample,
    ddpm_step,
    energy_distance,
    epsilon_loss,
    linear_schedule,
    posterior,
    predict_x0,
    q_sample,
    q_step,
    schedule_of,
)

__all__ = [
    "SIGMAS",
    "Schedule",
    "cosine_schedule",
    "ddpm_sample",
    "ddpm_step",
    "energy_distance",
    "epsilon_loss",
    "linear_schedule",
    "posterior",
    "predict_x0",
    "q_sample",
    "q_step",
    "schedule_of",
]
