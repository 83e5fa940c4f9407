"""The interval against closed forms: what it must be for a mean, a ratio, clusters and a paired difference."""

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset

from course_utils.evidence import Interval, claim, interval, sample


def half_width(found: Interval) -> float:
    return (found.high - found.low) / 2


def test_the_interval_of_a_mean_is_1_96_standard_errors_wide():
    x = np.random.default_rng(1).normal(3.0, 2.0, 400)
    found = interval(x)
    assert found.value == pytest.approx(x.mean()) and found.n == 400
    assert half_width(found) == pytest.approx(1.96 * x.std() / 20, rel=0.05)
    assert found.low < x.mean() < found.high and found.shows == 1 and interval(-x).shows == -1


def test_the_interval_of_a_ratio_is_that_of_the_delta_method():
    random = np.random.default_rng(2)
    tokens = random.integers(5, 60, 300)
    loss = tokens * random.normal(4.0, 1.0, 300)
    found, ratio = interval(loss, count=tokens), loss.sum() / tokens.sum()
    error = np.sqrt(np.mean((loss - ratio * tokens) ** 2) / 300) / tokens.mean()
    assert found.value == pytest.approx(ratio)
    assert half_width(found) == pytest.approx(1.96 * error, rel=0.05)


def test_copies_of_a_unit_tell_nothing_new_if_they_are_one_cluster():
    x = np.random.default_rng(3).normal(size=100)
    alone, copied = interval(x), interval(np.repeat(x, 9), cluster=np.repeat(np.arange(100), 9))
    assert copied.n == 100 and (copied.low, copied.high) == pytest.approx((alone.low, alone.high))
    assert half_width(interval(np.repeat(x, 9))) == pytest.approx(half_width(alone) / 3, rel=0.06)


def test_it_holds_the_truth_95_times_in_100():
    random = np.random.default_rng(4)
    found = [interval(random.normal(1.0, 1.0, 80), draws=600, seed=i) for i in range(400)]
    assert 0.91 <= np.mean([one.low <= 1 <= one.high for one in found]) <= 0.98


def test_a_paired_difference_is_narrower_than_two_intervals():
    random = np.random.default_rng(5)
    hard = random.normal(size=200)  # what both systems find hard
    a, b = hard + random.normal(0.1, 0.1, 200), hard + random.normal(0, 0.1, 200)
    assert interval(a - b).shows == 1
    assert interval(a).low < interval(b).high  # these two overlap all the same


def test_a_statistic_that_is_no_mean():
    random = np.random.default_rng(6)
    x = random.normal(size=500)
    y = 0.6 * x + 0.8 * random.normal(size=500)  # correlation 0.6

    def correlation(times):
        n = times.sum(axis=1)
        mean_x, mean_y = times @ x / n, times @ y / n
        covariance = times @ (x * y) / n - mean_x * mean_y
        return covariance / np.sqrt((times @ x**2 / n - mean_x**2) * (times @ y**2 / n - mean_y**2))

    found = interval(x, of=correlation)
    assert found.value == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert half_width(found) == pytest.approx(1.96 * (1 - found.value**2) / np.sqrt(500), rel=0.1)
    mean = interval(x, of=lambda times: times @ x / times.sum(axis=1))
    assert (mean.value, mean.low, mean.high) == pytest.approx(tuple(vars(interval(x)).values())[:3])


def test_it_is_the_same_twice_and_printed_in_one_form():
    x = np.random.default_rng(7).normal(size=50)
    assert interval(x) == interval(x) != interval(x, seed=1)
    assert str(Interval(0.3141, 0.2, 0.4, 60)) == "0.314 [0.200, 0.400]"
    assert f"{Interval(0.3141, -0.2, 0.4, 60):+.1f}" == "+0.3 [-0.2, +0.4]"
    assert Interval(0.1, -0.2, 0.4, 60).shows == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (([1.0, np.nan],), "nan or infinite"),
        (([1.0],), "at least two"),
        (([1.0, 2.0], [1.0]), "one length"),
        (([1.0, 2.0], None, ["a"]), "one length"),
        (([1.0, 2.0], None, ["a", "a"]), "at least two"),
        (([[1.0, 2.0]],), "one length"),
    ],
)
def test_what_gives_no_interval_is_refused_with_the_reason(arguments, says):
    with pytest.raises(ValueError, match=says):
        interval(*arguments)


def test_a_sample_comes_from_the_whole_split_without_repeats():
    drawn = sample(range(1000), 100)
    assert drawn == sample(range(1000), 100) != sample(range(1000), 100, seed=1)
    assert len(set(drawn)) == 100 and drawn == sorted(drawn)
    assert np.histogram(drawn, bins=4, range=(0, 1000))[0].min() > 12
    assert sample(pd.DataFrame({"x": range(9)}), 3)["x"].tolist() == sample(list(range(9)), 3)
    assert sample(Dataset.from_dict({"x": list(range(9))}), 3)["x"][:] == sample(list(range(9)), 3)
    with pytest.raises(ValueError, match="a sample of 5 from 4"):
        sample("abcd", 5)


def test_the_difference_of_two_bleu_scores_is_sacrebleus_and_paired():
    from sacrebleu.metrics import BLEU

    from course_utils.pipelines import bleu_difference

    references = [
        f"the {a} of the {b} came to the {a} and saw the {b}" for a in ("king", "man", "son") for b in "abcdefg"
    ]
    better = [text.replace("saw", "met") for text in references]
    worse = [text.replace("came to", "went up from").replace("saw", "met") for text in references]
    found = bleu_difference(better, worse, references, draws=300)
    scores = [BLEU().corpus_score(texts, [references]).score for texts in (better, worse)]
    assert found.value == pytest.approx(scores[0] - scores[1]) and found.shows == 1 and found.n == 21
    same = bleu_difference(worse, worse, references, draws=50)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    with pytest.raises(ValueError, match="shorter|longer"):
        bleu_difference(better[:5], worse, references)


@pytest.mark.parametrize(
    "measured, verdict",
    [
        (Interval(0.3, 0.1, 0.5, 20), "holds here"),
        (Interval(0.3, -0.1, 0.7, 20), "not shown here"),
        (Interval(-0.3, -0.5, -0.1, 20), "does not hold here"),
        (True, "holds here"),
        (np.bool_(False), "does not hold here"),
    ],
)
def test_a_claim_prints_what_its_interval_shows(measured, verdict, capsys):
    claim("two are better than one", "this course", f"{measured}", measured, "20 texts, one run")
    assert capsys.readouterr().out.splitlines() == [
        "Claim:  two are better than one",
        "Source: this course",
        f"Here:   {measured}",
        "From:   20 texts, one run",
        f"Shown:  {verdict}",
    ]


@pytest.mark.parametrize("part", ["", "  ", "two\nlines"])
def test_a_claim_without_a_line_of_text_is_refused(part):
    with pytest.raises(ValueError, match="source="):
        claim("two are better than one", part, "0.3", True, "20 texts")
