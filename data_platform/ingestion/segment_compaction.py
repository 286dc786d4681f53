"""Compacting the landing zone: the many small segments of a feed and a day become one."""

import logging
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pyarrow as pa

from data_platform.ingestion.collect import finish_removals, held_feed
from data_platform.ingestion.contract import POST_SCHEMA
from data_platform.ingestion.feeds import Feeds
from data_platform.schemas import LOADED_SEGMENTS, RAW_FEEDBACK
from data_platform.storage.landing import (
    COLLECTED_AT,
    FOLDER_COLUMN,
    ROWS_PER_GROUP,
    Segment,
)
from data_platform.storage.refusals import explained
from data_platform.storage.warehouse import Transaction, Warehouse

logger = logging.getLogger(__name__)

# A feed that is collected every five minutes adds some hundred segments a day.
FEWEST_SEGMENTS = 16


def compact_segments(feeds: Feeds, warehouse: Warehouse) -> int:
    """Put small segments together that are loaded; return how many there are less.

    The records stay as they are, each with the time of its own collection, so nothing is loaded
    or refreshed again. Files are left alone: a segment of a file goes when the file is read anew
    under another mapping. A kill at any point leaves the old segments, the new one, or both, of
    which the next collection of the feed removes one kind.

    Raises:
        BusyError: a feed is being collected for long, or the warehouse is held.
    """
    removed = 0
    for name in feeds.names:
        if feeds.is_of_files(name):
            continue
        with explained(feeds.landing.root), held_feed(feeds.landing, name):
            finish_removals(feeds.landing, feeds.ledger, name)
            feeds.landing.clear_drafts(name)
            for former in _crowded(feeds, name, warehouse):
                _compact(feeds, name, warehouse, former)
                removed += len(former) - 1
    return removed


def _crowded(feeds: Feeds, name: str, warehouse: Warehouse) -> list[list[Segment]]:
    """Return the small loaded segments of each day that has many of them."""
    with warehouse.transaction() as transaction:
        rows = transaction.connection.execute(
            f"SELECT list(segment ORDER BY segment) FROM {LOADED_SEGMENTS.name}"
            " WHERE feed = ? AND day IS NOT NULL AND row_count < ?"
            " GROUP BY day HAVING count(*) >= ? ORDER BY day",
            [name, ROWS_PER_GROUP, FEWEST_SEGMENTS],
        ).fetchall()
    days = [[Segment(path) for path in paths] for (paths,) in rows]
    return [d for d in days if all((feeds.landing.root / s.path).exists() for s in d)]


def _compact(feeds: Feeds, name: str, warehouse: Warehouse, former: Sequence[Segment]) -> None:
    landing, ledger, now = feeds.landing, feeds.ledger, datetime.now(UTC)
    with landing.delivery(name, uuid.uuid4().hex) as writer:
        writer.write(_records(feeds, former), pa.schema([*POST_SCHEMA, COLLECTED_AT]))
        ledger.begin_pull(name, now)
        (compacted,) = writer.publish(now)
    paths = [segment.path for segment in former]
    ledger.replace_segments(compacted, paths)
    with warehouse.transaction() as transaction:
        _rename(transaction, compacted.path, paths)
    finish_removals(landing, ledger, name)
    logger.info("%s: %s segments are one now", name, len(former))


def _records(feeds: Feeds, former: Sequence[Segment]) -> Iterator[pa.RecordBatch]:
    folder = pa.scalar(str(former[0].day))
    for batch in feeds.landing.read(former, POST_SCHEMA):
        table = pa.Table.from_batches([batch]).drop_columns(["segment"])
        folders = pa.repeat(folder, len(table))
        yield from table.append_column(FOLDER_COLUMN, folders).to_batches()


def _rename(transaction: Transaction, compacted: str, former: Sequence[str]) -> None:
    """Let the warehouse know the records under the segment that they stand in now."""
    transaction.connection.execute(
        f"UPDATE {RAW_FEEDBACK.name} SET segment = ? WHERE list_contains(?, segment)",
        [compacted, former],
    )
    # A refresh may have loaded the new segment already, in which nothing was new.
    transaction.connection.execute(
        f"DELETE FROM {LOADED_SEGMENTS.name} WHERE segment = ?", [compacted]
    )
    transaction.connection.execute(
        f"INSERT INTO {LOADED_SEGMENTS.name} SELECT ?, any_value(feed), any_value(day),"
        " sum(row_count), sum(inserted_count), sum(merged_count), sum(unchanged_count), max(loaded_at)"
        f" FROM {LOADED_SEGMENTS.name} WHERE list_contains(?, segment)",
        [compacted, former],
    )
    transaction.connection.execute(
        f"DELETE FROM {LOADED_SEGMENTS.name} WHERE list_contains(?, segment)", [former]
    )
