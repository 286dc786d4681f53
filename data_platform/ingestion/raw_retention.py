"""Redacting text that was collected long ago, in segments, raw_feedback and quarantine, and what is noted of it."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_platform.feed_settings import MappedFeed
from data_platform.ingestion.collect import finish_removals, held_feed
from data_platform.ingestion.connectors.json_records import parse_object, value_at
from data_platform.ingestion.erasure import replace_segment
from data_platform.ingestion.feeds import Feeds
from data_platform.ingestion.ledger import Ledger
from data_platform.ingestion.selection import landed_feeds
from data_platform.schemas import QUARANTINED_FEEDBACK, RAW_FEEDBACK
from data_platform.storage.days import DaySpan
from data_platform.storage.landing import QUARANTINE, LandingZone, Segment
from data_platform.storage.refusals import explained
from data_platform.storage.warehouse import NOTHING, DayWrite, MergeCounts, Warehouse, days_filter

logger = logging.getLogger(__name__)

VERSION_KEY = ("feedback_id", "content_hash")
# What a record is recognised and dated by: with a placeholder there it would be another one.
FIELDS_KEPT = ("source_id", "posted_at", "edited_at", "conversation_id", "parent_id")
ID_KEY = "id"  # what interfaces on the network call it
Notes = Mapping[str, datetime | None]
"""By path of a segment, when the first record was observed that is not redacted yet; None: all are."""


class Redactor(Protocol):
    """What takes personal data out of texts; twice is as good as once.

    Attributes:
        fingerprint: another one may find more.
    """

    @property
    def fingerprint(self) -> str: ...

    def redact_texts(self, titles: pa.Array, bodies: pa.Array) -> tuple[pa.Array, pa.Array]: ...


@dataclass
class RawRedaction:
    """What was redacted.

    Attributes:
        record_count: records of segments, quarantine among them, whose text is another one now.
        writes: days of raw_feedback that changed: the tables behind it are to be refreshed.
    """

    record_count: int = 0
    writes: list[DayWrite] = field(default_factory=list)


class RetentionLedger(Ledger):
    """The ledger, with the segments that were redacted, and whether the warehouse file still holds them."""

    def notes(self, feed: str, fingerprint: str) -> Notes:
        """Return the segments of a feed that this redactor has seen."""
        with self._open() as db:
            rows = db.execute(
                "SELECT segment, kept_since FROM redacted_segments"
                " WHERE folder GLOB ? AND redactor = ?",
                (f"{feed}/*", fingerprint),
            ).fetchall()
        return {path: datetime.fromisoformat(at) if at else None for path, at in rows}

    def note(self, folder: str, fingerprint: str, segments: Notes) -> None:
        """Note the segments of a folder, in place of all that was noted of it."""
        with self._open() as db:
            db.execute("DELETE FROM redacted_segments WHERE folder = ?", (folder,))
            db.executemany(
                "INSERT INTO redacted_segments VALUES (?, ?, ?, ?)",
                [
                    (path, folder, fingerprint, at.isoformat() if at else None)
                    for path, at in segments.items()
                ],
            )

    def begin_redaction(self, now: datetime) -> None:
        """Note, before the first change, that the warehouse file has to be written anew."""
        with self._open() as db:
            db.execute(
                "INSERT INTO redactions SELECT ?, NULL WHERE NOT EXISTS"
                " (SELECT 1 FROM redactions WHERE finished_at IS NULL)",
                (now.isoformat(),),
            )

    def has_open_redaction(self) -> bool:
        """True if text was redacted whose bytes the warehouse file may still hold."""
        with self._open() as db:
            found = db.execute("SELECT 1 FROM redactions WHERE finished_at IS NULL").fetchall()
        return bool(found)

    def finish_redaction(self, now: datetime) -> None:
        """Note that no byte is left."""
        with self._open() as db:
            db.execute(
                "UPDATE redactions SET finished_at = ? WHERE finished_at IS NULL",
                (now.isoformat(),),
            )


def redact_raw(
    feeds: Feeds, warehouse: Warehouse, redactor: Redactor, observed_before: datetime
) -> RawRedaction:
    """Redact the text of records that were observed before a time, also of feeds that are gone.

    A version of a post counts as observed when its folder first saw it: one that is delivered
    again later is redacted again. Its key stays, so nothing becomes a new version. Segments are
    replaced in their place, folder by folder, under the feed's lock; each step may be repeated.
    As long as `RetentionLedger.has_open_redaction`, the file of the warehouse holds the text.

    Raises:
        BusyError: a feed is being collected for long, or the warehouse is held.
    """
    ledger = RetentionLedger(feeds.ledger.path)
    done = RawRedaction()
    for name in landed_feeds(feeds.landing):
        notes = ledger.notes(name, redactor.fingerprint)
        for day in [*feeds.landing.days(name), None]:
            folder = _Folder(feeds, warehouse, redactor, observed_before, ledger, notes, name, day)
            if not folder.pending():
                continue
            with explained(feeds.landing.root), held_feed(feeds.landing, name):
                finish_removals(feeds.landing, ledger, name)
                folder.redact(done)
    return done


@dataclass(frozen=True)
class _Folder:
    """The segments of a feed and a day, or of its quarantine, under the feed's lock."""

    feeds: Feeds
    warehouse: Warehouse
    redactor: Redactor
    observed_before: datetime
    ledger: RetentionLedger
    known: Notes
    feed: str
    day: date | None

    @property
    def landing(self) -> LandingZone:
        return self.feeds.landing

    @property
    def path(self) -> str:
        return f"{self.feed}/{self.day.isoformat() if self.day else QUARANTINE}"

    def segments(self) -> list[Segment]:
        return self.landing.segments([self.feed], self.day)

    def pending(self) -> list[Segment]:
        """Return the segments that may hold records which are to be redacted now."""
        return [
            segment
            for segment in self.segments()
            if segment.path not in self.known
            or ((since := self.known[segment.path]) is not None and since < self.observed_before)
        ]

    def redact(self, done: RawRedaction) -> None:
        kept_since = self._redact_posts(done) if self.day else self._redact_payloads(done)
        noted = {**self.known, **kept_since}
        present = {s.path: noted[s.path] for s in self.segments() if s.path in noted}
        self.ledger.note(self.path, self.redactor.fingerprint, present)

    def _redact_posts(self, done: RawRedaction) -> Notes:
        """Redact segments of posts and their rows of raw_feedback; return what is to be noted."""
        due = self._due_versions()
        kept_since: dict[str, datetime | None] = {}
        redacted = []
        for segment in self.segments():
            if segment.path in self.known and self.known[segment.path] is None:
                continue
            table = pq.read_table(self.landing.root / segment.path)
            keys = _keys(table)
            is_due = pc.is_in(keys, value_set=due)
            kept_since[segment.path] = _earliest(table["observed_at"].filter(pc.invert(is_due)))
            rows = table.filter(is_due)
            titles, bodies = self._redacted(rows)
            changed = pc.sum(_is_changed(rows, titles, bodies)).as_py()
            if changed:
                self._replace(segment, _with(table, is_due, {"title": titles, "body": bodies}))
                done.record_count += changed
            redacted += keys.filter(is_due).chunks
        done.writes += self._redact_rows(pa.chunked_array(redacted, pa.string()))
        return kept_since

    def _due_versions(self) -> pa.Array:
        """Return the keys of the versions that some segment observed before the time."""
        due: list[pa.Array] = []
        for segment in self.segments():
            path = self.landing.root / segment.path
            table = pq.read_table(path, columns=[*VERSION_KEY, "observed_at"])
            due += _keys(table.filter(pc.less(table["observed_at"], self._limit))).chunks
        return pa.chunked_array(due, pa.string()).unique()

    @property
    def _limit(self) -> pa.Scalar:
        return pa.scalar(self.observed_before, pa.timestamp("us", tz="UTC"))

    def _redacted(self, rows: pa.Table) -> tuple[pa.Array, pa.Array]:
        titles, bodies = (rows[n].combine_chunks().cast(pa.string()) for n in ("title", "body"))
        return self.redactor.redact_texts(titles, bodies)

    def _replace(self, segment: Segment, table: pa.Table) -> None:
        self.ledger.begin_redaction(datetime.now(UTC))
        replace_segment(self.landing, segment, table)

    def _redact_rows(self, keys: pa.ChunkedArray) -> list[DayWrite]:
        """Redact these versions in raw_feedback; texts are worked on without the warehouse's lock."""
        writes: list[DayWrite] = []
        while len(keys):
            with self.warehouse.transaction() as transaction:
                transaction.connection.register("due", pa.table({"key": keys}))
                rows = transaction.arrow(
                    f"SELECT feedback_id, content_hash, title, body FROM {RAW_FEEDBACK.name}"
                    f" WHERE starts_with(segment, ?) AND {_KEY_SQL} IN (SELECT key FROM due)",
                    [f"{self.path}/"],
                )
            titles, bodies = self._redacted(rows)
            is_changed = _is_changed(rows, titles, bodies)
            changed = rows.append_column("new_title", titles).append_column("new_body", bodies)
            changed = changed.filter(is_changed)
            if not len(changed):
                break
            self.ledger.begin_redaction(datetime.now(UTC))
            written, count = self._write_rows(changed)
            writes += written
            if count == len(changed):  # else a load has come in between
                break
        return writes

    def _write_rows(self, changed: pa.Table) -> tuple[list[DayWrite], int]:
        """Write texts whose rows are still as they were read; return the days, and how many rows."""
        writes: list[DayWrite] = []
        with self.warehouse.transaction() as transaction:
            transaction.connection.register("changed", changed)
            found = transaction.connection.execute(
                f"SELECT min({RAW_FEEDBACK.day_expression()}), max({RAW_FEEDBACK.day_expression()})"
                f" FROM {RAW_FEEDBACK.name} JOIN changed USING (feedback_id, content_hash)"
            ).fetchall()
            if found[0][0] is None:
                return [], 0
            where, bounds = days_filter(RAW_FEEDBACK, DaySpan(*found[0]), "r.")
            rows = transaction.connection.execute(
                f"UPDATE {RAW_FEEDBACK.name} r SET title = c.new_title, body = c.new_body"
                f" FROM changed c WHERE {where} AND r.feedback_id = c.feedback_id"
                " AND r.content_hash = c.content_hash AND r.title IS NOT DISTINCT FROM c.title"
                " AND r.body IS NOT DISTINCT FROM c.body"
                f" RETURNING {RAW_FEEDBACK.day_expression('r.')}",
                bounds,
            ).fetchall()
            days = [day for (day,) in rows]
            for day in sorted(set(days)):
                counts = {day: NOTHING + MergeCounts(0, days.count(day), 0, 0)}
                writes += transaction.seal_days(RAW_FEEDBACK, DaySpan.of(day), counts, {})
        return writes, len(days)

    def _redact_payloads(self, done: RawRedaction) -> Notes:
        """Redact segments of refused records and their rows of quarantined_feedback."""
        kept_since: dict[str, datetime | None] = {}
        for segment in self.pending():
            table = pq.read_table(self.landing.root / segment.path)
            observed_at = _observed_at(table, segment)
            is_due = pc.less(observed_at, self._limit)
            kept_since[segment.path] = _earliest(observed_at.filter(pc.invert(is_due)))
            rows = table.filter(is_due)
            payloads = self._redacted_payloads(rows.to_pylist())
            changed = pc.sum(pc.not_equal(rows["payload"], payloads)).as_py()
            if changed:
                self._replace(segment, _with(table, is_due, {"payload": payloads}))
                done.record_count += changed
            if len(rows):
                self._write_payloads(rows["quarantine_id"], payloads)
        return kept_since

    def _write_payloads(self, quarantine_ids: pa.ChunkedArray, payloads: pa.Array) -> None:
        with self.warehouse.transaction() as transaction:
            transaction.connection.register(
                "redacted", pa.table({"quarantine_id": quarantine_ids, "payload": payloads})
            )
            rows = transaction.connection.execute(
                f"UPDATE {QUARANTINED_FEEDBACK.name} q SET payload = n.payload FROM redacted n"
                " WHERE q.quarantine_id = n.quarantine_id"
                " AND q.payload IS DISTINCT FROM n.payload RETURNING 1"
            ).fetchall()
            if rows:
                self.ledger.begin_redaction(datetime.now(UTC))

    def _redacted_payloads(self, rows: Sequence[Mapping[str, Any]]) -> pa.Array:
        """Return the payload of each refused record with the texts in it redacted."""
        # Row by row: each is a document of its own, and few records are refused.
        records = [parse_object(row["payload"]) if row["payload"] else None for row in rows]
        kept = [self._kept_values(row, record) for row, record in zip(rows, records, strict=True)]
        texts: set[str] = set()
        for row, record, ids in zip(rows, records, kept, strict=True):
            if record is not None:
                texts.update(_texts(record, ids))
            elif row["payload"]:
                texts.add(row["payload"])
        before = pa.array(sorted(texts), pa.string())
        after = self.redactor.redact_texts(pa.nulls(len(before), pa.string()), before)[1]
        redacted = dict(zip(before.to_pylist(), after.to_pylist(), strict=True))
        payloads = []
        for row, record, ids in zip(rows, records, kept, strict=True):
            if record is None:
                payloads.append(redacted.get(row["payload"], row["payload"]))
                continue
            placed = _replaced(record, lambda text: redacted.get(text, text), ids)
            is_same = placed == record
            payloads.append(row["payload"] if is_same else json.dumps(placed, ensure_ascii=False))
        return pa.array(payloads, pa.string())

    def _kept_values(self, row: Mapping[str, Any], record: Mapping[str, Any] | None) -> set[str]:
        """Return the values that a record is recognised and dated by, as the feed's mapping says."""
        if record is None:
            return set()
        paths: list[str] = [ID_KEY]
        feed = self.feeds.settings.feed(self.feed) if self.feed in self.feeds.names else None
        if isinstance(feed, MappedFeed):
            paths = [path for name in FIELDS_KEPT for path in feed.fields.get(name, ())]  # type: ignore[call-overload]
        return {str(value_at(record, path)) for path in paths} | {str(row["source_id"])}


_KEY_SQL = "feedback_id || ' ' || content_hash"


def _keys(table: pa.Table) -> pa.ChunkedArray:
    """Return one text for the version that each record is of; see `_KEY_SQL`."""
    parts = [table[name].cast(pa.string()) for name in VERSION_KEY]
    return pc.binary_join_element_wise(*parts, " ")


def _observed_at(refused: pa.Table, segment: Segment) -> pa.ChunkedArray:
    """Return when each refused record was observed; earlier releases noted only its collection."""
    collected_at = pa.scalar(segment.collected_at, pa.timestamp("us", tz="UTC"))
    if "observed_at" not in refused.column_names:
        return pa.chunked_array([pa.repeat(collected_at, len(refused))])
    return pc.fill_null(refused["observed_at"], collected_at)


def _earliest(times: pa.ChunkedArray) -> datetime | None:
    found = pc.min(times).as_py()
    return found.astimezone(UTC) if found else None


def _is_changed(rows: pa.Table, titles: pa.Array, bodies: pa.Array) -> pa.ChunkedArray:
    """Tell which texts differ; one that is null now was a text before."""
    differs = [
        pc.or_(
            pc.fill_null(pc.not_equal(rows[name], new), False),
            pc.xor(pc.is_null(rows[name]), pc.is_null(new)),
        )
        for name, new in (("title", titles), ("body", bodies))
    ]
    return pc.or_(*differs)


def _with(table: pa.Table, mask: pa.ChunkedArray, columns: Mapping[str, pa.Array]) -> pa.Table:
    """Return `table` with other values in the rows of `mask`."""
    where = mask.combine_chunks()
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        old = table[name].combine_chunks()
        new = pc.replace_with_mask(old, where, values.cast(old.type))
        table = table.set_column(place, table.schema.field(place), new)
    return table


def _texts(value: object, kept: set[str]) -> Iterator[str]:
    """Yield every text in a JSON document but those of `kept`."""
    if isinstance(value, dict):
        for part in value.values():
            yield from _texts(part, kept)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part, kept)
    elif isinstance(value, str) and value not in kept:
        yield value


def _replaced(value: object, replacement: Callable[[str], str], kept: set[str]) -> object:
    """Return a JSON document with another text for each that `_texts` yields."""
    if isinstance(value, dict):
        return {key: _replaced(part, replacement, kept) for key, part in value.items()}
    if isinstance(value, list):
        return [_replaced(part, replacement, kept) for part in value]
    if isinstance(value, str) and value not in kept:
        return replacement(value)
    return value
