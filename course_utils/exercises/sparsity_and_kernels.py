"""Exercises of notebook 06: a product that skips zeros, what a batch leaves to skip, 2:4 weights, live blocks.

The references of the first three are the library's own functions (course_utils/sparsity/matvec.py).
"""

from __future__ import annotations

from course_utils.exercises import sparsity_and_kernels_blocks as blocks
from course_utils.exercises import sparsity_and_kernels_matvec as matvec
from course_utils.exercises import sparsity_and_kernels_prune as prune
from course_utils.exercises import sparsity_and_kernels_quizzes  # noqa: F401 (registers the quiz)
from course_utils.exercises import sparsity_and_kernels_union as union
from course_utils.exercises.engine import Exercise, register
from course_utils.exercises.sparsity_and_kernels_blocks import live_blocks
from course_utils.sparsity import prune_2_4, sparse_matvec, union_density

__all__ = ["live_blocks"]

register(
    Exercise(
        "sparsity_and_kernels.sparse_matvec",
        sparse_matvec,
        [
            matvec.matvec_random,
            matvec.matvec_poisoned,
            matvec.matvec_infinite,
            matvec.matvec_small,
            matvec.matvec_all_zero,
        ],
        hints=[
            "Which rows of weight_t does the product need at all? Find their numbers first, and read nothing else.",
            (
                "h.nonzero() gives the places that are not 0, as (n, 1): squeeze(1). Take these rows of weight_t and the"
                " same entries of h, and multiply only those."
            ),
            "index = h.nonzero().squeeze(1); h[index] @ weight_t[index]",
        ],
    )
)
register(
    Exercise(
        "sparsity_and_kernels.union_density",
        union_density,
        [union.union_values, union.union_one_row, union.union_ends],
        hints=[
            "When can a column be skipped for the whole batch? Ask for the chance of that first.",
            "A column is free only if it is 0 in all B rows; independent chances are multiplied. Asked is the opposite.",
            "1 - s**B",
        ],
    )
)
register(
    Exercise(
        "sparsity_and_kernels.prune_2_4",
        prune_2_4,
        [prune.prune_random, prune.prune_ties, prune.prune_pruned],
        hints=[
            "Each four decides for itself. Give the fours an axis of their own, and choose along it.",
            (
                "Reshape to (out, in/4, 4). The places of the two largest magnitudes: topk(2) of abs(). Make a mask from"
                " them by scatter: by index, so that of equals exactly two stay."
            ),
            (
                "fours = weight.reshape(len(weight), -1, 4); best = fours.abs().topk(2, dim=-1).indices; mask ="
                " torch.zeros_like(fours).scatter(-1, best, 1); (fours * mask).reshape(weight.shape)"
            ),
        ],
    )
)
register(
    Exercise(
        "sparsity_and_kernels.live_blocks",
        live_blocks,
        [blocks.blocks_whole, blocks.blocks_tail, blocks.blocks_sizes],
        hints=[
            "A block must be loaded as soon as one of its activations is not 0. What about a shorter block at the end?",
            "Fill h != 0 up with False to a multiple of block, give the blocks an axis of their own, and ask any along it.",
            "torch.nn.functional.pad(h != 0, (0, -len(h) % block)).reshape(-1, block).any(dim=1)",
        ],
    )
)
