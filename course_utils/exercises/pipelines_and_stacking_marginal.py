"""Tests of 09_pipelines_and_stacking: a second stage that sums over what the first one may have meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_utils.exercises.diagnose import attempt, sum_note
from course_utils.exercises.engine.calls import Mistake, StudentError
from course_utils.exercises.engine.compare import close
from course_utils.exercises.mistakes import alike, draw, recognise
from course_utils.pipelines.recognition import marginal_pipeline

STEPS = "result[b] = p1[b, 0] * p2[0] + p1[b, 1] * p2[1] + ..., which is the matrix product p1 @ p2, (B, K) @ (K, V)."
ARGMAX = (
    "You pass on the best hypothesis alone (argmax), the 1-best pipeline. What the first stage thinks of the others is lost,"
    f" even if they hold most of the probability together: sum over all k. {STEPS}"
)
SCALED_ARGMAX = (
    f"You keep the best hypothesis alone, times its probability: the terms of the other k are missing. {STEPS}"
)
VITERBI = (
    "You take the MAXIMUM over k in place of the sum: the probability of Y2 together with its best hypothesis. Several"
    f" hypotheses that agree on Y2 add up. {STEPS}"
)
VOTE = f"Each hypothesis casts one vote here, for its most probable Y2: keep all of p2[k], (V,), and add up. {STEPS}"
GEOMETRIC = (
    "You average the logarithms, a weighted geometric mean: a y that ONE hypothesis excludes is then impossible. Y1 is one"
    " OR another hypothesis, and so the probabilities themselves are added up: no logarithms are needed."
)
UNWEIGHTED = f"All hypotheses count the same in your result: weight row k of p2 by p1[b, k]. {STEPS}"
SUMMED = f"You add up the rows of p2 without their weights: multiply row k by p1[b, k]. {STEPS}"
DIVIDED = f"Divided by K: the weights p1[b, k] sum to 1 already, so this is a sum and no mean. {STEPS}"
SOFTMAX_P1 = "You take a softmax of p1, whose rows are probabilities already: that makes all hypotheses nearly alike. Use p1 as it is."
SOFTMAX_P2 = "You take a softmax of p2, whose rows are probabilities already: that makes them flat. Use p2 as it is."
SOFTMAX_RESULT = (
    "You take a softmax of the result, which is a distribution already: a weighted mean of the rows of p2 sums to 1."
)
EXPED = "You take exp of probabilities: p1 and p2 are no logarithms."
LOGS = "These are the logarithms of the result: return the probabilities themselves."
P2_TRANSPOSED = (
    f"You multiplied by the transpose of p2: row k of p2 belongs to hypothesis k, so it is p1 @ p2, without .T. {STEPS}"
)
P1_TRANSPOSED = f"You multiplied by the transpose of p1: row b of p1 belongs to input b. {STEPS}"
TRANSPOSED = "The result is transposed: a row for each input, a column for each Y2, (B, V)."
ORDER = f"The product is the wrong way round: p1 @ p2. {STEPS}"
COLUMNS = "You divide by the sums over the inputs (dim 0). Nothing needs to be divided: each row of the result sums to 1 by itself."
UNSUMMED = "This is the joint table P(Y1, Y2 | X), (B, K, V): sum it over the hypotheses, dim 1."
WRONG_SUM = (
    "You summed over Y2 in place of Y1, which gives p1 back: the joint table is (B, K, V), sum over its dimension 1."
)
DECISION = (
    "This is a decision, the index of the most probable Y2 (or a 1 at its place): asked are the probabilities, (B, V)."
)
INPUTS = "All rows of your result are the same: each input b has its own weights p1[b]."
FIRST = "The second stage reads hypothesis 0 in every row: use all of them, with their weights p1[b, k]."
TOP_TWO = f"You keep the two best hypotheses: sum over all K. {STEPS}"
LOG_WEIGHT = "You weight by logarithms or by squares of p1: the weight of row k is p1[b, k] itself."
ROWS = (
    "Every row of your result is a single row of p2: one hypothesis was chosen (or drawn), and the others are lost. Sum over"
    f" all of them with their weights. {STEPS}"
)
OWN = "Your result is another one at each call: nothing has to be drawn, the sum over all hypotheses is exact."
CLASH = f"The shapes do not line up: p1 is (B, K) and p2 (K, V), so the columns of p1 meet the rows of p2. {STEPS}"
SHAPE = "Your result has shape {}, it should be (B, V) = {}. {}"


def _joint(p1: Tensor, p2: Tensor) -> Tensor:
    return p1[:, :, None] * p2  # (B, K, V)


def _normal(values: Tensor) -> Tensor:
    return values / values.sum(-1, keepdim=True)


def _one_hot(p: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(p.argmax(-1), p.shape[-1]).to(p.dtype)


def _top(p1: Tensor, k: int) -> Tensor:
    best = p1.topk(k).indices
    return torch.zeros_like(p1).scatter(-1, best, p1.gather(-1, best))


MISTAKES = [
    (ARGMAX, lambda p, q: q[p.argmax(1)]),
    (SCALED_ARGMAX, lambda p, q: _top(p, 1) @ q),
    (VITERBI, lambda p, q: _joint(p, q).amax(1)),
    (VITERBI, lambda p, q: _normal(_joint(p, q).amax(1))),
    (VOTE, lambda p, q: p @ _one_hot(q)),
    (GEOMETRIC, lambda p, q: (p @ q.log()).exp()),
    (GEOMETRIC, lambda p, q: (p @ q.log()).softmax(-1)),
    (GEOMETRIC, lambda p, q: p @ q.log()),
    (GEOMETRIC, lambda p, q: (p.log() @ q.log()).softmax(-1)),
    (GEOMETRIC, lambda p, q: p.log() @ q.log()),
    (GEOMETRIC, lambda p, q: _normal(_joint(p, q).prod(1))),
    (GEOMETRIC, lambda p, q: _joint(p, q).prod(1)),
    (GEOMETRIC, lambda p, q: _joint(p, q).log().sum(1).softmax(-1)),
    (UNWEIGHTED, lambda p, q: q.mean(0).expand(len(p), -1)),
    (UNWEIGHTED, lambda p, q: q.mean(0)),
    (SUMMED, lambda p, q: q.sum(0).expand(len(p), -1)),
    (SUMMED, lambda p, q: q.sum(0)),
    (DIVIDED, lambda p, q: p @ q / len(q)),
    (SOFTMAX_P1, lambda p, q: p.softmax(1) @ q),
    (SOFTMAX_P2, lambda p, q: p @ q.softmax(1)),
    (SOFTMAX_P2, lambda p, q: p.softmax(1) @ q.softmax(1)),
    (SOFTMAX_RESULT, lambda p, q: (p @ q).softmax(1)),
    (SOFTMAX_RESULT, lambda p, q: (p @ q).softmax(0)),
    (EXPED, lambda p, q: p.exp() @ q.exp()),
    (EXPED, lambda p, q: _normal(p.exp() @ q.exp())),
    (EXPED, lambda p, q: (p.exp() @ q.exp()).log()),
    (EXPED, lambda p, q: (p[:, :, None] + q).logsumexp(1)),
    (LOGS, lambda p, q: (p @ q).log()),
    (P2_TRANSPOSED, lambda p, q: p @ q.T),
    (P1_TRANSPOSED, lambda p, q: p.T @ q),
    (TRANSPOSED, lambda p, q: (p @ q).T),
    (ORDER, lambda p, q: q @ p),
    (ORDER, lambda p, q: q.T @ p),
    (COLUMNS, lambda p, q: p @ q / (p @ q).sum(0)),
    (COLUMNS, lambda p, q: p / p.sum(0) @ q),
    (UNSUMMED, _joint),
    (WRONG_SUM, lambda p, q: _joint(p, q).sum(2)),
    (WRONG_SUM, lambda p, q: _joint(p, q).sum(0)),
    (DECISION, lambda p, q: (p @ q).argmax(1)),
    (DECISION, lambda p, q: _one_hot(p @ q)),
    (DECISION, lambda p, q: q[p.argmax(1)].argmax(1)),
    (INPUTS, lambda p, q: (p.mean(0) @ q).expand(len(p), -1)),
    (INPUTS, lambda p, q: (p @ q).mean(0)),
    (INPUTS, lambda p, q: (p @ q).sum(0)),
    (FIRST, lambda p, q: q[:1].expand(len(p), -1)),
    (FIRST, lambda p, q: p[:, :1] * q[:1]),
    (TOP_TWO, lambda p, q: _top(p, 2) @ q),
    (TOP_TWO, lambda p, q: _normal(_top(p, 2)) @ q),
    (LOG_WEIGHT, lambda p, q: p.log() @ q),
    (LOG_WEIGHT, lambda p, q: p**2 @ q),
    (LOG_WEIGHT, lambda p, q: _normal(p**2) @ q),
    (LOG_WEIGHT, lambda p, q: _normal(p**0.5) @ q),
    (LOG_WEIGHT, lambda p, q: -(p * p.log()) @ q),
]


def inputs(inputs_: int, hypotheses: int, results: int, seed: int) -> tuple[Tensor, Tensor]:
    """p1 (B, K) and p2 (K, V), both clearly uneven."""
    p1 = (1.5 * draw(inputs_, hypotheses, seed=seed)).softmax(-1)
    return p1, (2 * draw(hypotheses, results, seed=seed + 1)).softmax(-1)


CASES = [
    inputs(5, 5, 5, seed=911),
    inputs(4, 4, 4, seed=913),
]  # square: a transpose fits, and tells itself by its numbers


def _check(answer: Callable, p1: Tensor, p2: Tensor) -> None:
    expected = marginal_pipeline(p1, p2)
    try:
        got = attempt(answer, p1, p2, clash=CLASH)
    except StudentError as wrapped:
        if isinstance(wrapped.error, IndexError) and "out of" in str(wrapped.error):
            raise Mistake(f"{CLASH} (torch said: {wrapped.error})") from None
        raise
    try:
        close(got, expected, what="your result")
    except Mistake as mistake:
        recognise(answer, CASES, MISTAKES)
        if isinstance(got, Tensor):
            _look(answer, got, expected, p1, p2)
        raise Mistake(f"{mistake} {STEPS}") from None


def _look(answer: Callable, got: Tensor, expected: Tensor, *case: Any) -> None:
    """What can be said of a wrong result whose computation is not known."""
    if got.shape == expected.T.shape != expected.shape:
        raise Mistake(f"{TRANSPOSED} {STEPS}")
    if got.shape != expected.shape:
        raise Mistake(SHAPE.format(tuple(got.shape), tuple(expected.shape), STEPS))
    if not got.is_floating_point() or not got.isfinite().all():
        return
    if len(case[1]) > 1 and all(
        any(torch.allclose(row.double(), other.double(), atol=1e-5) for other in case[1]) for row in got
    ):
        raise Mistake(ROWS)
    if not alike(got, answer(*case)):
        raise Mistake(OWN)
    if note := sum_note(got, log=False, dim=-1):
        raise Mistake(f"{note} {STEPS}")


def marginal_random(answer: Callable) -> None:
    """five inputs, five hypotheses, five results; then three numbers that all differ"""
    for case in [*CASES, inputs(3, 4, 6, seed=915), inputs(6, 3, 2, seed=917)]:
        _check(answer, *case)


def marginal_agree(answer: Callable) -> None:
    """the best hypothesis has .4 and says y = 0, the two others have .3 each and say y = 1: y = 1 wins, with .6"""
    p2 = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    _check(answer, torch.tensor([[0.4, 0.3, 0.3]]), p2)


def marginal_ends(answer: Callable) -> None:
    """a first stage that is certain (the 1-best is then right), one that knows nothing, and a list of one hypothesis"""
    _, p2 = inputs(4, 4, 3, seed=919)
    _check(answer, torch.eye(4), p2)
    _check(answer, torch.full((2, 4), 0.25), p2)
    _check(answer, torch.ones(2, 1), p2[:1])
