"""kNN-LM: the nearest contexts of a store vote for the token that followed them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.exercises.engine import Exercise, case, one_row
from course_utils.exercises.interpolation import dimensions


def knn_probs(dists: Tensor, vals: Tensor, V: int) -> Tensor:
    """p_kNN(y) proportional to the sum of exp(-d_k) over the neighbours k whose token is y: the kNN-LM's memory.

    dists (B, K): squared L2 distances to the K nearest keys; vals (B, K) long: the token that followed each;
    V: vocabulary size.
    Returns probabilities (B, V). Source: Khandelwal et al. (2020), "Generalization through memorization", equation 2.
    """
    weights = (-dists).softmax(dim=-1)  # (B, K); softmax subtracts the maximum, so large distances do not underflow
    return torch.zeros(len(dists), V, dtype=dists.dtype).scatter_add(-1, vals, weights)


def _votes(weights: Tensor, vals: Tensor, V: int) -> Tensor:
    """(B, V): the votes (B, K) of the neighbours added up for each token."""
    return torch.zeros(len(vals), V).scatter_add(-1, vals, weights)


def _count(vals: Tensor, V: int) -> Tensor:
    return _votes(torch.ones(vals.shape), vals, V)


def _last_vote(weights: Tensor, vals: Tensor, V: int) -> Tensor:
    result = torch.zeros(len(vals), V)
    for k in range(vals.shape[1]):
        result.scatter_(-1, vals[:, k : k + 1], weights[:, k : k + 1])
    return result


def _normalised(weights: Tensor) -> Tensor:
    return weights / weights.sum(-1, keepdim=True)


EXERCISE = Exercise(
    "interpolation.knn_probs",
    reference=knn_probs,
    returns="probabilities",
    what="the distribution",
    sizes=lambda dists, vals, V: dimensions("BKV", *dists.shape, V),
    nan="exp(-distance) underflows to 0 for every neighbour, and 0/0 is nan: softmax subtracts the maximum first.",
    unnormalised="Divide by the sum over the K neighbours.",
    errors={
        "shapes": "The shapes do not fit: dists and vals are (B, K), the result is (B, V).",
        "stack expects each tensor": "There are V tokens in each context, also where no neighbour holds the last ones.",
    },
    cases=[
        case(
            "some of the seven neighbours hold the same token: duplicates add up",
            torch.rand(4, 7, generator=torch.Generator().manual_seed(16)).mul(3).sort(dim=-1).values,
            torch.tensor([[0, 3, 3, 9, 9, 5, 1], [2, 2, 2, 2, 8, 7, 6], [1, 4, 1, 4, 9, 0, 9], [5, 5, 6, 6, 7, 8, 9]]),
            12,
        ),
        case(
            "all neighbours hold the same token: its probability is 1",
            torch.tensor([[0.5, 1.0, 1.5], [2.0, 2.0, 2.5]]),
            torch.tensor([[2, 2, 2], [0, 0, 0]]),
            5,
        ),
        case(
            "all neighbours are far away (squared distances above 1000)",
            torch.tensor([[1000.0, 1001.0, 1001.5], [2000.0, 2000.5, 2300.0]]),
            torch.tensor([[1, 4, 1], [3, 0, 2]]),
            5,
        ),
    ],
    corners=[one_row("dists", "vals")],
    mistakes={
        "Of several neighbours with the same token only one counts: each of them is a vote for it, and votes add "
        "up.\n"
        "scatter and result[vals] = ... overwrite: use scatter_add.": [
            lambda d, v, V: _last_vote((-d).softmax(-1), v, V),
            lambda d, v, V: _normalised(_last_vote((-d).softmax(-1), v, V)),
            lambda d, v, V: torch.zeros(len(d), V).scatter_reduce(-1, v, (-d).softmax(-1), "amax"),
        ],
        "You averaged the votes of the neighbours with the same token: votes add up.": lambda d, v, V: (
            knn_probs(d, v, V) / _count(v, V).clamp(min=1)
        ),
        "Far neighbours count more here: the votes are exp(-distance), with a minus.": [
            lambda d, v, V: _votes(d.softmax(-1), v, V),
            lambda d, v, V: _votes(d.exp(), v, V),
            lambda d, v, V: _votes(d, v, V),
        ],
        "The distances are squared already: use exp(-d), without a root or another square.": [
            lambda d, v, V: knn_probs(d.sqrt(), v, V),
            lambda d, v, V: knn_probs(d**2, v, V),
        ],
        "The factor 1/2 of a Gaussian is not in the kNN-LM: exp(-d).": lambda d, v, V: knn_probs(d / 2, v, V),
        "The distances are ignored: this only counts the neighbours.": lambda d, v, V: _count(v, V),
        "Use exp(-d), not 1/d.": [lambda d, v, V: _votes(1 / d, v, V), lambda d, v, V: _votes(1 / (1 + d), v, V)],
        "The votes sum to 1 over the contexts, or all together: those of the K neighbours of one context must.": [
            lambda d, v, V: _votes((-d).softmax(0), v, V),
            lambda d, v, V: _votes((-d).flatten().softmax(0).view_as(d), v, V),
        ],
        "The softmax runs over the vocabulary, after scattering.\n"
        "Softmax over the K neighbours first, then add up the votes: each weight is a probability.": [
            lambda d, v, V: knn_probs(d, v, V).softmax(-1),
            lambda d, v, V: _votes((-d).exp(), v, V).softmax(-1),
            lambda d, v, V: _votes(-d, v, V).softmax(-1),
            lambda d, v, V: _votes(-d, v, V).masked_fill(_count(v, V) == 0, -torch.inf).softmax(-1),
        ],
        "You used only the nearest neighbour.": lambda d, v, V: F.one_hot(v[range(len(d)), d.argmin(1)], V).to(d),
        "The result ends with the largest token of vals: there are V tokens, also where no neighbour holds the last"
        " ones.": lambda d, v, V: knn_probs(d, v, int(v.max()) + 1),
    },
    hints=[
        "Each neighbour is a vote for its token. How much does a vote count, and what happens to two votes for the "
        "same token?",
        "The votes: softmax(-dists) over the K neighbours of each context. Then add each vote to the entry of its "
        "token.",
        "torch.zeros(B, V).scatter_add(-1, vals, votes). scatter_ or result[vals] = votes would keep one of several"
        " equal tokens.",
    ],
)
