"""Exercises of notebook 01: the two rules, OR and AND, EM, the posterior, learning lam, the kNN-LM.

The references are the library's own functions (course_utils/ensembling/interpolation.py), except the kNN-LM's.
"""

from __future__ import annotations

from course_utils.ensembling import (
    em_weights,
    fit_loglinear_weights,
    linear_interpolation,
    loglinear_interpolation,
    posterior_weights,
)
from course_utils.exercises import interpolation_fits as fits
from course_utils.exercises import interpolation_quizzes  # noqa: F401 (registers the quizzes)
from course_utils.exercises import interpolation_rules as rules
from course_utils.exercises.engine import Exercise, register
from course_utils.exercises.interpolation_rules import knn_probs

__all__ = ["knn_probs"]

register(
    Exercise(
        "interpolation.linear",
        linear_interpolation,
        [rules.linear_random, rules.linear_square, rules.linear_zeros, rules.linear_one_hot],
        hints=[
            "The formula averages probabilities, and you are given their logarithms. What must you undo first?",
            (
                "Three steps: log_probs.exp(), times the weights in the shape (M, 1, 1), summed over dimension 0; then"
                " .log()."
            ),
            (
                "In one stable step: torch.logsumexp(weights.log()[:, None, None] + log_probs, dim=0). log 0 is -inf,"
                " and that is right here."
            ),
        ],
    )
)
register(
    Exercise(
        "interpolation.loglinear",
        loglinear_interpolation,
        [rules.loglinear_random, rules.loglinear_negative, rules.loglinear_temperature, rules.loglinear_veto],
        hints=[
            "A product of powers is a sum in logarithms: what is log of P_1^lam_1 * P_2^lam_2?",
            (
                "scores = (lam[:, None, None] * log_probs).sum(0). That is no distribution yet: which function divides"
                " by Z(c)?"
            ),
            (
                "scores.log_softmax(dim=-1), after every term with lam 0 was set to 0: torch.where(lam[:, None, None]"
                " == 0, 0.0, ...)."
            ),
        ],
    )
)
register(
    Exercise(
        "interpolation.or_and",
        rules.TRUTH,
        [rules.truth_table],
        hints=[
            (
                "Put numbers in: P_A = 0.5 and P_B = 0 for 'only A'. What is 0.5 * 0.5 + 0.5 * 0, and what is 0.5^0.5 *"
                " 0^0.5?"
            ),
            "The linear rule is an OR: one member that allows the token is enough. The log-linear rule is an AND.",
            "Three entries of the linear rule are True, and one of the log-linear rule.",
        ],
    )
)
register(
    Exercise(
        "interpolation.em",
        em_weights,
        [fits.em_random, fits.em_double, fits.em_dead],
        seconds=15.0,
        hints=[
            (
                "Which share of token i would you credit to member m, if the weights were w? That is the responsibility"
                " r_mi."
            ),
            (
                "E step: r = w[:, None] * probs, divided by its sum over the members. M step: w = the mean of r over"
                " the tokens. Repeat."
            ),
            (
                "w = torch.full((M,), 1 / M); then n_iter times: r = w[:, None] * probs; r = r / r.sum(dim=0); w ="
                " r.mean(dim=1)."
            ),
        ],
    )
)
register(
    Exercise(
        "interpolation.posterior",
        posterior_weights,
        [fits.posterior_random, fits.posterior_one_token, fits.posterior_causal, fits.posterior_long],
        hints=[
            (
                "Bayes: P(m | y_<t) is proportional to prior_m times the probability that m gave to y_0 ... y_(t-1). At"
                " t = 0 that is the prior."
            ),
            (
                "Add logarithms: a cumulative sum over the positions, shifted by one to the right with a 0 in front."
                " Add log prior; normalise over m."
            ),
            (
                "history = F.pad(token_log_probs[..., :-1].cumsum(-1), (1, 0)); then (prior.log()[:, None, None] +"
                " history).softmax(dim=0)."
            ),
        ],
    )
)
register(
    Exercise(
        "interpolation.fit_lambda",
        fit_loglinear_weights,
        [fits.lam_three, fits.lam_two],
        seconds=30.0,
        hints=[
            (
                "The loss is the mean of -log P(target) under the log-linear rule. It is convex in lam: any gradient"
                " method that goes on long enough finds the optimum."
            ),
            (
                "lam = torch.full((M,), 1 / M, requires_grad=True); logits = torch.tensordot(lam, log_probs, dims=1),"
                " (N, V); loss = F.cross_entropy(logits, targets). No softmax on lam."
            ),
            "torch.optim.Adam([lam], lr=0.05), 500 times: zero_grad, loss.backward(), step. Return lam.detach().",
        ],
    )
)
register(
    Exercise(
        "interpolation.knn_probs",
        knn_probs,
        [rules.knn_random, rules.knn_same_token, rules.knn_far],
        hints=[
            (
                "Each neighbour is a vote for its token. How much does a vote count, and what happens to two votes for"
                " the same token?"
            ),
            (
                "The votes: softmax(-dists) over the K neighbours of each context. Then add each vote to the entry of"
                " its token."
            ),
            (
                "torch.zeros(B, V).scatter_add(-1, vals, votes). scatter_ or result[vals] = votes would keep one of"
                " several equal tokens."
            ),
        ],
    )
)
