"""What days, topics and weeks add up to."""

from datetime import date, timedelta
from math import sqrt

import duckdb
import pytest

from data_platform.reporting.weekly import refresh_top_posts, refresh_weekly_sentiment
from data_platform.sentiment.intervals import wilson_sql

MONDAY = date(2026, 3, 2)


def rows(warehouse, sql):
    with warehouse.transaction() as transaction:
        return transaction.connection.execute(sql).fetchall()


def weekly(warehouse, today, sql):
    with warehouse.transaction() as transaction:
        refresh_weekly_sentiment(transaction, today)
    return rows(warehouse, sql)


@pytest.mark.parametrize(("hits", "total"), [(0, 1), (1, 1), (1, 2), (50, 100), (3, 100_000)])
def test_the_interval_of_a_share_is_wilson_s(hits, total):
    found = duckdb.sql(f"SELECT {wilson_sql(str(hits), str(total))}").fetchall()[0]
    z, share = 1.959964, hits / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    reach = z * sqrt(share * (1 - share) / total + z * z / (4 * total**2)) / (1 + z * z / total)
    assert found == pytest.approx((share, middle - reach, middle + reach), abs=1e-6)
    assert 0 <= found[1] <= found[0] <= found[2] <= 1


def test_a_share_of_nothing_is_unknown():
    assert duckdb.sql(f"SELECT {wilson_sql('0', '0')}").fetchall() == [(None, None, None)]


def test_strong_posts_and_posts_without_a_known_word_are_counted(warehouse, fill):
    fill(MONDAY, 2, label="negative")
    fill(MONDAY, 3, label="neutral")
    fill(MONDAY, 1, label=None)
    columns = "post_count, scored_count, strongly_negative_count, strongly_positive_count"
    found = rows(warehouse, f"SELECT {columns}, no_known_word_count FROM daily_sentiment")
    assert found == [(6, 5, 2, 0, 3)]


def test_topics_are_added_up_and_posts_without_one_are_left_out(warehouse, fill):
    fill(MONDAY, 2, label="negative", topic="shoes")
    fill(MONDAY, 1, label="positive", topic="shoes")
    fill(MONDAY, 4, label="positive", topic="hats")
    fill(MONDAY, 9, label="negative")
    sql = "SELECT topic, post_count, negative_count, net_sentiment_share FROM topic_sentiment"
    found = {topic: numbers for topic, *numbers in rows(warehouse, sql)}
    assert found == {"shoes": [3, 2, pytest.approx(-1 / 3)], "hats": [4, 0, 1.0]}


def test_a_week_adds_up_its_days_in_every_view(warehouse, fill):
    fill(MONDAY, 2, label="negative", topic="shoes")
    fill(MONDAY + timedelta(days=6), 1, label="positive", language="de")
    fill(MONDAY + timedelta(days=7), 5, label="neutral")
    found = weekly(
        warehouse,
        MONDAY + timedelta(days=8),
        "SELECT week_date, language, topic, post_count, negative_count, is_complete"
        " FROM weekly_sentiment ORDER BY ALL",
    )
    later = MONDAY + timedelta(days=7)
    assert found == [
        (MONDAY, "all", "all", 3, 2, True),
        (MONDAY, "all", "shoes", 2, 2, True),
        (MONDAY, "de", "all", 1, 0, True),
        (MONDAY, "en", "all", 2, 2, True),
        (later, "all", "all", 5, 0, False),
        (later, "en", "all", 5, 0, False),
    ]


def test_the_baseline_of_a_week_is_the_four_weeks_before_and_no_other(warehouse, fill):
    for week, count in enumerate((100, 1, 2, 3, 6, 50)):
        fill(MONDAY + timedelta(days=7 * week), count, label="negative" if week == 1 else "neutral")
    found = weekly(
        warehouse,
        MONDAY + timedelta(days=60),
        "SELECT baseline_post_count, baseline_negative_share FROM weekly_sentiment"
        " WHERE language = 'all' ORDER BY week_date",
    )
    assert found[0] == (None, None)
    assert found[5] == (3.0, pytest.approx(1 / 12, abs=1e-6))


def test_the_posts_with_most_reactions_are_ranked_by_week_without_copies(warehouse, fill):
    (loved,) = fill(MONDAY, like_count=5, reply_count=1)
    (shared,) = fill(MONDAY, share_count=9)
    fill(MONDAY)
    fill(MONDAY, like_count=99, is_duplicate=True)
    fill(MONDAY - timedelta(days=70), like_count=99)
    with warehouse.transaction() as transaction:
        refresh_top_posts(transaction, MONDAY)
    assert rows(warehouse, "SELECT rank, feedback_id, reaction_count FROM top_posts") == [
        (1, shared, 9),
        (2, loved, 6),
    ]
