"""A product with a batch of activations that skips the rows of the weight that nobody needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, Mistake, case, draw, one_row
from course_utils.exercises.engine.calls import fits
from course_utils.exercises.sparsity_and_kernels import RowsRead
from course_utils.sparsity import sparse_matvec

ROWS = "Take the rows that are needed and the same columns of h, and nothing else."
SUM = "y[b] is the sum of h[b, k] * weight_t[k] over the k with h[b, k] != 0."
GATHER = "Row k of weight_t belongs to column k of h: the product needs the same index of both."
WEIGHT_T = "weight_t is W^T, (in, out): the activations h[:, k] belong to its row k."
ONLY_ZEROS = "Only exact zeros, of no sign, may be skipped: h != 0."
NEEDED = "A row of weight_t is needed as soon as one row of h has no 0 there."
READ = "Rows of weight_t are read that no row of h needs: neither a plain product nor a mask saves any reading."
BATCH = (
    "The shapes do not line up. h is a batch (B, in), and h.nonzero() is (n, 2): a row and a column for each non-zero. "
    "Use one index: the columns that are needed."
)
ALL_ZERO = "Every activation is 0 here: the result is zeros, and still a tensor of shape (B, out)."


def _inputs(seed: int, n: int = 8, out: int = 11, zeros: Any = (0, 3, 6)) -> tuple[Tensor, Tensor]:
    """weight_t (n, out), and h (3, n): columns of zeros, one without any, one whose sum is 0, and lone zeros."""
    weight_t, h = draw(n, out, seed=seed), draw(3, n, seed=seed + 1)
    h[:, 1], h[:, 2] = torch.tensor([1.2, 0.7, -0.9]), torch.tensor([0.0, -1.5, 1.5])
    h[0, 5] = h[2, 5] = h[1, 7] = 0.0
    h[:, list(zeros)] = 0.0
    return weight_t, h


def _poisoned(poison: float) -> tuple[Tensor, Tensor]:
    weight_t, h = _inputs(615)
    weight_t[(h == 0).all(0)] = poison
    return weight_t, h


INF, SMALL = _inputs(617), _inputs(619)
INF[0][1, 4] = torch.inf
SMALL[1][:, 5], SMALL[0][5] = 1e-6, 1e6 * draw(11, seed=620)
ONE = torch.zeros(3, 8).index_fill(1, torch.tensor(4), -1.5)


def run(answer: Callable, weight_t: Tensor, h: Tensor, rows: bool = False) -> Tensor:
    """What the answer gives; rows: instead the numbers of the rows of weight_t that it read."""
    fits(answer, (weight_t, h), {})
    if not rows:
        return answer(weight_t, h)
    with RowsRead(weight_t) as reads:
        answer(weight_t, h)
    return torch.tensor(sorted(reads.rows))


def rows_read(answer: Callable) -> None:
    """no row of weight_t is read in vain"""
    if getattr(getattr(answer, "_unguarded", answer), "is_mistake", False):
        return  # its result tells
    if len(rows := answer(*_inputs(621), rows=True)) > 5:
        raise Mistake(f"{READ} (5 of the 8 are needed, and {len(rows)} were read.)", ROWS)


def _where(condition: Callable) -> Callable:
    """The gathered product over the k that a condition on h chooses, (in,) bool."""
    return lambda w, h: h[:, condition(h)] @ w[condition(h)]


EXERCISE = Exercise(
    "sparsity_and_kernels.sparse_matvec",
    reference=sparse_matvec,
    run=run,
    what="your result",
    right=SUM,
    checks=[rows_read],
    errors={
        r"\(\dx8 and 5x11\)": f"The rows of weight_t were gathered, but the columns of h were not. {GATHER}",
        r"\(\dx5 and 8x11\)": f"The columns of h were gathered, but the rows of weight_t were not. {GATHER}",
        r"\(\dx\d and 8x5\)": f"You gathered columns of weight_t. {WEIGHT_T}",
        r"\((8x11|11x8|5x11|11x5) and": f"The product is the wrong way round. {WEIGHT_T}",
        r"expected tensor \[\d\]|at least 1D|0-d tensor|zero-dimensional": "Exactly one row of weight_t is needed "
        "here, and squeeze() has turned its index (1, 1) into a number: squeeze(1) leaves (n,).",
        "non-empty": ALL_ZERO,
        "ambiguous": "`if` needs one truth value, and h[:, k] has B of them: any() makes one of them.",
        "out of bounds|out of range|not match": BATCH,
        "shapes": BATCH,
    },
    cases=[
        case("three rows of activations of both signs, some columns of them 0", *_inputs(611)),
        case("a square weight", *_inputs(613, 9, 9, (4, 6, 8))),
        case("the rows that nobody needs hold nan", *_poisoned(torch.nan)),
        case("the rows that nobody needs hold inf", *_poisoned(torch.inf)),
        case("a row that is needed holds inf", *INF),
        case("tiny activations with large weights", *SMALL),
        case("no zero at all", SMALL[0], SMALL[1] + (SMALL[1] == 0)),
        case("exactly one row of weight_t is needed", draw(8, 11, seed=622), ONE),
        case("every activation is 0: nothing to read", torch.full((8, 11), torch.nan), torch.zeros(3, 8)),
    ],
    corners=[one_row("h")],
    mistakes={
        "A row of weight_t that no row of h needs was multiplied and not skipped: 0 * nan and 0 * inf are nan.\n"
        f"Neither a plain product nor one with a mask saves any reading. {ROWS}": lambda w, h: h @ w,
        "nan or inf was replaced by a number, in the weights or in the result: that reads every row all the same.\n"
        f"It also hides an inf in a row that is needed. {ROWS}": [
            *(lambda w, h: (h @ w).nan_to_num(), lambda w, h: h @ w.nan_to_num()),
        ],
        f"Only the rows of weight_t are used that one row of h needs, the first or the last.\n{NEEDED}": [
            *(_where(lambda h: h[0] != 0), _where(lambda h: h[-1] != 0)),
        ],
        f"Only columns of h without any 0 are used.\n{NEEDED}": _where(lambda h: (h != 0).all(0)),
        f"Whether a row is needed is asked of the sum of its activations, and +1.5 and -1.5 cancel.\n{NEEDED}": [
            *(_where(lambda h: h.sum(0) != 0), _where(lambda h: h.sum(0) > 0)),
        ],
        f"Only activations above 0 count here, and not every activation comes out of a ReLU.\n{ONLY_ZEROS}": [
            *(_where(lambda h: (h > 0).any(0)), lambda w, h: h.clamp(min=0) @ w),
        ],
        f"Only activations below 0 count here.\n{ONLY_ZEROS}": _where(lambda h: (h < 0).any(0)),
        f"Small activations were dropped: here those of 1e-6 meet weights of 1e6.\n{ONLY_ZEROS}": [
            *(_where(lambda h: (h.abs() > 1e-4).any(0)), lambda w, h: h * (h.abs() > 1e-4) @ w),
        ],
        "A row of weight_t that several rows of h need is counted several times.\n"
        "Count the different columns of h that are needed.": lambda w, h: h * (h != 0).sum(0) @ w,
        "These are sums of rows that are not multiplied with h.\nEach row counts h[b, k] times.": [
            *(lambda w, h: (h != 0).to(w.dtype) @ w, lambda w, h: w[(h != 0).any(0)].sum(0)),
        ],
        "This is a mean over the rows of weight_t: a product of matrices is a sum.": [
            *(lambda w, h: h @ w / h.shape[1], lambda w, h: sparse_matvec(w, h) / (h != 0).any(0).sum()),
        ],
        f"The sign of the activations is lost.\n{SUM}": lambda w, h: sparse_matvec(w, h.abs()),
        "The sign of the result is the wrong way round.": lambda w, h: -sparse_matvec(w, h),
        f"Each row is multiplied by h[b, k] twice.\n{SUM}": lambda w, h: sparse_matvec(w, h**2),
        f"The zeros were kept, and the others skipped: the condition is the wrong way round.\n{NEEDED}": [
            *(_where(lambda h: (h == 0).all(0)), _where(lambda h: (h == 0).any(0))),
        ],
        "The loop ends at the first column of zeros: skip it and go on.": _where(
            lambda h: (h != 0).any(0).cumprod(0) > 0
        ),
        f"The first rows of weight_t, or columns of h, are paired with those of the other that are needed.\n{GATHER}": [
            lambda w, h: h[:, (i := (h != 0).any(0))] @ w[: i.sum()],
            lambda w, h: h[:, : (i := (h != 0).any(0)).sum()] @ w[i],
        ],
        "The result is summed over the rows of h, or is that of one row: y has one row for each, (B, out).": [
            *(lambda w, h, f=f: f(sparse_matvec(w, h)) for f in (lambda y: y.sum(0), lambda y: y[0], lambda y: y[-1])),
        ],
        "The result is transposed: y is (B, out).": lambda w, h: sparse_matvec(w, h).T,
        f"{ALL_ZERO}\nA loop should start from torch.zeros(B, out).": lambda w, h: sum(
            torch.outer(h[:, k], w[k]) for k in (h != 0).any(0).nonzero()[:, 0]
        ),
    },
    hints=[
        "Which rows of weight_t does any row of h need at all? Find their numbers first, and read nothing else.",
        "(h != 0).any(0) says of each column of h whether it is needed. Take these columns of h and the same rows of "
        "weight_t, and multiply only those.",
        "needed = (h != 0).any(dim=0); h[:, needed] @ weight_t[needed]",
    ],
)
