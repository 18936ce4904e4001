"""Paired statistics: the published numbers, and what they say of small samples."""

from __future__ import annotations

import numpy as np
import pytest

from producer.replay.statistics import (
    Estimate,
    Finding,
    average,
    mcnemar,
    mean,
    quantile,
    ratio,
    share,
    share_change,
)


def test_wilsons_interval_is_the_published_one() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263 and 15 of 148.
    many, few = share(81, 263), share(15, 148)
    assert many is not None
    assert few is not None

    assert (many.low, many.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert (few.low, few.high) == pytest.approx((0.0624, 0.1605), abs=5e-5)


def test_no_error_among_few_does_not_mean_no_errors() -> None:
    none_seen = share(0, 20)
    assert none_seen is not None

    assert none_seen.low == 0.0
    assert none_seen.high == pytest.approx(0.1611, abs=5e-5)  # Newcombe's table I: 0 of 20
    assert share(0, 0) is None


def test_mcnemar_is_the_binomial_test_on_what_changed() -> None:
    assert mcnemar(1, 9) == pytest.approx(22 / 1024)
    assert mcnemar(5, 5) == 1.0
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(0, 4000) == 0.0
    assert mcnemar(2000, 2100) == pytest.approx(0.1220, abs=5e-4)


def test_a_shift_of_a_share_needs_enough_changed_questions() -> None:
    clear, little = share_change(5, 60, 1000), share_change(1, 3, 30)
    assert clear is not None
    assert little is not None

    assert clear.value == pytest.approx(-0.055)
    assert clear.finding(null=0.0, margin=0.005) is Finding.LOWER
    assert little.finding(null=0.0, margin=0.005) is Finding.UNCLEAR
    assert share_change(0, 0, 0) is None


def test_pairs_show_a_small_shift_that_two_averages_hide() -> None:
    random = np.random.default_rng(1)
    before = random.lognormal(5, 1.5, 400)  # questions differ a hundredfold
    after = before * random.normal(1.1, 0.05, 400)

    estimate = ratio(before, after, average)

    assert estimate is not None
    assert estimate.low < 1.1 < estimate.high
    assert estimate.high - estimate.low < 0.05
    assert estimate.finding(null=1.0, margin=0.05) is Finding.HIGHER


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(7)
    covered = 0
    for _ in range(100):
        found = mean(random.normal(3.0, 1.0, 60))
        assert found is not None
        covered += found.low <= 3.0 <= found.high

    assert 88 <= covered <= 100


def test_the_same_results_give_the_same_interval() -> None:
    before, after = np.arange(1.0, 200.0), np.arange(2.0, 201.0)

    assert ratio(before, after, quantile(0.95)) == ratio(before, after, quantile(0.95))


def test_nothing_to_divide_by_is_no_ratio() -> None:
    assert ratio(np.array([]), np.array([]), average) is None
    assert ratio(np.zeros(5), np.ones(5), average) is None
    assert mean(np.array([])) is None


@pytest.mark.parametrize(
    ("estimate", "finding"),
    [
        (Estimate(value=1.0, low=0.99, high=1.02, n=500), Finding.SAME),
        (Estimate(value=1.3, low=1.2, high=1.4, n=500), Finding.HIGHER),
        (Estimate(value=0.8, low=0.7, high=0.9, n=500), Finding.LOWER),
        (Estimate(value=1.3, low=0.8, high=2.1, n=40), Finding.UNCLEAR),
        (Estimate(value=9.0, low=8.0, high=9.9, n=5), Finding.TOO_FEW),
    ],
)
def test_an_interval_says_higher_lower_same_or_that_it_cannot_tell(estimate: Estimate, finding: Finding) -> None:
    assert estimate.finding(null=1.0, margin=0.05) is finding
