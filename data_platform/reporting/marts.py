"""Adds up the posts and scores of a day for people who look at days."""

from dataclasses import replace
from datetime import date

from data_platform.schemas import CLEANED_FEEDBACK, DAILY_SENTIMENT, SENTIMENT_SCORES
from data_platform.storage.warehouse import DayWrite, Transaction, day_filter

INPUTS = (CLEANED_FEEDBACK.name, SENTIMENT_SCORES.name)


def refresh_daily_sentiment(transaction: Transaction, day: date) -> list[DayWrite]:
    """Make daily_sentiment of `day` equal to what its posts and their current scores add up to."""
    made_from = transaction.digests(INPUTS, day)
    where, parameters = day_filter(CLEANED_FEEDBACK, day, "c.")
    transaction.connection.execute(
        f"""
        CREATE TEMP TABLE day_sentiment AS
        SELECT CAST(? AS DATE) AS date, c.feed, c.language, count(*) AS post_count,
            count(c.duplicate_of) AS duplicate_count, count(s.feedback_id) AS scored_count,
            count(*) FILTER (s.label = 'negative') AS negative_count,
            count(*) FILTER (s.label = 'neutral') AS neutral_count,
            count(*) FILTER (s.label = 'positive') AS positive_count,
            -- NLTK rounds compound to 4 decimals: their sum is exact, whatever the order of rows
            sum(CAST(s.compound AS DECIMAL(9, 4)))::DOUBLE / nullif(count(s.feedback_id), 0)
                AS mean_compound,
            (positive_count - negative_count) / nullif(scored_count, 0)::DOUBLE
                AS net_sentiment_share
        FROM cleaned_feedback c
        LEFT JOIN current_sentiment s ON s.feedback_id = c.feedback_id AND {where.replace("c.", "s.")}
        WHERE {where}
        GROUP BY c.feed, c.language
        """,
        [day, *parameters, *parameters],
    )
    every_post = transaction.require(
        "every_post_is_counted_once",
        "The posts of daily_sentiment are the posts of cleaned_feedback.",
        DAILY_SENTIMENT,
        day,
        "SELECT 'counted ' || counted || ', there are ' || there FROM ("
        " SELECT (SELECT coalesce(sum(post_count), 0) FROM day_sentiment) AS counted,"
        f" (SELECT count(*) FROM cleaned_feedback c WHERE {where}) AS there) WHERE counted <> there",
        parameters,
    )
    counts = transaction.replace_day(DAILY_SENTIMENT, day, "day_sentiment")
    write = transaction.seal_day(DAILY_SENTIMENT, day, counts, made_from)
    totals = transaction.connection.execute(
        "SELECT coalesce(sum(post_count), 0), coalesce(sum(scored_count), 0),"
        " coalesce(sum(negative_count), 0), coalesce(sum(positive_count), 0),"
        " sum(mean_compound * scored_count) / nullif(sum(scored_count), 0) FROM day_sentiment"
    ).fetchone()
    posts, scored, negative, positive, mean = totals or (0, 0, 0, 0, None)
    numbers = {"posts": posts, "scored": scored, "negative": negative, "positive": positive}
    if mean is not None:
        numbers["mean_compound"] = round(mean, 4)
    return [replace(write, rules=(*write.rules, every_post)).with_numbers(**numbers)]
