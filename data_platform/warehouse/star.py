"""Shapes the cleaned posts of a day into fct_feedback and the dimensions that it refers to, in SQL."""

from dataclasses import replace
from datetime import date

from data_platform.schemas import (
    CLEANED_FEEDBACK,
    DIM_AUTHOR,
    DIM_DATE,
    DIM_FEED,
    FCT_FEEDBACK,
    RAW_FEEDBACK,
    Table,
)
from data_platform.storage.warehouse import DayWrite, MergeCounts, Transaction, day_filter

INPUTS = (RAW_FEEDBACK.name, CLEANED_FEEDBACK.name)


def refresh_star(transaction: Transaction, day: date) -> list[DayWrite]:
    """Make fct_feedback of `day` equal to cleaned_feedback, and the dimensions hold what it needs.

    Returns:
        One write for each table, the fact table first. A dimension's counts are of its own rows.
    """
    connection = transaction.connection
    made_from = transaction.digests(INPUTS, day)
    where, parameters = day_filter(CLEANED_FEEDBACK, day, "c.")
    raw_where, _ = day_filter(RAW_FEEDBACK, day, "r.")
    connection.execute(
        f"""
        CREATE TEMP TABLE day_posts AS
        SELECT c.feedback_id, c.feed AS feed_id, r.author_id, r.source,
            strftime(c.posted_at, '%Y%m%d')::INTEGER AS date_id, c.posted_at, c.content_hash,
            c.language, r.rating, r.like_count, r.share_count, r.reply_count,
            c.duplicate_of IS NOT NULL AS is_duplicate
        FROM cleaned_feedback c
        JOIN raw_feedback r ON r.feedback_id = c.feedback_id AND r.is_current AND {raw_where}
        WHERE {where}
        """,
        [*parameters, *parameters],
    )
    fact_filter, fact_parameters = day_filter(FCT_FEEDBACK, day)
    connection.execute(
        "CREATE TEMP TABLE former_authors AS SELECT DISTINCT author_id FROM fct_feedback"
        f" WHERE {fact_filter} AND author_id IS NOT NULL",
        fact_parameters,
    )
    fact = transaction.seal_day(
        FCT_FEEDBACK, day, transaction.replace_day(FCT_FEEDBACK, day, "day_posts"), made_from
    )
    every_post = transaction.require(
        "every_cleaned_post_is_a_fact",
        "fct_feedback and cleaned_feedback hold the same posts.",
        FCT_FEEDBACK,
        day,
        f"SELECT c.feedback_id FROM cleaned_feedback c ANTI JOIN day_posts p USING (feedback_id)"
        f" WHERE {where}",
        parameters,
    )
    feeds = "SELECT DISTINCT feed_id, source FROM day_posts"
    authors = (
        "SELECT author_id, min(source) AS source FROM day_posts"
        " WHERE author_id IS NOT NULL GROUP BY author_id"
    )
    dates = f"""
        SELECT {day:%Y%m%d} AS date_id, d AS date, year(d) AS year, quarter(d) AS quarter,
            month(d) AS month, weekofyear(d) AS iso_week, isodow(d) AS weekday,
            isodow(d) >= 6 AS is_weekend
        FROM (SELECT DATE '{day.isoformat()}' AS d)"""
    # An author whose last post went (deleted, or moved to a day not refreshed yet) goes too.
    connection.execute(
        "DELETE FROM dim_author WHERE author_id IN (SELECT author_id FROM former_authors"
        " WHERE author_id NOT IN (SELECT author_id FROM fct_feedback WHERE author_id IS NOT NULL))"
    )
    return [
        replace(fact, rules=(*fact.rules, every_post)),
        _upsert(transaction, DIM_FEED, day, feeds),
        _upsert(transaction, DIM_AUTHOR, day, authors),
        _upsert(transaction, DIM_DATE, day, dates),
    ]


def _upsert(transaction: Transaction, table: Table, day: date, members_sql: str) -> DayWrite:
    """Add the members that `members_sql` selects; the write's digest is of these members."""
    relation = f"members_of_{table.name}"
    transaction.connection.execute(f"CREATE TEMP TABLE {relation} AS {members_sql}")
    counts: MergeCounts = transaction.merge(table, relation, delete_where=None)
    row_count, digest = transaction.digest_of(relation, table.column_names, "TRUE", [])
    return DayWrite(
        table=table.name,
        day=day,
        inserted=counts.inserted,
        updated=counts.updated,
        unchanged=counts.unchanged,
        row_count=row_count,
        digest=digest,
        changed=bool(counts.inserted or counts.updated),
    )
