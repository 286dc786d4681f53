"""The post contract: turns a page of text records into typed posts and refused records, with the reason for each."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from hashlib import sha256

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from data_platform.feed_settings import CONTRACT_FIELDS, AnyFeed
from data_platform.ingestion.authors import hash_authors
from data_platform.ingestion.connectors.pages import Page
from data_platform.ingestion.dates import is_swapped_sql, sql_text, sql_texts, time_sql
from data_platform.ingestion.identity import SCIENTIFIC, IdentityGuard
from data_platform.ingestion.suppression import Suppression
from data_platform.normal_form import MAY_CHANGE
from data_platform.schemas import (
    ARROW_TYPES,
    CONTRACT_VERSION,
    LANDED_COLUMNS,
    QUARANTINED_FEEDBACK,
)
from data_platform.storage.days import DaySpan, day_bounds

PAYLOAD_CHARACTERS = 10_000
POST_SCHEMA = pa.schema([(c.name, ARROW_TYPES[c.type]) for c in LANDED_COLUMNS])
REFUSED_SCHEMA = pa.schema(
    [
        (c.name, ARROW_TYPES[c.type])
        for c in QUARANTINED_FEEDBACK.columns
        if c.name not in ("collected_at", "segment")
    ]
)
UNREAD_DATES = 100
END_OF_DAY = timedelta(days=1, microseconds=-1)
DAY_NOT_OPEN = "the day of posting is not open"
DATE_UNREADABLE = "posted_at cannot be read as a date and time"
DATE_SWAPPED = "posted_at can be read only with day and month exchanged"
DELETIONS = ("delete", "deleted", "deletion", "remove", "removed", "d")
POSTS = (
    *("", "post", "create", "created", "insert", "add", "new", "c", "i", "r", "snapshot"),
    *("update", "updated", "edit", "edited", "upsert", "u"),
)
ID_SCIENTIFIC = "source_id is in scientific notation, as a spreadsheet writes long numbers"
WHOLE_NUMBER = r"\s*\+?\d+(\.\d*)?([eE]\+?\d+)?\s*"


@dataclass(frozen=True)
class OpenDays:
    """The days whose posts are let in, both included; other posts wait."""

    first: date
    last: date

    def __contains__(self, day: object) -> bool:
        return isinstance(day, date) and self.first <= day <= self.last

    def nearest(self, time: datetime) -> datetime:
        """Return `time`, or the nearest one on an open day."""
        return min(max(time, day_bounds(self.first)[0]), day_bounds(self.last)[0] + END_OF_DAY)


@dataclass(frozen=True)
class Delivery:
    """What is known of a delivery beside its records.

    Attributes:
        delivery_id: identity of its content; goes into the ids of refused records.
        file: name of the file, for people.
        observed_at: when the source showed these records.
        open_days: the days whose posts are let in.
    """

    delivery_id: str
    file: str
    observed_at: datetime
    open_days: OpenDays

    @property
    def undated_at(self) -> datetime:
        """Where a deletion stands that states no open day: observed_at, within the open days."""
        return self.open_days.nearest(self.observed_at)


@dataclass(frozen=True)
class CheckedPage:
    """A page under the contract.

    Attributes:
        posts: the good records (POST_SCHEMA).
        refused: the others (REFUSED_SCHEMA).
        identity: what the identifiers of all of them look like.
        unread_dates: some of the dates that could not be read, as the source wrote them.
    """

    posts: pa.Table
    refused: pa.Table
    identity: IdentityGuard
    unread_dates: tuple[str, ...] = ()


class PostContract:
    """Checks and types the records of one feed, page by page, also several pages at a time.

    A context manager, for the engine that it holds.

    Args:
        feed: configuration of the feed: date format, time zone, rating scale.
        author_key: key of the author hash.
        suppression: erased posts and authors; their records are replaced by tombstones.
    """

    def __init__(
        self, feed: AnyFeed, author_key: bytes, suppression: Suppression | None = None
    ) -> None:
        self.feed = feed
        self.author_key = author_key
        self.suppression = Suppression(author_key) if suppression is None else suppression
        self._connection = duckdb.connect()

    def __enter__(self) -> "PostContract":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def check(self, page: Page, delivery: Delivery) -> CheckedPage:
        """Type the records of `page`; a record that breaks the contract is refused, not dropped."""
        with self._connection.cursor() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            typed = self._typed(page.records, delivery, connection)
            identity = IdentityGuard.of(page.records, connection)
        is_good = pc.is_null(typed["reason"])
        posts = typed.filter(is_good).select(POST_SCHEMA.names).cast(POST_SCHEMA)
        posts = self.suppression.applied(posts)
        wrong = typed.filter(pc.invert(is_good)).select(
            [
                *("row_number", "position", "reason", "field"),
                *("source_id", "posted_at", "feedback_id", "author_id"),
            ]
        )
        unread = wrong.filter(pc.is_in(wrong["reason"], pa.array([DATE_UNREADABLE, DATE_SWAPPED])))
        dates = page.records["posted_at"].take(unread["position"]) if len(unread) else []
        refused = []
        for row in wrong.to_pylist():
            is_erased = self.suppression.holds(row["feedback_id"], row["author_id"])
            refused.append(
                self._refused(
                    delivery,
                    row["row_number"],
                    row["reason"],
                    field=row["field"],
                    payload=None if is_erased else page.payload(row["position"]),
                    source_id=None if is_erased else row["source_id"],
                    posted_date=row["posted_at"].date() if row["posted_at"] else None,
                )
            )
        refused += [
            self._refused(delivery, record.row_number, record.reason, payload=record.payload)
            for record in page.broken
        ]
        return CheckedPage(
            posts,
            pa.Table.from_pylist(refused, schema=REFUSED_SCHEMA),
            identity,
            tuple(str(date) for date in dates[:UNREAD_DATES]),
        )

    def is_erased(self, source_id: str, author_handle: str | None) -> bool:
        """True if a record of this post, or by this author, is to be replaced."""
        if not self.suppression:
            return False
        authors = hash_authors(pa.array([author_handle]), self.feed.platform, self.author_key)
        return self.suppression.holds(f"{self.feed.platform}:{source_id}", authors[0].as_py())

    def waiting(self, posts: pa.Table, delivery: Delivery) -> pa.Table:
        """Return quarantine rows (REFUSED_SCHEMA) for good posts whose day is not open.

        They hold no payload: the posts themselves wait in the landing zone, in their day's folder.
        """
        rows = posts.select(["source_id", "posted_at", "content_hash"]).to_pylist()
        return pa.Table.from_pylist(
            [
                self._refused(
                    delivery,
                    None,
                    DAY_NOT_OPEN,
                    field="posted_at",
                    source_id=row["source_id"],
                    posted_date=row["posted_at"].date(),
                    # A position is one of a page, and a delivery may have several.
                    place=f"w{position} {row['posted_at'].date()} {row['content_hash']}",
                )
                for position, row in enumerate(rows)
            ],
            schema=REFUSED_SCHEMA,
        )

    def _refused(
        self,
        delivery: Delivery,
        row_number: int | None,
        reason: str,
        *,
        field: str | None = None,
        payload: str | None = None,
        source_id: str | None = None,
        posted_date: date | None = None,
        place: str | None = None,
    ) -> dict[str, object]:
        identity = f"{delivery.delivery_id}|{place or row_number}|{field}|{reason}|{source_id}"
        return {
            "quarantine_id": sha256(identity.encode()).hexdigest(),
            "feed": self.feed.name,
            "source_id": source_id,
            "posted_date": posted_date,
            "reason": reason,
            "field": field,
            "contract_version": CONTRACT_VERSION,
            "payload": payload[:PAYLOAD_CHARACTERS] if payload is not None else None,
            "file": delivery.file,
            "row_number": row_number,
            "observed_at": delivery.observed_at,
        }

    def _typed(
        self, records: pa.Table, delivery: Delivery, connection: duckdb.DuckDBPyConnection
    ) -> pa.Table:
        """Add types, ids and hashes and, for a record that breaks the contract, field and reason."""
        for name in (*CONTRACT_FIELDS, "source_metadata"):
            if name not in records.column_names:
                records = records.append_column(name, pa.nulls(records.num_rows, pa.string()))
        author_ids = hash_authors(records["author_handle"], self.feed.platform, self.author_key)
        records = records.append_column("author_id", author_ids)
        records = records.append_column("position", pa.array(range(records.num_rows), pa.int64()))
        connection.register("records", records)
        low, high = self.feed.rating_scale or (0.0, 1.0)
        opened_at, closed_at = DaySpan(delivery.open_days.first, delivery.open_days.last).bounds
        typed = connection.execute(
            self._sql,
            {
                "feed": self.feed.name,
                "source": self.feed.platform,
                "observed_at": delivery.observed_at,
                "undated_at": delivery.undated_at,
                "opened_at": opened_at,
                "closed_at": closed_at,
                "low": low,
                "span": high - low,
                "scale": f"{low:g}..{high:g}",
            },
        ).to_arrow_table()
        connection.unregister("records")
        return typed

    @cached_property
    def _sql(self) -> str:
        """The contract as SQL: parse, then name the first rule that a record breaks, then hash."""
        counts = ("like_count", "share_count", "reply_count")
        optional = [
            ("edited_at", "edited_at cannot be read as a date and time"),
            ("rating", "rating is not a number within its scale"),
            ("label", "label is not negative, neutral or positive"),
            *((name, f"{name} is not a whole number of 0 or more") for name in counts),
        ]
        # A deletion needs nothing but an id: whatever else is wrong with it, the post is gone.
        rules = [
            ("source_id", "source_id is missing", is_blank("given_source_id")),
            ("source_id", ID_SCIENTIFIC, "is_scientific_id"),
            ("change", "change is neither a post nor a deletion", "is_deletion IS NULL"),
            ("is_deleted", "is_deleted is not true or false", "is_deleted IS NULL"),
            ("posted_at", "posted_at is missing", "is_kept AND given_posted_at IS NULL"),
            ("posted_at", DATE_SWAPPED, "is_kept AND posted_at IS NULL AND is_swapped_date"),
            ("posted_at", DATE_UNREADABLE, "is_kept AND posted_at IS NULL"),
            *(
                (name, reason, f"is_kept AND given_{name} IS NOT NULL AND {name} IS NULL")
                for name, reason in optional
            ),
            ("body", "body is empty", f"is_kept AND {is_blank('body')}"),
        ]
        problem = " ".join(
            f"WHEN {broken} THEN {{'field': '{field}', 'reason': '{reason}'}}"
            for field, reason, broken in rules
        )
        is_scientific = (
            "FALSE"
            if self.feed.trust_ids
            else f"regexp_full_match(trim(source_id), {sql_text(SCIENTIFIC)})"
        )
        # DuckDB's cast alone rounds 1.5 and reads 0x10.
        whole_numbers = ", ".join(
            f"CASE WHEN regexp_full_match({name}, {sql_text(WHOLE_NUMBER)})"
            f" AND TRY_CAST({name} AS DOUBLE) = trunc(TRY_CAST({name} AS DOUBLE))"
            f" THEN TRY_CAST({name} AS BIGINT) END AS {name}"
            for name in counts
        )
        erased = ", ".join(
            f"CASE WHEN is_deleted THEN NULL ELSE {name} END AS {name}"
            for name in (
                "body",
                "title",
                "author_id",
                "url",
                "source_metadata",
                "rating",
                "label",
                "topic",
            )
        )
        return f"""
        WITH parsed AS (
            SELECT row_number, position, body, title, author_id, conversation_id, parent_id, url,
                source_metadata, language AS language_hint,
                nullif(left(trim(topic), 200), '') AS topic,
                source_id AS given_source_id, posted_at AS given_posted_at,
                edited_at AS given_edited_at, rating AS given_rating, label AS given_label,
                like_count AS given_like_count,
                share_count AS given_share_count, reply_count AS given_reply_count,
                {is_scientific} AS is_scientific_id,
                {time_sql("posted_at", self.feed)} AS posted_at,
                CASE WHEN {time_sql("records.posted_at", self.feed)} IS NULL
                     THEN {is_swapped_sql("records.posted_at", self.feed)} END AS is_swapped_date,
                {time_sql("edited_at", self.feed)} AS edited_at,
                CASE WHEN (TRY_CAST(rating AS DOUBLE) - $low) / $span BETWEEN 0 AND 1
                     THEN (TRY_CAST(rating AS DOUBLE) - $low) / $span END AS rating,
                CASE WHEN lower(trim(label)) IN ('negative', 'neutral', 'positive')
                     THEN lower(trim(label)) END AS label,
                CASE WHEN is_deleted IS NULL THEN FALSE
                     WHEN lower(trim(is_deleted)) IN ('true', 't', 'yes', 'y', '1') THEN TRUE
                     WHEN lower(trim(is_deleted)) IN ('false', 'f', 'no', 'n', '0', '') THEN FALSE
                END AS is_flagged,
                CASE WHEN change IS NULL THEN FALSE
                     WHEN lower(trim(change)) IN ({sql_texts(DELETIONS)}) THEN TRUE
                     WHEN lower(trim(change)) IN ({sql_texts(POSTS)}) THEN FALSE
                END AS is_deletion,
                {whole_numbers}
            FROM records
        ), told AS (
            SELECT *, is_deletion OR is_flagged AS is_deleted, NOT is_deleted AS is_kept FROM parsed
        ), judged AS (
            SELECT *, CASE {problem} END AS problem FROM told
        ), emptied AS (
            SELECT * EXCLUDE (body, title, author_id, url, source_metadata, rating, label, topic), {erased}
            FROM judged
        )
        SELECT row_number, position, problem.field AS field, problem.reason AS reason,
            $source || ':' || given_source_id AS feedback_id, $feed AS feed, $source AS source,
            given_source_id AS source_id, {content_hash_sql()} AS content_hash,
            body, title, author_id,
            -- A deletion does not wait for its day to open.
            CASE WHEN problem IS NULL AND (posted_at IS NULL OR is_deleted
                    AND NOT (posted_at >= $opened_at AND posted_at < $closed_at))
                 THEN CAST($undated_at AS TIMESTAMPTZ) ELSE posted_at END AS posted_at,
            edited_at, CAST($observed_at AS TIMESTAMPTZ) AS observed_at, is_deleted, language_hint, rating,
            CASE WHEN rating IS NOT NULL THEN $scale END AS rating_scale, label, topic,
            conversation_id, parent_id, url, like_count, share_count, reply_count, source_metadata
        FROM emptied
        """


def content_hash_sql() -> str:
    """SQL for `content_hash`: SHA-256 over the fields that change what a post says.

    Each of body, title, rating and is_deleted contributes '<bytes>:<NFC text>;', or 'null;',
    so that null differs from empty and no two different posts give the same input.
    """
    parts = []
    for field in ("body", "title", "rating", "is_deleted"):
        text = _nfc(field) if field in ("body", "title") else f"{field}::VARCHAR"
        parts.append(f"coalesce(strlen({text})::VARCHAR || ':' || {text} || ';', 'null;')")
    return f"sha256({' || '.join(parts)})"


def _nfc(field: str) -> str:
    """SQL for NFC of `field`, part by part: DuckDB 1.5's nfc_normalize ends at the first NUL."""
    parts = f"list_transform(string_split({field}, chr(0)), lambda part: nfc_normalize(part))"
    return (
        f"CASE WHEN NOT regexp_matches({field}, {sql_text(MAY_CHANGE)}) THEN {field}"
        f" WHEN contains({field}, chr(0)) THEN array_to_string({parts}, chr(0))"
        f" ELSE nfc_normalize({field}) END"
    )


def is_blank(field: str) -> str:
    """SQL that is true where `field` is null or nothing but white space of any kind."""
    return f"NOT regexp_matches(coalesce({field}, ''), '[^\\s\\p{{Z}}]')"
