"""Questions to the published snapshot under a reader's filter, whose values are bound and never become SQL."""

import io
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa
from pyarrow import csv

from data_platform.errors import DataPlatformError
from data_platform.reporting.report import incident_title
from data_platform.reporting.safe_text import JOINERS
from data_platform.schemas import SCHEMA_VERSION
from data_platform.sentiment.intervals import wilson_sql
from data_platform.storage.days import day_bounds

NOT_SCORED = "not scored"
LABELS = ("negative", "neutral", "positive", NOT_SCORED)
OTHER_FEEDS = "other feeds"
MEMBERS_SHOWN = 15
CSV_POSTS = 100_000

Rows = list[dict[str, Any]]
Identity = tuple[int, int, int]
Group = Literal["date", "week", "feed", "language", "topic"]
Order = Literal["newest", "most negative", "most positive", "most reactions"]


class UnreadableSnapshotError(DataPlatformError):
    """The published file is damaged, or of another release; its message says what mends it."""


@dataclass(frozen=True)
class Filter:
    """What a reader wants to see; an empty tuple means all of it, also what has none.

    Attributes:
        first: first day (UTC), included.
        last: last day (UTC), included.
        labels: members of LABELS.
        search: words that a text must hold, in any order, as parts of words too; case is ignored.
    """

    first: date
    last: date
    feeds: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    search: str = ""

    @property
    def day_count(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def before(self) -> "Filter":
        """The same for the period of equal length that ends the day before."""
        return replace(
            self,
            first=self.first - timedelta(days=self.day_count),
            last=self.first - timedelta(days=1),
        )


@dataclass(frozen=True)
class Scope:
    """What there is to choose from.

    Attributes:
        first: day of the earliest post (UTC); null if there is none.
        last: day of the latest.
        feeds: the one with most posts first.
        languages: ISO 639 codes, the one with most posts first.
        topics: by name.
    """

    first: date | None
    last: date | None
    post_count: int
    feeds: tuple[str, ...]
    languages: tuple[str, ...]
    topics: tuple[str, ...]


@dataclass(frozen=True)
class Snapshot:
    """One state of the published file, open for reading.

    Attributes:
        identity: differs whenever another file was published.
    """

    connection: duckdb.DuckDBPyConnection
    identity: Identity
    published_at: datetime


def identity_of(path: Path) -> Identity | None:
    """Return what tells one published file from the next; None if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


@contextmanager
def opened(path: Path) -> Iterator[Snapshot]:
    """Open the snapshot and close it again, so that no replaced file is held.

    It is attached to a database in memory: `duckdb.connect` to a path that another thread still
    has open would return that one's file, also when it was replaced since (DuckDB 1.5).

    Raises:
        FileNotFoundError: nothing is published yet.
        UnreadableSnapshotError: the file is damaged, or of another release.
    """
    place = str(path).replace("'", "''")
    with duckdb.connect(":memory:", config={"temp_directory": ""}) as connection:
        while True:
            seen = path.stat()
            try:
                connection.execute(f"ATTACH '{place}' AS snapshot (READ_ONLY)")
                if identity_of(path) == (seen.st_ino, seen.st_mtime_ns, seen.st_size):
                    break
                connection.execute("DETACH snapshot")
            except duckdb.Error as error:
                if not path.exists():
                    raise FileNotFoundError(str(path)) from error
                message = f"{path} is no snapshot; data-platform publish builds it anew."
                raise UnreadableSnapshotError(message) from error
        for setting in (
            "USE snapshot",
            "SET TimeZone = 'UTC'",
            "SET enable_external_access = false",
            "SET lock_configuration = true",
        ):
            connection.execute(setting)
        _require_this_release(connection, path)
        identity = seen.st_ino, seen.st_mtime_ns, seen.st_size
        yield Snapshot(connection, identity, datetime.fromtimestamp(seen.st_mtime, UTC))


def _require_this_release(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    try:
        ((version,),) = connection.execute("SELECT max(version) FROM schema_version").fetchall()
    except duckdb.Error:
        version = None
    if version != SCHEMA_VERSION:
        message = (
            f"{path} was published by another release (version {version}, this one reads"
            f" {SCHEMA_VERSION}); data-platform publish builds it anew."
        )
        raise UnreadableSnapshotError(message)


def read_scope(connection: duckdb.DuckDBPyConnection) -> Scope:
    """Return the days, feeds, languages and topics that there are posts of."""
    ((first, last, count),) = connection.execute(
        "SELECT min(date), max(date), coalesce(sum(post_count), 0)::BIGINT FROM daily_sentiment"
    ).fetchall()
    feeds, languages = (
        connection.execute(
            f"SELECT {column} FROM daily_sentiment GROUP BY {column}"
            f" ORDER BY sum(post_count) DESC, {column}"
        ).fetchall()
        for column in ("feed", "language")
    )
    topics = connection.execute("SELECT DISTINCT topic FROM topic_sentiment ORDER BY 1").fetchall()
    names = (tuple(name for (name,) in found) for found in (feeds, languages, topics))
    return Scope(first, last, count, *names)


# Which rows of `posts` or `counts` a filter lets through; both have these columns.
_CHOSEN = """
    (len($feeds) = 0 OR list_contains($feeds, feed))
    AND (len($languages) = 0 OR list_contains($languages, language))
    AND (len($topics) = 0 OR list_contains($topics, topic))
"""
_POSTS = f"""
    FROM (
        SELECT c.posted_at, c.feedback_id, c.feed, c.language, f.topic, c.body_clean,
            coalesce(s.label, '{NOT_SCORED}') AS label, s.compound,
            f.like_count, f.share_count, f.reply_count
        FROM cleaned_feedback c
        JOIN fct_feedback f ON f.feedback_id = c.feedback_id AND f.posted_at = c.posted_at
        LEFT JOIN current_sentiment s
            ON s.feedback_id = c.feedback_id AND s.posted_at = c.posted_at
        WHERE c.posted_at >= $begin AND c.posted_at < $until AND (len($words) = 0 OR list_bool_and(
            [contains(lower(c.body_clean), lower(word)) for word in $words]))
    )
    WHERE {_CHOSEN}
"""


def daily_counts(connection: duckdb.DuckDBPyConnection, wanted: Filter) -> pa.Table:
    """Return how many posts of each label there are by day, feed, language and topic.

    Args:
        wanted: its labels are not looked at.

    Returns:
        date, feed, language, topic (null: none), negative, neutral, positive, not_scored; what
        `sums` adds up.
    """
    columns = ", ".join(
        f"count(*) FILTER (label = '{label}') AS {label.replace(' ', '_')}" for label in LABELS
    )
    return connection.execute(
        f"SELECT timezone('UTC', posted_at)::DATE AS date, feed, language, topic, {columns} {_POSTS}"
        " GROUP BY ALL ORDER BY ALL",
        _bound(wanted, "begin", "until", "words"),
    ).to_arrow_table()


_GROUPS: Mapping[Group, str] = {
    "date": "date",
    "week": "date_trunc('week', date)::DATE AS date",
    "feed": "CASE WHEN len($drawn) = 0 OR list_contains($drawn, feed) THEN feed"
    f" ELSE '{OTHER_FEEDS}' END AS feed",
    "language": "language",
    "topic": "topic",
}
_CHOSEN_LABELS = " + ".join(
    f"if(len($labels) = 0 OR list_contains($labels, '{label}'), {label.replace(' ', '_')}, 0)"
    for label in LABELS
)


def sums(
    connection: duckdb.DuckDBPyConnection,
    counts: pa.Table,
    wanted: Filter,
    by: Sequence[Group] = (),
    drawn: Sequence[str] = (),
) -> Rows:
    """Return what `counts` add up to under a filter, in groups; ordered by them.

    Args:
        counts: what `daily_counts` returns.
        wanted: its search is not looked at; its labels decide on `posts` alone, for a share among
            posts of one label says nothing.
        by: groups; "week" begins on Monday, and comes as date.
        drawn: feeds that keep their name, the others are one; empty: all do.

    Returns:
        The groups; posts, scored, negative, neutral, positive; net (positive - negative over
        scored, -1 to 1), negative_share and its 95 % Wilson interval negative_low_share and
        negative_high_share, null where nothing is scored.
    """
    groups = "".join(f"{_GROUPS[group]}, " for group in by)
    parameters = {**_bound(wanted, "labels"), "first": wanted.first, "last": wanted.last}
    connection.register("counts", counts)
    try:
        return _rows(
            connection,
            f"""
            SELECT {groups} sum({_CHOSEN_LABELS})::BIGINT AS posts, sum(not_scored)::BIGINT AS rest,
                sum(negative)::BIGINT AS negative, sum(neutral)::BIGINT AS neutral,
                sum(positive)::BIGINT AS positive,
                coalesce(sum(negative + neutral + positive), 0)::BIGINT AS scored,
                (sum(positive) - sum(negative))
                    / nullif(sum(negative + neutral + positive), 0)::DOUBLE AS net,
                {wilson_sql("sum(negative)", "sum(negative + neutral + positive)")}
            FROM counts WHERE date BETWEEN $first AND $last AND {_CHOSEN}
            {"GROUP BY ALL" if by else ""}
            {"ORDER BY ALL" if by else ""}
            """,
            parameters | ({"drawn": list(drawn)} if "feed" in by else {}),
        )
    finally:
        connection.unregister("counts")


_ORDERS: Mapping[Order, str] = {
    "newest": "posted_at DESC, feedback_id",
    "most negative": "compound NULLS LAST, posted_at DESC, feedback_id",
    "most positive": "compound DESC NULLS LAST, posted_at DESC, feedback_id",
    "most reactions": "coalesce(like_count, 0) + coalesce(share_count, 0)"
    " + coalesce(reply_count, 0) DESC, posted_at DESC, feedback_id",
}
ORDERS: tuple[Order, ...] = tuple(_ORDERS)
# Unicode's category C (control, format, surrogate, private) without what joins emoji and letters.
_UNSHOWN = rf"[^\P{{C}}{JOINERS}]+"
_LABELLED = "(len($labels) = 0 OR list_contains($labels, label))"


def posts(
    connection: duckdb.DuckDBPyConnection, wanted: Filter, order: Order, limit: int, offset: int = 0
) -> pa.Table:
    """Return a page of the posts that a filter lets through.

    Returns:
        posted_at (UTC), feed, language, topic, label, compound, text, like_count, share_count,
        reply_count; the last three are null where the feed does not tell. Topic and text are one
        line, without control and direction characters.
    """
    return connection.execute(
        f"""
        SELECT posted_at, feed, language,
            trim(regexp_replace(topic, $unshown, ' ', 'g')) AS topic, label, compound,
            trim(regexp_replace(body_clean, $unshown, ' ', 'g')) AS text,
            like_count, share_count, reply_count
        FROM (SELECT * {_POSTS} AND {_LABELLED} ORDER BY {_ORDERS[order]}
            LIMIT $limit OFFSET $offset)
        """,
        {
            **_bound(wanted, "begin", "until", "words", "labels"),
            "limit": limit,
            "offset": offset,
            "unshown": _UNSHOWN,
        },
    ).to_arrow_table()


# What a spreadsheet takes for a formula: OWASP, CSV Injection (2024); also in full width.
_FORMULA = r"^[=+\-@\t\r\n＝＋－＠]"


def posts_csv(connection: duckdb.DuckDBPyConnection, wanted: Filter, order: Order) -> bytes:
    """Return the first CSV_POSTS posts that a filter lets through as CSV that spreadsheets may open.

    In UTF-8 with a byte order mark; text is quoted, and begins with an apostrophe where it would
    be a formula; numbers stay numbers.
    """
    page = posts(connection, wanted, order, CSV_POSTS)
    connection.register("page", page)
    try:
        columns = ", ".join(
            f"if(regexp_matches({field.name}, $formula), '''' || {field.name}, {field.name})"
            f" AS {field.name}"
            if pa.types.is_string(field.type)
            else field.name
            for field in page.schema
            if field.name != "posted_at"
        )
        safe = connection.execute(
            f"SELECT strftime(timezone('UTC', posted_at), '%Y-%m-%d %H:%M:%S') AS posted_at_utc,"
            f" {columns} FROM page",
            {"formula": _FORMULA},
        ).to_arrow_table()
    finally:
        connection.unregister("page")
    stream = io.BytesIO()
    stream.write("\ufeff".encode())
    csv.write_csv(safe, stream)
    return stream.getvalue()


def incidents(connection: duckdb.DuckDBPyConnection, wanted: Filter) -> Rows:
    """Return the incidents of the filter's feeds and topics in its days, the latest first.

    Returns:
        The columns of incidents, and `what` happened in words.
    """
    rows = _rows(
        connection,
        """
        SELECT * FROM incidents WHERE last_date >= $first AND first_date <= $last
            AND (len($feeds) = 0 OR list_contains($feeds, feed))
            AND (len($topics) = 0 OR topic = 'all' OR list_contains($topics, topic))
        ORDER BY first_date DESC, abs(score) DESC, incident_id
        """,
        {
            "first": wanted.first,
            "last": wanted.last,
            "feeds": list(wanted.feeds),
            "topics": list(wanted.topics),
        },
    )
    return [{**row, "what": incident_title(row)} for row in rows]


def term_periods(connection: duckdb.DuckDBPyConnection) -> list[tuple[date, date]]:
    """Return the periods that rising terms are known of, the latest first."""
    return connection.execute(
        "SELECT DISTINCT first_date, last_date FROM rising_terms ORDER BY last_date DESC, first_date"
    ).fetchall()


def rising_terms(
    connection: duckdb.DuckDBPyConnection, period: tuple[date, date], wanted: Filter
) -> pa.Table:
    """Return the terms that rose in a period, in the filter's feeds and languages.

    Returns:
        term, feed, language, post_count, share, baseline_share, net_sentiment_share; the term that
        stands out most first.
    """
    return connection.execute(
        """
        SELECT term, feed, language, post_count, share, baseline_share, net_sentiment_share
        FROM rising_terms WHERE first_date = $first AND last_date = $last
            AND (len($feeds) = 0 OR list_contains($feeds, feed))
            AND (len($languages) = 0 OR list_contains($languages, language))
        ORDER BY score DESC, term, feed, language
        """,
        {
            "first": period[0],
            "last": period[1],
            "feeds": list(wanted.feeds),
            "languages": list(wanted.languages),
        },
    ).to_arrow_table()


def source_health(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """Return source_health, with the days of each feed and how many of them are complete."""
    return connection.execute(
        """
        SELECT h.*, c.days, c.complete_days FROM source_health h LEFT JOIN (
            SELECT feed, count(*) AS days, count(*) FILTER (status = 'complete') AS complete_days
            FROM feed_coverage GROUP BY feed) c USING (feed)
        ORDER BY feed
        """
    ).to_arrow_table()


def coverage(connection: duckdb.DuckDBPyConnection, first: date, last: date) -> Rows:
    """Return date, feed, status and covered_share (0 to 1) of each feed's days."""
    return _rows(
        connection,
        "SELECT date, feed, status, covered_share FROM feed_coverage"
        " WHERE date BETWEEN $first AND $last ORDER BY date, feed",
        {"first": first, "last": last},
    )


def agreement(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """Return how the scores agree with people, feed by feed, all languages together.

    Returns:
        feed, truth, sample_count; precision_share and recall_share to two decimals; f1_share and
        its 95 % interval. All are means over the classes.
    """
    return connection.execute(
        "SELECT feed, truth, sample_count, round(precision_share, 2) AS precision_share,"
        " round(recall_share, 2) AS recall_share, f1_share, f1_low_share, f1_high_share"
        " FROM sentiment_evaluation WHERE language = 'all' AND label = 'macro'"
        " ORDER BY feed, truth"
    ).to_arrow_table()


def _bound(wanted: Filter, *names: str) -> dict[str, object]:
    """Return the parameters of _CHOSEN, and those of `names`."""
    text = unicodedata.normalize("NFC", wanted.search)
    extra = {
        "begin": day_bounds(wanted.first)[0],
        "until": day_bounds(wanted.last)[1],
        "words": text.split(),
        "labels": list(wanted.labels),
    }
    return {
        "feeds": list(wanted.feeds),
        "languages": list(wanted.languages),
        "topics": list(wanted.topics),
        **{name: extra[name] for name in names},
    }


def _rows(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, object]
) -> Rows:
    rows: Rows = connection.execute(sql, parameters).to_arrow_table().to_pylist()
    return rows
