"""Sparsity (notebook 06): matrix-vector products that skip zeros, and weights of which two of four are pruned.

Their kernels are in `triton_kernels`, which needs the package triton.
"""

from course_utils.sparsity.matvec import (
    ActivationSparsity,
    activation_sparsity,
    backend,
    bag_matvec,
    grouped_matmul,
    sparse_matvec,
    to_csr_matvec,
    triton_grouped_matmul,
    triton_skip_matvec,
    triton_sparse_matvec,
    union_density,
)
from course_utils.sparsity.two_of_four import matvec_2_4, pack_2_4, prune_2_4, triton_matvec_2_4, unpack_2_4

__all__ = [
    "ActivationSparsity",
    "activation_sparsity",
    "backend",
    "bag_matvec",
    "grouped_matmul",
    "matvec_2_4",
    "pack_2_4",
    "prune_2_4",
    "sparse_matvec",
    "to_csr_matvec",
    "triton_grouped_matmul",
    "triton_matvec_2_4",
    "triton_skip_matvec",
    "triton_sparse_matvec",
    "union_density",
    "unpack_2_4",
]
