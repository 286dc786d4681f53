"""The collection ledger: which deliveries were read, what became of their records, and which gaps are open."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from data_platform.storage.landing import Segment

LEDGER_VERSION = 2
SCHEMA = f"""
BEGIN IMMEDIATE;
DROP TABLE IF EXISTS files;  -- only spares hashing: version 1 did not know when a file changed
CREATE TABLE IF NOT EXISTS deliveries (
    delivery_id TEXT PRIMARY KEY, feed TEXT NOT NULL, content_sha256 TEXT NOT NULL,
    reading TEXT NOT NULL, file TEXT NOT NULL, landed_at TEXT NOT NULL,
    read_count INTEGER NOT NULL, refused_count INTEGER NOT NULL, is_replaced INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS deliveries_of_feed ON deliveries (feed, content_sha256);
CREATE TABLE IF NOT EXISTS delivery_segments (
    delivery_id TEXT NOT NULL, segment TEXT NOT NULL, row_count INTEGER NOT NULL,
    PRIMARY KEY (delivery_id, segment)
);
CREATE TABLE files (
    feed TEXT NOT NULL, path TEXT NOT NULL, size_bytes INTEGER NOT NULL, state TEXT NOT NULL,
    content_sha256 TEXT NOT NULL, PRIMARY KEY (feed, path)
);
CREATE TABLE IF NOT EXISTS gaps (
    feed TEXT NOT NULL, subject TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL,
    is_transient INTEGER NOT NULL, opened_at TEXT NOT NULL, tried_at TEXT NOT NULL,
    PRIMARY KEY (feed, subject)
);
CREATE TABLE IF NOT EXISTS publications (
    feed TEXT NOT NULL, content_sha256 TEXT NOT NULL, collected_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS collections (
    feed TEXT PRIMARY KEY, finished_at TEXT NOT NULL, error TEXT
);
PRAGMA user_version = {LEDGER_VERSION};
COMMIT;
"""


@dataclass(frozen=True)
class KnownFile:
    """A file whose content was hashed.

    Attributes:
        state: what its size and times were then; another state may hide another content.
        content: SHA-256 of its bytes.
    """

    size_bytes: int
    state: str
    content: str


@dataclass(frozen=True)
class Gap:
    """Something that a source offered and that is not stored.

    Attributes:
        subject: what is missing: the path of a file.
        state: of the source and of its reading when it was tried; in another state it is
            worth another try.
        reason: why, and what to do about it.
        is_transient: another try may succeed without any change.
        opened_at: when it was first missed.
        tried_at: when it was last tried.
    """

    feed: str
    subject: str
    state: str
    reason: str
    is_transient: bool
    opened_at: datetime
    tried_at: datetime


@dataclass(frozen=True)
class FeedLedger:
    """What the ledger knows of one feed; counts are of deliveries and records that hold now.

    Attributes:
        finished_at: end of the last collection, good or bad; None: never collected.
        error: why the last collection failed; None if it went well.
    """

    feed: str
    delivery_count: int
    read_count: int
    refused_count: int
    finished_at: datetime | None
    error: str | None


class Ledger:
    """A SQLite file in the landing zone; every method is one transaction.

    Args:
        path: the file; created with its tables when missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def known_files(self, feed: str) -> dict[str, KnownFile]:
        """Return the files of `feed` whose content is known, by path."""
        with self._open() as db:
            rows = db.execute(
                "SELECT path, size_bytes, state, content_sha256 FROM files WHERE feed = ?", (feed,)
            ).fetchall()
        return {path: KnownFile(*known) for path, *known in rows}

    def landed_deliveries(self, feed: str) -> set[str]:
        """Return the deliveries of `feed` that were read and still hold."""
        with self._open() as db:
            rows = db.execute(
                "SELECT delivery_id FROM deliveries WHERE feed = ? AND NOT is_replaced", (feed,)
            ).fetchall()
        return {str(row[0]) for row in rows}

    def see_file(self, feed: str, path: str, file: KnownFile) -> None:
        """Remember a file's content, so that it need not be hashed again."""
        with self._open() as db:
            db.execute(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)",
                (feed, path, file.size_bytes, file.state, file.content),
            )

    def open_gap(
        self, feed: str, subject: str, state: str, reason: str, *, is_transient: bool
    ) -> None:
        """Note that `subject` could not be stored; a gap that is open stays open since then."""
        now = datetime.now(UTC).isoformat()
        with self._open() as db:
            db.execute(
                "INSERT INTO gaps VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " state = excluded.state, reason = excluded.reason,"
                " is_transient = excluded.is_transient, tried_at = excluded.tried_at",
                (feed, subject, state, reason, is_transient, now, now),
            )

    def close_gaps(self, feed: str, subjects: Iterable[str]) -> None:
        """Note that these are stored now, or that the source no longer offers them."""
        with self._open() as db:
            db.executemany(
                "DELETE FROM gaps WHERE feed = ? AND subject = ?", [(feed, s) for s in subjects]
            )

    def gaps(self, feed: str) -> dict[str, Gap]:
        """Return the open gaps of `feed`, by subject."""
        with self._open() as db:
            rows = db.execute(
                "SELECT subject, state, reason, is_transient, opened_at, tried_at FROM gaps"
                " WHERE feed = ? ORDER BY opened_at, subject",
                (feed,),
            ).fetchall()
        return {
            subject: Gap(
                feed,
                subject,
                state,
                reason,
                bool(is_transient),
                datetime.fromisoformat(opened_at),
                datetime.fromisoformat(tried_at),
            )
            for subject, state, reason, is_transient, opened_at, tried_at in rows
        }

    def begin(self, feed: str, content: str, collected_at: datetime) -> list[datetime]:
        """Note that segments are about to be published; return earlier times that never ended.

        A run that is killed between publishing and `record` leaves segments that the ledger does
        not know; the next reading of the same content takes their place.
        """
        with self._open() as db:
            unfinished = db.execute(
                "SELECT collected_at FROM publications WHERE feed = ? AND content_sha256 = ?",
                (feed, content),
            ).fetchall()
            db.execute(
                "INSERT INTO publications VALUES (?, ?, ?)",
                (feed, content, collected_at.isoformat()),
            )
        return [datetime.fromisoformat(row[0]) for row in unfinished]

    def record(
        self,
        *,
        delivery_id: str,
        feed: str,
        content: str,
        reading: str,
        file: str,
        read_count: int,
        refused_count: int,
        segments: Sequence[Segment],
        landed_at: datetime,
    ) -> list[str]:
        """Record a landed delivery; return the segments of its earlier readings, now replaced."""
        with self._open() as db:
            replaced = [
                str(row[0])
                for row in db.execute(
                    "SELECT s.segment FROM delivery_segments s JOIN deliveries d USING (delivery_id)"
                    " WHERE d.feed = ? AND d.content_sha256 = ? AND d.delivery_id <> ?",
                    (feed, content, delivery_id),
                )
            ]
            db.execute(
                "UPDATE deliveries SET is_replaced = 1 WHERE feed = ? AND content_sha256 = ?",
                (feed, content),
            )
            db.execute(
                "INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)",
                (
                    delivery_id,
                    feed,
                    content,
                    reading,
                    file,
                    landed_at.isoformat(),
                    read_count,
                    refused_count,
                ),
            )
            db.execute(
                "DELETE FROM publications WHERE feed = ? AND content_sha256 = ?", (feed, content)
            )
            db.execute("DELETE FROM delivery_segments WHERE delivery_id = ?", (delivery_id,))
            db.executemany(
                "INSERT INTO delivery_segments VALUES (?, ?, ?)",
                [(delivery_id, segment.path, segment.row_count) for segment in segments],
            )
        current = {segment.path for segment in segments}
        return [path for path in replaced if path not in current]

    def replaced_segments(self, feed: str) -> list[str]:
        """Return segments of replaced readings that a killed run may have left behind."""
        with self._open() as db:
            rows = db.execute(
                "SELECT s.segment FROM delivery_segments s JOIN deliveries d USING (delivery_id)"
                " WHERE d.feed = ? AND d.is_replaced"
                " EXCEPT SELECT s.segment FROM delivery_segments s JOIN deliveries d"
                " USING (delivery_id) WHERE d.feed = ? AND NOT d.is_replaced",
                (feed, feed),
            ).fetchall()
        return [str(row[0]) for row in rows]

    def finish(self, feed: str, finished_at: datetime, error: str | None) -> None:
        """Record the end of a collection of `feed`, and its error if it failed."""
        with self._open() as db:
            db.execute(
                "INSERT OR REPLACE INTO collections VALUES (?, ?, ?)",
                (feed, finished_at.isoformat(), error),
            )

    def feed(self, feed: str) -> FeedLedger:
        """Return what is known of `feed`; zeros for one that was never collected."""
        with self._open() as db:
            counts = db.execute(
                "SELECT count(*), coalesce(sum(read_count), 0), coalesce(sum(refused_count), 0)"
                " FROM deliveries WHERE feed = ? AND NOT is_replaced",
                (feed,),
            ).fetchone()
            last = db.execute(
                "SELECT finished_at, error FROM collections WHERE feed = ?", (feed,)
            ).fetchone()
        finished_at = datetime.fromisoformat(last[0]).astimezone(UTC) if last else None
        deliveries, read, refused = counts
        error = last[1] if last else None
        return FeedLedger(feed, deliveries, read, refused, finished_at, error)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.path, timeout=60)) as db:
            db.execute("PRAGMA synchronous = FULL")
            if db.execute("PRAGMA user_version").fetchone() != (LEDGER_VERSION,):
                _create_tables(db)
            with db:
                yield db


def _create_tables(db: sqlite3.Connection) -> None:
    """Bring a new or an older ledger to this version; of two processes at once, the second waits."""
    db.execute("PRAGMA journal_mode = WAL")
    db.executescript(SCHEMA)
