"""Loading landed posts into raw_feedback: versions, merges and tombstones of each post, in any order of arrival."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime

import pyarrow as pa

from data_platform.ingestion.contract import DAY_NOT_OPEN, POST_SCHEMA, REFUSED_SCHEMA
from data_platform.schemas import (
    LANDED_COLUMNS,
    LOADED_SEGMENTS,
    QUARANTINED_FEEDBACK,
    RAW_FEEDBACK,
)
from data_platform.storage.days import day_bounds
from data_platform.storage.landing import LandingZone, Segment
from data_platform.storage.warehouse import DayWrite, MergeCounts, RuleResult, Transaction

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
)


def load_day(
    transaction: Transaction, landing: LandingZone, feeds: Sequence[str], day: date
) -> list[DayWrite]:
    """Load the segments of `day` that are not loaded yet, in the caller's transaction.

    Posts of other days change too when a post's `posted_at` was corrected: the old row goes in
    the same transaction, and both days are returned.

    Returns:
        A write for `day`, first, then one for each other day that changed.
    """
    connection = transaction.connection
    present = {segment.path: segment for segment in landing.segments(feeds, day)}
    loaded = {
        str(path)
        for (path,) in connection.execute(
            f"SELECT segment FROM {LOADED_SEGMENTS.name} WHERE day = ? AND list_contains(?, feed)",
            [day, list(feeds)],
        ).fetchall()
    }
    touched = {day}
    elsewhere: list[Segment] = []
    if loaded - set(present):
        # A delivery was read again under another mapping: the day is loaded anew from what is there.
        touched |= _forget_day(transaction, day, feeds)
        elsewhere = _segments_elsewhere(transaction, landing, day)
        loaded = set()
    fresh = [present[path] for path in sorted(set(present) - loaded)]
    columns = ", ".join(
        c.name
        for c in RAW_FEEDBACK.columns
        if c.name not in ("stated_posted_at", "version_at", "is_current")
    )
    arrived = (
        f"SELECT {columns}, posted_at AS stated_posted_at,"
        f" {_observed_json('posted_at')} AS observed, row_number() OVER () AS arrival FROM landed"
    )
    connection.register("landed", _reader(landing, fresh))
    connection.execute(f"CREATE TEMP TABLE arrived AS {arrived}")
    if elsewhere:
        connection.register("landed", _reader(landing, elsewhere))
        connection.execute(
            f"INSERT INTO arrived {arrived} WHERE feedback_id IN (SELECT feedback_id FROM forgotten)"
        )
    # Two steps: the days from two narrow columns first, then all columns of those days only.
    known_days = [
        found
        for (found,) in connection.execute(
            f"SELECT DISTINCT {RAW_FEEDBACK.day_expression()} FROM {RAW_FEEDBACK.name}"
            " WHERE feedback_id IN (SELECT feedback_id FROM arrived)"
        ).fetchall()
    ]
    window, bounds = _window(known_days or [day])
    connection.execute(
        f"CREATE TEMP TABLE known AS SELECT {columns}, stated_posted_at,"
        f" {_observed_json('stated_posted_at')} AS observed, 0 AS arrival"
        f" FROM {RAW_FEEDBACK.name} WHERE {window}"
        " AND feedback_id IN (SELECT feedback_id FROM arrived)",
        bounds,
    )
    connection.execute(_resolve_sql())
    fates = _record_fates(transaction, fresh, day)
    touched |= set(known_days) | {
        found
        for (found,) in connection.execute(
            f"SELECT DISTINCT {RAW_FEEDBACK.day_expression()} FROM resolved"
        ).fetchall()
    }
    window, bounds = _window(touched, "t.")
    counts = transaction.merge(
        RAW_FEEDBACK,
        "resolved",
        delete_where="t.feedback_id IN (SELECT feedback_id FROM arrived)",
        within=window,
        parameters=bounds,
        day=day,
    )
    write = transaction.seal_day(RAW_FEEDBACK, day, counts, {}).with_numbers(**fates)
    nothing = MergeCounts(0, 0, 0, 0)
    others = sorted(touched - {day})
    return [write, *(transaction.seal_day(RAW_FEEDBACK, d, nothing, {}) for d in others)]


def _reader(landing: LandingZone, segments: Sequence[Segment]) -> pa.RecordBatchReader:
    schema = POST_SCHEMA.append(pa.field("collected_at", pa.timestamp("us", tz="UTC")))
    schema = schema.append(pa.field("segment", pa.string()))
    return pa.RecordBatchReader.from_batches(schema, landing.read(segments, POST_SCHEMA))


def load_quarantine(
    transaction: Transaction, landing: LandingZone, feeds: Sequence[str], first: date, last: date
) -> tuple[MergeCounts, tuple[RuleResult, ...]]:
    """Bring quarantined_feedback up to date with the quarantine segments of `feeds`.

    Posts that wait for their day leave as soon as it is open (`first` to `last`, both included):
    they stand in their day's landing folder and are loaded with it.

    Returns:
        What changed, and the rules that hold.
    """
    connection = transaction.connection
    schema = REFUSED_SCHEMA.append(pa.field("collected_at", pa.timestamp("us", tz="UTC"))).append(
        pa.field("segment", pa.string())
    )
    reader = pa.RecordBatchReader.from_batches(
        schema, landing.read(landing.segments(feeds, None), REFUSED_SCHEMA)
    )
    connection.register("refused", reader)
    connection.execute(
        "CREATE TEMP TABLE held AS SELECT DISTINCT ON (quarantine_id) * FROM refused"
        " WHERE NOT (reason = ? AND posted_date BETWEEN ? AND ?) ORDER BY quarantine_id, segment",
        [DAY_NOT_OPEN, first, last],
    )
    counts = transaction.merge(QUARANTINED_FEEDBACK, "held", delete_where="TRUE")
    return counts, transaction.audit_all(QUARANTINED_FEEDBACK)


def _observed_json(stated_posted_at: str) -> str:
    """SQL for the canonical JSON of a record; `stated_posted_at`: the column with its own date."""
    columns = {name: name for name in OBSERVED_FIELDS} | {"posted_at": stated_posted_at}
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
    CREATE TEMP TABLE candidates AS SELECT row_number() OVER () AS candidate, *
    FROM (SELECT * FROM known UNION ALL BY NAME SELECT * FROM arrived);
    -- Narrow columns first: sorting whole rows cost ten times as much.
    CREATE TEMP TABLE judged AS
    WITH versions AS (
        SELECT candidate, feedback_id, content_hash, is_deleted, edited_at, observed_at,
            stated_posted_at
        FROM candidates
        QUALIFY row_number() OVER (PARTITION BY feedback_id, content_hash
            ORDER BY observed_at DESC, observed, collected_at, segment) = 1
    )
    SELECT candidate, bool_or(is_deleted) OVER (PARTITION BY feedback_id) AS is_gone,
        row_number() OVER newest_first = 1 AS is_current,
        first_value(stated_posted_at) OVER newest_first AS post_posted_at
    FROM versions
    WINDOW newest_first AS (PARTITION BY feedback_id ORDER BY is_deleted DESC,
        edited_at DESC NULLS LAST, observed_at DESC, content_hash DESC);
    CREATE TEMP TABLE resolved AS
    SELECT {selected}, post_posted_at AS posted_at,
        coalesce(edited_at, observed_at) AS version_at, is_current
    FROM candidates JOIN judged USING (candidate) WHERE is_current OR NOT is_gone
    """


def _window(days: Iterable[date], alias: str = "") -> tuple[str, list[object]]:
    """Return SQL and parameters that bound `posted_at` to the span of `days`."""
    ordered = sorted(days)
    start, end = day_bounds(ordered[0])[0], day_bounds(ordered[-1])[1]
    return f"{alias}posted_at >= ? AND {alias}posted_at < ?", [start, end]


def _record_fates(
    transaction: Transaction, segments: Sequence[Segment], day: date
) -> dict[str, int]:
    """Say of each arrived record whether it became a row, was merged, or said nothing new."""
    transaction.connection.execute(
        """
        CREATE TEMP TABLE fates AS
        SELECT a.segment, CASE
            WHEN r.feedback_id IS NULL THEN 'unchanged'  -- the post is deleted, and stays so
            WHEN k.feedback_id IS NULL AND a.arrival = min(a.arrival) OVER same THEN 'inserted'
            WHEN a.observed = coalesce(k.observed, first_value(a.observed) OVER (
                PARTITION BY a.feedback_id, a.content_hash ORDER BY a.arrival)) THEN 'unchanged'
            ELSE 'merged' END AS fate
        FROM arrived a LEFT JOIN known k USING (feedback_id, content_hash)
        LEFT JOIN resolved r USING (feedback_id, content_hash)
        WINDOW same AS (PARTITION BY a.feedback_id, a.content_hash)
        """
    )
    transaction.connection.register(
        "fresh",
        pa.table(
            {"segment": [s.path for s in segments], "feed": [s.feed for s in segments]},
            schema=pa.schema([("segment", pa.string()), ("feed", pa.string())]),
        ),
    )
    rows = transaction.connection.execute(
        f"""
        INSERT INTO {LOADED_SEGMENTS.name}
        SELECT segment, feed, CAST(? AS DATE), count(fate), count(*) FILTER (fate = 'inserted'),
            count(*) FILTER (fate = 'merged'), count(*) FILTER (fate = 'unchanged'), ?
        FROM fresh LEFT JOIN fates USING (segment) GROUP BY segment, feed
        RETURNING row_count, inserted_count, merged_count, unchanged_count
        """,
        [day, datetime.now(UTC)],
    ).fetchall()
    read, inserted, merged, unchanged = (
        (sum(column) for column in zip(*rows, strict=True)) if rows else (0, 0, 0, 0)
    )
    return {"read": read, "inserted": inserted, "merged": merged, "unchanged": unchanged}


def _forget_day(transaction: Transaction, day: date, feeds: Sequence[str]) -> set[date]:
    """Remove what the segments of `day` brought, and the note of their loading; return its days.

    Leaves the posts that lost a row in the temporary table `forgotten`.
    """
    folders = [f"{feed}/{day.isoformat()}/" for feed in feeds]
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
        f"DELETE FROM {LOADED_SEGMENTS.name} WHERE day = ? AND list_contains(?, feed)",
        [day, list(feeds)],
    )
    return {found for (found,) in removed}


def _segments_elsewhere(transaction: Transaction, landing: LandingZone, day: date) -> list[Segment]:
    """Return segments of other days that may say something of the forgotten posts.

    A post that was seen by two feeds of a source, or re-dated, stands in several day folders, of
    which one row told the latest. Without it the others hold again.
    """
    paths = transaction.connection.execute(
        f"SELECT segment FROM {LOADED_SEGMENTS.name} WHERE day <> ? ORDER BY segment", [day]
    ).fetchall()
    ids = transaction.arrow("SELECT feedback_id FROM forgotten")["feedback_id"].combine_chunks()
    if not len(ids):
        return []
    return [s for s in (Segment(path) for (path,) in paths) if landing.mentions(s, ids)]
