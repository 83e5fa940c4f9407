"""Exercises of notebook 02: DExperts, the plausibility mask, the family's coefficients, guidance, dist-n.

DExperts' and the mask's references are the library's own functions (course_utils/ensembling.py).
"""

from __future__ import annotations

from course_utils.ensembling import negative_evidence, plausible_mask
from course_utils.exercises import negative_evidence_distinct as dist
from course_utils.exercises import negative_evidence_family as family
from course_utils.exercises import negative_evidence_quizzes  # noqa: F401 (registers the quiz)
from course_utils.exercises import negative_evidence_rules as rules
from course_utils.exercises.engine import Exercise, register
from course_utils.exercises.negative_evidence_distinct import distinct_n
from course_utils.exercises.negative_evidence_family import coefficients
from course_utils.exercises.negative_evidence_rules import guided

__all__ = ["coefficients", "distinct_n", "guided"]

register(
    Exercise(
        "negative_evidence.dexperts",
        negative_evidence,
        [rules.dexperts_random, rules.dexperts_crossing, rules.dexperts_whole, rules.dexperts_off],
        seconds=15.0,
        hints=[
            (
                "Two steps, and their order matters: which tokens may be emitted at all (only the core is asked), and"
                " how likely each of them is."
            ),
            (
                "Sort the core's probabilities from the largest down and keep a token while the mass BEFORE it (cumsum"
                " - probs) is below top_p; scatter puts that mask back in the order of the vocabulary. The rest of the"
                " core becomes -inf."
            ),
            (
                "probs, order = core.softmax(-1).sort(dim=-1, descending=True); keep = probs.cumsum(-1) - probs <"
                " top_p; keep = torch.zeros_like(keep).scatter(-1, order, keep); then (core.masked_fill(~keep,"
                " -torch.inf) + lam * (positive - negative)).log_softmax(dim=-1)."
            ),
        ],
    )
)
register(
    Exercise(
        "negative_evidence.plausible_mask",
        plausible_mask,
        [rules.mask_random, rules.mask_square, rules.mask_ties, rules.mask_zeros],
        hints=[
            "P(y) >= alpha * max P: what becomes of this product when you take the logarithm of both sides?",
            (
                "The bound of a context is its largest log-probability plus log alpha. Which dimension is the"
                " vocabulary, and how do (B, 1) bounds meet (B, V)?"
            ),
            "log_probs >= log_probs.amax(dim=-1, keepdim=True) + math.log(alpha)",
        ],
    )
)
register(
    Exercise(
        "negative_evidence.coefficients",
        coefficients,
        [
            family.coefficients_dexperts,
            family.coefficients_anti,
            family.coefficients_contrastive,
            family.coefficients_guidance,
            family.coefficients_applied,
            family.coefficients_unknown,
        ],
        hints=[
            (
                "Write each method's formula as a sum of lam's times log P_core, log P_pos and log P_neg, and collect"
                " the terms. What stands in front of each?"
            ),
            (
                "DExperts and DDA: log P_core + lam log P_pos - lam log P_neg. Without an expert, put log P_core in the"
                " place of log P_pos and collect. Contrastive decoding and guidance have nothing in the core's slot."
            ),
            (
                "anti-expert only: (1 + lam, 0, -lam). Guidance with 0 as 'off' is log P_pos + lam (log P_pos - log"
                " P_neg): how often is log P_pos there? Contrastive decoding: log P_pos - log P_neg, whatever lam is."
                " Any other name: raise ValueError."
            ),
        ],
    )
)
register(
    Exercise(
        "negative_evidence.guidance",
        guided,
        [rules.guided_half, rules.guided_beyond, rules.guided_off, rules.guided_away],
        seconds=15.0,
        hints=[
            "You walk from the unconditional model towards the conditional one. Where must scale = 1 arrive?",
            (
                "The step is the difference conditional - unconditional, in logarithms. With scale = 0 nothing is"
                " added. Does exp() of the result sum to 1?"
            ),
            "(unconditional + scale * (conditional - unconditional)).log_softmax(dim=-1)",
        ],
    )
)
register(
    Exercise(
        "negative_evidence.distinct",
        distinct_n,
        [dist.distinct_bigrams, dist.distinct_other_n, dist.distinct_numbers, dist.distinct_short],
        hints=[
            "Which n-grams does one text of L tokens have, and how many? What if L < n?",
            (
                "One list for the n-grams of all texts: text[i : i + n] for i in range(len(text) - n + 1). Then its"
                " distinct elements (a set) over its length."
            ),
            (
                "ngrams = [tuple(text[i : i + n]) for text in texts for i in range(len(text) - n + 1)];"
                " len(set(ngrams)) / len(ngrams), and 0.0 if the list is empty."
            ),
        ],
    )
)
