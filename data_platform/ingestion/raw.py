"""Loading landed posts into raw_feedback: versions, merges and tombstones of each post, in any order of arrival."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime

import duckdb
import pyarrow as pa

from data_platform.errors import InputMovedError
from data_platform.ingestion.contract import DAY_NOT_OPEN, POST_SCHEMA, REFUSED_SCHEMA
from data_platform.schemas import (
    LANDED_COLUMNS,
    LOADED_SEGMENTS,
    QUARANTINED_FEEDBACK,
    RAW_FEEDBACK,
)
from data_platform.storage.days import DaySpan
from data_platform.storage.landing import COLLECTED_AT, LandingZone, Segment
from data_platform.storage.warehouse import (
    DayWrite,
    MergeCounts,
    RuleResult,
    Transaction,
    days_filter,
)

VERSION_FIELDS = {
    "feedback_id",
    "source",
    "source_id",
    "content_hash",
    "body",
    "title",
    "is_deleted",
}
# What a record says beside its version: the canonical JSON of a tie, in alphabetical order. The
# author comes last: its hash depends on this installation's key, the winner hardly ever does.
OBSERVED_FIELDS = (
    *sorted({c.name for c in LANDED_COLUMNS} - VERSION_FIELDS - {"observed_at", "author_id"}),
    "author_id",
)
PERSONAL_FIELDS = (
    "body",
    "title",
    "author_id",
    "url",
    "source_metadata",
    "rating",
    "rating_scale",
    "label",
    "topic",
)


def load_days(
    transaction: Transaction,
    landing: LandingZone,
    feeds: Sequence[str],
    days: DaySpan,
    *,
    is_anew: bool = False,
) -> list[DayWrite]:
    """Load the segments of `days` that are not loaded yet, in the caller's transaction.

    Posts of other days change too when a post's `posted_at` was corrected: the old row goes in
    the same transaction, and those days are returned as well.

    Args:
        is_anew: load all segments of `days` again, for some of them were rewritten in place.

    Returns:
        A write for each of `days`, first, then one for each other day that changed.

    Raises:
        InputMovedError: a collection replaced a segment after it was listed.
    """
    connection = transaction.connection
    present = {segment.path: segment for day in days for segment in landing.segments(feeds, day)}
    loaded: dict[date, set[str]] = {day: set() for day in days}
    for day, path in connection.execute(
        f"SELECT day, segment FROM {LOADED_SEGMENTS.name}"
        " WHERE day BETWEEN ? AND ? AND list_contains(?, feed)",
        [days.first, days.last, list(feeds)],
    ).fetchall():
        loaded[day].add(path)
    touched = set(days)
    elsewhere: list[Segment] = []
    # A delivery was read again under another mapping: the day is loaded anew from what is there.
    replaced = [day for day, paths in loaded.items() if is_anew or paths - present.keys()]
    if replaced:
        touched |= _forget_days(transaction, replaced, feeds)
        elsewhere = _segments_elsewhere(transaction, landing, replaced, feeds)
        loaded |= {day: set() for day in replaced}
    known_paths = set().union(*loaded.values())
    fresh = [present[path] for path in sorted(present.keys() - known_paths)]
    columns = ", ".join(
        c.name
        for c in RAW_FEEDBACK.columns
        if c.name not in ("stated_posted_at", "version_at", "is_current")
    )
    arrived = (
        f"SELECT {columns}, posted_at AS stated_posted_at, row_number() OVER () + ? AS arrival"
        " FROM landed"
    )
    connection.register("landed", _reader(landing, fresh))
    with _remaining(landing, fresh):
        connection.execute(f"CREATE TEMP TABLE arrived AS {arrived}", [0])
    if elsewhere:
        fresh_count = transaction.count("SELECT count(*) FROM arrived")
        connection.register("landed", _reader(landing, elsewhere))
        with _remaining(landing, elsewhere):
            connection.execute(
                f"INSERT INTO arrived {arrived}"
                " WHERE feedback_id IN (SELECT feedback_id FROM forgotten)",
                [fresh_count],
            )
    # Two steps: the days from two narrow columns first, then all columns of those days only.
    known_days = [
        found
        for (found,) in connection.execute(
            f"SELECT DISTINCT {RAW_FEEDBACK.day_expression()} FROM {RAW_FEEDBACK.name}"
            " WHERE feedback_id IN (SELECT feedback_id FROM arrived)"
        ).fetchall()
    ]
    window, bounds = days_filter(RAW_FEEDBACK, DaySpan.around(known_days or days))
    connection.execute(
        f"CREATE TEMP TABLE known AS SELECT {columns}, stated_posted_at,"
        f" -row_number() OVER () AS arrival FROM {RAW_FEEDBACK.name} WHERE {window}"
        " AND feedback_id IN (SELECT feedback_id FROM arrived)",
        bounds,
    )
    connection.execute(_resolve_sql())
    fates = _record_fates(transaction, fresh, days)
    touched |= set(known_days) | {
        found
        for (found,) in connection.execute(
            f"SELECT DISTINCT {RAW_FEEDBACK.day_expression()} FROM resolved"
        ).fetchall()
    }
    counts = transaction.merge_days(
        RAW_FEEDBACK,
        DaySpan.around(touched),
        "resolved",
        delete_where="t.feedback_id IN (SELECT feedback_id FROM arrived)",
    )
    writes = [
        write.with_numbers(**fates[write.day])
        for write in transaction.seal_days(RAW_FEEDBACK, days, counts, {})
    ]
    for day in sorted(touched - set(days)):
        writes += transaction.seal_days(RAW_FEEDBACK, DaySpan.of(day), counts, {})
    return writes


def _reader(landing: LandingZone, segments: Sequence[Segment]) -> pa.RecordBatchReader:
    schema = pa.schema([*POST_SCHEMA, COLLECTED_AT, pa.field("segment", pa.string())])
    return pa.RecordBatchReader.from_batches(schema, landing.read(segments, POST_SCHEMA))


@contextmanager
def _remaining(landing: LandingZone, segments: Sequence[Segment]) -> Iterator[None]:
    """Tell a segment that went away while DuckDB read it from every other failure.

    Raises:
        InputMovedError: one of `segments` is not there any more.
    """
    try:
        yield
    except duckdb.Error as error:
        gone = [s.path for s in segments if not (landing.root / s.path).exists()]
        if not gone:
            raise
        message = (
            f"{len(gone)} segment(s) went away while they were read, for example {gone[0]}: a"
            " collection replaced them. Run it again."
        )
        raise InputMovedError(message) from error


def load_quarantine(
    transaction: Transaction, landing: LandingZone, feeds: Sequence[str], first: date, last: date
) -> tuple[MergeCounts, tuple[RuleResult, ...]]:
    """Bring quarantined_feedback up to date with the quarantine segments of `feeds`.

    Posts that wait for their day leave as soon as it is open (`first` to `last`, both included):
    they stand in their day's landing folder and are loaded with it. Those of a day that closed
    again after its feed was loaded do not come back.

    Returns:
        What changed, and the rules that hold.

    Raises:
        InputMovedError: a collection replaced a segment after it was listed.
    """
    connection = transaction.connection
    schema = pa.schema([*REFUSED_SCHEMA, COLLECTED_AT, pa.field("segment", pa.string())])
    segments = landing.segments(feeds, None)
    reader = pa.RecordBatchReader.from_batches(schema, landing.read(segments, REFUSED_SCHEMA))
    connection.register("refused", reader)
    with _remaining(landing, segments):
        connection.execute(
            "CREATE TEMP TABLE held AS SELECT DISTINCT ON (quarantine_id) * FROM refused"
            " WHERE NOT (reason = ? AND (posted_date BETWEEN ? AND ? OR (feed, posted_date) IN"
            f" (SELECT (feed, day) FROM {LOADED_SEGMENTS.name})))"
            " ORDER BY quarantine_id, segment",
            [DAY_NOT_OPEN, first, last],
        )
    counts = transaction.merge(QUARANTINED_FEEDBACK, "held", delete_where="TRUE")
    return counts, transaction.audit_all(QUARANTINED_FEEDBACK)


def _observed_json() -> str:
    """SQL for the canonical JSON of what a record says beside its version."""
    columns = {name: name for name in OBSERVED_FIELDS} | {"posted_at": "stated_posted_at"}
    fields = ", ".join(f"'{name}': {column}" for name, column in columns.items())
    return f"to_json({{{fields}}})::VARCHAR"


def _resolve_sql() -> str:
    """SQL that makes `resolved`: all versions of the touched posts as they should stand.

    1. A version (feedback_id, content_hash) is told by its latest observation; ties go to the
       smallest canonical JSON of the observed fields.
    2. A deletion wins for ever, and leaves one empty row.
    3. The current version is the one with the greatest (edited_at, observed_at, content_hash),
       where an edit time beats none.
    4. All versions of a post stand on the day of its current one; what each of them stated
       is kept in `stated_posted_at`, for the case that it becomes the current one again.
    """
    landed = [
        c.name
        for c in RAW_FEEDBACK.columns
        if c.name not in ("version_at", "is_current", "posted_at")
    ]
    emptied = {
        **{name: f"CASE WHEN is_gone THEN NULL ELSE {name} END" for name in PERSONAL_FIELDS},
        "is_deleted": "is_gone",
    }
    selected = ", ".join(f"{emptied[n]} AS {n}" if n in emptied else n for n in landed)
    return f"""
    CREATE TEMP VIEW candidates AS FROM known UNION ALL BY NAME FROM arrived;
    -- Most records are the only one of their post: they need no comparing.
    CREATE TEMP TABLE disputed AS SELECT feedback_id FROM candidates
    GROUP BY feedback_id HAVING count(*) > 1;
    CREATE TEMP TABLE told AS
    SELECT arrival, feedback_id, content_hash, is_deleted, edited_at, observed_at,
        stated_posted_at, collected_at, segment, {_observed_json()} AS observed
    FROM candidates WHERE feedback_id IN (SELECT feedback_id FROM disputed);
    CREATE TEMP TABLE judged AS
    WITH versions AS (
        SELECT * FROM told
        QUALIFY row_number() OVER (PARTITION BY feedback_id, content_hash
            ORDER BY observed_at DESC, observed, collected_at, segment) = 1
    )
    SELECT arrival, bool_or(is_deleted) OVER (PARTITION BY feedback_id) AS is_gone,
        row_number() OVER newest_first = 1 AS is_current,
        first_value(stated_posted_at) OVER newest_first AS post_posted_at
    FROM versions
    WINDOW newest_first AS (PARTITION BY feedback_id ORDER BY is_deleted DESC,
        edited_at DESC NULLS LAST, observed_at DESC, content_hash DESC);
    CREATE TEMP TABLE resolved AS
    SELECT {selected}, post_posted_at AS posted_at,
        coalesce(edited_at, observed_at) AS version_at, is_current
    FROM (
        SELECT *, is_deleted AS is_gone, TRUE AS is_current, stated_posted_at AS post_posted_at
        FROM candidates WHERE feedback_id NOT IN (SELECT feedback_id FROM disputed)
        UNION ALL BY NAME
        SELECT * FROM candidates JOIN judged USING (arrival)
    ) WHERE is_current OR NOT is_gone
    """


def _record_fates(
    transaction: Transaction, segments: Sequence[Segment], days: DaySpan
) -> dict[date, dict[str, int]]:
    """Say of each arrived record whether it became a row, was merged, or said nothing new.

    Returns:
        By day: records read, inserted, merged and unchanged.
    """
    transaction.connection.execute(
        """
        CREATE TEMP TABLE fates AS
        SELECT segment, 'inserted' AS fate FROM arrived
        WHERE feedback_id NOT IN (SELECT feedback_id FROM disputed)
        UNION ALL
        SELECT a.segment, CASE
            WHEN r.feedback_id IS NULL THEN 'unchanged'  -- the post is deleted, and stays so
            WHEN k.feedback_id IS NULL AND a.arrival = min(a.arrival) OVER same THEN 'inserted'
            WHEN a.observed = coalesce(k.observed, first_value(a.observed) OVER (
                PARTITION BY a.feedback_id, a.content_hash ORDER BY a.arrival)) THEN 'unchanged'
            ELSE 'merged' END AS fate
        FROM (FROM told WHERE arrival > 0) a
        LEFT JOIN (FROM told WHERE arrival < 0) k USING (feedback_id, content_hash)
        LEFT JOIN resolved r USING (feedback_id, content_hash)
        WINDOW same AS (PARTITION BY a.feedback_id, a.content_hash)
        """
    )
    transaction.connection.register(
        "fresh",
        pa.table(
            {
                "segment": [s.path for s in segments],
                "feed": [s.feed for s in segments],
                "day": [s.day for s in segments],
            },
            schema=pa.schema(
                [("segment", pa.string()), ("feed", pa.string()), ("day", pa.date32())]
            ),
        ),
    )
    rows = transaction.connection.execute(
        f"""
        INSERT INTO {LOADED_SEGMENTS.name}
        SELECT segment, feed, day, count(fate), count(*) FILTER (fate = 'inserted'),
            count(*) FILTER (fate = 'merged'), count(*) FILTER (fate = 'unchanged'),
            -- Later than all that was loaded before, whatever the clock says: see `unpurged`.
            (SELECT greatest(?, max(loaded_at) + INTERVAL 1 MICROSECOND) FROM {LOADED_SEGMENTS.name})
        FROM fresh LEFT JOIN fates USING (segment) GROUP BY segment, feed, day
        RETURNING day, row_count, inserted_count, merged_count, unchanged_count
        """,
        [datetime.now(UTC)],
    ).fetchall()
    names = ("read", "inserted", "merged", "unchanged")
    fates = {day: dict.fromkeys(names, 0) for day in days}
    for day, *counts in rows:
        for name, count in zip(names, counts, strict=True):
            fates[day][name] += count
    return fates


def _forget_days(transaction: Transaction, days: Sequence[date], feeds: Sequence[str]) -> set[date]:
    """Remove what the segments of `days` brought, and the note of their loading; return its days.

    Leaves the posts that lost a row in the temporary table `forgotten`.
    """
    folders = [f"{feed}/{day.isoformat()}/" for feed in feeds for day in days]
    brought = "list_contains(?, regexp_extract(segment, '^.*/'))"
    transaction.connection.execute(
        f"CREATE TEMP TABLE forgotten AS SELECT DISTINCT feedback_id FROM {RAW_FEEDBACK.name}"
        f" WHERE {brought}",
        [folders],
    )
    removed = transaction.connection.execute(
        f"DELETE FROM {RAW_FEEDBACK.name} WHERE {brought}"
        f" RETURNING {RAW_FEEDBACK.day_expression()}",
        [folders],
    ).fetchall()
    transaction.connection.execute(
        f"DELETE FROM {LOADED_SEGMENTS.name} WHERE list_contains(?, day) AND list_contains(?, feed)",
        [list(days), list(feeds)],
    )
    return {found for (found,) in removed}


def _segments_elsewhere(
    transaction: Transaction, landing: LandingZone, days: Sequence[date], feeds: Sequence[str]
) -> list[Segment]:
    """Return segments of other days and feeds that may say something of the forgotten posts.

    A post that was seen by two feeds of a source, or re-dated, stands in several folders, of which
    one row told the latest. Without it the others hold again: also those of a feed that is not
    among `feeds` any more.
    """
    paths = transaction.connection.execute(
        f"SELECT segment FROM {LOADED_SEGMENTS.name}"
        " WHERE NOT (list_contains(?, day) AND list_contains(?, feed)) ORDER BY segment",
        [list(days), list(feeds)],
    ).fetchall()
    ids = transaction.arrow("SELECT feedback_id FROM forgotten")["feedback_id"].combine_chunks()
    if not len(ids):
        return []
    return [s for s in (Segment(path) for (path,) in paths) if landing.mentions(s, ids)]
