"""An answer made better in several steps: mask-predict and Self-Refine (notebooks 10 and 11).

`refinement.tasks` has tasks whose answers a program can judge.
"""

from course_utils.refinement.mask_predict import Step, mask_predict, remask
from course_utils.refinement.self_refine import Refined, TwoRates, fit_two_rates, fixed_point, self_refine, two_rate

__all__ = [
    "Refined",
    "Step",
    "TwoRates",
    "fit_two_rates",
    "fixed_point",
    "mask_predict",
    "remask",
    "self_refine",
    "two_rate",
]
