"""The exercises of notebook 09, in its order: word errors, the sum over hypotheses, n-best weights, out-of-fold
predictions, the paired bootstrap and minimum Bayes risk."""

ORDER = ("word_error_rate", "marginal_pipeline", "nbest_posterior", "oof_predictions", "paired_bootstrap", "mbr")
