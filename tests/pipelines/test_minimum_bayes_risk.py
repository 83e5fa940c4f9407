"""Minimum Bayes risk against enumeration."""

from __future__ import annotations

import itertools

import pytest
import torch

from course_utils.pipelines import expected_utilities, minimum_bayes_risk, pairwise, recognition


def errors(guess: str, truth: str) -> int:
    return -sum(recognition.word_error_rate(truth, guess)[:3])


def test_the_least_probable_guess_may_be_the_one_that_the_others_agree_with():
    guesses, p = ["a king is", "the king was", "the king is"], torch.tensor([0.40, 0.35, 0.25])
    utilities = pairwise(errors, guesses)
    assert utilities.tolist() == [[0, -2, -1], [-2, 0, -1], [-1, -1, 0]]
    assert expected_utilities(utilities, p).tolist() == pytest.approx([-0.95, -1.05, -0.75])
    assert minimum_bayes_risk(utilities, p).item() == 2


def test_the_rows_are_guesses_and_the_columns_what_may_be_true():
    share = pairwise(lambda guess, truth: len(set(guess) & set(truth)) / len(set(truth)), ["ab", "abcd"])
    assert share.tolist() == [[1.0, 0.5], [1.0, 1.0]]
    assert pairwise(lambda a, b: a - b, [1, 2], [10, 20, 30]).tolist() == [[-9, -19, -29], [-8, -18, -28]]


def test_samples_count_as_often_as_they_were_drawn():
    samples = ["x", "yy", "x", "yyy", "x"]
    utilities = pairwise(lambda a, b: float(a == b), samples)
    assert expected_utilities(utilities).tolist() == pytest.approx([0.6, 0.2, 0.6, 0.2, 0.6])
    distinct = pairwise(lambda a, b: float(a == b), ["x", "yy", "yyy"])
    weighted = expected_utilities(distinct, torch.tensor([0.6, 0.2, 0.2]))
    assert weighted.tolist() == pytest.approx([0.6, 0.2, 0.2]) and minimum_bayes_risk(utilities) == 0


def test_it_is_the_choice_of_highest_expected_gain_over_all_draws_of_the_truth():
    generator = torch.Generator().manual_seed(0)
    utilities = torch.rand(3, 4, 5, generator=generator, dtype=torch.float64)  # a batch of three lists
    p = torch.rand(3, 5, generator=generator, dtype=torch.float64).softmax(-1)
    found = minimum_bayes_risk(utilities, p)
    for b, h in itertools.product(range(3), range(4)):
        gain = [sum(p[b, r] * utilities[b, i, r] for r in range(5)) for i in (found[b], h)]
        assert gain[0] >= gain[1]


@pytest.mark.parametrize(
    ("weights", "words"),
    [([0.5, 0.5], "give one for each"), ([0.9, 0.9, 0.2], "their sum is 1"), ([1.5, -0.5, 0.0], "none below 0")],
)
def test_weights_that_are_none_are_refused_in_one_line(weights, words):
    with pytest.raises(ValueError, match=words) as error:
        minimum_bayes_risk(torch.zeros(2, 3), torch.tensor(weights))
    assert "\n" not in str(error.value)
