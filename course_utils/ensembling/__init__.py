"""Several models, one next token: interpolation, negative evidence, and the n-gram model (notebooks 00 to 02).

`ensembling.decoding` is imported by its own name, because it needs transformers.
"""

from course_utils.ensembling.interpolation import (
    em_weights,
    fit_loglinear_weights,
    linear_interpolation,
    loglinear_interpolation,
    posterior_weights,
)
from course_utils.ensembling.negative_evidence import negative_evidence, plausible_mask
from course_utils.ensembling.ngram import NGramLM

__all__ = [
    "NGramLM",
    "em_weights",
    "fit_loglinear_weights",
    "linear_interpolation",
    "loglinear_interpolation",
    "negative_evidence",
    "plausible_mask",
    "posterior_weights",
]
