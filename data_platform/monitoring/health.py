"""Adds up for each feed what was read, what became of it, and when it was last heard of."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import pyarrow as pa

from data_platform.errors import InputMovedError, RuleViolationError
from data_platform.ingestion.feeds import Feeds
from data_platform.ingestion.ledger import FeedLedger
from data_platform.ingestion.raw import load_quarantine
from data_platform.schemas import SOURCE_HEALTH
from data_platform.storage.landing import Segment
from data_platform.storage.warehouse import MergeCounts, RuleResult, Transaction, Warehouse

MEASURE_ATTEMPTS = 5
PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class SourceHealth:
    """What was measured of the sources.

    Attributes:
        pending: records per feed that are landed and not loaded yet; see `pending_records`.
        digest: of source_health.
        rules: the blocking rules that hold.
    """

    ledgers: Sequence[FeedLedger]
    pending: Mapping[str, int]
    digest: str
    rules: tuple[RuleResult, ...]


def measure_sources(warehouse: Warehouse, feeds: Feeds, lateness: timedelta) -> SourceHealth:
    """Bring source_health up to date.

    Ledger and landing zone are not one transaction with the warehouse: while a collection is
    publishing, its records do not add up for a moment, and are counted again.

    Args:
        lateness: a post that is first observed later than this after posting counts as late.

    Raises:
        RuleViolationError: the records of a feed do not add up while nobody is collecting.
        InputMovedError: collections went on replacing segments.
    """
    for attempt in range(1, MEASURE_ATTEMPTS + 1):
        ledgers = feeds.ledgers()
        try:
            with warehouse.transaction() as transaction:
                days = feeds.open_days
                load_quarantine(transaction, feeds.landing, feeds.names, days.first, days.last)
                pending = pending_records(transaction, feeds)
                _, rules = refresh_source_health(transaction, ledgers, pending, lateness)
                return SourceHealth(ledgers, pending, transaction.digest(SOURCE_HEALTH)[1], rules)
        except (RuleViolationError, InputMovedError):
            if attempt == MEASURE_ATTEMPTS:
                raise
            time.sleep(PAUSE_SECONDS)
    raise AssertionError  # the last attempt returns or raises


def refresh_source_health(
    transaction: Transaction,
    ledgers: Sequence[FeedLedger],
    pending: Mapping[str, int],
    lateness: timedelta,
) -> tuple[MergeCounts, tuple[RuleResult, ...]]:
    """Make source_health hold one row for each feed of `ledgers`.

    Args:
        pending: records per feed that are landed and not loaded yet; see `pending_records`.
        lateness: a post that is first observed later than this after posting counts as late.

    Raises:
        RuleViolationError: the records of a feed do not add up.
    """
    connection = transaction.connection
    known = pa.table(
        {
            "feed": [ledger.feed for ledger in ledgers],
            "delivery_count": [ledger.delivery_count for ledger in ledgers],
            "read_count": [ledger.read_count for ledger in ledgers],
            "pending_count": [pending.get(ledger.feed, 0) for ledger in ledgers],
            "last_collected_at": pa.array(
                [ledger.finished_at for ledger in ledgers], pa.timestamp("us", tz="UTC")
            ),
            "last_error": pa.array([ledger.error for ledger in ledgers], pa.string()),
            "drifted_count": [ledger.drifted_count for ledger in ledgers],
        }
    )
    connection.register("ledger", known)
    connection.execute(
        """
        CREATE TEMP TABLE health AS
        WITH loaded AS (
            SELECT feed, sum(inserted_count) AS inserted_count, sum(merged_count) AS merged_count,
                sum(unchanged_count) AS unchanged_count
            FROM loaded_segments GROUP BY feed
        ), held AS (
            SELECT feed, count(*) AS quarantined_count FROM quarantined_feedback GROUP BY feed
        ), posts AS (
            SELECT feed, count(*) FILTER (NOT is_deleted) AS post_count,
                count(*) FILTER (is_deleted) AS deleted_count,
                count(*) FILTER (observed_at - posted_at > ?) AS late_count,
                min(posted_at) AS first_posted_at, max(posted_at) AS last_posted_at
            FROM raw_feedback WHERE is_current GROUP BY feed
        )
        SELECT feed, delivery_count, read_count,
            coalesce(inserted_count, 0)::BIGINT AS inserted_count,
            coalesce(merged_count, 0)::BIGINT AS merged_count,
            coalesce(unchanged_count, 0)::BIGINT AS unchanged_count,
            coalesce(quarantined_count, 0) AS quarantined_count, pending_count,
            coalesce(quarantined_count, 0) / nullif(read_count, 0)::DOUBLE AS quarantined_share,
            coalesce(post_count, 0) AS post_count, coalesce(deleted_count, 0) AS deleted_count,
            coalesce(late_count, 0) AS late_count, first_posted_at, last_posted_at,
            last_collected_at, last_error, drifted_count
        FROM ledger LEFT JOIN loaded USING (feed) LEFT JOIN held USING (feed)
        LEFT JOIN posts USING (feed)
        """,
        [lateness],
    )
    counts = transaction.merge(SOURCE_HEALTH, "health", delete_where="TRUE")
    return counts, transaction.audit_all(SOURCE_HEALTH)


def pending_records(transaction: Transaction, feeds: Feeds) -> dict[str, int]:
    """Return the records of each feed that are landed and not loaded yet.

    Without those of closed days of which nothing is loaded: they wait in quarantine.
    """
    loaded = {
        Segment(path)
        for (path,) in transaction.connection.execute(
            "SELECT segment FROM loaded_segments"
        ).fetchall()
    }
    landed = {Segment(path) for paths in feeds.landed_days().values() for path in paths}
    for feed, day in {(segment.feed, segment.day) for segment in loaded}:
        if feed in feeds.names and day is not None and day not in feeds.open_days:
            landed |= set(feeds.landing.segments([feed], day))
    pending: dict[str, int] = {}
    for segment in landed - loaded:
        rows = feeds.landing.row_count(segment)
        pending[segment.feed] = pending.get(segment.feed, 0) + rows
    return pending
