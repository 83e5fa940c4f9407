"""Tests of 02_negative_evidence: DExperts with its filter, the plausibility mask, classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from course_utils.ensembling import _nucleus, negative_evidence, plausible_mask
from course_utils.exercises import negative_evidence_mask_mistakes as mask_mistakes
from course_utils.exercises import negative_evidence_mistakes as wrong
from course_utils.exercises.diagnose import AS_PROBS, attempt, judge, sum_note
from course_utils.exercises.engine import Mistake, close
from course_utils.exercises.engine.calls import StudentError
from course_utils.exercises.interpolation_rules import random_log_probs, sizes_named
from course_utils.exercises.negative_evidence_mistakes import as_logs

Known = wrong.Known

CLASH = (
    "The shapes do not fit: every input is (B, V). A maximum, a sum or a cumulative sum over the vocabulary takes"
    " dim=-1, and keepdim=True if it meets (B, V) again."
)
NAN = (
    "-inf - (-inf) is nan: mask the core (or the sum), not the experts. So is the softmax of a row with nothing but"
    " -inf: the token that CROSSES top_p belongs to the nucleus, so at least one token stays. And so is the logarithm"
    " of a negative number: the difference is one of LOG-probabilities."
)
UNNORMALISED = (
    "The filter and the difference change the total: normalise at the end, with .log_softmax(dim=-1) over what is left."
)


def _tried(answer: Callable, *args: Any) -> Any:
    """`attempt`, with a word on two of torch's own traps."""
    try:
        return attempt(answer, *args, clash=CLASH)
    except StudentError as wrapped:
        said = str(wrapped.error)
        if isinstance(wrapped.error, TypeError) and ("tuple" in said or "return_types" in said):
            raise Mistake(
                "x.max(dim) and x.sort(dim) return a pair, (values, indices): take .values, or use amax(dim=-1,"
                f" keepdim=True). (Python said: {said})"
            ) from None
        if isinstance(wrapped.error, TypeError) and "must be Tensor, not float" in said:
            raise Mistake(
                f"alpha, lam, scale are plain numbers: math.log, not torch.log. (torch said: {said})"
            ) from None
        raise


def _explained(
    got: Any,
    expected: Tensor,
    known: Callable[[], Known],
    general: Callable[[Tensor], str],
    nan: str,
    unnormalised: str,
) -> None:
    """`judge`, then the known mistakes, all of them at once: there are too many for its long look at each.

    general: what can be said of a result that is neither.
    """
    sizes = sizes_named("BV", *expected.shape)
    try:
        return judge(got, expected, log=True, dim=-1, sizes=sizes, nan=nan, unnormalised=unnormalised)
    except Mistake as mistake:
        if not isinstance(got, Tensor) or got.shape != expected.shape or not got.is_floating_point():
            raise
        said = str(mistake)
    if got.isnan().any() or said.startswith((AS_PROBS, unnormalised)):
        raise Mistake(said)
    raise Mistake(_named(got, expected, known()) or said + general(got))


def _named(got: Tensor, expected: Tensor, known: Known) -> str:
    """The hint of the known mistake that `got` is up to the normalisation, as logarithms or as probabilities, or ""."""
    values = torch.stack([value for _, value in known]).double().log_softmax(-1)  # (mistakes, B, V)
    wrong_here = ~torch.isclose(values, expected.double(), atol=2e-3).flatten(1).all(1)
    got = got.detach().double()
    for form, note in ((got.masked_fill(got < -18, -torch.inf), sum_note(got, True, -1)), (got.log(), AS_PROBS)):
        same = torch.isclose(values, form.log_softmax(-1), atol=2e-3, rtol=1e-4).flatten(1).all(1) & wrong_here
        if same.any():
            return " ".join(filter(None, [known[int(same.int().argmax())][0], note]))
    return ""


# 1. DExperts ----------------------------------------------------------------------------------------------------------
def _check_dexperts(
    answer: Callable, core: Tensor, positive: Tensor, negative: Tensor, lam: float, top_p: float
) -> None:
    got = _tried(answer, core, positive, negative, lam, top_p)
    members, nucleus = (core, positive, negative, lam, top_p), _nucleus(core, top_p)

    def general(got: Tensor) -> str:
        k, filtered = wrong.strength(got, core, positive - negative), as_logs(got).isfinite().equal(nucleus)
        if k is not None and abs(k - lam) > 1e-2:
            return f" It is what lam = {k:.3g} gives, and lam is {lam:g}."
        if k is not None and not filtered:
            return " What is added to the core is right; the tokens that may be emitted are not."
        if k is None and filtered:
            return " The tokens that may be emitted are the right ones: look at core + lam * (positive - negative)."
        return ""

    try:
        _explained(
            got,
            negative_evidence(*members),
            lambda: wrong.dexperts(*members),
            general,
            nan=NAN,
            unnormalised=UNNORMALISED,
        )
    except Mistake as mistake:
        said = str(mistake)
        if isinstance(got, Tensor) and got.shape == core.shape and got.is_floating_point():
            leak = wrong.leak(got, nucleus)
            said += leak + (f" {wrong.FIRST}" if leak and wrong.FIRST not in said else "")
        raise Mistake(said) from None


def experts(*shape: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """A core and two experts that differ from it."""
    return tuple(random_log_probs(*shape, seed=seed + i, sharpness=1.2) for i in range(3))


def dexperts_random(answer: Callable) -> None:
    """four contexts, eight tokens, lam = 1.5: the core's nucleus of 0.8, then the difference, then exp() sums to 1"""
    # With this seed every token is in one context's nucleus and out of another's, and no known mistake is right.
    _check_dexperts(answer, *experts(4, 8, seed=363), lam=1.5, top_p=0.8)


def dexperts_crossing(answer: Callable) -> None:
    """P_core = 0.5, 0.3, 0.15, 0.05 and top_p = 0.7: the token that crosses 0.7 stays; top_p = 0.4 leaves one token"""
    core = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.15, 0.05, 0.5, 0.3]]).log()
    positive = torch.tensor([[0.2, 0.3, 0.1, 0.4], [0.1, 0.4, 0.2, 0.3]]).log()
    negative = torch.tensor([[0.4, 0.2, 0.3, 0.1], [0.3, 0.1, 0.4, 0.2]]).log()
    _check_dexperts(answer, core, positive, negative, lam=2.0, top_p=0.7)
    _check_dexperts(answer, core, positive, negative, lam=2.0, top_p=0.4)


def dexperts_whole(answer: Callable) -> None:
    """top_p = 1 keeps every token; as many contexts as tokens"""
    _check_dexperts(answer, *experts(6, 6, seed=40), lam=0.7, top_p=1.0)


def dexperts_off(answer: Callable) -> None:
    """lam = 0 gives the core, cut to its nucleus; lam = -1 swaps the two experts"""
    members = experts(3, 7, seed=50)
    _check_dexperts(answer, *members, lam=0.0, top_p=0.9)
    _check_dexperts(answer, *members, lam=-1.0, top_p=0.9)


# 2. The plausibility mask ---------------------------------------------------------------------------------------------
def _check_mask(answer: Callable, log_probs: Tensor, alpha: float) -> None:
    got = _tried(answer, log_probs, alpha)
    expected = plausible_mask(log_probs, alpha)
    if isinstance(got, Tensor) and got.shape != expected.shape:
        raise Mistake(
            f"The mask has shape {tuple(got.shape)}, expected {tuple(expected.shape)}: one True or False for each token"
            " of each context."
        )
    if isinstance(got, Tensor) and got.dtype != torch.bool:
        _not_booleans(got, log_probs, expected)
    if not isinstance(got, Tensor):
        close(got, expected, what="the mask")
    if got.equal(expected):
        return
    for hint, mask in mask_mistakes.plausible(log_probs, alpha):
        if got.equal(mask):
            raise Mistake(hint)
    raise Mistake(_first_difference(got, expected, log_probs, alpha))


def _not_booleans(got: Tensor, log_probs: Tensor, expected: Tensor) -> None:
    """A mask of another kind: said what it holds, and that booleans are wanted."""
    kept = got.eq(log_probs) & log_probs.gt(-torch.inf)
    if kept.any() and (got[~kept].isneginf() | got[~kept].le(0)).all():
        raise Mistake(
            "You return the masked log-probabilities. The exercise asks for the mask alone, (B, V) booleans: the"
            " comparison itself. The caller then writes log_probs.masked_fill(~mask, -torch.inf)."
        )
    if ((got == 0) | (got == 1)).all():
        right = " They are the right ones." if got.bool().equal(expected) else ""
        raise Mistake(f"You return numbers ({got.dtype}): return the comparison itself, a tensor of booleans.{right}")
    if ((got == 0) | got.isneginf()).all():
        raise Mistake(
            "You return a mask of 0 and -inf to be added to scores: return the comparison itself, a tensor of booleans."
        )
    raise Mistake(f"You return numbers ({got.dtype}), and the exercise asks for booleans: log_probs >= a bound.")


def _first_difference(got: Tensor, expected: Tensor, log_probs: Tensor, alpha: float) -> str:
    context, token = (got != expected).nonzero()[0].tolist()
    largest = log_probs[context].max().exp().item()
    return (
        f"Token {token} of context {context} has the probability {log_probs[context, token].exp().item():.3g}; the"
        f" largest there is {largest:.3g}, and alpha = {alpha:g} times it is {alpha * largest:.3g}. So the mask should"
        f" be {bool(expected[context, token])}, and yours is {bool(got[context, token])}"
        f" ({int((got != expected).sum())} of {got.numel()} entries differ)."
    )


def mask_random(answer: Callable) -> None:
    """five contexts, some peaked and some flat, alpha = 0.1: each has its own bound"""
    sharpness = torch.tensor([[0.4], [1.0], [1.5], [2.5], [4.0]])
    _check_mask(answer, (sharpness * random_log_probs(5, 48, seed=68)).log_softmax(-1), 0.1)


def mask_square(answer: Callable) -> None:
    """as many contexts as tokens, alpha = 0.3"""
    _check_mask(answer, random_log_probs(8, 8, seed=61), 0.3)


def mask_ties(answer: Callable) -> None:
    """alpha = 1 keeps the most probable tokens, all of them if there are several"""
    probs = torch.tensor([[0.4, 0.4, 0.2, 0.0], [0.1, 0.6, 0.1, 0.2], [0.25, 0.25, 0.25, 0.25]])
    _check_mask(answer, probs.log(), 1.0)


def mask_zeros(answer: Callable) -> None:
    """tokens of probability 0 (-inf) are never plausible, not even with a small alpha"""
    probs = torch.tensor([[0.9, 0.099, 0.001, 0.0], [0.0, 1.0, 0.0, 0.0], [0.3, 0.3, 0.0, 0.4]])
    _check_mask(answer, probs.log(), 0.01)


# 4. Guidance ----------------------------------------------------------------------------------------------------------
def guided(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance as most code writes it: softmax(log P(y) + scale (log P(y|c) - log P(y))).

    conditional, unconditional (B, V): log-probabilities of one model with and without the prompt; scale: 1 is off (the
    conditional model), 0 is the unconditional model, above 1 extrapolates. Returns (B, V) log-probabilities.
    The paper's own weight w has its zero elsewhere: (1 + w) log P(y|c) - w log P(y), so scale = 1 + w.
    Source: Ho & Salimans (2022), section 3.2; Sanchez et al. (2023) for language models.
    """
    return (unconditional + scale * (conditional - unconditional)).log_softmax(dim=-1)


def _check_guided(answer: Callable, conditional: Tensor, unconditional: Tensor, scale: float) -> None:
    def general(got: Tensor) -> str:
        k = wrong.strength(got, unconditional, conditional - unconditional)
        return "" if k is None else f" It is what scale = {k:.3g} gives, and scale is {scale:g}."

    _explained(
        _tried(answer, conditional, unconditional, scale),
        guided(conditional, unconditional, scale),
        lambda: mask_mistakes.guidance(conditional, unconditional, scale),
        general,
        nan=(
            "The logarithm of a negative number? You mixed probabilities: past scale = 1 they fall below 0. Guidance"
            " moves LOG-probabilities."
        ),
        unnormalised="Guidance changes the total: normalise at the end, with .log_softmax(dim=-1).",
    )


def guided_half(answer: Callable) -> None:
    """scale = 0.6: between the two models, exp() sums to 1"""
    _check_guided(answer, *experts(4, 6, seed=70)[:2], scale=0.6)


def guided_beyond(answer: Callable) -> None:
    """scale = 3: beyond the conditional model; as many contexts as tokens"""
    _check_guided(answer, *experts(5, 5, seed=71)[:2], scale=3.0)


def guided_off(answer: Callable) -> None:
    """scale = 1 gives the conditional model back, scale = 0 the unconditional one"""
    for scale in (1.0, 0.0):
        _check_guided(answer, *experts(3, 6, seed=72)[:2], scale=scale)


def guided_away(answer: Callable) -> None:
    """scale = -0.5: away from the prompt"""
    _check_guided(answer, *experts(3, 6, seed=73)[:2], scale=-0.5)
