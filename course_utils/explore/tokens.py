"""Distributions over the next token as a chart gets them: the names of tokens, and log-probabilities as JSON."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_utils.explore import vega
from course_utils.explore.chart import OTHERS, clipped, shorts

ZERO = -1e9  # log 0 in JSON, which has no infinity: exp() of any positive multiple is 0, and 0 times it is 0


def token_label(text: str, width: int = 14) -> str:
    """A token as one readable word: "·the" for " the", "\\n" for a newline, cut to ``width`` characters."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text.replace(" ", "·"))
    return clipped(shown, width) or "(empty)"


def distributions(members: dict[str, Tensor], count: int) -> Tensor:
    """The (count, V) log-probabilities of ``members`` in float64. Raises ValueError if that is not what they are."""
    if len(members) != count:
        number = {2: "two", 3: "three"}[count]
        raise ValueError(f"this chart compares {number} members, got {len(members)}: pass a dict of {number}")
    stacked = [torch.as_tensor(member).detach().double() for member in members.values()]
    if stacked[0].dim() != 1 or any(member.shape != stacked[0].shape for member in stacked):
        shapes = [tuple(member.shape) for member in stacked]
        raise ValueError(f"members must be (V,) log-probabilities over one vocabulary, got shapes {shapes}")
    log_probs = torch.stack(stacked)
    if not ((log_probs.exp().sum(dim=1) - 1).abs() < 1e-3).all():
        raise ValueError("members must be log-probabilities that sum to 1: apply log_softmax to logits first")
    return log_probs - log_probs.logsumexp(dim=1, keepdim=True)  # float32 sums to 1 only to about 1e-6


def token_labels(tokenizer_or_labels, ids: Tensor, vocabulary: int) -> list[str]:
    """The labels of ``ids``, from a tokenizer or from one string for each token of the vocabulary."""
    if hasattr(tokenizer_or_labels, "decode"):
        return [token_label(tokenizer_or_labels.decode([i])) for i in ids.tolist()]
    if len(tokenizer_or_labels) != vocabulary:
        raise ValueError(f"{len(tokenizer_or_labels)} labels for {vocabulary} tokens: give one label for each token")
    return [token_label(tokenizer_or_labels[i]) for i in ids.tolist()]


def widest_bar(peak: float) -> float:
    """The end of the bars' axis: the largest probability that any panel can show, rounded up."""
    return min(1.0, math.ceil(peak * 20) / 20)


def rest_tables(scores: Tensor, ids: Tensor) -> dict[str, list[float]]:
    """What the page needs of the tokens that it does not get: for each row of ``scores`` (settings, V), logarithms
    of u, the sums of u and of u log u over all tokens but ``ids``."""
    left = scores[:, torch.ones(scores.shape[1], dtype=torch.bool).index_fill(0, ids, False)]
    log_mass = (left.exp() * left.clamp(min=ZERO)).sum(dim=1)  # 0 log 0 = 0
    return {"restMass": shorts(left.exp().sum(dim=1).tolist()), "restLogMass": shorts(log_mass.tolist())}


def best_rows(top: int) -> list[dict]:
    """Transforms: rows 1 to top are tokens by "order", row top + 1 is the sum of all others: a panel adds up to 1."""
    return [
        vega.row_number("rank", order="descending"),
        *vega.calculate(row=f"min(datum.rank, {top + 1})", label=f"datum.row > {top} ? '{OTHERS}' : datum.t"),
    ]


def describe(name: str, log_probs: Tensor, ids: Tensor, labels: list[str]) -> str:
    """A distribution in words: its three best tokens among ``ids``, and its entropy."""
    values, best = log_probs[ids].exp().topk(min(3, len(ids)))
    tokens = ", ".join(f"{labels[i]} {p:.2f}" for i, p in zip(best.tolist(), values.tolist()))
    return f"{name}: {tokens}; entropy {entropy_bits(log_probs):.1f} bits."


def entropy_bits(log_probs: Tensor) -> float:
    return float(-(log_probs.exp() * log_probs.clamp(min=ZERO)).sum()) / math.log(2)


def json_log(log_prob: float, digits: int = 4) -> float:
    return round(max(log_prob, ZERO), digits)
