"""The exercises of notebook 11, in its order. The references are written for one case."""

ORDER = ("loop", "two_rate", "fixed_point", "best_of_n", "coverage", "net_gain")
