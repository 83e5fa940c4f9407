"""Notebook 04: answers that are right in another way, and properties of its references."""

from __future__ import annotations

import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from course_utils.exercises.engine import PASSED, run_check
from course_utils.exercises.task_vectors_and_merging import apply, elect
from course_utils.exercises.task_vectors_and_merging import dare as dropping
from course_utils.merging.task_vectors import dare, elect_sign


def trim_by_argsort(tau, density):
    result = tau.clone()
    for row, order in zip(result, tau.abs().argsort(dim=1, descending=True)):
        row[order[math.ceil(round(density * tau.shape[1], 6)) :]] = 0
    return result


def trim_in_lists(tau, density):
    rows = []
    for row in tau.tolist():
        best = sorted(range(len(row)), key=lambda i, row=row: -abs(row[i]))[: math.ceil(round(len(row) * density, 6))]
        rows.append([x if i in best else 0.0 for i, x in enumerate(row)])
    return torch.tensor(rows, dtype=torch.float64)


def trim_in_numpy(tau, density):
    x = tau.numpy()
    mask = np.zeros_like(x)
    np.put_along_axis(mask, np.argsort(-(x**2), axis=1)[:, : math.ceil(round(density * x.shape[1], 6))], 1.0, axis=1)
    return torch.from_numpy(x * mask)


def elect_by_masses(tau):
    positive, negative = tau.clamp(min=0).sum(0), -tau.clamp(max=0).sum(0)
    sign = (positive > negative).int() - (positive < negative).int()
    sign[sign == 0] = sign.sum().sign()
    return sign


def mean_by_nanmean(tau, sign):
    return torch.where(tau * sign > 0, tau, torch.nan).nanmean(dim=0).nan_to_num(0.0)


def mean_in_a_loop(tau, sign):
    columns = [[x for x in tau[:, j].tolist() if x * sign[j] > 0] for j in range(tau.shape[1])]
    return torch.tensor([sum(values) / len(values) if values else 0.0 for values in columns])


def dare_by_bernoulli(tau, p, generator):
    return tau * torch.bernoulli(torch.full_like(tau, 1 - p), generator=generator) / (1 - p)


def dare_row_by_row(tau, p, generator):
    if tau.dim() == 2:
        return torch.stack([dare_row_by_row(row, p, generator) for row in tau])
    return torch.where(torch.rand(len(tau), generator=generator) > 1 - p, 0.0, tau) / (1 - p)


def dare_in_numpy(tau, p, generator):
    rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
    return tau * torch.from_numpy(rng.random(tuple(tau.shape)) >= p) / (1 - p)


def slerp_in_torch(a, b, t):
    x, y = a.reshape(-1).double(), b.reshape(-1).double()
    cos = F.cosine_similarity(x, y, dim=0).clamp(-1, 1)
    if cos.abs() > 0.9995:
        return torch.lerp(a, b, t)
    w = torch.arccos(cos)
    return ((torch.sin((1 - t) * w) * x + torch.sin(t * w) * y) / torch.sin(w)).reshape(a.shape)


def slerp_by_atan2(a, b, t):
    u, v = a.double() / a.double().norm(), b.double() / b.double().norm()
    w = 2 * math.atan2((u - v).norm().item(), (u + v).norm().item())
    if min(w, math.pi - w) < 0.0316:
        return a + t * (b - a)
    return (a * math.sin(w - t * w) + b * math.sin(t * w)) / math.sin(w)


def slerp_in_float32(a, b, t):
    a, b = a.float(), b.float()
    cos = ((a * b).sum() / (a.norm() * b.norm())).item()
    if abs(cos) > 0.9995:
        return (1 - t) * a + t * b
    w = torch.tensor(cos).acos()
    return (torch.sin((1 - t) * w) * a + torch.sin(t * w) * b) / torch.sin(w)


def probabilities_by_counting(tau, density, epsilon):
    size = tau.abs()
    smaller = (size.unsqueeze(1) < size.unsqueeze(2)).sum(-1)  # how many of its row are smaller than each entry
    return density + epsilon * (2 * smaller / (tau.shape[1] - 1) - 1)


def probabilities_in_lists(tau, density, epsilon):
    found = torch.empty(tau.shape)
    for row, out in zip(tau, found):
        for rank, place in enumerate(sorted(range(len(row)), key=lambda j, row=row: abs(row[j]))):
            out[place] = density - epsilon + 2 * epsilon * rank / (len(row) - 1)
    return found


def ratio_in_a_loop(tau):
    n = len(tau)
    found = [F.cosine_similarity(tau[i], tau[j], dim=0).item() for i in range(n) for j in range(i)]
    cos = sum(found) / len(found)
    return n * cos / (1 + (n - 1) * cos)


def ratio_by_the_whole_matrix(tau):
    n, unit = len(tau), F.normalize(tau.double(), dim=1)
    cos = ((unit @ unit.T).sum() - n) / (n * (n - 1))
    return 1 - (1 - cos) / (1 + (n - 1) * cos)


def apply_in_a_running_sum(base, fine_tuned, lam):
    result = {name: tensor.clone() for name, tensor in base.items()}
    for model in fine_tuned:
        for name, tensor in base.items():
            if tensor.is_floating_point():
                result[name] += lam * (model[name] - tensor)
    return result


def apply_by_coefficients(base, fine_tuned, lam):
    edited = OrderedDict()
    for name, start in base.items():
        total = torch.stack([model[name] for model in fine_tuned]).double().sum(0)
        value = (1 - len(fine_tuned) * lam) * start.double() + lam * total
        edited[name] = value.to(start.dtype) if start.dtype.is_floating_point else torch.tensor(start.item())
    return edited


RIGHT = {
    "trim": (trim_by_argsort, trim_in_lists, trim_in_numpy),
    "elect": (elect_by_masses,),
    "disjoint_mean": (mean_by_nanmean, mean_in_a_loop),
    "dare": (dare_by_bernoulli, dare_row_by_row, dare_in_numpy),
    "slerp": (slerp_in_torch, slerp_by_atan2, slerp_in_float32),
    "magprune": (probabilities_by_counting, probabilities_in_lists),
    "stock": (ratio_in_a_loop, ratio_by_the_whole_matrix),
    "apply": (apply_in_a_running_sum, apply_by_coefficients),
}


@pytest.mark.parametrize(("name", "answer"), [(name, answer) for name, answers in RIGHT.items() for answer in answers])
def test_another_right_answer_passes(name, answer):
    report = run_check(f"task_vectors_and_merging.{name}", answer)
    assert report.status == PASSED, report.text


@pytest.mark.parametrize("seed", range(20))
def test_a_right_draw_passes_whatever_the_seed(seed):
    """Chance may go 4.5 sigmas: no seed that a student meets is refused."""
    for tau, p in ((dropping.TAU, 0.1), (dropping.TAU, 0.99), (dropping.ROWS, 0.5)):
        assert not dropping._amiss(dare(tau, p, torch.Generator().manual_seed(seed)), tau, p)


def test_a_draw_is_designed_and_its_sums_are_exact():
    for tau in (elect.MINUS, elect.PLUS, elect.MANY_SMALL):
        total = tau.sum(0)
        assert (total == 0).sum() >= 2 and total.sign().sum() != 0 and torch.equal(tau, tau.round())
        assert set(elect_sign(tau).tolist()) == {1.0, -1.0}
    even = torch.tensor([[2.0, -3, 2, 0], [-1, 1, -1, -2], [0, 1, -1, 2]])  # sums 1, -1, 0, 0: nothing decides
    assert elect_sign(even).tolist() == [1, -1, 0, 0]


def test_adding_tasks_is_the_formula():
    base, models = apply.family(3, seed=1)
    edited = apply.add_tasks(
        {**base, "steps": torch.tensor(7)}, [{**m, "steps": torch.tensor(9)} for m in models], 0.25
    )
    for name, start in base.items():
        torch.testing.assert_close(edited[name], start + 0.25 * sum(model[name] - start for model in models))
    assert edited["steps"] == 7
