"""Triton's interpreter as the course uses it: right, counted, and never outside of the tensors that were passed."""

from __future__ import annotations

import pytest
import torch

tl = pytest.importorskip("triton.language")

from course_utils.sparsity import triton_kernels  # noqa: E402
from course_utils.sparsity.triton_interpreter import Interpreted  # noqa: E402


def twice(x, out, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + i, 2 * tl.load(x + i, mask=i < n), mask=i < n)


def twice_without_a_mask(x, out, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + i, 2 * tl.load(x + i), mask=i < n)


def twice_in_the_next_place(x, out, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + i + 1, 2 * tl.load(x + i, mask=i < n), mask=i < n)


def added_behind_the_end(x, out, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.atomic_add(out + i, tl.load(x + i, mask=i < n, other=0.0))


def sums(x, out, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    a = tl.load(x + i, mask=i < n, other=0.0)
    tl.store(out + i, tl.cumsum(a, 0) + tl.zeros((BLOCK,), tl.float32), mask=i < n)
    tl.atomic_add(out + i, tl.sum(a, 0), mask=i < n)


def quoted(x, out, n, BLOCK: "tl.constexpr"):  # noqa: UP037
    i = tl.arange(0, BLOCK)
    tl.store(out + i, tl.load(x + i, mask=i < n), mask=i < n)


def wrong(x, out, n, BLOCK: tl.constexpr):
    raise KeyError("not today")


def test_a_kernel_runs_and_its_accesses_are_counted():
    x, out, kernel = torch.arange(13.0), torch.full((13,), torch.nan), Interpreted(twice)
    kernel[(4,)](x, out, 13, BLOCK=4)
    assert torch.equal(out, 2 * x)
    assert kernel.read["x"].tolist() == kernel.written["out"].tolist() == [1] * 13
    assert not kernel.read["out"].any() and not kernel.written["x"].any()


def test_a_constexpr_may_be_quoted():
    """As in a notebook, which must also open where there is no Triton."""
    Interpreted(quoted)[(1,)](x := torch.arange(3.0), out := torch.zeros(3), 3, BLOCK=4)
    assert torch.equal(x, out)


def test_tritons_own_functions_are_interpreted_only_while_a_kernel_runs():
    before = tl.sum, tl.zeros, tl.standard.cumsum, tl.load
    x, out = torch.arange(1.0, 8.0), torch.zeros(7)
    Interpreted(sums)[(1,)](x, out, 7, BLOCK=8)
    assert torch.equal(out, x.cumsum(0) + x.sum())
    assert before == (tl.sum, tl.zeros, tl.standard.cumsum, tl.load)


@pytest.mark.parametrize(
    ("kernel", "says"),
    [
        (twice_without_a_mask, r"reads at x \+ 13, and x has 13 entries: is a mask missing, or a stride wrong\?"),
        (twice_in_the_next_place, r"writes at out \+ 13, and out has 13 entries"),
        (added_behind_the_end, r"writes at out \+ 13, and out has 13 entries"),
    ],
)
def test_memory_that_was_not_passed_is_left_alone(kernel, says):
    behind = torch.full((40,), 7.0)
    with pytest.raises(IndexError, match=says):
        Interpreted(kernel)[(4,)](torch.arange(13.0), behind[:13], 13, BLOCK=4)
    assert (behind[13:] == 7).all()


def test_what_a_kernel_raises_goes_through_and_nothing_stays_changed():
    before = tl.sum, tl.load
    with pytest.raises(KeyError, match="not today"):
        Interpreted(wrong)[(1,)](torch.zeros(3), torch.zeros(3), 3, BLOCK=4)
    assert before == (tl.sum, tl.load)
    test_a_kernel_runs_and_its_accesses_are_counted()


@pytest.mark.skipif(not triton_kernels.INTERPRETED, reason="the kernels are compiled for a GPU")
def test_the_courses_kernels_read_each_row_that_is_needed_once_and_no_other():
    weight_t, h = torch.randn(70, 33), torch.randn(70) * (torch.arange(70) % 3 == 0)
    for launch, tuned in ((triton_kernels.skip, triton_kernels._skip), (triton_kernels.gather, triton_kernels._gather)):
        launch(weight_t, h)
        reads = tuned.fn.read["weight_t"].reshape(70, 33)
        assert (reads == (h != 0).int()[:, None].numpy()).all()
