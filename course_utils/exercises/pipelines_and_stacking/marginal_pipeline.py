"""A second stage that sums over what the first one may have meant."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.exercises.engine import Exercise, Mistake, case, draw, one_row
from course_utils.exercises.engine.exercise import Corner
from course_utils.pipelines.recognition import marginal_pipeline


def _inputs(inputs: int, hypotheses: int, results: int, seed: int) -> tuple[Tensor, Tensor]:
    """p1 (B, K) and p2 (K, V), both clearly uneven."""
    p1 = (1.5 * draw(inputs, hypotheses, seed=seed)).softmax(-1)
    return p1, (2 * draw(hypotheses, results, seed=seed + 1)).softmax(-1)


def _joint(p1: Tensor, p2: Tensor) -> Tensor:
    return p1[:, :, None] * p2  # (B, K, V)


def _one_hot(p: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(p.argmax(-1), p.shape[-1]).to(p.dtype)


def _top(p1: Tensor, k: int) -> Tensor:
    best = p1.topk(k).indices
    return torch.zeros_like(p1).scatter(-1, best, p1.gather(-1, best))


def _explain(got: Tensor, expected: Tensor, p1: Tensor, p2: Tensor) -> str:
    if isinstance(got, Tensor) and got.shape == expected.shape and len(p2) > 1:
        if all(torch.isclose(row.double(), p2.double(), atol=1e-5).all(-1).any() for row in got):
            raise Mistake("Every row of your result is a single row of p2: one hypothesis was chosen (or drawn).", EACH)
    return ""


CLASH = "The shapes do not line up: p1 is (B, K) and p2 (K, V), so the columns of p1 meet the rows of p2."
EACH = "Sum over all hypotheses, row k of p2 with the weight p1[b, k]."
EXERCISE = Exercise(
    "pipelines_and_stacking.marginal_pipeline",
    reference=marginal_pipeline,
    returns="probabilities",
    what="your result",
    unnormalised="The proportions are right, the sum is not. Did you divide by K? The weights p1[b] sum to 1 already.",
    explain=_explain,
    sizes=lambda p1, p2: (
        {len(p1): "B inputs", len(p2): "K hypotheses", p2.shape[1]: "V results"}
        if len({1, len(p1), *p2.shape}) == 4
        else {}
    ),
    errors={"shapes": CLASH, "IndexError.*out of": CLASH},
    cases=[
        case("five inputs, five hypotheses, five results", *_inputs(5, 5, 5, seed=911)),
        case("three numbers that all differ", *_inputs(3, 4, 6, seed=915)),
        case(
            "the best hypothesis has .4 and says y = 0, the two others have .3 each and say y = 1: y = 1 wins, with .6",
            torch.tensor([[0.4, 0.3, 0.3], [0.2, 0.7, 0.1]]),
            torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]),
        ),
    ],
    corners=[
        one_row("p1"),
        Corner("a first stage that is certain: the 1-best is right", lambda v: {"p1": torch.eye(5)}),
        Corner("a list of one hypothesis", lambda v: {"p1": torch.ones(5, 1), "p2": v["p2"][:1]}),
    ],
    mistakes={
        "You pass on the best hypothesis alone (argmax), the 1-best pipeline. What the first stage thinks of the "
        "others is lost, even if they hold most of the probability together.\n"
        f"{EACH}": lambda p, q: q[p.argmax(1)],
        "You keep the best hypothesis alone, times its probability: the terms of the other k are missing.\n"
        f"{EACH}": lambda p, q: _top(p, 1) @ q,
        "You take the maximum over k instead of the sum: the probability of Y2 together with its best hypothesis.\n"
        "Several hypotheses that agree on Y2 add up.": lambda p, q: _joint(p, q).amax(1),
        "Each hypothesis casts one vote here, for its most probable Y2.\n"
        "Keep all of p2[k], (V,), and add up.": lambda p, q: p @ _one_hot(q),
        "You average the logarithms, a weighted geometric mean: a y that one hypothesis excludes is impossible.\n"
        "Y1 is one or another hypothesis, so the probabilities themselves are added up.": [
            lambda p, q: (p @ q.log()).exp(),
            lambda p, q: p @ q.log(),
            lambda p, q: p.log() @ q.log(),
            lambda p, q: _joint(p, q).prod(1),
        ],
        f"All hypotheses count the same in your result.\n{EACH}": [
            *(lambda p, q, of=of: of(q, 0).expand(len(p), -1) for of in (torch.mean, torch.sum)),
            *(lambda p, q, of=of: of(q, 0) for of in (torch.mean, torch.sum)),
        ],
        "You take a softmax of p1, whose rows are probabilities already: that makes all hypotheses nearly alike.\n"
        "Use p1 as it is.": lambda p, q: p.softmax(1) @ q,
        "You take a softmax of p2, whose rows are probabilities already: that makes them flat.\nUse p2 as it is.": [
            lambda p, q: p @ q.softmax(1),
            lambda p, q: p.softmax(1) @ q.softmax(1),
        ],
        "You take a softmax of the result, which is a distribution already.\n"
        "A weighted "
        "mean of the rows of p2 sums to 1.": [lambda p, q: (p @ q).softmax(1), lambda p, q: (p @ q).softmax(0)],
        "You take exp of probabilities: p1 and p2 are no logarithms.": [
            lambda p, q: p.exp() @ q.exp(),
            lambda p, q: (p[:, :, None] + q).logsumexp(1),
        ],
        "The sum runs over the columns of p2, as with its transpose.\n"
        "Row k of p2 belongs to hypothesis k, as column k of p1 does.": lambda p, q: p @ q.T,
        "The sum runs over the rows of p1, as with its transpose.\nRow b of it is input b.": lambda p, q: p.T @ q,
        "The result is transposed: it has a row for each input, (B, V).": lambda p, q: (p @ q).T,
        "The product is the wrong way round.\nThe hypotheses are the columns of p1 and the rows of p2.": [
            lambda p, q: q @ p,
            lambda p, q: q.T @ p,
        ],
        "You divide by the sums over the inputs (dim 0).\n"
        "Nothing needs to be divided: each row "
        "of the result sums to 1 by itself.": [lambda p, q: p @ q / (p @ q).sum(0), lambda p, q: p / p.sum(0) @ q],
        "This is the joint table P(Y1, Y2 | X), (B, K, V).\nSum it over the hypotheses, dim 1.": _joint,
        "You summed over Y2 or the inputs, not over the hypotheses.\n"
        "The joint table is (B, "
        "K, V): sum it over its dimension 1.": [lambda p, q: _joint(p, q).sum(2), lambda p, q: _joint(p, q).sum(0)],
        "This is a decision, the index of the most probable Y2 (or a 1 at its place).\n"
        "Return the probabilities, (B, V).": [
            lambda p, q: (p @ q).argmax(1),
            lambda p, q: _one_hot(p @ q),
            lambda p, q: q[p.argmax(1)].argmax(1),
        ],
        "You average or sum over the inputs, and each input b has its own weights p1[b].": [
            lambda p, q: (p.mean(0) @ q).expand(len(p), -1),
            lambda p, q: (p @ q).mean(0),
            lambda p, q: (p @ q).sum(0),
        ],
        f"The first hypothesis, or the last, is all that counts in every row.\n{EACH}": [
            *(lambda p, q, k=k: q[[k]].expand(len(p), -1) for k in (0, -1)),
            *(lambda p, q, k=k: p[:, [k]] * q[[k]] for k in (0, -1)),
        ],
        f"You keep the two best hypotheses.\n{EACH}": lambda p, q: _top(p, 2) @ q,
        "You weight by logarithms or by powers of p1, not by p1[b, k] itself.": [
            lambda p, q: p.log() @ q,
            lambda p, q: p**2 @ q,
            lambda p, q: p**0.5 @ q,
            lambda p, q: -(p * p.log()) @ q,
        ],
    },
    hints=[
        "Y1 is one hypothesis or another. How do the probabilities of cases that exclude each other combine?",
        "For each input a sum over k: the number p1[b, k] times the row p2[k], (V,). That is a weighted mean of the "
        "rows of p2.",
        "It is a matrix product: p1 @ p2, (B, K) @ (K, V) -> (B, V).",
    ],
)
