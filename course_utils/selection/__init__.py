"""Several models, one answer: a cascade asks the cheap ones first, a router chooses before any has answered
(notebook 08)."""

from course_utils.selection.cascades import (
    Cascade,
    Frontier,
    Outcome,
    Reliability,
    Run,
    answer_features,
    best_thresholds,
    cascade,
    expected_calibration_error,
    frontier,
    pareto,
    reliability_table,
)
from course_utils.selection.routers import Curve, KNNRouter, apgr, cpt, pgr, routing_curve

__all__ = [
    "Cascade",
    "Curve",
    "Frontier",
    "KNNRouter",
    "Outcome",
    "Reliability",
    "Run",
    "answer_features",
    "apgr",
    "best_thresholds",
    "cascade",
    "cpt",
    "expected_calibration_error",
    "frontier",
    "pareto",
    "pgr",
    "reliability_table",
    "routing_curve",
]
