"""A Triton kernel for a matrix-vector product that is cut along both axes, and leaves small activations' rows alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, Mistake, case, draw
from course_utils.exercises.sparsity_and_kernels import interpreted, tl

PARAMETERS = "weight_t, h, y, threshold, d_in, d_out, BLOCK_K, BLOCK_M"
ADD = "Programs that share a column block each have a part of the sum: add it with tl.atomic_add."
READ = "A row of weight_t is read although |h[k]| is not above the threshold."
ROWS = "The condition on h belongs into the mask of the load of weight_t, [:, None], not only into the product."
ABOVE = "A row counts if |h[k]| > threshold: tl.abs, and nothing at the threshold itself."
EDGE = "The last blocks of both axes are only part full: k < d_in and m < d_out belong into the masks."


def split_kernel(weight_t, h, y, threshold, d_in, d_out, BLOCK_K: tl.constexpr, BLOCK_M: tl.constexpr):
    """y[m] += sum of weight_t[k, m] h[k] over the k of one block with |h[k]| > threshold. Program (p, q) has the rows k
    from p BLOCK_K on and the columns m from q BLOCK_M on; weight_t is contiguous, (d_in, d_out)."""
    k = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    m = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    a = tl.load(h + k, mask=k < d_in, other=0.0)  # (BLOCK_K,)
    read = ((tl.abs(a) > threshold) & (k < d_in))[:, None] & (m < d_out)[None, :]
    w = tl.load(weight_t + k[:, None] * d_out + m[None, :], mask=read, other=0.0)  # (BLOCK_K, BLOCK_M)
    tl.atomic_add(y + m, tl.sum(a[:, None] * w, 0), mask=m < d_out)


def _started(kernel: Callable, weight_t: Tensor, h: Tensor, threshold: float, BLOCK_K: int, BLOCK_M: int):
    """The kernel after its launch, and y (out,), which was 0 before."""
    (d_in, d_out), y = weight_t.shape, weight_t.new_zeros(weight_t.shape[1])
    started = interpreted(kernel, PARAMETERS)
    grid = (-(-d_in // BLOCK_K), -(-d_out // BLOCK_M))
    started[grid](weight_t, h, y, threshold, d_in, d_out, BLOCK_K=BLOCK_K, BLOCK_M=BLOCK_M)
    return started, y


def launch(
    kernel: Callable, weight_t: Tensor, h: Tensor, threshold: float, BLOCK_K: int, BLOCK_M: int, rows: bool = False
) -> Tensor:
    """y (out,) of the kernel, started as a grid of (rows / BLOCK_K, columns / BLOCK_M) programs, rounded up.

    rows: instead the numbers of the rows of weight_t that it read.
    """
    started, y = _started(kernel, weight_t, h, threshold, BLOCK_K, BLOCK_M)
    if not rows:
        return y
    return torch.from_numpy(started.read["weight_t"]).nonzero()[:, 0].div(len(y), rounding_mode="floor").unique()


def _inputs(d_in: int, d_out: int, seed: int, unread: float = torch.nan) -> tuple[Tensor, Tensor]:
    """weight_t with `unread` in the rows that are not to be read at a threshold of 0.5, and h of both signs."""
    weight_t, h = draw(d_in, d_out, seed=seed), draw(d_in, seed=seed + 1)
    h[0], h[d_in // 2], h[-1] = 1.75, -1.25, 0.5  # one exactly at the threshold
    weight_t[h.abs() <= 0.5] = unread
    return weight_t, h


def rows_read(answer: Callable) -> None:
    """no row of weight_t is read in vain"""
    if getattr(getattr(answer, "_unguarded", answer), "is_mistake", False):
        return  # its result tells
    weight_t, h = draw(24, 10, seed=661), draw(24, seed=662)
    read = set(answer(weight_t, h, 0.5, 8, 16, rows=True).tolist())
    needed = set((h.abs() > 0.5).nonzero()[:, 0].tolist())
    if read - needed:
        raise Mistake(f"{READ} ({len(needed)} of the 24 rows are needed, and {len(read)} were read.)", ROWS)


def _product(weight_t: Tensor, h: Tensor, counts: Tensor) -> Tensor:
    return h[counts] @ weight_t[counts]


def _last_block(w: Tensor, h: Tensor, threshold: float, BLOCK_K: int, BLOCK_M: int) -> Tensor:
    place = torch.arange(len(h)) // BLOCK_K == (len(h) - 1) // BLOCK_K
    return _product(w, h, (h.abs() > threshold) & place)


EXERCISE = Exercise(
    "sparsity_and_kernels.split_kernel",
    reference=split_kernel,
    run=launch,
    what="y",
    right="y[m] is the sum of weight_t[k, m] * h[k] over the k with |h[k]| > threshold.",
    explain=lambda y, expected, *args: (
        f"y has nan, which stands in rows that are not to be read.\n{ROWS}" * bool(y.isnan().any())
    ),
    float64=False,
    checks=[rows_read],
    errors={
        r"IndexError: a program reads at h": f"A program reads behind the end of h.\n{EDGE}",
        r"IndexError: a program reads at weight_t": f"A program reads behind the end of weight_t.\n{EDGE} Row k begins "
        "at weight_t + k * d_out.",
        r"IndexError: a program writes at": f"A program writes behind the end of y.\n{EDGE}",
    },
    cases=[
        case("20 rows in blocks of 8, 11 columns in blocks of 4", *_inputs(20, 11, 651, 1.0), 0.5, 8, 4),
        case("the rows that are not needed hold nan", *_inputs(20, 11, 651), 0.5, 8, 4),
        case("one program for everything", *_inputs(13, 5, 653), 0.5, 16, 8),
        case("blocks that fit exactly", *_inputs(16, 8, 655), 0.5, 4, 4),
        case("a threshold of 0: only zeros are skipped", draw(9, 6, seed=657), draw(9, seed=658).relu(), 0.0, 4, 4),
        case("nothing is above the threshold", torch.full((6, 3), torch.nan), draw(6, seed=660), 9.0, 4, 4),
    ],
    mistakes={
        f"y has the sum of the last block of rows only: each program overwrote what others had stored.\n{ADD}": (
            _last_block
        ),
        f"Activations below 0 are left out, also those of a large size.\n{ABOVE}": [
            lambda w, h, threshold, K, M: _product(w, h, h > threshold)
        ],
        f"Rows at the threshold itself are counted.\n{ABOVE}": [
            lambda w, h, threshold, K, M: _product(w, h, h.abs() >= threshold)
        ],
        f"The small activations were kept and the others skipped.\n{ABOVE}": [
            lambda w, h, threshold, K, M: _product(w, h, h.abs() <= threshold)
        ],
        f"Only exact zeros are skipped here: the threshold has no part in it.\n{ABOVE}": [
            lambda w, h, threshold, K, M: _product(w, h, h != 0)
        ],
        "The rows are summed without their activations: each counts h[k] times.": [
            lambda w, h, threshold, K, M: w[h.abs() > threshold].sum(0)
        ],
        "The sign of the activations is lost: tl.abs belongs to the condition alone.": [
            lambda w, h, threshold, K, M: _product(w, h.abs(), h.abs() > threshold)
        ],
        "Nothing was added to y: the sum of a program's block belongs to its columns m.": [
            lambda w, h, threshold, K, M: w.new_zeros(w.shape[1])
        ],
    },
    hints=[
        "Which rows and which columns has program (p, q)? Which of these rows need to be read at all?",
        "Load the block of h first. |h[k]| > threshold, k < d_in and m < d_out together are the mask (BLOCK_K, "
        "BLOCK_M) of the load from weight_t + k[:, None] * d_out + m[None, :]. Several programs add to the same y[m].",
        "w = tl.load(weight_t + k[:, None] * d_out + m[None, :], mask=read, other=0.0); "
        "tl.atomic_add(y + m, tl.sum(a[:, None] * w, 0), mask=m < d_out)",
    ],
)
