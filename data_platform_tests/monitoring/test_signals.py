"""What is unusual in a series, and what is not."""

from datetime import date, timedelta
from math import exp, lgamma, log
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_platform.monitoring.series import refresh_signals
from data_platform.monitoring.signals import (
    Law,
    count_signals,
    find_incidents,
    normal_score,
    share_signals,
    student_t,
    two_sided,
    unusual,
)
from data_platform_tests.reporting.conftest import fill  # noqa: F401 (a fixture)

LIMIT = 3.5
MONDAY = date(2026, 1, 5)
WEEK = np.array([1.0, 1.05, 1.1, 1.0, 0.95, 0.7, 0.6])


def weekdays(days):
    return np.arange(days) % 7


def made_up(rng, series, days, mean):
    """Counts with a shape of the week, twice as spread as a Poisson count and more."""
    expected = np.repeat(mean * WEEK[weekdays(days)][None, :], series, axis=0)
    return rng.negative_binomial(15, 15 / (15 + expected)).astype(float)


def judge(counts, is_known=None):
    known = np.ones(counts.shape, bool) if is_known is None else is_known
    return count_signals(counts, known, weekdays(counts.shape[1]), LIMIT)


def test_student_s_t_becomes_as_improbable_a_normal_score():
    """Quantiles of tables: t of 5, 10 and 30 degrees beyond which 0.1 % lie on one side."""
    t, degrees = np.array([5.893, 4.144, 3.385]), np.array([5.0, 10.0, 30.0])
    assert normal_score(t, degrees) == pytest.approx([3.09] * 3, abs=0.025)
    assert normal_score(-t, degrees) == pytest.approx([-3.09] * 3, abs=0.025)
    for score in (-3.09, 1.0, 4.2):
        assert normal_score(student_t(score, degrees), degrees) == pytest.approx([score] * 3)


def negative_binomial(count, mean, size):
    ways = lgamma(count + size) - lgamma(size) - lgamma(count + 1)
    return exp(ways + size * log(size / (size + mean)) + count * log(mean / (size + mean)))


@pytest.mark.parametrize("mean", [2.0, 20.0, 300.0])
@pytest.mark.parametrize("size", [3.0, 15.0, 1e6])
@pytest.mark.parametrize("chance", [0.02, 1e-3, 1e-5])
def test_a_count_is_as_improbable_as_its_score_says(mean, size, chance):
    """Against sums of the probabilities, from Poisson (size 1,000,000) to strongly overdispersed."""
    variance = mean + mean**2 / size
    law = Law(*(np.array([value]) for value in (mean, variance, 2 - mean / variance, 1e9)))
    below = np.cumsum([negative_binomial(n, mean, size) for n in range(int(mean * 30) + 60)])
    many = int(np.searchsorted(below, 1 - chance)) + 1
    exact = NormalDist().inv_cdf(below[many - 1])
    assert law.score(np.array([many])) == pytest.approx(exact, abs=0.3)
    few = int(np.searchsorted(below, chance))
    if few:
        exact = NormalDist().inv_cdf(below[few])
        assert law.score(np.array([few])) == pytest.approx(exact, abs=0.4)


def test_low_and_high_are_where_the_score_is_the_limit():
    counts = made_up(np.random.default_rng(1), 4, 40, 200)
    for bound, limit in (("low", -LIMIT), ("high", LIMIT)):
        asked = counts.copy()
        asked[:, 39] = getattr(judge(counts), bound)[:, 39]
        assert judge(asked).score[:, 39] == pytest.approx([limit] * 4, abs=1e-6)
    for share in (0.1, 0.7):
        scored = np.full((1, 30), 80.0)
        negative = scored * share
        signals = share_signals(negative, scored, scored > 0, LIMIT)
        for bound, limit in ((signals.low, -LIMIT), (signals.high, LIMIT)):
            asked = negative.copy()
            asked[0, 29] = bound[0, 29] * 80
            score = share_signals(asked, scored, scored > 0, LIMIT).score[0, 29]
            assert score == pytest.approx(limit, abs=1e-6) or bound[0, 29] == 0


def test_a_burst_is_found_and_does_not_become_usual_at_once():
    counts = np.full((1, 40), 100.0)
    counts[0, 30:33] = 300
    signals = judge(counts)
    assert (signals.score[0, 30:33] > 4).all()
    assert abs(signals.score[0, 33:]).max() < 3
    assert signals.expected[0, 30] == pytest.approx(100, abs=1)
    assert signals.low[0, 30] < 100 < signals.high[0, 30] < 300


def test_a_drop_to_nothing_is_found():
    counts = np.full((1, 30), 100.0)
    counts[0, 25] = 0
    assert judge(counts).score[0, 25] < -4


def test_quiet_weekends_are_usual_once_there_are_weeks_to_know_them_by():
    counts = np.tile([100.0, 100, 100, 100, 100, 20, 10], 8)[None, :]
    assert np.nanmax(np.abs(judge(counts).score[0, 28:])) < 2
    busy = counts.copy()
    busy[0, 47 + 7] = 100  # a Saturday like a weekday
    assert judge(busy).score[0, 54] > 3


def test_the_first_weekend_is_not_unusual_and_a_first_flood_is():
    """Of the weekdays nothing is known for three weeks, so that they are allowed to differ."""
    counts = np.tile([500.0, 510, 490, 505, 495, 350, 320], 2)[None, :]
    assert np.nanmax(np.abs(judge(counts).score)) < 2
    counts[0, 6] = 1500
    assert judge(counts).score[0, 6] > 3


def test_what_was_as_far_off_on_three_occasions_is_usual():
    counts = np.full((2, 60), 200.0)
    counts[0, [20, 30, 40, 50, 58]] = 0
    counts[1, 30:35], counts[1, 50:55] = 0, 0
    score = judge(counts).score
    assert (score[0, [20, 30, 40]] < -4).all()
    assert (np.abs(score[0, [50, 58]]) < 2).all()
    assert (score[1, [*range(30, 35), *range(50, 55)]] < -4).all(), "days in a row are one occasion"
    assert np.nanmax(np.abs(score[:, [29, 45, 57]])) < 2


def test_a_few_negative_posts_more_among_few_are_not_unusual():
    """Three of ten where one in twenty is usual comes once in ninety days: 2.3 standard deviations."""
    negative, scored = np.full((1, 50), 2.0), np.full((1, 50), 40.0)
    negative[0, 49], scored[0, 49] = 3, 10
    score = share_signals(negative, scored, scored > 0, LIMIT).score[0, 49]
    assert score == pytest.approx(NormalDist().inv_cdf(1 - 0.0115), abs=0.25)


def test_too_short_a_history_judges_nothing():
    counts = np.array([[1.0, 1, 1, 1, 900]])
    assert np.isnan(judge(counts).score).all()


def test_days_that_are_not_complete_are_neither_judged_nor_a_measure():
    counts = np.full((1, 30), 100.0)
    counts[0, [10, 20]] = 1
    is_known = np.ones((1, 30), bool)
    is_known[0, [10, 20]] = False
    signals = judge(counts, is_known)
    assert np.isnan(signals.score[0, [10, 20]]).all()
    assert np.nanmax(np.abs(signals.score)) < 1


def test_thin_days_do_not_alarm_and_thick_ones_do():
    scored = np.full((2, 30), 400.0)
    negative = scored * 0.3
    scored[0, 29], negative[0, 29] = 8, 8
    scored[1, 29], negative[1, 29] = 400, 200
    signals = share_signals(negative, scored, np.ones(scored.shape, bool), LIMIT)
    assert np.isnan(signals.score[0, 29])
    assert signals.score[1, 29] > 4
    assert signals.expected[1, 29] == pytest.approx(0.3, abs=0.01)


def test_of_many_series_few_are_unusual_by_chance():
    """The procedure of Benjamini and Hochberg, by hand: 0.0001 <= 0.05 x 1 / 4, 0.03 > 0.05 x 2 / 4."""
    scores = np.array([[3.8906], [2.1701], [0.5], [0.1]])
    assert two_sided(scores[:, 0])[:2] == pytest.approx([0.0001, 0.03], abs=1e-5)
    assert unusual(scores, 0.05)[:, 0].tolist() == [True, False, False, False]
    assert not unusual(scores, 0.0003).any()


@pytest.mark.parametrize("series", [1, 50])
def test_there_are_as_many_false_alarms_as_are_promised(series):
    """As benchmarks/anomalies.py, small: of 200 series of a hundred days, one a month promised."""
    rng = np.random.default_rng(7)
    counts = np.concatenate([made_up(rng, 100, 100, mean) for mean in (20, 300)])
    negative = rng.binomial(counts.astype(int), rng.beta(9, 36, counts.shape)).astype(float)
    shares = share_signals(negative, counts, counts > 0, LIMIT)
    for score in (judge(counts).score, shares.score):
        platforms = score.reshape(-1, series, 100)
        alarms = sum(int(unusual(platform, 1 / 30).sum()) for platform in platforms)
        months = len(platforms) * 95 / 30
        assert 0.4 < alarms / months < 2, f"{alarms} in {months:.0f} months"


def test_floods_and_lacks_are_found():
    rng = np.random.default_rng(7)
    for mean, least in ((5, 0.5), (50, 0.9), (500, 0.9)):
        counts = made_up(rng, 20, 120, mean)
        counts[:, 100] = np.round(counts[:, 100] * 4) + 5
        counts[:, 110] = 0
        found = unusual(judge(counts).score, 1 / 30)
        assert found[:, 100].mean() >= least
        assert found[:, 110].mean() >= (least if mean > 5 else 0)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(10, 59))
def test_what_comes_later_changes_nothing_and_neither_does_the_order_of_series(seed, last):
    counts = made_up(np.random.default_rng(seed), 3, 60, 40)
    whole, part, turned = judge(counts), judge(counts[:, :last]), judge(counts[::-1])
    np.testing.assert_array_equal(whole.score[:, :last], part.score)
    np.testing.assert_allclose(whole.score, turned.score[::-1])


def test_unusual_days_in_a_row_are_one_incident_and_a_usual_day_after_ends_it():
    days = [MONDAY + timedelta(days=n) for n in range(12)]
    scores = np.zeros(12)
    scores[[2, 3, 5]], scores[10] = (4, 6, 5), -5
    is_known = np.ones(12, bool)
    is_known[11] = False
    found = find_incidents(days, np.abs(scores) > 3, is_known, scores)
    assert [(i.first, i.last, i.peak, i.is_over) for i in found] == [
        (days[2], days[5], days[3], True),
        (days[10], days[10], days[10], False),
    ]


def refresh(warehouse, today, file_feeds=()):
    with warehouse.transaction() as transaction:
        refresh_signals(transaction, today, file_feeds, 1.0)
        return transaction.arrow("SELECT * FROM incidents ORDER BY measure").to_pylist()


def days_of(fill, burst=60, days=15):  # noqa: F811
    for n in range(days):
        day = MONDAY + timedelta(days=n)
        fill(day, burst if n == 12 else 10, label="neutral", topic="shoes")
    return MONDAY + timedelta(days=12)


def test_an_incident_of_a_feed_and_its_topic_is_stored_and_keeps_its_id(warehouse, fill):  # noqa: F811
    day = days_of(fill)
    later = MONDAY + timedelta(days=30)
    found = refresh(warehouse, later)
    assert {(row["feed"], row["topic"]) for row in found} == {("shop", "all"), ("shop", "shoes")}
    assert {row["first_date"] for row in found} == {day}
    assert {row["is_over"] for row in found} == {True}
    assert {row["post_count"] for row in found} == {60}
    fill(day - timedelta(days=1), 70, topic="shoes")
    again = refresh(warehouse, later)
    assert {row["incident_id"] for row in again} == {row["incident_id"] for row in found}
    assert {row["first_date"] for row in again} == {day - timedelta(days=1)}


def test_the_day_that_still_runs_and_days_that_are_not_collected_raise_nothing(warehouse, fill):  # noqa: F811
    day = days_of(fill, days=13)
    assert refresh(warehouse, day) == [], "it is today"
    assert refresh(warehouse, day + timedelta(days=1), ["shop"]) == [], "a delivery may cut it"
    with warehouse.transaction() as transaction:
        transaction.connection.execute(
            "INSERT INTO feed_coverage VALUES ('shop', ?, 'open gap', 'x', 0.5, 1, 1)", [day]
        )
    assert refresh(warehouse, day + timedelta(days=1)) == [], "a gap is open"
    with warehouse.transaction() as transaction:
        transaction.connection.execute("DELETE FROM feed_coverage")
    assert refresh(warehouse, day + timedelta(days=1)) != []


def test_nothing_at_all_has_no_signals(warehouse):
    assert refresh(warehouse, MONDAY) == []
