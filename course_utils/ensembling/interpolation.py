"""Combine the next-token distributions of several models: linear (OR) and log-linear (AND) interpolation, and their
weights.

Pure functions of log-probabilities. Notation (Neubig, CMU 11-711, "Ensembling and Mixture of Experts"): M members,
vocabulary of V tokens, P_m(y | c) the probability of token y after the context c. ``log_probs`` is (M, ..., V), natural
logarithms, -inf for probability zero; a list of M tensors (..., V) is taken too. Weights are (M,), or (M, ...) when
they depend on the context.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

Members = Tensor | Sequence[Tensor]
CHUNK = 2**22  # entries of (N, V) that a fit has in work at a time


def linear_interpolation(log_probs: Members, weights: Tensor | Sequence[float]) -> Tensor:
    """log P(y|c) = log sum_m w_m P_m(y|c): the mixture, a logical OR.

    log_probs (M, ..., V); weights on the simplex, (M,) or (M, ...) following the dimensions between M and V.
    Returns (..., V) log-probabilities. It averages probabilities, so every member must be normalised: not logits.
    Raises ValueError: wrong number of weights, weights off the simplex (1e-4), vocabularies that differ, logits.
    Source: Jelinek & Mercer (1980).
    """
    log_probs = _stack(log_probs)
    if log_probs.detach().amax() > 1e-3:
        raise ValueError("linear interpolation needs log-probabilities, got values above 0: apply log_softmax first")
    weights = _align(weights, log_probs, "weights")
    _check_simplex(weights, "weights")
    scores = _safe_log(weights) + log_probs
    impossible = scores.isneginf().all(dim=0)  # kept out of logsumexp, whose gradient there would be NaN
    return scores.masked_fill(impossible, 0.0).logsumexp(dim=0).masked_fill(impossible, -torch.inf)


def loglinear_interpolation(log_probs: Members, lam: Tensor | Sequence[float]) -> Tensor:
    """P(y|c) = prod_m P_m(y|c)^lam_m / Z(c), that is softmax(sum_m lam_m log P_m): a logical AND.

    log_probs (M, ..., V), logits allowed; lam (M,) or (M, ...), any sign, any sum (a sum above 1 sharpens, a negative
    one repels). Returns (..., V) log-probabilities. A probability of zero under a member with lam > 0 vetoes the token,
    whatever the others say; 0 * -inf counts as 0.
    Raises ValueError: wrong number of lam, vocabularies that differ, every token vetoed, or a token that nobody vetoes
    whose probability is zero under a member with lam < 0 (0^lam is infinite).
    Source: Hinton (2002), "Training products of experts"; Klakow (1998), "Log-linear interpolation of language models".
    """
    members = _unstacked(log_probs)
    lam = _align(lam, members, "lam")
    vetoed, infinite, scores = False, False, 0.0  # (..., V): member by member, so that no copy of all of them is made
    for member, power in zip(members, lam):
        zero = member.isneginf()
        vetoed, infinite = vetoed | (zero & (power > 0)), infinite | (zero & (power < 0))
        # The zeros are taken out before the product, since 0 * -inf is NaN, also in the gradient.
        scores = scores + power * member.masked_fill(zero, 0.0)
    if vetoed.all(dim=-1).any():
        raise ValueError("every token is vetoed: no token has P_m > 0 under all members with lam > 0, smooth a member")
    if (infinite & ~vetoed).any():
        raise ValueError("a member with lam < 0 gives a token probability 0, and 0 ** lam is infinite: smooth it")
    return scores.masked_fill(vetoed, -torch.inf).log_softmax(dim=-1)


def em_weights(
    probs: Tensor, n_iter: int = 1000, tol: float = 1e-9, return_history: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """Constant weights of the linear interpolation that maximise the likelihood of held-out tokens, by EM.

    E: r_mi = w_m P_m(y_i) / sum_k w_k P_k(y_i);  M: w_m = mean_i r_mi, from uniform weights. The likelihood is concave
    in w, so EM reaches the global optimum and never goes down. It stops when the mean log-likelihood is proven to be
    within ``tol`` nats a token of the optimum (concavity: the gap is at most max_m mean_i P_m(y_i)/P(y_i) - 1).

    probs (M, N): probabilities (not logs) that the M members gave to the N observed tokens. Returns w (M,) in float64;
    with ``return_history`` also the weights before the first and after every iteration, (iterations + 1, M).
    Raises ValueError: not (M, N), not probabilities, a token that is impossible under every member.
    Source: Dempster, Laird & Rubin (1977), section 4.3; Jelinek & Mercer (1980).
    """
    probs = torch.as_tensor(probs).detach().double()  # the last digits of float32 would break "never goes down"
    if probs.dim() != 2 or probs.numel() == 0:
        raise ValueError(f"probs must be (members, tokens) and not empty, got shape {tuple(probs.shape)}")
    if not ((probs >= 0) & (probs <= 1 + 1e-4)).all():
        raise ValueError("probs must be probabilities between 0 and 1: call .exp() on log-probabilities first")
    if (probs.amax(dim=0) == 0).any():
        raise ValueError("a token has probability 0 under every member: smooth one of them before fitting weights")
    weights = torch.full_like(probs[:, 0], 1 / len(probs))
    history = [weights]
    for _ in range(n_iter):
        gain = (probs / (weights @ probs)).mean(dim=1)  # (M,): mean responsibility is w_m * gain_m
        if gain.max() - 1 < tol:
            break
        weights = weights * gain
        weights = weights / weights.sum()  # already 1 up to rounding
        history.append(weights)
    return (weights, torch.stack(history)) if return_history else weights


def posterior_weights(token_log_probs: Members, prior: Tensor | Sequence[float], temper: float = 1.0) -> Tensor:
    """Context-dependent weights by Bayes' rule: w_m(t) = P(m | y_<t), proportional to prior_m prod_{s<t} P_m(y_s)^beta.

    token_log_probs (M, ..., T): log P_m(y_s | y_<s) of the observed tokens, 0.0 at padding (which changes no weight);
    prior (M,) on the simplex; ``temper`` is beta >= 0: below 1 each token counts for less, so that the weights leave
    the prior more slowly and are less sure of one member. Returns (M, ..., T), summing to 1 over M; position t uses
    tokens before t only.
    Raises ValueError: wrong number of priors, prior off the simplex, temper < 0, a history that every member with a
    prior above 0 holds impossible.
    """
    token_log_probs = _stack(token_log_probs)
    prior = _align(prior, token_log_probs, "prior")
    _check_simplex(prior, "prior")
    if temper < 0:
        raise ValueError(f"temper must be at least 0, got {temper}")
    evidence = token_log_probs[..., :-1].double() if temper else torch.zeros_like(token_log_probs[..., :-1]).double()
    # Exclusive cumulative sum by a shift; cumsum(x) - x would be NaN after a -inf.
    history = torch.nn.functional.pad(evidence.cumsum(dim=-1), (1, 0))  # (M, ..., T)
    scores = _safe_log(prior.double()) + temper * history
    if scores.isneginf().all(dim=0).any():
        raise ValueError("a history has probability 0 under every member with a prior above 0: smooth one of them")
    return scores.softmax(dim=0).to(token_log_probs.dtype)


def fit_loglinear_weights(log_probs: Members, targets: Tensor, n_iter: int = 100) -> Tensor:
    """lam of the log-linear interpolation with the lowest mean negative log-likelihood of ``targets``, by L-BFGS.

    The NLL is convex in lam (log-sum-exp minus linear), so this is the global optimum, where the gradient vanishes:
    E_data[log P_m] = E_model[log P_m] for every m (the moments match). lam is unconstrained.

    log_probs (M, N, V), targets (N,) token ids. Returns (M,). A token with probability zero under some member is left
    out for every lam (lam <= 0 would bring it back with 0 or infinite weight).
    Raises ValueError: shapes that do not fit, a target with probability zero under some member.
    """
    log_probs = _stack(log_probs).detach()
    if log_probs.dim() != 3 or targets.shape != log_probs.shape[1:2]:
        raise ValueError(
            f"expected log_probs (M, N, V) and targets (N,), got {tuple(log_probs.shape)} and {tuple(targets.shape)}"
        )
    if not 0 <= targets.min() <= targets.max() < log_probs.shape[-1]:
        raise ValueError(f"targets must be token ids below the vocabulary size {log_probs.shape[-1]}")
    if log_probs.gather(2, targets.expand(len(log_probs), -1)[..., None]).isneginf().any():
        raise ValueError("a target has probability 0 under some member: smooth that member before fitting lam")
    lam = torch.full_like(log_probs[:, 0, 0], 1 / len(log_probs)).requires_grad_()
    optimiser = torch.optim.LBFGS([lam], max_iter=n_iter, line_search_fn="strong_wolfe", tolerance_grad=1e-6)
    rows = max(1, CHUNK // log_probs.shape[-1])

    def closure() -> Tensor:
        optimiser.zero_grad()
        total = log_probs.new_zeros(())
        for part, wanted in zip(log_probs.split(rows, dim=1), targets.split(rows)):  # (M, rows, V), (rows,)
            zero = part.isneginf()
            logits = torch.tensordot(lam, part.masked_fill(zero, 0.0), dims=1).masked_fill(zero.any(dim=0), -torch.inf)
            loss = torch.nn.functional.cross_entropy(logits, wanted, reduction="sum") / len(targets)
            loss.backward()
            total += loss.detach()
        return total

    with torch.enable_grad():
        optimiser.step(closure)
    return lam.detach()


def _unstacked(members: Members) -> Sequence[Tensor]:
    """M tensors (..., V) of one shape, from a tensor (M, ..., V) or a list of tensors over one vocabulary; no
    copies."""
    if not isinstance(members, Tensor):
        sizes = [m.shape[-1] for m in members]
        if len(set(sizes)) > 1:
            raise ValueError(f"the members have different vocabularies {sizes}: use models with the same tokenizer")
        return torch.broadcast_tensors(*members)
    if members.dim() < 2:
        raise ValueError(f"expected (members, ..., vocabulary), got shape {tuple(members.shape)}")
    return members.unbind()


def _stack(members: Members) -> Tensor:
    """(M, ..., V) from a tensor or a list of tensors (..., V) over one vocabulary."""
    rows = _unstacked(members)
    return members if isinstance(members, Tensor) else torch.stack(rows)


def _align(weights: Tensor | Sequence[float], members: Members, name: str) -> Tensor:
    """weights (M,) or (M, ...) with ones appended, so that they broadcast against M members (..., V)."""
    shape = (len(members), *members[0].shape)
    weights = torch.as_tensor(weights, dtype=members[0].dtype, device=members[0].device)
    if weights.dim() == 0 or len(weights) != len(members):
        got = len(weights) if weights.dim() else "one number"
        raise ValueError(f"{name} must hold one value for each of the {len(members)} members, got {got}")
    middle = shape[1:-1][: weights.dim() - 1]
    if weights.dim() >= len(shape) or any(w not in (1, s) for w, s in zip(weights.shape[1:], middle, strict=True)):
        raise ValueError(f"{name} of shape {tuple(weights.shape)} do not fit log_probs {shape}")
    return weights.reshape(weights.shape + (1,) * (len(shape) - weights.dim()))


def _check_simplex(weights: Tensor, name: str) -> None:
    if (weights < 0).any():
        raise ValueError(f"{name} must not be negative: a mixture cannot subtract, use log-linear interpolation")
    if not ((weights.sum(dim=0) - 1).abs() <= 1e-4).all():
        raise ValueError(f"{name} must sum to 1 over the members: divide them by their sum")


def _safe_log(weights: Tensor) -> Tensor:
    """log w with log 0 = -inf, and gradient 0 instead of NaN there."""
    positive = weights > 0
    return torch.where(positive, weights.where(positive, 1.0).log(), -torch.inf)
