"""Whether the latest week of a feed is like the weeks before: shifts are found, chance is not."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from data_platform.monitoring.drift import (
    DriftLimits,
    chance_psi,
    refresh_drift,
    stability_parts,
)
from data_platform.reporting.marts import refresh_daily_sentiment
from data_platform.schemas import (
    ACTIVE_MODEL,
    CLEANED_FEEDBACK,
    QUARANTINED_FEEDBACK,
    SENTIMENT_SCORES,
)
from data_platform.schemas.monitoring import DRIFT_MEASURES
from data_platform.storage.days import DaySpan
from data_platform_tests.reporting.conftest import COMPOUNDS, complete, insert

LAST = date(2026, 3, 20)
TODAY = LAST + timedelta(days=1)
LIMITS = DriftLimits(psi=0.25, volume_ratio=3.0)
LABELS = ("negative", "neutral", "positive")


@pytest.fixture
def posts(warehouse):
    """Write posts: (day, count, columns) each, with their scores, and what the days add up to."""
    with warehouse.transaction() as transaction:
        insert(transaction, ACTIVE_MODEL, {"model_fingerprint": "m"})

    def write(*groups):
        cleaned, scores = [], []
        for day, count, columns in groups:
            for _ in range(count):
                number = len(cleaned) + 1
                row = {
                    "feedback_id": f"{len(groups)}:{number:05}",
                    "feed": "shop",
                    "language": "en",
                    "label": "neutral",
                    "posted_at": datetime(day.year, day.month, day.day, 23, 59, tzinfo=UTC),
                    "body_clean": "the parcel came late",
                    "scored_text_hash": "h",
                    "model_fingerprint": "m",
                    **columns,
                }
                row["compound"] = COMPOUNDS[row["label"]]
                row["neutral"] = 1.0 if row["label"] == "neutral" else 0.5
                cleaned.append(complete(CLEANED_FEEDBACK, row))
                scores.append(complete(SENTIMENT_SCORES, row))
        span = DaySpan.around([day for day, *_ in groups])
        with warehouse.transaction() as transaction:
            for table, rows in ((CLEANED_FEEDBACK, cleaned), (SENTIMENT_SCORES, scores)):
                found = pa.Table.from_pylist(rows, schema=table.arrow_schema)
                transaction.merge_days(table, span, found, delete_where=None)
                transaction.seal_days(table, span, {}, {})
            refresh_daily_sentiment(transaction, span)

    return write


@pytest.fixture
def weeks(posts):
    """Write five weeks of a feed: `usual` posts on each day before the latest week, `now` on its days."""

    def write(usual, now):
        days = [LAST - timedelta(days=before) for before in range(35)]
        posts(*((d, *g) for n, d in enumerate(days) for g in (now if n < 7 else usual)))

    return write


@pytest.fixture
def drift(warehouse):
    def refresh(today=TODAY, limits=LIMITS):
        with warehouse.transaction() as transaction:
            refresh_drift(transaction, today, limits)
            rows = transaction.arrow("SELECT * FROM feed_drift").to_pylist()
        return {(row["feed"], row["measure"]): row for row in rows}

    return refresh


def drifted(rows):
    return {measure for (_, measure), row in rows.items() if row["is_drifted"]}


def mixed(count, **columns):
    return [(count, {"label": label, **columns}) for label in LABELS]


def test_weeks_that_are_alike_do_not_drift(weeks, drift):
    weeks(mixed(3), mixed(3))
    rows = drift()
    assert {measure for _, measure in rows} == set(DRIFT_MEASURES)
    assert drifted(rows) == set()
    assert rows["shop", "post_count"]["observed"] == rows["shop", "post_count"]["expected"] == 9
    assert rows["shop", "language_mix"]["sample_count"] == 63
    assert rows["shop", "language_mix"]["baseline_count"] == 252


@pytest.mark.parametrize(
    ("measure", "now", "category"),
    [
        ("language_mix", [(4, {}), (4, {"language": "de"})], "de"),
        ("duplicate_share", [(4, {}), (4, {"duplicate_of": "shop:00001"})], "copies"),
        ("score_distribution", [(8, {"label": "negative"})], "-0.6 to -0.4"),
        ("unknown_words", [(8, {"body_clean": "zugunsten völlig anderer wörter"})], "unknown"),
        ("post_count", [(30, {})], None),
    ],
)
def test_a_shift_is_found_and_named(weeks, drift, measure, now, category):
    weeks([(8, {})], now)
    rows = drift()
    assert measure in drifted(rows)
    assert rows["shop", measure]["category"] == category
    assert drifted(rows) - {measure} <= {"language_mix"}


def test_refused_records_count_against_those_that_were_kept(weeks, drift, warehouse):
    weeks([(8, {})], [(8, {})])
    with warehouse.transaction() as transaction:
        for number in range(40):
            insert(
                transaction,
                QUARANTINED_FEEDBACK,
                {"quarantine_id": str(number), "feed": "shop", "posted_date": LAST},
            )
    row = drift()["shop", "quarantine_share"]
    assert row["is_drifted"]
    assert (row["category"], row["observed"]) == ("refused", pytest.approx(40 / 96, abs=1e-6))


def test_a_shift_that_chance_explains_is_none(weeks, drift):
    """One or two posts a day: the index alone would cry wolf."""
    weeks([(2, {"label": "neutral"})], [(8, {"label": "neutral"})])
    few = drift(limits=DriftLimits(psi=0.0001, volume_ratio=5.0))
    assert drifted(few) == set()


def test_a_few_days_are_not_judged(posts, drift):
    posts(*((LAST - timedelta(days=before), 60, {}) for before in range(10)))
    assert drift() == {}


def test_few_posts_are_not_judged(weeks, drift):
    weeks([(8, {})], [(7, {})])
    assert drift() == {}


def test_the_current_day_is_left_out(weeks, drift, posts):
    weeks([(8, {})], [(8, {})])
    posts((TODAY, 300, {"language": "de"}))
    assert drift()["shop", "language_mix"]["last_date"] == LAST
    assert drifted(drift()) == set()
    assert "language_mix" in drifted(drift(today=TODAY + timedelta(days=1)))


def test_each_feed_is_compared_with_itself(weeks, drift):
    weeks([(8, {})], [(8, {}), (8, {"feed": "forum", "language": "de"})])
    rows = drift()
    assert {feed for feed, _ in rows} == {"shop"}
    assert drifted(rows) == set()


def test_the_index_is_that_of_the_textbook():
    """Two classes, 0.5 and 0.5 against 0.25 and 0.75: 0.25 ln 2 + 0.25 ln 1.5."""
    parts = stability_parts([500_000, 500_000], [250_000, 750_000])
    assert sum(parts) == pytest.approx(0.25 * np.log(2) + 0.25 * np.log(1.5), abs=1e-5)
    assert stability_parts([3, 0], [3, 0])[0] == 0


def test_chance_exceeds_its_limit_once_in_a_thousand():
    random = np.random.default_rng(1)
    shares = [0.4, 0.3, 0.2, 0.1]
    pairs = zip(
        random.multinomial(300, shares, 20_000),
        random.multinomial(1200, shares, 20_000),
        strict=True,
    )
    limit = chance_psi(4, 300, 1200)
    exceeded = np.mean([sum(stability_parts(list(a), list(b))) > limit for a, b in pairs])
    assert 0.0004 < exceeded < 0.0016
