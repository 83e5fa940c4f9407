"""One model out of several, by arithmetic on their parameters (notebooks 03 and 04).

A state dict maps names to tensors: state dict in, state dict out. Averages and soups of whole models are in
`averaging`, the differences from a common base in `task_vectors`, the methods that are made of them (TIES, DARE, …) in
`methods`. Models that do not fit into memory are merged by `command`: `config` reads mergekit's YAML, `plan` says which
tensor is made of which, `vocabulary` which row of the embeddings stands for which token, `checkpoints` reads and writes
the files. `alignment` is imported by its own name, because it needs SciPy.
"""

from course_utils.merging.averaging import average, greedy_soup, interpolate, uniform_soup
from course_utils.merging.methods import (
    MERGEKIT,
    METHODS,
    dare_linear,
    dare_ties,
    della,
    della_linear,
    linear,
    model_stock,
    passthrough,
    slerp,
    task_arithmetic,
    ties,
)
from course_utils.merging.task_vectors import (
    StateDict,
    add,
    apply_task_vectors,
    dare,
    disjoint_mean,
    edit,
    elect_sign,
    keep_probabilities,
    magprune,
    negate,
    slerp_tensors,
    stock_ratio,
    task_vector,
    trim,
)

__all__ = [
    "MERGEKIT",
    "METHODS",
    "StateDict",
    "add",
    "apply_task_vectors",
    "average",
    "dare",
    "dare_linear",
    "dare_ties",
    "della",
    "della_linear",
    "disjoint_mean",
    "edit",
    "elect_sign",
    "greedy_soup",
    "interpolate",
    "keep_probabilities",
    "linear",
    "magprune",
    "model_stock",
    "negate",
    "passthrough",
    "slerp",
    "slerp_tensors",
    "stock_ratio",
    "task_arithmetic",
    "task_vector",
    "ties",
    "trim",
    "uniform_soup",
]
