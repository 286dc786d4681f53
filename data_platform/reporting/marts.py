"""Adds up the posts and scores of a day for people who look at days."""

from data_platform.schemas import CLEANED_FEEDBACK, DAILY_SENTIMENT, SENTIMENT_SCORES
from data_platform.storage.days import DaySpan
from data_platform.storage.warehouse import DayWrite, Transaction, days_filter

INPUTS = (CLEANED_FEEDBACK.name, SENTIMENT_SCORES.name)


def refresh_daily_sentiment(transaction: Transaction, days: DaySpan) -> list[DayWrite]:
    """Make daily_sentiment of `days` equal to what their posts and current scores add up to."""
    made_from = transaction.digests(INPUTS, days)
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
            -- NLTK rounds compound to 4 decimals: their sum is exact, whatever the order of rows
            sum(CAST(s.compound AS DECIMAL(9, 4)))::DOUBLE / nullif(count(s.feedback_id), 0)
                AS mean_compound,
            (positive_count - negative_count) / nullif(scored_count, 0)::DOUBLE
                AS net_sentiment_share
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
