"""Tests of 01_interpolation: the linear and the log-linear rule, their truth table, and the kNN-LM."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.ensembling import linear_interpolation, loglinear_interpolation
from course_utils.exercises import interpolation_mistakes as wrong
from course_utils.exercises.diagnose import attempt, judge
from course_utils.exercises.engine import close

NAMES = {"M": "M members", "B": "B contexts", "V": "V tokens", "N": "N tokens", "T": "T positions"}


def random_log_probs(*shape: int, seed: int, sharpness: float = 1.5) -> Tensor:
    """Random log-probabilities over the last dimension."""
    return (sharpness * torch.randn(shape, generator=torch.Generator().manual_seed(seed))).log_softmax(-1)


def sizes_named(text: str, *shape: int) -> dict[int, str]:
    return {n: NAMES[letter] for letter, n in zip(text, shape, strict=True)} if len(set(shape)) == len(shape) else {}


# 1 and 2. The two rules -----------------------------------------------------------------------------------------------
LINEAR_CLASH = (
    "The weights do not line up: log_probs is (M, B, V), and weights (M,) meets the LAST dimension, V. "
    "Give it the shape (M, 1, 1): weights[:, None, None]."
)
NAN_LINEAR = (
    "A probability of 0 has the logarithm -inf, and 0 * -inf and -inf - (-inf) are nan. "
    "Multiply probabilities by weights (0.3 * 0 = 0), not log-probabilities."
)
NAN_LOGLINEAR = (
    "0 * -inf is nan. A member with lam 0 has no say, so its term counts as 0: see torch.where or masked_fill."
)
LINEAR_SUM = (
    "Right up to a factor: weights that sum to 1 and members that sum to 1 give a sum of 1, nothing else is to be"
    " divided or added."
)
LOGLINEAR_SUM = (
    "You did not divide by Z(c), the sum over the vocabulary: a product of probabilities is no distribution yet."
)


def _check_rule(answer: Callable, log_probs: Tensor, weights: Tensor, linear: bool) -> None:
    got = attempt(answer, log_probs, weights, clash=LINEAR_CLASH if linear else LINEAR_CLASH.replace("weights", "lam"))
    rule, known = (linear_interpolation, wrong.linear) if linear else (loglinear_interpolation, wrong.loglinear)
    judge(
        got,
        rule(log_probs, weights),
        log=True,
        dim=-1,
        sizes=sizes_named("MBV", *log_probs.shape),
        known=known(log_probs, weights),
        nan=NAN_LINEAR if linear else NAN_LOGLINEAR,
        unnormalised=LINEAR_SUM if linear else LOGLINEAR_SUM,
    )


def linear_random(answer: Callable) -> None:
    """three members, four contexts: exp() sums to 1 and equals the weighted average of the probabilities"""
    _check_rule(answer, random_log_probs(3, 4, 6, seed=1), torch.tensor([0.6, 0.3, 0.1]), linear=True)


def linear_square(answer: Callable) -> None:
    """as many contexts and tokens as members: the weights must belong to the members"""
    _check_rule(answer, random_log_probs(3, 3, 3, seed=2), torch.tensor([0.2, 0.7, 0.1]), linear=True)


def linear_zeros(answer: Callable) -> None:
    """zero probabilities (-inf): one member's zero, everybody's zero"""
    _check_rule(answer, _with_zeros(), torch.tensor([0.75, 0.25]), linear=True)


def linear_one_hot(answer: Callable) -> None:
    """a weight of 0 switches a member off, also one with zero probabilities"""
    _check_rule(answer, _with_zeros(), torch.tensor([1.0, 0.0]), linear=True)
    _check_rule(answer, _with_zeros(), torch.tensor([0.0, 1.0]), linear=True)


def _with_zeros() -> Tensor:
    probs = torch.tensor(
        [[[0.5, 0.3, 0.2, 0.0, 0.0], [0.1, 0.2, 0.3, 0.4, 0.0]], [[0.4, 0.0, 0.3, 0.3, 0.0], [0.7, 0.0, 0.1, 0.2, 0.0]]]
    )
    return probs.log()


def loglinear_random(answer: Callable) -> None:
    """three members, lam that do not sum to 1: exp() of the result does, for each context"""
    _check_rule(answer, random_log_probs(3, 4, 6, seed=3), torch.tensor([0.9, 0.6, 0.2]), linear=False)


def loglinear_negative(answer: Callable) -> None:
    """a negative lam repels; as many contexts and tokens as members"""
    _check_rule(answer, random_log_probs(3, 3, 3, seed=4), torch.tensor([1.0, 0.7, -0.5]), linear=False)


def loglinear_temperature(answer: Callable) -> None:
    """one model taken twice with lam (1, 1) is the model at temperature 1/2; lam (1, 0) is the first model"""
    log_probs = random_log_probs(2, 4, 6, seed=5)
    twice = torch.stack([log_probs[0], log_probs[0]])
    _check_rule(answer, twice, torch.tensor([1.0, 1.0]), linear=False)
    _check_rule(answer, log_probs, torch.tensor([1.0, 0.0]), linear=False)


def loglinear_veto(answer: Callable) -> None:
    """one zero probability vetoes a token (-inf), unless its member has lam 0"""
    _check_rule(answer, _with_zeros(), torch.tensor([0.5, 0.5]), linear=False)
    _check_rule(answer, _with_zeros(), torch.tensor([1.0, 0.0]), linear=False)


# 3. The truth table ---------------------------------------------------------------------------------------------------
def _truth_table() -> dict[tuple[str, str], bool]:
    """Computed by the library: four tokens, possible under both members, under A only, under B only, under neither."""
    tokens = ("both", "only A", "only B", "neither")
    log_probs = torch.tensor([[0.5, 0.5, 0, 0], [0.5, 0, 0.5, 0]]).log()
    results = {
        "linear": linear_interpolation(log_probs, [0.5, 0.5]),
        "log-linear": loglinear_interpolation(log_probs, [0.5, 0.5]),
    }
    return {
        (rule, token): bool(result[i] > -torch.inf)
        for rule, result in results.items()
        for i, token in enumerate(tokens)
    }


TRUTH = _truth_table()


def truth_table(answer: dict) -> None:
    """which tokens can be emitted under each rule, with weights (and lam) of 1/2 and 1/2"""
    if isinstance(answer, dict) and answer.keys() <= TRUTH.keys():
        answer = {key: bool(value) if isinstance(value, (int, Tensor)) else value for key, value in answer.items()}
        wrong.truth_table(answer, TRUTH)
    close(answer, TRUTH, what="your table")


# 7. kNN-LM ------------------------------------------------------------------------------------------------------------
def knn_probs(dists: Tensor, vals: Tensor, V: int) -> Tensor:
    """p_kNN(y) proportional to the sum of exp(-d_k) over the neighbours k whose token is y: the kNN-LM's memory.

    dists (B, K): SQUARED L2 distances to the K nearest keys; vals (B, K) long: the token that followed each;
    V: vocabulary size.
    Returns probabilities (B, V). Source: Khandelwal et al. (2020), "Generalization through memorization", equation 2.
    """
    weights = (-dists).softmax(dim=-1)  # (B, K); softmax subtracts the maximum, so large distances do not underflow
    return torch.zeros(len(dists), V, dtype=dists.dtype).scatter_add(-1, vals, weights)


def _check_knn(answer: Callable, dists: Tensor, vals: Tensor, V: int) -> None:
    got = attempt(
        answer, dists, vals, V, clash="The shapes do not fit: dists and vals are (B, K), the result is (B, V)."
    )
    sizes = {len(dists): "B contexts", dists.shape[1]: "K neighbours", V: "V tokens"}
    judge(
        got,
        knn_probs(dists, vals, V),
        log=False,
        dim=-1,
        sizes=sizes,
        known=wrong.knn(dists, vals, V),
        what="the distribution",
        nan=(
            "exp(-distance) underflows to 0 for every neighbour, and 0/0 is nan: use softmax, it subtracts the maximum"
            " first."
        ),
        unnormalised="Divide by the sum over the K neighbours (softmax does it).",
    )


def knn_random(answer: Callable) -> None:
    """four contexts, five different tokens among seven neighbours: duplicates add up"""
    vals = torch.tensor([[0, 3, 3, 9, 9, 5, 1], [2, 2, 2, 2, 8, 7, 6], [1, 4, 1, 4, 9, 0, 9], [5, 5, 6, 6, 7, 8, 9]])
    dists = torch.rand(4, 7, generator=torch.Generator().manual_seed(16)).mul(3).sort(dim=-1).values
    _check_knn(answer, dists, vals, 10)


def knn_same_token(answer: Callable) -> None:
    """all neighbours hold the same token: its probability is 1"""
    _check_knn(answer, torch.tensor([[0.5, 1.0, 1.5], [2.0, 2.0, 2.5]]), torch.tensor([[2, 2, 2], [0, 0, 0]]), 5)


def knn_far(answer: Callable) -> None:
    """all neighbours are far away (squared distances above 1000)"""
    _check_knn(
        answer,
        torch.tensor([[1000.0, 1001.0, 1001.5], [2000.0, 2000.5, 2300.0]]),
        torch.tensor([[1, 4, 1], [3, 0, 2]]),
        5,
    )
