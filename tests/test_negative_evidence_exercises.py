"""The checks of notebook 02 on answers that are right in another way, and on wrong ones that nobody foresaw."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from course_utils.ensembling import negative_evidence, plausible_mask
from course_utils.exercises import negative_evidence_distinct as dist
from course_utils.exercises import negative_evidence_family as family
from course_utils.exercises import negative_evidence_mask_mistakes as mask_mistakes
from course_utils.exercises import negative_evidence_mistakes as mistakes
from course_utils.exercises import negative_evidence_rules as rules
from course_utils.exercises.engine import PASSED, WRONG, run_check
from course_utils.exercises.interpolation_rules import random_log_probs
from course_utils.exercises.negative_evidence import coefficients, distinct_n, guided

# --- right in another way --------------------------------------------------------------------------------------------


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
    """As in the warpers of transformers: what is removed, shifted by one; and -1e9 in place of -inf."""
    core = core.clone()
    logits, order = core.sort(descending=True)
    remove = logits.softmax(-1).cumsum(-1) > top_p
    remove[:, 1:] = remove[:, :-1].clone()
    remove[:, 0] = False
    core[remove.scatter(1, order, remove)] = -1e9
    return F.log_softmax(core + lam * positive - lam * negative, dim=-1)


def dexperts_by_numpy(core, positive, negative, lam, top_p):
    c = core.numpy().astype(np.float64)
    order = np.argsort(-c, axis=-1, kind="stable")
    p = np.exp(np.take_along_axis(c, order, -1))
    keep = np.zeros(c.shape, dtype=bool)
    np.put_along_axis(keep, order, np.cumsum(p, -1) - p < top_p, -1)
    scores = np.where(keep, c + lam * (positive - negative).numpy(), -np.inf)
    scores = scores - scores.max(-1, keepdims=True)
    with np.errstate(divide="ignore"):
        return torch.from_numpy(np.log(np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)))


def mask_of_probabilities(log_probs, alpha):
    probs = log_probs.exp()
    return probs >= alpha * probs.max(dim=-1, keepdim=True).values


def mask_in_a_loop(log_probs, alpha):
    return torch.stack([row - row.max() >= math.log(alpha) for row in log_probs])


def coefficients_by_ifs(method, lam):
    if method in ("DExperts", "DDA"):
        return [1.0, lam, -lam]
    if method == "anti-expert only":
        return torch.tensor([1 + lam, 0, -lam])
    if method == "contrastive decoding":
        return 0, torch.tensor(1), -1
    if method == "classifier-free guidance":
        return np.array([0, 1 + lam, -lam])
    raise KeyError(method)


def coefficients_or_none(method, lam):
    if method != "dexpert":
        return coefficients(method, lam)


def coefficients_not_implemented(method, lam):
    if method == "dexpert":
        raise NotImplementedError
    return coefficients(method, lam)


def guided_by_weights(conditional, unconditional, scale):
    return (scale * conditional + (1 - scale) * unconditional).log_softmax(-1)


def guided_in_place(conditional, unconditional, scale):
    result = conditional.clone().double()
    result -= unconditional
    result *= scale - 1
    result += conditional
    return result - result.logsumexp(-1, keepdim=True)


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


RIGHT = [
    ("dexperts", dexperts_token_by_token),
    ("dexperts", dexperts_in_double_with_powers),
    ("dexperts", dexperts_with_shifted_removal),
    ("dexperts", dexperts_by_numpy),
    ("plausible_mask", mask_of_probabilities),
    ("plausible_mask", mask_in_a_loop),
    ("coefficients", coefficients_by_ifs),
    ("coefficients", coefficients_or_none),
    ("coefficients", coefficients_not_implemented),
    ("guidance", guided_by_weights),
    ("guidance", guided_in_place),
    ("guidance", guided_by_powers),
    ("distinct", distinct_by_zip),
    ("distinct", distinct_by_dict),
]


@pytest.mark.parametrize("name, answer", RIGHT, ids=lambda value: getattr(value, "__name__", value))
def test_another_right_answer_passes(name, answer):
    report = run_check(f"negative_evidence.{name}", answer)
    assert report.status == PASSED, report.text


# --- wrong in a way that nobody foresaw ------------------------------------------------------------------------------


def nucleus_of(core, top_p):
    return negative_evidence(core, None, None, 0.0, top_p).isfinite()


def difference_doubled(core, positive, negative, lam, top_p):
    scores = core + 2 * lam * (positive - negative)
    return scores.masked_fill(~nucleus_of(core, top_p), -torch.inf).log_softmax(-1)


def difference_squashed(core, positive, negative, lam, top_p):
    scores = core + torch.tanh(lam * (positive - negative))
    return scores.masked_fill(~nucleus_of(core, top_p), -torch.inf).log_softmax(-1)


def nucleus_of_the_first_context(core, positive, negative, lam, top_p):
    scores = core + lam * (positive - negative)
    return scores.masked_fill(~nucleus_of(core[:1], top_p), -torch.inf).log_softmax(-1)


def best_two(core, positive, negative, lam, top_p):
    scores = core + lam * (positive - negative)
    return scores.masked_fill(core < core.topk(2).values[:, -1:], -torch.inf).log_softmax(-1)


def probabilities_with_a_constant(core, positive, negative, lam, top_p):
    probs = (core.exp() + lam * (positive.exp() - negative.exp())).clamp(min=0) * nucleus_of(core, top_p)
    return (probs + 1e-12).log()


def three_numbers(core, positive, negative, lam, top_p):
    return [1, lam, -lam]


def maximum_with_indices(log_probs, alpha):
    return log_probs >= log_probs.max(-1, keepdim=True) + math.log(alpha)


def torch_log_of_a_number(log_probs, alpha):
    return log_probs >= log_probs.amax(-1, keepdim=True) + torch.log(alpha)


def every_third(log_probs, alpha):
    return torch.arange(log_probs.shape[1]).expand_as(log_probs) % 3 == 0


def twice_as_far(conditional, unconditional, scale):
    return guided(conditional, unconditional, 2 * scale)


def half_of_lam(method, lam):
    return (1, lam / 2, -lam / 2)


def not_a_number(method, lam):
    return (1, math.nan, -lam)


def one_less(texts, n):
    return distinct_n(texts, n) * 0.9


def index_too_far(texts, n):
    return len({(text[i], text[i + 1]) for text in texts for i in range(len(text))})


UNFORESEEN = [
    ("dexperts", difference_doubled, "It is what lam = 3 gives, and lam is 1.5."),
    ("dexperts", difference_squashed, "The tokens that may be emitted are the right ones"),
    ("dexperts", nucleus_of_the_first_context, "Token 4 of context 1 is outside the core's nucleus and has mass 0.97"),
    ("dexperts", best_two, "What is added to the core is right; the tokens that may be emitted are not."),
    ("dexperts", probabilities_with_a_constant, "You subtracted probabilities"),
    ("dexperts", three_numbers, "should be a torch tensor of shape (4, 8), and is a list"),
    ("plausible_mask", maximum_with_indices, "return a pair, (values, indices)"),
    ("plausible_mask", torch_log_of_a_number, "math.log, not torch.log"),
    ("plausible_mask", every_third, "So the mask should be"),
    ("guidance", twice_as_far, "It is what scale = 1.2 gives, and scale is 0.6."),
    ("coefficients", half_of_lam, "The first that is wrong is that of the positive. Collect the terms of log P_core"),
    ("coefficients", not_a_number, "(1, nan, -0.3)"),
    ("distinct", one_less, "43 2-grams, of which 25 are distinct"),
    ("distinct", index_too_far, "i runs too far"),
]


@pytest.mark.parametrize("name, answer, says", UNFORESEEN, ids=lambda value: getattr(value, "__name__", None))
def test_an_unforeseen_mistake_is_told_what_can_be_said(name, answer, says):
    report = run_check(f"negative_evidence.{name}", answer)
    assert report.status == WRONG and says in report.text, report.text


# --- the known mistakes are told apart -------------------------------------------------------------------------------


def confusable(known, right, same) -> list[tuple[str, str]]:
    """Pairs of different hints for one and the same wrong result."""
    wrong = [(hint, value) for hint, value in known if not same(value, right)]
    assert len(wrong) >= 10
    return [
        (hint, other) for i, (hint, a) in enumerate(wrong) for other, b in wrong[:i] if hint != other and same(a, b)
    ]


def same_distribution(a, b) -> bool:
    return bool(torch.isclose(a, b, atol=2e-3).all())


def normalised(known):
    return [(hint, value.double().log_softmax(-1)) for hint, value in known]


def test_the_mistakes_of_dexperts_are_told_apart_by_the_first_test():
    members = rules.experts(4, 8, seed=363)
    right = negative_evidence(*members, 1.5, 0.8).double()
    known = normalised(mistakes.dexperts(*members, 1.5, 0.8))
    assert confusable(known, right, same_distribution) == []
    # Every wrong filter is visible here: no row of this data hides it.
    assert all(not same_distribution(value, right) for hint, value in known if "nucleus" in hint)


def test_the_mistakes_of_guidance_are_told_apart_by_the_first_test():
    members = rules.experts(4, 6, seed=70)[:2]
    right = guided(*members, 0.6).double()
    assert confusable(normalised(mask_mistakes.guidance(*members, 0.6)), right, same_distribution) == []


def test_the_mistakes_of_the_mask_are_told_apart_by_the_first_two_tests():
    sharpness = torch.tensor([[0.4], [1.0], [1.5], [2.5], [4.0]])
    for log_probs, alpha in [
        ((sharpness * random_log_probs(5, 48, seed=68)).log_softmax(-1), 0.1),
        (random_log_probs(8, 8, seed=61), 0.3),
    ]:
        known = mask_mistakes.plausible(log_probs, alpha)
        assert confusable(known, plausible_mask(log_probs, alpha), torch.equal) == []


def test_the_mistakes_of_dist_n_are_told_apart_by_the_first_test():
    known = dist._known(dist.SENTENCES, 2)
    assert confusable(known, distinct_n(dist.SENTENCES, 2), lambda a, b: math.isclose(a, b, abs_tol=1e-9)) == []


@pytest.mark.parametrize(
    "method, known",
    [
        ("DExperts", family._difference),
        ("anti-expert only", family._anti),
        ("contrastive decoding", family._contrastive),
        ("classifier-free guidance", family._guidance),
    ],
)
def test_the_mistakes_of_the_coefficients_are_told_apart(method, known):
    lam = family.LAMS[0]  # the first that is tested
    assert confusable(known(lam), coefficients(method, lam), lambda a, b: bool(np.allclose(a, b))) == []


# --- the references that live here -----------------------------------------------------------------------------------


def test_coefficients_are_the_methods():
    core, positive, negative = random_log_probs(3, 5, 9, seed=1)
    table = torch.stack([core, positive, negative])

    def combined(method, lam):
        return (torch.tensor(coefficients(method, lam))[:, None, None] * table).sum(0).log_softmax(-1)

    for lam in (0.0, 0.7, -1.0):
        steered = negative_evidence(core, positive, negative, lam)
        torch.testing.assert_close(combined("DExperts", lam), steered)
        torch.testing.assert_close(combined("DDA", lam), steered)
        torch.testing.assert_close(combined("anti-expert only", lam), negative_evidence(core, None, negative, lam))
        torch.testing.assert_close(combined("contrastive decoding", lam), (positive - negative).log_softmax(-1))
        # The paper's guidance, 0 = off, against the one of most code, 1 = off.
        torch.testing.assert_close(combined("classifier-free guidance", lam), guided(positive, negative, 1 + lam))
        for method, total in [("DDA", 1), ("anti-expert only", 1), ("classifier-free guidance", 1)]:
            assert sum(coefficients(method, lam)) == pytest.approx(total)
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
    base, other = random_log_probs(2, 4, 6, seed=2)
    assert mistakes.strength((base - 2.5 * other).log_softmax(-1), base, other) == pytest.approx(-2.5, abs=1e-4)
    assert mistakes.strength((base - 2.5 * other).softmax(-1), base, other) == pytest.approx(-2.5, abs=1e-4)
    assert mistakes.strength(base + other.tanh(), base, other) is None
    assert mistakes.strength(base, base, torch.zeros_like(other)) is None


def test_leak_names_the_token_with_the_most_mass():
    nucleus = torch.tensor([[True, True, False], [True, False, False]])
    probs = torch.tensor([[0.5, 0.4, 0.1], [0.2, 0.3, 0.5]])
    for got in (probs, probs.log(), probs.log() + 3):
        assert "Token 2 of context 1" in mistakes.leak(got, nucleus) and "mass 0.5" in mistakes.leak(got, nucleus)
    assert mistakes.leak(probs.masked_fill(~nucleus, 0), nucleus) == ""
