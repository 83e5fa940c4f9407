"""Exercises of notebook 09: word errors, the sum over hypotheses, n-best weights, out-of-fold predictions, the bootstrap.

The references for the sum and the weights are the library's functions (course_utils/pipelines/recognition.py); the others are written
for lists of words, for given folds and for given resamples.
"""

from __future__ import annotations

from course_utils.exercises import pipelines_and_stacking_bootstrap as bootstrap
from course_utils.exercises import pipelines_and_stacking_marginal as marginal
from course_utils.exercises import pipelines_and_stacking_oof as oof
from course_utils.exercises import pipelines_and_stacking_posterior as posterior
from course_utils.exercises import pipelines_and_stacking_quizzes  # noqa: F401 (registers the quiz)
from course_utils.exercises import pipelines_and_stacking_wer as wer
from course_utils.exercises.engine import Exercise, register
from course_utils.pipelines.recognition import marginal_pipeline, nbest_posterior

register(
    Exercise(
        "pipelines_and_stacking.word_error_rate",
        wer.word_error_rate,
        [wer.wer_sentences, wer.wer_shift, wer.wer_ends],
        hints=[
            (
                "Suppose you knew the fewest edits for all shorter beginnings of the two lists. What can the last step of the"
                " alignment be?"
            ),
            (
                "D[i, j] for the first i words of the reference and the first j of the hypothesis. The last step pairs two words"
                " (0 if they are equal, else 1), deletes one or inserts one. With nothing on the other side: D[i, 0] = i, D[0, j]"
                " = j."
            ),
            (
                "for i in 1..n, for j in 1..m: D[i, j] = min(D[i-1, j-1] + (reference[i-1] != hypothesis[j-1]), D[i-1, j] + 1,"
                " D[i, j-1] + 1); D[n, m] / n"
            ),
        ],
    )
)
register(
    Exercise(
        "pipelines_and_stacking.marginal_pipeline",
        marginal_pipeline,
        [marginal.marginal_random, marginal.marginal_agree, marginal.marginal_ends],
        hints=[
            "Y1 is one hypothesis or another. How do the probabilities of cases that exclude each other combine?",
            "For each input a sum over k: the number p1[b, k] times the row p2[k], (V,). That is a weighted mean of the rows of p2.",
            "It is a matrix product: p1 @ p2, (B, K) @ (K, V) -> (B, V).",
        ],
    )
)
register(
    Exercise(
        "pipelines_and_stacking.nbest_posterior",
        nbest_posterior,
        [posterior.posterior_small, posterior.posterior_real, posterior.posterior_far, posterior.posterior_ends],
        hints=[
            "What changes in the weights if the same number is added to all the scores? And what is exp(-10000) in a computer?",
            "Multiply by the scale, subtract the largest, take exp, divide by the sum. One torch function does the last three.",
            "torch.softmax(scale * scores, dim=0)",
        ],
    )
)
register(
    Exercise(
        "pipelines_and_stacking.oof_predictions",
        oof.oof_predictions,
        [oof.oof_random, oof.oof_memoriser, oof.oof_ends],
        hints=[
            "For row i: which rows may the model have seen that predicts it? How many different models does that make?",
            (
                "A loop over k folds. A mask (N,) says which rows are inside the fold; fit on ~mask, predict on mask, and write the"
                " rows to their places. How many columns there are you see from the first prediction."
            ),
            (
                "inside = np.arange(len(X)) % k == fold; f = fit(X[~inside], y[~inside]); rows = f(X[inside]); at the first fold"
                " result = np.zeros((len(X), rows.shape[1])); result[inside] = rows"
            ),
        ],
    )
)
register(
    Exercise(
        "pipelines_and_stacking.paired_bootstrap",
        bootstrap.paired_bootstrap,
        [bootstrap.bootstrap_random, bootstrap.bootstrap_constant, bootstrap.bootstrap_by_hand],
        hints=[
            "What is computed once for every resample, and of which numbers are the quantiles taken then?",
            (
                "(a - b)[index] is (R, N): the differences of the sentences of each resample. Their means over axis 1 are R"
                " numbers, and 95% of these lie between the two quantiles."
            ),
            "differences = (a - b)[index].mean(axis=1); low, high = np.quantile(differences, [0.025, 0.975])",
        ],
    )
)
