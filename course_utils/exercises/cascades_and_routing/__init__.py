"""The exercises of notebook 08, in its order. The references are the library's functions, written for one case."""

import numpy as np

Array = np.ndarray
ORDER = ("cascade", "pareto", "apgr", "knn_outcomes", "expected_calibration_error")
