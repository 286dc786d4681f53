"""The part of the ledger that is about interfaces: open windows, what is covered, posts that are known, and budgets."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from data_platform.ingestion.connectors.connector import Known, Window
from data_platform.ingestion.ledger import Delivered, Gap, Ledger

PULL = "pull"
# A window that was opened earlier and never left has lost its reader.
LONGEST_READING = timedelta(hours=1)
IDS_AT_ONCE = 10_000  # sqlite.org/limits.html: a statement has at most 32,766 parameters


@dataclass(frozen=True)
class OpenWindow:
    """A window that is not exhausted: a gap, until it is.

    Attributes:
        day: the day that was asked for, for a window of a backfill.
        token: where to go on; None: at its beginning.
        position: where it began, for listings that follow positions.
        opened_at: when it was opened; what is seen in it is seen after.
        tried_at: when it was left open; None: it is being read, or its reader was killed.
        reason: why it is not exhausted.
    """

    window_id: int
    feed: str
    window: Window
    day: date | None
    token: Mapping[str, Any] | None
    opened_at: datetime
    tried_at: datetime | None
    reason: str
    is_transient: bool

    def is_gap(self, now: datetime) -> bool:
        """False while the collection that opened it may still be reading it."""
        return self.tried_at is not None or now - self.opened_at > LONGEST_READING

    def as_gap(self) -> Gap:
        """Return it as a gap: something that the platform offers and that is not stored yet."""
        window = self.window
        what = self.day.isoformat() if self.day else f"since {window.since:%Y-%m-%d %H:%M}"
        subject = f"{window.stream}, {what}"
        return Gap(
            self.feed,
            subject,
            "",
            self.reason,
            self.is_transient,
            self.opened_at,
            self.tried_at or self.opened_at,
        )


@dataclass(frozen=True)
class Unreachable:
    """A stretch of time that the platform does not list any more."""

    stream: str
    since: datetime
    until: datetime
    reason: str


@dataclass(frozen=True)
class Observed:
    """A post that was seen.

    Attributes:
        fingerprint: of what was seen of it.
        is_gone: it was deleted.
    """

    source_id: str
    native_id: str
    posted_at: datetime | None
    fingerprint: str
    is_gone: bool = False


@dataclass(frozen=True)
class Pause:
    """Why a feed is not collected now.

    Attributes:
        throttled_until: no request before, as the platform asked.
        failure_count: collections in a row that failed.
        retry_at: no collection that starts by itself before, after several failures.
    """

    throttled_until: datetime | None = None
    failure_count: int = 0
    retry_at: datetime | None = None


class WindowLedger(Ledger):
    """The ledger, with what it holds of feeds that connectors collect."""

    def open_window(self, feed: str, window: Window, day: date | None = None) -> None:
        """Note a stretch of time that is to be collected, unless the same one is open already.

        One of this stream that was never begun is made longer instead: a platform that does not
        answer for a day is one gap.
        """
        with self._open() as db:
            if day is None:
                extended = db.execute(
                    "UPDATE windows SET until = ?1 WHERE window_id = (SELECT max(window_id)"
                    " FROM windows WHERE feed = ?2 AND stream = ?3 AND day IS NULL AND token IS NULL"
                    " AND since <= ?4 AND until >= ?4 AND until <= ?1)",
                    (stamp(window.until), feed, window.stream, stamp(window.since)),
                ).rowcount
                if extended:
                    return
            db.execute(
                "INSERT INTO windows (feed, stream, since, until, day, position, opened_at, reason,"
                " is_transient) SELECT ?, ?, ?, ?, ?, ?, ?, 'not collected yet', 1 WHERE NOT EXISTS"
                " (SELECT 1 FROM windows WHERE feed = ? AND stream = ? AND since = ? AND day IS ?)",
                (
                    feed,
                    window.stream,
                    stamp(window.since),
                    stamp(window.until),
                    day.isoformat() if day else None,
                    _json(window.position),
                    stamp(datetime.now(UTC)),
                    feed,
                    window.stream,
                    stamp(window.since),
                    day.isoformat() if day else None,
                ),
            )

    def keep_streams(self, feed: str, streams: Sequence[str]) -> None:
        """Forget windows of listings that the feed does not have any more: nobody asks for them."""
        others = (feed, json.dumps(list(streams)))
        with self._open() as db:
            for table in ("windows", "covered", "unreachable", "positions"):
                db.execute(
                    f"DELETE FROM {table} WHERE feed = ?"
                    " AND stream NOT IN (SELECT value FROM json_each(?))",
                    others,
                )

    def forget_future(self, feed: str, now: datetime) -> None:
        """Take back what a clock that was ahead has noted about the time after `now`.

        What is collected then ends where a post was last seen before; what was seen and reached
        since counts as of `now`. Not where known posts were written after `now` and seen later:
        it is this clock that is behind then, and nothing is taken back.
        """
        told = {"feed": feed, "now": stamp(now)}
        stretches = ("windows", "covered", "unreachable")
        untils = " UNION ALL ".join(
            f"SELECT until FROM {table} WHERE feed = :feed" for table in stretches
        )
        with self._open() as db:
            latest = db.execute(f"SELECT max(until) FROM ({untils})", told).fetchone()[0]
            if latest is None or latest <= told["now"]:
                return
            is_behind = db.execute(
                "SELECT 1 FROM items WHERE feed = :feed AND posted_at > :now"
                " AND observed_at >= posted_at LIMIT 1",
                told,
            ).fetchone()
            if is_behind:
                return
            told["seen"] = db.execute(
                "SELECT coalesce(max(observed_at), '') FROM items WHERE feed = :feed"
                " AND observed_at <= :now",
                told,
            ).fetchone()[0]
            for table in stretches:
                db.execute(
                    f"UPDATE {table} SET until = max(since, :seen) WHERE feed = :feed"
                    " AND until > :now",
                    told,
                )
                db.execute(f"DELETE FROM {table} WHERE feed = :feed AND since >= until", told)
            # Of the positions the latest is left: the others would be reached at the same moment.
            db.execute(
                "DELETE FROM positions AS p WHERE feed = :feed AND reached_at > :now"
                " AND EXISTS (SELECT 1 FROM positions AS l WHERE l.feed = p.feed"
                " AND l.stream = p.stream AND l.reached_at > p.reached_at)",
                told,
            )
            for table, name in (
                ("positions", "reached_at"),
                ("windows", "opened_at"),
                ("items", "observed_at"),
            ):
                db.execute(
                    f"UPDATE {table} SET {name} = :now WHERE feed = :feed AND {name} > :now", told
                )

    def open_windows(self, feed: str) -> list[OpenWindow]:
        """Return the windows of `feed` that are not exhausted, oldest first."""
        with self._open() as db:
            rows = db.execute(
                "SELECT window_id, stream, since, until, day, token, position, opened_at, tried_at,"
                " reason, is_transient FROM windows WHERE feed = ? ORDER BY since, opened_at, window_id",
                (feed,),
            ).fetchall()
        return [
            OpenWindow(
                window_id,
                feed,
                Window(stream, moment(since), moment(until), _read(position)),
                date.fromisoformat(day) if day else None,
                _read(token),
                moment(opened_at),
                moment(tried_at) if tried_at else None,
                reason,
                bool(is_transient),
            )
            for (
                window_id,
                stream,
                since,
                until,
                day,
                token,
                position,
                opened_at,
                tried_at,
                reason,
                is_transient,
            ) in rows
        ]

    def advance(
        self,
        window: OpenWindow,
        token: Mapping[str, Any] | None,
        observed: Sequence[Observed],
        observed_at: datetime,
        delivered: Delivered | None,
        kinds: Mapping[tuple[str, str], int],
    ) -> None:
        """Move a window to its next page, in one transaction with what the pages before brought.

        Args:
            observed: posts of those pages, also unchanged ones.
            delivered: their segments; None: there was nothing new in them.
            kinds: how many items had a field of a kind, by (field, kind).
        """
        feed, stream, now = window.feed, window.window.stream, stamp(observed_at)
        seen = joined_fingerprints((post.source_id, post.fingerprint) for post in observed)
        with self._open() as db:
            if delivered is not None:
                self._record(db, delivered)
            else:
                db.execute(
                    "DELETE FROM publications WHERE feed = ? AND content_sha256 = ?", (feed, PULL)
                )
            db.executemany(
                "INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " native_id = excluded.native_id, fingerprint = excluded.fingerprint,"
                " posted_at = coalesce(excluded.posted_at, posted_at),"
                " is_gone = excluded.is_gone, observed_at = excluded.observed_at",
                [
                    (
                        feed,
                        stream,
                        post.source_id,
                        post.native_id,
                        stamp(post.posted_at) if post.posted_at else None,
                        seen[post.source_id],
                        post.is_gone,
                        now,
                    )
                    for post in observed
                ],
            )
            # What another listing showed of a post before is not known of it any more.
            db.executemany(
                "UPDATE items SET fingerprint = ?, is_gone = ? WHERE feed = ? AND source_id = ?"
                " AND stream <> ? AND fingerprint <> ?",
                [
                    (seen[p.source_id], p.is_gone, feed, p.source_id, stream, seen[p.source_id])
                    for p in observed
                ],
            )
            db.executemany(
                "INSERT INTO field_kinds VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " item_count = item_count + excluded.item_count, last_seen_at = ?",
                [(feed, name, kind, now, now, n, now) for (name, kind), n in kinds.items()],
            )
            db.execute(
                "UPDATE windows SET token = ? WHERE window_id = ?",
                (_json(token), window.window_id),
            )

    def suspend(self, window: OpenWindow, reason: str, *, is_transient: bool) -> None:
        """Note why a window was left open."""
        with self._open() as db:
            db.execute(
                "UPDATE windows SET reason = ?, is_transient = ?, tried_at = ? WHERE window_id = ?",
                (reason, is_transient, stamp(datetime.now(UTC)), window.window_id),
            )

    def restart(self, window: OpenWindow) -> None:
        """Let a window begin anew: the platform does not know its token any more."""
        with self._open() as db:
            db.execute("UPDATE windows SET token = NULL WHERE window_id = ?", (window.window_id,))

    def complete(
        self,
        window: OpenWindow,
        position: Mapping[str, Any] | None,
        *,
        covered_since: datetime | None,
        unreachable_reason: str = "",
        remembered: timedelta | None = None,
    ) -> None:
        """Note that a window is exhausted.

        Args:
            position: where later windows of the stream may begin.
            covered_since: what lies before could not be listed; None: nothing of it could.
            remembered: posts that were last seen longer ago are forgotten; None: none is.
        """
        feed, asked = window.feed, window.window
        since = asked.until if covered_since is None else max(covered_since, asked.since)
        with self._open() as db:
            db.execute("DELETE FROM windows WHERE window_id = ?", (window.window_id,))
            if since < asked.until:
                touching = db.execute(
                    "SELECT since, until FROM covered WHERE feed = ? AND stream = ?"
                    " AND since <= ? AND until >= ?",
                    (feed, asked.stream, stamp(asked.until), stamp(since)),
                ).fetchall()
                first = min([stamp(since), *(row[0] for row in touching)])
                last = max([stamp(asked.until), *(row[1] for row in touching)])
                db.execute(
                    "DELETE FROM covered WHERE feed = ? AND stream = ? AND since >= ? AND until <= ?",
                    (feed, asked.stream, first, last),
                )
                db.execute(
                    "INSERT INTO covered VALUES (?, ?, ?, ?)", (feed, asked.stream, first, last)
                )
            # What is listed after all is not unreachable; what was unreachable once stays so.
            db.execute(
                "DELETE FROM unreachable WHERE feed = ? AND stream = ? AND since >= ? AND until <= ?",
                (feed, asked.stream, stamp(asked.since), stamp(asked.until)),
            )
            if asked.since < since:
                db.execute(
                    "INSERT INTO unreachable VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        feed,
                        asked.stream,
                        stamp(asked.since),
                        stamp(since),
                        unreachable_reason,
                        stamp(datetime.now(UTC)),
                    ),
                )
            if position is not None and window.day is None:
                db.execute(
                    "INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?)",
                    (feed, asked.stream, stamp(window.opened_at), _json(position)),
                )
            if remembered is not None:
                db.execute(
                    "DELETE FROM items WHERE feed = ? AND observed_at < ?",
                    (feed, stamp(datetime.now(UTC) - remembered)),
                )

    def reached(self, feed: str, stream: str) -> datetime | None:
        """Return the end of the latest window of a stream, exhausted or open; None: there is none."""
        with self._open() as db:
            row = db.execute(
                "SELECT max(until) FROM (SELECT until FROM covered WHERE feed = ? AND stream = ?"
                " UNION ALL SELECT until FROM unreachable WHERE feed = ? AND stream = ?"
                " UNION ALL SELECT until FROM windows WHERE feed = ? AND stream = ? AND day IS NULL)",
                (feed, stream) * 3,
            ).fetchone()
        return moment(row[0]) if row[0] else None

    def holes(
        self, feed: str, stream: str, since: datetime, until: datetime
    ) -> list[tuple[datetime, datetime]]:
        """Return the parts of a stretch of time that no window of a stream was ever about, in order."""
        with self._open() as db:
            rows = db.execute(
                "SELECT since, until FROM covered WHERE feed = ? AND stream = ?"
                " UNION ALL SELECT since, until FROM unreachable WHERE feed = ? AND stream = ?"
                " UNION ALL SELECT since, until FROM windows WHERE feed = ? AND stream = ?"
                " ORDER BY 1",
                (feed, stream) * 3,
            ).fetchall()
        found = []
        for begin, end in rows:
            if moment(begin) >= until:
                break
            if moment(begin) > since:
                found.append((since, moment(begin)))
            since = max(since, moment(end))
        return [*found, (since, until)] if since < until else found

    def position(self, feed: str, stream: str, before: datetime) -> Mapping[str, Any] | None:
        """Return the latest position that was reached before a moment; None: there is none.

        Older ones are of no use any more, and go.
        """
        with self._open() as db:
            row = db.execute(
                "SELECT reached_at, position FROM positions WHERE feed = ? AND stream = ?"
                " AND reached_at <= ? ORDER BY reached_at DESC LIMIT 1",
                (feed, stream, stamp(before)),
            ).fetchone()
            if row is None:
                return None
            db.execute(
                "DELETE FROM positions WHERE feed = ? AND stream = ? AND reached_at < ?",
                (feed, stream, row[0]),
            )
        return _read(row[1])

    def fingerprints(self, feed: str, source_ids: Iterable[str]) -> dict[str, set[str]]:
        """Return what is known of posts, by id: for each stream the fingerprints of what it showed last."""
        found: dict[str, set[str]] = {}
        with self._open() as db:
            for marks, some in _in_parts(source_ids):
                for source_id, fingerprint in db.execute(
                    f"SELECT source_id, fingerprint FROM items WHERE feed = ? AND source_id IN {marks}",
                    (feed, *some),
                ):
                    found.setdefault(source_id, set()).add(fingerprint)
        return found

    def known_ids(self, feed: str, prefix: str) -> list[str]:
        """Return the ids of known posts that begin with `prefix` and are not deleted."""
        with self._open() as db:
            rows = db.execute(
                "SELECT DISTINCT source_id FROM items WHERE feed = ? AND source_id >= ?"
                " AND source_id < ? AND NOT is_gone",
                (feed, prefix, prefix + chr(0x10FFFF)),
            ).fetchall()
        return [str(row[0]) for row in rows]

    def posted_days(self, feed: str, source_ids: Iterable[str]) -> dict[str, datetime]:
        """Return when known posts were posted, by id."""
        found: dict[str, datetime] = {}
        with self._open() as db:
            for marks, some in _in_parts(source_ids):
                for source_id, posted_at in db.execute(
                    "SELECT source_id, max(posted_at) FROM items WHERE feed = ?"
                    f" AND posted_at IS NOT NULL AND source_id IN {marks} GROUP BY source_id",
                    (feed, *some),
                ):
                    found[source_id] = moment(posted_at)
        return found

    def unseen(self, window: OpenWindow, covered_since: datetime, limit: int) -> list[Known]:
        """Return known posts that an exhausted window should have listed, and has not.

        Those that were not seen for the longest come first, so that each has its turn.
        """
        with self._open() as db:
            rows = db.execute(
                "SELECT source_id, native_id, posted_at FROM items WHERE feed = ? AND stream = ?"
                " AND posted_at >= ? AND posted_at < ? AND observed_at < ? AND NOT is_gone"
                " ORDER BY observed_at LIMIT ?",
                (
                    window.feed,
                    window.window.stream,
                    stamp(max(covered_since, window.window.since)),
                    stamp(window.window.until),
                    stamp(window.opened_at),
                    limit,
                ),
            ).fetchall()
        return [Known(row[0], row[1], moment(row[2])) for row in rows]

    def not_seen_since(self, feed: str, stream: str, before: datetime, limit: int) -> list[Known]:
        """Return known posts of a stream that no stream has shown since, the longest ago first."""
        with self._open() as db:
            rows = db.execute(
                "SELECT source_id, native_id, posted_at FROM items AS i WHERE feed = ?1"
                " AND stream = ?2 AND observed_at < ?3 AND NOT is_gone AND native_id <> ''"
                " AND NOT EXISTS (SELECT 1 FROM items AS o WHERE o.feed = ?1"
                " AND o.source_id = i.source_id AND o.observed_at >= ?3)"
                " ORDER BY observed_at LIMIT ?4",
                (feed, stream, stamp(before), limit),
            ).fetchall()
        return [Known(row[0], row[1], moment(row[2]) if row[2] else None) for row in rows]

    def sightings(
        self, feed: str, due_before: datetime, overdue_before: datetime
    ) -> list[tuple[date, int, datetime, int, int]]:
        """Count known posts by the day (UTC) on which the platform last showed them, in order.

        Returns:
            Day, posts, when the first of them was seen, and how many of them were seen before each
            of the two moments.
        """
        with self._open() as db:
            rows = db.execute(
                "WITH seen AS (SELECT max(observed_at) AS seen_at FROM items WHERE feed = ?1"
                " AND NOT is_gone AND native_id <> '' GROUP BY source_id)"
                " SELECT substr(seen_at, 1, 10), count(*), min(seen_at),"
                " count(*) FILTER (WHERE seen_at < ?2), count(*) FILTER (WHERE seen_at < ?3)"
                " FROM seen GROUP BY 1 ORDER BY 1",
                (feed, stamp(due_before), stamp(overdue_before)),
            ).fetchall()
        return [
            (date.fromisoformat(day), n, moment(at), due, late) for day, n, at, due, late in rows
        ]

    def covered(self, feed: str) -> dict[str, list[tuple[datetime, datetime]]]:
        """Return the stretches of time that are collected, by stream, in order."""
        with self._open() as db:
            rows = db.execute(
                "SELECT stream, since, until FROM covered WHERE feed = ? ORDER BY stream, since",
                (feed,),
            ).fetchall()
        found: dict[str, list[tuple[datetime, datetime]]] = {}
        for stream, since, until in rows:
            found.setdefault(stream, []).append((moment(since), moment(until)))
        return found

    def unreachable(self, feed: str) -> list[Unreachable]:
        """Return the stretches of time that the platform does not list any more."""
        with self._open() as db:
            rows = db.execute(
                "SELECT stream, since, until, reason FROM unreachable WHERE feed = ?"
                " ORDER BY since, stream",
                (feed,),
            ).fetchall()
        return [Unreachable(s, moment(a), moment(b), reason) for s, a, b, reason in rows]

    def kinds(self, feed: str) -> list[tuple[str, str, datetime, int]]:
        """Return each field that items had, with its kind, when it was first seen, and how often."""
        with self._open() as db:
            rows = db.execute(
                "SELECT field, kind, first_seen_at, item_count FROM field_kinds WHERE feed = ?"
                " ORDER BY field, first_seen_at, kind",
                (feed,),
            ).fetchall()
        return [(name, kind, moment(first), count) for name, kind, first, count in rows]

    def pause(self, feed: str) -> Pause:
        """Return why `feed` may not be collected now.

        A pause that was noted later than now is over: the clock was ahead, and nobody knows of
        how much of it is left.
        """
        with self._open() as db:
            row = db.execute(
                "SELECT throttled_until, failure_count, retry_at, finished_at FROM pauses"
                " LEFT JOIN collections USING (feed) WHERE feed = ?",
                (feed,),
            ).fetchone()
        if row is None:
            return Pause()
        throttled_until, failure_count, retry_at, noted_at = row
        if noted_at and moment(noted_at) > datetime.now(UTC):
            return Pause(failure_count=failure_count)
        return Pause(
            moment(throttled_until) if throttled_until else None,
            failure_count,
            moment(retry_at) if retry_at else None,
        )

    def set_pause(self, feed: str, pause: Pause) -> None:
        """Note why `feed` may not be collected for a while."""
        until, retry_at = pause.throttled_until, pause.retry_at
        with self._open() as db:
            db.execute(
                "INSERT OR REPLACE INTO pauses VALUES (?, ?, ?, ?)",
                (
                    feed,
                    stamp(until) if until else None,
                    pause.failure_count,
                    stamp(retry_at) if retry_at else None,
                ),
            )

    def used(self, feed: str, day: date) -> tuple[int, float]:
        """Return the requests and the units that `feed` has used on a day (UTC)."""
        with self._open() as db:
            row = db.execute(
                "SELECT request_count, unit_count FROM usage WHERE feed = ? AND day = ?",
                (feed, day.isoformat()),
            ).fetchone()
        return (int(row[0]), float(row[1])) if row else (0, 0.0)

    def use(
        self, feed: str, day: date, requests: int, units: float, throttled_seconds: float
    ) -> None:
        """Count what a collection has used."""
        with self._open() as db:
            db.execute(
                "INSERT INTO usage VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " request_count = request_count + excluded.request_count,"
                " unit_count = unit_count + excluded.unit_count,"
                " throttled_seconds = throttled_seconds + excluded.throttled_seconds",
                (feed, day.isoformat(), requests, units, throttled_seconds),
            )

    def begin_pull(self, feed: str, published_at: datetime) -> None:
        """Note that segments are about to be published; see `begin`."""
        self.begin(feed, PULL, published_at)


def joined_fingerprints(observed: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the different fingerprints of each post in one text, in order: a listing may show former versions."""
    found: dict[str, dict[str, None]] = {}
    for source_id, fingerprint in observed:
        found.setdefault(source_id, {})[fingerprint] = None
    return {source_id: " ".join(fingerprints) for source_id, fingerprints in found.items()}


def _in_parts(ids: Iterable[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield ids, some at a time, with the marks that stand for them in SQL.

    Not as one JSON list: of a text in it, SQLite reads what stands before the first NUL.
    """
    left = list(ids)
    for start in range(0, len(left), IDS_AT_ONCE):
        some = left[start : start + IDS_AT_ONCE]
        yield f"({', '.join('?' for _ in some)})", some


def stamp(time: datetime) -> str:
    """Return a time as text that sorts as times do."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def moment(text: str) -> datetime:
    """Return the time that `stamp` wrote."""
    return datetime.fromisoformat(text)


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value, sort_keys=True)


def _read(text: str | None) -> Mapping[str, Any] | None:
    return None if text is None else dict(json.loads(text))
