"""Distillation: a small student model learns from an ensemble of teachers. The targets and the losses, and the
divergences of on-policy distillation.

Logits are raw scores, (..., C) over C classes or tokens; a temperature T divides them before the softmax. All losses
are in nats and means over the B rows (for texts: over the target tokens), and the student's logits alone get a
gradient.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div


def soften(logits: Tensor, T: float) -> Tensor:
    """softmax(logits / T), (..., C) -> (..., C): T = 1 leaves the model as it is, a large T makes small chances
    visible.

    Raises ValueError: T <= 0. Source: Hinton, Vinyals & Dean (2015), section 2, equation 1.
    """
    if not T > 0:
        raise ValueError(f"the temperature T must be above 0, got {T}")
    return (logits / T).softmax(dim=-1)


def ensemble_targets(teacher_logits: Tensor, T: float) -> Tensor:
    """(1/M) sum_m softmax(z_m / T): what M teachers think together; (M, ..., C) -> (..., C), without gradient.

    First each member is softened, then their probabilities are averaged: the arithmetic mean of Hinton et al. (2015),
    section 2. (Averaged logits would be the geometric mean, renormalised: a log-linear ensemble.)
    Raises ValueError: T <= 0, no member axis.
    """
    if teacher_logits.dim() < 2:
        raise ValueError(
            f"teacher_logits need a first axis for the members, (M, ..., C), got {tuple(teacher_logits.shape)}"
        )
    return soften(teacher_logits.detach(), T).mean(dim=0)


def soft_target_loss(student_logits: Tensor, targets: Tensor, T: float) -> Tensor:
    """T^2 KL(targets || softmax(z_s / T)), a scalar: student_logits (B, C), targets (B, C) probabilities made at the
    same T.

    The gradient with respect to z_s is T (softmax(z_s / T) - targets) / B. It would be 1/T^2 of that without the
    factor, and T could not be changed without changing the learning rate. KL is the cross-entropy of the paper less the
    entropy of the targets, a constant: the same gradient, and 0 for a perfect student.
    Raises ValueError: T <= 0, shapes that differ. Source: Hinton et al. (2015), section 2.
    """
    if not T > 0:
        raise ValueError(f"the temperature T must be above 0, got {T}")
    if student_logits.shape != targets.shape:
        raise ValueError(
            f"the student has logits {tuple(student_logits.shape)} and the targets are {tuple(targets.shape)}:"
            " both must be (B, C)"
        )
    return T**2 * kl_div((student_logits / T).log_softmax(dim=-1), targets.detach(), reduction="batchmean")


def kd_loss(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, T: float, alpha: float) -> Tensor:
    """alpha T^2 KL(p_T || q_T) + (1 - alpha) CE(labels, q_1), a scalar.

    p_T = mean over the members of softmax(z_m / T), q_T = softmax(z_s / T). student_logits (B, C), teacher_logits
    (M, B, C), labels (B,) class numbers; alpha in [0, 1] is the teachers' share. The student is used at T = 1
    afterwards. For texts, B counts the target tokens and C the vocabulary: this is word-level distillation.
    Raises ValueError: T <= 0, alpha outside [0, 1], shapes that do not fit.
    Source: Hinton et al. (2015), section 2; Kim & Rush (2016), section 3.1 (word level).
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be from 0 (labels only) to 1 (teachers only), got {alpha}")
    soft = soft_target_loss(student_logits, ensemble_targets(teacher_logits, T), T)
    return alpha * soft + (1 - alpha) * cross_entropy(student_logits, labels)


def divergence(student_logits: Tensor, teacher_probs: Tensor, beta: float) -> Tensor:
    """The generalised Jensen-Shannon divergence of the teacher p and the student q = softmax(student_logits), a scalar.

    beta KL(p || m) + (1 - beta) KL(q || m) with m = beta p + (1 - beta) q for 0 < beta < 1; KL(p || q) for beta = 0
    (forward) and KL(q || p) for beta = 1 (reverse). The ends are set apart because the formula is 0 there; divided by
    beta or by 1 - beta it tends to them. So do Agarwal et al. (2024), section 2, and TRL's GKDTrainer.
    student_logits (B, C), teacher_probs (B, C), which get no gradient. In nats, the mean over the rows. A probability
    of 0 counts as the smallest normal number of its type: value and gradient stay finite.
    Raises ValueError: beta outside [0, 1], shapes that differ.
    """
    if not 0 <= beta <= 1:
        raise ValueError(f"beta must be from 0 (forward KL) to 1 (reverse KL), got {beta}")
    if student_logits.shape != teacher_probs.shape:
        raise ValueError(
            f"the student has logits {tuple(student_logits.shape)} and the teacher probabilities"
            f" {tuple(teacher_probs.shape)}: both must be (B, C)"
        )
    tiny = torch.finfo(student_logits.dtype).tiny
    p = teacher_probs.detach().clamp_min(tiny)
    log_q = student_logits.log_softmax(dim=-1).clamp_min(math.log(tiny))
    q = log_q.exp()
    if beta == 0:
        parts = p * (p.log() - log_q)
    elif beta == 1:
        parts = q * (log_q - p.log())
    else:
        log_m = (beta * p + (1 - beta) * q).clamp_min(tiny).log()
        parts = beta * p * (p.log() - log_m) + (1 - beta) * q * (log_q - log_m)
    return parts.sum(dim=-1).mean()
