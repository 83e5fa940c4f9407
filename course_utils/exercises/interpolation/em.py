"""EM: the constant weights of a mixture that make held-out tokens likeliest."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.ensembling import em_weights, linear_interpolation
from course_utils.exercises.engine import Exercise, Mistake, case
from course_utils.exercises.interpolation import dimensions, random_log_probs


def _observed(n: int, mixture: list[float], seed: int) -> Tensor:
    """(M, n) probabilities that M rather different members gave to n tokens drawn from their mixture."""
    log_probs = random_log_probs(len(mixture), n, 8, seed=seed, sharpness=2.5)
    tokens = torch.multinomial(
        linear_interpolation(log_probs, mixture).exp(), 1, generator=torch.Generator().manual_seed(seed)
    )
    return log_probs.exp()[:, torch.arange(n), tokens[:, 0]]


def _with_dead_member(probs: Tensor) -> Tensor:
    return torch.stack([probs[0], torch.zeros_like(probs[0]), probs[1]])


def _similar(probs: Tensor) -> Tensor:
    """Two members that differ less: EM then needs hundreds of steps."""
    return torch.stack([probs[0], 0.65 * probs[0] + 0.35 * probs[1]])


def _uniform(probs: Tensor) -> Tensor:
    return torch.full((len(probs),), 1 / len(probs), dtype=torch.float64)


def _repeated(step: Callable[[Tensor, Tensor], Tensor], n: int = 100) -> Callable[[Tensor], Tensor]:
    """weights = step(weights (M, 1), probs) n times, from uniform weights."""

    def fit(probs: Tensor) -> Tensor:
        weights = _uniform(probs)
        for _ in range(n):
            weights = step(weights[:, None], probs.double())
        return weights

    return fit


def _logs(probs: Tensor) -> Tensor:
    return probs.double().clamp(min=1e-30).log()


def _best(w: Tensor, probs: Tensor) -> Tensor:
    return F.one_hot((w * probs).argmax(0), len(probs)).double().mean(0)


def _only(member: Tensor, probs: Tensor) -> Tensor:
    return F.one_hot(member, len(probs)).double()


def _explain(got: Tensor, expected: Tensor, probs: Tensor) -> str:
    """Of weights that are nothing known: how far EM got, or how much likelihood they give away."""
    if not isinstance(got, Tensor) or got.shape != expected.shape or (got < 0).any() or (got.sum() - 1).abs() > 1e-3:
        return ""
    got, history = got.detach().double(), em_weights(probs, return_history=True)[1]
    for step, weights in enumerate(history[:150]):
        if torch.allclose(got, weights, atol=2e-6, rtol=0):
            raise Mistake(
                f"This is EM after {step} steps: the likelihood still rises.", "Repeat until the weights stop changing."
            )
    mine, best = ((w @ probs.double()).log().mean().item() for w in (got, expected))
    return (
        f"These weights sum to 1, but they are not the best ones: {[round(w, 3) for w in got.tolist()]}. "
        f"The mean log-likelihood is {mine:.5f} with them, and {best:.5f} at the optimum."
    )


EXERCISE = Exercise(
    "interpolation.em",
    reference=em_weights,
    returns="probabilities",
    dim=0,
    atol=5e-3,
    what="the vector of weights",
    sizes=lambda probs: dimensions("MN", *probs.shape),
    seconds=15.0,
    nan="0/0? A product over all tokens underflows; and a member may give probability 0 to everything, while the "
    "sum over the members is above 0 for each token.",
    unnormalised="The new weight is the mean of the responsibilities over the tokens, not their sum.",
    errors={
        "shapes": "The shapes do not fit: the weights (M,) belong to the rows of probs (M, N), and torch aligns "
        "shapes from the last dimension.",
        "dtype|scalar type": "probs is float64 here: give your weights its dtype.",
    },
    cases=[
        case("three members: the weights reach the best likelihood of all weights", _observed(300, [0.6, 0.3, 0.1], 6)),
        case("two members", _observed(200, [0.35, 0.65], 7)),
        case(
            "a member that gives every token probability 0 ends with weight 0",
            _with_dead_member(_observed(150, [0.7, 0.3], 8)),
        ),
        case("two similar members: the weights still move after 50 steps", _similar(_observed(200, [0.7, 0.3], 11))),
    ],
    mistakes={
        "This is EM after one step only.\nRepeat it, and use the new weights in the next E step.": (
            _repeated(lambda w, p: (w * p / (w * p).sum(0)).mean(1), 1)
        ),
        "You averaged log-probabilities: the likelihood of a mixture is the log of a sum.\n"
        "The E step needs the shares w_m P_m / sum_k w_k P_k.": [
            lambda probs: _logs(probs).mean(1).softmax(0),
            lambda probs: (_logs(probs) / _logs(probs).sum(0)).mean(1),
        ],
        "This is the mean probability of each member, normalised.\n"
        "The responsibilities are normalised for each token, then averaged.": lambda probs: (
            probs.mean(1) / probs.mean(1).sum()
        ),
        "This is hard assignment: each token goes to its best member alone.\n"
        "EM gives each token to all of them, in the shares r_mi.": [_repeated(_best, 1), _repeated(_best)],
        "All the weight went to one member (winner takes all), or one started with the weight 0, which stays 0.\n"
        "EM shares each token out: w_m P_m(y_i) is divided by its sum over the members, token by token.": [
            lambda probs: _only(probs.mean(1).argmax(), probs),
            lambda probs: _only(torch.tensor(0), probs),
        ],
        "The responsibilities are not normalised, or by a softmax.\n"
        "They are shares: for each token divide w_m P_m(y_i) by its sum over the members, then take the mean.": [
            _repeated(lambda w, p: (w * p).mean(1)),
            _repeated(lambda w, p: (w * p).softmax(0).mean(1)),
            _repeated(lambda w, p: (w * _logs(p)).softmax(0).mean(1)),
        ],
        "The weights are still uniform: did you normalise over the tokens (dimension 1)?\n"
        "For each token, divide by the sum over the members (dimension 0); then average over the tokens.": _uniform,
    },
    explain=_explain,
    hints=[
        "Which share of token i would you credit to member m, if the weights were w? That is the responsibility r_mi.",
        "E step: r = w[:, None] * probs, divided by its sum over the members. M step: w = the mean of r over the "
        "tokens. Repeat until the weights stop changing.",
        "Start with w = torch.full((M,), 1 / M). In a loop: r = w[:, None] * probs; r = r / r.sum(dim=0); new = "
        "r.mean(dim=1). Return it when (new - w).abs().max() is below 1e-5.",
    ],
)
