"""The exercises of notebook 04, in its order: TIES in three steps, DARE, slerp, adding tasks, DELLA, Model Stock."""

from torch import Tensor

ORDER = ("trim", "elect", "disjoint_mean", "dare", "slerp", "apply", "magprune", "stock")


def listed(values: Tensor) -> str:
    """The entries that the tasks have at one coordinate, for a message: "[3, -1, 0.25]"."""
    return "[" + ", ".join(f"{value + 0.0:.3g}" for value in values.tolist()) + "]"
