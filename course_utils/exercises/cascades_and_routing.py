"""Exercises of notebook 08: a cascade's arithmetic, the Pareto set, APGR, kNN outcomes, the calibration error.

The references are the library's functions (course_utils/selection/cascades.py, course_utils/selection/routers.py), written for one case.
"""

from __future__ import annotations

from course_utils.exercises import cascades_and_routing_calibration as calibration
from course_utils.exercises import cascades_and_routing_cascade as cascades
from course_utils.exercises import cascades_and_routing_curves as curves
from course_utils.exercises import cascades_and_routing_knn as knn
from course_utils.exercises import cascades_and_routing_pareto as points
from course_utils.exercises import cascades_and_routing_quizzes  # noqa: F401 (registers the quiz)
from course_utils.exercises.engine import Exercise, register
from course_utils.selection.cascades import pareto

register(
    Exercise(
        "cascades_and_routing.cascade",
        cascades.cascade,
        [
            cascades.cascade_random,
            cascades.cascade_two_tiers,
            cascades.cascade_ends,
            cascades.cascade_trusted_and_wrong,
        ],
        hints=[
            "Find for each item which tier answers, before you look at correct or cost. What does the last tier need to have?",
            (
                "A table of booleans (M, N): scores > taus[:, None], and a row of True for the last tier. argmax over axis 0"
                " gives the first True. What an item has paid when tier m answers is the running sum of cost."
            ),
            (
                "accepts = np.vstack([scores > taus[:, None], np.ones((1, N), dtype=bool)]); by = accepts.argmax(axis=0);"
                " correct[by, np.arange(N)].mean(), np.cumsum(cost)[by].mean()"
            ),
        ],
    )
)
register(
    Exercise(
        "cascades_and_routing.pareto",
        pareto,
        [points.pareto_random, points.pareto_ties, points.pareto_negative, points.pareto_small],
        hints=[
            "If you go through the points from the cheapest to the dearest: when is the next one worth its price?",
            (
                "Sort by cost, of equal costs the best quality first, and keep a point if its quality is above the best so"
                " far. Then equal points and ties take care of themselves, if the sort is stable."
            ),
            (
                "order = np.lexsort((-quality, cost)); best = -np.inf; for i in order: if quality[i] > best: keep i, and"
                " best = quality[i]"
            ),
        ],
    )
)
register(
    Exercise(
        "cascades_and_routing.apgr",
        curves.apgr,
        [curves.apgr_random, curves.apgr_knowing, curves.apgr_straight],
        hints=[
            "What changes in the mean quality when one more item goes from the weak model to the strong one?",
            (
                "Each further item brings strong - weak. Put these in the order of falling win; np.cumsum gives all N + 1"
                " qualities, with a 0 in front. PGR is 0 at the first and 1 at the last; then np.trapezoid over the share."
            ),
            (
                "gain = (strong - weak)[np.argsort(-win)]; pgr = np.append(0, np.cumsum(gain)) / gain.sum();"
                " np.trapezoid(pgr, np.arange(N + 1) / N)"
            ),
        ],
    )
)
register(
    Exercise(
        "cascades_and_routing.knn_outcomes",
        knn.knn_outcomes,
        [knn.knn_random, knn.knn_ends, knn.knn_lengths],
        hints=[
            "When are two embeddings similar whose lengths differ? Bring all rows to one length first.",
            (
                "The product of the normalised x and train is (n, T). Sort each row by falling similarity, and take k indices:"
                " (n, k). outcomes at these indices is (n, k, M)."
            ),
            (
                "train and x divided by np.linalg.norm(..., axis=1, keepdims=True); nearest = np.argsort(-(x @ train.T),"
                " axis=1)[:, :k]; outcomes[nearest].mean(axis=1)"
            ),
        ],
    )
)
register(
    Exercise(
        "cascades_and_routing.expected_calibration_error",
        calibration.calibration_error,
        [calibration.ece_random, calibration.ece_sparse, calibration.ece_edges],
        hints=[
            "Which bin does each item lie in? What does an edge belong to, and what does a bin without items count?",
            (
                "For each bin a mask over the items, lower < confidence <= upper, the first with 0. If it holds an item:"
                " |mean of correct - mean of confidence|, times the number of items in the bin. The sum, divided by N."
            ),
            (
                "bins = np.maximum(np.ceil(confidence * n_bins) - 1, 0); for each b: inside = bins == b; if inside.any(): total"
                " += inside.sum() * abs(correct[inside].mean() - confidence[inside].mean()); total / len(confidence)"
            ),
        ],
    )
)
