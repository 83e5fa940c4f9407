"""Wrong answers to two exercises of notebook 10: the product of the steps, and Bayes' rule for a step back."""

from __future__ import annotations

from . import WrongAnswer
from ._refinement_and_diffusion_write import function


def _products(label: str, value: str, says: str) -> WrongAnswer:
    """One line; `run(Qs)` are the right running products, `left(Qs)` those from the other side, `one` is the identity, (1, K, K)."""
    body = f"""
def run(Qs):
    out = [Qs[0]]
    for Q in Qs[1:]:
        out.append(out[-1] @ Q)
    return torch.stack(out)
def left(Qs):
    out = [Qs[0]]
    for Q in Qs[1:]:
        out.append(Q @ out[-1])
    return torch.stack(out)
one = torch.eye(Qs.shape[1], dtype=Qs.dtype)[None]
return {value}"""
    return function("cumulative", "my_cumulative(Qs)", label, body, says)


def _products_body(label: str, body: str, says: str) -> WrongAnswer:
    return function("cumulative", "my_cumulative(Qs)", label, body, says)


def _posterior(label: str, value: str, says: str) -> WrongAnswer:
    """One line; `A` is Q_t, `B` is Qbar_{t-1}, `norm` divides by the sum over the tokens."""
    body = f"""
def norm(p):
    return p / p.sum(dim=-1, keepdim=True)
A, B, K = Q, Qbar_before, len(Q)
return {value}"""
    return function("posterior", "my_posterior(x_t, x0, Q, Qbar_before)", label, body, says)


def _posterior_body(label: str, body: str, says: str) -> WrongAnswer:
    return function("posterior", "my_posterior(x_t, x0, Q, Qbar_before)", label, body, says)


PRODUCTS = [
    _products("from the left", "left(Qs)", "You multiply from the left"),
    _products_body(
        "accumulate, swapped",
        "from itertools import accumulate\nreturn torch.stack(list(accumulate(Qs, lambda a, b: b @ a)))",
        "You multiply from the left",
    ),
    _products("cumprod", "Qs.cumprod(dim=0)", "entry by entry"),
    _products("star", "torch.stack([Qs[: t + 1].prod(0) for t in range(len(Qs))])", "entry by entry"),
    _products("logarithms", "Qs.log().cumsum(0).exp()", "entry by entry"),
    _products("cumprod, normalised", "Qs.cumprod(0) / Qs.cumprod(0).sum(-1, keepdim=True)", "You normalise the result"),
    _products("softmax", "run(Qs).softmax(-1)", "You normalise the result"),
    _products("sum", "Qs.cumsum(0)", "You add the matrices up"),
    _products("mean", "Qs.cumsum(0) / torch.arange(1, len(Qs) + 1)[:, None, None]", "You add the matrices up"),
    _products("power of the first", "torch.stack([Qs[0].matrix_power(t + 1) for t in range(len(Qs))])", "powers of a single matrix"),
    _products("powers", "torch.stack([Q.matrix_power(t + 1) for t, Q in enumerate(Qs)])", "powers of a single matrix"),
    _products("the first for all", "Qs[:1].repeat(len(Qs), 1, 1)", "powers of a single matrix"),
    _products("transposed", "run(Qs).mT", "Your matrices are transposed"),
    _products("columns", "left(Qs.mT)", "Your matrices are transposed"),
    _products("transposed, from the left", "left(Qs).mT", "Your matrices are transposed"),
    _products_body(
        "steps transposed",
        "out = [Qs[0]]\nfor Q in Qs[1:]:\n    out.append(out[-1] @ Q.T)\nreturn torch.stack(out)",
        "You transpose the steps",
    ),
    _products_body(
        "linear",
        "out = [Qs[0]]\nfor Q in Qs[1:]:\n    out.append(F.linear(out[-1], Q))\nreturn torch.stack(out)",
        "You transpose the steps",
    ),
    _products("identity first", "run(torch.cat([one, Qs]))[:-1]", "begins with the identity"),
    _products("identity too", "run(torch.cat([one, Qs]))", "begins with the identity"),
    _products("first step missing", "run(torch.cat([one, Qs[1:]]))", "The first step is missing"),
    _products("first step dropped", "run(Qs)[1:] if len(Qs) > 1 else Qs", "The first step is missing"),
    _products("without the first", "run(Qs[1:]) if len(Qs) > 1 else Qs", "The first step is missing"),
    _products_body(
        "first twice",
        "out, P = [], Qs[0]\nfor Q in Qs:\n    P = P @ Q\n    out.append(P)\nreturn torch.stack(out)",
        "Q_1 is in your products twice",
    ),
    _products_body(
        "first twice, shifted",
        "out = [Qs[0]]\nfor Q in Qs[:-1]:\n    out.append(out[-1] @ Q)\nreturn torch.stack(out)",
        "Q_1 is in your products twice",
    ),
    _products("last only", "torch.linalg.multi_dot(list(Qs)) if len(Qs) > 1 else Qs[0]", "Only the product of all T steps is here"),
    _products("last for all", "run(Qs)[-1:].expand_as(Qs)", "Every t has the same matrix"),
    _products("single steps", "Qs.clone()", "These are the single steps"),
    _products("pairs", "torch.cat([Qs[:1], Qs[:-1] @ Qs[1:]])", "These are the single steps"),
    _products("squares", "torch.einsum('tij,tjk->tik', Qs, Qs)", "You multiply each matrix by itself"),
    _products("to the end", "left(Qs.flip(0)).flip(0)", "run to the last step"),
    _products("from the end", "left(Qs.flip(0))", "run to the last step"),
    _products("flipped twice", "run(Qs.flip(0)).flip(0)", "run to the last step"),
    _products("backwards", "run(Qs).flip(0)", "in reversed order"),
    _products("axis 1", "Qs.cumprod(1)", "along an axis of the matrices"),
    _products("axis 2", "Qs.cumprod(-1)", "along an axis of the matrices"),
    _products("list", "list(run(Qs))", "torch.stack(them)"),
    _products("rows only", "run(Qs)[:, 0]", "to go from every token to every other"),
    _products_body(
        "too far",
        "out = [Qs[0]]\nfor t in range(len(Qs)):\n    out.append(out[-1] @ Qs[t + 1])\nreturn torch.stack(out)",
        "Qs has T matrices",
    ),
    _products_body("in place", "for t in range(1, len(Qs)):\n    Qs[t] = Qs[t - 1] @ Qs[t]\nreturn Qs", "changed its input"),
    _products_body("nothing returned", "out = [Qs[0]]\nfor Q in Qs[1:]:\n    out.append(out[-1] @ Q)", "did you forget `return`"),
    _products("not foreseen", "run(Qs) + 0.1", "multiply each next matrix from the RIGHT"),
]

POSTERIOR = [
    _posterior("row for column", "norm(A[x_t] * B[x0])", "You read the ROW Q[x_t]"),
    _posterior("row for column, one-hot", "norm((F.one_hot(x_t, K).float().to(A.dtype) @ A) * B[x0])", "You read the ROW Q[x_t]"),
    _posterior("column of the steps before", "norm(A.T[x_t] * B.T[x0])", "You read the column of Qbar_before"),
    _posterior("both transposed", "norm(A[x_t] * B[:, x0].T)", "Both matrices are read in the wrong direction"),
    _posterior("swapped", "norm(A.T[x0] * B[x_t])", "x_t and x0 are swapped"),
    _posterior("swapped, forward", "norm(A[x0] * B.T[x_t])", "x_t and x0 are swapped"),
    _posterior("swapped rows", "norm(A[x0] * B[x_t])", "x_t and x0 are swapped"),
    _posterior("one step too far", "norm(A.T[x_t] * (B @ A)[x0])", "You use Qbar_t = Qbar_{t-1} Q_t"),
    _posterior("one step too far, rows", "norm(A[x_t] * (B @ A)[x0])", "You use Qbar_t = Qbar_{t-1} Q_t"),
    _posterior("sum", "norm(A.T[x_t] + B[x0])", "You add the two chances"),
    _posterior("mean", "(norm(A.T[x_t]) + B[x0]) / 2", "You add the two chances"),
    _posterior("rows added", "(A[x_t] + B[x0]) / 2", "You add the two chances"),
    _posterior("last step only", "norm(A.T[x_t])", "x0 is not used"),
    _posterior("last step only, rows", "A[x_t]", "x0 is not used"),
    _posterior("steps before only", "B[x0]", "x_t is not used"),
    _posterior("forward", "(B @ A)[x0]", "This is q(x_t | x0)"),
    _posterior("unnormalised", "A.T[x_t] * B[x0]", "The product is right"),
    _posterior("divided by q(x_t | x_0) of the steps before", "A.T[x_t] * B[x0] / (1e-9 + B[x0, x_t])[:, None]", "The product is right"),
    _posterior("softmax", "(A.T[x_t] * B[x0]).softmax(-1)", "You take the softmax of a product"),
    _posterior("softmax of the shares", "norm(A.T[x_t] * B[x0]).softmax(-1)", "You take the softmax of a product"),
    _posterior("logarithms", "(A.T[x_t].log() + B[x0].log()).log_softmax(-1)", "You return logarithms"),
    _posterior("last step twice", "norm(A.T[x_t] * A[x0])", "the same matrix twice"),
    _posterior("last step twice, rows", "norm(A[x_t] * A[x0])", "the same matrix twice"),
    _posterior("steps before twice", "norm(B.T[x_t] * B[x0])", "the same matrix twice"),
    _posterior("sum over the batch", "(A.T[x_t] * B[x0]) / (A.T[x_t] * B[x0]).sum(0)", "the sum over the batch"),
    _posterior("sum of all", "(A.T[x_t] * B[x0]) / (A.T[x_t] * B[x0]).sum()", "the sum of the whole tensor"),
    _posterior("certain", "F.one_hot((A.T[x_t] * B[x0]).argmax(-1), K).float()", "a certain x_{t-1}"),
    _posterior("even", "torch.full((len(x0), K), 1 / K)", "all tokens the same chance"),
    _posterior("inverse", "torch.linalg.inv(A)[x_t]", "You invert the matrix Q"),
    _posterior("inverse, column", "norm(torch.linalg.pinv(A).T[x_t] * B[x0])", "You invert the matrix Q"),
    _posterior("most probable", "(A.T[x_t] * B[x0]).argmax(-1)", "one token for each text"),
    _posterior("matrices", "norm(A.T[x_t][:, :, None] * B[x0][:, None, :])", "This is a matrix for each text"),
    _posterior("matrix", "A.T * B", "This is a matrix for each text"),
    _posterior("one-hot forgotten", "norm((x_t.float() @ A.T) * (x0.float() @ B))", "x_t and x0 are ids"),
    _posterior("ids times matrix", "norm((x_t @ A.T) * (x0 @ B))", "x_t and x0 are ids"),
    _posterior("column without transpose", "norm(A[:, x_t] * B[x0])", "The shapes do not line up"),
    _posterior("sum without axis", "(A.T[x_t] * B[x0]) / (A.T[x_t] * B[x0]).sum(-1)", "The shapes do not line up"),
    _posterior("sample", "F.one_hot(torch.multinomial(norm(A.T[x_t] * B[x0]), 1)[:, 0], K).float()", "you draw random numbers of your own"),
    _posterior("list", "norm(A.T[x_t] * B[x0]).tolist()", "should be a torch tensor"),
    _posterior_body("in place", "Q *= Qbar_before\nreturn Q", "changed its input"),
    _posterior_body("nothing returned", "p = Q.T[x_t] * Qbar_before[x0]\np / p.sum(-1, keepdim=True)", "did you forget `return`"),
    _posterior("not foreseen", "norm(A.T[x_t] ** 2 * B[x0])", "then divide by their sum over j"),
]

WRONG = [*PRODUCTS, *POSTERIOR]
