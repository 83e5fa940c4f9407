"""A matrix-vector product that skips the zeros, and does not multiply by them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, Mistake, case, draw, mistake
from course_utils.sparsity import sparse_matvec

ROWS = "Take the rows that are needed and the same entries of h, and nothing else."
SUM = "y is the sum of h[k] * weight_t[k] over the k with h[k] != 0."
GATHER = "A row of weight_t belongs to an entry of h: the product needs the same index of both."
WEIGHT_T = "weight_t is W^T, (in, out): the activation h[k] belongs to its row k."
ONLY_ZEROS = "Only exact zeros, of no sign, may be skipped: h != 0."
READ = "Rows of weight_t are read whose activation is 0: neither a plain product nor a mask saves any reading."
ALL_ZERO = "Every activation is 0 here: the result is out zeros, and still a tensor of shape (out,)."
LOOP = "A loop should start from torch.zeros(out)."


def _inputs(seed: int, rows: int = 8, out: int = 11, zeros: Any = (0, 3, 6)) -> tuple[Tensor, Tensor]:
    """weight_t (rows, out), and h (rows,) with both signs and three zeros."""
    weight_t, h = draw(rows, out, seed=seed), draw(rows, seed=seed + 1)
    h[1], h[2], h[list(zeros)] = h[1].abs() + 0.5, -h[2].abs() - 0.5, 0.0
    return weight_t, h


def _poisoned(poison: float) -> tuple[Tensor, Tensor]:
    weight_t, h = _inputs(615)
    weight_t[h == 0] = poison
    return weight_t, h


NEEDED, SMALL = _inputs(617), _inputs(619)
NEEDED[0][1, 4] = torch.inf
SMALL[1][5], SMALL[0][5] = 1e-6, 1e6 * draw(11, seed=620)
FULL = SMALL[0], SMALL[1] + (SMALL[1] == 0)


class _Watched(Tensor):
    """A weight that says when all of it is multiplied or changed."""

    READING = "mul rmul multiply where masked_fill matmul rmatmul mv mm einsum nansum sum nan_to_num setitem"

    @classmethod
    def __torch_function__(cls, func: Callable, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        if func.__name__.strip("_") in cls.READING.split():
            tensors = [arg for arg in args if isinstance(arg, Tensor)]
            whole = any(isinstance(arg, cls) and arg.numel() == 8 * 11 for arg in tensors)
            if whole and all(arg.layout == torch.strided for arg in tensors):
                raise Mistake(READ, ROWS)
        return super().__torch_function__(func, types, args, kwargs or {})


def rows_read(answer: Callable) -> None:
    """no row of weight_t is read in vain"""
    weight_t, h = _inputs(621)
    answer(weight_t.as_subclass(_Watched), h)


EXERCISE = Exercise(
    "sparsity_and_kernels.sparse_matvec",
    reference=sparse_matvec,
    what="your result",
    right=SUM,
    checks=[rows_read],
    errors={
        r"\(1x8 and 5x11\)|mat \(11x5\), vec \(8\)": f"The rows of weight_t were gathered, but h was not. {GATHER}",
        r"\(1x\d and 8x11\)|mat \(11x8\), vec": f"h was gathered, but weight_t was not. {GATHER}",
        r"\(1x\d and 8x5\)|mat \(8x5\), vec \(8\)|out of": f"You gathered columns of weight_t. {WEIGHT_T}",
        r"vec \([58]\)": f"The product is the wrong way round. {WEIGHT_T}",
        "at least 1D|0-d tensor|zero-dimensional": "There is exactly one non-zero here, and squeeze() has turned its "
        "index (1, 1) into a number: squeeze(1) leaves (n,).",
        "non-empty": f"{ALL_ZERO} {LOOP}",
        "shapes": "The shapes do not line up: the gathered rows are (n, out), the gathered activations (n,).",
    },
    cases=[
        case("activations of both signs, some of them 0", *_inputs(611)),
        case("a square weight", *_inputs(613, 9, 9, (4, 6, 7))),
        case("the rows that belong to zeros hold nan", *_poisoned(torch.nan)),
        case("the rows that belong to zeros hold inf", *_poisoned(torch.inf)),
        case("a row that is needed holds inf", *NEEDED),
        case("a tiny activation with large weights", *SMALL),
        case("no zero at all", *FULL),
        case("exactly one non-zero", draw(8, 11, seed=622), torch.eye(8)[4] * -1.5),
        case("every activation is 0: nothing to read", torch.full((8, 11), torch.nan), torch.zeros(8)),
    ],
    mistakes=[
        mistake(
            "A row of weight_t whose activation is 0 was multiplied and not skipped: 0 * nan and 0 * inf are nan.",
            lambda w, h: h @ w,
            pointer=f"Neither a plain product nor one with a mask saves any reading. {ROWS}",
        ),
        mistake(
            "nan or inf was replaced by a number, in the weights or in the result: that reads every row all the same.",
            lambda w, h: (h @ w).nan_to_num(),
            lambda w, h: h @ w.nan_to_num(),
            pointer=f"It also hides an inf in a row that is needed. {ROWS}",
        ),
        mistake(
            "You keep only the activations above 0, and not every activation comes out of a ReLU.",
            lambda w, h: h[h > 0] @ w[h > 0],
            lambda w, h: h.clamp(min=0) @ w,
            pointer=ONLY_ZEROS,
        ),
        mistake("You keep only the activations below 0.", lambda w, h: h[h < 0] @ w[h < 0], pointer=ONLY_ZEROS),
        mistake(
            "Small activations were dropped: here one of 1e-6 meets weights of 1e6.",
            lambda w, h: h[h.abs() > 1e-4] @ w[h.abs() > 1e-4],
            pointer=ONLY_ZEROS,
        ),
        mistake(
            "You add up the rows, but do not multiply them with h.",
            lambda w, h: w[h != 0].sum(0),
            lambda w, h: w.sum(0),
            lambda w, h: w[h != 0].mean(0),
            pointer="Each row counts h[k] times.",
        ),
        mistake(
            "You took the mean over the rows: a matrix-vector product is a sum.",
            lambda w, h: h[h != 0] @ w[h != 0] / len(h),
            lambda w, h: h[h != 0] @ w[h != 0] / (h != 0).sum(),
        ),
        mistake("The sign of the activations is lost.", lambda w, h: h[h != 0].abs() @ w[h != 0], pointer=SUM),
        mistake("The sign of the result is the wrong way round.", lambda w, h: -sparse_matvec(w, h)),
        mistake(
            "You multiplied the rows by their numbers, the index itself.",
            lambda w, h: h.nonzero().squeeze(1).to(w.dtype) @ w[h != 0],
            pointer=SUM,
        ),
        mistake("Each row is multiplied by h[k] twice.", lambda w, h: h[h != 0] ** 2 @ w[h != 0]),
        mistake(
            "The zeros were kept, and the others skipped: the condition is the wrong way round.",
            lambda w, h: h[h == 0] @ w[h == 0],
            lambda w, h: w[h == 0].sum(0),
        ),
        mistake("Only the first non-zero activation was used.", lambda w, h: h[h != 0][0] * w[h != 0][0], pointer=SUM),
        mistake(
            "The loop ends at the first zero: skip it and go on.",
            lambda w, h: h[: (h == 0).nonzero()[0]] @ w[: (h == 0).nonzero()[0]],
        ),
        mistake(
            "The first rows of weight_t, or entries of h, are paired with the non-zeros of the other.",
            lambda w, h: h[h != 0] @ w[: (h != 0).sum()],
            lambda w, h: h[: (h != 0).sum()] @ w[h != 0],
            pointer=GATHER,
        ),
        mistake(
            "You gathered columns of weight_t.",
            lambda w, h: w[:, h.nonzero().squeeze(1)] @ h[h != 0],
            lambda w, h: h @ w[:, h.nonzero().squeeze(1)],
            pointer=WEIGHT_T,
        ),
        mistake("These are the n rows themselves.", lambda w, h: h[h != 0, None] * w[h != 0], pointer="Add them up."),
        mistake(
            "This is one number.", lambda w, h: sparse_matvec(w, h).sum(), pointer="y has one for each output, (out,)."
        ),
        mistake(
            "The shape has a dimension of size 1 too many.",
            lambda w, h: sparse_matvec(w, h)[None],
            lambda w, h: sparse_matvec(w, h)[:, None],
            pointer="h.nonzero() is (n, 1), not (n,): squeeze(1). The result is (out,).",
        ),
        mistake(ALL_ZERO, lambda w, h: sum(h[k] * w[k] for k in h.nonzero().squeeze(1)), pointer=LOOP),
    ],
    hints=[
        "Which rows of weight_t does the product need at all? Find their numbers first, and read nothing else.",
        "h.nonzero() gives the places that are not 0, as (n, 1): squeeze(1). Take these rows of weight_t and the same "
        "entries of h, and multiply only those.",
        "index = h.nonzero().squeeze(1); h[index] @ weight_t[index]",
    ],
)
