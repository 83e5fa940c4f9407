"""The exercises of notebook 06, in its order: skipped zeros, what a batch leaves to skip, 2:4 weights, live blocks."""

ORDER = ("sparse_matvec", "union_density", "prune_2_4", "live_blocks")
