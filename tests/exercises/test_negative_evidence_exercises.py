"""The checks of notebook 02 on answers that are right in another way, and the references by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from course_utils.ensembling import negative_evidence
from course_utils.exercises.engine import PASSED, run_check
from course_utils.exercises.negative_evidence import experts
from course_utils.exercises.negative_evidence.coefficients import coefficients
from course_utils.exercises.negative_evidence.distinct import distinct_n
from course_utils.exercises.negative_evidence.guidance import guided, strength


def dexperts_token_by_token(core, positive, negative, lam, top_p):
    out = torch.full_like(core, -torch.inf)
    for b in range(len(core)):
        mass = 0.0
        for v in sorted(range(core.shape[1]), key=lambda v: -core[b, v].item()):
            if mass >= top_p:
                break
            mass += core[b, v].exp().item()
            out[b, v] = core[b, v] + lam * (positive[b, v] - negative[b, v])
        out[b] -= out[b].logsumexp(0)
    return out


def dexperts_in_double_with_powers(core, positive, negative, lam, top_p):
    core, positive, negative = (x.double().exp() for x in (core, positive, negative))
    probs, order = core.sort(dim=-1, descending=True)
    probs[probs.cumsum(-1) - probs >= top_p] = 0  # in place, on a tensor of its own
    core = torch.zeros_like(core).scatter_(-1, order, probs)
    result = core * (positive / negative) ** lam
    return (result / result.sum(-1, keepdim=True)).log()


def dexperts_with_shifted_removal(core, positive, negative, lam, top_p):
    """As in the warpers of transformers: what is removed, shifted by one; and -1e9 instead of -inf."""
    core = core.clone()
    logits, order = core.sort(descending=True)
    remove = logits.softmax(-1).cumsum(-1) > top_p
    remove[:, 1:] = remove[:, :-1].clone()
    remove[:, 0] = False
    core[remove.scatter(1, order, remove)] = -1e9
    return F.log_softmax(core + lam * positive - lam * negative, dim=-1)


def mask_of_probabilities(log_probs, alpha):
    probs = log_probs.exp()
    return probs >= alpha * probs.max(dim=-1, keepdim=True).values


def mask_in_a_loop(log_probs, alpha):
    return torch.stack([row - row.max() >= math.log(alpha) for row in log_probs])


class UnknownMethod(ValueError):
    pass


def coefficients_by_ifs(method, lam):
    if method in ("DExperts", "DDA"):
        return [1.0, lam, -lam]
    if method == "anti-expert only":
        return torch.tensor([1 + lam, 0, -lam])
    if method == "expert only":
        return 1 - lam, np.float64(lam), 0
    if method == "contrastive decoding":
        return 0, torch.tensor(1), -1
    if method == "classifier-free guidance":
        return np.array([0, 1 + lam, -lam])
    raise UnknownMethod(method)


def guided_by_weights(conditional, unconditional, scale):
    return (scale * conditional + (1 - scale) * unconditional).log_softmax(-1)


def guided_by_powers(conditional, unconditional, scale):
    p = conditional.exp() ** scale * unconditional.exp() ** (1 - scale)
    return (p / p.sum(-1, keepdim=True)).log()


def distinct_by_zip(texts, n):
    grams = [gram for text in texts for gram in zip(*[text[i:] for i in range(n)], strict=False)]
    return torch.tensor(len(set(grams)) / max(1, len(grams)))


def distinct_by_dict(texts, n):
    counts, total = {}, 0
    for text in texts:
        for start in range(len(text)):
            if start + n <= len(text):
                key = "\0".join(str(token) for token in text[start : start + n])
                counts[key] = counts.get(key, 0) + 1
                total += 1
    return np.float64(len(counts) / total) if total else 0


RIGHT = {
    "dexperts": [dexperts_token_by_token, dexperts_in_double_with_powers, dexperts_with_shifted_removal],
    "plausible_mask": [mask_of_probabilities, mask_in_a_loop],
    "coefficients": [coefficients_by_ifs],
    "guidance": [guided_by_weights, guided_by_powers],
    "distinct": [distinct_by_zip, distinct_by_dict],
}


@pytest.mark.parametrize(
    "name, answer",
    [(name, answer) for name in RIGHT for answer in RIGHT[name]],
    ids=lambda x: getattr(x, "__name__", x),
)
def test_another_right_answer_passes(name, answer):
    report = run_check(f"negative_evidence.{name}", answer)
    assert report.status == PASSED, report.text


# --- the references that live here -----------------------------------------------------------------------------------


def test_coefficients_are_the_methods():
    core, positive, negative = members = experts(5, 9, seed=1)

    def combined(method, lam):
        return sum(weight * member for weight, member in zip(coefficients(method, lam), members)).log_softmax(-1)

    for lam in (0.0, 0.7, -1.0, 8.0):
        steered = negative_evidence(core, positive, negative, lam)
        torch.testing.assert_close(combined("DExperts", lam), steered)
        torch.testing.assert_close(combined("DDA", lam), steered)
        torch.testing.assert_close(combined("anti-expert only", lam), negative_evidence(core, None, negative, lam))
        torch.testing.assert_close(combined("expert only", lam), negative_evidence(core, positive, None, lam))
        torch.testing.assert_close(combined("contrastive decoding", lam), (positive - negative).log_softmax(-1))
        # The paper's guidance, 0 = off, against the one of most code, 1 = off.
        torch.testing.assert_close(combined("classifier-free guidance", lam), guided(positive, negative, 1 + lam))
    with pytest.raises(ValueError, match="'dexperts', the methods are DExperts, DDA"):
        coefficients("dexperts", 1.0)


def test_guided_by_hand():
    conditional, unconditional = torch.tensor([[0.8, 0.2]]).log(), torch.tensor([[0.5, 0.5]]).log()
    torch.testing.assert_close(guided(conditional, unconditional, 2.0).exp(), torch.tensor([[16 / 17, 1 / 17]]))
    torch.testing.assert_close(guided(conditional, unconditional, 1.0), conditional)
    torch.testing.assert_close(guided(conditional, unconditional, 0.0), unconditional)


def test_distinct_n_by_hand():
    texts = [["a", "b", "a", "b"], ["a", "b"], ["c"]]
    assert distinct_n(texts, 1) == 3 / 7
    assert distinct_n(texts, 2) == 2 / 4  # ab, ba, ab and ab: the border b|a does not count
    assert distinct_n(texts, 4) == 1.0
    assert distinct_n(texts, 5) == 0.0 == distinct_n([], 1)
    assert distinct_n([(1, 1, 1)], 1) == 1 / 3


def test_strength_finds_the_factor_and_nothing_else():
    base, other, _ = experts(4, 6, seed=2)
    assert strength((base - 2.5 * other).log_softmax(-1), base, other) == pytest.approx(-2.5, abs=1e-4)
    assert strength(base + other.tanh(), base, other) is None
    assert strength(base, base, torch.zeros_like(other)) is None
