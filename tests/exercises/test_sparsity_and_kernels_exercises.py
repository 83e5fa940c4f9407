"""The exercises of notebook 06: answers that are right in another way, and what their references refuse."""

from __future__ import annotations

import math

import pytest
import torch

from course_utils import sparsity
from course_utils.exercises.engine import PASSED, run_check
from course_utils.exercises.sparsity_and_kernels.live_blocks import live_blocks
from course_utils.exercises.sparsity_and_kernels.union_density import union_density
from course_utils.sparsity import bag_matvec, prune_2_4, to_csr_matvec

torch.set_num_threads(1)


def matvec_in_a_loop(weight_t, h):
    y = torch.zeros(len(h), weight_t.shape[1])
    for b, k in h.nonzero().tolist():
        y[b] += h[b, k] * weight_t[k]
    return y


def matvec_by_rows(weight_t, h):
    return torch.stack([row[row != 0] @ weight_t[row != 0] for row in h])


def matvec_by_outer_products(weight_t, h):
    pairs = [(x, row) for x, row in zip(h.T, weight_t) if x.any()]
    return sum((x[:, None] * row for x, row in pairs), torch.zeros(len(h), weight_t.shape[1]))


def matvec_by_einsum(weight_t, h):
    live = (h != 0).any(0)
    return torch.einsum("bk,ko->bo", h[:, live].double(), weight_t.double()[live])


def matvec_by_columns(weight_t, h):
    index = h.abs().sum(0).nonzero().flatten()
    return (weight_t.T[:, index] @ h.T[index]).T


def prune_in_a_loop(weight):
    out = weight.clone()
    for row in out:
        for start in range(0, len(row), 4):
            order = sorted(range(4), key=lambda j: abs(row[start + j].item()))  # noqa: B023 (used at once)
            for j in order[:2]:
                row[start + j] = 0
    return out


def prune_by_topk(weight):
    fours = weight.double().reshape(-1, 4)
    mask = torch.zeros_like(fours).scatter(1, fours.abs().topk(2).indices, 1)
    return (fours * mask).reshape(weight.shape)


def prune_last_of_equals(weight):
    return prune_2_4(weight.flip(-1)).flip(-1)


def blocks_by_split(h, block):
    return torch.stack([(part != 0).any() for part in h.split(block)])


def blocks_from_a_list(h, block):
    return torch.tensor([any(h[i : i + block].tolist()) for i in range(0, len(h), block)])


def blocks_by_magnitude(h, block):
    live = torch.zeros(math.ceil(len(h) / block), dtype=torch.bool)
    live[h.nonzero().squeeze(1) // block] = True
    return live


RIGHT = {
    "sparse_matvec": [
        matvec_in_a_loop,
        matvec_by_rows,
        matvec_by_outer_products,
        matvec_by_einsum,
        matvec_by_columns,
        bag_matvec,
        to_csr_matvec,
    ],
    "union_density": [
        lambda s: -math.expm1(sum(math.log(one) for one in s)) if s.all() else 1.0,
        lambda s: 1 - math.prod(s.tolist()),
        lambda s: 1 - s.log().sum().exp(),
        lambda s: 1 - s.cumprod(0)[-1:],
    ],
    "prune_2_4": [prune_in_a_loop, prune_by_topk, prune_last_of_equals],
    "live_blocks": [blocks_by_split, blocks_from_a_list, blocks_by_magnitude],
}


@pytest.mark.parametrize("name, answer", [(name, answer) for name, answers in RIGHT.items() for answer in answers])
def test_another_right_answer_passes(name, answer):
    report = run_check(f"sparsity_and_kernels.{name}", answer)
    assert report.status == PASSED, report.text


def test_of_equal_rows_the_union_is_the_library_s():
    assert union_density(torch.full((4,), 0.75)) == pytest.approx(sparsity.union_density(0.75, 4))


@pytest.mark.parametrize("h, block", [(torch.zeros(2, 3), 2), (torch.zeros(4), 0)])
def test_live_blocks_refuses_bad_input(h, block):
    with pytest.raises(ValueError, match="live_blocks needs"):
        live_blocks(h, block)
