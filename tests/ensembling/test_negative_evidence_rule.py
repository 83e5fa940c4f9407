"""Negative evidence and the plausible mask against their formulas, and five papers' methods as one function."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_models import INF, properties, random_members, seeds

from course_utils.ensembling import loglinear_interpolation, negative_evidence, plausible_mask


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


# --- negative evidence ----------------------------------------------------------------------------------------------


@properties
@given(seeds, st.floats(-2, 8))
def test_negative_evidence_is_softmax_of_the_sum(seed, lam):
    core, positive, negative = random_members(seed)
    expected = (core + lam * (positive - negative)).log_softmax(-1)
    torch.testing.assert_close(negative_evidence(core, positive, negative, lam), expected)
    swapped = negative_evidence(core, negative, positive, -lam)
    torch.testing.assert_close(negative_evidence(core, positive, negative, lam), swapped)


def test_lam_zero_is_the_core_to_the_bit():
    core, positive, negative = random_members(2, dtype=torch.float32)
    assert torch.equal(negative_evidence(core, positive, negative, 0.0), core.log_softmax(-1))
    truncated = negative_evidence(core, positive, negative, 0.0, top_p=0.7)
    assert torch.equal(truncated, negative_evidence(core, None, None, 0.0, top_p=0.7))


def test_missing_expert_is_the_core():
    core, positive, negative = random_members(3)
    anti_only = negative_evidence(core, None, negative, 2.0)
    torch.testing.assert_close(anti_only, (3 * core - 2 * negative).log_softmax(-1))
    expert_only = negative_evidence(core, positive, None, 2.0)
    torch.testing.assert_close(expert_only, (2 * positive - core).log_softmax(-1))
    guidance = negative_evidence(core, core, negative, 2.0)  # classifier-free guidance, gamma = 2
    torch.testing.assert_close(guidance, anti_only)


def test_the_nucleus_is_the_cores_and_is_taken_first():
    core = torch.tensor([0.6, 0.3, 0.1]).log()
    positive, negative = torch.tensor([0.1, 0.1, 0.8]).log(), torch.tensor([0.45, 0.45, 0.1]).log()
    result = negative_evidence(core, positive, negative, 2.0, top_p=0.85)
    torch.testing.assert_close(result.exp(), torch.tensor([2 / 3, 1 / 3, 0.0]))
    free = negative_evidence(core, positive, negative, 2.0)
    assert free.argmax() == 2 and free[2].exp() > 0.9  # filtering afterwards would keep only the implausible token
    assert result[2] == -INF


@pytest.mark.parametrize(("top_p", "kept"), [(0.01, 1), (0.5, 1), (0.51, 2), (0.79, 2), (0.81, 3), (1.0, 4)])
def test_nucleus_is_the_smallest_set_that_reaches_top_p(top_p, kept):
    core = torch.tensor([0.3, 0.5, 0.05, 0.15], dtype=torch.float64)
    assert (negative_evidence(core.log(), None, None, 0.0, top_p=top_p) > -INF).sum() == kept


def test_negative_evidence_with_a_lam_for_each_row_and_errors():
    core, positive, negative = random_members(4)
    both = negative_evidence(core, positive, negative, torch.tensor([0.5, -1.0]))
    torch.testing.assert_close(both[1], negative_evidence(core[1], positive[1], negative[1], -1.0))
    with pytest.raises(ValueError, match="different vocabularies"):
        negative_evidence(core, positive[..., :4], negative, 1.0)
    with pytest.raises(ValueError, match="top_p"):
        negative_evidence(core, positive, negative, 1.0, top_p=0.0)


def test_plausible_mask():
    log_probs = torch.tensor([[0.6, 0.3, 0.06, 0.04], [0.25, 0.25, 0.25, 0.25]], dtype=torch.float64).log()
    assert plausible_mask(log_probs, 0.49).tolist() == [[True, True, False, False], [True] * 4]
    assert plausible_mask(log_probs, 1.0).tolist() == [[True, False, False, False], [True] * 4]
    assert plausible_mask(log_probs, 0.07).tolist() == [[True, True, True, False], [True] * 4]
    for alpha in (0.0, 1.5):
        with pytest.raises(ValueError, match="alpha"):
            plausible_mask(log_probs, alpha)


# ---------------------------------------------------------------- one function, five papers


def their_top_p(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """The nucleus filter as the code of DExperts has it (from early transformers): sort, cut, shift by one, scatter."""
    ordered, indices = torch.sort(logits, descending=True)
    remove = ordered.softmax(dim=-1).cumsum(dim=-1) > top_p
    remove[..., 1:] = remove[..., :-1].clone()
    remove[..., 0] = False
    return logits.masked_fill(remove.scatter(-1, indices, remove), -INF)


@pytest.mark.parametrize("seed", range(5))
def test_each_papers_formula_is_one_vector_of_coefficients(seed):
    generator = torch.Generator().manual_seed(seed)
    members = (torch.randn(3, 4, 50, generator=generator, dtype=torch.float64) * 2).log_softmax(-1)
    core, positive, negative = members
    close = torch.testing.assert_close
    for lam in (-1.0, 0.5, 3.2):
        # Liu et al. (2021), equation 1, with the filter of their code before the sum
        close(negative_evidence(core, positive, negative, lam), (core + lam * (positive - negative)).log_softmax(-1))
        paper = (their_top_p(core, 0.9) + lam * (positive - negative)).log_softmax(-1)
        close(negative_evidence(core, positive, negative, lam, top_p=0.9), paper)
        # the same, anti-expert only: the missing expert is the core
        paper = ((1 + lam) * core - lam * negative).log_softmax(-1)
        close(negative_evidence(core, None, negative, lam), paper)
        close(loglinear_interpolation(members, [1 + lam, 0, -lam]), paper)
        # Dou et al. (2019), section 2.1: translator, LM of the new domain, LM of the old one, in probabilities
        product = core.exp() * (positive.exp() / negative.exp()) ** lam
        close(negative_evidence(core, positive, negative, lam).exp(), product / product.sum(-1, keepdim=True))
        # Ho & Salimans (2022), equation 6: (1 + w) conditional - w unconditional
        paper = ((1 + lam) * positive - lam * negative).log_softmax(-1)
        close(loglinear_interpolation(members, [0, 1 + lam, -lam]), paper)
        close(negative_evidence(positive, None, negative, lam), paper)
    # Li et al. (2023), equations 1 and 2: log p_exp - log p_ama on the plausible tokens, no core
    head = positive.exp() >= 0.1 * positive.exp().amax(-1, keepdim=True)
    paper = (positive.exp() / negative.exp()).masked_fill(~head, 0.0)
    ours = (
        loglinear_interpolation(members, [0, 1, -1]).masked_fill(~plausible_mask(positive, 0.1), -INF).log_softmax(-1)
    )
    close(ours.exp(), paper / paper.sum(-1, keepdim=True))
