"""Shapes the cleaned posts of a day into fct_feedback and the dimensions that it refers to, in SQL."""

from data_platform.schemas import (
    CLEANED_FEEDBACK,
    DIM_AUTHOR,
    DIM_DATE,
    DIM_FEED,
    FCT_FEEDBACK,
    RAW_FEEDBACK,
    Table,
)
from data_platform.storage.days import DaySpan
from data_platform.storage.warehouse import DayWrite, Transaction, days_filter

INPUTS = (RAW_FEEDBACK.name, CLEANED_FEEDBACK.name)


def refresh_star(transaction: Transaction, days: DaySpan) -> list[DayWrite]:
    """Make fct_feedback of `days` equal to cleaned_feedback, and the dimensions hold what it needs.

    Returns:
        One write for each table and day, those of the fact table first. A dimension's counts are
        of its own rows.
    """
    connection = transaction.connection
    made_from = transaction.digests(INPUTS, days)
    where, parameters = days_filter(CLEANED_FEEDBACK, days, "c.")
    raw_where, _ = days_filter(RAW_FEEDBACK, days, "r.")
    connection.execute(
        f"""
        CREATE TEMP TABLE day_posts AS
        SELECT c.feedback_id, c.feed AS feed_id, r.author_id, r.source,
            strftime(c.posted_at, '%Y%m%d')::INTEGER AS date_id, c.posted_at, c.content_hash,
            c.language, r.rating, r.topic, r.like_count, r.share_count, r.reply_count,
            c.duplicate_of IS NOT NULL AS is_duplicate
        FROM cleaned_feedback c
        JOIN raw_feedback r ON r.feedback_id = c.feedback_id AND r.is_current AND {raw_where}
        WHERE {where}
        """,
        [*parameters, *parameters],
    )
    fact_filter, fact_parameters = days_filter(FCT_FEEDBACK, days)
    for table in (DIM_AUTHOR, DIM_FEED):
        (key,) = table.key
        connection.execute(
            f"CREATE TEMP TABLE left_{table.name} AS SELECT {key} FROM fct_feedback"
            f" WHERE {fact_filter} AND {key} IS NOT NULL EXCEPT SELECT {key} FROM day_posts",
            fact_parameters,
        )
    counts = transaction.merge_days(FCT_FEEDBACK, days, "day_posts")
    facts = transaction.seal_days(FCT_FEEDBACK, days, counts, made_from)
    transaction.require(
        "every_cleaned_post_is_a_fact",
        FCT_FEEDBACK,
        days,
        f"SELECT c.feedback_id FROM cleaned_feedback c ANTI JOIN day_posts p USING (feedback_id)"
        f" WHERE {where}",
        parameters,
    )
    day = FCT_FEEDBACK.day_expression()
    feeds = f"SELECT DISTINCT {day} AS day, feed_id, source FROM day_posts"
    authors = (
        f"SELECT {day} AS day, author_id, min(source) AS source FROM day_posts"
        " WHERE author_id IS NOT NULL GROUP BY ALL"
    )
    dates = f"""
        SELECT d AS day, strftime(d, '%Y%m%d')::INTEGER AS date_id, d AS date, year(d) AS year,
            quarter(d) AS quarter, month(d) AS month, weekofyear(d) AS iso_week,
            isodow(d) AS weekday, isodow(d) >= 6 AS is_weekend
        FROM (SELECT unnest(generate_series(DATE '{days.first}', DATE '{days.last}', INTERVAL 1 DAY))
            ::DATE AS d)"""
    for table in (DIM_AUTHOR, DIM_FEED):
        (key,) = table.key
        if transaction.count(f"SELECT count(*) FROM left_{table.name}"):
            # Whose last post went (deleted, or moved to a day not refreshed yet) goes too.
            connection.execute(
                f"DELETE FROM {table.name} WHERE {key} IN (SELECT {key} FROM left_{table.name}"
                f" ANTI JOIN fct_feedback USING ({key}))"
            )
    return [
        *facts,
        *_upsert(transaction, DIM_FEED, days, feeds),
        *_upsert(transaction, DIM_AUTHOR, days, authors),
        *_upsert(transaction, DIM_DATE, days, dates),
    ]


def _upsert(
    transaction: Transaction, table: Table, days: DaySpan, members_sql: str
) -> list[DayWrite]:
    """Add the members that `members_sql` selects (`day`, then the columns of `table`).

    The digest of a day is of its members. What is new counts for its first day.
    """
    relation = f"members_of_{table.name}"
    (key,) = table.key
    values = [name for name in table.column_names if name != key]
    differs = " OR ".join(f"t.{n} IS DISTINCT FROM m.{n}" for n in values) or "FALSE"
    transaction.connection.execute(
        f"""
        CREATE TEMP TABLE {relation} AS
        SELECT m.*, row_number() OVER (PARTITION BY m.{key} ORDER BY day) = 1 AS is_first,
            CASE WHEN t.{key} IS NULL THEN 'inserted' WHEN {differs} THEN 'updated' END AS fate
        FROM ({members_sql}) m LEFT JOIN {table.name} t USING ({key})
        """
    )
    counts = {
        day: (inserted, updated)
        for day, inserted, updated in transaction.connection.execute(
            f"SELECT day, count(*) FILTER (is_first AND fate = 'inserted'),"
            f" count(*) FILTER (is_first AND fate = 'updated') FROM {relation} GROUP BY day"
        ).fetchall()
    }
    transaction.connection.execute(
        f"CREATE TEMP TABLE new_{relation} AS SELECT {', '.join(table.column_names)}"
        f" FROM {relation} WHERE is_first AND fate IS NOT NULL"
    )
    transaction.merge(table, f"new_{relation}", delete_where=None)
    writes = []
    found = transaction.day_digests(relation, table.columns, "day", days)
    for day, (row_count, digest) in found.items():
        inserted, updated = counts.get(day, (0, 0))
        writes.append(
            DayWrite(
                table=table.name,
                day=day,
                inserted=inserted,
                updated=updated,
                unchanged=row_count - inserted - updated,
                row_count=row_count,
                digest=digest,
                changed=bool(inserted or updated),
            )
        )
    return writes
