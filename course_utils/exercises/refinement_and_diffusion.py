"""Exercises of notebook 10: which tokens are doubted again, tokens that are lost, steps back, a bound, and a step out of noise.

Where the library (course_utils/refinement/mask_predict.py, diffusion/discrete.py) has the function in the stub's form, it is the reference.
"""

from __future__ import annotations

from course_utils.diffusion.discrete import cumulative
from course_utils.exercises import refinement_and_diffusion_cumulative as products
from course_utils.exercises import refinement_and_diffusion_ddpm as ddpm
from course_utils.exercises import refinement_and_diffusion_loss as loss
from course_utils.exercises import refinement_and_diffusion_posterior as bayes
from course_utils.exercises import refinement_and_diffusion_q_sample as jump
from course_utils.exercises import refinement_and_diffusion_quizzes as quizzes  # noqa: F401 (registers the quiz)
from course_utils.exercises import refinement_and_diffusion_remask as doubt
from course_utils.exercises.engine import Exercise, register
from course_utils.refinement import remask

register(
    Exercise(
        "refinement_and_diffusion.remask",
        remask,
        [doubt.remask_random, doubt.remask_each_iteration, doubt.remask_ties],
        hints=[
            "Two questions: how many positions (one number for all rows), and which ones (a choice in each row, by order)?",
            (
                "n = max(1, N * (T - t) // T), in whole numbers. argsort(dim=1) gives the places of a row from the lowest to the highest:"
                " the first n of them are masked. Put True there, with scatter, into zeros of dtype bool."
            ),
            (
                "n = max(1, probabilities.shape[1] * (T - t) // T); places = probabilities.argsort(dim=1)[:, :n];"
                " torch.zeros_like(probabilities, dtype=torch.bool).scatter(1, places, True)"
            ),
        ],
    )
)
register(
    Exercise(
        "refinement_and_diffusion.q_sample",
        jump.q_sample,
        [jump.sample_random, jump.sample_ends, jump.sample_equal, jump.sample_nested],
        hints=[
            "What is the chance that a token has been masked by one of the first t steps? It is the same for all tokens.",
            "u < t / T is true with just this chance, for each token by itself. torch.where(condition, a, b) chooses token by token.",
            "torch.where(u < t / T, mask, x0)",
        ],
    )
)
register(
    Exercise(
        "refinement_and_diffusion.cumulative",
        cumulative,
        [products.products_random, products.products_ends, products.products_certain, products.products_absorbing],
        hints=[
            "A distribution is a row. After step 1 it is x_0 Q_1, after step 2 x_0 Q_1 Q_2: on which side does the next matrix stand?",
            "A loop over the steps: begin with Q_1, the next one is what you have @ Q_t. Keep all of them in a list and stack it.",
            "from itertools import accumulate; torch.stack(list(accumulate(Qs, torch.matmul)))",
        ],
    )
)
register(
    Exercise(
        "refinement_and_diffusion.posterior",
        bayes.posterior,
        [bayes.posterior_small, bayes.posterior_random, bayes.posterior_first, bayes.posterior_absorbing],
        hints=[
            "Try one text and one j: how likely is it that x0 has become j, and that j then becomes x_t? Which entries are these?",
            (
                "They are Qbar_before[x0, j] and Q[j, x_t]: for all j at once a ROW of the one and a COLUMN of the other. Their product"
                " is right up to a factor, q(x_t | x0), which is its sum over j."
            ),
            "joint = Q.T[x_t] * Qbar_before[x0]; joint / joint.sum(dim=-1, keepdim=True)",
        ],
    )
)
register(
    Exercise(
        "refinement_and_diffusion.masked_loss",
        loss.masked_loss,
        [loss.loss_random, loss.loss_none, loss.loss_visible, loss.loss_gradient],
        hints=[
            "First a number for each token, (B, N): -log p of the true one. Which of them count, with which weight, divided by what?",
            (
                "gather takes the true token's entry: log_probs.gather(-1, x0[..., None]) is (B, N, 1). Set it to 0 where x_t is not the"
                " mask (torch.where), divide each ROW by its share, and take the mean over all B N tokens."
            ),
            (
                "nats = -log_probs.gather(-1, x0[..., None])[..., 0]; terms = torch.where(x_t == mask, nats / share[:, None], 0);"
                " terms.mean()"
            ),
        ],
    )
)
register(
    Exercise(
        "refinement_and_diffusion.ddpm_step",
        ddpm.ddpm_step,
        [ddpm.step_middle, ddpm.step_last, ddpm.step_schedules, ddpm.step_as_many],
        hints=[
            "Three numbers are needed: beta_t, alpha_t and alpha_bar_t. t counts from 1: which entries of betas are they made of?",
            (
                "beta_t is betas[t - 1], alpha_t = 1 - beta_t, and alpha_bar_t = (1 - betas[:t]).prod(). First the mean, the bracket"
                " divided by sqrt(alpha_t); then sqrt(beta_t) times the noise, unless t is 1."
            ),
            (
                "beta, bar = betas[t - 1], (1 - betas[:t]).prod(); mean = (x_t - beta / (1 - bar).sqrt() * eps) / (1 - beta).sqrt(); mean"
                " + (t > 1) * beta.sqrt() * noise"
            ),
        ],
    )
)
