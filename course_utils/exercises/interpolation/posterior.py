"""Bayes' weights: which member is likely to have written the text so far."""

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.ensembling import posterior_weights
from course_utils.exercises.engine import Exercise, case
from course_utils.exercises.interpolation import dimensions, random_log_probs

# Sums of sixteenths, and equal priors: exact in float32.
LONG = ((random_log_probs(2, 3, 800, 6, seed=13)[..., 0] - 1) * 16).round() / 16
LONG[0] -= 1 / 16
IMPOSSIBLE = LONG[..., :20].index_put(tuple(torch.tensor([[1], [1], [5]])), torch.tensor(-torch.inf))


def _w(prior: Tensor) -> Tensor:
    return prior[:, None, None]


def _shifted(x: Tensor) -> Tensor:
    """One to the right, a 0 in front."""
    return F.pad(x[..., :-1], (1, 0))


def _before(x: Tensor) -> Tensor:
    return _shifted(x).cumsum(-1)


def _scores(x: Tensor, prior: Tensor) -> Tensor:
    return _w(prior).log() + _before(x)


def _sum_of_probs(x: Tensor, prior: Tensor) -> Tensor:
    history = _before(x.exp())
    history[..., 0] = 1.0
    return (_w(prior) * history) / (_w(prior) * history).sum(0)


def _best_so_far(x: Tensor, prior: Tensor) -> Tensor:
    return F.one_hot(_scores(x, prior).argmax(0), len(prior)).permute(2, 0, 1).float()


def _explain(got: Tensor, expected: Tensor, token_log_probs: Tensor, prior: Tensor) -> str:
    """Of weights that are nothing known: the first position where they are wrong."""
    if not isinstance(got, Tensor) or got.shape != expected.shape or ((got.sum(0) - 1).abs() > 1e-3).any():
        return ""
    wrong = (got - expected).abs().amax((0, 1)) > 1e-4
    if wrong[0]:
        first, right = ([round(v, 2) for v in x[:, 0, 0].tolist()] for x in (got, expected))
        return (
            f"At position 0 nothing has been read, so the weights must be the prior {right}; yours are {first}. Does a "
            "later token leak in, or is the prior left out?"
        )
    place = int(wrong.nonzero()[0])
    return (
        f"Position 0 is right, position {place} is not: look at how the history enters. Is it the sum of the "
        "log-probabilities of all the tokens before t, and of no others?"
    )


EXERCISE = Exercise(
    "interpolation.posterior",
    reference=posterior_weights,
    returns="probabilities",
    dim=0,
    what="the tensor of weights",
    sizes=lambda token_log_probs, prior: dimensions("MBT", *token_log_probs.shape),
    nan="Is it 0/0, after an underflow (add logarithms instead) or in the mean of nothing? Or -inf - (-inf), where the"
    " last term is taken off a cumulative sum (shift it by one instead)?",
    unnormalised="Divide by the sum over the members (dimension 0), so that the weights of each position sum to 1.",
    errors={
        "shapes": "The prior does not line up: it is (M,), the scores are (M, B, T), and torch aligns shapes from "
        "the last dimension."
    },
    cases=[
        case(
            "the prior times the probability of what was read so far",
            random_log_probs(3, 4, 6, 5, seed=10, sharpness=1.0)[..., 0],
            torch.tensor([0.5, 0.3, 0.2]),
        ),
        case(
            "texts of one token: the weights are the prior",
            random_log_probs(3, 4, 1, 5, seed=9)[..., 0],
            torch.tensor([0.6, 0.3, 0.1]),
        ),
        case("one text is a batch too", random_log_probs(2, 1, 5, 5, seed=11)[..., 0], torch.tensor([0.4, 0.6])),
        case("a long text: no underflow", LONG, torch.tensor([0.5, 0.5])),
        case("a member that found a token impossible is out for good", IMPOSSIBLE, torch.tensor([0.9, 0.1])),
    ],
    mistakes={
        "You peek at the token you are scoring: the weight at t already contains P_m(y_t).\n"
        "Use the tokens before t only: shift the cumulative sum by one, so that position 0 gets the prior.": [
            lambda x, prior: (_w(prior).log() + x.cumsum(-1)).softmax(0),
            lambda x, prior: x.cumsum(-1).softmax(0),
            lambda x, prior: (_w(prior).log() + x).softmax(0),
        ],
        "The prior is forgotten: at position 0, where nothing has been read, the weights must be the prior.\n"
        "Add log prior to the sum.": lambda x, prior: _before(x).softmax(0),
        "The prior is used as a probability among logarithms: add its logarithm.": [
            lambda x, prior: (_w(prior) + _before(x)).softmax(0),
            lambda x, prior: (_w(prior) * _before(x)).softmax(0),
        ],
        "The prior is counted again at each position: it enters once, outside the sum.": lambda x, prior: (
            (_shifted(x) + _w(prior).log()).cumsum(-1).softmax(0)
        ),
        "You normalised over the positions (T) or the texts (B).\n"
        "For each position the weights of the M members must sum to 1.": [
            lambda x, prior: _scores(x, prior).softmax(-1),
            lambda x, prior: _scores(x, prior).softmax(1),
        ],
        "These weights use what comes after t, too: at t only the tokens before t are known.\n"
        "Sum from the beginning of the text.": [
            lambda x, prior: (_w(prior).log() + x.sum(-1, keepdim=True)).softmax(0).expand_as(x),
            lambda x, prior: (_w(prior).log() + x.flip(-1).cumsum(-1).flip(-1)).softmax(0),
            lambda x, prior: (_w(prior).log() + _before(x.flip(-1)).flip(-1)).softmax(0),
        ],
        "Only the token just before t is used: all tokens before t count.\nTake the cumulative sum.": lambda x, prior: (
            _w(prior).log() + _shifted(x)
        ).softmax(0),
        "The cumulative sum runs over the texts (B): it must run over the positions, the last dimension.": (
            lambda x, prior: (_w(prior).log() + _before(x.mT).mT).softmax(0)
        ),
        "This adds up probabilities: the probability of a history is a product, a sum of log-probabilities.": (
            _sum_of_probs
        ),
        "This takes the mean over the history, which tempers the posterior: Bayes' rule takes the sum.": (
            lambda x, prior: (_w(prior).log() + _before(x) / torch.arange(x.shape[-1]).clamp(min=1)).softmax(0)
        ),
        "The weights never move: they are the prior everywhere.\nAdd what each member said of the tokens before t.": (
            lambda x, prior: _w(prior).expand_as(x)
        ),
        "The sign is wrong: a member that found the text likely must gain weight.": lambda x, prior: (
            _w(prior).log() - _before(x)
        ).softmax(0),
        "The first weight is right, but the history is shifted by two: position t must use the tokens 0 ... t-1.": (
            lambda x, prior: (_w(prior).log() + _shifted(_before(x))).softmax(0)
        ),
        "All the weight is on the best member so far (a hard choice).\n"
        "The weights are the posterior probabilities themselves.": _best_so_far,
        "squeeze() takes away every dimension of size 1, also one text or one position, which should stay.": (
            lambda x, prior: _scores(x, prior).softmax(0).squeeze()
        ),
    },
    explain=_explain,
    hints=[
        "Bayes: P(m | y_<t) is proportional to prior_m times the probability that m gave to y_0 ... y_(t-1). At t ="
        " 0 that is the prior.",
        "Add logarithms: a cumulative sum over the positions, shifted by one to the right with a 0 in front. Add "
        "log prior; normalise over m.",
        "history = F.pad(token_log_probs[..., :-1].cumsum(-1), (1, 0)); then (prior.log()[:, None, None] + "
        "history).softmax(dim=0).",
    ],
)
