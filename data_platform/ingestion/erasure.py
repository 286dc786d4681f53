"""Erasing posts where they were landed: which they are, what is kept of them, and which requests are not done yet."""

import json
import re
import sqlite3
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_platform.ingestion.authors import hash_handles
from data_platform.ingestion.collect import finish_removals, held_feed
from data_platform.ingestion.feeds import Feeds
from data_platform.ingestion.ledger import Ledger
from data_platform.ingestion.suppression import AUTHOR, POST, Suppression, replaced
from data_platform.schemas import RAW_FEEDBACK
from data_platform.storage.files import replaced as replaced_file
from data_platform.storage.files import sync_folder
from data_platform.storage.landing import LandingZone, Segment
from data_platform.storage.refusals import explained
from data_platform.storage.warehouse import Transaction

# content_hash of a record whose text is gone, but which is no deletion itself.
EMPTIED_HASH = "emptied"


@dataclass(frozen=True)
class Selection:
    """What is to be erased; what is not named does not narrow it down.

    Attributes:
        posts: ids, as the source gives them or as feedback_id.
        author: a handle, as the source gives it, with or without @.
        feed: only what this feed delivered.
        before: only posts of earlier days (UTC).
    """

    posts: Sequence[str] = ()
    author: str | None = None
    feed: str | None = None
    before: date | None = None

    def describe(self, suppression: Suppression) -> str:
        """Return the selection in words that name nobody, for the record."""
        what = f"{len(self.posts)} post(s) by id" if self.posts else "posts"
        if self.author is not None:
            what += f" of author {suppression.erased_id(self.author)[:8]}"
        if self.feed is not None:
            what += f" of feed {self.feed}"
        return what + (f" before {self.before}" if self.before else "")


@dataclass
class Found:
    """The posts of a selection in the landing zone.

    Attributes:
        feedback_ids: which they are.
        authors: author_id of the author that was asked for, on each platform.
        segment_count: segments that hold them.
        held_count: records of quarantine that name them.
        files: names of the files and listings that delivered them; the files may still be there.
        days: days of posting, by landing folder.
    """

    feedback_ids: set[str] = field(default_factory=set)
    authors: set[str] = field(default_factory=set)
    segment_count: int = 0
    held_count: int = 0
    files: set[str] = field(default_factory=set)
    days: set[date] = field(default_factory=set)


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
        """Note that posts are to be erased; from now on nothing of them is landed again.

        What the records in quarantine are searched for is kept until the erasure is complete.
        """
        erasure_id = uuid.uuid4().hex
        phrases = sorted({*selection.posts, *([selection.author] if selection.author else [])})
        hashes = [(POST, suppression.erased_id(post)) for post in sorted(found.feedback_ids)]
        hashes += [(AUTHOR, author) for author in sorted(found.authors)]
        with self._open() as db:
            db.execute(
                "INSERT INTO erasures VALUES (?, ?, ?, NULL, ?, ?, ?)",
                (
                    erasure_id,
                    selection.describe(suppression),
                    now.isoformat(),
                    len(found.feedback_ids),
                    json.dumps(phrases),
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

    def pending_phrases(self) -> list[str]:
        """Return what the requests that are not done name, to be searched for in quarantine."""
        with self._open() as db:
            rows = db.execute("SELECT phrases FROM erasures WHERE completed_at IS NULL").fetchall()
        return sorted({phrase for (found,) in rows for phrase in json.loads(found)})

    def forget_items(self, suppression: Suppression, platforms: dict[str, str]) -> int:
        """Forget what is known of erased posts of feeds on the network; return how many rows.

        Args:
            platforms: feed to the platform of its ids.
        """
        with self._open() as db:
            known = db.execute("SELECT DISTINCT feed, source_id FROM items").fetchall()
            gone = [
                (feed, source_id)
                for feed, source_id in known
                if feed in platforms and suppression.holds(f"{platforms[feed]}:{source_id}", None)
            ]
            db.executemany("DELETE FROM items WHERE feed = ? AND source_id = ?", gone)
        return len(gone)

    def complete(self, erasure_ids: Sequence[str], now: datetime) -> None:
        """Note that requests are done, and remove what they named from the bytes of the ledger."""
        with self._open() as db:
            db.executemany(
                "UPDATE erasures SET completed_at = ?, phrases = NULL WHERE erasure_id = ?",
                [(now.isoformat(), erasure_id) for erasure_id in erasure_ids],
            )
        self.vacuum()

    def vacuum(self) -> None:
        """Write the file anew, without what was deleted, and empty its log."""
        with explained(self.path), closing(sqlite3.connect(self.path, timeout=60)) as db:
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def note_purge(self, purged_at: datetime, segment_count: int) -> None:
        """Note that the text of every post that was deleted before is gone."""
        with self._open() as db:
            db.execute("INSERT INTO purges VALUES (?, ?)", (purged_at.isoformat(), segment_count))

    def purged_at(self) -> datetime | None:
        """Return when the last purge began; None: there was none."""
        with self._open() as db:
            (latest,) = db.execute("SELECT max(purged_at) FROM purges").fetchone()
        return datetime.fromisoformat(latest) if latest else None


def unpurged(transaction: Transaction, purged_at: datetime | None) -> tuple[int, datetime | None]:
    """Return how many posts were deleted since the last purge, and when we heard of the first.

    Until a purge the segments, and free space of the warehouse file, hold their text.
    """
    count, first = transaction.connection.execute(
        f"SELECT count(*), min(collected_at) FROM {RAW_FEEDBACK.name}"
        " WHERE is_deleted AND collected_at >= ? AND NOT starts_with(source_id, 'erased-')",
        [purged_at or datetime.fromtimestamp(0, UTC)],
    ).fetchall()[0]
    return count, first


def find_posts(feeds: Feeds, selection: Selection) -> Found:
    """Return the posts of a selection, wherever they were landed; reads, and changes nothing."""
    found = Found()
    deliveries: set[str] = set()
    names = [selection.feed] if selection.feed else feeds.names
    key = feeds.author_key()
    for name in names:
        platform = feeds.settings.feed(name).platform
        wanted_posts = {
            wanted
            for post in selection.posts
            for wanted in (post, f"{platform}:{post}")
            if wanted.startswith(f"{platform}:")
        }
        authors = set(hash_handles(selection.author, platform, key)) if selection.author else set()
        found.authors |= authors
        for segment in _segments(feeds.landing, name):
            if segment.day is None:
                found.held_count += _count_named(feeds.landing, segment, _phrases(selection))
                continue
            if selection.before and segment.day >= selection.before:
                continue
            table = pq.read_table(
                feeds.landing.root / segment.path, columns=["feedback_id", "author_id"]
            )
            chosen = pa.array([True] * len(table))
            if selection.posts:
                chosen = pc.is_in(table["feedback_id"], pa.array(sorted(wanted_posts), pa.string()))
            if authors:
                of_author = pc.is_in(table["author_id"], pa.array(sorted(authors)))
                chosen = pc.and_(chosen, of_author)
            ids = table.filter(chosen)["feedback_id"].to_pylist()
            ids = [post for post in ids if f"{platform}:erased-" not in post]
            if ids:
                found.feedback_ids.update(ids)
                found.segment_count += 1
                found.days.add(segment.day)
                deliveries.add(feeds.landing.delivery_of(segment))
    found.files = feeds.ledger.delivered_files(deliveries)
    return found


def held_records(feeds: Feeds, handle: str) -> list[dict[str, Any]]:
    """Return the records in quarantine that mention a handle: feed, reason and payload."""
    patterns = [_mention(handle)]
    return [
        {"feed": name, "reason": row["reason"], "payload": row["payload"]}
        for name in feeds.names
        for segment in feeds.landing.segments([name], None)
        for row in pq.read_table(feeds.landing.root / segment.path).to_pylist()
        if _is_named(row, patterns)
    ]


def apply_suppression(feeds: Feeds, ledger: ErasureLedger) -> int:
    """Replace the records of erased posts in every segment and in quarantine; return how many segments.

    Each segment is replaced in its place, by rename: what was done before a kill is not done again.

    Raises:
        BusyError: another process is collecting a feed.
    """
    suppression = ledger.suppression(feeds.author_key())
    patterns = [_mention(phrase) for phrase in ledger.pending_phrases()]
    count = 0
    for name in _landed_feeds(feeds.landing):
        platform = _platform(feeds, name)
        with explained(feeds.landing.root), held_feed(feeds.landing, name):
            finish_removals(feeds.landing, ledger, name)
            for segment in _segments(feeds.landing, name):
                path = feeds.landing.root / segment.path
                table = pq.read_table(path)
                if segment.day is None:
                    mended = _without_payloads(table, platform, suppression, patterns)
                else:
                    mended = suppression.applied(table)
                if mended is not table:
                    _replace(feeds.landing, segment, mended)
                    count += 1
    return count


def purge_deleted(feeds: Feeds, deleted: pa.Array) -> int:
    """Take the text of deleted posts out of the segments that brought it; return how many segments.

    What the warehouse makes of them stays the same, so no day is loaded again.

    Args:
        deleted: feedback_id of posts that are deleted.

    Raises:
        BusyError: another process is collecting a feed.
    """
    count = 0
    for name in _landed_feeds(feeds.landing):
        with explained(feeds.landing.root), held_feed(feeds.landing, name):
            for segment in _segments(feeds.landing, name):
                path = feeds.landing.root / segment.path
                if segment.day is None or not feeds.landing.mentions(segment, deleted):
                    continue
                table = pq.read_table(path)
                is_gone = pc.and_(
                    pc.is_in(table["feedback_id"], value_set=deleted), pc.is_valid(table["body"])
                )
                mended = replaced(table, is_gone, _emptied)
                if mended is not table:
                    _replace(feeds.landing, segment, mended)
                    count += 1
    return count


def _emptied(row: dict[str, Any]) -> dict[str, Any]:
    """What stays of a version of a deleted post: its key and its times, which decide which holds."""
    kept = ("feedback_id", "source_id", "posted_at", "edited_at", "is_deleted")
    return {**{name: row[name] for name in kept}, "content_hash": EMPTIED_HASH}


def _segments(landing: LandingZone, feed: str) -> Iterator[Segment]:
    for day in landing.days(feed):
        yield from landing.segments([feed], day)
    yield from landing.segments([feed], None)


def _landed_feeds(landing: LandingZone) -> list[str]:
    """Return the feeds that have landed anything, also those that are not configured any more."""
    return sorted(p.name for p in landing.root.glob("[a-z]*") if p.is_dir())


def _platform(feeds: Feeds, name: str) -> str:
    return feeds.settings.feed(name).platform if name in feeds.names else name


def _phrases(selection: Selection) -> list[re.Pattern[str]]:
    named = [*selection.posts, *([selection.author] if selection.author else [])]
    return [_mention(phrase) for phrase in named]


def _mention(phrase: str) -> re.Pattern[str]:
    bare = phrase.lstrip("@")
    return re.compile(rf"(?<!\w){re.escape(bare)}(?!\w)")


def _count_named(
    landing: LandingZone, segment: Segment, patterns: Sequence[re.Pattern[str]]
) -> int:
    table = pq.read_table(landing.root / segment.path, columns=["source_id", "payload"])
    return sum(_is_named(row, patterns) for row in table.to_pylist())


def _is_named(row: dict[str, Any], patterns: Collection[re.Pattern[str]]) -> bool:
    texts = [text for text in (row["source_id"], row["payload"]) if text]
    return any(pattern.search(text) for pattern in patterns for text in texts)


def _without_payloads(
    table: pa.Table,
    platform: str,
    suppression: Suppression,
    patterns: Collection[re.Pattern[str]],
) -> pa.Table:
    """Return quarantined records without what they say of erased posts; the same table if nothing."""
    rows = table.to_pylist()
    changed = False
    for row in rows:
        if row["payload"] is None and row["source_id"] is None:
            continue
        source_id = row["source_id"]
        is_erased = source_id is not None and suppression.holds(f"{platform}:{source_id}", None)
        if is_erased or _is_named(row, patterns):
            row["payload"] = row["source_id"] = None
            changed = True
    return pa.Table.from_pylist(rows, schema=table.schema) if changed else table


def _replace(landing: LandingZone, segment: Segment, table: pa.Table) -> None:
    """Write a segment anew in its place, durably, in one step."""
    path = landing.root / segment.path
    mode = path.stat().st_mode
    with replaced_file(path) as draft:
        pq.write_table(table, draft, compression="zstd")
        draft.chmod(mode)
    sync_folder(path.parent)
