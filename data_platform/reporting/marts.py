"""Adds up the posts and scores of a day for people who look at days."""

from collections.abc import Sequence
from datetime import date

from data_platform.schemas import (
    CLEANED_FEEDBACK,
    DAILY_SENTIMENT,
    FCT_FEEDBACK,
    SENTIMENT_SCORES,
    TOPIC_SENTIMENT,
)
from data_platform.sentiment.comparison import active_fingerprint
from data_platform.sentiment.intervals import wilson_sql
from data_platform.storage.days import DaySpan
from data_platform.storage.warehouse import DayWrite, Transaction, days_filter

INPUTS = (CLEANED_FEEDBACK.name, SENTIMENT_SCORES.name)
TOPIC_INPUTS = (FCT_FEEDBACK.name, SENTIMENT_SCORES.name)
STRONG_COMPOUND = 0.5


def refresh_daily_sentiment(transaction: Transaction, days: DaySpan) -> list[DayWrite]:
    """Make daily_sentiment of `days` equal to what their posts and current scores add up to."""
    made_from = _made_from(transaction, INPUTS, days)
    where, parameters = days_filter(CLEANED_FEEDBACK, days, "c.")
    day = CLEANED_FEEDBACK.day_expression("c.")
    transaction.connection.execute(
        f"""
        CREATE TEMP TABLE day_sentiment AS
        SELECT {day} AS date, c.feed, c.language, count(*) AS post_count,
            count(c.duplicate_of) AS duplicate_count, count(s.feedback_id) AS scored_count,
            count(*) FILTER (s.label = 'negative') AS negative_count,
            count(*) FILTER (s.label = 'neutral') AS neutral_count,
            count(*) FILTER (s.label = 'positive') AS positive_count,
            count(*) FILTER (s.label = 'negative' AND s.compound <= -{STRONG_COMPOUND})
                AS strongly_negative_count,
            count(*) FILTER (s.label = 'positive' AND s.compound >= {STRONG_COMPOUND})
                AS strongly_positive_count,
            count(*) FILTER (s.neutral = 1) AS no_known_word_count,
            {MEAN_COMPOUND}, {NET_SENTIMENT}, {wilson_sql("negative_count", "scored_count")}
        FROM cleaned_feedback c
        LEFT JOIN current_sentiment s ON s.feedback_id = c.feedback_id AND {where.replace("c.", "s.")}
        WHERE {where}
        GROUP BY {day}, c.feed, c.language
        """,
        [*parameters, *parameters],
    )
    transaction.require(
        "every_post_is_counted_once",
        DAILY_SENTIMENT,
        days,
        f"""
        SELECT 'counted ' || coalesce(counted, 0) || ', there are ' || coalesce(there, 0)
        FROM (SELECT date, sum(post_count) AS counted FROM day_sentiment GROUP BY date)
        FULL JOIN (SELECT {day} AS date, count(*) AS there FROM cleaned_feedback c
            WHERE {where} GROUP BY date) USING (date)
        WHERE counted IS DISTINCT FROM there
        """,
        parameters,
    )
    counts = transaction.merge_days(DAILY_SENTIMENT, days, "day_sentiment")
    totals = transaction.arrow(
        """
        SELECT date, sum(post_count)::BIGINT AS posts, sum(scored_count)::BIGINT AS scored,
            sum(negative_count)::BIGINT AS negative, sum(positive_count)::BIGINT AS positive,
            round(sum(mean_compound * scored_count) / nullif(sum(scored_count), 0), 4)
                AS mean_compound
        FROM day_sentiment GROUP BY date
        """
    ).to_pylist()
    numbers = {row.pop("date"): {n: v for n, v in row.items() if v is not None} for row in totals}
    nothing = {"posts": 0, "scored": 0, "negative": 0, "positive": 0}
    return [
        write.with_numbers(**numbers.get(write.day, nothing))
        for write in transaction.seal_days(DAILY_SENTIMENT, days, counts, made_from)
    ]


def refresh_topic_sentiment(transaction: Transaction, days: DaySpan) -> list[DayWrite]:
    """Make topic_sentiment of `days` equal to what their posts with a topic add up to."""
    made_from = _made_from(transaction, TOPIC_INPUTS, days)
    where, parameters = days_filter(FCT_FEEDBACK, days, "f.")
    day = FCT_FEEDBACK.day_expression("f.")
    connection = transaction.connection
    connection.execute(
        f"""
        CREATE TEMP TABLE topic_posts AS
        SELECT f.feedback_id, {day} AS date, f.feed_id AS feed, f.topic
        FROM fct_feedback f WHERE {where} AND f.topic IS NOT NULL
        """,
        parameters,
    )
    # Without a topic DuckDB would read the scores for nothing: 0.3 s for a million posts.
    scores = "TRUE" if transaction.count("SELECT count(*) FROM topic_posts") else "FALSE"
    score_where, _ = days_filter(SENTIMENT_SCORES, days, "c.")
    connection.execute(
        f"""
        CREATE TEMP TABLE day_topics AS
        SELECT p.date, p.feed, p.topic, count(*) AS post_count,
            count(s.feedback_id) AS scored_count,
            count(*) FILTER (s.label = 'negative') AS negative_count,
            count(*) FILTER (s.label = 'positive') AS positive_count,
            {MEAN_COMPOUND}, {NET_SENTIMENT}, {wilson_sql("negative_count", "scored_count")}
        FROM topic_posts p
        LEFT JOIN (SELECT * FROM current_sentiment c WHERE {scores} AND {score_where}) s
            USING (feedback_id)
        GROUP BY p.date, p.feed, p.topic
        """,
        parameters,
    )
    counts = transaction.merge_days(TOPIC_SENTIMENT, days, "day_topics")
    return transaction.seal_days(TOPIC_SENTIMENT, days, counts, made_from)


def _made_from(
    transaction: Transaction, inputs: Sequence[str], days: DaySpan
) -> dict[date, dict[str, str]]:
    model = made_by(transaction)
    return {day: found | model for day, found in transaction.digests(inputs, days).items()}


def made_by(transaction: Transaction) -> dict[str, str]:
    """Return what marts of a day depend on beside their inputs: whose scores are current."""
    return {"model": active_fingerprint(transaction) or ""}


# NLTK rounds compound to 4 decimals: their sum is exact, whatever the order of rows.
MEAN_COMPOUND = """
    sum(CAST(s.compound AS DECIMAL(9, 4)))::DOUBLE / nullif(count(s.feedback_id), 0)
        AS mean_compound
"""
NET_SENTIMENT = """
    (positive_count - negative_count) / nullif(scored_count, 0)::DOUBLE AS net_sentiment_share
"""
