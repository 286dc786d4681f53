"""The collection ledger: which deliveries were read, what became of their records, and the last error of each feed."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from data_platform.storage.landing import Segment

SCHEMA = """
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
CREATE TABLE IF NOT EXISTS files (
    feed TEXT NOT NULL, path TEXT NOT NULL, size_bytes INTEGER NOT NULL,
    modified_at TEXT NOT NULL, content_sha256 TEXT NOT NULL, PRIMARY KEY (feed, path)
);
CREATE TABLE IF NOT EXISTS publications (
    feed TEXT NOT NULL, content_sha256 TEXT NOT NULL, collected_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS collections (
    feed TEXT PRIMARY KEY, finished_at TEXT NOT NULL, error TEXT
);
"""


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

    def known_content(
        self, feed: str, path: str, size_bytes: int, modified_at: datetime
    ) -> str | None:
        """Return the content hash of a file that was seen with this size and time, else None."""
        with self._open() as db:
            row = db.execute(
                "SELECT content_sha256 FROM files WHERE feed = ? AND path = ? AND size_bytes = ?"
                " AND modified_at = ?",
                (feed, path, size_bytes, modified_at.isoformat()),
            ).fetchone()
        return str(row[0]) if row else None

    def is_landed(self, delivery_id: str) -> bool:
        """True if this delivery was read under this reading and still holds."""
        with self._open() as db:
            row = db.execute(
                "SELECT 1 FROM deliveries WHERE delivery_id = ? AND NOT is_replaced", (delivery_id,)
            ).fetchone()
        return row is not None

    def see_file(
        self, feed: str, path: str, size_bytes: int, modified_at: datetime, content: str
    ) -> None:
        """Remember a file's size and time, so that its content need not be hashed again."""
        with self._open() as db:
            db.execute(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)",
                (feed, path, size_bytes, modified_at.isoformat(), content),
            )

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
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.executescript(SCHEMA)
            with db:
                yield db
