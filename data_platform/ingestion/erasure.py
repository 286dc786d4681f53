"""Erasing posts where they were landed: what is kept of them, and which requests are not done yet."""

import json
import sqlite3
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_platform.ingestion.collect import finish_removals, held_feed
from data_platform.ingestion.feeds import Feeds
from data_platform.ingestion.ledger import Ledger
from data_platform.ingestion.selection import (
    Found,
    Selection,
    landed_feeds,
    platform_of,
    segments_of,
)
from data_platform.ingestion.suppression import (
    AUTHOR,
    ERASED,
    POST,
    RECORD,
    Suppression,
    replaced,
)
from data_platform.schemas import LOADED_SEGMENTS, RAW_FEEDBACK
from data_platform.storage.files import replaced as replaced_file
from data_platform.storage.files import sync_folder
from data_platform.storage.landing import LandingZone, Segment
from data_platform.storage.refusals import explained
from data_platform.storage.warehouse import Transaction, Warehouse

# content_hash of a record whose text is gone, but which is no deletion itself.
EMPTIED_HASH = "emptied"
NEVER = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class Erasure:
    """A request to erase, and whether it is done.

    Attributes:
        subject: what was asked for, without naming anybody.
        completed_at: when the last byte was gone; None: not yet.
        post_count: posts that were found.
        files: deliveries that held them.
    """

    erasure_id: str
    subject: str
    requested_at: datetime
    completed_at: datetime | None
    post_count: int
    files: Sequence[str]


class ErasureLedger(Ledger):
    """The ledger, with what was erased, and what still has to be."""

    def request(
        self, selection: Selection, found: Found, suppression: Suppression, now: datetime
    ) -> str:
        """Note what is to be erased; from now on nothing of it is landed again."""
        erasure_id = uuid.uuid4().hex
        hashes = [(POST, suppression.erased_id(post)) for post in sorted(found.feedback_ids)]
        hashes += [(AUTHOR, author) for author in sorted(found.author_ids)]
        hashes += [(RECORD, record) for record in sorted(found.quarantine_ids)]
        with self._open() as db:
            db.execute(
                "INSERT INTO erasures VALUES (?, ?, ?, NULL, ?, ?)",
                (
                    erasure_id,
                    selection.describe(suppression),
                    now.isoformat(),
                    found.post_count,
                    json.dumps(sorted(found.files)),
                ),
            )
            db.executemany(
                "INSERT OR IGNORE INTO suppressed VALUES (?, ?, ?)",
                [(*each, erasure_id) for each in hashes],
            )
        return erasure_id

    def erasures(self) -> list[Erasure]:
        """Return all requests, the oldest first."""
        with self._open() as db:
            rows = db.execute(
                "SELECT erasure_id, subject, requested_at, completed_at, post_count, files"
                " FROM erasures ORDER BY requested_at, erasure_id"
            ).fetchall()
        return [
            Erasure(
                erasure_id,
                subject,
                datetime.fromisoformat(requested_at),
                datetime.fromisoformat(completed_at) if completed_at else None,
                post_count,
                json.loads(files),
            )
            for erasure_id, subject, requested_at, completed_at, post_count, files in rows
        ]

    def forget_items(self, suppression: Suppression, platforms: Collection[str]) -> int:
        """Forget what is known of erased posts of feeds on the network; return how many posts.

        Args:
            platforms: of the ids, one of which each post is of.
        """
        with self._open() as db:
            known = db.execute("SELECT DISTINCT feed, source_id FROM items").fetchall()
            gone = [
                (feed, source_id)
                for feed, source_id in known
                if any(suppression.holds(f"{name}:{source_id}", None) for name in platforms)
            ]
            db.executemany("DELETE FROM items WHERE feed = ? AND source_id = ?", gone)
        return len(gone)

    def complete(self, erasure_ids: Sequence[str], now: datetime) -> None:
        """Note that requests are done."""
        with self._open() as db:
            db.executemany(
                "UPDATE erasures SET completed_at = ? WHERE erasure_id = ?",
                [(now.isoformat(), erasure_id) for erasure_id in erasure_ids],
            )

    def vacuum(self) -> None:
        """Write the file anew, without what was deleted, and empty its log."""
        with explained(self.path), closing(sqlite3.connect(self.path, timeout=60)) as db:
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def note_purge(self, loaded_until: datetime, segment_count: int) -> None:
        """Note that no segment holds text of the posts that were deleted then.

        Args:
            loaded_until: `last_loading` when it was looked for.
        """
        with self._open() as db:
            db.execute(
                "INSERT INTO purges VALUES (?, ?)", (loaded_until.isoformat(), segment_count)
            )

    def purged_until(self) -> datetime | None:
        """Return up to which loading everything is purged; None: there was no purge."""
        with self._open() as db:
            latest = db.execute("SELECT purged_at FROM purges ORDER BY rowid DESC LIMIT 1")
            found = latest.fetchone()
        return datetime.fromisoformat(found[0]) if found else None


def last_loading(transaction: Transaction) -> datetime | None:
    """Return the greatest `loaded_at`; None: nothing is loaded."""
    ((latest,),) = transaction.connection.execute(
        f"SELECT max(loaded_at) FROM {LOADED_SEGMENTS.name}"
    ).fetchall()
    return latest.astimezone(UTC) if latest else None


def unpurged(
    warehouse: Warehouse, landing: LandingZone, purged_until: datetime | None
) -> tuple[int, datetime | None]:
    """Return of how many deleted posts a segment may hold the text, and when we heard of the first.

    Those are the posts whose deletion was loaded after what the last purge saw, and those of which
    text was. Free space of the warehouse file may hold it too. A purge that was noted for a time
    to come, by a clock that was ahead, counts as none.
    """
    with warehouse.transaction() as transaction:
        latest = max(last_loading(transaction) or NEVER, datetime.now(UTC))
        until = purged_until if purged_until and purged_until <= latest else NEVER
        deleted = transaction.arrow(
            "SELECT feedback_id, coalesce(loaded_at, collected_at) AS known_at, known_at > $1 AS is_new,"
            " CASE WHEN collected_at > $1 THEN collected_at ELSE known_at END AS heard_at"
            f" FROM {RAW_FEEDBACK.name} LEFT JOIN {LOADED_SEGMENTS.name} USING (segment)"
            f" WHERE is_deleted AND NOT starts_with(source_id, '{ERASED}')",
            [until],
        )
        # Of what comes after a deletion nothing is new to the warehouse.
        late = transaction.connection.execute(
            f"SELECT segment, loaded_at FROM {LOADED_SEGMENTS.name}"
            " WHERE loaded_at > ? AND unchanged_count > 0 AND day IS NOT NULL",
            [until],
        ).fetchall()
    new = deleted.filter(deleted["is_new"])
    purged = deleted.filter(pc.invert(deleted["is_new"]))["feedback_id"].combine_chunks()
    found, heard = set(new["feedback_id"].to_pylist()), new["heard_at"].to_pylist()
    for path, loaded_at in late if len(purged) else ():
        with suppress(FileNotFoundError):  # another segment took its place
            if not landing.mentions(Segment(path), purged):
                continue
            posts = pq.read_table(landing.root / path, columns=["feedback_id", "body"])
            if told := set(posts["feedback_id"].filter(_has_text(posts, purged)).to_pylist()):
                found |= told
                heard.append(loaded_at)
    return len(found), min(heard, default=None)


def apply_suppression(feeds: Feeds, ledger: ErasureLedger) -> int:
    """Replace the records of erased posts in every segment and in quarantine; return how many segments.

    Each segment is replaced in its place, by rename: what was done before a kill is not done again.

    Raises:
        BusyError: another process is collecting a feed.
    """
    suppression = ledger.suppression(feeds.author_key())
    count = 0
    for name in landed_feeds(feeds.landing):
        platform = platform_of(feeds, name)
        with _held_clean(feeds, name):
            for segment in segments_of(feeds.landing, name):
                path = feeds.landing.root / segment.path
                table = pq.read_table(path)
                if segment.day is None:
                    ids = _feedback_ids(table, platform).to_pylist()
                    records = table["quarantine_id"].to_pylist()
                    is_gone = [
                        record in suppression.records or suppression.holds(feedback_id, None)
                        for record, feedback_id in zip(records, ids, strict=True)
                    ]
                    mended = _without_payloads(table, pa.array(is_gone, pa.bool_()))
                else:
                    mended = suppression.applied(table)
                if mended is not table:
                    replace_segment(feeds.landing, segment, mended)
                    count += 1
    return count


@contextmanager
def _held_clean(feeds: Feeds, name: str) -> Iterator[None]:
    """Hold a feed, without the text that killed processes left beside its segments."""
    with explained(feeds.landing.root), held_feed(feeds.landing, name):
        finish_removals(feeds.landing, feeds.ledger, name)
        feeds.landing.clear_drafts(name)
        yield


def purge_deleted(feeds: Feeds, deleted: pa.Array) -> int:
    """Take the text of deleted posts out of the segments that brought it; return how many segments.

    Records of these posts that were refused lose what they say, too. What the warehouse makes of
    the others stays the same, so no day is loaded again.

    Args:
        deleted: feedback_id of posts that are deleted.

    Raises:
        BusyError: another process is collecting a feed.
    """
    count = 0
    for name in landed_feeds(feeds.landing):
        platform = platform_of(feeds, name)
        with _held_clean(feeds, name):
            for segment in segments_of(feeds.landing, name):
                path = feeds.landing.root / segment.path
                if segment.day is None:
                    table = pq.read_table(path)
                    ids = _feedback_ids(table, platform)
                    mended = _without_payloads(table, pc.is_in(ids, value_set=deleted))
                elif feeds.landing.mentions(segment, deleted):
                    table = pq.read_table(path)
                    mended = replaced(table, _has_text(table, deleted), _emptied)
                else:
                    continue
                if mended is not table:
                    replace_segment(feeds.landing, segment, mended)
                    count += 1
    return count


def _has_text(posts: pa.Table, feedback_ids: pa.Array) -> pa.ChunkedArray:
    """Tell which records hold text of one of these posts."""
    return pc.and_(
        pc.is_in(posts["feedback_id"], value_set=feedback_ids), pc.is_valid(posts["body"])
    )


def _emptied(row: dict[str, Any]) -> dict[str, Any]:
    """What stays of a version of a deleted post: its key and its times, which decide which holds."""
    kept = ("feedback_id", "source_id", "posted_at", "edited_at", "is_deleted")
    return {**{name: row[name] for name in kept}, "content_hash": EMPTIED_HASH}


def _feedback_ids(refused: pa.Table, platform: str) -> pa.ChunkedArray:
    """Return the posts that quarantined records are of; null where no id was read."""
    return pc.binary_join_element_wise(platform, refused["source_id"], ":")


def _without_payloads(table: pa.Table, is_gone: pa.Array) -> pa.Table:
    """Return quarantined records without what those of `is_gone` say; the same table if there is none."""
    says = pc.or_(pc.is_valid(table["payload"]), pc.is_valid(table["source_id"]))
    is_gone = pc.fill_null(pc.and_(says, is_gone), False)
    if not pc.any(is_gone).as_py():
        return table
    for name in ("payload", "source_id"):
        emptied = pc.if_else(is_gone, pa.scalar(None, table[name].type), table[name])
        table = table.set_column(table.column_names.index(name), name, emptied)
    return table


def replace_segment(landing: LandingZone, segment: Segment, table: pa.Table) -> None:
    """Write a segment anew in its place, durably, in one step."""
    path = landing.root / segment.path
    mode = path.stat().st_mode
    with replaced_file(path) as draft:
        pq.write_table(table, draft, compression="zstd")
        draft.chmod(mode)
    sync_folder(path.parent)
