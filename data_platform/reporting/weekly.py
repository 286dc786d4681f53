"""Adds up days to ISO weeks, beside the four weeks before, and ranks the posts that people reacted to."""

from datetime import date, timedelta

from data_platform.reporting.marts import NET_SENTIMENT
from data_platform.schemas import TOP_POSTS, WEEKLY_SENTIMENT
from data_platform.sentiment.intervals import SHARE_DECIMALS, wilson_sql
from data_platform.storage.days import utc_today
from data_platform.storage.warehouse import RuleResult, Transaction

BASELINE_WEEKS = 4
TOP_WEEKS = 8
TOP_RANKS = 10


def latest_day(transaction: Transaction) -> date:
    """Return the day (UTC) of the latest post; the current one if there is none."""
    row = transaction.connection.execute("SELECT max(date) FROM daily_sentiment").fetchone()
    return row[0] if row and row[0] else utc_today()


def refresh_weekly_sentiment(transaction: Transaction, today: date) -> tuple[RuleResult, ...]:
    """Make weekly_sentiment equal to what daily_sentiment and topic_sentiment add up to.

    Args:
        today: the current day (UTC); its week is not complete.
    """
    transaction.connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE weeks AS
        WITH days AS (
            SELECT date, feed, language, 'all' AS topic, post_count, scored_count, negative_count,
                positive_count FROM daily_sentiment
            UNION ALL
            SELECT date, feed, 'all', 'all', post_count, scored_count, negative_count,
                positive_count FROM daily_sentiment
            UNION ALL
            SELECT date, feed, 'all', topic, post_count, scored_count, negative_count,
                positive_count FROM topic_sentiment
        ), first_days AS (
            SELECT feed, min(date) AS first_date FROM daily_sentiment GROUP BY feed
        ), weekly AS (
            SELECT date_trunc('week', date)::DATE AS week_date, feed, language, topic,
                sum(post_count)::BIGINT AS post_count, sum(scored_count)::BIGINT AS scored_count,
                sum(negative_count)::BIGINT AS negative_count,
                sum(positive_count)::BIGINT AS positive_count
            FROM days GROUP BY ALL
        )
        SELECT week_date, feed, language, topic,
            week_date + 6 < ?::DATE AND first_date <= week_date AS is_complete,
            post_count, scored_count, negative_count, positive_count,
            {NET_SENTIMENT}, {wilson_sql("negative_count", "scored_count")},
            round(avg(post_count) OVER before, {SHARE_DECIMALS}) AS baseline_post_count,
            round(sum(negative_count) OVER before / nullif(sum(scored_count) OVER before, 0),
                {SHARE_DECIMALS}) AS baseline_negative_share
        FROM weekly JOIN first_days USING (feed)
        WINDOW before AS (PARTITION BY feed, language, topic ORDER BY week_date
            RANGE BETWEEN INTERVAL {7 * BASELINE_WEEKS} DAY PRECEDING AND INTERVAL 1 DAY PRECEDING)
        """,
        [today],
    )
    transaction.merge(WEEKLY_SENTIMENT, "weeks", delete_where="TRUE")
    return transaction.audit_all(WEEKLY_SENTIMENT)


def refresh_top_posts(transaction: Transaction, last_day: date) -> tuple[RuleResult, ...]:
    """Make top_posts hold the posts with most reactions of the eight weeks that end with `last_day`.

    Copies are left out: a campaign would fill the ranks with one text.
    """
    monday = last_day - timedelta(days=last_day.weekday() + 7 * (TOP_WEEKS - 1))
    transaction.connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE reacted_to AS
        WITH reactions AS (
            SELECT date_trunc('week', timezone('UTC', posted_at))::DATE AS week_date,
                feed_id AS feed, feedback_id,
                coalesce(like_count, 0) + coalesce(share_count, 0) + coalesce(reply_count, 0)
                    AS reaction_count
            FROM fct_feedback WHERE posted_at >= ?::DATE::TIMESTAMPTZ AND NOT is_duplicate
        )
        SELECT week_date, feed,
            row_number() OVER (PARTITION BY week_date, feed
                ORDER BY reaction_count DESC, feedback_id)::INTEGER AS rank,
            feedback_id, reaction_count
        FROM reactions WHERE reaction_count > 0
        QUALIFY rank <= {TOP_RANKS}
        """,
        [monday],
    )
    transaction.merge(TOP_POSTS, "reacted_to", delete_where="TRUE")
    return transaction.audit_all(TOP_POSTS)
