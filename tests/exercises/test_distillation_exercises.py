"""The exercises of notebook 05: answers that are right in another way, and what their references should be."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from course_utils import distillation
from course_utils.distillation import ensemble_targets, soft_target_loss
from course_utils.exercises.distillation import scores
from course_utils.exercises.distillation.kd_loss import kd_loss
from course_utils.exercises.distillation.sequence_kd_data import overlap
from course_utils.exercises.distillation.soft_gradient import soft_gradient
from course_utils.exercises.engine import PASSED, run_check


def targets_by_einsum(teacher_logits, T):
    with torch.no_grad():
        p = torch.softmax(teacher_logits.double() / T, dim=-1)
        return torch.einsum("mbc,m->bc", p, torch.full((len(p),), 1 / len(p), dtype=torch.float64))


def targets_in_a_loop(teacher_logits, T):
    total = torch.zeros_like(teacher_logits[0])
    for z in teacher_logits.detach():
        total += F.softmax(z / T, dim=1)
    return total / teacher_logits.shape[0]


def targets_by_logsumexp(teacher_logits, T):
    log_p = (teacher_logits.detach() / T).log_softmax(-1)
    return (log_p.logsumexp(0) - math.log(len(log_p))).exp()


def targets_of_log_probs(teacher_logits, T):
    """The log-probabilities at T = 1 are scores as good as the logits."""
    return (teacher_logits.log_softmax(-1) / T).softmax(-1).mean(0).data


def targets_by_hand(teacher_logits, T):
    z = teacher_logits.detach() / T
    weights = (z - z.amax(-1, keepdim=True)).exp()
    return (weights / weights.sum(-1, keepdim=True)).sum(0) / len(z)


def loss_with_xlogy(student_logits, teacher_logits, labels, T, alpha):
    p = (teacher_logits.detach() / T).softmax(-1).mean(0)
    log_q = (student_logits / T).log_softmax(-1)
    soft = (torch.xlogy(p, p) - p * log_q).sum(-1).mean()
    rows = (labels != -100).nonzero().squeeze(1)
    hard = -student_logits.log_softmax(-1)[rows, labels[rows]].sum() / max(len(rows), 1)
    return alpha * T * T * soft + (1 - alpha) * hard


def loss_as_cross_entropy_less_entropy(student_logits, teacher_logits, labels, T, alpha):
    p = ensemble_targets(teacher_logits.double(), T)
    soft = F.cross_entropy(student_logits.double() / T, p) - torch.special.entr(p).sum(-1).mean()
    hard = F.nll_loss(student_logits.double().log_softmax(-1), labels).nan_to_num()
    return T**2 * alpha * soft + (1 - alpha) * hard


def loss_row_by_row(student_logits, teacher_logits, labels, T, alpha):
    total = 0.0
    for b, label in enumerate(labels.tolist()):
        p = torch.stack([(z[b] / T).softmax(-1) for z in teacher_logits.detach()]).mean(0)
        log_q = (student_logits[b] / T).log_softmax(-1)
        soft = sum(x * (x.log() - y) for x, y in zip(p, log_q) if x > 0)
        total = total + alpha * T**2 * soft / len(labels)
        if label != -100:
            total = total - (1 - alpha) * student_logits[b].log_softmax(-1)[label] / (labels >= 0).sum()
    return total.reshape(1)


def gradient_by_autograd(student_logits, targets, T):
    z = student_logits.detach().clone().requires_grad_()
    loss = T**2 * F.kl_div((z / T).log_softmax(-1), targets, reduction="batchmean")
    loss.backward()
    return z.grad


def gradient_by_cross_entropy(student_logits, targets, T):
    student_logits.requires_grad_()
    return torch.autograd.grad(T**2 * F.cross_entropy(student_logits / T, targets), student_logits)[0]


def gradient_in_double(student_logits, targets, T):
    q = torch.exp((student_logits.double() / T).log_softmax(-1))
    return (q - targets).mul(T / targets.size(0))


def gradient_in_a_loop(student_logits, targets, T):
    return torch.stack([T / len(targets) * ((z / T).softmax(0) - p) for z, p in zip(student_logits, targets)])


def data_in_one_line(beam_search, sources, references=None, similarity=None):
    if similarity is None:
        return [(s, max(beam_search(s), key=lambda c: c[1])[0]) for s in sources]
    chosen = [max(beam_search(s), key=lambda c: similarity(c[0], r))[0] for s, r in zip(sources, references)]
    return list(zip(sources, chosen))


def data_with_a_running_maximum(beam_search, sources, references=None, similarity=None):
    pairs = []
    for source, reference in zip(sources, references or [None] * len(sources)):
        best, found = -math.inf, None
        for text, log_prob in beam_search(source):
            score = similarity(text, reference) if similarity else log_prob
            if score > best:
                best, found = score, text
        pairs.append([source, found])
    return tuple(pairs)


def data_sorted(beam_search, sources, references=None, similarity=None):
    pairs = []
    for i, source in reversed(list(enumerate(sources))):  # the order of training pairs does not matter
        candidates = beam_search(source)
        candidates.sort(key=lambda c: math.exp(c[1]) if similarity is None else similarity(c[0], references[i]))
        pairs.append((source, candidates[-1][0]))
    return pairs


def divergence_by_kl_div(student_logits, teacher_probs, beta):
    log_q, p = student_logits.log_softmax(-1), teacher_probs.detach()
    if beta == 0:
        return F.kl_div(log_q, p, reduction="batchmean")
    if beta == 1:
        return F.kl_div(p.log(), log_q, reduction="batchmean", log_target=True)
    log_m = (beta * p + (1 - beta) * log_q.exp()).log()
    of_q = F.kl_div(log_m, log_q, reduction="batchmean", log_target=True)
    return beta * F.kl_div(log_m, p, reduction="batchmean") + (1 - beta) * of_q


def divergence_from_entropies(student_logits, teacher_probs, beta):
    p, q = teacher_probs.detach().double().clamp_min(1e-30), student_logits.double().softmax(-1)
    if beta in (0, 1):
        a, b = (p, q) if beta == 0 else (q, p)
        return (a * (a / b).log()).sum(dim=1).mean()
    h = torch.special.entr
    return (h(beta * p + (1 - beta) * q) - beta * h(p) - (1 - beta) * h(q)).sum(dim=1).mean()


def on_policy_row_by_row(sample, student, teacher, sources, end):
    ids = sample(sources)
    q, p = student(sources, ids).softmax(-1), teacher(sources, ids).detach()
    total, count = 0.0, 0
    for b, row in enumerate(ids.tolist()):
        for t, token in enumerate(row[1:]):
            total, count = total + (q[b, t] * (q[b, t] / p[b, t]).log()).sum(), count + 1
            if token == end:
                break
    return total / count


def on_policy_by_kl_div(sample, student, teacher, sources, end):
    with torch.no_grad():
        ids = sample(sources)
        log_p = teacher(sources, ids).log()
    log_q = student(sources, ids).log_softmax(-1)
    before = (ids == end).cumsum(1)[:, :-1] > 0  # an end stands at or before the place that speaks
    return F.kl_div(log_p[:, :-1][~before], log_q[:, :-1][~before], reduction="batchmean", log_target=True)


RIGHT = {
    "ensemble_targets": [
        targets_by_einsum,
        targets_in_a_loop,
        targets_by_logsumexp,
        targets_of_log_probs,
        targets_by_hand,
    ],
    "kd_loss": [loss_with_xlogy, loss_as_cross_entropy_less_entropy, loss_row_by_row],
    "soft_gradient": [gradient_by_autograd, gradient_by_cross_entropy, gradient_in_double, gradient_in_a_loop],
    "sequence_kd_data": [data_in_one_line, data_with_a_running_maximum, data_sorted],
    "divergence": [divergence_by_kl_div, divergence_from_entropies],
    "on_policy_loss": [on_policy_row_by_row, on_policy_by_kl_div],
}


@pytest.mark.parametrize("name, answer", [(name, answer) for name, answers in RIGHT.items() for answer in answers])
def test_another_right_answer_passes(name, answer):
    report = run_check(f"distillation.{name}", answer)
    assert report.status == PASSED, report.text


def test_with_a_label_in_each_row_the_loss_is_the_library_s():
    student, teachers, labels = scores(4, 6, seed=5), scores(3, 4, 6, seed=6), torch.tensor([0, 5, 2, 2])
    for alpha in (0.0, 0.3, 1.0):
        mine = kd_loss(student, teachers, labels, 3.0, alpha)
        torch.testing.assert_close(mine, distillation.kd_loss(student, teachers, labels, 3.0, alpha))


@pytest.mark.parametrize("T", [0.5, 1.0, 4.0])
def test_the_gradient_is_that_of_autograd(T):
    z, p = scores(4, 6, seed=1).double(), ensemble_targets(scores(3, 4, 6, seed=2).double(), T)
    by_torch = torch.autograd.grad(soft_target_loss(z.requires_grad_(), p, T), z)[0]
    torch.testing.assert_close(soft_gradient(z.detach(), p, T), by_torch)
    assert soft_gradient(z, p, T).sum(-1).abs().max() < 1e-6


def test_a_very_hot_gradient_matches_logits():
    """Hinton et al., equation 4."""
    z, v = (scores(4, 6, seed=seed).double() for seed in (3, 4))
    z, v = z - z.mean(-1, keepdim=True), v - v.mean(-1, keepdim=True)
    found = soft_gradient(z, (v / 1e4).softmax(-1), 1e4)
    torch.testing.assert_close(found, (z - v) / (4 * 6), atol=1e-4, rtol=1e-3)


def test_the_similarity_is_not_symmetric():
    assert overlap("el gato", "el gato duerme") != overlap("el gato duerme", "el gato")
    assert overlap("el gato", "el gato") == 1
