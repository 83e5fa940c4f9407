"""One model's output is another one's input (notebook 09): translators, stacked classifiers, and speech recognition.

`recognition` is imported by its own name, because it needs libraries for sound.
"""

from course_utils.pipelines.minimum_bayes_risk import expected_utilities, minimum_bayes_risk, pairwise
from course_utils.pipelines.stacking import fold_numbers, oof_predictions
from course_utils.pipelines.translation import (
    CachedTranslator,
    Translator,
    apertium,
    bleu_difference,
    bleu_of_draws,
    load_translator,
)

__all__ = [
    "CachedTranslator",
    "Translator",
    "apertium",
    "bleu_difference",
    "bleu_of_draws",
    "expected_utilities",
    "fold_numbers",
    "load_translator",
    "minimum_bayes_risk",
    "oof_predictions",
    "pairwise",
]
