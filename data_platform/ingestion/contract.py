"""The post contract: turns a page of text records into typed posts and refused records, with the reason for each."""

from dataclasses import dataclass
from datetime import date, datetime
from hashlib import sha256

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from data_platform.ingestion.authors import hash_authors
from data_platform.ingestion.connectors.pages import Page
from data_platform.schemas import (
    ARROW_TYPES,
    CONTRACT_VERSION,
    LANDED_COLUMNS,
    QUARANTINED_FEEDBACK,
)
from data_platform.settings import CONTRACT_FIELDS, FileFeed

PAYLOAD_CHARACTERS = 10_000
POST_SCHEMA = pa.schema([(c.name, ARROW_TYPES[c.type]) for c in LANDED_COLUMNS])
REFUSED_SCHEMA = pa.schema(
    [
        (c.name, ARROW_TYPES[c.type])
        for c in QUARANTINED_FEEDBACK.columns
        if c.name not in ("collected_at", "segment")
    ]
)
DAY_NOT_OPEN = "the day of posting is not open"
# ISO 8601 dates, with or without time and zone; the zone as Z, UTC, +01, +0100 or +01:00.
ZONE = r"(Z|z|UTC|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)"
ISO_TIME = rf"\d{{4}}-\d{{2}}-\d{{2}}([T ]\d{{2}}:\d{{2}}(:\d{{2}}([.,]\d{{1,9}})?)?\s*{ZONE}?)?"
# RFC 5322 3.3 (the weekday is optional), and the dates of Twitter's API v1.1: always with a zone.
ZONED_FORMATS = (
    "%a, %d %b %Y %H:%M:%S %z",
    "%d %b %Y %H:%M:%S %z",
    "%a %b %d %H:%M:%S %z %Y",
)
EPOCH_UNITS = {"epoch_seconds": 1, "epoch_milliseconds": 1000}
LAST_EPOCH_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z
# What Python, Arrow and the names of day folders can hold, each with a day to spare for time zones.
FIRST_TIME, LAST_TIME = "1000-01-01 00:00:00+00", "9999-12-30 23:59:59.999999+00"
WHOLE_NUMBER = r"\s*\+?\d+(\.\d*)?([eE]\+?\d+)?\s*"


@dataclass(frozen=True)
class Delivery:
    """What is known of a delivery beside its records.

    Attributes:
        delivery_id: identity of its content; goes into the ids of refused records.
        file: name of the file, for people.
        observed_at: when the source showed these records.
    """

    delivery_id: str
    file: str
    observed_at: datetime


@dataclass(frozen=True)
class CheckedPage:
    """A page under the contract: `posts` (POST_SCHEMA) and `refused` (REFUSED_SCHEMA)."""

    posts: pa.Table
    refused: pa.Table


class PostContract:
    """Checks and types the records of one feed; a context manager, for the engine that it holds.

    Args:
        feed: configuration of the feed: date format, time zone, rating scale.
        author_key: key of the author hash.
    """

    def __init__(self, feed: FileFeed, author_key: bytes) -> None:
        self.feed = feed
        self.author_key = author_key
        self._connection = duckdb.connect()
        self._connection.execute("SET TimeZone = 'UTC'")

    def __enter__(self) -> "PostContract":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def check(self, page: Page, delivery: Delivery) -> CheckedPage:
        """Type the records of `page`; a record that breaks the contract is refused, not dropped."""
        typed = self._typed(page.records, delivery)
        is_good = pc.is_null(typed["reason"])
        posts = typed.filter(is_good).select(POST_SCHEMA.names).cast(POST_SCHEMA)
        wrong = typed.filter(pc.invert(is_good)).select(
            ["row_number", "position", "reason", "field", "source_id", "posted_at"]
        )
        refused = [
            self._refused(
                delivery,
                row["row_number"],
                row["reason"],
                field=row["field"],
                payload=page.payload(row["position"]),
                source_id=row["source_id"],
                posted_date=row["posted_at"].date() if row["posted_at"] else None,
            )
            for row in wrong.to_pylist()
        ]
        refused += [
            self._refused(delivery, record.row_number, record.reason, payload=record.payload)
            for record in page.broken
        ]
        return CheckedPage(posts, pa.Table.from_pylist(refused, schema=REFUSED_SCHEMA))

    def waiting(self, posts: pa.Table, delivery: Delivery) -> pa.Table:
        """Return quarantine rows (REFUSED_SCHEMA) for good posts whose day is not open.

        They hold no payload: the posts themselves wait in the landing zone, in their day's folder.
        """
        rows = posts.select(["feedback_id", "source_id", "posted_at"]).to_pylist()
        return pa.Table.from_pylist(
            [
                self._refused(
                    delivery,
                    None,
                    DAY_NOT_OPEN,
                    field="posted_at",
                    source_id=row["source_id"],
                    posted_date=row["posted_at"].date(),
                    number_in_delivery=position,
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
        number_in_delivery: int | None = None,
    ) -> dict[str, object]:
        place = row_number if row_number is not None else f"w{number_in_delivery} {posted_date}"
        identity = f"{delivery.delivery_id}|{place}|{field}|{reason}|{source_id}"
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
        }

    def _typed(self, records: pa.Table, delivery: Delivery) -> pa.Table:
        """Add types, ids and hashes and, for a record that breaks the contract, field and reason."""
        for name in (*CONTRACT_FIELDS, "source_metadata"):
            if name not in records.column_names:
                records = records.append_column(name, pa.nulls(records.num_rows, pa.string()))
        author_ids = hash_authors(records["author_handle"], self.feed.platform, self.author_key)
        records = records.append_column("author_id", author_ids)
        records = records.append_column("position", pa.array(range(records.num_rows), pa.int64()))
        self._connection.register("records", records)
        try:
            low, high = self.feed.rating_scale or (0.0, 1.0)
            return self._connection.execute(
                self._sql(),
                {
                    "feed": self.feed.name,
                    "source": self.feed.platform,
                    "observed_at": delivery.observed_at,
                    "low": low,
                    "span": high - low,
                    "scale": f"{low:g}..{high:g}",
                },
            ).to_arrow_table()
        finally:
            self._connection.unregister("records")

    def _sql(self) -> str:
        """The contract as SQL: parse, then name the first rule that a record breaks, then hash."""
        counts = ("like_count", "share_count", "reply_count")
        optional = [
            ("edited_at", "edited_at cannot be read as a date and time"),
            ("rating", "rating is not a number within its scale"),
            ("label", "label is not negative, neutral or positive"),
            ("is_deleted", "is_deleted is not true or false"),
            *((name, f"{name} is not a whole number of 0 or more") for name in counts),
        ]
        rules = [
            ("source_id", "source_id is missing", is_blank("given_source_id")),
            ("posted_at", "posted_at is missing", "given_posted_at IS NULL"),
            ("posted_at", "posted_at cannot be read as a date and time", "posted_at IS NULL"),
            *(
                (name, reason, f"given_{name} IS NOT NULL AND {name} IS NULL")
                for name, reason in optional
            ),
            ("body", "body is empty", f"NOT is_deleted AND {is_blank('body')}"),
        ]
        problem = " ".join(
            f"WHEN {broken} THEN {{'field': '{field}', 'reason': '{reason}'}}"
            for field, reason, broken in rules
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
            for name in ("body", "title", "author_id", "url", "source_metadata", "rating", "label")
        )
        return f"""
        WITH parsed AS (
            SELECT row_number, position, body, title, author_id, conversation_id, parent_id, url,
                source_metadata, language AS language_hint,
                source_id AS given_source_id, posted_at AS given_posted_at,
                edited_at AS given_edited_at, rating AS given_rating, label AS given_label,
                is_deleted AS given_is_deleted, like_count AS given_like_count,
                share_count AS given_share_count, reply_count AS given_reply_count,
                {self._time("posted_at")} AS posted_at,
                {self._time("edited_at")} AS edited_at,
                CASE WHEN (TRY_CAST(rating AS DOUBLE) - $low) / $span BETWEEN 0 AND 1
                     THEN (TRY_CAST(rating AS DOUBLE) - $low) / $span END AS rating,
                CASE WHEN lower(trim(label)) IN ('negative', 'neutral', 'positive')
                     THEN lower(trim(label)) END AS label,
                CASE WHEN is_deleted IS NULL THEN FALSE
                     WHEN lower(trim(is_deleted)) IN ('true', 't', 'yes', 'y', '1') THEN TRUE
                     WHEN lower(trim(is_deleted)) IN ('false', 'f', 'no', 'n', '0', '') THEN FALSE
                END AS is_deleted,
                {whole_numbers}
            FROM records
        ), judged AS (
            SELECT *, CASE {problem} END AS problem FROM parsed
        ), emptied AS (
            SELECT * EXCLUDE (body, title, author_id, url, source_metadata, rating, label), {erased}
            FROM judged
        )
        SELECT row_number, position, problem.field AS field, problem.reason AS reason,
            $source || ':' || given_source_id AS feedback_id, $feed AS feed, $source AS source,
            given_source_id AS source_id, {content_hash_sql()} AS content_hash,
            body, title, author_id, posted_at, edited_at,
            CAST($observed_at AS TIMESTAMPTZ) AS observed_at, is_deleted, language_hint, rating,
            CASE WHEN rating IS NOT NULL THEN $scale END AS rating_scale, label,
            conversation_id, parent_id, url, like_count, share_count, reply_count, source_metadata
        FROM emptied ORDER BY position
        """

    def _time(self, field: str) -> str:
        """SQL that reads `field` as TIMESTAMPTZ; null where it cannot be read or no date can hold it."""
        read = f"CAST({self._read_time(field)} AS TIMESTAMPTZ)"
        window = f"TIMESTAMPTZ {sql_text(FIRST_TIME)} AND TIMESTAMPTZ {sql_text(LAST_TIME)}"
        # A date has a digit: DuckDB also reads the words 'epoch' and 'infinity'.
        return f"CASE WHEN regexp_matches({field}, '[0-9]') AND {read} BETWEEN {window} THEN {read} END"

    def _read_time(self, field: str) -> str:
        pattern = self.feed.posted_at_format
        zone = sql_text(self.feed.timezone)
        if pattern in EPOCH_UNITS:
            seconds = f"TRY_CAST({field} AS DOUBLE) / {EPOCH_UNITS[pattern]}"
            return f"CASE WHEN {seconds} BETWEEN 0 AND {LAST_EPOCH_SECOND} THEN to_timestamp({seconds}) END"
        if pattern is not None:
            parsed = f"try_strptime({field}, {sql_text(pattern)})"
            return parsed if "%z" in pattern or "%Z" in pattern else f"timezone({zone}, {parsed})"
        # The clock part starts at the 11th character; a date's own dashes are no zone.
        clock = (
            f"regexp_replace(replace(substr({field}, 11), ',', '.'), '\\s*(Z|z|UTC)$', '+00:00')"
        )
        clock = f"regexp_replace({clock}, '\\s*([+-]\\d{{2}}):?(\\d{{2}})$', '\\1:\\2')"
        clock = f"regexp_replace({clock}, '\\s+([+-]\\d{{2}})$', '\\1')"
        clock = f"regexp_replace({clock}, '^(.\\d{{2}}:\\d{{2}})([+-]|$)', '\\1:00\\2')"
        is_zoned = f"regexp_matches(substr({field}, 11), {sql_text(ZONE + '$')})"
        # RFC 5322 4.3: GMT and UT are old ways to write +0000; HTTP and RSS still do.
        worded = f"regexp_replace({field}, '\\s(GMT|UTC?|Z)$', ' +0000')"
        formats = ", ".join(sql_text(f) for f in ZONED_FORMATS)
        return f"""CASE
            WHEN NOT regexp_full_match({field}, {sql_text(ISO_TIME)})
                THEN try_strptime({worded}, [{formats}])
            WHEN {is_zoned} THEN TRY_CAST(substr({field}, 1, 10) || {clock} AS TIMESTAMPTZ)
            ELSE timezone({zone}, TRY_CAST({field} AS TIMESTAMP)) END"""


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
        f"CASE WHEN contains({field}, chr(0)) THEN array_to_string({parts}, chr(0))"
        f" ELSE nfc_normalize({field}) END"
    )


def is_blank(field: str) -> str:
    """SQL that is true where `field` is null or nothing but white space of any kind."""
    return f"NOT regexp_matches(coalesce({field}, ''), '[^\\s\\p{{Z}}]')"


def sql_text(text: str) -> str:
    """Return `text` as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"
