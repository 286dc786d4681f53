"""Erasing and purging, from the landing zone to the bytes of the files: steps that a kill may interrupt anywhere."""

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

from data_platform.automation.restore import remove_left_of_killed
from data_platform.errors import DataPlatformError
from data_platform.ingestion.erasure import (
    Erasure,
    ErasureLedger,
    apply_suppression,
    last_loading,
    purge_deleted,
    unpurged,
)
from data_platform.ingestion.feeds import Feeds
from data_platform.ingestion.raw import load_days, load_quarantine
from data_platform.ingestion.selection import landed_feeds, platforms_of
from data_platform.ingestion.suppression import Suppression
from data_platform.reporting.snapshot import publish
from data_platform.schemas import HUMAN_LABELS, RAW_FEEDBACK, TABLES
from data_platform.storage.compaction import compact
from data_platform.storage.days import DaySpan
from data_platform.storage.warehouse import DayWrite, Transaction, Warehouse

logger = logging.getLogger(__name__)


class ErasureLeftoverError(DataPlatformError):
    """A table still names an erased post: its days were not refreshed; the next run goes on."""


class Eraser:
    """Takes what was asked to be erased out of every table and file.

    Args:
        snapshot: the published file.
        write_report: writes the report of the published file.
    """

    def __init__(
        self,
        feeds: Feeds,
        warehouse: Warehouse,
        snapshot: Path,
        write_report: Callable[[], object],
    ) -> None:
        self.feeds, self.warehouse, self._snapshot = feeds, warehouse, snapshot
        self._write_report = write_report
        self.ledger = ErasureLedger(feeds.ledger.path)

    @property
    def pending(self) -> list[Erasure]:
        return [erasure for erasure in self.ledger.erasures() if erasure.completed_at is None]

    def remove(self) -> list[DayWrite]:
        """Take the erased posts out of segments, quarantine, ledger and raw_feedback.

        Returns:
            The days of raw_feedback that changed: the tables behind it are to be refreshed.

        Raises:
            BusyError: a feed is being collected, or the warehouse is held.
        """
        key = self.feeds.author_key()
        suppression = self.ledger.suppression(key)
        count = apply_suppression(self.feeds, self.ledger)
        logger.info("%s segment(s) were written anew without erased posts", count)
        names = sorted({*self.feeds.names, *landed_feeds(self.feeds.landing)})
        self.ledger.forget_items(
            suppression, {p for n in names for p in platforms_of(self.feeds, n)}
        )
        writes: dict[date, DayWrite] = {}
        for day in self._days_with(suppression):
            found = self.warehouse.written(
                partial(
                    load_days,
                    landing=self.feeds.landing,
                    feeds=names,
                    days=DaySpan.of(day),
                    is_anew=True,
                )
            )
            writes |= {write.day: write for write in found}
        with self.warehouse.transaction() as transaction:
            transaction.connection.execute(
                f"DELETE FROM {HUMAN_LABELS.name} WHERE {suppression.holds_sql()}",
                suppression.parameters(),
            )
        return [writes[day] for day in sorted(writes)]

    def finish(self) -> Sequence[Erasure]:
        """Write the warehouse and the snapshot anew, without the bytes of what was erased.

        Returns:
            The erasures that are complete now.

        Raises:
            ErasureLeftoverError: a table still names an erased post.
        """
        pending = self.pending
        suppression = self.ledger.suppression(self.feeds.author_key())
        with self.warehouse.transaction() as transaction:
            left = leftovers(transaction, suppression)
        if left:
            places = ", ".join(f"{table} ({count})" for table, count in sorted(left.items()))
            message = (
                f"Erased posts are still in {places}: their days were not refreshed. The erasure"
                " stays open; data-platform run, then data-platform erase --resume completes it."
            )
            raise ErasureLeftoverError(message)
        self._rewrite_files()
        self.ledger.complete([erasure.erasure_id for erasure in pending], datetime.now(UTC))
        return pending

    def purge(self) -> int:
        """Take the text of posts that their source deleted out of segments and files.

        Returns:
            How many segments were written anew.
        """
        with self.warehouse.transaction() as transaction:
            loaded_until = last_loading(transaction)
            deleted = transaction.arrow(
                f"SELECT feedback_id FROM {RAW_FEEDBACK.name} WHERE is_deleted"
            )["feedback_id"].combine_chunks()
        count = 0
        if self.unpurged_count():
            count = purge_deleted(self.feeds, deleted)
            feeds, days = self.feeds, self.feeds.open_days
            self.warehouse.written(
                lambda transaction: load_quarantine(
                    transaction, feeds.landing, feeds.names, days.first, days.last
                )
            )
            self._rewrite_files()
        if loaded_until is not None and loaded_until != self.ledger.purged_until():
            self.ledger.note_purge(loaded_until, count)
        return count

    def unpurged_count(self) -> int:
        """Return of how many deleted posts a segment may hold the text."""
        return unpurged(self.warehouse, self.feeds.landing, self.ledger.purged_until())[0]

    def _days_with(self, suppression: Suppression) -> list[date]:
        """Return the landing days of the rows of raw_feedback that are to go."""
        with self.warehouse.transaction() as transaction:
            rows = transaction.connection.execute(
                "SELECT DISTINCT TRY_CAST(split_part(segment, '/', 2) AS DATE) AS day"
                f" FROM {RAW_FEEDBACK.name}"
                f" WHERE {suppression.holds_sql(author_id='author_id')} ORDER BY day",
                suppression.parameters(with_authors=True),
            ).fetchall()
        return [day for (day,) in rows]

    def _rewrite_files(self) -> None:
        compact(self.warehouse)
        publish(self.warehouse, self._snapshot, is_anew=True)
        self._write_report()
        self.ledger.vacuum()
        remove_left_of_killed(self.feeds.settings)


def leftovers(transaction: Transaction, suppression: Suppression) -> dict[str, int]:
    """Return how many rows of each table name an erased post or author; tables without are left out."""
    found: dict[str, int] = {}
    for table in TABLES.values():
        has_author = "author_id" in table.by_name
        for column in ("feedback_id", "campaign_id"):
            if column in table.by_name:
                author = "author_id" if has_author else None
                count = _count(transaction, table.name, suppression, column, author)
                found[table.name] = found.get(table.name, 0) + count
    return {table: count for table, count in found.items() if count}


def _count(
    transaction: Transaction,
    table: str,
    suppression: Suppression,
    column: str,
    author: str | None,
) -> int:
    row = transaction.connection.execute(
        f"SELECT count(*) FROM {table} WHERE {suppression.holds_sql(column, author)}",
        suppression.parameters(with_authors=author is not None),
    ).fetchone()
    return int(row[0]) if row else 0
