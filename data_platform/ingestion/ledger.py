"""The collection ledger: which deliveries were read, what became of their records, and which gaps are open."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from data_platform.ingestion.drift import Drift, drift_of
from data_platform.ingestion.suppression import AUTHOR, POST, RECORD, Suppression
from data_platform.storage.landing import Segment
from data_platform.storage.refusals import explained

LEDGER_VERSION = 6
SCHEMA = f"""
BEGIN IMMEDIATE;
DROP TABLE IF EXISTS files;  -- only spares hashing: version 1 did not know when a file changed
CREATE TABLE IF NOT EXISTS delivery_columns (
    delivery_id TEXT PRIMARY KEY, feed TEXT NOT NULL, format TEXT NOT NULL,
    landed_at TEXT NOT NULL, kinds TEXT NOT NULL, drift TEXT
);
CREATE TABLE IF NOT EXISTS removals (feed TEXT NOT NULL, segment TEXT NOT NULL);
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
CREATE TABLE IF NOT EXISTS suppressed (
    kind TEXT NOT NULL, id_hash TEXT NOT NULL, erasure_id TEXT NOT NULL,
    PRIMARY KEY (kind, id_hash)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS erasures (
    erasure_id TEXT PRIMARY KEY, subject TEXT NOT NULL, requested_at TEXT NOT NULL,
    completed_at TEXT, post_count INTEGER NOT NULL, files TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS purges (purged_at TEXT NOT NULL, segment_count INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS redacted_segments (
    segment TEXT PRIMARY KEY, folder TEXT NOT NULL, redactor TEXT NOT NULL, kept_since TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS redacted_segments_of_folder ON redacted_segments (folder);
CREATE TABLE IF NOT EXISTS redactions (begun_at TEXT NOT NULL, finished_at TEXT);
CREATE TABLE IF NOT EXISTS windows (
    window_id INTEGER PRIMARY KEY, feed TEXT NOT NULL, stream TEXT NOT NULL, since TEXT NOT NULL,
    until TEXT NOT NULL, day TEXT, token TEXT, position TEXT, opened_at TEXT NOT NULL,
    tried_at TEXT, reason TEXT NOT NULL, is_transient INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS covered (
    feed TEXT NOT NULL, stream TEXT NOT NULL, since TEXT NOT NULL, until TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS unreachable (
    feed TEXT NOT NULL, stream TEXT NOT NULL, since TEXT NOT NULL, until TEXT NOT NULL,
    reason TEXT NOT NULL, noted_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS positions (
    feed TEXT NOT NULL, stream TEXT NOT NULL, reached_at TEXT NOT NULL, position TEXT NOT NULL,
    PRIMARY KEY (feed, stream, reached_at)
);
CREATE TABLE IF NOT EXISTS items (
    feed TEXT NOT NULL, stream TEXT NOT NULL, source_id TEXT NOT NULL, native_id TEXT NOT NULL,
    posted_at TEXT, fingerprint TEXT NOT NULL, is_gone INTEGER NOT NULL, observed_at TEXT NOT NULL,
    PRIMARY KEY (feed, source_id, stream)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS items_of_stream ON items (feed, stream, posted_at);
CREATE TABLE IF NOT EXISTS field_kinds (
    feed TEXT NOT NULL, field TEXT NOT NULL, kind TEXT NOT NULL, first_seen_at TEXT NOT NULL,
    last_seen_at TEXT NOT NULL, item_count INTEGER NOT NULL, PRIMARY KEY (feed, field, kind)
);
CREATE TABLE IF NOT EXISTS pauses (
    feed TEXT PRIMARY KEY, throttled_until TEXT, failure_count INTEGER NOT NULL, retry_at TEXT
);
CREATE TABLE IF NOT EXISTS usage (
    feed TEXT NOT NULL, day TEXT NOT NULL, request_count INTEGER NOT NULL,
    unit_count REAL NOT NULL, throttled_seconds REAL NOT NULL, PRIMARY KEY (feed, day)
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
class Delivered:
    """A delivery that was landed.

    Attributes:
        content: SHA-256 of what was delivered; a later delivery of the same takes its place.
        reading: fingerprint of how it was read.
        file: name of the file, or of the listing, for people.
    """

    delivery_id: str
    feed: str
    content: str
    reading: str
    file: str
    read_count: int
    refused_count: int
    segments: Sequence[Segment]
    landed_at: datetime


@dataclass(frozen=True)
class HeldDelivery:
    """A delivery with records in quarantine.

    Attributes:
        content: SHA-256 of the file.
        segments: its quarantine segments.
    """

    delivery_id: str
    feed: str
    content: str
    file: str
    segments: tuple[str, ...]


@dataclass(frozen=True)
class FeedLedger:
    """What the ledger knows of one feed; counts are of deliveries and records that hold now.

    Attributes:
        finished_at: end of the last collection, good or bad; None: never collected.
        error: why the last collection failed; None if it went well.
        drifted_count: deliveries whose columns differ from those of the one before.
    """

    feed: str
    delivery_count: int
    read_count: int
    refused_count: int
    finished_at: datetime | None
    error: str | None
    drifted_count: int = 0


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

    def begin(self, feed: str, content: str, published_at: datetime) -> None:
        """Note that segments are about to be published, until `record` or `release` knows them."""
        with self._open() as db:
            db.execute(
                "INSERT INTO publications VALUES (?, ?, ?)",
                (feed, content, published_at.isoformat()),
            )

    def unfinished(self, feed: str) -> list[datetime]:
        """Return when segments were published that a kill has kept from being recorded."""
        with self._open() as db:
            rows = db.execute(
                "SELECT collected_at FROM publications WHERE feed = ?", (feed,)
            ).fetchall()
        return [datetime.fromisoformat(row[0]) for row in rows]

    def forget_unfinished(self, feed: str) -> None:
        """Note that the segments of `unfinished` are gone."""
        with self._open() as db:
            db.execute("DELETE FROM publications WHERE feed = ?", (feed,))

    def record(self, delivered: Delivered) -> list[str]:
        """Record a landed delivery; return the segments of its earlier readings, now replaced."""
        with self._open() as db:
            return self._record(db, delivered)

    def _record(self, db: sqlite3.Connection, delivered: Delivered) -> list[str]:
        feed, content, segments = delivered.feed, delivered.content, delivered.segments
        replaced = [
            str(row[0])
            for row in db.execute(
                "SELECT s.segment FROM delivery_segments s JOIN deliveries d USING (delivery_id)"
                " WHERE d.feed = ? AND d.content_sha256 = ? AND d.delivery_id <> ?",
                (feed, content, delivered.delivery_id),
            )
        ]
        db.execute(
            "UPDATE deliveries SET is_replaced = 1 WHERE feed = ? AND content_sha256 = ?",
            (feed, content),
        )
        db.execute(
            "INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)",
            (
                delivered.delivery_id,
                feed,
                content,
                delivered.reading,
                delivered.file,
                delivered.landed_at.isoformat(),
                delivered.read_count,
                delivered.refused_count,
            ),
        )
        db.execute(
            "DELETE FROM publications WHERE feed = ? AND collected_at = ?",
            (feed, delivered.landed_at.isoformat()),
        )
        db.execute(
            "DELETE FROM publications WHERE feed = ? AND content_sha256 = ?", (feed, content)
        )
        db.execute("DELETE FROM delivery_segments WHERE delivery_id = ?", (delivered.delivery_id,))
        db.executemany(
            "INSERT INTO delivery_segments VALUES (?, ?, ?)",
            [(delivered.delivery_id, segment.path, segment.row_count) for segment in segments],
        )
        current = {segment.path for segment in segments}
        return [path for path in replaced if path not in current]

    def see_columns(
        self, delivery_id: str, feed: str, form: str, kinds: Mapping[str, str], landed_at: datetime
    ) -> Drift:
        """Note the columns of a delivery, and how they differ from those of the one before.

        Args:
            form: format of the file; a folder may hold several, each with columns of its own.
        """
        with self._open() as db:
            before = db.execute(
                "SELECT kinds FROM delivery_columns WHERE feed = ? AND format = ?"
                " AND delivery_id <> ? ORDER BY landed_at DESC LIMIT 1",
                (feed, form, delivery_id),
            ).fetchone()
            drift = drift_of(json.loads(before[0]), kinds) if before else Drift()
            db.execute(
                "INSERT OR REPLACE INTO delivery_columns VALUES (?, ?, ?, ?, ?, ?)",
                (
                    delivery_id,
                    feed,
                    form,
                    landed_at.isoformat(),
                    json.dumps(dict(kinds)),
                    str(drift) if drift else None,
                ),
            )
        return drift

    def latest_drifts(self, feed: str) -> dict[str, str]:
        """Return how the latest delivery of each format differs from the one before, by its file."""
        with self._open() as db:
            rows = db.execute(
                "SELECT file, drift, max(c.landed_at) FROM delivery_columns c"
                " JOIN deliveries USING (delivery_id) WHERE c.feed = ? AND NOT is_replaced"
                " GROUP BY format",
                (feed,),
            ).fetchall()
        return {file: drift for file, drift, _ in rows if drift is not None}

    def delivered_files(self, segments: Iterable[str]) -> set[str]:
        """Return the names of the files and listings that brought segments."""
        with self._open() as db:
            rows = db.execute(
                "SELECT DISTINCT file FROM deliveries JOIN delivery_segments USING (delivery_id)"
                " WHERE segment IN (SELECT value FROM json_each(?))",
                (json.dumps(sorted(segments)),),
            ).fetchall()
        return {str(row[0]) for row in rows}

    def replace_segments(self, compacted: Segment, former: Sequence[str]) -> None:
        """Note that one segment has taken the place of several of its feed, which are to be removed."""
        feed, old = compacted.feed, json.dumps(list(former))
        with self._open() as db:
            db.execute(
                "INSERT INTO delivery_segments SELECT delivery_id, ?, sum(row_count)"
                " FROM delivery_segments WHERE segment IN (SELECT value FROM json_each(?))"
                " GROUP BY delivery_id",
                (compacted.path, old),
            )
            db.execute(
                "DELETE FROM delivery_segments WHERE segment IN (SELECT value FROM json_each(?))",
                (old,),
            )
            db.execute("INSERT INTO removals SELECT ?, value FROM json_each(?)", (feed, old))
            db.execute(
                "DELETE FROM publications WHERE feed = ? AND collected_at = ?",
                (feed, compacted.collected_at.isoformat()),
            )

    def held_deliveries(self, feed: str) -> list[HeldDelivery]:
        """Return the deliveries of `feed` that have records in quarantine, oldest first."""
        with self._open() as db:
            rows = db.execute(
                "SELECT delivery_id, content_sha256, file, segment FROM deliveries"
                " JOIN delivery_segments USING (delivery_id) WHERE feed = ? AND NOT is_replaced"
                " ORDER BY landed_at, delivery_id, segment",
                (feed,),
            ).fetchall()
        held: dict[str, HeldDelivery] = {}
        for delivery_id, content, file, segment in rows:
            if Segment(segment).day is None:
                known = held.get(delivery_id)
                earlier = known.segments if known else ()
                segments = (*earlier, segment)
                held[delivery_id] = HeldDelivery(delivery_id, feed, content, file, segments)
        return list(held.values())

    def release(self, held: HeldDelivery, segments: Sequence[Segment], released_count: int) -> None:
        """Record that `segments` take the place of the delivery's quarantine segments.

        The old ones are to be removed: see `pending_removals`.
        """
        current = {segment.path for segment in segments}
        old = [(path,) for path in held.segments if path not in current]
        with self._open() as db:
            db.executemany("DELETE FROM delivery_segments WHERE segment = ?", old)
            db.executemany("INSERT INTO removals VALUES (?, ?)", [(held.feed, *p) for p in old])
            db.executemany(
                "INSERT OR REPLACE INTO delivery_segments VALUES (?, ?, ?)",
                [(held.delivery_id, segment.path, segment.row_count) for segment in segments],
            )
            db.execute(
                "UPDATE deliveries SET refused_count = refused_count - ? WHERE delivery_id = ?",
                (released_count, held.delivery_id),
            )
            db.execute(
                "DELETE FROM publications WHERE feed = ? AND content_sha256 = ?",
                (held.feed, held.content),
            )

    def pending_removals(self, feed: str) -> list[str]:
        """Return segments that others have taken the place of, and that may still be there."""
        with self._open() as db:
            rows = db.execute("SELECT segment FROM removals WHERE feed = ?", (feed,)).fetchall()
        return [str(row[0]) for row in rows]

    def known_segments(self, feed: str) -> set[str]:
        """Return the segments of the deliveries of `feed` that hold now."""
        with self._open() as db:
            rows = db.execute(
                "SELECT segment FROM delivery_segments JOIN deliveries USING (delivery_id)"
                " WHERE feed = ? AND NOT is_replaced",
                (feed,),
            ).fetchall()
        return {str(row[0]) for row in rows}

    def finish_removals(self, feed: str) -> None:
        """Note that the segments of `pending_removals` are gone."""
        with self._open() as db:
            db.execute("DELETE FROM removals WHERE feed = ?", (feed,))

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

    def suppression(self, key: bytes) -> Suppression:
        """Return which posts and authors were erased.

        Args:
            key: the author key, with which their hashes were made.
        """
        with self._open() as db:
            rows = db.execute("SELECT kind, id_hash FROM suppressed").fetchall()
        return Suppression(
            key,
            *(
                frozenset(found for kind, found in rows if kind == wanted)
                for wanted in (POST, AUTHOR, RECORD)
            ),
        )

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
            drifted = db.execute(
                "SELECT count(drift) FROM delivery_columns JOIN deliveries USING (delivery_id)"
                " WHERE deliveries.feed = ? AND NOT is_replaced",
                (feed,),
            ).fetchone()
            last = db.execute(
                "SELECT finished_at, error FROM collections WHERE feed = ?", (feed,)
            ).fetchone()
        finished_at = datetime.fromisoformat(last[0]).astimezone(UTC) if last else None
        deliveries, read, refused = counts
        error = last[1] if last else None
        return FeedLedger(feed, deliveries, read, refused, finished_at, error, drifted[0])

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with explained(self.path):
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
